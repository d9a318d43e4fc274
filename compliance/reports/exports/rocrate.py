"""RO-Crate metadata (1.2) of a pack: what lies in ``data/``, what it is about, how it came to be.

An attached crate has its metadata in its root, so the file is ``data/ro-crate-metadata.json`` and
every path in it is one below ``data/``. See docs/adr/0020-exports.md.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from compliance.catalog import Catalog
from compliance.records.base import digest_bytes
from compliance.records.evidence import Evidence
from compliance.records.suite import SuiteFacts
from compliance.reports.exports.plain import Source, hexadecimal, line

VERSION = "https://w3id.org/ro/crate/1.2"
METADATA = "ro-crate-metadata.json"

FORMATS = {
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "yaml": "application/yaml",
}
"""By the ending of a file's name."""

NAMED = {
    "report.html": "report",
    "items.jsonl": "items",
    "trail.jsonl": "trail",
    "checkpoint": "checkpoint",
    "HOW-TO-VERIFY.md": "guide",
}
"""Files of every pack that are finished after this one, so that they are listed without digest."""

Json = dict[str, Any]


def crate(
    evidence: Evidence,
    catalog: Catalog,
    *,
    pack_id: str,
    version: str,
    built_at: datetime,
    exports: Mapping[str, bytes],
    has_pdf: bool,
) -> Json:
    """The crate that a pack's folder ``data`` is.

    Args:
        evidence: What was measured.
        catalog: The law and the mapping it was written against.
        pack_id: Name of the pack.
        version: Of the pack.
        built_at: When the pack is made, with a time zone.
        exports: Other exports, by path below ``data/exports/``.
        has_pdf: Whether ``report.pdf`` is among the files.

    Returns:
        JSON-LD values.

    Source:
        RO-Crate Metadata Specification 1.2.
    """
    source = Source(evidence, catalog, pack_id, version, built_at)
    files = [*_files(source, has_pdf), *_folders(source, exports)]
    about = [*_subjects(source)]
    graph = [
        _descriptor(),
        _root(source, files, about),
        *files,
        *about,
        _software(source),
        _action(source, files, about),
        _conditions(source),
    ]
    return {"@context": f"{VERSION}/context", "@graph": graph}


def _descriptor() -> Json:
    return {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": VERSION},
    }


def _root(source: Source, files: list[Json], about: list[Json]) -> Json:
    """The pack. It has no author: the evidence does not know who will sign."""
    model, title = source.evidence.plan.model.name, source.evidence.system.title
    inside = {part["@id"] for file in files for part in file.get("hasPart", ())}
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": line(source.words["crate_title"].format(pack=source.pack_id)),
        "description": source.words["crate"].format(model=model, title=title),
        "identifier": line(source.pack_id),
        "version": line(source.version),
        "datePublished": source.moment,
        "license": {"@id": "#conditions"},
        "hasPart": [_reference(file) for file in files if file["@id"] not in inside],
        "about": [_reference(entity) for entity in about if entity["@type"] != "Organization"],
        "mentions": [{"@id": "#audit"}],
    }


def _files(source: Source, has_pdf: bool) -> Iterator[Json]:
    words, data = source.words, source.evidence_bytes
    yield _file("evidence.json", words["evidence_file"], source.digest, len(data))
    for path, key in NAMED.items():
        yield _file(path, words[key])
    if has_pdf:
        yield _file("report.pdf", words["report"])


def _folders(source: Source, exports: Mapping[str, bytes]) -> Iterator[Json]:
    """Folders and then their files."""
    words, law = source.words, source.evidence.law
    mapping = words["mapping"].format(authorship=source.catalog.mapping.authorship)
    observations = sorted(source.evidence.observations.items())
    yield from _folder(
        "law/",
        words["law"],
        [
            _file("law/mapping.yaml", mapping, law.mapping_digest),
            _file("law/provisions.yaml", words["provisions"], law.provisions_digest),
        ],
    )
    yield from _folder(
        "observations/",
        words["observations"],
        [
            _file(f"observations/{path}", words["observation_file"], digest)
            for path, digest in observations
        ],
    )
    yield from _folder(
        "exports/",
        words["exports"],
        [
            _file(f"exports/{path}", words["export"], digest_bytes(data), len(data))
            for path, data in sorted(exports.items())
        ],
    )


