"""What probing costs beside SAELens on TransformerLens, and whether the numbers are the same.

    python -m benchmarks.probing --out benchmarks/results/probing.json
    python -m benchmarks.probing --quick

On a model of the shape of GPT-2 small and SAEs of 24,576 latents (`benchmarks.probing_made`) each
way (`benchmarks.probing_ways`) runs the same 256 texts in a process of its own, on one thread:

    a  HookedSAETransformer.run_with_cache, then sae.encode
    b  the same with names_filter and stop_at_layer
    c  the model's blocks up to the hook and nothing else: what no way can do without
    ours  the pass that scores 16 watched latents, from texts to shards on disk

The ways take turns, and the least CPU seconds of each are kept. Passes that read all latents are
run once, for the SAEs of the first layer. Ratios are the result; seconds belong to one machine.
Scores are compared one by one, and those of the search, which reads all latents, with b's. The
demo's model and SAE follow, where examples/demo holds them.
``--quick`` runs on a model far smaller: it shows whether numbers agree, and nothing of cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.probing_made import (
    FULL,
    QUICK,
    Made,
    MadeSae,
    Size,
    items_of,
    made_of,
    make,
    subject_in,
)
from benchmarks.results import Table, write_results
from compliance.probes.hooks import capture
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "demo"
SUITE = ROOT / "evidence" / "suites" / "seed" / "items.jsonl"
PEERS = ("cache", "filtered", "blocks")
WIDE = ("search", "confirm")
WAYS = (*PEERS, "watched", *WIDE)
TRIES = 2
ROUNDING = 1e-5
"""Largest difference of a score that sums taken in another order may make."""

QUIET = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore",
    "MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25),
}  # fmt: skip
"""Of every way. glibc is to keep what is freed, up to 1 GiB: else it is given back and asked for
again at every layer or at few, by where the heap happens to end, and that takes up to a sixth of
the time of the same work."""

KEPT_MEMORY = (
    "In every way, c among them, glibc is told to keep memory that is freed "
    "(`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`). Without that, 64 of these texts cost c "
    "430,000 to 540,000 page faults and 0.85 to 1.0 s in the kernel of 6.8 s, and ours 100,000 to "
    "470,000 and 0.2 to 0.9 s, by where the heap ended: that decided over ours/c more than "
    "anything that is done beside the blocks. With it both have 45,000 to 90,000 and 0.1 s of 6."
)
"""Measured on 23 November 2026 with three runs of each, on the machine of the results."""

SHOWN = 6
"""Functions of a profile."""


class Process:
    """One way, waiting for what it is to run."""

    def __init__(self, way: str, folder: Path) -> None:
        self.way = way
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.probing_ways", way, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | QUIET,
        )  # fmt: skip

    def __enter__(self) -> Process:
        self._answer()  # loaded
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, saes: Sequence[str], *, profile: bool = False) -> dict:
        """Run all texts for some SAEs.

        Raises:
            RuntimeError: The process ended; what it said stands on stderr.
        """
        self._process.stdin.write(json.dumps({"saes": list(saes), "profile": profile}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.way}: ended with {self._process.wait()}")
        return json.loads(line)


@dataclass
class Cost:
    """Of one way and one SAE: the least of its tries."""

    seconds: float = float("inf")
    mib: float = float("inf")

    def keep(self, seconds: float, mib: float) -> None:
        self.seconds, self.mib = min(self.seconds, seconds), min(self.mib, mib)


@dataclass
class Measured:
    """Everything that was found on one model."""

    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)
    """By way and SAE."""

    profiles: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """Of the watched pass by SAE."""

    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """By way and SAE, ``[texts, latents]``; ``all`` are b's of every latent."""

    def run(self, process: Process, saes: Sequence[str]) -> None:
        """Let a way run, and keep the least that it cost."""
        for name, cost in process.run(saes).items():
            self.costs.setdefault((process.way, name), Cost()).keep(**cost)
            _tell(f"{process.way}, {name}: {cost['seconds']:.1f} s, {cost['mib']:.0f} MiB")

    def ratio(self, sae: str, way: str, other: str) -> float:
        return self.costs[way, sae].seconds / self.costs[other, sae].seconds


