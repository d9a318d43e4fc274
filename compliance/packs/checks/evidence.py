"""Evidence, items, pictures, and the root digest over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from compliance.packs import layout
from compliance.packs.checks.contents import Contents, changed, not_checked, part
from compliance.packs.folder import failed
from compliance.packs.items import root_digest, shown_pictures
from compliance.records.verification import Check


def check_evidence(pack: Contents) -> Iterator[Check]:
    """Whether the observation files are those that the evidence names."""
    if pack.evidence is None:
        return
    found = pack.folder.below(layout.OBSERVATIONS)
    stated = pack.evidence.observations
    for path in sorted({*found, *stated}):
        place = layout.OBSERVATIONS + path
        if path not in stated:
            yield failed("evidence", place, "evidence.json does not name it")
        elif path not in found:
            yield failed("evidence", place, "missing; evidence.json names it")
        elif stated[path] != f"sha256:{found[path]}":
            expected = stated[path].removeprefix("sha256:")
            yield changed("evidence", place, expected, found[path], "evidence.json")


def check_pictures(pack: Contents) -> Iterable[Check]:
    """Nothing is said of a pack without pictures."""
    found = pack.folder.below(layout.IMAGES)
    stated = {} if pack.items is None else shown_pictures(pack.items)
    named = {path.removeprefix("images/"): digest for path, digest in stated.items()}
    if pack.items is None and found:
        return [not_checked("pictures", "they need the items, which cannot be read")]
    return part("pictures", pack, _wrong_pictures(found, named)) if found or named else ()


def _wrong_pictures(found: Mapping[str, str], named: Mapping[str, str]) -> Iterator[Check]:
    for path in sorted({*found, *named}):
        place = layout.IMAGES + path
        if path not in named:
            yield failed("pictures", place, "no item that is shown names it")
        elif path not in found:
            yield failed("pictures", place, "missing; an item shows it")
        elif found[path] != named[path]:
            yield changed("pictures", place, named[path], found[path], "its item")


def root_of(pack: Contents) -> str | None:
    """The root digest that the files give; None where they cannot be read."""
    evidence = pack.folder.digests.get(layout.EVIDENCE)
    if evidence is None or pack.items is None:
        return None
    found = pack.folder.below(layout.OBSERVATIONS)
    observations = {path: f"sha256:{digest}" for path, digest in found.items()}
    return root_digest(f"sha256:{evidence}", observations, pack.items)


def check_roots(pack: Contents) -> Iterator[Check]:
    """Whether every root digest that is stated is the one that the files give."""
    root = root_of(pack)
    if root is None or pack.signed is None or pack.info is None:
        yield not_checked("root", "it needs evidence, items, bag-info.txt and the statement")
        return
    stated = {
        layout.BAG_INFO: pack.info.get("Root-Digest", "absent"),
        layout.STATEMENT: pack.signed[1].predicate.root_digest,
    }
    for path, value in stated.items():
        if value != root:
            yield failed("root", path, f"the root digest is {value}, the files give {root}")
