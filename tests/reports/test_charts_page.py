import io
import re
from datetime import UTC, datetime
from typing import get_args

import pypdf
import pytest

from compliance.records.audit import FeatureRef
from compliance.records.chart import Ink, Look
from compliance.records.suite import Label
from compliance.reports.charts import calibration, density, histograms, roc, sweep
from compliance.reports.plot import sensitivity_plot
from compliance.reports.render import _namespace, html_to_pdf, page_style, templates
from tests.reports.charts_example import BENIGN, HARD, POSITIVE, cells_of, context
from tests.reports.test_html import Page

PAGE = """{% from "report/chart.html.j2" import chart, LOOKS, INKS with context %}
<html lang="en"><head><title>Charts</title><meta name="description" content="Charts">
<style>{{ css|safe }}</style></head><body><h1 data-pack="p" data-version="1">Charts</h1>
{% for c in charts %}{{ chart(c) }}{% endfor %}</body></html>"""
LINK = re.compile(r'<a href="#[^"]*">(.*?)</a>')
"""Tables lead to cells, which are not on this page."""


@pytest.fixture(scope="module")
def ctx():
    classes = {Label.POSITIVE: POSITIVE, Label.HARD_NEGATIVE: HARD, Label.NEGATIVE: BENIGN}
    scores = dict.fromkeys(("en", "ja", "zh-Hans", "el", "vi", "ru"), classes)
    return context(scores=scores, firing=[("en", "read", "items", 0, 4711, 40)])


@pytest.fixture(scope="module")
def charts(ctx):
    cells = cells_of(ctx)
    of_cells = (sensitivity_plot, histograms, roc, calibration, sweep)
    return [*(make(ctx, cells) for make in of_cells), density(ctx, FeatureRef(latent=4711))]


def draw(ctx, charts) -> str:
    words = ctx.words.ui
    template = templates().from_string(PAGE)
    return template.render(charts=charts, w=_namespace(words), css=page_style(words, paper=True))


@pytest.fixture(scope="module")
def html(ctx, charts):
    return draw(ctx, charts)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def looks(name: str) -> dict[str, dict[str, str]]:
    """Attributes of each look or ink, as the template has them."""
    module = templates().get_template("report/chart.html.j2").make_module({"w": None})
    table = getattr(module, name)
    return {k: dict(re.findall(r'([a-z-]+)="([^"]*)"', v)) for k, v in table.items()}


def contrast(one: str, other: str = "#ffffff") -> float:
    """WCAG's ratio of two colours."""

    def light(colour):
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_look_and_ink_is_drawn_in_one_way():
    assert set(looks("LOOKS")) == set(get_args(Look))
    assert set(looks("INKS")) == set(get_args(Ink))


def test_words_have_enough_contrast_and_are_not_small():
    for ink in looks("INKS").values():
        assert contrast(ink["fill"]) >= 4.5
        assert float(ink["font-size"]) >= 10


def test_marks_have_enough_contrast():
    for name, look in looks("LOOKS").items():
        colours = [c for c in (look["fill"], look["stroke"]) if c.startswith("#")]
        wanted = 1.2 if name == "grid" else 3.0
        assert max(map(contrast, colours)) >= wanted, name


def test_lines_that_are_compared_differ_by_dashes_and_not_by_colour_alone():
    table = looks("LOOKS")
    dashes = [table[name].get("stroke-dasharray") for name in ("limit", "margin", "target", "line")]

    assert len(set(dashes)) == 4


def test_the_page_is_well_formed_and_no_two_ids_are_alike(page, charts):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]

    assert page.stack == []
    assert len(ids) == len(set(ids)) == 2 * len(charts)


def test_every_number_in_a_chart_is_the_result_as_it_is_written(page, ctx):
    assert len(page.results) > 120
    for result_id, text in page.results:
        assert text == ctx.numbers.of(result_id).text
    for result_id, text in page.intervals:
        assert text == ctx.numbers.of(result_id).interval
    shown = {result_id for result_id, _ in page.results}
    wanted = ("auroc-hard", "sensitivity", "fpr-hard", "fpr-benign", "cut-off", "settings-kept")
    assert {f"deception/en/text/plain/{name}" for name in wanted} <= shown


def test_a_drawing_holds_its_numbers_beside_its_table(html):
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL)[:5]:
        assert '<tspan data-result="deception/en/text/plain/' in drawing


def test_a_missing_number_is_said_in_the_drawing(html):
    assert 'data-absent="deception/ru/text/plain/sensitivity" font-style' in html


def test_every_drawing_has_a_text_alternative_and_a_table(page, charts):
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    tags = [tag for tag, _ in page.tags]

    assert [d["aria-labelledby"] for d in drawings] == [f"{c.anchor}-title" for c in charts]
    assert all(d["role"] == "img" for d in drawings)
    for name in ("figure", "figcaption", "details", "summary", "table", "title"):
        assert tags.count(name) == len(charts) + (name == "title")


def test_a_text_alternative_names_every_language_and_its_value(html, charts):
    titles = re.findall(r"<title id=[^>]*>(.*?)</title>", html, re.DOTALL)

    for title, chart in zip(titles, charts, strict=True):
        assert title.startswith(chart.title)
        assert "English" in title and "Greek" in title
    assert "Greek 39.3" in titles[0]


def test_drawings_carry_no_styles_scripts_or_classes(html):
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))

    assert not re.search(
        r"<style|<script|<filter|<image| style=| class=| href=| on[a-z]+=", drawings
    )


def test_a_series_is_one_path_however_many_items_it_has(charts):
    assert max(len(chart.shapes) for chart in charts) <= 80


def test_hostile_words_are_only_words(ctx, charts):
    hostile = '"><script>alert(1)</script>\u202e'
    chart = charts[0].model_validate({**charts[0].model_dump(), "title": hostile})

    drawn = draw(ctx, [chart])

    assert "<script" not in drawn and "\u202e" not in drawn
    assert "&lt;script&gt;" in drawn


def test_paper_has_every_chart_and_only_the_tables_that_belong_there(html, charts):
    pdf = html_to_pdf(
        LINK.sub(r"\1", html), attachments={}, identifier=bytes(16),
        when=datetime(2027, 1, 15, tzinfo=UTC),
    )  # fmt: skip

    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    text = " ".join("\n".join(page.extract_text() for page in pages).split())
    for chart in charts:
        assert chart.title in text
        assert (chart.table.caption in text) is chart.table_on_paper
    for name in ("Japanese", "Simplified Chinese", "Greek"):
        assert name in text
