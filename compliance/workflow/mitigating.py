"""Runs mitigation studies: replies and side effects before and after something is suppressed.

Studies are run after the lock, on items of confirm. Each reply and each side effect is kept in a
file of its batch or item, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compliance.assessment.choosing import linear_weights
from compliance.assessment.drawing import neutral_items
from compliance.assessment.mitigation import REPLIES, SIDES, sign_of
from compliance.assessment.planning import planned_items
from compliance.assessment.studies import (
    OtherModels,
    planned_studies,
    refuse_idle,
    small_tasks,
    studied_items,
)
from compliance.assessment.tables import FitObservations, read_table, table_bytes
from compliance.errors import PlanError, ProbeError
from compliance.progress import Progress
from compliance.records.audit import AuditConfig, JudgeConfig, SecondModel, SubjectConfig
from compliance.records.base import digest_of
from compliance.records.observation import MITIGATION_COLUMNS, REPLY_COLUMNS
from compliance.records.plan import Lock, Plan, PlannedMitigation
from compliance.records.subject import Environment, ModelFacts
from compliance.records.suite import Item
from compliance.runs import RunFolder
from compliance.storage import write_bytes
from compliance.suites.behaviours import behaves
from compliance.suites.load import Suite
from compliance.suites.split import CONFIRM
from compliance.workflow.precision import stored

if TYPE_CHECKING:
    from compliance.probes.generating import Arm
    from compliance.probes.interventions import Change
    from compliance.probes.judging import Judge
    from compliance.probes.subject import Subject
    from compliance.probes.task import Reader
    from compliance.probes.tokens import Prepared

BEFORE, AFTER = "before", "after"
DOSES = "fit/doses.csv"


def check_studies(config: AuditConfig, reader: Reader) -> None:
    """Refuse studies that change what cannot be changed.

    Raises:
        ProbeError: An SAE's place can only be read, or is not in the text stream.
    """
    if all(isinstance(study.by, SecondModel) for study in config.mitigations or ()):
        return
    from compliance.probes.interventions import can_change

    for s, sae in enumerate(reader.saes):
        if not can_change(reader, s):
            raise ProbeError(
                f"mitigations: {sae.facts.name} cannot be acted through: what stands at "
                f"{sae.facts.hook_name} can be read and not replaced, or is not in the text stream",
                hint="take an SAE of the residual stream, or study a second model",
            )


def check_prompts(run: RunFolder, items: Sequence[Item], reader: Reader) -> None:
    """Refuse what would be found hours later: prompts that cannot be asked, other small tasks.

    Raises:
        ProbeError: A prompt and its reply are longer than the model's positions, or cannot be read.
        PlanError: The small tasks are not those of the plan.
    """
    from compliance.probes.generating import asked
    from compliance.probes.inputs import Preparer

    plan = run.plan()
    preparer = Preparer(reader.subject)
    for study in plan.mitigations or ():
        small_tasks(study)
        for item in studied_items(plan, study, items):
            asked(item, preparer, room=study.max_new_tokens)


def with_studies(
    plan: Plan, config: AuditConfig, folder: Path, suites: Sequence[Suite], reader: Reader
) -> Plan:
    """The plan with the studies that ``audit.yaml`` asks for.

    Raises:
        PlanError: A study could not be made, or has nobody to ask.
        ProbeError: It would change what cannot be changed.
    """
    if config.mitigations is None:
        return plan
    check_studies(config, reader)
    studies = planned_studies(config, suites, other_models(config, folder))
    found = plan.model_copy(update={"mitigations": studies})
    refuse_idle(found, planned_items(found, suites)[CONFIRM])
    return found


def other_models(config: AuditConfig, folder: Path) -> dict[str, OtherModels]:
    """Facts of second models and judges, by the study's name; each is loaded and let go.

    Raises:
        SubjectError: One cannot be loaded.
    """
    return {
        study.name: OtherModels(
            _facts(config, study.by, folder) if isinstance(study.by, SecondModel) else None,
            _facts(config, study.judge, folder) if study.judge and study.judge.model else None,
        )
        for study in config.mitigations or ()
    }


def study_files(
    run: RunFolder, items: Sequence[Item], reader: Reader, environment: Environment,
    progress: Progress,
) -> dict[str, bytes]:  # fmt: skip
    """The tables of mitigation studies; nothing where none are planned.

    Args:
        run: With a lock.
        items: Of the confirm split.
        reader: In the run's mode.
        environment: Of the run.
        progress: Told how far it is.

    Raises:
        ProbeError: The subject or another model could not be read, or a judge fails.
        PlanError: What a study suppresses was not found on the fit items.
    """
    studies = run.plan().mitigations
    if studies is None:
        return {}
    replies: list[list[Any]] = []
    sides: list[list[Any]] = []
    for study in studies:
        one = _Study(run, study, reader, environment, progress)
        replies += one.replies(items)
        sides += one.sides(items)
    return {
        REPLIES: table_bytes(pd.DataFrame(replies, columns=list(REPLY_COLUMNS)), REPLIES),
        SIDES: table_bytes(pd.DataFrame(sides, columns=list(MITIGATION_COLUMNS)), SIDES),
    }


class _Study:
    """One study of one run."""

    def __init__(
        self, run: RunFolder, study: PlannedMitigation, reader: Reader, environment: Environment,
        progress: Progress,
    ) -> None:  # fmt: skip
        from compliance.probes.generating import Arm
        from compliance.probes.inputs import Preparer

        self.run, self.study, self.reader, self.progress = run, study, reader, progress
        self.plan: Plan = run.plan()
        self.preparer = Preparer(reader.subject)
        self.arms: dict[str, Arm] = {BEFORE: Arm(reader), AFTER: _after(run, study, reader)}
        self.judge = _judge(run, study)
        lock = digest_of(run.lock())
        self.task = {"study": study.name, "lock": lock, "environment": digest_of(environment)}

    def replies(self, items: Sequence[Item]) -> Iterator[list[Any]]:
        """Rows of REPLY_COLUMNS."""
        from compliance.probes.generating import asked, batches

        room = self.study.max_new_tokens
        by_id = {item.id: item for item in studied_items(self.plan, self.study, items)}
        prompts = [asked(item, self.preparer, room=room) for item in by_id.values()]
        parts = batches(prompts, max_new_tokens=room, batch_tokens=self.plan.batch_tokens)
        jobs = [_Job(f"{arm}-{number:05d}", arm, [prompts[place] for place in part])
                for number, part in enumerate(parts, start=1) for arm in self.arms]  # fmt: skip
        told = f"{self.study.name}: asking {len(prompts)} items before and after"
        for job, rows in self._each("replies", jobs, lambda job: self._asked(job, by_id), told):
            for prompt, (text, tokens, judged) in zip(job.prompts, rows, strict=True):
                yield [prompt.item.id, self.study.name, job.arm, text, tokens, judged]

    def sides(self, items: Sequence[Item]) -> Iterator[list[Any]]:
        """Rows of MITIGATION_COLUMNS."""
        from compliance.probes.pairs import choice_odds, text_sums

        ratio, (before, after) = self.plan.sink_norm_ratio, self.arms.values()
        texts = neutral_items(
            self.plan, "mitigation-side", items, self.study.languages, self.study.neutral_items
        )
        tasks = small_tasks(self.study)

        def text(item: Item) -> list[Any]:
            return list(text_sums(self.preparer.prepare(item), before, after, ratio))

        def task(item: Item) -> list[Any]:
            return [0, *choice_odds(item, self.preparer, before, after, ratio), 0.0]

        for measure, chosen, seen in (("text", texts, text), ("capability", tasks, task)):
            told = f"{self.study.name}: side effects on {len(chosen)} items ({measure})"
            jobs = [_Job(f"item-{number:05d}", "", [self.preparer.prepare(item)])
                    for number, item in enumerate(chosen, start=1)]  # fmt: skip
            for job, row in self._each(
                measure, jobs, lambda job, seen=seen: seen(job.prompts[0].item), told
            ):
                item = job.prompts[0].item
                yield [self.study.name, measure, item.id, item.language, *row]

    def _asked(self, job: _Job, by_id: Mapping[str, Item]) -> list[list[Any]]:
        from compliance.probes.generating import changed_places, generate

        arm = self.arms[job.arm]
        places = [changed_places(p, arm, self.plan.sink_norm_ratio) for p in job.prompts]
        found = generate(arm, job.prompts, max_new_tokens=self.study.max_new_tokens, places=places)
        rows = []
        for prompt, reply in zip(job.prompts, found, strict=True):
            judged = self._judged(by_id[prompt.item.id], prompt.item, reply.text)
            text = "" if prompt.item.restricted else reply.text
            rows.append([text, len(reply.ids), judged])
        return rows

    def _judged(self, item: Item, question: Item, reply: str) -> float:
        """What the judge says, or by phrases 1 or 0."""
        from compliance.probes.judging import checked

        sign = sign_of(self.study, item.label)
        if self.judge is None:
            return float(behaves(sign, self.study.lists, item.language, reply))
        return checked(self.judge, sign.question or "", prompt=_words(question), reply=reply)

    def _each(
        self, name: str, jobs: Sequence[_Job], seen: Callable[[_Job], Any], told: str
    ) -> Iterator[tuple[_Job, Any]]:
        """What is seen of each job, which is kept in a file of its own."""
        if jobs:
            self.progress.stage(told)
        folder, began, ran = self.run.shards(f"mitigation/{self.study.name}/{name}"), None, 0
        for done, job in enumerate(jobs, start=1):
            key = digest_of(self.task | {"of": name, **job.identity})
            path = folder / f"{job.name}.json"
            found = stored(path, key)
            if found is None:
                began = began or time.monotonic()
                found = {"name": key, "row": seen(job)}
                write_bytes(path, json.dumps(found).encode())
                ran += 1
            left = (time.monotonic() - began) / ran * (len(jobs) - done) if began and ran else None
            self.progress.advance(done, len(jobs), left)
            yield job, found["row"]


@dataclass(frozen=True, eq=False)
class _Job:
    """What is run at one go."""

    name: str
    arm: str
    prompts: Sequence[Prepared]

    @property
    def identity(self) -> dict[str, Any]:
        """What its outcome hangs on, beside the run."""
        items = [[p.item.id, list(p.ids), digest_of(p.item)] for p in self.prompts]
        return {"arm": self.arm, "items": items}


def _words(question: Item) -> str:
    """A prompt as a judge is shown it."""
    if question.messages is None:
        return question.text or ""
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in question.messages)


# --- what is suppressed -------------------------------------------------------------------------


def _after(run: RunFolder, study: PlannedMitigation, reader: Reader) -> Arm:
    from compliance.probes.generating import Arm, second_arm

    if study.by == "model":
        asked = next(s.by for s in run.config().mitigations or () if s.name == study.name)
        assert isinstance(asked, SecondModel)  # the plan was made from this very configuration
        return second_arm(reader, _model(run, asked, study.model))
    change = _features(run, study) if study.by == "feature" else _direction(run, study, reader)
    return Arm(reader, change)


def _features(run: RunFolder, study: PlannedMitigation) -> Change:
    """The locked probe's features, set to multiples of their peaks; 0 needs no peak."""
    from compliance.probes.interventions import Change

    features = next(p.features for p in run.lock().probes if p.concept == study.concept)
    [sae] = {feature.sae for feature in features}
    latents = tuple(feature.latent for feature in features)
    peaks = _peaks(run, study, sae) if study.dose else dict.fromkeys(latents, 0.0)
    if missing := [latent for latent in latents if latent not in peaks]:
        raise PlanError(
            f"mitigations.{study.name}: latent {missing[0]} has no peak in {DOSES}",
            hint=f"name {study.concept} under interventions.concepts, or leave the dose at 0",
        )
    values = tuple(study.dose * peaks[latent] for latent in latents)
    return Change(kind="clamp", sae=sae, latents=latents, values=values)


