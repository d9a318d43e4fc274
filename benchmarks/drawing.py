"""Draws the summary of known_answers.py as SVG, without a plotting library.

    python benchmarks/drawing.py docs/validation/known_answers.json

writes ``known_answers.svg`` beside it: above, the share of families with a false claim in each null
against the 5 % that the method declares; below, how often planted probes were supported against
what their plans predict. Lines are 95 % intervals.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW = 760, 300, 640, 22
MOST = 0.10
"""Right end of the upper scale."""

DECLARED = 0.05
STYLE = (
    "text{font:13px sans-serif;fill:#222}line{stroke:#222}"
    ".grid{stroke:#ccc}.limit{stroke:#b00020;stroke-dasharray:4 3}"
    ".predicted{fill:none;stroke:#b00020;stroke-width:1.5}.head{font-weight:bold}"
)


def svg(summary: Mapping[str, list[dict]]) -> str:
    """The whole picture as one SVG document."""
    shapes, y = [], 10.0
    for part in (_nulls, _planted):
        for shape, height in part(summary, y):
            shapes.append(shape)
            y += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10:g}" role="img">'
        f"<title>Known answers: false claims, and power</title><style>{STYLE}</style>"
        + "".join(shapes)
        + "</svg>\n"
    )


Shapes = Iterator[tuple[str, float]]
"""A shape, and by how much the next one starts lower."""


def _nulls(summary: Mapping[str, list[dict]], y: float) -> Shapes:
    rows = summary["nulls"]
    bottom = y + ROW * (len(rows) + 1)
    yield _text(10, y + 15, "Families with a false claim", "head"), ROW
    for share in (0.0, 0.025, 0.05, 0.075, 0.1):
        x = _x(share / MOST)
        kind = "limit" if share == DECLARED else "grid"
        yield _line(x, y + ROW, x, bottom, kind) + _text(x - 12, bottom + 15, f"{share:.1%}"), 0
    for place, row in enumerate(rows, start=1):
        shares = [min(row[key] / MOST, 1.0) for key in ("share", "low", "high")]
        written = f"{row['share']:.1%} of {row['audits']}"
        yield _row(row["name"], shares, written, y + ROW * place), ROW
    yield "", 2 * ROW


def _planted(summary: Mapping[str, list[dict]], y: float) -> Shapes:
    rows = [
        (f"sensitivity {row['sensitivity']:g}, {row['design']['groups']} groups, {kind}", row[kind])
        for row in summary["planted"]
        for kind in ("reference", "other")
    ]
    bottom = y + ROW * (len(rows) + 1)
    yield _text(10, y + 15, "Planted probes supported (circle: predicted)", "head"), ROW
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _x(share)
        yield _line(x, y + ROW, x, bottom, "grid") + _text(x - 12, bottom + 15, f"{share:.0%}"), 0
    for place, (name, row) in enumerate(rows, start=1):
        top = y + ROW * place
        shape = _row(name, [row[k] for k in ("share", "low", "high")], f"{row['share']:.1%}", top)
        circle = (
            f'<circle class="predicted" cx="{_x(row["predicted"]):g}" cy="{top + 11:g}" r="6"/>'
        )
        yield shape + circle, ROW
    yield "", ROW


def _row(name: str, shares: list[float], written: str, top: float) -> str:
    value, low, high = (_x(share) for share in shares)
    middle = top + ROW / 2
    dot = f'<circle cx="{value:g}" cy="{middle:g}" r="3.5"/>'
    interval = _line(low, middle, high, middle)
    return _text(10, middle + 4, name) + interval + dot + _text(RIGHT + 12, middle + 4, written)


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * share, 1)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    picture = svg(json.loads(source.read_text(encoding="utf-8")))
    source.with_suffix(".svg").write_text(picture, encoding="utf-8")
