"""The chapters on concepts: each cell's verdict in words, its numbers, controls and conditions."""

from collections.abc import Iterable

from compliance.records.finding import Condition, Finding, Status, Verdict
from compliance.records.plan import Cell, LockedProbe, PlannedProbe
from compliance.records.report import (
    CellView,
    ConceptChapter,
    ConditionRow,
    ControlRow,
    ControlTable,
    LanguageRow,
    Number,
    NumberGroup,
    Sentence,
)
from compliance.reports.context import Context, anchor, in_sentence, sentence
from compliance.reports.numbers import write_p, write_percent
from compliance.reports.plot import sensitivity_plot

ALARMS = ("sensitivity", "gap", "fpr-benign", "fpr-hard")
RANKING = ("auroc-hard", "auroc-benign")
CUT_OFF = ("cut-off",)
REFERENCE = (
    "cut-off-reference",
    "sensitivity-at-reference-cut-off",
    "fpr-benign-at-reference-cut-off",
)
COUNTS = ("n-positive", "n-hard", "n-unscored", "n-benign", "n-calibrate")
OVERVIEW = ("auroc-hard", "minus-tokens", "sensitivity", "gap", "fpr-benign", "fpr-hard")
"""Columns of a concept's table by language."""

CONTROLS = {"tokens": "token-count", "dense": "dense"}
"""Scorers that are controls, with the plan's name for each."""

COMPARED = ("auroc-hard", "minus", "sensitivity", "fpr-benign", "fpr-hard")
"""Columns of the table of controls; ``minus`` is the probe's lead over the control."""

BLAMED = {
    "condition-violated": (Status.VIOLATED,),
    "gate-shut": (Status.VIOLATED, Status.NOT_SHOWN, Status.NOT_MEASURED),
    "secondary-not-shown": (Status.NOT_SHOWN, Status.VIOLATED, Status.NOT_MEASURED),
    "not-all-shown": (Status.NOT_SHOWN, Status.NOT_MEASURED),
    "not-measured": (Status.NOT_MEASURED,),
}
"""Which conditions the sentence about a reason names."""

BLAMED_KINDS = {"gate-shut": ("gate",), "secondary-not-shown": ("secondary",)}


def concept_chapters(ctx: Context, number: str) -> tuple[ConceptChapter, ...]:
    """One chapter for each planned probe, in the plan's order."""
    return tuple(
        _chapter(ctx, probe, f"{number}.{index}")
        for index, probe in enumerate(ctx.plan.probes, start=1)
    )


def cell_anchor(cell: Cell) -> str:
    """Where a cell's section starts."""
    return anchor("cell", cell.key)


def sentence_id(ctx: Context, cell: Cell) -> str:
    """Identifier of a cell's verdict sentence: ``S`` and its place in the plan."""
    return f"S{ctx.plan.cells.index(cell) + 1:03d}"


def why(ctx: Context, finding: Finding) -> str:
    """The rule that matched, in words, naming the conditions it was about."""
    words = ctx.words.reasons.get(finding.reason)
    if words is None:
        return ctx.words.unknown["reason"].format(key=finding.reason)
    blamed = [ctx.condition_words(c.condition, c.limit) for c in _blamed(finding)]
    if not blamed:
        words = ctx.words.reasons.get(f"{finding.reason}.none", words)
    shown = sum(condition.status is Status.SHOWN for condition in finding.conditions)
    return words.format(
        conditions="; ".join(blamed) or ctx.words.unknown["conditions"], shown=shown
    )


def describe_features(ctx: Context, locked: LockedProbe | None) -> str:
    """The latents of a locked probe, in words."""
    words = ctx.words.features
    if locked is None:
        return words["none"]
    named = []
    for feature in locked.features:
        saes = ctx.plan.saes
        sae = saes[feature.sae].name if feature.sae < len(saes) else f"sae{feature.sae}"
        template = words["labelled" if feature.label else "one"]
        named.append(template.format(latent=feature.latent, sae=sae, label=feature.label))
    return "; ".join(named) or words["none"]


def locked_probe(ctx: Context, concept: str) -> LockedProbe | None:
    """What the lock says about a concept."""
    return next((p for p in ctx.evidence.lock.probes if p.concept == concept), None)


def _chapter(ctx: Context, probe: PlannedProbe, number: str) -> ConceptChapter:
    cells = [cell for cell in ctx.plan.cells if cell.concept == probe.concept]
    claim = ctx.words.features["claim"].format(
        region=ctx.words.regions.get(probe.region, probe.region),
        pooling=ctx.words.pooling.get(probe.pooling, probe.pooling),
    )
    return ConceptChapter(
        anchor=anchor("concept", probe.concept),
        number=number,
        title=probe.title,
        definition=probe.definition,
        probe=describe_features(ctx, locked_probe(ctx, probe.concept)),
        claim=claim,
        plot=sensitivity_plot(ctx, probe, cells),
        columns=tuple(ctx.words.columns[name] for name in OVERVIEW),
        languages=tuple(_language_row(ctx, cell) for cell in cells),
        cells=tuple(_cell(ctx, cell) for cell in cells),
    )


def _language_row(ctx: Context, cell: Cell) -> LanguageRow:
    return LanguageRow(
        anchor=cell_anchor(cell),
        title=ctx.place(cell),
        verdict=ctx.verdict(ctx.finding(cell).verdict),
        numbers=tuple(ctx.number(cell, name) for name in OVERVIEW),
    )


