"""The small capability set that ships with the package, asked to see what a change takes away.

for item in capability_items(("en", "ja"), 20):
    item.choices.concept        # the correct reply; item.choices.other is a wrong one
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from compliance.documents import read_json_lines
from compliance.errors import SuiteError
from compliance.records.base import digest_bytes
from compliance.records.suite import Item
from compliance.resources import data_file

FILE = "evidence/capability/items.jsonl"


def capability_items(languages: Sequence[str], n: int) -> list[Item]:
    """Items of the set, the same part of it each time.

    Args:
        languages: In the order in which their items are given.
        n: Of each language at most; the first by a hash of the group's name.

    Returns:
        Items ordered by language and hash. A language that the set does not have gives none.
    """
    by_language: dict[str, list[Item]] = {}
    for line in read_json_lines(data_file(FILE), Item, error=SuiteError):
        by_language.setdefault(line.record.language, []).append(line.record)
    return [
        item
        for language in languages
        for item in sorted(by_language.get(language, ()), key=_place)[:n]
    ]


def capability_digest() -> str:
    """Digest of the set's file."""
    return digest_bytes(data_file(FILE).read_bytes())


def _place(item: Item) -> str:
    return hashlib.sha256(item.group.encode()).hexdigest()
