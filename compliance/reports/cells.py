"""The chapters on concepts: each cell's verdict in words, its numbers, controls and conditions."""

from collections.abc import Iterable, Iterator, Sequence

from compliance.records.finding import Condition, Finding, Status, Verdict
from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import (
    CellView,
    ConceptChapter,
    Entry,
    KindView,
    RowGroup,
    Sentence,
    Table,
    TableRow,
)
from compliance.reports.charts import calibration
from compliance.reports.context import Context, anchor, cell_anchor, sentence
from compliance.reports.controls import comparison, control_tables
from compliance.reports.locked import describe_features, locked_probe, search_words
from compliance.reports.numbers import in_sentence, write_p, write_percent
from compliance.reports.pictures import picture_gallery
from compliance.reports.plot import sensitivity_plot
from compliance.reports.sections import concept_sections
from compliance.reports.side_by_side import condition_tables, missing_numbers, number_tables
from compliance.reports.tables import by_cell, number_row

OVERVIEW = {
    "overview_text": (
        "auroc-hard", "minus-tokens", "sensitivity", "gap", "fpr-benign", "fpr-hard",
    ),
    "overview_pictures": (
        "auroc-hard", "minus-pixels", "sensitivity", "gap-to-text", "gap", "fpr-benign", "fpr-hard",
    ),
}  # fmt: skip
"""Columns of a concept's tables by language, of texts and of pictures."""

BLAMED = {
    "condition-violated": (Status.VIOLATED,),
    "gate-shut": (Status.VIOLATED, Status.NOT_SHOWN, Status.NOT_MEASURED),
    "secondary-not-shown": (Status.NOT_SHOWN, Status.VIOLATED, Status.NOT_MEASURED),
    "not-all-shown": (Status.NOT_SHOWN, Status.NOT_MEASURED),
    "not-measured": (Status.NOT_MEASURED,),
}
"""Which conditions the sentence about a reason names."""

BLAMED_KINDS = {"gate-shut": ("gate",), "secondary-not-shown": ("secondary",)}


def concept_chapters(ctx: Context, number: str) -> tuple[ConceptChapter, ...]:
    """One chapter for each planned probe, in the plan's order."""
    return tuple(
        _chapter(ctx, probe, f"{number}.{index}")
        for index, probe in enumerate(ctx.plan.probes, start=1)
    )


def sentence_id(ctx: Context, cell: Cell) -> str:
    """Identifier of a cell's verdict sentence: ``S`` and its place in the plan."""
    return f"S{ctx.plan.cells.index(cell) + 1:03d}"


def why(ctx: Context, finding: Finding) -> str:
    """The rule that matched, in words, naming the conditions it was about."""
    words = ctx.words.reasons.get(finding.reason)
    if words is None:
        return ctx.words.unknown["reason"].format(key=finding.reason)
    modality = finding.cell.modality
    blamed = [ctx.condition_words(c.condition, c.limit, modality) for c in _blamed(finding)]
    if not blamed:
        words = ctx.words.reasons.get(f"{finding.reason}.none", words)
    shown = sum(condition.status is Status.SHOWN for condition in finding.conditions)
    return words.format(
        conditions=ctx.joined(blamed) or ctx.words.unknown["conditions"], shown=shown
    )


def _chapter(ctx: Context, probe: PlannedProbe, number: str) -> ConceptChapter:
    kinds = ctx.by_kind(cell for cell in ctx.plan.cells if cell.concept == probe.concept)
    cells = [cell for kind in kinds for cell in kind]
    views = tuple(_kind(ctx, kind) for kind in kinds)
    covered = [kind for kind in kinds if any(_is_covered(ctx, cell) for cell in kind)]
    return ConceptChapter(
        anchor=anchor("concept", probe.concept),
        number=number,
        title=probe.title,
        definition=probe.definition,
        probe=describe_features(ctx, locked_probe(ctx, probe.concept)),
        claim=_claim(ctx, probe, cells),
        search=tuple(search_words(ctx, probe)),
        plots=tuple(sensitivity_plot(ctx, kind) for kind in covered),
        overviews=tuple(_overviews(ctx, kinds)),
        calibrations=tuple(calibration(ctx, kind) for kind in covered),
        kinds=views,
        gallery=picture_gallery(ctx, probe, cells),
        sections=concept_sections(ctx, probe, cells, views),
    )


def _kind(ctx: Context, cells: Sequence[Cell]) -> KindView:
    """Findings one by one; then their numbers, of the cells that have some, side by side."""
    covered = [cell for cell in cells if _is_covered(ctx, cell)]
    tables = (
        *condition_tables(ctx, covered),
        *control_tables(ctx, covered),
        *number_tables(ctx, covered),
    )
    return KindView(
        anchor=anchor("numbers", f"{cells[0].concept}/{cells[0].modality}/{cells[0].rendering}"),
        title=ctx.row_title(cells[0]),
        cells=tuple(_cell(ctx, cell) for cell in cells),
        tables=tables,
        missing=missing_numbers(ctx, tables),
    )


