"""The pictures that train the demo's vision tower: drawings of emoji, and words that are typeset.

Drawings are those of Debian's ``fonts-noto-color-emoji``; three more sets of drawings of the same
emoji, if their folder is given, so that a thing is seen in more than one style. Names and keywords
are CLDR's, in six languages. Every tenth emoji is held out, with its name in every language, with
its keywords that no other emoji has, and together with its variants by gender.

Debian packages: fonts-noto-color-emoji, fonts-noto-core, fonts-noto-cjk, unicode-cldr-core.
"""

from __future__ import annotations

import hashlib
import io
import json
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LANGUAGES = {"en": "en", "ja": "ja", "zh-Hans": "zh", "el": "el", "vi": "vi", "ru": "ru"}
"""The project's language codes, and CLDR's names for their files."""

CLDR = Path("/usr/share/unicode/cldr/common")
EMOJI_FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
LATIN_FONTS = [
    f"/usr/share/fonts/truetype/noto/Noto{family}-{style}.ttf"
    for family in ("Sans", "Serif")
    for style in ("Regular", "Bold")
]
CJK_FONTS = [
    f"/usr/share/fonts/opentype/noto/Noto{family}CJK-{style}.ttc"
    for family in ("Sans", "Serif")
    for style in ("Regular", "Bold")
]
CJK_FACES = {"ja": 0, "zh-Hans": 2}
"""Which face of the CJK collections has a language's forms of the characters."""

SIDE = 128
PATCH = 16
GRID = SIDE // PATCH
PEOPLE = {"👨", "👩", "🧑"}
MARKS = {"\u200d", "\ufe0f", "♀", "♂", "🦰", "🦱", "🦲", "🦳"}
ICON_SETS = ("fluent-emoji-flat", "noto-v1", "fxemoji")
"""Packages ``@iconify-json/NAME``: MIT, Apache-2.0 and Apache-2.0."""


@dataclass(frozen=True)
class Emoji:
    """One emoji: its characters, its names, English keywords, and whether training may see it."""

    characters: str
    names: dict[str, str]
    """By language, from CLDR."""
    keywords: dict[str, tuple[str, ...]]
    """By language, from CLDR."""
    held_out: bool


def emojis() -> list[Emoji]:
    """All emoji with a name in every language and a picture in the font; no skin tones.

    Source: CLDR annotations, ``type="tts"``. In the order of their code points.
    """
    both = {language: annotations(language) for language in LANGUAGES}
    named = set.intersection(*(set(names) for names, _ in both.values()))
    return [
        Emoji(
            characters=characters,
            names={language: names[characters] for language, (names, _) in both.items()},
            keywords={language: words.get(characters, ()) for language, (_, words) in both.items()},
            held_out=is_held_out(characters),
        )
        for characters in sorted(named)
        if is_emoji(characters)
    ]


@cache
def annotations(language: str) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Names and keywords by character, of single emoji and of sequences."""
    names, keywords = {}, {}
    for folder in ("annotations", "annotationsDerived"):
        tree = ElementTree.parse(CLDR / folder / f"{LANGUAGES[language]}.xml")
        for entry in tree.iter("annotation"):
            if entry.get("type") == "tts":
                names[entry.get("cp")] = entry.text
            else:
                keywords[entry.get("cp")] = tuple(map(str.strip, entry.text.split("|")))
    return names, keywords


def is_emoji(characters: str) -> bool:
    """Whether the font draws it as one picture; plain signs and skin tones are left out."""
    if ord(characters[0]) < 0x2000 or any("🏻" <= one <= "🏿" for one in characters):
        return False
    left, top, right, bottom = emoji_font().getbbox(characters)
    return 0 < right - left <= 140 and bottom > top and drawing(characters).getbbox() is not None


def is_held_out(characters: str) -> bool:
    """Every tenth by a hash of the code points, variants by gender and hair with their kind."""
    kind = "".join(one for one in characters if one not in PEOPLE | MARKS) or characters[0]
    return hashlib.sha256(kind.encode()).digest()[0] % 10 == 0


@cache
def emoji_font() -> ImageFont.FreeTypeFont:
    """The colour font has bitmaps of one size alone."""
    return ImageFont.truetype(EMOJI_FONT, 109)


def drawing(characters: str) -> Image.Image:
    """The font's picture of an emoji, RGBA, transparent around it."""
    picture = Image.new("RGBA", (140, 140))
    pen = ImageDraw.Draw(picture)
    pen.text((0, 0), characters, font=emoji_font(), embedded_color=True)
    return picture


