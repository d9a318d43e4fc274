"""The probe on single tokens of an item's words, against the score that was taken from them.

Which tokens a region holds is not stored, so that not every score follows from its row; but a score
taken as a maximum stands among the tokens, and none exceeds what its tokens allow.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from compliance.assessment.tables import read_table
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
        read_table(files, f"confirm/{name}") for name in ("items.csv", "scores.csv", TABLE)
    )
    pooling = {probe.concept: probe.pooling for probe in plan.probes}
    words = items.loc[items["modality"] == "text", "item"]
    scores = scores[scores["item"].isin(words)]
    wide = scores[scores["scorer"].isin(("probe", "tokens"))].pivot(
        index=["item", "concept"], columns="scorer", values="score"
    )
    wide = wide.reindex(columns=["probe", "tokens"])
    rows = {(row.item, row.concept): row.activations for row in tokens.itertuples()}
    for (item, concept), score, read in wide[wide["probe"].notna()].itertuples():
        where = f"observations.confirm.tokens.{item}.{concept}"
        activations = rows.pop((item, concept), None)
        if activations is None:
            yield NumberMismatch(where, stored="nothing", computed=f"a score of {score:g}")
        elif not _allowed(score, activations, read, pooling.get(concept, "")):
            yield NumberMismatch(
                where, stored=_largest(activations), computed=f"a score of {score:.9g}"
            )
    for item, concept in rows:
        where = f"observations.confirm.tokens.{item}.{concept}"
        yield NumberMismatch(where, stored="activations", computed="no score in words")


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
    count = len(upper) if pd.isna(read) else int(read)
    if pooling == "top-5":
        count = min(TOP, count)
    most = upper[:count].sum() / max(count, 1)
    return score <= most * (1 + ROUNDING)


def _largest(activations: np.ndarray) -> str:
    if not len(activations):
        return "that the probe is silent"
    return f"{len(activations)} activations, of which the largest is {activations.max():.9g}"
