"""A pack's subject and SAE are run again, and what comes back is compared."""

import shutil

import numpy as np
import pandas as pd
import pytest

from compliance import workflow
from compliance.assessment.tables import read_table, table_bytes
from compliance.errors import ConfigError, PlanError
from compliance.packs.reading import read_pack
from compliance.progress import SILENT
from compliance.records.pack import WithheldItem
from compliance.records.verification import Outcome
from compliance.workflow import reproducing
from compliance.workflow.opened import PackFiles
from compliance.workflow.reproducing import Again, reproduce

ROOT = "sha256:" + "ab" * 32


@pytest.fixture
def again(finished_audit):
    """The subject and SAE that the pack was made with."""

    def again(**changed):
        there = {"model": str(finished_audit / "model"), "saes": (finished_audit / "sae",)}
        return Again(**(there | changed))

    return again


def checks(pack, what, *, root=ROOT, progress=SILENT):
    with read_pack(pack) as opened:
        return list(reproduce(opened, root, what, progress))


def named(found, name):
    return [check for check in found if check.name == f"reproduced-{name}"]


def forged(pack, tmp_path, path, change):
    """A copy of the pack with one of its tables changed."""
    copy = shutil.copytree(pack, tmp_path / pack.name)
    with read_pack(copy) as opened:
        table = read_table(PackFiles(opened), path)
    (copy / "data/observations" / path).write_bytes(table_bytes(change(table), path))
    return copy


def test_the_very_same_scores_come_back(finished_pack, again):
    found = checks(finished_pack, again())

    assert [check.line for check in found if check.status is Outcome.FAILED] == []
    assert {check.path.removeprefix("data/observations/") for check in found if check.path} == {
        "confirm/items.csv", "confirm/scores.csv", "fit/items.csv", "fit/scores.csv",
        "fit/search.parquet",
    }  # fmt: skip
    confirm, *_ = named(found, "scores")
    assert "at most 0;" in confirm.message
    assert "0 of 176 detections fall out otherwise" in confirm.message


def test_the_whole_level_holds_the_levels_before(finished_pack, finished_audit, again):
    found = workflow.verify(finished_pack, level="reproduce", again=again(sample=2))

    assert found.ok, found.summary()
    assert found.level == "reproduce"
    assert {"manifest", "numbers", "report", "reproduced-scores"} <= {c.name for c in found.passed}


def test_a_sample_follows_from_the_root_digest(finished_pack, again):
    seen = []

    class Watch:
        def stage(self, text):
            seen.append(text)

        def advance(self, done, total, seconds_left):
            seen.append((done, total))

    found = checks(finished_pack, again(sample=3), progress=Watch())

    assert any(ROOT in check.message for check in found if check.status is Outcome.NOT_CHECKED)
    assert named(found, "scores")[0].message.startswith("3 of 124 items")
    assert (3, 3) in seen


def test_another_root_digest_draws_other_items():
    items = {f"i{n}": n for n in range(50)}

    one, same, other = (
        reproducing._drawn(items, root, 5) for root in (ROOT, ROOT, "sha256:" + "cd" * 32)
    )

    assert one == same != other
    assert len(one) == 5
    assert reproducing._drawn(items, ROOT, None) == items


@pytest.mark.parametrize("scorer", ["probe", "dense", "ngrams"])
def test_scores_that_were_changed_do_not_come_back(finished_pack, again, tmp_path, scorer):
    def change(table):
        mine = table["scorer"] == scorer
        assert mine.sum() > 20
        return table.assign(score=np.where(mine, table["score"] + 1, table["score"]))

    pack = forged(finished_pack, tmp_path, "confirm/scores.csv", change)

    confirm, *_ = named(checks(pack, again()), "scores")

    assert confirm.status is Outcome.FAILED
    assert f" {scorer}" in confirm.message.rsplit(":", 1)[1]


def test_a_few_scores_that_jump_are_named_and_pass(finished_pack, again, tmp_path):
    def change(table):
        jumped = table.index == table.index[table["scorer"] == "dense"][0]
        return table.assign(score=np.where(jumped, table["score"] + 1, table["score"]))

    pack = forged(finished_pack, tmp_path, "confirm/scores.csv", change)

    confirm, *_ = named(checks(pack, again()), "scores")

    assert confirm.status is Outcome.PASSED
    assert "beyond it: " in confirm.message


def test_the_probes_own_scores_are_looked_at_apart(finished_pack, again, tmp_path):
    def change(table):
        probe = table.index[table["scorer"] == "probe"]
        assert 0.01 * len(table) > 2 and 0.01 * len(probe) < 2
        return table.assign(score=np.where(table.index.isin(probe[:2]), 9.0, table["score"]))

    pack = forged(finished_pack, tmp_path, "confirm/scores.csv", change)

    confirm, *_ = named(checks(pack, again()), "scores")

    assert confirm.status is Outcome.FAILED


def test_detections_that_flip_are_counted(finished_pack, again, tmp_path):
    def change(table):
        probe = (table["scorer"] == "probe").to_numpy()
        return table.assign(score=np.where(probe, 1000.0, table["score"]))

    pack = forged(finished_pack, tmp_path, "confirm/scores.csv", change)

    confirm, *_ = named(checks(pack, again()), "scores")

    flipped = int(confirm.message.split(" of 176 detections")[0].rsplit(" ", 1)[1])
    assert flipped > 100


