"""Keys in a token, such as a smart card or an HSM, by PKCS#11 (the extra ``pkcs11``).

::

    uri = "pkcs11:token=signing;object=issuer?module-path=/usr/lib/softhsm/libsofthsm2.so"
    with open_token_key(uri, pin="1234", salts=Path("keys")) as key:
        signer = Signer(key, name="A. Person, QA")

A key is named by a URI of RFC 7512. The private key never leaves the token. Salts cannot come from
it: a token gives nothing secret that is the same each time for every kind of key. They come from a
secret file, ``<12 digits of the key id>.salt``, made once and kept beside the audit's keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from compliance.errors import PackError
from compliance.keys.public import PublicKey, key_id, low_s, read_key_file
from compliance.keys.signer import TokenKey
from compliance.storage import write_secret

SCHEME = "pkcs11:"
_P256 = bytes.fromhex("06082a8648ce3d030107")  # DER of the curve's object identifier
_HINT = "such as 'pkcs11:token=NAME;object=LABEL?module-path=/usr/lib/softhsm/libsofthsm2.so'"


@dataclass(frozen=True)
class TokenUri:
    """What a URI says of where the key is."""

    module: Path
    token: str | None = None
    serial: str | None = None
    label: str | None = None
    id: bytes | None = None
    pin_file: Path | None = None


def parse_uri(uri: str) -> TokenUri:
    """Read a URI of RFC 7512.

    Raises:
        PackError: It is none, names no library or no key, or has a part that is not used here.
    """
    if not uri.startswith(SCHEME):
        raise PackError(f"{uri!r} is not a PKCS#11 URI", hint=_HINT)
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    parts = _parts(path, ";") | _parts(query, "&")
    if "pin-value" in parts:
        raise PackError(
            "a PIN must not stand in the URI, which others can see",
            hint="use pin-source=FILE, the variable COMPLIANCE_PIN, or type it when asked",
        )
    known = {"token", "serial", "object", "id", "type", "module-path", "pin-source"}
    if odd := sorted(parts.keys() - known):
        raise PackError(f"the PKCS#11 URI has {odd[0]!r}, which is not used here", hint=_HINT)
    if parts.get("type", "private") != "private":
        raise PackError("the PKCS#11 URI must name a private key", hint=_HINT)
    if "module-path" not in parts or not {"object", "id"} & parts.keys():
        raise PackError("the PKCS#11 URI needs 'module-path', and 'object' or 'id'", hint=_HINT)
    source = parts.get("pin-source")
    return TokenUri(
        module=Path(unquote(parts["module-path"])),
        token=_text(parts.get("token")),
        serial=_text(parts.get("serial")),
        label=_text(parts.get("object")),
        id=unquote_to_bytes(parts["id"]) if "id" in parts else None,
        pin_file=Path(unquote(source).removeprefix("file:")) if source else None,
    )


def _parts(text: str, separator: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(separator) if part)
    return {name: value for name, _, value in pairs}


def _text(value: str | None) -> str | None:
    return None if value is None else unquote(value)


def read_pin(uri: TokenUri) -> str | None:
    """The PIN from the file that the URI names; None where it names none.

    Raises:
        PackError: The file cannot be read.
    """
    if uri.pin_file is None:
        return None
    return read_key_file(uri.pin_file).decode("utf-8").rstrip("\r\n")


@contextlib.contextmanager
def open_token_key(uri: str, *, pin: str | None = None, salts: Path | None) -> Iterator[TokenKey]:
    """Log in to a token and find its key; the session ends with the block.

    Args:
        uri: Where the key is.
        pin: Of the user; None: the token asks by itself, or has none.
        salts: The folder of the file that salts come from. None: no pack is to be built.

    Raises:
        PackError: The library or the token is not there, the PIN is wrong, there is no such key
            or more than one, or the key is of another kind than ed25519 and P-256.
    """
    try:
        import pkcs11
    except ModuleNotFoundError as error:
        raise PackError(
            "a key in a token needs python-pkcs11, which is not installed",
            hint="pip install 'sae-compliance[pkcs11]'",
        ) from error
    where = parse_uri(uri)
    try:
        token = pkcs11.lib(str(where.module)).get_token(
            token_label=where.token, token_serial=where.serial and where.serial.encode()
        )
        with token.open(user_pin=pin) as session:
            yield _find(session, where, salts)
    except pkcs11.exceptions.PinIncorrect as error:
        raise PackError("the token refuses the PIN") from error
    except pkcs11.exceptions.PKCS11Error as error:
        raise PackError(f"the token cannot be used: {_words(error)}", hint=_HINT) from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _find(session: Any, where: TokenUri, salts: Path | None) -> TokenKey:
    from pkcs11 import Attribute, ObjectClass

    wanted: dict[Any, Any] = {Attribute.LABEL: where.label, Attribute.ID: where.id}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    private = _only(session, {**wanted, Attribute.CLASS: ObjectClass.PRIVATE_KEY}, "private key")
    public = _only(session, {**wanted, Attribute.CLASS: ObjectClass.PUBLIC_KEY}, "public key")
    return _Pkcs11Key(private, _public_key(public), salts)


def _only(session: Any, wanted: dict[Any, Any], what: str) -> Any:
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        raise PackError(
            f"the token has {len(found) or 'no'} {what}s of this name, expected one",
            hint="the URI may say 'object' and 'id'; the public key lies beside the private one",
        )
    return found[0]


def _public_key(found: Any) -> PublicKey:
    """The public key of a token's object; its point is DER in most tokens, and bare in some."""
    from pkcs11 import Attribute, KeyType

    kind, point = found[Attribute.KEY_TYPE], bytes(found[Attribute.EC_POINT])
    bare = point[2:] if len(point) in (34, 67) else point
    try:
        if kind == KeyType.EC_EDWARDS:
            return Ed25519PublicKey.from_public_bytes(bare)
        if kind == KeyType.EC and bytes(found[Attribute.EC_PARAMS]) == _P256:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bare)
    except ValueError as error:
        raise PackError("the token's public key cannot be read") from error
    raise PackError(f"the token's key is of the kind {kind.name}, expected ed25519 or P-256")


class _Pkcs11Key(TokenKey):
    def __init__(self, private: Any, public: PublicKey, salts: Path | None) -> None:
        self._private, self._public, self._salts = private, public, salts

    def public_key(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        import pkcs11

        try:
            if isinstance(self._public, Ed25519PublicKey):
                return bytes(self._private.sign(data, mechanism=pkcs11.Mechanism.EDDSA))
            digest = hashlib.sha256(data).digest()
            raw = self._private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        except pkcs11.exceptions.PKCS11Error as error:
            raise PackError(f"the token does not sign: {_words(error)}") from error
        numbers = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
        return low_s(encode_dss_signature(*numbers))

    @property
    def salt_secret(self) -> bytes:
        if self._salts is None:
            raise PackError("a key in a token has no salts of its own, and no folder was given")
        path = self._salts / f"{key_id(self._public)[7:19]}.salt"
        if not path.exists():
            write_secret(path, secrets.token_hex(32).encode("ascii") + b"\n")
        try:
            secret = bytes.fromhex(read_key_file(path).decode("ascii"))
        except ValueError as error:
            raise PackError(f"{path}: not 64 hexadecimal digits") from error
        if len(secret) != 32:
            raise PackError(f"{path}: {len(secret)} bytes, expected 32")
        return secret
