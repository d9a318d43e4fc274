"""Activations of single tokens against the score that was taken from them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from compliance.assessment.tables import table_bytes
from compliance.assessment.token_rows import token_differences
from compliance.records.observation import ITEM_COLUMNS, SCORE_COLUMNS, TOKEN_COLUMNS


def differences(pooling, activations, score, *, read=4, modality="text", concept="c"):
    """What is said of one item's row."""
    item = ("i", "s", "g", "confirm", "c", "positive", "en", modality, "plain", "prompt", "", "a",
            "b", "", 9, 0, 0)  # fmt: skip
    scores = [("i", "c", "probe", score), ("i", "c", "tokens", read)]
    places = np.arange(len(activations), dtype=np.int32)
    row = ("i", concept, places, places + 1, np.array(activations, dtype=np.float32))
    tables = {
        "confirm/items.csv": pd.DataFrame([item], columns=ITEM_COLUMNS),
        "confirm/scores.csv": pd.DataFrame(scores, columns=SCORE_COLUMNS),
        "confirm/tokens.parquet": pd.DataFrame([row], columns=TOKEN_COLUMNS),
    }
    plan = SimpleNamespace(probes=[SimpleNamespace(concept="c", pooling=pooling)])
    files = {path: table_bytes(table, path) for path, table in tables.items()}
    return [str(found) for found in token_differences(plan, files)]


@pytest.mark.parametrize(
    ("pooling", "activations", "score"),
    [
        ("max", [0.5, 2.5, 1.0], 2.5),
        ("max", [0.5, 2.5, 1.0], 1.0),  # the largest may stand outside the region
        ("max", [], 0.0),
        ("max", [0.1], np.float32(0.1)),
        ("last", [0.5, 2.5], 0.5),
        ("mean", [4.0, 4.0], 2.0),
        ("top-5", [4.0, 2.0], 1.5),
    ],
)
def test_a_score_that_its_tokens_give_is_allowed(pooling, activations, score):
    assert differences(pooling, activations, score) == []


@pytest.mark.parametrize(
    ("pooling", "activations", "score"),
    [
        ("max", [0.5, 2.5, 1.0], 2.6),
        ("max", [], 0.5),
        ("last", [0.5, 2.5], 0.6),
        ("mean", [4.0, 4.0], 2.1),
        ("top-5", [4.0, 2.0], 1.6),
    ],
)
def test_a_score_that_its_tokens_do_not_give_is_named(pooling, activations, score):
    (problem,) = differences(pooling, activations, score)

    assert "observations.confirm.tokens.i.c" in problem


def test_a_row_of_another_concept_is_named_with_the_score_that_lacks_one():
    assert len(differences("max", [1.0], 1.0, concept="d")) == 2


def test_an_item_with_a_picture_has_no_row():
    assert len(differences("max", [1.0], 1.0, modality="image")) == 1
