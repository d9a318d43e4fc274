import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from compliance.errors import StatisticsError
from compliance.statistics import discovery
from compliance.statistics.discovery import max_statistic
from compliance.statistics.ranking import auroc


def best_auroc(matrix, labels):
    return max(auroc(column[labels], column[~labels]) for column in matrix.T)


@st.composite
def searches(draw):
    """Scores with ties and zeros, some below zero, of items in groups of every kind."""
    n, k = draw(st.integers(2, 10)), draw(st.integers(1, 5))
    cells = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, -1.0])
    matrix = draw(st.lists(st.lists(cells, min_size=k, max_size=k), min_size=n, max_size=n))
    labels = draw(st.permutations([True] + [False] + draw(st.lists(st.booleans(),
                                                                   min_size=n - 2,
                                                                   max_size=n - 2))))  # fmt: skip
    groups = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return np.array(matrix), np.array(labels), np.array(groups)


@given(searches(), st.integers(0, 1000))
@settings(max_examples=60)
def test_it_agrees_with_one_flip_and_one_latent_at_a_time(case, seed):
    matrix, labels, groups = case

    found = max_statistic(matrix, labels, groups, flips=20, seed=seed)

    exchanged = discovery._exchanges(
        labels,
        np.unique(groups, return_inverse=True)[1],
        np.unique(groups).size,
        20,
        np.random.RandomState(seed),
    )
    null = np.array([best_auroc(matrix, flipped) for flipped in exchanged])
    observed = best_auroc(matrix, labels)
    assert found.auroc == pytest.approx(observed, abs=1e-12)
    assert found.p_adjusted == (1 + (null >= observed - 1e-12).sum()) / 21
    assert found.null_p95 == pytest.approx(np.quantile(null, 0.95), abs=1e-12)
    values = [auroc(column[labels], column[~labels]) for column in matrix.T]
    assert found.best == np.argmax(values)
    assert found.ties == np.sum(np.array(values) == max(values))
    assert (found.searched, found.active) == (matrix.shape[1], np.any(matrix != 0, axis=0).sum())


@pytest.mark.parametrize(("columns", "scores", "flips"), [(1, 2**21, 64), (1024, 30, 7), (9, 9, 1)])
def test_blocks_of_latents_and_of_exchanges_change_nothing(columns, scores, flips, monkeypatch):
    stream = np.random.RandomState(3)
    matrix = sparse.random(24, 50, density=0.3, format="csr", random_state=stream)
    labels, groups = np.arange(24) % 2 == 0, np.arange(24) // 2
    whole = max_statistic(matrix, labels, groups, flips=100, seed=5)
    monkeypatch.setattr(discovery, "COLUMNS_AT_ONCE", columns)
    monkeypatch.setattr(discovery, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(discovery, "FLIPS_AT_ONCE", flips)

    assert max_statistic(matrix, labels, groups, flips=100, seed=5) == whole


@given(searches(), st.integers(0, 1000))
def test_sparse_and_dense_agree(case, seed):
    matrix, labels, groups = case

    dense = max_statistic(matrix, labels, groups, flips=10, seed=seed)

    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        assert max_statistic(form(matrix), labels, groups, flips=10, seed=seed) == dense


def exchanges(labels, groups, flips=4_000):
    labels, groups = np.array(labels, dtype=bool), np.array(groups)
    return discovery._exchanges(
        labels, groups, groups.max() + 1, flips, np.random.RandomState(1)
    ).astype(int)


def test_a_pair_swaps_as_a_whole():
    found = exchanges([1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1])

    assert {tuple(row[:2]) for row in found} == {(1, 0), (0, 1)}
    assert {tuple(row[2:]) for row in found} == {(1, 1, 0, 0), (0, 0, 1, 1)}
    patterns, counts = np.unique(found, axis=0, return_counts=True)
    assert len(patterns) == 4
    assert counts.min() > 900


def test_unequal_numbers_are_permuted_within_their_group():
    found = exchanges([1, 0, 0, 1, 0], [0, 0, 0, 1, 1])

    assert (found[:, :3].sum(axis=1) == 1).all()
    assert found[:, :3].mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.03)


