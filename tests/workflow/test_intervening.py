"""An audit with interventions: doses before the lock, effects after it, resumed after a kill."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from compliance import workflow
from compliance.assessment.arms import effect_items, matched_items, peak_items
from compliance.assessment.assess import recompute
from compliance.assessment.planning import planned_items
from compliance.assessment.tables import read_table, table_bytes
from compliance.documents import read_yaml
from compliance.errors import PlanError, ProbeError
from compliance.probes import doses, effects
from compliance.probes.hooks import capture
from compliance.probes.inputs import Preparer
from compliance.probes.interventions import Change, changed
from compliance.records.audit import AuditConfig
from compliance.records.observation import (
    CAPABILITY_COLUMNS,
    DOSE_COLUMNS,
    EFFECT_COLUMNS,
    SIDE_COLUMNS,
    SIDE_SCORE_COLUMNS,
)
from compliance.runs import open_run
from compliance.suites.load import load_suite
from compliance.workflow.stages import load_reader
from tests.tiny_audit import write_audit, write_changed_audit

HOOK = "blocks.1.hook_resid_post"
DOSES = ("dose/-1", "dose/0", "dose/1", "dose/2", "dose/4")
COLUMNS = {
    "fit/doses.csv": DOSE_COLUMNS,
    "confirm/effects.csv": EFFECT_COLUMNS,
    "confirm/side_effects.csv": SIDE_COLUMNS,
    "confirm/side_scores.csv": SIDE_SCORE_COLUMNS,
    "confirm/capability.csv": CAPABILITY_COLUMNS,
}


def observed(path):
    """Everything up to the last observation."""
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)
    workflow.observe(path)


def run_of(folder):
    return open_run(folder, read_yaml(folder / "audit.yaml", AuditConfig))


def items_of(folder, split):
    suite = load_suite("./suite", folder)
    return planned_items(run_of(folder).plan(), [suite])[split]


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The folder of a tiny audit that was observed; nobody may change it."""
    path = write_changed_audit(tmp_path_factory.mktemp("changed"))
    observed(path)
    return path.parent


@pytest.fixture(scope="module")
def reader(audit):
    return load_reader(run_of(audit).config(), audit)


@pytest.fixture(scope="module")
def tables(audit):
    files = run_of(audit).observations()
    return {path: read_table(files, path) for path in COLUMNS}


def test_an_audit_without_interventions_has_none_of_it(tmp_path):
    path = write_audit(tmp_path)
    workflow.plan(path)
    plan = json.loads((run_of(tmp_path).path / "plan.json").read_bytes())

    assert "interventions" not in plan
    assert "capability" not in plan
    workflow.observe(path)
    assert "fit/doses.csv" not in run_of(tmp_path).observations()


def test_the_plan_says_all_that_was_left_open(audit):
    planned = run_of(audit).plan()

    assert planned.interventions.concepts == ("danger", "flattery")
    assert planned.interventions.languages == ("en", "el")
    assert planned.interventions.doses == (-1, 0, 1, 2, 4)
    assert planned.capability.startswith("sha256:")


