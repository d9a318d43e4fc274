"""The verbs of an audit: one for each stage, and ``audit`` for the whole way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compliance import trail
from compliance.assessment.assess import differences
from compliance.catalog.load import load_catalog
from compliance.documents import read_yaml
from compliance.errors import PlanError
from compliance.packs.version import next_version
from compliance.progress import SILENT, Progress
from compliance.records.audit import AuditConfig
from compliance.records.base import to_json
from compliance.records.evidence import Evidence
from compliance.records.plan import Lock, Plan
from compliance.runs import make_run, open_run
from compliance.storage import write_bytes
from compliance.workflow.comparing import earlier_of
from compliance.workflow.documents import Origin, reports
from compliance.workflow.engines import RayOptions, engine_of
from compliance.workflow.observed import pictures_of, used_items
from compliance.workflow.stages import (
    Key,
    assess_run,
    current_evidence,
    freeze_plan,
    issuer,
    load_reader,
    load_suites,
    load_system,
    lock_run,
    now,
    pack_run,
    parent_of,
    plan_for,
    run_pass,
)

if TYPE_CHECKING:
    from compliance.records.report import Level


def plan(audit_file: Path, progress: Progress = SILENT) -> Plan:
    """Freeze what is to be measured, and register it in the trail.

    Raises:
        ComplianceError: ``audit.yaml``, a suite, the model or an SAE cannot be used as asked.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    suites = load_suites(config, folder)
    progress.stage("loading model and SAEs")
    return freeze_plan(config, folder, suites, load_reader(config, folder), progress)


def observe(audit_file: Path, progress: Progress = SILENT, *, ray: RayOptions | None = None) -> str:
    """Run everything up to the lock (``fit``), or after it (``confirm``). Resumes where it stopped.

    Args:
        audit_file: ``audit.yaml``.
        progress: Told what is being done.
        ray: The Ray cluster that runs it; None: this process does. Results are the same.

    Returns:
        Which of the two is now complete.

    Raises:
        PlanError: Nothing is planned, or subject or suites are not those of the plan.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    run = open_run(folder, config)
    suites = load_suites(config, folder)
    progress.stage("loading model and SAEs")
    reader = load_reader(config, folder)
    frozen = plan_for(config, folder, suites, reader)
    differing = next(differences("plan", to_json(run.plan()), to_json(frozen)), None)
    if differing:
        raise PlanError(
            f"what is here is not what was planned: {differing}",
            hint="put the planned model, SAE and suites back, or run 'compliance plan' again",
        )
    stage = "confirm" if run.has("lock.json") else "fit"
    with engine_of(ray, config, folder, run, reader) as engine:
        run_pass(run, stage, suites, reader, progress, engine)
    return stage


def lock(audit_file: Path, progress: Progress = SILENT) -> Lock:
    """Freeze probe, cut-offs and fitted controls from the fit observations.

    Raises:
        PlanError: The fit observations are not there.
    """
    run = open_run(audit_file.parent, read_yaml(audit_file, AuditConfig))
    return lock_run(run, progress)


def assess(audit_file: Path, progress: Progress = SILENT) -> Evidence:
    """Compute every result and verdict from the observations.

    Raises:
        PlanError: The confirm observations are not there.
    """
    config = read_yaml(audit_file, AuditConfig)
    run = open_run(audit_file.parent, config)
    system = load_system(config, audit_file.parent)
    return assess_run(run, config, system, load_catalog(), progress)


def report(
    audit_file: Path, *, language: str = "en", level: Level | None = None,
    progress: Progress = SILENT,
) -> Path:  # fmt: skip
    """Render the report of an assessment, outside any pack.

    Args:
        audit_file: ``audit.yaml``.
        language: Of the report's own words.
        level: Of the PDF; None: all three.
        progress: Told what is being done.

    Returns:
        The folder with ``report.html``, which has everything, and ``report.pdf``,
        ``report-standard.pdf`` and ``report-brief.pdf``; in another language than English
        ``report-de.html`` and so on, beside the English ones.

    Raises:
        ReportError: There are no words in this language.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    run = open_run(folder, config)
    evidence = current_evidence(run, config, folder)
    parent = parent_of(evidence, folder)
    suites, files = load_suites(config, folder), run.observations()
    items = used_items(evidence.plan, suites)
    origin = Origin(
        evidence, load_catalog(), next_version(evidence, parent and parent.as_parent()), now(),
        files, items, pictures_of(suites), trail.read(run.trail),
        parent and earlier_of(parent, evidence, files, items),
    )  # fmt: skip
    levels = None if level is None else (level,)
    made = reports(origin, language=language, levels=levels, progress=progress)
    for name, data in made.items():
        write_bytes(run.path / "report" / name, data)
    return run.path / "report"


def pack(
    audit_file: Path, *, key: Key = None, languages: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Path:  # fmt: skip
    """Build the signed pack of an assessment.

    Args:
        audit_file: ``audit.yaml``.
        key: The issuer's private key: a file in PEM form, or a `KeySource`. Without it
            ``keys/issuer.pem`` beside ``audit.yaml`` is taken, and made when it is not there.
        languages: Of reports, besides English.
        progress: Told what is being done.

    Returns:
        The pack's folder; the newest pack when it states the same evidence already.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    run = open_run(folder, config)
    current_evidence(run, config, folder)
    suites = load_suites(config, folder)
    return pack_run(run, folder, suites, key, progress, languages=languages)


def audit(
    audit_file: Path, *, key: Key = None, languages: Sequence[str] = (),
    progress: Progress = SILENT, ray: RayOptions | None = None,
) -> Path:  # fmt: skip
    """The whole way: plan, observe, lock, observe, assess, report, pack. Resumes where it stopped.

    Args:
        audit_file: ``audit.yaml``.
        key: As in `pack`.
        languages: Of reports, besides English.
        progress: Told what is being done.
        ray: As in `observe`.

    Raises:
        ComplianceError: Something that was asked for cannot be done; finished work is kept.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    system, suites = load_system(config, folder), load_suites(config, folder)
    with issuer(folder, key):  # a key that cannot be used is told before hours of work
        progress.stage("loading model and SAEs")
    reader = load_reader(config, folder)
    frozen = freeze_plan(config, folder, suites, reader, progress)
    run = make_run(folder, config, frozen)
    with engine_of(ray, config, folder, run, reader) as engine:
        run_pass(run, "fit", suites, reader, progress, engine)
        lock_run(run, progress)
        run_pass(run, "confirm", suites, reader, progress, engine)
    assess_run(run, config, system, load_catalog(), progress)
    return pack_run(run, folder, suites, key, progress, languages=languages)
