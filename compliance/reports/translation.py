"""Translations of a report's words: which texts are translated, and what they are in a language.

    german = load_translation("de")          # templates/messages/de.po
    german.of("verdicts.supported.label", "Supported")

English is the source: ``templates/messages/en.yaml``, the mapping and the titles of provisions. A
PO file holds, for the dotted path of each text (``msgctxt``) and its English (``msgid``), the
translation. An entry counts only if its English is that of the source and it is not marked fuzzy;
otherwise the English stands. The wording of the law is never translated.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter
from typing import Any

from babel.messages.catalog import Catalog as PoMessages
from babel.messages.pofile import PoFileError, PoFileParser

from compliance.catalog import Catalog
from compliance.errors import ReportError
from compliance.records.catalog import AlsoServes, DeclaredKey, MappingRule, Provision
from compliance.resources import data_dir

SOURCE = "en"
FOLDER = "templates/messages"
NOT_PROSE = (
    "language", "*.glyph", "conditions.*.kind", "picture_conditions.*.kind", "results.*.kind",
    "expected_controls.*", "ui.verification.*.command", "standard_exports.*", "card.*",
    "feature_page.*",
)  # fmt: skip
"""Texts of ``en.yaml`` that are the same in every language: keys, signs, commands, and the words of
pages and exports that are made in English alone."""

NOBODY = ("Report-Msgid-Bugs-To", "Last-Translator", "Language-Team")
MACHINE = "X-Translation"
REVIEWER = "X-Reviewed-By"

Say = Callable[[str, str], str]
"""From a text's path and its English to the text that is shown."""


@dataclass(frozen=True)
class Translation:
    """A PO file, as far as it holds today's English or another."""

    language: str
    machine: bool
    """Whether a machine translated it and no person has reviewed it."""

    reviewers: str
    texts: Mapping[str, tuple[str, str]]
    """English and translation, by path; fuzzy and empty entries are left out."""

    def of(self, path: str, english: str) -> str | None:
        """The translation, if there is one of this very English."""
        known, text = self.texts.get(path, (None, None))
        return text if known == english else None


@dataclass
class Speaker:
    """Says texts in a language and counts those that it has to leave in English."""

    translation: Translation | None
    untranslated: int = 0

    def __call__(self, path: str, english: str) -> str:
        if self.translation is None or not english:
            return english
        text = self.translation.of(path, english)
        self.untranslated += text is None
        return english if text is None else text


class PoCatalog(PoMessages):
    """Babel's catalog, which loses header fields of its users' own; this one keeps them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.own_fields: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """Header fields, own ones first; those that would hold Babel's examples are left out."""
        given = PoMessages.mime_headers.fget(self)
        return [*self.own_fields.items(), *(f for f in given if f[0] not in NOBODY)]

    @mime_headers.setter
    def mime_headers(self, headers: list[tuple[str, str]]) -> None:
        headers = list(headers)
        PoMessages.mime_headers.fset(self, headers)
        self.own_fields = {name: value for name, value in headers if name.startswith("X-")}


def languages() -> tuple[str, ...]:
    """Languages that reports can be written in, English first."""
    return (SOURCE, *sorted(path.stem for path in data_dir(FOLDER).glob("*.po")))


@functools.cache
def load_translation(language: str) -> Translation | None:
    """The translation into a language; None for English, which is the source.

    Raises:
        ReportError: There is no such language, or its file is not a PO file.
    """
    if language not in languages():
        raise ReportError(
            f"{language}: there are no messages in this language",
            hint=f"reports can be written in: {', '.join(languages())}",
        )
    return None if language == SOURCE else read_translation(po_path(language))


def po_path(language: str) -> Path:
    """Where the translation into a language is, or would be."""
    return data_dir(FOLDER) / f"{language}.po"


def read_translation(path: Path) -> Translation:
    """A PO file as a translation.

    Raises:
        ReportError: It is not a PO file.
    """
    messages = read_messages(path)
    reviewers = messages.own_fields.get(REVIEWER, "").strip()
    return Translation(
        language=path.stem,
        machine=messages.own_fields.get(MACHINE) == "machine" and not reviewers,
        reviewers=reviewers,
        texts={
            message.context: (message.id, message.string)
            for message in messages
            if message.context and message.string and not message.fuzzy
        },
    )


