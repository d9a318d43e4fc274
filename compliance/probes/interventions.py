"""Changes of a model's activations while it runs (PROTOCOL section 9).

    clamp = Change(kind="clamp", latents=(7,), values=(0.0,))       # ablates latent 7
    with changed(reader, [None, clamp], [places, places]):
        model(**inputs)                  # row 0 as it is, row 1 with the latent at 0

What is added is the latents' own part of the activation, ``(c - a) d``: everything else, the SAE's
error included, stays. Where nothing changes, what is added is exactly 0. Each row of a batch has a
change of its own. An input of a single row becomes one row for each change at the place, so that
the blocks before it are run once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.hooks import VISION, can_replace, replaced, watched
from compliance.probes.task import Reader, output_hook

Kind = Literal["clamp", "flip", "noise", "add", "project"]

OF_LATENTS = ("clamp", "flip", "noise")
"""Kinds that follow from latents; the others from a direction."""


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to one row, at each of its tokens that are changed.

    ``clamp`` sets latents to values. ``flip`` moves by the same in the opposite direction.
    ``noise`` moves by as much as that in a random direction. ``add`` adds a vector. ``project``
    removes what lies along a direction.
    """

    kind: Kind
    sae: int = 0
    latents: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    """What each latent is set to."""

    direction: Tensor | None = None
    """Of ``add`` and ``project``: ``[d_in]``, of any length, which counts for ``add`` alone."""

    scale: float = 1.0
    """What ``direction`` is multiplied with before it is added."""

    seed: int = 0
    """Of ``noise``, whose directions follow from it and the token's position alone."""

    def __post_init__(self) -> None:
        """Refuse a change that does not say what to do.

        Raises:
            ProbeError: Latents and values, or the direction, are missing.
        """
        if self.kind in OF_LATENTS:
            whole = len(self.latents) == len(self.values) > 0 and self.direction is None
        else:
            whole = self.direction is not None and bool(self.direction.norm() > 0)
        if not whole:
            needed = "latents, a value each" if self.kind in OF_LATENTS else "a direction not 0"
            raise ProbeError(f"a change of the kind {self.kind!r} needs {needed}")


def place_of(change: Change, reader: Reader) -> str:
    """Hook name of what is changed: a transcoder's latents act on what it writes."""
    sae = reader.saes[change.sae]
    return output_hook(sae) if change.kind in OF_LATENTS else sae.facts.hook_name


def can_change(reader: Reader, sae: int) -> bool:
    """Whether an SAE's latents can be set: its place is in the text stream and not read-only."""
    place = output_hook(reader.saes[sae])
    return (
        reader.subject.tokenizer is not None
        and not place.startswith(VISION)
        and can_replace(reader.subject.model, place)
    )


def delta(change: Change, reader: Reader, x: Tensor, places: Sequence[int] | None = None) -> Tensor:
    """What a change adds.

    Args:
        change: Of one row.
        reader: With the SAEs.
        x: Activations at the SAE's own hook, ``[tokens, d_in]``.
        places: Of these tokens in the input, which ``noise`` is drawn by; absent: 0, 1, ...

    Returns:
        ``[tokens, d_out]`` at `place_of`, in the SAE's dtype.

    Raises:
        ProbeError: The width is wrong.
    """
    natural = None
    if change.kind in OF_LATENTS:
        natural = reader.saes[change.sae].encode(x, change.latents)
    return _delta(change, reader, x, range(len(x)) if places is None else places, natural)


@contextmanager
def changed(
    reader: Reader,
    changes: Sequence[Change | None],
    places: Sequence[Sequence[int]],
    *,
    start: int = 0,
    later: bool = False,
    runs: int | None = 1,
) -> Iterator[None]:
    """Run the reader's model with a change in each row.

    Args:
        reader: Subject and SAEs.
        changes: One a row of the batch; None leaves a row as it is. An input of one row is run
            once up to the place and goes on as one row for each change.
        places: Of each row, positions of the tokens that are changed. They count from the first
            token of the row, also where the model is run on with a cache.
        start: Positions that stand in the cache already.
        later: Whether all tokens after those of the first run are changed as well, as when a reply
            is generated with a cache.
        runs: How often the model is run; None: once or more.

    Raises:
        SaeError: A place cannot be changed.
        ProbeError: A place was not passed once a run, or the batch has other rows than there are
            changes.
    """
    if len(changes) != len(places):
        raise ProbeError(f"{len(changes)} changes for {len(places)} rows")
    model, hooks = reader.subject.model, {}
    for row, change in enumerate(changes):
        if change is not None:
            hooks.setdefault((place_of(change, reader), change.sae), {})[row] = change
    with ExitStack() as stack:
        for (hook, sae), own in hooks.items():
            place = _Place(reader, sae, own, places, start, later)
            source = reader.saes[sae].facts.hook_name
            if source != hook:
                stack.enter_context(watched(model, source, place.look, runs=runs))
            stack.enter_context(replaced(model, hook, place.change, runs=runs))
        yield


