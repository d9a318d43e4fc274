"""The probe beside its controls, by kind, and what the comparison comes to in words."""

from collections.abc import Iterable, Iterator
from typing import Literal

from compliance.records.finding import Result
from compliance.records.observation import CONTROL_SCORERS, SURFACE
from compliance.records.plan import Cell
from compliance.records.report import Entry, RowGroup, Sentence, Table, TableRow
from compliance.reports.context import Context, applies, sentence
from compliance.reports.numbers import in_sentence
from compliance.reports.tables import EMPTY

COMPARED = ("auroc-hard", "minus", "sensitivity", "fpr-benign", "fpr-hard")
"""Columns; ``minus`` is the probe's lead over the control."""

SHORTCUTS = ("tokens", *SURFACE)
RANDOM = ("random-sae", "permuted")
DENSE = tuple(s for s in CONTROL_SCORERS if s not in (*SHORTCUTS, *RANDOM))
KINDS = {"surface": SHORTCUTS, "random": RANDOM, "dense": DENSE}
RANDOM_LATENTS = "random-latents"

PLANNED_AS = {"tokens": "token-count", "permuted": "permuted-labels"}
"""What the plan calls a control, where its scorer has another name."""

Standing = Literal["ahead", "behind", "open", "missing"]


def control_table(ctx: Context, cell: Cell, found: set[str]) -> Table:
    """Probe and controls on the same items, grouped by what they control for.

    Pictures have colours and pixels in the place of letter patterns.

    Args:
        ctx: Evidence and words.
        cell: A covered cell.
        found: Names of its results.
    """
    groups = [RowGroup(heading=None, rows=(_probe_row(ctx, cell),))]
    for kind, scorers in (*KINDS.items(), ("other", _others(found))):
        rows = [_row(ctx, cell, s, found) for s in scorers if _has_place(ctx, cell, s, found)]
        if kind == "random" and _has_place(ctx, cell, RANDOM_LATENTS, found):
            rows.insert(0, _random_latents_row(ctx, cell))
        if rows:
            groups.append(RowGroup(heading=ctx.words.control_kinds[kind], rows=tuple(rows)))
    return Table(
        caption=ctx.words.ui["controls_caption"],
        corner=ctx.words.ui["scorer"],
        columns=tuple(ctx.words.columns[name] for name in COMPARED),
        groups=tuple(groups),
        absent=ctx.words.ui["none"],
    )


def comparison(ctx: Context, cell: Cell, found: set[str]) -> tuple[Sentence, ...]:
    """Whether the probe beats what it must beat, and how far plainer ways of reading get."""
    return (
        *_against_shortcuts(ctx, cell, found),
        *_against_random_latents(ctx, cell, found),
        *_against_dense(ctx, cell, found),
    )


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


def _probe_row(ctx: Context, cell: Cell) -> TableRow:
    entries = (EMPTY if n == "minus" else Entry(number=ctx.number(cell, n)) for n in COMPARED)
    return TableRow(title=ctx.words.scorers["probe"], entries=tuple(entries))


def _row(ctx: Context, cell: Cell, scorer: str, found: set[str]) -> TableRow:
    """Ranking and lead always keep their place, alarms only where there is a cut-off."""
    names = [f"minus-{scorer}" if n == "minus" else f"{n}.{scorer}" for n in COMPARED]
    has_cut_off = any(name in found for name in names[2:])
    entries = (
        Entry(number=ctx.number(cell, name)) if index < 2 or has_cut_off else EMPTY
        for index, name in enumerate(names)
    )
    return TableRow(title=ctx.words.scorer(scorer, cell.modality), entries=tuple(entries))


def _random_latents_row(ctx: Context, cell: Cell) -> TableRow:
    """What the best twentieth of the random latents reach."""
    reached = Entry(number=ctx.number(cell, f"{RANDOM_LATENTS}-p95"))
    return TableRow(
        title=ctx.words.scorers[RANDOM_LATENTS], entries=(reached, *[EMPTY] * (len(COMPARED) - 1))
    )


def _against_shortcuts(ctx: Context, cell: Cell, found: set[str]) -> Iterator[Sentence]:
    placed: dict[Standing, list[str]] = {}
    for scorer in (*SHORTCUTS, *RANDOM):
        if _has_place(ctx, cell, scorer, found):
            title = in_sentence(ctx.words.scorer(scorer, cell.modality))
            placed.setdefault(_standing(ctx, cell, scorer), []).append(title)
    for standing in ("behind", "open", "missing", "ahead"):
        if titles := placed.get(standing):
            yield sentence(ctx.words.comparison[standing], controls=_listed(ctx, titles))


def _against_random_latents(ctx: Context, cell: Cell, found: set[str]) -> Iterator[Sentence]:
    if not _has_place(ctx, cell, RANDOM_LATENTS, found):
        return
    share, reached = (ctx.number(cell, n) for n in (RANDOM_LATENTS, f"{RANDOM_LATENTS}-p95"))
    yield sentence(
        ctx.words.comparison["random_latents"],
        share=share, n=share.n or ctx.words.unknown["number"], reached=reached,
    )  # fmt: skip


def _against_dense(ctx: Context, cell: Cell, found: set[str]) -> Iterator[Sentence]:
    present = [s for s in DENSE if f"minus-{s}" in found]
    if not present:
        if any(_has_place(ctx, cell, s, found) for s in DENSE):
            yield sentence(ctx.words.comparison["no_dense"])
        return
    standings = {s: _standing(ctx, cell, s) for s in present}
    if "dense" in standings:
        lead = ctx.number(cell, "minus-dense")
        yield sentence(ctx.words.comparison[f"dense_{standings['dense']}"], lead=lead)
    titles = {
        standing: [in_sentence(ctx.words.scorers.get(s, s)) for s in present
                   if standings[s] == standing and s != "dense"]
        for standing in ("behind", "ahead", "open")
    }  # fmt: skip
    for standing, those in titles.items():
        if those:
            template = ctx.words.comparison[f"others_{standing}"]
            yield sentence(template, controls=_listed(ctx, those))


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
