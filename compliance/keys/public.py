"""Public keys and what they verify: ed25519, and ECDSA over P-256 with SHA-256.

Both in the forms that openssl reads. A signature has one spelling: 64 raw bytes for ed25519; for
ECDSA the DER of (r, s) with the smaller of the two values that s can have, so that nobody without
the key can turn one signature into another one that verifies too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from compliance.errors import PackError

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
"""Elliptic curves other than P-256 are refused where a key is read."""

Algorithm = Literal["ed25519", "ecdsa-p256"]

MAX_KEY_FILE = 1 << 16
KEY_HINT = (
    "keys are made by 'compliance keys create', by 'openssl genpkey -algorithm ed25519' or by "
    "'openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'"
)

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def algorithm_of(key: PublicKey) -> Algorithm:
    """What a key signs with."""
    return "ed25519" if isinstance(key, Ed25519PublicKey) else "ecdsa-p256"


def public_pem(key: PublicKey) -> bytes:
    """SPKI PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_der(key: PublicKey) -> bytes:
    """SPKI DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_id(key: PublicKey) -> str:
    """``sha256:`` and the digest of the public key's SPKI DER bytes."""
    return "sha256:" + hashlib.sha256(public_der(key)).hexdigest()


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        PackError: There is none, or it is of another kind.
    """
    return parse_public_key(read_key_file(path), name=str(path))


def parse_public_key(pem: bytes, *, name: str = "key") -> PublicKey:
    """The same from bytes; ``name`` is what messages call them.

    Raises:
        PackError: It is no public key, or one of another kind.
    """
    if b"PRIVATE KEY" in pem:
        raise PackError(
            f"{name}: this is a private key, expected the public one",
            hint="openssl pkey -in PRIVATE -pubout writes the public half",
        )
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PackError(f"{name}: not a public key in PEM form", hint=KEY_HINT) from error
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and is_p256(key):
        return key
    raise PackError(f"{name}: {kind_of(key)}, expected ed25519 or P-256", hint=KEY_HINT)


def is_p256(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> bool:
    """Whether the key lies on the one curve that is used here."""
    return isinstance(key.curve, ec.SECP256R1)


def kind_of(key: object) -> str:
    """What a message calls a key of a kind that is not used here."""
    curve = getattr(key, "curve", None)
    return f"a key on the curve {curve.name}" if curve else f"a {type(key).__name__}"


def verify_signature(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Check that the holder of ``key`` signed ``data``.

    Raises:
        InvalidSignature: They did not, or the signature is spelt in another way than ours are.
    """
    if isinstance(key, Ed25519PublicKey):
        key.verify(signature, data)
        return
    try:
        spelt = low_s(signature)
    except ValueError as error:
        raise InvalidSignature from error
    if spelt != signature:
        raise InvalidSignature
    key.verify(signature, data, ec.ECDSA(hashes.SHA256()))


def low_s(signature: bytes) -> bytes:
    """The same ECDSA signature over P-256 with the smaller s.

    Raises:
        ValueError: It is not the DER of two numbers.
    """
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def read_key_file(path: Path) -> bytes:
    """The bytes of a key or certificate.

    Raises:
        PackError: They cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(MAX_KEY_FILE)
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
