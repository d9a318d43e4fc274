"""Lines end where Unicode's rules let them, and inside a word only where no line could hold it."""

import pytest

from compliance.suites.rendering.layout import clusters, lines


def broken(text: str, width: int) -> list[str]:
    """Every character is one wide."""
    return list(lines(text, width, len))


def test_words_stay_whole_and_spaces_at_ends_go():
    assert broken("one two  three", 7) == ["one two", "three"]
    assert broken("one two  three", 6) == ["one", "two", "three"]


def test_line_ends_empty_lines_and_spaces_in_front_stay():
    text = "def f():\n\treturn 1\r\n\n  x\u2028y"

    assert broken(text, 40) == ["def f():", "    return 1", "", "  x", "y"]


def test_a_word_wider_than_a_line_is_broken_between_characters():
    assert broken("ab cdefghij", 4) == ["ab c", "defg", "hij"]


def test_marks_stay_with_their_letters():
    text = "e\u0301" * 5

    assert broken(text, 4) == ["e\u0301" * 2, "e\u0301" * 2, "e\u0301"]
    assert list(clusters("ไม่")) == ["ไ", "ม่"]


NEVER_FIRST = "、。，．！？」』）】ゃゅょっァィッー々…；：”》"
NEVER_LAST = "「『（【“《"
JAPANESE = (
    "彼は「そうだ。」と、言った。っていうか、きょう（月曜日）は『ゼロ』だっけ？えっ、ちがう！"
    "ショッピング・センターへ、いっしょに行こうよ。時々、ぼーっとしている…。"
)
CHINESE = "他说：“好的。”然后（周一）去了《书店》，买了书；但是，没带钱！怎么办？……算了。"


@pytest.mark.parametrize("text", [JAPANESE, CHINESE], ids=["ja", "zh"])
@pytest.mark.parametrize("width", range(4, 24))
def test_no_line_begins_or_ends_with_what_must_not_stand_there(text, width):
    found = broken(text, width)

    assert "".join(found) == text
    assert all(len(line) <= width for line in found)
    # a row of marks that is itself wider than a line has to be torn somewhere
    if width >= 6:
        assert not [line for line in found if line[0] in NEVER_FIRST]
        assert not [line for line in found if line[-1] in NEVER_LAST]


def test_vietnamese_and_greek_are_broken_at_spaces():
    text = "Người dùng hỏi; Τι κάνει ο χρήστης;"

    assert all(part in text.split() for line in broken(text, 9) for part in line.split())
