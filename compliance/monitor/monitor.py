"""Watches a serving model with the locked probes of a pack.

    with Monitor.attach(model, pack, saes=["./sae"], tokenizer=tokenizer, log="./log") as monitor:
        with monitor.request(language="ja", item=messages) as seen:
            model.generate(**inputs)
        seen.alerts()                           # ('sycophancy',)

Hooks keep a few numbers of each token; a thread scores them and writes events. Nothing that goes
wrong in here reaches serving: it becomes an event. What serving computes is the same, bit for bit.

A request is known to the code inside its ``with`` block, also in tasks and threads that take its
context along (``asyncio.to_thread``; ``contextvars.copy_context().run`` in a thread of your own).
"""

from __future__ import annotations

import atexit
import os
import queue
import secrets
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compliance.errors import MonitorError
from compliance.monitor.chain import Moment
from compliance.monitor.locked import Locked, read_locked
from compliance.monitor.log import EventLog
from compliance.monitor.looking import Look, Pass, SensorError, begin, joined, look_of, rows_of
from compliance.monitor.metrics import Metrics
from compliance.monitor.scoring import (
    Asked,
    Row,
    Said,
    Scores,
    Words,
    cut,
    spelt,
    turns_of,
    watched,
)
from compliance.monitor.serving import check_model, ends_of, refused_way, return_sequences
from compliance.probes.hooks import VISION, Site, resolve
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef
from compliance.records.base import to_json
from compliance.records.monitoring import Failed, LogPolicy, Observed

WAITING = 1024
"""Batches that wait to be scored at most."""

SEPARATE = 512
"""Runs of one token each that are kept apart; more are put together, which takes less memory."""

UNDECLARED = "the request was not declared, so all tokens were read"
UNKNOWN_WORDS = "the tokens are not the declared input in the chat template, so all were read"
NO_ITEM = "no input was declared, so all tokens were read"
NOT_SEEN = (
    "no run of the model was seen: it is compiled, or ran in a thread without the request's context"
)


