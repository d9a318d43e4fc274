"""Character n-grams of an item's text: a control that sees no model at all (PROTOCOL section 6)."""

from functools import lru_cache

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from compliance.records.plan import Plan
from compliance.records.suite import Item

ROLES = {"user": ("user",), "assistant": ("assistant",)}
"""Whose words a region holds; every other region reads the whole conversation."""


def ngram_vector(item: Item, region: str, plan: Plan) -> np.ndarray:
    """Hashed counts of character n-grams within words, lower case, of norm 1.

    Two n-grams in one bucket add up: with signs, which hashing may also give them, they could
    cancel out and a text look as if it had neither.

    Args:
        item: What is read is its text, never its tokens.
        region: Whose words; a system message belongs to none.
        plan: For the sizes and the number of buckets.

    Returns:
        float32 ``[plan.ngram_buckets]``.
    """
    counter = _counter(plan.ngram_sizes, plan.ngram_buckets)
    return counter.transform([region_text(item, region)]).toarray()[0].astype(np.float32)


def region_text(item: Item, region: str) -> str:
    """The words of a region, turn by turn."""
    if item.messages is None:
        return (item.text or "") if region != "assistant" else ""
    roles = ROLES.get(region, ("user", "assistant"))
    return "\n".join(message.content for message in item.messages if message.role in roles)


@lru_cache(maxsize=1)  # making one takes longer than using it
def _counter(sizes: tuple[int, int], buckets: int) -> HashingVectorizer:
    return HashingVectorizer(
        analyzer="char_wb", ngram_range=sizes, n_features=buckets, alternate_sign=False, norm="l2"
    )
