"""From what a person types to a signer: a key file or a token, its passphrase, its certificate.

::

    made = create_key_files(Path("keys/issuer.pem"), name="A. Person, QA", valid_from=now)
    with open_signer(KeySource(made.private, name="A. Person, QA")) as signer:
        signer.sign(b"...")

Beside ``issuer.pem`` lie ``issuer.pub.pem``, the public key, and ``issuer.crt.pem``, a certificate
of it that is signed by itself; a certificate from elsewhere can stand in its place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from compliance.errors import PackError, StorageError
from compliance.keys.certificates import check_certificate, make_certificate
from compliance.keys.private import create_keys, load_private_key
from compliance.keys.public import Algorithm, read_key_file
from compliance.keys.signer import Signer
from compliance.keys.tokens import SCHEME, open_token_key, parse_uri, read_pin
from compliance.storage import write_bytes


@dataclass(frozen=True)
class KeySource:
    """Where a private key is, and what is needed to use it."""

    where: Path | str
    """A file in PEM form, or a URI that begins with ``pkcs11:``."""

    secret: str | None = field(default=None, repr=False)
    """The file's passphrase or the token's PIN."""

    name: str | None = None
    """Name and function of the person who signs."""

    certificate: Path | None = None
    """In PEM form. Absent: ``<key>.crt.pem`` beside a key file, where it is."""

    @property
    def in_token(self) -> bool:
        return str(self.where).startswith(SCHEME)


@dataclass(frozen=True)
class KeyFiles:
    """What `create_key_files` wrote."""

    key_id: str
    private: Path
    public: Path
    certificate: Path


def beside(private: Path) -> tuple[Path, Path]:
    """Where the public key and the certificate of a key file lie."""
    return private.with_suffix(".pub.pem"), private.with_suffix(".crt.pem")


def create_key_files(
    private: Path,
    *,
    valid_from: datetime,
    algorithm: Algorithm = "ecdsa-p256",
    passphrase: bytes | None = None,
    name: str | None = None,
) -> KeyFiles:
    """Make a key, its public half and a certificate of it.

    Args:
        private: File of the private key, which only its owner may read.
        valid_from: First moment of the certificate.
        algorithm: Openssl 3.0 checks CMS signatures with P-256 only.
        passphrase: What opens the private key; None: everybody who can read the file can sign.
        name: Of the person, for the certificate; 64 characters at most.

    Raises:
        PackError: The name is too long.
        StorageError: One of the files is there already, or cannot be written.
    """
    public, certificate = beside(private)
    for path in (private, public, certificate):
        if os.path.lexists(path):
            raise StorageError(
                f"{path}: is there already, and is never overwritten",
                hint="choose another name, or move the old one away yourself",
            )
    made = create_keys(private, public, passphrase=passphrase, algorithm=algorithm)
    key = load_private_key(private, passphrase=passphrase)
    data = make_certificate(Signer(key, name=name), valid_from=valid_from)
    write_bytes(certificate, data)
    return KeyFiles(made, private, public, certificate)


@contextlib.contextmanager
def open_signer(
    source: KeySource, *, role: str = "issuer", salts: Path | None = None
) -> Iterator[Signer]:
    """Open a key to sign with; the session with a token ends with the block.

    Args:
        source: Where the key is.
        role: What the signer signs as.
        salts: Folder of the file that salts come from where the key is in a token; None: no pack
            is to be built.

    Raises:
        PackError: The key or its certificate cannot be used.
    """
    if source.in_token:
        uri = str(source.where)
        pin = source.secret or read_pin(parse_uri(uri))
        with open_token_key(uri, pin=pin, salts=salts) as key:
            yield _with_certificate(Signer(key, source.name, role), source.certificate)
        return
    path = Path(source.where)
    passphrase = source.secret.encode("utf-8") if source.secret else None
    signer = Signer(load_private_key(path, passphrase=passphrase), source.name, role)
    own = beside(path)[1]
    yield _with_certificate(signer, source.certificate or (own if own.exists() else None))


def _with_certificate(signer: Signer, path: Path | None) -> Signer:
    if path is None:
        return signer
    data = check_certificate(read_key_file(path), signer.public_key, name=str(path))
    return replace(signer, certificate=data)


def read_secret(path: Path) -> str:
    """A passphrase from a file, without the end of its line.

    Raises:
        PackError: It cannot be read, or is empty.
    """
    try:
        secret = read_key_file(path).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise PackError(f"{path}: not UTF-8 text") from error
    if not secret:
        raise PackError(f"{path}: there is no passphrase in it")
    return secret
