"""Suites with pictures are checked by their texts, and their pictures by their files."""

import pytest
import yaml
from PIL import Image as pillow

from compliance.cli.suite_text import whole
from compliance.quality import sizes
from compliance.quality.check import NOT_SEEN, check, overview
from compliance.records.base import to_json
from compliance.suites.load import load_suite
from compliance.suites.pictures import store_picture
from tests.tiny_audit import datasheet, suite_items, write_items


def write(folder, *, texts: bool = True, change=lambda shown: shown, shape="image"):
    """Twenty groups, each text with a picture of its own colour."""
    folder.mkdir()
    items = suite_items(groups=20, benign=30)
    shown = []
    for n, item in enumerate(items):
        colour = pillow.new("RGB", (4, 4), (n % 256, n // 256, 7))
        image = to_json(store_picture(colour, folder, description="a colour"))
        kept = {k: v for k, v in item.items() if shape == "image-text" or k not in
                ("text", "messages")}  # fmt: skip
        form = {"modality": shape, "rendering": "depicted", "image": image}
        shown.append(kept | form | {"id": item["id"] + "-seen"})
    write_items(folder, [*(items if texts else []), *change(shown)])
    (folder / "suite.yaml").write_text(yaml.safe_dump(datasheet()), encoding="utf-8")
    return load_suite(".", folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The report on the texts alone."""
    folder = tmp_path_factory.mktemp("plain")
    write_items(folder, suite_items(groups=20, benign=30))
    (folder / "suite.yaml").write_text(yaml.safe_dump(datasheet()), encoding="utf-8")
    return check(load_suite(".", folder))


@pytest.mark.parametrize("shape", ["image", "image-text"])
def test_pictures_change_nothing_of_what_is_said_of_texts(tmp_path, plain, shape):
    report = check(write(tmp_path / "suite", shape=shape))

    assert report.rules == plain.rules
    for one, other in zip(report.cells, plain.cells, strict=True):
        assert one.model_copy(update={"power": other.power}) == other
    assert report.cells[0].power.confirm_groups == plain.cells[0].power.confirm_groups
    assert [b.model_copy(update={"pictures": 0}) for b in report.benign] == list(plain.benign)
    assert NOT_SEEN in report.not_measured and NOT_SEEN not in plain.not_measured


def test_cells_with_pictures_have_their_sizes(tmp_path):
    suite = write(tmp_path / "suite")
    found = overview(suite)

    assert [(c.concept, c.language, c.modality, c.rendering) for c in found.picture_cells] == [
        (concept, language, "image", "depicted")
        for concept in suite.datasheet.concepts
        for language in suite.datasheet.languages
    ]
    assert {(c.groups, c.positives, c.hard_negatives) for c in found.picture_cells} == {
        (20, 20, 20)
    }
    assert {c.power.benign_confirm for c in found.picture_cells} == {15}
    assert {b.pictures for b in found.benign} == {30}


def test_each_form_has_its_reference_in_the_family(tmp_path, monkeypatch):
    asked = []
    suite = write(tmp_path / "suite")
    monkeypatch.setattr(sizes, "cell_power", lambda **values: asked.append(values))

    sizes.cell_powers(suite)

    assert {(values["cells"], values["references"]) for values in asked} == {(4, 2)}


def test_a_suite_of_pictures_alone_is_checked(tmp_path):
    report = check(write(tmp_path / "suite", texts=False))

    assert report.passed and not report.cells and len(report.picture_cells) == 4
    assert all(b.items == 0 and b.words is None for b in report.benign)
    assert any("image, depicted" in line for line in whole(report))


def test_one_picture_on_both_sides_is_named(tmp_path):
    def share(shown):
        one, other = (i for i in shown if i["group"] == "danger-003" and i["language"] == "en")
        other["image"] = one["image"]
        return shown

    report = check(write(tmp_path / "suite", change=share))

    (said,) = report.pictures.shared
    assert "danger-003-positive-en-seen and danger-003-hard-negative-en-seen" in said
    assert not report.passed
    assert any(line.startswith("ONE PICTURE, POSITIVE AND HARD") for line in whole(report))


def test_one_picture_with_two_questions_is_no_mistake(tmp_path):
    def share(shown):
        one, other = (i for i in shown if i["group"] == "danger-003" and i["language"] == "en")
        other["image"] = one["image"]
        return shown

    report = check(write(tmp_path / "suite", change=share, shape="image-text"))

    assert report.pictures.shared == ()
