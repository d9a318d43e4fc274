"""What the log of a watched model shows, as lines for a person: what is wrong stands first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compliance.records.monitoring_report import (
    Drift,
    Labels,
    MonitoringReport,
    Rate,
    ReviewedCell,
    WatchedCell,
)
from compliance.records.page import printable


def report_lines(found: MonitoringReport) -> Iterator[str]:
    """Damage, what was seen, what is missing, each cell, and what cannot be shown."""
    yield from (printable(line).replace("\n", " ") for line in _report(found))


def _report(found: MonitoringReport) -> Iterator[str]:
    yield from (f"damaged: {one}" for one in found.damage)
    if damaged := [chain for chain in found.chains if chain.damaged]:
        yield f"none of the events of {_several(len(damaged), 'damaged chain')} is counted"
    yield f"pack {found.pack_id}, root {found.pack}"
    yield (
        f"{_several(found.sequences, 'sequence')} from {found.since} to {found.until}"
        if found.since
        else "no sequence was seen"
    )
    for model in found.models:
        said = "another model than the pack measured" if model.another else "as the pack measured"
        yield f"model {model.model}: {_several(model.sequences, 'sequence')}, {said}"
    for other in found.other_packs:
        yield f"not counted: {_several(other.sequences, 'sequence')} of pack {other.pack}"
    yield from _wrong(found)
    yield ""
    yield (
        f"cut-offs were set to let at most {found.alpha:g} of harmless items alarm; intervals of "
        f"{found.level:.0%} (Wilson); p of drift (Kolmogorov-Smirnov) adjusted by Holm over "
        f"{_several(found.tests, 'cell')}, held against {found.family_error:g}"
    )
    several = len({cell.model for cell in found.cells}) > 1
    for cell in found.cells:
        yield from _cell(cell, several)
    yield from _reviewed(found.reviewed)
    yield ""
    yield from (f"not shown: {sentence}" for sentence in found.cannot_show)


def _wrong(found: MonitoringReport) -> Iterator[str]:
    yield from (f"gap: {gap}" for gap in found.gaps)
    counts = (
        (found.dropped, "event", "not written"),
        (found.failures, "sequence", "that the sensor could not read"),
        (found.unfinished, "request", "without an end"),
        (found.undeclared, "sequence", "undeclared"),
        (found.without_language, "sequence", "in no language of the pack"),
        (found.contradictions, "score", "that contradict the lock, not counted"),
        (found.clock_changes, "change", "of the clock"),
    )
    yield ", ".join(f"{_several(count, what)} {which}" for count, what, which in counts)
    yield from (f"sensor: {one.count:,} times: {one.reason}" for one in found.failed_for)
    yield from (f"no cut-off: {one.count:,} times: {one.reason}" for one in found.without_cut_off)


def _cell(cell: WatchedCell, several: bool) -> Iterator[str]:
    name = f"{cell.concept}/{cell.language}"
    yield f"{name} (model {cell.model})" if several else name
    if cell.alerts is not None:
        yield (
            f"  alerts {_rate(cell.alerts)}; {_several(cell.inputs, 'different input')}, "
            f"cut-off {cell.cut_off:.6g}"
        )
    if cell.drift is not None:
        yield f"  drift {_drift(cell.drift)}"
    if cell.reason is not None:
        yield f"  {cell.reason}"


def _drift(drift: Drift) -> str:
    return (
        f"{drift.distance:.3f}: {'differs from' if drift.differs else 'no difference shown from'} "
        f"{_several(drift.calibration, 'calibration item')}, p {_p(drift.p_holm)} "
        f"({_p(drift.p)} unadjusted, {drift.method}); {drift.below_traffic:.1%} of traffic and "
        f"{drift.below_calibration:.1%} of calibration at or below {drift.at:.6g}"
    )


def _reviewed(cells: Sequence[ReviewedCell] | None) -> Iterator[str]:
    for cell in cells or ():
        yield f"reviewed {cell.concept}/{cell.language}: {_decided(cell)}"
    if cells is not None and not cells:
        yield "reviewed: no alert of this pack"


def _decided(cell: ReviewedCell) -> str:
    counts = (
        f"{cell.true_alerts:,} true, {cell.false_alerts:,} false, {cell.unsure:,} unsure, "
        f"{cell.open:,} open"
    )
    return counts if cell.precision is None else f"{counts}; true {_rate(cell.precision)}"


def label_lines(found: Labels) -> Iterator[str]:
    """Rows that give no item, with the reason; then what was made and decided."""
    for one in found.unused:
        yield f"row {one.row} ({one.request}, {one.concept}) not used: {one.reason}"
    yield from _reviewed(found.reviewed)
    yield (
        f"{_several(found.items, 'benign item')} in suite {found.suite}"
        if found.suite
        else "no row gives an item; no suite was written"
    )


def _rate(rate: Rate) -> str:
    return f"{rate.successes:,} of {rate.n:,}, {rate.value:.4f} ({rate.low:.4f} to {rate.high:.4f})"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.00005 else f"{p:.4f}"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
