"""How a text and a choice of two replies look to two models: before a change and after it.

    tokens, before, after, divergence = text_sums(prepared, plain, changed_arm, ratio)
    before, after = choice_odds(item, preparer, plain, changed_arm, ratio)

Each input is run whole and on its own by either model. Predicted tokens are content, each from the
position before it. Sums are in nats and float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from compliance.errors import ProbeError
from compliance.probes.effects import with_reply
from compliance.probes.generating import Arm, changed_places
from compliance.probes.inputs import Preparer
from compliance.probes.interventions import changed
from compliance.probes.losses import PREDICTED_AT_ONCE
from compliance.probes.tokens import Prepared
from compliance.records.suite import Item


def text_sums(
    prepared: Prepared, before: Arm, after: Arm, sink_norm_ratio: float
) -> tuple[int, float, float, float]:
    """Predicted tokens of a text, cross-entropy before and after, and KL from before to after.

    Args:
        prepared: The text.
        before: Unchanged.
        after: Changed, or another model of the same vocabulary.
        sink_norm_ratio: Of the plan.

    Raises:
        ProbeError: No token is predicted, or a number is not finite.
    """
    targets = [t for t in prepared.regions["read"] if t > 0]
    if not targets:
        raise ProbeError(f"item {prepared.item.id}: no token of its content is predicted")
    runs = [_logits(prepared, arm, sink_norm_ratio) for arm in (before, after)]
    found = torch.zeros(3, dtype=torch.float64)
    at_once = max(1, PREDICTED_AT_ONCE // runs[0].shape[-1])
    for part in torch.tensor(targets).split(at_once):
        expected = torch.tensor(prepared.ids)[part].to(runs[0].device)[:, None]
        plain, other = (log_softmax(run[part - 1].double(), dim=-1) for run in runs)
        losses = [-one.gather(-1, expected).sum() for one in (plain, other)]
        found += torch.stack([*losses, (plain.exp() * (plain - other)).sum()]).cpu()
    loss, later, divergence = found.tolist()
    _refuse_infinite(prepared.item, (loss, later, divergence))
    return len(targets), loss, later, divergence


def choice_odds(
    item: Item, preparer: Preparer, before: Arm, after: Arm, sink_norm_ratio: float
) -> tuple[float, float]:
    """Log p of an item's first choice less log p of the other, before and after.

    Each sum goes from the first token in which the two inputs differ to the reply's last.

    Raises:
        ProbeError: It cannot be read, one reply begins as the other and ends there, or a number is
            not finite.
    """
    if item.choices is None:
        raise ValueError(f"item {item.id} has no choices")
    both = [
        preparer.prepare(with_reply(item, reply))
        for reply in (item.choices.concept, item.choices.other)
    ]
    spans = _apart(item, both)
    found = []
    for arm in (before, after):
        ours, theirs = (
            _likelihood(prepared, targets, _logits(prepared, arm, sink_norm_ratio))
            for prepared, targets in zip(both, spans, strict=True)
        )
        found.append(ours - theirs)
    _refuse_infinite(item, found)
    return found[0], found[1]


def _apart(item: Item, both: Sequence[Prepared]) -> list[list[int]]:
    ids = [prepared.ids for prepared in both]
    pairs = enumerate(zip(*ids, strict=False))
    first = next((t for t, (one, other) in pairs if one != other), min(map(len, ids)))
    spans = [[t for t in prepared.regions["assistant"] if t >= first] for prepared in both]
    if not all(spans):
        raise ProbeError(
            f"item {item.id}: one of its replies begins as the other and ends there",
            hint="give replies that differ in a word of both",
        )
    return spans


def _likelihood(prepared: Prepared, targets: Sequence[int], logits: Tensor) -> float:
    places = torch.tensor(targets)
    expected = torch.tensor(prepared.ids)[places].to(logits.device)[:, None]
    found = log_softmax(logits[places - 1].double(), dim=-1)
    return float(found.gather(-1, expected).sum())


@torch.inference_mode()
def _logits(prepared: Prepared, arm: Arm, sink_norm_ratio: float) -> Tensor:
    """``[position, vocabulary]`` of an input on its own."""
    model = arm.reader.subject.model
    ids = torch.tensor([prepared.ids], device=model.device)
    if arm.change is None:
        return model(input_ids=ids, use_cache=False).logits[0]
    places = changed_places(prepared, arm, sink_norm_ratio)
    with changed(arm.reader, [arm.change], [places]):
        return model(input_ids=ids, use_cache=False).logits[0]


def _refuse_infinite(item: Item, values: Sequence[float]) -> None:
    if not torch.tensor(values, dtype=torch.float64).isfinite().all():
        raise ProbeError(f"item {item.id}: the model's output is not finite")
