"""Writes down what one batch showed, item by item, as far as the task asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from compliance.probes.fidelity import fired_tokens, role_sums
from compliance.probes.losses import loss_sums
from compliance.probes.reading import Reading
from compliance.probes.scoring import (
    is_scored,
    picture_scores,
    pooled_features,
    probe_score,
    scores_of,
    vector_of,
    word_scores,
)
from compliance.probes.shards import REGIONS, Shard
from compliance.probes.task import Reader, Task
from compliance.records.observation import SOURCES, applies, source_of
from compliance.records.plan import PlannedProbe, region_in


class Rows:
    """Collects the rows of one shard."""

    def __init__(self, task: Task, reader: Reader) -> None:
        self.task = task
        self.reader = reader
        self.items: list[str] = []
        self.facts: list[tuple[int, int, int]] = []
        self.scores: list[tuple[int, int, int, float]] = []
        self.latents = _Latents()
        self.random = _Latents()
        self.vectors_of: list[tuple[int, int, int]] = []
        self.vectors: list[np.ndarray] = []
        self.sums: list[tuple[float, ...]] = []
        self.means: list[np.ndarray] = []
        self.l0: list[np.ndarray] = []
        self.firing: dict[tuple[int, int, int, int], list[Tensor]] = {}
        self.losses: list[tuple[float, ...]] = []
        self.patches_of: list[tuple[int, int, int, int]] = []
        self.patches: list[np.ndarray] = []
        self.tokens_of: list[tuple[int, int]] = []
        self.tokens: list[tuple[np.ndarray, np.ndarray]] = []
        self.cofiring: dict[tuple[int, int], list[Tensor]] = {}

    def add(self, reading: Reading) -> None:
        """Write down one item."""
        i, item, stage = len(self.items), reading.item, self.task.stage
        self.items.append(item.id)
        self.facts.append((reading.prepared.length, int(reading.beyond_context), reading.sinks))
        if stage == "losses":
            self.losses += [(i, *row) for row in loss_sums(reading)]
            return
        for p, probe in enumerate(self.task.plan.probes):
            if is_scored(item, probe) and reading.has(region_in(probe.region, item.modality)):
                self._add_probe(i, p, probe, reading)
        if stage in ("calibrate", "confirm"):
            self._add_sums(i, reading)
        if stage == "confirm":
            self._add_firing(reading)
            self._add_cofiring(reading)

    def _add_probe(self, i: int, p: int, probe: PlannedProbe, reading: Reading) -> None:
        if self.task.stage in ("shifts", "repeats"):
            self._add_score(i, p, "probe", probe_score(reading, probe, self.task))
            return
        region = region_in(probe.region, reading.item.modality)
        self._add_score(i, p, "tokens", float(len(reading.places(reading.main, region))))
        if self.task.stage == "search":
            self._add_search(i, p, probe, reading)
            return
        for scorer, score in scores_of(reading, probe, self.task):
            self._add_score(i, p, scorer, score)
        if self.task.stage == "confirm" and reading.item.image is None:
            self.tokens_of.append((i, p))
            self.tokens.append(word_scores(reading, probe, self.task))
        if self.task.stage == "confirm" and reading.item.concept is not None:
            self._add_random_latents(i, p, probe, reading)
            if reading.item.image is not None:
                self.patches_of.append((i, p, *reading.grid))
                self.patches.append(picture_scores(reading, probe, self.task))

    def _add_score(self, i: int, p: int, scorer: str, score: float) -> None:
        self.scores.append((i, p, self.task.scorers.index(scorer), score))

    def _add_search(self, i: int, p: int, probe: PlannedProbe, reading: Reading) -> None:
        self._add_fired(self.latents, i, p, probe, reading, reading.pooled_all)
        if reading.item.variant == self.task.plan.searched:
            self._add_fired(self.random, i, p, probe, reading, reading.random_pooled_all)
        for kind, features in enumerate(self.task.vectors):
            if not applies(features, reading.item.variant):
                continue
            self.vectors_of.append((i, p, kind))
            self.vectors.append(vector_of(reading, features, probe, self.task.plan))

    def _add_fired(
        self, rows: _Latents, i: int, p: int, probe: PlannedProbe, reading: Reading,
        pooled: Callable[..., tuple[Tensor, Tensor]],
    ) -> None:  # fmt: skip
        region = region_in(probe.region, reading.item.modality)
        for s in range(len(self.reader.saes)):
            latents, scores = (v.numpy(force=True) for v in pooled(s, region, probe.pooling))
            rows.add(i, p, s, latents[scores != 0], scores[scores != 0])

    def _add_random_latents(self, i: int, p: int, probe: PlannedProbe, reading: Reading) -> None:
        choices = self.task.choices
        for drawn in choices.random_latents if choices else ():
            if drawn.concept != probe.concept:
                continue
            region = region_in(probe.region, reading.item.modality)
            scores = pooled_features(reading, drawn.features, region, probe.pooling)
            places = np.array([(f.sae, f.latent) for f in drawn.features]).reshape(-1, 2)
            fired = scores != 0
            for s in sorted(set(places[fired, 0].tolist())):
                mine = fired & (places[:, 0] == s)
                self.latents.add(i, p, s, places[mine, 1], scores[mine])

    def _add_sums(self, i: int, reading: Reading) -> None:
        for s in range(len(self.reader.saes)):
            for sums in role_sums(reading, s):
                self.sums.append(
                    (i, s, sums.role, sums.tokens, sums.error, sums.spread, sums.cosine,
                     sums.norm_ratio)
                )  # fmt: skip
                self.means.append(sums.mean)
                self.l0.append(sums.l0)

    def _add_firing(self, reading: Reading) -> None:
        language = self.task.plan.languages.index(reading.item.language)
        has_neutral_text = self.task.plan.has_neutral_text
        source = SOURCES.index(source_of(reading.item.label, has_neutral_text=has_neutral_text))
        for s in range(len(self.reader.saes)):
            for code, region in enumerate(REGIONS):
                key = (language, code, source, s)
                self.firing.setdefault(key, []).append(fired_tokens(reading, s, region))

    def _add_cofiring(self, reading: Reading) -> None:
        for s, latent in self.task.locked_features:
            self.cofiring.setdefault((s, latent), []).append(reading.cofired(s, latent))

    def shard(self) -> Shard:
        """Everything that was written down."""
        return Shard(
            items=np.array(self.items),
            facts=np.array(self.facts, dtype=np.int64).reshape(-1, 3),
            scores=np.array(self.scores, dtype=np.float64).reshape(-1, 4),
            latents=self.latents.places(),
            latent_scores=self.latents.values(),
            random=self.random.places(),
            random_scores=self.random.values(),
            vectors_of=np.array(self.vectors_of, dtype=np.int64).reshape(-1, 3),
            vectors=tuple(self.vectors),
            sums=np.array(self.sums, dtype=np.float64).reshape(-1, 8),
            means=tuple(self.means),
            l0=tuple(self.l0),
            firing=_counted(self.firing, 4),
            losses=np.array(self.losses, dtype=np.float64).reshape(-1, 7),
            patches_of=np.array(self.patches_of, dtype=np.int64).reshape(-1, 4),
            patches=tuple(self.patches),
            tokens_of=np.array(self.tokens_of, dtype=np.int64).reshape(-1, 2),
            starts=tuple(places[:, 0] for places, _ in self.tokens),
            ends=tuple(places[:, 1] for places, _ in self.tokens),
            activations=tuple(values for _, values in self.tokens),
            cofiring=_counted(self.cofiring, 2),
        )


def _counted(found: Mapping[tuple[int, ...], Sequence[Tensor]], keys: int) -> np.ndarray:
    """How often each latent was found, as rows: the keys, the latent and its count."""
    parts = [np.empty((0, keys + 2), np.int64)]
    for key, latents in sorted(found.items()):
        counts = np.bincount(torch.cat(list(latents)).numpy(force=True))
        each = np.flatnonzero(counts)
        places = np.broadcast_to(np.array(key, dtype=np.int64), (len(each), keys))
        parts.append(np.column_stack([places, each, counts[each]]))
    return np.concatenate(parts)


class _Latents:
    """Rows of latents that fired: item, probe, sae, latent, and the score of each."""

    def __init__(self) -> None:
        self._places: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def add(self, i: int, p: int, s: int, latents: np.ndarray, scores: np.ndarray) -> None:
        where = np.broadcast_to(np.array((i, p, s), dtype=np.int64), (len(latents), 3))
        self._places.append(np.column_stack([where, latents]))
        self._values.append(scores.astype(np.float32))

    def places(self) -> np.ndarray:
        return np.concatenate([np.empty((0, 4), np.int64), *self._places]).astype(np.int64)

    def values(self) -> np.ndarray:
        return np.concatenate([np.empty(0, np.float32), *self._values])
