"""Runs batches on a Ray cluster, with Ray Data; the same batches, and the same shards.

    staging = open_staging("s3://bucket/audit")
    with connect(address):                          # None: a cluster of this machine alone
        run = RayEngine(load, environment, reader, staging=staging)
        for shard in observe(work, task, reader, folder, progress, run): ...

Which items are run together is fixed before anything is sent. The batches that are missing are
written as Parquet into the staging folder and stream from there through tasks that prepare inputs
(tokens, pixels) into a pool of actors, each with the subject and the SAEs, which write the shards
into the staging folder. Ray Data holds back what is read and prepared while actors are busy. The
driver takes each shard from the staging folder to its place as it comes, so that a run goes on
with what is missing, whoever was lost: an actor, a node, or the driver.

Ray itself starts lost actors and tasks again for as long as it takes. A batch that ends its
process each time would be tried for ever; so each try leaves a mark in the staging folder, and
after some of them (`TRIES`) the actor gives the batch up, and the run ends with its items' names.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from compliance.errors import ComplianceError, ProbeError, StorageError
from compliance.probes.batch import observe_batch
from compliance.probes.engine import Batch, shard_name
from compliance.probes.inputs import Preparer, model_inputs
from compliance.probes.random_sae import random_saes
from compliance.probes.shards import shard_bytes
from compliance.probes.subject import Subject
from compliance.probes.task import Reader, Task
from compliance.records.base import canonical_bytes, digest_of, to_json
from compliance.records.subject import Environment
from compliance.records.suite import Item

if TYPE_CHECKING:
    import PIL.Image

TRIES = 4
"""How often a batch is begun before it is given up."""

PREPARING_CPUS = 0.5
"""Cores that Ray counts for a task that reads and prepares; two share one."""

_PREPARING: dict[str, Any] = {"num_cpus": PREPARING_CPUS, "memory": 256 << 20}
"""What such a task takes. An actor has no memory in its, or Ray Data would make one of both where
their cores are the same: the actor would read and prepare, and a whole file would be one unit."""

FILE_BYTES = 16_000_000
"""Of descriptions in one Parquet file, which one task reads."""

FILE_BATCHES = 64
"""Batches in one Parquet file at most."""

_NAMED = 10
"""Items that a message names."""

_COLUMNS = pa.schema(
    [("index", pa.int64()), ("items", pa.list_(pa.binary())), ("pictures", pa.list_(pa.binary()))]
)
"""A batch: its place, its items as JSON, and their pictures as PNG, empty where there is none."""


@dataclass(frozen=True)
class Staging:
    """A folder that the driver and all nodes can write: of a disk that they share, or a bucket."""

    url: str
    files: Any
    """An fsspec file system."""

    root: str

    def path(self, *parts: str) -> str:
        return "/".join((self.root, *parts))

    def write(self, data: bytes, *parts: str) -> None:
        """Write a whole file, or leave what was there."""
        path = self.path(*parts)
        self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(beside := f"{path}.{secrets.token_hex(8)}.tmp", data)
        self.files.mv(beside, path)

    def read(self, *parts: str) -> bytes:
        return self.files.cat_file(self.path(*parts))

    def names(self, *parts: str) -> list[str]:
        """Names of the files in a folder; none where it is not there."""
        try:
            found = self.files.ls(self.path(*parts), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(path.rpartition("/")[2] for path in found if not path.endswith(".tmp"))

    def remove(self, *parts: str) -> None:
        """Remove a folder, if it is there."""
        if self.files.exists(self.path(*parts)):
            self.files.rm(self.path(*parts), recursive=True)

    def below(self, name: str) -> Staging:
        return replace(self, root=self.path(name))


def open_staging(url: str) -> Staging:
    """The staging folder at a URL that fsspec knows, or at a path.

    Raises:
        StorageError: It cannot be written, or is of a kind that no second process sees.
    """
    from fsspec.core import url_to_fs

    if url.startswith("memory:"):
        raise StorageError(
            f"{url}: lies in the memory of one process",
            hint="give a folder or a bucket that all nodes can write",
        )
    try:
        files, root = url_to_fs(url)
        staging = Staging(url, files, root.rstrip("/"))
        mark = f"mark-{secrets.token_hex(8)}"
        staging.write(b"", mark)
        files.rm_file(staging.path(mark))
    except ImportError as error:  # fsspec names the package that it needs
        raise StorageError(f"{url}: cannot be opened: {error}") from error
    except Exception as error:  # each kind of storage raises errors of its own
        raise StorageError(
            f"{url}: staging cannot be written: {error}",
            hint="give a folder or a bucket that all nodes can write: --staging URL",
        ) from error
    return staging


@contextmanager
def connect(address: str | None = None) -> Iterator[None]:
    """A cluster for as long as the block lasts.

    Args:
        address: Of a cluster, such as ``auto`` on one of its nodes; None: one of this machine
            alone, which ends with the block.

    Raises:
        ProbeError: Ray is not installed, or there is no cluster.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        cores = max(2, os.cpu_count() or 1)  # one would leave none for preparing
        options |= {"address": "local", "include_dashboard": False, "num_cpus": cores}
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
        raise ProbeError(
            f"no Ray cluster at {address or 'this machine'}: {error}",
            hint="'ray status' on a node of it shows whether it runs",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ProbeError(
            "Ray is not installed", hint='pip install "sae-compliance[ray]"'
        ) from error
    return ray


class RayEngine:
    """Gives the shards of batches, as `observe` asks for them. A cluster is connected."""

    def __init__(
        self, load: Callable[[], Reader], environment: Callable[[Reader], Environment],
        reader: Reader, *, staging: Staging, actors: int | None = None, cpus: float = 1,
        gpus: float = 0, tries: int = TRIES,
    ) -> None:  # fmt: skip
        """Say what actors are made of.

        Args:
            load: Loads subject and SAEs on a node; is pickled.
            environment: What runs there; likewise.
            reader: Subject and SAEs of the driver.
            staging: Where batches and shards lie meanwhile.
            actors: At most so many; None: as many as there is room for.
            cpus: Cores of an actor, as Ray counts them.
            gpus: GPUs of an actor, or the part of one.
            tries: How often a batch is begun before it is given up.
        """
        self.load = load
        self.environment = environment
        self.reader = reader
        self._expected = _conditions(reader, environment)
        self.staging = staging
        self.actors = actors
        self.tries = tries
        self.resources = {"num_cpus": cpus, "num_gpus": gpus}

    def __call__(self, batches: Iterable[Batch], task: Task) -> Iterator[tuple[int, bytes]]:
        """Shards by index, as they come.

        Raises:
            ProbeError: A batch was given up, a node is of another kind, or the cluster is lost.
            StorageError: The staging folder cannot be used.
        """
        ray, wanted = _ray(), {batch.index: batch for batch in batches}
        if not wanted:
            return
        self._check_room(ray)
        name = _folder_name(task, self._expected, next(iter(wanted.values())))
        staging = self.staging.below(name)
        try:
            yield from self._shards(ray, wanted, task, staging)
        except OSError as error:
            raise StorageError(f"{self.staging.url}: staging was lost: {error}") from error
        staging.remove()

    def _shards(
        self, ray: Any, wanted: dict[int, Batch], task: Task, staging: Staging
    ) -> Iterator[tuple[int, bytes]]:
        yield from _finished(wanted, staging)  # by an earlier start
        staging.remove("batches")
        staging.remove("tries")
        if not wanted:
            return
        paths = _write_batches(wanted.values(), staging)
        rows = iter(self._pipeline(ray, paths, task, staging).iter_rows())
        try:
            for row in rows:
                if row["failure"]:
                    raise _given_up(wanted[row["index"]], row)
                yield from _taken(wanted.pop(row["index"]), staging)
        except ray.exceptions.RayError as error:
            yield from _finished(wanted, staging)
            raise ProbeError(
                f"the cluster failed with {len(wanted)} batches to go: {_last_line(error)}",
                hint="run the same command again; what is finished is kept",
            ) from error
        finally:
            rows.close()

    def _pipeline(self, ray: Any, paths: list[str], task: Task, staging: Staging) -> Any:
        made = {
            "load": self.load, "environment": self.environment, "task": task, "staging": staging,
            "expected": self._expected, "threads": torch.get_num_threads(), "tries": self.tries,
        }  # fmt: skip
        outfit = ray.put(_outfit(self.reader.subject))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=self.actors)
        with _context(ray):
            batches = ray.data.read_parquet(paths, filesystem=staging.files, **_PREPARING)
            prepared = batches.map(_prepare, fn_kwargs={"outfit": outfit}, **_PREPARING)
            return prepared.map(
                _Observer, fn_constructor_kwargs=made, compute=pool, **self.resources
            )

    def _check_room(self, ray: Any) -> None:
        """Ray would wait for ever."""
        there, needed = ray.cluster_resources(), self.resources["num_cpus"] + PREPARING_CPUS
        if there.get("CPU", 0) < needed:
            raise ProbeError(
                f"the cluster has {there.get('CPU', 0):g} cores, an actor and a task that prepares "
                f"its inputs need {needed:g}",
                hint="add a node, or give an actor less: --cpus-per-actor",
            )
        if there.get("GPU", 0) < self.resources["num_gpus"]:
            raise ProbeError(
                f"the cluster has {there.get('GPU', 0):g} GPUs, an actor needs "
                f"{self.resources['num_gpus']:g}",
                hint="add a node with GPUs, or say subject.device: cpu",
            )


