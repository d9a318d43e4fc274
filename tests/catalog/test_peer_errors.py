"""Errors in the law that other tools make, which ours must not make.

Each was seen in a tool that people use (see the notes on peers): points that do not exist, logs
under the wrong article, a list of resources that is not whole, dates before the amendment, and a
number that is said to meet an article.
"""

import re
from datetime import UTC, date, datetime

import pytest
from click.testing import CliRunner

from compliance.catalog import load_catalog, scaffold_system
from compliance.cli.main import main
from compliance.reports.build import build_report
from compliance.reports.render import render_html
from compliance.resources import data_dir
from tests.reports.example import example_evidence
from tests.reports.test_html import Page

WHEN = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)

INVENTED = ("13(3)(g)", "13(3)(h)", "13(2)(a)", "13(2)(b)", "13(2)(c)", "13(3)(b)(viii)", "13(4)")
KEEPING = re.compile(r"\b(keep\w*|kept|retain\w*|retention|stor(e|es|ed|age))\b", re.IGNORECASE)
ARTICLE_12 = re.compile(r"\b(Art(icle|\.)?\s*12|art12)(?!\d)|(?<![\d.])12\(\d\)")
JUDGED = re.compile(
    r"\b(meets?|met|satisf(y|ies|ied)|fulfil(s|led)?|conforms?|pass(es|ed)?|compl(y|ies|iant))\b"
    r"[^.;]{0,80}\b(Art(icle|\.)|Annex|Regulation|AI Act)",
    re.IGNORECASE,
)
GRADE = re.compile(
    r"\b(grade|score card|rating|compliance score|compliance level)\b", re.IGNORECASE
)
TEXTS = ("evidence/catalog/mapping.yaml", "templates/messages/en.yaml")


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


@pytest.fixture(scope="module")
def own_words(catalog):
    """What a rendered report says itself, quotations of law and provider apart."""
    report = build_report(
        example_evidence(), catalog, pack_id="p-1.0.0", version="1.0.0", built_at=WHEN
    )
    return " ".join(" ".join(Page(render_html(report)).own_words).split())


def ours(path):
    return (data_dir(path.rpartition("/")[0]) / path.rpartition("/")[2]).read_text(encoding="utf-8")


def sentences(text):
    return re.split(r"(?<=[.;:])\s+|\n\s*\n|\n\s*- ", text)


@pytest.mark.parametrize("citation", INVENTED)
def test_points_that_do_not_exist_are_refused_with_what_does(citation):
    done = CliRunner().invoke(main, ["law", citation])

    assert done.exit_code == 2
    assert f"{citation}: no such provision in the catalog; nearest: 13(" in done.stderr
    assert "Hint: There is no Article 13(3)(g) and no Article 13(2)(a)-(c)" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("citation", INVENTED)
def test_neither_catalog_nor_mapping_nor_report_cites_them(catalog, own_words, citation):
    known = {rule.provision for rule in (*catalog.mapping.rules, *catalog.mapping.also)}

    assert "art" + citation.replace("(", ".").replace(")", "") not in known
    assert citation not in catalog.provision("13").structure
    assert citation not in own_words


def test_logs_are_kept_under_19_and_26_and_not_under_12(catalog):
    for citation in ("19(1)", "26(6)"):
        assert "at least six months" in catalog.provision(citation).official_text
    for citation in ("12", "12(1)", "12(2)", "12(3)"):
        provision = catalog.provision(citation)
        assert not KEEPING.search(f"{provision.summary} {provision.official_text}"), citation


@pytest.mark.parametrize("path", TEXTS)
def test_no_sentence_of_ours_puts_retention_under_article_12(path):
    assert [s for s in sentences(ours(path)) if KEEPING.search(s) and ARTICLE_12.search(s)] == []


def test_no_page_puts_retention_under_article_12(own_words):
    found = sentences(own_words)

    assert [s for s in found if KEEPING.search(s) and ARTICLE_12.search(s)] == []


def test_what_the_mapping_says_of_article_12_is_not_about_keeping(catalog):
    lines = [a for a in catalog.mapping.also if a.provision.split(".")[0] == "art12"]

    assert lines
    for line in lines:
        assert not KEEPING.search(" ".join((line.about, line.supplies, *line.cannot_show)))


def test_the_point_on_logs_says_where_keeping_is_ruled(catalog):
    said = " ".join(catalog.rule("13(3)(f)").cannot_show)

    assert "Articles 19 and 26(6)" in said


@pytest.mark.parametrize(
    "sentence",
    [
        "Logs are kept for six months under Article 12.",
        "Article 12(1) asks for retention of logs.",
        "Retention (12(2)): tamper-evident storage.",
    ],
)
def test_the_search_for_retention_finds_the_error(sentence):
    assert KEEPING.search(sentence) and ARTICLE_12.search(sentence)


def test_resources_are_computational_and_hardware_in_wording_form_and_report(catalog, own_words):
    keys = [declared.key for declared in catalog.rule("13(3)(e)").declared]
    form = scaffold_system("s", catalog)

    assert "computational and hardware resources" in catalog.provision("13(3)(e)").official_text
    for key in ("computational_resources", "hardware_resources"):
        assert key in keys and f"\n  {key}:\n" in form and key in own_words


def test_every_point_applies_from_the_dates_after_the_amendment(catalog):
    for rule in catalog.mapping.rules:
        assert catalog.provision(rule.provision).applies_from == {
            "annex_iii_systems": date(2027, 12, 2),
            "annex_i_systems": date(2028, 8, 2),
        }


def test_the_report_prints_both_dates_with_each_point_and_never_the_old_one(catalog, own_words):
    points = len(catalog.mapping.rules)

    assert own_words.count("from 2 December 2027 to high-risk AI systems listed") >= points
    assert own_words.count("from 2 August 2028 to high-risk AI systems that are") >= points
    assert "2 August 2026" not in own_words and "2 August 2027" not in own_words


@pytest.mark.parametrize("path", TEXTS)
def test_no_sentence_of_ours_says_that_anything_meets_an_article(path):
    text = re.sub(r"\s+", " ", ours(path))

    assert JUDGED.search(text) is None
    assert GRADE.search(text) is None


def test_no_page_says_that_a_grade_or_number_meets_an_article(own_words):
    assert JUDGED.search(own_words) is None
    assert GRADE.search(own_words) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "Grade A meets Article 13.",
        "A sensitivity of 0.91 satisfies the requirements of Article 13(3)(b)(ii)",
        "passes Annex IV",
    ],
)
def test_the_search_for_judgements_finds_the_error(sentence):
    assert JUDGED.search(sentence)
