import subprocess
import sys

import pytest
import yaml

from compliance.catalog import gaps, load_catalog, scaffold_system
from compliance.catalog.declarations import read_system
from compliance.errors import ConfigError
from compliance.records.audit import Declared, SystemFacts
from compliance.resources import data_dir


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


def system(**declared):
    return SystemFacts(name="s", title="S", version="1", declared=declared)


def test_a_fresh_form_loads_and_has_every_gap(catalog):
    text = scaffold_system("my-system", catalog)

    facts = SystemFacts.model_validate(yaml.safe_load(text))

    assert facts.name == "my-system"
    assert [gap.key for gap in gaps(facts, catalog)] == [k.key for k, _ in catalog.declared_keys()]


def test_the_form_cites_and_explains_every_key(catalog):
    lines = scaffold_system("my-system", catalog).splitlines()

    for key, provision in catalog.declared_keys():
        above = lines[: lines.index(f"  {key.key}:")]
        assert f"  # {key.prompt}" in above
        assert any(provision.title in line for line in above)
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", ["123", "true", "a: b", 'x"\ny: z'])
def test_a_name_cannot_break_the_form(catalog, name):
    assert yaml.safe_load(scaffold_system(name, catalog))["name"] == name


def test_an_answer_closes_its_gap(catalog):
    given = system(intended_purpose=Declared(text="Drafting replies."))

    assert "intended_purpose" not in {gap.key for gap in gaps(given, catalog)}


def test_not_applicable_with_a_reason_is_an_answer(catalog):
    given = system(authorised_representative=Declared(not_applicable="established in the Union"))

    assert "authorised_representative" not in {gap.key for gap in gaps(given, catalog)}


@pytest.mark.parametrize("declared", [Declared(text=" \n "), Declared(not_applicable="")])
def test_a_blank_is_no_answer(catalog, declared):
    found = {gap.key: gap for gap in gaps(system(intended_purpose=declared), catalog)}

    assert found["intended_purpose"].display == "13(3)(b)(i)"
    assert found["intended_purpose"].provision == "art13.3.b.i"


def test_no_renderer_and_no_model_library_is_needed():
    code = (
        "import sys, compliance.catalog as c; c.load_catalog();"
        "print([m for m in ('torch', 'jinja2', 'weasyprint') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


SUBJECTS = {
    "provider": ("provider.identity", "13(3)(a)"),
    "contact": ("provider.contact", "13(3)(a)"),
    "representative": ("authorised_representative", "13(3)(a)"),
    "intended purpose": ("intended_purpose", "13(3)(b)(i)"),
    "foreseeable misuse": ("foreseeable_misuse", "13(3)(b)(iii)"),
    "persons and groups": ("performance_by_group", "13(3)(b)(v)"),
    "input data": ("input_data", "13(3)(b)(vi)"),
    "predetermined changes": ("predetermined_changes", "13(3)(c)"),
    "oversight": ("oversight_measures", "13(3)(d)"),
    "compute": ("computational_resources", "13(3)(e)"),
    "hardware": ("hardware_resources", "13(3)(e)"),
    "lifetime": ("expected_lifetime", "13(3)(e)"),
    "maintenance": ("maintenance_measures", "13(3)(e)"),
    "logs": ("log_collection", "13(3)(f)"),
}
"""What the form has to ask for, with the key and the provision it cites."""


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_form_asks_for_it_and_cites_its_provision(catalog, subject):
    key, citation = SUBJECTS[subject]
    lines = scaffold_system("my-system", catalog).splitlines()

    start = lines.index(f"  {key}:")
    comments = lines[:start][::-1]
    comments = comments[: comments.index("")]

    assert any(line.startswith(f"  # {citation} ") for line in comments)
    assert lines[start + 1] == '    text: ""'


def test_not_applicable_without_a_reason_is_no_answer(catalog):
    with pytest.raises(ValueError, match="not_applicable"):
        Declared.model_validate({"text": None, "not_applicable": None})

    for reason in ("", "  \n"):
        given = system(predetermined_changes=Declared(not_applicable=reason))
        assert "predetermined_changes" in {gap.key for gap in gaps(given, catalog)}


def test_every_key_of_the_form_stands_in_the_page_on_it(catalog):
    """The page groups the keys by subject; a new key needs a place there."""
    page = (data_dir("templates").parent / "docs/reference/system-yaml.md").read_text("utf-8")
    subjects = page.partition("| subject | keys |")[2].partition("## Declared facts")[0]

    for declared, _ in catalog.declared_keys():
        assert f"`{declared.key}`" in subjects


def test_a_fact_that_a_copy_withholds_is_no_gap(catalog):
    key = catalog.declared_keys()[0][0].key
    facts = system(**{key: Declared(withheld="sha256:" + "0" * 64)})

    assert key not in {gap.key for gap in gaps(facts, catalog)}


@pytest.mark.parametrize("given", [{}, {"text": "a", "withheld": "sha256:" + "0" * 64}])
def test_a_fact_is_declared_in_one_way(given):
    with pytest.raises(ValueError, match="give either 'text'"):
        Declared(**given)


def test_a_form_cannot_withhold_anything(tmp_path):
    path = tmp_path / "system.yaml"
    facts = {"name": "s", "title": "S", "version": "1"}
    withheld = {"withheld": "sha256:" + "0" * 64}
    path.write_text(yaml.safe_dump(facts | {"declared": {"robustness": withheld}}))

    with pytest.raises(ConfigError, match=r"declared\.robustness: 'withheld' stands in copies"):
        read_system(path)

    path.write_text(yaml.safe_dump(facts | {"declared": {"robustness": {"text": "Tested."}}}))
    assert read_system(path).declared["robustness"].text == "Tested."
