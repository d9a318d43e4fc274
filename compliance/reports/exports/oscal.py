"""OSCAL assessment results (1.2.1): one observation for each planned cell, and no findings.

A finding of OSCAL calls an objective satisfied or not satisfied. A verdict on a probe is neither,
so verdicts are properties of observations, and an attestation says that nothing was determined
about any provision. See docs/adr/0020-exports.md.
"""

import fnmatch
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from compliance.catalog import Catalog
from compliance.catalog.citations import cited
from compliance.records.base import digest_of
from compliance.records.catalog import MappingRule
from compliance.records.evidence import Evidence
from compliance.records.finding import Result, Verdict
from compliance.records.plan import Cell
from compliance.reports.cells import why
from compliance.reports.exports.plain import (
    NAMESPACE,
    Source,
    hexadecimal,
    identifier,
    line,
    number,
)

OSCAL_VERSION = "1.2.1"
ROOT = "../"
"""From ``data/exports`` to ``data``."""

Json = dict[str, Any]


def assessment_results(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime
) -> Json:
    """The evidence as an OSCAL document, to lie in ``data/exports``.

    Args:
        evidence: What was measured.
        catalog: The law and the mapping it was written against.
        pack_id: Name of the pack.
        version: Of the pack.
        built_at: When the pack is made, with a time zone; every moment in the document.

    Returns:
        JSON values: ``{"assessment-results": ...}``.

    Source:
        NIST, OSCAL 1.2, Assessment Results Model.
    """
    source = Source(evidence, catalog, pack_id, version, built_at)
    return {
        "assessment-results": {
            "uuid": identifier(source.digest, pack_id),
            "metadata": _metadata(source),
            "import-ap": {"href": _reference(source, "plan"), "remarks": source.words["plan"]},
            "results": [_result(source)],
            "back-matter": {"resources": list(_resources(source))},
        }
    }


def _metadata(source: Source) -> Json:
    model = source.evidence.plan.model.name
    return {
        "title": line(source.words["title"].format(pack=source.pack_id, model=model)),
        "last-modified": source.moment,
        "version": line(source.version),
        "oscal-version": OSCAL_VERSION,
        "props": [
            _prop("pack", source.pack_id),
            _prop("evidence-digest", source.digest),
            _prop("provider-identity", source.declared_or_not("provider.identity")),
        ],
        "remarks": source.words["moments"],
    }


def _result(source: Source) -> Json:
    system = source.evidence.system
    title = source.words["result_title"].format(title=system.title, version=system.version)
    return {
        "uuid": source.identifier("result"),
        "title": line(title),
        "description": source.words["description"],
        "start": source.moment,
        "local-definitions": {
            "components": list(_components(source)),
            "assessment-assets": _assets(source),
        },
        "reviewed-controls": _reviewed(source),
        "attestations": [_no_determination(source), _declarations(source)],
        "observations": [_observation(source, cell) for cell in source.evidence.plan.cells],
        "remarks": source.words["no_determination"],
    }


def _components(source: Source) -> Iterator[Json]:
    plan, system, words = source.evidence.plan, source.evidence.system, source.words
    version = _prop("version", system.version)
    yield _component(source, "system", "system", system.title, words["system"], version)
    digest = _prop("weights-digest", plan.model.weights_digest, remarks=words["weights"])
    revision = [_prop("revision", plan.model.revision)] if plan.model.revision else []
    yield _component(
        source,
        "model",
        "machine-learning-model",
        plan.model.name,
        words["model"],
        digest,
        *revision,
    )
    for index, sae in enumerate(plan.saes):
        digest = _prop("digest", sae.digest, remarks=words["sae_digest"])
        place = _prop("hook-name", sae.hook_name)
        kind = "sparse-autoencoder"
        yield _component(source, f"sae-{index}", kind, sae.name, words["sae"], digest, place)


def _assets(source: Source) -> Json:
    name, version = source.software
    environment, words = source.evidence.environment, source.words
    software = _component(
        source, "software", "software", name, words["software"], _prop("version", version)
    )
    packages = (
        _prop("package", f"{package} {found}")
        for package, found in sorted(environment.packages.items())
    )
    return {
        "components": [software],
        "assessment-platforms": [
            {
                "uuid": source.identifier("platform"),
                "title": line(f"{environment.machine}, {environment.device}"),
                "props": [_prop("python", environment.python), *packages],
                "uses-components": [{"component-uuid": software["uuid"]}],
                "remarks": words["platform"],
            }
        ],
    }


