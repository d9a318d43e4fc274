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

import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compliance.errors import MonitorError
from compliance.monitor.locked import Locked, read_locked
from compliance.monitor.log import EventLog
from compliance.monitor.looking import Look, Pass, begin, look_of
from compliance.monitor.metrics import Metrics
from compliance.monitor.scope import Broken, Scope
from compliance.monitor.scorer import Scorer, reason_of
from compliance.monitor.scoring import Asked, Said, Words, watched
from compliance.monitor.serving import check_model, ends_of, refused_way, return_sequences
from compliance.probes.hooks import VISION, Site, resolve
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef
from compliance.records.monitoring import LogPolicy, Observed


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
        self._scorer = Scorer(
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
            with _Generating(self, args, kwargs) as generating:
                found = original(*args, **kwargs)
                generating.gave(found)
                return found

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
            self._local.run = begin(args, kwargs, None if scope is None else scope.mask)
        except Exception as error:
            self._local.run = Broken(reason_of(error))

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
            run.problem = reason_of(error)

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
            self._scorer.failed(None, reason_of(error))

    def _checked(self, run: Pass | Broken) -> Pass | Broken:
        if isinstance(run, Broken):
            return run
        if run.problem is not None:
            return Broken(run.problem)
        missed = [hook for hook in self._looks if hook not in run.norms]
        return Broken(f"{missed[0]}: was not passed in a run of the model") if missed else run

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


class _Generating:
    """Around ``model.generate``: it says where a sequence ends, and how tokens are chosen."""

    def __init__(self, monitor: Monitor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._monitor, self._args, self._kwargs = monitor, args, kwargs
        self._own: Scope | None = None
        self._scope: Scope | None = None
        self._before: tuple[Any, ...] = ()

    def gave(self, found: Any) -> None:
        """Hold what was generated against what was seen: a compiled step passes no hooks."""
        try:
            sequences = getattr(found, "sequences", found)
            if self._scope is not None and isinstance(sequences, Tensor):
                self._scope.generated(sequences.shape[1])
        except Exception as error:
            self._monitor._scorer.failed(None, reason_of(error))

    def __enter__(self) -> Self:
        try:
            self._scope = self._monitor._scope()
            if self._scope is None:
                self._own = self._scope = Scope(self._monitor._scorer, ())
                self._before = _SCOPES.get()
                _SCOPES.set((*self._before, (self._monitor, self._own)))
            way = refused_way(self._monitor._model, self._args, self._kwargs)
            copies = return_sequences(self._monitor._model, self._args, self._kwargs)
            self._scope.generating(way, copies, self._kwargs.get("attention_mask"))
        except Exception as error:
            self._monitor._scorer.failed(None, reason_of(error))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if self._scope is not None:
                self._scope.ungenerating()
            if self._own is not None:
                _SCOPES.set(self._before)
                self._own.end(served=kind is None)
        except Exception as error:
            self._monitor._scorer.failed(None, reason_of(error))


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
