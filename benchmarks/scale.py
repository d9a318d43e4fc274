"""What an audit of many items costs on one machine: CPU seconds and memory of each stage.

    python -m benchmarks.scale
    python -m benchmarks.scale --items 1000000 --folder made/scale --stages suites plan
    python -m benchmarks.scale --folder made/scale --stages assess pack verify

For each number of items it makes a suite (pairs of two concepts and benign items, two languages,
texts of a dozen tokens), a model of three blocks with an SAE of 64 latents, and ``audit.yaml``, and
runs the stages one after the other, each in a process of its own. Printed are CPU seconds, the
largest resident set, that less what the process held before the stage (modules, model and SAE
loaded), the same by item, and the exponent of growth of the seconds: 1.00 is linear.

With ``--folder`` the audits stay, under ``<folder>/<items>``, and stages that are named are run
again there on what the earlier ones left; naming a stage throws away what it made before.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import Table, write_results

ITEMS = (1_000, 10_000, 100_000)
LANGUAGES = ("en", "el")
CONCEPTS = ("danger", "flattery")
WORDS = {
    "en": ("apple", "stone", "river", "cloud", "paper", "tiger", "music", "field"),
    "el": ("μήλο", "πέτρα", "νερό", "ήλιος", "χαρτί", "τίγρη", "ήχος", "αγρός"),
}
BATCH_TOKENS = 4096

STAGES = ("suites", "plan", "fit", "lock", "confirm", "assess", "pack", "verify")
MADE = {
    "plan": ("runs", "trail.jsonl"),
    "fit": ("runs/*/passes/search", "runs/*/passes/calibrate", "runs/*/observations/fit",
            "runs/*/lock.json"),
    "lock": ("runs/*/lock.json",),
    "confirm": (*(f"runs/*/passes/{name}" for name in ("confirm", "losses", "repeats", "shifts")),
                "runs/*/observations/confirm"),
    "assess": ("runs/*/evidence.json",),
    "pack": ("packs", "archive"),
}  # fmt: skip
"""What a stage leaves, below the folder of an audit."""

CHILD = "from benchmarks.scale import {call}; {call}({arguments})"


class Measured(NamedTuple):
    """What one stage took."""

    items: int
    stage: str
    seconds: float
    """Of the CPU, all threads together."""

    peak: int
    """Largest resident set, bytes."""

    before: int
    """Resident set when the stage began, bytes."""


# --- an audit of so many items -----------------------------------------------------------------


def make_audit(folder: Path, items: int) -> None:
    """Write the subject, the SAE, the suite and ``audit.yaml``."""
    import yaml

    from tests.probes.tiny import save_tiny_sae, save_tiny_subject
    from tests.tiny_audit import datasheet

    save_tiny_subject(folder / "model")
    save_tiny_sae(folder / "sae")
    (folder / "suite").mkdir()
    sheet = datasheet()
    sheet["concepts"]["flattery"]["region"] = "user"
    (folder / "suite" / "suite.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")
    with open(folder / "suite" / "items.jsonl", "w", encoding="utf-8") as file:
        for item in suite_items(items):
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    system = {"name": "scale", "title": "Scale", "version": "1",
              "declared": {"intended_purpose": {"text": "Measuring."}}}  # fmt: skip
    (folder / "system.yaml").write_text(yaml.safe_dump(system), encoding="utf-8")
    audit = {
        "subject": {"model": "./model", "name": "tiny", "saes": [{"path": "./sae"}]},
        "suites": ["./suite"],
        "probes": [{"concept": concept} for concept in CONCEPTS],
        "languages": list(LANGUAGES),
        "alpha": 0.1,
        "bootstrap_draws": 200,
        "batch_tokens": BATCH_TOKENS,
    }
    (folder / "audit.yaml").write_text(yaml.safe_dump(audit), encoding="utf-8")


def suite_items(items: int) -> Iterator[dict[str, Any]]:
    """So many items or a few less: half of them in pairs, the others benign."""
    for number in range(items // 8):
        concept = CONCEPTS[number % 2]
        for language in LANGUAGES:
            for label, mark in (("positive", "zz"), ("hard-negative", "oo")):
                yield _item(concept, number, language, label, mark) | {"concept": concept}
    for number in range(items // 4):
        for language in LANGUAGES:
            yield _item("benign", number, language, "negative", "ii")


def _item(kind: str, number: int, language: str, label: str, mark: str) -> dict[str, Any]:
    words = WORDS[language]
    return {
        "id": f"{kind}-{number:07d}-{label}-{language}",
        "group": f"{kind}-{number:07d}",
        "label": label,
        "language": language,
        "text": f"{words[number % 8]} {mark} {kind[:2]}{number}",
        "origin": "authored",
        "source": "made for a benchmark",
        "licence": "CC0-1.0",
    }


# --- in a process of its own -------------------------------------------------------------------


def print_measured(stage: str, folder: str) -> None:
    """Run a stage and print what it took as JSON."""
    import psutil

    call = _prepared(stage, Path(folder))
    before = psutil.Process().memory_info().rss
    began = time.process_time()
    call()
    took = time.process_time() - began
    print(json.dumps({"seconds": took, "peak": _peak(), "before": before}))


def _prepared(stage: str, folder: Path) -> Any:
    """The stage as a call, with all it needs imported and loaded."""
    from compliance.documents import read_yaml
    from compliance.records.audit import AuditConfig
    from compliance.workflow import audits, checking, stages

    path = folder / "audit.yaml"
    config = read_yaml(path, AuditConfig)
    if stage in ("plan", "fit", "confirm"):
        stages.load_reader(config, folder)
    calls = {
        "suites": lambda: stages.load_suites(config, folder),
        "plan": lambda: audits.plan(path),
        "fit": lambda: audits.observe(path),
        "lock": lambda: audits.lock(path),
        "confirm": lambda: audits.observe(path),
        "assess": lambda: audits.assess(path),
        "pack": lambda: audits.pack(path),
        "verify": lambda: _verify(checking, folder),
    }
    return calls[stage]


def _verify(checking: Any, folder: Path) -> None:
    [pack] = (folder / "packs").glob("*-*")
    found = checking.verify(pack)
    assert [c.status for c in found.checks if c.name == "numbers"] == ["passed"], found.summary()


def _peak() -> int:
    """Bytes; VmHWM where there is one, since ru_maxrss counts the parent of a process too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- all of them -------------------------------------------------------------------------------


