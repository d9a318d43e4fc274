"""Which test items a feature card shows, and how their words are marked.

    rows = chosen(seed, scored, cut_off, length=3)
    runs = marked(words, tokens, largest)

Items are chosen by rules that are printed beside them, never picked; ties are broken by a hash of
the plan's seed and the item's name. Neighbouring characters of one level make one run: every run is
a box that a page has to lay out.
"""

import hashlib
import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from compliance.records.feature_card import LEVELS, Run
from compliance.records.suite import Item, Label
from compliance.suites.wording import ROLES

RULES = ("top", "borderline", "missed", "false-alarm", "random")

SHOWN = 220
"""Columns of an item's words that are shown; a Chinese or Japanese character takes two."""

TOKEN = 60
"""Characters of a token on its own."""

BEFORE = 0.4
"""Part of them before the strongest token."""

TO_SPACE = 14
"""Characters that a cut gives up in order to fall between words."""

ELLIPSIS = "…"
NEW_LINE = " ¶ "


class Listed(NamedTuple):
    """What a test item is chosen by, and its place among all."""

    id: str
    label: Label
    place: int


class Scored(NamedTuple):
    """A test item and the probe's score of it."""

    item: Item | Listed
    score: float


@dataclass(frozen=True)
class Tokens:
    """The probe on the tokens of an item on which it was active."""

    starts: Sequence[int]
    ends: Sequence[int]
    """Characters in the contents of the item's turns, one after the other."""

    activations: Sequence[float]


@dataclass(frozen=True)
class Words:
    """The contents of an item's turns, one after the other."""

    text: str
    turns: tuple[tuple[int, str], ...]
    """Where each turn begins, and whose it is; none where the item is a single prompt."""

    read: tuple[tuple[int, int], ...]
    """Stretches that the score is taken from."""


def chosen(
    seed: int, scored: Iterable[Scored], cut_off: float | None, length: int
) -> dict[str, list[Scored] | None]:
    """The items of each rule; None where a rule needs a cut-off and none was set.

    Args:
        seed: Of the plan.
        scored: Positives, hard negatives and benign items of one cell.
        cut_off: An alarm is a score strictly above it.
        length: Items of each rule at most.
    """
    drawn = sorted(scored, key=lambda one: _draw(seed, one.item))
    falling = sorted(drawn, key=lambda one: -one.score)
    rows: dict[str, list[Scored] | None] = dict.fromkeys(RULES)
    rows["top"] = falling
    rows["random"] = drawn
    if cut_off is not None:
        above = [one for one in falling if one.score > cut_off]
        below = [one for one in falling if one.score <= cut_off]
        missed = [one for one in below if one.item.label is Label.POSITIVE]
        rising = sorted(above, key=lambda one: one.score)
        sides = sorted((rising, below), key=lambda side: _distance(side, cut_off))
        rows["borderline"] = _by_turns(*sides)
        rows["missed"] = _from_both_ends(missed)
        rows["false-alarm"] = [one for one in above if one.item.label is not Label.POSITIVE]
    return {name: None if found is None else found[:length] for name, found in rows.items()}


def words_of(item: Item, region: str) -> Words:
    """An item's words, and which of them a probe's score is taken from.

    Args:
        item: With words.
        region: ``user``, ``assistant`` or ``last``, as planned.
    """
    if item.messages is None:
        text = item.text or ""
        first = max(len(text) - 1, 0) if region == "last" else 0
        return Words(text, (), ((first, len(text)),))
    ends = list(itertools.accumulate(len(message.content) for message in item.messages))
    starts = [0, *ends[:-1]]
    said = list(zip(item.messages, starts, ends, strict=True))
    roles = ROLES.get(region, ("user", "assistant"))
    read = tuple((start, end) for message, start, end in said if message.role in roles)
    return Words(
        text="".join(message.content for message in item.messages),
        turns=tuple((start, message.role) for message, start, _ in said),
        read=tuple((end - 1, end) for _, end in read[-1:]) if region == "last" else read,
    )


def strongest(words: Words, tokens: Tokens) -> int | None:
    """The token with the largest activation that the score is taken from, the first of several.

    None where the probe was active on none of them.
    """
    found = [
        place
        for place, activation in enumerate(tokens.activations)
        if activation > 0 and _is_read(words, tokens.starts[place], tokens.ends[place])
    ]
    return max(found, key=lambda place: tokens.activations[place], default=None)


def marked(words: Words, tokens: Tokens, largest: float) -> tuple[Run, ...]:
    """An item's words as runs, cut around the strongest token.

    Args:
        words: Of the item.
        tokens: On which the probe was active; where two share a character, the larger counts.
        largest: Activation that the highest level ends at.
    """
    text, peak = words.text, strongest(words, tokens)
    levels = _levels(text, tokens, largest)
    bold = (0, 0) if peak is None else _trimmed(text, tokens.starts[peak], tokens.ends[peak])
    centre = bold if peak is not None else (words.read[0][0],) * 2 if words.read else (0, 0)
    first, last = _window(text, *centre)
    runs = list(_runs(words, levels, bold, first, last))
    if first > 0:
        runs.insert(0, Run(text=ELLIPSIS))
    if last < len(text):
        runs.append(Run(text=ELLIPSIS))
    return tuple(runs)


def level_of(activation: float, largest: float) -> int:
    """Which quarter of the largest activation this one lies in; 0 where it is not positive."""
    if activation <= 0 or largest <= 0:
        return 0
    return min(LEVELS, math.ceil(LEVELS * activation / largest))


