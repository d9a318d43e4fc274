"""The observation tables: how they become bytes and come back.

Everything is computed from tables as they are read back, by the producer and by an auditor
alike; so no digit can lie in memory that is not in the pack::

    fit = FitObservations.from_files(files)
    files = fit.to_files()

A file's name says which columns it has, a column's name which type. Rows stand in the order of
the columns that identify them; a table in another order, or with a row twice, is refused.

A table that is CSV is Parquet where it is large: `table_path` says which when it is written, and
`found_path` where it lies. Callers ask for it by the name that it has where it is small.

A compact table takes a few bytes a cell, whatever the length of names: `read_table` says how::

    scores = read_table(files, "confirm/scores.csv", compact=True)
    codes, names = scores["item"].cat.codes, scores["item"].cat.categories
"""

import hashlib
import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any, BinaryIO, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compliance.errors import PlanError
from compliance.parquet import Pages, read_pages
from compliance.records.base import digest_of
from compliance.records.observation import (
    CAPABILITY_COLUMNS,
    COFIRING_COLUMNS,
    CONFIRM_FILES,
    DOSE_COLUMNS,
    EFFECT_COLUMNS,
    FEATURE_COLUMNS,
    FEATURE_KINDS,
    FIDELITY_COLUMNS,
    FIRING_COLUMNS,
    FIT_FILES,
    ITEM_COLUMNS,
    LOSS_COLUMNS,
    MAX_FILE,
    MEAN_COLUMNS,
    MITIGATION_COLUMNS,
    NEIGHBOUR_COLUMNS,
    PATCH_COLUMNS,
    PRECISION_COLUMNS,
    REPEAT_COLUMNS,
    REPLY_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SHIFT_COLUMNS,
    SIDE_COLUMNS,
    SIDE_SCORE_COLUMNS,
    TOKEN_COLUMNS,
    VECTOR_COLUMNS,
    names_of,
)
from compliance.records.suite import Variant

pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps several times what tables take

_TABLES = {
    "items.csv": (ITEM_COLUMNS, 1),
    "scores.csv": (SCORE_COLUMNS, 3),
    "search.parquet": (SEARCH_COLUMNS, 4),
    "random_search.parquet": (SEARCH_COLUMNS, 4),
    "vectors.parquet": (VECTOR_COLUMNS, 3),
    "neighbours.csv": (NEIGHBOUR_COLUMNS, 6),
    "means.parquet": (MEAN_COLUMNS, 3),
    "latents.parquet": (SEARCH_COLUMNS, 4),
    "fidelity.parquet": (FIDELITY_COLUMNS, 3),
    "firing.parquet": (FIRING_COLUMNS, 5),
    "losses.csv": (LOSS_COLUMNS, 2),
    "shifts.csv": (SHIFT_COLUMNS, 3),
    "repeats.csv": (REPEAT_COLUMNS, 2),
    "precision.csv": (PRECISION_COLUMNS, 2),
    "patches.parquet": (PATCH_COLUMNS, 2),
    "tokens.parquet": (TOKEN_COLUMNS, 2),
    "cofiring.parquet": (COFIRING_COLUMNS, 4),
    "features.csv": (FEATURE_COLUMNS, 5),
    "doses.csv": (DOSE_COLUMNS, 4),
    "effects.csv": (EFFECT_COLUMNS, 3),
    "side_effects.csv": (SIDE_COLUMNS, 3),
    "side_scores.csv": (SIDE_SCORE_COLUMNS, 4),
    "capability.csv": (CAPABILITY_COLUMNS, 3),
    "replies.parquet": (REPLY_COLUMNS, 3),
    "mitigation.csv": (MITIGATION_COLUMNS, 3),
}
"""Columns of each file, and how many of the first identify a row."""

_TYPES = {
    **dict.fromkeys(("tokens", "beyond_context", "excluded_sinks", "rows", "columns"), pa.int64()),
    **dict.fromkeys(("rank", "firings", "flipped"), pa.int64()),
    **dict.fromkeys(("sae", "latent", "other"), pa.int32()),
    **dict.fromkeys(("score", "batched", "alone", "reference"), pa.float32()),
    **dict.fromkeys(
        ("cosine", "error", "spread", "norm_ratio", "loss", "spliced", "ablated", "divergence"),
        pa.float64(),
    ),
    **dict.fromkeys(("value", "activation"), pa.float64()),
    **dict.fromkeys(("peak", "scale", "target", "odds"), pa.float64()),
    **dict.fromkeys(("judged", "before", "after"), pa.float64()),
    **dict.fromkeys(("vector", "activations"), pa.list_(pa.float32())),
    "mean": pa.list_(pa.float64()),
    **dict.fromkeys(("l0", "starts", "ends"), pa.list_(pa.int32())),
}
"""Type of each column that is not text. Scores are float32, sums need all digits."""

