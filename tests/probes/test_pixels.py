"""Statistics of pixels, against numbers worked out by hand, and pictures that show nothing."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from compliance.probes.pixels import CELLS, colour_vector, pixel_vector
from compliance.probes.shifts import PICTURE_SHIFTS, shift_picture, shift_text
from tests.probes.tiny_pass import make_item
from tests.probes.tiny_vision import draw, make_shown


def plain(colour, size=(8, 8)):
    return PIL.Image.new("RGB", size, colour)


def halves(width=8, height=8):
    """Black on the left, white on the right."""
    values = np.zeros((height, width, 3), np.uint8)
    values[:, width // 2 :] = 255
    return PIL.Image.fromarray(values, "RGB")


# Statistics


def test_running_texts_does_not_need_pillow():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import compliance.probes.engine, compliance.workflow.passes"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_colour_has_that_mean_and_nothing_else():
    vector = pixel_vector(plain((255, 0, 51)))

    assert colour_vector(plain((255, 0, 51))) == pytest.approx([1.0, 0.0, 0.2])
    assert vector[:3] == pytest.approx([1.0, 0.0, 0.2])
    assert vector[3:9] == pytest.approx([0] * 6)
    assert vector[9:] == pytest.approx([0.299 + 0.2 * 0.114] * CELLS**2)


def test_an_edge_from_black_to_white():
    vector = pixel_vector(halves())

    assert vector[:6] == pytest.approx([0.5] * 6)
    assert vector[6] == pytest.approx((1 / 8) ** 0.5)  # one step of 1 in each row of eight
    assert vector[7] == 0
    assert vector[8] == pytest.approx(1 / 8)
    assert vector[9:] == pytest.approx([0, 0, 1, 1] * 4)


def test_a_picture_on_its_side_swaps_the_two_directions():
    upright, side = pixel_vector(halves()), pixel_vector(halves().transpose(PIL.Image.ROTATE_90))

    assert side[7] == upright[6]
    assert side[6] == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (101, 37)])
def test_pictures_of_any_size_have_as_many_numbers(size):
    vector = pixel_vector(draw("a", *size))

    assert vector.shape == (9 + CELLS**2,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert ((vector >= 0) & (vector <= 1)).all()


# Pictures that show nothing


def shifted(picture, shift, seed=1, item_id="a"):
    return np.asarray(shift_picture(picture, shift, seed=seed, item_id=item_id), dtype=np.float64)


@pytest.mark.parametrize("shift", PICTURE_SHIFTS)
def test_a_changed_picture_has_its_size_and_mean_colour(shift):
    picture = smooth()

    values = shifted(picture, shift)

    assert values.shape == (48, 64, 3)
    mean = np.asarray(picture).mean(axis=(0, 1))
    assert values.mean(axis=(0, 1)) == pytest.approx(mean, abs=2.0)


def smooth():
    """Slow waves around grey, far from black and white, so that nothing is cut off."""
    rows, columns = np.mgrid[0:48, 0:64]
    waves = [np.sin(rows / 7 + n) * 20 + np.cos(columns / 9 - n) * 15 + 120 for n in range(3)]
    return PIL.Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8), "RGB")


def test_blank_is_one_colour():
    assert np.ptp(shifted(smooth(), "blank"), axis=(0, 1)).max() == 0


def test_noise_has_the_spread_of_the_picture_and_none_of_its_order():
    values, before = shifted(smooth(), "noise"), np.asarray(smooth(), dtype=np.float64)

    assert values.std(axis=(0, 1)) == pytest.approx(before.std(axis=(0, 1)), rel=0.05)
    for channel in range(3):
        neighbours = np.corrcoef(values[:, 1:, channel].ravel(), values[:, :-1, channel].ravel())
        assert abs(neighbours[0, 1]) < 0.1


def test_scrambled_keeps_the_spectrum_and_loses_the_picture():
    before, values = np.asarray(smooth(), dtype=np.float64), shifted(smooth(), "scrambled")

    for channel in range(3):
        one, other = (np.abs(np.fft.fft2(x[:, :, channel])) for x in (before, values))
        strong = one > 5000
        assert strong.sum() >= 5
        assert other[strong] == pytest.approx(one[strong], rel=0.02)
        alike = np.corrcoef(before[:, :, channel].ravel(), values[:, :, channel].ravel())[0, 1]
        assert abs(alike) < 0.6


def test_scrambled_turns_all_colours_alike():
    grey = PIL.Image.fromarray(np.repeat(np.asarray(smooth())[:, :, :1], 3, axis=2), "RGB")

    values = shifted(grey, "scrambled")

    assert np.ptp(values, axis=2).max() == 0


@pytest.mark.parametrize("shift", ["noise", "scrambled"])
def test_chance_is_decided_by_seed_and_item(shift):
    picture = draw("a")

    assert np.array_equal(shifted(picture, shift), shifted(picture, shift))
    assert not np.array_equal(shifted(picture, shift), shifted(picture, shift, seed=2))
    assert not np.array_equal(shifted(picture, shift), shifted(picture, shift, item_id="b"))


def test_a_picture_is_left_as_it_was():
    picture = draw("a")
    before = picture.tobytes()

    for shift in PICTURE_SHIFTS:
        shift_picture(picture, shift, seed=1, item_id="a")

    assert picture.tobytes() == before


def test_the_words_beside_a_picture_are_left_alone():
    shown = make_shown("a", text="What does this picture show, and why?")
    said = make_item("b", "positive", text="What does this picture show, and why?")

    assert shift_text(shown, "typos", seed=1, twin=None) is None
    assert shift_text(said, "typos", seed=1, twin=None) is not None
