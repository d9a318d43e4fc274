"""How large the tables of a run will be at the least, told before anything is run.

A table beyond the limits of `assessment.tables` could not be read back, and a run of many items
would be lost at its end. Counted is what follows from the plan alone: not latents that fire, nor
tokens.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from compliance.assessment.tables import MAX_UNPACKED, MAX_VALUES
from compliance.errors import PlanError
from compliance.records.observation import (
    CALIBRATED,
    FIDELITY_COLUMNS,
    SCORE_COLUMNS,
    VECTOR_COLUMNS,
    applies,
)
from compliance.records.plan import Plan
from compliance.records.suite import Label, Variant
from compliance.suites.split import CALIBRATE, CONFIRM, DISCOVER

Counts = Mapping[tuple[str, str, Variant], Counter[Label]]
"""Items that are read, by split, concept and variant."""

JUDGED = (Label.POSITIVE, Label.HARD_NEGATIVE)
"""Labels of the items that controls are fitted on."""


@dataclass(frozen=True)
class Size:
    """What a table will hold at the least."""

    path: str
    items: int
    values: int
    bytes: int
    """Of its lists alone."""


def refuse_too_large(plan: Plan, counts: Counts, confirmed: int) -> None:
    """Refuse a plan whose tables could not be read back.

    Args:
        plan: The plan.
        counts: Items that are read.
        confirmed: Items of the confirm split.

    Raises:
        PlanError: A table will have more values or bytes than are read.
    """
    for size in (_vectors(plan, counts), _fidelity(plan, confirmed), _scores(counts)):
        over = max(size.values / MAX_VALUES, size.bytes / MAX_UNPACKED)
        if over <= 1:
            continue
        found, limit = f"{size.values:,} values", f"{MAX_VALUES:,}"
        if size.values <= MAX_VALUES:
            found, limit = f"{size.bytes:,} bytes", f"{MAX_UNPACKED:,}"
        raise PlanError(
            f"observations/{size.path}: {size.items:,} items would give at least {found}, and at "
            f"most {limit} can be read back",
            hint=f"plan at most {int(size.items / over):,} such items, with 'subset' in "
            "audit.yaml or in several audits of a part of the suites, or fewer SAEs",
        )


def _vectors(plan: Plan, counts: Counts) -> Size:
    items = values = numbers = 0
    hooks = {sae.hook_name: sae.d_in for sae in plan.saes}
    each = [*hooks.values(), *(sae.d_in for sae in plan.saes for _ in range(2))]
    for (split, _, variant), labels in counts.items():
        if split in (DISCOVER, CALIBRATE):
            number = sum(labels[label] for label in JUDGED)
            widths = [*each, *([plan.ngram_buckets] if applies("ngrams", variant) else [])]
            items += number
            numbers += number * sum(widths)
            values += number * (sum(widths) + len(widths) * (len(VECTOR_COLUMNS) - 1))
    return Size("fit/vectors.parquet", items, values, 4 * numbers)


def _fidelity(plan: Plan, items: int) -> Size:
    """Of each item and SAE one role, one token and the mean of its activations."""
    numbers = items * sum(sae.d_in for sae in plan.saes)
    others = items * len(plan.saes) * (len(FIDELITY_COLUMNS) - 1)
    return Size("confirm/fidelity.parquet", items, numbers + others, 8 * numbers)


def _scores(counts: Counts) -> Size:
    """Of each item that is read the scores that all have: those with a cut-off, and tokens."""
    items = sum(labels.total() for (split, *_), labels in counts.items() if split == CONFIRM)
    values = items * (len(CALIBRATED) + 1) * len(SCORE_COLUMNS)
    return Size("confirm/scores.csv", items, values, 0)
