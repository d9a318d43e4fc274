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

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Table, write_results
from benchmarks.stages import Took, ask, command, exponent, run_all

ITEMS = (1_000, 10_000, 100_000)
LANGUAGES = ("en", "el")
CONCEPTS = ("danger", "flattery")
WORDS = {
    "en": ("apple", "stone", "river", "cloud", "paper", "tiger", "music", "field"),
    "el": ("μήλο", "πέτρα", "νερό", "ήλιος", "χαρτί", "τίγρη", "ήχος", "αγρός"),
}
BATCH_TOKENS = 4096

STAGES = ("suites", "plan", "fit", "lock", "confirm", "assess", "pack", "verify")


# --- an audit of so many items -----------------------------------------------------------------


def make_audit(place: str, items: str) -> None:
    """Write the subject, the SAE, the suite and ``audit.yaml``."""
    import yaml

    from tests.probes.tiny import save_tiny_sae, save_tiny_subject
    from tests.tiny_audit import datasheet

    folder = Path(place)
    folder.mkdir(parents=True)
    save_tiny_subject(folder / "model")
    save_tiny_sae(folder / "sae")
    (folder / "suite").mkdir()
    sheet = datasheet()
    sheet["concepts"]["flattery"]["region"] = "user"
    (folder / "suite" / "suite.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")
    with open(folder / "suite" / "items.jsonl", "w", encoding="utf-8") as file:
        for item in suite_items(int(items)):
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


def prepared(stage: str, place: str) -> Callable[[], object]:
    """The stage as a call, with all it needs imported and loaded."""
    from compliance.documents import read_yaml
    from compliance.records.audit import AuditConfig
    from compliance.workflow import audits, checking, stages

    folder = Path(place)
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


# --- all of them -------------------------------------------------------------------------------


HEADINGS = ("items", "stage", "CPU s", "peak MiB", "above start MiB", "bytes an item", "exponent")


def rows(found: Sequence[Took]) -> Iterator[tuple[str | int | float, ...]]:
    """Of a table: each stage by number of items."""
    last: dict[str, Took] = {}
    for one in sorted(found, key=lambda m: (STAGES.index(m.stage), m.size)):
        own = one.peak - one.before
        grown = f"{exponent(last[one.stage], one):.2f}" if one.stage in last else ""
        last[one.stage] = one
        yield (one.size, one.stage, round(one.seconds, 2), one.peak >> 20, own >> 20,
               round(own / one.size), grown)  # fmt: skip


def table(found: Sequence[Took]) -> Table:
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
    given = ask(str(__doc__), "items", ITEMS, STAGES)
    found = []
    for _, took in run_all("benchmarks.scale", given):
        found.append(took)
        print(*next(rows([took])), flush=True)
    print(*HEADINGS, sep="\t")
    for row in rows(found):
        print(*row, sep="\t")
    if given.out:
        again = command("benchmarks.scale", "items", given)
        write_results(given.out, "scale", [table(found)], command=again)


if __name__ == "__main__":
    main()
