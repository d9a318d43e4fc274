"""How often intervals hold the truth and tests err, on a grid that includes the edges.

    python benchmarks/coverage.py [--runs N] [--seed S] [--out FILE.json]

Proportions are enumerated: every outcome with its probability, no chance at all. AUROCs and the
cut-off are simulated, every point of the grid ``--runs`` times. The worst of many simulated points
is worse than it really is, being chosen for its bad luck; so it is simulated again, from other
draws and `AGAIN` times as often, and that figure is the one reported.

The grid is `GRID`, below. Printed are mean and worst of each estimator and where the worst is;
the file has every point.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two processes share two cores; before numpy

import argparse
import json
import multiprocessing
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from compliance.statistics.conformal import cut_off
from compliance.statistics.delong import delong_auroc, delong_difference
from compliance.statistics.estimate import Difference, Estimate
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    clopper_pearson,
    mcnemar_exact,
    tango_interval,
    tango_p_noninferior,
    wilson,
)
from compliance.statistics.ranking import bootstrap_auroc, paired_auroc_difference

LEVEL = 0.95
ALPHAS = {"0.05": 0.05, "0.05/12": 0.05 / 12}
"""A test alone, and the first step of Holm over twelve cells."""

DRAWS = 300
"""Resamples here: a standard error from as many has a noise of 4.1 %; audits have 1.6 % or less."""

AGAIN = 4
UNLIKELY = 1e-9
"""Outcomes less probable than this are left out of enumerations."""

PROCESSES = 2

Scores = tuple[np.ndarray, np.ndarray]
"""Positives [runs, n_pos] and negatives [runs, n_neg]; item i of both is of group i if paired."""


# Where scores come from, each with the AUROC that is true of it


def normal(random, runs: int, n_pos: int, n_neg: int, *, auroc: float, shared: float) -> Scores:
    """Normal scores; a pair's share of common variance is ``shared``."""
    shift = stats.norm.ppf(auroc) * np.sqrt(2)
    common = random.normal(size=(runs, max(n_pos, n_neg))) * np.sqrt(shared)
    own = np.sqrt(1 - shared)
    return (shift + common[:, :n_pos] + own * random.normal(size=(runs, n_pos)),
            common[:, :n_neg] + own * random.normal(size=(runs, n_neg)))  # fmt: skip


def silent(random, runs: int, n_pos: int, n_neg: int, *, fires: float, false: float) -> Scores:
    """A latent that is zero except on a share of the items, and stronger on positives."""
    shift = stats.norm.ppf(0.7) * np.sqrt(2)
    positive = np.exp(0.5 * (random.normal(size=(runs, n_pos)) + shift))
    negative = np.exp(0.5 * random.normal(size=(runs, n_neg)))
    return (positive * (random.uniform(size=(runs, n_pos)) < fires),
            negative * (random.uniform(size=(runs, n_neg)) < false))  # fmt: skip


def silent_auroc(fires: float, false: float) -> float:
    """The AUROC of `silent`."""
    return fires * (1 - false) + 0.7 * fires * false + (1 - fires) * (1 - false) / 2


def fires_for(auroc: float, false: float) -> float:
    """The share of positives that fires when the AUROC is this."""
    none, all_ = silent_auroc(0.0, false), silent_auroc(1.0, false)
    return (auroc - none) / (all_ - none)


def missing(random, runs: int, n_pos: int, n_neg: int, *, missed: float, rest: float) -> Scores:
    """Positives far above the negatives, but for a share that lies below them all."""
    positive, negative = normal(random, runs, n_pos, n_neg, auroc=rest, shared=0.0)
    return np.where(random.uniform(size=positive.shape) < missed, -20.0, positive), negative


def rounded(random, runs: int, n_pos: int, n_neg: int, *, auroc: float, shared: float) -> Scores:
    """Normal scores rounded to whole numbers, so that many tie."""
    one, other = normal(random, runs, n_pos, n_neg, auroc=auroc, shared=shared)
    return np.round(one), np.round(other)


def rounded_auroc(auroc: float) -> float:
    """The AUROC of `rounded`: a tie counts half."""
    values = np.arange(-12, 16)
    shift = stats.norm.ppf(auroc) * np.sqrt(2)
    positive, negative = (
        np.diff(stats.norm.cdf(np.append(values, 16) - 0.5, loc=loc)) for loc in (shift, 0.0)
    )
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2))


