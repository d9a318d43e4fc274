"""What a benchmark found, as a small JSON file that a page is made from.

    from benchmarks.results import Table, write_results

    table = Table("Seconds", "CPU seconds.", ("items", "s"), ((10_000, 1.5), (100_000, 15.2)))
    write_results(Path("benchmarks/results/scale.json"), "scale", [table])

``benchmarks.performance`` makes docs/performance.md of the files of ``benchmarks/results``. A file
names the machine by what numbers depend on, and holds no host name, path or person.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch", "transformers", "sae-lens", "transformer-lens", "numpy", "pandas", "pyarrow", "ray",
)  # fmt: skip

Value = str | int | float | bool | None
"""A cell. Numbers are rounded by the benchmark, which knows how many digits mean something."""


@dataclass(frozen=True)
class Table:
    """Some numbers that are read together."""

    title: str

    note: str
    """What the numbers mean and how they were taken, in Markdown; paragraphs apart by an empty
    line."""

    columns: tuple[str, ...]

    rows: tuple[tuple[Value, ...], ...]

    def __post_init__(self) -> None:
        """Refuse rows of another width.

        Raises:
            ValueError: A row has more or fewer cells than there are columns.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: row {row} has {len(row)} cells, "
                                 f"expected {len(self.columns)}")  # fmt: skip


@dataclass(frozen=True)
class Results:
    """One run of one benchmark."""

    benchmark: str
    """Its module in ``benchmarks``: ``probing``."""

    date: str
    """Day in UTC on which it ended: ``2026-11-23``."""

    command: str
    """How to run it again, from the root of the repository."""

    machine: dict[str, Value]
    packages: dict[str, str]
    tables: tuple[Table, ...]


def write_results(
    path: Path,
    name: str,
    tables: Sequence[Table],
    *,
    command: str | None = None,
    machine: dict[str, Value] | None = None,
) -> None:
    """Write what a benchmark found on this machine today.

    Args:
        path: JSON file to write; its folder is made.
        name: The benchmark's module in ``benchmarks``.
        tables: In the order in which they are to be read.
        command: How to run it again; without it ``python -m benchmarks.<name> --out <file>``.
        machine: More about the machine, such as ``{"GPU": "NVIDIA H100"}``.
    """
    results = Results(
        benchmark=name,
        date=datetime.now(UTC).date().isoformat(),
        command=command or f"python -m benchmarks.{name} --out benchmarks/results/{path.name}",
        machine=machine_facts() | (machine or {}),
        packages=package_versions(),
        tables=tuple(tables),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(results), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Read what ``write_results`` wrote.

    Raises:
        ValueError: It is no such file.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        tables = tuple(
            Table(table["title"], table["note"], tuple(table["columns"]),
                  tuple(tuple(row) for row in table["rows"]))
            for table in stored.pop("tables")
        )  # fmt: skip
        return Results(**stored, tables=tables)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: no results of a benchmark: {error!r}") from error


def machine_facts() -> dict[str, Value]:
    """What numbers depend on: processor, cores that may be used, memory, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": cores,
        "memory (GB)": round(memory / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
