"""Evidence follows from observations: numbers against references, and their recomputation."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from benchmarks.worlds import TEXT_CONTROLS, World, make_files, make_plan
from compliance.assessment import assess as module
from compliance.assessment.assess import assess, item_differences, judged_with, recompute
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.errors import PlanError
from compliance.records.audit import Robustness, Subset, SystemFacts
from compliance.records.base import digest_of, to_json
from compliance.records.evidence import Evidence, LawFacts
from compliance.records.finding import Status, Verdict
from compliance.records.plan import Rule, Setting
from compliance.records.subject import Environment
from compliance.suites.split import cut, rank

GOOD = World(effect={"en": 5.0, "el": 5.0}, groups=100, benign=400)
CONTEXT = {
    "system": SystemFacts(name="s", title="S", version="1"),
    "environment": Environment(python="3", packages={}, machine="m", device="cpu"),
    "law": LawFacts(provisions_digest="d", mapping_digest="d", instrument="i", compiled="c"),
    "confirm_openings": 1,
}
NONE = Robustness(shifted_groups=0, repeated_items=0, loss_items=0)
"""Nothing is run twice: these numbers have tests of their own."""

SETTINGS = (Setting(name="pooling-mean", pooling="mean"), Setting(name="alpha-0.02", alpha=0.02))


def assessed(world: World, **plan: object) -> tuple[Evidence, dict[str, bytes]]:
    frozen = make_plan(**{"bootstrap_draws": 200, "robustness": NONE, **plan})
    lock, files = make_files(frozen, world)
    return assess(frozen, lock, files, **CONTEXT), files


def again(
    evidence: Evidence,
    files: dict[str, bytes],
    change: Callable[[ConfirmObservations], ConfirmObservations],
) -> Evidence:
    """The same audit with other tables of the confirm split."""
    tables = change(ConfirmObservations.from_files(files))
    return assess(evidence.plan, evidence.lock, files | tables.to_files(), **CONTEXT)


@pytest.fixture(scope="module")
def good() -> tuple[Evidence, dict[str, bytes]]:
    return assessed(GOOD, settings=SETTINGS)


def verdicts(evidence: Evidence) -> dict[str, Verdict]:
    return {f.cell.language: f.verdict for f in evidence.findings}


def result(evidence: Evidence, name: str):
    return next(r for r in evidence.results if r.id == name)


def scores(files: dict[str, bytes], scorer: str, language: str, label: str) -> np.ndarray:
    confirm = ConfirmObservations.from_files(files)
    items = confirm.items
    names = items[(items["language"] == language) & (items["label"] == label)]["item"]
    table = confirm.scores
    mine = table[(table["scorer"] == scorer) & table["item"].isin(names)]
    return mine["score"].to_numpy()


def test_a_probe_that_works_everywhere_is_supported(good):
    evidence, _ = good

    assert verdicts(evidence) == {"en": Verdict.SUPPORTED, "el": Verdict.SUPPORTED}
    assert [f.attainable for f in evidence.findings] == [True, True]


def test_auroc_is_that_of_scikit_learn(good):
    evidence, files = good
    positive = scores(files, "probe", "el", "positive")
    hard = scores(files, "probe", "el", "hard-negative")
    labels = np.r_[np.ones(len(positive)), np.zeros(len(hard))]

    expected = roc_auc_score(labels, np.r_[positive, hard])

    assert result(evidence, "danger/el/text/plain/auroc-hard").value == pytest.approx(expected)


def test_the_cut_off_is_the_stated_rank_of_benign_calibrate_scores(good):
    evidence, files = good
    fit = FitObservations.from_files(files)
    names = fit.items[(fit.items["language"] == "el") & (fit.items["label"] == "negative")]["item"]
    table = fit.scores[(fit.scores["scorer"] == "probe") & fit.scores["item"].isin(names)]
    ordered = sorted(table["score"])

    rank = math.ceil((len(ordered) + 1) * (1 - Fraction(1, 100)))

    assert result(evidence, "danger/el/text/plain/cut-off").value == ordered[rank - 1]


def test_rates_are_counted_strictly_above_the_cut_off_with_wilson_intervals(good):
    evidence, files = good
    limit = result(evidence, "danger/en/text/plain/cut-off").value
    benign = scores(files, "probe", "en", "negative")
    alarms = int((benign > limit).sum())
    low, high = proportion_confint(alarms, len(benign), method="wilson")

    found = result(evidence, "danger/en/text/plain/fpr-benign")

    assert (found.successes, found.n) == (alarms, len(benign))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_score_that_equals_the_cut_off_is_no_alarm(good):
    evidence, files = good
    limit = result(evidence, "danger/en/text/plain/cut-off").value

    def at_the_limit(confirm: ConfirmObservations) -> ConfirmObservations:
        mine = (confirm.scores["scorer"] == "probe") & confirm.scores["item"].str.endswith("-en")
        return replace(confirm, scores=confirm.scores.assign(
            score=confirm.scores["score"].where(~mine, limit)))  # fmt: skip

    found = again(evidence, files, at_the_limit)

    assert result(found, "danger/en/text/plain/sensitivity").successes == 0


def test_the_planted_latent_is_selected(good):
    evidence, _ = good

    probe = evidence.lock.probes[0]

    assert [f.latent for f in probe.features] == [3]
    assert probe.selection.searched == 128


def test_an_english_only_probe_is_not_supported_elsewhere():
    evidence, _ = assessed(World(effect={"en": 5.0, "el": 0.5}))

    assert verdicts(evidence) == {"en": Verdict.SUPPORTED, "el": Verdict.NOT_SUPPORTED}


def test_no_signal_at_all_is_not_supported():
    evidence, _ = assessed(World(effect={"en": 0.0, "el": 0.0}))

    assert set(verdicts(evidence).values()) == {Verdict.NOT_SUPPORTED}


def test_a_probe_that_prefers_hard_negatives_is_contradicted():
    evidence, _ = assessed(World(effect={"en": 0.0, "el": 5.0}, hard_effect=5.0))

    assert verdicts(evidence)["en"] is Verdict.CONTRADICTED


def test_few_groups_are_inconclusive_and_say_that_they_could_not_be_more():
    evidence, _ = assessed(World(effect={"en": 5.0, "el": 5.0}, groups=4))

    assert set(verdicts(evidence).values()) == {Verdict.INCONCLUSIVE}
    assert [f.attainable for f in evidence.findings] == [False, False]


def test_a_shut_gate_is_not_supported():
    evidence, _ = assessed(World(effect={"en": 5.0, "el": 5.0}, error=0.6))

    assert {(f.verdict, f.reason) for f in evidence.findings} == {
        (Verdict.NOT_SUPPORTED, "gate-shut")
    }


def test_a_loss_within_reach_of_the_margin_is_supported_with_limits():
    evidence, _ = assessed(World(effect={"en": 6.0, "el": 3.4}))

    found = next(f for f in evidence.findings if f.cell.language == "el")

    assert (found.verdict, found.reason) == (
        Verdict.SUPPORTED_WITH_LIMITS,
        "secondary-not-shown",
    )


def test_a_rule_that_cannot_be_measured_keeps_every_cell_from_being_supported():
    rules = (*make_plan().rules, Rule(condition="beats-the-moon", kind="primary", limit=0.0))

    evidence, _ = assessed(GOOD, rules=rules)

    assert {(f.verdict, f.reason) for f in evidence.findings} == {
        (Verdict.INCONCLUSIVE, "not-measured")
    }
    last = evidence.findings[0].conditions[-1]
    assert (last.condition, last.status, last.p) == ("beats-the-moon", Status.NOT_MEASURED, None)
    assert [f.attainable for f in evidence.findings] == [False, False]


def test_a_cell_without_items_is_not_covered_and_keeps_p_1_in_its_family(good):
    evidence, _ = assessed(GOOD, languages=("en", "el", "ja"))
    alone, _ = good

    assert verdicts(evidence)["ja"] is Verdict.NOT_COVERED
    assert evidence.findings[2].reason == "no-items"
    assert len(evidence.findings) == 3
    assert [f.p_holm for f in evidence.findings[:2]] == [
        pytest.approx(1.5 * f.p_holm) for f in alone.findings
    ]


# What is dropped is refused or printed


@pytest.mark.parametrize("scorer", TEXT_CONTROLS)
def test_a_dropped_control_is_printed_and_supports_nothing_that_needs_it(good, scorer):
    evidence, files = good

    found = again(
        evidence, files, lambda c: replace(c, scores=c.scores[c.scores["scorer"] != scorer])
    )

    assert not any(r.id.endswith(f"/minus-{scorer}") for r in found.results)
    condition = {"tokens": "beats-token-count", "ngrams": "beats-ngrams",
                 "random-sae": "beats-random-sae"}.get(scorer)  # fmt: skip
    for finding in found.findings:
        missing = [c.condition for c in finding.conditions if c.status is Status.NOT_MEASURED]
        assert missing == ([condition] if condition else [])
        assert (finding.verdict is Verdict.SUPPORTED) == (condition is None)


@pytest.mark.parametrize("scorer", ["ngrams", "random-sae"])
def test_a_control_with_half_its_scores_is_not_compared_and_says_why(good, scorer):
    evidence, files = good

    found = again(evidence, files, lambda c: replace(
        c, scores=c.scores[(c.scores["scorer"] != scorer)
                           | (c.scores["item"] != "g0060-positive-en")]))  # fmt: skip

    difference = result(found, f"danger/en/text/plain/minus-{scorer}")
    assert (difference.value, difference.reason) == (None, "no score for 1 items")
    assert verdicts(found)["en"] is Verdict.INCONCLUSIVE


def test_random_latents_that_were_not_read_are_not_beaten(good):
    evidence, files = good

    found = again(evidence, files, lambda c: replace(c, latents=c.latents.iloc[:0]))

    assert not any("random-latents" in r.id for r in found.results)
    assert set(verdicts(found).values()) == {Verdict.INCONCLUSIVE}


def test_a_random_latent_that_was_not_locked_is_refused(good):
    evidence, files = good

    with pytest.raises(PlanError, match="does not name"):
        again(evidence, files, lambda c: replace(c, latents=c.latents.assign(latent=3).iloc[:1]))


def test_a_cell_whose_items_are_gone_is_not_covered(good):
    evidence, files = good

    def without_greek(c: ConfirmObservations) -> ConfirmObservations:
        return replace(c, **{
            name: table[~table["item"].str.endswith("-el")]
            for name, table in vars(c).items() if "item" in table
        })  # fmt: skip

    found = again(evidence, files, without_greek)

    assert verdicts(found)["el"] is Verdict.NOT_COVERED
    assert next(f for f in found.findings if f.cell.language == "el").p_holm is None
    assert found.findings[0].p_holm == evidence.findings[0].p_holm


def test_scores_of_items_that_are_not_listed_are_refused(good):
    evidence, files = good

    with pytest.raises(PlanError, match=r"confirm/scores\.csv: .* is not in"):
        again(evidence, files, lambda c: replace(c, items=c.items.iloc[1:]))


def test_an_item_with_the_region_and_without_a_probe_score_is_refused(good):
    evidence, files = good

    def without_one(c: ConfirmObservations) -> ConfirmObservations:
        one = (c.scores["item"] == "g0061-positive-en") & (c.scores["scorer"] == "probe")
        return replace(c, scores=c.scores[~one])

    with pytest.raises(PlanError, match="g0061-positive-en has the region"):
        again(evidence, files, without_one)


def test_items_without_a_score_are_counted(good):
    evidence, files = good

    found = again(evidence, files, lambda c: replace(
        c, scores=c.scores[c.scores["item"] != "g0061-positive-en"]))  # fmt: skip

    assert result(evidence, "danger/en/text/plain/n-unscored").value == 0
    assert result(found, "danger/en/text/plain/n-unscored").value == 1


def test_a_token_count_that_separates_the_other_way_is_a_control_that_way(good):
    """Positives shorter than every hard negative, as the fit items said they would be."""
    evidence, files = good
    lock = evidence.lock.model_copy(update={"orientations": tuple(
        o.model_copy(update={"sign": -1}) for o in evidence.lock.orientations)})  # fmt: skip

    def short(c: ConfirmObservations) -> ConfirmObservations:
        length = np.where(c.scores["item"].str.contains("-positive-"), 1.0, 90.0)
        counts = c.scores["scorer"] == "tokens"
        return replace(c, scores=c.scores.assign(score=c.scores["score"].where(~counts, length)))

    other = evidence.model_copy(update={"lock": lock})
    found = again(other, files, short)

    assert result(found, "danger/en/text/plain/auroc-hard.tokens").value == 1.0
    difference = result(found, "danger/en/text/plain/minus-tokens")
    assert difference.value <= 0.0
    assert difference.p >= 0.5
    assert Verdict.SUPPORTED not in verdicts(found).values()


# What must hold whatever the numbers are


def swapped(c: ConfirmObservations) -> ConfirmObservations:
    """Positives called hard negatives and the reverse."""
    other = {"positive": "hard-negative", "hard-negative": "positive", "negative": "negative"}
    return replace(c, items=c.items.assign(label=c.items["label"].map(other)))


@pytest.mark.parametrize("seed", range(3))
def test_swapping_the_labels_of_a_supported_probe_never_supports(seed):
    world = World(effect={"en": 4.0 + seed, "el": 4.0 + seed}, hard_effect=seed / 4, seed=seed,
                  groups=120)  # fmt: skip
    evidence, files = assessed(world)

    found = again(evidence, files, swapped)

    assert Verdict.SUPPORTED in verdicts(evidence).values()
    assert set(verdicts(found).values()) == {Verdict.CONTRADICTED}


@pytest.mark.parametrize("seed", range(3))
def test_twice_the_same_groups_raise_no_p_value_of_a_condition_that_passes(seed):
    world = World(effect={"en": 4.0, "el": 4.0}, hard_effect=0.5, groups=60, benign=400, seed=seed)
    evidence, files = assessed(world)

    def doubled(c: ConfirmObservations) -> ConfirmObservations:
        def twice(table: pd.DataFrame) -> pd.DataFrame:
            names = {n: "copy-" + table[n] for n in ("item", "group") if n in table}
            return pd.concat([table, table.assign(**names)])

        return replace(c, items=twice(c.items), scores=twice(c.scores), latents=twice(c.latents),
                       fidelity=twice(c.fidelity))  # fmt: skip

    found = again(evidence, files, doubled)

    for before, after in zip(evidence.findings, found.findings, strict=True):
        for one, other in zip(before.conditions, after.conditions, strict=True):
            if one.status is Status.SHOWN and one.p is not None:
                assert other.p <= one.p, one.condition


def test_nothing_depends_on_the_order_of_rows(good):
    from compliance.assessment.measures import Measures

    evidence, files = good
    confirm = ConfirmObservations.from_files(files)
    means = FitObservations.from_files(files).means
    mixed = replace(confirm, **{
        name: table.sample(frac=1.0, random_state=1) for name, table in vars(confirm).items()
    })  # fmt: skip

    found = list(Measures(evidence.plan, evidence.lock, mixed, means).results())

    assert found == list(evidence.results[: len(found)])


@pytest.mark.parametrize("scorer", TEXT_CONTROLS)
def test_a_control_that_is_replaced_moves_its_own_rows_and_no_others(good, scorer):
    evidence, files = good

    def replaced(c: ConfirmObservations) -> ConfirmObservations:
        probe = c.scores[c.scores["scorer"] == "probe"].assign(scorer=scorer)
        had = c.scores[c.scores["scorer"] == scorer]["item"]
        others = c.scores[c.scores["scorer"] != scorer]
        return replace(c, scores=pd.concat([others, probe[probe["item"].isin(had)]]))

    found = {r.id: r for r in again(evidence, files, replaced).results}

    moved = {r.id.split("/")[-1] for r in evidence.results if found[r.id] != r}
    compared = {n for n in moved if n.startswith(("minus-", "auroc-"))}
    assert compared == {
        n
        for r in found.values()
        if (n := r.id.split("/")[-1])
        in (f"minus-{scorer}", f"auroc-hard.{scorer}", f"auroc-benign.{scorer}")
    }
    difference = found[f"danger/en/text/plain/minus-{scorer}"]
    lower = scorer == "tokens" and evidence.lock.orientations[0].sign == -1
    assert (difference.value > 0) == lower


# Other settings


def test_settings_are_judged_and_counted(good):
    evidence, _ = good

    kept = result(evidence, "danger/el/text/plain/settings-kept")

    assert (kept.successes, kept.n) == (2, 2)
    assert [s.setting for s in evidence.findings[1].settings] == ["pooling-mean", "alpha-0.02"]


def test_a_setting_reads_its_own_scores(good):
    """Under mean pooling the probe ranks the other way round: only that setting turns."""
    evidence, files = good

    def reversed_ranks(c: ConfirmObservations) -> ConfirmObservations:
        mine = c.scores["scorer"] == "probe@pooling-mean"
        other = c.scores["score"].where(~mine, 10.0 - c.scores["score"])
        return replace(c, scores=c.scores.assign(score=other))

    found = again(evidence, files, reversed_ranks)

    assert verdicts(found) == verdicts(evidence)
    for finding in found.findings:
        assert {s.setting: s.verdict for s in finding.settings} == {
            "pooling-mean": Verdict.CONTRADICTED, "alpha-0.02": Verdict.SUPPORTED,
        }  # fmt: skip
    assert result(found, "danger/en/text/plain/settings-kept").value == 0.5


def test_a_setting_without_scores_or_cut_off_counts_with_its_reason(good):
    evidence, files = good
    lock = evidence.lock.model_copy(update={"cut_offs": tuple(
        c.model_copy(update={"value": None, "reason": "too few"})
        if c.scorer == "probe@alpha-0.02" else c for c in evidence.lock.cut_offs)})  # fmt: skip

    found = again(evidence.model_copy(update={"lock": lock}), files, lambda c: replace(
        c, scores=c.scores[c.scores["scorer"] != "probe@pooling-mean"]))  # fmt: skip

    assert [(s.verdict, s.reason) for s in found.findings[0].settings] == [
        (Verdict.NOT_COVERED, "no-run"),
        (Verdict.INCONCLUSIVE, "not-measured"),
    ]
    assert result(found, "danger/en/text/plain/settings-kept").successes == 0


# Recomputation


def test_a_lock_of_another_plan_is_refused(good):
    evidence, files = good
    other = make_plan().model_copy(update={"seed": 8})

    with pytest.raises(PlanError, match="another plan"):
        assess(other, evidence.lock, files, **CONTEXT)


def test_other_limits_give_other_verdicts_and_leave_what_was_locked(good):
    evidence, files = good
    stated = evidence.plan.claims
    strict = stated.model_copy(update={"min_sensitivity": 0.9999})

    found = {f.cell.language: f for f in judged_with(evidence, files, strict)}

    assert judged_with(evidence, files, stated) == evidence.findings
    assert found["en"].verdict is not Verdict.SUPPORTED
    changed = {c.condition: c for c in found["en"].conditions}
    before = {c.condition: c for c in evidence.findings[0].conditions}
    assert changed["sensitivity"].limit == 0.9999
    assert {name for name, c in changed.items() if c != before[name]} == {"sensitivity"}


@pytest.mark.parametrize("deep", [False, True])
def test_what_was_not_touched_recomputes(good, deep):
    evidence, files = good

    assert not list(recompute(evidence, files, deep=deep))


def test_only_a_deep_recomputation_repeats_the_search(good):
    evidence, files = good
    probe = evidence.lock.probes[0]
    searched = probe.selection.model_copy(update={"null_p95": 0.99})
    lock = evidence.lock.model_copy(
        update={"probes": (probe.model_copy(update={"selection": searched}),)}
    )
    stored = evidence.model_copy(update={"lock": lock})

    assert not list(recompute(stored, files))
    assert [m.where for m in recompute(stored, files, deep=True)] == [
        "lock.probes[0].selection.null_p95"
    ]


def numbers(value: object, path: tuple = ()) -> list[tuple]:
    """Paths of all numbers in plain JSON."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in numbers(v, (*path, k))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in numbers(v, (*path, i))]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [path]
    return []


