"""Observations drawn from stated distributions, without a model: the tables a run would write.

A score is a normal deviate of variance 1 about a mean that depends on scorer, label and language;
it is cut at zero, as sparse latents are. What is true is a `World`; everything after the tables
is the real assessment::

    plan = make_plan(("en", "el"))
    lock, files = make_files(plan, World(effect={"en": 5.0, "el": 5.0}))
    evidence = assess(plan, lock, files, ...)

Where the truth is to be stated at the locked cut-off, lock first and decide the rest after::

    lock, files = make_fit(plan, world)
    files |= make_confirm(plan, replace(world, confirm_laws=...), lock)

There is one concept, and one text modality. A latent that the search takes has its scores on
confirm from the probe's law, whichever latent it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import get_args

import numpy as np
import pandas as pd

from compliance.assessment.choosing import choose
from compliance.assessment.locking import make_lock
from compliance.assessment.planning import _controls, rules_of
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.records.audit import Claims, Robustness, TextShift
from compliance.records.observation import (
    CALIBRATED,
    COFIRING_COLUMNS,
    CONTROL_SCORERS,
    FEATURE_COLUMNS,
    FIDELITY_COLUMNS,
    FIRING_COLUMNS,
    ITEM_COLUMNS,
    LOSS_COLUMNS,
    MEAN_COLUMNS,
    NEIGHBOUR_COLUMNS,
    PATCH_COLUMNS,
    REPEAT_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SHIFT_COLUMNS,
    SURFACE,
    TOKEN_COLUMNS,
    VECTOR_COLUMNS,
)
from compliance.records.plan import (
    Cell,
    Choices,
    Lock,
    Plan,
    PlannedProbe,
    Rule,
    Setting,
    Splits,
)
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import ConceptSheet, Datasheet, SuiteFacts
from compliance.statistics.resampling import seed_of

CONCEPT = "danger"
DIGEST = "sha256:" + "0" * 64
HOOK_NAME = "blocks.0.hook"
WIDTH = 4
"""Dimensions of every vector; the controls that are fitted on them need no more."""

LATENTS = 128
PLANTED = 3
"""The latent that follows the concept, in every SAE; in all but the first half as strongly."""

NEAR, FAR = 5, 6
"""Latents whose decoder cosine to the dense direction is 0.8, and 0.3."""

TOKENS = 5
"""Read tokens of each item."""

POSITIVE, HARD, BENIGN = 0, 1, 2
LABELS = ("positive", "hard-negative", "negative")

TEXT_CONTROLS = tuple(c for c in CONTROL_SCORERS if SURFACE.get(c, "words") == "words")
"""Controls that need no picture."""

QUIET = -1.5
"""Mean of a latent without signal: cut at zero, it fires on 7 % of items."""


@dataclass(frozen=True)
class Law:
    """How one scorer's scores lie in one language: the mean by label, at variance 1."""

    positive: float = 0.0
    hard: float = 0.0
    benign: float = 0.0
    silent: float = 0.0
    """Share of positives on which the score is zero, whatever the mean says."""


@dataclass(frozen=True)
class World:
    """What is true of the simulated scores."""

    effect: Mapping[str, float]
    """Mean of the probe on positives, by language. A language that is missing has no items."""

    hard_effect: float = 0.0
    controls: Mapping[str, float] = field(
        default_factory=lambda: {
            "ngrams": 0.5, "random-sae": 0.5, "dense": 3.0, "dense-means": 2.5,
            "reconstruction": 2.5, "reconstruction-means": 2.0, "sparse-1": 2.5, "sparse-5": 3.0,
            "neighbour": 1.0,
        }
    )  # fmt: skip
    """Mean of each control on positives, in every language; 0 for those not named."""

    written: tuple[str, ...] = TEXT_CONTROLS
    """Controls that have scores at all; fewer make a simulation faster."""

    random_latents: float = 0.0
    """What positives add to the mean of the random latents."""

    correlation: float = 0.0
    """Between the scores of one group in two languages, at one label."""

    error: float | Mapping[str, float] = 0.1
    """Reconstruction error as a share of the variance, where wanted by language."""

    fidelity_benign: int | None = None
    """Have sums of fidelity for this many benign groups alone, which makes a simulation faster."""

    clipped: bool = True
    """Cut scores at zero."""

    confirm_laws: Mapping[tuple[str, str], Law] = field(default_factory=dict)
    """By scorer (or ``random-latents``) and language: what holds on confirm in place of the
    above."""

    formats: tuple[str, ...] = ("prompt",)
    """Formats that groups take in turn."""

    discover: int = 40
    calibrate: int = 20
    groups: int = 200
    """On confirm."""

    benign: int = 900
    """Half of them on calibrate, the others on confirm."""

    seed: int = 0


