"""What each stage does on a run's folder.

Each reads what the one before wrote, and does nothing that is done already.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance import __version__, trail
from compliance.assessment.assess import assess as assess_observations
from compliance.assessment.choosing import choose
from compliance.assessment.locking import make_lock
from compliance.assessment.planning import make_plan, planned_items
from compliance.assessment.tables import FitObservations, file_digests
from compliance.catalog.declarations import read_system
from compliance.catalog.load import Catalog, load_catalog
from compliance.errors import (
    ConfigError,
    PackError,
    PlanError,
    ProbeError,
)
from compliance.features.reading import FeatureList, read_list
from compliance.keys import Signer
from compliance.keys.opening import KeySource, create_key_files, open_signer
from compliance.packs import layout
from compliance.packs.build import PackContents, build_pack
from compliance.packs.cms import why_no_cms
from compliance.packs.disclosure import render_private
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.roots import evidence_digest
from compliance.packs.times import stamp
from compliance.packs.version import decide_version
from compliance.progress import Progress
from compliance.records.audit import AuditConfig, FeatureFile, SubjectConfig, SystemFacts
from compliance.records.base import digest_of, to_json
from compliance.records.evidence import Evidence
from compliance.records.plan import Lock, Plan
from compliance.records.schemas import all_schemas
from compliance.records.subject import Environment
from compliance.records.suite import Item
from compliance.records.trail import Entry
from compliance.resources import data_dir
from compliance.runs import RunFolder, make_run, point_at
from compliance.storage import clear_abandoned, replace_secret
from compliance.suites.load import Suite, load_suite
from compliance.suites.pictures import read_picture
from compliance.suites.stored import Outline
from compliance.workflow.archiving import keep_packs
from compliance.workflow.comparing import earlier_of
from compliance.workflow.documents import (
    Origin,
    documents,
    report_names,
    until_report,
)
from compliance.workflow.intervening import (
    check_interventions,
    check_places,
    dose_files,
    effect_files,
)
from compliance.workflow.mitigating import check_prompts, study_files, with_studies
from compliance.workflow.observed import Picture, picture_files, pictures_of, used_items
from compliance.workflow.precision import check_mode, precision_files
from compliance.workflow.shipped import known_answers
from compliance.workflow.stamping import sign_reports, stamp_step
from compliance.workflow.transferring import carried, lock_under, locking_pack, plan_under

if TYPE_CHECKING:
    from compliance.probes.engine import Run
    from compliance.probes.inputs import Pictures
    from compliance.probes.task import Reader


SOFTWARE = f"sae-compliance {__version__}"
PACKAGES = (
    "torch", "transformers", "sae-lens", "safetensors", "numpy", "scipy", "pandas",
    "scikit-learn", "anyascii", "pillow",
)  # fmt: skip
"""Packages whose versions can move the last digits of a run."""

Key = KeySource | Path | None
"""The issuer's private key; None: the one beside ``audit.yaml``, made where it is missing."""


def freeze_plan(
    config: AuditConfig, folder: Path, suites: Sequence[Suite], reader: Reader, progress: Progress
) -> Plan:
    """Make the plan and its run folder, and register suites and plan in the trail."""
    frozen = plan_for(config, folder, suites, reader)
    for line in _listed(frozen):
        progress.stage(line)
    run = make_run(folder, config, frozen)
    for suite in suites:
        _once(run, "suite-registered", {"suite": suite.datasheet.name, "digest": suite.digest})
    _once(run, "plan-frozen", {"digest": digest_of(frozen), "record": to_json(frozen)})
    _stamp(run, "plan-frozen", progress)
    point_at(run)
    return frozen


def plan_for(config: AuditConfig, folder: Path, suites: Sequence[Suite], reader: Reader) -> Plan:
    """The plan that these suites and this subject give."""
    if config.locked_by is None:
        return _own_plan(config, folder, suites, reader)
    with locking_pack(folder / config.locked_by) as pack:
        return plan_under(pack, config, lambda whole: _own_plan(whole, folder, suites, reader))


def _own_plan(config: AuditConfig, folder: Path, suites: Sequence[Suite], reader: Reader) -> Plan:
    check_places(config.interventions, reader)
    model = reader.subject.facts
    plan = make_plan(
        config,
        model=model.model_copy(update={"name": config.subject.name or model.name}),
        saes=[sae.facts for sae in reader.saes],
        suites=suites,
        software=SOFTWARE,
        lists=load_lists(config, folder),
    )
    return with_studies(plan, config, folder, suites, reader)


