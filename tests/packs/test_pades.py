"""Signatures inside PDFs: made with pyHanko, checked by poppler, pyHanko, openssl and without."""

import dataclasses
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pypdf
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import ReportError, TimeStampError
from compliance.keys import PublicKey, Signer, TokenKey
from compliance.keys.certificates import make_certificate
from compliance.packs import check_integrity
from compliance.packs.pades import document_signer, sign_pdf
from compliance.packs.pdf import read_signature
from compliance.packs.trust import Trust
from compliance.records.verification import Check, Outcome
from compliance.reports.render import html_to_pdf
from tests.packs.example import DOCUMENTS, MOMENT, SIGNER, STRANGER, build_example
from tests.packs.tsa import Authority, serving
from tests.small_pdf import small_pdf

P256 = Signer(ec.derive_private_key(7, ec.SECP256R1()), name="C. Person, QA")
SIGNERS = {"ed25519": SIGNER, "p256": P256}
VERAPDF = Path(__file__).parent.parent / "reports" / "verapdf.py"


class Token(TokenKey):
    """A key that shows its public half alone, as one in a token does."""

    def __init__(self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._signer = Signer(key)

    def public_key(self) -> PublicKey:
        return self._signer.public_key

    def sign(self, data: bytes) -> bytes:
        return self._signer.sign(data)

    @property
    def salt_secret(self) -> bytes:
        return self._signer.salt_secret


@pytest.fixture(scope="module", params=SIGNERS)
def signer(request: pytest.FixtureRequest) -> Signer:
    return SIGNERS[request.param]


@pytest.fixture(scope="module")
def signed(signer: Signer) -> bytes:
    return sign_pdf(small_pdf(), signer, when=MOMENT)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def url(authority: Authority) -> Iterator[str]:
    with serving(authority) as address:
        yield address


def pdfsig(pdf: bytes, folder: Path) -> str:
    (folder / "one.pdf").write_bytes(pdf)
    command = ["pdfsig", "-nocert", folder / "one.pdf"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def flipped(pdf: bytes, place: int) -> bytes:
    return pdf[:place] + bytes([pdf[place] ^ 1]) + pdf[place + 1 :]


# Signing


def test_poppler_finds_the_signature_good(signed: bytes, signer: Signer, tmp_path: Path):
    said = pdfsig(signed, tmp_path)

    assert "Signature is Valid" in said
    assert "Total document signed" in said
    assert "ETSI.CAdES.detached" in said
    assert "Nov 22 2026 15:00:00" in said
    assert signer.name is not None and signer.name in said


def test_the_document_stays_as_it_was_and_the_signature_follows(signed: bytes):
    assert signed.startswith(small_pdf())


def test_nothing_is_said_of_pyhanko_nor_of_the_clock(signed: bytes):
    before, after = (pypdf.PdfReader(io.BytesIO(pdf)) for pdf in (small_pdf(), signed))

    assert after.metadata == before.metadata
    assert after.trailer["/Root"].get("/Version") != "/2.0"  # PDF/A-3 knows nothing of it
    assert b"pyHanko" not in signed


def test_the_same_inputs_give_the_same_bytes(signed: bytes, signer: Signer):
    assert sign_pdf(small_pdf(), signer, when=MOMENT) == signed


def test_another_key_moment_or_document_gives_another_signature(signed: bytes, signer: Signer):
    later = sign_pdf(small_pdf(), signer, when=MOMENT + timedelta(seconds=1))
    stranger = sign_pdf(small_pdf(), STRANGER, when=MOMENT)

    assert len({signed, later, stranger}) == 3


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_changed_byte_is_noticed_by_both(signed: bytes, tmp_path: Path, part: float):
    gap = signed.index(b"/Contents <")
    place = int(gap * part)
    changed = flipped(signed, place)

    assert "Signature is Valid" not in pdfsig(changed, tmp_path)
    with pytest.raises(ValueError):
        read_signature(changed)


def test_what_is_added_at_the_end_is_noticed_by_both(signed: bytes, tmp_path: Path):
    assert "Total document signed" not in pdfsig(signed + b"\n", tmp_path)
    with pytest.raises(ValueError, match="does not cover the whole file"):
        read_signature(signed + b"\n")


def test_a_key_in_a_token_signs(signer: Signer, tmp_path: Path):
    token = Signer(Token(signer.key), name=signer.name)  # type: ignore[arg-type]

    pdf = sign_pdf(small_pdf(), token, when=MOMENT)

    assert pdf == sign_pdf(small_pdf(), signer, when=MOMENT)


def test_a_certificate_that_was_brought_is_used(tmp_path: Path):
    named = dataclasses.replace(P256, name="Brought by hand")
    certificate = make_certificate(named, valid_from=MOMENT)

    pdf = sign_pdf(small_pdf(), dataclasses.replace(P256, certificate=certificate), when=MOMENT)

    assert "CN=Brought by hand" in pdfsig(pdf, tmp_path)


def test_each_certificate_is_in_the_pdf_once(signed: bytes, signer: Signer):
    digits = signed.lower()

    for certificate in document_signer(signer)[1]:
        assert digits.count(certificate.dump().hex().encode()) == 1


def test_an_ed25519_key_certifies_another_key_and_both_are_in_the_pdf():
    document, (certificate, issuer) = document_signer(SIGNER)

    assert document.algorithm == "ecdsa-p256"
    assert document.key_id != SIGNER.key_id
    assert document.key_id == document_signer(SIGNER)[0].key_id
    assert document.key_id != document_signer(STRANGER)[0].key_id
    assert certificate.issuer == issuer.subject
    assert issuer.ca and not certificate.ca


def test_a_name_that_no_certificate_holds_is_cut():
    long = dataclasses.replace(P256, name="n" * 100)

    assert read_signature(sign_pdf(small_pdf(), long, when=MOMENT)) is not None


@pytest.mark.parametrize("pdf", [b"", b"%PDF-1.7 not really", small_pdf()[:200]])
def test_what_is_no_pdf_cannot_be_signed(pdf: bytes):
    with pytest.raises(ReportError, match="a PDF cannot be signed"):
        sign_pdf(pdf, SIGNER, when=MOMENT)


def test_pyhanko_finds_the_signature_good(signed: bytes, signer: Signer):
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    found = PdfFileReader(io.BytesIO(signed)).embedded_signatures[0]
    roots = document_signer(signer)[1]
    status = validate_pdf_signature(found, ValidationContext(trust_roots=[roots[-1]]))

    assert status.intact and status.valid and status.trusted
    assert status.coverage.name == "ENTIRE_FILE"


@pytest.mark.slow
@pytest.mark.parametrize("stamped", [False, True])
def test_the_standards_are_kept(tmp_path: Path, url: str, signer: Signer, stamped: bool):
    page = (
        '<!doctype html><html lang="en"><head><title>T</title><meta name="description" '
        'content="D"></head><body><h1>T</h1><p>日本語 Ελληνικά</p></body></html>'
    )
    pdf = html_to_pdf(page, attachments={"a.json": b"{}"}, identifier=b"\1" * 16, when=MOMENT)
    (tmp_path / "one.pdf").write_bytes(
        sign_pdf(pdf, signer, when=MOMENT, authority=url if stamped else None)
    )

    done = subprocess.run(
        [sys.executable, VERAPDF, tmp_path / "one.pdf", "PDFA_3_A", "PDFUA_1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout.splitlines()[-1]) == {"PDFA_3_A": {}, "PDFUA_1": {}}


# Time stamps in PDFs


def test_a_stamp_in_a_pdf_says_when(authority: Authority, url: str, tmp_path: Path):
    pdf = sign_pdf(small_pdf(), SIGNER, when=MOMENT, authority=url)

    signature = read_signature(pdf)
    assert signature is not None
    stamp = signature.stamp(authority.root_pem)
    assert stamp is not None and abs(stamp.moment - datetime.now(UTC)) < timedelta(minutes=1)
    assert "Signature is Valid" in pdfsig(pdf, tmp_path)


def test_without_an_authority_there_is_no_stamp(signed: bytes, authority: Authority):
    signature = read_signature(signed)

    assert signature is not None and signature.stamp(authority.root_pem) is None


def test_an_authority_that_fails_is_said_to(tmp_path: Path):
    cut = Authority(tmp_path, damage=lambda reply: reply[:40])

    with serving(cut) as url, pytest.raises(TimeStampError, match="gave no time stamp"):
        sign_pdf(small_pdf(), SIGNER, when=MOMENT, authority=url)


# In a pack


def pdf_checks(pack: Path, **trust: bytes | None) -> list[Check]:
    found = check_integrity(pack, trust=Trust(**trust))  # type: ignore[arg-type]
    return [check for check in found if check.name == "pdf-signature"]


def packed(folder: Path, *pdfs: bytes, signer: Signer = SIGNER) -> Path:
    names = ("report.pdf", "report-brief.pdf", "report-standard.pdf")
    documents = {**DOCUMENTS, **dict(zip(names, pdfs, strict=False))}
    return build_example(folder, documents=documents, signer=signer)


def test_signed_pdfs_pass(tmp_path: Path, signed: bytes, signer: Signer):
    pack = packed(tmp_path, signed, signed, signer=signer)

    checks = pdf_checks(pack, issuer=signer.public_pem)

    assert [check.line for check in checks] == [
        "passed: 2 PDFs have a signature over the whole file, by the issuer"
    ]


def test_pdfs_without_a_signature_are_told_of(built: Path):
    assert [check.line for check in pdf_checks(built)] == [
        "not checked: data/report.pdf: 1 PDF has no signature inside; the manifest covers every PDF"
    ]


def test_a_pdf_that_somebody_else_signed_is_refused(tmp_path: Path):
    from compliance.errors import PackError

    other = sign_pdf(small_pdf(), STRANGER, when=MOMENT)

    with pytest.raises(PackError, match="signed with a key that is not the issuer's"):
        packed(tmp_path, other)


def test_a_changed_pdf_is_named(tmp_path: Path, signed: bytes, signer: Signer):
    pack = packed(tmp_path, signed, signer=signer)
    (pack / "data/report.pdf").write_bytes(flipped(signed, 300))

    checks = pdf_checks(pack, issuer=signer.public_pem)

    assert [(check.status, check.path) for check in checks] == [(Outcome.FAILED, "data/report.pdf")]


def test_the_stamps_of_pdfs_are_checked(tmp_path: Path, authority: Authority, url: str):
    pack = packed(tmp_path, sign_pdf(small_pdf(), SIGNER, when=MOMENT, authority=url))
    stranger = Authority(tmp_path / "stranger")

    def said(pem: bytes | None) -> list[str]:
        found = check_integrity(pack, trust=Trust(authorities=pem))
        return [c.line for c in found if c.name == "time-stamp" and "PDF" in c.line or (
            c.name == "time-stamp" and c.path == "data/report.pdf")]  # fmt: skip

    assert said(authority.root_pem)[0].startswith("passed: 1 PDF has a time stamp, the last of")
    assert "anyone may have made" in said(None)[0]
    assert said(stranger.root_pem)[0].startswith("failed: data/report.pdf: none of the given")


# Hostile


@pytest.mark.parametrize(
    "change",
    [
        lambda pdf: pdf.replace(b"/ByteRange [0 ", b"/ByteRange [1 "),
        lambda pdf: pdf.replace(b"/ByteRange [0 ", b"/ByteRange [0 9"),
        lambda pdf: pdf.replace(b"/Contents <", b"/Contents (", 1),
        lambda pdf: pdf + pdf,
        lambda pdf: b"/ByteRange [0 0 0 10]",
        lambda pdf: b"/ByteRange [0 999999999999 0 0]" + pdf,
        lambda pdf: b"/ByteRange " + b"[" * 100_000,
        lambda pdf: b"/ByteRange [0 25 29 0]   <00>",
        lambda pdf: pdf.replace(b"<3082", b"<3182", 1),
        lambda pdf: pdf.replace(b"<3082", b"<3089", 1),
    ],
)
def test_what_is_no_signature_is_refused(signed: bytes, change):
    changed = change(signed)
    assert changed != signed

    with pytest.raises(ValueError):
        read_signature(changed)


def test_every_change_of_the_signature_ends_in_an_answer(signed: bytes):
    start = signed.index(b"/Contents <") + len(b"/Contents <")
    whole = read_signature(signed)
    assert whole is not None
    for place in range(start, start + 2400, 3):
        try:
            found = read_signature(signed[:place] + b"7" + signed[place + 1 :])
        except ValueError:
            continue
        assert found is not None  # a digit that was 7, or in a part that nobody signs
        assert found.signature == whole.signature
        assert found.certificate.dump() == whole.certificate.dump()


def test_one_page_is_enough_for_openssl(signed: bytes, signer: Signer, tmp_path: Path):
    """The signed bytes and the signature, cut out by hand as HOW-TO-VERIFY.md does."""
    if shutil.which("pdfsig") is None:
        pytest.skip("needs pdfsig")
    (tmp_path / "one.pdf").write_bytes(signed)
    subprocess.run(["pdfsig", "-dump", "one.pdf"], cwd=tmp_path, check=True, capture_output=True)
    start = signed.index(b"/Contents <") + len(b"/Contents ")
    end = signed.index(b">", start) + 1
    (tmp_path / "data").write_bytes(signed[:start] + signed[end:])
    issuer = document_signer(signer)[1][-1]
    (tmp_path / "issuer.der").write_bytes(issuer.dump())
    subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-in", "issuer.der", "-out", "issuer.pem"],
        cwd=tmp_path, check=True,
    )  # fmt: skip

    done = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", "one.pdf.sig0", "-content", "data",
         "-binary", "-purpose", "any", "-partial_chain", "-CAfile", "issuer.pem", "-out", "out"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert "CMS Verification successful" in done.stderr
