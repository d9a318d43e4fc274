"""Pictures of a suite: taken in with care, stored by digest, checked when they are read.

    picture = decode_picture(data, "photos/1.jpg")
    image = store_picture(picture, folder, description="a red cup on a table")
    picture = read_picture(folder, image)

Whoever gave a picture may mean harm, so its content decides what it is and not its name, its header
is held against the limits before a pixel is decoded, and what is stored is encoded anew: pixels
alone, without a profile, a place, a camera or a comment. Pillow is imported by the functions that
need it, so that loading a suite does not.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance.documents import open_file
from compliance.errors import SuiteError
from compliance.records.base import digest_bytes
from compliance.records.suite import MAX_SIDE, Image
from compliance.storage import write_bytes

if TYPE_CHECKING:
    import PIL.Image

MAX_BYTES = 32 * 1024 * 1024
"""Of a picture's file."""

MAX_PIXELS = MAX_SIDE * MAX_SIDE

MAX_SCANS = 100
"""Of a JPEG. Each takes time for every pixel of the picture, and may be some bytes long."""

MAX_DESCRIPTION = 2000
"""Characters; what the record takes."""

COMPRESSION = 3
"""zlib's level: one for all, so that equal pixels give equal files with one version of Pillow. On
pictures of words it is ten times as fast as the highest, and the files are no larger."""

_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError,
           OverflowError, struct.error, zlib.error)  # fmt: skip
"""What Pillow's readers raise on bytes that are not as their format says."""


def decode_picture(data: bytes, where: str) -> PIL.Image.Image:
    """Take in the bytes of a picture that somebody gave.

    Args:
        data: Content of a PNG, JPEG or WebP file.
        where: Names the picture in messages.

    Returns:
        In RGB and without metadata: turned as its EXIF orientation says, with white behind what is
        transparent. Colour profiles are not applied.

    Raises:
        SuiteError: Another format, too large, animated, broken or cut off; or Pillow is missing.
    """
    if len(data) > MAX_BYTES:
        raise SuiteError(
            f"{where}: {len(data):,} bytes, at most {MAX_BYTES:,} are read",
            hint="make the picture smaller",
        )
    kind = _format(data)
    if kind is None:
        raise SuiteError(
            f"{where}: its content is not PNG, JPEG or WebP", hint="save it as one of these"
        )
    if kind == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
        raise SuiteError(f"{where}: a JPEG of more than {MAX_SCANS} scans", hint="save it again")
    return _decoded(data, kind, where)


def picture_bytes(picture: PIL.Image.Image) -> bytes:
    """The file of a picture: PNG in RGB with nothing but pixels in it.

    Equal pixels give equal bytes with one version of Pillow.
    """
    from PIL import Image as pillow

    bare = pillow.new("RGB", picture.size)
    bare.paste(picture.convert("RGB"))
    out = io.BytesIO()
    bare.save(out, "PNG", compress_level=COMPRESSION)
    return out.getvalue()


def store_picture(
    picture: PIL.Image.Image, folder: Path, *, description: str, font_size: int | None = None
) -> Image:
    """Write a picture into a suite's folder.

    Args:
        picture: No side longer than MAX_SIDE.
        folder: Of the suite; ``images/`` is made in it.
        description: The text alternative; put on one line and cut by ``one_line``.
        font_size: In pixels, where the picture shows words.

    Returns:
        Its record.

    Raises:
        StorageError: It cannot be written.
    """
    data = picture_bytes(picture)
    image = Image(
        digest=digest_bytes(data),
        width=picture.width,
        height=picture.height,
        description=one_line(description),
        font_size=font_size,
    )
    write_bytes(folder / image.path, data)
    return image


def read_picture(folder: Path, image: Image) -> PIL.Image.Image:
    """A picture of a suite, in RGB.

    Raises:
        SuiteError: It is not there, or is not the file that the record names, or Pillow is
            missing.
    """
    path = folder / image.path
    try:
        with open_file(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SuiteError(
            f"{path}: cannot be read: {error.strerror}", hint="fetch the suite again, whole"
        ) from error
    if digest_bytes(data) != image.digest:
        raise SuiteError(
            f"{path}: is not the picture that the item names: its digest differs",
            hint="the file was changed; fetch the suite again, whole",
        )
    if _format(data) != "PNG":
        raise SuiteError(f"{path}: is not PNG", hint="pictures of a suite are PNG in RGB")
    picture = _decoded(data, "PNG", str(path), mode="RGB")
    if picture.size != (image.width, image.height):
        raise SuiteError(
            f"{path}: is {picture.width} x {picture.height} pixels, the item says "
            f"{image.width} x {image.height}",
            hint="correct the item's width and height",
        )
    return picture


def one_line(text: str) -> str:
    """A text as a description: on one line, at most MAX_DESCRIPTION characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_DESCRIPTION else line[: MAX_DESCRIPTION - 1] + "\u2026"


def _format(data: bytes) -> str | None:
    """Which of the formats that are read, by the first bytes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _decoded(data: bytes, kind: str, where: str, mode: str | None = None) -> PIL.Image.Image:
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise SuiteError(
            "reading pictures needs the package pillow",
            hint="install the extra: sae-compliance[suites] or sae-compliance[probes]",
        ) from error
    try:
        with warnings.catch_warnings(), _to_the_end():
            warnings.simplefilter("error")  # Pillow only warns of bombs and of broken metadata
            opened = pillow.open(io.BytesIO(data), formats=[kind])
            _refuse_unsuitable(opened, where, mode)
            opened.load()
            return _plain_rgb(opened)
    except SuiteError:
        raise
    except (*_BROKEN, Warning, pillow.DecompressionBombError) as error:
        raise SuiteError(
            f"{where}: broken {kind} picture: {error}", hint="save it again, or fetch it again"
        ) from error


@contextmanager
def _to_the_end() -> Iterator[None]:
    """Refuse a file that ends early, whatever else runs in this process.

    Importing WeasyPrint tells Pillow to take such files.
    """
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _refuse_unsuitable(opened: Any, where: str, mode: str | None) -> None:
    """What the header alone tells; no pixel has been decoded."""
    width, height = opened.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise SuiteError(
            f"{where}: {width} x {height} pixels, at most {MAX_SIDE} x {MAX_SIDE} are read",
            hint="make the picture smaller",
        )
    if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
        # MPO: a photograph with a preview or a second eye behind it; the first is the picture
        raise SuiteError(
            f"{where}: is animated ({opened.n_frames} frames)", hint="save one frame of it"
        )
    if mode is not None and opened.mode != mode:
        raise SuiteError(
            f"{where}: its pixels are {opened.mode}, expected {mode}",
            hint="pictures of a suite are PNG in RGB",
        )


def _plain_rgb(opened: PIL.Image.Image) -> PIL.Image.Image:
    from PIL import Image as pillow
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(opened)
    if turned.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        turned = turned.point(lambda value: value * (1 / 256)).convert("L")
    if turned.has_transparency_data:
        seen = turned.convert("RGBA")
        white = pillow.new("RGBA", seen.size, "white")
        turned = pillow.alpha_composite(white, seen)
    plain = pillow.new("RGB", turned.size)
    plain.paste(turned.convert("RGB"))
    return plain
