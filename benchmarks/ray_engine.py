"""What the Ray engine adds on this machine: one pass here, and on a cluster with 1 and 2 actors.

    python -m benchmarks.ray_engine --out benchmarks/results/ray.json

A model of three blocks computes next to nothing, so that what is seen is the way to and fro: the
start of the pipeline with its actors, which is paid once a pass, and what each shard adds after it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.results import Table, write_results
from compliance.probes.distributed import RayEngine, connect, open_staging
from compliance.probes.engine import Run, Work, observe
from compliance.probes.task import Reader, Task
from tests.probes.tiny import save_tiny_sae
from tests.probes.tiny_pass import make_item, make_plan
from tests.ray.small import environment_of, load_small

ITEMS, BATCH_TOKENS = 2000, 512

NOTE = """One search pass over {items} texts with a model of three blocks and width 32, in {shards}
shards, on this machine alone. *Start* is the time to the first shard: actors begin, import and
load. *Each shard* is the rest by the number of shards. The shards were compared with those of the
local engine, byte by byte: {same}."""


class Timed(NamedTuple):
    """One pass."""

    engine: str
    start: float
    """Seconds to the first shard."""

    total: float
    shards: dict[str, bytes]


def timed(
    name: str, work: Work, task: Task, reader: Reader, folder: Path, run: Run | None
) -> Timed:
    """Run a pass and time it."""
    began, first = time.monotonic(), []

    def told(done: int, total: int, left: float | None) -> None:
        first.append(time.monotonic() - began)

    for _ in observe(work, task, reader, folder, told, run):
        pass
    shards = {path.name: path.read_bytes() for path in sorted(folder.glob("*.npz"))}
    return Timed(name, first[0], time.monotonic() - began, shards)


def measure(folder: Path) -> list[Timed]:
    """The local engine, and Ray's with one actor and two."""
    torch.set_num_threads(1)
    save_tiny_sae(folder)
    reader = load_small(folder)
    items = [
        make_item(f"i{n:05d}", "positive", text=f"text {n} " * (1 + n % 9)) for n in range(ITEMS)
    ]
    task = Task(make_plan(reader, batch_tokens=BATCH_TOKENS), "search")
    work = Work(items, reader.subject)
    found = [timed("local", work, task, reader, folder / "local", None)]
    with connect():
        for actors in (1, 2):
            staging = open_staging(str(folder / "staging"))
            load = partial(load_small, folder)
            run = RayEngine(load, environment_of, reader, staging=staging, actors=actors, cpus=0.5)
            name = f"ray, {actors} actor{'s' * (actors > 1)}"
            found.append(timed(name, work, task, reader, folder / str(actors), run))
    return found


def table(found: list[Timed]) -> Table:
    """Seconds, and their ratio to the local engine's."""
    local = found[0]
    count = len(local.shards)
    rows = tuple(
        (one.engine, round(one.start, 1), round(one.total, 1),
         round(1000 * (one.total - one.start) / (count - 1), 1), round(one.total / local.total, 1))
        for one in found
    )  # fmt: skip
    same = "equal" if all(one.shards == local.shards for one in found) else "NOT equal"
    return Table(
        "The Ray engine on one machine",
        NOTE.format(items=ITEMS, shards=count, same=same),
        ("engine", "start, s", "whole pass, s", "each shard, ms", "ratio to local"),
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_results(arguments.out, "ray", [table(measure(Path(scratch)))])
