"""What a monitor costs a serving model, as a ratio to the bare model in the same run.

    python -m benchmarks.monitoring --out benchmarks/results/monitoring.json

The demo's model with its SAE where they were fetched; else a model in the shape of GPT-2 small with
weights and an SAE drawn at random. Four probes of one latent each are watched, every request is
declared, and events are written to a folder. Rounds with and without the monitor take turns, so
that a machine that slows down slows both; medians are compared. Cut-offs are made up here: only
time is measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from benchmarks.results import Table, write_results
from compliance.monitor.locked import Locked, LockedConcept
from compliance.monitor.log import EventLog
from compliance.monitor.looking import look_of
from compliance.monitor.monitor import Monitor
from compliance.monitor.reading import read_log
from compliance.monitor.scoring import Words, watched
from compliance.monitor.serving import ends_of
from compliance.probes.sae import Sae, load_sae
from compliance.probes.subject import device_name
from compliance.records.audit import FeatureRef, SaeRef
from compliance.records.base import digest_bytes
from compliance.records.plan import Cell, CutOff
from compliance.records.subject import ModelFacts

DEMO = Path(__file__).parent.parent / "examples" / "demo"
PROMPT, REPLY = 128, 32
"""Tokens of the prompt and of the reply."""

NOTE = """Serving one request of {prompt} tokens, then {reply} generated tokens with a cache, with
and without a monitor of four probes: {name}, {device}, {threads} thread(s), medians of {rounds}
pairs. `wall` is the time a client waits; `serving thread` is the processor time of the thread that
serves, `process` that of all threads, the monitor's own included, until the events are written.
`inside the hooks` is the processor time that the serving thread spends in the monitor's own code,
which other work on the machine moves least; its ratio is one plus its share of the bare request's
processor time. The aim is a ratio of at most 1.03."""


@dataclass(frozen=True)
class Served:
    """What is measured."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sae: Sae


def main() -> None:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--random", action="store_true", help="the random model in any case")
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    there = (DEMO / "subject" / "model.safetensors").exists() and not args.random
    served = demo(args.device) if there else made(args.device)
    table = measure(served, args.pairs)
    for row in (table.columns, *table.rows):
        print("  ".join(map(str, row)))
    if args.out:
        write_results(args.out, "monitoring", [table])


def demo(device: str) -> Served:
    """The demo's model and SAE."""
    model = AutoModelForCausalLM.from_pretrained(DEMO / "subject", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "subject")
    sae = load_sae(SaeRef(path="sae"), DEMO, device=device)
    return Served("SmolLM2-135M-Instruct", model.eval().to(device), tokenizer, sae)


def made(device: str) -> Served:
    """A model in the shape of GPT-2 small, and an SAE of 16,384 latents."""
    from tests.probes.tiny import save_tiny_sae, tiny_tokenizer

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=1, eos_token_id=2)).eval().to(device)
    with tempfile.TemporaryDirectory() as folder:
        path = save_tiny_sae(Path(folder) / "sae", d_in=768, d_sae=16_384,
                             hook_name="blocks.6.hook_resid_pre")  # fmt: skip
        sae = load_sae(SaeRef(path=str(path)), Path(), device=device)
    return Served("GPT-2 small with random weights", model, tiny_tokenizer(), sae)


