"""Keys at the edge: made with today's date, shown, certified."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from compliance.errors import StorageError
from compliance.keys import Algorithm, PublicKey, algorithm_of, key_id, parse_public_key, public_pem
from compliance.keys.certificates import describe, key_of, make_certificate, parse_certificates
from compliance.keys.opening import KeyFiles, KeySource, create_key_files, open_signer
from compliance.keys.public import read_key_file
from compliance.storage import write_bytes
from compliance.workflow.stages import now


@dataclass(frozen=True)
class ShownKey:
    """What identifies a key, and nothing secret of it."""

    key_id: str
    algorithm: Algorithm
    public_pem: str
    certificate: str | None
    """Whose certificate there is and how long it is valid."""


def create_key(
    private: Path,
    *,
    algorithm: Algorithm = "ecdsa-p256",
    passphrase: bytes | None = None,
    name: str | None = None,
) -> KeyFiles:
    """Make a key, its public half and a certificate.

    Raises:
        PackError: The name is too long for a certificate.
        StorageError: One of the files is there already, or cannot be written.
    """
    return create_key_files(
        private, algorithm=algorithm, passphrase=passphrase, name=name, valid_from=now()
    )


def show_key(key: KeySource) -> ShownKey:
    """Look at a file with a public key, a certificate or a private key, or at a token's key.

    Raises:
        PackError: It is none of these, or cannot be opened.
    """
    if not key.in_token:
        data = read_key_file(Path(key.where))
        if b"BEGIN CERTIFICATE" in data:
            return _shown(key_of(parse_certificates(data, name=str(key.where))[0]), data)
        if b"PRIVATE KEY" not in data:
            return _shown(parse_public_key(data, name=str(key.where)), None)
    with open_signer(key) as signer:
        return _shown(signer.public_key, signer.certificate)


def _shown(key: PublicKey, certificate: bytes | None) -> ShownKey:
    described = describe(parse_certificates(certificate)[0]) if certificate else None
    return ShownKey(key_id(key), algorithm_of(key), public_pem(key).decode("ascii"), described)


def certify_key(key: KeySource, out: Path) -> None:
    """Write a certificate of a private key that is signed by itself.

    Raises:
        PackError: The key cannot be used, or the name is too long.
        StorageError: The file is there already, or cannot be written.
    """
    if os.path.lexists(out):
        raise StorageError(f"{out}: is there already, and is never overwritten")
    with open_signer(key) as signer:
        write_bytes(out, make_certificate(signer, valid_from=now()))
