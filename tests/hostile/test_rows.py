"""Files that suites are imported from: CSV, JSON, Parquet, Arrow and logs of Inspect."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack

MILLIONS = np.zeros(20_000_000, np.int8)
LONG = "x" * 5_000_000


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", **options)
    return out.getvalue()


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(out, table.schema, options=options) as stream:
        stream.write_table(table)
    return out.getvalue()


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def same(text: str, times: int) -> pa.Table:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), [text])
    return pa.table({"a": column})


def test_a_text_of_a_dictionary_is_not_multiplied(attack: Attack):
    data = parquet(same(LONG, 100))

    outcome = attack("Parquet", data, memory=200 * MIB)

    assert len(data) < 5000 and outcome.error is None


def test_a_row_that_is_a_list_of_millions_is_refused(attack: Attack):
    data = parquet(pa.table({"a": pa.ListArray.from_arrays([0, len(MILLIONS)], MILLIONS)}))

    assert "lists of" in attack("Parquet", data, memory=100 * MIB).message


def test_a_page_may_say_no_more_than_the_footer(attack: Attack):
    data = parquet(pa.table({"a": [1, 2, 3]}), use_dictionary=False)
    spoilt = data.replace(b"\x15\x06", b"\x15\x7e")  # num_values: 3 becomes 63

    assert spoilt != data
    assert attack("Parquet", spoilt).error == "SuiteError"


@pytest.mark.parametrize("columns", [20_000])
def test_thousands_of_columns_are_refused(attack: Attack, columns: int):
    data = parquet(pa.table({f"c{i}": [1] for i in range(columns)}))

    assert "columns" in attack("Parquet", data, memory=200 * MIB).message


@pytest.mark.parametrize("size", [0, 8, 2**31 - 1])
def test_a_footer_that_is_not_there_is_refused(attack: Attack, size: int):
    data = parquet(pa.table({"a": [1]}))

    outcome = attack("Parquet", data[:-8] + size.to_bytes(4, "little") + b"PAR1")

    assert outcome.error == "SuiteError"


def test_compressed_arrow_is_refused(attack: Attack):
    for table in (pa.table({"a": MILLIONS}), same(LONG, 10)):
        outcome = attack("Arrow", arrow(table, "zstd"), memory=20 * MIB)

        assert "compressed" in outcome.message


def test_offsets_of_arrow_that_lead_out_of_the_file_are_refused(attack: Attack):
    data = arrow(pa.table({"a": ["hello", "world"]}))
    inside, outside = struct.pack("<ii", 5, 10), struct.pack("<ii", 2**30, 2**31 - 1)

    outcome = attack("Arrow", data.replace(inside, outside))

    assert inside in data and outcome.error == "SuiteError"


def test_an_index_into_a_dictionary_that_leads_out_of_it_is_refused(attack: Attack):
    data = arrow(pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}))
    inside = struct.pack("<iii", 0, 1, 0)

    outcome = attack("Arrow", data.replace(inside, struct.pack("<iii", 0, 2**30, 0)))

    assert inside in data and outcome.error == "SuiteError"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b",".join(b"c%d" % i for i in range(200_000)) + b"\n", "columns"),
        (b'a,b\n"' + b"x" * 32_500_000, "longer than"),
        (b"a,b\n" + b'"x\n' * 1000, "not valid CSV"),
    ],
    ids=["200,000 columns", "a quote without end", "a quote inside"],
)
def test_csv_is_refused(attack: Attack, text: bytes, message: str):
    assert message in attack("CSV", text, memory=150 * MIB).message


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000,
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":NaN}',
        b'{"a":[' + b"[]," * 2_000_000 + b"1]}",
        b'{"a":1,"a":2}',
    ],
    ids=["deep", "900 deep", "100,000 digits", "NaN", "millions of lists", "a key twice"],
)
def test_a_line_of_json_is_a_row_that_is_refused(attack: Attack, text: bytes):
    for name, data in (("JSON Lines", b'{"b":1}\n' + text), ("JSON array", b"[" + text + b"]")):
        outcome = attack(name, data)

        assert outcome.error is None or outcome.error == "SuiteError"


def test_an_entry_of_a_log_that_unpacks_without_end_is_cut(attack: Attack):
    data = bytearray(archive(("header.json", b"{}"), ("samples/1.json", bytes(200_000_000))))
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = (1000).to_bytes(4, "little")

    assert attack("Inspect ZIP", bytes(data), memory=100 * MIB).error == "SuiteError"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_log_packed_otherwise_is_refused(attack: Attack, method: int):
    data = archive(("header.json", bytes(30_000_000)), method=method)

    assert attack("Inspect ZIP", data, memory=20 * MIB).error == "SuiteError"


def test_an_encrypted_log_is_refused(attack: Attack):
    data = bytearray(archive(("header.json", b"{}")))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + flags] |= 1

    assert attack("Inspect ZIP", bytes(data)).error == "SuiteError"


@pytest.mark.parametrize(
    "name", ["../x.arrow", "/etc/hostname", "x\0.arrow", "\ud800.arrow", "a/b", "", ".."]
)
def test_a_data_set_names_files_of_its_own_alone(attack: Attack, name: str):
    state = {"_split": "train", "_data_files": [{"filename": name}]}

    assert attack("state.json", json.dumps(state)).error == "SuiteError"


@pytest.mark.parametrize("files", [[1], [None], [{"filename": 1}], "x", {"a": 1}])
def test_a_state_of_another_shape_is_refused(attack: Attack, files: object):
    state = {"_split": "train", "_data_files": files}

    assert attack("state.json", json.dumps(state)).error == "SuiteError"


def test_a_link_in_a_data_set_does_not_lead_out(attack: Attack, tmp_path: Path):
    secret = tmp_path / "secret.arrow"

    def link(path: Path) -> None:
        file = path.parent / "data-00000-of-00001.arrow"
        file.rename(secret)
        file.symlink_to(secret)

    assert "expected a name in the folder" in attack("state.json", prepare=link).message
