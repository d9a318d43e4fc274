"""The verdict under every setting: one sign each, with a frame where it is another than planned."""

from collections.abc import Iterator, Sequence

from compliance.records.chart import Chart, Label, Look, Shape
from compliance.records.finding import Verdict
from compliance.records.page import Entry, RowGroup, Table, TableRow
from compliance.records.plan import Cell, Setting
from compliance.reports.charts.drawing import (
    SMALL,
    WIDTH,
    anchor_of,
    crossed,
    cut,
    data_of,
    disc,
    half_disc,
    horizontal,
    name_of,
    say,
    square,
    triangle_down,
    width_of,
    wrapped,
)
from compliance.reports.context import Context, sentence
from compliance.reports.numbers import in_sentence, write_percent

LEFT, LEAST = 232.0, 46.0
"""Room for the names of settings, and the least width of a column."""

HEAD, ROW = 32.0, 26.0
RADIUS = 5.0

Grid = list[list[Verdict | None]]
"""By setting, as planned first, then by cell; None: not judged there."""


def sweep(ctx: Context, cells: Sequence[Cell]) -> Chart:
    """Settings downwards, languages across.

    It shows findings alone, so it needs no observations.

    Args:
        ctx: Evidence and words.
        cells: All of the same concept, modality and rendering; at least one.
    """
    words = ctx.words.charts["sweep"]
    settings = [None, *_settings(ctx, cells)]
    column = max((WIDTH - LEFT) / len(cells), LEAST)
    grid = [[verdict_under(ctx, cell, name) for cell in cells] for name in settings]
    bottom = HEAD + ROW * (len(settings) + 1)
    right = LEFT + column * len(cells)
    keys, key_words, height = _legend(ctx, bottom + 12)
    title = words["title"].format(concept=ctx.row_title(cells[0]))
    return Chart(
        anchor=anchor_of("sweep", cells),
        title=title,
        description=words["description"].format(
            rows=ctx.joined(_spoken(ctx, cell, under) for cell, under in _columns(cells, grid))
        ),
        note=words["note"],
        width=right,
        height=height,
        shapes=(*_rules(len(settings) + 1, right), *_signs(grid, column), *keys),
        labels=(
            *_heads(ctx, cells, column),
            *_names(ctx, settings),
            *_kept(ctx, cells, column, bottom - ROW / 2 + 4),
            *key_words,
        ),
        table=_table(ctx, title, cells, settings, grid),
        table_on_paper=False,
    )


def verdict_under(ctx: Context, cell: Cell, setting: str | None) -> Verdict | None:
    """The verdict as planned (no setting) or under another one; None where it was not judged."""
    finding = ctx.finding(cell)
    if setting is None:
        return finding.verdict
    return next((s.verdict for s in finding.settings if s.setting == setting), None)


def setting_words(ctx: Context, name: str | None) -> str:
    """What a setting changes; an unknown one by its name, none as planned."""
    words = ctx.words
    if name is None:
        return words.sections["robustness"]["planned"]
    setting = next((s for s in ctx.plan.settings if s.name == name), Setting(name=name))
    if setting.pooling is not None:
        pooling = words.pooling.get(setting.pooling, setting.pooling)
        return words.settings["pooling"].format(pooling=pooling)
    if setting.region is not None:
        region = words.regions.get(setting.region, setting.region)
        return words.settings["region"].format(region=region)
    if setting.alpha is not None:
        return words.settings["alpha"].format(alpha=write_percent(setting.alpha))
    if setting.sae is not None and setting.sae < len(ctx.plan.saes):
        return words.settings["sae"].format(sae=ctx.plan.saes[setting.sae].name)
    return name


def sign_of(verdict: Verdict, x: float, y: float) -> dict[Look, str]:
    """A verdict's sign around a pixel, filled and outlined: the forms of its letter in tables."""
    match verdict:
        case Verdict.SUPPORTED:
            return {"sign": disc(x, y, RADIUS)}
        case Verdict.SUPPORTED_WITH_LIMITS:
            return {"sign": half_disc(x, y, RADIUS), "sign-open": disc(x, y, RADIUS)}
        case Verdict.INCONCLUSIVE:
            return {"sign-open": disc(x, y, RADIUS)}
        case Verdict.NOT_SUPPORTED:
            return {"sign-open": crossed(x, y, RADIUS - 0.5)}
        case Verdict.CONTRADICTED:
            return {"sign": triangle_down(x, y, RADIUS)}
    return {"sign-open": horizontal(y, x - RADIUS + 1, x + RADIUS - 1)}


def _settings(ctx: Context, cells: Sequence[Cell]) -> list[str]:
    """The plan's settings, then others that a finding names."""
    found = (s.setting for cell in cells for s in ctx.finding(cell).settings)
    return list(dict.fromkeys([*(s.name for s in ctx.plan.settings), *found]))


def _columns(cells: Sequence[Cell], grid: Grid) -> Iterator[tuple[Cell, list[Verdict | None]]]:
    return ((cell, [row[i] for row in grid]) for i, cell in enumerate(cells))


