"""What an audit costs whose SAE has up to a million latents: seconds and memory of each stage.

    python -m benchmarks.wide --out benchmarks/results/wide.json
    python -m benchmarks.wide --widths 65536 --folder made/wide --stages lock

For each width it makes a model of three blocks and width 32, a jumprelu SAE of random weights whose
threshold lets about 50 latents fire at a token, a suite of short texts and ``audit.yaml``, and runs
the stages one after the other, each in a process of its own. Memory is the largest resident set
less that of the process before the SAE was opened; beside it stands what the weights take, those
of the SAE and, where a stage has them, the directions of its random counterpart.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import Table, write_results
from benchmarks.scale import MADE

WIDTHS = (65_536, 262_144, 1_048_576)
L0 = 50
"""Latents that fire at a token, at the median."""

SAMPLED = 64
"""Random inputs that the threshold is set on."""

GROUPS, BENIGN = 16, 24
"""Groups of one concept, each a positive and a hard negative, and benign items."""

STAGES = ("load", "plan", "fit", "lock", "confirm", "assess")
"""``fit`` is search, choice and calibration; ``lock`` makes the choice again, without the model."""

WITH_SAE = ("load", "plan", "fit", "confirm")
WITH_RANDOM = ("fit", "confirm")

NOTE = """An audit of {items} short texts with a model of width {d_in} and a jumprelu SAE of random
weights with an L0 of about {l0}. Each stage ran in a process of its own; seconds are of the
processor. Memory is the largest resident set above what the process held before it opened the SAE.
Weights are those of the SAE and, in `fit` and `confirm`, the directions of its random counterpart;
the rest is memory less weights. The exponent says how seconds grow from one width to the next: 1.00
is linear."""

CHILD = "from benchmarks.wide import {call}; {call}({arguments})"


class Measured(NamedTuple):
    """What one stage took at one width."""

    width: int
    stage: str
    seconds: float
    """Of the processor."""

    peak: int
    """Largest resident set above the base, bytes."""

    weights: int
    """Bytes of the weights that the stage needs."""


# --- in a process of its own -------------------------------------------------------------------


def make_audit(folder: str, width: str) -> None:
    """Write subject, SAE, suite and ``audit.yaml``."""
    from tests.tiny_audit import write_audit

    path = write_audit(
        Path(folder), groups=GROUPS, benign=BENIGN, languages=["en"],
        probes=[{"concept": "danger"}],
    )  # fmt: skip
    save_wide_sae(path.parent / "sae", int(width))


def save_wide_sae(folder: Path, width: int) -> None:
    """Put a wide SAE in the place of another, with the sparsity of a trained one.

    Its input is normalised (``layer_norm``), so that about L0 latents fire at every token,
    whatever the model.
    """
    import torch
    from safetensors.torch import save_file

    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    config |= {"d_sae": width, "normalize_activations": "layer_norm"}
    generator = torch.Generator().manual_seed(width)
    directions = torch.randn((width, config["d_in"]), generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    x = torch.randn((SAMPLED, config["d_in"]), generator=generator)
    x = (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True)
    weakest = [torch.topk(directions @ row, L0).values[-1] for row in x]
    tensors = {
        "W_enc": directions.T.contiguous(),
        "b_enc": torch.zeros(width),
        "threshold": torch.full((width,), float(torch.stack(weakest).median())),
        "W_dec": directions,
        "b_dec": torch.zeros(config["d_in"]),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


def _config(audit_yaml: Path) -> Any:
    from compliance.documents import read_yaml
    from compliance.records.audit import AuditConfig

    return read_yaml(audit_yaml, AuditConfig)


def print_measured(stage: str, folder: str) -> None:
    """Run a stage and print what it took as JSON."""
    run = _prepared(stage, Path(folder) / "audit.yaml")
    before = _memory("VmRSS")
    began = time.process_time()
    run()
    took = time.process_time() - began
    print(json.dumps({"seconds": took, "peak": _memory("VmHWM") - before}))


def _prepared(stage: str, path: Path) -> Callable[[], object]:
    """The stage as a call, with everything but the SAE imported and loaded."""
    import compliance.assessment.assess
    import compliance.probes.features
    import compliance.workflow.passes  # noqa: F401
    from compliance.probes.sae import load_sae
    from compliance.probes.subject import load_subject
    from compliance.workflow import audits

    config, folder = _config(path), path.parent
    load_subject(config.subject, folder)
    (ref,) = config.subject.saes
    calls = {
        "load": lambda: load_sae(ref, folder),
        "plan": lambda: audits.plan(path),
        "fit": lambda: audits.observe(path),
        "lock": lambda: audits.lock(path),
        "confirm": lambda: audits.observe(path),
        "assess": lambda: audits.assess(path),
    }
    return calls[stage]


def _memory(field: str) -> int:
    """Bytes that Linux reports of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) << 10


# --- all of them -------------------------------------------------------------------------------


def measure(stage: str, folder: Path, width: int) -> Measured:
    """Throw away what a stage made before, and run it in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    for path in (path for pattern in MADE.get(stage, ()) for path in folder.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = json.loads(_child("print_measured", stage, str(folder)).splitlines()[-1])
    d_in = json.loads((folder / "sae" / "cfg.json").read_text(encoding="utf-8"))["d_in"]
    weights = (stage in WITH_SAE) * (folder / "sae" / "sae_weights.safetensors").stat().st_size
    weights += (stage in WITH_RANDOM) * width * d_in * 4
    return Measured(width, stage, found["seconds"], found["peak"], weights)


def _child(call: str, *arguments: str) -> str:
    code = CHILD.format(call=call, arguments=", ".join(map(repr, arguments)))
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{call}{arguments}: {done.stderr[-2000:]}")
    return done.stdout


def table_of(found: Sequence[Measured], d_in: int) -> Table:
    """Each stage by width."""
    rows = []
    last: dict[str, Measured] = {}
    for one in sorted(found, key=lambda m: (STAGES.index(m.stage), m.width)):
        before = last.get(one.stage)
        grown = before and math.log(one.seconds / before.seconds, one.width / before.width)
        last[one.stage] = one
        rows.append(
            (one.stage, one.width, round(one.seconds, 2), one.peak >> 20, one.weights >> 20,
             (one.peak - one.weights) >> 20, grown and round(grown, 2))
        )  # fmt: skip
    columns = ("stage", "latents", "CPU s", "memory, MiB", "weights, MiB", "rest, MiB", "exponent")
    note = NOTE.format(items=2 * GROUPS + BENIGN, d_in=d_in, l0=L0)
    return Table("Audits of wide SAEs", note, columns, tuple(rows))


def main() -> None:
    """Print a line for each stage and width; write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=STAGES)
    parser.add_argument("--folder", type=Path, help="keep the audits here")
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as place:
        for width in given.widths:
            folder = (given.folder or Path(place)).resolve() / str(width)
            if not (folder / "audit.yaml").exists():
                shutil.rmtree(folder, ignore_errors=True)
                _child("make_audit", str(folder), str(width))
            for stage in given.stages:
                found.append(measure(stage, folder, width))
                print(*table_of(found[-1:], 0).rows[0], flush=True)
            d_in = json.loads((folder / "sae" / "cfg.json").read_text("utf-8"))["d_in"]
            if given.folder is None:
                shutil.rmtree(folder)
    if given.out:
        write_results(given.out, "wide", [table_of(found, d_in)])


if __name__ == "__main__":
    main()
