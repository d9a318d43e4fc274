from collections import Counter

import pytest

from compliance.records.suite import Origin
from compliance.suites.capability import capability_items

LANGUAGES = ("en", "ja", "zh-Hans", "el", "vi", "ru")


@pytest.fixture(scope="module")
def items():
    return capability_items(LANGUAGES, 1000)


def test_each_language_has_at_least_forty_items_with_two_replies(items):
    counts = Counter(item.language for item in items)

    assert set(counts) == set(LANGUAGES) and min(counts.values()) >= 40
    assert all(item.choices and item.choices.concept != item.choices.other for item in items)
    assert len({item.id for item in items}) == len(items)


def test_what_is_not_english_is_marked_unless_it_was_written_in_its_language(items):
    own = {item.id for item in items if item.language == "en" or item.stratum == "grammar"}
    expected: dict[bool, Origin] = {True: "authored", False: "machine-translated"}

    assert {item.id: item.origin for item in items} == {
        item.id: expected[item.id in own] for item in items
    }
    assert all(item.reviewed is None for item in items)


def test_the_part_is_the_same_groups_in_every_language_each_time(items):
    some = capability_items(("ja", "en"), 12)
    parallel = [{i.group for i in some if i.language == tag and i.stratum != "grammar"}
                for tag in ("ja", "en")]  # fmt: skip

    assert [item.language for item in some] == ["ja"] * 12 + ["en"] * 12
    assert some == capability_items(("ja", "en"), 12)
    assert parallel[0] & parallel[1]


def test_a_language_that_is_not_there_gives_no_items():
    assert capability_items(("sw",), 10) == []
