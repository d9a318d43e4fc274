"""What cannot be measured is refused before anything is, and nothing is left to choose later."""

import dataclasses
from collections import Counter
from collections.abc import Callable
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
from compliance.suites.split import CALIBRATE, CONFIRM, DISCOVER, split_groups
from compliance.suites.wording import has_region
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


def test_a_part_of_a_suite_that_is_not_there_is_refused(suite):
    with pytest.raises(PlanError, match="no suite of this audit is named 'sed'") as e:
        planned(suite, subset={"groups_per_concept": 10, "benign_groups": {"sed": 40}})

    assert suite.datasheet.name in e.value.hint


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


# -- pictures

BOTH = {"modalities": ["text", "image"]}
GIVEN = {"probes": [{"concept": "danger", "features": [3]}]}


def picture_of(item: Item, modality: str, rendering: str) -> Item:
    """The same meaning in a picture."""
    values = item.model_dump(mode="json", exclude_none=True, exclude={"messages"})
    changed = {
        "id": f"{item.id}-{modality}-{rendering}", "modality": modality, "rendering": rendering,
        "text": "What does this picture show?", "format": "prompt",
        "image": {"digest": DIGEST, "width": 8, "height": 8, "description": "a picture"},
    }  # fmt: skip
    return Item.model_validate(values | changed)


def with_pictures(
    suite: Suite,
    *forms: str,
    only: Callable[[Item], bool] = lambda item: True,
) -> Suite:
    """The suite with pictures of some of its items, in forms such as ``image/typographic``."""
    pictures = [picture_of(i, *form.split("/")) for form in forms for i in suite.items if only(i)]
    return dataclasses.replace(suite, items=(*suite.items, *pictures))


def texts_away(suite: Suite) -> Suite:
    return dataclasses.replace(suite, items=tuple(i for i in suite.items if i.image))


def forms_of(items) -> Counter[str]:
    return Counter(f"{one.modality}/{one.rendering}" for one in items)


def test_cells_are_apart_by_modality_and_rendering(suite):
    seen = with_pictures(suite, "image/typographic", "image/depicted")

    cells = planned(seen, **BOTH).cells

    assert [c.key for c in cells if (c.concept, c.language) == ("danger", "el")] == [
        "danger/el/text/plain", "danger/el/image/depicted", "danger/el/image/typographic",
    ]  # fmt: skip
    assert {c.modality for c in planned(seen).cells} == {"text"}


def test_a_planned_modality_without_items_stays_a_cell_that_is_not_covered(suite):
    plan = planned(suite, **BOTH)

    assert forms_of(plan.cells) == {"text/plain": 4, "image/typographic": 4}
    assert plan.searched == ("en", "text", "plain")
    assert forms_of(planned_items(plan, [suite])[CONFIRM]).keys() == {"text/plain"}


def test_a_plan_has_the_controls_and_rules_of_its_modalities(suite):
    seen = with_pictures(suite, "image/typographic", "image-text/typographic")
    surface = {}
    for modalities in (["text"], ["image"], ["image-text"], ["text", "image"]):
        plan = planned(seen, modalities=modalities)
        conditions = [r.condition for r in plan.rules if r.needs]
        assert conditions == [f"beats-{c}" for c in plan.controls[1:-7]]
        surface[tuple(modalities)] = plan.controls[1:-7]

    assert surface == {
        ("text",): ("ngrams",),
        ("image",): ("ngrams", "colour", "pixels"),  # it is a picture of words
        ("image-text",): ("ngrams", "colour", "pixels"),
        ("text", "image"): ("ngrams", "colour", "pixels"),
    }


def test_each_form_needs_benign_items_of_its_own(suite):
    """The suite's 60 benign texts do not count for pictures, nor do pictures of another kind."""
    few = with_pictures(suite, "image/typographic", only=lambda i: i.concept is not None)
    other = with_pictures(few, "image/depicted", only=lambda i: i.image is None)

    with pytest.raises(PlanError, match=r"danger in en \(image, typographic\): no benign items"):
        planned(few, **BOTH, **GIVEN)
    with pytest.raises(PlanError, match=r"danger in en \(image, typographic\): no benign items"):
        planned(other, **BOTH, **GIVEN)
    assert planned(few, **GIVEN).cells  # pictures are not planned


def test_too_few_benign_pictures_cannot_set_a_cut_off(suite):
    splits = split_groups([suite], Splits(), None)
    benign = [g for g, split in sorted(splits.items()) if split == CALIBRATE and g.startswith("b")]
    seen = with_pictures(suite, "image/typographic", only=lambda i: i.group not in benign[8:])

    with pytest.raises(
        PlanError, match=r"danger in en \(image, typographic\): 8 benign items to calibrate on"
    ):
        planned(seen, **BOTH)


