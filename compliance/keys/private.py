"""Private keys in files: PKCS#8 in PEM form, with a passphrase or without."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import PackError
from compliance.keys.public import (
    KEY_HINT,
    Algorithm,
    is_p256,
    key_id,
    kind_of,
    low_s,
    public_pem,
    read_key_file,
)
from compliance.storage import write_secret

FileKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
"""A key that lies in a file, and in memory while it signs."""

_SALT_CONTEXT = b"sae-compliance salt secret v1\n"


def generate_key(algorithm: Algorithm = "ed25519") -> FileKey:
    """A new key."""
    if algorithm == "ed25519":
        return Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def create_keys(
    private: Path,
    public: Path,
    *,
    passphrase: bytes | None = None,
    algorithm: Algorithm = "ed25519",
) -> str:
    """Make a key pair and write both halves; the private one only its owner may read.

    Returns:
        The key id.

    Raises:
        StorageError: One of the files is there already, or cannot be written.
    """
    key = generate_key(algorithm)
    write_secret(private, private_pem(key, passphrase=passphrase))
    write_secret(public, public_pem(key.public_key()))
    public.chmod(0o644)
    return key_id(key.public_key())


def private_pem(key: FileKey, *, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 PEM, encrypted where there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def load_private_key(path: Path, *, passphrase: bytes | None = None) -> FileKey:
    """Read a private key.

    Raises:
        PackError: There is none, it is of another kind, or the passphrase does not open it.
    """
    try:
        key = serialization.load_pem_private_key(read_key_file(path), password=passphrase)
    except TypeError as error:  # cryptography's word for a passphrase that is missing or extra
        wanted = "has no passphrase, and one was given" if passphrase else "needs its passphrase"
        raise PackError(f"{path}: the key {wanted}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "the passphrase does not open it, or it is not" if passphrase else "not"
        raise PackError(f"{path}: {reason} a private key in PEM form", hint=KEY_HINT) from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and is_p256(key):
        return key
    raise PackError(f"{path}: {kind_of(key)}, expected ed25519 or P-256", hint=KEY_HINT)


def needs_passphrase(path: Path) -> bool:
    """Whether a key file is encrypted, so that a passphrase must be asked for.

    Raises:
        PackError: It cannot be read.
    """
    return b"ENCRYPTED" in read_key_file(path)


def sign_with(key: FileKey, data: bytes) -> bytes:
    """Sign; the same key and data always give the same bytes (ECDSA: RFC 6979)."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    return low_s(key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))


def salt_secret(key: FileKey) -> bytes:
    """32 bytes that only the key's holder can compute, always the same."""
    if isinstance(key, Ed25519PrivateKey):
        secret = key.private_bytes_raw()
    else:
        secret = key.private_numbers().private_value.to_bytes(32, "big")
    return hmac.new(secret, _SALT_CONTEXT, hashlib.sha256).digest()
