"""Puts groups into splits (PROTOCOL section 2).

Groups are ranked by a hash of their id and their suite's digest and cut at exact quotas, stratified
by concept. A benign group has the same place in all languages. Nobody can choose a split without
changing the suite, and nobody needs to store one: it follows from the items.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from compliance.records.audit import Subset
from compliance.records.plan import Splits
from compliance.suites.load import Suite

DISCOVER, CALIBRATE, CONFIRM = "discover", "calibrate", "confirm"


def split_groups(suites: Sequence[Suite], splits: Splits, subset: Subset | None) -> dict[str, str]:
    """Split of every group that takes part.

    Args:
        suites: Their group ids must not overlap.
        splits: Quotas in percent.
        subset: Take only the first groups by rank; the others have no split.

    Returns:
        ``discover``, ``calibrate`` or ``confirm`` by group id.
    """
    found: dict[str, str] = {}
    for suite in suites:
        for concept, groups in sorted(groups_by_concept(suite).items(), key=lambda g: g[0] or ""):
            ranked = rank(groups, suite.digest)
            if concept is None:
                ranked = ranked[: subset.benign_groups] if subset else ranked
                quotas = {CALIBRATE: splits.benign_calibrate, CONFIRM: splits.benign_confirm}
            else:
                ranked = ranked[: subset.groups_per_concept] if subset else ranked
                quotas = {
                    DISCOVER: splits.discover,
                    CALIBRATE: splits.calibrate,
                    CONFIRM: splits.confirm,
                }
            found.update(cut(ranked, quotas))
    return found


def groups_by_concept(suite: Suite) -> dict[str | None, set[str]]:
    """Group ids of each concept; benign groups under ``None``."""
    groups: dict[str | None, set[str]] = defaultdict(set)
    for item in suite.items:
        groups[item.concept].add(item.group)
    return dict(groups)


def rank(groups: Iterable[str], suite_digest: str) -> list[str]:
    """Groups in the order of the sha256 of suite digest, a newline and group id."""

    def key(group: str) -> str:
        return hashlib.sha256(f"{suite_digest}\n{group}".encode()).hexdigest()

    return sorted(groups, key=key)


def cut(ranked: Sequence[str], quotas: Mapping[str, int]) -> dict[str, str]:
    """Cut ``ranked`` at cumulative quotas in percent, each boundary rounded half up."""
    found: dict[str, str] = {}
    start, total = 0, 0
    for split, percent in quotas.items():
        total += percent
        end = int(Fraction(len(ranked) * total, 100) + Fraction(1, 2))
        found.update(dict.fromkeys(ranked[start:end], split))
        start = end
    return found
