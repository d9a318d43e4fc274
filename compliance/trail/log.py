"""The trail's file: one line an entry, appended by many, readable after any kill.

Each line is canonical JSON and holds the digest of the line before it. Writers hold the file
alone while they read its end and write after it; the lock goes with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compliance.errors import StorageError, TrailError
from compliance.records.base import Record, canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.pack import parse_canonical
from compliance.records.trail import Entry, utc_text
from compliance.storage import write_bytes

START = digest_bytes(b"")
"""``previous`` of the first entry: nothing comes before it."""

MAX_ENTRIES = 1_000_000
"""Most lines of a trail that are read."""

MAX_BYTES = 1 << 28
"""Longest trail that is read."""

TORN = "torn-tail"
"""Kind of the entry that says that an unfinished line was moved aside."""

_HINT = "the trail was edited or damaged; go back to the last copy whose checkpoint verifies"

Facts = dict[str, Any]


def append(path: Path, kind: str, facts: Facts, *, at: datetime, actor: str) -> Entry:
    """Write one entry to the end of the trail and return it once it is on the disk.

    Several processes may append at the same time. A line that a killed writer left unfinished is
    moved aside first, and the trail says so in an entry of its own (see ``recover``).

    Args:
        path: The trail; it is made when it is not there.
        kind: What happened, such as ``run-started``.
        facts: JSON values, as plain as they are to be read back.
        at: When, by the writer's clock.
        actor: Who or what did it.

    Raises:
        TrailError: The trail is broken, or the entry cannot be written as JSON.
        StorageError: The disk refuses; the trail is as it was.
    """
    with _held(path, at, actor) as held:
        return held.append(kind, facts)


def append_from(
    path: Path,
    kind: str,
    facts: Callable[[Sequence[Entry]], Facts | None],
    *,
    at: datetime,
    actor: str,
) -> Entry | None:
    """Append an entry whose facts depend on what the trail holds, which nobody changes meanwhile.

    Args:
        path: As in `append`.
        kind: As in `append`.
        facts: Given all entries; None: nothing is to be appended.
        at: As in `append`.
        actor: As in `append`.

    Raises:
        TrailError: As in `append`.
        StorageError: As in `append`.
    """
    with _held(path, at, actor) as held:
        made = facts(held.entries)
        return None if made is None else held.append(kind, made)


def append_once(path: Path, kind: str, facts: Facts, *, at: datetime, actor: str) -> Entry | None:
    """Append an entry unless the trail has it: a stage that is resumed is not a second event."""

    def unless_there(entries: Sequence[Entry]) -> Facts | None:
        there = any(entry.kind == kind and entry.facts == facts for entry in entries)
        return None if there else facts

    return append_from(path, kind, unless_there, at=at, actor=actor)


def append_record(
    path: Path,
    kind: str,
    record: Record,
    *,
    at: datetime,
    actor: str,
    facts: Facts | None = None,
) -> Entry:
    """Append an entry that embeds a whole record (``plan-frozen``, ``locked``).

    The facts hold ``record``, its ``digest``, and whatever ``facts`` adds.
    """
    embedded = {**(facts or {}), "digest": digest_of(record), "record": to_json(record)}
    return append(path, kind, embedded, at=at, actor=actor)


def recover(path: Path, *, at: datetime, actor: str) -> tuple[Path, ...]:
    """Move an unfinished last line aside, to ``trail.jsonl.torn-1`` and so on.

    Nothing acknowledged is lost: ``append`` returns only after the line's end was written. The
    trail gets an entry ``torn-tail`` with the name, size and digest of what was moved, also where
    a process was killed between moving and saying so.

    Returns:
        The files that the trail now names and did not before.
    """
    if not path.exists():
        return ()
    with _held(path, at, actor) as held:
        return held.recovered


def read(path: Path) -> tuple[Entry, ...]:
    """Read the whole trail and check every link of its chain.

    Raises:
        TrailError: There is no trail, or it is broken; the message names the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TrailError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    return parse(data, name=path.name)


def parse(data: bytes, *, name: str = "trail.jsonl") -> tuple[Entry, ...]:
    """The same from bytes; ``name`` is what messages call them.

    Raises:
        TrailError: The chain is broken; the message names the line.
    """
    if len(data) > MAX_BYTES:
        raise TrailError(f"{name}: longer than {MAX_BYTES} bytes, which is the most that is read")
    if data.count(b"\n") > MAX_ENTRIES:
        raise TrailError(f"{name}: more than {MAX_ENTRIES} lines, which is the most that is read")
    *lines, tail = data.split(b"\n")
    entries: list[Entry] = []
    previous = START
    for number, line in enumerate(lines, start=1):
        entries.append(_parse_line(line, number, previous, name))
        previous = digest_bytes(line)
    if tail:
        raise TrailError(
            f"{name}, line {len(lines) + 1}: the line is not finished (its end is missing)",
            hint="a writer was killed; the next entry moves the unfinished line aside",
        )
    return tuple(entries)


