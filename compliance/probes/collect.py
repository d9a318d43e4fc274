"""Puts the shards of a pass together into the observation tables, in a fixed order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from compliance.probes.engine import SCORERS, Shard
from compliance.records.observation import (
    FIDELITY_COLUMNS,
    ITEM_COLUMNS,
    RESIDUAL_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
)
from compliance.records.plan import LockedProbe, Plan
from compliance.records.suite import Item


@dataclass(frozen=True)
class Placed:
    """An item, the suite it is from and the split it is in."""

    item: Item
    suite: str
    split: str


def item_table(shards: Sequence[Shard], items: Mapping[str, Placed]) -> pd.DataFrame:
    """One row for each item, ITEM_COLUMNS, ordered by id.

    Args:
        shards: Of one pass.
        items: By id.
    """
    rows = []
    for shard in shards:
        for name, (tokens, beyond, sinks) in zip(shard.items, shard.facts, strict=True):
            placed = items[str(name)]
            item = placed.item
            rows.append(
                (item.id, placed.suite, item.group, placed.split, item.concept or "",
                 item.label.value, item.language, item.modality, item.rendering, item.format,
                 item.stratum or "", item.origin, item.reviewed or "",
                 int(tokens), int(beyond), int(sinks))
            )  # fmt: skip
    return pd.DataFrame(sorted(rows), columns=list(ITEM_COLUMNS))


def score_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    """One row for each item, concept and scorer, SCORE_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), plan.probes[int(p)].concept, SCORERS[int(k)], float(np.float32(v)))
        for s in shards
        for i, p, k, v in s.scores
    ]
    return pd.DataFrame(sorted(rows), columns=list(SCORE_COLUMNS))


def search_table(shards: Sequence[Shard], plan: Plan, items: Mapping[str, Placed]) -> pd.DataFrame:
    """Latents that fired on the discover split in the reference language, SEARCH_COLUMNS."""
    table = _latent_table(shards, plan)
    searched = [items[name].split == "discover" for name in table["item"]]
    return table[np.array(searched, dtype=bool)].reset_index(drop=True)


def probe_scores(
    shards: Sequence[Shard], plan: Plan, probes: Sequence[LockedProbe],
    items: Mapping[str, Placed],
) -> pd.DataFrame:  # fmt: skip
    """The chosen features' scores on benign calibrate items; silent ones score 0."""
    table = _latent_table(shards, plan)
    scored = score_table(shards, plan)
    rows = []
    for probe in probes:
        wanted = {(f.sae, f.latent) for f in probe.features}
        mine = table[(table["concept"] == probe.concept)]
        keys = pd.MultiIndex.from_arrays([mine["sae"], mine["latent"]])
        fired = mine[keys.isin(list(wanted))].groupby("item")["score"]
        # some architectures have latents below zero, and one that is silent is above those
        best = fired.max().where(fired.size() == len(wanted), fired.max().clip(lower=0))
        read = (scored["concept"] == probe.concept) & (scored["scorer"] == "tokens")
        rows += [
            (name, probe.concept, "probe", float(best.get(name, 0.0)))
            for name in scored[read]["item"]
            if items[name].item.concept is None
        ]
    return pd.DataFrame(sorted(rows), columns=list(SCORE_COLUMNS))


def residual_table(shards: Sequence[Shard], plan: Plan, hook_names: Sequence[str]) -> pd.DataFrame:
    """Mean residual over the region, RESIDUAL_COLUMNS."""
    rows = [
        (plan.probes[int(p)].concept, str(s.items[int(i)]), hook_names[int(h)], vector)
        for s in shards
        for (i, p, h), vector in zip(s.residuals, s.vectors, strict=True)
    ]
    return pd.DataFrame(sorted(rows, key=lambda r: r[:3]), columns=list(RESIDUAL_COLUMNS))


def fidelity_table(shards: Sequence[Shard]) -> pd.DataFrame:
    """Sums for explained variance and L0 of each benign item, FIDELITY_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), int(k), int(tokens), error, squares, l0, vector)
        for s in shards
        for (i, k, tokens, error, squares, l0), vector in zip(s.sums, s.sum_vectors, strict=True)
    ]
    return pd.DataFrame(sorted(rows, key=lambda r: r[:2]), columns=list(FIDELITY_COLUMNS))


def _latent_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    parts = []
    for shard in shards:
        i, p, s, latent = shard.latents.T
        parts.append(
            pd.DataFrame(
                {"concept": np.array([probe.concept for probe in plan.probes])[p],
                 "item": shard.items[i].astype(object), "sae": s, "latent": latent,
                 "score": shard.latent_scores}
            )
        )  # fmt: skip
    table = pd.concat(parts, ignore_index=True)[list(SEARCH_COLUMNS)]
    return table.sort_values(list(SEARCH_COLUMNS[:4]), ignore_index=True)
