"""Copies: what they carry of the pack that they were made from, under the same root digest.

The original's files are not in a copy, and need not be: its statement names their digests, and
those who approved it signed the same ones. So their statements are checked as they would be in the
original, on a view of the copy that has the original's statement in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from compliance.errors import ComplianceError
from compliance.keys import PublicKey
from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked, part
from compliance.packs.checks.evidence import withheld_files
from compliance.packs.checks.signatures import check_approvals, envelope_problems
from compliance.packs.checks.times import check_times
from compliance.packs.folder import Folder, failed
from compliance.packs.sign import ROOT, open_envelope
from compliance.packs.trust import Trust
from compliance.records.pack import PackedItem
from compliance.records.statement import Envelope, Statement
from compliance.records.verification import Check

NAME = "original"


def is_copy(pack: Contents) -> bool:
    """Whether the statement says so."""
    return pack.signed is not None and pack.signed[1].predicate.profile is not None


def check_copy(pack: Contents, key: PublicKey | None, trust: Trust) -> Iterator[Check]:
    """Approvals, and in a copy the original's statement that they were given to.

    Args:
        pack: What could be read of it.
        key: The issuer's, as it was given, or the pack's own.
        trust: What the verifier brings.

    Raises:
        PackError: What was given as a role's key is none.
    """
    if not is_copy(pack):
        for path in sorted(path for path in pack.folder.digests if _of_original(path)):
            yield failed(NAME, path, "belongs to a copy, and this is none")
        yield from check_approvals(pack, trust)
        return
    original = _original(pack)
    if isinstance(original, Check):
        yield original
    else:
        yield from part(NAME, pack, _problems(pack, original, key))
        folder = _View.of(pack.folder, original[1])
        view = replace(pack, folder=folder, signed=original, trail=None)
        stamped = layout.TIME_STAMP in view.folder.digests
        checks = [*check_approvals(view, trust), *(check_times(view, trust) if stamped else ())]
        for check in checks:
            yield check.model_copy(update={"path": check.path and _copied(check.path)})
    yield _said(pack)


def _of_original(path: str) -> bool:
    return path == layout.ORIGINAL or path.startswith(layout.ORIGINAL_FILES)


def _original(pack: Contents) -> tuple[Envelope, Statement] | Check:
    path = layout.ORIGINAL
    if path not in pack.folder.digests:
        return failed(NAME, path, "missing; a copy carries the original's statement")
    try:
        return open_envelope(pack.folder.read(path), path=path)
    except (ComplianceError, ValueError) as error:
        return failed(NAME, path, str(error).removeprefix(f"{path}: "))


def _problems(
    pack: Contents, original: tuple[Envelope, Statement], key: PublicKey | None
) -> Iterable[Check]:
    """Whether the original's statement is the issuer's, and about the same pack and root."""
    envelope, statement = original
    assert pack.signed is not None  # else it is no copy
    if key is not None:
        yield from envelope_problems(NAME, layout.ORIGINAL, layout.PUBLIC_KEY, envelope, key)
    if statement.predicate.profile is not None:
        yield failed(NAME, layout.ORIGINAL, "is the statement of a copy")
    if _about(statement) != _about(pack.signed[1]):
        yield failed(NAME, layout.ORIGINAL, "is about another pack than this copy")
    for path in sorted(pack.folder.below(layout.APPROVALS)):
        message = "a copy has no approvals of its own; those who sign, sign the pack itself"
        yield failed(NAME, layout.APPROVALS + path, message)


def _about(statement: Statement) -> tuple[object, ...]:
    said = statement.predicate
    roots = [subject.digest for subject in statement.subject if subject.name == ROOT]
    return said.pack_id, said.version, said.parent_digest, said.root_digest, roots


@dataclass(frozen=True)
class _View(Folder):
    """The attestations of the original by the paths that they have there."""

    @classmethod
    def of(cls, copy: Folder, statement: Statement) -> _View:
        named = {subject.name: subject.digest.get("sha256", "") for subject in statement.subject}
        carried = {
            _uncopied(path): (digest, copy.sizes[path])
            for path, digest in copy.digests.items()
            if _of_original(path)
        }
        return cls(
            root=copy.root,
            digests=named | {path: digest for path, (digest, _) in carried.items()},
            sizes={path: size for path, (_, size) in carried.items()},
            problems=(),
        )

    def read(self, path: str, *, limit: int = layout.MAX_TEXT_FILE) -> bytes:
        copied = Folder(self.root, {}, {_copied(path): self.sizes[path]}, ())
        return copied.read(_copied(path), limit=limit)


def _copied(path: str) -> str:
    """Where a file of the original lies in a copy."""
    if path == layout.STATEMENT or path in layout.SIGNED_TAG_FILES:
        return layout.ORIGINAL  # the latter are not in the copy, and it names them
    return path.replace("attestations/", layout.ORIGINAL_FILES, 1)


def _uncopied(path: str) -> str:
    if path == layout.ORIGINAL:
        return layout.STATEMENT
    return path.replace(layout.ORIGINAL_FILES, "attestations/", 1)


def _said(pack: Contents) -> Check:
    """Whom the copy is for, and how much of it is withheld."""
    assert pack.signed is not None  # else it is no copy
    items = pack.items or ()
    hidden = sum(not isinstance(item, PackedItem) for item in items)
    declared = pack.evidence.system.declared.values() if pack.evidence else ()
    facts = sum(fact.withheld is not None for fact in declared)
    message = (
        f"this is a copy for: {pack.signed[1].predicate.profile}; {hidden} of {len(items)} items "
        f"and {facts} of {len(declared)} declared facts are withheld, items in whole or in part; "
        f"{''.join(f'{path} is withheld; ' for path in sorted(withheld_files(pack)))}"
        "that the digests of all these are of what was tested and declared is the issuer's word"
    )
    return not_checked("withheld", message)
