"""What a pack holds for people and for other tools: reports, and exports to other formats.

All of it is made from the evidence; nothing is computed from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from compliance.catalog.load import Catalog
from compliance.errors import ReportError
from compliance.packs.version import Parent
from compliance.progress import Progress
from compliance.records.base import canonical_bytes, digest_of
from compliance.records.comparison import Comparison
from compliance.records.earlier import EarlierPack
from compliance.records.evidence import Evidence
from compliance.records.suite import Item
from compliance.records.trail import Entry
from compliance.reports.changes import Earlier, declared_changes
from compliance.trail import of_run
from compliance.workflow.observed import Picture, observed_of

if TYPE_CHECKING:
    from compliance.records.report import Level, Report

CHANGES = "changes.json"
"""What is said of the pack before; absent from a first pack."""

AT_ONCE = 2
"""PDFs rendered side by side, each in a process of its own."""


@dataclass(frozen=True)
class Origin:
    """What reports and exports are made from."""

    evidence: Evidence
    catalog: Catalog
    version: str
    built_at: datetime
    observations: Mapping[str, bytes]
    """Files by path below ``observations/``."""

    items: Sequence[Item]
    """Those used by the plan; of restricted ones nothing is shown."""

    picture: Picture
    """Gives the file of a picture that an item shows."""

    trail: Sequence[Entry]
    """Up to the report."""

    earlier: EarlierPack | None
    """The pack before."""

    @property
    def pack_id(self) -> str:
        return f"{self.evidence.system.name}-{self.version}"


def earlier_pack(
    parent: Parent, evidence: Evidence, comparison: Comparison | None = None
) -> EarlierPack:
    """What a report says of the pack before, without the words that were declared there.

    Args:
        parent: The pack before.
        evidence: Of the pack that follows it.
        comparison: Of the two.
    """
    before = parent.evidence.system
    system = before.model_copy(update={"declared": {}})
    return EarlierPack(
        pack_id=f"{before.name}-{parent.version}",
        version=parent.version,
        root_digest=parent.root_digest,
        evidence=parent.evidence.model_copy(update={"system": system}),
        declared=declared_changes(before, evidence.system),
        comparison=comparison,
    )


def until_report(entries: Sequence[Entry], version: str, run: str) -> list[Entry]:
    """A trail as a report tells it, which is rendered before its own entry is written.

    Args:
        entries: The trail; all of it where no report of this version was recorded since the run
            was assessed last.
        version: Of the pack.
        run: Name of the run that the pack is of. Others may have written in the meantime.
    """
    own = of_run(entries, run)
    assessed = max((e.sequence for e in own if e.kind == "assessed"), default=0)
    told = (
        e.facts.get("entries")
        for e in own
        if (e.kind, e.facts.get("version")) == ("report-built", version) and e.sequence > assessed
    )
    count = next(told, None)
    return list(entries[:count] if isinstance(count, int) else entries)


def documents(origin: Origin, *, languages: Sequence[str], progress: Progress) -> dict[str, bytes]:
    """Everything that a pack holds beside the evidence, by path below ``data/``.

    Args:
        origin: What it is made from.
        languages: Of the reports; English is always among them.
        progress: Told what is being done.

    Raises:
        ReportError: The extra ``reports`` is not installed, or a report cannot be rendered.
    """
    found = {} if origin.earlier is None else {CHANGES: canonical_bytes(origin.earlier)}
    for language in dict.fromkeys(("en", *languages)):
        record = report_record(origin, language)
        found[record_name(language)] = canonical_bytes(record)
        found |= reports(origin, language=language, record=record, progress=progress)
    progress.stage("writing exports")
    return found | exports(origin)


def reports(
    origin: Origin, *, language: str, progress: Progress, levels: Iterable[Level] | None = None,
    record: Report | None = None,
) -> dict[str, bytes]:  # fmt: skip
    """HTML with everything, and a PDF for each level of detail, by name.

    Args:
        origin: What they are made from.
        language: Of the reports' own words.
        progress: Told what is being done.
        levels: Of the PDFs. None: all.
        record: What they show, where it was made already.

    Raises:
        ReportError: As `documents`.
    """
    try:
        from compliance.reports.levels import LEVELS, at_level
        from compliance.reports.render import render_html, render_pdf
    except ModuleNotFoundError as error:
        raise ReportError(
            f"rendering a report needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[reports]",
        ) from error
    progress.stage(f"rendering the report ({language})")
    full = record or report_record(origin, language)
    wanted = tuple(LEVELS if levels is None else levels)

    def pdf(level: Level) -> bytes:
        return render_pdf(
            at_level(full, level),
            attachments=_attachments(origin, level),
            identifier=bytes.fromhex(digest_of(origin.evidence).removeprefix("sha256:"))[:16],
            when=origin.built_at,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        rendered = [pool.submit(pdf, level) for level in reversed(wanted)]  # the longest first
        html = render_html(full).encode("utf-8")
        pdfs = [future.result() for future in reversed(rendered)]
    names = report_names(language, wanted)
    return dict(zip(names, (html, *pdfs), strict=True))


def report_names(language: str, levels: Sequence[Level] | None = None) -> list[str]:
    """What the files of a language are called: HTML first, then the PDF of each level."""
    from compliance.reports.levels import FILES, LEVELS

    names = ["report.html", *(FILES[level] for level in (LEVELS if levels is None else levels))]
    if language == "en":
        return names
    return [f"{stem}-{language}.{kind}" for stem, kind in (n.rsplit(".", 1) for n in names)]


def record_name(language: str) -> str:
    """What the file of a report's record is called."""
    return "report.json" if language == "en" else f"report-{language}.json"


