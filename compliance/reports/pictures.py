"""The pictures of a concept's chapter, with heat maps whose squares are ready to draw."""

import base64
from collections.abc import Iterator, Sequence

from compliance.errors import ReportError
from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import (
    Box,
    HeatLayer,
    PictureCell,
    PictureGallery,
    PictureRow,
    PictureView,
)
from compliance.records.suite import Image, Item
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.gallery import (
    IN_A_ROW,
    MAX_PICTURES,
    Gallery,
    Patches,
    cut_off,
    gallery_cells,
    picture_rows,
    row_length,
)
from compliance.reports.numbers import write, write_count

MAX_BYTES = 512 * 1024
"""Of one picture's file; larger ones stay in the pack."""

CAPTION = 100
"""Characters of a description below its picture."""

STEPS = 10
"""Shades of a heat map."""

DARKEST = 0.6
"""Opacity of the largest activation: what lies below is still seen."""

LINE = 60
"""A picture's longer side is so many times the line around its most active token."""

PNG = b"\x89PNG\r\n\x1a\n"


def picture_gallery(
    ctx: Context, probe: PlannedProbe, cells: Sequence[Cell]
) -> PictureGallery | None:
    """The pictures of one concept; None where it has no cell with pictures.

    Args:
        ctx: Evidence, words and what the run saw of pictures.
        probe: The concept's.
        cells: Its cells, in the order of the chapter.

    Raises:
        ReportError: The file of a picture is not PNG.
    """
    if all(cell.modality == "text" for cell in cells):
        return None
    words, seen = ctx.words.gallery, ctx.gallery
    every = gallery_cells(ctx.evidence, seen) if seen else []
    length = row_length(len(every))
    largest = _largest(seen, probe.concept) if seen else 0.0
    shown = [cell for cell in cells if cell in every]
    return PictureGallery(
        anchor=anchor("pictures", probe.concept),
        title=words["title"],
        intro=tuple(_intro(ctx, length, largest)) if shown else (),
        cells=tuple(_cell(ctx, cell, length, largest) for cell in shown),
        absent=words["no_gallery" if seen is None else "no_items"],
    )


def _intro(ctx: Context, length: int, largest: float) -> Iterator[str]:
    words = ctx.words.gallery
    yield words["rules"].format(length=length, most=MAX_PICTURES)
    if largest > 0:
        yield words["heat"].format(largest=write(largest, "score"))
        yield words["heat_limits"]
    else:
        yield words["silent"]
    yield words["source"]


def _cell(ctx: Context, cell: Cell, length: int, largest: float) -> PictureCell:
    assert ctx.gallery is not None  # it has a score of this cell
    words = ctx.words.gallery
    rows = picture_rows(ctx.evidence, ctx.gallery, cell, length)
    return PictureCell(
        title=ctx.place(cell),
        anchor=cell_anchor(cell),
        narrow=length <= IN_A_ROW // 2,
        rows=tuple(
            PictureRow(
                title=words[name],
                rule=words[f"{name}_rule"],
                pictures=tuple(_picture(ctx, cell, item, largest) for item in items or ()),
                absent=words["no_cut_off" if items is None else f"no_{name}"],
            )
            for name, items in rows.items()
        ),
    )


def _picture(ctx: Context, cell: Cell, item: Item, largest: float) -> PictureView:
    assert ctx.gallery is not None and item.image is not None  # it is in a row of pictures
    words, image = ctx.words.gallery, item.image
    patches = ctx.gallery.patches.get((item.id, cell.concept))
    data, reason = _file(ctx, item, image)
    hidden = bool(item.restricted)
    shown = patches if data else None
    return PictureView(
        item=item.id,
        language=ctx.words.language if reason else item.language,
        description=reason or image.description,
        caption=reason or _cut(image.description),
        label=ctx.words.labels[item.label],
        outcome=_outcome(ctx, cell, item),
        heat=words["heat_withheld"] if hidden else _spoken(ctx, patches),
        data=data,
        width=image.width,
        height=image.height,
        layers=tuple(_layers(shown, image, largest)) if shown else (),
        peak=_peak(shown, image) if shown else None,
        stroke=round(max(image.width, image.height) / LINE, 2),
    )


