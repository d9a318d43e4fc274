"""What a path on the command line is: a file of rows, or a folder that holds a data set.

A Hugging Face dataset folder is read without their library: what ``save_to_disk`` writes (Arrow
files and ``state.json``, below ``dataset_dict.json`` where there are splits), or shards of Parquet
that are named ``train-00000-of-00002.parquet``, in the folder or in ``data``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.documents import leads_out, open_file, read_text
from compliance.errors import SuiteError
from compliance.suites.importing.arrow_rows import read_arrow, read_parquet
from compliance.suites.importing.csv_rows import read_csv
from compliance.suites.importing.eval_rows import read_eval_log
from compliance.suites.importing.json_rows import decode, read_json_array, read_json_lines
from compliance.suites.importing.rows import Meter, Refused, Row

Reader = Callable[[Path, str, Meter], Iterator[Row | Refused]]

_TABLES: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.parquet")


@dataclass(frozen=True)
class SourceFile:
    """One file, and how its rows are read."""

    path: Path
    name: str
    """Stands for it in messages, in the report and in the datasheet."""

    reader: Reader
    columns_known: bool
    """Every row has the same columns, so that a missing one is the file's mistake."""

    def rows(self, meter: Meter) -> Iterator[Row | Refused]:
        """Its rows in order.

        Raises:
            SuiteError: The file as a whole cannot be read.
        """
        try:
            yield from self.reader(self.path, self.name, meter)
        except OSError as error:
            raise _unreadable(self.name, error) from error


@dataclass(frozen=True)
class Source:
    """A path that was given, and the files behind it."""

    path: Path
    folder: Path
    """What paths of images are relative to."""

    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class FileFacts:
    """A file as it was when it was read."""

    name: str
    digest: str
    bytes: int
    modified: int


def open_source(path: Path, *, name: str | None = None, split: str | None = None) -> Source:
    """Find out what ``path`` is.

    Args:
        path: A file, or a dataset folder.
        name: Stands for it in messages; default: its last part.
        split: Which split of a dataset folder.

    Raises:
        SuiteError: There is nothing, or nothing that can be read; or a split is not named.
    """
    name = name or path.name
    if path.is_dir():
        return _open_folder(path, name, split)
    if not path.is_file():
        raise SuiteError(f"{path}: no such file", hint="check the name and the folder")
    if split is not None:
        raise SuiteError(
            f"{name}: a file has no splits", hint="give the dataset's folder, or leave --split out"
        )
    return Source(path, path.parent, (_file(path, name),))


def file_facts(file: SourceFile) -> FileFacts:
    """Digest and size of a file, to record and to tell later whether it changed.

    Raises:
        SuiteError: The file cannot be read.
    """
    try:
        before = file.path.stat()
        with open_file(file.path) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file.name, error) from error
    return FileFacts(file.name, f"sha256:{digest}", before.st_size, before.st_mtime_ns)


def refuse_changed(file: SourceFile, facts: FileFacts) -> None:
    """Refuse a file that is not the one whose digest was taken.

    Raises:
        SuiteError: Its size or time of change differs.
    """
    now = file.path.stat()
    if (now.st_size, now.st_mtime_ns) != (facts.bytes, facts.modified):
        raise SuiteError(
            f"{file.name}: changed while it was read", hint="run the same command again"
        )


def _unreadable(name: str, error: OSError) -> SuiteError:
    return SuiteError(f"{name}: cannot be read: {error.strerror or error}")


def _file(path: Path, name: str) -> SourceFile:
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return SourceFile(path, name, _TABLES[suffix], columns_known=True)
    if suffix == ".eval":
        return SourceFile(path, name, read_eval_log, columns_known=False)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return SourceFile(path, name, _json_reader(path), columns_known=False)
    raise SuiteError(
        f"{name}: expected a name that ends in .csv, .tsv, .json, .jsonl, .parquet or .eval",
        hint="in a spreadsheet, save it as 'CSV UTF-8'",
    )


def _json_reader(path: Path) -> Reader:
    """Arrays, lines and logs of Inspect all end in ``.json``; the first characters tell."""
    try:
        with open_file(path) as file:
            head = file.read(4096)
    except OSError as error:
        raise _unreadable(path.name, error) from error
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] == b"[":
        return read_json_array
    if re.match(rb'\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:', head):
        return read_eval_log
    if re.match(rb"\{\s*[\r\n]", head):
        raise SuiteError(
            f"{path.name}: one object, expected an array of objects or one object a line",
            hint="write the list of rows itself into the file",
        )
    return read_json_lines


def _open_folder(folder: Path, name: str, split: str | None) -> Source:
    splits = _saved_splits(folder) or _shards(folder)
    if not splits:
        raise SuiteError(
            f"{name}: found neither Arrow files with state.json nor Parquet shards such as "
            "train-00000-of-00001.parquet",
            hint="give the file itself, or the folder of one configuration",
        )
    if split is None and len(splits) == 1:
        split = next(iter(splits))
    if split not in splits:
        found = "no split is chosen" if split is None else f"no split {split!r}"
        raise SuiteError(
            f"{name}: {found}; there are {', '.join(sorted(splits))}", hint="choose with --split"
        )
    files = [_file(p, f"{name}/{p.relative_to(folder).as_posix()}") for p in splits[split]]
    return Source(folder, folder, tuple(files))


def _saved_splits(folder: Path) -> dict[str, list[Path]]:
    """Arrow files by split, as ``save_to_disk`` lays them out."""
    if (folder / "dataset_dict.json").is_file():
        names = _member(folder / "dataset_dict.json", "splits", list)
        return {str(name): _arrow_files(_inside(folder, str(name))) for name in names}
    if (folder / "state.json").is_file():
        split = _member(folder / "state.json", "_split", str, default="train")
        return {split: _arrow_files(folder)}
    return {}


def _arrow_files(folder: Path) -> list[Path]:
    files = _member(folder / "state.json", "_data_files", list)
    names = [file.get("filename") if isinstance(file, dict) else None for file in files]
    return [_inside(folder, str(name)) for name in names]


def _shards(folder: Path) -> dict[str, list[Path]]:
    """Parquet shards by split, complete and in order."""
    found: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for path in [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]:
        if shard := _SHARD.fullmatch(path.name):
            found.setdefault(shard["split"], {})[int(shard["number"])] = path
            counts[shard["split"]] = int(shard["count"])
    for split, shards in found.items():
        for number in range(counts[split]):
            if number not in shards:
                raise SuiteError(
                    f"{folder.name}: shard {number:05} of {counts[split]:05} of split {split!r} "
                    "is missing",
                    hint="fetch all shards",
                )
    return {split: [shards[n] for n in sorted(shards)] for split, shards in found.items()}


def _inside(folder: Path, name: str) -> Path:
    """A path that a file of the folder names: it must not lead out of the folder."""
    odd = name != Path(name).name or name in ("", ".", "..") or not name.isprintable()
    if odd or leads_out(folder / name, folder):
        raise SuiteError(f"{folder.name}: names {name!r}, expected a name in the folder")
    return folder / name


def _member(path: Path, key: str, kind: type, default: object = None) -> Any:
    """A member of a JSON file that save_to_disk wrote, of the given kind."""
    try:
        value = decode(read_text(path, error=SuiteError)).get(key) or default
    except (ValueError, AttributeError, RecursionError) as error:
        raise SuiteError(f"{path.name}: not a JSON object: {error}") from error
    if not isinstance(value, kind):
        raise SuiteError(f"{path.name}: no {key!r}, as save_to_disk writes it")
    return value
