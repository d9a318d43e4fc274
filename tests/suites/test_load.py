"""What a suite may hold, and what is refused with a message that says where."""

import json
import subprocess
import sys

import pytest
import yaml
from PIL import Image as pillow

from compliance.errors import SuiteError
from compliance.records.base import to_json
from compliance.suites.load import load_suite
from compliance.suites.pictures import read_picture, store_picture
from tests.tiny_audit import datasheet, suite_items, write_items


@pytest.fixture
def write(tmp_path):
    """Write a suite with items or a datasheet changed, and return its parent folder."""

    def writer(change=None, sheet=None):
        folder = tmp_path / "suite"
        folder.mkdir(exist_ok=True)
        items = suite_items(groups=4, benign=4)
        if change:
            changed = change(items)
            items = items if changed is None else changed
        write_items(folder, items)
        (folder / "suite.yaml").write_text(
            yaml.safe_dump(datasheet() | (sheet or {})), encoding="utf-8"
        )
        return tmp_path

    return writer


def test_items_are_ordered_and_the_digest_does_not_depend_on_their_order(write):
    first = load_suite("suite", write())
    second = load_suite("suite", write(lambda items: items[::-1]))

    assert [i.id for i in first.items] == sorted(i.id for i in first.items)
    assert first.digest == second.digest


def test_one_changed_character_changes_the_digest(write):
    def change(items):
        items[0]["text"] += "."

    assert load_suite("suite", write()).digest != load_suite("suite", write(change)).digest


def set_first(**values):
    def change(items):
        items[0].update(values)

    return change


def drop(keep):
    return lambda items: [i for i in items if keep(i)]


def add_neutral(items):
    plain = {name: items[0][name] for name in ("language", "text", "origin", "source", "licence")}
    return [*items, plain | {"id": "n", "group": "n", "label": "neutral"}]


