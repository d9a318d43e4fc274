"""Writes `evidence/vectors/`: good and broken packs, and what every verifier must say of them.

    python -m benchmarks.vectors

Four packs of a small audit are made (`benchmarks.sample_packs`), and of each kind of change in
`benchmarks.mutations` one is drawn. A change is stored as a ZIP of the files that are laid over the
good pack, and a list of those that are taken away. Nothing is written unless the verifier says of
every change what its kind demands. The packs are never the same twice, since time stamps are not:
run this when the format changes, and only then.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from click.testing import CliRunner

from benchmarks.mutations import (
    FOLDER,
    KINDS,
    LINK,
    WITNESSED,
    Change,
    Kind,
    Samples,
    archive_of,
)
from benchmarks.sample_packs import make_packs
from benchmarks.tamper import drawn, read_samples
from compliance.cli.main import main as compliance
from compliance.packs import layout
from compliance.packs.trust import NOTHING
from compliance.records.verification import Verification
from compliance.storage import write_bytes, write_text

VECTORS = Path(__file__).parent.parent / "evidence" / "vectors"
EXPECTED = "expected.json"
LEFT_OUT = {"words, issuer's key", "old pack, signed again", "changed pack in a ZIP"}
"""Kinds that the words of reports show, and these packs have none; and one that is large and shows
nothing that others do not."""

CONTAINERS = {"bytes of a ZIP": 3, "entries of a ZIP": 10}
"""Kinds that are drawn several times, on an archive of a few files."""

BASES = ("older", "newer", "closed", "copy")
"""Packs that are stored whole."""

GIVEN = {
    "key": "keys/issuer.pem",
    "roles": {"approver": "keys/approver.pem", "reviewer": "keys/reviewer.pem"},
    "authority": "keys/authority.pem",
}

Case = dict[str, Any]
"""One entry of `expected.json`; `evidence/vectors/README.md` says what its fields mean."""


def read_cases(vectors: Path = VECTORS) -> list[Case]:
    """The cases of a folder of vectors."""
    return list(json.loads((vectors / EXPECTED).read_text(encoding="utf-8"))["cases"])


def lay_out(vectors: Path, case: Case, folder: Path) -> Path:
    """Put a case's pack together in ``folder``; return the pack."""
    if "container" in case:
        place = folder / case["called"]
        shutil.copyfile(vectors / case["container"], place)
        return place
    place = folder / case["called"]
    _unpack(vectors / case["pack"], place)
    for path in (*case.get("removed", ()), *case.get("odd", {})):
        (place / path).unlink()
    if "laid_over" in case:
        _unpack(vectors / case["laid_over"], place)
    for path, kind in case.get("odd", {}).items():
        _make_odd(place / path, kind)
    return place


def _unpack(source: Path, place: Path) -> None:
    """A ZIP of ours, so nothing in it is looked at twice; names may be odd on purpose."""
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


def _make_odd(path: Path, kind: str) -> None:
    if kind == LINK:
        path.symlink_to(path.name + ".target")
    elif kind == FOLDER:
        path.mkdir()
    else:
        os.mkfifo(path)


def answer(vectors: Path, case: Case, folder: Path) -> dict[str, Any]:
    """What ``compliance verify`` says of a case: exit code, failed checks, root digest."""
    pack = lay_out(vectors, case, folder)
    options = [str(pack), "--json", "--level", case["level"], *_options(vectors, case["given"])]
    done = CliRunner().invoke(compliance, ["verify", *options])
    if done.exit_code not in (0, 1):
        return {"exit": done.exit_code, "failed": []}
    found = Verification.model_validate_json(done.stdout)
    failed = sorted({(check.name, check.path or "") for check in found.failed})
    said = {"exit": done.exit_code, "failed": [list(pair) for pair in failed]}
    return said | ({"root_digest": found.root_digest} if found.root_digest else {})


def _options(vectors: Path, given: Mapping[str, Any]) -> Iterator[str]:
    for name in ("key", "authority", "checkpoint"):
        if name in given:
            yield from (f"--{name}", str(vectors / given[name]))
    for role, path in given.get("roles", {}).items():
        yield from ("--role", f"{role}={vectors / path}")


def write_vectors(vectors: Path) -> list[Case]:
    """Make packs and cases anew in an empty folder."""
    with tempfile.TemporaryDirectory() as place:
        packs = make_packs(Path(place), words=False)
        samples = read_samples(packs)
        for role in ("issuer", "reviewer", "approver"):
            write_bytes(vectors / "keys" / f"{role}.pem", packs.signer(role).public_pem)
        write_bytes(vectors / "keys" / "authority.pem", packs.authority)
    for base in BASES:
        write_bytes(vectors / _good(base), _zip(samples.packs[base]))
    for base in ("older", "newer"):
        note = samples.packs[base][layout.CHECKPOINT]
        write_bytes(vectors / "checkpoints" / base, note)
    cases = [
        *_good_cases(samples),
        *_broken_cases(vectors, samples),
        *_container_cases(vectors, samples),
        *_hidden_cases(vectors, samples),
    ]
    for case in cases:
        with tempfile.TemporaryDirectory() as place:
            case["answer"] = answer(vectors, case, Path(place))
    stated = {"cases": cases}
    write_text(vectors / EXPECTED, json.dumps(stated, indent=1, ensure_ascii=False) + "\n")
    return cases


