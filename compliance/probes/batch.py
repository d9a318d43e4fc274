"""One batch: a forward pass up to the deepest hook, and everything that is read from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compliance.probes.hooks import capture
from compliance.probes.inputs import model_inputs, own_states
from compliance.probes.reading import Reading
from compliance.probes.rows import Rows
from compliance.probes.shards import Shard
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared


def observe_batch(batch: Sequence[Prepared], task: Task, reader: Reader) -> Shard:
    """One forward pass up to the deepest hook, and everything that is read from it."""
    rows = Rows(task, reader)
    for prepared, states in zip(batch, states_of(batch, reader), strict=True):
        rows.add(Reading(prepared, states, reader, task.plan.sink_norm_ratio))
    return rows.shard()


def states_of(batch: Sequence[Prepared], reader: Reader) -> list[dict[str, Tensor]]:
    """Each item's own rows at every hook, ``[tokens, d]`` float32, of one forward pass."""
    inputs, subject = model_inputs(batch, reader.subject), reader.subject
    ids, mask = inputs.pop("input_ids", None), inputs.pop("attention_mask", None)
    with torch.inference_mode():
        captured = capture(subject.model, ids, mask, reader.hook_names, **inputs)
    own = {hook: own_states(values, hook, batch, subject) for hook, values in captured.items()}
    return [{hook: values[i] for hook, values in own.items()} for i in range(len(batch))]