def _listed(frozen: Plan) -> Iterator[str]:
    """Where features were read from, and whether it is known that they are of the first SAE."""
    sae = frozen.saes[0]
    for probe in frozen.probes:
        if probe.listed is not None:
            checked = sae.neuronpedia_id is not None
            yield (
                f"{probe.concept}: {len(probe.features)} features of "
                f"{probe.listed.model}/{probe.listed.source} from {probe.listed.file}, "
                + ("which is where Neuronpedia shows the first SAE" if checked else
                   f"unchecked: {sae.name} does not say where Neuronpedia shows it")
            )  # fmt: skip


def run_pass(
    run: RunFolder, stage: str, suites: Sequence[Suite], reader: Reader, progress: Progress,
    engine: Run | None = None,
) -> None:  # fmt: skip
    """Run everything before the lock (``fit``) or after it (``confirm``) and write its tables.

    ``engine`` runs the batches; None: this process does.
    """
    from compliance.probes.engine import Work
    from compliance.workflow.passes import Passes

    if is_finished(run, stage):
        return
    by_split, pictures = planned_items(run.plan(), suites), _pictures_of(suites)
    if stage == "fit":  # an item that cannot be read is found before the confirm split is opened
        Work(by_split["confirm"], reader.subject, pictures)
        if run.plan().locked_by is not None:
            _carry(run, environment_of(reader), progress)
            return
    splits = ("discover", "calibrate") if stage == "fit" else ("confirm",)
    items = {split: by_split[split] for split in splits}
    environment = environment_of(reader)
    check_mode(reader, environment)
    check_interventions(run, stage, by_split, reader, pictures)
    check_prompts(run, by_split["confirm"], reader)
    if stage == "confirm":
        open_confirm(run, by_split["confirm"].outlines, environment, progress)
    _once(run, "run-started", {"pass": stage, "items": sum(map(len, items.values()))})
    passes = Passes(run, reader, environment, pictures, progress, engine)
    changing = (reader, environment, pictures, progress)
    if stage == "fit":
        passes.fit(items)
        run.write_observations(dose_files(run, items["calibrate"], *changing))
    else:
        passes.confirm(items["confirm"])
        run.write_observations(effect_files(run, items["confirm"], *changing))
        run.write_observations(study_files(run, items["confirm"], reader, environment, progress))
        run.write_observations(
            precision_files(
                run, by_split["confirm"], reader, environment, pictures,
                run.observations(stage), progress,
            )
        )  # fmt: skip
    files = run.observations(stage)
    run.write("environment.json", environment)
    _once(
        run,
        "run-finished",
        {"pass": stage, "observations": file_digests(files), "environment": to_json(environment)},
    )


def _carry(run: RunFolder, now_in: Environment, progress: Progress) -> None:
    """Take the tables before the lock from the pack whose lock this run is under."""
    with _locking_pack(run) as pack:
        stated = pack.statement.predicate
        _refuse_another_environment(
            pack.evidence.environment, now_in,
            hint=f"audit the model of {stated.pack_id} again in this environment, and name that "
            "pack",
        )  # fmt: skip
        progress.stage(f"taking the tables before the lock from {stated.pack_id}")
        files = carried(run, pack)
        facts = {"pass": "fit", "pack": stated.pack_id, "root": stated.root_digest}
        environment = to_json(pack.evidence.environment)
    digests = file_digests(files)
    _once(run, "fit-carried", {**facts, "observations": digests, "environment": environment})


def _locking_pack(run: RunFolder) -> contextlib.AbstractContextManager[OpenPack]:
    named = run.config().locked_by
    assert named is not None  # the plan was made from this very configuration
    return locking_pack(run.path.parent.parent / named)


def _pictures_of(suites: Sequence[Suite]) -> Pictures:
    """What reads the picture of an item from the folder of its suite."""
    folders = {
        item.id: suite.folder
        for suite in suites
        for item in suite.outlines
        if item.modality != "text"
    }
    return lambda item: read_picture(folders[item.id], item.image)


