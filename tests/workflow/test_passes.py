"""The passes of an audit on a tiny subject: which items each runs, and what is chosen between."""

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from compliance.assessment import planning
from compliance.assessment.choosing import choose
from compliance.assessment.planning import (
    loss_items,
    planned_items,
    repeated_items,
    shifted_items,
)
from compliance.assessment.tables import ConfirmObservations, FitObservations
from compliance.documents import read_yaml
from compliance.errors import PlanError
from compliance.probes.shifts import shift_text
from compliance.records.audit import AuditConfig, TextShift
from compliance.records.observation import CALIBRATED, CONTROL_SCORERS, applies
from compliance.records.suite import Variant
from compliance.runs import open_run
from compliance.suites.load import load_suite
from compliance.workflow import audits, stages
from tests.tiny_audit import write_audit

NO_ROBUSTNESS = {"shifts": [], "shifted_groups": 0, "repeated_items": 0, "loss_items": 0}


class Told:
    """Remembers the stages that were told."""

    def __init__(self):
        self.stages = []

    def stage(self, text):
        self.stages.append(text)

    def advance(self, done, total, seconds_left):
        pass


def run_of(audit):
    return open_run(audit.parent, read_yaml(audit, AuditConfig))


class Observed:
    """A tiny audit after its last pass."""

    def __init__(self, audit):
        told = Told()
        audits.plan(audit)
        audits.observe(audit, told)
        audits.lock(audit)
        audits.observe(audit, told)
        self.audit, self.stages = audit, told.stages
        self.run = run_of(audit)
        self.plan, self.lock = self.run.plan(), self.run.lock()
        files = self.run.observations()
        self.fit = FitObservations.from_files(files)
        self.confirm = ConfirmObservations.from_files(files)
        suite = load_suite("./suite", audit.parent)
        self.items = planned_items(self.plan, [suite])


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    return Observed(write_audit(tmp_path_factory.mktemp("passes")))


@pytest.fixture
def fitted(observed, tmp_path):
    """The same audit before its lock."""
    copy = Path(shutil.copytree(observed.audit.parent, tmp_path / "copy"))
    run = run_of(copy / "audit.yaml")
    (run.path / "lock.json").unlink()
    return run, copy / "audit.yaml"


def test_each_pass_is_told_with_its_items(observed):
    labelled = {split: [i for i in items if i.concept] for split, items in observed.items.items()}
    benign = [i for i in observed.items["calibrate"] if i.concept is None]
    confirm = observed.items["confirm"]

    running = [text for text in observed.stages if text.startswith("running")]

    assert running[:5] == [
        f"running {len(labelled['discover'] + labelled['calibrate'])} items (search)",
        f"running {len(benign)} items (calibrate)",
        f"running {len(confirm)} items (confirm)",
        f"running {len(loss_items(observed.plan, confirm))} items (losses)",
        f"running {len(repeated_items(observed.plan, confirm))} items (repeats)",
    ]
    assert [text.split("(")[1] for text in running[5:]] == [
        f"shifts/{shift})" for shift in get_args(TextShift)
    ], "shifts of pictures have no items here, and nothing is told of them"


def test_what_was_chosen_is_what_the_lock_chooses_again(observed):
    stored = observed.run.choices()

    assert stored == choose(observed.plan, observed.fit)
    assert all(getattr(observed.lock, name) == value for name, value in stored)
    assert stored.random_probes
    assert stored.directions
    assert stored.sparse_probes


def test_other_choices_than_benign_items_were_run_with_are_not_locked(fitted):
    run, audit = fitted
    path = run.path / "choices.json"
    choices = json.loads(path.read_bytes())
    choices["probes"][0]["features"][0]["latent"] += 1
    path.write_text(json.dumps(choices), encoding="utf-8")

    with pytest.raises(PlanError, match="other choices than benign items were run with"):
        audits.lock(audit)


