"""Made-up observations for charts: scores that fit the made-up results where a test needs it."""

from collections.abc import Iterable

import pandas as pd

from compliance.catalog import load_catalog
from compliance.records.observation import FIRING_COLUMNS, SCORE_COLUMNS
from compliance.records.suite import Item, Label
from compliance.reports.context import Context
from compliance.reports.messages import load_messages
from compliance.reports.observed import Observed
from tests.reports.example import example_evidence

POSITIVE = (0.0, 1.5, 3.0, 3.0, 4.2, 6.0)
HARD = (0.0, 0.0, 1.5, 2.0, 3.0)
BENIGN = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.5, 2.6)
"""Scores with ties within and between classes."""


def context(evidence=None, *, scores=None, firing=(), observed=True) -> Context:
    """A context whose English and Greek cells of deception have scores."""
    evidence = evidence or example_evidence()
    found = None
    if observed:
        of_class = {Label.POSITIVE: POSITIVE, Label.HARD_NEGATIVE: HARD, Label.NEGATIVE: BENIGN}
        rows = list(_items(scores or dict.fromkeys(("en", "el"), of_class)))
        found = Observed(
            items=tuple(item for item, _ in rows),
            scores=pd.DataFrame(
                [(i.id, "deception", scorer, score if scorer == "probe" else 99.0)
                 for i, score in rows for scorer in ("probe", "tokens")],
                columns=SCORE_COLUMNS,
            ),
            tokens=pd.DataFrame(),
            cofiring=pd.DataFrame(),
            features=pd.DataFrame(),
            firing=pd.DataFrame(list(firing), columns=FIRING_COLUMNS),
        )  # fmt: skip
    words = load_messages()
    return Context(evidence=evidence, catalog=load_catalog(), words=words, observed=found)


def _items(scores: dict[str, dict[Label, Iterable[float]]]):
    for language, classes in scores.items():
        for label, values in classes.items():
            for place, score in enumerate(values):
                yield (
                    Item(
                        id=f"{label}-{language}-{place}",
                        group=f"g{place}",
                        concept=None if label is Label.NEGATIVE else "deception",
                        label=label,
                        language=language,
                        text="Words.",
                        origin="authored",
                        source="made up",
                        licence="CC0-1.0",
                    ),
                    score,
                )


def cells_of(ctx: Context, concept: str = "deception"):
    """The planned cells of a concept."""
    return [cell for cell in ctx.plan.cells if cell.concept == concept]
