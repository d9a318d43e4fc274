"""Chooses probes and fits controls, on positives and hard negatives of discover and calibrate.

    probes = select_features(plan, fit)
    directions = fit_directions(plan, probes, fit)
    weights = linear_weights(directions, fit)         # what a model's activations are read with
    choices = choose(plan, fit)                       # all of it; needs fit.neighbours as well

An auditor calls the same functions on the observations in the pack. Choices between latents
compare whole numbers (wins and ties of an AUROC, items on which a latent fired), so that no
machine's last digit decides.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from compliance.assessment.tables import FitObservations, of_variant, vectors
from compliance.errors import PlanError
from compliance.records.audit import FeatureRef
from compliance.records.observation import LINEAR_SCORERS, SURFACE, applies
from compliance.records.plan import (
    Alternative,
    Choices,
    Direction,
    LockedProbe,
    Neighbour,
    Plan,
    PlannedProbe,
    RandomLatents,
    Selection,
    SparseProbe,
)
from compliance.records.suite import Label, Variant
from compliance.statistics.discovery import max_statistic
from compliance.statistics.logistic import (
    Linear,
    difference_coefficients,
    fit_difference_of_means,
    fit_logistic,
    logistic_coefficients,
)
from compliance.statistics.ranking import auroc, auroc_matrix
from compliance.statistics.resampling import seed_of
from compliance.suites.split import DISCOVER


def choose(plan: Plan, fit: FitObservations) -> Choices:
    """Choose every probe and fit every control that needs no benign item.

    Args:
        plan: The frozen plan.
        fit: Observations of the discover and calibrate splits, as read back from their files.
            Benign items and ``means`` are not looked at.

    Raises:
        PlanError: The observations do not hold what the plan needs.
    """
    pools = _pools(plan, fit, fit.search)
    random_pools = _pools(plan, fit, fit.random_search)
    probes = tuple(_select(plan, probe, pools[probe.concept]) for probe in plan.probes)
    return Choices(
        probes=probes,
        random_probes=_found(
            _search(plan, _discover(plan, pool), f"random-search/{pool.concept}")
            for pool in random_pools.values()
        ),
        permuted_probes=_found(_permuted(plan, _discover(plan, p)) for p in pools.values()),
        alternatives=tuple(
            found for pool in pools.values() for found in _alternatives(plan, _discover(plan, pool))
        ),
        directions=fit_directions(plan, probes, fit),
        sparse_probes=tuple(
            found for pool in pools.values() for found in _sparse_probes(plan, pool)
        ),
        random_latents=tuple(_random_latents(plan, p, pools[p.concept]) for p in probes),
        neighbours=tuple(_neighbours(plan, probes, fit.neighbours)),
        shifted_languages={p.concept: _shifted(plan, p, pools[p.concept]) for p in probes},
    )


def with_neighbours(plan: Plan, choices: Choices, neighbours: pd.DataFrame) -> Choices:
    """The choices that `choose` makes of observations with this table of neighbours.

    Args:
        plan: The frozen plan.
        choices: As `choose` made them of the same observations with another table.
        neighbours: As read back from its file.
    """
    found = tuple(_neighbours(plan, choices.probes, neighbours))
    return choices.model_copy(update={"neighbours": found})


def select_features(plan: Plan, fit: FitObservations) -> tuple[LockedProbe, ...]:
    """The latent of each concept, by AUROC on the discover split in the plan's searched form.

    Every latent of every SAE is searched, positive against hard negative. Of equals, the lowest
    index is taken. Given features skip the search. An item without the region takes no part: it
    would count as one on which every latent is silent.

    Args:
        plan: Says which concepts are to be discovered.
        fit: Of which ``items``, ``scores`` (a row of ``tokens`` says that an item has the region)
            and ``search`` are looked at.

    Raises:
        PlanError: A concept's search has items of one label only, or no latent fired on any.
    """
    pools = _pools(plan, fit, fit.search)
    return tuple(_select(plan, probe, pools[probe.concept]) for probe in plan.probes)


def fit_directions(
    plan: Plan, probes: Sequence[LockedProbe], fit: FitObservations
) -> tuple[Direction, ...]:
    """The linear controls of each concept and variant with both labels, positive v hard negative.

    They are fitted where the concept's own SAE reads, on means over the region; those that need
    words or a picture, where there are some. Stored are their weights on the fit items, which are
    fewer than dimensions.

    Args:
        plan: Names languages, SAEs and the penalty.
        probes: As `select_features` made them.
        fit: Of which ``items``, ``scores`` (rows of ``tokens``) and ``vectors`` are looked at.

    Raises:
        PlanError: An item with the region lacks a vector.
    """
    stored = _Vectors.of(fit)
    return tuple(
        direction
        for probe in probes
        for direction in _directions(plan, probe, fit_items(fit, probe.concept), stored)
    )


def linear_weights(
    directions: Sequence[Direction], fit: FitObservations
) -> dict[tuple[str, str, Variant], Linear]:
    """Each linear control as weights on dimensions, float64, by scorer, concept and variant.

    Raises:
        PlanError: A direction does not have one coefficient for each item, or one lacks a vector.
    """
    stored = _Vectors.of(fit)
    items = {concept: fit_items(fit, concept) for concept in {d.concept for d in directions}}
    found = {}
    for one in directions:
        part = items[one.concept]
        part = part[of_variant(part, one.variant)]
        if len(part) != len(one.coefficients):
            raise PlanError(
                f"{one.concept}/{one.variant}: {one.scorer} has {len(one.coefficients)} "
                f"coefficients for {len(part)} fit items"
            )
        weights = np.asarray(one.coefficients) @ stored.matrix(one.concept, one.features, part)
        found[one.scorer, one.concept, one.variant] = Linear(weights, one.bias)
    return found


def fit_items(fit: FitObservations, concept: str) -> pd.DataFrame:
    """Positives and hard negatives of a concept that have the region, ordered by id."""
    scores = fit.scores
    read = scores[(scores["concept"] == concept) & (scores["scorer"] == "tokens")]["item"]
    mine = fit.items[(fit.items["concept"] == concept) & fit.items["item"].isin(read)]
    return mine.sort_values("item", ignore_index=True)


def is_positive(items: pd.DataFrame) -> np.ndarray:
    """Which items are positives, booleans [n]."""
    return (items["label"] == Label.POSITIVE.value).to_numpy(dtype=bool)


def covered_variants(plan: Plan, concept: str, items: pd.DataFrame) -> list[Variant]:
    """Variants of a concept's cells in which ``items`` have both labels.

    Without both, no control can be fitted.
    """
    labels = items.groupby(list(Variant._fields))["label"].nunique()
    cells = (cell.variant for cell in plan.cells if cell.concept == concept)
    return [variant for variant in cells if labels.get(variant, 0) == 2]


@dataclass(frozen=True)
class Candidate:
    """A latent as the search saw it."""

    feature: FeatureRef
    auroc: float
    """On the items of the search: the largest of many, so optimistic."""

    positives: int
    """On how many positives it fired."""

    hard_negatives: int


@dataclass(frozen=True)
class Candidates:
    """The best latents of a search, the best first."""

    latents: tuple[Candidate, ...]
    searched: int
    """Latents in all."""

    positives: int
    """Items of the search."""

    hard_negatives: int


def candidates(plan: Plan, fit: FitObservations, concept: str, n: int) -> Candidates:
    """The ``n`` latents with the largest AUROC in a concept's search, of equals the lowest index.

    Args:
        plan: Frozen.
        fit: Of which ``items``, ``scores`` and ``search`` are looked at.
        concept: One of the plan's.
        n: Latents that never fired are left out, so there may be fewer.

    Raises:
        PlanError: The concept is not planned, or its search has items of one label only.
    """
    probe = next((p for p in plan.probes if p.concept == concept), None)
    if probe is None:
        raise PlanError(
            f"concept {concept!r} is not planned",
            hint=f"planned are {', '.join(p.concept for p in plan.probes)}",
        )
    pool = _discover(plan, _pools(plan, fit, fit.search)[concept])
    if not pool.searchable:
        raise PlanError(f"{concept}: the search has items of one label only, or no latent fired")
    areas = auroc_matrix(pool.scores, pool.positive)
    fired = pool.scores.getnnz(axis=0)
    order = np.argsort(-np.where(fired > 0, areas, -1.0), kind="stable")
    in_positives = pool.scores[np.flatnonzero(pool.positive)].getnnz(axis=0)
    found = (
        Candidate(
            feature=pool.feature(int(column)),
            auroc=float(areas[column]),
            positives=int(in_positives[column]),
            hard_negatives=int(fired[column] - in_positives[column]),
        )
        for column in order[: min(n, int((fired > 0).sum()))]
    )
    return Candidates(
        latents=tuple(found),
        searched=len(fired),
        positives=int(pool.positive.sum()),
        hard_negatives=int((~pool.positive).sum()),
    )


@dataclass(frozen=True)
class _Pool:
    """Pooled scores of every latent on the fit items of one concept."""

    concept: str
    items: pd.DataFrame
    scores: sparse.csr_matrix
    """[items, latents of all SAEs]; what is not stored is a silent latent."""

    offsets: np.ndarray
    """First column of each SAE, and the number of columns."""

    @property
    def positive(self) -> np.ndarray:
        return is_positive(self.items)

    @property
    def groups(self) -> np.ndarray:
        """Number of each item's group, in the order of their names: int64 [items]."""
        return pd.factorize(self.items["group"].astype("str"), sort=True)[0]

    @property
    def searchable(self) -> bool:
        """Both labels occur and a latent fired."""
        return self.items["label"].nunique() == 2 and self.scores.nnz > 0

    def of(self, variant: Variant) -> "_Pool":
        """The pool of the items of one variant."""
        return self.only(of_variant(self.items, variant))

    def only(self, chosen: np.ndarray) -> "_Pool":
        """The pool of some of the items, by mask."""
        items = self.items[chosen].reset_index(drop=True)
        return replace(self, items=items, scores=self.scores[np.flatnonzero(chosen)])

    def feature(self, column: int) -> FeatureRef:
        sae = int(np.searchsorted(self.offsets, column, side="right") - 1)
        return FeatureRef(sae=sae, latent=int(column - self.offsets[sae]))

    def columns(self, features: Sequence[FeatureRef]) -> np.ndarray:
        widths = np.diff(self.offsets)
        for feature in features:
            if feature.sae >= len(widths) or feature.latent >= widths[feature.sae]:
                raise PlanError(
                    f"{self.concept}: there is no latent {feature.latent} of SAE {feature.sae}"
                )
        return np.array([self.offsets[f.sae] + f.latent for f in features])

    def combined(self, features: Sequence[FeatureRef]) -> np.ndarray:
        """Score of each item: the maximum over the features, a silent one being 0."""
        return self.scores[:, self.columns(features)].toarray().max(axis=1)


