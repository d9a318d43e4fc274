"""Where misses come from, and the same questions asked of as many hits (PROTOCOL section 8).

Each positive without an alarm falls into the first class that fits::

    below-threshold   the probe is active, below its cut-off
    not-linear        the dense probe misses it too
    lost-in-error     the dense probe finds it, the one on the SAE's reconstruction does not
    absorbed          a latent near the dense direction raises an alarm of its own
    unexplained       none of these

A hit is never below its threshold; the other classes are counted among hits in the same order, so
that what is special about misses can be told from what holds of positives anyway.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from compliance.assessment.cells import POSITIVE, CellData
from compliance.assessment.numbers import absent, share
from compliance.assessment.rates import NO_CUT_OFF
from compliance.records.finding import Result
from compliance.records.plan import Lock, Plan
from compliance.statistics.resampling import seed_of

CLASSES = ("below-threshold", "not-linear", "lost-in-error", "absorbed", "unexplained")


def misses(plan: Plan, lock: Lock, data: CellData) -> Iterator[Result]:
    """Shares of misses, and of as many hits, by what the other probes say of them."""
    key, limit = data.cell.key, data.limit("probe")
    neighbours = _neighbours(lock, data)
    hindrance = NO_CUT_OFF if limit is None else _hindrance(data, neighbours)
    if hindrance or limit is None:
        for name in _names():
            yield absent(f"{key}/{name}", "wilson", hindrance or NO_CUT_OFF)
        return
    hit = (data.positive["probe"] > limit).to_numpy()
    missed = data.positive[~hit]
    as_many = data.positive[hit].iloc[_drawn(plan, f"{key}/hits", int(hit.sum()), len(missed))]
    for kind, part in (("misses", missed), ("hits", as_many)):
        found = _classes(data, part, neighbours, hits=kind == "hits")
        for name in CLASSES[kind == "hits" :]:
            successes = int((found == name).sum())
            yield share(f"{key}/{kind}.{name}", successes, len(part), plan.level)


def _names() -> Iterator[str]:
    yield from (f"misses.{name}" for name in CLASSES)
    yield from (f"hits.{name}" for name in CLASSES[1:])


def _neighbours(lock: Lock, data: CellData) -> list[str]:
    cell = data.cell
    return [n.scorer for n in lock.neighbours
            if (n.concept, n.variant) == (cell.concept, cell.variant)]  # fmt: skip


def _hindrance(data: CellData, neighbours: list[str]) -> str | None:
    """Why positives cannot be put into classes: without one probe the later classes are wrong."""
    for scorer in ("dense", "reconstruction", *neighbours):
        missing = data.lacking(scorer, POSITIVE)
        if missing:
            return f"no score of {scorer} for {missing} items"
        if data.limit(scorer) is None:
            return f"the cut-off of {scorer} cannot be set"
    return None


def _drawn(plan: Plan, identity: str, hits: int, wanted: int) -> np.ndarray:
    """Places of as many hits as there are misses, without replacement; all where hits are fewer."""
    stream = np.random.RandomState(seed_of(plan.seed, identity))
    return np.sort(stream.permutation(hits)[:wanted])


def _classes(
    data: CellData, part: pd.DataFrame, neighbours: list[str], *, hits: bool
) -> np.ndarray:
    """The class of each item."""

    def alarm(scorer: str) -> np.ndarray:
        return (part[scorer] > data.limit(scorer)).to_numpy()

    near = np.zeros(len(part), dtype=bool)
    for scorer in neighbours:
        near |= alarm(scorer)
    below = np.zeros(len(part), dtype=bool) if hits else (part["probe"] > 0).to_numpy()
    questions = [below, ~alarm("dense"), ~alarm("reconstruction"), near]
    return np.select(questions, CLASSES[:-1], default=CLASSES[-1])
