"""Puts a suite's report together and holds its numbers against the limits.

Wording is looked at in texts alone. Of pictures their number is told, which cells they make, and
what is wrong with their files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from compliance.progress import SILENT, Progress
from compliance.quality import likeness, pictures, shortcuts, sizes, translations
from compliance.quality.shortcuts import Measure
from compliance.records.suite import Item, Label, Variant
from compliance.records.suite_report import (
    Area,
    BenignReport,
    CellReport,
    CellSize,
    Limits,
    Origins,
    Power,
    Rule,
    SuiteOverview,
    SuiteReport,
)
from compliance.suites.load import Suite
from compliance.suites.wording import region_text, whole_text, words

LEAST_GROUPS = 20
"""Below these, no AUROC is taken: chance alone would pass any limit, or fail it."""

EXAMPLES = 10
"""Places of what goes beyond a limit that are named; all are counted."""

NOT_MEASURED = (
    "Whether a label is right and whether a translation means the same: that takes readers.",
    "Names in translations: how another language writes them is not fixed.",
    "Languages of code items: keywords are English whatever the language of the comments.",
)

NOT_SEEN = "What pictures show, and words beside or in them: only texts are looked at."

Quartiles = tuple[float, float, float]
Powers = Mapping[tuple[str, Variant], Power]


def check(
    suite: Suite,
    *,
    limits: Limits | None = None,
    tokenizers: Sequence[str] = (),
    progress: Progress = SILENT,
) -> SuiteReport:
    """Measure what can be measured of a suite without a model.

    Args:
        suite: Loaded, so that shapes, ids and groups agree.
        limits: What it is held against; None: the defaults.
        tokenizers: ``tokenizer.json`` files, or folders with one, to count tokens with besides
            bytes and characters.
        progress: Is told of every concept and language.

    Raises:
        SuiteError: A tokenizer cannot be read, or a package that is needed is not installed.
    """
    limits = limits or Limits()
    measures = shortcuts.measures(tokenizers)
    powers = sizes.cell_powers(suite)
    texts = replace(suite, items=tuple(i for i in suite.items if i.modality == "text"))
    cells = tuple(_cells(texts, powers, measures, limits, progress))
    progress.stage("comparing groups, languages and translations")
    rules = (
        *(rule for cell in cells for rule in _cell_rules(cell, limits)),
        *_likeness_rules(texts, limits),
        *_language_rules(texts, limits),
        *_parallel_rules(texts, limits),
    )
    shown = pictures.report(suite)
    return SuiteReport(
        **_sheet(suite), digest=suite.digest, limits=limits, cells=cells,
        picture_cells=_sizes(suite, powers, of_text=False), pictures=shown,
        benign=tuple(_benign(suite)), origins=tuple(_origins(suite)), rules=rules,
        not_measured=(*NOT_MEASURED, NOT_SEEN) if shown else NOT_MEASURED, weakest=weakest(cells),
    )  # fmt: skip


def overview(suite: Suite) -> SuiteOverview:
    """A suite's sizes and what they can show; nothing is fitted."""
    powers = sizes.cell_powers(suite)
    return SuiteOverview(
        **_sheet(suite),
        cells=_sizes(suite, powers, of_text=True),
        picture_cells=_sizes(suite, powers, of_text=False),
        benign=tuple(_benign(suite)),
    )


def _sizes(suite: Suite, powers: Powers, *, of_text: bool) -> tuple[CellSize, ...]:
    by_place: dict[tuple[str | None, Variant], list[Item]] = defaultdict(list)
    for item in suite.items:
        by_place[item.concept, item.variant].append(item)
    return tuple(
        CellSize(**_size(by_place[place], *place, power))
        for place, power in powers.items()
        if (place[1].modality == "text") == of_text
    )


def weakest(cells: Sequence[CellReport]) -> str:
    """Where the strongest shortcut is, of n-grams and lengths, in a sentence."""
    found = [
        (abs(area.value - 0.5) if kind.startswith("length") else area.value - 0.5, kind, cell, area)
        for cell in cells
        for kind, area in _shortcut_areas(cell)
    ]
    if not found:
        return f"No concept has {LEAST_GROUPS} groups of both labels, which an AUROC takes."
    _, kind, cell, area = max(found, key=lambda one: one[0])
    return (
        f"The strongest shortcut is {kind} in {cell.concept}, {cell.language}: "
        f"AUROC {area.value:.2f} ({area.low:.2f} to {area.high:.2f})."
    )


def _shortcut_areas(cell: CellReport) -> Iterator[tuple[str, Area]]:
    if cell.ngrams:
        yield "n-grams of the words that are read", cell.ngrams
    if cell.ngrams_whole:
        yield "n-grams of the whole item", cell.ngrams_whole
    for unit, area in cell.length.items():
        yield f"length in {unit}", area


