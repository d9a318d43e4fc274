"""Applies the plan's rules to the results: conditions, then the first verdict that matches.

PROTOCOL section 11. Nothing here looks at an observation; a verdict follows from results.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from compliance.assessment.detectable import could_be_shown
from compliance.assessment.fidelity import gate_stratum
from compliance.records.finding import Condition, Finding, Result, Status, Verdict
from compliance.records.plan import Cell, Plan, Rule
from compliance.statistics.multiplicity import holm, intersection_union

Results = Mapping[str, Result]

MEASURED_BY = {
    "beats-token-count": "minus-tokens",
    "beats-ngrams": "minus-ngrams",
    "beats-colour": "minus-colour",
    "beats-pixels": "minus-pixels",
    "beats-random-latents": "random-latents",
    "beats-random-sae": "minus-random-sae",
    "sensitivity": "sensitivity",
    "false-positive-rate": "fpr-benign",
    "hard-false-positive-rate": "fpr-hard",
    "non-inferior": "gap",
}
"""The result each condition looks at. A condition that is not here is not measured by this
version, and no cell is supported without it."""

ABOVE = {
    "beats-token-count", "beats-ngrams", "beats-colour", "beats-pixels", "beats-random-sae",
    "sensitivity",
}  # fmt: skip
"""Conditions whose number must exceed the limit; the others' must stay below it."""


def judge(
    plan: Plan, results: Results, qualifiers: Mapping[str, tuple[str, ...]]
) -> tuple[Finding, ...]:
    """One finding for each planned cell, in the plan's order.

    Args:
        plan: Its rules, families and limits.
        results: By id.
        qualifiers: By cell key: what every sentence about a cell must add.
    """
    found: dict[str, Finding] = {}
    for probe in plan.probes:
        cells = [cell for cell in plan.cells if cell.concept == probe.concept]
        drafts = [_draft(plan, cell, results) for cell in cells]
        core = holm([draft.p_core for draft in drafts])
        full = holm([draft.p_all for draft in drafts])
        for draft, p_core, p_all in zip(drafts, core, full, strict=True):
            adjusted = replace(draft, p_core=float(p_core), p_all=float(p_all))
            found[draft.cell.key] = _finding(plan, adjusted, qualifiers)
    return tuple(_beside_reference(plan, found[cell.key], found) for cell in plan.cells)


@dataclass(frozen=True)
class _Draft:
    """A cell between its conditions and its verdict."""

    cell: Cell
    counts: Mapping[str, int]
    """``positive``, ``hard``, ``benign`` and ``unscored``."""

    conditions: tuple[Condition, ...]
    auroc_hard: Result | None
    attainable: bool | None
    p_core: float
    p_all: float

    @property
    def measured(self) -> bool:
        return _measured(self.counts)


def _draft(plan: Plan, cell: Cell, results: Results) -> _Draft:
    counts = {
        name: int((results[f"{cell.key}/n-{name}"].value) or 0)
        for name in ("positive", "hard", "benign", "unscored")
    }
    measured = _measured(counts)
    conditions = tuple(
        _condition(plan, rule, cell, results if measured else {})
        for rule in plan.rules
        if rule.needs is None or cell.variant.shows(rule.needs)
    )
    counting = [c for c in conditions if c.status is not Status.NOT_APPLICABLE]
    core = [_p(c) for c in counting if c.kind == "primary"]
    secondary = [_p(c) for c in counting if c.kind == "secondary"]
    return _Draft(
        cell=cell,
        counts=counts,
        conditions=conditions,
        auroc_hard=results.get(f"{cell.key}/auroc-hard"),
        attainable=could_be_shown(plan, cell, conditions, results) if measured else None,
        p_core=intersection_union(core),
        p_all=intersection_union(core + secondary),
    )


def _measured(counts: Mapping[str, int]) -> bool:
    return all(counts[name] for name in ("positive", "hard", "benign"))


def _p(condition: Condition) -> float:
    """A condition without a number keeps p = 1, so that dropping one never helps."""
    return 1.0 if condition.p is None else condition.p


def _condition(plan: Plan, rule: Rule, cell: Cell, results: Results) -> Condition:
    if rule.kind == "gate":
        return _gate(plan, rule, cell, results)
    if rule.condition == "non-inferior" and cell.language == plan.claims.reference_language:
        return _bare(rule, Status.NOT_APPLICABLE)
    result = results.get(f"{cell.key}/{MEASURED_BY.get(rule.condition, '')}")
    if result is None or result.value is None:
        return _bare(rule, Status.NOT_MEASURED)
    return Condition(
        condition=rule.condition, kind=rule.kind, status=_status(plan, rule, result),
        result_id=result.id, limit=rule.limit, p=result.p,
    )  # fmt: skip


def _bare(rule: Rule, status: Status) -> Condition:
    return Condition(condition=rule.condition, kind=rule.kind, status=status, limit=rule.limit)


def _status(plan: Plan, rule: Rule, result: Result) -> Status:
    """Shown: p below the family's error, unadjusted. Violated: the interval lies beyond."""
    limit = rule.limit if rule.limit is not None else 0.0
    if rule.condition == "non-inferior":
        violated = result.high is not None and result.high < -limit
    elif rule.condition in ABOVE:
        violated = result.high is not None and result.high < limit
    else:
        violated = result.low is not None and result.low > limit
    if violated:
        return Status.VIOLATED
    shown = result.p is not None and result.p <= plan.family_error
    return Status.SHOWN if shown else Status.NOT_SHOWN


