"""What lies in a pack besides the evidence, and how its JSON is read: strictly.

A line of ``items.jsonl`` holds an item and its salt, or, where the item is withheld, the digest
that both would give. The root digest is made from these digests, so it is the same either way.
"""

import json
import re
from typing import Annotated, Any, NoReturn

import rfc8785
from pydantic import Field

from compliance.records.base import Digest, Record
from compliance.records.suite import Identifier, Item

MAX_DEPTH = 64
"""Levels of nesting in any JSON of a pack; ours need fewer than ten."""

Version = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$")]
"""``MAJOR.MINOR.PATCH``: the subject changed, the measurements changed, only the words changed."""


class PackedItem(Record):
    """A disclosed item."""

    item: Item
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hexadecimal. Keeps the digest of a withheld item from being guessed from its text."""


class WithheldItem(Record):
    """An item that is not shown in this pack. The observations still name it by its id."""

    id: Identifier
    digest: Digest
    """``sha256(salt || canonical item)``, as it would be for the disclosed item."""


_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_canonical(data: bytes) -> Any:
    """Read JSON that must be canonical: no NaN, no repeated keys, one spelling for each value.

    Raises:
        ValueError: It is not; the message says why in a few plain words.
    """
    _refuse_depth(data)
    try:
        value = json.loads(data, object_pairs_hook=_unique_keys, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.lower()} (character {error.pos})") from error
    try:
        canonical = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise ValueError(f"not canonical JSON: {error}") from error
    if canonical != data:
        raise ValueError("not canonical JSON (RFC 8785): the same values have another spelling")
    return value


def _refuse_depth(data: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(data):
        first = data[match.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} appears twice in one object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")
