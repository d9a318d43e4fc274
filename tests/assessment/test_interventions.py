"""Effects of changes inside a model, computed from tables whose answer is known."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmarks.worlds import CONCEPT, make_plan
from compliance.assessment.interventions import influences, interventions
from compliance.assessment.numbers import by_id
from compliance.assessment.tables import columns_of, table_bytes
from compliance.errors import PlanError
from compliance.records.audit import Interventions
from compliance.records.observation import ITEM_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "results.md"
LANGUAGES = ("en", "el")
DOSES = (-1, 0, 1, 2)
GROUPS = 20
KEY = {language: f"{CONCEPT}/{language}/text/plain" for language in LANGUAGES}


def a_plan(languages=LANGUAGES):
    asked = Interventions(concepts=(CONCEPT,), languages=languages, doses=DOSES)
    return make_plan(languages).model_copy(update={"interventions": asked})


def item_table(languages=LANGUAGES):
    rows = []
    for language in languages:
        for label, concept, kind in (
            ("positive", CONCEPT, "pos"), ("neutral", "", "neutral"),
        ):  # fmt: skip
            for group in range(GROUPS):
                row = dict.fromkeys(ITEM_COLUMNS, "")
                row |= {
                    "item": f"{kind}-{group:02d}-{language}", "group": f"{kind}-{group:02d}",
                    "concept": concept, "label": label, "language": language, "split": "confirm",
                    "modality": "text", "rendering": "plain",
                }  # fmt: skip
                rows.append(row)
    return pd.DataFrame(rows)


def effect_rows(change, languages=LANGUAGES, *, random=99, seed=1):
    """Odds of each item: ``change(arm, item's number, language)`` added to those of ``none``."""
    stream = np.random.RandomState(seed)
    arms = ["none", *(f"dose/{m:g}" for m in DOSES), "flip", "noise", "means"]
    arms += [f"random/{i}" for i in range(random)]
    rows = []
    for language in languages:
        for group in range(GROUPS):
            odds = stream.normal()
            for arm in arms:
                moved = 0.0 if arm == "none" else change(arm, group, language)
                kl = 0.0 if arm == "none" else 2.0
                item = f"pos-{group:02d}-{language}"
                rows.append((item, CONCEPT, arm, odds + moved, kl, 8))
    return rows


def files_of(effects, side=(), scores=(), capability=()):
    found = {}
    for name, rows in (
        ("effects.csv", effects), ("side_effects.csv", side), ("side_scores.csv", scores),
        ("capability.csv", capability),
    ):  # fmt: skip
        path = f"confirm/{name}"
        table = pd.DataFrame(list(rows), columns=list(columns_of(path)[0]))
        found[path] = table_bytes(table, path)
    return found


def strong(arm, group, language):
    """Half a nat and some more with each dose; controls and random latents do next to nothing."""
    wobble = 0.05 * np.sin(7 * group + len(arm))
    if arm.startswith("dose/"):
        return 0.5 * float(arm.removeprefix("dose/")) + wobble
    return -0.5 + wobble if arm == "flip" else 0.1 * wobble


def results_of(plan, files, items=None):
    return by_id(interventions(plan, item_table() if items is None else items, files))


def test_an_effect_is_the_mean_change_with_students_interval_and_p():
    rows = effect_rows(strong)
    results = results_of(a_plan(), files_of(rows))

    changes = [strong("dose/1", group, "en") for group in range(GROUPS)]
    found = results[f"{KEY['en']}/effect.dose.1"]
    expected = stats.ttest_1samp(changes, 0)
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(changes))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.p, found.n) == (pytest.approx(expected.pvalue, rel=1e-6), GROUPS)


def test_the_slope_is_that_of_least_squares_item_by_item():
    results = results_of(a_plan(), files_of(effect_rows(strong)))

    slopes = [
        stats.linregress([0, 1, 2], [strong(f"dose/{m}", g, "el") for m in (0, 1, 2)]).slope
        for g in range(GROUPS)
    ]
    assert results[f"{KEY['el']}/effect-slope"].value == pytest.approx(np.mean(slopes))


