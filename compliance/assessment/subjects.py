"""Several subjects under one locked plan: in which cells a concept appears, moves or vanishes.

    compare_subjects([base, first_checkpoint, second_checkpoint]).cells

Each pack is held against the first, as `assessment.comparison` compares two packs: on the items of
both, paired. Packs without the same plan and lock are shown beside it, and nothing is tested.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compliance.assessment.comparing import differences
from compliance.assessment.comparison import compare
from compliance.errors import PlanError
from compliance.records.base import to_json
from compliance.records.comparison import Measure, MeasureChange, PackName, Reading
from compliance.records.evidence import Evidence
from compliance.records.finding import Result
from compliance.records.plan import Plan
from compliance.records.subject import SaeFacts
from compliance.records.subjects import (
    MEASURES,
    NOTHING,
    Basis,
    CellStanding,
    ComparedCell,
    ComparedPack,
    FeatureMatch,
    Outcome,
    Stated,
    SubjectComparison,
)
from compliance.statistics.multiplicity import holm

BY_NATURE = ("model", "software", "locked_by")
"""What differs between the plans of two subjects under one lock."""

CALLED = ("name", "revision", "neuronpedia_id")
"""What an SAE is called; its digest says what it is."""

Floats = NDArray[np.float32]

NO_DECODERS: Mapping[str, Floats] = MappingProxyType({})

MOST_DIFFERENCES = 20
"""That are named of a pack with another plan."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the packs."""

    name: PackName
    evidence: Evidence
    files: Mapping[str, bytes]
    """confirm/items.csv and confirm/scores.csv by path below ``observations/``."""

    digests: Mapping[str, str]
    """Digest of the contents of each item that the pack shows, by id."""


def compare_subjects(
    sides: Sequence[Side], decoders: Mapping[str, Floats] = NO_DECODERS
) -> SubjectComparison:
    """Hold every pack against the first.

    A concept is *seen* in a cell of a pack where the interval of its AUROC against hard negatives
    lies above `NOTHING`. A change is *shown* where its p value, adjusted by Holm over all measures,
    cells and packs that are tested, is at most the family error. A concept *vanishes* where the
    first pack sees it, the other does not, and a fall of that AUROC is shown; it *appears* the
    other way round; it *moves* where any other change is shown.

    Args:
        sides: The packs, the one that the others are held against first. At least two. The first
            one's level, draws, seed and family error are used.
        decoders: By the digest of an SAE its decoder, one row for each latent, ``[d_sae, d]``;
            features of different SAEs are matched by it.

    Raises:
        PlanError: Fewer than two packs, or a plan asks for more draws than a plan can.
        StatisticsError: The plan's level or number of draws is impossible.

    Source:
        As `assessment.comparison.compare`; `statistics.multiplicity.holm`.
    """
    if len(sides) < 2:
        raise PlanError("one pack has nothing to be compared with", hint="give two or more")
    first = sides[0]
    plan = first.evidence.plan
    packs = tuple(_pack(first, side) for side in sides)
    tested = {
        place: _tested(first, side)
        for place, side in enumerate(sides)
        if packs[place].basis is Basis.SAME_LOCK
    }
    adjusted, tests = _adjusted(tested, plan.family_error)
    return SubjectComparison(
        packs=packs,
        titles={
            probe.concept: probe.title
            for side in reversed(sides)
            for probe in side.evidence.plan.probes
        },
        cells=tuple(_cells(sides, adjusted)),
        matches=tuple(
            match
            for place, side in enumerate(sides[1:], start=1)
            for match in _matches(first, side, place, decoders)
        ),
        tests=tests,
        level=plan.level,
        family_error=plan.family_error,
        draws=plan.bootstrap_draws,
        seed=plan.seed,
    )


