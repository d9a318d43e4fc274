"""Tables come back as they were written, and anything else is refused by its place."""

import io
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.assessment import tables
from compliance.assessment.tables import (
    ConfirmObservations,
    FitObservations,
    empty_table,
    read_table,
    table_bytes,
    table_path,
    vectors,
)
from compliance.errors import PlanError
from compliance.records.observation import (
    COFIRING_COLUMNS,
    CONFIRM_FILES,
    FEATURE_COLUMNS,
    FIDELITY_COLUMNS,
    FIRING_COLUMNS,
    FIT_FILES,
    ITEM_COLUMNS,
    LOSS_COLUMNS,
    PATCH_COLUMNS,
    REPEAT_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SHIFT_COLUMNS,
    TOKEN_COLUMNS,
)
from tests.assessment.fit_tables import make_fit

ROWS = {
    "items.csv": (ITEM_COLUMNS, [
        ("a,1", "s", "g", "confirm", "c", "positive", "en", "text", "plain", "prompt", "",
         "authored", "from 'x', \"y\"", "", 20, 0, 1),
        ("b", "s", "g", "confirm", "", "negative", "ja", "text", "plain", "prompt", "NA",
         "authored", "source", "null", 3, 1, 0),
    ]),
    "scores.csv": (SCORE_COLUMNS, [("a", "c", "probe", 1 / 3), ("a", "c", "tokens", 23.0)]),
    "latents.parquet": (SEARCH_COLUMNS, [("c", "a", 0, 5, 0.1), ("c", "a", 1, 2, -3.0)]),
    "fidelity.parquet": (FIDELITY_COLUMNS, [
        ("a", 0, "assistant", 2, 1 / 3, 2 / 3, np.array([1 / 3, 2.0]), 1.9, 2.1, np.array([4, 5])),
        ("a", 0, "user", 1, 0.1, 0.2, np.array([0.1, 2.0]), 0.9, 1.1, np.array([6])),
    ]),
    "firing.parquet": (FIRING_COLUMNS, [
        ("en", "image", "items", 0, 5, 3), ("en", "read", "items", 0, 5, 7),
        ("en", "read", "neutral", 0, 5, 9),
    ]),
    "losses.csv": (LOSS_COLUMNS, [("a", 0, 7, 1 / 3, 2 / 3, 1e10 / 3, 1e-9 / 3)]),
    "shifts.csv": (SHIFT_COLUMNS, [("a", "c", "typos", -0.5)]),
    "repeats.csv": (REPEAT_COLUMNS, [("a", "c", 0.5, 0.25)]),
    "patches.parquet": (PATCH_COLUMNS, [
        ("a", "c", 1, 2, np.array([0.5, 0.0], np.float32)),
        ("b", "c", 0, 0, np.array([0.25], np.float32)),
    ]),
    "tokens.parquet": (TOKEN_COLUMNS, [
        ("a", "c", np.array([0, 0, 4]), np.array([1, 1, 4]), np.array([0.5, -1, 2], np.float32)),
        ("b", "c", np.empty(0, int), np.empty(0, int), np.empty(0, np.float32)),
    ]),
    "cofiring.parquet": (COFIRING_COLUMNS, [("c", 0, 5, 6, 3), ("c", 0, 5, 10, 4)]),
    "features.csv": (FEATURE_COLUMNS, [
        ("c", 0, 5, "bottom-logit", 1, 7, "\u2581the", -1 / 3),
        ("c", 0, 5, "nearest", 1, 9, "", 1e-9 / 3),
        *(("c", 0, 5, "top-logit", rank, 20 + rank, text, 1 / rank) for rank, text in
          enumerate(('"', ",", " ", "nan", "'", "\\n", "\ufeff", "a\u202eb"), start=1)),
    ]),
}  # fmt: skip


def confirm() -> ConfirmObservations:
    return ConfirmObservations(
        *(pd.DataFrame(rows, columns=list(columns)) for columns, rows in ROWS.values())
    )


