"""What an estimator accepts, checked once and in one wording.

Each function returns the value in the form the estimators compute with, or raises
`StatisticsError` naming the argument and what was found.
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError


def finite_vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Read a non-empty vector of finite numbers as float64.

    Args:
        name: What the message calls the argument.
        values: Shape [n].

    Returns:
        The same numbers, shape [n].

    Raises:
        StatisticsError: If the values are empty, not one-dimensional, not numbers or not finite.
    """
    vector = _numbers(name, values)
    if vector.ndim != 1:
        raise StatisticsError(f"{name}: shape is {vector.shape}, expected one dimension")
    return _finite(name, vector)


def finite_matrix(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Read a non-empty matrix of finite numbers as float64; the arguments are `finite_vector`'s."""
    matrix = _numbers(name, values)
    if matrix.ndim != 2:
        raise StatisticsError(f"{name}: shape is {matrix.shape}, expected two dimensions")
    return _finite(name, matrix)


def two_classes(name: str, values: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Read ``n`` labels, true or false (or 1 and 0), of which both occur.

    Args:
        name: What the message calls the argument.
        values: Shape [n].
        n: How many labels there must be.

    Returns:
        Booleans, shape [n].

    Raises:
        StatisticsError: If the shape differs, another value occurs, or one of the two is missing.
    """
    labels = np.asarray(values)
    if labels.shape != (n,):
        raise StatisticsError(f"{name}: shape is {labels.shape}, expected ({n},)")
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise StatisticsError(f"{name}: found values other than true and false")
    labels = labels.astype(np.bool_)
    if labels.all() or not labels.any():
        raise StatisticsError(f"{name}: only one of the two classes occurs, expected both")
    return labels


def count(name: str, value: SupportsIndex, *, least: int = 0) -> int:
    """Read a whole number that is at least ``least``.

    Args:
        name: What the message calls the argument.
        value: A Python or numpy integer; a float is refused, whole or not.
        least: The smallest number accepted.

    Returns:
        The number as a Python integer.

    Raises:
        StatisticsError: If the value is not an integer or is too small.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise StatisticsError(f"{name}: found {value!r}, expected a whole number") from error
    if number < least:
        raise StatisticsError(f"{name}: found {number}, expected at least {least}")
    return number


def successes_of(successes: SupportsIndex, n: SupportsIndex) -> tuple[int, int]:
    """Read a number of successes among ``n`` trials, with ``n`` at least 1.

    Raises:
        StatisticsError: If either is not a whole number, or the two cannot be.
    """
    trials = count("n", n, least=1)
    hits = count("successes", successes)
    if hits > trials:
        raise StatisticsError(f"successes: found {hits} in {trials} trials, expected at most n")
    return hits, trials


def inside_unit(name: str, value: float) -> float:
    """Read a number strictly between 0 and 1, such as a level, an alpha or a margin.

    Raises:
        StatisticsError: If it lies anywhere else.
    """
    number = float(value)
    if not 0.0 < number < 1.0:
        raise StatisticsError(f"{name}: found {value}, expected a number between 0 and 1")
    return number


def probabilities(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Read a non-empty vector of numbers from 0 to 1, both included.

    Raises:
        StatisticsError: If it is empty or a number lies outside.
    """
    vector = finite_vector(name, values)
    if vector.min() < 0.0 or vector.max() > 1.0:
        raise StatisticsError(f"{name}: found a number outside 0 to 1")
    return vector


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StatisticsError(f"{name}: found something that is not a number") from error


def _finite(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.size == 0:
        raise StatisticsError(f"{name}: there are no values, expected at least one")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values.ravel()))[0])
        raise StatisticsError(f"{name}: value {bad} is {values.ravel()[bad]}, expected a number")
    return values
