"""On which items interventions are run, with which random latents, and what is refused."""

import pandas as pd
import pytest

from compliance.assessment.arms import (
    capability_tasks,
    effect_items,
    matched_items,
    peak_items,
    random_latents,
    scored_items,
    side_items,
)
from compliance.assessment.planning import planned_items
from compliance.errors import PlanError
from compliance.records.audit import AuditConfig, Interventions
from compliance.records.base import digest_of, to_json
from compliance.suites.load import load_suite
from tests.assessment.test_planning import SAE, planned
from tests.probes.tiny_pass import locked
from tests.tiny_audit import suite_items, write_items, write_suite

ASKED = {"random_latents": 39, "groups": 3, "matched_groups": 1, "neutral_items": 2}


@pytest.fixture
def suite(tmp_path):
    return with_choices(tmp_path, lambda item: item["label"] == "positive")


def with_choices(folder, wanted):
    """The tiny suite, in which some items have two replies."""
    write_suite(folder / "suite")
    items = suite_items(groups=12, benign=60)
    for item in items:
        if wanted(item):
            item["choices"] = {"concept": "yes", "other": "no"}
    write_items(folder / "suite", items)
    return load_suite("suite", folder)


def plan_of(suite, **asked):
    plan = planned(suite, interventions=ASKED | asked)
    return plan, planned_items(plan, [suite])


def test_nothing_is_planned_unasked(suite):
    plan = planned(suite)

    assert plan.interventions is None
    assert not {"interventions", "capability"} & set(to_json(plan))


def test_concepts_are_those_with_two_replies_to_choose_from(tmp_path):
    suite = with_choices(
        tmp_path, lambda i: i.get("concept") == "flattery" and i["label"] == "positive"
    )

    plan, _ = plan_of(suite)

    assert plan.interventions.concepts == ("flattery",)
    assert plan.interventions.languages == ("en", "el")
    tasks = [to_json(task) for task in capability_tasks(plan.interventions)]
    assert len(tasks) == 40
    assert plan.capability == digest_of(tasks)
    plan, _ = plan_of(suite, languages=["el"], capability_items=0)
    assert plan.interventions.languages == ("el",)
    assert plan.capability is None


def test_whole_groups_are_drawn_in_every_language(suite):
    plan, items = plan_of(suite)

    found = effect_items(plan, "danger", items["confirm"])

    assert len(found) == 6
    groups = {item.group for item in found}
    assert len(groups) == 3
    assert {(i.group, i.language) for i in found} == {(g, t) for g in groups for t in ("en", "el")}
    assert {i.label for i in found} == {"positive"}
    matched = matched_items(plan, "danger", items["calibrate"])
    assert [i.language for i in matched] == ["en"]
    other, _ = plan_of(suite, groups=12)
    assert {i.group for i in effect_items(other, "danger", items["confirm"])} > groups
    peaks = peak_items(plan, "danger", items["calibrate"])
    assert {i.label for i in peaks} == {"positive", "hard-negative"}
    assert {i.language for i in peaks} == {"en", "el"}


def test_a_group_without_replies_is_not_drawn(tmp_path):
    suite = with_choices(
        tmp_path,
        lambda i: i["label"] == "positive" and int(i["group"].split("-")[1]) % 2 == 0,
    )
    plan, items = plan_of(suite, groups=12)

    found = effect_items(plan, "danger", items["confirm"])

    assert found
    assert all(item.choices for item in found)
    assert all(int(item.group.split("-")[1]) % 2 == 0 for item in found)


def test_side_items_are_benign_texts_and_positives_of_others(suite):
    plan, items = plan_of(suite)

    texts = side_items(plan, items["confirm"])
    scored = scored_items(plan, plan.probes[1], items["confirm"])

    assert [i.language for i in texts] == ["en", "en", "el", "el"]
    assert {i.label for i in texts} == {"negative"}
    assert [i.language for i in scored] == ["en", "en", "el", "el"]
    assert {(i.concept, i.label) for i in scored} == {("flattery", "positive")}


def test_random_latents_are_drawn_among_those_that_are_as_active(suite):
    plan, _ = plan_of(suite, random_latents=39)
    items = pd.DataFrame(
        [[f"p{n}", "danger", "positive"] for n in range(4)] + [["h", "danger", "hard-negative"]],
        columns=["item", "concept", "label"],
    )
    often = range(100, 200)
    rows = [["danger", f"p{n}", 0, 7, 1.0] for n in (0, 1, 2)]
    rows += [["danger", f"p{n}", 0, latent, 0.5] for latent in often for n in range(3)]
    rows += [["danger", f"p{n}", 0, 300, 0.5] for n in range(2)]
    rows += [["danger", "h", 0, 301, 0.5]]
    rows += [["danger", f"p{n}", 1, 302, 0.5] for n in range(4)]
    search = pd.DataFrame(rows, columns=["concept", "item", "sae", "latent", "score"])
    active = [7, 300, 301, 302, 303, *range(100, 180)]
    probe = locked((0, 7))

    found = random_latents(plan, probe, search, items, active)

    assert len(found) == 39
    assert set(found) <= set(range(100, 180))
    assert found == sorted(found)
    assert found != list(range(100, 139))
    assert found == random_latents(plan, probe, search, items, active)
    few = random_latents(plan, probe, search, items, [7, 300, 301, 303, 100, 101])
    assert few == [100, 101, 300, 301, 303]
    plan, _ = plan_of(suite, random_latents=41)
    assert random_latents(plan, probe, search, items, [7, 303, 300, *range(100, 140)]) == [
        *range(100, 140),
        300,
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"concepts": ["bias"]}, "interventions.concepts: 'bias' is not planned"),
        ({"languages": ["ja"]}, "interventions.languages: 'ja' is not planned"),
        ({"region": "image"}, "'image', and no cell of the audit has pictures"),
        ({"random_latents": 19}, "19, and the 2 cells of danger need 39"),
        ({"random_latents": 7000}, "7000, and an SAE of the audit has 6143 besides"),
    ],
)
def test_what_could_show_nothing_is_refused(suite, asked, message):
    with pytest.raises(PlanError, match=message):
        planned(suite, saes=(SAE,), interventions=ASKED | asked)


@pytest.mark.parametrize("asked", [{}, {"concepts": ["danger", "flattery"]}])
def test_a_concept_without_replies_is_refused_where_it_is_named(tmp_path, asked):
    one = {"danger"} if asked else set()
    suite = with_choices(tmp_path, lambda i: i.get("concept") in one and i["label"] == "positive")

    name = "flattery" if asked else "any concept"
    with pytest.raises(PlanError, match=f"positives of {name} with two replies"):
        planned(suite, interventions=ASKED | asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"doses": [0, 1]}, "doses: 2 is missing"),
        ({"doses": [0, 1, 2, 2]}, "doses: one stands there twice"),
        ({"languages": ["en", "en"]}, "languages: one stands there twice"),
        ({"random_latents": 18}, "greater than or equal to 19"),
        ({"region": "all"}, "Input should be 'read'"),
    ],
)
def test_values_that_make_no_sense_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        Interventions.model_validate(asked)


def test_what_is_asked_for_stands_in_audit_yaml():
    config = AuditConfig.model_validate(
        {
            "subject": {"model": "m", "saes": [{"path": "s"}]},
            "suites": ["s"],
            "probes": [{"concept": "danger"}],
            "languages": ["en"],
            "interventions": {"doses": [0, 0.5, 1, 2]},
        }
    )

    assert config.interventions.doses == (0, 0.5, 1, 2)
    assert config.interventions.random_latents == 99
