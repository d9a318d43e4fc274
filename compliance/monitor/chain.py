"""One process's chain of files in a log's folder, written by one thread.

    chain = Chain(folder, policy)
    chain.append(what, now, ticks)              # an OSError: it is not there, and nothing torn is

Each line holds the digest of the line before. A file is begun anew before it is too long or too
old, and the oldest files are removed to keep the bound of the policy; an event says so before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compliance import __version__
from compliance.records.base import canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.monitoring import (
    ClockChanged,
    Event,
    LogPolicy,
    Opened,
    Removed,
    What,
    event_time,
    parse_event_time,
)
from compliance.records.pack import parse_canonical

START = digest_bytes(b"")
"""``previous`` of the first event of a chain: nothing comes before it."""

LOCK_FILE = "lock"
"""Held while a file is begun, so that processes keep the bound together."""

FILE = re.compile(r"events-[0-9]{8}T[0-9]{6}Z-[0-9]+-([0-9a-f]{16})-([0-9]{6})\.jsonl")

JUMP_MS = 2000
"""By how much the system's clock may move against the monotonic one unsaid."""

TRUSTED_MS = 24 * 3_600_000
"""A clock that was set forward by more than this is not believed that a retention is over."""

TAIL = 1 << 22
"""Bytes of a file's end that are read to know its last line; no line is as long."""


@dataclass(frozen=True)
class Moment:
    """When something happened, by both clocks, in seconds."""

    wall: float
    steady: float


class Chain:
    """Writes events, each after the one before. Not safe for several threads."""

    def __init__(self, folder: Path, policy: LogPolicy, began: Moment) -> None:
        self.folder = folder
        self.policy = policy
        self.id = secrets.token_hex(8)
        self._began = began
        self._last = began
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._opened_at = began.steady
        self._files = 0
        self._sequence = 0
        self._previous = START
        self._set_forward = False

    def append(self, what: What, at: Moment) -> None:
        """Write one event, and before it what has to be said first.

        Raises:
            OSError: It could not be written; the chain ends where it ended before.
        """
        if self._descriptor is None or self._is_full(at):
            self._begin(at)
        self._say_clock(at)
        line = self._line(what, at)
        if self._size + len(line) > self.policy.max_file_bytes and self._size > 0:
            self._begin(at)
            line = self._line(what, at)
        self._write(line, at)

    def sync(self) -> None:
        """Bring to the disk what was written.

        Raises:
            OSError: The disk refuses.
        """
        if self._descriptor is not None:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _is_full(self, at: Moment) -> bool:
        return at.steady - self._opened_at >= self.policy.max_file_hours * 3600

    def _elapsed(self, at: Moment) -> int:
        return max(0, int((at.steady - self._began.steady) * 1000))

    def _line(self, what: What, at: Moment) -> bytes:
        event = Event(
            sequence=self._sequence + 1,
            at=event_time(at.wall),
            elapsed_ms=max(self._elapsed(at), self._elapsed(self._last)),
            previous=self._previous,
            digest=START,
            what=what,
        )
        return canonical_bytes(to_json(event) | {"digest": digest_without_itself(event)}) + b"\n"

    def _say_clock(self, at: Moment) -> None:
        """Events may come a little out of order from several threads, so only jumps are said."""
        moved = (at.wall - self._last.wall) - (at.steady - self._last.steady)
        by_ms = int(moved * 1000)
        if abs(by_ms) > JUMP_MS:
            self._set_forward |= by_ms > TRUSTED_MS
            self._write(self._line(ClockChanged(by_ms=by_ms), at), at)

    def _write(self, line: bytes, at: Moment) -> None:
        assert self._descriptor is not None
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            self._cut_back()
            raise
        self._size += len(line)
        self._sequence += 1
        self._previous = digest_bytes(line[:-1])
        if at.steady >= self._last.steady:
            self._last = at

    def _cut_back(self) -> None:
        """Leave no half line; where that fails too, the next event goes to a file of its own."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.close()
            return
        if not self._size and self._path is not None:
            self.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _begin(self, at: Moment) -> None:
        """Begin the next file, which follows the last line of the one before."""
        self.close()
        with _held(self.folder / LOCK_FILE):
            leaving = _leaving(self.folder, self.policy, None if self._set_forward else at.wall)
            name = f"events-{_compact(at.wall)}-{os.getpid()}-{self.id}-{self._files + 1:06d}.jsonl"
            path = self.folder / name
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._descriptor, self._path, self._size = os.open(path, flags, 0o600), path, 0
            with contextlib.suppress(OSError):  # a disk without locks: nothing is removed there
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened = Opened(
                software=f"sae-compliance {__version__}",
                process=os.getpid(),
                chain=self.id,
                file=self._files + 1,
                policy=self.policy,
            )
            self._write(self._line(opened, at), at)
            self._files += 1
            self._opened_at = at.steady
            for path, reason in leaving:
                self._remove(path, reason, at)

    def _remove(self, path: Path, reason: str, at: Moment) -> None:
        """Say it, then do it: a kill between leaves a file that was said to be removed."""
        found = _ending(path)
        removed = Removed.model_validate({"file": path.name, "reason": reason, **found})
        self._write(self._line(removed, at), at)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def digest_without_itself(event: Event) -> str:
    """What the field ``digest`` of an event is to hold."""
    contents = to_json(event)
    del contents["digest"]
    return digest_of(contents)


def is_written(path: Path) -> bool:
    """Whether a process has this file open to write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks: it may be
        return True
    finally:
        os.close(descriptor)
    return False


def _leaving(folder: Path, policy: LogPolicy, now: float | None) -> list[tuple[Path, str]]:
    """Files that are to be removed before the next is begun, oldest first, and why.

    Raises:
        OSError: Files that are still written leave no room for another.
    """
    found = []
    for path in folder.iterdir():
        if FILE.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                found.append((facts.st_mtime, path, facts.st_size, is_written(path)))
    most = policy.max_file_bytes
    total = most + sum(max(size, most) if open_ else size for _, _, size, open_ in found)
    leaving: list[tuple[Path, str]] = []
    for changed, path, size, open_ in sorted(found):
        if open_:
            continue
        over = now is not None and changed < now - policy.retention_days * 86_400
        if over or total > policy.max_bytes:
            leaving.append((path, "retention-over" if over else "bound-reached"))
            total -= size
    if total > policy.max_bytes:
        raise OSError(errno.EDQUOT, "files of other processes take what the policy allows")
    return leaving


def _ending(path: Path) -> dict[str, object]:
    """What `Removed` says of a file."""
    with open(path, "rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        file.seek(max(0, file.tell() - TAIL))
        *whole, _ = file.read().split(b"\n")
    if not whole:
        return {"events": 0, "last": START}
    found: dict[str, object] = {"events": lines, "last": digest_bytes(whole[-1])}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        newest = parse_canonical(whole[-1])["at"]
        parse_event_time(newest)
        found["newest"] = newest
    return found


def _compact(wall: float) -> str:
    return datetime.fromtimestamp(int(wall), UTC).strftime("%Y%m%dT%H%M%SZ")


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a file alone. The kernel lets go of it with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(OSError):  # a disk without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
