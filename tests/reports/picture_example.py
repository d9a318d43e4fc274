"""Made-up evidence with pictures: the example's concepts as texts, pictures of words and of things.

Scores and activations are made by hand; no model was run.
"""

import hashlib
import io
from dataclasses import replace

from PIL import Image as pillow

from compliance.assessment.tables import empty_table
from compliance.records.base import digest_bytes
from compliance.records.evidence import Evidence
from compliance.records.finding import Result
from compliance.records.observation import (
    COFIRING_COLUMNS,
    FEATURE_COLUMNS,
    FIRING_COLUMNS,
    SCORE_COLUMNS,
    TOKEN_COLUMNS,
)
from compliance.records.plan import Cell, CutOff, Rule
from compliance.records.suite import Image, Item, Label
from compliance.reports.gallery import Gallery, Patches
from compliance.reports.observed import Observed
from tests.reports.example import (
    CONCEPTS,
    POSITIVES,
    RULES,
    example_evidence,
    finding_of,
    quality_of,
    results_of,
)

KINDS = (("text", "plain"), ("image", "depicted"), ("image", "typographic"))
"""As a plan orders them."""

SIDE = 8
GRID = 4
CUT_OFF = 2.5
SCORES = (0.0, 0.0, 2.4, 2.6, 3.0, 4.0, 5.0, 9.0)
"""Of the positives of a cell; hard negatives have half of them."""

PICTURE_RULES = (("beats-colour", "primary", 0.0), ("beats-pixels", "primary", 0.0))
GAP_TO_TEXT = -0.083
EXPLAINED = {"depicted": 0.34, "typographic": 0.21}


def picture_evidence(languages: tuple[str, ...] = ("en", "el")) -> Evidence:
    """Two concepts in three kinds of input."""
    base = example_evidence()
    cells = tuple(
        Cell(concept=concept, language=tag, modality=modality, rendering=rendering)
        for concept in CONCEPTS
        for modality, rendering in KINDS
        for tag in languages
    )
    plan = base.plan.model_copy(
        update={
            "languages": languages,
            "cells": cells,
            "rules": (*base.plan.rules, *(Rule(condition=c, kind=k, limit=v, needs="picture")
                                          for c, k, v in PICTURE_RULES)),
            "controls": (*base.plan.controls, "colour", "pixels"),
        }
    )  # fmt: skip
    cut_offs = tuple(CutOff(scorer="probe", cell=c, value=CUT_OFF, rank=9, n=9) for c in cells)
    kept = [r for r in base.results if r.id.split("/")[0] in ("fidelity", "audit")
            and r.id.split("/")[1] in (*languages, "error-bound")]  # fmt: skip
    return base.model_copy(
        update={
            "plan": plan,
            "lock": base.lock.model_copy(update={"cut_offs": cut_offs}),
            "results": (
                *(r for cell in cells for r in results_of(cell)),
                *(r for cell in cells if cell.modality == "image" for r in _to_text(cell)),
                *kept,
                *(r for tag in languages for rendering, value in EXPLAINED.items()
                  for r in quality_of(f"fidelity/{tag}/image/sae0/neutral.{rendering}", value)),
            ),
            "findings": tuple(finding_of(cell, _rules(cell)) for cell in cells),
        }
    )  # fmt: skip


def picture_gallery_of(evidence: Evidence, **changed: object) -> Gallery:
    """Eight positives and hard negatives of each cell with pictures, each with its own picture."""
    items = [
        picture_item(cell, label, place)
        for cell in evidence.plan.cells
        if cell.modality == "image"
        for label in (Label.POSITIVE, Label.HARD_NEGATIVE)
        for place in range(len(SCORES))
    ]
    scores = {(i.id, i.concept): _score(i) for i in items}
    return replace(
        Gallery(
            items=items,
            scores=scores,
            patches={key: patches_of(score) for key, score in scores.items()},
            pictures={i.image.digest: picture_of(i.id) for i in items},
            counts={"made-up-suite": len(items)},
        ),
        **changed,
    )


def observed_with(gallery: Gallery | None) -> Observed:
    """A run of which nothing is at hand but its pictures."""
    tables = ("scores", "tokens", "cofiring", "features", "firing")
    columns = (SCORE_COLUMNS, TOKEN_COLUMNS, COFIRING_COLUMNS, FEATURE_COLUMNS, FIRING_COLUMNS)
    empty = {name: empty_table(names) for name, names in zip(tables, columns, strict=True)}
    return Observed(items=tuple(gallery.items) if gallery else (), gallery=gallery, **empty)


def picture_item(cell: Cell, label: Label, place: int) -> Item:
    """One item with a picture; ``place`` says which of the scores it has."""
    identity = f"{cell.concept}-{place}-{label}-{cell.language}-{cell.rendering}"
    return Item(
        id=identity,
        group=f"{cell.concept}-{place}",
        concept=cell.concept,
        label=label,
        language=cell.language,
        modality=cell.modality,
        rendering=cell.rendering,
        image=Image(
            digest=digest_bytes(picture_of(identity)), width=SIDE, height=SIDE,
            description=f"Described: {identity}",
        ),
        origin="authored", source="tests", licence="CC0-1.0",
    )  # fmt: skip


def picture_of(identity: str) -> bytes:
    """A PNG of one colour, another for each name."""
    colour = tuple(hashlib.sha256(identity.encode()).digest()[:3])
    out = io.BytesIO()
    pillow.new("RGB", (SIDE, SIDE), colour).save(out, "PNG")
    return out.getvalue()


def patches_of(score: float) -> Patches:
    """The score on the token in row 2, column 3; half of it beside; nothing elsewhere."""
    values = [0.0] * GRID**2
    values[GRID + 2], values[GRID + 3] = score, score / 2
    return Patches(rows=GRID, columns=GRID, activations=values)


def _score(item: Item) -> float:
    score = SCORES[int(item.group.rpartition("-")[2])]
    return score if item.label is Label.POSITIVE else score / 2


def _rules(cell: Cell) -> tuple[tuple[str, str, float], ...]:
    if cell.modality == "text":
        return RULES
    own = [r for r in RULES if r[0] != "beats-ngrams" or cell.rendering == "typographic"]
    return (*own, *PICTURE_RULES)


def _to_text(cell: Cell) -> list[Result]:
    identity = f"{cell.key}/gap-to-text"
    if not any(r.id == f"{cell.key}/sensitivity" for r in results_of(cell)):
        return []
    return [
        Result(id=identity, value=GAP_TO_TEXT, low=-0.142, high=-0.021, level=0.95, n=POSITIVES,
               p=0.011, method="tango"),
        Result(id=f"{identity}.holm", value=0.044, n=4, method="holm"),
    ]  # fmt: skip