def _pools(plan: Plan, fit: FitObservations, search: pd.DataFrame) -> dict[str, _Pool]:
    """By concept, in the plan's order."""
    offsets = np.concatenate([[0], np.cumsum([sae.d_sae for sae in plan.saes])])
    found = {}
    for probe in plan.probes:
        items = fit_items(fit, probe.concept)
        table = search[search["concept"] == probe.concept]
        scores = _latent_matrix(table, items, offsets)
        found[probe.concept] = _Pool(probe.concept, items, scores, offsets)
    return found


def _latent_matrix(
    search: pd.DataFrame, items: pd.DataFrame, offsets: np.ndarray
) -> sparse.csr_matrix:
    rows = _places_of(search["item"], items["item"])
    saes, latents = search["sae"].to_numpy(np.int64), search["latent"].to_numpy(np.int64)
    known = (rows >= 0) & (saes < len(offsets) - 1)
    known &= latents < np.diff(offsets)[np.where(known, saes, 0)]
    if not known.all():
        raise PlanError("observations/fit: a search has an item or latent that is not planned")
    values = search["score"].to_numpy(dtype=np.float64)
    shape = (len(items), int(offsets[-1]))
    found = sparse.csr_matrix((values, (rows, offsets[saes] + latents)), shape=shape)
    found.eliminate_zeros()
    return found


