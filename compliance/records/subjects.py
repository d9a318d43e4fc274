"""Several subjects under one locked plan, side by side: what ``compliance compare`` finds.

Differences are always the pack's less the first pack's.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.comparison import LEAST_GROUPS, Measure, MeasureChange, PackName
from compliance.records.finding import Verdict
from compliance.records.plan import Cell
from compliance.records.subject import ModelFacts

MEASURES: tuple[Measure, ...] = ("auroc-hard", "sensitivity", "fpr-benign")
"""What is shown of each cell, and tested where packs share a lock."""

NOTHING = 0.5
"""AUROC of a probe that sees nothing of a concept."""


class Basis(StrEnum):
    """What a pack shares with the first."""

    FIRST = "first"
    SAME_LOCK = "same-lock"
    """The same plan but for the model, and the same lock: probes, cut-offs and items."""

    OTHER_LOCK = "other-lock"
    """Values are shown side by side, and nothing is tested."""


class Outcome(StrEnum):
    """What became of a concept in one cell, against the first pack."""

    APPEARS = "appears"
    VANISHES = "vanishes"
    MOVES = "moves"
    NO_CHANGE = "no-change-shown"
    NOT_COMPARED = "not-compared"


class ComparedPack(Record):
    """One of the packs, in the order in which they were given."""

    pack: PackName
    system: str
    """Title and version, as declared."""

    model: ModelFacts
    basis: Basis
    differs: tuple[str, ...] = ()
    """Of another lock: what differs, such as ``plan.alpha`` or ``lock``."""

    locked_by: Digest | None = None
    """Root digest of the pack whose lock it is under. Absent: its own."""


class Stated(Record):
    """A number of a cell as its pack states it, on all items of that pack."""

    measure: Measure
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    reason: str | None = None
    """Why there is no value."""


class CellStanding(Record):
    """A cell in one pack."""

    verdict: Verdict | None = None
    """Absent: the pack did not plan the cell."""

    seen: bool | None = None
    """Whether the interval of the AUROC against hard negatives lies above `NOTHING`. Absent: there
    is no such interval."""

    stated: tuple[Stated, ...] = ()
    """In the order of `MEASURES`."""

    outcome: Outcome | None = None
    """Absent in the first pack."""

    changes: tuple[MeasureChange, ...] = ()
    """Against the first pack, on the items of both; ``p_holm`` is adjusted over everything that is
    tested in the whole comparison."""


class ComparedCell(Record):
    """A cell in every pack, in their order."""

    cell: Cell
    packs: tuple[CellStanding, ...]


class FeatureMatch(Record):
    """A feature of the first pack's locked probe, and what stands for it in another pack."""

    concept: str
    pack: Annotated[int, Field(ge=1)]
    """Place of the other pack; the first is 0."""

    sae: str
    latent: int
    how: Literal["same-sae", "decoder", "no-match-possible"]
    """``same-sae``: both read the same SAE, by its digest, so that a latent is its own match.
    ``decoder``: of all latents of the other pack's SAEs the one whose decoder direction has the
    largest cosine with this one's. Else the weights of an SAE were not at hand, or directions are
    not of one width."""

    other_sae: str | None = None
    other_latent: int | None = None
    cosine: float | None = None
    """Of the two decoder directions."""

    locked: bool = False
    """Whether the match stands for the concept in the other pack's lock."""

    locked_cosine: float | None = None
    """The largest cosine with a feature that does, where the match itself does not."""


class SubjectComparison(Record):
    """What ``compliance compare`` found."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    packs: tuple[ComparedPack, ...]
    titles: dict[str, str]
    """What each concept is called."""

    cells: tuple[ComparedCell, ...]
    """Every cell that any pack planned, the first pack's first."""

    matches: tuple[FeatureMatch, ...]
    tests: int
    """Numbers in the one family over which p values are adjusted (Holm): measures, cells and
    packs."""

    level: float
    """Of the intervals, two-sided. This and the next three are the first pack's plan's."""

    family_error: float
    draws: int
    seed: int
    nothing: float = NOTHING
    least_groups: int = LEAST_GROUPS
