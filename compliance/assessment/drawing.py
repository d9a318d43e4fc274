"""Draws a part of what there is by a hash that the plan's seed decides, so that nobody picks it."""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

from compliance.records.plan import Plan
from compliance.records.suite import Item, Label
from compliance.suites.stored import Outline, outlines_of

Drawn = TypeVar("Drawn")


def drawn_items(
    plan: Plan, what: str, items: Sequence[Item], wanted: Callable[[Outline], bool], number: int,
    *, name: Literal["id", "group"],
) -> list[int]:  # fmt: skip
    """Places of the first of the items that are wanted, by the hash of that name."""
    found = ((place, one) for place, one in enumerate(outlines_of(items)) if wanted(one))
    first = drawn(plan, what, found, number, key=lambda one: getattr(one[1], name))
    return [place for place, _ in first]


def neutral_items(
    plan: Plan, what: str, items: Sequence[Item], languages: Sequence[str], number: int
) -> list[Item]:
    """Neutral texts of each language; benign ones where the plan has none. Without pictures."""
    label = Label.NEUTRAL if plan.has_neutral_text else Label.NEGATIVE

    def is_wanted(item: Outline, language: str) -> bool:
        return (item.label, item.modality, item.language) == (label, "text", language)

    return [
        items[place]
        for language in languages
        for place in drawn_items(
            plan, what, items, lambda i, tag=language: is_wanted(i, tag), number, name="group"
        )
    ]


def drawn(
    plan: Plan, what: str, found: Iterable[Drawn], number: int, *, key: Callable[[Drawn], str]
) -> list[Drawn]:
    """The first of what was found, by the hash of its key."""
    return heapq.nsmallest(number, found, key=lambda one: _place(plan, what, key(one)))


def in_drawn_order(plan: Plan, what: str, names: Iterable[str]) -> list[str]:
    """All names, in the order in which they would be drawn."""
    return sorted(names, key=lambda name: _place(plan, what, name))


def _place(plan: Plan, what: str, name: str) -> tuple[str, str]:
    return hashlib.sha256(f"{plan.seed}/{what}/{name}".encode()).hexdigest(), name
