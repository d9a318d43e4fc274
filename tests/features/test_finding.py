"""Search of labels: every word must occur; whole words and short labels come first."""

from compliance.features.finding import find_labels
from compliance.features.reading import NamedFeature


def features(*labels):
    return [NamedFeature("m", "0-a", i, label) for i, label in enumerate(labels)]


def found(text, *labels, n=10):
    return [feature.label for feature in find_labels(text, features(*labels), n)]


def test_every_word_must_occur_in_any_case_and_order():
    labels = ("Legal contracts", "contracts", "contract law, LEGAL terms", None)

    assert found("legal CONTRACT", *labels) == ["contract law, LEGAL terms", "Legal contracts"]


def test_whole_words_come_first_then_short_labels_then_the_index():
    labels = ("laws of war and other things", "outlaw", "the law", "law", "the law")

    ranked = find_labels("law", features(*labels), 10)

    assert [f.index for f in ranked] == [3, 2, 4, 1, 0]


def test_letters_of_other_scripts_are_folded_too():
    assert found("ΔΟΛΟΣ ｆｏｏ", "δόλος foo", "δολοσ foo") == ["δολοσ foo"]
    assert found("欺骗", "关于欺骗的词") == ["关于欺骗的词"]


def test_no_more_than_asked_for_are_given():
    assert found("a", "a", "a b", "a b c", n=2) == ["a", "a b"]
