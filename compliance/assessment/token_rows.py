"""The probe on single tokens of an item's words, against the score that was taken from them.

Which tokens a region holds is not stored, so that not every score follows from its row; but a score
taken as a maximum stands among the tokens, and none exceeds what its tokens allow.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from compliance.assessment.tables import coded, flat, places_of, read_table
from compliance.errors import NumberMismatch
from compliance.records.plan import Plan

TABLE = "tokens.parquet"

ROUNDING = 1e-5
"""Relative: a mean of float32 numbers, and its own rounding."""

TOP = 5
"""Tokens of the pooling ``top-5``."""


def token_differences(plan: Plan, files: Mapping[str, bytes]) -> Iterator[NumberMismatch]:
    """Yield each score of the probe in words that its item's tokens do not allow.

    Args:
        plan: Says how scores are taken from tokens.
        files: The observation files, by path below ``observations/``.

    Raises:
        PlanError: A table cannot be read.
    """
    items, scores, tokens = (
        read_table(files, f"confirm/{name}", compact=True)
        for name in ("items.csv", "scores.csv", TABLE)
    )
    pooling = {probe.concept: probe.pooling for probe in plan.probes}
    concepts = sorted({*scores["concept"].cat.categories, *tokens["concept"].cat.categories})
    keys, rows = (_keys(items, table, concepts) for table in (scores, tokens))
    probe, count = (
        np.flatnonzero((scores["scorer"] == scorer).to_numpy(dtype=bool) & (keys >= 0))
        for scorer in ("probe", "tokens")
    )
    number = scores["score"].to_numpy()
    row_of = _found(keys[probe], rows)
    reads = np.append(number[count], np.nan)[_found(keys[probe], keys[count])]
    values, lengths = flat(tokens["activations"])
    ends = np.cumsum(lengths)
    for place, row, read in zip(probe, row_of, reads, strict=True):
        concept = concepts[keys[place] % len(concepts)]
        where = f"observations.confirm.tokens.{scores['item'].iat[place]}.{concept}"
        score = float(number[place])
        if row < 0:
            yield NumberMismatch(where, stored="nothing", computed=f"a score of {score:g}")
            continue
        activations = values[ends[row] - lengths[row] : ends[row]]
        if not _allowed(score, activations, read, pooling.get(concept, "")):
            yield NumberMismatch(
                where, stored=_largest(activations), computed=f"a score of {score:.9g}"
            )
    for row in np.setdiff1d(np.arange(len(tokens)), row_of):
        item, concept = tokens["item"].iat[row], tokens["concept"].iat[row]
        where = f"observations.confirm.tokens.{item}.{concept}"
        yield NumberMismatch(where, stored="activations", computed="no score in words")


def _keys(items: pd.DataFrame, table: pd.DataFrame, concepts: list[str]) -> np.ndarray:
    """A number for item and concept of each row, in their order, int64 [n]; -1: not in words."""
    places = places_of(table["item"], items["item"])
    words = np.append((items["modality"] == "text").to_numpy(dtype=bool), False)
    codes, names = coded(table["concept"])
    concept = np.array([concepts.index(name) for name in names], dtype=np.int64)
    return np.where(words[places], places * len(concepts) + concept[codes], -1)


def _found(wanted: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where each number stands among others, which rise but for those that are -1; -1: nowhere."""
    order = np.flatnonzero(keys >= 0)
    if not len(order):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
    return np.where(keys[order][at] == wanted, order[at], -1)


def _allowed(score: float, activations: np.ndarray, read: float, pooling: str) -> bool:
    """Whether a score can have been taken from some tokens among which are these.

    Args:
        score: Of the probe.
        activations: On the tokens on which it is not 0, wherever they stand.
        read: Tokens of the region; not a number where they were not counted.
        pooling: As planned.
    """
    if pooling in ("max", "last"):
        return bool(score == 0 or np.any(activations == np.float32(score)))
    upper = np.sort(activations[activations > 0].astype(np.float64))[::-1]
    count = len(upper) if np.isnan(read) else int(read)
    if pooling == "top-5":
        count = min(TOP, count)
    most = upper[:count].sum() / max(count, 1)
    return score <= most * (1 + ROUNDING)


def _largest(activations: np.ndarray) -> str:
    if not len(activations):
        return "that the probe is silent"
    return f"{len(activations)} activations, of which the largest is {activations.max():.9g}"
