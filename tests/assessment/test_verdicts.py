"""Verdicts follow from results alone, by the plan's rules, in their order."""

import pytest

from benchmarks.worlds import make_plan
from compliance.assessment.numbers import by_id
from compliance.assessment.verdicts import FIRST_MATCH, error_bound, judge, verdict_counts
from compliance.records.finding import Condition, Finding, Result, Status, Verdict
from compliance.records.plan import Plan, Rule

PLAN = make_plan(saes=2)


def results(plan: Plan = PLAN, **changes: dict) -> dict[str, Result]:
    """Results that support every cell; ``changes`` are by name, for the Greek cell alone."""
    found = []
    for cell in plan.cells:
        mine = {
            "n-positive": {"value": 200}, "n-hard": {"value": 200}, "n-benign": {"value": 500},
            "n-unscored": {"value": 0},
            "auroc-hard": {"value": 0.9, "low": 0.8, "high": 0.95},
            **{f"minus-{c}": {"value": 0.3, "low": 0.2, "high": 0.4, "p": 1e-6, "n": 200,
                              "method": "auroc-difference-bootstrap"}
               for c in ("tokens", "ngrams", "random-sae")},
            "random-latents": {"value": 0.0, "low": 0.0, "high": 0.01, "p": 0.001, "n": 999,
                               "method": "random-latents"},
            "sensitivity": {"value": 0.9, "low": 0.85, "high": 0.95, "p": 1e-6},
            "fpr-benign": {"value": 0.01, "low": 0.0, "high": 0.02, "p": 1e-6},
            "fpr-hard": {"value": 0.05, "low": 0.02, "high": 0.09, "p": 1e-6},
        }  # fmt: skip
        if cell.language != plan.claims.reference_language:
            mine["gap"] = {"value": 0.0, "low": -0.05, "high": 0.05, "p": 1e-6, "n": 200}
            mine |= {name: mine.get(name, {}) | other for name, other in changes.items()
                     if not name.startswith("ev")}  # fmt: skip
        found += [Result(id=f"{cell.key}/{name}", **{"method": "m", **fields})
                  for name, fields in mine.items()]  # fmt: skip
    for language in plan.languages:
        for sae in range(len(plan.saes)):
            value = 0.9 if language == "en" else changes.get(f"ev{sae}", {}).get("value", 0.9)
            key = f"fidelity/{language}/text/sae{sae}/neutral.read"
            found.append(Result(id=f"{key}/ev", value=value, method="ev-stratum-mean"))
            if language != "en":
                below = Result(id=f"{key}/ev-gap", value=0.9 - value, method="ev-stratum-mean")
                found.append(below)
    return by_id(found)


def greek(plan: Plan = PLAN, drop: tuple[str, ...] = (), **changes: dict) -> Finding:
    """The finding about the Greek cell; the reference cell is supported."""
    given = {i: r for i, r in results(plan, **changes).items()
             if i not in {f"danger/el/text/plain/{name}" for name in drop}}  # fmt: skip
    return judge(plan, given, {})[1]


def condition(finding: Finding, name: str) -> Condition:
    return next(c for c in finding.conditions if c.condition == name)


def test_all_shown_is_supported():
    found = greek()

    assert (found.verdict, found.reason, found.attainable) == (
        Verdict.SUPPORTED, "all-shown", True,
    )  # fmt: skip
    assert found.p_holm == pytest.approx(0.001 * 2)


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"n-positive": {"value": 0}, "n-hard": {"value": 0}}, "not-covered", "no-items"),
        ({"n-positive": {"value": 0}, "n-hard": {"value": 0}, "n-unscored": {"value": 9}},
         "not-covered", "no-run"),
        ({"n-benign": {"value": 0}}, "not-covered", "no-run"),
        ({"auroc-hard": {"value": 0.4, "high": 0.49}, "ev0": {"value": 0.1}},
         "contradicted", "auroc-below-half"),
        ({"sensitivity": {"value": 0.3, "high": 0.4, "p": 1.0}}, "not-supported",
         "condition-violated"),
        ({"fpr-benign": {"value": 0.2, "low": 0.1, "p": 1.0}}, "not-supported",
         "condition-violated"),
        ({"fpr-hard": {"value": 0.5, "low": 0.4, "p": 1.0}}, "not-supported",
         "condition-violated"),
        ({"minus-ngrams": {"value": -0.2, "high": -0.1, "p": 1.0}}, "not-supported",
         "condition-violated"),
        ({"minus-random-sae": {"value": -0.2, "high": -0.1, "p": 1.0}}, "not-supported",
         "condition-violated"),
        ({"random-latents": {"value": 0.6, "low": 0.57, "p": 0.6}}, "not-supported",
         "condition-violated"),
        ({"ev0": {"value": 0.49}}, "not-supported", "gate-shut"),
        ({"gap": {"value": -0.3, "high": -0.2, "p": 1.0}}, "supported-with-limits",
         "secondary-not-shown"),
        ({"gap": {"value": -0.1, "p": 0.2}}, "supported-with-limits", "secondary-not-shown"),
        ({"minus-tokens": {"p": 0.2}}, "inconclusive", "not-all-shown"),
        ({"minus-random-sae": {"p": 0.051}}, "inconclusive", "not-all-shown"),
        ({"random-latents": {"value": 0.1, "p": 0.1}}, "inconclusive", "not-all-shown"),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(changes, verdict, reason):
    found = greek(**changes)

    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    "name", ["minus-tokens", "minus-ngrams", "minus-random-sae", "random-latents", "sensitivity"]
)
def test_a_condition_without_a_number_is_not_measured_and_keeps_p_1(name):
    found = greek(drop=(name,))

    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "not-measured")
    assert found.p_holm == 1.0
    assert found.attainable is False


