"""X.509 certificates of keys: what CMS and signatures in a PDF name a signer by.

A certificate that is made here is signed by its own key. It says no more than the public key does,
and is believed for the same reason: somebody compared the key id by another way.
"""

from __future__ import annotations

from datetime import UTC, datetime

from asn1crypto import core, pem, x509
from cryptography.exceptions import InvalidSignature

from compliance.errors import PackError
from compliance.keys.public import (
    Algorithm,
    PublicKey,
    key_id,
    parse_public_key,
    public_der,
    verify_signature,
)
from compliance.keys.signer import Signer

YEARS = 30
"""How long a certificate that is made here can be used: packs are kept for ten years and more."""

SIGNATURES: dict[Algorithm, str] = {"ed25519": "ed25519", "ecdsa-p256": "sha256_ecdsa"}
"""Names of signature algorithms as asn1crypto has them."""

UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What asn1crypto raises where bytes are not what they should be."""

MAX_NAME = 64
"""X.520's upper bound on a common name."""


def make_certificate(signer: Signer, *, valid_from: datetime) -> bytes:
    """A self-signed certificate in PEM form; the same arguments give the same bytes.

    Args:
        signer: The key; its name becomes the common name, without one the start of the key id.
        valid_from: Aware; cut to the second. It is valid for `YEARS` years.

    Raises:
        PackError: The name is longer than 64 characters.
    """
    name = signer.name or f"key {signer.key_id[7:19]}"
    if len(name) > MAX_NAME:
        raise PackError(
            f"a certificate cannot hold a name of {len(name)} characters",
            hint=f"{MAX_NAME} at most; statements can hold a longer one",
        )
    algorithm = x509.SignedDigestAlgorithm({"algorithm": SIGNATURES[signer.algorithm]})
    subject = x509.Name.build({"common_name": name})
    body = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": int(signer.key_id[7:39], 16) >> 1,
            "signature": algorithm,
            "issuer": subject,
            "validity": _validity(valid_from),
            "subject": subject,
            "subject_public_key_info": x509.PublicKeyInfo.load(public_der(signer.public_key)),
            "extensions": _extensions(signer.public_key),
        }
    )
    certificate = x509.Certificate(
        {
            "tbs_certificate": body,
            "signature_algorithm": algorithm,
            "signature_value": signer.sign(body.dump()),
        }
    )
    return bytes(pem.armor("CERTIFICATE", certificate.dump()))


def _validity(start: datetime) -> x509.Validity:
    first = start.astimezone(UTC).replace(microsecond=0)
    last = first.replace(year=first.year + YEARS, day=min(first.day, 28))  # 29 February
    return x509.Validity({"not_before": _time(first), "not_after": _time(last)})


def _time(moment: datetime) -> x509.Time:
    """As RFC 5280 wants it: two digits for the year up to 2049, then four."""
    kind = "utc_time" if moment.year < 2050 else "general_time"
    return x509.Time({kind: moment})


def _extensions(key: PublicKey) -> x509.Extensions:
    usage = x509.KeyUsage({"digital_signature", "non_repudiation"})
    identifier = bytes.fromhex(key_id(key)[7:47])
    return x509.Extensions(
        [
            {"extn_id": "basic_constraints", "critical": True, "extn_value": {"ca": False}},
            {"extn_id": "key_usage", "critical": True, "extn_value": usage},
            {"extn_id": "key_identifier", "extn_value": core.OctetString(identifier)},
        ]
    )


def parse_certificates(data: bytes, *, name: str = "certificate") -> tuple[x509.Certificate, ...]:
    """Certificates in PEM form, one after another, in their order.

    Raises:
        PackError: There is none, or one cannot be read.
    """
    try:
        blocks = list(pem.unarmor(data, multiple=True))
        if any(kind != "CERTIFICATE" for kind, _, _ in blocks):
            raise ValueError("there is something else than certificates")
        found = tuple(load_certificate(der) for _, _, der in blocks)
    except ValueError as error:
        raise PackError(f"{name}: not certificates in PEM form") from error
    return found


def load_certificate(der: bytes) -> x509.Certificate:
    """A certificate whose bytes are all read now, and not when one of its fields is looked at.

    Raises:
        ValueError: It is not one in DER.
    """
    try:
        certificate = x509.Certificate.load(der, strict=True)
        _ = certificate.native  # asn1crypto reads fields when they are asked for
        if certificate.dump(force=True) != der:
            raise ValueError("not DER")
    except UNREADABLE as error:
        raise ValueError("not a certificate") from error
    return certificate


def key_of(certificate: x509.Certificate) -> PublicKey:
    """The public key that a certificate is about.

    Raises:
        PackError: It is of a kind that is not used here.
    """
    spki = pem.armor("PUBLIC KEY", certificate.public_key.dump())
    return parse_public_key(bytes(spki), name="the certificate's key")


def check_certificate(data: bytes, key: PublicKey, *, name: str) -> bytes:
    """Refuse a certificate that is not this key's.

    Returns:
        ``data``: the certificates in PEM form, the key's own first.

    Raises:
        PackError: The first certificate is of another key, or there is none.
    """
    first = parse_certificates(data, name=name)[0]
    if key_id(key_of(first)) != key_id(key):
        raise PackError(
            f"{name}: the certificate of another key than {key_id(key)[:19]}",
            hint="the first certificate of the file must be the signing key's",
        )
    return data


def describe(certificate: x509.Certificate) -> str:
    """Whose certificate it is, who issued it and until when it is valid, in one line."""
    body = certificate["tbs_certificate"]
    until = body["validity"]["not_after"].native.strftime("%Y-%m-%d")
    own = signed_by(certificate, key_of(certificate))
    issuer = "itself" if own else certificate.issuer.human_friendly
    return f"{certificate.subject.human_friendly}; signed by {issuer}; valid until {until}"


def signed_by(certificate: x509.Certificate, key: PublicKey) -> bool:
    """Whether this key signed the certificate, such as its own."""
    body = certificate["tbs_certificate"].dump()
    try:
        verify_signature(key, certificate["signature_value"].native, body)
    except InvalidSignature:
        return False
    return True