def _context(ray: Any) -> Any:
    """One batch is one block, so that it is what is sent, begun again and counted."""
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = context.target_min_block_size = 1
    context.use_datasource_v2 = False  # it takes two processes more to list files and read footers
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray.data.DataContext.current(context)


def _folder_name(task: Task, conditions: Mapping[str, str], batch: Batch) -> str:
    """Of a pass over these very items on machines of this kind."""
    said = sha256(f"{task.digest} {digest_of(dict(conditions))}\n".encode())
    for item in batch.work.items:
        said.update(item.id.encode() + b"\n")
    return said.hexdigest()[:32]


def _finished(wanted: dict[int, Batch], staging: Staging) -> Iterator[tuple[int, bytes]]:
    """Shards that lie in the staging folder, as an earlier start left them; wanted no longer."""
    there = set(staging.names("shards"))
    for index, batch in list(wanted.items()):
        if batch.file_name in there:
            del wanted[index]
            yield from _taken(batch, staging)


def _taken(batch: Batch, staging: Staging) -> Iterator[tuple[int, bytes]]:
    """A shard, which is removed once the driver has put it in its place."""
    yield batch.index, staging.read("shards", batch.file_name)
    staging.files.rm_file(staging.path("shards", batch.file_name))


def _given_up(batch: Batch, row: Mapping[str, Any]) -> ProbeError:
    ids = [item.id for item in batch.items]
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ProbeError(
        f"batch {batch.index} of {len(ids)} items ({', '.join(ids[:_NAMED])}{more}): "
        f"{row['failure']}",
        hint=row["hint"] or "what is finished is kept; run the same command again to try it anew",
    )


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]


