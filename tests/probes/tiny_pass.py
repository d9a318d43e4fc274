"""One pass in miniature: items, a plan, and a reader of a tiny model and its SAEs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from compliance.probes.engine import observe, prepare_items
from compliance.probes.hooks import capture
from compliance.probes.random_sae import random_saes
from compliance.probes.sae import Sae, load_sae
from compliance.probes.shards import Shard
from compliance.probes.subject import Subject
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.audit import Claims, FeatureRef, SaeRef
from compliance.records.plan import Choices, LockedProbe, Plan, PlannedProbe, Splits
from compliance.records.subject import ModelFacts
from compliance.records.suite import Item, Label
from tests.probes.tiny import LAYERS, WIDTH, save_tiny_sae, tiny_model, tiny_tokenizer

WORDS = {
    "en": ("apple", "stone", "river", "cloud", "paper", "tiger", "music", "field"),
    "ja": ("りんご", "石", "川", "雲", "紙", "虎", "音楽", "野原"),
}
SEED = 1
MODEL = ModelFacts(
    name="tiny", architecture="LlamaForCausalLM", weights_digest="sha256:0",
    tokenizer_digest="sha256:0", parameters=1, layers=LAYERS, d_model=WIDTH, dtype="float32",
    chat_template=True,
)  # fmt: skip


def tiny_sae(folder: Path, architecture: str = "jumprelu", **options: object) -> Sae:
    """An SAE, written to ``folder`` and loaded."""
    save_tiny_sae(folder, architecture, **options)
    return load_sae(SaeRef(path=str(folder)), Path("."))


def tiny_reader(*saes: Sae, family: str = "llama", model: object = None) -> Reader:
    """A reader of a tiny model by the given SAEs."""
    subject = Subject(model=model or tiny_model(family), tokenizer=tiny_tokenizer(), facts=MODEL)
    return Reader(subject, saes, random_saes(saes, SEED))


def make_item(name: str, label: str = "negative", **values: object) -> Item:
    """An item; ``turns`` are pairs of role and content."""
    turns = values.pop("turns", ())
    plain = {
        "id": name, "group": name, "label": Label(label), "language": "en",
        "concept": None if label == "negative" else "danger",
        "messages": [{"role": role, "content": content} for role, content in turns] or None,
        "origin": "authored", "source": "made for tests", "licence": "CC0-1.0",
    }  # fmt: skip
    return Item.model_validate(plain | values)


def some_items(count: int = 6) -> list[Item]:
    """Prompts and dialogues of many lengths in two languages, of each label."""
    items = []
    for language, words in WORDS.items():
        for n in range(count):
            text = " ".join(words[(3 * n + i) % len(words)] for i in range(1 + n % 4))
            reply = words[n % len(words)] * (1 + n % 3)
            for label in (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE):
                name = f"{label}-{n}-{language}"
                turns = (("user", f"{label} {text}"), ("assistant", reply))
                one = {"turns": turns} if n % 2 else {"text": f"{text} {label} {n}"}
                items.append(make_item(name, label, language=language, **one))
    return items


def make_plan(
    reader: Reader, *, region: str = "user", pooling: str = "max", features: object = "discover",
    concepts: Sequence[str] = ("danger",), **values: object,
) -> Plan:  # fmt: skip
    """A plan that reads every concept in the same region."""
    probes = tuple(
        PlannedProbe(concept=concept, title=concept, definition="A test concept.",
                     features=features, region=region, pooling=pooling)
        for concept in concepts
    )  # fmt: skip
    plain = {
        "software": "test", "model": MODEL, "saes": tuple(sae.facts for sae in reader.saes),
        "suites": (), "probes": probes, "languages": tuple(WORDS), "cells": (),
        "claims": Claims(), "rules": (), "controls": (), "splits": Splits(), "alpha": 0.1,
        "bootstrap_draws": 200, "batch_tokens": 256, "seed": SEED,
    }  # fmt: skip
    return Plan.model_validate(plain | values)


def locked(*features: tuple[int, int], concept: str = "danger") -> LockedProbe:
    """A probe of (sae, latent) pairs."""
    refs = tuple(FeatureRef(sae=sae, latent=latent) for sae, latent in features)
    return LockedProbe(concept=concept, features=refs)


def chosen(*probes: LockedProbe, **others: object) -> Choices:
    """Choices with these probes and, unless given, nothing else."""
    plain = {
        "probes": probes, "random_probes": (), "permuted_probes": (), "directions": (),
        "sparse_probes": (), "random_latents": (), "neighbours": (), "shifted_languages": {},
    }  # fmt: skip
    return Choices.model_validate(plain | others)


def silent(done: int, total: int, left: float | None) -> None:
    """Tell nobody how far it is."""


def run_pass(
    items: Sequence[Item], task: Task, reader: Reader, folder: Path, pictures: object = None
) -> list[Shard]:
    """Every shard of a pass."""
    work = prepare_items(items, reader.subject, pictures)
    return list(observe(work, task, reader, folder, silent))


def scores_of(
    shards: Sequence[Shard], task: Task, scorer: str = "probe", probe: int = 0
) -> dict[str, float]:
    """Score by item."""
    return {
        str(shard.items[int(i)]): float(value)
        for shard in shards
        for i, p, k, value in shard.scores
        if (int(p), task.scorers[int(k)]) == (probe, scorer)
    }


def states_of(prepared: Prepared, reader: Reader, hook_name: str) -> torch.Tensor:
    """What the model holds for one item alone, [position, d]."""
    ids = torch.tensor([prepared.ids])
    return capture(reader.subject.model, ids, None, [hook_name])[hook_name][0]
