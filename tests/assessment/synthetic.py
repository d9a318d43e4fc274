"""Observations drawn from stated distributions, without a model: the shapes a run would write.

The probe's score is a normal deviate shifted by ``effect`` for positives (and by ``hard_effect``
for hard negatives), clipped at zero as sparse latents are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from compliance.assessment.locking import make_lock
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.records.audit import Claims
from compliance.records.observation import FIDELITY_COLUMNS, ITEM_COLUMNS
from compliance.records.plan import Cell, Lock, Plan, PlannedProbe, Rule, Splits
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import ConceptSheet, Datasheet, SuiteFacts

DIGEST = "sha256:" + "0" * 64
WIDTH = 4
LATENTS = 20
MEASURED_RULES = (
    Rule(condition="beats-token-count", kind="primary", limit=0.0),
    Rule(condition="sensitivity", kind="primary", limit=0.5),
    Rule(condition="false-positive-rate", kind="primary", limit=0.05),
    Rule(condition="hard-false-positive-rate", kind="primary", limit=0.2),
    Rule(condition="non-inferior", kind="secondary", limit=0.15),
    Rule(condition="explained-variance", kind="gate", limit=0.5),
    Rule(condition="explained-variance-gap", kind="gate", limit=0.15),
)
"""Rules without those that this version cannot measure, so that a cell can be supported."""


@dataclass(frozen=True)
class World:
    """What is true of the simulated scores, by language."""

    effect: dict[str, float]
    hard_effect: float = 0.0
    error: float = 0.1
    """Reconstruction error as a share of the variance."""

    groups: int = 200
    benign: int = 900
    seed: int = 0


def make_plan(languages: tuple[str, ...] = ("en", "el"), rules=MEASURED_RULES) -> Plan:
    sheet = ConceptSheet(title="Danger", definition="d", region="user")
    return Plan(
        software="test",
        model=ModelFacts(
            name="m", architecture="A", weights_digest=DIGEST, tokenizer_digest=DIGEST,
            parameters=1, layers=1, d_model=WIDTH, dtype="float32", chat_template=True,
        ),
        saes=(
            SaeFacts(
                name="s", digest=DIGEST, architecture="jumprelu", hook_name="blocks.0.hook",
                d_in=WIDTH, d_sae=LATENTS, normalisation="none", dtype="float16",
            ),
        ),
        suites=(
            SuiteFacts(
                name="suite", version="1.0.0", digest=DIGEST, items=1, groups=1,
                datasheet=Datasheet(
                    name="suite", version="1.0.0", title="t", description="d", licence="l",
                    sources=("s",), languages=languages, concepts={"danger": sheet},
                    translation="none",
                ),
            ),
        ),
        probes=(
            PlannedProbe(
                concept="danger", title="Danger", definition="d", features="discover",
                region="user", pooling="max",
            ),
        ),
        languages=languages,
        cells=tuple(Cell(concept="danger", language=lang) for lang in languages),
        claims=Claims(),
        rules=rules,
        controls=("token-count", "dense"),
        splits=Splits(),
        alpha=0.01,
        bootstrap_draws=500,
        batch_tokens=512,
        seed=7,
    )  # fmt: skip


def make_files(plan: Plan, world: World) -> tuple[Lock, dict[str, bytes]]:
    """Lock and observation files of a world."""
    stream = np.random.RandomState(world.seed)
    fit = _fit(plan, world, stream)
    files = fit.to_files()
    lock = make_lock(plan, FitObservations.from_files(files), file_digests(files))
    files |= _confirm(plan, world, stream).to_files()
    return lock, files


def _items(plan: Plan, splits: dict[str, range], benign: range, benign_split: str) -> pd.DataFrame:
    rows = []
    for lang in plan.languages:
        for split, numbers in splits.items():
            for g in numbers:
                for label in ("positive", "hard-negative"):
                    rows.append(_row(f"g{g:04d}-{label}-{lang}", f"g{g:04d}", split, "danger",
                                     label, lang))  # fmt: skip
        for g in benign:
            rows.append(_row(f"b{g:04d}-{lang}", f"b{g:04d}", benign_split, "", "negative", lang))
    return pd.DataFrame(sorted(rows), columns=list(ITEM_COLUMNS))


def _row(item: str, group: str, split: str, concept: str, label: str, lang: str) -> tuple:
    return (item, "suite", group, split, concept, label, lang, "text", "plain", "prompt", "",
            "authored", "a person", 20, 0, 0)  # fmt: skip


def _fit(plan: Plan, world: World, stream: np.random.RandomState) -> FitObservations:
    items = _items(
        plan, {"discover": range(0, 40), "calibrate": range(40, 60)},
        range(world.benign // 2), "calibrate",
    )  # fmt: skip
    search, residuals, scores = [], [], []
    for row in items.itertuples():
        positive = row.label == "positive"
        vector = stream.randn(WIDTH) + (1.5 * positive)
        residuals.append(("danger", row.item, "blocks.0.hook", vector.astype(np.float32)))
        scores.append((row.item, "danger", "tokens", float(stream.randint(5, 30))))
        if row.split == "discover" and row.language == plan.claims.reference_language:
            for latent in range(LATENTS):
                signal = 5.0 if positive and latent == 3 else 0.0
                value = max(0.0, stream.randn() + signal)
                if value:
                    search.append(("danger", row.item, 0, latent, np.float32(value)))
        if row.label == "negative":
            scores.append((row.item, "danger", "probe", max(0.0, float(stream.randn()))))
    return FitObservations(
        items=items,
        scores=pd.DataFrame(sorted(scores), columns=["item", "concept", "scorer", "score"]),
        search=pd.DataFrame(search, columns=["concept", "item", "sae", "latent", "score"]),
        residuals=pd.DataFrame(residuals, columns=["concept", "item", "hook_name", "vector"]),
    )


def _confirm(plan: Plan, world: World, stream: np.random.RandomState) -> ConfirmObservations:
    items = _items(
        plan, {"confirm": range(60, 60 + world.groups)},
        range(world.benign // 2, world.benign), "confirm",
    )  # fmt: skip
    scores, fidelity = [], []
    for row in items.itertuples():
        shift = {"positive": world.effect[row.language], "hard-negative": world.hard_effect}
        value = max(0.0, float(stream.randn()) + shift.get(row.label, 0.0))
        scores.append((row.item, "danger", "probe", float(np.float32(value))))
        scores.append((row.item, "danger", "tokens", float(stream.randint(5, 30))))
        scores.append((row.item, "danger", "dense", float(np.float32(stream.randn()))))
        if row.label == "negative":
            x = stream.randn(20, WIDTH)
            squares, sums = float((x**2).sum()), x.sum(axis=0).astype(np.float32)
            fidelity.append((row.item, 0, 20, world.error * squares, squares, 60.0, sums))
    return ConfirmObservations(
        items=items,
        scores=pd.DataFrame(sorted(scores), columns=["item", "concept", "scorer", "score"]),
        fidelity=pd.DataFrame(fidelity, columns=list(FIDELITY_COLUMNS)),
    )
