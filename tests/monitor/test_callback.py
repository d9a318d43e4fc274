"""A pack's locked probes watch a training: a real Trainer, a tiny model, a few steps."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from compliance import workflow
from compliance.errors import MonitorError
from compliance.monitor.callback import ProbeCallback, read_history
from compliance.monitor.looks import Looks, planned_looks, warnings_of
from compliance.packs.reading import read_pack
from compliance.records.suite import Item
from compliance.records.training import Began, Look, LookFailed
from tests.compared_subjects import LETTER, planted_direction, write_planted
from tests.small_pdf import small_pdf
from tests.tiny_audit import suite_items


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The pack of a subject with a planted feature, and its folder."""
    from compliance.reports import render

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        pack = workflow.audit(write_planted(folder))
    return SimpleNamespace(pack=pack, folder=folder)


class Forgets(Trainer):
    """Trains the planted feature away: the loss is how far the letter lies along its direction."""

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        token = AutoTokenizer.from_pretrained(self.folder).convert_tokens_to_ids(LETTER)
        along = model.get_input_embeddings().weight[token] @ planted_direction()
        loss = 0.5 * along**2 + 0.0 * inputs["input_ids"].sum()
        return (loss, None) if return_outputs else loss


class Speaks(Trainer):
    """Plain training on text."""

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        found = model(input_ids=inputs["input_ids"], labels=inputs["input_ids"])
        return (found.loss, found) if return_outputs else found.loss


def own_items(groups: int = 14) -> list[Item]:
    """Items that no suite of the audit has."""
    found = []
    for value in suite_items(groups=groups, benign=groups):
        if value.get("concept") == "flattery":
            continue
        named = {key: f"own-{value[key]}" for key in ("id", "group")}
        if "text" in value:
            words = {"text": f"own {value['text']}"}
        else:
            words = {"messages": [{"role": "user", "content": f"own {value['id']}"}]}
        found.append(Item.model_validate({**value, **named, **words}))
    return found


def trainer_of(audited, kind, out: Path, *callbacks, steps: int = 4, rate: float = 0.0, **options):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(audited.folder / "model", attention_dropout=0.1)
    tokens = torch.randint(7, 200, (16, 12), generator=torch.Generator().manual_seed(1))
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=4, learning_rate=rate,
        lr_scheduler_type="constant", optim="sgd", max_grad_norm=0.0, report_to=[], seed=3,
        save_strategy="no", disable_tqdm=True, use_cpu=True, **options,
    )  # fmt: skip
    trainer = kind(
        model, arguments, train_dataset=[{"input_ids": row} for row in tokens],
        callbacks=list(callbacks),
    )  # fmt: skip
    trainer.folder = audited.folder / "model"
    return trainer


def callback_of(audited, history: Path, **options) -> ProbeCallback:
    tokenizer = AutoTokenizer.from_pretrained(audited.folder / "model")
    saes = [audited.folder / "sae"]
    return ProbeCallback(
        audited.pack, saes=saes, tokenizer=tokenizer, history=history, **{"every": 2, **options}
    )


def test_training_a_feature_away_is_warned_of(audited, tmp_path, caplog):
    history = tmp_path / "probes.jsonl"
    callback = callback_of(audited, history, items=own_items())
    trainer = trainer_of(audited, Forgets, tmp_path, callback, rate=0.9)

    with caplog.at_level(logging.WARNING, logger="compliance.monitor.callback"):
        trainer.train()

    began, first, *later = read_history(history)
    assert isinstance(began, Began)
    assert (began.looks, began.untestable) == (2, ())
    assert [look.step for look in (first, *later)] == [0, 2, 4]
    assert not first.tested
    assert first.alerts == ()
    for tag, cell in zip(("en", "el"), first.cells, strict=True):
        assert (cell.concept, cell.language) == ("danger", tag)
        assert cell.sensitivity.value > 0.9
        assert cell.sensitivity.low < cell.sensitivity.value <= cell.sensitivity.high
    last = later[-1]
    assert last.tested
    assert len(last.alerts) == 2
    for cell in last.cells:
        change = next(c for c in cell.changes if c.measure == "sensitivity")
        assert change.alert
        assert change.low <= change.difference <= change.high < 0
        assert change.p_holm <= began.family_error / began.looks
    assert "sensitivity fell" in caplog.text
    logged = [entry for entry in trainer.state.log_history if "probes/alerts" in entry]
    assert [(entry["step"], entry["probes/alerts"]) for entry in logged][-1] == (4, 2)
    assert logged[0]["probes/danger/en/sensitivity"] == first.cells[0].sensitivity.value


def test_where_nothing_changes_nothing_is_said_and_scores_are_those_of_the_audit(audited, tmp_path):
    history = tmp_path / "probes.jsonl"
    callback = callback_of(audited, history, items=100)

    trainer_of(audited, Speaks, tmp_path, callback).train()

    _, first, *later = read_history(history)
    assert all(look.alerts == () for look in later)
    assert {change.difference for look in later for c in look.cells for change in c.changes} == {
        0.0
    }
    for look in later:
        for now, then in zip(look.cells, first.cells, strict=True):
            assert now.hard_negatives.high == pytest.approx(then.hard_negatives.high, abs=1e-5)
            assert now.positives.low == pytest.approx(then.positives.low, abs=1e-5)
    with read_pack(audited.pack) as pack:
        from compliance.assessment.tables import read_table

        table = read_table({"fit/scores.csv": pack.observation("fit/scores.csv")}, "fit/scores.csv")
    benign = table[(table["scorer"] == "probe") & (table["concept"] == "danger")]
    stated = dict(zip(benign["item"], benign["score"], strict=True))
    both = stated.keys() & first.scores["danger"].keys()
    assert len(both) > 20
    for item in both:
        assert first.scores["danger"][item] == pytest.approx(stated[item], abs=1e-4)


