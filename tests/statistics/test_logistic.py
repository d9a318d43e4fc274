import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from compliance.errors import StatisticsError
from compliance.statistics.logistic import (
    difference_coefficients,
    fit_difference_of_means,
    fit_logistic,
    logistic_coefficients,
)


def sample(n, d, *, seed=0, scale=1.0, shift=0.0):
    """Two classes a little apart, in d dimensions, far from the origin if asked."""
    random = np.random.RandomState(seed)
    y = np.arange(n) % 3 == 0
    return scale * (random.normal(size=(n, d)) + 0.5 * y[:, np.newaxis]) + shift, y


def gradient(x, y, l2, fit):
    """The objective's derivatives, which are zero at the optimum alone."""
    residual = y - expit(fit.scores(x))
    return l2 * fit.weights - x.T @ residual, -residual.sum()


@pytest.mark.parametrize(("n", "d"), [(60, 5), (60, 60), (40, 700), (2, 3)])
@pytest.mark.parametrize("l2", [0.01, 1.0, 100.0])
def test_the_fit_is_the_optimum(n, d, l2):
    x, y = sample(n, d)

    fit = fit_logistic(x, y, l2)

    weights, bias = gradient(x, y, l2, fit)
    assert np.abs(weights).max() <= 1e-12 * n
    assert abs(bias) <= 1e-12 * n


@pytest.mark.parametrize(("n", "d"), [(80, 4), (50, 300)])
@pytest.mark.parametrize("l2", [0.1, 1.0, 10.0])
def test_the_fit_is_that_of_scikit_learn(n, d, l2):
    x, y = sample(n, d)

    ours = fit_logistic(x, y, l2)
    with warnings.catch_warnings(action="ignore"):
        theirs = LogisticRegression(C=1.0 / l2, tol=1e-14, max_iter=50_000).fit(x, y)

    # lbfgs stops where its objective no longer falls, so only half of its digits are final.
    assert ours.weights == pytest.approx(theirs.coef_[0], abs=2e-5)
    assert ours.bias == pytest.approx(theirs.intercept_[0], abs=2e-5)


@pytest.mark.parametrize(("scale", "shift"), [(1e3, 0.0), (1e-3, 0.0), (1.0, 1e3), (50.0, 500.0)])
def test_badly_scaled_vectors_reach_the_optimum_too(scale, shift):
    x, y = sample(50, 200, scale=scale, shift=shift)

    fit = fit_logistic(x, y, 1.0)

    weights, bias = gradient(x, y, 1.0, fit)
    assert np.abs(weights).max() <= 1e-10 * np.abs(x).max() * 50
    assert abs(bias) <= 1e-9


def test_separable_classes_have_a_finite_fit():
    fit = fit_logistic([[0.0], [1.0]], [False, True], 1e-6)

    assert np.isfinite(fit.weights).all()
    assert fit.scores([[0.0], [1.0]]) == pytest.approx(
        [-fit.scores([[1.0]])[0], fit.scores([[1.0]])[0]]
    )


def test_heavy_tails_do_not_throw_the_steps_off():
    """Cauchy vectors on which undamped Newton steps never arrive."""
    random = np.random.RandomState(11)
    x = random.standard_t(1, size=(30, 3))
    y = random.uniform(size=30) < expit(3.0 * np.clip(x[:, 0], -3.0, 3.0))

    fit = fit_logistic(x, y, 1e-4)

    weights, bias = gradient(x, y, 1e-4, fit)
    assert np.abs(weights).max() <= 1e-12 * np.abs(x).max()
    assert abs(bias) <= 1e-12


def test_the_bias_is_not_penalised():
    x, y = sample(60, 30)

    near, far = fit_logistic(x, y, 1.0), fit_logistic(x + 7.0, y, 1.0)

    assert far.weights == pytest.approx(near.weights, abs=1e-11)
    assert far.bias == pytest.approx(near.bias - 7.0 * near.weights.sum(), abs=1e-10)


def test_the_weights_lie_in_the_span_of_the_items():
    x, y = sample(20, 100)
    x[:, 50:] = 0.0

    assert np.abs(fit_logistic(x, y, 1.0).weights[50:]).max() < 1e-15


def test_a_constant_dimension_gets_no_weight():
    x, y = sample(30, 3)
    x[:, 1] = 4.0

    assert fit_logistic(x, y, 1.0).weights[1] == pytest.approx(0.0, abs=1e-14)


def test_the_same_data_give_the_same_bits():
    x, y = sample(40, 200)

    one, two = fit_logistic(x, y, 1.0), fit_logistic(x.copy(), y.copy(), 1.0)

    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.bias == two.bias


def test_difference_of_means_points_from_negatives_to_positives():
    fit = fit_difference_of_means([[2.0, 1.0], [4.0, 1.0], [0.0, 0.0]], [True, True, False])

    assert fit.weights.tolist() == [3.0, 1.0]
    assert fit.scores([[3.0, 1.0], [0.0, 0.0]]).tolist() == [5.0, -5.0]


@pytest.mark.parametrize("l2", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_penalty_is_refused(l2):
    with pytest.raises(StatisticsError, match="^l2: "):
        fit_logistic([[0.0], [1.0]], [False, True], l2)


@pytest.mark.parametrize("fit", [lambda x, y: fit_logistic(x, y, 1.0), fit_difference_of_means])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([[0.0], [1.0]], [True, True]),
        ([[0.0], [1.0]], [True]),
        ([[np.nan], [1.0]], [True, False]),
        ([0.0, 1.0], [True, False]),
        (np.empty((0, 3)), []),
    ],
)
def test_bad_data_are_refused(fit, x, y):
    with pytest.raises(StatisticsError):
        fit(x, y)


def test_vectors_of_another_size_are_refused():
    with pytest.raises(StatisticsError, match="3 dimensions, expected 1"):
        fit_logistic([[0.0], [1.0]], [False, True], 1.0).scores([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("n", "d", "scale", "shift"),
    [(40, 5, 1.0, 0.0), (20, 300, 1.0, 0.0), (50, 200, 1e3, 0.0), (50, 200, 50.0, 500.0)],
)
def test_coefficients_on_items_give_the_weights_and_sum_to_zero(n, d, scale, shift):
    x, y = sample(n, d, scale=scale, shift=shift)
    fit = fit_logistic(x, y, 2.0)

    found = logistic_coefficients(fit, x, y, 2.0)

    new = sample(9, d, seed=1, scale=scale, shift=shift)[0]
    assert found.sum() == pytest.approx(0.0, abs=1e-9 * np.abs(found).max())
    assert (found @ x) @ new.T + fit.bias == pytest.approx(fit.scores(new), rel=1e-6, abs=1e-6)


def test_coefficients_of_a_difference_of_means_give_its_weights():
    x, y = sample(20, 300)

    found = difference_coefficients(y)

    assert found @ x == pytest.approx(fit_difference_of_means(x, y).weights, abs=1e-12)
    assert found.sum() == pytest.approx(0.0, abs=1e-15)


def test_coefficients_of_one_class_are_refused():
    with pytest.raises(StatisticsError):
        difference_coefficients([True, True])
    with pytest.raises(StatisticsError):
        logistic_coefficients(fit_logistic([[0.0], [1.0]], [0, 1], 1.0), [[0.0]], [True], 1.0)
