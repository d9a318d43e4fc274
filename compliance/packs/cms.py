"""The detached CMS signature of a manifest (RFC 5652), for tools that know nothing else of packs.

It holds the signer's certificate and signs, by attributes, the manifest's sha256, the moment, and
the sha256 of each certificate (RFC 5035). All else follows from these, so there is one spelling
for each signature, and a verifier makes the bytes anew and compares them.

Keys must be P-256: openssl 3.0 cannot check a CMS signature with ed25519.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from asn1crypto import algos, cms, tsp, x509
from cryptography.exceptions import InvalidSignature

from compliance.errors import PackError, SignatureMismatch, VerificationError
from compliance.keys import PublicKey, Signer, key_id, verify_signature
from compliance.keys.certificates import (
    UNREADABLE,
    key_of,
    load_certificate,
    parse_certificates,
)

MAX_CERTIFICATES = 10
MAX_BYTES = 1 << 16


def why_no_cms(signer: Signer) -> str | None:
    """Why this signer cannot make a CMS signature; None if they can."""
    if signer.algorithm != "ecdsa-p256":
        return "openssl 3.0 cannot check a CMS signature with ed25519; it needs a P-256 key"
    return None if signer.certificate else "the key has no certificate"


def make_cms(manifest: bytes, *, signer: Signer, signed_at: datetime) -> bytes:
    """Sign a manifest; the same key, certificate and moment give the same DER bytes.

    Raises:
        PackError: The signer cannot; see `why_no_cms`. Or there are too many certificates.
    """
    if reason := why_no_cms(signer):
        raise PackError(f"attestations/manifest.p7s cannot be made: {reason}")
    certificates = parse_certificates(signer.certificate or b"")
    attributes = _attributes(manifest, certificates, signed_at)
    made = _render(attributes, certificates, signer.sign(attributes.dump()))
    if len(certificates) > MAX_CERTIFICATES or len(made) > MAX_BYTES:
        raise PackError(
            f"{len(certificates)} certificates, {len(made)} bytes: too many for a CMS signature",
            hint=f"{MAX_CERTIFICATES} certificates and {MAX_BYTES} bytes at most",
        )
    return made


def verify_cms(
    data: bytes, manifest: bytes, *, key: PublicKey, signed_at: datetime, path: str
) -> None:
    """Check a CMS signature. Who issued the certificate is not looked at.

    Args:
        data: The DER bytes.
        manifest: What was signed.
        key: The issuer's, which must be the certificate's.
        signed_at: As the statement says.
        path: What messages call it.

    Raises:
        SignatureMismatch: The certificate is of another key, or the key did not sign this.
        VerificationError: It is not spelt as ours are.
    """
    try:
        certificates, signature = _parse(data)
        theirs = key_of(certificates[0])
    except (ValueError, PackError) as error:
        raise VerificationError(f"{path}: not a CMS signature of ours: {error}") from error
    if key_id(theirs) != key_id(key):
        raise SignatureMismatch(path, "its certificate is of another key than the issuer's")
    attributes = _attributes(manifest, certificates, signed_at)
    try:
        verify_signature(key, signature, attributes.dump())
    except InvalidSignature as error:
        raise SignatureMismatch(path, "the signature does not fit the manifest") from error
    if _render(attributes, certificates, signature) != data:
        raise VerificationError(f"{path}: spelt in another way than ours are")


def _parse(data: bytes) -> tuple[tuple[x509.Certificate, ...], bytes]:
    """The certificates and the signature; what they do not give is compared later."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    try:
        content = cms.ContentInfo.load(data, strict=True)["content"]
        found = [choice.chosen for choice in content["certificates"]]
        signature = content["signer_infos"][0]["signature"].native
        if not 1 <= len(found) <= MAX_CERTIFICATES or not isinstance(signature, bytes):
            raise ValueError("there is no certificate")
        by_digest = {hashlib.sha256(each.dump()).digest(): each.dump() for each in found}
        named = _named(content["signer_infos"][0]["signed_attrs"])
        return tuple(load_certificate(by_digest[digest]) for digest in named), signature
    except UNREADABLE as error:
        raise ValueError("a part is missing or of another kind") from error


def _named(attributes: cms.CMSAttributes) -> list[bytes]:
    """sha256 of the certificates in the chain's order, which a set in DER does not keep."""
    for attribute in attributes:
        if attribute["type"].native == "signing_certificate_v2":
            names = attribute["values"][0]["certs"]
            return [each["cert_hash"].native for each in names]
    raise ValueError("the signed attributes do not name the certificate")


def _attributes(
    manifest: bytes, certificates: Sequence[x509.Certificate], signed_at: datetime
) -> cms.CMSAttributes:
    names = [
        tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(c.dump()).digest()}) for c in certificates
    ]
    moment = signed_at.astimezone(UTC).replace(microsecond=0)
    time = cms.Time({"utc_time" if moment.year < 2050 else "general_time": moment})
    return cms.CMSAttributes(
        [
            {"type": "content_type", "values": ["data"]},
            {"type": "message_digest", "values": [hashlib.sha256(manifest).digest()]},
            {"type": "signing_time", "values": [time]},
            {
                "type": "signing_certificate_v2",
                "values": [tsp.SigningCertificateV2({"certs": names})],
            },
        ]
    )


def _render(
    attributes: cms.CMSAttributes, certificates: Sequence[x509.Certificate], signature: bytes
) -> bytes:
    digest = algos.DigestAlgorithm({"algorithm": "sha256"})
    first = certificates[0]
    name = cms.IssuerAndSerialNumber({"issuer": first.issuer, "serial_number": first.serial_number})
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier({"issuer_and_serial_number": name}),
            "digest_algorithm": digest,
            "signed_attrs": attributes,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            "signature": signature,
        }
    )
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "data"},
            "certificates": list(certificates),
            "signer_infos": [signer],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())
