"""What changes inside the model did to its output (PROTOCOL section 9).

Results stand under the key of a cell. An *effect* is the mean change of the log odds of the reply
that enacts the concept, against the other reply, in nats; over groups, each of which has one item:

    effect.dose.<m>    with the probe's features clamped to m times their peak; 0 ablates
    effect-slope       mean over groups of the least-squares slope on the doses 0, 1 and 2
    effect.<arm>       of the arms flip, noise and means, which are matched to the dose 1
    effect-minus.<arm> effect.dose.1 less that of the arm, on the same items
    effect-random      share of random latents whose effect is as large as at the dose 1, with p
    effect-random-mean their mean, from the 2.5th to the 97.5th percentile
    kl.<arm>           KL from the unchanged model, nats for each token of both replies
    side-loss.<arm>    change of the cross-entropy on neutral text, nats a token
    side-kl.<arm>      KL from the unchanged model on the same
    side-score.<concept>.<arm>   change of another concept's probe score on its own positives
    capability         share of forced choices that are right, with capability.<arm> its change

``influences`` says of each cell whether an influence is shown, by one rule: the slope is not 0;
random latents matched in KL seldom do as much; and neither the other sign nor noise of the same
norm does. All four must hold (intersection-union), Holm-adjusted over those of the concept's cells
that have items with two replies.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.cells import cell_items
from compliance.assessment.numbers import absent, estimate, share
from compliance.assessment.rates import discordant
from compliance.assessment.tables import read_table
from compliance.errors import PlanError
from compliance.records.finding import Influence, Result
from compliance.records.observation import (
    FLIP,
    INTERVENTION_FILES,
    MATCHED,
    MEANS,
    NOISE,
    RANDOM,
    UNCHANGED,
    dose_arm,
)
from compliance.records.plan import Cell, Plan
from compliance.records.suite import Label
from compliance.statistics.means import mean_interval, mean_p
from compliance.statistics.multiplicity import holm, intersection_union
from compliance.statistics.proportion import tango_interval

EFFECTS, SIDE, SCORES, CAPABILITY = (f"confirm/{name}" for name in INTERVENTION_FILES)
CONTROLS = (FLIP, NOISE, MEANS)
"""Arms beside the doses and the random latents, matched to the dose 1."""

SLOPE_DOSES = (0.0, 1.0, 2.0)

NO_ITEMS = "no items with two replies were run"
NO_ARM = "it was not run: a feature never fired on the items that doses are set on"
NO_RANDOM = "no random latents were run"
DECIDING = ("effect-slope", "effect-random", "effect-minus.flip", "effect-minus.noise")
"""Results whose p values must all be small for an influence to be shown."""

Floats = NDArray[np.float64]


def interventions(plan: Plan, items: pd.DataFrame, files: Mapping[str, bytes]) -> Iterator[Result]:
    """Results of every cell whose concept and language are planned to be changed.

    Args:
        plan: Frozen.
        items: Of the confirm split, ITEM_COLUMNS.
        files: The observation files, by path below ``observations/``.

    Raises:
        PlanError: A table is missing or cannot be read, has no row of the unchanged model for an
            item, or an item or concept that is not planned.
    """
    if plan.interventions is None:
        return
    effects, side, scores, capability = (
        _table(plan, files, path) for path in (EFFECTS, SIDE, SCORES, CAPABILITY)
    )
    languages = items.set_index("item")["language"]
    for path, table in ((EFFECTS, effects), (SIDE, side), (SCORES, scores)):
        if not table["item"].isin(languages.index).all():
            strange = table["item"][~table["item"].isin(languages.index)].min()
            raise PlanError(f"observations/{path}: {strange} is not in confirm/items.csv")
    side, scores = (t.assign(language=t["item"].map(languages)) for t in (side, scores))
    for cell in (cell for cell in plan.cells if _is_changed(plan, cell)):
        mine = cell_items(cell, items)
        positives = mine[mine["label"] == Label.POSITIVE].set_index("item")["group"]
        own = effects[(effects["concept"] == cell.concept) & effects["item"].isin(positives.index)]
        yield from _effects(plan, cell, own, positives)
        if _is_first(cell, plan):
            yield from _side(plan, cell, _of(cell, side))
            yield from _scores(plan, cell, _of(cell, scores))
            yield from _capability(plan, cell, _of(cell, capability))


def influences(plan: Plan, results: Mapping[str, Result]) -> tuple[Influence, ...] | None:
    """What the results say of each changed cell; None where nothing was planned to be changed."""
    if plan.interventions is None:
        return None
    cells = [cell for cell in plan.cells if _is_changed(plan, cell)]
    found = {cell.key: _combined(cell, results) for cell in cells}
    adjusted: dict[str, float] = {}
    for concept in dict.fromkeys(cell.concept for cell in cells):
        mine = (cell for cell in cells if cell.concept == concept and _has_items(cell, results))
        family = {cell.key: found[cell.key] for cell in mine}
        if family:
            raised = holm([1.0 if p is None else p for p in family.values()])
            adjusted |= dict(zip(family, raised.tolist(), strict=True))
    return tuple(
        _influence(plan, cell, results, found[cell.key], adjusted.get(cell.key)) for cell in cells
    )


def _has_items(cell: Cell, results: Mapping[str, Result]) -> bool:
    """Whether any item with two replies was run; of pictures there often is none."""
    return results[f"{cell.key}/effect.dose.1"].reason != NO_ITEMS


def _influence(
    plan: Plan,
    cell: Cell,
    results: Mapping[str, Result],
    p: float | None,
    p_holm: float | None,
) -> Influence:
    ids = tuple(
        i for name in ("effect.dose.1", *DECIDING) if (i := f"{cell.key}/{name}") in results
    )
    if p is None or p_holm is None:
        return Influence(cell=cell, statement="not-measured", result_ids=ids)
    shown = p_holm <= plan.family_error and _one_way(cell, results)
    statement = "influences" if shown else "not-shown"
    return Influence(cell=cell, statement=statement, p=p, p_holm=p_holm, result_ids=ids)


def _combined(cell: Cell, results: Mapping[str, Result]) -> float | None:
    ps = [found.p if (found := results.get(f"{cell.key}/{n}")) else None for n in DECIDING]
    return None if None in ps else intersection_union([p for p in ps if p is not None])


def _one_way(cell: Cell, results: Mapping[str, Result]) -> bool:
    """The slope, the dose 1 and what it leads the controls by have one sign."""
    names = ("effect-slope", "effect.dose.1", "effect-minus.flip", "effect-minus.noise")
    signs = {np.sign(results[f"{cell.key}/{name}"].value or 0.0) for name in names}
    return len(signs) == 1


def _is_changed(plan: Plan, cell: Cell) -> bool:
    asked = plan.interventions
    return asked is not None and cell.concept in asked.concepts and cell.language in asked.languages


def _is_first(cell: Cell, plan: Plan) -> bool:
    """Whether it is the concept's first cell in its language, where side effects are told."""
    same = (c for c in plan.cells if (c.concept, c.language) == (cell.concept, cell.language))
    return next(same) == cell