def two(random, runs: int, n_pos: int, n_neg: int, *, a, b) -> tuple[Scores, Scores]:
    """Two scorers that have nothing in common."""
    return a(random, runs, n_pos, n_neg), b(random, runs, n_pos, n_neg)


def alike(random, runs: int, n_pos: int, n_neg: int, *, auroc: float, r: float, ahead: float = 0.0):
    """Two normal scorers whose noise correlates; the first is ahead by ``ahead`` AUROC."""
    both = []
    first = [normal(random, runs, n_pos, n_neg, auroc=0.5, shared=0.5) for _ in range(2)]
    second = [r * x + np.sqrt(1 - r * r) * y for x, y in zip(*first, strict=True)]
    for noise, area in ((first[0], auroc + ahead), (second, auroc)):
        both.append((noise[0] + stats.norm.ppf(area) * np.sqrt(2), noise[1]))
    return both[0], both[1]


# What is looked at


@dataclass(frozen=True)
class Point:
    """One estimator at one place of the grid."""

    estimator: str
    place: str
    measure: Callable[[int, int], dict[str, float]]
    """From runs and seed to measures by name: coverage, or size at one of `ALPHAS`."""

    exact: bool = False


def holds(found: Estimate | Difference, truth: float) -> bool:
    """Whether the interval holds the truth, rounding apart."""
    return found.low - 1e-12 <= truth <= found.high + 1e-12


def sizes(p_values: np.ndarray, suffix: str = "") -> dict[str, float]:
    """How often p is at most each of `ALPHAS`."""
    return {f"size at {name}{suffix}": float(np.mean(p_values <= alpha))
            for name, alpha in ALPHAS.items()}  # fmt: skip


