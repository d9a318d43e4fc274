"""Estimates as results: a name, a number, its interval and how it was made."""

from collections.abc import Iterable

from compliance.records.finding import Result
from compliance.statistics.estimate import Difference, Estimate
from compliance.statistics.proportion import wilson


def count(identity: str, value: int) -> Result:
    """A number of things, which has no interval."""
    return Result(id=identity, value=value, method="count")


def estimate(identity: str, found: Estimate, method: str, p: float | None = None) -> Result:
    """An estimate with its interval."""
    return Result(
        id=identity, value=found.value, low=found.low, high=found.high, level=found.level,
        n=found.n, p=p, method=method,
    )  # fmt: skip


def difference(identity: str, found: Difference, method: str) -> Result:
    """A difference with its interval and the p value of its being positive."""
    return Result(
        id=identity, value=found.value, low=found.low, high=found.high, level=found.level,
        n=found.n, p=found.p_greater, method=method,
    )  # fmt: skip


def share(
    identity: str,
    successes: int,
    n: int,
    level: float,
    p: float | None = None,
    *,
    method: str = "wilson",
) -> Result:
    """A share of ``n`` with Wilson's interval; of nothing at all there is no share."""
    if n == 0:
        return Result(id=identity, n=0, method=method, reason="there are none")
    found = wilson(successes, n, level)
    return Result(
        id=identity, value=found.value, low=found.low, high=found.high, level=level, n=n,
        successes=successes, p=p, method=method,
    )  # fmt: skip


def absent(identity: str, method: str, reason: str, n: int | None = None) -> Result:
    """A number that there should be and is not, with the reason."""
    return Result(id=identity, n=n, method=method, reason=reason)


def by_id(results: Iterable[Result]) -> dict[str, Result]:
    """Results by their one address."""
    return {result.id: result for result in results}