def _cells(
    suite: Suite,
    powers: Powers,
    measures: Mapping[str, Measure],
    limits: Limits,
    progress: Progress,
) -> Iterator[CellReport]:
    for (concept, variant), power in powers.items():
        language = variant.language
        if variant.modality != "text":
            continue
        progress.stage(f"{concept}, {language}")
        mine = _items_of(suite, concept, language)
        positive, hard = (
            [i for i in mine if i.label is label] for label in (Label.POSITIVE, Label.HARD_NEGATIVE)
        )
        region = suite.datasheet.concepts[concept].region
        read = {i.id: region_text(i, region) for i in mine}
        whole = {i.id: whole_text(i) for i in mine}
        ratios = list(_length_ratios(positive, hard, whole))
        enough = min(len({i.group for i in side}) for side in (positive, hard)) >= LEAST_GROUPS
        yield CellReport(
            **_size(mine, concept, variant, power),
            words=_quartiles(len(words(text)) for text in whole.values()) if mine else None,
            pair_length=_quartiles(ratios) if ratios else None,
            unequal_pairs=_share(ratios, lambda r: max(r, 1 / r) > 1 + limits.pair_length),
            length={
                unit: shortcuts.length_area(read, positive, hard, measure)
                for unit, measure in measures.items()
            } if enough else {},
            ngrams=shortcuts.ngram_area(read, positive, hard) if enough else None,
            ngrams_whole=shortcuts.ngram_area(whole, positive, hard)
            if enough and read != whole else None,
        )  # fmt: skip


def _sheet(suite: Suite) -> dict[str, Any]:
    facts, sheet = suite.facts, suite.datasheet
    return {
        "name": facts.name, "version": facts.version, "title": sheet.title,
        "licence": sheet.licence, "items": facts.items, "groups": facts.groups,
    }  # fmt: skip


def _size(
    items: Sequence[Item], concept: str | None, variant: Variant, power: Power
) -> dict[str, Any]:
    labels = Counter(i.label for i in items)
    return {
        "concept": concept, **variant._asdict(), "groups": len({i.group for i in items}),
        "positives": labels[Label.POSITIVE], "hard_negatives": labels[Label.HARD_NEGATIVE],
        "strata": _groups_by(items, lambda i: i.stratum or "none"),
        "formats": dict(Counter(i.format for i in items)), "power": power,
    }  # fmt: skip


def _length_ratios(
    positive: Sequence[Item], hard: Sequence[Item], texts: Mapping[str, str]
) -> Iterator[float]:
    """Characters of each positive over those of its hard negative."""
    of_group = {i.group: i for i in hard}
    for item in positive:
        twin = of_group.get(item.group)
        if twin is not None:
            yield len(texts[item.id]) / len(texts[twin.id])


def _cell_rules(cell: CellReport, limits: Limits) -> Iterator[Rule]:
    where = f"{cell.concept}, {cell.language}"
    for unit, area in cell.length.items():
        yield _at_most(
            f"length ({unit})", where, abs(area.value - 0.5), limits.length_auroc, cell.groups
        )
    if cell.unequal_pairs is not None:
        yield _at_most(
            "pairs of unequal length", where, cell.unequal_pairs, limits.unequal_pairs, cell.groups
        )
    for name, found in (("n-grams", cell.ngrams), ("n-grams, whole item", cell.ngrams_whole)):
        if found:
            yield _at_most(name, where, found.value, limits.ngram_auroc, cell.groups)


def _likeness_rules(suite: Suite, limits: Limits) -> Iterator[Rule]:
    """Templates within a concept, near-copies over all groups of a language."""
    for language in suite.datasheet.languages:
        for concept in (*suite.datasheet.concepts, None):
            texts = _one_text_a_group(_items_of(suite, concept, language))
            if texts:
                found = likeness.alike_skeletons(texts, least=limits.skeleton_likeness)
                yield _none("templates", f"{concept or 'benign'}, {language}", found, len(texts))
        texts = _one_text_a_group(i for i in suite.items if i.language == language)
        found = likeness.alike_wording(texts, least=limits.wording_likeness)
        yield _none("near-copies", language, found, len(texts))


def _none(name: str, where: str, found: Sequence[likeness.Likeness], n: int) -> Rule:
    named = tuple(f"{pair.one} and {pair.other}: {pair.share:.2f}" for pair in found[:EXAMPLES])
    return _at_most(name, where, len(found), 0, n, named)


def _language_rules(suite: Suite, limits: Limits) -> Iterator[Rule]:
    """Each item's letters and looks against its language tag."""
    for language in suite.datasheet.languages:
        mine = [i for i in suite.items if i.language == language]
        if not mine:
            continue
        problems = [
            f"{i.id}: {said}"
            for i in mine
            if (said := translations.script_problem(i, limits.script))
        ]
        yield _at_most("script", language, len(problems), 0, len(mine), problems)
        found = [
            f"{item.id}: looks like {other}"
            for item, other in translations.looks_like(mine, suite.datasheet.languages)
        ]
        share = len(found) / len(mine)
        yield _at_most("language", language, share, limits.language, len(mine), found)


