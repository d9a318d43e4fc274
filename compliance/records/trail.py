"""One line of the audit trail, and how moments are written."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, JsonValue

from compliance.records.base import Digest, Record
from compliance.records.suite import Slug

UtcTime = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""Such as ``2026-11-22T15:42:43Z``."""


def utc_text(moment: datetime) -> str:
    """Write a moment in UTC to the second. One without a time zone is a ``ValueError``."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Entry(Record):
    """One thing that happened. Its line is its canonical JSON.

    Kinds used by an audit, in their usual order: ``suite-registered``, ``plan-frozen``,
    ``run-started``, ``run-finished``, ``locked``, ``confirmation-opened``,
    ``assessed``, ``report-built``; and ``torn-tail``, written by the trail itself.
    """

    sequence: Annotated[int, Field(ge=1)]
    """From 1, without gaps: the number of its line."""

    kind: Slug
    at: UtcTime
    """When it was written down, by the writer's own clock."""

    actor: Annotated[str, Field(min_length=1, max_length=200)]
    """Who or what did it: a person, or the program and its version."""

    facts: dict[str, JsonValue]
    """``plan-frozen`` and ``locked`` hold the whole record under ``record``, its digest under
    ``digest``, so that the trail is a second carrier of what was frozen."""

    previous: Digest
    """Of the bytes of the line before; of no bytes at all in the first."""

    digest: Digest
    """Of this entry's canonical JSON without this field."""
