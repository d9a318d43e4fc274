"""PNG, JPEG and WebP from strangers."""

import io
import struct
import zlib

import pytest
from PIL import Image

from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"", *, pixels: bytes | None = None) -> bytes:
    if pixels is None:
        pixels = zlib.compress(b"\0" * ((width * 3 + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def webp(size: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<I", size - 1)[:3] * 2
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


BOMB = zlib.compress(b"\0" * (1 << 26), 9)
CONTROL = struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0)
PNGS = {
    "ten thousand million pixels": png(100_000, 100_000, pixels=b"x"),
    "sides of 2^31": png(2**31 - 1, 2**31 - 1, pixels=b"x"),
    "one pixel too wide": png(4097, 1),
    "a colour profile that unpacks": png(4, 4, chunk(b"iCCP", b"x\0\0" + BOMB)),
    "a comment that unpacks": png(4, 4, chunk(b"zTXt", b"x\0\0" + BOMB)),
    "a translated comment that unpacks": png(4, 4, chunk(b"iTXt", b"x\0\1\0\0\0" + BOMB)),
    "many comments that unpack": png(
        4, 4, b"".join(chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(bytes(10**6)))
                       for i in range(100))
    ),
    "frames without end": png(4, 4, chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "two frames": png(4, 4, chunk(b"acTL", b"\0\0\0\2" + bytes(4)) + chunk(b"fcTL", CONTROL)),
    "cut off": png(64, 64)[:60],
    "a GIF": b"GIF89a" + bytes(100),
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", PNGS)
def test_it_is_refused(attack: Attack, name: str):
    assert attack("PNG", PNGS[name], memory=100 * MIB).error == "SuiteError"


def test_pixels_beyond_the_picture_are_never_unpacked(attack: Attack):
    assert attack("PNG", png(4, 4, pixels=BOMB), memory=20 * MIB).error is None


def test_the_largest_picture_takes_what_the_limit_says(attack: Attack):
    assert attack("PNG", png(4096, 4096), memory=300 * MIB).error is None


def test_a_canvas_of_webp_is_measured_first(attack: Attack):
    assert attack("WebP", webp(16_000), memory=20 * MIB).error == "SuiteError"


def test_a_jpeg_of_a_thousand_scans_is_refused_at_once(attack: Attack):
    out = io.BytesIO()
    Image.new("RGB", (2048, 2048)).save(out, "JPEG", progressive=True)
    scan = out.getvalue()[out.getvalue().rfind(b"\xff\xda") : -2]

    outcome = attack("JPEG", out.getvalue()[:-2] + scan * 1000 + b"\xff\xd9", seconds=1)

    assert "scans" in outcome.message
