"""What a report says of the number format and the device that an audit computed in."""

import pytest

from compliance.records.finding import Result

NUMBERS = {"largest": 0.25, "median": 0.0625, "firings": 0.01, "activation": 0.125}


def computed_in(evidence, dtype, device, results=()):
    plan = evidence.plan
    return evidence.model_copy(
        update={
            "plan": plan.model_copy(
                update={"model": plan.model.model_copy(update={"dtype": dtype})}
            ),
            "environment": evidence.environment.model_copy(update={"device": device}),
            "results": (*evidence.results, *results),
        }
    )


def measured(key):
    for name, value in NUMBERS.items():
        yield Result(id=f"{key}/precision-{name}", value=value, n=12, method="mode-difference")
    yield Result(
        id=f"{key}/precision-flips", value=0.25, successes=3, n=12, low=0.1, high=0.5, level=0.95,
        method="wilson",
    )  # fmt: skip


def words(sentence):
    return "".join(f.text or f.number.text or f.number.reason for f in sentence.fragments)


def precision_tables(report):
    sections = [section for concept in report.concepts for section in concept.sections]
    found = [table for section in sections for table in section.tables]
    return [table for table in found if table.caption.startswith("Difference from the reference")]


def test_the_reference_mode_is_not_spoken_of(build, evidence):
    report = build(computed_in(evidence, "float32", "cpu"))

    assert report.mode is None
    assert precision_tables(report) == []


@pytest.mark.parametrize(
    ("dtype", "device", "mode"),
    [
        ("bfloat16", "cpu", "bfloat16 on cpu"),
        ("float32", "cuda:0 (Some GPU)", "float32 on cuda:0 (Some GPU)"),
    ],
)
def test_a_mode_that_was_not_compared_is_said_to_be_unmeasured(
    build, evidence, dtype, device, mode
):
    report = build(computed_in(evidence, dtype, device))

    told = words(report.mode)
    assert told.startswith(f"Mode: {mode}, not the reference mode float32 on cpu.")
    assert "was not measured" in told
    assert {table.absent for table in precision_tables(report)} == {
        "No items of this concept were run again in the reference mode."
    }


def test_the_first_page_and_each_cell_print_what_was_measured(build, evidence):
    cell = evidence.plan.cells[0]
    results = [*measured("audit"), *measured(cell.key)]

    report = build(computed_in(evidence, "float16", "cpu", results))

    assert "Of 12 test items" in words(report.mode)
    assert "at most 0.25 standard deviations of benign scores (median 0.0625)" in words(report.mode)
    assert "alarms that change: 25.0 % (10.0 to 50.0 %)" in words(report.mode).replace("\xa0", " ")
    rows = [row for t in precision_tables(report) for group in t.groups for row in group.rows]
    [row] = rows
    shown = [entry.number.text.replace("\xa0", " ") for entry in row.entries]
    assert shown == ["0.25", "0.0625", "25.0 %", "1.0 %", "0.125"]
    assert not [n for n in report.remainder if "precision" in n.result_id]
