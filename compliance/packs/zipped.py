"""A pack as one ZIP: the same bytes each time, and opened with care.

The standard library's ``extract`` quietly rewrites ``..`` and absolute names. Here an archive with
one odd entry is not unpacked at all, and every odd entry is named.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from compliance.errors import PackError, StorageError
from compliance.packs import layout
from compliance.packs.folder import failed, open_regular, survey
from compliance.records.verification import Check
from compliance.storage import replace_file

MAX_ENTRIES = 100_000
MAX_TOTAL = 1 << 32
"""Bytes that an archive may unpack to."""

MAX_RATIO = 200
"""How many times larger than its packed form a file may be. Ours are stored, which is once."""

_MAX_DIRECTORY = 1 << 25
_SMALL = 1 << 20
_START, _ENTRY, _END, _ZIP64 = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07"
_MARKERS = (layout.BAGIT, layout.MANIFEST, layout.EVIDENCE, layout.STATEMENT)


def zip_pack(folder: Path, target: Path) -> Path:
    """Write the pack in ``folder`` as a ZIP: stored, sorted, without times of this machine.

    Returns:
        ``target``.

    Raises:
        PackError: There is no pack in the folder, or it holds what no pack may hold.
        StorageError: The ZIP cannot be written.
    """
    found = survey(_existing_pack(folder))
    if found.problems:
        raise PackError(found.problems[0].line, hint="see 'compliance verify'")
    with (
        replace_file(target) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,  # type: ignore[arg-type]
    ):
        for path in sorted(found.digests):
            info = zipfile.ZipInfo(f"{folder.resolve().name}/{path}", (1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, so that the mode below is understood everywhere
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = found.sizes[path]
            with open_regular(found.root / path) as source, archive.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, 1 << 20)
    return target


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[tuple[Path, tuple[Check, ...]]]:
    """Give the folder of a pack, unpacked to a temporary place where it is a ZIP.

    Yields:
        The folder, and what is wrong with the ZIP. Where anything is, nothing was unpacked.

    Raises:
        PackError: There is no pack here.
        StorageError: There is no room to unpack it.
    """
    if path.is_dir():
        yield _existing_pack(path), ()
        return
    _refuse_other_files(path)
    with tempfile.TemporaryDirectory(prefix="compliance-") as place:
        yield Path(place), tuple(_unpack(path, Path(place)))


def _existing_pack(folder: Path) -> Path:
    if not any(os.path.lexists(folder / name) for name in _MARKERS):
        raise PackError(
            f"{folder}: no pack in this folder",
            hint="a pack is a folder with bagit.txt and data/, or a ZIP of one",
        )
    return folder.resolve()


def _refuse_other_files(path: Path) -> None:
    try:
        with open_regular(Path(os.path.realpath(path))) as file:
            start = file.read(4)
        is_zip = start == _START or zipfile.is_zipfile(path)
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    if not is_zip:
        raise PackError(f"{path}: neither a folder nor a ZIP", hint="give a pack")


def _unpack(path: Path, place: Path) -> list[Check]:
    """Unpack into ``place`` what has no problems; return the problems."""
    if problem := _odd_ending(path):
        return [failed("container", None, problem)]
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            prefix = _prefix([entry.filename for entry in entries], path)
            problems = [
                *_odd_numbers(entries, archive.start_dir),
                *_odd_names(entries, prefix),
                *(check for entry in entries for check in _odd_entry(entry, prefix)),
            ]
            return problems or _extract(archive, prefix, place)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError) as error:
        return [failed("container", None, f"a damaged ZIP: {error}")]


def _odd_ending(path: Path) -> str | None:
    """Look at the last bytes before the library reads a directory of any size into memory."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 42))
        tail = file.read(42)
        entries = _count_entries(file, tail[-22:], size)
    end = tail[-22:]
    if len(end) < 22 or end[:4] != _END or end[20:] != b"\0\0":
        return "does not end as a ZIP does: cut short, or something was appended"
    if len(tail) == 42 and tail[:4] == _ZIP64:
        return f"a ZIP64 archive; a pack stays below {MAX_TOTAL} bytes"
    directory = int.from_bytes(end[12:16], "little")
    if directory > _MAX_DIRECTORY:
        return f"its directory has {directory} bytes; at most {_MAX_DIRECTORY} are read"
    if entries > MAX_ENTRIES:
        return f"{entries} entries; at most {MAX_ENTRIES} are read"
    return None


