"""JSON Schemas of everything that is stored or written by hand.

They lie in ``evidence/schemas``, made by ``python -m compliance.records.schemas FOLDER``, and a
test fails when they differ from the records.
"""

import json
import sys
from pathlib import Path

from compliance.records.audit import AuditConfig, SystemFacts
from compliance.records.base import Record
from compliance.records.behaviour import Behaviours
from compliance.records.earlier import EarlierPack
from compliance.records.evidence import Evidence
from compliance.records.pack import Disclosure, PackedItem, PartItem, Salts, WithheldItem
from compliance.records.plan import Lock, Plan
from compliance.records.redaction import Redaction
from compliance.records.report import Report
from compliance.records.statement import Envelope, Statement
from compliance.records.suite import Datasheet, Item
from compliance.records.trail import ConsistencyProof, Entry, InclusionProof
from compliance.records.verification import Verification

SCHEMAS: dict[str, type[Record]] = {
    "audit": AuditConfig,
    "system": SystemFacts,
    "redaction": Redaction,
    "suite": Datasheet,
    "item": Item,
    "behaviours": Behaviours,
    "plan": Plan,
    "lock": Lock,
    "evidence": Evidence,
    "packed-item": PackedItem,
    "part-item": PartItem,
    "withheld-item": WithheldItem,
    "salts": Salts,
    "disclosure": Disclosure,
    "trail-entry": Entry,
    "inclusion-proof": InclusionProof,
    "consistency-proof": ConsistencyProof,
    "statement": Statement,
    "envelope": Envelope,
    "verification": Verification,
    "report": Report,
    "earlier-pack": EarlierPack,
}
"""Records by the name of their schema's file."""


def schema_text(name: str) -> str:
    """The JSON Schema (2020-12) of a record, as its file has it."""
    schema = SCHEMAS[name].model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def all_schemas() -> dict[str, bytes]:
    """Every schema by file name, as packs carry them."""
    return {f"{name}.schema.json": schema_text(name).encode("utf-8") for name in SCHEMAS}


if __name__ == "__main__":
    for file_name, data in all_schemas().items():
        (Path(sys.argv[1]) / file_name).write_bytes(data)
