"""Some items of several suites, in an order of their own, without holding any of them.

    chosen = ChosenItems.of(suites, lambda outline: outline.language == "en")
    chosen[0]                                  # read when it is asked for
    chosen.where(lambda outline: outline.concept is None).outlines
    chosen.suite_of(0), chosen.place_of("a-1")

A place takes eight bytes, an id that is looked for as many as it has characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np

from compliance.records.suite import Item
from compliance.suites.load import Suite
from compliance.suites.stored import Outline, OutlinedItems

_AT_ONCE = 4096


class ChosenItems(OutlinedItems):
    """Items by suite and place in it."""

    def __init__(self, suites: Sequence[Suite], suite: np.ndarray, place: np.ndarray) -> None:
        """Hold places.

        Args:
            suites: Which items are of.
            suite: Place of each item's suite in ``suites``: int32 [n].
            place: Place of each item in its suite: int32 [n].
        """
        self._suites, self._suite, self._place = suites, suite, place

    @classmethod
    def of(cls, suites: Sequence[Suite], wanted: Callable[[Outline], bool]) -> ChosenItems:
        """Those that are wanted, ordered by id."""
        parts = [
            np.fromiter((wanted(one) for one in suite.outlines), dtype=bool).nonzero()[0]
            for suite in suites
        ]
        suite = np.repeat(np.arange(len(suites)), [len(part) for part in parts])
        found = cls(suites, suite.astype(np.int32), np.concatenate(parts).astype(np.int32))
        return found[np.argsort(found.ids, kind="stable")]

    def __len__(self) -> int:
        return len(self._place)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice | np.ndarray) -> ChosenItems: ...

    def __getitem__(self, place: int | slice | np.ndarray) -> Item | ChosenItems:
        if isinstance(place, slice | np.ndarray):
            return ChosenItems(self._suites, self._suite[place], self._place[place])
        return self._suites[self._suite[place]].items[int(self._place[place])]

    @property
    def outlines(self) -> Sequence[Outline]:
        return _Outlines(self._suites, self._suite, self._place)

    @cached_property
    def ids(self) -> np.ndarray:
        """Of the items, in their order: ``S`` [n]."""
        return np.array([outline.id for outline in self.outlines], dtype=bytes)

    def where(self, wanted: Callable[[Outline], bool]) -> ChosenItems:
        """Those that are wanted, in the same order."""
        return self[np.fromiter((wanted(one) for one in self.outlines), dtype=bool).nonzero()[0]]

    def followed_by(self, other: ChosenItems) -> ChosenItems:
        """These items, and then others that were chosen from the same suites."""
        suite = np.concatenate([self._suite, other._suite])
        return ChosenItems(self._suites, suite, np.concatenate([self._place, other._place]))

    def suite_of(self, place: int) -> str:
        """Name of an item's suite."""
        return self._suites[self._suite[place]].datasheet.name

    def place_of(self, name: str) -> int | None:
        """Where the item of that id is, of items that are ordered by id."""
        wanted = name.encode()
        place = int(np.searchsorted(self.ids, wanted))
        return place if place < len(self) and self.ids[place] == wanted else None


def joined(parts: Iterable[ChosenItems]) -> ChosenItems:
    """Items chosen from the same suites, one part after the other."""
    first, *others = parts
    for other in others:
        first = first.followed_by(other)
    return first


class _Outlines(Sequence[Outline]):
    """Of chosen items."""

    def __init__(self, suites: Sequence[Suite], suite: np.ndarray, place: np.ndarray) -> None:
        self._of = [one.outlines for one in suites]
        self._suite, self._place = suite, place

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, place: int) -> Outline:
        return self._of[self._suite[place]][int(self._place[place])]

    def __iter__(self) -> Iterator[Outline]:
        for start in range(0, len(self), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            for suite, place in zip(self._suite[part].tolist(), self._place[part].tolist(),
                                    strict=True):  # fmt: skip
                yield self._of[suite][place]
