"""The whole report on suites with one flaw each, and its text and page."""

import json
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.cli.suite_text import whole
from compliance.quality.check import check, overview
from compliance.quality.sizes import cell_power
from compliance.records.suite_report import CellSize, Limits, PictureReport, SuiteReport
from compliance.reports.suite_page import MEANINGS, render_suite_page
from compliance.statistics.power import minimum_detectable_greater
from compliance.suites.load import load_suite
from tests.tiny_audit import write_items, write_suite


@pytest.fixture
def folder(tmp_path):
    write_suite(tmp_path / "suite", groups=24, benign=40)
    return tmp_path / "suite"


def items_of(folder):
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def report_on(folder, change=lambda items: items, **limits):
    write_items(folder, change(items_of(folder)))
    return check(load_suite(".", folder), limits=Limits(**limits))


def found(report, name, where):
    (rule,) = [r for r in report.rules if (r.name, r.where) == (name, where)]
    return rule


def test_every_cell_and_language_has_its_rules(folder):
    report = report_on(folder)

    places = {(cell.concept, cell.language) for cell in report.cells}
    assert places == {(c, lang) for c in ("danger", "flattery") for lang in ("en", "el")}
    for name in ("length (bytes)", "length (characters)", "n-grams"):
        assert len([r for r in report.rules if r.name == name]) == 4
    assert {r.where for r in report.rules if r.name == "script"} == {"en", "el"}
    assert {r.where for r in report.rules if r.name == "numbers"} == {"el"}
    assert all(rule.passed == (rule.found <= rule.limit) for rule in report.rules)
    assert report.passed == all(rule.passed for rule in report.rules)


def test_longer_positives_go_beyond_the_limit_of_length(folder):
    def longer(items):
        for item in items:
            if item.get("concept") == "danger" and item["label"] == "positive":
                item["text"] += " and more and more and more and more and more"
        return items

    report = report_on(folder, longer)

    assert found(report, "length (bytes)", "danger, en").found == pytest.approx(0.5)
    assert not found(report, "pairs of unequal length", "danger, en").passed
    assert found(report, "pairs of unequal length", "flattery, en").passed


def test_a_translation_that_is_not_there_is_named(folder):
    def without(items):
        return [i for i in items if (i["group"], i["language"]) != (items[0]["group"], "el")]

    group = items_of(folder)[0]["group"]
    rule = found(report_on(folder, without), "parallel", "el")

    assert not rule.passed
    assert group in rule.examples[0]


def test_untranslated_items_are_named_twice_over(folder):
    def english(items):
        twins = {(i["group"], i["label"]): i for i in items if i["language"] == "en"}
        for item in items:
            if item["language"] == "el" and item.get("concept") is None:
                item["text"] = (
                    "This was never translated: " + twins[item["group"], "negative"]["text"]
                )
                item.pop("messages", None)
        return items

    report = report_on(folder, lambda items: english(plain(items)))

    script = found(report, "script", "el")
    assert script.found == 40
    assert len(script.examples) == 10
    assert not found(report, "language", "el").passed


def plain(items):
    """Benign dialogues as prompts, so that all have a text."""
    for item in items:
        if item.get("concept") is None and "messages" in item:
            item["text"] = " ".join(m["content"] for m in item.pop("messages"))
            item["format"] = "prompt"
    return items


def test_choices_and_turns_must_be_in_every_language(folder):
    def in_english_alone(items):
        for item in items:
            if item["language"] == "en" and item["label"] == "positive":
                item["choices"] = {"concept": "yes", "other": "no"}
        return items

    rule = found(report_on(folder, in_english_alone), "choices", "el")

    assert rule.found == 48


def test_other_limits_are_used_and_printed(folder):
    report = report_on(folder, ngram_auroc=0.0)

    assert report.limits.ngram_auroc == 0.0
    assert not any(r.passed for r in report.rules if r.name.startswith("n-grams") and r.found)


def test_the_weakest_place_is_the_one_with_the_strongest_shortcut(folder):
    def marked(items):
        for n, item in enumerate(items):
            if (item.get("concept"), item["language"]) == ("danger", "el"):
                continue  # marked by a letter as they are
            if item.get("concept") == "danger":
                item["text"] = f"{chr(97 + n % 26) * 9} {n}"
            elif item.get("concept"):
                item["messages"][1]["content"] = f"{chr(97 + n % 26) * 9} {n}"
        return items

    report = report_on(folder, marked)

    assert "danger, el: AUROC 1.00" in report.weakest


