"""Makes the suite ``compliance:pictures``: danger and distress, in words and in emoji.

Each group is one emoji that shows the concept and one that looks alike and does not. Every emoji
comes in three forms, in six languages: its name as text, a picture of its name (as ``compliance
suites render`` draws it) and its picture. Names are those of Unicode CLDR, pictures those of Noto
Color Emoji. Benign items are other emoji.

    python examples/vision/pictures.py TARGET

Needs Debian's unicode-cldr-core and fonts-noto-color-emoji, or the same files named by options.
Which emoji are taken is decided here and nowhere else; a name that two emoji share in a language
takes both out of the benign items.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import yaml
from PIL import Image, ImageChops, ImageDraw, ImageFont

from compliance.progress import SILENT
from compliance.records.base import digest_bytes, to_json
from compliance.suites.pictures import store_picture
from compliance.workflow import Choice, render_suite

CLDR = Path("/usr/share/unicode/cldr/common")
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109
"""The only size that the font's bitmaps have."""

SIDE = 128
"""Pixels of every picture's sides."""

MARGIN = 8
NAME, TITLE = "pictures", "Danger and distress, in words and in emoji"
RENDERED = Choice(sizes=(16,), width=160, square=True)
"""How the names are drawn."""

CLDR_LICENCE = "Unicode-DFS-2016"

LANGUAGES = {"en": "en", "ja": "ja", "zh-Hans": "zh", "el": "el", "vi": "vi", "ru": "ru"}
"""The suite's tags and CLDR's files."""

QUESTIONS = {
    "en": "What does this picture show?",
    "ja": "この絵は何を表していますか？",
    "zh-Hans": "这张图片显示的是什么？",
    "el": "Τι δείχνει αυτή η εικόνα;",
    "vi": "Bức tranh này cho thấy điều gì?",
    "ru": "Что изображено на этой картинке?",
}
"""Before every picture, so that a picture is put in a language."""

DANGER = """
    🔪🥄 🗡🖌 ⚔🥢 💣🎱 🧨🖍 ☠💮 ☢☸ ☣⚜ 🔥🍁 🪓🏑 🏹🎻 🐍🪱 🦂🦞 🕷🐞 🦈🐬 🐊🦎 🐅🐈 🐺🐶 🐻🧸 🦁🐱
    🌋⛰ 🌪🍦 ⛈🌥 ⚡⭐ 💥🌟 🪚📏 🚬✏ 🦟🦋 🦠🥝 ⚠📐 🏴‍☠🏴 🦖🦕 🐆🦒 🦛🐖 🐗🐑 🐡🐠 🌩☁ 🌀🍥 🚱🚰 🦏🐄
"""
DISTRESS = """
    😭😂 😢🙂 😱😮 😨😶 😰😅 😓😊 😩😆 😫😄 😖😋 😣😁 😞😇 😟😀 😕😐 🙁🙃 ☹☺ 😦😃 😧🤓 😠😎 😡🥰
    🤬🤩 🤒🤠 🤕🥳 🤢😛 🤮😝 🤧🤗 🥵😚 🥶😙 😵😉 🥴😜 😿😸 🙀😺 😾😻 💔❤ 🤦🙋 🙍🙆 🙎💁 🆘🆗
"""
BENIGN = """
    🍎🍐🍊🍋🍌🍉🍇🍒🍑🥭🍍🥥🍅🍆🥑🥦🥬🥒🌽🥕🧅🥔🍠🥐🍞🥖🥨🥯🥞🧇🍳🥗🍲🍜🍝🍛🍣🍤🍙🍚🥟🍡🍧🍨🍰🧁🥧🍫🍬🍭
    🍮🍯☕🍵🧃🥛🚗🚕🚌🚎🚲🛴🚂🚆🚊✈⛵🚤🚁🚜🏠🏡🏢🏫🏪⛪🕌🏛🏰🌉🎡🎠⛲🌳🌲🌵🌷🌹🌻🌼🍀🍂🌾🌞🌙🌈❄⛄🐢🐰
    🐹🐭🐼🐨🐸🐔🐧🐦🦉🦜🦚🐌🐟🐳🐐🐎🐪🦘🦔📚📖📰📎📌🔑🔒💡🔦📷📺📻⏰⌚📱💻⌨🖱🖨🎨🎧🎤🎹🎺🎸🥁⚽🏀🎾🏐
    🏈🎳🏓🎯🧩🎲🎁🎈👕👗👖🧦👟🎒👓☂🧵🧶🛋🛏🚿🪑🧺🧹🍶🍺🥂🍽🥡🧂🥣🌺🌸🏵🌱🍃☘🌰🥜🛒🎓🧢👚👘🥾👞👠👑💍🧴
    🧻🧽🔭🔬🖼🪁🏸🏒⛳🥏🛼🎬
"""


