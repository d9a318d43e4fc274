"""The trail: what it holds of this pack's run, the head that is signed, and what came before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compliance.errors import ComplianceError, PackError
from compliance.keys import PublicKey, parse_public_key
from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked
from compliance.packs.checks.files import PARENT_LABEL
from compliance.packs.folder import failed
from compliance.packs.trust import Trust
from compliance.records.base import canonical_bytes, digest_of
from compliance.records.trail import Entry
from compliance.records.verification import Check, Outcome
from compliance.trail import (
    Checkpoint,
    checkpoint_of,
    extends,
    names_key,
    of_run,
    open_checkpoint,
    openings,
    openings_of,
    prove_extension,
    read_checkpoint,
    run_name,
)


def check_trail(pack: Contents) -> Iterator[Check]:
    """Whether what was frozen is what the evidence rests on, in the order that was promised.

    Entries of other runs stand in the same trail, and neither help nor harm.
    """
    if pack.trail is None or pack.evidence is None:
        yield not_checked("trail", "plan and lock could not be compared with the evidence")
        return
    own = of_run(pack.trail, run_name(pack.evidence.plan))
    plan = _frozen(own, "plan-frozen", digest_of(pack.evidence.plan))
    lock = _frozen(own, "locked", digest_of(pack.evidence.lock))
    if plan is None:
        yield failed("trail", layout.TRAIL, "no entry plan-frozen holds the plan of evidence.json")
    if lock is None:
        yield failed("trail", layout.TRAIL, "no entry locked holds the lock of evidence.json")
    if plan and lock and lock < plan:
        yield failed("trail", layout.TRAIL, f"the lock (line {lock}) is before the plan ({plan})")
    opened = openings(own)
    if lock and opened and opened[0][0] < lock:
        message = f"the confirm split was opened (line {opened[0][0]}) before the lock ({lock})"
        yield failed("trail", layout.TRAIL, message)
    yield from _miscounted(pack.trail, own)


def _frozen(entries: Iterable[Entry], kind: str, digest: str) -> int | None:
    """The first line that froze the record with this digest, and holds it whole."""
    for entry in entries:
        record = entry.facts.get("record")
        if entry.kind == kind and isinstance(record, dict) and digest_of(record) == digest:
            return entry.sequence
    return None


def _miscounted(entries: tuple[Entry, ...], own: tuple[Entry, ...]) -> Iterator[Check]:
    """Openings of this run whose number is not that of the openings in the trail up to them."""
    for line, facts in openings(own):
        groups = facts.get("groups")
        count = None
        if isinstance(groups, list) and all(isinstance(group, str) for group in groups):
            count = len(openings_of(entries[:line], groups))
        if facts.get("opening") != count:
            message = (
                f"the opening on line {line} is called number {facts.get('opening')!r}, "
                f"the trail gives {count}"
            )
            yield failed("trail", layout.TRAIL, message)


def check_checkpoint(pack: Contents, key: PublicKey | None) -> Iterator[Check]:
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
        yield failed(name, path, _plain(error))
        return
    if said != checkpoint_of(pack.trail, _origin(pack)):
        yield failed(name, path, f"signs {said.size} lines of {said.origin}, not this trail")


def check_parent(pack: Contents, key: PublicKey | None) -> Iterator[Check]:
    """Whether the trail is shown to go on from that of the pack before; nothing in a first pack."""
    if pack.trail is None or pack.info is None:
        return
    paths = (layout.PARENT_CHECKPOINT, layout.CONSISTENCY)
    there = [path for path in paths if path in pack.folder.digests]
    if PARENT_LABEL not in pack.info:
        for path in there:
            yield failed("parent-trail", path, "the pack names no parent that it could be about")
    elif not there:
        yield not_checked(
            "parent-trail",
            "the pack does not show that its trail goes on from that of the pack before",
        )
    elif missing := [path for path in paths if path not in there]:
        yield failed("parent-trail", missing[0], f"missing; {there[0]} belongs to it")
    else:
        yield _extension(pack, pack.trail, key)


def _extension(pack: Contents, trail: tuple[Entry, ...], key: PublicKey | None) -> Check:
    name, path = "parent-trail", layout.PARENT_CHECKPOINT
    try:
        note, proof = pack.folder.read(path), pack.folder.read(layout.CONSISTENCY)
        known = key is not None and names_key(note, key)
        parent = open_checkpoint(note, key) if key and known else read_checkpoint(note)
    except (ComplianceError, ValueError) as error:
        return failed(name, path, _plain(error))
    if parent.origin != _origin(pack):
        return failed(name, path, f"is of the trail {parent.origin}, not of {_origin(pack)}")
    if not extends(trail, parent):
        return failed(name, path, f"this trail does not begin with its {parent.size} lines")
    if canonical_bytes(prove_extension(trail, parent)) != proof:
        return failed(name, layout.CONSISTENCY, "is not the proof that this trail gives")
    if not known:
        message = "its trail goes on from a checkpoint of the pack before, signed with another key"
        return not_checked(name, message, path)
    message = f"the trail goes on from the {parent.size} lines of the pack before"
    return Check(name=name, status=Outcome.PASSED, message=message)


def check_witness(pack: Contents, trust: Trust) -> Iterator[Check]:
    """Whether the trail extends a checkpoint that somebody else kept.

    A checkpoint of a longer trail fails too: a pack that is older than what somebody saw may be
    given in place of the newest. Who wants to check an old pack takes a checkpoint of its time, or
    compares `compliance trail prove` from its own checkpoint to the later one.

    Raises:
        PackError: ``trust`` holds what is no checkpoint.
    """
    if trust.checkpoint is None:
        yield not_checked(
            "witness",
            "whoever holds the key could write the trail anew; compare data/checkpoint with a copy "
            "that somebody else kept",
        )
        return
    try:
        kept = read_checkpoint(trust.checkpoint)
    except ComplianceError as error:
        raise PackError(f"the given {error}", hint="such as data/checkpoint of a pack") from error
    if pack.trail is None or pack.info is None:
        yield not_checked("witness", "it needs the trail and bag-info.txt")
        return
    key = parse_public_key(trust.issuer, name="the given key") if trust.issuer else pack.key
    yield _witnessed(pack, pack.trail, kept, _signed(trust.checkpoint, key))


def _witnessed(pack: Contents, trail: tuple[Entry, ...], kept: Checkpoint, signed: str) -> Check:
    name, path = "witness", layout.TRAIL
    given = f"the given checkpoint ({signed}) is of "
    if kept.origin != _origin(pack):
        return failed(name, path, f"{given}{kept.origin}, the pack carries {_origin(pack)}")
    if kept.size > len(trail):
        return failed(
            name,
            path,
            f"{given}a longer trail, {kept.size} lines where the pack has {len(trail)}: this pack "
            "is older than what somebody saw; ask the issuer for the newest, or for a proof that "
            "the trail only went on",
        )
    if kept.size == 0:
        return not_checked(name, f"{given}no lines at all, which every trail goes on from")
    if not extends(trail, kept):
        return failed(
            name,
            path,
            f"{given}{kept.size} other lines: the trail was written anew since somebody saw it",
        )
    message = f"the trail goes on from the given checkpoint of {kept.size} lines ({signed})"
    return Check(name=name, status=Outcome.PASSED, message=message)


def _signed(note: bytes, key: PublicKey | None) -> str:
    """What is known of a kept checkpoint's signature. Its lines count with or without."""
    if key is None:
        return "signature not checked"
    try:
        open_checkpoint(note, key)
    except ComplianceError:
        return "not signed with the key of this pack"
    return "signed with the key of this pack"


def _origin(pack: Contents) -> str:
    return layout.origin((pack.info or {}).get("External-Identifier", ""))


def _plain(error: Exception) -> str:
    return str(error).removeprefix("checkpoint: ")