def is_finished(run: RunFolder, stage: str) -> bool:
    """Whether a pass's tables are all there and are what the trail recorded of them."""
    digests = file_digests(run.observations(stage))
    ended = ("run-finished", "fit-carried")
    recorded = [e.facts for e in _own(run) if e.kind in ended]
    return any((f["pass"], f["observations"]) == (stage, digests) for f in recorded)


def open_confirm(
    run: RunFolder, items: Iterable[Outline], environment: Environment, progress: Progress
) -> None:
    """Opening the confirm split is an event, and counted: PROTOCOL section 2.

    Counted are the openings by all runs beside this ``audit.yaml`` that share a group. Opened
    already by this run under this lock, it is not opened again.

    Raises:
        PlanError: The items before the lock were run in another environment.
    """
    _refuse_another_environment(run.environment(), environment, hint=BEGIN_AGAIN)
    groups = sorted({item.group for item in items})
    facts = {"groups": groups, "lock": digest_of(run.lock()), "run": run.path.name}

    def counted(entries: Sequence[Entry]) -> dict[str, Any] | None:
        if any(facts.items() <= opened.items() for _, opened in trail.openings(entries)):
            return None
        return {**facts, "opening": 1 + len(trail.openings_of(entries, groups))}

    trail.append_from(run.trail, "confirmation-opened", counted, at=now(), actor=SOFTWARE)
    _stamp(run, "confirmation-opened", progress)


def _own(run: RunFolder) -> tuple[Entry, ...]:
    """The entries of a run in the trail that it shares with the runs beside it."""
    return trail.of_run(trail.read(run.trail), run.path.name)


def lock_run(run: RunFolder, progress: Progress) -> Lock:
    """Lock from the fit observations, unless it is locked already."""
    if run.has("lock.json"):
        return run.lock()
    files = run.observations("fit")
    if not is_finished(run, "fit"):
        raise PlanError(
            "the discover and calibrate splits have not been run",
            hint="run 'compliance observe' first",
        )
    progress.stage("locking probe and cut-offs")
    if run.plan().locked_by is None:
        locked = _own_lock(run, files)
    else:
        with _locking_pack(run) as pack:
            locked = lock_under(run, pack)
    _once(run, "locked", {"digest": digest_of(locked), "record": to_json(locked)})
    _stamp(run, "locked", progress)
    run.write("lock.json", locked)
    return locked


def _own_lock(run: RunFolder, files: Mapping[str, bytes]) -> Lock:
    frozen, fit = run.plan(), FitObservations.from_files(files, compact=True)
    choices = choose(frozen, fit)
    if choices != run.choices():  # benign items were read with those
        raise PlanError(
            "the fit tables give other choices than benign items were run with",
            hint="run 'compliance plan' again; the run's files were changed",
        )
    return make_lock(frozen, choices, fit, file_digests(files))


def assess_run(
    run: RunFolder,
    config: AuditConfig,
    system: SystemFacts,
    catalog: Catalog,
    progress: Progress,
) -> Evidence:
    """Compute the evidence from all observations and write it."""
    files = run.observations()
    if not is_finished(run, "confirm"):
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
        confirm_openings=trail.openings(_own(run))[-1][1]["opening"],
        validation=known_answers(),
    ).model_copy(update={"required_signatures": config.signatures})
    _once(run, "assessed", {"evidence": evidence_digest(evidence)})
    run.write("evidence.json", evidence)
    return evidence


def current_evidence(run: RunFolder, config: AuditConfig, folder: Path) -> Evidence:
    """The run's assessment, unless declarations or law were changed since.

    Raises:
        PlanError: There is no assessment, or it is of other declarations or of another catalog.
    """
    evidence = run.evidence()
    now_shipped = load_system(config, folder), load_catalog().facts(), known_answers()
    if (evidence.system, evidence.law, evidence.validation) != now_shipped:
        raise PlanError(
            f"{config.system} or the catalog is not as it was when the results were assessed",
            hint="run 'compliance assess' again; nothing is measured anew",
        )
    if evidence.required_signatures != config.signatures:
        raise PlanError(
            "audit.yaml: signatures are not as they were when the results were assessed",
            hint="run 'compliance assess' again; nothing is measured anew",
        )
    return evidence


def parent_of(evidence: Evidence, folder: Path) -> OpenPack | None:
    """The newest pack of the same system, which a successor follows and is compared with."""
    return _newest_pack(folder / "packs", evidence.system.name)


