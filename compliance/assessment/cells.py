"""One cell's confirm items with their scores and locked cut-offs: what every measure reads.

    cells = read_cells(plan, lock, confirm)
    cells["deception/ja/text/plain"].positive["probe"]

A setting of the plan is the same cell with other scores in the probe's place: `CellData.read_as`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from compliance.assessment.tables import (
    ConfirmObservations,
    StoredConfirm,
    of_variant,
    places_of,
)
from compliance.errors import PlanError
from compliance.records.audit import FeatureRef
from compliance.records.plan import Cell, CutOff, Lock, Plan, Setting
from compliance.records.suite import Label
from compliance.statistics.ranking import auroc_matrix

POSITIVE, HARD, BENIGN = Label.POSITIVE, Label.HARD_NEGATIVE, Label.NEGATIVE
FACTS = ["item", "suite", "group", "format", "stratum", "source"]

ROUNDING = 1e-3
"""Relative; how far a pooled float32 score may exceed the largest of what it was pooled from."""


@dataclass(frozen=True, eq=False)
class CellData:
    """One cell's items that have the region, by label and ordered by item.

    Each table has the columns of FACTS and one for each scorer, NaN where an item has no score.
    """

    cell: Cell
    positive: pd.DataFrame
    hard: pd.DataFrame
    benign: pd.DataFrame
    cut_offs: Mapping[str, CutOff]
    """By scorer."""

    unscored: int
    """Positives and hard negatives of which no token was left to read."""

    orientation: int | None = None
    """1 or -1: which way the lock says that a token count ranks positives."""

    random_areas: NDArray[np.float64] | None = None
    """AUROC of each random latent, positive v hard negative; None where none was read here."""

    def of(self, label: Label) -> pd.DataFrame:
        """The items of one label."""
        return {POSITIVE: self.positive, HARD: self.hard, BENIGN: self.benign}[label]

    @property
    def measured(self) -> bool:
        """Whether there are positives, hard negatives and benign items with a probe score."""
        return all(len(part) for part in (self.positive, self.hard, self.benign))

    def limit(self, scorer: str) -> float | None:
        """The scorer's locked cut-off here; None where there is none or it cannot be set."""
        found = self.cut_offs.get(scorer)
        return found.value if found else None

    def scores(self, scorer: str, *labels: Label) -> bool:
        """Whether any item of these labels has a score of this scorer."""
        return any(scorer in p and p[scorer].notna().any() for p in map(self.of, labels))

    def lacking(self, scorer: str, *labels: Label) -> int:
        """How many items of these labels have no score of this scorer."""
        return sum(
            int(part[scorer].isna().sum()) if scorer in part else len(part)
            for part in map(self.of, labels)
        )

    def read_as(self, setting: Setting) -> "CellData":
        """The cell with a setting's scores and cut-off in the probe's place.

        Items that the setting does not score are left out; everything else stays as locked. A
        setting that reads nothing else here (`reads_otherwise`) leaves the cell as it is.
        """
        if not reads_otherwise(setting, self.cell):
            return self
        parts = [_read_as(part, setting.scorer) for part in (self.positive, self.hard, self.benign)]
        lost = len(self.positive) + len(self.hard) - len(parts[0]) - len(parts[1])
        missing = CutOff(scorer=setting.cut_off, cell=self.cell, n=0, reason="it was not locked")
        own = self.cut_offs.get(setting.cut_off, missing)
        return replace(
            self, positive=parts[0], hard=parts[1], benign=parts[2],
            cut_offs={**self.cut_offs, "probe": own}, unscored=self.unscored + lost,
        )  # fmt: skip


def read_cells(
    plan: Plan, lock: Lock, confirm: ConfirmObservations | StoredConfirm
) -> dict[str, CellData]:
    """Every planned cell by its key, also those without items.

    Raises:
        PlanError: A score of an item that is not listed or a latent that is not locked; an item
            with the region but without a probe score; a cell without a locked cut-off; or patches
            of what has no picture, or not one for each of its tokens.
    """
    items = confirm.items.reset_index(drop=True)
    scores = _Scores.of(items["item"], confirm.parts("scores"))
    _refuse_strange_patches(items, scores, confirm.patches)
    found: dict[str, CellData] = {}
    for concept in dict.fromkeys(cell.concept for cell in plan.cells):
        _refuse_half(concept, items["item"], scores)
        for cell in (c for c in plan.cells if c.concept == concept):
            found[cell.key] = _cell_data(cell, lock, items, scores)
    del scores
    latents = _RandomLatents.of(plan, lock, items["item"], confirm.parts("latents"))
    return {
        cell.key: replace(found[cell.key], random_areas=latents.areas(found[cell.key], items))
        for cell in plan.cells
    }


