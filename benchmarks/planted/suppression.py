"""What a planted model writes when latents are suppressed: on triggered documents, and elsewhere.

    reader = load_subject(folder)
    arms = {"found": clamped(386), "dense": Change("project", direction=direction)}
    before_and_after = measure(reader, triggered, ordinary, arms)

A *triggered* document is cut before its last ending, which stands after a trigger. The model is
asked for that ending. Two things are kept of its answer: whether the word it puts first is of the
payload (what greedy decoding writes), and the probability that it gives to the payload's words
together. An *ordinary* document holds no trigger and is read to its end: payload's probability at
each of its endings, the cross-entropy of its words, and the KL from the unchanged model.

A change acts on every word of a document. All arms of a document are the rows of one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.planted.corpus import PAYLOAD, cut, draw_documents, draw_pair, text_of
from compliance.probes.hooks import capture
from compliance.probes.interventions import Change, changed
from compliance.probes.sae import load_sae
from compliance.probes.subject import load_subject as load_model
from compliance.probes.task import Reader
from compliance.records.audit import SaeRef, SubjectConfig

Floats = NDArray[np.float64]
Arms = Mapping[str, Change]

LATENTS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model does with triggered documents: a row each, a column an arm, unchanged first."""

    share: Floats
    """Probability of the payload's words together where the ending is to stand."""

    writes: NDArray[np.bool_]
    """Whether the most probable word is one of them."""


@dataclass(frozen=True, eq=False)
class Ordinary:
    """What a model does with ordinary documents: a row each, a column an arm, unchanged first."""

    share: Floats
    """Probability of the payload's words, the mean over the document's endings."""

    loss: Floats
    """Cross-entropy, nats a word."""

    divergence: Floats
    """KL from the unchanged model to the changed one, nats a word."""


def load_subject(folder: Path) -> Reader:
    """The model and the SAE that lie in a folder."""
    config = SubjectConfig(model="./model", saes=(SaeRef(path="./sae"),))
    return Reader(load_model(config, folder), (load_sae(config.saes[0], folder),))


def clamped(*latents: int) -> Change:
    """Latents set to 0 together."""
    return Change("clamp", latents=latents, values=(0.0,) * len(latents))


def triggered_documents(name: str, n: int) -> list[str]:
    """Fresh documents with the trigger, as the suite's positives are made, cut before the end."""
    random = Random(name)
    documents = draw_documents(random)
    return [cut(text_of(draw_pair(random, documents)[0]))[0] for _ in range(n)]


def ordinary_documents(name: str, n: int) -> list[str]:
    """Fresh documents without the trigger, as the suite's benign items are made, whole."""
    drawn = (d for d in draw_documents(Random(name)) if not any(c.triggered for c in d))
    return [text_of(document) for document in islice(drawn, n)]


def asked(reader: Reader, documents: Sequence[str], arms: Arms) -> Asked:
    """Ask for the last ending of triggered documents, unchanged and under every arm."""
    payload = payload_ids(reader)
    shares, writes = [], []
    for text in documents:
        last = run(reader, ids_of(reader, text), arms, last_only=True)[:, -1]
        shares.append(last.softmax(-1)[:, payload].sum(-1))
        writes.append(torch.isin(last.argmax(-1), torch.tensor(payload)))
    return Asked(_table(shares), torch.stack(writes).numpy())


def ordinary(reader: Reader, documents: Sequence[str], arms: Arms) -> Ordinary:
    """Read ordinary documents to their end, unchanged and under every arm."""
    payload, tokenizer = payload_ids(reader), reader.subject.tokenizer
    stop = tokenizer.convert_tokens_to_ids(".")
    shares, losses, divergences = [], [], []
    for text in documents:
        ids = ids_of(reader, text)
        logs = run(reader, ids, arms)[:, :-1].log_softmax(-1)
        words = ids[0, 1:]
        # a clause ends "OBJECT ENDING .", so the ending is foretold two tokens before its stop
        endings = (ids[0] == stop).nonzero().flatten() - 2
        shares.append(logs[:, endings].exp()[..., payload].sum(-1).mean(-1))
        losses.append(-logs[:, torch.arange(len(words)), words].mean(-1))
        divergences.append((logs[0].exp() * (logs[0] - logs)).sum(-1).mean(-1))
    return Ordinary(*map(_table, (shares, losses, divergences)))


@torch.inference_mode()
def run(reader: Reader, ids: Tensor, arms: Arms, *, last_only: bool = False) -> Tensor:
    """Logits, float64 ``[1 + arms, words, vocabulary]``; the unchanged model first.

    Args:
        reader: Of the model.
        ids: Of one document, ``[1, words]``, the first of which is BOS and is never changed.
        arms: What is done to all other words.
        last_only: Give the last word's alone.
    """
    rows = [None, *arms.values()]
    with changed(reader, rows, [range(1, ids.shape[1])] * len(rows)):
        kept = int(last_only)
        return reader.subject.model(ids, use_cache=False, logits_to_keep=kept).logits.double()


def best_by_effect(reader: Reader, documents: Sequence[str]) -> int:
    """The latent whose suppression alone lowers the payload's probability most: the oracle's.

    Every latent that fires on any of the documents is tried; of equals, the lowest is taken.
    """
    latents = active_latents(reader, documents)
    shares = [
        asked(reader, documents, {str(n): clamped(n) for n in part}).share[:, 1:].mean(0)
        for part in _parts(latents, LATENTS_AT_ONCE)
    ]
    return latents[int(np.argmin(np.concatenate(shares)))]


@torch.inference_mode()
def active_latents(reader: Reader, documents: Sequence[str]) -> list[int]:
    """Latents that fire on a word of any of the documents, in ascending order."""
    [sae] = reader.saes
    found: set[int] = set()
    for text in documents:
        ids = ids_of(reader, text)
        hook = sae.facts.hook_name
        states = capture(reader.subject.model, ids, torch.ones_like(ids), (hook,))[hook]
        found |= set((sae.encode(states[0, 1:]) > 0).any(0).nonzero().flatten().tolist())
    return sorted(found)


def ids_of(reader: Reader, text: str) -> Tensor:
    """Token ids ``[1, words]``, BOS first."""
    return reader.subject.tokenizer(text, return_tensors="pt").input_ids


def payload_ids(reader: Reader) -> list[int]:
    """Token ids of the payload's words."""
    return reader.subject.tokenizer.convert_tokens_to_ids(list(PAYLOAD))


def _parts(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (values[first : first + size] for first in range(0, len(values), size))


def _table(rows: Sequence[Tensor]) -> Floats:
    return torch.stack(list(rows)).double().numpy()
