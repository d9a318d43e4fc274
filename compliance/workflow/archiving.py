"""The archive beside an audit: every pack is put there, and can be had back."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from compliance.packs.archive import (
    MARK,
    add_pack,
    check_archive,
    is_kept,
    list_packs,
    restore,
)
from compliance.packs.integrity import verify_integrity
from compliance.progress import SILENT, Progress
from compliance.records.archive import ArchiveList
from compliance.records.verification import Verification

ARCHIVE = "archive"
_PACK = re.compile(r"(.+)-(\d+)\.(\d+)\.(\d+)")


def archive_list(folder: Path) -> ArchiveList:
    """What an archive holds.

    Args:
        folder: The archive, or the folder of an audit that has one.

    Raises:
        PackError: There is none, or it is damaged.
    """
    return ArchiveList(versions=list_packs(_place(folder)))


def archive_get(folder: Path, name: str, *, to: Path) -> Path:
    """Restore a pack, byte by byte, into a folder of its name below ``to``.

    Raises:
        PackError: There is no archive, or no such version in it.
        VerificationError: What is kept is damaged.
        StorageError: The folder is there already, or cannot be written.
    """
    return restore(_place(folder), name, to)


def archive_check(folder: Path) -> Verification:
    """Check that everything an archive keeps is what was added.

    Raises:
        PackError: There is no archive.
    """
    return check_archive(_place(folder))


def keep_packs(folder: Path, *, at: datetime, software: str, progress: Progress = SILENT) -> None:
    """Put every pack beside an audit into its archive, as far as it is not there as it is now.

    Args:
        folder: Of the audit.
        at: When, UTC.
        software: Who does it.
        progress: Told of a pack that is damaged, which is left out.

    Raises:
        PackError: The archive is damaged.
        StorageError: It cannot be written.
    """
    archive = folder / ARCHIVE
    for pack in _packs(folder / "packs"):
        if is_kept(archive, pack):
            continue
        damage = verify_integrity(pack).failed
        if damage:
            progress.stage(f"{pack.name} is damaged, and is not archived: {damage[0].line}")
        else:
            add_pack(archive, pack, added_at=at, software=software)


def _packs(folder: Path) -> list[Path]:
    """Packs by system and version."""
    found = {path: _PACK.fullmatch(path.name) for path in folder.glob("*-*.*.*") if path.is_dir()}
    order = {p: (m[1], *(int(m[n]) for n in (2, 3, 4))) for p, m in found.items() if m}
    return sorted(order, key=order.__getitem__)


def _place(folder: Path) -> Path:
    return folder if (folder / MARK).is_file() else folder / ARCHIVE
