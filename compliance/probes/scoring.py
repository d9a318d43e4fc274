"""Scores of one item: the probe, its settings and every control (records/observation.py).

On benign items only scorers with a cut-off are computed; the others are compared on positives
against hard negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from compliance.probes.ngrams import ngram_vector
from compliance.probes.pixels import colour_vector, pixel_vector
from compliance.probes.reading import Reading, by_sae
from compliance.probes.task import Task
from compliance.records.audit import FeatureRef
from compliance.records.observation import CALIBRATED
from compliance.records.plan import (
    Choices,
    LockedProbe,
    Plan,
    PlannedProbe,
    Setting,
    SparseProbe,
    region_in,
)
from compliance.records.suite import Item, Label


def is_scored(item: Item, probe: PlannedProbe) -> bool:
    """Whether a probe has scores of an item, where it has the probe's region."""
    return item.concept in (None, probe.concept) and item.label is not Label.NEUTRAL


def random_regions(item: Item, task: Task) -> frozenset[str]:
    """Regions of an item in which the pass reads the random counterparts of the SAEs."""
    if task.stage == "search" and item.variant != task.plan.searched:
        return frozenset()
    probes = (probe for probe in task.plan.probes if is_scored(item, probe))
    return frozenset(region_in(probe.region, item.modality) for probe in probes)


def scores_of(reading: Reading, probe: PlannedProbe, task: Task) -> Iterator[tuple[str, float]]:
    """Scorer and score of an item that has the probe's region.

    Args:
        reading: The item.
        probe: The concept, which is the item's own unless the item is benign.
        task: With choices.
    """
    choices, item = _choices(task), reading.item
    benign = item.concept is None
    region, pooling = region_in(probe.region, item.modality), probe.pooling
    yield "probe", probe_score(reading, probe, task)
    yield from _settings(reading, probe, choices, task.plan)
    if (random := _of(choices.random_probes, probe.concept)) is not None:
        yield "random-sae", _random_score(reading, random.features, region, pooling)
    yield from _linear(reading, probe, task, benign)
    for neighbour in choices.neighbours:
        if (neighbour.concept, neighbour.variant) == (probe.concept, item.variant):
            yield neighbour.scorer, reading.combined([neighbour.feature], region, pooling)
    if benign:
        return
    if (permuted := _of(choices.permuted_probes, probe.concept)) is not None:
        yield "permuted", reading.combined(permuted.features, region, pooling)
    for sparse in choices.sparse_probes:
        if (sparse.concept, sparse.variant) == (probe.concept, item.variant):
            yield sparse.scorer, _sparse_score(reading, sparse, probe)


def probe_score(reading: Reading, probe: PlannedProbe, task: Task) -> float:
    """The locked probe's score, as planned; of an item with a picture on the picture's tokens."""
    region = region_in(probe.region, reading.item.modality)
    return reading.combined(_locked(probe, task).features, region, probe.pooling)


def picture_scores(reading: Reading, probe: PlannedProbe, task: Task) -> np.ndarray:
    """The locked probe on each token of an item's picture, float32 ``[tokens]``."""
    return reading.on_picture(_locked(probe, task).features)


def word_scores(reading: Reading, probe: PlannedProbe, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The locked probe on tokens of an item's words: places ``[tokens, 2]``, float32 ``[tokens]``.

    Only tokens on which it is active, whatever its region.
    """
    return reading.on_words(_locked(probe, task).features)


def pooled_features(
    reading: Reading, features: Sequence[FeatureRef], region: str, pooling: str
) -> np.ndarray:
    """Pooled scores of some latents in their order, as they are stored: float32."""
    found = np.zeros(len(features), dtype=np.float32)
    saes = np.array([feature.sae for feature in features])
    for sae, latents in by_sae(features).items():
        pooled = reading.pooled(sae, region, pooling, latents)
        found[saes == sae] = pooled.numpy(force=True).astype(np.float32)
    return found


def _choices(task: Task) -> Choices:
    if task.choices is None:
        raise ValueError(f"a task of stage {task.stage!r} needs choices")
    return task.choices


def _locked(probe: PlannedProbe, task: Task) -> LockedProbe:
    return next(p for p in _choices(task).probes if p.concept == probe.concept)


def _of(probes: Sequence[LockedProbe], concept: str) -> LockedProbe | None:
    return next((probe for probe in probes if probe.concept == concept), None)


def _settings(
    reading: Reading, probe: PlannedProbe, choices: Choices, plan: Plan
) -> Iterator[tuple[str, float]]:
    """The probe read in other ways; a setting whose region the item lacks has no score.

    An item with a picture is read on its tokens alone, so that another region of words is no other
    way to read it.
    """
    locked, modality = _of(choices.probes, probe.concept), reading.item.modality
    for setting in plan.settings:
        region = setting.region or region_in(probe.region, modality)
        elsewhere = setting.region is not None and region != region_in(region, modality)
        if setting.scorer == "probe" or elsewhere or not reading.has(region):
            continue
        features = locked.features if locked else ()
        if setting.sae is not None:
            features = _alternative(choices, setting, probe.concept)
        if features:
            yield (
                setting.scorer,
                reading.combined(features, region, setting.pooling or probe.pooling),
            )


def _alternative(choices: Choices, setting: Setting, concept: str) -> Sequence[FeatureRef]:
    for alternative in choices.alternatives:
        if (alternative.setting, alternative.concept) == (setting.name, concept):
            return alternative.features
    return ()


def _random_score(
    reading: Reading, features: Sequence[FeatureRef], region: str, pooling: str
) -> float:
    return max(
        float(reading.random_pooled(sae, region, pooling, latents).max())
        for sae, latents in by_sae(features).items()
    )


def _linear(
    reading: Reading, probe: PlannedProbe, task: Task, benign: bool
) -> Iterator[tuple[str, float]]:
    """Fitted directions on means that are rounded as the fit stores them."""
    vectors: dict[str, np.ndarray] = {}
    for direction in _choices(task).directions:
        if (direction.concept, direction.variant) != (probe.concept, reading.item.variant):
            continue
        if benign and direction.scorer not in CALIBRATED:
            continue
        if direction.features not in vectors:
            vectors[direction.features] = vector_of(reading, direction.features, probe, task.plan)
        linear = task.weights[direction.scorer, direction.concept, direction.variant]
        vector = vectors[direction.features].astype(np.float64)
        yield direction.scorer, float(vector @ linear.weights) + linear.bias


def vector_of(reading: Reading, features: str, probe: PlannedProbe, plan: Plan) -> np.ndarray:
    """What linear controls read of an item, float32 ``[d]``; VECTOR_COLUMNS."""
    match features:
        case "ngrams":
            return ngram_vector(reading.item, probe.region, plan)
        case "colour":
            return colour_vector(reading.picture)
        case "pixels":
            return pixel_vector(reading.picture)
        case _:
            return reading.mean(features, region_in(probe.region, reading.item.modality))


def _sparse_score(reading: Reading, sparse: SparseProbe, probe: PlannedProbe) -> float:
    region = region_in(probe.region, reading.item.modality)
    pooled = pooled_features(reading, sparse.features, region, probe.pooling)
    return float(pooled.astype(np.float64) @ np.asarray(sparse.weights)) + sparse.bias