def _good(base: str) -> str:
    return f"good/{base}.zip"


def _case(name: str, says: str, base: str, samples: Samples, **more: Any) -> Case:
    return {
        "name": name, "says": says, "pack": _good(base), "called": samples.names[base],
        "level": "recompute", "given": GIVEN, **more,
    }  # fmt: skip


def _good_cases(samples: Samples) -> Iterator[Case]:
    for base in BASES:
        yield _case(f"good, {base}", "as it was made", base, samples)
    yield _case("good, no key", "nothing is known from outside", "older", samples, given={},
                level="integrity")  # fmt: skip
    known = {**GIVEN, "checkpoint": "checkpoints/older"}
    yield _case("good, with a witness", "the trail goes on from one that somebody kept", "newer",
                samples, given=known)  # fmt: skip


def _broken_cases(vectors: Path, samples: Samples) -> Iterator[Case]:
    for kind in KINDS:
        if kind.name not in LEFT_OUT | CONTAINERS.keys():
            yield _stored(vectors, samples, kind.name, _drawn(kind, samples))


def _container_cases(vectors: Path, samples: Samples) -> Iterator[Case]:
    files = {p: d for p, d in samples.packs["older"].items() if not p.startswith("data/")}
    packs = {**samples.packs, "older": files}
    few = replace(samples, packs=packs, zipped=archive_of(samples.names["older"], files))
    for kind in KINDS:
        seen: set[str] = set()
        for number in range(CONTAINERS.get(kind.name, 0)):
            change = _drawn(kind, few, number)
            if change.said not in seen:
                seen.add(change.said)
                yield _stored(vectors, few, f"{kind.name}, {len(seen)}", change)


def _drawn(kind: Kind, samples: Samples, number: int = 0) -> Change:
    """A change of a pack that is stored whole."""
    chance = Random(f"vectors/{kind.name}/{number}")
    while (change := drawn(kind, samples, chance)).base not in BASES:
        pass
    return change


def _hidden_cases(vectors: Path, samples: Samples) -> Iterator[Case]:
    """What a pack alone does not show, with the checkpoint that does."""
    known = {**GIVEN, "checkpoint": "checkpoints/older"}
    for kind in WITNESSED:
        if "checkpoint" in kind.by:
            change = _drawn(kind, samples)
            yield _stored(vectors, samples, f"{kind.name}, seen by a witness", change) | {
                "given": known
            }
    yield _case("older than a witness saw", "an old pack in place of the newest", "older", samples,
                given={**GIVEN, "checkpoint": "checkpoints/newer"})  # fmt: skip


def _stored(vectors: Path, samples: Samples, name: str, change: Change) -> Case:
    given = {} if change.trust == NOTHING else GIVEN
    level = "integrity" if change.deeper is None else "recompute"
    case = _case(name, change.said, change.base, samples, given=given, level=level)
    if change.name:
        case["called"] = change.name
    if change.checks:
        case["any_of_checks"] = sorted(change.checks)
    if change.places:
        case["any_of_files"] = sorted(map(str, change.places))
    file_name = re.sub("[^A-Za-z0-9]+", "-", name)
    if change.zipped is not None:
        del case["pack"]
        case |= {"container": f"broken/{file_name}.zip", "called": f"{case['called']}.zip"}
        write_bytes(vectors / case["container"], change.zipped)
        return case
    before = samples.packs[change.base]
    over = {p: data for p, data in change.files.items() if before.get(p) != data}
    if over:
        case["laid_over"] = f"broken/{file_name}.zip"
        write_bytes(vectors / case["laid_over"], _zip(over))
    if removed := sorted(before.keys() - change.files.keys()):
        case["removed"] = removed
    if change.odd:
        case["odd"] = dict(change.odd)
    return case


def _zip(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path), files[path], zipfile.ZIP_DEFLATED)
    return file.getvalue()


def problems(cases: Sequence[Case]) -> list[str]:
    """Cases whose answer is not what they were made for."""
    found = []
    for case in cases:
        said, good = case["answer"], case["name"].startswith("good")
        checks, files = case.get("any_of_checks"), case.get("any_of_files")
        named = [
            (name, path) for name, path in said["failed"]
            if (not checks or name in checks) and (not files or path in files)
        ]  # fmt: skip
        if (good and said["exit"] != 0) or (not good and (said["exit"] != 1 or not named)):
            found.append(f"{case['name']}: {case['says']}: {said}")
    return found


def main() -> int:
    """Replace the vectors; 1 where an answer is not what its kind demands."""
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "vectors"
        cases = write_vectors(made)
        if wrong := problems(cases):
            print("\n".join(wrong))
            return 1
        for name in ("good", "broken", "keys", "checkpoints"):
            shutil.rmtree(VECTORS / name, ignore_errors=True)
        shutil.copytree(made, VECTORS, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in VECTORS.rglob("*") if path.is_file())
    print(f"{len(cases)} cases, {size / 2**20:.2f} MiB in {VECTORS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
