"""Scores of positives, hard negatives and benign items on one axis, with the locked cut-off.

Most scores of a sparse feature may be exactly zero. They stand apart as a bar of their own, filled
to their share, so that the rest can be seen. A bin includes its upper end and a bin's edge lies at
the cut-off, so that alarms, which are scores strictly above it, are the bars to its right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compliance.records.chart import Chart, Label, Look, Shape
from compliance.records.page import Entry, RowGroup, Table, TableRow
from compliance.records.plan import Cell
from compliance.records.suite import Label as Kind
from compliance.reports.charts.drawing import (
    SMALL,
    WIDTH,
    Scale,
    anchor_of,
    box,
    cut,
    data_of,
    horizontal,
    name_of,
    result_of,
    round_ticks,
    say,
    step_for,
    vertical,
    write_tick,
)
from compliance.reports.charts.scores import LABELS, Scores, scores_of
from compliance.reports.context import Context, anchor, sentence
from compliance.reports.numbers import write, write_count

BINS = 24
"""About as many over the whole axis."""

GAP = 30.0
HEAD, ROW, BAR, BETWEEN, FOOT = 32.0, 34.0, 26.0, 18.0, 34.0
"""Heights of a panel's head, of a row, of a full bar in it; what is below a panel and below all."""

NAME, GAUGE, SHARE, ABOVE = 66.0, 12.0, 46.0, 46.0
"""Widths of what stands beside the bars of a row: its name, the bar at zero and its share; and the
share above the cut-off."""

LEAST = 1.2
"""Height of a bar of one item among very many, so that none is lost."""

