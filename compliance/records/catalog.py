"""The law as data, and the rules that say which results and declarations speak to it.

No article number and no date stands in code: all of them are values of these records, read from
``evidence/catalog``. An auditor may swap the files for others of the same shape.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compliance.records.base import Record
from compliance.records.finding import Verdict

ProvisionId = Annotated[str, Field(pattern=r"^[a-z]+[0-9]+[a-z]?(\.[A-Za-z0-9]+)*$", max_length=64)]
"""Stored form, such as ``art13.3.b.ii``; people read ``13(3)(b)(ii)``."""

DeclarationKey = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$", max_length=64)
]
"""Key of ``system.yaml``'s ``declared``, such as ``provider.contact``."""


class LawMeta(Record):
    """Where the wording comes from, and how far it can be trusted."""

    instrument: str
    base_oj: str
    amended_by: str
    consolidated: str
    compiled: date
    caution: str
    """Printed in every report: what was read, and what must still be confirmed."""

    link_targets_not_defined_here: tuple[str, ...] = ()
    """Ids that ``links`` may name although this file does not describe them."""


class PackRole(Record):
    """The outer bounds of what evidence of this kind can say about a provision."""

    level: Literal["none", "pointer", "form", "container", "partial", "supporting", "direct"]
    what_a_feature_probe_pack_can_supply: str
    what_it_must_not_claim: str


class OfficialTranslation(Record):
    """A provision as it was published in another language of the law."""

    text: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]


class Provision(Record):
    """One numbered piece of law."""

    id: ProvisionId
    title: str
    """The compiler's short name, not part of the law."""

    summary: str
    official_text: str | None = None
    """Wording as published. Absent: only ``summary`` was compiled."""

    official_translations: dict[str, OfficialTranslation] = {}
    """Official wording in other languages than English, by tag. Nothing else stands here."""

    text_status: Literal["verbatim", "summary-only"]
    source: str
    applies_from: Annotated[
        dict[str, date] | date | str | None, Field(union_mode="left_to_right")
    ] = None
    """One date; or one for each kind of system, named in the mapping; or a sentence."""

    amendments: dict[str, bool] = {}
    """Whether each later regulation touched it, by the number of that regulation."""

    structure: tuple[str, ...] = ()
    """Every paragraph and point that exists, as displayed; what is not here does not exist."""

    links: tuple[ProvisionId, ...] = ()
    pack_role: PackRole | None = None
    kind: str | None = None
    note: str | None = None
    text_note: str | None = None
    cross_check: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather_amendments(cls, value: Any) -> Any:
        """Fold keys such as ``amended_by_2026_1744`` into one field, so that code names no law."""
        if not isinstance(value, dict):
            return value
        found = {key: re.match(r"amended_by_(\d+)_(\d+)$", str(key)) for key in value}
        rest = {key: item for key, item in value.items() if not found[key]}
        amendments = {f"{match[1]}/{match[2]}": value[key] for key, match in found.items() if match}
        return {**rest, "amendments": amendments} if amendments else rest


class Provisions(Record):
    """``provisions.yaml``."""

    meta: LawMeta
    provisions: Annotated[tuple[Provision, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ids_are_unique_and_links_lead_somewhere(self) -> "Provisions":
        ids = [provision.id for provision in self.provisions]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"provisions: {twice[0]} appears twice")
        known = {*ids, *self.meta.link_targets_not_defined_here}
        for provision in self.provisions:
            if lost := [link for link in provision.links if link not in known]:
                raise ValueError(f"provisions: {provision.id} links to {lost[0]}, which is unknown")
        return self


class DeclaredKey(Record):
    """One fact that only the provider can give."""

    key: DeclarationKey
    prompt: str
    """A question, short enough for one line of a list of gaps."""

    help: str
    """What a good answer holds; a comment in the scaffolded ``system.yaml``."""


class MappingRule(Record):
    """What in a pack speaks to one provision, and what it cannot show."""

    provision: ProvisionId
    container: bool = False
    """Opening words only: its points carry the content, so it has no status of its own."""

    where_appropriate: bool = False
    """The law itself says "where applicable", "when appropriate" or "if any"."""

    declared: tuple[DeclaredKey, ...] = ()
    results: tuple[str, ...] = ()
    """Patterns of result ids (``*/sensitivity``), in the order a report shows them."""

    findings: tuple[Verdict, ...] = ()
    """Verdicts whose sentences the report repeats here."""

    chapters: tuple[str, ...] = ()
    """Chapters of the report that also speak to it, by their key."""

    supplies: str = ""
    """What the evidence in a pack says about the provision, in a sentence."""

    cannot_show: tuple[str, ...] = ()
    """What it does not show, in sentences."""

    @model_validator(mode="after")
    def _says_what_it_does(self) -> "MappingRule":
        if not self.container and not (self.supplies and self.cannot_show):
            raise ValueError("give 'supplies' and 'cannot_show', or 'container: true'")
        return self


class AlsoServes(Record):
    """What evidence gathered for the rules also says about another provision, and what it does not.

    A provision that needs more than this, such as declarations, gets a `MappingRule`.
    """

    provision: ProvisionId
    about: Annotated[str, Field(min_length=1)]
    """Its subject in a few words, since titles of paragraphs in the catalog often only number them.
    """

    chapters: Annotated[tuple[str, ...], Field(min_length=1)]
    """Chapters of the report that bear on it, by their key."""

    supplies: Annotated[str, Field(min_length=1)]
    cannot_show: Annotated[tuple[str, ...], Field(min_length=1)]


class Mapping(Record):
    """``mapping.yaml``: versioned rules, in the order of the law."""

    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: str
    authorship: str
    """Whose reading of the law these rules are."""

    application: dict[str, str]
    """What each kind of system in ``applies_from`` is called in a sentence."""

    levels: dict[str, str]
    """What each level of `PackRole` is called beside the word "measured"."""

    rules: Annotated[tuple[MappingRule, ...], Field(min_length=1)]
    also: tuple[AlsoServes, ...] = ()
    """Provisions without a rule on which the evidence bears too."""

    @model_validator(mode="after")
    def _nothing_appears_twice(self) -> "Mapping":
        provisions = [rule.provision for rule in (*self.rules, *self.also)]
        keys = [declared.key for rule in self.rules for declared in rule.declared]
        for name, values in (("provision", provisions), ("declared key", keys)):
            if twice := sorted({v for v in values if values.count(v) > 1}):
                raise ValueError(f"rules: {name} {twice[0]} appears twice")
        return self
