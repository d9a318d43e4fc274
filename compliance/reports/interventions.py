"""What a concept's chapter says of changes inside the model: effects, controls and side effects.

A report without interventions in its plan has no such section, and says among its limits that none
were made.
"""

from collections.abc import Sequence

from compliance.records.finding import Influence
from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import Entry, Fact, RowGroup, Section, Table, TableRow
from compliance.reports.charts.dose import dose_response, effect_at
from compliance.reports.charts.drawing import write_tick
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.numbers import write_p
from compliance.reports.tables import EMPTY, by_cell, number_row, plain

DECIDING = (
    "effect-slope", "effect.dose.1", "effect-random", "effect-minus.flip", "effect-minus.noise",
)  # fmt: skip
BESIDE = ("effect.dose.0", "effect.means", "effect-minus.means", "kl.dose.1", "kl.random")
SIDE = (
    "side-loss.dose.0", "side-loss.dose.1", "side-kl.dose.0", "side-kl.dose.1", "capability",
    "capability.dose.0", "capability.dose.1",
)  # fmt: skip
STATEMENTS = ("influences", "not-shown", "not-measured")


def intervention_sections(
    ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]
) -> tuple[Section, ...]:
    """The section on a concept whose features were planned to be changed; else none.

    Args:
        ctx: Evidence and words.
        probe: The concept's.
        cells: Those with observations, in the plan's order.
    """
    asked = ctx.plan.interventions
    if asked is None or probe.concept not in asked.concepts:
        return ()
    found = {
        i.cell.key: i for i in ctx.evidence.influences or () if i.cell.concept == probe.concept
    }
    mine = [cell for cell in cells if cell.key in found]
    if not mine:
        return ()
    words, doses = ctx.words.sections["interventions"], sorted(asked.doses)
    first = [cell for cell in mine if "side-loss.dose.0" in ctx.names(cell)]
    return (
        Section(
            anchor=anchor("interventions", probe.concept),
            title=words["title"],
            intro=plain(
                words["intro"].format(region=ctx.words.regions.get(asked.region, asked.region))
            ),
            charts=tuple(dose_response(ctx, kind, doses) for kind in ctx.by_kind(mine)),
            tables=(
                _deciding(ctx, mine, found),
                _table(ctx, "beside", mine, BESIDE),
                _doses(ctx, mine, doses),
                _table(ctx, "side", first, SIDE),
                *_scores(ctx, first),
            ),
            terms=tuple(
                Fact(label=words[f"statement_{name}"], value=words[f"means_{name}"])
                for name in STATEMENTS
            ),
            note=words["note"],
        ),
    )


def _deciding(ctx: Context, cells: Sequence[Cell], found: dict[str, Influence]) -> Table:
    words = ctx.words.sections["interventions"]
    columns = (words["statement"], *(words[name] for name in DECIDING), words["p_holm"])
    rows = tuple(_deciding_row(ctx, cell, found[cell.key]) for cell in cells)
    return by_cell(ctx, words["caption_deciding"], columns, [RowGroup(rows=rows)])


def _deciding_row(ctx: Context, cell: Cell, found: Influence) -> TableRow:
    words = ctx.words.sections["interventions"]
    numbers = tuple(Entry(number=ctx.number(cell, name)) for name in DECIDING)
    adjusted = EMPTY if found.p_holm is None else Entry(text=write_p(found.p_holm))
    statement = Entry(text=words[f"statement_{found.statement}"])
    return TableRow(
        title=ctx.place(cell), anchor=cell_anchor(cell), entries=(statement, *numbers, adjusted)
    )


def _doses(ctx: Context, cells: Sequence[Cell], doses: Sequence[float]) -> Table:
    words = ctx.words.sections["interventions"]
    columns = tuple(words["dose"].format(dose=write_tick(dose)) for dose in doses)
    rows = tuple(number_row(ctx, cell, [effect_at(dose) for dose in doses]) for cell in cells)
    return by_cell(ctx, words["caption_doses"], columns, [RowGroup(rows=rows)])


def _table(ctx: Context, key: str, cells: Sequence[Cell], names: Sequence[str]) -> Table:
    """A row for each cell, a column for each result."""
    words = ctx.words.sections["interventions"]
    columns = tuple(words.get(name) or ctx.numbers.describe(name)[1] for name in names)
    rows = tuple(number_row(ctx, cell, names) for cell in cells)
    table = by_cell(ctx, words[f"caption_{key}"], columns, [RowGroup(rows=rows)] if rows else [])
    return table.model_copy(update={"absent": words[f"no_{key}"]}) if key == "side" else table


def _scores(ctx: Context, cells: Sequence[Cell]) -> tuple[Table, ...]:
    """Probes of other concepts, a table where any could be read behind the change."""
    names = dict.fromkeys(
        name for cell in cells for name in ctx.names(cell) if name.startswith("side-score.")
    )
    return (_table(ctx, "scores", cells, tuple(names)),) if names else ()
