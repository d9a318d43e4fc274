"""How large an audit must be for a good probe to be "supported", by simulation.

    python -m benchmarks.attainability --out docs/validation/attainability.json

prints the tables of docs/attainability.md and writes them as JSON. PROTOCOL section 11 states
three numbers; the first table tries every reasonable reading of its words and says how far each
comes from these numbers.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from compliance.records.plan import Splits
from compliance.statistics.conformal import cut_off
from compliance.statistics.multiplicity import holm, intersection_union
from compliance.statistics.power import (
    Chance,
    Design,
    Effect,
    minimum_detectable_gap,
    minimum_detectable_greater,
    minimum_detectable_less,
    predicted_power,
)
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_p_noninferior,
)
from compliance.storage import write_text
from compliance.suites.split import CALIBRATE, CONFIRM, cut

STATED = {"other": 0.97, "reference": 0.99, "strict": 0.54}
"""PROTOCOL section 11: other cells and reference cells at margin 0.15 and 1,000 benign items;
other cells at margin 0.10 and 500."""

DEFAULT = Effect.of_rates(sensitivity=0.9, fpr=0.01, hard_fpr=0.05, discordance=0.1)
"""The probe that section 11 describes."""

CUT_OFF = -float(ndtri(0.01))
"""Where the cut-off lies if nothing is left to chance."""

NOISELESS = 1_000_000
"""Benign items that leave nothing of the cut-off's own noise."""

READINGS = (
    ("halved", "own"),
    ("halved", "related"),
    ("halved", "fixed"),
    ("in each split", "own"),
    ("in each split", "fixed"),
)
"""How the benign items of the sentence may be meant, and its cut-offs: each cell's own, from items
that are independent between languages or correlated as positives are, or fixed at 1 %."""

LIKELY = 0.8
"""The probability of "supported" that the tables of sizes ask for."""

GROUPS = (64, 120, 180, 240, 360, 480, 720)
BENIGN = (304, 500, 1000, 2000, 4000)
LARGEST = 1200
"""Groups in the suite at which the search for a size ends."""

STEP = 20
CELLS = 6


@dataclass(frozen=True)
class Table:
    """A table of docs/attainability.md."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]

    def markdown(self) -> str:
        """The table as the page shows it, with its title above it."""
        lines = (self.columns, ("---",) * len(self.columns), *self.rows)
        body = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        return f"### {self.title}\n\n{body}\n"


def main() -> None:
    """Print every table; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20_000, help="audits simulated for each row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the tables to this JSON file")
    args = parser.parse_args()
    tables = []
    for table in all_tables(args.draws, args.seed):
        print(table.markdown(), flush=True)
        tables.append(table)
    if args.out:
        content = {"draws": args.draws, "seed": args.seed, "effect": asdict(DEFAULT),
                   "stated": STATED, "tables": [asdict(table) for table in tables]}  # fmt: skip
        write_text(args.out, json.dumps(content, indent=1) + "\n")


