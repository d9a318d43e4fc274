"""Every result of a plan, in the order in which a reader meets them.

A result's id is the cell's key and a name; names are listed in docs/reference/results.md. How each
is computed stands in the module of its idea: `rates`, `ranking`, `detectable`, `misses`,
`robustness`, `transfer` and `fidelity`.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from compliance.assessment.cells import CellData, read_cells, reads_otherwise
from compliance.assessment.detectable import detectable
from compliance.assessment.fidelity import fidelity
from compliance.assessment.misses import misses
from compliance.assessment.ranking import appendix, area, areas, leads, random_latents
from compliance.assessment.rates import (
    activity,
    carried_over,
    control_rates,
    counts,
    cut_offs,
    gap,
    predictive,
    rates,
    rates_by_format,
)
from compliance.assessment.robustness import left_out, repeats, shifts
from compliance.assessment.tables import ConfirmObservations, StoredConfirm
from compliance.assessment.transfer import transfer
from compliance.assessment.verdicts import MEASURED_BY
from compliance.records.finding import Result
from compliance.records.observation import CONTROL_SCORERS
from compliance.records.plan import Cell, Lock, Plan, Setting

DECIDING = tuple(c for c in CONTROL_SCORERS if f"minus-{c}" in MEASURED_BY.values())
"""Controls that a condition is about."""


class Measures:
    """All results of a plan, cell by cell.

    Args:
        plan: Frozen.
        lock: Frozen.
        confirm: Observations of the confirm split.
        means: Mean activations of the benign calibrate items, MEAN_COLUMNS.

    Raises:
        PlanError: The observations do not belong together (`cells.read_cells`).
    """

    def __init__(
        self,
        plan: Plan,
        lock: Lock,
        confirm: ConfirmObservations | StoredConfirm,
        means: pd.DataFrame,
    ) -> None:
        self.plan = plan
        self.lock = lock
        self.confirm = confirm
        self.shifts, self.repeats = confirm.shifts, confirm.repeats
        self.means = means
        self.cells = read_cells(plan, lock, confirm)

    def results(self) -> Iterator[Result]:
        """Results of every cell in the plan's order, then gaps to text and fidelity."""
        for data in self.cells.values():
            yield from self._cell(data)
        yield from transfer(self.plan, self.cells)
        yield from fidelity(self.plan, self.confirm, self.means)

    def under(self, setting: Setting, planned: Mapping[str, Result]) -> Iterator[Result]:
        """What verdicts read of every cell, as another setting gives it.

        Args:
            setting: Of the plan.
            planned: Results as planned, by id: a setting that reads the probe's own scores ranks
                as planned.
        """
        cells = {key: data.read_as(setting) for key, data in self.cells.items()}
        for key, data in cells.items():
            yield from counts(data)
            if not data.measured:
                continue
            if setting.scorer == "probe" or not reads_otherwise(setting, data.cell):
                ranked = ("auroc-hard", "random-latents", *(f"minus-{c}" for c in DECIDING))
                yield from (planned[i] for n in ranked if (i := f"{key}/{n}") in planned)
            else:
                yield from self._deciding_ranks(data)
            yield from rates(self.plan, data, "probe")
            yield from gap(self.plan, data, self._reference(data.cell, cells))

    def _cell(self, data: CellData) -> Iterator[Result]:
        """Results of one cell. A cell that was not measured has its counts and nothing else."""
        plan, reference = self.plan, self._reference(data.cell, self.cells)
        yield from counts(data)
        yield from cut_offs(data)
        if not data.measured:
            return
        yield from areas(plan, data)
        yield from leads(plan, data, CONTROL_SCORERS)
        yield from random_latents(plan, data)
        yield from rates(plan, data, "probe")
        yield from control_rates(plan, data)
        yield from rates_by_format(plan, data)
        yield from carried_over(plan, data, reference)
        yield from gap(plan, data, reference)
        yield from predictive(plan, data)
        yield from detectable(plan, data, reference)
        yield from misses(plan, self.lock, data)
        yield from shifts(plan, data, self.shifts)
        yield from left_out(plan, data)
        yield from repeats(plan, data, self.repeats)
        yield from appendix(data)
        yield from activity(plan, data)

    def _deciding_ranks(self, data: CellData) -> Iterator[Result]:
        identity = f"{data.cell.key}/auroc-hard"
        yield area(self.plan, identity, data.positive, data.hard, "probe")
        yield from leads(self.plan, data, DECIDING)
        yield from random_latents(self.plan, data)

    def _reference(self, cell: Cell, cells: Mapping[str, CellData]) -> CellData | None:
        """The same concept, modality and rendering in the reference language."""
        if cell.language == self.plan.claims.reference_language:
            return None
        same = cell.model_copy(update={"language": self.plan.claims.reference_language})
        return cells.get(same.key)