def pack_run(
    run: RunFolder, folder: Path, suites: Sequence[Suite], key: Key, progress: Progress,
    *, languages: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Build and sign the pack, unless the newest one states the same evidence, and archive it.

    Reports are in English, and in each of ``languages``.
    """
    with issuer(folder, key) as signer:
        packed = _pack_run(run, folder, suites, signer, progress, languages)
    keep_packs(folder, at=now(), software=SOFTWARE, progress=progress)
    return packed


def _pack_run(
    run: RunFolder, folder: Path, suites: Sequence[Suite], signer: Signer, progress: Progress,
    languages: Sequence[str],
) -> Path:  # fmt: skip
    evidence, catalog = run.evidence(), load_catalog()
    packs = folder / "packs"
    clear_abandoned(packs)
    parent = _newest_pack(packs, evidence.system.name)
    if parent is not None and _states(parent, evidence, signer, languages):
        return parent.folder.root
    before = parent.as_parent() if parent else None
    decided = decide_version(evidence, before)
    version = decided.version
    progress.stage(decided.line)
    if parent is not None and before is not None:
        replaced = {"pack": parent.statement.predicate.pack_id, "root": before.root_digest}
        _once(run, "superseded", {**replaced, "by": version})
    built_at = now()
    files = run.observations()
    items = used_items(evidence.plan, suites)
    told = until_report(trail.read(run.trail), version, run.path.name)
    origin = Origin(
        evidence, catalog, version, built_at, files, items, pictures_of(suites),
        told,
        parent and earlier_of(parent, evidence, files, items),
    )  # fmt: skip
    made = documents(origin, languages=languages, progress=progress)
    built = {"version": version, "evidence": evidence_digest(evidence), "entries": len(told)}
    _once(run, "report-built", built)
    _stamp(run, "report-built", progress)
    asked = run.config().time_stamps
    authority = asked and asked.authority
    made = sign_reports(made, signer, when=built_at, authority=authority, progress=progress)
    if reason := why_no_cms(signer):
        progress.stage(f"no CMS signature will be in the pack: {reason}")
    _keep_disclosures(run, items, signer, origin.picture)
    progress.stage("building and signing the pack")
    return build_pack(
        packs,
        PackContents(
            evidence=evidence,
            version=version,
            parent=before,
            parent_checkpoint=parent.file(layout.CHECKPOINT) if parent else None,
            documents=made,
            items=items,
            withheld=[item.id for item in items if item.restricted],
            pictures=picture_files((i for i in items if not i.restricted), suites),
            observations={path: files.place(path) for path in files},
            law=_law_files(),
            schemas=all_schemas(),
            trail=run.trail,
        ),
        signer=signer,
        built_at=built_at,
        stamp=(lambda data: stamp(data, authority)) if authority else None,
    )


def _keep_disclosures(
    run: RunFolder, items: Sequence[Item], signer: Signer, picture: Picture
) -> None:
    """Keep what disclosing restricted items takes: they are in no pack. For the owner's eyes."""
    restricted = [item for item in items if item.restricted]
    if restricted:
        data = b"".join(render_private(restricted, signer.salt_secret, picture))
        replace_secret(run.disclosures, data)


def _states(pack: OpenPack, evidence: Evidence, signer: Signer, languages: Sequence[str]) -> bool:
    """Whether a pack holds this very evidence under this very key, in these languages."""
    same_key = pack.file(layout.PUBLIC_KEY) == signer.public_pem
    wanted = (f"data/{name}" for language in languages for name in report_names(language))
    there = all((pack.folder.root / name).is_file() for name in wanted)
    return same_key and there and digest_of(pack.evidence) == digest_of(evidence)


def _law_files() -> dict[str, bytes]:
    folder = data_dir("evidence/catalog")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))}


@contextlib.contextmanager
def issuer(folder: Path, key: Key) -> Iterator[Signer]:
    """The issuer's key; without one, a key that is made once beside the audit.

    Raises:
        PackError: The key cannot be used.
    """
    own = default_key(folder)
    source = key if isinstance(key, KeySource) else KeySource(key or own)
    if source.where == own and not own.exists():
        secret = source.secret.encode("utf-8") if source.secret else None
        create_key_files(own, valid_from=now(), passphrase=secret, name=source.name)
    with open_signer(source, salts=own.parent) as signer:
        yield signer


