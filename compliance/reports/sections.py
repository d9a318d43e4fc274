"""What a concept's chapter says of all its cells: misses, robustness, power, and the rest."""

from collections.abc import Iterator, Sequence

from compliance.records.finding import Verdict
from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import (
    Entry,
    Fact,
    KindView,
    RowGroup,
    Section,
    Sentence,
    Table,
    TableRow,
)
from compliance.reports.charts import sweep
from compliance.reports.context import Context, anchor, applies, cell_anchor, sentence
from compliance.reports.interventions import intervention_sections
from compliance.reports.mitigation import mitigation_sections
from compliance.reports.mode import mode_tables
from compliance.reports.numbers import write_percent
from compliance.reports.tables import (
    EMPTY,
    by_cell,
    number_row,
    pages,
    plain,
    row_across,
    shown_ids,
)

DETECTABLE = (
    "mde-sensitivity", "mde-fpr-benign", "mde-fpr-hard", "mde-auroc", "mde-gap", "predicted-power",
)  # fmt: skip
SHIFTED = ("sensitivity", "change", "auroc-hard")
ITEM_COUNTS = ("n-positive", "n-hard", "n-benign", "n-calibrate", "n-unscored")
"""Printed with the test sets, for all concepts at once."""


def concept_sections(
    ctx: Context, probe: PlannedProbe, cells: Sequence[Cell], views: tuple[KindView, ...]
) -> tuple[Section, ...]:
    """The parts that follow a concept's cells.

    Args:
        ctx: Evidence and words.
        probe: The concept's.
        cells: Its cells, in the plan's order; only those with observations have numbers.
        views: What is shown of them already; what they do not show comes last.
    """
    if not cells:
        return ()
    cells = [cell for cell in cells if ctx.finding(cell).verdict is not Verdict.NOT_COVERED]
    named = (
        _misses(ctx, probe, cells),
        *intervention_sections(ctx, probe, cells),
        *mitigation_sections(ctx, probe),
        _robustness(ctx, probe, cells),
        _power(ctx, probe, cells),
    )
    shown = set(shown_ids((views, named)))
    return (*named, _appendix(ctx, probe, cells, shown))


def _misses(ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]) -> Section:
    words, classes = ctx.words.sections["misses"], ctx.words.classes
    groups = (
        RowGroup(heading=words[kind], rows=tuple(_class_row(ctx, cell, kind) for cell in cells))
        for kind in ("misses", "hits")
    )
    columns = (ctx.words.ui["n"], *(term.label for term in classes.values()))
    return Section(
        anchor=anchor("misses", probe.concept),
        title=words["title"],
        intro=plain(words["intro"]),
        tables=(by_cell(ctx, words["caption"], columns, groups),),
        terms=tuple(Fact(label=term.label, value=term.meaning) for term in classes.values()),
        note=words["note"],
    )


def _class_row(ctx: Context, cell: Cell, kind: str) -> TableRow:
    """Hits are never below the threshold, so that place does not apply to them."""
    row = number_row(ctx, cell, [f"{kind}.{name}" for name in ctx.words.classes])
    found = {f"{cell.key}/{name}" for name in ctx.names(cell)}
    entries = tuple(
        EMPTY if kind == "hits" and e.number and e.number.name == "hits.below-threshold"
        and e.number.result_id not in found else e
        for e in row.entries
    )  # fmt: skip
    sizes = [e.number.n for e in entries if e.number and e.number.n]
    size = Entry(text=sizes[0]) if sizes else EMPTY
    return row.model_copy(update={"entries": (size, *entries)})


def _robustness(ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]) -> Section:
    words = ctx.words.sections["robustness"]
    shifts = _shift_names(ctx, cells)
    return Section(
        anchor=anchor("robustness", probe.concept),
        title=words["title"],
        intro=(*plain(words["intro"]), *_repeats(ctx, cells)),
        charts=tuple(sweep(ctx, kind) for kind in ctx.by_kind(cells)),
        tables=(
            _shifts(ctx, cells, shifts),
            _left_out(ctx, cells),
            *mode_tables(ctx, cells),
        ),
        terms=tuple(
            Fact(label=ctx.words.shifts[name].label, value=ctx.words.shifts[name].meaning)
            for name in shifts
            if name in ctx.words.shifts
        ),
        note=words["note"],
    )


def _repeats(ctx: Context, cells: Sequence[Cell]) -> Iterator[Sentence]:
    words = ctx.words.sections["robustness"]
    repeated = [cell for cell in cells if "repeat-difference" in ctx.names(cell)]
    for cell in repeated:
        largest, flips = (ctx.number(cell, f"repeat-{n}") for n in ("difference", "flips"))
        yield sentence(
            words["repeats"], language=ctx.place(cell), largest=largest, flips=flips,
            n=largest.n or ctx.words.unknown["number"],
        )  # fmt: skip
    if not repeated:
        yield from plain(words["no_repeats"])


def _shift_names(ctx: Context, cells: Sequence[Cell]) -> list[str]:
    found = (
        name.removeprefix("shift.").rpartition(".")[0]
        for cell in cells
        for name in ctx.names(cell)
        if name.startswith("shift.")
    )
    planned = (
        name
        for name in ctx.plan.robustness.shifts
        if any(applies(f"shift.{name}.change", cell) for cell in cells)
    )
    return list(dict.fromkeys([*planned, *found]))


