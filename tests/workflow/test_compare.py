"""Subjects under one lock: transferred, checked at every level, and held against each other."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from compliance import trail, workflow
from compliance.errors import PackError, PlanError, VerificationError
from compliance.packs.reading import read_pack
from compliance.records.base import digest_of
from compliance.records.comparison import Reading
from compliance.records.subjects import Basis, Outcome
from compliance.records.verification import Outcome as Checked
from compliance.workflow import stages
from compliance.workflow.transferring import transfer_differences
from tests.compared_subjects import write_locked, write_planted
from tests.small_pdf import small_pdf


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Packs of a subject with a planted feature, of a copy of it, and of one that lost it."""
    from compliance.reports import render

    root = tmp_path_factory.mktemp("subjects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        first = workflow.audit(write_planted(root / "first"))
        same, lost = (
            workflow.audit(write_locked(root / name, first, planted=planted, name=name))
            for name, planted in (("same", True), ("lost", False))
        )
    return SimpleNamespace(first=first, same=same, lost=lost)


@pytest.fixture(scope="module")
def found(packs):
    return workflow.compare_packs([packs.first, packs.same, packs.lost])


def of(pack: Path):
    with read_pack(pack) as opened:
        return opened.evidence


def folder_of(pack: Path) -> Path:
    """The audit's folder."""
    return pack.parent.parent


# Transferred lock


def test_the_lock_is_the_named_packs_and_only_the_model_is_another(packs):
    first, lost = of(packs.first), of(packs.lost)

    by = lost.plan.locked_by
    with read_pack(packs.first) as opened:
        assert by.root_digest == opened.statement.predicate.root_digest
    assert by.lock_digest == digest_of(first.lock)
    assert by.model == first.plan.model != lost.plan.model
    assert lost.lock.model_copy(update={"plan_digest": first.lock.plan_digest}) == first.lock
    fit = {path for path in first.observations if path.startswith("fit/")}
    assert {path: lost.observations[path] for path in fit} == {
        path: first.observations[path] for path in fit
    }
    assert lost.observations["confirm/scores.csv"] != first.observations["confirm/scores.csv"]


def test_a_pack_under_another_lock_says_so_and_passes_every_check(packs):
    found = workflow.verify(packs.lost)

    assert found.ok
    said = next(check for check in found.checks if check.name == "transferred-lock")
    assert said.status is Checked.NOT_CHECKED
    assert "tiny-llama" in said.message
    assert {f.qualifiers[-1] for f in of(packs.lost).findings} == {"lock-of-another-model"}
    page = (packs.lost / "data" / "report.html").read_text(encoding="utf-8")
    assert "Locked on another model" in page
    assert "taken from the pack “tiny-1.0.0”, of another model" in page
    assert "The tables of the fitting items are taken from the pack of another model" in page
    assert "each step comes after the one above it" in page


def test_the_trail_names_what_was_carried_and_counts_the_opening(packs):
    entries = trail.read(folder_of(packs.lost) / "trail.jsonl")

    kinds = [entry.kind for entry in entries]
    order = ["plan-frozen", "fit-carried", "locked", "confirmation-opened", "run-started"]
    assert sorted(order, key=kinds.index) == order
    started = [e.facts["pass"] for e in entries if e.kind == "run-started"]
    assert started == ["confirm"]
    carried = next(entry.facts for entry in entries if entry.kind == "fit-carried")
    assert carried["root"] == of(packs.lost).plan.locked_by.root_digest
    assert of(packs.lost).confirm_openings == 1


def test_only_the_test_items_are_run_again_on_the_new_model(packs):
    folder = folder_of(packs.lost)
    again = workflow.Again(sample=4, model=str(folder / "model"), saes=(folder / "sae",))

    found = workflow.verify(packs.lost, level="reproduce", again=again)

    assert found.ok
    assert any("run tiny-1.0.0 again" in check.message for check in found.checks)
    ran = {check.path for check in found.checks if check.name.startswith("reproduced-")}
    assert ran == {"data/observations/confirm/items.csv", "data/observations/confirm/scores.csv"}


@pytest.mark.parametrize("part", ["plan", "lock"])
def test_a_plan_or_lock_that_the_named_pack_does_not_have_is_told(packs, part):
    evidence = of(packs.lost)
    plan, lock = evidence.plan, evidence.lock
    if part == "plan":
        plan = plan.model_copy(update={"alpha": 0.2})
    else:
        cut_off = lock.cut_offs[0].model_copy(update={"value": 0.25})
        lock = lock.model_copy(update={"cut_offs": (cut_off, *lock.cut_offs[1:])})

    assert list(transfer_differences(evidence.plan, evidence.lock)) == []
    (problem,) = transfer_differences(plan, lock)
    assert problem.where == f"plan.locked_by.{part}_digest"


def test_what_audit_yaml_says_otherwise_is_refused_by_name(packs, tmp_path):
    path = write_locked(tmp_path / "other", packs.first, planted=True, name="x", alpha=0.2)

    with pytest.raises(PlanError, match=r"plan\.alpha is 0\.1 there and 0\.2 here"):
        workflow.plan(path)
    assert not (tmp_path / "other" / "runs").exists()


def test_a_model_of_another_kind_is_refused(packs, tmp_path):
    from tests.probes.tiny import save_tiny_subject

    path = write_locked(tmp_path / "other", packs.first, planted=True, name="x")
    shutil.rmtree(tmp_path / "other" / "model")
    save_tiny_subject(tmp_path / "other" / "model", "qwen2")

    with pytest.raises(PlanError, match="architecture of x is Qwen2ForCausalLM"):
        workflow.plan(path)


def test_a_damaged_pack_and_one_that_was_locked_by_another_lock_nothing(packs, tmp_path):
    chained = write_locked(tmp_path / "chained", packs.same, planted=True, name="x")
    damaged = Path(shutil.copytree(packs.first, tmp_path / packs.first.name))
    (damaged / "data" / "evidence.json").write_bytes(b"{}")
    under = write_locked(tmp_path / "under", damaged, planted=True, name="x")

    with pytest.raises(PlanError, match="runs under the lock of tiny-1.0.0 itself"):
        workflow.plan(chained)
    with pytest.raises(VerificationError, match="locked_by"):
        workflow.plan(under)


def test_an_environment_of_another_kind_is_refused_before_anything_is_carried(
    packs, tmp_path, monkeypatch
):
    path = write_locked(tmp_path / "other", packs.first, planted=True, name="x")
    workflow.plan(path)
    now_in = of(packs.first).environment.model_copy(update={"device": "cuda:0"})
    monkeypatch.setattr(stages, "environment_of", lambda _: now_in)

    with pytest.raises(PlanError, match="another environment: device cpu, now cuda:0") as refused:
        workflow.observe(path)

    assert "audit the model of tiny-1.0.0 again" in refused.value.hint
    assert not list((tmp_path / "other" / "runs").glob("*/observations/fit/*"))


def test_probes_are_required_where_no_pack_gives_them(tmp_path):
    path = write_planted(tmp_path)
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    del settings["probes"]
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")

    with pytest.raises(Exception, match="probes: at least one is required"):
        workflow.plan(path)


# Comparison


def test_a_concept_whose_feature_was_taken_out_vanishes(found):
    for one in found.cells:
        standing = one.packs[2]
        assert standing.outcome is Outcome.VANISHES
        assert one.packs[0].seen and standing.seen is False
        ranking = next(c for c in standing.changes if c.measure == "auroc-hard")
        assert ranking.reading is Reading.WORSE
        assert ranking.high < 0 and ranking.p_holm <= found.family_error
        assert ranking.low <= ranking.difference <= ranking.high


def test_nothing_moved_in_an_identical_copy(found):
    for one in found.cells:
        assert one.packs[1].outcome is Outcome.NO_CHANGE
        assert {(c.difference, c.method) for c in one.packs[1].changes} == {(0.0, "identical")}


def test_each_value_is_the_one_that_its_pack_states(packs, found):
    for place, pack in enumerate((packs.first, packs.same, packs.lost)):
        results = {result.id: result for result in of(pack).results}
        for one in found.cells:
            for stated in one.packs[place].stated:
                result = results[f"{one.cell.key}/{stated.measure}"]
                assert (stated.value, stated.low, stated.high) == (
                    result.value, result.low, result.high,
                )  # fmt: skip


def test_packs_and_features_say_what_they_share(found):
    assert [pack.basis for pack in found.packs] == [
        Basis.FIRST, Basis.SAME_LOCK, Basis.SAME_LOCK,
    ]  # fmt: skip
    assert found.packs[2].locked_by == found.packs[0].pack.root_digest
    assert {(m.how, m.locked, m.latent == m.other_latent) for m in found.matches} == {
        ("same-sae", True, True)
    }


def test_a_pack_with_a_lock_of_its_own_is_shown_and_not_tested(packs, finished_pack):
    found = workflow.compare_packs([packs.first, finished_pack])

    other = found.packs[1]
    assert other.basis is Basis.OTHER_LOCK
    assert {"plan.probes", "lock"} <= set(other.differs)
    assert found.tests == 0
    shared = [one for one in found.cells if one.packs[0].verdict and one.packs[1].verdict]
    assert shared
    for one in found.cells:
        assert one.packs[1].outcome is Outcome.NOT_COMPARED
        assert one.packs[1].changes == ()
    assert all(one.packs[1].stated[0].value is not None for one in shared)


def test_the_page_has_a_chart_and_its_data_for_each_cell(packs, tmp_path):
    page = tmp_path / "compared.html"

    found = workflow.compare_packs([packs.first, packs.lost], page=page)

    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == len(found.cells)
    assert text.count("<summary>Data of") == len(found.cells)
    assert "vanishes" in text
    assert not re.search(r"(src|href)=\"(?!#)", text)  # it loads nothing
    for one in found.cells:
        stated = one.packs[1].stated[0]
        assert f"{stated.value:.3f} ({stated.low:.3f} to {stated.high:.3f})" in text


def test_a_damaged_or_missing_pack_or_a_single_one_is_refused(packs, tmp_path):
    damaged = Path(shutil.copytree(packs.lost, tmp_path / packs.lost.name))
    (damaged / "data" / "report.html").write_bytes(b"other")

    with pytest.raises(VerificationError, match=r"data/report\.html"):
        workflow.compare_packs([packs.first, damaged])
    with pytest.raises(PackError):
        workflow.compare_packs([packs.first, tmp_path / "nothing"])
    with pytest.raises(PlanError, match="nothing to be compared with"):
        workflow.compare_packs([packs.first])
