"""What readers give: rows with their place, and rows that cannot be used with the reason.

A reader yields ``Row`` and ``Refused`` in the order of its file. Code that finds a row unfit raises
``Unfit``, which says the column and what is wrong; whoever knows the row's place makes a
``Refused`` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compliance.documents import open_file
from compliance.errors import SuiteError

MAX_ROW = 32_000_000
"""Characters (or bytes) one row may take. More is not a row of text but a mistake, such as a quote
that is never closed; and one row is what is held in memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, or an object of a JSON file."""

    file: str
    number: int
    """As a person counts: in a table the header is row 1, elsewhere the first object is."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that does not become an item."""

    file: str
    row: int
    column: str
    kind: str
    """A few words that many rows share, to count by."""

    reason: str
    on_purpose: bool = False
    """Left out by a rule, and nothing is wrong with it."""


class Unfit(SuiteError):
    """A row, or one item of it, cannot be used."""

    def __init__(self, column: str, kind: str, reason: str, *, on_purpose: bool = False) -> None:
        super().__init__(reason)
        self.column = column
        self.kind = kind
        self.on_purpose = on_purpose

    def at(self, file: str, row: int) -> Refused:
        """The same with its place."""
        return Refused(file, row, self.column, self.kind, str(self), self.on_purpose)


@dataclass
class Meter:
    """How much of the files a reader has behind it, so that time left can be told."""

    read: float = 0.0
    """Bytes."""


def check_text(column: str, value: str) -> None:
    """Refuse what no file of text holds.

    Raises:
        Unfit: A byte that is not UTF-8 (readers keep it as a lone surrogate), or NUL.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        what = f"byte 0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}"
        raise Unfit(
            column,
            "not UTF-8",
            f"{what} as character {error.start + 1} is not UTF-8; the file may be in "
            "Windows-1252 or another encoding",
        ) from error
    if "\0" in value:
        raise Unfit(column, "NUL", f"a NUL byte as character {value.index(chr(0)) + 1}")


def check_texts(values: object, column: str = "") -> None:
    """The same for every text inside objects and lists; columns are named with dots.

    Raises:
        Unfit: As ``check_text``.
    """
    if isinstance(values, str):
        check_text(column, values)
    elif isinstance(values, dict):
        for key, value in values.items():
            check_text(column, key)
            check_texts(value, f"{column}.{key}" if column else key)
    elif isinstance(values, list):
        for place, value in enumerate(values):
            check_texts(value, f"{column}.{place}")


def refuse_other_encodings(path: Path, name: str) -> None:
    """Refuse a whole file whose first bytes say that it is not UTF-8.

    Raises:
        SuiteError: The file is UTF-16 or UTF-32, or cannot be read.
    """
    with open_file(path) as file:
        head = file.read(4)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head == b"\x00\x00\xfe\xff":
        raise SuiteError(
            f"{name}, row 1: the file is in UTF-16 or UTF-32, expected UTF-8",
            hint="in a spreadsheet, save it as 'CSV UTF-8'",
        )
