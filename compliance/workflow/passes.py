"""Runs the passes of an audit and puts their shards together into observation files.

Before the lock: ``search`` over positives and hard negatives, from which everything is chosen;
then ``calibrate`` over benign items with what was chosen. After it: ``confirm``, and the small
passes ``losses``, ``shifts`` and ``repeats`` over a part of its items. Each pass goes on where it
was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compliance.assessment.choosing import choose, linear_weights, refit
from compliance.assessment.planning import loss_items, repeated_items, shifted_items
from compliance.assessment.tables import ConfirmObservations, FitObservations, empty_table
from compliance.errors import ProbeError
from compliance.progress import Progress
from compliance.records.audit import Shift
from compliance.records.base import digest_of
from compliance.records.observation import MEAN_COLUMNS, NEIGHBOUR_COLUMNS
from compliance.records.plan import Choices, Plan
from compliance.records.subject import Environment
from compliance.records.suite import Item
from compliance.runs import RunFolder
from compliance.suites.chosen import ChosenItems, joined
from compliance.suites.split import CONFIRM

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

    from compliance.probes.engine import Run, Work
    from compliance.probes.inputs import Pictures
    from compliance.probes.shards import Shard
    from compliance.probes.task import Reader, Stage, Task
    from compliance.probes.tokens import Prepared


class Passes:
    """The passes of one run: its plan, what reads, and where shards lie."""

    def __init__(
        self, run: RunFolder, reader: Reader, environment: Environment, pictures: Pictures,
        progress: Progress, engine: Run | None = None,
    ) -> None:  # fmt: skip
        from compliance.probes.random_sae import random_saes

        self.run = run
        self.plan: Plan = run.plan()
        self.reader = replace(reader, random=random_saes(reader.saes, self.plan.seed))
        self.environment = digest_of(environment)
        self.pictures = pictures
        self.progress = progress
        self.engine = engine

    def fit(self, by_split: Mapping[str, ChosenItems]) -> dict[str, bytes]:
        """Search, choose and calibrate.

        Args:
            by_split: Items of discover and calibrate.

        Returns:
            The fit tables as files.

        Raises:
            PlanError: Nothing can be chosen from what was seen.
            ProbeError: The subject could not be read.
        """
        from compliance.probes import collect

        items, every = collect.PlacedItems(by_split), joined(by_split.values())
        task = self._task("search")
        searched = self._observe(task, every.where(lambda item: item.concept is not None))
        found = FitObservations(
            items=collect.item_table(searched, items),
            scores=collect.score_table(searched, task),
            search=collect.search_table(searched, self.plan),
            random_search=collect.random_search_table(searched, self.plan, items),
            vectors=collect.vector_table(searched, task),
            neighbours=empty_table(NEIGHBOUR_COLUMNS),
            means=empty_table(MEAN_COLUMNS),
        )
        found, choices = self._choose(found)
        self.run.write("choices.json", choices)
        task = self._task("calibrate", choices, found)
        calibrated = self._observe(task, every.where(lambda item: item.concept is None))
        return replace(
            found,
            items=_joined(found.items, collect.item_table(calibrated, items)),
            scores=_joined(found.scores, collect.score_table(calibrated, task)),
            means=collect.mean_table(calibrated, self.plan, items),
        ).to_files()

    def confirm(self, every: ChosenItems) -> dict[str, bytes]:
        """The confirm split under the lock, and the small passes.

        Args:
            every: Items of confirm.

        Returns:
            The confirm tables as files.

        Raises:
            PlanError: There is no lock.
            ProbeError: The subject could not be read.
        """
        from compliance.probes import collect
        from compliance.probes.features import feature_table

        locked = self.run.lock()
        fit = FitObservations.from_files(self.run.observations("fit"))
        task = self._task("confirm", locked, fit)
        items = collect.PlacedItems({CONFIRM: every})
        confirmed = self._observe(task, every)
        scores = collect.score_table(confirmed, task)
        losses = self._observe(self._task("losses"), loss_items(self.plan, every))
        alone = self._task("repeats", locked)
        repeated = self._observe(alone, repeated_items(self.plan, every))
        firing = collect.firing_table(confirmed, self.plan)
        return ConfirmObservations(
            items=collect.item_table(confirmed, items),
            scores=scores,
            latents=collect.search_table(confirmed, self.plan),
            fidelity=collect.fidelity_table(confirmed),
            firing=firing,
            losses=collect.loss_table(losses),
            shifts=self._shifts(locked, every),
            repeats=collect.repeat_table(repeated, alone, scores),
            patches=collect.patch_table(confirmed, self.plan),
            tokens=collect.token_table(confirmed, self.plan),
            cofiring=collect.cofiring_table(confirmed, locked.probes, firing),
            features=feature_table(locked.probes, self.reader.subject, self.reader.saes),
        ).to_files()

    def _choose(self, found: FitObservations) -> tuple[FitObservations, Choices]:
        """Everything is chosen from tables as they are read back, as the lock will do again.

        Neighbours need the dense directions, which need the probes; so they come last.
        """
        from compliance.probes.neighbours import neighbour_table

        found = FitObservations.from_files(found.to_files())
        chosen = choose(self.plan, found)
        weights = linear_weights(chosen.directions, found)
        neighbours = neighbour_table(chosen.directions, weights, self.reader.saes)
        found = FitObservations.from_files(replace(found, neighbours=neighbours).to_files())
        return found, refit(self.plan, chosen, found)

    def _shifts(self, locked: Choices, items: Sequence[Item]) -> pd.DataFrame:
        from compliance.probes import collect

        task = self._task("shifts", locked)
        chosen = shifted_items(self.plan, locked, items)
        shards = {}
        for shift in self.plan.robustness.shifts:
            work = self._changed(chosen, shift)
            shards[shift] = self._run(replace(task, shift=shift), work, f"shifts/{shift}")
        return collect.shift_table(shards, task)

    def _changed(self, items: Sequence[Item], shift: Shift) -> list[Prepared]:
        """Items in other words or with another picture, of those that a shift applies to.

        Left out are those that it makes too long.
        """
        from compliance.probes.engine import prepare_items
        from compliance.probes.shifts import PICTURE_SHIFTS, shift_picture, shift_text

        def changed_picture(item: Item) -> PIL.Image.Image:
            picture, seed = self.pictures(item), self.plan.seed
            return shift_picture(picture, shift, seed=seed, item_id=item.id)

        if shift in PICTURE_SHIFTS:
            shown = [item for item in items if item.image is not None]
            return prepare_items(shown, self.reader.subject, changed_picture)
        found = []
        for item in items:
            changed = shift_text(item, shift, seed=self.plan.seed, twin=_twin(item, items))
            if changed is None:
                continue
            try:
                found += prepare_items([changed], self.reader.subject)
            except ProbeError:  # longer than the model's positions, or nothing of it is left
                continue
        return found

    def _task(
        self, stage: Stage, choices: Choices | None = None, fit: FitObservations | None = None
    ) -> Task:
        from compliance.probes.task import Task

        weights = linear_weights(choices.directions, fit) if choices and fit else {}
        return Task(self.plan, stage, choices, weights, self.environment)

    def _observe(self, task: Task, items: Sequence[Item]) -> Iterable[Shard]:
        from compliance.probes.engine import Work

        work = Work(items, self.reader.subject, self.pictures)
        return self._run(task, work, task.stage)

    def _run(self, task: Task, work: Work | Sequence[Prepared], name: str) -> Iterable[Shard]:
        """Run what is missing of a pass; its shards stay in their files until they are read."""
        from compliance.probes.engine import observe
        from compliance.probes.shards import StoredShards

        if work:
            self.progress.stage(f"running {len(work)} items ({name})")
        folder = self.run.shards(name)
        shards = observe(work, task, self.reader, folder, self.progress.advance, self.engine)
        return StoredShards(folder, sum(1 for _ in shards))


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([first, second.astype(first.dtypes)], ignore_index=True)


def _twin(item: Item, items: Sequence[Item]) -> Item | None:
    """The same meaning and label, in text, in the other language that is shifted."""
    for other in items:
        same = (other.group, other.label) == (item.group, item.label)
        if same and other.language != item.language and other.image is None:
            return other
    return None