def _places_of(names: pd.Series, among: pd.Series) -> np.ndarray:
    """Where in a column without repetitions each name stands, int64 [n]; -1: nowhere."""
    index = pd.Index(among.astype("str"))
    if isinstance(names.dtype, pd.CategoricalDtype):  # each name is looked up once
        return np.append(index.get_indexer(names.cat.categories), -1)[names.cat.codes]
    return index.get_indexer(names)


def _discover(plan: Plan, pool: _Pool) -> _Pool:
    """The items that a search looks at."""
    discover = (pool.items["split"] == DISCOVER).to_numpy(dtype=bool)
    return pool.only(discover & of_variant(pool.items, plan.searched))


def _select(plan: Plan, probe: PlannedProbe, pool: _Pool) -> LockedProbe:
    if probe.features != "discover":
        return LockedProbe(concept=probe.concept, features=probe.features)
    pool = _discover(plan, pool)
    found = _search(plan, pool, f"search/{probe.concept}")
    if found is not None:
        return found
    positives = int(pool.positive.sum())
    if pool.items["label"].nunique() < 2:
        raise PlanError(
            f"{probe.concept}: the search has {positives} positive and "
            f"{len(pool.items) - positives} hard-negative items with the region, and needs both",
            hint="add groups, or give the probe's features",
        )
    raise PlanError(
        f"{probe.concept}: no latent fired on any of {len(pool.items)} discover items",
        hint="is the SAE made for this model and hook?",
    )


