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
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from compliance.errors import ProbeError, SaeError
from compliance.probes.files import check_header, digest_files, pickles_in, read_json
from compliance.probes.registry import read_registry, refusal_of
from compliance.probes.sae_config import SaeConfig, read_config
from compliance.records.audit import SaeRef
from compliance.records.base import digest_of
from compliance.records.subject import ModelFacts, SaeFacts

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
MAX_TENSORS = 16
"""Of one SAE; six is the most that one has."""

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
        x = self.normalised_input(x)
        if self.config.subtracts_b_dec:
            x = x - self.tensors["b_dec"]
        if self.config.architecture in {"topk", "abstopk"}:
            return _columns(self._top(x), latents)
        if self.config.architecture == "matching_pursuit":
            return _columns(_pursue(x, self.tensors["W_dec"], self.config), latents)
        if self.config.architecture == "gated":
            return self._gated(x, latents)
        pre = x @ self._at("W_enc", latents) + self._at("b_enc", latents)
        acts = torch.relu(pre)
        if "threshold" in self.tensors:
            acts = acts * (pre > self._at("threshold", latents)).to(acts.dtype)
        return acts

    def normalised_input(self, x: Tensor) -> Tensor:
        """Activations as the encoder takes them, before ``b_dec``: centred and normalised.

        Raises:
            ProbeError: The width is wrong, or a zero vector is to be rescaled to a norm.
        """
        self._check_width(x)
        return self._normalised(self._centred(x))

    def decode(self, latents: Tensor, x: Tensor | None = None) -> Tensor:
        """What the latents stand for, in the model's own space.

        Affine in ``latents`` for a fixed ``x``, so the difference of two decodings is the
        direction by which an intervention moves the activation.

        Args:
            latents: ``[n, d_sae]``.
            x: The activations they were read from. Needed where the SAE's own space differs
                from input to input (``constant_norm_rescale``, ``layer_norm``, a centred
                input) and for a skip connection.

        Returns:
            ``[n, d_in]``; of a transcoder ``[n, d_out]`` at ``config.hook_name_out``.
        """
        if self.config.rescales_by_decoder_norm:
            latents = latents * (1 / self.tensors["W_dec"].norm(dim=-1))
        out = latents @ self.tensors["W_dec"]
        if self.config.architecture != "matching_pursuit" or self.config.subtracts_b_dec:
            out = out + self.tensors["b_dec"]
        if self.config.is_transcoder:
            return self._with_skip(out, x)
        return self._uncentred(self._denormalised(out, x), x)

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

    def _at(self, name: str, latents: Sequence[int] | None) -> Tensor:
        tensor = self.tensors[name]
        return tensor if latents is None else tensor[..., list(latents)]

    def _gated(self, x: Tensor, latents: Sequence[int] | None) -> Tensor:
        encoder = self._at("W_enc", latents)
        gate = (x @ encoder + self._at("b_gate", latents) > 0).to(x.dtype)
        magnitude = x @ (encoder * self._at("r_mag", latents).exp()) + self._at("b_mag", latents)
        return gate * torch.relu(magnitude)

    def _top(self, x: Tensor) -> Tensor:
        pre = x @ self.tensors["W_enc"] + self.tensors["b_enc"]
        if self.config.rescales_by_decoder_norm:
            pre = pre * self.tensors["W_dec"].norm(dim=-1)
        signed = self.config.architecture == "abstopk"
        index = torch.topk(pre.abs() if signed else pre, self.config.k, dim=-1, sorted=False)[1]
        values = pre.gather(-1, index)
        return torch.zeros_like(pre).scatter_(-1, index, values if signed else values.relu())

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
    if not bool(torch.isfinite(tensor).all()):
        raise SaeError(
            f"{stored.name}: {key} is not finite in {tensor.dtype}",
            hint="the file is damaged, or the weights do not fit the dtype; use float32",
        )


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
            "sha256": sha256(tensor.contiguous().numpy().tobytes()).hexdigest(),
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
