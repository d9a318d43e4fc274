"""Signs a PDF (PAdES B-B, with a time stamp B-T), so that it speaks for itself outside its pack.

The field is invisible, and what was PDF/A-3a and PDF/UA-1 stays so. Readers such as poppler's
``pdfsig`` cannot check ed25519. So a P-256 key signs itself, with its certificate; an ed25519 key
certifies a P-256 document key that is derived from it, and that nobody has to keep.

Needs pyHanko, of the extra ``reports``; `compliance.packs.pdf` checks without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO

from asn1crypto import tsp, x509
from asn1crypto.algos import SignedDigestAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.sign import signers
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.general import SigningError
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from compliance.errors import ReportError, TimeStampError
from compliance.keys import Signer, public_der
from compliance.keys.certificates import (
    MAX_NAME,
    SIGNATURES,
    make_certificate,
    parse_certificates,
)
from compliance.packs.authority import ask

FIELD = "Issuer"
"""Name of the signature's field."""

MADE = datetime(2025, 1, 1, tzinfo=UTC)
"""From when certificates are valid that are made here; always the same, for the same bytes."""

FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280 has for a certificate without an end."""

RESERVED = 1 << 14
"""Hexadecimal digits kept for a signature with its certificates."""

RESERVED_STAMP = 1 << 15
"""Digits kept besides for a time stamp with its authority's certificates."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CONTEXT = b"sae-compliance PDF key v1\n"


def sign_pdf(pdf: bytes, signer: Signer, *, when: datetime, authority: str | None = None) -> bytes:
    """Add an invisible signature over all of a PDF.

    The same arguments give the same bytes, with a key in a file and without an authority.

    Args:
        pdf: A PDF without a signature; it is kept as it is, and the signature follows.
        signer: Whose key signs, or certifies the document key that does.
        when: The moment that the signature states.
        authority: Address of a time-stamp authority. None: the moment is the signer's word.

    Raises:
        ReportError: The PDF cannot be read, or the signature has no room in it.
        TimeStampError: The authority gave no time stamp.
        PackError: The signer's token refuses.
    """
    with ThreadPoolExecutor(1) as pool:  # pyHanko starts an event loop, which a notebook has too
        return pool.submit(_sign, pdf, signer, when, authority).result()


def _sign(pdf: bytes, signer: Signer, when: datetime, authority: str | None) -> bytes:
    holder, certificates = document_signer(signer)
    how = signers.PdfSignatureMetadata(
        field_name=FIELD, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES
    )
    made = _PdfSigner(
        how,
        signer=_CmsSigner(holder, certificates),
        timestamper=_Stamper(authority) if authority else None,
    )
    made.when = when
    reserved = RESERVED + (RESERVED_STAMP if authority else 0)
    try:
        signed = made.sign_pdf(_Writer(BytesIO(pdf)), bytes_reserved=reserved)
    except (PdfError, SigningError) as error:
        raise ReportError(f"a PDF cannot be signed: {error}") from error
    return bytes(signed.getbuffer())


def document_signer(signer: Signer) -> tuple[Signer, tuple[x509.Certificate, ...]]:
    """Who signs PDFs for a signer, and the certificates that lead to the signer's key.

    The first certificate is of the key that signs, the last that of the signer's key, unless the
    signer brought certificates of their own.
    """
    named = dataclasses.replace(
        signer, name=(signer.name or f"key {signer.key_id[7:19]}")[:MAX_NAME]
    )
    if signer.algorithm == "ecdsa-p256":
        data = signer.certificate or make_certificate(named, valid_from=MADE)
        return signer, parse_certificates(data)
    secret = hmac.digest(signer.salt_secret, _CONTEXT, hashlib.sha256)
    number = int.from_bytes(secret, "big") % (_P256_ORDER - 1) + 1
    document = Signer(ec.derive_private_key(number, ec.SECP256R1()), name=named.name)
    issuer = _certificate(named, named, unit="issuer", authority=True)
    return document, (_certificate(document, named, unit="PDF documents"), issuer)


