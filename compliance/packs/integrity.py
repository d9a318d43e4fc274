"""Checks that a pack is complete, unchanged and signed, and says what it did not check.

::

    verification = verify_integrity(path, trust=Trust(issuer=pem))
    verification.ok, verification.summary()

All problems are reported, each with its file; the first one does not hide the others. Nothing is
believed because another file says so: digests, the root and the tag manifest are made anew from
what is there, and compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compliance.keys import PublicKey, parse_public_key
from compliance.packs.checks.contents import Contents, load_contents, not_checked, part
from compliance.packs.checks.copies import check_copy
from compliance.packs.checks.evidence import check_evidence, check_pictures, check_roots, root_of
from compliance.packs.checks.files import (
    check_bag,
    check_manifest,
    check_name,
    check_tag_manifest,
)
from compliance.packs.checks.pdfs import check_pdfs
from compliance.packs.checks.signatures import (
    check_cms,
    check_issuer,
    check_signature,
    check_statement,
)
from compliance.packs.checks.times import check_times
from compliance.packs.checks.trail import (
    check_checkpoint,
    check_parent,
    check_trail,
    check_witness,
)
from compliance.packs.folder import printable, survey
from compliance.packs.trust import NOTHING, Trust
from compliance.packs.zipped import unpacked
from compliance.records.verification import Check, Outcome, Verification


def check_integrity(pack: Path, *, trust: Trust = NOTHING) -> tuple[Check, ...]:
    """Check everything that needs no computation on the observations.

    Args:
        pack: A folder or a ZIP.
        trust: What the verifier brings from outside the pack.

    Raises:
        PackError: There is no pack here, or ``trust`` holds what is no key.
        StorageError: There is no room to unpack the ZIP.
    """
    return verify_integrity(pack, trust=trust).checks


def verify_integrity(pack: Path, *, trust: Trust = NOTHING) -> Verification:
    """The same as a record, with the root digest that the files give.

    Raises:
        PackError: There is no pack here, or ``trust`` holds what is no key.
        StorageError: There is no room to unpack the ZIP.
    """
    issuer = None if trust.issuer is None else parse_public_key(trust.issuer, name="the given key")
    with unpacked(pack) as (root, problems):
        called = pack.resolve().name
        contents = None if problems else load_contents(survey(root))
        root_digest = root_of(contents) if contents else None
        checks = _checks(contents, trust, issuer, called, root_digest) if contents else problems
        return Verification(
            pack=printable(called),
            level="integrity",
            checks=tuple(checks),
            root_digest=root_digest,
        )


def _checks(
    pack: Contents, trust: Trust, issuer: PublicKey | None, called: str, root: str | None
) -> Iterator[Check]:
    """All checks, in an order in which a reader understands them."""
    key = issuer or pack.key
    checks = [
        *part("files", pack, pack.folder.problems),
        *part("manifest", pack, check_manifest(pack)),
        *part("bag", pack, (*check_bag(pack), *check_name(pack, called))),
        *part("evidence", pack, check_evidence(pack)),
        *part("items", pack, ()),
        *check_pictures(pack),
        *part("trail", pack, check_trail(pack)),
        *part("checkpoint", pack, check_checkpoint(pack, key)),
        *check_parent(pack, key),
        *part("root", pack, check_roots(pack, root)),
        *part("statement", pack, check_statement(pack)),
        *part("signature", pack, check_signature(pack, key)),
        check_issuer(pack, issuer),
        *check_cms(pack, key),
        *check_copy(pack, key, trust),
        *check_pdfs(pack, key, trust),
        *check_times(pack, trust),
        *check_witness(pack, trust),
        *_never_checked(),
    ]
    yield from checks
    named = {check.path for check in checks if check.status is Outcome.FAILED}
    yield from part("tag-manifest", pack, check_tag_manifest(pack, named))


def _never_checked() -> Iterator[Check]:
    """What this level cannot know, said each time."""
    yield not_checked("report", "the wording of the report was not compared with the evidence")
