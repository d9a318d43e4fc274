"""Files are written beside their place and renamed, so that nobody ever reads half of one.

::

    write_bytes(folder / "evidence.json", data)

    with write_folder(packs / "demo-1.0.0") as folder:   # appears complete, or not at all
        write_bytes(folder / "bagit.txt", b"...")

Whatever goes wrong (no space, no permission) is a ``StorageError`` that names the place and the
reason, and the temporary file is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from compliance.errors import StorageError

_HINTS = {
    errno.ENOSPC: "free some space on the disk and try again; nothing was left behind",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EACCES: "choose a folder you may write to, or ask for permission",
    errno.EROFS: "the disk is read-only; choose another folder",
}

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or leave what was there. Missing folders are made.

    Raises:
        StorageError: The file cannot be written; an older one is as it was.
    """
    with replace_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    r"""Write a whole file in UTF-8; line ends stay ``\n`` on every machine.

    Raises:
        StorageError: The file cannot be written; an older one is as it was.
    """
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written piece by piece; it takes its place when the block ends well.

    Raises:
        StorageError: The file cannot be written; an older one is as it was.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of ``source``, and nothing else of it, to ``target``.

    Raises:
        StorageError: One cannot be read, or the other cannot be written; the message says which.
    """
    try:
        reader = open(source, "rb")  # noqa: SIM115 - closed below; its errors are not the target's
    except OSError as error:
        raise StorageError(f"{source}: cannot be read: {error.strerror}") from error
    with reader, replace_file(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read. One that is there is never overwritten.

    Raises:
        StorageError: The file is there already, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise _existing(path) from error
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _refusal(path, error) from error


def replace_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, in the place of one that may be there.

    Raises:
        StorageError: The file cannot be written; an older one is as it was.
    """
    temporary = _beside(path)
    write_secret(temporary, data)
    try:
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refusal(path, error) from error


@contextlib.contextmanager
def write_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes ``target`` when the block ends well.

    Raises:
        StorageError: ``target`` is there already, or cannot be written; nothing is left behind.
    """
    if os.path.lexists(target):
        raise _existing(target)
    temporary = _beside(target)
    try:
        temporary.mkdir(parents=True)
        with _held(temporary):
            yield temporary
            os.rename(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_abandoned(folder: Path) -> None:
    """Remove what `write_folder` left in a folder when it was killed.

    A writer that is still at work holds a lock, which no killed one does; its folder stays.
    """
    for path in folder.glob(".*.tmp"):
        if path.is_symlink() or not path.is_dir() or not _TEMPORARY.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as this process writes it; the kernel lets go when it dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a disk without locks: nothing is ever cleared there
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def move_folder(source: Path, target: Path) -> None:
    """Give a folder that is complete its place, in one step.

    Raises:
        StorageError: Something is there already, or it cannot be moved; both are as they were.
    """
    if os.path.lexists(target):
        raise _existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error


def move_file(source: Path, target: Path) -> None:
    """Put a finished file where another one may be, in one step.

    Raises:
        StorageError: It cannot be moved; both are as they were.
    """
    try:
        os.replace(source, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error


def _beside(path: Path) -> Path:
    """A name nobody uses, in the same folder, so that renaming never crosses a disk."""
    return path.parent / f".{secrets.token_hex(8)}.tmp"


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, error: OSError) -> StorageError:
    reason = (error.strerror or str(error)).lower()
    return StorageError(f"{path}: cannot be written: {reason}", hint=_HINTS.get(error.errno or 0))


def _existing(path: Path) -> StorageError:
    return StorageError(
        f"{path}: is there already, and is never overwritten",
        hint="choose another name, or move the old one away yourself",
    )
