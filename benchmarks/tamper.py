"""Changes packs in thousands of ways and counts which of them the verifier notices and names.

    python -m benchmarks.tamper
    python -m benchmarks.tamper --mutations 200 --seed 3
    python -m benchmarks.tamper --replay 7/1234

Each change is one of the kinds in `benchmarks.mutations`, which says beforehand which checks must
fail and which file must be named. A change is *noticed* when the pack does not verify, and *named*
when such a check fails for such a file. Prints a row for each kind; each change that was missed,
or noticed and not named, is printed with what replays it, and the exit code is 1.

Not counted are changes that change nothing: the same bytes, or a ZIP that unpacks to the same
files. What no pack can show by itself has a table of its own: the approval that was taken away, and
everything written anew by the holder of the issuer's key. The verifier must let these pass, and
must notice each of them as soon as it is given a checkpoint of the trail that somebody else kept,
or the signatures that the audit demands.

What follows from the same bytes is computed once: the record in a file, the leaves of items, and
the results of the same plan, lock and observations, and the words that follow from the same
evidence and trail. Every digest is made, and everything that the
pack states is compared, each time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from benchmarks.mutations import (
    FOLDER,
    KINDS,
    LINK,
    NUMBERS,
    WITNESSED,
    WORDS,
    Change,
    Kind,
    Samples,
)
from benchmarks.sample_packs import Packs, make_packs
from compliance.assessment import assess
from compliance.assessment.tables import file_digests
from compliance.errors import ComplianceError
from compliance.packs import zip_pack
from compliance.packs.checks import contents
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import read_pack
from compliance.packs.trust import Trust
from compliance.records.base import digest_of
from compliance.records.verification import Check, Verification
from compliance.reports import render as pages
from compliance.storage import write_text
from compliance.workflow import rebuilding
from compliance.workflow.checking import _check_numbers

MUTATIONS = 10_000
DRAWS = 1000
"""Draws until a kind gives a change."""

MISSED, UNNAMED, NAMED = "missed", "noticed, not named", "named"


@dataclass(frozen=True)
class Answer:
    """What became of one change."""

    index: int
    kind: str
    said: str
    outcome: str
    wanted: str
    found: tuple[str, ...]
    """Lines of the checks that failed."""


@dataclass
class Tally:
    """Answers counted by kind."""

    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    misses: list[Answer] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        self.counts.setdefault(answer.kind, Counter())[answer.outcome] += 1
        if answer.outcome != NAMED:
            self.misses.append(answer)

    @property
    def changes(self) -> int:
        return sum(counts.total() for counts in self.counts.values())


def read_samples(packs: Packs) -> Samples:
    """The packs as bytes, with their keys."""
    with tempfile.TemporaryDirectory() as place:
        zipped = zip_pack(packs.older, Path(place) / "pack.zip").read_bytes()
    roles = ("issuer", "reviewer", "approver", "stranger")
    return Samples(
        packs={name: _all_bytes(path) for name, path in packs.named.items()},
        zipped=zipped,
        keys={role: packs.key(role) for role in roles},
        trust=packs.trust(),
        names={name: path.name for name, path in packs.named.items()},
    )


def _all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def drawn(kind: Kind, samples: Samples, chance: Random) -> Change:
    """A change of this kind that changes something."""
    for _ in range(DRAWS):
        try:
            change = kind.make(chance, samples)
        except (ValueError, ComplianceError):  # nobody can make tables or a root digest of it
            continue
        if change is not None and _differs(change, samples):
            return change
    raise AssertionError(f"{kind.name}: {DRAWS} draws gave no change")


def _differs(change: Change, samples: Samples) -> bool:
    odd = change.odd or change.zipped is not None or change.name is not None
    return bool(odd) or change.files != samples.packs[change.base]


class Desk:
    """A folder in which changed packs are laid out, one after another, and verified."""

    def __init__(self, samples: Samples, folder: Path) -> None:
        self.samples, self.folder = samples, folder
        for base, files in samples.packs.items():
            _write(folder / base / samples.names[base], files)

    def verify(self, change: Change, trust: Trust | None = None) -> Verification | str:
        """What the verifier says of a changed pack; a text where it says there is no pack."""
        known = trust or (self.samples.trust if change.trust is None else change.trust)
        try:
            if change.zipped is not None:
                return self._verify_zip(change, known)
            with self._laid_out(change) as pack:
                return verified(pack, known, deeper=change.deeper)
        except ComplianceError as error:
            return str(error)

    def _verify_zip(self, change: Change, trust: Trust) -> Verification:
        path = self.folder / f"{self.samples.names[change.base]}.zip"
        path.write_bytes(change.zipped or b"")
        return verified(path, trust, deeper=change.deeper)

    @contextmanager
    def _laid_out(self, change: Change) -> Iterator[Path]:
        """The changed pack's folder; afterwards the pack is as it was."""
        before = self.samples.packs[change.base]
        place = self.folder / change.base / self.samples.names[change.base]
        touched = {p for p in {*before, *change.files} if before.get(p) != change.files.get(p)}
        touched |= change.odd.keys()
        named = place.with_name(change.name) if change.name else place
        try:
            for path in touched:
                _lay(place / path, change.files.get(path), change.odd.get(path))
            if named != place:
                place.rename(named)
            yield named
        finally:
            if named != place:
                named.rename(place)
            for path in touched:
                _lay(place / path, before.get(path), None)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        _lay(folder / path, data, None)


