"""What can be said of one latent beside its score: from the weights, and on a text of one's own.

    top, bottom = logit_effects(subject, sae, 1234)
    nearest_latents(sae, 1234)[0].cosine
    activations_on("You are so right!", subject, sae, [1234])[1234][0].activation
    attention_patterns("You are so right!", subject, sae.facts.hook_name).weights    # [heads, t, t]

None of it enters a verdict. A latent's logits are those of the direct path alone; what later layers
make of it, only an intervention shows.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from compliance.errors import ProbeError
from compliance.probes.batch import states_of
from compliance.probes.hooks import VISION, resolve
from compliance.probes.inputs import Preparer, model_inputs
from compliance.probes.neighbours import Largest
from compliance.probes.reading import ENCODED_AT_ONCE, by_sae
from compliance.probes.sae import Sae
from compliance.probes.subject import Subject
from compliance.probes.task import Reader, output_hook
from compliance.probes.tokens import Prepared
from compliance.records.names import FORMULA
from compliance.records.observation import FEATURE_COLUMNS
from compliance.records.plan import LockedProbe
from compliance.records.suite import MAX_TEXT, Item, Label

LISTED = 10
"""Tokens and latents listed of each kind."""

_STREAM = ("hook_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out",
           "hook_mlp_out")  # fmt: skip
"""Places whose value is, or is added to, the residual stream as it is."""


@dataclass(frozen=True)
class LogitEffect:
    """What one unit of a latent's activation adds to the logit of a token on the direct path."""

    token: int
    text: str
    """The token as the tokenizer shows it, with control characters and ends of lines spelt out."""

    value: float


@dataclass(frozen=True)
class Neighbour:
    """A latent of the same SAE, and the cosine of both decoder rows."""

    latent: int
    cosine: float


@dataclass(frozen=True)
class TokenActivation:
    """A latent on one token of a text."""

    text: str
    """The token's characters; where several tokens make one character, each has it."""

    activation: float
    start: int
    """First of its characters in the text."""

    end: int


class AttentionPatterns(NamedTuple):
    """Where the heads of one layer look."""

    tokens: tuple[str, ...]
    """Every token that the model is given, as the tokenizer shows it."""

    weights: np.ndarray
    """float32 ``[heads, from, to]``; each row sums to 1."""

    content: tuple[int, ...]
    """Places of the text's own tokens, as many as `activations_on` gives."""


def logit_effects(
    subject: Subject, sae: Sae, latent: int, n: int = LISTED
) -> tuple[list[LogitEffect], list[LogitEffect]]:
    """Tokens whose logits a latent raises most, and those that it lowers most.

    The value is the latent's direction in the residual stream, times the elementwise weight of the
    final norm (in Gemma ``1 + weight``), times the unembedding, less the mean over the vocabulary,
    which the softmax does not see. The direction is what ``Sae.decode`` adds for one unit of
    activation: the decoder row, over its length where the SAE rescales by it, and less its mean
    where the final norm takes the mean out (LayerNorm). Where an SAE normalises each input on its
    own (``constant_norm_rescale``, ``layer_norm``) a unit is one of its own space. Computed in
    float64 on the CPU.

    Left out are the final norm's division by the length of the stream, which differs from token to
    token, so that values compare tokens and not latents; a cap or factor on the logits; and
    everything that later layers make of the direction.

    Args:
        subject: The model that the SAE reads.
        sae: Whose latent it is.
        latent: Its index.
        n: How many to list.

    Returns:
        The largest values and the smallest, the most extreme first; of equal ones the lower token
        first. Only tokens that the tokenizer has. Both are empty where there is no unembedding, or
        the SAE does not write into the stream of the text (vision tower, ``hook_z``, the MLP's
        input).

    Source:
        nostalgebraist, interpreting GPT: the logit lens, 2020; Elhage et al., A Mathematical
        Framework for Transformer Circuits, 2021 (direct path).
    """
    return _logit_effects(subject, sae, [latent], n)[0]


def nearest_latents(sae: Sae, latent: int, n: int = LISTED) -> list[Neighbour]:
    """The other latents of an SAE whose decoder rows have the largest cosine with one's row.

    Args:
        sae: Whose latents they are.
        latent: The index of the one.
        n: How many to list.

    Returns:
        The nearest first; of equal ones the lower index first. A row of length 0 has cosine 0.
    """
    return _nearest(sae, [latent], n)[0]


