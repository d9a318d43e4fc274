"""How rows of somebody else's file become items: a mapping, and the recipes made of one.

A template is text with columns in braces: ``"{question}"``, ``"xstest-{id:03}"`` (padded with zeros
to three digits), ``"{answer.text}"`` (a key inside an object). ``{{`` and ``}}`` stand for braces.
Names that begin with ``#`` are not columns: ``#row`` and ``#pair`` count rows and pairs of rows
from one, ``#file``, ``#language`` and ``#label`` are what the row has, and ``#text`` is the cell of
``language_columns``.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from compliance.records.base import Record
from compliance.records.suite import (
    WITHOUT_CONCEPT,
    ConceptSheet,
    Format,
    Identifier,
    Label,
    Language,
    Line,
    Origin,
    Slug,
)

BUILT_IN = ("#row", "#pair", "#file", "#language", "#label", "#text")
"""Names in a template that are not columns."""

_PART = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}:]+)(?::0(?P<width>[1-9]))?\}|[{}]|[^{}]+")


def template_parts(text: str) -> list[tuple[str, str | None, int]]:
    """A template as pieces in order: literal text, or the name of a column and its width.

    Args:
        text: The template.

    Returns:
        ``(literal, None, 0)`` or ``("", name, width)``, where width 0 means as it is.

    Raises:
        ValueError: A brace stands alone, or a name is none.
    """
    parts: list[tuple[str, str | None, int]] = []
    for found in _PART.finditer(text):
        piece, name = found.group(), found.group("name")
        if name is not None:
            if name.startswith("#") and name not in BUILT_IN:
                raise ValueError(f"{name!r} is none of {', '.join(BUILT_IN)}")
            parts.append(("", name, int(found.group("width") or 0)))
        elif piece in ("{", "}"):
            raise ValueError(
                f"{text!r}: write a column as {{name}} or {{name:03}}, and a brace twice"
            )
        else:
            parts.append((piece[0] if piece in ("{{", "}}") else piece, None, 0))
    return parts


def template_columns(text: str) -> list[str]:
    """Names that a template takes from a row, in order, built-in ones too."""
    return [name for _, name, _ in template_parts(text) if name is not None]


def _check_template(text: str) -> str:
    if not text:
        raise ValueError("an empty template; leave the key out")
    template_parts(text)
    return text


def _as_key(value: object) -> object:
    """A value of a column as YAML gives it, as text; YAML reads a bare ``yes`` as true."""
    if isinstance(value, bool):
        raise ValueError(
            f"found {str(value).lower()}: put the value in quotes, since YAML takes yes, no, on "
            "and off for true and false"
        )
    return str(value) if isinstance(value, int) else value


Template = Annotated[str, AfterValidator(_check_template)]
Cell = Annotated[str, BeforeValidator(_as_key)]
"""What stands in a cell, with spaces around it removed."""

Value = TypeVar("Value")


class Lookup(Record, Generic[Value]):
    """A field that follows from what stands in a column."""

    column: Annotated[str, Field(min_length=1)]
    values: Annotated[dict[Cell, Value], Field(min_length=1)]
    """What each cell means. A cell that is not named here is refused."""

    skip: tuple[Cell, ...] = ()
    """Cells whose rows are left out on purpose."""


def _shape(value: object) -> str:
    """Which of two shapes a person wrote, so that a mistake is explained for that one alone."""
    return "lookup" if isinstance(value, dict | Record) else "value"


VALUE, LOOKUP, BY_SHAPE = Tag("value"), Tag("lookup"), Discriminator(_shape)

OrConcept = Annotated[Annotated[Slug, VALUE] | Annotated[Lookup[Slug], LOOKUP], BY_SHAPE]
OrLabel = Annotated[Annotated[Label, VALUE] | Annotated[Lookup[Label], LOOKUP], BY_SHAPE]
OrLanguage = Annotated[Annotated[Language, VALUE] | Annotated[Lookup[Language], LOOKUP], BY_SHAPE]
OrFormat = Annotated[Annotated[Format, VALUE] | Annotated[Lookup[Format], LOOKUP], BY_SHAPE]
OrOrigin = Annotated[Annotated[Origin, VALUE] | Annotated[Lookup[Origin], LOOKUP], BY_SHAPE]
OrFlag = Annotated[Annotated[bool, VALUE] | Annotated[Lookup[bool], LOOKUP], BY_SHAPE]


class FileEntry(Record):
    """What is true of every row of one source file."""

    path: str | None = None
    """The file's name, with as many folders before it as tell it from the others. Either every file
    has one, or none and they are taken in the order in which they are given."""

    language: Language | None = None
    label: Label | None = None


class SkipRule(Record):
    """Rows that are left out on purpose."""

    column: Annotated[str, Field(min_length=1)]
    values: tuple[Cell, ...] = ()
    """Leave out rows with one of these. Exactly one of ``values`` and ``unless``."""

    unless: tuple[Cell, ...] = ()
    """Leave out rows with anything else."""

    reason: Line
    """Counted and listed with the rows."""

    @model_validator(mode="after")
    def _one_way(self) -> "SkipRule":
        if bool(self.values) == bool(self.unless):
            raise ValueError("give exactly one of 'values' and 'unless'")
        return self


class TurnTemplate(Record):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: Template


class TurnColumn(Record):
    """A column that holds the turns themselves, as a list of objects with role and content."""

    column: Annotated[str, Field(min_length=1)]


OrColumn = Annotated[
    Annotated[tuple[TurnTemplate, ...], VALUE] | Annotated[TurnColumn, LOOKUP], BY_SHAPE
]


class ChoiceTemplates(Record):
    """Two replies for a forced choice; an item has none where a cell is empty."""

    concept: Template
    other: Template


class ItemTemplate(Record):
    """An item that each row becomes."""

    id: Template
    group: Template
    """Rows that give the same group are one meaning: a pair, or translations of each other."""

    concept: OrConcept | None = None
    """Dropped where the label is ``negative`` or ``neutral``."""

    label: OrLabel | None = None
    """May be left out where every file of ``files`` has one."""

    language: OrLanguage | None = None
    """May be left out where files or columns say it, or the suite has one language."""

    format: OrFormat = "prompt"
    stratum: Template | None = None
    """Put into lower case letters, digits and hyphens. None where the cell is empty."""

    text: Template | None = None
    """Exactly one of ``text`` and ``messages``, or with an image at most one."""

    messages: OrColumn | None = None
    choices: ChoiceTemplates | None = None
    restricted: OrFlag = False
    origin: OrOrigin
    reviewed: Template | None = None
    """None where the cell is empty: nobody has reviewed the item."""

    source: Template = "{#file}, row {#row}"
    licence: Template | None = None
    """Default: that of the suite."""

    image: Template | None = None
    """Path of a picture, relative to the source file's folder and inside it. Where the cell is
    empty, the item is a text."""

    description: Template | None = None
    """Text alternative of the picture, for readers. Where it is empty, the picture's path."""

    rendering: Literal["typographic", "depicted"] = "depicted"
    """What a picture shows: words, or the thing itself."""

    @model_validator(mode="after")
    def _one_input(self) -> "ItemTemplate":
        given = (self.text is not None) + bool(self.messages)
        if given > 1 or (given == 0 and (self.image is None or self.messages is not None)):
            raise ValueError("give exactly one of 'text' and 'messages'")
        if self.image is None and self.description is not None:
            raise ValueError("a 'description' is of an 'image', and there is none")
        return self

    @property
    def words(self) -> tuple[str, ...] | None:
        """Templates of an item's words, turn by turn; None where a column holds the turns."""
        if isinstance(self.messages, TurnColumn):
            return None
        turns = tuple(turn.content for turn in self.messages or ())
        return turns if self.text is None else (self.text,)

    @property
    def words_are_fixed(self) -> bool:
        """Whether all items have the same words, or none: then a picture means all there is."""
        return self.words is not None and not any(map(template_columns, self.words))


