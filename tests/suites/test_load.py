"""What a suite may hold, and what is refused with a message that says where."""

import json

import pytest
import yaml

from compliance.errors import SuiteError
from compliance.suites.load import load_suite
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
    "benign with a concept": (set_first(label="negative"), "a benign negative has no concept"),
    "modality not supported yet": (set_first(modality="image"), "not supported yet"),
    "very long text": (set_first(text="x" * 200_000), "at most 100000 characters"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(write, name):
    change, message = MISTAKES[name]

    with pytest.raises(SuiteError, match=message):
        load_suite("suite", write(change))


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