def _signs(grid: Grid, column: float) -> list[Shape]:
    """All signs in two paths, over the frames of those that are not as planned."""
    paths: dict[Look, list[str]] = {"changed": [], "sign-open": [], "sign": []}
    for i, row in enumerate(grid):
        for j, verdict in enumerate(row):
            x, y = LEFT + column * (j + 0.5), HEAD + ROW * (i + 0.5)
            if verdict is not None:
                for look, path in sign_of(verdict, x, y).items():
                    paths[look].append(path)
                if verdict is not grid[0][j]:
                    paths["changed"].append(square(x, y, 10))
    return [Shape(look=look, path=" ".join(parts)) for look, parts in paths.items() if parts]


def _rules(rows: int, right: float) -> list[Shape]:
    """A line below each row, a stronger one below the planned verdicts."""
    lines = [horizontal(HEAD + ROW * (i + 1), 0, right) for i in range(1, rows)]
    ends = [horizontal(HEAD + ROW * i, 0, right) for i in (0, 1)]
    shapes: list[tuple[Look, list[str]]] = [("grid", lines), ("axis", ends)]
    return [Shape(look=look, path=" ".join(parts)) for look, parts in shapes if parts]


def _heads(ctx: Context, cells: Sequence[Cell], column: float) -> Iterator[Label]:
    for i, cell in enumerate(cells):
        lines = wrapped(name_of(ctx, cell), column - 4, SMALL)
        for j, line in enumerate(lines):
            y = HEAD - 7 - 12 * (len(lines) - 1 - j)
            yield say(LEFT + column * (i + 0.5), y, line, place="middle", ink="small")


def _names(ctx: Context, settings: Sequence[str | None]) -> Iterator[Label]:
    for i, name in enumerate(settings):
        middle, lines = (
            HEAD + ROW * (i + 0.5) + 4,
            wrapped(setting_words(ctx, name), LEFT - 6, SMALL),
        )
        for j, line in enumerate(lines):
            y = middle + 11 * j - 5.5 * (len(lines) - 1)
            yield say(0, y, line, ink="strong" if name is None else "small")


def _kept(ctx: Context, cells: Sequence[Cell], column: float, y: float) -> Iterator[Label]:
    """In how many settings the verdict is kept, below each column."""
    yield say(0, y, cut(ctx.words.sections["robustness"]["kept"], LEFT, SMALL), ink="small")
    for i, cell in enumerate(cells):
        kept = sentence("{number}", number=ctx.number(cell, "settings-kept"))
        yield say(LEFT + column * (i + 0.5), y, kept, place="middle", ink="small")


def _legend(ctx: Context, top: float) -> tuple[list[Shape], list[Label], float]:
    """What each sign means, and where the chart ends."""
    shapes, labels, x, y = [], [], 0.0, top + 8
    for verdict in Verdict:
        name = ctx.verdict(verdict).label
        wide = width_of(name, SMALL) + 30
        if x + wide > WIDTH:
            x, y = 0.0, y + 17
        signs = sign_of(verdict, x + RADIUS, y)
        shapes += [Shape(look=look, path=path) for look, path in signs.items()]
        labels.append(say(x + 2 * RADIUS + 5, y + 4, name, ink="quiet"))
        x += wide
    name = ctx.words.charts["sweep"]["changed"]
    if x + width_of(name, SMALL) + 30 > WIDTH:
        x, y = 0.0, y + 17
    shapes.append(Shape(look="changed", path=square(x + 7, y, 7)))
    labels.append(say(x + 19, y + 4, name, ink="quiet"))
    return shapes, labels, y + 14


def _spoken(ctx: Context, cell: Cell, column: Sequence[Verdict | None]) -> str:
    words = ctx.words.charts["sweep"]
    planned, *others = column
    judged = [verdict for verdict in others if verdict is not None]
    changed = sum(verdict is not planned for verdict in judged)
    return words["row"].format(
        language=name_of(ctx, cell),
        planned=_label(ctx, planned),
        changed=changed,
        judged=len(judged),
    )


def _label(ctx: Context, verdict: Verdict | None) -> str:
    return "" if verdict is None else in_sentence(ctx.verdict(verdict).label)


def _table(
    ctx: Context, title: str, cells: Sequence[Cell], settings: Sequence[str | None], grid: Grid
) -> Table:
    rows = [
        TableRow(
            title=setting_words(ctx, name),
            entries=tuple(Entry(verdict=None if v is None else ctx.verdict(v)) for v in row),
        )
        for name, row in zip(settings, grid, strict=True)
    ]
    kept = tuple(Entry(number=ctx.number(cell, "settings-kept")) for cell in cells)
    rows.append(TableRow(title=ctx.words.sections["robustness"]["kept"], entries=kept))
    corner = ctx.words.sections["robustness"]["setting"]
    names = [name_of(ctx, cell) for cell in cells]
    return data_of(ctx, title, corner, names, [RowGroup(rows=tuple(rows))])
