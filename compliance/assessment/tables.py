"""The observation tables: how they become bytes and come back.

Everything is computed from tables as they are read back, by the producer and by an auditor
alike; so no digit can lie in memory that is not in the pack.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from compliance.errors import PlanError
from compliance.records.base import digest_bytes, digest_of
from compliance.records.observation import (
    FIDELITY_COLUMNS,
    ITEM_COLUMNS,
    RESIDUAL_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
)

_WHOLE = {"tokens": "int64", "beyond_context": "int64", "excluded_sinks": "int64"}
_TEXT = {
    name: "string" for name in (*ITEM_COLUMNS, *SCORE_COLUMNS) if name not in {*_WHOLE, "score"}
}
_PARQUET = {
    SEARCH_COLUMNS: pa.schema(
        [("concept", pa.string()), ("item", pa.string()), ("sae", pa.int32()),
         ("latent", pa.int32()), ("score", pa.float32())]
    ),
    RESIDUAL_COLUMNS: pa.schema(
        [("concept", pa.string()), ("item", pa.string()), ("hook_name", pa.string()),
         ("vector", pa.list_(pa.float32()))]
    ),
    FIDELITY_COLUMNS: pa.schema(
        [("item", pa.string()), ("sae", pa.int32()), ("tokens", pa.int64()),
         ("error", pa.float64()), ("squares", pa.float64()), ("l0", pa.float64()),
         ("sums", pa.list_(pa.float32()))]
    ),
}  # fmt: skip


@dataclass(frozen=True)
class FitObservations:
    """What a run saw of the discover and calibrate splits."""

    items: pd.DataFrame
    scores: pd.DataFrame
    search: pd.DataFrame
    residuals: pd.DataFrame

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "FitObservations":
        """Read the tables from files by path below ``observations/``."""
        return cls(
            items=read_csv(files, "fit/items.csv", ITEM_COLUMNS),
            scores=read_csv(files, "fit/scores.csv", SCORE_COLUMNS),
            search=read_parquet(files, "fit/search.parquet", SEARCH_COLUMNS),
            residuals=read_parquet(files, "fit/residuals.parquet", RESIDUAL_COLUMNS),
        )

    def to_files(self) -> dict[str, bytes]:
        """The tables as files by path below ``observations/``."""
        return {
            "fit/items.csv": csv_bytes(self.items, ITEM_COLUMNS),
            "fit/scores.csv": csv_bytes(self.scores, SCORE_COLUMNS),
            "fit/search.parquet": parquet_bytes(self.search, SEARCH_COLUMNS),
            "fit/residuals.parquet": parquet_bytes(self.residuals, RESIDUAL_COLUMNS),
        }


@dataclass(frozen=True)
class ConfirmObservations:
    """What a run saw of the confirm split."""

    items: pd.DataFrame
    scores: pd.DataFrame
    fidelity: pd.DataFrame

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "ConfirmObservations":
        """Read the tables from files by path below ``observations/``."""
        return cls(
            items=read_csv(files, "confirm/items.csv", ITEM_COLUMNS),
            scores=read_csv(files, "confirm/scores.csv", SCORE_COLUMNS),
            fidelity=read_parquet(files, "confirm/fidelity.parquet", FIDELITY_COLUMNS),
        )

    def to_files(self) -> dict[str, bytes]:
        """The tables as files by path below ``observations/``."""
        return {
            "confirm/items.csv": csv_bytes(self.items, ITEM_COLUMNS),
            "confirm/scores.csv": csv_bytes(self.scores, SCORE_COLUMNS),
            "confirm/fidelity.parquet": parquet_bytes(self.fidelity, FIDELITY_COLUMNS),
        }


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Digest of each file, by path."""
    return {path: digest_bytes(files[path]) for path in sorted(files)}


def fit_digest(digests: Mapping[str, str]) -> str:
    """One digest over those of the fit files; the lock names it."""
    return digest_of({path: d for path, d in sorted(digests.items()) if path.startswith("fit/")})


