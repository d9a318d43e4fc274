"""All packs of a system, kept in one place: an OCFL 1.1 storage root.

    add_pack(archive, packs / "demo-1.0.1", added_at=moment)
    restore(archive, "demo-1.0.0", target)

Each system is an OCFL object, each pack one of its versions, and a file that two packs share lies
there once. Nothing is ever changed or taken out: a pack that somebody signed later is added as a
further version. Any OCFL tool reads it, and so does a person: the inventory is JSON, the files are
files (https://ocfl.io/1.1/spec/).

A version is complete or not there. It is made outside the archive and gets its place by a rename;
then the object's inventory is replaced. A kill between the two leaves a version that the inventory
does not name; the next addition finds it and names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from compliance.errors import PackError, StorageError, VerificationError
from compliance.packs import layout
from compliance.packs.folder import failed, open_regular, survey
from compliance.packs.reading import read_pack
from compliance.records.archive import ArchivedPack, Inventory, StoredVersion, User
from compliance.records.trail import utc_text
from compliance.records.verification import Check, Outcome, Verification
from compliance.storage import copy_file, move_file, move_folder, write_bytes, write_folder

MARK = "0=ocfl_1.1"
"""The file that says that a folder is a storage root."""

OBJECT_MARK = "0=ocfl_object_1.1", b"ocfl_object_1.1\n"
INVENTORY = "inventory.json"
SIDECAR = "inventory.json.sha512"
PREFIX = "urn:sae-compliance:"
"""Before the system's name in an object's id; its folder has the name alone."""

ADDRESS = "tag:sae-compliance,2026:archive"
MAX_INVENTORY = 1 << 28


def add_pack(archive: Path, pack: Path, *, added_at: datetime, software: str) -> str | None:
    """Keep a pack as it is now. One that is kept already, byte by byte, is not added again.

    Args:
        archive: The storage root; made where it is missing.
        pack: A folder whose integrity was checked.
        added_at: UTC, by the clock of the edge.
        software: Who adds it, as the archive is to say.

    Returns:
        The OCFL version that was added, such as ``v3``; None: nothing was.

    Raises:
        PackError: The archive is damaged, or there is no pack in the folder.
        StorageError: There is no room, or somebody else is adding to the same object.
    """
    with read_pack(pack) as opened:
        stated = opened.statement.predicate
        system = stated.pack_id.removesuffix(f"-{stated.version}")
        paths = sorted(opened.folder.digests)
    place = archive / system
    inventory = _settled(archive, place) if place.exists() else None
    files = {f"{stated.pack_id}/{path}": pack / path for path in paths}
    state = {path: _sha512(file) for path, file in files.items()}
    before = _last_state(inventory, stated.pack_id) if inventory else None
    if before == state:
        return None
    message = _message(stated.pack_id, before, state)
    version = StoredVersion(
        created=utc_text(added_at),
        state=_by_digest(state),
        message=message,
        user=User(name=software, address=ADDRESS),
    )
    extended, missing = _extended(inventory, PREFIX + system, version)
    sources = {state[path]: file for path, file in files.items()}
    with _beside(archive) as staged:
        _write_version(staged / extended.head, extended, {
            path: sources[digest] for digest, path in missing.items()
        })  # fmt: skip
        _place(archive, place, staged, extended)
    return extended.head


def is_kept(archive: Path, pack: Path) -> bool:
    """Whether a pack lies in the archive as its tag manifest says that it is now.

    The tag manifest covers every file but the data, and the manifest it lists covers those; so one
    file is looked at. What was changed without it is not a pack any more, and is found elsewhere.

    Raises:
        PackError: The archive is damaged.
    """
    system, _, _ = pack.name.rpartition("-")
    place, path = archive / system, f"{pack.name}/{layout.TAG_MANIFEST}"
    if not place.exists() or not (pack / layout.TAG_MANIFEST).is_file():
        return False
    last = _last_state(_settled(archive, place), pack.name)
    return last is not None and last.get(path) == _sha512(pack / layout.TAG_MANIFEST)


def list_packs(archive: Path) -> tuple[ArchivedPack, ...]:
    """Every version of every system, in the order of their addition.

    Raises:
        PackError: There is no archive here, or it is damaged.
    """
    return tuple(found for place in _objects(archive) for found in _listed(place))


def restore(archive: Path, name: str, target: Path) -> Path:
    """Write a pack as it was kept, byte by byte.

    Args:
        archive: The storage root.
        name: A pack id such as ``demo-1.0.0``, its version alone, or an OCFL version such as
            ``v2``; of a pack that was kept several times the last.
        target: The folder in which the pack's folder is made.

    Returns:
        The pack's folder.

    Raises:
        PackError: There is no archive, or no such version or more than one system has it.
        VerificationError: What is kept is not what was added.
        StorageError: The folder is there already, or cannot be written.
    """
    packs = list_packs(archive)
    found = [
        p for p in packs if name in (p.pack_id, p.pack_id.removeprefix(f"{p.system}-"), p.name)
    ]
    if not found:
        raise PackError(
            f"{archive}: no version is called {name!r}",
            hint="'compliance archive list' shows what is there",
        )
    if len({p.system for p in found}) > 1:
        raise PackError(f"{name!r} is a version of several systems", hint="give the pack's id")
    wanted = found[-1]
    place = archive / wanted.system
    inventory = _inventory(place)
    lies = {digest: paths[0] for digest, paths in inventory.manifest.items()}
    with write_folder(target / wanted.pack_id) as folder:
        for digest, paths in inventory.versions[wanted.name].state.items():
            source = _inside(place, lies[digest])
            if _sha512(source) != digest:
                raise VerificationError(
                    f"{wanted.system}/{lies[digest]}: not what was added to the archive",
                    hint="'compliance archive check' lists all that is damaged",
                )
            for path in paths:
                copy_file(source, folder / path.removeprefix(f"{wanted.pack_id}/"))
    return target / wanted.pack_id


def check_archive(archive: Path) -> Verification:
    """Check every inventory and every file that is kept, and change nothing.

    Raises:
        PackError: There is no archive here.
    """
    checks = [check for place in _objects(archive) for check in _checked(place)]
    return Verification(pack=archive.resolve().name, level="integrity", checks=tuple(checks))


# Making a version


def _message(pack_id: str, before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    if before is None:
        return f"{pack_id}: built"
    changed = {path for path in {*before, *now} if before.get(path) != now.get(path)}
    inside = any(path.startswith(f"{pack_id}/data/") for path in changed)
    if inside:
        return f"{pack_id}: other contents under the same version"
    added = sorted(path.removeprefix(f"{pack_id}/") for path in set(now) - set(before))
    return f"{pack_id}: attestations changed" + (f" ({', '.join(added)})" if added else "")


def _extended(
    inventory: Inventory | None, identity: str, version: StoredVersion
) -> tuple[Inventory, dict[str, str]]:
    """The inventory with one more version, and where contents that are new must lie."""
    number = 1 + (len(inventory.versions) if inventory else 0)
    manifest = dict(inventory.manifest) if inventory else {}
    missing = {
        digest: f"v{number}/content/{paths[0]}"
        for digest, paths in version.state.items()
        if digest not in manifest
    }
    manifest |= {digest: (path,) for digest, path in missing.items()}
    versions = {**(inventory.versions if inventory else {}), f"v{number}": version}
    extended = Inventory(id=identity, head=f"v{number}", manifest=manifest, versions=versions)
    return extended, missing


def _write_version(folder: Path, inventory: Inventory, files: Mapping[str, Path]) -> None:
    for path, source in files.items():
        copy_file(source, folder.parent / path)
    _write_inventory(folder, inventory)


def _write_inventory(folder: Path, inventory: Inventory) -> None:
    data = _bytes(inventory)
    write_bytes(folder / INVENTORY, data)
    write_bytes(folder / SIDECAR, _sidecar(data))


def _place(archive: Path, place: Path, staged: Path, inventory: Inventory) -> None:
    """Move the staged version to where it belongs, and name it in the object's inventory."""
    _write_inventory(staged, inventory)
    if place.exists():
        move_folder(staged / inventory.head, place / inventory.head)
        _rename_inventory(staged, place)
        return
    write_bytes(staged / OBJECT_MARK[0], OBJECT_MARK[1])
    if not archive.exists():
        with write_folder(archive) as root:
            write_bytes(root / MARK, b"ocfl_1.1\n")
    move_folder(staged, place)


