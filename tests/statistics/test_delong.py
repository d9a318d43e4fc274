import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from compliance.errors import StatisticsError
from compliance.statistics.auroc_interval import WIDENED, auroc_bounds
from compliance.statistics.delong import DELONG, delong_auroc, delong_difference
from compliance.statistics.ranking import auroc

scores = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=15)


def by_comparing(positive, negative):
    """The structural components, from every pair."""
    won = np.greater.outer(positive, negative) + np.equal.outer(positive, negative) / 2
    return won.mean(axis=1), won.mean(axis=0)


def covariance(a, b):
    return sum(np.cov(x, y)[0, 1] / len(x) for x, y in zip(a, b, strict=True))


@given(scores, scores, st.sampled_from([0.8, 0.95]))
def test_the_variance_is_that_of_the_components(positive, negative, level):
    found = delong_auroc(positive, negative, level=level)

    value, k = auroc(positive, negative), min(len(positive), len(negative))
    parts = by_comparing(positive, negative)
    tied = np.equal.outer(positive, negative).mean()
    variance = covariance(parts, parts) + 2 * tied * value * (1 - value) / k**2
    assert (found.value, found.n) == (value, k)
    if found.method == DELONG:
        reach = stats.t.ppf(0.5 + level / 2, k - 1) * np.sqrt(variance) / (value * (1 - value))
        ends = special.expit(special.logit(value) + np.array([-reach, reach]))
        assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-9)
    else:
        assert variance == 0.0 or k * min(value, 1 - value) < 0.5


def test_a_value_computed_by_hand():
    """Positives 2, 3, 4 and negatives 1, 2: components 3/4, 1, 1 and 1, 5/6."""
    found = delong_auroc([2.0, 3.0, 4.0], [1.0, 2.0])

    variance = (1 / 4) ** 2 / 3 / 3 + (1 / 6) ** 2 / 2 / 2
    hidden = 2 * (1 / 6) * (11 / 12) * (1 / 12) / 2**2
    reach = stats.t.ppf(0.975, 1) * np.sqrt(variance + hidden) / (11 / 12 * 1 / 12)
    assert found.value == pytest.approx(11 / 12)
    assert found.method == DELONG + WIDENED
    assert found.low == pytest.approx(special.expit(special.logit(11 / 12) - reach), abs=1e-12)


def test_the_covariance_is_that_of_the_components():
    random = np.random.RandomState(3)
    pos_a, neg_a = random.normal(1.0, size=40), random.normal(size=60)
    pos_b, neg_b = pos_a + random.normal(size=40), neg_a + random.normal(size=60)

    found = delong_difference(pos_a, neg_a, pos_b, neg_b)

    a, b = by_comparing(pos_a, neg_a), by_comparing(pos_b, neg_b)
    error = np.sqrt(covariance(a, a) + covariance(b, b) - 2 * covariance(a, b))
    t = found.value / error
    assert found.value == auroc(pos_a, neg_a) - auroc(pos_b, neg_b)
    assert found.p_greater == pytest.approx(stats.t.sf(t, 39), rel=0.3)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 39) * error, rel=0.05)
    assert found.method == DELONG


def test_the_order_of_items_and_any_rising_scale_do_not_matter():
    random = np.random.RandomState(4)
    positive, negative = random.normal(1.0, size=30), random.normal(size=20)

    straight = delong_auroc(positive, negative)

    other = delong_auroc(np.exp(positive[::-1]), np.exp(negative))
    assert other.value == straight.value
    assert (other.low, other.high) == pytest.approx((straight.low, straight.high), abs=1e-14)


@pytest.mark.parametrize(("gap", "value"), [(10.0, 1.0), (-10.0, 0.0)])
def test_complete_separation_has_the_width_of_the_bounds(gap, value):
    found = delong_auroc(np.arange(20) / 20 + gap, np.arange(50) / 50)

    bounds = auroc_bounds(value, 20, 50)
    assert (found.value, found.method) == (value, DELONG + WIDENED)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)


def test_one_item_is_no_evidence():
    found = delong_auroc([1.0], [0.0, 2.0, 3.0])

    assert found.n == 1
    assert found.method == DELONG + WIDENED
    assert found.high - found.low > 0.9


@pytest.mark.parametrize("bad", [[], [np.nan], [[1.0]]])
def test_bad_scores_are_refused_by_name(bad):
    with pytest.raises(StatisticsError, match="^negative: "):
        delong_auroc([1.0], bad)
    with pytest.raises(StatisticsError, match="^pos_b: "):
        delong_difference([1.0], [1.0], bad, [1.0])


def test_the_scorers_must_have_the_same_items():
    with pytest.raises(StatisticsError, match="^neg_b: 2 scores, expected 1"):
        delong_difference([1.0], [1.0], [1.0], [1.0, 2.0])


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(StatisticsError, match="^level: "):
        delong_auroc([1.0], [0.0], level=level)
