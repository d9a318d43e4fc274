"""A page about one feature: the card of what was locked, and the feature on a prompt.

It is one HTML file that needs nothing else, and a browser loads and runs nothing from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import jinja2
import numpy as np
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.features.shown import Attention, Prompted, PromptToken, Shown
from compliance.records.audit import FeatureRef
from compliance.records.feature_card import FeatureCard, Run
from compliance.records.report import Text, printable
from compliance.reports.context import Context
from compliance.reports.examples import level_of, readable, visible
from compliance.reports.features import feature_cards
from compliance.reports.messages import load_messages
from compliance.reports.numbers import write, write_count, written_in
from compliance.reports.render import GENERATOR, page_policy, page_style, templates

SHARES = (0.05, 0.15, 0.3, 0.6)
"""Shares of attention from which a square of each size is drawn."""

SIZES = (0.3, 0.5, 0.7, 0.95)
"""Sides of the squares, in tokens: what is larger is larger, in print and without colour too."""

ROWS = 12
"""Of the table of the strongest attention."""

_LINK = re.compile(r'<a\b[^>]*\bhref="#([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)
_ID = re.compile(r'\bid="([^"]*)"')


@dataclass(frozen=True)
class Matrix:
    """One head's attention: a path of squares for each level."""

    title: Text
    side: int
    """Tokens."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class PromptView:
    """A latent on a prompt, as the page shows it."""

    title: Text
    runs: tuple[Run, ...]
    peak: Text
    rows: tuple[tuple[Text, Text], ...]
    """Each token and its activation."""

    attention_note: Text | None
    seen: tuple[tuple[Text, ...], ...]
    """Share, head and token of the strongest attention."""

    matrices: tuple[Matrix, ...]


@dataclass(frozen=True)
class WeightsView:
    """What the weights of a latent say."""

    title: Text
    facts: tuple[tuple[Text, Text], ...]
    lists: tuple[tuple[Text, tuple[tuple[Text, Text], ...]], ...]
    absent: Text


def locked_cards(ctx: Context) -> list[tuple[str, FeatureRef, FeatureCard]]:
    """Concept, feature and card of everything that was locked."""
    with written_in(ctx.words):
        cards = feature_cards(ctx)
    features = [
        (probe.concept, feature)
        for probe in ctx.plan.probes
        for locked in ctx.evidence.lock.probes
        if locked.concept == probe.concept
        for feature in locked.features
    ]
    return [(*feature, card) for feature, card in zip(features, cards, strict=True)]


def render_feature_page(
    *, title: str, packed: str | None, cards: Sequence[FeatureCard], shown: Sequence[Shown]
) -> str:
    """The page.

    Args:
        title: What it is about.
        packed: System and pack or run of the cards; None where there are none.
        cards: Of features that were locked; see `locked_cards`.
        shown: The same or other latents in the weights, and on a prompt.

    Raises:
        ReportError: The template does not fit.
    """
    messages = load_messages("en")
    words, css = messages.feature_page, page_style(messages.ui)
    models = ", ".join(dict.fromkeys(one.model for one in shown))
    source = (
        words["of_pack"].format(name=packed) if packed else words["of_model"].format(name=models)
    )
    try:
        with written_in(messages):
            html = (
                templates()
                .get_template("report/card_page.html.j2")
                .render(
                    report=SimpleNamespace(language=messages.language),
                    w=SimpleNamespace(**messages.ui),
                    words=words,
                    css=Markup(css),
                    policy=page_policy(css),
                    generator=GENERATOR,
                    title=printable(title),
                    source=printable(source),
                    cards=cards,
                    weights=[] if cards else [_weights(one, words) for one in shown],
                    prompts=[_prompt(one, one.prompted, words) for one in shown if one.prompted],
                    legend=_legend(words),
                )
            )
    except (jinja2.TemplateError, KeyError) as problem:
        raise ReportError(f"feature page: {problem}") from problem
    return _without_dead_links(html)


def _without_dead_links(html: str) -> str:
    """Links to parts that only the whole report has become their words."""
    there = set(_ID.findall(html))
    return _LINK.sub(lambda m: m[0] if m[1] in there else m[2], html)


def _place(one: Shown, words: Mapping[str, str]) -> str:
    return words["place"].format(latent=one.latent, sae=one.sae.name, model=one.model)


def _weights(one: Shown, words: Mapping[str, str]) -> WeightsView:
    facts = [
        (words["hook"], one.sae.hook_name),
        (words["sae"], f"{one.sae.architecture}, {write_count(one.sae.d_sae)}, {one.sae.digest}"),
        (words["norm"], write(one.decoder_norm, "score")),
        (words["neuronpedia"], one.link or words["no_link"]),
    ]
    effects = (("raises", one.top), ("lowers", one.bottom))
    lists = [
        (words[name], tuple((visible(readable(t)), write(value, "score")) for t, value in found))
        for name, found in effects
    ]
    near = tuple((str(latent), write(cosine, "score")) for latent, cosine in one.nearest)
    return WeightsView(
        title=printable(_place(one, words)),
        facts=tuple((label, printable(value)) for label, value in facts),
        lists=tuple((name, _printable(rows)) for name, rows in [*lists, (words["nearest"], near)]),
        absent=words["no_effects"],
    )


def _printable(rows: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((printable(a), printable(b)) for a, b in rows)


def _prompt(one: Shown, found: Prompted, words: Mapping[str, str]) -> PromptView:
    peak = found.strongest
    attention = found.attention if peak is not None else None
    return PromptView(
        title=printable(_place(one, words)),
        runs=tuple(_runs(found)),
        peak=words["silent"] if peak is None else words["peak"].format(
            token=printable(visible(found.tokens[peak].text)), place=peak + 1,
            activation=write(found.tokens[peak].activation, "score"),
        ),
        rows=_printable([(visible(t.text), write(t.activation, "score")) for t in found.tokens]),
        attention_note=attention and words["attention"].format(
            hook=attention.hook_name, token=printable(visible(found.tokens[peak or 0].text))
        ),
        seen=tuple(_seen(attention, peak)) if attention and peak is not None else (),
        matrices=tuple(_matrices(attention, words)) if attention else (),
    )  # fmt: skip


def _runs(found: Prompted) -> Iterator[Run]:
    """The prompt's characters, marked by the strongest token that each belongs to."""
    levels = [0] * len(found.prompt)
    for token in found.tokens:
        level = level_of(abs(token.activation), found.largest)
        for place in range(token.start, token.end):
            levels[place] = max(levels[place], level)
    peak = found.tokens[found.strongest] if found.strongest is not None else None
    start = 0
    for place in range(1, len(levels) + 1):
        ends = place == len(levels) or _kind(levels, place, peak) != _kind(levels, start, peak)
        if ends:
            level, strongest = _kind(levels, start, peak)
            yield Run(text=found.prompt[start:place], level=level, strongest=strongest)
            start = place


