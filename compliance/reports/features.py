"""Feature cards: one for each feature that stands for a concept, in the layout of the field.

What the concept's name scored here, where the feature fires, what its weights raise, which latents
are near, and test items with the tokens on which it was active. A card computes nothing that has a
result's name: scores carry their ids, and the rest stands in the observation tables it names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from compliance.records.audit import FeatureRef
from compliance.records.chart import Chart
from compliance.records.feature_card import (
    LEVELS,
    ExampleCell,
    ExampleRow,
    ExampleView,
    FeatureCard,
    Run,
)
from compliance.records.page import Entry, Fact, RowGroup, Table, TableRow
from compliance.records.plan import Cell, LockedProbe, PlannedProbe
from compliance.records.suite import Item, Label
from compliance.reports.charts import density, histograms, roc
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.examples import (
    RULES,
    Listed,
    Scored,
    Tokens,
    chosen,
    marked,
    readable,
    strongest,
    visible,
    words_of,
)
from compliance.reports.gallery import cut_off
from compliance.reports.locked import locked_probe, search_words
from compliance.reports.numbers import write, write_count
from compliance.reports.tables import row_across

SCORES = ("auroc-hard", "sensitivity", "fpr-hard")
"""What is printed of the concept's name, by language."""

LENGTHS = ((3, 1), (2, 1), (2, 0), (1, 0))
"""Examples of each rule: in the reference and the weakest language, and in each other one."""

MAX_EXAMPLES = 480
"""In one report; where there would be more, rules have fewer each."""

LISTED = 10
"""Latents in each list."""


def feature_cards(ctx: Context) -> tuple[FeatureCard, ...]:
    """A card for each feature of each locked probe, in the plan's order.

    Args:
        ctx: Evidence, words and what the run saw of items and tokens.
    """
    lengths = _lengths(ctx)
    return tuple(
        _Card(ctx, probe, locked, feature, lengths).record()
        for probe in ctx.plan.probes
        if (locked := locked_probe(ctx, probe.concept)) is not None
        for feature in locked.features
    )


def _lengths(ctx: Context) -> tuple[int, int]:
    """Examples of each rule, as many as a report holds."""
    cells = [cell for probe in ctx.plan.probes for cell in _worded(ctx, probe.concept)]
    main = sum(_is_main(ctx, cell) for cell in cells)
    for many, few in LENGTHS:
        if len(RULES) * (many * main + few * (len(cells) - main)) <= MAX_EXAMPLES:
            return many, few
    return LENGTHS[-1]


def _worded(ctx: Context, concept: str) -> list[Cell]:
    """A concept's cells whose items are text; the reference first, then the weakest."""
    found = [c for c in ctx.plan.cells if c.concept == concept and c.modality == "text"]
    return sorted(found, key=lambda c: (not ctx.is_reference(c), not _is_main(ctx, c)))


def _is_main(ctx: Context, cell: Cell) -> bool:
    """Whether a cell is in the reference language or in the one that the lock names weakest."""
    weakest = ctx.evidence.lock.shifted_languages.get(cell.concept, ())
    return ctx.is_reference(cell) or cell.language in weakest


