"""Alerts for people to review, and what they decided as a suite of harmless items.

    write_queue(Path("queue.csv"), rows)
    rows = read_queue(Path("queue.csv"))        # with decisions
    made = reviewed_items(rows, sheets, pack=root)

A queue is a CSV or JSON Lines file by the end of its name. A false alert whose words the reviewer
gives is a benign item for the next calibration; its words stay out of packs (``restricted``), since
they are somebody's. A true alert is not made into a positive: that needs a hard negative of the
same meaning, which somebody has to write.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml
from pydantic import ValidationError

from compliance.documents import open_file, read_json_lines
from compliance.errors import StorageError, SuiteError
from compliance.records.base import canonical_bytes, digest_of, to_json
from compliance.records.monitoring_report import QueueRow, Unused
from compliance.records.suite import ConceptSheet, Datasheet, Item, Label
from compliance.storage import write_bytes, write_folder
from compliance.suites.importing.csv_rows import sniff_delimiter
from compliance.suites.load import normalised

COLUMNS = tuple(QueueRow.model_fields)

MAX_HEADER = 10_000
"""Characters of a queue's first line."""

OPEN = "nobody has decided"
UNSURE = "the reviewer is unsure"
TRUE = "a true alert; a positive needs a hard negative of the same meaning, which is to be written"
NO_TEXT = "its words are not given; it is counted alone"
NO_REVIEWER = "who decided, or when, is not given"
OTHER_PACK = "it is an alert of another pack"
OTHER_CONCEPT = "the pack has no such concept"
REPLY = "the probe reads the reply, and a queue holds the user's words alone"
DISPUTED = "another row with the same words says otherwise"


@dataclass(frozen=True)
class Reviewed:
    """What a queue gives."""

    items: tuple[Item, ...]
    unused: tuple[Unused, ...]
    reviewers: tuple[str, ...]
    concepts: tuple[str, ...]
    """Of the alerts that items come from."""


def write_queue(path: Path, rows: Iterable[QueueRow]) -> int:
    """Write alerts to a new file; return how many.

    Raises:
        SuiteError: The name ends in neither ``.csv`` nor ``.jsonl``.
        StorageError: The file is there already, since it may hold decisions, or cannot be written.
    """
    is_csv = _is_csv(path)
    if path.exists():
        raise StorageError(
            f"{path}: is there already, and may hold decisions", hint="give another name"
        )
    found = [to_json(row) for row in rows]
    if is_csv:
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(found)
        data = text.getvalue().encode()
    else:
        data = b"".join(canonical_bytes(row) + b"\n" for row in found)
    write_bytes(path, data)
    return len(found)


def read_queue(path: Path) -> list[QueueRow]:
    """Read a queue with what reviewers wrote into it.

    Raises:
        SuiteError: It cannot be read, or a row does not fit; says which.
    """
    if not _is_csv(path):
        return [line.record for line in read_json_lines(path, QueueRow, error=SuiteError)]
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig", newline="") as file:
            return list(_rows(file, path.name))
    except csv.Error as error:
        raise SuiteError(f"{path.name}: not a CSV file: {error}") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path.name}: not UTF-8", hint="save the file as UTF-8") from error
    except OSError as error:
        raise SuiteError(f"{path.name}: cannot be read: {error.strerror}") from error


def _rows(file: TextIO, name: str) -> Iterator[QueueRow]:
    header = file.readline(MAX_HEADER)
    delimiter = sniff_delimiter(header)
    columns = next(csv.reader([header], delimiter=delimiter), [])
    table = csv.DictReader(file, columns, delimiter=delimiter, strict=True)
    for values in table:
        yield _row(values, f"{name}, line {table.line_num + 1}")


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".csv", ".jsonl"):
        raise SuiteError(
            f"{path.name}: a queue's name ends in .csv or .jsonl", hint="give it one of these"
        )
    return path.suffix == ".csv"


def _row(values: dict[str | None, str | list[str] | None], where: str) -> QueueRow:
    if None in values:
        raise SuiteError(f"{where}: has more cells than there are columns", hint="look for a comma")
    given = {key: value for key, value in values.items() if value not in ("", None)}
    try:
        return QueueRow.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        column = ".".join(str(part) for part in first["loc"])
        raise SuiteError(
            f"{where}, column {column}: {first['msg'][0].lower()}{first['msg'][1:]}",
            hint=f"decision is true-alert, false-alert or unsure, date is 2026-11-30; leave what "
            f"was there as it was. The columns are {', '.join(COLUMNS)}",
        ) from error


