"""Runs the stages of audits of growing size, each in a process of its own, and says what they took.

    for folder, took in run_all("benchmarks.scale", given): ...

The module that is named makes an audit of a size and runs its stages::

    def make_audit(folder: str, size: str) -> None: ...
    def prepared(stage: str, folder: str) -> Callable[[], object]: ...

``prepared`` imports and loads what is not to be counted, and gives the rest as a call.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MADE = {
    "plan": ("runs", "trail.jsonl"),
    "fit": ("runs/*/passes/search", "runs/*/passes/calibrate", "runs/*/observations/fit",
            "runs/*/lock.json"),
    "lock": ("runs/*/lock.json",),
    "confirm": (*(f"runs/*/passes/{name}" for name in ("confirm", "losses", "repeats", "shifts")),
                "runs/*/observations/confirm"),
    "assess": ("runs/*/evidence.json",),
    "pack": ("packs", "archive"),
}  # fmt: skip
"""What a stage leaves, below the folder of an audit."""


class Took(NamedTuple):
    """What one stage took."""

    size: int
    stage: str
    seconds: float
    """Of the CPU, all threads together."""

    peak: int
    """Largest resident set, bytes."""

    before: int
    """Resident set when the stage began, bytes."""


def ask(doc: str, of: str, sizes: Sequence[int], stages: Sequence[str]) -> Namespace:
    """Read the command line.

    Args:
        doc: Of the benchmark's module.
        of: What a size counts: ``items``.
        sizes: Where none are given.
        stages: All, in their order.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(f"--{of}", dest="sizes", type=int, nargs="*", default=sizes)
    parser.add_argument("--stages", nargs="*", choices=stages, default=stages)
    parser.add_argument("--folder", type=Path, help="keep the audits here")
    parser.add_argument("--out", type=Path, help="write the table as JSON, for docs/performance.md")
    return parser.parse_args()


def command(module: str, of: str, given: Namespace) -> str:
    """How to find the same again."""
    asked = f"--{of} {' '.join(map(str, given.sizes))} --stages {' '.join(given.stages)}"
    return f"python -m {module} {asked} --out benchmarks/results/{given.out.name}"


def run_all(module: str, given: Namespace) -> Iterator[tuple[Path, Took]]:
    """Make audits that are not there and run what is asked for; gives each stage and its folder.

    Raises:
        RuntimeError: One failed.
    """
    with tempfile.TemporaryDirectory() as place:
        for size in given.sizes:
            folder = (given.folder or Path(place)).resolve() / str(size)
            if not (folder / "audit.yaml").exists():
                shutil.rmtree(folder, ignore_errors=True)
                # What it imports is not to be in this process, nor in those that it starts.
                _child(f"from {module} import make_audit; make_audit({str(folder)!r}, '{size}')")
            for stage in given.stages:
                yield folder, _measured(module, stage, folder, size)
            if given.folder is None:
                shutil.rmtree(folder)


def exponent(before: Took, after: Took) -> float:
    """With which seconds grow with the size: 1 is linear."""
    return math.log(after.seconds / before.seconds) / math.log(after.size / before.size)


def print_took(call: Callable[[], object]) -> None:
    """Run a stage in this process, and print what it took as JSON."""
    before = _resident("VmRSS")
    began = time.process_time()
    call()
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "peak": _resident("VmHWM"), "before": before}))


def _measured(module: str, stage: str, folder: Path, size: int) -> Took:
    """Throw away what a stage made before, and run it."""
    for path in (path for pattern in MADE.get(stage, ()) for path in folder.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = _child(
        f"from {module} import prepared; from benchmarks.stages import print_took; "
        f"print_took(prepared({stage!r}, {str(folder)!r}))"
    )
    return Took(size, stage, **json.loads(said.splitlines()[-1]))


def _child(code: str) -> str:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{code}: {done.stderr[-2000:]}")
    return done.stdout


def _resident(field: str) -> int:
    """Bytes that Linux reports of this process; ru_maxrss would count the parent's, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) << 10
