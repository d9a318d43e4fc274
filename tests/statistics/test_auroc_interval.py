import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special, stats

from compliance.errors import StatisticsError
from compliance.statistics.auroc_interval import (
    WIDENED,
    Spread,
    auroc_bounds,
    difference_from,
    estimate_from,
)

spreads = st.builds(
    lambda value, share, tied: Spread(value, share * value * (1 - value) / 30, tied, 30),
    st.floats(0.02, 0.98),
    st.floats(0.05, 1.0),
    st.floats(0.0, 1.0),
)
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999])


# -- bounds that look at no variance


@given(st.floats(0.0, 1.0), st.integers(1, 300), st.integers(1, 300))
def test_bounds_hold_the_value_and_have_width(value, n_pos, n_neg):
    bounds = auroc_bounds(value, n_pos, n_neg)

    assert 0.0 <= bounds.low <= value <= bounds.high <= 1.0
    assert bounds.low < bounds.high


def test_bounds_after_complete_separation_are_exact():
    bounds = auroc_bounds(1.0, 50, 1_000)

    assert (bounds.low, bounds.high) == (pytest.approx(0.025 ** (1 / 50)), 1.0)
    assert auroc_bounds(0.0, 50, 1_000).high == pytest.approx(1.0 - 0.025 ** (1 / 50))


def test_bounds_at_whole_successes_are_those_of_clopper_and_pearson():
    bounds = auroc_bounds(0.7, 40, 60)

    expected = stats.binomtest(28, 40).proportion_ci(method="exact")
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_better_value_never_has_a_lower_bound():
    lows = [auroc_bounds(value, 30, 30).low for value in np.linspace(0.9, 1.0, 200)]

    assert np.all(np.diff(lows) > 0)


@pytest.mark.parametrize("misses", [0.01, 0.05, 0.1])
def test_bounds_cover_where_separation_is_a_matter_of_luck(misses):
    """The hardest case: a share of positives lies below every negative, the others above."""
    random, groups = np.random.RandomState(1), 20
    wrong = random.binomial(groups, misses, size=4_000)

    covered = [auroc_bounds(1.0 - w / groups, groups, groups).low <= 1.0 - misses for w in wrong]

    assert np.mean(covered) >= 0.97


@pytest.mark.parametrize(
    ("value", "n_pos", "n_neg"), [(1.1, 5, 5), (-0.1, 5, 5), (np.nan, 5, 5), (0.5, 0, 5)]
)
def test_impossible_bounds_are_refused(value, n_pos, n_neg):
    with pytest.raises(StatisticsError):
        auroc_bounds(value, n_pos, n_neg)


# -- one AUROC


def test_the_interval_is_a_t_interval_of_the_logit():
    found = estimate_from(Spread(0.9, 0.001, 0.0, 25), method="by hand", level=0.95)

    reach = stats.t.ppf(0.975, 24) * np.sqrt(0.001) / 0.09
    ends = special.expit(special.logit(0.9) + np.array([-reach, reach]))
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-12)
    assert (found.value, found.n, found.method) == (0.9, 25, "by hand")


def test_ties_widen_the_interval():
    free, tied = (
        estimate_from(Spread(0.6, 0.0005, share, 50), method="", level=0.95) for share in (0.0, 0.9)
    )

    assert tied.low < free.low < free.high < tied.high


@pytest.mark.parametrize("value", [0.99, 0.01])
def test_less_than_half_a_pair_lost_or_won_brings_the_bounds_in(value):
    bounds = auroc_bounds(value, 45, 45)

    near = estimate_from(Spread(value, 1e-7, 0.0, 45), method="m", level=0.95)
    far = estimate_from(Spread(value, 1e-7, 0.0, 55), method="m", level=0.95)

    assert (near.low, near.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)
    assert (near.method, far.method) == ("m" + WIDENED, "m")
    assert far.high - far.low < 0.01


@given(spreads, levels)
def test_the_interval_holds_the_value_and_grows_with_the_level(spread, level):
    found = estimate_from(spread, method="", level=level)
    wider = estimate_from(spread, method="", level=1 - (1 - level) / 2)

    assert 0.0 <= wider.low < found.low <= spread.value <= found.high < wider.high <= 1.0


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_an_impossible_value_is_refused(value):
    with pytest.raises(StatisticsError, match="^value: "):
        Spread(value, 0.01, 0.0, 10)


# -- two


def test_far_from_the_ends_a_difference_is_that_of_normals():
    a, b = Spread(0.55, 1e-4, 0.0, 400), Spread(0.5, 1e-4, 0.0, 400)

    found = difference_from(a, b, 0.5e-4, method="m", level=0.95)

    error = np.sqrt(1e-4 + 1e-4 - 1e-4)
    assert found.low == pytest.approx(0.05 - stats.t.ppf(0.975, 399) * error, abs=2e-4)
    assert found.p_greater == pytest.approx(stats.t.sf(0.05 / error, 399), rel=0.1)


@given(spreads, spreads, st.floats(-1.0, 1.0), levels)
def test_a_p_value_and_an_interval_of_any_level_agree(a, b, r, level):
    found = difference_from(a, b, r * a.error * b.error, method="", level=level)

    tail = (1 - level) / 2
    if abs(found.low) > 1e-9:
        assert (found.low > 0) == (found.p_greater < tail)
    if abs(found.high) > 1e-9:
        assert (found.high < 0) == (found.p_greater > 1 - tail)
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.p_greater > 0.0


@example(  # the arm is longest between two points of the curve
    Spread(0.8742092559725154, 0.003665581091483214, 0.0, 30),
    Spread(0.94140625, 0.00022079369784347747, 0.21875, 30),
    0.970703125,
)
@given(spreads, spreads, st.floats(-1.0, 1.0))
def test_a_higher_level_holds_the_lower_one(a, b, r):
    found = [
        difference_from(a, b, r * a.error * b.error, method="", level=level)
        for level in (0.5, 0.8, 0.95, 0.999)
    ]

    assert np.all(np.diff([f.low for f in found]) <= 1e-9)
    assert np.all(np.diff([f.high for f in found]) >= -1e-9)


def test_what_two_scorers_share_narrows_the_interval_unless_one_is_widened():
    a, b, end = Spread(0.9, 1e-3, 0.0, 45), Spread(0.8, 1e-3, 0.0, 45), Spread(1.0, 0.0, 0.0, 45)

    apart = difference_from(a, b, 0.0, method="m", level=0.95)
    shared = difference_from(a, b, 0.8e-3, method="m", level=0.95)
    widened = difference_from(end, b, 0.8e-3, method="m", level=0.95)

    assert shared.high - shared.low < 0.8 * (apart.high - apart.low)
    assert widened == difference_from(end, b, 0.0, method="m", level=0.95)
    assert (shared.method, widened.method) == ("m", "m" + WIDENED)


@pytest.mark.parametrize("units", [1, 2, 5, 2_000])
def test_the_p_value_is_never_zero_nor_below_what_the_units_can_show(units):
    perfect, dead = Spread(1.0, 0.0, 0.0, units), Spread(0.0, 0.0, 0.0, units)

    found = difference_from(perfect, dead, 0.0, method="", level=0.95)

    assert found.p_greater > 0.0
    assert found.p_greater >= 0.5**units