def reviewed_items(
    rows: Sequence[QueueRow], sheets: Mapping[str, ConceptSheet], *, pack: str
) -> Reviewed:
    """Harmless items of the rows that give one, and why the others do not.

    Args:
        rows: In the queue's order.
        sheets: Concepts of the pack that watched.
        pack: Its root digest.
    """
    said: dict[tuple[object, ...], set[str | None]] = defaultdict(set)
    for row in rows:
        if row.text is not None:
            said[_words(row)].add(row.decision)
    items: dict[str, Item] = {}
    unused, used = [], []
    for number, row in enumerate(rows, start=1):
        reason = _unusable(row, sheets, pack)
        if reason is None and said[_words(row)] != {"false-alert"}:
            reason = DISPUTED
        if reason is None:
            item = _item(row)
            if item.id in items:
                reason = "the same words as in a row before"
            else:
                items[item.id] = item
                used.append(row)
        if reason is not None:
            unused.append(
                Unused(row=number, request=row.request, concept=row.concept, reason=reason)
            )
    return Reviewed(
        items=tuple(items[identity] for identity in sorted(items)),
        unused=tuple(unused),
        reviewers=tuple(sorted({row.reviewer for row in used if row.reviewer})),
        concepts=tuple(sorted({row.concept for row in used})),
    )


def _unusable(row: QueueRow, sheets: Mapping[str, ConceptSheet], pack: str) -> str | None:
    if row.decision != "false-alert":
        return {None: OPEN, "unsure": UNSURE, "true-alert": TRUE}[row.decision]
    if row.text is None or not row.text.strip():
        return NO_TEXT
    if row.reviewer is None or row.date is None:
        return NO_REVIEWER
    if row.pack != pack:
        return OTHER_PACK
    if row.concept not in sheets:
        return OTHER_CONCEPT
    return REPLY if sheets[row.concept].region == "assistant" else None


def _words(row: QueueRow) -> tuple[object, ...]:
    return (row.language, normalised(_item(row)))


def _item(row: QueueRow) -> Item:
    """A benign item, named by its words, so that equal words are one item."""
    text = row.text or "?"
    plain = Item(
        id="unnamed", group="unnamed", label=Label.NEGATIVE, language=row.language, text=text,
        restricted=True, origin="authored",
        reviewed=f"{row.reviewer} on {row.date}, not blind" if row.reviewer else None,
        source="monitoring", licence="none: words of somebody who used the system",
    )  # fmt: skip
    name = digest_of({"words": [list(turn) for turn in normalised(plain)]})[7:23]
    return plain.model_copy(
        update={"id": f"monitoring-{name}-{row.language}", "group": f"monitoring-{name}"}
    )


def write_reviewed_suite(
    target: Path, found: Reviewed, sheets: Mapping[str, ConceptSheet], *, paired: bool
) -> Datasheet:
    """Write the items as a suite beside which the pack's own can be audited.

    Args:
        target: Folder, which is made; the suite has its name.
        found: Items, of which there is one at least.
        sheets: Concepts as the pack's suites define them.
        paired: As the pack's suites are, since suites of one concept must agree.

    Raises:
        SuiteError: The folder's name is no name of a suite.
        StorageError: ``target`` is there already, or cannot be written.
    """
    try:
        sheet = Datasheet(
            name=target.name,
            version="1.0.0",
            title="Harmless requests that alarmed",
            description=(
                "Requests that a monitor alarmed on and a reviewer found harmless: benign items "
                "for the next calibration. There are no positives and no hard negatives."
            ),
            licence="None: words of people who used the system. Not for publication.",
            sources=("monitoring: alerts that a person reviewed",),
            languages=tuple(sorted({item.language for item in found.items})),
            concepts={concept: sheets[concept] for concept in found.concepts},
            paired=paired,
            translation="None: each item stands in the language in which it was declared.",
            reviewers=found.reviewers,
            known_gaps=(
                "Every item scored above a cut-off. Calibrating on many of them raises the next "
                "cut-off and lowers sensitivity; they stand for alerts and not for traffic.",
                "Each item was reviewed for the concept that alarmed, and serves the others too.",
                "Reviewers knew that there had been an alert.",
            ),
        )
    except ValidationError as error:
        raise SuiteError(
            f"{target.name}: not a name of a suite: small letters a to z, digits and hyphens",
            hint="give the folder another name",
        ) from error
    with write_folder(target) as folder:
        text = yaml.safe_dump(to_json(sheet), sort_keys=False, allow_unicode=True)
        (folder / "suite.yaml").write_text(text, encoding="utf-8")
        lines = b"".join(canonical_bytes(item) + b"\n" for item in found.items)
        (folder / "items.jsonl").write_bytes(lines)
    return sheet