def measure(folder: Path, made: Made, tries: int) -> Measured:
    """Run every way on what was made, by turns.

    Args:
        folder: Where ``made`` and what belongs to it lie.
        made: Model, SAEs and texts.
        tries: How often each way is run.
    """
    made.write(folder)
    found = Measured()
    with ExitStack() as stack:
        ways = {way: stack.enter_context(Process(way, folder)) for way in WAYS}
        hooks = _by_hook(made)
        for _ in range(tries):
            found.run(ways["cache"], list(made.saes))
            for names in hooks:
                for way in ("filtered", "blocks", "watched"):
                    found.run(ways[way], names)
        for way in WIDE:
            found.run(ways[way], hooks[0])
        for names in hooks:
            found.profiles |= ways["watched"].run(names, profile=True)
    for path in folder.glob("*.npy"):
        way, _, name = path.stem.partition(", ")
        found.scores[way, name] = np.load(path)
    return found


def _by_hook(made: Made) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for name, sae in made.saes.items():
        found.setdefault(sae.hook, []).append(name)
    return list(found.values())


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- tables ----------------------------------------------------------------------------------


def tables(found: Measured, made: Made, where: str) -> Iterator[Table]:
    """What was found, in the order in which it is read.

    Args:
        found: On one model.
        made: What it was found on.
        where: The model and SAEs in words.
    """
    texts, tokens = len(made.texts), sum(map(len, made.ids))
    watched = len(next(iter(made.saes.values())).watched)
    yield _seconds(found, made, f"{where}. {texts} texts of {tokens:,} tokens in all, "
                                f"{watched} watched latents.")  # fmt: skip
    yield _memory(found, made)
    yield _agreement(found, made)
    yield _wide(found, made)
    yield from _flips(found, made)
    yield _profile(found, made)


def _seconds(found: Measured, made: Made, where: str) -> Table:
    rows = []
    for name in made.saes:
        seconds = [round(found.costs[way, name].seconds, 1) for way in (*PEERS, "watched")]
        ratios = [found.ratio(name, "cache", "watched"), found.ratio(name, "filtered", "watched"),
                  found.ratio(name, "watched", "blocks")]  # fmt: skip
        rows.append((name, *seconds, *(round(ratio, 2) for ratio in ratios)))
    return Table(
        "CPU time of scoring watched latents",
        f"{where}\n\nCPU seconds on one thread, the least of the tries: **a** "
        "`HookedSAETransformer.run_with_cache` and then `sae.encode`; **b** the same with "
        "`names_filter` and `stop_at_layer` (the layer after the hook's, as SAELens does when it "
        "trains); **c** the model's blocks up to the hook and nothing "
        "else, in our batches; **ours** the whole pass, from words to shards on disk. "
        f"a and b run batches of {made.together} texts in their order, padded to the longest; "
        "their forward pass is run once for several SAEs and counted for each. Aims: a/ours at "
        "least 5 and b/ours at least 2 at layer 6; ours/c at most 1.1."
        f"\n\n{KEPT_MEMORY}",
        ("SAE", "a (s)", "b (s)", "c (s)", "ours (s)", "a/ours", "b/ours", "ours/c"),
        tuple(rows),
    )


def _memory(found: Measured, made: Made) -> Table:
    rows = []
    for name in made.saes:
        mib = [found.costs[way, name].mib for way in (*PEERS, "watched")]
        rows.append((name, *map(round, mib), round(mib[0] / max(mib[3], 1), 1)))
    return Table(
        "Memory of scoring watched latents",
        "Peak of resident memory, in MiB, above what is resident with model and SAE loaded and "
        "one text run; the least of the tries. Aim: a/ours at least 10.",
        ("SAE", "a", "b", "c", "ours", "a/ours"),
        tuple(rows),
    )


def compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, int]:
    """Largest difference of a score that both see fire or both do not, and how many differ in that.

    Args:
        ours: ``[texts, latents]``.
        theirs: Of the same latents in the same order.
    """
    flips = (ours != 0) != (theirs != 0)
    return float(np.abs(ours - theirs)[~flips].max()), int(flips.sum())