def _peaks(run: RunFolder, study: PlannedMitigation, sae: int) -> dict[int, float]:
    doses = read_table(run.observations("fit"), DOSES)
    mine = doses[(doses["concept"] == study.concept) & (doses["arm"] == "dose")]
    mine = mine[(mine["sae"] == sae) & (mine["peak"] > 0)]
    return dict(zip(mine["latent"].tolist(), mine["peak"].tolist(), strict=True))


def _direction(run: RunFolder, study: PlannedMitigation, reader: Reader) -> Change:
    """The difference of means in the reference language, where the first SAE that has one reads."""
    import torch

    from compliance.probes.interventions import Change

    lock, wanted = run.lock(), run.plan().searched
    for s, sae in enumerate(reader.saes):
        features = f"residual/{sae.facts.hook_name}"
        found = [
            one for one in lock.directions
            if (one.concept, one.scorer, one.features, one.variant)
            == (study.concept, "dense-means", features, wanted)
        ]  # fmt: skip
        if found:
            weights = _weights(run, lock, found)
            return Change(kind="project", sae=s, direction=torch.from_numpy(weights))
    raise PlanError(
        f"mitigations.{study.name}: no difference of means was fitted for {study.concept} in "
        f"{'/'.join(wanted)}",
        hint="study it by feature",
    )


