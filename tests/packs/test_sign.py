"""Statements and their envelopes, which openssl verifies too."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from compliance.errors import SignatureMismatch, VerificationError
from compliance.packs.sign import open_envelope, pae, verify_envelope
from compliance.records.base import canonical_bytes
from tests.packs.example import SIGNER, STRANGER

PATH = "attestations/statement.dsse.json"


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


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
