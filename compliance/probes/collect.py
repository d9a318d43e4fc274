"""Puts the shards of a pass together into the tables of records/observation.py.

Rows come in the order of the shards; who writes a table puts it in the table's own order. Shards
are read one after the other; held are columns of numbers, and of texts each but once.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

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
from compliance.suites.chosen import ChosenItems


@dataclass(frozen=True)
class Placed:
    """An item, the suite it is from and the split it is in."""

    item: Item
    suite: str
    split: str


class PlacedItems(Mapping[str, Placed]):
    """The items of some splits by id, each read when it is asked for."""

    def __init__(self, by_split: Mapping[str, ChosenItems]) -> None:
        self._by_split = by_split

    def __getitem__(self, name: str) -> Placed:
        for split, items in self._by_split.items():
            if (place := items.place_of(name)) is not None:
                return Placed(items[place], items.suite_of(place), split)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (item.id for items in self._by_split.values() for item in items.outlines)

    def __len__(self) -> int:
        return sum(map(len, self._by_split.values()))


def item_table(shards: Iterable[Shard], items: Mapping[str, Placed]) -> pd.DataFrame:
    """One row for each item, ITEM_COLUMNS.

    Args:
        shards: Of passes that hold each item once.
        items: By id.
    """
    texts: dict[str, dict[str, int]] = {name: {} for name in ITEM_COLUMNS[1:_COUNTS]}
    rows = _Rows()
    for shard in shards:
        codes = np.array(
            [
                [known.setdefault(text, len(known))
                 for text, known in zip(_texts_of(items[str(name)]), texts.values(), strict=True)]
                for name in shard.items
            ],
            dtype=np.int32,
        ).reshape(-1, len(texts))  # fmt: skip
        columns = dict(zip(texts, codes.T, strict=True))
        columns |= dict(zip(ITEM_COLUMNS[_COUNTS:], shard.facts.T, strict=True))
        rows.add(shard, np.arange(len(shard.items)), **columns)
    return rows.table(ITEM_COLUMNS, {name: list(known) for name, known in texts.items()})


_COUNTS = ITEM_COLUMNS.index("tokens")


def _texts_of(placed: Placed) -> tuple[str, ...]:
    item = placed.item
    return (
        placed.suite, item.group, placed.split, item.concept or "", item.label.value,
        item.language, item.modality, item.rendering, item.format, item.stratum or "",
        item.origin, item.source, item.reviewed or "",
    )  # fmt: skip


def score_table(shards: Iterable[Shard], task: Task) -> pd.DataFrame:
    """One row for each item, concept and scorer, SCORE_COLUMNS; scores are float32 values."""
    rows = _Rows()
    for s in shards:
        item, probe, scorer, score = s.scores.T
        rows.add(
            s, item, concept=probe.astype(np.int16), scorer=scorer.astype(np.int16),
            score=score.astype(np.float32),
        )  # fmt: skip
    return rows.table(SCORE_COLUMNS, {"concept": _concepts(task.plan), "scorer": task.scorers})


def search_table(shards: Iterable[Shard], plan: Plan) -> pd.DataFrame:
    """Latents that fired, SEARCH_COLUMNS."""
    return _latent_table(((s, s.latents, s.latent_scores) for s in shards), plan)


def random_search_table(
    shards: Iterable[Shard], plan: Plan, items: Mapping[str, Placed]
) -> pd.DataFrame:
    """Random latents that fired on the discover split, SEARCH_COLUMNS."""

    def searched(s: Shard) -> np.ndarray:
        there = np.zeros(len(s.items), dtype=bool)
        for place in np.unique(s.random[:, 0]):
            there[place] = items[str(s.items[place])].split == "discover"
        return there[s.random[:, 0]]

    found = ((s, searched(s)) for s in shards)
    return _latent_table(((s, s.random[is_in], s.random_scores[is_in]) for s, is_in in found), plan)


def vector_table(shards: Iterable[Shard], task: Task) -> pd.DataFrame:
    """What linear controls are fitted on, VECTOR_COLUMNS."""
    rows = _Rows()
    for s in shards:
        item, probe, kind = s.vectors_of.T
        rows.add(s, item, concept=probe, features=kind, vector=_objects(s.vectors))
    return rows.table(VECTOR_COLUMNS, {"concept": _concepts(task.plan), "features": task.vectors})


def mean_table(shards: Iterable[Shard], plan: Plan, items: Mapping[str, Placed]) -> pd.DataFrame:
    """Mean of each SAE's target by language, on words and on pictures, MEAN_COLUMNS.

    Merged in the order of items' ids.
    """
    parts = []
    with tempfile.TemporaryFile() as file:
        for s in shards:
            sums, means = s.sums, s.means
            for row, mean in zip(sums, means, strict=True):
                name, sae, role, tokens = str(s.items[int(row[0])]), *(int(n) for n in row[1:4])
                region = "image" if ROLES[role] == "image" else "read"
                language = items[name].item.language
                parts.append((language, region, sae, name, role, tokens, file.tell(), len(mean)))
                file.write(np.asarray(mean, dtype=np.float64).tobytes())
        merged: dict[tuple[str, str, int], tuple[int, np.ndarray]] = {}
        for *key, _, _, tokens, start, width in sorted(parts, key=lambda part: part[:5]):
            file.seek(start)
            mean = np.frombuffer(file.read(8 * width), dtype=np.float64)
            before, so_far = merged.get(tuple(key), (0, np.zeros_like(mean)))
            total = before + tokens
            merged[tuple(key)] = (total, so_far + (mean - so_far) * (tokens / total))
    rows = [(*key, tokens, mean) for key, (tokens, mean) in merged.items()]
    return pd.DataFrame(rows, columns=list(MEAN_COLUMNS))


def fidelity_table(shards: Iterable[Shard]) -> pd.DataFrame:
    """Sums of each item and role, FIDELITY_COLUMNS."""
    rows = _Rows()
    for s in shards:
        item, sae, role, tokens, error, spread, cosine, norm_ratio = s.sums.T
        rows.add(
            s, item, sae=sae.astype(np.int32), role=role.astype(np.int16),
            tokens=tokens.astype(np.int64), error=error, spread=spread, mean=_objects(s.means),
            cosine=cosine, norm_ratio=norm_ratio, l0=_objects(s.l0),
        )  # fmt: skip
    return rows.table(FIDELITY_COLUMNS, {"role": ROLES})


def firing_table(shards: Iterable[Shard], plan: Plan) -> pd.DataFrame:
    """Tokens on which each latent fired, by language, region and source, FIRING_COLUMNS."""
    summed = _summed((s.firing for s in shards), FIRING_COLUMNS)
    return summed.assign(
        language=[plan.languages[code] for code in summed["language"]],
        region=[REGIONS[code] for code in summed["region"]],
        source=[SOURCES[code] for code in summed["source"]],
    )


def _summed(parts: Iterable[np.ndarray], columns: Sequence[str]) -> pd.DataFrame:
    """The sum of ``tokens`` by all other columns, of one part after the other: whole numbers."""
    *keys, _ = columns
    found = pd.DataFrame(np.empty((0, len(columns)), np.int64), columns=list(columns))
    for part in parts:
        both = pd.concat([found, pd.DataFrame(part, columns=list(columns))], ignore_index=True)
        found = both.groupby(keys, as_index=False).sum()
    return found


def patch_table(shards: Iterable[Shard], plan: Plan) -> pd.DataFrame:
    """The probe on each token of pictures, PATCH_COLUMNS."""
    rows = _Rows()
    for s in shards:
        item, probe, high, wide = s.patches_of.T
        rows.add(s, item, concept=probe, rows=high, columns=wide, activations=_objects(s.patches))
    return rows.table(PATCH_COLUMNS, {"concept": _concepts(plan)})


def token_table(shards: Iterable[Shard], plan: Plan) -> pd.DataFrame:
    """The probe on the tokens of each text on which it is active, TOKEN_COLUMNS."""
    rows = _Rows()
    for s in shards:
        item, probe = s.tokens_of.T
        rows.add(
            s, item, concept=probe, starts=_objects(s.starts), ends=_objects(s.ends),
            activations=_objects(s.activations),
        )  # fmt: skip
    return rows.table(TOKEN_COLUMNS, {"concept": _concepts(plan)})


def cofiring_table(
    shards: Iterable[Shard], probes: Sequence[LockedProbe], firing: pd.DataFrame
) -> pd.DataFrame:
    """The latents that fire with each feature of the probes, COFIRING_COLUMNS.

    Of each feature at most OTHERS, those of the largest Jaccard index; of equal ones the first.

    Args:
        shards: Of the pass ``confirm``.
        probes: The locked ones.
        firing: Its table, which says how often each latent fired in all.
    """
    both = _summed((s.cofiring for s in shards), ("sae", "latent", "other", "tokens"))
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


def loss_table(shards: Iterable[Shard]) -> pd.DataFrame:
    """Losses of each item and SAE, LOSS_COLUMNS."""
    rows = _Rows()
    for s in shards:
        item, sae, tokens, *losses = s.losses.T
        named = dict(zip(LOSS_COLUMNS[3:], losses, strict=True))
        rows.add(s, item, sae=sae.astype(np.int32), tokens=tokens.astype(np.int64), **named)
    return rows.table(LOSS_COLUMNS, {})


def shift_table(shards: Mapping[str, Iterable[Shard]], task: Task) -> pd.DataFrame:
    """The probe's scores on changed texts, SHIFT_COLUMNS.

    Args:
        shards: By shift.
        task: Of every one of them.
    """
    tables = [
        score_table(found, task).assign(shift=shift) for shift, found in sorted(shards.items())
    ]
    return pd.concat([pd.DataFrame(columns=[*SHIFT_COLUMNS]), *tables])[list(SHIFT_COLUMNS)]


def repeat_table(shards: Iterable[Shard], task: Task, scores: pd.DataFrame) -> pd.DataFrame:
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
    parts: Iterable[tuple[Shard, np.ndarray, np.ndarray]], plan: Plan
) -> pd.DataFrame:
    rows = _Rows()
    for shard, places, scores in parts:
        item, probe, sae, latent = places.T
        rows.add(
            shard, item, concept=probe.astype(np.int16), sae=sae.astype(np.int32),
            latent=latent.astype(np.int32), score=scores,
        )  # fmt: skip
    return rows.table(SEARCH_COLUMNS, {"concept": _concepts(plan)})


def _concepts(plan: Plan) -> list[str]:
    return [probe.concept for probe in plan.probes]


def _objects(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of different lengths as one column."""
    found = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        found[place] = array
    return found