class Monitor:
    """A model that is watched. Made by `attach`."""

    def __init__(
        self, model: PreTrainedModel, locked: Locked, looks: Sequence[Look], words: Words,
        log: EventLog, weights: str, *, owns_log: bool, another_model: bool,
    ) -> None:  # fmt: skip
        """See `attach`, which checks what is given here."""
        self.log = log
        self.locked = locked
        self.metrics = Metrics(locked, lambda: log.dropped)
        self._model = model
        self._looks = {
            hook: [look for look in looks if look.hook == hook]
            for hook in dict.fromkeys(look.hook for look in looks)
        }
        self._sites = [resolve(model, hook) for hook in self._looks]
        self._local = threading.local()
        self._scorer = _Scorer(
            locked, words, log, self.metrics, weights, another_model=another_model
        )
        self._owns_log = owns_log
        self._handles: list[Any] = []

    @classmethod
    def attach(
        cls,
        model: PreTrainedModel,
        pack: Path | str,
        *,
        saes: Sequence[SaeRef | Path | str],
        tokenizer: PreTrainedTokenizerBase,
        log: EventLog | Path | str,
        policy: LogPolicy | None = None,
        files: Path | str | None = None,
        another_model: bool = False,
    ) -> Monitor:
        """Begin to watch a model.

        Args:
            model: The serving model.
            pack: Folder or ZIP; it is checked first.
            saes: Folders of the SAEs that the pack's probes read, or releases of SAELens.
            tokenizer: The serving tokenizer.
            log: Where events go: a folder, or a log that is open.
            policy: Of a log that is made here.
            files: Folder or ``.gguf`` file that the model was loaded from. Absent: where
                transformers says that it was.
            another_model: Watch a model that is not the one that the pack measured, such as a
                fine-tune. Every event then says so.

        Raises:
            PackError: There is no pack here.
            MonitorError: The pack was changed, or the model or an SAE is not the pack's; or the
                model cannot be watched.
            SaeError: An SAE cannot be loaded, or does not fit the model.
            SubjectError: The model's files are not there.
            StorageError: The log cannot be written.
        """
        locked = read_locked(Path(pack))
        weights = check_model(
            model, locked, None if files is None else Path(files), another_model=another_model
        )
        looks = _load_looks(locked, saes, model)
        words = Words(tokenizer, ends_of(model, tokenizer))
        if isinstance(log, EventLog) and policy is not None:
            raise MonitorError("policy: belongs to a log that is made here, and one was given")
        owns = not isinstance(log, EventLog)
        opened = EventLog(Path(log), policy) if not isinstance(log, EventLog) else log
        monitor = cls(
            model, locked, looks, words, opened, weights,
            owns_log=owns, another_model=another_model,
        )  # fmt: skip
        monitor.start()
        return monitor

    def request(self, *, language: str | None = None, item: Said | None = None) -> Request:
        """Say what the model is asked inside the ``with`` block that this gives.

        Args:
            language: BCP 47, spelt as in the pack.
            item: What is asked, without the reply: a text, the turns of a conversation as chat
                templates take them, or an item of a suite.
        """
        return self.requests([Asked(language, item)])

    def requests(self, asked: Sequence[Asked]) -> Request:
        """The same of a batch, in the order of its rows."""
        return Request(self, tuple(asked))

    def serve_metrics(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Answer Prometheus at ``http://host:port/metrics``; gives what stops it."""
        return self.metrics.serve(port, host)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything so far was scored and written; whether it was in time."""
        return self._scorer.flush(timeout) and self.log.flush(timeout)

    def detach(self) -> None:
        """Watch no more. What was seen is scored and written first."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._model.__dict__.get("generate") is self._generate:
            del self._model.__dict__["generate"]
            self._model.__dict__.update(self._generate_before)
        self._scorer.close()
        if self._owns_log:
            self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def start(self) -> None:
        """Put the hooks in place."""
        model = self._model
        self._handles.append(model.register_forward_pre_hook(self._before, with_kwargs=True))
        for site in self._sites:
            self._handles.append(self._attach_site(site))
        self._handles.append(model.register_forward_hook(self._after, always_call=True))
        self._generate_before = {
            key: value for key, value in model.__dict__.items() if key == "generate"
        }
        original = model.generate

        def generate(*args: Any, **kwargs: Any) -> Any:
            with _Generating(self, args, kwargs):
                return original(*args, **kwargs)

        self._generate = generate
        model.__dict__["generate"] = generate

    def _attach_site(self, site: Site) -> Any:
        hook = site.hook_name

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._look(hook, args[0] if args else kwargs.get("hidden_states"))

        def after(module: Any, args: tuple[Any, ...], output: Any) -> None:
            self._look(hook, output)

        if site.side == "input":
            return site.module.register_forward_pre_hook(before, with_kwargs=True)
        return site.module.register_forward_hook(after)

    def _before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A run of the model begins."""
        if torch.compiler.is_compiling():
            return
        self._local.run = None
        scope = self._scope()
        if scope is not None and scope.refused is not None:
            return
        try:
            self._local.run = begin(args, kwargs)
        except Exception as error:
            self._local.run = _Broken(_reason(error))

    def _look(self, hook: str, value: Any) -> None:
        """A place is passed."""
        if torch.compiler.is_compiling():
            return
        run = getattr(self._local, "run", None)
        if not isinstance(run, Pass) or run.problem is not None:
            return
        try:
            device = (value[0] if isinstance(value, tuple) else value).device
            run.see(hook, value, self._on(hook, device))
        except Exception as error:
            run.problem = _reason(error)

    def _after(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        """A run of the model ends."""
        if torch.compiler.is_compiling():
            return
        run, self._local.run = getattr(self._local, "run", None), None
        if run is None:
            return
        try:
            scope = self._scope()
            if scope is not None:
                scope.add(self._checked(run))
                return
            scope = Scope(self._scorer, ())
            scope.add(self._checked(run))
            scope.finish()
        except Exception as error:
            self._scorer.failed(None, _reason(error))

    def _checked(self, run: Pass | _Broken) -> Pass | _Broken:
        if isinstance(run, _Broken):
            return run
        if run.problem is not None:
            return _Broken(run.problem)
        missed = [hook for hook in self._looks if hook not in run.norms]
        return _Broken(f"{missed[0]}: was not passed in a run of the model") if missed else run

    def _on(self, hook: str, device: torch.device) -> list[Look]:
        """What is looked at on a device, which is where a part of the model is."""
        looks = self._looks[hook]
        if looks[0].sae.tensors["b_dec"].device != device:
            looks = self._looks[hook] = [look.on(device) for look in looks]
        return looks

    def _scope(self) -> Scope | None:
        return next((s for owner, s in reversed(_SCOPES.get()) if owner is self), None)


class Request:
    """A declared request: a context manager, and afterwards what was seen of it."""

    def __init__(self, monitor: Monitor, asked: tuple[Asked, ...]) -> None:
        """Made by `Monitor.request`."""
        self._monitor = monitor
        self._scope = Scope(monitor._scorer, asked)
        self._before: tuple[Any, ...] = ()

    def __enter__(self) -> Self:
        self._before = _SCOPES.get()
        _SCOPES.set((*self._before, (self._monitor, self._scope)))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # Not by a token: servers leave a block in another context than they entered it.
        _SCOPES.set(self._before)
        self._scope.end(served=kind is None)

    def observed(self, timeout: float = 5.0) -> tuple[Observed | None, ...]:
        """The last event of each sequence, in the order of the rows; it is waited for.

        None where the sensor failed on a sequence. Empty where it could read no run of the model,
        or it took longer.
        """
        return self._scope.latest(timeout)

    def alerts(self, timeout: float = 5.0) -> tuple[str, ...]:
        """Concepts that alarmed in one of the sequences at least, in the pack's order."""
        events = self.observed(timeout)
        return tuple(
            probe.concept
            for probe in self._monitor.locked.probes
            if any(event is not None and probe.concept in event.alerts for event in events)
        )


_SCOPES: ContextVar[tuple[tuple[Monitor, Scope], ...]] = ContextVar("requests", default=())


@dataclass(frozen=True)
class _Broken:
    """A run of which nothing can be kept."""

    reason: str


class _Generating:
    """Around ``model.generate``: it says where a sequence ends, and how tokens are chosen."""

    def __init__(self, monitor: Monitor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._monitor, self._args, self._kwargs = monitor, args, kwargs
        self._own: Scope | None = None
        self._scope: Scope | None = None
        self._before: tuple[Any, ...] = ()

    def __enter__(self) -> None:
        try:
            self._scope = self._monitor._scope()
            if self._scope is None:
                self._own = self._scope = Scope(self._monitor._scorer, ())
                self._before = _SCOPES.get()
                _SCOPES.set((*self._before, (self._monitor, self._own)))
            way = refused_way(self._monitor._model, self._args, self._kwargs)
            copies = return_sequences(self._monitor._model, self._args, self._kwargs)
            self._scope.generating(way, copies)
        except Exception as error:
            self._monitor._scorer.failed(None, _reason(error))

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if self._scope is not None:
                self._scope.generated()
            if self._own is not None:
                _SCOPES.set(self._before)
                self._own.end(served=kind is None)
        except Exception as error:
            self._monitor._scorer.failed(None, _reason(error))


@dataclass
class _Sequences:
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

    def __init__(self, scorer: _Scorer, asked: tuple[Asked, ...]) -> None:
        """``asked`` is empty where the request was not declared."""
        self.refused: str | None = None
        """Why runs are not read at the moment."""

        self._scorer = scorer
        self._asked = asked
        self._copies = 1
        self._current: _Sequences | None = None
        self._broken = False
        self._seen = False
        self._lock = threading.RLock()
        self._jobs: list[_Job] = []

    def generating(self, refused: str | None, copies: int) -> None:
        """``model.generate`` begins."""
        with self._lock:
            self.refused, self._copies = refused, copies
            if refused is not None:
                self._seen = True
                self._fail(refused)

    def generated(self) -> None:
        """``model.generate`` has ended."""
        with self._lock:
            self.refused, self._copies = None, 1
            self.finish()

    def add(self, run: Pass | _Broken) -> None:
        """A run of the model has ended."""
        with self._lock:
            self._seen = True
            if isinstance(run, _Broken):
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
            self._scorer.failed(None, _reason(error))

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
        self._current = _Sequences([run], ids, asked, run.width, run.width)

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

    def _submit(self, current: _Sequences, phase: str, *, complete: bool) -> None:
        job = _Job(
            list(current.passes), current.prompt, current.ids, current.asked, phase, complete,
            self._scorer.now(),
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


@dataclass
class _Job:
    """Sequences that are to be scored."""

    passes: list[Pass]
    prompt: int
    ids: tuple[str, ...]
    asked: tuple[Asked | None, ...]
    phase: str
    complete: bool
    at: Moment
    events: list[Observed | None] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class _Scorer:
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
        self._queue: queue.Queue[_Job | threading.Event | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def now(self) -> Moment:
        return self._log.now()

    def put(self, job: _Job) -> None:
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
                    self._fail(request, asked, _reason(error))
            job.done.set()

    def _events(self, job: _Job) -> list[Observed | None]:
        rows = rows_of(job.passes, job.prompt)
        found: list[Observed | None] = []
        for row, request, asked in zip(rows, job.ids, job.asked, strict=True):
            try:
                event = self._observed(row, request, asked, job)
            except Exception as error:
                self._fail(request, asked, _reason(error))
                found.append(None)
                continue
            self._log.write(event, job.at)
            if job.complete:
                self._metrics.observed(event)
            found.append(event)
        return found

    def _observed(self, row: Row, request: str, asked: Asked | None, job: _Job) -> Observed:
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


def _load_looks(
    locked: Locked, saes: Sequence[SaeRef | Path | str], model: PreTrainedModel
) -> list[Look]:
    """The SAEs that probes read, told by their digests."""
    refs = (ref if isinstance(ref, SaeRef) else SaeRef(path=str(ref)) for ref in saes)
    loaded = {
        sae.facts.digest: sae
        for sae in (load_sae(ref, Path(), device=str(model.device)) for ref in refs)
    }
    looks = []
    for index, latents in watched(locked).items():
        facts = locked.saes[index]
        if facts.hook_name.startswith(VISION):
            raise MonitorError(
                f"{facts.name}: reads the vision tower, and a monitor reads words",
                hint="watch with a pack whose SAEs read the text stream",
            )
        sae = loaded.get(facts.digest)
        if sae is None:
            raise MonitorError(
                f"saes: none has the digest of {facts.name}, which is {facts.digest}; given were "
                f"{sorted(loaded) or 'none'}",
                hint="a latent is the one that was measured in this very SAE alone",
            )
        looks.append(look_of(index, sae, latents))
    return looks


_SCORERS: weakref.WeakSet[_Scorer] = weakref.WeakSet()


def _after_fork() -> None:
    for scorer in list(_SCORERS):
        scorer._start()


def _at_exit() -> None:
    """A server that ends without detaching has its last requests scored; the log closes next."""
    for scorer in list(_SCORERS):
        scorer.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)


def _reason(error: Exception) -> str:
    """In words that quote nothing that was read, as messages of others may do."""
    if isinstance(error, SensorError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_name}" if trace is not None else ""
    return f"{type(error).__name__}{where}"