def test_a_score_that_was_left_out_does_not_come_back_unseen(finished_pack, again, tmp_path):
    pack = forged(
        finished_pack, tmp_path, "confirm/scores.csv",
        lambda table: table[table["scorer"] != "permuted"],
    )  # fmt: skip

    confirm, *_ = named(checks(pack, again()), "scores")

    assert confirm.status is Outcome.FAILED


def test_numbers_of_tokens_have_no_tolerance(finished_pack, again, tmp_path):
    pack = forged(
        finished_pack, tmp_path, "confirm/items.csv",
        lambda table: table.assign(tokens=[table["tokens"].iloc[0] + 1, *table["tokens"][1:]]),
    )  # fmt: skip

    counts, *_ = named(checks(pack, again()), "counts")

    assert counts.status is Outcome.FAILED


def test_latents_of_the_search_that_were_changed_do_not_come_back(finished_pack, again, tmp_path):
    def change(table):
        return table.assign(score=(table["score"] * 2).astype(np.float32))

    pack = forged(finished_pack, tmp_path, "fit/search.parquet", change)

    (latents,) = named(checks(pack, again()), "latents")

    assert latents.status is Outcome.FAILED


def test_another_model_is_refused_with_what_differs(finished_pack, again, tmp_path):
    from tests.probes.tiny import save_tiny_subject

    save_tiny_subject(tmp_path / "model", "gemma2")

    with pytest.raises(PlanError, match="is not the tiny-llama that was measured: architecture"):
        checks(finished_pack, again(model=str(tmp_path / "model")))


def test_one_weight_makes_another_model(finished_pack, again, finished_audit, tmp_path):
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(finished_audit / "model", tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(PlanError, match="weights_digest"):
        checks(finished_pack, again(model=str(model)))


def test_another_sae_is_refused(finished_pack, again, finished_audit, tmp_path):
    from safetensors.torch import load_file, save_file

    sae = shutil.copytree(finished_audit / "sae", tmp_path / "sae")
    tensors = load_file(sae / "sae_weights.safetensors")
    tensors["b_dec"][0] += 1e-3
    save_file(tensors, sae / "sae_weights.safetensors")

    with pytest.raises(PlanError, match="sae is not the sae that was measured: digest"):
        checks(finished_pack, again(saes=(sae,)))


def test_an_sae_from_a_folder_must_be_given(finished_pack, again, finished_audit):
    with pytest.raises(ConfigError, match="came from a folder"):
        checks(finished_pack, again(saes=()))
    with pytest.raises(ConfigError, match="2 given, the plan has 1"):
        checks(finished_pack, again(saes=(finished_audit / "sae",) * 2))


def test_numbers_without_a_tolerance_are_refused(finished_pack, again):
    with read_pack(finished_pack) as opened:
        plan = opened.evidence.plan
        model = plan.model.model_copy(update={"dtype": "float8"})
        changed = plan.model_copy(update={"model": model})
        opened.__dict__["evidence"] = opened.evidence.model_copy(update={"plan": changed})

        with pytest.raises(PlanError, match="'float8'"):
            list(reproduce(opened, ROOT, again(), SILENT))


def test_another_environment_is_named(finished_pack, again, monkeypatch):
    plain = reproducing.environment_of

    def elsewhere(reader):
        here = plain(reader)
        return here.model_copy(update={"machine": "Plan9 mips"})

    monkeypatch.setattr(reproducing, "environment_of", elsewhere)

    (check,) = [c for c in checks(finished_pack, again(sample=1)) if c.name == "environment"]

    assert check.status is Outcome.NOT_CHECKED
    assert "now Plan9 mips" in check.message


def test_items_that_are_withheld_are_counted_and_not_run(finished_pack, again):
    with read_pack(finished_pack) as opened:
        shown = [i for i in opened.items if not i.item.id.startswith("danger")]
        hidden = [WithheldItem(id=i.item.id, digest=ROOT) for i in opened.items if i not in shown]
        opened.__dict__["items"] = (*shown, *hidden)

        found = list(reproduce(opened, ROOT, again(sample=2), SILENT))

    assert any(f"{len(hidden)} items are withheld" in check.message for check in found)
    assert all(check.status is not Outcome.FAILED for check in found)


def test_a_copy_without_the_tables_of_the_fit_is_not_run_again(finished_pack):
    with read_pack(finished_pack) as opened:
        opened.__dict__["withheld_files"] = frozenset({"fit/vectors.parquet"})

        (check,) = reproduce(opened, ROOT, Again(), SILENT)

    assert check.status is Outcome.NOT_CHECKED
    assert "fit/vectors.parquet" in check.message


def test_the_spread_is_of_one_concept_and_scorer():
    table = pd.DataFrame(
        [("a", "c", "probe", 0.0), ("b", "c", "probe", 2.0), ("a", "c", "dense", 7.0)],
        columns=["item", "concept", "scorer", "score"],
    )

    found = reproducing._spread(table, ["concept", "scorer"]).set_index("scorer")["spread"]

    assert found.to_dict() == {"probe": 1.0, "dense": 0.0}