LARGE = 200_000
"""Rows of a CSV table beyond which it is written as Parquet instead."""

GROUP_ROWS = 1 << 16
"""Rows of one row group of a Parquet table at most."""

GROUP_VALUES = 1 << 23
"""Values after which a row group ends, those in lists counted one by one: it is in memory whole,
and rows of wide models hold thousands of numbers."""

WRITING = pa.system_memory_pool()
"""Where columns lie that are being written; it gives back what is free, where others keep it."""

CSV_ROWS = 1 << 12
"""Rows of a CSV table that are put into words at a time."""

MAX_ROWS = 10_000_000
"""Lines of a CSV table that are read."""

MAX_VALUES = 300_000_000
"""Values of a Parquet table that are read, those in lists counted one by one."""

MAX_UNPACKED = 1 << 31
"""Bytes that a Parquet table may take once it is unpacked."""

MAX_PAGE = 1 << 28
_CELLS_AT_ONCE = 1 << 15
_BATCH_BYTES = 1 << 21

_VECTOR = pa.struct(
    [("length", pa.int32()), ("places", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))]
)
"""A vector in a compact table."""

_PRINTED = {pa.float32(): "{:.9g}", pa.float64(): "{:.17g}"}
"""Digits that tell any two numbers of a type apart."""


@runtime_checkable
class Opens(Protocol):
    """Files that can be read piece by piece. Those of any other mapping are read whole."""

    def open(self, path: str) -> BinaryIO:
        """Open the file of this path, from its beginning."""


class _Observations:
    """A dataclass of tables: its fields are the files of one folder, in their order."""

    folder: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, compact: bool = False) -> Self:
        """Read the tables from files by path below ``observations/``.

        Args:
            files: See `Opens`.
            compact: As of `read_table`; such tables cannot be written again.

        Raises:
            PlanError: A file is missing or does not hold what its name says.
        """
        return cls(*(read_table(files, path, compact=compact) for path in cls._paths()))

    def to_files(self) -> dict[str, bytes]:
        """The tables as files by path below ``observations/``, each in its order.

        Raises:
            PlanError: A row stands twice.
        """
        tables = [getattr(self, field.name) for field in fields(self)]
        paths = [table_path(p, len(t)) for p, t in zip(self._paths(), tables, strict=True)]
        return {path: table_bytes(t, path) for path, t in zip(paths, tables, strict=True)}

    @classmethod
    def _paths(cls) -> list[str]:
        return [f"{cls.folder}/{name}" for name in cls.files]


@dataclass(frozen=True)
class FitObservations(_Observations):
    """What a run saw of the discover and calibrate splits. Columns: records/observation.py."""

    folder: ClassVar[str] = "fit"
    files: ClassVar[tuple[str, ...]] = FIT_FILES

    items: pd.DataFrame
    scores: pd.DataFrame
    search: pd.DataFrame
    random_search: pd.DataFrame
    vectors: pd.DataFrame
    neighbours: pd.DataFrame
    means: pd.DataFrame


@dataclass(frozen=True)
class ConfirmObservations(_Observations):
    """What a run saw of the confirm split. Columns: records/observation.py."""

    folder: ClassVar[str] = "confirm"
    files: ClassVar[tuple[str, ...]] = CONFIRM_FILES

    items: pd.DataFrame
    scores: pd.DataFrame
    latents: pd.DataFrame
    fidelity: pd.DataFrame
    firing: pd.DataFrame
    losses: pd.DataFrame
    shifts: pd.DataFrame
    repeats: pd.DataFrame
    patches: pd.DataFrame
    tokens: pd.DataFrame
    cofiring: pd.DataFrame
    features: pd.DataFrame

    def parts(self, name: str) -> Iterator[pd.DataFrame]:
        """A table in one part; see `StoredConfirm`."""
        yield getattr(self, name)


_CONFIRM = frozenset(field.name for field in fields(ConfirmObservations))

_COMPACT = frozenset(("items", "scores", "latents", "fidelity", "tokens"))
"""Tables that grow with the items; the others are of subsamples, of latents or of pictures."""