def _component(
    source: Source, key: str, kind: str, title: str, description: str, *props: Json
) -> Json:
    return {
        "uuid": source.identifier("component", key),
        "type": kind,
        "title": line(title),
        "description": description,
        "props": list(props),
        "status": {"state": "other", "remarks": source.words["unknown_state"]},
    }


def _reviewed(source: Source) -> Json:
    """Provisions that results may speak to, each with what they cannot show."""
    rules = (rule for rule in source.catalog.mapping.rules if rule.results or rule.findings)
    return {
        "description": source.words["controls"],
        "links": [
            {"href": _reference(source, "law/provisions.yaml"), "rel": "reference"},
            {"href": _reference(source, "law/mapping.yaml"), "rel": "reference"},
        ],
        "control-selections": [
            {
                "description": f"{cited(rule.provision)}: {rule.supplies}",
                "include-controls": [{"control-id": rule.provision}],
                "remarks": " ".join(rule.cannot_show),
            }
            for rule in rules
        ],
    }


def _no_determination(source: Source) -> Json:
    prose = source.words["no_determination"]
    return {"parts": [{"name": "no-determination", "ns": NAMESPACE, "prose": prose}]}


def _declarations(source: Source) -> Json:
    """Every fact that the catalog asks the provider for, as declared or as missing."""
    facts = [
        {
            "name": "declared-fact",
            "ns": NAMESPACE,
            "title": line(declared.prompt),
            "props": [_prop("key", declared.key), _prop("provision", provision.id)],
            "prose": source.declared_or_not(declared.key),
        }
        for declared, provision in source.catalog.declared_keys()
    ]
    part = {"name": "declarations", "ns": NAMESPACE, "prose": source.words["declarations"]}
    return {"parts": [part | ({"parts": facts} if facts else {})]}


def _observation(source: Source, cell: Cell) -> Json:
    ctx = source.ctx
    finding = ctx.finding(cell)
    covered = finding.verdict is not Verdict.NOT_COVERED
    read = (f"sae-{feature.sae}" for feature in source.features(cell.concept))
    title = ctx.words.ui["cell_title"].format(
        concept=ctx.concept_title(cell.concept), language=ctx.place(cell)
    )
    return {
        "uuid": source.identifier("observation", cell.key),
        "title": line(title),
        "description": f"{source.claim(cell)} {why(ctx, finding)}",
        "props": list(_observed(source, cell)),
        "methods": ["TEST" if covered else "NOT-PERFORMED"],
        "types": ["probe-verdict" if covered else Verdict.NOT_COVERED.value],
        "origins": [{"actors": [{"type": "tool", "actor-uuid": _uuid(source, "software")}]}],
        "subjects": [
            {"subject-uuid": _uuid(source, key), "type": "component"}
            for key in dict.fromkeys(("model", *read))
        ],
        "relevant-evidence": [
            {
                "href": f"{ROOT}evidence.json",
                "description": source.words["evidence"],
                "props": [_prop("digest", source.digest)],
                "links": [{"href": _reference(source, "evidence.json"), "rel": "reference"}],
            }
        ],
        "collected": source.moment,
    }


def _observed(source: Source, cell: Cell) -> Iterator[Json]:
    """The cell, its verdict, its conditions and its main results."""
    finding = source.ctx.finding(cell)
    for name in ("concept", "language", "modality", "rendering"):
        yield _prop(name, getattr(cell, name))
    yield _prop("verdict", finding.verdict.value)
    yield _prop("reason", finding.reason)
    for name, p in (("p-holm", finding.p_holm), ("p-holm-all", finding.p_holm_all)):
        if p is not None:
            yield _prop(name, number(p))
    for qualifier in finding.qualifiers:
        yield _prop("qualifier", qualifier)
    for feature in source.features(cell.concept):
        yield _prop("feature", f"sae-{feature.sae}/{feature.latent}")
    for provision in _provisions(source, cell):
        yield _prop("provision", provision)
    for index, condition in enumerate(finding.conditions, start=1):
        facts = {
            "condition": condition.condition,
            "kind": condition.kind,
            "status": condition.status.value,
            "limit": None if condition.limit is None else number(condition.limit),
            "result-id": condition.result_id,
        }
        yield from _group(f"condition-{index}", facts)
    for index, result in enumerate(source.main_results(cell), start=1):
        yield from _group(f"result-{index}", _facts(result))


