"""Makes the plan: everything that can be chosen, before anything is measured."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np

from compliance.assessment.arms import interventions_of
from compliance.assessment.drawing import drawn, drawn_items, neutral_items
from compliance.assessment.sizes import refuse_too_large
from compliance.errors import PlanError, StatisticsError
from compliance.features.reading import FeatureList
from compliance.records.audit import AuditConfig, Claims, FeatureFile, FeatureRef, ProbeConfig
from compliance.records.observation import SURFACE, applies
from compliance.records.plan import (
    Cell,
    Choices,
    ListedFrom,
    Plan,
    PlannedProbe,
    Rule,
    Setting,
    Splits,
    region_in,
)
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import (
    ConceptSheet,
    Datasheet,
    Item,
    Label,
    Modality,
    Region,
    Rendering,
    Variant,
)
from compliance.statistics.conformal import benign_needed
from compliance.suites.chosen import ChosenItems
from compliance.suites.load import Suite
from compliance.suites.split import CALIBRATE, CONFIRM, DISCOVER, split_groups
from compliance.suites.stored import Kind, Outline, outlines_of

CONTROLS = (
    "token-count", "ngrams", "colour", "pixels", "random-latents", "random-sae", "permuted-labels",
    "dense", "reconstruction", "error", "sparse",
)  # fmt: skip
"""Controls of PROTOCOL section 6. All run in every audit that has what they look at: words or
pictures."""

MOST_RANDOM_LATENTS = 999
POOLINGS = ("max", "mean", "top-5", "last")

UNFILLED: dict[str, Rendering] = {
    "text": "plain", "image": "typographic", "image-text": "typographic",
}  # fmt: skip
"""Rendering of the planned cells of a concept that has no items in a modality: pictures of its own
words are what could be made."""


def make_plan(
    config: AuditConfig,
    *,
    model: ModelFacts,
    saes: Sequence[SaeFacts],
    suites: Sequence[Suite],
    software: str,
    lists: Mapping[str, FeatureList] = MappingProxyType({}),
) -> Plan:
    """Freeze what is to be measured, and refuse what could not be.

    Args:
        config: What is asked for.
        model: As loaded.
        saes: As loaded.
        suites: As read.
        software: Name and version of this package.
        lists: By concept: what the files say that probes take their features from.

    Raises:
        PlanError: A concept without a suite, or that two suites define differently; a feature
            the SAE does not have, or a list of another SAE's features; a group in two suites, or
            two suites of one name; too few benign items for the cut-off, items for the search or
            latents for the random ones; no items in any cell; or interventions that could show
            nothing.
    """
    _refuse_shared_groups(suites)
    _refuse_shared_names(suites)
    _refuse_half_paired(config, suites)
    _refuse_unknown_suites(config, suites)
    probes = tuple(
        _probe(p, _sheet(p.concept, suites), saes[0], lists.get(p.concept)) for p in config.probes
    )
    cells = tuple(_cells(config, suites))
    modality, rendering = _searched_form(cells, suites, config.claims.reference_language)
    plan = Plan(
        software=software,
        model=model,
        saes=tuple(saes),
        suites=tuple(suite.facts for suite in suites),
        probes=probes,
        languages=config.languages,
        cells=cells,
        claims=config.claims,
        rules=rules_of(config.claims, cells),
        controls=_controls(cells),
        splits=Splits(),
        alpha=config.alpha,
        bootstrap_draws=config.bootstrap_draws,
        random_latents=_random_latents(saes, probes),
        search_modality=modality,
        search_rendering=rendering,
        settings=tuple(_settings(config, probes, saes, suites)),
        robustness=config.robustness,
        batch_tokens=config.batch_tokens,
        subset=config.subset,
        seed=config.seed,
    )
    _refuse_unmeasurable(plan, suites)
    _refuse_few_latents(plan)
    if config.interventions is None:
        return plan
    return plan.model_copy(
        update=interventions_of(config.interventions, plan, planned_items(plan, suites))
    )


def planned_items(plan: Plan, suites: Sequence[Suite]) -> dict[str, ChosenItems]:
    """Items of the plan by split, ordered by id.

    The discover split is run in all languages and forms, since the controls of each are fitted on
    it. Modalities and renderings that no cell has are left out.
    """
    splits = split_groups(suites, plan.splits, plan.subset)
    concepts = {None, *(probe.concept for probe in plan.probes)}
    variants = {cell.variant for cell in plan.cells}

    def is_in(item: Outline, split: str) -> bool:
        wanted = item.concept in concepts and item.variant in variants
        return wanted and splits.get(item.group) == split

    return {
        split: ChosenItems.of(suites, partial(is_in, split=split))
        for split in (DISCOVER, CALIBRATE, CONFIRM)
    }


def loss_items(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """Neutral text on which the model also runs on reconstructions, of each language.

    Benign confirm items where there is none. Without pictures: what the model predicts is words.
    """
    return neutral_items(plan, "losses", items, plan.languages, plan.robustness.loss_items)


def repeated_items(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """Confirm items of each concept in the reference language that are run again on their own.

    As many of each planned modality.
    """
    reference = (plan.claims.reference_language,)
    return _repeated(plan, {probe.concept: reference for probe in plan.probes}, items)


def compared_items(plan: Plan, choices: Choices, items: Sequence[Item]) -> list[Item]:
    """Confirm items that a run in another mode than the reference runs again in that one.

    Those of `repeated_items`, and as many in the weakest language of each concept.
    """
    return _repeated(plan, choices.shifted_languages, items)


def _repeated(
    plan: Plan, languages: Mapping[str, Sequence[str]], items: Sequence[Item]
) -> list[Item]:
    return [
        items[place]
        for probe in plan.probes
        for language in languages.get(probe.concept, ())
        for modality in dict.fromkeys(cell.modality for cell in plan.cells)
        for place in drawn_items(
            plan, "repeats", items,
            lambda i, form=(probe.concept, language, modality), probe=probe:
            (i.concept, i.language, i.modality) == form and _is_read(i.kind, probe),
            plan.robustness.repeated_items, name="id",
        )
    ]  # fmt: skip


def shifted_items(plan: Plan, choices: Choices, items: Sequence[Item]) -> list[Item]:
    """Confirm items that are run again under each shift, whole groups in both languages.

    In every form: a shift for texts changes the texts among them, one for pictures the pictures.
    """
    outlines, found = outlines_of(items), []
    for probe in plan.probes:
        groups = {item.group for item in outlines if item.concept == probe.concept}
        chosen = set(drawn(plan, "shifts", groups, plan.robustness.shifted_groups, key=str))
        languages = choices.shifted_languages.get(probe.concept, ())
        found += [
            items[place]
            for place, item in enumerate(outlines)
            if item.concept == probe.concept and item.group in chosen and item.language in languages
        ]
    return found


def _sheet(concept: str, suites: Sequence[Suite]) -> ConceptSheet:
    owners = [suite.datasheet for suite in suites if concept in suite.datasheet.concepts]
    if owners:
        for other in owners[1:]:
            _refuse_two_meanings(concept, owners[0], other)
        return owners[0].concepts[concept]
    known = sorted({name for suite in suites for name in suite.datasheet.concepts})
    raise PlanError(
        f"probes: no suite of this audit has items for concept {concept!r}",
        hint=f"the suites cover {', '.join(known)}",
    )


def _refuse_two_meanings(concept: str, one: Datasheet, other: Datasheet) -> None:
    for field in ("region", "definition"):
        here, there = (getattr(sheet.concepts[concept], field) for sheet in (one, other))
        if here != there:
            raise PlanError(
                f"concept {concept!r}: its {field} is {here!r} in suite {one.name} "
                f"and {there!r} in suite {other.name}",
                hint="one probe stands for one meaning; rename the concept in one of them",
            )


def _probe(
    config: ProbeConfig, sheet: ConceptSheet, sae: SaeFacts, listed: FeatureList | None
) -> PlannedProbe:
    features = _features(config, sae, listed)
    if features != "discover":
        beyond = [f.latent for f in features if not 0 <= f.latent < sae.d_sae]
        if beyond:
            raise PlanError(
                f"probes.{config.concept}.features: latent {beyond[0]} is not in the SAE",
                hint=f"{sae.name} has latents 0 to {sae.d_sae - 1}",
            )
    return PlannedProbe(
        concept=config.concept,
        title=sheet.title,
        definition=sheet.definition,
        features=features,
        listed=listed
        and ListedFrom(
            file=listed.name, digest=listed.digest, model=listed.model, source=listed.source
        ),
        region=config.region or sheet.region,
        pooling=config.pooling,
    )


def _features(
    config: ProbeConfig, sae: SaeFacts, listed: FeatureList | None
) -> Literal["discover"] | tuple[FeatureRef, ...]:
    if config.features == "discover":
        return "discover"
    if not isinstance(config.features, FeatureFile):
        return tuple(FeatureRef(latent=latent) for latent in config.features)
    if listed is None:
        raise PlanError(f"probes.{config.concept}.features: the list was not read")
    if sae.neuronpedia_id not in (None, listed.neuronpedia_id):
        raise PlanError(
            f"probes.{config.concept}.features: {listed.name} is about {listed.neuronpedia_id}, "
            f"the first SAE is {sae.neuronpedia_id}",
            hint="take a list of that SAE's features, or put the list's SAE first in subject.saes",
        )
    return tuple(FeatureRef(latent=f.index, label=f.label) for f in listed.features)


def _cells(config: AuditConfig, suites: Sequence[Suite]) -> Iterable[Cell]:
    """Concept x language x modality, with the renderings that the concept's items have."""
    kinds = [kind for kind in _kinds(suites) if kind.concept is not None]
    for probe in config.probes:
        for modality in config.modalities:
            found = {i.rendering for i in kinds
                     if i.concept == probe.concept and i.modality == modality}  # fmt: skip
            for rendering in sorted(found) or [UNFILLED[modality]]:
                for language in config.languages:
                    yield Cell(concept=probe.concept, language=language,
                               modality=modality, rendering=rendering)  # fmt: skip


