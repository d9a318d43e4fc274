"""What the Ray engine adds on this machine: two passes here, and on a cluster with 1 and 2 actors.

    python -m benchmarks.ray_engine --out benchmarks/results/ray_engine.json

A model of three blocks computes next to nothing, so that what is seen is the way to and fro: the
start of the actors, which is paid once an audit, and what each shard adds after it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
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

ITEMS, BATCH_TOKENS = 1000, 512
PASSES = ("first", "second")

NOTE = """Passes over {items} texts with a model of three blocks and width 32, in {shards} shards
each, with one thread a process. The first and the second differ in what they are to write, not in
what they read; both go through the same actors. *Start* is the time to the first shard: processes
begin, import and load. *After it* is the rest, by items. The shards were compared with those of
the local engine, byte by byte: {same}. The machine's load was {load:.1f} before it began; how far
the local engine's two runs lie apart says how much of a ratio is due to what else runs there.

All of it shares the cores named above: driver, Ray's own processes, the tasks that prepare, the
actors. It shows what starting costs, that it is paid once, and what a shard costs on the way. It
shows nothing of a network, of a GPU, or of how several machines add up."""


class Timed(NamedTuple):
    """One pass."""

    engine: str
    which: str
    start: float
    """Seconds to the first shard."""

    total: float
    shards: dict[str, bytes]


def timed(
    name: str, work: Work, tasks: dict[str, Task], reader: Reader, folder: Path,
    run: Run | None = None,
) -> Iterator[Timed]:  # fmt: skip
    """Run passes one after the other and time each."""
    for which, task in tasks.items():
        began = time.monotonic()
        told: list[float] = []
        place = folder / name / which
        for _ in observe(work, task, reader, place, partial(_note, told), run):
            pass
        ended = time.monotonic()
        shards = {path.name: path.read_bytes() for path in sorted(place.glob("*.npz"))}
        yield Timed(name, which, told[0] - began, ended - began, shards)


def _note(told: list[float], *_: object) -> None:
    told.append(time.monotonic())


def measure(folder: Path) -> list[Timed]:
    """The local engine, and Ray's with one actor and two."""
    torch.set_num_threads(1)
    save_tiny_sae(folder)
    reader = load_small(folder)
    items = [
        make_item(f"i{n:05d}", "positive", text=f"text {n} " * (1 + n % 9)) for n in range(ITEMS)
    ]
    plan = make_plan(reader, batch_tokens=BATCH_TOKENS)
    tasks = {which: Task(plan, "search", environment=which) for which in PASSES}
    work = Work(items, reader.subject)
    found = list(timed("local", work, tasks, reader, folder))
    with connect():
        few = Work(items[:20], reader.subject)
        for actors in (0, 1, 2):  # the first reads packages from the disk, and is not counted
            staging = open_staging(str(folder / "staging"))
            load, most = partial(load_small, folder), max(actors, 1)
            name = f"Ray, {actors} actor{'s' * (actors > 1)}"
            with RayEngine(
                load, environment_of, reader, staging=staging, actors=most, cpus=0.5
            ) as run:
                passes = timed(name, work if actors else few, tasks, reader, folder, run)
                found += [one for one in passes if actors]
    return [*found, *timed("local, again", work, tasks, reader, folder)]


def table(found: list[Timed], load: float) -> Table:
    """Seconds and rates, and the ratio of a whole pass to the local engine's.

    Args:
        found: The first of the local engine.
        load: Of the machine, before any of it ran.
    """
    local = {one.which: one for one in found if one.engine == "local"}
    count = len(found[0].shards)
    rows = tuple(_row(one, local[one.which]) for one in found)
    same = all(one.shards == local[one.which].shards for one in found)
    return Table(
        "Several machines: Ray",
        NOTE.format(items=ITEMS, shards=count, same="equal" if same else "NOT equal", load=load),
        ("engine", "pass", "start, s", "after it, items/s", "whole pass, s", "ratio to local"),
        rows,
    )


def _row(one: Timed, local: Timed) -> tuple[str | float, ...]:
    after = ITEMS * (len(one.shards) - 1) / len(one.shards) / (one.total - one.start)
    return (
        one.engine, one.which, round(one.start, 1), round(after), round(one.total, 1),
        round(one.total / local.total, 2),
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        write_results(arguments.out, "ray_engine", [table(measure(Path(scratch)), load)])
