"""The schemas that ship are those of the records, and what is shipped fits them."""

import json

import jsonschema
import pytest
import yaml

from compliance.records.schemas import SCHEMAS, schema_text
from compliance.resources import data_dir


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_shipped_schema_is_that_of_the_record(name, update_goldens):
    path = data_dir("evidence/schemas") / f"{name}.schema.json"
    if update_goldens:
        path.write_text(schema_text(name), encoding="utf-8")

    assert path.read_text(encoding="utf-8") == schema_text(name), (
        "run pytest --update-goldens and read the difference"
    )


def test_no_schema_is_left_over():
    found = {path.name for path in data_dir("evidence/schemas").iterdir()}

    assert found == {f"{name}.schema.json" for name in SCHEMAS}


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema_text(name)))


def test_the_seed_suite_fits_its_schemas():
    folder = data_dir("evidence/suites/seed")
    validator("suite").validate(yaml.safe_load((folder / "suite.yaml").read_text("utf-8")))
    behaviours = (folder / "behaviours.yaml").read_text("utf-8")
    validator("behaviours").validate(yaml.safe_load(behaviours))
    check = validator("item")

    for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines():
        check.validate(json.loads(line))


def test_the_evidence_of_a_pack_fits_its_schema(finished_pack):
    validator("evidence").validate(
        json.loads((finished_pack / "data" / "evidence.json").read_bytes())
    )
