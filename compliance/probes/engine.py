"""Runs a plan's items through the subject and writes what it saw, shard by shard.

    work = prepare_items(items, subject)
    for shard in observe(work, task, reader, folder, progress): ...

A shard is one batch. It is written beside its place and renamed, so a run that was killed goes on
with the first shard that is missing. Batches follow from the plan and the items alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from compliance.errors import ProbeError
from compliance.probes.batch import observe_batch
from compliance.probes.hooks import VISION
from compliance.probes.inputs import Pictures, Preparer
from compliance.probes.shards import Shard, read_shard, shard_bytes
from compliance.probes.subject import Subject
from compliance.probes.task import ALONE, Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.base import digest_of
from compliance.records.suite import Item
from compliance.storage import write_bytes

Progress = Callable[[int, int, float | None], None]
"""Called with items done, items in all, and seconds left where they can be told."""


def prepare_items(
    items: Sequence[Item], subject: Subject, pictures: Pictures | None = None
) -> list[Prepared]:
    """Tokenise all items first, so that one that cannot be read ends a run before it begins.

    Args:
        items: In any order.
        subject: What will read them.
        pictures: Gives the picture of an item that has one; needed where one does.

    Raises:
        ProbeError: The subject cannot read an item.
    """
    preparer = Preparer(subject, pictures)
    return [preparer.prepare(item) for item in items]


def make_batches(work: Sequence[Prepared], tokens: int) -> list[list[Prepared]]:
    """Batches of items of like length, of at most ``tokens`` tokens after padding."""
    batches: list[list[Prepared]] = []
    for prepared in sorted(work, key=lambda p: (p.length, p.item.id)):
        width = prepared.length
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
        ProbeError: A hook did not fire or gave numbers that are not finite; or an item without a
            picture is to be read in a vision tower.
    """
    _refuse_words(work, reader)
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


def _refuse_words(work: Sequence[Prepared], reader: Reader) -> None:
    words = [p.item.id for p in work if p.shown is None]
    if words and any(name.startswith(VISION) for name in reader.hook_names):
        raise ProbeError(
            f"item {words[0]}: has no picture, and the SAE reads the vision tower, which sees no "
            "words",
            hint="leave texts out of the audit: modalities: [image]",
        )


def _cost(batch: Sequence[Prepared]) -> int:
    return sum(p.length for p in batch)
