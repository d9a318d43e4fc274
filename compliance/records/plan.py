"""What is frozen before measuring (plan) and before confirming (lock). PROTOCOL section 3."""

from typing import Literal

from compliance.records.audit import Claims, FeatureRef, Interventions, Pooling, Robustness, Subset
from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.behaviour import Behaviour, Lists
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import (
    Language,
    Modality,
    Region,
    Rendering,
    Sight,
    SuiteFacts,
    Variant,
)


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

    @property
    def variant(self) -> Variant:
        """Its language, modality and rendering."""
        return Variant(self.language, self.modality, self.rendering)


def region_in(region: str, modality: str) -> str:
    """Where a probe reads: of an item with a picture its tokens, else as planned."""
    return region if modality == "text" else "image"


class ListedFrom(Record):
    """The file that named a probe's features, and what it says that they belong to."""

    file: str
    """Its name, without its folder."""

    digest: str
    model: str
    """As Neuronpedia calls it."""

    source: str
    """Neuronpedia's name of the SAE; an SAE whose configuration names another one is refused."""


class PlannedProbe(Record):
    """One concept's probe before anything was measured."""

    concept: str
    title: str
    definition: str
    features: Literal["discover"] | tuple[FeatureRef, ...]
    listed: ListedFrom | None = None
    """Where the features' latents and labels were read from. Absent: they stand in the audit."""

    region: Region
    pooling: Pooling


class Setting(Record):
    """One defensible other way to read the probe (specification sweep).

    It changes one choice; what is absent stays as planned.
    """

    name: str
    """Such as ``pooling-mean``."""

    pooling: Pooling | None = None
    region: Region | Literal["read"] | None = None
    """``read`` is all content, whoever wrote it."""

    alpha: float | None = None
    sae: int | None = None
    """The best latent of this SAE alone, in place of the best of all."""

    @property
    def cut_off(self) -> str:
        """Scorer under which its cut-off is locked."""
        return f"probe@{self.name}"

    @property
    def scorer(self) -> str:
        """Scorer whose scores it reads: another alpha reads the probe's own."""
        return "probe" if self.alpha is not None else self.cut_off


class Rule(Record):
    """One condition of a verdict, as data. ``limit`` is in the unit of the number compared."""

    condition: str
    """Such as ``sensitivity``; MEASURED_BY of assessment/verdicts.py says which number it reads."""

    kind: Literal["primary", "secondary", "gate"]
    """A secondary condition that is not shown leads to ``supported with limits``."""

    limit: float | None = None

    needs: Sight | None = None
    """It applies to cells that show this; absent: to all."""


class Splits(Record):
    """Quotas in percent; groups are ranked by a hash of their id and the suite's digest."""

    discover: int = 20
    calibrate: int = 10
    confirm: int = 70
    benign_calibrate: int = 50
    benign_confirm: int = 50


class PlannedJudge(Record):
    """What judges replies in the place of phrases."""

    plug: str | None = None
    model: ModelFacts | None = None
    """Of a model that is asked yes or no."""

    limit: float
    """A reply counts where its score is above this."""


class PlannedMitigation(Record):
    """A study of how often the model behaves so before and after something is suppressed."""

    name: str
    concept: str
    by: Literal["feature", "dense", "model"]
    dose: float = 0
    """Multiple of the peak that features are set to."""

    model: ModelFacts | None = None
    """That is asked in the place of the changed one."""

    behaviour: Behaviour
    lists: Lists
    """Phrases of the planned languages, so that replies can be judged again by anybody."""

    described: str
    """Who wrote the phrases, as ``behaviours.yaml`` says."""

    behaviours_digest: Digest
    """Of ``behaviours.yaml``."""

    judge: PlannedJudge | None = None
    """Absent: phrases judge."""

    languages: tuple[Language, ...]
    """Those of the audit in which replies can be judged."""

    items: int
    """Groups of each label at most."""

    max_new_tokens: int
    neutral_items: int
    capability_items: int
    capability: Digest
    """Of the small tasks that are run."""


