"""A suite: test items and the datasheet that says where they come from (PROTOCOL sections 1, 2)."""

import unicodedata
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import langcodes
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.names import Name, Prose, check_cell


def check_language(tag: str) -> str:
    """Return ``tag`` when it is a valid BCP 47 tag in its usual spelling; else raise ValueError."""
    if not langcodes.tag_is_valid(tag):
        raise ValueError(f"{tag!r} is not a BCP 47 language tag, such as 'ja' or 'zh-Hans'")
    usual = langcodes.standardize_tag(tag)
    if usual != tag:
        raise ValueError(f"{tag!r} is spelt {usual!r} in BCP 47")
    return tag


def check_one_line(text: str) -> str:
    """Return ``text`` when it can stand in a cell of a table; else raise ValueError."""
    for place, character in enumerate(text, start=1):
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(
                f"found control character U+{ord(character):04X} as character {place}, "
                "expected one line of plain text"
            )
    return text


Line = Annotated[str, AfterValidator(check_one_line)]
"""Text that stands in CSV tables: no control characters and no line separators."""

TableText = Annotated[Line, AfterValidator(check_cell)]
"""The same where a person may open the table in a spreadsheet."""

Language = Annotated[str, AfterValidator(check_language)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=128)]
Region = Literal["user", "assistant", "last", "image"]
Modality = Literal["text", "image", "image-text"]
Rendering = Literal["plain", "typographic", "depicted"]
Format = Literal["prompt", "dialogue", "code"]
Origin = Literal["authored", "human-translated", "machine-translated"]

MAX_SIDE = 4096
"""Pixels of the longer side of a picture at most."""

MAX_TEXT = 100_000
"""Characters one item may hold; longer texts are refused, since reports must render them."""


class Label(StrEnum):
    """What an item is to its concept."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    HARD_NEGATIVE = "hard-negative"
    NEUTRAL = "neutral"


WITHOUT_CONCEPT = (Label.NEGATIVE, Label.NEUTRAL)
"""Labels of items that belong to no concept."""


class Message(Record):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


Reply = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Image(Record):
    """A picture that an item shows: the file ``images/<hex>.png`` of its suite.

    A PNG in RGB without metadata, named by its own digest.
    """

    digest: Digest
    """Of the file."""

    width: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    height: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    description: Annotated[Line, Field(min_length=1, max_length=2000)]
    """The text alternative for readers; the model does not see it."""

    font_size: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None
    """Pixels of the letters' size, where the picture shows words."""

    @property
    def path(self) -> str:
        """Relative to the suite's folder, and to ``data/`` in a pack."""
        return f"images/{self.digest.removeprefix('sha256:')}.png"


Sight = Literal["words", "picture"]


class Variant(NamedTuple):
    """In what form a meaning is put; a concept's cells differ in this."""

    language: str
    modality: str
    rendering: str

    def __str__(self) -> str:
        return "/".join(self)

    def shows(self, what: "Sight") -> bool:
        """Whether there are words, drawn or typed, or whether there is a picture."""
        if what == "picture":
            return self.modality != "text"
        return self.modality != "image" or self.rendering == "typographic"


class Choices(Record):
    """Two replies to an item, for a forced choice (PROTOCOL sections 1 and 9).

    They stand in the place of the last assistant turn; where the last turn is the user's, they
    follow it.
    """

    concept: Reply
    """The reply that enacts the concept."""

    other: Reply
    """A reply to the same that does not."""

    @model_validator(mode="after")
    def _differ(self) -> "Choices":
        if self.concept == self.other:
            raise ValueError("'concept' and 'other' are the same reply")
        return self


class Item(Record):
    """One input of a suite."""

    id: Identifier
    """Unique in its suite."""

    group: Identifier
    """One meaning; its positive and hard negative in every language share it.

    In an unpaired suite, one prompt in all its languages.
    """

    concept: Slug | None = None
    """Absent for a benign negative, which serves every concept of the suite."""

    label: Label

    language: Language

    modality: Modality = "text"

    rendering: Rendering = "plain"

    format: Format = "prompt"

    stratum: Slug | None = None
    """Kind within the label, such as ``fiction`` or ``mention``; counted apart in reports."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    """The user's message. Exactly one of ``text`` and ``messages`` is given, or with an image at
    most one."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1)] | None = None

    image: Image | None = None
    """Shown in the user's first turn, after its words. With the modality ``image`` the words, if
    any, ask about the picture and are the same in all items of a language and rendering."""

    choices: Choices | None = None

    restricted: Literal[True] | None = None
    """Its text stays out of packs, which carry a salted digest in its place."""

    origin: Origin

    reviewed: TableText | None = None
    """Who reviewed it, and whether blind. Absent: no person has."""

    source: TableText

    licence: Line

    @model_validator(mode="after")
    def _one_input(self) -> "Item":
        if (self.image is None) != (self.modality == "text"):
            raise ValueError(
                f"modality {self.modality!r} and "
                f"{'no' if self.image is None else 'an'} 'image'; text has none, and 'image' and "
                "'image-text' have one"
            )
        given = (self.text is not None) + (self.messages is not None)
        if given > 1 or (given == 0 and self.modality != "image"):
            raise ValueError("give exactly one of 'text' and 'messages'")
        if (self.rendering == "plain") != (self.image is None):
            raise ValueError(
                f"rendering {self.rendering!r}: text is 'plain', a picture is 'typographic' or "
                "'depicted'"
            )
        if self.image and self.messages and all(m.role != "user" for m in self.messages):
            raise ValueError("a picture stands in a user's turn, and 'messages' has none")
        if (self.concept is None) != (self.label in WITHOUT_CONCEPT):
            raise ValueError(
                "benign negatives and neutral text have no concept, and every other item has one"
            )
        return self

    @property
    def variant(self) -> Variant:
        """Its language, modality and rendering."""
        return Variant(self.language, self.modality, self.rendering)


class ConceptSheet(Record):
    """What a suite means by a concept."""

    title: Name
    definition: Prose
    region: Region = "user"
    """Whose tokens a probe reads: the user's, the assistant's, or the last token alone."""


class Datasheet(Record):
    """``suite.yaml``: what is in a suite, where it comes from and what it lacks."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    name: Slug
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: Name
    description: Prose
    licence: Prose
    sources: Annotated[tuple[Prose, ...], Field(min_length=1)]
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    concepts: Annotated[dict[Slug, ConceptSheet], Field(min_length=1)]
    neutral: Line | None = None
    """Where the neutral text comes from; given if and only if there are items with that label.

    Fidelity and side effects are measured on it. Absent: benign items stand in for it.
    """

    paired: bool = True
    """Whether each group holds a positive and its hard negative. ``false``: items of one label
    only, so that no statistic can pair a positive with a hard negative."""

    translation: Prose
    """How the languages other than the first came about, and by what."""
    reviewers: tuple[Name, ...] = ()
    agreement: Prose | None = None
    """Agreement between labellers (kappa) where labels were doubled."""
    known_gaps: tuple[Prose, ...] = ()

    @model_serializer(mode="wrap")
    def _without_default_pairing(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves ``paired: true`` out: the digest of a paired suite, and so its splits, stay."""
        values = plain(self)
        if self.paired:
            del values["paired"]
        return values


class SuiteFacts(Record):
    """A suite as a plan saw it."""

    name: str
    version: str
    digest: str
    """Over the datasheet and the items, in canonical JSON, items ordered by id."""
    items: int
    groups: int
    datasheet: Datasheet
