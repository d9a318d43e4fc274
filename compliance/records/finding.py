"""Results and findings: the numbers, and what they show about each planned cell."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from compliance.records.base import Record
from compliance.records.plan import Cell, PlannedMitigation


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


class Influence(Record):
    """Whether changing a concept's features changed what the model says, in one cell.

    It says "influences" and never that a feature is the mechanism.
    """

    cell: Cell
    statement: Literal["influences", "not-shown", "not-measured"]
    """``not-measured``: a number that decides is missing."""

    p: float | None = None
    """Largest of the deciding p values."""

    p_holm: float | None = None
    """The same, Holm-adjusted over the concept's cells that were planned to be changed."""

    result_ids: tuple[str, ...] = ()
    """Results that it rests on."""


class Reduction(Record):
    """What a mitigation study shows in one language. It names all that must be told with it.

    That a rate was reduced is never told without the change's interval, the side effects and the
    over-refusal, so none of these can be left out.
    """

    study: str
    language: str
    statement: Literal["reduced", "increased", "not-shown", "not-measured"]
    """``not-measured``: one of the results is missing, or has no interval."""

    before: str
    after: str
    change: str
    """Result ids: the rate of the behaviour before and after, and the paired difference."""

    over_refusal: Annotated[tuple[str, ...], Field(min_length=3, max_length=3)]
    """Result ids of the same three of what is done too much on hard negatives."""

    side_effects: Annotated[tuple[str, ...], Field(min_length=3)]
    """Result ids: divergence and loss on neutral text, and small tasks."""

    p_holm: float | None = None
    """Of the change, Holm-adjusted over the languages of the study."""

    @model_validator(mode="after")
    def _decided(self) -> "Reduction":
        if self.statement in ("reduced", "increased") and self.p_holm is None:
            raise ValueError(f"{self.statement!r} needs an adjusted p value")
        return self


class Studies(Record):
    """What mitigation studies show: the numbers, and what may be said of them."""

    planned: tuple[PlannedMitigation, ...]
    results: tuple[Result, ...]
    reductions: tuple[Reduction, ...]
