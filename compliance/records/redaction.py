"""``redaction.yaml``: what copies of a pack withhold beside the rules of their profile."""

from typing import Literal

from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.suite import Slug


class Withheld(Record):
    """What a profile withholds."""

    declared: tuple[str, ...] = ()
    """Keys of declared facts that are not shown."""

    vectors_shown: bool = True
    """Whether ``fit/vectors.parquet`` is there: most words of an item can be read from it."""

    replies_shown: bool = True
    """Whether ``confirm/replies.parquet`` is there: what the model wrote in mitigation studies."""


class PublicRules(Withheld):
    """What the public profile withholds, and what it shows all the same."""

    vectors_shown: bool = False
    replies_shown: bool = False

    suites_shown: tuple[Slug, ...] = ()
    """Suites whose texts and pictures are shown; those of others are withheld."""


class Redaction(Record):
    """Rules for copies. The profile ``authority`` has none: it shows everything."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    public: PublicRules = PublicRules()
    deployer: Withheld = Withheld()