def _weights(run: RunFolder, lock: Lock, directions: Sequence[Any]) -> np.ndarray:
    fit = FitObservations.from_files(run.observations("fit"), compact=True)
    [linear] = linear_weights(directions, fit).values()
    return linear.weights


def _judge(run: RunFolder, study: PlannedMitigation) -> Judge | None:
    from compliance.probes.judging import ModelJudge, load_plug

    if study.judge is None:
        return None
    if study.judge.plug is not None:
        return load_plug(study.judge.plug)
    asked = next(s.judge for s in run.config().mitigations or () if s.name == study.name)
    assert asked is not None  # the plan was made from this very configuration
    return ModelJudge(_model(run, asked, study.judge.model))


def _model(run: RunFolder, asked: SecondModel | JudgeConfig, planned: ModelFacts | None) -> Subject:
    found = _load(run.config(), asked, run.path.parent.parent)
    if planned is None or found.facts.weights_digest != planned.weights_digest:
        raise ProbeError(
            f"{found.facts.name}: its weights are not those that were planned",
            hint="put the planned model back, or run 'compliance plan' again",
        )
    return found


def _facts(config: AuditConfig, asked: SecondModel | JudgeConfig, folder: Path) -> ModelFacts:
    return _load(config, asked, folder).facts


def _load(config: AuditConfig, asked: SecondModel | JudgeConfig, folder: Path) -> Subject:
    from compliance.probes.subject import load_subject

    other = {"model": asked.model, "revision": asked.revision, "name": None}
    wanted: SubjectConfig = config.subject.model_copy(update=other)
    return load_subject(wanted, folder, pictures=False)
