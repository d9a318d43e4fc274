"""Runs a plan's items through the subject and writes what it saw, shard by shard.

    work = Work(items, subject)
    for shard in observe(work, task, reader, folder, progress): ...

A shard is one batch. It is written beside its place and renamed, so a run that was killed goes on
with the first shard that is missing. Batches follow from the plan and the items alone.

A thread prepares the next batches (tokens, pictures, pixels) while the model computes. What it
gives is taken in order, so that it changes no number and no file. Neither shards nor tokens of
more than a few batches are held.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.batch import observe_batch
from compliance.probes.hooks import VISION
from compliance.probes.inputs import Pictures, Preparer, model_inputs
from compliance.probes.shards import Shard, read_shard, shard_bytes, shard_file
from compliance.probes.subject import Subject
from compliance.probes.task import ALONE, Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.base import digest_of
from compliance.records.suite import Item
from compliance.storage import write_bytes
from compliance.suites.stored import outlines_of

Progress = Callable[[int, int, float | None], None]
"""Called with items done, items in all, and seconds left where they can be told."""

AHEAD = 2
"""Batches that are prepared while the model computes one; each is a few megabytes."""

Given = TypeVar("Given")
Made = TypeVar("Made")


class Work:
    """Items for a subject, of which only the lengths are kept.

    Every item is tokenised once when this is made, so that one that cannot be read ends a run
    before it begins, and again when its batch is run. It is made in the main thread, where a chat
    template that does not come to an end is stopped.
    """

    def __init__(
        self, items: Sequence[Item], subject: Subject, pictures: Pictures | None = None
    ) -> None:
        """Tokenise all items.

        Args:
            items: In any order.
            subject: What will read them.
            pictures: Gives the picture of an item that has one; needed where one does.

        Raises:
            ProbeError: The subject cannot read an item.
        """
        self.items = items
        self._preparer = Preparer(subject, pictures)
        lengths = (self._preparer.prepare(item).length for item in items)
        self.lengths = np.fromiter(lengths, dtype=np.int32, count=len(items))
        """Tokens of each item, as the model sees it: int32 ``[items]``."""

    def __len__(self) -> int:
        return len(self.items)

    def prepared(self, index: int) -> Prepared:
        """An item as the model sees it, by its place in ``items``."""
        return self._preparer.prepare(self.items[index])


class _AtHand(Work):
    """Items that are prepared already."""

    def __init__(self, prepared: Sequence[Prepared]) -> None:
        self._prepared = prepared
        self.items = [one.item for one in prepared]
        self.lengths = np.array([one.length for one in prepared], dtype=np.int32)

    def prepared(self, index: int) -> Prepared:
        return self._prepared[index]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Items that are run together, as the plan and the items fix them."""

    index: int
    """Its place in the pass, which names its file."""

    places: np.ndarray
    """Of its items in the work, by length and then by id."""

    work: Work

    def __len__(self) -> int:
        return len(self.places)

    @property
    def items(self) -> list[Item]:
        return [self.work.items[place] for place in self.places]

    @property
    def tokens(self) -> int:
        """Without padding."""
        return int(self.work.lengths[self.places].sum())

    @property
    def file_name(self) -> str:
        return shard_file(self.index)

    def prepared(self) -> list[Prepared]:
        return [self.work.prepared(place) for place in self.places]


Run = Callable[[Iterator[Batch], Task], Iterable[tuple[int, bytes]]]
"""Another engine: gives index and shard, as the bytes of its file, of each batch, in any order."""


def prepare_items(
    items: Sequence[Item], subject: Subject, pictures: Pictures | None = None
) -> list[Prepared]:
    """Tokenise all items and keep them; `Work` keeps the lengths alone.

    Args:
        items: In any order.
        subject: What will read them.
        pictures: Gives the picture of an item that has one; needed where one does.

    Raises:
        ProbeError: The subject cannot read an item.
    """
    preparer = Preparer(subject, pictures)
    return [preparer.prepare(item) for item in items]


def make_batches(work: Work | Sequence[Prepared], tokens: int) -> list[Batch]:
    """Batches of items of like length, of at most ``tokens`` tokens after padding."""
    work = work if isinstance(work, Work) else _AtHand(work)
    ids = [outline.id for outline in outlines_of(work.items)]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    order = order[np.argsort(work.lengths[order], kind="stable")]
    firsts: list[int] = []
    for place, width in enumerate(work.lengths[order].tolist()):
        if not firsts or (place - firsts[-1] + 1) * width > tokens:
            firsts.append(place)
    lasts = [*firsts[1:], len(order)]
    spans = enumerate(zip(firsts, lasts, strict=False))
    return [Batch(index, order[first:last], work) for index, (first, last) in spans]


