"""The trail keeps its order under many writers, survives a killed one, and shows any edit."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from compliance.errors import StorageError, TrailError
from compliance.records.base import canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.suite import Message
from compliance.records.trail import utc_text
from compliance.trail import (
    START,
    append,
    append_from,
    append_once,
    append_record,
    lines,
    parse,
    read,
    recover,
)
from tests.trail.example import NOW

ROOT = Path(__file__).parents[2]


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

    assert recover(path, at=NOW, actor="test") == (tmp_path / "trail.jsonl.torn-1",)
    assert [entry.kind for entry in read(path)] == ["torn-tail"]


def test_recovering_a_whole_trail_changes_nothing(trail: Path):
    before = trail.read_bytes()

    assert recover(trail, at=NOW, actor="test") == ()
    assert recover(trail.parent / "nowhere", at=NOW, actor="test") == ()
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


def forked(work: Callable[[], None]) -> int:
    """Do ``work`` in a process of its own, which says 1 when it fails."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(*pids: int) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_a_writer_killed_at_any_byte_loses_nothing_that_was_acknowledged(tmp_path, monkeypatch):
    """Killed with the signal, while it holds the lock, after each byte of the line."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of them, and nothing to see
    write, path = os.write, tmp_path / "trail.jsonl"
    first = append(path, "run-started", {"n": 1}, at=NOW, actor="test")
    size = len(lines([first]))
    whole = path.read_bytes()

    def killed_after(count: int) -> Callable[[], None]:
        def dying(descriptor: int, data: bytes) -> int:
            write(descriptor, data[:count])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        def work() -> None:
            os.write = dying
            append(path, "run-finished", {"n": 2}, at=NOW, actor="test")

        return work

    for count in range(size + 10):
        path.write_bytes(whole)
        assert ended(forked(killed_after(count))) == [-signal.SIGKILL]
        cut = path.read_bytes()[len(whole) :]

        append(path, "run-finished", {"n": 3}, at=NOW, actor="test")

        kinds = [entry.kind for entry in read(path)]
        complete = cut.endswith(b"\n")
        assert len(cut) == count or complete
        torn = tmp_path / "trail.jsonl.torn-1"
        if cut and not complete:
            assert kinds == ["run-started", "torn-tail", "run-finished"]
            assert torn.read_bytes() == cut
            torn.unlink()
        else:
            assert kinds == ["run-started", *["run-finished"] * (1 + complete)]
            assert not torn.exists()


@pytest.mark.parametrize("cut", [False, True], ids=["before the tail is cut", "after it"])
def test_a_kill_while_torn_bytes_are_moved_is_said_once(trail: Path, cut: bool):
    whole, place = trail.read_bytes(), Path(f"{trail}.torn-1")
    place.write_bytes(b"torn")
    trail.write_bytes(whole if cut else whole + b"torn")

    for _ in range(2):
        append(trail, "run-finished", {}, at=NOW, actor="test")

    entries = read(trail)[4:]
    assert [entry.kind for entry in entries] == ["torn-tail", "run-finished", "run-finished"]
    assert entries[0].facts == {"moved_to": place.name, "bytes": 4, "digest": digest_bytes(b"torn")}
    assert not Path(f"{trail}.torn-2").exists()


def test_a_kill_at_any_byte_of_saying_what_was_moved_is_said_too(trail: Path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    whole = trail.read_bytes()
    trail.write_bytes(whole + b"torn")
    recover(trail, at=NOW, actor="test")
    said = trail.read_bytes()[len(whole) :]

    for count in range(1, len(said)):
        for place in trail.parent.glob("*.torn-*"):
            place.unlink()
        Path(f"{trail}.torn-1").write_bytes(b"torn")
        trail.write_bytes(whole + said[:count])

        recover(trail, at=NOW, actor="test")

        moved = {e.facts["moved_to"]: e.facts["bytes"] for e in read(trail)[4:]}
        assert moved == {"trail.jsonl.torn-1": 4, "trail.jsonl.torn-2": count}


def test_writers_that_are_killed_at_random_lose_nothing_they_acknowledged(tmp_path: Path):
    path, draw, acknowledged = tmp_path / "trail.jsonl", random.Random(7), set()
    pipes = [os.pipe() for _ in range(6)]

    def work(writer: int, descriptor: int) -> Callable[[], None]:
        def loop() -> None:
            for n in range(10_000):
                facts = {"n": n, "pad": "x" * 3000}
                append(path, "run-started", facts, at=NOW, actor=f"writer {writer}")
                os.write(descriptor, b"%d\n" % n)

        return loop

    pids = [forked(work(writer, pipe[1])) for writer, pipe in enumerate(pipes)]
    for pid in pids:
        time.sleep(0.05 + draw.random() / 20)
        os.kill(pid, signal.SIGKILL)
    assert ended(*pids) == [-signal.SIGKILL] * len(pids)
    for writer, (reader, other) in enumerate(pipes):
        os.close(other)
        with open(reader, "rb") as file:
            acknowledged |= {(f"writer {writer}", int(n)) for n in file.read().split()}

    recover(path, at=NOW, actor="test")

    there = [(e.actor, e.facts["n"]) for e in read(path) if e.kind == "run-started"]
    assert len(acknowledged) > 20
    assert acknowledged <= set(there)
    assert len(there) == len(set(there)) <= len(acknowledged) + len(pids)


def test_what_happened_once_is_written_once_by_however_many(tmp_path: Path):
    path = tmp_path / "trail.jsonl"

    def once() -> None:
        for n in range(5):
            append_once(path, "locked", {"n": n}, at=NOW, actor="test")

    assert ended(*[forked(once) for _ in range(4)]) == [0] * 4
    assert sorted(entry.facts["n"] for entry in read(path)) == list(range(5))


def test_facts_that_count_what_is_there_are_counted_under_the_lock(tmp_path: Path):
    path = tmp_path / "trail.jsonl"

    def count() -> None:
        for _ in range(5):
            append_from(
                path, "run-started", lambda found: {"before": len(found)}, at=NOW, actor="test"
            )

    assert ended(*[forked(count) for _ in range(4)]) == [0] * 4
    assert [entry.facts["before"] for entry in read(path)] == list(range(20))


def test_nothing_to_append_appends_nothing(trail: Path):
    before = trail.read_bytes()

    assert append_from(trail, "locked", lambda found: None, at=NOW, actor="test") is None
    assert append_once(trail, "run-started", {"number": 2}, at=NOW, actor="test") is None
    assert trail.read_bytes() == before
