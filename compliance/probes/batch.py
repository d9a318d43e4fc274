"""One batch: a forward pass up to the deepest hook, and everything that is read from it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compliance.probes.hooks import capture
from compliance.probes.inputs import model_inputs, own_states
from compliance.probes.reading import Reading, joined
from compliance.probes.rows import Rows
from compliance.probes.scoring import random_regions
from compliance.probes.shards import Shard
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared


def observe_batch(
    batch: Sequence[Prepared], task: Task, reader: Reader,
    inputs: Mapping[str, Tensor] | None = None,
) -> Shard:  # fmt: skip
    """One forward pass up to the deepest hook, and everything that is read from it.

    ``inputs`` are what `model_inputs` gives for the batch, where they were made ahead.
    """
    rows = Rows(task, reader)
    readings = (
        Reading(prepared, states, reader, task.plan.sink_norm_ratio)
        for prepared, states in zip(batch, states_of(batch, reader, inputs), strict=True)
    )
    for reading in joined(readings, task.watched, lambda item: random_regions(item, task)):
        rows.add(reading)
    return rows.shard()


def states_of(
    batch: Sequence[Prepared], reader: Reader, inputs: Mapping[str, Tensor] | None = None
) -> list[dict[str, Tensor]]:
    """Each item's own rows at every hook, ``[tokens, d]`` float32, of one forward pass."""
    subject = reader.subject
    inputs = dict(inputs or model_inputs(batch, subject))
    ids, mask = inputs.pop("input_ids", None), inputs.pop("attention_mask", None)
    with torch.inference_mode():
        captured = capture(subject.model, ids, mask, reader.hook_names, **inputs)
    own = {hook: own_states(values, hook, batch, subject) for hook, values in captured.items()}
    return [{hook: values[i] for hook, values in own.items()} for i in range(len(batch))]
