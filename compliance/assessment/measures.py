"""Computes every result of a cell from the confirm observations (PROTOCOL sections 5 to 7).

A result's id is the cell's key and a name; names are listed in docs/reference/results.md.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from compliance.assessment.tables import ConfirmObservations, vectors
from compliance.records.finding import Result
from compliance.records.plan import Cell, CutOff, Lock, Plan
from compliance.records.suite import Label
from compliance.statistics.estimate import Difference, Estimate
from compliance.statistics.power import minimum_detectable_greater
from compliance.statistics.predictive import positive_predictive_value
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_interval,
    tango_p_noninferior,
    wilson,
)
from compliance.statistics.ranking import bootstrap_auroc, paired_auroc_difference

POSITIVE, HARD, BENIGN = Label.POSITIVE, Label.HARD_NEGATIVE, Label.NEGATIVE


@dataclass(frozen=True)
class CellData:
    """One cell's confirm items with a column of scores per scorer, ordered by item."""

    cell: Cell
    table: pd.DataFrame
    """Columns: item, group, label, format, stratum, and one per scorer."""

    def of(self, label: Label) -> pd.DataFrame:
        return self.table[self.table["label"] == label]

    @property
    def measured(self) -> bool:
        """Whether there are positives, hard negatives and benign items with a probe score."""
        if "probe" not in self.table:
            return False
        return all(len(self.of(label)) for label in (POSITIVE, HARD, BENIGN))


def cell_data(cell: Cell, confirm: ConfirmObservations) -> CellData:
    """Join a cell's items with their scores; benign items count where they have the region."""
    mine = cell_items(cell, confirm.items)
    scores = confirm.scores[
        (confirm.scores["concept"] == cell.concept) & confirm.scores["item"].isin(mine["item"])
    ]
    wide = scores.pivot(index="item", columns="scorer", values="score")
    columns = ["item", "group", "label", "format", "stratum"]
    return CellData(cell, mine[columns].merge(wide, left_on="item", right_index=True, how="inner"))


def cell_items(cell: Cell, items: pd.DataFrame) -> pd.DataFrame:
    """The items of a cell's own concept, and the benign ones that serve every concept."""
    return items[
        (items["language"] == cell.language)
        & (items["modality"] == cell.modality)
        & (items["rendering"] == cell.rendering)
        & ((items["concept"] == cell.concept) | (items["label"] == BENIGN))
    ]


