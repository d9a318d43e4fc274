"""What a verifier brings from outside a pack. A pack cannot vouch for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Keys, certificates and a checkpoint that came by another way than the pack."""

    issuer: bytes | None = None
    """The issuer's public key in PEM form."""

    roles: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Public keys in PEM form of the persons who may sign in a role, such as ``reviewer``."""

    authorities: bytes | None = None
    """Certificates of time-stamp authorities in PEM form, one after another."""

    checkpoint: bytes | None = None
    """A checkpoint of the trail (a signed note) that somebody else kept."""


NOTHING = Trust()
