"""Reads an event log and checks it: which events are there, what is missing, what was changed.

    log = read_log(folder)
    log.damage                                  # nothing may stand here
    log.gaps                                    # what is missing, and says so
    for event in log.events(): ...              # of all processes, by time

Needs no torch. A chain shows that no line was changed, taken out or put in. It cannot show that its
end was cut off, or that all of it was written anew: keep `Chained.head` elsewhere for that.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from compliance.errors import MonitorError
from compliance.monitor.chain import FILE, START, digest_without_itself, is_written
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.monitoring import Closed, Event, Gap, Opened, Removed
from compliance.records.pack import parse_canonical

MAX_LINE = 1 << 22
"""Bytes of one line."""

MAX_FILES = 100_000
"""Files of one log."""


@dataclass(frozen=True)
class Damage:
    """Something that no writer leaves behind."""

    file: str
    line: int | None
    """Absent where the whole file is meant."""

    what: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.what}"


@dataclass(frozen=True)
class Missing:
    """A gap that the log itself speaks of."""

    file: str
    line: int | None
    what: str
    dropped: int = 0
    """Events that are known to be missing."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.what}"


@dataclass
class Chained:
    """The files of one process."""

    id: str
    paths: list[Path] = field(default_factory=list)
    events: int = 0
    first: int = 1
    """Number of the first event that is there."""

    last: int = 0
    head: str = START
    """Digest of the last whole line."""

    elapsed_ms: int = 0
    """From its beginning to its last event."""

    opened: Opened | None = None
    closed: bool = False
    written: bool = False
    """A process has it open."""


@dataclass
class Log:
    """A log that was read once, and what was found."""

    folder: Path
    chains: list[Chained]
    damage: list[Damage]
    gaps: list[Missing]
    counts: dict[str, int]
    """Events by kind."""

    @property
    def dropped(self) -> int:
        """Events that gaps speak of."""
        return sum(gap.dropped for gap in self.gaps)

    def events(self) -> Iterator[Event]:
        """Events of all chains, by their own time; within a chain in their order.

        Raises:
            MonitorError: A line is damaged. Look at ``damage`` first.
        """
        streams = (_placed(chain, number) for number, chain in enumerate(self.chains))
        for *_, event in heapq.merge(*streams, key=lambda found: found[:3]):
            yield event


def read_log(folder: Path) -> Log:
    """Read a whole log and check every chain in it.

    Args:
        folder: That of an `EventLog`, which may still be written.

    Raises:
        MonitorError: It is no log, or cannot be read.
    """
    files = _files(folder)
    log = Log(folder, [], [], [], {})
    removed: dict[str, Removed] = {}
    for chain_id, paths in files.items():
        chain = Chained(chain_id)
        log.chains.append(chain)
        for path in paths:
            _read_file(path, chain, log, removed)
        _say_end(chain, log)
    for chain in log.chains:
        _check_beginning(chain, log, removed)
    log.chains.sort(key=lambda chain: chain.paths[0].name)
    return log


