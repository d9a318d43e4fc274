"""What is written while a model serves: the policy of an event log, and its events.

A log is a folder of files with one event a line. The events of one process are a chain: each holds
the digest of the line before it, also over the end of a file. No event holds words, unless the
policy asks for them.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from compliance.records.audit import Pooling
from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.suite import Language, Line, Region, Slug

LEAST_DAYS = 183
"""Six months, the longest they can be."""

EventTime = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")
]
"""Such as ``2026-11-22T15:42:43.018Z``."""

SaltedDigest = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
RequestId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
FileName = Annotated[str, Field(pattern=r"^events-[0-9]{8}T[0-9]{6}Z-[0-9]+-[0-9a-f]{16}-[0-9]{6}"
                                r"\.jsonl$")]  # fmt: skip
"""``events-<when it was begun>-<process>-<chain>-<number>.jsonl``."""

Phase = Literal["prefill", "generation"]


def event_time(seconds: float) -> str:
    """Write a moment, in seconds since 1970, in UTC to the millisecond, rounded down."""
    milliseconds = int(seconds * 1000)
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def parse_event_time(text: str) -> datetime:
    """Read what `event_time` writes. A moment that no calendar has is a ``ValueError``."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


class LogPolicy(Record):
    """How long events are kept, how much disk they may take, and whether they hold words."""

    retention_days: Annotated[int, Field(ge=LEAST_DAYS, le=36_600)] = LEAST_DAYS
    """Files are removed once their newest event is older; before that only for ``max_bytes``."""

    max_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 30
    """Of the folder. The oldest files are removed to keep it, and an event says so each time."""

    max_file_bytes: Annotated[int, Field(ge=1 << 14, le=1 << 26)] = 1 << 24
    """Of one file; a new one is begun before it would be longer."""

    max_file_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 24
    """A new file is begun after so many hours, at its next event."""

    text: bool = False
    """Whether events hold the words that were read. ``False``: salted digests alone."""

    @model_validator(mode="after")
    def _several_files(self) -> "LogPolicy":
        if self.max_bytes < 4 * self.max_file_bytes:
            raise ValueError(
                f"max_bytes: {self.max_bytes}, expected four times max_file_bytes at least, which "
                f"is {self.max_file_bytes}"
            )
        return self


class Opened(Record):
    """The first event of every file."""

    kind: Literal["opened"] = "opened"
    schema_version: Literal["1.0"] = SCHEMA_VERSION
    software: Line
    """Name and version of what writes."""

    process: Annotated[int, Field(ge=1)]
    chain: RequestId
    """Drawn at random when the process began to write."""

    file: Annotated[int, Field(ge=1)]
    """Number of the file in its chain, from 1."""

    policy: LogPolicy


class ProbeScore(Record):
    """One locked probe on what was read so far."""

    concept: Slug
    region: Region | Literal["all"]
    """Whose tokens were read; ``all`` where it is not known whose they are."""

    pooling: Pooling
    score: float | None = None
    """Absent where there is no token of the region."""

    cut_off: float | None = None
    """Of the concept in the request's language, from the pack's lock. Absent: ``reason``."""

    alert: bool = False
    """Whether the score is strictly above the cut-off."""

    reason: Line | None = None
    """Why there is no score, or no cut-off that applies to it."""


class Turn(Record):
    """Words of one turn, where the policy asks for them."""

    role: Line
    content: str


class Observed(Record):
    """What the probes saw of one sequence, at the end of its prompt or of its reply.

    The later one covers the whole sequence: prompt and reply, as the lock's scores do.
    """

    kind: Literal["observed"] = "observed"
    request: RequestId
    """Drawn at random; the events of one sequence share it."""

    phase: Phase
    complete: bool
    """Whether nothing more is to come of this sequence. Rates count these events alone."""

    model: Digest
    """Of the weights that served."""

    pack: Digest
    """Root digest of the pack that locked the probes."""

    another_model: Literal[True] | None = None
    """The serving model is not the one that the pack measured, so that cut-offs are borrowed."""

    item: SaltedDigest | None = None
    """HMAC-SHA256 of the input under the key beside the log."""

    language: Language | None = None
    """As it was declared."""

    declared: bool
    """Whether the request was declared, so that it is known whose words are whose."""

    tokens: Annotated[int, Field(ge=0)]
    """That the model was run on, without padding."""

    scores: tuple[ProbeScore, ...]
    """In the order of the pack's probes."""

    words: tuple[Turn, ...] | None = None
    """Only where the policy asks for text."""

    @property
    def alerts(self) -> tuple[str, ...]:
        """Concepts whose score lies above their cut-off."""
        return tuple(score.concept for score in self.scores if score.alert)


class Failed(Record):
    """The sensor could not read a sequence; serving went on."""

    kind: Literal["failed-sensor"] = "failed-sensor"
    request: RequestId
    model: Digest
    pack: Digest
    another_model: Literal[True] | None = None
    language: Language | None = None
    reason: Line
    """Never quotes what was read."""


class Gap(Record):
    """Events that were not written."""

    kind: Literal["gap"] = "gap"
    dropped: Annotated[int, Field(ge=1)]
    reason: Literal["too-many-waiting", "disk-refused", "bound-reached"]
    error: Line | None = None
    """What the disk said last."""

    since: EventTime
    """When the first of them happened."""


class Removed(Record):
    """A file is removed after this event."""

    kind: Literal["removed"] = "removed"
    file: FileName
    events: Annotated[int, Field(ge=0)]
    """Whole lines."""

    last: Digest
    """Of the bytes of its last whole line, which the next file of its chain follows."""

    newest: EventTime | None = None
    """Time of its last event; absent where it cannot be read."""

    reason: Literal["retention-over", "bound-reached"]


class ClockChanged(Record):
    """The system's clock moved against the monotonic one."""

    kind: Literal["clock-changed"] = "clock-changed"
    by_ms: int
    """Below zero: it was set back."""


class Closed(Record):
    """The last event of a chain whose process ended in good order."""

    kind: Literal["closed"] = "closed"


What = Opened | Observed | Failed | Gap | Removed | ClockChanged | Closed


class Event(Record):
    """One line of a log."""

    sequence: Annotated[int, Field(ge=1)]
    """From 1 in each chain, without gaps."""

    at: EventTime
    """When it happened, by the system's clock."""

    elapsed_ms: Annotated[int, Field(ge=0)]
    """Milliseconds of the monotonic clock since the chain began; it never goes back."""

    previous: Digest
    """Of the bytes of the line before, without its end; of no bytes at all in the first."""

    digest: Digest
    """Of this event's canonical JSON without this field."""

    what: Annotated[What, Field(discriminator="kind")]
