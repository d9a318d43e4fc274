r"""Persons sign a pack in their roles: first they are shown what, then they sign, or do not.

::

    shown = look_before_signing(pack, role="reviewer", key=KeySource("r.pem", name="R. Eviewer"))
    print(*shown.lines(), sep="\n")
    sign(shown)

Nothing here decides for a person: `sign` takes what `look_before_signing` gave, and refuses where
the pack is another one by then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from compliance import trail
from compliance.catalog.declarations import gaps as find_gaps
from compliance.catalog.load import load_catalog
from compliance.errors import PackError, VerificationError
from compliance.keys.opening import KeySource, open_signer
from compliance.packs import layout
from compliance.packs.approve import approve_pack, refuse_unsignable
from compliance.packs.folder import printable
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.sign import open_envelope
from compliance.records.base import digest_bytes
from compliance.workflow.stages import now

KINDS = {"reviewer": "reviewed", "approver": "approved", "releaser": "released"}
"""Kinds of the trail's entries by role; another role's is ``signed``."""


@dataclass(frozen=True)
class ToSign:
    """What a person is about to sign, and as whom."""

    pack: Path
    pack_id: str
    root_digest: str
    statement: str
    """Digest of the issuer's statement, which is signed too."""

    verdicts: dict[str, int]
    """Number of findings by verdict."""

    gaps: int
    """Facts that the law asks for and nobody declared."""

    signed: dict[str, int]
    """Signatures that are there, by role."""

    required: dict[str, int]
    role: str
    key_id: str
    key: KeySource

    def lines(self) -> list[str]:
        """The same for a reader."""
        verdicts = ", ".join(f"{n} {name}" for name, n in sorted(self.verdicts.items()))
        lines = [
            f"pack:     {self.pack_id}",
            f"root:     {self.root_digest}",
            f"verdicts: {verdicts or 'none'}",
            f"gaps:     {self.gaps} declarations are missing",
        ]
        for role in sorted(self.required.keys() | self.signed.keys()):
            wanted = f" of {self.required[role]}" if role in self.required else ""
            lines.append(f"signed:   {role}: {self.signed.get(role, 0)}{wanted}")
        return [
            *lines,
            f"role:     {self.role}",
            f"name:     {printable(self.key.name or '')}",
            f"key:      {self.key_id}",
        ]


def look_before_signing(pack: Path, *, role: str, key: KeySource) -> ToSign:
    """What a person would sign, once the pack was found whole and not signed by them yet.

    Raises:
        PackError: There is no folder with a pack, the name is missing, the key cannot be used, or
            has signed in this role already.
        VerificationError: The pack is damaged.
    """
    if not (key.name or "").strip():
        raise PackError("who signs? a name is missing", hint="give name and function in words")
    with open_signer(key, role=role) as signer:
        key_id = signer.key_id
    refuse_unsignable(pack, role=role, key=key_id)
    with read_pack(pack) as opened:
        issued, evidence = opened.statement.predicate, opened.evidence
        return ToSign(
            pack=pack,
            pack_id=issued.pack_id,
            root_digest=issued.root_digest,
            statement=digest_bytes(opened.file(layout.STATEMENT)),
            verdicts=dict(Counter(str(finding.verdict) for finding in evidence.findings)),
            gaps=len(find_gaps(evidence.system, load_catalog())),
            signed=dict(Counter(role for role, _ in _approvals(opened))),
            required=dict(evidence.required_signatures),
            role=role,
            key_id=key_id,
            key=key,
        )


def _approvals(opened: OpenPack) -> list[tuple[str, str]]:
    """Role and path of each statement of those who signed."""
    paths = sorted(path for path in opened.folder.digests if path.endswith(".dsse.json"))
    return [(role, path) for path in paths if (role := layout.approval_role(path))]


def sign(shown: ToSign) -> Path:
    """Sign what was shown, and record it in the trail where the pack lies beside one.

    Returns:
        The statement's file.

    Raises:
        VerificationError: The pack is not the one that was shown, or is damaged.
        PackError: The key cannot be used, or has signed in this role already.
        StorageError: The files cannot be written.
    """
    with open_signer(shown.key, role=shown.role) as signer:
        with read_pack(shown.pack) as opened:
            if digest_bytes(opened.file(layout.STATEMENT)) != shown.statement:
                raise VerificationError(
                    f"{layout.STATEMENT}: the pack is not the one that was shown",
                    hint="somebody changed it meanwhile; look at it again",
                )
        path = approve_pack(shown.pack, signer=signer, signed_at=now())
    record_signatures(shown.pack)
    return path


def record_signatures(pack: Path) -> None:
    """Write each signature of a role into the trail of the audit's folder, unless it is there.

    So one that was made elsewhere, or whose entry a kill left out, is recorded with the next.

    Raises:
        TrailError: The trail is broken.
    """
    path = pack.resolve().parent.parent / "trail.jsonl"
    if pack.resolve().parent.name != "packs" or not path.is_file():
        return
    with read_pack(pack) as opened:
        for role, name in _approvals(opened):
            data = opened.file(name)
            envelope, statement = open_envelope(data, path=name)
            said, key = statement.predicate, envelope.signatures[0].keyid
            facts = {
                "pack": said.pack_id,
                "root": said.root_digest,
                "role": role,
                "key": key,
                "signed_at": said.signed_at,
                "statement": digest_bytes(data),
            }
            actor = printable(said.signed_by or key)[:200]
            kind = KINDS.get(role, "signed")
            trail.append_once(path, kind, facts, at=now(), actor=actor)