def written(path: str, rows: list, columns: tuple[str, ...]) -> dict[str, bytes]:
    return {path: table_bytes(pd.DataFrame(rows, columns=list(columns)), path)}


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def plain(table: pd.DataFrame) -> list[list]:
    return [[v.tolist() if isinstance(v, np.ndarray) else v for v in row]
            for row in table.itertuples(index=False)]  # fmt: skip


def test_fields_are_the_files_of_each_folder():
    for kind, names in ((FitObservations, FIT_FILES), (ConfirmObservations, CONFIRM_FILES)):
        assert [field.name for field in fields(kind)] == [name.split(".")[0] for name in names]


def test_tables_come_back_as_they_were_written():
    before = confirm()

    after = ConfirmObservations.from_files(before.to_files())

    for field in fields(before):
        one, two = getattr(before, field.name), getattr(after, field.name)
        if field.name in ("scores", "latents", "shifts", "repeats"):
            one = one.astype({name: np.float32 for name in one.select_dtypes("float64")})
        assert plain(two) == plain(one), field.name


def test_fit_tables_come_back_as_the_same_bytes():
    files = make_fit().to_files()

    assert FitObservations.from_files(files).to_files() == files
    assert sorted(files) == sorted(f"fit/{name}" for name in FIT_FILES)


def test_tables_without_rows_come_back_with_their_types():
    nothing = ConfirmObservations(*(empty_table(columns) for columns, _ in ROWS.values()))

    after = ConfirmObservations.from_files(nothing.to_files())

    assert after.losses.dtypes["loss"] == np.float64
    assert after.latents.dtypes["latent"] == np.int32
    assert len(after.items) == 0


def test_scores_are_float32_values_and_sums_keep_all_digits():
    found = ConfirmObservations.from_files(confirm().to_files())

    assert found.scores["score"].tolist() == [float(np.float32(1 / 3)), 23.0]
    assert found.scores["score"].dtype == found.latents["score"].dtype == np.float64
    assert found.losses["loss"].tolist() == [1 / 3]
    assert found.fidelity["mean"][0].dtype == np.float64


def test_vectors_are_stored_as_float32():
    found = FitObservations.from_files(make_fit().to_files()).vectors["vector"]

    assert found[0].dtype == np.float32
    assert vectors(found).dtype == np.float64


def test_rows_are_written_in_the_order_of_their_key():
    rows = ROWS["latents.parquet"][1]

    one = written("confirm/latents.parquet", rows, SEARCH_COLUMNS)

    assert one == written("confirm/latents.parquet", rows[::-1], SEARCH_COLUMNS)


def test_whole_numbers_are_ordered_as_numbers():
    rows = [("c", "a", 0, latent, 1.0) for latent in (10, 9)]

    found = read_table(written("fit/search.parquet", rows, SEARCH_COLUMNS), "fit/search.parquet")

    assert found["latent"].tolist() == [9, 10]


def test_a_row_that_stands_twice_is_refused():
    rows = [("a", "c", "probe", 1.0), ("a", "c", "probe", 2.0), ("b", "c", "probe", 2.0)]
    text = b"item,concept,scorer,score\na,c,probe,1\na,c,probe,2\n"

    with pytest.raises(PlanError, match="row 2: a/c/probe stands there twice"):
        written("fit/scores.csv", rows, SCORE_COLUMNS)
    with pytest.raises(PlanError, match="row 2: a/c/probe stands there twice"):
        read_table({"fit/scores.csv": text}, "fit/scores.csv")


def test_rows_in_another_order_are_refused():
    text = b"item,concept,scorer,score\nb,c,probe,1\na,c,probe,2\n"

    with pytest.raises(PlanError, match="row 2: a/c/probe is out of order"):
        read_table({"fit/scores.csv": text}, "fit/scores.csv")


