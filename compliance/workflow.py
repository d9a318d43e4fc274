"""The public verbs: the only place where probes, assessment, reports and packs meet.

    from compliance import audit, verify

    pack = audit(Path("audit.yaml"))
    print(verify(pack).summary())

Each verb does one stage, reads what the stage before wrote, and does nothing twice. Torch and
WeasyPrint are imported inside the functions that need them, so that ``verify`` and ``gaps`` work
in the base install.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compliance import __version__, trail
from compliance.assessment.assess import assess as assess_observations
from compliance.assessment.assess import (
    differences,
    frozen_differences,
    item_differences,
    recompute,
)
from compliance.assessment.locking import make_lock, select_features
from compliance.assessment.planning import make_plan, planned_items
from compliance.assessment.summary import explain
from compliance.assessment.tables import ConfirmObservations, FitObservations, file_digests
from compliance.catalog.declarations import Gap, scaffold_system
from compliance.catalog.declarations import gaps as find_gaps
from compliance.catalog.load import Catalog, load_catalog
from compliance.documents import parse_yaml, read_yaml
from compliance.errors import (
    ComplianceError,
    PackError,
    PlanError,
    ProbeError,
    ResourceError,
    StatisticsError,
    StorageError,
    VerificationError,
)
from compliance.packs import layout
from compliance.packs.build import PackContents, build_pack
from compliance.packs.integrity import verify_integrity
from compliance.packs.keys import Signer, create_keys, load_private_key
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.version import next_version
from compliance.progress import SILENT, Progress
from compliance.records.audit import AuditConfig, SystemFacts
from compliance.records.base import digest_bytes, digest_of, to_json
from compliance.records.evidence import Evidence
from compliance.records.pack import PackedItem
from compliance.records.plan import Lock, Plan
from compliance.records.schemas import all_schemas
from compliance.records.subject import Environment
from compliance.records.suite import Item
from compliance.records.trail import Entry
from compliance.records.verification import Check, Outcome, Verification
from compliance.resources import data_dir
from compliance.runs import RunFolder, all_trails, make_run, open_run
from compliance.storage import write_bytes, write_text
from compliance.suites.load import SHIPPED, Suite, load_suite

if TYPE_CHECKING:
    from compliance.probes.collect import Placed
    from compliance.probes.engine import Reader, Shard

SOFTWARE = f"sae-compliance {__version__}"
PACKAGES = ("torch", "transformers", "sae-lens", "safetensors", "numpy", "scipy", "pandas")
"""Packages whose versions can move the last digits of a run."""


def plan(audit_file: Path, progress: Progress = SILENT) -> Plan:
    """Freeze what is to be measured, and register it in the trail.

    Raises:
        ComplianceError: ``audit.yaml``, a suite, the model or an SAE cannot be used as asked.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    suites = _suites(config, folder)
    progress.stage("loading model and SAEs")
    return _plan(config, folder, suites, _load_reader(config, folder))


