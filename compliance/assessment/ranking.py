"""How well the probe ranks, and by how much better than each control (PROTOCOL sections 5, 6).

Groups that hold a positive and its hard negative are resampled as one. Where no group holds both
and each holds one item, items are independent and DeLong's variance takes the place of resampling.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from compliance.assessment.cells import BENIGN, HARD, POSITIVE, CellData, groups_of
from compliance.assessment.numbers import absent, difference, estimate, share
from compliance.records.finding import Result
from compliance.records.observation import CALIBRATED, CONTROL_SCORERS
from compliance.records.plan import Plan
from compliance.statistics.delong import delong_auroc, delong_difference
from compliance.statistics.ranking import (
    auroc,
    average_precision,
    bootstrap_auroc,
    paired_auroc_difference,
    partial_auroc,
)
from compliance.statistics.resampling import seed_of

PARTIAL_FPR = 0.1
"""The partial AUROC looks at false-positive rates up to this one."""


def area(
    plan: Plan, identity: str, positive: pd.DataFrame, negative: pd.DataFrame, scorer: str
) -> Result:
    """The AUROC of one scorer, with its interval."""
    scores = positive[scorer], negative[scorer]
    groups = groups_of(positive), groups_of(negative)
    if _independent(*groups):
        return estimate(identity, delong_auroc(*scores, level=plan.level), "auroc-delong")
    found = bootstrap_auroc(
        *scores, *groups, seed=seed_of(plan.seed, identity), draws=plan.bootstrap_draws,
        level=plan.level,
    )  # fmt: skip
    return estimate(identity, found, "auroc-bootstrap")


def areas(plan: Plan, data: CellData) -> Iterator[Result]:
    """AUROC against hard negatives of every scorer, and against benign items of some."""
    for name, label, scorers in (
        ("auroc-hard", HARD, ("probe", *CONTROL_SCORERS)),
        ("auroc-benign", BENIGN, ("probe", "tokens", *CALIBRATED[1:])),
    ):
        for scorer in scorers:
            if data.scores(scorer, POSITIVE) and data.scores(scorer, label):
                suffix = "" if scorer == "probe" else f".{scorer}"
                yield _area_of(plan, data, f"{data.cell.key}/{name}{suffix}", scorer, label)


def leads(plan: Plan, data: CellData, controls: Iterable[str]) -> Iterator[Result]:
    """By how much the probe's AUROC exceeds that of each control, on the same items."""
    for control in controls:
        if data.scores(control, POSITIVE, HARD):
            yield _lead(plan, data, control)


def random_latents(plan: Plan, data: CellData) -> Iterator[Result]:
    """How many latents that fire about as often rank as well as the probe.

    Source:
        p value: Davison, A. and Hinkley, D. (1997), Bootstrap Methods and their Application,
        section 4.2.
    """
    found = data.random_areas
    if found is None:
        return
    own = auroc(data.positive["probe"], data.hard["probe"])
    as_good, n = int((found >= own).sum()), len(found)
    identity = f"{data.cell.key}/random-latents"
    p = (1 + as_good) / (n + 1)
    yield share(identity, as_good, n, plan.level, p, method="random-latents")
    yield Result(
        id=f"{identity}-p95", value=float(np.quantile(found, 0.95)), n=n, method="random-latents"
    )


def appendix(data: CellData) -> Iterator[Result]:
    """Other summaries of the same ranking. Nothing is decided by them."""
    key, n = data.cell.key, len(data.positive) + len(data.hard)
    scores = data.positive["probe"], data.hard["probe"]
    yield Result(id=f"{key}/auprc", value=average_precision(*scores), n=n, method="auprc")
    partial = partial_auroc(*scores, max_fpr=PARTIAL_FPR)
    yield Result(id=f"{key}/auroc-partial", value=partial, n=n, method="auroc-partial")


def _area_of(plan: Plan, data: CellData, identity: str, scorer: str, label: str) -> Result:
    missing = data.lacking(scorer, POSITIVE, label)
    if missing:
        return absent(identity, "auroc-bootstrap", f"no score for {missing} items")
    positive, negative = _oriented(data, POSITIVE, scorer), _oriented(data, label, scorer)
    return area(plan, identity, positive, negative, scorer)


def _lead(plan: Plan, data: CellData, control: str) -> Result:
    identity, method = f"{data.cell.key}/minus-{control}", "auroc-difference-bootstrap"
    missing = data.lacking(control, POSITIVE, HARD)
    if missing:
        return absent(identity, method, f"no score for {missing} items")
    if control == "tokens" and data.orientation is None:
        return absent(identity, method, "no orientation was locked")
    positive, hard = _oriented(data, POSITIVE, control), _oriented(data, HARD, control)
    scores = positive["probe"], hard["probe"], positive[control], hard[control]
    groups = groups_of(positive), groups_of(hard)
    if _independent(*groups):
        found = delong_difference(*scores, level=plan.level)
        return difference(identity, found, "auroc-difference-delong")
    found = paired_auroc_difference(
        *scores, *groups, seed=seed_of(plan.seed, identity), draws=plan.bootstrap_draws,
        level=plan.level,
    )  # fmt: skip
    return difference(identity, found, method)


def _oriented(data: CellData, label: str, scorer: str) -> pd.DataFrame:
    """The items, with a token count turned the way in which the lock says it ranks positives."""
    part = data.of(label)
    if scorer != "tokens":
        return part
    return part.assign(tokens=(data.orientation or 1) * part["tokens"])


def _independent(positive: np.ndarray, negative: np.ndarray) -> bool:
    """Whether every item is a group of its own."""
    return len(np.unique(np.concatenate([positive, negative]))) == len(positive) + len(negative)