def read_messages(path: Path) -> PoCatalog:
    """A PO file with all its entries.

    Raises:
        ReportError: It is not a PO file.
    """
    messages = PoCatalog(locale=path.stem.replace("-", "_"), fuzzy=False)
    try:
        with path.open("rb") as lines:
            PoFileParser(messages, abort_invalid=True).parse(lines)
    except (OSError, PoFileError, ValueError) as problem:
        raise ReportError(f"{path.name}: not a PO file: {problem}") from problem
    return messages


def fields(text: str) -> frozenset[str]:
    """Names in braces that a text has to be filled with."""
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def reworded(value: Any, say: Say, path: str = "") -> Any:
    """Plain values of ``en.yaml`` with every text as ``say`` has it."""
    if isinstance(value, dict):
        return {key: reworded(item, say, _join(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [reworded(item, say, _join(path, i)) for i, item in enumerate(value)]
    if not isinstance(value, str) or any(fnmatchcase(path, pattern) for pattern in NOT_PROSE):
        return value
    return say(path, value)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def reworded_catalog(catalog: Catalog, say: Say) -> Catalog:
    """The catalog with the compiler's words as ``say`` has them, for display.

    Digests stay those of the files, and the wording of the law stays as it is.
    """
    mapping, meta = catalog.mapping, catalog.law.meta
    rules = tuple(_rule(rule, say) for rule in mapping.rules)
    also = tuple(_also(rule, say) for rule in mapping.also)
    with_rules = {rule.provision for rule in rules}
    shown = with_rules | {rule.provision for rule in also}
    provisions = tuple(
        _provision(p, say, titled=p.id in with_rules) if p.id in shown else p
        for p in catalog.law.provisions
    )
    return replace(
        catalog,
        law=catalog.law.model_copy(
            update={
                "meta": meta.model_copy(update={"caution": say("law.caution", meta.caution)}),
                "provisions": provisions,
            }
        ),
        mapping=mapping.model_copy(
            update={
                "title": say("mapping.title", mapping.title),
                "authorship": say("mapping.authorship", mapping.authorship),
                "application": _words("mapping.application", mapping.application, say),
                "levels": _words("mapping.levels", mapping.levels, say),
                "rules": rules,
                "also": also,
            }
        ),
    )


def _words(path: str, words: Mapping[str, str], say: Say) -> dict[str, str]:
    return {key: say(f"{path}.{key}", text) for key, text in words.items()}


def _rule(rule: MappingRule, say: Say) -> MappingRule:
    path = f"mapping.{rule.provision}"
    return rule.model_copy(
        update={
            "declared": tuple(_declared(declared, say) for declared in rule.declared),
            "supplies": say(f"{path}.supplies", rule.supplies) if rule.supplies else "",
            "cannot_show": _each(f"{path}.cannot_show", rule.cannot_show, say),
        }
    )


def _declared(declared: DeclaredKey, say: Say) -> DeclaredKey:
    prompt = say(f"mapping.declared.{declared.key}.prompt", declared.prompt)
    return declared.model_copy(update={"prompt": prompt})


def _also(also: AlsoServes, say: Say) -> AlsoServes:
    path = f"mapping.{also.provision}"
    return also.model_copy(
        update={
            "about": say(f"{path}.about", also.about),
            "supplies": say(f"{path}.supplies", also.supplies),
            "cannot_show": _each(f"{path}.cannot_show", also.cannot_show, say),
        }
    )


def _provision(provision: Provision, say: Say, *, titled: bool) -> Provision:
    """What a report prints of it: a summary stands only in place of the law's wording."""
    path = f"provisions.{provision.id}"
    shown: dict[str, str] = {}
    if titled:
        shown["title"] = provision.title
    if titled and provision.official_text is None:
        shown["summary"] = provision.summary
    if isinstance(provision.applies_from, str):
        shown["applies_from"] = provision.applies_from
    return provision.model_copy(update=_words(path, shown, say))


def _each(path: str, texts: tuple[str, ...], say: Say) -> tuple[str, ...]:
    return tuple(say(f"{path}.{i}", text) for i, text in enumerate(texts))