def feature_table(
    probes: Sequence[LockedProbe], subject: Subject, saes: Sequence[Sae]
) -> pd.DataFrame:
    """Nearest latents and logit effects of each feature of the probes, FEATURE_COLUMNS."""
    every = {(f.sae, f.latent): f for probe in probes for f in probe.features}
    facts: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for s, latents in by_sae(list(every.values())).items():
        near = _nearest(saes[s], latents, LISTED)
        logits = _logit_effects(subject, saes[s], latents, LISTED)
        for latent, neighbours, (top, bottom) in zip(latents, near, logits, strict=True):
            facts[s, latent] = [
                *_ranked("nearest", [(one.latent, "", one.cosine) for one in neighbours]),
                *_ranked("top-logit", [(one.token, one.text, one.value) for one in top]),
                *_ranked("bottom-logit", [(one.token, one.text, one.value) for one in bottom]),
            ]
    rows = [
        (probe.concept, feature.sae, feature.latent, *fact)
        for probe in probes
        for feature in probe.features
        for fact in facts[feature.sae, feature.latent]
    ]
    return pd.DataFrame(rows, columns=list(FEATURE_COLUMNS))


def activations_on(
    text: str, subject: Subject, sae: Sae, latents: Sequence[int]
) -> dict[int, list[TokenActivation]]:
    """Latents on each token of a text, which the model is given as a user's message.

    Args:
        text: The message.
        subject: What reads it.
        sae: Whose latents they are.
        latents: Their indices.

    Returns:
        For each latent the tokens of the text in their order. Tokens of the chat template are not
        among them; attention sinks, which no probe reads, are.

    Raises:
        ProbeError: The text cannot be read by this subject or SAE.
    """
    if sae.facts.hook_name.startswith(VISION):
        raise ProbeError(f"{sae.facts.name}: reads the vision tower, which sees no words")
    prepared = _prompt(text, subject)
    (states,) = states_of([prepared], Reader(subject, (sae,)))
    x = states[sae.facts.hook_name][list(prepared.regions["read"])]
    rows = max(1, ENCODED_AT_ONCE // sae.facts.d_sae)
    found = torch.cat([sae.encode(part, latents) for part in x.split(rows)])
    places = prepared.places.tolist()
    return {
        latent: [
            TokenActivation(text[start:end], value, start, end)
            for (start, end), value in zip(places, values, strict=True)
        ]
        for latent, values in zip(latents, found.float().T.tolist(), strict=True)
    }


def attention_patterns(text: str, subject: Subject, hook_name: str) -> AttentionPatterns:
    """Attention of one layer on a text, which the model is given as a user's message.

    Args:
        text: The message.
        subject: A model that runs the ``eager`` attention, as ``load_subject`` does.
        hook_name: A place in the layer, such as ``blocks.6.hook_resid_post``.

    Raises:
        ProbeError: The text cannot be read, or the layer tells no attention.
        SaeError: The model has no such layer.
    """
    block, number, _ = (*hook_name.split(".", 2), "", "")[:3]
    if block != "blocks":
        raise ProbeError(
            f"{hook_name}: is in no layer of the text stream, expected blocks.<layer>.<place>"
        )
    prepared = _prompt(text, subject)
    layer = resolve(subject.model, f"blocks.{number}.hook_resid_pre").module
    seen: list[Any] = []
    handles = [
        module.register_forward_hook(lambda _, inputs, output: seen.append(output))
        for module in layer.children()
        if "attention" in type(module).__name__.lower()
    ]
    try:
        with torch.inference_mode():
            subject.model(**model_inputs([prepared], subject))
    finally:
        for handle in handles:
            handle.remove()
    shown = subject.tokenizer.convert_ids_to_tokens(list(prepared.ids))
    content = tuple(prepared.regions["read"])
    return AttentionPatterns(tuple(shown), _pattern(seen, hook_name), content)


def _pattern(seen: Sequence[Any], hook_name: str) -> np.ndarray:
    found = [part for output in seen if isinstance(output, tuple) for part in output[1:2]]
    if len(found) != 1 or not isinstance(found[0], Tensor) or found[0].ndim != 4:
        raise ProbeError(
            f"{hook_name}: its layer tells no attention of one token to another",
            hint="some layers have none, and only the 'eager' implementation tells it",
        )
    return found[0][0].float().numpy(force=True)


def _prompt(text: str, subject: Subject) -> Prepared:
    if not 0 < len(text) <= MAX_TEXT:
        raise ProbeError(f"the text has {len(text)} characters, expected 1 to {MAX_TEXT}")
    item = Item(id="text", group="text", label=Label.NEGATIVE, language="und", text=text,
                origin="authored", source="typed", licence="none")  # fmt: skip
    return Preparer(subject).prepare(item)


def _ranked(kind: str, found: Sequence[tuple[int, str, float]]) -> Iterator[tuple[Any, ...]]:
    return ((kind, rank, *one) for rank, one in enumerate(found, start=1))


def _largest(values: np.ndarray, n: int) -> list[int]:
    """Places of the largest values, the largest first; of equal ones the first first."""
    return np.argsort(-values, kind="stable")[:n].tolist()


def _nearest(sae: Sae, latents: Sequence[int], n: int) -> list[list[Neighbour]]:
    """By cosine of decoder rows; 0 where a length is 0."""
    decoder = sae.tensors["W_dec"]
    mine = _unit(decoder[list(latents)])
    found = [Largest(n + 1) for _ in latents]
    first = 0
    for part in _blocks(decoder):
        cosines = (mine @ _unit(part).T).numpy()
        for largest, values in zip(found, cosines, strict=True):
            largest.add(first, values)
        first += len(part)
    return [
        [Neighbour(*one) for one in largest.listed() if one[0] != latent][:n]
        for latent, largest in zip(latents, found, strict=True)
    ]


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1 in float64; one of length 0 stays as it is."""
    rows = rows.cpu().to(torch.float64, copy=True)
    lengths = rows.norm(dim=1, keepdim=True)
    return rows.div_(lengths.where(lengths > 0, 1))


def _blocks(matrix: Tensor) -> tuple[Tensor, ...]:
    """Rows of a matrix in parts that can be copied in float64 without filling the memory."""
    return matrix.split(max(1, ENCODED_AT_ONCE // matrix.shape[1]))


def _logit_effects(
    subject: Subject, sae: Sae, latents: Sequence[int], n: int
) -> list[tuple[list[LogitEffect], list[LogitEffect]]]:
    """Top and bottom of each latent."""
    unembedding = _unembedding(subject)
    place = output_hook(sae)
    directions = _directions(sae, latents)
    in_stream = not place.startswith(VISION) and place.rpartition(".")[2] in _STREAM
    if unembedding is None or not in_stream or unembedding.shape[1] != directions.shape[1]:
        return [([], []) for _ in latents]
    directions = _through_norm(directions, _final_norm(subject.model))
    parts = [directions @ part.cpu().double().T for part in _blocks(unembedding)]
    effects = torch.cat(parts, dim=1)
    effects = (effects - effects.mean(dim=1, keepdim=True)).numpy()
    known = sorted(set(subject.tokenizer.get_vocab().values()))
    tokens = [token for token in known if token < len(unembedding)]

    def listed(values: np.ndarray, order: np.ndarray) -> list[LogitEffect]:
        chosen = [tokens[i] for i in _largest(order[tokens], n)]
        shown = subject.tokenizer.convert_ids_to_tokens(chosen)
        pairs = zip(chosen, shown, strict=True)
        return [LogitEffect(token, _one_line(text), float(values[token])) for token, text in pairs]

    return [(listed(values, values), listed(values, -values)) for values in effects]


def _one_line(token: str) -> str:
    """The token as it can stand in a cell of a table, control characters as escapes.

    One that a spreadsheet would run gets a space before it.
    """
    calls = token.startswith(FORMULA) and any(mark in token for mark in "(|!")
    return (" " if calls else "") + "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Zl", "Zp")
        else character
        for character in token
    )


def _unembedding(subject: Subject) -> Tensor | None:
    """``[vocabulary, d]``; None where the model writes no words."""
    if subject.tokenizer is None:
        return None
    return getattr(subject.model.get_output_embeddings(), "weight", None)


def _directions(sae: Sae, latents: Sequence[int]) -> Tensor:
    """What one unit of each latent adds to what the SAE decodes, float64 ``[len(latents), d]``."""
    rows = sae.tensors["W_dec"][list(latents)].cpu().double()
    if sae.config.rescales_by_decoder_norm:
        return rows / rows.norm(dim=1, keepdim=True)
    return rows


def _final_norm(model: nn.Module) -> nn.Module | None:
    """The norm beside the stack of text blocks, the last where there are several."""
    block = resolve(model, "blocks.0.hook_resid_post").path
    home = model.get_submodule(block.rpartition(".")[0].rpartition(".")[0])
    norms = [child for child in home.children() if "norm" in type(child).__name__.lower()]
    return norms[-1] if norms else None


def _through_norm(directions: Tensor, norm: nn.Module | None) -> Tensor:
    """Directions as a norm passes them on, but for its division by the length of its input.

    What a norm's weight means differs from model to model, so its effect on an input of known
    length is taken: of numbers that are all as large, with mean 0, whose signs cancel a bias. They
    are large, so that what a norm adds to the length to avoid a division by zero is lost.
    """
    if norm is None:
        return directions
    norm = copy.deepcopy(norm).cpu().double()
    signs = torch.ones(directions.shape[1], dtype=torch.float64)
    signs[1::2] = -1
    large = 1024.0

    def passed(x: Tensor) -> Tensor:
        return norm(x[None, None])[0, 0].double()

    with torch.inference_mode():
        there, back = passed(signs * large), passed(-signs * large)
        centred = torch.allclose(passed((signs + 1) * large), there, rtol=1e-3, atol=1e-6)
    if centred:
        directions = directions - directions.mean(dim=1, keepdim=True)
    return directions * (there - back) / 2 * signs
