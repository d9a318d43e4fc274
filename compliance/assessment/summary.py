"""The findings of an audit in a few sentences, for a reader at a terminal."""

from collections import Counter
from collections.abc import Sequence

from compliance.assessment.verdicts import verdict_counts
from compliance.records.finding import Finding, Status


def explain(findings: Sequence[Finding]) -> list[str]:
    """How many cells got which verdict, and what stood in the way most often."""
    counts = verdict_counts(findings)
    shown = ", ".join(f"{n} {verdict.value}" for verdict, n in counts.items() if n)
    lines = [f"{len(findings)} cells: {shown}."]
    for status, words in (
        (Status.VIOLATED, "an interval lies wholly beyond the limit"),
        (Status.NOT_MEASURED, "not measured, and nothing is supported without it"),
        (Status.NOT_SHOWN, "too uncertain to show either way"),
    ):
        cells = Counter(c.condition for f in findings for c in f.conditions if c.status is status)
        if cells:
            named = ", ".join(f"{name} ({n})" for name, n in cells.most_common())
            lines.append(f"{words}: {named}.")
    return lines
