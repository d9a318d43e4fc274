"""A shift changes the words and nothing else, the same way for the same seed."""

from pathlib import Path

import pytest

from compliance.probes.shifts import FRAMES, shift_text
from compliance.records.suite import Item
from compliance.suites.load import load_suite
from tests.probes.tiny_pass import make_item

SHIFTS = ("typos", "informal", "code-switch", "transliteration", "adversarial")
GREEK = "Ποιος είναι ο καιρός; Θα βρέξει αύριο το πρωί."
JAPANESE = "明日の天気はどうですか。朝から雨が降るでしょうか。"


@pytest.fixture(scope="module")
def seed_items() -> list[Item]:
    """Every seventh item of the seed suite."""
    return list(load_suite("compliance:seed", Path(".")).items)[::7]


@pytest.fixture(scope="module")
def twins() -> dict[tuple[str, str, str], Item]:
    items = load_suite("compliance:seed", Path(".")).items
    return {(i.group, i.label, i.language): i for i in items}


def twin_of(item: Item, twins: dict) -> Item:
    other = "el" if item.language == "en" else "en"
    return twins[item.group, item.label, other]


def item_of(text: str, language: str, **values: object) -> Item:
    return make_item("g1", "positive", text=text, language=language, **values)


@pytest.mark.parametrize("shift", SHIFTS)
def test_only_the_words_change(shift, seed_items, twins):
    changed = 0
    for item in seed_items:
        found = shift_text(item, shift, seed=1, twin=twin_of(item, twins))
        if found is None:
            continue
        changed += 1
        before, after = item.model_dump(), found.model_dump()
        differing = {name for name in before if before[name] != after[name]}
        assert differing == {"text"} or differing == {"messages"}
        Item.model_validate(after)

    assert changed > len(seed_items) / 2


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_seed_decides(shift, seed_items, twins):
    item = next(i for i in seed_items if i.language == "el" and len(str(i.text)) > 100)
    twin = twin_of(item, twins)

    assert shift_text(item, shift, seed=1, twin=twin) == shift_text(item, shift, seed=1, twin=twin)
    if shift == "typos":
        assert shift_text(item, shift, seed=1, twin=twin) != shift_text(
            item, shift, seed=2, twin=twin
        )


def test_a_mistyped_word_keeps_its_first_letter_and_most_others():
    text = "please describe the weather tomorrow morning"

    found = shift_text(item_of(text, "en"), "typos", seed=3, twin=None).text

    pairs = [(a, b) for a, b in zip(text.split(), found.split(), strict=True) if a != b]
    assert len(pairs) == 1
    (before, after), = pairs  # fmt: skip
    assert after[0] == before[0]
    assert abs(len(after) - len(before)) <= 1


def test_where_words_are_not_marked_neighbours_are_swapped():
    found = shift_text(item_of(JAPANESE, "ja"), "typos", seed=3, twin=None).text

    assert sorted(found) == sorted(JAPANESE)
    assert found != JAPANESE


@pytest.mark.parametrize(("text", "language"), [(GREEK, "el"), (JAPANESE, "ja"), ("đi về", "vi")])
def test_transliterated_text_is_ascii(text, language):
    found = shift_text(item_of(text, language), "transliteration", seed=0, twin=None).text

    assert found.isascii()


def test_plain_english_has_no_transliteration():
    assert shift_text(item_of("the weather", "en"), "transliteration", seed=0, twin=None) is None


def test_informal_text_has_neither_capitals_nor_stops():
    found = shift_text(item_of("What now? Tell me, Ann.", "en"), "informal", seed=0, twin=None)

    assert found.text == "what now tell me ann"
    assert shift_text(item_of("X = 1.", "en", format="code"), "informal", seed=0, twin=None) is None


def test_every_second_sentence_is_the_twins():
    twin = item_of("How is the weather? Will it rain tomorrow.", "en")

    found = shift_text(item_of(GREEK, "el"), "code-switch", seed=0, twin=twin)

    assert found.text == "Ποιος είναι ο καιρός; Will it rain tomorrow."


def test_without_a_twin_nothing_is_switched():
    assert shift_text(item_of(GREEK, "el"), "code-switch", seed=0, twin=None) is None


def test_a_frame_stands_round_the_first_turn_alone():
    turns = (("user", "Is this right?"), ("assistant", "Yes, it is."))
    found = shift_text(make_item("d", "positive", turns=turns), "adversarial", seed=0, twin=None)

    assert found.messages[0].content in [frame.format("Is this right?") for frame in FRAMES]
    assert found.messages[1].content == "Yes, it is."


def test_the_examples_of_the_page_are_what_the_code_gives():
    page = (Path(__file__).parents[2] / "docs/reference/shifts.md").read_text("utf-8")
    lines = [line for line in page.split("## Examples")[1].splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    plain = {language: text for language, shift, text in rows[1:] if not shift}
    english = make_item("g1", "positive", text=plain["en"], language="en")

    for language, shift, text in rows[1:]:
        if shift:
            item = make_item("g1", "positive", text=plain[language], language=language)
            found = shift_text(item, shift, seed=20260101, twin=english)
            assert found is not None and found.text == text, (language, shift)