MISTAKES = {
    "unknown key": (set_first(colour="red"), "unknown key 'colour'"),
    "wrong language tag": (set_first(language="jp"), "'jp' is not a BCP 47 language tag"),
    "tag in another spelling": (set_first(language="EL"), "is spelt 'el'"),
    "language not in the datasheet": (set_first(language="fr"), "'fr' is not among"),
    "concept not in the datasheet": (set_first(concept="greed"), "'greed' is not among"),
    "duplicate id": (lambda items: [*items, items[0]], "appears more than once"),
    "two positives of one group": (
        lambda items: [*items, items[0] | {"id": "other"}],
        "are both positive in en",
    ),
    "group of two concepts": (set_first(group="flattery-001"), "items of two concepts"),
    "one-sided labels": (drop(lambda i: i["label"] != "hard-negative"), "no hard-negative items"),
    "empty suite": (drop(lambda i: False), "holds no items"),
    "text and messages": (
        set_first(messages=[{"role": "user", "content": "a"}]),
        "exactly one of 'text' and 'messages'",
    ),
    "benign with a concept": (set_first(label="negative"), "neutral text have no concept"),
    "neutral with a concept": (set_first(label="neutral"), "neutral text have no concept"),
    "neutral text from nowhere": (add_neutral, "from where is not said"),
    "modality without a picture": (set_first(modality="image"), "'image' and no 'image'"),
    "very long text": (set_first(text="x" * 200_000), "at most 100000 characters"),
    "line break in source": (set_first(source="a\nb"), r"source: found control character U\+000A"),
    "control in licence": (set_first(licence="CC0\x00"), r"licence: found control .* U\+0000"),
    "separator in reviewed": (set_first(reviewed="a\u2028b"), r"reviewed: found .* U\+2028"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(write, name):
    change, message = MISTAKES[name]

    with pytest.raises(SuiteError, match=message):
        load_suite("suite", write(change))


def copy_text(text_of):
    """Give the second ``danger`` group the first one's positive text in English, rewritten."""

    def change(items):
        one, other = (i for i in items if i["id"] in {FIRST, SECOND})
        other["text"] = text_of(one["text"])

    return change


FIRST, SECOND = "danger-000-positive-en", "danger-001-positive-en"


@pytest.mark.parametrize(
    "rewrite",
    [str, str.upper, lambda t: f" {t}\n", lambda t: t.replace(" ", "\u3000 "),
     lambda t: t.replace("z", "\uff5a")],
    ids=["equal", "case", "around", "between", "width"],
)  # fmt: skip
def test_one_text_in_two_groups_is_refused(write, rewrite):
    with pytest.raises(SuiteError, match=f"items {FIRST} and {SECOND} are the same input in en"):
        load_suite("suite", write(copy_text(rewrite)))


def test_a_dialogue_is_compared_whole(write):
    def share(*turns):
        def change(items):
            one, other = (i for i in items
                          if i["id"] in {"flattery-000-positive-en", "flattery-001-positive-en"}
                          )  # fmt: skip
            for turn in turns:
                other["messages"][turn] = dict(one["messages"][turn])

        return change

    assert load_suite("suite", write(share(0)))
    assert load_suite("suite", write(share(1)))
    with pytest.raises(SuiteError, match="flattery-000-positive-en and flattery-001-positive-en"):
        load_suite("suite", write(share(0, 1)))


def test_one_text_in_two_languages_or_twice_in_one_group_is_no_mistake(write):
    def change(items):
        by_id = {i["id"]: i for i in items}
        text = by_id[FIRST]["text"]
        by_id["danger-001-positive-el"]["text"] = text
        by_id["danger-000-hard-negative-en"]["text"] = text

    assert load_suite("suite", write(change))


def apart(items):
    """Give positives and hard negatives groups of their own."""
    return [i | {"group": f"{i['group']}-{i['label']}"} if "concept" in i else i for i in items]


def test_groups_of_one_label_need_an_unpaired_suite(write):
    with pytest.raises(
        SuiteError, match="group danger-000-positive: no hard-negative item, and the suite is pair"
    ) as caught:
        load_suite("suite", write(apart))

    assert "'paired: false'" in caught.value.hint
    assert load_suite("suite", write(apart, {"paired": False})).facts.groups == 2 * 8 + 4


def test_one_half_pair_is_enough_to_refuse_a_paired_suite(write):
    kept = drop(lambda i: i["group"] != "danger-002" or i["label"] == "hard-negative")

    with pytest.raises(SuiteError, match="group danger-002: no positive item"):
        load_suite("suite", write(kept))


def test_one_pair_is_enough_to_refuse_an_unpaired_suite(write):
    def change(items):
        return [i if i["group"] == "danger-001" else j
                for i, j in zip(items, apart(items), strict=True)]  # fmt: skip

    with pytest.raises(
        SuiteError, match=f"danger-001: items {SECOND} .positive. and danger-001-hard-negative-en"
    ):
        load_suite("suite", write(change, {"paired": False}))


def test_two_labels_in_two_languages_are_a_pair_too(write):
    """Parallel prompts share a group, so the group's label must be one in all of them."""

    def change(items):
        other = {"danger-003-positive": "el", "danger-003-hard-negative": "en"}
        return [i | {"group": "danger-003"} if other.get(i["group"]) == i["language"] else i
                for i in apart(items)
                if i["group"] not in other or other[i["group"]] == i["language"]]  # fmt: skip

    with pytest.raises(SuiteError, match="group danger-003: items .*-el .positive. and .*-en"):
        load_suite("suite", write(change, {"paired": False}))


def test_the_digest_of_a_paired_suite_does_not_hang_on_whether_it_says_so(write):
    silent = load_suite("suite", write())

    assert load_suite("suite", write(sheet={"paired": True})).digest == silent.digest
    assert "paired" not in to_json(silent.datasheet)
    assert (
        to_json(load_suite("suite", write(apart, {"paired": False})).datasheet)["paired"] is False
    )


def test_neutral_text_that_is_named_must_be_there_in_every_language(write):
    with pytest.raises(SuiteError, match="there is none in 'en'"):
        load_suite("suite", write(sheet={"neutral": "a book"}))
    with pytest.raises(SuiteError, match="there is none in 'el'"):
        load_suite("suite", write(add_neutral, {"neutral": "a book"}))


def test_a_mistake_in_a_line_is_named_with_its_line(write):
    folder = write()
    path = folder / "suite" / "items.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[6] = lines[6][:-10]
    path.write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(SuiteError, match="items.jsonl, line 7: not a JSON object"):
        load_suite("suite", folder)


def test_a_key_given_twice_is_refused(write):
    folder = write()
    path = folder / "suite" / "items.jsonl"
    item = json.dumps(suite_items(groups=1, benign=0)[0])
    path.write_text(item[:-1] + ', "label": "positive"}\n', encoding="utf-8")

    with pytest.raises(SuiteError, match="a key appears twice"):
        load_suite("suite", folder)


def test_a_file_in_another_encoding_is_refused(write):
    folder = write()
    path = folder / "suite" / "items.jsonl"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))

    with pytest.raises(SuiteError, match="line 1: not UTF-8"):
        load_suite("suite", folder)