def _is_covered(ctx: Context, cell: Cell) -> bool:
    return ctx.finding(cell).verdict is not Verdict.NOT_COVERED


def _claim(ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]) -> str:
    """What was tested, and which tokens are read instead where there is a picture."""
    words = ctx.words.features
    claim = words["claim"].format(
        region=ctx.words.regions.get(probe.region, probe.region),
        pooling=ctx.words.pooling.get(probe.pooling, probe.pooling),
    )
    pictures = any(cell.modality != "text" for cell in cells)
    return f"{claim} {words['claim_pictures']}" if pictures else claim


def _overviews(ctx: Context, kinds: Sequence[Sequence[Cell]]) -> Iterator[Table]:
    """A table for texts and one for pictures, of what was measured; of nothing, an empty one."""
    covered = [kind for kind in kinds if any(_is_covered(ctx, cell) for cell in kind)]
    texts = [kind for kind in covered if kind[0].modality == "text"]
    pictures = [kind for kind in covered if kind[0].modality != "text"]
    if texts or not pictures:
        yield _overview(ctx, "overview_text", texts)
    if pictures:
        yield _overview(ctx, "overview_pictures", pictures)


def _overview(ctx: Context, key: str, kinds: Sequence[Sequence[Cell]]) -> Table:
    columns = (ctx.words.ui["verdict"], *(ctx.words.columns[name] for name in OVERVIEW[key]))
    groups = (
        RowGroup(
            heading=ctx.row_title(kind[0]) if ctx.has_pictures else None,
            rows=tuple(_overview_row(ctx, cell, OVERVIEW[key]) for cell in kind),
        )
        for kind in ([c for c in cells if _is_covered(ctx, c)] for cells in kinds)
        if kind
    )
    return by_cell(ctx, ctx.words.ui[key], columns, groups)


def _overview_row(ctx: Context, cell: Cell, names: Sequence[str]) -> TableRow:
    row = number_row(ctx, cell, names)
    verdict = Entry(verdict=ctx.verdict(ctx.finding(cell).verdict))
    return row.model_copy(
        update={
            "title": ctx.language(cell.language).name,
            "entries": (verdict, *row.entries),
        }
    )


def _cell(ctx: Context, cell: Cell) -> CellView:
    finding = ctx.finding(cell)
    concept = ctx.concept_title(cell.concept)
    covered = _is_covered(ctx, cell)
    names = ctx.names(cell)
    return CellView(
        key=cell.key,
        anchor=cell_anchor(cell),
        sentence_id=sentence_id(ctx, cell),
        title=ctx.words.ui["cell_title"].format(concept=concept, language=ctx.place(cell)),
        language=ctx.language(cell.language),
        verdict=ctx.verdict(finding.verdict),
        claim=ctx.words.verdicts[finding.verdict].claim.format(
            concept=in_sentence(concept), input=ctx.claimed_input(cell)
        ),
        measured=_measured(ctx, cell) if covered else (),
        why=why(ctx, finding),
        notes=tuple(_notes(ctx, finding)) if covered else (),
        qualifiers=tuple(ctx.words.qualifiers.get(key, key) for key in finding.qualifiers),
        comparison=comparison(ctx, cell, set(names)) if covered else (),
    )


def _measured(ctx: Context, cell: Cell) -> tuple[Sentence, ...]:
    names = ("sensitivity", "n-positive", "fpr-benign", "n-benign", "fpr-hard", "n-hard")
    values = {name.replace("-", "_"): ctx.number(cell, name) for name in names}
    sentences = [sentence(ctx.words.measured["cell"], **values)]
    if not ctx.is_reference(cell):
        reference = ctx.language(ctx.plan.claims.reference_language).name
        gap = ctx.number(cell, "gap")
        sentences.append(sentence(ctx.words.measured["gap"], reference=reference, gap=gap))
    if ctx.has_words(cell):
        gap = ctx.number(cell, "gap-to-text")
        sentences.append(sentence(ctx.words.measured["gap_to_text"], gap=gap))
    return tuple(sentences)


def _notes(ctx: Context, finding: Finding) -> Iterable[str]:
    words = ctx.words.notes
    if not finding.conditions:
        yield words["no_conditions"]
    if finding.attainable is False:
        yield words["unattainable"]
    if finding.p_holm is not None:
        limit = write_percent(ctx.plan.family_error)
        yield words["holm"].format(p=write_p(finding.p_holm), limit=limit)
    if finding.p_holm_all is not None:
        yield words["holm_all"].format(p=write_p(finding.p_holm_all))


def _blamed(finding: Finding) -> list[Condition]:
    statuses = BLAMED.get(finding.reason, (Status.VIOLATED, Status.NOT_SHOWN))
    kinds = BLAMED_KINDS.get(finding.reason, ("primary", "secondary", "gate"))
    return [c for c in finding.conditions if c.status in statuses and c.kind in kinds]
