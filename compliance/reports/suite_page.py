"""The report on a test set as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.records.suite_report import Area, CellSize, SuiteReport
from compliance.reports.messages import load_messages
from compliance.reports.render import GENERATOR, page_policy, page_style, templates

MEANINGS = {
    "length": "Distance from 0.5 of the AUROC that length alone has",
    "pairs of unequal length": "Share of pairs of which one is much longer than the other",
    "n-grams": "AUROC of character n-grams of the words that are read",
    "n-grams, whole item": "AUROC of character n-grams of all turns",
    "templates": "Pairs of groups that are alike once rare words are masked",
    "near-copies": "Pairs of groups that share most of their words",
    "script": "Items whose letters are not of their language",
    "language": "Share of items that look like another language of the suite",
    "parallel": "Items that one of two languages lacks",
    "numbers": "Share of translations that lack a number of the original",
    "placeholders": "Share of translations whose placeholders or links differ",
    "format": "Translations with another format than the original",
    "stratum": "Translations with another stratum than the original",
    "choices": "Translations that lack the original's choices, or add some",
    "turns": "Translations whose speakers differ from the original's",
}
"""What each rule is about; ``length`` stands for every unit."""


def render_suite_page(report: SuiteReport) -> str:
    """The page; its style is that of the evidence report.

    Raises:
        ReportError: The template does not fit the report.
    """
    css = page_style(load_messages("en").ui)
    names = list(dict.fromkeys(rule.name for rule in report.rules))
    try:
        return (
            templates()
            .get_template("suite/suite.html.j2")
            .render(
                suite=report,
                css=Markup(css),
                policy=page_policy(css),
                generator=GENERATOR,
                held=sum(rule.passed for rule in report.rules),
                beyond=[rule for rule in report.rules if not rule.passed],
                by_name=[(n, [rule for rule in report.rules if rule.name == n]) for n in names],
                units=list(dict.fromkeys(unit for cell in report.cells for unit in cell.length)),
                meanings=MEANINGS,
                number=_number,
                area=_area,
                counts=_counts,
                form=_form,
            )
        )
    except jinja2.TemplateError as problem:
        raise ReportError(f"suite page: {problem}") from problem


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.3f}"


def _area(area: Area | None) -> str:
    return (
        "not measured" if area is None else f"{area.value:.2f} ({area.low:.2f} to {area.high:.2f})"
    )


def _form(cell: CellSize) -> str:
    return "text" if cell.modality == "text" else f"{cell.modality}, {cell.rendering}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items()))
