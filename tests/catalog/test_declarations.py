import subprocess
import sys

import pytest
import yaml

from compliance.catalog import gaps, load_catalog, scaffold_system
from compliance.records.audit import Declared, SystemFacts


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
