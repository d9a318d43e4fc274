"""Makes the reports of a pack again from its own files, and says where they differ.

The record of a report holds every sentence before it is rendered, and needs no renderer; pages and
exports are compared byte for byte where the renderer is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from compliance import __version__
from compliance.assessment.comparing import differences
from compliance.errors import ComplianceError, ReportError, VerificationError
from compliance.packs.checks.contents import not_checked
from compliance.packs.folder import failed
from compliance.packs.reading import OpenPack
from compliance.records.base import canonical_bytes
from compliance.records.verification import Check, Outcome
from compliance.workflow.documents import CHANGES, Origin, exports, record_name, report_record
from compliance.workflow.opened import origin_of, read_json

if TYPE_CHECKING:
    from compliance.records.report import Report

NAMED = 20
"""Differences of one report that are named; the others are counted."""

SOFTWARE = f"sae-compliance {__version__}"
_RECORD = re.compile(r"data/report(?:-([A-Za-z]{2,3}(?:-[A-Za-z0-9]+)*))?\.json")


def report_checks(pack: OpenPack) -> Iterator[Check]:
    """Everything that a pack says in words, made again from its evidence and observations.

    Args:
        pack: Its signatures are not looked at here.
    """
    made_by = _software(pack)
    if made_by != SOFTWARE:
        yield not_checked(
            "report",
            f"the reports were made by {made_by}, this is {SOFTWARE}: their words were not "
            "compared with the evidence",
        )
        return
    try:
        origin = origin_of(pack)
    except ComplianceError as error:
        yield failed("report", None, f"cannot be made again: {error}")
        return
    except Exception as error:  # whatever a hostile pack makes the readers of tables raise
        yield failed("report", None, f"cannot be made again: {error!r}")
        return
    yield from _dates(pack, origin)
    for language in _languages(pack):
        yield from _language(pack, origin, language)
    yield from _exports(pack, origin)
    pdfs = sorted(path for path in pack.folder.digests if path.endswith(".pdf"))
    if pdfs:
        yield not_checked(
            "pdf", f"the words of {len(pdfs)} PDFs were not compared with the report's record"
        )
    if origin.earlier is not None:
        yield not_checked(
            "earlier-pack",
            f"what is said of {origin.earlier.pack_id} was taken from here; its own pack proves it",
            f"data/{CHANGES}",
        )


def _software(pack: OpenPack) -> str:
    """What made the reports, as the trail has it."""
    built = [entry.actor for entry in pack.trail if entry.kind == "report-built"]
    return built[-1] if built else pack.evidence.plan.software


def _languages(pack: OpenPack) -> list[str]:
    """English, which every pack has, and then the others."""
    found = (_RECORD.fullmatch(path) for path in sorted(pack.folder.digests))
    return ["en", *(match[1] for match in found if match and match[1])]


def _dates(pack: OpenPack, origin: Origin) -> Iterator[Check]:
    """A report is not younger than its signature, and follows the pack that the signature names."""
    said, earlier = pack.statement.predicate, origin.earlier
    stated = f"{origin.built_at:%Y-%m-%dT%H:%M:%SZ}"
    if stated > said.signed_at:
        yield failed(
            "report", "data/report.json", f"is dated {stated}, and was signed {said.signed_at}"
        )
    if (earlier.root_digest if earlier else None) != said.parent_digest:
        yield failed(
            "report", f"data/{CHANGES}", "is not about the pack that the statement names as parent"
        )


def _language(pack: OpenPack, origin: Origin, language: str) -> Iterator[Check]:
    path = f"data/{record_name(language)}"
    try:
        stated = read_json(pack, path)
        report = report_record(origin, language)
    except (ReportError, VerificationError) as error:
        yield failed("report", path, str(error).removeprefix(f"{path}: "))
        return
    except Exception as error:  # as above
        yield failed("report", path, f"cannot be made again: {error!r}")
        return
    problems = list(_sentences(path, stated, report))
    yield from problems or [
        Check(
            name="report",
            status=Outcome.PASSED,
            path=path,
            message="every sentence and number follows from evidence, observations and trail",
        )
    ]
    yield from _page(pack, path.removesuffix(".json") + ".html", report)


def _sentences(path: str, stated: object, report: Report) -> Iterator[Check]:
    rebuilt = json.loads(canonical_bytes(report))
    found = differences("report", stated, rebuilt)
    for mismatch in islice(found, NAMED):
        yield failed("report", path, str(mismatch))
    if more := sum(1 for _ in found):
        yield failed("report", path, f"{more} more differences")


def _page(pack: OpenPack, path: str, report: Report) -> Iterator[Check]:
    """A page is what the templates make of the record."""
    try:
        from compliance.reports.render import render_html
    except ModuleNotFoundError as error:
        yield not_checked("page", f"needs {error.name}: install sae-compliance[reports]", path)
        return
    try:
        yield from _bytes("page", path, pack.file(path), render_html(report).encode("utf-8"))
    except (ReportError, VerificationError) as error:
        yield failed("page", path, str(error).removeprefix(f"{path}: "))


def _exports(pack: OpenPack, origin: Origin) -> Iterator[Check]:
    try:
        made: Mapping[str, bytes] = exports(origin)
    except ModuleNotFoundError as error:
        yield not_checked("exports", f"need {error.name}: install sae-compliance[reports]")
        return
    except Exception as error:  # as above
        yield failed("exports", None, f"cannot be made again: {error!r}")
        return
    for name, data in made.items():
        path = f"data/{name}"
        try:
            yield from _bytes("exports", path, pack.file(path), data)
        except VerificationError as error:
            yield failed("exports", path, str(error).removeprefix(f"{path}: "))


def _bytes(name: str, path: str, stated: bytes, rebuilt: bytes) -> Iterator[Check]:
    if stated == rebuilt:
        yield Check(
            name=name, status=Outcome.PASSED, path=path, message="is the same when made again"
        )
        return
    lines = zip(stated.split(b"\n"), rebuilt.split(b"\n"), strict=False)
    number, (here, there) = next(
        (pair for pair in enumerate(lines, start=1) if pair[1][0] != pair[1][1]), (0, (b"", b""))
    )
    mismatch = next(differences(f"line {number}", _text(here), _text(there)), None)
    yield failed(name, path, str(mismatch or "has another length than when it is made again"))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