def _rename_inventory(staged: Path, place: Path) -> None:
    for name in (INVENTORY, SIDECAR):
        move_file(staged / name, place / name)


def _settled(archive: Path, place: Path) -> Inventory:
    """The object's inventory, after what a kill left unfinished was finished.

    Raises:
        PackError: What is there was not left by a kill.
    """
    data = _read(place / INVENTORY)
    inventory = _parsed(data, place)
    further = place / f"v{len(inventory.versions) + 1}"
    if further.exists():  # killed before the inventory named it
        data = _read(further / INVENTORY)
        extended = _parsed(data, place)
        earlier = {name: v for name, v in extended.versions.items() if name != further.name}
        _refuse_unless(_read(further / SIDECAR) == _sidecar(data), place)
        _refuse_unless(extended.head == further.name and earlier == inventory.versions, place)
        inventory = extended
    elif _read(place / SIDECAR) != _sidecar(data):  # killed between the inventory and its digest
        _refuse_unless(data == _read(place / inventory.head / INVENTORY), place)
    else:
        return inventory
    with _beside(archive) as staged:
        _write_inventory(staged, inventory)
        _rename_inventory(staged, place)
    return inventory


def _refuse_unless(fine: bool, place: Path) -> None:
    if not fine:
        raise PackError(
            f"{place}: the archive is damaged, and nothing is added to it",
            hint="'compliance archive check' lists what is wrong",
        )


