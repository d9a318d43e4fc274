"""What the command ``features`` prints: tables that need no colour and no wide terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from compliance.features.reading import NamedFeature
from compliance.features.shown import Prompted, Shown, link
from compliance.records.report import printable
from compliance.reports.examples import readable
from compliance.workflow.features import Searched

BAR = 20
"""Blocks of the longest bar."""

HEADS = 10
"""Rows of the table of attention."""

_BLOCKS = " ▏▎▍▌▋▊▉█"


def named(found: Sequence[NamedFeature]) -> Iterator[str]:
    """Labels that were found, and what a label is worth."""
    if not found:
        yield "no label has all of these words"
        return
    rows = [
        (str(f.index), f"{f.model}/{f.source}", f.explainer or f.method or "-", f.label or "")
        for f in found
    ]
    yield from table(("latent", "source", "written by", "label"), rows)
    yield "A label is what somebody took a latent for; 'compliance audit' measures whether it is."


def searched(found: Searched) -> Iterator[str]:
    """The best latents of a search, and why their numbers are too good."""
    seen = found.candidates
    yield (
        f"{found.title} ({found.concept}): latents by AUROC on {seen.positives} positives and "
        f"{seen.hard_negatives} hard negatives of the discover split, {found.language}"
    )
    locked = {(feature.sae, feature.latent) for feature in found.locked}
    rows = []
    for candidate in seen.latents:
        place = (candidate.feature.sae, candidate.feature.latent)
        sae = found.saes[place[0]]
        rows.append((
            f"{candidate.auroc:.3f}", f"{place[1]}", f"{place[0]} ({sae.name})",
            f"{candidate.positives}", f"{candidate.hard_negatives}",
            " ".join(filter(None, ["locked" if place in locked else "", link(sae, place[1])])),
        ))  # fmt: skip
    yield from table(
        ("AUROC", "latent", "SAE", "fired on positives", "on hard negatives", ""), rows
    )
    yield (
        f"These are the best of {seen.searched:,} on the items that they were chosen on, so their "
        "AUROC is too good; what it is on other items, only the confirm split tells."
    )


def shown(found: Shown) -> Iterator[str]:
    """One latent."""
    sae = found.sae
    yield f"latent {found.latent} of {sae.name} (SAE {found.number}) in {found.model}"
    facts = [
        ("reads", sae.hook_name),
        ("SAE", f"{sae.architecture}, {sae.d_sae:,} latents, {sae.digest}"),
        ("decoder norm", f"{found.decoder_norm:.4g}"),
        ("Neuronpedia", found.link or "the SAE's configuration names no place there"),
        ("raises", _effects(found.top)),
        ("lowers", _effects(found.bottom)),
        ("nearest", "  ".join(f"{latent} ({cosine:.3f})" for latent, cosine in found.nearest)),
    ]
    yield from (f"{name:<14}{value}" for name, value in facts)
    if found.prompted:
        yield ""
        yield from prompted(found.prompted)


def prompted(found: Prompted) -> Iterator[str]:
    """A bar and a number for each token, then where the strongest one looks."""
    yield f"{'activation':>10}  {'':<{BAR}}  token"
    for token in found.tokens:
        bar = _bar(abs(token.activation), found.largest)
        yield f"{token.activation:>10.4g}  {bar:<{BAR}}  {visible(token.text)}"
    place, seen = found.strongest, found.attention
    if place is None:
        yield "It is active on no token of the prompt."
    elif seen:
        yield ""
        yield (
            f"attention of the layer of {seen.hook_name}, from token {seen.content[place] + 1} of "
            f"the input, {visible(found.tokens[place].text)}, where the latent is strongest"
        )
        rows = [
            (f"{share:.3f}", f"{head}", f"{to + 1}", visible(seen.tokens[to]))
            for head, to, share in seen.strongest(place, HEADS)
        ]
        yield from table(("share", "head (from 0)", "token of the input", ""), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of equal width, two spaces apart; the last one is as long as it is."""
    widths = [max(map(_width, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = [
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def visible(token: str) -> str:
    """A token on one line: spaces as ``·``, a new line as ``¶``, what is invisible by its code."""
    return printable(token).replace("\n", "¶").replace(" ", "·")


def _effects(effects: Sequence[tuple[str, float]]) -> str:
    if not effects:
        return "not told: the SAE does not write into the stream that becomes words"
    return "  ".join(f"{visible(readable(token))} {value:+.3g}" for token, value in effects)


def _bar(value: float, largest: float) -> str:
    eighths = round(8 * BAR * value / largest) if largest else 0
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