def _shifts(ctx: Context, cells: Sequence[Cell], shifts: Sequence[str]) -> Table:
    words = ctx.words.sections["robustness"]
    groups = (
        RowGroup(
            heading=ctx.place(cell),
            rows=tuple(
                _shift_row(ctx, cell, name)
                for name in shifts
                if applies(f"shift.{name}.change", cell)
            ),
        )
        for cell in cells
        if ctx.is_shifted(cell) or any(n.startswith("shift.") for n in ctx.names(cell))
    )
    return Table(
        caption=words["shifts_caption"],
        corner=words["shift"],
        columns=(ctx.words.ui["n"], *(words[f"shift_{name}"] for name in SHIFTED)),
        groups=tuple(groups) if shifts else (),
        absent=words["no_shifts"],
    )


def _shift_row(ctx: Context, cell: Cell, shift: str) -> TableRow:
    term = ctx.words.shifts.get(shift)
    title = term.label if term else shift
    names = [f"shift.{shift}.{measure}" for measure in SHIFTED]
    if not set(names) & set(ctx.names(cell)):
        nothing = Entry(text=ctx.words.sections["robustness"]["not_shifted"])
        return TableRow(title=title, entries=(EMPTY, nothing, EMPTY, EMPTY))
    numbers = [ctx.number(cell, name) for name in names]
    size = next((number.n for number in numbers if number.n), None)
    first = Entry(text=size) if size else EMPTY
    return TableRow(title=title, entries=(first, *(Entry(number=n) for n in numbers)))


def _left_out(ctx: Context, cells: Sequence[Cell]) -> Table:
    words = ctx.words.sections["robustness"]
    columns = tuple(words[f"left_out_{name}"] for name in ("all", "lowest", "highest"))
    rows = tuple(row for cell in cells if (row := _extremes(ctx, cell)))
    table = by_cell(ctx, words["left_out_caption"], columns, [RowGroup(rows=rows)] if rows else [])
    return table.model_copy(update={"absent": words["no_left_out"]})


def _extremes(ctx: Context, cell: Cell) -> TableRow | None:
    """The clusters without which the ranking is lowest and highest."""
    values = {
        name: result.value
        for name in ctx.names(cell)
        if name.startswith("left-out.")
        and (result := ctx.numbers.result(f"{cell.key}/{name}"))
        and result.value is not None
    }
    if not values:
        return None
    ends = (
        Entry(number=ctx.number(cell, name), text=_cluster(ctx, name))
        for name in (min(values, key=values.__getitem__), max(values, key=values.__getitem__))
    )
    whole = Entry(number=ctx.number(cell, "auroc-hard"))
    return TableRow(title=ctx.place(cell), anchor=cell_anchor(cell), entries=(whole, *ends))


def _cluster(ctx: Context, name: str) -> str:
    _, kind, value = name.split(".", 2)
    words = ctx.words
    return words.sections["robustness"]["without"].format(
        kind=words.clusters.get(kind, kind), value=value
    )


def _power(ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]) -> Section:
    words = ctx.words.sections["power"]
    columns = (*(words[name] for name in DETECTABLE), words["attainable"])
    rows = tuple(
        number_row(ctx, cell, DETECTABLE, extra=(_attainable(ctx, cell),)) for cell in cells
    )
    return Section(
        anchor=anchor("power", probe.concept),
        title=words["title"],
        intro=plain(words["intro"].format(error=write_percent(ctx.plan.family_error))),
        tables=(by_cell(ctx, words["caption"], columns, [RowGroup(rows=rows)]),),
        note=words["note"],
    )


def _attainable(ctx: Context, cell: Cell) -> Entry:
    attainable = ctx.finding(cell).attainable
    words = ctx.words.sections["power"]
    return EMPTY if attainable is None else Entry(text=words["yes" if attainable else "no"])


def _appendix(ctx: Context, probe: PlannedProbe, cells: Sequence[Cell], shown: set[str]) -> Section:
    """Every result that stands nowhere else in the chapter, those of newer versions included."""
    words = ctx.words.sections["appendix"]
    names = [
        name
        for name in dict.fromkeys(name for cell in cells for name in ctx.names(cell))
        if name not in ITEM_COUNTS
        and any(name in ctx.names(c) and f"{c.key}/{name}" not in shown for c in cells)
    ]
    concerned = [cell for cell in cells if set(names) & set(ctx.names(cell))]
    return Section(
        anchor=anchor("appendix", probe.concept),
        title=words["title"],
        intro=plain(words["intro"]),
        tables=tuple(_rest(ctx, part, names) for part in pages(ctx, concerned or cells)),
    )


def _rest(ctx: Context, cells: Sequence[Cell], names: Sequence[str]) -> Table:
    words = ctx.words.sections["appendix"]
    rows = (row_across(ctx, cells, name) for name in names)
    present = (row for row in rows if any(e.number and e.number.method for e in row.entries))
    return Table(
        caption=words["caption"],
        corner=ctx.words.ui["number"],
        columns=tuple(ctx.place(cell) for cell in cells),
        groups=(RowGroup(rows=tuple(present)),) if names else (),
        absent=words["none"],
    )
