"""Items that are disclosed later, each with a proof that it belongs to a root digest.

::

    data = canonical_bytes(disclose(leaves, items, "d-1-ja", pack_id=pack_id))
    check_disclosure(parse_disclosure(data), root)

A disclosure needs no pack: the root digest that a statement signs is enough. So it proves itself
against every copy, the one that withholds the item included.

Restricted items are in no pack. What disclosing them needs lies in a private file beside the run,
``disclosures.jsonl``: a line for each, canonical, with the item, its salt and its picture.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence

from pydantic import ValidationError

from compliance.errors import PackError, TrailError, VerificationError
from compliance.packs.items import (
    item_digest,
    item_id,
    salted,
    shown_fields,
    withhold_fields,
)
from compliance.packs.reading import shape_problem
from compliance.packs.roots import item_leaf
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.pack import (
    Disclosure,
    PackedItem,
    PackItem,
    PartItem,
    PrivateItem,
    WithheldItem,
    parse_canonical,
)
from compliance.records.suite import Image, Item
from compliance.trail import inclusion_proof, merkle_root, verify_inclusion


def disclose(
    leaves: Sequence[bytes],
    items: Sequence[PackItem],
    name: str,
    *,
    pack_id: str,
    field: str | None = None,
    private: PackedItem | None = None,
) -> Disclosure:
    """Prove that an item, or one of its fields, belongs to a root digest.

    Args:
        leaves: Those of the root digest; the last of them are the items'.
        items: Of the pack.
        name: The item's id.
        pack_id: Name of the pack, for readers.
        field: Name of the one field to disclose beside the id. None: all that are shown.
        private: The item, where the pack withholds it.

    Raises:
        PackError: There is no such item or field, the pack does not show it, or what is given is
            not the item of the pack.
    """
    found = [place for place, item in enumerate(items) if item_id(item) == name]
    if not found:
        raise PackError(f"there is no item {name!r} in {pack_id}")
    item = _shown(items[found[0]], private, field)
    index = len(leaves) - len(items) + found[0]
    return Disclosure(
        pack_id=pack_id,
        root_digest="sha256:" + merkle_root(leaves).hex(),
        item=item,
        index=index,
        size=len(leaves),
        proof=tuple(node.hex() for node in inclusion_proof(leaves, index)),
    )


def _shown(item: PackItem, private: PackedItem | None, field: str | None) -> PackedItem | PartItem:
    name, source = item_id(item), private or item
    if item_digest(source) != item_digest(item):
        raise PackError(f"item {name!r}: its disclosure is not of the item in this pack")
    if isinstance(source, WithheldItem):
        raise PackError(
            f"item {name!r} is withheld from this pack",
            hint="give the run's disclosures.jsonl with --disclosures, or the original pack",
        )
    if field is None:
        return source
    fields = shown_fields(source)
    if field not in fields:
        raise PackError(
            f"item {name!r} shows no field {field!r}", hint=f"it shows {', '.join(sorted(fields))}"
        )
    return withhold_fields(source, fields.keys() - {"id", field})


def parse_disclosure(data: bytes) -> Disclosure:
    """Read a disclosure.

    Raises:
        ValueError: It is not canonical JSON, or of another shape.
    """
    try:
        found = Disclosure.model_validate(parse_canonical(data))
    except ValidationError as error:
        raise ValueError(shape_problem(error)) from error
    if canonical_bytes(found) != data:
        raise ValueError("the disclosure has another spelling than its canonical one")
    return found


def check_disclosure(disclosure: Disclosure, root: str) -> None:
    """Check that what is disclosed belongs to a root digest, with its ``sha256:``.

    Raises:
        VerificationError: It does not.
    """
    name = item_id(disclosure.item)
    if disclosure.root_digest != root:
        raise VerificationError(
            f"item {name!r} is disclosed of the root digest {disclosure.root_digest}, not of {root}"
        )
    try:
        verify_inclusion(
            item_leaf(disclosure.item),
            disclosure.index,
            disclosure.size,
            [bytes.fromhex(node) for node in disclosure.proof],
            bytes.fromhex(root.removeprefix("sha256:")),
        )
    except TrailError as error:
        raise VerificationError(
            f"item {name!r} is not under the root digest {root}: {error}"
        ) from error


def render_private(
    items: Iterable[Item], secret: bytes, picture: Callable[[Image], bytes]
) -> Iterator[bytes]:
    """The lines of a run's ``disclosures.jsonl``.

    Args:
        items: Those that its packs withhold.
        secret: `Signer.salt_secret` of the key that signs them.
        picture: Gives the file of a picture.
    """
    for item in items:
        data = picture(item.image) if item.image else None
        encoded = None if data is None else base64.b64encode(data).decode("ascii")
        line = PrivateItem(item=item, salt=salted(item, secret).salt, picture=encoded)
        yield canonical_bytes(line) + b"\n"


def parse_private(data: bytes) -> tuple[dict[str, PackedItem], dict[str, bytes]]:
    """Read a run's ``disclosures.jsonl``.

    Returns:
        Items by id, and the files of their pictures by `Image.path`.

    Raises:
        ValueError: It is not what `render_private` writes; the message names the line.
    """
    items, pictures = {}, {}
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            read = PrivateItem.model_validate(parse_canonical(line))
            items[read.item.id] = PackedItem(item=read.item, salt=read.salt)
            if read.item.image:
                pictures[read.item.image.path] = _picture(read.item.image, read.picture or "")
        except ValidationError as error:
            raise ValueError(f"line {number}: {shape_problem(error)}") from error
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return items, pictures


def _picture(image: Image, text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("the picture is not base64") from error
    if digest_bytes(data) != image.digest:
        raise ValueError("the picture is not the one that the item names")
    return data
