"""What was seen of a suite that is being written, on disk, so that memory stays bounded.

It refuses what ``compliance.suites.load`` refuses of a suite, one item at a time: an id twice, an
input in two groups, a group of two concepts. Whether a group is complete is known only at the end.
Keys are 16-byte digests; the database is thrown away with the folder that it lies in.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compliance.records.suite import Item, Label
from compliance.suites.importing.rows import Unfit
from compliance.suites.load import normalised

CACHE_KIB = 65536
"""Of the database that is held in memory."""

BITS = {Label.POSITIVE: 1, Label.HARD_NEGATIVE: 2, Label.NEGATIVE: 4, Label.NEUTRAL: 8}

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE seen (key BLOB PRIMARY KEY, item INTEGER) WITHOUT ROWID;
CREATE TABLE groups (key BLOB PRIMARY KEY, concept TEXT, labels INTEGER, item INTEGER)
  WITHOUT ROWID;
CREATE TABLE pairs (key BLOB PRIMARY KEY, labels INTEGER) WITHOUT ROWID;
CREATE TABLE items (item INTEGER PRIMARY KEY, file TEXT, row INTEGER, grouped BLOB, paired BLOB,
  spot BLOB);
"""


@dataclass(frozen=True)
class HalfGroup:
    """An item whose group lacks a label."""

    item: int
    file: str
    row: int
    missing: Label


class SeenItems:
    """Every item of the suite so far; closes itself at the end of a ``with`` block."""

    def __init__(self, path: Path, *, paired: bool) -> None:
        self._paired = paired
        self._count = 0
        self._data = sqlite3.connect(path, isolation_level=None)
        self._data.executescript(f"PRAGMA cache_size = -{CACHE_KIB};{_SCHEMA}BEGIN;")

    def __enter__(self) -> SeenItems:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()

    def add(self, item: Item, file: str, row: int) -> None:
        """Take an item in; it is counted from one.

        Raises:
            Unfit: It contradicts an earlier one, and was not taken in.
        """
        group = _key("group", item.group)
        pair = _key("pair", item.group, item.modality, item.rendering)
        spot = _key("spot", item.group, item.label, item.language)
        name = _key("id", item.id)
        place = _key("place", item.group, item.label, *item.variant)
        words = _key("input", item.language, *(part for turn in normalised(item) for part in turn))
        if first := self._first(name):
            raise Unfit("id", "id twice", f"id {item.id!r} is that of {_at(first)}")
        labels = self._group(item, group)
        if first := self._first(place):
            what = f"group {item.group!r} has a {item.label} item in {item.language} already"
            raise Unfit("group", "label twice in a group", f"{what}, {_at(first)}")
        if (first := self._first(words)) and first[2] != group:
            reason = f"the same input in {item.language} as {_at(first)}, in another group"
            raise Unfit("text", "input twice", reason)
        self._insert(item, (name, place, words), (group, pair, spot), labels, file, row)

    def half_groups(self) -> Iterator[HalfGroup]:
        """Items of groups that lack a positive or a hard negative, in their order.

        Texts of a group are a pair of their own, and so are its pictures of one form.
        """
        found = self._data.execute(
            "SELECT item.item, file, row, labels FROM items AS item "
            "JOIN pairs ON pairs.key = item.paired WHERE labels IN (1, 2) ORDER BY item.item"
        )
        for item, file, row, labels in found:
            missing = Label.HARD_NEGATIVE if labels == 1 else Label.POSITIVE
            yield HalfGroup(item, file, row, missing)

    def forget_half_groups(self) -> None:
        """Take those items out, so that nothing counts them."""
        half = "SELECT key FROM pairs WHERE labels IN (1, 2)"
        self._data.execute(f"DELETE FROM items WHERE paired IN ({half})")
        self._data.execute("DELETE FROM groups WHERE key NOT IN (SELECT grouped FROM items)")

    def groups(self) -> int:
        """How many groups there are."""
        (count,) = self._data.execute("SELECT COUNT(*) FROM groups").fetchone()
        return int(count)

    def groups_not_everywhere(self, languages: int) -> int:
        """How many groups lack an item in one of so many languages."""
        (count,) = self._data.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM items JOIN groups ON groups.key = items.grouped "
            "GROUP BY grouped "
            "HAVING COUNT(DISTINCT spot) < ? * (CASE WHEN labels IN (3, 12) THEN 2 ELSE 1 END))",
            (languages,),
        ).fetchone()
        return int(count)

    def _first(self, key: bytes) -> tuple[str, int, bytes] | None:
        """File, row and group of the item that has a key already."""
        found: tuple[str, int, bytes] | None = self._data.execute(
            "SELECT file, row, grouped FROM seen JOIN items USING (item) WHERE key = ?", (key,)
        ).fetchone()
        return found

    def _group(self, item: Item, key: bytes) -> int:
        """Labels that the group has with this item."""
        found = self._data.execute(
            "SELECT concept, labels, file, row FROM groups JOIN items USING (item) WHERE key = ?",
            (key,),
        ).fetchone()
        if not found:
            return BITS[item.label]
        concept, labels, *first = found
        if concept != item.concept:
            what = f"group {item.group!r} is of {concept or 'no concept'}, {_at(first)}"
            raise Unfit("concept", "group of two concepts", f"{what}; found {item.concept}")
        both = int(labels) | BITS[item.label]
        if not self._paired and both == BITS[Label.POSITIVE] | BITS[Label.HARD_NEGATIVE]:
            what = f"group {item.group!r} has another label, {_at(first)}"
            raise Unfit("label", "pair in an unpaired suite", f"{what}, and the suite is unpaired")
        return both

    def _insert(
        self,
        item: Item,
        keys: tuple[bytes, ...],
        belongs: tuple[bytes, bytes, bytes],
        labels: int,
        file: str,
        row: int,
    ) -> None:
        self._count += 1
        group, pair, _ = belongs
        self._data.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", (self._count, file, row, *belongs)
        )
        self._data.execute(
            "INSERT INTO pairs VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET labels = labels | excluded.labels",
            (pair, BITS[item.label]),
        )
        self._data.execute(
            "INSERT INTO groups VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET labels = excluded.labels",
            (group, item.concept, labels, self._count),
        )
        self._data.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", [(key, self._count) for key in keys]
        )


def count_key(item: Item) -> tuple[str, str, str]:
    """Concept (empty where it has none), label and language that an item is counted under."""
    return item.concept or "", item.label.value, item.language


Counts = Counter[tuple[str, str, str]]
"""Items by concept, label and language."""


def _key(kind: str, *parts: str) -> bytes:
    state = hashlib.blake2b(kind.encode(), digest_size=16)
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "big") + data)
    return state.digest()


def _at(first: tuple[str, int, bytes] | list[object]) -> str:
    return f"{first[0]}, row {first[1]}"
