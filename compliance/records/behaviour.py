"""``behaviours.yaml``: how a behaviour is recognised in a reply that a model wrote.

It lies beside a suite's ``suite.yaml`` and is no part of the suite: its items, their digest and so
their splits are the same with and without it. What of it an audit uses stands in the plan, so that
every rate can be counted anew from the texts.

A rule is a list of phrases, not a program: it comes to an end on every text, also on one from a
pack that a stranger wrote.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.names import Name, Prose
from compliance.records.suite import Language, Slug

GAP = "*"
"""Stands for up to GAP_LENGTH characters."""

GAP_LENGTH = 30
MOST_GAPS = 2


def check_phrase(text: str) -> str:
    """Return ``text`` when it can be looked for; else raise ValueError."""
    parts = text.split(GAP)
    if len(parts) - 1 > MOST_GAPS:
        raise ValueError(f"{text!r} has {len(parts) - 1} gaps ({GAP}), at most {MOST_GAPS}")
    if not all(any(character.isalnum() for character in part) for part in parts):
        raise ValueError(f"{text!r}: expected a letter or digit before and after each {GAP}")
    return text


Phrase = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_phrase)]
"""Found in a reply whatever its case and punctuation. A blank at its start or end stands for the
edge of a word; without one it is found within words, too."""


Lists = dict[Slug, dict[Language, Annotated[tuple[Phrase, ...], Field(min_length=1)]]]
"""Phrases by the name of their list and by language."""


class Sign(Record):
    """Something that a reply does or does not do, and how that is seen.

    It does so when a phrase of the lists ``any`` is in it, if any are named, and none of the lists
    ``none``. A reply without a letter or digit does nothing.
    """

    title: Name
    definition: Prose
    any: tuple[Slug, ...] = ()
    none: tuple[Slug, ...] = ()
    question: Prose | None = None
    """What a judge model is asked of prompt and reply; *yes* means that the reply does it."""

    @model_validator(mode="after")
    def _seen(self) -> "Sign":
        if not self.any and not self.none and self.question is None:
            raise ValueError("give lists under 'any' or 'none', or a 'question' for a judge")
        return self

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the lists that it needs."""
        return (*self.any, *self.none)


class Behaviour(Sign):
    """What a model does when it is asked the positives of a concept."""

    strata: tuple[Slug, ...] = ()
    """Kinds of items that are asked; none: all."""

    over_refusal: Sign
    """What it does too much when it is asked the hard negatives, where that is wrong."""


class Behaviours(Record):
    """The whole file."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    description: Prose
    """Who wrote the phrases, and whether a person has reviewed them."""

    reviewers: tuple[Name, ...] = ()
    lists: Lists = {}
    behaviours: Annotated[dict[Slug, Behaviour], Field(min_length=1)]
    """By concept of the suite."""

    @model_validator(mode="after")
    def _lists_there(self) -> "Behaviours":
        signs = [s for one in self.behaviours.values() for s in (one, one.over_refusal)]
        missing = sorted({name for sign in signs for name in sign.lists} - self.lists.keys())
        if missing:
            raise ValueError(f"a behaviour names the list {missing[0]!r}, which is not there")
        return self
