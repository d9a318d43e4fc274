"""A folder as it was found: every file's digest, and what does not belong in any pack.

Nothing here follows a symbolic link or opens anything but a regular file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from compliance.packs import layout
from compliance.records.verification import Check, Outcome

MAX_FILES = 100_000
MAX_LEVELS = 16


@dataclass(frozen=True)
class Folder:
    """The regular files of a folder whose names a pack may hold."""

    root: Path
    digests: dict[str, str]
    """Hexadecimal sha256 by path."""

    sizes: dict[str, int]
    problems: tuple[Check, ...]
    """Links, devices, unreadable files, odd names. What they hold was not read."""

    def read(self, path: str, *, limit: int = layout.MAX_TEXT_FILE) -> bytes:
        """The file's bytes. ``ValueError`` where it is longer than ``limit``."""
        if self.sizes[path] > limit:
            raise ValueError(f"{self.sizes[path]} bytes long; at most {limit} are read")
        with open_regular(self.root / path) as file:
            return file.read(self.sizes[path])  # a limit would be allocated as a whole

    def below(self, start: str) -> dict[str, str]:
        """Digests of the files below a folder, by path relative to it."""
        return {
            path.removeprefix(start): digest
            for path, digest in self.digests.items()
            if path.startswith(start)
        }


def failed(name: str, path: str | None, message: str) -> Check:
    """A check that failed. Text from a pack is made safe to print."""
    return Check(
        name=name,
        status=Outcome.FAILED,
        path=None if path is None else printable(path),
        message=printable(message),
    )


def printable(text: str) -> str:
    """Text without control characters, and not endless: what a pack says may be hostile."""
    cut = text if len(text) <= 400 else text[:400] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def survey(root: Path) -> Folder:
    """Look at every file below ``root`` once."""
    digests: dict[str, str] = {}
    sizes: dict[str, int] = {}
    problems: list[Check] = []
    for number, (path, entry) in enumerate(_walk(root, "", problems)):
        if number >= MAX_FILES:
            problems.append(failed("files", path, f"one of more than {MAX_FILES} files"))
            break
        if problem := _refusal(path, entry):
            problems.append(failed("files", path, problem))
            continue
        try:
            with open_regular(Path(entry.path)) as file:
                digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
                sizes[path] = file.tell()
        except OSError as error:
            problems.append(failed("files", path, f"cannot be read: {error.strerror}"))
    for path in layout.colliding(digests):
        problems.append(failed("files", path, "another file differs from it in case only"))
    return Folder(root, digests, sizes, tuple(problems))


def open_regular(path: Path) -> BinaryIO:
    """Open a file that is a regular file and not a link to one; else raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", str(path))
    return open(descriptor, "rb")


def _walk(
    folder: Path, start: str, problems: list[Check]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder that is not a folder, in order of names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(failed("files", start, f"cannot be read: {error.strerror}"))
        return
    for entry in entries:
        path = start + entry.name
        if not entry.is_dir(follow_symlinks=False):
            yield path, entry
        elif path.count("/") >= MAX_LEVELS:
            problems.append(failed("files", path, f"more than {MAX_LEVELS} folders deep"))
        else:
            yield from _walk(Path(entry.path), path + "/", problems)


def _refusal(path: str, entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        return "a symbolic link; a pack holds files only"
    if not entry.is_file(follow_symlinks=False):
        return "neither a file nor a folder"
    if not layout.is_safe_path(path):
        return "not a name that a file in a pack can have"
    return None
