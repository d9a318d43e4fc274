"""The thread that turns what was kept of sequences into events, in the order they ended in."""

from __future__ import annotations

import atexit
import os
import queue
import secrets
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch

from compliance.monitor.chain import Moment
from compliance.monitor.locked import Locked
from compliance.monitor.log import EventLog
from compliance.monitor.looking import Pass, SensorError, rows_of
from compliance.monitor.metrics import Metrics
from compliance.monitor.scoring import Asked, Row, Said, Scores, Words, cut, spelt, turns_of
from compliance.records.base import to_json
from compliance.records.monitoring import Failed, Observed

WAITING = 1024
"""Batches that wait to be scored at most."""

UNDECLARED = "the request was not declared, so all tokens were read"
UNKNOWN_WORDS = "the tokens are not the declared input in the chat template, so all were read"
NO_ITEM = "no input was declared, so all tokens were read"


@dataclass
class Job:
    """Sequences that are to be scored."""

    passes: list[Pass]
    prompt: int
    ids: tuple[str, ...]
    asked: tuple[Asked | None, ...]
    phase: str
    complete: bool
    at: Moment
    ready: list[torch.cuda.Event]
    """Passed once the devices have computed what is to be scored."""

    events: list[Observed | None] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class Scorer:
    """A thread that turns what was kept into events."""

    def __init__(
        self, locked: Locked, words: Words, log: EventLog, metrics: Metrics, weights: str, *,
        another_model: bool,
    ) -> None:  # fmt: skip
        self._words, self._log, self._metrics = words, log, metrics
        self._scores = Scores(locked)
        self._facts = {"model": weights, "pack": locked.root}
        self._marks: dict[str, Any] = {"another_model": True} if another_model else {}
        self._start()
        _SCORERS.add(self)

    def _start(self) -> None:
        """With a thread of its own: when made, and in a forked process again."""
        self._queue: queue.Queue[Job | threading.Event | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def now(self) -> Moment:
        return self._log.now()

    def put(self, job: Job) -> None:
        """Let sequences be scored. It returns at once; what cannot wait is counted."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._log.lose(len(job.ids))
            job.events = [None] * len(job.ids)
            job.done.set()

    def failed(self, asked: Asked | None, reason: str, request: str | None = None) -> None:
        """Say that a sequence could not be read. Never raises."""
        try:
            self._fail(request or secrets.token_hex(8), asked, reason)
        except Exception:  # the last resort: it is counted
            self._log.lose(1)

    def flush(self, timeout: float) -> bool:
        done = threading.Event()
        try:
            self._queue.put(done, timeout=timeout)
        except queue.Full:
            return False
        return done.wait(timeout)

    def close(self) -> None:
        _SCORERS.discard(self)
        if self.flush(timeout=5.0):
            self._queue.put(None)
            self._thread.join(1.0)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
                continue
            try:
                job.events = self._events(job)
            except Exception as error:
                job.events = [None] * len(job.ids)
                for request, asked in zip(job.ids, job.asked, strict=True):
                    self._fail(request, asked, reason_of(error))
            job.done.set()

    def _events(self, job: Job) -> list[Observed | None]:
        for mark in job.ready:
            mark.synchronize()
        rows = rows_of(job.passes, job.prompt)
        found: list[Observed | None] = []
        for row, request, asked in zip(rows, job.ids, job.asked, strict=True):
            try:
                event = self._observed(row, request, asked, job)
            except Exception as error:
                self._fail(request, asked, reason_of(error))
                found.append(None)
                continue
            self._log.write(event, job.at)
            if job.complete:
                self._metrics.observed(event)
            found.append(event)
        return found

    def _observed(self, row: Row, request: str, asked: Asked | None, job: Job) -> Observed:
        said = asked.item if asked is not None else None
        found = None if said is None else self._words.roles(said, row.ids)
        unknown = UNDECLARED if asked is None else NO_ITEM if said is None else UNKNOWN_WORDS
        roles, begins = found or (None, row.prompt)
        row = cut(row, begins, self._words.ends)
        language = spelt(asked.language) if asked is not None else None
        return Observed(
            **self._facts,
            **self._marks,
            request=request,
            phase=job.phase,
            complete=job.complete,
            item=self._salted(said, row),
            language=language,
            declared=asked is not None,
            tokens=len(row.ids),
            scores=self._scores.of(
                row, None if roles is None else roles[: len(row.ids)], language, unknown
            ),
            words=self._spoken(said, row, begins),
        )

    def _salted(self, said: Said | None, row: Row) -> str:
        if said is None:
            return self._log.salted({"ids": row.ids[: row.prompt]})
        return self._log.salted({"turns": [to_json(turn) for turn in turns_of(said)]})

    def _spoken(self, said: Said | None, row: Row, begins: int) -> Any:
        if not self._log.policy.text:
            return None
        asked = turns_of(said) if said is not None else (
            {"role": "unknown", "content": self._words.reply(row.ids[: row.prompt])},
        )  # fmt: skip
        reply = self._words.reply(row.ids[begins:])
        return (*asked, {"role": "assistant", "content": reply}) if reply else asked

    def _fail(self, request: str, asked: Asked | None, reason: str) -> None:
        self._metrics.failed()
        language = spelt(asked.language) if asked is not None else None
        facts = {**self._facts, **self._marks, "request": request, "language": language}
        self._log.write(Failed(**facts, reason=reason))


_SCORERS: weakref.WeakSet[Scorer] = weakref.WeakSet()


def _after_fork() -> None:
    for scorer in list(_SCORERS):
        scorer._start()


def _at_exit() -> None:
    """A server that ends without detaching has its last requests scored; the log closes next."""
    for scorer in list(_SCORERS):
        scorer.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)


def reason_of(error: Exception) -> str:
    """In words that quote nothing that was read, as messages of others may do."""
    if isinstance(error, SensorError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_name}" if trace is not None else ""
    return f"{type(error).__name__}{where}"
