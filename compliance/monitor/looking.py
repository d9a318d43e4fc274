"""What is kept of one forward pass: the watched latents of each token, and norms. No activations.

Nothing here waits for the device: what was kept is fetched by the thread that scores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compliance.monitor.scoring import Row
from compliance.probes.sae import Sae

_TOGETHER = frozenset({"topk", "abstopk", "matching_pursuit"})
"""Architectures in which a latent depends on the others, so that all of them are needed."""


class SensorError(Exception):
    """Something that the sensor cannot read. The message never quotes what was read."""


@dataclass(frozen=True)
class Look:
    """The watched latents of one SAE."""

    index: int
    """Of the SAE in the pack's plan."""

    sae: Sae
    latents: tuple[int, ...]

    @property
    def hook(self) -> str:
        return self.sae.facts.hook_name

    def encode(self, x: Tensor) -> Tensor:
        """The watched latents of activations, ``[n, watched]``."""
        whole = self.sae.config.architecture in _TOGETHER
        return self.sae.encode(x, self.latents if whole else None)

    def on(self, device: torch.device) -> Look:
        """The same on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.sae.tensors.items()}
        return replace(self, sae=replace(self.sae, tensors=moved))


def look_of(index: int, sae: Sae, latents: Sequence[int]) -> Look:
    """The watched latents of an SAE, with no more of its weights than they need."""
    if sae.config.architecture in _TOGETHER:
        return Look(index, sae, tuple(latents))
    chosen = list(latents)
    kept = {
        name: tensor[..., chosen].contiguous()
        for name, tensor in sae.tensors.items()
        if name in ("W_enc", "b_enc", "b_gate", "b_mag", "r_mag", "threshold")
    }
    kept["W_dec"] = sae.tensors["W_dec"][chosen].contiguous()
    kept["b_dec"] = sae.tensors["b_dec"]
    return Look(index, replace(sae, tensors=kept), tuple(latents))


@dataclass
class Pass:
    """One run of the model: its tokens, and what was kept at each hook."""

    ids: Tensor
    """``[batch, position]``"""

    mask: Tensor | None
    """1 at real tokens, in the shape of ``ids``; None where all are real."""

    past: int
    """Positions that were in the cache before."""

    latents: dict[int, Tensor] = field(default_factory=dict)
    """By SAE ``[batch, position, watched]``."""

    norms: dict[str, Tensor] = field(default_factory=dict)
    """By hook ``[batch, position]``."""

    problem: str | None = None

    def see(self, hook: str, value: Any, looks: Sequence[Look]) -> None:
        """Keep what is wanted of the activations at a hook.

        Raises:
            SensorError: They are not those of the tokens, or were there before.
        """
        x = value[0] if isinstance(value, tuple) else value
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[:2] != self.ids.shape:
            raise SensorError(f"{hook}: holds no activations of each token")
        if hook in self.norms:
            raise SensorError(f"{hook}: was passed twice in one run")
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x = x.detach().float()
            self.norms[hook] = torch.linalg.vector_norm(x, dim=-1)
            for look in looks:
                self.latents[look.index] = self._encoded(look, x)

    def _encoded(self, look: Look, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if self.mask is None:
            return look.encode(flat).reshape(*x.shape[:2], -1)
        # What stands at padding is anything, and some SAEs refuse a vector of zeros.
        real = torch.nonzero(self.mask.reshape(-1)).flatten()
        found = x.new_zeros(len(flat), len(look.latents))
        return found.index_copy_(0, real, look.encode(flat[real])).reshape(*x.shape[:2], -1)

    @property
    def rows(self) -> int:
        return self.ids.shape[0]

    @property
    def width(self) -> int:
        return self.ids.shape[1]


def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any], given: Tensor | None = None) -> Pass:
    """What is to be kept of a run, by the inputs that the model is given.

    Args:
        args: Of the model.
        kwargs: Of the model.
        given: The mask that ``generate`` was given, which makes another one of it for some caches.

    Raises:
        SensorError: It is given no tokens, or no mask that says which of them are real.
    """
    ids = kwargs.get("input_ids", args[0] if args else None)
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise SensorError("the model was given embeddings, and no tokens")
    past, width = _past(kwargs), ids.shape[1]
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    if mask is None or (past and width == 1):
        # One by one tokens are real; looking would wait for the device each time.
        return Pass(ids.detach().clone(), None, past)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        mask = None if given is None else given[:, : past + width]
        if mask is None or len(ids) % len(mask) or mask.shape[1] != past + width:
            raise SensorError("the attention mask does not say which tokens are real")
        mask = mask.repeat_interleave(len(ids) // len(mask), dim=0)
    mask = mask[:, -width:].to(ids.device)
    return Pass(ids.detach().clone(), None if bool(mask.all()) else mask.clone(), past)


def _past(kwargs: Mapping[str, Any]) -> int:
    cache = kwargs.get("past_key_values")
    if cache is None:
        return 0
    length = getattr(cache, "get_seq_length", None)
    if length is None:
        raise SensorError("the cache does not say how many tokens it holds")
    return int(length())


def marks(run: Pass) -> list[torch.cuda.Event]:
    """Points in the devices' work, after what was kept of a run, that a thread can wait for."""
    found = []
    for device in {values.device for values in run.norms.values()}:
        if device.type == "cuda":
            mark = torch.cuda.Event()
            mark.record(torch.cuda.current_stream(device))
            found.append(mark)
    return found


def joined(passes: Sequence[Pass]) -> Pass:
    """Passes that follow each other as one."""
    with torch.inference_mode():
        real = [one.mask is None for one in passes]
        return Pass(
            ids=torch.cat([one.ids for one in passes], dim=1),
            mask=None if all(real) else torch.cat([_real(one) for one in passes], dim=1),
            past=passes[0].past,
            latents={
                index: torch.cat([one.latents[index] for one in passes], dim=1)
                for index in passes[0].latents
            },
            norms={
                hook: torch.cat([one.norms[hook] for one in passes], dim=1)
                for hook in passes[0].norms
            },
        )


def rows_of(passes: Sequence[Pass], prompt: int) -> list[Row]:
    """Sequences of some passes that follow each other, each with its real tokens alone.

    Args:
        passes: Of one batch, in order.
        prompt: Positions of the prompt, with padding.
    """
    whole = joined(passes)
    ids, real = whole.ids.cpu(), _real(whole).cpu().bool()
    latents = {index: values.cpu() for index, values in whole.latents.items()}
    norms = {hook: values.cpu() for hook, values in whole.norms.items()}
    return [
        Row(
            ids=ids[r][real[r]].tolist(),
            latents={index: values[r][real[r]] for index, values in latents.items()},
            norms={hook: values[r][real[r]] for hook, values in norms.items()},
            prompt=int(real[r][:prompt].sum()),
        )
        for r in range(len(ids))
    ]


def _real(one: Pass) -> Tensor:
    return torch.ones_like(one.ids) if one.mask is None else one.mask