def test_training_is_the_same_with_and_without(audited, tmp_path):
    trained = []
    for callbacks in ((), (callback_of(audited, tmp_path / "probes.jsonl", every=1),)):
        trainer = trainer_of(audited, Speaks, tmp_path, *callbacks, rate=0.05)
        trainer.train()
        trained.append(trainer.model.state_dict())

    assert len(list(read_history(tmp_path / "probes.jsonl"))) == 6
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    assert trainer.model.training


@pytest.mark.parametrize("broken", ["file", "model"])
def test_what_goes_wrong_is_said_once_and_training_goes_on(audited, tmp_path, caplog, broken):
    history = tmp_path / "probes.jsonl"
    callback = callback_of(audited, history)
    trainer = trainer_of(audited, Speaks, tmp_path, callback, rate=0.01)
    if broken == "file":
        history.mkdir()
    else:
        trainer.model.model.layers = trainer.model.model.layers[:1]  # the SAE reads the second

    with caplog.at_level(logging.WARNING, logger="compliance.monitor.callback"):
        trainer.train()

    assert trainer.state.global_step == 4
    assert [r.levelname for r in caplog.records if r.name == "compliance.monitor.callback"] == [
        "WARNING"
    ]
    if broken == "model":
        failed = list(read_history(history))
        assert [type(one) for one in failed] == [LookFailed] * 3
        assert [one.step for one in failed] == [0, 2, 4]


def test_test_items_are_refused_under_any_name(audited, tmp_path):
    with read_pack(audited.pack) as pack:
        from compliance.assessment.tables import read_table

        path = "confirm/items.csv"
        names = set(read_table({path: pack.observation(path)}, path)["item"])
        packed = next(one.item for one in pack.items if one.item.id in names)
    for item in (packed, packed.model_copy(update={"id": "other", "group": "other"})):
        with pytest.raises(MonitorError, match="is one of the test items"):
            callback_of(audited, tmp_path / "x.jsonl", items=[item])


def test_items_of_the_pack_are_those_before_the_lock_and_too_few_are_said(audited, tmp_path):
    callback = callback_of(audited, tmp_path / "probes.jsonl", items=3)

    with read_pack(audited.pack) as pack:
        from compliance.assessment.tables import read_table

        tables = {p: pack.observation(p) for p in ("fit/items.csv", "confirm/items.csv")}
        fit, test = (set(read_table(tables, path)["item"]) for path in tables)
    ids = {item.id for item in callback.items}
    assert ids <= fit
    assert not ids & test
    groups = {(item.concept, item.group) for item in callback.items}
    assert sum(concept == "danger" for concept, _ in groups) == 3
    trainer_of(audited, Speaks, tmp_path, callback).train()
    began = next(read_history(tmp_path / "probes.jsonl"))
    assert "danger/en/sensitivity" in began.untestable


def test_a_history_goes_on_where_training_is_resumed_and_no_other_is_mixed_in(audited, tmp_path):
    history = tmp_path / "probes.jsonl"
    trainer_of(audited, Speaks, tmp_path, callback_of(audited, history)).train()
    with history.open("ab") as file:
        file.write(b'{"kind":"look","ha')  # a process that was killed

    trainer_of(audited, Speaks, tmp_path, callback_of(audited, history)).train()

    records = list(read_history(history))
    assert [type(record) for record in records] == [Began, *[Look] * 5]
    assert [record.number for record in records[1:]] == [0, 1, 2, 3, 4]
    assert [record.tested for record in records[1:]] == [False, True, True, False, False]
    with pytest.raises(MonitorError, match="another pack, other items"):
        callback_of(audited, history, items=2)


def test_an_sae_that_the_pack_does_not_name_is_refused(audited, tmp_path):
    from tests.probes.tiny import save_tiny_sae

    other = save_tiny_sae(tmp_path / "other", seed=5)
    tokenizer = AutoTokenizer.from_pretrained(audited.folder / "model")

    with pytest.raises(MonitorError, match="none has the digest of sae"):
        ProbeCallback(audited.pack, saes=[other], tokenizer=tokenizer, history=tmp_path / "h")


def test_false_warnings_stay_below_the_family_error(audited):
    """Scores that only jitter around their cut-off, 30 trainings of four looks."""
    with read_pack(audited.pack) as pack:
        plan, lock = pack.evidence.plan, pack.evidence.lock
    plan = plan.model_copy(update={"bootstrap_draws": 2})
    items, stream = own_items(20), np.random.default_rng(4)
    limits = {c.cell.language: c.value for c in lock.cut_offs if c.scorer == "probe"}

    def drawn() -> dict[str, dict[str, float]]:
        jitter = stream.normal(size=len(items))
        return {
            "danger": {i.id: limits[i.language] + j for i, j in zip(items, jitter, strict=True)}
        }

    planned = planned_looks(400, 100)
    warned = 0
    for _ in range(30):
        looks, first = Looks(plan, lock, items, planned), drawn()
        warned += any(
            warnings_of(looks.look(drawn(), first, number)) for number in range(1, planned + 1)
        )

    assert warned <= 4  # of 30: 5 % would be exceeded so far with probability 0.016


def test_a_history_is_plain_lines(audited, tmp_path):
    history = tmp_path / "probes.jsonl"
    trainer_of(audited, Speaks, tmp_path, callback_of(audited, history)).train()

    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]

    assert [line["kind"] for line in lines] == ["began", "look", "look", "look"]
