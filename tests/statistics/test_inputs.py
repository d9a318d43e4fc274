import numpy as np
import pytest

from compliance.errors import StatisticsError
from compliance.statistics.inputs import (
    count,
    finite_matrix,
    finite_vector,
    inside_unit,
    probabilities,
    successes_of,
    two_classes,
)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "there are no values"),
        ([1.0, np.nan], "value 1 is nan"),
        ([np.inf, 1.0], "value 0 is inf"),
        ([[1.0]], "shape is"),
        (["high"], "not a number"),
        (3.0, "shape is"),
    ],
)
def test_a_bad_vector_is_named(values, message):
    with pytest.raises(StatisticsError, match=f"scores: .*{message}"):
        finite_vector("scores", values)


def test_a_matrix_has_two_dimensions():
    with pytest.raises(StatisticsError, match="expected two dimensions"):
        finite_matrix("x", [1.0, 2.0])


def test_float32_scores_keep_their_value():
    scores = np.float32([0.1, 0.2])

    assert (finite_vector("scores", scores) == scores.astype(np.float64)).all()


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], [0, 2], [True], [[True, False]]])
def test_bad_labels_are_refused(labels):
    with pytest.raises(StatisticsError, match="^y: "):
        two_classes("y", labels, 2)


@pytest.mark.parametrize("labels", [[1, 0], [1.0, 0.0], [True, False]])
def test_labels_may_be_numbers(labels):
    assert two_classes("y", labels, 2).tolist() == [True, False]


@pytest.mark.parametrize("value", [-1, 1.0, "1", None])
def test_only_whole_numbers_count(value):
    with pytest.raises(StatisticsError, match="^n: "):
        count("n", value)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(StatisticsError):
        successes_of(successes, n)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, np.nan])
def test_a_level_lies_strictly_inside(value):
    with pytest.raises(StatisticsError, match="^level: "):
        inside_unit("level", value)


@pytest.mark.parametrize("values", [[-0.01], [1.01], [], [np.nan]])
def test_probabilities_lie_from_0_to_1(values):
    with pytest.raises(StatisticsError, match="^p: "):
        probabilities("p", values)