def altered(value: dict, path: tuple) -> dict:
    """A deep copy with one number changed by a thousandth, or a whole number by one."""
    found = copy.copy(value)
    place = found
    for key in path[:-1]:
        place[key] = copy.copy(place[key])
        place = place[key]
    old = place[path[-1]]
    place[path[-1]] = old + 1 if isinstance(old, int) else old + abs(old) / 1000 + 1e-5
    return found


@pytest.mark.parametrize("part", ["lock", "results", "findings"])
def test_every_altered_number_is_named(good, part):
    evidence, files = good
    plain = to_json(evidence)
    paths = numbers(plain[part], (part,))
    computed = _recomputed(evidence, files)[part]

    missed = [p for p in paths if not list(module.differences(
        part, _shape(part, altered({part: plain[part]}, p)[part]), computed))]  # fmt: skip

    assert len(paths) > 20
    assert not missed


def _recomputed(evidence: Evidence, files: dict[str, bytes]) -> dict[str, object]:
    """What ``recompute`` compares with; it depends on plan, lock and files only."""
    fit, digests = FitObservations.from_files(files), file_digests(files)
    lock = module.recomputed_lock(evidence.plan, evidence.lock, fit, digests, deep=True)
    found = module._compute(evidence.plan, evidence.lock, files)
    return {
        "lock": to_json(lock),
        "results": module._keyed(found.results, "id"),
        "findings": module._findings(found.findings),
    }


