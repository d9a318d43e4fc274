"""The words of a report, from ``templates/messages``, one file a language.

Sentences live there and not in code, so that a translation is one file. A key that the file does
not have still renders, with the key itself: results of a newer version must not break a report.
"""

import functools
from typing import Any

import yaml
from pydantic import ValidationError

from compliance.errors import ReportError
from compliance.records.base import Record
from compliance.records.finding import Status, Verdict
from compliance.resources import data_dir

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class VerdictWords(Record):
    """A verdict's sign, word, meaning and claim."""

    label: str
    glyph: str
    meaning: str
    claim: str


class StatusWords(Record):
    """A condition's status as a sign and a word."""

    label: str
    glyph: str


class ConditionWords(Record):
    """What a condition asks for, and how its limit is written."""

    kind: str
    words: str


class ResultWords(Record):
    """What a result is called, and how its value is written."""

    kind: str
    label: str


class MethodWords(Record):
    """A method in plain words, with what it is good for and what it misses."""

    title: str
    plain: str
    why: str
    """Why this method, for this question."""

    misses: str
    """What it does not see."""

    source: str


class Term(Record):
    """A word of a table and what it means."""

    label: str
    meaning: str


class InputWords(Record):
    """A kind of input: how it is called in brackets, and in a claim about a language."""

    kind: str
    claim: str


class LanguageWords(Record):
    """A language's English name and its own."""

    name: str
    endonym: str


class Plural(Record):
    """A countable thing."""

    one: str
    other: str


class Messages(Record):
    """``templates/messages/<language>.yaml``."""

    language: str
    verdicts: dict[Verdict, VerdictWords]
    reasons: dict[str, str]
    unknown: dict[str, str]
    notes: dict[str, str]
    measured: dict[str, str]
    qualifiers: dict[str, str]
    statuses: dict[Status, StatusWords]
    gates: dict[Status, StatusWords]
    """The same for gates, which are open or shut."""

    kinds: dict[str, str]
    provision_statuses: dict[str, str]
    conditions: dict[str, ConditionWords]
    results: dict[str, ResultWords]
    columns: dict[str, str]
    suffixes: dict[str, str]
    scorers: dict[str, str]
    control_kinds: dict[str, str]
    comparison: dict[str, str]
    """What a table of controls comes to."""

    picture_conditions: dict[str, ConditionWords]
    picture_scorers: dict[str, str]
    """What is called otherwise where it is about pictures."""

    controls: dict[str, str]
    expected_controls: tuple[str, ...]
    classes: dict[str, Term]
    """Where misses come from."""

    shifts: dict[str, Term]
    clusters: dict[str, str]
    settings: dict[str, str]
    sections: dict[str, dict[str, str]]
    """Title, introduction, captions and notes of each part of a chapter."""

    answer_kinds: dict[str, Term]
    methods: dict[str, MethodWords]
    languages: dict[str, LanguageWords]
    modalities: dict[str, str]
    inputs: dict[str, InputWords]
    """By modality and rendering, such as ``image/depicted``."""

    labels: dict[str, str]
    regions: dict[str, str]
    pooling: dict[str, str]
    months: tuple[str, ...]
    chapters: dict[str, str]
    dates: dict[str, str]
    notices: dict[str, str]
    lead: dict[str, str]
    plurals: dict[str, Plural]
    plot: dict[str, str]
    gallery: dict[str, str]
    features: dict[str, str]
    facts: dict[str, str]
    selection: dict[str, str]
    trace: dict[str, str]
    ui: dict[str, Any]
    """Words that stand in templates."""

    def scorer(self, key: str, modality: str = "text") -> str:
        """What a control is called in cells of a modality; an unknown one by its key."""
        called = self.picture_scorers if modality != "text" else {}
        return called.get(key) or self.scorers.get(key, key)

    def condition(self, key: str, modality: str = "text") -> ConditionWords | None:
        """What a condition asks for in cells of a modality."""
        asked = self.picture_conditions if modality != "text" else {}
        return asked.get(key) or self.conditions.get(key)

    def count(self, thing: str, n: int) -> str:
        """``n`` of a countable thing, such as "2 languages"."""
        words = self.plurals[thing]
        return (words.one if n == 1 else words.other).format(n=n)


@functools.cache
def load_messages(language: str = "en") -> Messages:
    """Read the words of one language.

    Raises:
        ReportError: There is no such language, or its file does not fit.
    """
    path = data_dir("templates/messages") / f"{language}.yaml"
    try:
        return Messages.model_validate(yaml.load(path.read_bytes(), Loader=_Loader))
    except FileNotFoundError as problem:
        raise ReportError(
            f"{language}: there are no messages in this language",
            hint="reports can be written in the languages of templates/messages",
        ) from problem
    except (OSError, yaml.YAMLError, ValidationError) as problem:
        raise ReportError(f"{path.name}: {problem}") from problem