def _gate(plan: Plan, rule: Rule, cell: Cell, results: Results) -> Condition:
    """Explained variance of the worst SAE where gates look; a point estimate opens or shuts."""
    below = rule.condition == "explained-variance-gap"
    if below and cell.language == plan.claims.reference_language:
        return _bare(rule, Status.NOT_APPLICABLE)
    limit = rule.limit if rule.limit is not None else 0.0
    worst: tuple[float, Result] | None = None
    for index, _ in enumerate(plan.saes):
        key = f"fidelity/{cell.language}/{cell.modality}/sae{index}"
        stratum = gate_stratum(plan, cell)
        found = results.get(f"{key}/{stratum}/{'ev-gap' if below else 'ev'}")
        if found is None or found.value is None:
            return _bare(rule, Status.NOT_MEASURED)
        inside = limit - found.value if below else found.value - limit
        if worst is None or inside < worst[0]:
            worst = (inside, found)
    if worst is None:
        return _bare(rule, Status.NOT_MEASURED)
    status = Status.SHOWN if worst[0] >= 0 else Status.VIOLATED
    return Condition(
        condition=rule.condition, kind="gate", status=status,
        result_id=worst[1].id, limit=rule.limit,
    )  # fmt: skip


Test = Callable[[Plan, _Draft], bool]


def _no_items(plan: Plan, draft: _Draft) -> bool:
    return not any(draft.counts[name] for name in ("positive", "hard", "unscored"))


def _no_run(plan: Plan, draft: _Draft) -> bool:
    return not draft.measured


def _below_half(plan: Plan, draft: _Draft) -> bool:
    area = draft.auroc_hard
    return area is not None and area.high is not None and area.high < 0.5


def _violated(plan: Plan, draft: _Draft) -> bool:
    return any(c.kind == "primary" and c.status is Status.VIOLATED for c in draft.conditions)


def _shut(plan: Plan, draft: _Draft) -> bool:
    return any(c.kind == "gate" and c.status is Status.VIOLATED for c in draft.conditions)


def _open(draft: _Draft) -> bool:
    passed = (Status.SHOWN, Status.NOT_APPLICABLE)
    return all(c.status in passed for c in draft.conditions if c.kind == "gate")


def _all_shown(plan: Plan, draft: _Draft) -> bool:
    return _open(draft) and draft.p_all <= plan.family_error


def _core_shown(plan: Plan, draft: _Draft) -> bool:
    return _open(draft) and draft.p_core <= plan.family_error


def _unmeasured(plan: Plan, draft: _Draft) -> bool:
    return any(c.status is Status.NOT_MEASURED for c in draft.conditions)


FIRST_MATCH: tuple[tuple[Test, Verdict, str], ...] = (
    (_no_items, Verdict.NOT_COVERED, "no-items"),
    (_no_run, Verdict.NOT_COVERED, "no-run"),
    (_below_half, Verdict.CONTRADICTED, "auroc-below-half"),
    (_violated, Verdict.NOT_SUPPORTED, "condition-violated"),
    (_shut, Verdict.NOT_SUPPORTED, "gate-shut"),
    (_all_shown, Verdict.SUPPORTED, "all-shown"),
    (_core_shown, Verdict.SUPPORTED_WITH_LIMITS, "secondary-not-shown"),
    (_unmeasured, Verdict.INCONCLUSIVE, "not-measured"),
    (lambda plan, draft: True, Verdict.INCONCLUSIVE, "not-all-shown"),
)
"""Rules of section 11 in their order; the first that matches is the verdict."""


def _finding(plan: Plan, draft: _Draft, qualifiers: Mapping[str, tuple[str, ...]]) -> Finding:
    verdict, reason = next((v, r) for test, v, r in FIRST_MATCH if test(plan, draft))
    covered = verdict is not Verdict.NOT_COVERED
    ids = [f"{draft.cell.key}/auroc-hard"] if draft.auroc_hard else []
    ids += [c.result_id for c in draft.conditions if c.result_id]
    return Finding(
        cell=draft.cell,
        verdict=verdict,
        reason=reason,
        conditions=draft.conditions,
        p_holm=draft.p_core if covered else None,
        p_holm_all=draft.p_all if covered else None,
        attainable=draft.attainable,
        qualifiers=qualifiers.get(draft.cell.key, ()),
        result_ids=tuple(dict.fromkeys(ids)),
    )


def _beside_reference(plan: Plan, finding: Finding, found: Mapping[str, Finding]) -> Finding:
    """Non-inferior to a reference that is not itself supported is a limit, not support.

    For the same reason a cell cannot be supported where its reference could not.
    """
    cell = finding.cell
    if cell.language == plan.claims.reference_language or finding.attainable is None:
        return finding
    reference = cell.model_copy(update={"language": plan.claims.reference_language})
    judged = found.get(reference.key)
    if judged is None or not judged.attainable:
        finding = finding.model_copy(update={"attainable": False})
    if finding.verdict is not Verdict.SUPPORTED or (
        judged is not None and judged.verdict is Verdict.SUPPORTED
    ):
        return finding
    return finding.model_copy(
        update={"verdict": Verdict.SUPPORTED_WITH_LIMITS, "reason": "reference-not-supported"}
    )


def error_bound(plan: Plan) -> Result:
    """Probability that any cell of the audit is wrongly supported, at most: the union bound."""
    bound = min(1.0, len(plan.probes) * plan.family_error)
    return Result(id="audit/error-bound", value=bound, n=len(plan.probes), method="union-bound")


def verdict_counts(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How many cells got each verdict, all verdicts named."""
    return {v: sum(f.verdict is v for f in findings) for v in Verdict}