def observe(audit_file: Path, progress: Progress = SILENT) -> str:
    """Run the next pass: ``fit`` before the lock, ``confirm`` after it. Resumes where it stopped.

    Returns:
        The pass that is now complete.

    Raises:
        PlanError: Nothing is planned, or subject or suites are not those of the plan.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    run = open_run(folder, config)
    suites = _suites(config, folder)
    progress.stage("loading model and SAEs")
    reader = _load_reader(config, folder)
    frozen = _make_plan(config, suites, reader)
    differing = next(differences("plan", to_json(run.plan()), to_json(frozen)), None)
    if differing:
        raise PlanError(
            f"what is here is not what was planned: {differing}",
            hint="put the planned model, SAE and suites back, or run 'compliance plan' again",
        )
    stage = "confirm" if run.has("lock.json") else "fit"
    _observe(run, stage, suites, reader, folder, progress)
    return stage


def lock(audit_file: Path, progress: Progress = SILENT) -> Lock:
    """Freeze probe, cut-offs and fitted controls from the fit observations.

    Raises:
        PlanError: The fit observations are not there.
    """
    run = open_run(audit_file.parent, read_yaml(audit_file, AuditConfig))
    return _lock(run, progress)


def assess(audit_file: Path, progress: Progress = SILENT) -> Evidence:
    """Compute every result and verdict from the observations.

    Raises:
        PlanError: The confirm observations are not there.
    """
    config = read_yaml(audit_file, AuditConfig)
    run = open_run(audit_file.parent, config)
    return _assess(run, _system(config, audit_file.parent), load_catalog(), progress)


def report(audit_file: Path, progress: Progress = SILENT) -> Path:
    """Render the report of an assessment, outside any pack.

    Returns:
        The folder with ``report.html`` and ``report.pdf``.
    """
    config = read_yaml(audit_file, AuditConfig)
    run = open_run(audit_file.parent, config)
    evidence = run.evidence()
    version = next_version(evidence, None)
    html, pdf = _render(evidence, load_catalog(), version, _now(), run.observations(), progress)
    write_bytes(run.path / "report" / "report.html", html)
    write_bytes(run.path / "report" / "report.pdf", pdf)
    return run.path / "report"


def pack(audit_file: Path, *, key: Path | None = None, progress: Progress = SILENT) -> Path:
    """Build the signed pack of an assessment.

    Args:
        audit_file: ``audit.yaml``.
        key: The issuer's private key, ed25519 in PEM form. Without it ``keys/issuer.pem`` beside
            ``audit.yaml`` is taken, and made when it is not there.
        progress: Told what is being done.

    Returns:
        The pack's folder; the newest pack when it states the same evidence already.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    run = open_run(folder, config)
    return _pack(run, folder, _suites(config, folder), key, progress)


def audit(audit_file: Path, *, key: Path | None = None, progress: Progress = SILENT) -> Path:
    """The whole way: plan, observe, lock, observe, assess, report, pack. Resumes where it stopped.

    Raises:
        ComplianceError: Something that was asked for cannot be done; finished work is kept.
    """
    config = read_yaml(audit_file, AuditConfig)
    folder = audit_file.parent
    system, catalog, suites = _system(config, folder), load_catalog(), _suites(config, folder)
    progress.stage("loading model and SAEs")
    reader = _load_reader(config, folder)
    frozen = _plan(config, folder, suites, reader)
    run = make_run(folder, config, frozen)
    _observe(run, "fit", suites, reader, folder, progress)
    _lock(run, progress)
    _observe(run, "confirm", suites, reader, folder, progress)
    _assess(run, system, catalog, progress)
    return _pack(run, folder, suites, key, progress)


@dataclass(frozen=True)
class Demo:
    """What the demo made, and why its verdicts are what they are."""

    pack: Path
    public_key: Path
    why: list[str]


def demo(folder: Path, *, full: bool = False, progress: Progress = SILENT) -> Demo:
    """Audit the example's model and SAE; ``folder`` receives runs, keys and packs.

    Raises:
        ResourceError: This is not a checkout, or its model has not been fetched.
    """
    example = data_dir("templates").parent / "examples" / "demo"
    if not (example / "audit.yaml").is_file():
        raise ResourceError(
            "the demo's model and SAE are not part of an installed package",
            hint="clone the repository and run 'make demo' there",
        )
    if not (example / "subject" / "model.safetensors").is_file():
        raise ResourceError(
            "the demo's model has not been fetched", hint="run 'python examples/demo/subject.py'"
        )
    here = Path(os.path.relpath(example, folder)).as_posix()
    text = (example / ("audit-full.yaml" if full else "audit.yaml")).read_text(encoding="utf-8")
    write_text(folder / "audit.yaml", text.replace(": ./", f": {here}/"))
    write_bytes(folder / "system.yaml", (example / "system.yaml").read_bytes())
    built = audit(folder / "audit.yaml", progress=progress)
    with read_pack(built) as opened:
        why = explain(opened.evidence.findings)
    return Demo(pack=built, public_key=folder / "keys" / "issuer.pub.pem", why=why)


