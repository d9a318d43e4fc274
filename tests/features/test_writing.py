"""Locked features as Neuronpedia's exports hold features: they can be read back, byte for byte."""

import gzip
import json
from dataclasses import replace

import pytest

from compliance.features.reading import read_features
from compliance.features.writing import (
    MOST_EXAMPLES,
    Example,
    LockedFeature,
    Measured,
    export_files,
    own_id,
    pieces,
)

FEATURE = LockedFeature(
    neuronpedia_id="tiny/1-res",
    index=20,
    hook_name="blocks.1.hook_resid_post",
    concept="danger",
    title="Danger",
    density=0.25,
    top=[(" bomb", 0.5), ("!", 0.25)],
    bottom=[("calm", -0.5)],
    nearest=[(7, 0.75)],
    examples=[
        Example("suite/a", "an old bomb", [3, 6], [6, 11], [1.5, 3.0]),
        Example("suite/b", "nothing here", [], [], []),
    ],
    scores=[Measured("auroc-hard", "danger/en/text/plain", 0.75, 0.5, 0.9, 8)],
)


def written(*features):
    return export_files(features, layers=3, d_model=32, software="ours 1", dataset="suite 1.0.0")


def rows(files, path):
    data = gzip.decompress(files[path]) if path.endswith(".gz") else files[path]
    return [json.loads(line) for line in data.splitlines()]


def test_what_is_written_is_read_back(tmp_path):
    for path, data in written(FEATURE).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)

    (explained,) = read_features(tmp_path / "tiny/1-res/explanations")
    (feature,) = read_features(tmp_path / "tiny/1-res/features")

    assert (explained.model, explained.source, explained.index) == ("tiny", "1-res", 20)
    assert explained.label == "Danger"
    assert [(s.kind, s.value) for s in explained.scores] == [
        ("sae-compliance-locked/auroc-hard", 0.75)
    ]
    assert feature.density == 0.25
    assert feature.top_tokens == ("bomb", "!")


def test_a_feature_has_the_columns_of_an_export():
    (feature,) = rows(written(FEATURE), "tiny/1-res/features/batch-0.jsonl.gz")

    assert feature["index"] == "20"
    assert feature["sourceSetName"] == "res"
    assert feature["hookName"] == "blocks.1.hook_resid_post"
    assert feature["maxActApprox"] == 3.0
    assert (feature["pos_str"], feature["pos_values"]) == ([" bomb", "!"], [0.5, 0.25])
    assert (feature["neg_str"], feature["neg_values"]) == (["calm"], [-0.5])
    assert (feature["topkCosSimIndices"], feature["topkCosSimValues"]) == ([7], [0.75])
    bars = feature["freq_hist_data_bar_heights"], feature["freq_hist_data_bar_values"]
    assert len(bars[0]) == len(bars[1]) == 20
    assert sum(bars[0]) == 2
    assert (bars[1][0], bars[1][-1]) == (0.075, 2.925)


def test_activations_are_those_of_texts_on_which_it_is_active():
    (one,) = rows(written(FEATURE), "tiny/1-res/activations/batch-0.jsonl.gz")

    assert one["tokens"] == ["an ", "old", " bomb"]
    assert one["values"] == [0.0, 1.5, 3.0]
    assert (one["maxValue"], one["maxValueTokenIndex"], one["minValue"]) == (3.0, 2, 0.0)
    assert one["dataSource"] == "suite/a"


def test_the_strongest_texts_are_taken():
    many = [Example(f"suite/{i:03d}", "x", [0], [1], [float(i)]) for i in range(1, 100)]

    found = rows(
        written(replace(FEATURE, examples=many)), "tiny/1-res/activations/batch-0.jsonl.gz"
    )

    assert [row["maxValue"] for row in found] == [float(99 - i) for i in range(MOST_EXAMPLES)]


@pytest.mark.parametrize(
    ("text", "starts", "ends", "values", "tokens", "expected"),
    [
        ("abcd", [1, 2], [2, 3], [1.0, 2.0], ["a", "b", "c", "d"], [0, 1, 2, 0]),
        ("αβ", [0, 0, 1], [1, 1, 2], [1.0, 3.0, 2.0], ["α", "β"], [3, 2]),
        ("αβγ", [0, 1], [2, 3], [1.0, -4.0], ["αβγ"], [-4]),
        ("abc", [], [], [], ["abc"], [0]),
        ("", [], [], [], [], []),
    ],
)
def test_a_text_is_cut_into_active_tokens_and_what_lies_between(
    text, starts, ends, values, tokens, expected
):
    found = pieces(Example("p", text, starts, ends, values))

    assert found == (tokens, expected)
    assert "".join(found[0]) == text


def test_a_latent_of_two_concepts_is_one_feature_with_two_explanations():
    files = written(FEATURE, replace(FEATURE, concept="harm", title="Harm"))

    assert len(rows(files, "tiny/1-res/features/batch-0.jsonl.gz")) == 1
    assert len(rows(files, "tiny/1-res/activations/batch-0.jsonl.gz")) == 1
    explained = rows(files, "tiny/1-res/explanations/batch-0.jsonl.gz")
    assert [row["description"] for row in explained] == ["Danger", "Harm"]
    assert len({row["id"] for row in explained}) == 2


def test_equal_features_are_equal_bytes():
    assert written(FEATURE) == written(FEATURE)
    packed = written(FEATURE)["tiny/1-res/features/batch-0.jsonl.gz"]
    assert packed[4:8] == b"\0\0\0\0"


def test_source_and_model_are_described():
    files = written(FEATURE)

    (model,), (source,) = (rows(files, f"tiny/1-res/{n}.jsonl") for n in ("model", "source"))
    assert (model["id"], model["layers"], model["dimension"]) == ("tiny", 3, 32)
    assert (source["id"], source["setName"], source["dataset"]) == ("1-res", "res", "suite 1.0.0")
    (kind,) = rows(files, "config/explanation_type.jsonl")
    (explained,) = rows(files, "tiny/1-res/explanations/batch-0.jsonl.gz")
    assert kind["name"] == explained["typeName"]


@pytest.mark.parametrize(
    ("model", "hook", "sae", "expected"),
    [
        ("org/SmolLM2-135M", "blocks.12.hook_resid_post", "sae", "smollm2-135m/12-sae"),
        ("my model (v2)", "vision.blocks.3.hook_resid_post", "rel/layer_3/x",
         "my-model-v2/3-x"),
        ("..", "hook_embed", "../..", "unnamed/0-unnamed"),
    ],
)  # fmt: skip
def test_an_sae_without_a_place_gets_an_id_of_its_own(model, hook, sae, expected):
    assert own_id(model, hook, sae) == expected
