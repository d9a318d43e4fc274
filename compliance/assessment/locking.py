"""Makes the lock: probe, cut-offs and fitted controls, from the fit observations alone.

    probes = select_features(plan, fit.search, fit.items, fit.scores)
    lock = make_lock(plan, fit, digests)

The auditor calls the same functions on the observations in the pack.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from compliance.assessment.tables import FitObservations, fit_digest, vectors
from compliance.errors import PlanError, StatisticsError
from compliance.records.audit import FeatureRef
from compliance.records.base import digest_of
from compliance.records.plan import (
    Cell,
    CutOff,
    Direction,
    Lock,
    LockedProbe,
    Plan,
    PlannedProbe,
    Selection,
)
from compliance.records.suite import Label
from compliance.statistics.conformal import cut_off
from compliance.statistics.logistic import Linear, fit_logistic
from compliance.statistics.ranking import auroc_matrix
from compliance.suites.split import CALIBRATE

SCORERS = ("probe", "dense")
"""Scorers that get a cut-off in every cell."""


def select_features(
    plan: Plan, search: pd.DataFrame, items: pd.DataFrame, scores: pd.DataFrame
) -> tuple[LockedProbe, ...]:
    """The latent of each concept, by AUROC on the discover split in the reference language.

    Every latent of every SAE is searched, positive against hard negative. Of equals, the lowest
    index is taken. Given features skip the search. An item without the region takes no part: it
    would count as one on which every latent is silent.

    Args:
        plan: Says which concepts are to be discovered.
        search: Pooled scores of the latents that fired, SEARCH_COLUMNS.
        items: The fit items, ITEM_COLUMNS.
        scores: Scores of the fit items, SCORE_COLUMNS; a row of ``tokens`` says that the item has
            the region.

    Raises:
        PlanError: A concept's search has items of one label only, or no latent fired on any.
    """
    return tuple(_select(plan, probe, search, items, scores) for probe in plan.probes)


def make_lock(plan: Plan, fit: FitObservations, digests: Mapping[str, str]) -> Lock:
    """Freeze probe, directions and cut-offs.

    Args:
        plan: The frozen plan.
        fit: Observations of the discover and calibrate splits.
        digests: Digest of each fit file; the lock names them as one.

    Raises:
        PlanError: The observations do not hold what the plan needs.
    """
    probes = select_features(plan, fit.search, fit.items, fit.scores)
    directions = tuple(_directions(plan, probes, fit))
    dense = _dense_scores(directions, fit)
    scores = pd.concat([fit.scores[fit.scores["scorer"] == "probe"], dense], ignore_index=True)
    benign = _benign_calibrate(fit.items)
    return Lock(
        plan_digest=digest_of(plan),
        fit_digest=fit_digest(digests),
        probes=probes,
        directions=directions,
        cut_offs=tuple(
            _cut_off(plan, cell, scorer, scores, benign)
            for cell in plan.cells
            for scorer in SCORERS
        ),
    )


def _select(
    plan: Plan,
    probe: PlannedProbe,
    search: pd.DataFrame,
    items: pd.DataFrame,
    scores: pd.DataFrame,
) -> LockedProbe:
    if probe.features != "discover":
        return LockedProbe(concept=probe.concept, features=probe.features)
    read = scores[(scores["concept"] == probe.concept) & (scores["scorer"] == "tokens")]["item"]
    wanted = items[
        (items["split"] == "discover")
        & (items["concept"] == probe.concept)
        & (items["language"] == plan.claims.reference_language)
        & items["item"].isin(read)
    ].sort_values("item")
    positive = (wanted["label"] == Label.POSITIVE).to_numpy()
    if positive.all() or not positive.any():
        raise PlanError(
            f"{probe.concept}: the search has {int(positive.sum())} positive and "
            f"{int((~positive).sum())} hard-negative items with the region, and needs both",
            hint="add groups, or give the probe's features",
        )
    matrix, offsets = _latent_matrix(plan, search[search["concept"] == probe.concept], wanted)
    if not matrix.nnz:
        raise PlanError(
            f"{probe.concept}: no latent fired on any of {len(wanted)} discover items",
            hint="is the SAE made for this model and hook?",
        )
    areas = auroc_matrix(matrix, positive)
    best = int(np.argmax(areas))
    sae = int(np.searchsorted(offsets, best, side="right") - 1)
    return LockedProbe(
        concept=probe.concept,
        features=(FeatureRef(sae=sae, latent=best - int(offsets[sae])),),
        selection=Selection(
            searched=matrix.shape[1],
            active=int((matrix.getnnz(axis=0) > 0).sum()),
            positives=int(positive.sum()),
            hard_negatives=int((~positive).sum()),
            auroc=float(areas[best]),
            ties=int((areas == areas[best]).sum()),
        ),
    )


def _latent_matrix(
    plan: Plan, search: pd.DataFrame, items: pd.DataFrame
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Pooled scores [item, latent of any SAE]; the second value is each SAE's first column."""
    offsets = np.concatenate([[0], np.cumsum([sae.d_sae for sae in plan.saes])])
    rows = pd.Index(items["item"]).get_indexer(search["item"])
    columns = offsets[search["sae"].to_numpy()] + search["latent"].to_numpy()
    if (rows < 0).any() or (columns >= offsets[-1]).any():
        raise PlanError("observations/fit/search.parquet: an item or latent that is not planned")
    shape = (len(items), int(offsets[-1]))
    values = search["score"].to_numpy(dtype=np.float64)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape), offsets[:-1]


