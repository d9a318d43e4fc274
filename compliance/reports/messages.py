"""The words of a report, from ``templates/messages``: English, and a PO file for each translation.

Sentences live there and not in code. What a translation lacks is said in English and counted. A key
that the file does not have still renders, with the key itself: results of a newer version must not
break a report.
"""

import functools
from typing import Any

import yaml
from pydantic import ValidationError

from compliance.errors import ReportError
from compliance.records.base import Record
from compliance.records.finding import Status, Verdict
from compliance.records.report import Level
from compliance.reports.locales import locale_of
from compliance.reports.translation import FOLDER, SOURCE, Speaker, load_translation, reworded
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


class LevelWords(Record):
    """A level of detail: what it is called, and what a shorter report says of longer ones."""

    title: str
    note: str


class Messages(Record):
    """``templates/messages/en.yaml``, or a translation of it."""

    language: str
    machine_translated: bool = False
    """Whether a machine translated these words and no person has reviewed them."""

    reviewers: str = ""
    """Who reviewed the translation."""

    untranslated: int = 0
    """Texts of a translation that stand in English."""

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
    standings: dict[str, StatusWords]
    """Where the probe's lead over a control lies."""

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
    modalities: dict[str, str]
    inputs: dict[str, InputWords]
    """By modality and rendering, such as ``image/depicted``."""

    labels: dict[str, str]
    regions: dict[str, str]
    pooling: dict[str, str]
    chapters: dict[str, str]
    levels: dict[Level, LevelWords]
    dates: dict[str, str]
    notices: dict[str, str]
    lead: dict[str, str]
    plurals: dict[str, dict[str, str]]
    """By the plural forms of the CLDR; every thing has ``other``."""

    citations: dict[str, str]
    """Words within citations of the law, by the English one."""

    units: dict[str, str]
    """What stands beside numbers."""

    translation: dict[str, str]
    """What a report in another language than English says of itself."""

    plot: dict[str, str]
    charts: dict[str, dict[str, str]]
    """By kind of chart; ``words`` are shared."""

    gallery: dict[str, str]
    features: dict[str, str]
    feature_cards: dict[str, str]
    feature_page: dict[str, str]
    """Of the page about one feature."""

    facts: dict[str, str]
    selection: dict[str, str]
    trace: dict[str, str]
    trail: dict[str, str]
    """What entries of the audit trail say, by their kind, and the words around them."""

    changes: dict[str, str]
    """What differs between two packs of a system."""

    standard_exports: dict[str, str]
    """Sentences of the exports in OSCAL, CycloneDX and RO-Crate."""

    card: dict[str, str]
    """Of the section in a model's README."""

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
        words, form = self.plurals[thing], locale_of(self.language).plural_form(n)
        return words.get(form, words["other"]).format(n=n)


@functools.cache
def load_messages(language: str = SOURCE) -> Messages:
    """The words of one language.

    Raises:
        ReportError: There is no such language, or its file does not fit.
    """
    translation = load_translation(language)
    say = Speaker(translation)
    values = {
        **reworded(source_messages(), say),
        "language": language,
        "machine_translated": translation is not None and translation.machine,
        "reviewers": translation.reviewers if translation else "",
        "untranslated": say.untranslated,
    }
    try:
        return Messages.model_validate(values)
    except ValidationError as problem:
        raise ReportError(f"messages in {language}: {problem}") from problem


def source_messages() -> dict[str, Any]:
    """The English words as plain values.

    Raises:
        ReportError: The file cannot be read.
    """
    path = data_dir(FOLDER) / f"{SOURCE}.yaml"
    try:
        return yaml.load(path.read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError) as problem:
        raise ReportError(f"{path.name}: {problem}") from problem
