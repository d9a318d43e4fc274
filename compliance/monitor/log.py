"""The event log of a serving process: written in the background, and never in its way.

    with EventLog(folder, LogPolicy(retention_days=365)) as log:
        log.write(observed)                     # returns at once, from any thread, and never raises

Events wait in a queue of bounded length. What finds it full, or what the disk refuses, is counted,
and an event says how many are missing as soon as one can be written again.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import hmac
import os
import queue
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from compliance.errors import StorageError
from compliance.monitor.chain import Chain, Moment
from compliance.records.base import canonical_bytes
from compliance.records.monitoring import Closed, Gap, LogPolicy, What, event_time
from compliance.storage import write_secret

KEY_FILE = "item.key"
"""32 bytes under which inputs are digested, so that no text can be guessed from its digest."""

WAITING = 4096
"""Events that wait for the disk at most."""

AGAIN_SECONDS = 1.0
"""How long a disk that refused is left alone, and how often what was written is synced."""

Reason = Literal["too-many-waiting", "disk-refused", "bound-reached"]


@dataclass
class _Missing:
    """Events of one kind of gap that no event speaks of yet."""

    count: int
    since: Moment
    error: str | None = None


class EventLog:
    """Writes events of this process to a folder that other processes may write to as well."""

    def __init__(
        self,
        folder: Path,
        policy: LogPolicy | None = None,
        *,
        waiting: int = WAITING,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a log, or go on beside what is there.

        Args:
            folder: Made when it is not there.
            policy: How long and how much is kept. Absent: six months, one gibibyte.
            waiting: Events that wait for the disk at most.
            wall: The system's clock, in seconds since 1970.
            steady: A clock that is never set, in seconds.

        Raises:
            StorageError: The folder cannot be written.
        """
        self.folder = Path(folder)
        self.policy = policy or LogPolicy()
        self._key = _read_key(self.folder)
        self._waiting = waiting
        self._wall, self._steady = wall, steady
        self._start()
        _LOGS.add(self)

    def now(self) -> Moment:
        """This moment, by both clocks."""
        return Moment(self._wall(), self._steady())

    def write(self, what: What, at: Moment | None = None) -> None:
        """Let an event be written. It returns at once; what cannot wait is counted.

        Args:
            what: The event.
            at: When it happened; absent: now.
        """
        self._put(what, at or self.now())

    def lose(self, count: int) -> None:
        """Say that events were lost before they came here, since too many waited."""
        self._drop("too-many-waiting", self.now(), count)

    def salted(self, value: dict[str, Any]) -> str:
        """HMAC-SHA256 of the canonical JSON of an input, under the key beside the log."""
        digest = hmac.new(self._key, canonical_bytes(value), hashlib.sha256)
        return f"hmac-sha256:{digest.hexdigest()}"

    @property
    def dropped(self) -> dict[str, int]:
        """Events that were not written since this process began, by reason."""
        with self._lock:
            return dict(self._dropped)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything so far was written or counted; whether it was in time."""
        done = threading.Event()
        try:
            self._queue.put((done, self.now()), timeout=timeout)
        except queue.Full:
            return False
        return done.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and that the chain ends. A disk that hangs is not waited for."""
        self._closing.set()
        self._thread.join(timeout)
        _LOGS.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        """Begin a chain with a thread of its own: when made, and in a forked process again."""
        self._lock = threading.Lock()
        self._dropped: Counter[str] = Counter()
        self._missing: dict[Reason, _Missing] = {}
        self._queue: queue.Queue[tuple[Any, Moment]] = queue.Queue(self._waiting)
        self._closing = threading.Event()
        self._chain = Chain(self.folder, self.policy, self.now())
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def _put(self, what: What, at: Moment) -> None:
        try:
            if self._closing.is_set():
                raise queue.Full
            self._queue.put_nowait((what, at))
        except queue.Full:
            self._drop("too-many-waiting", at, 1)

    def _drop(self, reason: Reason, at: Moment, count: int, error: str | None = None) -> None:
        with self._lock:
            self._dropped[reason] += count
            missing = self._missing.setdefault(reason, _Missing(0, at))
            missing.count += count
            missing.error = error or missing.error

    def _run(self) -> None:
        refused_until = synced = self._steady()
        while True:
            try:
                what, at = self._queue.get(timeout=0.05 if self._closing.is_set() else 0.5)
            except queue.Empty:
                what, at = None, self.now()
            if isinstance(what, threading.Event):
                what.set()
                continue
            if self._steady() < refused_until and not self._closing.is_set():
                if what is not None:
                    self._refused(at, None)
                continue
            try:
                self._write(what, at)
            except OSError as error:
                refused_until = self._steady() + AGAIN_SECONDS
                if what is not None:
                    self._refused(at, error)
            except Exception as error:  # a bug must not end the log
                self._refused(at, OSError(0, type(error).__name__))
            if self._steady() - synced >= AGAIN_SECONDS:
                with contextlib.suppress(OSError):  # the next write says what the disk refuses
                    self._chain.sync()
                synced = self._steady()
            if self._closing.is_set() and what is None:
                return self._end()

    def _write(self, what: What | None, at: Moment) -> None:
        """First what is missing, then an event, if there is one."""
        with self._lock:
            missing = dict(self._missing)
        for reason, found in missing.items():
            count, error = found.count, found.error
            gap = Gap(dropped=count, reason=reason, error=error, since=event_time(found.since.wall))
            self._chain.append(gap, self.now())
            self._said(reason, count)
        if what is not None:
            self._chain.append(what, at)

    def _said(self, reason: Reason, count: int) -> None:
        with self._lock:
            left = self._missing[reason].count - count
            if left:
                self._missing[reason] = _Missing(left, self.now())
            else:
                del self._missing[reason]

    def _refused(self, at: Moment, error: OSError | None) -> None:
        reached = error is not None and error.errno == errno.EDQUOT
        text = (error.strerror or str(error)).lower() if error is not None else None
        self._drop("bound-reached" if reached else "disk-refused", at, 1, text)

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._write(Closed(), self.now())
            self._chain.sync()
        self._chain.close()

    def _in_child(self) -> None:
        """A forked process has no thread, and writes a chain of its own."""
        self._chain.close()
        self._start()


def _read_key(folder: Path) -> bytes:
    path = folder / KEY_FILE
    if not path.exists():
        try:
            write_secret(path, os.urandom(32))
        except StorageError:
            if not path.exists():  # else another process was faster
                raise
    for _ in range(50):
        try:
            key = path.read_bytes()
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be read: {(error.strerror or '').lower()}",
                hint="the log needs a folder that the server may write",
            ) from error
        if len(key) == 32:
            return key
        time.sleep(0.02)  # the process that makes it has not finished
    raise StorageError(
        f"{path}: holds {len(key)} bytes, expected 32",
        hint="move it away; digests of inputs under another key cannot be compared with older ones",
    )


_LOGS: weakref.WeakSet[EventLog] = weakref.WeakSet()


def _after_fork() -> None:
    for log in list(_LOGS):
        log._in_child()


def _at_exit() -> None:
    for log in list(_LOGS):
        log.close(timeout=2.0)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
