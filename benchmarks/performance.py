"""Writes docs/performance.md of what benchmarks found: ``benchmarks/results/*.json``.

    python -m benchmarks.performance

The page is a function of these files and of nothing else; each names its machine, its day and the
command that makes it again. A benchmark without a file has no section.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.results import Results, Table, Value, read_results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"

TITLES = {
    "probing": "Beside SAELens",
    "modes": "bf16 and GPUs",
    "scale": "From 10,000 items on",
    "wide": "Wide SAEs",
    "ray_engine": "Several machines: Ray",
    "cost": "What a billion tokens cost",
    "verify": "Verification",
    "starting": "Starting",
}
"""Headings of the benchmarks, in the order of the page; another one comes last, by its name."""

HEAD = """\
<!-- Written by `python -m benchmarks.performance`; do not edit. -->
# Performance

Measured by the commands below, each on the machine named beside it. Ratios are what to compare:
seconds belong to one machine. Where an aim is missed, it stands beside the numbers that miss it.

To make this page again: run the commands, then `python -m benchmarks.performance`.
"""


def page(results: Sequence[Results]) -> str:
    """The page as Markdown.

    Args:
        results: Of one benchmark each, or of several machines; in any order.
    """
    order = {name: place for place, name in enumerate(TITLES)}
    ranked = sorted(
        results, key=lambda r: (order.get(r.benchmark, len(order)), r.benchmark, r.command)
    )
    return "\n".join([HEAD, *(part for found in ranked for part in _section(found))])


def _section(found: Results) -> Iterator[str]:
    machine = ", ".join(_fact(name, value) for name, value in found.machine.items())
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    heading = TITLES.get(found.benchmark, found.benchmark.capitalize())
    yield f"## {heading}\n"
    yield f"```sh\n{found.command}\n```\n"
    yield f"{found.date}; {machine}; {packages}.\n"
    for table in found.tables:
        if table.title != heading:
            yield f"### {table.title}\n"
        yield from _table(table)


def _fact(name: str, value: Value) -> str:
    match name:
        case "cores":
            return f"{value} cores"
        case "memory (GB)":
            return f"{value} GB"
        case "processor" | "system":
            return str(value)
        case _:
            return f"{name} {value}"


def _table(table: Table) -> Iterator[str]:
    yield f"{table.note}\n"
    numbers = [_is_numeric(column) for column in zip(*table.rows, strict=True)]
    yield _line(table.columns)
    yield _line(["--:" if number else "---" for number in numbers] or ["---"] * len(table.columns))
    yield from (_line(map(_cell, row)) for row in table.rows)
    yield ""


def _is_numeric(column: Sequence[Value]) -> bool:
    return any(isinstance(cell, int | float) for cell in column) and not any(
        isinstance(cell, str) for cell in column
    )


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,}"
        case _:
            return value.replace("|", "\\|")


def stored(folder: Path = RESULTS) -> list[Results]:
    """Every result of a folder."""
    return [read_results(path) for path in sorted(folder.glob("*.json"))]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(stored()), encoding="utf-8")


if __name__ == "__main__":
    main()
