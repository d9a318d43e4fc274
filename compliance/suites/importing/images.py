"""Takes the picture that a row names, from beside the source file into the suite."""

from __future__ import annotations

import os
from pathlib import Path

from compliance.documents import leads_out, open_file
from compliance.errors import SuiteError
from compliance.records.suite import Image
from compliance.suites.importing.rows import Unfit
from compliance.suites.importing.templates import shorten
from compliance.suites.pictures import MAX_BYTES, decode_picture, one_line, store_picture


def take_picture(
    path: str, folder: Path, out: Path, *, column: str, description: str | None
) -> Image:
    """Decode a picture and store it.

    Args:
        path: As the row has it, relative to ``folder``.
        folder: Of the source file; a path must not lead out of it.
        out: Where ``images/`` is written.
        column: That the path comes from, for messages.
        description: None: the path stands for it.

    Raises:
        Unfit: The picture is elsewhere, missing, or cannot be used.
    """
    shown = f"image {shorten(path)}"
    found = Path(os.path.abspath(folder / path))  # beside '.' even '..' would pass for inside
    if not found.is_relative_to(os.path.abspath(folder)) or _leads_out(found, folder):
        raise Unfit(column, "image elsewhere", f"{shown} leads out of the folder")
    try:
        with open_file(found) as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Unfit(column, "missing image", f"{shown} is not there") from error
    except OSError as error:
        raise Unfit(column, "missing image", f"{shown}: {error.strerror}") from error
    try:
        picture = decode_picture(data, shown)
    except SuiteError as error:
        if isinstance(error.__cause__, ImportError):
            raise
        raise Unfit(column, "image that cannot be used", str(error)) from error
    said = one_line(description or "") or one_line(f"not described: {path}")
    return store_picture(picture, out, description=said)


def _leads_out(path: Path, folder: Path) -> bool:
    try:
        return leads_out(path, folder)
    except ValueError:  # no path that a file system could have, which opening it tells
        return False
