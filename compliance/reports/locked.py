"""What was locked: each concept's probe, how it was found, and what noise would have reached."""

from collections.abc import Iterable, Iterator, Sequence

from compliance.records.plan import LockedProbe, PlannedProbe, Selection
from compliance.records.report import Fact, ProbeRow
from compliance.reports.context import Context
from compliance.reports.numbers import write, write_p, write_percent

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
    return "; ".join(named) or words["none"]


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


def probe_rows(ctx: Context) -> tuple[ProbeRow, ...]:
    """The locked probe of each concept and how it was chosen, and those found where nothing is."""
    return tuple(row for probe in ctx.plan.probes for row in _rows(ctx, probe))


def _rows(ctx: Context, probe: PlannedProbe) -> Iterable[ProbeRow]:
    words, lock = ctx.words.features, ctx.evidence.lock
    origin = words["discovered" if probe.features == "discover" else "given"]
    yield _row(ctx, probe.title, origin, locked_probe(ctx, probe.concept))
    for key, probes in (("random", lock.random_probes), ("permuted", lock.permuted_probes)):
        found = _of(probes, probe.concept)
        if found is not None:
            title = words[f"{key}_title"].format(concept=probe.title)
            yield _row(ctx, title, words[key], found)


def _row(ctx: Context, title: str, origin: str, locked: LockedProbe | None) -> ProbeRow:
    selection = locked.selection if locked else None
    return ProbeRow(
        title=title,
        probe=describe_features(ctx, locked),
        origin=origin,
        facts=tuple(_facts(ctx, selection)) if selection else (),
    )


def _facts(ctx: Context, selection: Selection) -> Iterator[Fact]:
    values = _written(selection)
    for key in (*COUNTED, "auroc", "null_p95", "p_adjusted", "flips"):
        yield Fact(label=ctx.words.selection[key], value=values[key])


def _written(selection: Selection) -> dict[str, str]:
    """Everything about a search, as it is printed."""
    return {
        **{key: f"{getattr(selection, key):,}" for key in (*COUNTED, "flips")},
        "auroc": write(selection.auroc, "auroc"),
        "null_p95": write(selection.null_p95, "auroc"),
        "p_adjusted": write_p(selection.p_adjusted),
    }


def _of(probes: Sequence[LockedProbe], concept: str) -> LockedProbe | None:
    return next((probe for probe in probes if probe.concept == concept), None)
