"""The same few numbers of one thing in several subjects, in their order: small multiples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compliance.records.chart import Chart, Label, Look, Shape
from compliance.records.page import Table
from compliance.reports.charts.drawing import (
    WIDTH,
    Frame,
    Scale,
    cut,
    diamond,
    disc,
    horizontal,
    polyline,
    say,
    vertical,
)

TOP, BOTTOM = 26.0, 150.0
"""Pixels of the upper and the lower end of every panel."""

HEIGHT = 182.0
GAP, EDGE = 34.0, 26.0
"""Between panels, and left of the first one."""

MOST_TICKS = 12
"""Subjects that are numbered below a panel; of more, every second or third."""


@dataclass(frozen=True)
class Spot:
    """A value in one subject."""

    value: float | None
    low: float | None
    high: float | None
    joined: bool = True
    """Whether it stands in the series; else it is drawn hollow and no line leads to it."""

    changed: bool = False
    """Whether a change against the first is shown."""


@dataclass(frozen=True)
class Panel:
    """One number, from 0 to 1, in every subject."""

    title: str
    spots: tuple[Spot, ...]
    chance: float | None = None
    """What a line is drawn at."""


def trend(
    panels: Sequence[Panel], *, axis: str, write: Callable[[float], str], anchor: str, title: str,
    description: str, table: Table, note: str,
) -> Chart:  # fmt: skip
    """Panels side by side, with a subject at each place across.

    Args:
        panels: At least one; each with as many spots.
        axis: What stands below each panel.
        write: How a value at the axis is written.
        anchor: Fragment name.
        title: What is drawn.
        description: The same with all values, in words.
        table: What is drawn, as numbers.
        note: How to read it.
    """
    width = (WIDTH - EDGE - GAP * (len(panels) - 1)) / len(panels)
    shapes: list[Shape] = []
    labels: list[Label] = []
    for place, panel in enumerate(panels):
        left = EDGE + place * (width + GAP)
        inner = 12.0 if len(panel.spots) > 1 else width / 2
        across = Scale(0, max(len(panel.spots) - 1, 1), left + inner, left + width - inner)
        frame = Frame(across, Scale(0.0, 1.0, BOTTOM, TOP))
        shapes += _grid(frame, left, left + width, panel)
        shapes += _spots(frame, panel.spots)
        labels += _words(frame, left, width, panel, axis, write)
    return Chart(
        anchor=anchor, title=title, description=description, note=note, width=WIDTH, height=HEIGHT,
        shapes=tuple(shapes), labels=tuple(labels), table=table, table_on_paper=True,
    )  # fmt: skip


def _grid(frame: Frame, left: float, right: float, panel: Panel) -> list[Shape]:
    lines = " ".join(horizontal(frame.up.at(value), left, right) for value in (0.0, 0.5, 1.0))
    found = [Shape(look="grid", path=lines)]
    found.append(Shape(look="axis", path=horizontal(BOTTOM, left, right)))
    if panel.chance is not None:
        found.append(Shape(look="chance", path=horizontal(frame.up.at(panel.chance), left, right)))
    return found


def _spots(frame: Frame, spots: Sequence[Spot]) -> list[Shape]:
    """The series as a line, intervals, and a point for each value: its shape says what it is."""
    placed = [
        (spot, frame.at((place, spot.value)))
        for place, spot in enumerate(spots)
        if spot.value is not None
    ]
    series = [pixel for spot, pixel in placed if spot.joined]
    spans = [
        upright(x, frame.up.at(spot.low), frame.up.at(spot.high))
        for spot, (x, _) in placed
        if spot.low is not None and spot.high is not None
    ]
    plain = [disc(x, y, 3.6) for spot, (x, y) in placed if spot.joined and not spot.changed]
    changed = [diamond(x, y, 5.4) for spot, (x, y) in placed if spot.joined and spot.changed]
    apart = [disc(x, y, 3.6) for spot, (x, y) in placed if not spot.joined]
    drawn: tuple[tuple[Look, list[str]], ...] = (
        ("line", [polyline(series)] if len(series) > 1 else []),
        ("interval", spans),
        ("point", plain),
        ("chosen", changed),
        ("hollow", apart),
    )
    return [Shape(look=look, path=" ".join(paths)) for look, paths in drawn if paths]


def upright(x: float, low: float, high: float, end: float = 3.0) -> str:
    """An interval up and down, with strokes at its ends."""
    strokes = (horizontal(y, x - end, x + end) for y in (low, high))
    return " ".join((vertical(x, high, low), *strokes))


def _words(
    frame: Frame, left: float, width: float, panel: Panel, axis: str, write: Callable[[float], str]
) -> list[Label]:
    step = -(-len(panel.spots) // MOST_TICKS)
    return [
        say(left, 14, cut(panel.title, width), ink="strong"),
        *(
            say(left - 4, frame.up.at(value) + 4, write(value), place="end", ink="quiet")
            for value in (0.0, 0.5, 1.0)
        ),
        *(
            say(frame.across.at(place), BOTTOM + 14, str(place), place="middle", ink="quiet")
            for place in range(0, len(panel.spots), step)
        ),
        say(left + width / 2, BOTTOM + 28, axis, place="middle", ink="quiet"),
        *(
            say(frame.across.at(place), BOTTOM - 4, "–", place="middle", ink="missing")
            for place, spot in enumerate(panel.spots)
            if spot.value is None
        ),
    ]
