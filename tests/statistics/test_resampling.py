import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import StatisticsError
from compliance.statistics.resampling import draw_counts, group_draws, seed_of

labels = st.lists(st.integers(0, 12), min_size=1, max_size=30)


def test_the_stream_is_the_one_numpy_froze():
    counts = draw_counts(5, random=np.random.RandomState(20260101), draws=3)

    assert counts.tolist() == [[0, 1, 2, 1, 1], [0, 1, 0, 3, 1], [2, 0, 1, 2, 0]]


def test_the_same_seed_gives_the_same_draws():
    draws = [group_draws([1, 2, 3], [1, 2, 3], seed=seed, draws=50) for seed in (7, 7, 8)]

    assert (draws[0].positive_counts == draws[1].positive_counts).all()
    assert (draws[0].positive_counts != draws[2].positive_counts).any()


@given(labels, labels)
def test_every_draw_takes_as_many_groups_as_there_are(positive, negative):
    drawn = group_draws(positive, negative, seed=1, draws=20)

    assert (drawn.positive_counts.sum(axis=1) == len(set(positive))).all()
    assert (drawn.negative_counts.sum(axis=1) == len(set(negative))).all()
    assert drawn.smaller_side == min(len(set(positive)), len(set(negative)))


@given(labels, labels)
def test_a_group_with_both_classes_is_one_unit(positive, negative):
    drawn = group_draws(positive, negative, seed=1, draws=20)

    of_positive = dict(zip(sorted(set(positive)), drawn.positive_counts.T, strict=True))
    of_negative = dict(zip(sorted(set(negative)), drawn.negative_counts.T, strict=True))
    for shared in set(positive) & set(negative):
        assert (of_positive[shared] == of_negative[shared]).all()


def test_disjoint_groups_are_drawn_apart():
    drawn = group_draws(["a", "b", "c"], ["d", "e", "f"], seed=1, draws=50)

    assert (drawn.positive_counts != drawn.negative_counts).any()


def test_items_find_their_group_in_any_order():
    drawn = group_draws(["b", "a", "b"], ["c"], seed=1, draws=1)

    assert drawn.positive.tolist() == [1, 0, 1]


def test_every_group_is_taken_equally_often():
    counts = draw_counts(10, random=np.random.RandomState(0), draws=20_000)

    assert counts.mean(axis=0) == pytest.approx(np.ones(10), abs=0.04)
    assert counts.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.05)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(StatisticsError, match="^seed: "):
        group_draws([1], [1], seed=seed, draws=10)


@pytest.mark.parametrize("draws", [0, -5, 1.5])
def test_an_impossible_number_of_draws_is_refused(draws):
    with pytest.raises(StatisticsError, match="^draws: "):
        group_draws([1], [1], seed=1, draws=draws)


@pytest.mark.parametrize("groups", [[], [1.5], [None], [[1]], ["a", None]])
def test_groups_are_text_or_whole_numbers(groups):
    with pytest.raises(StatisticsError, match="^pos_groups: "):
        group_draws(groups, [1], seed=1, draws=10)


def test_text_and_numbers_are_not_compared():
    with pytest.raises(StatisticsError, match="one has text labels"):
        group_draws(["1"], [1], seed=1, draws=10)


def test_a_streams_seed_is_the_head_of_the_digest_of_seed_and_name():
    assert seed_of(7, "search/danger") == 0x00C024BA
    assert len({seed_of(7, "a"), seed_of(8, "a"), seed_of(7, "b")}) == 3
