import hashlib
import json
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from rocrate.rocrate import ROCrate
from trestle.oscal.assessment_results import Model

from compliance.catalog import load_catalog
from compliance.errors import ReportError
from compliance.records.audit import Declared
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.finding import Verdict
from compliance.records.pack import parse_canonical
from compliance.reports.exports.plain import line, render
from compliance.reports.exports.standard import (
    CYCLONEDX,
    OSCAL,
    crate_metadata,
    standard_exports,
)
from tests.reports.conftest import WHEN
from tests.reports.example import example_evidence, example_system
from tests.reports.picture_example import picture_evidence

BANNED = re.compile(
    r"\bcomplies\b|\bcompliant\b|\bmeets\s+(the\s+)?art|\bcertif|\bguarantee", re.IGNORECASE
)
HOSTILE = 'a\x00b\u202e\r\nc\t<script>{title}\\"\x1b[31m' + "x" * 100_000


def silent_evidence():
    system = example_system()
    return example_evidence(system=system.model_copy(update={"declared": {}}))


def hostile_evidence():
    """Everything that others write is hostile."""
    base = example_evidence()
    plan, suite = base.plan, base.plan.suites[0]
    sheet = suite.datasheet.model_copy(
        update={"title": HOSTILE, "description": HOSTILE, "licence": HOSTILE, "translation": "\n",
                "sources": (HOSTILE,), "known_gaps": (HOSTILE,)}
    )  # fmt: skip
    probes = tuple(p.model_copy(update={"title": HOSTILE, "definition": ""}) for p in plan.probes)
    update = {
        "model": plan.model.model_copy(update={"name": HOSTILE, "architecture": ""}),
        "saes": (plan.saes[0].model_copy(update={"name": "\u2028", "hook_name": HOSTILE}),),
        "suites": (suite.model_copy(update={"datasheet": sheet}),),
        "probes": probes,
        "software": HOSTILE,
    }
    facts = {"provider.identity": HOSTILE, "intended_purpose": HOSTILE, "robustness": HOSTILE}
    declared = {key: Declared(text=text) for key, text in facts.items()}
    return base.model_copy(
        update={
            "plan": plan.model_copy(update=update),
            "system": base.system.model_copy(update={"title": HOSTILE, "declared": declared}),
            "environment": base.environment.model_copy(update={"machine": HOSTILE}),
        }
    )


EVIDENCE = {
    "texts": example_evidence,
    "pictures": picture_evidence,
    "nothing declared": silent_evidence,
    "hostile": hostile_evidence,
}


class Exports:
    """All exports of some evidence, as bytes and as values."""

    def __init__(self, evidence, *, when=WHEN, catalog=None):
        self.evidence = evidence
        about = {"pack_id": "test-system-1.0.0", "version": "1.0.0", "built_at": when}
        catalog = catalog or load_catalog()
        self.files = standard_exports(evidence, catalog, **about)
        self.crate_bytes = crate_metadata(
            evidence, catalog, **about, exports=self.files, has_pdf=True
        )
        self.oscal = json.loads(self.files[OSCAL])["assessment-results"]
        self.result = self.oscal["results"][0]
        self.bom = json.loads(self.files[CYCLONEDX])
        self.graph = {e["@id"]: e for e in json.loads(self.crate_bytes)["@graph"]}

    @property
    def everything(self):
        return b"".join([*self.files.values(), self.crate_bytes]).decode()

    def observation(self, key):
        return next(o for o in self.result["observations"] if cell_of(o) == key)

    def component(self, ref):
        return next(c for c in self.bom["components"] if c["bom-ref"] == ref)


@pytest.fixture(scope="module")
def made():
    return {name: Exports(evidence()) for name, evidence in EVIDENCE.items()}


@pytest.fixture(scope="module", params=list(EVIDENCE))
def exports(request, made):
    return made[request.param]


@pytest.fixture(scope="module")
def texts(made):
    return made["texts"]


def props(thing, name):
    return [p["value"] for p in thing["props"] if p["name"] == name]


def properties(thing, name):
    return [p["value"] for p in thing["properties"] if p["name"] == f"sae-compliance:{name}"]


def groups(observation):
    """Properties that belong together, as one dictionary each."""
    found = {}
    for prop in observation["props"]:
        if "group" in prop:
            found.setdefault(prop["group"], {})[prop["name"]] = prop["value"]
    return found


def cell_of(observation):
    names = ("concept", "language", "modality", "rendering")
    return "/".join(props(observation, name)[0] for name in names)


def metrics(component):
    analysis = component.get("modelCard", {}).get("quantitativeAnalysis", {})
    return analysis.get("performanceMetrics", [])


