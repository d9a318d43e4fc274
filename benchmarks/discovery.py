"""How long the search over all latents takes, and how good the best of pure noise looks.

    python benchmarks/discovery.py [--latents K] [--items N] [--flips B] [--seed S]

The peers are the plain ways: one call of scikit-learn's ``roc_auc_score`` or scipy's
``mannwhitneyu`` for each latent and flip, or our own ``auroc_matrix`` for each flip. They are timed
on a sample of columns, or once, and multiplied: extrapolated, not run.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from compliance.statistics.discovery import max_statistic
from compliance.statistics.ranking import auroc_matrix

DENSITY = 0.07
SAMPLE = 200
"""Columns the peers are timed on."""

PAIRS = 50
TRIES = 20


def seconds(call: Callable[[], object]) -> tuple[float, object]:
    """How long a call takes, and what it returns."""
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def main() -> None:
    """Time the search, its peers, and show what luck does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=int, default=16_384)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random = np.random.RandomState(asked.seed)
    scores = sparse.random(
        asked.items, asked.latents, density=DENSITY, format="csr", random_state=random
    )
    items = np.arange(asked.items)
    labels, groups = items % 2 == 0, items // 2

    taken, found = seconds(
        lambda: max_statistic(scores, labels, groups, flips=asked.flips, seed=asked.seed)
    )
    print(f"max_statistic: {asked.latents} latents (density {DENSITY}) x {asked.items} items x "
          f"{asked.flips} flips in {taken:.2f} s; best {found.auroc:.3f}, "
          f"p {found.p_adjusted:.3f}")  # fmt: skip

    sample = scores[:, :SAMPLE].toarray().T
    peers = {
        "sklearn roc_auc_score": lambda: [roc_auc_score(labels, c) for c in sample],
        "scipy mannwhitneyu": lambda: [
            stats.mannwhitneyu(c[labels], c[~labels], method="asymptotic") for c in sample
        ],
    }
    for name, call in peers.items():
        each = seconds(call)[0] / SAMPLE
        whole = each * asked.latents * (asked.flips + 1)
        print(f"{name}: {1e3 * each:.2f} ms a column, for all under all flips "
              f"{whole / 3600:.1f} h (extrapolated from {SAMPLE} columns): "
              f"{whole / taken:.0f} times as long")  # fmt: skip
    once = seconds(lambda: auroc_matrix(scores, labels))[0]
    whole = once * (asked.flips + 1)
    print(f"auroc_matrix once for each flip: {whole:.0f} s (extrapolated from one): "
          f"{whole / taken:.0f} times as long")  # fmt: skip

    pairs = np.arange(2 * PAIRS)
    best = [
        auroc_matrix(random.normal(size=(2 * PAIRS, asked.latents)), pairs % 2 == 0).max()
        for _ in range(TRIES)
    ]
    print(f"best of pure noise, {asked.latents} latents on {PAIRS} pairs: mean of {TRIES} "
          f"{np.mean(best):.3f}, from {min(best):.3f} to {max(best):.3f}; judged:")  # fmt: skip
    for density in (1.0, 0.3, DENSITY):
        noise = random.normal(size=(2 * PAIRS, asked.latents))
        noise[random.uniform(size=noise.shape) > density] = 0.0
        found = max_statistic(noise, pairs % 2 == 0, pairs // 2, flips=asked.flips, seed=asked.seed)
        print(f"  density {density}: best AUROC {found.auroc:.3f}, adjusted p "
              f"{found.p_adjusted:.3f}, null's 95th percentile {found.null_p95:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
