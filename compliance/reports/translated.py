"""What a report in another language than English says of itself, and in which words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compliance.catalog import Catalog
from compliance.catalog.citations import cited
from compliance.records.catalog import Provision
from compliance.records.report import Passage
from compliance.reports.messages import Messages, load_messages
from compliance.reports.numbers import write_count, written_in
from compliance.reports.translation import SOURCE, Speaker, load_translation, reworded_catalog


@dataclass(frozen=True)
class Wording:
    """The law as it is quoted, and what is said about its language."""

    text: str | None
    language: str
    source: str
    note: str | None


def catalog_in(catalog: Catalog, language: str) -> tuple[Catalog, int]:
    """The catalog with its compiler's words in a language, for display, and how many have none.

    Digests stay those of the files; the wording of the law is not translated.

    Raises:
        ReportError: There is no such language.
    """
    say = Speaker(load_translation(language))
    return reworded_catalog(catalog, say), say.untranslated


def passages(words: Messages, untranslated: int) -> tuple[Passage, ...]:
    """What stands on the first page, in the report's language and in English.

    Args:
        words: Of the report.
        untranslated: Texts that stand in English, those of the law's catalog included.
    """
    if words.language == SOURCE:
        return ()
    found = []
    for version in (words, load_messages()):
        with written_in(version):
            text = _text(words, version, untranslated)
        found.append(Passage(language=version.language, text=text))
    return tuple(found)


def wording(provision: Provision, words: Messages) -> Wording:
    """The official wording in the report's language if the catalog has it, else in English."""
    own = provision.official_translations.get(words.language)
    if own is not None:
        return Wording(own.text, words.language, own.source, None)
    is_foreign = words.language != SOURCE and provision.official_text is not None
    note = words.translation["law_note"] if is_foreign else None
    return Wording(provision.official_text, SOURCE, provision.source, note)


def citation(provision_id: str, words: Messages) -> str:
    """How a provision is cited in a sentence, such as ``Artikel 13(1)``."""
    return re.sub(
        r"[A-Z][a-z]+", lambda word: words.citations.get(word[0], word[0]), cited(provision_id)
    )


def _text(words: Messages, version: Messages, untranslated: int) -> str:
    """The sentences about a translation, in one language version of them."""
    says, sentences = version.translation, []
    if words.machine_translated:
        sentences.append(says["machine"])
    if words.reviewers:
        sentences.append(says["reviewed"].format(reviewers=words.reviewers))
    if untranslated:
        sentences.append(says["untranslated"].format(count=write_count(untranslated)))
    return " ".join([*sentences, says["law"], says["recorded"]])
