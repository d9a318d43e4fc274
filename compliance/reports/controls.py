"""The probe beside its controls, by kind, and what the comparison comes to in words."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from compliance.records.finding import Result
from compliance.records.observation import CONTROL_SCORERS, SURFACE
from compliance.records.plan import Cell
from compliance.records.report import RowGroup, Sentence, StatusView, Table, TableRow
from compliance.reports.context import Context, applies, sentence
from compliance.reports.numbers import in_sentence
from compliance.reports.tables import pages, row_across

COMPARED = ("auroc-hard", "minus", "sensitivity", "fpr-benign", "fpr-hard")
"""What is compared; ``minus`` is the probe's lead over the control."""

SHORTCUTS = ("tokens", *SURFACE)
RANDOM = ("random-sae", "permuted")
DENSE = tuple(s for s in CONTROL_SCORERS if s not in (*SHORTCUTS, *RANDOM))
KINDS = {"surface": SHORTCUTS, "random": RANDOM, "dense": DENSE}
RANDOM_LATENTS = "random-latents"

PLANNED_AS = {"tokens": "token-count", "permuted": "permuted-labels"}
"""What the plan calls a control, where its scorer has another name."""

Standing = Literal["ahead", "behind", "open", "missing"]


def control_tables(ctx: Context, cells: Sequence[Cell]) -> Iterator[Table]:
    """Probe and controls on the same items, languages side by side, a page's width at a time.

    One group of rows for each measure, in it the controls by what they control for. Pictures have
    colours and pixels in the place of letter patterns.

    Args:
        ctx: Evidence and words.
        cells: Of one concept and one kind of input, with observations.
    """
    for part in pages(ctx, cells):
        found = {name for cell in part for name in ctx.names(cell)}
        groups = (_group(ctx, part, measure, found) for measure in COMPARED)
        yield Table(
            caption=ctx.words.ui["controls_caption"],
            corner=ctx.words.ui["scorer"],
            columns=tuple(ctx.language(cell.language).name for cell in part),
            groups=tuple(group for group in groups if group.rows),
            absent=ctx.words.ui["none"],
        )


def comparison(ctx: Context, cell: Cell, found: set[str]) -> tuple[Sentence, ...]:
    """Whether the probe beats what it must beat, and how far a plain probe gets."""
    return (*_against_shortcuts(ctx, cell, found), *_against_dense(ctx, cell, found))


def is_compared(name: str, found: Iterable[str]) -> bool:
    """Whether a result's name belongs into the table of controls."""
    scorers = [*CONTROL_SCORERS, *_others(found)]
    base, _, scorer = name.partition(".")
    return name.startswith(("minus-", RANDOM_LATENTS)) or (base in COMPARED and scorer in scorers)


def _others(found: Iterable[str]) -> list[str]:
    """Controls in the results that this version does not know."""
    scorers = {n.removeprefix("auroc-hard.") for n in found if n.startswith("auroc-hard.")}
    return sorted(scorers - set(CONTROL_SCORERS))


def _has_place(ctx: Context, cell: Cell, scorer: str, found: set[str]) -> bool:
    """A control has its row if it was planned, also where it has no numbers."""
    if not applies(f"minus-{scorer}", cell) and f"minus-{scorer}" not in found:
        return False
    name = PLANNED_AS.get(scorer, scorer.removesuffix("-means"))
    planned = "sparse" if name.startswith("sparse-") else name
    return planned in ctx.plan.controls or bool({f"auroc-hard.{scorer}", scorer} & found)


def _group(ctx: Context, cells: Sequence[Cell], measure: str, found: set[str]) -> RowGroup:
    """One measure of the probe, unless it is a lead over a control, and of every control.

    Ranking and lead always keep their place, alarms only where there is a cut-off.
    """
    cell, titles = cells[0], ctx.words.scorers
    rows = [] if measure == "minus" else [row_across(ctx, cells, measure, titles["probe"])]
    for kind, scorers in (*KINDS.items(), ("other", _others(found))):
        if (kind, measure) == ("random", "auroc-hard") and _has_place(
            ctx, cell, RANDOM_LATENTS, found
        ):  # what the best twentieth of the random latents reach
            rows.append(row_across(ctx, cells, f"{RANDOM_LATENTS}-p95", titles[RANDOM_LATENTS]))
        for scorer in scorers:
            name = f"minus-{scorer}" if measure == "minus" else f"{measure}.{scorer}"
            expected = measure in ("auroc-hard", "minus") and _has_place(ctx, cell, scorer, found)
            if expected or name in found:
                title = ctx.words.scorer(scorer, cell.modality)
                row = row_across(ctx, cells, name, title)
                rows.append(_signed(ctx, cells, scorer, row) if measure == "minus" else row)
    return RowGroup(heading=ctx.words.columns[measure], rows=tuple(rows))


def _signed(ctx: Context, cells: Sequence[Cell], scorer: str, row: TableRow) -> TableRow:
    """Each lead with the sign of where it lies."""
    entries = (
        entry.model_copy(update={"status": _sign(ctx, _standing(ctx, cell, scorer))})
        for cell, entry in zip(cells, row.entries, strict=True)
    )
    return row.model_copy(update={"entries": tuple(entries)})


def _sign(ctx: Context, standing: Standing) -> StatusView:
    words = ctx.words.standings[standing]
    return StatusView(value=standing, label=words.label, glyph=words.glyph)


def _against_shortcuts(ctx: Context, cell: Cell, found: set[str]) -> Iterator[Sentence]:
    placed: dict[Standing, list[str]] = {}
    for scorer in (*SHORTCUTS, *RANDOM):
        if _has_place(ctx, cell, scorer, found):
            title = in_sentence(ctx.words.scorer(scorer, cell.modality))
            placed.setdefault(_standing(ctx, cell, scorer), []).append(title)
    for standing in ("behind", "open", "missing", "ahead"):
        if titles := placed.get(standing):
            yield sentence(ctx.words.comparison[standing], controls=_listed(ctx, titles))


def _against_dense(ctx: Context, cell: Cell, found: set[str]) -> Iterator[Sentence]:
    words = ctx.words.comparison
    if "minus-dense" in found:
        lead = ctx.number(cell, "minus-dense")
        yield sentence(words[f"dense_{_standing(ctx, cell, 'dense')}"], lead=lead)
    elif any(_has_place(ctx, cell, s, found) for s in DENSE):
        yield sentence(words["no_dense"])


def _standing(ctx: Context, cell: Cell, scorer: str) -> Standing:
    """Where the interval of the probe's lead lies; ahead of a control that it must beat by its p.

    A condition asks one side, at the error of a family, and must not be contradicted.
    """
    identity = f"{cell.key}/minus-{scorer}"
    lead: Result | None = ctx.numbers.result(identity)
    if lead is None or lead.value is None or lead.low is None or lead.high is None:
        return "missing"
    if lead.high < 0:
        return "behind"
    decides = any(c.result_id == identity for c in ctx.finding(cell).conditions)
    shown = lead.p is not None and lead.p <= ctx.plan.family_error if decides else lead.low > 0
    return "ahead" if shown else "open"


def _listed(ctx: Context, titles: list[str]) -> str:
    if len(titles) == 1:
        return titles[0]
    return f"{', '.join(titles[:-1])} {ctx.words.ui['and']} {titles[-1]}"
