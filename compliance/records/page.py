"""Pieces of a page: harmless text, numbers with their addresses, sentences and tables.

Text from outside is made harmless when a value is created: control and bidirectional characters
are shown by their code, and lengths are capped.
"""

import unicodedata
from typing import Annotated

from pydantic import BeforeValidator

from compliance.records.base import Record

MAX_CHARACTERS = 6_000
"""Of one text in a report; longer ones are cut, since rendering time grows with the square."""

_CUT = "… [cut; the whole text is in evidence.json]"
_SHOWN_BY_CODE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn"}


def printable(text: str) -> str:
    """``text`` as a page can show it: nothing invisible, nothing that reorders, no end of memory.

    A right-to-left override becomes ``⟨U+202E⟩``, a lone surrogate the replacement character.
    Applying it twice changes nothing.
    """
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - len(_CUT)].removesuffix(_CUT) + _CUT
    shown = "".join(_shown(character) for character in text.replace("\r\n", "\n"))
    return shown if len(shown) <= MAX_CHARACTERS else printable(shown)


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\u00a0\u202f":
        return character
    category = unicodedata.category(character)
    if character == "\t":
        return " "
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return f"⟨U+{ord(character):04X}⟩" if category in _SHOWN_BY_CODE else character


def _safe(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_safe)]


class Number(Record):
    """A result as it is printed. Exactly one of ``text`` and ``reason`` is there."""

    result_id: Text
    name: Text
    """Last part of the id, such as ``sensitivity``."""

    label: Text
    text: Text | None = None
    interval: Text | None = None
    """Low to high, in the unit of ``text``; absent for counts and settings."""

    n: Text | None = None
    p: Text | None = None
    method: Text | None = None
    reason: Text | None = None
    """What stands where the number would, such as why it could not be computed."""

    short: Text | None = None
    """The same in a word or two, for narrow tables."""


class Fragment(Record):
    """A piece of a sentence: words, or a number."""

    text: Text | None = None
    number: Number | None = None


class Sentence(Record):
    """A sentence whose numbers keep their addresses."""

    fragments: tuple[Fragment, ...]


class Fact(Record):
    """A label and what it says. ``code`` is set where it is typed rather than read."""

    label: Text
    value: Text
    code: bool = False
    missing: bool = False


class VerdictView(Record):
    """A verdict as a sign and a word; colour never stands alone."""

    value: Text
    label: Text
    glyph: Text
    meaning: Text


class StatusView(Record):
    """What became of a condition, as a sign and a word."""

    value: Text
    label: Text
    glyph: Text


class LanguageView(Record):
    """A language by its tag, its name in the report's language and its own name."""

    tag: Text
    name: Text
    endonym: Text


class Entry(Record):
    """What one place of a table holds. Nothing at all: the place does not apply."""

    number: Number | None = None
    verdict: VerdictView | None = None
    status: StatusView | None = None
    """What became of a condition that the number decides."""

    text: Text | None = None
    method: Text | None = None
    """Key of the methods chapter."""


class TableRow(Record):
    """One line of a table; ``name`` is the last part of its results' ids."""

    title: Text
    name: Text | None = None
    methods: tuple[Text, ...] = ()
    """Keys of the methods chapter, where all numbers of the row are of one kind."""

    anchor: Text | None = None
    entries: tuple[Entry, ...]


class RowGroup(Record):
    """Lines that belong together, under a heading of their own where there are several groups."""

    heading: Text | None = None
    rows: tuple[TableRow, ...]


class Table(Record):
    """Rows of one width: a title, then an entry for each column."""

    caption: Text
    corner: Text
    """Heading of the titles' column."""

    columns: tuple[Text, ...]
    groups: tuple[RowGroup, ...]
    absent: Text
    """What stands here if there is no row at all."""
