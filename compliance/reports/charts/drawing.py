"""Scales, paths and words: what all charts are put together from.

    across = Scale(0.0, 1.0, start=30.0, end=180.0)
    Shape(look="grid", path=vertical(across.at(0.5), 20.0, 170.0))

Pixels are those of a chart 640 wide, as wide as the text of a printed page.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from compliance.records.chart import Ink, Label
from compliance.records.finding import Result
from compliance.records.page import Number, RowGroup, Sentence, Table
from compliance.records.plan import Cell
from compliance.reports.context import Context, anchor, sentence
from compliance.reports.numbers import MINUS, SPACE, write_limit

WIDTH = 640.0
SIZE, SMALL = 11.0, 10.0
"""Sizes of letters: of names, and of what stands at axes."""

NARROW, WIDE = 0.54, 1.0
"""Mean width of a letter, as a share of its size; of Han letters and Kana."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Where values lie along an axis. Values outside lie at its ends."""

    low: float
    high: float
    start: float
    """Pixel of ``low``."""

    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; on a logarithmic axis it must be positive."""
        low, high = self._along(self.low), self._along(self.high)
        share = (self._along(value) - low) / (high - low)
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 2)

    def _along(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


@dataclass(frozen=True)
class Frame:
    """A plane of two axes."""

    across: Scale
    up: Scale

    def at(self, point: Point) -> Point:
        """The pixels of a point."""
        return self.across.at(point[0]), self.up.at(point[1])


def step_for(span: float, parts: int) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that covers a span in so many parts."""
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


def round_ticks(low: float, high: float, parts: int) -> list[float]:
    """Round values from ``low`` to ``high``, at most ``parts`` steps apart."""
    step = step_for(high - low, parts)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def write_tick(value: float) -> str:
    """A value at an axis, without digits it does not have."""
    return write_limit(value, "plain").replace("-", MINUS)


def polyline(points: Iterable[Point]) -> str:
    """Straight lines through pixels; one that stays where it is is written once."""
    return "M" + " L".join(pair for pair, _ in groupby(_pair(point) for point in points))


def polygon(points: Iterable[Point]) -> str:
    """An area with these corners."""
    return "M" + " L".join(_pair(point) for point in points) + " Z"


def vertical(x: float, top: float, bottom: float) -> str:
    """A line from top to bottom."""
    return f"M{_write(x)},{_write(top)} V{_write(bottom)}"


def horizontal(y: float, left: float, right: float) -> str:
    """A line from left to right."""
    return f"M{_write(left)},{_write(y)} H{_write(right)}"


def box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle with its upper left corner at a pixel."""
    return f"M{_write(x)},{_write(y)} h{_write(width)} v{_write(height)} h{_write(-width)} Z"


def disc(x: float, y: float, radius: float) -> str:
    """A circle."""
    r, d = _write(radius), _write(2 * radius)
    return f"M{_write(x - radius)},{_write(y)} a{r},{r} 0 1,0 {d},0 a{r},{r} 0 1,0 -{d},0 Z"


def half_disc(x: float, y: float, radius: float) -> str:
    """The left half of a circle."""
    r, d = _write(radius), _write(2 * radius)
    return f"M{_write(x)},{_write(y - radius)} a{r},{r} 0 0,0 0,{d} Z"


def square(x: float, y: float, radius: float) -> str:
    """A square around a pixel."""
    return box(x - radius, y - radius, 2 * radius, 2 * radius)


def diamond(x: float, y: float, radius: float) -> str:
    """A square on its corner around a pixel."""
    return polygon([(x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius)])


def triangle_down(x: float, y: float, radius: float) -> str:
    """A triangle that points down, around a pixel."""
    return polygon([(x - radius, y - radius), (x + radius, y - radius), (x, y + radius)])


def crossed(x: float, y: float, radius: float) -> str:
    """Two strokes that cross at a pixel."""
    left, right, top, bottom = (_write(v) for v in (x - radius, x + radius, y - radius, y + radius))
    return f"M{left},{top} L{right},{bottom} M{left},{bottom} L{right},{top}"


def whisker(y: float, low: float, high: float, end: float = 4.0) -> str:
    """An interval along a row, with strokes at its ends."""
    strokes = (horizontal(y, low, high), *(vertical(x, y - end, y + end) for x in (low, high)))
    return " ".join(strokes)


def _pair(point: Point) -> str:
    return f"{_write(point[0])},{_write(point[1])}"


def _write(pixel: float) -> str:
    return f"{round(pixel, 2) + 0.0:.10g}"


def say(
    x: float,
    y: float,
    words: str | Sentence,
    *,
    place: Literal["start", "middle", "end"] = "start",
    ink: Ink = "plain",
    with_intervals: bool = False,
) -> Label:
    """Words at a pixel."""
    said = sentence("{text}", text=words) if isinstance(words, str) else words
    return Label(
        x=round(x, 2), y=round(y, 2), words=said, place=place, ink=ink,
        with_intervals=with_intervals,
    )  # fmt: skip


def width_of(text: str, size: float = SIZE) -> float:
    """About how wide a text is; a renderer's letters are known to nobody here."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return size * (NARROW * (len(text) - wide) + WIDE * wide)


def cut(text: str, width: float, size: float = SIZE) -> str:
    """A text, shortened to about a width."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def wrapped(text: str, width: float, size: float = SIZE, most: int = 2) -> list[str]:
    """A text in lines of about a width; what does not fit in the last line is cut."""
    lines: list[str] = []
    words = text.replace(SPACE, " ").split(" ")
    while words and len(lines) < most - 1:
        taken = 1
        while taken < len(words) and width_of(" ".join(words[: taken + 1]), size) <= width:
            taken += 1
        lines.append(cut(" ".join(words[:taken]), width, size))
        words = words[taken:]
    return [*lines, cut(" ".join(words), width, size)] if words else lines


def anchor_of(kind: str, cells: Sequence[Cell]) -> str:
    """Fragment name of a chart of one concept in one kind of input."""
    first = cells[0]
    return anchor(kind, f"{first.concept}/{first.modality}/{first.rendering}")


def name_of(ctx: Context, cell: Cell) -> str:
    """What a cell is called in a chart whose title names the rest."""
    return ctx.language(cell.language).name


def spoken(ctx: Context, number: Number) -> str:
    """A result with its interval, as a text alternative says it."""
    words = ctx.words.charts["words"]
    if number.text is None:
        return number.short or words["none"]
    return f"{number.text} ({number.interval})" if number.interval else number.text


def result_of(ctx: Context, cell: Cell, name: str) -> Result | None:
    """A result as coordinates, if it has a value; what is printed is `Context.number`."""
    result = ctx.numbers.result(f"{cell.key}/{name}")
    return None if result is None or result.value is None else result


def data_of(
    ctx: Context, title: str, corner: str, columns: Sequence[str], groups: Iterable[RowGroup]
) -> Table:
    """The table behind a chart."""
    words = ctx.words.charts["words"]
    return Table(
        caption=words["data"].format(title=title),
        corner=corner,
        columns=tuple(columns),
        groups=tuple(groups),
        absent=words["nothing"],
    )
