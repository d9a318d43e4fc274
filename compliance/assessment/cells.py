"""One cell's confirm items with their scores and locked cut-offs: what every measure reads.

    cells = read_cells(plan, lock, confirm)
    cells["deception/ja/text/plain"].positive["probe"]

A setting of the plan is the same cell with other scores in the probe's place: `CellData.read_as`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from compliance.assessment.tables import ConfirmObservations, of_variant
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


def read_cells(plan: Plan, lock: Lock, confirm: ConfirmObservations) -> dict[str, CellData]:
    """Every planned cell by its key, also those without items.

    Raises:
        PlanError: A score of an item that is not listed or a latent that is not locked; an item
            with the region but without a probe score; a cell without a locked cut-off; or patches
            of what has no picture, or not one for each of its tokens.
    """
    _refuse_unlisted(confirm)
    _refuse_strange_patches(confirm)
    found: dict[str, CellData] = {}
    for concept in dict.fromkeys(cell.concept for cell in plan.cells):
        wide = _wide(concept, confirm.scores)
        latents = _RandomLatents.of(concept, lock, confirm.latents)
        for cell in (c for c in plan.cells if c.concept == concept):
            found[cell.key] = _cell_data(cell, lock, confirm, wide, latents)
    return {cell.key: found[cell.key] for cell in plan.cells}


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
class _RandomLatents:
    """Pooled scores of a concept's random latents, as rows of a table."""

    count: int
    items: NDArray[np.object_]
    columns: NDArray[np.intp]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, concept: str, lock: Lock, table: pd.DataFrame) -> "_RandomLatents":
        locked = [r.features for r in lock.random_latents if r.concept == concept]
        features: tuple[FeatureRef, ...] = locked[0] if locked else ()
        mine = table[table["concept"] == concept]
        wanted = pd.MultiIndex.from_tuples(
            [(f.sae, f.latent) for f in features], names=["sae", "latent"]
        ) if features else pd.MultiIndex.from_arrays([[], []], names=["sae", "latent"])  # fmt: skip
        columns = wanted.get_indexer(pd.MultiIndex.from_frame(mine[["sae", "latent"]]))
        if (columns < 0).any():
            raise PlanError(
                f"observations/confirm/latents.parquet: a latent of {concept} that the lock does "
                "not name"
            )
        scores = mine["score"].to_numpy(dtype=np.float64)
        return cls(len(features), mine["item"].to_numpy(dtype=object), columns, scores)

    def areas(self, positive: pd.DataFrame, hard: pd.DataFrame) -> NDArray[np.float64] | None:
        """AUROC of each latent; a latent that did not fire on an item scores 0 there."""
        items = pd.Index([*positive["item"], *hard["item"]])
        rows = items.get_indexer(self.items)
        here = rows >= 0
        if not here.any() or not len(positive) or not len(hard):
            return None
        matrix = sparse.csr_matrix(
            (self.scores[here], (rows[here], self.columns[here])), shape=(len(items), self.count)
        )
        return auroc_matrix(matrix, np.arange(len(items)) < len(positive))


def _cell_data(
    cell: Cell,
    lock: Lock,
    confirm: ConfirmObservations,
    wide: pd.DataFrame,
    latents: _RandomLatents,
) -> CellData:
    mine = cell_items(cell, confirm.items).sort_values("item")
    table = mine[[*FACTS, "label"]].merge(wide, left_on="item", right_index=True, how="inner")
    parts = {label: _part(table, label) for label in (POSITIVE, HARD, BENIGN)}
    signs = [o.sign for o in lock.orientations
             if (o.concept, o.variant) == (cell.concept, cell.variant)]  # fmt: skip
    cut_offs = {c.scorer: c for c in lock.cut_offs if c.cell == cell}
    if "probe" not in cut_offs:
        raise PlanError(f"the lock has no cut-off of the probe in {cell.key}")
    wanted = int((mine["label"] != BENIGN).sum())
    return CellData(
        cell=cell,
        positive=parts[POSITIVE],
        hard=parts[HARD],
        benign=parts[BENIGN],
        cut_offs=cut_offs,
        unscored=wanted - len(parts[POSITIVE]) - len(parts[HARD]),
        orientation=signs[0] if signs else None,
        random_areas=latents.areas(parts[POSITIVE], parts[HARD]),
    )


def _part(table: pd.DataFrame, label: Label) -> pd.DataFrame:
    return table[table["label"] == label].drop(columns="label").reset_index(drop=True)


def _read_as(part: pd.DataFrame, scorer: str) -> pd.DataFrame:
    if scorer not in part:
        return part.iloc[:0]
    scored = part[part[scorer].notna()]
    return scored.assign(probe=scored[scorer]).reset_index(drop=True)


def _wide(concept: str, scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each item with a probe score, a column for each scorer."""
    mine = scores[scores["concept"] == concept]
    wide = mine.pivot(index="item", columns="scorer", values="score")
    probe = wide["probe"].notna() if "probe" in wide else pd.Series(False, index=wide.index)
    half = list(_first(wide.index[wide["tokens"].notna() & ~probe])) if "tokens" in wide else []
    if half:
        raise PlanError(
            f"observations/confirm/scores.csv: {half[0]} has the region of {concept} and no score "
            "of the probe"
        )
    return wide[probe]


def _refuse_unlisted(confirm: ConfirmObservations) -> None:
    unlisted = list(_first(confirm.scores["item"][~confirm.scores["item"].isin(
        confirm.items["item"])]))  # fmt: skip
    if unlisted:
        raise PlanError(
            f"observations/confirm/scores.csv: {unlisted[0]} is not in confirm/items.csv"
        )


def _refuse_strange_patches(confirm: ConfirmObservations) -> None:
    """Patches are those of an item's own picture, as many as were counted or more.

    Tokens that were left out as attention sinks are among them and are not counted. Whatever the
    pooling, no score exceeds the largest of them by more than rounding.
    """
    counts = confirm.scores[confirm.scores["scorer"] == "tokens"]
    read = counts.set_index(["item", "concept"])["score"].to_dict()
    probe = confirm.scores[confirm.scores["scorer"] == "probe"]
    scored = probe.set_index(["item", "concept"])["score"].to_dict()
    concepts = confirm.items[confirm.items["modality"] != "text"].set_index("item")["concept"]
    for row in confirm.patches.itertuples():
        where = f"observations/confirm/patches.parquet: {row.item}"
        if not row.concept or concepts.get(row.item) != row.concept:
            raise PlanError(f"{where} has no picture of {row.concept} in confirm/items.csv")
        found, grid = len(row.activations), row.rows * row.columns
        too_few = found < read.get((row.item, row.concept), 0)
        if too_few or ((row.rows or row.columns) and found != grid):
            raise PlanError(
                f"{where} has {found} activations, in {row.rows} rows and {row.columns} columns"
            )
        score, largest = scored.get((row.item, row.concept), 0.0), max(row.activations, default=0.0)
        if score > 0 and largest < score * (1 - ROUNDING):
            raise PlanError(f"{where} has no activation as large as the score {score:g}")


def _first(names: pd.Series | pd.Index) -> Iterator[str]:
    return iter(sorted(names)[:1])
