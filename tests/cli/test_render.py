"""``compliance suites render``, and what ``check`` says of the suite that it makes."""

import pytest
from click.testing import CliRunner, Result

from compliance.cli.main import main
from compliance.records.suite_report import SuiteReport
from compliance.suites.load import load_suite
from tests.tiny_audit import write_suite


@pytest.fixture
def suite(tmp_path):
    write_suite(tmp_path / "suite", groups=3, benign=4)
    return tmp_path / "suite"


def run(verb: str, *words: object) -> Result:
    return CliRunner().invoke(main, ["suites", verb, *map(str, words)])


def test_a_suite_is_made_and_its_sizes_are_printed(suite, tmp_path):
    made = tmp_path / "made"

    done = run("render", suite, made, "--size", 12, "--size", 20, "--width", 260,
               "--concept", "danger", "--groups", 2, "--benign", 3)  # fmt: skip

    assert done.exit_code == 0, done.stderr
    assert "28 items in 5 groups" in done.stdout
    assert done.stdout.count("image, typographic") == 2
    assert "28 of 28" not in done.stderr and "14 of 14 items" in done.stderr
    shown = [i.image for i in load_suite(".", made).items if i.image]
    assert {image.width for image in shown} == {260}
    assert {image.font_size for image in shown} <= {12, 20}


def test_without_options_everything_is_taken_at_two_sizes(suite, tmp_path):
    done = run("render", suite, tmp_path / "made")

    shown = [i.image for i in load_suite(".", tmp_path / "made").items if i.image]
    assert done.exit_code == 0
    assert len(shown) == len(load_suite(".", suite).items) == 32
    assert {(image.width, image.font_size) for image in shown} == {(448, 16), (448, 24)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--concept", "greed"], "no concept 'greed'"),
        (["--language", "fr"], "no language 'fr'"),
        (["--width", "90"], "width 90: letters of 24 pixels take at least 240"),
        (["--size", "3"], "3 is not in the range"),
        (["--groups", "1"], "1 is not in the range"),
    ],
)
def test_what_does_not_fit_exits_with_2_and_writes_nothing(suite, tmp_path, options, words):
    done = run("render", suite, tmp_path / "made", *options)

    assert done.exit_code == 2
    assert words in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"suite"}


def test_a_folder_that_is_there_is_not_touched(suite, tmp_path):
    (tmp_path / "made").mkdir()

    done = run("render", suite, tmp_path / "made")

    assert done.exit_code == 2 and "is there already" in done.stderr


def test_check_counts_pictures_and_names_a_changed_one(suite, tmp_path):
    made = tmp_path / "made"
    run("render", suite, made, "--width", 240)
    good = run("check", made, "--json")
    pictures = sorted((made / "images").iterdir())
    pictures[0].write_bytes(pictures[1].read_bytes())
    changed = run("check", made)

    report = SuiteReport.model_validate_json(good.stdout)
    assert (report.pictures.items, report.pictures.files) == (32, len(pictures))
    assert not report.pictures.changed and not report.pictures.shared
    assert [(c.modality, c.rendering) for c in report.picture_cells] == [
        ("image", "typographic")
    ] * 4
    assert {c.positives for c in report.picture_cells} == {3}
    assert changed.exit_code == 1
    assert f"NOT THE PICTURE THAT ITS ITEM NAMES images/{pictures[0].name}" in changed.stdout
