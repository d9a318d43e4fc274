"""Whether a new pack is worse than what was declared as tolerable.

judge(diff, tolerances).violations
"""

from collections.abc import Iterator

from compliance.records.comparison import (
    LOWER_IS_BETTER,
    NEW_NOW,
    Gate,
    MeasureChange,
    PackDiff,
    Tolerance,
    Tolerances,
    VerdictChange,
    Violation,
)
from compliance.records.finding import Verdict

BEST_FIRST = (
    Verdict.SUPPORTED,
    Verdict.SUPPORTED_WITH_LIMITS,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_SUPPORTED,
    Verdict.CONTRADICTED,
    Verdict.NOT_COVERED,
)
"""A verdict that stands further on is worse; without cover nothing is known at all."""

ROUNDING = 1e-12
"""A fall of 0.05 that was computed as 0.05000000000000004 is within 0.05."""


def judge(diff: PackDiff, tolerances: Tolerances) -> Gate:
    """Hold every number and verdict of a comparison against its tolerance.

    Args:
        diff: What changed from the accepted pack to the new one.
        tolerances: What may be lost.

    Returns:
        What is worse than tolerated. ``passed`` is absent where nothing could be compared.
    """
    measures = diff.comparison.measures
    compared = [change for change in measures if change.difference is not None]
    held = [change for change in compared if change.measure in tolerances.measures]
    violations = (
        *(found for change in diff.comparison.verdicts if (found := _verdict(change, tolerances))),
        *(
            found
            for change in held
            if (found := _measure(change, tolerances.measures[change.measure], tolerances))
        ),
        *_lost(measures, tolerances),
    )
    both = any(c.before is not None and c.now is not None for c in diff.comparison.verdicts)
    known = bool(held or both or violations)
    return Gate(
        old=diff.old,
        new=diff.new,
        passed=not violations if known else None,
        violations=violations,
        held=len(held),
        not_held=tuple(
            dict.fromkeys(c.measure for c in compared if c.measure not in tolerances.measures)
        ),
        ignored=len(measures) - len(compared) - sum(1 for _ in _lost(measures, tolerances)),
        tolerances=tolerances,
    )


def _verdict(change: VerdictChange, tolerances: Tolerances) -> Violation | None:
    before, now = change.before, change.now
    if before is None:
        return None
    if now is None:
        if tolerances.not_comparable == "ignore":
            return None
        return Violation(
            cell=change.cell.key, measure="verdict", message=f"was {before}, no longer planned"
        )
    worse = BEST_FIRST.index(now) > BEST_FIRST.index(before)
    allowed = any((a.before, a.now) == (before, now) for a in tolerances.allowed_verdicts)
    if not worse or allowed:
        return None
    return Violation(cell=change.cell.key, measure="verdict", message=f"was {before}, is {now}")


def _measure(
    change: MeasureChange, tolerance: Tolerance, tolerances: Tolerances
) -> Violation | None:
    """How far it fell, or how far it may have fallen, against what is allowed."""
    mode = tolerance.mode or tolerances.mode
    rises = change.measure in LOWER_IS_BETTER
    if mode == "point":
        loss = change.difference if rises else -change.difference
    else:
        loss = change.high if rises else -change.low
    if loss <= tolerance.allowed + ROUNDING:
        return None
    by = f"{loss:.4f}" if mode == "point" else f"up to {loss:.4f}"
    verb = "rose" if rises else "fell"
    return Violation(
        cell=change.cell.key,
        measure=change.measure,
        message=f"{verb} by {by}, allowed {tolerance.allowed:g}: from {change.before:.4f} to "
        f"{change.now:.4f} on {change.items_shared} shared items "
        f"(difference {change.difference:+.4f}, {change.low:+.4f} to {change.high:+.4f})",
    )


def _lost(measures: tuple[MeasureChange, ...], tolerances: Tolerances) -> Iterator[Violation]:
    """What had a value that was held and cannot be compared now; what is new fails nothing."""
    if tolerances.not_comparable == "ignore":
        return
    for change in measures:
        known = change.reason is None or change.reason in NEW_NOW
        if not known and change.measure in tolerances.measures:
            yield Violation(
                cell=change.cell.key,
                measure=change.measure,
                message=f"not comparable: {change.reason.replace('-', ' ')}",
            )
