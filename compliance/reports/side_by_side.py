"""The numbers of one concept in one kind of input: a row for each, a column for each language.

Set beside each other they take a fraction of the paper that a table for each language would, and
differences between languages can be read off.
"""

from collections.abc import Iterable, Iterator, Sequence

from compliance.records.finding import Condition
from compliance.records.plan import Cell
from compliance.records.report import Entry, Fact, RowGroup, Table, TableRow
from compliance.reports.context import Context
from compliance.reports.controls import is_compared
from compliance.reports.numbers import write_p
from compliance.reports.tables import EMPTY, pages, row_across

ALARMS = ("sensitivity", "gap", "fpr-benign", "fpr-hard")
TO_TEXT = ("gap-to-text", "gap-to-text.holm")
"""How far the sensitivity to pictures lies from that to words."""

RANKING = ("auroc-hard", "auroc-benign")
CUT_OFF = ("cut-off",)
REFERENCE = (
    "cut-off-reference",
    "sensitivity-at-reference-cut-off",
    "fpr-benign-at-reference-cut-off",
)
ITEMS = ("n-positive", "n-hard", "n-benign")
KINDS = ("primary", "secondary", "gate")


def condition_tables(ctx: Context, cells: Sequence[Cell]) -> Iterator[Table]:
    """Every condition of the plan and what became of it, a page's width at a time.

    Args:
        ctx: Evidence and words.
        cells: Of one concept and one kind of input, with observations.
    """
    words = ctx.words.ui
    for part in pages(ctx, cells):
        found = [{c.condition: c for c in ctx.finding(cell).conditions} for cell in part]
        rules = {name: c for conditions in found for name, c in conditions.items()}
        groups = (
            RowGroup(
                heading=ctx.words.kinds.get(kind, kind),
                rows=tuple(
                    _condition_row(ctx, part, name, rules[name], found)
                    for name in rules
                    if rules[name].kind == kind
                ),
            )
            for kind in KINDS
        )
        yield Table(
            caption=words["conditions_caption"],
            corner=words["condition"],
            columns=tuple(ctx.language(cell.language).name for cell in part),
            groups=tuple(group for group in groups if group.rows),
            absent=ctx.words.notes["no_conditions"],
        )


def number_tables(ctx: Context, cells: Sequence[Cell]) -> Iterator[Table]:
    """The main numbers of all cells. Expected ones keep their place if missing."""
    words = ctx.words.ui
    for part in pages(ctx, cells):
        groups = (
            tuple(row_across(ctx, part, name) for name in names)
            for names in _groups(ctx, part)
            if names
        )
        yield Table(
            caption=words["numbers_caption"],
            corner=words["number"],
            columns=tuple(ctx.language(cell.language).name for cell in part),
            groups=tuple(RowGroup(rows=rows) for rows in groups),
            absent=words["no_numbers"],
        )


def missing_numbers(ctx: Context, tables: Sequence[Table]) -> tuple[Fact, ...]:
    """Why numbers of these tables are missing, each reason once.

    Tables have room for a word only.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for table in tables:
        for row in (row for group in table.groups for row in group.rows):
            for language, entry in zip(table.columns, row.entries, strict=True):
                if entry.number is not None and entry.number.reason is not None:
                    names = found.setdefault(entry.number.reason, {})
                    names.setdefault(entry.number.name, []).append(language)
    return tuple(
        Fact(
            label=reason,
            value=ctx.joined(f"{n}: {', '.join(dict.fromkeys(tags))}" for n, tags in names.items()),
        )
        for reason, names in found.items()
    )


def _groups(ctx: Context, cells: Sequence[Cell]) -> Iterator[Iterable[str]]:
    found = list(dict.fromkeys(name for cell in cells for name in ctx.names(cell)))
    formats = sorted(n for n in found if n.startswith("fpr-benign.") and not is_compared(n, found))
    yield ITEMS
    yield [name for base in ALARMS for name in (base, *formats * (base == "fpr-benign"))]
    yield TO_TEXT if any(ctx.has_words(cell) for cell in cells) else ()
    yield RANKING
    yield [*CUT_OFF, *(name for name in REFERENCE if name in found)]
    yield [name for name in found if name.startswith("ppv@")]


def _condition_row(
    ctx: Context, cells: Sequence[Cell], name: str, rule: Condition,
    found: Sequence[dict[str, Condition]],
) -> TableRow:  # fmt: skip
    entries = (_entry(ctx, conditions.get(name)) for conditions in found)
    title = ctx.condition_words(name, rule.limit, cells[0].modality)
    return TableRow(title=title, entries=tuple(entries))


def _entry(ctx: Context, condition: Condition | None) -> Entry:
    """A condition's sign, the number it asks about, and its p."""
    if condition is None:
        return EMPTY
    return Entry(
        status=ctx.status(condition),
        number=ctx.numbers.of(condition.result_id) if condition.result_id else None,
        text=None if condition.p is None else ctx.words.ui["p_is"].format(p=write_p(condition.p)),
    )