@contextlib.contextmanager
def _beside(archive: Path) -> Iterator[Path]:
    """A folder on the same disk and outside the archive, whose every file OCFL would count."""
    staged = archive.parent / f".archive-{secrets.token_hex(8)}.tmp"
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


# Reading


def _objects(archive: Path) -> list[Path]:
    """The folders of all objects."""
    if not (archive / MARK).is_file():
        raise PackError(
            f"{archive}: no archive here", hint="'compliance pack' and 'compliance audit' make one"
        )
    return sorted(path.parent for path in archive.glob(f"*/{OBJECT_MARK[0]}"))


def _listed(place: Path) -> Iterator[ArchivedPack]:
    inventory = _inventory(place)
    for name, version in inventory.versions.items():
        paths = [path for paths in version.state.values() for path in paths]
        own = [
            p for found in inventory.manifest.values() for p in found if p.startswith(f"{name}/")
        ]
        yield ArchivedPack(
            name=name,
            system=place.name,
            pack_id=paths[0].split("/")[0],
            message=version.message or "",
            added_at=datetime.fromisoformat(version.created).astimezone(UTC),
            files=len(paths),
            added_bytes=sum(_inside(place, path).stat().st_size for path in own),
        )


def _inventory(place: Path) -> Inventory:
    """The object's inventory as its digest confirms it, or its newest version does."""
    data = _read(place / INVENTORY)
    inventory = _parsed(data, place)
    if _read(place / SIDECAR) != _sidecar(data):
        _refuse_unless(data == _read(place / inventory.head / INVENTORY), place)
    return inventory


def _parsed(data: bytes, place: Path) -> Inventory:
    """Read an inventory that names nothing outside its object.

    Raises:
        PackError: It is of another shape than ours, or names what it must not.
    """
    try:
        found = Inventory.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackError(f"{place}/{INVENTORY}: {where}: {first['msg'].lower()}") from error
    ordered = {f"v{n + 1}": None for n in range(len(found.versions))}
    if list(found.versions) != list(ordered) or found.head != list(ordered)[-1]:
        raise PackError(f"{place}/{INVENTORY}: versions are not counted from v1 to the head")
    for name, version in found.versions.items():
        _refuse_state(version, found.manifest, f"{place}/{INVENTORY}: {name}")
    for path in (path for paths in found.manifest.values() for path in paths):
        head, _, rest = path.partition("/content/")
        if head not in found.versions or not _is_place(rest):
            raise PackError(f"{place}/{INVENTORY}: {path!r} is no place of contents")
    return found