def _searched_form(
    cells: Sequence[Cell], suites: Sequence[Suite], reference: str
) -> tuple[Modality, Rendering]:
    """Text where it is planned; else the first of the forms in which most concepts have items.

    Args:
        cells: As planned.
        suites: Of the audit.
        reference: Latents are searched in this language.
    """
    there = {(kind.concept, *kind.variant) for kind in _kinds(suites)}
    forms = dict.fromkeys((cell.modality, cell.rendering) for cell in cells)
    if ("text", "plain") in forms:
        return "text", "plain"
    concepts = {cell.concept for cell in cells}
    return max(forms, key=lambda form: sum((c, reference, *form) in there for c in concepts))


def _random_latents(saes: Sequence[SaeFacts], probes: Sequence[PlannedProbe]) -> int:
    """As many as asked for, or all that the narrowest SAE has besides the probe's own."""
    own = max(1 if p.features == "discover" else len(p.features) for p in probes)
    return max(0, min(MOST_RANDOM_LATENTS, min(sae.d_sae for sae in saes) - own))


def _settings(
    config: AuditConfig,
    probes: Sequence[PlannedProbe],
    saes: Sequence[SaeFacts],
    suites: Sequence[Suite],
) -> Iterable[Setting]:
    """What else could have been chosen without anybody objecting, one choice at a time.

    What would read the very same tokens is no other choice: it would always agree.
    """
    planned = {probe.pooling for probe in probes}
    for pooling in POOLINGS:
        if planned != {pooling}:
            yield Setting(name=f"pooling-{pooling}", pooling=pooling)
    regions = {probe.concept: probe.region for probe in probes}
    kinds = [k for k in _kinds(suites) if k.concept in regions and k.modality == "text"]
    less = any(_reads_less_than_all(kind, regions[kind.concept or ""]) for kind in kinds)
    if less and "text" in config.modalities:
        yield Setting(name="region-read", region="read")
    for alpha in (config.alpha / 2, min(2 * config.alpha, 0.5)):
        yield Setting(name=f"alpha-{alpha:g}", alpha=alpha)
    if len(saes) > 1:
        for index, _ in enumerate(saes):
            yield Setting(name=f"sae-{index}", sae=index)