def _pack(first: Side, side: Side) -> ComparedPack:
    evidence = side.evidence
    by = evidence.plan.locked_by
    differs = () if side is first else tuple(_differs(first.evidence, evidence))
    same = Basis.FIRST if side is first else Basis.SAME_LOCK
    return ComparedPack(
        pack=side.name,
        system=f"{evidence.system.title} {evidence.system.version}",
        model=evidence.plan.model,
        basis=Basis.OTHER_LOCK if differs else same,
        differs=differs[:MOST_DIFFERENCES],
        locked_by=None if by is None else by.root_digest,
    )


def _differs(first: Evidence, other: Evidence) -> Iterator[str]:
    """What of plan and lock is not the same, whatever models and SAEs are called."""
    here, there = (without_subject(evidence.plan) for evidence in (first, other))
    yield from (
        f"plan.{key}" for key in dict.fromkeys((*here, *there)) if here.get(key) != there.get(key)
    )
    locks = [e.lock.model_copy(update={"plan_digest": ""}) for e in (first, other)]
    if next(differences("lock", *map(to_json, locks)), None):
        yield "lock"


def without_subject(plan: Plan) -> dict[str, Any]:
    """A plan as JSON without the model, and without what its SAEs are called."""
    found = {key: value for key, value in to_json(plan).items() if key not in BY_NATURE}
    found["saes"] = [
        {key: value for key, value in sae.items() if key not in CALLED} for sae in found["saes"]
    ]
    return found


def _tested(first: Side, side: Side) -> list[MeasureChange]:
    """The paired comparison with the first pack, of the measures that are tested."""
    numbers = ("level", "family_error", "bootstrap_draws", "seed")
    plan = side.evidence.plan.model_copy(
        update={name: getattr(first.evidence.plan, name) for name in numbers}
    )
    found = compare(
        first.evidence, first.files, side.evidence.model_copy(update={"plan": plan}), side.files,
        old_items=first.digests, new_items=side.digests,
    )  # fmt: skip
    return [change for change in found.measures if change.measure in MEASURES]


def _adjusted(
    tested: Mapping[int, Sequence[MeasureChange]], error: float
) -> tuple[dict[tuple[int, str], list[MeasureChange]], int]:
    """Holm over everything that is tested; by pack and cell, and how much that is."""
    every = [(place, change) for place, found in tested.items() for change in found]
    family = [change.p for _, change in every if change.p is not None]
    p_values = iter(holm(family)) if family else iter(())
    found: dict[tuple[int, str], list[MeasureChange]] = {}
    for place, change in every:
        if change.p is not None:
            change = _read_again(change, float(next(p_values)), error)
        found.setdefault((place, change.cell.key), []).append(change)
    return found, len(family)


def _read_again(change: MeasureChange, p: float, error: float) -> MeasureChange:
    shown = p <= error and bool(change.difference)
    if not shown:
        return change.model_copy(update={"p_holm": p, "reading": Reading.NO_CHANGE})
    risen = (change.difference or 0.0) > 0
    better = risen != (change.measure == "fpr-benign")
    reading = Reading.BETTER if better else Reading.WORSE
    return change.model_copy(update={"p_holm": p, "reading": reading})


def _cells(
    sides: Sequence[Side], adjusted: Mapping[tuple[int, str], Sequence[MeasureChange]]
) -> Iterator[ComparedCell]:
    results = [{r.id: r for r in side.evidence.results} for side in sides]
    verdicts = [{f.cell.key: f.verdict for f in side.evidence.findings} for side in sides]
    planned = {cell.key: cell for side in reversed(sides) for cell in side.evidence.plan.cells}
    ordered = {c.key: c for side in sides for c in side.evidence.plan.cells}
    for key in ordered:
        standings: list[CellStanding] = []
        for place in range(len(sides)):
            stated = tuple(_stated(results[place].get(f"{key}/{m}"), m) for m in MEASURES)
            standing = CellStanding(
                verdict=verdicts[place].get(key),
                seen=_seen(stated[0]),
                stated=stated,
                changes=tuple(adjusted.get((place, key), ())),
            )
            if place:
                outcome = _outcome(standings[0], standing)
                standing = standing.model_copy(update={"outcome": outcome})
            standings.append(standing)
        yield ComparedCell(cell=planned[key], packs=tuple(standings))