def _file(ctx: Context, item: Item, image: Image) -> tuple[str | None, str]:
    """A picture as a data URI, or why it is not shown."""
    words = ctx.words.gallery
    if item.restricted:
        return None, words["withheld"]
    data = ctx.gallery.pictures.get(image.digest) if ctx.gallery else None
    if data is None:
        return None, words["missing"].format(path=image.path)
    if len(data) > MAX_BYTES:
        return None, words["large"].format(size=write_count(len(data) // 1024), path=image.path)
    if not data.startswith(PNG):
        raise ReportError(
            f"{image.path}: is not PNG", hint="pictures of a suite are PNG; fetch the suite again"
        )
    return "data:image/png;base64," + base64.b64encode(data).decode(), ""


def _outcome(ctx: Context, cell: Cell, item: Item) -> str:
    assert ctx.gallery is not None  # the score comes from it
    words, limit = ctx.words.gallery, cut_off(ctx.evidence, cell)
    score = ctx.gallery.scores[item.id, cell.concept]
    if limit is None:
        return words["score"].format(score=write(score, "score"))
    return words["alarm" if score > limit else "no_alarm"].format(
        score=write(score, "score"), cut_off=write(limit, "score")
    )


def _spoken(ctx: Context, patches: Patches | None) -> str:
    """What a heat map shows, in words."""
    words = ctx.words.gallery
    if patches is None or not len(patches.activations):
        return words["no_patches"]
    top = max(patches.activations)
    if not patches.rows:
        return words["no_grid"].format(largest=write(top, "score"))
    if top <= 0:
        return words["no_activity"].format(rows=patches.rows, columns=patches.columns)
    row, column = divmod(_place(patches), patches.columns)
    return words["peak"].format(
        largest=write(top, "score"), row=row + 1, column=column + 1,
        rows=patches.rows, columns=patches.columns,
    )  # fmt: skip


def _largest(seen: Gallery, concept: str) -> float:
    """The largest activation of a concept's probe on any token of its pictures."""
    mine = (p.activations for (_, of), p in seen.patches.items() if of == concept)
    return max((max(values) for values in mine if len(values)), default=0.0)


def _layers(patches: Patches, image: Image, largest: float) -> Iterator[HeatLayer]:
    """One path for each shade. Below half a step nothing is drawn."""
    if not patches.rows or largest <= 0:
        return
    width, height = image.width / patches.columns, image.height / patches.rows
    shades: dict[int, list[str]] = {}
    for place, activation in enumerate(patches.activations):
        shade = round(STEPS * activation / largest)
        row, column = divmod(place, patches.columns)
        square = f"M{column * width:.6g} {row * height:.6g}h{width:.6g}v{height:.6g}h-{width:.6g}z"
        shades.setdefault(shade, []).append(square)
    for shade in sorted(shade for shade in shades if shade > 0):
        yield HeatLayer(opacity=round(DARKEST * shade / STEPS, 3), path="".join(shades[shade]))


def _peak(patches: Patches, image: Image) -> Box | None:
    if not patches.rows or max(patches.activations) <= 0:
        return None
    width, height = image.width / patches.columns, image.height / patches.rows
    row, column = divmod(_place(patches), patches.columns)
    return Box(
        x=round(column * width, 2), y=round(row * height, 2),
        width=round(width, 2), height=round(height, 2),
    )  # fmt: skip


def _place(patches: Patches) -> int:
    """The token with the largest activation, the first of several."""
    values = list(patches.activations)
    return values.index(max(values))


def _cut(text: str) -> str:
    return text if len(text) <= CAPTION else text[: CAPTION - 1] + "…"
