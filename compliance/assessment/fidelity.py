"""How well the SAE's reconstruction stands in for the activations (PROTOCOL section 7).

By language, modality and role of the speaker (of a picture's tokens: by its rendering), on neutral
text, on the items of the concepts and on benign items, which stand in for neutral text where there
is none: of pictures there never is. Sums of items are merged by Chan's update in the order of
items, in float64.

Renderings are kept apart because they look unlike: about one mean of both, what is between them
would count as variation that is explained. Words beside pictures are one stratum.

``ev`` is 1 - sum ||x - x_hat||^2 / sum ||x - M||^2 with M the stratum's own mean, ``ev-global`` the
same about one mean of all languages, frozen at calibration, of text and of pictures apart. With n_i
tokens, mean m_i and spread s_i of group i, sum ||x - M||^2 = sum s_i + sum n_i ||m_i - M||^2:
nothing cancels.

Source:
    Chan, T., Golub, G. and LeVeque, R. (1983), The American Statistician 37, 242-247.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import stdtrit

from compliance.assessment.numbers import absent, count
from compliance.assessment.tables import (
    ConfirmObservations,
    StoredConfirm,
    coded,
    flat,
    places_of,
    vectors,
)
from compliance.errors import PlanError
from compliance.records.finding import Result
from compliance.records.observation import source_of
from compliance.records.plan import Cell, Plan
from compliance.records.suite import Label
from compliance.statistics.resampling import count_blocks, seed_of

Floats = NDArray[np.float64]

DENSE_SHARE = 0.1
"""A latent is dense if it fires on more than this share of tokens."""

AT_ONCE = 1 << 20
"""Weights of groups in draws that are in memory at a time."""

MOST_PRODUCTS = 2048
"""Groups whose means are multiplied each with each; of more, memory and time would grow with the
square."""

FLAT = "no variation at all"
HARMLESS = "zeros in place of the activations do not raise the loss"


@dataclass(frozen=True, eq=False)
class Stratum:
    """Groups of items with the sums over their tokens."""

    tokens: Floats
    """[groups]"""

    error: Floats
    spread: Floats
    means: Floats
    """[groups, d]"""

    cosine: Floats
    norm_ratio: Floats
    l0: NDArray[np.int32]
    """Latents that fired on each token: [tokens], group after group."""

    l0_group: NDArray[np.int64]
    """The number of each token's group: [tokens]."""


def fidelity(
    plan: Plan, confirm: ConfirmObservations | StoredConfirm, means: pd.DataFrame
) -> Iterator[Result]:
    """Every number of section 7, then how far each language lies below the reference.

    Args:
        plan: Frozen.
        confirm: With fidelity, firing and losses.
        means: MEAN_COLUMNS, of the benign calibrate items.
    """
    table, firing, losses = confirm.fidelity, confirm.firing, confirm.losses
    for part in (table, firing, losses):
        _refuse_unplanned(plan, part)
    items = confirm.items
    table, losses = (_with_facts(plan, part, items) for part in (table, losses))
    del items
    seen = table["role"] == "image"
    rendering = table["rendering"].astype("str")
    table = table.assign(
        region=pd.Categorical(np.where(seen, "image", "read")),
        stratum=pd.Categorical(rendering.where(seen, "read")),
    )
    gates = {(cell.modality, gate_stratum(plan, cell)) for cell in plan.cells}
    explained: dict[_Gate, Floats] = {}
    for (language, modality, sae, source), rows in _strata(plan, table):
        key = f"fidelity/{language}/{modality}/sae{sae}/{source}"
        for region, in_region in rows.groupby("region"):
            mean = _frozen_mean(_where(means, sae=sae, region=region))
            for name, part in in_region.groupby("stratum"):
                drawn, stratum = _drawn(plan, f"{key}.{name}", part, mean), f"{source}.{name}"
                if (modality, stratum) in gates and (drawn.spread > 0).all():
                    place = (language, modality, sae, stratum)
                    explained[place] = 1 - drawn.error / drawn.spread
                yield from _reconstruction(plan, f"{key}.{name}", drawn)
            if modality == _counted_under(plan, region):
                here = {"language": language, "region": region, "source": source, "sae": sae}
                tokens = int(_where(table, **here)["tokens"].sum())
                fired = _where(firing, **here)
                yield from _firing(plan, f"{key}.{region}", int(sae), fired, tokens)
        if source == "neutral":
            lost = _where(losses, language=language, modality=modality, sae=sae)
            yield from _losses(plan, f"{key}.read", lost)
        for role, part in rows[rows["region"] == "read"].groupby("role"):
            mean = _frozen_mean(_where(means, sae=sae, region="read"))
            yield from _reconstruction(
                plan, f"{key}.{role}", _drawn(plan, f"{key}.{role}", part, mean)
            )
    yield from _gaps(plan, explained)


