"""What was locked: each concept's probe, how it was found, and what noise would have reached."""

from collections.abc import Iterator, Mapping, Sequence

from compliance.records.plan import LockedProbe, PlannedProbe, Selection
from compliance.records.report import Entry, RowGroup, Section, Table, TableRow
from compliance.reports.context import Context, anchor
from compliance.reports.numbers import write, write_count, write_p, write_percent
from compliance.reports.tables import plain

COUNTED = ("searched", "active", "positives", "hard_negatives", "ties")


def locked_probe(ctx: Context, concept: str) -> LockedProbe | None:
    """What the lock says about a concept."""
    return _of(ctx.evidence.lock.probes, concept)


def describe_features(ctx: Context, locked: LockedProbe | None) -> str:
    """The latents of a locked probe, in words."""
    words = ctx.words.features
    if locked is None:
        return words["none"]
    named = []
    for feature in locked.features:
        saes = ctx.plan.saes
        sae = saes[feature.sae].name if feature.sae < len(saes) else f"sae{feature.sae}"
        template = words["labelled" if feature.label else "one"]
        named.append(template.format(latent=feature.latent, sae=sae, label=feature.label))
    return ctx.joined(named) or words["none"]


def search_words(ctx: Context, probe: PlannedProbe) -> Iterator[str]:
    """How the probe was found, and what pure noise would have reached in the same search."""
    words, locked = ctx.words.sections["search"], locked_probe(ctx, probe.concept)
    if locked is None:
        return
    if locked.selection is None:
        yield words["given"]
        return
    values = _written(locked.selection)
    yield words["found"].format(**values)
    chance = locked.selection.p_adjusted > ctx.plan.family_error
    limit = write_percent(ctx.plan.family_error)
    yield words["noise_not_excluded" if chance else "noise"].format(limit=limit, **values)


def probe_sections(ctx: Context) -> tuple[Section, ...]:
    """How the probe of each concept was found, beside searches with nothing to find."""
    return tuple(_section(ctx, probe) for probe in ctx.plan.probes)


def _section(ctx: Context, probe: PlannedProbe) -> Section:
    words, lock = ctx.words.features, ctx.evidence.lock
    origin = "discovered" if probe.features == "discover" else "given"
    kinds = {
        origin: locked_probe(ctx, probe.concept),
        "random": _of(lock.random_probes, probe.concept),
        "permuted": _of(lock.permuted_probes, probe.concept),
    }
    found = {key: locked for key, locked in kinds.items() if locked is not None or key == origin}
    lines = (f"{words[key]}: {describe_features(ctx, locked)}." for key, locked in found.items())
    searches = {key: locked.selection for key, locked in found.items()
                if locked is not None and locked.selection is not None}  # fmt: skip
    return Section(
        anchor=anchor("search", probe.concept),
        title=probe.title,
        intro=plain(*lines),
        tables=(_searches(ctx, searches),) if searches else (),
    )


def _searches(ctx: Context, searches: Mapping[str, Selection]) -> Table:
    written = [_written(selection) for selection in searches.values()]
    rows = (
        TableRow(
            title=ctx.words.selection[name],
            entries=tuple(Entry(text=values[name]) for values in written),
        )
        for name in (*COUNTED, "auroc", "null_p95", "p_adjusted", "flips")
    )
    return Table(
        caption=ctx.words.ui["probes_caption"],
        corner=ctx.words.ui["number"],
        columns=tuple(ctx.words.features[f"{key}_short"] for key in searches),
        groups=(RowGroup(rows=tuple(rows)),),
        absent=ctx.words.ui["none"],
    )


def _written(selection: Selection) -> dict[str, str]:
    """Everything about a search, as it is printed."""
    return {
        **{key: write_count(getattr(selection, key)) for key in (*COUNTED, "flips")},
        "auroc": write(selection.auroc, "auroc"),
        "null_p95": write(selection.null_p95, "auroc"),
        "p_adjusted": write_p(selection.p_adjusted),
    }


def _of(probes: Sequence[LockedProbe], concept: str) -> LockedProbe | None:
    return next((probe for probe in probes if probe.concept == concept), None)
