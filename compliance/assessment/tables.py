"""The observation tables: how they become bytes and come back.

Everything is computed from tables as they are read back, by the producer and by an auditor
alike; so no digit can lie in memory that is not in the pack::

    fit = FitObservations.from_files(files)
    files = fit.to_files()

A file's name says which columns it has, a column's name which type. Rows stand in the order of
the columns that identify them; a table in another order, or with a row twice, is refused.

A table that is CSV is Parquet where it is large: `table_path` says which when it is written, and
`found_path` where it lies. Callers ask for it by the name that it has where it is small.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import BinaryIO, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compliance.errors import PlanError
from compliance.parquet import Pages, read_pages
from compliance.records.base import digest_bytes, digest_of
from compliance.records.observation import (
    COFIRING_COLUMNS,
    CONFIRM_FILES,
    FEATURE_COLUMNS,
    FEATURE_KINDS,
    FIDELITY_COLUMNS,
    FIRING_COLUMNS,
    FIT_FILES,
    ITEM_COLUMNS,
    LOSS_COLUMNS,
    MAX_FILE,
    MEAN_COLUMNS,
    NEIGHBOUR_COLUMNS,
    PATCH_COLUMNS,
    PRECISION_COLUMNS,
    REPEAT_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
    SHIFT_COLUMNS,
    TOKEN_COLUMNS,
    VECTOR_COLUMNS,
    names_of,
)
from compliance.records.suite import Variant

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
    **dict.fromkeys(("vector", "activations"), pa.list_(pa.float32())),
    "mean": pa.list_(pa.float64()),
    **dict.fromkeys(("l0", "starts", "ends"), pa.list_(pa.int32())),
}
"""Type of each column that is not text. Scores are float32, sums need all digits."""

LARGE = 200_000
"""Rows of a CSV table beyond which it is written as Parquet instead."""

GROUP_ROWS = 1 << 16
"""Rows of one row group of a Parquet table."""

MAX_ROWS = 10_000_000
"""Lines of a CSV table that are read."""

MAX_VALUES = 300_000_000
"""Values of a Parquet table that are read, those in lists counted one by one."""

MAX_UNPACKED = 1 << 31
"""Bytes that a Parquet table may take once it is unpacked."""

MAX_PAGE = 1 << 28
_MOST_AT_ONCE = 1 << 16
_BATCH_BYTES = 1 << 26

_PRINTED = {pa.float32(): "{:.9g}", pa.float64(): "{:.17g}"}
"""Digits that tell any two numbers of a type apart."""


class _Observations:
    """A dataclass of tables: its fields are the files of one folder, in their order."""

    folder: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read the tables from files by path below ``observations/``.

        Raises:
            PlanError: A file is missing or does not hold what its name says.
        """
        return cls(*(read_table(files, path) for path in cls._paths()))

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


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Digest of each file, by path."""
    return {path: digest_bytes(files[path]) for path in sorted(files)}


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
    return _csv(ordered) if path.endswith(".csv") else _parquet(ordered, path)


def arrow_table(table: pd.DataFrame, path: str) -> pa.Table:
    """Rows in the types of a file, as they stand.

    Raises:
        PlanError: A column is missing or of another type.
    """
    columns, _ = columns_of(path)
    _refuse_missing(table, path)
    schema = _schema(columns)
    try:
        arrays = [pa.array(table[field.name], type=field.type) for field in schema]
    except (pa.ArrowException, TypeError) as error:
        raise PlanError(f"observations/{path}: cannot be written: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)


class ParquetRows:
    """A Parquet file that is being written, with nothing of pandas or of the machine in it.

    Rows are collected until they fill a group, so that the file does not tell how they came.

    Args:
        sink: Where it is written.
        path: Says which columns it has.
    """

    def __init__(self, sink: BinaryIO, path: str) -> None:
        schema = _schema(columns_of(path)[0])
        self._sink, self._path = sink, path
        self._writer = pq.ParquetWriter(sink, schema, compression="zstd", store_schema=False)
        self._rows = schema.empty_table()
        self._values = self._bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Add rows that follow those before.

        Raises:
            PlanError: The table is larger than one that `read_table` reads.
        """
        self._values += sum(map(_values, rows.columns))
        self._bytes += rows.nbytes
        too_large = self._values > MAX_VALUES or self._bytes > MAX_UNPACKED
        if too_large or self._sink.tell() > MAX_FILE:
            raise PlanError(
                f"observations/{self._path}: larger than a table that can be read back",
                hint="run fewer items, with 'subset' in audit.yaml, or fewer SAEs",
            )
        self._rows = pa.concat_tables([self._rows, rows])
        while len(self._rows) >= GROUP_ROWS:
            self._write(self._rows.slice(0, GROUP_ROWS))
            self._rows = self._rows.slice(GROUP_ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Write what is left, and the footer."""
        if kind is None and len(self._rows):
            self._write(self._rows)
        self._writer.close()

    def _write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.combine_chunks(), row_group_size=GROUP_ROWS)


def read_table(files: Mapping[str, bytes], path: str) -> pd.DataFrame:
    """Read one table and check it: columns, types, finite numbers, each row once and in order.

    Args:
        files: By path below ``observations/``.
        path: That of a small one, such as ``fit/scores.csv``; its name says which columns are
            expected.

    Returns:
        Text as ``str``; scores as float64 that hold float32 values, so that a score which equals
        a cut-off does not differ in its tenth digit; lists as one array a row.

    Raises:
        PlanError: The file is missing or holds something else.
    """
    columns, keys = columns_of(path)
    path = found_path(files, path)
    read = _read_csv if path.endswith(".csv") else _read_parquet
    table = read(files[path], path, columns)
    _check_whole(table, path)
    if "split" in columns:
        _check_splits(table, path)
    if "starts" in columns:
        _check_places(table, path)
    if "kind" in columns:
        _check_kinds(table, path)
    _check_order(table, path, columns[:keys])
    return table


def of_variant(table: pd.DataFrame, variant: Variant) -> np.ndarray:
    """Which rows are of one language, modality and rendering, booleans [n]."""
    chosen = [(table[name] == value).to_numpy() for name, value in variant._asdict().items()]
    return np.logical_and.reduce(chosen).astype(bool)


def vectors(column: pd.Series) -> np.ndarray:
    """A column of equally long vectors as one array, float64 [n, d].

    Raises:
        PlanError: Lengths differ, or there are no vectors.
    """
    try:
        return np.stack([np.asarray(v, dtype=np.float64) for v in column])
    except (ValueError, TypeError) as error:
        raise PlanError("observations: vectors of different lengths or none at all") from error


def _values(column: pa.ChunkedArray) -> int:
    """How many there are, those in lists counted one by one."""
    if not pa.types.is_list(column.type):
        return len(column)
    return int(pc.sum(pc.list_value_length(column)).as_py() or 0)


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


def _csv(table: pd.DataFrame) -> bytes:
    printed = {
        name: table[name].astype(np.float64).map(_PRINTED[_TYPES[name]].format)
        for name in table
        if _TYPES.get(name) in _PRINTED
    }
    return table.assign(**printed).to_csv(index=False, lineterminator="\n").encode("utf-8")


def _parquet(table: pd.DataFrame, path: str) -> bytes:
    sink = io.BytesIO()
    with ParquetRows(sink, path) as rows:
        rows.add(arrow_table(table, path))
    return sink.getvalue()


def _read_csv(data: bytes, path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    types = {field.name: field.type for field in _schema(columns)}
    numbers = [name for name, kind in types.items() if kind in _PRINTED]
    header = data[: data.find(b"\n") + 1 or len(data)][:10_000].decode("utf-8", "replace")
    _check_columns(tuple(header.rstrip("\r\n").split(",")), path, columns)
    if data.count(b"\n") > MAX_ROWS:
        raise PlanError(f"observations/{path}: more than {MAX_ROWS:,} lines")
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            dtype={name: _read_as(kind) for name, kind in types.items()},
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in numbers},
            encoding="utf-8",
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise PlanError(f"observations/{path}: cannot be read: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise PlanError(f"observations/{path}: rows have more fields than the first line")
    for name in numbers:
        _check_finite(np.isfinite(table[name].to_numpy()), path, name)
        if types[name] == pa.float32():
            table[name] = table[name].astype(np.float32).astype(np.float64)
    return table


def _read_as(kind: pa.DataType) -> str:
    """How pandas reads a CSV column; float32 is read in full and rounded after."""
    if kind == pa.string():
        return "str"
    return "float64" if kind in _PRINTED else str(kind)


def _read_parquet(data: bytes, path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            _check_columns(tuple(file.schema_arrow.names), path, columns)
            table = _unpacked(file, data, path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise PlanError(f"observations/{path}: cannot be read: {error}") from error
    for field in _schema(columns):
        _check_parquet_column(table.column(field.name), path, field)
    found = table.to_pandas()
    scores = [name for name in columns if _TYPES.get(name) == pa.float32()]
    return found.astype(dict.fromkeys(scores, np.float64))


def _unpacked(file: pq.ParquetFile, data: bytes, path: str) -> pa.Table:
    """All rows, a few at a time, so that a table that unpacks without end is left in time."""
    for field in _schema(tuple(file.schema_arrow.names)):
        _check_type(file.schema_arrow.field(field.name).type, path, field)
    pages = read_pages(data, file.metadata)
    _refuse_bomb(pages, path)
    rows = max(1, min(_MOST_AT_ONCE, _BATCH_BYTES // max(pages.longest_text, 1)))
    batches, total = [], 0
    for batch in file.iter_batches(batch_size=rows):
        batch.validate(full=True)
        batches.append(batch)
        total += batch.nbytes
        if total > MAX_UNPACKED:
            raise PlanError(f"observations/{path}: unpacks to more than {MAX_UNPACKED:,} bytes")
    return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _refuse_bomb(pages: Pages, path: str) -> None:
    where = f"observations/{path}"
    if pages.values > MAX_VALUES:
        raise PlanError(f"{where}: {pages.values:,} values, at most {MAX_VALUES:,} are read")
    if pages.bytes > MAX_UNPACKED or pages.largest_page > MAX_PAGE:
        raise PlanError(f"{where}: unpacks to {pages.bytes:,} bytes, which is more than is read")


def _check_type(found: pa.DataType, path: str, field: pa.Field) -> None:
    if not found.equals(field.type):
        raise PlanError(f"observations/{path}: {field.name} is {found}, expected {field.type}")


def _check_parquet_column(column: pa.ChunkedArray, path: str, field: pa.Field) -> None:
    """With no value missing and every number finite, in lists too."""
    if column.null_count:
        row = int(np.argmin(column.is_valid().to_numpy())) + 1
        raise PlanError(f"observations/{path}, row {row}: {field.name} is missing")
    if pa.types.is_list(field.type):
        lengths = pc.list_value_length(column).to_numpy()
        inner = pc.list_flatten(column)
        fine = pc.fill_null(pc.is_finite(inner), False).to_numpy()
        rows = np.repeat(np.arange(len(lengths)), lengths)
        _check_finite(np.isin(np.arange(len(lengths)), rows[~fine], invert=True), path, field.name)
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
    unknown = set(table["split"]) - {"discover", "calibrate", "confirm"}
    if unknown:
        raise PlanError(f"observations/{path}: no split is called {min(unknown)!r}")


def _check_places(table: pd.DataFrame, path: str) -> None:
    """Each token has its characters and its activation."""
    rows = zip(table["starts"], table["ends"], table["activations"], strict=True)
    for row, (starts, ends, values) in enumerate(rows, start=1):
        where = f"observations/{path}, row {row}"
        if not len(starts) == len(ends) == len(values):
            raise PlanError(
                f"{where}: {len(starts)} starts, {len(ends)} ends and {len(values)} activations"
            )
        if (starts < 0).any() or (starts > ends).any():
            raise PlanError(f"{where}: a token starts below zero or behind its end")


def _check_kinds(table: pd.DataFrame, path: str) -> None:
    if unknown := set(table["kind"]) - set(FEATURE_KINDS):
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
    return [
        table[key].to_numpy(dtype=np.int64)
        if key in _TYPES
        else pd.factorize(table[key], sort=True)[0]
        for key in keys
    ]


def _steps(places: list[np.ndarray]) -> np.ndarray:
    """Sign of each row's key less that of the row before, int64 [n - 1]."""
    found = np.zeros(max(len(places[0]) - 1, 0), dtype=np.int64)
    for column in reversed(places):
        step = np.sign(np.diff(column))
        found = np.where(step != 0, step, found)
    return found
