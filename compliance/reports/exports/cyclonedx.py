"""CycloneDX ML-BOM (1.6): the model, what reads it, what it was tested with, and each probe.

The measured numbers are those of the probes, so they stand in the probes' model cards and never in
the model's own: a reader of the model's card would take them for how well the model does its task.
See docs/adr/0020-exports.md.
"""

import fnmatch
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from compliance.catalog import Catalog
from compliance.records.evidence import Evidence
from compliance.records.finding import Result, Verdict
from compliance.records.plan import PlannedProbe
from compliance.records.subject import SaeFacts
from compliance.records.suite import SuiteFacts
from compliance.reports.cells import why
from compliance.reports.exports.plain import Source, hexadecimal, identifier, line, number
from compliance.reports.numbers import in_sentence

SPEC_VERSION = "1.6"
PREFIX = "sae-compliance"
"""Of the names of our properties."""

NO_METRIC = ("n-positive", "n-hard", "n-benign", "cut-off")
"""Main results that say how something was measured, not how well a probe did."""

Json = dict[str, Any]


def ml_bom(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime
) -> Json:
    """The evidence as a machine-learning bill of materials, to lie in ``data/exports``.

    Args:
        evidence: What was measured.
        catalog: The law and the mapping it was written against.
        pack_id: Name of the pack.
        version: Of the pack.
        built_at: When the pack is made, with a time zone.

    Returns:
        JSON values.

    Source:
        OWASP CycloneDX 1.6 (ECMA-424), ML-BOM and model card.
    """
    source = Source(evidence, catalog, pack_id, version, built_at)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{identifier(source.digest, pack_id, 'ml-bom')}",
        "version": 1,
        "metadata": _metadata(source),
        "components": [
            _model(source),
            *(_sae(source, index, sae) for index, sae in enumerate(evidence.plan.saes)),
            *(_suite(source, index, suite) for index, suite in enumerate(evidence.plan.suites)),
            *(_probe(source, probe) for probe in evidence.plan.probes),
        ],
        "dependencies": list(_dependencies(source)),
        "externalReferences": list(_references(source)),
        "properties": [
            _property("pack", pack_id),
            _property("pack-version", version),
            _property("evidence-digest", source.digest),
        ],
    }


def _metadata(source: Source) -> Json:
    name, version = source.software
    return {
        "timestamp": source.moment,
        "tools": {"components": [{"type": "application", "name": name, "version": version}]},
        "component": _system(source),
    }


def _system(source: Source) -> Json:
    """The system under audit, with every fact that the catalog asks its provider for."""
    system = source.evidence.system
    component: Json = {
        "type": "application",
        "bom-ref": "system",
        "name": line(system.title),
        "version": line(system.version),
        "description": source.words["system"],
        "properties": [
            _property(f"declared:{declared.key}", source.declared_or_not(declared.key))
            for declared, _ in source.catalog.declared_keys()
        ],
    }
    provider = source.declared("provider.identity")
    return component | ({"supplier": {"name": line(provider)}} if provider else {})


def _model(source: Source) -> Json:
    plan = source.evidence.plan
    model = plan.model
    component: Json = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": line(model.name),
        "description": source.words["model"],
        "hashes": _hashes(model.weights_digest),
        "modelCard": {
            "modelParameters": {
                "modelArchitecture": line(model.architecture),
                "datasets": [{"ref": f"suite-{index}"} for index in range(len(plan.suites))],
            },
            "considerations": _considerations(source),
        },
        "properties": [
            _property("hash-is", source.words["weights"]),
            _property("tokenizer-digest", model.tokenizer_digest),
            _property("parameters", number(model.parameters)),
            _property("layers", number(model.layers)),
            _property("d-model", number(model.d_model)),
            _property("dtype", model.dtype),
        ],
    }
    return component | ({"version": line(model.revision)} if model.revision else {})


def _considerations(source: Source) -> Json:
    purpose = source.declared("intended_purpose")
    found: Json = {"technicalLimitations": [source.words["model_limit"]]}
    if purpose:
        found["useCases"] = [source.words["system_use"].format(text=purpose)]
    return found


