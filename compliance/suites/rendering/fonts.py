"""Which font draws which character: Noto's files by name, so that they are the same everywhere.

A font is looked for by its file's name, never by what a system takes for a substitute. A character
that no font has is refused and never drawn as a box.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import langcodes

from compliance.errors import SuiteError
from compliance.records.base import digest_bytes

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

SANS, MONO, CJK = "NotoSans-Regular.ttf", "NotoSansMono-Regular.ttf", "NotoSansCJK-Regular.ttc"

SYMBOLS = (
    "NotoSansMath-Regular.ttf",
    "NotoSansSymbols-Regular.ttf",
    "NotoSansSymbols2-Regular.ttf",
)
"""Tried before the fonts of other scripts, some of which hold symbols too."""

PLACES = {"Jpan": "JP", "Kore": "KR", "Hans": "SC", "Hant": "TC"}
"""How Noto names the forms of Chinese characters, by script."""

UNSEEN = re.compile("[\u00ad\u034f\u200b-\u200d\u2060-\u2064\ufe00-\ufe0f\ufeff]")
"""Characters that leave no ink in any font, so that no font needs them."""

RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}
"""Kinds of characters that change the order of a line (UAX #9)."""

HINT = (
    "install the packages fonts-noto-core, fonts-noto-cjk and fonts-noto-mono, or put the files "
    "into ~/.local/share/fonts"
)


@dataclass(frozen=True)
class Face:
    """One font of a file."""

    path: Path
    index: int = 0
    """In a collection."""

    def covers(self, text: str) -> bool:
        """Whether it has every character that leaves ink."""
        return _characters(self).issuperset(map(ord, UNSEEN.sub("", text)))

    def sized(self, size: int) -> FreeTypeFont:
        """To draw and measure with; ``size`` is in pixels."""
        return _sized(self, size)

    @property
    def facts(self) -> str:
        """Name, file and digest, for a datasheet."""
        name = " ".join(self.sized(16).getname())
        return f"font {name}, {self.path.name}, {_digest(self.path)}"


class Unwritable(SuiteError):
    """A text that no font here can draw."""


class Fonts:
    """The fonts for one language, plain or for code, in the order in which they are tried."""

    def __init__(self, language: str, *, monospaced: bool) -> None:
        script = langcodes.get(language).maximize().script or ""
        place = PLACES.get(script, "JP")
        chinese = [(CJK, f"Noto Sans CJK {place}")]
        first = [(SANS, None), *chinese] if script not in PLACES else [*chinese, (SANS, None)]
        if monospaced:
            first = [(MONO, None), (CJK, f"Noto Sans Mono CJK {place}"), *first]
        self._first = first

    def face_for(self, cluster: str) -> Face:
        """The first font that has all characters of a cluster.

        Raises:
            Unwritable: None has, or the cluster is written from right to left.
            SuiteError: One of the fonts that are always needed is not installed.
        """
        for character in cluster:
            if unicodedata.bidirectional(character) in RIGHT_TO_LEFT:
                raise Unwritable(
                    f"{_named(character)} is written from right to left, which is not drawn yet",
                    hint="leave the language out, or bring pictures of your own",
                )
            if unicodedata.category(character) == "Cc":  # some fonts have empty glyphs for these
                raise _without_font(character)
        for face in self._faces():
            if face.covers(cluster):
                return face
        raise _without_font(
            *(c for c in cluster if not any(face.covers(c) for face in self._faces()))
        )

    def _faces(self) -> Iterator[Face]:
        for file, name in self._first:
            yield _face(file, name)
        yield from _other_faces()


def font_folders() -> list[Path]:
    """Where fonts are looked for, with all folders below; the first that has a file wins."""
    home = Path.home()
    found = (
        home / ".local/share/fonts", home / ".fonts", home / "Library/Fonts",
        Path("/usr/local/share/fonts"), Path("/usr/share/fonts"), Path("/Library/Fonts"),
    )  # fmt: skip
    return [folder for folder in found if folder.is_dir()]


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Noto's plain fonts by file name."""
    found: dict[str, Path] = {}
    for folder in font_folders():
        for path in sorted(folder.rglob("NotoSans*-Regular.tt[fc]")):
            found.setdefault(path.name, path)
    return found


@lru_cache(maxsize=32)
def _face(file: str, name: str | None) -> Face:
    path = _files().get(file)
    if path is None:
        raise SuiteError(f"font {file} is not installed", hint=HINT)
    if name is None:
        return Face(path)
    from PIL import ImageFont

    for index in range(32):
        try:
            family = ImageFont.truetype(path, 16, index=index).getname()[0]
        except OSError:
            break
        if family == name:
            return Face(path, index)
    raise SuiteError(f"font {file} holds no {name}", hint=HINT)


@lru_cache(maxsize=1)
def _other_faces() -> tuple[Face, ...]:
    """Symbols, then every other script by file name."""
    files = _files()
    others = sorted(files.keys() - {SANS, MONO, CJK, *SYMBOLS})
    return tuple(Face(files[name]) for name in (*SYMBOLS, *others) if name in files)


@lru_cache(maxsize=512)
def _characters(face: Face) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(face.path, fontNumber=face.index, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


@lru_cache(maxsize=512)
def _sized(face: Face, size: int) -> FreeTypeFont:
    """Shaped by HarfBuzz: marks, ligatures and forms of a language need it."""
    from PIL import ImageFont, features

    if not features.check_feature("raqm"):
        raise SuiteError(
            "Pillow cannot shape text here: Raqm or FriBiDi is missing",
            hint="install libfribidi (Debian: libfribidi0) and Pillow from its wheel",
        )
    raqm = ImageFont.Layout.RAQM
    return ImageFont.truetype(face.path, size, index=face.index, layout_engine=raqm)


@lru_cache(maxsize=64)
def _digest(path: Path) -> str:
    return digest_bytes(path.read_bytes())


def _without_font(*characters: str) -> Unwritable:
    named = ", ".join(map(_named, characters)) or "these characters together"
    return Unwritable(
        f"no font has {named}",
        hint="leave the character out; emoji and other pictures are not drawn",
    )


def _named(character: str) -> str:
    name = unicodedata.name(character, "a control character")
    return f"U+{ord(character):04X} ({name})"
