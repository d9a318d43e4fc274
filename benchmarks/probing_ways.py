"""The ways that ``benchmarks.probing`` compares, each run in a process of its own.

    python -m benchmarks.probing_ways WAY FOLDER

reads a model and SAEs from the folder (`benchmarks.probing_made`), and for each line of its input,
a list of SAEs' names, runs all texts once and answers with a line of JSON:
for each SAE CPU seconds and the peak of memory above what was resident before, in MiB. Scores go to
``<way>, <sae>.npy`` in the folder. Only ``cache`` takes SAEs that read several places.

``cache``: ``HookedSAETransformer.run_with_cache`` and then ``sae.encode``, in batches of texts in
their order, padded to the longest. ``filtered``: the same, told to keep one place and to stop after
its layer, as SAELens' own training does (``stop_at_layer`` is the layer after the hook's).
``blocks``: the model's blocks up to the hook and nothing else, in the batches of our plan.
``watched``, ``search``, ``confirm``: passes of an audit, from text to shards on disk.
"""

from __future__ import annotations

import cProfile
import ctypes
import gc
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.probing_made import CONCEPT, SEED, Made, MadeSae, items_of, subject_in

PROFILED = 32
"""Texts at most."""

BATCH_TOKENS = 2048
"""Of our batches: what an audit takes where its author says nothing."""

RANDOM_LATENTS = 999
KEPT_NORM = 1e9
"""As a multiple of the median: no token is left out as an attention sink, as the peers do."""

CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """CPU seconds of this process, and its peak of memory above what it began with."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed is not at hand for this one
        self.before = _status("VmRSS")
        self.seconds = 0.0
        self.peak = 0.0

    def run(self, call: Callable[[], Any]) -> Any:
        CLEAR.write_text("5", encoding="ascii")  # lets the peak begin anew
        began = time.process_time()
        found = call()
        self.seconds += time.process_time() - began
        self.peak = max(self.peak, _status("VmHWM") - self.before)
        return found


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


class Way(Protocol):
    """Runs all texts once."""

    def run(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Cost of each SAE by its name."""

    def profile(self, names: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """Where a pass of ours spends its time; of no other way."""


class Peer:
    """SAELens on TransformerLens."""

    def __init__(self, folder: Path, way: str) -> None:
        from sae_lens import HookedSAETransformer
        from transformer_lens import HookedTransformerConfig
        from transformer_lens.pretrained.weight_conversions import (
            convert_gpt2_weights,
            convert_llama_weights,
        )
        from transformers import AutoModelForCausalLM

        self.folder, self.way, self.made = folder, way, Made.read_from(folder)
        theirs = AutoModelForCausalLM.from_pretrained(self.made.model, dtype=torch.float32)
        is_gpt2 = theirs.config.model_type == "gpt2"
        settings = _gpt2_settings(theirs.config) if is_gpt2 else _llama_settings(theirs.config)
        config = HookedTransformerConfig(**settings, device="cpu", init_weights=False)
        self.model = HookedSAETransformer(config)
        convert = convert_gpt2_weights if is_gpt2 else convert_llama_weights
        # Nothing is folded or centred: the same weights, so that the numbers can be compared.
        self.model.load_and_process_state_dict(
            convert(theirs, config), fold_ln=False, center_writing_weights=False,
            center_unembed=False, fold_value_biases=False,
        )  # fmt: skip
        self.model.eval().requires_grad_(False)

    @torch.inference_mode()
    def run(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        from sae_lens import SAE

        made = {name: self.made.saes[name] for name in names}
        saes = {name: SAE.load_from_disk(sae.path, device="cpu") for name, sae in made.items()}
        for sae in saes.values():
            sae.eval().requires_grad_(False)
        self._warm_up(made, saes)
        forward, encode = Meter(), {name: Meter() for name in names}
        scores: dict[str, list[Tensor]] = {name: [] for name in names}
        deepest = made[names[-1]].hook
        together = self.made.together
        for first in range(0, len(self.made.ids), together):
            ids, read = self._batch(slice(first, first + together))
            cache = forward.run(lambda ids=ids: self._forward(ids, deepest))
            for name, sae in saes.items():
                x = cache[made[name].hook]
                latents = encode[name].run(lambda sae=sae, x=x: sae.encode(x))
                scores[name].append(_largest(latents, read))
                del latents
            del cache
        for name in names:
            self._save(name, torch.cat(scores[name]))
        return {
            name: {
                "seconds": forward.seconds + meter.seconds,
                "mib": max(forward.peak, meter.peak),
            }
            for name, meter in encode.items()
        }

    def _warm_up(self, made: Mapping[str, MadeSae], saes: Mapping[str, Any]) -> None:
        for name, sae in saes.items():
            ids = torch.tensor([self.made.ids[0]])
            sae.encode(self._forward(ids, made[name].hook)[made[name].hook])

    def _forward(self, ids: Tensor, hook: str) -> Any:
        more = {}
        if self.way == "filtered":
            more = {"names_filter": [hook], "stop_at_layer": int(hook.split(".")[1]) + 1}
        return self.model.run_with_cache(ids, **more)[1]

    def _batch(self, places: slice) -> tuple[Tensor, Tensor]:
        """Token ids, and where a text's own tokens stand, ``[texts, position]``."""
        rows, own = self.made.ids[places], self.made.read[places]
        ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
        read = torch.zeros(ids.shape, dtype=torch.bool)
        for i, (row, positions) in enumerate(zip(rows, own, strict=True)):
            ids[i, : len(row)] = torch.tensor(row)
            read[i, list(positions)] = True
        return ids, read

    def _save(self, name: str, scores: Tensor) -> None:
        watched = list(self.made.saes[name].watched)
        _save(self.folder, self.way, name, scores[:, watched])
        if self.way == "filtered":
            _save(self.folder, "all", name, scores)


def _gpt2_settings(config: Any) -> dict[str, Any]:
    return {
        "n_layers": config.n_layer, "d_model": config.n_embd, "n_heads": config.n_head,
        "d_head": config.n_embd // config.n_head, "d_mlp": 4 * config.n_embd,
        "n_ctx": config.n_positions, "d_vocab": config.vocab_size, "act_fn": "gelu_new",
        "normalization_type": "LN", "eps": config.layer_norm_epsilon,
        "original_architecture": "GPT2LMHeadModel",
    }  # fmt: skip


def _llama_settings(config: Any) -> dict[str, Any]:
    head = config.hidden_size // config.num_attention_heads
    return {
        "n_layers": config.num_hidden_layers, "d_model": config.hidden_size,
        "n_heads": config.num_attention_heads, "d_head": head, "d_mlp": config.intermediate_size,
        "n_key_value_heads": config.num_key_value_heads, "n_ctx": 2048,
        "d_vocab": config.vocab_size, "act_fn": "silu", "normalization_type": "RMS",
        "eps": config.rms_norm_eps, "positional_embedding_type": "rotary", "rotary_dim": head,
        "rotary_base": int(config.rope_parameters["rope_theta"]), "rotary_adjacent_pairs": False,
        "final_rms": True, "gated_mlp": True, "original_architecture": "LlamaForCausalLM",
    }  # fmt: skip


def _largest(latents: Tensor, read: Tensor) -> Tensor:
    """The largest of each latent over a text's own tokens: ``[texts, d_sae]``."""
    for i, own in enumerate(read):  # in place, so that the peer's peak is its own
        latents[i, ~own] = 0
    return latents.amax(dim=1)


def _save(folder: Path, way: str, name: str, scores: Tensor) -> None:
    np.save(folder / f"{way}, {name}.npy", scores.numpy())


class Blocks:
    """The floor: what every way has to run."""

    def __init__(self, folder: Path) -> None:
        from compliance.probes.engine import make_batches, prepare_items
        from compliance.probes.hooks import resolve
        from compliance.probes.inputs import model_inputs

        self.made = Made.read_from(folder)
        subject = subject_in(Path(self.made.model))
        self.body = subject.model.base_model
        path = resolve(subject.model, "blocks.0.hook_resid_pre").path
        self.parent, _, self.name = path.removesuffix(".0").rpartition(".")
        self.parent = subject.model.get_submodule(self.parent)
        self.blocks = getattr(self.parent, self.name)
        prepared = prepare_items(items_of(self.made.texts), subject)
        self.inputs = [
            model_inputs(batch.prepared(), subject)
            for batch in make_batches(prepared, BATCH_TOKENS)
        ]

    @torch.inference_mode()
    def run(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        setattr(self.parent, self.name, self.blocks[: self.made.saes[names[0]].blocks])
        first = {key: value[:1] for key, value in self.inputs[0].items()}
        self.body(**first, use_cache=False)
        meter = Meter()
        for inputs in self.inputs:
            meter.run(lambda inputs=inputs: self.body(**inputs, use_cache=False))
        return {name: {"seconds": meter.seconds, "mib": meter.peak} for name in names}


class Ours:
    """A pass of an audit."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self.way, self.made = folder, way, Made.read_from(folder)
        self.subject = subject_in(Path(self.made.model))

    def run(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        return {name: self._run(name) for name in names}

    def profile(self, names: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """Share of CPU time that is spent in each function itself, most first; of some texts."""
        found = {}
        for name in names:
            profile = cProfile.Profile(time.process_time)
            task, reader = self._audit(name)
            self._observe(self.made.texts[:1], task, reader)
            profile.runcall(self._observe, self.made.texts[:PROFILED], task, reader)
            found[name] = _own_shares(profile)
        return found

    def _run(self, name: str) -> dict[str, float]:
        task, reader = self._audit(name)
        self._observe(self.made.texts[:1], task, reader)
        meter = Meter()
        shards = meter.run(lambda: self._observe(self.made.texts, task, reader))
        if self.way == "watched":
            self._save_watched(name, shards, task)
        if self.way == "search":
            self._save_fired(name, shards)
        return {"seconds": meter.seconds, "mib": meter.peak}

    def _observe(self, texts: Sequence[str], task: Any, reader: Any) -> list[Any]:
        from compliance.probes.engine import Work, observe

        items = items_of(texts, labelled=self.way != "watched")
        with tempfile.TemporaryDirectory() as place:
            work = Work(items, self.subject)
            return list(observe(work, task, reader, Path(place), lambda *_: None))

    def _audit(self, name: str) -> tuple[Any, Any]:
        """Task and reader of an audit of one SAE."""
        from compliance.probes.random_sae import random_saes
        from compliance.probes.sae import load_sae
        from compliance.probes.task import Reader, Task
        from compliance.records.audit import SaeRef

        sae = load_sae(SaeRef(path=self.made.saes[name].path), Path("."))
        wide = self.way != "watched"
        reader = Reader(self.subject, (sae,), random_saes((sae,), SEED) if wide else ())
        watched = self.made.saes[name].watched
        concepts = [CONCEPT] if wide else [f"latent-{latent}" for latent in watched]
        plan = _plan(self.subject, sae, concepts)
        choices = None if self.way == "search" else _choices(concepts, watched, sae.facts)
        stage = "shifts" if self.way == "watched" else self.way
        return Task(plan, stage, choices, _weights(choices, sae.facts.d_in)), reader

    def _save_watched(self, name: str, shards: Sequence[Any], task: Any) -> None:
        scores = torch.zeros((len(self.made.texts), len(task.plan.probes)))
        for shard in shards:
            for place, probe, _, score in shard.scores:
                text = int(str(shard.items[int(place)])[1:])
                scores[text, int(probe)] = score
        _save(self.folder, self.way, name, scores)

    def _save_fired(self, name: str, shards: Sequence[Any]) -> None:
        from compliance.probes.sae import CONFIG_FILE

        config = json.loads((Path(self.made.saes[name].path) / CONFIG_FILE).read_text())
        scores = torch.zeros((len(self.made.texts), config["d_sae"]))
        for shard in shards:
            texts = np.array([int(str(item)[1:]) for item in shard.items])
            places = texts[shard.latents[:, 0]], shard.latents[:, 3]
            scores[places] = torch.from_numpy(shard.latent_scores)
        _save(self.folder, self.way, name, scores)


def _plan(subject: Any, sae: Any, concepts: Sequence[str]) -> Any:
    from compliance.records.audit import Claims
    from compliance.records.plan import Plan, PlannedProbe, Splits

    probes = tuple(
        PlannedProbe(concept=concept, title=concept, definition="Made.", features="discover",
                     region="user", pooling="max")
        for concept in concepts
    )  # fmt: skip
    return Plan(
        software="benchmark", model=subject.facts, saes=(sae.facts,), suites=(), probes=probes,
        languages=("en",), cells=(), claims=Claims(), rules=(), controls=(), splits=Splits(),
        alpha=0.1, bootstrap_draws=200, batch_tokens=BATCH_TOKENS, sink_norm_ratio=KEPT_NORM,
        seed=SEED,
    )  # fmt: skip


def _choices(concepts: Sequence[str], watched: Sequence[int], facts: Any) -> Any:
    """One latent a concept; of one concept also what a confirmation reads beside it."""
    from compliance.records.audit import FeatureRef
    from compliance.records.plan import Choices, Direction, LockedProbe, RandomLatents

    def probe(concept: str, latent: int) -> LockedProbe:
        return LockedProbe(concept=concept, features=(FeatureRef(latent=latent),))

    probes = tuple(probe(*pair) for pair in zip(concepts, watched, strict=False))
    wide = len(concepts) == 1
    drawn = np.random.default_rng(SEED).permutation(facts.d_sae)[:RANDOM_LATENTS]
    latents = tuple(FeatureRef(latent=int(latent)) for latent in drawn)
    directions = tuple(
        Direction(scorer=scorer, features=features, coefficients=(), bias=0.0, positives=1,
                  hard_negatives=1, concept=concepts[0], language="en")
        for scorer, features in (
            ("dense", f"residual/{facts.hook_name}"), ("reconstruction", "reconstruction/0"),
            ("error", "error/0"),
        )
    )  # fmt: skip
    return Choices(
        probes=probes,
        random_probes=(probe(concepts[0], 0),) if wide else (),
        permuted_probes=(probe(concepts[0], watched[-1]),) if wide else (),
        directions=directions if wide else (),
        sparse_probes=(),
        random_latents=(RandomLatents(concept=concepts[0], features=latents),) if wide else (),
        neighbours=(),
        shifted_languages={},
    )


def _weights(choices: Any, width: int) -> Mapping[Any, Any]:
    from compliance.statistics.logistic import Linear

    drawn = np.random.default_rng(SEED).standard_normal(width)
    directions = choices.directions if choices else ()
    return {(d.scorer, d.concept, d.variant): Linear(drawn, 0.0) for d in directions}


def _own_shares(profile: cProfile.Profile) -> list[tuple[str, float]]:
    found = pstats.Stats(profile).get_stats_profile()
    own = sorted(((f.tottime, name) for name, f in found.func_profiles.items()), reverse=True)
    return [(name, seconds / found.total_tt) for seconds, name in own]


WAYS: dict[str, Callable[[Path, str], Way]] = {
    "cache": Peer,
    "filtered": Peer,
    "blocks": lambda folder, _: Blocks(folder),
    "watched": Ours,
    "search": Ours,
    "confirm": Ours,
}


def answers(way: Way, lines: Iterator[str]) -> Iterator[str]:
    """A line of JSON for each line of JSON."""
    for line in lines:
        asked = json.loads(line)
        found = way.profile(asked["saes"]) if asked["profile"] else way.run(asked["saes"])
        yield json.dumps(found)


def main() -> None:
    """Answer until the input ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.set_num_threads(1)
    way = WAYS[name](folder, name)
    print("{}", file=out, flush=True)
    for line in answers(way, sys.stdin):
        print(line, file=out, flush=True)


if __name__ == "__main__":
    main()
