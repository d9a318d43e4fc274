import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compliance.errors import StatisticsError
from compliance.statistics.power import (
    attainable,
    minimum_detectable_auroc,
    minimum_detectable_greater,
    minimum_detectable_less,
)
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_p_noninferior,
)
from compliance.statistics.ranking import auroc

LEVEL = 0.05 / 12


def power_greater(n, p0, alpha, p):
    found = [k for k in range(n + 1) if binomial_p_greater(k, n, p0) <= alpha]
    return stats.binom.pmf(found, n, p).sum()


def power_less(n, p0, alpha, p):
    found = [k for k in range(n + 1) if binomial_p_less(k, n, p0) <= alpha]
    return stats.binom.pmf(found, n, p).sum()


@given(st.integers(1, 200), st.floats(0.05, 0.9), st.sampled_from([0.05, 0.01, LEVEL]))
def test_the_detectable_proportion_is_found_with_the_power_asked(n, p0, alpha):
    above = minimum_detectable_greater(n, p0, alpha=alpha, power=0.9)
    below = minimum_detectable_less(n, p0, alpha=alpha, power=0.9)

    if above is not None:
        assert above > p0
        assert power_greater(n, p0, alpha, above) == pytest.approx(0.9, abs=1e-9)
    if below is not None:
        assert below < p0
        assert power_less(n, p0, alpha, below) == pytest.approx(0.9, abs=1e-9)


def test_what_cannot_be_found_is_none():
    assert minimum_detectable_greater(4, 0.5) is None
    assert minimum_detectable_greater(5, 0.5) is not None
    assert minimum_detectable_less(58, 0.05) is None
    assert minimum_detectable_less(59, 0.05) is not None


def test_more_items_detect_smaller_effects():
    found = [minimum_detectable_greater(n, 0.5) for n in (20, 50, 168, 500)]

    assert found == sorted(found, reverse=True)


def test_the_detectable_auroc_is_found_with_about_the_power_asked():
    """Scores of Hanley and McNeil's kind: negative-exponential on both sides."""
    area = minimum_detectable_auroc(60, 60, alpha=0.05, power=0.8)
    random = np.random.RandomState(0)
    positive = random.exponential(area / (1.0 - area), size=(1_500, 60))
    negative = random.exponential(size=(1_500, 60))

    critical = 0.5 + 1.6449 * np.sqrt(121 / (12 * 60 * 60))
    found = np.mean([auroc(p, n) > critical for p, n in zip(positive, negative, strict=True)])

    assert 0.75 <= found <= 0.85


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_sides_of_the_null_are_treated_alike(n_pos, n_neg):
    area = minimum_detectable_auroc(n_pos, n_neg)

    assert area is None or 0.5 < area < 1.0
    assert (area is None) == (
        1.6448536 * np.sqrt((n_pos + n_neg + 1) / (12 * n_pos * n_neg)) >= 0.5
    )


def test_a_single_pair_detects_no_auroc():
    assert minimum_detectable_auroc(1, 1) is None


def test_the_default_sizes_can_be_supported():
    found = attainable(n_pos=168, n_benign=500, n_hard=168, n_pairs=168, alpha=LEVEL)

    assert found.attainable
    assert [case.n for case in found.conditions] == [168, 500, 168, 168]


def test_too_few_benign_items_are_named_with_the_number_needed():
    found = attainable(n_pos=168, n_benign=106, n_hard=168, n_pairs=168, alpha=LEVEL)

    failed = [case for case in found.conditions if not case.attainable]
    assert not found.attainable
    assert [(case.condition, case.needed) for case in failed] == [("false-positive rate", 107)]
    assert 0.95**107 <= LEVEL < failed[0].p == pytest.approx(0.95**106)


def test_the_reference_cell_has_no_reference():
    found = attainable(n_pos=9, n_benign=107, n_hard=25, n_pairs=None, alpha=LEVEL)

    assert found.attainable
    assert "non-inferiority" not in [case.condition for case in found.conditions]


def test_a_cell_without_items_shows_nothing():
    found = attainable(n_pos=0, n_benign=0, n_hard=0, n_pairs=0, alpha=LEVEL)

    assert [case.p for case in found.conditions] == [1.0] * 4
    assert not found.attainable


@pytest.mark.parametrize("n", range(1, 31))
@pytest.mark.parametrize("alpha", [0.05, LEVEL])
def test_no_outcome_beats_the_best_case_of_non_inferiority(n, alpha):
    """Over every outcome in which both languages' sensitivity is shown to be above one half."""
    shown = [k for k in range(n + 1) if binomial_p_greater(k, n, 0.5) <= alpha]
    best = attainable(n_pos=n, n_benign=1, n_hard=1, n_pairs=n, alpha=alpha).conditions[-1]

    outcomes = [
        tango_p_noninferior(b, c, n, 0.15)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        for both in range(n + 1 - b - c)
        if both + b in shown and both + c in shown
    ]

    if outcomes:
        assert best.p == pytest.approx(min(outcomes))
    assert best.attainable == (best.p <= alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01, LEVEL, 0.0005])
def test_more_than_needed_is_enough(alpha):
    needed = attainable(n_pos=1, n_benign=1, n_hard=1, n_pairs=1, alpha=alpha).conditions

    for more in range(40):
        sizes = [case.needed + more for case in needed]
        names = ("n_pos", "n_benign", "n_hard", "n_pairs")
        assert attainable(**dict(zip(names, sizes, strict=True)), alpha=alpha).attainable


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(StatisticsError, match="^alpha: "):
        attainable(n_pos=1, n_benign=1, n_hard=1, n_pairs=1, alpha=alpha)
    with pytest.raises(StatisticsError, match="^alpha: "):
        minimum_detectable_greater(10, 0.5, alpha=alpha)
    with pytest.raises(StatisticsError, match="^alpha: "):
        minimum_detectable_auroc(10, 10, alpha=alpha)