def _search(
    plan: Plan, pool: _Pool, seed_name: str, positive: np.ndarray | None = None
) -> LockedProbe | None:
    """The best of all latents, on the labels given or on the items' own; None without any."""
    if not pool.searchable:
        return None
    positive = pool.positive if positive is None else positive
    found = max_statistic(
        pool.scores,
        positive,
        pool.groups,
        flips=plan.flips,
        seed=seed_of(plan.seed, seed_name),
    )
    return LockedProbe(
        concept=pool.concept,
        features=(pool.feature(found.best),),
        selection=Selection(
            searched=found.searched,
            active=found.active,
            positives=int(positive.sum()),
            hard_negatives=int((~positive).sum()),
            auroc=found.auroc,
            ties=found.ties,
            p_adjusted=found.p_adjusted,
            null_p95=found.null_p95,
            flips=found.flips,
        ),
    )


def _permuted(plan: Plan, pool: _Pool) -> LockedProbe | None:
    """The same search on labels that mean nothing; its flips are those of the search itself."""
    stream = np.random.RandomState(seed_of(plan.seed, f"permuted/{pool.concept}"))
    labels = _swapped(pool.positive, pool.groups, stream)
    return _search(plan, pool, f"search/{pool.concept}", labels)


def _swapped(positive: np.ndarray, groups: np.ndarray, stream: np.random.RandomState) -> np.ndarray:
    """Labels shuffled within groups; groups of one label exchange theirs with others as large.

    The number of positives stays.

    Args:
        positive: Booleans [n].
        groups: Group of each item [n].
        stream: Moves on.
    """
    found = positive.copy()
    uniform = defaultdict(list)
    order = np.argsort(groups, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if positive[places].all() or not positive[places].any():
            uniform[len(places)].append(places)
        else:
            found[places] = stream.permutation(positive[places])
    for _, units in sorted(uniform.items()):
        of_units = stream.permutation([positive[places[0]] for places in units])
        found[np.concatenate(units)] = np.repeat(of_units, len(units[0]))
    return found


def _found(probes: Iterator[LockedProbe | None]) -> tuple[LockedProbe, ...]:
    return tuple(probe for probe in probes if probe is not None)


def _alternatives(plan: Plan, pool: _Pool) -> Iterator[Alternative]:
    """The best latent of one SAE alone, for each setting that asks for it."""
    settings = [setting for setting in plan.settings if setting.sae is not None]
    if not settings or not pool.searchable:
        return
    areas, fired = auroc_matrix(pool.scores, pool.positive), pool.scores.getnnz(axis=0)
    for setting in settings:
        start, end = pool.offsets[setting.sae], pool.offsets[setting.sae + 1]
        if fired[start:end].any():
            best = pool.feature(int(start + np.argmax(areas[start:end])))
            yield Alternative(setting=setting.name, concept=pool.concept, features=(best,))


def _sparse_probes(plan: Plan, pool: _Pool) -> Iterator[SparseProbe]:
    """The latents furthest from an AUROC of one half, either way; silent ones are never taken.

    Fewer than k where fewer fired, and no probe in a variant where none did.
    """
    for variant in covered_variants(plan, pool.concept, pool.items):
        part = pool.of(variant)
        fired = np.unique(part.scores.indices)
        if not fired.size:
            continue
        pairs = int(part.positive.sum()) * int((~part.positive).sum())
        doubled_wins = np.rint(auroc_matrix(part.scores[:, fired], part.positive) * 2 * pairs)
        distance = np.abs(doubled_wins.astype(np.int64) - pairs)
        order = fired[np.argsort(-distance, kind="stable")[: max(plan.sparse_sizes)]]
        for size in plan.sparse_sizes:
            features = tuple(pool.feature(int(column)) for column in order[:size])
            if features:
                yield _sparse_probe(plan, part, f"sparse-{size}", variant, features)


def _sparse_probe(
    plan: Plan, part: _Pool, scorer: str, variant: Variant, features: tuple[FeatureRef, ...]
) -> SparseProbe:
    """Logistic regression on scores of common size; the weights are for scores as they are."""
    x = part.scores[:, part.columns(features)].toarray()
    size = np.abs(x).max(axis=0)
    size[size == 0] = 1.0
    linear = fit_logistic(x / size, part.positive, plan.linear_l2)
    return SparseProbe(
        scorer=scorer,
        concept=part.concept,
        **variant._asdict(),
        features=features,
        weights=tuple((linear.weights / size).tolist()),
        bias=linear.bias,
    )


def _random_latents(plan: Plan, probe: LockedProbe, pool: _Pool) -> RandomLatents:
    """Drawn from the twice as many latents that fire on most nearly as many items."""
    sae = probe.features[0].sae
    start, end = int(pool.offsets[sae]), int(pool.offsets[sae + 1])
    fired = pool.scores.getnnz(axis=0)[start:end].astype(np.int64)
    distance = np.abs(fired - np.count_nonzero(pool.combined(probe.features)))
    order = np.argsort(distance, kind="stable") + start
    others = order[~np.isin(order, pool.columns(probe.features))]
    candidates = others[: 2 * plan.random_latents]
    stream = np.random.RandomState(seed_of(plan.seed, f"random-latents/{probe.concept}"))
    drawn = np.sort(stream.permutation(candidates)[: plan.random_latents])
    return RandomLatents(
        concept=probe.concept, features=tuple(pool.feature(int(column)) for column in drawn)
    )


def _neighbours(
    plan: Plan, probes: Sequence[LockedProbe], neighbours: pd.DataFrame
) -> Iterator[Neighbour]:
    table = neighbours[neighbours["cosine"] >= plan.neighbour_cosine]
    own = {(p.concept, f.sae, f.latent) for p in probes for f in p.features}
    for row in table.itertuples():
        if (row.concept, row.sae, row.latent) not in own:
            yield Neighbour(
                concept=row.concept,
                language=row.language,
                modality=row.modality,
                rendering=row.rendering,
                feature=FeatureRef(sae=row.sae, latent=row.latent),
                cosine=row.cosine,
            )


def _shifted(plan: Plan, probe: LockedProbe, pool: _Pool) -> tuple[str, ...]:
    """The reference and the language in which the probe ranks the fit items worst.

    Compared are items in the form that was searched; shifts are then run on every form.
    """
    searched = plan.searched
    scores, positive = pool.combined(probe.features), pool.positive
    areas = {}
    for variant in covered_variants(plan, pool.concept, pool.items):
        mine, form = of_variant(pool.items, variant), variant._replace(language=searched.language)
        if form == searched != variant:
            areas[variant.language] = auroc(scores[mine & positive], scores[mine & ~positive])
    weakest = (min(areas, key=areas.__getitem__),) if areas else ()
    return (searched.language, *weakest)


def _directions(
    plan: Plan,
    probe: LockedProbe,
    items: pd.DataFrame,
    stored: "_Vectors",
) -> Iterator[Direction]:
    for variant in covered_variants(plan, probe.concept, items):
        part = items[of_variant(items, variant)]
        for scorer, kind in LINEAR_SCORERS.items():
            if applies(scorer, variant):
                yield _direction(plan, scorer, _features(plan, probe, kind), variant, part, stored)


def _features(plan: Plan, probe: LockedProbe, kind: str) -> str:
    """Which vectors a control of this kind reads, as ``vectors.parquet`` calls them."""
    sae = probe.features[0].sae
    if kind == "residual":
        return f"residual/{plan.saes[sae].hook_name}"
    return kind if kind in SURFACE else f"{kind}/{sae}"


def _direction(
    plan: Plan,
    scorer: str,
    features: str,
    variant: Variant,
    items: pd.DataFrame,
    stored: "_Vectors",
) -> Direction:
    """One control, fitted on the items of one concept and variant."""
    concept = items["concept"].iloc[0]
    x, positive = stored.matrix(concept, features, items), is_positive(items)
    if scorer.endswith("-means"):
        linear = fit_difference_of_means(x, positive)
        coefficients = difference_coefficients(positive)
    else:
        linear = fit_logistic(x, positive, plan.linear_l2)
        coefficients = logistic_coefficients(linear, x, positive, plan.linear_l2)
    return Direction(
        scorer=scorer,
        concept=concept,
        **variant._asdict(),
        features=features,
        coefficients=tuple(coefficients.tolist()),
        bias=linear.bias,
        positives=int(positive.sum()),
        hard_negatives=int((~positive).sum()),
    )


@dataclass(frozen=True)
class _Vectors:
    """The vectors of the fit items, and where in their table those of one kind are."""

    table: pd.DataFrame
    rows: Mapping[tuple[str, str], np.ndarray]
    """By concept and kind of features, int64."""

    @classmethod
    def of(cls, fit: FitObservations) -> "_Vectors":
        table = fit.vectors
        return cls(table, table.groupby(["concept", "features"], sort=False).indices)

    def matrix(self, concept: str, features: str, items: pd.DataFrame) -> np.ndarray:
        """One vector for each item in their order, float64 [n, d].

        Raises:
            PlanError: An item has none.
        """
        rows = self.rows.get((concept, features), np.empty(0, dtype=np.int64))
        places = _places_of(items["item"], self.table["item"].iloc[rows])
        if (places < 0).any():
            raise PlanError(
                "observations/fit/vectors.parquet: "
                f"{items['item'].iloc[int(np.argmax(places < 0))]} has no {features} for {concept}"
            )
        return vectors(self.table["vector"].iloc[rows[places]])