def make_plan(
    languages: tuple[str, ...] = ("en", "el"),
    *,
    rules: tuple[Rule, ...] | None = None,
    settings: tuple[Setting, ...] = (),
    robustness: Robustness | None = None,
    saes: int = 1,
    random_latents: int = 99,
    bootstrap_draws: int = 500,
    flips: int = 200,
    seed: int = 7,
) -> Plan:
    """A plan with one concept, all rules and all controls."""
    claims = Claims()
    cells = tuple(Cell(concept=CONCEPT, language=language) for language in languages)
    return Plan(
        software="test",
        model=ModelFacts(
            name="m", architecture="A", weights_digest=DIGEST, tokenizer_digest=DIGEST,
            parameters=1, layers=1, d_model=WIDTH, dtype="float32", chat_template=True,
        ),
        saes=tuple(
            SaeFacts(
                name=f"s{index}", digest=DIGEST, architecture="jumprelu", hook_name=HOOK_NAME,
                d_in=WIDTH, d_sae=LATENTS, normalisation="none", dtype="float16",
            )
            for index in range(saes)
        ),
        suites=(_suite(languages),),
        probes=(
            PlannedProbe(
                concept=CONCEPT, title="Danger", definition="d", features="discover",
                region="user", pooling="max",
            ),
        ),
        languages=languages,
        cells=cells,
        claims=claims,
        rules=rules_of(claims, cells) if rules is None else rules,
        controls=_controls(cells),
        splits=Splits(),
        alpha=0.01,
        bootstrap_draws=bootstrap_draws,
        flips=flips,
        random_latents=random_latents,
        ngram_buckets=WIDTH,
        settings=settings,
        robustness=robustness or Robustness(),
        batch_tokens=512,
        seed=seed,
    )  # fmt: skip


def make_files(plan: Plan, world: World) -> tuple[Lock, dict[str, bytes]]:
    """Lock and all observation files of a world, by path below ``observations/``."""
    lock, files = make_fit(plan, world)
    return lock, files | make_confirm(plan, world, lock)


def make_fit(plan: Plan, world: World) -> tuple[Lock, dict[str, bytes]]:
    """The lock, and the files of the discover and calibrate splits that it was made from."""
    files = fit_observations(plan, world).to_files()
    fit = FitObservations.from_files(files)
    return make_lock(plan, choose(plan, fit), fit, file_digests(files)), files


def make_confirm(plan: Plan, world: World, lock: Choices) -> dict[str, bytes]:
    """The files of the confirm split."""
    return confirm_observations(plan, world, lock).to_files()