def test_random_latents_give_a_rank_and_their_range():
    def change(arm, group, language):
        if arm.startswith("random/"):
            return 0.01 * int(arm.removeprefix("random/")) - 0.05
        return strong(arm, group, language)

    results = results_of(a_plan(), files_of(effect_rows(change)))

    found = results[f"{KEY['en']}/effect-random"]
    own = results[f"{KEY['en']}/effect.dose.1"].value
    effects = 0.01 * np.arange(99) - 0.05
    as_large = int((np.abs(effects) >= own).sum())
    assert (found.successes, found.n) == (as_large, 99)
    assert found.p == pytest.approx((1 + as_large) / 100)
    spread = results[f"{KEY['en']}/effect-random-mean"]
    assert (spread.low, spread.high) == pytest.approx(tuple(np.quantile(effects, (0.025, 0.975))))


def test_a_strong_effect_is_an_influence_in_each_language():
    plan = a_plan()
    found = influences(plan, results_of(plan, files_of(effect_rows(strong))))

    assert [(i.cell.language, i.statement) for i in found] == [
        ("en", "influences"), ("el", "influences"),
    ]  # fmt: skip
    assert all(i.p == pytest.approx(0.01) and i.p_holm == pytest.approx(0.02) for i in found)


def test_p_values_are_adjusted_as_statsmodels_does():
    def change(arm, group, language):
        if language == "el" and arm.startswith("random/"):
            return 0.6 * (int(arm.removeprefix("random/")) < 2)
        return strong(arm, group, language)

    plan = a_plan()
    found = influences(plan, results_of(plan, files_of(effect_rows(change))))
    adjusted = multipletests([i.p for i in found], method="holm")[1]

    assert [i.p for i in found] == [pytest.approx(0.01), pytest.approx(0.03)]
    assert [i.p_holm for i in found] == pytest.approx(list(adjusted))


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda arm, g, own: own if arm == "flip" else None,
        lambda arm, g, own: own if arm == "noise" else None,
        lambda arm, g, own: own if arm.startswith("random/") else None,
        lambda arm, g, own: own if arm.startswith("dose/") and arm != "dose/0" else None,
    ],
    ids=["sign does not matter", "noise does as much", "random latents do", "no slope"],
)
def test_each_condition_alone_can_stand_in_the_way(spoilt):
    def change(arm, group, language):
        own = strong("dose/1", group, language)
        instead = spoilt(arm, group, own + 0.01 * np.cos(group))
        return strong(arm, group, language) if instead is None else instead

    if spoilt("dose/2", 0, 1.0) is not None:  # a slope of nothing: 0, 1 and 2 do the same
        flat = change

        def change(arm, group, language):
            return flat("dose/1" if arm == "dose/0" else arm, group, language)

    plan = a_plan()
    found = influences(plan, results_of(plan, files_of(effect_rows(change))))
    assert {i.statement for i in found} == {"not-shown"}


def test_nothing_is_shown_where_nothing_changes_more_often_than_one_time_in_twenty():
    plan = a_plan()
    shown = 0
    for seed in range(25):
        stream = np.random.RandomState(seed)
        noise = {}

        def change(arm, group, language, stream=stream, noise=noise):
            return noise.setdefault((arm, group, language), stream.normal())

        found = influences(plan, results_of(plan, files_of(effect_rows(change))))
        shown += any(i.statement == "influences" for i in found)
    assert shown <= 2


def test_a_feature_without_a_dose_is_not_measured_and_keeps_its_place_among_the_tests():
    rows = [
        row for row in effect_rows(strong)
        if not (row[0].endswith("-el") and row[2] not in ("none", "dose/0"))
    ]  # fmt: skip
    plan = a_plan()
    results = results_of(plan, files_of(rows))
    en, el = influences(plan, results)

    assert (el.statement, en.p_holm) == ("not-measured", pytest.approx(2 * en.p))
    assert results[f"{KEY['el']}/effect.dose.0"].value is not None
    assert "never fired" in results[f"{KEY['el']}/effect.dose.1"].reason


def test_a_cell_without_two_replies_is_no_test():
    rows = [row for row in effect_rows(strong) if row[0].endswith("-en")]
    plan = a_plan()
    en, el = influences(plan, results_of(plan, files_of(rows)))

    assert (el.statement, el.p_holm) == ("not-measured", None)
    assert en.p_holm == en.p


