"""Shares with intervals, and the lines that verdicts compare them with."""

from collections.abc import Iterator, Sequence

from compliance.records.chart import Chart
from compliance.records.page import Entry, RowGroup, TableRow
from compliance.records.plan import Cell
from compliance.records.validation import KnownAnswer
from compliance.reports.charts.drawing import anchor_of, data_of, name_of, result_of, spoken
from compliance.reports.charts.forest import Mark, Row, forest
from compliance.reports.context import Context, anchor, cell_anchor, sentence
from compliance.reports.numbers import write, write_interval, write_limit, write_percent

LEFT, WIDE_LEFT = 150.0, 260.0
"""Where the axis begins, and where it does in the plot of trials."""

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
NULL_TICKS = (0.0, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)


def sensitivity_plot(ctx: Context, cells: Sequence[Cell]) -> Chart:
    """Sensitivity by language, with its limit and the margin below the reference.

    Args:
        ctx: Evidence and words.
        cells: All of the same concept, modality and rendering; at least one.
    """
    words, shared = ctx.words.plot, ctx.words.charts["forest"]
    limit = ctx.plan.claims.min_sensitivity
    marks = [Mark(limit, words["limit"].format(limit=write_percent(limit)), "limit")]
    margin = _margin(ctx, cells)
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    return forest(
        [_row(ctx, cell) for cell in cells],
        [*marks, *([margin] if margin else [])],
        TICKS,
        left=LEFT,
        write=write_percent,
        anchor=anchor_of("plot", cells),
        title=title,
        description=words["description"].format(
            limit=write_percent(limit), rows=ctx.joined(_spoken(ctx, cell) for cell in cells)
        ),
        note=_margin_note(ctx) if margin else None,
        table=data_of(
            ctx,
            title,
            ctx.words.ui["language"],
            [shared["sensitivity"]],
            [RowGroup(rows=tuple(_data_row(ctx, cell) for cell in cells))],
        ),
    )


def null_plot(ctx: Context, answers: Sequence[KnownAnswer]) -> Chart:
    """False claims of each kind of null, with the family's error as the limit."""
    words, limit = ctx.words.plot, ctx.plan.family_error
    rows = [_null_row(answer) for answer in answers]
    said = [(answer.name, _share(answer)) for answer in answers]
    return forest(
        rows,
        [Mark(limit, words["null_limit"].format(limit=write_percent(limit)), "limit")],
        list(_null_ticks(answers, limit)),
        left=WIDE_LEFT,
        write=write_percent,
        anchor=anchor("plot", "known-answers"),
        title=words["null_title"],
        description=words["null_description"].format(
            limit=write_percent(limit), rows=ctx.joined(f"{name} {share}" for name, share in said)
        ),
        table=data_of(
            ctx,
            words["null_title"],
            ctx.words.charts["forest"]["corner"],
            [ctx.words.charts["forest"]["false-claims"]],
            [RowGroup(rows=tuple(TableRow(title=n, entries=(Entry(text=s),)) for n, s in said))],
        ),
    )


def _margin(ctx: Context, cells: Sequence[Cell]) -> Mark | None:
    """How low a language may lie below the reference; None where that is no share or unknown."""
    reference = next((cell for cell in cells if ctx.is_reference(cell)), None)
    found = result_of(ctx, reference, "sensitivity") if reference else None
    if found is None or found.value is None or len(cells) == 1:
        return None
    words = ctx.words.charts["forest"]["margin"].format(**_margin_words(ctx))
    value = found.value - ctx.plan.claims.non_inferiority_margin
    return Mark(value, words, "margin") if value > 0 else None


def _margin_note(ctx: Context) -> str:
    return ctx.words.charts["forest"]["margin_note"].format(**_margin_words(ctx))


def _margin_words(ctx: Context) -> dict[str, str]:
    claims = ctx.plan.claims
    return {
        "language": ctx.language(claims.reference_language).name,
        "margin": write_limit(claims.non_inferiority_margin, "points"),
    }


def _row(ctx: Context, cell: Cell) -> Row:
    found = result_of(ctx, cell, "sensitivity")
    name = name_of(ctx, cell)
    words = sentence("{number}", number=ctx.number(cell, "sensitivity"))
    return Row(name, words, found.value, found.low, found.high) if found else Row(name, words)


def _spoken(ctx: Context, cell: Cell) -> str:
    value = spoken(ctx, ctx.number(cell, "sensitivity"))
    return ctx.words.charts["words"]["row"].format(language=name_of(ctx, cell), value=value)


def _data_row(ctx: Context, cell: Cell) -> TableRow:
    entries = (Entry(number=ctx.number(cell, "sensitivity")),)
    return TableRow(title=name_of(ctx, cell), anchor=cell_anchor(cell), entries=entries)


def _null_ticks(answers: Sequence[KnownAnswer], limit: float) -> Iterator[float]:
    """Up to the first beyond all intervals, and far enough apart for their labels."""
    widest = max(max(answer.high for answer in answers), 2 * limit)
    top = next((step for step in NULL_TICKS if step >= widest), 1.0)
    return (step for step in NULL_TICKS if step <= top and (step == 0 or step >= top / 4))


def _null_row(answer: KnownAnswer) -> Row:
    share = answer.found / answer.audits
    words = sentence("{text}", text=_share(answer))
    return Row(answer.name, words, share, answer.low, answer.high)


def _share(answer: KnownAnswer) -> str:
    share = write(answer.found / answer.audits, "share")
    return f"{share} ({write_interval(answer.low, answer.high, 'share')})"
