"""Early warning while a model is trained: a pack's locked probes, every so many steps.

    trainer = Trainer(model, args, ..., callbacks=[
        ProbeCallback("packs/base-1.0.0", saes=["./sae"], tokenizer=tokenizer, every=200,
                      history="probes.jsonl")])

The probes, cut-offs and items are those of the pack of the model that training begins with, or of
one of the same architecture. Test items are never read. Nothing that goes wrong in here reaches
training: it is written to the history, and said once.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from compliance import __version__
from compliance.assessment.tables import read_table
from compliance.errors import MonitorError
from compliance.monitor.looks import Looks, Scores, drawn, planned_looks, warnings_of
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.probes.collect import score_table
from compliance.probes.engine import make_batches, prepare_items
from compliance.probes.hooks import VISION, capture, resolve
from compliance.probes.inputs import model_inputs, own_states
from compliance.probes.reading import Reading, joined
from compliance.probes.rows import Rows
from compliance.probes.sae import Sae, load_sae
from compliance.probes.shards import Shard
from compliance.probes.subject import Subject
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.audit import SaeRef
from compliance.records.base import canonical_bytes, digest_of, to_json
from compliance.records.monitoring import event_time
from compliance.records.pack import PackedItem
from compliance.records.plan import Plan
from compliance.records.suite import Item
from compliance.records.training import Began, Look, LookFailed

logger = logging.getLogger(__name__)

LONGEST_REASON = 500
"""Characters of an error that are written."""


class ProbeCallback(TrainerCallback):
    """Looks at the model with the locked probes of a pack, and writes a history."""

    def __init__(
        self,
        pack: Path | str,
        *,
        saes: Sequence[SaeRef | Path | str],
        tokenizer: PreTrainedTokenizerBase,
        history: Path | str,
        every: int = 100,
        items: int | Sequence[Item] = 20,
    ) -> None:
        """Read the pack, and check what it is to be used with.

        Args:
            pack: Folder or ZIP; it is checked first.
            saes: Folders of the SAEs of the pack's plan, or releases of SAELens, in any order.
            tokenizer: Of the model.
            history: File that looks are added to, one record a line. One of the same pack and items
                is gone on with, as when training is resumed.
            every: Steps from one look to the next.
            items: How many groups of each concept, and of benign items, are taken from the pack's
                items before the lock; or items of one's own.

        Raises:
            PackError: There is no pack here.
            MonitorError: The pack was changed; an SAE is not one of its plan; an item is one of its
                test items; or the history is another one.
            SaeError: An SAE cannot be loaded.
        """
        if every < 1:
            raise MonitorError(f"every: {every}, expected 1 or more steps")
        self.history = Path(history)
        self.every = every
        self._tokenizer = tokenizer
        damage = verify_integrity(Path(pack)).failed
        if damage:
            raise MonitorError(
                f"{pack}: {damage[0].line}", hint="'compliance verify' says all that is wrong"
            )
        with read_pack(Path(pack)) as opened:
            self._plan, self._lock = opened.evidence.plan, opened.evidence.lock
            stated = opened.statement.predicate
            self._pack_id, self._root = stated.pack_id, stated.root_digest
            self.items = _items(opened, items)
        self._saes = _in_order(self._plan, saes)
        self._items_digest = digest_of({item.id: digest_of(item) for item in self.items})
        self._began, self._first, self._number = self._earlier()
        self._ready: tuple[Looks, Callable[[], Scores]] | None = None
        self._said = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the first look, unless the history has one."""
        if state.is_world_process_zero and self._first is None:
            self._guarded(state, lambda: self._look(args, state, kwargs["model"]))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take a look every so many steps."""
        if state.is_world_process_zero and state.global_step % self.every == 0:
            self._guarded(state, lambda: self._look(args, state, kwargs["model"]))

    def _guarded(self, state: TrainerState, act: Callable[[], None]) -> None:
        """Do something that must not end training, whatever it raises."""
        try:
            act()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
            if not self._said:
                self._said = True
                logger.warning("no look at the model at step %d: %s", state.global_step, reason)
            try:
                at = event_time(time.time())
                self._write(LookFailed(at=at, step=state.global_step, reason=reason))
            except Exception as problem:  # a full disk, said once with the rest
                logger.debug("and it could not be written: %s", problem)

    def _prepare(
        self, args: TrainingArguments, state: TrainerState, model: PreTrainedModel
    ) -> tuple[Looks, Callable[[], Scores]]:
        """What a look needs, made once the model is where it is trained.

        Raises:
            MonitorError: Its weights lie in parts on several devices.
            ProbeError: It has no such place, or cannot read an item.
        """
        sharded = any(hasattr(parameter, "placements") for parameter in model.parameters())
        if args.fsdp or args.deepspeed or sharded:
            raise MonitorError(
                "the weights lie in parts on several devices, and one process cannot read them"
            )
        saes = tuple(_on(sae, model.device) for sae in self._saes)
        subject = Subject(model, self._tokenizer, self._plan.model)
        reader = Reader(subject, saes)
        for sae in saes:
            sae.reads(self._plan.model, resolve(model, sae.facts.hook_name).width)
        task = Task(self._plan, "shifts", self._lock)
        prepared = prepare_items(self.items, subject)
        planned = planned_looks(state.max_steps - state.global_step, self.every)
        if self._began is not None:
            planned = self._began.looks
        looks = Looks(self._plan, self._lock, self.items, planned)
        if self._began is None:
            began = self._beginning(looks, planned)
            self._write(began)
            self._began = began
        return looks, lambda: _scores(prepared, task, reader)

    def _beginning(self, looks: Looks, planned: int) -> Began:
        return Began(
            software=f"sae-compliance {__version__}",
            at=event_time(time.time()),
            pack_id=self._pack_id,
            pack=self._root,
            model=self._plan.model.name,
            items=len(self.items),
            items_digest=self._items_digest,
            every=self.every,
            looks=planned,
            family_error=self._plan.family_error,
            level=self._plan.level,
            untestable=tuple(looks.untestable()),
        )

    def _look(self, args: TrainingArguments, state: TrainerState, model: PreTrainedModel) -> None:
        started = time.monotonic()
        self._ready = self._ready or self._prepare(args, state, model)
        looks, read = self._ready
        scores = read()
        tested = self._first is not None and self._number <= looks.planned
        cells = looks.look(scores, self._first if tested else None, self._number)
        look = Look(
            at=event_time(time.time()),
            step=state.global_step,
            number=self._number,
            seconds=round(time.monotonic() - started, 3),
            tested=tested,
            cells=cells,
            alerts=warnings_of(cells),
            scores=None if self._first is not None else {c: dict(s) for c, s in scores.items()},
        )
        self._write(look)
        self._number += 1
        self._first = self._first or scores
        for words in look.alerts:
            logger.warning("step %d: %s", state.global_step, words)
        state.log_history.append({**_logged(look), "step": state.global_step})

    def _write(self, record: Began | Look | LookFailed) -> None:
        """Add a line, whole or not at all."""
        self.history.parent.mkdir(parents=True, exist_ok=True)
        line = canonical_bytes(to_json(record)) + b"\n"
        with self.history.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _earlier(self) -> tuple[Began | None, Scores | None, int]:
        """What a history that is there says: how it began, its first scores, its next number.

        Raises:
            MonitorError: It is of another pack or of other items, or is no history.
        """
        began: Began | None = None
        first: Scores | None = None
        number = 0
        for record in _kept(self.history):
            if isinstance(record, Began):
                began = record
            elif isinstance(record, Look):
                first, number = first or record.scores, record.number + 1
        if began is None:
            return None, None, 0
        here = (self._root, self._items_digest, self.every)
        if (began.pack, began.items_digest, began.every) != here:
            raise MonitorError(
                f"{self.history}: is the history of another pack, other items or another 'every'",
                hint="give a new file, so that looks are compared with their own first one",
            )
        return began, first, number


def read_history(path: Path) -> Iterator[Began | Look | LookFailed]:
    """The records of a history in their order; a last line that was cut off is left out.

    Raises:
        MonitorError: It cannot be read.
    """
    kinds: dict[str, type[Began | Look | LookFailed]] = {
        "began": Began, "look": Look, "failed": LookFailed,
    }  # fmt: skip
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            kind = next(name for name in kinds if b'"kind":"%s"' % name.encode() in line)
            yield kinds[kind].model_validate_json(line)
        except (StopIteration, ValidationError) as error:
            raise MonitorError(f"{path}, line {number}: is no record of a history") from error


def _kept(path: Path) -> list[Began | Look | LookFailed]:
    """The records of a history that is gone on with; what a kill left of a line is taken away."""
    if not path.exists():
        return []
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
    return list(read_history(path))


def _items(pack: OpenPack, wanted: int | Sequence[Item]) -> list[Item]:
    """Items that are looked at, none of them a test item.

    Raises:
        MonitorError: One is a test item, or there are none.
    """
    plan = pack.evidence.plan
    files = {
        path: pack.observation(path)
        for path in pack.observed
        if path.startswith(("confirm/items.", "fit/items."))
    }
    before, test = (read_table(files, f"{stage}/items.csv") for stage in ("fit", "confirm"))
    if isinstance(wanted, int):
        names = set(before["item"])
        shown = (one.item for one in pack.items if isinstance(one, PackedItem))
        found = drawn(plan, [item for item in shown if item.id in names], wanted)
    else:
        found = sorted(wanted, key=lambda item: item.id)
        _refuse_test_items(pack, found, set(test["item"]), set(test["group"]))
    if not found:
        raise MonitorError(
            "items: there are none to look at", hint="give items of the pack's concepts as items="
        )
    return found


def _refuse_test_items(
    pack: OpenPack, items: Sequence[Item], names: set[str], groups: set[str]
) -> None:
    words = {
        digest_of(one.item.model_copy(update={"id": "-", "group": "-"}))
        for one in pack.items
        if isinstance(one, PackedItem) and one.item.id in names
    }
    for item in items:
        copied = digest_of(item.model_copy(update={"id": "-", "group": "-"})) in words
        if item.id in names or item.group in groups or copied:
            raise MonitorError(
                f"items: {item.id} is one of the test items of {pack.statement.predicate.pack_id}; "
                "who looks at them while training can no longer confirm anything on them",
                hint="leave items= out, to take those before the lock, or give others",
            )


def _in_order(plan: Plan, saes: Sequence[SaeRef | Path | str]) -> tuple[Sae, ...]:
    """The SAEs of a plan, told by their digests.

    Raises:
        MonitorError: One is missing, or reads pictures.
    """
    refs = (ref if isinstance(ref, SaeRef) else SaeRef(path=str(ref)) for ref in saes)
    loaded = {
        sae.facts.digest: sae
        for sae in (load_sae(ref, Path(), dtype=torch.float32, device="cpu") for ref in refs)
    }
    for facts in plan.saes:
        if facts.hook_name.startswith(VISION):
            raise MonitorError(f"{facts.name}: reads the vision tower, and this reads words")
        if facts.digest not in loaded:
            raise MonitorError(
                f"saes: none has the digest of {facts.name}, which is {facts.digest}",
                hint="a latent is the one that was measured in this very SAE alone",
            )
    return tuple(loaded[facts.digest] for facts in plan.saes)


def _on(sae: Sae, device: torch.device) -> Sae:
    return replace(sae, tensors={name: t.to(device) for name, t in sae.tensors.items()})


def _scores(prepared: Sequence[Prepared], task: Task, reader: Reader) -> Scores:
    """The locked probes' scores, by concept and item."""
    batches = make_batches(prepared, task.plan.batch_tokens)
    with _evaluating(reader.subject.model):
        shards = [_observed(batch.prepared(), task, reader) for batch in batches]
    table = score_table(shards, task)
    table = table[table["scorer"] == "probe"]
    found: dict[str, dict[str, float]] = {}
    for row in table.itertuples():
        found.setdefault(str(row.concept), {})[str(row.item)] = float(row.score)
    return found


