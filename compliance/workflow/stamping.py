"""Time stamps by an authority, and signatures of PDFs: what others can check without us.

An authority is asked only where ``audit.yaml`` names one. Where it does not answer, the stage
ends with what it has done so far, and goes on from there when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from compliance import trail
from compliance.errors import PackError, ReportError, VerificationError
from compliance.keys import Signer
from compliance.packs import layout, times
from compliance.packs.build import write_tag_manifest
from compliance.packs.integrity import check_integrity
from compliance.packs.times import STAMPED, is_stamped, stamp_trail
from compliance.progress import SILENT, Progress
from compliance.records.trail import Entry
from compliance.records.verification import Outcome
from compliance.runs import RunFolder
from compliance.storage import write_bytes


def stamp_step(
    run: RunFolder, kind: str, *, clock: Callable[[], datetime], actor: str, progress: Progress
) -> None:
    """Have the trail stamped up to a run's last entry of a kind, unless a stamp covers it.

    Args:
        run: Whose ``audit.yaml`` names the authority; without one nothing is done.
        kind: Such as ``locked``.
        clock: For the moment of the entry; the stamp has its own.
        actor: As in `trail.append`.
        progress: Told what is being done.

    Raises:
        TimeStampError: The authority gave no time stamp; the trail is as it was.
    """
    asked = run.config().time_stamps
    if asked is None:
        return
    entries = trail.read(run.trail)
    own = [entry.sequence for entry in trail.of_run(entries, run.path.name) if entry.kind == kind]
    if not own or is_stamped(entries, own[-1]):
        return
    progress.stage(f"asking {asked.authority} for a time stamp ({kind})")
    facts = stamp_trail(entries, asked.authority)  # not while the trail is held: it takes a while

    def unless_covered(there: Sequence[Entry]) -> dict[str, Any] | None:
        return None if is_stamped(there, own[-1]) else facts

    trail.append_from(run.trail, STAMPED, unless_covered, at=clock(), actor=actor)


def sign_reports(
    made: Mapping[str, bytes], signer: Signer, *, when: datetime, authority: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, bytes]:  # fmt: skip
    """The documents of a pack with their PDFs signed (PAdES B-B; with an authority, B-T).

    Args:
        made: Documents by path.
        signer: Who signs.
        when: Which moment the signatures state.
        authority: Address of a time-stamp authority.
        progress: Told what is being done.

    Raises:
        ReportError: The extra ``reports`` is not installed, or a PDF cannot be signed.
        TimeStampError: The authority gave no time stamp.
    """
    pdfs = [path for path in made if path.endswith(".pdf")]
    if not pdfs:
        return dict(made)
    try:
        from compliance.packs.pades import sign_pdf
    except ModuleNotFoundError as error:
        raise ReportError(
            f"signing a PDF needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[reports]",
        ) from error
    progress.stage("signing the PDFs")
    signed = {path: sign_pdf(made[path], signer, when=when, authority=authority) for path in pdfs}
    return {**made, **signed}


def stamp(pack: Path, *, authority: str, progress: Progress = SILENT) -> Path:
    """Put a time stamp over the statement of a finished pack, or a new one in its place.

    Args:
        pack: The pack's folder.
        authority: Address of a time-stamp authority.
        progress: Told what is being done.

    Returns:
        The file with the stamp.

    Raises:
        PackError: It is a ZIP.
        VerificationError: The pack is damaged.
        TimeStampError: The authority gave no time stamp; the pack is as it was.
        StorageError: The files cannot be written.
    """
    if not pack.is_dir():
        raise PackError(f"{pack}: not a folder", hint="unpack the ZIP, stamp, and pack it again")
    unfinished = (layout.TAG_MANIFEST, layout.TIME_STAMP)  # what a stamping that was killed leaves
    for check in check_integrity(pack):
        if check.status is Outcome.FAILED and check.path not in unfinished:
            raise VerificationError(check.line, hint="see 'compliance verify'")
    progress.stage(f"asking {authority} for a time stamp")
    reply = times.stamp((pack / layout.STATEMENT).read_bytes(), authority)
    write_bytes(pack / layout.TIME_STAMP, reply)
    write_tag_manifest(pack)
    return pack / layout.TIME_STAMP