def measure(served: Served, pairs: int) -> Table:
    """Pairs of requests of both kinds, the first pair left out."""
    item, inputs = prompt(served)
    ways = {"prefill": lambda: prefill(served, inputs), "generation": lambda: reply(served, inputs)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, run in ways.items():
            times: dict[bool, list[dict[str, float]]] = {True: [], False: []}
            for pair in range(pairs + 1):
                for watch in (False, True) if pair % 2 else (True, False):
                    found = timed(served, run, item, Path(folder) if watch else None)
                    if pair:
                        times[watch].append(found)
            rows += compared(name, times[False], times[True])
        seen = read_log(Path(folder)).counts
        assert seen["observed"] >= 2 * pairs and "failed-sensor" not in seen, seen
    note = NOTE.format(
        prompt=PROMPT, reply=REPLY, name=served.name, device=device_name(served.model.device),
        threads=torch.get_num_threads(), rounds=pairs,
    )  # fmt: skip
    columns = ("what", "clock", "bare, ms", "watched, ms", "ratio")
    return Table("A monitor beside the bare model", " ".join(note.split()), columns, tuple(rows))


def prompt(served: Served) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """A conversation of as many tokens as are asked for, and the model's inputs."""
    words = "The river runs past the old mill and on to the sea. " * 40
    low, high = 1, len(words)
    while low < high:  # the longest that fits
        middle = (low + high + 1) // 2
        if templated(served, words[:middle])["input_ids"].shape[1] <= PROMPT:
            low = middle
        else:
            high = middle - 1
    return [{"role": "user", "content": words[:low]}], templated(served, words[:low])


def templated(served: Served, words: str) -> dict[str, torch.Tensor]:
    """Inputs of one user turn."""
    found = served.tokenizer.apply_chat_template(
        [{"role": "user", "content": words}], add_generation_prompt=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    return {name: found[name].to(served.model.device) for name in ("input_ids", "attention_mask")}


def prefill(served: Served, inputs: dict[str, torch.Tensor]) -> None:
    """One run on the prompt, up to the next token."""
    with torch.inference_mode():
        served.model(**inputs, use_cache=True).logits[0, -1].argmax().item()


def reply(served: Served, inputs: dict[str, torch.Tensor]) -> None:
    """Prompt and reply."""
    served.model.generate(
        **inputs, min_new_tokens=REPLY, max_new_tokens=REPLY, do_sample=False, pad_token_id=0
    )


CLOCKS = {
    "wall": time.perf_counter,
    "serving thread": time.thread_time,
    "process": time.process_time,
}


class Timed(Monitor):
    """A monitor that knows how long its hooks took, in processor time."""

    spent = 0.0

    def _before(self, *given: Any) -> None:
        self._clocked(super()._before, given)

    def _look(self, *given: Any) -> None:
        self._clocked(super()._look, given)

    def _after(self, *given: Any) -> None:
        self._clocked(super()._after, given)

    def _clocked(self, run: Callable[..., None], given: tuple[Any, ...]) -> None:
        began = time.thread_time()
        run(*given)
        self.spent += time.thread_time() - began


def timed(
    served: Served, run: Callable[[], None], item: Any, folder: Path | None
) -> dict[str, float]:
    """Seconds of one request by each clock; the request's own block is part of it."""
    monitor = watching(served, folder) if folder is not None else None
    before = {name: clock() for name, clock in CLOCKS.items()}
    if monitor is None:
        run()
    else:
        with monitor.request(language="en", item=item):
            run()
    found = {name: clock() - before[name] for name, clock in CLOCKS.items()}
    if monitor is not None:
        began = time.process_time()
        monitor.flush()  # what scoring and writing take after the answer is out
        found["process"] += time.process_time() - began
        found["inside the hooks"] = monitor.spent
        monitor.detach()
        monitor.log.close()
    return found


def watching(served: Served, folder: Path) -> Timed:
    """A monitor of four latents that fire, each in a probe of its own, with cut-offs made up."""
    facts = ModelFacts(
        name=served.name, architecture=type(served.model).__name__, parameters=0, layers=1,
        weights_digest=digest_bytes(b"w"), tokenizer_digest=digest_bytes(b"t"), d_model=1,
        dtype="float32", chat_template=True,
    )  # fmt: skip
    latents = (0, 1, 2, 3)
    probes = tuple(
        LockedConcept(
            f"concept-{latent}", "user" if latent % 2 else "assistant", "max",
            (FeatureRef(latent=latent),),
            {"en": CutOff(scorer="probe", cell=Cell(concept="c", language="en"), value=1.0, n=99)},
        )
        for latent in latents
    )  # fmt: skip
    locked = Locked(facts, (served.sae.facts,), digest_bytes(b"r"), 0.01, 10.0, probes)
    words = Words(served.tokenizer, ends_of(served.model, served.tokenizer))
    looks = [look_of(index, served.sae, found) for index, found in watched(locked).items()]
    monitor = Timed(
        served.model, locked, looks, words, EventLog(folder), facts.weights_digest,
        owns_log=False, another_model=False,
    )  # fmt: skip
    monitor.start()
    return monitor


def compared(
    name: str, bare: Sequence[dict[str, float]], watched: Sequence[dict[str, float]]
) -> list[tuple[str, ...]]:
    """A row for each clock."""
    rows = []
    for clock in CLOCKS:
        ratio = median(b[clock] / a[clock] for a, b in zip(bare, watched, strict=True))
        before, with_it = (median(one[clock] for one in kind) for kind in (bare, watched))
        rows.append((name, clock, f"{before * 1e3:.1f}", f"{with_it * 1e3:.1f}", f"{ratio:.4f}"))
    spent = median(one["inside the hooks"] for one in watched)
    share = spent / median(one["serving thread"] for one in bare)
    rows.append((name, "inside the hooks", "", f"{spent * 1e3:.2f}", f"{1 + share:.4f}"))
    return rows


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
