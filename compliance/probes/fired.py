"""Latents in sparse form: what fired on some tokens, and nothing of the rest.

    fired = sae.fired(x, numbers)               # [tokens, d_sae], of which a few in a thousand fire
    fired.counts                                # L0 of each token
    fired.columns([7, 3])                       # two latents, dense
    latents, scores = fired.pooled("max", numbers)
    x_hat = sae.decode(fired, x)

A product with the decoder and a scaling by latent are written as those of a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

TOP = 5
"""Tokens of the pooling ``top-5``."""


@dataclass(frozen=True, eq=False)
class Fired:
    """Latents that are not 0, by token, and by latent within a token."""

    starts: Tensor
    """Where each token's begin, and their end: int64 ``[tokens + 1]``."""

    latents: Tensor
    """int64 ``[fired]``"""

    values: Tensor
    """``[fired]``"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __mul__(self, factors: Tensor) -> Fired:
        """Each latent times its own factor, ``[d_sae]``."""
        return replace(self, values=self.values * factors[self.latents])

    def __matmul__(self, matrix: Tensor) -> Tensor:
        """``[tokens, d_sae] @ [d_sae, d]``, from the rows of the matrix whose latents fired."""
        return embedding_bag(
            self.latents, matrix, self.starts, mode="sum", per_sample_weights=self.values,
            include_last_offset=True,
        )  # fmt: skip

    @property
    def counts(self) -> Tensor:
        """Latents that fired on each token, int64 ``[tokens]``."""
        return self.starts.diff()

    @property
    def tokens(self) -> Tensor:
        """The token of each, int64 ``[fired]``."""
        return torch.arange(len(self), device=self.starts.device).repeat_interleave(self.counts)

    def split(self, lengths: Sequence[int]) -> list[Fired]:
        """Tokens in parts that follow each other."""
        ends = np.cumsum([0, *lengths]).tolist()
        places = self.starts[ends].tolist()
        return [
            Fired(
                self.starts[ends[i] : ends[i + 1] + 1] - places[i],
                self.latents[places[i] : places[i + 1]],
                self.values[places[i] : places[i + 1]],
            )
            for i in range(len(lengths))
        ]

    def at(self, rows: Sequence[int]) -> Fired:
        """Some tokens, in ascending order."""
        if len(rows) == len(self):
            return self
        chosen = torch.zeros(len(self), dtype=torch.bool, device=self.starts.device)
        chosen[list(rows)] = True
        kept = chosen[self.tokens]
        return Fired(_starts(self.counts[chosen]), self.latents[kept], self.values[kept])

    def columns(self, latents: Sequence[int]) -> Tensor:
        """One or more latents in their order, dense: ``[tokens, len(latents)]``."""
        wanted, places = np.unique(np.asarray(latents, dtype=np.int64), return_inverse=True)
        known = torch.from_numpy(wanted).to(self.latents.device)
        near = torch.searchsorted(known, self.latents).clamp_max(len(wanted) - 1)
        hit = known[near] == self.latents
        found = self.values.new_zeros(len(self), len(wanted))
        found[self.tokens[hit], near[hit]] = self.values[hit]
        return found[:, torch.from_numpy(places).to(found.device)]

    def pooled(self, pooling: str, numbers: int) -> tuple[Tensor, Tensor]:
        """One score for each latent that fired on a token.

        Args:
            pooling: As `pool` takes it.
            numbers: At most in one dense block.

        Returns:
            Latents in ascending order, int64, and their scores, of which some may be 0.
        """
        latents, places = torch.unique(self.latents, return_inverse=True)
        scores, tokens = self.values.new_zeros(len(latents)), self.tokens
        width = max(1, numbers // max(1, len(self)))
        for first in range(0, len(latents), width):
            here = torch.nonzero((places >= first) & (places < first + width)).flatten()
            block = self.values.new_zeros(len(self), min(width, len(latents) - first))
            block[tokens[here], places[here] - first] = self.values[here]
            scores[first : first + width] = pool(block, pooling)
        return latents, scores


def fired_in(blocks: Sequence[tuple[int, Tensor]], rows: int) -> Fired:
    """What is not 0 in dense blocks of columns.

    Args:
        blocks: First column of each and ``[rows, columns]``, in ascending order; may be made one
            by one.
        rows: Of all.
    """
    parts = [_not_zero(first, block) for first, block in blocks]
    tokens, latents, values = (torch.cat(part) for part in zip(*parts, strict=True))
    counts = torch.bincount(tokens, minlength=rows)
    if len(parts) > 1:
        order = torch.argsort(tokens, stable=True)
        latents, values = latents[order], values[order]
    return Fired(_starts(counts), latents, values)


def stacked(parts: Sequence[Fired]) -> Fired:
    """Tokens of several, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Fired(
        _starts(torch.cat([part.counts for part in parts])),
        torch.cat([part.latents for part in parts]),
        torch.cat([part.values for part in parts]),
    )


def pool(latents: Tensor, pooling: str) -> Tensor:
    """One score for each latent: ``[tokens, n]`` -> ``[n]``."""
    match pooling:
        case "max":
            return latents.max(dim=0).values
        case "mean":
            return latents.mean(dim=0)
        case "top-5":
            return torch.topk(latents, min(TOP, len(latents)), dim=0).values.mean(dim=0)
        case _:
            return latents[-1]


def _starts(counts: Tensor) -> Tensor:
    starts = counts.new_zeros(len(counts) + 1)
    torch.cumsum(counts, 0, out=starts[1:])
    return starts


def _not_zero(first: int, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of each."""
    mask = block != 0
    if mask.is_cuda:
        flat = torch.nonzero(mask.flatten()).flatten()
    else:  # several times as fast as torch here
        flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    columns = block.shape[1]
    return flat // columns, flat % columns + first, block.flatten()[flat]
