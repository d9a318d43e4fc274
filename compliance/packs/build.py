"""Builds a pack: a signed BagIt bag (RFC 8493), complete or not there at all.

::

    folder = build_pack(packs, contents, signer=signer, built_at=moment)
    zip_pack(folder, packs / f"{folder.name}.zip")

What covers what: ``manifest-sha256.txt`` lists every file under ``data/``. The statement signs the
manifest, ``bagit.txt``, ``bag-info.txt`` and the root digest. Files under ``attestations/`` come
after the manifest and speak for themselves: an envelope and ``manifest.sig`` by their signatures,
a public key by the key id that its envelope names. ``tagmanifest-sha256.txt`` lists all files
outside ``data/`` for BagIt's own tools; it is written anew when a role signs later, and must be
exactly what the files give.

With the same contents, key and ``built_at``, two builds are equal byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from compliance.errors import PackError
from compliance.keys import Signer
from compliance.packs import layout
from compliance.packs.cms import make_cms, why_no_cms
from compliance.packs.integrity import check_integrity
from compliance.packs.items import pack_items, render_items, shown_pictures
from compliance.packs.reading import PackItems
from compliance.packs.roots import make_salts, root_digest
from compliance.packs.sign import make_statement, sign_statement
from compliance.packs.trust import Trust
from compliance.packs.version import Parent, is_later
from compliance.records.base import canonical_bytes
from compliance.records.evidence import Evidence
from compliance.records.pack import PackItem, Profile, Salts, Version
from compliance.records.suite import Item
from compliance.records.trail import Entry, utc_text
from compliance.records.verification import Outcome
from compliance.resources import data_file
from compliance.storage import copy_file, replace_file, write_bytes, write_folder
from compliance.trail import (
    extends,
    lines,
    prove_extension,
    read,
    read_checkpoint,
    sign_checkpoint,
)

_VERSION: TypeAdapter[str] = TypeAdapter(Version)
_BLIND_CONTEXT = b"sae-compliance bag blind v1\n"
"""Copies hold the digest of the original's ``bag-info.txt``, which tells how many bytes all files
have. Without something secret in it, guesses of what is withheld could be tested with that."""


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """What makes a pack a copy of another that withholds more or less. See ``packs/redact.py``."""

    profile: Profile
    items: Sequence[PackItem]
    salts: Salts
    parent_digest: str | None
    """As the original states it."""

    withheld: frozenset[str] = frozenset()
    """Observation files that are left out, of `layout.WITHHOLDABLE`."""

    attestations: Mapping[str, bytes]
    """The original's statement and those who signed it, by their path in the copy."""


@dataclass(frozen=True, kw_only=True)
class PackContents:
    """Everything that goes into a pack. Rendered files come in as bytes and are not looked at."""

    evidence: Evidence
    version: str
    """See ``next_version``."""

    parent: Parent | None = None
    """The pack before, of the same system."""

    parent_checkpoint: bytes | None = None
    """The checkpoint of the pack before. Where the trail extends it, the pack proves that."""

    documents: Mapping[str, bytes]
    """What was made from the evidence for people and for other tools, by path below ``data/``:
    ``report.html``, which every pack has, reports of other levels of detail, and ``exports/``. A
    PDF comes with its own signature, where it has one: PAdES goes on before the manifest is made.
    """

    items: Sequence[Item]
    """All items of all suites used; ids must differ."""

    withheld: Collection[str] = ()
    """Ids of items whose text and picture stay out; the root digest is the same as with them."""

    pictures: Mapping[str, bytes | Path] = field(default_factory=dict)
    """What shown items show, by `Image.path`; those of withheld items alone are left out."""

    observations: Mapping[str, bytes | Path]
    """By path below ``observations/``, as ``evidence.observations`` has them."""

    law: Mapping[str, bytes]
    """Catalog and mapping as used, by path below ``law/``."""

    schemas: Mapping[str, bytes]
    trail: Path
    """The trail up to ``report-built``. It is read, checked and written out again."""

    redacted: Redacted | None = None
    """Given for a copy; ``items`` and ``parent`` are its own then."""

    @property
    def parent_digest(self) -> str | None:
        if self.redacted:
            return self.redacted.parent_digest
        return self.parent.root_digest if self.parent else None


