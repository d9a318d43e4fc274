"""An audit in bfloat16: what it moves is measured against float32, printed and recomputed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from compliance import workflow
from compliance.assessment.assess import recompute
from compliance.assessment.cells import read_cells
from compliance.assessment.numbers import by_id
from compliance.assessment.planning import compared_items, planned_items, repeated_items
from compliance.assessment.precision import precision as results_of
from compliance.assessment.tables import ConfirmObservations, read_table, table_bytes
from compliance.documents import read_yaml
from compliance.errors import PlanError, ProbeError
from compliance.packs.reading import read_pack
from compliance.probes import engine, precision
from compliance.records.audit import AuditConfig
from compliance.records.evidence import Evidence
from compliance.records.observation import PRECISION_COLUMNS
from compliance.records.verification import Outcome
from compliance.reports import render
from compliance.runs import open_run
from compliance.suites.load import load_suite
from compliance.workflow import audits
from compliance.workflow.reproducing import Again
from tests.small_pdf import small_pdf
from tests.test_workflow import redo_digests
from tests.tiny_audit import write_audit

PATH = "confirm/precision.csv"
SUBJECT = {"model": "./model", "name": "tiny-llama", "saes": [{"path": "./sae"}]}
PRECISE = {"subject": SUBJECT | {"dtype": "bfloat16"}}
NUMBERS = ("largest", "median", "flips", "firings", "activation")


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The folder of a tiny audit in bfloat16 that went the whole way; nobody may change it."""
    path = write_audit(tmp_path_factory.mktemp("bfloat16"), **PRECISE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        workflow.audit(path)
    return path.parent


@pytest.fixture(scope="module")
def pack(audit):
    return next((audit / "packs").iterdir())


@pytest.fixture(scope="module")
def files(pack):
    with read_pack(pack) as opened:
        return opened.observations()


@pytest.fixture(scope="module")
def evidence(pack):
    return Evidence.model_validate_json((pack / "data" / "evidence.json").read_bytes())


@pytest.fixture(scope="module")
def table(files):
    return read_table(files, PATH)


def run_of(audit):
    return open_run(audit, read_yaml(audit / "audit.yaml", AuditConfig))


def confirm_items(audit):
    suite = load_suite("./suite", audit)
    return planned_items(run_of(audit).plan(), [suite])["confirm"]


def results(evidence, key):
    found = {r.id: r for r in evidence.results}
    return {name: found[f"{key}/precision-{name}"] for name in NUMBERS}


def test_the_items_are_those_run_alone_and_as_many_in_the_weakest_language(audit, table):
    run, items = run_of(audit), confirm_items(audit)
    chosen = compared_items(run.plan(), run.lock(), items)

    assert tuple(table.columns) == PRECISION_COLUMNS
    assert set(table["item"]) == {item.id for item in chosen}
    reference = [item.id for item in chosen if item.language == "en"]
    assert reference == [item.id for item in repeated_items(run.plan(), items)]
    assert len(chosen) == 2 * len(reference) == 64


def test_the_table_holds_what_plain_transformers_and_numpy_give(audit, table):
    """The residual after block 1, encoded by hand, in both number formats."""
    sae = {name: t.numpy() for name, t in load_file(audit / "sae/sae_weights.safetensors").items()}
    run = run_of(audit)
    reader = workflow.stages.load_reader(run.config(), audit)
    features = {p.concept: [f.latent for f in p.features] for p in run.lock().probes}
    regions = {p.concept: p.region for p in run.plan().probes}
    models = [
        AutoModelForCausalLM.from_pretrained(
            audit / "model", dtype=dtype, attn_implementation="eager"
        ).eval()
        for dtype in (torch.bfloat16, torch.float32)
    ]
    items = {item.id: item for item in confirm_items(audit)}
    rows = table.set_index("item")
    for name in table["item"][::7]:
        [prepared] = engine.prepare_items([items[name]], reader.subject)
        with torch.no_grad():
            x, y = (
                model(torch.tensor([list(prepared.ids)]), output_hidden_states=True)
                .hidden_states[2][0].float().numpy()
                for model in models
            )  # fmt: skip
        read = [kept(values, prepared.regions["read"], run.plan()) for values in (x, y)]
        both = sorted(set(read[0]) & set(read[1]))
        here, there = (encoded(values, sae) for values in (x, y))
        either = (here[both] > 0) | (there[both] > 0)
        other = (here[both] > 0) ^ (there[both] > 0)
        concept = items[name].concept
        region = [t for t in read[1] if t in prepared.regions[regions[concept]]]
        score = there[region][:, features[concept]].max()
        size = np.sqrt((y[both].astype(np.float64) ** 2).mean())

        row = rows.loc[name]
        assert row["concept"] == concept
        assert row["reference"] == pytest.approx(score, rel=1e-4)
        assert (row["firings"], row["flipped"]) == (either.sum(), other.sum())
        assert row["activation"] == pytest.approx(np.abs(x[both] - y[both]).max() / size, rel=1e-4)
    assert (table["batched"] != table["reference"]).any()
    assert table["flipped"].sum() > 0


def kept(values, places, plan):
    """Read tokens without attention sinks."""
    norms = np.linalg.norm(values[list(places)], axis=1)
    fine = norms <= plan.sink_norm_ratio * np.median(norms)
    return [t for t, one in zip(places, fine, strict=True) if one]


def encoded(values, sae):
    pre = (values - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    return np.maximum(pre, 0) * (pre > sae["threshold"])


def test_results_are_those_of_the_table(evidence, files, table):
    scores = read_table(files, "confirm/scores.csv")
    probe = scores[scores["scorer"] == "probe"].set_index(["item", "concept"])["score"]
    items = read_table(files, "confirm/items.csv").set_index("item")
    apart, flips = [], []
    for cell in evidence.plan.cells:
        here = items.loc[table["item"], "language"].to_numpy() == cell.language
        mine = table[(table["concept"] == cell.concept) & here]
        benign = items.index[(items["label"] == "negative") & (items["language"] == cell.language)]
        values = probe[probe.index.isin([(item, cell.concept) for item in benign])]
        cut = next(c.value for c in evidence.lock.cut_offs if (c.scorer, c.cell) == ("probe", cell))
        apart.append(np.abs(mine["batched"] - mine["reference"]) / np.std(values))
        flips.append((mine["batched"] > cut) != (mine["reference"] > cut))

        found = results(evidence, cell.key)

        assert list(mine["batched"]) == [probe[item, cell.concept] for item in mine["item"]], (
            "as in the confirm pass"
        )
        assert found["largest"].value == pytest.approx(apart[-1].max())
        assert found["median"].value == pytest.approx(np.median(apart[-1]))
        assert (found["flips"].successes, found["flips"].n) == (flips[-1].sum(), len(mine))
        assert found["flips"].high is not None
        assert found["firings"].value == mine["flipped"].sum() / mine["firings"].sum()
        assert found["activation"].value == mine["activation"].max()
    every = results(evidence, "audit")
    assert every["largest"].value == pytest.approx(np.concatenate(apart).max())
    assert every["median"].value == pytest.approx(np.median(np.concatenate(apart)))
    assert (every["flips"].successes, every["flips"].n) == (np.concatenate(flips).sum(), 64)
    assert every["firings"].successes == table["flipped"].sum()
    assert every["activation"].value == table["activation"].max() > 0


def test_the_first_page_names_the_mode_and_what_it_moves(pack, evidence):
    from compliance.reports.numbers import write

    report = json.loads((pack / "data" / "report.json").read_bytes())
    page = (pack / "data" / "report.html").read_text(encoding="utf-8")

    told = "".join(f.get("text") or f["number"]["text"] for f in report["mode"]["fragments"])
    assert "bfloat16 on cpu, not the reference mode float32 on cpu" in told
    assert "64 test items" in told
    for name in ("largest", "median", "activation"):
        assert write(results(evidence, "audit")[name].value, "score") in told
    assert page.index("bfloat16 on cpu, not the reference mode") < page.index('id="examined"')
    assert page.count("<caption>Difference from the reference mode") == 2, "two concepts"
    assert "mode-difference" in {method["key"] for method in report["methods"]}
    assert not report["remainder"]


def test_the_pack_verifies(audit, pack):
    found = workflow.verify(pack, key=audit / "keys" / "issuer.pub.pem")

    assert found.ok, found.summary()


def test_a_changed_table_is_named_with_all_digests_redone(pack, tmp_path, evidence, table):
    copy = Path(shutil.copytree(pack, tmp_path / "copy"))
    path = copy / "data" / "observations" / PATH
    path.write_bytes(table_bytes(table.assign(reference=table["reference"] + 1), PATH))
    redo_digests(copy, evidence)

    found = workflow.verify(copy)

    named = " ".join(c.message for c in found.failed if c.name == "numbers")
    assert f"observations.{PATH}" in named
    assert "audit/precision-largest" in named


@pytest.mark.parametrize(
    ("column", "moved"),
    [
        ("reference", {"largest"}),
        ("firings", {"firings"}),
        ("flipped", {"firings"}),
        ("activation", {"activation"}),
    ],
)
def test_a_changed_digit_moves_the_results_that_rest_on_it(evidence, files, table, column, moved):
    row = table[column].idxmax() if column != "reference" else worst(table)
    changed = table.copy()
    changed.loc[row, column] += 1
    forged = files | {PATH: table_bytes(changed, PATH)}

    named = {m.where.split(".")[1] for m in recompute(evidence, forged) if "results." in m.where}

    assert {f"audit/precision-{name}" for name in moved} <= named
    assert all("/precision-" in name for name in named)


def worst(table):
    return (table["batched"] - table["reference"]).abs().idxmax()


def test_a_score_that_is_not_the_confirm_pass_one_is_refused(evidence, files, table):
    forged = files | {PATH: table_bytes(table.assign(batched=table["batched"] + 1), PATH)}

    with pytest.raises(PlanError, match="another score than in confirm/scores.csv"):
        list(recompute(evidence, forged))


def test_an_item_of_no_cell_is_refused(evidence, files, table):
    strange = pd.concat([table, table.iloc[:1].assign(item="nobody")])
    forged = files | {PATH: table_bytes(strange, PATH)}

    with pytest.raises(PlanError, match="nobody is in no cell of danger"):
        list(recompute(evidence, forged))


def test_more_flips_than_firings_are_refused(evidence, files, table):
    forged = files | {PATH: table_bytes(table.assign(flipped=table["firings"] + 1), PATH)}

    with pytest.raises(PlanError, match="more flips than firings"):
        list(recompute(evidence, forged))


def test_what_cannot_be_computed_has_a_reason(evidence, files):
    cells = read_cells(evidence.plan, evidence.lock, ConfirmObservations.from_files(files))
    flat = {
        key: replace(data, benign=data.benign.assign(probe=1.0), cut_offs={})
        for key, data in cells.items()
    }
    table = read_table(files, PATH).assign(firings=0, flipped=0)

    found = by_id(results_of(evidence.plan, flat, files | {PATH: table_bytes(table, PATH)}))

    reasons = {name: found[f"audit/precision-{name}"].reason for name in NUMBERS}
    assert reasons == {
        "largest": "the benign scores do not vary",
        "median": "the benign scores do not vary",
        "flips": "the cut-off cannot be set",
        "firings": "no latent fired",
        "activation": None,
    }


def test_without_items_to_run_again_that_is_the_reason(evidence, files, table):
    cells = read_cells(evidence.plan, evidence.lock, ConfirmObservations.from_files(files))

    found = list(results_of(evidence.plan, cells, files | {PATH: table_bytes(table[:0], PATH)}))

    assert {r.id for r in found} == {f"audit/precision-{name}" for name in NUMBERS}
    assert all(r.value is None and r.reason for r in found)


def test_a_table_taken_out_is_noticed(evidence, files):
    less = {path: data for path, data in files.items() if path != PATH}

    assert any("precision" in m.where for m in recompute(evidence, less))


def test_the_level_reproduce_runs_in_the_mode_and_says_what_it_leaves_out(audit, pack):
    again = Again(sample=4, model=str(audit / "model"), saes=(audit / "sae",))

    found = workflow.verify(pack, level="reproduce", again=again)

    assert found.ok, found.summary()
    scores = [c.message for c in found.passed if c.name == "reproduced-scores"]
    assert "(bfloat16), at most 0;" in scores[0]
    left = " ".join(c.message for c in found.checks if c.status is Outcome.NOT_CHECKED)
    assert "the comparison with float32 on cpu" in left


def test_items_that_were_compared_are_not_run_again(audit, tmp_path, monkeypatch):
    """As after a kill before the tables were written."""
    copy = Path(shutil.copytree(audit, tmp_path / "copy"))
    run = run_of(copy)
    path = run.path / "observations" / PATH
    before = path.read_bytes()
    path.unlink()
    last = sorted(run.shards("precision").iterdir())[-1]
    last.write_bytes(b"{}")
    ran = []

    def compare(prepared, *rest):
        ran.append(prepared.item.id)
        return whole(prepared, *rest)

    whole = precision.compare
    monkeypatch.setattr(precision, "compare", compare)

    audits.observe(copy / "audit.yaml")

    assert path.read_bytes() == before
    assert len(ran) == 1


def test_a_model_that_does_not_fit_twice_is_refused_before_the_run(tmp_path, monkeypatch):
    path = write_audit(tmp_path, **PRECISE)
    monkeypatch.setattr(precision, "_physical_memory", lambda: 100_000)
    workflow.plan(path)

    with pytest.raises(ProbeError, match="in float32 on the CPU") as caught:
        workflow.observe(path)

    assert "measured in every run" in caught.value.hint
    assert "run-started" not in (tmp_path / "trail.jsonl").read_text(encoding="utf-8")


def test_a_machine_that_does_not_say_its_memory_is_not_refused(audit, monkeypatch):
    reader = workflow.stages.load_reader(run_of(audit).config(), audit)
    monkeypatch.setattr(precision, "_physical_memory", lambda: None)

    precision.refuse_little_memory(reader)


def test_other_weights_than_the_run_had_are_no_reference(audit, tmp_path):
    from tests.probes.tiny import save_tiny_subject

    config = run_of(audit).config()
    reader = workflow.stages.load_reader(config, audit)
    save_tiny_subject(tmp_path / "model", seed=1)

    with pytest.raises(ProbeError, match="weights are not those"):
        precision.reference_reader(reader, config.subject, tmp_path, pictures=False)


def test_the_reference_shares_saes_on_the_cpu(audit):
    config = run_of(audit).config()
    reader = workflow.stages.load_reader(config, audit)

    reference = precision.reference_reader(reader, config.subject, audit, pictures=False)

    assert reference.subject.model.dtype == torch.float32
    ours, theirs = (one.saes[0].tensors["W_enc"] for one in (reader, reference))
    assert ours.data_ptr() == theirs.data_ptr()


def test_an_audit_in_the_reference_mode_has_nothing_of_this(finished_audit, finished_pack):
    observations = finished_pack / "data" / "observations" / "confirm"
    evidence = (finished_pack / "data" / "evidence.json").read_text(encoding="utf-8")
    report = json.loads((finished_pack / "data" / "report.json").read_bytes())

    assert not (observations / "precision.csv").exists()
    assert not list(finished_audit.glob("runs/*/passes/precision"))
    assert "precision-" not in evidence
    assert "mode" not in report
    page = (finished_pack / "data" / "report.html").read_text(encoding="utf-8")
    assert "reference mode" not in page
