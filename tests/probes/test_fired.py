"""Latents in sparse form against the same latents as a dense matrix."""

import numpy as np
import pytest
import torch

from compliance.errors import ProbeError
from compliance.probes import sae as sae_module
from compliance.probes.fired import fired_in, pool, stacked
from compliance.probes.sae import Sae
from tests.probes.test_sae import ARCHITECTURES
from tests.probes.tiny import WIDTH
from tests.probes.tiny_pass import tiny_sae

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS, LATENTS = 13, 40
POOLINGS = ("max", "mean", "top-5", "last")


def normal(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def dense():
    """Some latents above zero and some below, a token and a latent that are silent."""
    values = normal(TOKENS, LATENTS)
    values[values.abs() < 1] = 0
    values[4] = 0
    values[:, 7] = 0
    return values


@pytest.fixture
def fired(dense):
    return fired_in([(0, dense)], TOKENS)


def whole(fired):
    return fired.columns(range(LATENTS))


def test_what_fired_is_kept_by_token_and_then_by_latent(dense, fired):
    tokens, latents = np.nonzero(dense.numpy())

    assert fired.tokens.tolist() == tokens.tolist()
    assert fired.latents.tolist() == latents.tolist()
    assert fired.values.tolist() == dense[tokens, latents].tolist()
    assert fired.counts.tolist() == (dense != 0).sum(dim=1).tolist()
    assert fired.counts[4] == 0


@pytest.mark.parametrize("width", [1, 7, 39, 40])
def test_blocks_of_columns_give_the_same_as_one(dense, fired, width):
    blocks = ((c, dense[:, c : c + width]) for c in range(0, LATENTS, width))

    found = fired_in(blocks, TOKENS)

    for name in ("starts", "latents", "values"):
        assert torch.equal(getattr(found, name), getattr(fired, name))


def test_parts_are_the_tokens_that_follow_each_other(dense, fired):
    lengths = [4, 0, 1, 8]

    parts = fired.split(lengths)

    assert [len(part) for part in parts] == lengths
    expected = dense.split(lengths)
    assert all(torch.equal(whole(p), e) for p, e in zip(parts, expected, strict=True))
    assert torch.equal(whole(stacked(parts)), dense)


@pytest.mark.parametrize("rows", [[], [4], [0, 3, 4, 12], list(range(TOKENS))])
def test_some_tokens_are_rows_of_the_matrix(dense, fired, rows):
    assert torch.equal(whole(fired.at(rows)), dense[rows])


@pytest.mark.parametrize("latents", [[7], [39, 0], [5, 5, 2], [7, 3, 21, 3]])
def test_some_latents_are_columns_in_their_order(dense, fired, latents):
    assert torch.equal(fired.columns(latents), dense[:, latents])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("numbers", [1, 50, 10_000])
def test_pooled_are_the_scores_of_all_latents_that_fired(dense, fired, pooling, numbers):
    expected = pool(dense, pooling)

    latents, scores = fired.pooled(pooling, numbers)

    assert latents.tolist() == torch.nonzero(dense.any(dim=0)).flatten().tolist()
    found = torch.zeros(LATENTS).scatter_(0, latents, scores)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert found.any()


def test_a_product_with_a_matrix_is_that_of_the_dense_latents(dense, fired):
    matrix, factors = normal(LATENTS, 9, seed=4), normal(LATENTS, seed=5)

    assert torch.allclose(fired @ matrix, dense @ matrix, atol=1e-5)
    assert torch.allclose((fired * factors) @ matrix, (dense * factors) @ matrix, atol=1e-5)
    assert not (fired @ matrix)[4].any()


def test_where_nothing_fired_all_is_empty():
    silent = fired_in([(0, torch.zeros(3, LATENTS))], 3)

    assert silent.counts.tolist() == [0, 0, 0]
    assert not whole(silent).any()
    assert torch.equal(silent @ normal(LATENTS, 9), torch.zeros(3, 9))
    assert [len(part) for part in silent.pooled("max", 10)] == [0, 0]


# Of an SAE


@pytest.mark.parametrize("numbers", [1, 64, 200, 10_000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_fires_of_an_sae_is_what_encode_gives(tmp_path, architecture, numbers):
    sae, x = tiny_sae(tmp_path / "sae", architecture), normal(20, WIDTH)
    expected = sae.encode(x)

    found = sae.fired(x, numbers)

    latents = found.columns(range(64))
    assert torch.equal(latents != 0, expected != 0)
    assert torch.allclose(latents, expected, rtol=0, atol=1e-6)
    assert 0 < len(found.values) < expected.numel()
    assert torch.allclose(sae.decode(found, x), sae.decode(expected, x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_latents_weighed_by_decoder_norm_fire_as_encode_says(tmp_path, architecture):
    sae = tiny_sae(tmp_path / "sae", architecture, rescale_acts_by_decoder_norm=True)
    x = normal(20, WIDTH)

    found = sae.fired(x, 100)

    assert torch.allclose(found.columns(range(64)), sae.encode(x), rtol=0, atol=1e-6)
    assert torch.allclose(sae.decode(found, x), sae.reconstruct(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["standard", "gated"])
def test_no_block_is_larger_than_asked_for(tmp_path, monkeypatch, architecture):
    sae, sizes, each = tiny_sae(tmp_path / "sae", architecture, d_sae=500), [], Sae._each

    def watched(*arguments):
        sizes.append((found := each(*arguments)).numel())
        return found

    monkeypatch.setattr(Sae, "_each", watched)

    found = sae.fired(normal(20, WIDTH), 300)

    assert max(sizes) <= 300
    assert sum(sizes) == 20 * 500
    assert torch.equal(found.columns(range(500)) != 0, sae.encode(normal(20, WIDTH)) != 0)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("architecture", ["standard", "topk", "matching_pursuit"])
def test_a_latent_that_is_not_finite_is_refused(tmp_path, architecture, value):
    sae, x = tiny_sae(tmp_path / "sae", architecture), normal(20, WIDTH)
    x[7, 3] = value

    with pytest.raises(ProbeError, match="sae: a latent is not finite at blocks.1"):
        sae.fired(x, 1000)


def test_latents_whose_sum_alone_overflows_are_finite(tmp_path):
    large = torch.full((2, 4), 1e38)

    assert tiny_sae(tmp_path / "sae").check_finite(large) is large


# Some latents of the largest


def wide(tmp_path, architecture, **more):
    """One whose k-th largest is far above most latents, as in SAEs that are used."""
    return tiny_sae(tmp_path / "sae", architecture, d_sae=4096, k=4, **more)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_chosen_columns_of_a_wide_sae_are_those_of_the_whole(tmp_path, architecture, rescaled):
    sae = wide(tmp_path, architecture, rescale_acts_by_decoder_norm=rescaled)
    x = normal(60, WIDTH)
    expected = sae.encode(x)
    busy = expected.count_nonzero(dim=0).argsort(descending=True)[:30].tolist()

    for latents in (busy, [*range(0, 4096, 99)], busy[3:4], []):
        found = sae.encode(x, latents)

        assert torch.equal(found != 0, expected[:, latents] != 0)
        assert torch.allclose(found, expected[:, latents], rtol=0, atol=1e-5)
    assert expected[:, busy].count_nonzero() > 30


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_among_equals_the_same_ones_are_kept_as_in_the_whole(tmp_path, architecture):
    """Every latent has four twins, so that the k-th largest equals the next."""
    sae = wide(tmp_path, architecture)
    for name in ("W_enc", "b_enc"):
        tensor = sae.tensors[name]
        tensor.copy_(tensor[..., :820].repeat_interleave(5, dim=-1)[..., :4096])
    sae, x = sae, normal(60, WIDTH)
    expected = sae.encode(x)
    latents = torch.nonzero(expected.any(dim=0)).flatten().tolist()
    latents += [latent ^ 1 for latent in latents]

    found = sae.encode(x, latents)

    assert torch.equal(found != 0, expected[:, latents] != 0)


def test_a_latent_below_others_is_told_from_a_part_of_the_columns(tmp_path, monkeypatch):
    sae, seen, before = wide(tmp_path, "topk"), [], Sae._before_top
    x = normal(60, WIDTH)
    never = torch.nonzero(~sae.encode(x).any(dim=0)).flatten()[:3].tolist()

    def watched(self, x, latents):
        seen.append((found := before(self, x, latents)).numel())
        return found

    monkeypatch.setattr(Sae, "_before_top", watched)

    assert not sae.encode(x, never).any()
    assert sum(seen) < 60 * 4096 / 4


def test_blocks_of_the_largest_are_bounded(tmp_path, monkeypatch):
    sae, sizes, before = wide(tmp_path, "topk"), [], Sae._before_top
    x = normal(60, WIDTH)
    expected = sae.encode(x)
    monkeypatch.setattr(sae_module, "CACHED", 4096)
    monkeypatch.setattr(Sae, "_before_top", lambda *a: sizes.append((y := before(*a)).numel()) or y)
    busy = torch.nonzero(expected.any(dim=0)).flatten()[:8].tolist()

    found = sae.encode(x, busy)

    assert torch.equal(found != 0, expected[:, busy] != 0)
    assert max(sizes) <= 4096  # as 60 rows of 16 k columns, with which it begins, have less
