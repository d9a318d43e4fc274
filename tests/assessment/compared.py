"""Two made-up packs of one system with scores, for what compares them. No model was run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compliance.assessment.tables import table_bytes
from compliance.packs import Signer, build_pack
from compliance.packs.version import Parent, next_version
from compliance.records.base import digest_bytes
from compliance.records.evidence import Evidence
from compliance.records.finding import Finding, Result, Verdict
from compliance.records.observation import ITEM_COLUMNS
from compliance.records.plan import Cell, CutOff
from compliance.records.suite import Item, Label
from compliance.statistics.ranking import auroc
from tests.packs.example import (
    MOMENT,
    SIGNER,
    example_contents,
    example_evidence,
    example_lock,
    example_plan,
)

LANGUAGES = ("en", "ja")
CELLS = tuple(Cell(concept="deception", language=language) for language in LANGUAGES)
POSITIVE, HARD, BENIGN = Label.POSITIVE, Label.HARD_NEGATIVE, Label.NEGATIVE

Moved = Callable[[pd.DataFrame], pd.Series | np.ndarray]


def world_items(groups: int = 40, benign: int = 60) -> pd.DataFrame:
    """Items of both languages with a score for each: positives about 2, others about 0."""
    rows = []
    for language in LANGUAGES:
        for g in range(groups):
            for label in (POSITIVE, HARD):
                rows.append(
                    (f"d-{g:03d}-{label}-{language}", f"d-{g:03d}", "deception", label, language)
                )
        for g in range(benign):
            rows.append((f"n-{g:03d}-{language}", f"n-{g:03d}", "", BENIGN, language))
    table = pd.DataFrame(rows, columns=["item", "group", "concept", "label", "language"])
    rng = np.random.default_rng(7)
    centre = np.where(table["label"] == POSITIVE, 2.0, 0.0)
    return table.assign(score=exact(centre + rng.standard_normal(len(table))))


def exact(scores: np.ndarray) -> np.ndarray:
    """Scores that float32 holds to the last digit, so that none moves when it is written."""
    return np.round(scores * 1024) / 1024


def files_of(table: pd.DataFrame) -> dict[str, bytes]:
    """The two tables that a comparison reads."""
    constant = {
        "suite": "seed", "split": "confirm", "modality": "text", "rendering": "plain",
        "format": "prompt", "stratum": "", "origin": "authored", "source": "test",
        "reviewed": "", "tokens": 5, "beyond_context": 0, "excluded_sinks": 0,
    }  # fmt: skip
    items = table.assign(**constant)[list(ITEM_COLUMNS)]
    scores = table.assign(concept="deception", scorer="probe")
    files = {"confirm/items.csv": items, "confirm/scores.csv": scores}
    return {path: table_bytes(part, path) for path, part in files.items()}


def results_of(table: pd.DataFrame, cut_offs: dict[str, float]) -> Iterable[Result]:
    """What the evidence states of these scores, by the plainest arithmetic."""
    hits = {}
    for cell in CELLS:
        mine = table[table["language"] == cell.language]
        scores = {
            label: mine[mine["label"] == label]["score"] for label in (POSITIVE, HARD, BENIGN)
        }
        limit = cut_offs[cell.language]
        hits[cell.language] = scores[POSITIVE].to_numpy() > limit
        values = {
            "auroc-hard": auroc(scores[POSITIVE], scores[HARD]),
            "auroc-benign": auroc(scores[POSITIVE], scores[BENIGN]),
            "sensitivity": float((scores[POSITIVE] > limit).mean()),
            "fpr-benign": float((scores[BENIGN] > limit).mean()),
            "fpr-hard": float((scores[HARD] > limit).mean()),
        }
        if cell.language != "en" and len(hits["en"]) == len(hits[cell.language]):
            values["gap"] = float(hits[cell.language].mean() - hits["en"].mean())
        for name, value in values.items():
            yield Result(id=f"{cell.key}/{name}", value=value, method="test")


def world(
    table: pd.DataFrame, *, cut_off: float = 1.0, verdict: Verdict = Verdict.SUPPORTED,
    labels: tuple[str | None, ...] = (None,), cells: tuple[Cell, ...] = CELLS, **plan: Any,
) -> tuple[Evidence, dict[str, bytes]]:  # fmt: skip
    """Evidence and observations of these items."""
    frozen = example_plan(cells=cells, **plan)
    lock = example_lock(frozen)
    (probe,) = lock.probes
    feature = probe.features[0]
    features = tuple(feature.model_copy(update={"label": label}) for label in labels)
    lock = lock.model_copy(
        update={
            "probes": (probe.model_copy(update={"features": features}),),
            "cut_offs": tuple(
                CutOff(scorer="probe", cell=c, value=cut_off, rank=99, n=100) for c in cells
            ),
        }
    )
    files = files_of(table)
    found = results_of(table, dict.fromkeys(LANGUAGES, cut_off))
    keys = tuple(f"{cell.key}/" for cell in cells)
    evidence = example_evidence(
        frozen,
        lock=lock,
        results=tuple(result for result in found if result.id.startswith(keys)),
        findings=tuple(Finding(cell=cell, verdict=verdict, reason="all-shown") for cell in cells),
        observations={path: digest_bytes(data) for path, data in files.items()},
    )
    return evidence, files


def items_of(table: pd.DataFrame) -> list[Item]:
    """The items themselves, with a text each."""
    return [
        Item(
            id=row.item, group=row.group, concept=row.concept or None, label=row.label,
            language=row.language, text=f"Text of {row.item}.", origin="authored", source="test",
            licence="CC0-1.0",
        )
        for row in table.itertuples()
    ]  # fmt: skip


def build_world(
    folder: Path, table: pd.DataFrame, *, parent: Parent | None = None, signer: Signer = SIGNER,
    **changes: Any,
) -> Path:  # fmt: skip
    """A signed pack of these items in ``folder/packs``."""
    evidence, files = world(table, **changes)
    version = next_version(evidence, parent)
    (folder / version).mkdir(parents=True, exist_ok=True)
    contents = example_contents(
        folder / version, evidence=evidence, version=version, parent=parent,
        observations=files, items=items_of(table),
    )  # fmt: skip
    return build_pack(folder / "packs", contents, signer=signer, built_at=MOMENT)


def moved(table: pd.DataFrame, which: pd.Series, by: float) -> pd.DataFrame:
    """The same items with other scores."""
    return table.assign(score=table["score"] + np.where(which, by, 0.0))