def test_every_table_has_the_items_and_arms_of_the_plan(audit, tables):
    run = run_of(audit)
    confirm = items_of(audit, "confirm")
    for path, columns in COLUMNS.items():
        assert tuple(tables[path].columns) == columns
    for concept in ("danger", "flattery"):
        table = tables["confirm/effects.csv"]
        table = table[table["concept"] == concept]
        expected = effect_items(run.plan(), concept, confirm)
        assert len(expected) == 6
        assert len({item.group for item in expected}) == 3
        arms = {"none", *DOSES, "flip", "noise", "means"}
        for item in expected:
            found = table[table["item"] == item.id]
            assert {a for a in found["arm"] if not a.startswith("random/")} == arms
            assert sum(a.startswith("random/") for a in found["arm"]) == 39
            assert set(found["divergence"][found["arm"] == "none"]) == {0}
        assert len(table) == 6 * (39 + len(arms))
        side = tables["confirm/side_effects.csv"]
        assert set(side["arm"]) == arms
    assert Counter(side["concept"]) == {"danger": 4 * len(arms), "flattery": 4 * len(arms)}
    scores = tables["confirm/side_scores.csv"]
    assert set(zip(scores["concept"], scores["probe"], strict=True)) == {
        ("danger", "flattery"),
        ("flattery", "danger"),
    }
    assert (
        set(scores["arm"])
        == {"none", "dose/0", "dose/1"}
        == set(tables["confirm/capability.csv"]["arm"])
    )
    plain = read_table(run.observations(), "confirm/scores.csv")
    plain = plain[plain["scorer"] == "probe"].set_index(["item", "concept"])["score"]
    unchanged = scores[scores["arm"] == "none"]
    for row in unchanged.itertuples():
        assert row.score == pytest.approx(plain[row.item, row.probe], rel=1e-5)


def test_peaks_are_those_of_the_calibrate_items(audit, reader, tables):
    run, table = run_of(audit), tables["fit/doses.csv"]
    calibrate = items_of(audit, "calibrate")
    preparer = Preparer(reader.subject)
    for concept in ("danger", "flattery"):
        values = []
        for item in peak_items(run.plan(), concept, calibrate):
            prepared = preparer.prepare(item)
            ids = torch.tensor([prepared.ids])
            x = capture(reader.subject.model, ids, None, [HOOK])[HOOK][0]
            norms = x[list(prepared.regions["read"])].norm(dim=-1)
            assert (norms <= 10 * norms.median()).all()
            values.append(reader.saes[0].encode(x[list(prepared.regions["read"])]).numpy())
        found = np.concatenate(values).astype(np.float64)
        mine = table[(table["concept"] == concept) & (table["arm"] != "means")]
        assert len(mine) == 40
        [feature] = next(p for p in run.lock().probes if p.concept == concept).features
        assert mine["latent"][mine["arm"] == "dose"].tolist() == [feature.latent]
        for row in mine.itertuples():
            above = found[:, row.latent][found[:, row.latent] > 0]
            peak = np.percentile(above, 99, method="higher")
            assert row.peak == pytest.approx(peak, rel=1e-5)
            assert row.tokens == len(above)


def test_controls_have_the_divergence_of_the_dose_one(audit, reader, tables):
    """By plain runs of whole inputs on the calibrate items that the plan names."""
    run, table = run_of(audit), tables["fit/doses.csv"]
    preparer = Preparer(reader.subject)
    concept = "danger"
    chosen = matched_items(run.plan(), concept, items_of(audit, "calibrate"))
    assert [item.language for item in chosen] == ["en"]
    mine = table[table["concept"] == concept]
    [dose] = mine[mine["arm"] == "dose"].itertuples()
    others = list(mine[mine["arm"].str.startswith("random/")].itertuples())
    arms = [(dose, dose.peak), *((row, row.scale * row.peak) for row in others[:5])]
    for row, value in arms:
        change = Change("clamp", 0, (row.latent,), (value,))
        both, first = effects.prepared_replies(preparer, chosen[0])
        prepared = both[0]
        targets = range(first, prepared.regions["last"][0] + 1)
        ids, model = torch.tensor([prepared.ids]), reader.subject.model
        with torch.no_grad():
            p = model(ids).logits[0].double().log_softmax(-1)[[t - 1 for t in targets]]
            with changed(reader, [change], [prepared.regions["read"]]):
                q = model(ids).logits[0].double().log_softmax(-1)[[t - 1 for t in targets]]
        apart = float((p.exp() * (p - q)).sum()) / len(targets)
        assert row.divergence == pytest.approx(apart, rel=1e-3)
    assert dose.target == dose.divergence
    matched = mine[mine["arm"] != "dose"]
    near = (matched["divergence"] / dose.target - 1).abs() <= 0.05
    assert near.mean() > 0.9


