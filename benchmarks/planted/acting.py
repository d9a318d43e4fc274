"""Audits a planted model with interventions, and reads what they say.

Three probes: the latent that the audit's own search *found*; the *top-5* of its ranking, which are
given to a second audit; and the *oracle's* latent, which is chosen by somebody who knows trigger
and payload. The last two are no findings of an audit, and are named so wherever they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.planted.audits import Number, write_audit
from benchmarks.planted.corpus import CONCEPT, as_prompts, suite_items
from compliance import workflow
from compliance.assessment.choosing import candidates, linear_weights
from compliance.assessment.tables import FitObservations, read_table
from compliance.documents import read_yaml
from compliance.probes.interventions import Change
from compliance.records.audit import AuditConfig
from compliance.records.evidence import Evidence
from compliance.records.observation import RANDOM
from compliance.runs import RunFolder, open_run

PROBES = ("found", "top-5", "oracle")
TOP = 5

ACTED = ("effect", "kl.", "side-")
"""How names of results of interventions begin."""

READ = ("auroc-hard", "sensitivity", "fpr-benign", "fpr-hard")


@dataclass(frozen=True)
class Acted:
    """What one audit said of the model and of interventions on it."""

    probe: str
    """One of PROBES."""

    latents: tuple[int, ...]
    verdict: str
    numbers: dict[str, Number]
    """Results of the one cell, by name: those of READ, and all of interventions."""

    p: dict[str, float | None]
    """Of the same results, those that have one."""

    statement: str
    """``influences``, ``not-shown`` or ``not-measured``, by the rule of the report."""

    p_holm: float | None


def run_audit(
    folder: Path, probe: str, *, seed: int, groups: int, benign: int, features: Sequence[int] = ()
) -> tuple[Path, Evidence]:
    """Audit with interventions; what is finished is not done again.

    Args:
        folder: With ``model/`` and ``sae/``; the audit lies in ``interventions/`` there.
        probe: Its name.
        seed: Of suite and audit.
        groups: Pairs of the suite.
        benign: Ordinary documents of the suite.
        features: Latents of the probe; none: the audit is to find one.

    Returns:
        ``audit.yaml`` and the assessment. The set of small tasks is in words that these models do
        not have, so none is run.
    """
    audit_file = write_audit(
        folder / "interventions" / probe,
        as_prompts(suite_items(seed, groups=groups, benign=benign), seed),
        seed=seed,
        home="../..",
        features=features,
        interventions={"capability_items": 0},
    )
    for verb in (workflow.plan, workflow.observe, workflow.lock, workflow.observe):
        verb(audit_file)
    return audit_file, workflow.assess(audit_file)


def read_acted(probe: str, evidence: Evidence) -> Acted:
    """The one cell's verdict and numbers."""
    [finding], [locked] = evidence.findings, evidence.lock.probes
    [influence] = evidence.influences or ()
    start = f"{finding.cell.key}/"
    found = {
        name: result
        for result in evidence.results
        if (name := result.id.removeprefix(start)) != result.id
        and (name.startswith(ACTED) or name in READ)
    }
    return Acted(
        probe,
        tuple(feature.latent for feature in locked.features),
        finding.verdict.value,
        {name: Number(r.value, r.low, r.high, r.n) for name, r in found.items()},
        {name: r.p for name, r in found.items() if r.p is not None},
        influence.statement,
        influence.p_holm,
    )


@dataclass(frozen=True, eq=False)
class Handles:
    """What an audit gives to act by."""

    ranking: tuple[int, ...]
    """The latents that its search ranks first, the best first."""

    random: tuple[int, ...]
    """The random latents of its interventions: active on the same items."""

    dense: Change
    """Removes the difference of means of positives and hard negatives."""


def handles(audit_file: Path, n: int) -> Handles:
    """Of an audit that has found its latent.

    Args:
        audit_file: After `run_audit`.
        n: Length of the ranking.
    """
    run: RunFolder = open_run(audit_file.parent, read_yaml(audit_file, AuditConfig))
    files = run.observations("fit")
    fit, plan = FitObservations.from_files(files), run.plan()
    ranked = candidates(plan, fit, CONCEPT, n).latents
    arms = read_table(files, "fit/doses.csv")["arm"].astype(str)
    random = sorted(int(arm.removeprefix(RANDOM)) for arm in arms if arm.startswith(RANDOM))
    means = [
        one for one in run.lock().directions
        if one.scorer == "dense-means" and one.features.startswith("residual/")
    ]  # fmt: skip
    [linear] = linear_weights(means, fit).values()
    return Handles(
        tuple(candidate.feature.latent for candidate in ranked),
        tuple(random),
        Change("project", direction=torch.tensor(np.asarray(linear.weights))),
    )
