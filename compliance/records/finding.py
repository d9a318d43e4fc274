"""Results and findings: the numbers, and what they show about each planned cell."""

from enum import StrEnum
from typing import Literal

from compliance.records.base import Record
from compliance.records.plan import Cell


class Result(Record):
    """A named number with its interval. Reports point at it by ``id`` and never copy it."""

    id: str
    """``<cell key>/<name>``, such as ``deception/ja/text/plain/sensitivity``."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """Of the interval, two-sided. Absent: a count or a setting, which has no interval."""

    n: int | None = None
    """Items or pairs the number rests on."""

    successes: int | None = None
    p: float | None = None
    """One-sided, unadjusted, against the condition's limit."""

    method: str
    """Key of the methods chapter, such as ``wilson``."""

    reason: str | None = None
    """Why ``value`` is absent."""


class Verdict(StrEnum):
    """What the evidence shows. Never a legal verdict."""

    NOT_COVERED = "not-covered"
    CONTRADICTED = "contradicted"
    NOT_SUPPORTED = "not-supported"
    SUPPORTED = "supported"
    SUPPORTED_WITH_LIMITS = "supported-with-limits"
    INCONCLUSIVE = "inconclusive"


class Status(StrEnum):
    """What became of one condition."""

    SHOWN = "shown"
    VIOLATED = "violated"
    NOT_SHOWN = "not-shown"
    NOT_MEASURED = "not-measured"
    NOT_APPLICABLE = "not-applicable"


class Condition(Record):
    """One rule of the plan applied to one cell."""

    condition: str
    kind: Literal["primary", "secondary", "gate"]
    status: Status
    result_id: str | None = None
    limit: float | None = None
    p: float | None = None
    """One-sided, unadjusted."""


class SettingVerdict(Record):
    """The verdict that another way to read the probe would have given."""

    setting: str
    verdict: Verdict
    reason: str


class Finding(Record):
    """A verdict on one cell and the results it rests on.

    A finding points at results and never copies their numbers, so that every number in a
    report has exactly one source.
    """

    cell: Cell
    verdict: Verdict = Verdict.NOT_COVERED
    """Missing evidence keeps the default; it never turns into a pass."""

    reason: str
    """The rule that matched, as a key of the report's message catalog."""

    conditions: tuple[Condition, ...] = ()
    p_holm: float | None = None
    """Largest p of the primary conditions, Holm-adjusted over the concept's planned cells."""

    p_holm_all: float | None = None
    """The same with the secondary conditions."""

    attainable: bool | None = None
    """Whether perfect outcomes at these sizes could have reached ``supported``."""

    settings: tuple[SettingVerdict, ...] = ()
    """Verdicts under the plan's other settings. Nothing is decided by them."""

    qualifiers: tuple[str, ...] = ()
    """Such as ``machine-translated``: what every sentence about the cell must add."""

    result_ids: tuple[str, ...] = ()
    """Results the verdict rests on, in the order the text discusses them."""
