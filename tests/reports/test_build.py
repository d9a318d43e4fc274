from datetime import datetime

import pytest

from compliance.catalog import gaps, load_catalog
from compliance.errors import ReportError
from compliance.records.audit import Declared
from compliance.records.evidence import Evidence
from compliance.records.finding import Result, Verdict
from compliance.records.report import MAX_CHARACTERS, Fact, Number, printable
from compliance.records.validation import KnownAnswer
from compliance.reports.build import build_report
from compliance.reports.messages import load_messages
from tests.reports.example import (
    VERDICTS,
    example_evidence,
    example_system,
    example_validation,
)


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
    return next(c for kind in kinds(report) for c in kind.cells if c.key == key)


def kinds(report):
    return [kind for concept in report.concepts for kind in concept.kinds]


CONDITIONS, CONTROLS, NUMBERS = range(3)
"""Tables of a kind of input."""


def beside(report, key, table, title, heading=None):
    """What a row of a concept's tables has in the column of a cell."""
    kind = next(k for k in kinds(report) if any(c.key == key for c in k.cells))
    found = kind.tables[table]
    column = found.columns.index(cell(report, key).language.name)
    return row(found, title, heading).entries[column]


def words(sentences):
    """Sentences as a reader sees them."""
    return [
        "".join(part.text or part.number.text or part.number.reason for part in s.fragments)
        for s in sentences
    ]


def part(report, key):
    """A titled part of the first concept."""
    return next(s for s in report.concepts[0].sections if s.anchor.startswith(f"{key}-"))


def row(table, title, heading=None):
    groups = [g for g in table.groups if heading is None or g.heading == heading]
    return next(r for g in groups for r in g.rows if r.title == title)


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


def test_every_result_has_its_place_and_none_is_left_over(evidence, report):
    shown = {number.result_id for number in numbers_in(report)}

    assert {result.id for result in evidence.results} <= shown
    assert report.remainder == ()


def test_a_result_of_no_planned_place_is_printed_at_the_end(build, evidence):
    stray = Result(id="deception/xx/text/plain/sensitivity", value=0.5, method="wilson")

    built = build(evidence.model_copy(update={"results": (*evidence.results, stray)}))

    assert [number.result_id for number in built.remainder] == [stray.id]


def test_a_missing_result_is_printed_where_it_would_stand(report):
    number = beside(
        report, "deception/vi/text/plain", NUMBERS, "False alarms on look-alikes"
    ).number

    assert number.text is None and "no such result" in number.reason
    (said,) = [f.value for f in kinds(report)[0].missing if "no such result" in f.label]
    assert "fpr-hard: Vietnamese" in said


def test_a_violated_condition_is_named_in_the_reason(report):
    assert "sensitivity is above 50" in cell(report, "deception/el/text/plain").why


def test_an_unknown_rule_renders_with_its_key(report):
    assert "a-rule-of-the-future" in cell(report, "sycophancy/vi/text/plain").why


def test_an_unknown_method_renders_with_its_key(report):
    assert "method-of-the-future" in [method.key for method in report.methods]


def test_every_method_that_is_named_is_explained(report):
    named = {number.method for number in numbers_in(report)} - {None}

    assert named | {"holm", "max-statistic"} == {method.key for method in report.methods}


def test_every_method_says_why_it_fits_and_what_it_misses():
    for key, words in load_messages().methods.items():
        assert words.why.strip() and words.misses.strip(), key


def test_a_holm_failure_without_a_single_failed_condition_has_words(build, evidence):
    first = evidence.findings[0]
    changed = first.model_copy(update={"reason": "not-all-shown", "conditions": ()})

    built = build(evidence.model_copy(update={"findings": (changed, *evidence.findings[1:])}))

    assert "Each condition was shown by itself" in cell(built, first.cell.key).why


def test_a_condition_is_shown_by_itself_and_a_gate_is_open_or_shut(report):
    table = kinds(report)[1].tables[CONDITIONS]
    column = next(i for i, name in enumerate(table.columns) if "Chinese" in name)

    found = {
        group.heading: [row.entries[column].status.label for row in group.rows]
        for group in table.groups
    }
    assert set(found["main"]) == {"Shown by itself"}
    assert found["gate"] == ["Shut", "Open"]


def test_a_condition_shows_its_number_and_its_p(report):
    key = "deception/el/text/plain"

    asked = beside(report, key, CONDITIONS, "sensitivity is above 50\N{NO-BREAK SPACE}%")

    assert asked.number.result_id == f"{key}/sensitivity" and asked.text.startswith("p ")


