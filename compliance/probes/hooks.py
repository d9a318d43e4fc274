"""Where an SAE reads: from SAELens' hook names to the modules of a transformers model.

SAELens names places in a model as TransformerLens does. The same numbers are at hand in a plain
transformers model, at the input or the output of a module; this table was compared with
TransformerLens family by family (``tests/probes/test_hooks.py``)::

    capture(model, ids, mask, ["blocks.6.hook_resid_pre"])    # {name: [batch, position, d]}

    with replaced(model, "blocks.6.hook_resid_pre", change):  # the model goes on from change(x)
        model(ids)

Of a vision-language model these names mean the text stream; ``vision.blocks.6.hook_resid_post`` is
a place in its vision tower, which knows pictures or tiles, or the patches of all pictures end to
end: ``[pictures, patches, d]`` or ``[patches, d]``.

The stack of blocks is found by its structure, since its path moves between versions. Only the
residual stream is read in families outside the table: its place is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compliance.errors import ProbeError, SaeError

Side = Literal["input", "output"]

EMBED = "hook_embed"
VISION = "vision."
"""How names of places in the vision tower of a vision-language model begin."""

_RESIDUAL: dict[str, tuple[str, Side]] = {
    "hook_resid_pre": ("", "input"),
    "hook_resid_post": ("", "output"),
}
_LLAMA: dict[str, tuple[str, Side]] = _RESIDUAL | {
    "hook_resid_mid": ("post_attention_layernorm", "input"),
    "hook_attn_out": ("self_attn", "output"),
    "hook_mlp_out": ("mlp", "output"),
    "attn.hook_z": ("self_attn.o_proj", "input"),
    "mlp.hook_in": ("mlp", "input"),
}
_GPT2: dict[str, tuple[str, Side]] = _RESIDUAL | {
    "hook_resid_mid": ("ln_2", "input"),
    "hook_attn_out": ("attn", "output"),
    "hook_mlp_out": ("mlp", "output"),
    "attn.hook_z": ("attn.c_proj", "input"),
    "mlp.hook_in": ("mlp", "input"),
}
_NEOX: dict[str, tuple[str, Side]] = _RESIDUAL | {
    "hook_resid_mid": ("post_attention_layernorm", "input"),
    "hook_attn_out": ("attention", "output"),
    "hook_mlp_out": ("mlp", "output"),
    "attn.hook_z": ("attention.dense", "input"),
    "mlp.hook_in": ("mlp", "input"),
}
_GEMMA: dict[str, tuple[str, Side]] = _RESIDUAL | {
    "hook_resid_mid": ("pre_feedforward_layernorm", "input"),
    "hook_attn_out": ("post_attention_layernorm", "output"),
    "hook_mlp_out": ("post_feedforward_layernorm", "output"),
    "attn.hook_z": ("self_attn.o_proj", "input"),
    "mlp.hook_in": ("mlp", "input"),
}
_FAMILIES = {
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
"""Places inside a block by ``model_type``: module and side."""

_ORDER = (
    "hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "mlp.hook_in",
    "hook_mlp_out", "hook_resid_post",
)  # fmt: skip
"""Places of a block as it passes them."""

READ_ONLY = "hook_resid_mid"
"""Can be read, not replaced: see ``can_replace``."""

_REFUSED = {
    "hook_normalized": "TransformerLens' value there is before the norm's weight; "
    "no module of transformers gives it",
    "hook_mlp_in": "TransformerLens means the residual stream before the norm, SAELens' "
    "transcoders the MLP's input after it; name it hook_resid_mid or mlp.hook_in",
}


@dataclass(frozen=True, eq=False)
class Site:
    """One place in a model."""

    hook_name: str
    path: str
    """Of the module, from the model down."""

    module: nn.Module
    side: Side

    @property
    def width(self) -> int | None:
        """Numbers a token has here, where the module tells it (``hook_z``, vision); else None."""
        if self.side == "input" and isinstance(self.module, nn.Linear | Conv1D):
            weight = self.module.weight
            return weight.shape[1] if isinstance(self.module, nn.Linear) else weight.shape[0]
        if self.hook_name.startswith(VISION):
            return _norm_width(self.module)
        return None


def _norm_width(block: nn.Module) -> int | None:
    """Numbers that a block's first norm takes, which the residual stream has."""
    norms = (module for module in block.modules() if "Norm" in type(module).__name__)
    return next((len(p) for norm in norms for p in norm.parameters() if p.ndim == 1), None)


