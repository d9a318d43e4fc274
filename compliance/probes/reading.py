"""One item as the subject and its SAEs see it: which tokens are read, and what stands there.

Encoding and decoding are done once, when first asked for; everything else is picked from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.hooks import VISION
from compliance.probes.sae import Sae
from compliance.probes.task import Reader, output_hook
from compliance.probes.tokens import Prepared
from compliance.records.audit import FeatureRef

if TYPE_CHECKING:
    import PIL.Image

ENCODED_AT_ONCE = 2**25
"""Numbers in one block of latents at most, so that a wide SAE does not fill the memory."""

TOP = 5
"""Tokens of the pooling ``top-5``."""


class Reading:
    """One item, read at every hook.

    Content tokens and the tokens of a picture are read, without attention sinks, which are judged
    at each hook by the item's own median norm, among words and among the picture's tokens apart
    (PROTOCOL section 4).
    """

    def __init__(
        self, prepared: Prepared, states: Mapping[str, Tensor], reader: Reader, sink_ratio: float
    ) -> None:
        self.prepared = prepared
        self.item = prepared.item
        self.states = states
        self.reader = reader
        self.kept = {hook: self._kept(hook, sink_ratio) for hook in states}
        self._latents: dict[int, Tensor] = {}
        self._reconstructions: dict[int, Tensor] = {}
        self._random: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}

    @property
    def sinks(self) -> int:
        """Tokens of words and picture that are not read at the first SAE's hook."""
        there = sum(len(self._region(self.main, region)) for region in ("read", "image"))
        return there - len(self.kept[self.main])

    @property
    def main(self) -> str:
        """Hook of the first SAE."""
        return self.reader.saes[0].facts.hook_name

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the picture's tokens at the first SAE's hook; (0, 0): no one grid."""
        shown = self.prepared.shown
        if shown is None:
            return 0, 0
        if not self.main.startswith(VISION):
            return shown.grid
        return shown.patches if shown.rows == 1 else (0, 0)

    @property
    def beyond_context(self) -> bool:
        """Whether the item is longer than the shortest context of an SAE."""
        limits = [s.facts.context_size for s in self.reader.saes if s.facts.context_size]
        return bool(limits) and self.prepared.length > min(limits)

    @cached_property
    def picture(self) -> PIL.Image.Image:
        """What an item with a picture shows."""
        return self.prepared.shown.picture()

    def has(self, region: str) -> bool:
        """Whether a token of the region is read at every hook."""
        return all(self.places(hook, region) for hook in self.kept)

    def places(self, hook: str, region: str) -> list[int]:
        """Positions in the input that are read at a hook and lie in the region."""
        wanted = set(self._region(hook, region))
        return [t for t in self.kept[hook] if t in wanted]

    def rows(self, sae: int, region: str) -> list[int]:
        """Rows of an SAE's latents that lie in the region."""
        hook = self.reader.saes[sae].facts.hook_name
        wanted = set(self._region(hook, region))
        return [row for row, t in enumerate(self.kept[hook]) if t in wanted]

    def inputs(self, sae: int) -> Tensor:
        """What an SAE reads, ``[tokens read, d_in]``."""
        hook = self.reader.saes[sae].facts.hook_name
        return self.states[hook][self.kept[hook]]

    def target(self, sae: int) -> Tensor:
        """What an SAE is to reconstruct, ``[tokens read, d]``."""
        found = self.reader.saes[sae]
        return self.states[output_hook(found)][self.kept[found.facts.hook_name]]

    def latents(self, sae: int) -> Tensor:
        """``[tokens read, d_sae]``.

        Raises:
            ProbeError: A latent is not finite.
        """
        if sae not in self._latents:
            self._latents[sae] = _encode(self.reader.saes[sae], self.inputs(sae))
        return self._latents[sae]

    def reconstruction(self, sae: int) -> Tensor:
        """``[tokens read, d]``, in the space of the target."""
        if sae not in self._reconstructions:
            decode = self.reader.saes[sae].decode
            self._reconstructions[sae] = decode(self.latents(sae), self.inputs(sae))
        return self._reconstructions[sae]

    def pooled(
        self, sae: int, region: str, pooling: str, latents: Sequence[int] | None = None
    ) -> Tensor:
        """One score for each latent: ``[d_sae]``, or ``[len(latents)]``."""
        read = self.latents(sae) if latents is None else self.latents(sae)[:, list(latents)]
        return pool(read[self.rows(sae, region)], pooling)

    def random_pooled(
        self, sae: int, region: str, pooling: str, latents: Sequence[int] | None = None
    ) -> Tensor:
        """The same of the SAE's random counterpart."""
        random = self.reader.random[sae]
        if (sae, region) not in self._random:  # of a benign item every concept asks for some
            rows = self.rows(sae, region)
            counts = (self.latents(sae)[rows] != 0).sum(dim=1)
            self._random[sae, region] = random.products(self.inputs(sae)[rows]), counts
        return pool(random.fired(*self._random[sae, region], latents), pooling)

    def combined(self, features: Sequence[FeatureRef], region: str, pooling: str) -> float:
        """The largest pooled score of some latents; one that is silent counts 0."""
        return max(
            float(self.pooled(sae, region, pooling, latents).max())
            for sae, latents in by_sae(features).items()
        )

    def on_picture(self, features: Sequence[FeatureRef]) -> np.ndarray:
        """The largest activation of some latents on each token of the picture, in their order.

        Returns:
            float32 ``[tokens]``; 0 where a token is not read.
        """
        return self._on_tokens(features, "image")

    def on_words(self, features: Sequence[FeatureRef]) -> tuple[np.ndarray, np.ndarray]:
        """The largest activation of some latents on the tokens of words where it is not 0.

        Returns:
            Their places as in ``Prepared.places``, int32 ``[tokens, 2]``, and float32 ``[tokens]``.
        """
        values = self._on_tokens(features, "read")
        active = values != 0
        return self.prepared.places[active], values[active]

    def cofired(self, sae: int, latent: int) -> Tensor:
        """On how many read tokens of words each latent fired with this one, int64 ``[d_sae]``."""
        rows = torch.tensor(self.rows(sae, "read"), dtype=torch.long)
        latents = self.latents(sae)
        rows = rows.to(latents.device)
        return (latents[rows[latents[rows, latent] != 0]] != 0).sum(dim=0)

    def _on_tokens(self, features: Sequence[FeatureRef], region: str) -> np.ndarray:
        """The largest of some latents on each token of a region, float32; 0 where none is read."""
        found = np.full(len(self._region(self.main, region)), -np.inf, dtype=np.float32)
        for sae, latents in by_sae(features).items():
            hook = self.reader.saes[sae].facts.hook_name
            first = {t: i for i, t in enumerate(self._region(hook, region))}
            places = [first[t] for t in self.places(hook, region)]
            values = self.latents(sae)[:, latents][self.rows(sae, region)].max(dim=1).values
            found[places] = np.maximum(found[places], values.float().numpy(force=True))
        return np.where(np.isneginf(found), 0, found).astype(np.float32)

    def mean(self, features: str, region: str) -> np.ndarray:
        """Mean of an activation over the region, float32 ``[d]``.

        Args:
            features: ``residual/<hook name>``, ``reconstruction/<sae>`` or ``error/<sae>``.
            region: One the item has.
        """
        kind, _, place = features.partition("/")
        if kind == "residual":
            values = self.states[place][self.places(place, region)].double()
        else:
            rows = self.rows(int(place), region)
            values = self.reconstruction(int(place))[rows].double()
            if kind == "error":
                values = self.target(int(place))[rows].double() - values
        return values.mean(dim=0).numpy(force=True).astype(np.float32)

    def _region(self, hook: str, region: str) -> Sequence[int]:
        """Positions at a hook; in a vision tower, whose rows are a picture's patches, all of it."""
        if hook.startswith(VISION):
            return range(len(self.states[hook])) if region == "image" else ()
        return self.prepared.regions[region]

    def _kept(self, hook: str, sink_ratio: float) -> list[int]:
        x = self.states[hook]
        parts = (list(self._region(hook, region)) for region in ("read", "image"))
        return sorted(t for part in parts if part for t in _sound(part, x, sink_ratio))


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


def by_sae(features: Sequence[FeatureRef]) -> dict[int, list[int]]:
    """Latents of each SAE, in their order."""
    found: dict[int, list[int]] = {}
    for feature in features:
        found.setdefault(feature.sae, []).append(feature.latent)
    return found


def _sound(places: list[int], x: Tensor, sink_ratio: float) -> list[int]:
    norms = x[places].norm(dim=-1)
    keep = norms <= sink_ratio * norms.median()
    return [t for t, kept in zip(places, keep.tolist(), strict=True) if kept]


def _encode(sae: Sae, x: Tensor) -> Tensor:
    rows = max(1, ENCODED_AT_ONCE // sae.facts.d_sae)
    encoded = torch.cat([sae.encode(part) for part in x.split(rows)])
    if not torch.isfinite(encoded).all():
        raise ProbeError(
            f"{sae.facts.name}: a latent is not finite at {sae.facts.hook_name}",
            hint="is the SAE made for this model? check dtype and normalisation",
        )
    return encoded