def _files(folder: Path) -> dict[str, list[Path]]:
    """Files of each chain by number, chains by the name of their first file."""
    if not folder.is_dir():
        raise MonitorError(f"{folder}: is no folder", hint="give the folder of an event log")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if (match := FILE.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
            found.setdefault(match[1], []).append(path)
    if not found:
        raise MonitorError(
            f"{folder}: holds no event log",
            hint="a log is a folder with files such as "
            "events-20261122T154243Z-4711-0123456789abcdef-000001.jsonl",
        )
    if sum(map(len, found.values())) > MAX_FILES:
        raise MonitorError(f"{folder}: more than {MAX_FILES:,} files")
    return {name: sorted(paths, key=_number) for name, paths in found.items()}


def _number(path: Path) -> int:
    return int(FILE.fullmatch(path.name)[2])


@dataclass(frozen=True)
class _Read:
    """One line of a file: an event, or what is wrong with it."""

    number: int
    line: bytes
    event: Event | None = None
    problem: str | None = None
    torn: bool = False


def _lines(path: Path) -> Iterator[_Read]:
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                yield _parsed(number, line)
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    return
    except OSError as error:
        raise MonitorError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error


def _parsed(number: int, line: bytes) -> _Read:
    if len(line) == MAX_LINE:
        return _Read(number, line, problem=f"longer than {MAX_LINE} bytes")
    if not line.endswith(b"\n"):
        return _Read(number, line, torn=True)
    line = line[:-1]
    try:
        event = Event.model_validate(parse_canonical(line))
        if canonical_bytes(event) != line:
            raise ValueError("is not written as a log writes it")
        if event.digest != digest_without_itself(event):
            raise ValueError("its digest is not that of its contents")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return _Read(number, line, problem=f"{place}: {first['msg'].lower()}")
    except ValueError as error:
        return _Read(number, line, problem=str(error))
    return _Read(number, line, event)


def _read_file(path: Path, chain: Chained, log: Log, removed: dict[str, Removed]) -> None:
    """One file after those before it. After damage the rest of the file is not believed."""
    before = chain.paths[-1] if chain.paths else None
    chain.paths.append(path)
    written = is_written(path)
    for read in _lines(path):
        if read.torn:
            if not written:
                what = "the last line is not finished: the process ended, or the disk refused"
                log.gaps.append(Missing(path.name, read.number, what))
            return
        if read.event is None:
            log.damage.append(Damage(path.name, read.number, read.problem or ""))
            return
        if (what := _misplaced(read, path, chain, before)) is not None:
            log.damage.append(Damage(path.name, read.number, what))
            return
        _take(read.event, digest_bytes(read.line), path, read.number, chain, log, removed)


def _misplaced(read: _Read, path: Path, chain: Chained, before: Path | None) -> str | None:
    """Why an event cannot stand where it stands."""
    event, what = read.event, read.event.what
    if (read.number == 1) != isinstance(what, Opened):
        return f"is a {what.kind!r} event; the first line of a file, and no other, is 'opened'"
    if isinstance(what, Opened) and (what.chain, what.file) != (chain.id, _number(path)):
        return f"is of file {what.file} of chain {what.chain}, which is not this one"
    if chain.events == 0:
        begins = event.sequence == 1
        if begins != (event.previous == START) or begins != (_number(path) == 1):
            return "is neither the first event of a chain nor follows one"
        return None
    if before is not None and read.number == 1 and _number(path) != _number(before) + 1:
        return f"file {_number(before) + 1} of this chain is missing before it"
    if event.sequence != chain.last + 1:
        return f"sequence is {event.sequence}, expected {chain.last + 1}"
    if event.previous != chain.head:
        return f"it follows {event.previous[:19]}, the line before is {chain.head[:19]}"
    if event.elapsed_ms < chain.elapsed_ms:
        return f"elapsed_ms is {event.elapsed_ms}, after {chain.elapsed_ms}"
    if chain.closed:
        return "stands after the end of its chain"
    return None


def _take(
    event: Event, digest: str, path: Path, number: int, chain: Chained, log: Log,
    removed: dict[str, Removed],
) -> None:  # fmt: skip
    if chain.events == 0:
        chain.first = event.sequence
        chain.opened = event.what if isinstance(event.what, Opened) else None
    chain.events += 1
    chain.last, chain.head = event.sequence, digest
    chain.elapsed_ms = event.elapsed_ms
    log.counts[event.what.kind] = log.counts.get(event.what.kind, 0) + 1
    match event.what:
        case Gap(dropped=dropped, reason=reason, error=error, since=since):
            said = f" ({error})" if error else ""
            what = f"{dropped:,} events since {since} were not written: {reason}{said}"
            log.gaps.append(Missing(path.name, number, what, dropped))
        case Removed(file=file, reason=reason, events=events):
            removed[file] = event.what
            what = f"{file} with {events:,} events was removed: {reason}"
            log.gaps.append(Missing(path.name, number, what))
        case Closed():
            chain.closed = True


def _say_end(chain: Chained, log: Log) -> None:
    chain.written = is_written(chain.paths[-1])
    damaged = any(damage.file == path.name for damage in log.damage for path in chain.paths)
    if not (chain.closed or chain.written or damaged):
        what = "the chain ends without a last event: the process was killed, or its end was cut off"
        log.gaps.append(Missing(chain.paths[-1].name, None, what))


def _check_beginning(chain: Chained, log: Log, removed: dict[str, Removed]) -> None:
    """The files before the first that is there are missing only where an event says so."""
    if chain.events == 0 or chain.first == 1:
        return
    number = _number(chain.paths[0]) - 1
    tail = f"-{chain.id}-{number:06d}.jsonl"
    said = next((found for name, found in removed.items() if name.endswith(tail)), None)
    first = next(_lines(chain.paths[0]))
    if said is None or first.event is None or said.last != first.event.previous:
        what = f"file {number} of its chain is missing, and no event says that it was removed"
        log.damage.append(Damage(chain.paths[0].name, None, what))


def _placed(chain: Chained, number: int) -> Iterator[tuple[str, int, int, Event]]:
    """Events of a chain with what they are merged by. A clock set back keeps them in order."""
    latest = ""
    for path in chain.paths:
        for read in _lines(path):
            if read.torn:
                break
            if read.event is None:
                raise MonitorError(
                    f"{path.name}, line {read.number}: {read.problem}",
                    hint="the log was changed or damaged; compliance monitor check says where",
                )
            latest = max(latest, read.event.at)
            yield latest, number, read.event.sequence, read.event
