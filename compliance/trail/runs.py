"""Which entries of a trail belong to which run.

One trail holds all runs beside an ``audit.yaml``, also those that were given up. Entries of a run
name it in ``facts["run"]``, by the beginning of the digest of its plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from compliance.records.base import digest_of
from compliance.records.plan import Plan
from compliance.records.trail import Entry


def run_name(plan: Plan) -> str:
    """What the run of a plan is called: 16 hexadecimal digits."""
    return digest_of(plan).removeprefix("sha256:")[:16]


def of_run(entries: Iterable[Entry], run: str) -> tuple[Entry, ...]:
    """The entries of one run, in their order."""
    return tuple(entry for entry in entries if entry.facts.get("run") == run)


def openings(entries: Iterable[Entry]) -> list[tuple[int, dict[str, Any]]]:
    """Each opening of confirm groups: the number of its entry, and its facts."""
    return [(e.sequence, e.facts) for e in entries if e.kind == "confirmation-opened"]


def openings_of(entries: Iterable[Entry], groups: Sequence[str]) -> list[int]:
    """Numbers of the entries that opened any of these groups, for whatever run."""
    wanted = set(groups)
    return [line for line, facts in openings(entries) if wanted & _groups(facts)]


def _groups(facts: dict[str, Any]) -> set[str]:
    named = facts.get("groups")
    if not isinstance(named, list):
        return set()
    return {group for group in named if isinstance(group, str)}
