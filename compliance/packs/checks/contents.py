"""What could be read of a pack, and how a check says what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from compliance.errors import ComplianceError, DigestMismatch
from compliance.keys import PublicKey, parse_public_key, public_pem
from compliance.packs import layout
from compliance.packs.folder import Folder, failed, printable
from compliance.packs.reading import PackItems, parse_evidence, parse_salts, read_items
from compliance.packs.sign import open_envelope
from compliance.records.evidence import Evidence
from compliance.records.pack import Salts
from compliance.records.statement import Envelope, Statement
from compliance.records.trail import Entry
from compliance.records.verification import Check, Outcome
from compliance.trail import parse

T = TypeVar("T")


PASSED = {
    "files": "there are plain files only, with plain names",
    "manifest": "every file below data/ is as the manifest lists it",
    "bag": "bagit.txt and bag-info.txt fit the files",
    "evidence": "evidence.json is canonical and names each observation file",
    "items": "every item is canonical, with its salt or its digest",
    "pictures": "every picture is the one that an item names, and none is there besides",
    "trail": "the trail's chain is whole; plan and lock are in it",
    "checkpoint": "the checkpoint signs the head of this trail",
    "root": "the root digest follows from the files",
    "statement": "the statement is about these files",
    "signature": "statement and manifest are signed",
    "cms": "the CMS signature and its certificate are of the key that signed the statement",
    "original": "the statement of the original signs the same root digest, as do its approvals",
    "tag-manifest": "tagmanifest-sha256.txt lists every file outside data/",
}


@dataclass(frozen=True)
class Contents:
    """What could be read of a pack; None for what could not, and ``problems`` says why."""

    folder: Folder
    manifest: dict[str, str] | None
    info: dict[str, str] | None
    evidence: Evidence | None
    items: PackItems | None
    salts: Salts | None
    trail: tuple[Entry, ...] | None
    signed: tuple[Envelope, Statement] | None
    key: PublicKey | None
    problems: dict[str, list[Check]]
    """By the name of the check."""


def load_contents(folder: Folder) -> Contents:
    """Read what every check needs, once; what cannot be read is a problem of its check."""
    problems: dict[str, list[Check]] = {}

    def load(name: str, path: str, parser: Callable[[bytes], T], limit: int) -> T | None:
        return read(name, path, lambda: parser(folder.read(path, limit=limit)))

    def read(name: str, path: str, reader: Callable[[], T]) -> T | None:
        if path not in folder.digests:
            problems.setdefault(name, []).append(failed(name, path, "missing"))
            return None
        try:
            return reader()
        except (ComplianceError, ValueError) as error:
            message = str(error).removeprefix(f"{path}: ")
            problems.setdefault(name, []).append(failed(name, path, message))
            return None

    small, large = layout.MAX_TEXT_FILE, layout.MAX_JSON_FILE
    return Contents(
        folder=folder,
        manifest=load("manifest", layout.MANIFEST, layout.parse_manifest, small),
        info=load("bag", layout.BAG_INFO, layout.parse_info, small),
        evidence=load("evidence", layout.EVIDENCE, parse_evidence, large),
        items=read("items", layout.ITEMS, lambda: read_items(folder)),
        salts=load("evidence", layout.SALTS, parse_salts, large),
        trail=load("trail", layout.TRAIL, parse, large),
        signed=load("statement", layout.STATEMENT, _open_statement, small),
        key=load("signature", layout.PUBLIC_KEY, own_key, small),
        problems=problems,
    )


def _open_statement(data: bytes) -> tuple[Envelope, Statement]:
    return open_envelope(data, path=layout.STATEMENT)


def own_key(data: bytes, path: str = layout.PUBLIC_KEY) -> PublicKey:
    """A public key of the pack; ``ValueError`` where it is spelt as openssl would not."""
    key = parse_public_key(data, name=path)
    if public_pem(key) != data:
        raise ValueError("the key is spelt in another way than openssl spells it")
    return key


def part(name: str, pack: Contents, found: Iterable[Check]) -> list[Check]:
    """The failures of one check, or that it passed."""
    problems = [*pack.problems.get(name, []), *found]
    return problems or [Check(name=name, status=Outcome.PASSED, message=PASSED[name])]


def not_checked(name: str, message: str, path: str | None = None) -> Check:
    """A check that was not made, and why."""
    return Check(name=name, status=Outcome.NOT_CHECKED, path=path, message=printable(message))


def changed(name: str, path: str, expected: str, actual: str, by: str = "the manifest") -> Check:
    """A file whose digest is not the one stated ``by`` another."""
    message = str(DigestMismatch(path, expected=expected, actual=actual))
    return failed(name, path, message.removeprefix(f"{path}: ").replace("the manifest", by))
