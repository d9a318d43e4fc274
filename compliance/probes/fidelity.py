"""Sums from which fidelity is computed (PROTOCOL section 7), item by item, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compliance.probes.reading import Reading

ROLES = ("user", "assistant", "image")
"""Whose words a token is, or that it is of a picture."""

SMALLEST_NORM = 1e-12
"""A norm below is taken as this in a ratio of norms; no residual of a model is as small."""


@dataclass(frozen=True, eq=False)
class RoleSums:
    """Over the read tokens of one role at one SAE: FIDELITY_COLUMNS."""

    role: int
    """Place in ROLES."""

    tokens: int
    error: float
    spread: float
    cosine: float
    norm_ratio: float
    mean: np.ndarray
    """float64 ``[d]``"""

    l0: np.ndarray
    """Latents that fired on each token, int32 ``[tokens]``."""


def role_sums(reading: Reading, sae: int) -> Iterator[RoleSums]:
    """Of each role that has a read token.

    The target is what the SAE is to reconstruct: its input, or what a transcoder is to write.
    """
    target, found = reading.target(sae).double(), reading.reconstruction(sae).double()
    fired = reading.fired(sae).counts
    for role, name in enumerate(ROLES):
        rows = reading.rows(sae, name)
        if rows:
            yield _sums(role, target[rows], found[rows], fired[rows])


def fired_tokens(reading: Reading, sae: int, region: str) -> Tensor:
    """Latents that fired, once for each read token of a region on which they did."""
    return reading.fired(sae).at(reading.rows(sae, region)).latents


def _sums(role: int, x: Tensor, x_hat: Tensor, fired: Tensor) -> RoleSums:
    mean = x.mean(dim=0)
    norms = x.norm(dim=1).clamp_min(SMALLEST_NORM)
    sums = torch.stack(
        [
            (x - x_hat).square().sum(),
            (x - mean).square().sum(),
            torch.cosine_similarity(x, x_hat, dim=1).sum(),
            (x_hat.norm(dim=1) / norms).sum(),
        ]
    )
    error, spread, cosine, norm_ratio = sums.tolist()
    return RoleSums(
        role=role,
        tokens=len(x),
        error=error,
        spread=spread,
        cosine=cosine,
        norm_ratio=norm_ratio,
        mean=mean.numpy(force=True),
        l0=fired.numpy(force=True).astype(np.int32),
    )
