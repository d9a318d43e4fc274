"""Pictures are taken in by their content, kept as bare pixels, and checked when they are read."""

import io
import struct
import zlib

import pytest
from PIL import Image as pillow
from PIL import ImageFile
from PIL.PngImagePlugin import PngInfo

from compliance.errors import SuiteError
from compliance.suites import pictures
from compliance.suites.pictures import (
    decode_picture,
    one_line,
    picture_bytes,
    read_picture,
    store_picture,
)

RED, BLUE = (200, 30, 40), (20, 40, 220)


def picture(mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> pillow.Image:
    """Red with a blue left upper corner."""
    made = pillow.new("RGB", size, RED)
    made.paste(BLUE, (0, 0, 4, 4))
    return made.convert(mode)


def encoded(made: pillow.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    made.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_that_claims(width: int, height: int) -> bytes:
    """A header alone, and pixels that are not there."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"lossless": True})],
)
@pytest.mark.parametrize("name", ["photo", "photo.gif"])
def test_three_formats_are_read_whatever_the_name(kind, options, name):
    found = decode_picture(encoded(picture(), kind, **options), name)

    assert (found.mode, found.size) == ("RGB", (12, 8))
    assert max(abs(a - b) for a, b in zip(found.getpixel((11, 7)), RED, strict=True)) < 6
    assert max(abs(a - b) for a, b in zip(found.getpixel((1, 1)), BLUE, strict=True)) < 6


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused_even_under_a_good_name(kind):
    with pytest.raises(SuiteError, match=r"photo.png: its content is not PNG, JPEG or WebP"):
        decode_picture(encoded(picture(), kind), "photo.png")


@pytest.mark.parametrize(
    ("made", "colour"),
    [
        (picture().quantize(2), RED),
        (picture("L"), (82, 82, 82)),
        (picture("LA"), (82, 82, 82)),
        (picture("RGBA"), RED),
        (pillow.new("1", (12, 8), 1), (255, 255, 255)),
    ],
    ids=["palette", "grey", "grey and alpha", "alpha", "one bit"],
)
def test_palettes_greys_and_alpha_become_rgb(made, colour):
    found = decode_picture(encoded(made), "a")

    assert (found.mode, found.getpixel((6, 0))) == ("RGB", colour)


def test_cmyk_becomes_rgb():
    found = decode_picture(encoded(picture("CMYK"), "JPEG", quality=95, subsampling=0), "a")

    assert found.mode == "RGB"
    assert max(abs(a - b) for a, b in zip(found.getpixel((11, 7)), RED, strict=True)) < 8


def test_sixteen_bits_keep_their_shades():
    deep = pillow.new("I;16", (2, 1))
    deep.putpixel((0, 0), 0x8000)
    deep.putpixel((1, 0), 0xFFFF)

    found = decode_picture(encoded(deep), "a")

    assert [found.getpixel((x, 0))[0] for x in (0, 1)] == [128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_what_is_transparent_becomes_white(mode):
    if mode == "RGBA":
        data = encoded(pillow.new("RGBA", (4, 4), (0, 0, 0, 0)))
    elif mode == "P":
        data = encoded(pillow.new("P", (4, 4), 0), transparency=0)
    else:
        data = encoded(pillow.new("RGB", (4, 4), RED), transparency=RED)

    assert decode_picture(data, "a").getpixel((1, 1)) == (255, 255, 255)


def test_half_transparent_pixels_are_mixed_with_white():
    data = encoded(pillow.new("RGBA", (4, 4), (0, 0, 0, 128)))

    assert decode_picture(data, "a").getpixel((1, 1))[0] in (126, 127, 128)


def test_a_photograph_is_turned_as_its_camera_says():
    exif = pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees

    found = decode_picture(encoded(picture(), "JPEG", exif=exif, quality=95), "a")

    assert found.size == (8, 12)
    assert found.getpixel((6, 1))[2] > 150  # the blue corner is at the right now


def test_nothing_but_pixels_is_stored(tmp_path):
    exif = pillow.Exif()
    exif[0x010F] = "Camera of Ada"
    notes = PngInfo()
    notes.add_text("Author", "Ada")
    data = encoded(picture(), exif=exif, pnginfo=notes, icc_profile=b"profile of Ada", dpi=(9, 9))

    image = store_picture(decode_picture(data, "a"), tmp_path, description="a\nflag")

    stored = (tmp_path / image.path).read_bytes()
    assert b"Ada" in data and b"Ada" not in stored
    kinds = []
    place = 8
    while place < len(stored):
        (length,) = struct.unpack(">I", stored[place : place + 4])
        kinds.append(stored[place + 4 : place + 8])
        place += length + 12
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert image.description == "a flag"


def test_equal_pixels_give_equal_bytes():
    one, other = picture(), picture()
    other.info["icc_profile"] = b"x"

    assert picture_bytes(one) == picture_bytes(other)


def test_what_was_stored_is_read_and_named_by_its_digest(tmp_path):
    image = store_picture(picture(), tmp_path, description="a flag", font_size=12)

    found = read_picture(tmp_path, image)

    assert (found.mode, found.tobytes()) == ("RGB", picture().tobytes())
    assert (image.width, image.height, image.font_size) == (12, 8, 12)
    assert [path.name for path in (tmp_path / "images").iterdir()] == [
        image.digest.removeprefix("sha256:") + ".png"
    ]


def test_a_picture_that_is_missing_or_changed_is_named(tmp_path):
    image = store_picture(picture(), tmp_path, description="a flag")
    path = tmp_path / image.path

    path.write_bytes(picture_bytes(pillow.new("RGB", (12, 8))))
    with pytest.raises(SuiteError, match=f"{path.name}: is not the picture that the item names"):
        read_picture(tmp_path, image)
    path.unlink()
    with pytest.raises(SuiteError, match=f"{path.name}: cannot be read"):
        read_picture(tmp_path, image)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(picture(), "JPEG"), "is not PNG"),
        (encoded(picture("L")), "its pixels are L, expected RGB"),
        (encoded(picture(size=(12, 9))), "12 x 9 pixels, the item says 12 x 8"),
    ],
    ids=["format", "mode", "size"],
)
def test_a_picture_that_is_not_as_suites_have_them_is_refused(tmp_path, data, words):
    from compliance.records.base import digest_bytes

    image = store_picture(picture(), tmp_path, description="a flag").model_copy(
        update={"digest": digest_bytes(data)}
    )
    (tmp_path / image.path).write_bytes(data)

    with pytest.raises(SuiteError, match=words):
        read_picture(tmp_path, image)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_named(kind, share):
    noise = pillow.effect_noise((64, 64), 90).convert("RGB")
    data = encoded(noise, kind)

    with pytest.raises(SuiteError, match=f"photo: broken {kind} picture"):
        decode_picture(data[: int(len(data) * share)], "photo")


def test_a_file_that_is_cut_off_is_named_whatever_another_library_allows(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(pillow.effect_noise((64, 64), 90).convert("RGB"), "PNG")

    with pytest.raises(SuiteError, match="photo: broken PNG picture"):
        decode_picture(data[: len(data) // 2], "photo")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"])
def test_a_header_and_rubbish_are_named(head):
    with pytest.raises(SuiteError, match="photo: broken"):
        decode_picture(head + bytes(range(256)) * 4, "photo")


def test_one_flipped_bit_in_the_pixels_is_found():
    data = bytearray(encoded(picture()))
    data[data.index(b"IDAT") + 8] ^= 4

    with pytest.raises(SuiteError, match="photo: broken PNG picture"):
        decode_picture(bytes(data), "photo")


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (4097, 1, "4097 x 1 pixels, at most 4096 x 4096"),
        (1, 4097, "1 x 4097 pixels, at most"),
        (10_000, 10_000, "could be decompression bomb"),
        (60_000, 60_000, "could be decompression bomb"),
    ],
)
def test_a_side_beyond_the_limit_is_refused_before_a_pixel_is_decoded(width, height, words):
    with pytest.raises(SuiteError, match=f"photo: .*{words}"):
        decode_picture(png_that_claims(width, height), "photo")


def test_the_largest_picture_is_read():
    assert decode_picture(encoded(pillow.new("RGB", (4096, 2))), "a").size == (4096, 2)


def test_a_bomb_of_text_inside_a_picture_is_refused():
    data = encoded(picture())
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))

    with pytest.raises(SuiteError, match="photo: broken PNG picture"):
        decode_picture(data[:33] + bomb + data[33:], "photo")


def test_too_many_bytes_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)

    with pytest.raises(SuiteError, match="photo: 101 bytes, at most 100"):
        decode_picture(encoded(picture())[:60] + bytes(41), "photo")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_picture_is_refused(kind):
    frames = [picture(), pillow.new("RGB", (12, 8), BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])

    with pytest.raises(SuiteError, match=r"photo: is animated \(2 frames\)"):
        decode_picture(data, "photo")


def test_a_photograph_with_a_preview_behind_it_is_read():
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(size=(6, 4))])

    assert decode_picture(data, "photo").size == (12, 8)


def test_a_description_is_one_line_of_bounded_length():
    assert one_line(" a\n\tb\u2028c\x00 ") == "a b c"
    long = one_line("x" * 3000)
    assert len(long) == 2000 and long.endswith("\u2026")
