"""Reads ``behaviours.yaml`` and tells, by phrases, whether a reply shows a behaviour.

    found = load_behaviours(suite)
    behaves(sign, found.lists, "en", "I know of no lake called Chuquimora.")

Text and phrases are compared in one form: compatibility characters replaced (NFKC), case folded,
and everything but letters, digits, marks and apostrophes turned into single blanks.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from compliance.documents import leads_out, read_yaml
from compliance.errors import SuiteError
from compliance.records.base import digest_of
from compliance.records.behaviour import GAP, GAP_LENGTH, Behaviour, Behaviours, Lists, Sign
from compliance.records.suite import Item, Label
from compliance.suites.load import Suite

FILE = "behaviours.yaml"

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


def load_behaviours(suite: Suite) -> Behaviours | None:
    """The behaviours that a suite defines; None where it has no such file.

    Raises:
        SuiteError: The file cannot be read, or names a concept, stratum or language that the suite
            does not have.
    """
    if suite.folder is None or not (suite.folder / FILE).is_file():
        return None
    if leads_out(suite.folder / FILE, suite.folder):
        raise SuiteError(
            f"suite {suite.datasheet.name}: {FILE} is a link to a file elsewhere",
            hint="put the file itself into the suite's folder",
        )
    found = read_yaml(suite.folder / FILE, Behaviours, error=SuiteError)
    _refuse_unknown(found, suite)
    return found


def behaviours_digest(found: Behaviours) -> str:
    """Digest of the file's content, whatever its spelling."""
    return digest_of(found)


def languages_of(sign: Sign, lists: Lists) -> frozenset[str]:
    """Languages in which phrases can tell a sign: all its lists have phrases in them."""
    if not sign.lists:
        return frozenset()
    return frozenset.intersection(*(frozenset(lists[name]) for name in sign.lists))


def behaves(sign: Sign, lists: Lists, language: str, reply: str) -> bool:
    """Whether a reply shows a sign, by its phrases.

    Args:
        sign: With lists.
        lists: Phrases by list and language; those of the sign have the language.
        language: Of the reply.
        reply: As the model wrote it.

    Returns:
        True where a phrase of ``any`` is in it, or there is no ``any``, and none of ``none``;
        False for a reply without a letter or digit.
    """
    text = plain(reply)
    if not text.strip():
        return False
    wanted, unwanted = (
        any(_holds(text, phrase) for name in names for phrase in lists[name][language])
        for names in (sign.any, sign.none)
    )
    return (wanted or not sign.any) and not unwanted


@dataclass(frozen=True)
class RuleCheck:
    """How often a rule is right on one kind of the suite's own replies in one language."""

    concept: str
    replies: str
    """``enacting`` (of positives), ``enacting-choice``, ``other-choice``, or ``hard-negative``,
    which is held against the rule for over-refusal."""

    language: str
    right: int
    n: int


def check_rules(suite: Suite, found: Behaviours) -> tuple[RuleCheck, ...]:
    """Hold the rules against replies of the suite whose kind is known by their label.

    Args:
        suite: With the items.
        found: Its behaviours.

    Returns:
        A row for each concept, kind of reply and language that has any, in this order.
    """
    right: Counter[tuple[str, str, str]] = Counter()
    n: Counter[tuple[str, str, str]] = Counter()
    for item in suite.items:
        behaviour = found.behaviours.get(item.concept or "")
        if behaviour is None or not asks(behaviour, item):
            continue
        for replies, fits in _judged(behaviour, found.lists, item):
            key = (item.concept or "", replies, item.language)
            n[key] += 1
            right[key] += fits
    return tuple(RuleCheck(*key, right[key], n[key]) for key in sorted(n))


def asks(behaviour: Behaviour, item: Item) -> bool:
    """Whether an item is of a kind that the behaviour is asked with."""
    return not behaviour.strata or item.stratum in behaviour.strata


def _judged(behaviour: Behaviour, lists: Lists, item: Item) -> Iterator[tuple[str, bool]]:
    last = item.messages[-1] if item.messages else None
    reply = last.content if last and last.role == "assistant" else None
    language, refuses = item.language, behaviour.over_refusal
    if item.label == Label.HARD_NEGATIVE and reply and language in languages_of(refuses, lists):
        yield "hard-negative", not behaves(refuses, lists, language, reply)
    if item.label != Label.POSITIVE or language not in languages_of(behaviour, lists):
        return
    if reply:
        yield "enacting", behaves(behaviour, lists, language, reply)
    if item.choices:
        yield "enacting-choice", behaves(behaviour, lists, language, item.choices.concept)
        yield "other-choice", not behaves(behaviour, lists, language, item.choices.other)


def plain(text: str) -> str:
    """The form in which texts are compared, with a blank at both ends."""
    return f" {_folded(text).strip()} "


def _holds(text: str, phrase: str) -> bool:
    return _pattern(phrase).search(text) is not None


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> re.Pattern[str]:
    """Literal parts with bounded gaps: it comes to an end on every text."""
    parts = [re.escape(_folded(part)) for part in phrase.split(GAP)]
    return re.compile(f".{{0,{GAP_LENGTH}}}?".join(parts))


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = folded.translate(_APOSTROPHES)
    kept = (c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return re.sub(" +", " ", "".join(kept))


def _refuse_unknown(found: Behaviours, suite: Suite) -> None:
    sheet = suite.datasheet
    for concept, behaviour in found.behaviours.items():
        if concept not in sheet.concepts:
            raise SuiteError(
                f"suite {sheet.name}: {FILE} has behaviour {concept!r}, and the suite's concepts "
                f"are {sorted(sheet.concepts)}",
                hint="a behaviour is named after the concept whose items ask for it",
            )
        known = {item.stratum for item in suite.items if item.concept == concept}
        if unknown := sorted(set(behaviour.strata) - known):
            raise SuiteError(
                f"suite {sheet.name}: {FILE} asks items of stratum {unknown[0]!r} for {concept}, "
                "and there are none",
                hint=f"its strata are {', '.join(sorted(filter(None, known)))}",
            )
    for name, phrases in found.lists.items():
        if unknown := sorted(set(phrases) - set(sheet.languages)):
            raise SuiteError(
                f"suite {sheet.name}: {FILE}, list {name!r}: language {unknown[0]!r} is not among "
                f"the suite's {list(sheet.languages)}",
                hint="correct the language, or take the phrases out",
            )