def resolve(model: nn.Module, hook_name: str) -> Site:
    """Find the module that a hook name of SAELens means.

    Raises:
        SaeError: The model has no such place; the message lists the nearest it has.
        ProbeError: No stack of blocks can be told in the model.
    """
    if hook_name.startswith(VISION):
        return _in_tower(model, hook_name)
    path, blocks = _block_stack(model)
    family = _text_config(model).model_type
    if hook_name == EMBED and family in _FAMILIES:
        return _embedding(model, path, blocks)
    places = _places(model)
    number, place = _split(hook_name)
    if place not in places or number is None or number >= len(blocks):
        raise SaeError(_unknown(model, hook_name), hint=_nearest(model, hook_name))
    module, side = places[place]
    block = blocks[number]
    try:
        found = block.get_submodule(module)
    except AttributeError as error:  # a hybrid model, whose blocks differ
        raise SaeError(
            f"{hook_name}: block {number} of this {family} model has no {module}, "
            f"it is a {type(block).__name__} with {[name for name, _ in block.named_children()]}"
        ) from error
    full = ".".join(part for part in (path, str(number), module) if part)
    return Site(hook_name=hook_name, path=full, module=found, side=side)


def hook_names(model: nn.Module) -> tuple[str, ...]:
    """Every place of the model that can be read, in the order of the blocks."""
    count = block_count(model)
    inside = (f"blocks.{number}.{place}" for number in range(count) for place in _places(model))
    before = (EMBED,) if _text_config(model).model_type in _FAMILIES else ()
    tower = _vision_stack(model)
    seen = range(len(tower[1]) if tower else 0)
    vision = (f"{VISION}blocks.{number}.{place}" for number in seen for place in _RESIDUAL)
    return (*before, *inside, *vision)


def block_count(model: nn.Module) -> int:
    """Number of text blocks, or of blocks of a vision encoder."""
    return len(_block_stack(model)[1])


