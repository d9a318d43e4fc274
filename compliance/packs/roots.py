"""The root digest: what a pack states, whoever's copy of it and however much that shows.

It is the RFC 6962 Merkle root of these leaves, in this order, each plain text::

    evidence.json sha256:<digest of the file without system.declared>
    system.declared.<key> sha256:<salted digest>         one each, sorted by key
    observations/<path> sha256:<digest of the file>      one each, sorted by path
    items.jsonl sha256:<digest of the item>              one for each item, sorted by id

The salted digest of a declared fact is ``sha256(salt || canonical JSON of {key: fact})``. Rendered
files are no leaves, so a copy that withholds items or facts has the same root as the original.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from compliance.packs.items import item_digest, salted_digest
from compliance.records.audit import SystemFacts
from compliance.records.base import canonical_bytes, digest_of, to_json
from compliance.records.evidence import Evidence
from compliance.records.pack import PackItem, Salts
from compliance.trail import merkle_root

_SALT_CONTEXT = b"sae-compliance declared fact salt v1\n"


def make_salts(system: SystemFacts, secret: bytes) -> Salts:
    """A salt for each declared fact, from `Signer.salt_secret` and the fact."""
    return Salts(
        declared={
            key: hmac.new(
                secret, _SALT_CONTEXT + canonical_bytes({key: to_json(fact)}), hashlib.sha256
            ).hexdigest()
            for key, fact in system.declared.items()
        }
    )


def evidence_digest(evidence: Evidence) -> str:
    """The digest of ``evidence.json`` without ``system.declared``.

    It can be published where facts are withheld: no guess of a fact can be tested with it.
    """
    return _without_declared(to_json(evidence))[0]


def fact_digest(key: str, fact: Mapping[str, Any], salts: Salts) -> str:
    """The digest of a declared fact, as plain JSON values; the same where it is withheld.

    Raises:
        ValueError: It is shown without a salt.
    """
    if "withheld" in fact:
        return str(fact["withheld"])
    if key not in salts.declared:
        raise ValueError(f"declared.{key}: it is shown, and has no salt")
    return salted_digest(salts.declared[key], {key: dict(fact)})


def fact_problems(system: SystemFacts, salts: Salts) -> Iterator[str]:
    """Facts that are shown without a salt, and salts of none that is shown."""
    shown = {key for key, fact in system.declared.items() if fact.withheld is None}
    for key in sorted(shown - salts.declared.keys()):
        yield f"declared.{key}: it is shown, and has no salt"
    for key in sorted(salts.declared.keys() - shown):
        yield f"declared.{key}: it has a salt, and is not shown"


def _without_declared(evidence: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    declared = evidence["system"].pop("declared")
    return digest_of(evidence), declared


def root_leaves(
    evidence: bytes,
    salts: Salts,
    observations: Mapping[str, str],
    items: Iterable[PackItem],
) -> Iterator[bytes]:
    """What the root digest is made from, one after the other.

    Args:
        evidence: The bytes of ``evidence.json``.
        salts: Those of ``salts.json``.
        observations: Digests, with ``sha256:``, by path below ``observations/``.
        items: In the order of ``items.jsonl``.

    Raises:
        ValueError: A declared fact and its salt do not fit.
    """
    digest, declared = _without_declared(json.loads(evidence))
    leaves = [f"evidence.json {digest}"]
    leaves += [
        f"system.declared.{key} {fact_digest(key, declared[key], salts)}"
        for key in sorted(declared)
    ]
    leaves += [f"observations/{path} {observations[path]}" for path in sorted(observations)]
    return chain((leaf.encode("utf-8") for leaf in leaves), map(item_leaf, items))


def item_leaf(item: PackItem) -> bytes:
    """The leaf of an item, shown or withheld."""
    return f"items.jsonl {item_digest(item)}".encode("ascii")


def root_digest(
    evidence: bytes,
    salts: Salts,
    observations: Mapping[str, str],
    items: Iterable[PackItem],
) -> str:
    """The Merkle root of `root_leaves`.

    Raises:
        ValueError: A declared fact and its salt do not fit.
    """
    leaves = root_leaves(evidence, salts, observations, items)
    return "sha256:" + merkle_root(leaves).hex()
