"""Decoder directions by their cosine with a dense direction."""

import numpy as np
import pytest

from compliance.probes.neighbours import NEAREST, neighbour_table
from compliance.records.observation import NEIGHBOUR_COLUMNS
from compliance.records.plan import Direction
from compliance.records.suite import Variant
from compliance.statistics.logistic import Linear
from tests.probes.tiny import WIDTH
from tests.probes.tiny_pass import tiny_sae

HOOK = "blocks.1.hook_resid_post"


def direction(language="en", hook=HOOK, scorer="dense"):
    return Direction(scorer=scorer, concept="danger", language=language,
                     features=f"residual/{hook}", coefficients=(1.0,), bias=0.0, positives=1,
                     hard_negatives=1)  # fmt: skip


def weights_of(directions, seed=0):
    stream = np.random.RandomState(seed)
    return {
        (d.scorer, d.concept, d.variant): Linear(stream.standard_normal(WIDTH), 1.0)
        for d in directions
    }


def test_the_nearest_ten_of_all_saes_at_the_hook(tmp_path):
    hooks = (HOOK, "blocks.0.hook_resid_post", HOOK)
    saes = [tiny_sae(tmp_path / str(s), hook_name=h, seed=s) for s, h in enumerate(hooks)]
    directions = [direction("en"), direction("ja"), direction("en", scorer="dense-means")]
    weights = weights_of(directions)

    table = neighbour_table(directions, weights, saes)

    assert tuple(table.columns) == NEIGHBOUR_COLUMNS
    assert len(table) == 2 * NEAREST
    for language in ("en", "ja"):
        w = weights["dense", "danger", Variant(language, "text", "plain")].weights
        cosines = {}
        for s in (0, 2):
            for latent, row in enumerate(saes[s].tensors["W_dec"].double().numpy()):
                cosines[s, latent] = row @ w / np.linalg.norm(row) / np.linalg.norm(w)
        expected = dict(sorted(cosines.items(), key=lambda one: -one[1])[:NEAREST])
        mine = table[table["language"] == language]
        found = {(row.sae, row.latent): row.cosine for row in mine.itertuples()}
        assert found == pytest.approx(expected)
        assert {s for s, _ in found} == {0, 2}


def test_a_latent_against_the_direction_is_far_from_it(tmp_path):
    sae = tiny_sae(tmp_path / "sae", d_sae=12)
    away = Linear(-sae.tensors["W_dec"][5].double().numpy(), 0.0)
    weights = {("dense", "danger", direction().variant): away}

    table = neighbour_table([direction()], weights, [sae])

    assert 5 not in set(table["latent"])


def test_its_own_direction_has_cosine_one_and_a_dead_row_zero(tmp_path):
    sae = tiny_sae(tmp_path / "sae", d_sae=4)
    sae.tensors["W_dec"][2] = 0.0
    along = Linear(3 * sae.tensors["W_dec"][1].double().numpy(), 0.0)
    weights = {("dense", "danger", direction().variant): along}

    table = neighbour_table([direction()], weights, [sae]).set_index("latent")["cosine"]

    assert table[1] == pytest.approx(1.0)
    assert table[2] == 0.0


def test_a_transcoder_writes_elsewhere_than_the_direction_was_fitted(tmp_path):
    into, out = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    saes = [tiny_sae(tmp_path / "a", "transcoder", hook_name=into), tiny_sae(tmp_path / "b")]
    at_input, at_output = direction(hook=into), direction(hook=out)

    assert neighbour_table([at_input], weights_of([at_input]), saes).empty
    found = neighbour_table([at_output], weights_of([at_output]), saes)
    assert set(found["sae"]) == {0}


def test_without_dense_directions_there_are_none(tmp_path):
    assert tuple(neighbour_table([], {}, [tiny_sae(tmp_path)]).columns) == NEIGHBOUR_COLUMNS


@pytest.mark.parametrize("rows", [8, 24, 64])
def test_a_decoder_read_in_blocks_gives_the_same_table(tmp_path, monkeypatch, rows):
    sae = tiny_sae(tmp_path / "sae")
    sae.tensors["W_dec"][60] = sae.tensors["W_dec"][3]
    directions = [direction("en"), direction("ja")]
    weights = weights_of(directions)
    weights["dense", "danger", direction("ja").variant] = Linear(
        sae.tensors["W_dec"][3].double().numpy(), 0.0
    )
    whole = neighbour_table(directions, weights, [sae])
    monkeypatch.setattr("compliance.probes.neighbours.ALIGNED", rows)
    monkeypatch.setattr("compliance.probes.neighbours.COMPARED_AT_ONCE", 1)

    table = neighbour_table(directions, weights, [sae])

    assert table.equals(whole)
    assert list(table[table["language"] == "ja"]["latent"][:2]) == [3, 60]