# Batches


def _write_batches(batches: Iterable[Batch], staging: Staging) -> list[str]:
    """Write descriptions into Parquet files; a few megabytes of them are held at a time."""
    paths: list[str] = []
    rows: list[dict[str, Any]] = []
    size = 0

    def flush() -> None:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), sink, row_group_size=1)
        name = f"batches-{len(paths):05d}.parquet"
        staging.write(sink.getvalue(), "batches", name)
        paths.append(staging.path("batches", name))
        rows.clear()

    for batch in batches:
        rows.append(_described(batch))
        size += sum(map(len, rows[-1]["items"])) + sum(map(len, rows[-1]["pictures"]))
        if size > FILE_BYTES or len(rows) == FILE_BATCHES:
            flush()
            size = 0
    if rows:
        flush()
    return paths


def _described(batch: Batch) -> dict[str, Any]:
    items = batch.items
    shown = (
        [p.shown for p in batch.prepared()] if any(i.image for i in items) else [None] * len(items)
    )
    return {
        "index": batch.index,
        "items": [canonical_bytes(item) for item in items],
        "pictures": [_png(one.picture()) if one else b"" for one in shown],
    }


def _png(picture: PIL.Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "PNG", compress_level=1)
    return sink.getvalue()


class _Pictures:
    """Pictures of a batch by item, opened anew whenever they are asked for."""

    def __init__(self, pictures: Mapping[str, bytes]) -> None:
        self._pictures = pictures

    def __call__(self, item: Item) -> PIL.Image.Image:
        import PIL.Image

        with PIL.Image.open(io.BytesIO(self._pictures[item.id])) as opened:
            return opened.convert("RGB")


# On the nodes: preparing


def _outfit(subject: Subject) -> Subject:
    """What preparing takes of a subject: all but its weights."""
    model = subject.model
    bare = SimpleNamespace(config=model.config, dtype=model.dtype, device=torch.device("cpu"))
    return replace(subject, model=bare)


