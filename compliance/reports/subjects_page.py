"""Several subjects side by side as one HTML file that needs nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import jinja2
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.records.chart import Chart
from compliance.records.comparison import MeasureChange, Reading
from compliance.records.page import Entry, RowGroup, Table, TableRow, Text, printable
from compliance.records.subjects import (
    Basis,
    CellStanding,
    ComparedCell,
    ComparedPack,
    FeatureMatch,
    Outcome,
    Stated,
    SubjectComparison,
)
from compliance.reports.charts.drawing import write_tick
from compliance.reports.charts.trend import Panel, Spot, trend
from compliance.reports.context import anchor
from compliance.reports.messages import load_messages
from compliance.reports.render import GENERATOR, page_policy, page_style, templates

NAMES = {
    "auroc-hard": "AUROC, hard negatives",
    "sensitivity": "Sensitivity",
    "fpr-benign": "False positive rate",
}
BASES = {
    Basis.FIRST: "what the others are held against",
    Basis.SAME_LOCK: "the same plan and lock",
    Basis.OTHER_LOCK: "another plan or lock: shown, not tested",
}
NOTE = (
    "Each subject by its number, in the order given. Upright lines are intervals. Diamond: change "
    "against subject 0 shown. Hollow: another lock, not tested. Dash: no value."
)


def render_subjects_page(found: SubjectComparison) -> str:
    """The page; its style is that of the evidence report.

    Raises:
        ReportError: The template does not fit the record.
    """
    css = page_style(load_messages("en").ui)
    concepts = list(dict.fromkeys(one.cell.concept for one in found.cells))
    try:
        return (
            templates()
            .get_template("compare/compare.html.j2")
            .render(
                found=found,
                w=SimpleNamespace(**load_messages("en").ui),
                css=Markup(css),
                policy=page_policy(css),
                generator=GENERATOR,
                packs=[_pack(place, pack) for place, pack in enumerate(found.packs)],
                concepts=[
                    {
                        "anchor": anchor("concept", concept),
                        "title": printable(found.titles.get(concept, concept)),
                        "outcomes": _outcomes(found, concept),
                        "charts": [
                            _chart(one, found) for one in found.cells if one.cell.concept == concept
                        ],
                    }
                    for concept in concepts
                ],
                matches=[
                    (m.concept, f"{m.sae}/{m.latent}", m.pack, _match(m)) for m in found.matches
                ],
            )
        )
    except (jinja2.TemplateError, KeyError) as problem:
        raise ReportError(f"page of a comparison: {problem}") from problem


def _pack(place: int, pack: ComparedPack) -> dict[str, Text]:
    shown = {
        "place": str(place),
        "id": pack.pack.pack_id,
        "system": pack.system,
        "model": pack.model.name,
        "weights": pack.model.weights_digest,
        "root": pack.pack.root_digest,
        "basis": BASES[pack.basis] + (f" ({', '.join(pack.differs)})" if pack.differs else ""),
    }
    return {key: printable(value) for key, value in shown.items()}


def _outcomes(found: SubjectComparison, concept: str) -> Table:
    """What became of a concept: a row for each cell, a column for each pack but the first."""
    rows = tuple(
        TableRow(
            title=_place(one),
            entries=tuple(Entry(text=_outcome(standing)) for standing in one.packs[1:]),
        )
        for one in found.cells
        if one.cell.concept == concept
    )
    return Table(
        caption="Against subject 0, on the items of both",
        corner="Cell",
        columns=tuple(f"Subject {n}" for n in range(1, len(found.packs))),
        groups=(RowGroup(rows=rows),),
        absent="Nothing was compared.",
    )


def _outcome(standing: CellStanding) -> str:
    """The outcome, and the difference of each measure with interval and p value."""
    outcome = (standing.outcome or Outcome.NOT_COMPARED).replace("-", " ")
    changes = "; ".join(
        f"{NAMES[change.measure]} {_difference(change)}"
        for change in standing.changes
        if change.difference is not None
    )
    return f"{outcome}. {changes}" if changes else outcome


def _difference(change: MeasureChange) -> str:
    return (
        f"{change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f}), "
        f"p {_p(change.p_holm or 0.0)}, {change.groups} groups"
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def _place(one: ComparedCell) -> str:
    cell = one.cell
    form = "" if cell.modality == "text" else f", {cell.modality}, {cell.rendering}"
    return cell.language + form


def _chart(one: ComparedCell, found: SubjectComparison) -> Chart:
    title = f"{printable(found.titles.get(one.cell.concept, one.cell.concept))}, {_place(one)}"
    panels = tuple(
        Panel(
            title=name,
            spots=tuple(
                _spot(one.packs[place], measure, pack.basis)
                for place, pack in enumerate(found.packs)
            ),
            chance=found.nothing if measure == "auroc-hard" else None,
        )
        for measure, name in NAMES.items()
    )
    return trend(
        panels, axis="subject", write=write_tick, anchor=anchor("trend", one.cell.key),
        title=title, description=_spoken(one), table=_data(one, title), note=NOTE,
    )  # fmt: skip


def _spot(standing: CellStanding, measure: str, basis: Basis) -> Spot:
    stated = next((one for one in standing.stated if one.measure == measure), None)
    changed = any(
        change.measure == measure and change.reading in (Reading.BETTER, Reading.WORSE)
        for change in standing.changes
    )
    if stated is None:
        return Spot(None, None, None)
    return Spot(
        stated.value, stated.low, stated.high, joined=basis is not Basis.OTHER_LOCK, changed=changed
    )


def _spoken(one: ComparedCell) -> str:
    """All values of a chart in words."""
    return " ".join(
        f"Subject {place}: "
        + ", ".join(f"{NAMES[s.measure]} {_value(s)}" for s in standing.stated)
        + ("." if standing.outcome is None else f"; {standing.outcome.replace('-', ' ')}.")
        for place, standing in enumerate(one.packs)
    )


def _value(stated: Stated) -> str:
    if stated.value is None:
        return stated.reason or "no value"
    if stated.low is None:
        return f"{stated.value:.3f}"
    return f"{stated.value:.3f} ({stated.low:.3f} to {stated.high:.3f})"


def _data(one: ComparedCell, title: str) -> Table:
    rows = tuple(
        TableRow(
            title=f"Subject {place}",
            entries=(
                *(Entry(text=_value(stated)) for stated in standing.stated),
                Entry(text=(standing.verdict or "not planned").replace("-", " ")),
                Entry(text=standing.outcome and standing.outcome.replace("-", " ")),
            ),
        )
        for place, standing in enumerate(one.packs)
    )
    return Table(
        caption=f"Data of {title}",
        corner="Subject",
        columns=(*NAMES.values(), "Verdict", "Against subject 0"),
        groups=(RowGroup(rows=rows),),
        absent="No subject.",
    )


def _match(match: FeatureMatch) -> str:
    if match.how == "no-match-possible":
        return "no match possible: another SAE, and not all weights were given (--sae)"
    locked = "" if match.locked else ", not the locked probe there" + _locked(match)
    if match.how == "same-sae":
        return f"the same latent of the same SAE{locked}"
    return (
        f"{printable(match.other_sae or '')}/{match.other_latent} by decoder direction, cosine "
        f"{match.cosine:.3f}{locked}"
    )


def _locked(match: FeatureMatch) -> str:
    """How near the feature comes that is locked there."""
    found = match.locked_cosine
    return "" if found is None else f" (cosine with that one at most {found:.3f})"
