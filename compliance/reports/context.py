"""What every part of a report is built from, and how cells, languages and sentences are named."""

import re
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from compliance.catalog import Catalog
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
from compliance.reports.messages import Messages
from compliance.reports.numbers import Numbers, write_limit

COLUMNS = 7
"""Languages side by side on a page; more of them continue in a further table."""


@dataclass(frozen=True)
class Context:
    """Evidence, law and words of one report."""

    evidence: Evidence
    catalog: Catalog
    words: Messages

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
            label = self.words.verdicts[Verdict.NOT_COVERED].label.lower()
            return self.numbers.of(result_id, absent=label, short=label)
        if name.startswith("shift.") and not self.is_shifted(cell):
            return self.numbers.of(
                result_id, absent=unknown["not_shifted"], short=unknown["short_not_shifted"]
            )
        return self.numbers.of(result_id)

    def is_shifted(self, cell: Cell) -> bool:
        """Whether the lock says that texts of this cell are changed."""
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

    def language(self, tag: str) -> LanguageView:
        """A language's names; an unknown one is called by its tag."""
        words = self.words.languages.get(tag)
        name, endonym = (words.name, words.endonym) if words else (tag, tag)
        return LanguageView(tag=tag, name=name, endonym=endonym)

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
        """The concept, and the kind of input where it is not plain text."""
        return self.concept_title(cell.concept) + self._input_kind(cell)

    def place(self, cell: Cell) -> str:
        """The language, and the kind of input where it is not plain text."""
        return self.language(cell.language).name + self._input_kind(cell)

    def _input_kind(self, cell: Cell) -> str:
        if (cell.modality, cell.rendering) == ("text", "plain"):
            return ""
        modality = self.words.modalities.get(cell.modality, cell.modality)
        rendering = self.words.renderings.get(cell.rendering, cell.rendering)
        return f" ({modality}, {rendering})"

    def condition_words(self, key: str, limit: float | None) -> str:
        """What a condition asks for, with its limit; an unknown one is named by its key."""
        words = self.words.conditions.get(key)
        if words is None:
            return self.words.unknown["condition"].format(key=key)
        shown = "" if limit is None else write_limit(limit, words.kind)
        return words.words.format(limit=shown)

    def condition_limit(self, key: str, limit: float | None) -> str | None:
        words = self.words.conditions.get(key)
        return None if limit is None else write_limit(limit, words.kind if words else "plain")

    def cell_tables(self, name: str) -> tuple[ResultTable, ...]:
        """One kind of result over all planned cells, a page's width at a time."""
        _, label = self.numbers.describe(name)
        return tuple(
            ResultTable(
                title=label,
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

    @cached_property
    def language_columns(self) -> list[tuple[str, ...]]:
        """The plan's languages, cut into what fits on a page."""
        tags = self.plan.languages
        return [tags[start : start + COLUMNS] for start in range(0, len(tags), COLUMNS)]

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Kinds of input that are planned."""
        return tuple(dict.fromkeys(cell.modality for cell in self.plan.cells))

    @cached_property
    def rows(self) -> list[tuple[str, dict[str, Cell]]]:
        """Planned cells by concept and kind of input, in the plan's order, then by language."""
        found: dict[tuple[str, str, str], dict[str, Cell]] = {}
        for cell in self.plan.cells:
            key = (cell.concept, cell.modality, cell.rendering)
            found.setdefault(key, {})[cell.language] = cell
        return [(self.row_title(next(iter(cells.values()))), cells) for cells in found.values()]


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
