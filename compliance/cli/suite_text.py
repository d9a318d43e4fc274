"""A suite's report as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compliance.records.suite_report import (
        Area,
        CellReport,
        CellSize,
        PictureReport,
        Rule,
        SuiteOverview,
        SuiteReport,
    )


def overview(suite: SuiteOverview) -> Iterator[str]:
    """A suite's name and sizes."""
    yield f"{suite.name} {suite.version}: {suite.title} ({suite.licence})"
    yield f"{suite.items:,} items in {suite.groups:,} groups"
    yield ""
    yield from _sizes(suite)


def whole(report: SuiteReport) -> Iterator[str]:
    """Sizes, shortcuts, every limit, and what was not looked at."""
    yield from overview(report)
    yield ""
    yield "What besides meaning tells positives from hard negatives (AUROC, 0.5 is nothing)"
    yield from _table(
        [_shortcut_titles(report), *(_shortcuts(cell, _units(report)) for cell in report.cells)]
    )
    yield ""
    yield from _rule_lines(report.rules)
    yield ""
    if report.pictures:
        yield from _picture_lines(report.pictures)
        yield ""
    yield report.weakest
    reviewed = sum(origins.reviewed for origins in report.origins)
    yield f"Reviewed by a person: {reviewed:,} of {report.items:,} items."
    for sentence in report.not_measured:
        yield f"Not looked at: {sentence}"


def _sizes(suite: SuiteOverview) -> Iterator[str]:
    titles = ("concept", "language", "form", "groups", "positive", "hard", "confirm",
              "least sensitivity", "least AUROC", "attainable", "chance")  # fmt: skip
    yield "Sizes, and what each cell can show with them at the default claims"
    yield from _table([titles, *map(_size, (*suite.cells, *suite.picture_cells))])
    yield (
        'least: shown to exceed 0.5 with 80 % power; attainable: "supported", by the best outcome '
        "there can be; chance: of it, for a probe of sensitivity 0.9"
    )
    for benign in suite.benign:
        formats = ", ".join(f"{name} {n}" for name, n in sorted(benign.formats.items()))
        pictures = f"; pictures: {benign.pictures}" if benign.pictures else ""
        yield (
            f"benign, {benign.language}: {benign.items} ({formats}){pictures}; "
            f"neutral: {benign.neutral}"
        )


def _size(cell: CellSize) -> Sequence[str]:
    power = cell.power
    return (
        cell.concept, cell.language, _form(cell), str(cell.groups), str(cell.positives),
        str(cell.hard_negatives), str(power.confirm_groups), _number(power.sensitivity),
        _number(power.auroc), "yes" if power.attainable else "no", f"{power.supported:.0%}",
    )  # fmt: skip


def _form(cell: CellSize) -> str:
    return "text" if cell.modality == "text" else f"{cell.modality}, {cell.rendering}"


def _picture_lines(pictures: PictureReport) -> Iterator[str]:
    yield f"Pictures: {pictures.files:,} different ones in {pictures.items:,} items"
    for path in pictures.changed:
        yield f"NOT THE PICTURE THAT ITS ITEM NAMES {path}"
    for found in pictures.shared:
        yield f"ONE PICTURE, POSITIVE AND HARD NEGATIVE {found}"


def _shortcut_titles(report: SuiteReport) -> Sequence[str]:
    units = _units(report)
    return ("concept", "language", "words", "length ratio", *units, "n-grams", "whole item")


def _units(report: SuiteReport) -> list[str]:
    """Units of length, of cells that are large enough for one."""
    return list(dict.fromkeys(unit for cell in report.cells for unit in cell.length))


def _shortcuts(cell: CellReport, units: Sequence[str]) -> Sequence[str]:
    ratio = "-" if cell.pair_length is None else f"{cell.pair_length[1]:.2f}"
    areas = (*map(cell.length.get, units), cell.ngrams, cell.ngrams_whole)
    return (
        cell.concept,
        cell.language,
        f"{cell.words[1]:.0f}" if cell.words else "-",
        ratio,
        *map(_area, areas),
    )


def _rule_lines(rules: Sequence[Rule]) -> Iterator[str]:
    held = sum(rule.passed for rule in rules)
    yield f"Limits: {held} of {len(rules)} hold"
    names = list(dict.fromkeys(rule.name for rule in rules))
    rows = []
    for name in names:
        mine = [rule for rule in rules if rule.name == name]
        worst = max(mine, key=lambda rule: rule.found)
        good = sum(rule.passed for rule in mine)
        rows.append((name, f"at most {worst.limit:g}", f"worst {worst.found:.3g}", worst.where,
                     f"{good} of {len(mine)} hold"))  # fmt: skip
    yield from _table(rows)
    for rule in rules:
        if not rule.passed:
            yield f"BEYOND ITS LIMIT {rule.name}, {rule.where}: {rule.found:.3g} of {rule.n}"
            yield from (f"    {example}" for example in rule.examples)


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


def _area(area: Area | None) -> str:
    return "-" if area is None else f"{area.value:.2f} ({area.low:.2f}-{area.high:.2f})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
