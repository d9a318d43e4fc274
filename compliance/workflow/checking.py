"""Checking a pack: digests and signature, and every number from the observations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    PlanError,
    StatisticsError,
    VerificationError,
)
from compliance.packs import layout
from compliance.packs.integrity import verify_integrity
from compliance.packs.items import item_id
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.trust import Trust
from compliance.progress import SILENT, Progress
from compliance.records.base import digest_bytes
from compliance.records.pack import PackedItem
from compliance.records.suite import Item
from compliance.records.trail import Entry
from compliance.records.validation import Validation
from compliance.records.verification import Check, Outcome, Verification
from compliance.workflow.shipped import known_answers


def verify(
    path: Path,
    *,
    level: Literal["integrity", "recompute"] = "recompute",
    deep: bool = False,
    key: Path | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check a pack: ``integrity`` (digests, signature, trail) or ``recompute`` (every number too).

    Args:
        path: The pack, a folder or a ZIP of it.
        level: How far to go.
        deep: Also draw the null of the search for features again. Without it that is listed as
            not checked. Only with ``recompute``.
        key: The issuer's public key, from outside the pack.
        progress: Told what is being done.

    Raises:
        PackError: There is no pack at ``path``.
    """
    progress.stage("checking digests and signature")
    found = verify_integrity(path, trust=Trust(issuer=key.read_bytes() if key else None))
    if level == "integrity":
        return found
    progress.stage("recomputing every number from the observations")
    checks = (*found.checks, *_check_numbers(path, deep=deep))
    return found.model_copy(update={"level": level, "checks": checks})


def _check_numbers(path: Path, *, deep: bool) -> list[Check]:
    """Every number of ``evidence.json`` against the observations, the trail and the items."""
    problems: list[ComplianceError] = []
    try:
        with read_pack(path) as opened:
            evidence, files = opened.evidence, opened.observations()
            items = {
                item_id(i): i.item if isinstance(i, PackedItem) else None for i in opened.items
            }
            problems += frozen_differences(evidence, frozen_facts(opened.trail))
            problems += _law_differences(opened)
            problems += item_differences(evidence.plan, files, items)
            problems += recompute(evidence, files, deep=deep)
    except (PlanError, StatisticsError, VerificationError) as error:
        problems.append(error)
    except (KeyError, IndexError, ValueError, InvalidIndexError) as error:
        # tables or a lock that name what others lack, or one thing twice
        problems.append(PlanError(f"the observation tables do not fit together: {error!r}"))
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
        *_withheld_check(items),
        _search_check(deep=deep),
        trials_check(evidence.validation),
        Check(
            name="reproduction",
            status=Outcome.NOT_CHECKED,
            message="the model was not run again: observations are taken as they are",
        ),
    ]


def _withheld_check(items: Mapping[str, Item | None]) -> Iterator[Check]:
    """Withheld items are in the root digest, and nothing else of them can be looked at."""
    withheld = sum(item is None for item in items.values())
    if withheld:
        yield Check(
            name="withheld-items",
            status=Outcome.NOT_CHECKED,
            path=layout.ITEMS,
            message=f"{withheld} of {len(items)} items are withheld: that their texts are those "
            "observed, and carry these labels, is the issuer's word",
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
    """What the trail recorded of what cannot be recomputed; the last of each counts."""
    observations: dict[str, object] = {}
    found: dict[str, object] = {"observations": observations}
    for entry in entries:
        match entry.kind:
            case "plan-frozen":
                found["plan"] = entry.facts.get("record")
            case "locked":
                found["lock"] = entry.facts.get("record")
            case "run-finished":
                found["environment"] = entry.facts.get("environment")
                observations |= entry.facts.get("observations") or {}
            case "confirmation-opened":
                found["confirm_openings"] = entry.facts.get("opening")
    return found