LOOKS: dict[Kind, Look] = {
    Kind.POSITIVE: "bar-positive",
    Kind.HARD_NEGATIVE: "bar-hard",
    Kind.NEGATIVE: "bar-benign",
}
ABOVE_CUT_OFF = {
    Kind.POSITIVE: "sensitivity",
    Kind.HARD_NEGATIVE: "fpr-hard",
    Kind.NEGATIVE: "fpr-benign",
}
COUNTED = {Kind.POSITIVE: "n-positive", Kind.HARD_NEGATIVE: "n-hard", Kind.NEGATIVE: "n-benign"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """How many scores there are exactly at zero, and in each bin of the others."""

    at_zero: int
    edges: Floats
    """Ascending; bin i holds scores above ``edges[i]`` and up to ``edges[i + 1]``."""

    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """What all panels of a chart share."""

    low: float
    high: float
    step: float
    tallest: float
    """Largest share of a class in one bin."""


def histogram(ctx: Context, cell: Cell) -> Chart | None:
    """Scores of one cell; see `histograms`."""
    found = histograms(ctx, [cell])
    return found and found.model_copy(update={"anchor": anchor("histogram", cell.key)})


def histograms(ctx: Context, cells: Sequence[Cell]) -> Chart | None:
    """Scores by class, a panel for each language, all on one axis.

    Args:
        ctx: Evidence, words and observations.
        cells: All of the same concept, modality and rendering; at least one.

    Returns:
        The chart, or None without observations. A class without scores and a cell without cut-off
        say so in their place.
    """
    if ctx.observed is None:
        return None
    words = ctx.words.charts["histogram"]
    scores = scores_of(ctx.observed, cells)
    axis = shared_axis(scores, [limit_of(ctx, cell) for cell in cells])
    shapes: list[Shape] = []
    labels: list[Label] = []
    for place, cell in enumerate(cells):
        x, y, width = _corner(place, len(cells))
        across = Scale(axis.low, axis.high, x + NAME + GAUGE + SHARE, x + width - ABOVE)
        drawn, said = _panel(ctx, cell, scores[cell.key], axis, across, y)
        shapes += drawn
        labels += [*said, *_axis_words(ctx, across, y, place, len(cells))]
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    rows = ctx.joined(_spoken(ctx, cell, scores[cell.key]) for cell in cells)
    return Chart(
        anchor=anchor_of("histograms", cells),
        title=title,
        description=words["description"].format(rows=rows),
        note=words["note" if axis.tallest else "note_zeros"].format(
            tallest=write(axis.tallest, "share")
        ),
        width=WIDTH,
        height=_corner(len(cells) - 1, len(cells))[1] + HEAD + 3 * ROW + FOOT,
        shapes=tuple(shapes),
        labels=tuple(labels),
        table=_table(ctx, title, cells, scores, axis),
        table_on_paper=False,
    )


def limit_of(ctx: Context, cell: Cell) -> float | None:
    """The locked cut-off as a coordinate."""
    found = result_of(ctx, cell, "cut-off")
    return found and found.value


def shared_axis(scores: dict[str, Scores], limits: Sequence[float | None]) -> Axis:
    """An axis that holds every score and cut-off, and zero."""
    every = np.concatenate([s for of_cell in scores.values() for s in of_cell.values()])
    ends = [0.0, *(limit for limit in limits if limit is not None)]
    ends += [float(every.min()), float(every.max())] if len(every) else []
    low, high = min(ends), max(ends)
    high = high if high > low else low + 1.0
    step = step_for(high - low, BINS)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    axis = Axis(low, high, step, 0.0)
    shares = [
        bins_of(of_class, axis, limit).counts.max() / len(of_class)
        for of_cell, limit in zip(scores.values(), limits, strict=True)
        for of_class in of_cell.values()
        if len(of_class)
    ]
    return Axis(low, high, step, max(shares, default=0.0))


def bins_of(scores: Floats, axis: Axis, limit: float | None) -> Bins:
    """Counts of one class.

    Args:
        scores: Its scores.
        axis: Whose step is the width of a bin.
        limit: The cut-off, where an edge lies; None: an edge lies at zero.
    """
    start = 0.0 if limit is None else limit
    first = math.floor((axis.low - start) / axis.step) - 1
    last = math.ceil((axis.high - start) / axis.step) + 1
    edges = start + axis.step * np.arange(first, last + 1)
    edges[-first] = start  # exactly, so that a score at the cut-off is no alarm here either
    others = scores[scores != 0]
    places = np.searchsorted(edges, others, side="left") - 1
    counts = np.bincount(places, minlength=len(edges) - 1)
    return Bins(len(scores) - len(others), edges, counts)


def _corner(place: int, panels: int) -> tuple[float, float, float]:
    """Upper left corner of a panel and its width; one alone has all of it."""
    height = HEAD + 3 * ROW + BETWEEN
    if panels == 1:
        return 0.0, 0.0, WIDTH
    wide = (WIDTH - GAP) / 2
    return place % 2 * (wide + GAP), place // 2 * height, wide


def _panel(
    ctx: Context, cell: Cell, scores: Scores, axis: Axis, across: Scale, y: float
) -> tuple[list[Shape], list[Label]]:
    limit, top = limit_of(ctx, cell), y + HEAD
    bottom = top + len(LABELS) * ROW
    shapes, labels = _frame(across, bottom), _head(ctx, cell, across, y, limit)
    for place, kind in enumerate(LABELS):
        base = top + place * ROW + BAR + 2
        labels += _beside(ctx, cell, kind, across, base)
        if len(scores[kind]):
            bins = bins_of(scores[kind], axis, limit)
            shapes += _bars(kind, bins, len(scores[kind]), axis, across, base)
            share = write(bins.at_zero / len(scores[kind]), "share")
            labels.append(say(across.start - SHARE + 3, base - 2, share, ink="quiet"))
        else:
            nothing = cut(ctx.words.charts["histogram"]["no_scores"], across.end - across.start)
            labels.append(say(across.start, base - 6, nothing, ink="missing"))
    if limit is not None:
        line = vertical(across.at(limit), top - 4, bottom)
        shapes.append(Shape(look="cut-off", path=line))
    return shapes, labels


def _frame(across: Scale, bottom: float) -> list[Shape]:
    """The axis, and a base line for each class."""
    marks = [vertical(across.at(t), bottom, bottom + 4) for t in _ticks(across)]
    bases = [bottom - place * ROW - (ROW - BAR - 2) for place in range(len(LABELS))]
    lines = [horizontal(base, across.start, across.end) for base in bases]
    return [
        Shape(look="grid", path=" ".join(lines)),
        Shape(look="axis", path=" ".join([horizontal(bottom, across.start, across.end), *marks])),
    ]


def _ticks(across: Scale) -> list[float]:
    return round_ticks(across.low, across.high, 4)


def _axis_words(ctx: Context, across: Scale, y: float, place: int, panels: int) -> list[Label]:
    """What the columns of the first panels are, and ticks below the last: axes are shared."""
    words, bottom, labels = ctx.words.charts["histogram"], y + HEAD + len(LABELS) * ROW, []
    if place < 2:
        end = across.end + ABOVE
        labels.append(say(across.start - SHARE - GAUGE, y + 25, words["at_zero"], ink="quiet"))
        labels.append(say(end, y + 25, words["above"], place="end", ink="quiet"))
    if place + 2 >= panels:
        labels += [
            say(across.at(t), bottom + 15, write_tick(t), place="middle", ink="quiet")
            for t in _ticks(across)
        ]
        middle = (across.start + across.end) / 2
        labels.append(say(middle, bottom + 28, words["across"], place="middle", ink="quiet"))
    return labels


def _head(ctx: Context, cell: Cell, across: Scale, y: float, limit: float | None) -> list[Label]:
    """The language and its cut-off."""
    words = ctx.words.charts["histogram"]
    said = sentence(words["cut_off"], number=ctx.number(cell, "cut-off"))
    left, place = _left(across), across.start if limit is None else across.at(limit)
    inside = min(max(place, across.start + 35), across.end - 35)
    return [
        say(left, y + 11, cut(name_of(ctx, cell), across.end - left), ink="strong"),
        say(inside, y + 25, said, place="middle", ink="limit"),
    ]


def _left(across: Scale) -> float:
    """Where a panel begins."""
    return across.start - SHARE - GAUGE - NAME


def _beside(ctx: Context, cell: Cell, kind: Kind, across: Scale, base: float) -> list[Label]:
    """The name of a row with its size, and how much of it lies above the cut-off."""
    words, left = ctx.words.charts["histogram"], _left(across)
    size = sentence(words["size"], number=ctx.number(cell, COUNTED[kind]))
    above = sentence("{number}", number=ctx.number(cell, ABOVE_CUT_OFF[kind]))
    return [
        say(left, base - 13, cut(words[kind.value], NAME - 4, SMALL), ink="small"),
        say(left, base - 1, size, ink="quiet"),
        say(across.end + ABOVE, base - 6, above, place="end", ink="small"),
    ]


def _bars(
    kind: Kind, bins: Bins, items: int, axis: Axis, across: Scale, base: float
) -> list[Shape]:
    """The bar at zero in its frame, and all other bars as one path."""
    left, share = across.start - GAUGE - SHARE, bins.at_zero / items
    bars = [box(left, base - BAR * share, GAUGE, BAR * share)] if share else []
    scale = BAR / (axis.tallest * items) if axis.tallest else 0.0
    for count, low, high in zip(bins.counts, bins.edges, bins.edges[1:], strict=False):
        if count:
            start, height = across.at(low), max(float(count) * scale, LEAST)
            bars.append(box(start, base - height, across.at(high) - start, height))
    shapes = [Shape(look="frame", path=box(left, base - BAR, GAUGE, BAR))]
    return [*shapes, Shape(look=LOOKS[kind], path=" ".join(bars))]


def _spoken(ctx: Context, cell: Cell, scores: Scores) -> str:
    """Shares of the three classes, one after the other."""
    none = ctx.words.charts["words"]["none"]
    zeros = (
        write(float(np.mean(scores[kind] == 0)), "share") if len(scores[kind]) else none
        for kind in LABELS
    )
    numbers = (ctx.number(cell, ABOVE_CUT_OFF[kind]) for kind in LABELS)
    above = (number.text or number.short or none for number in numbers)
    return ctx.words.charts["histogram"]["row"].format(
        language=name_of(ctx, cell), zeros=", ".join(zeros), above=", ".join(above)
    )


def _table(
    ctx: Context, title: str, cells: Sequence[Cell], scores: dict[str, Scores], axis: Axis
) -> Table:
    words = ctx.words.charts["histogram"]
    columns = [words[f"column_{name}"] for name in ("size", "zero", "above", "start", "counts")]
    groups = (
        RowGroup(
            heading=name_of(ctx, cell),
            rows=tuple(_data_row(ctx, cell, kind, scores[cell.key][kind], axis) for kind in LABELS),
        )
        for cell in cells
    )
    step = write_tick(axis.step)
    columns[-1] = columns[-1].format(step=step)
    return data_of(ctx, title, words["corner"], columns, groups)


def _data_row(ctx: Context, cell: Cell, kind: Kind, scores: Floats, axis: Axis) -> TableRow:
    """Counts from the first bin with a score to the last."""
    bins = bins_of(scores, axis, limit_of(ctx, cell))
    filled = np.flatnonzero(bins.counts)
    start, counts = Entry(), Entry()
    if len(filled):
        start = Entry(text=write(float(bins.edges[filled[0]]), "plain"))
        shown = bins.counts[filled[0] : filled[-1] + 1]
        counts = Entry(text=", ".join(str(count) for count in shown))
    return TableRow(
        title=ctx.words.charts["histogram"][kind.value],
        entries=(
            Entry(number=ctx.number(cell, COUNTED[kind])),
            Entry(text=write_count(bins.at_zero)),
            Entry(number=ctx.number(cell, ABOVE_CUT_OFF[kind])),
            start,
            counts,
        ),
    )