def test_groups_of_one_label_exchange_with_those_of_their_size():
    found = exchanges([1, 0, 0, 1, 1, 0, 0, 1, 1, 1], [0, 1, 2, 3, 3, 4, 4, 5, 5, 5])

    assert (found[:, :3].sum(axis=1) == 1).all()
    assert found[:, :3].mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert {tuple(row[3:7]) for row in found} == {(1, 1, 0, 0), (0, 0, 1, 1)}
    assert (found[:, 7:] == 1).all()  # no group of three to exchange with


def test_every_exchange_keeps_the_number_of_positives():
    labels = np.random.RandomState(0).uniform(size=60) < 0.4
    groups = np.random.RandomState(1).randint(0, 25, size=60)

    assert (exchanges(labels, groups, 200).sum(axis=1) == labels.sum()).all()


def test_under_the_null_p_values_are_not_too_small():
    """Latents that share noise with each other and, within pairs, with the other item."""
    p_values = []
    for seed in range(300):
        random = np.random.RandomState(seed)
        groups = np.repeat(np.arange(20), 2)
        common = np.repeat(random.normal(size=(20, 1)), 2, axis=0) + random.normal(size=(40, 1))
        scores = np.maximum(random.normal(size=(40, 30)) + common, 0.0)
        found = max_statistic(scores, groups * 0 + np.tile([1, 0], 20), groups, flips=99, seed=seed)
        p_values.append(found.p_adjusted)

    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 300)
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=3.5 * error)


def test_a_planted_latent_is_found():
    random, labels = np.random.RandomState(5), np.arange(60) % 2 == 0
    scores = random.normal(size=(60, 200))
    scores[labels, 123] += 2.0

    found = max_statistic(scores, labels, np.arange(60) // 2, flips=200, seed=1)

    assert (found.best, found.p_adjusted) == (123, 1 / 201)
    assert found.null_p95 < found.auroc


def test_silent_latents_alone_are_never_a_find():
    found = max_statistic(sparse.csr_array((6, 3)), np.arange(6) < 2, np.arange(6),
                          flips=10, seed=1)  # fmt: skip

    assert (found.auroc, found.p_adjusted, found.null_p95) == (0.5, 1.0, 0.5)
    assert (found.searched, found.active, found.ties) == (3, 0, 3)


def test_a_silent_latent_holds_the_null_at_one_half():
    """The active one is at 1 or 0, so that without the silent one its 0 would be the maximum."""
    scores = np.array([[0.0, 1.0], [0.0, 2.0]])

    found = max_statistic(scores, [True, False], [0, 0], flips=200, seed=1)

    assert (found.best, found.auroc) == (0, 0.5)
    assert found.p_adjusted == 1.0


def test_the_same_seed_gives_the_same_answer():
    random = np.random.RandomState(2)
    scores, labels, groups = (
        random.normal(size=(40, 50)),
        np.arange(40) % 2 == 0,
        np.arange(40) // 2,
    )

    once, twice, other = (
        max_statistic(scores, labels, groups, flips=50, seed=seed) for seed in (1, 1, 2)
    )

    assert once == twice
    assert once.null_p95 != other.null_p95


def test_sixteen_thousand_latents_take_seconds():
    matrix = sparse.random(200, 16_384, density=0.08, format="csr", random_state=1)

    started = time.perf_counter()
    found = max_statistic(matrix, np.arange(200) % 2 == 0, np.arange(200) // 2, flips=1000, seed=1)

    assert time.perf_counter() - started < 10.0
    assert found.searched == 16_384


@pytest.mark.parametrize("flips", [0, 1.5])
def test_an_impossible_number_of_flips_is_refused(flips):
    with pytest.raises(StatisticsError, match="^flips: "):
        max_statistic([[1.0], [0.0]], [True, False], [0, 0], flips=flips, seed=1)


@pytest.mark.parametrize(
    ("scores", "labels", "groups", "name"),
    [
        ([[np.nan], [0.0]], [True, False], [0, 0], "scores"),
        (sparse.csr_array([[np.inf], [0.0]]), [True, False], [0, 0], "scores"),
        (sparse.csr_array((2, 0)), [True, False], [0, 0], "scores"),
        ([[1.0], [0.0]], [True, True], [0, 0], "is_positive"),
        ([[1.0], [0.0]], [True, False], [0], "groups"),
        ([[1.0], [0.0]], [True, False], [0.5, 1.5], "groups"),
    ],
)
def test_bad_input_is_refused_by_name(scores, labels, groups, name):
    with pytest.raises(StatisticsError, match=f"^{name}: "):
        max_statistic(scores, labels, groups, flips=5, seed=1)