def _kind(levels: Sequence[int], place: int, peak: PromptToken | None) -> tuple[int, bool]:
    return levels[place], peak is not None and peak.start <= place < peak.end


def _seen(attention: Attention, token: int) -> Iterator[tuple[str, ...]]:
    for head, place, share in attention.strongest(token, ROWS):
        shown = printable(visible(attention.tokens[place]))
        yield write(share, "score"), str(head), str(place + 1), shown


def _matrices(attention: Attention, words: Mapping[str, str]) -> Iterator[Matrix]:
    for head, weights in enumerate(attention.weights):
        yield Matrix(
            title=words["head"].format(head=head),
            side=len(weights),
            paths=tuple(_squares(weights)),
        )


def _squares(weights: np.ndarray) -> Iterator[str]:
    """For each level one path of squares, each in the middle of its token's row and column."""
    levels = np.searchsorted(SHARES, weights, side="right")
    for level, size in enumerate(SIZES, start=1):
        edge = round((1 - size) / 2, 3)
        rows, columns = np.nonzero(levels == level)
        yield "".join(
            f"M{column + edge:g} {row + edge:g}h{size:g}v{size:g}h-{size:g}z"
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        )


def _legend(words: Mapping[str, str]) -> list[tuple[str, str]]:
    """A mark of each size, and what it stands for."""
    paths = [next(p for p in _squares(np.array([[low]])) if p) for low in SHARES]
    ends = (*SHARES[1:], 1.0)
    said = [
        words["share"].format(low=write(low, "score"), high=write(high, "score"))
        for low, high in zip(SHARES, ends, strict=True)
    ]
    return list(zip(paths, said, strict=True))
