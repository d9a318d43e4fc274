"""Copies of a pack for others, and items that are disclosed later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd

from compliance.assessment.tables import read_table
from compliance.documents import read_yaml
from compliance.errors import PackError, VerificationError
from compliance.keys import Signer
from compliance.keys.opening import KeySource, open_signer
from compliance.packs import layout
from compliance.packs.build import PackContents, Redacted, build_pack
from compliance.packs.disclosure import (
    check_disclosure,
    parse_disclosure,
    parse_private,
)
from compliance.packs.disclosure import disclose as disclose_item
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.redact import Shown, original_statements
from compliance.packs.redact import redact as redact_pack
from compliance.packs.roots import root_leaves
from compliance.packs.trust import Trust
from compliance.progress import SILENT, Progress
from compliance.records.pack import Disclosure, PackedItem, Profile
from compliance.records.redaction import Redaction
from compliance.records.verification import Check, Outcome, Verification
from compliance.workflow.documents import documents
from compliance.workflow.opened import PackFiles, WholeItems, origin_of
from compliance.workflow.stages import now
from compliance.workflow.stamping import sign_reports

MAX_PRIVATE = 1 << 32
"""Bytes of a file of disclosures that are read: it holds pictures."""


def redact(
    path: Path,
    profile: Profile,
    *,
    key: KeySource,
    target: Path | None = None,
    rules: Path | None = None,
    disclosures: Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Make a copy of a pack for the public, a deployer or an authority.

    Args:
        path: The pack, a folder or a ZIP of it.
        profile: Whom the copy is for.
        key: The issuer's, which signed the pack.
        target: Folder that the copy is written into. None: the one that holds the pack.
        rules: ``redaction.yaml``. None: what the profile says alone.
        disclosures: ``disclosures.jsonl`` of the run; ``authority`` needs it where items were
            withheld at the build.
        progress: Told what is being done.

    Returns:
        The copy's folder.

    Raises:
        PackError: The pack is a copy itself, another key signed it, or disclosures are missing.
        VerificationError: The pack is damaged.
        ConfigError: The rules cannot be read, or name what is not there.
        ReportError: A report cannot be rendered.
    """
    said = read_yaml(rules, Redaction) if rules else Redaction()
    known, pictures = read_private(disclosures) if disclosures else ({}, {})
    with open_signer(key) as signer, read_pack(path) as pack:
        progress.stage("checking the pack")
        _refuse_damaged(pack, signer)
        suites = _suites(PackFiles(pack))
        shown = redact_pack(pack, profile, rules=said, suites=suites, disclosures=known)
        built_at = now()
        made = _documents(pack, shown, pictures, built_at, progress)
        made = sign_reports(made, signer, when=built_at, progress=progress)
        contents = _contents(pack, shown, profile, pictures, made)
        progress.stage("building and signing the copy")
        return build_pack(target or path.parent, contents, signer=signer, built_at=built_at)


def disclose(
    path: Path, name: str, *, field: str | None = None, disclosures: Path | None = None
) -> Disclosure:
    """An item of a pack, or one of its fields, with the proof that it belongs to the root digest.

    Args:
        path: The pack, or a copy of it.
        name: The item's id.
        field: Name of the one field to disclose. None: all that are shown.
        disclosures: ``disclosures.jsonl`` of the run, for an item that the pack withholds.

    Raises:
        PackError: There is no such item or field, or the pack does not show it.
        VerificationError: A file of the pack cannot be read.
    """
    known = read_private(disclosures)[0] if disclosures else {}
    with read_pack(path) as pack:
        return disclose_item(
            leaves_of(pack),
            pack.items,
            name,
            pack_id=pack.statement.predicate.pack_id,
            field=field,
            private=known.get(name),
        )


def read_disclosure(path: Path) -> Disclosure:
    """Read the file of a disclosure.

    Raises:
        VerificationError: It cannot be read, or is none.
    """
    try:
        return parse_disclosure(_read(path, layout.MAX_LINE))
    except ValueError as error:
        raise VerificationError(f"{path.name}: {error}") from error


def disclosure_check(path: Path, root: str | None) -> Check:
    """Whether a disclosure belongs to a root digest.

    Args:
        path: Its file.
        root: With its ``sha256:``; None where the pack's could not be computed.
    """
    try:
        disclosure = read_disclosure(path)
        if root is None:
            raise VerificationError("the root digest of the pack could not be computed")
        check_disclosure(disclosure, root)
    except VerificationError as error:
        return Check(name="disclosure", status=Outcome.FAILED, message=f"{path.name}: {error}")
    item = disclosure.item
    shown = item.item.id if isinstance(item, PackedItem) else item.fields["id"]
    parts = "the whole item" if isinstance(item, PackedItem) else ", ".join(sorted(item.fields))
    message = f"{path.name}: item {shown} ({parts}) is under the root digest"
    return Check(name="disclosure", status=Outcome.PASSED, message=message)


