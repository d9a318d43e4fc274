"""A checkpoint is a C2SP signed note, with both kinds of keys, and openssl alone can check it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import TrailError
from compliance.keys import Signer, public_der
from compliance.records.trail import ConsistencyProof, InclusionProof
from compliance.trail import (
    checkpoint_of,
    extends,
    heads,
    merkle_root,
    names_key,
    open_checkpoint,
    prove_entry,
    prove_extension,
    read,
    read_checkpoint,
    sign_checkpoint,
    verify_proof,
)
from tests.trail.example import ED25519, SIGNERS, write_lines

ORIGIN = "sae-compliance/demo"


@pytest.mark.parametrize("kind", SIGNERS)
def test_a_checkpoint_is_a_signed_note(trail: Path, kind: str):
    entries, signer = read(trail), SIGNERS[kind]

    note = sign_checkpoint(entries, origin=ORIGIN, signer=signer)

    body, signature = note.decode().split("\n\n")
    root = merkle_root([line for line in trail.read_bytes().split(b"\n") if line])
    assert body == f"{ORIGIN}\n4\n{base64.b64encode(root).decode()}"
    assert signature.startswith(f"\N{EM DASH} {ORIGIN} ") and signature.endswith("\n")
    hashed = {
        "ed25519": ORIGIN.encode() + b"\n\x01" + ED25519.public_key.public_bytes_raw(),
        "P-256": public_der(SIGNERS["P-256"].public_key),
    }[kind]
    raw = base64.b64decode(signature.split(" ")[2])
    assert raw[:4] == hashlib.sha256(hashed).digest()[:4]
    assert open_checkpoint(note, signer.public_key) == checkpoint_of(entries, ORIGIN)
    assert read_checkpoint(note) == checkpoint_of(entries, ORIGIN)


@pytest.mark.parametrize("kind", SIGNERS)
def test_any_changed_byte_of_a_checkpoint_is_noticed(trail: Path, kind: str):
    signer = SIGNERS[kind]
    note = sign_checkpoint(read(trail), origin=ORIGIN, signer=signer)

    for place in range(len(note)):
        for bit in (1, 32, 128):
            with pytest.raises(TrailError):
                damaged = note[:place] + bytes([note[place] ^ bit]) + note[place + 1 :]
                open_checkpoint(damaged, signer.public_key)
        with pytest.raises(TrailError):
            open_checkpoint(note[:place], signer.public_key)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        b"o\n-1\n" + base64.b64encode(bytes(32)) + b"\n\n\xe2\x80\x94 o AAAAAAAA\n",
        b"o\n1\n" + base64.b64encode(bytes(31)) + b"\n\n\xe2\x80\x94 o AAAAAAAA\n",
        b"o\n01\n" + base64.b64encode(bytes(32)) + b"\n\n\xe2\x80\x94 o AAAAAAAA\n",
        b"o\n" + b"9" * 5000 + b"\n" + base64.b64encode(bytes(32)) + b"\n\n\xe2\x80\x94 o AAAA\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(note: bytes):
    with pytest.raises(TrailError, match="checkpoint: not"):
        read_checkpoint(note)


@pytest.mark.parametrize("kind", SIGNERS)
def test_a_checkpoint_of_another_key_is_refused(trail: Path, kind: str):
    stranger = Signer(Ed25519PrivateKey.generate())
    note = sign_checkpoint(read(trail), origin="t", signer=stranger)

    assert names_key(note, stranger.public_key)
    assert not names_key(note, SIGNERS[kind].public_key)
    with pytest.raises(TrailError, match="another key"):
        open_checkpoint(note, SIGNERS[kind].public_key)


def test_a_trail_extends_its_own_beginning_and_no_other(trail: Path, tmp_path: Path):
    entries = read(trail)
    other = write_lines(tmp_path / "other.jsonl", 6, more=1)

    for size in range(5):
        assert extends(entries, checkpoint_of(entries[:size], ORIGIN))
        assert extends(entries, checkpoint_of(other[:size], ORIGIN)) == (size == 0)
    assert not extends(entries[:3], checkpoint_of(entries, ORIGIN))


def test_proofs_of_a_trail_hold_and_are_read_back(trail: Path):
    entries = read(trail)
    head, earlier = checkpoint_of(entries, ORIGIN), checkpoint_of(entries[:3], ORIGIN)

    inclusion, consistency = prove_entry(entries, 2), prove_extension(entries, earlier)

    for proof in (inclusion, consistency):
        verify_proof(proof)
        assert type(proof).model_validate_json(proof.model_dump_json()) == proof
    assert inclusion.entry == entries[1]
    assert heads(inclusion) == {4: head.root}
    assert heads(consistency) == {3: earlier.root, 4: head.root}


def test_a_proof_of_something_else_does_not_hold(trail: Path):
    entries = read(trail)
    inclusion = prove_entry(entries, 2)
    consistency = prove_extension(entries, checkpoint_of(entries[:3], ORIGIN))
    zero = "sha256:" + "0" * 64

    for wrong in (
        inclusion.model_copy(update={"entry": entries[2]}),
        inclusion.model_copy(update={"size": 2}),
        inclusion.model_copy(update={"root": zero}),
        inclusion.model_copy(update={"hashes": inclusion.hashes[:-1]}),
        consistency.model_copy(update={"first_root": zero}),
        consistency.model_copy(update={"first_size": 2}),
        consistency.model_copy(update={"hashes": (*consistency.hashes, zero)}),
    ):
        assert isinstance(wrong, (InclusionProof, ConsistencyProof))
        with pytest.raises(TrailError):
            verify_proof(wrong)


def test_a_trail_that_was_written_anew_has_no_proof(trail: Path, tmp_path: Path):
    entries = read(trail)
    other = checkpoint_of(write_lines(tmp_path / "other.jsonl", 2, more=1), ORIGIN)

    with pytest.raises(TrailError, match="does not extend the checkpoint of 2"):
        prove_extension(entries, other)
    with pytest.raises(TrailError, match="leaf 5 of a tree of 4"):
        prove_entry(entries, 5)


def openssl_lines() -> str:
    """What a person without this software types, from the page that says so."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "trail.md"
    (block,) = re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return f"set -e\n{block}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("kind", SIGNERS)
