"""Test items in a pack: shown, partly shown or withheld, with one digest in all three.

An item's digest is made from digests of its fields, each with a salt of its own::

    salt of a field     HMAC-SHA256(item's salt, name of the field)
    digest of a field   sha256(salt of the field || canonical JSON of {name: value})
    digest of the item  sha256(canonical JSON of {name: digest of the field, ...})

Whoever has the item's salt can make the salts of all fields; from those of some fields, those of
the others do not follow. A field that an item does not have is not among them, so an item that is
partly shown tells which fields it has.

Salts follow from the signer's key and the item: the same in every build with one key, and nobody
without that key can guess them. A picture is covered by its item, which holds its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from compliance.errors import PackError
from compliance.records.base import canonical_bytes, digest_bytes, to_json
from compliance.records.pack import (
    PackedItem,
    PackItem,
    PartItem,
    WithheldItem,
    parse_canonical,
)
from compliance.records.suite import Image, Item

MAX_QUICK = 1 << 16
"""Bytes of a line that is read at once; of a longer one it is first counted what it holds."""

_SALT_CONTEXT = b"sae-compliance item salt v2\n"


def pack_items(
    items: Sequence[Item], *, withheld: Collection[str], secret: bytes
) -> Iterator[PackItem]:
    """Salt each item and withhold the texts of those named; ordered by id, one at a time.

    Args:
        items: Those of all suites.
        withheld: Ids of the items to withhold.
        secret: What salts are made from; `Signer.salt_secret`.

    Raises:
        PackError: Two items have one id, so that observations could not be told apart; or an item
            to be withheld is not there, which may be a slip that would disclose another.
    """
    names, hidden = [item.id for item in items], set(withheld)
    order = sorted(range(len(names)), key=names.__getitem__)
    for one, other in pairwise(order):
        if names[one] == names[other]:
            raise PackError(
                f"item {names[one]!r} is there twice",
                hint="ids must differ between all suites of an audit",
            )
    if unknown := sorted(hidden.difference(names)):
        raise PackError(f"item {unknown[0]!r} is to be withheld, and there is no such item")
    packed = (salted(items[place], secret) for place in order)
    return (withhold_item(one) if one.item.id in hidden else one for one in packed)


def salted(item: Item, secret: bytes) -> PackedItem:
    """An item with its salt, which follows from the secret and the item."""
    salt = hmac.new(secret, _SALT_CONTEXT + plain_json(to_json(item)), hashlib.sha256)
    return PackedItem(item=item, salt=salt.hexdigest())


def item_id(item: PackItem) -> str:
    """The id that observations use."""
    match item:
        case PackedItem():
            return item.item.id
        case PartItem():
            return str(item.fields["id"])
        case WithheldItem():
            return item.id


def item_digest(item: PackItem) -> str:
    """The digest that goes into the root; the same in all three forms of an item."""
    if isinstance(item, WithheldItem):
        return item.digest
    return digest_bytes(plain_json(_field_digests(item, shown_fields(item))))


def shown_fields(item: PackItem) -> dict[str, Any]:
    """The fields that are shown, as plain JSON values."""
    match item:
        case PackedItem():
            return to_json(item.item)
        case PartItem():
            return item.fields
        case WithheldItem():
            return {"id": item.id}


def hidden_fields(item: PackItem) -> frozenset[str]:
    """Names of the fields that may be there and are not shown."""
    match item:
        case PackedItem():
            return frozenset()
        case PartItem():
            return frozenset(item.withheld)
        case WithheldItem():
            return frozenset(Item.model_fields) - {"id"}


def comparable(item: PackItem) -> Item | dict[str, Any] | None:
    """What can be compared with observations: an item, its known fields, or nothing.

    A field that a partly shown item does not have is known to be None.
    """
    match item:
        case PackedItem():
            return item.item
        case PartItem():
            known = Item.model_fields.keys() - item.withheld.keys()
            return {name: item.fields.get(name) for name in sorted(known)}
        case WithheldItem():
            return None


def withhold_item(item: PackItem) -> WithheldItem:
    """The item without anything but its id."""
    return WithheldItem(id=item_id(item), digest=item_digest(item))


def withhold_fields(item: PackedItem | PartItem, names: Collection[str]) -> PackedItem | PartItem:
    """The item without these fields; as it is where it shows none of them.

    Raises:
        ValueError: The id is among them.
    """
    shown = shown_fields(item)
    if "id" in names:
        raise ValueError("an item's id cannot be withheld: observations name it")
    if not shown.keys() & set(names):
        return item
    digests, salts = _field_digests(item, shown), _field_salts(item, shown)
    kept = shown.keys() - set(names)
    return PartItem(
        fields={name: value for name, value in shown.items() if name in kept},
        salts={name: salts[name] for name in sorted(kept)},
        withheld={name: digest for name, digest in digests.items() if name not in kept},
    )


def _field_salts(item: PackedItem | PartItem, shown: Iterable[str]) -> dict[str, str]:
    """The salts of the fields that are shown, in hexadecimal."""
    if isinstance(item, PartItem):
        return item.salts
    key = bytes.fromhex(item.salt)
    return {name: hmac.digest(key, name.encode("ascii"), "sha256").hex() for name in shown}


def _field_digests(item: PackedItem | PartItem, shown: Mapping[str, Any]) -> dict[str, str]:
    salts = _field_salts(item, shown)
    digests = {name: salted_digest(salts[name], {name: value}) for name, value in shown.items()}
    return digests | (item.withheld if isinstance(item, PartItem) else {})


def salted_digest(salt: str, value: dict[str, Any]) -> str:
    """``sha256(salt || canonical JSON of the value)``, the salt in hexadecimal."""
    return digest_bytes(bytes.fromhex(salt) + plain_json(value))


def plain_json(value: dict[str, Any]) -> bytes:
    """Canonical JSON of texts, whole numbers and truth values under ASCII keys.

    The standard library writes these as RFC 8785 does, in a third of the time.
    """
    return _JSON.encode(value).encode("utf-8")


_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def shown_pictures(items: Iterable[PackItem]) -> dict[str, str]:
    """Pictures of the items that show them: hexadecimal sha256 by path below ``data/``."""
    shown = (shown_fields(item).get("image") for item in items)
    images = (Image.model_validate(image) for image in shown if image)
    return dict(sorted((i.path, i.digest.removeprefix("sha256:")) for i in images))


def render_items(items: Iterable[PackItem]) -> Iterator[bytes]:
    """The lines of ``items.jsonl``."""
    for item in items:
        yield plain_json(to_json(item)) + b"\n"


def parse_item(line: bytes) -> PackItem:
    """Read one line, without its end.

    Raises:
        ValueError: It is none of the three forms of an item.
    """
    with contextlib.suppress(ValueError):
        if len(line) > MAX_QUICK:
            raise ValueError("too long to be read before its values are counted")
        item = _started(line).model_validate_json(line)
        if plain_json(to_json(item)) == line:
            return item
    value = parse_canonical(line)  # says what is wrong with it
    item = _form(value).model_validate(value)
    if canonical_bytes(item) != line:
        raise ValueError("the item has another spelling than its canonical one")
    return item


def _started(line: bytes) -> type[PackedItem] | type[PartItem] | type[WithheldItem]:
    """The form of a canonical line, which its first key tells."""
    if line.startswith(b'{"digest":'):
        return WithheldItem
    return PartItem if line.startswith(b'{"fields":') else PackedItem


def _form(value: object) -> type[PackedItem] | type[PartItem] | type[WithheldItem]:
    if isinstance(value, dict) and "digest" in value:
        return WithheldItem
    return PartItem if isinstance(value, dict) and "fields" in value else PackedItem
