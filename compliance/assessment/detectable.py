"""What a cell of this size can show: all it needs, the smallest effects, and the predicted power.

PROTOCOL section 5. The level is the family's error over its planned cells, Holm's strictest step.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from compliance.assessment.cells import CellData
from compliance.assessment.rates import pairs
from compliance.records.finding import Condition, Result, Status
from compliance.records.plan import Cell, Plan
from compliance.statistics.power import (
    Design,
    Effect,
    Power,
    attainable,
    minimum_detectable_auroc,
    minimum_detectable_gap,
    minimum_detectable_greater,
    minimum_detectable_less,
    predicted_power,
)
from compliance.statistics.resampling import seed_of

DISCORDANCE = 0.1
SENSITIVITY = 0.9
PREDICTED = Effect.of_rates(
    sensitivity=SENSITIVITY, fpr=0.01, hard_fpr=0.05, discordance=DISCORDANCE
)
"""The probe that predictions are made for: PROTOCOL section 11."""

DRAWS = 2000


def family_level(plan: Plan, concept: str) -> float:
    """The level that the strictest step of Holm compares with."""
    return plan.family_error / sum(cell.concept == concept for cell in plan.cells)


def detectable(plan: Plan, data: CellData, reference: CellData | None) -> Iterator[Result]:
    """The smallest effects shown with 80 % power, and the chance of "supported"."""
    key, claims = data.cell.key, plan.claims
    n_pos, n_hard, n_benign = len(data.positive), len(data.hard), len(data.benign)
    level = family_level(plan, data.cell.concept)
    yield _smallest(
        f"{key}/mde-sensitivity", n_pos, "power-binomial",
        minimum_detectable_greater(n_pos, claims.min_sensitivity, alpha=level),
    )  # fmt: skip
    for name, n, limit in (
        ("fpr-benign", n_benign, claims.max_false_positive_rate),
        ("fpr-hard", n_hard, claims.max_hard_false_positive_rate),
    ):
        found = minimum_detectable_less(n, limit, alpha=level)
        yield _smallest(f"{key}/mde-{name}", n, "power-binomial", found)
    found = minimum_detectable_auroc(n_pos, n_hard, alpha=level)
    yield _smallest(f"{key}/mde-auroc", min(n_pos, n_hard), "power-auroc", found)
    paired = pairs(data, reference)
    if paired is not None:
        found = minimum_detectable_gap(
            paired[2], claims.non_inferiority_margin, sensitivity=SENSITIVITY,
            discordance=DISCORDANCE, alpha=level,
        )  # fmt: skip
        yield _smallest(f"{key}/mde-gap", paired[2], "power-tango", found)
    yield _predicted(plan, data)


def could_be_shown(
    plan: Plan, cell: Cell, conditions: Sequence[Condition], results: Mapping[str, Result]
) -> bool:
    """Whether outcomes as good as can be would show every condition at the family's level.

    Args:
        plan: Its limits and families.
        cell: A cell that was measured.
        conditions: The cell's; one without a number could not be shown.
        results: By id.
    """
    if any(c.status is Status.NOT_MEASURED for c in conditions):
        return False
    level, claims = family_level(plan, cell.concept), plan.claims
    sizes = {name: int(results[f"{cell.key}/n-{name}"].value or 0)
             for name in ("positive", "hard", "benign")}  # fmt: skip
    gap = results.get(f"{cell.key}/gap")
    best = attainable(
        n_pos=sizes["positive"], n_benign=sizes["benign"], n_hard=sizes["hard"],
        n_pairs=gap.n if gap else None, alpha=level,
        min_sensitivity=claims.min_sensitivity, max_fpr=claims.max_false_positive_rate,
        max_hard_fpr=claims.max_hard_false_positive_rate, margin=claims.non_inferiority_margin,
    )  # fmt: skip
    ranked = [results[c.result_id] for c in conditions if c.result_id]
    return best.attainable and all(_least_p(result) <= level for result in ranked)


def _least_p(result: Result) -> float:
    """The smallest p that a comparison of rankings of this size can have.

    A scorer without signal separates n disjoint pairs with probability 1/2**n.
    """
    n = result.n or 0
    if result.method == "random-latents":
        return 1 / (n + 1)
    return 0.5**n if result.method.startswith("auroc-difference") else 0.0


def _smallest(identity: str, n: int, method: str, found: float | None) -> Result:
    return Result(
        id=identity, value=found, n=n, method=method,
        reason=None if found is not None else "no effect reaches 80 % power at this n",
    )  # fmt: skip


def _predicted(plan: Plan, data: CellData) -> Result:
    family = [cell for cell in plan.cells if cell.concept == data.cell.concept]
    reference = plan.claims.reference_language
    design = Design(
        groups=len(data.positive),
        hard_negatives=len(data.hard),
        benign_calibrate=max(1, data.cut_offs["probe"].n),
        benign_confirm=len(data.benign),
        cells=len(family),
        references=sum(cell.language == reference for cell in family),
        alpha=plan.alpha,
        family_error=plan.family_error,
        min_sensitivity=plan.claims.min_sensitivity,
        max_fpr=plan.claims.max_false_positive_rate,
        max_hard_fpr=plan.claims.max_hard_false_positive_rate,
        margin=plan.claims.non_inferiority_margin,
    )
    power = _simulated(design, seed_of(plan.seed, "predicted-power"))
    cell = power.reference if data.cell.language == reference else power.other
    return Result(
        id=f"{data.cell.key}/predicted-power",
        value=cell.supported.value if cell else None,
        n=len(data.positive),
        method="power-simulation",
        reason=None if cell else "the family has no cell but the reference's",
    )


@lru_cache(maxsize=64)
def _simulated(design: Design, seed: int) -> Power:
    """Cells of one size are predicted once."""
    return predicted_power(design, PREDICTED, draws=DRAWS, seed=seed)