class ImportMapping(Record):
    """``mapping.yaml``: what the columns of a file are to a suite."""

    name: Slug
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    title: str
    description: str
    licence: Line
    """Of the source, as it states it. Copied to every item."""

    sources: Annotated[tuple[Line, ...], Field(min_length=1)]
    """Where the files come from. Their digests are added."""

    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    concepts: Annotated[dict[Slug, ConceptSheet], Field(min_length=1)]
    paired: bool = True
    neutral: Line | None = None
    """Where the neutral text comes from, if there is any."""

    translation: str = "none"
    reviewers: tuple[str, ...] = ()
    agreement: str | None = None
    known_gaps: tuple[str, ...] = ()
    """What the import finds is added, such as items that nobody has reviewed."""

    files: tuple[FileEntry, ...] = ()
    """One for each source file. Without any, all files are one table, read on and on."""

    language_columns: dict[Language, Annotated[str, Field(min_length=1)]] = {}
    """Languages that stand beside each other in one row: the column of each. A row becomes one item
    for each, with ``{#text}`` for its cell; an empty cell is left out."""

    skip: tuple[SkipRule, ...] = ()
    items: tuple[ItemTemplate, ...]
    """What each row becomes: one item as a rule, two where it holds both halves of a pair."""

    invisible: Literal["refuse", "keep"] = "refuse"
    """Texts with characters that nobody sees, such as zero-width spaces and direction marks."""

    @model_validator(mode="after")
    def _agrees(self) -> "ImportMapping":
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        """What contradicts itself. A language or concept is checked wherever it is named."""
        entries = self.files
        if not self.items:
            yield "items: say what a row becomes"
        if len({entry.path is None for entry in entries}) > 1:
            yield "files: give every file a path, or none"
        paths = [entry.path for entry in entries if entry.path is not None]
        if len(set(paths)) < len(paths):
            yield "files: a path appears twice"
        if any(e.language for e in entries) and not all(e.language for e in entries):
            yield "files: give every file a language, or none"
        if self.language_columns and any(e.language for e in entries):
            yield "give either 'language_columns' or languages of files, not both"
        known = {*self.language_columns, *(e.language for e in entries if e.language)}
        for item in self.items:
            known |= set(_values(item.language))
            yield from self._problems_of(item)
        if len({item.words for item in self.items if item.image and item.words_are_fixed}) > 1:
            yield "items: words beside pictures, where they are fixed, must be the same"
        for language in sorted(known - set(self.languages)):
            yield f"language {language!r} is not among 'languages'"

    def _problems_of(self, item: ItemTemplate) -> Iterator[str]:
        for concept in sorted(set(_values(item.concept)) - set(self.concepts)):
            yield f"items: concept {concept!r} is not among 'concepts'"
        labels = set(_values(item.label)) or {entry.label for entry in self.files} or {None}
        if None in labels:
            yield "items: 'label' is missing, and not every file of 'files' has one"
        if item.concept is None and labels - set(WITHOUT_CONCEPT):
            yield "items: 'concept' is missing; only benign items and neutral text have none"
        if Label.NEUTRAL in labels and self.neutral is None:
            yield "items: there may be neutral text; say where it comes from, under 'neutral'"
        said = self.language_columns or any(entry.language for entry in self.files)
        if item.language is None and not said and len(self.languages) > 1:
            yield "items: 'language' is missing, and the suite has more than one"
        if item.language is not None and said:
            yield "items: 'language' is said twice: here, and by files or columns"
        used = set(item_columns(item))
        if "#text" in used and not self.language_columns:
            yield "items: '{#text}' is a cell of 'language_columns', and there are none"
        if self.language_columns and "#text" not in used:
            yield "items: '{#text}' is missing, so that all languages would have one text"


