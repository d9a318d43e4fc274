"""Checks that a pack is complete, unchanged and signed, and says what it did not check.

::

    verification = verify_integrity(path, key=pem)
    verification.ok, verification.summary()

All problems are reported, each with its file; the first one does not hide the others. Nothing is
believed because another file says so: digests, the root and the tag manifest are made anew from
what is there, and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.errors import ComplianceError, DigestMismatch
from compliance.packs import layout
from compliance.packs.folder import Folder, failed, printable, survey
from compliance.packs.items import PackItem, root_digest, shown_pictures
from compliance.packs.keys import key_id, parse_public_key, public_pem
from compliance.packs.reading import parse_evidence, parse_items
from compliance.packs.sign import ROOT, open_envelope, verify_detached, verify_envelope
from compliance.packs.zipped import unpacked
from compliance.records.base import digest_of
from compliance.records.evidence import Evidence
from compliance.records.statement import Envelope, Predicate, Statement
from compliance.records.trail import Entry
from compliance.records.verification import Check, Outcome, Verification
from compliance.trail import checkpoint_of, open_checkpoint, parse

T = TypeVar("T")

_INFO_LABELS = frozenset(
    {"Bag-Software-Agent", "Bagging-Date", "External-Identifier", "Payload-Oxum", "Root-Digest"}
)
_PARENT_LABEL = "Parent-Root-Digest"
_PASSED = {
    "files": "there are plain files only, with plain names",
    "manifest": "every file below data/ is as the manifest lists it",
    "bag": "bagit.txt and bag-info.txt fit the files",
    "evidence": "evidence.json is canonical and names each observation file",
    "items": "every item is canonical, with its salt or its digest",
    "pictures": "every picture is the one that an item names, and none is there besides",
    "trail": "the trail's chain is whole; plan and lock are in it",
    "checkpoint": "the checkpoint signs the head of this trail",
    "root": "the root digest follows from the files",
    "statement": "the statement is about these files",
    "signature": "statement and manifest are signed",
    "tag-manifest": "tagmanifest-sha256.txt lists every file outside data/",
}
_BAGIT_DIGEST = hashlib.sha256(layout.BAGIT_TEXT).hexdigest()


def check_integrity(pack: Path, *, key: bytes | None = None) -> tuple[Check, ...]:
    """Check everything that needs no computation on the observations.

    Args:
        pack: A folder or a ZIP.
        key: The issuer's public key in PEM form, from outside the pack.

    Raises:
        PackError: There is no pack here, or ``key`` is not a public key.
        StorageError: There is no room to unpack the ZIP.
    """
    return verify_integrity(pack, key=key).checks


def verify_integrity(pack: Path, *, key: bytes | None = None) -> Verification:
    """The same as a record, with the root digest that the files give.

    Raises:
        PackError: There is no pack here, or ``key`` is not a public key.
        StorageError: There is no room to unpack the ZIP.
    """
    issuer = None if key is None else parse_public_key(key, name="the given key")
    with unpacked(pack) as (root, problems):
        contents = None if problems else _load(survey(root))
        return Verification(
            pack=printable(pack.resolve().name),
            level="integrity",
            checks=tuple(_checks(contents, issuer)) if contents else problems,
            root_digest=_root(contents) if contents else None,
        )


@dataclass(frozen=True)
class _Contents:
    """What could be read of a pack; None for what could not, and ``problems`` says why."""

    folder: Folder
    manifest: dict[str, str] | None
    info: dict[str, str] | None
    evidence: Evidence | None
    items: tuple[PackItem, ...] | None
    trail: tuple[Entry, ...] | None
    signed: tuple[Envelope, Statement] | None
    key: Ed25519PublicKey | None
    problems: dict[str, list[Check]]
    """By the name of the check."""


def _load(folder: Folder) -> _Contents:
    problems: dict[str, list[Check]] = {}

    def load(name: str, path: str, parser: Callable[[bytes], T], limit: int) -> T | None:
        if path not in folder.digests:
            problems.setdefault(name, []).append(failed(name, path, "missing"))
            return None
        try:
            return parser(folder.read(path, limit=limit))
        except (ComplianceError, ValueError) as error:
            message = str(error).removeprefix(f"{path}: ")
            problems.setdefault(name, []).append(failed(name, path, message))
            return None

    small, large = layout.MAX_TEXT_FILE, layout.MAX_JSON_FILE
    return _Contents(
        folder=folder,
        manifest=load("manifest", layout.MANIFEST, layout.parse_manifest, small),
        info=load("bag", layout.BAG_INFO, layout.parse_info, small),
        evidence=load("evidence", layout.EVIDENCE, parse_evidence, large),
        items=load("items", layout.ITEMS, parse_items, large),
        trail=load("trail", layout.TRAIL, parse, large),
        signed=load("statement", layout.STATEMENT, _open_statement, small),
        key=load("signature", layout.PUBLIC_KEY, _own_key, small),
        problems=problems,
    )


def _open_statement(data: bytes) -> tuple[Envelope, Statement]:
    return open_envelope(data, path=layout.STATEMENT)


def _own_key(data: bytes, path: str = layout.PUBLIC_KEY) -> Ed25519PublicKey:
    key = parse_public_key(data, name=path)
    if public_pem(key) != data:
        raise ValueError("the key is spelt in another way than openssl spells it")
    return key


def _checks(pack: _Contents, issuer: Ed25519PublicKey | None) -> Iterator[Check]:
    """All checks, in an order in which a reader understands them."""
    key = issuer or pack.key
    checks = [
        *_part("files", pack, pack.folder.problems),
        *_part("manifest", pack, _manifest(pack)),
        *_part("bag", pack, _bag(pack)),
        *_part("evidence", pack, _evidence(pack)),
        *_part("items", pack, ()),
        *_pictures(pack),
        *_part("trail", pack, _trail(pack)),
        *_part("checkpoint", pack, _checkpoint(pack, key)),
        *_part("root", pack, _roots(pack)),
        *_part("statement", pack, _statement(pack)),
        *_part("signature", pack, _signature(pack, key)),
        _issuer(pack, issuer),
        *_approvals(pack),
        *_never_checked(pack),
    ]
    yield from checks
    named = {check.path for check in checks if check.status is Outcome.FAILED}
    yield from _part("tag-manifest", pack, _tag_manifest(pack, named))


def _part(name: str, pack: _Contents, found: Iterable[Check]) -> list[Check]:
    """The failures of one check, or that it passed."""
    problems = [*pack.problems.get(name, []), *found]
    return problems or [Check(name=name, status=Outcome.PASSED, message=_PASSED[name])]


def _not_checked(name: str, message: str, path: str | None = None) -> Check:
    return Check(name=name, status=Outcome.NOT_CHECKED, path=path, message=printable(message))


def _manifest(pack: _Contents) -> Iterator[Check]:
    name, found = "manifest", pack.folder.digests
    if pack.manifest is None:
        yield _not_checked(name, "files could not be compared, since the manifest is unreadable")
        return
    listed = pack.manifest
    for path in sorted(listed):
        if not path.startswith("data/"):
            yield failed(name, layout.MANIFEST, f"lists {path}, which is not below data/")
        elif path not in found:
            yield failed(name, path, "missing, or no plain file; the manifest lists it")
        elif found[path] != listed[path]:
            yield _changed(name, path, listed[path], found[path])
    for path in sorted(found):
        if path.startswith("data/") and path not in listed:
            yield failed(name, path, "added: the manifest does not list it")
    for path in layout.REQUIRED_DATA:
        if path not in listed:
            yield failed(name, path, "not in the manifest, and every pack has it")


def _changed(name: str, path: str, expected: str, actual: str, by: str = "the manifest") -> Check:
    message = str(DigestMismatch(path, expected=expected, actual=actual))
    return failed(name, path, message.removeprefix(f"{path}: ").replace("the manifest", by))


def _bag(pack: _Contents) -> Iterator[Check]:
    name, found = "bag", pack.folder
    for path in sorted({layout.BAGIT, layout.MANIFEST_SIGNATURE} - set(found.digests)):
        yield failed(name, path, "missing")
    if found.digests.get(layout.BAGIT, _BAGIT_DIGEST) != _BAGIT_DIGEST:
        yield failed(name, layout.BAGIT, "not the text that every BagIt 1.0 bag has")
    for path in sorted(found.digests):
        if not path.startswith("data/") and not layout.belongs(path):
            yield failed(name, path, "has no place in a pack")
    if pack.info is None:
        return
    if set(pack.info) - {_PARENT_LABEL} != _INFO_LABELS:
        odd = sorted((set(pack.info) - {_PARENT_LABEL}) ^ _INFO_LABELS)
        yield failed(name, layout.BAG_INFO, f"{odd[0]} is missing, or has no place there")
    sizes = [size for path, size in found.sizes.items() if path.startswith("data/")]
    oxum = f"{sum(sizes)}.{len(sizes)}"
    if pack.info.get("Payload-Oxum") != oxum:
        stated = pack.info.get("Payload-Oxum")
        yield failed(name, layout.BAG_INFO, f"Payload-Oxum is {stated}, the files give {oxum}")


def _evidence(pack: _Contents) -> Iterator[Check]:
    if pack.evidence is None:
        return
    found = pack.folder.below(layout.OBSERVATIONS)
    stated = pack.evidence.observations
    for path in sorted({*found, *stated}):
        place = layout.OBSERVATIONS + path
        if path not in stated:
            yield failed("evidence", place, "evidence.json does not name it")
        elif path not in found:
            yield failed("evidence", place, "missing; evidence.json names it")
        elif stated[path] != f"sha256:{found[path]}":
            expected = stated[path].removeprefix("sha256:")
            yield _changed("evidence", place, expected, found[path], "evidence.json")


def _pictures(pack: _Contents) -> Iterable[Check]:
    """Nothing is said of a pack without pictures."""
    found = pack.folder.below(layout.IMAGES)
    stated = {} if pack.items is None else shown_pictures(pack.items)
    named = {path.removeprefix("images/"): digest for path, digest in stated.items()}
    if pack.items is None and found:
        return [_not_checked("pictures", "they need the items, which cannot be read")]
    return _part("pictures", pack, _wrong_pictures(found, named)) if found or named else ()


def _wrong_pictures(found: Mapping[str, str], named: Mapping[str, str]) -> Iterator[Check]:
    for path in sorted({*found, *named}):
        place = layout.IMAGES + path
        if path not in named:
            yield failed("pictures", place, "no item that is shown names it")
        elif path not in found:
            yield failed("pictures", place, "missing; an item shows it")
        elif found[path] != named[path]:
            yield _changed("pictures", place, named[path], found[path], "its item")


def _trail(pack: _Contents) -> Iterator[Check]:
    """Whether what was frozen is what the evidence rests on, in the order that was promised."""
    if pack.trail is None or pack.evidence is None:
        yield _not_checked("trail", "plan and lock could not be compared with the evidence")
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


def _checkpoint(pack: _Contents, key: Ed25519PublicKey | None) -> Iterator[Check]:
    name, path = "checkpoint", layout.CHECKPOINT
    if path not in pack.folder.digests:
        yield failed(name, path, "missing")
        return
    if key is None or pack.trail is None or pack.info is None:
        yield _not_checked(name, "it needs the trail, a key and bag-info.txt", path)
        return
    try:
        said = open_checkpoint(pack.folder.read(path), key)
    except (ComplianceError, ValueError) as error:
        yield failed(name, path, str(error))
        return
    pack_id = pack.info.get("External-Identifier", "")
    if said != checkpoint_of(pack.trail, layout.origin(pack_id)):
        yield failed(name, path, f"signs {said.size} lines of {said.origin}, not this trail")


def _root(pack: _Contents) -> str | None:
    evidence = pack.folder.digests.get(layout.EVIDENCE)
    if evidence is None or pack.items is None:
        return None
    found = pack.folder.below(layout.OBSERVATIONS)
    observations = {path: f"sha256:{digest}" for path, digest in found.items()}
    return root_digest(f"sha256:{evidence}", observations, pack.items)


def _roots(pack: _Contents) -> Iterator[Check]:
    root = _root(pack)
    if root is None or pack.signed is None or pack.info is None:
        yield _not_checked("root", "it needs evidence, items, bag-info.txt and the statement")
        return
    stated = {
        layout.BAG_INFO: pack.info.get("Root-Digest", "absent"),
        layout.STATEMENT: pack.signed[1].predicate.root_digest,
    }
    for path, value in stated.items():
        if value != root:
            yield failed("root", path, f"the root digest is {value}, the files give {root}")


def _statement(pack: _Contents) -> Iterator[Check]:
    if pack.signed is None:
        return
    statement = pack.signed[1]
    predicate = statement.predicate
    yield from _subjects("statement", layout.STATEMENT, pack, statement, layout.SIGNED_TAG_FILES)
    expected = _info(predicate)
    for label, value in expected.items():
        if pack.info is not None and pack.info.get(label) != value:
            said = pack.info.get(label)
            message = f"{label} is {said!r}, the statement says {value!r}"
            yield failed("statement", layout.BAG_INFO, message)
    if pack.evidence:
        pack_id = f"{pack.evidence.system.name}-{predicate.version}"
        if predicate.pack_id != pack_id:
            message = f"the pack is called {predicate.pack_id}, its contents say {pack_id}"
            yield failed("statement", layout.STATEMENT, message)


def _info(predicate: Predicate) -> dict[str, str | None]:
    return {
        "External-Identifier": predicate.pack_id,
        _PARENT_LABEL: predicate.parent_digest,
    }


def _subjects(
    name: str, place: str, pack: _Contents, statement: Statement, files: Iterable[str]
) -> Iterator[Check]:
    """Whether a statement is about exactly these files and its own root digest."""
    subjects = {subject.name: subject.digest for subject in statement.subject}
    if sorted([*files, ROOT]) != sorted(subject.name for subject in statement.subject):
        yield failed(name, place, f"its subjects are not {', '.join(sorted(files))} and the root")
        return
    if subjects[ROOT] != {"rfc6962Sha256": statement.predicate.root_digest[7:]}:
        yield failed(name, place, "its root digest is another one in the subject")
    for path in files:
        actual = pack.folder.digests.get(path)
        expected = subjects[path].get("sha256", "")
        if actual is not None and actual != expected:
            yield _changed(name, path, expected, actual, "the statement")


def _signature(pack: _Contents, key: Ed25519PublicKey | None) -> Iterator[Check]:
    if key is None:
        yield _not_checked("signature", "there is no key to check it with")
        return
    if pack.signed:
        yield from _envelope("signature", layout.STATEMENT, layout.PUBLIC_KEY, pack.signed[0], key)
    if pack.key and key_id(pack.key) != key_id(key):
        message = f"key {key_id(pack.key)}, the given one is {key_id(key)}"
        yield failed("signature", layout.PUBLIC_KEY, message)
    path, files = layout.MANIFEST_SIGNATURE, pack.folder
    if not {path, layout.MANIFEST, layout.STATEMENT} <= set(files.digests):
        yield _not_checked("signature", "a file that it needs is missing")
    elif pack.signed is None:
        yield _not_checked("signature", "the statement cannot be read")
    else:
        try:
            verify_detached(files.read(layout.MANIFEST), files.read(path), key, path=path)
        except (ComplianceError, ValueError) as error:
            yield failed("signature", path, str(error).removeprefix(f"{path}: "))


def _envelope(
    name: str, path: str, key_path: str, envelope: Envelope, key: Ed25519PublicKey
) -> Iterator[Check]:
    """Whether the key signed the envelope, and is the one that the envelope names.

    Where neither holds, the key is as likely to have been changed as the envelope.
    """
    wrong = envelope.signatures[0].keyid != key_id(key)
    if wrong:
        yield failed(name, path, f"names key {envelope.signatures[0].keyid}, not {key_id(key)}")
    try:
        verify_envelope(envelope, key, path=path)
    except ComplianceError as error:
        yield failed(name, path, str(error).removeprefix(f"{path}: "))
        if wrong:
            yield failed(name, key_path, f"not the key that {path} names")


def _approvals(pack: _Contents) -> Iterator[Check]:
    """Statements of those who signed later, each with the key that lies beside it."""
    paths = [path for path in pack.folder.digests if layout.approval_role(path)]
    for role in sorted({layout.approval_role(path) or "" for path in paths}):
        yield from _approval(pack, role)


def _approval(pack: _Contents, role: str) -> Iterator[Check]:
    path, key_path = layout.approval_paths(role)
    missing = {path, key_path} - set(pack.folder.digests)
    if missing:
        there = ({path, key_path} - missing).pop()
        yield failed("approval", missing.pop(), f"missing; {there} belongs to it")
        yield failed("approval", there, "says nothing alone")
        return
    try:
        key = _own_key(pack.folder.read(key_path), key_path)
    except (ComplianceError, ValueError) as error:
        yield failed("approval", key_path, str(error).removeprefix(f"{key_path}: "))
        return
    try:
        envelope, statement = open_envelope(pack.folder.read(path), path=path)
    except (ComplianceError, ValueError) as error:
        yield failed("approval", path, str(error).removeprefix(f"{path}: "))
        return
    files = (*layout.SIGNED_TAG_FILES, layout.STATEMENT)
    problems = [
        *_envelope("approval", path, key_path, envelope, key),
        *_subjects("approval", path, pack, statement, files),
    ]
    said = statement.predicate
    if said.role != role:
        problems.append(failed("approval", path, f"signed as {said.role!r}, filed as {role!r}"))
    if pack.signed and _identity(said) != _identity(pack.signed[1].predicate):
        problems.append(failed("approval", path, "names another pack than the issuer's statement"))
    yield from problems
    if not problems:
        message = f"signed by {key_id(key)}; whose key that is was not checked"
        yield _not_checked("approval", message, path)


def _identity(predicate: Predicate) -> tuple[str | None, ...]:
    return (
        predicate.pack_id,
        predicate.version,
        predicate.root_digest,
        predicate.parent_digest,
    )


def _issuer(pack: _Contents, issuer: Ed25519PublicKey | None) -> Check:
    signed_by = pack.signed[0].signatures[0].keyid if pack.signed else "unknown"
    if issuer is None:
        message = (
            "the issuer was not checked: no key was given, and anyone can sign a pack with a key "
            f"of their own; this one names key {signed_by}"
        )
        return _not_checked("issuer", message)
    if signed_by != key_id(issuer):
        message = f"signed with key {signed_by}, the given key is {key_id(issuer)}"
        return failed("issuer", layout.STATEMENT, message)
    return Check(
        name="issuer", status=Outcome.PASSED, message=f"the issuer holds the given key, {signed_by}"
    )


def _never_checked(pack: _Contents) -> Iterator[Check]:
    """What this level cannot know, said each time."""
    stamp = layout.TIME_STAMP if layout.TIME_STAMP in pack.folder.digests else None
    absent = "the times are the signer's own: there is no time stamp"
    yield _not_checked("time-stamp", "it was not looked at" if stamp else absent, stamp)
    yield _not_checked(
        "witness",
        "whoever holds the key could write the trail anew; compare data/checkpoint with a copy "
        "that somebody else kept",
    )
    yield _not_checked("report", "the wording of the report was not compared with the evidence")


def _tag_manifest(pack: _Contents, named: set[str | None]) -> Iterator[Check]:
    """Compare with what the files give.

    A file that no other check blames is vouched for by a signature, so the list is wrong then.
    """
    name, path = "tag-manifest", layout.TAG_MANIFEST
    tags = {
        tag: digest
        for tag, digest in pack.folder.digests.items()
        if not tag.startswith("data/") and tag != path
    }
    if path not in pack.folder.digests:
        yield failed(name, path, "missing")
        return
    try:
        data = pack.folder.read(path)
        if data == layout.render_manifest(tags):
            return
        listed = layout.parse_manifest(data)
    except ValueError as error:
        yield failed(name, path, str(error))
        return
    for tag in sorted({*tags, *listed}):
        if tag not in listed:
            yield failed(name, path, f"does not list {tag}")
        elif tag not in tags:
            yield failed(name, tag, "missing; tagmanifest-sha256.txt lists it")
        elif tags[tag] != listed[tag]:
            place = tag if tag in named or tag == layout.TIME_STAMP else path
            yield _changed(name, place, listed[tag], tags[tag], f"the list of {tag}")