def walk(value):
    """Every dictionary below a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from walk(item)


# Validity, by the libraries of those who defined the forms.


def test_the_oscal_export_fits_the_models_of_oscal(exports):
    results = Model.model_validate_json(exports.files[OSCAL]).assessment_results
    assert len(results.results[0].observations) == len(exports.evidence.plan.cells)


def test_the_cyclonedx_export_fits_the_strict_schema(exports):
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(exports.files[CYCLONEDX].decode()) is None


def test_the_crate_is_read_by_the_library_and_names_files_of_the_pack(exports, tmp_path):
    (tmp_path / "ro-crate-metadata.json").write_bytes(exports.crate_bytes)
    crate = ROCrate(tmp_path)
    assert crate.version == "1.2"
    files = {entity.id for entity in crate.data_entities if entity.type == "File"}
    observed = {f"observations/{path}" for path in exports.evidence.observations}
    assert files == observed | {
        "evidence.json", "items.jsonl", "trail.jsonl", "checkpoint", "HOW-TO-VERIFY.md",
        "report.html", "report.pdf", "law/mapping.yaml", "law/provisions.yaml",
        f"exports/{OSCAL}", f"exports/{CYCLONEDX}",
    }  # fmt: skip
    assert crate.root_dataset["license"]["name"] == "Conditions of use"


def test_a_crate_without_a_pdf_names_none():
    evidence = example_evidence()
    data = crate_metadata(
        evidence, load_catalog(), pack_id="p-1.0.0", version="1.0.0", built_at=WHEN, exports={},
        has_pdf=False,
    )  # fmt: skip
    assert b"report.pdf" not in data
    assert b"exports/" not in data


# Numbers and verdicts are those of the evidence.


def test_every_number_of_the_oscal_export_is_that_of_its_result(exports):
    results = {result.id: result for result in exports.evidence.results}
    seen = 0
    for observation in exports.result["observations"]:
        for group, facts in groups(observation).items():
            if group.startswith("result-"):
                result = results[line_id(facts["result-id"])]
                for name in ("value", "low", "high", "level", "n"):
                    expected = getattr(result, name)
                    assert (float(facts[name]) if name in facts else None) == expected
                    seen += expected is not None
                assert facts.get("no-value-because") == result.reason
    assert seen > 200


def line_id(result_id):
    """Ids are plain, so nothing was made harmless in them."""
    assert line(result_id) == result_id
    return result_id


def test_every_metric_of_the_bom_is_that_of_its_result(exports):
    results = {result.id: result for result in exports.evidence.results}
    found = [m for component in exports.bom["components"] for m in metrics(component)]
    for metric in found:
        result = results[f"{metric['slice']}/{metric['type']}"]
        interval = metric.get("confidenceInterval", {})
        assert float(metric["value"]) == result.value
        assert [float(interval[k]) if k in interval else None for k in ("lowerBound", "upperBound")
                ] == [result.low, result.high]  # fmt: skip
    ids = [f"{metric['slice']}/{metric['type']}" for metric in found]
    assert len(ids) == len(set(ids)) > 50
    assert not any(name.endswith(("/n-positive", "/cut-off")) for name in ids)


def test_every_planned_cell_is_an_observation_with_its_verdict_and_reason(exports):
    evidence = exports.evidence
    shown = {cell_of(o): (*props(o, "verdict"), *props(o, "reason"))
             for o in exports.result["observations"]}  # fmt: skip
    assert shown == {f.cell.key: (f.verdict.value, f.reason) for f in evidence.findings}
    cells = {cell.key for cell in evidence.plan.cells}
    assert shown.keys() == cells
    for probe in evidence.plan.probes:
        component = exports.component(f"probe-{probe.concept}")
        for key in (key for key in cells if key.startswith(f"{probe.concept}/")):
            assert properties(component, f"verdict:{key}") == [shown[key][0]]


def test_the_examples_have_every_verdict(texts):
    found = {props(o, "verdict")[0] for o in texts.result["observations"]}
    assert found == {verdict.value for verdict in Verdict}


def test_an_observation_holds_the_numbers_its_verdict_rests_on(texts):
    for finding in texts.evidence.findings:
        shown = groups(texts.observation(finding.cell.key)).values()
        ids = {facts["result-id"] for facts in shown if "value" in facts}
        known = {r.id for r in texts.evidence.results if r.value is not None}
        assert set(finding.result_ids) & known <= ids
        assert [f["condition"] for f in shown if "condition" in f] == [
            condition.condition for condition in finding.conditions
        ]


def test_what_was_not_covered_is_no_test(texts):
    for observation in texts.result["observations"]:
        covered = props(observation, "verdict") != ["not-covered"]
        assert observation["methods"] == ["TEST" if covered else "NOT-PERFORMED"]
        assert observation["types"] == ["probe-verdict" if covered else "not-covered"]


def test_an_observation_names_the_provisions_that_the_mapping_lets_it_speak_to(texts):
    measured = props(texts.observation("deception/en/text/plain"), "provision")
    assert "art13.3.b.ii" in measured
    assert "art13.3.b.iii" not in measured
    assert props(texts.observation("deception/ru/text/plain"), "provision") == ["art13.3.b.iii"]


# What is deliberately not said.


def test_nothing_is_called_satisfied_or_conformant(exports):
    assert "findings" not in exports.result
    assert "risks" not in exports.result
    for value in walk(exports.oscal):
        assert "state" not in value or value["state"] == "other"
    assert "declarations" not in exports.bom
    part = exports.result["attestations"][0]["parts"][0]
    assert part["prose"].startswith("No determination on any provision of law is made here.")


def test_the_models_own_card_has_no_metric(exports):
    card = exports.component("model")["modelCard"]
    assert "quantitativeAnalysis" not in card
    assert "about the probes" in card["considerations"]["technicalLimitations"][0]


def test_every_verdict_but_supported_is_a_limitation_of_its_probe(texts):
    for probe in texts.evidence.plan.probes:
        _, *limits = texts.component(f"probe-{probe.concept}")["modelCard"]["considerations"][
            "technicalLimitations"
        ]
        open_cells = [f for f in texts.evidence.findings
                      if f.cell.concept == probe.concept and f.verdict != "supported"]  # fmt: skip
        assert len(limits) == len(open_cells)
    assert any(limit.startswith("Nothing was measured for sycophancy") for limit in limits)


def test_reviewed_controls_are_provisions_that_results_speak_to_with_what_they_cannot_show(texts):
    rules = {rule.provision: rule for rule in load_catalog().mapping.rules}
    for selection in texts.result["reviewed-controls"]["control-selections"]:
        rule = rules[selection["include-controls"][0]["control-id"]]
        assert rule.results or rule.findings
        assert selection["remarks"] == " ".join(rule.cannot_show)


def test_no_export_holds_a_banned_word(exports):
    assert BANNED.findall(exports.everything) == []


# Declarations.


def test_what_is_declared_is_used_word_for_word(texts):
    identity = "Example Provider GmbH, Musterweg 1, 10115 Berlin"
    assert props(texts.oscal["metadata"], "provider-identity") == [identity]
    assert texts.bom["metadata"]["component"]["supplier"] == {"name": identity}
    assert texts.graph["#provider"]["name"] == identity
    assert texts.graph["#system"]["provider"] == {"@id": "#provider"}
    use = texts.component("model")["modelCard"]["considerations"]["useCases"]
    assert use[0].endswith("Drafting replies to customer questions.\n\nNot for medical or legal "
                           "advice.")  # fmt: skip
    declared = texts.bom["metadata"]["component"]
    assert properties(declared, "declared:authorised_representative") == [
        "not applicable, as declared: the provider is established in the Union"
    ]
    assert properties(declared, "declared:robustness") == ["not declared"]


def test_without_declarations_nobody_is_named(made):
    silent = made["nothing declared"]
    facts = silent.result["attestations"][1]["parts"][0]["parts"]
    keys = [declared.key for declared, _ in load_catalog().declared_keys()]
    assert [props(fact, "key")[0] for fact in facts] == keys
    assert {fact["prose"] for fact in facts} == {"not declared"}
    assert props(silent.oscal["metadata"], "provider-identity") == ["not declared"]
    assert "supplier" not in silent.bom["metadata"]["component"]
    assert "useCases" not in silent.component("model")["modelCard"]["considerations"]
    assert "#provider" not in silent.graph
    assert "author" not in silent.graph["./"]


# Everything leads to something.


def test_every_uuid_of_the_oscal_export_is_unique_and_every_reference_leads_to_one(exports):
    known = [value["uuid"] for value in walk(exports.oscal) if "uuid" in value]
    assert len(known) == len(set(known))
    for value in walk(exports.oscal):
        for name in ("subject-uuid", "actor-uuid", "component-uuid"):
            assert name not in value or value[name] in known
        if value.get("href", "").startswith("#"):
            assert value["href"][1:] in known


def test_every_reference_of_the_bom_leads_to_a_component(exports):
    refs = [value["bom-ref"] for value in walk(exports.bom) if "bom-ref" in value]
    assert len(refs) == len(set(refs))
    for dependency in exports.bom["dependencies"]:
        assert {dependency["ref"], *dependency["dependsOn"]} <= set(refs)
    datasets = exports.component("model")["modelCard"]["modelParameters"]["datasets"]
    assert [d["ref"] for d in datasets] == ["suite-0"]


def test_every_reference_of_the_crate_leads_to_an_entity(exports):
    for entity in exports.graph.values():
        for value in walk(entity):
            if value.keys() == {"@id"} and not value["@id"].startswith("https:"):
                assert value["@id"] in exports.graph


def test_digests_are_those_of_the_files(exports):
    data = canonical_bytes(exports.evidence)
    hexadecimal = hashlib.sha256(data).hexdigest()
    assert exports.graph["evidence.json"]["sha256"] == hexadecimal
    assert exports.graph["evidence.json"]["contentSize"] == str(len(data))
    for path, content in exports.files.items():
        assert exports.graph[f"exports/{path}"]["sha256"] == hashlib.sha256(content).hexdigest()
    resources = {r["title"]: r for r in exports.oscal["back-matter"]["resources"]}
    for path, digest in exports.evidence.observations.items():
        assert f"sha256:{exports.graph[f'observations/{path}']['sha256']}" == digest
        linked = resources[f"observations/{path}"]["rlinks"][0]
        assert linked == {
            "href": f"../observations/{path}",
            "hashes": [{"algorithm": "SHA-256", "value": digest.removeprefix("sha256:")}],
        }
    assert exports.bom["externalReferences"][0]["hashes"][0]["content"] == hexadecimal
    plan = digest_bytes(canonical_bytes(exports.evidence.plan))
    assert props(resources["plan"], "plan-digest") == [plan]
    assert exports.oscal["import-ap"]["href"] == f"#{resources['plan']['uuid']}"


def test_the_subject_is_named_by_its_digests(texts):
    plan = texts.evidence.plan
    for ref, digest in (("model", plan.model.weights_digest), ("sae-0", plan.saes[0].digest),
                        ("suite-0", plan.suites[0].digest)):  # fmt: skip
        assert texts.component(ref)["hashes"] == [
            {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}
        ]
        assert texts.graph[f"#{ref}"]["identifier"] == digest


# Bytes.


def test_equal_evidence_gives_equal_bytes(texts):
    again = Exports(example_evidence())
    assert again.files == texts.files
    assert again.crate_bytes == texts.crate_bytes


def test_the_given_moment_is_the_only_one(texts):
    later = Exports(example_evidence(), when=WHEN + timedelta(days=1))
    for path, data in texts.files.items():
        assert later.files[path] == data.replace(b"2027-01-15T09:30", b"2027-01-16T09:30")
        assert later.files[path] != data


def test_other_evidence_has_other_identifiers(texts):
    other = Exports(example_evidence(confirm_openings=3))
    assert other.oscal["uuid"] != texts.oscal["uuid"]
    assert other.bom["serialNumber"] != texts.bom["serialNumber"]


def test_nothing_invisible_and_nothing_endless_comes_through(made):
    for data in (*made["hostile"].files.values(), made["hostile"].crate_bytes):
        text = data.decode()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e\u2028]|\\u00|\\t|\\r", text)
        assert "⟨U+202E⟩" in text
        assert "x" * 7_000 not in text


def test_a_lone_surrogate_in_an_auditors_catalog_breaks_nothing():
    catalog = load_catalog()
    rules = tuple(r.model_copy(update={"supplies": "odd \ud800"}) for r in catalog.mapping.rules)
    mapping = catalog.mapping.model_copy(update={"rules": rules, "authorship": "\udfff"})
    odd = type(catalog)(catalog.law, mapping, catalog.provisions_digest, catalog.mapping_digest)
    exports = Exports(example_evidence(), catalog=odd)
    Model.model_validate_json(exports.files[OSCAL])
    assert "odd \N{REPLACEMENT CHARACTER}" in exports.everything


def test_every_file_is_json_that_ends_with_a_line(exports):
    for data in (*exports.files.values(), exports.crate_bytes):
        assert data == render(json.loads(data))


def test_rendered_json_has_one_spelling():
    assert render({"b": ["\ud800"], "a": 1}) == '{\n  "a": 1,\n  "b": [\n    "�"\n  ]\n}\n'.encode()
    assert line(" \n") == "(blank)"
    assert line("a\u2028\tb\n") == "a⟨U+2028⟩ b"


def test_numbers_are_spelt_as_in_the_evidence(texts):
    evidence = parse_canonical(canonical_bytes(texts.evidence))
    values = {r["id"]: r.get("value") for r in evidence["results"]}
    key = "deception/ja/text/plain"
    shown = groups(texts.observation(key)).values()
    text = next(f["value"] for f in shown if f.get("result-id") == f"{key}/sensitivity"
                and "value" in f)  # fmt: skip
    assert f'"value":{text}'.encode() in canonical_bytes({"value": values[f"{key}/sensitivity"]})


def test_another_catalog_than_the_evidences_is_refused():
    law = example_evidence().law.model_copy(update={"mapping_digest": digest_bytes(b"other")})
    with pytest.raises(ReportError, match="another catalog"):
        Exports(example_evidence(law=law))


def test_the_base_install_is_enough():
    code = """
import sys
BLOCKED = "jinja2 weasyprint PIL torch transformers trestle rocrate cyclonedx".split()
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import compliance.reports.exports.standard
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
