"""The report as a value: everything a page shows, sorted, labelled and written out.

A template lays this out and decides nothing. Every number carries the id of the result it is, or
the reason why there is none. Text from outside is made harmless when a value is created: control
and bidirectional characters are shown by their code, and lengths are capped.
"""

import unicodedata
from typing import Annotated

from pydantic import BeforeValidator, Field

from compliance.records.base import SCHEMA_VERSION, Record

MAX_CHARACTERS = 6_000
"""Of one text in a report; longer ones are cut, since rendering time grows with the square."""

_CUT = "… [cut; the whole text is in evidence.json]"
_SHOWN_BY_CODE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn"}


def printable(text: str) -> str:
    """``text`` as a page can show it: nothing invisible, nothing that reorders, no end of memory.

    A right-to-left override becomes ``⟨U+202E⟩``, a lone surrogate the replacement character.
    Applying it twice changes nothing.
    """
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - len(_CUT)].removesuffix(_CUT) + _CUT
    shown = "".join(_shown(character) for character in text.replace("\r\n", "\n"))
    return shown if len(shown) <= MAX_CHARACTERS else printable(shown)


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\u00a0\u202f":
        return character
    category = unicodedata.category(character)
    if character == "\t":
        return " "
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return f"⟨U+{ord(character):04X}⟩" if category in _SHOWN_BY_CODE else character


def _safe(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_safe)]


class Number(Record):
    """A result as it is printed. Exactly one of ``text`` and ``reason`` is there."""

    result_id: Text
    name: Text
    """Last part of the id, such as ``sensitivity``."""

    label: Text
    text: Text | None = None
    interval: Text | None = None
    """Low to high, in the unit of ``text``; absent for counts and settings."""

    n: Text | None = None
    p: Text | None = None
    method: Text | None = None
    reason: Text | None = None
    """What stands where the number would, such as why it could not be computed."""

    short: Text | None = None
    """The same in a word or two, for narrow tables."""


class Fragment(Record):
    """A piece of a sentence: words, or a number."""

    text: Text | None = None
    number: Number | None = None


class Sentence(Record):
    """A sentence whose numbers keep their addresses."""

    fragments: tuple[Fragment, ...]


class Fact(Record):
    """A label and what it says. ``code`` is set where it is typed rather than read."""

    label: Text
    value: Text
    code: bool = False
    missing: bool = False


class VerdictView(Record):
    """A verdict as a sign and a word; colour never stands alone."""

    value: Text
    label: Text
    glyph: Text
    meaning: Text


class StatusView(Record):
    """What became of a condition, as a sign and a word."""

    value: Text
    label: Text
    glyph: Text


class LanguageView(Record):
    """A language by its tag, its English name and its own name."""

    tag: Text
    name: Text
    endonym: Text


class Heading(Record):
    """A chapter or section, as contents and bookmarks list it."""

    key: Text
    anchor: Text
    number: Text
    title: Text
    children: tuple["Heading", ...] = ()


class MatrixCell(Record):
    """One verdict in the matrix. Absent cells were not planned."""

    anchor: Text
    verdict: VerdictView
    qualified: bool


class MatrixRow(Record):
    """Verdicts on one concept in one kind of input, in the order of the matrix's languages."""

    title: Text
    anchor: Text
    cells: tuple[MatrixCell | None, ...]


class Matrix(Record):
    """Verdicts over concepts and languages, as wide as a page can show."""

    caption: Text
    languages: tuple[LanguageView, ...]
    rows: tuple[MatrixRow, ...]


class VerdictCount(Record):
    """How many planned cells have a verdict; zero is printed too."""

    verdict: VerdictView
    count: int


class ResultTable(Record):
    """One kind of result over concepts and languages."""

    title: Text
    languages: tuple[LanguageView, ...]
    rows: tuple["ResultRow", ...]


class ResultRow(Record):
    """One line of a `ResultTable`; None where no cell was planned."""

    title: Text
    numbers: tuple[Number | None, ...]


class Declaration(Record):
    """One declared fact. Neither ``text`` nor ``not_applicable``: it is missing."""

    key: Text
    prompt: Text
    text: Text | None = None
    not_applicable: Text | None = None


class GapView(Record):
    """A missing declaration, as the summary lists it."""

    anchor: Text
    citation: Text
    prompt: Text
    key: Text


class CellNote(Record):
    """A cell and why it has its verdict, as a section on the law repeats it."""

    anchor: Text
    title: Text
    verdict: VerdictView
    why: Text


