"""Versions of a system's packs: what changed since the pack before."""

from __future__ import annotations

from dataclasses import dataclass

from compliance.records.evidence import Evidence

FIRST = "1.0.0"


@dataclass(frozen=True)
class Parent:
    """The pack that a new one follows. ``OpenPack.as_parent`` makes one."""

    version: str
    root_digest: str
    evidence: Evidence


def next_version(evidence: Evidence, parent: Parent | None) -> str:
    """The version of a new pack.

    MAJOR: the model or an SAE is another one. MINOR: the same subject was measured in another way
    or with another outcome. PATCH: only words changed: declarations, law, layout.
    """
    if parent is None:
        return FIRST
    major, minor, patch = (int(part) for part in parent.version.split("."))
    if _subject(evidence) != _subject(parent.evidence):
        return f"{major + 1}.0.0"
    if _measurements(evidence) != _measurements(parent.evidence):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def is_later(version: str, than: str) -> bool:
    """Whether one version comes after another."""
    first, second = ([int(part) for part in text.split(".")] for text in (version, than))
    return first > second


def _subject(evidence: Evidence) -> object:
    return evidence.plan.model, evidence.plan.saes


def _measurements(evidence: Evidence) -> object:
    return (
        evidence.plan,
        evidence.lock,
        evidence.results,
        evidence.findings,
        evidence.observations,
        evidence.confirm_openings,
    )