def readable(token: str) -> str:
    """The characters of a token as a vocabulary writes it: ``▁`` or ``Ġ`` is a space.

    Byte-level vocabularies write each byte as a character; a token that is part of a character
    stays as it is written.

    Source:
        ``bytes_to_unicode`` of OpenAI's GPT-2, encoder.py, 2019.
    """
    if not set(token) <= _BYTES.keys():
        return token.replace("▁", " ")
    try:
        return bytes(_BYTES[character] for character in token).decode()
    except UnicodeDecodeError:
        return token


def visible(token: str) -> str:
    """A token on its own: spaces as ``·``, a new line as ``¶``, a very long one cut."""
    shown = token if len(token) <= TOKEN else token[: TOKEN - 1] + ELLIPSIS
    return shown.replace("\r\n", "\n").replace("\n", "¶").replace(" ", "·")


def _byte_alphabet() -> dict[str, int]:
    """Printable bytes stand for themselves; the others, in order, for U+0100 and what follows."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_alphabet()


def _is_read(words: Words, start: int, end: int) -> bool:
    return any(start < last and first < end for first, last in words.read)


def _runs(
    words: Words, levels: Sequence[int], bold: tuple[int, int], first: int, last: int
) -> Iterator[Run]:
    turns = dict(words.turns)
    place, speaker = first, _speaker(words, first)
    while place < last:
        kind = (levels[place], bold[0] <= place < bold[1])
        end = place + 1
        while (
            end < last
            and end not in turns
            and (levels[end], bold[0] <= end < bold[1]) == kind
        ):  # fmt: skip
            end += 1
        yield Run(text=_flat(words.text[place:end]), level=kind[0], strongest=kind[1], turn=speaker)
        place, speaker = end, turns.get(end)


def _speaker(words: Words, place: int) -> str | None:
    """Whose turn a place is in."""
    return next((role for start, role in reversed(words.turns) if start <= place), None)


def _levels(text: str, tokens: Tokens, largest: float) -> list[int]:
    """The level of each character. A space takes part only between two of one level."""
    levels = [0] * len(text)
    for start, end, activation in zip(tokens.starts, tokens.ends, tokens.activations, strict=True):
        level = level_of(activation, largest)
        for place in range(max(start, 0), min(end, len(text))):
            levels[place] = max(levels[place], level)
    for place in range(1, len(text)):
        if _is_mark(text, place):
            levels[place - 1] = levels[place] = max(levels[place - 1 : place + 1])
    for blank, group in itertools.groupby(range(len(text)), key=lambda i: text[i].isspace()):
        places = list(group)
        if blank:
            before = levels[places[0] - 1] if places[0] else 0
            after = levels[places[-1] + 1] if places[-1] + 1 < len(text) else 0
            for place in places:
                levels[place] = before if before == after else 0
    return levels


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A token without the spaces around it, and with the whole letters that it is a part of."""
    token = text[start:end]
    if token.strip():
        start, end = end - len(token.lstrip()), start + len(token.rstrip())
    while start > 0 and _is_mark(text, start):
        start -= 1
    while _is_mark(text, end):
        end += 1
    return start, end


def _is_mark(text: str, place: int) -> bool:
    """Whether the character there stands on the letter before it."""
    return place < len(text) and unicodedata.category(text[place]).startswith("M")


def _window(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch around some characters that fits, cut between words where there are any."""
    end = min(end, _right(text, start, SHOWN))
    budget = SHOWN - _columns(text[start:end])
    first = _left(text, start, BEFORE * budget)
    last = _right(text, end, budget - _columns(text[first:start]))
    first = _left(text, start, budget - _columns(text[end:last]))
    if first > 0:
        spaces = (i + 1 for i in range(first, min(first + TO_SPACE, start)) if text[i].isspace())
        first = next(spaces, first)
    if last < len(text):
        spaces = (i for i in range(last - 1, max(last - TO_SPACE, end), -1) if text[i].isspace())
        last = next(spaces, last)
    return first, last


def _left(text: str, start: int, budget: float) -> int:
    while start > 0 and (budget := budget - _columns(text[start - 1])) >= 0:
        start -= 1
    while start > 0 and unicodedata.category(text[start : start + 1] or " ").startswith("M"):
        start -= 1
    return start


def _right(text: str, end: int, budget: float) -> int:
    while end < len(text) and (budget := budget - _columns(text[end])) >= 0:
        end += 1
    while _is_mark(text, end):
        end += 1
    return end


def _columns(text: str) -> int:
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def _flat(text: str) -> str:
    """Text in one line."""
    return text.replace("\r\n", "\n").replace("\n\n", "\n").replace("\n", NEW_LINE)


def _distance(side: Sequence[Scored], cut_off: float) -> float:
    return abs(side[0].score - cut_off) if side else math.inf


def _by_turns(one_side: Sequence[Scored], other_side: Sequence[Scored]) -> list[Scored]:
    """One of each side after the other; of a side that is used up, no more."""
    pairs = itertools.zip_longest(one_side, other_side)
    return [one for pair in pairs for one in pair if one is not None]


def _from_both_ends(falling: Sequence[Scored]) -> list[Scored]:
    """The first, the last, the second, the last but one, and so on."""
    half = (len(falling) + 1) // 2
    return _by_turns(falling[:half], falling[half:][::-1])


def _draw(seed: int, item: Item | Listed) -> str:
    """Ranks items in an order that nobody chose."""
    return hashlib.sha256(f"{seed}/{item.id}".encode()).hexdigest()
