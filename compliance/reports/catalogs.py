"""Keeps the translations of a report's words in step with their English; `make messages` runs it.

    python -m compliance.reports.catalogs

Each PO file of ``templates/messages`` gets an entry for every text, in the order of the English.
A translation whose English is as it was stays; where the English changed, the entry keeps both, is
marked fuzzy and is not used until someone looks at it. What no longer exists is dropped. A new
language begins as an empty file, such as ``it.po``.
"""

import io
import sys
from collections.abc import Mapping
from pathlib import Path

from babel.messages.catalog import Message
from babel.messages.pofile import write_po

from compliance.catalog import load_catalog
from compliance.errors import ReportError
from compliance.reports.messages import source_messages
from compliance.reports.translation import (
    MACHINE,
    REVIEWER,
    SOURCE,
    PoCatalog,
    fields,
    languages,
    po_path,
    read_messages,
    reworded,
    reworded_catalog,
)
from compliance.storage import write_bytes

WIDTH = 100
HEADER = "# The words of a report in another language; `make messages` keeps their English in step."


def source_texts() -> dict[str, str]:
    """Every text that is translated, by its path: of ``en.yaml``, then of the law's catalog.

    Raises:
        ReportError: Two texts have one path.
    """
    found: dict[str, str] = {}

    def take(path: str, english: str) -> str:
        if path in found:
            raise ReportError(f"{path}: two texts have this path", hint="rename one of the keys")
        found[path] = english
        return english

    reworded(source_messages(), take)
    reworded_catalog(load_catalog(), take)
    return {path: english for path, english in found.items() if english}


def new_catalog(language: str) -> PoCatalog:
    """A translation in which nothing is translated; a machine is going to."""
    messages = PoCatalog(
        locale=language, header_comment=HEADER, fuzzy=False, project="sae-compliance", version="1"
    )
    messages.own_fields = {MACHINE: "machine", REVIEWER: ""}
    return messages


def updated(messages: PoCatalog, texts: Mapping[str, str]) -> PoCatalog:
    """The same translations for today's English.

    Args:
        messages: As they were.
        texts: Today's English, by path.
    """
    before = {message.context: message for message in messages if message.context}
    after = new_catalog(str(messages.locale_identifier))
    after.own_fields = messages.own_fields or after.own_fields
    after.creation_date, after.revision_date = messages.creation_date, messages.revision_date
    for path, english in texts.items():
        _add(after, path, english, before.get(path))
    return after


def _add(messages: PoCatalog, path: str, english: str, old: Message | None) -> None:
    kept = old.string if old else ""
    flags, comments = (), ()
    if kept and (old.fuzzy or old.id != english):
        # Babel writes "#|" lines, meant for this, and does not read them
        flags, comments = {"fuzzy"}, old.auto_comments or [f"Translated from: {old.id}"]
    messages.add(english, kept, context=path, flags=flags, auto_comments=comments)


def fill(path: Path, translations: Mapping[str, str]) -> list[str]:
    """Put translations of today's English into a PO file; their entries are fuzzy no longer.

    Args:
        path: Of the PO file.
        translations: By the path of the text.

    Returns:
        Paths that the file does not have, such as those of texts that were dropped.

    Raises:
        ReportError: A translation lacks a placeholder of its English, or has another.
    """
    messages = read_messages(path)
    entries = {message.context: message for message in messages if message.context}
    known = {key: text for key, text in translations.items() if key in entries and text.strip()}
    for key, text in known.items():
        check_fields(f"{path.name}: {key}", entries[key].id, text)
        entries[key].string = text.strip() if entries[key].id == entries[key].id.strip() else text
        entries[key].flags.discard("fuzzy")
        entries[key].auto_comments = []
    write_messages(path, messages)
    return sorted(set(translations) - set(entries))


def check_fields(where: str, english: str, text: str) -> None:
    """Raises `ReportError` where a translation is filled with other things than its English."""
    try:
        own = fields(text)
    except ValueError as problem:
        raise ReportError(f"{where}: {problem}", hint="braces stand around placeholders") from None
    if own != fields(english):
        raise ReportError(
            f"{where}: has the placeholders {sorted(own)}, English has {sorted(fields(english))}",
            hint="keep every {placeholder} as it is",
        )


def write_messages(path: Path, messages: PoCatalog) -> None:
    """Write a PO file; the same messages give the same bytes."""
    for message in messages:  # "90 % discovery" is no placeholder, though Babel takes it for one
        message.flags.discard("python-format")
    data = io.BytesIO()
    write_po(data, messages, width=WIDTH)
    write_bytes(path, data.getvalue())


def main() -> None:
    """Bring every PO file up to date and say how much of it is translated."""
    texts = source_texts()
    for language in languages():
        if language == SOURCE:
            continue
        path = po_path(language)
        messages = updated(read_messages(path), texts)
        write_messages(path, messages)
        entries = [message for message in messages if message.id]
        fuzzy = sum(message.fuzzy for message in entries)
        done = sum(bool(message.string) and not message.fuzzy for message in entries)
        sys.stdout.write(
            f"{path.name}: {done} of {len(entries)} translated, {fuzzy} to be looked at again\n"
        )


if __name__ == "__main__":
    main()
