"""The append-only audit trail: what happened, in which order, by whom.

::

    append(path, "run-started", {"split": "fit"}, at=now, actor="sae-compliance 0.1.0")
    append_record(path, "plan-frozen", plan, at=now, actor=...)     # embeds the whole plan
    entries = read(path)                                            # checks every link
    note = sign_checkpoint(entries, origin="sae-compliance/demo-1.0.0", key=private_key)

Each line is canonical JSON and holds the digest of the line before it. A chain does not stop its
holder from writing all of it anew; a signed checkpoint that somebody else keeps does. The
checkpoint is a C2SP signed note over the Merkle root (RFC 6962) of the lines.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from compliance.errors import StorageError, TrailError
from compliance.records.base import Record, canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.pack import parse_canonical
from compliance.records.trail import Entry, utc_text
from compliance.storage import write_bytes

START = digest_bytes(b"")
"""``previous`` of the first entry: nothing comes before it."""

MAX_BYTES = 1 << 28
"""Longest trail that is read."""

_HINT = "the trail was edited or damaged; go back to the last copy whose checkpoint verifies"


def append(path: Path, kind: str, facts: dict[str, Any], *, at: datetime, actor: str) -> Entry:
    """Write one entry to the end of the trail and return it once it is on the disk.

    Several processes may append at the same time. A line that a killed writer left unfinished is
    moved aside first, and the trail says so in an entry of its own (see ``recover``).

    Args:
        path: The trail; it is made when it is not there.
        kind: What happened, such as ``run-started``.
        facts: JSON values, as plain as they are to be read back.

    Raises:
        TrailError: The trail is broken, or the entry cannot be written as JSON.
        StorageError: The disk refuses; the trail is as it was.
    """
    with _locked(path) as descriptor:
        _move_torn_tail(descriptor, path, at=at, actor=actor)
        return _append(descriptor, path, kind, facts, at=at, actor=actor)


def append_record(
    path: Path,
    kind: str,
    record: Record,
    *,
    at: datetime,
    actor: str,
    facts: dict[str, Any] | None = None,
) -> Entry:
    """Append an entry that embeds a whole record (``plan-frozen``, ``locked``).

    The facts hold ``record``, its ``digest``, and whatever ``facts`` adds.
    """
    embedded = {**(facts or {}), "digest": digest_of(record), "record": to_json(record)}
    return append(path, kind, embedded, at=at, actor=actor)


def recover(path: Path, *, at: datetime, actor: str) -> Path | None:
    """Move an unfinished last line aside, to ``trail.jsonl.torn-1`` and so on.

    Nothing acknowledged is lost: ``append`` returns only after the line's end was written. The
    trail gets an entry ``torn-tail`` with the name, size and digest of what was moved.

    Returns:
        Where the torn bytes are now; None when the trail was whole or is not there.
    """
    if not path.exists():
        return None
    with _locked(path) as descriptor:
        return _move_torn_tail(descriptor, path, at=at, actor=actor)


def read(path: Path) -> tuple[Entry, ...]:
    """Read the whole trail and check every link of its chain.

    Raises:
        TrailError: There is no trail, or it is broken; the message names the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TrailError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    return parse(data, name=path.name)


def parse(data: bytes, *, name: str = "trail.jsonl") -> tuple[Entry, ...]:
    """The same from bytes; ``name`` is what messages call them.

    Raises:
        TrailError: The chain is broken; the message names the line.
    """
    if len(data) > MAX_BYTES:
        raise TrailError(f"{name}: longer than {MAX_BYTES} bytes, which is the most that is read")
    *lines, tail = data.split(b"\n")
    entries: list[Entry] = []
    previous = START
    for number, line in enumerate(lines, start=1):
        entries.append(_parse_line(line, number, previous, name))
        previous = digest_bytes(line)
    if tail:
        raise TrailError(
            f"{name}, line {len(lines) + 1}: the line is not finished (its end is missing)",
            hint="a writer was killed; the next entry moves the unfinished line aside",
        )
    return tuple(entries)


def lines(entries: Sequence[Entry]) -> bytes:
    """The trail's bytes."""
    return b"".join(canonical_bytes(entry) + b"\n" for entry in entries)


def _parse_line(line: bytes, number: int, previous: str, name: str) -> Entry:
    where = f"{name}, line {number}"
    try:
        entry = Entry.model_validate(parse_canonical(line))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TrailError(f"{where}: {field}: {first['msg'].lower()}", hint=_HINT) from error
    except ValueError as error:
        raise TrailError(f"{where}: {error}", hint=_HINT) from error
    if entry.sequence != number:
        raise TrailError(f"{where}: sequence is {entry.sequence}, not {number}", hint=_HINT)
    if entry.previous != previous:
        raise TrailError(
            f"{where}: it follows {entry.previous[:19]}, the line before is {previous[:19]}",
            hint=_HINT,
        )
    if entry.digest != _digest(entry) or canonical_bytes(entry) != line:
        raise TrailError(f"{where}: its digest is not that of its contents", hint=_HINT)
    return entry