def test_controls_stand_by_measure_and_only_those_planned(report):
    table = kinds(report)[0].tables[CONTROLS]

    assert [g.heading for g in table.groups] == [
        "Ranking (AUROC)", "The probe's lead (AUROC)", "Sensitivity", "False alarms, benign",
        "False alarms, look-alikes",
    ]  # fmt: skip
    ranked = [row.title for row in table.groups[0].rows]
    assert ranked[:4] == [
        "SAE feature probe", "Text length (token count)", "Letter patterns (character n-grams)",
        "Random features, the most nearly as active, 95th percentile",
    ]  # fmt: skip
    assert "Best feature for permuted labels" not in ranked
    assert "Five features of this language together" in ranked


def test_a_lead_has_the_sign_of_where_it_lies(report):
    lead, letters = "The probe's lead (AUROC)", "Letter patterns (character n-grams)"

    ahead = beside(report, "deception/en/text/plain", CONTROLS, letters, lead)
    behind = beside(report, "deception/vi/text/plain", CONTROLS, letters, lead)

    assert (ahead.status.value, behind.status.value) == ("ahead", "behind")


def test_a_planned_control_without_numbers_keeps_its_row(build, evidence):
    gone = tuple(r for r in evidence.results if not r.id.endswith((".ngrams", "minus-ngrams")))

    built = build(evidence.model_copy(update={"results": gone}))

    key, letters = "deception/en/text/plain", "Letter patterns (character n-grams)"
    missing = [
        beside(built, key, CONTROLS, letters, heading)
        for heading in ("Ranking (AUROC)", "The probe's lead (AUROC)")
    ]
    assert [entry.number.text for entry in missing] == [None, None]
    said = " ".join(words(cell(built, key).comparison))
    assert "No comparison was computed with: letter patterns" in said


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "It ranks better than: text length (token count), letter patterns"),
        ("en", "Between it and a plain probe on the model's inner state no difference is shown"),
        ("vi", "It ranks worse than a control that it must beat: letter patterns"),
        ("vi", "It is not shown to rank better than: text length"),
        (
            "vi",
            "A plain probe on the model's inner state ranks better: the probe's lead over it is",
        ),
    ],
)
def test_what_the_controls_come_to_is_said_in_words(report, language, said):
    view = cell(report, f"deception/{language}/text/plain")

    assert any(line.startswith(said) for line in words(view.comparison)), words(view.comparison)


def test_misses_and_hits_stand_side_by_side_and_each_class_is_explained(report):
    misses = part(report, "misses")

    greek = row(misses.tables[0], "Greek", "Misses")
    assert greek.entries[0].text == "102"
    assert greek.entries[1].number.name == "misses.below-threshold"
    hits = row(misses.tables[0], "Greek", "As many hits, drawn at random")
    assert hits.entries[1].number is None
    assert hits.entries[5].number.text.startswith("100.0")
    assert [term.label for term in misses.terms] == list(misses.tables[0].columns[1:])


def test_settings_show_the_verdict_that_each_would_have_given(report):
    table = part(report, "robustness").charts[0].table

    english = [r.entries[0] for group in table.groups for r in group.rows]
    assert [e.verdict.value for e in english[:-1]] == ["supported"] * 6 + ["inconclusive"]
    assert english[-1].number.name == "settings-kept"


def test_shifts_are_shown_where_they_were_run(report):
    table = part(report, "robustness").tables[0]

    assert [group.heading for group in table.groups] == ["English", "Greek"]
    assert "does not apply" in row(table, "Other script", "English").entries[1].text
    greek = row(table, "Other script", "Greek").entries
    assert greek[0].text == "20"
    assert [e.number.name for e in greek[1:]] == [
        f"shift.transliteration.{name}" for name in ("sensitivity", "change", "auroc-hard")
    ]


def test_left_out_clusters_are_shown_by_their_range(report):
    entries = row(part(report, "robustness").tables[1], "Japanese").entries

    assert [e.number.name for e in entries] == [
        "auroc-hard", "left-out.stratum.fraud", "left-out.format.prompt",
    ]  # fmt: skip
    assert entries[1].text == "without stratum “fraud”"


def test_repetition_is_told_in_a_sentence(report):
    told = " ".join(words(part(report, "robustness").intro))

    assert "16 items were run again" in told and "alarms that changed: 0." in told


def test_power_says_whether_supported_was_attainable(report):
    table = part(report, "power").tables[0]

    assert row(table, "Greek").entries[-1].text == "yes"
    assert row(table, "Vietnamese").entries[-1].text == "no"
    assert row(table, "English").entries[4].number.short == "reference"


