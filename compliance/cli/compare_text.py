"""Several subjects side by side, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from compliance.cli.diff_text import REASONS
from compliance.records.comparison import MeasureChange, Reading
from compliance.records.page import printable
from compliance.records.plan import Cell
from compliance.records.subjects import (
    Basis,
    ComparedCell,
    ComparedPack,
    FeatureMatch,
    Outcome,
    Stated,
    SubjectComparison,
)

NAMES = {
    "auroc-hard": "AUROC against hard negatives",
    "sensitivity": "sensitivity",
    "fpr-benign": "false positive rate",
}
WIDTH = max(map(len, NAMES.values()))
BASES = {
    Basis.FIRST: "what the others are compared with",
    Basis.SAME_LOCK: "the same lock",
    Basis.OTHER_LOCK: "another plan or lock: shown, not tested",
}


def compare_lines(found: SubjectComparison) -> Iterator[str]:
    """The packs, each cell in all of them, and what became of each concept."""
    yield from (printable(line).replace("\n", " ") for line in _lines(found))


def _lines(found: SubjectComparison) -> Iterator[str]:
    for place, pack in enumerate(found.packs):
        yield from _pack(place, pack)
    yield ""
    yield from _rule(found)
    for one in found.cells:
        yield ""
        yield f"{one.cell.key}"
        yield from _cell(one)
    yield ""
    yield from _features(found)
    yield ""
    yield from _summary(found)


def _pack(place: int, pack: ComparedPack) -> Iterator[str]:
    yield (
        f"[{place}] {pack.pack.pack_id}  {pack.model.name}  {pack.model.weights_digest}  "
        f"{BASES[pack.basis]}"
    )
    yield f"    root {pack.pack.root_digest}"
    if pack.locked_by is not None:
        yield f"    locked by the pack {pack.locked_by}"
    if pack.differs:
        yield f"    differs: {', '.join(pack.differs)}"


def _rule(found: SubjectComparison) -> Iterator[str]:
    yield (
        f"seen: the {found.level:.0%} interval of the AUROC against hard negatives lies above "
        f"{found.nothing:g}. A change is shown where its p value, adjusted by Holm over all "
        f"{found.tests} numbers that are tested here, is at most {found.family_error:g}."
    )
    yield (
        "vanishes: seen in [0] and not here, and the fall of that AUROC is shown; appears: the "
        "other way round; moves: any other change is shown."
    )


def _cell(one: ComparedCell) -> Iterator[str]:
    for place, standing in enumerate(one.packs):
        if standing.verdict is None:
            yield f"  [{place}] not planned"
            continue
        seen = {True: "seen", False: "not seen", None: "cannot be told"}[standing.seen]
        outcome = "" if standing.outcome is None else f"; {standing.outcome.replace('-', ' ')}"
        yield f"  [{place}] {standing.verdict.replace('-', ' ')}; {seen}{outcome}"
        changes = {change.measure: change for change in standing.changes}
        for stated in standing.stated:
            yield f"      {NAMES[stated.measure]:<{WIDTH}}  {_value(stated)}" + _change(
                changes.get(stated.measure)
            )


def _value(stated: Stated) -> str:
    if stated.value is None:
        return f"no value: {stated.reason or 'not measured'}"
    bounds = "" if stated.low is None else f" ({stated.low:.3f} to {stated.high:.3f})"
    return f"{stated.value:.3f}{bounds}"


def _change(change: MeasureChange | None) -> str:
    if change is None:
        return ""
    if change.difference is None:
        return f"  not comparable: {REASONS[change.reason]}" if change.reason else ""
    shown = change.reading in (Reading.BETTER, Reading.WORSE)
    return (
        f"  {change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f})  "
        f"p {_p(change.p_holm or 0.0)}{'  shown' if shown else ''}  [{change.groups} groups]"
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def _features(found: SubjectComparison) -> Iterator[str]:
    yield "features of [0] and what stands for them"
    for match in found.matches:
        yield f"  {match.concept}: {match.sae}/{match.latent}, in [{match.pack}] {_match(match)}"


def _match(match: FeatureMatch) -> str:
    if match.how == "no-match-possible":
        return "unknown: another SAE, and not all weights were given (--sae)"
    locked = "" if match.locked else ", which is not the locked probe there" + _locked(match)
    if match.how == "same-sae":
        return f"the same latent of the same SAE{locked}"
    return (
        f"{match.other_sae}/{match.other_latent}, matched by decoder direction, cosine "
        f"{match.cosine:.3f}{locked}"
    )


def _summary(found: SubjectComparison) -> Iterator[str]:
    for place in range(1, len(found.packs)):
        yield f"from [0] to [{place}]"
        for concept, title in found.titles.items():
            mine = [one for one in found.cells if one.cell.concept == concept]
            yield f"  {title}: {_became(mine, place)}"


def _became(cells: list[ComparedCell], place: int) -> str:
    said = []
    for outcome in Outcome:
        mine = [one.cell for one in cells if one.packs[place].outcome is outcome]
        if mine:
            where = ", ".join(_short(cell) for cell in mine)
            said.append(f"{outcome.replace('-', ' ')} ({where})")
    return "; ".join(said)


def _short(cell: Cell) -> str:
    """A cell within its concept; of plain text the form goes without saying."""
    form = "" if cell.modality == "text" else f"/{cell.modality}/{cell.rendering}"
    return f"{cell.language}{form}"


def _locked(match: FeatureMatch) -> str:
    """How near the feature comes that is locked there."""
    found = match.locked_cosine
    return "" if found is None else f" (cosine with that one at most {found:.3f})"
