"""Writes a table whose rows come in parts and in any order, in bounded memory.

::

    writer = TableWriter(folder, "confirm/scores.csv")
    for part in parts:
        writer.add(part)
    path = writer.finish()

The file is byte for byte what `tables.table_bytes` makes of all rows at once. Parts are put in
order and laid aside on disk, a run of them at a time; at the end the runs are read side by side.
"""

import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from compliance.assessment.tables import (
    WRITING,
    arrow_table,
    columns_of,
    packed,
    rows_writer,
    table_path,
)
from compliance.errors import PlanError
from compliance.records.observation import names_of
from compliance.storage import replace_file

RUN_BYTES = 1 << 22
"""Bytes of parts that are held before they are laid aside."""

BATCH_BYTES = 1 << 17
"""Bytes of a run that are read at a time."""

Key = tuple[Any, ...]


def write_table(observations: Path, path: str, parts: Iterable[pd.DataFrame]) -> Path:
    """Write a table whose rows come in parts and in any order.

    Args:
        observations: Folder of the observations.
        path: That of a small table below it, such as ``confirm/scores.csv``.
        parts: Each is made when the one before has been taken.

    Returns:
        Where it is.

    Raises:
        PlanError: A column is missing or of another type, or a row stands twice.
        StorageError: There is no room.
    """
    writer = TableWriter(observations, path)
    for part in parts:
        writer.add(part)
    return writer.finish()


class TableWriter:
    """A table that is being written.

    Args:
        observations: Folder of the observations; the runs lie aside in files without a name there.
        path: That of a small table below it, such as ``confirm/scores.csv``.

    Raises:
        PlanError: No table is called so.
    """

    def __init__(self, observations: Path, path: str) -> None:
        self._folder, self._path = observations, path
        columns, keys = columns_of(path)
        self._keys = columns[:keys]
        self._parts: list[pa.Table] = []
        self._aside: list[BinaryIO] = []
        self._rows = self._bytes = 0

    def add(self, part: pd.DataFrame) -> None:
        """Add rows in any order.

        Raises:
            PlanError: A column is missing or of another type.
        """
        found = packed(arrow_table(part, self._path))
        if not len(found):
            return
        self._rows += len(found)
        self._bytes += found.nbytes
        self._parts.append(found)
        if self._bytes > RUN_BYTES:
            self._lay_aside()

    def finish(self) -> Path:
        """Write the file, and take away one that the table has under its other name.

        Returns:
            Where it is.

        Raises:
            PlanError: A row stands twice.
            StorageError: There is no room.
        """
        name = table_path(self._path, self._rows)
        target = self._folder / name
        with replace_file(target) as file, rows_writer(file, name) as rows:
            for piece in self._checked(name):
                rows.add(piece)
        for other in names_of(self._path):
            if other != name:
                (self._folder / other).unlink(missing_ok=True)
        return target

    def _lay_aside(self) -> None:
        ordered = self._in_order(self._parts)
        rows = max(1, BATCH_BYTES * len(ordered) // max(self._bytes, 1))
        self._parts, self._bytes = [], 0
        self._folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it is closed when it is read
        with pa.ipc.new_stream(file, ordered.schema) as stream:
            stream.write_table(ordered, max_chunksize=rows)
        self._aside.append(file)

    def _in_order(self, parts: list[pa.Table]) -> pa.Table:
        rows = pa.concat_tables(parts)
        by = [(key, "ascending") for key in self._keys]
        order = pc.sort_indices(rows, sort_keys=by, memory_pool=WRITING)
        return pc.take(rows, order, memory_pool=WRITING)

    def _checked(self, name: str) -> Iterator[pa.Table]:
        """All rows in their order, a few at a time; none stands twice."""
        before: list[pa.Table] = []
        for piece in self._pieces():
            self._refuse_twice(pa.concat_tables([*before, piece]), name)
            before = [piece.slice(len(piece) - 1)]
            yield piece

    def _refuse_twice(self, rows: pa.Table, name: str) -> None:
        same = np.ones(len(rows) - 1, dtype=bool)
        for key in self._keys:
            column = rows.column(key).combine_chunks()
            same &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        if same.any():
            named = "/".join(map(str, self._key(rows, int(np.argmax(same)))))
            raise PlanError(f"observations/{name}: {named} stands there twice")

    def _pieces(self) -> Iterator[pa.Table]:
        if not self._aside:
            parts, self._parts = self._parts, []
            return iter([self._in_order(parts)] if parts else [])
        if self._parts:
            self._lay_aside()
        return self._merged([_batches(file) for file in self._aside])

    def _merged(self, runs: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
        """Pieces in order. What may still come from a run lies above the last row it has shown."""
        shown = [next(run) for run in runs]
        while shown:
            last = min(self._key(table, len(table) - 1) for table in shown)
            ready, rest = [], []
            for run, table in zip(runs, shown, strict=True):
                count = bisect_right(range(len(table)), last, key=lambda i: self._key(table, i))
                ready.append(table.slice(0, count))
                left = table.slice(count) if count < len(table) else next(run, None)
                if left is not None:
                    rest.append((run, left))
            runs, shown = [run for run, _ in rest], [table for _, table in rest]
            yield self._in_order(ready)

    def _key(self, table: pa.Table, row: int) -> Key:
        return tuple(table.column(key)[row].as_py() for key in self._keys)


def _batches(file: BinaryIO) -> Iterator[pa.Table]:
    file.seek(0)
    with file, pa.ipc.open_stream(file, memory_pool=WRITING) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])
