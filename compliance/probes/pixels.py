"""Small statistics of a picture's pixels: controls that see no model at all (PROTOCOL section 6).

What they tell as well as a probe does is in the colours and edges of the pictures of a suite, not
in what these show. Values are between 0 and 1, so that none outweighs the others when fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

EDGE = 0.1
"""A pixel is on an edge where luminance changes by more than this to the next."""

CELLS = 4
"""Rows and columns of the coarse picture."""

_LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601."""


def colour_vector(picture: PIL.Image.Image) -> np.ndarray:
    """Mean red, green and blue, float32 ``[3]``."""
    return _values(picture).mean(axis=(0, 1)).astype(np.float32)


def pixel_vector(picture: PIL.Image.Image) -> np.ndarray:
    """Statistics of a picture in RGB.

    Returns:
        float32 ``[9 + CELLS**2]``: mean and standard deviation of red, green and blue; root mean
        square of the luminance's change to the right and downwards; the share of pixels on an
        edge; and mean luminance in CELLS x CELLS cells, line by line.
    """
    from PIL import Image

    values = _values(picture)
    light = values @ np.array(_LUMINANCE)
    right, down = (np.diff(light, axis=axis, append=_last(light, axis)) for axis in (1, 0))
    edges = np.hypot(right, down) > EDGE
    coarse = Image.fromarray(light.astype(np.float32)).resize((CELLS, CELLS), Image.Resampling.BOX)
    parts = (
        values.mean(axis=(0, 1)),
        values.std(axis=(0, 1)),
        [np.sqrt((right**2).mean()), np.sqrt((down**2).mean()), edges.mean()],
        np.asarray(coarse).ravel(),
    )
    return np.concatenate(parts).astype(np.float32)


def _values(picture: PIL.Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def _last(light: np.ndarray, axis: int) -> np.ndarray:
    """The last column or row, so that nothing changes behind the edge of a picture."""
    return light.take([-1], axis=axis)
