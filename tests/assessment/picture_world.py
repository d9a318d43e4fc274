"""A world with pictures beside its texts: two worlds of the benchmarks, one told as pictures.

Groups, labels and languages have the same names in both; what is true of texts and of pictures
differs. Every item's picture has 16 tokens, and a sentence beside it whose words are read for
fidelity alone.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.worlds import CONCEPT, World, confirm_observations, fit_observations, make_plan
from compliance.assessment.choosing import choose
from compliance.assessment.locking import make_lock
from compliance.assessment.planning import _controls, rules_of
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.records.observation import CONTROL_SCORERS, LOSS_COLUMNS, PATCH_COLUMNS, applies
from compliance.records.plan import Lock, Plan
from compliance.records.suite import Variant

MODALITY, RENDERING = "image", "typographic"
MODALITIES = ("text", MODALITY)
PICTURE_CONTROLS = tuple(
    c for c in CONTROL_SCORERS if applies(c, Variant("en", MODALITY, RENDERING))
)
SIDE = 4
"""Rows and columns of a picture's tokens."""

SHIFTS = {"typos": "blank", "informal": "noise", "adversarial": "scrambled"}


def picture_world(effect: dict[str, float], **true: object) -> World:
    """What is true of pictures; controls are weak unless they are named."""
    controls = {"colour": 0.5, "pixels": 0.5, "random-sae": 0.5, "dense": 3.0,
                "reconstruction": 2.5} | true.pop("controls", {})  # fmt: skip
    values = {"written": PICTURE_CONTROLS, "groups": 100, "benign": 400, "seed": 1}
    return World(effect=effect, controls=controls, **(values | true))


def make_picture_plan(languages: tuple[str, ...] = ("en", "el"), **changed: object) -> Plan:
    """A plan of the benchmarks with a cell for pictures beside each cell for texts."""
    plan = make_plan(languages, **changed)
    pictures = [c.model_copy(update={"modality": MODALITY, "rendering": RENDERING})
                for c in plan.cells]  # fmt: skip
    return plan.model_copy(
        update={
            "cells": (*plan.cells, *pictures),
            "rules": rules_of(plan.claims, (*plan.cells, *pictures)),
            "controls": _controls((*plan.cells, *pictures)),
        }
    )


def make_picture_files(plan: Plan, text: World, pictures: World) -> tuple[Lock, dict[str, bytes]]:
    """Lock and all observation files; benign groups must be as many in both worlds."""
    seen = fit_observations(plan, pictures)
    seen = replace(_as_pictures(seen), random_search=seen.random_search.iloc[:0])
    files = _together(fit_observations(plan, text), seen).to_files()
    fit = FitObservations.from_files(files)
    lock = make_lock(plan, choose(plan, fit), fit, file_digests(files))
    shifted = {c: tuple(lang for lang in languages if lang in pictures.effect)
               for c, languages in lock.shifted_languages.items()}  # fmt: skip
    drawn = lock.model_copy(update={"shifted_languages": shifted})
    seen = _as_pictures(confirm_observations(plan, pictures, drawn))
    seen = replace(
        seen, patches=_patches(seen.scores), tokens=seen.tokens.iloc[:0],
        losses=pd.DataFrame(columns=LOSS_COLUMNS),
    )  # fmt: skip
    return lock, files | _together(confirm_observations(plan, text, lock), seen).to_files()


def _as_pictures(tables: FitObservations | ConfirmObservations):
    changed = {name: _of_pictures(name, table) for name, table in vars(tables).items()}
    return replace(tables, **changed)


def _of_pictures(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """One table of a world of texts, told as of pictures."""
    values = {"modality": MODALITY, "rendering": RENDERING, "region": "image"}
    values = {column: value for column, value in values.items() if column in table}
    if "item" in table:
        values["item"] = table["item"] + "-picture"
    return _CHANGES.get(name, lambda same: same)(table.assign(**values))


def _counted(scores: pd.DataFrame) -> pd.DataFrame:
    """All pictures have as many tokens."""
    tokens = scores["scorer"] == "tokens"
    return scores.assign(score=scores["score"].mask(tokens, float(SIDE**2)))


def _seen(vectors: pd.DataFrame) -> pd.DataFrame:
    """Colours and pixels beside the words, which the pictures show."""
    words = vectors[vectors["features"] == "ngrams"]
    return pd.concat([vectors, *(words.assign(features=kind) for kind in ("colour", "pixels"))])


def _with_words(fidelity: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([fidelity.assign(role="image"), fidelity])


def _shifted(shifts: pd.DataFrame) -> pd.DataFrame:
    found = shifts[shifts["shift"].isin(SHIFTS)]
    return found.assign(shift=found["shift"].map(SHIFTS))


_CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "scores": _counted, "vectors": _seen, "fidelity": _with_words, "shifts": _shifted,
}  # fmt: skip


def _patches(scores: pd.DataFrame) -> pd.DataFrame:
    """The score of positives and hard negatives on the first token, and nothing on the others."""
    mine = scores[(scores["scorer"] == "probe") & ~scores["item"].str.startswith("b")]
    rows = [
        (item, CONCEPT, SIDE, SIDE, np.array([score] + [0.0] * (SIDE**2 - 1), np.float32))
        for item, score in zip(mine["item"], mine["score"], strict=True)
    ]
    return pd.DataFrame(rows, columns=list(PATCH_COLUMNS))


def _together(text, pictures):
    tables = {
        name: pd.concat([part for part in (table, getattr(pictures, name)) if len(part)] or [table])
        for name, table in vars(text).items()
    }
    return replace(text, **tables)
