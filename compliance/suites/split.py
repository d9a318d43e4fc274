"""Puts groups into splits (PROTOCOL section 2).

Groups are ranked by a hash of their id and their suite's digest and cut at exact quotas, stratified
by concept, and by label where a suite has no pairs: each label has its share of all splits.
A benign group has the same place in all languages. Nobody can choose a split without changing the
suite, and nobody needs to store one: it follows from the items.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from compliance.records.audit import Subset
from compliance.records.plan import Splits
from compliance.records.suite import Label
from compliance.suites.load import Suite

DISCOVER, CALIBRATE, CONFIRM = "discover", "calibrate", "confirm"


def split_groups(suites: Sequence[Suite], splits: Splits, subset: Subset | None) -> dict[str, str]:
    """Split of every group that takes part.

    Args:
        suites: Their group ids must not overlap.
        splits: Quotas in percent.
        subset: Take only the first groups by rank; the others have no split. Without pairs, half
            of ``groups_per_concept`` (rounded down) are taken of each label.

    Returns:
        ``discover``, ``calibrate`` or ``confirm`` by group id.
    """
    found: dict[str, str] = {}
    for suite in suites:
        for (concept, label), groups in groups_ranked_together(suite).items():
            ranked = rank(groups, suite.digest)
            if subset:
                ranked = ranked[: subset.of(suite.datasheet.name, concept, label)]
            found.update(cut(ranked, quotas(splits, concept, label)))
    return found


def quotas(splits: Splits, concept: str | None, label: str | None) -> dict[str, int]:
    """Percent of a concept's and label's groups for each split; neutral text is all confirm."""
    if concept:
        return {DISCOVER: splits.discover, CALIBRATE: splits.calibrate, CONFIRM: splits.confirm}
    if label == Label.NEUTRAL:
        return {CONFIRM: 100}
    return {CALIBRATE: splits.benign_calibrate, CONFIRM: splits.benign_confirm}


def groups_ranked_together(suite: Suite) -> dict[tuple[str | None, Label | None], set[str]]:
    """Group ids that share a ranking, by concept and label.

    Benign groups and neutral text have no concept, and groups of a paired suite no label; neutral
    text has its own.
    """
    groups: dict[tuple[str | None, Label | None], set[str]] = defaultdict(set)
    for item in suite.outlines:
        whole = suite.datasheet.paired and item.label is not Label.NEUTRAL
        label = None if whole else item.label
        groups[item.concept, label].add(item.group)
    return dict(groups)


def rank(groups: Iterable[str], suite_digest: str) -> list[str]:
    """Groups in the order of the sha256 of suite digest, a newline and group id."""

    def key(group: str) -> bytes:
        return hashlib.sha256(f"{suite_digest}\n{group}".encode()).digest()

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
