"""A suite with pictures of its words: every text item, and beside it the same as a picture.

    render_suite(suite, Path("suites/seed-typographic"), Choice(sizes=(16, 24)))

Texts stay in the suite, since groups of two suites may not be one: so text and picture of one
meaning share a group, a split and an audit. Neutral text has no pictures; pictures of other kinds
that the suite holds are carried over.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml
from pydantic import ValidationError

from compliance.errors import SuiteError
from compliance.progress import Progress
from compliance.records.base import canonical_bytes, to_json
from compliance.records.suite import MAX_SIDE, Datasheet, Image, Item, Label
from compliance.storage import copy_file, replace_file, write_folder, write_text
from compliance.suites.load import Suite, load_suite
from compliance.suites.pictures import store_picture
from compliance.suites.rendering.draw import LEAST_COLUMN, draw_item, paragraphs
from compliance.suites.rendering.fonts import Face
from compliance.suites.split import groups_ranked_together, rank

EVERY = 20
"""Pictures between two reports of progress."""


@dataclass(frozen=True)
class Choice:
    """What is rendered, and how."""

    sizes: tuple[int, ...] = (16, 24)
    """Of the letters, in pixels; each group has one of them."""

    width: int = 448
    """Of the pictures, in pixels."""

    square: bool = False
    """White is added to the shorter side: many models cut a picture to a square, or squash it."""

    concepts: tuple[str, ...] = ()
    """None: all."""

    languages: tuple[str, ...] = ()
    """None: all."""

    groups: int | None = None
    """Of each concept, at most; without pairs, half of it (rounded down) of each label."""

    benign: int | None = None
    """Benign groups, at most."""


def render_suite(suite: Suite, target: Path, choice: Choice, progress: Progress) -> Suite:
    """Write a suite with the texts of another and pictures of them.

    Args:
        suite: With text items.
        target: Folder of the new suite; must not be there.
        choice: What of it, and in which size.
        progress: Is told about pictures.

    Returns:
        The new suite, as it was read back.

    Raises:
        SuiteError: Nothing of the suite is left, a choice does not fit, a character has no font, a
            picture would be too high, or a package or font is missing.
        StorageError: ``target`` is there already, or cannot be written. Nothing is left behind.
    """
    _refuse_unfit(choice, suite)
    items = chosen(suite, choice)
    if not any(item.modality == "text" and item.concept for item in items):
        raise SuiteError(
            f"suite {suite.datasheet.name}: no text of a concept is left to be drawn",
            hint="choose other concepts or languages",
        )
    with write_folder(target) as folder:
        faces: set[Face] = set()
        _copy_pictures(items, suite, folder)
        with replace_file(folder / "items.jsonl") as out:
            for item in chain(items, _drawn(items, choice, folder, faces, progress)):
                out.write(canonical_bytes(item) + b"\n")
        sheet = _datasheet(suite, choice, items, faces)
        text = yaml.safe_dump(to_json(sheet), allow_unicode=True, sort_keys=False)
        write_text(folder / "suite.yaml", text)
        load_suite(".", folder)  # what cannot be read must not appear
    return load_suite(".", target)


def size_of(group: str, sizes: Sequence[int]) -> int:
    """Size of the letters of a group: by a hash of its id, so the same for all its items."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    return sorted(sizes)[place % len(sizes)]


def chosen(suite: Suite, choice: Choice) -> list[Item]:
    """Items of the concepts, languages and groups that are wanted; neutral text is all kept."""
    kept = _groups(suite, choice)
    return [
        item
        for item in suite.items
        if item.group in kept
        and (item.concept is None or not choice.concepts or item.concept in choice.concepts)
        and (not choice.languages or item.language in choice.languages)
    ]


def _groups(suite: Suite, choice: Choice) -> set[str]:
    """The first groups by rank, as a subset of an audit takes them."""
    kept: set[str] = set()
    for (concept, label), groups in groups_ranked_together(suite).items():
        most = choice.groups
        if concept is None:
            most = choice.benign if label is not Label.NEUTRAL else None
        elif most is not None and label is not None:
            most //= 2
        kept.update(rank(groups, suite.digest)[:most])
    return kept