@dataclass(frozen=True)
class _Twin:
    """An item and what it was translated from."""

    original: Item
    item: Item


def _parallel_rules(suite: Suite, limits: Limits) -> Iterator[Rule]:
    """Every group in every language, and what a translation must carry over."""
    first, *others = suite.datasheet.languages
    places = {(i.group, i.label, i.language): i for i in suite.items}
    originals = [i for i in suite.items if i.language == first]
    for language in others:
        twins = [
            _Twin(original, item)
            for original in originals
            if (item := places.get((original.group, original.label, language))) is not None
        ]
        here = {(i.group, i.label) for i in originals}
        there = {(i.group, i.label) for i in suite.items if i.language == language}
        lacking = [f"{group}, {label}" for group, label in sorted(here ^ there)]
        yield _at_most("parallel", language, len(lacking), 0, len(here | there), lacking)
        yield from _twin_rules(language, twins, limits)


def _twin_rules(language: str, twins: Sequence[_Twin], limits: Limits) -> Iterator[Rule]:
    for name, problem, limit in (
        ("numbers", translations.number_problem, limits.numbers),
        ("placeholders", translations.placeholder_problem, 0.0),
    ):
        found = [
            f"{twin.item.id}: {said}"
            for twin in twins
            if (said := problem(twin.original, twin.item))
        ]
        yield _at_most(name, language, _part(found, twins), limit, len(twins), found)
    for name, field in (("format", "format"), ("stratum", "stratum")):
        found = [t.item.id for t in twins if getattr(t.original, field) != getattr(t.item, field)]
        yield _at_most(name, language, len(found), 0, len(twins), found)
    found = [t.item.id for t in twins if (t.original.choices is None) != (t.item.choices is None)]
    yield _at_most("choices", language, len(found), 0, len(twins), found)
    found = [t.item.id for t in twins if _roles(t.original) != _roles(t.item)]
    yield _at_most("turns", language, len(found), 0, len(twins), found)


def _roles(item: Item) -> list[str]:
    return [message.role for message in item.messages or ()]


def _benign(suite: Suite) -> Iterator[BenignReport]:
    for language in suite.datasheet.languages:
        every = _items_of(suite, None, language)
        benign = [i for i in every if i.label is Label.NEGATIVE]
        mine = [i for i in benign if i.modality == "text"]
        if benign:
            yield BenignReport(
                language=language, items=len(mine), pictures=len(benign) - len(mine),
                neutral=len(every) - len(benign), formats=dict(Counter(i.format for i in mine)),
                words=_quartiles(len(words(whole_text(i))) for i in mine) if mine else None,
            )  # fmt: skip


def _origins(suite: Suite) -> Iterator[Origins]:
    for language in suite.datasheet.languages:
        mine = [i for i in suite.items if i.language == language]
        yield Origins(
            language=language, items=len(mine), origins=dict(Counter(i.origin for i in mine)),
            reviewed=sum(i.reviewed is not None for i in mine),
        )  # fmt: skip


def _items_of(suite: Suite, concept: str | None, language: str) -> list[Item]:
    return [i for i in suite.items if (i.concept, i.language) == (concept, language)]


def _one_text_a_group(items: Iterable[Item]) -> dict[str, str]:
    """The positive's words, or those of whatever item a group has."""
    ordered = sorted(items, key=lambda i: (i.group, i.label is not Label.POSITIVE, i.id))
    return {
        group: whole_text(next(found)) for group, found in groupby(ordered, key=lambda i: i.group)
    }


def _groups_by(items: Iterable[Item], kind: Callable[[Item], str]) -> dict[str, int]:
    kinds = {item.group: kind(item) for item in items}
    return dict(sorted(Counter(kinds.values()).items()))


def _quartiles(values: Iterable[float]) -> Quartiles:
    low, middle, high = np.percentile(list(values), [25, 50, 75])
    return float(low), float(middle), float(high)


def _share(values: Sequence[float], holds: Callable[[float], bool]) -> float | None:
    return sum(map(holds, values)) / len(values) if values else None


def _part(found: Sequence[object], of: Sequence[object]) -> float:
    return len(found) / len(of) if of else 0.0


def _at_most(
    name: str, where: str, found: float, limit: float, n: int, examples: Sequence[str] = ()
) -> Rule:
    return Rule(name=name, where=where, found=found, limit=limit, passed=found <= limit, n=n,
                examples=tuple(examples[:EXAMPLES]))  # fmt: skip
