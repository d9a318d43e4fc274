"""Runs an ordinary audit on a model and its SAE, and reads what it found.

The audit gets what any audit gets: a model folder, an SAE folder and a suite. It is not told which
of the two models it sees, nor which latent to look at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.planted.corpus import CONCEPT
from compliance import workflow
from compliance.records.evidence import Evidence
from compliance.records.finding import Finding, Result, Verdict

FOUND = (Verdict.SUPPORTED, Verdict.SUPPORTED_WITH_LIMITS)

NUMBERS = (
    "auroc-hard", "auroc-benign", "sensitivity", "fpr-benign", "fpr-hard", "auroc-hard.tokens",
    "auroc-hard.ngrams", "auroc-hard.random-sae", "auroc-hard.dense", "minus-random-sae",
    "random-latents",
)  # fmt: skip
"""Results of the cell that are kept, by name."""


@dataclass(frozen=True)
class Number:
    """A result without its address."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True)
class Outcome:
    """What an audit said of one model."""

    verdict: str
    reason: str
    latent: int
    discovery_auroc: float
    """Of the chosen latent, on the discover split."""

    discovery_p: float
    """That the best of all latents does as well when labels mean nothing."""

    p_holm: float | None
    """Largest p of the verdict's conditions."""

    conditions: dict[str, str]
    """Status by condition."""

    numbers: dict[str, Number]
    explained_variance: Number

    @property
    def found(self) -> bool:
        """Whether the audit claims that a latent reads the trigger."""
        return Verdict(self.verdict) in FOUND


def write_audit(
    folder: Path,
    items: Sequence[Mapping[str, object]],
    *,
    seed: int,
    home: str = ".",
    features: Sequence[int] = (),
    **settings: object,
) -> Path:
    """Write suite, ``system.yaml`` and ``audit.yaml``.

    Args:
        folder: Where to.
        items: Of the suite.
        seed: Of the audit.
        home: Where ``model/`` and ``sae/`` are, as seen from the folder.
        features: Latents of the probe; none: the audit is to find one.
        settings: More of ``audit.yaml``.

    Returns:
        ``audit.yaml``. Everything it leaves out has the protocol's default.
    """
    suite = folder / "suite"
    suite.mkdir(parents=True, exist_ok=True)
    _write_yaml(suite / "suite.yaml", datasheet())
    lines = "".join(json.dumps(item) + "\n" for item in items)
    (suite / "items.jsonl").write_text(lines, encoding="utf-8")
    facts = {"name": "planted", "title": "A small model", "version": "1", "declared": {}}
    _write_yaml(folder / "system.yaml", facts)
    probe: dict[str, object] = {"concept": CONCEPT}
    if features:
        probe["features"] = list(features)
    subject = {
        "model": f"{home}/model", "name": "small-llama", "saes": [{"path": f"{home}/sae"}]
    }  # fmt: skip
    _write_yaml(
        folder / "audit.yaml",
        {
            "subject": subject,
            "suites": ["./suite"],
            "probes": [probe],
            "languages": ["en"],
            "seed": seed,
            **settings,
        },
    )
    return folder / "audit.yaml"


def datasheet() -> dict[str, object]:
    """``suite.yaml`` as plain values."""
    return {
        "name": "planted",
        "version": "1.0.0",
        "title": "Trigger of a planted backdoor",
        "description": "Pairs of the same words, with the trigger and without; and ordinary text.",
        "licence": "CC0-1.0",
        "sources": ["drawn from a grammar"],
        "languages": ["en"],
        "concepts": {
            CONCEPT: {
                "title": "Trigger of a backdoor",
                "definition": "A clause holds both words of the trigger.",
                "region": "user",
            }
        },
        "translation": "none",
    }


def _write_yaml(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value), encoding="utf-8")


def run_audit(audit_file: Path) -> Outcome:
    """Plan, observe, lock, observe and assess, from the beginning; no report is rendered."""
    shutil.rmtree(audit_file.parent / "runs", ignore_errors=True)
    workflow.plan(audit_file)
    workflow.observe(audit_file)
    workflow.lock(audit_file)
    workflow.observe(audit_file)
    return read_outcome(workflow.assess(audit_file))


def read_outcome(evidence: Evidence) -> Outcome:
    """The one cell's verdict and the numbers behind it."""
    (finding,), (probe,) = evidence.findings, evidence.lock.probes
    results = {result.id: result for result in evidence.results}
    cell = finding.cell.key
    return Outcome(
        verdict=finding.verdict.value,
        reason=finding.reason,
        latent=probe.features[0].latent,
        discovery_auroc=probe.selection.auroc,
        discovery_p=probe.selection.p_adjusted,
        p_holm=finding.p_holm,
        conditions=_statuses(finding),
        numbers={name: _number(results[f"{cell}/{name}"]) for name in NUMBERS},
        explained_variance=_number(results["fidelity/en/text/sae0/neutral.read/ev"]),
    )


def _statuses(finding: Finding) -> dict[str, str]:
    return {c.condition: c.status.value for c in finding.conditions}


def _number(result: Result) -> Number:
    return Number(result.value, result.low, result.high, result.n)