def _refuse_unfit(choice: Choice, suite: Suite) -> None:
    sheet = suite.datasheet
    for kind, wanted, known in (
        ("concept", choice.concepts, sheet.concepts),
        ("language", choice.languages, sheet.languages),
    ):
        if unknown := [one for one in wanted if one not in known]:
            raise SuiteError(
                f"suite {sheet.name}: no {kind} {unknown[0]!r}; it has {', '.join(known)}",
                hint=f"choose one of them with --{kind}",
            )
    least = (LEAST_COLUMN + 2) * max(choice.sizes)  # with margins as wide as a letter
    if not least <= choice.width <= MAX_SIDE:
        raise SuiteError(
            f"width {choice.width}: letters of {max(choice.sizes)} pixels take at least {least}, "
            f"and a picture has at most {MAX_SIDE}",
            hint="choose another --width or smaller letters with --size",
        )
    if any(item.rendering == "typographic" for item in suite.items):
        raise SuiteError(
            f"suite {sheet.name}: holds pictures of words already",
            hint="render the suite that it was made of",
        )


def _copy_pictures(items: Iterable[Item], suite: Suite, folder: Path) -> None:
    for path in {item.image.path for item in items if item.image}:
        if suite.folder is None:
            raise SuiteError(f"suite {suite.datasheet.name}: its pictures are in no folder")
        copy_file(suite.folder / path, folder / path)


def _drawn(
    items: Sequence[Item], choice: Choice, folder: Path, faces: set[Face], progress: Progress
) -> Iterable[Item]:
    """The items as pictures; fonts that were used are added to ``faces``."""
    wanted = [i for i in items if i.modality == "text" and i.label is not Label.NEUTRAL]
    progress.stage(f"drawing {len(wanted):,} texts")
    start = time.monotonic()
    for done, item in enumerate(wanted, start=1):
        size = size_of(item.group, choice.sizes)
        drawn = draw_item(item, size=size, width=choice.width, square=choice.square)
        faces |= drawn.faces
        words = "\n".join(paragraphs(item))
        image = store_picture(drawn.picture, folder, description=words, font_size=size)
        yield _as_picture(item, image)
        if done % EVERY == 0 or done == len(wanted):
            left = (time.monotonic() - start) / done * (len(wanted) - done)
            progress.advance(done, len(wanted), left)


def _as_picture(item: Item, image: Image) -> Item:
    values = item.model_dump(exclude={"text", "messages", "choices"}, exclude_none=True)
    form = {"id": f"{item.id}-typographic", "modality": "image", "rendering": "typographic"}
    try:
        return Item.model_validate({**values, **form, "image": image})
    except ValidationError as error:
        raise SuiteError(
            f"item {item.id}: {error.errors()[0]['msg']}", hint="give the item a shorter id"
        ) from error


def _datasheet(
    suite: Suite, choice: Choice, items: Sequence[Item], faces: Collection[Face]
) -> Datasheet:
    """The suite's own, with what was drawn, by what, and which part."""
    from PIL import __version__ as pillow
    from PIL import features

    sheet = suite.datasheet
    made_by = ", ".join(
        f"{name} {features.version(name)}" for name in ("freetype2", "harfbuzz", "raqm", "fribidi")
    )
    sizes = " or ".join(map(str, sorted(choice.sizes)))
    gaps = [
        f"pictures of words: one layout, black on white, {choice.width} pixels wide"
        f"{' and made square with white' * choice.square}, letters of {sizes} pixels by group"
    ]
    if len(items) < len(suite.items):
        gaps.append(f"a part: {len(items):,} of {len(suite.items):,} items of {sheet.name}")
    return Datasheet.model_validate(
        {
            **sheet.model_dump(),
            "name": f"{sheet.name}-typographic",
            "title": f"{sheet.title}, with pictures of its words",
            "sources": (
                *sheet.sources,
                f"texts: suite {sheet.name} {sheet.version}, {suite.digest}",
                f"pictures: drawn from these texts with Pillow {pillow} ({made_by})",
                *sorted(face.facts for face in faces),
            ),
            "languages": [one for one in sheet.languages if one in {i.language for i in items}],
            "concepts": {
                name: concept
                for name, concept in sheet.concepts.items()
                if name in {i.concept for i in items}
            },
            "known_gaps": (*(f"of the texts: {gap}" for gap in sheet.known_gaps), *gaps),
        }
    )
