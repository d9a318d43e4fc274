"""What a pack locked: which latents stand for which concept, and from which score on they alarm.

    locked = read_locked(pack)
    locked.probes[0].cut_offs["ja"].value

The pack is checked first; one that was changed after signing is refused. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compliance.assessment.tables import found_path, read_table
from compliance.errors import MonitorError
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.records.audit import FeatureRef, Pooling
from compliance.records.evidence import Evidence
from compliance.records.plan import CutOff, PlannedProbe
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import Label, Region, Variant
from compliance.suites.split import CALIBRATE

FORM = ("text", "plain")
"""Modality and rendering of what a monitor reads: words."""


@dataclass(frozen=True)
class LockedConcept:
    """One locked probe."""

    concept: str
    region: Region
    pooling: Pooling
    features: tuple[FeatureRef, ...]
    cut_offs: Mapping[str, CutOff]
    """By language, of text."""

    calibration: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By language: scores of the benign items that the cut-off was set on, float64 ``[n]``."""


@dataclass(frozen=True)
class Locked:
    """What one pack locked, and of what."""

    model: ModelFacts
    saes: tuple[SaeFacts, ...]
    root: str
    """Root digest of the pack."""

    alpha: float
    sink_norm_ratio: float
    probes: tuple[LockedConcept, ...]
    """In the plan's order."""


def read_locked(pack: Path) -> Locked:
    """Read what a pack locked.

    Args:
        pack: A folder or a ZIP.

    Raises:
        PackError: There is no pack here.
        MonitorError: It is not what was signed, or holds no locked probe of text.
    """
    verification = verify_integrity(pack)
    if not verification.ok or verification.root_digest is None:
        first = verification.failed[0].line if verification.failed else "nothing could be checked"
        raise MonitorError(
            f"{pack}: {first}",
            hint="a pack that was changed is not watched with; compliance verify says all of it",
        )
    with read_pack(pack) as opened:
        evidence = opened.evidence
        calibration = _calibration(opened)
        probes = tuple(
            found
            for probe in evidence.plan.probes
            if (found := _concept(probe, evidence, calibration)) is not None
        )
    if not probes:
        raise MonitorError(f"{pack}: its lock has no probe that reads words")
    plan = evidence.plan
    return Locked(
        plan.model, plan.saes, verification.root_digest, plan.alpha, plan.sink_norm_ratio, probes
    )


def _concept(
    probe: PlannedProbe, evidence: Evidence, calibration: Mapping[tuple[str, str], np.ndarray]
) -> LockedConcept | None:
    """None where nothing was locked, or a picture is read."""
    locked = next((p for p in evidence.lock.probes if p.concept == probe.concept), None)
    if locked is None or not locked.features or probe.region == "image":
        return None
    cut_offs = {
        found.cell.language: found
        for found in evidence.lock.cut_offs
        if found.scorer == "probe"
        and found.cell.concept == probe.concept
        and found.cell.variant == Variant(found.cell.language, *FORM)
    }
    benign = {
        language: scores
        for (concept, language), scores in calibration.items()
        if concept == probe.concept
    }
    return LockedConcept(
        probe.concept, probe.region, probe.pooling, locked.features, cut_offs, benign
    )


def _calibration(pack: OpenPack) -> dict[tuple[str, str], np.ndarray]:
    """Scores of benign calibrate items by concept and language; none where they are withheld."""
    there = set(pack.observed)
    needed = [found_path(there, path) for path in ("fit/items.csv", "fit/scores.csv")]
    if not there.issuperset(needed):
        return {}
    files = {path: pack.observation(path) for path in needed}
    items, scores = read_table(files, "fit/items.csv"), read_table(files, "fit/scores.csv")
    modality, rendering = FORM
    benign = items[
        (items["split"] == CALIBRATE)
        & (items["label"] == Label.NEGATIVE.value)
        & (items["modality"] == modality)
        & (items["rendering"] == rendering)
    ]
    found = scores[scores["scorer"] == "probe"].merge(benign[["item", "language"]], on="item")
    return {
        (str(concept), str(language)): part.to_numpy(dtype=np.float64)
        for (concept, language), part in found.groupby(["concept", "language"])["score"]
    }
