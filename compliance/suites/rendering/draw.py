"""Draws an item's words: paragraphs in lines, black on white, one size of letters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING

from compliance.errors import SuiteError
from compliance.records.suite import MAX_SIDE, Item
from compliance.suites.rendering.fonts import Face, Fonts, Unwritable
from compliance.suites.rendering.layout import clusters, lines

if TYPE_CHECKING:
    import PIL.Image
    from PIL.ImageDraw import ImageDraw

LINE = 1.5
"""Height of a line, of the letters' size: room for Vietnamese marks above and for descenders."""

BASELINE = 1.1
"""From the line's top, of the letters' size."""

BETWEEN = 0.5
"""Between two turns, of the letters' size."""

LEAST_COLUMN = 8
"""Width of the column of text, of the letters' size; narrower ones tear words apart."""

SPEAKERS = {
    "en": {"user": "User: ", "assistant": "Assistant: ", "system": "System: "},
    "ja": {"user": "ユーザー：", "assistant": "アシスタント：", "system": "システム："},
    "zh": {"user": "用户：", "assistant": "助手：", "system": "系统："},
    "el": {"user": "Χρήστης: ", "assistant": "Βοηθός: ", "system": "Σύστημα: "},
    "vi": {"user": "Người dùng: ", "assistant": "Trợ lý: ", "system": "Hệ thống: "},
    "ru": {"user": "Пользователь: ", "assistant": "Ассистент: ", "system": "Система: "},
}
"""What stands before a turn, by language; those of other languages are in English."""


@dataclass(frozen=True)
class Drawn:
    """A picture of words, and what drew it."""

    picture: PIL.Image.Image
    faces: frozenset[Face]


def draw_item(item: Item, *, size: int, width: int, square: bool = False) -> Drawn:
    """Draw the words of an item; a dialogue as paragraphs with their speakers.

    Args:
        item: With text or messages.
        size: Of the letters, in pixels.
        width: Of the picture, in pixels; the height follows from the text.
        square: Add white on both sides, or above and below, until both are the same.

    Raises:
        SuiteError: A character that no font has, or a picture that would be too high, and the
            message names the item; or a package or font is not installed.
    """
    _refuse_missing_packages()
    try:
        pen = _pen(item.language, size, monospaced=item.format == "code")
        drawn = _drawn(paragraphs(item), pen, width)
        return replace(drawn, picture=_squared(drawn.picture)) if square else drawn
    except Unwritable as error:
        raise SuiteError(f"item {item.id}: {error}", hint=error.hint) from error
    except _TooHigh as error:
        raise SuiteError(
            f"item {item.id}: its picture would be {error.height:,} pixels high, at most "
            f"{MAX_SIDE:,}",
            hint="choose smaller letters with --size or a wider picture with --width",
        ) from error


def paragraphs(item: Item) -> list[str]:
    """The words of an item as they are drawn."""
    if item.messages is None:
        return [item.text or ""]
    speakers = SPEAKERS.get(item.language.partition("-")[0], SPEAKERS["en"])
    return [speakers[message.role] + message.content for message in item.messages]


@lru_cache(maxsize=1)
def _refuse_missing_packages() -> None:
    for module, package in (("PIL", "pillow"), ("fontTools", "fonttools"), ("uniseg", "uniseg")):
        if find_spec(module) is None:
            raise SuiteError(
                f"drawing text needs the package {package}",
                hint="install the extra: sae-compliance[suites]",
            )


class _TooHigh(Exception):
    def __init__(self, height: int) -> None:
        super().__init__(height)
        self.height = height


class _Pen:
    """Measures and draws text of one size in one language."""

    def __init__(self, language: str, size: int, *, monospaced: bool) -> None:
        self.language, self.size = language, size
        fonts = Fonts(language, monospaced=monospaced)
        self._face_for = lru_cache(maxsize=8192)(fonts.face_for)
        self.width = lru_cache(maxsize=65536)(self._width)

    def runs(self, text: str) -> list[tuple[Face, str]]:
        """Pieces of a line that one font draws."""
        found = [(self._face_for(cluster), cluster) for cluster in clusters(text)]
        return [
            (face, "".join(cluster for _, cluster in run))
            for face, run in groupby(found, key=lambda one: one[0])
        ]

    def _width(self, text: str) -> float:
        return sum(self._length(face, run) for face, run in self.runs(text))

    def _length(self, face: Face, run: str) -> float:
        return face.sized(self.size).getlength(run, direction="ltr", language=self.language)

    def draw(self, canvas: ImageDraw, x: float, y: float, line: str) -> Iterator[Face]:
        """Draw a line from ``x`` on, on the baseline ``y``, and tell the fonts."""
        for face, run in self.runs(line):
            canvas.text(
                (x, y), run, fill=0, font=face.sized(self.size), anchor="ls", direction="ltr",
                language=self.language,
            )  # fmt: skip
            x += self._length(face, run)
            yield face


_pen = lru_cache(maxsize=64)(_Pen)


def _drawn(texts: list[str], pen: _Pen, width: int) -> Drawn:
    from PIL import Image, ImageDraw

    size = margin = pen.size
    column = width - 2 * margin
    broken = [list(lines(text, column, pen.width)) for text in texts]
    line, between = round(LINE * size), round(BETWEEN * size)
    height = 2 * margin + sum(map(len, broken)) * line + (len(broken) - 1) * between
    if height > MAX_SIDE:
        raise _TooHigh(height)
    picture = Image.new("L", (width, height), 255)
    canvas = ImageDraw.Draw(picture)
    faces: set[Face] = set()
    top = margin
    for paragraph in broken:
        for text in paragraph:
            faces.update(pen.draw(canvas, margin, top + round(BASELINE * size), text))
            top += line
        top += between
    return Drawn(picture.convert("RGB"), frozenset(faces))


def _squared(picture: PIL.Image.Image) -> PIL.Image.Image:
    """In the middle of a white square."""
    from PIL import Image

    side = max(picture.size)
    found = Image.new("RGB", (side, side), "white")
    found.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return found
