"""Checking a pack at one of three depths, of which each holds those before.

``integrity``: digests, signatures, times and trail. ``recompute``: every number, verdict and
sentence from the observations. ``reproduce``: the observations, by running the subject again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pandas.errors import InvalidIndexError

from compliance.assessment.assess import (
    differences,
    frozen_differences,
    item_differences,
    recompute,
)
from compliance.errors import (
    ComplianceError,
    ConfigError,
    PlanError,
    StatisticsError,
    StorageError,
    VerificationError,
)
from compliance.packs import layout
from compliance.packs.checks.contents import not_checked
from compliance.packs.folder import failed
from compliance.packs.integrity import verify_integrity
from compliance.packs.items import comparable, item_id
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.trust import Trust
from compliance.progress import SILENT, Progress
from compliance.records.base import digest_bytes
from compliance.records.pack import PackedItem, PackItem
from compliance.records.plan import Plan
from compliance.records.trail import Entry
from compliance.records.validation import Validation
from compliance.records.verification import Check, Outcome, Verification
from compliance.trail import of_run, run_name
from compliance.workflow.judging import law_changes, read_claims, verdict_changes
from compliance.workflow.opened import PackFiles
from compliance.workflow.rebuilding import report_checks
from compliance.workflow.reproducing import Again, reproduce
from compliance.workflow.shipped import known_answers
from compliance.workflow.transferring import transfer_differences

Level = Literal["integrity", "recompute", "reproduce"]


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Files that a verifier brings, which came by another way than the pack."""

    key: Path | None = None
    """The issuer's public key, in PEM form."""

    roles: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Public keys of the persons who may sign in a role."""

    authorities: Path | None = None
    """Certificates of time-stamp authorities, in PEM form."""

    checkpoint: Path | None = None
    """A checkpoint of the trail that somebody else kept."""

    def trust(self) -> Trust:
        """Their contents.

        Raises:
            StorageError: One cannot be read.
        """
        return Trust(
            issuer=_read(self.key),
            roles={role: [_there(path) for path in keys] for role, keys in self.roles.items()},
            authorities=_read(self.authorities),
            checkpoint=_read(self.checkpoint),
        )


def verify(
    path: Path,
    *,
    level: Level = "recompute",
    deep: bool = False,
    key: Path | None = None,
    outside: Outside | None = None,
    again: Again | None = None,
    claims: Path | None = None,
    mapping: Path | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check a pack.

    Args:
        path: The pack, a folder or a ZIP of it.
        level: How far to go; each level holds those before.
        deep: Also draw the null of the search for features again. Without it that is listed as
            not checked. Not with ``integrity``.
        key: The issuer's public key, from outside the pack; short for ``Outside(key=key)``.
        outside: Everything that is brought from outside the pack.
        again: What to run again at level ``reproduce``. None: everything, as the plan names it.
        claims: Limits of one's own: the verdicts that they change are listed. Not with
            ``integrity``.
        mapping: A mapping of one's own in the place of ``mapping.yaml``, likewise.
        progress: Told what is being done.

    Raises:
        PackError: There is no pack at ``path``.
        ConfigError: Something is asked for that this level does not do, or limits cannot be tried.
        CatalogError: The mapping cannot be used.
        ComplianceError: The subject cannot be run again, or is another one.
    """
    if level == "integrity" and (deep or claims or mapping):
        raise ConfigError("the level integrity computes nothing", hint="take --level recompute")
    if again is not None and level != "reproduce":
        raise ConfigError(f"the level {level} runs nothing again", hint="take --level reproduce")
    progress.stage("checking digests and signatures")
    found = verify_integrity(path, trust=(outside or Outside(key=key)).trust())
    if level == "integrity":
        return found
    kept = tuple(check for check in found.checks if check.name != "report")
    with ExitStack() as stack:
        try:
            pack = stack.enter_context(read_pack(path))
        except VerificationError as error:  # said already, file by file
            problem = failed("numbers", None, str(error))
            return found.model_copy(update={"level": level, "checks": (*kept, problem)})
        return _deeper(
            found.model_copy(update={"level": level, "checks": kept}),
            pack, deep=deep, again=again, claims=claims, mapping=mapping, progress=progress,
        )  # fmt: skip


def _deeper(
    found: Verification, pack: OpenPack, *, deep: bool, again: Again | None, claims: Path | None,
    mapping: Path | None, progress: Progress,
) -> Verification:  # fmt: skip
    """The checks that compute, and then what an auditor's own limits or mapping would change."""
    own = None if claims is None else read_claims(claims)
    progress.stage("recomputing every number from the observations")
    numbers = _check_numbers(pack, deep=deep)
    readable = not any(check.status is Outcome.FAILED for check in numbers)
    progress.stage("making reports and exports again")
    checks = [*found.checks, *numbers, *_guarded("report", report_checks(pack))]
    if found.level == "reproduce" and readable and found.root_digest:
        checks += reproduce(pack, found.root_digest, again or Again(), progress)
    else:
        checks.append(_not_run(found.level))
    update: dict[str, object] = {}
    if readable and own is not None:
        progress.stage("judging again under the given limits")
        limits = own.beside(pack.evidence.plan.claims)
        update["verdict_changes"] = verdict_changes(pack.evidence, PackFiles(pack), limits)
    if readable and mapping is not None:
        update["law_changes"] = law_changes(pack, mapping)
    if (claims or mapping) and not readable:
        checks.append(not_checked("own-limits", "nothing was judged again: the numbers fail"))
    return found.model_copy(update={**update, "checks": tuple(checks)})


def _not_run(level: Level) -> Check:
    if level == "reproduce":
        return not_checked("reproduction", "the model was not run again: the numbers fail already")
    return not_checked(
        "reproduction", "the model was not run again: observations are taken as they are"
    )


