"""Files that hold weights: their digests, and what is refused before anything is read.

A pickle can execute code while it is read, so none is opened anywhere in this package.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compliance.documents import open_file
from compliance.records.base import digest_of
from compliance.records.bounds import refuse_crowded, refuse_deep

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Suffixes under which torch and its users store pickles."""

MAX_JSON = 1 << 26
"""Bytes of a JSON file beside weights; an index of a large model's tensors has some megabytes."""

MAX_HEADER = 1 << 24
"""Bytes of the header of a file of safetensors; that of a large model has one megabyte."""


def read_json(path: Path) -> Any:
    """The value in a JSON file that came with weights.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
        ValueError: It is not JSON, or nested, filled or long without end.
    """
    with open_file(path) as file:
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise ValueError(f"larger than {MAX_JSON:,} bytes")
    refuse_crowded(data)
    refuse_deep(data)
    return json.loads(data.decode("utf-8"))


def check_header(path: Path) -> None:
    """Refuse safetensors with a header that takes long to read before it is known to be one.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
        ValueError: The header is larger than MAX_HEADER.
    """
    with open_file(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER:
        raise ValueError(f"a header of {size:,} bytes, at most {MAX_HEADER:,} are read")


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with open_file(path) as stream:
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
