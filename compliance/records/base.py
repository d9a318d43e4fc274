"""What every stored value has in common: frozen, closed, and one way to bytes.

    class Cell(Record):
        concept: str

    digest_of(Cell(concept="deception"))    # 'sha256:...'

JSON that is hashed is canonical (RFC 8785) and has no NaN: an absent number is absent.
"""

import hashlib
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = "1.0"
"""Version of the shapes of stored roots; its first number changes when a reader must change."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen value that is stored, signed and read back. Unknown fields are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def to_json(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, without absent fields."""
    return record.model_dump(mode="json", exclude_none=True)


def canonical_bytes(value: Record | dict[str, Any] | list[Any]) -> bytes:
    """Canonical JSON (RFC 8785) of a record or of plain JSON values."""
    return rfc8785.dumps(to_json(value) if isinstance(value, Record) else value)


def digest_bytes(data: bytes) -> str:
    """``sha256:`` and the hexadecimal digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: Record | dict[str, Any] | list[Any]) -> str:
    """Digest of the canonical JSON of ``value``."""
    return digest_bytes(canonical_bytes(value))