def _cell(ctx: Context, cell: Cell) -> CellView:
    finding = ctx.finding(cell)
    concept = ctx.concept_title(cell.concept)
    covered = finding.verdict is not Verdict.NOT_COVERED
    return CellView(
        key=cell.key,
        anchor=cell_anchor(cell),
        sentence_id=sentence_id(ctx, cell),
        title=ctx.words.ui["cell_title"].format(concept=concept, language=ctx.place(cell)),
        language=ctx.language(cell.language),
        verdict=ctx.verdict(finding.verdict),
        claim=ctx.words.verdicts[finding.verdict].claim.format(
            concept=in_sentence(concept), language=ctx.place(cell)
        ),
        measured=_measured(ctx, cell) if covered else (),
        why=why(ctx, finding),
        notes=tuple(_notes(ctx, finding)) if covered else (),
        qualifiers=tuple(ctx.words.qualifiers.get(key, key) for key in finding.qualifiers),
        groups=_groups(ctx, cell, covered=covered),
        controls=_controls(ctx, cell) if covered else None,
        conditions=tuple(_condition(ctx, c) for c in finding.conditions) if covered else (),
    )


def _measured(ctx: Context, cell: Cell) -> tuple[Sentence, ...]:
    names = ("sensitivity", "n-positive", "fpr-benign", "n-benign", "fpr-hard", "n-hard")
    values = {name.replace("-", "_"): ctx.number(cell, name) for name in names}
    sentences = [sentence(ctx.words.measured["cell"], **values)]
    if not ctx.is_reference(cell):
        reference = ctx.language(ctx.plan.claims.reference_language).name
        gap = ctx.number(cell, "gap")
        sentences.append(sentence(ctx.words.measured["gap"], reference=reference, gap=gap))
    return tuple(sentences)


def _notes(ctx: Context, finding: Finding) -> Iterable[str]:
    words = ctx.words.notes
    if not finding.conditions:
        yield words["no_conditions"]
    if finding.attainable is False:
        yield words["unattainable"]
    if finding.p_holm is not None:
        limit = write_percent(ctx.plan.family_error)
        yield words["holm"].format(p=write_p(finding.p_holm), limit=limit)
    if finding.p_holm_all is not None:
        yield words["holm_all"].format(p=write_p(finding.p_holm_all))


def _blamed(finding: Finding) -> list[Condition]:
    statuses = BLAMED.get(finding.reason, (Status.VIOLATED, Status.NOT_SHOWN))
    kinds = BLAMED_KINDS.get(finding.reason, ("primary", "secondary", "gate"))
    return [c for c in finding.conditions if c.status in statuses and c.kind in kinds]


def _names(ctx: Context, cell: Cell) -> list[str]:
    """Names of all results of a cell, in the order of the evidence."""
    start = f"{cell.key}/"
    return [i.removeprefix(start) for i in ctx.numbers.ids() if i.startswith(start)]


def _groups(ctx: Context, cell: Cell, *, covered: bool) -> tuple[NumberGroup, ...]:
    """A cell's numbers. Expected ones keep their place if missing; unknown ones come last."""
    found = _names(ctx, cell)
    scorers = _scorers(found)
    compared = [n for n in found if n.startswith("minus-") or n.rsplit(".", 1)[-1] in scorers]
    formats = sorted(n for n in found if n.startswith("fpr-benign.") and n not in compared)
    alarms = [name for base in ALARMS for name in (base, *formats * (base == "fpr-benign"))]
    wanted = [
        alarms if covered else [],
        RANKING if covered else [],
        [*(CUT_OFF if covered else ()), *(name for name in REFERENCE if name in found)],
        [name for name in found if name.startswith("ppv@")],
        [*COUNTS, *(name for name in found if name == "mde-sensitivity")],
    ]
    placed = {name for names in wanted for name in names} | set(compared)
    wanted.append([name for name in found if name not in placed])
    return tuple(
        NumberGroup(numbers=tuple(ctx.number(cell, name) for name in names))
        for names in wanted
        if names
    )


def _scorers(found: list[str]) -> list[str]:
    """Controls to compare with: those this version knows, then any other in the results."""
    others = {n.removeprefix("auroc-hard.") for n in found if n.startswith("auroc-hard.")}
    return [*CONTROLS, *sorted(others - set(CONTROLS))]


def _controls(ctx: Context, cell: Cell) -> ControlTable:
    found = set(_names(ctx, cell))
    probe = tuple(None if n == "minus" else ctx.number(cell, n) for n in COMPARED)
    rows = [ControlRow(title=ctx.words.scorers["probe"], numbers=probe)]
    for scorer in _scorers(sorted(found)):
        title = ctx.words.scorers.get(scorer, scorer)
        rows.append(ControlRow(title=title, numbers=_compared(ctx, cell, scorer, found)))
    columns = tuple(ctx.words.columns[name] for name in COMPARED)
    return ControlTable(columns=columns, rows=tuple(rows))


def _compared(ctx: Context, cell: Cell, scorer: str, found: set[str]) -> tuple[Number | None, ...]:
    """A control's numbers; ranking always keeps its place, alarms only where it has a cut-off."""
    names = [f"minus-{scorer}" if n == "minus" else f"{n}.{scorer}" for n in COMPARED]
    has_cut_off = any(name in found for name in names[2:])
    return tuple(
        ctx.number(cell, name) if index < 2 or has_cut_off else None
        for index, name in enumerate(names)
    )


def _condition(ctx: Context, condition: Condition) -> ConditionRow:
    number = ctx.numbers.of(condition.result_id) if condition.result_id else None
    return ConditionRow(
        words=ctx.condition_words(condition.condition, condition.limit),
        kind=ctx.words.kinds.get(condition.kind, condition.kind),
        limit=ctx.condition_limit(condition.condition, condition.limit),
        status=ctx.status(condition),
        number=number,
        p=None if condition.p is None else write_p(condition.p),
    )
