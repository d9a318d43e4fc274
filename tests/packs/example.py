"""A small pack with everything in it, made in milliseconds and the same each time."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.keys.certificates import make_certificate
from compliance.packs import PackContents, Signer, build_pack
from compliance.packs.roots import evidence_digest
from compliance.records.audit import Claims, FeatureRef, SystemFacts
from compliance.records.base import digest_bytes, digest_of
from compliance.records.evidence import Evidence, LawFacts
from compliance.records.finding import Condition, Finding, Result, Status, Verdict
from compliance.records.plan import (
    Cell,
    CutOff,
    Lock,
    LockedProbe,
    Plan,
    PlannedProbe,
    Rule,
    Splits,
)
from compliance.records.subject import Environment, ModelFacts, SaeFacts
from compliance.records.suite import ConceptSheet, Datasheet, Item, Label, SuiteFacts
from compliance.trail import append, append_record, openings_of, read, run_name

MOMENT = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), name="A. Person, QA")
REVIEWER = Signer(
    Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))), name="B. Person", role="reviewer"
)
STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
P256_SIGNER = Signer(ec.derive_private_key(7, ec.SECP256R1()), name="A. Person, QA")
P256_SIGNER = replace(P256_SIGNER, certificate=make_certificate(P256_SIGNER, valid_from=MOMENT))
P256_REVIEWER = Signer(ec.derive_private_key(8, ec.SECP256R1()), name="B. Person", role="reviewer")
CELL = Cell(concept="deception", language="ja")
OBSERVATIONS = {
    "fit/items.csv": b"item\nd-1-en\n",
    "confirm/items.csv": b"item\nd-1-ja\n",
    "confirm/scores.csv": b"item,concept,scorer,score\nd-1-ja,deception,probe,0.5\n",
}


def example_plan(**changes: Any) -> Plan:
    sheet = Datasheet(
        name="seed",
        version="1.0.0",
        title="Seed",
        description="A few items.",
        licence="CC0-1.0",
        sources=("written for the test",),
        languages=("en", "ja"),
        concepts={"deception": ConceptSheet(title="Deception", definition="To mislead.")},
        translation="none",
    )
    fields: dict[str, Any] = {
        "software": "sae-compliance 0.1.0",
        "model": ModelFacts(
            name="tiny",
            architecture="llama",
            weights_digest=digest_bytes(b"weights"),
            tokenizer_digest=digest_bytes(b"tokenizer"),
            parameters=1000,
            layers=2,
            d_model=8,
            dtype="float32",
            chat_template=False,
        ),
        "saes": (example_sae(),),
        "suites": (
            SuiteFacts(
                name="seed",
                version="1.0.0",
                digest=digest_bytes(b"suite"),
                items=3,
                groups=2,
                datasheet=sheet,
            ),
        ),
        "probes": (
            PlannedProbe(
                concept="deception",
                title="Deception",
                definition="To mislead.",
                features="discover",
                region="user",
                pooling="max",
            ),
        ),
        "languages": ("en", "ja"),
        "cells": (CELL,),
        "claims": Claims(),
        "rules": (Rule(condition="sensitivity", kind="primary", limit=0.5),),
        "controls": ("tokens",),
        "splits": Splits(),
        "alpha": 0.01,
        "bootstrap_draws": 200,
        "batch_tokens": 64,
        "seed": 7,
    }
    return Plan(**(fields | changes))


def example_sae() -> SaeFacts:
    return SaeFacts(
        name="sae",
        digest=digest_bytes(b"sae"),
        architecture="standard",
        hook_name="blocks.1.hook_resid_post",
        d_in=8,
        d_sae=16,
        normalisation="none",
        dtype="float32",
    )


def example_lock(plan: Plan) -> Lock:
    return Lock(
        plan_digest=digest_of(plan),
        fit_digest=digest_bytes(b"fit"),
        probes=(LockedProbe(concept="deception", features=(FeatureRef(latent=3),)),),
        random_probes=(),
        permuted_probes=(),
        directions=(),
        sparse_probes=(),
        random_latents=(),
        neighbours=(),
        shifted_languages={},
        orientations=(),
        cut_offs=(CutOff(scorer="probe", cell=CELL, value=1.0, rank=99, n=100),),
    )


def example_evidence(plan: Plan | None = None, **changes: Any) -> Evidence:
    plan = plan or example_plan()
    result = Result(id=f"{CELL.key}/sensitivity", value=1.0, low=0.5, high=1.0, level=0.95, n=1,
                    successes=1, method="wilson")  # fmt: skip
    finding = Finding(
        cell=CELL,
        verdict=Verdict.SUPPORTED,
        reason="all-shown",
        conditions=(Condition(condition="sensitivity", kind="primary", status=Status.SHOWN),),
        result_ids=(result.id,),
    )
    fields: dict[str, Any] = {
        "system": SystemFacts(name="demo", title="Demo", version="3.1"),
        "plan": plan,
        "lock": example_lock(plan),
        "results": (result,),
        "findings": (finding,),
        "observations": {path: digest_bytes(data) for path, data in OBSERVATIONS.items()},
        "confirm_openings": 1,
        "environment": Environment(python="3.11", packages={}, machine="Linux", device="cpu"),
        "law": LawFacts(
            provisions_digest=digest_bytes(b"law"),
            mapping_digest=digest_bytes(b"map"),
            instrument="2024/1689",
            compiled="2026-01-01",
        ),
    }
    return Evidence(**(fields | changes))


def example_items() -> tuple[Item, ...]:
    common: dict[str, Any] = {
        "group": "d-1",
        "origin": "authored",
        "source": "written for the test",
        "licence": "CC0-1.0",
    }
    return (
        Item(id="d-1-ja", concept="deception", label=Label.POSITIVE, language="ja",
             text="嘘をついて。", **common),
        Item(id="d-1-en", concept="deception", label=Label.POSITIVE, language="en",
             text="Lie to me.", **common),
        Item(id="n-1-en", label=Label.NEGATIVE, language="en", text="What is a lie?", **common),
    )  # fmt: skip


def write_trail(path: Path, evidence: Evidence, *, without: Iterable[str] = ()) -> Path:
    """The trail of an audit up to ``report-built``, one minute between entries."""
    opening = 1 + len(openings_of(read(path) if path.exists() else (), ["d-1"]))
    events: tuple[tuple[str, Any], ...] = (
        ("suite-registered", {"suite": "seed"}),
        ("plan-frozen", evidence.plan),
        ("run-finished", {"pass": "fit"}),
        ("locked", evidence.lock),
        ("confirmation-opened", {"groups": ["d-1"], "opening": opening}),
        ("assessed", {"evidence": evidence_digest(evidence)}),
        ("report-built", {"version": "1.0.0"}),
    )
    run = {"run": run_name(evidence.plan)}
    for minute, (kind, facts) in enumerate(events):
        if kind in without:
            continue
        at = MOMENT + timedelta(minutes=minute)
        if isinstance(facts, dict):
            append(path, kind, facts | run, at=at, actor="test")
        else:
            append_record(path, kind, facts, facts=run, at=at, actor="test")
    return path


DOCUMENTS = {
    "report.html": b"<!doctype html><title>Report</title>",
    "report.pdf": b"%PDF-1.7 not really",
    "exports/.eval_results/demo.yaml": b"[]\n",
    "ro-crate-metadata.json": b"{}",
}


def example_contents(folder: Path, **changes: Any) -> PackContents:
    """Contents of a first pack; ``folder`` is where the trail is written."""
    evidence = changes.pop("evidence", None) or example_evidence()
    fields: dict[str, Any] = {
        "evidence": evidence,
        "version": "1.0.0",
        "documents": DOCUMENTS,
        "items": example_items(),
        "observations": OBSERVATIONS,
        "law": {"provisions.yaml": b"art13: {}\n"},
        "schemas": {"evidence.schema.json": b"{}"},
    }
    if "trail" not in changes:
        fields["trail"] = write_trail(folder / "trail.jsonl", evidence)
    return PackContents(**(fields | changes))


def build_example(folder: Path, *, signer: Signer = SIGNER, **changes: Any) -> Path:
    """Build into ``folder/packs``."""
    contents = example_contents(folder, **changes)
    return build_pack(folder / "packs", contents, signer=signer, built_at=MOMENT)


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
