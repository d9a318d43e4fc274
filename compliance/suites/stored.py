"""Items that stay in their file: what of each is held is its outline, not its words.

    items = StoredItems(path, columns)
    items[7]                         # read from the file and parsed, and not kept
    items.outlines[7].group          # from memory

A suite of a million items would take gigabytes as objects. Its outlines take about a hundred bytes
an item, as columns, and are all that splitting and planning ask for. A line that is not as it was
when the suite was loaded and checked is refused.
"""

from __future__ import annotations

import json
import os
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from compliance.errors import SuiteError
from compliance.records.suite import Item, Label, Modality, Region, Rendering, Variant

_AT_ONCE = 4096

LINE_DIGEST = 8
"""Bytes by which a line is known again; what is in it was checked when it was loaded."""


class Kind(NamedTuple):
    """What few items differ in."""

    concept: str | None
    label: Label
    language: str
    modality: Modality
    rendering: Rendering
    roles: frozenset[str]
    """Of its messages; none where it is a text or has no words."""

    @property
    def variant(self) -> Variant:
        """Its language, modality and rendering."""
        return Variant(self.language, self.modality, self.rendering)

    def has(self, region: Region) -> bool:
        """Whether an item has the region: a prompt has no assistant's turn, a text no image."""
        if region == "image":
            return self.modality != "text"
        return region != "assistant" or "assistant" in self.roles


class Outline(NamedTuple):
    """An item without its words: the fields of `Item` of these names."""

    id: str
    group: str
    kind: Kind

    @property
    def concept(self) -> str | None:
        return self.kind.concept

    @property
    def label(self) -> Label:
        return self.kind.label

    @property
    def language(self) -> str:
        return self.kind.language

    @property
    def modality(self) -> Modality:
        return self.kind.modality

    @property
    def rendering(self) -> Rendering:
        return self.kind.rendering

    @property
    def variant(self) -> Variant:
        return self.kind.variant


def kind_of(item: Item) -> Kind:
    """The kind of an item."""
    roles = frozenset(message.role for message in item.messages or ())
    return Kind(item.concept, item.label, item.language, item.modality, item.rendering, roles)


def outline_of(item: Item) -> Outline:
    """The outline of an item at hand."""
    return Outline(item.id, item.group, kind_of(item))


@dataclass(frozen=True, eq=False)
class Columns(Sequence[Outline]):
    """Outlines of all items of a file, and where their lines are."""

    starts: np.ndarray
    """First byte of each line: int64 [n]."""

    lengths: np.ndarray
    """Bytes of each line: int32 [n]."""

    lines: np.ndarray
    """A digest of each line: ``S8`` [n]."""

    ids: np.ndarray
    """``S`` [n]; ids are ASCII."""

    groups: np.ndarray
    """``S`` [n]."""

    kinds: np.ndarray
    """Place in ``names``: int32 [n]."""

    names: tuple[Kind, ...]
    """In the order in which they first appear."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Outline:
        kind = self.names[self.kinds[place]]
        return Outline(self.ids[place].decode(), self.groups[place].decode(), kind)

    def __iter__(self) -> Iterator[Outline]:
        for start in range(0, len(self), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            parts = self.ids[part].tolist(), self.groups[part].tolist(), self.kinds[part].tolist()
            for name, group, kind in zip(*parts, strict=True):
                yield Outline(name.decode(), group.decode(), self.names[kind])

    def taken(self, places: np.ndarray) -> Columns:
        """Some of them, in the order given."""
        return Columns(
            self.starts[places], self.lengths[places], self.lines[places], self.ids[places],
            self.groups[places], self.kinds[places], self.names,
        )  # fmt: skip


class Collector:
    """Makes `Columns` of items that come one after the other."""

    def __init__(self) -> None:
        self._starts, self._lengths, self._kinds = array("q"), array("i"), array("i")
        self._lines = bytearray()
        self._ids, self._groups = _Texts(), _Texts()
        self._names: dict[Kind, int] = {}

    def add(self, item: Item, start: int, line: bytes) -> None:
        """The next item, and the line that it is from."""
        self._starts.append(start)
        self._lengths.append(len(line))
        self._lines += _line_digest(line)
        self._ids.add(item.id)
        self._groups.add(item.group)
        self._kinds.append(self._names.setdefault(kind_of(item), len(self._names)))

    def columns(self) -> Columns:
        """Of all that came, in their order."""
        return Columns(
            np.array(self._starts, dtype=np.int64),
            np.array(self._lengths, dtype=np.int32),
            np.frombuffer(bytes(self._lines), dtype=np.dtype((np.void, LINE_DIGEST))),
            self._ids.array(),
            self._groups.array(),
            np.array(self._kinds, dtype=np.int32),
            tuple(self._names),
        )


class _Texts:
    """Short ASCII texts, end to end."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])

    def add(self, text: str) -> None:
        self._bytes += text.encode("ascii")
        self._ends.append(len(self._bytes))

    def array(self) -> np.ndarray:
        """``S`` [n], as wide as the longest."""
        ends = self._ends
        width = max((b - a for a, b in zip(ends, ends[1:], strict=False)), default=1)
        found = np.zeros(len(ends) - 1, dtype=f"S{max(width, 1)}")
        for place in range(len(found)):
            found[place] = bytes(self._bytes[ends[place] : ends[place + 1]])
        return found


class OutlinedItems(Sequence[Item]):
    """Items that are read when they are asked for, and outlines that are at hand."""

    @property
    @abstractmethod
    def outlines(self) -> Sequence[Outline]:
        """Of the items, in their order."""


class StoredItems(OutlinedItems):
    """Items of a file, each read when it is asked for."""

    def __init__(self, path: Path, columns: Columns) -> None:
        """Open the file, which was read and checked before.

        Raises:
            SuiteError: It cannot be opened.
        """
        self._path, self._columns = path, columns
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise SuiteError(f"{path}: cannot be read: {error.strerror}") from error
        weakref.finalize(self, os.close, self._file)

    @property
    def outlines(self) -> Columns:
        return self._columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> StoredItems: ...

    def __getitem__(self, place: int | slice) -> Item | StoredItems:
        columns = self._columns
        if isinstance(place, slice):
            return StoredItems(self._path, columns.taken(np.arange(len(self))[place]))
        start, length = int(columns.starts[place]), int(columns.lengths[place])
        line = os.pread(self._file, length, start)
        if _line_digest(line) != columns.lines[place].tobytes():
            raise SuiteError(
                f"{self._path.name}: was changed since the suite was read",
                hint="put the file back as it was, or begin again",
            )
        return Item.model_validate(json.loads(line))


class _OfItems(Sequence[Outline]):
    """Outlines of items that are at hand, each made when it is asked for."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Outline:
        return outline_of(self._items[place])


def outlines_of(items: Sequence[Item]) -> Sequence[Outline]:
    """The outlines of items, without reading those that stay in a file."""
    return items.outlines if isinstance(items, OutlinedItems) else _OfItems(items)


def _line_digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=LINE_DIGEST).digest()