def test_an_unknown_suite_of_the_package_is_named(tmp_path):
    with pytest.raises(SuiteError, match="compliance:nothing: none of that name"):
        load_suite("compliance:nothing", tmp_path)


# Pictures


@pytest.fixture
def with_pictures(write, tmp_path):
    """The same with a picture of each text beside it: all of one size, each of its own colour."""

    def writer(change=None, shape=None):
        def both(items):
            shown = [picture_of(item, n) for n, item in enumerate(items)]
            return change(items, shown) or [*items, *shown] if change else [*items, *shown]

        def picture_of(item, n):
            image = store_picture(
                pillow.new("RGB", (4, 4), (n % 256, n // 256, 7)), tmp_path / "suite",
                description="a colour",
            )  # fmt: skip
            kept = {k: v for k, v in item.items() if k not in ("text", "messages")}
            form = {"modality": "image", "rendering": "depicted", "image": to_json(image)}
            return {**kept, **form, "id": item["id"] + "-picture"}

        return write(both, shape)

    return writer


def test_a_suite_with_pictures_knows_its_folder(with_pictures, tmp_path):
    suite = load_suite("suite", with_pictures())

    assert suite.folder == tmp_path / "suite"
    assert {i.modality for i in suite.items} == {"text", "image"}
    image = next(i.image for i in suite.items if i.image)
    assert read_picture(suite.folder, image).size == (4, 4)


def test_a_missing_picture_is_named_with_its_item(with_pictures, tmp_path):
    base = with_pictures()
    item = next(i for i in load_suite("suite", base).items if i.image)
    (tmp_path / "suite" / item.image.path).unlink()

    with pytest.raises(SuiteError, match=f"item {item.id}: {item.image.path} is not there"):
        load_suite("suite", base)


def test_one_picture_in_two_groups_is_one_input(with_pictures):
    def share(items, shown):
        one, other = (i for i in shown if i["id"] in {f"{FIRST}-picture", f"{SECOND}-picture"})
        other["image"] = one["image"]

    with pytest.raises(
        SuiteError, match=f"items {FIRST}-picture and {SECOND}-picture are the same"
    ):
        load_suite("suite", with_pictures(share))


def test_the_same_words_beside_other_pictures_are_another_input(with_pictures):
    def ask(items, shown):
        for item in shown:
            item["text"] = {"en": "What is this?", "el": "Τι είναι αυτό;"}[item["language"]]

    assert load_suite("suite", with_pictures(ask))


def test_words_beside_pictures_are_the_same_in_a_language(with_pictures):
    def ask(items, shown):
        shown[0]["text"] = "What is this?"

    with pytest.raises(SuiteError, match="different words beside their depicted pictures in en"):
        load_suite("suite", with_pictures(ask))


def test_half_a_pair_of_pictures_is_refused_beside_a_whole_pair_of_texts(with_pictures):
    def drop_one(items, shown):
        gone = f"{FIRST.replace('positive', 'hard-negative')}-picture".removesuffix("en-picture")
        return [*items, *(i for i in shown if not i["id"].startswith(gone))]

    with pytest.raises(
        SuiteError, match=r"no hard-negative item \(image, depicted\), and the suite"
    ):
        load_suite("suite", with_pictures(drop_one))


def test_pictures_of_one_label_are_refused_beside_texts_of_both(with_pictures):
    def drop_all(items, shown):
        return [*items, *(i for i in shown if i["label"] != "hard-negative")]

    with pytest.raises(SuiteError, match=r"no hard-negative items \(image, depicted\)"):
        load_suite("suite", with_pictures(drop_all))


def test_loading_a_suite_needs_no_pillow(with_pictures):
    base = with_pictures()
    code = (
        "import sys; from pathlib import Path; from compliance.suites.load import load_suite; "
        f"load_suite('suite', Path({str(base)!r})); print('PIL' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "False"
