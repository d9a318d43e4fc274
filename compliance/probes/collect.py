"""Puts the shards of a pass together into the tables of records/observation.py.

Rows come in the order of the shards; who writes a table puts it in the table's own order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from compliance.probes.fidelity import ROLES
from compliance.probes.shards import REGIONS, Shard
from compliance.probes.task import Task
from compliance.records.observation import (
    COFIRING_COLUMNS,
    FIDELITY_COLUMNS,
    FIRING_COLUMNS,
    ITEM_COLUMNS,
    LOSS_COLUMNS,
    MEAN_COLUMNS,
    OTHERS,
    PATCH_COLUMNS,
    REPEAT_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SHIFT_COLUMNS,
    SOURCES,
    TOKEN_COLUMNS,
    VECTOR_COLUMNS,
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
    """One row for each item, ITEM_COLUMNS.

    Args:
        shards: Of passes that hold each item once.
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
                 item.stratum or "", item.origin, item.source, item.reviewed or "",
                 int(tokens), int(beyond), int(sinks))
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(ITEM_COLUMNS))


def score_table(shards: Sequence[Shard], task: Task) -> pd.DataFrame:
    """One row for each item, concept and scorer, SCORE_COLUMNS; scores are float32 values."""
    rows = [
        (str(s.items[int(i)]), task.plan.probes[int(p)].concept, task.scorers[int(k)],
         float(np.float32(v)))
        for s in shards
        for i, p, k, v in s.scores
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def search_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    """Latents that fired, SEARCH_COLUMNS."""
    return _latent_table([(s.items, s.latents, s.latent_scores) for s in shards], plan)


def random_search_table(
    shards: Sequence[Shard], plan: Plan, items: Mapping[str, Placed]
) -> pd.DataFrame:
    """Random latents that fired on the discover split, SEARCH_COLUMNS."""
    table = _latent_table([(s.items, s.random, s.random_scores) for s in shards], plan)
    searched = np.array([items[name].split == "discover" for name in table["item"]], dtype=bool)
    return table[searched].reset_index(drop=True)


def vector_table(shards: Sequence[Shard], task: Task) -> pd.DataFrame:
    """What linear controls are fitted on, VECTOR_COLUMNS."""
    rows = [
        (task.plan.probes[int(p)].concept, str(s.items[int(i)]), task.vectors[int(k)], vector)
        for s in shards
        for (i, p, k), vector in zip(s.vectors_of, s.vectors, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(VECTOR_COLUMNS))


def mean_table(shards: Sequence[Shard], plan: Plan, items: Mapping[str, Placed]) -> pd.DataFrame:
    """Mean of each SAE's target by language, on words and on pictures, MEAN_COLUMNS.

    Merged in the order of items' ids.
    """
    parts = []
    for s in shards:
        for row, mean in zip(s.sums, s.means, strict=True):
            name, sae, role, tokens = str(s.items[int(row[0])]), *(int(n) for n in row[1:4])
            region = "image" if ROLES[role] == "image" else "read"
            parts.append((items[name].item.language, region, sae, name, role, tokens, mean))
    merged: dict[tuple[str, str, int], tuple[int, np.ndarray]] = {}
    for *key, _, _, tokens, mean in sorted(parts, key=lambda part: part[:5]):
        before, so_far = merged.get(tuple(key), (0, np.zeros_like(mean)))
        total = before + tokens
        merged[tuple(key)] = (total, so_far + (mean - so_far) * (tokens / total))
    rows = [(*key, tokens, mean) for key, (tokens, mean) in merged.items()]
    return pd.DataFrame(rows, columns=list(MEAN_COLUMNS))


def fidelity_table(shards: Sequence[Shard]) -> pd.DataFrame:
    """Sums of each item and role, FIDELITY_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), int(sae), ROLES[int(role)], int(tokens), error, spread, mean,
         cosine, norm_ratio, l0)
        for s in shards
        for (i, sae, role, tokens, error, spread, cosine, norm_ratio), mean, l0 in zip(
            s.sums, s.means, s.l0, strict=True
        )
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(FIDELITY_COLUMNS))


def firing_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    """Tokens on which each latent fired, by language, region and source, FIRING_COLUMNS."""
    rows = np.concatenate([np.empty((0, 6), np.int64), *(s.firing for s in shards)])
    keys = ["language", "region", "source", "sae", "latent"]
    summed = pd.DataFrame(rows, columns=list(FIRING_COLUMNS)).groupby(keys, as_index=False).sum()
    return summed.assign(
        language=[plan.languages[code] for code in summed["language"]],
        region=[REGIONS[code] for code in summed["region"]],
        source=[SOURCES[code] for code in summed["source"]],
    )


def patch_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    """The probe on each token of each picture, PATCH_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), plan.probes[int(p)].concept, int(high), int(wide), values)
        for s in shards
        for (i, p, high, wide), values in zip(s.patches_of, s.patches, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(PATCH_COLUMNS))