# --- on the concept's own items ----------------------------------------------------------------


def _effects(plan: Plan, cell: Cell, rows: pd.DataFrame, group_of: pd.Series) -> Iterator[Result]:
    key = cell.key
    if not len(rows):
        yield absent(f"{key}/effect.dose.1", "effect-mean", NO_ITEMS, 0)
        return
    odds = rows.pivot(index="item", columns="arm", values="odds")
    change = odds.sub(odds[UNCHANGED], axis=0).groupby(group_of.loc[odds.index].to_numpy()).mean()
    arms = [dose_arm(m) for m in _doses(plan)] + list(CONTROLS)
    for arm in arms:
        yield _mean(plan, f"{key}/effect.{_named(arm)}", change, arm)
    yield _slope(plan, key, change)
    for arm in CONTROLS:
        yield _lead(plan, f"{key}/effect-minus.{arm}", change, arm)
    yield from _random(plan, key, change)
    yield from _divergence(plan, key, rows, arms)


def _mean(plan: Plan, identity: str, change: pd.DataFrame, arm: str) -> Result:
    values = _values(change, arm)
    if not len(values):
        return absent(identity, "effect-mean", NO_ARM, 0)
    return _student(plan, identity, values, "effect-mean")


def _slope(plan: Plan, key: str, change: pd.DataFrame) -> Result:
    identity, arms = f"{key}/effect-slope", [dose_arm(m) for m in SLOPE_DOSES]
    if not set(arms) <= set(change.columns):
        return absent(identity, "effect-slope", NO_ARM, 0)
    doses = np.array(SLOPE_DOSES) - np.mean(SLOPE_DOSES)
    values = change[arms].dropna().to_numpy(np.float64) @ doses / (doses @ doses)
    return _student(plan, identity, values, "effect-slope")


def _lead(plan: Plan, identity: str, change: pd.DataFrame, arm: str) -> Result:
    if arm not in change or MATCHED not in change:
        return absent(identity, "effect-mean", NO_ARM, 0)
    values = (change[MATCHED] - change[arm]).dropna().to_numpy(np.float64)
    return _student(plan, identity, values, "effect-mean")


def _random(plan: Plan, key: str, change: pd.DataFrame) -> Iterator[Result]:
    """The dose 1 among random latents at the same KL.

    Source:
        p value: Davison, A. and Hinkley, D. (1997), Bootstrap Methods and their Application,
        section 4.2.
    """
    arms = [arm for arm in change.columns if arm.startswith(RANDOM)]
    if not arms or MATCHED not in change:
        for name in ("effect-random", "effect-random-mean"):
            yield absent(f"{key}/{name}", "random-arms", NO_RANDOM, 0)
        return
    means = change[arms].mean().to_numpy(np.float64)
    own = float(change[MATCHED].mean())
    as_large, n = int((np.abs(means) >= abs(own)).sum()), len(means)
    p = (1 + as_large) / (n + 1)
    yield share(f"{key}/effect-random", as_large, n, plan.level, p, method="random-arms")
    tail = (1 - plan.level) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    yield Result(
        id=f"{key}/effect-random-mean", value=float(means.mean()), low=float(low),
        high=float(high), level=plan.level, n=n, method="random-arms",
    )  # fmt: skip


