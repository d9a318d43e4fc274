"""Kills audits at random points, goes on with them, and compares what comes out in the end.

    python -m benchmarks.interrupt
    python -m benchmarks.interrupt --kills 20 --seed 3

An audit of a small model (`tests.tiny_audit`) is begun in a process of its own and killed with
SIGKILL, its whole process group at once: at a write to the disk drawn by chance (before it, after
it, or with a part of the bytes written), or after a time drawn by chance. Then it is begun again in
the same folder, and may be killed again, until it ends; then the next audit is begun, until there
were as many kills as asked for. Each finished audit is held against one that nobody disturbed, at
the same moment of the clock and with the same key:

- Every file of the pack is the same, byte by byte. Where a kill left an unfinished line in the
  trail, the trail says so in an entry of its own (`torn-tail`); then evidence, observations, items
  and root digest are the same, and so is the trail without these entries.
- Every line of the trail that was finished at a kill stands in the final trail, in its place.
- No shard that was there at a kill was written again.

Prints how many kills fell after which entry of the trail, and what was compared. Anything that is
not as said is printed with the seed, and the exit code is 1.

The words of a report and the tables for other tools are made once, in the audit that nobody
disturbs, and no PDF: making them takes most of an audit's time, and nothing is read back from them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from benchmarks.sample_packs import CONFIG, SIZE, small_documents, standing_still, write_keys
from compliance.packs import layout
from compliance.storage import write_text

KILLS = 500
ATTEMPTS = 200
"""An audit that was begun so often must have ended."""

CALLS = ("write", "fsync", "replace", "rename", "ftruncate", "mkdir", "unlink")
"""Calls of `os` that change the disk: all that the storage and the trail use."""

TRAIL_CALLS = ("write",)
"""Of these, those that write the trail; other files are written through Python's own buffers."""

TORN = "torn-tail"
SAME = (layout.EVIDENCE, layout.ITEMS)
"""Files that are the same whatever the trail says, and all observations."""


@dataclass(frozen=True)
class Undisturbed:
    """The audit that nobody disturbed."""

    template: Path
    """What an audit starts from; it is copied."""

    key: Path
    pack: Mapping[str, bytes]
    name: str
    documents: Mapping[str, bytes]
    calls: int
    """How often it changed the disk."""

    trail_calls: int
    """How often it wrote to the trail."""

    seconds: float


@dataclass
class Found:
    """What was counted."""

    seed: int
    kills: int = 0
    audits: int = 0
    attempts: int = 0
    after: Counter[str] = field(default_factory=Counter)
    """Kills by the last entry of the trail."""

    shards: int = 0
    """Shards that were there at a kill, and had to be left alone."""

    lines: int = 0
    """Lines of the trail that were finished at a kill."""

    torn: int = 0
    """Unfinished lines that were left."""

    whole: int = 0
    """Packs that were the same byte by byte."""

    problems: list[str] = field(default_factory=list)


def undisturbed(folder: Path) -> Undisturbed:
    """Write what audits start from and run one of them."""
    from compliance import workflow
    from compliance.workflow import stages
    from tests.tiny_audit import write_audit

    template, key = folder / "template", write_keys(folder / "keys") / "issuer.pem"
    write_audit(template, **SIZE, **CONFIG, languages=["en"])
    made: dict[str, bytes] = {}
    documents = stages.documents

    def kept(*arguments: Any, **options: Any) -> Mapping[str, bytes]:
        made.update(documents(*arguments, **options))
        return made

    audit = _copy(template, folder / "undisturbed")
    with standing_still(), patch.object(stages, "documents", kept), small_documents():
        pack = workflow.audit(audit / "audit.yaml", key=key)
    files = {p: d for p, d in made.items() if f"data/{p}" in _files(pack)}
    every, trail = Calls(), Calls(names=TRAIL_CALLS)
    began = time.monotonic()
    with every.counted(), trail.counted():
        _audit(_copy(template, folder / "counted"), key, lambda *_, **__: files)
    return Undisturbed(
        template, key, _files(pack), pack.name, files, every.number, trail.number,
        time.monotonic() - began,
    )  # fmt: skip


def _audit(folder: Path, key: Path, documents: Callable[..., Mapping[str, bytes]]) -> None:
    from compliance import workflow
    from compliance.workflow import stages

    with standing_still(), patch.object(stages, "documents", documents), small_documents():
        workflow.audit(folder / "audit.yaml", key=key)


