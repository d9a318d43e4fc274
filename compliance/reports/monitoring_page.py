"""What the log of a watched model shows, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import jinja2
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.records.chart import Chart
from compliance.records.monitoring_report import (
    Drift,
    MonitoringReport,
    Rate,
    ReviewedCell,
    WatchedCell,
)
from compliance.records.page import (
    Entry,
    Fact,
    Fragment,
    RowGroup,
    Sentence,
    Table,
    TableRow,
    printable,
)
from compliance.reports.charts.drawing import round_ticks, step_for
from compliance.reports.charts.forest import Mark, Row, forest
from compliance.reports.context import anchor
from compliance.reports.messages import load_messages
from compliance.reports.numbers import write_percent
from compliance.reports.render import GENERATOR, page_policy, page_style, templates

LEFT = 130.0
COLUMNS = ("Sequences", "Different inputs", "Alerts", "Share of alerts", "Cut-off")
DRIFT_COLUMNS = (
    "Calibration items", "Distance", "Where", "Traffic at or below", "Calibration at or below",
    "p", "p adjusted", "Reading",
)  # fmt: skip
NOTE = (
    "Share of sequences above the locked cut-off, with its interval. Dashed: what cut-offs were "
    "set to let alarm of harmless items, at most. Traffic is not labelled: an alert may be right."
)


def render_monitoring_page(found: MonitoringReport) -> str:
    """The page; its style is that of the evidence report.

    Raises:
        ReportError: The template does not fit the record.
    """
    words = load_messages("en").ui
    css = page_style(words)
    try:
        return (
            templates()
            .get_template("monitoring/monitoring.html.j2")
            .render(
                found=found,
                w=SimpleNamespace(**words),
                paper=False,
                css=Markup(css),
                policy=page_policy(css),
                generator=GENERATOR,
                pack_id=printable(found.pack_id),
                damage=[printable(one) for one in found.damage],
                gaps=[printable(one) for one in found.gaps],
                facts=_facts(found),
                reasons=_reasons(found),
                chains=_chains(found),
                groups=[_group(found, model, concept) for model, concept in _groups(found)],
                reviewed=None if found.reviewed is None else _reviewed(found.reviewed),
            )
        )
    except (jinja2.TemplateError, KeyError) as problem:
        raise ReportError(f"page of a monitor's report: {problem}") from problem


def _facts(found: MonitoringReport) -> list[Fact]:
    span = f"{found.since} to {found.until}" if found.since else "no sequence was seen"
    models = [
        Fact(
            label="Model, not the one that the pack measured" if one.another else "Model",
            value=f"{one.model}, {one.sequences:,} sequences",
            code=True,
            missing=one.another,
        )
        for one in found.models
    ]
    others = [
        Fact(label="Another pack, not counted", value=f"{one.pack}, {one.sequences:,} sequences",
             code=True, missing=True)
        for one in found.other_packs
    ]  # fmt: skip
    counts = (
        ("Sequences that came to their end", found.sequences, False),
        ("Undeclared sequences", found.undeclared, True),
        ("Sequences in no language of the pack", found.without_language, True),
        ("Requests without an end", found.unfinished, True),
        ("Sequences that the sensor could not read", found.failures, True),
        ("Events not written", found.dropped, True),
        ("Scores that contradict the lock, not counted", found.contradictions, True),
        ("Changes of the clock", found.clock_changes, True),
    )
    return [
        Fact(label="Time, UTC", value=span, missing=not found.since),
        Fact(label="Root digest of the pack", value=found.pack, code=True),
        *models,
        *others,
        *(
            Fact(label=label, value=f"{count:,}", missing=wrong and count > 0)
            for label, count, wrong in counts
        ),
    ]


def _reasons(found: MonitoringReport) -> Table:
    kinds = (
        ("The sensor could not read a sequence", found.failed_for),
        ("No cut-off was applied to a score", found.without_cut_off),
    )
    groups = [
        RowGroup(
            heading=heading,
            rows=tuple(_row(one.reason, f"{one.count:,}") for one in reasons),
        )
        for heading, reasons in kinds
        if reasons
    ]
    return Table(
        caption="What was not read, and why", corner="Reason", columns=("Times",),
        groups=tuple(groups), absent="Everything was read, and each score had its cut-off.",
    )  # fmt: skip


def _chains(found: MonitoringReport) -> Table:
    rows = tuple(
        _row(
            f"{one.log}, {one.chain}",
            f"{one.first:,} to {one.last:,}",
            "damaged, not counted" if one.damaged else "closed" if one.closed else "not closed",
            one.head,
        )
        for one in found.chains
    )
    return Table(
        caption="Chains of events", corner="Log and chain", columns=("Events", "State", "Head"),
        groups=(RowGroup(rows=rows),), absent="There is no chain.",
    )  # fmt: skip


def _groups(found: MonitoringReport) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.model, cell.concept) for cell in found.cells))


def _group(found: MonitoringReport, model: str, concept: str) -> dict[str, object]:
    """What is shown of one concept as one model was seen."""
    cells = [cell for cell in found.cells if (cell.model, cell.concept) == (model, concept)]
    place = len({cell.model for cell in found.cells}) > 1
    title = f"{concept}, model {model}" if place else concept
    return {
        "anchor": anchor("concept", f"{concept}-{model}" if place else concept),
        "title": title,
        "chart": _chart(found, cells, title),
        "alerts": _table(f"Alerts: {title}", COLUMNS, [(c.language, _alerts(c)) for c in cells]),
        "drift": _table(f"Drift: {title}", DRIFT_COLUMNS, [(c.language, _drift(c)) for c in cells]),
    }


def _chart(found: MonitoringReport, cells: Sequence[WatchedCell], title: str) -> Chart:
    top = 1.1 * max([found.alpha, *(cell.alerts.high for cell in cells if cell.alerts)])
    step = step_for(top, 5)
    ticks = [t for t in round_ticks(0.0, top + step, 6) if t - step < top and t <= 1.0]
    if ticks[-1] < min(top, 1.0):
        ticks.append(1.0)
    heading = f"Share of alerts: {title}"
    mark = Mark(found.alpha, f"set for {write_percent(found.alpha)}", "target")
    return forest(
        [_forest_row(cell) for cell in cells], [mark], ticks, left=LEFT, write=write_percent,
        anchor=anchor("alerts", title), title=heading,
        description=" ".join(f"{cell.language}: {_said(cell)}." for cell in cells),
        note=NOTE,
        table=_table(f"Data of {heading}", COLUMNS, [(c.language, _alerts(c)) for c in cells]),
    )  # fmt: skip


def _forest_row(cell: WatchedCell) -> Row:
    words = Sentence(fragments=(Fragment(text=_said(cell)),))
    if cell.alerts is None:
        return Row(cell.language, words)
    return Row(cell.language, words, cell.alerts.value, cell.alerts.low, cell.alerts.high)


def _said(cell: WatchedCell) -> str:
    return (cell.reason or "none") if cell.alerts is None else _share(cell.alerts)


def _alerts(cell: WatchedCell) -> list[str | None]:
    cut_off = None if cell.cut_off is None else f"{cell.cut_off:.6g}"
    if cell.alerts is None:
        return ["0", None, None, cell.reason, cut_off]
    found = cell.alerts
    inputs, successes = f"{cell.inputs:,}", f"{found.successes:,}"
    return [f"{found.n:,}", inputs, successes, _share(found), cut_off]


def _drift(cell: WatchedCell) -> list[str | None]:
    if cell.drift is None:
        return [None, None, None, None, None, None, None, f"not tested: {cell.reason}"]
    drift: Drift = cell.drift
    return [
        f"{drift.calibration:,}",
        f"{drift.distance:.3f}",
        f"{drift.at:.6g}",
        f"{drift.below_traffic:.1%}",
        f"{drift.below_calibration:.1%}",
        f"{_p(drift.p)} ({drift.method})",
        _p(drift.p_holm),
        "differs from calibration" if drift.differs else "no difference shown",
    ]


def _reviewed(cells: Sequence[ReviewedCell]) -> Table:
    columns = ("True", "False", "Unsure", "Open", "Share of true alerts among those decided")
    rows = [
        (
            f"{cell.concept}, {cell.language}",
            [
                *(f"{n:,}" for n in (cell.true_alerts, cell.false_alerts, cell.unsure, cell.open)),
                "none was decided" if cell.precision is None else _share(cell.precision),
            ],
        )
        for cell in cells
    ]
    return _table("What reviewers decided about alerts", columns, rows, corner="Concept, language")


def _table(
    caption: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str | None]]],
    *, corner: str = "Language",
) -> Table:  # fmt: skip
    found = tuple(_row(title, *entries) for title, entries in rows)
    return Table(
        caption=caption, corner=corner, columns=tuple(columns),
        groups=(RowGroup(rows=found),) if found else (), absent="Nothing was found.",
    )  # fmt: skip


def _row(title: str, *entries: str | None) -> TableRow:
    return TableRow(title=title, entries=tuple(Entry(text=text) for text in entries))


def _share(rate: Rate) -> str:
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.00005 else f"{p:.4f}"
