import re
from html.parser import HTMLParser

import pytest

from compliance.catalog import load_catalog
from compliance.records.audit import Declared
from compliance.reports.messages import load_messages
from compliance.reports.numbers import Numbers
from compliance.reports.render import render_html
from compliance.resources import data_dir
from tests.reports.example import example_evidence, example_system

FORBIDDEN = re.compile(
    r"\bcomplies\b|\bcompliant\b|\bmeets\s+(the\s+)?art|\bcertif|\bguarantee", re.IGNORECASE
)
VOID = {"meta", "link", "br", "img", "input", "hr", "line", "circle"}
HOSTILE = (
    "<script>alert(1)</script><link rel=attachment href=file:///etc/passwd>"
    "<img src=http://example.invalid/x.png>{{ 7*7 }}\u202eabc\ud800"
)


class Page(HTMLParser):
    """Tags, text outside quotations, and the text of every element with a result's id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.stack, self.own_words = [], [], []
        self.results, self.absent, self.intervals = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append((tag, dict(attrs), []))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        for _, _, text in self.stack:
            text.append(data)
        if not any(tag in ("blockquote", "style") for tag, _, _ in self.stack):
            self.own_words.append(data)

    def handle_endtag(self, tag):
        name, attrs, text = self.stack.pop()
        assert name == tag, f"</{tag}> closes <{name}>"
        for key, found in (
            ("data-result", self.results),
            ("data-absent", self.absent),
            ("data-interval", self.intervals),
        ):
            if key in attrs:
                found.append((attrs[key], "".join(text)))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_is_well_formed(page):
    assert page.stack == []


def test_no_sentence_of_ours_judges_the_law(page):
    assert FORBIDDEN.findall(" ".join(page.own_words)) == []


@pytest.mark.parametrize("folder", ["templates/report", "templates/messages"])
def test_no_template_judges_the_law(folder):
    for path in data_dir(folder).iterdir():
        assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_every_number_on_the_page_is_the_result_as_it_is_written(page, evidence):
    numbers = Numbers(evidence.results, load_messages(), level=evidence.plan.level)

    assert len(page.results) > 400
    for result_id, text in page.results:
        assert text == numbers.of(result_id).text
    for result_id, text in page.intervals:
        assert text == numbers.of(result_id).interval


def test_every_result_has_a_place_on_the_page(page, evidence):
    places = {i for i, _ in page.results} | {i for i, _ in page.absent}

    assert {result.id for result in evidence.results} <= places


def test_a_result_without_a_value_shows_its_reason(page, html):
    assert ("deception/en/text/plain/ppv@0.01", "no value") in page.absent
    assert '<span class="gap">no alarm at all</span> (<code>ppv@0.01: English' in html


def test_a_missing_declaration_is_printed(html, report):
    missing = load_messages().ui["gap"]

    assert html.count(missing) == len(report.gaps) > 20


def test_declared_words_stand_in_a_quotation(html):
    assert '<blockquote class="declared"><p>Drafting replies to customer questions.\n\nNot' in html


def test_the_law_is_quoted_as_the_catalog_has_it(html):
    catalog = load_catalog()

    for rule in catalog.mapping.rules:
        text = catalog.provision(rule.provision).official_text
        assert f'<blockquote class="law"><p>{text}</p></blockquote>' in html


def test_the_page_loads_and_runs_nothing(page, html):
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))

    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "form"}
    assert not [a for _, a in page.tags if "src" in a or "style" in a]
    assert all(a["href"].startswith("#") for _, a in page.tags if "href" in a)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_every_link_leads_somewhere_and_ids_are_unique(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]

    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for _, a in page.tags if "href" in a} <= set(ids)


def test_headings_skip_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]

    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_tables_have_captions_and_scopes(page):
    tags = [tag for tag, _ in page.tags]

    assert tags.count("caption") == tags.count("table")
    assert all(
        attrs.get("scope") in ("row", "col", "rowgroup") for tag, attrs in page.tags if tag == "th"
    )


def test_the_language_of_words_is_marked(page):
    languages = {attrs["lang"] for _, attrs in page.tags if "lang" in attrs}

    assert {"en", "ja", "zh-Hans", "el", "vi", "ru"} <= languages


def test_plots_have_a_text_that_holds_their_numbers(html):
    titles = re.findall(r"<svg[^>]*>\s*<title[^>]*>(.*?)</title>", html, re.DOTALL)

    assert "Greek 39.3" in titles[0] and "Russian not covered" in titles[0]
    assert "gap exactly at the margin 3.8" in titles[-1]


def test_nothing_inside_a_link_but_text(html):
    links = re.findall(r"<a [^>]*>(.*?)</a>", html, re.DOTALL)

    assert links and not any("<" in link for link in links)


def test_hostile_text_is_shown_and_does_nothing(build):
    system = example_system(intended_purpose=Declared.model_construct(text=HOSTILE))
    hostile = system.model_copy(update={"title": HOSTILE})

    page_source = render_html(build(example_evidence(system=hostile)))

    page = Page(page_source)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img"}
    assert "\u202e" not in page_source and "⟨U+202E⟩" in page_source
    assert "\ud800" not in page_source
    assert "{{ 7*7 }}" in page_source
    assert "&lt;script&gt;alert(1)" in page_source


def test_the_same_report_gives_the_same_page(report, html):
    assert render_html(report) == html