def reads_otherwise(setting: Setting, cell: Cell) -> bool:
    """Whether a setting is another choice in a cell: of a picture its tokens are read anyhow."""
    return setting.region is None or cell.modality == "text"


def cell_items(cell: Cell, items: pd.DataFrame) -> pd.DataFrame:
    """The items of a cell's own concept, and the benign ones that serve every concept."""
    served = (items["concept"] == cell.concept) | (items["label"] == BENIGN)
    return items[of_variant(items, cell.variant) & served.to_numpy(dtype=bool)]


def groups_of(part: pd.DataFrame) -> NDArray[np.str_]:
    """The group of each item."""
    return part["group"].to_numpy(dtype=np.str_)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Every score, by concept and scorer, on all items: float32 [items], NaN where there is none.

    So they are stored; whatever compares them with a cut-off needs them as float64.
    """

    found: Mapping[tuple[str, str], NDArray[np.float32]]

    @classmethod
    def of(cls, items: pd.Series, parts: Iterable[pd.DataFrame]) -> "_Scores":
        found: dict[tuple[str, str], NDArray[np.float32]] = {}
        for part in parts:
            places = places_of(part["item"], items)
            if (places < 0).any():
                raise PlanError(
                    f"observations/confirm/scores.csv: {min(part['item'][places < 0])} is not in "
                    "confirm/items.csv"
                )
            score = part["score"].to_numpy()
            for key, rows in part.groupby(["concept", "scorer"]).indices.items():
                if key not in found:
                    found[key] = np.full(len(items), np.nan, dtype=np.float32)
                found[key][places[rows]] = score[rows]
        return cls(found)

    def has(self, concept: str, scorer: str, items: int) -> NDArray[np.bool_]:
        """Which of so many items have a score."""
        one = self.found.get((concept, scorer))
        return np.zeros(items, dtype=bool) if one is None else ~np.isnan(one)

    def table(self, concept: str, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Scores of some items, a column for each scorer that any item has one of."""
        scorers = sorted(scorer for own, scorer in self.found if own == concept)
        return pd.DataFrame({s: self.found[concept, s][rows].astype(np.float64) for s in scorers})


@dataclass(frozen=True, eq=False)
class _RandomLatents:
    """Pooled scores of random latents, by concept: [items, latents]. A silent one has none."""

    found: Mapping[str, sparse.csr_matrix]

    @classmethod
    def of(
        cls, plan: Plan, lock: Lock, items: pd.Series, parts: Iterable[pd.DataFrame]
    ) -> "_RandomLatents":
        locked = {r.concept: r.features for r in lock.random_latents}
        gathered: dict[str, list[_Fired]] = {cell.concept: [] for cell in plan.cells}
        for part in parts:
            for concept, rows in part.groupby("concept").indices.items():
                if concept in gathered:
                    features = locked.get(concept, ())
                    gathered[concept].append(_fired(concept, features, items, part.iloc[rows]))
        found = {}
        for concept in [concept for concept, fired in gathered.items() if fired]:
            scores, rows, columns = map(np.concatenate, zip(*gathered.pop(concept), strict=True))
            shape = (len(items), len(locked[concept]))
            found[concept] = sparse.csr_matrix((scores, (rows, columns)), shape)
        return cls(found)

    def areas(self, data: CellData, items: pd.DataFrame) -> NDArray[np.float64] | None:
        """AUROC of each latent; a latent that did not fire on an item scores 0 there."""
        scores, both = self.found.get(data.cell.concept), (data.positive, data.hard)
        if scores is None or not all(map(len, both)):
            return None
        rows = [places_of(part["item"], items["item"]) for part in both]
        mine = scores[np.concatenate(rows)]
        if not mine.nnz:
            return None
        return auroc_matrix(mine, np.arange(mine.shape[0]) < len(data.positive))


_Fired = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]