def capture(
    model: nn.Module,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    hook_names: Sequence[str],
    **inputs: Any,
) -> dict[str, Tensor]:
    """Run the model as far as the deepest place asked for, and return what is there.

    Args:
        model: A transformers model in evaluation mode.
        input_ids: ``[batch, position]``. Pad on the right, or give ``position_ids`` too. None for
            a vision encoder, which reads pixels alone.
        attention_mask: 1 at real tokens; absent where all are real.
        hook_names: SAELens' names of the places.
        **inputs: Further inputs of the model, such as ``pixel_values``.

    Returns:
        ``[batch, position, d]`` by hook name, on the model's device. What stands at padding is
        whatever the model computed there. In a vision tower ``[pictures, patches, d]`` or
        ``[patches, d]``.

    Raises:
        SaeError: The model has no such place.
        ProbeError: A place was not passed exactly once, or holds a number that is not finite.
    """
    sites = [resolve(model, name) for name in dict.fromkeys(hook_names)]
    seen = _Seen(len(sites))
    if input_ids is not None:
        inputs |= {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    with _attached(sites, seen), torch.no_grad(), suppress(_AllSeen):
        model(**inputs)
    for site in sites:
        _check(site, seen.values.get(site.hook_name, []), input_ids, attention_mask)
    return {site.hook_name: seen.values[site.hook_name][0] for site in sites}


def can_replace(model: nn.Module, hook_name: str) -> bool:
    """Whether what stands at a place can be replaced, not only read.

    The stream between attention and MLP is read where the norm takes it; the model keeps a copy
    of its own for the sum that follows, which no module passes on.

    Raises:
        SaeError: The model has no such place.
    """
    return not resolve(model, hook_name).hook_name.endswith(READ_ONLY)


def is_reached(hook_name: str, changed: str) -> bool:
    """Whether a change at one place of the text stream can be seen at another: it is no earlier."""

    def order(name: str) -> tuple[int, int]:
        number, place = _split(name)
        return (-1, 0) if number is None else (number, _ORDER.index(place))

    return order(hook_name) >= order(changed)


@contextmanager
def replaced(
    model: nn.Module, hook_name: str, change: Callable[[Tensor], Tensor], *, runs: int | None = 1
) -> Iterator[None]:
    """Let the model go on from ``change(x)`` in place of what stands at a place.

    Args:
        model: A transformers model in evaluation mode.
        hook_name: SAELens' name of the place.
        change: Takes and gives ``[batch, position, d]``, and leaves what it takes as it is.
        runs: How often the model is run inside the ``with``; None: once or more, as it is when
            text is generated.

    Raises:
        SaeError: The model has no such place, or it can only be read.
        ProbeError: The place was not passed once a run, or holds no activations.
    """
    if not can_replace(model, hook_name):
        raise SaeError(
            f"{hook_name}: can be read and not replaced, since the model keeps a copy of its own"
        )
    with _on_the_way(model, hook_name, change, runs):
        yield


@contextmanager
def watched(
    model: nn.Module, hook_name: str, look: Callable[[Tensor], None], *, runs: int | None = 1
) -> Iterator[None]:
    """Show ``look`` what stands at a place, and let the model go on as it is.

    Arguments and errors are those of `replaced`; a place that can only be read will do.
    """

    def same(x: Tensor) -> Tensor:
        look(x)
        return x

    with _on_the_way(model, hook_name, same, runs):
        yield


@contextmanager
def _on_the_way(
    model: nn.Module, hook_name: str, change: Callable[[Tensor], Tensor], runs: int | None
) -> Iterator[None]:
    site, passed = resolve(model, hook_name), 0

    def changed(value: Any) -> Any:
        nonlocal passed
        passed += 1
        first = value[0] if isinstance(value, tuple) else value
        if not isinstance(first, Tensor) or first.ndim != 3:
            raise ProbeError(f"{hook_name}: holds {type(first).__name__}, expected activations")
        return (change(first), *value[1:]) if isinstance(value, tuple) else change(first)

    handle = _attach_change(site, changed)
    try:
        yield
    finally:
        handle.remove()
    if passed != runs and (runs is not None or not passed):
        raise _passed_other(site, passed, runs)


class _AllSeen(Exception):  # noqa: N818 -- it ends a run early and is not an error
    """Raised inside the model once every place has been passed."""


class _Seen:
    """What the hooks saw, by hook name."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.values: dict[str, list[Any]] = {}

    def add(self, hook_name: str, value: Any) -> None:
        first = value[0] if isinstance(value, tuple) else value
        # A copy, since the layers that follow may write into the same memory.
        copy = first.clone() if isinstance(first, Tensor) else first
        self.values.setdefault(hook_name, []).append(copy)
        if len(self.values) == self.wanted:
            raise _AllSeen


@contextmanager
def _attached(sites: Sequence[Site], seen: _Seen) -> Iterator[None]:
    handles = []
    try:
        for site in sites:
            handles.append(_attach(site, seen))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attach(site: Site, seen: _Seen) -> torch.utils.hooks.RemovableHandle:
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.add(site.hook_name, args[0] if args else kwargs.get("hidden_states"))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.add(site.hook_name, output)

    if site.side == "input":
        return site.module.register_forward_pre_hook(before, with_kwargs=True)
    return site.module.register_forward_hook(after)


def _attach_change(site: Site, changed: Callable[[Any], Any]) -> torch.utils.hooks.RemovableHandle:
    def before(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": changed(kwargs.get("hidden_states"))}

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return changed(output)

    if site.side == "input":
        return site.module.register_forward_pre_hook(before, with_kwargs=True)
    return site.module.register_forward_hook(after)


def _passed_other(site: Site, passed: int, runs: int | None) -> ProbeError:
    expected = {None: "once or more", 1: "once"}.get(runs, f"{runs} times")
    where = "one run" if runs == 1 else "all runs"
    return ProbeError(
        f"{_place(site)}: was passed {passed} times in {where}, expected {expected}",
        hint="compiled models, replayed CUDA graphs and fused layers skip hooks; "
        "load the model plainly",
    )


def _place(site: Site) -> str:
    return f"{site.hook_name} ({site.side} of {site.path})"


def _check(site: Site, seen: list[Any], input_ids: Tensor | None, mask: Tensor | None) -> None:
    place = _place(site)
    if len(seen) != 1:
        raise _passed_other(site, len(seen), 1)
    value = seen[0]
    of_text = input_ids is not None and not site.hook_name.startswith(VISION)
    shapes = value.shape[:2] == input_ids.shape if of_text and isinstance(value, Tensor) else True
    dimensions = (3,) if of_text else (2, 3)
    if not isinstance(value, Tensor) or not shapes or value.ndim not in dimensions:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        of = f"for {tuple(input_ids.shape)} tokens" if of_text else "of a vision tower"
        raise ProbeError(f"{place}: holds {found}, expected [batch, position, d] {of}")
    real = value if mask is None or not of_text else value[mask.to(value.device) == 1]
    if not bool(torch.isfinite(real).all()):
        count = int((~torch.isfinite(real)).sum())
        raise ProbeError(
            f"{place}: {count} of {real.numel()} numbers are not finite",
            hint="half precision overflows in some models; try dtype: float32",
        )


def _places(model: nn.Module) -> dict[str, tuple[str, Side]]:
    config = _text_config(model)
    places = _FAMILIES.get(config.model_type, _RESIDUAL)
    if getattr(config, "use_parallel_residual", False):
        return {name: place for name, place in places.items() if name != "hook_resid_mid"}
    return places


def _split(hook_name: str) -> tuple[int | None, str]:
    parts = hook_name.split(".", 2)
    if len(parts) == 3 and parts[0] == "blocks" and parts[1].isdigit():
        return int(parts[1]), parts[2]
    return None, hook_name


def _unknown(model: nn.Module, hook_name: str) -> str:
    config, last = _text_config(model), hook_name.rsplit(".", 1)[-1]
    if last in _REFUSED:
        return f"{hook_name}: {_REFUSED[last]}"
    if last == "hook_resid_mid" and getattr(config, "use_parallel_residual", False):
        return (
            f"{hook_name}: this {config.model_type} model adds attention and MLP in parallel, "
            "so there is no stream between them"
        )
    known = "" if config.model_type in _FAMILIES else ", and only its residual stream is mapped"
    count = block_count(model)
    return (
        f"{hook_name}: is not a place of this {config.model_type} model, "
        f"which has {count} blocks{known}"
    )


def _nearest(model: nn.Module, hook_name: str) -> str:
    close = get_close_matches(hook_name, hook_names(model), n=4, cutoff=0.0)
    return f"the nearest places it has: {', '.join(close)}"


def _embedding(model: nn.Module, path: str, blocks: nn.ModuleList) -> Site:
    # Without learned positions the first block reads the embedding, scaled where a model does so.
    if _text_config(model).model_type == "gpt2":
        embedding = model.get_input_embeddings()
        return Site(EMBED, _path_of(model, embedding), embedding, "output")
    return Site(EMBED, f"{path}.0", blocks[0], "input")


def _path_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(path for path, module in model.named_modules() if module is wanted)


def _in_tower(model: nn.Module, hook_name: str) -> Site:
    stack = _vision_stack(model)
    if stack is None:
        raise SaeError(
            f"{hook_name}: {type(model).__name__} has no vision tower beside a text stream",
            hint="the places of a vision encoder alone are named without 'vision.'",
        )
    path, blocks = stack
    number, place = _split(hook_name.removeprefix(VISION))
    if place not in _RESIDUAL or number is None or number >= len(blocks):
        raise SaeError(
            f"{hook_name}: is not a place of the vision tower, which has {len(blocks)} blocks, "
            "and only its residual stream is mapped",
            hint=_nearest(model, hook_name),
        )
    side = _RESIDUAL[place][1]
    return Site(hook_name=hook_name, path=f"{path}.{number}", module=blocks[number], side=side)


def _text_config(model: nn.Module) -> Any:
    return model.config.get_text_config()


def _block_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The stack of text blocks and its path.

    It is a list of modules of one class that have attention. In a model with several, such as a
    vision-language model, it is the one that stands beside the embedding of tokens.
    """
    embedding = model.get_input_embeddings()
    stacks = _stacks(model)
    beside = [stack for stack in stacks if _stands_beside(model, stack[0], embedding)]
    chosen = beside or stacks
    if len(chosen) != 1:
        raise ProbeError(
            f"{type(model).__name__}: expected one stack of text blocks, "
            f"found {[path for path, _ in chosen] or 'none'}"
        )
    return chosen[0]


def _vision_stack(model: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """The one stack of blocks beside the text blocks, and its path; None where there is none."""
    text = _block_stack(model)[0]
    others = [stack for stack in _stacks(model) if stack[0] != text]
    return others[0] if len(others) == 1 else None


def _stacks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and _are_blocks(module)
    ]


def _are_blocks(stack: nn.ModuleList) -> bool:
    classes = {type(block) for block in stack}
    return len(classes) == 1 and any(_has_attention(block) for block in stack)


def _has_attention(block: nn.Module) -> bool:
    return any("attention" in type(child).__name__.lower() for child in block.children())


def _stands_beside(model: nn.Module, path: str, embedding: nn.Module) -> bool:
    parent = model.get_submodule(path.rpartition(".")[0])
    return any(child is embedding for child in parent.children())