class _Place:
    """Changes of one SAE at one place."""

    def __init__(
        self, reader: Reader, sae: int, changes: Mapping[int, Change],
        places: Sequence[Sequence[int]], start: int, later: bool,
    ) -> None:  # fmt: skip
        self._reader, self._sae, self._changes = reader, sae, changes
        self._places = [frozenset(own) for own in places]
        self._passed, self._later = start, later
        self._first_end: int | None = None
        self._read: Tensor | None = None

    def look(self, x: Tensor) -> None:
        """Keep what a transcoder reads, before it is asked what to write."""
        self._read = x

    def change(self, y: Tensor) -> Tensor:
        """``[rows, position, d]`` with each row changed."""
        x = y if self._read is None else self._read
        rows = len(self._places)
        if len(y) not in (1, rows) or len(x) not in (1, rows):
            raise ProbeError(f"{len(y)} rows were run, and {rows} are to be changed")
        found = y.expand(rows, -1, -1).clone()
        here = self._own(y.shape[1])
        for row, natural in self._natural(x, here):
            places = here[row]
            own = x[row if len(x) > 1 else 0][[t - self._passed for t in places]]
            moved = _delta(self._changes[row], self._reader, own, places, natural)
            found[row, [t - self._passed for t in places]] += moved.to(found)
        self._passed += y.shape[1]
        self._first_end = self._first_end or self._passed
        return found

    def _own(self, width: int) -> dict[int, list[int]]:
        """Positions that are changed among those that are run now, of rows that have any."""
        here = range(self._passed, self._passed + width)
        all_of_them = self._later and self._first_end is not None
        chosen = {
            row: [t for t in here if all_of_them or t in self._places[row]] for row in self._changes
        }
        return {row: places for row, places in chosen.items() if places}

    def _natural(
        self, x: Tensor, here: Mapping[int, list[int]]
    ) -> Iterator[tuple[int, Tensor | None]]:
        """Each row with what its latents are; rows of one input are encoded once for all."""
        sae, first = self._reader.saes[self._sae], self._passed
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, places in here.items():
            key = (-1 if len(x) == 1 else row, *places)
            groups.setdefault(key, []).append(row)
        for (_, *places), rows in groups.items():
            wanted = sorted({n for row in rows for n in self._changes[row].latents})
            own = x[rows[0] if len(x) > 1 else 0][[t - first for t in places]]
            encoded = sae.encode(own, wanted) if wanted else None
            for row in rows:
                columns = [wanted.index(n) for n in self._changes[row].latents]
                yield row, None if encoded is None else encoded[:, columns]


def _delta(
    change: Change, reader: Reader, x: Tensor, places: Sequence[int], natural: Tensor | None
) -> Tensor:
    sae = reader.saes[change.sae]
    if change.direction is not None:
        direction = change.direction.to(sae.tensors["W_dec"])
        if change.kind == "add":
            return (change.scale * direction).expand(len(x), -1)
        unit = direction / direction.norm()
        return -(x.to(unit) @ unit)[:, None] * unit
    moved = sae.moved(natural.new_tensor(change.values) - natural, change.latents, x)
    if change.kind == "noise":
        return _drawn(change.seed, places, moved.shape[-1]).to(moved) * moved.norm(
            dim=-1, keepdim=True
        )
    return -moved if change.kind == "flip" else moved


def _drawn(seed: int, places: Sequence[int], width: int) -> Tensor:
    """A random direction of length 1 for each place, float64 ``[places, width]``."""
    drawn = [np.random.RandomState([seed, t]).standard_normal(width) for t in places]
    found = torch.from_numpy(np.array(drawn).reshape(-1, width))
    return found / found.norm(dim=-1, keepdim=True)
