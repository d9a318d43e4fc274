"""The page of a comparison: charts, their data, hostile names, and a browser's rules."""

import pytest

from compliance.assessment.subjects import compare_subjects
from compliance.reports.subjects_page import render_subjects_page
from tests.assessment.compared import moved, world_items
from tests.assessment.test_subjects import blind, side
from tests.reports.browser import PAGE_SCRIPT, TAGS, axe_script, browser_path


@pytest.fixture(scope="module")
def found():
    table = world_items()
    every = table["score"] == table["score"]
    return compare_subjects(
        [
            side(table),
            side(moved(table, every, -1.5), 1),
            side(blind(table), 2),
            side(table, 3, cut_off=2.0),
        ]
    )


@pytest.fixture(scope="module")
def page(found):
    return render_subjects_page(found)


def test_every_number_of_a_chart_stands_in_its_table(found, page):
    for one in found.cells:
        for standing in one.packs:
            for stated in standing.stated:
                assert f"{stated.value:.3f}" in page
    assert page.count("<figure") == len(found.cells)
    assert "another plan or lock: shown, not tested (lock)" in page


def test_a_name_from_outside_is_shown_and_never_markup(found):
    model = found.packs[0].model.model_copy(update={"name": "<script>x</script>\u202e"})
    pack = found.packs[0].model_copy(update={"model": model})
    hostile = found.model_copy(update={"packs": (pack, *found.packs[1:])})

    text = render_subjects_page(hostile)

    assert "<script" not in text
    assert "\u202e" not in text


def test_many_subjects_are_numbered_with_gaps(found):
    many = found.model_copy(
        update={
            "packs": found.packs[:1] + found.packs[1:2] * 29,
            "cells": tuple(
                one.model_copy(update={"packs": one.packs[:1] + one.packs[1:2] * 29})
                for one in found.cells
            ),
        }
    )

    text = render_subjects_page(many)

    assert ">27</text>" in text
    assert ">28</text>" not in text


def test_a_browser_and_its_rules_have_nothing_to_complain_about(page, tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "compared.html"
    path.write_text(page, encoding="utf-8")
    asked, said = [], []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path())
        shown = browser.new_context(bypass_csp=True).new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.goto(path.as_uri())
        shown.evaluate(PAGE_SCRIPT.read_text(encoding="utf-8"))
        shown.evaluate("report.unfold()")
        shown.evaluate(axe_script())
        result = shown.evaluate(
            "only => axe.run({exclude: ['svg text']}, {runOnly: only, preload: false})",
            {"type": "tag", "values": TAGS},
        )
        contrasts = shown.evaluate("report.drawn()")
        browser.close()

    assert asked == [path.as_uri()]
    assert said == []
    problems = [(r["id"], n["html"][:160]) for r in result["violations"] for n in r["nodes"]]
    assert problems == []
    assert len(contrasts) > 30
    assert [pair for pair in contrasts if pair[1] < 4.5] == []