class StoredConfirm:
    """`ConfirmObservations` in their files: each is read where it is asked for, and not kept.

    Large tables are compact. What is never asked for is checked by `check_others`.

    Args:
        files: By path below ``observations/``.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._asked: set[str] = set()

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name not in _CONFIRM:
            raise AttributeError(name)
        return read_table(self._files, self._path(name), compact=name in _COMPACT)

    def parts(self, name: str) -> Iterator[pd.DataFrame]:
        """Some rows of a table after the other, each part compact."""
        return read_parts(self._files, self._path(name))

    def _path(self, name: str) -> str:
        self._asked.add(name)
        [file] = (file for file in CONFIRM_FILES if file.split(".")[0] == name)
        return f"confirm/{file}"

    def check_others(self) -> None:
        """Read every table that was not asked for.

        Raises:
            PlanError: A file is missing or does not hold what its name says.
        """
        for name in _CONFIRM - self._asked:
            for _ in self.parts(name):
                pass


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Digest of each file, by path."""
    found = {}
    for path in sorted(files):
        with _opened(files, path) as file:
            found[path] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    return found


def fit_digest(digests: Mapping[str, str]) -> str:
    """One digest over those of the fit files; the lock names it."""
    return digest_of({path: d for path, d in sorted(digests.items()) if path.startswith("fit/")})


def empty_table(columns: tuple[str, ...]) -> pd.DataFrame:
    """A table without rows, with the columns' types."""
    return _schema(columns).empty_table().to_pandas()


def table_path(path: str, rows: int) -> str:
    """The path of a table with so many rows: a CSV table is Parquet where it is large.

    Args:
        path: That of a small one, such as ``fit/scores.csv``.
        rows: How many it has.
    """
    return names_of(path)[-1 if rows > LARGE else 0]


def found_path(files: Collection[str], path: str) -> str:
    """Where a table lies.

    Args:
        files: Paths below ``observations/``.
        path: That of a small one, such as ``fit/scores.csv``.

    Raises:
        PlanError: It is not there, or there twice.
    """
    found = [name for name in names_of(path) if name in files]
    if not found:
        raise PlanError(f"observations/{path}: no such file", hint="the pack is incomplete")
    if len(found) > 1:
        raise PlanError(
            f"observations/{path}: {found[1]} is there as well", hint="one table has one file"
        )
    return found[0]


def table_bytes(table: pd.DataFrame, path: str) -> bytes:
    """A table as the file that ``path`` names, rows in their order.

    Args:
        table: With the file's columns; others are left out.
        path: Such as ``fit/scores.csv``.

    Raises:
        PlanError: A column is missing or of another type, or a row stands twice.
    """
    columns, keys = columns_of(path)
    _refuse_missing(table, path)
    ordered = _ordered(table[list(columns)], path, columns[:keys])
    sink = io.BytesIO()
    with rows_writer(sink, path) as rows:
        rows.add(arrow_table(ordered, path))
    return sink.getvalue()


def arrow_table(table: pd.DataFrame, path: str) -> pa.Table:
    """Rows in the types of a file, as they stand.

    Raises:
        PlanError: A column is missing or of another type.
    """
    columns, _ = columns_of(path)
    _refuse_missing(table, path)
    schema = _schema(columns)
    try:
        arrays = [_array(table[field.name], field.type) for field in schema]
    except (pa.ArrowException, TypeError) as error:
        raise PlanError(f"observations/{path}: cannot be written: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(column: pd.Series, kind: pa.DataType) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):  # else each text becomes an object first
        codes = column.cat.codes.to_numpy()
        names = pa.array(column.cat.categories, type=kind)
        numbered = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), names)
        return pc.cast(numbered, kind, memory_pool=WRITING)
    return pa.array(column, type=kind, memory_pool=WRITING)