class ProvisionSection(Record):
    """All this pack holds on one point of the law."""

    anchor: Text
    citation: Text
    title: Text
    container: bool
    law_text: Text | None
    summary: Text
    source: Text | None
    """Where the wording was read. Absent: at the report's ``law_source``."""

    dates: Text
    amendments: Text | None
    where_appropriate: bool
    status: Text
    """``measured``, ``declared``, ``not-applicable``, ``not-covered``; empty for a container."""

    status_label: Text
    declarations: tuple[Declaration, ...]
    declarations_given: int
    tables: tuple[ResultTable, ...]
    measurable: bool
    """Whether the mapping names results or findings at all."""

    lists_findings: bool
    findings: tuple[CellNote, ...]
    chapters: tuple[Heading, ...]
    supplies: Text
    cannot_show: tuple[Text, ...]
    related: tuple[Text, ...]


class NumberGroup(Record):
    """Rows of a cell's table that belong together."""

    numbers: tuple[Number, ...]


class Entry(Record):
    """What one place of a table holds. Nothing at all: the place does not apply."""

    number: Number | None = None
    verdict: VerdictView | None = None
    text: Text | None = None
    method: Text | None = None
    """Key of the methods chapter."""


class TableRow(Record):
    """One line of a table; ``name`` is the last part of its results' ids."""

    title: Text
    name: Text | None = None
    anchor: Text | None = None
    entries: tuple[Entry, ...]


class RowGroup(Record):
    """Lines that belong together, under a heading of their own where there are several groups."""

    heading: Text | None = None
    rows: tuple[TableRow, ...]


class Table(Record):
    """Rows of one width: a title, then an entry for each column."""

    caption: Text
    corner: Text
    """Heading of the titles' column."""

    columns: tuple[Text, ...]
    groups: tuple[RowGroup, ...]
    absent: Text
    """What stands here if there is no row at all."""


class ConditionRow(Record):
    """One rule of the plan and what became of it here."""

    words: Text
    kind: Text
    limit: Text | None
    status: StatusView
    number: Number | None
    p: Text | None


class LimitRow(Record):
    """One rule of the plan, before anything was measured."""

    words: Text
    kind: Text
    limit: Text | None


class CellView(Record):
    """Everything about one cell."""

    key: Text
    anchor: Text
    sentence_id: Text
    title: Text
    language: LanguageView
    verdict: VerdictView
    claim: Text
    measured: tuple[Sentence, ...]
    why: Text
    notes: tuple[Text, ...]
    qualifiers: tuple[Text, ...]
    conditions: tuple[ConditionRow, ...]
    controls: Table | None
    comparison: tuple[Sentence, ...]
    """What the table of controls comes to, in words."""

    groups: tuple[NumberGroup, ...]


class PlotRow(Record):
    """One language in a plot; coordinates are ready to draw."""

    label: Text
    glyph: Text
    text: Text
    y: float
    text_y: float
    x: float | None = None
    low: float | None = None
    high: float | None = None


class PlotTick(Record):
    """A mark on the horizontal axis."""

    x: float
    label: Text


class ForestPlot(Record):
    """Sensitivity by language with intervals and the limit."""

    anchor: Text
    title: Text
    description: Text
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    limit_x: float
    limit_label: Text
    ticks: tuple[PlotTick, ...]
    rows: tuple[PlotRow, ...]


class Section(Record):
    """A titled part of a chapter: words, tables, and what the words of the tables mean."""

    anchor: Text
    title: Text
    intro: tuple[Sentence, ...] = ()
    tables: tuple[Table, ...] = ()
    terms: tuple[Fact, ...] = ()
    note: Text | None = None


class HeatLayer(Record):
    """All tokens of a picture on which the probe was about equally active, as one path."""

    opacity: float
    path: str
    """SVG path of their squares, in pixels of the picture."""


class Box(Record):
    """A rectangle in a picture, in its pixels."""

    x: float
    y: float
    width: float
    height: float


class PictureView(Record):
    """A test item's picture with what the probe made of it."""

    item: Text
    language: Text
    """Of ``description``, BCP 47."""

    description: Text
    """The text alternative, or why the picture is not shown."""

    caption: Text
    """The same, cut to what fits below a picture."""

    label: Text
    outcome: Text
    """Its score, the cut-off, and whether that is an alarm."""

    heat: Text
    """Where the probe is most active, in words."""

    data: str | None = None
    """The file as a data URI; absent where the picture is not shown."""

    width: int
    height: int
    layers: tuple[HeatLayer, ...] = ()
    peak: Box | None = None
    """The token with the largest activation."""

    stroke: float
    """Width of the line around it."""


