"""Statement, signatures, approvals, and whose keys they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compliance.errors import ComplianceError
from compliance.keys import PublicKey, key_id, parse_public_key
from compliance.packs import layout
from compliance.packs.checks.contents import PASSED, Contents, changed, not_checked, own_key
from compliance.packs.checks.files import PARENT_LABEL, PROFILE_LABEL
from compliance.packs.cms import verify_cms
from compliance.packs.folder import failed
from compliance.packs.sign import ROOT, open_envelope, verify_detached, verify_envelope
from compliance.packs.trust import Trust
from compliance.records.statement import Envelope, Predicate, Statement
from compliance.records.trail import parse_utc
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
    if pack.info is not None and (here := pack.info.get(PROFILE_LABEL)) != predicate.profile:
        said, found = (f"a copy for {one!r}" if one else "a whole pack" for one in (
            predicate.profile, here
        ))  # fmt: skip
        yield failed("statement", layout.STATEMENT, f"is about {said}, and this is {found}")
    if pack.evidence:
        pack_id = f"{pack.evidence.system.name}-{predicate.version}"
        if predicate.pack_id != pack_id:
            message = f"the pack is called {predicate.pack_id}, its contents say {pack_id}"
            yield failed("statement", layout.STATEMENT, message)


def _info(predicate: Predicate) -> dict[str, str | None]:
    return {
        "External-Identifier": predicate.pack_id,
        PARENT_LABEL: predicate.parent_digest,
        PROFILE_LABEL: predicate.profile,
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


def check_signature(pack: Contents, key: PublicKey | None) -> Iterator[Check]:
    """Whether the key signed statement and manifest."""
    if key is None:
        yield not_checked("signature", "there is no key to check it with")
        return
    if pack.signed:
        yield from envelope_problems(
            "signature", layout.STATEMENT, layout.PUBLIC_KEY, pack.signed[0], key
        )
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


def envelope_problems(
    name: str, path: str, key_path: str, envelope: Envelope, key: PublicKey
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


def check_cms(pack: Contents, key: PublicKey | None) -> Iterator[Check]:
    """Whether the key signed the manifest by CMS too."""
    path, name = layout.MANIFEST_CMS, "cms"
    if path not in pack.folder.digests:
        message = (
            "there is no CMS signature: the issuer's key had no certificate, or is ed25519, which "
            "openssl 3.0 does not check in CMS"
        )
        yield not_checked(name, message)
        return
    if key is None or pack.signed is None or layout.MANIFEST not in pack.folder.digests:
        yield not_checked(name, "it needs the manifest, the statement and a key", path)
        return
    try:
        verify_cms(
            pack.folder.read(path),
            pack.folder.read(layout.MANIFEST),
            key=key,
            signed_at=parse_utc(pack.signed[1].predicate.signed_at),
            path=path,
        )
    except (ComplianceError, ValueError) as error:
        yield failed(name, path, str(error).removeprefix(f"{path}: "))
    else:
        yield Check(name=name, status=Outcome.PASSED, path=path, message=PASSED[name])


@dataclass(frozen=True)
class _Approval:
    """A statement of somebody who signed later, whose signature fits this pack."""

    role: str
    key: str
    path: str


def check_approvals(pack: Contents, trust: Trust) -> Iterator[Check]:
    """Statements of those who signed later, whose keys those are, and whether enough signed.

    Raises:
        PackError: What was given as a role's key is none.
    """
    known = {role: _key_ids(role, pems) for role, pems in trust.roles.items()}
    paths = (path for path in pack.folder.digests if layout.approval_role(path))
    found: list[_Approval] = []
    for stem in sorted({path.removesuffix(".pem").removesuffix(".dsse.json") for path in paths}):
        checked = _approval(pack, stem)
        if isinstance(checked, _Approval):
            found.append(checked)
            yield _whose(checked, known)
        else:
            yield from checked
    yield from _two_roles(pack, found)
    yield from _enough(pack, found, known)


def _key_ids(role: str, pems: Sequence[bytes]) -> set[str]:
    return {key_id(parse_public_key(pem, name=f"a key given for {role!r}")) for pem in pems}


def _approval(pack: Contents, stem: str) -> _Approval | list[Check]:
    path, key_path = f"{stem}.dsse.json", f"{stem}.pem"
    missing = {path, key_path} - set(pack.folder.digests)
    if missing:
        there = ({path, key_path} - missing).pop()
        absent = failed("approval", missing.pop(), f"missing; {there} belongs to it")
        return [absent, failed("approval", there, "says nothing alone")]
    try:
        key = own_key(pack.folder.read(key_path), key_path)
    except (ComplianceError, ValueError) as error:
        return [failed("approval", key_path, str(error).removeprefix(f"{key_path}: "))]
    try:
        envelope, statement = open_envelope(pack.folder.read(path), path=path)
    except (ComplianceError, ValueError) as error:
        return [failed("approval", path, str(error).removeprefix(f"{path}: "))]
    files = (*layout.SIGNED_TAG_FILES, layout.STATEMENT)
    problems = [
        *envelope_problems("approval", path, key_path, envelope, key),
        *_subjects("approval", path, pack, statement, files),
        *_place(pack, path, statement.predicate, key),
    ]
    return problems or _Approval(statement.predicate.role, key_id(key), path)


def _place(pack: Contents, path: str, said: Predicate, key: PublicKey) -> Iterator[Check]:
    """Whether a statement lies where it belongs: its pack, and its role's and key's file."""
    filed = layout.approval_role(path)
    if said.role != filed:
        yield failed("approval", path, f"signed as {said.role!r}, filed as {filed!r}")
    elif path != layout.approval_paths(said.role, key_id(key))[0]:
        yield failed("approval", path, f"signed by {key_id(key)}, filed under another key")
    if pack.signed and _identity(said) != _identity(pack.signed[1].predicate):
        yield failed("approval", path, "names another pack than the issuer's statement")


def _whose(approval: _Approval, known: Mapping[str, Collection[str]]) -> Check:
    """Whether the key is one that the verifier knows for this role."""
    signed = f"signed as {approval.role} by {approval.key}"
    if approval.key in known.get(approval.role, ()):
        message = f"{signed}, a key that was given for this role"
        return Check(name="approval", status=Outcome.PASSED, path=approval.path, message=message)
    if approval.role in known:
        message = f"{signed}, which is no key that was given for this role"
    else:
        message = f"{signed}; whose key that is was not checked"
    return not_checked("approval", message, approval.path)


def _two_roles(pack: Contents, found: Sequence[_Approval]) -> Iterator[Check]:
    """Say of a key that it signed in two roles: four eyes may have been two."""
    roles: dict[str, list[str]] = {}
    if pack.signed:
        roles[pack.signed[0].signatures[0].keyid] = [pack.signed[1].predicate.role]
    for approval in found:
        roles.setdefault(approval.key, []).append(approval.role)
    for key, names in sorted(roles.items()):
        if len(names) > 1:
            said = f"one key, {key}, signed as {' and as '.join(names)}"
            yield not_checked("approval", f"{said}; that these are several persons is not shown")


def _enough(
    pack: Contents, found: Sequence[_Approval], known: Mapping[str, Collection[str]]
) -> Iterator[Check]:
    """Whether as many persons signed in each role as the audit wants."""
    required = pack.evidence.required_signatures if pack.evidence else {}
    for role, wanted in sorted(required.items()):
        signed = {approval.key for approval in found if approval.role == role}
        trusted = len(signed & set(known.get(role, ())))
        message = (
            f"{role}: {len(signed)} of {wanted} signatures are there; "
            f"{trusted} by keys that were given"
        )
        if trusted >= wanted:
            yield Check(name="threshold", status=Outcome.PASSED, message=message)
        else:
            yield not_checked("threshold", message)
    yield not_checked("approvals", "a pack does not show whether an approval was taken away")


def _identity(predicate: Predicate) -> tuple[str | None, ...]:
    return (
        predicate.pack_id,
        predicate.version,
        predicate.root_digest,
        predicate.parent_digest,
    )


def check_issuer(pack: Contents, issuer: PublicKey | None) -> Check:
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
