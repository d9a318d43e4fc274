"""The signed head of a trail: a C2SP signed note over the Merkle root of its lines.

A chain does not stop its holder from writing all of it anew. A checkpoint that somebody else keeps
does: a trail that does not begin with the lines that were signed is another one.

Source: c2sp.org/signed-note and c2sp.org/tlog-checkpoint, with one signature and no extensions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.errors import TrailError
from compliance.keys import PublicKey, public_der, verify_signature
from compliance.records.base import canonical_bytes
from compliance.records.trail import ConsistencyProof, Entry, InclusionProof
from compliance.trail.merkle import (
    consistency_proof,
    inclusion_proof,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)

_DASH = "\N{EM DASH}"


class NoteSigner(Protocol):
    """Whatever holds a key and signs with it, such as `compliance.keys.Signer`."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, data: bytes) -> bytes:
        """Sign: 64 raw bytes with ed25519, the DER of (r, s) over SHA-256 with P-256."""
        ...


class Checkpoint(NamedTuple):
    """The head of a trail: how many lines it has, and their Merkle root."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> bytes:
        """The text that is signed, and that a time stamp is made over."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n".encode()


def checkpoint_of(entries: Sequence[Entry], origin: str) -> Checkpoint:
    """The head of these entries. ``origin`` names the trail; it holds no spaces and no ``+``."""
    leaves = _leaves(entries)
    return Checkpoint(origin, len(leaves), merkle_root(leaves))


def sign_checkpoint(entries: Sequence[Entry], *, origin: str, signer: NoteSigner) -> bytes:
    """The head of these entries as a C2SP signed note."""
    body = checkpoint_of(entries, origin).body
    signature = _b64(_key_hash(origin, signer.public_key) + signer.sign(body))
    return body + f"\n{_DASH} {origin} {signature}\n".encode()


def read_checkpoint(note: bytes) -> Checkpoint:
    """What a signed note says. Its signature is not checked: that is `open_checkpoint`.

    Raises:
        TrailError: It is not a checkpoint of ours.
    """
    return _parts(note)[0]


def names_key(note: bytes, key: PublicKey) -> bool:
    """Whether a signed note says that this key signed it, which proves nothing.

    Raises:
        TrailError: It is not a checkpoint of ours.
    """
    checkpoint, signed = _parts(note)
    return signed[:4] == _key_hash(checkpoint.origin, key)


def open_checkpoint(note: bytes, key: PublicKey) -> Checkpoint:
    """Check the signature of a signed note and return what it says.

    Raises:
        TrailError: It is not a checkpoint, or this key did not sign it.
    """
    checkpoint, signed = _parts(note)
    if not names_key(note, key):
        raise TrailError("checkpoint: signed with another key")
    try:
        verify_signature(key, signed[4:], checkpoint.body)
    except InvalidSignature as error:
        raise TrailError("checkpoint: the signature does not fit its text") from error
    return checkpoint


def extends(entries: Sequence[Entry], checkpoint: Checkpoint) -> bool:
    """Whether the trail begins with exactly the lines whose head this is."""
    if checkpoint.size > len(entries):
        return False
    return merkle_root(_leaves(entries[: checkpoint.size])) == checkpoint.root


def prove_entry(entries: Sequence[Entry], number: int) -> InclusionProof:
    """Show that entry ``number`` (from 1) stands in this trail.

    Raises:
        TrailError: There is no such entry.
    """
    leaves = _leaves(entries)
    path = inclusion_proof(leaves, number - 1)
    return InclusionProof(
        entry=entries[number - 1],
        size=len(leaves),
        root=_digest(merkle_root(leaves)),
        hashes=tuple(map(_digest, path)),
    )


def prove_extension(entries: Sequence[Entry], earlier: Checkpoint) -> ConsistencyProof:
    """Show that this trail begins with all that an earlier checkpoint signed.

    Raises:
        TrailError: It does not.
    """
    if not extends(entries, earlier):
        raise TrailError(
            f"a trail of {len(entries)} lines does not extend the checkpoint of {earlier.size}",
            hint="the trail was written anew, or the checkpoint is of another one",
        )
    leaves = _leaves(entries)
    return ConsistencyProof(
        first_size=earlier.size,
        first_root=_digest(earlier.root),
        size=len(leaves),
        root=_digest(merkle_root(leaves)),
        hashes=tuple(map(_digest, consistency_proof(leaves, earlier.size))),
    )


def verify_proof(proof: InclusionProof | ConsistencyProof) -> None:
    """Check that a proof shows what it says; size and root are for the caller to compare, together.

    A root alone does not tell how many lines it is of: take both from one checkpoint (`heads`).

    Raises:
        TrailError: It does not.
    """
    hashes, root = [_bytes(digest) for digest in proof.hashes], _bytes(proof.root)
    if isinstance(proof, ConsistencyProof):
        first = _bytes(proof.first_root)
        verify_consistency(proof.first_size, first, proof.size, root, hashes)
    else:
        leaf = canonical_bytes(proof.entry)
        verify_inclusion(leaf, proof.entry.sequence - 1, proof.size, hashes, root)


def heads(proof: InclusionProof | ConsistencyProof) -> dict[int, bytes]:
    """Root by size of each head that a proof is about."""
    found = {proof.size: _bytes(proof.root)}
    if isinstance(proof, ConsistencyProof):
        found[proof.first_size] = _bytes(proof.first_root)
    return found


def _leaves(entries: Sequence[Entry]) -> list[bytes]:
    return [canonical_bytes(entry) for entry in entries]


def _parts(note: bytes) -> tuple[Checkpoint, bytes]:
    """What a note says, and its key hash and signature."""
    try:
        body, _, signatures = note.decode("utf-8").partition("\n\n")
        origin, size, root = body.split("\n")
        dash, signer, signature = signatures.removesuffix("\n").split(" ")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
        signed = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error) as error:
        raise TrailError("checkpoint: not a signed note with one signature") from error
    again = checkpoint.body + f"\n{dash} {origin} {_b64(signed)}\n".encode()
    spelt = dash == _DASH and signer == origin and again == note
    if not spelt or len(checkpoint.root) != 32 or checkpoint.size < 0:
        raise TrailError("checkpoint: not spelt as a signed note is")
    return checkpoint, signed


def _key_hash(name: str, key: PublicKey) -> bytes:
    """Four bytes that tell keys of one name apart, as C2SP defines them for each algorithm."""
    if isinstance(key, Ed25519PublicKey):
        hashed = name.encode() + b"\n\x01" + key.public_bytes_raw()
    else:
        hashed = public_der(key)
    return hashlib.sha256(hashed).digest()[:4]


def _digest(hashed: bytes) -> str:
    return f"sha256:{hashed.hex()}"


def _bytes(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix("sha256:"))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