def fit_observations(plan: Plan, world: World) -> FitObservations:
    """Tables of the discover and calibrate splits."""
    stream = np.random.RandomState(seed_of(world.seed, "fit"))
    languages = _languages(plan, world)
    layout = _layout(
        languages,
        (("discover", world.discover), ("calibrate", world.calibrate)),
        ("calibrate", 0, world.benign // 2),
        world.formats,
    )
    labelled = layout.where(layout.label != BENIGN)
    scores = {
        scorer: _drawn(stream, world, layout, [_law(world, scorer, lang) for lang in languages])
        for scorer in ("probe", *_read_scorers(world))
    }
    scores |= _read_settings(plan, scores["probe"])
    benign_only = {scorer: layout.label == BENIGN for scorer in scores if scorer != "tokens"}
    return FitObservations(
        items=layout.items,
        scores=_score_table(layout, scores, benign_only),
        search=_search(plan, world, labelled, stream),
        random_search=_random_search(plan, world, labelled, stream),
        vectors=_vectors(plan, labelled, stream),
        neighbours=_table(
            NEIGHBOUR_COLUMNS,
            [(CONCEPT, lang, "text", "plain", 0, latent, cosine)
             for lang in sorted(languages) for latent, cosine in ((NEAR, 0.8), (FAR, 0.3))],
        ),
        means=_table(
            MEAN_COLUMNS,
            [(lang, "read", sae, TOKENS * (world.benign // 2), np.zeros(WIDTH))
             for lang in sorted(languages) for sae in range(len(plan.saes))],
        ),
    )  # fmt: skip


def confirm_observations(plan: Plan, world: World, choices: Choices) -> ConfirmObservations:
    """Tables of the confirm split; the choices say which latents and languages were read."""
    stream = np.random.RandomState(seed_of(world.seed, "confirm"))
    languages = _languages(plan, world)
    layout = _layout(
        languages,
        (("discover", world.discover), ("calibrate", world.calibrate), ("confirm", world.groups)),
        ("confirm", world.benign // 2, world.benign),
        world.formats,
    )
    layout = layout.where((layout.items["split"] == "confirm").to_numpy())
    scores = {
        scorer: _drawn(
            stream, world, layout,
            [world.confirm_laws.get((scorer, lang), _law(world, scorer, lang))
             for lang in languages],
        )
        for scorer in ("probe", *_all_scorers(world))
    }  # fmt: skip
    scores |= _read_settings(plan, scores["probe"])
    labelled_only = {
        scorer: layout.label != BENIGN
        for scorer in scores
        if scorer in CONTROL_SCORERS and scorer not in ("tokens", *CALIBRATED)
    }
    probe = scores["probe"]
    return ConfirmObservations(
        items=layout.items,
        scores=_score_table(layout, scores, labelled_only),
        latents=_latents(plan, world, layout.where(layout.label != BENIGN), choices, stream),
        fidelity=_fidelity(plan, world, _measured(layout, world.fidelity_benign), stream),
        firing=_firing(plan, layout, stream),
        losses=_losses(plan, layout, stream),
        shifts=_shifts(plan, layout, probe, choices, stream),
        repeats=_repeats(plan, layout, probe, stream),
        patches=_table(PATCH_COLUMNS, []),
        tokens=_tokens(layout, probe),
        cofiring=_table(COFIRING_COLUMNS, []),
        features=_table(FEATURE_COLUMNS, []),
    )


def _tokens(layout: "_Layout", probe: np.ndarray) -> pd.DataFrame:
    """The probe gives its score on every token of an item."""
    places = np.arange(TOKENS, dtype=np.int32)
    rows = [
        (name, CONCEPT, places, places + 1, np.full(TOKENS, score, dtype=np.float32))
        for name, score in zip(layout.names, probe, strict=True)
    ]
    return _table(TOKEN_COLUMNS, rows)


@dataclass(frozen=True)
class _Layout:
    """Items in order, and for each its label, language and group as places in arrays."""

    items: pd.DataFrame
    label: np.ndarray
    language: np.ndarray
    group: np.ndarray
    languages: tuple[str, ...]

    def where(self, chosen: np.ndarray) -> "_Layout":
        return _Layout(
            self.items[chosen], self.label[chosen], self.language[chosen], self.group[chosen],
            self.languages,
        )  # fmt: skip

    @property
    def names(self) -> np.ndarray:
        return self.items["item"].to_numpy(dtype=object)


@lru_cache(maxsize=16)
def _layout(
    languages: tuple[str, ...],
    splits: tuple[tuple[str, int], ...],
    benign: tuple[str, int, int],
    formats: tuple[str, ...],
) -> _Layout:
    """Groups are numbered through the splits, benign ones by themselves."""
    split_of = [name for name, number in splits for _ in range(number)]
    rows = []
    for place, lang in enumerate(languages):
        for number, split in enumerate(split_of):
            for label in (POSITIVE, HARD):
                name = f"g{number:04d}-{LABELS[label]}-{lang}"
                rows.append((name, f"g{number:04d}", split, CONCEPT, label, place, number))
        split, first, last = benign
        for number in range(first, last):
            rows.append((f"b{number:04d}-{lang}", f"b{number:04d}", split, "", BENIGN, place,
                         number))  # fmt: skip
    rows.sort()
    items = pd.DataFrame(
        [
            (name, "suite", group, split, concept, LABELS[label], languages[place], "text",
             "plain", formats[number % len(formats)], "", "authored", "a source", "a person",
             TOKENS, 0, 0)
            for name, group, split, concept, label, place, number in rows
        ],
        columns=list(ITEM_COLUMNS),
    )  # fmt: skip
    label, language, group = (np.array([row[i] for row in rows]) for i in (4, 5, 6))
    return _Layout(items, label, language, group, languages)


def _suite(languages: tuple[str, ...]) -> SuiteFacts:
    sheet = ConceptSheet(title="Danger", definition="d", region="user")
    return SuiteFacts(
        name="suite", version="1.0.0", digest=DIGEST, items=1, groups=1,
        datasheet=Datasheet(
            name="suite", version="1.0.0", title="t", description="d", licence="l",
            sources=("s",), languages=languages, concepts={CONCEPT: sheet}, translation="none",
        ),
    )  # fmt: skip


def _languages(plan: Plan, world: World) -> tuple[str, ...]:
    return tuple(language for language in plan.languages if language in world.effect)


def _neighbour() -> str:
    return f"latent/0/{NEAR}"


def _all_scorers(world: World) -> tuple[str, ...]:
    return (*world.written, _neighbour()) if "dense" in world.written else world.written


def _read_scorers(world: World) -> list[str]:
    """Scorers besides the probe that are read on fit: what has a cut-off, and the token count."""
    wanted = ("tokens", *CALIBRATED, _neighbour())
    return [scorer for scorer in _all_scorers(world) if scorer in wanted]


def _law(world: World, scorer: str, language: str) -> Law:
    if scorer == "probe":
        return Law(positive=world.effect[language], hard=world.hard_effect)
    name = "neighbour" if scorer == _neighbour() else scorer
    return Law(positive=world.controls.get(name, 0.0))


def _drawn(
    stream: np.random.RandomState,
    world: World,
    layout: _Layout,
    laws: Sequence[Law],
    copies: int = 1,
) -> np.ndarray:
    """Scores of each item, float32 [copies, n] or [n] for one; ``laws`` are by language."""
    means = np.array([[law.positive, law.hard, law.benign] for law in laws])
    silent = np.array([[law.silent, 0.0, 0.0] for law in laws])
    shape = (copies, len(LABELS), len(laws), int(layout.group.max()) + 1)
    shared = stream.standard_normal((*shape[:2], 1, shape[3])) if world.correlation else 0.0
    deviates = (
        math.sqrt(world.correlation) * shared
        + math.sqrt(1 - world.correlation) * stream.standard_normal(shape)
    )[:, layout.label, layout.language, layout.group]
    scores = deviates + means[layout.language, layout.label]
    if silent.any():
        scores[stream.random_sample(scores.shape) < silent[layout.language, layout.label]] = 0.0
    if world.clipped:
        np.maximum(scores, 0.0, out=scores)
    return (scores if copies > 1 else scores[0]).astype(np.float32)


def _read_settings(plan: Plan, probe: np.ndarray) -> dict[str, np.ndarray]:
    """Another pooling ranks items as the planned one does, on another scale."""
    scorers = {setting.scorer for setting in plan.settings} - {"probe"}
    return {scorer: np.float32(0.9) * probe for scorer in sorted(scorers)}


def _score_table(
    layout: _Layout, scores: Mapping[str, np.ndarray], only: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Long table ordered by item and scorer; ``only`` says on which items a scorer has rows."""
    names = sorted(scores)
    everywhere = np.ones(len(layout.items), dtype=bool)
    there = np.column_stack([only.get(name, everywhere) for name in names]).ravel()
    values = np.column_stack([scores[name] for name in names]).ravel()
    columns = (
        np.repeat(layout.names, len(names))[there],
        np.full(int(there.sum()), CONCEPT, dtype=object),
        np.tile(np.array(names, dtype=object), len(layout.items))[there],
        values[there].astype(np.float64),
    )
    return pd.DataFrame(dict(zip(SCORE_COLUMNS, columns, strict=True)))


def _search(
    plan: Plan, world: World, layout: _Layout, stream: np.random.RandomState
) -> pd.DataFrame:
    """Latents without signal, and the planted one with the probe's law."""
    parts = []
    for sae in range(len(plan.saes)):
        quiet = [Law(QUIET, QUIET)] * len(layout.languages)
        scores = _drawn(stream, world, layout, quiet, copies=LATENTS)
        share = 1.0 if sae == 0 else 0.5
        planted = [
            Law(share * world.effect[lang], share * world.hard_effect) for lang in layout.languages
        ]
        scores[PLANTED] = _drawn(stream, world, layout, planted)
        parts.append((sae, np.arange(LATENTS), scores))
    return _latent_table(layout, parts)


def _random_search(
    plan: Plan, world: World, layout: _Layout, stream: np.random.RandomState
) -> pd.DataFrame:
    reference = layout.languages.index(plan.claims.reference_language)
    searched = layout.where(
        (layout.items["split"] == "discover").to_numpy() & (layout.language == reference)
    )
    parts = []
    for sae in range(len(plan.saes)):
        quiet = [Law(QUIET, QUIET)] * len(layout.languages)
        scores = _drawn(stream, world, searched, quiet, copies=LATENTS)
        best = [Law(world.controls.get("random-sae", 0.0))] * len(layout.languages)
        scores[PLANTED] = _drawn(stream, world, searched, best)
        parts.append((sae, np.arange(LATENTS), scores))
    return _latent_table(searched, parts)


def _latents(
    plan: Plan, world: World, layout: _Layout, choices: Choices, stream: np.random.RandomState
) -> pd.DataFrame:
    """The random latents of the choices, all of one law."""
    usual = Law(QUIET + world.random_latents, QUIET)
    laws = [world.confirm_laws.get(("random-latents", lang), usual) for lang in layout.languages]
    features = [feature for drawn in choices.random_latents for feature in drawn.features]
    parts = []
    for sae in sorted({feature.sae for feature in features}):
        mine = np.array(sorted(f.latent for f in features if f.sae == sae))
        parts.append((sae, mine, np.atleast_2d(_drawn(stream, world, layout, laws, len(mine)))))
    return _latent_table(layout, parts)


def _latent_table(
    layout: _Layout, parts: Sequence[tuple[int, np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """Rows of latents that are not zero, ordered by item, SAE and latent."""
    rows, saes, latents, values = [], [], [], []
    for sae, numbers, scores in parts:
        row, column = np.nonzero(scores.T)
        rows.append(row)
        saes.append(np.full(len(row), sae))
        latents.append(numbers[column])
        values.append(scores.T[row, column])
    if not rows:
        return _table(SEARCH_COLUMNS, [])
    row, sae, latent, value = (np.concatenate(part) for part in (rows, saes, latents, values))
    order = np.lexsort((latent, sae, row))
    concept = np.full(len(row), CONCEPT, dtype=object)
    columns = (concept, layout.names[row[order]], sae[order], latent[order], value[order])
    return pd.DataFrame(dict(zip(SEARCH_COLUMNS, columns, strict=True)))


def _vectors(plan: Plan, layout: _Layout, stream: np.random.RandomState) -> pd.DataFrame:
    """Mean vectors whose positives lie 1.5 further in every dimension; in the error, nowhere."""
    kinds = {f"residual/{HOOK_NAME}", "ngrams"}
    kinds |= {f"{kind}/{sae}" for kind in ("reconstruction", "error")
              for sae in range(len(plan.saes))}  # fmt: skip
    names = sorted(kinds)
    shift = np.array([0.0 if name.startswith("error") else 1.5 for name in names])
    positive = (layout.label == POSITIVE).astype(float)
    found = stream.standard_normal((len(layout.items), len(names), WIDTH))
    found += positive[:, np.newaxis, np.newaxis] * shift[np.newaxis, :, np.newaxis]
    columns = (
        np.full(len(layout.items) * len(names), CONCEPT, dtype=object),
        np.repeat(layout.names, len(names)),
        np.tile(np.array(names, dtype=object), len(layout.items)),
        list(found.reshape(-1, WIDTH).astype(np.float32)),
    )
    return pd.DataFrame(dict(zip(VECTOR_COLUMNS, columns, strict=True)))


def _fidelity(
    plan: Plan, world: World, layout: _Layout, stream: np.random.RandomState
) -> pd.DataFrame:
    """Every token a normal vector, whose squared length the error takes its share of."""
    count, saes = len(layout.items), len(plan.saes)
    by_language = np.array(
        [
            world.error if isinstance(world.error, int | float) else world.error[lang]
            for lang in layout.languages
        ]
    )
    share = np.repeat(by_language[layout.language], saes)
    x = np.repeat(stream.standard_normal((count, TOKENS, WIDTH)), saes, axis=0)
    mean = x.mean(axis=1)
    columns = (
        np.repeat(layout.names, saes),
        np.tile(np.arange(saes), count),
        np.full(count * saes, "user", dtype=object),
        np.full(count * saes, TOKENS),
        share * (x**2).sum(axis=(1, 2)),
        ((x - mean[:, np.newaxis]) ** 2).sum(axis=(1, 2)),
        list(mean),
        TOKENS * np.sqrt(np.maximum(0.0, 1 - share)),
        TOKENS * np.sqrt(np.maximum(0.0, 1 - share)),
        list(stream.randint(10, 31, size=(count * saes, TOKENS))),
    )
    return pd.DataFrame(dict(zip(FIDELITY_COLUMNS, columns, strict=True)))


def _measured(layout: _Layout, benign_groups: int | None) -> _Layout:
    if benign_groups is None:
        return layout
    benign = layout.where(layout.label == BENIGN)
    return benign.where(benign.group < benign.group.min() + benign_groups)


def _firing(plan: Plan, layout: _Layout, stream: np.random.RandomState) -> pd.DataFrame:
    """Two latents are dead, one fires on half of the tokens, the others on 2 %."""
    shares = np.full(LATENTS, 0.02)
    shares[:2], shares[2] = 0.0, 0.5
    rows = []
    for place, lang in sorted(enumerate(layout.languages), key=lambda pair: pair[1]):
        benign = layout.label[layout.language == place] == BENIGN
        for source, items in (("items", int((~benign).sum())), ("neutral", int(benign.sum()))):
            for sae in range(len(plan.saes)):
                fired = stream.binomial(TOKENS * items, shares)
                rows += [(lang, "read", source, sae, int(k), int(fired[k]))
                         for k in np.flatnonzero(fired)]  # fmt: skip
    return _table(FIRING_COLUMNS, rows)


def _losses(plan: Plan, layout: _Layout, stream: np.random.RandomState) -> pd.DataFrame:
    """First benign items of each language: 3 nats a token, 3.2 on reconstructions, 8 on zeros."""
    rows = []
    for place, _ in enumerate(layout.languages):
        benign = layout.where((layout.language == place) & (layout.label == BENIGN))
        for name in benign.names[: plan.robustness.loss_items]:
            for sae in range(len(plan.saes)):
                loss = (TOKENS - 1) * (3.0 + 0.2 * float(stream.standard_normal()))
                rows.append((name, sae, TOKENS - 1, loss, loss + 0.2 * (TOKENS - 1),
                             loss + 5.0 * (TOKENS - 1), 0.1 * (TOKENS - 1)))  # fmt: skip
    return _table(LOSS_COLUMNS, sorted(rows))


def _shifts(
    plan: Plan, layout: _Layout, probe: np.ndarray, choices: Choices, stream: np.random.RandomState
) -> pd.DataFrame:
    """The probe's score with noise on the first groups; every shift costs it 0.2."""
    first = int(layout.group[layout.label != BENIGN].min())
    languages = [layout.languages.index(lang)
                 for lang in choices.shifted_languages.get(CONCEPT, ())]  # fmt: skip
    chosen = (
        (layout.label != BENIGN)
        & (layout.group < first + plan.robustness.shifted_groups)
        & np.isin(layout.language, languages)
    )
    names = layout.names[chosen]
    shifts = sorted(set(plan.robustness.shifts) & set(get_args(TextShift)))
    noise = stream.normal(-0.2, 0.3, size=(len(names), len(shifts)))
    values = np.maximum(0.0, probe[chosen][:, np.newaxis] + noise).astype(np.float32)
    return _table(
        SHIFT_COLUMNS,
        [(name, CONCEPT, shift, float(values[i, j]))
         for i, name in enumerate(names) for j, shift in enumerate(shifts)],
    )  # fmt: skip


def _repeats(
    plan: Plan, layout: _Layout, probe: np.ndarray, stream: np.random.RandomState
) -> pd.DataFrame:
    """The last digits of the first items in the reference language."""
    reference = layout.languages.index(plan.claims.reference_language)
    places = np.flatnonzero((layout.label != BENIGN) & (layout.language == reference))
    places = places[: plan.robustness.repeated_items]
    alone = (probe[places] * (1 + 1e-6 * stream.standard_normal(len(places)))).astype(np.float32)
    return _table(
        REPEAT_COLUMNS,
        [(layout.names[place], CONCEPT, float(probe[place]), float(value))
         for place, value in zip(places, alone, strict=True)],
    )  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))
