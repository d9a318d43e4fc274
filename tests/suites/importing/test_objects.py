"""JSON, JSON Lines, Parquet and dataset folders give the rows that a table would give."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.errors import SuiteError
from compliance.suites.importing import json_rows
from compliance.suites.importing.rows import Meter, Refused
from compliance.suites.importing.sources import open_source
from tests.suites.importing.kit import as_objects, rows, write_lines

OBJECTS = as_objects(rows())


def read(path, **options):
    source = open_source(path, **options)
    return [row for file in source.files for row in file.rows(Meter())]


def values(path, **options):
    return [dict(row.values) for row in read(path, **options)]


def table(objects=OBJECTS):
    return pa.Table.from_pylist(objects)


def test_json_lines_are_rows(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", OBJECTS)

    assert values(path) == OBJECTS
    assert [row.number for row in read(path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_rows_however_it_is_laid_out(tmp_path, indent):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(OBJECTS, indent=indent), encoding="utf-8")

    assert values(path) == OBJECTS


def test_an_array_is_read_through_a_small_window(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "CHUNK", 7)
    objects = [{"n": n, "text": "x" * n, "in": {"a": [n, "ü😀"]}} for n in range(1, 40)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")

    assert values(path) == objects


@pytest.mark.parametrize("chunk", range(1, 9))
def test_members_before_an_array_are_passed_whole(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_rows, "CHUNK", chunk)
    (tmp_path / "a.json").write_text('{"n": 12345, "o": {"p": [1, 23]}, "rows": [{"a": 456}]}')
    passed = {}

    found = list(
        json_rows.read_json_array(
            tmp_path / "a.json", "a.json", Meter(), member="rows", passed=passed
        )
    )

    assert passed == {"n": 12345, "o": {"p": [1, 23]}} and found[0].values == {"a": 456}


def test_a_file_called_json_may_hold_lines(tmp_path):
    assert values(write_lines(tmp_path / "a.json", OBJECTS)) == OBJECTS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1, "a": 2}', "a key appears twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[1]", "expected an object, found list"),
        (b'{"a": "caf\xe9"}', "byte 0xE9 as character 4 is not UTF-8"),
        (b'{"a": {"b": ["x", "a\\u0000"]}}', "a NUL byte"),
        (b'{"a": "\\ud800"}', "U+D800"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_its_place(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "good"}\n\n' + line + b'\n{"a": "good"}\n')

    first, refused, last = read(tmp_path / "a.jsonl")

    assert (first.number, last.number) == (1, 4)
    assert isinstance(refused, Refused) and refused.row == 3
    assert words in refused.reason


def test_a_value_inside_an_object_is_named(tmp_path):
    (refused,) = read(write_lines(tmp_path / "a.jsonl", [{"a": {"b": ["x", "a\0"]}}]))

    assert refused.column == "a.b.1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a": 1}, {"a": ', "row 2: not valid JSON"),
        ('[{"a": 1} {"a": 2}]', "row 1: expected a comma"),
        ('[{"a": 1}]\n[{"a": 2}]', "row 1: expected the end of the file, found '['"),
        ('[{"a": 1}', "row 1: expected a comma or the end of the array, found 'the end"),
        ("{\n", "one object, expected an array"),
    ],
)
def test_an_array_that_breaks_off_is_refused(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")

    with pytest.raises(SuiteError) as caught:
        read(tmp_path / "a.json")

    assert words in str(caught.value)


def test_an_array_without_an_end_does_not_fill_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "MAX_ROW", 1000)
    monkeypatch.setattr(json_rows, "CHUNK", 100)
    (tmp_path / "a.json").write_text('[{"a": "' + "x" * 9000, encoding="utf-8")

    with pytest.raises(SuiteError, match="row 1: longer than 1,000 characters"):
        read(tmp_path / "a.json")


def test_parquet_is_rows(tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=2)

    assert values(tmp_path / "a.parquet") == OBJECTS
    assert [row.number for row in read(tmp_path / "a.parquet")] == [1, 2, 3, 4, 5, 6]


def test_a_cell_of_parquet_that_is_not_utf8_is_refused_with_its_place(tmp_path):
    text = pa.array([b"good", b"caf\xe9"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, text.buffers())
    batch = pa.table({"id": ["1", "2"], "text": broken})
    pq.write_table(batch, tmp_path / "a.parquet")

    first, refused = read(tmp_path / "a.parquet")

    assert first.values == {"id": "1", "text": "good"}
    assert (refused.row, refused.column, refused.kind) == (2, "text", "not UTF-8")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_what_is_neither_parquet_nor_arrow_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else")

    with pytest.raises(SuiteError, match=f"{name}: not a"):
        read(tmp_path / name)


def save_to_disk(folder, objects, split="train"):
    """As ``datasets.Dataset.save_to_disk`` writes it, in two files."""
    folder.mkdir(parents=True)
    names = []
    for number, part in enumerate((objects[:4], objects[4:])):
        names.append(f"data-{number:05}-of-00002.arrow")
        with pa.ipc.new_stream(str(folder / names[-1]), table(part).schema) as writer:
            writer.write_table(table(part))
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (folder / "dataset_info.json").write_text("{}", encoding="utf-8")


def test_a_saved_dataset_is_rows(tmp_path):
    save_to_disk(tmp_path / "set", OBJECTS)

    assert values(tmp_path / "set") == OBJECTS


def test_a_saved_dataset_has_splits(tmp_path):
    save_to_disk(tmp_path / "set" / "train", OBJECTS[:5])
    save_to_disk(tmp_path / "set" / "test", OBJECTS, "test")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    assert values(tmp_path / "set", split="test") == OBJECTS
    with pytest.raises(SuiteError, match="no split is chosen; there are test, train"):
        read(tmp_path / "set")
    with pytest.raises(SuiteError, match="no split 'dev'; there are test, train"):
        read(tmp_path / "set", split="dev")


@pytest.mark.parametrize("name", ["../a.arrow", "/a.arrow", ""])
def test_a_saved_dataset_does_not_lead_out_of_its_folder(tmp_path, name):
    save_to_disk(tmp_path / "set", OBJECTS)
    state = {"_data_files": [{"filename": name}]}
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))

    with pytest.raises(SuiteError, match="expected a name in the folder"):
        read(tmp_path / "set")


def test_shards_of_parquet_are_rows_in_order(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    for number in (1, 0):
        part = table(OBJECTS[3 * number : 3 * number + 3])
        pq.write_table(part, tmp_path / "set" / "data" / f"train-{number:05}-of-00002.parquet")

    found = read(tmp_path / "set")

    assert [dict(row.values) for row in found] == OBJECTS
    assert found[3].file == "set/data/train-00001-of-00002.parquet" and found[3].number == 1


def test_a_missing_shard_is_named(tmp_path):
    (tmp_path / "set").mkdir()
    pq.write_table(table(), tmp_path / "set" / "train-00001-of-00002.parquet")

    with pytest.raises(SuiteError, match="shard 00000 of 00002 of split 'train' is missing"):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.csv", "no such file"), ("a.xlsx", "expected a name that ends in"), ("", "found neither")],
)
def test_what_is_no_source_is_refused(tmp_path, name, words):
    if name == "a.xlsx":
        (tmp_path / name).write_bytes(b"PK")

    with pytest.raises(SuiteError, match=words):
        open_source(tmp_path / name)


def test_a_file_has_no_splits(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", OBJECTS)

    with pytest.raises(SuiteError, match="a file has no splits"):
        open_source(path, split="train")
