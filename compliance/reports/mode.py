"""What a report says of a run that is not in the reference mode: float32 on the CPU.

The mode stands on the first page, with what it was measured to move; the cells stand in the chapter
of their concept. A report of a run in the reference mode has neither.
"""

from collections.abc import Sequence

from compliance.records.plan import Cell
from compliance.records.report import RowGroup, Sentence, Table
from compliance.records.subject import REFERENCE_MODE, in_reference_mode
from compliance.reports.context import Context, sentence
from compliance.reports.tables import by_cell, number_row, plain

ALL = "audit"
"""What stands in the place of a cell in results about all items that were compared."""

MEASURES = ("largest", "median", "flips", "firings", "activation")


def mode_sentence(ctx: Context) -> Sentence | None:
    """The mode and its deviation from the reference mode; None in that one."""
    if _is_reference(ctx):
        return None
    words = ctx.words.sections["mode"]
    here = ctx.plan.model.dtype, ctx.evidence.environment.device
    modes = {
        name: words["named"].format(dtype=dtype, device=device)
        for name, (dtype, device) in (("mode", here), ("reference", REFERENCE_MODE))
    }
    numbers = {name: ctx.numbers.of(f"{ALL}/precision-{name}") for name in MEASURES}
    if numbers["activation"].n is None:
        return plain(words["unmeasured"].format(**modes))[0]
    interval = numbers["flips"].interval or words["no_interval"]
    return sentence(
        words["measured"], n=numbers["activation"].n, interval=interval, **modes, **numbers
    )


def mode_tables(ctx: Context, cells: Sequence[Cell]) -> tuple[Table, ...]:
    """The deviation of each cell with items that were compared; in the reference mode, none."""
    if _is_reference(ctx):
        return ()
    words = ctx.words.sections["mode"]
    names = [f"precision-{name}" for name in MEASURES]
    compared = [cell for cell in cells if names[0] in ctx.names(cell)]
    rows = tuple(number_row(ctx, cell, names) for cell in compared)
    columns = tuple(words[name] for name in MEASURES)
    table = by_cell(ctx, words["caption"], columns, [RowGroup(rows=rows)] if rows else [])
    return (table.model_copy(update={"absent": words["none"]}),)


def _is_reference(ctx: Context) -> bool:
    return in_reference_mode(ctx.plan.model, ctx.evidence.environment)
