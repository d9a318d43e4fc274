"""What is refused before a cluster is asked for anything, and what a node is given."""

import pickle
import shutil
import socket
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch

from compliance.errors import ProbeError, SaeError, StorageError
from compliance.probes import distributed
from compliance.probes.distributed import RayEngine, connect, open_staging
from compliance.probes.engine import Work, make_batches, observe
from compliance.probes.inputs import model_inputs
from compliance.probes.subject import load_subject
from compliance.probes.task import Task
from compliance.records.audit import SubjectConfig
from compliance.records.subject import Environment
from tests.probes.tiny import save_tiny_sae
from tests.probes.tiny_pass import make_item, make_plan, silent, some_items
from tests.probes.tiny_vision import draw, make_shown, save_tiny_vision
from tests.ray.conftest import free_ports
from tests.ray.small import environment_of, load_small


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ProbeError, match="Ray is not installed") as caught, connect():
        pass

    assert caught.value.hint == 'pip install "sae-compliance[ray]"'


@pytest.fixture
def asked(monkeypatch):
    """What Ray is asked to connect to; it refuses."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    found = []

    def refuse(**options):
        found.append(options["address"])
        raise ConnectionError(f"Failed to connect to {options['address']}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    return found


def test_a_cluster_that_refuses_is_named(asked):
    with socket.create_server(("", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        said = f"no Ray cluster at {address}: .*connect"
        with pytest.raises(ProbeError, match=said) as caught, connect(address):
            pass

    assert asked == [address]
    assert "ray status" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:{}", "refused"), ("ray://127.0.0.1:{}", "Invalid address format"),
     ("head", "Invalid address format"), ("head.invalid:{}", "not known|resolution")],
)  # fmt: skip
def test_ray_is_not_asked_for_a_cluster_where_nobody_listens(address, said, asked):
    address = address.format(*free_ports(1))

    with pytest.raises(ProbeError, match=f"no Ray cluster at {address}: .*({said})"):
        connect(address).__enter__()

    assert asked == []


@pytest.mark.parametrize(
    ("url", "said"),
    [("memory://there", "lies in the memory of one process"),
     ("nowhere://there", "staging cannot be written: Protocol not known: nowhere"),
     ("{}/file/below", "staging cannot be written")],
)  # fmt: skip
def test_staging_that_nodes_cannot_write_is_refused(tmp_path, url, said):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(StorageError, match=said) as caught:
        open_staging(url.format(tmp_path))

    assert "all nodes can write" in caught.value.hint


@pytest.mark.parametrize("form", ["{}/new", "file://{}/new"])
def test_a_folder_by_path_or_url_is_made_and_left_without_a_mark(tmp_path, form):
    staging = open_staging(form.format(tmp_path))

    staging.write(b"data", "shards", "a")
    assert (tmp_path / "new" / "shards" / "a").read_bytes() == b"data"
    assert staging.names("shards") == ["a"]
    assert staging.names("nothing") == []
    staging.remove("shards")
    assert not list((tmp_path / "new").iterdir())


def test_a_write_that_breaks_off_leaves_no_shard(tmp_path, monkeypatch):
    staging = open_staging(str(tmp_path))
    monkeypatch.setattr(type(staging.files), "mv", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        staging.write(b"half", "shards", "a")

    assert staging.names("shards") == []


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_node_makes_the_same_inputs_without_the_weights(family, tmp_path, monkeypatch):
    save_tiny_vision(tmp_path / "subject", family)
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}])
    subject = load_subject(config, tmp_path)
    items = [make_shown("a", text="What?"), make_shown("b"), make_item("c", text="words alone")]
    (batch,) = make_batches(Work(items, subject, lambda item: draw(item.id)), 100_000)
    here = batch.prepared()
    monkeypatch.setattr(distributed, "_preparer", distributed._NodePreparer)
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray import cloudpickle

    row = distributed._described(batch)
    outfit = cloudpickle.loads(cloudpickle.dumps(distributed._outfit(subject)))
    prepared, inputs = cloudpickle.loads(distributed._prepare(row, outfit)["made"])

    expected = model_inputs(here, subject)
    assert not isinstance(outfit.model, torch.nn.Module)
    assert [(p.item, p.ids, p.regions) for p in prepared] == [
        (p.item, p.ids, p.regions) for p in here
    ]
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    for there, one in zip(prepared, here, strict=True):
        if one.shown:
            pixels = [np.asarray(p.shown.picture()) for p in (there, one)]
            assert np.array_equal(*pixels)
            assert isinstance(there.shown.picture(), PIL.Image.Image)


@pytest.fixture
def without_cluster(monkeypatch):
    """Room for actors on a cluster that nobody may ask for anything."""
    there = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    monkeypatch.setattr(distributed, "_ray", lambda: there)


def pass_of(folder):
    save_tiny_sae(folder)
    reader = load_small(folder)
    task = Task(make_plan(reader), "search")
    work = Work([item for item in some_items() if item.concept], reader.subject)
    engine = RayEngine(
        partial(load_small, folder), environment_of, reader, staging=open_staging(str(folder / "s"))
    )

    def run(name, by=None):
        for _ in observe(work, task, reader, folder / name, silent, by):
            pass
        return {p.name: p.read_bytes() for p in sorted((folder / name).glob("*.npz"))}

    first = make_batches(work, task.plan.batch_tokens)[0]
    staged = distributed._folder_name(task, engine._expected, first)
    return run, engine, folder / "s" / staged / "shards"


def test_shards_that_a_lost_driver_left_in_staging_are_taken(tmp_path, without_cluster):
    run, engine, staged = pass_of(tmp_path)
    expected = run("here")
    shutil.copytree(tmp_path / "here", staged)

    assert run("there", engine) == expected
    assert not [path for path in (tmp_path / "s").rglob("*") if path.is_file()]


def test_a_staged_shard_of_something_else_is_refused_and_not_offered_again(
    tmp_path, without_cluster
):
    run, engine, staged = pass_of(tmp_path)
    run("here")
    shutil.copytree(tmp_path / "here", staged)
    shutil.copy(staged / "shard-00001.npz", staged / "shard-00000.npz")

    with pytest.raises(ProbeError, match="shard-00000.npz: .* another shard than it was asked for"):
        run("there", engine)

    assert not staged.exists()


# An actor, in this process


def actor_of(folder, **changes):
    save_tiny_sae(folder)
    reader = load_small(folder)
    made = {
        "load": partial(load_small, folder), "environment": environment_of,
        "staging": open_staging(str(folder / "s")),
        "expected": distributed._conditions(reader, environment_of),
        "threads": torch.get_num_threads(), "tries": 2,
    }  # fmt: skip
    task = Task(make_plan(reader), "search")
    made["staging"].write(pickle.dumps(task), "pass", "task")
    return distributed._Observer(**made | changes)


def row_of(index):
    return {"pass": "pass", "index": index, "made": b""}


def elsewhere(_):
    return Environment(python="3", packages={"torch": "2"}, machine="this", device="cpu")


def load_missing():
    raise SaeError("sae: is not there", hint="look for it")


def test_an_actor_on_a_node_of_another_kind_refuses_every_batch(tmp_path):
    found = actor_of(tmp_path, environment=elsewhere)(row_of(3))

    assert found["index"] == 3
    assert found["failure"].endswith("of another kind: torch 2, the driver has 1")
    assert "never mixed" in found["hint"]


def test_an_actor_with_other_threads_takes_those_of_the_driver(tmp_path):
    before = torch.get_num_threads()
    try:
        actor_of(tmp_path, threads=before + 1)

        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_an_actor_that_cannot_load_the_subject_says_so(tmp_path):
    found = actor_of(tmp_path, load=load_missing)(row_of(0))

    assert found["failure"] == "a node cannot load what it needs: sae: is not there"
    assert found["hint"] == "look for it"


def test_a_batch_that_was_begun_too_often_is_not_begun_again(tmp_path):
    actor = actor_of(tmp_path)
    for index, mark in ((7, "a"), (7, "b"), (70, "c")):
        actor._all.write(b"", "pass", "tries", f"shard-{index:05d}.{mark}")

    found = actor(row_of(7))

    assert found["failure"] == "failed 2 times, the last time: its process ended each time"
    assert "more memory" in found["hint"]
    assert len(actor._staging.names("tries")) == 3


def test_an_error_that_would_come_again_is_not_tried_again(tmp_path, monkeypatch):
    def refuse(*_):
        raise ProbeError("item a: a number is not finite", hint="look at it")

    monkeypatch.setattr(distributed._Observer, "_observe", refuse)
    actor = actor_of(tmp_path)

    found = actor(row_of(0))

    assert (found["failure"], found["hint"]) == ("item a: a number is not finite", "look at it")
    assert len(actor._staging.names("tries")) == 1
