"""``compliance compare``: several subjects as text, as JSON and as a page."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance.cli.main import main
from compliance.packs import zip_pack
from compliance.records.subjects import SubjectComparison
from tests.assessment.compared import build_world, moved, world_items


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["compare", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> list[Path]:
    """Three packs under one lock; in the second all scores are lower."""
    table = world_items()
    every = table["score"] == table["score"]
    tables = (table, moved(table, every, -1.5), table)
    return [
        build_world(tmp_path_factory.mktemp(f"pack{number}"), one)
        for number, one in enumerate(tables)
    ]


def test_it_says_what_became_of_each_concept(packs):
    found = run(*packs)

    assert found.exit_code == 0
    assert "[0]" in found.stdout and "[2]" in found.stdout
    assert "adjusted by Holm over all 12 numbers" in found.stdout
    last = found.stdout.split("from [0] to [1]")[1]
    first, second = last.split("from [0] to [2]")
    assert "moves (en, ja)" in first
    assert "no change shown (en, ja)" in second
    assert "not checked: the issuers" in found.stderr


def test_json_is_the_record_and_zips_are_packs_too(packs, tmp_path):
    zipped = zip_pack(packs[1], tmp_path / f"{packs[1].name}.zip")

    found = run(packs[0], zipped, "--json")

    record = SubjectComparison.model_validate_json(found.stdout)
    assert [one.packs[1].outcome for one in record.cells] == ["moves", "moves"]
    assert json.loads(found.stdout)["schema_version"] == "1.0"


def test_a_page_is_written(packs, tmp_path):
    page = tmp_path / "page.html"

    found = run(*packs, "--html", page)

    assert found.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "<script" not in text


@pytest.mark.parametrize(("case", "code"), [("damaged", 1), ("missing", 2), ("alone", 2)])
def test_what_cannot_be_compared_has_an_exit_code(packs, tmp_path, case, code):
    import shutil

    other = tmp_path / packs[1].name
    if case == "damaged":
        shutil.copytree(packs[1], other)
        (other / "data" / "evidence.json").write_bytes(b"{}")

    found = run(packs[0]) if case == "alone" else run(packs[0], other)

    assert found.exit_code == code
    assert found.stdout == ""
