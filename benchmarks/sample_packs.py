"""Small packs of a real audit, the same bytes each time: what tampering starts from.

    packs = make_packs(folder)
    packs.older, packs.newer, packs.closed

The audit is that of `tests.tiny_audit`: a model of three blocks with random weights, an SAE of 64
latents and one concept, so that a whole verification takes a fraction of a second. Keys are made
from fixed bytes and time stands still. The words of reports and the tables for other tools are
made; the PDFs are left out, which are large and which nothing is compared with. Time stamps are
those of an authority made here (`openssl ts`), and of the moment at which the packs are made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from compliance.keys import Signer, load_private_key
from compliance.packs import approve_pack
from compliance.packs.trust import Trust

EPOCH = 1767225600
MOMENT = datetime.fromtimestamp(EPOCH, UTC)
PERSONS = {"issuer": "A. Person, provider", "reviewer": "B. Person, test laboratory",
           "approver": "C. Person, provider", "stranger": "D. Person"}  # fmt: skip
SIZE = {"groups": 6, "benign": 20}
CONFIG = {
    "probes": [{"concept": "danger"}],
    "robustness": {"shifts": ["typos"], "shifted_groups": 2, "repeated_items": 2, "loss_items": 2},
    "signatures": {"reviewer": 1, "approver": 1},
}


@dataclass(frozen=True)
class Packs:
    """Packs and whose keys they were signed with."""

    older: Path
    """First version, every item shown, reviewed and approved."""

    newer: Path
    """The version after it, of the same system and with the same keys."""

    closed: Path
    """Of another system; the texts of some items are withheld, and time stamps are in its trail."""

    another: Path
    """Of the name and version of ``older`` and with its keys, but measured on other items: what
    the holder of the issuer's key could put in its place."""

    copy: Path
    """Of ``older``, for the public: texts are withheld, the root digest is the same."""

    keys: Path
    """Folder of private keys, ``<role>.pem``."""

    authority: bytes
    """Certificate of the authority that stamped them, in PEM form."""

    @property
    def named(self) -> dict[str, Path]:
        names = ("older", "newer", "closed", "another", "copy")
        return {name: getattr(self, name) for name in names}

    def key(self, role: str) -> Ed25519PrivateKey:
        """A role's private key."""
        return Ed25519PrivateKey.from_private_bytes(_secret(role))

    def signer(self, role: str) -> Signer:
        """Who signs in a role; ``stranger`` is nobody's."""
        key = load_private_key(self.keys / f"{role}.pem")
        return Signer(key, name=PERSONS[role], role="issuer" if role == "stranger" else role)

    def trust(self) -> Trust:
        """What somebody knows who was given the keys."""
        roles = {role: [self.signer(role).public_pem] for role in ("reviewer", "approver")}
        return Trust(
            issuer=self.signer("issuer").public_pem, roles=roles, authorities=self.authority
        )


def make_packs(folder: Path, *, words: bool = True) -> Packs:
    """Run the audits and build the packs below ``folder``; takes some seconds.

    Args:
        folder: A new one.
        words: Whether reports and exports are made. Without them a pack has a page that says
            nothing, and names a software whose words no verifier can make again.
    """
    from compliance.keys.opening import KeySource
    from compliance.workflow.redacting import redact
    from compliance.workflow.stamping import stamp
    from tests.packs.tsa import Authority, serving

    keys, authority = write_keys(folder / "keys"), Authority(folder / "authority")
    with serving(authority) as url, standing_still(), small_documents() if words else no_words():
        stamped = {"time_stamps": {"authority": url}}
        older = _audited(folder / "tiny", keys)
        newer = _audited(folder / "tiny", keys, alpha=0.2)
        closed = _audited(folder / "closed", keys, name="closed", restricted=4, **stamped)
        another = _audited(folder / "another", keys, size={"groups": 7, "benign": 20})
        packs = Packs(older, newer, closed, another, older, keys, authority.root_pem)
        for pack in (older, newer, closed, another):
            stamp(pack, authority=url)
            for role in ("reviewer", "approver"):
                approve_pack(pack, signer=packs.signer(role), signed_at=MOMENT)
        copy = redact(older, "public", key=KeySource(keys / "issuer.pem"), target=folder)
        stamp(copy, authority=url)
    return replace(packs, copy=copy)


def write_keys(folder: Path) -> Path:
    """Private keys of four persons, the same each time: no secret, and of no use but here."""
    folder.mkdir(parents=True, exist_ok=True)
    for role in PERSONS:
        key = Ed25519PrivateKey.from_private_bytes(_secret(role))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{role}.pem").write_bytes(pem)
    return folder


def _secret(role: str) -> bytes:
    return bytes([1 + list(PERSONS).index(role)]) * 32


def _audited(
    folder: Path, keys: Path, *, name: str = "tiny", restricted: int = 0,
    size: Mapping[str, int] = SIZE, **config: object,
) -> Path:  # fmt: skip
    from compliance import workflow
    from tests.tiny_audit import suite_items, write_audit, write_items

    audit = write_audit(folder, **size, **(CONFIG | config))
    system = yaml.safe_load((folder / "system.yaml").read_text(encoding="utf-8"))
    (folder / "system.yaml").write_text(yaml.safe_dump(system | {"name": name}), encoding="utf-8")
    items = [item for item in suite_items(**size) if item.get("concept") != "flattery"]
    for item in items[:restricted]:
        item["restricted"] = True
    write_items(folder / "suite", items)
    return workflow.audit(audit, key=keys / "issuer.pem")


@contextmanager
def standing_still() -> Iterator[None]:
    """Every moment is the same one."""
    with patch.dict(os.environ, {"SOURCE_DATE_EPOCH": str(EPOCH)}):
        yield


@contextmanager
def small_documents() -> Iterator[None]:
    """Packs get every document but PDFs."""
    from compliance.workflow import redacting, stages

    def none(*_: object, **__: object) -> bytes:
        return b""

    def small(made: Callable[..., Mapping[str, bytes]]) -> Callable[..., dict[str, bytes]]:
        def made_small(*arguments: object, **options: object) -> dict[str, bytes]:
            found = made(*arguments, **options)
            return {path: data for path, data in found.items() if not path.endswith(".pdf")}

        return made_small

    with (
        patch("compliance.reports.render.render_pdf", none),
        patch.object(stages, "documents", small(stages.documents)),
        patch.object(redacting, "documents", small(redacting.documents)),
    ):
        yield


@contextmanager
def no_words() -> Iterator[None]:
    """Packs get a page that says nothing."""
    from compliance.workflow import redacting, stages

    def page(*_: object, **__: object) -> dict[str, bytes]:
        return {"report.html": b"<!doctype html><title>No report</title>\n"}

    with (
        patch.object(stages, "SOFTWARE", "sae-compliance 0.0.0"),
        patch.object(stages, "documents", page),
        patch.object(redacting, "documents", page),
    ):
        yield
