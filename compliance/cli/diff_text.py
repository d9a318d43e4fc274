"""A comparison of two packs as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from compliance.records.comparison import (
    Comparison,
    FieldChange,
    Gate,
    MeasureChange,
    PackDiff,
    Reading,
    VerdictChange,
    WhyNot,
)

PARTS = ("subject", "suites", "plan", "probes", "law")
REASONS = {
    WhyNot.NOT_PLANNED_BEFORE: "not planned before",
    WhyNot.NOT_PLANNED_NOW: "no longer planned",
    WhyNot.OTHER_CONCEPT: "the concept is defined in other words",
    WhyNot.OTHER_LABEL: "its features have another label",
    WhyNot.ABSENT_BEFORE: "no value before",
    WhyNot.ABSENT_NOW: "no value now",
    WhyNot.UNREADABLE: "observations of another format",
    WhyNot.OTHER_ITEMS: "the test sets share no item",
    WhyNot.FEW_GROUPS: "too few groups of items in both test sets",
}
LONGEST = 60
"""Characters of a value on a line."""


def diff_lines(found: PackDiff) -> Iterator[str]:
    """Everything that differs, part by part; what does not is said in one word."""
    yield from map(_plain, _diff(found))


def gate_lines(found: Gate) -> Iterator[str]:
    """Each violation on a line of its own, then what was not held, then the answer."""
    yield from map(_plain, _gate(found))


def _plain(line: str) -> str:
    """A line without control characters: packs are written by strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _diff(found: PackDiff) -> Iterator[str]:
    yield f"old  {found.old.pack_id}  {found.old.root_digest}"
    yield f"new  {found.new.pack_id}  {found.new.root_digest}"
    yield f"the new one {'names' if found.follows else 'does not name'} the old one as its parent"
    yield f"by the rules, after the old one: {found.decided.line}"
    comparison = found.comparison
    for part in PARTS:
        yield from _part(part, [_field(change) for change in getattr(comparison, part)])
    yield from _part("declared", [f"{c.key}: {c.change}" for c in comparison.declared])
    yield from _part("verdicts", [_verdict(c) for c in comparison.verdicts if c.before != c.now])
    yield from _measures(comparison)


def _gate(found: Gate) -> Iterator[str]:
    for violation in found.violations:
        yield f"worse: {violation.cell} {violation.measure}: {violation.message}"
    if found.not_held:
        yield f"not held against any tolerance: {', '.join(found.not_held)}"
    if found.ignored:
        yield f"not compared and let pass: {found.ignored} numbers, new or declared as ignored"
    answer = {
        True: "not worse than tolerated",
        False: f"worse than tolerated: {len(found.violations)} violations",
        None: "could not tell: nothing could be compared",
    }[found.passed]
    yield f"{found.new.pack_id} against {found.old.pack_id}: {found.held} numbers held; {answer}"


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"{title}: the same" if not lines else f"{title}:"
    yield from (f"  {line}" for line in lines)


def _field(change: FieldChange) -> str:
    before, now = (_short(value) for value in (change.before, change.now))
    return f"{change.field}: {before} -> {now}"


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."


def _verdict(change: VerdictChange) -> str:
    return f"{change.cell.key}: {change.before or 'not planned'} -> {change.now or 'not planned'}"


def _measures(comparison: Comparison) -> Iterator[str]:
    readings = [change.reading for change in comparison.measures]
    counts = ", ".join(
        f"{readings.count(reading)} {reading.value.replace('-', ' ')}" for reading in Reading
    )
    yield ""
    yield f"numbers on the items of both: {counts}"
    yield (
        f"  each at its own locked cut-off; intervals {comparison.level:.0%}; p adjusted by Holm "
        f"over the cells of a measure, shown below {comparison.family_error:g}"
    )
    for measure in dict.fromkeys(change.measure for change in comparison.measures):
        yield f"  {measure}"
        mine = [change for change in comparison.measures if change.measure == measure]
        width = max(len(change.cell.key) for change in mine)
        yield from (f"    {change.cell.key:<{width}}  {_measure(change)}" for change in mine)
    yield from _said(comparison.measures)


def _measure(change: MeasureChange) -> str:
    if change.difference is None:
        return f"not comparable: {REASONS[change.reason]}"
    return (
        f"{change.before:.4f} -> {change.now:.4f}  {change.difference:+.4f} "
        f"({change.low:+.4f} to {change.high:+.4f})  p {_p(change.p_holm)}  "
        f"{change.reading.value.replace('-', ' ')}  [{_items(change)}]"
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def _items(change: MeasureChange) -> str:
    groups = f"{change.groups} groups"
    if change.items_shared == change.items_before == change.items_now:
        return f"{change.items_shared} items, {groups}"
    return (
        f"{change.items_shared} shared of {change.items_before} before and {change.items_now} now, "
        f"{groups}"
    )


def _said(measures: Iterable[MeasureChange]) -> Iterator[str]:
    compared = [change for change in measures if change.difference is not None]
    if any(change.items_changed for change in compared):
        yield "  items of one id and other contents were left out"
    if any(change.items_unchecked for change in compared):
        yield "  contents of some items are withheld in one pack, so that they were not compared"