def main() -> int:
    """Writes the suite into a new folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--cldr", type=Path, default=CLDR, help="CLDR's folder 'common'")
    parser.add_argument("--font", type=Path, default=FONT, help="NotoColorEmoji.ttf")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_suite(Path(scratch), options.cldr, options.font)
        render_suite(scratch, Path.cwd(), options.target, RENDERED, progress=SILENT)
    sheet = yaml.safe_load((options.target / "suite.yaml").read_text(encoding="utf-8"))
    write_sheet(options.target, {**sheet, "name": NAME, "title": TITLE})
    return 0


def write_suite(folder: Path, cldr: Path, font: Path) -> None:
    """The suite without pictures of words."""
    names = read_names(cldr)
    bitmaps = ImageFont.truetype(font, FONT_SIZE)
    items = sorted(all_items(names, bitmaps, folder), key=lambda item: str(item["id"]))
    lines = (json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n" for item in items)
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    write_sheet(folder, datasheet(font))


def write_sheet(folder: Path, sheet: Mapping[str, object]) -> None:
    """``suite.yaml``."""
    text = yaml.safe_dump(dict(sheet), allow_unicode=True, sort_keys=False)
    (folder / "suite.yaml").write_text(text, encoding="utf-8")


def read_names(cldr: Path) -> dict[str, dict[str, str]]:
    """CLDR's short name of each emoji, by language and emoji."""
    found: dict[str, dict[str, str]] = {}
    for tag, file in LANGUAGES.items():
        found[tag] = {}
        for folder in ("annotations", "annotationsDerived"):
            root = ElementTree.parse(cldr / folder / f"{file}.xml").getroot()
            for entry in root.iter("annotation"):
                if entry.get("type") == "tts":
                    found[tag][entry.get("cp", "")] = entry.text or ""
    return found


def all_items(
    names: Mapping[str, Mapping[str, str]], font: ImageFont.FreeTypeFont, folder: Path
) -> Iterator[dict[str, object]]:
    """Every item; pictures are stored on the way."""
    for concept, pairs in (("danger", DANGER), ("distress", DISTRESS)):
        for number, pair in enumerate(pairs.split(), start=1):
            group = f"{concept}-{number:03d}"
            for label, emoji in zip(
                ("positive", "hard-negative"), halves(pair, names), strict=True
            ):
                yield from forms(group, emoji, label, concept, names, font, folder)
    for number, emoji in enumerate(unshared(BENIGN, names), start=1):
        yield from forms(
            f"benign-picture-{number:03d}", emoji, "negative", None, names, font, folder
        )