def default_key(folder: Path) -> Path:
    """Where the issuer's key of an audit lies that brings none."""
    return folder / "keys" / "issuer.pem"


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


def load_suites(config: AuditConfig, folder: Path) -> list[Suite]:
    """The suites of an audit, in its order."""
    return [load_suite(name, folder) for name in config.suites]


def load_lists(config: AuditConfig, folder: Path) -> dict[str, FeatureList]:
    """By concept: what the files say that probes take their features from."""
    return {
        probe.concept: read_list(folder / probe.features.neuronpedia)
        for probe in config.probes
        if isinstance(probe.features, FeatureFile)
    }


def load_system(config: AuditConfig, folder: Path) -> SystemFacts:
    """What the provider declares."""
    return read_system(folder / config.system)


def load_reader(config: AuditConfig, folder: Path) -> Reader:
    """The subject and its SAEs, each checked against the subject."""
    pictures = any(modality != "text" for modality in config.modalities)
    return read_subject(config.subject, folder, pictures=pictures)


def read_subject(config: SubjectConfig, folder: Path, *, pictures: bool) -> Reader:
    """The same of what is said of a subject.

    Args:
        config: The subject and its SAEs.
        folder: Which local paths are relative to.
        pictures: Whether it will be shown any.

    Raises:
        ProbeError: The extra ``probes`` is not installed, or the subject cannot be read.
    """
    try:
        import torch

        from compliance.probes.hooks import resolve
        from compliance.probes.sae import load_sae
        from compliance.probes.subject import load_subject
        from compliance.probes.task import Reader
    except ModuleNotFoundError as error:
        raise ProbeError(
            f"running a model needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[probes]",
        ) from error
    subject = load_subject(config, folder, pictures=pictures)
    device = subject.model.device
    saes = tuple(load_sae(ref, folder, dtype=torch.float32, device=device) for ref in config.saes)
    for sae in saes:
        sae.reads(subject.facts, resolve(subject.model, sae.facts.hook_name).width)
    reader = Reader(subject, saes)
    for name in reader.hook_names:
        resolve(subject.model, name)
    return reader


def environment_of(reader: Reader) -> Environment:
    """What runs here: packages, kind of machine, device."""
    from importlib import metadata

    from compliance.probes.subject import device_name

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
        device=device_name(reader.subject.model.device),
    )


BEGIN_AGAIN = "go on in that environment, or begin again in a folder without this run"


def _refuse_another_environment(before: Environment, now_in: Environment, *, hint: str) -> None:
    """A cut-off and the scores it is held against come from the same software and device.

    Raises:
        PlanError: The items before the lock were run with something else.
    """
    changed = environment_changes(before, now_in)
    if not changed:
        return
    raise PlanError(
        "the items before the lock were run in another environment: " + "; ".join(changed),
        hint=hint,
    )


def environment_changes(before: Environment, now_in: Environment) -> list[str]:
    """What differs between two environments, each as a phrase."""
    then, now_ = (_environment_facts(one) for one in (before, now_in))
    return [
        f"{name} {then.get(name, 'absent')}, now {now_.get(name, 'absent')}"
        for name in sorted({*then, *now_})
        if then.get(name) != now_.get(name)
    ]


def _environment_facts(environment: Environment) -> dict[str, str]:
    fields = to_json(environment)
    return {**fields.pop("packages"), **fields}


def _once(run: RunFolder, kind: str, facts: dict[str, Any]) -> None:
    """Append an entry of a run unless the trail has it: a resumed stage is not a second event."""
    named = {**facts, "run": run.path.name}
    trail.append_once(run.trail, kind, named, at=now(), actor=SOFTWARE)


def _stamp(run: RunFolder, kind: str, progress: Progress) -> None:
    """Have a step proved by an authority's clock, where ``audit.yaml`` names one."""
    stamp_step(run, kind, clock=now, actor=SOFTWARE, progress=progress)


def now() -> datetime:
    """The clock of the edge; SOURCE_DATE_EPOCH stands in for it in a reproducible build."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"SOURCE_DATE_EPOCH: found {epoch!r}, expected seconds since 1970",
            hint="unset it, or set it to a whole number",
        ) from error
