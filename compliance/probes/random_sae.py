"""An SAE that was never trained, of another's shape: a control of PROTOCOL section 6.

It keeps, at each token, as many of its largest latents as the trained SAE has firing there, so
that shape and L0 equal the trained SAE's and only the directions differ::

    random = random_sae(sae, seed=7)
    fired = random.fired(x, sae.fired(x, numbers).counts, numbers)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compliance.probes.fired import Fired, fired_in, stacked
from compliance.probes.sae import Sae
from compliance.statistics.resampling import seed_of

ROWS_AT_ONCE = 4096
"""Directions drawn in one block, in float64, so that a wide SAE does not fill the memory."""


@dataclass(frozen=True, eq=False)
class RandomSae:
    """Random directions with the input of a trained SAE."""

    trained: Sae
    directions: Tensor
    """``[d_sae, d_in]``, rows of norm 1; encoder and decoder share them, biases are 0."""

    def fired(self, x: Tensor, counts: Tensor, numbers: int) -> Fired:
        """What fires on some activations; latents below zero are cut off, as by a ReLU.

        The input is the trained SAE's own, centred and normalised, less its ``b_dec`` where that
        lies in the space of the input, so that the directions start from the middle of the data.
        A transcoder's does not.

        Args:
            x: Activations at the trained SAE's hook, ``[n, d_in]``, one or more.
            counts: How many latents may fire at each token, ``[n]``: the trained SAE's L0.
            numbers: In one dense block at most, unless one activation has more.

        Returns:
            A latent fires where fewer than ``counts`` latents are greater and it is above zero.
        """
        rows = max(1, numbers // self.trained.facts.d_sae)
        parts = zip(x.split(rows), counts.split(rows), strict=True)
        return stacked([_largest(self.products(part), most) for part, most in parts])

    def products(self, x: Tensor) -> Tensor:
        """What fires is chosen from these, ``[n, d_sae]``."""
        x = self.trained.normalised_input(x)
        if not self.trained.config.is_transcoder:
            x = x - self.trained.tensors["b_dec"]
        return x @ self.directions.T


def _largest(pre: Tensor, counts: Tensor) -> Fired:
    """The largest of each row above zero, as many as counted, and what equals the last of them."""
    most = max(int(counts.max()), 1)
    largest = torch.topk(pre, most, dim=1).values
    least = largest.gather(1, (counts - 1).clamp_min(0)[:, None]).clamp_min(0)
    least[counts == 0] = torch.inf
    return fired_in([(0, pre.masked_fill_(pre < least, 0))], len(pre))


def random_sae(sae: Sae, *, seed: int) -> RandomSae:
    """Directions from numpy's frozen ``RandomState`` stream, each scaled to norm 1."""
    stream = np.random.RandomState(seed)
    like = sae.tensors["W_dec"]
    # Filled block by block: joining the blocks would hold all directions twice.
    directions = like.new_empty(sae.facts.d_sae, sae.facts.d_in)
    for block in directions.split(ROWS_AT_ONCE):
        drawn = stream.standard_normal(block.shape)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        block.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return RandomSae(sae, directions)


def random_saes(saes: Sequence[Sae], seed: int) -> tuple[RandomSae, ...]:
    """One for each SAE of a plan.

    Args:
        saes: In the plan's order.
        seed: The plan's.
    """
    return tuple(
        random_sae(sae, seed=seed_of(seed, f"random-sae/{index}")) for index, sae in enumerate(saes)
    )