def test_side_effects_are_means_over_texts_in_their_own_language():
    side = []
    for language, rise in (("en", 0.25), ("el", 0.5)):
        for group in range(GROUPS):
            item, tokens = f"neutral-{group:02d}-{language}", 10 + group
            extra = rise * tokens + 0.1 * tokens * (-1) ** group
            side.append((item, CONCEPT, "none", tokens, 3.0 * tokens, 0.0))
            side.append((item, CONCEPT, "dose/0", tokens, 3.0 * tokens + extra, 0.5 * tokens))
    results = results_of(a_plan(), files_of(effect_rows(strong), side=side))

    assert results[f"{KEY['en']}/side-loss.dose.0"].value == pytest.approx(0.25)
    assert results[f"{KEY['el']}/side-loss.dose.0"].value == pytest.approx(0.5)
    assert results[f"{KEY['el']}/side-kl.dose.0"].value == pytest.approx(0.5)


def test_capability_is_a_paired_change():
    rows = []
    for n in range(20):
        rows += [(f"task-{n}-en", CONCEPT, "none", "en", 1.0 if n < 15 else -1.0),
                 (f"task-{n}-en", CONCEPT, "dose/1", "en", 1.0 if n < 10 else -1.0)]  # fmt: skip
    results = results_of(a_plan(), files_of(effect_rows(strong), capability=rows))

    assert results[f"{KEY['en']}/capability"].successes == 15
    change = results[f"{KEY['en']}/capability.dose.1"]
    assert change.value == pytest.approx(-0.25)
    assert change.low < -0.25 < change.high < 0.05
    assert f"{KEY['el']}/capability" not in results


def test_scores_of_other_probes_are_told_by_concept():
    rows = [
        (f"pos-{g:02d}-en", CONCEPT, arm, "flattery", score)
        for g in range(GROUPS)
        for arm, score in (("none", 1.0 + g), ("dose/1", 1.5 + g + 0.01 * (-1) ** g))
    ]
    results = results_of(a_plan(), files_of(effect_rows(strong), scores=rows))
    assert results[f"{KEY['en']}/side-score.flattery.dose.1"].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("pos-99-en", CONCEPT, "none", 0.0, 0.0, 8), "is not in confirm/items.csv"),
        (("pos-00-en", "flattery", "none", 0.0, 0.0, 8), "is not planned to be changed"),
    ],
)
def test_rows_of_what_is_not_planned_are_refused(row, message):
    with pytest.raises(PlanError, match=message):
        results_of(a_plan(), files_of([*effect_rows(strong), row]))


def test_an_item_without_the_unchanged_model_is_refused():
    rows = [r for r in effect_rows(strong) if r[:3] != ("pos-03-el", CONCEPT, "none")]
    with pytest.raises(PlanError, match="pos-03-el has no row of the unchanged model"):
        results_of(a_plan(), files_of(rows))


def test_every_result_is_named_in_the_reference():
    side = [(f"neutral-{g:02d}-en", CONCEPT, arm, 8, 24.0 + g * (arm != "none"), 0.5)
            for g in range(4) for arm in ("none", "dose/0")]  # fmt: skip
    scores = [(f"pos-{g:02d}-en", CONCEPT, arm, "flattery", 1.0 + g)
              for g in range(4) for arm in ("none", "dose/1")]  # fmt: skip
    tasks = [("task-1-en", CONCEPT, arm, "en", 1.0) for arm in ("none", "dose/1")]
    found = results_of(a_plan(), files_of(effect_rows(strong), side, scores, tasks))
    text = PAGE.read_text(encoding="utf-8").split("\n## Interventions\n")[1].split("\n## ")[0]
    rows = [re.findall(r"`([^`]+)`", line)[:2] for line in text.splitlines() if line[:3] == "| `"]
    named = {re.sub(r"<\w+>", "X", name): method for name, method in rows}

    made = {}
    for result in found.values():
        name = result.id.split("/")[-1]
        name = re.sub(r"^(side-score)\.flattery\.dose\.1$", r"\1.X.X", name)
        name = re.sub(r"\.(dose\.-?\d|flip|noise|means|random)$", ".X", name)
        made[name] = result.method
    assert made == named


def test_without_interventions_there_is_nothing():
    plan = make_plan(LANGUAGES)
    assert list(interventions(plan, item_table(), {})) == []
    assert influences(plan, {}) is None
