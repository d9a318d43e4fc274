"""What verifying a large pack costs: beside sha256sum, and in memory.

    python -m benchmarks.verify
    python -m benchmarks.verify --mib 200 --groups 100 400

makes a pack with 1 GiB of observation files and measures how long the integrity check takes beside
`sha256sum` over the same files, both from the disk cache and by turns; the ratio of the least times
should be at most 1.5. The files are bytes of chance: this level reads nothing in them but digests.

Then it simulates audits of more and more groups (`benchmarks.worlds`), makes a pack of each, and
prints for the assessment, the integrity check and the recomputation of each: CPU seconds, and the
largest resident set of a process of its own, less that of one that has only loaded what is needed.
With ``--folder`` the packs stay, and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import rfc8785

from benchmarks.forging import Entry, chained, entries_of, insider
from benchmarks.results import Table, write_results
from benchmarks.sample_packs import Packs, make_packs
from benchmarks.worlds import World, confirm_observations, fit_observations, make_plan
from compliance.assessment.assess import assess
from compliance.assessment.choosing import choose
from compliance.assessment.locking import make_lock
from compliance.assessment.tables import FitObservations, file_digests, read_table
from compliance.packs import layout
from compliance.packs.integrity import verify_integrity
from compliance.records.audit import Robustness
from compliance.records.base import canonical_bytes, digest_of, to_json
from compliance.records.evidence import Evidence
from compliance.records.pack import PackedItem
from compliance.records.plan import Lock, Plan
from compliance.records.suite import Item
from compliance.suites.split import rank
from compliance.trail import run_name

MIB = 1024
PARTS = 8
"""Observation files; one of more than 256 MiB could not be read."""

TRIES = 3
GROUPS = (200, 800, 3200)
ONCE = Robustness(shifted_groups=0, repeated_items=0, loss_items=0)

COMMAND = "from compliance.cli.main import main; main()"
LOADED = """
from compliance.workflow.checking import verify
import compliance.assessment.assess
"""
OPENED = """
from pathlib import Path
from compliance.packs.reading import read_pack
from compliance.workflow.opened import PackFiles
with read_pack(Path(sys.argv[1])) as pack:
    said = pack.evidence
"""
STAGES = {
    "assess": OPENED
    + """
    from compliance.assessment.assess import assess
    found = assess(
        said.plan, said.lock, PackFiles(pack), system=said.system, environment=said.environment,
        law=said.law, confirm_openings=1, validation=said.validation,
    )
    assert found == said
""",
    "integrity": """
from pathlib import Path
from compliance.packs.integrity import verify_integrity
found = verify_integrity(Path(sys.argv[1]))
assert found.root_digest and not [c for c in found.failed if c.name in ("root", "items")]
""",
    "recompute": """
