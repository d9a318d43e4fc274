import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Estimate
from compliance.statistics.predictive import positive_predictive_value
from compliance.statistics.proportion import wilson


def test_a_rare_concept_makes_most_alarms_false():
    found = positive_predictive_value(wilson(90, 100), wilson(10, 1_000), 0.001)

    assert found.value == pytest.approx(0.0009 / (0.0009 + 0.00999))
    assert found.n == 100


def test_the_bounds_are_the_worst_corners():
    sensitivity, fpr = wilson(90, 100), wilson(10, 1_000)

    found = positive_predictive_value(sensitivity, fpr, 0.01)

    assert found.low == pytest.approx(
        sensitivity.low * 0.01 / (sensitivity.low * 0.01 + fpr.high * 0.99)
    )
    assert found.high == pytest.approx(
        sensitivity.high * 0.01 / (sensitivity.high * 0.01 + fpr.low * 0.99)
    )


@given(st.integers(0, 50), st.integers(0, 200), st.floats(1e-6, 0.999))
def test_the_interval_holds_the_value_and_stays_inside(hits, alarms, prevalence):
    found = positive_predictive_value(wilson(hits, 50), wilson(alarms, 200), prevalence)

    if found.value is None:
        assert hits == alarms == 0
    else:
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_without_any_alarm_there_is_no_value():
    found = positive_predictive_value(wilson(0, 10), wilson(0, 10), 0.01)

    assert found.value is None
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_common_concept_makes_alarms_worth_more():
    values = [positive_predictive_value(wilson(45, 50), wilson(5, 500), p).value
              for p in (0.001, 0.01, 0.1, 0.5)]  # fmt: skip

    assert values == sorted(values)


def test_the_interval_covers_more_often_than_it_must():
    random, truth = np.random.RandomState(0), 0.9 * 0.01 / (0.9 * 0.01 + 0.02 * 0.99)
    hits, alarms = random.binomial(100, 0.9, 1_500), random.binomial(500, 0.02, 1_500)

    found = [positive_predictive_value(wilson(h, 100), wilson(a, 500), 0.01)
             for h, a in zip(hits.tolist(), alarms.tolist(), strict=True)]  # fmt: skip

    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.95


@pytest.mark.parametrize("prevalence", [0.0, 1.0, np.nan])
def test_an_impossible_prevalence_is_refused(prevalence):
    with pytest.raises(StatisticsError, match="^prevalence: "):
        positive_predictive_value(wilson(1, 2), wilson(1, 2), prevalence)


def test_a_missing_share_is_refused():
    with pytest.raises(StatisticsError, match="^fpr: "):
        positive_predictive_value(wilson(1, 2), Estimate(None, None, None, 2, "none"), 0.01)