def _facts(result: Result) -> dict[str, str | None]:
    """What an export shows of a result; the rest stands in the evidence under the same id."""
    shown = {name: getattr(result, name) for name in ("value", "low", "high", "level", "n")}
    return {
        "result-id": result.id,
        **{name: None if value is None else number(value) for name, value in shown.items()},
        "no-value-because": result.reason,
    }


def _group(group: str, facts: dict[str, str | None]) -> Iterator[Json]:
    """Properties that belong together."""
    for name, value in facts.items():
        if value is not None:
            yield _prop(name, value) | {"group": group}


def _provisions(source: Source, cell: Cell) -> list[str]:
    """Provisions that the mapping lets this cell's results or verdict speak to."""
    ctx = source.ctx
    measured = [
        f"{cell.key}/{name}"
        for name in ctx.names(cell)
        if ctx.numbers.has_value(f"{cell.key}/{name}") and not name.startswith("n-")
    ]
    verdict = ctx.finding(cell).verdict
    return [
        rule.provision
        for rule in source.catalog.mapping.rules
        if verdict in rule.findings or _matches(rule, measured)
    ]


def _matches(rule: MappingRule, result_ids: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(i, pattern) for pattern in rule.results for i in result_ids)


def _resources(source: Source) -> Iterator[Json]:
    evidence, words = source.evidence, source.words
    yield _file(source, "evidence.json", words["evidence_file"], source.digest)
    plan = _file(source, "evidence.json", words["plan"], source.digest)
    digest = _prop("plan-digest", digest_of(evidence.plan))
    yield plan | {"uuid": _resource(source, "plan"), "title": "plan", "props": [digest]}
    mapping = words["mapping"].format(authorship=source.catalog.mapping.authorship)
    law = evidence.law
    wording = _file(source, "law/provisions.yaml", words["provisions"], law.provisions_digest)
    facts = [_prop("instrument", law.instrument), _prop("compiled", law.compiled)]
    yield wording | {"props": facts, "remarks": source.catalog.law.meta.caution}
    yield _file(source, "law/mapping.yaml", mapping, law.mapping_digest)
    for path, digest in sorted(evidence.observations.items()):
        yield _file(source, f"observations/{path}", words["observation_file"], digest)
    yield _file(source, "report.html", words["report"], None)
    for suite in evidence.plan.suites:
        sheet = suite.datasheet
        yield {
            "uuid": _resource(source, "suite", suite.name),
            "title": line(sheet.title),
            "description": words["suite"].format(description=sheet.description),
            "props": [
                _prop("name", suite.name),
                _prop("version", suite.version),
                _prop("digest", suite.digest, remarks=words["suite_digest"]),
                _prop("licence", sheet.licence),
                _prop("items", number(suite.items)),
            ],
        }


def _file(source: Source, path: str, description: str, digest: str | None) -> Json:
    link: Json = {"href": f"{ROOT}{path}"}
    if digest is not None:
        link["hashes"] = [{"algorithm": "SHA-256", "value": hexadecimal(digest)}]
    return {
        "uuid": _resource(source, path),
        "title": line(path),
        "description": description,
        "rlinks": [link],
    }


def _uuid(source: Source, component: str) -> str:
    return source.identifier("component", component)


def _resource(source: Source, *key: str) -> str:
    return source.identifier("resource", *key)


def _reference(source: Source, key: str) -> str:
    """A link to something in the back matter."""
    return f"#{_resource(source, key)}"


def _prop(name: str, value: str, *, remarks: str | None = None) -> Json:
    prop = {"name": name, "ns": NAMESPACE, "value": line(value)}
    return prop | ({"remarks": remarks} if remarks else {})
