"""What a number of items can show, before or after looking.

Three questions. Which proportion, AUROC or gap would a test of this size find most of the time
(`minimum_detectable_greater` and its neighbours)? Could "supported" be reached at all, even if
everything went perfectly (`attainable`)? And how likely is "supported", for a probe of a given
strength, over the whole way from the cut-off to Holm (`predicted_power`)::

    design = Design(groups=168, hard_negatives=168, benign_calibrate=500, benign_confirm=500)
    effect = Effect.of_rates(sensitivity=0.9, fpr=0.01, hard_fpr=0.05, discordance=0.1)
    predicted_power(design, effect, seed=1).other.supported.value        # about 0.95

Answers of the first kind are ``None`` where no outcome would be significant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, gammaln, ndtr, ndtri, owens_t, xlog1py, xlogy

from compliance.errors import StatisticsError
from compliance.statistics.conformal import benign_needed, cut_off
from compliance.statistics.inputs import count, inside_unit
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_p_noninferior,
)

HALVINGS = 50
"""Leave 1e-15 of an interval of width 1."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BestCase:
    """One condition of a verdict under the most favourable outcome its size allows."""

    condition: str
    """One of ``sensitivity``, ``false-positive rate``, ``hard false-positive rate``,
    ``non-inferiority``."""

    n: int
    """Items or pairs at hand."""

    p: float
    """The smallest p value that ``n`` can give."""

    needed: int
    """The smallest n that can reach the level."""

    attainable: bool
    """Whether ``p`` is at most the level."""


@dataclass(frozen=True, slots=True)
class Attainability:
    """Whether a cell of this size can be supported, and which condition forbids it."""

    alpha: float
    """The level each condition must reach."""

    conditions: tuple[BestCase, ...]

    @property
    def attainable(self) -> bool:
        """True if every condition can be shown."""
        return all(case.attainable for case in self.conditions)


@dataclass(frozen=True, slots=True)
class Design:
    """How much is measured, and what must be shown. Counts are per cell and on confirm."""

    groups: int
    """Groups with a positive in every language: each cell's positives, and its pairs."""

    hard_negatives: int

    benign_calibrate: int
    """Benign items that set each cell's cut-off."""

    benign_confirm: int

    cells: int = 6
    """In the family, the reference cells included."""

    references: int = 1
    """Cells in the reference language, one for each modality and rendering; each is the reference
    of as many others."""

    alpha: float = 0.01
    """Of the split-conformal cut-off."""

    family_error: float = 0.05
    min_sensitivity: float = 0.5
    max_fpr: float = 0.05
    max_hard_fpr: float = 0.20
    margin: float = 0.15

    def __post_init__(self) -> None:
        for name in ("groups", "hard_negatives", "benign_calibrate", "benign_confirm",
                     "cells", "references"):  # fmt: skip
            count(name, getattr(self, name), least=1)
        for name in ("alpha", "family_error", "min_sensitivity", "max_fpr", "max_hard_fpr",
                     "margin"):  # fmt: skip
            inside_unit(name, getattr(self, name))
        if self.cells % self.references:
            raise StatisticsError(
                f"cells: found {self.cells} with {self.references} references, "
                "expected the same number of cells for each"
            )


