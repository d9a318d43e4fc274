"""The chapter on the law: every point whole and in order, and what else the evidence serves."""

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pytest

from compliance.catalog import load_catalog
from compliance.catalog.citations import cited
from compliance.records.audit import Declared
from compliance.reports.build import _contents
from compliance.reports.context import Context
from compliance.reports.law import also_serves, law_glance, provision_sections
from compliance.reports.messages import load_messages
from compliance.reports.render import _namespace, templates
from tests.reports.example import example_system

ALSO = ("9", "10", "11", "12", "14", "15", "25(2)", "72", "Annex IV", "Annex XI", "Annex XII")


@pytest.fixture(scope="module")
def ctx(evidence):
    return Context(evidence, load_catalog(), load_messages())


@pytest.fixture(scope="module")
def headings(ctx):
    return {heading.key: heading for heading in _contents(ctx)}


@pytest.fixture(scope="module")
def also(ctx, headings):
    return also_serves(ctx, headings)


@pytest.fixture(scope="module")
def glance(ctx, headings):
    return law_glance(ctx, headings)


def page(name, **fields):
    words = _namespace(load_messages().ui)
    return templates().get_template(f"report/{name}.html.j2").render(
        report=SimpleNamespace(**fields), w=words
    )  # fmt: skip


def points(html):
    """The HTML of each section on a point, by its anchor."""
    parts = re.split(r'(?=<section class="provision)', html)
    found = {re.search(r'id="([^"]+)"', part)[1]: part for part in parts[1:]}
    return {anchor: unescape(part.split("</section>")[0]) for anchor, part in found.items()}


def test_every_point_of_the_article_is_whole_and_in_order(html, ctx):
    sections = points(html)
    words = load_messages().ui

    for rule in ctx.catalog.mapping.rules:
        provision = ctx.catalog.provision(rule.provision)
        text = sections["law-" + rule.provision.replace(".", "-")]
        wanted = [
            cited(rule.provision),
            f'<blockquote class="law"><p>{provision.official_text}</p></blockquote>',
            "2 December 2027 to high-risk AI systems listed in Annex III",
            "2 August 2028 to high-risk AI systems that are, or belong to, products under Annex I",
        ]
        if not rule.container:
            wanted += ['<p class="law-status', words["supplies"], words["cannot_show"]]
        assert [text.count(part) for part in wanted] == [1] * len(wanted), rule.provision
        assert [text.index(part) for part in wanted] == sorted(map(text.index, wanted))
        assert all(sentence in text for sentence in rule.cannot_show)


def test_not_applicable_is_printed_with_its_reason(build, evidence):
    system = example_system(predetermined_changes=Declared(not_applicable="no changes planned"))
    changed = evidence.model_copy(update={"system": system})
    context = Context(changed, load_catalog(), load_messages())

    (section,) = [s for s in provision_sections(context, {}) if s.citation == "Article 13(3)(c)"]
    html = templates().get_template("report/provision.html.j2").render(
        section=section, report=SimpleNamespace(language="en"), w=_namespace(load_messages().ui)
    )  # fmt: skip

    assert '<p class="law-status not-applicable">' in html and "no changes planned" in html


def test_a_fact_that_a_copy_withholds_is_said_to_be_withheld(build, evidence):
    digest = "sha256:" + "7" * 64
    system = example_system(predetermined_changes=Declared(withheld=digest))
    changed = evidence.model_copy(update={"system": system})
    context = Context(changed, load_catalog(), load_messages())

    (section,) = [s for s in provision_sections(context, {}) if s.citation == "Article 13(3)(c)"]
    html = templates().get_template("report/provision.html.j2").render(
        section=section, report=SimpleNamespace(language="en"), w=_namespace(load_messages().ui)
    )  # fmt: skip

    assert '<p class="law-status withheld">' in html and digest in html
    assert "has not declared this" not in html and '<blockquote class="declared">' not in html


def test_the_evidence_serves_each_of_the_other_provisions(also):
    citations = [row.citation for group in also.groups for row in group.rows]

    for wanted in ALSO:
        start = wanted if wanted.startswith("Annex") else f"Article {wanted}"
        assert any(c == start or re.match(re.escape(start) + r"[( ]", c) for c in citations), wanted