def gate_stratum(plan: Plan, cell: Cell) -> str:
    """Source and role whose explained variance opens or shuts the gate of a cell.

    Neutral text where there is some, and benign items in its place. It has no pictures; so in
    cells with pictures it is the image tokens of benign items of the cell's rendering, whatever
    their source is called.
    """
    if cell.modality == "text":
        return "neutral.read"
    source = source_of(Label.NEGATIVE, has_neutral_text=plan.has_neutral_text)
    return f"{source}.{cell.rendering}"


_Gate = tuple[str, str, int, str]
"""Language, modality, SAE and stratum."""


def _gaps(plan: Plan, explained: Mapping[_Gate, Floats]) -> Iterator[Result]:
    """How far each language lies below the reference, where gates look.

    Languages are drawn apart. Their texts are parallel, so their draws would go together, and the
    interval is rather too wide than too narrow.
    """
    reference = plan.claims.reference_language
    for (language, modality, sae, stratum), here in explained.items():
        there = explained.get((reference, modality, sae, stratum))
        if language != reference and there is not None:
            key = f"fidelity/{language}/{modality}/sae{sae}/{stratum}"
            yield _interval(plan, f"{key}/ev-gap", there - here, None, "ev-stratum-mean")


def _counted_under(plan: Plan, region: str) -> str | None:
    """Modality whose strata show which latents fired on a region.

    Firing is counted by language and region over all modalities and renderings: words of a text
    and words beside a picture together, and all pictures.
    """
    modalities = (cell.modality for cell in plan.cells)
    return next((m for m in modalities if (m == "text") == (region == "read")), None)


_Place = tuple[str, str, int, str]
"""Language, modality, SAE and source."""


def _strata(plan: Plan, table: pd.DataFrame) -> Iterator[tuple[_Place, pd.DataFrame]]:
    """The sums of each stratum, languages in the plan's order."""
    strata = table[(table["tokens"] > 0) & table["language"].isin(plan.languages)].groupby(
        ["language", "modality", "sae", "source"]
    )
    for place in sorted(strata.groups, key=lambda p: (plan.languages.index(p[0]), *p[1:])):
        yield place, strata.get_group(place)


def merged(tokens: Sequence[float], spread: Sequence[float], means: Floats) -> tuple[float, Floats]:
    """Spread about the common mean, and that mean, of parts in their order.

    Args:
        tokens: Of each part, shape [parts].
        spread: Sum of squared distances from the part's own mean, shape [parts].
        means: Shape [parts, d].

    Returns:
        Spread and mean [d] of all parts together.
    """
    total, mean = float(tokens[0]), means[0].copy()
    found = float(spread[0])
    for n, own, centre in zip(tokens[1:], spread[1:], means[1:], strict=True):
        step = centre - mean
        found += float(own) + float(step @ step) * total * n / (total + n)
        mean += step * (n / (total + n))
        total += n
    return found, mean