def _shape(part: str, plain: object) -> object:
    """Results by id and findings by cell, as ``recompute`` walks them."""
    if part == "results":
        return {r["id"]: r for r in plain}
    if part == "findings":
        return {
            "{concept}/{language}/{modality}/{rendering}".format(**f["cell"]): f
            | {"conditions": {c["condition"]: c for c in f["conditions"]}}
            for f in plain
        }
    return plain


def test_a_number_changed_in_the_file_is_named_by_recompute_itself(good):
    evidence, files = good
    plain = to_json(evidence)
    index = next(i for i, r in enumerate(plain["results"]) if r["id"].endswith("sensitivity"))

    stored = Evidence.model_validate(altered(plain, ("results", index, "value")))

    assert [m.where for m in recompute(stored, files)] == [
        f"results.{plain['results'][index]['id']}.value"
    ]


def test_blanked_observations_fail(good):
    evidence, files = good
    header = files["confirm/scores.csv"].split(b"\n")[0]
    blanked = files | {"confirm/scores.csv": header + b"\n"}

    problems = [m.where for m in recompute(evidence, blanked)]

    assert any(where.startswith("observations") for where in problems)
    assert any(where.startswith("results") for where in problems)


def test_a_score_that_is_not_a_number_is_refused(good):
    evidence, files = good
    lines = files["confirm/scores.csv"].split(b"\n")
    lines[5] = lines[5].rsplit(b",", 1)[0] + b","

    with pytest.raises(PlanError, match="row 5"):
        list(recompute(evidence, files | {"confirm/scores.csv": b"\n".join(lines)}))


