"""Items that stay in their file are the same items, and take little memory."""

import json
import tracemalloc

import numpy as np
import pytest
import yaml

from compliance.errors import SuiteError
from compliance.records.plan import Splits
from compliance.suites import load
from compliance.suites.chosen import ChosenItems, joined
from compliance.suites.load import load_suite
from compliance.suites.split import split_groups
from compliance.suites.stored import StoredItems, outline_of, outlines_of
from tests.tiny_audit import datasheet, suite_items, write_items, write_suite


@pytest.fixture
def folder(tmp_path):
    write_suite(tmp_path / "suite", groups=5, benign=7)
    items = suite_items(groups=5, benign=7)
    write_items(tmp_path / "suite", items[::-1])
    return tmp_path


@pytest.fixture
def small(folder):
    return load_suite("suite", folder)


@pytest.fixture
def stored(small, folder, monkeypatch):
    """The same suite, of which no item is kept."""
    monkeypatch.setattr(load, "KEPT", 10)
    return load_suite("suite", folder)


def test_a_large_suite_is_the_small_one_without_its_items_in_memory(small, stored):
    assert isinstance(small.items, tuple) and isinstance(stored.items, StoredItems)
    assert tuple(stored.items) == small.items
    assert stored.items[-1] == small.items[-1]
    assert tuple(stored.items[3:9:2]) == small.items[3:9:2]
    assert (stored.digest, stored.facts) == (small.digest, small.facts)
    assert split_groups([stored], Splits(), None) == split_groups([small], Splits(), None)


def test_outlines_say_of_items_what_the_items_say(small, stored):
    outlines = list(stored.outlines)

    assert outlines == list(small.outlines) == [outline_of(item) for item in small.items]
    assert outlines == [stored.outlines[place] for place in range(len(outlines))]
    for outline, item in zip(outlines, small.items, strict=True):
        for name in ("id", "group", "concept", "label", "language", "modality", "rendering",
                     "variant"):  # fmt: skip
            assert getattr(outline, name) == getattr(item, name)
    assert {len(outline.kind.roles) for outline in outlines} == {0, 2}


@pytest.mark.parametrize("change", [str.upper, lambda line: "\n" + line, lambda _: ""])
def test_a_line_that_was_changed_after_loading_is_refused(stored, folder, change):
    path = folder / "suite" / "items.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    name = json.loads(lines[2])["id"]
    path.write_text("".join([*lines[:2], change(lines[2]), *lines[3:]]), encoding="utf-8")
    place = [outline.id for outline in stored.outlines].index(name)

    with pytest.raises(SuiteError, match=r"items\.jsonl: was changed since the suite was read"):
        stored.items[place]


def test_a_mistake_after_the_kept_items_is_the_same_mistake(folder, monkeypatch):
    items = suite_items(groups=5, benign=7)
    items[-1]["group"] = items[0]["group"]
    write_items(folder / "suite", items)
    with pytest.raises(SuiteError) as first:
        load_suite("suite", folder)

    monkeypatch.setattr(load, "KEPT", 3)
    with pytest.raises(SuiteError) as second:
        load_suite("suite", folder)

    assert str(second.value) == str(first.value)


def test_of_two_mistakes_the_first_kind_is_told(folder):
    """An id that stands twice comes before a language that the datasheet does not name."""
    items = suite_items(groups=5, benign=7)
    write_items(folder / "suite", [items[0] | {"language": "fr"}, *items, items[-1]])

    with pytest.raises(SuiteError, match=r"id 'danger-000-positive-en' .* \(and 1 others\)"):
        load_suite("suite", folder)


def test_items_are_chosen_from_suites_in_the_order_of_ids(stored, tmp_path):
    other = datasheet() | {"name": "other"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "suite.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    items = suite_items(groups=5, benign=7)
    named = [i | {"id": f"a{i['id']}", "group": f"a{i['group']}"} for i in items]
    write_items(tmp_path / "other", named)
    suites = [stored, load_suite("other", tmp_path)]

    greek = ChosenItems.of(suites, lambda item: item.language == "el")
    benign = greek.where(lambda item: item.concept is None)
    others = greek.where(lambda item: item.concept is not None)

    expected = sorted((i for s in suites for i in s.items if i.language == "el"),
                      key=lambda i: i.id)  # fmt: skip
    assert list(greek) == expected
    assert list(greek.outlines) == [outline_of(item) for item in expected]
    assert list(outlines_of(expected)) == list(greek.outlines)
    assert list(joined([benign, others])) == [*benign, *others]
    assert len(benign) + len(others) == len(greek)
    for place, item in enumerate(greek):
        assert greek.place_of(item.id) == place
        assert greek.suite_of(place) == ("other" if item.id.startswith("a") else "tiny")
    assert greek.place_of("a") is None and greek.place_of("zz") is None
    assert list(greek[np.array([2, 0])]) == [expected[2], expected[0]]


def test_loading_a_large_suite_holds_little_of_each_item(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "KEPT", 100)
    write_suite(tmp_path / "suite", groups=150, benign=400)
    count = len((tmp_path / "suite" / "items.jsonl").read_bytes().splitlines())
    load_suite("suite", tmp_path)  # what is loaded and kept but once

    tracemalloc.start()
    suite = load_suite("suite", tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(suite.items) == count == 2000
    assert held / count < 250
    assert peak / count < 1500
