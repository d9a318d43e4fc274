"""Signing keys: ed25519 in the forms that openssl reads (PKCS#8 and SPKI PEM).

::

    create_keys(Path("issuer.pem"), Path("issuer.pub.pem"), passphrase=b"...")
    signer = Signer(load_private_key(Path("issuer.pem"), passphrase=b"..."), name="A. Person, QA")

A key is known by its id, the sha256 of the public key. Compare it with the issuer by another way
than the one the pack came by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.errors import PackError
from compliance.storage import write_secret

MAX_KEY_FILE = 1 << 16


@dataclass(frozen=True)
class Signer:
    """Who signs: a key, the responsible person in words, and the role they sign in."""

    key: Ed25519PrivateKey
    name: str | None = None
    role: str = "issuer"

    @property
    def key_id(self) -> str:
        return key_id(self.key.public_key())

    @property
    def public_pem(self) -> bytes:
        return public_pem(self.key.public_key())

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id!r}, name={self.name!r}, role={self.role!r})"


def create_keys(private: Path, public: Path, *, passphrase: bytes | None = None) -> str:
    """Make a key pair and write both halves; the private one only its owner may read.

    Returns:
        The key id.

    Raises:
        StorageError: One of the files is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    write_secret(private, private_pem(key, passphrase=passphrase))
    write_secret(public, public_pem(key.public_key()))
    public.chmod(0o644)
    return key_id(key.public_key())


def private_pem(key: Ed25519PrivateKey, *, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 PEM, encrypted where there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def public_pem(key: Ed25519PublicKey) -> bytes:
    """SPKI PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_id(key: Ed25519PublicKey) -> str:
    """``sha256:`` and the digest of the public key's SPKI DER bytes."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256:" + hashlib.sha256(der).hexdigest()


def load_private_key(path: Path, *, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        PackError: There is none, it is of another kind, or the passphrase does not open it.
    """
    try:
        key = serialization.load_pem_private_key(_read(path), password=passphrase)
    except TypeError as error:  # cryptography's word for a passphrase that is missing or extra
        wanted = "has no passphrase, and one was given" if passphrase else "needs its passphrase"
        raise PackError(f"{path}: the key {wanted}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "the passphrase does not open it, or it is not" if passphrase else "not"
        raise PackError(f"{path}: {reason} a private key in PEM form", hint=_hint()) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PackError(f"{path}: a {type(key).__name__}, expected ed25519", hint=_hint())
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        PackError: There is none, or it is of another kind.
    """
    return parse_public_key(_read(path), name=str(path))


def parse_public_key(pem: bytes, *, name: str = "key") -> Ed25519PublicKey:
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
        raise PackError(f"{name}: not a public key in PEM form", hint=_hint()) from error
    if not isinstance(key, Ed25519PublicKey):
        raise PackError(f"{name}: a {type(key).__name__}, expected ed25519", hint=_hint())
    return key


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_KEY_FILE)
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error


def _hint() -> str:
    return "ed25519 keys are made by 'openssl genpkey -algorithm ed25519'"