def _agreement(found: Measured, made: Made) -> Table:
    rows = []
    for name in made.saes:
        ours, theirs = found.scores["watched", name], found.scores["cache", name]
        rows.append((name, ours.size, int((ours != 0).sum()), *_compared(ours, theirs)))
    return Table(
        "The same scores: watched latents",
        "Each text's score of each watched latent (its largest activation on the text's tokens), "
        "ours against a's. A flip fires in one and not in the other. Aims: a largest difference "
        f"of {ROUNDING:.0e}, and no flip. Rounding in float32 grows with the score: on a text of "
        "the demo, whose latents reach 72, ours differ by up to 8e-05 from the same in float64.",
        ("SAE", "scores", "that fire", "largest score", "largest difference", "flips"),
        tuple(rows),
    )


def _compared(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, str, int]:
    difference, flips = compare(ours, theirs)
    return round(float(theirs.max()), 1), f"{difference:.1e}", flips


def _wide(found: Measured, made: Made) -> Table:
    rows = []
    for name in _by_hook(made)[0]:
        ours, theirs = found.scores["search", name], found.scores["all", name]
        ratios = [round(found.ratio(name, way, "blocks"), 2)
                  for way in ("filtered", "search", "confirm")]  # fmt: skip
        mib = [round(found.costs[way, name].mib) for way in ("search", "confirm")]
        rows.append((name, *ratios, *mib, ours.size, *_compared(ours, theirs)[1:]))
    return Table(
        "Passes that read all latents",
        "Run once, for the SAEs of the first layer. The search of a discovery reads every latent "
        "of the SAE and of its random counterpart; a confirmation reads them for fidelity, firing "
        "and controls. Their CPU seconds, and b's for comparison, over those of the bare blocks "
        "(c); their peak of memory in MiB; and all of the search's scores against b's.",
        ("SAE", "b/c", "search/c", "confirm/c", "search (MiB)", "confirm (MiB)", "scores",
         "largest difference", "flips"),
        tuple(rows),
    )  # fmt: skip


def _flips(found: Measured, made: Made) -> Iterator[Table]:
    """How near each flip of the search was to a tie; no table where there is none."""
    rows = []
    for name in _by_hook(made)[0]:
        ours, theirs = found.scores["search", name], found.scores["all", name]
        for text, latent in np.argwhere((ours != 0) != (theirs != 0)).tolist():
            score = float(max(ours[text, latent], theirs[text, latent]))
            rows.append((name, text, latent, round(score, 1), gap_at(made, name, text, latent)))
    if rows:
        yield Table(
            "Flips of the search",
            "Each score that is above 0 in ours or in b's alone. Gap: of a TopK SAE, how far the "
            "k-th largest latent is above the next, computed in float64, at the token where this "
            "latent is nearest to them. Rounding in float32 decides where the gap is smaller than "
            "the differences above.",
            ("SAE", "text", "latent", "score", "gap"),
            tuple(rows),
        )


def gap_at(made: Made, name: str, text: int, latent: int) -> str | None:
    """How far a TopK SAE's k-th largest latent is above the next, in float64.

    Args:
        made: Model, SAEs and texts.
        name: Of the SAE.
        text: Its place.
        latent: At the text's token where this one is nearest to those two.

    Returns:
        None of an SAE that is no TopK.
    """
    path, hook = made.saes[name].path, made.saes[name].hook
    sae = load_sae(SaeRef(path=path), Path("."), dtype=torch.float64)
    if sae.config.architecture != "topk":
        return None
    k = sae.config.k
    one_more = replace(sae, config=replace(sae.config, k=k + 1))
    model = subject_in(Path(made.model)).model.double()
    states = capture(model, torch.tensor([made.ids[text]]), None, [hook])[hook][0]
    latents = one_more.encode(states[list(made.read[text])])
    last = latents.topk(k + 1, dim=1).values[:, -2:]
    nearest = (latents[:, latent] - last.mean(dim=1)).abs().argmin()
    return f"{float(last[nearest, 0] - last[nearest, 1]):.1e}"


def _profile(found: Measured, made: Made) -> Table:
    rows = []
    for name in made.saes:
        for function, share in found.profiles[name][:SHOWN]:
            rows.append((name, function, round(100 * share, 1)))
    return Table(
        "Where the CPU time of a watched pass goes",
        "Share of the pass in each function itself, by `cProfile`, in percent; functions of torch "
        "in angle brackets are matrix products and the like. On 64 of these texts, what is neither "
        "the model's nor the SAE's (tokens, batches, sinks, rows, shards) took about 2% of a pass; "
        "16 watched latents took 0.1% of it in the standard and the jumprelu SAE, and 7% in the "
        "topk SAE: two thirds of that in products with as many columns as it takes to see that k "
        "others are larger (15% of the columns a token), the rest in choosing the largest.",
        ("SAE", "function", "%"),
        tuple(rows),
    )


