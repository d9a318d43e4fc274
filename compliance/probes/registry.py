"""SAELens' registry of released SAEs: what is run, what is refused, and why.

Read from the file inside the package, without importing SAELens, which takes ten seconds.
Nothing here asks the network, so a reason is one that can be told from the registry alone: the
loader, and with it the architecture and the hook. An SAE that passes can still be refused when
its own configuration is read::

    for status in list_releases():
        print(status.release, status.saes, status.reason or "run")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from compliance.errors import SaeError

REGISTRY_FILE = "pretrained_saes.yaml"

_LOADERS = frozenset(
    {
        "sae_lens",
        "connor_rob_hook_z",
        "deepseek_r1",
        "dictionary_learning_1",
        "gemma_2",
        "gemma_3",
        "goodfire",
        "llama_scope",
        "llama_scope_r1_distill",
        "mwhanna_transcoder",
        "qwen_scope",
        "sparsify",
    }
)
_REFUSED_LOADERS = {
    "gemma_2_transcoder": "reads ln2.hook_normalized of an RMSNorm, before the norm's weight; "
    "no module of transformers gives that",
    "mntss_clt_layer_transcoder": "is one layer of a cross-layer transcoder with its decoders "
    "summed, so its fidelity cannot be measured",
    "temporal": "is a temporal SAE, whose latents depend on the tokens before, and activations "
    "are read one by one",
}
_NEEDS_SCALE = frozenset({"llama_scope", "llama_scope_r1_distill"})
"""Loaders whose SAEs are all trained on scaled activations."""


@dataclass(frozen=True)
class Release:
    """One release of the registry, as far as it decides what can be run."""

    model: str
    loader: str
    overrides: Mapping[str, Any]
    """Settings that the registry lays over each SAE's own configuration."""

    saes: Mapping[str, Mapping[str, Any]]
    """By id."""


@dataclass(frozen=True)
class ReleaseStatus:
    """Whether a release can be run."""

    release: str
    model: str
    saes: int
    resolved: bool
    """Whether at least one of its SAEs can be run."""

    reason: str | None
    """Why all or some of them are refused; absent where all can be run."""


@cache
def read_registry() -> Mapping[str, Release]:
    """Every release by name.

    Raises:
        SaeError: SAELens is not installed, or its registry has another shape.
    """
    path = _registry_path()
    try:
        text = path.read_text(encoding="utf-8")
        # The C loader reads 1.5 MB in a second instead of five; PyYAML may lack it.
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return {name: _release(entry) for name, entry in data.items()}
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
        raise SaeError(
            f"{REGISTRY_FILE}: cannot be read: {error!r}",
            hint="this version of SAELens keeps its registry differently; install sae-lens 6",
        ) from error


def refusal_of(release: str, sae_id: str) -> str | None:
    """Why one SAE of the registry is not run, or None.

    Raises:
        SaeError: There is no such SAE in the release.
    """
    entry = read_registry()[release]
    if sae_id not in entry.saes:
        known = ", ".join(list(entry.saes)[:5])
        raise SaeError(f"{release}: has no SAE {sae_id!r}; it has {len(entry.saes)}: {known}, ...")
    return _refusal(entry, entry.saes[sae_id])


def list_releases() -> tuple[ReleaseStatus, ...]:
    """Every release with its verdict, ordered by name."""
    return tuple(_status(name, entry) for name, entry in sorted(read_registry().items()))


def _status(name: str, entry: Release) -> ReleaseStatus:
    refusals = Counter(
        reason for sae in entry.saes.values() if (reason := _refusal(entry, sae)) is not None
    )
    refused = refusals.total()
    lines = [
        reason if count == len(entry.saes) else f"{count} of {len(entry.saes)}: {reason}"
        for reason, count in sorted(refusals.items())
    ]
    return ReleaseStatus(
        release=name,
        model=entry.model,
        saes=len(entry.saes),
        resolved=refused < len(entry.saes),
        reason="; ".join(lines) or None,
    )


def _refusal(entry: Release, sae: Mapping[str, Any]) -> str | None:
    if entry.loader in _REFUSED_LOADERS:
        return _REFUSED_LOADERS[entry.loader]
    if entry.loader not in _LOADERS:
        return f"uses SAELens' loader {entry.loader!r}, which has not been checked"
    if "/clt" in f"/{sae['path']}":
        return _REFUSED_LOADERS["mntss_clt_layer_transcoder"]
    if entry.loader in _NEEDS_SCALE and "norm_scaling_factor" not in sae:
        return "the registry lacks the factor its activations were scaled by in training"
    return None


def _release(entry: Mapping[str, Any]) -> Release:
    return Release(
        model=entry["model"],
        loader=entry.get("conversion_func") or "sae_lens",
        overrides=entry.get("config_overrides") or {},
        saes={sae["id"]: sae for sae in entry["saes"]},
    )


def _registry_path() -> Path:
    spec = find_spec("sae_lens")
    if spec is None or not spec.submodule_search_locations:
        raise SaeError(
            "sae_lens: is not installed", hint="install the extra: sae-compliance[probes]"
        )
    return Path(spec.submodule_search_locations[0]) / REGISTRY_FILE