@dataclass(frozen=True, slots=True)
class Effect:
    """How well the probe separates: scores are normal with variance 1, benign ones about 0."""

    positive: float
    """Mean score of the positives in the reference language."""

    positive_elsewhere: float
    """Mean score of the positives in every other language."""

    hard: float
    """Mean score of the hard negatives, in every language."""

    correlation: float
    """Between the scores of one group's positive in the reference and in another language."""

    control_auroc: float = 0.5
    """Of the strongest control, positive against hard negative."""

    def __post_init__(self) -> None:
        for name in ("positive", "positive_elsewhere", "hard"):
            if not math.isfinite(getattr(self, name)):
                raise StatisticsError(f"{name}: found {getattr(self, name)}, expected a number")
        if not -1.0 < self.correlation < 1.0:
            raise StatisticsError(
                f"correlation: found {self.correlation}, expected a number between -1 and 1"
            )
        inside_unit("control_auroc", self.control_auroc)

    @classmethod
    def of_rates(
        cls,
        *,
        sensitivity: float,
        fpr: float,
        hard_fpr: float,
        discordance: float,
        gap: float = 0.0,
        control_auroc: float = 0.5,
    ) -> Effect:
        """Say the same in rates, as they are at the cut-off that has this ``fpr``.

        The cut-off of an audit is set on a sample and lies about there, so each cell's own rates
        vary about these.

        Args:
            sensitivity: In the reference language.
            fpr: Share of benign items above the cut-off; the design's alpha, as a rule.
            hard_fpr: Share of hard negatives above the cut-off.
            discordance: Share of groups hit in the reference or the other language, not in both.
            gap: Sensitivity of the reference minus that of every other language.
            control_auroc: Of the strongest control.

        Returns:
            The effect with these rates; the correlation is solved for.

        Raises:
            StatisticsError: If a rate is impossible, or the discordance is with these
                sensitivities.
        """
        here = inside_unit("sensitivity", sensitivity)
        there = inside_unit("sensitivity - gap", here - gap)
        least, most = abs(gap), min(here + there, 2.0 - here - there)
        if not least < discordance < most:
            raise StatisticsError(
                f"discordance: found {discordance} with sensitivities {here:g} and {there:g}, "
                f"expected a number between {least:g} and {most:g}"
            )
        limit = -float(ndtri(inside_unit("fpr", fpr)))
        a, b = float(ndtri(here)), float(ndtri(there))
        both = (here + there - discordance) / 2.0
        correlation = _last(lambda r: float(_both_below(a, b, r)) <= both, -1.0, 1.0)
        return cls(
            positive=limit + a,
            positive_elsewhere=limit + b,
            hard=limit + float(ndtri(inside_unit("hard_fpr", hard_fpr))),
            correlation=correlation,
            control_auroc=control_auroc,
        )


@dataclass(frozen=True, slots=True)
class Chance:
    """A probability found by simulation."""

    value: float

    error: float
    """Its Monte-Carlo standard error; 0 where all draws agree, and then the error of the value is
    below 3/draws at 95 %."""


@dataclass(frozen=True, slots=True)
class CellPower:
    """How likely each good verdict is for one cell."""

    supported: Chance

    with_limits: Chance
    """Of "supported with limits", which leaves out "supported"."""


@dataclass(frozen=True, slots=True)
class Power:
    """What `predicted_power` found."""

    reference: CellPower
    """Of a cell in the reference language."""

    other: CellPower | None
    """Of a cell in another language; None where the family has none."""

    every: Chance
    """That all cells of the family are supported."""

    draws: int
    seed: int