@pytest.mark.parametrize("number", [b"", b"nan", b"inf", b"-inf"])
def test_a_score_that_is_not_a_number_is_refused_by_its_row(number):
    text = b"item,concept,scorer,score\na,c,probe,1\nb,c,probe," + number + b"\n"

    with pytest.raises(PlanError, match=r"scores\.csv, row 2: score is not a number"):
        read_table({"fit/scores.csv": text}, "fit/scores.csv")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"item,concept,scorer,score\na,c,probe,much\n",
        b"item,concept,scorer\na,c,probe\n",
        b"concept,item,scorer,score\nc,a,probe,1\n",
        b"item,concept,scorer,score\na,c,probe,1,9\n",
        b"item,concept,scorer,score\na,c,probe,1\nb,c,probe,1,9\n",
        b"\xff\xfe",
    ],
)
def test_a_csv_table_that_is_something_else_is_refused(text):
    with pytest.raises(PlanError, match=r"observations/fit/scores\.csv: "):
        read_table({"fit/scores.csv": text}, "fit/scores.csv")


@pytest.mark.parametrize("count", [b"", b"1.5", b"many"])
def test_a_count_that_is_not_whole_is_refused(count):
    header = ",".join(LOSS_COLUMNS).encode()

    with pytest.raises(PlanError, match="losses.csv: cannot be read"):
        read_table(
            {"confirm/losses.csv": header + b"\na,0," + count + b",1,1,1,1\n"},
            "confirm/losses.csv",
        )


def test_a_latent_below_zero_is_refused():
    files = written("fit/search.parquet", [("c", "a", 0, -1, 1.0)], SEARCH_COLUMNS)

    with pytest.raises(PlanError, match="row 1: latent is below zero"):
        read_table(files, "fit/search.parquet")


@pytest.mark.parametrize(
    ("starts", "ends", "problem"),
    [
        ([0, 1], [1], "2 starts, 1 ends and 2 activations"),
        ([0], [1], "1 starts, 1 ends and 2 activations"),
        ([0, -1], [1, 2], "a token starts below zero or behind its end"),
        ([0, 3], [1, 2], "a token starts below zero or behind its end"),
    ],
)
def test_tokens_without_their_characters_are_refused(starts, ends, problem):
    good = ("a", "c", [0], [1], [1.0])
    rows = [good, ("b", "c", starts, ends, [0.5, 0.25])]
    files = written("confirm/tokens.parquet", rows, TOKEN_COLUMNS)

    with pytest.raises(PlanError, match=f"tokens.parquet, row 2: {problem}"):
        read_table(files, "confirm/tokens.parquet")


def test_a_kind_of_fact_of_another_name_is_refused():
    row = ("c", 0, 5, "top-word", 1, 7, "the", 1.0)

    with pytest.raises(PlanError, match="no kind of fact is called 'top-word'"):
        read_table(written("confirm/features.csv", [row], FEATURE_COLUMNS), "confirm/features.csv")


def test_a_split_of_another_name_is_refused():
    row = list(ROWS["items.csv"][1][0])
    row[3] = "holdout"

    with pytest.raises(PlanError, match="no split is called 'holdout'"):
        read_table(written("fit/items.csv", [row], ITEM_COLUMNS), "fit/items.csv")


def test_a_missing_file_is_refused():
    with pytest.raises(PlanError, match=r"fit/items\.csv: no such file"):
        FitObservations.from_files({})


def test_a_missing_column_is_refused_on_writing():
    with pytest.raises(PlanError, match="no column 'score'"):
        table_bytes(pd.DataFrame({"item": [], "concept": [], "scorer": []}), "fit/scores.csv")


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (pa.array(["1"]), "score is string, expected float"),
        (pa.array([1.0], pa.float64()), "score is double, expected float"),
        (pa.array([None], pa.float32()), "row 1: score is missing"),
        (pa.array([np.inf], pa.float32()), "row 1: score is not a number"),
    ],
)
def test_a_parquet_column_of_something_else_is_refused(score, problem):
    files = written("fit/search.parquet", [("c", "a", 0, 1, 1.0)], SEARCH_COLUMNS)
    table = pq.read_table(io.BytesIO(files["fit/search.parquet"]))
    damaged = parquet(table.set_column(4, "score", score))

    with pytest.raises(PlanError, match=problem):
        read_table({"fit/search.parquet": damaged}, "fit/search.parquet")