def test_every_scorer_with_a_cut_off_has_benign_scores_in_every_language(observed):
    fit, plan = observed.fit, observed.plan
    wanted = {"tokens", *CALIBRATED, *(setting.scorer for setting in plan.settings)}
    benign = fit.items[fit.items["label"] == "negative"].set_index("item")
    scores = fit.scores[fit.scores["item"].isin(benign.index)]

    for language in plan.languages:
        for probe in plan.probes:
            mine = scores[
                (benign.loc[scores["item"], "language"] == language).to_numpy()
                & (scores["concept"] == probe.concept)
            ]
            near = {
                n.scorer for n in observed.lock.neighbours
                if (n.concept, n.language) == (probe.concept, language)
            }  # fmt: skip
            assert set(mine["scorer"]) == wanted | near
    assert not any(cut_off.reason for cut_off in observed.lock.cut_offs)


def test_every_control_has_scores_of_labelled_confirm_items(observed):
    confirm = observed.confirm
    labelled = confirm.items[confirm.items["label"] != "negative"]["item"]

    scorers = confirm.scores[confirm.scores["item"].isin(labelled)].groupby("scorer")["item"]

    of_text = [c for c in CONTROL_SCORERS if applies(c, Variant("en", "text", "plain"))]
    assert {"ngrams", "dense"} < set(of_text) < set(CONTROL_SCORERS)
    for scorer in ("probe", *of_text):
        assert set(scorers.get_group(scorer)) == set(labelled), scorer


def test_neighbours_are_the_ten_nearest_of_each_language(observed):
    counts = observed.fit.neighbours.groupby(["concept", "language"])["latent"].nunique()

    assert (counts == 10).all()
    assert len(counts) == len(observed.plan.cells)


def test_neighbours_that_are_near_enough_are_scored_and_get_cut_offs(tmp_path, monkeypatch):
    def make_plan(*args, **others):
        return planning.make_plan(*args, **others).model_copy(update={"neighbour_cosine": 0.2})

    monkeypatch.setattr(stages, "make_plan", make_plan)
    observed = Observed(write_audit(tmp_path, robustness=NO_ROBUSTNESS))

    near = {(n.concept, n.language, n.scorer) for n in observed.lock.neighbours}
    cut_off = {(c.cell.concept, c.cell.language, c.scorer) for c in observed.lock.cut_offs}
    scores = observed.confirm.scores.merge(observed.confirm.items[["item", "language"]], on="item")
    assert near
    assert near <= cut_off
    assert near <= set(zip(scores["concept"], scores["language"], scores["scorer"], strict=True))


def test_the_probe_on_each_token_agrees_with_its_score(observed):
    """Which is the largest in the concept's region; the table holds all of the words."""
    confirm, items = observed.confirm, {i.id: i for i in observed.items["confirm"]}
    probe = confirm.scores[confirm.scores["scorer"] == "probe"]
    scores = probe.set_index(["item", "concept"])["score"]
    regions = {p.concept: p.region for p in observed.plan.probes}
    assert set(regions.values()) == {"user", "assistant"}

    assert len(confirm.tokens) == len(scores)
    for row in confirm.tokens.itertuples():
        item = items[row.item]
        turns = [(m.role, m.content) for m in item.messages or ()] or [("user", item.text)]
        roles = [role for role, content in turns for _ in content]
        assert len(row.starts) == 0 or max(row.ends) <= len(roles)
        mine = [roles[start] == regions[row.concept] for start in row.starts]
        largest = max(row.activations[np.array(mine, dtype=bool)], default=0.0)
        assert largest == pytest.approx(scores[row.item, row.concept], rel=1e-6)


def test_cofiring_and_features_are_of_the_locked_features(observed):
    locked = {(p.concept, f.sae, f.latent) for p in observed.lock.probes for f in p.features}
    confirm, keys = observed.confirm, ["concept", "sae", "latent"]
    fired = confirm.firing.groupby(["sae", "latent"])["tokens"].sum()

    for table in (confirm.cofiring, confirm.features):
        assert set(table[keys].itertuples(index=False, name=None)) == locked
    facts = confirm.features.groupby([*keys, "kind"]).size()
    assert facts.tolist() == [10] * (3 * len(locked))
    for row in confirm.cofiring.itertuples():
        assert 0 < row.tokens <= min(fired[row.sae, row.latent], fired[row.sae, row.other])


