"""What cannot be measured is refused before anything is, and nothing is left to choose later."""

import dataclasses
from types import SimpleNamespace

import pytest

from compliance.assessment.planning import (
    loss_items,
    make_plan,
    planned_items,
    repeated_items,
    shifted_items,
)
from compliance.errors import PlanError
from compliance.records.audit import AuditConfig
from compliance.records.plan import Splits
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import Datasheet, Item
from compliance.suites.load import Suite, load_suite
from compliance.suites.split import CONFIRM, DISCOVER, split_groups
from tests.tiny_audit import LANGUAGES, write_suite

DIGEST = "sha256:" + "0" * 64
MODEL = ModelFacts(
    name="m", architecture="A", weights_digest=DIGEST, tokenizer_digest=DIGEST, parameters=1,
    layers=2, d_model=4, dtype="float32", chat_template=True,
)  # fmt: skip
SAE = SaeFacts(
    name="s", digest=DIGEST, architecture="jumprelu", hook_name="blocks.0.hook_resid_post", d_in=4,
    d_sae=6144, normalisation="none", dtype="float16",
)  # fmt: skip


@pytest.fixture
def suite(tmp_path) -> Suite:
    write_suite(tmp_path / "suite")
    return load_suite("suite", tmp_path)


def planned(*suites: Suite, saes: tuple[SaeFacts, ...] = (SAE,), **changes: object):
    values = {
        "subject": {"model": "./model", "saes": [{"path": "./sae"}]},
        "suites": ["./suite"],
        "probes": [{"concept": "danger"}, {"concept": "flattery"}],
        "languages": list(LANGUAGES),
        "alpha": 0.1,
        "bootstrap_draws": 200,
    }
    config = AuditConfig.model_validate(values | changes)
    return make_plan(config, model=MODEL, saes=saes, suites=suites, software="test")


def changed(suite: Suite, *, name: str, prefix: str, **sheet: object) -> Suite:
    """The suite again, under other ids, with a datasheet that differs in ``danger``."""
    values = suite.datasheet.model_dump(mode="json")
    values["concepts"]["danger"] |= sheet
    items = tuple(
        item.model_copy(update={"id": prefix + item.id, "group": prefix + item.group})
        for item in suite.items
    )
    datasheet = Datasheet.model_validate(values | {"name": name})
    return dataclasses.replace(suite, datasheet=datasheet, items=items)


def without_answer(item: Item) -> Item:
    """A dialogue that ends before the assistant's turn."""
    return item.model_copy(update={"messages": item.messages[:1]})


# -- what a search needs


def test_a_discovered_concept_needs_both_labels_on_discover(suite):
    few = {"groups_per_concept": 2, "benign_groups": 60}  # one to calibrate, one to confirm
    given = [{"concept": "danger", "features": [3]}, {"concept": "flattery", "features": [4]}]

    with pytest.raises(
        PlanError, match="danger in en: 0 positive and 0 hard-neg.* on discover"
    ) as e:
        planned(suite, subset=few)

    assert "add groups" in e.value.hint and "give the probe's features" in e.value.hint
    assert planned(suite, subset=few, probes=given).probes


def test_items_without_the_region_do_not_count_for_the_search(suite):
    searched = set(_discover_groups(suite))
    items = tuple(
        without_answer(i)
        if i.concept == "flattery" and i.group in searched and i.label == "positive"
        else i
        for i in suite.items
    )

    with pytest.raises(
        PlanError, match="flattery in en: 0 positive and 2 hard-negative items with"
    ):
        planned(dataclasses.replace(suite, items=items))


def test_only_the_reference_language_is_searched(suite):
    groups = set(_discover_groups(suite))
    items = tuple(i for i in suite.items if i.group not in groups or i.language == "en")

    assert planned(dataclasses.replace(suite, items=items)).cells


def _discover_groups(suite: Suite) -> list[str]:
    return [g for g, split in split_groups([suite], Splits(), None).items() if split == DISCOVER]


# -- two suites


def test_two_suites_of_one_name_are_refused(suite):
    with pytest.raises(PlanError, match="two suites are named 'tiny'"):
        planned(suite, changed(suite, name="tiny", prefix="b-"))


@pytest.mark.parametrize(
    "sheet", [{"region": "last"}, {"definition": "Another meaning."}], ids=["region", "definition"]
)
def test_a_concept_that_two_suites_define_differently_is_refused(suite, sheet):
    (field,) = sheet

    with pytest.raises(PlanError, match=f"'danger': its {field} is .* in suite tiny and .* other"):
        planned(suite, changed(suite, name="other", prefix="b-", **sheet))


