"""What one pass is to read and to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Literal

from compliance.errors import SaeError
from compliance.probes.hooks import VISION
from compliance.probes.random_sae import RandomSae
from compliance.probes.sae import Sae
from compliance.probes.subject import Subject
from compliance.records.audit import Shift
from compliance.records.base import digest_of
from compliance.records.observation import CONTROL_SCORERS, SURFACE
from compliance.records.plan import Choices, Plan
from compliance.records.suite import Variant
from compliance.statistics.logistic import Linear

Stage = Literal["search", "calibrate", "confirm", "losses", "shifts", "repeats"]

ALONE = frozenset({"losses", "repeats"})
"""Passes whose items are run one by one."""


@dataclass(frozen=True)
class Reader:
    """Everything that reads: the subject, its SAEs, and their random counterparts."""

    subject: Subject
    saes: tuple[Sae, ...]
    random: tuple[RandomSae, ...] = ()
    """One for each SAE; only the passes that have a random control need them."""

    def __post_init__(self) -> None:
        """Refuse SAEs that do not read the same tokens.

        Raises:
            SaeError: Some read the text stream and others the vision tower.
        """
        if len({name.startswith(VISION) for name in self.hook_names}) > 1:
            raise SaeError(
                "some SAEs read the text stream and others the vision tower, whose rows are no "
                "tokens of the text",
                hint="audit them apart",
            )

    @property
    def hook_names(self) -> tuple[str, ...]:
        """Hooks to capture, inputs and a transcoder's outputs, each once."""
        names = [sae.facts.hook_name for sae in self.saes]
        names += [output_hook(sae) for sae in self.saes]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Task:
    """What one pass is to write.

    ``search``: latents that fired on positives and hard negatives, of the SAEs and of their random
    counterparts, and the vectors that linear controls are fitted on.
    ``calibrate``: benign scores under every scorer that gets a cut-off, and sums of fidelity.
    ``confirm``: scores under every scorer, random latents, sums of fidelity, firing, what fires
    together with the locked probes' features, and the probe on each token.
    ``losses``: the model's losses on reconstructions.
    ``shifts``, ``repeats``: scores of the probe alone.
    """

    plan: Plan
    stage: Stage
    choices: Choices | None = None
    """Absent in the search, which comes before them."""

    weights: Mapping[tuple[str, str, Variant], Linear] = field(default_factory=dict)
    """Of the linear controls, by scorer, concept and variant."""

    environment: str = ""
    """Digest of packages, machine and device; shards of two are never mixed."""

    shift: Shift | None = None
    """How items are changed; two shifts of a picture have the same tokens."""

    @property
    def digest(self) -> str:
        """Names the pass; a shard of another pass is not taken for one of this."""
        return digest_of(
            {"plan": digest_of(self.plan), "stage": self.stage, "shift": self.shift,
             "environment": self.environment,
             "choices": digest_of(self.choices) if self.choices else None,
             "weights": [[*key, _weights_digest(linear)] for key, linear in
                         sorted(self.weights.items())]}
        )  # fmt: skip

    @cached_property
    def scorers(self) -> tuple[str, ...]:
        """Every scorer a row of this pass can have; rows name one by its place here."""
        names = ["probe", *(s.scorer for s in self.plan.settings), *CONTROL_SCORERS]
        if self.choices is not None:
            names += [sparse.scorer for sparse in self.choices.sparse_probes]
            names += sorted({n.scorer for n in self.choices.neighbours})
        return tuple(dict.fromkeys(names))

    @cached_property
    def locked_features(self) -> tuple[tuple[int, int], ...]:
        """SAE and latent of each feature of a locked probe, each once and in order."""
        probes = self.choices.probes if self.choices else ()
        return tuple(sorted({(f.sae, f.latent) for probe in probes for f in probe.features}))

    @property
    def watched(self) -> dict[int, list[int]] | None:
        """Latents of each SAE that the pass reads, in order; None: all of them."""
        if self.stage not in ("shifts", "repeats"):
            return None
        found: dict[int, list[int]] = {}
        for sae, latent in self.locked_features:
            found.setdefault(sae, []).append(latent)
        return found

    @cached_property
    def vectors(self) -> tuple[str, ...]:
        """Kinds of vectors that linear controls are fitted on, in the SAEs' order."""
        hooks = dict.fromkeys(sae.hook_name for sae in self.plan.saes)
        each = [f"{kind}/{s}" for s in range(len(self.plan.saes)) for kind in _OF_SAE]
        return (*(f"residual/{hook}" for hook in hooks), *each, *SURFACE)


_OF_SAE = ("reconstruction", "error")


def output_hook(sae: Sae) -> str:
    """Where what an SAE is to reconstruct stands: its input, or a transcoder's output."""
    return (sae.config.hook_name_out if sae.config.is_transcoder else None) or sae.facts.hook_name


def _weights_digest(linear: Linear) -> str:
    return sha256(linear.weights.tobytes()).hexdigest() + repr(linear.bias)