@contextmanager
def shipped_once() -> Iterator[None]:
    """What ships with the program, the law and the schemas, is read once for all audits."""
    from compliance.catalog import load
    from compliance.records import schemas

    with (
        patch.object(load, "_read", cache(load._read)),
        patch.object(schemas, "schema_text", cache(schemas.schema_text)),
    ):
        yield


class Calls:
    """Counts the calls that change the disk, and kills at one of them."""

    def __init__(
        self, last: int | None = None, *, names: Sequence[str] = CALLS, moment: str = "before",
        share: float = 0.5,
    ) -> None:  # fmt: skip
        self.number, self.last, self.names = 0, last, names
        self.moment, self.share = moment, share

    def counted(self) -> Any:
        """Stand in place of the calls while the block runs."""
        made = {name: self._counting(getattr(os, name), name) for name in self.names}
        return patch.multiple(os, **made)

    def _counting(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            self.number += 1
            if self.number != self.last:
                return call(*arguments, **options)
            if self.moment == "within" and name == "write":
                descriptor, data = arguments
                call(descriptor, bytes(data)[: int(self.share * len(data))])
            elif self.moment == "after":
                call(*arguments, **options)
            os.killpg(0, signal.SIGKILL)
            raise AssertionError("still alive")

        return counting


def attempt(folder: Path, known: Undisturbed, chance: Random | None) -> bool:
    """Begin the audit in ``folder``, or go on with it, and kill it at a point drawn by chance.

    Args:
        folder: Of ``audit.yaml``.
        known: The audit that nobody disturbed.
        chance: None: nobody kills it.

    Returns:
        Whether it ended before it was killed.

    Raises:
        RuntimeError: It ended with an error.
    """
    calls, limit = Calls(), None
    if chance is not None and chance.random() < 0.3:
        limit = chance.uniform(0, known.seconds)
    elif chance is not None:
        calls = _drawn(known, chance)
    log = folder.with_name(folder.name + ".log")
    child = os.fork()
    if child == 0:
        _run(folder, known, calls, log)
    return _ended(child, limit, log)


def _drawn(known: Undisturbed, chance: Random) -> Calls:
    """A call to be killed at.

    An audit calls hundreds of times and writes few lines of trail, which are what a kill could
    tear; so every other kill is at one of these.
    """
    moment, share = chance.choice(("before", "within", "after")), chance.random()
    if chance.random() < 0.5:
        last = chance.randrange(1, known.trail_calls + 1)
        return Calls(last, names=TRAIL_CALLS, moment=moment, share=share)
    return Calls(chance.randrange(1, known.calls + 1), moment=moment, share=share)


def _run(folder: Path, known: Undisturbed, calls: Calls, log: Path) -> None:
    """The child: it never returns."""
    code = 1
    try:
        os.setsid()
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 2)
        with calls.counted():
            _audit(folder, known.key, lambda *_, **__: known.documents)
        code = 0
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(child: int, limit: float | None, log: Path) -> bool:
    if limit is not None:
        until = time.monotonic() + limit
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return _status(status, log)
            time.sleep(0.001)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(child, signal.SIGKILL)
    return _status(os.waitpid(child, 0)[1], log)


def _status(status: int, log: Path) -> bool:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise RuntimeError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
    return True


@dataclass(frozen=True)
class Remains:
    """What a killed audit left, and must not lose."""

    lines: tuple[bytes, ...]
    """Finished lines of the trail."""

    torn: bytes
    shards: Mapping[str, tuple[int, int]]
    """Inode and moment of writing, by path."""

    @property
    def last(self) -> str:
        return json.loads(self.lines[-1])["kind"] if self.lines else "nothing"


def remains(folder: Path) -> Remains:
    """Look at what is there."""
    *lines, torn = _trail(folder).split(b"\n")
    shards = {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("runs/*/passes/**/shard-*.npz")
    }
    return Remains(tuple(lines), torn, shards)


def _trail(folder: Path) -> bytes:
    places = [folder / "trail.jsonl", *folder.glob("runs/*/trail.jsonl")]
    return next((path.read_bytes() for path in places if path.exists()), b"")


def compared(folder: Path, known: Undisturbed, left: list[Remains]) -> tuple[list[str], bool]:
    """What is not as it should be in a finished audit, and whether its pack is the same."""
    problems = []
    now = remains(folder)
    for before in left:
        if before.lines != now.lines[: len(before.lines)]:
            problems.append(f"the trail lost lines that were there after {before.last}")
        again = [path for path, stamp in before.shards.items() if now.shards.get(path) != stamp]
        if again:
            problems.append(f"{len(again)} finished shards were written again, such as {again[0]}")
    packs = [p for p in (folder / "packs").iterdir() if not p.name.startswith(".")]
    if [pack.name for pack in packs] != [known.name]:
        return [*problems, f"packs are {[p.name for p in packs]}"], False
    files = _files(packs[0])
    whole = files == known.pack
    torn = [json.loads(line) for line in now.lines if json.loads(line)["kind"] == TORN]
    if not torn and not whole:
        differing = [p for p in {*files, *known.pack} if files.get(p) != known.pack.get(p)]
        problems.append(f"the pack is another one: {', '.join(sorted(differing)[:5])}")
    if torn:
        problems += _differing(files, known.pack)
    return problems, whole


