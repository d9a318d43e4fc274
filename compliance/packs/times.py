"""Time stamps by somebody else (RFC 3161): asking for one, and checking one.

::

    reply = stamp(data, "https://tsa.example/tsr")      # DER TimeStampResp
    check_stamp(reply, data, authorities=pem).moment    # when the data were there, and who says so

A stamp proves that its data existed at its moment, to whoever believes the authority. It is
checked against certificates that came by another way than the stamp, as of its moment: it stays
good when the authority's certificate has run out since.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from compliance.errors import PackError, TimeStampError
from compliance.packs.authority import MAX_REPLY, ask
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.trail import Entry
from compliance.trail import merkle_root

STAMPED = "time-stamped"
"""Kind of the trail's entry that holds a stamp."""

TOLERANCE = timedelta(minutes=5)
"""How far a signer's clock may be ahead of the authority's."""

_ODD = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises for odd certificates, besides ``ValueError``."""

_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}


@dataclass(frozen=True)
class Stamp:
    """What a time stamp says."""

    moment: datetime
    """UTC."""

    authority: str
    """Who says so, as their certificate names them."""


def stamp(data: bytes, authority: str) -> bytes:
    """Ask an authority for a time stamp over the sha256 of ``data``.

    Args:
        data: What is to have existed. The authority sees its digest alone.
        authority: Its http or https address.

    Returns:
        The reply as it came: a DER ``TimeStampResp``, granted, over these data. Whose it is has
        not been checked: that takes certificates that did not come with it.

    Raises:
        TimeStampError: There is no answer, a refusal, or an answer to something else.
    """
    asked = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    reply = ask(authority, asked.as_bytes())
    try:
        answer = _decode(reply)
        if answer.tst_info.nonce != asked.nonce:
            raise ValueError("it answers another request")
        read_stamp(reply, data)
    except ValueError as error:
        raise TimeStampError(f"{authority}: gave no time stamp: {error}") from error
    return reply


def read_stamp(reply: bytes, data: bytes) -> Stamp:
    """What a reply says of ``data``. No signature is checked: anyone can write this.

    Raises:
        ValueError: It is no time stamp, or one over other data.
    """
    answer = _decode(reply)
    imprint = answer.tst_info.message_imprint
    digest = _DIGESTS.get(imprint.hash_algorithm.dotted_string)
    if digest is None:
        raise ValueError("made with a digest that is not used here")
    if digest(data).digest() != imprint.message:
        raise ValueError("a time stamp over something else")
    moment = answer.tst_info.gen_time.astimezone(UTC)
    if not 1990 <= moment.year < 9999:
        raise ValueError("states a moment that cannot be")
    return Stamp(moment, _name(answer))


def check_stamp(reply: bytes, data: bytes, authorities: bytes) -> Stamp:
    """Check a time stamp against certificates of authorities, as of its moment.

    Args:
        reply: A DER ``TimeStampResp``.
        data: What it is to be over.
        authorities: Certificates in PEM form, as ``openssl ts -verify -CAfile`` takes them.

    Raises:
        ValueError: It is no time stamp over ``data`` by one of the authorities.
        PackError: ``authorities`` holds no certificates.
    """
    found = read_stamp(reply, data)
    verifier = VerifierBuilder(roots=parse_authorities(authorities)).build()
    try:
        with _quiet():
            verifier.verify_message(_decode(reply), data)
    except (VerificationError, *_ODD) as error:
        raise ValueError(_why(str(error))) from error
    return found


def parse_authorities(pem: bytes) -> list[x509.Certificate]:
    """Certificates in PEM form, one after another.

    Raises:
        PackError: There is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, *_ODD) as error:
        raise PackError(
            "the authority's file holds no certificates in PEM form",
            hint="an authority publishes them; their root is the one that counts",
        ) from error


def _decode(reply: bytes) -> TimeStampResponse:
    """A granted reply; ``ValueError`` for anything else."""
    if len(reply) > MAX_REPLY:
        raise ValueError(f"longer than {MAX_REPLY} bytes")
    try:
        answer = decode_timestamp_response(reply)
    except ValueError as error:
        raise ValueError("not a reply of a time-stamp authority") from error
    if answer.status != 0:
        said = "; ".join(answer.status_string) or f"status {answer.status}"
        raise ValueError(f"the authority refused: {said}")
    try:
        _ = answer.tst_info, answer.signed_data
    except ValueError as error:
        raise ValueError("not a reply of a time-stamp authority") from error
    return answer


def _name(answer: TimeStampResponse) -> str:
    """The subject of the certificate that signed, where it came along."""
    try:
        with _quiet():
            return _signer_name(answer)
    except _ODD as error:
        raise ValueError("its certificate cannot be read") from error


def _signer_name(answer: TimeStampResponse) -> str:
    numbers = {signer.serial_number for signer in answer.signed_data.signer_infos}
    for der in answer.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.serial_number in numbers:
            names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            return str(names[0].value if names else certificate.subject.rfc4514_string())
    return "an authority whose certificate did not come along"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without cryptography's warnings of odd certificates, which a stranger could provoke."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _why(message: str) -> str:
    """OpenSSL's reason out of the library's message."""
    found = re.search(r'data: "Verify error: ([^"]+)"', message)
    if found and ("expired" in found[1] or "not yet valid" in found[1]):
        return f"the authority's {found[1]}, at the moment that it states"
    if found:
        return f"none of the given certificates vouches for it ({found[1]})"
    if "PKCS7" in message or "pkcs7" in message:
        return "the signature does not fit"
    return message[:1].lower() + message[1:]


def head_facts(lines: Sequence[bytes]) -> dict[str, Any]:
    """Number of lines of a trail, their Merkle root in base64, and the digest of the last."""
    return {
        "size": len(lines),
        "root": base64.b64encode(merkle_root(lines)).decode("ascii"),
        "line": digest_bytes(lines[-1]),
    }


def head_text(facts: Mapping[str, Any]) -> bytes:
    """What is stamped of a trail.

    Root and line each say alone what all lines were: one for proofs, the other, by the chain, for
    a shell.
    """
    return f"{facts['size']}\n{facts['root']}\n{facts['line']}\n".encode()


def stamp_trail(entries: Sequence[Entry], authority: str) -> dict[str, Any]:
    """Facts of an entry ``time-stamped`` over these entries.

    Raises:
        TimeStampError: As `stamp`.
    """
    head = head_facts([canonical_bytes(entry) for entry in entries])
    reply = stamp(head_text(head), authority)
    return {**head, "token": base64.b64encode(reply).decode("ascii")}


def is_stamped(entries: Sequence[Entry], number: int) -> bool:
    """Whether a stamp in the trail covers line ``number``. The stamp is not checked."""
    sizes = [e.facts.get("size") for e in entries if e.kind == STAMPED]
    return any(isinstance(size, int) and size >= number for size in sizes)