def shard_name(prepared: Sequence[Prepared], task_digest: str) -> str:
    """Says what a shard is of: the pass, its items and their tokens."""
    return digest_of({"task": task_digest, "items": [[p.item.id, list(p.ids)] for p in prepared]})


def observe(
    work: Work | Sequence[Prepared], task: Task, reader: Reader, folder: Path, progress: Progress,
    run: Run | None = None,
) -> Iterator[Shard]:  # fmt: skip
    """Run what has not been run, and yield every shard in order.

    Args:
        work: Items, in any order.
        task: What to write.
        reader: Subject and SAEs.
        folder: Where shards lie; finished ones found there are not run again.
        progress: Told after each shard.
        run: Another engine, which is given the batches that are missing first. Its shards are
            written as they arrive, so that those are kept whatever comes after.

    Raises:
        ProbeError: A hook did not fire or gave numbers that are not finite; or an item without a
            picture is to be read in a vision tower.
    """
    work = work if isinstance(work, Work) else _AtHand(work)
    _refuse_words(work, reader)
    batches = make_batches(work, 0 if task.stage in ALONE else task.plan.batch_tokens)
    find, told = partial(_find, task.digest, folder), _Told(progress, batches)
    if run is not None:
        _run_elsewhere(batches, task, folder, told, run, find)
    for found in _ahead(partial(_ready, find, reader.subject), batches):
        shard, batch = found.shard, found.batch
        if shard is None:
            if run is not None:
                raise ProbeError(
                    f"{batch.file_name}: the engine gave another shard than it was asked for",
                    hint="its nodes have another tokenizer, or files were changed while it ran",
                )
            started = time.monotonic()
            shard = observe_batch(found.prepared, task, reader, found.inputs)
            write_bytes(folder / batch.file_name, shard_bytes(shard, found.name))
            told.ran(batch, time.monotonic() - started)
        told.done(batch)
        yield shard


def _run_elsewhere(
    batches: Sequence[Batch], task: Task, folder: Path, told: "_Told", run: Run,
    find: Callable[[Batch], "_Found"],
) -> None:  # fmt: skip
    missing = []
    for batch in batches:
        if not (folder / batch.file_name).exists() or find(batch).shard is None:
            missing.append(batch)
        else:
            told.done(batch)
    started = time.monotonic()
    for index, data in run(iter(missing), task) if missing else ():
        write_bytes(folder / batches[index].file_name, data)
        told.ran(batches[index], time.monotonic() - started)
        started = time.monotonic()
        told.done(batches[index])


class _Told:
    """Tells how far it is, each batch once, and how long the rest takes by what ran so far."""

    def __init__(self, progress: Progress, batches: Sequence[Batch]) -> None:
        self._progress = progress
        self._items = sum(map(len, batches))
        self._left = sum(batch.tokens for batch in batches)
        self._told: set[int] = set()
        self._done = self._ran = 0
        self._spent = 0.0

    def ran(self, batch: Batch, seconds: float) -> None:
        self._ran += batch.tokens
        self._spent += seconds

    def done(self, batch: Batch) -> None:
        if batch.index in self._told:
            return
        self._told.add(batch.index)
        self._done += len(batch)
        self._left -= batch.tokens
        left = self._spent / self._ran * self._left if self._ran else None
        self._progress(self._done, self._items, left)


@dataclass(frozen=True, eq=False)
class _Found:
    """A batch with its shard, or with what it takes to run it."""

    batch: Batch
    prepared: list[Prepared]
    name: str
    shard: Shard | None
    inputs: Mapping[str, Tensor] | None = None


def _find(task_digest: str, folder: Path, batch: Batch) -> _Found:
    prepared = batch.prepared()
    name = shard_name(prepared, task_digest)
    return _Found(batch, prepared, name, read_shard(folder / batch.file_name, name))


def _ready(find: Callable[[Batch], _Found], subject: Subject, batch: Batch) -> _Found:
    found = find(batch)
    if found.shard is not None:
        return found
    inputs = model_inputs(found.prepared, subject)
    return _Found(batch, found.prepared, found.name, None, inputs)


def _ahead(make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """Make one after the other in a thread, some before they are asked for.

    An error is raised when its turn comes, after what stands before it: which shards are there
    does not depend on who was faster. The thread ends with the caller.
    """
    pool, waiting = ThreadPoolExecutor(1, "prepare"), deque[Future[Made]]()
    try:
        for one in given:
            waiting.append(pool.submit(make, one))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse_words(work: Work, reader: Reader) -> None:
    if not any(name.startswith(VISION) for name in reader.hook_names):
        return
    words = next((item.id for item in work.items if item.image is None), None)
    if words is not None:
        raise ProbeError(
            f"item {words}: has no picture, and the SAE reads the vision tower, which sees no "
            "words",
            hint="leave texts out of the audit: modalities: [image]",
        )
