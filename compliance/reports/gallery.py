"""Which pictures a report shows: chosen by rules that are printed, never picked.

    gallery = Gallery(items=items, scores=scores, patches=patches)
    needed = {item.image.digest for item in shown_items(evidence, gallery)}
    gallery = replace(gallery, pictures={digest: read(digest) for digest in needed})

A cell has four rows: the highest positives, what lies nearest to the cut-off, the lowest of the
missed positives, and items drawn by hash. Ties are broken by the same hash.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compliance.records.evidence import Evidence
from compliance.records.plan import Cell
from compliance.records.suite import Item, Label

ROWS = ("top", "borderline", "missed", "random")
IN_A_ROW = 4
MAX_PICTURES = 64
"""In one report; with more cells the rows are shorter, and beyond that cells are left out."""

SHOWN_LABELS = (Label.POSITIVE, Label.HARD_NEGATIVE)


@dataclass(frozen=True)
class Patches:
    """The probe on each token of a picture, line by line; no rows: there is no single grid."""

    rows: int
    columns: int
    activations: Sequence[float]


@dataclass(frozen=True)
class Gallery:
    """What a run saw of pictures on the confirm split, as plain values."""

    items: Sequence[Item]
    """Of the confirm split, with a picture; others are left alone."""

    scores: Mapping[tuple[str, str], float]
    """The probe's, by item and concept."""

    patches: Mapping[tuple[str, str], Patches]
    """By item and concept."""

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by digest; those that no row shows may be missing."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Different pictures of each suite, by its name."""


def shown_items(evidence: Evidence, gallery: Gallery) -> list[Item]:
    """Every item whose picture is shown, each once; withheld ones are not among them."""
    cells = gallery_cells(evidence, gallery)
    found = {
        item.id: item
        for cell in cells
        for items in picture_rows(evidence, gallery, cell, row_length(len(cells))).values()
        for item in items or ()
        if not item.restricted
    }
    return list(found.values())


def gallery_cells(evidence: Evidence, gallery: Gallery) -> list[Cell]:
    """Cells that get pictures: of the reference language and of the weakest.

    The lock names the weakest. The reference comes first, so that it is the last to be left out.
    """
    reference = evidence.plan.claims.reference_language
    found = [
        cell
        for cell in evidence.plan.cells
        if cell.modality != "text"
        and cell.language in evidence.lock.shifted_languages.get(cell.concept, (reference,))
        and _scored(gallery, cell)
    ]
    found.sort(key=lambda cell: cell.language != reference)
    return found[: MAX_PICTURES // len(ROWS)]


def row_length(cells: int) -> int:
    """Pictures in each row, where so many cells have some."""
    return min(IN_A_ROW, MAX_PICTURES // (len(ROWS) * max(cells, 1)))


def picture_rows(
    evidence: Evidence, gallery: Gallery, cell: Cell, length: int
) -> dict[str, list[Item] | None]:
    """The items of each row; None where a rule needs a cut-off and none was set."""
    limit, seed = cut_off(evidence, cell), evidence.plan.seed
    drawn = sorted(_scored(gallery, cell), key=lambda item: _draw(seed, item))
    score = {item.id: gallery.scores[item.id, cell.concept] for item in drawn}
    positives = [item for item in drawn if item.label is Label.POSITIVE]
    rows: dict[str, list[Item] | None] = dict.fromkeys(ROWS)
    rows["top"] = sorted(positives, key=lambda item: -score[item.id])
    if limit is not None:
        rows["borderline"] = sorted(drawn, key=lambda item: abs(score[item.id] - limit))
        missed = (item for item in positives if score[item.id] <= limit)
        rows["missed"] = sorted(missed, key=lambda item: score[item.id])
    rows["random"] = drawn
    return {name: None if items is None else items[:length] for name, items in rows.items()}


def cut_off(evidence: Evidence, cell: Cell) -> float | None:
    """The locked cut-off of the probe in a cell; an alarm is a score strictly above it."""
    found = (c for c in evidence.lock.cut_offs if (c.scorer, c.cell) == ("probe", cell))
    return next((c.value for c in found), None)


def _scored(gallery: Gallery, cell: Cell) -> list[Item]:
    return [
        item
        for item in gallery.items
        if item.image is not None
        and (item.concept, item.variant) == (cell.concept, cell.variant)
        and item.label in SHOWN_LABELS
        and (item.id, cell.concept) in gallery.scores
    ]


def _draw(seed: int, item: Item) -> str:
    """Ranks items in an order that nobody chose."""
    return hashlib.sha256(f"{seed}/{item.id}".encode()).hexdigest()