def build_pack(
    target: Path, contents: PackContents, *, signer: Signer, built_at: datetime,
    stamp: Callable[[bytes], bytes] | None = None,
) -> Path:  # fmt: skip
    """Write ``<system>-<version>`` into the folder ``target``, a copy with its profile after it.

    Args:
        target: Folder that holds packs; made when missing.
        contents: What goes in.
        signer: Whose key signs; its role is usually ``issuer``.
        built_at: Moment of signing. ``SOURCE_DATE_EPOCH`` is the caller's to honour.
        stamp: Gives a time stamp over the signed statement, or raises, and then no pack is there.

    Returns:
        The pack's folder.

    Raises:
        PackError: The contents contradict each other.
        TrailError: The trail is broken.
        StorageError: The folder is there already, or cannot be written.
    """
    pack_id = f"{contents.evidence.system.name}-{contents.version}"
    _check(contents)
    copy = contents.redacted
    name = f"{pack_id}-{copy.profile}" if copy else pack_id
    items = copy.items if copy else pack_items(
        contents.items, withheld=contents.withheld, secret=signer.salt_secret
    )  # fmt: skip
    salts = copy.salts if copy else make_salts(contents.evidence.system, signer.salt_secret)
    with write_folder(target / name) as folder:
        with replace_file(folder / layout.ITEMS) as file:
            file.writelines(render_items(items))
        written = PackItems(lambda: (folder / layout.ITEMS).open("rb"))
        _write_data(folder, pack_id, contents, written, salts, signer)
        digests = _digests(folder, "data")
        root = _root(digests, contents, written, salts)
        _write_bag(folder, pack_id, contents, digests, root, built_at, signer)
        _write_attestations(folder, pack_id, contents, root, signer, built_at)
        if stamp:
            write_bytes(folder / layout.TIME_STAMP, stamp((folder / layout.STATEMENT).read_bytes()))
        write_tag_manifest(folder)
        _refuse_failing(folder, signer)
    return target / name


def write_tag_manifest(folder: Path) -> None:
    """Write ``tagmanifest-sha256.txt`` anew: it lists what lies outside ``data/``."""
    tags = _digests(folder, "attestations")
    tags |= {name: _sha256(folder / name) for name in layout.SIGNED_TAG_FILES}
    write_bytes(folder / layout.TAG_MANIFEST, layout.render_manifest(tags))


def _refuse_failing(folder: Path, signer: Signer) -> None:
    """Nothing leaves this module that would fail its own verification."""
    for check in check_integrity(folder, trust=Trust(issuer=signer.public_pem)):
        if check.status is Outcome.FAILED:
            raise PackError(f"the pack would not verify: {check.line}")


def _check(contents: PackContents) -> None:
    try:
        _VERSION.validate_python(contents.version)
    except ValidationError as error:
        raise PackError(f"version {contents.version!r} is not MAJOR.MINOR.PATCH") from error
    parent = contents.parent
    if parent and not is_later(contents.version, parent.version):
        raise PackError(f"version {contents.version} does not follow {parent.version}")
    if parent and parent.evidence.system.name != contents.evidence.system.name:
        raise PackError(
            f"the parent is a pack of {parent.evidence.system.name!r}, "
            f"not of {contents.evidence.system.name!r}"
        )
    if layout.REPORT.removeprefix("data/") not in contents.documents:
        raise PackError(f"{layout.REPORT}: every pack has one, and it was not given")
    hidden = contents.redacted.withheld if contents.redacted else frozenset()
    stated, given = set(contents.evidence.observations) - hidden, set(contents.observations)
    if stated != given:
        odd = sorted(stated ^ given)[0]
        where = "evidence.json" if odd in stated else "the observations"
        raise PackError(f"observations/{odd}: only in {where}")


def _write_data(
    folder: Path,
    pack_id: str,
    contents: PackContents,
    items: Sequence[PackItem],
    salts: Salts,
    signer: Signer,
) -> None:
    entries = read(contents.trail)
    files: dict[str, bytes | Path] = {
        layout.EVIDENCE: canonical_bytes(contents.evidence),
        layout.SALTS: canonical_bytes(salts),
        layout.TRAIL: lines(entries),
        layout.CHECKPOINT: sign_checkpoint(entries, origin=layout.origin(pack_id), signer=signer),
        layout.GUIDE: data_file("evidence/HOW-TO-VERIFY.md"),
    }
    if contents.parent_checkpoint is not None:
        files |= _extension(entries, contents.parent_checkpoint)
    for name in ("observations", "law", "schemas"):
        files |= {f"data/{name}/{path}": data for path, data in getattr(contents, name).items()}
    for path in shown_pictures(items):
        if path not in contents.pictures:
            raise PackError(f"{path}: an item shows it, and it was not given")
        files[f"data/{path}"] = contents.pictures[path]
    documents = {f"data/{path}": data for path, data in contents.documents.items()}
    if taken := sorted({*files, layout.ITEMS} & documents.keys()):
        raise PackError(f"{taken[0]}: has its own contents, and was given as a document")
    files |= documents
    _refuse_paths(files)
    for path, data in files.items():
        _write(folder / path, data)


