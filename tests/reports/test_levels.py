"""Three lengths of one report: the same words, fewer chapters."""

import io
import re
from datetime import UTC, datetime

import pypdf
import pytest

from compliance.reports.levels import CHAPTERS, FILES, LEVELS, at_level
from compliance.reports.render import render_html, render_pdf
from tests.reports.test_html import Page

INLINE = re.compile(r"</?(?:a|span|b|strong|em|code)\b[^>]*>")
TEXT = re.compile(r">([^<>]+)<")


def pieces(html):
    """Every piece of text between two tags of blocks, without spaces around it."""
    body = INLINE.sub("", html[html.index("<body") :])
    return {" ".join(text.split()) for text in TEXT.findall(body)} - {""}


@pytest.fixture(scope="module")
def shown(report):
    return {level: render_html(at_level(report, level)) for level in LEVELS}


@pytest.fixture(scope="module")
def pdfs(report):
    when = datetime(2027, 1, 15, tzinfo=UTC)
    return {
        level: render_pdf(
            at_level(report, level),
            attachments={"evidence.json": b"{}"},
            identifier=b"1" * 16,
            when=when,
        )
        for level in ("brief", "standard")
    }


def test_the_full_report_is_the_report_itself(report):
    assert at_level(report, "full") is report
    assert report.level_note is None and set(report.chapters) == {h.key for h in report.contents}


@pytest.mark.parametrize("level", ["brief", "standard"])
def test_a_shorter_report_says_nothing_that_the_full_one_does_not(report, shown, level):
    short = at_level(report, level)

    only = pieces(shown[level]) - pieces(shown["full"])

    own = {short.level_note}
    joined = " ".join(pieces(shown["full"]))
    unknown = {text for text in only - own if text not in joined}
    listed = {text for text in unknown if text.split(". ", 1)[1] in joined}  # a language's reason
    assert unknown - listed == set()
    assert bool(listed) == (level == "standard")


def test_each_length_holds_the_verdicts_the_notices_and_the_law_at_a_glance(report, shown):
    for html in shown.values():
        for notice in report.notices:
            assert notice.replace("&", "&amp;").split("“")[0][:60] in html
        for row in report.glance:
            assert row.citation in html
        assert html.count('class="matrix"') == len(report.matrices)


def test_chapters_keep_their_numbers(report, shown):
    for level, keys in CHAPTERS.items():
        for heading in report.contents:
            title = f'<span class="no">{heading.number}</span> {heading.title}</h2>'
            assert (title in shown[level]) == (heading.key in keys), (level, heading.key)


@pytest.mark.parametrize("level", LEVELS)
def test_no_link_leads_nowhere(shown, level):
    page = Page(shown[level])

    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {attrs["href"][1:] for _, attrs in page.tags if "href" in attrs}
    assert links <= ids


def test_a_verdict_whose_chapter_is_left_out_keeps_its_word(report, shown):
    cell = report.matrices[0].rows[0].cells[0]

    assert f'href="#{cell.anchor}"' in shown["full"]
    assert f'href="#{cell.anchor}"' not in shown["brief"]
    assert f"{cell.verdict.glyph}\N{NO-BREAK SPACE}{cell.verdict.label}" in shown["brief"].replace(
        "&nbsp;", "\N{NO-BREAK SPACE}"
    )


def test_the_summary_has_two_pages_and_the_report_about_twenty(pdfs):
    count = {level: len(pypdf.PdfReader(io.BytesIO(data)).pages) for level, data in pdfs.items()}

    assert count["brief"] == 2
    assert 10 <= count["standard"] <= 30


def test_each_length_carries_the_evidence(pdfs):
    for data in pdfs.values():
        assert list(pypdf.PdfReader(io.BytesIO(data)).attachments) == ["evidence.json"]


def test_shorter_reports_name_the_others(report):
    note = at_level(report, "brief").level_note

    assert report.pack_id in note and FILES["standard"] in note and FILES["full"] in note
    missing = at_level(report, "standard").level_note
    instrument = report.heading("instrument").number
    assert FILES["full"] in missing and f" {instrument}," in missing