def csv_bytes(table: pd.DataFrame, columns: tuple[str, ...]) -> bytes:
    """CSV with the given columns. Nine digits tell any two float32 numbers apart."""
    return table.to_csv(
        columns=list(columns), index=False, float_format="%.9g", lineterminator="\n"
    ).encode("utf-8")


def parquet_bytes(table: pd.DataFrame, columns: tuple[str, ...]) -> bytes:
    """Parquet with the given columns and nothing of pandas or of the machine in its metadata."""
    schema = _PARQUET[columns]
    arrays = [pa.array(list(table[f.name]), type=f.type) for f in schema]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd", store_schema=False
    )
    return sink.getvalue()


def read_csv(files: Mapping[str, bytes], path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read one CSV table and check its columns and that its numbers are finite.

    Raises:
        PlanError: The file is missing, empty of columns, or holds something else.
    """
    types = {name: _TEXT[name] for name in columns if name in _TEXT}
    try:
        table = pd.read_csv(
            io.BytesIO(_file(files, path)), dtype=types | _whole(columns), keep_default_na=False,
            na_values={"score": [""]}, encoding="utf-8",
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise PlanError(f"observations/{path}: cannot be read: {error}") from error
    _check(table, path, columns)
    if "score" in columns:
        _check_numbers(table["score"], path)
        # cut-offs are float32, and a score that equals one must not differ in its tenth digit
        table["score"] = table["score"].astype(np.float32).astype(np.float64)
    else:
        _check_splits(table, path)
    _check_unique(table, path)
    return table


def read_parquet(files: Mapping[str, bytes], path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read one Parquet table and check its columns and that its numbers are finite.

    Raises:
        PlanError: The file is missing or holds something else.
    """
    try:
        table = pq.read_table(io.BytesIO(_file(files, path))).to_pandas()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise PlanError(f"observations/{path}: cannot be read: {error}") from error
    _check(table, path, columns)
    for name in set(columns) & {"score", "error", "squares", "l0"}:
        _check_numbers(table[name], path)
    return table


def vectors(column: pd.Series) -> np.ndarray:
    """A column of equally long vectors as one array, float64 [n, d].

    Raises:
        PlanError: Lengths differ or a number is not finite.
    """
    try:
        found = np.stack([np.asarray(v, dtype=np.float64) for v in column])
    except (ValueError, TypeError) as error:
        raise PlanError("observations: vectors of different lengths or none at all") from error
    if not np.isfinite(found).all():
        raise PlanError("observations: a vector holds a number that is not finite")
    return found


def _file(files: Mapping[str, bytes], path: str) -> bytes:
    if path not in files:
        raise PlanError(f"observations/{path}: no such file", hint="the pack is incomplete")
    return files[path]


def _whole(columns: tuple[str, ...]) -> dict[str, str]:
    return {name: kind for name, kind in _WHOLE.items() if name in columns}


def _check(table: pd.DataFrame, path: str, columns: tuple[str, ...]) -> None:
    if tuple(table.columns) != columns:
        raise PlanError(
            f"observations/{path}: found columns {list(table.columns)}, expected {list(columns)}"
        )


def _check_splits(table: pd.DataFrame, path: str) -> None:
    unknown = set(table["split"]) - {"discover", "calibrate", "confirm"}
    if unknown:
        raise PlanError(f"observations/{path}: no split is called {min(unknown)!r}")


def _check_unique(table: pd.DataFrame, path: str) -> None:
    """One row for each item, or for each item, concept and scorer."""
    keys = [name for name in ("item", "concept", "scorer") if name in table]
    twice = table.duplicated(keys if "scorer" in table else ["item"])
    if twice.any():
        raise PlanError(
            f"observations/{path}, row {int(np.argmax(twice)) + 1}: "
            f"{table['item'][int(np.argmax(twice))]} stands there twice"
        )


def _check_numbers(column: pd.Series, path: str) -> None:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    if bad.any():
        raise PlanError(
            f"observations/{path}, row {int(np.argmax(bad)) + 1}: {column.name} is not a number"
        )
