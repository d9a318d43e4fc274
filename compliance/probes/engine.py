"""Runs a plan's items through the subject and writes what it saw, shard by shard.

    work = prepare_items(items, subject)
    for shard in observe(work, task, reader, folder, progress): ...

A shard is one batch. It is written beside its place and renamed, so a run that was killed goes on
with the first shard that is missing. Batches follow from the plan and the items alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from compliance.probes.hooks import capture
from compliance.probes.reading import Reading
from compliance.probes.rows import Rows
from compliance.probes.shards import Shard, read_shard, shard_bytes
from compliance.probes.subject import Subject
from compliance.probes.task import ALONE, Reader, Task
from compliance.probes.tokens import Prepared, prepare
from compliance.records.base import digest_of
from compliance.records.suite import Item
from compliance.storage import write_bytes

Progress = Callable[[int, int, float | None], None]
"""Called with items done, items in all, and seconds left where they can be told."""


def prepare_items(items: Sequence[Item], subject: Subject) -> list[Prepared]:
    """Tokenise all items first, so that one that cannot be read ends a run before it begins."""
    return [prepare(item, subject.tokenizer, limit=position_limit(subject)) for item in items]


def position_limit(subject: Subject) -> int | None:
    """Tokens that the model has positions for; None where it has no limit."""
    return getattr(subject.model.config.get_text_config(), "max_position_embeddings", None)


def make_batches(work: Sequence[Prepared], tokens: int) -> list[list[Prepared]]:
    """Batches of items of like length, of at most ``tokens`` tokens after padding."""
    batches: list[list[Prepared]] = []
    for prepared in sorted(work, key=lambda p: (len(p.ids), p.item.id)):
        width = len(prepared.ids)
        if batches and (len(batches[-1]) + 1) * width <= tokens:
            batches[-1].append(prepared)
        else:
            batches.append([prepared])
    return batches


def observe(
    work: Sequence[Prepared], task: Task, reader: Reader, folder: Path, progress: Progress
) -> Iterator[Shard]:
    """Run what has not been run, and yield every shard in order.

    Args:
        work: Prepared items, in any order.
        task: What to write.
        reader: Subject and SAEs.
        folder: Where shards lie; finished ones found there are not run again.
        progress: Told after each shard.

    Raises:
        ProbeError: A hook did not fire or gave numbers that are not finite.
    """
    batches = make_batches(work, 0 if task.stage in ALONE else task.plan.batch_tokens)
    of_task, left = task.digest, sum(_cost(batch) for batch in batches)
    done, spent, ran = 0, 0.0, 0
    for index, batch in enumerate(batches):
        path = folder / f"shard-{index:05d}.npz"
        name = digest_of({"task": of_task, "items": [[p.item.id, list(p.ids)] for p in batch]})
        shard = read_shard(path, name)
        if shard is None:
            started = time.monotonic()
            shard = observe_batch(batch, task, reader)
            write_bytes(path, shard_bytes(shard, name))
            spent, ran = spent + time.monotonic() - started, ran + _cost(batch)
        done += len(batch)
        left -= _cost(batch)
        progress(done, len(work), spent / ran * left if ran else None)
        yield shard


def observe_batch(batch: Sequence[Prepared], task: Task, reader: Reader) -> Shard:
    """One forward pass up to the deepest hook, and everything that is read from it."""
    captured = _forward(batch, reader)
    rows = Rows(task, reader)
    for i, prepared in enumerate(batch):
        states = {hook: values[i, : len(prepared.ids)].float() for hook, values in captured.items()}
        rows.add(Reading(prepared, states, reader, task.plan.sink_norm_ratio))
    return rows.shard()


def _forward(batch: Sequence[Prepared], reader: Reader) -> dict[str, Tensor]:
    """Right-padded, so that a token's position does not depend on its neighbours."""
    width = max(len(p.ids) for p in batch)
    pad = reader.subject.tokenizer.pad_token_id or 0
    device = reader.subject.model.device
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for i, prepared in enumerate(batch):
        ids[i, : len(prepared.ids)] = torch.tensor(prepared.ids)
        mask[i, : len(prepared.ids)] = 1
    with torch.inference_mode():
        return capture(reader.subject.model, ids.to(device), mask.to(device), reader.hook_names)


def _cost(batch: Sequence[Prepared]) -> int:
    return sum(len(p.ids) for p in batch)
