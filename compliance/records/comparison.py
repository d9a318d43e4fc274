"""What differs between two packs of one system, and how much of it a build may tolerate.

Differences are always now less before. A measure is compared on the items that both packs saw, so
its two values here need not be those that either pack states.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.finding import Verdict
from compliance.records.pack import Version
from compliance.records.plan import Cell

Measure = Literal[
    "auroc-hard", "auroc-benign", "sensitivity", "fpr-benign", "fpr-hard", "gap", "gap-to-text"
]
"""Results of a cell that are compared; docs/reference/results.md says what each is."""

LOWER_IS_BETTER = ("fpr-benign", "fpr-hard")

LEAST_GROUPS = 10
"""Shared groups below which nothing is compared: with fewer, even a change of all of them would
hardly stand out among a few cells."""


class Reading(StrEnum):
    """What a comparison of one measure in one cell shows."""

    WORSE = "worse"
    BETTER = "better"
    NO_CHANGE = "no-change-shown"
    NOT_COMPARABLE = "not-comparable"


class WhyNot(StrEnum):
    """Why a measure of a cell is not compared. The first that applies, in this order."""

    NOT_PLANNED_BEFORE = "not-planned-before"
    NOT_PLANNED_NOW = "not-planned-now"
    OTHER_CONCEPT = "other-concept"
    OTHER_LABEL = "other-label"
    ABSENT_BEFORE = "absent-before"
    ABSENT_NOW = "absent-now"
    UNREADABLE = "unreadable"
    OTHER_ITEMS = "other-items"
    FEW_GROUPS = "few-groups"


NEW_NOW = (WhyNot.NOT_PLANNED_BEFORE, WhyNot.ABSENT_BEFORE)
"""Reasons that say that something was added, and nothing lost."""


class FieldChange(Record):
    """A field that differs, as text. Absent on a side: it is not there."""

    field: str
    before: str | None = None
    now: str | None = None


class KeyChange(Record):
    """A declared fact that differs. Its words stand in the packs, where they may be withheld."""

    key: str
    change: Literal["added", "removed", "changed", "withheld"]
    """``withheld``: one side withholds it, so that nobody can tell."""


class VerdictChange(Record):
    """The verdict of a cell that either pack planned. Absent: that pack did not plan it."""

    cell: Cell
    before: Verdict | None = None
    now: Verdict | None = None


class MeasureChange(Record):
    """One measure of one cell, on the items that both packs saw."""

    cell: Cell
    measure: Measure
    reading: Reading
    reason: WhyNot | None = None
    """Only where it is not comparable."""

    items_before: int = 0
    """Items that the measure rests on in the earlier pack."""

    items_now: int = 0
    items_shared: int = 0
    """Of one id, group and label in both, and not known to differ in contents."""

    items_changed: int = 0
    """Of one id in both, and another group, label or contents. They are left out."""

    items_unchecked: int = 0
    """Of the shared ones those whose contents could not be compared, since one side withholds
    them."""

    groups: int = 0
    """Independent units that were resampled: shared groups, of a ranking those of the smaller
    side."""

    before: float | None = None
    """On the shared items, at the earlier pack's own locked cut-off."""

    now: float | None = None
    difference: float | None = None
    """``now`` less ``before``."""

    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided, unadjusted."""

    p_holm: float | None = None
    """Adjusted by Holm over all cells in which the measure is compared."""

    method: str | None = None
    """``paired-bootstrap``, ``auroc-difference-bootstrap``, or ``identical`` where every score and
    cut-off is the same."""

    @model_validator(mode="after")
    def _whole(self) -> "MeasureChange":
        numbers = (self.before, self.now, self.difference, self.low, self.high, self.p,
                   self.p_holm, self.method)  # fmt: skip
        there = [number is not None for number in numbers]
        if any(there) != all(there):
            raise ValueError("a comparison has all of its numbers, or none")
        compared = self.reading is not Reading.NOT_COMPARABLE
        if compared != all(there) or compared == (self.reason is not None):
            raise ValueError("what is not compared has a reason, and what is has numbers")
        return self


class Comparison(Record):
    """What differs between two assessments, and the tests of their main numbers."""

    subject: tuple[FieldChange, ...] = ()
    """System, model and SAEs."""

    suites: tuple[FieldChange, ...] = ()
    plan: tuple[FieldChange, ...] = ()
    """Every other key of the plan, claims and seed among them."""

    probes: tuple[FieldChange, ...] = ()
    """The features that stand for each concept."""

    law: tuple[FieldChange, ...] = ()
    """Provisions, mapping and legal act."""

    declared: tuple[KeyChange, ...] = ()
    """Declared facts that differ, without their words."""

    verdicts: tuple[VerdictChange, ...]
    """Every cell that either pack planned, also where the verdict is the same."""

    measures: tuple[MeasureChange, ...]
    """By measure and then by cell; a measure that neither pack has in a cell has no entry."""

    level: float
    """Of the intervals, two-sided. This and the next three are the later plan's."""

    family_error: float
    draws: int
    seed: int
    least_groups: int = LEAST_GROUPS


