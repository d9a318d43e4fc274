"""The reference mode beside a run's own: float32 on the CPU, with the same weights and SAEs.

A run in another number format or on another device gives other digits. How far they lie apart is
measured on some items of every such run; each is read on its own in both modes::

    reference = reference_reader(reader, config, folder, pictures=False)
    row = compare(prepared, task, reader, reference)

Weights that are stored in float32 are rounded by a run in bfloat16 and not by the reference, so
that rounding them counts as deviation too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.batch import states_of
from compliance.probes.reading import ENCODED_AT_ONCE, Reading
from compliance.probes.sae import Sae
from compliance.probes.scoring import probe_score
from compliance.probes.subject import load_subject
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.audit import SubjectConfig
from compliance.records.plan import PlannedProbe, region_in
from compliance.records.subject import REFERENCE_MODE

BYTES = 4
"""Of one number of the reference mode."""


def reference_reader(
    reader: Reader, config: SubjectConfig, folder: Path, *, pictures: bool
) -> Reader:
    """The same subject and SAEs in the reference mode. An SAE on the CPU is not copied.

    Args:
        reader: What the run reads with.
        config: What ``audit.yaml`` says of the subject.
        folder: The folder of ``audit.yaml``, which a local path is relative to.
        pictures: Whether the subject will be shown any.

    Raises:
        SubjectError: The subject cannot be loaded again.
        ProbeError: It is no longer the one that the run reads.
    """
    dtype, device = REFERENCE_MODE
    wanted = config.model_copy(update={"dtype": dtype, "device": device})
    subject = load_subject(wanted, folder, pictures=pictures)
    if subject.facts.weights_digest != reader.subject.facts.weights_digest:
        raise ProbeError(
            f"{subject.facts.name}: its weights are not those that the run was made with",
            hint="put the weights back that were planned",
        )
    saes = tuple(replace(sae, tensors=_on(device, sae)) for sae in reader.saes)
    return Reader(subject, saes)


def refuse_little_memory(reader: Reader) -> None:
    """Refuse a run whose model would not fit in memory a second time, before hours of work.

    What this machine has in all is looked at, where it says so; not what others use of it, and not
    a container's own limit.

    Raises:
        ProbeError: The copy in float32 is larger than what is left beside the run's own tensors.
    """
    there = _physical_memory()
    needed = BYTES * (reader.subject.facts.parameters + sum(
        tensor.numel() for tensor in _tensors(reader) if tensor.device.type != "cpu"
    ))  # fmt: skip
    held = sum(p.nbytes for p in reader.subject.model.parameters() if p.device.type == "cpu")
    held += sum(tensor.nbytes for tensor in _tensors(reader) if tensor.device.type == "cpu")
    if there is not None and needed + held > there:
        raise ProbeError(
            f"the copy of {reader.subject.facts.name} in float32 on the CPU, which this run is "
            f"compared with, takes {needed / 1e9:.1f} GB; of {there / 1e9:.1f} GB in this machine "
            f"{held / 1e9:.1f} GB are taken by the run itself",
            hint="run where it fits: the deviation of another number format or device is measured "
            "in every run that uses one",
        )


def compare(
    prepared: Prepared, task: Task, reader: Reader, reference: Reader
) -> dict[str, Any] | None:
    """One item on its own in both modes: PRECISION_COLUMNS without ``batched``.

    Args:
        prepared: With a concept that is planned.
        task: With the locked probes.
        reader: In the run's mode.
        reference: In the reference mode.

    Returns:
        None where no token is left in one of the modes.
    """
    item, ratio = prepared.item, task.plan.sink_norm_ratio
    probe = next(p for p in task.plan.probes if p.concept == item.concept)
    here, there = (
        Reading(prepared, states_of([prepared], one)[0], one, ratio) for one in (reader, reference)
    )
    if not (_is_read(here, probe) and _is_read(there, probe)):
        return None
    firings, flipped = 0, 0
    moved = [0.0]
    for ours, theirs in zip(reader.saes, reference.saes, strict=True):
        hook = ours.facts.hook_name
        both = sorted(set(here.kept[hook]) & set(there.kept[hook]))
        x, y = here.states[hook][both], there.states[hook][both]
        fired = [_counted(pair) for pair in zip(_fires(ours, x), _fires(theirs, y), strict=True)]
        firings += sum(either for either, _ in fired)
        flipped += sum(one for _, one in fired)
        moved.append(_moved(x, y))
    return {
        "item": item.id,
        "concept": probe.concept,
        "reference": float(np.float32(probe_score(there, probe, task))),
        "firings": firings,
        "flipped": flipped,
        "activation": max(moved),
    }


def _is_read(reading: Reading, probe: PlannedProbe) -> bool:
    return reading.has(region_in(probe.region, reading.item.modality))


def _fires(sae: Sae, x: Tensor) -> Iterator[Tensor]:
    """Which latents fire on each token, a few tokens at a time: on the CPU, ``[rows, d_sae]``."""
    rows = max(1, ENCODED_AT_ONCE // sae.facts.d_sae)
    for part in x.split(rows):
        yield (sae.encode(part) != 0).cpu()


def _counted(pair: Sequence[Tensor]) -> tuple[int, int]:
    """Pairs of token and latent that fired in one of the modes at least, and in one only."""
    here, there = pair
    return int((here | there).sum()), int((here ^ there).sum())


def _moved(x: Tensor, y: Tensor) -> float:
    """The largest |x - y| over the root mean square of y, in float64."""
    if not len(y):
        return 0.0
    ours, theirs = (one.cpu().double() for one in (x, y))
    scale = float(theirs.square().mean().sqrt())
    return float((ours - theirs).abs().max()) / scale if scale > 0 else 0.0


def _on(device: str, sae: Sae) -> Mapping[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in sae.tensors.items()}


def _tensors(reader: Reader) -> Iterator[Tensor]:
    for sae in reader.saes:
        yield from sae.tensors.values()


def _physical_memory() -> int | None:
    """Bytes; None where the machine does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such name, or another system
        return None