def _extension(entries: Sequence[Entry], note: bytes) -> dict[str, bytes | Path]:
    """The parent's checkpoint and the proof that the trail extends it; nothing where it does not.

    A verifier is told of a trail without a proof; see ``packs/checks/trail.py``.
    """
    parent = read_checkpoint(note)
    if not extends(entries, parent):
        return {}
    proof = prove_extension(entries, parent)
    return {layout.PARENT_CHECKPOINT: note, layout.CONSISTENCY: canonical_bytes(proof)}


def _refuse_paths(paths: Iterable[str]) -> None:
    for path in paths:
        if not layout.is_safe_path(path):
            raise PackError(
                f"{path!r} cannot be a file's name in a pack",
                hint="names are ASCII letters, digits and ._@+=-, without '..'",
            )
    if clash := layout.colliding(paths):
        raise PackError(f"{clash[0]}: another file differs from it in case only")


def _write(path: Path, data: bytes | Path) -> None:
    if isinstance(data, Path):
        copy_file(data, path)
    else:
        write_bytes(path, data)


def _root(
    digests: Mapping[str, str], contents: PackContents, items: Iterable[PackItem], salts: Salts
) -> str:
    start = layout.OBSERVATIONS
    found = {
        path.removeprefix(start): f"sha256:{digest}"
        for path, digest in digests.items()
        if path.startswith(start)
    }
    for path, digest in found.items():
        if contents.evidence.observations[path] != digest:
            raise PackError(
                f"observations/{path}: not the file that evidence.json was computed from",
                hint="run the assessment again on these observations",
            )
    stated = contents.evidence.observations  # of those that a copy withholds, it alone
    return root_digest(canonical_bytes(contents.evidence), salts, {**stated, **found}, items)


def _write_bag(
    folder: Path,
    pack_id: str,
    contents: PackContents,
    digests: Mapping[str, str],
    root: str,
    built_at: datetime,
    signer: Signer,
) -> None:
    octets = sum((folder / path).stat().st_size for path in digests)
    info = {
        "Bag-Software-Agent": contents.evidence.plan.software,
        "Bagging-Date": utc_text(built_at)[:10],
        "External-Identifier": pack_id,
        "Payload-Oxum": f"{octets}.{len(digests)}",
        "Root-Digest": root,
    }
    if contents.parent_digest:
        info["Parent-Root-Digest"] = contents.parent_digest
    if contents.redacted:
        info["Profile"] = contents.redacted.profile
    else:
        blind = hmac.new(signer.salt_secret, _BLIND_CONTEXT + root.encode(), hashlib.sha256)
        info["Blind"] = blind.hexdigest()
    data = layout.render_info(info)
    if layout.parse_info(data) != info:
        raise PackError("bag-info.txt: a line break in the software's name")
    write_bytes(folder / layout.BAGIT, layout.BAGIT_TEXT)
    write_bytes(folder / layout.BAG_INFO, data)
    write_bytes(folder / layout.MANIFEST, layout.render_manifest(digests))


def _write_attestations(
    folder: Path,
    pack_id: str,
    contents: PackContents,
    root: str,
    signer: Signer,
    built_at: datetime,
) -> None:
    statement = make_statement(
        {name: _sha256(folder / name) for name in layout.SIGNED_TAG_FILES},
        pack_id=pack_id,
        version=contents.version,
        root_digest=root,
        parent_digest=contents.parent_digest,
        profile=contents.redacted.profile if contents.redacted else None,
        signer=signer,
        signed_at=built_at,
    )
    for path, data in (contents.redacted.attestations if contents.redacted else {}).items():
        write_bytes(folder / path, data)
    manifest = (folder / layout.MANIFEST).read_bytes()
    write_bytes(folder / layout.STATEMENT, sign_statement(statement, signer))
    write_bytes(folder / layout.MANIFEST_SIGNATURE, signer.sign(manifest))
    write_bytes(folder / layout.PUBLIC_KEY, signer.public_pem)
    if why_no_cms(signer) is None:
        cms = make_cms(manifest, signer=signer, signed_at=built_at)
        write_bytes(folder / layout.MANIFEST_CMS, cms)


def _digests(folder: Path, part: str) -> dict[str, str]:
    """Hexadecimal sha256 of each file below ``part``, by path relative to ``folder``."""
    files = (path for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