def _divergence(plan: Plan, key: str, rows: pd.DataFrame, arms: Sequence[str]) -> Iterator[Result]:
    each = rows.assign(mean=rows["divergence"] / rows["tokens"])
    table = each.pivot(index="item", columns="arm", values="mean")
    for arm in arms:
        if arm in table:
            identity = f"{key}/kl.{_named(arm)}"
            yield _untested(plan, identity, _values(table, arm), "effect-kl")
    random = [arm for arm in table.columns if arm.startswith(RANDOM)]
    if random:
        means = table[random].mean(axis=1).to_numpy(np.float64)
        yield _untested(plan, f"{key}/kl.random", means, "effect-kl")


# --- on the side -------------------------------------------------------------------------------


def _side(plan: Plan, cell: Cell, rows: pd.DataFrame) -> Iterator[Result]:
    """Neutral text in the cell's language: each text counts once, however long it is."""
    if not len(rows):
        return
    loss, divergence = (
        rows.assign(mean=rows[name] / rows["tokens"]).pivot(
            index="item", columns="arm", values="mean"
        )
        for name in ("loss", "divergence")
    )
    change = loss.sub(loss[UNCHANGED], axis=0)
    for arm in _side_arms(plan, change):
        name = _named(arm)
        yield _student(plan, f"{cell.key}/side-loss.{name}", _values(change, arm), "side-mean")
        yield _untested(plan, f"{cell.key}/side-kl.{name}", _values(divergence, arm), "side-mean")


def _scores(plan: Plan, cell: Cell, rows: pd.DataFrame) -> Iterator[Result]:
    """Probes of other concepts, on their own positives."""
    for other, part in rows.groupby("probe"):
        scores = part.pivot(index="item", columns="arm", values="score")
        change = scores.sub(scores[UNCHANGED], axis=0)
        for arm in _side_arms(plan, change):
            identity = f"{cell.key}/side-score.{other}.{_named(arm)}"
            yield _student(plan, identity, _values(change, arm), "side-mean")


def _capability(plan: Plan, cell: Cell, rows: pd.DataFrame) -> Iterator[Result]:
    """Forced choices that have nothing to do with the concept; right: log odds above 0."""
    if not len(rows):
        return
    right = rows.pivot(index="item", columns="arm", values="odds") > 0
    before = right[UNCHANGED].to_numpy(dtype=bool)
    yield share(f"{cell.key}/capability", int(before.sum()), len(before), plan.level)
    for arm in _side_arms(plan, right):
        after = right[arm].to_numpy(dtype=bool)
        found = tango_interval(*discordant(after, before), plan.level)
        yield estimate(f"{cell.key}/capability.{_named(arm)}", found, "tango")


def _side_arms(plan: Plan, table: pd.DataFrame) -> list[str]:
    arms = (*(dose_arm(m) for m in _doses(plan)), *CONTROLS)
    return [arm for arm in arms if arm in table.columns]


def _of(cell: Cell, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a cell's concept and language."""
    return table[(table["concept"] == cell.concept) & (table["language"] == cell.language)]


# --- all ---------------------------------------------------------------------------------------


def _student(plan: Plan, identity: str, values: Floats, method: str) -> Result:
    """A mean that could be 0, with its interval and test."""
    return estimate(identity, mean_interval(values, level=plan.level), method, mean_p(values))


def _untested(plan: Plan, identity: str, values: Floats, method: str) -> Result:
    """The mean of a divergence, of which nobody asks whether it is 0."""
    return estimate(identity, mean_interval(values, level=plan.level), method)


def _values(table: pd.DataFrame, arm: str) -> Floats:
    if arm not in table:
        return np.empty(0)
    return table[arm].dropna().to_numpy(np.float64)


def _doses(plan: Plan) -> tuple[float, ...]:
    return plan.interventions.doses if plan.interventions else ()


def _named(arm: str) -> str:
    """How an arm stands in a result's name: ``dose.1``, ``flip``."""
    return arm.replace("/", ".")


def _table(plan: Plan, files: Mapping[str, bytes], path: str) -> pd.DataFrame:
    """A table in which each item of each concept has a row of the unchanged model."""
    table = read_table(files, path)
    asked = plan.interventions
    if asked is not None and (strange := set(table["concept"]) - set(asked.concepts)):
        raise PlanError(f"observations/{path}: {min(strange)} is not planned to be changed")
    pairs = pd.MultiIndex.from_frame(table[["concept", "item"]])
    plain = pairs[(table["arm"] == UNCHANGED).to_numpy(dtype=bool)]
    if not pairs.isin(plain).all():
        item = pairs[~pairs.isin(plain)].min()[1]
        raise PlanError(f"observations/{path}: {item} has no row of the unchanged model")
    return table
