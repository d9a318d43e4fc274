"""What every part of a report is built from, and how cells, languages and sentences are named."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import get_args

from compliance.catalog import Catalog
from compliance.records import observation
from compliance.records.audit import ImageShift, TextShift
from compliance.records.evidence import Evidence
from compliance.records.finding import Condition, Finding, Verdict
from compliance.records.plan import Cell, Plan
from compliance.records.report import (
    Fragment,
    LanguageView,
    Number,
    ResultRow,
    ResultTable,
    Sentence,
    StatusView,
    VerdictView,
)
from compliance.records.suite import Modality, Rendering
from compliance.reports.gallery import Gallery
from compliance.reports.locales import language_name, own_name
from compliance.reports.messages import Messages
from compliance.reports.numbers import Numbers, in_sentence, write_limit
from compliance.reports.observed import Observed

COLUMNS = 7
"""Languages side by side on a page; more of them continue in a further table."""

KINDS = tuple((m, r) for m in get_args(Modality) for r in get_args(Rendering))
"""Kinds of input, as a report orders them: texts, pictures of words, pictures of things."""

SHIFTS = {"text": get_args(TextShift), "image": get_args(ImageShift)}
"""Changes of items without and with a picture."""


@dataclass(frozen=True)
class Context:
    """Evidence, law and words of one report."""

    evidence: Evidence
    catalog: Catalog
    words: Messages
    observed: Observed | None = None
    """What a run saw of single items and tokens. None: the report says that it has none at hand."""

    @property
    def gallery(self) -> Gallery | None:
        """What a run saw of pictures."""
        return self.observed.gallery if self.observed else None

    @property
    def plan(self) -> Plan:
        return self.evidence.plan

    @cached_property
    def numbers(self) -> Numbers:
        return Numbers(self.evidence.results, self.words, level=self.plan.level)

    @cached_property
    def findings(self) -> dict[str, Finding]:
        return {finding.cell.key: finding for finding in self.evidence.findings}

    @cached_property
    def titles(self) -> dict[str, str]:
        return {probe.concept: probe.title for probe in self.plan.probes}

    def finding(self, cell: Cell) -> Finding:
        """The finding on a planned cell. Without one, the cell is not covered."""
        return self.findings.get(cell.key) or Finding(cell=cell, reason="no-run")

    def number(self, cell: Cell, name: str) -> Number:
        """A cell's result; where the reference language cannot have it, that is said."""
        result_id = f"{cell.key}/{name}"
        unknown = self.words.unknown
        if name in ("gap", "mde-gap") and self.is_reference(cell):
            return self.numbers.of(
                result_id, absent=unknown["reference"], short=unknown["short_reference"]
            )
        if self.finding(cell).verdict is Verdict.NOT_COVERED:
            label = in_sentence(self.words.verdicts[Verdict.NOT_COVERED].label)
            return self.numbers.of(result_id, absent=label, short=label)
        if not applies(name, cell):
            return self.numbers.of(
                result_id, absent=unknown["other_input"], short=unknown["short_other_input"]
            )
        if name.startswith("shift.") and not self.is_shifted(cell):
            return self.numbers.of(
                result_id, absent=unknown["not_shifted"], short=unknown["short_not_shifted"]
            )
        return self.numbers.of(result_id)

    def is_shifted(self, cell: Cell) -> bool:
        """Whether the lock says that items of this cell are changed."""
        return cell.language in self.evidence.lock.shifted_languages.get(cell.concept, ())

    def names(self, cell: Cell) -> list[str]:
        """Names of all results of a cell, in the order of the evidence."""
        return self._names.get(cell.key, [])

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """By cell key, which is an id's first four parts."""
        found: dict[str, list[str]] = {}
        for result_id in self.numbers.ids():
            *cell, name = result_id.split("/", 4)
            found.setdefault("/".join(cell), []).append(name)
        return found

    def is_reference(self, cell: Cell) -> bool:
        return cell.language == self.plan.claims.reference_language

    def has_words(self, cell: Cell) -> bool:
        """Whether a cell of pictures can be compared with the same concept and language in text."""
        others = (c for c in self.plan.cells if (c.modality, c.rendering) == ("text", "plain"))
        return cell.modality != "text" and any(
            (c.concept, c.language) == (cell.concept, cell.language) for c in others
        )

    def language(self, tag: str) -> LanguageView:
        """A language's names; an unknown one is called by its tag."""
        name = language_name(tag, self.words.language)
        return LanguageView(tag=tag, name=name, endonym=own_name(tag))

    def joined(self, parts: Iterable[str]) -> str:
        """Parts with commas of their own, after each other; Greek would take ";" for a question."""
        return self.words.units["joined"].join(parts)

    def language_names(self, tags: list[str]) -> str:
        return ", ".join(self.language(tag).name for tag in tags)

    def verdict(self, verdict: Verdict) -> VerdictView:
        words = self.words.verdicts[verdict]
        return VerdictView(
            value=verdict.value, label=words.label, glyph=words.glyph, meaning=words.meaning
        )

    def status(self, condition: Condition) -> StatusView:
        words = (self.words.gates if condition.kind == "gate" else self.words.statuses)[
            condition.status
        ]
        return StatusView(value=condition.status.value, label=words.label, glyph=words.glyph)

    def concept_title(self, concept: str) -> str:
        return self.titles.get(concept, concept)

    def row_title(self, cell: Cell) -> str:
        """The concept, and the kind of input where there are several."""
        concept = self.concept_title(cell.concept)
        return f"{concept} ({self.kind(cell)})" if self.has_pictures else concept

    def place(self, cell: Cell) -> str:
        """The language, and the kind of input where it is not plain text."""
        language = self.language(cell.language).name
        return language if cell.modality == "text" else f"{language} ({self.kind(cell)})"

    def kind(self, cell: Cell) -> str:
        """A cell's kind of input; an unknown one by its modality and rendering."""
        words = self.words.inputs.get(f"{cell.modality}/{cell.rendering}")
        return words.kind if words else f"{cell.modality}, {cell.rendering}"

    def claimed_input(self, cell: Cell) -> str:
        """What a claim about a cell is about, such as "Greek input"."""
        words = self.words.inputs.get(f"{cell.modality}/{cell.rendering}")
        template = words.claim if words else "{language} (" + self.kind(cell) + ")"
        return template.format(language=self.language(cell.language).name)

    def by_kind(self, cells: Iterable[Cell]) -> list[list[Cell]]:
        """Cells by kind of input, in the order of reports; within one in their own order."""
        found: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            found.setdefault((cell.modality, cell.rendering), []).append(cell)
        return [found[kind] for kind in KINDS if kind in found]

    def condition_words(self, key: str, limit: float | None, modality: str = "text") -> str:
        """What a condition asks for, with its limit; an unknown one is named by its key."""
        words = self.words.condition(key, modality)
        if words is None:
            return self.words.unknown["condition"].format(key=key)
        shown = "" if limit is None else write_limit(limit, words.kind)
        return words.words.format(limit=shown)

    def condition_limit(self, key: str, limit: float | None) -> str | None:
        words = self.words.conditions.get(key)
        return None if limit is None else write_limit(limit, words.kind if words else "plain")

    def cell_tables(self, name: str) -> tuple[ResultTable, ...]:
        """One kind of result over all planned cells, a page's width at a time."""
        return tuple(
            ResultTable(
                title=self.label(name, self.modalities),
                languages=tuple(self.language(tag) for tag in languages),
                rows=tuple(
                    ResultRow(
                        title=title,
                        numbers=tuple(
                            self.number(cells[tag], name) if tag in cells else None
                            for tag in languages
                        ),
                    )
                    for title, cells in self.rows
                ),
            )
            for languages in self.language_columns
        )

    def label(self, name: str, modalities: Sequence[str]) -> str:
        """What a result is called in cells of these modalities."""
        labels = dict.fromkeys(self.numbers.describe(name, m)[1] for m in modalities or ("text",))
        first, *others = labels
        return " ".join([first, *(self.words.ui["or_pictures"].format(label=o) for o in others)])

    @cached_property
    def language_columns(self) -> list[tuple[str, ...]]:
        """The plan's languages, cut into what fits on a page."""
        tags = self.plan.languages
        return [tags[start : start + COLUMNS] for start in range(0, len(tags), COLUMNS)]

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that are planned, in the order of reports."""
        planned = {cell.modality for cell in self.plan.cells}
        return tuple(modality for modality in get_args(Modality) if modality in planned)

    @property
    def has_pictures(self) -> bool:
        """Whether any cell is planned whose items have pictures."""
        return any(modality != "text" for modality in self.modalities)

    @cached_property
    def rows(self) -> list[tuple[str, dict[str, Cell]]]:
        """Planned cells by concept and kind of input, then by language."""
        concepts = dict.fromkeys(cell.concept for cell in self.plan.cells)
        rows = (
            cells
            for concept in concepts
            for cells in self.by_kind(c for c in self.plan.cells if c.concept == concept)
        )
        return [(self.row_title(cells[0]), {c.language: c for c in cells}) for cells in rows]


def applies(name: str, cell: Cell) -> bool:
    """Whether cells of this modality can have a result: pictures have no letter patterns."""
    head, _, rest = name.partition(".")
    if head == "gap-to-text":
        return cell.modality != "text"
    if head == "shift":
        other = SHIFTS["image" if cell.modality == "text" else "text"]
        return rest.rpartition(".")[0] not in other
    scorer = name.removeprefix("minus-") if name.startswith("minus-") else rest
    return observation.applies(scorer, cell.variant)


def cell_anchor(cell: Cell) -> str:
    """Where a cell's section starts."""
    return anchor("cell", cell.key)


def anchor(kind: str, key: str) -> str:
    """A fragment name for a key; ``/`` and ``.`` stay distinguishable."""
    return f"{kind}-" + re.sub(r"[^A-Za-z0-9-]", "_", key.replace("/", "--").replace(".", "-"))


def sentence(template: str, **values: Number | str) -> Sentence:
    """Fill a message's braces; numbers stay numbers."""
    fragments: list[Fragment] = []
    for text, field, _, _ in Formatter().parse(template):
        if text:
            fragments.append(Fragment(text=text))
        if field is not None:
            value = values[field]
            fragments.append(
                Fragment(number=value) if isinstance(value, Number) else Fragment(text=value)
            )
    return Sentence(fragments=tuple(fragments))
