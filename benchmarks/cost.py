"""What a billion tokens would cost: arithmetic, not a measurement.

    python -m benchmarks.cost                     # the tables of docs/scale.md

Operations of a token are counted, a share of the chip's peak is assumed, and the price of an hour
is a variable. Nothing here was timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TOKENS = 1_000_000_000
CONTEXT = 512
"""Tokens of an item, for attention's own products."""

PEAK = {"float32": 67e12, "bfloat16": 989e12}
"""Operations a second of an H100 SXM by its data sheet, dense, without TF32."""

UTILISATION = 0.3
"""Assumed share of the peak."""

PRICES = (1.0, 2.5, 4.0)
"""Dollars for a GPU-hour, as examples."""


@dataclass(frozen=True)
class Case:
    """A model as far as a hook, and an SAE there."""

    name: str
    parameters: float
    """In the blocks; an embedding is looked up, and the head is not reached."""

    blocks: int
    run: int
    """Blocks up to the hook and with it."""

    d: int
    d_sae: int

    @property
    def model(self) -> float:
        """Operations of a token up to the hook: two for each weight, and attention's products."""
        return 2 * self.parameters * self.run / self.blocks + 4 * CONTEXT * self.d * self.run

    @property
    def sae(self) -> float:
        """Encoder, random counterpart and decoder, each a product of ``d`` by ``d_sae``."""
        return 3 * 2 * self.d * self.d_sae

    def hours(self, dtype: str) -> float:
        """GPU-hours for `TOKENS`. The SAE computes in float32, whatever the model does."""
        seconds = self.model / PEAK[dtype] + self.sae / PEAK["float32"]
        return TOKENS * seconds / UTILISATION / 3600


CASES = (
    Case("4B", 3.2e9, 34, 18, 2560, 65_536),
    Case("4B", 3.2e9, 34, 18, 2560, 262_144),
    Case("27B", 25.6e9, 62, 41, 5376, 65_536),
    Case("27B", 25.6e9, 62, 41, 5376, 262_144),
)
"""Sizes of Gemma 3 4B and 27B, at the layers 17 and 40 of Gemma Scope 2."""


def operations() -> list[str]:
    """Operations of a token, as a table in Markdown."""
    rows = [
        (case.name, f"{case.run} of {case.blocks}", f"{case.d_sae:,}",
         f"{case.model / 1e9:.2f}", f"{case.sae / 1e9:.2f}")
        for case in CASES
    ]  # fmt: skip
    return list(_table(("model", "blocks run", "SAE width", "model, GFLOP", "SAE, GFLOP"), rows))


def costs() -> list[str]:
    """GPU-hours and prices, as a table in Markdown."""
    rows = []
    for case in CASES:
        for dtype in PEAK:
            hours = case.hours(dtype)
            prices = (f"{hours * price:,.0f}" for price in PRICES)
            rows.append((case.name, f"{case.d_sae:,}", dtype, f"{hours:,.0f}", *prices))
    heads = (f"at ${price:.2f}" for price in PRICES)
    return list(_table(("model", "SAE width", "model's dtype", "GPU-hours", *heads), rows))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    print("\n".join([*operations(), "", *costs()]))