def test_sizes_say_what_could_be_shown():
    big = cell_power(positives=168, hard=168, calibrate=500, benign=500, cells=6, is_reference=True)
    small = cell_power(positives=5, hard=5, calibrate=50, benign=50, cells=6, is_reference=True)

    assert big.attainable and big.supported > 0.9
    assert big.sensitivity == minimum_detectable_greater(168, 0.5, alpha=0.05 / 6)
    assert not small.attainable and small.supported == 0.0  # 50 cannot set a cut-off at 1 %
    assert cell_power(
        positives=0, hard=0, calibrate=0, benign=0, cells=1, is_reference=True
    ).sensitivity is None  # fmt: skip


def test_an_overview_has_the_sizes_of_the_report(folder):
    suite = load_suite(".", folder)

    sizes = overview(suite)

    report = check(suite)
    assert [c.power for c in sizes.cells] == [c.power for c in report.cells]
    assert sizes.benign == report.benign


def test_the_page_holds_every_number_and_loads_nothing(folder):
    report = report_on(folder)

    page = render_suite_page(report)

    class Reader(HTMLParser):
        rows, links = 0, 0

        def handle_starttag(self, tag, attributes):
            self.rows += tag == "tr"
            self.links += any(name in ("src", "href") for name, _ in attributes)

    reader = Reader()
    reader.feed(page)
    assert reader.links == 0
    assert reader.rows > 20
    assert "default-src" in page
    for cell in report.cells:
        assert f"{cell.ngrams.value:.2f} ({cell.ngrams.low:.2f} to {cell.ngrams.high:.2f})" in page
    names = {rule.name for rule in report.rules if not rule.name.startswith("length (")}
    assert names <= MEANINGS.keys()


def test_the_page_shows_cells_with_pictures_and_what_is_wrong_with_them(folder):
    report = report_on(folder)
    assert "Pictures" not in render_suite_page(report)
    cell = CellSize.model_validate(
        {name: getattr(report.cells[0], name) for name in CellSize.model_fields}
    )
    shown = {"modality": "image", "rendering": "depicted"}
    page = render_suite_page(
        report.model_copy(
            update={
                "picture_cells": (cell.model_copy(update=shown),),
                "pictures": PictureReport(files=1204, items=5, shared=("images/twice.png",)),
            }
        )
    )
    assert "image, depicted" in page
    assert "1,204 different pictures" in page
    assert "images/twice.png" in page


def test_markup_in_a_suite_stays_text(folder):
    def hostile(items):
        for item in items:
            item["id"] = item["id"]
        items[0]["stratum"] = "a-b"
        return items

    text = (folder / "suite.yaml").read_text().replace("Tiny", "<script>alert(1)</script>")
    (folder / "suite.yaml").write_text(text)
    page = render_suite_page(report_on(folder, hostile))

    assert "<script>" not in page


def test_the_command_prints_text_json_and_a_page_and_says_no(folder, tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("ngram_auroc: 0.0\n")
    run = CliRunner().invoke

    failed = run(main, ["suites", "check", str(folder), "--limits", str(limits)])
    page = run(main, ["suites", "check", str(folder), "--html", str(tmp_path / "p.html"), "--json"])

    assert failed.exit_code == 1
    assert "BEYOND ITS LIMIT n-grams, danger, en" in failed.stdout
    stored = SuiteReport.model_validate_json(page.stdout)
    assert stored.name == "tiny"
    assert stored.title in (tmp_path / "p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content", ["ngram_auroc: 2\n", "ngrams: 0.5\n", "wording_likeness: 0.2\n"]
)
def test_senseless_limits_are_refused(folder, tmp_path, content):
    limits = tmp_path / "limits.yaml"
    limits.write_text(content)

    found = CliRunner().invoke(main, ["suites", "check", str(folder), "--limits", str(limits)])

    assert found.exit_code == 2
    assert "limits.yaml, line 1" in found.stderr


def test_a_concept_without_items_in_a_language_is_shown(folder):
    report = report_on(
        folder,
        lambda items: [i for i in items if (i.get("concept"), i["language"]) != ("danger", "el")],
    )

    (empty,) = [c for c in report.cells if (c.concept, c.language) == ("danger", "el")]
    assert (empty.groups, empty.words, empty.power.attainable) == (0, None, False)
    assert "not covered" in render_suite_page(report)
    assert sum(line.split()[:2] == ["danger", "el"] for line in whole(report)) == 2
