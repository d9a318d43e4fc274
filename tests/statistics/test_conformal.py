from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import StatisticsError
from compliance.statistics.conformal import benign_needed, cut_off

alphas = st.fractions(Fraction(1, 200), Fraction(1, 2), max_denominator=200)


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (99, 0.01, 99),
        (100, 0.01, 100),
        (199, 0.01, 198),
        (200, 0.01, 199),
        (9, 0.1, 9),
        (19, 0.05, 19),
        (9, 0.3, 7),  # the float is a little less than 3/10, and would give 8
    ],
)
def test_the_rank_is_exact(n, alpha, rank):
    found = cut_off(np.arange(n, 0, -1), alpha)

    assert (found.rank, found.value, found.n) == (rank, float(rank), n)


@pytest.mark.parametrize(
    "alpha", ["0.01", "1/100", "1e-2", 0.01, Fraction(1, 100), np.float64(0.01)]
)
def test_alpha_is_read_as_it_is_written(alpha):
    assert cut_off(range(99), alpha).rank == 99


@given(st.integers(1, 3_000), alphas)
def test_the_rank_is_the_smallest_that_keeps_the_promise(n, alpha):
    """A new score is equally likely in each of the n + 1 places; those above the rank alarm."""
    if n < benign_needed(alpha):
        return

    rank = cut_off(np.zeros(n), alpha).rank

    assert Fraction(n + 1 - rank, n + 1) <= alpha < Fraction(n + 2 - rank, n + 1)


@given(alphas)
def test_one_benign_item_fewer_and_it_cannot_be_set(alpha):
    needed = benign_needed(alpha)

    cut_off(np.zeros(needed), alpha)

    if needed > 1:
        with pytest.raises(StatisticsError, match=f"cannot be set .* at least {needed}") as caught:
            cut_off(np.zeros(needed - 1), alpha)
        assert str(needed) in caught.value.hint


@pytest.mark.parametrize(
    ("alpha", "needed"), [("0.01", 99), (0.05, 19), ("1/3", 2), (0.5, 1), ("0.03", 33)]
)
def test_the_benign_items_needed_are_counted(alpha, needed):
    assert benign_needed(alpha) == needed


def test_a_score_at_the_cut_off_is_no_alarm():
    found = cut_off([0.0] * 98 + [2.5], 0.01)

    assert found.alarms([2.4, 2.5, np.nextafter(2.5, 3.0)]).tolist() == [False, False, True]


def test_a_latent_that_never_fires_on_benign_text_alarms_above_zero():
    found = cut_off([0.0] * 200, 0.01)

    assert found.alarms([0.0, 1e-9]).tolist() == [False, True]


@pytest.mark.parametrize("digits", [0, 8])
def test_false_alarms_stay_at_alpha_on_average(digits):
    """With whole-number scores too: ties only make alarms rarer."""
    random = np.random.RandomState(2)
    scores = random.normal(scale=3.0, size=(20_000, 40)).round(digits)

    rates = [scores[i, 39] > cut_off(scores[i, :39], "0.1").value for i in range(20_000)]

    assert np.mean(rates) <= 0.1 + 3 * 0.0022
    if digits == 8:
        assert np.mean(rates) >= 0.1 - 3 * 0.0022


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, "1 %", "nan", float("nan"), "1/0", None])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(StatisticsError, match="^alpha: "):
        cut_off(range(99), alpha)


@pytest.mark.parametrize("scores", [[], [np.nan] * 99, [np.inf] * 99])
def test_bad_scores_are_refused(scores):
    with pytest.raises(StatisticsError, match="^benign_scores: "):
        cut_off(scores, 0.01)
