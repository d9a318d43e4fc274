"""Small fit tables with planted latents, without a model: what a run would write of two splits.

Two SAEs of 40 latents read three languages. Latent 3 of SAE 0 fires on positives in English and
Greek, and hardly tells the labels apart in Japanese, where latent 7 of SAE 1 does. Residuals of
positives are shifted; all else is noise.

With pictures, each group is there as a picture of its words too, in all languages, and each benign
item. On pictures latent 9 of SAE 0 fires on positives, and no other.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from compliance.assessment.tables import FitObservations, empty_table, file_digests
from compliance.records.audit import Claims, FeatureRef
from compliance.records.observation import (
    CALIBRATED,
    ITEM_COLUMNS,
    MEAN_COLUMNS,
    NEIGHBOUR_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SURFACE,
    VECTOR_COLUMNS,
    applies,
)
from compliance.records.plan import Cell, Plan, PlannedProbe, Setting, Splits
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import Variant

DIGEST = "sha256:" + "0" * 64
LANGUAGES = ("en", "el", "ja")
LATENTS, WIDTH = 40, 5
PLANTED, ELSEWHERE = FeatureRef(sae=0, latent=3), FeatureRef(sae=1, latent=7)
SEEN = FeatureRef(sae=0, latent=9)
"""Planted in pictures."""

TEXT, PICTURE = ("text", "plain"), ("image", "typographic")
"""Modality and rendering."""

NEIGHBOURS = {
    TEXT: (("el", 0, 3, 0.9), ("el", 0, 11, 0.7), ("el", 1, 12, 0.69), ("ja", 1, 7, 0.8)),
    PICTURE: (("el", 0, 13, 0.75),),
}
"""Language, SAE, latent and cosine."""

BRIGHTER = 20.0
"""What scores of benign pictures exceed those of benign texts by."""

IMAGE_TOKENS = 16
SETTINGS = (
    Setting(name="pooling-mean", pooling="mean"),
    Setting(name="alpha-0.02", alpha=0.02),
    Setting(name="sae-0", sae=0),
    Setting(name="sae-1", sae=1),
)


def make_plan(*, forms: tuple[tuple[str, str], ...] = (TEXT,), **changed: object) -> Plan:
    """A plan for the tables of `make_fit`, with a cell for each form and language."""
    languages = changed.get("languages", LANGUAGES)
    probe = PlannedProbe(
        concept="danger", title="D", definition="d", features="discover", region="user",
        pooling="max",
    )  # fmt: skip
    plan = Plan(
        software="test",
        model=ModelFacts(
            name="m", architecture="A", weights_digest=DIGEST, tokenizer_digest=DIGEST,
            parameters=1, layers=1, d_model=WIDTH, dtype="float32", chat_template=True,
        ),
        saes=tuple(
            SaeFacts(
                name=f"s{i}", digest=DIGEST, architecture="jumprelu", hook_name=f"hook.{i}",
                d_in=WIDTH, d_sae=LATENTS, normalisation="none", dtype="float32",
            )
            for i in range(2)
        ),
        suites=(),
        probes=(probe,),
        languages=LANGUAGES,
        cells=tuple(
            Cell(concept="danger", language=language, modality=modality, rendering=rendering)
            for modality, rendering in forms
            for language in languages
        ),
        claims=Claims(),
        rules=(),
        controls=(),
        splits=Splits(),
        alpha=0.05,
        bootstrap_draws=200,
        flips=200,
        random_latents=9,
        settings=SETTINGS,
        batch_tokens=512,
        seed=7,
    )  # fmt: skip
    return plan.model_copy(update=changed)


def make_fit(
    *,
    groups: int = 24,
    benign: int = 60,
    signal: float = 5.0,
    seed: int = 0,
    forms: tuple[tuple[str, str], ...] = (TEXT,),
) -> FitObservations:
    """Tables as read back from their files.

    Args:
        groups: Paired; two thirds are of the discover split.
        benign: Items of each language.
        signal: How much more a planted latent fires on positives.
        seed: Of the noise.
        forms: Modality and rendering of the items.
    """
    stream = np.random.RandomState(seed)
    items = _items(groups, benign, forms)
    benign_items = items[items["label"] == "negative"]
    others = items[items["label"] != "negative"]
    return stored(
        FitObservations(
            items=items,
            scores=_scores(others, benign_items, stream),
            search=_search(others, signal, stream),
            random_search=_search(
                others[
                    (others["split"] == "discover")
                    & (others["language"] == "en")
                    & (others["modality"] == forms[0][0])
                ],
                0.0,
                stream,
            ),
            vectors=_vectors(others, stream),
            neighbours=pd.DataFrame(
                [("danger", language, *form, *found)
                 for form in forms for language, *found in NEIGHBOURS[form]],
                columns=list(NEIGHBOUR_COLUMNS),
            ),
            means=pd.DataFrame(
                [(lang, "read", sae, 9, np.zeros(WIDTH)) for lang in LANGUAGES for sae in (0, 1)],
                columns=list(MEAN_COLUMNS),
            ),
        )
    )  # fmt: skip


def stored(fit: FitObservations) -> FitObservations:
    """The same tables as an auditor reads them."""
    return FitObservations.from_files(fit.to_files())


def digests(fit: FitObservations) -> dict[str, str]:
    """Digest of each fit file."""
    return file_digests(fit.to_files())


def without_labels(fit: FitObservations, language: str, label: str) -> FitObservations:
    """Without one label in one language."""
    gone = fit.items[(fit.items["language"] == language) & (fit.items["label"] == label)]["item"]
    keep = {
        name: table[~table["item"].isin(gone)].reset_index(drop=True)
        for name in ("items", "scores", "search", "random_search", "vectors")
        if "item" in (table := getattr(fit, name))
    }
    return replace(fit, **keep)


def no_latents() -> pd.DataFrame:
    """A search in which no latent fired."""
    return empty_table(SEARCH_COLUMNS)


def _items(groups: int, benign: int, forms: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    rows = []
    for form, language in itertools.product(forms, LANGUAGES):
        for group, label in itertools.product(range(groups), ("positive", "hard-negative")):
            split = "discover" if group < 2 * groups // 3 else "calibrate"
            rows.append(_row(f"g{group:02d}", split, "danger", label, language, form))
        rows += [
            _row(f"b{i:03d}", "calibrate", "", "negative", language, form) for i in range(benign)
        ]
    return pd.DataFrame(sorted(rows), columns=list(ITEM_COLUMNS))


def _row(
    group: str, split: str, concept: str, label: str, language: str, form: tuple[str, str]
) -> tuple:
    name = "-".join([group, label, language, *([] if form == TEXT else form)])
    return (name, "suite", group, split, concept, label, language, *form, "prompt", "",
            "authored", "s", "", 20, 0, 0)  # fmt: skip


def _scores(
    others: pd.DataFrame, benign: pd.DataFrame, stream: np.random.RandomState
) -> pd.DataFrame:
    counted = pd.concat([others, benign])
    rows = [(item.item, "danger", "tokens",
             float(stream.randint(5, 30) if item.modality == "text" else IMAGE_TOKENS))
            for item in counted.itertuples()]  # fmt: skip
    scorers = [*CALIBRATED, *(s.scorer for s in SETTINGS if s.scorer != "probe"), "latent/0/11"]
    rows += [
        (item.item, "danger", scorer,
         np.float32(stream.randn() + (BRIGHTER if item.modality != "text" else 0.0)))
        for item in benign.itertuples()
        for scorer in (*scorers, *(["latent/0/13"] if item.modality == "image" else []))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _search(items: pd.DataFrame, signal: float, stream: np.random.RandomState) -> pd.DataFrame:
    rows = []
    for item in items.itertuples():
        active = PLANTED if item.language != "ja" else ELSEWHERE
        active = active if item.modality == "text" else SEEN
        for sae, latent in itertools.product(range(2), range(LATENTS)):
            planted = item.label == "positive" and (sae, latent) == (active.sae, active.latent)
            value = stream.randn() - 0.05 * latent + signal * planted
            if value > 0:
                rows.append(("danger", item.item, sae, latent, np.float32(value)))
    return pd.DataFrame(rows, columns=list(SEARCH_COLUMNS))


def _vectors(items: pd.DataFrame, stream: np.random.RandomState) -> pd.DataFrame:
    kinds = [*SURFACE, *(f"{k}/{i}" for k in ("reconstruction", "error") for i in (0, 1)),
             "residual/hook.0", "residual/hook.1"]  # fmt: skip
    rows = [
        ("danger", item.item, kind,
         (stream.randn(WIDTH) + 1.5 * (item.label == "positive")).astype(np.float32))
        for item in items.itertuples()
        for kind in kinds
        if applies(kind, Variant(item.language, item.modality, item.rendering))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(VECTOR_COLUMNS))