def more_drawings(icons: Path, wanted: Iterable[Emoji]) -> dict[str, list[Image.Image]]:
    """Pictures of the same emoji from other sets, by the emoji's characters.

    Args:
        icons: A folder with the unpacked packages ``ICON_SETS``; needs the package ``resvg-py``.
        wanted: Emoji to look for, by code points or by name.
    """
    wanted = list(wanted)
    found: dict[str, list[Image.Image]] = {}
    for name in ICON_SETS:
        icon_set = json.loads((icons / name / "icons.json").read_text(encoding="utf-8"))
        chars = json.loads((icons / name / "chars.json").read_text(encoding="utf-8"))
        by_code = {code.replace("-fe0f", ""): icon for code, icon in chars.items()}
        by_name = {icon.replace("-", ""): icon for icon in icon_set["icons"]}
        for emoji in wanted:
            code = "-".join(f"{ord(one):x}" for one in emoji.characters if one != "\ufe0f")
            names = [bare(emoji.names["en"])]
            if len(emoji.characters) == 1:
                names.append(bare(unicodedata.name(emoji.characters, "")))
            icon = by_code.get(code) or next((by_name[n] for n in names if n in by_name), None)
            if icon is not None:
                picture = rasterised(icon_set, icon)
                if picture.getbbox() is not None:
                    found.setdefault(emoji.characters, []).append(picture)
    return found


def bare(name: str) -> str:
    """A name without anything but its letters and digits, in lower case."""
    return "".join(one for one in name.lower() if one.isalnum())


def rasterised(icon_set: dict, icon: str) -> Image.Image:
    """One picture of an Iconify set, 136 pixels high, RGBA."""
    import resvg_py

    entry = icon_set["icons"][icon]
    width, height = (entry.get(side, icon_set.get(side, 16)) for side in ("width", "height"))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{136 * width // height}" height="136">{entry["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def plain_depicted(characters: str) -> Image.Image:
    """An emoji unchanged, in the middle of white."""
    return placed(drawing(characters), share=0.875, centre=(0.5, 0.5), paper=(255, 255, 255))


def placed(
    figure: Image.Image, *, share: float, centre: tuple[float, float], paper: tuple[int, int, int]
) -> Image.Image:
    """A transparent picture on coloured paper.

    Args:
        figure: RGBA.
        share: Its longer side, as a part of the paper's.
        centre: Where its middle lies, 0..1.
        paper: R, G, B.
    """
    figure = figure.crop(figure.getbbox())
    scale = share * SIDE / max(figure.size)
    figure = figure.resize(
        [max(1, round(side * scale)) for side in figure.size], Image.Resampling.BILINEAR
    )
    corner = [
        round(place * SIDE - side / 2) for place, side in zip(centre, figure.size, strict=True)
    ]
    page = Image.new("RGB", (SIDE, SIDE), paper)
    page.paste(figure, tuple(corner), figure)
    return page


def depicted(figure: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """A training picture of a drawing: turned, moved, scaled, mirrored at times, on any paper.

    Returns:
        The picture, and which patches the drawing touches, bool, (GRID, GRID).
    """
    if rng.random() < 0.1:
        figure = figure.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, expand=True)
    if rng.random() < 0.1:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    near = rng.random() < 0.8
    share = rng.uniform(0.84, 0.9) if near else rng.uniform(0.6, 1.0)
    slack = 0.01 if near else (1 - share) / 2
    centre = tuple(0.5 + rng.uniform(-slack, slack, 2))
    white = rng.random() < 0.9
    paper = (255, 255, 255) if white else tuple(int(c) for c in rng.integers(0, 256, 3))
    page = placed(figure, share=share, centre=centre, paper=paper)
    ink = np.any(np.asarray(page) != np.array(paper, np.uint8), axis=2)
    touched = ink.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3)) > 0.05
    return shaded(page, rng), touched


