import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from compliance.errors import StatisticsError
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    clopper_pearson,
    mcnemar_exact,
    tango_interval,
    tango_p_noninferior,
    wilson,
)

levels = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@st.composite
def trials(draw):
    n = draw(st.integers(1, 400))
    return draw(st.integers(0, n)), n


@st.composite
def discordant(draw):
    n = draw(st.integers(1, 200))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


# -- one proportion


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_intervals_newcombe_printed(successes, n, low, high):
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    estimate = wilson(successes, n)

    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_pearson_gives_the_intervals_newcombe_printed(successes, n, low, high):
    """The same table, method 5."""
    estimate = clopper_pearson(successes, n)

    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@given(trials(), levels)
def test_intervals_agree_with_statsmodels(case, level):
    successes, n = case

    for method, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        estimate = method(successes, n, level)
        expected = proportion_confint(successes, n, 1.0 - level, method=name)
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-10)


@given(trials(), levels)
def test_intervals_hold_the_share_and_stay_inside(case, level):
    successes, n = case

    for estimate in (wilson(successes, n, level), clopper_pearson(successes, n, level)):
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
        assert estimate.low < estimate.high


@pytest.mark.parametrize("method", [wilson, clopper_pearson])
def test_bounds_at_the_ends_are_exact(method):
    assert all(method(0, n).low == 0.0 for n in range(1, 300))
    assert all(method(n, n).high == 1.0 for n in range(1, 300))


def test_coverage_of_each_interval_is_what_the_docs_say():
    outcomes = range(51)
    covers = {
        method: [
            sum(
                stats.binom.pmf(k, 50, p)
                for k in outcomes
                if method(k, 50).low <= p <= method(k, 50).high
            )
            for p in (0.01, 0.05, 0.2, 0.35, 0.5)
        ]
        for method in (wilson, clopper_pearson)
    }

    assert covers[wilson][0] == pytest.approx(0.911, abs=0.001)
    assert 0.94 <= np.mean(covers[wilson]) <= 0.96
    assert min(covers[clopper_pearson]) >= 0.95


@given(trials(), st.floats(0.01, 0.99))
def test_exact_p_values_agree_with_scipy(case, p0):
    successes, n = case

    for ours, side in ((binomial_p_greater, "greater"), (binomial_p_less, "less")):
        expected = stats.binomtest(successes, n, p0, alternative=side).pvalue
        assert ours(successes, n, p0) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_exact_p_values_are_sums_of_coin_tosses():
    assert binomial_p_greater(9, 10, 0.5) == pytest.approx(11 / 1024, rel=1e-14)
    assert binomial_p_less(1, 10, 0.5) == pytest.approx(11 / 1024, rel=1e-14)
    assert binomial_p_greater(0, 10, 0.5) == binomial_p_less(10, 10, 0.5) == 1.0


@pytest.mark.parametrize("function", [wilson, clopper_pearson])
@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5), (1.0, 5), (math.nan, 5)])
def test_impossible_counts_are_refused(function, successes, n):
    with pytest.raises(StatisticsError):
        function(successes, n)


@pytest.mark.parametrize("p0", [0.0, 1.0, math.nan])
def test_an_impossible_null_is_refused(p0):
    with pytest.raises(StatisticsError, match="^p0: "):
        binomial_p_greater(1, 2, p0)
    with pytest.raises(StatisticsError, match="^p0: "):
        binomial_p_less(1, 2, p0)


# -- paired proportions


@given(discordant())
def test_mcnemar_agrees_with_statsmodels(case):
    b, c, n = case

    expected = mcnemar([[n - b - c, b], [c, 0]], exact=True).pvalue if b + c else 1.0

    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("b", "c", "n", "level", "low", "high", "digits"),
    [
        (1, 7, 21, 0.95, -0.517, -0.026, 3),  # Fagerland et al. (2014), airway reactivity
        (28, 25, 618, 0.90, -0.0148, 0.0247, 4),  # PropCIs 0.3-0, scoreci.mp(25, 28, 618, 0.9)
    ],
)
def test_tango_gives_the_published_intervals(b, c, n, level, low, high, digits):
    estimate = tango_interval(b, c, n, level)

    assert (round(estimate.low, digits), round(estimate.high, digits)) == (low, high)


