from datetime import datetime

import pytest

from compliance.catalog import gaps, load_catalog
from compliance.errors import ReportError
from compliance.records.audit import Declared
from compliance.records.evidence import Evidence
from compliance.records.finding import Verdict
from compliance.records.report import MAX_CHARACTERS, Fact, Number, printable
from compliance.reports.build import build_report
from tests.reports.example import VERDICTS, example_evidence, example_system


def numbers_in(value):
    """Every Number below a record."""
    if isinstance(value, Number):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from numbers_in(item)
    elif hasattr(value, "model_fields_set"):
        for name in type(value).model_fields:
            yield from numbers_in(getattr(value, name))


def section(report, citation):
    return next(s for s in report.provisions if s.citation == f"Article {citation}")


def cell(report, key):
    return next(c for concept in report.concepts for c in concept.cells if c.key == key)


def test_the_example_is_evidence_that_can_be_stored(evidence):
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_the_same_evidence_gives_the_same_report(build, evidence, report):
    assert build(evidence) == report


def test_every_planned_cell_has_its_verdict_in_the_matrix(report):
    (matrix,) = report.matrices

    for row, verdicts in zip(matrix.rows, VERDICTS.values(), strict=True):
        assert [c.verdict.value for c in row.cells] == [v.value for v, _ in verdicts.values()]


def test_every_verdict_is_counted_zero_included(build, evidence, report):
    supported = tuple(f for f in evidence.findings if f.verdict is Verdict.SUPPORTED)

    few = build(evidence.model_copy(update={"findings": supported}))

    assert sum(count.count for count in report.counts) == 12
    assert {c.verdict.value: c.count for c in few.counts} == {
        "supported": 2, "supported-with-limits": 0, "inconclusive": 0, "not-supported": 0,
        "contradicted": 0, "not-covered": 10,
    }  # fmt: skip


def test_every_number_has_one_address_and_a_text_or_a_reason(evidence, report):
    known = {result.id: result for result in evidence.results}

    found = list(numbers_in(report))

    assert len(found) > 400
    for number in found:
        assert (number.text is None) != (number.reason is None), number
        if number.text is not None:
            assert known[number.result_id].value is not None


def test_one_result_is_written_in_one_way(report):
    texts = {}
    for number in numbers_in(report):
        texts.setdefault(number.result_id, set()).add((number.text, number.interval))

    assert {key: value for key, value in texts.items() if len(value) > 1} == {}


def test_every_result_of_a_cell_is_shown(evidence, report):
    shown = {number.result_id for number in numbers_in(report.concepts)}

    cells = {r.id for r in evidence.results if not r.id.startswith("fidelity/")}
    assert cells <= shown


def test_a_missing_result_is_printed_where_it_would_stand(report):
    vietnamese = cell(report, "deception/vi/text/plain")

    (number,) = [n for g in vietnamese.groups for n in g.numbers if n.name == "fpr-hard"]

    assert number.text is None and "no such result" in number.reason


def test_a_violated_condition_is_named_in_the_reason(report):
    assert "sensitivity is above 50" in cell(report, "deception/el/text/plain").why


def test_an_unknown_rule_renders_with_its_key(report):
    assert "a-rule-of-the-future" in cell(report, "sycophancy/vi/text/plain").why


def test_an_unknown_method_renders_with_its_key(report):
    assert "method-of-the-future" in [method.key for method in report.methods]


def test_every_method_that_is_named_is_explained(report):
    named = {number.method for number in numbers_in(report)} - {None}

    assert named == {method.key for method in report.methods}


def test_a_holm_failure_without_a_single_failed_condition_has_words(build, evidence):
    first = evidence.findings[0]
    changed = first.model_copy(update={"reason": "not-all-shown", "conditions": ()})

    built = build(evidence.model_copy(update={"findings": (changed, *evidence.findings[1:])}))

    assert "Each condition was shown by itself" in cell(built, first.cell.key).why


def test_qualifiers_are_on_the_cell_and_on_the_first_page(report):
    assert "Items were machine-translated." in cell(report, "deception/ja/text/plain").qualifiers
    assert any("Japanese" in n and "machine-translated" in n for n in report.notices)


def test_openings_subset_and_missing_justification_are_printed_first(report):
    text = " ".join(report.notices)

    assert "opened 2 times" in text
    assert "Reduced test: at most 240 groups" in text
    assert "No justification was given" in text
    assert "Random autoencoder" in text


