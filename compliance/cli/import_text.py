"""What an import did, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compliance.workflow import Imported, RecipeOverview

WITHOUT_CONCEPT = {"negative": "benign", "neutral": "text"}
"""What stands in the place of a concept."""


def recipe(found: RecipeOverview) -> Iterator[str]:
    """A recipe, and whether it was ever run on the real file."""
    yield f"{found.name}: {found.title}"
    yield f"  reads: {found.reads}"
    yield f"  licence: {found.licence}"
    yield f"  project: {found.project}"
    yield f"  {found.tried}"


def written(imported: Imported) -> Iterator[str]:
    """The suite that was written, with items by concept, label and language."""
    yield f"{imported.folder}: {imported.items:,} items in {imported.groups:,} groups"
    for (concept, label), languages in imported.counts.items():
        cells = ", ".join(f"{language} {n:,}" for language, n in languages.items())
        yield f"  {concept or WITHOUT_CONCEPT[label]} {label}: {cells}"
    yield f"next: compliance suites check {imported.folder}"


def refused(imported: Imported) -> Iterator[str]:
    """What did not become items and why: the first of them with their places, then counts."""
    from compliance.suites.importing.report import printable

    yield from imported.notes
    for example in imported.examples:
        column = f", column {example.column}" if example.column else ""
        yield printable(f"{example.file}, row {example.row}{column}: {example.reason}")
    yield from _counts("refused", imported.refused)
    yield from _counts("left out", imported.left_out)
    if imported.report:
        yield f"all of them: {imported.report}"
    if imported.trouble:
        yield f"Error: no suite was written: {imported.trouble}"


def _counts(what: str, counts: dict[str, int]) -> Iterator[str]:
    from compliance.suites.importing.report import printable

    if counts:
        yield f"{what}: {sum(counts.values()):,}"
    for kind, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        yield f"  {count:,}  {printable(kind)}"