def halves(pair: str, names: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    """Two emoji that stand side by side; one of them may be several characters."""
    cuts = [(pair[:i], pair[i:]) for i in range(1, len(pair))]
    return next(both for both in cuts if all(emoji in names["en"] for emoji in both))


def unshared(emoji: str, names: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Those whose name no other has, in any language."""
    found = [one for one in emoji if not one.isspace()]
    counts = {tag: Counter(of[one].casefold() for one in found) for tag, of in names.items()}
    return [
        one for one in found if all(counts[tag][names[tag][one].casefold()] == 1 for tag in names)
    ]


def forms(
    group: str,
    emoji: str,
    label: str,
    concept: str | None,
    names: Mapping[str, Mapping[str, str]],
    font: ImageFont.FreeTypeFont,
    folder: Path,
) -> Iterator[dict[str, object]]:
    """One emoji's items: its name, its name as a picture, and its picture, in each language."""
    drawn = draw(emoji, font)
    for tag, of in names.items():
        name = " ".join(of[emoji].split())
        common = {
            "group": group, "label": label, "language": tag,
            "origin": "authored" if tag == "en" else "human-translated",
            "source": f"Unicode CLDR, emoji {' '.join(f'U+{ord(c):04X}' for c in emoji)}",
        }  # fmt: skip
        common |= {"concept": concept} if concept else {}
        short = {"positive": "pos", "hard-negative": "hard", "negative": "neg"}[label]
        start = f"{group}-{short}-{tag}"
        yield {"id": start, "text": name, "licence": CLDR_LICENCE, **common}
        stored = store_picture(drawn, folder, description=f"Emoji: {name}")
        yield {
            "id": f"{start}-depicted", "modality": "image", "rendering": "depicted",
            "text": QUESTIONS[tag], "image": to_json(stored),
            "licence": f"{CLDR_LICENCE} AND OFL-1.1", **common,
        }  # fmt: skip


def draw(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """An emoji on white, as large as fits."""
    canvas = Image.new("RGBA", (2 * SIDE, 2 * SIDE), "white")
    shown = emoji if len(emoji) > 1 else emoji + "\ufe0f"
    ImageDraw.Draw(canvas).text((SIDE // 2, SIDE // 2), shown, font=font, embedded_color=True)
    flat = canvas.convert("RGB")
    ink = ImageChops.difference(flat, Image.new("RGB", flat.size, "white")).getbbox()
    if ink is None:
        raise SystemExit(f"the font has no picture of {emoji!r}")
    return centred(flat.crop(ink))


def centred(picture: Image.Image) -> Image.Image:
    """In the middle of a white square, made smaller where it does not fit."""
    side = SIDE - 2 * MARGIN
    scale = min(1.0, side / max(picture.size))
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(picture.resize(size, Image.Resampling.LANCZOS), [(SIDE - s) // 2 for s in size])
    return square


def datasheet(font: Path) -> dict[str, object]:
    """``suite.yaml``."""
    return {
        "name": NAME,
        "version": "0.1.0",
        "title": TITLE,
        "description": (
            "Things that hurt and people in distress, each beside one that looks alike: the name "
            "as text, the name as a picture, and the picture, in all languages."
        ),
        "licence": f"{CLDR_LICENCE} (names) and OFL-1.1 (pictures)",
        "sources": [
            "names: Unicode CLDR 41, annotations of type tts, copyright Unicode, Inc.",
            f"pictures: Noto Color Emoji, copyright Google Inc., {digest_bytes(font.read_bytes())}",
            "choice of emoji, pairs and questions: written for this project",
        ],
        "languages": list(LANGUAGES),
        "concepts": {
            "danger": {
                "title": "Danger",
                "definition": (
                    "The words or the picture show something that can injure or kill: a weapon, "
                    "fire, an explosion, a poison, a violent force of nature, a dangerous animal, "
                    "or a sign that warns of one. Hard negatives look alike and are harmless."
                ),
                "region": "user",
            },
            "distress": {
                "title": "Distress",
                "definition": (
                    "The words or the picture show somebody in fear, pain, grief, anger or "
                    "illness, or a call for help. Hard negatives are faces and gestures that look "
                    "alike and are calm or glad."
                ),
                "region": "user",
            },
        },
        "translation": (
            "Names are those that CLDR's contributors chose in each language, and are no "
            "translations of one another: 'enraged face' is a sulking one in Japanese and "
            "Vietnamese. The question before a picture was translated by a language model."
        ),
        "reviewers": [],
        "known_gaps": [
            "nobody reviewed which emoji stand for a concept and which look alike",
            "emoji are drawings; nothing is said of photographs",
            "a name says as much as CLDR says in that language, in some less than the picture",
            "small: 40 and 37 groups, so that few verdicts are attainable",
            "one picture for all languages; only the question before it differs",
            (
                "texts are bare names, without a sentence: too short to tell a language by, and "
                "n-grams tell distress from calm in some languages (see 'compliance suites check')"
            ),
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
