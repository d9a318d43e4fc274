"""An SAE that was never trained, of another's shape: a control of PROTOCOL section 6.

It keeps, at each token, as many of its largest latents as the trained SAE has firing there, so
that shape and L0 equal the trained SAE's and only the directions differ::

    random = random_sae(sae, seed=7)
    latents = random.encode(x, (sae.encode(x) != 0).sum(dim=1))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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

    def encode(self, x: Tensor, counts: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Latents of activations; those below zero are cut off, as by a ReLU.

        The input is the trained SAE's own, centred and normalised, less its ``b_dec`` where that
        lies in the space of the input, so that the directions start from the middle of the data.
        A transcoder's does not.

        Args:
            x: Activations at the trained SAE's hook, ``[n, d_in]``.
            counts: How many latents may fire at each token, ``[n]``: the trained SAE's L0.
            latents: Only these columns, in this order.

        Returns:
            ``[n, d_sae]``, or ``[n, len(latents)]``. A latent fires where fewer than ``counts``
            latents are greater and it is above zero.
        """
        return self.fired(self.products(x), counts, latents)

    def products(self, x: Tensor) -> Tensor:
        """What ``encode`` picks from, ``[n, d_sae]``; it is the same whatever latents are asked."""
        x = self.trained.normalised_input(x)
        if not self.trained.config.is_transcoder:
            x = x - self.trained.tensors["b_dec"]
        return x @ self.directions.T

    def fired(self, pre: Tensor, counts: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """The rest of ``encode``, of products."""
        if latents is not None:
            mine = pre[:, list(latents)]
            greater = torch.stack([(pre > column[:, None]).sum(dim=1) for column in mine.T], dim=1)
            return torch.where(greater < counts[:, None], mine, 0).relu()
        most = max(int(counts.max()), 1)
        largest = torch.topk(pre, most, dim=1).values
        least = largest.gather(1, (counts - 1).clamp_min(0)[:, None])
        fires = (pre >= least) & (counts > 0)[:, None]
        return torch.where(fires, pre, 0).relu()


def random_sae(sae: Sae, *, seed: int) -> RandomSae:
    """Directions from numpy's frozen ``RandomState`` stream, each scaled to norm 1."""
    stream = np.random.RandomState(seed)
    blocks = []
    for first in range(0, sae.facts.d_sae, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, sae.facts.d_sae - first)
        drawn = stream.standard_normal((rows, sae.facts.d_in))
        blocks.append((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32))
    like = sae.tensors["W_dec"]
    return RandomSae(sae, torch.from_numpy(np.concatenate(blocks)).to(like.device, like.dtype))


def random_saes(saes: Sequence[Sae], seed: int) -> tuple[RandomSae, ...]:
    """One for each SAE of a plan.

    Args:
        saes: In the plan's order.
        seed: The plan's.
    """
    return tuple(
        random_sae(sae, seed=seed_of(seed, f"random-sae/{index}")) for index, sae in enumerate(saes)
    )
