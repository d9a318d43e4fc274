"""Linear scorers fitted on vectors: logistic regression and difference of means.

They are the dense controls. With far fewer items than dimensions the penalised optimum lies in
the span of the centred items, so Newton's method runs there, on at most n - 1 coordinates, and
reaches machine precision in a few steps without a random start or a tolerance to choose::

    linear = fit_logistic(x, y, l2=1.0)
    linear.scores(new_x)

Both are weighted sums of the items they were fitted on. With fewer items than dimensions those
weights on items, the coefficients, are the shorter way to write a fit down::

    coefficients = logistic_coefficients(linear, x, y, l2=1.0)
    coefficients @ x                                     # linear.weights
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dgeqrf, dgeqrf_lwork, dorgqr
from scipy.special import expit

from compliance.errors import StatisticsError
from compliance.statistics.inputs import finite_matrix, two_classes

MOST_STEPS = 500

ROWS_AT_ONCE = 512
"""Rows of a basis that are copied at a time."""


@dataclass(frozen=True, eq=False, slots=True)
class Linear:
    """A score that is linear in the vector."""

    weights: NDArray[np.float64]
    """Shape [d]."""

    bias: float

    def scores(self, x: ArrayLike) -> NDArray[np.float64]:
        """Score vectors; greater means more like the positives, and 0 is the fitted border.

        Args:
            x: Shape [n, d].

        Returns:
            Shape [n].

        Raises:
            StatisticsError: If a number is not finite or d is not that of the fit.
        """
        matrix = finite_matrix("x", x)
        if matrix.shape[1] != self.weights.size:
            raise StatisticsError(
                f"x: {matrix.shape[1]} dimensions, expected {self.weights.size} as fitted"
            )
        return matrix @ self.weights + self.bias


def fit_logistic(x: ArrayLike, y: ArrayLike, l2: float) -> Linear:
    """Fit a logistic regression with a quadratic penalty on the weights, none on the bias.

    Minimises sum_i log(1 + exp(-s_i (w x_i + b))) + l2/2 |w|^2 with s_i = +1 or -1, the
    objective of scikit-learn's ``LogisticRegression(C=1/l2)``. The sum, not the mean: twice the
    data at the same ``l2`` is penalised half as much.

    Args:
        x: One vector per item, shape [n, d].
        y: True for the positive items, shape [n].
        l2: Greater than 0.

    Returns:
        The optimum, which is unique.

    Raises:
        StatisticsError: If shapes differ, a class is missing, a number is not finite, the
            penalty is not positive, or numbers are too large for the optimum to be found.

    Source:
        Boyd, S. and Vandenberghe, L. (2004), Convex Optimization, section 9.5 (damped Newton);
        Schölkopf, B., Herbrich, R. and Smola, A. (2001), COLT, 416-426 (the span suffices).
    """
    matrix = finite_matrix("x", x)
    labels = two_classes("y", y, matrix.shape[0])
    if not (math.isfinite(l2) and l2 > 0.0):
        raise StatisticsError(f"l2: found {l2}, expected a penalty greater than 0")
    mean = matrix.mean(axis=0)
    basis, coordinates = _span(matrix - mean)
    reduced, bias = _newton(coordinates, np.where(labels, 1.0, -1.0), float(l2))
    weights = reduced if basis is None else _times(basis, reduced)
    return Linear(weights, float(bias - weights @ mean))


def fit_difference_of_means(x: ArrayLike, y: ArrayLike) -> Linear:
    """Point from the mean of the negatives to the mean of the positives.

    Args:
        x: One vector per item, shape [n, d].
        y: True for the positive items, shape [n].

    Returns:
        The difference as weights, and the bias that puts 0 half-way between the means.

    Raises:
        StatisticsError: If shapes differ, a class is missing, or a number is not finite.
    """
    matrix = finite_matrix("x", x)
    labels = two_classes("y", y, matrix.shape[0])
    above, below = matrix[labels].mean(axis=0), matrix[~labels].mean(axis=0)
    weights = above - below
    return Linear(weights, float(-weights @ (above + below) / 2.0))


def logistic_coefficients(
    fit: Linear, x: ArrayLike, y: ArrayLike, l2: float
) -> NDArray[np.float64]:
    """Write a fitted logistic regression as weights on the items it was fitted on.

    At the optimum the gradient is zero, so the weights are sum_i c_i x_i with
    c_i = s_i / (1 + exp(s_i m_i)) / l2, m_i the score of item i; and, the bias being free, the
    coefficients sum to 0.

    Args:
        fit: What `fit_logistic` returned for the other arguments.
        x: Shape [n, d].
        y: True for the positive items, shape [n].
        l2: Greater than 0.

    Returns:
        The coefficients c, shape [n].

    Raises:
        StatisticsError: If shapes differ, a class is missing or a number is not finite.

    Source:
        Schölkopf, B., Herbrich, R. and Smola, A. (2001), COLT, 416-426 (representer theorem).
    """
    matrix = finite_matrix("x", x)
    sign = np.where(two_classes("y", y, matrix.shape[0]), 1.0, -1.0)
    return sign * expit(-sign * fit.scores(matrix)) / l2


def difference_coefficients(y: ArrayLike) -> NDArray[np.float64]:
    """Write a difference of means as weights on the items: 1/n_pos and -1/n_neg.

    Args:
        y: True for the positive items, shape [n].

    Returns:
        The coefficients, shape [n].

    Raises:
        StatisticsError: If a class is missing.
    """
    labels = two_classes("y", y, np.size(y))
    return np.where(labels, 1.0 / labels.sum(), -1.0 / (~labels).sum())


def _span(
    centred: NDArray[np.float64],
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """An orthonormal basis of the rows, shape [d, n], and the rows in it; None for all of d.

    The rows are overwritten.
    """
    if centred.shape[1] <= centred.shape[0]:
        return None, centred
    d, n = centred.shape[1], centred.shape[0]
    size = int(dgeqrf_lwork(d, n)[0])
    factors, scales, _, _ = dgeqrf(centred.T, lwork=size, overwrite_a=True)  # no copy of the items
    upper = np.triu(factors[:n])
    basis, _, _ = dorgqr(factors, scales, lwork=size, overwrite_a=True)
    return basis, upper.T


def _times(basis: NDArray[np.float64], reduced: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates as a vector, with rows of the basis put one after the other, not all at once."""
    starts = range(0, len(basis), ROWS_AT_ONCE)
    parts = (np.ascontiguousarray(basis[i : i + ROWS_AT_ONCE]) @ reduced for i in starts)
    return np.concatenate(list(parts))