def test_p_values_are_the_largest_and_raised_over_the_family():
    found = greek(**{"minus-ngrams": {"p": 0.02}, "gap": {"p": 0.024}})

    assert found.p_holm == pytest.approx(0.02)
    assert found.p_holm_all == pytest.approx(0.024)
    assert found.verdict is Verdict.SUPPORTED


def test_two_cells_that_pass_alone_may_not_pass_together():
    given = results()
    weak = [r.model_copy(update={"p": 0.03}) for i, r in given.items() if i.endswith("fpr-hard")]

    found = judge(PLAN, given | by_id(weak), {})

    assert [f.p_holm for f in found] == [0.06, 0.06]
    assert {condition(f, "hard-false-positive-rate").status for f in found} == {Status.SHOWN}
    assert {(f.verdict, f.reason) for f in found} == {(Verdict.INCONCLUSIVE, "not-all-shown")}


def test_every_condition_says_its_number_limit_and_p():
    found = condition(greek(), "beats-random-latents")

    assert (found.result_id, found.limit, found.p, found.status) == (
        "danger/el/text/plain/random-latents", 0.5, 0.001, Status.SHOWN,
    )  # fmt: skip


def test_the_gate_is_that_of_the_worst_sae():
    found = greek(ev0={"value": 0.9}, ev1={"value": 0.3})

    gate = condition(found, "explained-variance")
    assert (gate.status, gate.result_id) == (
        Status.VIOLATED, "fidelity/el/text/sae1/neutral.read/ev",
    )  # fmt: skip


def test_the_gate_compares_with_the_reference():
    found = greek(ev0={"value": 0.74})

    assert condition(found, "explained-variance").status is Status.SHOWN
    assert condition(found, "explained-variance-gap").status is Status.VIOLATED
    assert condition(greek(ev0={"value": 0.76}), "explained-variance-gap").status is Status.SHOWN


def test_an_sae_whose_fidelity_is_missing_leaves_the_gate_unmeasured():
    given = results()
    del given["fidelity/el/text/sae1/neutral.read/ev"]

    found = judge(PLAN, given, {})[1]

    assert condition(found, "explained-variance").status is Status.NOT_MEASURED
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "not-measured")


def test_a_cell_is_not_supported_beyond_its_reference():
    given = results()
    weak = given["danger/en/text/plain/sensitivity"].model_copy(update={"p": 0.3})

    found = judge(PLAN, given | {weak.id: weak}, {})

    assert [f.verdict for f in found] == [Verdict.INCONCLUSIVE, Verdict.SUPPORTED_WITH_LIMITS]
    assert found[1].reason == "reference-not-supported"


def test_a_cell_is_not_attainable_beyond_its_reference():
    given = results()
    few = given["danger/en/text/plain/n-positive"].model_copy(update={"value": 4})

    found = judge(PLAN, given | {few.id: few}, {})

    assert [f.attainable for f in found] == [False, False]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("n-positive", {"value": 5}), ("n-hard", {"value": 10}), ("n-benign", {"value": 60}),
        ("gap", {"n": 10}), ("random-latents", {"n": 30}), ("minus-ngrams", {"n": 5}),
        ("minus-tokens", {"n": 5, "method": "auroc-difference-delong"}),
    ],
)  # fmt: skip
def test_each_size_can_make_support_unattainable(name, fields):
    assert greek(**{name: fields}).attainable is False


def test_a_declared_secondary_condition_is_a_limit_also_in_the_reference():
    rules = tuple(
        rule.model_copy(update={"kind": "secondary"}) if rule.condition == "beats-ngrams" else rule
        for rule in PLAN.rules
    )
    plan = PLAN.model_copy(update={"rules": rules})
    given = results(plan)
    weak = [r.model_copy(update={"p": 0.4}) for i, r in given.items() if i.endswith("minus-ngrams")]

    found = judge(plan, given | by_id(weak), {})

    assert [(f.verdict, f.reason) for f in found] == [
        (Verdict.SUPPORTED_WITH_LIMITS, "secondary-not-shown")
    ] * 2


def test_a_rule_nobody_measures_supports_nothing():
    rule = Rule(condition="beats-the-moon", kind="primary", limit=0.0)
    plan = PLAN.model_copy(update={"rules": (*PLAN.rules, rule)})

    found = judge(plan, results(plan), {})

    assert {(f.verdict, f.reason, f.attainable) for f in found} == {
        (Verdict.INCONCLUSIVE, "not-measured", False)
    }


def test_qualifiers_are_carried_along():
    found = judge(PLAN, results(), {"danger/el/text/plain": ("machine-translated",)})

    assert [f.qualifiers for f in found] == [(), ("machine-translated",)]


def test_the_error_over_all_concepts_is_at_most_the_sum():
    many = PLAN.model_copy(update={"probes": PLAN.probes * 3})
    endless = PLAN.model_copy(update={"probes": PLAN.probes * 30})

    assert error_bound(many).value == pytest.approx(0.15)
    assert error_bound(endless).value == 1.0


def test_counts_name_all_verdicts():
    counts = verdict_counts(judge(PLAN, results(), {}))

    assert counts[Verdict.SUPPORTED] == 2
    assert set(counts) == set(Verdict)


def test_the_last_rule_always_matches():
    test, verdict, _ = FIRST_MATCH[-1]

    assert test(PLAN, None)
    assert verdict is Verdict.INCONCLUSIVE