def item_columns(item: ItemTemplate) -> list[str]:
    """Names that an item takes from a row, built-in ones too."""
    found: list[str] = []
    for value in _parts_of(item):
        if isinstance(value, Lookup | TurnColumn):
            found.append(value.column)
        elif isinstance(value, str):
            found += template_columns(value)
    return found


TEMPLATES = (
    "id", "group", "stratum", "text", "reviewed", "source", "licence", "image", "description",
)  # fmt: skip
"""Fields of an item that are templates."""

LOOKUPS = ("concept", "label", "language", "format", "restricted", "origin")
"""Fields of an item that are values or follow from a column."""


def _parts_of(item: ItemTemplate) -> Iterator[Any]:
    for field in TEMPLATES:
        yield getattr(item, field)
    for field in LOOKUPS:
        if isinstance(getattr(item, field), Lookup):
            yield getattr(item, field)
    if isinstance(item.messages, TurnColumn):
        yield item.messages
    else:
        yield from (turn.content for turn in item.messages or ())
    if item.choices:
        yield from (item.choices.concept, item.choices.other)


def _values(field: Any) -> list[Any]:
    """What a field can become."""
    if isinstance(field, Lookup):
        return list(field.values.values())
    return [] if field is None else [field]


class TriedOn(Record):
    """The real file that a recipe was run on."""

    file: Line
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class RecipeFacts(Record):
    """What is to be known of a recipe."""

    project: Line
    """Address of the project whose files it reads."""

    reads: Line
    """Which files, with which columns."""

    licence_note: Line
    """What the project states, and what to mind."""

    citation: Line
    tried_on: tuple[TriedOn, ...] = ()
    """Empty: it was never run on a real file, and says so."""

    adapter: Identifier | None = None
    """Code of this package that turns rows into rows first, where a mapping does not suffice."""


class Recipe(ImportMapping):
    """A mapping that ships with the package, by name."""

    about: RecipeFacts
    licence: Line | None = None  # type: ignore[assignment]  # left open where every file has its own
