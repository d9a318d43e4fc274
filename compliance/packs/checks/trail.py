"""The trail, and the checkpoint that signs its head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.errors import ComplianceError
from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked
from compliance.packs.folder import failed
from compliance.packs.trust import Trust
from compliance.records.base import digest_of
from compliance.records.trail import Entry
from compliance.records.verification import Check
from compliance.trail import checkpoint_of, open_checkpoint


def check_trail(pack: Contents) -> Iterator[Check]:
    """Whether what was frozen is what the evidence rests on, in the order that was promised."""
    if pack.trail is None or pack.evidence is None:
        yield not_checked("trail", "plan and lock could not be compared with the evidence")
        return
    plan = _frozen(pack.trail, "plan-frozen", digest_of(pack.evidence.plan))
    lock = _frozen(pack.trail, "locked", digest_of(pack.evidence.lock))
    if plan is None:
        yield failed("trail", layout.TRAIL, "no entry plan-frozen holds the plan of evidence.json")
    if lock is None:
        yield failed("trail", layout.TRAIL, "no entry locked holds the lock of evidence.json")
    if plan and lock and lock < plan:
        yield failed("trail", layout.TRAIL, f"the lock (line {lock}) is before the plan ({plan})")
    opened = [entry.sequence for entry in pack.trail if entry.kind == "confirmation-opened"]
    if lock and opened and opened[0] < lock:
        message = f"the confirm split was opened (line {opened[0]}) before the lock ({lock})"
        yield failed("trail", layout.TRAIL, message)


def _frozen(entries: Iterable[Entry], kind: str, digest: str) -> int | None:
    """The first line that froze the record with this digest, and holds it whole."""
    for entry in entries:
        record = entry.facts.get("record")
        if entry.kind == kind and isinstance(record, dict) and digest_of(record) == digest:
            return entry.sequence
    return None


def check_checkpoint(pack: Contents, key: Ed25519PublicKey | None) -> Iterator[Check]:
    """Whether the checkpoint signs the head of this very trail."""
    name, path = "checkpoint", layout.CHECKPOINT
    if path not in pack.folder.digests:
        yield failed(name, path, "missing")
        return
    if key is None or pack.trail is None or pack.info is None:
        yield not_checked(name, "it needs the trail, a key and bag-info.txt", path)
        return
    try:
        said = open_checkpoint(pack.folder.read(path), key)
    except (ComplianceError, ValueError) as error:
        yield failed(name, path, str(error))
        return
    pack_id = pack.info.get("External-Identifier", "")
    if said != checkpoint_of(pack.trail, layout.origin(pack_id)):
        yield failed(name, path, f"signs {said.size} lines of {said.origin}, not this trail")


def check_witness(pack: Contents, trust: Trust) -> Iterator[Check]:
    """Whether the trail extends a checkpoint that somebody else kept."""
    yield not_checked(
        "witness",
        "whoever holds the key could write the trail anew; compare data/checkpoint with a copy "
        "that somebody else kept",
    )
