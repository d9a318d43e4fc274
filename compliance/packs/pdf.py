"""Reads the signature of a PDF, without reading the PDF: what is signed are its bytes.

::

    signed = read_signature(pdf)         # None: it has none
    signed.vouched_by(issuer_key)        # or why not

Only a signature over the whole file counts, all but the hexadecimal digits that hold it. So it
does not matter how the file would be parsed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from asn1crypto import cms, x509
from cryptography.exceptions import InvalidSignature

from compliance.errors import PackError
from compliance.keys import PublicKey, key_id, verify_signature
from compliance.keys.certificates import key_of, load_certificate, signed_by
from compliance.packs.times import Stamp, check_stamp, read_stamp

_RANGE = re.compile(rb"/ByteRange ?\[0 (\d{1,12}) (\d{1,12}) (\d{1,12})\]")
_HEX = re.compile(rb"<([0-9a-fA-F]{2,1000000})>")
_REPLY = bytes.fromhex("3003020100")
"""``PKIStatusInfo`` that says granted: what stands before a token in a reply."""


@dataclass(frozen=True)
class PdfSignature:
    """A signature that fits its PDF. Whose it is, the key of `vouched_by` tells."""

    certificate: x509.Certificate
    """Of the key that signed."""

    signature: bytes
    token: bytes | None
    """DER time-stamp token over ``signature``."""

    def vouched_by(self, key: PublicKey) -> bool:
        """Whether a key signed the PDF, or certified the key that did."""
        own = key_id(key_of(self.certificate)) == key_id(key)
        return own or signed_by(self.certificate, key)

    def stamp(self, authorities: bytes | None) -> Stamp | None:
        """What its time stamp says, if it has one; unchecked where there are no authorities.

        Raises:
            ValueError: It is not over this signature, or not by one of them.
            PackError: ``authorities`` holds no certificates.
        """
        if self.token is None:
            return None
        reply = _sequence(_REPLY + self.token)
        if authorities is None:
            return read_stamp(reply, self.signature)
        return check_stamp(reply, self.signature, authorities)


def read_signature(pdf: bytes) -> PdfSignature | None:
    """The last signature of a PDF; None where it has none.

    Raises:
        ValueError: It does not cover the whole file, or does not fit it.
    """
    start = pdf.rfind(b"/ByteRange")
    if start < 0:
        return None
    found = _RANGE.match(pdf, start)
    if found is None:
        raise ValueError("its signature does not say what it covers")
    before, after, rest = (int(number) for number in found.groups())
    gap = _HEX.fullmatch(pdf, before, after) if before < after else None
    if gap is None or after + rest != len(pdf):
        raise ValueError("its signature does not cover the whole file")
    view = memoryview(pdf)
    digest = hashlib.sha256(view[:before])
    digest.update(view[after:])
    return _verified(bytes.fromhex(gap[1].decode("ascii")), digest.digest())


def _verified(data: bytes, digest: bytes) -> PdfSignature:
    """The CMS signature (RFC 5652, PAdES B-B or B-T), padded with zeros, over a sha256."""
    try:
        content = cms.ContentInfo.load(data)
        if data[len(content.dump()) :].strip(b"\0"):
            raise ValueError("there is more after it")
        signed = content["content"]
        if len(signed["signer_infos"]) != 1:
            raise ValueError("not signed by one")
        signer = signed["signer_infos"][0]
        attributes = {each["type"].native: each["values"] for each in signer["signed_attrs"]}
        certificate = _certificate(signed, attributes)
        named = cms.IssuerAndSerialNumber(
            {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        )
        if signer["sid"].chosen.dump() != named.dump():
            raise ValueError("it names another certificate than it signs")
        if attributes["message_digest"].native != [digest]:
            raise ValueError("made over another file")
        body = signer["signed_attrs"].untag().dump()
        verify_signature(key_of(certificate), signer["signature"].native, body)
        return PdfSignature(certificate, signer["signature"].native, _token(signer))
    except InvalidSignature as error:
        raise ValueError("its signature does not fit the file") from error
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
            PackError, ValueError) as error:  # fmt: skip
        known = isinstance(error, (PackError, ValueError))
        reason = str(error) if known else "a part is missing or of another kind"
        raise ValueError(f"its signature cannot be used: {reason}") from error


def _certificate(signed: cms.SignedData, attributes: dict[str, cms.SetOf]) -> x509.Certificate:
    """The certificate that the signed attributes name, among those that came along."""
    named = attributes["signing_certificate_v2"][0]["certs"][0]["cert_hash"].native
    for choice in signed["certificates"]:
        der = choice.chosen.dump()
        if hashlib.sha256(der).digest() == named:
            return load_certificate(der)
    raise ValueError("the signer's certificate did not come along")


def _token(signer: cms.SignerInfo) -> bytes | None:
    for each in signer["unsigned_attrs"]:
        if each["type"].native == "signature_time_stamp_token":
            return bytes(each["values"][0].dump())
    return None


def _sequence(body: bytes) -> bytes:
    """A DER SEQUENCE around elements."""
    size = len(body)
    if size < 0x80:
        return bytes([0x30, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x30, 0x80 | len(length)]) + length + body