def groups_of(n_pos: int, n_neg: int, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """A group for each pair, or for each item."""
    return np.arange(n_pos), np.arange(n_neg) + (0 if paired else n_pos)


def auroc_point(runs: int, seed: int, *, sample, truth, n_pos, n_neg, paired, delong) -> dict:
    """The interval of one AUROC."""
    positive, negative = sample(np.random.RandomState(seed), runs, n_pos, n_neg)
    of_pos, of_neg = groups_of(n_pos, n_neg, paired)
    held = 0
    for i in range(runs):
        held += holds(
            delong_auroc(positive[i], negative[i]) if delong else
            bootstrap_auroc(positive[i], negative[i], of_pos, of_neg, seed=i, draws=DRAWS),
            truth,
        )  # fmt: skip
    return {"coverage": held / runs}


def difference_point(runs: int, seed: int, *, sample, truth, n_pos, n_neg, paired, delong) -> dict:
    """The interval of a difference; without one, p in both directions."""
    a, b = sample(np.random.RandomState(seed), runs, n_pos, n_neg)
    of_pos, of_neg = groups_of(n_pos, n_neg, paired)
    found = []
    for i in range(runs):
        scores = a[0][i], a[1][i], b[0][i], b[1][i]
        found.append(
            delong_difference(*scores) if delong else
            paired_auroc_difference(*scores, of_pos, of_neg, seed=i, draws=DRAWS)
        )  # fmt: skip
    measured = {"coverage": float(np.mean([holds(f, truth) for f in found]))}
    if truth == 0.0:
        p = np.array([f.p_greater for f in found])
        measured |= sizes(p, ", a over b") | sizes(1.0 - p, ", b over a")
    return measured


def cut_off_point(runs: int, seed: int, *, kind: str, n: int, alpha: str) -> dict[str, float]:
    """The mean over cut-offs of the rate of false alarms that each has."""
    random = np.random.RandomState(seed)
    rates = []
    for _ in range(runs):
        scores = random.normal(size=n)
        if kind == "mostly zero":
            scores = np.maximum(scores - 1.5, 0.0)
        limit = cut_off(np.round(scores) if kind == "whole numbers" else scores, alpha).value
        edge = {"mostly zero": limit + 1.5, "whole numbers": limit + 0.5}.get(kind, limit)
        rates.append(stats.norm.sf(edge))
    return {f"false alarms at {alpha}": float(np.mean(rates))}


def share_point(runs: int, seed: int, *, method, n: int, p: float) -> dict[str, float]:
    """An interval for a proportion, enumerated."""
    outcomes = np.arange(n + 1)
    weights = stats.binom.pmf(outcomes, n, p)
    likely = outcomes[weights > UNLIKELY]
    return {"coverage": sum(weights[k] for k in likely if holds(method(int(k), n), p))}


def binomial_point(runs: int, seed: int, *, test, n: int, p: float) -> dict[str, float]:
    """An exact binomial test with its proportion at the limit, enumerated."""
    weights = stats.binom.pmf(np.arange(n + 1), n, p)
    p_values = np.array([test(k, n, p) for k in range(n + 1)])
    return {f"size at {name}": float(weights[p_values <= alpha].sum())
            for name, alpha in ALPHAS.items()}  # fmt: skip


def discordant(n: int, only_a: float, only_b: float) -> list[tuple[int, int, float]]:
    """Likely counts of the two discordant cells, with their probability."""
    of_b = stats.binom.pmf(np.arange(n + 1), n, only_a)
    found = []
    for b in np.flatnonzero(of_b > UNLIKELY):
        rest = stats.binom.pmf(np.arange(n - b + 1), n - b, min(1.0, only_b / (1 - only_a)))
        found += [(int(b), int(c), of_b[b] * rest[c]) for c in np.flatnonzero(rest > UNLIKELY)]
    return found


def tango_point(runs: int, seed: int, *, n: int, gap: float, discordance: float) -> dict:
    """Tango's interval, enumerated."""
    cells = discordant(n, (discordance + gap) / 2, (discordance - gap) / 2)
    return {"coverage": sum(w for b, c, w in cells if holds(tango_interval(b, c, n), gap))}


def margin_point(runs: int, seed: int, *, n: int, margin: float, discordance: float) -> dict:
    """Tango's test with the gap at the margin, enumerated."""
    cells = discordant(n, (discordance - margin) / 2, (discordance + margin) / 2)
    p_values = np.array([tango_p_noninferior(b, c, n, margin) for b, c, _ in cells])
    weights = np.array([w for _, _, w in cells])
    return {f"size at {name}": float(weights[p_values <= alpha].sum())
            for name, alpha in ALPHAS.items()}  # fmt: skip


def mcnemar_point(runs: int, seed: int, *, n: int, discordance: float) -> dict[str, float]:
    """McNemar's test without a gap, enumerated."""
    cells = discordant(n, discordance / 2, discordance / 2)
    p_values = np.array([mcnemar_exact(b, c) for b, c, _ in cells])
    weights = np.array([w for _, _, w in cells])
    return {f"size at {name}": float(weights[p_values <= alpha].sum())
            for name, alpha in ALPHAS.items()}  # fmt: skip


# The grid


def sources(shared: float) -> dict[str, tuple[Callable, float]]:
    """Scorers by name, with their AUROC."""
    found: dict[str, tuple[Callable, float]] = {}
    for area in (0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995):
        found[f"normal, AUROC {area}"] = (partial(normal, auroc=area, shared=shared), area)
    for fires, false in (
        (0.01, 0.01), (0.03, 0.2), (0.05, 0.0), (0.05, 0.05), (0.1, 0.02), (0.2, 0.01),
        (0.5, 0.02), (0.9, 0.05), (0.97, 0.0), (0.98, 0.01), (0.99, 0.3),
    ):  # fmt: skip
        name = f"zero but on {fires:.0%} of positives and {false:.0%} of negatives"
        found[name] = (partial(silent, fires=fires, false=false), silent_auroc(fires, false))
    for missed, rest in ((0.01, 0.999), (0.02, 0.999), (0.05, 0.999), (0.02, 0.99)):
        name = f"AUROC {rest}, but {missed:.0%} of positives below all"
        found[name] = (partial(missing, missed=missed, rest=rest), (1 - missed) * rest)
    for area in (0.6, 0.9):
        name = f"normal, AUROC {area}, rounded"
        found[name] = (partial(rounded, auroc=area, shared=shared), rounded_auroc(area))
    return found


def comparisons(shared: float) -> dict[str, tuple[Callable, float]]:
    """Pairs of scorers by name, with the difference of their AUROCs."""
    found: dict[str, tuple[Callable, float]] = {}
    for area in (0.5, 0.7, 0.9, 0.98):
        for r in (0.0, 0.9):
            found[f"normals, AUROC {area}, r {r}"] = (partial(alike, auroc=area, r=r), 0.0)
    for area, ahead, r in ((0.7, 0.25, 0.9), (0.6, 0.3, 0.5), (0.6, 0.38, 0.0)):
        name = f"normals, AUROC {area + ahead:.2f} and {area}, r {r}"
        found[name] = (partial(alike, auroc=area, ahead=ahead, r=r), ahead)
    for area, false in ((0.5, 0.02), (0.55, 0.02), (0.7, 0.02), (0.9, 0.02), (0.97, 0.02),
                        (0.7, 0.1), (0.97, 0.1)):  # fmt: skip
        one = partial(silent, fires=fires_for(area, false), false=false)
        other = partial(normal, auroc=area, shared=shared)
        name = f"zero but on {false:.0%} of negatives v normal, AUROC {area}"
        found[name] = (partial(two, a=one, b=other), 0.0)
    for fires, false in ((0.02, 0.02), (0.05, 0.0), (0.1, 0.02), (0.5, 0.02), (0.95, 0.02)):
        one = partial(silent, fires=fires, false=false)
        name = f"both zero but on {fires:.0%} of positives and {false:.0%} of negatives"
        found[name] = (partial(two, a=one, b=one), 0.0)
    for missed in (0.02, 0.05):
        one = partial(missing, missed=missed, rest=0.999)
        other = partial(normal, auroc=(1 - missed) * 0.999, shared=shared)
        found[f"{missed:.0%} of positives below all v normal"] = (partial(two, a=one, b=other), 0.0)
        found[f"both with {missed:.0%} of positives below all"] = (partial(two, a=one, b=one), 0.0)
    one = partial(rounded, auroc=0.8, shared=shared)
    found["both rounded, AUROC 0.8"] = (partial(two, a=one, b=one), 0.0)
    return found


def auroc_points() -> list[Point]:
    """AUROCs and differences: simulated."""
    found = []
    designs = [(f"{n} pairs", n, n, True) for n in (25, 45, 168)]
    designs += [("45 v 180 unpaired", 45, 180, False)]
    for place, n_pos, n_neg, paired in designs:
        common = {"n_pos": n_pos, "n_neg": n_neg, "paired": paired, "delong": False}
        for name, (sample, truth) in sources(0.5 if paired else 0.0).items():
            measure = partial(auroc_point, sample=sample, truth=truth, **common)
            found.append(Point("bootstrap_auroc", f"{place}: {name}", measure))
        for name, (sample, truth) in comparisons(0.5 if paired else 0.0).items() if paired else ():
            measure = partial(difference_point, sample=sample, truth=truth, **common)
            found.append(Point("paired_auroc_difference", f"{place}: {name}", measure))
    for n_pos, n_neg in ((25, 25), (45, 180), (168, 500)):
        common = {"n_pos": n_pos, "n_neg": n_neg, "paired": False, "delong": True}
        for name, (sample, truth) in sources(0.0).items():
            measure = partial(auroc_point, sample=sample, truth=truth, **common)
            found.append(Point("delong_auroc", f"{n_pos} v {n_neg}: {name}", measure))
        for name, (sample, truth) in comparisons(0.0).items():
            measure = partial(difference_point, sample=sample, truth=truth, **common)
            found.append(Point("delong_difference", f"{n_pos} v {n_neg}: {name}", measure))
    return found


def exact_points() -> list[Point]:
    """Proportions: enumerated."""
    found = []
    for n in (25, 50, 100, 180, 500, 1000):
        for p in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 0.9, 0.95, 0.99):
            for name, method in (("wilson", wilson), ("clopper_pearson", clopper_pearson)):
                measure = partial(share_point, method=method, n=n, p=p)
                found.append(Point(name, f"n {n}, share {p}", measure, exact=True))
        for p in (0.05, 0.2, 0.5):
            for name, test in (("binomial_p_greater", binomial_p_greater),
                               ("binomial_p_less", binomial_p_less)):  # fmt: skip
                measure = partial(binomial_point, test=test, n=n, p=p)
                found.append(Point(name, f"n {n}, share {p}", measure, exact=True))
    for n in (25, 45, 100, 168, 240):
        for discordance in (0.02, 0.05, 0.1, 0.2, 0.4):
            place = f"n {n}, discordance {discordance}"
            measure = partial(mcnemar_point, n=n, discordance=discordance)
            found.append(Point("mcnemar_exact", place, measure, exact=True))
            for gap in (0.0, -0.05, -0.15):
                if abs(gap) <= discordance:
                    measure = partial(tango_point, n=n, gap=gap, discordance=discordance)
                    where = f"{place}, gap {gap}"
                    found.append(Point("tango_interval", where, measure, exact=True))
            for margin in (0.1, 0.15):
                if margin <= discordance:
                    measure = partial(margin_point, n=n, margin=margin, discordance=discordance)
                    where = f"{place}, margin {margin}"
                    found.append(Point("tango_p_noninferior", where, measure, exact=True))
    return found