def _lay(path: Path, data: bytes | None, odd: str | None) -> None:
    """Make one path what it shall be, whatever it is now."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if odd == LINK:
        target = path.with_name(path.name + ".target")
        path.symlink_to(target)
    elif odd == FOLDER:
        path.mkdir()
    elif odd:
        os.mkfifo(path)
    elif data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def verified(pack: Path, trust: Trust, *, deeper: str | None) -> Verification:
    """What the verifier says of a pack, as deep as a change must be looked for."""
    found = verify_integrity(pack, trust=trust)
    if deeper is None:
        return found
    with read_pack(pack) as opened:
        look = {NUMBERS: lambda: _check_numbers(opened, deep=False),
                WORDS: lambda: list(rebuilding.report_checks(opened))}[deeper]  # fmt: skip
        return found.model_copy(update={"checks": (*found.checks, *look())})


def outcome_of(change: Change, found: Verification | str) -> str:
    """Whether the change was noticed, and named."""
    if isinstance(found, str):
        return UNNAMED if change.checks or change.places else NAMED
    if found.ok:
        return MISSED
    return NAMED if any(_names(change, check) for check in found.failed) else UNNAMED


def _names(change: Change, check: Check) -> bool:
    return (
        (not change.checks or check.name in change.checks)
        and (not change.places or check.path in change.places)
        and change.says in check.message
    )


def answer_of(index: int, kind: Kind, change: Change, found: Verification | str) -> Answer:
    """One line of the tally."""
    failed = (found,) if isinstance(found, str) else tuple(check.line for check in found.failed)
    wanted = f"{sorted(change.checks) or 'any check'} naming {sorted(map(str, change.places))} "
    return Answer(index, kind.name, change.said, outcome_of(change, found),
                  wanted + change.says, failed)  # fmt: skip


@contextmanager
def computed_once() -> Iterator[None]:
    """Compute what follows from the same bytes once: a change leaves most files as they were."""
    compute, relock = assess._compute, assess.recomputed_lock
    known: dict[Any, Any] = {}

    def once(key: Any, make: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = make()
        return known[key]

    def computed(plan: Any, lock: Any, files: Any) -> Any:
        key = (digest_of(plan), digest_of(lock), *sorted(file_digests(files).items()))
        return once(key, lambda: compute(plan, lock, files))

    def relocked(plan: Any, lock: Any, fit: Any, digests: Any, *, deep: bool) -> Any:
        key = (digest_of(plan), digest_of(lock), deep, *sorted(digests.items()))
        return once(key, lambda: relock(plan, lock, fit, digests, deep=deep))

    def written(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(origin: Any, *more: Any) -> Any:
            said = (digest_of(origin.evidence), origin.version, origin.built_at)
            lines = tuple(entry.digest for entry in origin.trail)
            return once((make, *said, lines, *more), lambda: make(origin, *more))

        return made

    def rendered(report: Any) -> Any:
        return once((id(report), "page"), lambda: (render(report), report))[0]

    render = pages.render_html
    words = {name: written(getattr(rebuilding, name)) for name in ("report_record", "exports")}
    parsers = ("parse_evidence", "parse_salts", "parse")
    with (
        patch.multiple(assess, _compute=computed, recomputed_lock=relocked),
        patch.multiple(rebuilding, **words),
        patch.object(pages, "render_html", rendered),
        patch.multiple(contents, **{n: lru_cache(64)(getattr(contents, n)) for n in parsers}),
    ):
        yield


def tried(index: int, seed: int, desk: Desk, kinds: tuple[Kind, ...] = KINDS) -> Answer:
    """The change of this number, made and verified."""
    chance = Random(f"{seed}/{index}")
    kind = chance.choices(kinds, [kind.share for kind in kinds])[0]
    change = drawn(kind, desk.samples, chance)
    return answer_of(index, kind, change, desk.verify(change))


_at_work: Callable[[int], Answer]
"""What a process of the pool does; set when it starts."""


def _start(samples: Samples, folder: Path, seed: int, kinds: tuple[Kind, ...]) -> None:
    global _at_work
    desk = Desk(samples, folder / f"desk-{os.getpid()}")
    computed_once().__enter__()  # for as long as the process lives
    _at_work = lambda index: tried(index, seed, desk, kinds)  # noqa: E731 - bound to this process


def _try(index: int) -> Answer:
    return _at_work(index)


def tally(
    samples: Samples, mutations: int, seed: int, *, processes: int = 2, progress: bool = False,
    kinds: tuple[Kind, ...] = KINDS,
) -> Tally:  # fmt: skip
    """Try so many changes.

    Args:
        samples: The packs to change.
        mutations: How many changes.
        seed: Of the stream of chance; a change depends on it and on its number alone.
        processes: How many work side by side.
        progress: Print how far it is to stderr.
        kinds: Of which changes are drawn.
    """
    found = Tally(seed)
    with tempfile.TemporaryDirectory() as place:
        answers = _answers(samples, mutations, seed, processes, Path(place), kinds)
        for answer in _told(answers, mutations) if progress else answers:
            found.add(answer)
    found.misses.sort(key=lambda answer: answer.index)
    return found


def _answers(
    samples: Samples, mutations: int, seed: int, processes: int, folder: Path,
    kinds: tuple[Kind, ...],
) -> Iterator[Answer]:  # fmt: skip
    if processes == 1:
        desk = Desk(samples, folder)
        with computed_once():
            yield from (tried(index, seed, desk, kinds) for index in range(mutations))
        return
    start = (samples, folder, seed, kinds)
    with multiprocessing.get_context("fork").Pool(processes, _start, start) as pool:
        yield from pool.imap_unordered(_try, range(mutations), chunksize=8)


def _told(answers: Iterable[Answer], total: int) -> Iterator[Answer]:
    began = last = time.monotonic()
    for done, answer in enumerate(answers, start=1):
        yield answer
        if (now := time.monotonic()) - last > 2 or done == total:
            left, last = (now - began) / done * (total - done), now
            print(f"\r{done:,} of {total:,}, {left:.0f} s left ", end="", file=sys.stderr)
    print(file=sys.stderr)


@dataclass(frozen=True)
class Witnessed:
    """What no pack shows by itself, without and with what somebody else kept."""

    kind: str
    by: str
    """What notices it."""

    changes: int
    alone: int
    """How many were noticed in the pack alone."""

    known: int
    """How many were noticed with what somebody else kept."""


def witnessed(samples: Samples, seed: int, *, changes: int = 20) -> list[Witnessed]:
    """Changes that a pack alone cannot show, each kind some times."""
    rows = []
    with tempfile.TemporaryDirectory() as place, computed_once():
        desk = Desk(samples, Path(place))
        for kind in WITNESSED:
            alone = known = 0
            for index in range(changes):
                chance = Random(f"{seed}/{kind.name}/{index}")
                change = drawn(kind, samples, chance)
                alone += not _passes(desk.verify(change))
                found = desk.verify(change, kind.trust(samples))
                known += not _passes(found) or kind.shown(found, samples)
            rows.append(Witnessed(kind.name, kind.by, changes, alone, known))
    return rows


def _passes(found: Verification | str) -> bool:
    return not isinstance(found, str) and found.ok


def table(found: Tally) -> list[str]:
    """A line for each kind, and their sum."""
    order = [kind.name for kind in KINDS if kind.name in found.counts]
    lines = [f"{'change':32} {'made':>7} {'noticed':>8} {'named':>7}"]
    for name in order:
        lines.append(_row(name, found.counts[name]))
    return [*lines, _row("all", sum(found.counts.values(), Counter()))]


def _row(name: str, counts: Counter[str]) -> str:
    made, named = counts.total(), counts[NAMED]
    return f"{name:32} {made:>7,} {named + counts[UNNAMED]:>8,} {named:>7,}"


def witness_table(rows: Iterable[Witnessed]) -> list[str]:
    """A line for each kind that a pack cannot show by itself."""
    lines = [f"{'not noticeable in a pack alone':40} {'made':>5} {'alone':>6} {'with':>5}"]
    return lines + [
        f"{row.kind:40} {row.changes:>5} {row.alone:>6} {row.known:>5}  {row.by}" for row in rows
    ]


def _replay(samples: Samples, text: str) -> None:
    seed, index = map(int, text.split("/"))
    with tempfile.TemporaryDirectory() as place:
        answer = tried(index, seed, Desk(samples, Path(place)))
    print(f"{answer.kind}: {answer.said}\nwanted: {answer.wanted}\n{answer.outcome}")
    print("\n".join(answer.found))


def main() -> int:
    """Print the tables; 1 where anything was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=MUTATIONS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--replay", metavar="SEED/NUMBER", help="make one change again")
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        samples = read_samples(make_packs(Path(place)))
    if given.replay:
        _replay(samples, given.replay)
        return 0
    began = time.monotonic()
    found = tally(samples, given.mutations, given.seed, processes=given.processes, progress=True)
    rows = witnessed(samples, given.seed)
    print("\n".join([*table(found), "", *witness_table(rows)]))
    print(f"{time.monotonic() - began:.0f} s")
    for miss in found.misses:
        print(f"\n{miss.outcome}: --replay {given.seed}/{miss.index}: {miss.kind}: {miss.said}")
        print(f"  wanted: {miss.wanted}")
        print("\n".join(f"  found: {line}" for line in miss.found[:5]))
    if given.out:
        write_text(given.out, json.dumps(_plain(found, rows), indent=1) + "\n")
    return 1 if found.misses or any(row.known < row.changes for row in rows) else 0


def _plain(found: Tally, rows: Iterable[Witnessed]) -> dict[str, Any]:
    return {
        "seed": found.seed,
        "kinds": {name: dict(counts) for name, counts in sorted(found.counts.items())},
        "not_noticeable_alone": [vars(row) for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