def _count_entries(file: BinaryIO, end: bytes, size: int) -> int:
    """Entries of the directory, each of which takes thirty times its bytes once it is read."""
    length = min(int.from_bytes(end[12:16], "little"), _MAX_DIRECTORY, size)
    file.seek(max(0, size - 22 - length))
    return file.read(length).count(_ENTRY)


def _prefix(names: list[str], path: Path) -> str:
    """The pack's folder in the archive, with its slash; empty where files lie at the top."""
    if any(marker in names for marker in _MARKERS):
        return ""
    tops = sorted(
        name.removesuffix(marker)
        for name in names
        for marker in _MARKERS
        if name.endswith("/" + marker)
    )
    if not tops:
        raise PackError(f"{path}: no pack in this ZIP", hint="a pack has bagit.txt and data/")
    return tops[0]


def _odd_numbers(entries: list[zipfile.ZipInfo], directory: int) -> Iterator[Check]:
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL:
        yield failed("container", None, f"unpacks to {total} bytes; at most {MAX_TOTAL} are")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [*(entry.header_offset for entry in ordered[1:]), directory]
    for entry, end in zip(ordered, ends, strict=True):
        if entry.header_offset < 0 or entry.header_offset + 30 + entry.compress_size > end:
            yield failed(
                "container", entry.filename, "not where the ZIP says, or overlaps the next entry"
            )


def _odd_names(entries: list[zipfile.ZipInfo], prefix: str) -> Iterator[Check]:
    names = [entry.filename for entry in entries]
    for name in sorted(name for name, times in Counter(names).items() if times > 1):
        yield failed("container", name.removeprefix(prefix), "is in the ZIP more than once")
    for name in layout.colliding({name for name in names if not name.endswith("/")}):
        message = "another entry differs from it in case only, or is a folder of its name"
        yield failed("container", name.removeprefix(prefix), message)


def _odd_entry(entry: zipfile.ZipInfo, prefix: str) -> Iterator[Check]:
    name = entry.filename.removeprefix(prefix)
    if message := _odd_place(entry, prefix) or _odd_kind(entry):
        yield failed("container", name or prefix, message)
    if entry.file_size > _SMALL and entry.file_size > MAX_RATIO * entry.compress_size:
        yield failed("container", name, f"unpacks to {entry.file_size} bytes: a ZIP bomb")


def _odd_place(entry: zipfile.ZipInfo, prefix: str) -> str | None:
    name = entry.orig_filename
    if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
        return "would be written outside the pack"
    if not name.startswith(prefix):
        return None if prefix.startswith(name) and entry.is_dir() else "lies outside the pack"
    rest = name.removeprefix(prefix).removesuffix("/" if entry.is_dir() else "")
    if rest and not layout.is_safe_path(rest):
        return "not a name that a file in a pack can have"
    return None


def _odd_kind(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a symbolic link; a pack holds files only"
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        return "neither a file nor a folder"
    if entry.is_dir() and entry.file_size:
        return "a folder with contents of its own"
    if entry.flag_bits & 0x1:
        return "encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed in a way other than stored or deflated"
    return None


def _extract(archive: zipfile.ZipFile, prefix: str, place: Path) -> list[Check]:
    problems = []
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        name = entry.filename.removeprefix(prefix)
        try:
            _extract_one(archive, entry, place / name)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            problems.append(failed("container", name, f"damaged in the ZIP: {error}"))
    return problems


def _extract_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be unpacked: {(error.strerror or '').lower()}",
            hint="unpack the ZIP yourself where there is room, and give the folder",
        ) from error
