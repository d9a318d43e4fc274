"""A latent as a person looks at it: what its weights say, and what it does on a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compliance.features.reading import deep_link
from compliance.records.subject import SaeFacts


@dataclass(frozen=True)
class Attention:
    """Where the heads of the hooked layer look."""

    hook_name: str
    tokens: tuple[str, ...]
    """Every token that the model is given; the prompt's own as their characters."""

    content: tuple[int, ...]
    """Which of them are the prompt's own."""

    weights: np.ndarray
    """float32 ``[heads, from, to]``; each row sums to 1."""

    def strongest(self, token: int, n: int) -> list[tuple[int, int, float]]:
        """Head, place and share of the largest weights that a token of the prompt gives."""
        rows = self.weights[:, self.content[token], :]
        order = np.argsort(-rows, axis=None, kind="stable")[:n]
        places = (divmod(int(index), rows.shape[1]) for index in order)
        return [(head, place, float(rows[head, place])) for head, place in places]


@dataclass(frozen=True)
class PromptToken:
    """A latent on one token of a prompt."""

    text: str
    activation: float
    start: int
    """First of its characters in the prompt; several tokens may share a character."""

    end: int


@dataclass(frozen=True)
class Prompted:
    """A latent on a prompt."""

    prompt: str
    tokens: tuple[PromptToken, ...]
    """The prompt's own, without those of the chat template."""

    attention: Attention | None

    @property
    def largest(self) -> float:
        """The activation that is furthest from zero, without its sign."""
        return max((abs(token.activation) for token in self.tokens), default=0.0)

    @property
    def strongest(self) -> int | None:
        """Where that activation is, the first of several; None where it is active nowhere."""
        found = (i for i, t in enumerate(self.tokens) if abs(t.activation) == self.largest)
        return next(found) if self.largest else None


@dataclass(frozen=True)
class Shown:
    """What the weights say of a latent, and what it does on a prompt."""

    model: str
    number: int
    """Of the SAE in ``audit.yaml``."""

    sae: SaeFacts
    latent: int
    decoder_norm: float
    top: tuple[tuple[str, float], ...]
    """Tokens that it raises, and by how much one unit of activation raises their logits."""

    bottom: tuple[tuple[str, float], ...]
    nearest: tuple[tuple[int, float], ...]
    """Latents whose decoder directions are nearest, with the cosine."""

    prompted: Prompted | None

    @property
    def link(self) -> str | None:
        """Where Neuronpedia shows it."""
        return link(self.sae, self.latent)


def link(sae: SaeFacts, latent: int) -> str | None:
    """Where Neuronpedia shows a latent, as text, if the SAE's configuration says so."""
    return deep_link(sae.neuronpedia_id, latent) if sae.neuronpedia_id else None
