"""How the probe ranks positives above hard negatives, language by language.

The line runs through every cut-off that could have been set; the point is the one that was.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compliance.records.chart import Chart, Label, Shape
from compliance.records.page import Entry, RowGroup, Table, TableRow
from compliance.records.plan import Cell
from compliance.records.suite import Label as Kind
from compliance.reports.charts.curve import Interval, curve
from compliance.reports.charts.drawing import (
    WIDTH,
    Frame,
    Point,
    Scale,
    anchor_of,
    cut,
    data_of,
    diamond,
    horizontal,
    name_of,
    polyline,
    result_of,
    say,
    spoken,
    vertical,
    wrapped,
)
from compliance.reports.charts.scores import scores_of
from compliance.reports.context import Context, cell_anchor, sentence
from compliance.reports.numbers import write, write_percent
from compliance.reports.tables import EMPTY
from compliance.statistics.proportion import wilson

COLUMNS = 3
SIDE = 168.0
LEFT, HEAD, FOOT, RIGHT = 34.0, 62.0, 34.0, 16.0
"""Room left of the first plane, above each, below the last and right of it."""

BETWEEN = 16.0
"""From a plane to the panel below it."""

TICKS = (0.0, 0.5, 1.0)
READ_AT = (0.01, 0.05, 0.1, 0.2, 0.5)
"""False-alarm rates that the table gives the sensitivity at."""

NAMES = ("auroc-hard", "sensitivity", "fpr-hard")
"""Results that stand above a panel."""

Scored = NDArray[np.float64]
Pair = tuple[Scored, Scored]
"""Scores of positives and of hard negatives."""


def roc(ctx: Context, cells: Sequence[Cell]) -> Chart | None:
    """ROC curves of positives against hard negatives, a panel for each language.

    Args:
        ctx: Evidence, words and observations.
        cells: All of the same concept, modality and rendering; at least one.

    Returns:
        The chart, or None without observations. A cell without scores is a panel that says so.
    """
    if ctx.observed is None:
        return None
    words = ctx.words.charts["roc"]
    scores = scores_of(ctx.observed, cells)
    pairs = [(scores[c.key][Kind.POSITIVE], scores[c.key][Kind.HARD_NEGATIVE]) for c in cells]
    shapes, labels = [], []
    for place, (cell, pair) in enumerate(zip(cells, pairs, strict=True)):
        drawn, said = _panel(ctx, cell, pair, *_corner(place))
        said += _axis_words(ctx, place, len(cells))
        shapes += drawn
        labels += said
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    return Chart(
        anchor=anchor_of("roc", cells),
        title=title,
        description=words["description"].format(
            rows=ctx.joined(_spoken(ctx, cell) for cell in cells)
        ),
        note=words["note"].format(level=write_percent(ctx.plan.level)),
        width=WIDTH,
        height=_corner(len(cells) - 1)[1] + HEAD + SIDE + FOOT,
        shapes=tuple(shapes),
        labels=tuple(labels),
        table=_table(ctx, title, cells, pairs),
        table_on_paper=False,
    )


def roc_points(positive: Scored, hard: Scored) -> list[Point]:
    """Shares of hard negatives and of positives at or above each score, highest first.

    It begins at (0, 0) and ends at (1, 1); equal scores are one slanted step, so that the area
    below is the AUROC with ties counted half.

    Args:
        positive: Scores of positives, ascending; at least one.
        hard: Scores of hard negatives, ascending; at least one.
    """
    limits = np.unique(np.concatenate([positive, hard]))[::-1]
    x, y = (_share_above(scores, limits) for scores in (hard, positive))
    return [(0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True)]


def roc_band(points: Sequence[Point], positives: int, level: float) -> list[Interval]:
    """Wilson's interval of the sensitivity at each point of a curve, taken by itself."""
    band = []
    for x, y in points:
        found = wilson(round(y * positives), positives, level)
        band.append((x, found.low, found.high))
    return band


def _share_above(scores: Scored, limits: Scored) -> Scored:
    return (len(scores) - np.searchsorted(scores, limits, side="left")) / len(scores)


def _corner(place: int) -> Point:
    """Left edge of a plane, and upper edge of the panel around it."""
    wide = (WIDTH - LEFT - SIDE - RIGHT) / (COLUMNS - 1)
    return LEFT + place % COLUMNS * wide, place // COLUMNS * (HEAD + SIDE + BETWEEN)


