"""Which runs of the model belong to which sequence, and where a sequence ends.

A run goes on with the sequences at hand where the cache holds just their tokens, or where it is
given their tokens and one more. Anything else begins new ones, or cannot be read.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compliance.monitor.looking import Pass, joined, marks
from compliance.monitor.scorer import Job, Scorer, reason_of
from compliance.monitor.scoring import Asked
from compliance.records.monitoring import Observed

SEPARATE = 512
"""Runs of one token each that are kept apart; more are put together, which takes less memory."""

NOT_SEEN = (
    "no run of the model was seen: it is compiled, or ran in a thread without the request's context"
)


@dataclass(frozen=True)
class Broken:
    """A run of which nothing can be kept."""

    reason: str


@dataclass
class Sequences:
    """A batch of sequences, from the first run of the model on."""

    passes: list[Pass]
    ids: tuple[str, ...]
    """Of the requests, one for each row."""

    asked: tuple[Asked | None, ...]
    prompt: int
    """Positions of the prompt, with padding."""

    width: int
    """Positions in all."""

    grown: bool = False
    """Whether a reply has begun."""

    single: int = 0
    """The last passes, which were not put together."""


class Scope:
    """Runs of the model that belong together: those of a request, or of one ``generate``."""

    def __init__(self, scorer: Scorer, asked: tuple[Asked, ...]) -> None:
        """``asked`` is empty where the request was not declared."""
        self.refused: str | None = None
        """Why runs are not read at the moment."""

        self.mask: Tensor | None = None
        """Which tokens of the prompt are real, as ``generate`` was told."""

        self._scorer = scorer
        self._asked = asked
        self._copies = 1
        self._current: Sequences | None = None
        self._broken = False
        self._seen = False
        self._lock = threading.RLock()
        self._jobs: list[Job] = []

    def generating(self, refused: str | None, copies: int, mask: Any) -> None:
        """``model.generate`` begins."""
        with self._lock:
            self.refused, self._copies = refused, copies
            self.mask = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None
            if refused is not None:
                self._seen = True
                self._fail(refused)

    def generated(self, width: int) -> None:
        """``model.generate`` gave sequences of so many tokens; the last of them is never run."""
        with self._lock:
            current = self._current
            if current is not None and current.width < width - 1:
                self._break(
                    f"{current.width} of {width - 1} tokens were seen: the others were generated "
                    "by a compiled model"
                )

    def ungenerating(self) -> None:
        """``model.generate`` has ended."""
        with self._lock:
            self.refused, self.mask, self._copies = None, None, 1
            self.finish()

    def add(self, run: Pass | Broken) -> None:
        """A run of the model has ended."""
        with self._lock:
            self._seen = True
            if isinstance(run, Broken):
                self._break(run.reason)
            elif self._goes_on(run):
                self._grow(run)
            elif run.past == 0:
                self.finish()
                self._begin(run)
            elif not self._broken:
                self._break(
                    f"the cache holds {run.past} tokens, of which this request's runs are not all: "
                    "a cache of an earlier request, or one that was cut back"
                )

    def finish(self) -> None:
        """The sequences so far are complete."""
        with self._lock:
            current, self._current, self._broken = self._current, None, False
            if current is not None:
                phase = "generation" if current.grown else "prefill"
                self._submit(current, phase, complete=True)

    def end(self, *, served: bool) -> None:
        """Nothing more belongs here. Never raises."""
        try:
            with self._lock:
                self.finish()
                if served and not self._seen:
                    self._fail(NOT_SEEN)
        except Exception as error:
            self._scorer.failed(None, reason_of(error))

    def latest(self, timeout: float) -> tuple[Observed | None, ...]:
        """The last event of each sequence of the last batch."""
        with self._lock:
            job = next((job for job in reversed(self._jobs) if job.complete), None)
        if job is None or not job.done.wait(timeout):
            return ()
        return tuple(job.events)

    def _begin(self, run: Pass) -> None:
        asked: tuple[Asked | None, ...] = (None,) * run.rows
        if self._asked:
            expected = len(self._asked) * self._copies
            if run.rows != expected:
                self._break(
                    f"the model was run on {run.rows} sequences, declared were {expected}: "
                    "beam search, or another batch"
                )
                return
            asked = tuple(one for one in self._asked for _ in range(self._copies))
        ids = tuple(secrets.token_hex(8) for _ in range(run.rows))
        self._current = Sequences([run], ids, asked, run.width, run.width)

    def _goes_on(self, run: Pass) -> bool:
        """Whether a run goes on with the sequences at hand, by the cache or without one."""
        current = self._current
        if current is None or run.rows != current.passes[0].rows:
            return False
        if run.past:
            return run.past == current.width
        if run.width != current.width + 1:
            return False
        before = torch.cat([one.ids for one in current.passes], dim=1)
        return torch.equal(run.ids[:, :-1], before)

    def _grow(self, run: Pass) -> None:
        current = self._current
        assert current is not None
        in_parts = run.width > 1 and run.past and not current.grown
        if in_parts:
            current.prompt += run.width
        elif not current.grown:
            current.grown = True
            self._submit(current, "prefill", complete=False)
        if not run.past:
            current.passes.clear()
            current.single = 0
        current.passes.append(run)
        current.single += 1
        if current.single == SEPARATE:
            current.passes[-SEPARATE:] = [joined(current.passes[-SEPARATE:])]
            current.single = 0
        current.width = run.past + run.width

    def _submit(self, current: Sequences, phase: str, *, complete: bool) -> None:
        job = Job(
            list(current.passes), current.prompt, current.ids, current.asked, phase, complete,
            self._scorer.now(), marks(current.passes[-1]),
        )  # fmt: skip
        self._jobs = [*(old for old in self._jobs if not old.complete), job][-2:]
        self._scorer.put(job)

    def _break(self, reason: str) -> None:
        """The batch at hand cannot be read to its end; said once."""
        if not self._broken:
            self._fail(reason)
        self._current, self._broken = None, True

    def _fail(self, reason: str) -> None:
        current = self._current
        if current is not None:
            for request, asked in zip(current.ids, current.asked, strict=True):
                self._scorer.failed(asked, reason, request)
            return
        for asked in self._asked or (None,):
            self._scorer.failed(asked, reason)
