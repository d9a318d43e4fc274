"""What the exports in forms of others share: which results they show, and how they write.

Everything is derived from the evidence: identifiers from digests, moments from the one that the
caller gives. So equal evidence gives equal bytes.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import rfc8785

from compliance.catalog import Catalog, answer
from compliance.errors import ReportError
from compliance.records.audit import FeatureRef
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.evidence import Evidence
from compliance.records.finding import Result
from compliance.records.plan import Cell
from compliance.records.report import printable
from compliance.records.trail import utc_text
from compliance.reports.context import Context
from compliance.reports.messages import load_messages
from compliance.reports.numbers import in_sentence

NAMESPACE = "tag:sae-compliance,2026:exports/v1"
"""Of our names in documents whose shape others defined, and of identifiers."""

MAIN = (
    "n-positive", "n-hard", "n-benign", "cut-off", "auroc-hard", "sensitivity", "fpr-benign",
    "fpr-hard", "gap", "gap-to-text",
)  # fmt: skip
"""Results of a cell that every export shows, beside those its verdict rests on."""

_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_BLANK = "(blank)"


@dataclass(frozen=True)
class Source:
    """What one pack's exports are made from.

    Raises:
        ReportError: The catalog is not the one that the evidence was assessed against.
    """

    evidence: Evidence
    catalog: Catalog
    pack_id: str
    version: str
    built_at: datetime

    def __post_init__(self) -> None:
        if self.evidence.law != self.catalog.facts():
            raise ReportError(
                "the evidence was assessed against another catalog of provisions and rules",
                hint="use the catalog whose digests evidence.json names under 'law'",
            )

    @cached_property
    def ctx(self) -> Context:
        """Names of cells, verdicts and languages, as the report has them."""
        return Context(self.evidence, self.catalog, load_messages())

    @property
    def words(self) -> dict[str, str]:
        return self.ctx.words.standard_exports

    @cached_property
    def evidence_bytes(self) -> bytes:
        """``evidence.json``."""
        return canonical_bytes(self.evidence)

    @cached_property
    def digest(self) -> str:
        """Of ``evidence.json``."""
        return digest_bytes(self.evidence_bytes)

    @property
    def moment(self) -> str:
        """When the pack was made, in UTC."""
        return utc_text(self.built_at)

    @property
    def software(self) -> tuple[str, str]:
        """Name and version of what measured."""
        name, _, version = self.evidence.plan.software.rpartition(" ")
        return (line(name), line(version)) if name else (line(version), _BLANK)

    def identifier(self, *parts: str) -> str:
        """A UUID (version 5) of something in this evidence."""
        return identifier(self.digest, *parts)

    def main_results(self, cell: Cell) -> list[Result]:
        """The main results of a cell and those its verdict rests on, without the missing ones."""
        finding = self.ctx.finding(cell)
        ids = dict.fromkeys(
            (
                *(f"{cell.key}/{name}" for name in MAIN),
                *finding.result_ids,
                *(c.result_id for c in finding.conditions if c.result_id),
            )
        )
        found = (self.ctx.numbers.result(result_id) for result_id in ids)
        return [result for result in found if result is not None]

    def features(self, concept: str) -> list[FeatureRef]:
        """The locked features of a concept; none where no probe was locked."""
        probes = (probe for probe in self.evidence.lock.probes if probe.concept == concept)
        return [feature for probe in probes for feature in probe.features]

    def claim(self, cell: Cell) -> str:
        """What the data say about a cell, in the report's sentence."""
        words = self.ctx.words.verdicts[self.ctx.finding(cell).verdict]
        concept = in_sentence(self.ctx.concept_title(cell.concept))
        return words.claim.format(concept=concept, input=self.ctx.claimed_input(cell))

    def declared(self, key: str) -> str | None:
        """What the provider declared under a key; None where that is nothing."""
        given = answer(self.evidence.system, key)
        return given.text if given else None

    def withholds(self, key: str) -> bool:
        """Whether something was declared under a key that this copy of the pack does not show."""
        given = answer(self.evidence.system, key)
        return given is not None and given.withheld is not None

    def declared_or_not(self, key: str) -> str:
        """The same; why it does not apply, is not shown, or was not declared, in words."""
        given = answer(self.evidence.system, key)
        if given is None:
            return self.words["not_declared"]
        if given.withheld:
            return self.words["withheld"]
        return given.text or self.words["not_applicable"].format(reason=given.not_applicable)


def identifier(*parts: str) -> str:
    """A UUID (version 5) that depends on ``parts`` alone."""
    return str(uuid.uuid5(_UUIDS, "\n".join(printable(part) for part in parts)))


def line(text: str) -> str:
    """``text`` on one line, without anything invisible, and never empty."""
    return " ".join(printable(text).split()) or _BLANK


def number(value: float) -> str:
    """A number as ``evidence.json`` writes it."""
    return rfc8785.dumps(value).decode("ascii")


def hexadecimal(digest: str) -> str:
    """A digest without the name of its function."""
    return digest.removeprefix("sha256:")


def render(document: dict[str, Any]) -> bytes:
    """JSON with sorted keys, indented by two, in UTF-8; every text made printable."""
    text = json.dumps(_printable(document), ensure_ascii=False, indent=2, sort_keys=True)
    return f"{text}\n".encode()


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value
