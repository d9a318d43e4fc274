"""Numbers against references, verdicts by the first rule that matches, and their recomputation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from compliance.assessment.assess import assess, item_differences, recompute
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.errors import PlanError
from compliance.records.audit import SystemFacts
from compliance.records.base import to_json
from compliance.records.evidence import Evidence, LawFacts
from compliance.records.finding import Status, Verdict
from compliance.records.plan import Rule
from compliance.records.subject import Environment
from tests.assessment.synthetic import MEASURED_RULES, World, make_files, make_plan

GOOD = World(effect={"en": 5.0, "el": 5.0})
CONTEXT = {
    "system": SystemFacts(name="s", title="S", version="1"),
    "environment": Environment(python="3", packages={}, machine="m", device="cpu"),
    "law": LawFacts(provisions_digest="d", mapping_digest="d", instrument="i", compiled="c"),
    "confirm_openings": 1,
}


def assessed(world: World, **plan: object) -> tuple[Evidence, dict[str, bytes]]:
    frozen = make_plan(**plan)
    lock, files = make_files(frozen, world)
    return assess(frozen, lock, files, **CONTEXT), files


@pytest.fixture(scope="module")
def good() -> tuple[Evidence, dict[str, bytes]]:
    return assessed(GOOD)


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


def test_explained_variance_is_about_the_mean_and_not_about_zero(good):
    evidence, files = good
    confirm = ConfirmObservations.from_files(files)
    languages = confirm.items.set_index("item")["language"]
    rows = confirm.fidelity[(languages.loc[confirm.fidelity["item"]] == "en").to_numpy()]
    mean = np.stack(list(rows["sums"])).sum(axis=0) / rows["tokens"].sum()
    total = rows["squares"].sum() - rows["tokens"].sum() * (mean.astype(float) ** 2).sum()

    found = result(evidence, "fidelity/en/text/sae0/ev")

    assert found.value == pytest.approx(1 - rows["error"].sum() / total)
    assert found.low < found.value < found.high


def test_the_planted_latent_is_selected(good):
    evidence, _ = good

    probe = evidence.lock.probes[0]

    assert [f.latent for f in probe.features] == [3]
    assert probe.selection.searched == 20


def test_an_english_only_probe_is_not_supported_elsewhere():
    evidence, _ = assessed(World(effect={"en": 5.0, "el": 0.5}))

    assert verdicts(evidence) == {"en": Verdict.SUPPORTED, "el": Verdict.NOT_SUPPORTED}


def test_no_signal_at_all_is_not_supported():
    evidence, _ = assessed(World(effect={"en": 0.0, "el": 0.0}))

    assert set(verdicts(evidence).values()) == {Verdict.NOT_SUPPORTED}


def test_a_probe_that_prefers_hard_negatives_is_contradicted():
    evidence, _ = assessed(World(effect={"en": 0.0, "el": 5.0}, hard_effect=5.0))

    assert verdicts(evidence)["en"] is Verdict.CONTRADICTED


def test_swapping_labels_never_supports():
    evidence, _ = assessed(World(effect={"en": 0.0, "el": 0.0}, hard_effect=5.0))

    assert Verdict.SUPPORTED not in verdicts(evidence).values()


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
    rules = (*MEASURED_RULES, Rule(condition="beats-ngrams", kind="primary", limit=0.0))

    evidence, _ = assessed(GOOD, rules=rules)

    assert {(f.verdict, f.reason) for f in evidence.findings} == {
        (Verdict.INCONCLUSIVE, "not-measured")
    }
    last = evidence.findings[0].conditions[-1]
    assert (last.condition, last.status, last.p) == ("beats-ngrams", Status.NOT_MEASURED, None)


def test_a_cell_without_items_is_not_covered_and_keeps_p_1_in_its_family():
    plan = make_plan(languages=("en", "el", "ja"))
    lock, files = make_files(plan.model_copy(update={"languages": ("en", "el")}), GOOD)
    lock = lock.model_copy(
        update={
            "cut_offs": (
                *lock.cut_offs,
                *(
                    c.model_copy(update={"value": None, "n": 0, "reason": "no items"})
                    for c in lock.cut_offs
                    if c.cell.language == "ja"
                ),
            )
        }
    )
    from compliance.records.base import digest_of

    lock = lock.model_copy(update={"plan_digest": digest_of(plan)})

    evidence = assess(plan, lock, files, **CONTEXT)

    assert verdicts(evidence)["ja"] is Verdict.NOT_COVERED
    assert len(evidence.findings) == 3


def test_a_token_count_that_separates_the_other_way_is_not_beaten_by_its_sign(good):
    """Positives shorter than every hard negative: length alone tells them apart."""
    evidence, files = good
    lines = files["confirm/scores.csv"].decode().splitlines()
    short = [
        line.rsplit(",", 1)[0] + (",1" if "-positive-" in line else ",90")
        if ",tokens," in line
        else line
        for line in lines
    ]
    other = files | {"confirm/scores.csv": ("\n".join(short) + "\n").encode()}

    found = assess(evidence.plan, evidence.lock, other, **CONTEXT)

    assert result(found, "danger/en/text/plain/auroc-hard.tokens").value == 0.0
    difference = result(found, "danger/en/text/plain/minus-tokens")
    assert difference.value <= 0.0
    assert difference.p == 1.0
    assert Verdict.SUPPORTED not in verdicts(found).values()


def test_items_without_a_score_are_counted(good):
    evidence, files = good
    lines = files["confirm/scores.csv"].decode().splitlines(keepends=True)
    fewer = [line for line in lines if not line.startswith("g0061-positive-en,")]
    other = files | {"confirm/scores.csv": "".join(fewer).encode()}

    found = assess(evidence.plan, evidence.lock, other, **CONTEXT)

    assert result(evidence, "danger/en/text/plain/n-unscored").value == 0
    assert result(found, "danger/en/text/plain/n-unscored").value == 1


def test_a_lock_of_another_plan_is_refused(good):
    evidence, files = good
    other = make_plan().model_copy(update={"seed": 8})

    with pytest.raises(PlanError, match="another plan"):
        assess(other, evidence.lock, files, **CONTEXT)


def test_what_was_not_touched_recomputes(good):
    evidence, files = good

    assert not list(recompute(evidence, files))


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
    import copy

    found = copy.deepcopy(value)
    place = found
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    place[path[-1]] = old + 1 if isinstance(old, int) else old * 1.001 + 1e-5
    return found


@pytest.mark.parametrize("part", ["lock", "results", "findings"])
def test_every_altered_number_is_named(good, part):
    evidence, files = good
    plain = to_json(evidence)
    paths = numbers(plain[part], (part,))
    fast = _recomputer(evidence, files)

    missed = [p for p in paths if not fast(altered(plain, p))]

    assert len(paths) > 20
    assert not missed


def _recomputer(evidence: Evidence, files: dict[str, bytes]):
    """``recompute`` with the computing done once: it depends on plan, lock and files only."""
    from compliance.assessment import assess as module

    lock = to_json(module.make_lock(evidence.plan, FitObservations.from_files(files),
                                    file_digests(files)))  # fmt: skip
    results, findings = module._compute(evidence.plan, evidence.lock, files)

    def differences(plain: dict) -> list:
        stored = Evidence.model_validate(plain)
        return [
            *module.differences("lock", to_json(stored.lock), lock),
            *module.differences(
                "results", module._keyed(stored.results, "id"), module._keyed(results, "id")
            ),
            *module.differences(
                "findings", module._findings(stored.findings), module._findings(findings)
            ),
        ]

    return differences


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


def test_groups_must_lie_in_the_split_that_their_hash_says(good):
    evidence, files = good

    found = [m.where for m in item_differences(evidence.plan, files, {})]

    assert "splits.suite.danger.misplaced" in found  # the synthetic groups were not ranked by hash
