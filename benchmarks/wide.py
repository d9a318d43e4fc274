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

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import Table, write_results
from benchmarks.stages import Took, ask, command, exponent, run_all

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

NOTE = """An audit of {items} short texts with a model of width 32 and a jumprelu SAE of random
weights with an L0 of about {l0}. Each stage ran in a process of its own; seconds are of the
processor. Memory is the largest resident set above what the process held before it opened the SAE.
Weights are those of the SAE and, in `fit` and `confirm`, the directions of its random counterpart;
the rest is memory less weights. The exponent says how seconds grow from one width to the next: 1.00
is linear."""


class Measured(NamedTuple):
    """What one stage took at one width."""

    took: Took
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


def prepared(stage: str, place: str) -> Callable[[], object]:
    """The stage as a call, with everything but the SAE imported and loaded."""
    import compliance.assessment.assess
    import compliance.probes.features
    import compliance.workflow.passes  # noqa: F401
    from compliance.documents import read_yaml
    from compliance.probes.sae import load_sae
    from compliance.probes.subject import load_subject
    from compliance.records.audit import AuditConfig
    from compliance.workflow import audits

    folder = Path(place)
    path = folder / "audit.yaml"
    config = read_yaml(path, AuditConfig)
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


# --- all of them -------------------------------------------------------------------------------


def weights_of(took: Took, folder: Path) -> int:
    """Bytes of the weights that a stage needs."""
    path = folder / "sae"
    d_in = json.loads((path / "cfg.json").read_text(encoding="utf-8"))["d_in"]
    of_sae = (path / "sae_weights.safetensors").stat().st_size
    return (took.stage in WITH_SAE) * of_sae + (took.stage in WITH_RANDOM) * took.size * d_in * 4


def rows(found: Sequence[Measured]) -> Iterator[tuple[str | int | float | None, ...]]:
    """Of the table: each stage by width."""
    last: dict[str, Took] = {}
    for took, weights in sorted(found, key=lambda m: (STAGES.index(m.took.stage), m.took.size)):
        before, memory = last.get(took.stage), took.peak - took.before
        last[took.stage] = took
        yield (took.stage, took.size, round(took.seconds, 2), memory >> 20, weights >> 20,
               (memory - weights) >> 20, before and round(exponent(before, took), 2))  # fmt: skip


def table(found: Sequence[Measured]) -> Table:
    """The table with what its numbers mean."""
    columns = ("stage", "latents", "CPU s", "memory, MiB", "weights, MiB", "rest, MiB", "exponent")
    note = NOTE.format(items=2 * GROUPS + BENIGN, l0=L0)
    return Table("Audits of wide SAEs", note, columns, tuple(rows(found)))


def main() -> None:
    """Print a line for each stage and width; write the table where asked."""
    given = ask(str(__doc__), "widths", WIDTHS, STAGES)
    found = []
    for folder, took in run_all("benchmarks.wide", given):
        found.append(Measured(took, weights_of(took, folder)))
        print(*next(rows(found[-1:])), flush=True)
    if given.out:
        again = command("benchmarks.wide", "widths", given)
        write_results(given.out, "wide", [table(found)], command=again)


if __name__ == "__main__":
    main()
