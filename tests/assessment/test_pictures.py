"""Cells of pictures beside cells of texts: calibrated, judged and compared for themselves."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.worlds import World
from compliance.assessment.assess import assess, recompute
from compliance.assessment.cells import read_cells
from compliance.assessment.fidelity import fidelity, merged
from compliance.assessment.locking import make_lock
from compliance.assessment.tables import ConfirmObservations, FitObservations
from compliance.assessment.transfer import transfer
from compliance.assessment.verdicts import judge
from compliance.errors import PlanError
from compliance.records.audit import Robustness
from compliance.records.base import digest_of
from compliance.records.evidence import Evidence
from compliance.records.finding import Finding, Result, Status, Verdict
from compliance.records.observation import applies
from compliance.records.plan import Plan, Setting
from compliance.records.suite import Variant
from compliance.statistics.proportion import tango_interval, tango_p_noninferior
from tests.assessment.picture_world import (
    PICTURE_CONTROLS,
    make_picture_files,
    make_picture_plan,
    picture_world,
)
from tests.assessment.test_assess import CONTEXT, NONE, assessed

TEXTS = World(effect={"en": 5.0, "el": 5.0}, groups=100, benign=400)
SETTINGS = (
    Setting(name="pooling-mean", pooling="mean"),
    Setting(name="region-read", region="read"),
    Setting(name="alpha-0.02", alpha=0.02),
)
TEXT, PICTURE = "danger/{}/text/plain", "danger/{}/image/typographic"


def judged(
    pictures: World, texts: World = TEXTS, **plan: object
) -> tuple[Evidence, dict[str, bytes]]:
    values = {"bootstrap_draws": 200, "robustness": NONE} | plan
    frozen = make_picture_plan(**values)
    lock, files = make_picture_files(frozen, texts, pictures)
    return assess(frozen, lock, files, **CONTEXT), files


@pytest.fixture(scope="module")
def good() -> tuple[Evidence, dict[str, bytes]]:
    robustness = Robustness(shifted_groups=20, repeated_items=8, loss_items=4)
    world = picture_world({"en": 5.0, "el": 4.5})
    return judged(world, settings=SETTINGS, robustness=robustness)


def finding(evidence: Evidence, key: str) -> Finding:
    return next(f for f in evidence.findings if f.cell.key == key)


def found(evidence: Evidence, name: str) -> Result:
    return next(r for r in evidence.results if r.id == name)


def status(evidence: Evidence, key: str, condition: str) -> Status:
    conditions = finding(evidence, key).conditions
    return next(c.status for c in conditions if c.condition == condition)


def changed(
    evidence: Evidence,
    files: dict[str, bytes],
    change: Callable[[ConfirmObservations], ConfirmObservations],
) -> dict[str, bytes]:
    return files | change(ConfirmObservations.from_files(files)).to_files()


def test_a_probe_that_works_in_words_and_pictures_is_supported_in_both(good):
    evidence, _ = good

    assert [f.cell.key for f in evidence.findings] == [
        TEXT.format("en"), TEXT.format("el"), PICTURE.format("en"), PICTURE.format("el"),
    ]  # fmt: skip
    assert {f.verdict for f in evidence.findings} == {Verdict.SUPPORTED}
    assert {f.attainable for f in evidence.findings} == {True}


def test_a_condition_stands_in_the_cells_that_show_what_it_needs_alone(good):
    evidence, _ = good

    names = [{c.condition for c in f.conditions} for f in evidence.findings]

    assert names[0] == names[1] and names[2] == names[3]
    assert names[2] - names[0] == {"beats-colour", "beats-pixels"}
    assert "beats-ngrams" in names[0] & names[2]  # a picture of words has its words' shortcuts
    thing = [Variant("en", m, "depicted") for m in ("image", "image-text")]
    assert [applies("ngrams", variant) for variant in thing] == [False, True]
    assert evidence.plan.controls[1:4] == ("ngrams", "colour", "pixels")


def test_pictures_have_their_own_controls_and_a_constant_token_count_ranks_nothing(good):
    evidence, _ = good
    key = PICTURE.format("el")
    leads = {r.id.split("/minus-")[1] for r in evidence.results if r.id.startswith(f"{key}/minus-")}

    assert leads == set(PICTURE_CONTROLS)
    assert found(evidence, f"{key}/auroc-hard.tokens").value == 0.5


def test_a_token_count_is_turned_as_it_is_locked_for_its_form(good):
    evidence, files = good
    turned = tuple(o.model_copy(update={"sign": -1 if o.modality == "image" else 1})
                   for o in evidence.lock.orientations)  # fmt: skip
    lock = evidence.lock.model_copy(update={"orientations": turned})

    cells = read_cells(evidence.plan, lock, ConfirmObservations.from_files(files))

    assert [data.orientation for data in cells.values()] == [1, 1, -1, -1]


def test_texts_have_the_numbers_that_they_have_alone(good):
    """Only what depends on the size of the family moves."""
    evidence, _ = good
    robustness = evidence.plan.robustness
    alone, _ = assessed(TEXTS, settings=SETTINGS, robustness=robustness)
    family = ("mde-", "predicted-power", "settings-kept")

    mine = [r for r in evidence.results if "/text/" in r.id]
    theirs = [r for r in alone.results if "/text/" in r.id]

    assert [r.id for r in mine] == [r.id for r in theirs]
    assert [r for r in mine if not r.id.split("/")[-1].startswith(family)] == [
        r for r in theirs if not r.id.split("/")[-1].startswith(family)
    ]


# Calibration


def test_benign_pictures_alone_set_the_cut_off_of_pictures():
    """Benign pictures at 3, benign texts at 0: each modality keeps its own share of alarms."""
    plan = make_picture_plan(bootstrap_draws=200, robustness=NONE)
    lock, files = make_picture_files(plan, TEXTS, picture_world({"en": 5.0, "el": 5.0}))
    fit = FitObservations.from_files(files)
    brighter = (fit.scores["scorer"] == "probe") & fit.scores["item"].str.endswith("-picture")
    moved = replace(fit, scores=fit.scores.assign(score=fit.scores["score"] + 3.0 * brighter))

    again = make_lock(plan, lock, moved, {})

    before, after = ({c.cell.key: c.value for c in one.cut_offs if c.scorer == "probe"}
                     for one in (lock, again))  # fmt: skip
    for language in ("en", "el"):
        text, picture = TEXT.format(language), PICTURE.format(language)
        assert after[text] == before[text]
        assert after[picture] == pytest.approx(before[picture] + 3.0)


# Transfer


def test_the_gap_to_text_pairs_groups_and_is_tango_s(good):
    evidence, files = good
    key, text = PICTURE.format("el"), TEXT.format("el")
    gone = [f"g{number:04d}-positive-el-picture" for number in range(60, 70)]

    def fewer(c: ConfirmObservations) -> ConfirmObservations:
        return replace(c, scores=c.scores[~c.scores["item"].isin(gone)],
                       patches=c.patches[~c.patches["item"].isin(gone)])  # fmt: skip

    confirm = ConfirmObservations.from_files(changed(evidence, files, fewer))
    cells = read_cells(evidence.plan, evidence.lock, confirm)
    hits = [
        {g: s > cells[k].limit("probe") for g, s in zip(
            cells[k].positive["group"], cells[k].positive["probe"], strict=True)}
        for k in (key, text)
    ]  # fmt: skip
    here = sum(hits[0][g] and not hits[1][g] for g in hits[0])
    there = sum(hits[1][g] and not hits[0][g] for g in hits[0])

    gap = {r.id: r for r in transfer(evidence.plan, cells)}[f"{key}/gap-to-text"]

    expected = tango_interval(here, there, 90, 0.95)
    assert (gap.value, gap.low, gap.high, gap.n) == (
        expected.value, expected.low, expected.high, 90,
    )  # fmt: skip
    assert gap.p == tango_p_noninferior(here, there, 90, 0.15)
    assert here and there


def test_the_image_cells_of_a_concept_are_a_family_of_their_own(good):
    evidence, _ = good
    p = [found(evidence, f"{PICTURE.format(one)}/gap-to-text").p for one in ("en", "el")]

    adjusted = [found(evidence, f"{PICTURE.format(one)}/gap-to-text.holm") for one in ("en", "el")]

    smaller, larger = sorted(p)
    by_hand = {smaller: min(1.0, 2 * smaller), larger: max(2 * smaller, larger)}
    assert [r.value for r in adjusted] == [pytest.approx(by_hand[one]) for one in p]
    assert {(r.method, r.n) for r in adjusted} == {("holm", 2)}
    assert not any("gap-to-text" in r.id for r in evidence.results if "/text/" in r.id)


def test_an_image_cell_without_items_keeps_p_1_in_the_family_and_is_not_covered():
    evidence, _ = judged(picture_world({"en": 5.0}))

    assert finding(evidence, PICTURE.format("el")).verdict is Verdict.NOT_COVERED
    assert finding(evidence, PICTURE.format("en")).verdict is Verdict.SUPPORTED
    gap = found(evidence, f"{PICTURE.format('en')}/gap-to-text")
    adjusted = found(evidence, f"{gap.id}.holm")
    assert (adjusted.value, adjusted.n) == (pytest.approx(2 * gap.p), 2)
    assert not any(r.id.startswith(f"{PICTURE.format('el')}/gap") for r in evidence.results)


def test_a_probe_that_reads_words_and_sees_nothing_has_a_clear_gap():
    evidence, _ = judged(picture_world({"en": 0.3, "el": 0.3}))

    for language in ("en", "el"):
        gap = found(evidence, f"{PICTURE.format(language)}/gap-to-text")
        assert gap.high < -0.8
        assert found(evidence, f"{gap.id}.holm").value == 1.0
        assert finding(evidence, TEXT.format(language)).verdict is Verdict.SUPPORTED
        seen = finding(evidence, PICTURE.format(language))
        assert (seen.verdict, seen.reason) == (Verdict.NOT_SUPPORTED, "condition-violated")


# Controls and gates


def test_where_colour_explains_all_nothing_is_supported():
    world = picture_world(
        {"en": 3.5, "el": 3.5}, hard_effect=1.0, controls={"colour": 8.0}, groups=300
    )

    evidence, _ = judged(world)

    for language in ("en", "el"):
        key = PICTURE.format(language)
        violated = {c.condition for c in finding(evidence, key).conditions
                    if c.status is Status.VIOLATED}  # fmt: skip
        assert violated == {"beats-colour"}
        assert finding(evidence, key).verdict is Verdict.NOT_SUPPORTED


@pytest.mark.parametrize("control", ["colour", "pixels"])
def test_a_control_of_pictures_that_was_not_run_supports_no_picture(good, control):
    evidence, files = good
    without = changed(evidence, files, lambda c: replace(
        c, scores=c.scores[c.scores["scorer"] != control]))  # fmt: skip

    again = assess(evidence.plan, evidence.lock, without, **CONTEXT)

    assert status(again, PICTURE.format("en"), f"beats-{control}") is Status.NOT_MEASURED
    assert [f.verdict for f in again.findings] == [Verdict.SUPPORTED] * 2 + [
        Verdict.INCONCLUSIVE
    ] * 2
    assert [f.attainable for f in again.findings] == [True, True, False, False]


def test_the_gate_of_pictures_looks_at_their_tokens():
    evidence, _ = judged(picture_world({"en": 5.0, "el": 5.0}, error={"en": 0.1, "el": 0.6}))

    reasons = [(f.verdict, f.reason) for f in evidence.findings]

    assert reasons[:3] == [(Verdict.SUPPORTED, "all-shown")] * 3
    assert reasons[3] == (Verdict.NOT_SUPPORTED, "gate-shut")
    gates = {c.condition: c.result_id for c in evidence.findings[3].conditions if c.kind == "gate"}
    assert gates == {
        "explained-variance": "fidelity/el/image/sae0/neutral.typographic/ev",
        "explained-variance-gap": "fidelity/el/image/sae0/neutral.typographic/ev-gap",
    }


def test_where_there_is_neutral_text_benign_pictures_stand_in_for_it(good):
    """They are called benign then; of texts the neutral ones decide, of which there are none."""
    evidence, files = good
    plan = with_neutral_text(evidence.plan)
    lock = evidence.lock.model_copy(update={"plan_digest": digest_of(plan)})

    again = assess(plan, lock, files, **CONTEXT)

    key = PICTURE.format("el")
    gates = {c.result_id: c.status for c in finding(again, key).conditions if c.kind == "gate"}
    assert gates == {
        "fidelity/el/image/sae0/benign.typographic/ev": Status.SHOWN,
        "fidelity/el/image/sae0/benign.typographic/ev-gap": Status.SHOWN,
    }
    assert finding(again, key).verdict is Verdict.SUPPORTED
    assert status(again, TEXT.format("el"), "explained-variance") is Status.NOT_MEASURED


def with_neutral_text(plan: Plan) -> Plan:
    suite = plan.suites[0]
    sheet = suite.datasheet.model_copy(update={"neutral": "an encyclopedia"})
    return plan.model_copy(update={"suites": (suite.model_copy(update={"datasheet": sheet}),)})


# Fidelity


def test_words_beside_a_picture_and_its_tokens_are_measured_apart(good):
    evidence, _ = good
    start = "fidelity/el/image/sae0/neutral"

    names = {r.id.removeprefix(f"{start}.") for r in evidence.results if r.id.startswith(start)}

    roles = {name.split("/")[0] for name in names}
    assert roles == {"read", "user", "typographic", "image"}
    counts = {"image/alive", "image/dead", "image/dense-latents"}
    assert {n for n in names if n.startswith("image/")} == counts
    assert {n for n in names if n.endswith(("alive", "dead", "dense-latents"))} == counts
    assert not any("loss" in name or "divergence" in name for name in names)


@pytest.mark.parametrize("thing", [0.30, 0.60])
def test_what_lies_between_renderings_is_not_explained(good, thing):
    """Each is told about its own mean; about one mean of both, 0.30 twice would be 0.65."""
    evidence, files = good
    plan = with_depicted(evidence.plan)
    confirm = in_two_renderings(ConfirmObservations.from_files(files), 0.30, thing)
    together = confirm.fidelity[confirm.fidelity["role"] == "image"]

    results = {r.id: r for r in fidelity(plan, confirm, FitObservations.from_files(files).means)}

    explained = {"typographic": 0.30, "depicted": thing}
    cells = [cell for cell in plan.cells if cell.modality == "image"]
    for place in ((cell.language, cell.rendering) for cell in cells):
        key = "fidelity/{}/image/sae0/neutral.{}".format(*place)
        assert results[f"{key}/ev"].value == pytest.approx(explained[place[1]])
        assert results[f"{key}/tokens"].value > 0
    counts = {f"{c.key}/n-{name}": Result(id="n", value=9, method="count") for c in plan.cells
              for name in ("positive", "hard", "benign", "unscored")}  # fmt: skip
    for found_here in judge(plan, counts | results, {}):
        if found_here.cell.modality == "image":
            gate = next(c for c in found_here.conditions if c.condition == "explained-variance")
            value = explained[found_here.cell.rendering]
            assert results[gate.result_id].value == pytest.approx(value)
            assert gate.status is (Status.VIOLATED if value < 0.5 else Status.SHOWN)
    spread, _ = merged(list(together["tokens"]), list(together["spread"]),
                       np.stack(list(together["mean"])))  # fmt: skip
    assert 1 - together["error"].sum() / spread == pytest.approx((0.30 + thing) / 4 + 0.5)


def test_gaps_to_the_reference_are_told_for_each_rendering(good):
    evidence, files = good
    plan = with_depicted(evidence.plan)
    confirm = in_two_renderings(ConfirmObservations.from_files(files), 0.30, 0.60)
    greek = set(confirm.items[confirm.items["language"] == "el"]["item"])
    worse = (confirm.fidelity["item"].isin(greek)
             & confirm.fidelity["item"].str.endswith("-thing"))  # fmt: skip
    error = confirm.fidelity["error"].mask(worse, 0.9)
    confirm = replace(confirm, fidelity=confirm.fidelity.assign(error=error))

    results = {r.id: r for r in fidelity(plan, confirm, FitObservations.from_files(files).means)}

    gaps = {i.split(".")[-1]: r.value for i, r in results.items()
            if "/image/" in i and i.endswith("ev-gap")}  # fmt: skip
    assert gaps == {"depicted/ev-gap": pytest.approx(0.5), "typographic/ev-gap": pytest.approx(0)}


def with_depicted(plan: Plan) -> Plan:
    twins = [c.model_copy(update={"rendering": "depicted"}) for c in plan.cells
             if c.modality == "image"]  # fmt: skip
    return plan.model_copy(update={"cells": (*plan.cells, *twins)})


def in_two_renderings(c: ConfirmObservations, words: float, thing: float) -> ConfirmObservations:
    """Each picture once more as depicted; half of all variation lies between the two means."""
    of_pictures = c.items["modality"] == "image"
    things = c.items[of_pictures].assign(rendering="depicted")
    things["item"] += "-thing"
    seen = c.fidelity["role"] == "image"
    twins = c.fidelity[seen].assign(item=c.fidelity["item"] + "-thing")
    sides = [_explaining(c.fidelity[seen], words, -1.0), _explaining(twins, thing, 1.0)]
    return replace(c, items=pd.concat([c.items, things]),
                   fidelity=pd.concat([c.fidelity[~seen], *sides]))  # fmt: skip


def _explaining(rows: pd.DataFrame, share: float, side: float) -> pd.DataFrame:
    """Rows of one mean, that of the other side as far away as the tokens spread."""
    means = [side * np.full(len(mean), (tokens * len(mean)) ** -0.5)
             for tokens, mean in zip(rows["tokens"], rows["mean"], strict=True)]  # fmt: skip
    return rows.assign(error=1 - share, spread=1.0, mean=means)


def test_firing_on_pictures_is_a_share_of_their_tokens(good):
    evidence, files = good
    confirm = ConfirmObservations.from_files(files)
    items = confirm.items.set_index("item").loc[confirm.fidelity["item"]]
    mine = ((items["language"] == "el") & (items["label"] == "negative")
            & (items["modality"] == "image")).to_numpy()  # fmt: skip
    tokens = int(confirm.fidelity[mine & (confirm.fidelity["role"] == "image")]["tokens"].sum())

    def one_dense(c: ConfirmObservations) -> ConfirmObservations:
        rows = [("el", "image", "neutral", 0, 7, tokens // 10), ("el", "read", "neutral", 0, 7, 9),
                ("el", "image", "neutral", 0, 9, tokens // 10 + 1)]  # fmt: skip
        return replace(c, firing=pd.DataFrame(rows, columns=list(c.firing.columns)))

    again = assess(evidence.plan, evidence.lock, changed(evidence, files, one_dense), **CONTEXT)

    key = "fidelity/el/image/sae0/neutral.image"
    assert found(again, f"{key}/alive").value == 2
    assert found(again, f"{key}/dense-latents").value == 1
    assert found(again, "fidelity/el/text/sae0/neutral.read/alive").value == 1


def test_the_frozen_mean_of_pictures_is_that_of_pictures(good):
    evidence, files = good
    fit = FitObservations.from_files(files)
    away = fit.means.assign(mean=[np.full(4, 3.0)] * len(fit.means))
    means = pd.concat([fit.means[fit.means["region"] == "read"], away[away["region"] == "image"]])
    moved = files | replace(fit, means=means).to_files()

    again = assess(evidence.plan, evidence.lock, moved, **CONTEXT)

    differ = {r.id for r in again.results if r.id.endswith("ev-global")
              and found(evidence, r.id).value != r.value}  # fmt: skip
    assert differ == {r.id for r in again.results if r.id.endswith(".typographic/ev-global")}
    assert differ


# Robustness


def test_shifts_repeats_and_settings_of_pictures(good):
    evidence, _ = good
    names = {r.id for r in evidence.results}
    en = PICTURE.format("en")

    shifts = {n.split("/shift.")[1].split(".")[0] for n in names if n.startswith(f"{en}/shift.")}

    assert shifts == {"blank", "noise", "scrambled"}
    assert not any("/text/plain/shift.blank" in name for name in names)
    of_texts, of_pictures = (
        [s.setting for s in finding(evidence, key).settings] for key in (TEXT.format("en"), en)
    )
    assert of_texts == ["pooling-mean", "region-read", "alpha-0.02"]
    assert of_pictures == ["pooling-mean", "alpha-0.02"]
    assert (found(evidence, f"{en}/settings-kept").n) == 2


def test_a_region_that_is_no_choice_has_no_cut_off_in_pictures(good):
    evidence, _ = good
    cells = {c.cell.modality for c in evidence.lock.cut_offs if c.scorer == "probe@region-read"}

    assert cells == {"text"}


def test_misses_of_pictures_ask_the_neighbours_of_pictures(good):
    """A latent near the dense direction of texts alone was not read on pictures."""
    evidence, files = good
    of_texts = tuple(n for n in evidence.lock.neighbours if n.modality == "text")
    lock = evidence.lock.model_copy(update={"neighbours": of_texts})
    unread = changed(evidence, files, lambda c: replace(c, scores=c.scores[
        ~(c.scores["scorer"].str.startswith("latent/")
          & c.scores["item"].str.endswith("-picture"))]))  # fmt: skip

    again = assess(evidence.plan, lock, unread, **CONTEXT)

    name = f"{PICTURE.format('el')}/misses.absorbed"
    assert of_texts and found(again, name).value == 0.0
    assert found(assess(evidence.plan, evidence.lock, unread, **CONTEXT), name).reason


# Recomputation and patches


@pytest.mark.parametrize("deep", [False, True])
def test_what_was_not_touched_recomputes(good, deep):
    evidence, files = good

    assert not list(recompute(evidence, files, deep=deep))


def test_another_gap_is_named(good):
    evidence, files = good
    name = f"{PICTURE.format('el')}/gap-to-text.holm"
    better = tuple(r.model_copy(update={"value": 0.0}) if r.id == name else r
                   for r in evidence.results)  # fmt: skip

    problems = list(recompute(evidence.model_copy(update={"results": better}), files))

    assert [m.where for m in problems] == [f"results.{name}.value"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"item": "g0060-positive-el"}, "g0060-positive-el has no picture of danger"),
        ({"item": "nobody"}, "nobody has no picture of danger"),
        ({"item": "b0200-el-picture"}, "b0200-el-picture has no picture of danger"),
        ({"concept": "flattery"}, "has no picture of flattery"),
        ({"rows": 3}, "has 16 activations, in 3 rows and 4 columns"),
        ({"rows": 0}, "has 16 activations, in 0 rows and 4 columns"),
        ({"rows": 0, "columns": 0, "activations": np.zeros(15, np.float32)}, "has 15 activations"),
        ({"activations": np.full(16, -1.0, np.float32)}, "has no activation as large as the score"),
    ],
)
def test_patches_that_are_not_those_of_a_picture_are_refused(good, change, problem):
    evidence, files = good

    def strange(c: ConfirmObservations) -> ConfirmObservations:
        row = c.patches.iloc[0].to_dict() | change
        rest = c.patches.iloc[1:]
        return replace(
            c, patches=pd.concat([pd.DataFrame([row]), rest[rest["item"] != row["item"]]])
        )

    with pytest.raises(PlanError, match=problem):
        assess(evidence.plan, evidence.lock, changed(evidence, files, strange), **CONTEXT)


def test_tokens_that_form_no_grid_are_as_many_as_were_counted_or_more(good):
    evidence, files = good

    def no_grid(c: ConfirmObservations) -> ConfirmObservations:
        longer = [np.append(a, np.float32(0.0)) for a in c.patches["activations"]]
        return replace(c, patches=c.patches.assign(rows=0, columns=0, activations=longer))

    again = assess(evidence.plan, evidence.lock, changed(evidence, files, no_grid), **CONTEXT)

    assert again.results == evidence.results
