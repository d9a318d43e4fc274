"""Versions of a system's packs: what changed since the pack before, and so which number moves.

decide_version(evidence, parent)     # 1.1.0, measurements: plan.seed, results, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compliance.records.base import Record
from compliance.records.comparison import VersionChange
from compliance.records.evidence import Evidence

FIRST = "1.0.0"

NAMES = frozenset({"name", "revision", "neuronpedia_id"})
"""Fields of a model or an SAE that only say what it is called; digests say what it is."""

MEASURED = ("plan", "lock", "results", "findings", "influences", "reductions", "observations",
            "confirm_openings", "environment")  # fmt: skip
"""Parts of the evidence that say how was measured and what came out."""


@dataclass(frozen=True)
class Parent:
    """The pack that a new one follows. ``OpenPack.as_parent`` makes one."""

    version: str
    root_digest: str
    evidence: Evidence


def next_version(evidence: Evidence, parent: Parent | None) -> str:
    """The version of a new pack; `decide_version` says why."""
    return decide_version(evidence, parent).version


def decide_version(evidence: Evidence, parent: Parent | None) -> VersionChange:
    """The version of a new pack, and what decided it.

    MAJOR: the model or an SAE is another one. MINOR: the same subject was measured in another way
    or with another outcome. PATCH: only words changed: declarations, law, layout.

    Args:
        evidence: Of the new pack.
        parent: The pack before; None: this is the first.

    Returns:
        Version, kind of change, and the parts of ``evidence.json`` that differ and decided it. No
        part: the evidence is the same, and the pack was built again in other languages or under
        another key.
    """
    if parent is None:
        return VersionChange(version=FIRST, change="first", reasons=())
    major, minor, patch = (int(part) for part in parent.version.split("."))
    if subject := tuple(_subject(parent.evidence, evidence)):
        return VersionChange(version=f"{major + 1}.0.0", change="subject", reasons=subject)
    if measured := tuple(_measurements(parent.evidence, evidence)):
        version = f"{major}.{minor + 1}.0"
        return VersionChange(version=version, change="measurements", reasons=measured)
    version = f"{major}.{minor}.{patch + 1}"
    others = (name for name in Evidence.model_fields if name not in MEASURED)
    words = tuple(_differing(parent.evidence, evidence, others))
    return VersionChange(version=version, change="words", reasons=words)


def is_later(version: str, than: str) -> bool:
    """Whether one version comes after another."""
    first, second = ([int(part) for part in text.split(".")] for text in (version, than))
    return first > second


def _subject(before: Evidence, now: Evidence) -> Iterator[str]:
    """What differs of the model and the SAEs, whatever they are called."""
    models = before.plan.model, now.plan.model
    yield from (f"plan.model.{name}" for name in _fields(*models))
    saes = before.plan.saes, now.plan.saes
    if len(saes[0]) != len(saes[1]):
        yield "plan.saes"
        return
    for place, (old, new) in enumerate(zip(*saes, strict=True)):
        yield from (f"plan.saes.{place}.{name}" for name in _fields(old, new))


def _fields(old: Record, new: Record) -> Iterator[str]:
    names = (name for name in type(old).model_fields if name not in NAMES)
    return _differing(old, new, names)


def _measurements(before: Evidence, now: Evidence) -> Iterator[str]:
    """What differs of the plan key by key, and of all that follows from it."""
    plan = _differing(before.plan, now.plan, type(now.plan).model_fields)
    yield from (f"plan.{name}" for name in plan)
    yield from _differing(before, now, MEASURED[1:])


def _differing(old: Record, new: Record, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if getattr(old, name) != getattr(new, name))