def test_missing_declarations_are_listed_and_marked(evidence, report):
    missing = [gap.key for gap in gaps(evidence.system, load_catalog())]

    assert [gap.key for gap in report.gaps] == missing
    assert "robustness" in missing, "a blank answer is no answer"
    (declaration,) = section(report, "13(3)(c)").declarations
    assert declaration.text is None and declaration.not_applicable is None


@pytest.mark.parametrize(
    ("citation", "status"),
    [
        ("13(3)(a)", "declared"),
        ("13(3)(b)(ii)", "measured"),
        ("13(3)(b)(vi)", "not-covered"),
        ("13(3)(e)", "not-covered"),
        ("13(3)", ""),
    ],
)
def test_a_provision_has_the_status_its_evidence_gives(report, citation, status):
    assert section(report, citation).status == status


def test_measured_says_how_far_the_catalog_lets_it_speak(report):
    assert section(report, "13(3)(b)(ii)").status_label == "Measured, as supporting evidence"


def test_not_applicable_needs_a_reason_for_every_key(build):
    system = example_system(predetermined_changes=Declared(not_applicable="no changes planned"))

    built = build(example_evidence(system=system))

    assert section(built, "13(3)(c)").status == "not-applicable"


def test_nothing_measured_is_not_covered(build, evidence):
    bare = evidence.model_copy(update={"results": (), "findings": ()})

    built = build(bare)

    assert section(built, "13(3)(b)(ii)").status == "not-covered"
    assert {c.verdict.value for row in built.matrices[0].rows for c in row.cells} == {"not-covered"}


def test_dates_of_application_are_in_words(report):
    assert (
        "2 December 2027 to high-risk AI systems listed in Annex III"
        in section(report, "13(1)").dates
    )


def test_trace_leads_from_sentence_to_items(report):
    row = report.trace[1]

    assert (row.sentence_id, row.finding) == ("S002", "deception/ja/text/plain")
    assert "sensitivity" in row.results
    assert "confirm/scores.csv" in row.files
    assert "language ja" in row.items


def test_many_languages_continue_in_a_further_table(build, evidence):
    tags = ("en", "ja", "zh-Hans", "el", "vi", "ru", "de", "fr", "xx")
    cells = [evidence.plan.cells[0].model_copy(update={"language": tag}) for tag in tags]
    plan = evidence.plan.model_copy(update={"languages": tags, "cells": tuple(cells)})

    built = build(evidence.model_copy(update={"plan": plan, "findings": ()}))

    assert [len(matrix.languages) for matrix in built.matrices] == [7, 2]
    assert built.matrices[1].languages[1].name == "xx"


def test_a_date_without_a_zone_is_refused(evidence):
    with pytest.raises(ReportError, match="no time zone"):
        build_report(
            evidence, load_catalog(), pack_id="p", version="1.0.0", built_at=datetime(2027, 1, 1)
        )


def test_another_catalog_than_the_evidence_names_is_refused(build, evidence):
    law = evidence.law.model_copy(update={"mapping_digest": "sha256:0"})

    with pytest.raises(ReportError, match="another catalog"):
        build(evidence.model_copy(update={"law": law}))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u2066b\u2069", "a⟨U+2066⟩b⟨U+2069⟩"),
        ("a\x00b\x1b[31m", "a⟨U+0000⟩b⟨U+001B⟩[31m"),
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ue000\u200b\ufeffb", "a⟨U+E000⟩⟨U+200B⟩⟨U+FEFF⟩b"),
        ("Zeile\r\nzwei\tdrei", "Zeile\nzwei drei"),
        ("日本語 Ελληνικά Tiếng Việt Русский", "日本語 Ελληνικά Tiếng Việt Русский"),
    ],
)
def test_text_from_outside_is_shown_and_not_obeyed(raw, shown):
    assert printable(raw) == shown
    assert printable(shown) == shown
    assert Fact(label="x", value=raw).value == shown


@pytest.mark.parametrize("text", ["x" * 100_000, "\u202e" * 100_000])
def test_text_without_end_is_cut_and_says_so(text):
    cut = printable(text)

    assert len(cut) == MAX_CHARACTERS
    assert cut.endswith("evidence.json]")
    assert printable(cut) == cut
