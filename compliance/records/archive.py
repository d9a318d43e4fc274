"""What an archive holds: each pack of a system, every version of it, as OCFL keeps them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from compliance.records.base import SCHEMA_VERSION, Record

Sha512 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
VersionName = Annotated[str, Field(pattern=r"^v[1-9][0-9]{0,5}$")]


class User(Record):
    """Who wrote a version."""

    name: str
    address: str | None = None


class StoredVersion(Record):
    """One version of an OCFL object: the files of one pack as they then were."""

    created: str
    state: dict[Sha512, tuple[str, ...]]
    """Paths, the pack's own folder first, by the digest of their contents."""

    message: str | None = None
    user: User | None = None


class Inventory(Record):
    """``inventory.json`` of an OCFL 1.1 object. Contents that two versions share lie there once."""

    id: str
    type: Literal["https://ocfl.io/1.1/spec/#inventory"] = "https://ocfl.io/1.1/spec/#inventory"
    digestAlgorithm: Literal["sha512"] = "sha512"  # noqa: N815 - the specification's spelling
    head: VersionName
    manifest: dict[Sha512, tuple[str, ...]]
    """Where contents lie, by their digest."""

    versions: dict[VersionName, StoredVersion]


class ArchivedPack(Record):
    """One version in an archive."""

    name: VersionName
    """As OCFL calls it; a pack that was signed again later is there once more."""

    system: str
    pack_id: str
    message: str
    added_at: datetime
    """UTC."""

    files: int
    added_bytes: int
    """What it takes beside the versions before it."""


class ArchiveList(Record):
    """What ``compliance archive list`` prints."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    versions: tuple[ArchivedPack, ...]
    """By system, in the order in which they were added."""