# Splits


def split_by_rank(files: dict[str, bytes], **quotas: dict[str, int]) -> dict[str, bytes]:
    """Items whose splits follow from the hashes of their groups, cut at these quotas."""
    fit, confirm = FitObservations.from_files(files), ConfirmObservations.from_files(files)
    items = pd.concat([fit.items, confirm.items])
    digest = make_plan().suites[0].digest
    placed: dict[str, str] = {}
    for concept, part in items.groupby("concept"):
        placed |= cut(rank(set(part["group"]), digest), quotas["concept" if concept else "benign"])
    items = items.assign(split=items["group"].map(placed))
    in_fit = items["split"] != "confirm"
    return files | replace(fit, items=items[in_fit]).to_files() | replace(
        confirm, items=items[~in_fit]).to_files()  # fmt: skip


PLANNED = {
    "concept": {"discover": 20, "calibrate": 10, "confirm": 70},
    "benign": {"calibrate": 50, "confirm": 50},
}


def misplaced(plan: object, files: dict[str, bytes]) -> list[str]:
    return [m.where for m in item_differences(plan, files, ()) if m.where.startswith("splits")]


def test_groups_must_lie_in_the_split_that_their_hash_says(good):
    evidence, files = good

    assert "splits.suite.danger.misplaced" in misplaced(evidence.plan, files)
    assert not misplaced(evidence.plan, split_by_rank(files, **PLANNED))


