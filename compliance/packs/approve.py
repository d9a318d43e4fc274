"""A role signs a pack that is already there: preparation, review, approval.

The pack stays as it is; the statement and the key are added under ``attestations/approvals/``, and
the list of BagIt's tools is written anew. An approval signs the issuer's statement too, so it
cannot be moved to another pack. Nothing shows that an approval was taken away again: keep a copy.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from compliance.errors import PackError, VerificationError
from compliance.keys import Signer
from compliance.packs import layout
from compliance.packs.build import write_tag_manifest
from compliance.packs.folder import survey
from compliance.packs.integrity import check_integrity
from compliance.packs.reading import OpenPack
from compliance.packs.sign import make_statement, sign_statement
from compliance.records.verification import Outcome
from compliance.storage import write_bytes


def approve_pack(pack: Path, *, signer: Signer, signed_at: datetime) -> Path:
    """Add the signer's statement, under their role.

    Returns:
        The statement's file.

    Raises:
        PackError: It is a ZIP, or this key has signed in this role already.
        VerificationError: The pack is damaged; nobody should sign it.
        StorageError: The files cannot be written.
    """
    refuse_unsignable(pack, role=signer.role, key=signer.key_id)
    paths = layout.approval_paths(signer.role, signer.key_id)
    _add(pack, *paths, signer, signed_at)
    return pack / paths[0]


def refuse_unsignable(pack: Path, *, role: str, key: str) -> None:
    """Refuse what `approve_pack` would refuse for this role and key id.

    Raises:
        PackError: It is a ZIP or a redacted copy, or this key has signed in this role already.
        VerificationError: The pack is damaged.
    """
    if not pack.is_dir():
        raise PackError(f"{pack}: not a folder", hint="unpack the ZIP, sign, and pack it again")
    path, key_path = layout.approval_paths(role, key)
    if layout.approval_role(path) != role:
        raise PackError(f"{role!r} is not a role", hint="such as 'reviewer' or 'approver'")
    if role == "issuer":
        raise PackError("the issuer signs a pack when it is built, and not again")
    if (pack / path).exists():
        raise PackError(f"{path}: this key has signed already as {role!r}")
    if OpenPack(survey(pack)).statement.predicate.profile:
        raise PackError(
            f"{pack.name}: a copy for others", hint="sign the pack that it is a copy of"
        )
    unfinished = (layout.TAG_MANIFEST, path, key_path)  # what an approval that was killed leaves
    for check in check_integrity(pack):
        if check.status is Outcome.FAILED and check.path not in unfinished:
            raise VerificationError(check.line, hint="see 'compliance verify'")


def _add(pack: Path, path: str, key_path: str, signer: Signer, signed_at: datetime) -> None:
    folder = survey(pack)
    issued = OpenPack(folder).statement.predicate
    statement = make_statement(
        {name: folder.digests[name] for name in (*layout.SIGNED_TAG_FILES, layout.STATEMENT)},
        pack_id=issued.pack_id,
        version=issued.version,
        root_digest=issued.root_digest,
        parent_digest=issued.parent_digest,
        signer=signer,
        signed_at=signed_at,
    )
    write_bytes(pack / key_path, signer.public_pem)
    write_bytes(pack / path, sign_statement(statement, signer))
    write_tag_manifest(pack)
