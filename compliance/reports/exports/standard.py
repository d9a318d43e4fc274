"""The exports of a pack in forms that others defined, as bytes.

::

    exports = standard_exports(evidence, catalog, pack_id=..., version=..., built_at=...)
    crate = crate_metadata(evidence, catalog, ..., exports=exports, has_pdf=True)

They need nothing that the base install does not have, and equal evidence gives equal bytes.
"""

from collections.abc import Mapping
from datetime import datetime

from compliance.catalog import Catalog
from compliance.records.evidence import Evidence
from compliance.reports.exports.cyclonedx import ml_bom
from compliance.reports.exports.oscal import assessment_results
from compliance.reports.exports.plain import render
from compliance.reports.exports.rocrate import crate

OSCAL = "oscal-assessment-results.json"
CYCLONEDX = "cyclonedx-ml-bom.json"


def standard_exports(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime
) -> dict[str, bytes]:
    """OSCAL assessment results and CycloneDX ML-BOM.

    Args:
        evidence: What was measured.
        catalog: The law and the mapping it was written against.
        pack_id: Name of the pack, ``<system>-<version>``.
        version: Of the pack.
        built_at: When the pack is made, with a time zone.

    Returns:
        Files by path below ``data/exports/``.
    """
    made = {
        OSCAL: assessment_results(
            evidence, catalog, pack_id=pack_id, version=version, built_at=built_at
        ),
        CYCLONEDX: ml_bom(evidence, catalog, pack_id=pack_id, version=version, built_at=built_at),
    }
    return {path: render(document) for path, document in made.items()}


def crate_metadata(
    evidence: Evidence,
    catalog: Catalog,
    *,
    pack_id: str,
    version: str,
    built_at: datetime,
    exports: Mapping[str, bytes],
    has_pdf: bool,
) -> bytes:
    """``data/ro-crate-metadata.json``: it stands in the root of what it describes.

    Args:
        evidence: What was measured.
        catalog: The law and the mapping it was written against.
        pack_id: Name of the pack, ``<system>-<version>``.
        version: Of the pack.
        built_at: When the pack is made, with a time zone.
        exports: Every other export, by path below ``data/exports/``; listed with its digest.
        has_pdf: Whether the pack holds ``report.pdf``.
    """
    return render(
        crate(
            evidence,
            catalog,
            pack_id=pack_id,
            version=version,
            built_at=built_at,
            exports=exports,
            has_pdf=has_pdf,
        )
    )
