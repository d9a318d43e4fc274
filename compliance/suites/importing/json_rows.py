"""Reads JSON Lines, and JSON arrays of objects of any length, one object in memory at a time.

An array is read through a window that grows until one value is complete. Python's own scanner
parses it, so that no other library is needed.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import Any, NoReturn, TextIO

from compliance.documents import open_file
from compliance.errors import SuiteError
from compliance.records.bounds import refuse_crowded, refuse_deep
from compliance.suites.importing.rows import (
    MAX_ROW,
    Meter,
    Refused,
    Row,
    Unfit,
    check_texts,
    refuse_other_encodings,
)

CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\r\n]*")


def read_json_lines(path: Path, name: str, meter: Meter) -> Iterator[Row | Refused]:
    """Yield one row a line; empty lines are passed over.

    Args:
        path: The file, in UTF-8.
        name: Stands for the file in messages.
        meter: Receives the bytes that were read.

    Raises:
        SuiteError: A line is too long to be a row.
    """
    refuse_other_encodings(path, name)
    number = 0
    with open_file(path) as file:
        while line := file.readline(MAX_ROW + 1):
            number += 1
            if len(line) > MAX_ROW:
                raise SuiteError(
                    f"{name}, row {number}: longer than {MAX_ROW:,} bytes",
                    hint="JSON Lines has one object a line",
                )
            meter.read += len(line)
            text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
            if text.strip():
                yield _parsed(text, name, number)


def read_json_array(
    path: Path,
    name: str,
    meter: Meter,
    *,
    member: str | None = None,
    passed: dict[str, Any] | None = None,
) -> Iterator[Row | Refused]:
    """Yield one row for each object of an array.

    Args:
        path: The file, in UTF-8.
        name: Stands for the file in messages.
        meter: Receives the characters that were read.
        member: The array's key, where the file is one object that holds it.
        passed: Receives the members of that object that stand before the array.

    Raises:
        SuiteError: The file is not such an array, breaks off, or goes on behind it.
    """
    refuse_other_encodings(path, name)
    with io.TextIOWrapper(
        open_file(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        window = _Window(file, name, meter)
        if member is not None:
            window.enter(member, {} if passed is None else passed)
        window.take("[", "an array of objects")
        while window.peek() != "]":
            if window.row:
                window.take(",", "a comma or the end of the array")
            window.row += 1
            yield _row(window.value(), name, window.row)
        if member is None:
            window.take("]", "the end of the array")
            window.end()


def _parsed(text: str, name: str, number: int) -> Row | Refused:
    try:
        value = decode(text)
    except JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg.lower()} (character {error.colno})"
        return Refused(name, number, f"character {error.colno}", "not valid JSON", reason)
    except (ValueError, RecursionError) as error:
        return Refused(name, number, "", "not valid JSON", f"not valid JSON: {error}")
    return _row(value, name, number)


def _row(value: object, name: str, number: int) -> Row | Refused:
    if not isinstance(value, dict):
        found = type(value).__name__
        return Refused(name, number, "", "not an object", f"expected an object, found {found}")
    try:
        check_texts(value)
    except Unfit as error:
        return error.at(name, number)
    return Row(name, number, value)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constant)


def decode(text: str) -> Any:
    """One JSON value that is neither nested nor filled without end.

    Raises:
        ValueError: It is, or is not valid.
    """
    refuse_crowded(text)
    refuse_deep(text)
    return DECODER.decode(text)


class _Window:
    """The part of a JSON file that is in memory, and the place in it."""

    def __init__(self, file: TextIO, name: str, meter: Meter) -> None:
        self._file, self._name, self._meter = file, name, meter
        self._text, self._place, self._ended = "", 0, False
        self.row = 0

    def peek(self) -> str:
        """The next character that is not space; empty at the end of the file."""
        while True:
            found = _SPACE.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._fill(CHUNK)

    def take(self, character: str, expected: str) -> None:
        """Pass over one character that must come next."""
        if self.peek() != character:
            self._refuse(f"expected {expected}, found {self.peek() or 'the end of the file'!r}")
        self._place += 1

    def end(self) -> None:
        """Nothing may come next: a second array would be passed over in silence."""
        if found := self.peek():
            self._refuse(f"expected the end of the file, found {found!r}")

    def value(self) -> object:
        """The next value, whole."""
        self.peek()
        size = CHUNK
        while True:
            try:
                refuse_crowded(self._text, self._place)
                value, end = DECODER.raw_decode(self._text, self._place)
                refuse_deep(self._text[self._place : end])
                if end < len(self._text) or self._ended:
                    self._place = end
                    return value
            except JSONDecodeError as error:
                if self._ended:
                    self._refuse(f"not valid JSON: {error.msg.lower()}, or it breaks off")
            except (ValueError, RecursionError) as error:
                self._refuse(f"not valid JSON: {error}")
            if len(self._text) - self._place > MAX_ROW:
                self._refuse(f"longer than {MAX_ROW:,} characters, or not valid JSON")
            self._fill(size)
            size *= 2

    def enter(self, member: str, passed: dict[str, Any]) -> None:
        """Go to the value of ``member`` in the object that the file is, keeping those before."""
        self.take("{", "an object")
        while self.peek() != "}":
            key = str(self.value())
            self.take(":", "a colon")
            if key == member:
                return
            passed[key] = self.value()
            if self.peek() != "}":
                self.take(",", "a comma or the end of the object")
        self._refuse(f"no {member!r} in it")

    def _fill(self, size: int) -> None:
        more = self._file.read(size)
        self._ended = not more
        self._meter.read += len(more)
        self._text, self._place = self._text[self._place :] + more, 0

    def _refuse(self, found: str) -> NoReturn:
        where = f"{self._name}, row {self.row}" if self.row else self._name
        raise SuiteError(f"{where}: {found}", hint="is it the whole file?")