class ParquetRows:
    """A Parquet file that is being written, with nothing of pandas or of the machine in it.

    Rows are collected until they fill a group, whose last row follows from the rows alone, so that
    the file does not tell how they came.

    Args:
        sink: Where it is written.
        path: Says which columns it has.
    """

    def __init__(self, sink: BinaryIO, path: str) -> None:
        self._schema = schema = _schema(columns_of(path)[0])
        self._sink, self._path = sink, path
        self._writer = pq.ParquetWriter(
            sink, schema, compression="zstd", store_schema=False, memory_pool=WRITING
        )
        self._parts: list[pa.Table] = []
        self._rows = self._held = self._values = self._bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Add rows that follow those before.

        Raises:
            PlanError: The table is larger than one that `read_table` reads.
        """
        values = sum(map(_values, rows.columns))
        self._values += int(values.sum())
        self._bytes += sum(map(_unpacked_bytes, rows.columns))
        too_large = self._values > MAX_VALUES or self._bytes > MAX_UNPACKED
        if too_large or self._sink.tell() > MAX_FILE:
            raise PlanError(
                f"observations/{self._path}: larger than a table that can be read back",
                hint="run fewer items, with 'subset' in audit.yaml, or fewer SAEs",
            )
        while (room := self._room(values)) <= len(rows):
            self._take(rows.slice(0, room), values[:room])
            self._write()
            rows, values = rows.slice(room), values[room:]
        self._take(rows, values)

    def _room(self, values: np.ndarray) -> int:
        """Rows with so many values each that the group takes; more than there are: all of them."""
        full = np.searchsorted(np.cumsum(values), GROUP_VALUES - self._held)
        return min(GROUP_ROWS - self._rows, int(full) + 1)

    def _take(self, rows: pa.Table, values: np.ndarray) -> None:
        self._parts.append(rows)
        self._rows += len(rows)
        self._held += int(values.sum())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Write what is left, and the footer."""
        if kind is None and self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        group = pa.concat_tables(self._parts)
        self._parts, self._rows, self._held = [], 0, 0
        arrays = []
        while group.num_columns:  # a column at a time, so that no two groups are held
            arrays.append(_whole(group.column(0)))
            group = group.remove_column(0)
        whole = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(whole, row_group_size=GROUP_ROWS)


def packed(rows: pa.Table) -> pa.Table:
    """Rows whose vectors, which are long and nearly all zeros, take little until written."""
    if "vector" not in rows.column_names:
        return rows
    vectors = [_without_zeros(part) for part in rows["vector"].chunks]
    place = rows.schema.get_field_index("vector")
    return rows.set_column(place, "vector", pa.chunked_array(vectors))


