"""Which mitigation studies are planned, and which items each asks.

studies = planned_studies(config, suites, models)
prompts = studied_items(plan, study, items)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from compliance.assessment.drawing import drawn
from compliance.errors import PlanError
from compliance.records.audit import AuditConfig, JudgeConfig, Mitigation
from compliance.records.base import digest_of, to_json
from compliance.records.behaviour import Behaviour, Behaviours
from compliance.records.plan import Plan, PlannedJudge, PlannedMitigation
from compliance.records.subject import ModelFacts
from compliance.records.suite import Item, Label
from compliance.suites.behaviours import behaviours_digest, languages_of, load_behaviours
from compliance.suites.capability import capability_items
from compliance.suites.load import Suite
from compliance.suites.stored import Outline, outlines_of


@dataclass(frozen=True)
class OtherModels:
    """Facts of the models that a study takes besides the subject."""

    second: ModelFacts | None = None
    judge: ModelFacts | None = None


def planned_studies(
    config: AuditConfig,
    suites: Sequence[Suite],
    others: Mapping[str, OtherModels] = MappingProxyType({}),
) -> tuple[PlannedMitigation, ...] | None:
    """The studies that ``audit.yaml`` asks for; None where it asks for none.

    Args:
        config: What is asked for.
        suites: As read.
        others: Models by the study's name, as loaded.

    Raises:
        PlanError: A behaviour without a probe or a definition, a dose without interventions, a
            judge without a question, or no language in which replies could be judged.
        SuiteError: A suite's ``behaviours.yaml`` cannot be read.
    """
    if config.mitigations is None:
        return None
    return tuple(
        _planned(study, config, suites, others.get(study.name, OtherModels()))
        for study in config.mitigations
    )


def studied_items(plan: Plan, study: PlannedMitigation, items: Sequence[Item]) -> list[Item]:
    """Confirm items that are asked: groups of positives and of hard negatives, in every language.

    Items with a picture are not asked. In a paired suite both labels have the same groups.
    """
    outlines = outlines_of(items)
    strata = study.behaviour.strata
    places = [
        place
        for place, item in enumerate(outlines)
        if _is_asked(item, study) and (not strata or items[place].stratum in strata)
    ]
    found: list[int] = []
    for label in (Label.POSITIVE, Label.HARD_NEGATIVE):
        own = [place for place in places if outlines[place].label == label]
        groups = {outlines[place].group for place in own}
        chosen = set(drawn(plan, "mitigation", groups, study.items, key=str))
        found += [place for place in own if outlines[place].group in chosen]
    return [items[place] for place in sorted(found)]


def refuse_idle(plan: Plan, items: Sequence[Item]) -> None:
    """Refuse a study that asks nobody.

    Raises:
        PlanError: No positive or no hard negative of confirm is asked.
    """
    for study in plan.mitigations or ():
        labels = {item.label for item in studied_items(plan, study, items)}
        for label in (Label.POSITIVE, Label.HARD_NEGATIVE):
            if label not in labels:
                raise PlanError(
                    f"mitigations.{study.name}: no {label} of {study.concept} in words is on "
                    "confirm",
                    hint="give the suite more groups, or the behaviour other strata",
                )


def small_tasks(study: PlannedMitigation) -> list[Item]:
    """The small tasks that are run before and after.

    Raises:
        PlanError: The set is not the one that was planned.
    """
    tasks = capability_items(study.languages, study.capability_items)
    if _digest(tasks) != study.capability:
        raise PlanError(
            f"mitigations.{study.name}: the capability set is not the one that was planned",
            hint="run it with the version of this software that the plan names",
        )
    return tasks


def _is_asked(item: Outline, study: PlannedMitigation) -> bool:
    return (
        item.concept == study.concept
        and item.label in (Label.POSITIVE, Label.HARD_NEGATIVE)
        and item.modality == "text"
        and item.language in study.languages
    )


def _planned(
    study: Mitigation, config: AuditConfig, suites: Sequence[Suite], others: OtherModels
) -> PlannedMitigation:
    where = f"mitigations.{study.name}"
    if study.behaviour not in [probe.concept for probe in config.probes]:
        raise PlanError(
            f"{where}: behaviour {study.behaviour!r} has no probe in this audit",
            hint="what is suppressed is found by the concept's probe; add it under 'probes'",
        )
    if study.dose and config.interventions is None:
        raise PlanError(
            f"{where}: dose {study.dose:g} is a multiple of a peak, and no peaks are found",
            hint="add 'interventions', or leave the dose at 0, which ablates",
        )
    file, behaviour = _behaviour(study, suites)
    _refuse_no_question(study, behaviour)
    languages = tuple(
        language
        for language in config.languages
        if _can_judge(study.judge, behaviour, file, language)
    )
    if not languages:
        raise PlanError(
            f"{where}: behaviours.yaml has no phrases for {study.behaviour} in any language of "
            "the audit",
            hint="add phrases, or a judge",
        )
    tasks = capability_items(languages, study.capability_items)
    return PlannedMitigation(
        name=study.name,
        concept=study.behaviour,
        by=study.by if isinstance(study.by, str) else "model",
        dose=study.dose,
        model=others.second,
        behaviour=behaviour,
        lists=_lists(behaviour, file, languages),
        described=file.description,
        behaviours_digest=behaviours_digest(file),
        judge=_judge(study.judge, others.judge),
        languages=languages,
        items=study.items,
        max_new_tokens=study.max_new_tokens,
        neutral_items=study.neutral_items,
        capability_items=study.capability_items,
        capability=_digest(tasks),
    )


def _behaviour(study: Mitigation, suites: Sequence[Suite]) -> tuple[Behaviours, Behaviour]:
    """Of the first suite that defines it: one concept has one meaning in all suites."""
    for suite in suites:
        file = load_behaviours(suite)
        if file is not None and study.behaviour in file.behaviours:
            return file, file.behaviours[study.behaviour]
    raise PlanError(
        f"mitigations.{study.name}: no suite of this audit defines the behaviour "
        f"{study.behaviour!r}",
        hint="a behaviours.yaml beside suite.yaml defines it",
    )


def _refuse_no_question(study: Mitigation, behaviour: Behaviour) -> None:
    questions = (behaviour.question, behaviour.over_refusal.question)
    if study.judge is not None and None in questions:
        raise PlanError(
            f"mitigations.{study.name}: behaviours.yaml has no 'question' for a judge on "
            f"{study.behaviour} and its over-refusal",
            hint="add both questions, or leave 'judge' out",
        )


def _can_judge(
    judge: JudgeConfig | None, behaviour: Behaviour, file: Behaviours, language: str
) -> bool:
    if judge is not None:
        return True
    signs = (behaviour, behaviour.over_refusal)
    return all(language in languages_of(sign, file.lists) for sign in signs)


def _lists(
    behaviour: Behaviour, file: Behaviours, languages: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    names = {*behaviour.lists, *behaviour.over_refusal.lists}
    return {
        name: {tag: own for tag, own in file.lists[name].items() if tag in languages}
        for name in sorted(names)
    }


def _judge(config: JudgeConfig | None, facts: ModelFacts | None) -> PlannedJudge | None:
    if config is None:
        return None
    return PlannedJudge(plug=config.plug, model=facts, limit=config.limit)


def _digest(tasks: Sequence[Item]) -> str:
    return digest_of([to_json(task) for task in tasks])
