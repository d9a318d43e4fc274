"""The probe's scores in a cell, by label, as observed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compliance.records.plan import Cell
from compliance.records.suite import Label
from compliance.reports.observed import FACTS, Observed

Scores = dict[Label, NDArray[np.float64]]
LABELS = (Label.POSITIVE, Label.HARD_NEGATIVE, Label.NEGATIVE)
"""Positives, hard negatives and benign items, which serve every concept."""


def scores_of(observed: Observed, cells: Sequence[Cell]) -> dict[str, Scores]:
    """Scores of the locked probe on the confirm items of each cell.

    Args:
        observed: With items and ``confirm/scores.csv``.
        cells: All of one concept.

    Returns:
        By cell key, then by each of `LABELS`: float64, ascending; empty where there are none.
    """
    scores = observed.scores
    mine = scores[(scores["scorer"] == "probe") & (scores["concept"] == cells[0].concept)]
    table = mine[["item", "score"]].merge(observed.facts, on="item")
    parts = {key: part.to_numpy(np.float64) for key, part in table.groupby(FACTS[1:])["score"]}
    nothing = np.empty(0)
    return {
        cell.key: {
            label: np.sort(parts.get((_concept(cell, label), str(label), *cell.variant), nothing))
            for label in LABELS
        }
        for cell in cells
    }


def _concept(cell: Cell, label: Label) -> str:
    """Whose items they are: benign ones are nobody's."""
    return "" if label is Label.NEGATIVE else cell.concept
