"""``cfg.json`` of an SAE, in the two shapes that SAELens has written.

Since version 6 the settings of the SAE stand at the top and those of the model in ``metadata``;
before, all lay flat, under partly other names. SAELens fills every field it does not find with
a default and answers ``None`` to a misspelt one, so the fields that decide what a latent means
are asked for by name here, and a missing one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compliance.errors import SaeError
from compliance.records.subject import NEURONPEDIA_ID

TRANSCODERS = frozenset(
    {"transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"}
)
ARCHITECTURES = TRANSCODERS | {
    "standard",
    "gated",
    "jumprelu",
    "topk",
    "abstopk",
    "matching_pursuit",
}
REFUSED_ARCHITECTURES = {
    "temporal": "its latents depend on the tokens before, and activations are read one by one",
    "batchtopk": "it is a training checkpoint; save it with save_inference_model",
    "matryoshka_batchtopk": "it is a training checkpoint; save it with save_inference_model",
}
MAX_WIDTH = 10**9
"""Of activations and dictionaries; none has a hundredth."""

NORMALISATIONS = frozenset(
    {"none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"}
)
_HOOK = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_RESIDUAL_SPACE = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "attn_out", "mlp_out")


@dataclass(frozen=True)
class SaeConfig:
    """What ``cfg.json`` says, after defaults of its own time and after every check."""

    architecture: str
    d_in: int
    d_sae: int
    d_out: int
    hook_name: str
    hook_name_out: str | None
    model_name: str | None
    normalisation: str
    subtracts_b_dec: bool
    context_size: int | None
    centres_input: bool
    neuronpedia_id: str | None
    k: int | None
    rescales_by_decoder_norm: bool
    pursuit: Mapping[str, Any]
    """Settings of a matching pursuit; empty for the others."""

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes at another place than the one it reads."""
        return self.architecture in TRANSCODERS


def read_config(name: str, raw: Mapping[str, Any]) -> SaeConfig:
    """Check the content of a ``cfg.json``.

    Args:
        name: How messages call the SAE.
        raw: The parsed file.

    Raises:
        SaeError: A field is missing or holds something that cannot be run; the message names it.
    """
    old = not isinstance(raw.get("metadata"), Mapping)
    top, model = _flat_shape(raw) if old else (raw, raw["metadata"])
    fields = _Fields(name, top, "")
    metadata = _Fields(name, model, "" if old else "metadata.")
    architecture = _architecture(name, fields.text("architecture"), top)
    normalisation = _normalisation(name, fields.text("normalize_activations"))
    hook_name = _hook_name(name, metadata)
    return SaeConfig(
        architecture=architecture,
        d_in=fields.count("d_in"),
        d_sae=fields.count("d_sae"),
        d_out=fields.count("d_out" if architecture in TRANSCODERS else "d_in"),
        hook_name=hook_name,
        hook_name_out=_hook_name_out(metadata, architecture),
        model_name=metadata.optional(str, "model_name"),
        normalisation=normalisation,
        subtracts_b_dec=_subtracts_b_dec(name, fields, architecture),
        context_size=metadata.count("context_size") if model.get("context_size") else None,
        centres_input=_centres(name, model, hook_name, normalisation, old),
        neuronpedia_id=_neuronpedia_id(model),
        k=_k(fields) if architecture in {"topk", "abstopk"} else None,
        rescales_by_decoder_norm=bool(top.get("rescale_acts_by_decoder_norm", False)),
        pursuit=_pursuit(fields) if architecture == "matching_pursuit" else {},
    )


