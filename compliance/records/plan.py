"""What is frozen before measuring (plan) and before confirming (lock). PROTOCOL section 3."""

from typing import Literal

from compliance.records.audit import Claims, FeatureRef, Subset
from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import Language, Modality, Region, Rendering, SuiteFacts


class Cell(Record):
    """Concept x language x modality x rendering: the unit of a verdict."""

    concept: str
    language: Language
    modality: Modality = "text"
    rendering: Rendering = "plain"

    @property
    def key(self) -> str:
        """The cell as a path, such as ``deception/ja/text/plain``; results' ids start with it."""
        return f"{self.concept}/{self.language}/{self.modality}/{self.rendering}"


class PlannedProbe(Record):
    """One concept's probe before anything was measured."""

    concept: str
    title: str
    definition: str
    features: Literal["discover"] | tuple[FeatureRef, ...]
    region: Region
    pooling: Literal["max", "mean", "last"]


class Rule(Record):
    """One condition of a verdict, as data. ``limit`` is in the unit of the number compared."""

    condition: str
    """Such as ``sensitivity``; MEASURED_BY of assessment/verdicts.py says which number it reads."""

    kind: Literal["primary", "secondary", "gate"]
    """A secondary condition that is not shown leads to ``supported with limits``."""

    limit: float | None = None


class Splits(Record):
    """Quotas in percent; groups are ranked by a hash of their id and the suite's digest."""

    discover: int = 20
    calibrate: int = 10
    confirm: int = 70
    benign_calibrate: int = 50
    benign_confirm: int = 50


class Plan(Record):
    """Everything that could be chosen, chosen before the first observation.

    It holds no time: the trail says when it was frozen.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    software: str
    """Name and version of this package."""

    model: ModelFacts
    saes: tuple[SaeFacts, ...]
    suites: tuple[SuiteFacts, ...]
    probes: tuple[PlannedProbe, ...]
    languages: tuple[Language, ...]
    cells: tuple[Cell, ...]
    """Every planned cell, also those without items; one dropped later keeps p = 1."""

    claims: Claims
    rules: tuple[Rule, ...]
    controls: tuple[str, ...]
    """Controls this audit runs; a rule about one that is missing reads ``not measured``."""

    splits: Splits
    alpha: float
    level: float = 0.95
    family_error: float = 0.05
    bootstrap_draws: int
    dense_l2: float = 1.0
    sink_norm_ratio: float = 10.0
    """Tokens whose residual norm exceeds this multiple of the item's median are not read."""

    batch_tokens: int
    subset: Subset | None = None
    seed: int


class Selection(Record):
    """How a latent was found on the discover split."""

    searched: int
    """Latents searched, silent ones included."""

    active: int
    """Latents that fired on at least one item of the search."""

    positives: int
    hard_negatives: int
    auroc: float
    """Of the latent chosen, on the items it was chosen on: optimistic, and printed as such."""

    ties: int
    """Latents with the same AUROC; the lowest index was taken."""


class CutOff(Record):
    """Split-conformal cut-off of one scorer in one cell; an alarm is a score strictly above."""

    scorer: str
    """``probe`` or a control, such as ``dense``."""

    cell: Cell
    value: float | None = None
    rank: int | None = None
    n: int
    reason: str | None = None
    """Why it cannot be set."""


class Direction(Record):
    """A linear probe on pooled residuals, fitted in one language. Score: weights . x + bias."""

    concept: str
    language: Language
    hook_name: str
    weights: tuple[float, ...]
    """[d_model]"""

    bias: float
    positives: int
    hard_negatives: int


class LockedProbe(Record):
    """The one probe of a concept. Several features are combined by their maximum."""

    concept: str
    features: tuple[FeatureRef, ...]
    selection: Selection | None = None
    """Absent where the features were given."""


class Lock(Record):
    """Probe, cut-offs and fitted controls, frozen before the confirm split is opened."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    plan_digest: str
    fit_digest: str
    """Over the digests of the fit observations."""

    probes: tuple[LockedProbe, ...]
    directions: tuple[Direction, ...]
    cut_offs: tuple[CutOff, ...]
