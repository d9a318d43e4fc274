"""How often a feature is active, by language and kind of text.

The shares of tokens differ by powers of ten, so the axis is logarithmic. A feature that is never
active has no place on such an axis and is shown beside it, as none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from compliance.records.audit import FeatureRef
from compliance.records.chart import Chart, Label, Look, Shape
from compliance.records.observation import SOURCES
from compliance.records.page import Entry, RowGroup, Table, TableRow
from compliance.records.suite import Rendering
from compliance.reports.charts.drawing import (
    SMALL,
    WIDTH,
    Scale,
    cut,
    data_of,
    diamond,
    disc,
    horizontal,
    say,
    square,
    vertical,
    width_of,
)
from compliance.reports.context import Context, anchor
from compliance.reports.numbers import in_sentence, write_count, write_percent
from compliance.reports.tables import EMPTY

LEFT, NONE = 190.0, 44.0
"""Where places for "none" begin, and how wide they are."""

TOP, ROW, FOOT = 30.0, 26.0, 34.0
RADIUS, LIFT = 3.4, 7.2
"""Sources lie above, on and below the middle of a row, so that equal shares stay apart."""

REGIONS = ("read", "image")

Place = tuple[str, str]
"""A language and a region."""

MARKS: dict[str, tuple[Look, Callable[[float, float, float], str], float]] = {
    "neutral": ("light", diamond, -LIFT),
    "items": ("point", disc, 0.0),
    "benign": ("hollow", square, LIFT),
}
"""Of each source: look, form and how far below the middle of its row."""


@dataclass(frozen=True)
class Density:
    """A feature on all tokens of one language, region and kind of text."""

    language: str
    region: str
    source: str
    active: int
    """Tokens on which it was active."""

    tokens: int
    """Tokens that were read; at least one."""

    @property
    def share(self) -> float:
        """Of the tokens."""
        return self.active / self.tokens


def density(ctx: Context, feature: FeatureRef) -> Chart | None:
    """Share of tokens on which a feature is active, a row for each language and region.

    Args:
        ctx: Evidence, words and observations.
        feature: Of one of the plan's SAEs.

    Returns:
        The chart, or None without observations or where no token was read.
    """
    found = densities(ctx, feature)
    if not found:
        return None
    words = ctx.words.charts["density"]
    places = list(dict.fromkeys((d.language, d.region) for d in found))
    across = _axis(found)
    bottom = TOP + ROW * len(places)
    grid, ticks = _frame(ctx, across, len(places))
    keys, key_words = _keys(ctx, found)
    title = words["title"].format(feature=_name(ctx, feature))
    return Chart(
        anchor=anchor("density", f"{feature.sae}/{feature.latent}"),
        title=title,
        description=words["description"].format(
            rows=ctx.joined(_spoken(ctx, place, found) for place in places)
        ),
        note=words["note"],
        width=WIDTH,
        height=bottom + FOOT,
        shapes=(*grid, *_marks(found, places, across), *keys),
        labels=(*key_words, *ticks, *_row_names(ctx, places)),
        table=_table(ctx, title, places, found),
        table_on_paper=True,
    )


def densities(ctx: Context, feature: FeatureRef) -> list[Density]:
    """A feature's counts, by language, region and source as reports order them.

    Tokens are the results ``fidelity/<language>/<modality>/sae<n>/<source>.<stratum>/tokens``,
    summed as firing was counted: words of texts and words beside pictures together, and the tokens
    of all pictures. Places where no token was read are left out; none are there without
    observations.
    """
    if ctx.observed is None:
        return []
    table = ctx.observed.firing
    mine = table[(table["sae"] == feature.sae) & (table["latent"] == feature.latent)]
    counted = mine.groupby(["language", "region", "source"])["tokens"].sum()
    read = _tokens_read(ctx, feature.sae)
    return [
        Density(*place, active=int(counted.get(place, 0)), tokens=read[place])
        for region in REGIONS
        for language in ctx.plan.languages
        for source in SOURCES
        if read.get(place := (language, region, source))
    ]


def _tokens_read(ctx: Context, sae: int) -> dict[tuple[str, str, str], int]:
    """Tokens by language, region and source."""
    found: dict[tuple[str, str, str], int] = {}
    for result_id in ctx.numbers.ids():
        parts = result_id.split("/")
        if len(parts) != 6 or (parts[0], parts[3], parts[5]) != ("fidelity", f"sae{sae}", "tokens"):
            continue
        source, _, stratum = parts[4].partition(".")
        region = "image" if stratum in get_args(Rendering) else stratum
        result = ctx.numbers.result(result_id)
        if result and result.value:
            place = (parts[1], region, source)
            found[place] = found.get(place, 0) + int(result.value)
    return found


def _axis(found: Sequence[Density]) -> Scale:
    """From a power of ten at or below the smallest share to one at or above the largest."""
    shares = [d.share for d in found if d.active]
    low = math.floor(math.log10(min(shares, default=0.01)) + 1e-9)
    high = math.ceil(math.log10(max(shares, default=1.0)) - 1e-9)
    low = min(low, high - 1)
    return Scale(10.0**low, 10.0**high, LEFT + NONE, WIDTH - 24, logarithmic=True)


def _frame(ctx: Context, across: Scale, rows: int) -> tuple[list[Shape], list[Label]]:
    """A line at each power of ten, and the place of those that are never active."""
    words, bottom = ctx.words.charts["density"], TOP + ROW * rows
    first, last = (round(math.log10(end)) for end in (across.low, across.high))
    ticks = [10.0**power for power in range(first, last + 1)]
    grid = [vertical(across.at(tick), TOP, bottom) for tick in ticks]
    grid += [horizontal(TOP + ROW * i, 0, WIDTH - 24) for i in range(rows)]
    axis = [horizontal(bottom, across.start, across.end), horizontal(bottom, LEFT, LEFT + NONE / 2)]
    labels = [
        say(across.at(t), bottom + 15, write_percent(t), place="middle", ink="quiet") for t in ticks
    ]
    labels.append(say(_none_x(), bottom + 15, words["none"], place="middle", ink="quiet"))
    middle = (across.start + across.end) / 2
    labels.append(say(middle, bottom + 28, words["across"], place="middle", ink="quiet"))
    return [
        Shape(look="grid", path=" ".join(grid)),
        Shape(look="axis", path=" ".join(axis)),
    ], labels


def _none_x() -> float:
    return LEFT + NONE / 4


def _marks(found: Sequence[Density], places: Sequence[Place], across: Scale) -> list[Shape]:
    paths: dict[str, list[str]] = {}
    for d in found:
        _, form, lift = MARKS[d.source]
        y = TOP + ROW * (places.index((d.language, d.region)) + 0.5) + lift
        paths.setdefault(d.source, []).append(
            form(across.at(d.share) if d.active else _none_x(), y, RADIUS)
        )
    return [Shape(look=MARKS[source][0], path=" ".join(parts)) for source, parts in paths.items()]


def _keys(ctx: Context, found: Sequence[Density]) -> tuple[list[Shape], list[Label]]:
    """What each mark is."""
    shapes, labels, x = [], [], LEFT
    for source in (s for s in SOURCES if any(d.source == s for d in found)):
        look, form, _ = MARKS[source]
        name = _source(ctx, source)
        shapes.append(Shape(look=look, path=form(x + 5, 12, RADIUS)))
        labels.append(say(x + 14, 16, name, ink="small"))
        x += width_of(name, SMALL) + 36
    return shapes, labels


def _row_names(ctx: Context, places: Sequence[Place]) -> list[Label]:
    return [
        say(LEFT - 12, TOP + ROW * (i + 0.5) + 4, cut(_place(ctx, place), LEFT - 12), place="end")
        for i, place in enumerate(places)
    ]


def _name(ctx: Context, feature: FeatureRef) -> str:
    sae = ctx.plan.saes[feature.sae].name if feature.sae < len(ctx.plan.saes) else str(feature.sae)
    return ctx.words.charts["density"]["feature"].format(latent=feature.latent, sae=sae)


def _place(ctx: Context, place: Place) -> str:
    language = ctx.language(place[0]).name
    if place[1] == "read":
        return language
    return ctx.words.charts["density"]["pictures"].format(language=language)


def _source(ctx: Context, source: str) -> str:
    return ctx.words.charts["density"][f"source_{source}"]


def _spoken(ctx: Context, place: Place, found: Sequence[Density]) -> str:
    words = ctx.words.charts["density"]
    shares = ", ".join(
        words["share"].format(source=in_sentence(_source(ctx, d.source)), share=_share(ctx, d))
        for d in found
        if (d.language, d.region) == place
    )
    return words["row"].format(place=_place(ctx, place), shares=shares)


def _share(ctx: Context, d: Density) -> str:
    """The share with enough digits: a sparse feature is active on few tokens in ten thousand."""
    if not d.active:
        return ctx.words.charts["density"]["none"]
    return write_percent(float(f"{d.share:.2g}"))


def _table(ctx: Context, title: str, places: Sequence[Place], found: Sequence[Density]) -> Table:
    words = ctx.words.charts["density"]
    sources = [source for source in SOURCES if any(d.source == source for d in found)]
    by_place = {(d.language, d.region, d.source): d for d in found}
    rows = (
        TableRow(
            title=_place(ctx, place),
            entries=tuple(_entry(ctx, by_place.get((*place, source))) for source in sources),
        )
        for place in places
    )
    columns = [_source(ctx, source) for source in sources]
    return data_of(ctx, title, words["corner"], columns, [RowGroup(rows=tuple(rows))])


def _entry(ctx: Context, d: Density | None) -> Entry:
    if d is None:
        return EMPTY
    words = ctx.words.charts["density"]["counts"]
    active, tokens = write_count(d.active), write_count(d.tokens)
    return Entry(text=words.format(share=_share(ctx, d), active=active, tokens=tokens))
