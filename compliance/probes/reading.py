"""One item as the subject and its SAEs see it: which tokens are read, and what stands there.

Encoding and decoding are done once, when first asked for; everything else is picked from that.
Several items are encoded together, and what fired of them is kept in sparse form::

    for reading in joined(readings):
        reading.latents(0, [7, 3])            # [tokens read, 2]
        reading.pooled(0, "user", "max", [7])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compliance.probes.fired import Fired, pool
from compliance.probes.hooks import VISION
from compliance.probes.task import Reader, output_hook
from compliance.probes.tokens import Prepared
from compliance.records.audit import FeatureRef
from compliance.records.suite import Item

if TYPE_CHECKING:
    import PIL.Image

ENCODED_AT_ONCE = 2**25
"""Numbers in one block of latents at most, so that a wide SAE does not fill the memory."""

Drawn = Callable[[Item], Collection[str]]
"""Regions of an item in which the random counterparts of the SAEs are read."""


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
        self.together: tuple[Encoded, int] | None = None
        self._inputs: dict[str, Tensor] = {}
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._reconstructions: dict[int, Tensor] = {}

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
        if (hook, region) not in self._rows:
            wanted = set(self._region(hook, region))
            self._rows[hook, region] = [r for r, t in enumerate(self.kept[hook]) if t in wanted]
        return self._rows[hook, region]

    def inputs(self, sae: int) -> Tensor:
        """What an SAE reads, ``[tokens read, d_in]``."""
        hook = self.reader.saes[sae].facts.hook_name
        if hook not in self._inputs:
            self._inputs[hook] = self.states[hook][self.kept[hook]]
        return self._inputs[hook]

    def target(self, sae: int) -> Tensor:
        """What an SAE is to reconstruct, ``[tokens read, d]``."""
        found = self.reader.saes[sae]
        return self.states[output_hook(found)][self.kept[found.facts.hook_name]]

    def fired(self, sae: int) -> Fired:
        """What fired on the tokens read.

        Raises:
            ProbeError: A latent is not finite.
        """
        encoded, place = self._encoded()
        return encoded.fired(sae, place)

    def latents(self, sae: int, latents: Sequence[int]) -> Tensor:
        """Some latents in their order, ``[tokens read, len(latents)]``.

        Raises:
            ProbeError: A latent is not finite.
        """
        encoded, place = self._encoded()
        return encoded.latents(sae, place, latents)

    def reconstruction(self, sae: int) -> Tensor:
        """``[tokens read, d]``, in the space of the target."""
        if sae not in self._reconstructions:
            decode = self.reader.saes[sae].decode
            self._reconstructions[sae] = decode(self.fired(sae), self.inputs(sae))
        return self._reconstructions[sae]

    def pooled(self, sae: int, region: str, pooling: str, latents: Sequence[int]) -> Tensor:
        """One score for each of some latents, ``[len(latents)]``."""
        return pool(self.latents(sae, latents)[self.rows(sae, region)], pooling)

    def pooled_all(self, sae: int, region: str, pooling: str) -> tuple[Tensor, Tensor]:
        """Latents that fired in the region, in ascending order, and the score of each."""
        return self.fired(sae).at(self.rows(sae, region)).pooled(pooling, ENCODED_AT_ONCE)

    def random_pooled(self, sae: int, region: str, pooling: str, latents: Sequence[int]) -> Tensor:
        """``pooled`` of the SAE's random counterpart."""
        return pool(self._random(sae, region).columns(latents), pooling)

    def random_pooled_all(self, sae: int, region: str, pooling: str) -> tuple[Tensor, Tensor]:
        """``pooled_all`` of the SAE's random counterpart."""
        return self._random(sae, region).pooled(pooling, ENCODED_AT_ONCE)

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
        """Latents that fired with this one, once for each read token of words on which they did."""
        rows = np.array(self.rows(sae, "read"), dtype=np.int64)
        active = self.latents(sae, [latent])[:, 0].numpy(force=True) != 0
        return self.fired(sae).at(rows[active[rows]].tolist()).latents

    def _encoded(self) -> tuple[Encoded, int]:
        if self.together is None:
            self.together = Encoded([self], None, lambda _: self.prepared.regions), 0
        return self.together

    def _random(self, sae: int, region: str) -> Fired:
        encoded, place = self._encoded()
        return encoded.random(sae, region, place)

    def _on_tokens(self, features: Sequence[FeatureRef], region: str) -> np.ndarray:
        """The largest of some latents on each token of a region, float32; 0 where none is read."""
        found = np.full(len(self._region(self.main, region)), -np.inf, dtype=np.float32)
        for sae, latents in by_sae(features).items():
            hook = self.reader.saes[sae].facts.hook_name
            first = {t: i for i, t in enumerate(self._region(hook, region))}
            places = [first[t] for t in self.places(hook, region)]
            values = self.latents(sae, latents)[self.rows(sae, region)].max(dim=1).values
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


