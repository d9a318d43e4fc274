"""How well each autoencoder stands in for the model's inner state, by language and kind of text."""

from collections.abc import Iterator, Sequence

from compliance.records.observation import SOURCES, source_of
from compliance.records.plan import Cell
from compliance.records.report import Entry, RowGroup, Section, Table, TableRow
from compliance.records.suite import Label
from compliance.reports.context import Context, anchor
from compliance.reports.tables import plain

ROLES = ("typographic", "depicted", "read", "user", "assistant")
"""Tokens of pictures are told by rendering."""

REGIONS = ("image", "read")
"""Tokens on which fired features are counted: of all pictures, and of all words."""

LOSS_STRATUM = "neutral.read"

QUALITY = ("ev", "ev-global", "cosine", "norm-ratio", "l0", "l0-median", "l0-p95", "tokens")
FIRING = ("alive", "dead", "dense-latents")
LOSSES = ("loss", "loss-increase", "loss-recovered", "divergence")


def fidelity_sections(ctx: Context) -> tuple[Section, ...]:
    """One section for each autoencoder and kind of input."""
    return tuple(
        _section(ctx, index, modality)
        for index, _ in enumerate(ctx.plan.saes)
        for modality in ctx.modalities or ("text",)
    )


def _section(ctx: Context, index: int, modality: str) -> Section:
    words, sae = ctx.words.sections["fidelity"], ctx.plan.saes[index]
    place = f"{modality}/sae{index}"
    # where texts are read too, the autoencoder reads the text stream
    outside = modality != "text" and "text" in ctx.modalities
    return Section(
        anchor=anchor("fidelity", place),
        title=words["title"].format(
            sae=sae.name, modality=ctx.words.modalities.get(modality, modality)
        ),
        intro=plain(words["outside"]) if outside else (),
        tables=tuple(_tables(ctx, place, modality)),
        note=words["note"],
    )


def gate(ctx: Context, cell: Cell) -> str:
    """The stratum that a cell's gates look at.

    Neutral text; of pictures the image tokens of benign items of the cell's rendering.
    """
    role = "read" if cell.modality == "text" else cell.rendering
    return f"{_gate_source(ctx, cell.modality)}.{role}"


def _gate_source(ctx: Context, modality: str) -> str:
    """Benign items stand in for neutral text where there is none, and are then called so."""
    if modality == "text":
        return "neutral"
    return source_of(Label.NEGATIVE, has_neutral_text=ctx.plan.has_neutral_text)


def _tables(ctx: Context, place: str, modality: str) -> Iterator[Table]:
    words = ctx.words.sections["fidelity"]
    yield _table(ctx, words["quality"], QUALITY, tuple(_strata(ctx, place, modality)))
    counted = f"{_gate_source(ctx, modality)}.{'read' if modality == 'text' else 'image'}"
    firing = [
        RowGroup(
            heading=_heading(ctx, source, role, modality),
            rows=_rows(ctx, place, f"{source}.{role}", FIRING),
        )
        for source in SOURCES
        for role in REGIONS
        if f"{source}.{role}" == counted or _present(ctx, place, f"{source}.{role}", FIRING)
    ]
    yield _table(ctx, words["firing"], FIRING, firing)
    if modality == "text" or _present(ctx, place, LOSS_STRATUM, LOSSES):
        rows = _rows(ctx, place, LOSS_STRATUM, LOSSES)
        yield _table(ctx, words["losses"], LOSSES, [RowGroup(rows=rows)])
    rest = tuple(_rest(ctx, place))
    if rest:
        yield Table(
            caption=words["rest"], corner=ctx.words.ui["number"],
            columns=(ctx.words.ui["value"],), groups=(RowGroup(rows=rest),), absent=words["none"],
        )  # fmt: skip


def _heading(ctx: Context, source: str, role: str, modality: str) -> str:
    """A kind of item and of token; benign items may stand in for neutral text.

    There are no neutral pictures, and what is read beside a picture is called so.
    """
    words = ctx.words.sections["fidelity"]
    if source == "neutral":
        stands_in = "stand_in" if not ctx.plan.has_neutral_text else "neutral"
        source = stands_in if modality == "text" else "benign"
    if role == "read" and modality != "text":
        role = "beside"
    return words["stratum"].format(source=words[source], role=words[role])


def _strata(ctx: Context, place: str, modality: str) -> Iterator[RowGroup]:
    """Kinds of items and tokens that were measured; those of gates in any case."""
    gates = {gate(ctx, cell) for cell in ctx.plan.cells if cell.modality == modality}
    for source in SOURCES:
        for role in ROLES:
            stratum = f"{source}.{role}"
            if stratum in gates or _present(ctx, place, stratum, QUALITY):
                heading = _heading(ctx, source, role, modality)
                yield RowGroup(heading=heading, rows=_rows(ctx, place, stratum, QUALITY))


def _rows(ctx: Context, place: str, stratum: str, names: Sequence[str]) -> tuple[TableRow, ...]:
    return tuple(
        TableRow(
            title=ctx.language(tag).name,
            entries=tuple(
                Entry(number=ctx.numbers.of(f"fidelity/{tag}/{place}/{stratum}/{name}"))
                for name in names
            ),
        )
        for tag in ctx.plan.languages
    )


def _present(ctx: Context, place: str, stratum: str, names: Sequence[str]) -> bool:
    ids = (f"fidelity/{t}/{place}/{stratum}/{n}" for t in ctx.plan.languages for n in names)
    return any(ctx.numbers.result(result_id) for result_id in ids)


def _rest(ctx: Context, place: str) -> Iterator[TableRow]:
    """Results of newer versions, so that every number has a place."""
    known = {f"{s}.{r}/{n}" for s in SOURCES for r in ROLES for n in QUALITY}
    known |= {f"{s}.{r}/{n}" for s in SOURCES for r in REGIONS for n in FIRING}
    known |= {f"{LOSS_STRATUM}/{n}" for n in LOSSES}
    for tag in ctx.plan.languages:
        start = f"fidelity/{tag}/{place}/"
        for result_id in ctx.numbers.ids():
            name = result_id.removeprefix(start)
            if result_id.startswith(start) and name not in known:
                number = ctx.numbers.of(result_id)
                yield TableRow(
                    title=f"{ctx.language(tag).name}: {number.label}", name=name,
                    entries=(Entry(number=number),),
                )  # fmt: skip


def _table(ctx: Context, caption: str, names: Sequence[str], groups: Sequence[RowGroup]) -> Table:
    return Table(
        caption=caption,
        corner=ctx.words.ui["language"],
        columns=tuple(ctx.words.columns.get(n) or ctx.numbers.describe(n)[1] for n in names),
        groups=tuple(groups),
        absent=ctx.words.ui["no_fidelity"],
    )