def test_the_lock_covers_the_doses(audit):
    run = run_of(audit)
    files = dict(run.observations("fit"))
    table = read_table(files, "fit/doses.csv")
    table.loc[0, "peak"] += 1
    run_files = {**files, "fit/doses.csv": table_bytes(table, "fit/doses.csv")}

    from compliance.assessment.tables import file_digests, fit_digest

    assert run.lock().fit_digest == fit_digest(file_digests(files))
    assert run.lock().fit_digest != fit_digest(file_digests(run_files))


def test_all_that_follows_from_the_tables_is_computed_again(audit):
    workflow.assess(audit / "audit.yaml")
    run = run_of(audit)

    assert list(recompute(run.evidence(), run.observations())) == []
    assert set(COLUMNS) <= set(run.evidence().observations)


class Killed(BaseException):
    """As a signal: nothing catches it."""


def test_a_run_that_was_killed_goes_on_where_it_was(audit, tmp_path, monkeypatch):
    path = write_changed_audit(tmp_path)
    workflow.plan(path)
    asked = Counter()
    plain = {name: getattr(effects, name) for name in ("effects", "divergences", "side_effects")}
    peaks = doses.activations

    def counted(name, limit):
        def run(*args):
            asked[name] += 1
            if asked[name] == limit:
                raise Killed
            return plain[name](*args)

        return run

    def counted_peaks(*args):
        asked["activations"] += 1
        return peaks(*args)

    monkeypatch.setattr(doses, "activations", counted_peaks)
    monkeypatch.setattr(effects, "divergences", counted("divergences", 4))
    with pytest.raises(Killed):
        workflow.observe(path)
    assert not (run_of(tmp_path).path / "observations/fit/doses.csv").exists()
    workflow.observe(path)
    workflow.lock(path)
    monkeypatch.setattr(effects, "effects", counted("effects", 5))
    monkeypatch.setattr(effects, "side_effects", counted("side_effects", 3))
    for _ in range(2):
        with pytest.raises(Killed):
            workflow.observe(path)
    workflow.observe(path)

    mine, theirs = run_of(tmp_path).observations(), run_of(audit).observations()
    for name in COLUMNS:
        assert mine[name] == theirs[name], name
    assert asked["activations"] == 2 * 8  # no item twice, but for the ones that killed
    assert asked["effects"] == 1 + 2 * 6 + 2 * 4
    assert asked["side_effects"] == 1 + 2 * 4


def test_other_doses_than_the_probes_are_refused(audit, tmp_path):
    path = write_changed_audit(tmp_path)
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)
    place = run_of(tmp_path).path / "observations/fit/doses.csv"
    table = pd.read_csv(place)
    table.loc[table["arm"] == "dose", "latent"] = 63
    place.write_bytes(table_bytes(table, "fit/doses.csv"))

    with pytest.raises(PlanError, match="danger has other features than its probe"):
        workflow.observe(path)
    place.unlink()
    with pytest.raises(PlanError, match="fit/doses.csv: no such file"):
        workflow.observe(path)


def test_replies_that_cannot_be_told_apart_are_found_before_anything_is_run(tmp_path):
    path = write_changed_audit(tmp_path)
    lines = (tmp_path / "suite/items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    for item in items:
        if "choices" in item:
            item["choices"] = {"concept": "yes", "other": "yes, so"}
    from tests.tiny_audit import write_items

    write_items(tmp_path / "suite", items)
    workflow.plan(path)

    with pytest.raises(ProbeError, match="one of its two replies begins as the other"):
        workflow.observe(path)
    assert not run_of(tmp_path).shards("search").exists()


def test_a_place_that_can_only_be_read_is_refused_at_planning(tmp_path):
    from tests.probes.tiny import save_tiny_sae

    path = write_changed_audit(tmp_path)
    save_tiny_sae(tmp_path / "sae", hook_name="blocks.1.hook_resid_mid")

    with pytest.raises(ProbeError, match="interventions: sae cannot be acted through"):
        workflow.plan(path)