def score_by_brute_force(b, c, n, gap):
    """The score statistic, with the nuisance parameter found by maximising the likelihood."""

    def minus_log_likelihood(only_ref):
        cells = ((b, only_ref + gap), (c, only_ref), (n - b - c, 1.0 - 2.0 * only_ref - gap))
        return -sum(k * math.log(p) for k, p in cells if k)

    bounds = (max(0.0, -gap) + 1e-13, (1.0 - gap) / 2.0 - 1e-13)
    only_ref = optimize.minimize_scalar(
        minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}
    ).x
    return (b - c - n * gap) / math.sqrt(n * (2.0 * only_ref + gap * (1.0 - gap)))


@pytest.mark.parametrize(
    ("b", "c", "n"), [(3, 9, 40), (12, 2, 30), (1, 1, 168), (0, 6, 25), (10, 15, 25)]
)
@pytest.mark.parametrize("margin", [0.05, 0.15, 0.4])
def test_tango_agrees_with_a_likelihood_maximised_by_brute_force(b, c, n, margin):
    expected = stats.norm.sf(score_by_brute_force(b, c, n, -margin))

    assert tango_p_noninferior(b, c, n, margin) == pytest.approx(expected, rel=1e-4, abs=1e-12)


@given(discordant(), levels)
def test_tango_intervals_hold_the_difference_and_mirror(case, level):
    b, c, n = case

    estimate, mirrored = tango_interval(b, c, n, level), tango_interval(c, b, n, level)

    assert -1.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.low < estimate.high
    assert (estimate.low, estimate.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9)


@given(discordant(), st.floats(0.01, 0.6))
def test_the_interval_and_the_test_say_the_same(case, margin):
    b, c, n = case

    low, p = tango_interval(b, c, n, 0.95).low, tango_p_noninferior(b, c, n, margin)

    assert (low > -margin) == (p < 0.025) or low == pytest.approx(-margin, abs=1e-9)


def test_cell_c_is_the_one_that_hurts_the_language():
    assert tango_p_noninferior(b=10, c=2, n=60, margin=0.1) < 0.01
    assert tango_p_noninferior(b=2, c=10, n=60, margin=0.1) > 0.5


def test_full_agreement_is_evidence_that_grows_with_n():
    z = math.sqrt(40 * 0.15 / 0.85)

    assert tango_p_noninferior(0, 0, 40, 0.15) == pytest.approx(stats.norm.sf(z), rel=1e-12)
    assert tango_interval(0, 0, 40).high == pytest.approx(1.9599639845**2 / (40 + 1.9599639845**2))


def test_every_disagreement_on_one_side_reaches_the_end():
    assert tango_interval(5, 0, 5).high == pytest.approx(1.0)
    assert tango_interval(0, 5, 5).low == pytest.approx(-1.0)


@pytest.mark.parametrize(("n", "most"), [(40, 0.065), (80, 0.058)])
def test_a_language_at_the_margin_rarely_passes(n, most):
    """The exact size at the limit, over several rates of disagreement."""
    margin, sizes = 0.15, []
    passes = [
        (b, c)
        for b, c in itertools.product(range(n + 1), repeat=2)
        if b + c <= n and tango_p_noninferior(b, c, n, margin) <= 0.05
    ]
    for only_lang in (0.01, 0.05, 0.1, 0.2):
        cells = [only_lang, only_lang + margin, 1.0 - 2 * only_lang - margin]
        counts = np.array([(b, c, n - b - c) for b, c in passes])
        sizes.append(stats.multinomial.pmf(counts, n, cells).sum())

    assert max(sizes) <= most  # the test is asymptotic: a little above its level, and falling
    assert min(sizes) >= 0.02


@pytest.mark.parametrize(("b", "c", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_pairs_are_refused(b, c, n):
    with pytest.raises(StatisticsError):
        tango_interval(b, c, n)
    with pytest.raises(StatisticsError):
        tango_p_noninferior(b, c, n, 0.1)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.15, math.nan])
def test_an_impossible_margin_is_refused(margin):
    with pytest.raises(StatisticsError, match="^margin: "):
        tango_p_noninferior(1, 1, 10, margin)
