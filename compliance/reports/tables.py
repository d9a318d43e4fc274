"""Pieces of tables that several chapters put together."""

from collections.abc import Iterable, Iterator, Sequence

from compliance.records.base import Record
from compliance.records.plan import Cell
from compliance.records.report import Entry, Number, RowGroup, Sentence, Table, TableRow
from compliance.reports.context import COLUMNS, Context, cell_anchor, sentence

EMPTY = Entry()
"""A place that does not apply."""


def number_row(
    ctx: Context, cell: Cell, names: Iterable[str], *, extra: tuple[Entry, ...] = ()
) -> TableRow:
    """A cell's results of some names, missing ones included, in a row that leads to the cell."""
    entries = tuple(Entry(number=ctx.number(cell, name)) for name in names)
    return TableRow(title=ctx.place(cell), anchor=cell_anchor(cell), entries=(*entries, *extra))


def row_across(
    ctx: Context, cells: Sequence[Cell], name: str, title: str | None = None
) -> TableRow:
    """One result in several cells, with its name and the methods that gave it."""
    numbers = [ctx.number(cell, name) for cell in cells]
    methods = dict.fromkeys(number.method for number in numbers if number.method)
    return TableRow(
        title=title or numbers[0].label,
        name=name,
        methods=tuple(methods),
        entries=tuple(Entry(number=number) for number in numbers),
    )


def by_cell(
    ctx: Context, caption: str, columns: Sequence[str], groups: Iterable[RowGroup]
) -> Table:
    """A table with a row for each cell."""
    return Table(
        caption=caption,
        corner=ctx.words.ui["language"],
        columns=tuple(columns),
        groups=tuple(groups),
        absent=ctx.words.ui["no_cells"],
    )


def pages(ctx: Context, cells: Sequence[Cell]) -> list[Sequence[Cell]]:
    """Cells side by side, as many as a page is wide and of one kind of input."""
    return [
        alike[start : start + COLUMNS]
        for alike in ctx.by_kind(cells)
        for start in range(0, len(alike), COLUMNS)
    ]


def plain(*texts: str) -> tuple[Sentence, ...]:
    """Sentences without numbers."""
    return tuple(sentence("{text}", text=text) for text in texts if text)


def shown_ids(value: object) -> Iterator[str]:
    """Ids of all results that a part of a report shows."""
    if isinstance(value, Number):
        yield value.result_id
    elif isinstance(value, tuple):
        for item in value:
            yield from shown_ids(item)
    elif isinstance(value, Record):
        for name in type(value).model_fields:
            yield from shown_ids(getattr(value, name))
