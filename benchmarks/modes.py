"""What another number format moves, on the tiny audit of the tests: docs/reference/modes.md.

    python -m benchmarks.modes
    python -m benchmarks.modes --dtypes bfloat16

runs the audit of `tests.tiny_audit` up to its assessment in each number format on the CPU, and
prints the results about the difference from the reference mode as a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from compliance import workflow
from compliance.records.evidence import Evidence
from tests.tiny_audit import write_audit

DTYPES = ("bfloat16", "float16")
NUMBERS = ("largest", "median", "flips", "firings", "activation")
HEAD = ("mode", "cell", "largest", "median", "alarms", "firings", "activations")


def evidence_in(dtype: str, folder: Path) -> Evidence:
    """The assessment of a tiny audit in a number format."""
    subject = {"model": "./model", "saes": [{"path": "./sae"}], "dtype": dtype}
    audit = write_audit(folder / dtype, subject=subject)
    workflow.plan(audit)
    workflow.observe(audit)
    workflow.lock(audit)
    workflow.observe(audit)
    return workflow.assess(audit)


def rows(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """A row for each cell and one for all items together."""
    found = {result.id: result for result in evidence.results}
    mode = f"{evidence.plan.model.dtype} on {evidence.environment.device}"
    for key, name in (*((c.key, c.key) for c in evidence.plan.cells), ("audit", "all")):
        if f"{key}/precision-largest" not in found:
            continue
        largest, median, flips, firings, moved = (
            found[f"{key}/precision-{number}"] for number in NUMBERS
        )
        yield (
            mode, name, _number(largest.value), _number(median.value),
            f"{flips.successes} of {flips.n}", f"{firings.successes:,} of {firings.n:,}",
            _number(moved.value),
        )  # fmt: skip


def table(found: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as Markdown."""
    for row in (HEAD, tuple("---" for _ in HEAD), *found):
        yield "| " + " | ".join(row) + " |"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    asked = parser.parse_args().dtypes
    with tempfile.TemporaryDirectory() as folder:
        found = [row for dtype in asked for row in rows(evidence_in(dtype, Path(folder)))]
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