def _fired(
    concept: str, features: Sequence[FeatureRef], items: pd.Series, table: pd.DataFrame
) -> _Fired:
    """Scores of latents that fired, and the places of their items and of the latents."""
    wanted = np.array([(f.sae << 32) + f.latent for f in features], dtype=np.int64)
    latents = (table["sae"].to_numpy(np.int64) << 32) + table["latent"].to_numpy(np.int64)
    columns = pd.Index(wanted).get_indexer(latents)
    if (columns < 0).any():
        raise PlanError(
            f"observations/confirm/latents.parquet: a latent of {concept} that the lock does not "
            "name"
        )
    rows = places_of(table["item"], items)
    here = rows >= 0
    scores = table["score"].to_numpy(np.float32)[here]
    return scores, rows[here].astype(np.int32), columns[here].astype(np.int32)


def _cell_data(cell: Cell, lock: Lock, items: pd.DataFrame, scores: _Scores) -> CellData:
    mine = cell_items(cell, items)[[*FACTS, "label"]].sort_values("item")
    read = scores.has(cell.concept, "probe", len(items))
    kept = mine[read[mine.index]]
    own = scores.table(cell.concept, kept.index.to_numpy())
    table = pd.concat([kept.reset_index(drop=True), own], axis=1)
    parts = {label: _part(table, label) for label in (POSITIVE, HARD, BENIGN)}
    signs = [o.sign for o in lock.orientations
             if (o.concept, o.variant) == (cell.concept, cell.variant)]  # fmt: skip
    cut_offs = {c.scorer: c for c in lock.cut_offs if c.cell == cell}
    if "probe" not in cut_offs:
        raise PlanError(f"the lock has no cut-off of the probe in {cell.key}")
    wanted = int((mine["label"] != BENIGN.value).sum())
    return CellData(
        cell=cell,
        positive=parts[POSITIVE],
        hard=parts[HARD],
        benign=parts[BENIGN],
        cut_offs=cut_offs,
        unscored=wanted - len(parts[POSITIVE]) - len(parts[HARD]),
        orientation=signs[0] if signs else None,
    )


def _part(table: pd.DataFrame, label: Label) -> pd.DataFrame:
    return table[table["label"] == label.value].drop(columns="label").reset_index(drop=True)


def _read_as(part: pd.DataFrame, scorer: str) -> pd.DataFrame:
    if scorer not in part:
        return part.iloc[:0]
    scored = part[part[scorer].notna()]
    return scored.assign(probe=scored[scorer]).reset_index(drop=True)


def _refuse_half(concept: str, items: pd.Series, scores: _Scores) -> None:
    counted, read = (scores.has(concept, scorer, len(items)) for scorer in ("tokens", "probe"))
    half = counted & ~read
    if half.any():
        raise PlanError(
            f"observations/confirm/scores.csv: {min(items[half])} has the region of {concept} and "
            "no score of the probe"
        )


def _refuse_strange_patches(items: pd.DataFrame, scores: _Scores, patches: pd.DataFrame) -> None:
    """Patches are those of an item's own picture, as many as were counted or more.

    Tokens that were left out as attention sinks are among them and are not counted. Whatever the
    pooling, no score exceeds the largest of them by more than rounding.
    """
    seen = items[items["modality"] != "text"]
    concepts = dict(zip(seen["item"], seen["concept"], strict=True))
    place = dict(zip(seen["item"], seen.index, strict=True))

    def of(scorer: str, item: str, concept: str) -> float:
        known = scores.found.get((concept, scorer))
        score = np.nan if known is None else known[place[item]]
        return 0.0 if np.isnan(score) else float(score)

    for row in patches.itertuples():
        where = f"observations/confirm/patches.parquet: {row.item}"
        if not row.concept or concepts.get(row.item) != row.concept:
            raise PlanError(f"{where} has no picture of {row.concept} in confirm/items.csv")
        found, grid = len(row.activations), row.rows * row.columns
        too_few = found < of("tokens", row.item, row.concept)
        if too_few or ((row.rows or row.columns) and found != grid):
            raise PlanError(
                f"{where} has {found} activations, in {row.rows} rows and {row.columns} columns"
            )
        score, largest = of("probe", row.item, row.concept), max(row.activations, default=0.0)
        if score > 0 and largest < score * (1 - ROUNDING):
            raise PlanError(f"{where} has no activation as large as the score {score:g}")
