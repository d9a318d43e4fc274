"""The trail keeps its order under many writers, survives a killed one, and shows any edit."""

import base64
import errno
import hashlib
import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import StorageError, TrailError
from compliance.records.base import canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.suite import Message
from compliance.records.trail import utc_text
from compliance.trail import (
    START,
    append,
    append_record,
    checkpoint_of,
    lines,
    merkle_root,
    open_checkpoint,
    parse,
    read,
    recover,
    sign_checkpoint,
)

NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROOT = Path(__file__).parents[1]


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    path = tmp_path / "trail.jsonl"
    for number in range(4):
        append(path, "run-started", {"number": number}, at=NOW, actor="test")
    return path


def test_what_was_appended_is_read_back(tmp_path: Path):
    path = tmp_path / "run" / "trail.jsonl"

    first = append(path, "plan-frozen", {"a": 1.5, "b": [None, "ü"]}, at=NOW, actor="test")
    second = append(path, "locked", {}, at=NOW + timedelta(seconds=1), actor="test")

    assert read(path) == (first, second)
    assert (first.sequence, first.previous) == (1, START)
    assert second.previous == digest_bytes(path.read_bytes().split(b"\n")[0])
    assert second.at == "2026-11-22T15:00:01Z"
    assert lines(read(path)) == path.read_bytes()


def test_an_embedded_record_can_be_digested_again(tmp_path: Path):
    message = Message(role="user", content="x")

    entry = append_record(tmp_path / "t", "locked", message, at=NOW, actor="test", facts={"n": 1})

    assert entry.facts == {"n": 1, "record": to_json(message), "digest": digest_of(message)}
    assert digest_of(entry.facts["record"]) == digest_of(message)


def test_moments_are_utc_whatever_the_zone():
    assert utc_text(NOW.astimezone(timezone(timedelta(hours=9)))) == "2026-11-22T15:00:00Z"
    with pytest.raises(ValueError, match="no time zone"):
        utc_text(datetime(2026, 1, 1))  # noqa: DTZ001 - the very thing that is refused


@pytest.mark.parametrize(
    "facts", [{"x": math.nan}, {"x": {1, 2}}, {"x": "\ud800"}, {"x": 2**60}, {"x": Path("p")}]
)
def test_facts_that_are_no_json_are_refused(trail: Path, facts: dict):
    before = trail.read_bytes()

    with pytest.raises(TrailError, match="cannot be written"):
        append(trail, "deviation", facts, at=NOW, actor="test")

    assert trail.read_bytes() == before


def test_processes_that_append_together_make_one_chain(tmp_path: Path):
    path = tmp_path / "trail.jsonl"
    script = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from compliance.trail import append\n"
        "for n in range(12):\n"
        "    append(Path(sys.argv[1]), 'run-started', {'n': n, 'pad': 'x' * 20000},"
        " at=datetime.now(UTC), actor=sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(path)]

    writers = [subprocess.Popen([*command, f"writer {n}"], cwd=ROOT) for n in range(3)]

    assert [writer.wait(timeout=30) for writer in writers] == [0] * 3
    entries = read(path)
    assert [entry.sequence for entry in entries] == list(range(1, 37))
    for number in range(3):
        own = [e.facts["n"] for e in entries if e.actor == f"writer {number}"]
        assert own == list(range(12))


def test_a_tail_torn_at_any_byte_is_moved_aside(trail: Path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a thousand of them, and nothing to see
    whole = trail.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1

    for cut in range(start + 1, len(whole)):
        folder = trail.parent / str(cut)
        folder.mkdir()
        path = folder / "trail.jsonl"
        path.write_bytes(whole[:cut])
        with pytest.raises(TrailError, match="line 4: the line is not finished"):
            read(path)

        append(path, "run-finished", {}, at=NOW, actor="test")

        torn = whole[start:cut]
        assert (folder / "trail.jsonl.torn-1").read_bytes() == torn
        kinds = [entry.kind for entry in read(path)]
        assert kinds == ["run-started"] * 3 + ["torn-tail", "run-finished"]
        assert read(path)[3].facts["digest"] == digest_bytes(torn)


def test_a_trail_torn_in_its_first_line_starts_again(tmp_path: Path):
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b'{"act')

    assert recover(path, at=NOW, actor="test") == tmp_path / "trail.jsonl.torn-1"
    assert [entry.kind for entry in read(path)] == ["torn-tail"]


def test_recovering_a_whole_trail_changes_nothing(trail: Path):
    before = trail.read_bytes()

    assert recover(trail, at=NOW, actor="test") is None
    assert recover(trail.parent / "nowhere", at=NOW, actor="test") is None
    assert trail.read_bytes() == before
    assert os.listdir(trail.parent) == ["trail.jsonl"]


def test_torn_tails_never_overwrite_each_other(trail: Path):
    for text in (b"one", b"two"):
        with open(trail, "ab") as file:
            file.write(text)
        recover(trail, at=NOW, actor="test")

    assert Path(f"{trail}.torn-1").read_bytes() == b"one"
    assert Path(f"{trail}.torn-2").read_bytes() == b"two"


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_full_disk_leaves_the_trail_as_it_was(trail: Path, monkeypatch, failing: str):
    before = trail.read_bytes()
    calls = iter([os.write] if failing == "write" else [])

    def full(descriptor: int, data: bytes = b"") -> int:
        for write in calls:
            return write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(StorageError, match="no space left"):
        append(trail, "run-finished", {}, at=NOW, actor="test")

    assert trail.read_bytes() == before


