"""Whether cut-offs do on new benign items what they were set to do."""

from collections.abc import Sequence

from compliance.records.chart import Chart
from compliance.records.page import Entry, RowGroup, TableRow
from compliance.records.plan import Cell
from compliance.reports.charts.drawing import (
    anchor_of,
    data_of,
    name_of,
    result_of,
    round_ticks,
    spoken,
    step_for,
)
from compliance.reports.charts.forest import Mark, Row, forest
from compliance.reports.context import Context, cell_anchor, sentence
from compliance.reports.numbers import write_percent

LEFT = 150.0
NAMES = ("n-calibrate", "cut-off", "fpr-benign", "n-benign")
"""Results of the table."""


def calibration(ctx: Context, cells: Sequence[Cell]) -> Chart:
    """Share of benign test items above the cut-off, against what it was set for and the limit.

    It shows results alone, so it needs no observations.

    Args:
        ctx: Evidence and words.
        cells: All of the same concept, modality and rendering; at least one.
    """
    words, plan = ctx.words.charts["calibration"], ctx.plan
    target, limit = plan.alpha, plan.claims.max_false_positive_rate
    rows = [_row(ctx, cell) for cell in cells]
    ends = [limit, target, *(row.high for row in rows if row.high is not None)]
    ends += [row.value for row in rows if row.value is not None]
    top = 1.1 * max(ends)
    step = step_for(top, 5)
    ticks = [t for t in round_ticks(0.0, top + step, 6) if t - step < top and t <= 1.0]
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    marks = sorted(
        (
            Mark(limit, words["limit"].format(limit=write_percent(limit)), "limit"),
            Mark(target, words["target"].format(target=write_percent(target)), "target"),
        ),
        key=lambda mark: mark.value,
    )
    return forest(
        rows,
        marks,
        ticks,
        left=LEFT,
        write=write_percent,
        anchor=anchor_of("calibration", cells),
        title=title,
        description=words["description"].format(
            target=write_percent(target),
            limit=write_percent(limit),
            rows=ctx.joined(_spoken(ctx, cell) for cell in cells),
        ),
        note=words["note"],
        table=data_of(
            ctx,
            title,
            ctx.words.ui["language"],
            [words[f"column_{name}"] for name in NAMES],
            [RowGroup(rows=tuple(_data_row(ctx, cell) for cell in cells))],
        ),
    )


def _row(ctx: Context, cell: Cell) -> Row:
    found = result_of(ctx, cell, "fpr-benign")
    words = sentence("{number}", number=ctx.number(cell, "fpr-benign"))
    name = name_of(ctx, cell)
    return Row(name, words, found.value, found.low, found.high) if found else Row(name, words)


def _spoken(ctx: Context, cell: Cell) -> str:
    value = spoken(ctx, ctx.number(cell, "fpr-benign"))
    return ctx.words.charts["words"]["row"].format(language=name_of(ctx, cell), value=value)


def _data_row(ctx: Context, cell: Cell) -> TableRow:
    entries = tuple(Entry(number=ctx.number(cell, name)) for name in NAMES)
    return TableRow(title=name_of(ctx, cell), anchor=cell_anchor(cell), entries=entries)
