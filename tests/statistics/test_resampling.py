import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import StatisticsError
from compliance.statistics import resampling
from compliance.statistics.resampling import (
    GroupDraws,
    count_blocks,
    draw_counts,
    group_draws,
    seed_of,
)

labels = st.lists(st.integers(0, 12), min_size=1, max_size=30)


def counted(drawn: GroupDraws) -> tuple[np.ndarray, np.ndarray]:
    """Counts of all draws, of groups with positives and of those with negatives."""
    positive, negative = zip(*drawn.blocks(), strict=True)
    return np.concatenate(positive), np.concatenate(negative)


def test_the_stream_is_the_one_numpy_froze():
    counts = draw_counts(5, random=np.random.RandomState(20260101), draws=3)

    assert counts.tolist() == [[0, 1, 2, 1, 1], [0, 1, 0, 3, 1], [2, 0, 1, 2, 0]]


def test_the_same_seed_gives_the_same_draws():
    draws = [
        counted(group_draws([1, 2, 3], [1, 2, 3], seed=seed, draws=50))[0] for seed in (7, 7, 8)
    ]

    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


@given(labels, labels, st.integers(1, 200))
def test_where_a_block_ends_changes_no_draw(positive, negative, at_once):
    drawn = group_draws(positive, negative, seed=3, draws=20)
    whole = counted(drawn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "AT_ONCE", at_once)
        blocks = list(drawn.blocks())
        parts = counted(drawn)

    assert (parts[0] == whole[0]).all() and (parts[1] == whole[1]).all()
    items = len(positive) + len(negative)
    assert max(len(block[0]) for block in blocks) * items <= max(at_once, items)


def test_strata_are_read_from_one_stream_one_after_the_other():
    stream = np.random.RandomState(9)
    shared, above, below = (draw_counts(n, random=stream, draws=30) for n in (2, 1, 3))

    found = counted(group_draws([1, 2, 3], [2, 3, 4, 5, 6], seed=9, draws=30))

    assert (found[0] == np.hstack([above, shared])).all()
    assert (found[1] == np.hstack([shared, below])).all()


def test_blocks_of_counts_are_those_of_all_draws():
    whole = draw_counts(7, random=np.random.RandomState(4), draws=25)

    blocks = list(count_blocks(7, random=np.random.RandomState(4), draws=25, at_once=30))

    assert (np.concatenate(blocks) == whole).all()
    assert {len(block) for block in blocks} == {4, 1}


@given(labels, labels)
def test_every_draw_takes_as_many_groups_as_there_are(positive, negative):
    drawn = group_draws(positive, negative, seed=1, draws=20)

    above, below = counted(drawn)
    assert (above.sum(axis=1) == len(set(positive))).all()
    assert (below.sum(axis=1) == len(set(negative))).all()
    assert drawn.smaller_side == min(len(set(positive)), len(set(negative)))


@given(labels, labels)
def test_a_group_with_both_classes_is_one_unit(positive, negative):
    drawn = group_draws(positive, negative, seed=1, draws=20)

    above, below = counted(drawn)
    of_positive = dict(zip(sorted(set(positive)), above.T, strict=True))
    of_negative = dict(zip(sorted(set(negative)), below.T, strict=True))
    for shared in set(positive) & set(negative):
        assert (of_positive[shared] == of_negative[shared]).all()


def test_disjoint_groups_are_drawn_apart():
    above, below = counted(group_draws(["a", "b", "c"], ["d", "e", "f"], seed=1, draws=50))

    assert (above != below).any()


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