from pathlib import Path
from compliance.workflow.checking import verify
found = verify(Path(sys.argv[1]))
numbers = [check.status for check in found.checks if check.name == "numbers"]
assert numbers == ["passed"], found.summary()
""",
}
"""What each stage does in a process of its own; recompute holds integrity."""


def large_pack(packs: Packs, folder: Path, mib: int) -> Path:
    """The older pack with so many MiB more of observations, signed by its issuer."""
    files = _all_bytes(packs.older)
    evidence = json.loads(files[layout.EVIDENCE])
    for part in range(PARTS):
        data = os.urandom((mib << 20) // PARTS)
        files[f"{layout.OBSERVATIONS}confirm/part-{part}.parquet"] = data
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        evidence["observations"][f"confirm/part-{part}.parquet"] = digest
    files[layout.EVIDENCE] = rfc8785.dumps(evidence)
    return _write(folder / packs.older.name, insider(files, packs.key("issuer")))


def _all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def digests(pack: Path, *command: str) -> None:
    """The peer: digests of all files of the pack by a program that does nothing else."""
    files = sorted(str(path) for path in pack.rglob("*") if path.is_file())
    subprocess.run([*command, *files], stdout=subprocess.DEVNULL, check=True)


def integrity(packs: Packs, pack: Path) -> None:
    """Our check, as a caller in Python makes it."""
    found = verify_integrity(pack, trust=packs.trust())
    assert found.ok, found.summary()


def beside_sha256sum(packs: Packs, folder: Path, mib: int, tries: int = TRIES) -> list[str]:
    """Time both by turns, and the whole command once, which starts Python and loads its modules."""
    pack = large_pack(packs, folder, mib)
    ours, theirs, openssl = [], [], []
    for _ in range(tries):
        theirs.append(seconds(lambda: digests(pack, "sha256sum", "--")))
        openssl.append(seconds(lambda: digests(pack, "openssl", "dgst", "-sha256")))
        ours.append(seconds(lambda: integrity(packs, pack)))
    command = [sys.executable, "-c", COMMAND, "verify", str(pack), "--level", "integrity"]
    whole = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
    least = min(theirs)
    return [
        f"{_size(pack) / 1e9:.2f} GB",
        f"sha256sum           {least:6.2f} s",
        f"openssl dgst        {min(openssl):6.2f} s, ratio {min(openssl) / least:.2f}",
        f"integrity check     {min(ours):6.2f} s, ratio {min(ours) / least:.2f}",
        f"the whole command   {whole:6.2f} s, ratio {whole / least:.2f}",
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --- recomputation ---------------------------------------------------------------------------


def simulated_pack(packs: Packs, folder: Path, groups: int) -> Path:
    """A pack of simulated observations: ``groups`` on confirm, half as many before, benign ones."""
    plan = make_plan(("en", "el"), bootstrap_draws=200, robustness=ONCE)
    world = World(
        effect={"en": 5.0, "el": 5.0}, discover=groups // 4, calibrate=groups // 4, groups=groups,
        benign=groups,
    )  # fmt: skip
    names = _ranked_names(plan, world)
    lock, files = make_named_files(plan, world, names)
    before = _all_bytes(packs.older)
    old = Evidence.model_validate_json(before[layout.EVIDENCE])
    evidence = assess(
        plan, lock, files, system=old.system, environment=old.environment, law=old.law,
        confirm_openings=1, validation=old.validation,
    )  # fmt: skip
    kept = {p: data for p, data in before.items() if not p.startswith(layout.OBSERVATIONS)}
    made = {
        layout.EVIDENCE: canonical_bytes(evidence),
        layout.ITEMS: b"".join(_items(files)),
        **{layout.OBSERVATIONS + path: data for path, data in files.items()},
    }
    entries = _refrozen(entries_of(before), evidence, files)
    return _write(folder / packs.older.name,
                  insider(chained(kept | made, entries), packs.key("issuer")))  # fmt: skip


def _ranked_names(plan: Plan, world: World) -> dict[str, str]:
    """For each group of the world one of the same names, so that splits follow from the ranking."""
    numbers = world.discover + world.calibrate + world.groups
    names = {}
    for start, count in (("g", numbers), ("b", world.benign)):
        drawn = [f"{start}{number:04d}" for number in range(count)]
        names |= dict(zip(drawn, rank(drawn, plan.suites[0].digest), strict=True))
    return names


def make_named_files(
    plan: Plan, world: World, names: Mapping[str, str]
) -> tuple[Lock, dict[str, bytes]]:
    """Lock and observation files of a world whose groups have other names."""
    files = _renamed(fit_observations(plan, world), names).to_files()
    fit = FitObservations.from_files(files)
    lock = make_lock(plan, choose(plan, fit), fit, file_digests(files))
    return lock, files | _renamed(confirm_observations(plan, world, lock), names).to_files()


def _renamed(tables: Any, names: Mapping[str, str]) -> Any:
    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        table = table.copy()
        if "item" in table:
            parts = table["item"].str.partition("-")
            table["item"] = parts[0].map(names).fillna(parts[0]) + parts[1] + parts[2]
        if "group" in table:
            table["group"] = table["group"].map(names)
        return table

    changed = {field.name: renamed(getattr(tables, field.name)) for field in fields(tables)}
    return replace(tables, **changed)


def _items(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """Lines of items as the tables describe them."""
    tables = pd.concat([read_table(files, f"{stage}/items.csv") for stage in ("fit", "confirm")])
    for row in tables.sort_values("item").itertuples():
        item = Item(
            id=row.item, group=row.group, concept=row.concept or None, label=row.label,
            language=row.language, text=row.item, format=row.format, origin=row.origin,
            source=row.source, licence="CC0-1.0", reviewed=row.reviewed,
        )  # fmt: skip
        yield canonical_bytes(PackedItem(item=item, salt="0" * 64)) + b"\n"


def _refrozen(entries: list[Entry], evidence: Evidence, files: Mapping[str, bytes]) -> list[Entry]:
    """The entries of another audit, with what this evidence rests on."""
    digests = file_digests(files)
    for entry in entries:
        facts = entry["facts"]
        if "run" in facts:
            facts["run"] = run_name(evidence.plan)
        if entry["kind"] in ("plan-frozen", "locked"):
            record = evidence.plan if entry["kind"] == "plan-frozen" else evidence.lock
            facts |= {"record": to_json(record), "digest": digest_of(record)}
        if entry["kind"] == "run-finished":
            stage = facts["pass"]
            facts["observations"] = {p: d for p, d in digests.items() if p.startswith(stage)}
        if entry["kind"] == "confirmation-opened":
            facts["lock"] = digest_of(evidence.lock)
    return entries


def measured(pack: Path, stage: str) -> tuple[float, float]:
    """Peak MiB and CPU seconds of a process that does a stage, less those of loading alone.

    Raises:
        RuntimeError: The pack's numbers do not follow from its observations.
    """
    (mib, took), (base, loading) = (_run(code, pack) for code in (LOADED + STAGES[stage], LOADED))
    return mib - base, took - loading


PEAK = """
import time
used = time.process_time()
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(used, peak)
"""
"""On Linux ru_maxrss begins with what the parent holds, which is larger than what is measured."""


def _run(code: str, pack: Path) -> tuple[float, float]:
    root = Path(__file__).resolve().parent.parent
    start = f"import resource, sys; sys.path.insert(0, {str(root)!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code + PEAK, str(pack)],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    used, peak = done.stdout.split()[-2:]
    return int(peak) / unit, float(used)


COLUMNS = ("items", "stage", "CPU s", "MiB above base", "KiB an item", "growth of CPU s")
NOTE = (
    "Simulated audits of one concept in two languages: five tokens an item, vectors of four "
    "numbers, 200 resamples. Each stage runs in a process of its own; what it holds before the "
    "stage (interpreter and modules) is taken off. Growth is the exponent against the size before: "
    "1 is linear."
)


def stages(packs: Packs, folder: Path, sizes: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """A row of COLUMNS for each size and stage."""
    before: dict[str, tuple[int, float]] = {}
    for groups in sizes:
        pack = folder / str(groups) / packs.older.name
        if not pack.is_dir():
            simulated_pack(packs, folder / str(groups), groups)
        with (pack / layout.ITEMS).open("rb") as file:
            items = sum(1 for _ in file)
        for stage in STAGES:
            mib, took = measured(pack, stage)
            growth = None
            if stage in before:
                fewer, faster = before[stage]
                growth = round(math.log(took / faster) / math.log(items / fewer), 2)
            before[stage] = items, took
            yield (items, stage, round(took, 1), round(mib), round(1024 * mib / items, 2), growth)


def main() -> None:
    """Print both tables, and write that of the stages where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=MIB)
    parser.add_argument("--groups", type=int, nargs="*", default=GROUPS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        packs = make_packs(Path(place) / "packs", words=False)
        if given.mib:
            large = Path(place) / "large"
            print("\n".join(beside_sha256sum(packs, large, given.mib)), flush=True)
        rows = []
        print(*COLUMNS, sep="\t")
        for row in stages(packs, given.folder or Path(place), given.groups):
            print(*row, sep="\t", flush=True)
            rows.append(row)
    if given.out:
        table = Table("Assess and verify by items", NOTE, COLUMNS, tuple(rows))
        write_results(given.out, "verify", [table])


if __name__ == "__main__":
    main()
