"""A random SAE has the trained one's shape and L0, and nothing else of it."""

import numpy as np
import pytest
import torch

from compliance.probes.random_sae import random_sae, random_saes
from tests.probes.tiny import WIDTH
from tests.probes.tiny_pass import tiny_sae

pytestmark = pytest.mark.usefixtures("one_thread")


def activations(count=40, seed=5):
    return torch.randn((count, WIDTH), generator=torch.Generator().manual_seed(seed))


def encoded(random, x, counts):
    """Dense, ``[n, d_sae]``."""
    return random.fired(x, counts, 2**20).columns(range(random.trained.facts.d_sae))


@pytest.fixture(params=["jumprelu", "topk", "gated", "matching_pursuit"])
def sae(request, tmp_path):
    """Of a few latents in many, as SAEs are: so many are always above zero in a random one."""
    found = tiny_sae(tmp_path / "sae", request.param, d_sae=200)
    for name in ("threshold", "b_gate"):
        if name in found.tensors:
            found.tensors[name].add_(1.0 if name == "threshold" else -1.5)
    return found


def test_as_many_latents_fire_on_each_token_as_of_the_trained_one(sae):
    x = activations()
    counts = (sae.encode(x) != 0).sum(dim=1)

    latents = encoded(random_sae(sae, seed=3), x, counts)

    assert latents.shape == (len(x), sae.facts.d_sae)
    assert (latents >= 0).all()
    assert torch.equal((latents > 0).sum(dim=1), counts)
    assert 0 < counts.float().mean() < sae.facts.d_sae / 2


def test_it_keeps_the_largest_of_a_plain_product(sae):
    x = activations()
    random = random_sae(sae, seed=3)
    counts = torch.arange(len(x)) % 7
    expected = np.zeros((len(x), sae.facts.d_sae), dtype=np.float32)
    for row, values in enumerate(((x - sae.tensors["b_dec"]) @ random.directions.T).numpy()):
        for place in np.argsort(-values)[: counts[row]]:
            expected[row, place] = values[place]

    found = encoded(random, x, counts).numpy()

    assert np.abs(found - expected).max() <= 1e-5


def test_chosen_latents_are_columns_of_all(sae):
    x, chosen = activations(), [7, 0, 199, *range(40, 120)]
    random = random_sae(sae, seed=3)
    counts = torch.full((len(x),), 60)

    found = random.fired(x, counts, 2**20).columns(chosen)

    assert torch.equal(found, encoded(random, x, counts)[:, chosen])
    assert 0 < (found > 0).sum() < found.numel()


def test_where_fewer_are_above_zero_than_may_fire_the_rest_stays_silent(tmp_path):
    sae = tiny_sae(tmp_path / "sae", "standard", d_sae=8)
    x = activations()

    latents = encoded(random_sae(sae, seed=3), x, torch.full((len(x),), 8))

    assert 0 < (latents > 0).sum() < latents.numel()


def test_directions_have_norm_one_and_follow_from_the_seed_alone(tmp_path):
    sae, other = (tiny_sae(tmp_path / str(seed), seed=seed) for seed in (1, 2))

    first = random_sae(sae, seed=3).directions

    assert torch.allclose(first.norm(dim=1), torch.ones(64), atol=1e-6)
    assert torch.equal(first, random_sae(other, seed=3).directions)
    assert not torch.allclose(first, random_sae(sae, seed=4).directions, atol=0.1)
    assert abs(float(first.mean())) < 0.02


def test_wide_saes_get_the_same_directions_block_by_block(tmp_path, monkeypatch):
    sae = tiny_sae(tmp_path / "sae")
    whole = random_sae(sae, seed=3).directions
    monkeypatch.setattr("compliance.probes.random_sae.ROWS_AT_ONCE", 10)

    assert torch.equal(random_sae(sae, seed=3).directions, whole)


def test_each_sae_of_a_plan_has_a_seed_of_its_own(tmp_path):
    sae = tiny_sae(tmp_path / "sae")

    first, second = random_saes([sae, sae], 1)

    assert not torch.allclose(first.directions, second.directions, atol=0.1)
    assert torch.equal(first.directions, random_saes([sae], 1)[0].directions)
    assert not torch.allclose(first.directions, random_saes([sae], 2)[0].directions, atol=0.1)


def test_of_the_trained_weights_only_b_dec_is_used(tmp_path):
    sae, other = (tiny_sae(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    x, counts = activations(), torch.full((40,), 5)
    found = encoded(random_sae(sae, seed=3), x, counts)
    assert not torch.equal(found, encoded(random_sae(other, seed=3), x, counts))

    other.tensors["b_dec"].copy_(sae.tensors["b_dec"])

    assert torch.equal(found, encoded(random_sae(other, seed=3), x, counts))


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_the_input_is_normalised_as_the_trained_ones(tmp_path, normalisation):
    sae = tiny_sae(tmp_path / "sae", normalize_activations=normalisation)
    x, counts = activations(), torch.full((40,), 5)
    random = random_sae(sae, seed=3)

    found = encoded(random, x, counts)

    assert torch.allclose(found, encoded(random, x * 7.0, counts), atol=1e-4)
    assert not torch.allclose(
        found, encoded(random_sae(tiny_sae(tmp_path / "b"), seed=3), x, counts)
    )


def test_a_transcoders_b_dec_lies_elsewhere_and_is_left_out(tmp_path):
    sae = tiny_sae(tmp_path / "sae", "transcoder", hook_name="blocks.1.hook_resid_mid")
    x, counts = activations(), torch.full((40,), 5)
    before = encoded(random_sae(sae, seed=3), x, counts)

    sae.tensors["b_dec"].add_(1.0)

    assert torch.equal(encoded(random_sae(sae, seed=3), x, counts), before)