def shaded(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """In a tenth of all pictures, slightly other brightness, colour balance and noise."""
    if rng.random() < 0.9:
        return page
    values = np.asarray(page, np.float32)
    values = values * rng.uniform(0.88, 1.08, 3).astype(np.float32) + rng.uniform(-8, 8)
    if rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(2, 10), values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@cache
def font(path: str, face: int, size: int) -> ImageFont.FreeTypeFont:
    """Opening a font is slow; there are few sizes."""
    return ImageFont.truetype(path, size, index=face)


def font_for(language: str, style: int, size: int) -> ImageFont.FreeTypeFont:
    """One of four fonts of a script: sans or serif, regular or bold."""
    if language in CJK_FACES:
        return font(CJK_FONTS[style], CJK_FACES[language], size)
    return font(LATIN_FONTS[style], 0, size)


def broken(text: str, language: str, face: ImageFont.FreeTypeFont, width: int) -> list[str] | None:
    """Lines no wider than ``width``, with the space that ends each; None where a word is wider."""
    spaced = language not in CJK_FACES
    pieces = [piece + " " for piece in text.split(" ")] if spaced else list(text)
    lines = [""]
    for piece in pieces:
        if face.getlength(piece.rstrip()) > width:
            return None
        if face.getlength((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return lines


def plain_typographic(text: str, language: str) -> Image.Image:
    """Black words on white in the regular sans font, as large as fits, at most 24 pixels.

    Raises:
        ValueError: It does not fit in letters of 6 pixels.
    """
    for size in range(24, 5, -1):
        page = typeset(text, language, style=0, size=size)
        if page is not None:
            return page[0]
    raise ValueError(f"too long for a picture: {text!r}")


def typographic(
    text: str, language: str, rng: np.random.Generator
) -> tuple[Image.Image, np.ndarray] | None:
    """A training picture of words: any of four fonts, any size that fits, any place and colours.

    Returns:
        The picture, and the index into ``text`` of the character that fills each patch most,
        -1 where none does, (GRID, GRID); None where the text does not fit at the size drawn.
    """
    paper, ink = (255, 255, 255), (0, 0, 0)
    if rng.random() < 0.15:
        paper, ink = (tuple(int(c) for c in rng.integers(0, 256, 3)) for _ in range(2))
        if abs(sum(paper) - sum(ink)) < 240:
            paper, ink = (255, 255, 255), tuple(int(c) for c in rng.integers(0, 120, 3))
    made = typeset(
        text,
        language,
        style=int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])),
        size=int(rng.choice([16, 20, 24])),
        paper=paper,
        ink=ink,
        place=None if rng.random() < 0.7 else tuple(rng.random(2)),
    )
    return made and (shaded(made[0], rng), made[1])


def typeset(
    text: str,
    language: str,
    *,
    style: int,
    size: int,
    paper: tuple[int, int, int] = (255, 255, 255),
    ink: tuple[int, int, int] = (0, 0, 0),
    place: tuple[float, float] | None = None,
) -> tuple[Image.Image, np.ndarray] | None:
    """Words on a page, broken into lines.

    Args:
        text: The words, one space between them.
        language: Decides the font and where a line may break.
        style: Sans regular, sans bold, serif regular, serif bold.
        size: Of the font, in pixels.
        paper: R, G, B of the page.
        ink: R, G, B of the words.
        place: Where the block stands in the room left over, 0..1; else as ``compliance suites
            render`` has it: a letter's size from the left, in the middle of the height.

    Returns:
        As ``typographic``.
    """
    face, step = font_for(language, style, size), round(size * 1.5)
    margin = 3 if place else size
    lines = broken(text, language, face, SIDE - 2 * margin)
    if lines is None or len(lines) * step > SIDE - 6:
        return None
    width = max(face.getlength(line.rstrip()) for line in lines)
    across, down = place or (0, 0.5)
    left = margin + across * (SIDE - 2 * margin - width)
    top = 3 + down * (SIDE - 6 - len(lines) * step)
    page = Image.new("RGB", (SIDE, SIDE), paper)
    pen = ImageDraw.Draw(page)
    area = np.zeros((GRID, GRID))
    character = np.full((GRID, GRID), -1)
    start = 0
    for row, line in enumerate(lines):
        y = top + row * step
        pen.text((left, y + step / 2), line.rstrip(), font=face, fill=ink, anchor="lm")
        mark(area, character, edges(line, left, face), (y, y + step), start)
        start += len(line)
    return page, character


def edges(line: str, left: float, face: ImageFont.FreeTypeFont) -> np.ndarray:
    """Where each character of a line begins and the last one ends, in pixels."""
    words = line.rstrip()
    return left + np.array([face.getlength(words[:end]) for end in range(len(words) + 1)])


def mark(
    area: np.ndarray, character: np.ndarray, xs: np.ndarray, y: tuple[float, float], start: int
) -> None:
    """Notes for each patch the character that fills most of it, so far."""
    grid = np.arange(GRID) * PATCH
    height = np.clip(np.minimum(y[1], grid + PATCH) - np.maximum(y[0], grid), 0, None)
    for index in range(len(xs) - 1):
        right, left = np.minimum(xs[index + 1], grid + PATCH), np.maximum(xs[index], grid)
        filled = height[:, None] * np.clip(right - left, 0, None)
        more = filled > np.maximum(area, 20)
        area[more] = filled[more]
        character[more] = start + index
