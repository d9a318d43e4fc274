"""Judges: a model that is asked yes or no, and plugs."""

from importlib.metadata import EntryPoint

import pytest
import torch

from compliance.errors import ProbeError
from compliance.probes import judging
from compliance.probes.judging import FORM, ModelJudge, checked, load_plug
from compliance.probes.subject import load_subject
from compliance.records.audit import SaeRef, SubjectConfig
from tests.probes.tiny import save_tiny_subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def subject(tmp_path):
    save_tiny_subject(tmp_path / "judge")
    config = SubjectConfig(model="./judge", saes=(SaeRef(path="./sae"),))
    found = load_subject(config, tmp_path)
    found.model.config.max_position_embeddings = 2048
    return found


def strict(question, *, prompt, reply):
    return float("bad" in reply)


def test_a_model_says_how_likely_yes_is_among_both_answers(subject, monkeypatch):
    """The tiny model reads bytes, so that a blank before an answer would stand for both."""
    monkeypatch.setattr(judging, "ANSWERS", {True: ("Yes", "yes"), False: ("No", "no")})
    judge = ModelJudge(subject)

    score = judge("Is it?", prompt="A", reply="B")

    text = FORM.format(prompt="A", reply="B", question="Is it?")
    ids = subject.tokenizer(f"<|bos|><|user|>{text}<|end|><|assistant|>", add_special_tokens=False)
    with torch.inference_mode():
        logits = subject.model(torch.tensor([ids["input_ids"]])).logits[0, -1].double()
    of = {c: subject.tokenizer.convert_tokens_to_ids(c) for c in "YyNn"}
    p = logits.softmax(-1)
    yes, no = p[of["Y"]] + p[of["y"]], p[of["N"]] + p[of["n"]]
    assert score == pytest.approx(float(yes / (yes + no)))
    assert judge("Is it?", prompt="A", reply="C") != score


def test_a_model_that_cannot_tell_yes_from_no_is_refused(subject):
    with pytest.raises(ProbeError, match="same token"):
        ModelJudge(subject)


def test_a_plug_is_found_by_its_name(monkeypatch):
    entry = EntryPoint("strict", f"{__name__}:strict", judging.GROUP)
    monkeypatch.setattr(
        judging, "entry_points", lambda group: [entry] if group == judging.GROUP else []
    )

    judge = load_plug("strict")

    assert checked(judge, "?", prompt="a", reply="bad") == 1.0
    with pytest.raises(ProbeError, match="no package names it"):
        load_plug("kind")


def test_a_plug_that_cannot_be_loaded_is_told(monkeypatch):
    entry = EntryPoint("strict", "no_such_module:strict", judging.GROUP)
    monkeypatch.setattr(judging, "entry_points", lambda group: [entry])

    with pytest.raises(ProbeError, match="cannot be loaded"):
        load_plug("strict")


@pytest.mark.parametrize("said", [1.5, -0.1, float("nan"), "much", None])
def test_a_judge_that_gives_no_share_is_refused(said):
    with pytest.raises(ProbeError, match="judge"):
        checked(lambda question, *, prompt, reply: said, "?", prompt="a", reply="b")
