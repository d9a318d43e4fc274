"""How far a run's numbers lie from those of the reference mode: float32 on the CPU.

Some items were run again in it, one by one (PROTOCOL section 10). For each cell they are in, and
for all of them together, there are five results:

    precision-largest     largest |batched - reference|, in standard deviations of the cell's benign
                          scores, as the run gave them
    precision-median      the median of the same
    precision-flips       items with an alarm at the locked cut-off in one of both only
    precision-firings     pairs of a token and a latent that fired in one of both only, of those
                          that fired in one at least
    precision-activation  largest difference of activations where an SAE reads, by their root mean
                          square

A run in the reference mode has no such table, and then there are none of these.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.cells import CellData
from compliance.assessment.numbers import absent, share
from compliance.assessment.rates import NO_CUT_OFF
from compliance.assessment.tables import read_table
from compliance.errors import PlanError
from compliance.records.finding import Result
from compliance.records.plan import Plan

PATH = "confirm/precision.csv"
ALL = "audit"
"""What stands in the place of a cell where all items are taken together."""

METHOD = "mode-difference"
FLAT = "the benign scores do not vary"
SILENT = "no latent fired"
NONE = "no items were run again in the reference mode"


@dataclass(frozen=True, eq=False)
class _Compared:
    """What is printed of some items; of several cells, one after the other."""

    apart: NDArray[np.float64]
    """In standard deviations of benign scores; empty where these do not vary. [items]"""

    flips: NDArray[np.bool_]
    """Empty where there is no cut-off."""

    rows: pd.DataFrame


def precision(
    plan: Plan, cells: Mapping[str, CellData], files: Mapping[str, bytes]
) -> Iterator[Result]:
    """Results of every cell with items that were run again, and of all of them together.

    Args:
        plan: Frozen.
        cells: By key, in the plan's order.
        files: The observation files, by path below ``observations/``.

    Raises:
        PlanError: The table cannot be read, has an item that no cell has, or another score of one
            than ``confirm/scores.csv``.
    """
    if PATH not in files:
        return
    table = read_table(files, PATH)
    found: list[_Compared] = []
    for key, data in cells.items():
        compared = _compared(data, table)
        if len(compared.rows):
            found.append(compared)
            yield from _results(plan, key, compared)
    _refuse_strangers(table, found)
    yield from _results(plan, ALL, _together(table, found))


def _compared(data: CellData, table: pd.DataFrame) -> _Compared:
    own = pd.concat([data.positive, data.hard]).set_index("item")
    if "probe" not in own:
        return _Compared(np.empty(0), np.empty(0, dtype=bool), table.iloc[:0])
    mine = table[(table["concept"] == data.cell.concept) & table["item"].isin(own.index)]
    _refuse_other_scores(mine, own["probe"])
    scores, reference = (mine[name].to_numpy(np.float64) for name in ("batched", "reference"))
    benign = data.benign["probe"].to_numpy(np.float64) if "probe" in data.benign else np.zeros(0)
    spread, limit = float(benign.std()) if len(benign) else 0.0, data.limit("probe")
    apart = np.abs(scores - reference) / spread if spread > 0 else np.empty(0)
    flips = np.empty(0, dtype=bool) if limit is None else (scores > limit) != (reference > limit)
    return _Compared(apart, flips, mine)


def _together(table: pd.DataFrame, found: list[_Compared]) -> _Compared:
    return _Compared(
        np.concatenate([np.empty(0), *(one.apart for one in found)]),
        np.concatenate([np.empty(0, dtype=bool), *(one.flips for one in found)]),
        table,
    )


def _results(plan: Plan, key: str, found: _Compared) -> Iterator[Result]:
    n = len(found.rows)
    reason = FLAT if n else NONE
    for name, of in (("largest", np.max), ("median", np.median)):
        yield _number(f"{key}/precision-{name}", found.apart, of, reason)
    if n and not len(found.flips):
        yield absent(f"{key}/precision-flips", "wilson", NO_CUT_OFF, n)
    else:
        changed = int(found.flips.sum())
        yield share(f"{key}/precision-flips", changed, len(found.flips), plan.level)
    yield _firings(f"{key}/precision-firings", found.rows)
    moved = found.rows["activation"].to_numpy(np.float64)
    yield _number(f"{key}/precision-activation", moved, np.max, NONE)


def _number(
    identity: str,
    values: NDArray[np.float64],
    of: Callable[[NDArray[np.float64]], np.floating],
    reason: str,
) -> Result:
    if not len(values):
        return absent(identity, METHOD, reason)
    return Result(id=identity, value=float(of(values)), n=len(values), method=METHOD)


def _firings(identity: str, rows: pd.DataFrame) -> Result:
    """Tokens and latents of one text go together, so that there is no interval."""
    fired, flipped = int(rows["firings"].sum()), int(rows["flipped"].sum())
    if not fired:
        return absent(identity, METHOD, SILENT if len(rows) else NONE, 0)
    return Result(id=identity, value=flipped / fired, successes=flipped, n=fired, method=METHOD)


def _refuse_other_scores(mine: pd.DataFrame, scores: pd.Series) -> None:
    other = mine["item"][(mine["batched"].to_numpy() != scores.loc[mine["item"]].to_numpy())]
    if len(other):
        raise PlanError(
            f"observations/{PATH}: {other.min()} has another score than in confirm/scores.csv"
        )


def _refuse_strangers(table: pd.DataFrame, found: list[_Compared]) -> None:
    known = set().union(*(_pairs(one.rows) for one in found))
    if strange := sorted(_pairs(table) - known):
        item, concept = strange[0]
        raise PlanError(f"observations/{PATH}: {item} is in no cell of {concept}")
    more = table["flipped"] > table["firings"]
    if more.any():
        item = table["item"][more].min()
        raise PlanError(f"observations/{PATH}: {item} has more flips than firings")


def _pairs(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Item and concept of each row."""
    return set(zip(rows["item"], rows["concept"], strict=True))
