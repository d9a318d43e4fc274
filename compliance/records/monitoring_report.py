"""What the log of a watched model shows, and what people said of its alerts.

A report counts sequences that came to their end, of the pack that it is made for. A queue has a row
for each alert; it names its input by a salted digest and holds no words until a reviewer adds some.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.monitoring import EventTime, RequestId, SaltedDigest, parse_event_time
from compliance.records.names import Name, check_cell, check_name
from compliance.records.suite import MAX_TEXT, Language, Line, Slug

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Rate(Record):
    """A share with Wilson's interval."""

    successes: Count
    n: Annotated[int, Field(ge=1)]
    value: Share
    low: Share
    high: Share


class Drift(Record):
    """Scores of a cell's traffic held against those that its cut-off was set on."""

    distance: Share
    """Largest gap between the two distribution functions (Kolmogorov and Smirnov)."""

    at: float
    """The score where it is."""

    below_traffic: Share
    """Share of traffic with a score of ``at`` or less."""

    below_calibration: Share
    calibration: Annotated[int, Field(ge=1)]
    """Benign items that the cut-off was set on."""

    p: Share
    """Two-sided, of the null that both are of one distribution."""

    p_holm: Share
    """The same, adjusted over all cells of the report."""

    method: Literal["exact", "asymptotic"]
    differs: bool
    """Whether ``p_holm`` is at most the family's error."""


class WatchedCell(Record):
    """One concept in one language, as one model was seen."""

    model: Digest
    concept: Slug
    language: Language
    cut_off: float | None = None
    """Of the pack's lock. Absent: it has none, and nothing can alarm."""

    inputs: Count
    """Different inputs among those declared; fewer than sequences where inputs come again."""

    alerts: Rate | None = None
    """Of all sequences with a score and the cut-off. Absent: there were none."""

    drift: Drift | None = None
    reason: Line | None = None
    """Why there is no rate, or no drift."""


class ModelSeen(Record):
    """A model that served, by its weights."""

    model: Digest
    sequences: Count
    """That came to their end."""

    another: bool
    """It is not the model that the pack measured; cut-offs are borrowed."""


class OtherPack(Record):
    """Sequences watched with the probes of another pack; they are counted here and nowhere else."""

    pack: Digest
    sequences: Count


class Reasoned(Record):
    """How often something happened for one reason."""

    reason: Line
    count: Count


class ChainHead(Record):
    """A chain that was read, by which it can later be seen that nothing was cut off."""

    log: Line
    chain: RequestId
    first: Annotated[int, Field(ge=1)]
    last: Count
    head: Digest
    closed: bool
    damaged: bool
    """Something in it was changed: none of its events is counted."""


class ReviewedCell(Record):
    """What people decided about alerts of one concept in one language."""

    concept: Slug
    language: Language
    true_alerts: Count
    false_alerts: Count
    unsure: Count
    open: Count
    """Nobody has decided."""

    precision: Rate | None = None
    """True alerts among those decided as true or false. Absent: none was."""


class MonitoringReport(Record):
    """What the event logs of a watched model show, for one pack."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    pack: Digest
    """Root digest of the pack whose probes watched."""

    pack_id: str
    model: Digest
    """Weights that the pack measured."""

    damage: tuple[Line, ...] = ()
    gaps: tuple[Line, ...] = ()
    """What the logs themselves say is missing."""

    dropped: Count
    """Events that are known to be missing."""

    chains: Annotated[tuple[ChainHead, ...], Field(min_length=1)]
    since: EventTime | None = None
    """Time of the first event of a sequence. Absent: there is none."""

    until: EventTime | None = None
    sequences: Count
    """That came to their end, of this pack."""

    undeclared: Count
    """Of these: nobody said whose words are whose."""

    without_language: Count
    """Of these: in no language, or in one that the pack has no cut-off for."""

    unfinished: Count
    """Requests whose prompt was seen, and whose end was not."""

    failures: Count
    """Sequences that the sensor could not read."""

    failed_for: tuple[Reasoned, ...] = ()
    without_cut_off: tuple[Reasoned, ...] = ()
    """Scores that no cut-off was applied to."""

    contradictions: Count
    """Scores that are written with another cut-off or alert than the pack's lock gives. They are
    counted here and nowhere else."""

    clock_changes: Count
    models: tuple[ModelSeen, ...] = ()
    other_packs: tuple[OtherPack, ...] = ()
    level: Share
    """Of the intervals."""

    alpha: Share
    """Share of harmless items that cut-offs were set to let alarm, at most."""

    family_error: Share
    tests: Count
    """Cells over which p values are adjusted, those that could not be tested among them."""

    cells: tuple[WatchedCell, ...] = ()
    reviewed: tuple[ReviewedCell, ...] | None = None
    """Absent: no queue was given."""

    cannot_show: tuple[Line, ...]


Decision = Literal["true-alert", "false-alert", "unsure"]
DECISIONS: tuple[Decision, ...] = ("true-alert", "false-alert", "unsure")


class QueueRow(Record):
    """One alert, and what a reviewer decided about it."""

    request: RequestId
    at: EventTime
    concept: Slug
    language: Language
    score: float
    cut_off: float
    item: SaltedDigest | None = None
    model: Digest
    pack: Digest
    decision: Decision | None = None
    reviewer: Annotated[Name, Field(min_length=1, max_length=200)] | None = None
    date: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = None
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    """The user's words, where the reviewer has them and wants them in a suite."""

    @field_validator("at")
    @classmethod
    def _is_a_moment(cls, at: str) -> str:
        parse_event_time(at)
        return at

    @field_validator("reviewer")
    @classmethod
    def _is_a_cell(cls, reviewer: str | None) -> str | None:
        """It goes into a suite's items, which are shown in tables."""
        return None if reviewer is None else check_cell(check_name(reviewer))


class Unused(Record):
    """A row of a queue that gives no item, and why."""

    row: Annotated[int, Field(ge=1)]
    request: RequestId
    concept: Slug
    reason: Line


class Labels(Record):
    """What flowed back of a queue."""

    suite: str | None = None
    """Name of the suite that was written. Absent: no row gives an item."""

    items: Count
    unused: tuple[Unused, ...] = ()
    reviewed: tuple[ReviewedCell, ...]