def _stated(result: Result | None, measure: Measure) -> Stated:
    if result is None:
        return Stated(measure=measure, reason="not measured")
    return Stated(
        measure=measure, value=result.value, low=result.low, high=result.high, n=result.n,
        reason=result.reason if result.value is None else None,
    )  # fmt: skip


def _seen(auroc: Stated) -> bool | None:
    return None if auroc.low is None else auroc.low > NOTHING


def _outcome(first: CellStanding, other: CellStanding) -> Outcome:
    compared = {c.measure: c for c in other.changes if c.difference is not None}
    if not compared:
        return Outcome.NOT_COMPARED
    shown = [c for c in compared.values() if c.reading in (Reading.BETTER, Reading.WORSE)]
    if not shown:
        return Outcome.NO_CHANGE
    ranking = compared.get("auroc-hard")
    if ranking in shown:
        if first.seen and other.seen is False and ranking.reading is Reading.WORSE:
            return Outcome.VANISHES
        if first.seen is False and other.seen and ranking.reading is Reading.BETTER:
            return Outcome.APPEARS
    return Outcome.MOVES


def _matches(
    first: Side, side: Side, place: int, decoders: Mapping[str, Floats]
) -> Iterator[FeatureMatch]:
    """What stands in another pack for each feature of the first pack's probes."""
    theirs = {probe.concept: probe.features for probe in side.evidence.lock.probes}
    saes, others = first.evidence.plan.saes, side.evidence.plan.saes
    by_digest = {sae.digest: number for number, sae in enumerate(others)}
    for probe in first.evidence.lock.probes:
        locked = {(f.sae, f.latent) for f in theirs.get(probe.concept, ())}
        for feature in probe.features:
            sae = saes[feature.sae]
            unknown = FeatureMatch(
                concept=probe.concept, pack=place, sae=sae.name, latent=feature.latent,
                how="no-match-possible",
            )  # fmt: skip
            if sae.digest in by_digest:
                same = by_digest[sae.digest]
                yield _matched(unknown, others, (same, feature.latent), locked, how="same-sae")
                continue
            own = decoders.get(sae.digest)
            cosines = {} if own is None else _cosines(own[feature.latent], others, decoders)
            if not cosines:
                yield unknown
                continue
            best = max(cosines, key=lambda number: (cosines[number].max(), -number))
            match = (best, int(cosines[best].argmax()))
            near = [float(cosines[s][n]) for s, n in locked if s in cosines]
            yield _matched(
                unknown, others, match, locked, how="decoder",
                cosine=float(cosines[best].max()),
                locked_cosine=max(near) if near and match not in locked else None,
            )  # fmt: skip


def _matched(
    unknown: FeatureMatch, others: Sequence[SaeFacts], match: tuple[int, int],
    locked: Collection[tuple[int, int]], **found: object,
) -> FeatureMatch:  # fmt: skip
    sae, latent = match
    named = {"other_sae": others[sae].name, "other_latent": latent, "locked": match in locked}
    return unknown.model_copy(update=named | found)


def _cosines(
    row: Floats, others: Sequence[SaeFacts], decoders: Mapping[str, Floats]
) -> dict[int, Floats]:
    """By place of the SAE, the cosine of each of its decoder rows with this one."""
    return {
        number: _directions(decoders[sae.digest]) @ _directions(row)
        for number, sae in enumerate(others)
        if sae.digest in decoders and decoders[sae.digest].shape[1] == len(row)
    }


def _directions(rows: Floats) -> Floats:
    """Rows of length 1; one of zeros stays."""
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, size, out=np.zeros_like(rows), where=size > 0)
