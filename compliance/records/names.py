"""Names and prose from people, in any language, that cannot pass for other names.

Names of systems, suites, items and files are plain ASCII. Titles and names of persons are not:
they may hold any letters, but no character that nobody sees, and no word whose letters are of two
scripts that look alike. A word that is wholly of another script (``сор`` in Cyrillic) cannot be
told from a word of its language; whoever signs is known by the key and not by the name.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

_JOINERS = "\u200c\u200d"
"""Invisible, and part of the spelling of Persian and of many scripts of India."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LIKE_LATIN = ("CYRILLIC", "ARMENIAN", "CHEROKEE")
_GREEK_LIKE_LATIN = frozenset("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϳικνορυχϲ")
"""Other Greek letters stand in names of things, such as TGFβ."""

FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula."""


def check_name(text: str) -> str:
    """Return ``text`` when nothing in it hides or passes for something else; else ValueError."""
    for place, character in enumerate(text, start=1):
        if unicodedata.category(character) in _UNSEEN and character not in _JOINERS:
            raise ValueError(f"found U+{ord(character):04X} as character {place}, which hides")
    for word in re.findall(r"\w+", text):
        if odd := _passing_for_latin(word):
            name = unicodedata.name(odd, "a letter")
            raise ValueError(
                f"the word {ascii(word)[:60]} mixes Latin letters with {name}, which looks like one"
            )
    return text


def check_prose(text: str) -> str:
    """Return ``text`` when it holds no control characters but ends of lines and tabs."""
    for place, character in enumerate(text, start=1):
        if unicodedata.category(character) == "Cc" and character not in "\n\t":
            raise ValueError(f"found control character U+{ord(character):04X} at {place}")
    return text


def check_cell(text: str) -> str:
    """Return ``text`` when a spreadsheet takes it for text; else ValueError."""
    if text.startswith(FORMULA):
        raise ValueError(f"begins with {text[0]!r}, which a spreadsheet takes for a formula")
    return text


Name = Annotated[str, AfterValidator(check_name)]
"""A title, or the name of a person."""

Prose = Annotated[str, AfterValidator(check_prose)]
"""Text of several lines that is printed on terminals, too."""


def _passing_for_latin(word: str) -> str | None:
    """A letter of a word with Latin letters that is none and looks like one."""
    names = {character: unicodedata.name(character, "") for character in word}
    if not any(name.startswith("LATIN ") for name in names.values()):
        return None
    for character, name in names.items():
        if name.startswith(_LIKE_LATIN) or character in _GREEK_LIKE_LATIN:
            return character
    return None
