import shutil
from datetime import date

import pytest

from compliance.catalog import load_catalog
from compliance.errors import CatalogError
from compliance.records.base import digest_bytes
from compliance.resources import data_dir

STRUCTURE = (
    "13(1)", "13(2)", "13(3)(a)", "13(3)(b)", "13(3)(b)(i)", "13(3)(b)(ii)", "13(3)(b)(iii)",
    "13(3)(b)(iv)", "13(3)(b)(v)", "13(3)(b)(vi)", "13(3)(b)(vii)", "13(3)(c)", "13(3)(d)",
    "13(3)(e)", "13(3)(f)",
)  # fmt: skip


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


@pytest.fixture
def copy(tmp_path):
    """The shipped catalog in a folder that a test may damage."""
    return shutil.copytree(data_dir("evidence/catalog"), tmp_path / "catalog")


@pytest.mark.parametrize(
    "name", ["art13.3.b.ii", "13(3)(b)(ii)", "Article 13(3)(b)(ii)", "Art. 13 (3) (b) (ii)"]
)
def test_both_forms_find_a_provision(catalog, name):
    assert catalog.provision(name).id == "art13.3.b.ii"


@pytest.mark.parametrize("name", ["13(3)(g)", "art13.3.g", "13(2)(a)", "13(2)(c)", "art13.2.a"])
def test_points_that_other_tools_invent_do_not_exist(catalog, name):
    with pytest.raises(CatalogError, match="no such provision") as caught:
        catalog.provision(name)

    assert "13(" in str(caught.value)
    assert "There is no Article 13(3)(g)" in caught.value.hint


def test_an_unknown_provision_names_the_nearest(catalog):
    with pytest.raises(CatalogError, match=r"nearest: .*13\(3\)\(f\)"):
        catalog.provision("13(3)(g)")


def test_every_point_of_the_article_has_a_rule(catalog):
    assert catalog.provision("art13").structure == STRUCTURE
    for name in (*STRUCTURE, "13(3)"):
        assert catalog.rule(name) is not None, name


def test_every_rule_stays_inside_what_its_provision_allows(catalog):
    for rule in catalog.mapping.rules:
        role = catalog.provision(rule.provision).pack_role
        assert role is not None or rule.container
        if role is not None and role.level == "none":
            assert not rule.results and not rule.findings


def test_lines_on_other_provisions_stay_inside_the_article_and_name_no_result(catalog):
    """Provisions outside the article have no role in the catalog, so nothing is measured there."""
    for line in catalog.mapping.also:
        assert not line.provision.startswith("art13")
        assert catalog.provision(line.provision).pack_role is None
        assert catalog.rule(line.provision) is None


def test_resources_cover_computation_and_hardware(catalog):
    wording = catalog.provision("13(3)(e)").official_text
    keys = [declared.key for declared in catalog.rule("13(3)(e)").declared]

    assert "computational and hardware resources" in wording
    assert {"computational_resources", "hardware_resources", "software_updates"} < set(keys)


def test_logs_are_kept_under_other_articles_than_record_keeping(catalog):
    assert set(catalog.provision("13(3)(f)").links) == {"art12", "art19", "art26.6"}


def test_dates_of_application_come_from_the_data(catalog):
    for name in STRUCTURE:
        assert catalog.provision(name).applies_from == {
            "annex_iii_systems": date(2027, 12, 2),
            "annex_i_systems": date(2028, 8, 2),
        }


def test_amendments_are_named_by_their_regulation(catalog):
    assert catalog.provision("13(1)").amendments == {"2026/1744": False}
    assert catalog.provision("113").amendments == {"2026/1744": True}


def test_facts_hold_the_digests_of_the_files(catalog):
    folder = data_dir("evidence/catalog")

    facts = catalog.facts()

    assert facts.provisions_digest == digest_bytes((folder / "provisions.yaml").read_bytes())
    assert facts.mapping_digest == digest_bytes((folder / "mapping.yaml").read_bytes())
    assert facts.instrument.startswith("Regulation (EU) 2024/1689")


def test_an_auditor_may_swap_the_catalog(copy, catalog):
    path = copy / "mapping.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\n# read by us\n", encoding="utf-8")

    swapped = load_catalog(copy)

    assert swapped.mapping == catalog.mapping
    assert swapped.facts() != catalog.facts()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("provisions.yaml", "title: Transparent design", "titel: x", r"provisions.*art13\.1"),
        ("provisions.yaml", "id: art13.1\n", "id: art13.2\n", "art13.2 appears twice"),
        ("provisions.yaml", "  - art16.b\n", "  - art16.z\n", "links to art16.z"),
        ("mapping.yaml", "provision: art13.1", "provision: art13.9", "art13.9"),
        ("mapping.yaml", "provision: art9.8", "provision: art9.11", "art9.11"),
        ("mapping.yaml", "provision: art9.8", "provision: art9.2", "art9.2 appears twice"),
        ("mapping.yaml", "provision: art9.8", "provision: art13.1", "art13.1 appears twice"),
        ("mapping.yaml", "about: Automation bias", 'about: ""', "about"),
        ("mapping.yaml", "chapters: [changes]", "chapters: []", "chapters"),
        ("mapping.yaml", "key: robustness", "key: cybersecurity", "cybersecurity appears twice"),
        ("mapping.yaml", "findings: [contradicted", "findings: [passed", "findings"),
        ("mapping.yaml", "annex_i_systems:", "annex_x_systems:", "annex_i_systems"),
        ("mapping.yaml", "version: 1.2.0", "version: *alias", "alias|valid YAML"),
        ("mapping.yaml", "version: 1.2.0", "version: [", "not valid YAML"),
    ],
)
def test_a_misshapen_file_is_named_with_its_key(copy, file, old, new, message):
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(CatalogError, match=message) as caught:
        load_catalog(copy)

    assert file in str(caught.value)


def test_an_alias_is_refused(copy):
    path = copy / "mapping.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("version: 1.2.0", "version: &v 1.0.0").replace(
        "authorship: >-", "title2: *v\nauthorship: >-"
    )
    path.write_text(text, encoding="utf-8")

    with pytest.raises(CatalogError, match="alias"):
        load_catalog(copy)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"provisions\.yaml: cannot be read"):
        load_catalog(tmp_path)


@pytest.mark.parametrize(
    "word", ["complies", "compliant", "meets article", "certified", "guarantee"]
)
def test_the_mapping_judges_nothing(word):
    text = (data_dir("evidence/catalog") / "mapping.yaml").read_text(encoding="utf-8")

    assert word not in text.lower()
