"""Runs what a plan says of interventions: doses before the lock, their effects after it.

Before the lock peaks are found and controls are brought to the divergence of the dose 1, all on
calibrate (``fit/doses.csv``, which the lock's digest covers). After it every arm is run on confirm
items, on neutral text, under other concepts' probes and on small tasks. What was seen of an item is
kept in a file of its own, so that a run that was killed goes on with the next item.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.arms import (
    capability_tasks,
    effect_items,
    matched_items,
    peak_items,
    random_latents,
    scored_items,
    side_items,
)
from compliance.assessment.choosing import linear_weights
from compliance.assessment.tables import (
    FitObservations,
    empty_table,
    found_path,
    read_table,
    table_bytes,
    table_path,
)
from compliance.errors import PlanError, ProbeError
from compliance.progress import Progress
from compliance.records.audit import FeatureRef, Interventions
from compliance.records.base import digest_of, to_json
from compliance.records.observation import (
    CAPABILITY_COLUMNS,
    DOSE_COLUMNS,
    EFFECT_COLUMNS,
    INTERVENTION_FILES,
    MATCHED,
    MEANS,
    RANDOM,
    SIDE_COLUMNS,
    SIDE_SCORE_COLUMNS,
)
from compliance.records.plan import Choices, LockedProbe, Plan, PlannedProbe
from compliance.records.subject import Environment
from compliance.records.suite import Item
from compliance.runs import RunFolder
from compliance.storage import write_bytes
from compliance.suites.split import CALIBRATE, CONFIRM
from compliance.workflow.precision import stored

if TYPE_CHECKING:
    from compliance.probes.doses import Peak, Setting
    from compliance.probes.effects import Arms
    from compliance.probes.inputs import Pictures
    from compliance.probes.task import Reader
    from compliance.suites.chosen import ChosenItems

DOSES = "fit/doses.csv"
_COLUMNS = (EFFECT_COLUMNS, SIDE_COLUMNS, SIDE_SCORE_COLUMNS, CAPABILITY_COLUMNS)


def check_places(asked: Interventions | None, reader: Reader) -> None:
    """Refuse interventions on a subject or at a place that cannot be changed.

    Raises:
        ProbeError: It cannot.
    """
    if asked is None:
        return
    from compliance.probes.interventions import can_change

    for s, sae in enumerate(reader.saes):
        if not can_change(reader, s):
            raise ProbeError(
                f"interventions: {sae.facts.name} cannot be acted through: what stands at "
                f"{sae.facts.hook_name} can be read and not replaced, or is not in the text stream",
                hint="take an SAE of the residual stream, or leave interventions out",
            )


def check_interventions(
    run: RunFolder, stage: str, by_split: Mapping[str, ChosenItems], reader: Reader,
    pictures: Pictures,
) -> None:  # fmt: skip
    """Refuse what would be found hours later, and before the confirm split is opened.

    Raises:
        ProbeError: The two replies to an item cannot be told apart or read.
        PlanError: There are no doses, or the small tasks are not those of the plan.
    """
    plan = run.plan()
    if plan.interventions is None:
        return
    from compliance.probes.effects import prepared_replies
    from compliance.probes.inputs import Preparer

    tasks = capability_tasks(plan.interventions)
    if plan.capability != (digest_of([to_json(task) for task in tasks]) if tasks else None):
        raise PlanError(
            "the small tasks that come with the software are not those of the plan",
            hint="run 'compliance plan' again, or the version of the software that planned",
        )
    preparer = Preparer(reader.subject, pictures)
    if stage == "confirm":
        found_path(run.observations("fit"), DOSES)
    for concept in plan.interventions.concepts:
        chosen = effect_items(plan, concept, by_split[CONFIRM])
        if stage == "fit":
            chosen += matched_items(plan, concept, by_split[CALIBRATE])
        for item in (*chosen, *tasks):
            prepared_replies(preparer, item)


def dose_files(
    run: RunFolder, items: ChosenItems, reader: Reader, environment: Environment,
    pictures: Pictures, progress: Progress,
) -> dict[str, bytes]:  # fmt: skip
    """The table of doses; nothing where no interventions are planned.

    Args:
        run: With its choices and fit tables.
        items: Of the calibrate split.
        reader: In the run's mode.
        environment: Of the run.
        pictures: Gives the picture of an item that has one.
        progress: Told how far it is.

    Raises:
        ProbeError: The subject could not be read.
    """
    if run.plan().interventions is None:
        return {}
    return _Intervening(run, run.choices(), reader, environment, pictures, progress).doses(items)


def effect_files(
    run: RunFolder, items: ChosenItems, reader: Reader, environment: Environment,
    pictures: Pictures, progress: Progress,
) -> dict[str, bytes]:  # fmt: skip
    """The confirm tables of interventions; nothing where none are planned.

    Arguments and errors are those of `dose_files`, with a lock and items of confirm.
    """
    if run.plan().interventions is None:
        return {}
    return _Intervening(run, run.lock(), reader, environment, pictures, progress).effects(items)


class _Intervening:
    """The interventions of one run."""

    def __init__(
        self, run: RunFolder, choices: Choices, reader: Reader, environment: Environment,
        pictures: Pictures, progress: Progress,
    ) -> None:  # fmt: skip
        from compliance.probes.effects import Runner
        from compliance.probes.inputs import Preparer
        from compliance.probes.task import Task

        self.run, self.choices, self.reader, self.progress = run, choices, reader, progress
        self.plan: Plan = run.plan()
        self.planned = self.plan.interventions or Interventions()
        self.task = Task(self.plan, "confirm", choices, {}, digest_of(environment))
        self.runner = Runner(reader, self.plan)
        self.preparer = Preparer(reader.subject, pictures)

    def doses(self, items: ChosenItems) -> dict[str, bytes]:
        """The table of doses, of items of calibrate."""
        rows = [
            [concept, *row]
            for concept in self.planned.concepts
            for row in self._doses(concept, items)
        ]
        return _file(DOSES, DOSE_COLUMNS, rows)

    def effects(self, items: ChosenItems) -> dict[str, bytes]:
        """The tables of effects, of items of confirm."""
        doses = read_table(self.run.observations("fit"), DOSES)
        found = {name: list[list[Any]]() for name in INTERVENTION_FILES}
        for concept in self.planned.concepts:
            setting, scales = self._locked(concept, doses[doses["concept"] == concept])
            for name, rows in (
                ("effects.csv", self._effects(concept, setting, scales, items)),
                ("side_effects.csv", self._side_effects(concept, setting, scales, items)),
                ("side_scores.csv", self._side_scores(concept, setting, items)),
                ("capability.csv", self._capability(concept, setting)),
            ):
                found[name] += ([item, concept, *row] for item, row in rows)
        return {
            path: data
            for name, columns in zip(INTERVENTION_FILES, _COLUMNS, strict=True)
            for path, data in _file(f"confirm/{name}", columns, found[name]).items()
        }

    def _doses(self, concept: str, items: ChosenItems) -> Iterator[list[Any]]:
        from compliance.probes.doses import NOTHING_MOVES, match

        peaks = self._peaks(concept, items)
        setting = self._setting(concept, peaks)
        chosen = matched_items(self.plan, concept, items)
        target, matched = 0.0, {}
        if setting.has_peak:
            [target] = self._divergence(concept, chosen, {MATCHED: setting.dose(1)}).values()
        if target > NOTHING_MOVES:
            starts = setting.starts(self._length(chosen, setting))
            matched = match(
                starts,
                target,
                lambda scales: self._divergence(
                    concept, chosen, {arm: setting.control(arm, s) for arm, s in scales.items()}
                ),
            )
        for latent, value in setting.features.items():
            tokens = peaks[latent].tokens if latent in peaks else 0
            yield ["dose", setting.sae, latent, value, 1.0, target, target, tokens]
        for arm, one in matched.items():
            latent = 0 if arm == MEANS else int(arm.removeprefix(RANDOM))
            value, tokens = (
                (0.0, 0) if arm == MEANS else (peaks[latent].value, peaks[latent].tokens)
            )
            yield [arm, setting.sae, latent, value, one.scale, target, one.divergence, tokens]

    def _peaks(self, concept: str, items: ChosenItems) -> dict[int, Peak]:
        from compliance.probes.doses import activations, peaks

        sae = self._features(concept)[0].sae
        chosen = peak_items(self.plan, concept, items)

        def seen(item: Item) -> tuple[list[int], list[float]]:
            return activations(self.runner.read(self.preparer, item), sae)

        told = f"{concept}: peaks on {len(chosen)} items"
        return peaks(row for _, row in self._each(f"peaks/{concept}", chosen, seen, told))

    def _setting(self, concept: str, peaks: Mapping[int, Peak]) -> Setting:
        """Before the lock: with random latents that are drawn now."""
        fit = self.run.observations("fit")
        search, items = (
            read_table(fit, f"fit/{name}", compact=True) for name in ("search.parquet", "items.csv")
        )
        probe = self._probe(concept)
        others = random_latents(self.plan, probe, search, items, sorted(peaks))
        return self._of(
            concept,
            {f.latent: peaks[f.latent].value if f.latent in peaks else 0.0 for f in probe.features},
            {latent: peaks[latent].value for latent in others},
        )

    def _locked(self, concept: str, doses: pd.DataFrame) -> tuple[Setting, dict[str, float]]:
        """After the lock: as the table of doses says."""
        rows = list(doses.itertuples(index=False))
        features = {int(row.latent): float(row.peak) for row in rows if row.arm == "dose"}
        if set(features) != {feature.latent for feature in self._features(concept)}:
            raise PlanError(f"observations/{DOSES}: {concept} has other features than its probe")
        others = {int(row.latent): float(row.peak) for row in rows if row.arm.startswith(RANDOM)}
        scales = {str(row.arm): float(row.scale) for row in rows if row.arm != "dose"}
        return self._of(concept, features, others), scales

    def _of(
        self, concept: str, features: Mapping[int, float], others: Mapping[int, float]
    ) -> Setting:
        from compliance.probes.doses import Setting

        sae = self._features(concept)[0].sae
        return Setting(sae, features, others, self._direction(concept, sae))

    def _direction(self, concept: str, sae: int) -> NDArray[np.float64] | None:
        """Difference of means where the probe's SAE reads, in the form that was searched."""
        from compliance.probes.hooks import can_replace

        hook = self.plan.saes[sae].hook_name
        wanted = (concept, "dense-means", f"residual/{hook}", self.plan.searched)
        found = [d for d in self.choices.directions
                 if (d.concept, d.scorer, d.features, d.variant) == wanted]  # fmt: skip
        if not found or not can_replace(self.reader.subject.model, hook):
            return None
        fit = FitObservations.from_files(self.run.observations("fit"), compact=True)
        [linear] = linear_weights(found, fit).values()
        length = float(np.linalg.norm(linear.weights))
        return linear.weights / length if length > 0 else None

    def _length(self, items: Sequence[Item], setting: Setting) -> float:
        """Mean length of what the dose 1 adds."""
        from compliance.probes.doses import moved_length
        from compliance.probes.effects import with_reply

        found = []
        for item in items:
            reading = self.runner.read(self.preparer, with_reply(item, item.choices.concept))
            places = self.runner.changed_places(reading, setting.sae)
            found.append(moved_length(reading, places, setting.dose(1), self.reader))
        return float(np.mean(found))

    def _divergence(self, concept: str, items: Sequence[Item], arms: Arms) -> dict[str, float]:
        """Mean KL of each arm over the predicted tokens of the replies that enact the concept."""
        from compliance.probes.effects import divergences

        def seen(item: Item) -> list[Any]:
            one = self.runner.replies(self.preparer, item)[0]
            return [len(one.targets), divergences(self.runner, one, arms)]

        values = {arm: [*change.values, change.scale] for arm, change in arms.items()}
        name = f"matched/{concept}/{digest_of(values)[-16:]}"
        told = f"{concept}: divergence under {len(arms)} changes on {len(items)} items"
        rows = [row for _, row in self._each(name, items, seen, told)]
        tokens = sum(count for count, _ in rows)
        return {arm: sum(found[arm] for _, found in rows) / tokens for arm in arms}

    def _effects(
        self, concept: str, setting: Setting, scales: Mapping[str, float], items: ChosenItems
    ) -> Iterator[tuple[str, list[Any]]]:
        from compliance.probes.effects import effects

        def seen(item: Item) -> list[list[Any]]:
            arms = setting.arms(self.planned.doses, self._seed(item), scales)
            replies = self.runner.replies(self.preparer, item)
            return [list(row) for row in effects(self.runner, replies, arms)]

        chosen = effect_items(self.plan, concept, items)
        told = f"{concept}: effects on {len(chosen)} items, {len(scales)} controls"
        yield from _flat(self._each(f"effects/{concept}", chosen, seen, told))

    def _side_effects(
        self, concept: str, setting: Setting, scales: Mapping[str, float], items: ChosenItems
    ) -> Iterator[tuple[str, list[Any]]]:
        from compliance.probes.effects import side_effects

        kept = {arm: scale for arm, scale in scales.items() if not arm.startswith(RANDOM)}

        def seen(item: Item) -> list[list[Any]]:
            text = self.runner.neutral(self.preparer, item, setting.sae)
            arms = setting.arms(self.planned.doses, self._seed(item), kept)
            return [list(row) for row in side_effects(self.runner, text, arms)] if text else []

        chosen = side_items(self.plan, items)
        told = f"{concept}: side effects on {len(chosen)} texts"
        yield from _flat(self._each(f"side/{concept}", chosen, seen, told))

    def _side_scores(
        self, concept: str, setting: Setting, items: ChosenItems
    ) -> Iterator[tuple[str, list[Any]]]:
        from compliance.probes.effects import side_scores

        for other in self.plan.probes:
            if other.concept == concept or not self._is_reached(other.concept, setting):
                continue

            def seen(item: Item, other: PlannedProbe = other) -> list[list[Any]]:
                reading = self.runner.read(self.preparer, item)
                if not reading.has(other.region):
                    return []
                rows = side_scores(self.runner, reading, other, self.task, setting.brief())
                return [[arm, other.concept, score] for arm, score in rows]

            chosen = scored_items(self.plan, other, items)
            name = f"scores/{concept}/{other.concept}"
            told = f"{concept}: the probe of {other.concept} on {len(chosen)} items"
            yield from _flat(self._each(name, chosen, seen, told))

    def _capability(self, concept: str, setting: Setting) -> Iterator[tuple[str, list[Any]]]:
        from compliance.probes.effects import effects

        def seen(item: Item) -> list[list[Any]]:
            replies = self.runner.replies(self.preparer, item)
            found = effects(self.runner, replies, setting.brief())
            return [[arm, item.language, odds] for arm, odds, *_ in found]

        chosen = capability_tasks(self.planned)
        told = f"{concept}: {len(chosen)} small tasks"
        yield from _flat(self._each(f"capability/{concept}", chosen, seen, told))

    def _each(
        self, name: str, items: Sequence[Item], seen: Callable[[Item], Any], told: str
    ) -> Iterator[tuple[str, Any]]:
        """Id and what was seen of each item, from its file where it was seen before."""
        spent, ran = 0.0, 0
        if items:
            self.progress.stage(told)
        for done, item in enumerate(items, start=1):
            path = self.run.shards("interventions") / name / f"item-{done:05d}.json"
            key = {"task": self.task.digest, "what": name, "item": to_json(item)}
            found = stored(path, digest_of(key))
            if found is None:
                started = time.monotonic()
                found = {"name": digest_of(key), "row": seen(item)}
                write_bytes(path, json.dumps(found).encode())
                spent, ran = spent + time.monotonic() - started, ran + 1
            left = spent / ran * (len(items) - done) if ran else None
            self.progress.advance(done, len(items), left)
            yield item.id, found["row"]

    def _probe(self, concept: str) -> LockedProbe:
        return next(probe for probe in self.choices.probes if probe.concept == concept)

    def _features(self, concept: str) -> Sequence[FeatureRef]:
        return self._probe(concept).features

    def _is_reached(self, other: str, setting: Setting) -> bool:
        """Whether another concept's probe reads at the changed place or after it."""
        from compliance.probes.hooks import is_reached
        from compliance.probes.interventions import place_of

        place = place_of(setting.dose(0), self.reader)
        return all(
            is_reached(self.plan.saes[f.sae].hook_name, place) for f in self._features(other)
        )

    def _seed(self, item: Item) -> int:
        """Of the noise in an item."""
        text = f"{self.plan.seed}/noise/{item.id}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _flat(found: Iterable[tuple[str, list[list[Any]]]]) -> Iterator[tuple[str, list[Any]]]:
    return ((item, row) for item, rows in found for row in rows)


def _file(path: str, columns: tuple[str, ...], rows: Sequence[list[Any]]) -> dict[str, bytes]:
    place = table_path(path, len(rows))
    table = pd.DataFrame(rows, columns=list(columns)) if rows else empty_table(columns)
    return {place: table_bytes(table, place)}
