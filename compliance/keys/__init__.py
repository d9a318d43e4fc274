"""Signing keys in the forms that openssl reads (PKCS#8, SPKI and X.509 in PEM form), and in tokens.

::

    create_keys(Path("issuer.pem"), Path("issuer.pub.pem"), passphrase=b"...")
    signer = Signer(load_private_key(Path("issuer.pem"), passphrase=b"..."), name="A. Person, QA")

A key is known by its id, the sha256 of the public key. Compare it with the issuer by another way
than the one the pack came by.
"""

from compliance.keys.private import FileKey, create_keys, load_private_key, private_pem
from compliance.keys.public import (
    Algorithm,
    PublicKey,
    algorithm_of,
    key_id,
    load_public_key,
    parse_public_key,
    public_der,
    public_pem,
    verify_signature,
)
from compliance.keys.signer import Signer, TokenKey

__all__ = [
    "Algorithm",
    "FileKey",
    "PublicKey",
    "Signer",
    "TokenKey",
    "algorithm_of",
    "create_keys",
    "key_id",
    "load_private_key",
    "load_public_key",
    "parse_public_key",
    "private_pem",
    "public_der",
    "public_pem",
    "verify_signature",
]
