"""Opens a pack to read what is in it. Reading proves nothing: check integrity first.

::

    with read_pack(path) as pack:
        pack.evidence.results
        pack.observations()["confirm/scores.csv"]
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, overload

from pydantic import ValidationError

from compliance.errors import TrailError, VerificationError
from compliance.packs import layout
from compliance.packs.folder import Folder, open_regular, survey
from compliance.packs.items import item_id, parse_item
from compliance.packs.sign import open_envelope
from compliance.packs.version import Parent
from compliance.packs.zipped import unpacked
from compliance.records.base import SCHEMA_VERSION
from compliance.records.evidence import Evidence
from compliance.records.observation import MAX_FILE
from compliance.records.pack import PackItem, Salts, parse_canonical
from compliance.records.statement import Statement
from compliance.records.trail import Entry
from compliance.trail import parse

MAX_ITEMS = 4_000_000

MAX_ITEM_BYTES = 1 << 34
"""Bytes of ``items.jsonl`` that are read, one line after the other."""


@dataclass(frozen=True)
class OpenPack:
    """A pack as a folder. What cannot be read is a ``VerificationError`` that names the file."""

    folder: Folder

    @cached_property
    def evidence(self) -> Evidence:
        data = self._read(layout.EVIDENCE, limit=layout.MAX_JSON_FILE)
        try:
            return parse_evidence(data)
        except ValueError as error:
            raise VerificationError(f"{layout.EVIDENCE}: {error}") from error

    @cached_property
    def items(self) -> PackItems:
        if layout.ITEMS not in self.folder.digests:
            raise VerificationError(f"{layout.ITEMS}: missing from the pack")
        try:
            return read_items(self.folder)
        except ValueError as error:
            raise VerificationError(f"{layout.ITEMS}: {error}") from error

    @cached_property
    def salts(self) -> Salts:
        try:
            return parse_salts(self._read(layout.SALTS, limit=layout.MAX_JSON_FILE))
        except ValueError as error:
            raise VerificationError(f"{layout.SALTS}: {error}") from error

    @cached_property
    def trail(self) -> tuple[Entry, ...]:
        try:
            return parse(self._read(layout.TRAIL, limit=layout.MAX_JSON_FILE))
        except TrailError as error:
            raise VerificationError(f"{layout.TRAIL}: {error}") from error

    @cached_property
    def statement(self) -> Statement:
        return open_envelope(self._read(layout.STATEMENT), path=layout.STATEMENT)[1]

    @cached_property
    def withheld_files(self) -> frozenset[str]:
        """Observation files that a copy does not show, by path below ``observations/``."""
        if self.statement.predicate.profile is None:
            return frozenset()
        there = self.folder.below(layout.OBSERVATIONS).keys()
        return frozenset(layout.WITHHOLDABLE) & (self.evidence.observations.keys() - there)

    @property
    def observed(self) -> list[str]:
        """The observation files that the evidence names and this pack shows, in order."""
        return sorted(self.evidence.observations.keys() - self.withheld_files)

    def observations(self) -> dict[str, bytes]:
        """The observation files of this pack, by path below ``observations/``."""
        return {path: self.observation(path) for path in self.observed}

    def observation(self, path: str) -> bytes:
        return self._read(layout.OBSERVATIONS + path, limit=MAX_FILE)

    def open_observation(self, path: str) -> BinaryIO:
        """An observation file, to be read piece by piece."""
        path = layout.OBSERVATIONS + path
        if path not in self.folder.digests:
            raise VerificationError(f"{path}: missing from the pack")
        if self.folder.sizes[path] > MAX_FILE:
            raise VerificationError(
                f"{path}: {self.folder.sizes[path]} bytes long; at most {MAX_FILE} are read"
            )
        return open_regular(self.folder.root / path)

    def file(self, path: str) -> bytes:
        """Any file of the pack, such as ``data/law/provisions.yaml``."""
        return self._read(path, limit=layout.MAX_JSON_FILE)

    def files(self, start: str) -> dict[str, bytes]:
        """All files below a folder such as ``data/law/``, by path relative to it."""
        return {path: self.file(start + path) for path in sorted(self.folder.below(start))}

    def as_parent(self) -> Parent:
        """What the next version needs to know of this one."""
        predicate = self.statement.predicate
        return Parent(predicate.version, predicate.root_digest, self.evidence)

    def _read(self, path: str, *, limit: int = layout.MAX_TEXT_FILE) -> bytes:
        if path not in self.folder.digests:
            raise VerificationError(f"{path}: missing from the pack")
        try:
            return self.folder.read(path, limit=limit)
        except ValueError as error:
            raise VerificationError(f"{path}: {error}") from error


@contextlib.contextmanager
def read_pack(path: Path) -> Iterator[OpenPack]:
    """Open the pack in a folder or a ZIP.

    Raises:
        PackError: There is no pack here.
        VerificationError: It is a ZIP that is not safe to unpack.
    """
    with unpacked(path) as (root, problems):
        if problems:
            raise VerificationError(f"{path}: {problems[0].line}")
        yield OpenPack(survey(root))


def parse_evidence(data: bytes) -> Evidence:
    """Read ``evidence.json``.

    Raises:
        ValueError: It is not canonical JSON, of a version unknown here, or of another shape.
    """
    value = parse_canonical(data)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}, this program reads {SCHEMA_VERSION!r}")
    try:
        return Evidence.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ValueError(shape_problem(error)) from error


def parse_salts(data: bytes) -> Salts:
    """Read ``salts.json``.

    Raises:
        ValueError: It is not canonical JSON, or of another shape.
    """
    try:
        return Salts.model_validate(parse_canonical(data))
    except ValidationError as error:
        raise ValueError(shape_problem(error)) from error


class PackItems(Sequence[PackItem]):
    """The items of an ``items.jsonl``. None is kept: each is read again where it is asked for.

    Args:
        opened: Opens the file, from its beginning.

    Raises:
        ValueError: It is not what ``render_items`` writes; the message names the line.
    """

    def __init__(self, opened: Callable[[], BinaryIO]) -> None:
        self._opened = opened
        self._starts = array("Q")
        place, before = 0, ""
        for number, line in enumerate(self._lines(), start=1):
            if number > MAX_ITEMS:
                raise ValueError(f"more than {MAX_ITEMS} lines")
            name = item_id(_numbered(number, line))
            if name <= before:
                raise ValueError(f"line {number}: items are not sorted by id, each one once")
            self._starts.append(place)
            place, before = place + len(line) + 1, name

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[PackItem]:
        return (_numbered(number, line) for number, line in enumerate(self._lines(), start=1))

    @overload
    def __getitem__(self, place: int) -> PackItem: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[PackItem, ...]: ...
    def __getitem__(self, place: int | slice) -> PackItem | tuple[PackItem, ...]:
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(len(self))))
        with self._opened() as file:
            file.seek(self._starts[place])
            return parse_item(file.readline().rstrip(b"\n"))

    def _lines(self) -> Iterator[bytes]:
        """Each line without its end."""
        with self._opened() as file:
            number = 0
            while line := file.readline(layout.MAX_LINE + 2):
                number += 1
                if len(line) > layout.MAX_LINE + line.endswith(b"\n"):
                    raise ValueError(f"line {number}: longer than {layout.MAX_LINE} bytes")
                if not line.endswith(b"\n"):
                    raise ValueError(f"line {number}: the line is not finished")
                yield line[:-1]


def read_items(folder: Folder) -> PackItems:
    """The items of a pack, whose ``items.jsonl`` is there.

    Raises:
        ValueError: It cannot be read; the message names the line.
    """
    size = folder.sizes[layout.ITEMS]
    if size > MAX_ITEM_BYTES:
        raise ValueError(f"{size} bytes long; at most {MAX_ITEM_BYTES} are read")
    return PackItems(lambda: open_regular(folder.root / layout.ITEMS))


def shape_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg'].lower()}" if place else first["msg"].lower()


def _numbered(number: int, line: bytes) -> PackItem:
    try:
        return parse_item(line)
    except ValidationError as error:
        raise ValueError(f"line {number}: {shape_problem(error)}") from error
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