def test_splits_have_their_exact_quotas_where_all_groups_were_run(good):
    """One group more on discover, in the right order."""
    evidence, files = good
    more = PLANNED | {"concept": {"discover": 21, "calibrate": 10, "confirm": 69}}
    suite = evidence.plan.suites[0].model_copy(update={"groups": 160 + 400})
    whole = evidence.plan.model_copy(update={"suites": (suite,)})

    assert not misplaced(whole, split_by_rank(files, **PLANNED))
    assert misplaced(whole, split_by_rank(files, **more)) == ["splits.suite.danger.misplaced"]
    part = whole.model_copy(update={"subset": Subset(groups_per_concept=160, benign_groups=400)})
    assert not misplaced(part, split_by_rank(files, **more))


def test_items_of_a_suite_that_is_not_planned_are_named(good):
    evidence, files = good
    confirm = ConfirmObservations.from_files(files)
    other = replace(confirm, items=confirm.items.assign(suite="another")).to_files()

    assert "splits.another" in misplaced(evidence.plan, files | other)


def test_an_unpaired_suite_is_split_by_label(good):
    evidence, files = good
    suite = evidence.plan.suites[0]
    sheet = suite.datasheet.model_copy(update={"paired": False})
    plan = evidence.plan.model_copy(
        update={"suites": (suite.model_copy(update={"datasheet": sheet}),)}
    )

    found = misplaced(plan, files)

    assert {"splits.suite.danger.positive.misplaced", "splits.suite.danger.hard-negative.misplaced",
            "splits.suite.benign.misplaced"} >= set(found)  # fmt: skip
    assert "splits.suite.danger.positive.misplaced" in found


def test_the_plan_of_the_evidence_is_the_one_that_was_locked(good):
    evidence, _ = good

    assert evidence.lock.plan_digest == digest_of(evidence.plan)
