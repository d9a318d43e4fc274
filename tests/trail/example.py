"""Keys, a moment, and trails of a few lines."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.keys import Signer
from compliance.records.trail import Entry
from compliance.trail import append, read

NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
ED25519 = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
P256 = Signer(ec.derive_private_key(7, ec.SECP256R1()))
SIGNERS = {"ed25519": ED25519, "P-256": P256}


def write_lines(path: Path, count: int, **facts: object) -> tuple[Entry, ...]:
    """Append ``count`` entries and read the trail."""
    for number in range(count):
        append(path, "run-started", {"number": number, **facts}, at=NOW, actor="test")
    return read(path)
