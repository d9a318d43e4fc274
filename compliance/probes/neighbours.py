"""Decoder directions near a dense direction: latents that may have absorbed a concept.

PROTOCOL section 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from compliance.probes.sae import Sae
from compliance.probes.task import output_hook
from compliance.records.observation import NEIGHBOUR_COLUMNS
from compliance.records.plan import Direction
from compliance.records.suite import Variant
from compliance.statistics.logistic import Linear

NEAREST = 10
"""Latents listed for each concept and variant."""


def neighbour_table(
    directions: Sequence[Direction],
    weights: Mapping[tuple[str, str, Variant], Linear],
    saes: Sequence[Sae],
) -> pd.DataFrame:
    """The latents whose decoder rows have the largest cosine with each dense direction.

    Only SAEs that write where the direction was fitted are compared; a transcoder writes
    elsewhere than it reads.

    Args:
        directions: Of all linear controls; those of the scorer ``dense`` are taken.
        weights: By scorer, concept and variant.
        saes: In the plan's order.

    Returns:
        NEIGHBOUR_COLUMNS, at most NEAREST rows for each concept and variant.
    """
    rows = [
        (direction.concept, *direction.variant, *row)
        for direction in directions
        if direction.scorer == "dense"
        for row in _nearest(
            direction.features.removeprefix("residual/"),
            weights[direction.scorer, direction.concept, direction.variant].weights,
            saes,
        )
    ]
    return pd.DataFrame(rows, columns=list(NEIGHBOUR_COLUMNS))


def _nearest(
    hook: str, direction: np.ndarray, saes: Sequence[Sae]
) -> Iterator[tuple[int, int, float]]:
    found = [
        (float(cosine), s, latent)
        for s, sae in enumerate(saes)
        if output_hook(sae) == hook
        for latent, cosine in enumerate(_cosines(sae, direction))
    ]
    for cosine, s, latent in sorted(found, key=lambda one: (-one[0], *one[1:]))[:NEAREST]:
        yield s, latent, cosine


def _cosines(sae: Sae, direction: np.ndarray) -> np.ndarray:
    """Of each decoder row, float64 ``[d_sae]``; 0 where a length is 0."""
    rows = sae.tensors["W_dec"].double()
    towards = torch.from_numpy(direction).to(rows)
    lengths = rows.norm(dim=1) * towards.norm()
    return (rows @ towards / lengths.where(lengths > 0, 1)).numpy(force=True)