def all_tables(draws: int, seed: int) -> Iterator[Table]:
    """Every table of docs/attainability.md, in its order.

    Args:
        draws: Audits for each entry; the search for sizes and the direct simulation take fewer.
        seed: Of every simulation.
    """
    yield readings(draws, seed)
    yield direct_check(max(2, draws // 10), draws, seed)
    yield by_size(draws, seed)
    yield sizes_needed(max(2, draws // 5), seed)
    yield detectable()


def design(groups: int, benign: int, *, cells: int = CELLS, margin: float = 0.15) -> Design:
    """The design of a suite of this size, split as a plan splits it."""
    confirm = on_confirm(groups)
    quotas = {CALIBRATE: Splits().benign_calibrate, CONFIRM: Splits().benign_confirm}
    calibrate = _first_part(benign, quotas)
    return Design(
        groups=confirm,
        hard_negatives=confirm,
        benign_calibrate=calibrate,
        benign_confirm=benign - calibrate,
        cells=cells,
        references=max(1, cells // 6),
        margin=margin,
    )


def on_confirm(groups: int) -> int:
    """How many of a concept's groups a plan keeps for confirmation."""
    quotas = Splits()
    return groups - _first_part(groups, {"fit": quotas.discover + quotas.calibrate,
                                         CONFIRM: quotas.confirm})  # fmt: skip


def _first_part(n: int, quotas: dict[str, int]) -> int:
    """Size of the first split, with the rounding of a plan."""
    found = cut([str(place) for place in range(n)], quotas)
    return list(found.values()).count(next(iter(quotas)))


def effect(sensitivity: float, gap: float) -> Effect:
    """The default probe with another sensitivity; the languages' correlation stays."""
    return replace(
        DEFAULT,
        positive=CUT_OFF + float(ndtri(sensitivity)),
        positive_elsewhere=CUT_OFF + float(ndtri(sensitivity - gap)),
    )


def readings(draws: int, seed: int) -> Table:
    """Section 11's sentence in each of its readings, at both of its settings."""
    rows = []
    for groups, cells, (benign_split, cut_offs) in itertools.product((168, 240), (6, 12), READINGS):
        chances = _stated_chances(groups, cells, benign_split, cut_offs, draws, seed)
        apart = max(abs(chances[name].value - value) for name, value in STATED.items())
        rows.append((
            groups, cells, benign_split, cut_offs,
            *(percent(chance, error=True) for chance in chances.values()),
            f"{100 * apart:.1f}",
        ))  # fmt: skip
    return Table(
        "The protocol's sentence, in every reading",
        ("groups on confirm", "cells", "benign items", "cut-offs",
         "other cell, margin 0.15, 1,000 benign", "reference cell, the same",
         "other cell, margin 0.10, 500 benign", "farthest from 97, 99 and 54"),
        rows,
    )  # fmt: skip


def _stated_chances(
    groups: int, cells: int, benign_split: str, cut_offs: str, draws: int, seed: int
) -> dict[str, Chance]:
    """What the sentence states, by the names of STATED, in one reading."""
    found = []
    for benign, margin in ((1000, 0.15), (500, 0.10)):
        each = benign // 2 if benign_split == "halved" else benign
        size = Design(
            groups=groups, hard_negatives=groups, benign_confirm=each,
            benign_calibrate=NOISELESS if cut_offs == "fixed" else each,
            cells=cells, references=cells // 6, margin=margin,
        )  # fmt: skip
        if cut_offs == "related":
            audits, alike = max(2, draws // 5), DEFAULT.correlation
            found += direct(size, DEFAULT, draws=audits, seed=seed, benign_correlation=alike)
        else:
            power = predicted_power(size, DEFAULT, draws=draws, seed=seed)
            found += [power.reference.supported, power.other.supported]
    return {"other": found[1], "reference": found[0], "strict": found[3]}


def direct_check(audits: int, draws: int, seed: int) -> Table:
    """The prediction beside audits whose every score was drawn."""
    rows = []
    for groups, benign, cells, margin in ((240, 1000, 6, 0.15), (240, 500, 6, 0.10),
                                          (240, 1000, 12, 0.15)):  # fmt: skip
        size = design(groups, benign, cells=cells, margin=margin)
        found = predicted_power(size, DEFAULT, draws=draws, seed=seed)
        drawn = direct(size, DEFAULT, draws=audits, seed=seed)
        rows.append((
            groups, benign, cells, margin,
            percent(found.reference.supported, error=True), percent(drawn[0], error=True),
            percent(found.other.supported, error=True), percent(drawn[1], error=True),
        ))  # fmt: skip
    return Table(
        "Predicted, and found by drawing every score",
        ("groups in the suite", "benign items", "cells", "margin",
         "reference cell, predicted", "drawn", "other cell, predicted", "drawn"),
        rows,
    )  # fmt: skip


def direct(
    design: Design, effect: Effect, *, draws: int, seed: int, benign_correlation: float = 0.0
) -> tuple[Chance, Chance]:
    """Draw every score of ``draws`` audits and judge them with the audit's own functions.

    The lead of the AUROC over a control is left out.

    Args:
        design: Sizes and limits.
        effect: How well the probe separates.
        draws: Audits.
        seed: Of the scores.
        benign_correlation: Between a benign item's scores in two languages.

    Returns:
        The chance of "supported" for a reference cell and for another cell.
    """
    random = np.random.RandomState(seed)
    found = np.array([_audit(design, effect, random, benign_correlation) for _ in range(draws)])
    return _chance_of(found[..., :1]), _chance_of(found[..., 1:])


def _chance_of(supported: np.ndarray) -> Chance:
    shares = supported.reshape(len(supported), -1).mean(axis=1)
    return Chance(float(shares.mean()), float(shares.std(ddof=1) / len(shares) ** 0.5))


def _audit(
    design: Design, effect: Effect, random: np.random.RandomState, benign_correlation: float
) -> np.ndarray:
    """Which cells of one audit are supported; shape [references, cells of one reference]."""
    width = design.cells // design.references
    p = [
        p
        for _ in range(design.references)
        for p in _block_ps(design, effect, random, benign_correlation, width)
    ]
    shown = (holm(p) <= design.family_error).reshape(design.references, width)
    return shown & shown[:, :1]


def _block_ps(
    design: Design,
    effect: Effect,
    random: np.random.RandomState,
    benign_correlation: float,
    width: int,
) -> Iterator[float]:
    """The p value of each cell of one modality, the reference first."""
    shared = random.standard_normal(design.benign_calibrate + design.benign_confirm)
    reference = random.standard_normal(design.groups)
    hits_there = np.array([], dtype=bool)
    for language in range(width):
        benign = _correlated(shared, benign_correlation**0.5, random)
        limit = cut_off(benign[: design.benign_calibrate], design.alpha)
        if language == 0:
            hits = hits_there = limit.alarms(effect.positive + reference)
        else:
            positive = _correlated(reference, effect.correlation, random)
            hits = limit.alarms(effect.positive_elsewhere + positive)
        hard = limit.alarms(effect.hard + random.standard_normal(design.hard_negatives))
        alarms = limit.alarms(benign[design.benign_calibrate :])
        conditions = [
            binomial_p_greater(int(hits.sum()), hits.size, design.min_sensitivity),
            binomial_p_less(int(alarms.sum()), alarms.size, design.max_fpr),
            binomial_p_less(int(hard.sum()), hard.size, design.max_hard_fpr),
        ]
        if language:
            b, c = int((hits & ~hits_there).sum()), int((~hits & hits_there).sum())
            conditions.append(tango_p_noninferior(b, c, hits.size, design.margin))
        yield intersection_union(conditions)


def _correlated(base: np.ndarray, correlation: float, random: np.random.RandomState) -> np.ndarray:
    own = random.standard_normal(base.size)
    return correlation * base + (1.0 - correlation**2) ** 0.5 * own


def by_size(draws: int, seed: int) -> Table:
    """The default probe in suites of several sizes."""
    rows = []
    for groups in GROUPS:
        found = [predicted_power(design(groups, benign), DEFAULT, draws=draws, seed=seed)
                 for benign in BENIGN]  # fmt: skip
        rows.append((groups, on_confirm(groups),
                     *(f"{percent(power.other.supported)} ({percent(power.reference.supported)})"
                       for power in found)))  # fmt: skip
    return Table(
        "Probability of \"supported\" for another cell (and for the reference cell)",
        ("groups in the suite", "on confirm",
         *(f"{benign:,} benign items" for benign in BENIGN)),
        rows,
    )  # fmt: skip


def sizes_needed(draws: int, seed: int) -> Table:
    """The fewest groups at which another cell is supported with 80 % probability."""
    rows = []
    for sensitivity, gap in itertools.product((0.7, 0.8, 0.9, 0.95), (0.0, 0.03, 0.06)):
        probe = effect(sensitivity, gap)
        rows.append((sensitivity, gap, *(_fewest_groups(probe, benign, draws, seed)
                                         for benign in BENIGN)))  # fmt: skip
    return Table(
        f"Fewest groups in the suite for a probability of {LIKELY:.0%}",
        ("sensitivity in the reference", "gap",
         *(f"{benign:,} benign items" for benign in BENIGN)),
        rows,
    )  # fmt: skip


def _fewest_groups(probe: Effect, benign: int, draws: int, seed: int) -> str:
    def likely(steps: int) -> bool:
        found = predicted_power(design(STEP * steps, benign), probe, draws=draws, seed=seed)
        return found.other.supported.value >= LIKELY

    low, high = 0, LARGEST // STEP
    if not likely(high):
        return f"more than {LARGEST:,}"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if likely(middle) else (middle, high)
    return f"{STEP * high:,}"


def detectable() -> Table:
    """What each condition alone finds with 80 % power at the strictest step of Holm."""
    level = 0.05 / CELLS
    rows = []
    for groups in GROUPS:
        n = on_confirm(groups)
        gaps = [minimum_detectable_gap(n, margin, sensitivity=0.9, discordance=0.1, alpha=level)
                for margin in (0.15, 0.10)]  # fmt: skip
        rows.append((groups, n, _number(minimum_detectable_greater(n, 0.5, alpha=level)),
                     _number(minimum_detectable_less(n, 0.2, alpha=level)),
                     *map(_number, gaps)))  # fmt: skip
    return Table(
        "What one condition alone can find with a power of 80%",
        ("groups in the suite", "on confirm", "sensitivity at least",
         "hard false-positive rate at most", "gap at most, margin 0.15",
         "gap at most, margin 0.10"),
        rows,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def percent(chance: Chance, *, error: bool = False) -> str:
    """A chance in percent, with its standard error where asked."""
    shown = f"{100 * chance.value:.1f}"
    return f"{shown} ± {100 * chance.error:.1f}" if error else shown


if __name__ == "__main__":
    main()