def _differing(files: Mapping[str, bytes], before: Mapping[str, bytes]) -> list[str]:
    """What must be the same though the trail tells of an unfinished line."""
    kept = {p for p in {*files, *before} if p in SAME or p.startswith(layout.OBSERVATIONS)}
    problems = [f"{p} is another one" for p in sorted(kept) if files.get(p) != before.get(p)]
    roots = [layout.parse_info(one[layout.BAG_INFO])["Root-Digest"] for one in (files, before)]
    if roots[0] != roots[1]:
        problems.append("the root digest is another one")
    if _told(files) != _told(before):
        problems.append("the trail tells another story")
    return problems


def _told(files: Mapping[str, bytes]) -> list[tuple[str, Any]]:
    """Kind and facts of every entry, but for unfinished lines and the numbers of lines."""
    entries = [json.loads(line) for line in files[layout.TRAIL].splitlines()]
    return [
        (e["kind"], {name: fact for name, fact in e["facts"].items() if name != "entries"})
        for e in entries
        if e["kind"] != TORN
    ]


def interrupted(known: Undisturbed, folder: Path, kills: int, seed: int, told: bool) -> Found:
    """Kill audits so often, and compare each that ended."""
    found, chance = Found(seed), Random(seed)
    began = time.monotonic()
    while found.kills < kills:
        audit = _copy(known.template, folder / f"audit-{found.audits}")
        try:
            _one(audit, known, chance, kills, found)
        except RuntimeError as error:
            found.problems.append(f"audit {found.audits}: {error}")
        found.audits += 1
        shutil.rmtree(audit)
        if told:
            left = (time.monotonic() - began) / max(found.kills, 1) * (kills - found.kills)
            print(f"\r{found.kills} of {kills} kills, {left:.0f} s left ", end="", file=sys.stderr)
    return found


def _one(audit: Path, known: Undisturbed, chance: Random, kills: int, found: Found) -> None:
    """One audit, until it ends."""
    left: list[Remains] = []
    for _ in range(ATTEMPTS):
        found.attempts += 1
        if attempt(audit, known, chance if found.kills < kills else None):
            break
        found.kills += 1
        left.append(remains(audit))
        found.after[left[-1].last] += 1
        found.shards += len(left[-1].shards)
        found.lines += len(left[-1].lines)
        found.torn += bool(left[-1].torn)
    else:
        raise RuntimeError(f"it did not end in {ATTEMPTS} attempts")
    problems, whole = compared(audit, known, left)
    found.problems += [f"audit {found.audits}: {problem}" for problem in problems]
    found.whole += whole


def _copy(template: Path, place: Path) -> Path:
    return Path(shutil.copytree(template, place))


def _files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def table(found: Found) -> list[str]:
    """What was counted, in words."""
    rows = [f"{'killed after the entry':28} {'kills':>6}"]
    rows += [f"{kind:28} {number:>6}" for kind, number in found.after.most_common()]
    return [
        *rows,
        f"{'all':28} {found.kills:>6}",
        f"{found.audits} audits ended, {found.attempts} attempts; the pack was the same byte by "
        f"byte in {found.whole}, and but for the trail's word of {found.torn} unfinished lines in "
        f"the {found.audits - found.whole} others",
        f"{found.lines:,} finished lines of trails and {found.shards:,} finished shards stood at a "
        f"kill; lost or written again: {len(found.problems)}",
    ]


def main() -> int:
    """Print what was counted; 1 where anything was not as said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    given = parser.parse_args()

    import torch

    torch.set_num_threads(1)  # threads of the parent are not there in a child
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, shipped_once():
        known = undisturbed(Path(place))
        found = interrupted(known, Path(place), given.kills, given.seed, told=True)
    print("\n".join(["", *table(found), f"{time.monotonic() - began:.0f} s"]))
    print("\n".join(f"--seed {given.seed}: {problem}" for problem in found.problems))
    if given.out:
        write_text(given.out, json.dumps(vars(found), indent=1) + "\n")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