def _folder(path: str, name: str, files: list[Json]) -> Iterator[Json]:
    if files:
        yield {
            "@id": path,
            "@type": "Dataset",
            "name": name,
            "hasPart": [_reference(file) for file in files],
        }
    yield from files


def _file(path: str, description: str, digest: str | None = None, size: int | None = None) -> Json:
    file: Json = {"@id": path, "@type": "File", "name": path, "description": description}
    if known := FORMATS.get(path.rpartition(".")[2]):
        file["encodingFormat"] = known
    if digest is not None:
        file["sha256"] = hexadecimal(digest)
    if size is not None:
        file["contentSize"] = str(size)
    return file


def _subjects(source: Source) -> Iterator[Json]:
    """The system with its declared provider, the model, the autoencoders and the suites."""
    plan, system, words = source.evidence.plan, source.evidence.system, source.words
    entity: Json = {
        "@id": "#system",
        "@type": "SoftwareApplication",
        "name": line(system.title),
        "version": line(system.version),
        "description": source.declared("intended_purpose")
        or words["withheld" if source.withholds("intended_purpose") else "not_declared"],
    }
    provider = source.declared("provider.identity")
    if provider:
        entity["provider"] = {"@id": "#provider"}
        yield {"@id": "#provider", "@type": "Organization", "name": line(provider)}
    yield entity
    yield _artefact("#model", plan.model.name, words["model"], plan.model.weights_digest) | (
        {"version": line(plan.model.revision)} if plan.model.revision else {}
    )
    for index, sae in enumerate(plan.saes):
        yield _artefact(f"#sae-{index}", sae.name, words["sae"], sae.digest)
    for index, suite in enumerate(plan.suites):
        yield _suite(source, index, suite)


def _artefact(identity: str, name: str, description: str, digest: str) -> Json:
    """A model that the pack is about and does not hold."""
    return {
        "@id": identity,
        "@type": "CreativeWork",
        "name": line(name),
        "description": description,
        "identifier": digest,
    }


def _suite(source: Source, index: int, suite: SuiteFacts) -> Json:
    sheet = suite.datasheet
    return {
        "@id": f"#suite-{index}",
        "@type": "Dataset",
        "name": line(sheet.title),
        "alternateName": line(suite.name),
        "version": line(suite.version),
        "description": source.words["suite"].format(description=sheet.description),
        "license": line(sheet.licence),
        "inLanguage": list(sheet.languages),
        "identifier": suite.digest,
    }


def _software(source: Source) -> Json:
    name, version = source.software
    return {
        "@id": "#software",
        "@type": "SoftwareApplication",
        "name": name,
        "version": version,
        "description": source.words["software"],
    }


def _action(source: Source, files: list[Json], about: list[Json]) -> Json:
    used = ("#model", "#sae-", "#suite-")
    return {
        "@id": "#audit",
        "@type": "CreateAction",
        "name": source.words["action"],
        "description": source.words["action_description"],
        "endTime": source.moment,
        "instrument": {"@id": "#software"},
        "object": [_reference(entity) for entity in about if entity["@id"].startswith(used)],
        "result": [_reference(file) for file in files if file["@type"] == "File"],
    }


def _conditions(source: Source) -> Json:
    sheets = (suite.datasheet for suite in source.evidence.plan.suites)
    licences = "; ".join(f"{sheet.name}: {sheet.licence}" for sheet in sheets)
    return {
        "@id": "#conditions",
        "@type": "CreativeWork",
        "name": source.words["conditions_title"],
        "description": source.words["conditions"].format(licences=licences),
    }


def _reference(entity: Json) -> Json:
    return {"@id": entity["@id"]}