def _sae(source: Source, index: int, sae: SaeFacts) -> Json:
    """With the explained variance that was measured, as its metric."""
    own = (
        result
        for result in source.evidence.results
        if fnmatch.fnmatchcase(result.id, f"fidelity/*/sae{index}/*/ev")
    )
    metrics = [_metric(result) for result in own if result.value is not None]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"sae-{index}",
        "name": line(sae.name),
        "description": source.words["sae"],
        "hashes": _hashes(sae.digest),
        "modelCard": {
            "modelParameters": {
                "architectureFamily": "sparse autoencoder",
                "modelArchitecture": line(sae.architecture),
            },
            **_analysis(metrics),
        },
        "properties": [
            _property("hash-is", source.words["sae_digest"]),
            _property("hook-name", sae.hook_name),
            _property("d-in", number(sae.d_in)),
            _property("d-sae", number(sae.d_sae)),
            _property("dtype", sae.dtype),
        ],
    }


def _suite(source: Source, index: int, suite: SuiteFacts) -> Json:
    sheet = suite.datasheet
    return {
        "type": "data",
        "bom-ref": f"suite-{index}",
        "name": line(suite.name),
        "version": line(suite.version),
        "description": source.words["suite"].format(description=sheet.description),
        "hashes": _hashes(suite.digest),
        "licenses": [{"license": {"name": line(sheet.licence)}}],
        "data": [{"type": "dataset", "name": line(sheet.title)}],
        "properties": [
            _property("hash-is", source.words["suite_digest"]),
            _property("items", number(suite.items)),
            _property("groups", number(suite.groups)),
            *(_property("language", tag) for tag in sheet.languages),
            *(_property("source", text) for text in sheet.sources),
            _property("translation", sheet.translation),
            *(_property("known-gap", text) for text in sheet.known_gaps),
        ],
    }


def _probe(source: Source, probe: PlannedProbe) -> Json:
    """One concept's locked features, with verdicts and numbers of every planned cell."""
    ctx, plan = source.ctx, source.evidence.plan
    cells = [cell for cell in plan.cells if cell.concept == probe.concept]
    words = {"title": in_sentence(probe.title), "definition": probe.definition}
    features = source.features(probe.concept)
    results = {r.id: r for cell in cells for r in source.main_results(cell)}
    metrics = [_metric(r) for r in results.values() if _is_metric(r, probe.concept)]
    limits = (
        f"{source.claim(cell)} {why(ctx, ctx.finding(cell))}"
        for cell in cells
        if ctx.finding(cell).verdict is not Verdict.SUPPORTED
    )
    return {
        "type": "machine-learning-model",
        "bom-ref": f"probe-{probe.concept}",
        "name": line(probe.concept),
        "description": source.words["probe"].format(**words),
        "modelCard": {
            "modelParameters": {"architectureFamily": "features of a sparse autoencoder"},
            **_analysis(metrics),
            "considerations": {"technicalLimitations": [source.words["probe_limit"], *limits]},
        },
        "properties": [
            *(_property("feature", f"sae-{f.sae}/{f.latent}") for f in features),
            _property("region", probe.region),
            _property("pooling", probe.pooling),
            *(_property(f"verdict:{c.key}", ctx.finding(c).verdict.value) for c in cells),
        ],
    }


def _is_metric(result: Result, concept: str) -> bool:
    cell, _, name = result.id.rpartition("/")
    return result.value is not None and cell.startswith(f"{concept}/") and name not in NO_METRIC


def _metric(result: Result) -> Json:
    """A number and its interval; ``slice``, a slash and ``type`` are the id of the result."""
    place, _, name = result.id.rpartition("/")
    written = {
        key: number(value)
        for key, value in (
            ("value", result.value), ("lowerBound", result.low), ("upperBound", result.high),
        )
        if value is not None
    }  # fmt: skip
    metric: Json = {"type": line(name), "slice": line(place), "value": written.pop("value")}
    return metric | ({"confidenceInterval": written} if written else {})


def _analysis(metrics: list[Json]) -> Json:
    return {"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}


def _dependencies(source: Source) -> Iterator[Json]:
    """A probe rests on autoencoders, these on the model; data is used by all and made by none."""
    saes = [f"sae-{index}" for index, _ in enumerate(source.evidence.plan.saes)]
    yield {"ref": "system", "dependsOn": ["model"]}
    for sae in saes:
        yield {"ref": sae, "dependsOn": ["model"]}
    for probe in source.evidence.plan.probes:
        used = dict.fromkeys(f"sae-{f.sae}" for f in source.features(probe.concept))
        yield {"ref": f"probe-{probe.concept}", "dependsOn": list(used)}


def _references(source: Source) -> Iterator[Json]:
    yield {"type": "evidence", "url": "../evidence.json", "hashes": _hashes(source.digest)}
    yield {"type": "documentation", "url": "../report.html"}


def _hashes(digest: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": hexadecimal(digest)}]


def _property(name: str, value: str) -> Json:
    return {"name": f"{PREFIX}:{name}", "value": value}
