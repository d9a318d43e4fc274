"""How long the command line takes to start, against a click program that does nothing.

    python -m benchmarks.starting --out benchmarks/results/starting.json

Every command runs in a process of its own, through the script that pip made. Rounds are
interleaved, so that a machine that slows down slows all of them; medians are compared.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.results import Table, write_results

EMPTY = '''import click


@click.group()
def main():
    """Do nothing."""


main()
'''

COMMANDS = (
    ("--help",),
    ("--version",),
    ("verify", "--help"),
    ("audit", "--help"),
    ("law", "13(3)(b)(ii)"),
)
"""The last one does work: it reads the catalog, and nothing was promised of it."""

NOTE = """Starting a command against `--help` of a click program with one empty group, by the same
interpreter. Medians of {rounds} interleaved runs, each in a process of its own, whose files the
system had read before. `law` reads the catalog of the law; the others only explain themselves.
The aim is a ratio of at most 1.5 for what only explains itself."""


def main() -> None:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    args = parser.parse_args()
    table = measure(args.rounds)
    for row in (table.columns, *table.rows):
        print("  ".join(map(str, row)))
    if args.out:
        write_results(args.out, "starting", [table])


def measure(rounds: int) -> Table:
    """Wall and CPU time of each command, and both against the empty program."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.py")
        empty.write_text(EMPTY, encoding="utf-8")
        script = Path(sys.executable).with_name("compliance")
        programs = {"an empty click program": [str(empty), "--help"]}
        for words in COMMANDS:
            programs[f"compliance {' '.join(words)}"] = [str(script), *words]
        runs = [{name: timed(words) for name, words in programs.items()} for _ in range(rounds + 1)]
    took = {
        name: tuple(median(run[name][part] for run in runs[1:]) for part in (0, 1))
        for name in programs
    }
    wall_empty, cpu_empty = next(iter(took.values()))
    rows = tuple(
        (f"`{name}`" if name.startswith("compliance") else name, round(1000 * wall),
         round(1000 * cpu), round(wall / wall_empty, 2), round(cpu / cpu_empty, 2))
        for name, (wall, cpu) in took.items()
    )  # fmt: skip
    columns = ("command", "wall, ms", "CPU, ms", "wall, ratio", "CPU, ratio")
    return Table("Starting", NOTE.format(rounds=rounds), columns, rows)


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of the CPU of one run."""
    before = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