def _guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """Checks of a pack that may not even be readable."""
    try:
        yield from checks
    except VerificationError as error:
        yield failed(name, None, str(error))


def _check_numbers(pack: OpenPack, *, deep: bool) -> list[Check]:
    """Every number of ``evidence.json`` against the observations, the trail and the items."""
    problems: list[ComplianceError] = []
    try:
        evidence, files = pack.evidence, PackFiles(pack)
        own = of_run(pack.trail, run_name(evidence.plan))
        problems += frozen_differences(evidence, frozen_facts(own))
        problems += transfer_differences(evidence.plan, evidence.lock)
        problems += _law_differences(pack)
        items = ((item_id(item), comparable(item)) for item in pack.items)
        problems += item_differences(evidence.plan, files, items)
        problems += recompute(evidence, files, deep=deep, withheld=pack.withheld_files)
    except (PlanError, StatisticsError, VerificationError) as error:
        problems.append(error)
    except (KeyError, IndexError, ValueError, InvalidIndexError) as error:
        # tables or a lock that name what others lack, or one thing twice
        problems.append(PlanError(f"the observation tables do not fit together: {error!r}"))
    if problems:
        return [failed("numbers", layout.EVIDENCE, str(problem)) for problem in problems]
    counted = f"{len(evidence.results)} results and {len(evidence.findings)} verdicts"
    return [
        Check(
            name="numbers",
            status=Outcome.PASSED,
            path=layout.EVIDENCE,
            message=f"{'' if _lock_is_stated(pack) else 'lock, '}{counted} follow from the "
            "observations",
        ),
        *_lock_check(pack),
        *_replies_check(pack),
        *_transfer_check(evidence.plan),
        *_withheld_check(pack.items),
        *(() if _lock_is_stated(pack) else (_search_check(deep=deep),)),
        trials_check(evidence.validation),
    ]


def _withheld_check(items: Sequence[PackItem]) -> Iterator[Check]:
    """What is withheld of items is in the root digest, and cannot be looked at."""
    withheld = sum(not isinstance(item, PackedItem) for item in items)
    if withheld:
        yield Check(
            name="withheld-items",
            status=Outcome.NOT_CHECKED,
            path=layout.ITEMS,
            message=f"{withheld} of {len(items)} items are withheld in whole or in part: that "
            "their texts are those observed, and carry these labels, is the issuer's word",
        )


def _lock_check(pack: OpenPack) -> Iterator[Check]:
    """Without its own tables, the lock is taken as it is stated; results follow from it."""
    if _lock_is_stated(pack):
        message = "withheld from this copy: the lock was not made again, and is taken as stated"
        yield not_checked("lock", message, layout.OBSERVATIONS + layout.VECTORS)


def _lock_is_stated(pack: OpenPack) -> bool:
    return layout.VECTORS in pack.withheld_files


def _replies_check(pack: OpenPack) -> Iterator[Check]:
    """Without replies, rates of mitigation studies are taken as they are stated."""
    if layout.REPLIES in pack.withheld_files:
        message = "withheld from this copy: rates of mitigation studies were not counted again, "
        yield not_checked(
            "replies", message + "and are taken as stated", layout.OBSERVATIONS + layout.REPLIES
        )


def _transfer_check(plan: Plan) -> Iterator[Check]:
    """A lock that was taken from another pack rests on that pack's own observations."""
    by = plan.locked_by
    if by is not None:
        yield not_checked(
            "transferred-lock",
            f"probe, cut-offs and fitted controls are those of {by.pack_id} ({by.root_digest}), "
            f"locked on another model, {by.model.name}; that pack was not looked at",
            layout.EVIDENCE,
        )


def _search_check(*, deep: bool) -> Check:
    if deep:
        return Check(
            name="search",
            status=Outcome.PASSED,
            path=layout.EVIDENCE,
            message="the null of the search for features is the same when it is drawn again",
        )
    return Check(
        name="search",
        status=Outcome.NOT_CHECKED,
        message="the null of the search for features was not drawn again; --deep draws it",
    )


def trials_check(stated: Validation | None) -> Check:
    """Trials take hours, so they are not repeated; but they must be those of the software."""
    if stated == known_answers():
        return Check(
            name="known-answers",
            status=Outcome.PASSED,
            path=layout.EVIDENCE,
            message="how often the method errs is stated as this software ships it",
        )
    return Check(
        name="known-answers",
        status=Outcome.NOT_CHECKED,
        message="how often the method errs is not stated as this software ships it; "
        "the trials were not repeated",
    )


def _law_differences(opened: OpenPack) -> Iterable[ComplianceError]:
    """The law files in the pack against the digests that the evidence names."""
    law = opened.evidence.law
    for name, stored in (
        ("provisions", law.provisions_digest),
        ("mapping", law.mapping_digest),
    ):
        found = digest_bytes(opened.file(f"data/law/{name}.yaml"))
        yield from differences(f"law.{name}_digest", stored, found)


def frozen_facts(entries: Sequence[Entry]) -> dict[str, object]:
    """What the trail recorded of what cannot be recomputed; the last of each counts.

    Args:
        entries: Those of one run.
    """
    observations: dict[str, object] = {}
    found: dict[str, object] = {"observations": observations}
    for entry in entries:
        match entry.kind:
            case "plan-frozen":
                found["plan"] = entry.facts.get("record")
            case "locked":
                found["lock"] = entry.facts.get("record")
            case "run-finished" | "fit-carried":
                found["environment"] = entry.facts.get("environment")
                observations |= entry.facts.get("observations") or {}
            case "confirmation-opened":
                found["confirm_openings"] = entry.facts.get("opening")
    return found


def _read(path: Path | None) -> bytes | None:
    return None if path is None else _there(path)


def _there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
