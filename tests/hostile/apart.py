"""Runs one reader on one file in a process of its own, within limits, and watches what it does.

    outcome = apart("PNG", path, memory=MIB_64, seconds=5)
    outcome.refused, outcome.error, outcome.seconds, outcome.memory

A server loads the readers once and forks for each file. The child may take ``memory`` bytes more
than the server has (the address space is limited) and ``seconds`` of processor time; one that
takes more does not come back with an answer. An audit hook notes what no reader has a reason to do:
start a program, open a socket, run code, load a pickle, or open a file to write it outside the
folder of the attack.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn",
    "socket.connect", "socket.getaddrinfo", "pickle.find_class", "ctypes.dlopen", "os.putenv",
    "webbrowser.open", "urllib.Request",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    error: str | None
    """Class of what was raised; None: it was read. ``died`` and ``hung``: there was no answer."""

    message: str
    refused: bool
    """Whether that is what the reader says it raises."""

    forbidden: tuple[str, ...]
    """What was done that no reader has a reason to do."""

    opened: tuple[str, ...]
    """Files that were opened outside the folder of the attack, the program's own left out."""

    seconds: float
    memory: int
    """Bytes by which the resident memory grew at most."""


class Apart:
    """The server, which lasts as long as the tests."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.apart"], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __call__(
        self, reader: str, path: Path, *, memory: int = 64 * MIB, seconds: float = 5
    ) -> Outcome:
        """Read ``path``; see the module.

        Args:
            reader: Name in ``benchmarks.readers``.
            path: The file of the attack.
            memory: Bytes that the child may take.
            seconds: Of processor time.
        """
        asked = {"reader": reader, "path": str(path), "memory": memory, "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        return Outcome(**{k: tuple(v) if isinstance(v, list) else v for k, v in said.items()})

    def close(self) -> None:
        """End the server."""
        with self._process:
            self._process.stdin.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a reader prints is no answer
    from benchmarks.readers import reader

    for line in sys.stdin:
        asked = json.loads(line)
        one = reader(asked["reader"])
        _warm(one)
        answers.write(json.dumps(_forked(one, asked)) + "\n")
        answers.flush()


_warmed: set[str] = set()


def _warm(one: Any) -> None:
    """Load what the reader loads, once and before forking, by reading its own example."""
    import tempfile

    if one.name not in _warmed:
        _warmed.add(one.name)
        with tempfile.TemporaryDirectory() as folder:
            one.read(one.make(Path(folder) / "example"))


def _forked(one: Any, asked: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        answer = _child(one, asked)
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    data = b""
    with contextlib.suppress(BlockingIOError):
        deadline = started + 3 * asked["seconds"] + 5
        while select.select([reading], [], [], max(0, deadline - time.monotonic()))[0]:
            more = os.read(reading, 1 << 16)
            if not more:
                break
            data += more
        else:
            os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status, used = os.wait4(child, 0)
    took = used.ru_utime + used.ru_stime
    if data:
        return json.loads(data)
    signalled = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
    hung = signalled in ("SIGXCPU", "SIGKILL")
    return {
        "error": "hung" if hung else "died", "message": signalled, "refused": False,
        "forbidden": [], "opened": [], "seconds": took, "memory": used.ru_maxrss * 1024,
    }  # fmt: skip


def _child(one: Any, asked: dict[str, Any]) -> dict[str, Any]:
    place = Path(asked["path"]).resolve().parents[1]
    forbidden, opened = _watch(place)
    size, resident = _memory()
    limit = size + asked["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    seconds = int(asked["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    started = time.process_time()
    error, message, refused = None, "", False
    try:
        one.read(Path(asked["path"]))
    except BaseException as problem:
        error, refused = type(problem).__name__, isinstance(problem, one.refuses)
        with contextlib.suppress(Exception):
            message = str(problem)[:2000]
    took = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    return {
        "error": error, "message": message, "refused": refused, "seconds": took,
        "forbidden": list(forbidden), "opened": list(opened), "memory": max(0, grown),
    }  # fmt: skip


def _memory() -> tuple[int, int]:
    """Bytes of address space, and of resident memory."""
    pages = Path("/proc/self/statm").read_text().split()
    return tuple(int(n) * resource.getpagesize() for n in pages[:2])


def _watch(place: Path) -> tuple[list[str], list[str]]:
    """Note what the process does from now on."""
    forbidden: list[str] = []
    opened: list[str] = []
    own = tuple(
        os.path.realpath(path) for path in (place, ROOT, sys.prefix, sys.base_prefix, "/proc/self")
    )

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            forbidden.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            scratch = os.path.basename(path).startswith("compliance-") or "/compliance-" in path
            if scratch or path.startswith(own):
                return
            writes = isinstance(arguments[2], int) and arguments[2] & WRITING
            (forbidden if writes else opened).append(path)

    sys.addaudithook(hook)
    return forbidden, opened


def children() -> Iterator[Apart]:
    """One server for a session of tests."""
    server = Apart()
    yield server
    server.close()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