def _observed(batch: Sequence[Prepared], task: Task, reader: Reader) -> Shard:
    """One forward pass, as `probes.batch.observe_batch` has it, but without inference mode.

    What a model keeps of a run in that mode, such as positions, cannot be trained with.
    """
    subject = reader.subject
    inputs = model_inputs(batch, subject)
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    captured = capture(subject.model, ids, mask, reader.hook_names, **inputs)
    own = {hook: own_states(values, hook, batch, subject) for hook, values in captured.items()}
    rows = Rows(task, reader)
    with torch.no_grad():
        readings = (
            Reading(one, {hook: values[i] for hook, values in own.items()}, reader,
                    task.plan.sink_norm_ratio)
            for i, one in enumerate(batch)
        )  # fmt: skip
        for reading in joined(readings, task.watched, lambda item: frozenset()):
            rows.add(reading)
    return rows.shard()


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """The model without dropout; every part is put back as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _logged(look: Look) -> dict[str, float]:
    """Numbers for the trainer's own history."""
    found: dict[str, float] = {"probes/alerts": len(look.alerts)}
    for cell in look.cells:
        name = f"probes/{cell.concept}/{cell.language}"
        shares = {"sensitivity": cell.sensitivity, "false_alarms": cell.false_alarms}
        found |= {f"{name}/{key}": share.value for key, share in shares.items() if share}
        if cell.auroc is not None:
            found[f"{name}/auroc"] = cell.auroc
    return found