def test_the_search_says_what_noise_would_have_reached(report):
    found, lucky = (" ".join(concept.search) for concept in report.concepts)

    assert "best of 9,216 features" in found and "would have reached 0.757 or more" in found
    assert "does not rule out luck" in lucky and "does not rule out luck" not in found


def test_searches_where_nothing_is_to_be_found_stand_beside_the_probe(report):
    first, second = report.probes

    assert first.tables[0].columns == ("The probe", "Random autoencoder", "Permuted labels")
    assert second.tables[0].columns == ("The probe",)


def test_fidelity_is_shown_by_kind_of_text(report):
    (sae,) = report.fidelity

    headings = [group.heading for group in sae.tables[0].groups]
    assert headings[0] == "Benign items (ordinary text): all tokens read"
    assert len(headings) == 3
    assert (
        row(sae.tables[0], "Russian").entries[0].number.reason == "no benign items in this language"
    )
    assert "number-of-the-future" in sae.tables[-1].groups[0].rows[0].title


def test_the_error_of_all_verdicts_is_on_the_first_page(report):
    (said,) = words([report.error])

    assert "at most 10.0" in said and f"chapter {report.heading('known-answers').number}" in said


def test_without_known_answers_the_report_says_so(build):
    built = build(example_evidence())

    assert "No record of known-answer trials is attached" in built.known_answers.note
    assert built.known_answers.tables == () and built.null_plot is None
    assert "no trial of the method on known answers" in words([built.error])[0]


def test_known_answers_are_told_and_listed(report):
    told = " ".join(words(report.known_answers.intro))

    assert "“gap exactly at the margin”: in 38 of 1,000 audits" in told
    assert "less often than predicted" in told
    assert "“moderate probe”: 40.2" in told and "52.0" in told
    (table,) = report.known_answers.tables
    assert sum(len(group.rows) for group in table.groups) == 7
    assert row(table, "strong probe").entries[3].text.startswith("95.0")


def test_effects_that_are_found_as_predicted_are_told_with_the_worst(build):
    validation = example_validation()
    kept = [a for a in validation.answers if a.name != "moderate probe"]
    changed = validation.model_copy(update={"answers": tuple(kept)})

    told = " ".join(words(build(example_evidence(validation=changed)).known_answers.intro))

    assert "about as often as predicted. Furthest behind its prediction was “strong probe”" in told


def test_a_method_that_errs_more_than_it_states_is_said_to(build):
    validation = example_validation()
    bad = validation.answers[0].model_copy(update={"found": 90, "low": 0.073, "high": 0.11})
    changed = validation.model_copy(update={"answers": (bad, *validation.answers[1:])})

    told = " ".join(words(build(example_evidence(validation=changed)).known_answers.intro))

    assert "erred more often than it states" in told


def test_more_findings_than_audits_are_refused():
    with pytest.raises(ValueError, match="found 3 of 2"):
        KnownAnswer(name="x", kind="null", audits=2, found=3, low=0, high=1, truth="x")


def test_a_pattern_with_a_star_in_the_name_gives_a_table_for_each_result(report):
    titles = [table.title for table in section(report, "13(3)(b)(ii)").tables]

    assert "Change of sensitivity under typing errors" in titles
    (typos,) = (t for t in section(report, "13(3)(b)(ii)").tables if "typing" in t.title)
    assert [n.short or "value" for n in typos.rows[0].numbers][:2] == ["value", "not run"]


def test_qualifiers_are_on_the_cell_and_on_the_first_page(report):
    assert "Items were machine-translated." in cell(report, "deception/ja/text/plain").qualifiers
    assert any("Japanese" in n and "machine-translated" in n for n in report.notices)


def test_openings_subset_and_missing_justification_are_printed_first(report):
    text = " ".join(report.notices)

    assert "opened 2 times" in text
    assert "Reduced test: at most 240 groups" in text
    assert "No justification was given" in text
    assert "Permuted labels" in text


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
    group, row = next((g, r) for g in report.trace for r in g.rows if r.sentence_id == "S002")

    assert row.finding == "deception/ja/text/plain"
    assert "sensitivity" in group.results
    assert "language ja" in row.items
    assert "confirm/scores.csv" in [fact.label for fact in report.files]
    traced = [r.sentence_id for g in report.trace for r in g.rows]
    assert sorted(traced) == [f"S{n:03d}" for n in range(1, 13)]


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