class Encoded:
    """What fired on some items, whose tokens are encoded together when first asked for."""

    def __init__(
        self, readings: Sequence[Reading], watched: Mapping[int, Sequence[int]] | None, drawn: Drawn
    ) -> None:
        """Of the readings only what is to be encoded is kept; see `joined`."""
        self._reader = reader = readings[0].reader
        self._watched = watched
        saes = range(len(reader.saes))
        self._inputs = [[reading.inputs(s) for reading in readings] for s in saes]
        self._drawn: dict[tuple[int, str], dict[int, list[int]]] = {}
        for s in saes if reader.random else ():
            for i, reading in enumerate(readings):
                for region in drawn(reading.item):
                    self._drawn.setdefault((s, region), {})[i] = reading.rows(s, region)
        self._fired: dict[int, list[Fired]] = {}
        self._columns: dict[int, Sequence[Tensor]] = {}
        self._random: dict[tuple[int, str], dict[int, Fired]] = {}

    def fired(self, sae: int, place: int) -> Fired:
        """Of one item, all latents."""
        if sae not in self._fired:
            x = torch.cat(self._inputs[sae])
            found = self._reader.saes[sae].fired(x, ENCODED_AT_ONCE)
            self._fired[sae] = found.split([len(part) for part in self._inputs[sae]])
        return self._fired[sae][place]

    def latents(self, sae: int, place: int, latents: Sequence[int]) -> Tensor:
        """Of one item, some latents in their order; where some are watched, of those."""
        if self._watched is None:
            return self.fired(sae, place).columns(latents)
        watched = list(self._watched[sae])
        if sae not in self._columns:
            found = self._reader.saes[sae].encode(torch.cat(self._inputs[sae]), watched)
            self._reader.saes[sae].check_finite(found)
            self._columns[sae] = found.split([len(part) for part in self._inputs[sae]])
        return self._columns[sae][place][:, [watched.index(latent) for latent in latents]]

    def random(self, sae: int, region: str, place: int) -> Fired:
        """Of one item, the latents of the SAE's random counterpart in a region."""
        if (sae, region) not in self._random:
            rows = self._drawn[sae, region]
            x = torch.cat([self._inputs[sae][i][rows[i]] for i in rows])
            counts = torch.cat([self.fired(sae, i).counts[rows[i]] for i in rows])
            found = self._reader.random[sae].fired(x, counts, ENCODED_AT_ONCE)
            parts = found.split([len(rows[i]) for i in rows])
            self._random[sae, region] = dict(zip(rows, parts, strict=True))
        return self._random[sae, region][place]


def joined(
    readings: Iterable[Reading],
    watched: Mapping[int, Sequence[int]] | None = None,
    drawn: Drawn = lambda _: (),
) -> Iterator[Reading]:
    """The same readings, encoded together as far as their latents fit in a block.

    Args:
        readings: Of one batch.
        watched: Latents of each SAE that will be asked for, which alone are then encoded; None for
            all.
        drawn: Regions in which an item's random latents will be asked for.
    """
    for group in _groups(readings):
        encoded = Encoded(group, watched, drawn)
        for i, reading in enumerate(group):
            reading.together = encoded, i
        yield from group


def _groups(readings: Iterable[Reading]) -> Iterator[list[Reading]]:
    """Items that follow each other, one at least, whose latents are no more than a block has."""
    group: list[Reading] = []
    tokens = 0
    for reading in readings:
        more = max(len(kept) for kept in reading.kept.values())
        widest = max(sae.facts.d_sae for sae in reading.reader.saes)
        if group and (tokens + more) * widest > ENCODED_AT_ONCE:
            yield group
            group, tokens = [], 0
        group.append(reading)
        tokens += more
    if group:
        yield group


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
