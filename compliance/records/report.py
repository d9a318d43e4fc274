"""The report as a value: everything a page shows, sorted, labelled and written out.

A template lays this out and decides nothing. Every number carries the id of the result it is, or
the reason why there is none; see `compliance.records.page`.
"""

from typing import Annotated, Literal

from pydantic import Field

from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.chart import Chart
from compliance.records.feature_card import FeatureCard
from compliance.records.page import (  # noqa: F401 -- whoever builds a report finds all parts here
    MAX_CHARACTERS,
    Entry,
    Fact,
    Fragment,
    LanguageView,
    Number,
    RowGroup,
    Sentence,
    StatusView,
    Table,
    TableRow,
    Text,
    VerdictView,
    printable,
)


class Passage(Record):
    """Words in a language of their own."""

    language: Text
    text: Text


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
    note: Text | None = None
    """Which rows are left out, because they hold no number, and why they do not."""


class ResultRow(Record):
    """One line of a `ResultTable`; None where no cell was planned."""

    title: Text
    numbers: tuple[Number | None, ...]


class Declaration(Record):
    """One declared fact. None of ``text``, ``not_applicable`` and ``withheld``: it is missing."""

    key: Text
    prompt: Text
    text: Text | None = None
    not_applicable: Text | None = None
    withheld: Text | None = None
    """Its salted digest, in a copy of a pack that does not show it."""


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


class RelatedProvision(Record):
    """Another provision, and where this report says more about it, if anywhere."""

    citation: Text
    anchor: Text | None


class ProvisionSection(Record):
    """All this pack holds on one point of the law."""

    anchor: Text
    citation: Text
    title: Text
    container: bool
    law_text: Text | None
    law_language: Text = "en"
    law_note: Text | None = None
    """Why the wording is in another language than the report."""

    summary: Text
    source: Text | None
    """Where the wording was read. Absent: at the report's ``law_source``."""

    dates: Text
    amendments: Text | None
    where_appropriate: bool
    status: Text
    """``measured``, ``declared``, ``withheld``, ``not-applicable``, ``not-covered``; empty for a
    container."""

    status_label: Text
    declarations: tuple[Declaration, ...]
    declarations_given: int
    tables: tuple[ResultTable, ...]
    repeated: tuple[RelatedProvision, ...]
    """Tables that bear on this point too, and where they are printed."""

    measurable: bool
    """Whether the mapping names results or findings at all."""

    lists_findings: bool
    findings: tuple[CellNote, ...]
    chapters: tuple[Heading, ...]
    supplies: Text
    cannot_show: tuple[Text, ...]
    related: tuple[RelatedProvision, ...]


class LimitRow(Record):
    """One rule of the plan, before anything was measured."""

    words: Text
    kind: Text
    limit: Text | None


class CellView(Record):
    """What is said of one cell; its numbers stand beside those of other languages."""

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
    comparison: tuple[Sentence, ...]
    """What the table of controls comes to, in words."""


class KindView(Record):
    """The cells of one concept in one kind of input."""

    anchor: Text
    title: Text
    cells: tuple[CellView, ...]
    tables: tuple[Table, ...]
    """Conditions, controls and numbers, languages side by side."""

    missing: tuple[Fact, ...]
    """Why numbers of the tables are missing: the reason, and which numbers in which languages."""


class Section(Record):
    """A titled part of a chapter: words, tables, and what the words of the tables mean."""

    anchor: Text
    title: Text
    intro: tuple[Sentence, ...] = ()
    charts: tuple[Chart, ...] = ()
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

    plots: tuple[Chart, ...]
    """One for each kind of input."""

    overviews: tuple[Table, ...]
    """Texts and pictures apart."""

    calibrations: tuple[Chart, ...]
    """Whether cut-offs hold on other benign items, for each kind of input."""

    kinds: tuple[KindView, ...]
    gallery: PictureGallery | None
    """Absent where no cell has pictures."""

    sections: tuple[Section, ...]


class AlsoRow(Record):
    """What the evidence supplies to one further provision."""

    anchor: Text
    citation: Text
    about: Text
    supplies: Text
    chapters: tuple[Heading, ...]
    cannot_show: tuple[Text, ...]


class AlsoGroup(Record):
    """Further provisions that apply from the same dates."""

    dates: Text
    rows: tuple[AlsoRow, ...]


class AlsoSection(Record):
    """Where the evidence also serves: provisions beside those of the law's chapter."""

    anchor: Text
    groups: tuple[AlsoGroup, ...]


