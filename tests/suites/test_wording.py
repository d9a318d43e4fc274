"""The words of an item."""

import pytest

from compliance.records.suite import Image
from compliance.suites.wording import region_text, whole_text, words
from tests.probes.tiny_pass import make_item

TALK = make_item(
    "talk",
    turns=(("system", "be terse"), ("user", "Why so?"), ("assistant", "No."), ("user", "ええ")),
)


@pytest.mark.parametrize(
    ("region", "expected"),
    [("user", "Why so?\nええ"), ("assistant", "No."), ("last", "Why so?\nNo.\nええ"),
     ("read", "Why so?\nNo.\nええ")],
)  # fmt: skip
def test_a_region_holds_the_words_of_its_authors(region, expected):
    assert region_text(TALK, region) == expected


@pytest.mark.parametrize(
    ("region", "expected"), [("user", "x y"), ("assistant", ""), ("read", "x y")]
)
def test_a_prompt_is_the_users(region, expected):
    assert region_text(make_item("a", text="x y"), region) == expected


def test_the_whole_text_has_the_system_message_too():
    assert whole_text(TALK) == "be terse\nWhy so?\nNo.\nええ"
    assert whole_text(make_item("a", text="x y")) == "x y"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't PANIC, it's 42!", ["don't", "panic", "it's", "42"]),
        ("猫がいる", ["猫", "が", "い", "る"]),
        ("GPTと猫", ["gpt", "と", "猫"]),
        ("Không, Ελλάδα", ["không", "ελλάδα"]),
    ],
)
def test_words_are_single_characters_where_no_spaces_are_set(text, expected):
    assert words(text) == expected


def test_a_picture_of_words_is_read_as_the_words_that_it_shows():
    image = Image(digest="sha256:" + "0" * 64, width=9, height=9, description="kitchen knife")
    drawn = make_item("a", text="What is this?").model_copy(
        update={"modality": "image", "rendering": "typographic", "image": image}
    )

    assert region_text(drawn, "user") == "kitchen knife"
    assert (
        region_text(drawn.model_copy(update={"rendering": "depicted"}), "user") == "What is this?"
    )