def test_each_line_says_what_bears_on_it_and_what_it_cannot_show(also, ctx):
    rows = [row for group in also.groups for row in group.rows]

    assert len(rows) == len(ctx.catalog.mapping.also)
    for row in rows:
        assert row.about and row.supplies and row.cannot_show
        assert row.chapters


def test_chapters_of_the_mapping_are_chapters_of_a_report(ctx, headings):
    mapping = ctx.catalog.mapping
    named = {key for rule in (*mapping.rules, *mapping.also) for key in rule.chapters}

    assert named <= set(headings)


def test_provisions_stand_below_the_dates_they_apply_from(also):
    dates = {row.citation: group.dates for group in also.groups for row in group.rows}

    assert "2 December 2027" in dates["Article 9(8)"] and "2 August 2028" in dates["Article 9(8)"]
    assert dates["Annex XI Section 1, 1(d)"] == "Applies from 2 August 2025."


def test_the_page_of_other_provisions_has_a_place_for_each_and_quotes_no_law(also, ctx):
    html = page("also", also=also)

    for line in ctx.catalog.mapping.also:
        assert f'id="also-{line.provision.replace(".", "-")}"' in html
        wording = ctx.catalog.provision(line.provision).official_text
        assert wording is None or wording not in html
    assert "<blockquote" not in html


def test_an_empty_list_of_other_provisions_is_said(ctx, also):
    html = page("also", also=also.model_copy(update={"groups": ()}))

    assert load_messages().ui["also_none"] in html


@pytest.mark.parametrize(
    ("citation", "other", "anchor"),
    [
        ("Article 13(3)(b)(ii)", "Article 9(8)", "also-art9-8"),
        ("Article 13(3)(b)(vi)", "Article 10", "also-art10-2"),
        ("Article 13(3)(f)", "Article 19", None),
        ("Article 13(2)", "Recital 72", None),
    ],
)
def test_related_provisions_lead_to_their_line(ctx, citation, other, anchor):
    (section,) = [s for s in provision_sections(ctx, {}) if s.citation == citation]

    assert [r.anchor for r in section.related if r.citation == other] == [anchor]


def test_a_related_provision_leads_nowhere_by_the_beginning_of_its_number(ctx):
    """Article 7 has no line, although one on Article 72 begins alike."""
    first, *rest = ctx.catalog.law.provisions
    linked = [p.model_copy(update={"links": ("art7", "art72")}) for p in rest if p.id == "art13.1"]
    others = [p for p in rest if p.id != "art13.1"]
    law = ctx.catalog.law.model_copy(update={"provisions": (first, *linked, *others)})

    sections = provision_sections(replace(ctx, catalog=replace(ctx.catalog, law=law)), {})

    assert [r.anchor for r in sections[0].related] == [None, "also-art72-2"]


def test_the_glance_has_one_row_for_each_point_with_content(glance, ctx):
    rules = [rule for rule in ctx.catalog.mapping.rules if not rule.container]

    assert [row.anchor for row in glance] == ["law-" + r.provision.replace(".", "-") for r in rules]
    assert all(row.title and row.status and row.status_label for row in glance)


def test_the_glance_says_what_stands_behind_each_status(glance):
    behind = {row.citation: row for row in glance}

    assert behind["13(3)(a)"].behind == "2 of 3 facts declared"
    assert behind["13(3)(b)(iii)"].behind == "1 kind of result; 0 of 2 facts declared"
    assert behind["13(3)(b)(vi)"].behind == "0 of 2 facts declared", "counts measure nothing"
    assert [h.key for h in behind["13(3)(b)(ii)"].chapters] == [
        "concepts", "methods", "known-answers",
    ]  # fmt: skip


def test_status_of_the_glance_is_that_of_the_chapter(glance, ctx):
    sections = {s.anchor: s for s in provision_sections(ctx, {})}

    for row in glance:
        assert row.status == sections[row.anchor].status
        assert row.status_label == sections[row.anchor].status_label


def test_the_page_of_the_glance_leads_to_every_point(glance):
    html = page("glance", glance=glance)

    for row in glance:
        assert f'<a href="#{row.anchor}">{row.citation}</a>' in html