class _Rows:
    """Rows of a table, shard by shard; texts are numbers until it is complete, and after it."""

    def __init__(self) -> None:
        self._names: list[np.ndarray] = []
        self._items = 0
        self._columns: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, shard: Shard, items: np.ndarray, **columns: np.ndarray) -> None:
        """Rows of a shard: the place of each one's item in it, and the other columns."""
        self._columns["item"].append(items.astype(np.int32) + self._items)
        for name, values in columns.items():
            self._columns[name].append(values)
        self._names.append(shard.items.astype(bytes))
        self._items += len(shard.items)

    def table(self, columns: Sequence[str], texts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """All rows.

        Args:
            columns: Their order.
            texts: What the numbers of a column of texts stand for.
        """
        if not self._names:
            return pd.DataFrame(columns=list(columns))
        found = {}
        for name in columns:
            values = np.concatenate(self._columns.pop(name))
            if name == "item":
                names, number = np.unique(np.concatenate(self._names), return_inverse=True)
                text = pa.array(names).cast(pa.string()).to_pandas()
                found[name] = pd.Categorical.from_codes(number.astype(np.int32)[values], text)
            elif name in texts:
                found[name] = _texts(values, texts[name])
            else:
                found[name] = values
        return pd.DataFrame(found, copy=False)


def _texts(numbers: np.ndarray, meanings: Sequence[str]) -> pd.Categorical:
    """Texts by their numbers; categories in the order of texts, by which tables are ordered."""
    different = {text: code for code, text in enumerate(sorted(set(meanings)))}
    codes = np.array([different[text] for text in meanings], dtype=np.int32)
    return pd.Categorical.from_codes(codes[numbers.astype(np.int32)], list(different))