@pytest.mark.parametrize(("place", "name"), [(1, "item"), (3, "latent")])
def test_a_parquet_row_that_names_nothing_is_refused(place, name):
    files = written("fit/search.parquet", [("c", "a", 0, 1, 1.0)], SEARCH_COLUMNS)
    table = pq.read_table(io.BytesIO(files["fit/search.parquet"]))
    nothing = pa.array([None], table.schema.field(name).type)

    with pytest.raises(PlanError, match=f"row 1: {name} is missing"):
        read_table(
            {"fit/search.parquet": parquet(table.set_column(place, name, nothing))},
            "fit/search.parquet",
        )


@pytest.mark.parametrize(
    "value", [np.array([1.0, np.nan], np.float32), np.array([np.inf], np.float32), [None]]
)
def test_a_list_with_a_number_that_is_none_is_refused_by_its_row(value):
    fit = make_fit(groups=2, benign=1)
    table = fit.vectors.copy()
    table["vector"] = [*table["vector"][:-1], value]
    last = len(table)

    with pytest.raises(PlanError, match=f"row {last}: vector is not a number"):
        FitObservations.from_files(replace(fit, vectors=table).to_files())


def test_a_file_that_is_no_parquet_is_refused():
    with pytest.raises(PlanError, match=r"fit/search\.parquet: cannot be read"):
        read_table({"fit/search.parquet": b"PAR1"}, "fit/search.parquet")


def test_text_in_place_of_numbers_is_refused_on_writing():
    with pytest.raises(PlanError, match=r"fit/search\.parquet: cannot be written"):
        written("fit/search.parquet", [("c", "a", 0, 1, "much")], SEARCH_COLUMNS)


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(PlanError, match="different lengths"):
        vectors(pd.Series([np.zeros(2), np.zeros(3)]))


def test_a_table_of_many_rows_is_parquet_and_is_read_by_the_same_name(monkeypatch):
    before = make_fit()
    small = before.to_files()
    monkeypatch.setattr(tables, "LARGE", len(before.items) - 1)

    files = before.to_files()

    assert {"fit/items.parquet", "fit/scores.parquet", "fit/neighbours.csv"} <= files.keys()
    assert not {"fit/items.csv", "fit/scores.csv"} & files.keys()
    for path in small:
        assert plain(read_table(files, path)) == plain(read_table(small, path)), path


def test_a_table_of_as_many_rows_as_the_limit_is_csv(monkeypatch):
    monkeypatch.setattr(tables, "LARGE", 2)

    assert table_path("fit/scores.csv", 2) == "fit/scores.csv"
    assert table_path("fit/scores.csv", 3) == "fit/scores.parquet"
    assert table_path("fit/search.parquet", 2) == "fit/search.parquet"


def test_a_table_that_is_there_twice_is_refused():
    columns, rows = ROWS["scores.csv"]
    table = pd.DataFrame(rows, columns=list(columns))
    files = {f"fit/scores.{kind}": table_bytes(table, f"fit/scores.{kind}")
             for kind in ("csv", "parquet")}  # fmt: skip

    with pytest.raises(PlanError, match="scores.csv: fit/scores.parquet is there as well"):
        read_table(files, "fit/scores.csv")


@pytest.mark.parametrize("limit", ["MAX_VALUES", "MAX_UNPACKED"])
def test_a_table_that_could_not_be_read_back_is_not_written(monkeypatch, limit):
    table = make_fit().vectors
    monkeypatch.setattr(tables, limit, 100)

    with pytest.raises(PlanError, match="larger than a table that can be read back"):
        table_bytes(table, "fit/vectors.parquet")
