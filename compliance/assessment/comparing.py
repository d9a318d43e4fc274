"""Where two records differ, number by number."""

import math
import os.path
from collections.abc import Iterator
from typing import Any

from compliance.errors import NumberMismatch

RELATIVE_TOLERANCE = 1e-6
ABSOLUTE_TOLERANCE = 1e-12
"""How far a recomputed number may lie from the stored one: sums in another order on another
machine move the last digits, and a fitted direction by a little more."""

LONGEST = 80
"""Characters of a value in a message."""

BEFORE = 24
"""Characters of a long text that are shown before the place where it differs."""


def differences(where: str, stored: Any, computed: Any) -> Iterator[NumberMismatch]:
    """Walk two JSON values side by side and yield each place where they differ."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in sorted(stored.keys() | computed.keys()):
            yield from differences(f"{where}.{key}", stored.get(key), computed.get(key))
    elif isinstance(stored, list) and isinstance(computed, list) and len(stored) == len(computed):
        for index, (a, b) in enumerate(zip(stored, computed, strict=True)):
            yield from differences(f"{where}[{index}]", a, b)
    elif not _same(stored, computed):
        apart = _common(stored, computed)
        yield NumberMismatch(where, stored=_shown(stored, apart), computed=_shown(computed, apart))


def _same(stored: Any, computed: Any) -> bool:
    """Equal, or within the tolerance where either is a fraction; two whole numbers have none.

    Canonical JSON writes 1.0 as 1, so a fraction may come back as a whole number.
    """
    kinds = {type(stored), type(computed)}
    if float in kinds and kinds <= {float, int}:
        return math.isclose(
            stored, computed, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE
        )
    return type(stored) is type(computed) and stored == computed


def _common(one: Any, other: Any) -> int:
    """Characters with which two texts begin alike."""
    return len(os.path.commonprefix([one, other])) if type(one) is type(other) is str else 0


def _shown(value: Any, apart: int) -> str:
    """A value, not endless; of a long text what stands around the place where it differs."""
    text = "nothing" if value is None else repr(value)
    if len(text) <= LONGEST:
        return text
    first = apart - BEFORE if apart > LONGEST - BEFORE else 0
    shown = repr(value[first:]) if first else text
    return ("..." if first else "") + (
        shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."
    )