def _refuse_state(version: StoredVersion, manifest: Mapping[str, object], where: str) -> None:
    paths = [path for paths in version.state.values() for path in paths]
    if not version.state.keys() <= manifest.keys() or not all(map(_is_place, paths)):
        raise PackError(f"{where} names contents that are not there, or a place it must not")
    if len({path.split("/")[0] for path in paths}) != 1 or len(set(paths)) != len(paths):
        raise PackError(f"{where} is not one pack")


def _is_place(path: str) -> bool:
    """Whether a path is a pack's folder and a file that a pack may hold."""
    folder, _, rest = path.partition("/")
    return layout.is_safe_path(folder) and layout.is_safe_path(rest)


def _inside(place: Path, path: str) -> Path:
    """A file of the object, which no link leads out of."""
    found = place / path
    if not found.resolve().is_relative_to(place.resolve()):
        raise VerificationError(f"{place.name}/{path}: leads out of the archive")
    return found


def _last_state(inventory: Inventory, pack_id: str) -> dict[str, str] | None:
    """The files of a pack as they were last kept, with their digests."""
    for version in reversed(inventory.versions.values()):
        state = {path: digest for digest, paths in version.state.items() for path in paths}
        if next(iter(state)).startswith(f"{pack_id}/"):
            return state
    return None


# Checking


def _checked(place: Path) -> Iterator[Check]:
    """Everything that is wrong with an object; else one line that says what was checked."""
    problems = list(_problems(place))
    yield from problems
    if not problems:
        kept = _inventory(place)
        files = sum(len(paths) for paths in kept.manifest.values())
        yield Check(
            name="archive",
            status=Outcome.PASSED,
            path=place.name,
            message=f"versions: {len(kept.versions)}, files: {files}; each is what was added",
        )


def _problems(place: Path) -> Iterator[Check]:
    try:
        data = _read(place / INVENTORY)
        inventory = _parsed(data, place)
        if _read(place / SIDECAR) != _sidecar(data):
            yield failed("archive", f"{place.name}/{SIDECAR}", "not the digest of the inventory")
        yield from _version_problems(place, inventory)
        yield from _content_problems(place, inventory)
    except PackError as error:
        yield failed("archive", place.name, str(error))


def _version_problems(place: Path, inventory: Inventory) -> Iterator[Check]:
    """Each version's own inventory must say what the newest says of the versions up to it."""
    for number, name in enumerate(inventory.versions, start=1):
        path = f"{place.name}/{name}/{INVENTORY}"
        data = _read(place / name / INVENTORY)
        own = _parsed(data, place)
        if _read(place / name / SIDECAR) != _sidecar(data):
            sidecar = f"{place.name}/{name}/{SIDECAR}"
            yield failed("archive", sidecar, "not the digest of the inventory")
        elif list(own.versions.items()) != list(inventory.versions.items())[:number]:
            yield failed("archive", path, "says otherwise than the newest inventory")


def _content_problems(place: Path, inventory: Inventory) -> Iterator[Check]:
    expected = {path: digest for digest, paths in inventory.manifest.items() for path in paths}
    found = survey(place)
    yield from found.problems
    records = {OBJECT_MARK[0], INVENTORY, SIDECAR}
    records |= {f"{name}/{file}" for name in inventory.versions for file in (INVENTORY, SIDECAR)}
    there = set(found.digests) - {OBJECT_MARK[0]}
    for path in sorted(there - expected.keys() - records):
        yield failed("archive", f"{place.name}/{path}", "no version has this file")
    for path, digest in sorted(expected.items()):
        if path not in found.digests:
            yield failed("archive", f"{place.name}/{path}", "missing")
        elif _sha512(place / path) != digest:
            yield failed("archive", f"{place.name}/{path}", "not what was added")


# Bytes


def _by_digest(state: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for path in sorted(state):
        found.setdefault(state[path], []).append(path)
    return {digest: tuple(paths) for digest, paths in found.items()}


def _bytes(inventory: Inventory) -> bytes:
    return _json(inventory.model_dump(mode="json", exclude_none=True))


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _sidecar(data: bytes) -> bytes:
    return f"{hashlib.sha512(data).hexdigest()} {INVENTORY}\n".encode("ascii")


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_INVENTORY + 1)
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    if len(data) > MAX_INVENTORY:
        raise PackError(f"{path}: longer than {MAX_INVENTORY} bytes")
    return data


def _sha512(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha512").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
