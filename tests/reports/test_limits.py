"""What no number can show is said, and the words of the first pages are explained."""

import re
from html import unescape

import pytest

from compliance.reports.messages import load_messages

TERMS = (
    "Alarm", "Audit trail", "Autoencoder", "Cell", "Concept", "Condition", "Control", "Cut-off",
    "Digest", "Evidence pack", "Feature", "Interval", "Limit", "Look-alike", "Mapping",
    "Not applicable", "Not covered", "Plan", "Probe", "Provider", "Qualifier",
    "Reference language", "Sensitivity", "Test item", "Verdict", "Weights",
)  # fmt: skip
"""Words of the trade that the first pages use, or may use with other evidence."""


def text_of(html, start, end):
    """Words between two places of the page."""
    part = html.split(start, 1)[1].split(end, 1)[0]
    return unescape(re.sub(r"<[^>]+>", " ", part))


@pytest.fixture(scope="module")
def limits(html):
    return text_of(html, '<section class="chapter" id="limits"', "</section>")


@pytest.fixture(scope="module")
def glossary(html):
    return text_of(html, '<section class="chapter" id="glossary"', "</section>")


@pytest.mark.parametrize(
    "said",
    [
        "A model behind an API has no inside to probe.",
        "A model that can only be called, also as a part of the system, is not covered.",
        "the plan does not name are not covered",
        "Reading is not doing.",
        "Correlation is not explanation.",
        "Integrity is not truth.",
        "only an outside time stamp",
        "not differences between groups of persons",
    ],
)
def test_the_limits_are_printed(limits, said):
    assert said in " ".join(limits.split())


@pytest.mark.parametrize("term", TERMS)
def test_words_of_the_first_pages_are_in_the_glossary(glossary, term):
    terms = [entry["term"] for entry in load_messages().ui["glossary"]]

    assert any(re.search(rf"\b{term}\b", known, re.IGNORECASE) for known in terms)
    assert term.lower() in glossary.lower()


def test_the_glossary_holds_each_term_once_and_in_order():
    terms = [entry["term"] for entry in load_messages().ui["glossary"]]

    assert len({t.lower() for t in terms}) == len(terms)
    assert terms == sorted(terms, key=str.lower)


def test_most_terms_are_words_of_the_first_pages(html):
    """The list above is not out of thin air."""
    first = text_of(html, '<section class="summary" id="summary"', '<nav class="contents"').lower()

    used = [term for term in TERMS if term.lower() in first]

    assert len(used) >= 20, set(TERMS) - set(used)
