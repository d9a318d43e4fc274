"""Observation tables of a pack: CSV and Parquet that say more than they are."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.assessment import tables
from compliance.errors import PlanError
from compliance.parquet import read_pages
from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack

HEADER = b"item,concept,scorer,score\n"
PLACES = pa.list_(pa.int32())
COLUMNS = {"item": pa.string(), "concept": pa.string(), "starts": PLACES, "ends": PLACES,
           "activations": pa.list_(pa.float32())}  # fmt: skip


def tokens(item: str = "a", values: int = 1, rows: int = 1, **options: object) -> bytes:
    """A table of tokens with all its values the same."""
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [item])
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * values)
    zeros = np.zeros(rows * values)
    columns = [
        pa.ListArray.from_arrays(offsets, pa.array(zeros.astype(kind.value_type.to_pandas_dtype())))
        if pa.types.is_list(kind)
        else names
        for kind in COLUMNS.values()
    ]
    out = io.BytesIO()
    table = pa.table(dict(zip(COLUMNS, columns, strict=True)))
    pq.write_table(table, out, compression="zstd", store_schema=False, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + b"a,b,c,1e400\n", "not a number"),
        (HEADER + b"a,b,c," + b"9" * 100_000 + b"\n", "not a number"),
        (HEADER + b"a,b,c,nan\n", "not a number"),
        (HEADER + b"a,b,c,=1+1\n", "cannot be read"),
        (HEADER + b"\n" * 11_000_000, "lines"),
        (HEADER + b"a,b,c,1,2,3\n", ""),
        (HEADER + b'"a\n', "cannot be read"),
        (HEADER + b"a,b,c,1\na,b,c,1\n", "twice"),
        (HEADER + b"\xff,b,c,1\n", "cannot be read"),
        (b",".join(b"c%d" % i for i in range(500_000)) + b"\n", "found columns"),
        (b"", "found columns"),
        (b"\0" * 1000, "found columns"),
    ],
)
def test_a_table_of_text_is_refused(attack: Attack, text: bytes, message: str):
    outcome = attack("scores.csv", text)

    assert outcome.error == "PlanError" and message in outcome.message


@pytest.mark.parametrize("size", [0, 8, 2**31 - 1])
def test_a_footer_that_is_not_there_is_refused(attack: Attack, size: int):
    data = tokens()[:-8] + size.to_bytes(4, "little") + b"PAR1"

    assert attack("tokens.parquet", data).error == "PlanError"


def test_other_columns_are_refused_before_one_is_read(attack: Attack):
    out = io.BytesIO()
    pq.write_table(pa.table({"a": np.zeros(30_000_000, np.int8)}), out, compression="zstd")

    outcome = attack("tokens.parquet", out.getvalue(), memory=20 * MIB, seconds=1)

    assert "found columns" in outcome.message


def test_another_type_is_refused_before_it_is_read(attack: Attack):
    names = pa.schema({name: pa.int64() for name in COLUMNS})
    column = np.zeros(5_000_000, np.int64)
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([column] * 5, schema=names), out, compression="zstd")

    outcome = attack("tokens.parquet", out.getvalue(), memory=20 * MIB, seconds=1)

    assert "expected string" in outcome.message


def test_a_name_of_a_megabyte_in_each_row_is_left_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "MAX_UNPACKED", 20 * MIB)
    monkeypatch.setattr(tables, "_BATCH_BYTES", 4 * MIB)
    data = tokens("x" * MIB, rows=1000)

    with pytest.raises(PlanError, match="unpacks to more than"):
        tables.read_table({"confirm/tokens.parquet": data}, "confirm/tokens.parquet")

    assert len(data) < 50_000


def test_a_page_that_holds_more_than_the_footer_says_is_refused():
    data = tokens(values=3, rows=2, use_dictionary=False)
    metadata = pq.read_metadata(io.BytesIO(data))
    column = metadata.row_group(0).column(4)
    place = column.data_page_offset
    header = data[place : place + 40]
    spoilt = header.replace(b"\x15\x0c", b"\x15\x7c", 1)  # num_values: 6 becomes 62

    assert spoilt != header
    read_pages(data, metadata)
    with pytest.raises(ValueError, match="other than the footer says"):
        read_pages(data[:place] + spoilt + data[place + 40 :], metadata)


def test_pages_are_counted_as_pyarrow_writes_them():
    table = pd.DataFrame(
        {"item": [f"i{n:05}" for n in range(5000)], "concept": "c"}
        | {name: [[0, 1, 2]] * 5000 for name in ("starts", "ends", "activations")}
    )
    data = tables.table_bytes(table, "confirm/tokens.parquet")

    pages = read_pages(data, pq.read_metadata(io.BytesIO(data)))

    assert pages.values == 5000 * (2 + 9)
    assert pages.most_repeated <= 15_000


def test_numbers_that_are_none_are_refused(attack: Attack):
    table = pa.table({"item": ["a"], "concept": ["b"], "starts": pa.array([[1]], PLACES),
                      "ends": pa.array([[1]], PLACES),
                      "activations": pa.array([[np.inf]], COLUMNS["activations"])})  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out, store_schema=False)

    assert "not a number" in attack("tokens.parquet", out.getvalue()).message


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x80\x04cos\nsystem\n(S'touch canary'\ntR."]
)
def test_what_is_no_shard_is_run_again(attack: Attack, data: bytes):
    assert attack("shard", data).error is None


def test_a_shard_is_never_a_pickle(attack: Attack):
    import numpy as np

    class Evil:
        def __reduce__(self):
            return (print, ("canary",))

    out = io.BytesIO()
    np.savez(out, name=np.array("one"), items=np.array([Evil()], dtype=object))

    outcome = attack("shard", out.getvalue())

    assert outcome.error is None and outcome.forbidden == ()
