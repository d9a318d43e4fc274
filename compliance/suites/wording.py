"""The words of an item, as controls, shifts and checks of a suite read them."""

import re

from compliance.records.suite import Item, Region
from compliance.suites.stored import kind_of

ROLES = {"user": ("user",), "assistant": ("assistant",)}
"""Whose words a region holds; every other region reads the whole conversation."""

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Scripts that set no spaces between words: kana, Han, Thai."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:['\u2019][^\W{UNSPACED}]+)*")


def region_text(item: Item, region: Region) -> str:
    """The words of a region, turn by turn; of a picture of words those that it shows."""
    if item.image is not None and item.variant.shows("words") and item.modality == "image":
        return item.image.description
    if item.messages is None:
        return (item.text or "") if region != "assistant" else ""
    roles = ROLES.get(region, ("user", "assistant"))
    return "\n".join(message.content for message in item.messages if message.role in roles)


def has_region(item: Item, region: Region) -> bool:
    """Whether an item has the region at all: a prompt has no assistant's turn, a text no image."""
    return kind_of(item).has(region)


def whole_text(item: Item) -> str:
    """All turns, a system message included."""
    if item.messages is None:
        return item.text or ""
    return "\n".join(message.content for message in item.messages)


def words(text: str) -> list[str]:
    """Words in lower case; single characters in scripts that set no spaces."""
    return _WORD.findall(text.lower())