def init(folder: Path, *, name: str | None = None) -> list[Path]:
    """Write a commented ``audit.yaml`` and ``system.yaml`` and a small suite to start from.

    Args:
        folder: Made when missing. A file that is there already is never overwritten.
        name: The system's name; default: the folder's.

    Raises:
        StorageError: One of the files is there already.
        ConfigError: The name is not in lower case letters, digits and hyphens.
    """
    name = name or folder.resolve().name.lower()
    scaffold = data_dir("templates/scaffold")
    system = scaffold_system(name, load_catalog())
    parse_yaml(system, "--name", SystemFacts)
    files = {"system.yaml": system}
    for source in sorted(path for path in scaffold.rglob("*") if path.is_file()):
        files[source.relative_to(scaffold).as_posix()] = source.read_text(encoding="utf-8")
    existing = [path for path in sorted(files) if (folder / path).exists()]
    if existing:
        raise StorageError(
            f"{folder / existing[0]}: is there already, and is never overwritten",
            hint="choose another folder",
        )
    for path, text in sorted(files.items()):
        write_text(folder / path, text)
    return [folder / path for path in sorted(files)]


@dataclass(frozen=True)
class SuiteOverview:
    """A suite and how many items it has for each concept, label and language."""

    name: str
    version: str
    title: str
    licence: str
    counts: dict[tuple[str, str], dict[str, int]]


def check_suite(name: str, base: Path) -> SuiteOverview:
    """Read a suite and count its items.

    Raises:
        SuiteError: It cannot be read, or its items contradict each other.
    """
    suite = load_suite(name, base)
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for item in suite.items:
        row = counts.setdefault((item.concept or "benign", item.label.value), {})
        row[item.language] = row.get(item.language, 0) + 1
    sheet = suite.datasheet
    return SuiteOverview(
        name=sheet.name,
        version=sheet.version,
        title=sheet.title,
        licence=sheet.licence,
        counts=dict(sorted(counts.items())),
    )


def shipped_suites() -> list[SuiteOverview]:
    """The suites that ship with the package."""
    folders = sorted(path for path in data_dir("evidence/suites").iterdir() if path.is_dir())
    return [check_suite(f"{SHIPPED}{folder.name}", folder) for folder in folders]


def gaps(folder: Path) -> tuple[Gap, ...]:
    """What ``system.yaml`` in ``folder`` does not declare yet."""
    return find_gaps(read_yaml(folder / "system.yaml", SystemFacts), load_catalog())