class Measures:
    """All results of a plan, cell by cell."""

    def __init__(self, plan: Plan, lock: Lock, confirm: ConfirmObservations) -> None:
        self.plan = plan
        self.lock = lock
        self.confirm = confirm
        self.cells = {cell.key: cell_data(cell, confirm) for cell in plan.cells}
        self._cut_offs = {(c.scorer, c.cell.key): c for c in lock.cut_offs}

    def all_results(self) -> list[Result]:
        """Results of every cell in the plan's order, then fidelity by language."""
        found = [r for cell in self.plan.cells for r in self.of_cell(self.cells[cell.key])]
        return found + list(self._fidelity())

    def of_cell(self, data: CellData) -> Iterator[Result]:
        """Results of one cell. A cell without items has its counts and nothing else."""
        yield from self._counts(data)
        if not data.measured:
            return
        yield from self._ranking(data)
        yield from self._rates(data, "probe", "")
        if "dense" in data.table:
            yield from self._rates(data, "dense", ".dense")
        yield from self._per_format(data)
        yield from self._carried_over(data)
        yield from self._gap(data)
        yield from self._predictive(data)
        yield self._detectable(data)

    def reference(self, cell: Cell) -> CellData | None:
        """The same concept, modality and rendering in the reference language."""
        if cell.language == self.plan.claims.reference_language:
            return None
        same = cell.model_copy(update={"language": self.plan.claims.reference_language})
        return self.cells.get(same.key)

    def pairs(self, data: CellData) -> tuple[int, int, int] | None:
        """Groups hit only here, only in the reference, and shared; None without a reference."""
        reference = self.reference(data.cell)
        here, there = self._hits(data), self._hits(reference) if reference else None
        if here is None or there is None:
            return None
        both = here.index.intersection(there.index)
        if not len(both):
            return None
        a, b = here.loc[both].to_numpy(), there.loc[both].to_numpy()
        return int((a & ~b).sum()), int((~a & b).sum()), len(both)

    def _hits(self, data: CellData) -> pd.Series | None:
        limit = self._cut_off("probe", data.cell)
        if not data.measured or limit is None:
            return None
        positives = data.of(POSITIVE)
        return pd.Series(positives["probe"].to_numpy() > limit, index=positives["group"])

    def _cut_off(self, scorer: str, cell: Cell) -> float | None:
        found: CutOff | None = self._cut_offs.get((scorer, cell.key))
        return found.value if found else None

    def _counts(self, data: CellData) -> Iterator[Result]:
        for name, label in (("n-positive", POSITIVE), ("n-hard", HARD), ("n-benign", BENIGN)):
            yield Result(id=f"{data.cell.key}/{name}", value=len(data.of(label)), method="count")
        unscored = self._unscored(data.cell)
        yield Result(id=f"{data.cell.key}/n-unscored", value=unscored, method="count")
        found = self._cut_offs[("probe", data.cell.key)]
        yield Result(id=f"{data.cell.key}/n-calibrate", value=found.n, method="count")
        for scorer, suffix in (("probe", ""), ("dense", ".dense")):
            locked = self._cut_offs[(scorer, data.cell.key)]
            yield Result(
                id=f"{data.cell.key}/cut-off{suffix}",
                value=locked.value,
                n=locked.n,
                method="split-conformal",
                reason=locked.reason,
            )

    def _unscored(self, cell: Cell) -> int:
        """Positives and hard negatives of which no token was left to read."""
        mine = cell_items(cell, self.confirm.items)
        mine = mine[mine["label"] != BENIGN]
        scores = self.confirm.scores
        scored = scores[(scores["concept"] == cell.concept) & (scores["scorer"] == "probe")]
        return int((~mine["item"].isin(scored["item"])).sum())

    def _ranking(self, data: CellData) -> Iterator[Result]:
        positive, hard, benign = (data.of(label) for label in (POSITIVE, HARD, BENIGN))
        for name, against in (("auroc-hard", hard), ("auroc-benign", benign)):
            for scorer, suffix in (("probe", ""), ("tokens", ".tokens"), ("dense", ".dense")):
                if scorer in data.table:
                    identity = f"{data.cell.key}/{name}{suffix}"
                    yield _from_estimate(
                        identity,
                        bootstrap_auroc(
                            positive[scorer], against[scorer], _groups(positive), _groups(against),
                            seed=self._seed(identity), draws=self.plan.bootstrap_draws,
                            level=self.plan.level,
                        ),
                        "auroc-bootstrap",
                    )  # fmt: skip
        for control, name in (("tokens", "minus-tokens"), ("dense", "minus-dense")):
            if control in data.table:
                yield self._difference(data, control, f"{data.cell.key}/{name}")

    def _difference(self, data: CellData, control: str, identity: str) -> Result:
        """Probe minus control.

        A token count has no direction of its own: positives may be the longer or the shorter
        ones. The one that is harder to beat is taken, on the very items it is judged on.
        """
        signs = (1.0, -1.0) if control == "tokens" else (1.0,)
        tried = [self._signed_difference(data, control, sign, identity) for sign in signs]
        found = min(tried, key=lambda d: (-d.p_greater, d.value))
        return Result(
            id=identity, value=found.value, low=found.low, high=found.high, level=found.level,
            n=found.n, p=found.p_greater, method="auroc-difference-bootstrap",
        )  # fmt: skip

    def _signed_difference(
        self, data: CellData, control: str, sign: float, identity: str
    ) -> Difference:
        positive, hard = data.of(POSITIVE), data.of(HARD)
        return paired_auroc_difference(
            positive["probe"], hard["probe"], sign * positive[control], sign * hard[control],
            _groups(positive), _groups(hard), seed=self._seed(identity),
            draws=self.plan.bootstrap_draws, level=self.plan.level,
        )  # fmt: skip

    def _rates(self, data: CellData, scorer: str, suffix: str) -> Iterator[Result]:
        limit = self._cut_off(scorer, data.cell)
        claims = self.plan.claims
        for name, label, p_value, bound in (
            ("sensitivity", POSITIVE, binomial_p_greater, claims.min_sensitivity),
            ("fpr-benign", BENIGN, binomial_p_less, claims.max_false_positive_rate),
            ("fpr-hard", HARD, binomial_p_less, claims.max_hard_false_positive_rate),
        ):
            identity = f"{data.cell.key}/{name}{suffix}"
            if limit is None:
                yield Result(id=identity, method="wilson", reason="the cut-off cannot be set")
                continue
            scores = data.of(label)[scorer]
            alarms = int((scores > limit).sum())
            yield _from_share(
                identity, alarms, len(scores), self.plan.level, p_value(alarms, len(scores), bound)
            )

    def _per_format(self, data: CellData) -> Iterator[Result]:
        limit = self._cut_off("probe", data.cell)
        if limit is None:
            return
        for name, part in data.of(BENIGN).groupby("format"):
            alarms = int((part["probe"] > limit).sum())
            yield _from_share(
                f"{data.cell.key}/fpr-benign.{name}", alarms, len(part), self.plan.level
            )

    def _carried_over(self, data: CellData) -> Iterator[Result]:
        """What the reference language's cut-off would have given here."""
        reference = self.reference(data.cell)
        limit = self._cut_off("probe", reference.cell) if reference else None
        if limit is None:
            return
        for name, label in (("sensitivity", POSITIVE), ("fpr-benign", BENIGN)):
            scores = data.of(label)["probe"]
            yield _from_share(
                f"{data.cell.key}/{name}-at-reference-cut-off",
                int((scores > limit).sum()),
                len(scores),
                self.plan.level,
            )

    def _gap(self, data: CellData) -> Iterator[Result]:
        pairs = self.pairs(data)
        if pairs is None:
            return
        only_here, only_there, n = pairs
        found = tango_interval(only_here, only_there, n, self.plan.level)
        p = tango_p_noninferior(only_here, only_there, n, self.plan.claims.non_inferiority_margin)
        yield _from_estimate(f"{data.cell.key}/gap", found, "tango", p)

    def _predictive(self, data: CellData) -> Iterator[Result]:
        limit = self._cut_off("probe", data.cell)
        if limit is None:
            return
        rates = [
            wilson(int((scores > limit).sum()), len(scores), self.plan.level)
            for scores in (data.of(POSITIVE)["probe"], data.of(BENIGN)["probe"])
        ]
        for prevalence in self.plan.claims.prevalences:
            found = positive_predictive_value(*rates, prevalence)
            identity = f"{data.cell.key}/ppv@{prevalence:g}"
            if found.value is None:
                yield Result(id=identity, n=found.n, method="ppv", reason="no alarm at all")
            else:
                yield _from_estimate(identity, found, "ppv")

    def _detectable(self, data: CellData) -> Result:
        """Smallest sensitivity that would be shown with 80 % power at the cell's strictest level.

        The level is the family's error over its planned cells, the first step of Holm.
        """
        cells = sum(cell.concept == data.cell.concept for cell in self.plan.cells)
        n = len(data.of(POSITIVE))
        found = minimum_detectable_greater(
            n, self.plan.claims.min_sensitivity, alpha=self.plan.family_error / cells
        )
        return Result(
            id=f"{data.cell.key}/mde-sensitivity",
            value=found,
            n=n,
            method="power-binomial",
            reason=None if found is not None else "no sensitivity reaches 80 % power at this n",
        )

    def _fidelity(self) -> Iterator[Result]:
        items = self.confirm.items.set_index("item")
        table = self.confirm.fidelity
        languages = items.loc[table["item"], "language"].to_numpy() if len(table) else np.array([])
        for language in self.plan.languages:
            for index, _ in enumerate(self.plan.saes):
                rows = table[(languages == language) & (table["sae"] == index).to_numpy()]
                if len(rows):
                    yield from self._explained(rows, f"fidelity/{language}/text/sae{index}")

    def _explained(self, rows: pd.DataFrame, key: str) -> Iterator[Result]:
        """Explained variance about the stratum's mean, and L0; intervals by resampling items."""
        n = rows["tokens"].to_numpy(dtype=np.float64)
        error, squares = rows["error"].to_numpy(), rows["squares"].to_numpy()
        sums, l0 = vectors(rows["sums"]), rows["l0"].to_numpy()
        stream = np.random.RandomState(self._seed(f"{key}/ev"))
        draws = stream.multinomial(
            len(rows), np.full(len(rows), 1 / len(rows)), size=self.plan.bootstrap_draws
        ).astype(np.float64)
        weights = np.vstack([np.ones(len(rows)), draws])
        total = weights @ squares - ((weights @ sums) ** 2).sum(axis=1) / (weights @ n)
        if (total <= 0).any():
            for name, method in (("ev", "ev-stratum-mean"), ("l0", "l0-mean")):
                yield Result(
                    id=f"{key}/{name}", n=len(rows), method=method, reason="no variation at all"
                )
            return
        yield self._percentile(f"{key}/ev", 1 - (weights @ error) / total, "ev-stratum-mean", rows)
        yield self._percentile(f"{key}/l0", (weights @ l0) / (weights @ n), "l0-mean", rows)
        yield Result(id=f"{key}/tokens", value=float(n.sum()), method="count")

    def _percentile(
        self, identity: str, values: np.ndarray, method: str, rows: pd.DataFrame
    ) -> Result:
        """The first value with the percentile interval of the others."""
        tail = (1 - self.plan.level) / 2
        low, high = np.quantile(values[1:], (tail, 1 - tail))
        return Result(
            id=identity, value=float(values[0]), low=float(low), high=float(high),
            level=self.plan.level, n=len(rows), method=method,
        )  # fmt: skip

    def _seed(self, identity: str) -> int:
        """A stream of its own for each result, fixed by the plan's seed and the result's id."""
        found = hashlib.sha256(f"{self.plan.seed}/{identity}".encode()).digest()
        return int.from_bytes(found[:4], "big")


def _groups(part: pd.DataFrame) -> np.ndarray:
    return part["group"].to_numpy(dtype=np.str_)


def _from_estimate(identity: str, found: Estimate, method: str, p: float | None = None) -> Result:
    return Result(
        id=identity, value=found.value, low=found.low, high=found.high, level=found.level,
        n=found.n, p=p, method=method,
    )  # fmt: skip


def _from_share(
    identity: str, successes: int, n: int, level: float, p: float | None = None
) -> Result:
    found = wilson(successes, n, level)
    return Result(
        id=identity, value=found.value, low=found.low, high=found.high, level=level, n=n,
        successes=successes, p=p, method="wilson",
    )  # fmt: skip


def by_id(results: Sequence[Result]) -> dict[str, Result]:
    """Results by their one address."""
    return {result.id: result for result in results}
