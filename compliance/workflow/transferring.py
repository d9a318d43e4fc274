"""An audit of another model under the lock of a pack: nothing is searched or fitted anew.

The plan is the pack's own but for the model. The tables of the items before the lock are carried
over from the pack, so that an auditor makes the lock again from them as from any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.assessment.comparing import differences
from compliance.assessment.locking import recomputed_lock
from compliance.assessment.subjects import without_subject
from compliance.assessment.tables import FitObservations, file_digests
from compliance.errors import NumberMismatch, PlanError, VerificationError
from compliance.packs import layout
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.records.audit import AuditConfig, ProbeConfig
from compliance.records.base import digest_of, to_json
from compliance.records.plan import Choices, Lock, LockedBy, Plan
from compliance.runs import RunFolder

TAKEN = (
    "languages", "claims", "alpha", "bootstrap_draws", "batch_tokens", "robustness", "subset",
    "interventions", "seed",
)  # fmt: skip
"""Keys of ``audit.yaml`` that stand in a plan as they are; probes do in another shape."""

ALIKE = ("architecture", "layers", "d_model", "dtype")
"""What a model must share with the one that was locked on."""


@contextmanager
def locking_pack(path: Path) -> Iterator[OpenPack]:
    """The pack whose lock is taken, once it is known to be whole.

    Args:
        path: A folder, or a ZIP of it.

    Raises:
        PackError: There is no pack.
        VerificationError: It is damaged.
        PlanError: Its lock cannot be made again, or was taken from another pack itself.
    """
    failed = verify_integrity(path).failed
    if failed:
        raise VerificationError(
            f"locked_by: {path.name}: {failed[0].line}",
            hint="'compliance verify' lists everything that is wrong; get the pack again",
        )
    with read_pack(path) as pack:
        if layout.VECTORS in pack.withheld_files:
            raise PlanError(
                f"locked_by: {path.name} is a copy without {layout.VECTORS}, from which fitted "
                "controls are made",
                hint="name the original pack",
            )
        if (by := pack.evidence.plan.locked_by) is not None:
            raise PlanError(
                f"locked_by: {path.name} runs under the lock of {by.pack_id} itself",
                hint=f"name {by.pack_id}",
            )
        yield pack


def plan_under(pack: OpenPack, config: AuditConfig, make: Callable[[AuditConfig], Plan]) -> Plan:
    """The plan of a pack, of another model.

    Args:
        pack: Whose lock is taken.
        config: Keys that it gives must say what the pack's plan says.
        make: Makes the plan of a whole ``audit.yaml``, with the model and SAEs that were loaded.

    Raises:
        PlanError: ``audit.yaml``, a test set, an SAE or the kind of model is not that of the pack.
    """
    evidence, stated = pack.evidence, pack.statement.predicate
    theirs = evidence.plan
    own = make(_completed(config, theirs))
    for name in ALIKE:
        here, there = getattr(own.model, name), getattr(theirs.model, name)
        if here != there:
            raise PlanError(
                f"locked_by: {name} of {own.model.name} is {here}, and {stated.pack_id} was locked "
                f"on a model with {there}",
                hint="audit it by itself: leave locked_by out",
            )
    if other := next(_said_otherwise(config, theirs, own), None):
        raise PlanError(
            f"locked_by: {stated.pack_id} planned otherwise: {other}",
            hint="leave the key out or give it the pack's value; suites, SAEs and modalities are "
            "the pack's too",
        )
    by = LockedBy(
        pack_id=stated.pack_id,
        version=stated.version,
        root_digest=stated.root_digest,
        plan_digest=digest_of(theirs),
        lock_digest=digest_of(evidence.lock),
        software=theirs.software,
        model=theirs.model,
    )
    return theirs.model_copy(update={"model": own.model, "software": own.software, "locked_by": by})


def _completed(config: AuditConfig, theirs: Plan) -> AuditConfig:
    """``audit.yaml`` with the keys that it leaves out as the plan has them."""
    found = {name: getattr(theirs, name) for name in TAKEN}
    found["probes"] = tuple(
        ProbeConfig(
            concept=probe.concept,
            features=(
                "discover"
                if probe.features == "discover"
                else tuple(feature.latent for feature in probe.features)
            ),
            region=probe.region,
            pooling=probe.pooling,
        )
        for probe in theirs.probes
    )
    return config.model_copy(
        update={key: value for key, value in found.items() if key not in _given(config)}
    )


def _given(config: AuditConfig) -> set[str]:
    """Keys that ``audit.yaml`` has; an empty list of probes or languages says nothing."""
    return {key for key in config.model_fields_set if getattr(config, key) != ()}


def _said_otherwise(config: AuditConfig, theirs: Plan, own: Plan) -> Iterator[str]:
    here, there = (without_subject(plan) for plan in (own, theirs))
    if "probes" not in _given(config):
        here["probes"] = there["probes"]
    for found in differences("plan", there, here):
        yield f"{found.where} is {found.stored} there and {found.computed} here"


def carried(run: RunFolder, pack: OpenPack) -> dict[str, bytes]:
    """The pack's tables of the items before the lock, put into a run of another model.

    Raises:
        PlanError: The pack is not the one that was planned with.
        VerificationError: A table cannot be read.
    """
    lock = _lock_of(run.plan(), pack)
    files = {path: pack.observation(path) for path in pack.observed if path.startswith("fit/")}
    chosen = {name: getattr(lock, name) for name in Choices.model_fields}
    run.write("choices.json", Choices(**chosen))
    run.write("environment.json", pack.evidence.environment)
    run.write_observations(files)
    return files


def lock_under(run: RunFolder, pack: OpenPack) -> Lock:
    """The pack's lock for a run of another model, once the carried tables were seen to give it.

    Raises:
        PlanError: The pack is not the one that was planned with, or its tables give another lock.
    """
    plan, files = run.plan(), run.observations("fit")
    lock = _lock_of(plan, pack)
    fit = FitObservations.from_files(files)
    again = recomputed_lock(plan, lock, fit, file_digests(files), deep=False)
    if other := next(differences("lock", to_json(lock), to_json(again)), None):
        raise PlanError(
            f"locked_by: the tables of {plan.locked_by and plan.locked_by.pack_id} give another "
            f"lock than it states: {other}",
            hint="'compliance verify' shows what is wrong with that pack",
        )
    return lock


def _lock_of(plan: Plan, pack: OpenPack) -> Lock:
    """The same choices and cut-offs, of this plan."""
    stated = pack.statement.predicate
    if plan.locked_by is None or plan.locked_by.root_digest != stated.root_digest:
        raise PlanError(
            f"locked_by: {stated.pack_id} is not the pack that this run was planned with",
            hint="run 'compliance plan' again",
        )
    return pack.evidence.lock.model_copy(update={"plan_digest": digest_of(plan)})


def transfer_differences(plan: Plan, lock: Lock) -> Iterator[NumberMismatch]:
    """Yield where plan and lock are not those of the pack that they were taken from.

    Both digests are in the plan, so that neither needs that pack: its plan is this one with its own
    model, its lock this one with that plan's digest.
    """
    by = plan.locked_by
    if by is None:
        return
    theirs = plan.model_copy(update={"model": by.model, "software": by.software, "locked_by": None})
    yield from differences("plan.locked_by.plan_digest", by.plan_digest, digest_of(theirs))
    named = lock.model_copy(update={"plan_digest": by.plan_digest})
    yield from differences("plan.locked_by.lock_digest", by.lock_digest, digest_of(named))