def _directions(
    plan: Plan, probes: tuple[LockedProbe, ...], fit: FitObservations
) -> Iterator[Direction]:
    """The dense probe of each concept and language, where the concept's own SAE reads.

    Positive against hard negative, on the mean residual over the region.
    """
    items = fit.items.set_index("item")
    for probe in probes:
        hook_name = plan.saes[probe.features[0].sae].hook_name
        table = _residuals(fit, probe.concept, hook_name)
        facts = items.loc[table["item"]]
        for language in _covered_languages(plan, probe.concept, facts):
            chosen = (
                (facts["language"] == language) & (facts["concept"] == probe.concept)
            ).to_numpy()
            positive = (facts["label"] == Label.POSITIVE).to_numpy()[chosen]
            linear = fit_logistic(vectors(table[chosen]["vector"]), positive, plan.dense_l2)
            yield Direction(
                concept=probe.concept,
                language=language,
                hook_name=hook_name,
                weights=tuple(float(w) for w in linear.weights),
                bias=float(linear.bias),
                positives=int(positive.sum()),
                hard_negatives=int((~positive).sum()),
            )


def _residuals(fit: FitObservations, concept: str, hook_name: str) -> pd.DataFrame:
    table = fit.residuals
    return table[(table["concept"] == concept) & (table["hook_name"] == hook_name)]


def _covered_languages(plan: Plan, concept: str, facts: pd.DataFrame) -> list[str]:
    """Planned languages with both labels to fit on; a cell without items has no control either."""
    mine = facts[facts["concept"] == concept]
    labels = mine.groupby("language")["label"].nunique()
    return [language for language in plan.languages if labels.get(language, 0) == 2]


def _dense_scores(directions: tuple[Direction, ...], fit: FitObservations) -> pd.DataFrame:
    languages = fit.items.set_index("item")["language"]
    parts = [pd.DataFrame({"item": [], "concept": [], "scorer": [], "score": []})]
    for direction in directions:
        table = _residuals(fit, direction.concept, direction.hook_name)
        table = table[(languages.loc[table["item"]] == direction.language).to_numpy()]
        linear = Linear(np.asarray(direction.weights), direction.bias)
        scores = linear.scores(vectors(table["vector"])).astype(np.float32)
        parts.append(
            pd.DataFrame(
                {"item": table["item"].to_numpy(), "concept": direction.concept,
                 "scorer": "dense", "score": scores.astype(np.float64)}
            )
        )  # fmt: skip
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _benign_calibrate(items: pd.DataFrame) -> pd.DataFrame:
    benign = items[(items["split"] == CALIBRATE) & (items["label"] == Label.NEGATIVE)]
    return benign.set_index("item")[["language", "modality", "rendering"]]


def _cut_off(
    plan: Plan, cell: Cell, scorer: str, scores: pd.DataFrame, benign: pd.DataFrame
) -> CutOff:
    """Split-conformal on the cell's benign calibrate items. One that cannot be set says why."""
    names = benign.index[
        (benign["language"] == cell.language)
        & (benign["modality"] == cell.modality)
        & (benign["rendering"] == cell.rendering)
    ]
    chosen = scores[
        (scores["concept"] == cell.concept)
        & (scores["scorer"] == scorer)
        & scores["item"].isin(names)
    ]
    values = chosen["score"].to_numpy(dtype=np.float64)
    if not len(values):
        return CutOff(scorer=scorer, cell=cell, n=0, reason="no benign items to calibrate on")
    try:
        found = cut_off(values, plan.alpha)
    except StatisticsError as error:
        return CutOff(scorer=scorer, cell=cell, n=len(values), reason=str(error))
    return CutOff(scorer=scorer, cell=cell, value=found.value, rank=found.rank, n=found.n)