class GlanceRow(Record):
    """One point of the law in a line: its status, and what stands behind it."""

    anchor: Text
    citation: Text
    title: Text
    status: Text
    """As in `ProvisionSection`; containers have no row."""

    status_label: Text
    behind: Text
    """Counts of results and declared facts; empty where none are asked for."""

    chapters: tuple[Heading, ...]


class TrailStep(Record):
    """A step that has to come after the ones above it."""

    label: Text
    entry: Text | None
    """Number of its entry; absent where the trail has none."""

    at: Text | None


class TrailRow(Record):
    """One entry of the audit trail."""

    number: Text
    at: Text
    """UTC."""

    what: Text
    actor: Text
    about: Text | None
    """Digest of what it names, such as the plan; shortened."""

    digest: Text
    """Of the entry, shortened."""


class TrailSection(Record):
    """The chapter on the audit trail."""

    steps: tuple[TrailStep, ...]
    """In the order they have to have; empty where the trail was not at hand."""

    order: Text
    """What the order of the steps comes to."""

    openings: Text
    runs: Text
    """How many runs there were in this folder, and what became of the others."""

    deviations: tuple[Text, ...]
    """Each one that was stated, of this run or of none; see `TrailSection.none_stated`."""

    none_stated: Text
    """Where there is no deviation, that there is none."""

    rows: tuple[TrailRow, ...]
    notes: tuple[Text, ...]
    """What the trail does not prove, and where it ends."""


class ChangesSection(Record):
    """The chapter on what changed since the pack before."""

    intro: tuple[Text, ...]
    earlier: tuple[Fact, ...]
    """Which pack this one is compared with; empty for a first version."""

    parts: tuple[Section, ...]


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
    items: Text


class TraceGroup(Record):
    """Sentences that rest on results of the same names."""

    results: tuple[Text, ...]
    rows: tuple[TraceRow, ...]


class SubjectBlock(Record):
    """A titled group of facts."""

    title: Text
    facts: tuple[Fact, ...]


Level = Literal["brief", "standard", "full"]
"""How much of it is printed: two pages, about twenty, or all."""


class Report(Record):
    """Everything a report shows, in reading order."""

    schema_version: Annotated[Text, Field(pattern=r"^1\.0$")] = SCHEMA_VERSION
    language: Text
    """Of the report's own words, BCP 47."""

    level: Level = "full"
    level_note: Text | None = None
    """Where the rest is; absent in the full report."""

    chapters: tuple[Text, ...]
    """Keys of the chapters that this level of detail has."""

    pack_id: Text
    version: Text
    built_on: Text
    """In words, with the time in UTC."""

    built_at: Text
    """The same moment in ISO 8601."""

    title: Text
    translated: tuple[Passage, ...] = ()
    """What a report in another language than English says of its words, in both languages."""

    identity: tuple[Fact, ...]
    lead: tuple[Text, ...]
    error: Sentence
    """The error of all verdicts together, and where the method's own errors stand."""

    mode: Sentence | None = None
    """Number format and device, and what these moved; absent in the reference mode."""

    notices: tuple[Text, ...]
    matrices: tuple[Matrix, ...]
    counts: tuple[VerdictCount, ...]
    any_qualified: bool
    gaps: tuple[GapView, ...]
    glance: tuple[GlanceRow, ...]
    """The points of the law, one line each."""

    contents: tuple[Heading, ...]
    """All chapters, also those that this level leaves out: numbers are the same in each."""

    confidence: Text
    """Of intervals, such as ``95 %``."""

    family_error: Text
    """Error allowed over the cells of a concept, such as ``5 %``."""

    law_title: Text
    law_authorship: Text
    law_compiled: Text
    law_caution: Text
    law_source: Text
    """Where the wording of most points was read."""

    provisions: tuple[ProvisionSection, ...]
    also: AlsoSection
    concepts: tuple[ConceptChapter, ...]
    features: tuple[FeatureCard, ...]
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
    null_plot: Chart | None
    changes: ChangesSection
    trace: tuple[TraceGroup, ...]
    files: tuple[Fact, ...]
    remainder: tuple[Number, ...]
    """Results that stand nowhere else."""

    trail: TrailSection
    example_id: Text

    @property
    def has_pictures(self) -> bool:
        """Whether any picture of a test item is shown."""
        galleries = [concept.gallery for concept in self.concepts if concept.gallery]
        rows = [row for gallery in galleries for cell in gallery.cells for row in cell.rows]
        return any(picture.data for row in rows for picture in row.pictures)

    def shows(self, key: str) -> bool:
        """Whether this level of detail has a chapter."""
        return key in self.chapters

    def heading(self, key: str) -> Heading:
        """The chapter with a key of the message catalog."""
        return next(heading for heading in self.contents if heading.key == key)