@dataclass(frozen=True)
class _Card:
    """What one card is made of."""

    ctx: Context
    probe: PlannedProbe
    locked: LockedProbe
    feature: FeatureRef
    lengths: tuple[int, int]

    @property
    def words(self) -> Mapping[str, str]:
        return self.ctx.words.feature_cards

    @property
    def cells(self) -> list[Cell]:
        """All of the concept, in the plan's order."""
        return [cell for cell in self.ctx.plan.cells if cell.concept == self.probe.concept]

    @property
    def is_first(self) -> bool:
        """Whether this card shows the examples, which belong to all features of the probe."""
        return self.feature == self.locked.features[0]

    def record(self) -> FeatureCard:
        ctx, concept = self.ctx, self.probe.concept
        cells = tuple(self.examples()) if self.ctx.observed and self.is_first else ()
        pictures = ctx.has_pictures and any(cell.modality != "text" for cell in self.cells)
        return FeatureCard(
            anchor=_anchor(concept, self.feature),
            title=self.probe.title,
            place=self.words["place"].format(latent=self.feature.latent, sae=self.sae),
            concept_anchor=anchor("concept", concept),
            caution=self.words["caution"].format(concept=self.probe.title),
            facts=tuple(self.facts()),
            scores=tuple(self.scores()),
            weights=tuple(self.weights()),
            latents=(self.nearest(), self.cofiring()),
            charts=tuple(self.charts()),
            weights_title=self.words["weights"],
            weights_note=self.words["weights_note"],
            examples_title=self.words["examples"],
            columns=(self.words["item"], self.words["text"]),
            legend=tuple(self.legend()) if cells and self.largest > 0 else (),
            reading=tuple(self.reading()) if cells else (),
            rules=tuple(self.rules()) if cells else (),
            cells=cells,
            absent=None if cells else self.absent(),
            pictures=self.words["pictures"] if pictures else None,
            pictures_anchor=anchor("pictures", concept) if pictures else None,
        )

    @property
    def sae(self) -> str:
        saes = self.ctx.plan.saes
        place = self.feature.sae
        return saes[place].name if place < len(saes) else f"sae{place}"

    def facts(self) -> Iterator[Fact]:
        words, ctx = self.words, self.ctx
        saes = ctx.plan.saes[self.feature.sae : self.feature.sae + 1]
        origin = "given_name" if self.locked.selection is None else "sought_name"
        yield Fact(label=words["name"], value=words[origin].format(concept=self.probe.title))
        label = self.feature.label
        own = words["own_label"].format(label=label) if label else words["no_label"]
        yield Fact(label=words["label"], value=own)
        yield Fact(label=words["sae"], value=self.sae, code=True)
        for sae in saes:
            yield Fact(label=words["hook"], value=sae.hook_name, code=True)
        of = f" / {write_count(saes[0].d_sae)}" if saes else ""
        yield Fact(label=words["latent"], value=f"{self.feature.latent}{of}", code=True)
        yield Fact(label=words["read"], value=self.reads())
        if len(self.locked.features) > 1:
            yield Fact(label=words["combined"], value=self.combined())
        found = " ".join(search_words(ctx, self.probe))
        yield Fact(label=words["found"], value=found)

    def reads(self) -> str:
        words = self.ctx.words
        return self.words["reads"].format(
            pooling=words.pooling.get(self.probe.pooling, self.probe.pooling),
            region=words.regions.get(self.probe.region, self.probe.region),
        )

    def combined(self) -> str:
        others = [f.latent for f in self.locked.features if f != self.feature]
        return self.words["combined_with"].format(others=", ".join(map(str, others)))

    def scores(self) -> Iterator[Table]:
        """What the name got: a table for each page's width of languages."""
        ctx = self.ctx
        for languages in ctx.language_columns:
            groups = []
            for kind in ctx.by_kind(c for c in self.cells if c.language in languages):
                rows = tuple(_across(ctx, kind, name, languages) for name in SCORES)
                groups.append(RowGroup(heading=ctx.kind(kind[0]), rows=rows))
            if len(groups) == 1:
                groups = [RowGroup(rows=groups[0].rows)]
            yield Table(
                caption=self.words["scores"].format(concept=self.probe.title),
                corner=ctx.words.ui["number"],
                columns=tuple(ctx.language(tag).name for tag in languages),
                groups=tuple(groups),
                absent=ctx.words.ui["no_cells"],
            )

    def charts(self) -> Iterator[Chart]:
        """Where the feature fires; and once a probe, how its scores lie and rank.

        Paper leaves their tables out, which would take a page of each card.
        Those of texts, where the concept has any: pictures have charts in the concept's chapter.
        """
        ctx, prefix = self.ctx, _anchor(self.probe.concept, self.feature)
        kinds = ctx.by_kind(self.cells)
        drawn = [density(ctx, self.feature)]
        if self.is_first and kinds:
            drawn += [roc(ctx, kinds[0]), histograms(ctx, kinds[0])]
        for chart in drawn:
            if chart is not None:
                own = {"anchor": f"{prefix}-{chart.anchor}", "table_on_paper": False}
                yield chart.model_copy(update=own)

    def weights(self) -> Iterator[Table]:
        for kind in ("top-logit", "bottom-logit"):
            rows = (
                (visible(readable(str(row.text))), (write(row.value, "score"),))
                for row in self.of_weights(kind).itertuples()
            )
            yield self.list_of(kind, ("effect",), rows)

    def nearest(self) -> Table:
        rows = (
            (str(row.other), (write(row.value, "auroc"),))
            for row in self.of_weights("nearest").itertuples()
        )
        return self.list_of("nearest", ("cosine",), rows)

    def cofiring(self) -> Table:
        """Latents that fired on the same tokens, those with the largest Jaccard index first."""
        found = self.rows_of("cofiring")
        alone = self.fired
        own = alone.get(self.feature.latent, 0)
        listed = []
        for row in found.itertuples():
            either = own + alone.get(row.other, 0) - row.tokens
            listed.append((row.tokens / either if either else 0.0, row.other, row.tokens))
        listed.sort(key=lambda one: (-one[0], one[1]))
        rows = (
            (
                str(other),
                (write(jaccard, "auroc"), write_count(both), write_count(alone.get(other, 0))),
            )
            for jaccard, other, both in listed
        )
        return self.list_of("cofiring", ("jaccard", "both", "alone"), rows)

    @cached_property
    def fired(self) -> dict[int, int]:
        """On how many read tokens each latent of this SAE fired."""
        if self.ctx.observed is None:
            return {}
        table = self.ctx.observed.firing
        mine = table[(table["sae"] == self.feature.sae) & (table["region"] == "read")]
        return mine.groupby("latent")["tokens"].sum().to_dict()

    def list_of(self, kind: str, columns: Sequence[str], rows: Iterator) -> Table:
        words = self.words
        found = [
            TableRow(title=title, entries=tuple(Entry(text=value) for value in values))
            for title, values in rows
        ]
        return Table(
            caption=words[kind],
            corner=words["token" if kind.endswith("logit") else "latent"],
            columns=tuple(words[column] for column in columns),
            groups=(RowGroup(rows=tuple(found[:LISTED])),) if found else (),
            absent=words["no_observed" if self.ctx.observed is None else f"no_{kind}"],
        )

    def of_weights(self, kind: str) -> pd.DataFrame:
        found = self.rows_of("features")
        return found[found["kind"] == kind].sort_values("rank") if len(found) else found

    def rows_of(self, name: str) -> pd.DataFrame:
        """This feature's lines of an observation table; none without observations."""
        if self.ctx.observed is None:
            return pd.DataFrame()
        table: pd.DataFrame = getattr(self.ctx.observed, name)
        return table[
            (table["concept"] == self.probe.concept)
            & (table["sae"] == self.feature.sae)
            & (table["latent"] == self.feature.latent)
        ]

    @cached_property
    def scored(self) -> dict[str, float]:
        """The probe's score of each item."""
        assert self.ctx.observed is not None  # without observations there are no examples
        table = self.ctx.observed.scores
        mine = table[(table["concept"] == self.probe.concept) & (table["scorer"] == "probe")]
        return dict(zip(mine["item"], mine["score"].astype(float), strict=True))

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """The probe on the tokens of the concept's texts."""
        assert self.ctx.observed is not None  # without observations there are no examples
        table = self.ctx.observed.tokens
        return table[table["concept"] == self.probe.concept]

    def tokens_of(self, item: str) -> Tokens | None:
        """The probe on an item's tokens."""
        mine = self.tokens[self.tokens["item"] == item]
        if not len(mine):
            return None
        return Tokens(*(_list_of(mine[name]) for name in ("starts", "ends", "activations")))

    @cached_property
    def largest(self) -> float:
        """The largest activation on any token of the concept's texts."""
        column = self.tokens["activations"]
        if isinstance(column.dtype, pd.ArrowDtype):
            values = column.list.flatten()
            return float(values.max()) if len(values) else 0.0
        return max((float(max(values)) for values in column if len(values)), default=0.0)

    def examples(self) -> Iterator[ExampleCell]:
        ctx = self.ctx
        for cell in _worded(ctx, self.probe.concept):
            length = self.lengths[0 if _is_main(ctx, cell) else 1]
            scored = list(self.items_of(cell))
            if length and scored:
                yield ExampleCell(
                    title=ctx.place(cell),
                    anchor=cell_anchor(cell),
                    brief=length == 1,
                    rows=tuple(self.example_rows(cell, scored, length)),
                )

    def items_of(self, cell: Cell) -> Iterator[Scored]:
        """Positives and hard negatives of a cell, and benign items in its language."""
        assert self.ctx.observed is not None  # without observations there are no examples
        for place, row in enumerate(self.ctx.observed.facts.itertuples(index=False)):
            mine = row.concept == cell.concept or row.label == Label.NEGATIVE
            here = (row.language, row.modality, row.rendering) == cell.variant
            if mine and here and row.item in self.scored:
                yield Scored(Listed(row.item, Label(row.label), place), self.scored[row.item])

    def whole(self, one: Scored) -> Scored:
        """With the item itself."""
        assert self.ctx.observed is not None  # without observations there are no examples
        item = one.item
        return one._replace(item=self.ctx.observed.items[item.place])

    def example_rows(
        self, cell: Cell, scored: Sequence[Scored], length: int
    ) -> Iterator[ExampleRow]:
        words, limit = self.words, cut_off(self.ctx.evidence, cell)
        shown: dict[str, str] = {}
        for rule, listed in chosen(self.ctx.plan.seed, scored, limit, length).items():
            title = words[rule]
            found = None if listed is None else [self.whole(one) for one in listed]
            yield ExampleRow(
                title=title,
                examples=tuple(
                    self.example(one, limit, shown.get(one.item.id)) for one in found or ()
                ),
                absent=words["no_cut_off" if found is None else f"no_{rule}"],
            )
            for one in found or ():
                shown.setdefault(one.item.id, title)

    def example(self, one: Scored, limit: float | None, shown_at: str | None) -> ExampleView:
        """An item; its words once only, and never those of a restricted one."""
        item, words = one.item, self.words
        if item.restricted or shown_at:
            label = self.ctx.words.labels[item.label]
            instead = words["shown_at" if shown_at else "withheld"].format(
                label=label, rule=shown_at
            )
            language, repeated = self.ctx.words.language, bool(shown_at)
            return self.view(one, limit, language=language, instead=instead, repeated=repeated)
        said, found = words_of(item, self.probe.region), self.tokens_of(item.id)
        runs = marked(said, found or Tokens((), (), ()), self.largest)
        return self.view(
            one,
            limit,
            language=item.language,
            runs=tuple(self.named(run) for run in runs),
            peak=self.peak(said.text, found, strongest(said, found) if found else None),
            origin=self.origin(item),
        )

    def view(self, one: Scored, limit: float | None, **shown: Any) -> ExampleView:
        return ExampleView(
            item=one.item.id,
            label=self.ctx.words.labels[one.item.label],
            outcome=self.outcome(one, limit),
            alarm=None if limit is None else one.score > limit,
            **shown,
        )

    def named(self, run: Run) -> Run:
        """A run whose speaker is called by a word of the report."""
        return run.model_copy(update={"turn": self.words[run.turn]}) if run.turn else run

    def outcome(self, one: Scored, limit: float | None) -> str:
        score = write(one.score, "score")
        if limit is None:
            return self.words["score"].format(score=score)
        right = (one.item.label is Label.POSITIVE) == (one.score > limit)
        name = ("alarm" if one.score > limit else "no_alarm") + ("" if right else "_wrong")
        return self.words[name].format(score=score, cut_off=write(limit, "score"))

    def peak(self, text: str, tokens: Tokens | None, place: int | None) -> str:
        """The strongest token in words."""
        if tokens is None:
            return self.words["no_tokens"]
        if place is None:
            return self.words["not_active" if not tokens.activations else "not_active_read"]
        token = text[tokens.starts[place] : tokens.ends[place]]
        return self.words["peak"].format(
            token=visible(token), activation=write(float(tokens.activations[place]), "score")
        )

    def origin(self, item: Item) -> str | None:
        if item.origin != "machine-translated":
            return None
        return self.words["machine_reviewed" if item.reviewed else "machine"]

    def legend(self) -> Iterator[Run]:
        """A sample of each level, written with the activation that it goes up to."""
        for level in range(1, LEVELS + 1):
            top = write(self.largest * level / LEVELS, "score")
            yield Run(text=self.words["level"].format(top=top), level=level)

    def reading(self) -> Iterator[str]:
        words, (many, few) = self.words, self.lengths
        yield (
            words["choice"].format(many=many, few=few)
            if few
            else words["choice_main"].format(many=many)
        )
        if self.largest > 0:
            yield words["marks"].format(largest=write(self.largest, "score"))
        yield words["source"]

    def rules(self) -> Iterator[Fact]:
        for rule in RULES:
            value = self.words[f"{rule}_rule"].format(seed=self.ctx.plan.seed)
            yield Fact(label=self.words[rule], value=value)

    def absent(self) -> str:
        if self.ctx.observed is None:
            return self.words["no_observed"]
        if not self.is_first:
            return self.words["elsewhere"].format(latent=self.locked.features[0].latent)
        return self.words["no_items"]


def _anchor(concept: str, feature: FeatureRef) -> str:
    return anchor("feature", f"{concept}/{feature.sae}/{feature.latent}")


def _list_of(column: pd.Series) -> list[Any]:
    """The one list of a column, its numbers of the type that they are stored in."""
    if not isinstance(column.dtype, pd.ArrowDtype):
        return list(column.iloc[0])
    kind = column.dtype.pyarrow_dtype.value_type.to_pandas_dtype()
    return list(column.list.flatten().to_numpy(kind))


def _across(ctx: Context, cells: Sequence[Cell], name: str, languages: Sequence[str]) -> TableRow:
    """One result, with a place for each language."""
    by_language = {cell.language: cell for cell in cells}
    row = row_across(ctx, cells, name)
    entries = dict(zip(by_language, row.entries, strict=True))
    places = tuple(entries.get(tag, Entry()) for tag in languages)
    return row.model_copy(update={"entries": places})