def minimum_detectable_greater(
    n: int, p0: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the proportion above ``p0`` that the exact test finds with probability ``power``.

    Args:
        n: Trials.
        p0: The largest proportion under the null.
        alpha: One-sided level of the test, after any adjustment.
        power: Probability of a significant outcome.

    Returns:
        The smallest such proportion, or None if not even n successes are significant.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    n, alpha, power = _design(n, alpha, power)
    hits = _fewest_hits(n, p0, alpha)
    return None if hits is None else float(betaincinv(hits, n - hits + 1, power))


def minimum_detectable_less(
    n: int, p0: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the proportion below ``p0`` that the exact test finds with probability ``power``.

    Args:
        n: Trials.
        p0: The smallest proportion under the null.
        alpha: One-sided level of the test, after any adjustment.
        power: Probability of a significant outcome.

    Returns:
        The largest such proportion, or None if not even 0 successes are significant.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    n, alpha, power = _design(n, alpha, power)
    misses = _fewest_hits(n, 1.0 - inside_unit("p0", p0), alpha)
    return None if misses is None else 1.0 - float(betaincinv(misses, n - misses + 1, power))


def minimum_detectable_auroc(
    n_pos: int, n_neg: int, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the AUROC that a one-sided test against 0.5 finds with probability ``power``.

    Positives and negatives count as independent, so for paired groups this is on the safe side.

    Args:
        n_pos: Independent positives (groups, where several share one).
        n_neg: Independent negatives, counted likewise.
        alpha: One-sided level, below 0.5.
        power: Probability of a significant outcome.

    Returns:
        The smallest such AUROC, or None if even 1.0 is not found.

    Raises:
        StatisticsError: If an argument is impossible.

    Source:
        Hanley, J. and McNeil, B. (1982), Radiology 143, 29-36, equations 1 and 2 (variance under
        negative-exponential scores); the normal approximation is theirs too.
    """
    n_pos, alpha, power = _design(n_pos, alpha, power)
    n_neg = count("n_neg", n_neg, least=1)
    if alpha >= 0.5:
        raise StatisticsError(f"alpha: found {alpha}, expected less than 0.5")
    critical = 0.5 - ndtri(alpha) * _hanley_mcneil(0.5, n_pos, n_neg)
    if critical >= 1.0:
        return None
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        found = middle - ndtri(power) * _hanley_mcneil(middle, n_pos, n_neg) >= critical
        low, high = (low, middle) if found else (middle, high)
    return high


def minimum_detectable_gap(
    n_pairs: int,
    margin: float,
    *,
    sensitivity: float,
    discordance: float,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Find how far a sensitivity may lie below the reference's and still be shown non-inferior.

    The power is summed over all outcomes of Tango's test, not approximated. It is that at the
    true rates; that cut-offs are set on samples, and move these rates, is not in it (see
    `predicted_power`).

    Args:
        n_pairs: Groups shared with the reference language.
        margin: Of non-inferiority.
        sensitivity: True sensitivity of the reference.
        discordance: Share of groups hit in one of the two languages only, where there is no gap.
            A gap leaves it as it is, but for what must be: it is at least the gap, and at most
            the sum of both sensitivities.
        alpha: One-sided level of the test, after any adjustment.
        power: Probability of a significant outcome.

    Returns:
        The largest such gap, at most ``margin`` and ``sensitivity``, or None if not even equality
        is shown.

    Raises:
        StatisticsError: If an argument is impossible, or the discordance is with this
            sensitivity.
    """
    n, alpha, power = _design(n_pairs, alpha, power)
    margin, sensitivity = inside_unit("margin", margin), inside_unit("sensitivity", sensitivity)
    most = 2.0 * min(sensitivity, 1.0 - sensitivity)
    if not 0.0 <= discordance <= most:
        raise StatisticsError(
            f"discordance: found {discordance} with sensitivity {sensitivity:g}, "
            f"expected a number from 0 to {most:g}"
        )
    needed = _fewest_only_here(n, margin, alpha)

    def found(gap: float) -> bool:
        apart = min(max(discordance, gap), 2.0 * sensitivity - gap)
        return _power_noninferior(needed, n, apart, gap) >= power

    if not found(0.0):
        return None
    return _last(found, 0.0, min(margin, sensitivity))


def predicted_power(design: Design, effect: Effect, *, draws: int = 2000, seed: int) -> Power:
    """Predict how often the cells of a family are "supported", before anything is measured.

    Each draw is a whole audit of one concept: every cell's cut-off from its own benign calibrate
    items, then the alarms on confirm at that cut-off, the p values of sensitivity, both false-alarm
    rates, the AUROC's lead over the control and non-inferiority, the largest p of each cell, and
    Holm over the family. As in the verdicts, a cell is supported only where its reference is, and
    supported with limits where all but non-inferiority is shown.

    What it takes for granted: the gate is open; cells' benign items are independent, so their
    cut-offs are too; hard negatives are independent of the positives; languages depend on each
    other only through the reference; and the AUROC's lead is a normal deviate about its true
    value, probe and control independent, with the standard error of Hanley and McNeil.

    Args:
        design: Sizes and limits.
        effect: How well the probe separates.
        draws: How many audits, at least 2.
        seed: From 0 to 2**32 - 1; the same seed gives the same prediction.

    Returns:
        Probabilities for a reference cell, for another cell and for the whole family. Where too
        few benign items are there to set a cut-off, all are 0.

    Raises:
        StatisticsError: If there are too few draws or the seed is out of range.

    Source:
        Bivariate normal probabilities: Owen, D. (1956), Annals of Mathematical Statistics 27,
        1075-1090. Order statistics of a uniform sample are beta: David, H. and Nagaraja, H.
        (2003), Order Statistics, section 2.3.
    """
    draws, seed = count("draws", draws, least=2), count("seed", seed)
    if seed >= 2**32:
        raise StatisticsError(f"seed: found {seed}, expected at most 2**32 - 1")
    core, full = _p_values(design, effect, draws, np.random.RandomState(seed))
    shown = _holm_rejects(full, design.family_error)
    supported = shown & shown[..., :1]
    limited = ~supported & _holm_rejects(core, design.family_error)
    return Power(
        reference=CellPower(_chance(supported[..., :1]), _chance(limited[..., :1])),
        other=CellPower(_chance(supported[..., 1:]), _chance(limited[..., 1:]))
        if design.cells > design.references
        else None,
        every=_chance(supported.all(axis=(1, 2))[:, np.newaxis]),
        draws=draws,
        seed=seed,
    )


def attainable(
    *,
    n_pos: int,
    n_benign: int,
    n_hard: int,
    n_pairs: int | None,
    alpha: float,
    min_sensitivity: float = 0.5,
    max_fpr: float = 0.05,
    max_hard_fpr: float = 0.20,
    margin: float = 0.15,
) -> Attainability:
    """Ask whether these sizes can show every condition of "supported" at the level ``alpha``.

    The best case is: every positive hit, no false alarm. For non-inferiority it is every positive
    hit in this language, and in the reference as few as still show its sensitivity; if not even
    that reaches the level, no outcome does. "Attainable" says nothing about how likely it is.

    Args:
        n_pos: Positives.
        n_benign: Benign negatives on confirm.
        n_hard: Hard negatives.
        n_pairs: Groups shared with the reference language; None in the reference cell itself.
        alpha: The level a p value must reach, such as 0.05 over the cells of the family.
        min_sensitivity: Sensitivity must be shown to be greater.
        max_fpr: The benign false-positive rate must be shown to be less.
        max_hard_fpr: The hard false-positive rate must be shown to be less.
        margin: Of non-inferiority.

    Returns:
        Each condition with its best p value and the n it would need.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    alpha = inside_unit("alpha", alpha)
    found = [
        _best("sensitivity", n_pos, alpha, lambda n: binomial_p_greater(n, n, min_sensitivity)),
        _best("false-positive rate", n_benign, alpha, lambda n: binomial_p_less(0, n, max_fpr)),
        _best("hard false-positive rate", n_hard, alpha,
              lambda n: binomial_p_less(0, n, max_hard_fpr)),
    ]  # fmt: skip
    if n_pairs is not None:
        found.append(
            _best("non-inferiority", n_pairs, alpha,
                  lambda n: _best_noninferiority(n, min_sensitivity, margin, alpha))
        )  # fmt: skip
    return Attainability(alpha, tuple(found))


def _best(condition: str, n: int, alpha: float, best_p: Callable[[int], float]) -> BestCase:
    n = count(condition, n)
    p = best_p(n) if n else 1.0
    needed = _smallest_size(lambda size: best_p(size) <= alpha)
    return BestCase(condition, n, p, needed, attainable=p <= alpha)


def _smallest_size(reaches: Callable[[int], bool]) -> int:
    """The smallest n that reaches, where every larger one does too.

    Every best case has this property: p0**n falls with n; and with ``b`` pairs that only the
    language hits and none that only the reference hits, Tango's score is
    sqrt((n m + b)/(1 - m)), where b, the misses that a reference of n may have, never falls as n
    grows.
    """
    high = 1
    while not reaches(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _best_noninferiority(n: int, min_sensitivity: float, margin: float, alpha: float) -> float:
    """The smallest p value with a reference whose own sensitivity can be shown, if it can."""
    hits = _fewest_hits(n, min_sensitivity, alpha)
    return tango_p_noninferior(0 if hits is None else n - hits, 0, n, margin)


def _fewest_hits(n: int, p0: float, alpha: float) -> int | None:
    """The fewest successes with a p value of at most alpha, or None if n are too few."""
    if binomial_p_greater(n, n, p0) > alpha:
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_p_greater(middle, n, p0) <= alpha else (middle, high)
    return high


def _hanley_mcneil(area: float, n_pos: int, n_neg: int) -> float:
    """Standard error of an AUROC of ``area``."""
    two_positives = area / (2.0 - area) - area**2
    two_negatives = 2.0 * area**2 / (1.0 + area) - area**2
    spread = area * (1.0 - area) + (n_pos - 1) * two_positives + (n_neg - 1) * two_negatives
    return math.sqrt(max(0.0, spread) / (n_pos * n_neg))


@lru_cache(maxsize=64)
def _fewest_only_here(n: int, margin: float, alpha: float) -> Counts:
    """For c = 0, 1, ...: the fewest ``b`` with which Tango's p value is at most alpha.

    A pair that only the reference hits is never in the language's favour, so the fewest never
    falls as c grows: one walk along the edge finds all. Ends where n pairs hold no such outcome.
    """
    fewest, b = [], 0
    for c in range(n + 1):
        while b + c <= n and tango_p_noninferior(b, c, n, margin) > alpha:
            b += 1
        if b + c > n:
            break
        fewest.append(b)
    return np.array(fewest, dtype=np.int64)


def _power_noninferior(fewest: Counts, n: int, discordance: float, gap: float) -> float:
    """P(b >= fewest[c]) for trinomial counts with P(only reference) - P(only here) = gap."""
    only_there, only_here = (discordance + gap) / 2.0, (discordance - gap) / 2.0
    c = np.arange(fewest.size)
    log_pmf = (
        gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
        + xlogy(c, only_there) + xlog1py(n - c, -only_there)
    )  # fmt: skip
    share = only_here / (1.0 - only_there)
    enough = np.where(fewest == 0, 1.0, betainc(np.maximum(fewest, 1), n - c - fewest + 1, share))
    return float(np.exp(log_pmf) @ enough)


def _p_values(
    design: Design, effect: Effect, draws: int, random: np.random.RandomState
) -> tuple[Floats, Floats]:
    """Each cell's largest p value, without and with non-inferiority.

    Shape [draws, references, cells of one reference], the reference cell first.
    """
    shape = (draws, design.references, design.cells // design.references)
    if design.benign_calibrate < benign_needed(design.alpha):
        return np.ones(shape), np.ones(shape)
    means = np.full(shape[2], effect.positive_elsewhere)
    means[0] = effect.positive
    alarm_rate = _locked_alarm_rates(design, random, shape)
    limit = -ndtri(alarm_rate)
    hits, b, c = _hits(design.groups, means - limit, effect.correlation, random)
    benign = random.binomial(design.benign_confirm, alarm_rate)
    hard = random.binomial(design.hard_negatives, ndtr(effect.hard - limit))
    core = np.maximum.reduce([
        _binomial_ps(binomial_p_greater, design.groups, design.min_sensitivity)[hits],
        _binomial_ps(binomial_p_less, design.benign_confirm, design.max_fpr)[benign],
        _binomial_ps(binomial_p_less, design.hard_negatives, design.max_hard_fpr)[hard],
        _lead_ps(design, effect, means, random.standard_normal(shape)),
    ])  # fmt: skip
    full = core.copy()
    full[..., 1:] = np.maximum(core[..., 1:], _tango_ps(b, c, design.groups, design.margin))
    return core, full


def _locked_alarm_rates(
    design: Design, random: np.random.RandomState, shape: tuple[int, ...]
) -> Floats:
    """True share of benign items above each cut-off: an order statistic of n uniform numbers."""
    n = design.benign_calibrate
    rank = cut_off(np.zeros(n), design.alpha).rank
    return random.beta(n + 1 - rank, rank, size=shape)


def _hits(
    n: int, above: Floats, correlation: float, random: np.random.RandomState
) -> tuple[Counts, Counts, Counts]:
    """Hits of each cell, and b and c of each cell but the reference, given mean minus cut-off."""
    there = ndtr(above[..., :1])
    both = _both_below(above[..., :1], above[..., 1:], correlation)
    hits_there = random.binomial(n, there)
    c = random.binomial(hits_there, _share(there - both, there))
    b = random.binomial(n - hits_there, _share(ndtr(above[..., 1:]) - both, 1.0 - there))
    return np.concatenate([hits_there, hits_there - c + b], axis=-1), b, c


def _share(part: Floats, whole: Floats) -> Floats:
    """part/whole as a probability; rounding may leave it just outside, and 0/0 is never drawn."""
    return np.clip(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0), 0.0, 1.0)


def _both_below(h: Floats | float, k: Floats | float, correlation: float) -> Floats:
    """P(X < h and Y < k) for normal X and Y, by Owen's T function."""
    h, k = (np.where(np.equal(x, 0.0), 1e-200, x) for x in (h, k))  # the formula divides by both
    spread = math.sqrt((1.0 - correlation) * (1.0 + correlation))
    with np.errstate(over="ignore"):
        of_h = owens_t(h, (k - correlation * h) / (h * spread))
        of_k = owens_t(k, (h - correlation * k) / (k * spread))
    return (ndtr(h) + ndtr(k) - ((h < 0) != (k < 0))) / 2.0 - of_h - of_k


def _lead_ps(design: Design, effect: Effect, means: Floats, deviates: Floats) -> Floats:
    """P values of the AUROC's lead over the control, from one standard normal for each cell."""
    sizes = design.groups, design.hard_negatives
    areas = ndtr((means - effect.hard) / math.sqrt(2.0))
    spread = np.array([_hanley_mcneil(float(area), *sizes) for area in areas])
    spread = np.hypot(spread, _hanley_mcneil(effect.control_auroc, *sizes))
    return ndtr(-(areas - effect.control_auroc) / spread - deviates)


@lru_cache(maxsize=64)
def _binomial_ps(test: Callable[[int, int, float], float], n: int, limit: float) -> Floats:
    """The p value of every number of successes, shape [n + 1]."""
    return np.array([test(successes, n, limit) for successes in range(n + 1)])


def _tango_ps(b: Counts, c: Counts, n: int, margin: float) -> Floats:
    codes, places = np.unique(b * (n + 1) + c, return_inverse=True)
    found = [_tango_p(int(code) // (n + 1), int(code) % (n + 1), n, margin) for code in codes]
    return np.array(found)[places].reshape(b.shape)


_tango_p = lru_cache(maxsize=65_536)(tango_p_noninferior)


def _holm_rejects(p: Floats, error: float) -> NDArray[np.bool_]:
    """Which cells Holm's procedure finds in each draw, shape as ``p``."""
    flat = p.reshape(p.shape[0], -1)
    order = np.argsort(flat, axis=1)
    stepped = np.take_along_axis(flat, order, axis=1) * np.arange(flat.shape[1], 0, -1)
    found = np.empty(flat.shape, dtype=np.bool_)
    np.put_along_axis(found, order, np.maximum.accumulate(stepped, axis=1) <= error, axis=1)
    return found.reshape(p.shape)


def _chance(happened: NDArray[np.bool_]) -> Chance:
    """The share of cells, with an error that counts draws and not cells as independent."""
    shares = happened.reshape(happened.shape[0], -1).mean(axis=1)
    return Chance(float(shares.mean()), float(shares.std(ddof=1) / math.sqrt(shares.size)))


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``holds`` turns from true to false between ``low`` and ``high``, by halving."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _design(n: int, alpha: float, power: float) -> tuple[int, float, float]:
    return count("n", n, least=1), inside_unit("alpha", alpha), inside_unit("power", power)