class CsvRows:
    """A CSV file that is being written, rows in their order.

    Args:
        sink: Where it is written.
        path: Says which columns it has.
    """

    def __init__(self, sink: BinaryIO, path: str) -> None:
        columns, _ = columns_of(path)
        self._sink = sink
        sink.write((",".join(columns) + "\n").encode())

    def add(self, rows: pa.Table) -> None:
        """Add rows that follow those before."""
        for start in range(0, len(rows), CSV_ROWS):
            self._sink.write(_csv_lines(rows.slice(start, CSV_ROWS).to_pandas()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be written."""


def read_table(files: Mapping[str, bytes], path: str, *, compact: bool = False) -> pd.DataFrame:
    """Read one table and check it: columns, types, finite numbers, each row once and in order.

    Args:
        files: By path below ``observations/``; see `Opens`.
        path: That of a small one, such as ``fit/scores.csv``; its name says which columns are
            expected.
        compact: Text as categories, sorted, and lists as arrays of Arrow (`flat`, `vectors`).

    Returns:
        Text as ``str``; scores as float64 that hold float32 values, so that a score which equals
        a cut-off does not differ in its tenth digit; lists as one array a row.

    Raises:
        PlanError: The file is missing or holds something else.
    """
    path = found_path(files, path)
    with _opened(files, path) as file:
        table = _checked(list(_batches(file, path)), path)
    pa.default_memory_pool().release_unused()
    return table if compact else _plain(table)


def read_parts(files: Mapping[str, bytes], path: str) -> Iterator[pd.DataFrame]:
    """Read one table part by part, each compact and in order; checked as by `read_table`.

    Args:
        files: By path below ``observations/``; see `Opens`.
        path: That of a small one, such as ``fit/scores.csv``.

    Raises:
        PlanError: The file is missing or holds something else.
    """
    path = found_path(files, path)
    columns, keys = columns_of(path)
    last: tuple[Any, ...] | None = None
    try:
        with _opened(files, path) as file:
            for batch in _batches(file, path):
                part = _checked([batch], path)
                if not len(part):
                    continue
                ends = part[list(columns[:keys])].iloc[[0, -1]].itertuples(index=False, name=None)
                first, after = ends
                if last is not None and last >= first:
                    raise PlanError(f"observations/{path}: parts are out of order")
                last = after
                yield part
    except PlanError:
        read_table(files, path)  # which says of all rows where it is
        raise
    finally:
        pa.default_memory_pool().release_unused()


def of_variant(table: pd.DataFrame, variant: Variant) -> np.ndarray:
    """Which rows are of one language, modality and rendering, booleans [n]."""
    chosen = [(table[name] == value).to_numpy() for name, value in variant._asdict().items()]
    return np.logical_and.reduce(chosen).astype(bool)


def coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """A column of text as places in a list of what occurs: whole numbers [n], and the list."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories
    return pd.factorize(column)


def places_of(column: pd.Series, among: pd.Series) -> np.ndarray:
    """Where each text of a column stands in another that has none twice, int64 [n]; -1: nowhere."""
    codes, names = coded(column)
    own, listed = coded(among)
    row = np.full(len(listed), -1)
    row[own] = np.arange(len(own))
    if names.equals(listed):
        return row[codes]
    found = pc.index_in(pa.array(names, pa.string()), value_set=pa.array(listed, pa.string()))
    return np.append(row, -1)[found.fill_null(-1).to_numpy()][codes]


def vectors(column: pd.Series) -> np.ndarray:
    """A column of equally long vectors as one array, float64 [n, d].

    Raises:
        PlanError: Lengths differ, or there are no vectors.
    """
    try:
        if not isinstance(column.dtype, pd.ArrowDtype):
            return np.stack([np.asarray(v, dtype=np.float64) for v in column])
        if pa.types.is_struct(column.dtype.pyarrow_dtype):
            return _dense(_arrow(column).combine_chunks())
        values, lengths = flat(column)
        return values.astype(np.float64).reshape(len(lengths), _one(lengths))
    except (ValueError, TypeError) as error:
        raise PlanError("observations: vectors of different lengths or none at all") from error


def flat(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The lists of a column one after the other, and how long each is."""
    if not isinstance(column.dtype, pd.ArrowDtype):
        lengths = np.array([len(one) for one in column], dtype=np.int64)
        return np.concatenate([np.empty(0), *column]), lengths
    lists = _arrow(column)
    lengths = pc.list_value_length(lists).to_numpy()
    return pc.list_flatten(lists).to_numpy(), lengths


def _arrow(column: pd.Series) -> pa.ChunkedArray:
    return pa.chunked_array(column.array.__arrow_array__())


def _one(lengths: np.ndarray) -> int:
    """What all lengths are.

    Raises:
        ValueError: They differ, or there is none.
    """
    if not len(lengths) or (lengths != lengths[0]).any():
        raise ValueError("no common length")
    return int(lengths[0])


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """How many each row has, those in lists counted one by one: int64 [rows]."""
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, [0]).to_numpy().astype(np.int64)
    if not pa.types.is_list(column.type):
        return np.ones(len(column), dtype=np.int64)
    return pc.list_value_length(column).to_numpy().astype(np.int64)


def _unpacked_bytes(column: pa.ChunkedArray) -> int:
    packed = pa.types.is_struct(column.type)
    return 4 * (int(_values(column).sum()) + len(column)) if packed else column.nbytes


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, as it is stored."""
    if not pa.types.is_struct(column.type):
        return column.combine_chunks(WRITING)
    lengths, places, values = column.combine_chunks(WRITING).flatten()
    starts = np.append(0, np.cumsum(lengths.to_numpy()))
    rows = np.repeat(starts[:-1], pc.list_value_length(places))
    found = np.zeros(starts[-1], dtype=np.float32)
    found[rows + places.flatten().to_numpy()] = values.flatten().to_numpy()
    return pa.ListArray.from_arrays(starts.astype(np.int32), found)


def columns_of(path: str) -> tuple[tuple[str, ...], int]:
    """The columns of a file, and how many of the first identify a row.

    Raises:
        PlanError: No table is called so.
    """
    name = PurePosixPath(path).name
    small = next((table for table in _TABLES if name in names_of(table)), None)
    if small is None:
        raise PlanError(f"observations/{path}: no table is called {name}")
    return _TABLES[small]


def _refuse_missing(table: pd.DataFrame, path: str) -> None:
    missing = [name for name in columns_of(path)[0] if name not in table]
    if missing:
        raise PlanError(f"observations/{path}: no column {missing[0]!r}")


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns])


def rows_writer(sink: BinaryIO, path: str) -> "ParquetRows | CsvRows":
    """What writes a table to the file that ``path`` names."""
    return CsvRows(sink, path) if path.endswith(".csv") else ParquetRows(sink, path)


def _csv_lines(table: pd.DataFrame) -> bytes:
    printed = {
        name: table[name].astype(np.float64).map(_PRINTED[_TYPES[name]].format)
        for name in table
        if _TYPES.get(name) in _PRINTED
    }
    lines = table.assign(**printed).to_csv(index=False, header=False, lineterminator="\n")
    return lines.encode("utf-8")


def _opened(files: Mapping[str, bytes], path: str) -> BinaryIO:
    return files.open(path) if isinstance(files, Opens) else io.BytesIO(files[path])


def _batches(file: BinaryIO, path: str) -> Iterator[pa.RecordBatch]:
    """The rows of a table, with text as dictionaries; numbers are not looked at.

    Raises:
        PlanError: The file cannot be read, or has other columns.
    """
    columns, _ = columns_of(path)
    read = _csv_batches if path.endswith(".csv") else _parquet_batches
    try:
        yield from read(file, path, _schema(columns))
    except (OSError, pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise PlanError(f"observations/{path}: cannot be read: {error}") from error


def _checked(batches: list[pa.RecordBatch], path: str) -> pd.DataFrame:
    """A compact table of some rows. The list is emptied."""
    columns, keys = columns_of(path)
    schema = _schema(columns)
    joined = pa.Table.from_batches(batches) if batches else schema.empty_table()
    batches.clear()
    for field in schema:
        _check_column(joined.column(field.name), path, field)
    parts = dict(zip(joined.column_names, joined.columns, strict=True))
    del joined
    table = pd.DataFrame({name: _column(parts.pop(name), name) for name in columns}, copy=False)
    _check_whole(table, path)
    if "split" in columns:
        _check_splits(table, path)
    if "starts" in columns:
        _check_places(table, path)
    if "kind" in columns:
        _check_kinds(table, path)
    _check_order(table, path, columns[:keys])
    return table


def _csv_batches(file: BinaryIO, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    header = file.readline(10_000).decode("utf-8", "replace")
    _check_columns(tuple(header.rstrip("\r\n").split(",")), path, tuple(schema.names))
    file.seek(0)
    if sum(part.count(b"\n") for part in _parts(file)) > MAX_ROWS:
        raise PlanError(f"observations/{path}: more than {MAX_ROWS:,} lines")
    file.seek(0)
    chunks = pd.read_csv(
        file,
        dtype={field.name: _read_as(field.type) for field in schema},
        keep_default_na=False,
        na_values={field.name: ["", "nan"] for field in schema if field.type in _PRINTED},
        encoding="utf-8",
        chunksize=_CELLS_AT_ONCE // len(schema),
    )
    return (_csv_batch(chunk, path, schema) for chunk in chunks)


def _csv_batch(chunk: pd.DataFrame, path: str, schema: pa.Schema) -> pa.RecordBatch:
    if not isinstance(chunk.index, pd.RangeIndex):
        raise PlanError(f"observations/{path}: rows have more fields than the first line")
    arrays = [
        pa.array(chunk[field.name], pa.string()).dictionary_encode()
        if field.type == pa.string()
        else pa.array(chunk[field.name].to_numpy())
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(1 << 20):
        yield part


def _read_as(kind: pa.DataType) -> str:
    """How pandas reads a CSV column; float32 is read in full and rounded after."""
    if kind == pa.string():
        return "str"
    return "float64" if kind in _PRINTED else str(kind)


class _Slices:
    """The bytes of a file, of which slices are read when they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(stop - start, 0))


def _parquet_batches(file: BinaryIO, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """All rows, a few at a time, so that a table that unpacks without end is left in time."""
    with pq.ParquetFile(file) as parquet:
        _check_columns(tuple(parquet.schema_arrow.names), path, tuple(schema.names))
        for field in schema:
            _check_type(parquet.schema_arrow.field(field.name).type, path, field)
        metadata = parquet.metadata
    pages = read_pages(_Slices(file), metadata)
    _refuse_bomb(pages, path)
    wide = 8 * pages.values // max(metadata.num_rows, 1)  # bytes of a row whose lists are usual
    rows = max(1, _BATCH_BYTES // max(wide, 1))
    texts = [field.name for field in schema if field.type == pa.string()]
    total = 0
    with pq.ParquetFile(file, metadata=metadata, read_dictionary=texts) as parquet:
        for batch in parquet.iter_batches(batch_size=rows, use_threads=False):
            batch.validate(full=True)
            total += sum(map(_unpacked, batch.columns))
            if total > MAX_UNPACKED:
                raise PlanError(f"observations/{path}: unpacks to more than {MAX_UNPACKED:,} bytes")
            yield _packed(batch)


def _unpacked(column: pa.Array) -> int:
    """Bytes, each text as often as it stands there."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)
    return int(lengths[column.indices.drop_null().to_numpy()].sum())


def _packed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """With vectors without their zeros."""
    arrays = [
        _without_zeros(column) if name == "vector" else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _without_zeros(column: pa.ListArray) -> pa.StructArray:
    """Vectors of counts are long, and nearly all zeros."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    starts = np.append(0, np.cumsum(pc.fill_null(pc.list_value_length(column), 0)))
    kept = np.flatnonzero(values.view(np.uint32))  # which keeps a zero that has a sign
    offsets = np.searchsorted(kept, starts).astype(np.int32)
    places = (kept - np.repeat(starts[:-1], np.diff(offsets))).astype(np.int32)
    found = [np.diff(starts).astype(np.int32),
             pa.ListArray.from_arrays(offsets, places),
             pa.ListArray.from_arrays(offsets, values[kept])]  # fmt: skip
    return pa.StructArray.from_arrays(found, fields=list(_VECTOR), mask=column.is_null())


def _dense(column: pa.StructArray) -> np.ndarray:
    """Vectors of one length with their zeros, float64 [n, d].

    Raises:
        ValueError: Lengths differ, or there is none.
    """
    lengths, places, values = column.flatten()
    found = np.zeros((len(column), _one(lengths.to_numpy())))
    rows = np.repeat(np.arange(len(column)), pc.list_value_length(places))
    found[rows, places.flatten().to_numpy()] = values.flatten().to_numpy()
    return found


def _each_dense(column: pd.Series) -> Iterator[np.ndarray]:
    """Vectors with their zeros, float32, whatever their lengths."""
    lengths, places, values = _arrow(column).combine_chunks().flatten()
    ends = np.cumsum(pc.list_value_length(places))
    at, kept = places.flatten().to_numpy(), values.flatten().to_numpy()
    for start, end, length in zip(np.append(0, ends), ends, lengths.to_numpy(), strict=False):
        found = np.zeros(length, dtype=np.float32)
        found[at[start:end]] = kept[start:end]
        yield found


def _column(column: pa.ChunkedArray, name: str) -> object:
    kind = column.type
    if pa.types.is_string(kind):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        return _categories(column)
    if pa.types.is_nested(kind):
        return pd.array(column, dtype=pd.ArrowDtype(kind))
    values = column.to_numpy()
    if _TYPES[name] == pa.float32():
        return values.astype(np.float32).astype(np.float64)
    return values


def _categories(column: pa.ChunkedArray) -> pd.Categorical:
    """Text as places in the sorted list of what occurs."""
    column = column.unify_dictionaries()
    names = column.chunk(0).dictionary if column.num_chunks else pa.array([], pa.string())
    found = [chunk.indices.to_numpy() for chunk in column.chunks]
    there = np.zeros(len(names), dtype=bool)
    for indices in found:
        there[indices] = True
    order = pc.array_sort_indices(names).to_numpy()
    order = order[there[order]]
    places = np.zeros(len(names), dtype=np.min_scalar_type(-max(len(order), 1)))
    places[order] = np.arange(len(order))
    codes = np.concatenate([places[:0], *(places[indices] for indices in found)])
    return pd.Categorical.from_codes(codes, pd.Index(names.take(pa.array(order)), dtype="str"))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """A compact table with text as ``str`` and one array for each list."""
    found = {}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            found[name] = column.astype("str")
        elif name == "vector":
            found[name] = pd.Series(list(_each_dense(column)), dtype=object)
        elif isinstance(column.dtype, pd.ArrowDtype):
            found[name] = _arrow(column).to_pandas()
        else:
            found[name] = column
    return pd.DataFrame(found)


def _refuse_bomb(pages: Pages, path: str) -> None:
    where = f"observations/{path}"
    if pages.values > MAX_VALUES:
        raise PlanError(f"{where}: {pages.values:,} values, at most {MAX_VALUES:,} are read")
    if pages.bytes > MAX_UNPACKED or pages.largest_page > MAX_PAGE:
        raise PlanError(f"{where}: unpacks to {pages.bytes:,} bytes, which is more than is read")


def _check_type(found: pa.DataType, path: str, field: pa.Field) -> None:
    if not found.equals(field.type):
        raise PlanError(f"observations/{path}: {field.name} is {found}, expected {field.type}")


def _check_column(column: pa.ChunkedArray, path: str, field: pa.Field) -> None:
    """With no value missing and every number finite, in lists too."""
    if column.null_count:
        row = int(np.argmin(column.is_valid().to_numpy())) + 1
        raise PlanError(f"observations/{path}, row {row}: {field.name} is missing")
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "values")
    if pa.types.is_list(field.type):
        fine = pc.fill_null(pc.is_finite(pc.list_flatten(column)), False)
        if not pc.all(fine, min_count=0).as_py():
            ends = np.cumsum(pc.list_value_length(column))
            row = int(np.searchsorted(ends, np.argmin(fine.to_numpy()), side="right"))
            _check_finite(np.arange(len(column)) != row, path, field.name)
    elif pa.types.is_floating(field.type):
        _check_finite(pc.is_finite(column).to_numpy(), path, field.name)


def _check_columns(found: tuple[str, ...], path: str, columns: tuple[str, ...]) -> None:
    if found != columns:
        raise PlanError(
            f"observations/{path}: found columns {list(found[:40])}, expected {list(columns)}"
        )


def _check_finite(fine: np.ndarray, path: str, name: str) -> None:
    if not fine.all():
        raise PlanError(
            f"observations/{path}, row {int(np.argmin(fine)) + 1}: {name} is not a number"
        )


def _check_whole(table: pd.DataFrame, path: str) -> None:
    """Whole numbers are counts or places: none is below zero."""
    for name in table:
        kind = _TYPES.get(name, pa.string())
        if pa.types.is_integer(kind) and (table[name] < 0).any():
            row = int(np.argmax(table[name].to_numpy() < 0)) + 1
            raise PlanError(f"observations/{path}, row {row}: {name} is below zero")


def _check_splits(table: pd.DataFrame, path: str) -> None:
    unknown = set(table["split"].cat.categories) - {"discover", "calibrate", "confirm"}
    if unknown:
        raise PlanError(f"observations/{path}: no split is called {min(unknown)!r}")


def _check_places(table: pd.DataFrame, path: str) -> None:
    """Each token has its characters and its activation."""
    (starts, n_starts), (ends, n_ends), (_, n_values) = (
        flat(table[name]) for name in ("starts", "ends", "activations")
    )
    uneven = (n_starts != n_ends) | (n_starts != n_values)
    whole = int(np.argmax(uneven)) if uneven.any() else len(table)
    before = int(n_starts[:whole].sum())  # tokens of rows that are even, up to the first that isn't
    odd = (starts[:before] < 0) | (starts[:before] > ends[:before])
    if odd.any():
        row = int(np.searchsorted(np.cumsum(n_starts), np.argmax(odd), side="right")) + 1
        raise PlanError(
            f"observations/{path}, row {row}: a token starts below zero or behind its end"
        )
    if whole < len(table):
        raise PlanError(
            f"observations/{path}, row {whole + 1}: {n_starts[whole]} starts, {n_ends[whole]} ends "
            f"and {n_values[whole]} activations"
        )


def _check_kinds(table: pd.DataFrame, path: str) -> None:
    if unknown := set(table["kind"].cat.categories) - set(FEATURE_KINDS):
        raise PlanError(f"observations/{path}: no kind of fact is called {min(unknown)!r}")


def _check_order(table: pd.DataFrame, path: str, keys: tuple[str, ...]) -> None:
    """Each row is greater than the one before, so none stands twice."""
    steps = _steps(_places(table, keys))
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        name = "/".join(str(table[key].iloc[row]) for key in keys)
        problem = "stands there twice" if steps[row - 1] == 0 else "is out of order"
        raise PlanError(f"observations/{path}, row {row + 1}: {name} {problem}")


def _ordered(table: pd.DataFrame, path: str, keys: tuple[str, ...]) -> pd.DataFrame:
    places = _places(table, keys)
    if (_steps(places) <= 0).any():
        table = table.iloc[np.lexsort(places[::-1])]
        _check_order(table, path, keys)
    return table


def _places(table: pd.DataFrame, keys: tuple[str, ...]) -> list[np.ndarray]:
    """For each key column whole numbers in the order of its values."""
    return [_in_order(table[key]) for key in keys]


def _in_order(column: pd.Series) -> np.ndarray:
    if column.name in _TYPES:
        values = column.to_numpy()
        return values if values.dtype.kind == "i" else values.astype(np.int64)
    sorted_names = isinstance(column.dtype, pd.CategoricalDtype) and (
        column.cat.categories.is_monotonic_increasing
    )
    return column.cat.codes.to_numpy() if sorted_names else pd.factorize(column, sort=True)[0]


def _steps(places: list[np.ndarray]) -> np.ndarray:
    """Sign of each row's key less that of the row before, int8 [n - 1]."""
    found = np.zeros(max(len(places[0]) - 1, 0), dtype=np.int8)
    for column in reversed(places):
        before, after = column[:-1], column[1:]
        step = (after > before).astype(np.int8) - (after < before).astype(np.int8)
        found = np.where(step != 0, step, found)
    return found