class _NodePreparer(Preparer):
    """Prepares items that the driver has prepared before, without the model's weights."""

    def _check_features(self, *_: object) -> None:
        """The driver held tokens against vectors when it made its `Work`."""


@lru_cache(maxsize=1)
def _preparer(outfit: Any) -> _NodePreparer:
    return _NodePreparer(_ray().get(outfit))


def _prepare(row: dict[str, Any], outfit: Any) -> dict[str, Any]:
    """From a description to what an actor takes."""
    from ray import cloudpickle

    items = [Item.model_validate_json(data) for data in row["items"]]
    ids = [item.id for item in items]
    preparer = _preparer(outfit)
    preparer.pictures = _Pictures(dict(zip(ids, row["pictures"], strict=True)))
    prepared = [preparer.prepare(item) for item in items]
    inputs = model_inputs(prepared, preparer.subject)
    return {"index": row["index"], "made": cloudpickle.dumps((prepared, inputs))}


# On the nodes: observing


def _conditions(reader: Reader, environment: Callable[[Reader], Environment]) -> dict[str, str]:
    """What must be the same wherever shards of one run are made, for them to be the same."""
    facts = to_json(environment(reader))
    device = reader.subject.model.device
    return {
        **facts.pop("packages"),
        **{name: str(value) for name, value in facts.items()},
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "threads": str(torch.get_num_threads()),
        "subject": digest_of(reader.subject.facts),
        "SAEs": digest_of([to_json(sae.facts) for sae in reader.saes]),
    }


class _Observer:
    """An actor: has the subject and the SAEs, and runs batches."""

    def __init__(
        self, load: Callable[[], Reader], environment: Callable[[Reader], Environment],
        task: Task, staging: Staging, expected: Mapping[str, str], threads: int, tries: int,
    ) -> None:  # fmt: skip
        torch.set_num_threads(threads)  # sums are split by it; Ray sets it to the actor's cores
        self._task, self._digest, self._staging = task, task.digest, staging
        self._tries = tries
        self._refusal = {}
        try:
            reader = load()
            self._reader = replace(reader, random=random_saes(reader.saes, task.plan.seed))
            self._refusal = _difference(_conditions(reader, environment), expected)
        except ComplianceError as error:
            self._refusal = _failed(f"a node cannot load what it needs: {error}", error.hint)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        failure = self._refusal or self._tried(row)
        return {"index": row["index"], "failure": "", "hint": "", **failure}

    def _tried(self, row: dict[str, Any]) -> dict[str, str]:
        """Run a batch until it is done or has been begun too often, here or elsewhere."""
        last, begun = "its process ended each time", _begun(self._staging, row["index"])
        while begun < self._tries:
            mark = f"shard-{row['index']:05d}.{secrets.token_hex(8)}"
            self._staging.write(b"", "tries", mark)
            begun += 1
            try:
                self._observe(row)
                return {}
            except ComplianceError as error:  # it would say so again
                return _failed(str(error), error.hint)
            except Exception as error:  # a device or a disk that may do better next time
                last = f"{type(error).__name__}: {error}"
        return _failed(
            f"failed {begun} times, the last time: {last}",
            "it may need more memory than a node has: a larger one, or fewer actors on it",
        )

    def _observe(self, row: dict[str, Any]) -> None:
        from ray import cloudpickle

        prepared, inputs = cloudpickle.loads(row["made"])
        device = self._reader.subject.model.device
        given = {name: value.to(device) for name, value in inputs.items()}
        shard = observe_batch(prepared, self._task, self._reader, given)
        data = shard_bytes(shard, shard_name(prepared, self._digest))
        self._staging.write(data, "shards", f"shard-{row['index']:05d}.npz")


def _begun(staging: Staging, index: int) -> int:
    return sum(name.startswith(f"shard-{index:05d}.") for name in staging.names("tries"))


def _difference(here: Mapping[str, str], expected: Mapping[str, str]) -> dict[str, str]:
    differing = [
        f"{name} {here.get(name, 'absent')}, the driver has {expected.get(name, 'absent')}"
        for name in sorted({*here, *expected})
        if here.get(name) != expected.get(name)
    ]
    if not differing:
        return {}
    return _failed(
        f"node {os.uname().nodename} is of another kind: " + "; ".join(differing),
        "shards of two environments are never mixed; give all nodes and the driver the same "
        "machine, image and files",
    )


def _failed(failure: str, hint: str | None) -> dict[str, str]:
    return {"failure": failure, "hint": hint or ""}
