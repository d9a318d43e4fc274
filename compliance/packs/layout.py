"""Which files a pack has, and how its BagIt files are spelt (RFC 8493).

Only one spelling of each file is accepted: names are plain ASCII, lists are sorted, and what a
writer would write is compared with what is there. So no byte can change unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"

EVIDENCE = "data/evidence.json"
ITEMS = "data/items.jsonl"
SALTS = "data/salts.json"
OBSERVATIONS = "data/observations/"
IMAGES = "data/images/"
REPORT = "data/report.html"
TRAIL = "data/trail.jsonl"
CHECKPOINT = "data/checkpoint"
PARENT_CHECKPOINT = "data/parent-checkpoint"
CONSISTENCY = "data/consistency.json"
GUIDE = "data/HOW-TO-VERIFY.md"

STATEMENT = "attestations/statement.dsse.json"
PUBLIC_KEY = "attestations/public-key.pem"
MANIFEST_SIGNATURE = "attestations/manifest.sig"
MANIFEST_CMS = "attestations/manifest.p7s"
TIME_STAMP = "attestations/statement.tsr"
APPROVALS = "attestations/approvals/"
ORIGINAL = "attestations/original.dsse.json"
ORIGINAL_FILES = "attestations/original/"
"""In a copy: approvals and time stamp of the pack that it was made from."""

VECTORS, REPLIES = "fit/vectors.parquet", "confirm/replies.parquet"
WITHHOLDABLE = (VECTORS, REPLIES)
"""Observation files that a copy may withhold: the words of an item can be read from its counts of
n-grams, which the lock is made from; and a model's replies may repeat what it was asked. What
recomputation needs of the others is no text."""

REQUIRED_DATA = (REPORT, EVIDENCE, ITEMS, SALTS, TRAIL, CHECKPOINT, GUIDE)
SIGNED_TAG_FILES = (BAG_INFO, BAGIT, MANIFEST)
"""Files outside ``data/`` that the statement signs."""

REQUIRED_TAG_FILES = (*SIGNED_TAG_FILES, STATEMENT, PUBLIC_KEY, MANIFEST_SIGNATURE)
"""What ``tagmanifest-sha256.txt`` lists in every pack."""

BAGIT_TEXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

MAX_TEXT_FILE = 1 << 24
"""Bytes of a manifest, statement or other small file that are read."""

MAX_JSON_FILE = 1 << 28
"""Bytes of ``evidence.json`` that are read."""

MAX_LINE = 1 << 23
"""Bytes of one line of ``items.jsonl``: an item's text four times over, and more."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._@+=-]*|\.[A-Za-z0-9_][A-Za-z0-9._-]*"
_PATH = re.compile(rf"(?:{_PART})(?:/(?:{_PART}))*", re.ASCII)
_APPROVAL = re.compile(
    r"attestations/approvals/([a-z0-9]+(?:-[a-z0-9]+)*)-([0-9a-f]{12})\.(dsse\.json|pem)"
)
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def is_safe_path(path: str) -> bool:
    """Whether a relative path may stand in a pack: plain ASCII, no ``..``, nothing to escape."""
    return len(path) <= 240 and _PATH.fullmatch(path) is not None and ".." not in path


def log_name(system: str) -> str:
    """The name of a system's trail: all packs of it carry the same one, up to them."""
    return f"sae-compliance/{system}"


def origin(pack_id: str) -> str:
    """The name of the trail under which a pack's checkpoint is signed."""
    return log_name(pack_id.rpartition("-")[0])


def colliding(paths: Iterable[str]) -> list[str]:
    """Paths that differ from an earlier one in case only, and so not at all on some disks.

    A file that stands where another path needs a folder collides too.
    """
    seen: dict[str, str] = {}
    found = []
    for path in sorted(paths):
        steps = path.split("/")
        for end in range(1, len(steps) + 1):
            step = "/".join(steps[:end]) + ("/" if end < len(steps) else "")
            if seen.setdefault(step.rstrip("/").lower(), step) != step:
                found.append(path)
                break
    return found


def approval_role(path: str) -> str | None:
    """The role whose approval or key this file is; None for any other file."""
    match = _APPROVAL.fullmatch(path)
    return match[1] if match else None


def approval_paths(role: str, key: str) -> tuple[str, str]:
    """Where the statement lies that the key with this id signed in a role, and the public key."""
    name = f"{APPROVALS}{role}-{key.removeprefix('sha256:')[:12]}"
    return f"{name}.dsse.json", f"{name}.pem"


def belongs(path: str) -> bool:
    """Whether a file outside ``data/`` has a place in a pack."""
    known = (*REQUIRED_TAG_FILES, TAG_MANIFEST, MANIFEST_CMS, TIME_STAMP, ORIGINAL)
    own = path.replace(ORIGINAL_FILES, "attestations/", 1)
    carried = own == TIME_STAMP and path != own
    return path in known or carried or approval_role(own) is not None


def render_manifest(digests: Mapping[str, str]) -> bytes:
    """Lines that ``sha256sum -c`` reads: hexadecimal digest, two spaces, path; sorted by path."""
    rows = (f"{digests[path]}  {path}\n" for path in sorted(digests))
    return "".join(rows).encode("ascii")


def parse_manifest(data: bytes) -> dict[str, str]:
    """Read a manifest that is spelt as ``render_manifest`` spells it.

    Raises:
        ValueError: It is not; the message names the line.
    """
    digests: dict[str, str] = {}
    for number, line in enumerate(data.decode("ascii").split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None or not is_safe_path(match[2]):
            raise ValueError(f"line {number} is not a sha256 digest, two spaces and a plain path")
        if match[2] in digests:
            raise ValueError(f"line {number} lists {match[2]} again")
        digests[match[2]] = match[1]
    if render_manifest(digests) != data:
        raise ValueError("lines are not sorted by path, or the last one has no end")
    return digests


def render_info(fields: Mapping[str, str]) -> bytes:
    """``bag-info.txt``: one ``Label: value`` in a line, sorted by label."""
    return "".join(f"{label}: {fields[label]}\n" for label in sorted(fields)).encode("utf-8")


def parse_info(data: bytes) -> dict[str, str]:
    """Read a ``bag-info.txt`` that is spelt as ``render_info`` spells it.

    Raises:
        ValueError: It is not; the message names the line.
    """
    fields: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8").split("\n")[:-1], start=1):
        label, colon, value = line.partition(": ")
        if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z-]*", label) or label in fields:
            raise ValueError(f"line {number} is not a new label, a colon and a value")
        fields[label] = value
    if render_info(fields) != data:
        raise ValueError("labels are not sorted, or the last line has no end")
    return fields
