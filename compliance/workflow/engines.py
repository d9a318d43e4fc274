"""Where the batches of a run are executed: in this process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.records.audit import AuditConfig
from compliance.runs import RunFolder

if TYPE_CHECKING:
    from compliance.probes.engine import Run
    from compliance.probes.task import Reader


@dataclass(frozen=True)
class RayOptions:
    """A cluster, and what an actor on it takes."""

    address: str | None = None
    """Of a cluster that runs; None: one of this machine alone, as long as the run lasts."""

    staging: str | None = None
    """URL of a folder that all nodes can write; None: a folder of the run."""

    actors: int | None = None
    """At most so many; None: as many as there is room for."""

    cpus: float = 1
    """Cores of an actor, as Ray counts them."""

    gpus: float | None = None
    """GPUs of an actor, or the part of one; None: one where the subject's device is one."""


@contextmanager
def engine_of(
    options: RayOptions | None, config: AuditConfig, folder: Path, run: RunFolder, reader: Reader
) -> Iterator[Run | None]:
    """What runs an audit's batches; None is this process.

    Raises:
        ProbeError: Ray is not installed, or there is no such cluster.
        StorageError: The staging folder cannot be written.
    """
    if options is None:
        yield None
        return
    from compliance.probes.distributed import RayEngine, connect, open_staging
    from compliance.workflow.stages import environment_of, load_reader

    with connect(options.address):
        staging = open_staging(options.staging or str(run.path.resolve() / "staging"))
        gpus = float(reader.subject.model.device.type == "cuda")
        with RayEngine(
            partial(load_reader, config, folder.resolve()),
            environment_of,
            reader,
            staging=staging,
            actors=options.actors,
            cpus=options.cpus,
            gpus=gpus if options.gpus is None else options.gpus,
        ) as engine:
            yield engine
