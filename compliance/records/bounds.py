"""What JSON from strangers may hold at most: memory goes by values, and not by bytes alone.

``[[],[],...]`` takes thirty times its bytes once it is read, and ``[[[[...`` as many calls as it
has levels. Both are counted on the text, before it is read::

    refuse_crowded(data)
    refuse_deep(data)
"""

import re

MAX_DEPTH = 64
"""Levels of nesting; ours need fewer than ten."""

MAX_CONTAINERS = 1_000_000
"""Lists and objects of one JSON text, brackets in its strings counted too."""

MAX_VALUES = 8_000_000
"""Values of one JSON text, told by its commas and colons."""

_BYTES = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def refuse_crowded(text: bytes | str, start: int = 0) -> None:
    """Refuse JSON that would take far more memory than its bytes.

    Args:
        text: The JSON, or a part of it.
        start: Where to begin in it.

    Raises:
        ValueError: It has too many values, or too many lists and objects.
    """
    if _count(text, "[{", start) > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS:,} lists and objects")
    if _count(text, ",:", start) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")


def refuse_deep(text: bytes | str) -> None:
    """Refuse JSON that is nested without end.

    Raises:
        ValueError: It has more than MAX_DEPTH levels.
    """
    if _count(text, "[{", 0) <= MAX_DEPTH:  # fewer brackets than levels, which is nearly always so
        return
    depth = 0
    for match in (_BYTES if isinstance(text, bytes) else _TEXT).finditer(text):
        first = match.group()[:1]
        depth += (first in (b"[", b"{", "[", "{")) - (first in (b"]", b"}", "]", "}"))
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _count(text: bytes | str, marks: str, start: int) -> int:
    if isinstance(text, bytes):
        return sum(text.count(mark.encode(), start) for mark in marks)
    return sum(text.count(mark, start) for mark in marks)
