"""Alarms at the locked cut-offs: shares, their gap to the reference, and what an alarm is worth.

PROTOCOL section 5. An alarm is a score strictly above the cut-off.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.cells import BENIGN, HARD, POSITIVE, CellData
from compliance.assessment.numbers import absent, count, estimate, share
from compliance.records.finding import Result
from compliance.records.observation import CALIBRATED
from compliance.records.plan import Plan
from compliance.statistics.predictive import positive_predictive_value
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_interval,
    tango_p_noninferior,
    wilson,
)

NO_CUT_OFF = "the cut-off cannot be set"


def counts(data: CellData) -> Iterator[Result]:
    """How many items there are of each kind, and on how many the cut-offs were set."""
    key = data.cell.key
    yield count(f"{key}/n-positive", len(data.positive))
    yield count(f"{key}/n-hard", len(data.hard))
    yield count(f"{key}/n-benign", len(data.benign))
    yield count(f"{key}/n-unscored", data.unscored)
    yield count(f"{key}/n-calibrate", data.cut_offs["probe"].n)


def cut_offs(data: CellData) -> Iterator[Result]:
    """The locked cut-offs, or why one cannot be set."""
    for scorer in CALIBRATED:
        locked = data.cut_offs.get(scorer)
        if locked is not None:
            yield Result(
                id=f"{data.cell.key}/cut-off{_suffix(scorer)}", value=locked.value, n=locked.n,
                method="split-conformal", reason=locked.reason,
            )  # fmt: skip


def rates(plan: Plan, data: CellData, scorer: str) -> Iterator[Result]:
    """Sensitivity and the two false-positive rates of a scorer at its own cut-off."""
    claims, limit = plan.claims, data.limit(scorer)
    for name, label, p_value, bound in (
        ("sensitivity", POSITIVE, binomial_p_greater, claims.min_sensitivity),
        ("fpr-benign", BENIGN, binomial_p_less, claims.max_false_positive_rate),
        ("fpr-hard", HARD, binomial_p_less, claims.max_hard_false_positive_rate),
    ):
        identity = f"{data.cell.key}/{name}{_suffix(scorer)}"
        missing = data.lacking(scorer, label)
        if limit is None or missing:
            reason = f"no score for {missing} items" if missing else NO_CUT_OFF
            yield absent(identity, "wilson", reason)
            continue
        scores = data.of(label)[scorer]
        alarms = int((scores > limit).sum())
        p = p_value(alarms, len(scores), bound)
        yield share(identity, alarms, len(scores), plan.level, p)


def control_rates(plan: Plan, data: CellData) -> Iterator[Result]:
    """The three rates of each control that has scores and a cut-off of its own."""
    for scorer in CALIBRATED[1:]:
        if data.scores(scorer, POSITIVE, HARD, BENIGN):
            yield from rates(plan, data, scorer)


def rates_by_format(plan: Plan, data: CellData) -> Iterator[Result]:
    """False alarms on each format of benign items."""
    limit = data.limit("probe")
    if limit is None:
        return
    for name, part in data.benign.groupby("format"):
        alarms = int((part["probe"] > limit).sum())
        yield share(f"{data.cell.key}/fpr-benign.{name}", alarms, len(part), plan.level)


def carried_over(plan: Plan, data: CellData, reference: CellData | None) -> Iterator[Result]:
    """What the reference language's cut-off would have given here."""
    limit = reference.limit("probe") if reference else None
    if limit is None:
        return
    for name, label in (("sensitivity", POSITIVE), ("fpr-benign", BENIGN)):
        scores = data.of(label)["probe"]
        yield share(
            f"{data.cell.key}/{name}-at-reference-cut-off",
            int((scores > limit).sum()), len(scores), plan.level,
        )  # fmt: skip


def gap(plan: Plan, data: CellData, reference: CellData | None) -> Iterator[Result]:
    """Sensitivity here minus that of the reference, on the same groups."""
    found = pairs(data, reference)
    if found is None:
        return
    p = tango_p_noninferior(*found, plan.claims.non_inferiority_margin)
    yield estimate(f"{data.cell.key}/gap", tango_interval(*found, plan.level), "tango", p)


def pairs(data: CellData, reference: CellData | None) -> tuple[int, int, int] | None:
    """Groups hit only here, only in the reference, and shared; None where nothing is shared."""
    here, there = _hits(data), _hits(reference) if reference else None
    if here is None or there is None:
        return None
    both = here.index.intersection(there.index)
    if not len(both):
        return None
    return discordant(here.loc[both].to_numpy(), there.loc[both].to_numpy())


def discordant(here: NDArray[np.bool_], there: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Pairs hit only here, only there, and all pairs."""
    return int((here & ~there).sum()), int((~here & there).sum()), len(here)


def predictive(plan: Plan, data: CellData) -> Iterator[Result]:
    """The share of alarms that are right, at each declared prevalence."""
    limit = data.limit("probe")
    if limit is None:
        return
    shares = [
        wilson(int((scores > limit).sum()), len(scores), plan.level)
        for scores in (data.positive["probe"], data.benign["probe"])
    ]
    for prevalence in plan.claims.prevalences:
        found = positive_predictive_value(*shares, prevalence)
        identity = f"{data.cell.key}/ppv@{prevalence:g}"
        if found.value is None:
            yield absent(identity, "ppv", "no alarm at all", found.n)
        else:
            yield estimate(identity, found, "ppv")


def activity(plan: Plan, data: CellData) -> Iterator[Result]:
    """The share of items of each label on which the probe is active at all."""
    for name, label in (("positive", POSITIVE), ("hard", HARD), ("benign", BENIGN)):
        scores = data.of(label)["probe"]
        identity = f"{data.cell.key}/active-{name}"
        yield share(identity, int((scores > 0).sum()), len(scores), plan.level)


def _hits(data: CellData) -> pd.Series | None:
    """Whether each positive raised an alarm, by group; None without a cut-off."""
    limit = data.limit("probe")
    if not data.measured or limit is None:
        return None
    groups = data.positive["group"].astype("str")
    return pd.Series(data.positive["probe"].to_numpy() > limit, index=groups)


def _suffix(scorer: str) -> str:
    return "" if scorer == "probe" else f".{scorer}"