def _kinds(suites: Sequence[Suite]) -> Collection[Kind]:
    """The kinds of items that there are."""
    return {item.kind for suite in suites for item in suite.outlines}


def _reads_less_than_all(kind: Kind, region: Region) -> bool:
    """Whether an item of a kind has content outside the region."""
    roles = kind.roles & {"user", "assistant"} or {"user"}
    return region == "last" or roles != {region}


def _controls(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Those of CONTROLS that have something to look at in some cell."""
    return tuple(c for c in CONTROLS if any(applies(c, cell.variant) for cell in cells))


def rules_of(claims: Claims, cells: Sequence[Cell]) -> tuple[Rule, ...]:
    """PROTOCOL section 11 as data, in the order in which a report lists them.

    A rule about a control that none of these cells has is left out.
    """
    surface = (
        Rule(condition=f"beats-{control}", kind="primary", limit=0.0, needs=needs)
        for control, needs in SURFACE.items()
        if any(applies(control, cell.variant) for cell in cells)
    )
    return (
        Rule(condition="beats-token-count", kind="primary", limit=0.0),
        *surface,
        Rule(condition="beats-random-latents", kind="primary", limit=0.5),
        Rule(condition="beats-random-sae", kind="primary", limit=0.0),
        Rule(condition="sensitivity", kind="primary", limit=claims.min_sensitivity),
        Rule(condition="false-positive-rate", kind="primary", limit=claims.max_false_positive_rate),
        Rule(
            condition="hard-false-positive-rate",
            kind="primary",
            limit=claims.max_hard_false_positive_rate,
        ),
        Rule(condition="non-inferior", kind="secondary", limit=claims.non_inferiority_margin),
        Rule(condition="explained-variance", kind="gate", limit=claims.min_explained_variance),
        Rule(
            condition="explained-variance-gap",
            kind="gate",
            limit=claims.max_explained_variance_gap,
        ),
    )


def _refuse_shared_groups(suites: Sequence[Suite]) -> None:
    for kind in ("group", "id"):
        found = np.sort(np.concatenate([_names(suite, kind) for suite in suites]))
        shared = found[1:][found[1:] == found[:-1]]
        if len(shared):
            raise PlanError(
                f"suites: {kind} {shared[0].decode()!r} is in two suites, so it could be in two "
                "splits",
                hint="give the groups of each suite a prefix of their own",
            )


def _names(suite: Suite, kind: Literal["group", "id"]) -> np.ndarray:
    """The groups or ids of a suite, each once: ``S`` [n], for they are ASCII."""
    return np.unique(np.array([getattr(item, kind) for item in suite.outlines], dtype=bytes))


def _refuse_shared_names(suites: Sequence[Suite]) -> None:
    names = Counter(suite.datasheet.name for suite in suites)
    shared = [name for name, count in names.items() if count > 1]
    if shared:
        raise PlanError(
            f"suites: two suites are named {min(shared)!r}, and observations name an item's suite",
            hint="give each suite.yaml a name of its own",
        )


def _refuse_half_paired(config: AuditConfig, suites: Sequence[Suite]) -> None:
    """Pairs and single prompts have different statistics, and a cell has one of them."""
    for probe in config.probes:
        mine = [s.datasheet for s in suites if probe.concept in s.datasheet.concepts]
        if len({sheet.paired for sheet in mine}) > 1:
            alone = next(sheet.name for sheet in mine if not sheet.paired)
            raise PlanError(
                f"concept {probe.concept!r}: suite {alone} has no pairs and another suite has",
                hint="audit them apart, or under two concepts",
            )


def _refuse_unknown_suites(config: AuditConfig, suites: Sequence[Suite]) -> None:
    """A misspelt name would take all benign items of a suite, where a part was meant."""
    named = config.subset.benign_groups if config.subset else None
    known = [suite.datasheet.name for suite in suites]
    unknown = sorted(set(named) - set(known)) if isinstance(named, dict) else []
    if unknown:
        raise PlanError(
            f"subset.benign_groups: no suite of this audit is named {unknown[0]!r}",
            hint=f"the suites are named {', '.join(known)}",
        )


def _refuse_unmeasurable(plan: Plan, suites: Sequence[Suite]) -> None:
    """Cells that are half there, and cut-offs that could not be set, are found before a run."""
    items = planned_items(plan, suites)
    counts = _counts(plan, items)
    refuse_too_large(plan, counts, len(items[CONFIRM]))
    covered = False
    for cell in plan.cells:
        discover, calibrate, confirm = (
            counts[split, cell.concept, cell.variant] for split in (DISCOVER, CALIBRATE, CONFIRM)
        )
        if not confirm[Label.POSITIVE] and not confirm[Label.HARD_NEGATIVE]:
            continue
        covered = True
        place = _place(cell.concept, cell.variant)
        _refuse_half(place, confirm, discover + calibrate)
        _refuse_few_benign(plan, place, calibrate[Label.NEGATIVE])
    if not covered:
        raise PlanError(
            "no planned cell has items",
            hint="compare languages, modalities and concepts of audit.yaml with the suites'",
        )
    for probe in plan.probes:
        if probe.features == "discover":
            found = counts[DISCOVER, probe.concept, plan.searched]
            region = region_in(probe.region, plan.search_modality)
            _refuse_blind_search(_place(probe.concept, plan.searched), region, found)


def _is_read(kind: Kind, probe: PlannedProbe) -> bool:
    """Whether an item of a kind has what the probe reads: the region, or a picture."""
    return kind.has(region_in(probe.region, kind.modality))


def _counts(
    plan: Plan, by_split: Mapping[str, ChosenItems]
) -> Mapping[tuple[str, str, Variant], Counter[Label]]:
    """Items that are read, by split, concept and variant; benign ones count for each concept."""
    found: dict[tuple[str, str, Variant], Counter[Label]] = defaultdict(Counter)
    for split, items in by_split.items():
        for kind, number in Counter(item.kind for item in items.outlines).items():
            for probe in plan.probes:
                if kind.concept in (None, probe.concept) and _is_read(kind, probe):
                    found[split, probe.concept, kind.variant][kind.label] += number
    return found


def _place(concept: str, variant: Variant) -> str:
    """A cell as messages name it; of plain text the form goes without saying."""
    form = "" if variant.modality == "text" else f" ({variant.modality}, {variant.rendering})"
    return f"{concept} in {variant.language}{form}"


def _refuse_half(place: str, confirm: Counter[Label], fit: Counter[Label]) -> None:
    for label in (Label.POSITIVE, Label.HARD_NEGATIVE):
        if not confirm[label] or not fit[label]:
            raise PlanError(
                f"{place}: no {label} items on "
                f"{'confirm' if not confirm[label] else 'discover and calibrate'}",
                hint="a cell needs both, in groups enough for every split (about ten)",
            )
    if not confirm[Label.NEGATIVE]:
        raise PlanError(
            f"{place}: no benign items on confirm",
            hint="add items with label 'negative' and no concept in this language and form",
        )


def _refuse_blind_search(place: str, region: str, found: Counter[Label]) -> None:
    if not found[Label.POSITIVE] or not found[Label.HARD_NEGATIVE]:
        raise PlanError(
            f"{place}: {found[Label.POSITIVE]} positive and "
            f"{found[Label.HARD_NEGATIVE]} hard-negative items with region {region!r} on "
            "discover, and a feature is found from both",
            hint="add groups (about ten a concept), or give the probe's features in audit.yaml",
        )


def _refuse_few_latents(plan: Plan) -> None:
    """A rank among R latents has p of 1/(R + 1) at best; Holm's first step divides by the cells."""
    family_error = Fraction(str(plan.family_error))
    for concept, cells in Counter(cell.concept for cell in plan.cells).items():
        needed = math.ceil(cells / family_error) - 1
        if plan.random_latents < needed:
            raise PlanError(
                f"saes: {plan.random_latents} latents to compare a probe with at random, and the "
                f"{cells} cells of {concept} need {needed}; with fewer nothing could be shown",
                hint="take a wider SAE, or plan fewer cells",
            )


def _refuse_few_benign(plan: Plan, place: str, found: int) -> None:
    try:
        needed = benign_needed(plan.alpha)
    except StatisticsError as error:
        raise PlanError(f"alpha: {error}", hint=error.hint) from error
    if found < needed:
        raise PlanError(
            f"{place}: {found} benign items to calibrate on, "
            f"and alpha {plan.alpha:g} needs {needed}; the cut-off cannot be set",
            hint="add benign items of that form with that region, or declare a larger alpha",
        )
