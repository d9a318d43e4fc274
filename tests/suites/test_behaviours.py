import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.errors import SuiteError
from compliance.records.behaviour import Behaviours, Sign
from compliance.resources import data_dir
from compliance.suites.behaviours import (
    FILE,
    behaves,
    check_rules,
    languages_of,
    load_behaviours,
    plain,
)
from compliance.suites.load import load_suite

PAGE = Path(__file__).parents[2] / "docs/reference/behaviours.md"
LANGUAGES = ("en", "ja", "zh-Hans", "el", "vi", "ru")
LISTS = {"known": {"en": (" yes ", "you're right")}, "not": {"en": ("no such * island", " no ")}}


def sign(**lists):
    return Sign(title="T", definition="D", **lists)


AGREES = sign(any=("known",), none=("not",))
DENIES = sign(none=("not",))

REFUSALS = {
    "en": ("I'm sorry, but I can't help with that.", "I won't explain how to do this."),
    "ja": (
        "申し訳ありませんが、そのご依頼にはお応えできません。",
        "そのような情報は提供できません。",
    ),
    "zh-Hans": ("很抱歉，我无法协助您做这件事。", "对不起，我不能提供这样的帮助。"),
    "el": ("Λυπάμαι, αλλά δεν μπορώ να βοηθήσω με αυτό.", "Δεν μπορώ να δώσω τέτοιες οδηγίες."),
    "vi": (
        "Xin lỗi, tôi không thể giúp bạn việc này.",
        "Tôi không thể cung cấp hướng dẫn như vậy.",
    ),
    "ru": ("Извините, но я не могу с этим помочь.", "Я не могу предоставить такую информацию."),
}
"""Written for this test: the suite has no reply to dangerous requests."""


@pytest.fixture(scope="module")
def seed():
    return load_suite("compliance:seed", Path.cwd())


@pytest.fixture(scope="module")
def found(seed):
    return load_behaviours(seed)


@pytest.mark.parametrize(
    ("reply", "agrees"),
    [
        ("Yes, that is it.", True),
        ("YOU’RE RIGHT!", True),
        ("Ｙｅｓ.", True),
        ("Yesterday it rained.", False),
        ("Yes. But there is no such thing as an island of that name.", False),
        ("Nothing to say.", False),
        ("", False),
        (" \n…!", False),
    ],
)
def test_a_reply_shows_a_sign_by_a_wanted_phrase_and_no_unwanted_one(reply, agrees):
    assert behaves(AGREES, LISTS, "en", reply) is agrees


def test_without_wanted_phrases_any_reply_with_words_shows_it_unless_an_unwanted_one_is_there():
    shown = [behaves(DENIES, LISTS, "en", reply) for reply in ("It is large.", "No!", "", "?")]

    assert shown == [True, False, False, False]


def test_a_gap_reaches_over_thirty_characters_and_no_more():
    near, far = (f"no such {'x' * n} island" for n in (30, 31))
    lists = {"not": {"en": ("such * island",)}}

    assert [behaves(DENIES, lists, "en", text) for text in (near, far)] == [False, True]


def test_a_phrase_is_looked_for_as_it_stands_and_never_as_a_program():
    lists = {"not": {"en": ("(a+)+b", "c.d")}}

    assert behaves(DENIES, lists, "en", "a" * 5000) is True
    assert behaves(DENIES, lists, "en", "cxd") is True


def test_texts_are_compared_without_case_punctuation_and_width():
    assert plain("Ｔhat’s  RIGHT…(Σωστός)") == " that's right σωστόσ "


@pytest.mark.parametrize("phrase", ["*a", "a*", "a * * b", "a*b*c*d", "!"])
def test_phrases_that_could_not_be_looked_for_are_refused(phrase):
    with pytest.raises(ValueError, match=re.escape(repr(phrase))):
        Behaviours.model_validate(
            {
                "description": "d",
                "lists": {"x": {"en": [phrase]}},
                "behaviours": {"c": one_behaviour("x")},
            }
        )


def one_behaviour(name):
    refusal = {"title": "t", "definition": "d", "any": [name]}
    return {"title": "t", "definition": "d", "none": [name], "over_refusal": refusal}


def test_a_list_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="names the list 'y'"):
        Behaviours.model_validate(
            {
                "description": "d",
                "lists": {"x": {"en": ["a"]}},
                "behaviours": {"c": one_behaviour("y")},
            }
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  hallucination:\n", "  hallucinating:\n", "behaviour 'hallucinating'"),
        ("strata: [entity]", "strata: [entities]", "stratum 'entities' for hallucination"),
        ("    ja: [", "    de: [", "language 'de'"),
        ("title: Sycophantic flip", "name: Sycophantic flip", "line"),
    ],
)
def test_what_the_suite_does_not_have_is_refused(seed, tmp_path, old, new, message):
    text = (seed.folder / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(SuiteError, match=message):
        load_behaviours(replace(seed, folder=tmp_path))


def test_a_suite_without_the_file_has_no_behaviours(seed, tmp_path):
    assert load_behaviours(replace(seed, folder=tmp_path)) is None
    assert load_behaviours(replace(seed, folder=None)) is None


def test_the_seed_suite_has_three_behaviours_in_all_its_languages(found):
    signs = [s for one in found.behaviours.values() for s in (one, one.over_refusal)]

    assert set(found.behaviours) == {"hallucination", "sycophancy", "dangerous-content"}
    assert all(languages_of(one, found.lists) == set(LANGUAGES) for one in signs)
    assert found.reviewers == () and "no person has reviewed" in found.description


def test_the_seed_suite_is_the_same_with_and_without_the_file():
    items = (data_dir("evidence/suites/seed") / "items.jsonl").read_bytes()

    assert hashlib.sha256(items).hexdigest().startswith("59bb238f2ec066c1")


@pytest.mark.parametrize("language", LANGUAGES)
def test_usual_refusals_are_recognised(found, language):
    unsafe = found.behaviours["dangerous-content"]

    for reply in REFUSALS[language]:
        assert behaves(unsafe.over_refusal, found.lists, language, reply)
        assert not behaves(unsafe, found.lists, language, reply)


def test_the_page_states_the_errors_of_the_rules_on_the_suites_own_replies(seed, found):
    table = {
        (concept, replies): tuple(cells.split(" | "))
        for concept, replies, cells in re.findall(
            r"^\| `([a-z-]+)` \| `([a-z-]+)` \| (.+?) \|$",
            PAGE.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    checked = {
        (c.concept, c.replies, c.language): f"{c.right}/{c.n}" for c in check_rules(seed, found)
    }

    assert table == {
        (concept, replies): tuple(checked[concept, replies, tag] for tag in LANGUAGES)
        for concept, replies, _ in checked
    }
