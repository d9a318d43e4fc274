"""An auditor's own limits and mapping, put in the place of the producer's.

What was locked before measuring stays as it was; what changes is how the same numbers are judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from compliance.assessment.assess import judged_with
from compliance.catalog.load import MAPPING, PROVISIONS, Catalog, load_catalog
from compliance.documents import MAX_BYTES, read_yaml
from compliance.errors import CatalogError, ConfigError, StorageError
from compliance.packs.reading import OpenPack
from compliance.records.audit import Claims
from compliance.records.evidence import Evidence
from compliance.records.finding import Finding
from compliance.records.verification import LawChange, VerdictChange

LOCKED = {
    "alpha": "cut-offs were locked with it before the test items were opened; what half and twice "
    "of it give stands in the report",
    "family_error": "tests and their power were planned with it",
    "seed": "what was drawn with it was locked",
    "bootstrap_draws": "intervals were drawn with it as planned",
}
"""What somebody may take for a limit and cannot be changed after the fact, and why."""


class OwnClaims(Claims):
    """Limits of an auditor; keys that were not given stay as the pack has them."""

    alpha: float | None = None
    family_error: float | None = None
    seed: int | None = None
    bootstrap_draws: int | None = None

    def beside(self, stated: Claims) -> Claims:
        """The pack's limits with these in their place.

        Raises:
            ConfigError: Another reference language is given.
        """
        given = {key: getattr(self, key) for key in self.model_fields_set}
        if given.get("reference_language", stated.reference_language) != stated.reference_language:
            raise _locked("reference_language", "features were searched in it before the lock")
        return stated.model_copy(update=given)


def read_claims(path: Path) -> OwnClaims:
    """Limits from a YAML file with some of the keys of ``claims``.

    Raises:
        ConfigError: The file cannot be read, or names what is no limit or was locked.
    """
    own = read_yaml(path, OwnClaims)
    for key, reason in LOCKED.items():
        if key in own.model_fields_set:
            raise _locked(key, reason)
    return own


def _locked(key: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{key} cannot be changed after the fact: {reason}",
        hint="leave it out; other limits can be tried",
    )


def verdict_changes(
    evidence: Evidence, files: Mapping[str, bytes], claims: Claims
) -> tuple[VerdictChange, ...]:
    """The cells whose verdict is another under other limits, in the plan's order.

    Raises:
        PlanError: The observations cannot be read or do not fit the plan.
    """
    after = {finding.cell.key: finding for finding in judged_with(evidence, files, claims)}
    return tuple(
        VerdictChange(
            cell=before.cell.key,
            before=before.verdict,
            after=after[before.cell.key].verdict,
            reason=after[before.cell.key].reason,
            conditions=tuple(_conditions(before, after[before.cell.key])),
        )
        for before in evidence.findings
        if before.cell.key in after and after[before.cell.key].verdict is not before.verdict
    )


def law_changes(pack: OpenPack, mapping: Path) -> tuple[LawChange, ...]:
    """The points of the law whose state is another under another mapping, in the law's order.

    Args:
        pack: Whose provisions are kept.
        mapping: The file that takes the place of ``mapping.yaml``.

    Raises:
        CatalogError: A file cannot be read, or does not fit the provisions.
    """
    provisions = pack.file(f"data/law/{PROVISIONS}")
    own = pack.file(f"data/law/{MAPPING}")
    try:
        with mapping.open("rb") as file:
            other = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CatalogError(f"{mapping}: cannot be read: {error.strerror}") from error
    before, after = (_states(pack.evidence, _catalog(provisions, data)) for data in (own, other))
    return tuple(
        LawChange(
            provision=point,
            before=before.get(point, "not-mapped"),
            after=after.get(point, "not-mapped"),
        )
        for point in dict.fromkeys((*before, *after))
        if before.get(point) != after.get(point)
    )


def _conditions(before: Finding, after: Finding) -> Iterator[str]:
    """Conditions that fell out otherwise."""
    then = {c.condition: c.status for c in before.conditions}
    for condition in after.conditions:
        was = then.get(condition.condition)
        if was is not condition.status:
            yield f"{condition.condition}: {was or 'absent'} -> {condition.status}"


def _catalog(provisions: bytes, mapping: bytes) -> Catalog:
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / PROVISIONS).write_bytes(provisions)
            (Path(folder) / MAPPING).write_bytes(mapping)
            return load_catalog(Path(folder))
    except OSError as error:
        raise StorageError(f"no room for a catalog: {error.strerror}") from error


def _states(evidence: Evidence, catalog: Catalog) -> dict[str, str]:
    """What the pack holds on each point, by its citation."""
    from compliance.reports.context import Context
    from compliance.reports.law import law_glance
    from compliance.reports.messages import load_messages

    rows = law_glance(Context(evidence, catalog, load_messages()), {})
    return {row.citation: row.status for row in rows}
