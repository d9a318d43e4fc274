"""Runs batches on a Ray cluster, with Ray Data; the same batches, and the same shards.

    staging = open_staging("s3://bucket/audit")
    with (
        connect(address),                           # None: a cluster of this machine alone
        RayEngine(load, environment, reader, staging=staging) as run,
    ):
        for shard in observe(work, task, reader, folder, progress, run): ...

Which items are run together is fixed before anything is sent. The batches that are missing are
written as Parquet into the staging folder and stream from there through tasks that prepare inputs
(tokens, pixels) into a pool of actors, each with the subject and the SAEs, which write the shards
into the staging folder. Ray Data holds back what is read and prepared while actors are busy. The
driver takes each shard from the staging folder to its place as it comes, so that a run goes on
with what is missing, whoever was lost: an actor, a node, or the driver.

All passes of an audit go through one pipeline, so that actors load once. It begins with a task
that follows a list of files, which the driver makes longer with each pass; a batch says which pass
it is of, and actors read in the staging folder what that pass is to write.

Ray itself starts lost actors and tasks again for as long as it takes. A batch that ends its
process each time would be tried for ever; so each try leaves a mark in the staging folder, and
after some of them (`TRIES`) the actor gives the batch up, and the run ends with its items' names.
"""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import socket
import time
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

CONNECTING_SECONDS = 10
"""How long the head of a cluster may take to answer."""

FOLLOWING_SECONDS = 0.5
"""How often it is looked whether the driver has more to do."""

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
        address: Of a cluster that this machine is a node of: ``auto``, or its head's host and
            port; None: one of this machine alone, which ends with the block.

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
        if address is not None:
            _check_listening(address)
        ray.init(**options)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
        raise ProbeError(
            f"no Ray cluster at {address or 'this machine'}: {error}",
            hint="'ray status' on a node of it shows whether it runs; where a cluster asks for a "
            "token, set RAY_AUTH_MODE=token",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Ray asks a head that is not there for many minutes.

    Raises:
        OSError: Nothing listens there.
        ValueError: It is no host and port.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    host, _, port = canonicalize_bootstrap_address_or_die(address).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECTING_SECONDS).close()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine takes long
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
    """Gives the shards of batches, as `observe` asks for them, in one pass or several.

    A cluster is connected. Actors live from the first pass until the engine is closed, or until a
    pass fails; as a context, it closes itself.
    """

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
        self._pipeline: _Pipeline | None = None

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the actors; another pass would start them anew."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

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
        staging, complete = self.staging.below(name), False
        try:
            yield from self._shards(ray, wanted, task, name, staging)
            complete = True
        except OSError as error:
            raise StorageError(f"{self.staging.url}: staging was lost: {error}") from error
        finally:
            if not complete:  # what is left of it would come in the next pass
                self.close()
        staging.remove()

    def _shards(
        self, ray: Any, wanted: dict[int, Batch], task: Task, name: str, staging: Staging
    ) -> Iterator[tuple[int, bytes]]:
        from ray import cloudpickle

        yield from _finished(wanted, staging)  # by an earlier start
        staging.remove("batches")
        staging.remove("tries")
        if not wanted:
            return
        staging.write(cloudpickle.dumps(task), "task")
        files = _write_batches(wanted.values(), staging)
        try:
            if self._pipeline is None:
                self._pipeline = self._started(ray)
            for row in self._pipeline.rows_of(name, files, len(wanted)):
                if row["failure"]:
                    raise _given_up(wanted[row["index"]], row)
                yield from _taken(wanted.pop(row["index"]), staging)
        except ray.exceptions.RayError as error:
            yield from _finished(wanted, staging)
            raise ProbeError(
                f"the cluster failed with {len(wanted)} batches to go: {_last_line(error)}",
                hint="run the same command again; what is finished is kept",
            ) from error

    def _started(self, ray: Any) -> _Pipeline:
        made = {
            "load": self.load, "environment": self.environment, "staging": self.staging,
            "expected": self._expected, "threads": torch.get_num_threads(), "tries": self.tries,
        }  # fmt: skip
        outfit = ray.put(_outfit(self.reader.subject))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=self.actors)
        feed = f"feed-{secrets.token_hex(8)}"
        given = {"staging": self.staging, "outfit": outfit, "feed": feed}
        with _context(ray):
            listed = ray.data.from_items([{"feed": feed}]).flat_map(
                _follow, fn_kwargs={"staging": self.staging}, num_cpus=0
            )
            prepared = listed.flat_map(_prepare_file, fn_kwargs=given, **_PREPARING)
            observed = prepared.map(
                _Observer, fn_constructor_kwargs=made, compute=pool, **self.resources
            )
        return _Pipeline(observed, self.staging, feed)

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


