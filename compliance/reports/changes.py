"""The chapter on changes: this pack beside the one before it of the same system.

    changes(ctx, Earlier(version="1.0.0", pack_id="demo-1.0.0", root_digest=..., evidence=...))

What differs is listed, and said where nothing does. Numbers of the earlier pack, and those of a
comparison, are printed as words beside this pack's own, since one address belongs to one number of
one pack. Nothing is computed here: differences and their tests come with a `Comparison`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from compliance.catalog import answer, display
from compliance.records.audit import SystemFacts
from compliance.records.base import digest_bytes, to_json
from compliance.records.comparison import Comparison, MeasureChange, Reading
from compliance.records.earlier import DeclaredChange
from compliance.records.evidence import Evidence
from compliance.records.finding import Verdict
from compliance.records.plan import Cell, Plan
from compliance.records.report import (
    ChangesSection,
    Entry,
    Fact,
    RowGroup,
    Section,
    Table,
    TableRow,
)
from compliance.records.suite import SuiteFacts
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.law import provision_anchor
from compliance.reports.locked import describe_features, locked_probe
from compliance.reports.numbers import Numbers, write, write_count, write_interval, write_p
from compliance.reports.tables import plain
from compliance.reports.trail import shortened

MAIN = ("auroc-hard", "sensitivity", "fpr-benign", "fpr-hard")
"""Numbers that are set side by side."""

OF_THE_SUBJECT = ("model", "saes", "suites")
"""Keys of the plan that have a part of their own."""

LONGEST = 120
"""Characters of a value that is printed whole; of a longer one its digest."""

Sides = Sequence[tuple[str, str | None, str | None]]
"""Label, before and now of each thing compared; None where it is absent."""


@dataclass(frozen=True)
class Earlier:
    """The pack before this one, of the same system."""

    version: str
    pack_id: str
    root_digest: str
    evidence: Evidence
    declared: Mapping[str, DeclaredChange] = field(default_factory=dict)
    """See `declared_changes`: the words of the earlier pack itself are not at hand."""

    comparison: Comparison | None = None
    """Tests of the main numbers on the items of both packs. None: none were made."""


def changes(ctx: Context, earlier: Earlier | None) -> ChangesSection:
    """What differs between this evidence and the pack before it.

    Args:
        ctx: Evidence, law and words.
        earlier: The pack before. None: this is the first one, which is said.
    """
    words = ctx.words.changes
    if earlier is None:
        return ChangesSection(intro=(words["first"],), earlier=(), parts=())
    before, tested = earlier.evidence, earlier.comparison
    about_tests = words["no_test"] if tested is None else words["tested"]
    return ChangesSection(
        intro=(words["intro"], about_tests, words["judgement"]),
        earlier=(
            Fact(label=words["version"], value=earlier.version),
            Fact(label=words["pack"], value=earlier.pack_id),
            Fact(label=words["root"], value=earlier.root_digest, code=True),
        ),
        parts=(
            *(_compared(ctx, key, sides(ctx, before)) for key, sides in _COMPARED.items()),
            _declared(ctx, earlier.declared),
            _verdicts(ctx, before),
            _numbers(ctx, before),
            *(() if tested is None else (_tests(ctx, tested),)),
        ),
    )


def _compared(ctx: Context, key: str, sides: Sides) -> Section:
    """A part that lists what differs, with before and now."""
    words = ctx.words.changes
    rows = tuple(
        TableRow(title=label, entries=(_entry(ctx, before), _entry(ctx, now)))
        for label, before, now in sides
        if before != now
    )
    return _part(ctx, key, (words["before"], words["now"]), [RowGroup(rows=rows)])


def _entry(ctx: Context, value: str | None) -> Entry:
    return Entry(text=ctx.words.changes["absent"] if value is None else value)


def _part(
    ctx: Context, key: str, columns: Sequence[str], groups: Sequence[RowGroup], said: str = ""
) -> Section:
    """A table, or in a sentence that there is nothing to list."""
    words = ctx.words.changes
    none = words[f"{key}_none"]
    found = tuple(group for group in groups if group.rows)
    table = Table(
        caption=words[f"{key}_caption"],
        corner=words["what"],
        columns=tuple(columns),
        groups=found,
        absent=none,
    )
    return Section(
        anchor=anchor("changes", key),
        title=words[key],
        intro=plain(said or ("" if found else none)),
        tables=(table,) if found else (),
    )


def _subject(ctx: Context, earlier: Evidence) -> Sides:
    words, labels = ctx.words.changes, ctx.words.facts
    before, now = earlier.plan.model, ctx.plan.model
    sides = [
        (words["system_title"], earlier.system.title, ctx.evidence.system.title),
        (words["system_version"], earlier.system.version, ctx.evidence.system.version),
        (labels["model"], before.name, now.name),
        (labels["revision"], before.revision, now.revision),
        (labels["weights"], before.weights_digest, now.weights_digest),
        (words["configuration"], before.config_digest, now.config_digest),
        (labels["tokenizer"], before.tokenizer_digest, now.tokenizer_digest),
        (labels["dtype"], before.dtype, now.dtype),
    ]
    saes = ({s.name: s.digest for s in one.plan.saes} for one in (earlier, ctx.evidence))
    return [*sides, *((f"{labels['sae']} {n}", b, a) for n, b, a in _paired(*saes))]


def _plan(ctx: Context, earlier: Evidence) -> Sides:
    before, now = (_keys(ctx, plan) for plan in (earlier.plan, ctx.plan))
    return list(_paired(before, now))


def _keys(ctx: Context, plan: Plan) -> dict[str, str]:
    """Every key of a plan as text: of a mapping each key, of anything long its digest."""
    found = {}
    for key, value in to_json(plan).items():
        if key in OF_THE_SUBJECT:
            continue
        inner = value if isinstance(value, dict) else {"": value}
        for name, part in inner.items():
            found[f"{key}.{name}" if name else key] = _written(ctx, part)
    return found


def _written(ctx: Context, value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= LONGEST:
        return text
    digest = shortened(digest_bytes(text.encode("utf-8")))
    if not isinstance(value, list):
        return digest
    return ctx.words.changes["count"].format(n=len(value), digest=digest)


def _probes(ctx: Context, earlier: Evidence) -> Sides:
    then = Context(earlier, ctx.catalog, ctx.words)
    return list(_paired(_features(then), _features(ctx)))


def _features(ctx: Context) -> dict[str, str]:
    """What stands for each concept, by the concept's title."""
    return {
        ctx.concept_title(probe.concept): describe_features(ctx, locked_probe(ctx, probe.concept))
        for probe in ctx.plan.probes
    }


