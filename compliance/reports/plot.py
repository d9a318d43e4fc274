"""Shares with intervals as plots whose coordinates are ready, so that a template only draws."""

from collections.abc import Sequence

from compliance.records.plan import Cell
from compliance.records.report import ForestPlot, Number, PlotRow, PlotTick
from compliance.records.validation import KnownAnswer
from compliance.reports.context import Context, anchor
from compliance.reports.numbers import write, write_interval, write_percent

WIDTH, LEFT, RIGHT = 640.0, 150.0, 470.0
WIDE_LEFT, LABEL = 260.0, 42
"""Where the axis of the plot of trials begins, and the characters that fit left of it."""

TOP, ROW = 24.0, 24.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
NULL_TICKS = (0.0, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)


def sensitivity_plot(ctx: Context, cells: Sequence[Cell]) -> ForestPlot:
    """The plot of one concept in one kind of input.

    Args:
        ctx: Evidence and words.
        cells: All of the same concept, modality and rendering; at least one.
    """
    limit = ctx.plan.claims.min_sensitivity
    bottom = TOP + ROW * len(cells)
    rows = [_row(ctx, cell, TOP + ROW * (i + 0.5)) for i, cell in enumerate(cells)]
    spoken = [_spoken(ctx, cell) for cell in cells]
    return ForestPlot(
        anchor=anchor("plot", f"{cells[0].concept}/{cells[0].modality}/{cells[0].rendering}"),
        title=ctx.words.plot["title"].format(concept=ctx.row_title(cells[0])),
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


def null_plot(ctx: Context, answers: Sequence[KnownAnswer]) -> ForestPlot:
    """False claims of each kind of null, with the family's error as the limit."""
    words, limit = ctx.words.plot, ctx.plan.family_error
    widest = max(max(answer.high for answer in answers), 2 * limit)
    below = [step for step in NULL_TICKS if step < widest]
    steps = [*below, next(step for step in NULL_TICKS if step >= widest)]
    top, bottom = steps[-1], TOP + ROW * len(answers)
    rows = [_null_row(answer, TOP + ROW * (i + 0.5), top) for i, answer in enumerate(answers)]
    spoken = "; ".join(f"{row.label} {row.text}" for row in rows)
    return ForestPlot(
        anchor=anchor("plot", "known-answers"),
        title=words["null_title"],
        description=words["null_description"].format(limit=write_percent(limit), rows=spoken),
        width=WIDTH,
        height=bottom + 26,
        left=WIDE_LEFT,
        right=RIGHT,
        top=TOP,
        bottom=bottom,
        limit_x=_x(limit, top, WIDE_LEFT),
        limit_label=words["null_limit"].format(limit=write_percent(limit)),
        ticks=tuple(
            PlotTick(x=_x(s, top, WIDE_LEFT), label=write_percent(s)) for s in _spaced(steps)
        ),
        rows=tuple(rows),
    )


def _spaced(steps: list[float]) -> list[float]:
    """Ticks far enough apart for their labels."""
    return [step for step in steps if step == 0 or step >= steps[-1] / 4]


def _null_row(answer: KnownAnswer, y: float, top: float) -> PlotRow:
    def at(share: float) -> float:
        return _x(share, top, WIDE_LEFT)

    share = answer.found / answer.audits
    name = answer.name if len(answer.name) <= LABEL else answer.name[: LABEL - 1] + "…"
    text = f"{write(share, 'share')} ({write_interval(answer.low, answer.high, 'share')})"
    return PlotRow(
        label=name, glyph="", text=text, y=y, text_y=y + 4,
        x=at(share), low=at(answer.low), high=at(answer.high),
    )  # fmt: skip


def _row(ctx: Context, cell: Cell, y: float) -> PlotRow:
    result = ctx.numbers.result(f"{cell.key}/sensitivity")
    number = ctx.number(cell, "sensitivity")
    value, low, high = (result.value, result.low, result.high) if result else (None,) * 3
    verdict = ctx.verdict(ctx.finding(cell).verdict)
    return PlotRow(
        label=ctx.language(cell.language).name,
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
    return template.format(
        language=ctx.language(cell.language).name, value=value, interval=number.interval
    )


def _x(share: float, top: float = 1.0, left: float = LEFT) -> float:
    return round(left + (RIGHT - left) * min(max(share / top, 0.0), 1.0), 1)