def with_disclosures(found: Verification, paths: Sequence[Path]) -> Verification:
    """A verification that says of each disclosure too whether it is under the root digest."""
    checks = (disclosure_check(path, found.root_digest) for path in paths)
    return found.model_copy(update={"checks": (*found.checks, *checks)})


def read_private(path: Path) -> tuple[dict[str, PackedItem], dict[str, bytes]]:
    """Read a run's ``disclosures.jsonl``: items by id, and pictures by path below ``data/``.

    Raises:
        PackError: It cannot be read.
    """
    try:
        return parse_private(_read(path, MAX_PRIVATE))
    except ValueError as error:
        raise PackError(f"{path.name}: {error}") from error


def leaves_of(pack: OpenPack) -> list[bytes]:
    """The leaves of a pack's root digest.

    Raises:
        VerificationError: A file cannot be read, or a declared fact and its salt do not fit.
    """
    evidence, below = pack.file(layout.EVIDENCE), pack.folder.below(layout.OBSERVATIONS)
    observations = {path: f"sha256:{digest}" for path, digest in below.items()}
    observations |= {path: pack.evidence.observations[path] for path in pack.withheld_files}
    try:
        return list(root_leaves(evidence, pack.salts, observations, pack.items))
    except ValueError as error:
        raise VerificationError(f"{layout.SALTS}: {error}") from error


def _refuse_damaged(pack: OpenPack, signer: Signer) -> None:
    """Nobody should sign a copy of what does not verify, or of what is not theirs."""
    said = pack.statement.predicate
    if said.profile is not None:
        raise PackError(
            f"{said.pack_id}: this is itself a copy, for: {said.profile}",
            hint="copies are made from the pack as it was built",
        )
    if pack.file(layout.PUBLIC_KEY) != signer.public_pem:
        raise PackError(
            f"{said.pack_id}: it was signed with another key than {signer.key_id}",
            hint="a copy is signed by the issuer, with the key that signed the pack",
        )
    found = verify_integrity(pack.folder.root, trust=Trust(issuer=signer.public_pem))
    if found.failed:
        raise VerificationError(found.failed[0].line, hint="see 'compliance verify'")


def _contents(
    pack: OpenPack,
    shown: Shown,
    profile: Profile,
    pictures: Mapping[str, bytes],
    made: Mapping[str, bytes],
) -> PackContents:
    said = pack.statement.predicate
    return PackContents(
        evidence=shown.evidence,
        version=said.version,
        parent_checkpoint=_optional(pack, layout.PARENT_CHECKPOINT),
        documents=made,
        items=(),
        pictures={
            **{f"images/{path}": data for path, data in pack.files(layout.IMAGES).items()},
            **pictures,
        },
        observations={
            path: pack.folder.root / layout.OBSERVATIONS / path
            for path in pack.observed
            if path not in shown.withheld
        },
        law=pack.files("data/law/"),
        schemas=pack.files("data/schemas/"),
        trail=pack.folder.root / layout.TRAIL,
        redacted=Redacted(
            profile=profile,
            items=shown.items,
            salts=shown.salts,
            parent_digest=said.parent_digest,
            withheld=shown.withheld,
            attestations=original_statements(pack),
        ),
    )


def _documents(
    pack: OpenPack,
    shown: Shown,
    pictures: Mapping[str, bytes],
    built_at: datetime,
    progress: Progress,
) -> dict[str, bytes]:
    """Reports and exports of what a copy shows, rendered anew in the languages of the pack's."""
    origin = origin_of(pack)
    redacted = replace(
        origin,
        evidence=shown.evidence,
        observations={p: origin.observations[p] for p in pack.observed if p not in shown.withheld},
        items=WholeItems(shown.items),
        picture=lambda image: pictures.get(image.path) or origin.picture(image),
        built_at=built_at,
    )
    return documents(redacted, languages=_languages(pack), progress=progress)


def _languages(pack: OpenPack) -> list[str]:
    """Languages of the pack's reports, English left out: it is always there."""
    names = (Path(path).name for path in pack.folder.digests if path.startswith("data/report-"))
    stems = (name.removesuffix(".html") for name in names if name.endswith(".html"))
    return sorted(stem.removeprefix("report-") for stem in stems)


def _suites(files: Mapping[str, bytes]) -> dict[str, str]:
    tables = [read_table(files, f"{stage}/items.csv") for stage in ("fit", "confirm")]
    items = pd.concat(tables)
    return dict(zip(items["item"], items["suite"], strict=True))


def _optional(pack: OpenPack, path: str) -> bytes | None:
    return pack.file(path) if path in pack.folder.digests else None


def _read(path: Path, limit: int) -> bytes:
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"longer than {limit} bytes")
    return data
