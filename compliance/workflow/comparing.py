"""Comparing packs: this one with the one before it, any two, and a new one with the accepted one.

Digests and signatures of both are checked first; of a damaged pack nothing is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compliance.assessment.comparison import compare
from compliance.assessment.gating import judge
from compliance.assessment.subjects import Side, compare_subjects
from compliance.documents import read_yaml
from compliance.errors import ConfigError, ProbeError, VerificationError
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.version import decide_version
from compliance.progress import SILENT, Progress
from compliance.records.audit import SaeRef
from compliance.records.base import digest_of
from compliance.records.comparison import Comparison, Gate, PackDiff, PackName, Tolerances
from compliance.records.earlier import EarlierPack
from compliance.records.evidence import Evidence
from compliance.records.observation import names_of
from compliance.records.pack import PackedItem
from compliance.records.subjects import SubjectComparison
from compliance.records.suite import Item
from compliance.storage import write_text
from compliance.workflow.documents import earlier_pack

READ = ("confirm/items.csv", "confirm/scores.csv")
"""The observations that a comparison reads."""


def diff(old: Path, new: Path, *, progress: Progress = SILENT) -> PackDiff:
    """What changed from one pack to another.

    Args:
        old: The earlier pack, a folder or a ZIP of it.
        new: The later one.
        progress: Told what is being done.

    Raises:
        PackError: One of the two is not there.
        VerificationError: One of the two is damaged.
    """
    for path in (old, new):
        progress.stage(f"checking digests and signature of {path.name}")
        _refuse_damage(path)
    progress.stage("comparing on the items of both")
    with read_pack(old) as before, read_pack(new) as now:
        comparison = compare(
            before.evidence, _tables(before), now.evidence, _tables(now),
            old_items=_digests(before), new_items=_digests(now),
        )  # fmt: skip
        return PackDiff(
            old=_name(before),
            new=_name(now),
            follows=now.statement.predicate.parent_digest == _name(before).root_digest,
            decided=decide_version(now.evidence, before.as_parent()),
            comparison=comparison,
        )


def gate(
    new: Path, against: Path, *, tolerances: Path | None = None, progress: Progress = SILENT
) -> Gate:
    """Whether a new pack is worse than an accepted one by more than declared.

    Args:
        new: The new pack, a folder or a ZIP of it.
        against: The accepted one.
        tolerances: ``tolerances.yaml``. None: nothing is tolerated.
        progress: Told what is being done.

    Raises:
        ConfigError: The tolerances cannot be read.
        PackError: One of the two packs is not there.
        VerificationError: One of the two is damaged.
    """
    declared = read_yaml(tolerances, Tolerances) if tolerances else Tolerances()
    return judge(diff(against, new, progress=progress), declared)


def compare_packs(
    paths: Sequence[Path], *, saes: Sequence[Path] = (), page: Path | None = None,
    progress: Progress = SILENT,
) -> SubjectComparison:  # fmt: skip
    """Hold several packs against the first: subjects, fine-tunes or checkpoints under one lock.

    Args:
        paths: Folders or ZIPs; the first is what the others are compared with.
        saes: Folders of SAEs that the packs name. Where two packs read different SAEs, features are
            matched by the decoders of these.
        page: Where to write the comparison as an HTML file. None: nowhere.
        progress: Told what is being done.

    Raises:
        PackError: One of them is not there.
        PlanError: There is only one.
        ConfigError: A folder has an SAE that no pack names.
        ProbeError: An SAE cannot be read.
        VerificationError: One of them is damaged.
        StorageError: The page cannot be written.
    """
    for path in paths:
        progress.stage(f"checking digests and signature of {path.name}")
        _refuse_damage(path)
    sides = []
    for path in paths:
        with read_pack(path) as pack:
            tables = _tables(pack)
            sides.append(Side(_name(pack), pack.evidence, tables, _digests(pack)))
    named = {sae.digest for side in sides for sae in side.evidence.plan.saes}
    decoders = _decoders(saes, named) if saes else {}
    progress.stage(f"comparing {len(sides)} packs on the items of both")
    found = compare_subjects(sides, decoders)
    if page is not None:
        from compliance.reports.subjects_page import render_subjects_page

        write_text(page, render_subjects_page(found))
    return found


def earlier_of(
    parent: OpenPack, evidence: Evidence, files: Mapping[str, bytes], items: Sequence[Item]
) -> EarlierPack:
    """What the report of a new pack says of the pack before it.

    Args:
        parent: The pack before, whose integrity was checked.
        evidence: Of the new pack.
        files: Its observations by path below ``observations/``.
        items: The items that it used.
    """
    comparison: Comparison = compare(
        parent.evidence, _tables(parent), evidence, files,
        old_items=_digests(parent), new_items=_digests_of(items),
    )  # fmt: skip
    return earlier_pack(parent.as_parent(), evidence, comparison)


def _refuse_damage(path: Path) -> None:
    failed = verify_integrity(path).failed
    if failed:
        raise VerificationError(
            f"{path.name}: {failed[0].line}",
            hint="'compliance verify' lists everything that is wrong; get the pack again",
        )


def _tables(pack: OpenPack) -> dict[str, bytes]:
    return {
        path: pack.observation(path)
        for file in READ
        for path in names_of(file)
        if path in pack.evidence.observations
    }


def _digests(pack: OpenPack) -> dict[str, str]:
    """Of the items that are shown whole: digests of the others are salted."""
    return _digests_of(one.item for one in pack.items if isinstance(one, PackedItem))


def _digests_of(items: Iterable[Item]) -> dict[str, str]:
    return {item.id: digest_of(item) for item in items}


def _name(pack: OpenPack) -> PackName:
    stated = pack.statement.predicate
    return PackName(pack_id=stated.pack_id, version=stated.version, root_digest=stated.root_digest)


def _decoders(folders: Sequence[Path], named: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """The decoder of each SAE by its digest, one row for each latent."""
    try:
        import torch

        from compliance.probes.sae import load_sae
    except ModuleNotFoundError as error:
        raise ProbeError(
            f"reading an SAE needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[probes]",
        ) from error
    found = {}
    for folder in folders:
        ref = SaeRef(path=str(folder.resolve()))
        sae = load_sae(ref, folder, dtype=torch.float32, device="cpu")
        if sae.facts.digest not in named:
            raise ConfigError(
                f"{folder.name}: no pack names an SAE with its digest, {sae.facts.digest}",
                hint="give the very files that were audited with",
            )
        found[sae.facts.digest] = sae.tensors["W_dec"].numpy()
    return found
