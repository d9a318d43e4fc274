"""A chart as a value: paths and words with coordinates, and the table of what it shows.

A template draws one and decides nothing. Coordinates are observations; a number that is printed in
a chart and is a result keeps its address (`compliance.records.page.Number`). Meaning is carried by
shape, dash, place and words; colour only repeats it.
"""

from typing import Literal

from compliance.records.base import Record
from compliance.records.page import Sentence, Table, Text

Look = Literal[
    "grid", "axis", "frame", "chance", "limit", "margin", "target", "cut-off",
    "line", "band", "interval", "point", "hollow", "light", "cross", "chosen",
    "bar-positive", "bar-hard", "bar-benign", "sign", "sign-open", "changed",
]  # fmt: skip
"""How a path is drawn; templates/report/chart.html.j2 says what each looks like."""

Ink = Literal["plain", "strong", "small", "quiet", "limit", "missing"]
"""How words are drawn."""


class Shape(Record):
    """One path in one look: a line, an area, or all bars or points of a series at once.

    A renderer's time goes by the number of elements, so a series is a single path.
    """

    look: Look
    path: str
    """SVG path data, in pixels of the chart."""


class Label(Record):
    """Words in a chart; numbers among them keep their addresses."""

    x: float
    y: float
    """Of the baseline."""

    words: Sentence
    with_intervals: bool = False
    """Whether numbers are followed by their intervals."""

    place: Literal["start", "middle", "end"] = "start"
    """Which end of the words ``x`` is."""

    ink: Ink = "plain"


class Chart(Record):
    """Everything a figure shows."""

    anchor: Text
    title: Text
    description: Text
    """The text alternative: what is drawn, and what it shows, in words."""

    note: Text | None = None
    """How to read it, printed below."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    """In the order in which they are drawn."""

    labels: tuple[Label, ...]
    table: Table
    """What is drawn, as numbers."""

    table_on_paper: bool
    """False: the same numbers stand in a table nearby, and paper leaves this one out."""