def _digest(entry: Entry) -> str:
    contents = to_json(entry)
    del contents["digest"]
    return digest_of(contents)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the trail alone. The lock goes with the process, so a killed one leaves none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StorageError(f"{path}: cannot be written: {reason}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _append(
    descriptor: int, path: Path, kind: str, facts: dict[str, Any], *, at: datetime, actor: str
) -> Entry:
    data = _contents(descriptor)
    entries = parse(data, name=path.name)
    entry = _entry(entries, kind, facts, at=at, actor=actor)
    _write_line(descriptor, len(data), canonical_bytes(entry) + b"\n", path)
    return entry


def _entry(
    entries: Sequence[Entry], kind: str, facts: dict[str, Any], *, at: datetime, actor: str
) -> Entry:
    try:
        draft = Entry(
            sequence=len(entries) + 1,
            kind=kind,
            at=utc_text(at),
            actor=actor,
            facts=facts,
            previous=digest_of(entries[-1]) if entries else START,
            digest=START,
        )
        entry = draft.model_copy(update={"digest": _digest(draft)})
        return Entry.model_validate(parse_canonical(canonical_bytes(entry)))
    except ValueError as error:
        raise TrailError(f"entry {kind!r} cannot be written: {error}") from error


def _contents(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    data = bytearray()
    while len(data) < size:
        data += os.pread(descriptor, size - len(data), len(data))
    return bytes(data)


def _write_line(descriptor: int, size: int, line: bytes, path: Path) -> None:
    """Write and sync; on failure cut back to ``size``, so that no half line stays."""
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise StorageError(
            f"{path}: entry cannot be written: {(error.strerror or '').lower()}",
            hint="the trail is as it was before; free some space and try again",
        ) from error


def _move_torn_tail(descriptor: int, path: Path, *, at: datetime, actor: str) -> Path | None:
    data = _contents(descriptor)
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return None
    torn = data[whole:]
    place = _unused(path)
    write_bytes(place, torn)
    os.ftruncate(descriptor, whole)
    facts = {"moved_to": place.name, "bytes": len(torn), "digest": digest_bytes(torn)}
    _append(descriptor, path, "torn-tail", facts, at=at, actor=actor)
    return place


def _unused(path: Path) -> Path:
    number = 1
    while (place := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    return place


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the Merkle tree of RFC 6962, section 2.1: 32 bytes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _subtree([hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves])


def _subtree(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1  # largest power of two below the length
    left, right = _subtree(hashes[:split]), _subtree(hashes[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


class Checkpoint(NamedTuple):
    """The head of a trail: how many lines it has, and their Merkle root."""

    origin: str
    size: int
    root: bytes


def checkpoint_of(entries: Sequence[Entry], origin: str) -> Checkpoint:
    """The head of these entries. ``origin`` names the trail; it holds no spaces and no ``+``."""
    leaves = [canonical_bytes(entry) for entry in entries]
    return Checkpoint(origin, len(leaves), merkle_root(leaves))


def sign_checkpoint(entries: Sequence[Entry], *, origin: str, key: Ed25519PrivateKey) -> bytes:
    """The head of these entries as a C2SP signed note."""
    body = _body(checkpoint_of(entries, origin))
    public = key.public_key().public_bytes_raw()
    signature = base64.b64encode(_key_hash(origin, public) + key.sign(body)).decode("ascii")
    return body + f"\n\N{EM DASH} {origin} {signature}\n".encode()


def open_checkpoint(note: bytes, key: Ed25519PublicKey) -> Checkpoint:
    """Check the signature of a signed note and return what it says.

    Raises:
        TrailError: It is not a checkpoint, or this key did not sign it.
    """
    try:
        body, _, signatures = note.decode("utf-8").partition("\n\n")
        origin, size, root = body.split("\n")
        dash, signer, signature = signatures.removesuffix("\n").split(" ")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
        signed = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error) as error:
        raise TrailError("checkpoint: not a signed note with one signature") from error
    again = _body(checkpoint) + f"\n{dash} {origin} {_b64(signed)}\n".encode()
    if dash != "\N{EM DASH}" or signer != origin or again != note:
        raise TrailError("checkpoint: not spelt as a signed note is")
    if signed[:4] != _key_hash(origin, key.public_bytes_raw()):
        raise TrailError("checkpoint: signed with another key")
    try:
        key.verify(signed[4:], _body(checkpoint))
    except InvalidSignature as error:
        raise TrailError("checkpoint: the signature does not fit its text") from error
    return checkpoint


def _body(checkpoint: Checkpoint) -> bytes:
    return f"{checkpoint.origin}\n{checkpoint.size}\n{_b64(checkpoint.root)}\n".encode()


def _key_hash(name: str, public: bytes) -> bytes:
    """Four bytes that tell keys of one name apart; ``0x01`` is C2SP's number for ed25519."""
    return hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