@pytest.mark.parametrize(("label", "split"), [("positive", CONFIRM), ("hard-negative", "fit")])
def test_a_cell_of_pictures_needs_both_labels_on_both_sides(suite, label, split):
    splits = split_groups([suite], Splits(), None)

    def kept(item: Item) -> bool:
        there = CONFIRM if splits[item.group] == CONFIRM else "fit"
        return item.concept is None or (item.label, there) != (label, split)

    with pytest.raises(PlanError, match=rf"danger in en \(image, depicted\): no {label} items on"):
        planned(with_pictures(suite, "image/depicted", only=kept), **BOTH)


def test_latents_are_searched_in_text_or_else_in_the_form_most_concepts_have(suite):
    seen = with_pictures(suite, "image/typographic")
    seen = with_pictures(seen, "image/depicted", only=lambda i: i.concept != "flattery"
                         and i.image is None)  # fmt: skip

    def searched(source: Suite, **changes: object) -> str:
        return str(planned(source, **changes).searched)

    assert searched(seen, **BOTH) == searched(seen) == "en/text/plain"
    assert searched(texts_away(seen), modalities=["image"]) == "en/image/typographic"
    assert searched(seen, modalities=["image"], **GIVEN) == "en/image/depicted"


def test_a_search_in_pictures_needs_both_labels_there(suite):
    groups = set(_discover_groups(suite))
    seen = with_pictures(
        suite, "image/depicted", only=lambda i: i.language == "el" or i.group not in groups
    )

    with pytest.raises(
        PlanError, match=r"danger in en \(image, depicted\): 0 pos.* 'image' on disc"
    ):
        planned(seen, modalities=["image"])


def test_items_of_forms_that_are_not_planned_are_not_run(suite):
    seen = with_pictures(suite, "image/typographic", "image-text/typographic")

    def run(*modalities: str) -> Counter[str]:
        return forms_of(planned_items(planned(seen, modalities=modalities), [seen])[CONFIRM])

    texts = run("text")
    n = texts["text/plain"]
    assert texts == {"text/plain": n} and n > 0
    assert run("image") == {"image/typographic": n}
    assert run("text", "image") == {"text/plain": n, "image/typographic": n}


def test_a_subset_keeps_all_variants_of_its_groups(suite):
    seen = with_pictures(suite, "image/typographic")
    plan = planned(seen, subset={"groups_per_concept": 10, "benign_groups": 40}, **BOTH)

    for items in planned_items(plan, [seen]).values():
        texts, pictures = (
            Counter((i.group, i.language, i.label) for i in items if (i.image is None) == words)
            for words in (True, False)
        )
        assert texts and texts == pictures


def test_a_picture_is_read_whatever_the_region_of_the_words(suite):
    """Flattery reads the assistant, whose turn these pictures do not have."""
    seen = with_pictures(suite, "image/typographic")
    plan = planned(seen, robustness={"repeated_items": 100}, **BOTH)

    picture = next(i for i in seen.items if i.image)
    assert has_region(picture, "image") and not has_region(suite.items[0], "image")
    assert not has_region(picture, "assistant")
    found = repeated_items(plan, planned_items(plan, [seen])[CONFIRM])
    assert {(i.concept, i.modality) for i in found} == {
        (c, m) for c in ("danger", "flattery") for m in ("text", "image")
    }


def test_repeats_are_as_many_of_each_modality_and_losses_of_texts(suite):
    seen = with_pictures(suite, "image/typographic")
    plan = planned(seen, robustness={"repeated_items": 3, "loss_items": 5}, **BOTH)
    alone = planned(suite, robustness={"repeated_items": 3, "loss_items": 5})
    confirm = planned_items(plan, [seen])[CONFIRM]

    repeated, losses = repeated_items(plan, confirm), loss_items(plan, confirm)

    assert forms_of(i for i in repeated if i.concept == "danger") == {
        "text/plain": 3, "image/typographic": 3,
    }  # fmt: skip
    assert {i.language for i in repeated} == {"en"}
    texts = planned_items(alone, [suite])[CONFIRM]
    assert losses == loss_items(alone, texts)
    assert [i for i in repeated if not i.image] == repeated_items(alone, texts)


def test_shifted_groups_are_there_in_every_form(suite):
    seen = with_pictures(suite, "image/typographic")
    plan = planned(seen, robustness={"shifted_groups": 2}, **BOTH)
    choices = SimpleNamespace(shifted_languages={"danger": ("en", "el")})

    found = shifted_items(plan, choices, planned_items(plan, [seen])[CONFIRM])

    assert forms_of(found) == {"text/plain": 8, "image/typographic": 8}
    assert len({i.group for i in found}) == 2


def test_words_beside_a_picture_are_no_other_setting(suite):
    prompts = [{"concept": "danger"}]
    seen = with_pictures(suite, "image/typographic")

    assert "region-read" not in [s.name for s in planned(seen, probes=prompts, **BOTH).settings]
    assert "region-read" in [s.name for s in planned(seen, **BOTH).settings]
    assert "region-read" not in [s.name for s in planned(seen, modalities=["image"]).settings]