def token_table(shards: Sequence[Shard], plan: Plan) -> pd.DataFrame:
    """The probe on the tokens of each text on which it is active, TOKEN_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), plan.probes[int(p)].concept, starts, ends, values)
        for s in shards
        for (i, p), starts, ends, values in zip(
            s.tokens_of, s.starts, s.ends, s.activations, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=list(TOKEN_COLUMNS))


def cofiring_table(
    shards: Sequence[Shard], probes: Sequence[LockedProbe], firing: pd.DataFrame
) -> pd.DataFrame:
    """The latents that fire with each feature of the probes, COFIRING_COLUMNS.

    Of each feature at most OTHERS, those of the largest Jaccard index; of equal ones the first.

    Args:
        shards: Of the pass ``confirm``.
        probes: The locked ones.
        firing: Its table, which says how often each latent fired in all.
    """
    keys = ["sae", "latent", "other"]
    rows = np.concatenate([np.empty((0, 4), np.int64), *(s.cofiring for s in shards)])
    both = pd.DataFrame(rows, columns=[*keys, "tokens"]).groupby(keys, as_index=False).sum()
    both = both[both["latent"] != both["other"]]
    words = firing[firing["region"] == "read"]
    alone = words.groupby(["sae", "latent"], as_index=False)["tokens"].sum()
    other = alone.rename(columns={"latent": "other"})
    both = both.merge(alone, on=["sae", "latent"], suffixes=("", "_latent"))
    both = both.merge(other, on=["sae", "other"], suffixes=("", "_other"))
    either = both["tokens_latent"] + both["tokens_other"] - both["tokens"]
    both = both.assign(jaccard=both["tokens"] / either)
    order = both.sort_values(["jaccard", "other"], ascending=[False, True])
    most = order.groupby(["sae", "latent"]).head(OTHERS)
    features = pd.DataFrame(
        [(probe.concept, f.sae, f.latent) for probe in probes for f in probe.features],
        columns=["concept", "sae", "latent"],
    )
    return features.merge(most, on=["sae", "latent"])[list(COFIRING_COLUMNS)]


def loss_table(shards: Sequence[Shard]) -> pd.DataFrame:
    """Losses of each item and SAE, LOSS_COLUMNS."""
    rows = [
        (str(s.items[int(i)]), int(sae), int(tokens), *losses)
        for s in shards
        for i, sae, tokens, *losses in s.losses.tolist()
    ]
    return pd.DataFrame(rows, columns=list(LOSS_COLUMNS))


def shift_table(shards: Mapping[str, Sequence[Shard]], task: Task) -> pd.DataFrame:
    """The probe's scores on changed texts, SHIFT_COLUMNS.

    Args:
        shards: By shift.
        task: Of every one of them.
    """
    tables = [
        score_table(found, task).assign(shift=shift) for shift, found in sorted(shards.items())
    ]
    return pd.concat([pd.DataFrame(columns=[*SHIFT_COLUMNS]), *tables])[list(SHIFT_COLUMNS)]


def repeat_table(shards: Sequence[Shard], task: Task, scores: pd.DataFrame) -> pd.DataFrame:
    """The probe's scores of items in a batch and alone, REPEAT_COLUMNS.

    Args:
        shards: Of the pass ``repeats``.
        task: Its task.
        scores: Of the pass ``confirm``.
    """
    alone = score_table(shards, task).rename(columns={"score": "alone"})
    batched = scores.rename(columns={"score": "batched"})
    return alone.merge(batched, on=["item", "concept", "scorer"])[list(REPEAT_COLUMNS)]


def _latent_table(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], plan: Plan
) -> pd.DataFrame:
    concepts = np.array([probe.concept for probe in plan.probes], dtype=object)
    found = [pd.DataFrame(columns=list(SEARCH_COLUMNS))]
    for items, places, scores in parts:
        i, p, s, latent = places.T
        found.append(
            pd.DataFrame(
                {"concept": concepts[p], "item": items[i].astype(object), "sae": s,
                 "latent": latent, "score": scores}
            )
        )  # fmt: skip
    return pd.concat([table for table in found if len(table)] or found, ignore_index=True)
