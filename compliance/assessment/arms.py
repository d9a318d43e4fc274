"""On which items interventions are run, and with which random latents (PROTOCOL section 9)."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

from compliance.assessment.drawing import drawn, drawn_items, in_drawn_order, neutral_items
from compliance.errors import PlanError
from compliance.records.audit import Interventions
from compliance.records.base import digest_of, to_json
from compliance.records.plan import LockedProbe, Plan, PlannedProbe
from compliance.records.suite import Item, Label
from compliance.suites.chosen import ChosenItems
from compliance.suites.split import CALIBRATE, CONFIRM
from compliance.suites.stored import Outline, outlines_of


def interventions_of(
    asked: Interventions, plan: Plan, by_split: Mapping[str, ChosenItems]
) -> dict[str, Any]:
    """What a plan says of interventions: ``interventions`` and ``capability``.

    Args:
        asked: By ``audit.yaml``.
        plan: All the rest of it.
        by_split: Its items.

    Raises:
        PlanError: A concept or language that is not planned or has no items with two replies; or
            too few latents to be compared with.
    """
    known = [probe.concept for probe in plan.probes]
    _refuse_unknown("concepts", asked.concepts, known)
    _refuse_unknown("languages", asked.languages, plan.languages)
    languages = asked.languages or plan.languages
    able = [c for c in asked.concepts or known if _has_choices(plan, c, languages, by_split)]
    if not able or len(able) < len(asked.concepts):
        lacking = next((c for c in asked.concepts if c not in able), "any concept")
        raise PlanError(
            f"interventions: positives of {lacking} with two replies to choose from ('choices') "
            f"are needed on confirm, and in {plan.claims.reference_language} on calibrate",
            hint="add choices to the items, or take the concept out of interventions.concepts",
        )
    if asked.region == "image" and all(cell.modality == "text" for cell in plan.cells):
        raise PlanError("interventions.region: 'image', and no cell of the audit has pictures")
    found = asked.model_copy(update={"concepts": tuple(able), "languages": tuple(languages)})
    for concept in able:
        _refuse_few_random(found, plan, next(p for p in plan.probes if p.concept == concept))
    tasks = capability_tasks(found)
    digest = digest_of([to_json(item) for item in tasks]) if tasks else None
    return {"interventions": found, "capability": digest}


def capability_tasks(planned: Interventions) -> list[Item]:
    """The small tasks that are run."""
    if not planned.capability_items:
        return []
    from compliance.suites.capability import capability_items

    return list(capability_items(planned.languages, planned.capability_items))


def matched_items(plan: Plan, concept: str, items: Sequence[Item]) -> list[Item]:
    """Calibrate positives in the reference language on which divergences are matched."""
    language, planned = plan.claims.reference_language, _planned(plan)
    groups = _groups(plan, "matched", concept, (language,), items, planned.matched_groups)
    return list(_with_choices(concept, (language,), items, groups))


def peak_items(plan: Plan, concept: str, items: Sequence[Item]) -> list[Item]:
    """Positives and hard negatives of calibrate, on which peaks are found."""
    languages = _planned(plan).languages
    return [
        items[place]
        for place, item in enumerate(outlines_of(items))
        if item.concept == concept and item.language in languages
    ]


def effect_items(plan: Plan, concept: str, items: Sequence[Item]) -> list[Item]:
    """Confirm positives whose two replies are compared, whole groups in every language."""
    planned = _planned(plan)
    groups = _groups(plan, "effects", concept, planned.languages, items, planned.groups)
    return list(_with_choices(concept, planned.languages, items, groups))


def side_items(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """Neutral confirm texts of each language; benign ones where there are none."""
    planned = _planned(plan)
    return neutral_items(plan, "side-effects", items, planned.languages, planned.neutral_items)


def scored_items(plan: Plan, probe: PlannedProbe, items: Sequence[Item]) -> list[Item]:
    """Confirm positives in words of a concept whose probe is looked at while others are changed."""
    planned = _planned(plan)

    def is_wanted(item: Outline, language: str) -> bool:
        kind = (item.concept, item.label, item.modality, item.language)
        wanted = (probe.concept, Label.POSITIVE, "text", language)
        return kind == wanted and item.kind.has(probe.region)

    return [
        items[place]
        for language in planned.languages
        for place in drawn_items(
            plan, "side-scores", items, lambda i, tag=language: is_wanted(i, tag),
            planned.neutral_items, name="id",
        )
    ]  # fmt: skip


def random_latents(
    plan: Plan, probe: LockedProbe, search: pd.DataFrame, items: pd.DataFrame, active: Sequence[int]
) -> list[int]:
    """Latents of the probe's SAE that are set in its place, in ascending order.

    Drawn among those that fired on at least as many of the concept's fit positives as the probe
    did. Where these are too few, all of them, and of the others those that fired on most.

    Args:
        plan: With interventions.
        probe: Its first feature says which SAE.
        search: The table ``fit/search.parquet``.
        items: The table ``fit/items.csv``.
        active: Latents of that SAE that have a peak.
    """
    own = (items["concept"] == probe.concept) & (items["label"] == Label.POSITIVE)
    mine = search[(search["concept"] == probe.concept) & search["item"].isin(items["item"][own])]
    mine = mine[mine["score"] != 0]
    features = {(f.sae, f.latent) for f in probe.features}
    is_feature = [pair in features for pair in zip(mine["sae"], mine["latent"], strict=True)]
    needed = mine["item"][is_feature].nunique()
    sae, number = probe.features[0].sae, _planned(plan).random_latents
    counts = Counter(mine["latent"][mine["sae"] == sae].tolist())
    others = [latent for latent in active if (sae, latent) not in features]
    often = [latent for latent in others if counts[latent] >= needed]
    if len(often) < number:
        rest = sorted(set(others) - set(often), key=lambda latent: (-counts[latent], latent))
        return sorted([*often, *rest[: number - len(often)]])
    return sorted(drawn(plan, f"random/{probe.concept}", often, number, key=str))


def _planned(plan: Plan) -> Interventions:
    if plan.interventions is None:
        raise ValueError("no interventions are planned")
    return plan.interventions


def _has_choices(
    plan: Plan, concept: str, languages: Sequence[str], by_split: Mapping[str, ChosenItems]
) -> bool:
    reference = (plan.claims.reference_language,)
    parts = ((CALIBRATE, reference), (CONFIRM, languages))
    return all(_groups(plan, "effects", concept, tags, by_split[split], 1) for split, tags in parts)


def _groups(
    plan: Plan, what: str, concept: str, languages: Sequence[str], items: Sequence[Item],
    number: int,
) -> list[str]:  # fmt: skip
    """The first groups, in the order in which they are drawn, that have a positive with choices."""
    by_group: dict[str, list[int]] = {}
    for place, item in enumerate(outlines_of(items)):
        if _is_positive(item, concept, languages):
            by_group.setdefault(item.group, []).append(place)
    found: list[str] = []
    for group in in_drawn_order(plan, what, by_group):
        if len(found) == number:
            break
        if any(items[place].choices is not None for place in by_group[group]):
            found.append(group)
    return found


def _with_choices(
    concept: str, languages: Sequence[str], items: Sequence[Item], groups: Sequence[str]
) -> Iterator[Item]:
    for place, outline in enumerate(outlines_of(items)):
        if outline.group in groups and _is_positive(outline, concept, languages):
            item = items[place]
            if item.choices is not None:
                yield item


def _is_positive(item: Outline, concept: str, languages: Sequence[str]) -> bool:
    return (item.concept, item.label) == (concept, Label.POSITIVE) and item.language in languages


def _refuse_unknown(field: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [one for one in given if one not in known]:
        raise PlanError(
            f"interventions.{field}: {unknown[0]!r} is not planned",
            hint=f"the audit has {', '.join(known)}",
        )


def _refuse_few_random(planned: Interventions, plan: Plan, probe: PlannedProbe) -> None:
    """A rank among R latents has p of 1/(R + 1) at best; Holm's first step divides by the cells."""
    cells = sum(
        cell.concept == probe.concept and cell.language in planned.languages for cell in plan.cells
    )
    needed = math.ceil(cells / Fraction(str(plan.family_error))) - 1
    if planned.random_latents < needed:
        raise PlanError(
            f"interventions.random_latents: {planned.random_latents}, and the {cells} cells of "
            f"{probe.concept} need {needed}; with fewer no influence could be shown",
            hint="ask for more, or for fewer languages",
        )
    own = 1 if probe.features == "discover" else len(probe.features)
    most = min(sae.d_sae for sae in plan.saes) - own
    if planned.random_latents > most:
        raise PlanError(
            f"interventions.random_latents: {planned.random_latents}, and an SAE of the audit has "
            f"{most} besides the probe's",
            hint=f"ask for {most} at most, or take a wider SAE",
        )
