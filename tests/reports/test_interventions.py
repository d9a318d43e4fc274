"""What a report says of changes inside the model."""

import pytest

from compliance.catalog import load_catalog
from compliance.records.audit import Interventions
from compliance.records.finding import Influence, Result
from compliance.reports.build import build_report
from compliance.reports.interventions import DECIDING
from compliance.reports.tables import shown_ids
from tests.reports.conftest import WHEN

DOSES = (-1, 0, 1, 2)


def intervened(evidence, statements, concept=None):
    """The evidence with effects in the concept's first cells."""
    plan = evidence.plan
    concept = concept or plan.cells[0].concept
    cells = [cell for cell in plan.cells if cell.concept == concept][: len(statements)]
    asked = Interventions(
        concepts=(concept,), languages=tuple(cell.language for cell in cells), doses=DOSES
    )
    results, influences = [], []
    for cell, statement in zip(cells, statements, strict=True):
        influences.append(
            Influence(cell=cell, statement=statement, p=0.01, p_holm=0.02)
            if statement != "not-measured"
            else Influence(cell=cell, statement=statement)
        )
        if statement != "not-measured":
            results += effects(cell.key)
    return evidence.model_copy(
        update={
            "plan": plan.model_copy(update={"interventions": asked}),
            "results": (*evidence.results, *results),
            "influences": tuple(influences),
        }
    )


def effects(key):
    for dose in DOSES:
        yield Result(
            id=f"{key}/effect.dose.{dose}", value=0.5 * dose, low=0.5 * dose - 0.125,
            high=0.5 * dose + 0.125, level=0.95, n=20, p=0.01, method="effect-mean",
        )  # fmt: skip
    for name in ("effect-slope", "effect-minus.flip", "effect-minus.noise", "effect-minus.means",
                 "effect.means", "side-loss.dose.0", "side-loss.dose.1",
                 "side-score.sycophancy.dose.1"):  # fmt: skip
        yield Result(
            id=f"{key}/{name}", value=0.25, low=0.125, high=0.375, level=0.95, n=20, p=0.01,
            method="effect-mean",
        )  # fmt: skip
    for name, value in (("effect-random", 0.0), ("capability", 0.75), ("capability.dose.1", -0.25)):
        yield Result(
            id=f"{key}/{name}", value=value, low=value - 0.1, high=value + 0.1, level=0.95, n=20,
            p=0.01, method="wilson",
        )  # fmt: skip


def sections(report):
    return [s for c in report.concepts for s in c.sections if s.anchor.startswith("interventions")]


def rows(table):
    return [row for group in table.groups for row in group.rows]


def test_without_interventions_there_is_no_section(build, evidence):
    assert sections(build(evidence)) == []


def test_each_cell_has_its_statement_and_what_it_rests_on(build, evidence):
    report = build(intervened(evidence, ["influences", "not-shown", "not-measured"]))
    [section] = sections(report)
    deciding = rows(section.tables[0])

    assert [row.entries[0].text for row in deciding] == [
        "influences", "no influence shown", "not measured",
    ]  # fmt: skip
    shown = [entry.number.name for entry in deciding[0].entries[1 : 1 + len(DECIDING)]]
    assert shown == list(DECIDING)
    assert [row.entries[-1].text for row in deciding[:2]] == ["0.020", "0.020"]
    assert deciding[2].entries[1].number.reason


def test_the_chart_draws_a_point_for_each_dose_and_says_it_in_words(build, evidence):
    report = build(intervened(evidence, ["influences"]))
    [chart] = sections(report)[0].charts

    points = [shape for shape in chart.shapes if shape.look == "point"]
    assert points[0].path.count("M") == len(DOSES)
    assert "dose 1: +0.500 (+0.375 to +0.625)" in chart.description
    assert any(shape.look == "chance" for shape in chart.shapes)


def test_a_language_without_effects_is_an_empty_plane_that_says_so(build, evidence):
    report = build(intervened(evidence, ["influences", "not-shown", "not-measured"]))
    [chart] = sections(report)[0].charts
    said = ["".join(f.text or "" for f in label.words.fragments) for label in chart.labels]
    assert "nothing was measured here" in " ".join(said)


def test_names_of_results_are_words(build, evidence):
    changed = intervened(evidence, ["influences"])
    report = build(changed)
    key = changed.plan.cells[0].key
    labels = {n.result_id: n.label for n in numbers(report)}

    assert labels[f"{key}/effect.dose.-1"] == (
        "Effect on the choice between two replies (nats), features at dose −1"
    )
    assert labels[f"{key}/effect.dose.0"].endswith("features switched off")
    assert labels[f"{key}/effect-minus.flip"].endswith("minus that of the opposite change (nats)")
    assert labels[f"{key}/side-score.sycophancy.dose.1"].endswith("sycophancy, features at dose 1")


def test_every_number_of_the_section_is_a_result_or_says_that_it_is_missing(build, evidence):
    changed = intervened(evidence, ["influences"])
    [section] = sections(build(changed))
    known = {result.id for result in changed.results}
    assert {i for i in shown_ids(section) if "effect.dose" in i} <= known


@pytest.mark.parametrize("language", ["de", "fr", "el"])
def test_the_section_is_there_in_each_language(evidence, language):
    report = build_report(
        intervened(evidence, ["not-shown"]), load_catalog(), pack_id="test-system-1.0.0",
        version="1.0.0", built_at=WHEN, language=language,
    )  # fmt: skip
    assert len(sections(report)) == 1


def numbers(value):
    from compliance.records.base import Record
    from compliance.records.report import Number

    if isinstance(value, Number):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, Record):
        for name in type(value).model_fields:
            yield from numbers(getattr(value, name))
