"""One SAE: activations in, latents out, with the numbers that SAELens gives.

A folder in SAELens' format is read with ``safetensors`` and its ``cfg.json`` alone, because
importing SAELens takes ten seconds; a release of its registry goes through SAELens' own loader,
and the weights that come back run on the same few lines::

    sae = load_sae(SaeRef(path="./sae"), folder)
    latents = sae.encode(activations)           # [n, d_in] -> [n, d_sae]
    x_hat = sae.decode(latents, activations)    # back in the model's own space

An SAE that would give wrong numbers without a sign is refused: an unfolded normalisation, a
missing field, a tensor nobody asked for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from compliance.errors import ProbeError, SaeError
from compliance.probes.files import check_header, digest_files, pickles_in, read_json
from compliance.probes.fired import Fired, fired_in, stacked
from compliance.probes.registry import read_registry, refusal_of
from compliance.probes.sae_config import SaeConfig, read_config
from compliance.records.audit import SaeRef
from compliance.records.base import digest_of
from compliance.records.subject import ModelFacts, SaeFacts

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
MAX_TENSORS = 16
"""Of one SAE; six is the most that one has."""

CHECKED_AT_ONCE = 2**20
"""Numbers that are looked at for infinities at a time, so that no second copy of wide weights is
made; those of a file stay where they are, mapped, unless they are cast."""

CACHED = 2**21
"""Numbers in one block of latents on a CPU, so that they are looked through in its cache."""

FIRST_TIMES_K = 16
"""Columns of a TopK SAE that are looked at first, as a multiple of k: fewer rule out too little."""

_ENCODER = ("W_enc", "b_enc")
_DECODER = ("W_dec", "b_dec")
_TENSORS = {
    "standard": (*_ENCODER, *_DECODER),
    "gated": ("W_enc", "b_gate", "b_mag", "r_mag", *_DECODER),
    "jumprelu": (*_ENCODER, "threshold", *_DECODER),
    "topk": (*_ENCODER, *_DECODER),
    "abstopk": (*_ENCODER, *_DECODER),
    "transcoder": (*_ENCODER, *_DECODER),
    "skip_transcoder": (*_ENCODER, *_DECODER, "W_skip"),
    "jumprelu_transcoder": (*_ENCODER, "threshold", *_DECODER),
    "jumprelu_skip_transcoder": (*_ENCODER, "threshold", *_DECODER, "W_skip"),
    "matching_pursuit": _DECODER,
}


@dataclass(frozen=True, eq=False)
class Sae:
    """An SAE, ready to encode. Tensors are in the dtype and on the device it was loaded for."""

    facts: SaeFacts
    config: SaeConfig
    tensors: Mapping[str, Tensor]

    def encode(self, x: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Latents of activations, equal to ``sae_lens.SAE.encode``.

        Args:
            x: Activations at ``facts.hook_name``, ``[n, d_in]``; heads lie flat.
            latents: Only these columns, in this order. Exact for every architecture; faster
                where a latent does not depend on the others.

        Returns:
            ``[n, d_sae]``, or ``[n, len(latents)]``.

        Raises:
            ProbeError: The width is wrong, or a zero vector is to be rescaled to a norm.
        """
        x = self._encoder_input(x)
        if self._keeps_top:
            if latents is not None:
                return self._chosen_of_top(x, list(latents))
            index, values = self._top(x)
            empty = values.new_zeros(*values.shape[:-1], self.facts.d_sae)
            return empty.scatter_(-1, index, values)
        if self.config.architecture == "matching_pursuit":
            return _columns(_pursue(x, self.tensors["W_dec"], self.config), latents)
        return self._each(x, latents if latents is None else list(latents))

    def fired(self, x: Tensor, numbers: int) -> Fired:
        """The same in sparse form, of all latents, never dense in more than one block.

        Args:
            x: ``[n, d_in]``, one or more.
            numbers: In one block at most, unless one activation has more.

        Raises:
            ProbeError: As `encode`; or a latent is not finite.
        """
        x, d_sae = self._encoder_input(x), self.facts.d_sae
        rows = max(1, numbers // d_sae)
        if self._keeps_top:
            return stacked([self._fired_top(part) for part in x.split(rows)])
        if self.config.architecture == "matching_pursuit":
            decoder = self.tensors["W_dec"]
            blocks = (_pursue(part, decoder, self.config) for part in x.split(rows))
            return stacked([fired_in([(0, self.check_finite(b))], len(b)) for b in blocks])
        # All rows by some columns, since the columns of a block are then read once.
        most = numbers if x.is_cuda else min(numbers, CACHED)
        width = min(d_sae, max(1, most // max(1, len(x))))
        space = x.new_empty(len(x), width)  # one for all, which leaves no gaps in the memory
        ends = ((c, min(c + width, d_sae)) for c in range(0, d_sae, width))
        blocks = ((c, self._each(x, slice(c, end), space[:, : end - c])) for c, end in ends)
        return fired_in(((c, self.check_finite(block)) for c, block in blocks), len(x))

    def check_finite(self, latents: Tensor) -> Tensor:
        """The same latents.

        Raises:
            ProbeError: One is not finite.
        """
        # A sum is many times as fast; it may overflow where no latent does.
        if not torch.isfinite(latents.sum()) and not torch.isfinite(latents).all():
            raise ProbeError(
                f"{self.facts.name}: a latent is not finite at {self.facts.hook_name}",
                hint="is the SAE made for this model? check dtype and normalisation",
            )
        return latents

    def normalised_input(self, x: Tensor) -> Tensor:
        """Activations as the encoder takes them, before ``b_dec``: centred and normalised.

        Raises:
            ProbeError: The width is wrong, or a zero vector is to be rescaled to a norm.
        """
        self._check_width(x)
        return self._normalised(self._centred(x))

    def decode(self, latents: Tensor | Fired, x: Tensor | None = None) -> Tensor:
        """What the latents stand for, in the model's own space.

        Affine in ``latents`` for a fixed ``x``, so the difference of two decodings is the
        direction by which an intervention moves the activation.

        Args:
            latents: ``[n, d_sae]``, dense or what fired of them.
            x: The activations they were read from. Needed where the SAE's own space differs
                from input to input (``constant_norm_rescale``, ``layer_norm``, a centred
                input) and for a skip connection.

        Returns:
            ``[n, d_in]``; of a transcoder ``[n, d_out]`` at ``config.hook_name_out``.
        """
        if self._rescales:
            latents = latents * (1 / self._decoder_norms)
        out = latents @ self.tensors["W_dec"]
        if self.config.architecture != "matching_pursuit" or self.config.subtracts_b_dec:
            out = out + self.tensors["b_dec"]
        if self.config.is_transcoder:
            return self._with_skip(out, x)
        return self._uncentred(self._denormalised(out, x), x)

    def moved(self, change: Tensor, latents: Sequence[int], x: Tensor) -> Tensor:
        """By how much `decode` moves when some latents change; exactly 0 where none does.

        Args:
            change: ``[n, len(latents)]``, what is added to each of them.
            latents: Their indices.
            x: The activations they were read from, ``[n, d_in]``.

        Returns:
            ``[n, d_in]``; of a transcoder ``[n, d_out]`` at ``config.hook_name_out``.
        """
        chosen = list(latents)
        if self._rescales:
            change = change / self._decoder_norms[chosen]
        out = change @ self.tensors["W_dec"][chosen]
        if self.config.is_transcoder:
            return out
        if self.config.normalisation == "constant_norm_rescale":
            return out / self._norm_factor(self._centred(self._inputs(x)))
        if self.config.normalisation == "layer_norm":
            return out * self._centred(self._inputs(x)).std(dim=-1, keepdim=True)
        return out

    def reconstruct(self, x: Tensor) -> Tensor:
        """``decode(encode(x), x)``: what ``sae_lens.SAE.forward`` gives."""
        return self.decode(self.encode(x), x)

    def reads(self, model: ModelFacts, width: int | None = None) -> None:
        """Check that this SAE was made for this model.

        Args:
            model: The model to be read.
            width: Of the activations at ``facts.hook_name``, where known; else d_model is
                expected, except at ``hook_z``, whose width the facts do not say.

        Raises:
            SaeError: It was made for another width, depth or model.
        """
        if width is None and not self.facts.hook_name.endswith("hook_z"):
            width = model.d_model
        if width is not None and width != self.facts.d_in:
            raise SaeError(
                f"{self.facts.name}: reads {self.facts.d_in} numbers at {self.facts.hook_name}, "
                f"{model.name} has {width} there",
                hint="this SAE was trained on another model; choose one that was trained on this",
            )
        _check_layer(self.facts, model)
        self._check_model_name(model)

    def _check_model_name(self, model: ModelFacts) -> None:
        # A folder may have any name, so only names of the hub are compared.
        if model.revision is None or self.config.model_name is None:
            return
        if _model_key(self.config.model_name) != _model_key(model.name):
            raise SaeError(
                f"{self.facts.name}: was trained on {self.config.model_name}, "
                f"the subject is {model.name}",
                hint="take the model it was trained on; if that is this one under another name, "
                "download it and give the folder",
            )

    def _check_width(self, x: Tensor) -> None:
        if x.shape[-1] != self.facts.d_in:
            raise ProbeError(
                f"{self.facts.name}: activations at {self.facts.hook_name} have width "
                f"{x.shape[-1]}, expected {self.facts.d_in}"
            )

    @property
    def _keeps_top(self) -> bool:
        return self.config.architecture in {"topk", "abstopk"}

    @property
    def _rescales(self) -> bool:
        return self.config.rescales_by_decoder_norm

    @cached_property
    def _decoder_norms(self) -> Tensor:
        return self.tensors["W_dec"].norm(dim=-1)

    def _encoder_input(self, x: Tensor) -> Tensor:
        x = self.normalised_input(x)
        return x - self.tensors["b_dec"] if self.config.subtracts_b_dec else x

    def _at(self, name: str, latents: list[int] | slice | None) -> Tensor:
        tensor = self.tensors[name]
        return tensor if latents is None else tensor[..., latents]

    def _each(
        self, x: Tensor, latents: list[int] | slice | None, out: Tensor | None = None
    ) -> Tensor:
        """Latents that do not depend on each other; they may be written to ``out``."""
        if self.config.architecture == "gated":
            return self._gated(x, latents)
        # In place, since each copy of a wide block costs as much time as it does memory.
        pre = torch.matmul(x, self._at("W_enc", latents), out=out)
        pre = pre.add_(self._at("b_enc", latents))
        if "threshold" not in self.tensors:
            return pre.relu_()
        above = pre > self._at("threshold", latents)
        return pre.relu_().mul_(above)

    def _gated(self, x: Tensor, latents: list[int] | slice | None) -> Tensor:
        encoder = self._at("W_enc", latents)
        gate = (x @ encoder + self._at("b_gate", latents) > 0).to(x.dtype)
        magnitude = x @ (encoder * self._at("r_mag", latents).exp()) + self._at("b_mag", latents)
        return gate * torch.relu(magnitude)

    def _before_top(self, x: Tensor, latents: list[int] | slice) -> Tensor:
        """What the largest are chosen from."""
        pre = (x @ self._at("W_enc", latents)).add_(self._at("b_enc", latents))
        return pre.mul_(self._decoder_norms[latents]) if self._rescales else pre

    def _sizes(self, pre: Tensor) -> Tensor:
        """What makes one larger than another."""
        return pre.abs() if self.config.architecture == "abstopk" else pre

    def _kept(self, pre: Tensor) -> Tensor:
        """The value of one that is among the largest."""
        return pre if self.config.architecture == "abstopk" else pre.relu()

    def _top(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents that are kept, in no order, and their values: both ``[..., k]``."""
        pre = self._before_top(x, slice(None))
        index = torch.topk(self._sizes(pre), self.config.k, dim=-1, sorted=False)[1]
        return index, self._kept(pre.gather(-1, index))

    def _fired_top(self, x: Tensor) -> Fired:
        index, values = self._top(x)
        index, order = index.sort(dim=-1)
        values = self.check_finite(values.gather(-1, order))
        fired = fired_in([(0, values)], len(values))
        return replace(fired, latents=index[fired.tokens, fired.latents])

    def _chosen_of_top(self, x: Tensor, latents: list[int]) -> Tensor:
        """Some columns of what is kept, mostly without all columns of what it is chosen from.

        A latent that is not above zero is 0, and so is one that k others exceed, which the first
        blocks of columns often show. Where one is so near the k-th largest that rounding decides,
        the row is encoded as a whole, so that ties are broken as there.
        """
        flat, k, d_sae = x.reshape(-1, x.shape[-1]), self.config.k, self.facts.d_sae
        chosen = self._before_top(flat, latents)
        sizes = self._sizes(chosen)
        largest, slack = sizes.new_full((len(flat), k), -torch.inf), sizes.new_zeros(len(flat), 1)
        may = sizes > 0
        first = 0
        while first < d_sae and len(rows := torch.nonzero(may.any(dim=1)).flatten()):
            # Short at first, since most rows are done with soon, and the longer the fewer are left.
            width = max(FIRST_TIMES_K * k, min(first // 2, CACHED // len(rows)))
            seen = self._sizes(self._before_top(flat[rows], slice(first, first + width)))
            first += width
            largest[rows] = torch.cat([largest[rows], seen], dim=1).topk(k, dim=1).values
            slack[rows] = torch.maximum(slack[rows], _slack(seen))
            may &= sizes >= largest[:, -1:] - slack
        found = torch.where(may, self._kept(chosen), 0)
        unsure = may & (sizes <= largest[:, -1:] + slack)
        for rows in torch.nonzero(unsure.any(dim=1)).flatten().split(max(1, CACHED // d_sae)):
            index, values = self._top(flat[rows])
            whole = values.new_zeros(len(rows), d_sae).scatter_(-1, index, values)
            found[rows] = whole[:, latents]
        return found.reshape(*x.shape[:-1], len(latents))

    def _centred(self, x: Tensor) -> Tensor:
        x = x.to(self.tensors["W_dec"].dtype)
        return x - x.mean(dim=-1, keepdim=True) if self.config.centres_input else x

    def _uncentred(self, out: Tensor, x: Tensor | None) -> Tensor:
        if not self.config.centres_input:
            return out
        return out + self._inputs(x).to(out.dtype).mean(dim=-1, keepdim=True)

    def _normalised(self, x: Tensor) -> Tensor:
        if self.config.normalisation == "constant_norm_rescale":
            return x * self._norm_factor(x)
        if self.config.normalisation == "layer_norm":
            x = x - x.mean(dim=-1, keepdim=True)
            return x / (x.std(dim=-1, keepdim=True) + 1e-5)
        return x

    def _denormalised(self, out: Tensor, x: Tensor | None) -> Tensor:
        if self.config.normalisation == "constant_norm_rescale":
            return out / self._norm_factor(self._centred(self._inputs(x)))
        if self.config.normalisation == "layer_norm":
            x = self._centred(self._inputs(x))
            mean = x.mean(dim=-1, keepdim=True)
            return out * (x - mean).std(dim=-1, keepdim=True) + mean
        return out

    def _norm_factor(self, x: Tensor) -> Tensor:
        norm = x.norm(dim=-1, keepdim=True)
        if not bool((norm > 0).all()):
            row = int((norm <= 0).flatten().int().argmax())
            raise ProbeError(
                f"{self.facts.name}: the activation in row {row} "
                f"at {self.facts.hook_name} is the zero vector, which has no norm to rescale",
                hint="leave the token out: SAELens gives NaN for every latent there",
            )
        return (self.facts.d_in**0.5) / norm

    def _with_skip(self, out: Tensor, x: Tensor | None) -> Tensor:
        if "W_skip" not in self.tensors:
            return out
        return out + self._centred(self._inputs(x)) @ self.tensors["W_skip"].T

    def _inputs(self, x: Tensor | None) -> Tensor:
        if x is None:
            raise ProbeError(
                f"{self.facts.name}: decoding needs the activations the latents were read from, "
                f"since normalisation is {self.facts.normalisation!r}"
            )
        self._check_width(x)
        return x


def load_sae(
    ref: SaeRef, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Sae:
    """Load an SAE from a folder or from SAELens' registry.

    Args:
        ref: Where it lies.
        folder: The folder of ``audit.yaml``, which ``ref.path`` is relative to.
        dtype: To compute in; stored weights are cast to it.
        device: To compute on.

    Raises:
        SaeError: It cannot be loaded, or would not give the numbers SAELens gives.
    """
    stored = _from_folder(folder / ref.path) if ref.path is not None else _from_release(ref)
    tensors = {
        name: tensor.to(device=device, dtype=dtype) for name, tensor in stored.tensors.items()
    }
    _check_tensors(stored, tensors)
    config, tensors = _scaled(stored.name, stored.config, tensors, ref.activation_scale)
    facts = _facts(stored, ref.activation_scale)
    return Sae(facts=facts, config=config, tensors=tensors)


@dataclass(frozen=True, eq=False)
class _Stored:
    """An SAE as it was read, before it is cast and scaled."""

    name: str
    digest: str
    config: SaeConfig
    tensors: Mapping[str, Tensor]


def _facts(stored: _Stored, activation_scale: float | None) -> SaeFacts:
    config = stored.config
    return SaeFacts(
        name=stored.name,
        digest=stored.digest,
        architecture=config.architecture,
        hook_name=config.hook_name,
        d_in=config.d_in,
        d_sae=config.d_sae,
        normalisation=config.normalisation,
        dtype=str(stored.tensors["W_dec"].dtype).removeprefix("torch."),
        context_size=config.context_size,
        activation_scale=activation_scale,
        centres_input=config.centres_input,
        neuronpedia_id=config.neuronpedia_id,
    )


def _from_folder(folder: Path) -> _Stored:
    name = folder.resolve().name
    weights = _weights_file(folder, name)
    try:
        raw = read_json(folder / CONFIG_FILE)
    except FileNotFoundError as error:
        raise SaeError(
            f"{name}: has no {CONFIG_FILE}, expected an SAE as SAELens saves it"
        ) from error
    except (ValueError, OSError) as error:
        raise SaeError(f"{name}: {CONFIG_FILE} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise SaeError(f"{name}: {CONFIG_FILE} holds a {type(raw).__name__}, expected an object")
    config = read_config(name, raw)
    digest = digest_files([folder / CONFIG_FILE, weights])
    return _Stored(name, digest, config, _read_tensors(name, weights))


def _weights_file(folder: Path, name: str) -> Path:
    if folder.is_file():
        raise SaeError(f"{name}: is a file, expected the folder that SAELens' save_model writes")
    if not folder.is_dir():
        raise SaeError(
            f"{name}: there is no such folder",
            hint="saes[].path is relative to the folder of audit.yaml",
        )
    if (folder / WEIGHTS_FILE).is_file():
        return folder / WEIGHTS_FILE
    if pickles := pickles_in(folder):
        raise SaeError(
            f"{name}: {pickles[0]} holds a pickle, which can execute code",
            hint="load it where you trust it and save it with SAELens' save_model",
        )
    raise SaeError(
        f"{name}: has no {WEIGHTS_FILE}, found {sorted(path.name for path in folder.iterdir())}",
        hint="convert it with SAELens and save it with save_model",
    )


def _read_tensors(name: str, weights: Path) -> dict[str, Tensor]:
    try:
        check_header(weights)
        with safe_open(weights, framework="pt") as stored:
            keys = list(stored.keys())
            if len(keys) > MAX_TENSORS:
                raise ValueError(f"{len(keys):,} tensors, an SAE has at most {MAX_TENSORS}")
            return {key: stored.get_tensor(key) for key in keys}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise SaeError(
            f"{name}: {weights.name} cannot be read: {error}",
            hint="the file is damaged or was cut off; copy it again",
        ) from error


def _check_tensors(stored: _Stored, tensors: dict[str, Tensor]) -> None:
    """Every tensor is there, in its shape and finite, and there is no other."""
    _drop_unit_scaling(tensors)
    wanted = _TENSORS[stored.config.architecture]
    missing = [key for key in wanted if key not in tensors]
    if missing or len(tensors) != len(wanted):
        others = sorted(set(tensors) - set(wanted))
        raise SaeError(
            f"{stored.name}: a {stored.config.architecture} SAE holds {', '.join(wanted)}; "
            f"missing: {', '.join(missing) or 'none'}, unexpected: {', '.join(others) or 'none'}",
            hint="a training checkpoint is saved with save_inference_model",
        )
    for key, tensor in tensors.items():
        _check_tensor(stored, key, tensor)


def _drop_unit_scaling(tensors: dict[str, Tensor]) -> None:
    # SAELens before 6 wrote a scaling factor that it then ignored; it may only be one.
    scaling = tensors.get("scaling_factor")
    if scaling is not None and torch.allclose(scaling, torch.ones_like(scaling)):
        del tensors["scaling_factor"]


def _check_tensor(stored: _Stored, key: str, tensor: Tensor) -> None:
    config = stored.config
    shapes = {
        "W_enc": (config.d_in, config.d_sae),
        "W_dec": (config.d_sae, config.d_out),
        "b_dec": (config.d_out,),
        "W_skip": (config.d_out, config.d_in),
    }
    expected = shapes.get(key, (config.d_sae,))
    if tuple(tensor.shape) != expected:
        raise SaeError(
            f"{stored.name}: {key} has shape {tuple(tensor.shape)}, cfg.json says {expected}"
        )
    if not _is_finite(tensor):
        raise SaeError(
            f"{stored.name}: {key} is not finite in {tensor.dtype}",
            hint="the file is damaged, or the weights do not fit the dtype; use float32",
        )


def _is_finite(tensor: Tensor) -> bool:
    rows = max(1, CHECKED_AT_ONCE // max(1, tensor[0].numel()))
    return all(bool(torch.isfinite(part).all()) for part in tensor.split(rows))


def _scaled(
    name: str, config: SaeConfig, tensors: dict[str, Tensor], scale: float | None
) -> tuple[SaeConfig, dict[str, Tensor]]:
    """Fold ``activation_scale`` as SAELens' ``fold_activation_norm_scaling_factor`` does."""
    wants = config.normalisation == "expected_average_only_in"
    if wants and scale is None:
        raise SaeError(
            f"{name}: was trained on activations scaled to a norm on average "
            "(expected_average_only_in), and the factor is not in the file",
            hint="give saes[].activation_scale: sqrt(d_in) over the mean norm of the activations "
            "it was trained on",
        )
    if not wants and scale is not None:
        raise SaeError(
            f"{name}: activation_scale is given, and normalisation is {config.normalisation!r}",
            hint="leave activation_scale out; it belongs to expected_average_only_in alone",
        )
    if scale is None:
        return config, tensors
    folded = {"b_dec": tensors["b_dec"] / scale}
    if "W_enc" in tensors:  # a matching pursuit has one dictionary, and its latents take the scale
        folded |= {"W_enc": tensors["W_enc"] * scale, "W_dec": tensors["W_dec"] / scale}
    return _without_scale(config, scale), tensors | folded


def _without_scale(config: SaeConfig, scale: float) -> SaeConfig:
    pursuit = dict(config.pursuit)
    if pursuit:
        pursuit["residual_threshold"] /= scale  # it is compared with a norm in input units
    return replace(config, normalisation="none", pursuit=pursuit)


def _slack(sizes: Tensor) -> Tensor:
    """By how much rounding may move one of them, ``[n, 1]``: many times what it does."""
    return 64 * torch.finfo(sizes.dtype).eps * sizes.abs().amax(dim=1, keepdim=True)


def _columns(latents: Tensor, chosen: Sequence[int] | None) -> Tensor:
    return latents if chosen is None else latents[..., list(chosen)]


def _pursue(x: Tensor, decoder: Tensor, config: SaeConfig) -> Tensor:
    """Matching pursuit by SAELens' own class, on inputs that are already prepared."""
    from sae_lens import MatchingPursuitSAE, MatchingPursuitSAEConfig

    settings = MatchingPursuitSAEConfig(
        d_in=config.d_in,
        d_sae=config.d_sae,
        dtype=str(decoder.dtype).removeprefix("torch."),
        device="meta",
        apply_b_dec_to_input=False,
        **config.pursuit,
    )
    sae = MatchingPursuitSAE(settings)
    state = {"W_dec": decoder, "b_dec": decoder.new_zeros(config.d_in)}
    sae.load_state_dict(state, assign=True)
    with torch.no_grad():
        return sae.encode(x)


def _from_release(ref: SaeRef) -> _Stored:
    name = f"{ref.release}/{ref.id}"
    registry = read_registry()
    if ref.release not in registry:
        close = get_close_matches(str(ref.release), registry, n=3)
        raise SaeError(
            f"{ref.release}: is not a release of SAELens' registry; nearest: {', '.join(close)}",
            hint="`compliance saes` lists the releases",
        )
    if (reason := refusal_of(ref.release, ref.id)) is not None:
        raise SaeError(f"{name}: is not run: {reason}")
    raw, tensors = _download(name, ref)
    return _Stored(name, _digest_tensors(raw, tensors), read_config(name, raw), tensors)


def _download(name: str, ref: SaeRef) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Through SAELens' loader, in float32, so that the digest does not depend on the dtype."""
    from sae_lens import SAE

    try:
        with warnings.catch_warnings(), _no_pickled_code():
            # Both are acted on here: centring is done, and an unfolded factor is asked for.
            warnings.filterwarnings("ignore", message=r"\nThis SAE has non-empty model_from")
            warnings.filterwarnings("ignore", message="norm_scaling_factor not found")
            sae = SAE.from_pretrained(ref.release, ref.id, device="cpu", dtype="float32")
    except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
        raise SaeError(
            f"{name}: SAELens could not load it: {error}",
            hint="SAELens asks the hub even for some files it has; to run without a network, save "
            "it once with its save_model and give that folder as saes[].path",
        ) from error
    raw = sae.cfg.to_dict()
    overrides = read_registry()[str(ref.release)].overrides
    if "model_from_pretrained_kwargs" in overrides:  # SAELens drops it for newer files
        raw["metadata"]["model_from_pretrained_kwargs"] = overrides["model_from_pretrained_kwargs"]
    return raw, {key: tensor.detach() for key, tensor in sae.state_dict().items()}


@contextmanager
def _no_pickled_code() -> Iterator[None]:
    """Some of SAELens' loaders read pickles: let torch read nothing but tensors in them."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _digest_tensors(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    listing = [
        {
            "name": key,
            "shape": list(tensor.shape),
            "sha256": sha256(tensor.contiguous().numpy()).hexdigest(),
        }
        for key, tensor in sorted(tensors.items())
    ]
    settings = {key: value for key, value in raw.items() if key not in {"device", "metadata"}}
    return digest_of({"config": settings, "tensors": listing})


def _check_layer(facts: SaeFacts, model: ModelFacts) -> None:
    parts = facts.hook_name.split(".")
    number = parts[1] if len(parts) > 1 else ""
    if parts[0] == "blocks" and number.isdecimal() and int(number) >= model.layers:
        raise SaeError(
            f"{facts.name}: reads {facts.hook_name}, {model.name} has {model.layers} blocks",
            hint="this SAE was trained on another model; choose one that was trained on this",
        )


def _model_key(name: str) -> str:
    """A model's name as the hub and TransformerLens both spell it, apart from the owner."""
    key = name.rsplit("/", 1)[-1].lower()
    return {"gpt2-small": "gpt2", "mistral-7b": "mistral-7b-v0.1"}.get(key, key)