# --- the demo --------------------------------------------------------------------------------


def demo(texts: int) -> Made | None:
    """The demo's model and SAE with texts of the seed suite; None where they are not at hand."""
    from compliance.probes.engine import prepare_items

    if not (DEMO / "subject" / "model.safetensors").is_file() or not (DEMO / "sae").is_dir():
        return None
    lines = SUITE.read_text(encoding="utf-8").splitlines()
    all_texts = [item["text"] for item in map(json.loads, lines) if item.get("text")]
    chosen = all_texts[:: max(1, len(all_texts) // texts)][:texts]
    prepared = prepare_items(items_of(chosen), subject_in(DEMO / "subject"))
    facts = load_sae(SaeRef(path=str(DEMO / "sae")), ROOT).facts
    block, place = facts.hook_name.split(".")[1:]
    sae = MadeSae(
        path=str(DEMO / "sae"), hook=facts.hook_name, architecture=facts.architecture,
        blocks=int(block) + (place == "hook_resid_post"),
        watched=tuple(range(0, facts.d_sae, facts.d_sae // 16))[:16],
    )  # fmt: skip
    made = made_of(DEMO / "subject", chosen, prepared, {"demo": sae})
    return replace(made, together=DEMO_TOGETHER)


DEMO_TOGETHER = 8
"""With 32 of its longer texts the peer that keeps every activation takes more than 14 GB."""

DEMO_WORDS = (
    "SmolLM2-135M-Instruct (30 blocks, width 576) and the demo's SAE of 6,144 latents after block "
    "12; texts of the seed suite in six languages, in the model's chat template"
)


def words_of(size: Size) -> str:
    """A made model and its SAEs in words."""
    return (
        f"A model of {size.layers} blocks, width {size.d_model} and {size.vocabulary:,} words with "
        f"random weights; SAEs of {size.d_sae:,} latents with random directions, of which about "
        f"{size.l0} fire on a token"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model, for a test")
    parser.add_argument("--texts", type=int, help="how many")
    parser.add_argument("--tries", type=int, default=TRIES, help="how often each way is run")
    parser.add_argument("--demo", action=argparse.BooleanOptionalAction, help="after the rest")
    parser.add_argument("--out", type=Path, help="JSON to write")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    size = replace(size, texts=given.texts or size.texts)
    # CPU time, too, grows where others use the caches; a reader sees whether they did.
    busy = {"load when it began": round(os.getloadavg()[0], 1)}
    found: list[Table] = []
    for part in _parts(size, given):
        found += part
        for table in part:
            print(shown(table), end="\n\n", flush=True)
        if given.out:  # after each model, so that what took long is kept whatever comes next
            write_results(given.out, "probing", found, command=_command(given), machine=busy)


def _parts(size: Size, given: argparse.Namespace) -> Iterator[list[Table]]:
    yield list(_measured(size, given.tries))
    if given.demo if given.demo is not None else not given.quick:
        yield _demo_tables(size, given.tries)


def _command(given: argparse.Namespace) -> str:
    words = ["python -m benchmarks.probing", f"--out benchmarks/results/{given.out.name}"]
    words += [f"--texts {given.texts}"] if given.texts else []
    words += [f"--tries {given.tries}"] if given.tries != TRIES else []
    words += ["--quick"] if given.quick else []
    words += [] if given.demo is None else ["--demo" if given.demo else "--no-demo"]
    return " ".join(words)


def _measured(size: Size, tries: int) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = make(folder, size)
        yield from tables(measure(folder, made, tries), made, words_of(size))


def _demo_tables(size: Size, tries: int) -> list[Table]:
    made = demo(size.texts)
    if made is None:
        _tell("the demo's model is not here: python examples/demo/subject.py makes it")
        return []
    with tempfile.TemporaryDirectory() as place:
        found = tables(measure(Path(place), made, tries), made, DEMO_WORDS)
        return [replace(table, title=f"{table.title}: the demo") for table in found]


def shown(table: Table) -> str:
    """A table for a terminal."""
    cells = [list(map(str, row)) for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([table.title, *lines])


if __name__ == "__main__":
    main()
