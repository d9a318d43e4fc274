"""The two-sample test: against scipy without ties, against all ways to deal the numbers with."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from compliance.errors import StatisticsError
from compliance.statistics.distributions import two_samples


def distance(x: np.ndarray, y: np.ndarray) -> float:
    values = np.unique(np.concatenate([x, y]))
    below = ((sample[:, None] <= values).mean(axis=0) for sample in (x, y))
    return float(np.max(np.abs(next(below) - next(below))))


@pytest.mark.parametrize(
    ("n", "m", "shift"), [(40, 31, 0.4), (9, 60, 0.0), (25, 25, 2.0), (1, 5, 0)]
)
def test_without_ties_it_is_scipys_exact_test(n, m, shift):
    random = np.random.RandomState(n)
    x, y = random.normal(size=n), random.normal(size=m) + shift

    found, expected = two_samples(x, y), stats.ks_2samp(x, y, method="exact")

    assert found.distance == pytest.approx(expected.statistic, abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert abs(found.below_first - found.below_second) == pytest.approx(found.distance)


@pytest.mark.parametrize("seed", range(6))
def test_with_ties_it_counts_every_way_to_deal_the_numbers(seed):
    """Scores are mostly 0, so that the tables for distinct numbers do not hold."""
    random = np.random.RandomState(seed)
    x = random.poisson(0.6, size=5).astype(float)
    y = random.poisson(0.6 + seed, size=6).astype(float)
    pooled = np.concatenate([x, y])
    found = two_samples(x, y)
    deals = [np.isin(np.arange(11), chosen) for chosen in combinations(range(11), 5)]
    reached = [distance(pooled[deal], pooled[~deal]) >= found.distance - 1e-12 for deal in deals]

    assert found.p == pytest.approx(np.mean(reached), rel=1e-12)
    assert found.method == "exact"


def test_at_the_null_small_p_values_are_rare_with_ties():
    random = np.random.RandomState(3)
    ps = [
        two_samples(*(np.maximum(random.normal(size=size) - 1, 0) for size in (40, 25))).p
        for _ in range(400)
    ]

    assert np.mean(np.array(ps) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert min(ps) < 0.2


def test_large_samples_take_the_limit_and_say_so():
    random = np.random.RandomState(1)
    x, y = random.normal(size=900), random.normal(size=400) + 0.1
    exact, limit = two_samples(x, y), two_samples(x, y, exact=1299)

    assert (exact.method, limit.method) == ("exact", "asymptotic")
    assert limit.p == pytest.approx(exact.p, rel=0.1) and limit.distance == exact.distance


def test_no_difference_and_a_whole_one():
    same = two_samples([0.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    apart = two_samples(np.zeros(10), np.ones(10))

    assert (same.distance, same.p) == (0.0, 1.0)
    assert apart.distance == 1.0 and apart.at == 0.0
    assert apart.p == pytest.approx(2 / 184756)


@pytest.mark.parametrize("wrong", [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_impossible_samples_are_refused(wrong):
    with pytest.raises(StatisticsError):
        two_samples(*wrong)
