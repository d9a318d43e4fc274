import pytest

from compliance.catalog import display, load_catalog
from compliance.catalog.citations import cited


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("art13", "13"),
        ("art13.3.b.ii", "13(3)(b)(ii)"),
        ("art4a", "4a"),
        ("annex4.2.g", "Annex IV 2(g)"),
        ("annex8.A.12", "Annex VIII Section A, 12"),
        ("annex11.s1.1.a", "Annex XI Section 1, 1(a)"),
        ("annex12", "Annex XII"),
        ("recital72", "Recital 72"),
    ],
)
def test_ids_are_displayed_as_people_cite(stored, shown):
    assert display(stored) == shown


def test_only_articles_are_called_articles():
    assert cited("art13.1") == "Article 13(1)"
    assert cited("annex4.3") == "Annex IV 3"


def test_no_two_provisions_are_displayed_alike():
    catalog = load_catalog()

    for provision in catalog.law.provisions:
        assert catalog.provision(display(provision.id)) == provision
