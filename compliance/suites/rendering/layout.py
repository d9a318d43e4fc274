"""Where lines end: by Unicode's rules, and inside a word only where it fits no line.

UAX #14 (as ``uniseg`` has it) says where a line may be broken, so that no Japanese or Chinese line
begins with a full stop, a closing bracket or a small kana, and none ends with an opening one. Thai,
Khmer and Lao, whose words no rule finds, are broken only where a line is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

TAB = 4
"""Columns of a tabulator."""

_PARAGRAPH = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")

Measure = Callable[[str], float]
"""Width of a text in pixels."""


def lines(text: str, width: float, measure: Measure) -> Iterator[str]:
    """A text in lines of at most ``width`` pixels, without the spaces at their ends.

    Line ends of the text stay, and so do empty lines and spaces in front.
    """
    for paragraph in _PARAGRAPH.split(text):
        yield from _broken(paragraph.expandtabs(TAB), width, measure)


def clusters(text: str) -> Iterator[str]:
    """What readers take for one character: letters with their marks (UAX #29)."""
    if text.isascii():
        return iter(text)
    from uniseg.graphemecluster import grapheme_clusters

    return iter(grapheme_clusters(text))


def _broken(paragraph: str, width: float, measure: Measure) -> Iterator[str]:
    from uniseg.linebreak import line_break_units

    line, used = "", 0.0
    for unit in line_break_units(paragraph):
        for piece in _pieces(unit, width, measure):
            if line and used + measure(piece.rstrip()) > width:
                yield line.rstrip()
                line, used = "", 0.0
            line += piece
            used += measure(piece)
    yield line.rstrip()


def _pieces(unit: str, width: float, measure: Measure) -> Iterator[str]:
    """A unit whole, or cluster by cluster where it is wider than a line."""
    return clusters(unit) if measure(unit.rstrip()) > width else iter((unit,))