def lines(entries: Sequence[Entry]) -> bytes:
    """The trail's bytes."""
    return b"".join(canonical_bytes(entry) + b"\n" for entry in entries)


def _parse_line(line: bytes, number: int, previous: str, name: str) -> Entry:
    where = f"{name}, line {number}"
    try:
        entry = Entry.model_validate(parse_canonical(line))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TrailError(f"{where}: {field}: {first['msg'].lower()}", hint=_HINT) from error
    except ValueError as error:
        raise TrailError(f"{where}: {error}", hint=_HINT) from error
    if entry.sequence != number:
        raise TrailError(f"{where}: sequence is {entry.sequence}, not {number}", hint=_HINT)
    if entry.previous != previous:
        raise TrailError(
            f"{where}: it follows {entry.previous[:19]}, the line before is {previous[:19]}",
            hint=_HINT,
        )
    if entry.digest != _digest(entry) or canonical_bytes(entry) != line:
        raise TrailError(f"{where}: its digest is not that of its contents", hint=_HINT)
    return entry


def _digest(entry: Entry) -> str:
    contents = to_json(entry)
    del contents["digest"]
    return digest_of(contents)


@contextlib.contextmanager
def _held(path: Path, at: datetime, actor: str) -> Iterator[_Held]:
    """Hold the trail alone, whole and read. A killed process leaves no lock behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StorageError(f"{path}: cannot be written: {reason}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield _hold(descriptor, path, at, actor)
    finally:
        os.close(descriptor)


def _hold(descriptor: int, path: Path, at: datetime, actor: str) -> _Held:
    data = _contents(descriptor)
    whole = data.rfind(b"\n") + 1
    entries = list(parse(data[:whole], name=path.name))
    held = _Held(descriptor, path, at, actor, entries, whole)
    held.recovered = held.move_torn(data[whole:])
    return held


@dataclass
class _Held:
    """A trail that is locked, and what it holds."""

    descriptor: int
    path: Path
    at: datetime
    actor: str
    entries: list[Entry]
    size: int
    """Bytes of its whole lines."""

    recovered: tuple[Path, ...] = ()

    def append(self, kind: str, facts: Facts) -> Entry:
        entry = _entry(self.entries, kind, facts, at=self.at, actor=self.actor)
        line = canonical_bytes(entry) + b"\n"
        _write_line(self.descriptor, self.size, line, self.path)
        self.entries.append(entry)
        self.size += len(line)
        return entry

    def move_torn(self, torn: bytes) -> tuple[Path, ...]:
        """Move torn bytes to a file of their own, and say so of each such file, once.

        A kill may come after any step: a file that no entry names yet is one that was being moved.
        """
        said = {entry.facts.get("moved_to") for entry in self.entries if entry.kind == TORN}
        moved = [place for place in _torn_files(self.path) if place.name not in said]
        if torn:
            if not any(place.read_bytes() == torn for place in moved):
                moved.append(_unused(self.path))
                write_bytes(moved[-1], torn)
            os.ftruncate(self.descriptor, self.size)
        for place in moved:
            data = place.read_bytes()
            digest = digest_bytes(data)
            self.append(TORN, {"moved_to": place.name, "bytes": len(data), "digest": digest})
        return tuple(moved)


def _entry(entries: Sequence[Entry], kind: str, facts: Facts, *, at: datetime, actor: str) -> Entry:
    try:
        draft = Entry(
            sequence=len(entries) + 1,
            kind=kind,
            at=utc_text(at),
            actor=actor,
            facts=facts,
            previous=digest_of(entries[-1]) if entries else START,
            digest=START,
        )
        entry = draft.model_copy(update={"digest": _digest(draft)})
        return Entry.model_validate(parse_canonical(canonical_bytes(entry)))
    except ValueError as error:
        raise TrailError(f"entry {kind!r} cannot be written: {error}") from error


def _contents(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    data = bytearray()
    while len(data) < size:
        data += os.pread(descriptor, size - len(data), len(data))
    return bytes(data)


def _write_line(descriptor: int, size: int, line: bytes, path: Path) -> None:
    """Write and sync; on failure cut back to ``size``, so that no half line stays."""
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
        if size == 0:
            _sync_folder(path.parent)
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise StorageError(
            f"{path}: entry cannot be written: {(error.strerror or '').lower()}",
            hint="the trail is as it was before; free some space and try again",
        ) from error


def _sync_folder(folder: Path) -> None:
    """The name of a new trail outlasts a power cut as its first line does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _torn_files(path: Path) -> Iterator[Path]:
    number = 1
    while (place := path.with_name(f"{path.name}.torn-{number}")).exists():
        yield place
        number += 1


def _unused(path: Path) -> Path:
    return path.with_name(f"{path.name}.torn-{sum(1 for _ in _torn_files(path)) + 1}")
