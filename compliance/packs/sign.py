"""Statements about a pack (in-toto v1) and the envelopes that sign them (DSSE v1).

What is signed is ``pae(payload_type, payload)``; openssl checks the same bytes with
``pkeyutl -verify -rawin``. Whoever holds a pack may write a new statement with a key of their own,
so a signature says something only together with a key that came by another way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from pydantic import ValidationError

from compliance.errors import SignatureMismatch, VerificationError
from compliance.keys import PublicKey, Signer, verify_signature
from compliance.records.base import canonical_bytes
from compliance.records.pack import Profile, parse_canonical
from compliance.records.statement import (
    PAYLOAD_TYPE,
    Envelope,
    Predicate,
    Signature,
    SignedFile,
    Statement,
)
from compliance.records.trail import utc_text

ROOT = "root"
"""Name of the subject that is the root digest."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def make_statement(
    files: Mapping[str, str],
    *,
    pack_id: str,
    version: str,
    root_digest: str,
    parent_digest: str | None,
    signer: Signer,
    signed_at: datetime,
    profile: Profile | None = None,
) -> Statement:
    """State that these files (hexadecimal sha256 by path) and this root are the pack.

    With a profile it is a copy; see ``packs/redact.py``.
    """
    subjects = [SignedFile(name=name, digest={"sha256": files[name]}) for name in sorted(files)]
    root = SignedFile(name=ROOT, digest={"rfc6962Sha256": root_digest.removeprefix("sha256:")})
    predicate = Predicate(
        pack_id=pack_id,
        version=version,
        parent_digest=parent_digest,
        root_digest=root_digest,
        profile=profile,
        role=signer.role,
        signed_by=signer.name,
        signed_at=utc_text(signed_at),
    )
    return Statement(subject=(*subjects, root), predicate=predicate)


def sign_statement(statement: Statement, signer: Signer) -> bytes:
    """The statement in a signed envelope, as canonical JSON."""
    payload = canonical_bytes(statement)
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(
        payload=_b64(payload),
        signatures=(Signature(keyid=signer.key_id, sig=_b64(signature)),),
    )
    return canonical_bytes(envelope)


def open_envelope(data: bytes, *, path: str) -> tuple[Envelope, Statement]:
    """Read an envelope and the statement in it. The signature is not checked here.

    Raises:
        VerificationError: It is not spelt as an envelope of ours is; the message names ``path``.
    """
    try:
        envelope = Envelope.model_validate(parse_canonical(data))
        payload = _unb64(envelope.payload)
        return envelope, Statement.model_validate(parse_canonical(payload))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise VerificationError(f"{path}: {field}: {first['msg'].lower()}") from error
    except ValueError as error:
        raise VerificationError(f"{path}: {error}") from error


def verify_envelope(envelope: Envelope, key: PublicKey, *, path: str) -> None:
    """Check the envelope's signature.

    Raises:
        SignatureMismatch: This key did not sign these bytes.
    """
    signed = pae(envelope.payload_type, _unb64(envelope.payload))
    try:
        verify_signature(key, _unb64(envelope.signatures[0].sig), signed)
    except (InvalidSignature, ValueError) as error:
        raise SignatureMismatch(path, "the signature does not fit the statement") from error


def verify_detached(data: bytes, signature: bytes, key: PublicKey, *, path: str) -> None:
    """Check a detached signature, such as ``attestations/manifest.sig``.

    Raises:
        SignatureMismatch: This key did not sign these bytes.
    """
    try:
        verify_signature(key, signature, data)
    except InvalidSignature as error:
        raise SignatureMismatch(path, "the signature does not fit the manifest") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    """Decode base64 that has one spelling only."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if _b64(data) != text:
        raise ValueError("base64 with leftover bits")
    return data
