"""Reads Parquet, and the Arrow files of a Hugging Face dataset folder, a few rows at a time."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance.errors import SuiteError
from compliance.parquet import MAX_COLUMNS, read_pages
from compliance.suites.importing.rows import MAX_ROW, Meter, Refused, Row, Unfit, check_texts

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 1024
"""Rows that are decoded at once."""

SLICE = 64
"""Rows that are Python objects at once: a cell may be large."""

MAX_PAGE = 1 << 30
"""Bytes of a page of Parquet once it is unpacked. A page of pictures has hundreds of megabytes."""

MAX_LIST = 4_000_000
"""Values in a page of a column that holds lists: they may be those of one row."""

_BATCH_BYTES = 1 << 26

_HEADER, _DATA, _COMPRESSION = 2, 1, 3
"""Fields of Arrow's tables: a message's header, the batch in that of a dictionary, and what says
that a batch's buffers are compressed."""


def read_parquet(path: Path, name: str, meter: Meter) -> Iterator[Row | Refused]:
    """Yield the rows of a Parquet file, the first as row 1.

    Raises:
        SuiteError: It is not a Parquet file, or has two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _refuse_schema(file.schema_arrow, name)
            total = file.metadata.num_rows
            batches = file.iter_batches(batch_size=_rows_at_once(path, file.metadata))
            yield from _rows(batches, path, name, meter, total)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SuiteError(f"{name}: not a Parquet file that can be read: {error}") from error


def read_arrow(path: Path, name: str, meter: Meter) -> Iterator[Row | Refused]:
    """Yield the rows of an Arrow file, as ``Dataset.save_to_disk`` writes it, the first as row 1.

    Raises:
        SuiteError: It is not an Arrow stream or file, or has two columns of one name.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            start = 8 if source.read(6) == b"ARROW1" else 0  # a file is a stream with a frame
            source.seek(start)
            _refuse_compressed(source)
            source.seek(start)
            stream = pa.ipc.open_stream(source)
            _refuse_schema(stream.schema, name)
            yield from _rows(map(_sound, stream), path, name, meter, None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SuiteError(f"{name}: not an Arrow file that can be read: {error}") from error


def _rows(
    batches: Iterable[pa.RecordBatch], path: Path, name: str, meter: Meter, total: int | None
) -> Iterator[Row | Refused]:
    size, before, number = path.stat().st_size, meter.read, 0
    for batch in batches:
        step = _step(batch)
        for start in range(0, batch.num_rows, step):
            for values in _values(batch.slice(start, step)):
                number += 1
                yield _row(values, name, number)
        if total:
            meter.read = before + size * number / total
    meter.read = before + size


def _rows_at_once(path: Path, metadata: pq.FileMetaData) -> int:
    """How many rows may be decoded at once, each with the longest text of a dictionary.

    Raises:
        ValueError: The file would take too much memory however few they are.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pages = read_pages(data, metadata)
    if pages.largest_page > MAX_PAGE:
        raise ValueError(f"a page unpacks to {pages.largest_page:,} bytes")
    if pages.most_repeated > MAX_LIST:
        raise ValueError(f"lists of {pages.most_repeated:,} values on one page")
    return max(1, min(BATCH, _BATCH_BYTES // max(pages.longest_text, 1)))


def _refuse_compressed(source: pa.NativeFile) -> None:
    """Arrow believes what a compressed buffer says of its size; a data set is not compressed."""
    import pyarrow as pa

    ways = {"record batch": (_HEADER,), "dictionary": (_HEADER, _DATA)}
    for message in pa.ipc.MessageReader.open_stream(source):
        way = ways.get(message.type)
        if way and _is_compressed(message.metadata.to_pybytes(), way):
            raise ValueError("its buffers are compressed")


def _is_compressed(data: bytes, way: tuple[int, ...]) -> bool:
    """Whether the batch that these fields lead to is compressed.

    Source: apache/arrow, ``format/Message.fbs``; flatbuffers, ``docs/source/internals.md``.
    """
    try:
        (table,) = struct.unpack_from("<I", data, 0)
        for field in way:
            place = table + _entry(data, table, field)
            table = place + struct.unpack_from("<I", data, place)[0]
        return _entry(data, table, _COMPRESSION) != 0
    except struct.error as error:
        raise ValueError("a message that breaks off") from error


def _entry(data: bytes, table: int, field: int) -> int:
    """Where a field is in a table of flatbuffers, from the table's start; 0 if it is not there."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, fields)
    where = 4 + 2 * field
    return struct.unpack_from("<H", data, fields + where)[0] if where < size else 0


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same, once its offsets and indices are known to stay inside its buffers.

    Texts that are not UTF-8 are told row by row.
    """
    import pyarrow as pa

    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if not (pa.types.is_string(column.type) and "UTF8" in str(error)):
                raise
    return batch


def _step(batch: pa.RecordBatch) -> int:
    """Rows that may be Python objects at once, each with a dictionary's longest text."""
    import pyarrow as pa

    largest = max(
        (c.dictionary.nbytes for c in batch.columns if pa.types.is_dictionary(c.type)), default=0
    )
    return max(1, min(SLICE, MAX_ROW // (largest + 1)))


def _values(part: pa.RecordBatch) -> Iterator[dict[str, Any] | Unfit]:
    """Rows as Python values; where a text is not UTF-8, each row by itself to find which."""
    try:
        yield from part.to_pylist()
    except UnicodeDecodeError:
        for place in range(part.num_rows):
            yield _row_values(part.slice(place, 1))


def _row_values(row: pa.RecordBatch) -> dict[str, Any] | Unfit:
    values = {}
    for column in row.schema.names:
        try:
            values[column] = row.column(column)[0].as_py()
        except UnicodeDecodeError as error:
            reason = f"byte 0x{error.object[error.start]:02X} is not UTF-8"
            return Unfit(column, "not UTF-8", reason)
    return values


def _row(values: dict[str, Any] | Unfit, name: str, number: int) -> Row | Refused:
    if isinstance(values, Unfit):
        return values.at(name, number)
    try:
        check_texts(values)
    except Unfit as error:
        return error.at(name, number)
    return Row(name, number, values)


def _refuse_schema(schema: pa.Schema, name: str) -> None:
    """Too many columns, two of one name, or dictionaries in lists, of which each value grows."""
    if len(schema) > MAX_COLUMNS:
        raise SuiteError(f"{name}: {len(schema):,} columns, at most {MAX_COLUMNS:,} are read")
    for column, times in Counter(schema.names).items():
        if times > 1:
            raise SuiteError(
                f"{name}: a second column {column!r}", hint="give every column its own name"
            )
    for field in schema:
        if field.type.num_fields and "dictionary<" in str(field.type):
            raise SuiteError(f"{name}: {field.name} holds a dictionary inside {field.type.id}")
