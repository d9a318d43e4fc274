"""Looks at a model while it is trained: what is stated of each, and when it is an early warning.

Every look is held against the first, on the same items. The chance of any false warning in the
whole training is split evenly over the looks that are planned (Bonferroni), and within a look over
concepts, languages and measures (Holm). Needs no torch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from compliance.records.plan import Lock, Plan
from compliance.records.suite import Item, Label
from compliance.records.training import LookChange, LookedCell, LookMeasure, Share, Spread
from compliance.statistics.multiplicity import holm
from compliance.statistics.paired import change_interval, sign_flip_p
from compliance.statistics.proportion import wilson
from compliance.statistics.ranking import auroc
from compliance.statistics.resampling import seed_of

LABELS: dict[LookMeasure, Label] = {"sensitivity": Label.POSITIVE, "fpr-benign": Label.NEGATIVE}
"""Alarms among which items are tested."""

FORM = ("text", "plain")
"""Modality and rendering of what is read: words."""

Scores = Mapping[str, Mapping[str, float]]
"""By concept, the score of each item."""


def drawn(plan: Plan, items: Sequence[Item], groups: int) -> list[Item]:
    """Items of a few groups: so many of each concept, and of the benign ones.

    Args:
        plan: Its seed decides which, so that nobody picks them.
        items: Without any of the test items.
        groups: Of each at most.
    """

    def place(group: str) -> tuple[str, str]:
        return hashlib.sha256(f"{plan.seed}/training/{group}".encode()).hexdigest(), group

    wanted = {None, *(probe.concept for probe in plan.probes)}
    languages = set(plan.languages)
    mine = [
        item
        for item in items
        if item.concept in wanted
        and item.language in languages
        and (item.modality, item.rendering) == FORM
        and item.label is not Label.NEUTRAL
    ]
    kept: set[str] = set()
    for concept in wanted:
        names = {item.group for item in mine if item.concept == concept}
        kept.update(sorted(names, key=place)[:groups])
    return sorted((item for item in mine if item.group in kept), key=lambda item: item.id)


class Looks:
    """The items that are looked at, and how they are judged.

    Args:
        plan: Of the pack.
        lock: Of the pack.
        items: That are scored at every look.
        planned: Looks after the first.
    """

    def __init__(self, plan: Plan, lock: Lock, items: Sequence[Item], planned: int) -> None:
        self._plan = plan
        self.planned = planned
        self._table = pd.DataFrame(
            [(i.id, i.group, i.concept or "", i.label, i.language) for i in items],
            columns=["item", "group", "concept", "label", "language"],
        )
        self._cut_offs = {
            (c.cell.concept, c.cell.language): c.value
            for c in lock.cut_offs
            if c.scorer == "probe" and (c.cell.modality, c.cell.rendering) == FORM
        }

    @property
    def limit(self) -> float:
        """The adjusted p value up to which a change at one look is a warning."""
        return self._plan.family_error / self.planned

    def untestable(self) -> Iterator[str]:
        """Cells and measures that could not warn even if all of their groups changed."""
        tests = [(cell, measure) for cell in self._cells() for measure in LABELS]
        for (concept, language), measure in tests:
            part = self._part(concept, language, LABELS[measure])
            groups = part["group"].nunique()
            least = 2.0 ** (1 - groups) if groups else 1.0
            if self._cut_offs.get((concept, language)) is None or least > self.limit / len(tests):
                yield f"{concept}/{language}/{measure}"

    def look(self, scores: Scores, first: Scores | None, number: int) -> tuple[LookedCell, ...]:
        """What one look shows.

        Args:
            scores: Of this look.
            first: Of the first look of the history; None: nothing is tested.
            number: Of this look.
        """
        cells = [self._cell(concept, language, scores) for concept, language in self._cells()]
        if first is None:
            return tuple(cells)
        found = {
            place: list(self._changes(cell, scores, first, number))
            for place, cell in enumerate(cells)
        }
        every = [change for changes in found.values() for change in changes]
        adjusted = iter(holm([change.p for change in every]) if every else ())
        for place, changes in found.items():
            read = [self._read(change, float(next(adjusted))) for change in changes]
            cells[place] = cells[place].model_copy(update={"changes": tuple(read)})
        return tuple(cells)

    def _read(self, change: LookChange, p: float) -> LookChange:
        alert = p <= self.limit and change.difference != 0.0
        return change.model_copy(update={"p_holm": p, "alert": alert})

    def _cells(self) -> list[tuple[str, str]]:
        """Concepts and languages of the plan of which there is an item."""
        there = set(zip(self._table["concept"], self._table["language"], strict=True))
        planned = ((p.concept, tag) for p in self._plan.probes for tag in self._plan.languages)
        return [cell for cell in planned if cell in there]

    def _part(self, concept: str, language: str, label: Label) -> pd.DataFrame:
        """Items of a cell with one label; benign ones are of no concept."""
        table = self._table
        of = "" if label is Label.NEGATIVE else concept
        return table[
            (table["concept"] == of) & (table["language"] == language) & (table["label"] == label)
        ]

    def _scored(self, concept: str, language: str, label: Label, scores: Scores) -> pd.DataFrame:
        """The same with a score; one without the probe's region has none."""
        part = self._part(concept, language, label)
        found = part.assign(score=part["item"].map(scores.get(concept, {})))
        return found[found["score"].notna()]

    def _cell(self, concept: str, language: str, scores: Scores) -> LookedCell:
        limit = self._cut_offs.get((concept, language))
        labels = (Label.POSITIVE, Label.HARD_NEGATIVE, Label.NEGATIVE)
        positive, hard, benign = (
            self._scored(concept, language, label, scores)["score"].to_numpy(dtype=np.float64)
            for label in labels
        )
        return LookedCell(
            concept=concept,
            language=language,
            cut_off=limit,
            auroc=float(auroc(positive, hard)) if len(positive) and len(hard) else None,
            positives=_spread(positive),
            hard_negatives=_spread(hard),
            benign=_spread(benign),
            sensitivity=self._share(positive, limit),
            hard_alarms=self._share(hard, limit),
            false_alarms=self._share(benign, limit),
        )

    def _share(self, scores: np.ndarray, limit: float | None) -> Share | None:
        if limit is None or not len(scores):
            return None
        found = wilson(int((scores > limit).sum()), len(scores), self._plan.level)
        values = {name: getattr(found, name) for name in Share.model_fields}
        return Share.model_validate(values)

    def _changes(
        self, cell: LookedCell, scores: Scores, first: Scores, number: int
    ) -> Iterator[LookChange]:
        """Alarms now less alarms then, group by group. The p values are not adjusted yet."""
        if cell.cut_off is None:
            return
        for measure, label in LABELS.items():
            now = self._scored(cell.concept, cell.language, label, scores)
            then = now["item"].map(first.get(cell.concept, {}))
            now, then = now[then.notna()], then[then.notna()]
            if now.empty:
                continue
            alarms = [(scored > cell.cut_off).astype(np.int64) for scored in (now["score"], then)]
            change = alarms[0] - alarms[1]
            groups = change.groupby(now["group"])
            sums, sizes = groups.sum().to_numpy(np.int64), groups.size().to_numpy(np.int64)
            name = f"training/{number}/{cell.concept}/{cell.language}/{measure}"
            bounds = change_interval(
                sums, sizes, seed=seed_of(self._plan.seed, name), draws=self._plan.bootstrap_draws,
                level=self._plan.level,
            )  # fmt: skip
            yield LookChange(
                measure=measure, difference=float(sums.sum() / sizes.sum()), low=bounds.low,
                high=bounds.high, p=sign_flip_p(sums), p_holm=1.0, alert=False,
            )  # fmt: skip


def planned_looks(steps: int, every: int) -> int:
    """Looks after the first that a training of so many steps has."""
    return max(1, math.floor(steps / every))


def warnings_of(cells: Sequence[LookedCell]) -> tuple[str, ...]:
    """Each change that is a warning, in words."""
    return tuple(
        f"{cell.concept} in {cell.language}: {change.measure} "
        f"{'rose' if change.difference > 0 else 'fell'} by {abs(change.difference):.3f} "
        f"({change.low:+.3f} to {change.high:+.3f}) since the first look, adjusted p "
        f"{change.p_holm:.2g}"
        for cell in cells
        for change in cell.changes
        if change.alert
    )


def _spread(scores: np.ndarray) -> Spread | None:
    if not len(scores):
        return None
    low, median, high = (float(q) for q in np.quantile(scores, (0.1, 0.5, 0.9)))
    return Spread(low=low, median=median, high=high, n=len(scores))
