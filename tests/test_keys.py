"""Keys and signatures that openssl reads too."""

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from compliance.errors import PackError, SignatureMismatch, StorageError, VerificationError
from compliance.keys import key_id, parse_public_key
from compliance.packs import Signer, create_keys, load_private_key, load_public_key
from compliance.packs.sign import open_envelope, pae, verify_envelope
from compliance.records.base import canonical_bytes
from tests.packs.example import SIGNER, STRANGER

PATH = "attestations/statement.dsse.json"


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_key_pair_is_written_and_read_back(tmp_path: Path, passphrase: bytes | None):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"

    made = create_keys(private, public, passphrase=passphrase)

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

    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "theirs.pem")

    assert load_private_key(tmp_path / "theirs.pem")


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
    curve = ec.generate_private_key(ec.SECP256R1())
    pem = curve.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "text").write_text("hello")

    with pytest.raises(PackError, match="expected ed25519"):
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


def test_pae_is_that_of_the_dsse_specification():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_openssl_verifies_the_envelope(built: Path, tmp_path: Path, key: bytes):
    envelope = json.loads((built / PATH).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "pae").write_bytes(pae(envelope["payloadType"], payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "key").write_bytes(key)
    args = ("pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key", "-rawin")
    files = ("-in", tmp_path / "pae", "-sigfile", tmp_path / "sig")

    good = openssl(*args, *files)
    (tmp_path / "pae").write_bytes((tmp_path / "pae").read_bytes()[:-1] + b" ")
    bad = openssl(*args, *files)

    assert (good.returncode, good.stdout.strip()) == (0, "Signature Verified Successfully")
    assert bad.returncode != 0


def test_an_envelope_verifies_with_its_key_only(built: Path):
    envelope, statement = open_envelope((built / PATH).read_bytes(), path=PATH)

    verify_envelope(envelope, SIGNER.key.public_key(), path=PATH)
    with pytest.raises(SignatureMismatch) as caught:
        verify_envelope(envelope, STRANGER.key.public_key(), path=PATH)

    assert caught.value.path == PATH
    assert statement.predicate.role == "issuer"


def _changed(data: bytes, **changes: object) -> bytes:
    return canonical_bytes(json.loads(data) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"payloadType": "text/plain"}, {"payload": "e30="}, {"payload": "!"}, {"payload": "e31="},
        {"signatures": []}, {"more": 1},
    ],
)  # fmt: skip
def test_an_odd_envelope_is_refused(built: Path, changes: dict[str, object]):
    data = _changed((built / PATH).read_bytes(), **changes)

    with pytest.raises(VerificationError, match=PATH):
        open_envelope(data, path=PATH)