class _Pipeline:
    """Actors that wait for batches, and the list of files that they get them from."""

    def __init__(self, observed: Any, staging: Staging, feed: str) -> None:
        self._staging, self._feed, self._listed = staging, feed, 0
        # a row is not held back until another one comes: that may be in another pass
        tables = observed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        self._tables = iter(tables)

    def rows_of(self, name: str, files: Iterable[str], number: int) -> Iterator[dict[str, Any]]:
        """What became of each batch of a pass, whose files lie in the folder of that name."""
        for file in files:
            self._list({"pass": name, "file": file})
        while number > 0:
            for row in next(self._tables).to_pylist():
                number -= 1
                yield row
        self._staging.write(b"", self._feed, f"done-{name}")

    def close(self) -> None:
        """Let the tasks end, and the actors with them."""
        try:
            self._list(None)
            self._tables.close()
            self._staging.remove(self._feed)
        except OSError:  # staging was lost, which the pass has said
            logging.getLogger(__name__).debug("staging was not cleared", exc_info=True)

    def _list(self, entry: dict[str, str] | None) -> None:
        data = json.dumps(entry).encode()
        self._staging.write(data, self._feed, _place(self._listed))
        self._listed += 1


def _place(number: int) -> str:
    """Name of an entry of a pipeline's list of files."""
    return f"entry-{number:06d}.json"


def _context(ray: Any) -> Any:
    """One batch is one block, so that it is what is sent, begun again and counted."""
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = context.target_min_block_size = 1
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
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    size = 0

    def flush() -> None:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), sink, row_group_size=1)
        names.append(f"batches-{len(names):05d}.parquet")
        staging.write(sink.getvalue(), "batches", names[-1])
        rows.clear()

    for batch in batches:
        rows.append(_described(batch))
        size += sum(map(len, rows[-1]["items"])) + sum(map(len, rows[-1]["pictures"]))
        if size > FILE_BYTES or len(rows) == FILE_BATCHES:
            flush()
            size = 0
    if rows:
        flush()
    return names


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


def _follow(row: dict[str, str], staging: Staging) -> Iterator[dict[str, str]]:
    """Files as the driver lists them, until it says that there are no more.

    Begun anew, it gives the same from the first one on, as Ray expects of a task.
    """
    number = 0
    while True:
        try:
            entry = json.loads(staging.read(row["feed"], _place(number)))
        except FileNotFoundError:
            if not staging.names(row["feed"]):  # the driver has ended, and cleared it away
                return
            time.sleep(FOLLOWING_SECONDS)
            continue
        if entry is None:
            return
        yield entry
        number += 1


def _prepare_file(
    row: dict[str, str], staging: Staging, outfit: Any, feed: str
) -> Iterator[dict[str, Any]]:
    """Batches of a file as actors take them."""
    below = staging.below(row["pass"])
    try:
        with below.files.open(below.path("batches", row["file"])) as source:
            for one in pq.ParquetFile(source).iter_batches(batch_size=1):
                for described in one.to_pylist():
                    yield {"pass": row["pass"], **_prepare(described, outfit)}
    except FileNotFoundError:  # a task that Ray begins anew may come after its pass
        if f"done-{row['pass']}" not in staging.names(feed):
            raise


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
        staging: Staging, expected: Mapping[str, str], threads: int, tries: int,
    ) -> None:  # fmt: skip
        torch.set_num_threads(threads)  # sums are split by it; Ray sets it to the actor's cores
        self._all, self._tries = staging, tries
        self._name = ""
        self._refusal = {}
        try:
            self._reader = load()
            self._refusal = _difference(_conditions(self._reader, environment), expected)
        except ComplianceError as error:
            self._refusal = _failed(f"a node cannot load what it needs: {error}", error.hint)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        failure = self._refusal or self._tried(row)
        return {"index": row["index"], "failure": "", "hint": "", **failure}

    def _take_up(self, name: str) -> None:
        """Turn to the pass of a batch, if it is another one than before."""
        if name == self._name:
            return
        from ray import cloudpickle

        self._staging = self._all.below(name)
        self._task = cloudpickle.loads(self._staging.read("task"))
        self._digest = self._task.digest
        if not self._name:  # all passes have one plan, and with it one seed
            random = random_saes(self._reader.saes, self._task.plan.seed)
            self._reader = replace(self._reader, random=random)
        self._name = name

    def _tried(self, row: dict[str, Any]) -> dict[str, str]:
        """Run a batch until it is done or has been begun too often, here or elsewhere."""
        self._take_up(row["pass"])
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