def _edit(line: bytes, **changes: object) -> bytes:
    return canonical_bytes(json.loads(line) | changes)


def _redigested(line: bytes, **changes: object) -> bytes:
    value = json.loads(line) | changes
    del value["digest"]
    return canonical_bytes(value | {"digest": digest_of(value)})


EDITS = {
    "a fact": (lambda rows: [rows[0], _edit(rows[1], facts={"number": 9}), *rows[2:]], 2),
    "a redigested fact": (lambda rows: [rows[0], _redigested(rows[1], actor="x"), *rows[2:]], 3),
    "a line removed": (lambda rows: [rows[0], *rows[2:]], 2),
    "the first line removed": (lambda rows: rows[1:], 1),
    "two lines swapped": (lambda rows: [rows[0], rows[2], rows[1], rows[3]], 2),
    "a line repeated": (lambda rows: [*rows[:2], rows[1], *rows[2:]], 3),
    "a blank line": (lambda rows: [*rows[:2], b"", *rows[2:]], 3),
    "a number": (lambda rows: [*rows[:3], _redigested(rows[3], sequence=5)], 4),
    "a space": (lambda rows: [*rows[:3], rows[3].replace(b":", b": ", 1)], 4),
    "a key repeated": (lambda rows: [*rows[:3], b'{"actor":"x",' + rows[3][1:]], 4),
    "a key added": (lambda rows: [*rows[:3], _redigested(rows[3], more=1)], 4),
    "no number": (lambda rows: [*rows[:3], rows[3].replace(b'"number":3', b'"number":NaN')], 4),
    "deep nesting": (lambda rows: [*rows[:3], b"[" * 100_000], 4),
    "not UTF-8": (lambda rows: [*rows[:3], b"\xff"], 4),
    "null bytes": (lambda rows: [*rows[:3], bytes(100)], 4),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_names_the_line(trail: Path, edit: str):
    change, number = EDITS[edit]
    rows = trail.read_bytes().split(b"\n")[:-1]

    with pytest.raises(TrailError, match=rf"trail.jsonl, line {number}: ") as caught:
        parse(b"".join(row + b"\n" for row in change(rows)))

    assert caught.value.hint


def test_any_changed_byte_is_noticed(trail: Path):
    data = trail.read_bytes()

    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(TrailError):
            parse(damaged)


def test_a_broken_trail_is_not_extended(trail: Path):
    rows = trail.read_bytes().split(b"\n")
    trail.write_bytes(b"\n".join(rows[1:]))

    with pytest.raises(TrailError, match="line 1"):
        append(trail, "run-finished", {}, at=NOW, actor="test")

    assert trail.read_bytes() == b"\n".join(rows[1:])


def test_a_missing_trail_is_an_error_and_an_empty_one_is_not(tmp_path: Path):
    with pytest.raises(TrailError, match="cannot be read"):
        read(tmp_path / "trail.jsonl")

    assert parse(b"") == ()


CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(9))
def test_merkle_roots_are_those_of_certificate_transparency(size: int):
    assert merkle_root(CT_LEAVES[:size]).hex() == CT_ROOTS[size]


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40))
def test_merkle_roots_follow_the_definition(leaves: list[bytes]):
    def by_definition(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return hashlib.sha256(b"\0" + part[0]).digest()
        split = max(2**k for k in range(10) if 2**k < len(part))
        left, right = by_definition(part[:split]), by_definition(part[split:])
        return hashlib.sha256(b"\1" + left + right).digest()

    assert merkle_root(leaves) == by_definition(leaves)


def test_a_checkpoint_is_a_signed_note(trail: Path):
    entries = read(trail)

    note = sign_checkpoint(entries, origin="example/demo", key=KEY)

    body, signature = note.decode().split("\n\n")
    root = merkle_root([line for line in trail.read_bytes().split(b"\n") if line])
    assert body == f"example/demo\n4\n{base64.b64encode(root).decode()}"
    name = b"example/demo\n\x01" + KEY.public_key().public_bytes_raw()
    raw = base64.b64decode(signature.split(" ")[2])
    assert signature.startswith("\N{EM DASH} example/demo ")
    assert raw[:4] == hashlib.sha256(name).digest()[:4]
    KEY.public_key().verify(raw[4:], body.encode() + b"\n")
    assert open_checkpoint(note, KEY.public_key()) == checkpoint_of(entries, "example/demo")


def test_any_changed_byte_of_a_checkpoint_is_noticed(trail: Path):
    note = sign_checkpoint(read(trail), origin="example/demo", key=KEY)

    for place in range(len(note)):
        with pytest.raises(TrailError):
            damaged = note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :]
            open_checkpoint(damaged, KEY.public_key())


def test_a_checkpoint_of_another_key_is_refused(trail: Path):
    note = sign_checkpoint(read(trail), origin="t", key=Ed25519PrivateKey.generate())

    with pytest.raises(TrailError, match="another key"):
        open_checkpoint(note, KEY.public_key())
