"""One line of the audit trail, how moments are written, and proofs about the trail."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from compliance.records.base import Digest, Record
from compliance.records.names import Name
from compliance.records.suite import Slug

UtcTime = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""Such as ``2026-11-22T15:42:43Z``."""


def utc_text(moment: datetime) -> str:
    """Write a moment in UTC to the second. One without a time zone is a ``ValueError``."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_utc(text: str) -> datetime:
    """Read what `utc_text` writes. A moment that no calendar has is a ``ValueError``."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


class Entry(Record):
    """One thing that happened. Its line is its canonical JSON.

    Kinds used by an audit, in their usual order: ``suite-registered``, ``plan-frozen``,
    ``run-started``, ``run-finished`` (or ``fit-carried``, from another pack), ``locked``,
    ``confirmation-opened``, ``assessed``, ``superseded``, ``report-built``. Stated by persons:
    ``deviation``, ``reviewed``, ``approved``, ``released``, ``superseded``, ``withdrawn``. By
    outside means: ``time-stamped``, ``key-changed``; and ``torn-tail``, written by the trail
    itself.
    """

    sequence: Annotated[int, Field(ge=1)]
    """From 1, without gaps: the number of its line."""

    kind: Slug
    at: UtcTime
    """When it was written down, by the writer's own clock."""

    actor: Annotated[Name, Field(min_length=1, max_length=200)]
    """Who or what did it: a person, or the program and its version."""

    facts: dict[str, JsonValue]
    """``plan-frozen`` and ``locked`` hold the whole record under ``record``, its digest under
    ``digest``, so that the trail is a second carrier of what was frozen. Entries of a run hold its
    name under ``run``: the first 16 hexadecimal digits of its plan's digest."""

    previous: Digest
    """Of the bytes of the line before; of no bytes at all in the first."""

    digest: Digest
    """Of this entry's canonical JSON without this field."""


class InclusionProof(Record):
    """Shows that an entry stands in a trail whose head is known (RFC 9162, section 2.1.3)."""

    kind: Literal["inclusion"] = "inclusion"
    entry: Entry
    size: Annotated[int, Field(ge=1)]
    """Lines of the trail."""

    root: Digest
    """Their Merkle root, as a checkpoint of this size has it."""

    hashes: Annotated[tuple[Digest, ...], Field(max_length=64)]
    """From the entry's sibling up to the root's children."""


class ConsistencyProof(Record):
    """Shows that a trail begins with all lines of an earlier one (RFC 9162, section 2.1.4)."""

    kind: Literal["consistency"] = "consistency"
    first_size: Annotated[int, Field(ge=0)]
    """Lines of the earlier trail."""

    first_root: Digest
    size: Annotated[int, Field(ge=0)]
    root: Digest
    hashes: Annotated[tuple[Digest, ...], Field(max_length=64)]
    """In the order of the RFC."""
