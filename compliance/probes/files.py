"""Files that hold weights: their digests, and what is refused before anything is read.

A pickle can execute code while it is read, so none is opened anywhere in this package.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from compliance.records.base import digest_of

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Suffixes under which torch and its users store pickles."""


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(files: Iterable[Path]) -> str:
    """Digest over the name and sha256 of each file, ordered by name."""
    listing = [
        {"name": path.name, "sha256": sha256_file(path)}
        for path in sorted(files, key=lambda path: path.name)
    ]
    return digest_of(listing)


def pickles_in(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that hold pickles, ordered."""
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
