"""Reads the residual stream of a subject: one hook, whole sequences, real positions only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SINK_FACTOR = 10.0
LONGEST = 512
"""Positions behind this one are not read."""


@dataclass(frozen=True)
class Window:
    """Tokens that are run as one sequence from position 0."""

    tokens: tuple[int, ...]


class Subject:
    """A causal language model, read at the output of one block."""

    def __init__(self, folder: Path, hook: str, dtype: torch.dtype) -> None:
        block = hook.removeprefix("blocks.").removesuffix(".hook_resid_post")
        if not block.isdigit():
            sys.exit(f"{hook}: only blocks.N.hook_resid_post is supported")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.block = self.model.get_decoder().layers[int(block)]
        self.width = self.model.config.hidden_size
        self.context = min(LONGEST, self.model.config.max_position_embeddings)

    @property
    def prepends_bos(self) -> bool:
        """Whether the tokenizer begins plain text with a BOS of its own accord."""
        return self.tokenizer("a").input_ids[0] == self.tokenizer.bos_token_id

    @torch.inference_mode()
    def residual(self, tokens: torch.Tensor) -> torch.Tensor:
        """Activations at the hook in float32; later blocks are not run."""
        seen: list[torch.Tensor] = []

        def stop(_module: object, _args: object, output: torch.Tensor | tuple) -> None:
            seen.append(output if isinstance(output, torch.Tensor) else output[0])
            raise _SeenError

        handle = self.block.register_forward_hook(stop)
        try:
            self.model(tokens, use_cache=False)
        except _SeenError:
            pass
        finally:
            handle.remove()
        return seen[0].float()


class _SeenError(Exception):
    """Ends a forward pass behind the block that was read; nothing went wrong."""


def capture(subject: Subject, chosen: list[Window], progress: Progress) -> tuple[torch.Tensor, int]:
    """Activations at the kept positions of all windows, in float32."""
    rows = [rows for batch in batches(chosen) for rows in run_batch(subject, batch, progress)]
    activations = torch.cat([activation for activation, _ in rows])
    is_bos = torch.cat([bos for _, bos in rows])
    kept = keep(activations, is_bos)
    return activations[kept], int((~kept).sum())


def keep(activations: torch.Tensor, is_bos: torch.Tensor) -> torch.Tensor:
    """All positions but the first token's mark and attention sinks (norm above 10 medians)."""
    norms = activations.norm(dim=-1)
    return ~is_bos & (norms <= SINK_FACTOR * norms.median())


def batches(chosen: list[Window], tokens: int = 4096) -> Iterator[list[Window]]:
    """Windows of like length together: little padding, a few thousand tokens at a time."""
    batch: list[Window] = []
    for window in sorted(chosen, key=lambda window: len(window.tokens)):
        if batch and len(window.tokens) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(window)
    yield batch


def pad(batch: list[Window]) -> torch.Tensor:
    """Pads on the right, where a causal model's earlier positions cannot see it."""
    longest = max(len(window.tokens) for window in batch)
    return torch.tensor([[*w.tokens, *[0] * (longest - len(w.tokens))] for w in batch])


def run_batch(
    subject: Subject, batch: list[Window], progress: Progress
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each window its activations and which of them stand at a leading BOS."""
    residual = subject.residual(pad(batch))
    bos = subject.tokenizer.bos_token_id
    for window, rows in zip(batch, residual, strict=True):
        first = torch.zeros(len(window.tokens), dtype=torch.bool)
        first[0] = window.tokens[0] == bos
        yield rows[: len(window.tokens)], first
        progress.advance(len(window.tokens))


class Progress:
    """Prints how far a stage is and how long it still takes, every ten seconds, on stderr."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self.begun = self.said = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said < 10:
            return
        self.said = now
        left = max(0.0, (self.total - self.done) * (now - self.begun) / self.done)
        line = f"{self.stage}: {self.done:,} of {self.total:,} tokens, {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)
