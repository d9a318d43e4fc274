import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from compliance.errors import StatisticsError
from compliance.statistics.multiplicity import holm, intersection_union

p_values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=8)  # statsmodels collects garbage on every call
@given(p_values)
def test_holm_agrees_with_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)


@given(p_values, st.randoms())
def test_holm_keeps_the_order_of_hypotheses(p, random):
    order = list(range(len(p)))
    random.shuffle(order)

    assert holm([p[i] for i in order]).tolist() == holm(p)[order].tolist()


@given(p_values)
def test_a_dropped_cell_makes_the_others_no_easier(p):
    assert (holm([*p, 1.0])[:-1] >= holm(p) - 1e-15).all()


def test_the_family_errs_at_most_at_its_level():
    p = np.random.RandomState(0).uniform(size=(4_000, 12))

    any_false = np.mean([holm(row).min() <= 0.05 for row in p])

    assert any_false <= 0.05 + 3 * 0.0035


@given(p_values)
def test_a_verdict_is_as_weak_as_its_weakest_condition(p):
    assert intersection_union(p) == max(p)


@pytest.mark.parametrize("function", [holm, intersection_union])
@pytest.mark.parametrize("bad", [[], [1.2], [-0.1], [np.nan]])
def test_what_is_no_p_value_is_refused(function, bad):
    with pytest.raises(StatisticsError, match="^p_values: "):
        function(bad)
