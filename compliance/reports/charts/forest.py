"""Values with intervals, a row each, and lines that they are compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compliance.records.chart import Chart, Label, Look, Shape
from compliance.records.page import Sentence, Table
from compliance.reports.charts.drawing import (
    WIDTH,
    Scale,
    cut,
    disc,
    horizontal,
    say,
    vertical,
    whisker,
)

ROW, LINE = 24.0, 13.0
TEXT = 170.0
"""Room for the values in words, right of the axis."""


@dataclass(frozen=True)
class Row:
    """A line of a forest plot."""

    name: str
    words: Sentence
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A value that all rows are compared with."""

    value: float
    words: str
    look: Look


def forest(
    rows: Sequence[Row],
    marks: Sequence[Mark],
    ticks: Sequence[float],
    *,
    left: float,
    write: Callable[[float], str],
    anchor: str,
    title: str,
    description: str,
    table: Table,
    note: str | None = None,
) -> Chart:
    """A dot and its interval for each row.

    Args:
        rows: From top to bottom.
        marks: Dashed lines; their words stand above, each on a line of its own.
        ticks: Of the axis, which ends with them; ascending.
        left: Pixel where the axis begins; names stand before it.
        write: How a tick is written.
        anchor: Fragment name.
        title: What is drawn.
        description: The same with all values, in words.
        table: What is drawn, as numbers. Paper has these numbers in a table nearby.
        note: How to read it.
    """
    top = 10.0 + LINE * len(marks)
    bottom = top + ROW * len(rows)
    across = Scale(ticks[0], ticks[-1], left, WIDTH - TEXT)
    places = [top + ROW * (i + 0.5) for i in range(len(rows))]
    return Chart(
        anchor=anchor,
        title=title,
        description=description,
        note=note,
        width=WIDTH,
        height=bottom + 22,
        shapes=(
            Shape(look="grid", path=" ".join(vertical(across.at(t), top, bottom) for t in ticks)),
            Shape(look="axis", path=horizontal(bottom, across.start, across.end)),
            *_lines(marks, across, top, bottom),
            *_values(rows, across, places),
        ),
        labels=(
            *(say(across.at(t), bottom + 15, write(t), place="middle", ink="quiet") for t in ticks),
            *_mark_words(marks, across),
            *_row_words(rows, across, places),
        ),
        table=table,
        table_on_paper=False,
    )


def _lines(marks: Sequence[Mark], across: Scale, top: float, bottom: float) -> list[Shape]:
    """Each begins below its own words."""
    return [
        Shape(look=mark.look, path=vertical(across.at(mark.value), 4.0 + LINE * (i + 1), bottom))
        for i, mark in enumerate(marks)
    ]


def _mark_words(marks: Sequence[Mark], across: Scale) -> list[Label]:
    return [
        say(across.at(mark.value), LINE * (i + 1), mark.words, place="middle", ink="limit")
        for i, mark in enumerate(marks)
    ]


def _values(rows: Sequence[Row], across: Scale, places: Sequence[float]) -> list[Shape]:
    drawn = [(row, y) for row, y in zip(rows, places, strict=True) if row.value is not None]
    spans = [
        whisker(y, across.at(row.low), across.at(row.high))
        for row, y in drawn
        if row.low is not None and row.high is not None
    ]
    dots = [disc(across.at(row.value), y, 4.2) for row, y in drawn if row.value is not None]
    shapes: tuple[tuple[Look, list[str]], ...] = (("interval", spans), ("point", dots))
    return [Shape(look=look, path=" ".join(paths)) for look, paths in shapes if paths]


def _row_words(rows: Sequence[Row], across: Scale, places: Sequence[float]) -> list[Label]:
    found = []
    for row, y in zip(rows, places, strict=True):
        name = cut(row.name, across.start - 14)
        ink = "missing" if row.value is None else "plain"
        found.append(say(across.start - 14, y + 4, name, place="end"))
        found.append(say(across.end + 14, y + 4, row.words, ink=ink, with_intervals=True))
    return found
