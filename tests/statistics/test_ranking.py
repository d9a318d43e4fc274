import time
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, special, stats
from sklearn.metrics import average_precision_score, roc_auc_score

from compliance.errors import StatisticsError
from compliance.statistics.auroc_interval import (
    WIDENED,
    Spread,
    auroc_bounds,
    difference_from,
)
from compliance.statistics.ranking import (
    BOOTSTRAP,
    auroc,
    auroc_matrix,
    average_precision,
    bootstrap_auroc,
    paired_auroc_difference,
    partial_auroc,
    tied_share,
)

scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25)


@pytest.fixture
def pairs():
    """Forty groups, each with one positive and one hard negative that share half their noise."""
    random = np.random.RandomState(3)
    shared = random.normal(size=40)
    return 1.0 + shared + random.normal(size=40), shared + random.normal(size=40), np.arange(40)


def paired_normals(random, groups, shift):
    """Positives and negatives whose AUROC is Phi(shift / sqrt 2), half of the variance shared."""
    shared = random.normal(size=groups) * np.sqrt(0.5)
    own = random.normal(size=(2, groups)) * np.sqrt(0.5)
    return shift + shared + own[0], shared + own[1]


# -- the value


def test_a_tie_counts_half():
    assert auroc([3.0, 1.0], [1.0, 0.0]) == 0.875


@given(scores, scores)
def test_auroc_is_the_share_of_won_pairs(positive, negative):
    won = [(p > n) + (p == n) / 2 for p in positive for n in negative]

    assert auroc(positive, negative) == pytest.approx(np.mean(won), abs=1e-15)


@given(scores, scores)
def test_auroc_agrees_with_scikit_learn_and_scipy(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)

    value = auroc(positive, negative)

    assert value == pytest.approx(roc_auc_score(labels, positive + negative), abs=1e-12)
    u = stats.mannwhitneyu(positive, negative, method="asymptotic").statistic
    assert value == pytest.approx(u / (len(positive) * len(negative)), abs=1e-12)


@given(scores, scores)
def test_swapping_the_sides_mirrors_the_value(positive, negative):
    assert auroc(positive, negative) == pytest.approx(1.0 - auroc(negative, positive), abs=1e-15)


@given(scores, scores)
def test_only_the_order_of_scores_matters(positive, negative):
    assert auroc(np.exp(positive), np.exp(negative)) == auroc(positive, negative)


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf], [[1.0]]])
def test_bad_scores_are_refused_by_name(bad):
    with pytest.raises(StatisticsError, match="^positive: "):
        auroc(bad, [1.0])
    with pytest.raises(StatisticsError, match="^negative: "):
        auroc([1.0], bad)


# -- all latents at once


def column_by_column(matrix, labels):
    return [auroc(column[labels], column[~labels]) for column in matrix.T]


@st.composite
def activations(draw):
    """A matrix with many zeros and ties, as SAE activations have, and labels of both classes.

    Latents of abstopk and of a matching pursuit may be below zero.
    """
    n, k = draw(st.integers(2, 12)), draw(st.integers(1, 6))
    cells = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 2.0, -0.5, -1.0])
    matrix = draw(st.lists(st.lists(cells, min_size=k, max_size=k), min_size=n, max_size=n))
    positives = draw(st.integers(1, n - 1))
    return np.array(matrix), np.array(
        draw(st.permutations([True] * positives + [False] * (n - positives)))
    )


@given(activations())
def test_dense_and_sparse_agree_with_one_latent_at_a_time(case):
    matrix, labels = case
    expected = column_by_column(matrix, labels)

    assert auroc_matrix(matrix, labels).tolist() == expected
    for form in (sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array):
        assert auroc_matrix(form(matrix), labels).tolist() == expected


def test_dense_scores_may_be_negative_and_many():
    random = np.random.RandomState(0)
    matrix, labels = random.normal(size=(20, 2_500)).round(1), np.arange(20) % 3 == 0

    assert auroc_matrix(matrix, labels).tolist() == column_by_column(matrix, labels)


