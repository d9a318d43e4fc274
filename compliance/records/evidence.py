"""``evidence.json``: everything a pack states, in one canonical document."""

from typing import Annotated, Literal

from pydantic import Field

from compliance.records.audit import SystemFacts
from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.finding import Finding, Influence, Reduction, Result
from compliance.records.plan import Lock, Plan
from compliance.records.subject import Environment
from compliance.records.suite import Slug
from compliance.records.validation import Validation


class LawFacts(Record):
    """Which catalog and mapping were used."""

    provisions_digest: str
    mapping_digest: str
    instrument: str
    compiled: str


class Evidence(Record):
    """The assessment of one audit. Every number follows from plan and observations."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    system: SystemFacts
    plan: Plan
    lock: Lock
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    """One for each planned cell, in the plan's order."""

    influences: tuple[Influence, ...] | None = None
    """One for each cell that was planned to be changed. Absent: no change was planned."""

    reductions: tuple[Reduction, ...] | None = None
    """One for each mitigation study and language. Absent: no study was planned."""

    observations: dict[str, str]
    """Digest of each observation file, by its path below ``observations/``."""

    confirm_openings: int
    """How often these confirm groups were opened, this time included."""

    environment: Environment
    law: LawFacts

    required_signatures: dict[Slug, Annotated[int, Field(ge=1)]] = {}
    """How many persons are to sign in each role after the report, as ``audit.yaml`` says."""

    validation: Validation | None = None
    """How often the method errs where the answer is known. Absent: no such record was attached."""
