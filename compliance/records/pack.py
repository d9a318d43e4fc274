"""What lies in a pack besides the evidence, and how its JSON is read: strictly.

A line of ``items.jsonl`` holds an item and its salt; or those of its fields that are shown, each
with a salt of its own, and digests of the others; or, where the item is withheld, its digest alone.
The root digest is made from these digests, so it is the same in all three.
"""

import json
from collections import Counter
from typing import Annotated, Any, Literal, NoReturn

import rfc8785
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.bounds import refuse_crowded, refuse_deep
from compliance.records.suite import Identifier, Item

Version = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$")]
"""``MAJOR.MINOR.PATCH``: the subject changed, the measurements changed, only the words changed."""


Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hexadecimal."""

Profile = Literal["public", "deployer", "authority"]
"""For whom a copy of a pack is: how much of it is withheld."""

_FIELDS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(field.rebuild_annotation()) for name, field in Item.model_fields.items()
}
_ALWAYS = frozenset(
    name
    for name, field in Item.model_fields.items()
    if field.is_required() or field.default is not None
)
"""Fields that every item has."""


class PackedItem(Record):
    """A disclosed item."""

    item: Item
    salt: Hex
    """The salts of its fields follow from it. Keeps digests from being guessed from a text."""


class PartItem(Record):
    """An item of which some fields are shown. All fields that it has are named."""

    fields: dict[str, Any]
    """Those that are shown, as the item has them; ``id`` is always among them."""

    salts: dict[str, Hex]
    """Of each field that is shown."""

    withheld: Annotated[dict[str, Digest], Field(min_length=1)]
    """Salted digest of each field that is not shown."""

    @model_validator(mode="after")
    def _whole(self) -> "PartItem":
        named = {*self.fields, *self.withheld}
        if odd := sorted(named ^ named & _FIELDS.keys()):
            raise ValueError(f"an item has no field {odd[0]!r}")
        if missing := sorted(_ALWAYS - named):
            raise ValueError(f"the field {missing[0]!r} is neither shown nor withheld")
        if twice := sorted(self.fields.keys() & self.withheld.keys()):
            raise ValueError(f"the field {twice[0]!r} is shown and withheld")
        if self.fields.keys() != self.salts.keys() or "id" not in self.fields:
            raise ValueError("each field that is shown has its salt, and 'id' is shown")
        for name, value in self.fields.items():
            _check_field(name, value)
        return self


class WithheldItem(Record):
    """An item that is not shown in this pack. The observations still name it by its id."""

    id: Identifier
    digest: Digest
    """The digest of the disclosed item."""


PackItem = PackedItem | PartItem | WithheldItem


class PrivateItem(PackedItem):
    """A line of a run's ``disclosures.jsonl``: an item that its packs withhold."""

    picture: str | None = None
    """The file of its picture in base64."""


class Salts(Record):
    """``salts.json``: what keeps the digests of declared facts from being guessed."""

    declared: dict[str, Hex]
    """Of each declared fact that is shown, by its key."""


class Disclosure(Record):
    """An item, or a part of it, that proves itself against the root digest of any copy."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    pack_id: str
    """The pack it is of, for readers."""

    root_digest: Digest
    item: PackedItem | PartItem
    index: Annotated[int, Field(ge=0)]
    """Place of the item's leaf among those of the root, from 0."""

    size: Annotated[int, Field(ge=1)]
    """Number of the root's leaves."""

    proof: tuple[Hex, ...]
    """Merkle inclusion proof (RFC 9162, section 2.1.3): digests in hexadecimal, leaf first."""


def _check_field(name: str, value: Any) -> None:
    """A field must be what an item could have there, in its one spelling."""
    shape = _FIELDS[name]
    try:
        spelt = shape.dump_python(shape.validate_python(value), mode="json", exclude_none=True)
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors()[0]['msg'].lower()}") from error
    if value is None or spelt != value:
        raise ValueError(f"{name}: absent fields are left out, and defaults are written")


def parse_canonical(data: bytes) -> Any:
    """Read JSON that must be canonical: no NaN, no repeated keys, one spelling for each value.

    Raises:
        ValueError: It is not; the message says why in a few plain words.
    """
    refuse_crowded(data)
    refuse_deep(data)
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


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice!r} appears twice in one object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")
