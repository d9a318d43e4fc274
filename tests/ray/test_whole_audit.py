"""A whole audit on a cluster that was there before it, and one that two engines share."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from compliance import workflow
from compliance.progress import Progress
from compliance.workflow.engines import RayOptions
from tests.ray.conftest import AGENT_PORTS, end, free_ports, wait_for
from tests.tiny_audit import write_audit

pytest.importorskip("ray", reason="Ray is not installed")

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # what else runs here is not its concern
    "RAY_raylet_start_wait_time_s": "120",  # of a busy machine
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "7" * 64,
    "OMP_NUM_THREADS": "1",
}
"""Of a cluster and of the command, which would look for a token at home."""

COMMAND = [sys.executable, "-c", "from compliance.cli.main import main; main()"]


def small_audit(folder):
    """Few items, since a shard takes longer on its way than to make."""
    return write_audit(folder, groups=12, benign=40)


def observed(folder):
    """Every file of observations of both passes, and every shard, by path in the run."""
    (run,) = (path for path in (folder / "runs").iterdir() if path.is_dir())
    found = [*(run / "observations").rglob("*.*"), *(run / "passes").rglob("*.npz")]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What this process observes alone."""
    path = small_audit(tmp_path_factory.mktemp("here") / "tiny")
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)
    workflow.observe(path)
    return observed(path.parent)


@pytest.fixture
def head():
    """The address of a cluster of one node, which was started by ``ray start``."""
    import psutil

    before = set(psutil.Process().children(recursive=True))
    port, *ports = free_ports(1 + len(AGENT_PORTS))
    given = dict(zip(AGENT_PORTS, ports, strict=True))
    del given["metrics_agent_port"]  # which the command does not have
    given |= {"port": port, "num_cpus": 1, "object_store_memory": 80 << 20,
              "node_ip_address": "127.0.0.1", "include_dashboard": "false",
              "temp_dir": (scratch := tempfile.mkdtemp())}  # fmt: skip
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options]
    said = Path(scratch) / "said"
    with said.open("w") as sink:
        process = subprocess.Popen(start, env=os.environ | SETTINGS, cwd="/", stdout=sink)
    try:
        wait_for(lambda: process.poll() is not None or "runtime started" in said.read_text())
        assert process.poll() is None
        yield f"127.0.0.1:{port}"
    finally:
        started = set(psutil.Process().children(recursive=True)) - before
        end(started)  # asked to end, it would wait half a minute for its own
        process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def run(command, folder, address):
    """A command in a process of its own, with paths relative to where it was given."""
    options = [
        "--engine",
        "ray",
        "--ray-address",
        address,
        "--cpus-per-actor",
        "0.5",
        "--actors",
        "1",
    ]
    return subprocess.run(
        [*COMMAND, command, "tiny/audit.yaml", *options],
        cwd=folder, env=os.environ | SETTINGS, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow  # starts a cluster, and renders a report in full
def test_a_whole_audit_by_the_command_on_a_cluster_observes_the_same(head, expected, tmp_path):
    path = small_audit(tmp_path / "tiny")

    ended = run("audit", tmp_path, head)

    assert ended.returncode == 0, ended.stderr
    assert observed(path.parent) == expected


def test_an_audit_begun_here_ends_the_same_on_a_cluster_that_runs(head, expected, tmp_path):
    path = small_audit(tmp_path / "tiny")
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)

    ended = run("observe", tmp_path, head)

    assert ended.returncode == 0, ended.stderr
    assert "pass 'confirm' is complete" in ended.stdout
    assert observed(path.parent) == expected


class Stopped(Progress):
    """Ends the run after its first shard."""

    def advance(self, done, total, left):
        raise KeyboardInterrupt


def test_a_pass_that_stopped_here_goes_on_by_ray_and_the_audit_ends_here(
    cluster, expected, tmp_path
):
    path = small_audit(tmp_path / "tiny")
    workflow.plan(path)
    with pytest.raises(KeyboardInterrupt):
        workflow.observe(path, Stopped())
    begun = observed(path.parent)

    assert workflow.observe(path, ray=RayOptions(cpus=0.5, actors=1)) == "fit"
    workflow.lock(path)
    assert workflow.observe(path) == "confirm"

    assert len(begun) == 1
    assert observed(path.parent) == expected
    assert not [p for p in path.parent.glob("runs/*/staging/**/*") if p.is_file()]


def test_an_address_where_nobody_listens_ends_the_command_soon(tmp_path):
    path = small_audit(tmp_path / "tiny")
    (port,) = free_ports(1)
    began = time.monotonic()

    ended = run("audit", tmp_path, f"127.0.0.1:{port}")

    assert ended.returncode == 2
    assert ended.stderr.strip().splitlines()[-2:] == [
        f"Error: no Ray cluster at 127.0.0.1:{port}: [Errno 111] Connection refused",
        "Hint: 'ray status' on a node of it shows whether it runs; where a cluster asks for a "
        "token, set RAY_AUTH_MODE=token",
    ]
    assert time.monotonic() - began < 60
    assert not list(path.parent.glob("runs/*/passes"))