class VersionChange(Record):
    """The version that a pack must have, and what decided it."""

    version: Version
    change: Literal["first", "subject", "measurements", "words"]
    """``subject`` moves MAJOR, ``measurements`` MINOR, ``words`` PATCH."""

    reasons: tuple[str, ...]
    """Paths in ``evidence.json`` that differ and moved this number, such as ``plan.seed``."""

    @property
    def line(self) -> str:
        """Version and reasons as one line of text."""
        if self.change == "first":
            return f"version {self.version}: the first"
        named = ", ".join(self.reasons) or "nothing in the evidence; packed again"
        return f"version {self.version}: {self.change} changed ({named})"


class PackName(Record):
    """Which pack it is."""

    pack_id: str
    version: Version
    root_digest: Digest


class PackDiff(Record):
    """What ``compliance diff`` found."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    old: PackName
    new: PackName
    follows: bool
    """Whether the later pack names the earlier one as its parent."""

    decided: VersionChange
    """The version that the rules give the later pack when it follows the earlier one."""

    comparison: Comparison


Mode = Literal["point", "interval"]


class Tolerance(Record):
    """How much worse one measure may become in any cell."""

    allowed: Annotated[float, Field(ge=0, le=2)] = 0.0
    """In the unit of the measure: 0.05 of a sensitivity are five percentage points."""

    mode: Mode | None = None
    """``point``: the difference itself is held against ``allowed``. ``interval``: the worse end of
    its interval is, so what is not shown to be within it fails. Absent: the mode of the file."""


class AllowedVerdict(Record):
    """A worse verdict that is tolerated in every cell."""

    before: Verdict
    now: Verdict


ALL_MEASURES: dict[Measure, Tolerance] = {
    "auroc-hard": Tolerance(),
    "auroc-benign": Tolerance(),
    "sensitivity": Tolerance(),
    "fpr-benign": Tolerance(),
    "fpr-hard": Tolerance(),
    "gap": Tolerance(),
    "gap-to-text": Tolerance(),
}


class Tolerances(Record):
    """``tolerances.yaml``: what a build may lose. Without the file nothing is tolerated."""

    mode: Mode = "point"
    measures: dict[Measure, Tolerance] = ALL_MEASURES
    """A file that gives this names every measure that is held; others are listed as not held."""

    allowed_verdicts: tuple[AllowedVerdict, ...] = ()
    not_comparable: Literal["fail", "ignore"] = "fail"
    """What a cell that cannot be compared counts as; one that only the later pack has never
    fails."""


class Violation(Record):
    """One line for a person: what is worse than declared."""

    cell: str
    """The cell's key."""

    measure: str
    """A measure, or ``verdict``."""

    message: str


class Gate(Record):
    """What ``compliance gate`` found."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    old: PackName
    new: PackName
    passed: bool | None = None
    """Absent: nothing could be compared, so nothing can be said."""

    violations: tuple[Violation, ...]
    held: int
    """Comparisons that were held against a tolerance."""

    not_held: tuple[str, ...]
    """Measures that were compared and have no tolerance."""

    ignored: int
    """Cells and measures that could not be compared and were left out, since the file says so or
    they are new."""

    tolerances: Tolerances