class PictureRow(Record):
    """Pictures chosen by one rule."""

    title: Text
    rule: Text
    pictures: tuple[PictureView, ...]
    absent: Text
    """What stands here if no item fits the rule."""


class PictureCell(Record):
    """The pictures of one cell."""

    title: Text
    anchor: Text
    """Of the cell."""

    narrow: bool
    """Whether rows are so short that two of them fit side by side."""

    rows: tuple[PictureRow, ...]


class PictureGallery(Record):
    """The pictures of one concept."""

    anchor: Text
    title: Text
    intro: tuple[Text, ...]
    cells: tuple[PictureCell, ...]
    absent: Text
    """What stands here if there are none."""


class ConceptChapter(Record):
    """One concept: its probe, and its cells by kind of input, then in the plan's order."""

    anchor: Text
    number: Text
    title: Text
    definition: Text
    probe: Text
    claim: Text
    search: tuple[Text, ...]
    """How the probe was found, and what pure noise would have reached."""

    plots: tuple[ForestPlot, ...]
    """One for each kind of input."""

    overviews: tuple[Table, ...]
    """Texts and pictures apart."""

    cells: tuple[CellView, ...]
    gallery: PictureGallery | None
    """Absent where no cell has pictures."""

    sections: tuple[Section, ...]


class SuiteView(Record):
    """The datasheet of one test set."""

    title: Text
    description: Text
    facts: tuple[Fact, ...]
    sources: tuple[Text, ...]
    reviewers: tuple[Text, ...]
    known_gaps: tuple[Text, ...]


class MethodView(Record):
    """A method in plain words, with where it comes from."""

    key: Text
    anchor: Text
    title: Text
    plain: Text
    why: Text | None
    """Why this method, for this question."""

    misses: Text | None
    """What it does not see."""

    source: Text | None


class TraceRow(Record):
    """From one sentence to the items behind it."""

    sentence_id: Text
    anchor: Text
    finding: Text
    verdict: VerdictView
    results: tuple[Text, ...]
    files: tuple[Text, ...]
    items: Text


class SubjectBlock(Record):
    """A titled group of facts."""

    title: Text
    facts: tuple[Fact, ...]


class Report(Record):
    """Everything a report shows, in reading order."""

    schema_version: Annotated[Text, Field(pattern=r"^1\.0$")] = SCHEMA_VERSION
    language: Text
    """Of the report's own words, BCP 47."""

    pack_id: Text
    version: Text
    built_on: Text
    """In words, with the time in UTC."""

    built_at: Text
    """The same moment in ISO 8601."""

    title: Text
    identity: tuple[Fact, ...]
    lead: tuple[Text, ...]
    error: Sentence
    """The error of all verdicts together, and where the method's own errors stand."""

    notices: tuple[Text, ...]
    matrices: tuple[Matrix, ...]
    counts: tuple[VerdictCount, ...]
    any_qualified: bool
    gaps: tuple[GapView, ...]
    contents: tuple[Heading, ...]
    level: Text
    """Confidence of intervals, such as ``95 %``."""

    family_error: Text
    """Error allowed over the cells of a concept, such as ``5 %``."""

    law_title: Text
    law_authorship: Text
    law_compiled: Text
    law_caution: Text
    law_source: Text
    """Where the wording of most points was read."""

    provisions: tuple[ProvisionSection, ...]
    concepts: tuple[ConceptChapter, ...]
    subject: tuple[SubjectBlock, ...]
    plan: tuple[Fact, ...]
    limits: tuple[LimitRow, ...]
    probes: tuple[Section, ...]
    fidelity: tuple[Section, ...]
    environment: tuple[Fact, ...]
    suites: tuple[SuiteView, ...]
    item_counts: tuple[ResultTable, ...]
    methods: tuple[MethodView, ...]
    known_answers: Section
    null_plot: ForestPlot | None
    trace: tuple[TraceRow, ...]
    files: tuple[Fact, ...]
    remainder: tuple[Number, ...]
    """Results that stand nowhere else."""

    example_id: Text

    @property
    def has_pictures(self) -> bool:
        """Whether any picture of a test item is shown."""
        galleries = [concept.gallery for concept in self.concepts if concept.gallery]
        rows = [row for gallery in galleries for cell in gallery.cells for row in cell.rows]
        return any(picture.data for row in rows for picture in row.pictures)

    def heading(self, key: str) -> Heading:
        """The chapter with a key of the message catalog."""
        return next(heading for heading in self.contents if heading.key == key)
