"""What is signed: an in-toto statement in a DSSE envelope."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from compliance.records.base import Digest, Record
from compliance.records.names import Name
from compliance.records.pack import Profile, Version
from compliance.records.suite import Slug
from compliance.records.trail import UtcTime

PREDICATE_TYPE = "tag:sae-compliance,2026:evidence-pack/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Foreign(Record):
    """A shape that others defined, with their spelling of names."""

    model_config = ConfigDict(
        serialize_by_alias=True, validate_by_name=True, validate_by_alias=True
    )


class SignedFile(Record):
    """One subject of a statement."""

    name: str
    """Path relative to the pack; ``root`` for the root digest."""

    digest: dict[Literal["sha256", "rfc6962Sha256"], Hex]
    """``sha256`` of a file's bytes; ``rfc6962Sha256`` for the root digest, a Merkle root."""


class Predicate(Record):
    """What the signer says of the subjects."""

    pack_id: str
    """``<system>-<version>``."""

    version: Version
    parent_digest: Digest | None = None
    """Root digest of the pack this one follows. Absent: it is the first."""

    root_digest: Digest
    profile: Profile | None = None
    """For whom this copy of the pack is. Absent: it is the original."""

    role: Slug
    """``issuer``, or the role of someone who signed later, such as ``reviewer``."""

    signed_by: Name | None = None
    """Name and function of the responsible person, in their own words."""

    signed_at: UtcTime
    """By the signer's own clock; only a time stamp by somebody else proves it."""


class Statement(_Foreign):
    """in-toto Statement v1."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(
        "https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: Annotated[tuple[SignedFile, ...], Field(min_length=1)]
    predicate_type: Literal["tag:sae-compliance,2026:evidence-pack/v1"] = Field(
        PREDICATE_TYPE, alias="predicateType"
    )
    predicate: Predicate


class Signature(Record):
    """Who signed, and the signature over the envelope's PAE bytes."""

    keyid: Digest
    """sha256 of the public key in SPKI DER form."""

    sig: Base64


class Envelope(_Foreign):
    """DSSE v1. One envelope for each role, since each signs its own time."""

    payload_type: Literal["application/vnd.in-toto+json"] = Field(PAYLOAD_TYPE, alias="payloadType")
    payload: Base64
    """The statement's canonical JSON."""

    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=1)]
