"""Keys and signatures that openssl reads too."""

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from compliance.errors import PackError, StorageError
from compliance.keys import Algorithm, key_id, parse_public_key, verify_signature
from compliance.keys.opening import KeySource, create_key_files, open_signer
from compliance.keys.private import generate_key
from compliance.packs import Signer, create_keys, load_private_key, load_public_key
from tests.packs.example import MOMENT, SIGNER, STRANGER

ALGORITHMS: tuple[Algorithm, ...] = ("ed25519", "ecdsa-p256")


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_pair_is_written_and_read_back(
    tmp_path: Path, passphrase: bytes | None, algorithm: Algorithm
):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"

    made = create_keys(private, public, passphrase=passphrase, algorithm=algorithm)

    key = load_private_key(private, passphrase=passphrase)
    assert key_id(key.public_key()) == made == key_id(load_public_key(public))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644


def test_openssl_reads_our_keys_and_we_read_its(tmp_path: Path):
    made = create_keys(tmp_path / "ours.pem", tmp_path / "ours.pub.pem", passphrase=b"word")
    args = ("pkey", "-in", tmp_path / "ours.pem", "-passin", "pass:word", "-pubout")
    assert openssl(*args).stdout == (tmp_path / "ours.pub.pem").read_text()
    der = ("-outform", "DER", "-out", tmp_path / "key.der")
    openssl("pkey", "-pubin", "-in", tmp_path / "ours.pub.pem", *der)
    digest = openssl("dgst", "-sha256", "-r", tmp_path / "key.der").stdout.split()[0]
    assert made == f"sha256:{digest}"

    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "theirs.pem")
    openssl("genpkey", *curve, "-out", tmp_path / "curve.pem")

    assert Signer(load_private_key(tmp_path / "theirs.pem")).algorithm == "ed25519"
    assert Signer(load_private_key(tmp_path / "curve.pem")).algorithm == "ecdsa-p256"


def test_an_existing_key_is_never_overwritten(tmp_path: Path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    create_keys(private, public)
    before = private.read_bytes(), public.read_bytes()

    with pytest.raises(StorageError, match="is there already"):
        create_keys(private, public)

    assert (private.read_bytes(), public.read_bytes()) == before


@pytest.mark.parametrize(
    ("given", "stored", "message"),
    [
        (None, b"word", "needs its passphrase"),
        (b"wrong", b"word", "does not open it"),
        (b"word", None, "has no passphrase"),
    ],
)
def test_a_wrong_passphrase_is_told_apart(
    tmp_path: Path, given: bytes | None, stored: bytes | None, message: str
):
    create_keys(tmp_path / "key.pem", tmp_path / "key.pub.pem", passphrase=stored)

    with pytest.raises(PackError, match=message):
        load_private_key(tmp_path / "key.pem", passphrase=given)


def test_keys_of_other_kinds_are_refused(tmp_path: Path):
    curve = ec.generate_private_key(ec.SECP384R1())
    pem = curve.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "text").write_text("hello")

    with pytest.raises(PackError, match="on the curve secp384r1, expected ed25519 or P-256"):
        parse_public_key(pem)
    with pytest.raises(PackError, match="not a private key"):
        load_private_key(tmp_path / "text")
    with pytest.raises(PackError, match="cannot be read"):
        load_private_key(tmp_path / "nowhere")


def test_a_private_key_given_for_the_public_one_is_told(tmp_path: Path):
    create_keys(tmp_path / "key.pem", tmp_path / "key.pub.pem")

    with pytest.raises(PackError, match="this is a private key"):
        load_public_key(tmp_path / "key.pem")


def test_a_signer_never_shows_its_key():
    assert SIGNER.key.private_bytes_raw().hex() not in repr(SIGNER)
    assert "Ed25519" not in repr(Signer(STRANGER.key))


# Signatures

RFC6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC6979_R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
RFC6979_S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The example of RFC 6979, A.2.5, with SHA-256 and the message "sample"."""


def test_a_key_in_a_file_signs_as_rfc_6979_says_with_the_smaller_s():
    signer = Signer(ec.derive_private_key(RFC6979_KEY, ec.SECP256R1()))

    signature = signer.sign(b"sample")

    assert decode_dss_signature(signature) == (RFC6979_R, P256_ORDER - RFC6979_S)
    verify_signature(signer.public_key, signature, b"sample")


def test_the_other_half_of_ecdsa_signatures_is_refused():
    signer = Signer(ec.derive_private_key(RFC6979_KEY, ec.SECP256R1()))
    greater = encode_dss_signature(RFC6979_R, RFC6979_S)

    signer.public_key.verify(greater, b"sample", ec.ECDSA(hashes.SHA256()))  # it is one
    with pytest.raises(InvalidSignature):
        verify_signature(signer.public_key, greater, b"sample")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_fits_one_key_and_one_text(algorithm: Algorithm):
    signer, other = Signer(generate_key(algorithm)), Signer(generate_key(algorithm))

    signature = signer.sign(b"text")

    assert signature == signer.sign(b"text")
    verify_signature(signer.public_key, signature, b"text")
    for key, given, text in (
        (other.public_key, signature, b"text"),
        (signer.public_key, signature, b"tent"),
        (signer.public_key, signature[:-1], b"text"),
        (signer.public_key, signature + b"x", b"text"),
        (signer.public_key, b"", b"text"),
        (STRANGER.public_key, signature, b"text"),
    ):
        with pytest.raises(InvalidSignature):
            verify_signature(key, given, text)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_secret_of_salts_is_the_same_each_time_and_another_for_each_key(algorithm: Algorithm):
    key = generate_key(algorithm)

    assert Signer(key).salt_secret == Signer(key, name="other").salt_secret
    assert len(Signer(key).salt_secret) == 32
    assert Signer(key).salt_secret != Signer(generate_key(algorithm)).salt_secret


# Key files


def test_a_key_brings_its_certificate_from_beside_it(tmp_path: Path):
    made = create_key_files(tmp_path / "a.pem", valid_from=MOMENT, name="A. Person")
    other = create_key_files(tmp_path / "b.pem", valid_from=MOMENT)

    with open_signer(KeySource(made.private, name="A. Person, QA"), role="reviewer") as signer:
        assert signer.certificate == made.certificate.read_bytes()
        assert (signer.key_id, signer.role, signer.name) == (
            made.key_id, "reviewer", "A. Person, QA",
        )  # fmt: skip
    foreign = KeySource(made.private, certificate=other.certificate)
    with pytest.raises(PackError, match="of another key"), open_signer(foreign):
        pass
    made.certificate.unlink()
    with open_signer(KeySource(made.private)) as signer:
        assert signer.certificate is None


def test_a_source_never_shows_its_secret():
    assert "word" not in repr(KeySource("key.pem", secret="word"))
