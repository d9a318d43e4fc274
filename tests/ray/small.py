"""A reader that every process of a cluster can load, and ways for it to come to grief.

Processes of a cluster share no memory with a test; what they do and are told lies in files.
"""

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from compliance.probes.sae import load_sae
from compliance.probes.task import Reader
from compliance.records.audit import SaeRef
from compliance.records.subject import Environment
from tests.probes.tiny_pass import tiny_reader


def load_small(folder: Path) -> Reader:
    """A tiny model and the SAE in ``folder``."""
    return tiny_reader(load_sae(SaeRef(path=str(folder)), Path(".")))


def load_told(folder: Path) -> Reader:
    """Says which process loaded it."""
    with (folder / "loaded").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return load_small(folder)


def environment_of(_: Reader) -> Environment:
    return Environment(python="3", packages={"torch": "1"}, machine="this", device="cpu")


def load_waiting(folder: Path) -> Reader:
    """Says which process on which node has begun a batch, and waits for a word to go on."""

    def wait(_: object) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (folder / f"at-{node}-{os.getpid()}").touch()
        while not (folder / "go-on").exists():
            time.sleep(0.05)

    return _hooked(folder, wait)


def load_hungry(folder: Path) -> Reader:
    """Takes more memory than its process may have, for the batch of the widest items."""

    def eat(shape: tuple[int, int]) -> None:
        if shape[1] > 60 and not (folder / "fed").exists():
            held = Path("/proc/self/statm").read_text().split()[0]
            limit = int(held) * resource.getpagesize() + (64 << 20)
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
            try:
                np.ones(1 << 30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)

    return _hooked(folder, eat)


def load_killed(folder: Path) -> Reader:
    """Is ended by the system in the batch of the widest items, as where memory has run out."""

    def end(shape: tuple[int, int]) -> None:
        if shape[1] > 60 and not (folder / "fed").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    return _hooked(folder, end)


def _hooked(folder: Path, meet) -> Reader:  # type: ignore[no-untyped-def] # takes a shape
    reader = load_small(folder)

    def before(_: object, args: tuple, kwargs: dict) -> None:
        meet(tuple((args[0] if args else kwargs["input_ids"]).shape))

    reader.subject.model.register_forward_pre_hook(before, with_kwargs=True)
    return reader
