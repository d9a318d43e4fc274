"""Time stamps by others: what of a pack was there at which moment, whoever says so.

A stamp over the statement shows when all of the pack was there. Stamps in the trail show when each
step was: the plan before its stamp, and whatever follows the stamp after it, since nobody can know
a stamp before it is made.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked
from compliance.packs.folder import failed, printable
from compliance.packs.times import STAMPED, TOLERANCE, Stamp, check_stamp, head_text, read_stamp
from compliance.packs.trust import Trust
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.trail import Entry, utc_text
from compliance.records.verification import Check, Outcome
from compliance.trail import of_run, run_name
from compliance.trail.merkle import leaf_hash

STEPS = {
    "plan-frozen": "the plan",
    "locked": "the lock",
    "confirmation-opened": "the opening of the confirm split",
    "report-built": "the report",
}
"""Entries of a trail that a stamp is asked for, and what a reader calls them."""

NAME = "time-stamp"
NOBODY = "no certificate of an authority was given, so anyone may have made"


def check_times(pack: Contents, trust: Trust) -> Iterator[Check]:
    """The time stamps of a pack against the authorities that the verifier knows.

    Raises:
        PackError: ``trust`` holds what is no certificate.
    """
    stamps = [entry for entry in pack.trail or () if entry.kind == STAMPED]
    if layout.TIME_STAMP in pack.folder.digests:
        yield _statement(pack, trust.authorities)
    else:
        what = "of the statement" if stamps else "in the pack"
        yield not_checked(NAME, f"the times are the signer's own: there is no time stamp {what}")
    if stamps:
        yield from _trail(pack, stamps, trust.authorities)


def _statement(pack: Contents, authorities: bytes | None) -> Check:
    path = layout.TIME_STAMP
    if layout.STATEMENT not in pack.folder.digests:
        return not_checked(NAME, f"{layout.STATEMENT}, which it is to be over, is missing", path)
    try:
        reply, data = pack.folder.read(path), pack.folder.read(layout.STATEMENT)
        found = _checked(reply, data, authorities)
    except ValueError as error:
        return failed(NAME, path, str(error))
    says = f"the statement was there on {moment_text(found)}, says {found.authority}"
    if pack.signed and pack.signed[1].predicate.signed_at > utc_text(found.moment + TOLERANCE):
        at = pack.signed[1].predicate.signed_at
        return failed(NAME, path, f"{says}; the statement claims to be signed later, at {at}")
    if authorities is None:
        return not_checked(NAME, f"{says}; {NOBODY} the stamp", path)
    return _passed(says, path)


def _trail(pack: Contents, stamps: Sequence[Entry], authorities: bytes | None) -> Iterator[Check]:
    """Each stamp of the trail; together, what they show of the order of steps."""
    entries = pack.trail or ()
    lines = [canonical_bytes(entry) for entry in entries]
    roots = _roots(lines, {_size(entry) for entry in stamps})
    latest = list(accumulate(((entry.at, entry.sequence) for entry in entries), max))
    found: list[tuple[Entry, Stamp]] = []
    for entry in stamps:
        try:
            read = _covering(entry, lines, roots, authorities)
            _refuse_order(latest[_size(entry) - 1], read, found)
        except ValueError as error:
            yield failed(NAME, layout.TRAIL, f"the time stamp of line {entry.sequence}: {error}")
        else:
            found.append((entry, read))
    if len(found) < len(stamps):
        return
    counted = "1 time stamp" if len(found) == 1 else f"{len(found)} time stamps"
    says = f"{counted} in the trail, by {_authorities(found)}: {_steps(_own(pack), found)}"
    if authorities is None:
        yield not_checked(NAME, f"{says}; {NOBODY} them", layout.TRAIL)
    else:
        yield _passed(says, layout.TRAIL)


def _covering(
    entry: Entry, lines: Sequence[bytes], roots: Mapping[int, bytes], authorities: bytes | None
) -> Stamp:
    """The stamp of an entry, which must be over the lines that it names."""
    size = _size(entry)
    if not 0 < size < entry.sequence:
        raise ValueError("is not over lines that come before it")
    root = base64.b64encode(roots[size]).decode("ascii")
    head = {"size": size, "root": root, "line": digest_bytes(lines[size - 1])}
    token = entry.facts.get("token")
    if entry.facts != {**head, "token": token} or not isinstance(token, str):
        raise ValueError(f"does not name the first {size} lines of this trail")
    reply = base64.b64decode(token, validate=True)
    return _checked(reply, head_text(head), authorities)


def _refuse_order(
    covered: tuple[str, int], read: Stamp, before: Sequence[tuple[Entry, Stamp]]
) -> None:
    """A stamp is not before what it covers, nor before an earlier stamp.

    Args:
        covered: The latest moment that a covered line claims, and the number of the line.
        read: The stamp.
        before: Stamps of earlier lines.
    """
    at, line = covered
    if at > utc_text(read.moment + TOLERANCE):
        raise ValueError(
            f"is of {moment_text(read)}, and line {line}, which it covers, claims to be of {at}"
        )
    if before and before[-1][1].moment > read.moment + TOLERANCE:
        raise ValueError(f"is of {moment_text(read)}, before the stamp of an earlier line")


def _steps(entries: Sequence[Entry], found: Sequence[tuple[Entry, Stamp]]) -> str:
    """By when each step was there: the first stamp that covers its last entry."""
    last = {entry.kind: entry.sequence for entry in entries if entry.kind in STEPS}
    said = []
    for kind, sequence in sorted(last.items(), key=lambda item: item[1]):
        by = next((stamp for entry, stamp in found if _size(entry) >= sequence), None)
        when = f"by {moment_text(by)}" if by else "after the last stamp"
        said.append(f"{STEPS[kind]} (line {sequence}) {when}")
    return ", ".join(said) or "none of the steps of an audit"


def _own(pack: Contents) -> Sequence[Entry]:
    """The entries of this pack's run; other runs may stand in the same trail."""
    entries = pack.trail or ()
    return of_run(entries, run_name(pack.evidence.plan)) if pack.evidence else entries


def _checked(reply: bytes, data: bytes, authorities: bytes | None) -> Stamp:
    if authorities is None:
        return read_stamp(reply, data)
    return check_stamp(reply, data, authorities)


def _roots(lines: Sequence[bytes], sizes: set[int]) -> dict[int, bytes]:
    """Merkle roots (RFC 6962) of the first lines, for many sizes in one pass.

    ``peaks`` are the roots of the full subtrees that the lines so far consist of, largest first.
    """
    roots: dict[int, bytes] = {}
    peaks: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        peak, height = leaf_hash(line), number
        while height % 2 == 0:
            peak, height = _node(peaks.pop(), peak), height // 2
        peaks.append(peak)
        if number in sizes:
            root = peaks[-1]
            for left in reversed(peaks[:-1]):
                root = _node(left, root)
            roots[number] = root
    return roots


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _size(entry: Entry) -> int:
    """How many lines a stamp says that it covers; 0 for what is no number."""
    size = entry.facts.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) else 0


def _authorities(found: Sequence[tuple[Entry, Stamp]]) -> str:
    return " and ".join(dict.fromkeys(stamp.authority for _, stamp in found))


def _passed(message: str, path: str) -> Check:
    return Check(name=NAME, status=Outcome.PASSED, path=path, message=printable(message))


def moment_text(stamp: Stamp) -> str:
    """The moment of a stamp for a reader."""
    return stamp.moment.strftime("%Y-%m-%d %H:%M:%S UTC")
