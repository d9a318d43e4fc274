"""Evidence, items, pictures, and the root digest over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from compliance.packs import layout
from compliance.packs.checks.contents import Contents, changed, not_checked, part
from compliance.packs.folder import failed
from compliance.packs.items import shown_pictures
from compliance.packs.roots import fact_problems, root_leaves
from compliance.records.verification import Check
from compliance.trail import merkle_root


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
        elif path in withheld_files(pack):
            continue
        elif path not in found:
            yield failed("evidence", place, "missing; evidence.json names it")
        elif stated[path] != f"sha256:{found[path]}":
            expected = stated[path].removeprefix("sha256:")
            yield changed("evidence", place, expected, found[path], "evidence.json")
    if pack.salts is not None:
        for problem in fact_problems(pack.evidence.system, pack.salts):
            yield failed("evidence", layout.SALTS, problem)


def withheld_files(pack: Contents) -> frozenset[str]:
    """Observation files that a copy does not show; evidence and root hold their digests."""
    if pack.signed is None or pack.signed[1].predicate.profile is None or pack.evidence is None:
        return frozenset()
    there = pack.folder.below(layout.OBSERVATIONS).keys()
    return frozenset(layout.WITHHOLDABLE) & (pack.evidence.observations.keys() - there)


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
    if pack.evidence is None or pack.items is None or pack.salts is None:
        return None
    evidence = pack.folder.read(layout.EVIDENCE, limit=layout.MAX_JSON_FILE)
    found = pack.folder.below(layout.OBSERVATIONS)
    observations = {path: f"sha256:{digest}" for path, digest in found.items()}
    observations |= {path: pack.evidence.observations[path] for path in withheld_files(pack)}
    try:
        leaves = root_leaves(evidence, pack.salts, observations, pack.items)
        return "sha256:" + merkle_root(leaves).hex()
    except ValueError:
        return None  # a fact without its salt: `check_evidence` says so


def check_roots(pack: Contents, root: str | None) -> Iterator[Check]:
    """Whether every root digest that is stated is ``root``, the one that the files give."""
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