def _suites(ctx: Context, earlier: Evidence) -> Sides:
    before, now = (
        {suite.name: _suite(ctx, suite) for suite in one.plan.suites}
        for one in (earlier, ctx.evidence)
    )
    return list(_paired(before, now))


def _suite(ctx: Context, suite: SuiteFacts) -> str:
    return ctx.words.changes["suite"].format(
        version=suite.version, items=write_count(suite.items), digest=shortened(suite.digest)
    )


def _law(ctx: Context, earlier: Evidence) -> Sides:
    words, labels = ctx.words.changes, ctx.words.facts
    before, now = earlier.law, ctx.evidence.law
    return (
        (words["instrument"], before.instrument, now.instrument),
        (words["compiled"], before.compiled, now.compiled),
        (labels["law_digest"], before.provisions_digest, now.provisions_digest),
        (labels["mapping_digest"], before.mapping_digest, now.mapping_digest),
    )


_COMPARED: dict[str, Callable[[Context, Evidence], Sides]] = {
    "subject": _subject,
    "plan": _plan,
    "probes": _probes,
    "suites": _suites,
    "law": _law,
}


def _paired(
    before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    for key in dict.fromkeys((*before, *now)):
        yield key, before.get(key), now.get(key)


def declared_changes(before: SystemFacts, now: SystemFacts) -> dict[str, DeclaredChange]:
    """By key, where what was declared in words differs; a blank text was not declared."""
    found: dict[str, DeclaredChange] = {}
    for key in sorted({*before.declared, *now.declared}):
        then, today = answer(before, key), answer(now, key)
        if then != today:
            found[key] = "added" if then is None else "removed" if today is None else "changed"
    return found


def _declared(ctx: Context, changes: Mapping[str, DeclaredChange]) -> Section:
    """Which declared facts differ. The words are the provider's, so they stand with the law."""
    words = ctx.words.changes
    rows = [
        TableRow(
            title=display(provision.id),
            name=declared.key,
            anchor=provision_anchor(provision),
            entries=(Entry(text=words[changes[declared.key]]),),
        )
        for declared, provision in ctx.catalog.declared_keys()
        if declared.key in changes
    ]
    return _part(ctx, "declared", (words["change"],), [RowGroup(rows=tuple(rows))])


def _verdicts(ctx: Context, earlier: Evidence) -> Section:
    """The verdict of every cell that either pack planned."""
    words = ctx.words.changes
    before = {finding.cell.key: finding.verdict for finding in earlier.findings}
    then = {c.key: before.get(c.key, Verdict.NOT_COVERED) for c in earlier.plan.cells}
    now = {c.key: ctx.finding(c).verdict for c in ctx.plan.cells}
    cells = {cell.key: cell for cell in (*ctx.plan.cells, *earlier.plan.cells)}
    rows = [
        (cell, _verdict_row(ctx, cell, then.get(key), now.get(key))) for key, cell in cells.items()
    ]
    both = then.keys() & now.keys()
    said = words["verdicts_counted"].format(
        both=len(both),
        changed=sum(then[key] is not now[key] for key in both),
        gone=len(then) - len(both),
        new=len(now) - len(both),
    )
    return _part(ctx, "verdicts", (words["before"], words["now"]), _by_concept(ctx, rows), said)


def _verdict_row(ctx: Context, cell: Cell, before: Verdict | None, now: Verdict | None) -> TableRow:
    return TableRow(
        title=ctx.place(cell),
        anchor=None if now is None else cell_anchor(cell),
        entries=tuple(
            Entry(text=ctx.words.changes["not_planned"])
            if verdict is None
            else Entry(verdict=ctx.verdict(verdict))
            for verdict in (before, now)
        ),
    )


def _by_concept(ctx: Context, rows: Sequence[tuple[Cell, TableRow]]) -> list[RowGroup]:
    found: dict[str, list[TableRow]] = {}
    for cell, row in rows:
        found.setdefault(cell.concept, []).append(row)
    return [RowGroup(heading=ctx.concept_title(c), rows=tuple(r)) for c, r in found.items()]


def _numbers(ctx: Context, earlier: Evidence) -> Section:
    """Main numbers of cells that both packs planned, where they rest on the same test items."""
    words = ctx.words.changes
    differing = [
        words[f"not_same_{name}"]
        for name in ("suites", "splits", "subset")
        if getattr(earlier.plan, name) != getattr(ctx.plan, name)
    ]
    if differing:
        return _part(
            ctx, "numbers", (), (), words["not_comparable"].format(why=", ".join(differing))
        )
    columns = [
        words[f"number_{side}"].format(number=ctx.words.columns[name])
        for name in MAIN
        for side in ("before", "now")
    ]
    covered = {f.cell.key for f in earlier.findings if f.verdict is not Verdict.NOT_COVERED}
    then = Numbers(earlier.results, ctx.words, level=earlier.plan.level)
    planned = {cell.key for cell in earlier.plan.cells}
    rows = [
        (cell, _number_row(ctx, then, cell))
        for cell in ctx.plan.cells
        if cell.key in planned
        and (cell.key in covered or ctx.finding(cell).verdict is not Verdict.NOT_COVERED)
    ]
    return _part(ctx, "numbers", columns, _by_concept(ctx, rows))


def _number_row(ctx: Context, then: Numbers, cell: Cell) -> TableRow:
    pairs = (
        (Entry(text=_as_text(then, f"{cell.key}/{name}")), Entry(number=ctx.number(cell, name)))
        for name in MAIN
    )
    return TableRow(
        title=ctx.place(cell),
        anchor=cell_anchor(cell),
        entries=tuple(entry for pair in pairs for entry in pair),
    )


def _as_text(then: Numbers, result_id: str) -> str:
    number = then.of(result_id)
    if number.text is None:
        return number.short or number.reason or ""
    return f"{number.text} ({number.interval})" if number.interval else number.text


def _tests(ctx: Context, found: Comparison) -> Section:
    """Each main number on the items of both packs, and whether its change is more than chance."""
    words = ctx.words.changes
    readings = [change.reading for change in found.measures]
    counted = words["tests_counted"].format(
        worse=readings.count(Reading.WORSE),
        better=readings.count(Reading.BETTER),
        same=readings.count(Reading.NO_CHANGE),
        not_comparable=readings.count(Reading.NOT_COMPARABLE),
    )
    said = [counted, *(words[f"tests_{key}"] for key in _left_out(found))]
    columns = ("before", "now", "difference", "p_holm", "shared_items", "reading")
    groups: dict[str, list[TableRow]] = {}
    for change in found.measures:
        groups.setdefault(change.measure, []).append(_test_row(ctx, change))
    return _part(
        ctx, "tests", [words[column] for column in columns],
        [RowGroup(heading=ctx.numbers.describe(name)[1], rows=tuple(rows))
         for name, rows in groups.items()],
        " ".join(said) if found.measures else "",
    )  # fmt: skip


def _left_out(found: Comparison) -> Iterator[str]:
    """What must be said of the items behind the tests."""
    compared = [change for change in found.measures if change.difference is not None]
    if any(c.items_shared < max(c.items_before, c.items_now) for c in compared):
        yield "partial"
    if any(change.items_changed for change in compared):
        yield "other_contents"
    if any(change.items_unchecked for change in compared):
        yield "unchecked"


def _test_row(ctx: Context, change: MeasureChange) -> TableRow:
    words, kind = ctx.words.changes, ctx.numbers.describe(change.measure)[0]
    cell = change.cell
    planned = any(cell == one for one in ctx.plan.cells)
    shared = words["shared_of"].format(
        shared=write_count(change.items_shared),
        before=write_count(change.items_before),
        now=write_count(change.items_now),
    )
    if change.difference is None:
        nothing, why = ctx.words.unknown["short"], words[f"why_{change.reason}"]
        texts = [nothing] * 4 + [shared, words["reading_not-comparable"].format(why=why)]
    else:
        texts = [
            write(change.before, kind), write(change.now, kind), _difference(change, kind),
            write_p(change.p_holm), shared, words[f"reading_{change.reading}"],
        ]  # fmt: skip
    return TableRow(
        title=f"{ctx.concept_title(cell.concept)}: {ctx.place(cell)}",
        anchor=cell_anchor(cell) if planned else None,
        entries=tuple(Entry(text=text) for text in texts),
    )


def _difference(change: MeasureChange, kind: str) -> str:
    """With its interval; of shares in points."""
    unit = "auroc-difference" if kind == "auroc" else "signed-points"
    return f"{write(change.difference, unit)} ({write_interval(change.low, change.high, unit)})"
