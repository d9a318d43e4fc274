"""Decoder directions near a dense direction: latents that may have absorbed a concept.

PROTOCOL section 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

COMPARED_AT_ONCE = 2**22
"""Numbers of a decoder that are held in float64 at a time."""

ALIGNED = 512
"""Decoder rows in a block are a multiple of it, so that blocks change no digit of a cosine."""


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
    dense = [direction for direction in directions if direction.scorer == "dense"]
    found: list[list[tuple[float, int, int]]] = [[] for _ in dense]
    for s, sae in enumerate(saes):
        place = f"residual/{output_hook(sae)}"
        mine = [number for number, direction in enumerate(dense) if direction.features == place]
        towards = [weights["dense", dense[n].concept, dense[n].variant].weights for n in mine]
        for number, nearest in zip(mine, _nearest(sae, towards), strict=True):
            found[number] += [(cosine, s, latent) for latent, cosine in nearest.listed()]
    rows = [
        (direction.concept, *direction.variant, s, latent, cosine)
        for direction, near in zip(dense, found, strict=True)
        for cosine, s, latent in sorted(near, key=lambda one: (-one[0], *one[1:]))[:NEAREST]
    ]
    return pd.DataFrame(rows, columns=list(NEIGHBOUR_COLUMNS))


class Largest:
    """The largest of many numbers, which come in parts; of equal ones the first."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._values = np.empty(0)
        self._places = np.empty(0, dtype=np.int64)

    def add(self, first: int, values: np.ndarray) -> None:
        """Look at some more numbers, whose places begin at ``first``, after all before."""
        places = np.concatenate([self._places, np.arange(first, first + len(values))])
        values = np.concatenate([self._values, values])
        if len(values) > self._n:  # sorting all of them takes longer than finding the least
            least = np.partition(values, -self._n)[-self._n]
            enough = np.flatnonzero(values >= least)
            values, places = values[enough], places[enough]
        order = np.argsort(-values, kind="stable")[: self._n]
        self._values, self._places = values[order], places[order]

    def listed(self) -> list[tuple[int, float]]:
        """Places and numbers, the largest first."""
        return list(zip(self._places.tolist(), self._values.tolist(), strict=True))


def _nearest(sae: Sae, directions: Sequence[np.ndarray]) -> list[Largest]:
    """Latents by the cosine of their decoder rows with each direction; 0 where a length is 0."""
    found = [Largest(NEAREST) for _ in directions]
    decoder = sae.tensors["W_dec"]
    at_once = max(ALIGNED, COMPARED_AT_ONCE // decoder.shape[1] // ALIGNED * ALIGNED)
    for first in range(0, len(decoder) if found else 0, at_once):
        rows = decoder[first : first + at_once].double()
        norms = rows.norm(dim=1)
        for direction, largest in zip(directions, found, strict=True):
            towards = torch.from_numpy(direction).to(rows)
            lengths = norms * towards.norm()
            cosines = rows @ towards / lengths.where(lengths > 0, 1)
            largest.add(first, cosines.numpy(force=True))
    return found
