"""Changes of groups: exact p values and bootstrap intervals, against scipy and brute force."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from compliance.errors import StatisticsError
from compliance.statistics.paired import change_interval, sign_flip_p
from compliance.statistics.proportion import mcnemar_exact


def enumerated(changes):
    """Every way to sign the changes, one after the other."""
    observed = abs(sum(changes))
    signs = itertools.product((1, -1), repeat=len(changes))
    sums = [abs(sum(s * c for s, c in zip(sign, changes, strict=True))) for sign in signs]
    return float(np.mean([total >= observed for total in sums]))


@pytest.mark.parametrize(
    "changes", [(0,), (1, 0, -1), (2, 1, 1, 0), (-3, -1, -2, 1, 0, 2), (2, 2, -2, 1, 1, 1, 1)]
)
def test_the_p_value_is_that_of_all_exchanges(changes):
    assert sign_flip_p(changes) == pytest.approx(enumerated(changes), rel=1e-12)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 0), (1, 6), (12, 5), (40, 40)])
def test_changes_of_single_items_give_mcnemars_exact_test(b, c):
    changes = [1] * b + [-1] * c + [0] * 10

    assert sign_flip_p(changes) == pytest.approx(mcnemar_exact(b, c), rel=1e-9)
    if b + c:
        assert sign_flip_p(changes) == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)


def test_a_p_value_is_never_zero():
    assert 0 < sign_flip_p([1] * 1500) < 1e-300


def bonett_price(b, c, n, level=0.95):
    only_now, only_then = (b + 1) / (n + 2), (c + 1) / (n + 2)
    value = only_now - only_then
    half = norm.ppf((1 + level) / 2) * np.sqrt((only_now + only_then - value**2) / (n + 2))
    return value - half, value + half


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 100), (5, 2, 80), (3, 20, 168), (30, 30, 400)])
def test_the_interval_of_single_items_is_near_bonett_and_prices(b, c, n):
    changes = np.array([1] * b + [-1] * c + [0] * (n - b - c))

    found = change_interval(changes, np.ones(n, dtype=int), seed=3, draws=20_000)

    low, high = bonett_price(b, c, n)
    assert found.low == pytest.approx(low, abs=1.5 / n)
    assert found.high == pytest.approx(high, abs=1.5 / n)


def test_an_interval_of_groups_that_all_stayed_has_width_and_holds_zero():
    found = change_interval([0] * 30, [2] * 30, seed=1)

    assert found.low < 0 < found.high


def test_groups_and_not_items_are_drawn():
    """Ten items of a group that change as one are one change, not ten."""
    rng = np.random.default_rng(1)
    groups = rng.choice((-1, 0, 1), size=60, p=(0.2, 0.6, 0.2))

    alone = change_interval(groups, np.ones(60, dtype=int), seed=1)
    tenfold = change_interval(10 * groups, np.full(60, 10), seed=1)
    apart = change_interval(np.repeat(groups, 10), np.ones(600, dtype=int), seed=1)

    width = alone.high - alone.low
    assert tenfold.high - tenfold.low == pytest.approx(width, rel=0.15)
    assert apart.high - apart.low < width / 2


def test_one_seed_gives_one_interval():
    changes, sizes = [1, 0, -1, 0, 0, 1] * 10, [1] * 60

    first, again = (change_interval(changes, sizes, seed=5, draws=99) for _ in range(2))

    assert first == again
    assert change_interval(changes, sizes, seed=9, draws=99) != first


@pytest.mark.parametrize("changes", [[], [0.5], [[1]], ["a"]])
def test_what_is_no_change_of_a_group_is_refused(changes):
    with pytest.raises(StatisticsError, match="changes"):
        sign_flip_p(changes)


@pytest.mark.parametrize("sizes", [[1], [1, 0]])
def test_a_group_without_items_is_refused(sizes):
    with pytest.raises(StatisticsError, match="sizes"):
        change_interval([1, 0], sizes, seed=1)


def test_the_test_errs_as_seldom_and_the_interval_covers_as_often_as_they_say():
    """Groups of one to three items of which 8 % change, to either side with equal chance."""
    rng = np.random.default_rng(20261123)
    errors = covered = 0
    trials, groups = 400, 120
    for trial in range(trials):
        sizes = rng.integers(1, 4, size=groups)
        each = rng.choice((-1, 0, 1), size=groups, p=(0.04, 0.92, 0.04))
        changes = each * sizes
        errors += sign_flip_p(changes) <= 0.05
        bounds = change_interval(changes, sizes, seed=trial, draws=400)
        covered += bounds.low <= 0 <= bounds.high

    assert errors / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
    assert covered / trials >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / trials)