def test_openssl_alone_checks_a_checkpoint(trail: Path, tmp_path: Path, kind: str):
    signer = SIGNERS[kind]
    (tmp_path / "checkpoint").write_bytes(
        sign_checkpoint(read(trail), origin=ORIGIN, signer=signer)
    )
    (tmp_path / "issuer.pub.pem").write_bytes(signer.public_pem)
    script = openssl_lines()

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    good = checked()
    note = (tmp_path / "checkpoint").read_text("utf-8")
    (tmp_path / "checkpoint").write_text(note.replace("\n4\n", "\n5\n"), "utf-8")
    bad = checked()

    assert good.returncode == 0 and "Verified Successfully" in good.stdout, good.stderr
    assert bad.returncode != 0


TREE = r"""
set -e
hash() { openssl dgst -sha256 -binary; }
leaf() { { printf '\0'; sed -n "$1p" trail.jsonl | tr -d '\n'; } | hash; }
node() { { printf '\1'; cat "$1" "$2"; } | hash; }
leaf 1 > a; leaf 2 > b; leaf 3 > c; leaf 4 > d
node a b > ab; node c d > cd; node ab cd > root
test "$(base64 -w 0 root)" = "$(sed -n 3p checkpoint)"
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_root_can_be_made_in_a_shell(trail: Path, tmp_path: Path):
    (tmp_path / "checkpoint").write_bytes(
        sign_checkpoint(read(trail), origin=ORIGIN, signer=ED25519)
    )
    run = ["bash", "-c", TREE]

    assert subprocess.run(run, cwd=tmp_path, check=False).returncode == 0
    lines = trail.read_bytes().split(b"\n")
    changed = json.loads(lines[2]) | {"actor": "another"}
    trail.write_bytes(b"\n".join([*lines[:2], json.dumps(changed).encode(), *lines[3:]]))
    assert subprocess.run(run, cwd=tmp_path, check=False).returncode != 0
