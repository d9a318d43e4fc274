"""Which number of a version moves, and what is named as the reason."""

import pytest

from compliance.packs.version import FIRST, Parent, decide_version, is_later, next_version
from compliance.records.base import digest_bytes
from tests.packs.example import example_evidence, example_plan, example_sae

BEFORE = example_evidence()
PARENT = Parent("2.4.3", digest_bytes(b"root"), BEFORE)


def with_model(**changes):
    return example_evidence(
        example_plan(model=BEFORE.plan.model.model_copy(update=changes)), lock=BEFORE.lock
    )


def with_sae(**changes):
    return example_evidence(
        example_plan(saes=(example_sae().model_copy(update=changes),)), lock=BEFORE.lock
    )


def test_a_first_pack_has_no_reason():
    found = decide_version(BEFORE, None)

    assert (found.version, found.change, found.reasons) == (FIRST, "first", ())


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (with_model(weights_digest="sha256:other"), "plan.model.weights_digest"),
        (with_model(tokenizer_digest="sha256:other"), "plan.model.tokenizer_digest"),
        (with_model(dtype="bfloat16"), "plan.model.dtype"),
        (with_sae(digest="sha256:other"), "plan.saes.0.digest"),
        (with_sae(activation_scale=0.5), "plan.saes.0.activation_scale"),
        (example_evidence(example_plan(saes=())), "plan.saes"),
    ],
)
def test_another_subject_moves_major_and_is_named(evidence, reason):
    found = decide_version(evidence, PARENT)

    assert (found.version, found.change, found.reasons) == ("3.0.0", "subject", (reason,))


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (example_evidence(example_plan(seed=8), lock=BEFORE.lock), "plan.seed"),
        (example_evidence(results=()), "results"),
        (example_evidence(findings=()), "findings"),
        (example_evidence(observations={}), "observations"),
        (example_evidence(confirm_openings=2), "confirm_openings"),
        (
            example_evidence(environment=BEFORE.environment.model_copy(update={"device": "cuda"})),
            "environment",
        ),
        (with_model(name="another-name"), "plan.model"),
        (with_sae(neuronpedia_id="a/b"), "plan.saes"),
    ],
)
def test_another_measurement_of_one_subject_moves_minor_and_is_named(evidence, reason):
    found = decide_version(evidence, PARENT)

    assert (found.version, found.change, found.reasons) == ("2.5.0", "measurements", (reason,))


@pytest.mark.parametrize("part", ["system", "law"])
def test_other_words_move_patch_and_are_named(part):
    field = {"system": "version", "law": "instrument"}[part]
    other = getattr(BEFORE, part).model_copy(update={field: "other"})

    found = decide_version(example_evidence(**{part: other}), PARENT)

    assert (found.version, found.change, found.reasons) == ("2.4.4", "words", (part,))


def test_the_same_evidence_packed_again_has_a_version_of_its_own():
    found = decide_version(BEFORE, PARENT)

    assert (found.version, found.change, found.reasons) == ("2.4.4", "words", ())


def test_the_largest_change_decides():
    both = with_model(weights_digest="sha256:other").model_copy(update={"results": ()})

    assert decide_version(both, PARENT).reasons == ("plan.model.weights_digest",)
    assert is_later(next_version(both, PARENT), PARENT.version)