def _newton(
    x: NDArray[np.float64], sign: NDArray[np.float64], l2: float
) -> tuple[NDArray[np.float64], float]:
    """Minimise the objective over weights and bias; x is centred.

    Far from the optimum a step is halved until it descends. Near it, where rounding hides the
    descent, full steps converge quadratically, and the last is taken once it is negligible.
    """
    n, d = x.shape
    design = np.column_stack([x, np.ones(n)])
    penalty = np.append(np.full(d, l2), 0.0)
    theta = np.zeros(d + 1)
    theta[d] = math.log((sign > 0).sum() / (sign < 0).sum())
    value = _objective(design, sign, penalty, theta)
    for _ in range(MOST_STEPS):
        step, decrement = _newton_step(design, sign, penalty, theta)
        if decrement <= 1e-20 * (1.0 + value):
            theta = theta + step
            return theta[:d], float(theta[d])
        size = 1.0
        if decrement > 1e-8 * (1.0 + value):
            size = _descending(design, sign, penalty, theta, step, value, decrement)
        theta = theta + size * step
        value = _objective(design, sign, penalty, theta)
    raise StatisticsError(
        f"logistic regression: no optimum after {MOST_STEPS} steps",
        hint="scale the vectors to a common size, or raise l2",
    )


def _newton_step(
    design: NDArray[np.float64],
    sign: NDArray[np.float64],
    penalty: NDArray[np.float64],
    theta: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """The Newton step, and twice the descent that it promises."""
    margin = sign * (design @ theta)
    wrong = expit(-margin)
    gradient = penalty * theta - design.T @ (sign * wrong)
    curvature = (design * (wrong * expit(margin))[:, np.newaxis]).T @ design + np.diag(penalty)
    try:
        step = -np.linalg.solve(curvature, gradient)
    except np.linalg.LinAlgError as error:
        raise StatisticsError(
            "logistic regression: the curvature cannot be inverted",
            hint="scale the vectors to a common size, or raise l2",
        ) from error
    return step, float(-gradient @ step)


def _descending(
    design: NDArray[np.float64],
    sign: NDArray[np.float64],
    penalty: NDArray[np.float64],
    theta: NDArray[np.float64],
    step: NDArray[np.float64],
    value: float,
    decrement: float,
) -> float:
    """The largest of 1, 1/2, 1/4, ... that descends by a tenth of what the slope promises."""
    size = 1.0
    while size > 1e-12:
        if _objective(design, sign, penalty, theta + size * step) <= value - 0.1 * size * decrement:
            return size
        size /= 2.0
    return size


def _objective(
    design: NDArray[np.float64],
    sign: NDArray[np.float64],
    penalty: NDArray[np.float64],
    theta: NDArray[np.float64],
) -> float:
    loss = np.logaddexp(0.0, -sign * (design @ theta)).sum()
    return float(loss + 0.5 * (penalty * theta * theta).sum())