def test_a_concept_with_pairs_in_one_suite_only_is_refused(suite):
    other = changed(suite, name="other", prefix="b-")
    sheet = other.datasheet.model_copy(update={"paired": False})

    with pytest.raises(PlanError, match="'danger': suite other has no pairs and another suite has"):
        planned(suite, dataclasses.replace(other, datasheet=sheet))


def test_a_concept_that_two_suites_define_alike_is_planned(suite):
    assert len(planned(suite, changed(suite, name="other", prefix="b-")).suites) == 2


# -- p values


def test_too_few_latents_to_compare_with_at_random_are_refused(suite):
    """A rank among 38 others is at best 1/39, and two cells need 0.05/2 at the first step."""
    narrow = (SAE.model_copy(update={"d_sae": 39}),)

    with pytest.raises(PlanError, match="38 latents to compare .* 2 cells of danger need 39"):
        planned(suite, saes=narrow)

    assert planned(suite, saes=(SAE.model_copy(update={"d_sae": 40}),)).random_latents == 39
    assert planned(suite).random_latents == 999


# -- other settings


def test_each_setting_changes_one_choice(suite):
    settings = planned(suite).settings

    assert [s.name for s in settings] == [
        "pooling-mean", "pooling-top-5", "pooling-last", "region-read", "alpha-0.05", "alpha-0.2",
    ]  # fmt: skip
    for setting in settings:
        changed = setting.model_dump(exclude={"name"}, exclude_none=True)
        assert len(changed) == 1
    assert [s.scorer for s in settings[-2:]] == ["probe", "probe"]
    assert len({s.cut_off for s in settings}) == len(settings)


def test_a_region_that_is_all_there_is_gives_no_setting_of_its_own(suite):
    prompts = [{"concept": "danger"}]

    assert "region-read" in [s.name for s in planned(suite).settings]
    assert "region-read" not in [s.name for s in planned(suite, probes=prompts).settings]
    last = [{"concept": "danger", "region": "last"}]
    assert "region-read" in [s.name for s in planned(suite, probes=last).settings]


def test_a_second_sae_is_a_setting_of_its_own(suite):
    settings = planned(suite, saes=(SAE, SAE.model_copy(update={"name": "t"}))).settings

    assert [s.sae for s in settings if s.sae is not None] == [0, 1]


# -- what is run again


@pytest.fixture
def confirm(suite) -> list[Item]:
    return planned_items(planned(suite), [suite])[CONFIRM]


def test_losses_are_taken_on_the_same_benign_groups_in_every_language(suite, confirm):
    plan = planned(suite, robustness={"loss_items": 5})

    found = loss_items(plan, confirm)

    by_language = {tag: {i.group for i in found if i.language == tag} for tag in LANGUAGES}
    assert all(len(groups) == 5 for groups in by_language.values())
    assert len(set(map(frozenset, by_language.values()))) == 1
    assert all(item.label == "negative" for item in found)
    assert loss_items(plan, confirm[::-1]) == found


def test_repeats_are_items_of_the_reference_language_that_have_the_region(suite, confirm):
    plan = planned(suite, robustness={"repeated_items": 3})
    unread = [without_answer(i) if i.concept == "flattery" else i for i in confirm]

    found = repeated_items(plan, confirm)

    assert [i.concept for i in found] == ["danger"] * 3 + ["flattery"] * 3
    assert {i.language for i in found} == {"en"}
    assert {i.concept for i in repeated_items(plan, unread)} == {"danger"}


def test_whole_groups_are_shifted_in_the_languages_of_the_lock(suite, confirm):
    plan = planned(suite, robustness={"shifted_groups": 2})
    choices = SimpleNamespace(shifted_languages={"danger": ("en", "el"), "flattery": ("en",)})

    found = shifted_items(plan, choices, confirm)

    sizes = {c: sum(i.concept == c for i in found) for c in ("danger", "flattery")}
    assert sizes == {"danger": 2 * 2 * 2, "flattery": 2 * 2 * 1}
    assert len({i.group for i in found}) == 4


def test_another_seed_runs_other_items_again(suite, confirm):
    few = {"repeated_items": 3}
    one, other = (planned(suite, seed=seed, robustness=few) for seed in (1, 2))

    assert repeated_items(one, confirm) != repeated_items(other, confirm)
