"""Sensitivity by language as a plot whose coordinates are ready, so that a template only draws."""

from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import ForestPlot, Number, PlotRow, PlotTick
from compliance.reports.context import Context, anchor
from compliance.reports.numbers import write_percent

WIDTH, LEFT, RIGHT = 640.0, 150.0, 470.0
TOP, ROW = 24.0, 24.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def sensitivity_plot(ctx: Context, probe: PlannedProbe, cells: list[Cell]) -> ForestPlot | None:
    """The plot of one concept; None where no cell was planned."""
    if not cells:
        return None
    limit = ctx.plan.claims.min_sensitivity
    bottom = TOP + ROW * len(cells)
    rows = [_row(ctx, cell, TOP + ROW * (i + 0.5)) for i, cell in enumerate(cells)]
    spoken = [_spoken(ctx, cell) for cell in cells]
    return ForestPlot(
        anchor=anchor("plot", probe.concept),
        title=ctx.words.plot["title"].format(concept=probe.title),
        description=ctx.words.plot["description"].format(
            limit=write_percent(limit), rows="; ".join(spoken)
        ),
        width=WIDTH,
        height=bottom + 26,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=bottom,
        limit_x=_x(limit),
        limit_label=ctx.words.plot["limit"].format(limit=write_percent(limit)),
        ticks=tuple(PlotTick(x=_x(tick), label=write_percent(tick)) for tick in TICKS),
        rows=tuple(rows),
    )


def _row(ctx: Context, cell: Cell, y: float) -> PlotRow:
    result = ctx.numbers.result(f"{cell.key}/sensitivity")
    number = ctx.number(cell, "sensitivity")
    value, low, high = (result.value, result.low, result.high) if result else (None,) * 3
    verdict = ctx.verdict(ctx.finding(cell).verdict)
    return PlotRow(
        label=ctx.place(cell),
        glyph=verdict.glyph,
        text=_text(number),
        y=y,
        text_y=y + 4,
        x=None if value is None else _x(value),
        low=None if low is None else _x(low),
        high=None if high is None else _x(high),
    )


def _text(number: Number) -> str:
    if number.text is None:
        return number.short or ""
    return f"{number.text} ({number.interval})" if number.interval else number.text


def _spoken(ctx: Context, cell: Cell) -> str:
    number = ctx.number(cell, "sensitivity")
    words = ctx.words.plot
    template = words["row_interval" if number.interval else "row"]
    value = number.text or words["none"]
    return template.format(language=ctx.place(cell), value=value, interval=number.interval)


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * min(max(share, 0.0), 1.0), 1)