def _panel(
    ctx: Context, cell: Cell, pair: Pair, x: float, y: float
) -> tuple[list[Shape], list[Label]]:
    frame = Frame(Scale(0, 1, x, x + SIDE), Scale(0, 1, y + HEAD + SIDE, y + HEAD))
    shapes, labels = [_grid(frame)], _head(ctx, cell, x, y)
    if not all(map(len, pair)):
        lines = wrapped(ctx.words.charts["roc"]["no_scores"], SIDE - 16, most=3)
        labels += [
            say(x + SIDE / 2, y + HEAD + 60 + 14 * i, line, place="middle", ink="missing")
            for i, line in enumerate(lines)
        ]
        return shapes, labels
    points = roc_points(*pair)
    band = roc_band(points, len(pair[0]), ctx.plan.level)
    chance = Shape(look="chance", path=polyline([frame.at((0, 0)), frame.at((1, 1))]))
    shapes += [*curve(frame, points, band=band), chance, *_operating(ctx, cell, frame)]
    return shapes, labels


def _grid(frame: Frame) -> Shape:
    lines = [vertical(frame.across.at(t), frame.up.end, frame.up.start) for t in TICKS]
    lines += [horizontal(frame.up.at(t), frame.across.start, frame.across.end) for t in TICKS]
    return Shape(look="grid", path=" ".join(lines))


def _axis_words(ctx: Context, place: int, panels: int) -> list[Label]:
    """Ticks at the first plane of each line and below the last of each column: axes are shared."""
    x, y = _corner(place)
    bottom, labels = y + HEAD + SIDE, []
    if place % COLUMNS == 0:
        labels += [
            say(x - 5, bottom - t * SIDE + 4, write_percent(t), place="end", ink="quiet")
            for t in TICKS
        ]
    if place + COLUMNS >= panels:
        labels += [
            say(x + t * SIDE, bottom + 14, write_percent(t), place="middle", ink="quiet")
            for t in TICKS
        ]
        words = ctx.words.charts["roc"]["across"]
        labels.append(say(x + SIDE / 2, bottom + 27, words, place="middle", ink="quiet"))
    return labels


def _head(ctx: Context, cell: Cell, x: float, y: float) -> list[Label]:
    """Name, area and what was reached at the cut-off, above the plane."""
    words = ctx.words.charts["roc"]
    area, hits, alarms = (ctx.number(cell, name) for name in NAMES)
    lines = (
        sentence(words["area"], number=area),
        sentence(words["hits"], number=hits),
        sentence(words["alarms"], number=alarms),
    )
    return [
        say(x, y + 12, cut(name_of(ctx, cell), SIDE), ink="strong"),
        *(
            say(x, y + 26 + 13 * i, line, ink="small", with_intervals=i == 0)
            for i, line in enumerate(lines)
        ),
    ]


def _operating(ctx: Context, cell: Cell, frame: Frame) -> list[Shape]:
    """The locked cut-off with both of its intervals."""
    _, hits, alarms = (result_of(ctx, cell, name) for name in NAMES)
    if hits is None or alarms is None or hits.value is None or alarms.value is None:
        return []
    x, y = frame.at((alarms.value, hits.value))
    arms = []
    if alarms.low is not None and alarms.high is not None:
        arms.append(horizontal(y, frame.across.at(alarms.low), frame.across.at(alarms.high)))
    if hits.low is not None and hits.high is not None:
        arms.append(vertical(x, frame.up.at(hits.low), frame.up.at(hits.high)))
    return [
        *(Shape(look="cross", path=arm) for arm in [" ".join(arms)] if arm),
        Shape(look="chosen", path=diamond(x, y, 5)),
    ]


def _spoken(ctx: Context, cell: Cell) -> str:
    area, hits, alarms = (spoken(ctx, ctx.number(cell, name)) for name in NAMES)
    return ctx.words.charts["roc"]["row"].format(
        language=name_of(ctx, cell), area=area, hits=hits, alarms=alarms
    )


def _table(ctx: Context, title: str, cells: Sequence[Cell], pairs: Sequence[Pair]) -> Table:
    words = ctx.words.charts["roc"]
    columns = (
        *(words[f"column_{name}"] for name in NAMES),
        *(words["column_at"].format(share=write_percent(share)) for share in READ_AT),
    )
    rows = (_data_row(ctx, cell, pair) for cell, pair in zip(cells, pairs, strict=True))
    return data_of(ctx, title, ctx.words.ui["language"], columns, [RowGroup(rows=tuple(rows))])


def _data_row(ctx: Context, cell: Cell, pair: Pair) -> TableRow:
    numbers = tuple(Entry(number=ctx.number(cell, name)) for name in NAMES)
    read = [EMPTY] * len(READ_AT)
    if all(map(len, pair)):
        points = roc_points(*pair)
        read = [Entry(text=write(_height(points, share), "share")) for share in READ_AT]
    return TableRow(title=name_of(ctx, cell), anchor=cell_anchor(cell), entries=(*numbers, *read))


def _height(points: Sequence[Point], share: float) -> float:
    """The largest sensitivity of a cut-off with at most this share of false alarms."""
    return max(y for x, y in points if x <= share)