class LockedBy(Record):
    """The pack of another model's audit under whose lock this one runs."""

    pack_id: str
    version: str
    root_digest: Digest
    plan_digest: Digest
    lock_digest: Digest
    software: str
    """Of that plan."""

    model: ModelFacts
    """On which probe, cut-offs and fitted controls were made."""


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
    flips: int = 1000
    """Label flips behind the adjusted p value of the search."""

    random_latents: int = 999
    """Density-matched latents that the probe is compared with, fewer where the SAE has fewer."""

    sparse_sizes: tuple[int, ...] = (1, 5)
    """Latents of the k-sparse probes."""

    linear_l2: float = 1.0
    """Quadratic penalty of every fitted linear control."""

    ngram_sizes: tuple[int, int] = (1, 4)
    """Shortest and longest character n-gram, within words."""

    ngram_buckets: int = 4096
    """N-grams are hashed into this many counts."""

    neighbour_cosine: float = 0.7
    """Decoder cosine to the dense direction from which another latent may have absorbed it."""

    sink_norm_ratio: float = 10.0
    """Tokens whose residual norm exceeds this multiple of the item's median are not read."""

    search_modality: Modality = "text"
    search_rendering: Rendering = "plain"
    """Latents are searched on items of the reference language in this form."""

    settings: tuple[Setting, ...] = ()
    robustness: Robustness = Robustness()
    interventions: Interventions | None = None
    capability: Digest | None = None
    """Of the set of small tasks, where a part of it is run."""

    mitigations: tuple[PlannedMitigation, ...] | None = None
    batch_tokens: int
    subset: Subset | None = None
    seed: int
    locked_by: LockedBy | None = None
    """Absent: everything is chosen and fitted on this model's own observations."""

    @property
    def searched(self) -> Variant:
        """The form of the items that latents are searched on."""
        return Variant(self.claims.reference_language, self.search_modality, self.search_rendering)

    @property
    def has_neutral_text(self) -> bool:
        """Whether fidelity has a text of its own; else benign items stand in for it."""
        return any(suite.datasheet.neutral for suite in self.suites)


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

    p_adjusted: float
    """Of the largest AUROC among all that were searched, when labels mean nothing (Westfall and
    Young)."""

    null_p95: float
    """95th percentile of that largest AUROC when labels mean nothing."""

    flips: int


class CutOff(Record):
    """Split-conformal cut-off of one scorer in one cell; an alarm is a score strictly above."""

    scorer: str
    """``probe``, a control such as ``dense``, or a setting such as ``probe@pooling-mean``."""

    cell: Cell
    value: float | None = None
    rank: int | None = None
    n: int
    reason: str | None = None
    """Why it cannot be set."""


class OfVariant(Record):
    """Something fitted for one concept in one language, modality and rendering."""

    concept: str
    language: Language
    modality: Modality = "text"
    rendering: Rendering = "plain"

    @property
    def variant(self) -> Variant:
        """Its language, modality and rendering."""
        return Variant(self.language, self.modality, self.rendering)


class Direction(OfVariant):
    """A linear control, as weights on the fit items it was fitted on.

    Its direction is ``sum_i coefficients[i] x_i`` over the vectors of the concept's fit items in
    this language, ordered by item id; its score is ``direction . x + bias``.
    """

    scorer: str
    """Such as ``dense``; LINEAR_SCORERS of records/observation.py."""

    features: str
    """Which vectors: ``residual/<hook name>``, ``reconstruction/<sae>``, ``error/<sae>`` or
    ``ngrams``."""

    coefficients: tuple[float, ...]
    bias: float
    positives: int
    hard_negatives: int


class SparseProbe(OfVariant):
    """A k-sparse control: logistic regression on pooled scores of k latents, in one language."""

    scorer: str
    """``sparse-1`` or ``sparse-5``."""

    features: tuple[FeatureRef, ...]
    weights: tuple[float, ...]
    bias: float


class LockedProbe(Record):
    """The one probe of a concept. Several features are combined by their maximum."""

    concept: str
    features: tuple[FeatureRef, ...]
    selection: Selection | None = None
    """Absent where the features were given."""


class Alternative(Record):
    """The probe of a setting that reads another latent."""

    setting: str
    concept: str
    features: tuple[FeatureRef, ...]


class RandomLatents(Record):
    """Latents that fire about as often as the probe, drawn by the plan's seed."""

    concept: str
    features: tuple[FeatureRef, ...]


class Neighbour(OfVariant):
    """A latent whose decoder direction is near the dense direction of one language."""

    feature: FeatureRef
    cosine: float

    @property
    def scorer(self) -> str:
        """Scorer under which its scores and cut-off stand."""
        return f"latent/{self.feature.sae}/{self.feature.latent}"


class Choices(Record):
    """Everything chosen or fitted on positives and hard negatives of discover and calibrate.

    The cut-offs, which need the benign calibrate items, come after.
    """

    probes: tuple[LockedProbe, ...]
    random_probes: tuple[LockedProbe, ...]
    """Found by the same search in the random-initialised SAEs; ``sae`` is the SAE each mirrors."""

    permuted_probes: tuple[LockedProbe, ...]
    """Found by the same search with labels swapped at random within groups."""

    alternatives: tuple[Alternative, ...] = ()
    directions: tuple[Direction, ...]
    sparse_probes: tuple[SparseProbe, ...]
    random_latents: tuple[RandomLatents, ...]
    neighbours: tuple[Neighbour, ...]
    """Those at or above the plan's cosine; the nearest ten are in fit/neighbours.csv."""

    shifted_languages: dict[str, tuple[Language, ...]]
    """By concept: the reference and the language with the lowest AUROC on the fit items."""


class Orientation(OfVariant):
    """Which way a token count ranks positives, on the fit items of one cell's language."""

    sign: Literal[1, -1]


class Lock(Choices):
    """Choices and cut-offs, frozen before the confirm split is opened."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    plan_digest: str
    fit_digest: str
    """Over the digests of the fit observations."""

    orientations: tuple[Orientation, ...]
    cut_offs: tuple[CutOff, ...]
