"""Neuronpedia's files: what is taken from them, and what is refused, with its line."""

import gzip
import json

import pytest

from compliance.errors import ConfigError
from compliance.features import reading
from compliance.features.reading import read_features, read_list

PLACE = {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k"}


def explanation(index, description, **more):
    return {**PLACE, "index": str(index), "description": description,
            "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini",
            "embedding": "[0.1,0.2]", **more}  # fmt: skip


def write_lines(path, rows, packed=True):
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def write_json(path, value, **how):
    path.write_text(json.dumps(value, **how), encoding="utf-8")
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_of_explanations_is_read_packed_or_not(tmp_path, packed):
    rows = [explanation(10956, " vendors and suppliers"), explanation(3, "law")]

    found = list(read_features(write_lines(tmp_path / "batch-0.jsonl", rows, packed)))

    assert [(f.index, f.label) for f in found] == [(10956, "vendors and suppliers"), (3, "law")]
    assert found[0].explainer == "gpt-4o-mini"
    assert found[0].method == "oai_token-act-pair"
    assert found[0].place == "neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/10956"


def test_a_folder_of_batches_is_read_in_the_order_of_its_numbers(tmp_path):
    for number in (0, 2, 10):
        write_lines(tmp_path / f"batch-{number}.jsonl.gz", [explanation(number, "x")])
    write_lines(tmp_path / "other.jsonl.gz", [explanation(99, "x")])

    assert [feature.index for feature in read_features(tmp_path)] == [0, 2, 10]


def test_a_folder_without_batches_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no batch-0.jsonl.gz"):
        list(read_features(tmp_path))


def test_a_feature_gives_each_of_its_explanations_with_scores(tmp_path):
    feature = {
        **PLACE, "index": "7", "frac_nonzero": 0.002, "pos_str": [" legal", "law\n"],
        "pos_values": [1.5, 1.25], "vector": [0.0] * 50, "activations": [{"tokens": ["a"]}],
        "explanations": [
            {"description": "legal terms", "typeName": "np_max-act", "scores": [
                {"value": 0.75, "explanationScoreTypeName": "eleuther_fuzz"},
                {"value": None, "explanationScoreTypeName": "eleuther_recall"},
            ]},
            {"description": "courts", "explanationModelName": "o4-mini", "scores": None},
        ],
    }  # fmt: skip
    path = write_json(tmp_path / "7.json", feature, indent=1)

    first, second = read_features(path)

    assert (first.label, second.label) == ("legal terms", "courts")
    assert [(score.kind, score.value) for score in first.scores] == [("eleuther_fuzz", 0.75)]
    assert first.density == 0.002
    assert first.top_tokens == ("legal", "law")


@pytest.mark.parametrize(
    "shape",
    [
        lambda entries: {"name": "mine", "neurons": entries, "activations": []},
        lambda entries: {"name": "mine", "features": entries},
        lambda entries: entries,
    ],
)
def test_lists_of_the_site_of_its_api_and_of_quick_lists_are_read(tmp_path, shape):
    entries = [
        {**PLACE, "index": 5, "description": ""},
        {**PLACE, "index": "9", "description": "mine",
         "neuron": {"frac_nonzero": 0.5, "explanations": [{"description": "theirs"}]}},
        {**PLACE, "index": 9, "description": "again"},
    ]  # fmt: skip

    found = read_list(write_json(tmp_path / "list.json", shape(entries)))

    assert [(f.index, f.label) for f in found.features] == [(5, None), (9, "mine")]
    assert found.neuronpedia_id == "gemma-2-2b/20-gemmascope-res-16k"
    assert found.digest.startswith("sha256:")
    assert found.name == "list.json"


def test_a_list_without_words_of_its_own_takes_the_explanation(tmp_path):
    entry = {**PLACE, "index": 9, "description": "",
             "neuron": {"explanations": [{"description": "theirs"}]}}  # fmt: skip

    found = read_list(write_json(tmp_path / "list.json", {"neurons": [entry]}))

    assert found.features[0].label == "theirs"


def test_a_list_names_features_of_one_source(tmp_path):
    entries = [{**PLACE, "index": 1}, {**PLACE, "layer": "5-other", "index": 1}]

    with pytest.raises(ConfigError, match=r"gemma-2-2b/20-.* and of gemma-2-2b/5-other"):
        read_list(write_json(tmp_path / "list.json", entries))


@pytest.mark.parametrize(("count", "fine"), [(20, True), (21, False)])
def test_a_list_names_as_many_features_as_make_one_probe(tmp_path, count, fine):
    path = write_json(tmp_path / "list.json", [{**PLACE, "index": i} for i in range(count)])
    if fine:
        assert len(read_list(path).features) == count
        return
    with pytest.raises(ConfigError, match="more than 20 features"):
        read_list(path)


def test_an_empty_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="names no feature"):
        read_list(write_json(tmp_path / "list.json", {"neurons": []}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PLACE, "index": "x1", "description": "a"}, r"line 2: index is 'x1'"),
        ({**PLACE, "index": -1, "description": "a"}, r"line 2: index is -1"),
        ({**PLACE, "index": True, "description": "a"}, r"line 2: index is True"),
        ({**PLACE, "index": 1.5, "description": "a"}, r"line 2: index is 1.5"),
        ({"layer": "20-x", "index": 1, "description": "a"}, r"line 2: modelId is None"),
        ({**PLACE, "layer": "20/x", "index": 1}, r"line 2: layer is '20/x'"),
        ([1], r"line 2: found an array, expected an object"),
        ({**PLACE, "index": 1, "tokens": ["a"], "values": [1]}, r"line 2: is an activation"),
    ],
)
def test_a_line_that_is_no_feature_is_named(tmp_path, row, message):
    path = write_lines(tmp_path / "batch-0.jsonl.gz", [explanation(1, "fine"), row])

    with pytest.raises(ConfigError, match=message):
        list(read_features(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>no such page</html>", "not JSON"),
        (b'{"message": "This endpoint has been removed."}', "found an object, expected"),
        (b"[" * 100_000, "not JSON"),
        (b'"\xff"', "not UTF-8"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-9], "cut off"),
        (b"\x1f\x8bnot gzip at all", "damaged"),
    ],
)
def test_what_is_no_file_of_neuronpedias_is_refused(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)

    with pytest.raises(ConfigError, match=message):
        list(read_features(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json: no such file"):
        list(read_features(tmp_path / "gone.json"))


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)
    monkeypatch.setattr(reading, "MAX_LINE", 5_000)
    monkeypatch.setattr(reading, "MAX_DOCUMENT", 6_000)
    many = write_lines(tmp_path / "many.gz", [explanation(i, "x" * 100) for i in range(100)])
    long = write_lines(tmp_path / "long.gz", [explanation(1, "a"), explanation(2, "x" * 6_000)])
    whole = tmp_path / "whole.gz"
    whole.write_bytes(gzip.compress(b" " * 100_000))

    for path, message in ((many, "more than 10,000 bytes"), (long, "line 2: longer than 5,000"),
                          (whole, "larger than 6,000 bytes")):  # fmt: skip
        assert path.stat().st_size < 1_500
        with pytest.raises(ConfigError, match=message):
            list(read_features(path))


def test_labels_are_one_line_without_anything_invisible(tmp_path):
    odd = "  two\nlines\x1b[31m red \u202eback\u200b \ud800 نمی\u200cدانم" + "x" * 500
    path = write_lines(tmp_path / "batch-0.jsonl", [explanation(1, odd)])

    (found,) = read_features(path)

    assert found.label.startswith("two lines [31m red back نمی\u200cدانم")
    assert len(found.label) == reading.MAX_LABEL
    assert found.label.endswith("…")


def test_numbers_that_are_none_are_passed_over(tmp_path):
    path = tmp_path / "batch-0.jsonl"
    path.write_text(
        '{"modelId": "m", "layer": "0-a", "index": 1, "frac_nonzero": NaN, "pos_str": null}\n'
        '{"modelId": "m", "layer": "0-a", "index": 2, "frac_nonzero": 1' + "0" * 400 + "}\n"
    )

    assert [(f.index, f.density) for f in read_features(path)] == [(1, None), (2, None)]
