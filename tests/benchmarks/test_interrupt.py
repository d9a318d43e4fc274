"""Killed audits end as others do, and the benchmark would say so if they did not."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.interrupt import Calls, Found, Undisturbed, compared, remains, table
from compliance.packs import layout

PACK = {
    layout.EVIDENCE: b"{}",
    layout.ITEMS: b"",
    layout.OBSERVATIONS + "fit/items.csv": b"item\n",
    layout.BAG_INFO: b"Root-Digest: sha256:0\n",
    layout.TRAIL: b'{"facts":{},"kind":"plan-frozen"}\n',
}
TORN = b'{"facts":{},"kind":"torn-tail"}\n'


@pytest.mark.slow
def test_audits_killed_20_times_end_with_the_same_pack():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.interrupt", "--kills", "20", "--seed", "2"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "lost or written again: 0" in done.stdout


@pytest.fixture
def known(tmp_path):
    return Undisturbed(tmp_path, tmp_path, PACK, "tiny-1.0.0", {}, 9, 3, 1.0)


@pytest.fixture
def audit(tmp_path):
    """A finished audit with one shard."""
    folder = tmp_path / "audit"
    write(folder / "packs" / "tiny-1.0.0", PACK)
    write(folder, {"trail.jsonl": PACK[layout.TRAIL], SHARD: b"shard"})
    return folder


SHARD = "runs/r/passes/search/shard-00000.npz"


def write(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def test_the_same_pack_is_the_same(audit, known):
    assert compared(audit, known, [remains(audit)]) == ([], True)


@pytest.mark.parametrize("path", sorted(PACK))
def test_any_other_byte_is_said(audit, known, path):
    write(audit / "packs" / "tiny-1.0.0", {path: PACK[path] + b" "})

    problems, whole = compared(audit, known, [])

    assert problems == [f"the pack is another one: {path}"] and not whole


@pytest.mark.parametrize("path", [layout.EVIDENCE, layout.OBSERVATIONS + "fit/items.csv"])
def test_an_unfinished_line_excuses_the_trail_alone(audit, known, path):
    trail = PACK[layout.TRAIL] + TORN
    write(audit, {"trail.jsonl": trail})
    write(audit / "packs" / "tiny-1.0.0", {layout.TRAIL: trail})

    assert compared(audit, known, []) == ([], False)
    write(audit / "packs" / "tiny-1.0.0", {path: b"other"})
    assert compared(audit, known, [])[0] == [f"{path} is another one"]


def test_an_unfinished_line_does_not_excuse_another_root_or_story(audit, known):
    trail = PACK[layout.TRAIL].replace(b"{}", b'{"a":1}') + TORN
    write(audit, {"trail.jsonl": trail})
    files = {layout.TRAIL: trail, layout.BAG_INFO: b"Root-Digest: sha256:1\n"}
    write(audit / "packs" / "tiny-1.0.0", files)

    problems, _ = compared(audit, known, [])

    assert problems == ["the root digest is another one", "the trail tells another story"]


def test_a_line_that_was_lost_is_said(audit, known):
    before = remains(audit)
    left = replace(before, lines=(*before.lines, b'{"kind":"locked"}'))

    problems, _ = compared(audit, known, [left])

    assert problems == ["the trail lost lines that were there after locked"]


def test_a_shard_that_was_written_again_is_said(audit, known):
    before = remains(audit)
    new = audit / "new"
    new.write_bytes(b"shard")
    os.utime(new, (1, 1))
    new.replace(audit / SHARD)

    problems, _ = compared(audit, known, [before])

    assert problems == [f"1 finished shards were written again, such as {SHARD}"]


def test_a_second_pack_is_said(audit, known):
    write(audit / "packs" / "tiny-1.0.1", PACK)

    problems, whole = compared(audit, known, [])

    assert "tiny-1.0.1" in problems[0] and not whole


def test_calls_are_counted_and_the_process_is_killed_at_the_last(tmp_path):
    code = """
import os, sys
from benchmarks.interrupt import Calls
os.setsid()
with Calls(2, names=("write",), moment="within", share=0.5).counted():
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    os.write(file, b"first "); os.write(file, b"second"); os.write(file, b"third")
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], cwd=root)

    assert done.returncode == -9
    assert (tmp_path / "file").read_bytes() == b"first sec"


def test_calls_are_as_before_after_the_block(tmp_path):
    before, calls = os.write, Calls()

    with calls.counted():
        os.mkdir(tmp_path / "new")

    assert (os.write, calls.number) == (before, 1)


def test_the_table_says_what_was_compared():
    found = Found(7, kills=3, audits=2, whole=1, torn=1, problems=["x"])
    found.after.update({"locked": 2, "assessed": 1})

    text = "\n".join(table(found))

    assert "locked                            2" in text
    assert "lost or written again: 1" in text and "in the 1 others" in text


def test_what_is_counted_can_be_written_as_json():
    assert json.loads(json.dumps(vars(Found(7))))["kills"] == 0
