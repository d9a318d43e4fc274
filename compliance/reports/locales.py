"""Conventions of languages, from the CLDR by way of Babel: names, dates and signs of numbers."""

import functools
from datetime import date

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import get_decimal_symbol, get_group_symbol

CONVENTIONS = {"en": "en_GB"}
"""Whose conventions a report keeps where its language alone does not say; English is British."""


@functools.cache
def locale_of(language: str) -> Locale:
    """Babel's locale of a language tag, such as ``zh-Hans``.

    Raises:
        UnknownLocaleError, ValueError: There is none.
    """
    return Locale.parse(CONVENTIONS.get(language, language).replace("-", "_"))


def language_name(tag: str, language: str) -> str:
    """What a language is called in another; one that Babel does not know by its tag."""
    locale = locale_of(language)
    try:
        found = locale.languages.get(tag.replace("-", "_")) or Locale.parse(
            tag, sep="-"
        ).get_display_name(locale)
    except (UnknownLocaleError, ValueError):
        return tag
    return found or tag


def own_name(tag: str) -> str:
    """What a language calls itself, beginning with a capital where it has any."""
    try:
        name = language_name(tag, tag)
    except (UnknownLocaleError, ValueError):
        return tag
    return name[0].upper() + name[1:] if name != tag else tag


def in_words(day: date, language: str) -> str:
    """A date without a chance to swap day and month."""
    return format_date(day, "long", locale=locale_of(language))


@functools.cache
def number_signs(language: str) -> dict[int, str]:
    """Group separator and decimal sign, as `str.translate` takes them for Python's own."""
    locale = locale_of(language)
    return {ord(","): get_group_symbol(locale), ord("."): get_decimal_symbol(locale)}


@functools.cache
def percent_sign(language: str) -> str:
    """The percent sign with the space before it, if the language has one."""
    if language == "en":  # a thin house rule: English reports write "91.4 %", as SI does
        return "\N{NO-BREAK SPACE}%"
    return locale_of(language).percent_formats[None].suffix[0]