def _with_facts(plan: Plan, table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    places = places_of(table["item"], items["item"])
    if (places < 0).any():
        raise PlanError(
            f"observations/confirm: {min(table['item'][places < 0])} is not in confirm/items.csv"
        )
    facts = items[["group", "language", "modality", "rendering"]].iloc[places]
    codes, labels = coded(items["label"].iloc[places])
    source = [source_of(label, has_neutral_text=plan.has_neutral_text) for label in labels]
    kinds = sorted(set(source))
    kind = np.array([kinds.index(one) for one in source], dtype=np.int8)
    found = pd.concat([table.reset_index(drop=True), facts.reset_index(drop=True)], axis=1)
    return found.assign(source=pd.Categorical.from_codes(kind[codes], kinds))


def _where(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Rows that have these values."""
    chosen = np.logical_and.reduce([(table[name] == v).to_numpy() for name, v in values.items()])
    return table[chosen]


def _refuse_unplanned(plan: Plan, table: pd.DataFrame) -> None:
    width = np.array([sae.d_sae for sae in plan.saes])
    sae = table["sae"].to_numpy()
    latent = table["latent"].to_numpy() if "latent" in table else np.zeros(len(table))
    if (sae >= len(width)).any() or (latent >= width[sae]).any():
        raise PlanError("observations/confirm: an SAE or a latent that is not planned")


def _frozen_mean(means: pd.DataFrame) -> Floats | None:
    """The mean over all languages; None where none was recorded."""
    if not len(means):
        return None
    weights = means["tokens"].to_numpy(dtype=np.float64)
    return weights @ vectors(means["mean"]) / weights.sum()


def _stratum(rows: pd.DataFrame) -> Stratum:
    """Rows of one stratum, merged by group."""
    ordered = rows.sort_values(["group", "item", "role"])
    tokens = ordered["tokens"].to_numpy(dtype=np.float64)
    means, spread = vectors(ordered["mean"]), ordered["spread"].to_numpy()
    l0, lengths = flat(ordered["l0"])
    group, _ = coded(ordered["group"])
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    ends = [*starts[1:], len(ordered)]
    parts = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
    groups = [merged(tokens[p], spread[p], means[p]) for p in parts]

    def sums(values: Floats) -> Floats:
        return np.add.reduceat(values, starts)

    return Stratum(
        tokens=sums(tokens),
        error=sums(ordered["error"].to_numpy()),
        spread=np.array([own for own, _ in groups]),
        means=np.stack([mean for _, mean in groups]),
        cosine=sums(ordered["cosine"].to_numpy()),
        norm_ratio=sums(ordered["norm_ratio"].to_numpy()),
        l0=l0,
        l0_group=np.repeat(np.arange(len(parts)), np.add.reduceat(lengths, starts)),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Sums of one stratum: of all its groups, then of each draw; each of shape [1 + draws]."""

    groups: int
    all_tokens: int
    error: Floats
    spread: Floats
    away: Floats | None
    """Sum ||x - M||^2 about the mean of all languages; None where none was recorded."""

    tokens: Floats
    l0: Floats
    l0_median: Floats
    l0_p95: Floats
    cosine: Floats
    norm_ratio: Floats


def _drawn(plan: Plan, key: str, rows: pd.DataFrame, mean: Floats | None) -> _Drawn:
    """All numbers of one stratum share one set of draws."""
    own = _stratum(rows)
    counted, values = _l0(own)
    away = None if mean is None else own.spread + own.tokens * ((own.means - mean) ** 2).sum(axis=1)
    spread_of = _spread(own)
    blocks = []
    for weights in _weights(plan, f"{key}/ev", len(own.tokens)):
        latents = weights @ counted
        blocks.append((
            weights @ own.error,
            spread_of(weights),
            weights @ (np.zeros(len(own.tokens)) if away is None else away),
            weights @ own.tokens,
            weights @ (counted @ values),
            _quantiles(latents, values, 0.5),
            _quantiles(latents, values, 0.95),
            weights @ own.cosine,
            weights @ own.norm_ratio,
        ))  # fmt: skip
    error, spread, about, *others = (np.concatenate(sums) for sums in zip(*blocks, strict=True))
    return _Drawn(
        len(own.tokens), int(own.tokens.sum()), error, spread, None if away is None else about,
        *others,
    )  # fmt: skip


def _reconstruction(plan: Plan, key: str, own: _Drawn) -> Iterator[Result]:
    n = own.groups
    yield _kept(plan, f"{key}/ev", own.error, own.spread, n, "ev-stratum-mean", FLAT)
    if own.away is None:
        yield absent(f"{key}/ev-global", "ev-global-mean", "no mean was recorded", n)
    else:
        yield _kept(plan, f"{key}/ev-global", own.error, own.away, n, "ev-global-mean", FLAT)
    yield _interval(plan, f"{key}/l0", own.l0 / own.tokens, n, "l0-mean")
    for name, found in (("l0-median", own.l0_median), ("l0-p95", own.l0_p95)):
        yield _interval(plan, f"{key}/{name}", found, n, "l0-quantile")
    for name, sums in (("cosine", own.cosine), ("norm-ratio", own.norm_ratio)):
        yield _interval(plan, f"{key}/{name}", sums / own.tokens, n, "token-mean")
    yield count(f"{key}/tokens", own.all_tokens)


def _spread(own: Stratum) -> Callable[[Floats], Floats]:
    """What gives sum ||x - M||^2 of each draw about the draw's own mean M, by its weights.

    Groups' means are centred on the stratum's first, so that what is subtracted is small.
    """
    _, mean = merged(own.tokens, own.spread, own.means)
    away = own.tokens[:, np.newaxis] * (own.means - mean)
    between = own.spread + (away * (own.means - mean)).sum(axis=1)
    products = away @ away.T if len(away) <= MOST_PRODUCTS else None

    def spread(weights: Floats) -> Floats:
        squares = (weights @ away) ** 2 if products is None else (weights @ products) * weights
        return weights @ between - squares.sum(axis=1) / (weights @ own.tokens)

    return spread


def _firing(plan: Plan, key: str, sae: int, fired: pd.DataFrame, tokens: int) -> Iterator[Result]:
    """Latents that fired at all, never, and on more than a tenth of the tokens."""
    width = plan.saes[sae].d_sae
    if not len(fired):
        for name in ("alive", "dead", "dense-latents"):
            yield absent(f"{key}/{name}", "count", "no firing was recorded", width)
        return
    alive = int((fired["tokens"] > 0).sum())
    dense = int((fired["tokens"] > DENSE_SHARE * tokens).sum())
    for name, value in (("alive", alive), ("dead", width - alive), ("dense-latents", dense)):
        yield Result(id=f"{key}/{name}", value=value, successes=value, n=width, method="count")


def _losses(plan: Plan, key: str, rows: pd.DataFrame) -> Iterator[Result]:
    """Cross-entropy with the reconstruction in place of the activations, in nats a token."""
    if not len(rows):
        return
    ordered = rows.sort_values("item")
    names = ("tokens", "loss", "spliced", "ablated", "divergence")
    values = {name: ordered[name].to_numpy(dtype=np.float64) for name in names}
    blocks = [
        [weights @ values[name] for name in names]
        for weights in _weights(plan, f"{key}/loss", len(ordered))
    ]
    sums = dict(zip(names, map(np.concatenate, zip(*blocks, strict=True)), strict=True))
    increase, n = sums["spliced"] - sums["loss"], len(ordered)
    yield _of_few(plan, f"{key}/loss", sums["loss"] / sums["tokens"], n, "loss-mean")
    yield _of_few(plan, f"{key}/loss-increase", increase / sums["tokens"], n, "loss-mean")
    whole = sums["ablated"] - sums["loss"]
    if (whole <= 0).any():
        yield absent(f"{key}/loss-recovered", "loss-recovered", HARMLESS, n)
    else:
        found = 1 - increase / whole
        yield _of_few(plan, f"{key}/loss-recovered", found, n, "loss-recovered")
    found = sums["divergence"] / sums["tokens"]
    yield _of_few(plan, f"{key}/divergence", found, n, "loss-mean")


def _weights(plan: Plan, identity: str, groups: int) -> Iterator[Floats]:
    """All groups once, then how often each draw took each group: [1 + draws, groups], in blocks."""
    stream = np.random.RandomState(seed_of(plan.seed, identity))
    every = np.ones((1, groups))
    for drawn in count_blocks(groups, random=stream, draws=plan.bootstrap_draws, at_once=AT_ONCE):
        yield np.vstack([every, drawn]).astype(np.float64)
        every = every[:0]


def _kept(
    plan: Plan, identity: str, lost: Floats, whole: Floats, n: int, method: str, reason: str
) -> Result:
    """1 - lost/whole, where every draw has something to lose."""
    if (whole <= 0).any():
        return absent(identity, method, reason, n)
    return _interval(plan, identity, 1 - lost / whole, n, method)


def _l0(own: Stratum) -> tuple[sparse.csr_matrix, Floats]:
    """How many tokens of each group have each number of latents: [groups, values], [values]."""
    values, places = np.unique(own.l0, return_inverse=True)
    shape = (len(own.tokens), len(values))
    counted = sparse.csr_matrix((np.ones(len(places)), (own.l0_group, places)), shape)
    return counted, values.astype(np.float64)


def _quantiles(counted: Floats, values: Floats, share: float) -> Floats:
    """Of each draw, the smallest value that at least this share of its tokens does not exceed."""
    reached = np.cumsum(counted, axis=1)
    return values[(reached >= share * reached[:, -1:]).argmax(axis=1)]


def _of_few(plan: Plan, identity: str, values: Floats, n: int, method: str) -> Result:
    """The first value with a t interval: percentiles of so few items are much too short.

    The others' variance is (n - 1)/n of what it should be. One item has no interval.
    """
    value = float(values[0])
    if n < 2:
        return Result(id=identity, value=value, n=n, method=method)
    error = float(values[1:].std(ddof=1)) * math.sqrt(n / (n - 1))
    reach = error * float(stdtrit(n - 1, 0.5 + plan.level / 2))
    return Result(
        id=identity, value=value, low=value - reach, high=value + reach, level=plan.level,
        n=n, method=method,
    )  # fmt: skip


def _interval(plan: Plan, identity: str, values: Floats, n: int | None, method: str) -> Result:
    """The first value with the percentile interval of the others."""
    tail = (1 - plan.level) / 2
    low, high = np.quantile(values[1:], (tail, 1 - tail))
    return Result(
        id=identity, value=float(values[0]), low=float(low), high=float(high), level=plan.level,
        n=n, method=method,
    )  # fmt: skip
