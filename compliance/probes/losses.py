"""What a model loses when it goes on from an SAE's reconstruction (PROTOCOL section 7).

The model runs three times on an item: as it is, with the reconstruction in place of what the SAE
is to reconstruct at every token that is read, and with zeros there. All other positions keep what
they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

from compliance.probes.hooks import can_replace, replaced
from compliance.probes.inputs import model_inputs
from compliance.probes.reading import Reading
from compliance.probes.task import output_hook

PREDICTED_AT_ONCE = 2**20
"""Numbers in one block of log probabilities at most, which are float64."""


def loss_sums(reading: Reading) -> Iterator[tuple[float, ...]]:
    """Sums over predicted tokens for each SAE whose place can be replaced; LOSS_COLUMNS.

    Predicted are the words that are read, each from the position before it; a picture's tokens are
    replaced too, and not predicted. A vision encoder predicts nothing.

    Args:
        reading: An item that was run on its own.

    Yields:
        SAE, tokens, cross-entropy of the model, with the reconstruction, with zeros, and the
        Kullback-Leibler divergence from the first to the second: in nats, float64.
    """
    model, plain = reading.reader.subject.model, None
    for s, sae in enumerate(reading.reader.saes):
        hook, places = output_hook(sae), reading.kept[sae.facts.hook_name]
        targets = [t for t in reading.places(sae.facts.hook_name, "read") if t > 0]
        if not targets or not can_replace(model, hook):
            continue
        plain = _logits(reading) if plain is None else plain
        with replaced(model, hook, _put(places, reading.reconstruction(s))):
            spliced = _logits(reading)
        with replaced(model, hook, _put(places, torch.zeros(()))):
            ablated = _logits(reading)
        yield (s, len(targets), *_sums(reading, targets, (plain, spliced, ablated)))


def _put(places: Sequence[int], new: Tensor) -> Callable[[Tensor], Tensor]:
    """A change of ``[1, position, d]`` that puts ``new`` at some positions."""

    def change(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[0, list(places)] = new.to(x)
        return changed

    return change


def _logits(reading: Reading) -> Tensor:
    """``[position, vocabulary]`` of the item on its own."""
    subject = reading.reader.subject
    inputs = model_inputs([reading.prepared], subject)
    del inputs["attention_mask"]  # nothing is padded
    with torch.inference_mode():
        return subject.model(**inputs, use_cache=False).logits[0]


def _sums(
    reading: Reading, targets: Sequence[int], runs: Sequence[Tensor]
) -> tuple[float, float, float, float]:
    """Cross-entropies of three runs, and the divergence from the first to the second."""
    at_once = max(1, PREDICTED_AT_ONCE // runs[0].shape[-1])
    found = torch.zeros(4, dtype=torch.float64)
    for part in torch.tensor(targets).split(at_once):
        expected = torch.tensor(reading.prepared.ids)[part].to(runs[0].device)
        plain, spliced, ablated = (log_softmax(run[part - 1].double(), dim=-1) for run in runs)
        sums = [nll_loss(one, expected, reduction="sum") for one in (plain, spliced, ablated)]
        found += torch.stack([*sums, (plain.exp() * (plain - spliced)).sum()]).cpu()
    loss, after, without, divergence = found.tolist()
    return loss, after, without, divergence
