"""The passes of an audit of a tiny vision-language model, over texts and pictures of a suite."""

import shutil

import pytest
import yaml

from compliance.assessment.planning import shifted_items
from compliance.errors import ProbeError, SuiteError
from compliance.records.audit import ImageShift
from compliance.records.base import to_json
from compliance.suites.load import load_suite
from compliance.suites.pictures import store_picture
from compliance.workflow import audits
from compliance.workflow.stages import load_reader, run_pass
from tests.probes.tiny import save_tiny_sae, save_tiny_subject
from tests.probes.tiny_vision import draw, save_tiny_vision
from tests.tiny_audit import suite_items, write_audit, write_items
from tests.workflow.test_passes import Observed, Told, run_of

SHIFTS = ("typos", "blank", "noise", "scrambled")
SAYS = {"en": "What is it?", "el": "Τι είναι;"}


def write_picture_audit(folder, modalities=("text", "image")):
    """The tiny audit, with a picture beside each of its texts."""
    robustness = {"shifts": list(SHIFTS), "shifted_groups": 3, "repeated_items": 4, "loss_items": 2}
    audit = write_audit(folder, modalities=list(modalities), robustness=robustness)
    for name in ("model", "sae"):
        shutil.rmtree(folder / name)
    save_tiny_vision(folder / "model", "llava")
    save_tiny_sae(folder / "sae", d_sae=128)
    items = suite_items(groups=12, benign=60)
    write_items(folder / "suite", items + [shown(item, folder / "suite") for item in items])
    config = yaml.safe_load(audit.read_text())
    config["subject"]["name"] = "tiny-llava"
    audit.write_text(yaml.safe_dump(config))
    return audit


def shown(item, folder):
    image = store_picture(draw(item["id"]), folder, description=item["id"])
    kept = {key: value for key, value in item.items() if key not in ("text", "messages")}
    return kept | {
        "id": f"p-{item['id']}", "modality": "image", "rendering": "depicted", "format": "prompt",
        "text": SAYS[item["language"]], "image": to_json(image),
    }  # fmt: skip


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    return Observed(write_picture_audit(tmp_path_factory.mktemp("pictures")))


def test_every_picture_was_run_and_has_its_tokens(observed):
    items = observed.confirm.items

    assert set(items["modality"]) == {"text", "image"}
    assert set(items["item"]) == {item.id for item in observed.items["confirm"]}
    patches = observed.confirm.patches
    labelled = items[(items["modality"] == "image") & (items["label"] != "negative")]
    assert set(patches["item"]) == set(labelled["item"])
    assert set(zip(patches["rows"], patches["columns"], strict=True)) == {(4, 4)}
    assert {len(values) for values in patches["activations"]} == {16}
    texts = items[items["modality"] == "text"]
    assert set(observed.confirm.tokens["item"]) == set(texts["item"])
    assert not observed.confirm.cofiring.empty


def test_shifts_of_pictures_change_pictures_and_shifts_of_texts_texts(observed):
    chosen = shifted_items(observed.plan, observed.lock, observed.items["confirm"])
    shifts, scores = observed.confirm.shifts, observed.confirm.scores
    before = scores[scores["scorer"] == "probe"].set_index(["item", "concept"])["score"]

    for shift in SHIFTS:
        of_pictures = shift in ImageShift.__args__
        expected = {i.id for i in chosen if (i.image is not None) == of_pictures}
        found = shifts[shifts["shift"] == shift].set_index(["item", "concept"])["score"]
        assert expected
        assert {item for item, _ in found.index} == expected
        assert (found != before.loc[found.index]).mean() > 0.5, shift


def test_scores_of_pictures_run_alone_agree_with_those_in_a_batch(observed):
    repeats = observed.confirm.repeats

    assert repeats["item"].str.startswith("p-").any()
    assert (repeats["batched"] - repeats["alone"]).abs().max() <= 1e-5


def test_means_and_firing_are_of_words_and_of_pictures(observed):
    assert set(observed.fit.means["region"]) == {"read", "image"}
    assert set(observed.confirm.firing["region"]) == {"read", "image"}


def test_the_package_that_resizes_pictures_is_of_the_environment(observed):
    assert observed.run.environment().packages["pillow"]


def test_an_audit_of_texts_alone_opens_no_picture_and_needs_no_processor(tmp_path):
    audit = write_picture_audit(tmp_path, modalities=["text"])
    for path in (tmp_path / "suite" / "images").iterdir():
        path.write_bytes(b"no picture")
    broken = '{"image_processor_type": "Cohere2VisionImageProcessor"}'
    (tmp_path / "model" / "preprocessor_config.json").write_text(broken)

    observed = Observed(audit)

    assert set(observed.confirm.items["modality"]) == {"text"}
    assert observed.confirm.patches.empty


def test_a_model_of_texts_that_is_shown_pictures_is_told_in_one_line(tmp_path):
    audit = write_picture_audit(tmp_path)
    shutil.rmtree(tmp_path / "model")
    save_tiny_subject(tmp_path / "model", "llama")
    audits.plan(audit)

    with pytest.raises(ProbeError, match="has a picture, and model takes none"):
        audits.observe(audit, Told())


def test_a_picture_that_was_changed_ends_a_run_before_it_begins(tmp_path):
    audit = write_picture_audit(tmp_path)
    audits.plan(audit)
    run, suites = run_of(audit), [load_suite("./suite", tmp_path)]
    item = next(i for i in suites[0].items if i.image is not None)
    draw("another").save(tmp_path / "suite" / item.image.path)
    config = audits.read_yaml(audit, audits.AuditConfig)

    with pytest.raises(SuiteError, match=item.image.digest[7:19]):
        run_pass(run, "fit", suites, load_reader(config, tmp_path), Told())