def cut_off_points() -> list[Point]:
    """The cut-off: simulated, each one's own rate computed."""
    return [
        Point("cut_off", f"n {n}, {kind}, alpha {alpha}",
              partial(cut_off_point, kind=kind, n=n, alpha=alpha))
        for n in (99, 180, 500, 1000)
        for kind in ("normal", "mostly zero", "whole numbers")
        for alpha in ("0.01", "0.05")
    ]  # fmt: skip


GRID = exact_points() + cut_off_points() + auroc_points()


# Measuring all of it


def measured(task: tuple[int, int, int]) -> dict[str, float]:
    """Measure the point of this number, so often, from this seed."""
    index, runs, seed = task
    point = GRID[index]
    own = zlib.crc32(f"{seed}/{runs}/{point.estimator}/{point.place}".encode())
    return point.measure(runs, own)


def worse(measure: str, value: float) -> float:
    """Larger is worse: too little coverage, too many errors."""
    return -value if measure == "coverage" else value


def worst_of(results: dict[int, dict]) -> dict[str, dict]:
    """Mean and worst of each measure of one estimator."""
    kinds = sorted({name.split(",")[0] for found in results.values() for name in found})
    summary = {}
    for kind in kinds:
        values = [(i, name, v) for i, found in results.items() for name, v in found.items()
                  if name.split(",")[0] == kind]  # fmt: skip
        index, name, value = max(values, key=lambda x: worse(kind, x[2]))
        summary[kind] = {
            "points": len(values),
            "mean": float(np.mean([v for _, _, v in values])),
            "worst": value,
            "worst_at": GRID[index].place + name.removeprefix(kind),
            "index": index,
            "name": name,
        }
    return summary