@pytest.mark.parametrize("seed", range(5))
def test_signed_sparse_scores_agree_with_scikit_learn(seed):
    random = np.random.RandomState(seed)
    matrix = random.normal(size=(60, 40)).round(1) * (random.uniform(size=(60, 40)) < 0.3)
    labels = random.permutation(60) < 25

    values = auroc_matrix(sparse.csr_array(matrix), labels)

    expected = [roc_auc_score(labels, column) for column in matrix.T]
    assert values == pytest.approx(expected, abs=1e-12)
    assert values.tolist() == column_by_column(matrix, labels)


def test_a_negative_score_ranks_below_silence():
    stored = sparse.csr_array([[-1.0], [0.0], [0.0], [2.0]])

    assert auroc_matrix(stored, [False, True, False, True]).tolist() == [0.875]
    assert auroc_matrix(stored, [True, False, False, False]).tolist() == [0.0]


def test_stored_zeros_tie_with_the_others():
    stored = sparse.csr_array(([0.0, 1.0, 2.0], ([0, 1, 2], [0, 0, 0])), shape=(4, 1))

    assert auroc_matrix(stored, [True, False, True, False]).tolist() == [0.625]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_stored_values_may_have_any_type(dtype):
    stored = sparse.csr_array(np.array([[1], [0], [1]], dtype=dtype))

    assert auroc_matrix(stored, [True, False, False]).tolist() == [0.75]


def test_huge_scores_do_not_overflow():
    assert auroc_matrix([[1e308], [-1e308]], [True, False]).tolist() == [1.0]


def test_the_matrix_given_is_left_as_it_was():
    stored = sparse.csc_array(([0.0, 1.0], ([0, 1], [0, 0])), shape=(3, 1))

    auroc_matrix(stored, [True, False, True])

    assert stored.nnz == 2


def test_a_latent_that_never_fires_has_no_information():
    assert auroc_matrix(sparse.csr_array((6, 3)), np.arange(6) < 2).tolist() == [0.5, 0.5, 0.5]


def test_sixteen_thousand_sparse_latents_take_moments():
    matrix = sparse.random(400, 16_384, density=0.05, format="csr", random_state=1)
    labels = np.arange(400) % 2 == 0

    started = time.perf_counter()
    values = auroc_matrix(matrix, labels)

    assert time.perf_counter() - started < 5.0
    column = matrix[:, [7]].toarray().ravel()
    assert values[7] == auroc(column[labels], column[~labels])


@pytest.mark.parametrize("stored", [np.nan, np.inf, -np.inf])
def test_bad_stored_values_are_refused(stored):
    with pytest.raises(StatisticsError, match="not finite"):
        auroc_matrix(sparse.csr_array([[stored], [1.0]]), [True, False])


@pytest.mark.parametrize("labels", [[True, True], [True], [1, 2]])
@pytest.mark.parametrize("form", [np.array, sparse.csr_array])
def test_bad_labels_are_refused(form, labels):
    with pytest.raises(StatisticsError, match="^is_positive: "):
        auroc_matrix(form([[1.0], [2.0]]), labels)


# -- intervals from resampled groups


def by_hand(positive, negative, pos_groups, neg_groups, drawn):
    """The AUROC of one draw, with items repeated as often as their group was taken."""
    take = dict(zip(*np.unique(drawn, return_counts=True), strict=True))
    above = np.repeat(positive, [take.get(g, 0) for g in pos_groups])
    below = np.repeat(negative, [take.get(g, 0) for g in neg_groups])
    return auroc(above, below)


