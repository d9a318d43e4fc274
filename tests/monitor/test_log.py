"""The event log: chained, rotated, bounded, by many threads and processes, whatever fails."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from compliance.errors import StorageError
from compliance.monitor.chain import LOCK_FILE, _held
from compliance.monitor.log import EventLog
from compliance.monitor.reading import read_log
from compliance.records.monitoring import LEAST_DAYS, LogPolicy
from tests.monitor.logging_process import SMALL, event

ROOT = Path(__file__).parent.parent.parent


def run(program: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.monitor.logging_process", program]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events-*.jsonl"), key=lambda path: path.name[-12:])


def reasons(folder: Path) -> list[str]:
    found = (event.what for event in read_log(folder).events())
    return [what.reason for what in found if what.kind == "failed-sensor"]


def test_lines_are_chained_by_sha256_also_over_the_end_of_a_file(tmp_path):
    with EventLog(tmp_path, SMALL) as log:
        for number in range(200):
            log.write(event(str(number)))

    previous = hashlib.sha256(b"").hexdigest()
    lines = [line for path in files(tmp_path) for line in path.read_bytes().splitlines()]
    assert len(files(tmp_path)) > 2
    for number, line in enumerate(lines, start=1):
        found = json.loads(line)
        own = re.sub(rb'"digest":"sha256:[0-9a-f]{64}",', b"", line, count=1)
        assert found["sequence"] == number
        assert found["previous"] == f"sha256:{previous}"
        assert found["digest"] == f"sha256:{hashlib.sha256(own).hexdigest()}"
        previous = hashlib.sha256(line).hexdigest()
    assert read_log(tmp_path).chains[0].head == f"sha256:{previous}"


def test_every_file_begins_with_the_policy(tmp_path):
    with EventLog(tmp_path, SMALL) as log:
        for number in range(200):
            log.write(event(str(number)))

    for number, path in enumerate(files(tmp_path), start=1):
        first = json.loads(path.read_bytes().splitlines()[0])["what"]
        assert first["kind"] == "opened" and first["file"] == number
        assert first["policy"]["retention_days"] == LEAST_DAYS == 183
        assert first["policy"]["text"] is False


def test_less_than_six_months_is_no_policy():
    with pytest.raises(ValidationError, match="retention_days"):
        LogPolicy(retention_days=182)
    with pytest.raises(ValidationError, match="four times"):
        LogPolicy(max_bytes=1 << 20, max_file_bytes=1 << 20)


def test_many_threads_write_one_chain_and_lose_nothing(tmp_path):
    with EventLog(tmp_path) as log:

        def write(name: int) -> None:
            for number in range(100):
                log.write(event(f"{name}-{number}"))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = read_log(tmp_path)
    assert not found.damage and not found.gaps and len(found.chains) == 1
    assert sorted(reasons(tmp_path)) == sorted(f"{a}-{b}" for a in range(16) for b in range(100))


def test_several_processes_write_a_chain_each_and_are_read_as_one_log(tmp_path):
    command = [sys.executable, "-m", "tests.monitor.logging_process", "write", str(tmp_path)]
    processes = [subprocess.Popen([*command, name, "80"], cwd=ROOT) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]

    log = read_log(tmp_path)

    assert not log.damage and not log.gaps
    assert len(log.chains) == 3 and all(chain.closed for chain in log.chains)
    times = [event.at for event in log.events()]
    assert times == sorted(times)
    expected = sorted(f"{name} {n}" for name in "abc" for n in range(80))
    assert sorted(reasons(tmp_path)) == expected


def test_a_forked_process_writes_a_chain_of_its_own(tmp_path):
    run("write_in_fork", tmp_path)

    log = read_log(tmp_path)

    assert not log.damage and not log.gaps and len(log.chains) == 2
    assert sorted(reasons(tmp_path)) == ["before", "child", "parent"]


def test_disk_is_bounded_and_each_file_that_goes_is_named_before(tmp_path):
    policy = LogPolicy(max_file_bytes=1 << 14, max_bytes=1 << 16)
    most = 0
    with EventLog(tmp_path, policy) as log:
        for number in range(600):
            log.write(event(str(number)))
            if number % 50 == 0:
                log.flush()
                most = max(most, sum(path.stat().st_size for path in files(tmp_path)))

    log = read_log(tmp_path)
    removed = [event.what for event in log.events() if event.what.kind == "removed"]
    assert most <= 1 << 16
    assert not log.damage and log.chains[0].first > 1
    assert removed and all(found.reason == "bound-reached" for found in removed)
    assert not any((tmp_path / found.file).exists() for found in removed)
    assert any("was removed: bound-reached" in str(gap) for gap in log.gaps)


def test_files_go_once_their_retention_is_over_and_not_a_day_before(tmp_path):
    for name in "ab":
        run("write", tmp_path, name, 1)
    old, kept = files(tmp_path)
    for path, days in ((old, LEAST_DAYS + 1), (kept, LEAST_DAYS - 1)):
        os.utime(path, (time.time() - days * 86_400,) * 2)

    with EventLog(tmp_path) as log:
        log.write(event("new"))

    assert not old.exists() and kept.exists()
    found = [event.what for event in read_log(tmp_path).events() if event.what.kind == "removed"]
    assert [(one.file, one.reason, one.events) for one in found] == [
        (old.name, "retention-over", 3)
    ]


def test_a_clock_that_was_set_forward_by_a_year_removes_nothing(tmp_path):
    run("write", tmp_path, "a", 1)
    (old,) = files(tmp_path)
    offset = 0.0

    log = EventLog(tmp_path, SMALL, wall=lambda: time.time() + offset)
    log.write(event("before"))
    log.flush()
    offset = 400 * 86_400.0
    for number in range(100):
        log.write(event(f"after {number}"))
    log.close()

    assert len(files(tmp_path)) > 3 and old.exists()


def test_a_clock_that_is_set_back_is_said_and_order_is_kept(tmp_path):
    offset = 0.0
    log = EventLog(tmp_path, wall=lambda: time.time() + offset)
    log.write(event("before"))
    log.flush()
    offset = -3600.0
    log.write(event("after"))
    log.close()

    found = read_log(tmp_path)

    events = list(found.events())
    changed = next(one.what for one in events if one.what.kind == "clock-changed")
    assert -3601_000 < changed.by_ms < -3599_000
    assert not found.damage and reasons(tmp_path) == ["before", "after"]
    elapsed = [one.elapsed_ms for one in events]
    assert elapsed == sorted(elapsed)


def test_a_full_disk_loses_events_and_says_how_many(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        log = EventLog(disk)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(40_000))
        started = time.monotonic()
        for number in range(300):
            log.write(event(f"early {number}"))
        assert time.monotonic() - started < 1.0
        assert log.flush()
        lost = log.dropped["disk-refused"]
        while_full = read_log(disk)
        ballast.unlink()
        time.sleep(1.2)
        log.write(event("late"))
        log.close()

        found = read_log(disk)
        written = reasons(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)

    assert lost > 0 and not while_full.damage and not found.damage
    assert written[-1] == "late" and len(written) == 301 - lost
    assert found.dropped == lost
    assert any("no space left on device" in str(gap) for gap in found.gaps)


def test_a_file_that_may_not_grow_is_cut_back_to_its_last_whole_line(tmp_path):
    printed = run("write_beyond_limit", tmp_path).stdout

    log = read_log(tmp_path)

    lost = int(re.search(r"'disk-refused': (\d+)", printed)[1])
    assert 30 < lost < 50 and log.dropped == lost and not log.damage
    assert any("file too large" in str(gap) for gap in log.gaps)
    assert reasons(tmp_path)[-1] == "last" and len(reasons(tmp_path)) == 52 - lost


def test_a_disk_that_hangs_never_holds_up_who_writes(tmp_path):
    log = EventLog(tmp_path, waiting=100)
    with _held(tmp_path / LOCK_FILE):  # another process that begins a file and does not end
        started = time.monotonic()
        for number in range(1000):
            log.write(event(str(number)))
        took = time.monotonic() - started
        hung = log.flush(timeout=0.1)
    log.flush()
    log.close()

    found = read_log(tmp_path)
    assert took < 1.0 and not hung
    assert 850 < found.dropped < 901 and len(reasons(tmp_path)) == 1000 - found.dropped
    assert any("too-many-waiting" in str(gap) for gap in found.gaps) and not found.damage


def test_closing_does_not_wait_for_a_disk_that_hangs(tmp_path):
    log = EventLog(tmp_path)
    with _held(tmp_path / LOCK_FILE):
        log.write(event("one"))
        started = time.monotonic()
        log.close(timeout=0.3)

        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_leaves_a_log_that_verifies_and_says_that_it_has_no_end(tmp_path, seed):
    command = [sys.executable, "-m", "tests.monitor.logging_process", "write_until_killed"]
    process = subprocess.Popen([*command, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.03 * seed)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    log = read_log(tmp_path)

    assert not log.damage
    assert any("ends without a last event" in str(gap) for gap in log.gaps)
    assert log.counts["failed-sensor"] > 10
    with EventLog(tmp_path, SMALL) as again:
        again.write(event("the next process"))
    assert not read_log(tmp_path).damage and "the next process" in reasons(tmp_path)


@pytest.mark.parametrize("bytes_left", [1, 30, 400])
def test_a_line_that_a_kill_cut_is_a_gap_and_no_damage(tmp_path, bytes_left):
    run("write", tmp_path, "a", 5)
    (path,) = files(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:bytes_left])

    log = read_log(tmp_path)

    assert not log.damage and log.chains[0].last == 4
    assert any("line 5: the last line is not finished" in str(gap) for gap in log.gaps)
    assert len(list(log.events())) == 4


def test_files_of_processes_that_write_are_not_removed_for_the_bound(tmp_path):
    policy = LogPolicy(max_file_bytes=1 << 14, max_bytes=1 << 16)
    logs = [EventLog(tmp_path, policy) for _ in range(4)]
    for log in logs:
        log.write(event("one of four"))
        log.flush()

    fifth = EventLog(tmp_path, policy)
    fifth.write(event("has no room"))
    fifth.flush()

    assert fifth.dropped == {"bound-reached": 1}
    for log in (fifth, *logs):
        log.close()
    found = read_log(tmp_path)
    assert reasons(tmp_path).count("one of four") == 4 and not found.damage


def test_digests_of_inputs_are_salted_by_the_key_beside_the_log(tmp_path):
    import hmac

    value = {"turns": [{"content": "hello", "role": "user"}]}
    digests = []
    for folder in ("a", "a", "b"):
        with EventLog(tmp_path / folder) as log:
            digests.append(log.salted(value))
            log.write(event("one"))

    key = (tmp_path / "a" / "item.key").read_bytes()
    plain = b'{"turns":[{"content":"hello","role":"user"}]}'
    assert digests[0] == "hmac-sha256:" + hmac.new(key, plain, "sha256").hexdigest()
    assert digests[0] == digests[1] != digests[2]
    assert (tmp_path / "a" / "item.key").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in files(tmp_path / "a"))


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(StorageError, match="file"):
        EventLog(tmp_path / "file" / "log")
