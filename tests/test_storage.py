"""Files appear whole or not at all, and what goes wrong is said with place and reason."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from compliance.errors import StorageError
from compliance.storage import (
    clear_abandoned,
    copy_file,
    replace_file,
    write_bytes,
    write_folder,
    write_secret,
    write_text,
)


def test_a_file_and_its_folders_are_made(tmp_path: Path):
    write_text(tmp_path / "a" / "b.txt", "é\n")

    assert (tmp_path / "a" / "b.txt").read_bytes() == "é\n".encode()
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_a_file_has_the_mode_that_others_get(tmp_path: Path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")

    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt), replace_file(path) as file:
        file.write(b"new, but not all")
        raise KeyboardInterrupt

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch, call: str):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageError, match="file: cannot be written: no space left") as caught:
        write_bytes(path, b"new")

    assert "free some space" in str(caught.value.hint)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full_is_named(tmp_path: Path):
    with (
        pytest.raises(StorageError, match="no space left on device"),
        replace_file(tmp_path / "file"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")

    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match="file/below: cannot be written: file exists"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_a_copy_that_cannot_be_read_names_the_source(tmp_path: Path):
    with pytest.raises(StorageError, match="nowhere: cannot be read"):
        copy_file(tmp_path / "nowhere", tmp_path / "target")

    assert os.listdir(tmp_path) == []


def test_a_copy_has_the_bytes(tmp_path: Path):
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)

    copy_file(tmp_path / "source", tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == b"x" * 3_000_000


def test_a_secret_is_its_owners_alone_and_never_overwritten(tmp_path: Path):
    path = tmp_path / "keys" / "key.pem"

    write_secret(path, b"secret")
    with pytest.raises(StorageError, match="is there already"):
        write_secret(path, b"other")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"


def test_a_secret_is_not_written_through_a_link(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(StorageError, match="is there already"):
        write_secret(tmp_path / "link", b"secret")

    assert not (tmp_path / "target").exists()


def test_a_folder_appears_when_it_is_complete(tmp_path: Path):
    target = tmp_path / "packs" / "demo"

    with write_folder(target) as folder:
        write_bytes(folder / "deep" / "file", b"1")
        assert not target.exists()

    assert (target / "deep" / "file").read_bytes() == b"1"
    assert os.listdir(tmp_path / "packs") == ["demo"]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), write_folder(tmp_path / "demo") as folder:
        write_bytes(folder / "file", b"1")
        raise KeyboardInterrupt

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_an_existing_target_is_refused(tmp_path: Path, kind: str):
    target = tmp_path / "demo"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_bytes(b"")
    else:
        target.symlink_to("nowhere")

    with pytest.raises(StorageError, match="is there already"), write_folder(target):
        raise AssertionError("the block must not be entered")


def test_a_target_made_meanwhile_is_not_replaced(tmp_path: Path):
    target = tmp_path / "demo"

    with pytest.raises(StorageError), write_folder(target) as folder:
        write_bytes(folder / "file", b"ours")
        target.mkdir()
        (target / "file").write_bytes(b"theirs")

    assert (target / "file").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["demo"]


WRITER = """
import sys, time
from pathlib import Path
from compliance.storage import write_bytes, write_folder
with write_folder(Path(sys.argv[1])) as folder:
    write_bytes(folder / "file", b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_cleared_and_a_living_ones_folder_stays(tmp_path: Path):
    packs = tmp_path / "packs"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(packs / "demo")], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.readline()

    clear_abandoned(packs)
    alive = os.listdir(packs)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    clear_abandoned(packs)

    assert len(alive) == 1 and alive[0].endswith(".tmp")
    assert os.listdir(packs) == []


def test_only_folders_of_that_name_are_cleared(tmp_path: Path):
    outside = tmp_path / "outside"
    write_bytes(outside / "file", b"1")
    packs = tmp_path / "packs"
    kept = {".mine.tmp", ".0123456789abcdef.tmp", "demo-1.0.0", ".0123456789abcdef.tmp2"}
    for name in kept - {".0123456789abcdef.tmp"}:
        (packs / name).mkdir(parents=True)
    (packs / ".0123456789abcdef.tmp").symlink_to(outside)

    clear_abandoned(packs)
    clear_abandoned(tmp_path / "nowhere")

    assert set(os.listdir(packs)) == kept
    assert os.listdir(outside) == ["file"]