def test_a_confirm_pass_that_was_stopped_gives_the_same_bytes(observed, tmp_path):
    audit = Path(shutil.copytree(observed.audit.parent, tmp_path / "copy")) / "audit.yaml"
    run = run_of(audit)
    before = dict(run.observations("confirm"))
    shutil.rmtree(run.path / "observations" / "confirm")
    shards = sorted((run.path / "passes" / "confirm").iterdir())
    for path in shards[len(shards) // 2 :]:
        path.unlink()

    audits.observe(audit, Told())

    assert len(shards) > 2
    assert run.observations("confirm") == before


def test_the_small_passes_run_the_items_that_the_plan_draws(observed):
    plan, confirm, items = observed.plan, observed.confirm, observed.items["confirm"]

    assert set(confirm.losses["item"]) == {i.id for i in loss_items(plan, items)}
    assert set(confirm.repeats["item"]) == {i.id for i in repeated_items(plan, items)}
    assert (confirm.losses["divergence"] > 0).all()
    assert np.abs(confirm.repeats["batched"] - confirm.repeats["alone"]).max() <= 1e-4


def test_each_shift_has_the_items_that_it_changes(observed):
    plan, lock = observed.plan, observed.lock
    chosen = shifted_items(plan, lock, observed.items["confirm"])
    twins = {(i.group, i.label, i.language): i for i in chosen}
    other = {"en": "el", "el": "en"}

    assert set(observed.confirm.shifts["shift"]) == set(get_args(TextShift))
    for shift in get_args(TextShift):
        expected = set()
        for item in chosen:
            twin = twins[item.group, item.label, other[item.language]]
            if shift_text(item, shift, seed=plan.seed, twin=twin) is not None:
                expected.add(item.id)
        found = observed.confirm.shifts
        assert set(found[found["shift"] == shift]["item"]) == expected
        assert expected


def test_a_changed_text_has_another_score(observed):
    scores = observed.confirm.scores
    probe = scores[scores["scorer"] == "probe"].set_index(["item", "concept"])["score"]
    shifts = observed.confirm.shifts.set_index(["item", "concept"])

    same = shifts["score"] == probe.loc[shifts.index]

    assert same.mean() < 0.9


def test_a_changed_text_that_the_model_cannot_hold_is_left_out(observed, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(observed.audit.parent, tmp_path / "copy"))
    run = run_of(copy / "audit.yaml")
    shutil.rmtree(run.path / "observations" / "confirm")
    shutil.rmtree(run.path / "passes" / "shifts")

    def longer(item, shift, **others):
        text = "x" * 600 if item.id.endswith("en") else "x"
        return item.model_copy(update={"text": text, "messages": None})

    monkeypatch.setattr("compliance.probes.shifts.shift_text", longer)
    audits.observe(copy / "audit.yaml")

    shifts = ConfirmObservations.from_files(run.observations("confirm")).shifts
    assert set(shifts["item"].str[-2:]) == {"el"}


def test_without_robustness_its_tables_are_empty(tmp_path):
    observed = Observed(write_audit(tmp_path, robustness=NO_ROBUSTNESS))

    assert observed.confirm.losses.empty
    assert observed.confirm.shifts.empty
    assert observed.confirm.repeats.empty
    assert not observed.confirm.scores.empty


def test_items_before_and_after_the_lock_run_in_one_environment(observed, tmp_path):
    audit = Path(shutil.copytree(observed.audit.parent, tmp_path / "copy")) / "audit.yaml"
    run = run_of(audit)
    shutil.rmtree(run.path / "observations" / "confirm")
    before = json.loads((run.path / "environment.json").read_bytes())
    before["packages"]["torch"] = "1.0"
    (run.path / "environment.json").write_text(json.dumps(before))
    trail = run.trail.read_bytes()

    with pytest.raises(PlanError, match=r"another environment: torch 1\.0, now \d"):
        audits.observe(audit, Told())
    assert run.trail.read_bytes() == trail


def test_a_report_of_a_suite_that_was_changed_is_refused(observed, tmp_path):
    audit = Path(shutil.copytree(observed.audit.parent, tmp_path / "copy")) / "audit.yaml"
    audits.assess(audit)
    items = next((audit.parent / "suite").glob("*.jsonl"))
    items.write_text("".join(items.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]))

    with pytest.raises(PlanError, match="not as it was planned"):
        audits.report(audit)
    assert not list(audit.parent.glob("runs/*/report"))
