"""What is written while a model is trained: a history of looks at it with a pack's locked probes.

A history is a file with one record a line: `Began`, and then a `Look` or a `LookFailed` each time.
"""

from typing import Annotated, Literal

from pydantic import Field

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.monitoring import EventTime
from compliance.records.suite import Language, Slug

LookMeasure = Literal["sensitivity", "fpr-benign"]
"""What is tested at a look: alarms among positives, and among benign items."""


class Share(Record):
    """Alarms among some items at the locked cut-off, with Wilson's interval."""

    value: float
    low: float
    high: float
    n: int


class Spread(Record):
    """Scores of some items."""

    low: float
    """10th percentile."""

    median: float
    high: float
    """90th percentile."""

    n: int


class LookChange(Record):
    """How alarms changed since the first look of the history, on the same items."""

    measure: LookMeasure
    difference: float
    """This look less the first."""

    low: float
    high: float
    p: float
    """Exact, two-sided, over groups."""

    p_holm: float
    """Adjusted over everything that is tested at this look."""

    alert: bool


class LookedCell(Record):
    """One concept in one language."""

    concept: Slug
    language: Language
    cut_off: float | None = None
    """As locked. Absent: there is none, and so no alarms."""

    auroc: float | None = None
    """Of positives against hard negatives."""

    positives: Spread | None = None
    hard_negatives: Spread | None = None
    benign: Spread | None = None
    sensitivity: Share | None = None
    hard_alarms: Share | None = None
    false_alarms: Share | None = None
    """Among benign items."""

    changes: tuple[LookChange, ...] = ()
    """Empty in the first look, and once the planned looks are spent."""


class Began(Record):
    """The first line of a history."""

    kind: Literal["began"] = "began"
    schema_version: Literal["1.0"] = SCHEMA_VERSION
    software: str
    at: EventTime
    pack_id: str
    pack: Digest
    """Root digest of the pack whose probes and cut-offs are used."""

    model: str
    """On which they were locked."""

    items: int
    items_digest: Digest
    """Over the items that are read at each look, ordered by id."""

    every: Annotated[int, Field(ge=1)]
    """Steps from one look to the next."""

    looks: Annotated[int, Field(ge=1)]
    """After the first, as many as the training was to have. Later ones are not tested."""

    family_error: float
    """Chance of any alert in the whole training when nothing changes, at the most."""

    level: float
    """Of the intervals, two-sided."""

    untestable: tuple[str, ...] = ()
    """Cells and measures with too few groups for an alert at any look, whatever happens."""


class Look(Record):
    """One look at the model."""

    kind: Literal["look"] = "look"
    at: EventTime
    step: int
    number: int
    """0 is the first of the history, which the others are compared with."""

    seconds: float
    """For which training waited."""

    tested: bool
    cells: tuple[LookedCell, ...]
    alerts: tuple[str, ...] = ()
    """In words."""

    scores: dict[Slug, dict[str, float]] | None = None
    """Only in the first: by concept, the score of each item."""


class LookFailed(Record):
    """A look that could not be had. Training went on."""

    kind: Literal["failed"] = "failed"
    at: EventTime
    step: int
    reason: str
