"""The detached CMS signature, which openssl verifies."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compliance.errors import PackError, SignatureMismatch, VerificationError
from compliance.keys import Signer
from compliance.keys.certificates import check_certificate, make_certificate, signed_by
from compliance.keys.certificates import parse_certificates as parse
from compliance.packs import layout
from compliance.packs.build import write_tag_manifest
from compliance.packs.cms import make_cms, verify_cms, why_no_cms
from compliance.packs.integrity import verify_integrity
from compliance.packs.trust import Trust
from compliance.records.verification import Outcome
from tests.packs.example import MOMENT, P256_SIGNER, SIGNER, all_bytes, build_example

MANIFEST = b"0" * 64 + b"  data/a\n"


def openssl_cms(folder: Path, cms: bytes, manifest: bytes, certificate: bytes) -> bool:
    (folder / "m.p7s").write_bytes(cms)
    (folder / "m").write_bytes(manifest)
    (folder / "c.pem").write_bytes(certificate)
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-cades", "-inform", "DER", "-binary", "-in", "m.p7s",
         "-content", "m", "-CAfile", "c.pem", "-out", "/dev/null"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    return "Verification successful" in done.stderr


@pytest.fixture(scope="module")
def p256_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_example(tmp_path_factory.mktemp("p256"), signer=P256_SIGNER)


def checks(pack: Path) -> dict[str | None, tuple[str, Outcome]]:
    found = verify_integrity(pack, trust=Trust(issuer=P256_SIGNER.public_pem)).checks
    return {check.path: (check.name, check.status) for check in found if check.name == "cms"}


def test_openssl_verifies_what_is_made(tmp_path: Path):
    cms = make_cms(MANIFEST, signer=P256_SIGNER, signed_at=MOMENT)

    assert openssl_cms(tmp_path, cms, MANIFEST, P256_SIGNER.certificate)
    assert not openssl_cms(tmp_path, cms, MANIFEST + b"x", P256_SIGNER.certificate)
    verify_cms(cms, MANIFEST, key=P256_SIGNER.public_key, signed_at=MOMENT, path="p7s")


def test_a_pack_has_one_and_two_builds_are_equal(p256_pack: Path, tmp_path: Path):
    again = build_example(tmp_path, signer=P256_SIGNER)

    assert all_bytes(p256_pack) == all_bytes(again)
    assert checks(p256_pack) == {layout.MANIFEST_CMS: ("cms", Outcome.PASSED)}
    cms = (p256_pack / layout.MANIFEST_CMS).read_bytes()
    manifest = (p256_pack / layout.MANIFEST).read_bytes()
    assert openssl_cms(tmp_path, cms, manifest, P256_SIGNER.certificate)


@pytest.mark.parametrize(
    ("signer", "reason"),
    [(SIGNER, "with ed25519"), (replace(P256_SIGNER, certificate=None), "no certificate")],
)
def test_a_signer_who_cannot_is_told_and_the_pack_says_so(
    tmp_path: Path, signer: Signer, reason: str
):
    pack = build_example(tmp_path, signer=signer)

    assert reason in (why_no_cms(signer) or "")
    assert not (pack / layout.MANIFEST_CMS).exists()
    said = [c for c in verify_integrity(pack).not_checked if c.name == "cms"]
    assert "there is no CMS signature" in said[0].message
    with pytest.raises(PackError, match=reason):
        make_cms(MANIFEST, signer=signer, signed_at=MOMENT)


def test_no_byte_can_be_changed():
    cms = make_cms(MANIFEST, signer=P256_SIGNER, signed_at=MOMENT)

    for place in range(len(cms)):
        for bit in (1, 0x80):
            damaged = cms[:place] + bytes([cms[place] ^ bit]) + cms[place + 1 :]
            with pytest.raises(VerificationError, match="p7s"):
                verify_cms(
                    damaged, MANIFEST, key=P256_SIGNER.public_key, signed_at=MOMENT, path="p7s"
                )


@pytest.mark.parametrize(
    "data", [b"", b"\x30\x80", b"0" * 100, b"\x30\x03\x02\x01\x05", b"\x30\x84" * 40_000]
)
def test_what_is_no_cms_is_refused(data: bytes):
    with pytest.raises(VerificationError, match="not a CMS signature of ours"):
        verify_cms(data, MANIFEST, key=P256_SIGNER.public_key, signed_at=MOMENT, path="p7s")


def test_another_manifest_key_or_moment_is_refused():
    cms = make_cms(MANIFEST, signer=P256_SIGNER, signed_at=MOMENT)
    key, later = P256_SIGNER.public_key, MOMENT + timedelta(seconds=1)

    for manifest, given, moment, message in (
        (b"x", key, MOMENT, "does not fit the manifest"),
        (MANIFEST, SIGNER.public_key, MOMENT, "certificate is of another key"),
        (MANIFEST, key, later, "does not fit the manifest"),
    ):
        with pytest.raises(SignatureMismatch, match=message):
            verify_cms(cms, manifest, key=given, signed_at=moment, path="p7s")


def test_a_cms_of_another_pack_is_named(p256_pack: Path, tmp_path: Path):
    other = build_example(tmp_path, signer=P256_SIGNER, documents={"report.html": b"other"})
    (other / layout.MANIFEST_CMS).write_bytes((p256_pack / layout.MANIFEST_CMS).read_bytes())
    write_tag_manifest(other)

    assert checks(other) == {layout.MANIFEST_CMS: ("cms", Outcome.FAILED)}


def issued(name: str, key, issuer: x509.Certificate | None, issuer_key) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(len(name))
        .not_valid_before(MOMENT)
        .not_valid_after(MOMENT + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=key is not P256_SIGNER.key, path_length=None), True)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def test_a_brought_certificate_leads_to_its_root(tmp_path: Path):
    root_key, middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = issued("Root", root_key, None, root_key)
    middle = issued("Middle", middle_key, root, root_key)
    leaf = issued("A. Person", P256_SIGNER.key, middle, middle_key)
    pem = [each.public_bytes(serialization.Encoding.PEM) for each in (leaf, middle, root)]
    signer = replace(P256_SIGNER, certificate=pem[0] + pem[1])

    cms = make_cms(MANIFEST, signer=signer, signed_at=MOMENT)

    verify_cms(cms, MANIFEST, key=signer.public_key, signed_at=MOMENT, path="p7s")
    assert openssl_cms(tmp_path, cms, MANIFEST, pem[2])
    swapped = cms.replace(parse(pem[1])[0].dump(), parse(pem[2])[0].dump())
    with pytest.raises(VerificationError):
        verify_cms(swapped, MANIFEST, key=signer.public_key, signed_at=MOMENT, path="p7s")


def test_a_certificate_of_another_key_or_none_is_refused():
    other = make_certificate(SIGNER, valid_from=MOMENT)

    with pytest.raises(PackError, match="of another key"):
        check_certificate(other, P256_SIGNER.public_key, name="c.pem")
    with pytest.raises(PackError, match="not certificates in PEM form"):
        check_certificate(b"hello", P256_SIGNER.public_key, name="c.pem")
    with pytest.raises(PackError, match="not certificates in PEM form"):
        check_certificate(P256_SIGNER.public_pem, P256_SIGNER.public_key, name="c.pem")


@pytest.mark.parametrize("signer", [SIGNER, P256_SIGNER], ids=["ed25519", "p256"])
def test_openssl_believes_a_certificate_that_its_key_signed(tmp_path: Path, signer: Signer):
    pem = make_certificate(signer, valid_from=MOMENT.replace(month=2, day=28))
    (tmp_path / "c.pem").write_bytes(pem)

    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "c.pem", "c.pem"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert done.stdout == "c.pem: OK\n"
    assert signed_by(parse(pem)[0], signer.public_key)
    assert pem == make_certificate(signer, valid_from=MOMENT.replace(month=2, day=28))


def test_a_name_that_no_certificate_can_hold_is_refused():
    with pytest.raises(PackError, match="65 characters"):
        make_certificate(replace(SIGNER, name="x" * 65), valid_from=MOMENT)