def verify(
    path: Path,
    *,
    level: Literal["integrity", "recompute"] = "recompute",
    key: Path | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check a pack: ``integrity`` (digests, signature, trail) or ``recompute`` (every number too).

    Args:
        path: The pack, a folder or a ZIP of it.
        level: How deep.
        key: The issuer's public key, from outside the pack.
        progress: Told what is being done.

    Raises:
        PackError: There is no pack at ``path``.
    """
    progress.stage("checking digests and signature")
    found = verify_integrity(path, key=key.read_bytes() if key else None)
    if level == "integrity":
        return found
    progress.stage("recomputing every number from the observations")
    checks = (*found.checks, *_check_numbers(path))
    return found.model_copy(update={"level": level, "checks": checks})


def _plan(config: AuditConfig, folder: Path, suites: Sequence[Suite], reader: Reader) -> Plan:
    frozen = _make_plan(config, suites, reader)
    run = make_run(folder, config, frozen)
    for suite in suites:
        _once(run, "suite-registered", {"suite": suite.datasheet.name, "digest": suite.digest})
    _once(run, "plan-frozen", {"digest": digest_of(frozen), "record": to_json(frozen)})
    return frozen


def _make_plan(config: AuditConfig, suites: Sequence[Suite], reader: Reader) -> Plan:
    model = reader.subject.facts
    return make_plan(
        config,
        model=model.model_copy(update={"name": config.subject.name or model.name}),
        saes=[sae.facts for sae in reader.saes],
        suites=suites,
        software=SOFTWARE,
    )


def _observe(
    run: RunFolder, stage: str, suites: Sequence[Suite], reader: Reader, folder: Path,
    progress: Progress,
) -> None:  # fmt: skip
    """Run one pass to its end and write its observation tables."""
    from compliance.probes.collect import Placed

    if run.observations(stage):
        return
    frozen = run.plan()
    by_split = planned_items(frozen, suites)
    splits = ("discover", "calibrate") if stage == "fit" else ("confirm",)
    suite_of = {i.id: suite.datasheet.name for suite in suites for i in suite.items}
    items = {i.id: Placed(i, suite_of[i.id], split) for split in splits for i in by_split[split]}
    if stage == "confirm":
        _open_confirm(run, by_split["confirm"])
    _once(run, "run-started", {"pass": stage, "items": len(items)})
    shards = _run_shards(run, stage, [p.item for p in items.values()], reader, progress)
    files = (
        _fit_files(frozen, shards, items, reader)
        if stage == "fit"
        else _confirm_files(frozen, shards, items)
    )
    run.write_observations(files)
    environment = _environment(reader)
    run.write("environment.json", environment)
    _once(
        run,
        "run-finished",
        {"pass": stage, "observations": file_digests(files), "environment": to_json(environment)},
    )


def _run_shards(
    run: RunFolder, stage: str, items: Sequence[Item], reader: Reader, progress: Progress
) -> list[Shard]:
    from compliance.probes.engine import Task, prepare_items
    from compliance.probes.engine import observe as observe_items

    frozen = run.plan()
    if stage == "fit":
        task = Task(frozen, stage)
    else:
        locked = run.lock()
        task = Task(frozen, stage, locked.probes, locked.directions)
    progress.stage(f"running {len(items)} items ({stage})")
    work = prepare_items(items, reader.subject)
    return list(observe_items(work, task, reader, run.shards(stage), progress.advance))


def _fit_files(
    frozen: Plan, shards: Sequence[Shard], items: Mapping[str, Placed], reader: Reader
) -> dict[str, bytes]:
    """The fit tables. The search is read first: it says whose calibrate scores are to be kept."""
    import pandas as pd

    from compliance.probes import collect

    table = collect.item_table(shards, items)
    search = collect.search_table(shards, frozen, items)
    probes = select_features(frozen, search, table)
    scores = [
        collect.score_table(shards, frozen),
        collect.probe_scores(shards, frozen, probes, items),
    ]
    return FitObservations(
        items=table,
        scores=pd.concat(scores).sort_values(["item", "concept", "scorer"]),
        search=search,
        residuals=collect.residual_table(shards, frozen, reader.hook_names),
    ).to_files()


def _confirm_files(
    frozen: Plan, shards: Sequence[Shard], items: Mapping[str, Placed]
) -> dict[str, bytes]:
    from compliance.probes import collect

    return ConfirmObservations(
        items=collect.item_table(shards, items),
        scores=collect.score_table(shards, frozen),
        fidelity=collect.fidelity_table(shards),
    ).to_files()


def _open_confirm(run: RunFolder, items: Iterable[Item]) -> None:
    """Opening the confirm split is an event, and counted: PROTOCOL section 2.

    Counted are the openings of the same groups by all runs beside this ``audit.yaml``.
    """
    facts = {
        "groups": digest_of(sorted({item.group for item in items})),
        "lock": digest_of(run.lock()),
    }
    if any(facts.items() <= opened.items() for opened in _openings(run.trail)):
        return
    before = [o for path in all_trails(run.path.parent.parent) for o in _openings(path)]
    count = 1 + sum(opened["groups"] == facts["groups"] for opened in before)
    _once(run, "confirmation-opened", {**facts, "opening": count})


def _openings(path: Path) -> list[dict[str, Any]]:
    """What a trail says of each opening of confirm groups."""
    return [e.facts for e in trail.read(path) if e.kind == "confirmation-opened"]


def _lock(run: RunFolder, progress: Progress) -> Lock:
    if run.has("lock.json"):
        return run.lock()
    files = run.observations("fit")
    if not files:
        raise PlanError(
            "the discover and calibrate splits have not been run",
            hint="run 'compliance observe' first",
        )
    progress.stage("locking probe and cut-offs")
    locked = make_lock(run.plan(), FitObservations.from_files(files), file_digests(files))
    _once(run, "locked", {"digest": digest_of(locked), "record": to_json(locked)})
    run.write("lock.json", locked)
    return locked


def _assess(run: RunFolder, system: SystemFacts, catalog: Catalog, progress: Progress) -> Evidence:
    files = run.observations()
    if not any(path.startswith("confirm/") for path in files):
        raise PlanError(
            "the confirm split has not been run", hint="run 'compliance observe' after the lock"
        )
    progress.stage("computing results and verdicts")
    evidence = assess_observations(
        run.plan(),
        run.lock(),
        files,
        system=system,
        environment=run.environment(),
        law=catalog.facts(),
        confirm_openings=_openings(run.trail)[-1]["opening"],
    )
    run.write("evidence.json", evidence)
    _once(run, "assessed", {"evidence": digest_of(evidence)})
    return evidence


def _pack(
    run: RunFolder, folder: Path, suites: Sequence[Suite], key: Path | None, progress: Progress
) -> Path:
    evidence, catalog = run.evidence(), load_catalog()
    packs = folder / "packs"
    parent = _newest_pack(packs, evidence.system.name)
    if parent is not None and digest_of(parent.evidence) == digest_of(evidence):
        return parent.folder.root
    before = parent.as_parent() if parent else None
    version = next_version(evidence, before)
    built_at = _now()
    files = run.observations()
    html, pdf = _render(evidence, catalog, version, built_at, files, progress)
    _once(run, "report-built", {"version": version, "evidence": digest_of(evidence)})
    frozen = run.plan()
    used = {item.id for items in planned_items(frozen, suites).values() for item in items}
    progress.stage("building and signing the pack")
    return build_pack(
        packs,
        PackContents(
            evidence=evidence,
            version=version,
            parent=before,
            report_html=html,
            report_pdf=pdf,
            items=[i for suite in suites for i in suite.items if i.id in used],
            observations=files,
            law=_law_files(),
            schemas=all_schemas(),
            trail=run.trail,
        ),
        signer=_signer(folder, key),
        built_at=built_at,
    )


def _render(
    evidence: Evidence, catalog: Catalog, version: str, built_at: datetime,
    observations: Mapping[str, bytes], progress: Progress,
) -> tuple[bytes, bytes]:  # fmt: skip
    """HTML and PDF; the PDF carries the evidence inside."""
    from compliance.records.base import canonical_bytes
    from compliance.reports.build import build_report
    from compliance.reports.render import render_html, render_pdf

    progress.stage("rendering the report")
    pack_id = f"{evidence.system.name}-{version}"
    built = build_report(evidence, catalog, pack_id=pack_id, version=version, built_at=built_at)
    attachments = {"evidence.json": canonical_bytes(evidence)} | {
        path.replace("/", "-"): observations[path]
        for path in ("confirm/items.csv", "confirm/scores.csv")
    }
    pdf = render_pdf(
        built,
        attachments=attachments,
        identifier=bytes.fromhex(digest_of(evidence).removeprefix("sha256:"))[:16],
        when=built_at,
    )
    return render_html(built).encode("utf-8"), pdf


def _law_files() -> dict[str, bytes]:
    folder = data_dir("evidence/catalog")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))}


def _signer(folder: Path, key: Path | None) -> Signer:
    """The issuer's key; without one, a pair made once beside the audit."""
    path = key or folder / "keys" / "issuer.pem"
    if key is None and not path.exists():
        create_keys(path, path.with_suffix(".pub.pem"))
    return Signer(load_private_key(path))


def _newest_pack(packs: Path, system: str) -> OpenPack | None:
    """The latest version of a system's packs, which the next one names as its parent.

    Raises:
        PackError: It is damaged: its root would be signed again by its child.
    """
    found: list[tuple[list[int], Path]] = []
    for path in packs.glob(f"{system}-*"):
        version = path.name.removeprefix(f"{system}-").split(".")
        if len(version) == 3 and all(part.isdigit() for part in version):
            found.append(([int(part) for part in version], path))
    if not found:
        return None
    latest = max(found)[1]
    damage = verify_integrity(latest).failed
    if damage:
        raise PackError(
            f"{latest.name}: the newest pack is damaged: {damage[0].line}",
            hint="restore it, or move it away; a new pack must not follow a damaged one",
        )
    with read_pack(latest) as opened:
        return opened


def _check_numbers(path: Path) -> list[Check]:
    """Every number of ``evidence.json`` against the observations, the trail and the items."""
    problems: list[ComplianceError] = []
    try:
        with read_pack(path) as opened:
            evidence, files = opened.evidence, opened.observations()
            items = {i.item.id: i.item for i in opened.items if isinstance(i, PackedItem)}
            problems += frozen_differences(evidence, _frozen(opened.trail))
            problems += _law_differences(opened)
            problems += item_differences(evidence.plan, files, items)
            problems += recompute(evidence, files)
    except (PlanError, StatisticsError, VerificationError) as error:
        problems.append(error)
    if problems:
        return [
            Check(name="numbers", status=Outcome.FAILED, path=layout.EVIDENCE, message=str(e))
            for e in problems
        ]
    counted = f"{len(evidence.results)} results and {len(evidence.findings)} verdicts"
    return [
        Check(
            name="numbers",
            status=Outcome.PASSED,
            path=layout.EVIDENCE,
            message=f"lock, {counted} follow from the observations",
        ),
        Check(
            name="reproduction",
            status=Outcome.NOT_CHECKED,
            message="the model was not run again: observations are taken as they are",
        ),
    ]


def _law_differences(opened: OpenPack) -> Iterable[ComplianceError]:
    """The law files in the pack against the digests that the evidence names."""
    law = opened.evidence.law
    for name, stored in (
        ("provisions", law.provisions_digest),
        ("mapping", law.mapping_digest),
    ):
        found = digest_bytes(opened.file(f"data/law/{name}.yaml"))
        yield from differences(f"law.{name}_digest", stored, found)


def _frozen(entries: Sequence[Entry]) -> dict[str, object]:
    """What the trail recorded of what cannot be recomputed; the last of each counts."""
    found: dict[str, object] = {}
    for entry in entries:
        match entry.kind:
            case "plan-frozen":
                found["plan"] = entry.facts.get("record")
            case "locked":
                found["lock"] = entry.facts.get("record")
            case "run-finished":
                found["environment"] = entry.facts.get("environment")
            case "confirmation-opened":
                found["confirm_openings"] = entry.facts.get("opening")
    return found


def _suites(config: AuditConfig, folder: Path) -> list[Suite]:
    return [load_suite(name, folder) for name in config.suites]


def _system(config: AuditConfig, folder: Path) -> SystemFacts:
    return read_yaml(folder / config.system, SystemFacts)


def _load_reader(config: AuditConfig, folder: Path) -> Reader:
    try:
        import torch

        from compliance.probes.engine import Reader
        from compliance.probes.hooks import resolve
        from compliance.probes.sae import load_sae
        from compliance.probes.subject import load_subject
    except ModuleNotFoundError as error:
        raise ProbeError(
            f"running a model needs {error.name}, which is not installed",
            hint="pip install 'sae-compliance[probes]'",
        ) from error
    subject = load_subject(config.subject, folder)
    device = subject.model.device
    saes = tuple(
        load_sae(ref, folder, dtype=torch.float32, device=device) for ref in config.subject.saes
    )
    for sae in saes:
        sae.reads(subject.facts, resolve(subject.model, sae.facts.hook_name).width)
    return Reader(subject, saes)


def _environment(reader: Reader) -> Environment:
    from importlib import metadata

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        python=platform.python_version(),
        packages=versions,
        machine=f"{platform.system()} {platform.machine()}",
        device=str(reader.subject.model.device),
    )


def _once(run: RunFolder, kind: str, facts: dict[str, Any]) -> None:
    """Append an entry unless the trail has it: a resumed stage is not a second event."""
    trail.recover(run.trail, at=_now(), actor=SOFTWARE)
    entries = trail.read(run.trail) if run.trail.exists() else ()
    if not any(e.kind == kind and e.facts == facts for e in entries):
        trail.append(run.trail, kind, facts, at=_now(), actor=SOFTWARE)


def _now() -> datetime:
    """The clock of the edge; SOURCE_DATE_EPOCH stands in for it in a reproducible build."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
