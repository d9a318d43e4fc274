"""A table that comes in parts is the file that it would be as a whole."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.assessment import tables, writing
from compliance.assessment.tables import packed, rows_writer, table_bytes
from compliance.assessment.writing import TableWriter, write_table
from compliance.errors import PlanError
from tests.assessment.fit_tables import make_fit

TABLES = ("items.csv", "scores.csv", "search.parquet", "vectors.parquet", "means.parquet")


def write(folder, path: str, parts) -> bytes:
    writer = TableWriter(folder, path)
    for part in parts:
        writer.add(part)
    return writer.finish().read_bytes()


def shuffled(table: pd.DataFrame, size: int) -> list[pd.DataFrame]:
    order = np.random.RandomState(3).permutation(len(table))
    return [table.iloc[order[i : i + size]] for i in range(0, len(table), size)]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("run_bytes", [1 << 26, 2000])
@pytest.mark.parametrize("large", [200_000, 10])
def test_parts_give_the_bytes_of_the_whole(tmp_path, monkeypatch, name, run_bytes, large):
    monkeypatch.setattr(writing, "RUN_BYTES", run_bytes)
    monkeypatch.setattr(writing, "BATCH_BYTES", 400)
    monkeypatch.setattr(tables, "LARGE", large)
    monkeypatch.setattr(tables, "GROUP_ROWS", 50)
    table = getattr(make_fit(), name.split(".")[0])
    path = tables.table_path(f"fit/{name}", len(table))

    found = write(tmp_path, f"fit/{name}", shuffled(table, 11))

    assert found == table_bytes(table, path)
    assert [file.name for file in (tmp_path / "fit").iterdir()] == [path.removeprefix("fit/")]


@pytest.mark.parametrize("size", [1, 7, 400])
def test_a_row_group_ends_with_the_row_that_fills_it(tmp_path, monkeypatch, size):
    table = make_fit().vectors
    values = table["vector"].map(len).to_numpy() + 3
    most = int(4 * values.mean())
    monkeypatch.setattr(tables, "GROUP_VALUES", most)

    data = write(tmp_path, "fit/vectors.parquet", shuffled(table, size))

    found, held = [0], 0
    for count in values:
        found[-1] += 1
        held += count
        if held >= most:
            found, held = [*found, 0], 0
    file = pq.ParquetFile(io.BytesIO(data))
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(groups) > 3
    assert groups == [rows for rows in found if rows]
    assert tables.read_table({"fit/vectors.parquet": data}, "fit/vectors.parquet").equals(
        tables.read_table({"fit/vectors.parquet": table_bytes(table, "fit/vectors.parquet")},
                          "fit/vectors.parquet"))  # fmt: skip


@pytest.mark.parametrize("run_bytes", [1 << 26, 2000])
def test_a_row_that_comes_twice_is_refused(tmp_path, monkeypatch, run_bytes):
    monkeypatch.setattr(writing, "RUN_BYTES", run_bytes)
    table = make_fit().search

    with pytest.raises(PlanError, match="stands there twice"):
        write(tmp_path, "fit/search.parquet", [*shuffled(table, 11), table.iloc[[5]]])

    assert not (tmp_path / "fit" / "search.parquet").exists()


def test_a_table_without_rows_is_written(tmp_path):
    empty = make_fit().search.iloc[:0]

    assert write(tmp_path, "fit/search.parquet", [empty]) == table_bytes(
        empty, "fit/search.parquet"
    )


def test_a_file_of_the_other_kind_is_taken_away(tmp_path, monkeypatch):
    table = make_fit().scores
    write(tmp_path, "fit/scores.csv", [table])
    monkeypatch.setattr(tables, "LARGE", 10)

    write(tmp_path, "fit/scores.csv", [table])

    assert [file.name for file in (tmp_path / "fit").iterdir()] == ["scores.parquet"]


def held(folder, monkeypatch, rows: int) -> int:
    """The most bytes of columns that are held while so many rows of scores are written."""
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    monkeypatch.setattr(writing, "WRITING", pool)
    monkeypatch.setattr(tables, "WRITING", pool)
    parts = (
        pd.DataFrame({
            "item": [f"item-{(place * 7919) % rows:07d}" for place in range(first, first + 1000)],
            "concept": "danger", "scorer": "probe", "score": 0.5,
        })
        for first in range(0, rows, 1000)
    )  # fmt: skip
    written = write_table(folder / str(rows), "fit/scores.csv", parts)
    assert len(written.read_bytes().splitlines()) == 1 + rows
    return pool.max_memory()


def test_what_is_held_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "RUN_BYTES", 1 << 17)
    monkeypatch.setattr(writing, "BATCH_BYTES", 1 << 12)

    few, many = (held(tmp_path, monkeypatch, rows) for rows in (10_000, 40_000))

    assert many - few < 4 * 30_000


def test_vectors_take_little_until_they_are_written():
    table = pd.DataFrame({
        "concept": "danger", "item": [f"i{n:02}" for n in range(50)], "features": "ngrams",
        "vector": [np.eye(1, 4096, n, dtype=np.float32)[0] - np.float32(0.0) for n in range(50)],
    })  # fmt: skip
    table.at[3, "vector"] = np.full(7, -0.0, dtype=np.float32)
    table.at[4, "vector"] = np.empty(0, dtype=np.float32)
    rows = tables.arrow_table(table, "fit/vectors.parquet")
    sink = io.BytesIO()

    with rows_writer(sink, "fit/vectors.parquet") as file:
        file.add(packed(rows).slice(1, 20))

    assert packed(rows).nbytes < rows.nbytes / 100
    assert sink.getvalue() == table_bytes(table[1:21], "fit/vectors.parquet")
