"""Search of labels: every word must occur, and whole words and short labels come first."""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Iterable, Sequence

from compliance.features.reading import NamedFeature

_WORD = re.compile(r"\w+")


def find_labels(text: str, features: Iterable[NamedFeature], n: int) -> list[NamedFeature]:
    """The ``n`` features whose labels answer a text best.

    Case does not count. Each word of the text must occur in a label, also inside a longer word. Of
    the labels found, those with more of the words as whole words come first, then shorter ones,
    then by model, source and index.

    Args:
        text: One or more words.
        features: As they were read; those without a label are passed over.
        n: At most so many.
    """
    words = _folded(text).split()

    def rank(feature: NamedFeature) -> tuple[int, int, str, str, int]:
        there = _WORD.findall(_folded(feature.label or ""))
        whole = sum(word in there for word in words)
        return -whole, len(there), feature.model, feature.source, feature.index

    return heapq.nsmallest(n, (f for f in features if _answers(f, words)), key=rank)


def _answers(feature: NamedFeature, words: Sequence[str]) -> bool:
    label = _folded(feature.label or "")
    return bool(label) and all(word in label for word in words)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
