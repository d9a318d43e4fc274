"""Each character has a font of Noto, the form of Chinese characters follows the language."""

import pytest

from compliance.errors import SuiteError
from compliance.suites.rendering import fonts
from compliance.suites.rendering.fonts import Fonts, Unwritable


def family(language: str, cluster: str, *, monospaced: bool = False) -> str:
    face = Fonts(language, monospaced=monospaced).face_for(cluster)
    return face.sized(16).getname()[0]


@pytest.mark.parametrize(
    ("language", "cluster", "name"),
    [
        ("en", "a", "Noto Sans"),
        ("el", "ώ", "Noto Sans"),
        ("ru", "Щ", "Noto Sans"),
        ("vi", "ệ", "Noto Sans"),
        ("vi", "e\u0323\u0302", "Noto Sans"),
        ("ja", "直", "Noto Sans CJK JP"),
        ("ja", "a", "Noto Sans CJK JP"),
        ("zh-Hans", "直", "Noto Sans CJK SC"),
        ("zh-Hant", "直", "Noto Sans CJK TC"),
        ("ko", "한", "Noto Sans CJK KR"),
        ("en", "直", "Noto Sans CJK JP"),
        ("th", "ไ", "Noto Sans Thai"),
        ("hi", "क्षि", "Noto Sans Devanagari"),
        ("en", "\U0001d400", "Noto Sans Math"),
        ("en", "a\u200b", "Noto Sans"),
    ],
)
def test_a_character_has_its_font(language, cluster, name):
    assert family(language, cluster) == name


def test_code_is_monospaced_and_so_are_its_comments():
    assert family("en", "a", monospaced=True) == "Noto Sans Mono"
    assert family("ja", "a", monospaced=True) == "Noto Sans Mono"
    assert family("ja", "直", monospaced=True) == "Noto Sans Mono CJK JP"
    assert family("ru", "Щ", monospaced=True) == "Noto Sans Mono"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("\U0001f600", r"no font has U\+1F600 \(GRINNING FACE\)"),
        ("\u0007", r"no font has U\+0007 \(a control character\)"),
        ("\ue000", r"no font has U\+E000"),
        ("ש", r"U\+05E9 \(HEBREW LETTER SHIN\) is written from right to left"),
        ("a\u202e", r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\)"),
    ],
)
def test_a_character_without_a_font_is_named(cluster, words):
    with pytest.raises(Unwritable, match=words):
        Fonts("en", monospaced=False).face_for(cluster)


def test_a_font_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(fonts, "font_folders", lambda: [tmp_path])
    for cached in (fonts._files, fonts._face, fonts._other_faces):
        cached.cache_clear()
    try:
        with pytest.raises(SuiteError, match=r"NotoSans-Regular.ttf is not installed") as caught:
            Fonts("en", monospaced=False).face_for("a")
    finally:
        for cached in (fonts._files, fonts._face, fonts._other_faces):
            cached.cache_clear()

    assert "fonts-noto-core" in caught.value.hint


def test_the_first_folder_that_has_a_file_wins(monkeypatch, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / fonts.SANS).write_bytes(b"")
    monkeypatch.setattr(fonts, "font_folders", lambda: [tmp_path / "two", tmp_path / "one"])
    fonts._files.cache_clear()
    try:
        found = fonts._files()
    finally:
        fonts._files.cache_clear()

    assert found == {fonts.SANS: tmp_path / "two" / "deep" / fonts.SANS}


def test_facts_name_file_and_digest():
    facts = Fonts("ja", monospaced=False).face_for("直").facts

    assert facts.startswith("font Noto Sans CJK JP Regular, NotoSansCJK-Regular.ttc, sha256:")