def test_the_variance_is_that_of_items_repeated_by_hand():
    """With ties, and with groups of different sizes in no order."""
    random = np.random.RandomState(5)
    positive, negative = random.normal(0.7, size=24).round(), random.normal(size=36).round()
    pos_groups = np.append(np.arange(12), random.randint(0, 12, size=12))
    neg_groups = np.append(random.randint(0, 12, size=24), np.arange(12))

    estimate = bootstrap_auroc(positive, negative, pos_groups, neg_groups, seed=11, draws=300)

    taken = np.random.RandomState(11).randint(0, 12, size=(300, 12), dtype=np.int64)
    values = [by_hand(positive, negative, pos_groups, neg_groups, drawn) for drawn in taken]
    a = auroc(positive, negative)
    hidden = 2 * np.equal.outer(positive, negative).mean() * a * (1 - a) / 12**2
    error = np.sqrt(np.var(values, ddof=1) + hidden) / (a * (1 - a))
    ends = special.expit(special.logit(a) + np.array([-1, 1]) * stats.t.ppf(0.975, 11) * error)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(ends), abs=1e-12)
    assert (estimate.n, estimate.method) == (12, BOOTSTRAP)


def test_the_same_seed_gives_the_same_interval_for_any_order_of_items(pairs):
    positive, negative, groups = pairs
    order = np.random.RandomState(0).permutation(40)

    straight = bootstrap_auroc(positive, negative, groups, groups, seed=1)
    shuffled = bootstrap_auroc(positive[order], negative, groups[order], groups, seed=1)

    assert straight == shuffled
    assert straight != bootstrap_auroc(positive, negative, groups, groups, seed=2)


def test_a_lower_level_gives_a_narrower_interval(pairs):
    positive, negative, groups = pairs

    wide = bootstrap_auroc(positive, negative, groups, groups, seed=1, level=0.95)
    narrow = bootstrap_auroc(positive, negative, groups, groups, seed=1, level=0.80)

    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert narrow.level == 0.80


def test_drawing_pairs_together_uses_what_they_share(pairs):
    positive, negative, groups = pairs

    together = bootstrap_auroc(positive, negative, groups, groups, seed=1)
    apart = bootstrap_auroc(positive, negative, groups, groups + 100, seed=1)

    assert together.value == apart.value
    assert together.high - together.low < 0.9 * (apart.high - apart.low)


def test_a_copied_item_adds_no_certainty(pairs):
    positive, negative, groups = pairs

    once = bootstrap_auroc(positive, negative, groups, groups, seed=1)
    thrice = bootstrap_auroc(*(np.tile(v, 3) for v in (positive, negative, groups, groups)), seed=1)

    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert thrice.n == 40


@pytest.mark.parametrize(("gap", "end"), [(100.0, 1.0), (-100.0, 0.0)])
def test_complete_separation_still_has_a_width(pairs, gap, end):
    positive, negative, groups = pairs

    estimate = bootstrap_auroc(positive + gap, negative, groups, groups, seed=1)

    bounds = auroc_bounds(end, 40, 40)
    assert estimate.value == end
    assert (estimate.low, estimate.high) == pytest.approx((bounds.low, bounds.high), abs=1e-15)
    assert estimate.method == BOOTSTRAP + WIDENED


def test_one_group_is_no_evidence():
    estimate = bootstrap_auroc([1.0, 2.0], [0.0], [1, 1], [1], seed=1)

    assert (estimate.value, estimate.n, estimate.method) == (1.0, 1, BOOTSTRAP + WIDENED)
    assert estimate.low == pytest.approx(0.025)


@pytest.mark.parametrize("groups", [25, 45, 168])
def test_a_silent_latent_may_fire_on_the_next_item(groups):
    """With probability 0.05 none of the positives fires if a share of 1 - 0.05**(1/k) would."""
    silent, labels = np.zeros(groups), np.arange(groups)

    estimate = bootstrap_auroc(silent, silent, labels, labels, seed=1)

    assert estimate.value == 0.5
    assert estimate.high - 0.5 == pytest.approx(0.5 - estimate.low)
    assert 0.8 < (estimate.high - 0.5) / ((1.0 - 0.05 ** (1 / groups)) / 2.0) < 1.3


