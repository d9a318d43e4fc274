"""What clamping the probe's features to a dose does to the choice between two replies."""

from collections.abc import Sequence

from compliance.records.chart import Chart, Label, Shape
from compliance.records.finding import Result
from compliance.records.page import Entry, RowGroup, Table, TableRow
from compliance.records.plan import Cell
from compliance.reports.charts.curve import curve
from compliance.reports.charts.drawing import (
    WIDTH,
    Frame,
    Point,
    Scale,
    anchor_of,
    cut,
    data_of,
    disc,
    horizontal,
    name_of,
    result_of,
    round_ticks,
    say,
    spoken,
    vertical,
    wrapped,
    write_tick,
)
from compliance.reports.context import Context, cell_anchor, sentence

COLUMNS = 3
SIDE = 160.0
LEFT, HEAD, FOOT, RIGHT, BETWEEN = 46.0, 36.0, 34.0, 16.0, 16.0
"""Room left of the first plane, above each, below the last, right of it, and between panels."""


def dose_response(ctx: Context, cells: Sequence[Cell], doses: Sequence[float]) -> Chart:
    """The effect at each dose, with its interval: a panel for each language, all on one scale.

    Args:
        ctx: Evidence and words.
        cells: All of the same concept, modality and rendering; at least one.
        doses: In ascending order; at least two.
    """
    words = ctx.words.charts["dose"]
    found = [[result_of(ctx, cell, effect_at(dose)) for dose in doses] for cell in cells]
    ticks = _ticks(found)
    shapes: list[Shape] = []
    labels: list[Label] = []
    for place, (cell, effects) in enumerate(zip(cells, found, strict=True)):
        x, y = _corner(place)
        frame = Frame(
            Scale(doses[0], doses[-1], x, x + SIDE),
            Scale(ticks[0], ticks[-1], y + HEAD + SIDE, y + HEAD),
        )
        shapes += _panel(frame, doses, ticks, effects)
        labels += _head(ctx, cell, x, y, measured=any(effects))
        labels += _axis_words(ctx, frame, place, len(cells), doses, ticks)
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    return Chart(
        anchor=anchor_of("dose", cells),
        title=title,
        description=words["description"].format(
            rows=ctx.joined(_spoken(ctx, cell, doses) for cell in cells)
        ),
        note=words["note"],
        width=WIDTH,
        height=_corner(len(cells) - 1)[1] + HEAD + SIDE + FOOT,
        shapes=tuple(shapes),
        labels=tuple(labels),
        table=_table(ctx, title, cells, doses),
        table_on_paper=False,
    )


def effect_at(dose: float) -> str:
    """Name of the result at a dose."""
    return f"effect.dose.{dose:g}"


def _ticks(found: Sequence[Sequence[Result | None]]) -> list[float]:
    """Round values that hold 0 and every interval."""
    ends = [0.0]
    for result in (r for effects in found for r in effects if r is not None):
        ends += [v for v in (result.value, result.low, result.high) if v is not None]
    low, high = min(ends), max(ends)
    span = high - low or 1.0
    ticks = round_ticks(low - 0.25 * span, high + 0.25 * span, 4)
    return ticks if len(ticks) > 1 else [-1.0, 0.0, 1.0]


def _corner(place: int) -> Point:
    """Left edge of a plane, and upper edge of the panel around it."""
    wide = (WIDTH - LEFT - SIDE - RIGHT) / (COLUMNS - 1)
    return LEFT + place % COLUMNS * wide, place // COLUMNS * (HEAD + SIDE + BETWEEN)


def _panel(
    frame: Frame, doses: Sequence[float], ticks: Sequence[float], effects: Sequence[Result | None]
) -> list[Shape]:
    lines = [vertical(frame.across.at(d), frame.up.end, frame.up.start) for d in doses]
    lines += [horizontal(frame.up.at(t), frame.across.start, frame.across.end) for t in ticks]
    nothing = horizontal(frame.up.at(0.0), frame.across.start, frame.across.end)
    shapes = [Shape(look="grid", path=" ".join(lines)), Shape(look="chance", path=nothing)]
    there = [(d, r) for d, r in zip(doses, effects, strict=True) if r is not None]
    points = [(d, r.value) for d, r in there if r.value is not None]
    band = [(d, r.low, r.high) for d, r in there if r.low is not None and r.high is not None]
    shapes += curve(frame, points, band=band)
    if points:
        dots = " ".join(disc(*frame.at(point), 3.2) for point in points)
        shapes.append(Shape(look="point", path=dots))
    return shapes


def _head(ctx: Context, cell: Cell, x: float, y: float, *, measured: bool) -> list[Label]:
    """Name and slope, above the plane."""
    words = ctx.words.charts["dose"]
    name = say(x, y + 12, cut(name_of(ctx, cell), SIDE), ink="strong")
    if not measured:
        lines = wrapped(words["nothing"], SIDE - 16, most=3)
        return [name, *(
            say(x + SIDE / 2, y + HEAD + 60 + 14 * i, line, place="middle", ink="missing")
            for i, line in enumerate(lines)
        )]  # fmt: skip
    slope = sentence(words["slope"], number=ctx.number(cell, "effect-slope"))
    return [name, say(x, y + 26, slope, ink="small", with_intervals=True)]


def _axis_words(
    ctx: Context, frame: Frame, place: int, panels: int, doses: Sequence[float],
    ticks: Sequence[float],
) -> list[Label]:  # fmt: skip
    """Ticks at the first plane of each line and below the last of each column: axes are shared."""
    labels, bottom = [], frame.up.start
    if place % COLUMNS == 0:
        labels += [
            say(frame.across.start - 5, frame.up.at(t) + 4, write_tick(t), place="end", ink="quiet")
            for t in ticks
        ]
    if place + COLUMNS >= panels:
        labels += [
            say(frame.across.at(d), bottom + 14, write_tick(d), place="middle", ink="quiet")
            for d in doses
        ]
        words, middle = ctx.words.charts["dose"]["across"], frame.across.start + SIDE / 2
        labels.append(say(middle, bottom + 27, words, place="middle", ink="quiet"))
    return labels


def _spoken(ctx: Context, cell: Cell, doses: Sequence[float]) -> str:
    words = ctx.words.charts["dose"]
    effects = ctx.joined(
        words["at"].format(dose=write_tick(d), effect=spoken(ctx, ctx.number(cell, effect_at(d))))
        for d in doses
    )
    return ctx.words.charts["words"]["row"].format(language=name_of(ctx, cell), value=effects)


def _table(ctx: Context, title: str, cells: Sequence[Cell], doses: Sequence[float]) -> Table:
    words = ctx.words.charts["dose"]
    columns = (words["column_slope"], *(write_tick(d) for d in doses))
    names = ("effect-slope", *(effect_at(d) for d in doses))
    rows = tuple(
        TableRow(
            title=name_of(ctx, cell),
            anchor=cell_anchor(cell),
            entries=tuple(Entry(number=ctx.number(cell, name)) for name in names),
        )
        for cell in cells
    )
    return data_of(ctx, title, ctx.words.ui["language"], columns, [RowGroup(rows=rows)])