def _certificate(
    subject: Signer, issuer: Signer, *, unit: str, authority: bool = False
) -> x509.Certificate:
    """A certificate of the subject's key, signed by the issuer."""
    algorithm = SignedDigestAlgorithm({"algorithm": SIGNATURES[issuer.algorithm]})
    constraints = {"ca": True, "path_len_constraint": 0} if authority else {"ca": False}
    usage = {"key_cert_sign"} if authority else {"digital_signature", "non_repudiation"}
    body = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": int(subject.key_id[7:39], 16) >> 1,
            "signature": algorithm,
            "issuer": _name(issuer, "issuer"),
            "validity": {
                "not_before": x509.Time({"utc_time": MADE}),
                "not_after": x509.Time({"general_time": FOREVER}),
            },
            "subject": _name(subject, unit),
            "subject_public_key_info": x509.PublicKeyInfo.load(public_der(subject.public_key)),
            "extensions": [
                {"extn_id": "basic_constraints", "critical": True, "extn_value": constraints},
                {"extn_id": "key_usage", "critical": True, "extn_value": x509.KeyUsage(usage)},
            ],
        }
    )
    return x509.Certificate(
        {
            "tbs_certificate": body,
            "signature_algorithm": algorithm,
            "signature_value": issuer.sign(body.dump()),
        }
    )


def _name(signer: Signer, unit: str) -> x509.Name:
    return x509.Name.build({"common_name": signer.name, "organizational_unit_name": unit})


class _Writer(IncrementalPdfFileWriter):
    """Adds to a PDF what a signature needs, and nothing else.

    pyHanko would write the clock and its own name into the metadata, and a random identifier; and
    call the file PDF 2.0, which PDF/A-3 knows nothing of.
    """

    def ensure_output_version(self, version: tuple[int, int]) -> None:
        pass

    @classmethod
    def _handle_id(cls, prev):  # type: ignore[no-untyped-def] # as in pyHanko
        prev.stream.seek(0)
        new = generic.ByteStringObject(hashlib.file_digest(prev.stream, "sha256").digest()[:16])
        try:
            first = generic.ByteStringObject(_raw(prev.trailer["/ID"][0]))
        except KeyError:  # a PDF need not have one
            first = new
        return generic.ArrayObject([first, new])

    def _update_meta(self) -> None:
        pass


def _raw(identifier: generic.PdfObject) -> bytes:
    """The bytes of an identifier, which is read as text where it could be text."""
    return getattr(identifier, "original_bytes", None) or bytes(identifier)


class _PdfSigner(signers.PdfSigner):
    """States the moment that it is given, in place of the clock's."""

    when: datetime

    def init_signing_session(self, *args, **options):  # type: ignore[no-untyped-def] # as in pyHanko
        session = super().init_signing_session(*args, **options)
        session.system_time = self.when
        return session


class _CmsSigner(signers.Signer):
    """Lets our own signer sign, which may be a token."""

    def __init__(self, holder: Signer, certificates: tuple[x509.Certificate, ...]) -> None:
        self._holder = holder
        store = SimpleCertificateStore()
        store.register_multiple(certificates[1:])  # the first comes along by itself
        super().__init__(
            signing_cert=certificates[0],
            cert_registry=store,
            signature_mechanism=SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            embed_roots=True,
        )

    async def async_sign_raw(
        self, data: bytes, digest_algorithm: str, dry_run: bool = False
    ) -> bytes:
        return self._holder.sign(data)


class _Stamper(TimeStamper):
    """Asks an authority as everything here does."""

    def __init__(self, authority: str) -> None:
        super().__init__()
        self._authority = authority

    async def async_timestamp(self, message_digest, md_algorithm):  # type: ignore[no-untyped-def] # as in pyHanko
        try:
            return await super().async_timestamp(message_digest, md_algorithm)
        except (ValueError, OSError) as error:
            raise TimeStampError(f"{self._authority}: gave no time stamp: {error}") from error

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        return tsp.TimeStampResp.load(ask(self._authority, req.dump()), strict=True)
