"""What a Parquet file would unpack to, told from its page headers before a page is unpacked.

A file of a kilobyte can say that it holds thousands of millions of values, and be right: runs of
one value and compressed zeros take no room. What the footer says of a column may be less than its
pages do, so the headers of the pages themselves are read, each a few bytes::

    pages = read_pages(data, pq.read_metadata(io.BytesIO(data)))
    pages.values, pages.bytes

Source: apache/parquet-format, ``src/main/thrift/parquet.thrift`` (PageHeader), and Apache Thrift,
``doc/specs/thrift-compact-protocol.md``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Buffer = bytes | mmap.mmap

MAX_COLUMNS = 10_000
"""Of one file, those inside others counted."""

_DICTIONARY = 7
_KINDS = (5, 8)
"""Fields of a page header: the dictionary's own, and those of the two kinds of data pages."""

_MAX_HEADER = 1 << 20
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Pages:
    """Sums and extremes over all pages of a file."""

    values: int
    """In all data pages."""

    bytes: int
    """Of all pages once they are unpacked. A value of a dictionary counts once."""

    largest_page: int
    """Bytes, unpacked."""

    longest_text: int
    """Bytes that one value of a dictionary of texts may have at most."""

    most_repeated: int
    """Values in one page of a column that holds lists: they may be those of one row."""


def read_pages(data: Buffer, metadata: pq.FileMetaData) -> Pages:
    """Walk over the page headers of all columns.

    Args:
        data: The whole file.
        metadata: Its footer, as pyarrow read it.

    Raises:
        ValueError: A header cannot be read, or says what its file cannot hold.
    """
    if metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"{metadata.num_columns:,} columns, at most {MAX_COLUMNS:,} are read")
    values = total = largest = longest = repeated = 0
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            has_lists = metadata.schema.column(place).max_repetition_level > 0
            for size, count, is_dictionary in _pages(data, column):
                total += size
                largest = max(largest, size)
                values += 0 if is_dictionary else count
                if is_dictionary and column.physical_type == "BYTE_ARRAY":
                    longest = max(longest, size)
                if has_lists and not is_dictionary:
                    repeated = max(repeated, count)
    return Pages(values, total, largest, longest, repeated)


def _pages(data: Buffer, column: pq.ColumnChunkMetaData) -> Iterator[tuple[int, int, bool]]:
    """Unpacked bytes and values of each page of a column, and whether it is its dictionary."""
    starts = [column.data_page_offset]
    if column.has_dictionary_page:
        starts.append(column.dictionary_page_offset)
    place, end = min(starts), min(starts) + column.total_compressed_size
    if place < 0 or end > len(data) or column.num_values < 0:
        raise ValueError("a column is not where the footer says")
    values = 0
    while place < end and values < column.num_values:
        header, place = _Compact(data[place : min(end, place + _MAX_HEADER)]).page(place)
        packed, unpacked = header.get(3), header.get(2)
        about = next((header[kind] for kind in (_DICTIONARY, *_KINDS) if kind in header), {})
        count = about.get(1, 0) if isinstance(about, dict) else -1
        if not all(isinstance(n, int) and n >= 0 for n in (packed, unpacked, count)):
            raise ValueError("a page header without its sizes")
        place += packed
        is_dictionary = _DICTIONARY in header
        values += 0 if is_dictionary else count
        yield unpacked, count, is_dictionary
    if place > end or values != column.num_values:
        raise ValueError("the pages of a column hold other than the footer says")


class _Compact:
    """Reads one struct of Thrift's compact protocol, numbers and structs of it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def page(self, start: int) -> tuple[dict[int, Any], int]:
        """The header, and where what follows it begins."""
        try:
            return self._struct(_MAX_DEPTH), start + self._place
        except IndexError as error:
            raise ValueError("a page header that breaks off") from error

    def _struct(self, depth: int) -> dict[int, Any]:
        if not depth:
            raise ValueError("a page header that is nested without end")
        found: dict[int, Any] = {}
        field = 0
        while byte := self._byte():
            step, kind = byte >> 4, byte & 15
            field = field + step if step else self._signed()
            found[field] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # the value of a boolean stands in its kind
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._number())
        if kind == 12:
            return self._struct(depth - 1)
        raise ValueError("a page header with a field of another kind")

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a page header with an endless number")

    def _signed(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, size: int) -> None:
        self._place += size
        if self._place > len(self._data):
            raise ValueError("a page header that breaks off")
