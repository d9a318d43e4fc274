"""What latents are set to: their peaks, and scales at which controls move the model as much.

    found = peaks(activations(reading, 0) for reading in readings)     # {latent: Peak}
    setting = Setting(0, features, others, direction)
    matched = match(starts, target, evaluate)                          # {arm: Match}
    arms = setting.arms(doses, seed, {arm: one.scale for arm, one in matched.items()})

A peak is the 99th percentile of what is above 0. Scales are found by secants of log KL in log
scale, since KL grows as a power of the scale while it is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from compliance.probes.interventions import Change, delta
from compliance.probes.reading import Reading
from compliance.probes.task import Reader
from compliance.records.observation import (
    ABLATED,
    FLIP,
    MATCHED,
    MEANS,
    NOISE,
    RANDOM,
    dose_arm,
)

PERCENT = 99
ROUNDS = 8
"""Evaluations of one scale at most."""

NEAR = 0.05
"""How far from the target, by it, a divergence may lie."""

MOST_STEP = math.log(16)
"""Largest change of a scale from one evaluation to the next, as a logarithm."""

POWERS = (0.5, 4.0)
"""By which powers of the scale the divergence may be taken to grow; 2 while it is small."""

NOTHING_MOVES = 1e-8
"""Nats a token below which a divergence is rounding, and no control can be brought to it."""

_TINY = 1e-300

Evaluate = Callable[[Mapping[str, float]], Mapping[str, float]]
"""Divergence of each arm at its scale."""


@dataclass(frozen=True)
class Peak:
    """What a latent is set to multiples of."""

    value: float
    tokens: int
    """On which it was above 0."""


@dataclass(frozen=True)
class Match:
    """The scale at which an arm's divergence came nearest to the target."""

    scale: float
    divergence: float


@dataclass(frozen=True, eq=False)
class Setting:
    """What the arms of a concept are made of."""

    sae: int
    features: Mapping[int, float]
    """Peak of each feature of its probe; 0 where it never fired, and then it is set to 0."""

    others: Mapping[int, float]
    """Peaks of random latents."""

    direction: NDArray[np.float64] | None
    """Difference of means, ``[d_in]``, of length 1; None where it cannot be added."""

    @property
    def has_peak(self) -> bool:
        """Whether there is anything to set features to but 0."""
        return any(self.features.values())

    def dose(self, multiple: float) -> Change:
        """The features set to a multiple of their peaks."""
        return self._of_features("clamp", multiple)

    def brief(self) -> dict[str, Change]:
        """The doses under which other probes and small tasks are looked at."""
        matched = {MATCHED: self.dose(1)} if self.has_peak else {}
        return {ABLATED: self.dose(0)} | matched

    def arms(
        self, doses: Sequence[float], seed: int, scales: Mapping[str, float]
    ) -> dict[str, Change]:
        """Every arm.

        Args:
            doses: Multiples of the peak.
            seed: Of the noise.
            scales: Of the controls that are matched.
        """
        if not self.has_peak:
            return {ABLATED: self.dose(0)}
        found = {dose_arm(multiple): self.dose(multiple) for multiple in doses}
        found |= {FLIP: self._of_features("flip", 1), NOISE: self._of_features("noise", 1, seed)}
        return found | {arm: self.control(arm, scale) for arm, scale in scales.items()}

    def control(self, arm: str, scale: float) -> Change:
        """The difference of means, or a random latent, at a scale."""
        if arm == MEANS:
            return Change("add", self.sae, direction=torch.tensor(self.direction), scale=scale)
        latent = int(arm.removeprefix(RANDOM))
        return Change("clamp", self.sae, (latent,), (scale * self.others[latent],))

    def starts(self, length: float) -> dict[str, float]:
        """Where the search for each control's scale begins: at the peaks, and at this length."""
        found = {f"{RANDOM}{latent}": 1.0 for latent in self.others}
        return found | ({} if self.direction is None else {MEANS: length})

    def _of_features(
        self, kind: Literal["clamp", "flip", "noise"], m: float, seed: int = 0
    ) -> Change:
        values = tuple(m * peak for peak in self.features.values())
        return Change(kind, self.sae, tuple(self.features), values, seed=seed)


def activations(reading: Reading, sae: int) -> tuple[list[int], list[float]]:
    """Latents and values of what is above 0 on an item's read tokens, fired by fired."""
    fired = reading.fired(sae)
    above = fired.values > 0
    return fired.latents[above].tolist(), fired.values[above].double().tolist()


def peaks(seen: Iterable[tuple[Sequence[int], Sequence[float]]]) -> dict[int, Peak]:
    """Peak of each latent that was above 0."""
    parts = [(np.array(latents, np.int64), np.array(values)) for latents, values in seen]
    latents = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    values = np.concatenate([np.empty(0), *(part[1] for part in parts)])
    found, counts = np.unique(latents, return_counts=True)
    ordered = values[np.argsort(latents, kind="stable")]
    each = zip(found.tolist(), np.split(ordered, counts.cumsum()[:-1]), strict=False)
    return {
        latent: Peak(float(np.percentile(own, PERCENT, method="higher")), len(own))
        for latent, own in each
    }


def moved_length(reading: Reading, places: Sequence[int], change: Change, reader: Reader) -> float:
    """Mean length of what a change adds to an item, at least a tiny one; 0 without places."""
    x = reading.states[reader.saes[change.sae].facts.hook_name][list(places)]
    return float(delta(change, reader, x, places).norm(dim=-1).mean()) if len(places) else 0.0


def match(starts: Mapping[str, float], target: float, evaluate: Evaluate) -> dict[str, Match]:
    """Find the scale of each arm at which its divergence is the target, as far as there is one.

    Args:
        starts: First scale of each arm, above 0.
        target: Divergence, above 0.
        evaluate: Asked for all arms that are not near enough, at most ROUNDS times.
    """
    tried: dict[str, list[Match]] = {arm: [] for arm in starts}
    scales = dict(starts)
    for _ in range(ROUNDS):
        for arm, divergence in evaluate(scales).items():
            tried[arm].append(Match(scales[arm], divergence))
        far = [arm for arm in scales if abs(tried[arm][-1].divergence / target - 1) > NEAR]
        scales = {arm: math.exp(_next(tried[arm], math.log(target))) for arm in far}
        if not scales:
            break
    return {
        arm: min(found, key=lambda one: abs(_log(one.divergence) - math.log(target)))
        for arm, found in tried.items()
    }


def _next(tried: Sequence[Match], target: float) -> float:
    """Logarithm of the scale to try next, given that of the target."""
    points = [(math.log(one.scale), _log(one.divergence)) for one in tried]
    below = max((p for p in points if p[1] < target), default=None)
    above = min((p for p in points if p[1] >= target), default=None)
    if below is not None and above is not None and below[0] < above[0]:
        part = (target - below[1]) / (above[1] - below[1])
        return below[0] + min(max(part, 0.1), 0.9) * (above[0] - below[0])
    last, power = points[-1], 2.0
    if len(points) > 1 and points[-2][0] != last[0]:
        power = (last[1] - points[-2][1]) / (last[0] - points[-2][0])
    step = (target - last[1]) / min(max(power, POWERS[0]), POWERS[1])
    return last[0] + min(max(step, -MOST_STEP), MOST_STEP)


def _log(divergence: float) -> float:
    return math.log(max(divergence, _TINY))
