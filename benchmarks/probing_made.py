"""What ``benchmarks.probing`` measures on: a model, its SAEs and texts, made from a seed.

    made = make(Path("made"), SMALL)
    made.write(Path("made"))            # read by each way's own process: Made.read

Weights are random and of the shape of GPT-2 small, since cost does not depend on what a model has
learnt. The SAEs are random, too, and calibrated on the model's own activations, so that about
``Size.l0`` latents fire on a token, as in trained ones: cost does depend on that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from compliance.probes.engine import prepare_items
from compliance.probes.hooks import capture
from compliance.probes.inputs import model_inputs
from compliance.probes.subject import Subject, load_subject
from compliance.probes.tokens import Prepared
from compliance.records.audit import SaeRef, SubjectConfig
from compliance.records.suite import Item, Label

SEED = 20261123
ARCHITECTURES = ("standard", "jumprelu", "topk")
CONCEPT = "danger"
SHORTEST, LONGEST, USUAL = 20, 128, 60
"""Tokens of a text: log-normal about ``USUAL``, cut off at both ends."""

CALIBRATED_ON = 4096
"""Tokens at most."""

COLUMNS_AT_ONCE = 2048


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    layers: int = 12
    d_model: int = 768
    heads: int = 12
    vocabulary: int = 50_257
    d_sae: int = 24_576
    l0: int = 50
    texts: int = 256
    watched: int = 16
    hooks: tuple[int, ...] = (6, 11)
    """Blocks whose input is read."""

    architectures: tuple[str, ...] = ARCHITECTURES


FULL = Size()
QUICK = Size(layers=8, d_model=64, heads=4, vocabulary=512, d_sae=1024, l0=20, texts=48,
             watched=8, hooks=(6,), architectures=("jumprelu",))  # fmt: skip
"""Small enough for a test; says whether numbers agree, and nothing of cost."""


@dataclass(frozen=True)
class MadeSae:
    """One SAE to be measured."""

    path: str
    hook: str
    blocks: int
    """Blocks of the model that are run before what it reads is there."""

    architecture: str
    watched: tuple[int, ...]
    """Latents whose scores are asked for."""


@dataclass(frozen=True)
class Made:
    """What every way is given."""

    model: str
    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    """Tokens of each text as the subject sees it."""

    read: tuple[tuple[int, ...], ...]
    """Positions of each text's own tokens among them."""

    saes: Mapping[str, MadeSae]

    together: int = 32
    """Texts in one batch of the peers."""

    def write(self, folder: Path) -> None:
        """Write it for the other processes."""
        (folder / "made.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read_from(cls, folder: Path) -> Made:
        """Read what ``write`` wrote."""
        stored = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        saes = {
            name: MadeSae(**sae | {"watched": tuple(sae["watched"])})
            for name, sae in stored["saes"].items()
        }
        ids, read = (tuple(map(tuple, stored[name])) for name in ("ids", "read"))
        texts = tuple(stored["texts"])
        return cls(stored["model"], texts, ids, read, saes, stored["together"])


def make(folder: Path, size: Size) -> Made:
    """Write model and SAEs to a folder, and say what is to be read by them."""
    generator = torch.Generator().manual_seed(SEED)
    _save_model(folder / "model", size, generator)
    texts = tuple(_texts(size, generator))
    subject = subject_in(folder / "model")
    prepared = prepare_items(items_of(texts), subject)
    hooks = [f"blocks.{layer}.hook_resid_pre" for layer in size.hooks]
    states = _states(prepared, subject, hooks)
    saes = {}
    for layer, hook in zip(size.hooks, hooks, strict=True):
        encoder = _Encoder.drawn(states[hook], size, generator)
        for architecture in size.architectures:
            path = folder / f"sae-{layer}-{architecture}"
            encoder.save(path, architecture, hook)
            watched = encoder.some_firing(architecture, size.watched, generator)
            name = f"{architecture}, layer {layer}"
            saes[name] = MadeSae(str(path), hook, layer, architecture, watched)
    return made_of(folder / "model", texts, prepared, saes)


def made_of(
    model: Path, texts: Sequence[str], prepared: Sequence[Prepared], saes: Mapping[str, MadeSae]
) -> Made:
    """What every way is given of prepared texts."""
    return Made(
        model=str(model),
        texts=tuple(texts),
        ids=tuple(p.ids for p in prepared),
        read=tuple(p.regions["user"] for p in prepared),
        saes=saes,
    )


def subject_in(model: Path) -> Subject:
    """A subject loaded as an audit loads it."""
    config = SubjectConfig(model=str(model), saes=(SaeRef(path="."),))
    return load_subject(config, model.parent, pictures=False)


def items_of(texts: Sequence[str], *, labelled: bool = False) -> list[Item]:
    """Benign items of every text; or else by turns positives and hard negatives of one concept."""
    sides = (Label.POSITIVE, Label.HARD_NEGATIVE)
    return [
        Item(
            id=f"t{place:04d}", group=f"g{place // 2:04d}" if labelled else f"t{place:04d}",
            concept=CONCEPT if labelled else None,
            label=sides[place % 2] if labelled else Label.NEGATIVE, language="en", text=text,
            origin="authored", source="made for a benchmark", licence="CC0-1.0",
        )
        for place, text in enumerate(texts)
    ]  # fmt: skip


def _save_model(path: Path, size: Size, generator: torch.Generator) -> None:
    config = GPT2Config(
        vocab_size=size.vocabulary, n_embd=size.d_model, n_layer=size.layers, n_head=size.heads,
        bos_token_id=size.vocabulary - 1, eos_token_id=size.vocabulary - 1,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        norm = "ln_" in name and name.endswith("weight")
        parameter.copy_(1 + 0.1 * drawn if norm else 0.03 * drawn)
    model.save_pretrained(path)
    words = {f"w{n}": n for n in range(size.vocabulary - 1)} | {"<|end|>": size.vocabulary - 1}
    backend = Tokenizer(models.WordLevel(words, unk_token="<|end|>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    tokenizer.save_pretrained(path)


def _texts(size: Size, generator: torch.Generator) -> Iterator[str]:
    for _ in range(size.texts):
        drawn = USUAL * math.exp(0.5 * torch.randn((), generator=generator).item())
        count = min(max(round(drawn), SHORTEST), LONGEST)
        words = torch.randint(size.vocabulary - 1, (count,), generator=generator)
        yield " ".join(f"w{n}" for n in words.tolist())


def _states(
    prepared: Sequence[Prepared], subject: Subject, hooks: Sequence[str]
) -> dict[str, Tensor]:
    """Activations at every hook of some tokens, ``[tokens, d]``."""
    parts: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    tokens = 0
    for one in prepared:
        inputs = model_inputs([one], subject)
        found = capture(subject.model, inputs["input_ids"], inputs["attention_mask"], hooks)
        for hook, values in found.items():
            parts[hook].append(values[0])
        tokens += one.length
        if tokens >= CALIBRATED_ON:
            break
    return {hook: torch.cat(values) for hook, values in parts.items()}


@dataclass(frozen=True, eq=False)
class _Encoder:
    """Random directions, and from where on each of them fires on a given share of tokens."""

    weights: Tensor
    middle: Tensor
    limits: Tensor
    pre: Tensor
    k: int

    @classmethod
    def drawn(cls, x: Tensor, size: Size, generator: torch.Generator) -> _Encoder:
        middle = x.mean(dim=0)
        weights = torch.randn((x.shape[1], size.d_sae), generator=generator)
        weights /= (x - middle).norm(dim=1).mean()  # then products are about standard normal
        pre = (x - middle) @ weights
        firing = max(1, round(len(x) * size.l0 / size.d_sae))
        limits = [
            torch.topk(part, firing + 1, dim=0).values[-2:].mean(dim=0)  # between two tokens
            for part in pre.split(COLUMNS_AT_ONCE, dim=1)
        ]
        return cls(weights, middle, torch.cat(limits), pre, size.l0)

    def save(self, path: Path, architecture: str, hook: str) -> None:
        """Write an SAE as SAELens does."""
        d_in, d_sae = self.weights.shape
        biased = architecture == "standard"
        tensors = {
            "W_enc": self.weights,
            "b_enc": -self.limits if biased else torch.zeros(d_sae),
            "W_dec": (self.weights / self.weights.norm(dim=0)).T.contiguous(),
            "b_dec": self.middle,
        }
        config = {
            "architecture": architecture, "d_in": d_in, "d_sae": d_sae, "dtype": "float32",
            "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": {"hook_name": hook, "model_name": "made", "context_size": LONGEST},
        }  # fmt: skip
        if architecture == "jumprelu":
            tensors["threshold"] = self.limits
        if architecture == "topk":
            config |= {"k": self.k, "rescale_acts_by_decoder_norm": False}
        path.mkdir(parents=True)
        save_file(tensors, path / "sae_weights.safetensors")
        (path / "cfg.json").write_text(json.dumps(config), encoding="utf-8")

    def some_firing(
        self, architecture: str, count: int, generator: torch.Generator
    ) -> tuple[int, ...]:
        """Latents drawn from those that fire on at least two of the tokens."""
        if architecture == "topk":
            top = torch.topk(self.pre, self.k, dim=1).indices
            fired = torch.bincount(top.flatten(), minlength=self.pre.shape[1])
        else:
            fired = (self.pre > self.limits).sum(dim=0)
        able = torch.nonzero(fired >= 2).flatten()
        drawn = torch.randperm(len(able), generator=generator)[:count]
        return tuple(able[drawn].tolist())
