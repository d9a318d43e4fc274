"""A cluster of several nodes on this machine: real processes, which end with the tests."""

import contextlib
import os
import socket
import time

import pytest

AGENT_PORTS = (
    "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)  # fmt: skip


def free_ports(number):
    """Ports that nobody listens on, each another one."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def node():
    """What a node of one core is started with; Ray's least object store is 75 MiB.

    A node waits 15 seconds for its agents to say where they listen, unless it is told, and is given
    up then; on a busy machine they take longer.
    """
    ports = dict(zip(AGENT_PORTS, free_ports(len(AGENT_PORTS)), strict=True))
    return {
        "num_cpus": 1, "object_store_memory": 80 << 20, "include_log_monitor": False, **ports,
    }  # fmt: skip


def add_node(cluster, tries=4, **options):
    """Start a node; Ray gives one up whose agents take longer than 15 seconds to begin."""
    for _ in range(tries):
        try:
            return cluster.add_node(**node(), **options)
        except Exception as error:  # Ray raises no narrower one
            failed = error
    raise failed


@pytest.fixture(scope="session")
def cluster():
    """Two nodes of one core each, of which this process uses the first."""
    import psutil
    import ray
    from ray.cluster_utils import Cluster

    from compliance.probes.distributed import _ray

    _ray()  # settings of the environment come before the first process
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((os.getcwd(), os.environ.get("PYTHONPATH", ""))))
        patch.setenv("RAY_worker_niceness", "0")  # the tests wait for them
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs here is not its concern
        before = set(psutil.Process().children(recursive=True))
        made = Cluster()
        add_node(made, include_dashboard=False, no_monitor=True)
        add_node(made)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
        started = set(psutil.Process().children(recursive=True)) - before
        ray.shutdown()
        made.shutdown()
    left = psutil.wait_procs(started, timeout=20)[1]
    end(left)
    assert not left, f"processes were left behind: {left}"


def end(processes):
    import psutil

    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=20)


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wait_for(condition, seconds=120):
    """Until a condition holds; what runs on this machine beside the tests may slow it down."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.05)
