"""Test items in a pack, shown or withheld, and the root digest that stays the same either way.

The root digest is the RFC 6962 Merkle root of these leaves, in this order, each plain text::

    evidence.json sha256:<digest of the file>
    observations/<path> sha256:<digest of the file>      one each, sorted by path
    items.jsonl sha256:<salted digest>                   one for each item, sorted by id

A picture has no leaf of its own: its item holds its digest.

The salted digest of an item is ``sha256(salt || canonical JSON of the item)``. The salt is
the sha256 of the signer's ed25519 signature over a fixed text and the item's digest: the same in
every build with one key, and nobody without that key can guess it. Rendered files are no leaves,
so a pack with items withheld has the same root as the full one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import PackError
from compliance.records.base import canonical_bytes
from compliance.records.pack import PackedItem, WithheldItem, parse_canonical
from compliance.records.suite import Item
from compliance.trail import merkle_root

_SALT_CONTEXT = b"sae-compliance item salt v1\n"

PackItem = PackedItem | WithheldItem


def pack_items(
    items: Iterable[Item], *, withheld: Collection[str], key: Ed25519PrivateKey
) -> tuple[PackItem, ...]:
    """Salt each item and withhold the texts of those named; ordered by id.

    Raises:
        PackError: Two items have one id, so that observations could not be told apart; or an item
            to be withheld is not there, which may be a slip that would disclose another.
    """
    packed: dict[str, PackItem] = {}
    for item in items:
        if item.id in packed:
            raise PackError(
                f"item {item.id!r} is there twice",
                hint="ids must differ between all suites of an audit",
            )
        shown = PackedItem(item=item, salt=_salt(item, key).hex())
        hidden = WithheldItem(id=item.id, digest=salted_digest(shown))
        packed[item.id] = hidden if item.id in withheld else shown
    if unknown := sorted(set(withheld) - set(packed)):
        raise PackError(f"item {unknown[0]!r} is to be withheld, and there is no such item")
    return tuple(packed[name] for name in sorted(packed))


def item_id(item: PackItem) -> str:
    """The id that observations use."""
    return item.id if isinstance(item, WithheldItem) else item.item.id


def salted_digest(item: PackItem) -> str:
    """The digest that goes into the root; equal for an item shown and withheld."""
    if isinstance(item, WithheldItem):
        return item.digest
    salted = bytes.fromhex(item.salt) + canonical_bytes(item.item)
    return "sha256:" + hashlib.sha256(salted).hexdigest()


def shown_pictures(items: Iterable[PackItem]) -> dict[str, str]:
    """Pictures of the items that are shown: hexadecimal sha256 by path below ``data/``."""
    images = (item.item.image for item in items if isinstance(item, PackedItem))
    found = {image.path: image.digest.removeprefix("sha256:") for image in images if image}
    return dict(sorted(found.items()))


def root_digest(evidence: str, observations: Mapping[str, str], items: Iterable[PackItem]) -> str:
    """The root digest, from digests with their ``sha256:`` and paths below ``observations/``."""
    leaves = [f"evidence.json {evidence}"]
    leaves += [f"observations/{path} {observations[path]}" for path in sorted(observations)]
    leaves += [f"items.jsonl {salted_digest(item)}" for item in items]
    return "sha256:" + merkle_root([leaf.encode("utf-8") for leaf in leaves]).hex()


def render_items(items: Iterable[PackItem]) -> Iterator[bytes]:
    """The lines of ``items.jsonl``."""
    for item in items:
        yield canonical_bytes(item) + b"\n"


def parse_item(line: bytes) -> PackItem:
    """Read one line, without its end.

    Raises:
        ValueError: It is neither an item with its salt nor a withheld item.
    """
    value = parse_canonical(line)
    shape = WithheldItem if isinstance(value, dict) and "digest" in value else PackedItem
    item = shape.model_validate(value)
    if canonical_bytes(item) != line:
        raise ValueError("the item has another spelling than its canonical one")
    return item


def _salt(item: Item, key: Ed25519PrivateKey) -> bytes:
    digest = hashlib.sha256(canonical_bytes(item)).digest()
    return hashlib.sha256(key.sign(_SALT_CONTEXT + digest)).digest()
