"""Writes a suite from files of rows: streams, refuses row by row, and appears whole or not at all.

    imported = write_imported(job, Path("suites/ours"), progress)
    imported.refused              # {'ragged row': 3}

``items.jsonl`` is written first into a folder beside the suite's place. Groups that turn out to
lack a label are taken out in a second pass. What was refused is listed in ``NAME.refused.csv``
beside the suite's folder; where nothing was, there is no such file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import yaml

from compliance.errors import StorageError, SuiteError
from compliance.progress import Progress
from compliance.records.base import canonical_bytes, to_json
from compliance.records.importing import (
    TEMPLATES,
    FileEntry,
    ImportMapping,
    ItemTemplate,
    Lookup,
    TurnColumn,
    template_columns,
)
from compliance.records.suite import Datasheet, Item, Label
from compliance.storage import replace_file, write_folder, write_text
from compliance.suites.importing.index import Counts, SeenItems, count_key
from compliance.suites.importing.items import ItemMaker, needed_columns
from compliance.suites.importing.report import RefusedReport
from compliance.suites.importing.rows import Meter, Refused, Row, Unfit
from compliance.suites.importing.sources import (
    FileFacts,
    Source,
    SourceFile,
    file_facts,
    refuse_changed,
)
from compliance.suites.importing.templates import columns
from compliance.suites.recipes import Adapter

EVERY = 1000
"""Rows between two reports of progress."""


@dataclass(frozen=True)
class Job:
    """What is to be imported, and as what."""

    mapping: ImportMapping
    origin: str
    """The mapping or recipe with its digest, for the datasheet."""

    sources: tuple[tuple[Source, FileEntry], ...]
    adapter: Adapter | None = None
    untested: str | None = None
    """What is to be said of a recipe that was never run on such a file."""


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    folder: Path | None
    """The suite; None where nothing usable was left."""

    trouble: str | None
    """Why there is no suite."""

    report: Path | None
    """The list of refused rows; None where there are none."""

    rows: int
    items: int
    groups: int
    counts: dict[tuple[str, str], dict[str, int]]
    """Items by concept (empty where they have none) and label, then by language."""

    refused: dict[str, int]
    left_out: dict[str, int]
    examples: tuple[Refused, ...]
    notes: tuple[str, ...]
    """What is to be said of the recipe."""


@dataclass
class _Tally:
    """What is counted on the way; nothing here grows with the number of rows."""

    rows: int = 0
    groups: int = 0
    not_everywhere: int = 0
    kept_invisible: int = 0
    reviewed: int = 0
    translated: int = 0
    counts: Counts = field(default_factory=Counter)
    forms: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """Items by concept, modality, rendering and label."""

    def add(self, item: Item, sign: int = 1) -> None:
        self.counts[count_key(item)] += sign
        self.forms[item.concept or "", item.modality, item.rendering, item.label.value] += sign
        self.reviewed += sign * (item.reviewed is not None)
        self.translated += sign * (item.origin == "machine-translated")

    @property
    def items(self) -> int:
        return self.counts.total()

    @property
    def languages(self) -> list[str]:
        return sorted({language for _, _, language in +self.counts})


def write_imported(job: Job, out: Path, progress: Progress) -> Imported:
    """Import everything and write the suite.

    Args:
        job: What to import.
        out: Folder of the suite; must not be there.
        progress: Is told about rows.

    Raises:
        SuiteError: A source as a whole cannot be read, or lacks a column.
        StorageError: ``out`` is there already, or the disk cannot take it. Nothing is left behind.
    """
    if os.path.lexists(out):
        raise StorageError(
            f"{out}: is there already, and is never overwritten",
            hint="choose another name, or move the old one away yourself",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".import-") as scratch:
            return _Import(job, out, Path(scratch), progress).run()
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(
            f"{out}: cannot be written: {reason or error}", hint="nothing was left behind"
        ) from error


class _Import:
    """One run; its files lie in a folder that goes away."""

    def __init__(self, job: Job, out: Path, scratch: Path, progress: Progress) -> None:
        self._job, self._mapping, self._out = job, job.mapping, out
        self._items = scratch / "items.jsonl"
        self._index = scratch / "index.sqlite"
        self._refused = scratch / "refused.csv"
        self._progress = _RowProgress(job, progress)
        self._tally = _Tally()

    def run(self) -> Imported:
        facts = [file_facts(file) for source, _ in self._job.sources for file in source.files]
        with (
            RefusedReport(self._refused) as report,
            SeenItems(self._index, paired=self._mapping.paired) as seen,
        ):
            self._read_all(report, seen)
            if self._mapping.paired:
                self._drop_half_groups(report, seen)
            self._tally.groups = seen.groups()
            if len(self._tally.languages) > 1:
                count = seen.groups_not_everywhere(len(self._tally.languages))
                self._tally.not_everywhere = count
        self._refuse_changed(facts)
        listed = self._put_report(len(report))
        trouble = self._trouble()
        if trouble is None:
            self._put_suite(facts, report)
        return self._imported(report, listed, trouble)

    def _read_all(self, report: RefusedReport, seen: SeenItems) -> None:
        numbers: dict[str, int] = {}
        number = 0
        with self._items.open("wb") as out:
            for source, entry in self._job.sources:
                number = 0 if self._mapping.files else number
                maker = ItemMaker(self._mapping, entry, source.folder, self._items.parent)
                for row in self._rows(source):
                    number += 1
                    self._progress.row()
                    for made in [row] if isinstance(row, Refused) else maker.items(row, number):
                        self._take(made, row, out, report, seen)
                numbers[source.files[0].name] = number
                self._tally.kept_invisible += maker.kept_invisible
        self._tally.rows = self._progress.end()
        refuse_shifted(self._mapping, numbers)

    def _rows(self, source: Source) -> Iterator[Row | Refused]:
        adapter = self._job.adapter
        needed = adapter.columns if adapter else needed_columns(self._mapping)
        for file in source.files:
            rows = with_columns(file, needed, file.rows(self._progress.meter))
            yield from adapter.rows(rows) if adapter else rows

    def _take(
        self,
        made: Item | Refused,
        row: Row | Refused,
        out: BinaryIO,
        report: RefusedReport,
        seen: SeenItems,
    ) -> None:
        if isinstance(made, Refused):
            report.add(made)
            return
        number = row.row if isinstance(row, Refused) else row.number
        try:
            seen.add(made, row.file, number)
        except Unfit as error:
            error.column = columns_of(self._mapping, error.column)
            report.add(error.at(row.file, number))
            return
        out.write(canonical_bytes(made) + b"\n")
        self._tally.add(made)

    def _drop_half_groups(self, report: RefusedReport, seen: SeenItems) -> None:
        """Take out items whose group lacks a label, which only the end of the files can tell."""
        half_groups = seen.half_groups()
        half = next(half_groups, None)
        if half is None:
            return
        whole = self._items.with_name("whole.jsonl")
        with self._items.open("rb") as lines, whole.open("wb") as out:
            for number, line in enumerate(lines, start=1):
                if half is None or number != half.item:
                    out.write(line)
                    continue
                item = Item.model_validate_json(line)
                self._tally.add(item, -1)
                reason = f"group {item.group!r} has no {half.missing} item"
                column = columns_of(self._mapping, "group")
                report.add(Refused(half.file, half.row, column, "half a pair", reason))
                half = next(half_groups, None)
        os.replace(whole, self._items)
        seen.forget_half_groups()

    def _refuse_changed(self, facts: Sequence[FileFacts]) -> None:
        files = [file for source, _ in self._job.sources for file in source.files]
        for file, was in zip(files, facts, strict=True):
            refuse_changed(file, was)

    def _trouble(self) -> str | None:
        """Why what is left is no suite."""
        if not self._tally.items:
            return "no row became an item"
        labels: dict[tuple[str, ...], set[str]] = {}
        for *form, label in +self._tally.forms:
            labels.setdefault(tuple(form), set()).add(label)
        for concept, modality, rendering in sorted(labels):
            found = labels[concept, modality, rendering]
            for label in (Label.POSITIVE, Label.HARD_NEGATIVE):
                if concept and label.value not in found:
                    shown = "" if modality == "text" else f" ({modality}, {rendering})"
                    return (
                        f"concept {concept} has no {label} items{shown}; it needs positives and "
                        "hard negatives to be told apart"
                    )
        neutral = {key[2] for key in +self._tally.counts if key[1] == Label.NEUTRAL}
        lacking = sorted(set(self._tally.languages) - neutral)
        if self._mapping.neutral and lacking:
            return f"the mapping names neutral text, and there is none in {lacking[0]}"
        return None

    def _put_report(self, count: int) -> Path | None:
        path = self._out.with_name(f"{self._out.name}.refused.csv")
        if not count:
            path.unlink(missing_ok=True)  # of an earlier try
            return None
        with self._refused.open("rb") as lines, replace_file(path) as out:
            shutil.copyfileobj(lines, out)
        return path

    def _put_suite(self, facts: Sequence[FileFacts], report: RefusedReport) -> None:
        sheet = datasheet(self._job, facts, self._tally, report)
        text = yaml.safe_dump(to_json(sheet), sort_keys=False, allow_unicode=True, width=96)
        with self._items.open("rb") as items:
            os.fsync(items.fileno())
        with write_folder(self._out) as folder:
            write_text(folder / "suite.yaml", text)
            self._put_pictures(folder)
            os.replace(self._items, folder / "items.jsonl")

    def _put_pictures(self, folder: Path) -> None:
        """Those that items show; what was refused after its picture was read leaves one behind."""
        if not self._items.with_name("images").is_dir():
            return
        with self._items.open("rb") as lines:
            for line in lines:
                image = Item.model_validate_json(line).image
                if image is not None and not (folder / image.path).exists():
                    (folder / image.path).parent.mkdir(exist_ok=True)
                    os.replace(self._items.parent / image.path, folder / image.path)

    def _imported(
        self, report: RefusedReport, listed: Path | None, trouble: str | None
    ) -> Imported:
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for (concept, label, language), count in sorted((+self._tally.counts).items()):
            counts.setdefault((concept, label), {})[language] = count
        return Imported(
            folder=None if trouble else self._out,
            trouble=trouble,
            report=listed,
            rows=self._tally.rows,
            items=self._tally.items,
            groups=self._tally.groups,
            counts=counts,
            refused=dict(report.refused),
            left_out=dict(report.left_out),
            examples=tuple(report.examples),
            notes=(self._job.untested,) if self._job.untested else (),
        )


class _RowProgress:
    """Tells how many rows are done. How many there are in all is reckoned from the bytes read."""

    def __init__(self, job: Job, progress: Progress) -> None:
        files = [file for source, _ in job.sources for file in source.files]
        self._size = sum(file.path.stat().st_size for file in files)
        self._rows, self._start, self._progress = 0, time.monotonic(), progress
        self.meter = Meter()
        progress.stage(f"reading {files[0].name}" + (", and more" if len(files) > 1 else ""))

    def row(self) -> None:
        self._rows += 1
        if self._rows % EVERY == 0 and 0 < self.meter.read < self._size:
            share = self.meter.read / self._size
            left = (time.monotonic() - self._start) * (1 - share) / share
            self._progress.advance(self._rows, max(self._rows + 1, int(self._rows / share)), left)

    def end(self) -> int:
        self._progress.advance(self._rows, self._rows, None)
        return self._rows


def with_columns(
    file: SourceFile, needed: Iterable[str], rows: Iterator[Row | Refused]
) -> Iterator[Row | Refused]:
    """Rows of a file, after a look at whether a table has the columns that are asked for.

    Raises:
        SuiteError: A column is not in the table.
    """
    checked = not file.columns_known
    for row in rows:
        if not checked and isinstance(row, Row):
            found = row.values.keys()
            missing = [name for name in needed if not {name, name.split(".")[0]} & found]
            if missing:
                raise SuiteError(
                    f"{file.name}, row 1: no column {', '.join(map(repr, missing))}; found "
                    f"{', '.join(map(repr, found))}",
                    hint="the first row of a table names its columns; correct it or the mapping",
                )
            checked = True
        yield row


def refuse_shifted(mapping: ImportMapping, numbers: dict[str, int]) -> None:
    """Refuse files whose rows belong together by their number, and that have not equally many.

    Raises:
        SuiteError: They have not: nobody could say which row lacks its partner.
    """
    used = {name for item in mapping.items for name in template_columns(item.group)}
    by_number = used & {"#row", "#pair"} and not used & {"#file", "#label"}
    if mapping.files and by_number and len(set(numbers.values())) > 1:
        found = ", ".join(f"{name} {count:,}" for name, count in numbers.items())
        raise SuiteError(
            f"files that are matched row by row differ in their number of rows: {found}",
            hint="add the missing rows, or match by a column: group: '{id}'",
        )


def columns_of(mapping: ImportMapping, name: str) -> str:
    """Columns that a field of an item is made of, for messages; where of none, the field."""
    return " or ".join(dict.fromkeys(_columns_of(item, name) for item in mapping.items))


def _columns_of(item: ItemTemplate, name: str) -> str:
    value = item.messages if name == "text" and item.text is None else getattr(item, name)
    if isinstance(value, Lookup | TurnColumn):
        return value.column
    if isinstance(value, tuple):
        return " and ".join(columns(turn.content) for turn in value)
    return columns(value) if name in TEMPLATES and value else name


def datasheet(
    job: Job, facts: Sequence[FileFacts], tally: _Tally, report: RefusedReport
) -> Datasheet:
    """What the mapping says of the suite, and what the import found."""
    mapping = job.mapping
    read = [f"{file.name}, {file.digest}" for file in facts]
    return Datasheet(
        name=mapping.name,
        version=mapping.version,
        title=mapping.title,
        description=mapping.description,
        licence=mapping.licence,
        sources=(*mapping.sources, *read, job.origin),
        languages=tuple(name for name in mapping.languages if name in tally.languages),
        concepts=mapping.concepts,
        paired=mapping.paired,
        neutral=mapping.neutral,
        translation=mapping.translation,
        reviewers=mapping.reviewers,
        agreement=mapping.agreement,
        known_gaps=(*mapping.known_gaps, *_gaps(job, tally, report)),
    )


def _gaps(job: Job, tally: _Tally, report: RefusedReport) -> Iterator[str]:
    if tally.reviewed < tally.items:
        without = tally.items - tally.reviewed
        yield f"not reviewed: {without:,} of {tally.items:,} items name no person who reviewed them"
    if tally.translated:
        yield f"machine-translated: {tally.translated:,} of {tally.items:,} items"
    if not any(label == Label.NEGATIVE for _, label, _ in +tally.counts):
        yield "no benign items: those of another suite differ from these in more than the concept"
    if tally.not_everywhere:
        yield f"{tally.not_everywhere:,} of {tally.groups:,} groups are not whole in every language"
    for language in sorted(set(job.mapping.languages) - set(tally.languages)):
        yield f"no items in {language}, which the mapping names"
    if tally.kept_invisible:
        yield f"{tally.kept_invisible:,} items hold characters that nobody sees, kept on purpose"
    if report.refused:
        yield f"{report.refused.total():,} rows or items of the source could not be used"
    if report.left_out:
        yield f"{report.left_out.total():,} rows or items of the source were left out on purpose"
    if job.untested:
        yield job.untested