def measure(stage: str, folder: Path, items: int) -> Measured:
    """Throw away what the stage made before, and run it.

    Raises:
        RuntimeError: It failed.
    """
    for pattern in MADE.get(stage, ()):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = json.loads(_child("print_measured", stage, str(folder)).splitlines()[-1])
    return Measured(items, stage, found["seconds"], found["peak"], found["before"])


def _child(call: str, *arguments: str) -> str:
    code = CHILD.format(call=call, arguments=", ".join(map(repr, arguments)))
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{call}{arguments}: {done.stderr[-2000:]}")
    return done.stdout


def make(folder: str, items: str) -> None:
    """`make_audit` in a process of its own: what it imports is not in the parent's memory."""
    make_audit(Path(folder), int(items))


def growth(before: Measured, after: Measured) -> float:
    """The exponent with which seconds grow with items."""
    return math.log(after.seconds / before.seconds) / math.log(after.items / before.items)


HEADINGS = ("items", "stage", "CPU s", "peak MiB", "above start MiB", "bytes an item", "exponent")


def rows(found: Sequence[Measured]) -> Iterator[tuple[str | int | float, ...]]:
    """Of a table: each stage by number of items."""
    last: dict[str, Measured] = {}
    for one in sorted(found, key=lambda m: (STAGES.index(m.stage), m.items)):
        own = one.peak - one.before
        exponent = f"{growth(last[one.stage], one):.2f}" if one.stage in last else ""
        last[one.stage] = one
        yield (one.items, one.stage, round(one.seconds, 2), one.peak >> 20, own >> 20,
               round(own / one.items), exponent)  # fmt: skip


def table(found: Sequence[Measured]) -> Table:
    """The table with what its numbers mean."""
    note = (
        "Each stage of an audit in a process of its own, on items of a dozen tokens, half of them "
        "in pairs, with a model of three blocks and an SAE of 64 latents. *Above start*: the "
        "largest resident set less what the process held before the stage, with modules, model and "
        "SAE loaded. *Exponent*: of the growth of CPU seconds from the number of items above; 1 is "
        "linear."
    )
    return Table("Stages of an audit by number of items", note, HEADINGS, tuple(rows(found)))


def main() -> None:
    """Print a line for each stage and number, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="*", default=ITEMS)
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=STAGES)
    parser.add_argument("--folder", type=Path, help="keep the audits here")
    parser.add_argument("--out", type=Path, help="write the table as JSON, for docs/performance.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = []
        for items in given.items:
            folder = (given.folder or Path(place)).resolve() / str(items)
            if not (folder / "audit.yaml").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                _child("make", str(folder), str(items))
            for stage in given.stages:
                found.append(measure(stage, folder, items))
                print(*next(rows(found[-1:])), flush=True)
    print(*HEADINGS, sep="\t")
    for row in rows(found):
        print(*row, sep="\t")
    if given.out:
        asked = f"--items {' '.join(map(str, given.items))} --stages {' '.join(given.stages)}"
        command = f"python -m benchmarks.scale {asked} --out benchmarks/results/{given.out.name}"
        write_results(given.out, "scale", [table(found)], command=command)


if __name__ == "__main__":
    main()
