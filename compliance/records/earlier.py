"""``changes.json``: what a report says about the pack before, kept so that it can be made again."""

from typing import Literal

from compliance.records.base import SCHEMA_VERSION, Digest, Record
from compliance.records.comparison import Comparison
from compliance.records.evidence import Evidence
from compliance.records.pack import Version

DeclaredChange = Literal["added", "removed", "changed"]


class EarlierPack(Record):
    """The pack before this one, of the same system, as far as a report compares the two.

    Its own files prove what is said of them; they lie in the pack that ``root_digest`` names.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    pack_id: str
    version: Version
    root_digest: Digest
    evidence: Evidence
    """Without what was declared in words."""

    declared: dict[str, DeclaredChange]
    """By key, where the words that were declared differ. The earlier words are in that pack."""

    comparison: Comparison | None = None
    """Tests of the main numbers on the items of both. Absent: none were made."""
