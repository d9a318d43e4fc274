"""Who signs: a key in a file or in a token, the person in words, and their role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from compliance.keys import private
from compliance.keys.private import FileKey
from compliance.keys.public import Algorithm, PublicKey, algorithm_of, key_id, public_pem


class TokenKey(ABC):
    """A key that never leaves its token; it is asked to sign."""

    @abstractmethod
    def public_key(self) -> PublicKey: ...

    @abstractmethod
    def sign(self, data: bytes) -> bytes: ...

    @property
    @abstractmethod
    def salt_secret(self) -> bytes:
        """32 bytes that only the key's holder has, the same in every build."""


@dataclass(frozen=True, repr=False)
class Signer:
    """Who signs: a key, the responsible person in words, and the role they sign in."""

    key: FileKey | TokenKey
    name: str | None = None
    role: str = "issuer"
    certificate: bytes | None = None
    """X.509 certificate of this key in PEM form, and those that lead to its root after it. CMS
    signatures and signatures in a PDF need one."""

    @property
    def public_key(self) -> PublicKey:
        return self.key.public_key()

    @property
    def key_id(self) -> str:
        return key_id(self.public_key)

    @property
    def public_pem(self) -> bytes:
        return public_pem(self.public_key)

    @property
    def algorithm(self) -> Algorithm:
        return algorithm_of(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """Sign: 64 raw bytes with ed25519, the DER of (r, s) over SHA-256 with P-256.

        A key in a file gives the same bytes each time; a token's P-256 key need not.

        Raises:
            PackError: The token refuses.
        """
        if isinstance(self.key, TokenKey):
            return self.key.sign(data)
        return private.sign_with(self.key, data)

    @property
    def salt_secret(self) -> bytes:
        """32 secret bytes, the same in every build with this key; salts derive from them."""
        if isinstance(self.key, TokenKey):
            return self.key.salt_secret
        return private.salt_secret(self.key)

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id!r}, name={self.name!r}, role={self.role!r})"
