"""Statement, signatures, approvals, and whose keys they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.errors import ComplianceError
from compliance.keys import key_id
from compliance.packs import layout
from compliance.packs.checks.contents import Contents, changed, not_checked, own_key
from compliance.packs.checks.files import PARENT_LABEL
from compliance.packs.folder import failed
from compliance.packs.sign import ROOT, open_envelope, verify_detached, verify_envelope
from compliance.packs.trust import Trust
from compliance.records.statement import Envelope, Predicate, Statement
from compliance.records.verification import Check, Outcome


def check_statement(pack: Contents) -> Iterator[Check]:
    """Whether the issuer's statement is about these files and this pack."""
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
        PARENT_LABEL: predicate.parent_digest,
    }


def _subjects(
    name: str, place: str, pack: Contents, statement: Statement, files: Iterable[str]
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
            yield changed(name, path, expected, actual, "the statement")


def check_signature(pack: Contents, key: Ed25519PublicKey | None) -> Iterator[Check]:
    """Whether the key signed statement and manifest."""
    if key is None:
        yield not_checked("signature", "there is no key to check it with")
        return
    if pack.signed:
        yield from _envelope("signature", layout.STATEMENT, layout.PUBLIC_KEY, pack.signed[0], key)
    if pack.key and key_id(pack.key) != key_id(key):
        message = f"key {key_id(pack.key)}, the given one is {key_id(key)}"
        yield failed("signature", layout.PUBLIC_KEY, message)
    path, files = layout.MANIFEST_SIGNATURE, pack.folder
    if not {path, layout.MANIFEST, layout.STATEMENT} <= set(files.digests):
        yield not_checked("signature", "a file that it needs is missing")
    elif pack.signed is None:
        yield not_checked("signature", "the statement cannot be read")
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


def check_approvals(pack: Contents, trust: Trust) -> Iterator[Check]:
    """Statements of those who signed later, each with the key that lies beside it."""
    paths = [path for path in pack.folder.digests if layout.approval_role(path)]
    for role in sorted({layout.approval_role(path) or "" for path in paths}):
        yield from _approval(pack, role)


def _approval(pack: Contents, role: str) -> Iterator[Check]:
    path, key_path = layout.approval_paths(role)
    missing = {path, key_path} - set(pack.folder.digests)
    if missing:
        there = ({path, key_path} - missing).pop()
        yield failed("approval", missing.pop(), f"missing; {there} belongs to it")
        yield failed("approval", there, "says nothing alone")
        return
    try:
        key = own_key(pack.folder.read(key_path), key_path)
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
        yield not_checked("approval", message, path)


def _identity(predicate: Predicate) -> tuple[str | None, ...]:
    return (
        predicate.pack_id,
        predicate.version,
        predicate.root_digest,
        predicate.parent_digest,
    )


def check_issuer(pack: Contents, issuer: Ed25519PublicKey | None) -> Check:
    """Whether the key that signed is the one that was given from outside."""
    signed_by = pack.signed[0].signatures[0].keyid if pack.signed else "unknown"
    if issuer is None:
        message = (
            "the issuer was not checked: no key was given, and anyone can sign a pack with a key "
            f"of their own; this one names key {signed_by}"
        )
        return not_checked("issuer", message)
    if signed_by != key_id(issuer):
        message = f"signed with key {signed_by}, the given key is {key_id(issuer)}"
        return failed("issuer", layout.STATEMENT, message)
    return Check(
        name="issuer", status=Outcome.PASSED, message=f"the issuer holds the given key, {signed_by}"
    )
