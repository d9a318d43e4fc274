"""Whether the numbers hang on small things (PROTOCOL section 10).

Texts and pictures that are changed mechanically, clusters that are left out, and items that are
run on their own instead of in a batch.
"""

import re
from collections.abc import Iterator

import pandas as pd

from compliance.assessment.cells import CellData
from compliance.assessment.numbers import absent, estimate, share
from compliance.assessment.ranking import area
from compliance.assessment.rates import NO_CUT_OFF, discordant
from compliance.records.finding import Result
from compliance.records.plan import Plan
from compliance.statistics.proportion import tango_interval

KINDS = ("format", "stratum", "source", "suite")


def shifts(plan: Plan, data: CellData, table: pd.DataFrame) -> Iterator[Result]:
    """The probe on changed texts or pictures, at the locked cut-off.

    Args:
        plan: Frozen.
        data: The cell, with the scores of the unchanged items.
        table: SHIFT_COLUMNS.
    """
    mine = table[table["concept"] == data.cell.concept]
    for name, part in mine.groupby("shift"):
        changed = part.set_index("item")["score"]
        positive, hard = (_changed(items, changed) for items in (data.positive, data.hard))
        key = f"{data.cell.key}/shift.{name}"
        if len(positive):
            yield from _shifted_hits(plan, data, key, positive)
        if len(positive) and len(hard):
            yield area(plan, f"{key}.auroc-hard", positive, hard, "changed")


def left_out(plan: Plan, data: CellData) -> Iterator[Result]:
    """The ranking without one cluster of items, for each cluster of two groups or more.

    A value that one group alone has is no cluster; an item's own number as its source is one.
    """
    both = pd.concat([data.positive, data.hard])
    for kind in KINDS:
        if both[kind].nunique() < 2:
            continue
        groups = both.groupby(kind)["group"].nunique()
        names = _named(list(groups.index[groups >= 2]))
        for value, name in names.items():
            positive, hard = (p[p[kind] != value] for p in (data.positive, data.hard))
            if len(positive) and len(hard):
                yield area(plan, f"{data.cell.key}/left-out.{kind}.{name}", positive, hard, "probe")


def repeats(plan: Plan, data: CellData, table: pd.DataFrame) -> Iterator[Result]:
    """Items run on their own against the same items run in a batch.

    Args:
        plan: Frozen.
        data: The cell.
        table: REPEAT_COLUMNS.
    """
    items = pd.concat([data.positive["item"], data.hard["item"]])
    mine = table[(table["concept"] == data.cell.concept) & table["item"].isin(items)]
    if not len(mine):
        return
    key, limit = data.cell.key, data.limit("probe")
    largest = float((mine["batched"] - mine["alone"]).abs().max())
    yield Result(
        id=f"{key}/repeat-difference", value=largest, n=len(mine), method="largest-difference"
    )
    if limit is None:
        yield absent(f"{key}/repeat-flips", "count", NO_CUT_OFF, len(mine))
        return
    flips = int(((mine["batched"] > limit) != (mine["alone"] > limit)).sum())
    yield Result(
        id=f"{key}/repeat-flips", value=flips, successes=flips, n=len(mine), method="count"
    )


def _changed(items: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """The items that were changed, with the new score beside the old."""
    found = items[items["item"].isin(scores.index)]
    return found.assign(changed=scores.reindex(found["item"]).to_numpy())


def _shifted_hits(plan: Plan, data: CellData, key: str, positive: pd.DataFrame) -> Iterator[Result]:
    limit = data.limit("probe")
    if limit is None:
        yield absent(f"{key}.sensitivity", "wilson", NO_CUT_OFF)
        return
    after, before = ((positive[name] > limit).to_numpy() for name in ("changed", "probe"))
    yield share(f"{key}.sensitivity", int(after.sum()), len(after), plan.level)
    yield estimate(f"{key}.change", tango_interval(*discordant(after, before), plan.level), "tango")


def _named(values: list[str]) -> dict[str, str]:
    """Values as parts of an id: other characters become hyphens, and equals are numbered."""
    found: dict[str, str] = {}
    for value in sorted(values):
        name = re.sub(r"[^\w.-]+", "-", value).strip("-").lower()[:64] or "none"
        same = sum(other == name or other.startswith(f"{name}~") for other in found.values())
        found[value] = f"{name}~{same + 1}" if same else name
    return found