def test_groups_that_are_copies_of_each_other_do_not_pin_the_value():
    """Every draw has the AUROC 2/3, of which the mean of 2,000 is not exactly 2/3."""
    pos_groups, neg_groups = np.arange(10), np.repeat(np.arange(10), 3)

    estimate = bootstrap_auroc(np.full(10, 2.5), np.tile([1.0, 2.0, 3.0], 10), pos_groups,
                               neg_groups, seed=1)  # fmt: skip

    bounds = auroc_bounds(2 / 3, 10, 10)
    assert (estimate.value, estimate.method) == (pytest.approx(2 / 3), BOOTSTRAP + WIDENED)
    assert (estimate.low, estimate.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)


def test_two_thousand_draws_of_two_hundred_groups_take_moments():
    random, groups = np.random.RandomState(0), np.arange(200)
    positive, negative = paired_normals(random, 200, 1.0)

    started = time.perf_counter()
    bootstrap_auroc(positive, negative, groups, groups, seed=1)

    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize("groups", [[1], [1, 2, 3], [[1, 2]]])
def test_each_score_needs_a_group(groups):
    with pytest.raises(StatisticsError, match="^positive: .* one group for each score"):
        bootstrap_auroc([1.0, 2.0], [1.0], groups, [1], seed=1)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(StatisticsError, match="^level: "):
        bootstrap_auroc([1.0], [1.0], [1], [1], seed=1, level=level)


# -- two scorers on the same items


def test_the_covariance_is_that_of_the_same_draws():
    random, groups = np.random.RandomState(2), np.arange(16)
    a, b = paired_normals(random, 16, 0.9), paired_normals(random, 16, 0.5)

    difference = paired_auroc_difference(*a, *b, groups, groups, seed=9, draws=199)

    taken = np.random.RandomState(9).randint(0, 16, size=(199, 16), dtype=np.int64)
    values = [[by_hand(*x, groups, groups, t) for t in taken] for x in (a, b)]
    (var_a, both), (_, var_b) = np.cov(values)
    spreads = [Spread(auroc(*x), var, 0.0, 16) for x, var in ((a, var_a), (b, var_b))]
    expected = difference_from(*spreads, both, method=BOOTSTRAP, level=0.95)
    assert astuple(difference) == pytest.approx(astuple(expected), abs=1e-12)


def test_a_dead_scorer_is_beaten(pairs):
    positive, negative, groups = pairs
    flat = np.zeros(40)

    difference = paired_auroc_difference(positive, negative, flat, flat, groups, groups, seed=4)

    assert difference.value == auroc(positive, negative) - 0.5
    assert difference.p_greater < 0.05 / 12
    assert difference.low > 0.0


def test_swapping_the_scorers_mirrors_the_interval(pairs):
    positive, negative, groups = pairs
    other = np.random.RandomState(6).normal(size=(2, 40))

    forth = paired_auroc_difference(positive, negative, *other, groups, groups, seed=4)
    back = paired_auroc_difference(*other, positive, negative, groups, groups, seed=4)

    assert (forth.value, forth.low, forth.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )
    assert forth.p_greater < 0.01 < 0.99 < back.p_greater


def test_a_scorer_is_not_better_than_itself(pairs):
    positive, negative, groups = pairs

    same = paired_auroc_difference(positive, negative, positive, negative, groups, groups, seed=4)

    assert (same.value, same.p_greater) == (0.0, 0.5)
    assert same.low <= 0.0 <= same.high
    assert same.high - same.low < 0.05


def test_sharing_items_cancels_what_they_share():
    random, groups = np.random.RandomState(4), np.arange(60)
    a = paired_normals(random, 60, 1.0)
    b = (a[0] + 0.1 * random.normal(size=60), a[1] + 0.1 * random.normal(size=60))

    difference = paired_auroc_difference(*a, *b, groups, groups, seed=4)

    alone = bootstrap_auroc(*a, groups, groups, seed=4)
    assert difference.high - difference.low < 0.3 * (alone.high - alone.low)


