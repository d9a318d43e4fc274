"""Reads CSV and TSV: comma, semicolon or tab; a header; every row as wide as the header.

Nothing is guessed but the delimiter, from the header alone. A row that is too short or too long is
refused with its place; a quote that is never closed refuses the file, since every row after it is
in doubt.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from compliance.documents import open_file
from compliance.errors import SuiteError
from compliance.suites.importing.rows import (
    MAX_ROW,
    Meter,
    Refused,
    Row,
    Unfit,
    check_text,
    refuse_other_encodings,
)

DELIMITERS = ",;\t"

MAX_COLUMNS = 10_000
"""Of one table."""


def read_csv(path: Path, name: str, meter: Meter) -> Iterator[Row | Refused]:
    """Yield the rows of a table; rows without any content are passed over.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        name: Stands for the file in messages.
        meter: Receives the bytes that were read.

    Raises:
        SuiteError: No header, two columns of one name, or quotes that do not close.
    """
    refuse_other_encodings(path, name)
    limit = csv.field_size_limit(MAX_ROW)
    try:
        with open_file(path) as file:
            yield from _records(file, name, meter)
    finally:
        csv.field_size_limit(limit)


def _records(file: BinaryIO, name: str, meter: Meter) -> Iterator[Row | Refused]:
    lines = _lines(file, name, meter)
    first = next(lines, "")
    delimiter = sniff_delimiter(first)
    reader = csv.reader(_after(first, lines), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = _header(next(reader, []), name)
        number = 1
        for number, cells in enumerate(reader, start=2):  # noqa: B007 - named in the error below
            if any(cell.strip() for cell in cells):
                yield _row(cells, header, name, number)
    except csv.Error as error:
        raise SuiteError(
            f"{name}, row {number + 1}, line {reader.line_num}: {_in_words(error)}",
            hint="look for a quotation mark that is not closed, or not doubled inside a cell",
        ) from error


def sniff_delimiter(header: str) -> str:
    """The delimiter that a header has most often outside quotes; a comma where it has none."""
    bare = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _lines(file: BinaryIO, name: str, meter: Meter) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 become lone surrogates, to be found in their cell."""
    number = 0
    while line := file.readline(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW:
            raise SuiteError(
                f"{name}, line {number}: longer than {MAX_ROW:,} bytes",
                hint="is it a text file with line ends?",
            )
        meter.read += len(line)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield line.decode("utf-8", "surrogateescape")


def _after(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise SuiteError(
            f"{name}, row 1: found nothing, expected a header",
            hint="the first row names the columns",
        )
    if len(header) > MAX_COLUMNS:
        raise SuiteError(
            f"{name}, row 1: {len(header):,} columns, at most {MAX_COLUMNS:,} are read"
        )
    for place, column in enumerate(header, start=1):
        where = f"{name}, row 1, column {place}"
        try:
            check_text(column, column)
        except Unfit as error:
            raise SuiteError(f"{where}: {error}", hint="save the file as UTF-8") from error
        if not column:
            raise SuiteError(f"{where}: has no name", hint="name it, or remove it from every row")
        if header.index(column) != place - 1:
            raise SuiteError(
                f"{where}: a second column {column!r}", hint="give every column its own name"
            )
    return header


def _row(cells: list[str], header: list[str], name: str, number: int) -> Row | Refused:
    if len(cells) < len(header):
        reason = f"found {len(cells)} cells, expected {len(header)}: no {header[len(cells)]!r}"
        return Refused(name, number, header[len(cells)], "ragged row", reason)
    if len(cells) > len(header):
        reason = f"found {len(cells)} cells, expected {len(header)}: cell {len(header) + 1} is over"
        return Refused(name, number, str(len(header) + 1), "ragged row", reason)
    try:
        for column, cell in zip(header, cells, strict=True):
            if not cell.isascii() or "\0" in cell:
                check_text(column, cell)
    except Unfit as error:
        return error.at(name, number)
    return Row(name, number, dict(zip(header, cells, strict=True)))


def _in_words(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a cell longer than {MAX_ROW:,} characters"
    return f"not valid CSV: {error}"
