"""Makes the lock: choices and cut-offs, frozen before the confirm split is opened.

    choices = choose(plan, fit)
    lock = make_lock(plan, choices, fit, digests)

The auditor makes it again from the observations in the pack::

    recomputed_lock(plan, lock, fit, digests, deep=True)
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from compliance.assessment.cells import reads_otherwise
from compliance.assessment.choosing import choose, covered_variants, fit_items, is_positive
from compliance.assessment.tables import FitObservations, fit_digest, of_variant, places_of
from compliance.errors import StatisticsError
from compliance.records.base import digest_of
from compliance.records.observation import CALIBRATED
from compliance.records.plan import (
    Cell,
    Choices,
    CutOff,
    Lock,
    LockedProbe,
    Orientation,
    Plan,
    Selection,
)
from compliance.records.suite import Label, Variant
from compliance.statistics.conformal import cut_off
from compliance.statistics.ranking import auroc
from compliance.suites.split import CALIBRATE


def make_lock(
    plan: Plan, choices: Choices, fit: FitObservations, digests: Mapping[str, str]
) -> Lock:
    """Freeze choices, orientations and cut-offs.

    Args:
        plan: The frozen plan.
        choices: As `choose` made them from the same observations.
        fit: Observations of the discover and calibrate splits.
        digests: Digest of each fit file; the lock names them as one.
    """
    return Lock(
        **{name: getattr(choices, name) for name in Choices.model_fields},
        plan_digest=digest_of(plan),
        fit_digest=fit_digest(digests),
        orientations=tuple(_orientations(plan, fit)),
        cut_offs=tuple(_cut_offs(plan, choices, _benign_scores(fit))),
    )


def recomputed_lock(
    plan: Plan, lock: Lock, fit: FitObservations, digests: Mapping[str, str], *, deep: bool
) -> Lock:
    """Make the lock that the observations give, to be compared with the one that is stated.

    Args:
        plan: The frozen plan.
        lock: As stated.
        fit: Observations of the discover and calibrate splits.
        digests: Digest of each fit file.
        deep: Draw the null of every search again. Without, its p value and 95th percentile are
            taken as stated; which latent is best, and all that is drawn or fitted, never is.

    Raises:
        PlanError: The observations do not hold what the plan needs.
    """
    if deep:
        return make_lock(plan, choose(plan, fit), fit, digests)
    found = choose(plan.model_copy(update={"flips": 1}), fit)
    searches = ("probes", "random_probes", "permuted_probes")
    stated = {name: _with_null(getattr(found, name), getattr(lock, name)) for name in searches}
    return make_lock(plan, found.model_copy(update=stated), fit, digests)


def _with_null(
    found: tuple[LockedProbe, ...], stated: tuple[LockedProbe, ...]
) -> tuple[LockedProbe, ...]:
    """Probes as found, with what the lock states of the null of their searches."""
    by_concept = {probe.concept: probe.selection for probe in stated}
    return tuple(_one_with_null(probe, by_concept.get(probe.concept)) for probe in found)


def _one_with_null(probe: LockedProbe, stated: Selection | None) -> LockedProbe:
    if probe.selection is None or stated is None:
        return probe
    null = {name: getattr(stated, name) for name in ("p_adjusted", "null_p95", "flips")}
    return probe.model_copy(update={"selection": probe.selection.model_copy(update=null)})


def _orientations(plan: Plan, fit: FitObservations) -> Iterator[Orientation]:
    """Which way a token count ranks positives; equal means upwards."""
    counts = fit.scores[fit.scores["scorer"] == "tokens"]
    for probe in plan.probes:
        items = fit_items(fit, probe.concept)
        count = counts[counts["concept"] == probe.concept]
        for variant in covered_variants(plan, probe.concept, items):
            part = items[of_variant(items, variant)]
            read = places_of(part["item"], count["item"])
            scores, positive = count["score"].to_numpy()[read], is_positive(part)
            upwards = auroc(scores[positive], scores[~positive]) >= 0.5
            sign = 1 if upwards else -1
            yield Orientation(concept=probe.concept, **variant._asdict(), sign=sign)


def _benign_scores(fit: FitObservations) -> dict[tuple[str, ...], np.ndarray]:
    """Scores of benign calibrate items by concept, scorer and the rest of a cell."""
    benign = fit.items[
        (fit.items["split"] == CALIBRATE) & (fit.items["label"] == Label.NEGATIVE.value)
    ]
    facts = list(Variant._fields)
    places = places_of(fit.scores["item"], benign["item"])
    known = fit.scores[places >= 0].reset_index(drop=True)
    its_facts = benign[facts].iloc[places[places >= 0]].reset_index(drop=True)
    scores = pd.concat([known, its_facts], axis=1)
    return {
        key: part.to_numpy(dtype=np.float64)
        for key, part in scores.groupby(["concept", "scorer", *facts])["score"]
    }


def _cut_offs(
    plan: Plan, choices: Choices, scores: Mapping[tuple[str, ...], np.ndarray]
) -> Iterator[CutOff]:
    """Of every cell: scorers of all cells, then settings, then its variant's neighbours."""
    for cell in plan.cells:
        for scorer in CALIBRATED:
            yield _cut_off(cell, scorer, scorer, plan.alpha, scores)
        for setting in (s for s in plan.settings if reads_otherwise(s, cell)):
            alpha = plan.alpha if setting.alpha is None else setting.alpha
            yield _cut_off(cell, setting.cut_off, setting.scorer, alpha, scores)
        for neighbour in choices.neighbours:
            if (neighbour.concept, neighbour.variant) == (cell.concept, cell.variant):
                yield _cut_off(cell, neighbour.scorer, neighbour.scorer, plan.alpha, scores)


def _cut_off(
    cell: Cell,
    name: str,
    scorer: str,
    alpha: float,
    scores: Mapping[tuple[str, ...], np.ndarray],
) -> CutOff:
    """Split-conformal on the cell's benign calibrate items. One that cannot be set says why."""
    values = scores.get((cell.concept, scorer, *cell.variant))
    if values is None:
        counted = (cell.concept, "tokens", *cell.variant) in scores
        reason = (
            "no benign item has a score of it" if counted else "no benign items to calibrate on"
        )
        return CutOff(scorer=name, cell=cell, n=0, reason=reason)
    try:
        found = cut_off(values, alpha)
    except StatisticsError as error:
        return CutOff(scorer=name, cell=cell, n=len(values), reason=str(error))
    return CutOff(scorer=name, cell=cell, value=found.value, rank=found.rank, n=found.n)
