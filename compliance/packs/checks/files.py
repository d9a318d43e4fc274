"""Files: the manifest, BagIt's own files, and the list of the files outside ``data/``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from compliance.packs import layout
from compliance.packs.checks.contents import Contents, changed, not_checked
from compliance.packs.folder import failed
from compliance.records.verification import Check

_INFO_LABELS = frozenset(
    {
        "Bag-Software-Agent",
        "Bagging-Date",
        "External-Identifier",
        "Payload-Oxum",
        "Root-Digest",
    }
)
PARENT_LABEL = "Parent-Root-Digest"
PROFILE_LABEL = "Profile"
BLIND_LABEL = "Blind"
"""A copy has the one, and a pack that is none the other."""


_CALLED = re.compile(r"(.+-\d+\.\d+\.\d+)(?:-[a-z]+)?(?:\.zip)?", re.ASCII | re.DOTALL)
"""What a pack's folder or ZIP is called: its id, the profile of a copy."""

_BAGIT_DIGEST = hashlib.sha256(layout.BAGIT_TEXT).hexdigest()


def check_manifest(pack: Contents) -> Iterator[Check]:
    """Whether the manifest lists the files below ``data/``, all of them and as they are."""
    name, found = "manifest", pack.folder.digests
    if pack.manifest is None:
        yield not_checked(name, "files could not be compared, since the manifest is unreadable")
        return
    listed = pack.manifest
    for path in sorted(listed):
        if not path.startswith("data/"):
            yield failed(name, layout.MANIFEST, f"lists {path}, which is not below data/")
        elif path not in found:
            yield failed(name, path, "missing, or no plain file; the manifest lists it")
        elif found[path] != listed[path]:
            yield changed(name, path, listed[path], found[path])
    for path in sorted(found):
        if path.startswith("data/") and path not in listed:
            yield failed(name, path, "added: the manifest does not list it")
    for path in layout.REQUIRED_DATA:
        if path not in listed:
            yield failed(name, path, "not in the manifest, and every pack has it")


def check_bag(pack: Contents) -> Iterator[Check]:
    """BagIt's own files, and that nothing else lies outside ``data/``."""
    name, found = "bag", pack.folder
    for path in sorted({layout.BAGIT, layout.MANIFEST_SIGNATURE} - set(found.digests)):
        yield failed(name, path, "missing")
    if found.digests.get(layout.BAGIT, _BAGIT_DIGEST) != _BAGIT_DIGEST:
        yield failed(name, layout.BAGIT, "not the text that every BagIt 1.0 bag has")
    for path in sorted(found.digests):
        if not path.startswith("data/") and not layout.belongs(path):
            yield failed(name, path, "has no place in a pack")
    if pack.info is None:
        return
    kind = PROFILE_LABEL if PROFILE_LABEL in pack.info else BLIND_LABEL
    if set(pack.info) - {PARENT_LABEL} != _INFO_LABELS | {kind}:
        odd = sorted((set(pack.info) - {PARENT_LABEL}) ^ (_INFO_LABELS | {kind}))
        yield failed(name, layout.BAG_INFO, f"{odd[0]} is missing, or has no place there")
    sizes = [size for path, size in found.sizes.items() if path.startswith("data/")]
    oxum = f"{sum(sizes)}.{len(sizes)}"
    if pack.info.get("Payload-Oxum") != oxum:
        stated = pack.info.get("Payload-Oxum")
        yield failed(name, layout.BAG_INFO, f"Payload-Oxum is {stated}, the files give {oxum}")


def check_name(pack: Contents, called: str) -> Iterator[Check]:
    """Whether a folder or ZIP that is called like a pack is called like this one.

    Anybody may call a copy of theirs anything; but an old pack under the name of a newer one says
    something untrue.
    """
    said = (pack.info or {}).get("External-Identifier")
    match = _CALLED.fullmatch(called)
    if match and said and match[1] != said:
        yield failed("bag", None, f"it is called {called}, and it is {said}")


def check_tag_manifest(pack: Contents, named: set[str | None]) -> Iterator[Check]:
    """Compare with what the files give.

    A file that no other check blames is vouched for by a signature, so the list is wrong then.
    """
    name, path = "tag-manifest", layout.TAG_MANIFEST
    tags = {
        tag: digest
        for tag, digest in pack.folder.digests.items()
        if not tag.startswith("data/") and tag != path
    }
    if path not in pack.folder.digests:
        yield failed(name, path, "missing")
        return
    try:
        data = pack.folder.read(path)
        if data == layout.render_manifest(tags):
            return
        listed = layout.parse_manifest(data)
    except ValueError as error:
        yield failed(name, path, str(error))
        return
    for tag in sorted({*tags, *listed}):
        if tag not in listed:
            yield failed(name, path, f"does not list {tag}")
        elif tag not in tags:
            yield failed(name, tag, "missing; tagmanifest-sha256.txt lists it")
        elif tags[tag] != listed[tag]:
            place = tag if tag in named or tag == layout.TIME_STAMP else path
            yield changed(name, place, listed[tag], tags[tag], f"the list of {tag}")