def measure_worst_again(report: dict[str, dict], pool, runs: int, seed: int) -> None:
    """Replace the worst figure of each simulated measure by one from draws it was not chosen by."""
    entries = [s for summary in report.values() for s in summary.values()]
    simulated = [s for s in entries if not GRID[s["index"]].exact]
    tasks = [(s["index"], AGAIN * runs, seed + 1) for s in simulated]
    for entry, found in zip(simulated, pool.map(measured, tasks, chunksize=1), strict=True):
        entry["worst_of_grid"] = entry["worst"]
        entry["worst"] = found[entry["name"]]
    for entry in entries:
        entry["exact"] = GRID[entry["index"]].exact
        del entry["index"], entry["name"]


def shown(estimator: str, summary: dict) -> str:
    """The lines that are printed of one estimator."""
    lines = []
    for kind, s in summary.items():
        first = "" if s["exact"] else f" ({s['worst_of_grid']:.4f} in the first round)"
        lines.append(f"{estimator:24s} {kind:20s} mean {s['mean']:.4f}  worst {s['worst']:.4f}"
                     f"{first} at {s['worst_at']}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    started = time.monotonic()
    names = list(dict.fromkeys(point.estimator for point in GRID))
    for name in names:
        print(f"{name}: {sum(p.estimator == name for p in GRID)} points")
    with multiprocessing.Pool(PROCESSES) as pool:
        tasks = [(i, asked.runs, asked.seed) for i in range(len(GRID))]
        found = pool.map(measured, tasks, chunksize=1)
        report = {
            name: worst_of({i: found[i] for i, p in enumerate(GRID) if p.estimator == name})
            for name in names
        }
        measure_worst_again(report, pool, asked.runs, asked.seed)
    for name in names:
        print(shown(name, report[name]))
    error = np.sqrt(0.05 * 0.95 / asked.runs)
    print(f"{time.monotonic() - started:.0f} s, {asked.runs} runs a simulated point (standard "
          f"error of a coverage of 0.95: {error:.4f}), {DRAWS} draws")  # fmt: skip
    if asked.out:
        record = {
            "level": LEVEL, "runs": asked.runs, "seed": asked.seed, "draws": DRAWS,
            "again": AGAIN, "numpy": np.__version__, "estimators": report,
            "points": [{"estimator": p.estimator, "place": p.place, "exact": p.exact, **f}
                       for p, f in zip(GRID, found, strict=True)],
        }  # fmt: skip
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
