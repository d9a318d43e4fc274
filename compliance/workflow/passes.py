"""Runs the passes of an audit and writes their shards as observation files, one by one.

Before the lock: ``search`` over positives and hard negatives, from which everything is chosen;
then ``calibrate`` over benign items with what was chosen. After it: ``confirm``, and the small
passes ``losses``, ``shifts`` and ``repeats`` over a part of its items. Each pass goes on where it
was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from compliance.assessment.choosing import choose, linear_weights, with_neighbours
from compliance.assessment.planning import loss_items, repeated_items, shifted_items
from compliance.assessment.tables import FitObservations, empty_table, read_table
from compliance.assessment.writing import write_table
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
        self.folder = run.path / "observations"
        self.plan: Plan = run.plan()
        self.reader = replace(reader, random=random_saes(reader.saes, self.plan.seed))
        self.environment = digest_of(environment)
        self.pictures = pictures
        self.progress = progress
        self.engine = engine

    def fit(self, by_split: Mapping[str, ChosenItems]) -> None:
        """Search, choose and calibrate, and write the fit tables.

        Args:
            by_split: Items of discover and calibrate.

        Raises:
            PlanError: Nothing can be chosen from what was seen.
            ProbeError: The subject could not be read.
        """
        from compliance.probes import collect

        items, every = collect.PlacedItems(by_split), joined(by_split.values())
        search = self._task("search")
        searched = self._observe(search, every.where(lambda item: item.concept is not None))
        self._write("fit/items.csv", searched, partial(collect.item_table, items=items))
        self._write("fit/scores.csv", searched, partial(collect.score_table, task=search))
        self._write("fit/search.parquet", searched, partial(collect.search_table, plan=self.plan))
        self._write(
            "fit/random_search.parquet", searched,
            partial(collect.random_search_table, plan=self.plan, items=items),
        )  # fmt: skip
        self._write("fit/vectors.parquet", searched, partial(collect.vector_table, task=search))
        task = self._chosen()
        calibrated = self._observe(task, every.where(lambda item: item.concept is None))
        every_shard = chain(searched, calibrated)
        self._write("fit/items.csv", every_shard, partial(collect.item_table, items=items))
        benign = (collect.score_table([shard], task) for shard in calibrated)
        others = (collect.score_table([shard], search) for shard in searched)
        write_table(self.folder, "fit/scores.csv", chain(others, benign))
        self._put("fit/means.parquet", collect.mean_table(calibrated, self.plan, items))

    def confirm(self, every: ChosenItems) -> None:
        """The confirm split under the lock, and the small passes; write the confirm tables.

        Args:
            every: Items of confirm.

        Raises:
            PlanError: There is no lock.
            ProbeError: The subject could not be read.
        """
        from compliance.probes import collect
        from compliance.probes.features import feature_table

        locked, plan = self.run.lock(), self.plan
        task = self._task("confirm", locked, self._read_fit())
        items = collect.PlacedItems({CONFIRM: every})
        confirmed = self._observe(task, every)
        self._write("confirm/items.csv", confirmed, partial(collect.item_table, items=items))
        self._write("confirm/scores.csv", confirmed, partial(collect.score_table, task=task))
        self._write("confirm/latents.parquet", confirmed, partial(collect.search_table, plan=plan))
        self._write("confirm/fidelity.parquet", confirmed, collect.fidelity_table)
        self._write("confirm/patches.parquet", confirmed, partial(collect.patch_table, plan=plan))
        self._write("confirm/tokens.parquet", confirmed, partial(collect.token_table, plan=plan))
        firing = collect.firing_table(confirmed, plan)
        self._put("confirm/firing.parquet", firing)
        self._put("confirm/cofiring.parquet",
                  collect.cofiring_table(confirmed, locked.probes, firing))  # fmt: skip
        losses = self._observe(self._task("losses"), loss_items(plan, every))
        self._put("confirm/losses.csv", collect.loss_table(losses))
        self._put("confirm/repeats.csv", self._repeats(locked, every, confirmed, task))
        self._put("confirm/shifts.csv", self._shifts(locked, every))
        self._put("confirm/features.csv",
                  feature_table(locked.probes, self.reader.subject, self.reader.saes))  # fmt: skip

    def _chosen(self) -> Task:
        """Everything is chosen from tables as they are read back, as the lock will do again.

        Neighbours need the dense directions, which need the probes; so they come last. Benign
        items, which nothing is chosen from, are then read with what was chosen.
        """
        from compliance.probes.neighbours import neighbour_table

        self._put("fit/neighbours.csv", empty_table(NEIGHBOUR_COLUMNS))
        self._put("fit/means.parquet", empty_table(MEAN_COLUMNS))
        found = self._read_fit()
        chosen = choose(self.plan, found)
        weights = linear_weights(chosen.directions, found)
        self._put("fit/neighbours.csv",
                  neighbour_table(chosen.directions, weights, self.reader.saes))  # fmt: skip
        neighbours = read_table(self.run.observations("fit"), "fit/neighbours.csv")
        choices = with_neighbours(self.plan, chosen, neighbours)
        self.run.write("choices.json", choices)
        return self._task("calibrate", choices, found)

    def _read_fit(self) -> FitObservations:
        return FitObservations.from_files(self.run.observations("fit"), compact=True)

    def _write(
        self, path: str, shards: Iterable[Shard], table: Callable[[Iterable[Shard]], pd.DataFrame]
    ) -> None:
        """Write a table of shards, of which one at a time is held."""
        write_table(self.folder, path, (table([shard]) for shard in shards))

    def _put(self, path: str, table: pd.DataFrame) -> None:
        write_table(self.folder, path, [table])

    def _repeats(
        self, locked: Choices, every: ChosenItems, confirmed: Iterable[Shard], task: Task
    ) -> pd.DataFrame:
        import pandas as pd

        from compliance.probes import collect

        alone, chosen = self._task("repeats", locked), repeated_items(self.plan, every)
        repeated = self._observe(alone, chosen)
        names = {item.id for item in chosen}
        tables = (collect.score_table([shard], task) for shard in confirmed)
        batched = [table[table["item"].isin(names)].astype({"item": str}) for table in tables]
        scores = pd.concat([collect.score_table([], task), *batched])
        return collect.repeat_table(repeated, alone, scores)

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


def _twin(item: Item, items: Sequence[Item]) -> Item | None:
    """The same meaning and label, in text, in the other language that is shifted."""
    for other in items:
        same = (other.group, other.label) == (item.group, item.label)
        if same and other.language != item.language and other.image is None:
            return other
    return None
