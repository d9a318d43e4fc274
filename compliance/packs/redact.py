"""Copies of a pack for others: the same root digest, and more or less of it shown.

::

    shown = redact(pack, "public", rules=rules)
    shown.evidence, shown.items, shown.salts

Three profiles:

- ``public``: texts, messages, replies and pictures of all items are withheld, but for suites that
  the rules name; what observation tables hold of an item anyway stays.
- ``deployer``: as the pack was built, so restricted items are withheld.
- ``authority``: everything; restricted items come from the private file of their disclosures.

The public copy is also without two observation files, unless the rules show them: the words of
items can be read from ``fit/vectors.parquet``, and ``confirm/replies.parquet`` has what the model
wrote. Declared facts are withheld where the rules name their keys. Nothing is salted anew: a copy
is made from the salts in the pack, so it needs no secret, and its root follows without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compliance.errors import ConfigError, PackError
from compliance.packs import layout
from compliance.packs.items import item_digest, item_id, withhold_fields
from compliance.packs.reading import OpenPack
from compliance.packs.roots import fact_digest
from compliance.records.audit import Declared
from compliance.records.base import to_json
from compliance.records.evidence import Evidence
from compliance.records.pack import PackedItem, PackItem, Profile, Salts, WithheldItem
from compliance.records.redaction import PublicRules, Redaction, Withheld

HIDDEN = ("text", "messages", "image", "choices")
"""Fields of an item that the public profile withholds: what is put to the model."""


@dataclass(frozen=True)
class Shown:
    """What a copy shows of a pack."""

    evidence: Evidence
    items: tuple[PackItem, ...]
    salts: Salts
    withheld: frozenset[str] = frozenset()
    """Observation files that it does not show, by path below ``observations/``."""


def redact(
    pack: OpenPack,
    profile: Profile,
    *,
    rules: Redaction,
    suites: Mapping[str, str],
    disclosures: Mapping[str, PackedItem],
) -> Shown:
    """What a copy for a profile shows.

    Args:
        pack: The pack as it was built.
        profile: Whom the copy is for.
        rules: What is withheld beside the rules of the profile.
        suites: The suite of each item, by its id.
        disclosures: Items that the pack withholds, by their id; used by ``authority`` alone.

    Raises:
        ConfigError: The rules name a suite or a fact that is not there.
        PackError: An item's disclosure is missing, or is not of this pack.
    """
    if profile == "authority":
        items = tuple(_disclosed(item, disclosures) for item in pack.items)
        return Shown(pack.evidence, items, pack.salts)
    if profile == "deployer":
        return _without_facts(pack, pack.items, rules.deployer)
    items = tuple(_public_items(pack.items, rules.public, suites))
    return _without_facts(pack, items, rules.public)


def original_statements(pack: OpenPack) -> dict[str, bytes]:
    """Statement, approvals and time stamp of a pack, by their path in a copy of it."""
    carried = [path for path in pack.folder.digests if path.startswith(layout.APPROVALS)]
    carried += [path for path in (layout.TIME_STAMP,) if path in pack.folder.digests]
    found = {
        path.replace("attestations/", layout.ORIGINAL_FILES, 1): pack.file(path)
        for path in sorted(carried)
    }
    return {layout.ORIGINAL: pack.file(layout.STATEMENT), **found}


def _disclosed(item: PackItem, disclosures: Mapping[str, PackedItem]) -> PackItem:
    if not isinstance(item, WithheldItem):
        return item
    found = disclosures.get(item.id)
    if found is None:
        raise PackError(
            f"item {item.id!r} is withheld, and a copy for an authority shows everything",
            hint="give the run's disclosures.jsonl with --disclosures",
        )
    if item_digest(found) != item.digest:
        raise PackError(
            f"item {item.id!r}: its disclosure is not of the item in this pack",
            hint="the items were changed since, or another key signed the pack",
        )
    return found


def _public_items(
    items: Sequence[PackItem], rules: PublicRules, suites: Mapping[str, str]
) -> list[PackItem]:
    if unknown := sorted(set(rules.suites_shown) - set(suites.values())):
        raise ConfigError(
            f"public.suites_shown: {unknown[0]!r} is no suite of this pack",
            hint=f"its suites: {', '.join(sorted(set(suites.values())))}",
        )
    return [
        item
        if isinstance(item, WithheldItem) or suites.get(item_id(item)) in rules.suites_shown
        else withhold_fields(item, HIDDEN)
        for item in items
    ]


def _without_facts(pack: OpenPack, items: Sequence[PackItem], rules: Withheld) -> Shown:
    system, salts = pack.evidence.system, pack.salts
    if unknown := sorted(set(rules.declared) - system.declared.keys()):
        raise ConfigError(
            f"declared: {unknown[0]!r} is not declared in this pack",
            hint="see 'system.declared' in its data/evidence.json",
        )
    declared = dict(system.declared)
    for key in rules.declared:
        digest = fact_digest(key, to_json(declared[key]), salts)
        declared[key] = Declared(withheld=digest)
    kept = {key: salt for key, salt in salts.declared.items() if key not in rules.declared}
    redacted = system.model_copy(update={"declared": declared})
    evidence = pack.evidence.model_copy(update={"system": redacted})
    shown = {layout.VECTORS: rules.vectors_shown, layout.REPLIES: rules.replies_shown}
    hidden = frozenset(path for path, is_shown in shown.items() if not is_shown)
    withheld = hidden & pack.evidence.observations.keys()
    return Shown(evidence, tuple(items), Salts(declared=kept), withheld)