@dataclass(frozen=True)
class _Fields:
    """Asks for fields by name, and says which one is missing."""

    name: str
    values: Mapping[str, Any]
    prefix: str

    def __getitem__(self, key: str) -> Any:
        if self.values.get(key) is None:
            raise SaeError(
                f"{self.name}: cfg.json has no {self.prefix}{key}",
                hint="SAELens would put a default there; write what the SAE was trained with",
            )
        return self.values[key]

    def _of(self, kind: type, key: str) -> Any:
        value = self[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SaeError(
                f"{self.name}: cfg.json: {self.prefix}{key} is {repr(value)[:60]}, "
                f"expected {'a whole number' if kind is int else kind.__name__}"
            )
        return value

    def optional(self, kind: type, key: str) -> Any:
        return None if self.values.get(key) is None else self._of(kind, key)

    def text(self, key: str) -> str:
        return self._of(str, key)

    def flag(self, key: str) -> bool:
        return self._of(bool, key)

    def number(self, key: str) -> float:
        value = self[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) < 1e30:
            raise SaeError(
                f"{self.name}: cfg.json: {self.prefix}{key} is {repr(value)[:60]}, "
                "expected a number"
            )
        return value

    def count(self, key: str) -> int:
        value = self._of(int, key)
        if not 1 <= value <= MAX_WIDTH:
            raise SaeError(
                f"{self.name}: cfg.json: {self.prefix}{key} is {str(value)[:40]}, expected >= 1 "
                f"and <= {MAX_WIDTH}"
            )
        return value


def _flat_shape(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Older than 6: the names and defaults that SAELens' ``handle_pre_6_0_config`` gives."""
    renamed = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}
    flat = {renamed.get(key, key): value for key, value in raw.items()}
    flat.setdefault("activation_fn", flat.get("activation_fn_str") or "relu")
    flat.setdefault("architecture", "standard")
    flat.setdefault("apply_b_dec_to_input", True)
    settings = flat.get("activation_fn_kwargs")
    k = settings.get("k") if isinstance(settings, Mapping) else None
    if flat["activation_fn"] == "topk" and k is not None:
        flat |= {"architecture": "topk", "k": k}
    normalisation = flat.get("normalize_activations")
    if normalisation is None or isinstance(normalisation, bool):
        flat["normalize_activations"] = "expected_average_only_in" if normalisation else "none"
    return flat, flat


def _architecture(name: str, architecture: str, top: Mapping[str, Any]) -> str:
    if architecture in REFUSED_ARCHITECTURES:
        raise SaeError(
            f"{name}: architecture {architecture!r} is not run: "
            f"{REFUSED_ARCHITECTURES[architecture]}"
        )
    if architecture not in ARCHITECTURES:
        raise SaeError(
            f"{name}: architecture {architecture!r} is not known, "
            f"expected one of {', '.join(sorted(ARCHITECTURES))}"
        )
    if top.get("activation_fn", "relu") not in ("relu", "topk"):
        raise SaeError(
            f"{name}: activation_fn is {repr(top['activation_fn'])[:60]}, expected 'relu' or "
            "'topk'",
            hint="SAELens 6 no longer applies other functions, so its latents would be wrong",
        )
    return architecture


def _subtracts_b_dec(name: str, fields: _Fields, architecture: str) -> bool:
    subtracts = fields.flag("apply_b_dec_to_input")
    if subtracts and architecture in TRANSCODERS:
        raise SaeError(
            f"{name}: cfg.json: apply_b_dec_to_input is true, expected false: "
            "a transcoder's b_dec lies at the place it writes to"
        )
    return subtracts


def _normalisation(name: str, normalisation: str) -> str:
    if normalisation == "covariance_whitening":
        raise SaeError(
            f"{name}: normalize_activations is 'covariance_whitening', "
            "whose matrices are not in the file",
            hint="fold them with fold_activation_whitening and save the SAE again",
        )
    if normalisation not in NORMALISATIONS:
        raise SaeError(
            f"{name}: normalize_activations is {normalisation!r}, "
            f"expected one of {', '.join(sorted(NORMALISATIONS))}"
        )
    return normalisation


def _hook_name(name: str, metadata: _Fields) -> str:
    """The place it reads, by the one name that means one thing."""
    hook_name = metadata.text("hook_name")
    if not _HOOK.fullmatch(hook_name):
        raise SaeError(f"{name}: cfg.json: {repr(hook_name)[:60]} is no name of a hook")
    if metadata.values.get("hook_head_index") is not None:
        raise SaeError(f"{name}: reads one head of {hook_name}, expected the whole width")
    outside = str(metadata.values.get("hf_hook_name") or "")
    if hook_name.endswith(".hook_mlp_in") and outside.endswith("feedforward_layernorm.output"):
        return hook_name.replace(".hook_mlp_in", ".mlp.hook_in")
    return hook_name


def _k(fields: _Fields) -> int:
    k = fields.count("k")
    if k > fields.count("d_sae"):
        raise SaeError(f"{fields.name}: cfg.json: k is {k}, of {fields['d_sae']} latents")
    return k


def _hook_name_out(metadata: _Fields, architecture: str) -> str | None:
    """The place a transcoder writes to; without it nothing could be compared with its output."""
    if architecture not in TRANSCODERS:
        return metadata.optional(str, "hook_name_out")
    if not metadata.values.get("hook_name_out"):
        raise SaeError(
            f"{metadata.name}: cfg.json has no {metadata.prefix}hook_name_out, "
            "so it does not say where this transcoder writes",
            hint=f"add {metadata.prefix}hook_name_out, such as blocks.0.hook_mlp_out",
        )
    return metadata.text("hook_name_out")


def _centres(
    name: str, model: Mapping[str, Any], hook_name: str, normalisation: str, old: bool
) -> bool:
    """Whether it was trained on a residual stream whose mean TransformerLens had removed."""
    if not hook_name.endswith(_RESIDUAL_SPACE) or normalisation == "layer_norm":
        return False
    stated = model.get("model_from_pretrained_kwargs")
    if old and stated is None and str(model.get("model_name", "")).startswith("gpt2"):
        raise SaeError(
            f"{name}: cfg.json does not say whether the residual stream was centred",
            hint="add 'model_from_pretrained_kwargs': {'center_writing_weights': true} to cfg.json "
            "for SAEs trained on TransformerLens' processed GPT-2 (as gpt2-small-res-jb), else {}",
        )
    return isinstance(stated, Mapping) and bool(stated.get("center_writing_weights", False))


def _neuronpedia_id(model: Mapping[str, Any]) -> str | None:
    """Where Neuronpedia shows it; what is no id of model and source is passed over."""
    found = model.get("neuronpedia_id")
    return found if isinstance(found, str) and re.fullmatch(NEURONPEDIA_ID, found) else None


def _pursuit(fields: _Fields) -> dict[str, Any]:
    return {
        "residual_threshold": fields.number("residual_threshold"),
        "max_iterations": fields.optional(int, "max_iterations"),
        "stop_on_duplicate_support": fields.flag("stop_on_duplicate_support"),
    }