def report_record(origin: Origin, language: str) -> Report:
    """Everything that a report shows, before it is rendered. Needs no renderer.

    Raises:
        ComplianceError: A table cannot be read, a picture is not there, the evidence names other
            law than the catalog, or there are no words in this language.
    """
    from compliance.reports.build import build_report

    before = origin.earlier
    earlier = before and Earlier(
        version=before.version,
        pack_id=before.pack_id,
        root_digest=before.root_digest,
        evidence=before.evidence,
        declared=before.declared,
        comparison=before.comparison,
    )
    return build_report(
        origin.evidence,
        origin.catalog,
        pack_id=origin.pack_id,
        version=origin.version,
        built_at=origin.built_at,
        observed=observed_of(origin.evidence, origin.items, origin.observations, origin.picture),
        trail=origin.trail,
        earlier=earlier,
        language=language,
    )


def _attachments(origin: Origin, level: Level) -> dict[str, bytes]:
    """The evidence inside each PDF; in the full one also what its main numbers are counted from.

    Tables that are too large for CSV stay out: nobody opens a PDF of hundreds of megabytes.
    """
    found = {"evidence.json": canonical_bytes(origin.evidence)}
    if level != "full":
        return found
    return found | {
        path.replace("/", "-"): origin.observations[path]
        for path in ("confirm/items.csv", "confirm/scores.csv")
        if path in origin.observations
    }


def exports(origin: Origin) -> dict[str, bytes]:
    """The evidence in formats of other tools, by path below ``data/``."""
    from compliance.reports.exports.card import card_exports
    from compliance.reports.exports.standard import crate_metadata, standard_exports

    def made(make, **more):  # type: ignore[no-untyped-def] # each takes the same facts
        return make(
            origin.evidence, origin.catalog, pack_id=origin.pack_id, version=origin.version,
            built_at=origin.built_at, **more,
        )  # fmt: skip

    exports = made(card_exports) | made(standard_exports)
    crate = made(crate_metadata, exports=exports, has_pdf=True)
    files = {f"exports/{path}": data for path, data in exports.items()}
    return files | {"ro-crate-metadata.json": crate}