def test_the_p_value_is_never_zero_nor_below_what_the_groups_can_show():
    few, many = np.arange(5), np.arange(60)

    by_few = paired_auroc_difference(
        np.ones(5), np.zeros(5), np.zeros(5), np.zeros(5), few, few, seed=1
    )
    by_many = paired_auroc_difference(
        np.ones(60), np.zeros(60), np.zeros(60), np.zeros(60), many, many, seed=1
    )

    assert by_few.p_greater >= 0.5**5
    assert 0.5**60 <= by_many.p_greater < 1e-6


def test_a_perfect_scorer_leaves_the_difference_a_width():
    groups = np.arange(30)

    difference = paired_auroc_difference(
        np.ones(30), np.zeros(30), np.zeros(30), np.zeros(30), groups, groups, seed=1
    )

    perfect = auroc_bounds(1.0, 30, 30)
    dead = bootstrap_auroc(np.zeros(30), np.zeros(30), groups, groups, seed=1)
    assert (difference.value, difference.method) == (0.5, BOOTSTRAP + WIDENED)
    assert difference.low == pytest.approx(0.5 - np.hypot(1.0 - perfect.low, dead.high - 0.5))
    assert difference.high == pytest.approx(0.5 + 0.5 - dead.low)


def test_the_scorers_must_have_the_same_items():
    with pytest.raises(StatisticsError, match="^pos_b: "):
        paired_auroc_difference([1.0], [1.0], [1.0, 2.0], [1.0], [1], [1], seed=1)


def test_few_groups_do_not_stand_beside_a_small_p_value():
    groups = [f"g{i}" for i in range(8)]
    a_positive, a_negative = [8, 7, 6, 5, 4, 3, 2, 1], [3.5, 2.5, 2.2, 1.5, 1.2, 0.5, 0.4, 0.3]
    equal = [1.0] * 8

    found = paired_auroc_difference(
        a_positive, a_negative, equal, equal, groups, groups, seed=1, draws=500
    )

    assert (found.p_greater > 0.025) == (found.low < 0.0)


@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_p_value_and_the_interval_never_contradict_each_other(groups, seed, level):
    random, labels = np.random.RandomState(seed), np.arange(groups)
    shift = random.randint(0, 4)
    a_pos, a_neg, b_pos, b_neg = random.randint(0, 4, size=(4, groups))

    found = paired_auroc_difference(
        a_pos + shift, a_neg, b_pos, b_neg, labels, labels, seed=seed, draws=50, level=level
    )

    tail, floor = (1 - level) / 2, 0.5**groups
    assert floor <= found.p_greater <= 1 - floor
    assert (found.low < -1e-9) <= (found.p_greater > tail)
    assert (found.high > 1e-9) <= (found.p_greater < 1 - tail)
    if floor < tail:
        assert (found.low > 1e-9) <= (found.p_greater < tail)
        assert (found.high < -1e-9) <= (found.p_greater > 1 - tail)


# -- the appendix


few_scores = st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=25)


@given(few_scores, few_scores)
def test_average_precision_agrees_with_scikit_learn(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)

    value = average_precision(positive, negative)

    assert value == pytest.approx(average_precision_score(labels, positive + negative), abs=1e-12)


def test_average_precision_by_hand():
    assert average_precision([3.0, 1.0], [2.0, 0.0]) == pytest.approx((1 / 1 + 2 / 3) / 2)


@given(few_scores, few_scores, st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.99]))
def test_partial_auroc_agrees_with_scikit_learn(positive, negative, max_fpr):
    labels = [1] * len(positive) + [0] * len(negative)

    value = partial_auroc(positive, negative, max_fpr=max_fpr)

    expected = roc_auc_score(labels, positive + negative, max_fpr=max_fpr)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(StatisticsError, match="^max_fpr: "):
        partial_auroc([1.0], [0.0], max_fpr=rate)


@given(scores, scores)
def test_the_tied_share_is_that_of_pairs(positive, negative):
    equal = np.equal.outer(positive, negative)

    assert tied_share(positive, negative) == pytest.approx(equal.mean())
