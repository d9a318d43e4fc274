"""Large tables take little memory, part by part, and hold what plain ones do."""

import io
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from compliance.assessment import tables
from compliance.assessment.tables import (
    FitObservations,
    StoredConfirm,
    file_digests,
    flat,
    places_of,
    read_parts,
    read_table,
    table_bytes,
    vectors,
)
from compliance.errors import PlanError
from compliance.records.base import digest_bytes
from compliance.records.observation import CONFIRM_FILES, SCORE_COLUMNS
from tests.assessment.fit_tables import make_fit
from tests.assessment.test_tables import confirm

SCORERS = ("dense", "probe", "random-sae", "tokens")
PATH = "confirm/scores.csv"


def scores(items: int) -> dict[str, bytes]:
    rows = [(f"an-item-with-a-long-name-{n:07}", "deception", scorer, n / 3)
            for n in range(items) for scorer in SCORERS]  # fmt: skip
    return {PATH: table_bytes(pd.DataFrame(rows, columns=SCORE_COLUMNS), PATH)}


class Opened(dict):
    """Files that are opened, and never read whole."""

    def open(self, path: str) -> io.BytesIO:
        return io.BytesIO(super().__getitem__(path))

    def __getitem__(self, path: str) -> bytes:
        raise AssertionError(f"{path} was read whole")


def plain(column: pd.Series) -> list:
    return [one.tolist() if isinstance(one, np.ndarray) else one for one in column]


@pytest.mark.parametrize("name", CONFIRM_FILES)
def test_a_compact_table_says_what_the_plain_one_says(name):
    files = Opened(confirm().to_files())

    compact, whole = (read_table(files, f"confirm/{name}", compact=c) for c in (True, False))

    assert len(whole) and list(compact) == list(whole)
    for column in whole:
        assert plain(compact[column]) == plain(whole[column])


def test_text_is_kept_once_and_in_order():
    found = read_table(scores(3), PATH, compact=True)

    assert list(found["scorer"].cat.categories) == list(SCORERS)
    assert found["scorer"].cat.codes.tolist() == [0, 1, 2, 3] * 3


def test_vectors_without_their_zeros_are_the_same():
    fit = make_fit()
    thin = fit.vectors.copy()
    thin["vector"] = [np.where(np.arange(len(v)) % 3, np.float32(-0.0), v).astype(np.float32)
                      for v in thin["vector"]]  # fmt: skip
    path = "fit/vectors.parquet"
    files = {path: table_bytes(thin, path)}

    compact, whole = (read_table(files, path, compact=c) for c in (True, False))

    for kind, part in whole.groupby("features"):
        found = vectors(compact["vector"][part.index])
        assert found.tobytes() == vectors(part["vector"]).tobytes(), kind
    assert table_bytes(whole, path) == files[path]


def test_a_compact_fit_is_read_without_any_file_whole():
    files = Opened(make_fit().to_files())

    found = FitObservations.from_files(files, compact=True)

    assert found.items["item"].dtype == "category"
    assert file_digests(files) == {path: digest_bytes(dict(files).get(path)) for path in files}


@pytest.mark.parametrize("large", [0, 10**6])
def test_parts_are_the_table(monkeypatch, large):
    monkeypatch.setattr(tables, "LARGE", large)
    monkeypatch.setattr(tables, "_CELLS_AT_ONCE", 40)
    monkeypatch.setattr(tables, "_BATCH_BYTES", 500)
    rows = [(f"i{n:03}", "c", scorer, n / 3) for n in range(50) for scorer in SCORERS]
    table = pd.DataFrame(rows, columns=SCORE_COLUMNS)
    path = tables.table_path(PATH, len(table))
    files = {path: table_bytes(table, path)}

    parts = list(read_parts(files, PATH))

    assert len(parts) > 5
    together = pd.concat([part.astype({"item": "str", "concept": "str", "scorer": "str"})
                          for part in parts], ignore_index=True)  # fmt: skip
    pd.testing.assert_frame_equal(together, read_table(files, PATH))


@pytest.mark.parametrize(
    ("place", "row", "problem"),
    [
        (25, b"i010,c,probe,1", "row 26: i010/c/probe is out of order"),
        (20, b"i019,c,probe,1", "row 21: i019/c/probe stands there twice"),
        (30, b"i030,c,probe,inf", "row 31: score is not a number"),
    ],
)
def test_a_part_that_is_wrong_is_told_by_its_row_in_the_table(monkeypatch, place, row, problem):
    monkeypatch.setattr(tables, "_CELLS_AT_ONCE", 40)
    lines = [b"i%03d,c,probe,1" % n for n in range(40)]
    lines[place] = row
    files = {PATH: b"\n".join([b",".join(n.encode() for n in SCORE_COLUMNS), *lines, b""])}

    with pytest.raises(PlanError, match=problem):
        list(read_parts(files, PATH))


def test_each_text_is_found_among_others():
    one, other = pd.Series(["b", "x", "a", "b"]), pd.Series(["c", "b", "a"])

    for column, among in ((one, other), (one.astype("category"), other.astype("category"))):
        assert places_of(column, among).tolist() == [1, -1, 2, 1]
    assert places_of(other.astype("category"), other.astype("category")).tolist() == [0, 1, 2]


def test_lists_follow_one_another():
    column = read_table(confirm().to_files(), "confirm/tokens.parquet", compact=True)["ends"]

    values, lengths = flat(column)

    assert (values.tolist(), lengths.tolist()) == ([1, 1, 4], [3, 0])


def test_what_was_not_asked_for_is_checked():
    files = confirm().to_files()
    stored = StoredConfirm({**files, "confirm/features.csv": b"no,table\n"})
    assert len(stored.items) == 2

    with pytest.raises(PlanError, match="features.csv: found columns"):
        stored.check_others()


def test_reading_a_table_takes_few_bytes_a_row():
    """What is measured is of Python and numpy alone; Arrow's own memory is as small."""
    found = {}
    for items in (2_000, 8_000):
        files = Opened(scores(items))
        read_table(files, PATH, compact=True)
        tracemalloc.start()
        kept = read_table(files, PATH, compact=True)
        found[items] = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(kept) == items * len(SCORERS)

    held, largest = (
        (after - before) / 6_000 for before, after in zip(found[2_000], found[8_000], strict=True)
    )
    assert held < 40 * len(SCORERS)
    assert largest < 100 * len(SCORERS)
