"""The same shards from a cluster, whatever happens to it: real nodes, real processes."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest

from compliance.errors import ProbeError
from compliance.probes.distributed import RayEngine, open_staging
from compliance.probes.engine import Work, make_batches, observe
from compliance.probes.task import Task
from tests.probes.tiny import save_tiny_sae
from tests.probes.tiny_pass import make_item, make_plan, silent, some_items
from tests.ray.conftest import add_node, wait_for
from tests.ray.small import (
    environment_of,
    load_hungry,
    load_killed,
    load_small,
    load_told,
    load_waiting,
)

pytest.importorskip("ray", reason="Ray is not installed")

WIDE = make_item("wide", "positive", text="x" * 80)


class Small:
    """One pass, run here and on a cluster."""

    def __init__(self, folder):
        self.folder = folder
        save_tiny_sae(folder)
        self.reader = load_small(folder)
        self.task = Task(make_plan(self.reader, batch_tokens=96), "search")
        items = [item for item in some_items() if item.concept]
        self.work = Work([*items, WIDE], self.reader.subject)
        self.batches = make_batches(self.work, self.task.plan.batch_tokens)

    def engine(self, load, environment=environment_of, **options):
        staging = open_staging(str(self.folder / "staging"))
        load = partial(load, self.folder)
        options = {"cpus": 0.5, **options}
        return RayEngine(load, environment, self.reader, staging=staging, **options)

    def run(self, name, engine=None, progress=silent):
        with engine or nullcontext():
            return self.shards_of(self.task, name, engine, progress)

    def shards_of(self, task, name, engine=None, progress=silent):
        for _ in observe(self.work, task, self.reader, self.folder / name, progress, engine):
            pass
        return self.shards(name)

    def shards(self, name):
        return {p.name: p.read_bytes() for p in sorted((self.folder / name).glob("*.npz"))}

    def wide(self):
        """The ids of the batch that comes to grief, and the names of the others' files."""
        (batch,) = [b for b in self.batches if WIDE in b.items]
        return [i.id for i in batch.items], {
            b.file_name for b in self.batches if b.index != batch.index
        }

    def begun(self):
        """Node and process of each actor that has begun a batch."""
        return {tuple(path.name.split("-")[1:]) for path in self.folder.glob("at-*")}


@pytest.fixture
def small(tmp_path, cluster):
    return Small(tmp_path)


@pytest.fixture
def made(small):
    """What this process makes alone."""
    return small.run("local")


@pytest.fixture
def meanwhile():
    """Runs a function beside the pass, and fails with it."""
    threads, failed = [], []

    def start(function):
        def guarded():
            try:
                function()
            except BaseException as error:
                failed.append(error)

        threads.append(threading.Thread(target=guarded, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(timeout=10)
    assert not failed


def test_a_process_killed_in_mid_shard_changes_nothing(small, made, meanwhile):
    def kill():
        wait_for(small.begun)
        ((_, killed),) = list(small.begun())[:1]
        os.kill(int(killed), signal.SIGKILL)
        wait_for(lambda: any(pid != killed for _, pid in small.begun()))
        (small.folder / "go-on").touch()

    meanwhile(kill)
    found = small.run("ray", small.engine(load_waiting))

    assert len(made) > 4
    assert found == made
    assert len({pid for _, pid in small.begun()}) > 1
    assert not [p for p in (small.folder / "staging").rglob("*") if p.is_file()]


def test_a_node_that_is_added_takes_part_and_its_loss_changes_nothing(small, made, cluster):
    assert len(made) > 10
    with ThreadPoolExecutor(1) as beside:  # Ray starts a node in the main thread alone
        running = beside.submit(small.run, "ray", small.engine(load_waiting, cpus=1))
        try:
            wait_for(small.begun)
            added = add_node(cluster)
            try:
                wait_for(lambda: added.node_id in {where for where, _ in small.begun()})
            finally:
                cluster.remove_node(added, allow_graceful=False)
        finally:
            (small.folder / "go-on").touch()
        found = running.result()

    assert found == made


@pytest.mark.parametrize(
    ("load", "said"),
    [(load_hungry, "failed 2 times, the last time: .*MemoryError: Unable to allocate 8.00 GiB"),
     pytest.param(
         load_killed, "failed 2 times, the last time: its process ended each time",
         marks=pytest.mark.slow,  # starts four processes, each of which imports torch
     )],
)  # fmt: skip
def test_an_actor_without_memory_ends_with_the_items_and_keeps_the_rest(small, made, load, said):
    ids, others = small.wide()

    with pytest.raises(ProbeError, match=said) as caught:
        small.run("ray", small.engine(load, tries=2))

    assert f"of {len(ids)} items ({', '.join(ids)})" in str(caught.value)
    assert "more memory" in caught.value.hint
    kept = small.shards("ray")
    assert kept.keys() <= others
    assert all(made[name] == data for name, data in kept.items())

    (small.folder / "fed").touch()
    times = {p.name: p.stat().st_mtime_ns for p in (small.folder / "ray").glob("*.npz")}
    assert small.run("ray", small.engine(load, tries=2)) == made
    assert all((small.folder / "ray" / name).stat().st_mtime_ns == t for name, t in times.items())


def test_an_actor_that_has_no_room_is_told_before_anything_is_sent(small):
    engine = small.engine(load_small)

    engine.resources = {"num_cpus": 64, "num_gpus": 0}
    with pytest.raises(ProbeError, match="the cluster has 2 cores, .* need 64.5"):
        small.run("ray", engine)
    engine.resources = {"num_cpus": 0.5, "num_gpus": 1}
    with pytest.raises(ProbeError, match="the cluster has 0 GPUs, an actor needs 1"):
        small.run("ray", engine)


def test_an_actor_lives_from_pass_to_pass_and_writes_what_each_is_to_write(small, made):
    other = replace(small.task, environment="another")
    engine = small.engine(load_told, actors=1)
    with engine:
        found = [small.shards_of(task, name, engine) for task, name in
                 ((small.task, "first"), (other, "second"), (small.task, "third"))]  # fmt: skip

    assert found == [made, small.shards_of(other, "here"), made]
    assert found[1] != made
    assert len((small.folder / "loaded").read_text().splitlines()) == 1
    assert not [p for p in (small.folder / "staging").rglob("*") if p.is_file()]
