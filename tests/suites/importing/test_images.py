"""Pictures that rows name are stored in the suite; a bad one costs its row and no other."""

from copy import deepcopy
from pathlib import Path

import pytest
from PIL import Image as pillow

from compliance.documents import read_yaml
from compliance.errors import SuiteError
from compliance.records.importing import ImportMapping
from compliance.suites.importing.images import take_picture
from compliance.suites.importing.rows import Unfit
from compliance.suites.load import load_suite
from compliance.suites.pictures import read_picture
from tests.suites.importing.kit import as_objects, listed, rows, run, write_lines, write_mapping


@pytest.fixture
def photos(tmp_path):
    """Rows with a photo each, in a folder beside the file."""
    (tmp_path / "photos").mkdir()
    body = as_objects(rows())
    for n, row in enumerate(body):
        pillow.new("RGB", (8, 6), (40 * n, 0, 0)).save(tmp_path / "photos" / f"{n}.png")
        row |= {"image": f"photos/{n}.png", "caption": f"a shade,\nnumber {n}"}
    return body


def source(folder, body):
    return write_lines(folder / "a.jsonl", body)


def files(folder):
    return {path.name for path in (folder / "suite" / "images").iterdir()}


PICTURE = {"item__image": "{image}", "item__description": "{caption}"}


def test_a_picture_without_words_is_the_item(tmp_path, photos):
    imported = run(tmp_path, source(tmp_path, photos), item__text=None, **PICTURE)

    suite = load_suite("suite", tmp_path)
    assert (imported.items, imported.refused) == (6, {})
    for item in suite.items:
        assert (item.modality, item.rendering, item.text) == ("image", "depicted", None)
        assert read_picture(suite.folder, item.image).size == (8, 6)
    first = next(i for i in suite.items if i.id == "a1")
    assert first.image.description == "a shade, number 0"
    assert files(tmp_path) == {item.image.path.removeprefix("images/") for item in suite.items}


def test_fixed_words_ask_about_the_picture_and_others_mean_something(tmp_path, photos):
    run(tmp_path, source(tmp_path, photos), item__text="What is this?", **PICTURE)
    asked = load_suite("suite", tmp_path)
    (tmp_path / "suite").rename(tmp_path / "first")
    run(tmp_path, source(tmp_path, photos), item__rendering="typographic", **PICTURE)
    said = load_suite("suite", tmp_path)

    assert {(i.modality, i.text) for i in asked.items} == {("image", "What is this?")}
    assert {(i.modality, i.rendering) for i in said.items} == {("image-text", "typographic")}
    assert len({i.text for i in said.items}) == 6


def test_a_row_without_a_picture_is_a_text_if_it_has_words(tmp_path, photos):
    photos[0]["image"] = photos[1]["image"] = ""

    run(tmp_path, source(tmp_path, photos), **PICTURE)
    mixed = load_suite("suite", tmp_path)
    (tmp_path / "suite").rename(tmp_path / "first")
    imported = run(tmp_path, source(tmp_path, photos), item__text=None, **PICTURE)

    assert {i.group for i in mixed.items if i.modality == "text"} == {"g1"}
    assert imported.refused == {"no image": 2} and imported.items == 4


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (lambda path: path.unlink(), "missing image", "image 'photos/2.png' is not there"),
        (lambda path: path.write_bytes(path.read_bytes()[:48]), "image that cannot be used",
         "image 'photos/2.png': broken PNG picture"),
        (lambda path: pillow.new("RGB", (4097, 1)).save(path), "image that cannot be used",
         "image 'photos/2.png': 4097 x 1 pixels, at most"),
        (lambda path: pillow.new("P", (4, 4)).save(path, "GIF"), "image that cannot be used",
         "image 'photos/2.png': its content is not PNG"),
        (lambda path: (path.unlink(), path.mkdir()), "missing image", "is not there"),
    ],
    ids=["missing", "cut off", "too large", "format", "folder"],
)  # fmt: skip
def test_a_bad_picture_costs_its_pair_and_is_named(tmp_path, photos, spoil, kind, reason):
    spoil(tmp_path / "photos" / "2.png")

    imported = run(tmp_path, source(tmp_path, photos), item__text=None, **PICTURE)

    assert imported.refused == {kind: 1, "half a pair": 1}
    (row,) = [row for row in listed(imported) if row["row"] == "3"]
    assert (row["column"], row["what"]) == ("image", "refused") and reason in row["reason"]
    assert len(files(tmp_path)) == 4  # the picture of the other half is gone, too
    assert load_suite("suite", tmp_path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("../outside.png", "image elsewhere"), ("photos/0\0.png", "missing image")],
)
def test_a_path_leads_out_of_no_folder_wherever_it_is_run(
    tmp_path, photos, monkeypatch, path, kind
):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    pillow.new("RGB", (8, 6)).save(tmp_path / "outside.png")

    with pytest.raises(Unfit) as caught:
        take_picture(path, Path(), tmp_path / "out", column="image", description=None)

    assert caught.value.kind == kind


def test_a_pair_of_texts_stays_where_its_pictures_are_half(tmp_path, photos):
    (tmp_path / "photos" / "2.png").unlink()
    text = {"id": "{id}", "group": "{group}", "concept": "damage", "text": "{text}",
            "label": {"column": "label", "values": {"bad": "positive", "good": "hard-negative"}},
            "origin": "authored"}  # fmt: skip
    shown = {k: v for k, v in deepcopy(text).items() if k != "text"}
    shown |= {"id": "{id}-seen", "image": "{image}"}

    imported = run(tmp_path, source(tmp_path, photos), items=[text, shown])

    suite = load_suite("suite", tmp_path)
    assert imported.refused == {"missing image": 1, "half a pair": 1}
    assert imported.groups == 3
    assert sorted(i.group for i in suite.items if i.image) == ["g1", "g1", "g3", "g3"]
    assert sorted(i.group for i in suite.items if i.text) == ["g1", "g1", "g2", "g2", "g3", "g3"]


def test_one_picture_in_two_groups_is_refused(tmp_path, photos):
    photos[2]["image"] = photos[0]["image"]

    imported = run(tmp_path, source(tmp_path, photos), item__text=None, **PICTURE)

    assert imported.refused == {"input twice": 1, "half a pair": 1}


def test_a_concept_with_pictures_of_one_label_is_no_suite(tmp_path, photos):
    for row in photos:
        row["image"] = row["image"] if row["label"] == "bad" else ""

    imported = run(tmp_path, source(tmp_path, photos), paired=False,
                   item__group="{id}", **PICTURE)  # fmt: skip

    assert imported.folder is None
    assert "no hard-negative items (image-text, depicted)" in imported.trouble


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"item__description": "{caption}"}, "a 'description' is of an 'image'"),
        ({"item__text": None}, "exactly one of 'text' and"),
        ({"item__image": "{image}", "item__rendering": "plain"}, "'typographic' or 'depicted'"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(tmp_path, changes, words):
    with pytest.raises(SuiteError, match=words):
        read_yaml(write_mapping(tmp_path, **changes), ImportMapping, error=SuiteError)


def test_fixed_words_beside_pictures_are_the_same_in_all_items(tmp_path):
    item = {"group": "{group}", "concept": "damage", "image": "{image}", "label": "positive",
            "origin": "authored"}  # fmt: skip
    both = [item | {"id": "{id}-1"}, item | {"id": "{id}-2", "text": "What is this?"}]

    with pytest.raises(SuiteError, match="words beside pictures, where they are fixed"):
        read_yaml(write_mapping(tmp_path, items=both), ImportMapping, error=SuiteError)
