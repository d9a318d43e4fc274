"""Losses of a model that goes on from reconstructions, against a plain run of its own blocks."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from compliance.probes.collect import loss_table
from compliance.probes.engine import prepare_items
from compliance.probes.task import Task
from tests.probes.tiny_pass import (
    make_item,
    make_plan,
    run_pass,
    some_items,
    states_of,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK = "blocks.1.hook_resid_post"


def losses(reader, items, folder):
    task = Task(make_plan(reader), "losses")
    return loss_table(run_pass(items, task, reader, folder)).set_index(["item", "sae"])


def identity(sae):
    """An SAE that gives back what it reads: its latents are the activations and their opposites."""
    width = sae.facts.d_in
    eye = torch.eye(width)
    sae.tensors["W_enc"].copy_(torch.cat([eye, -eye], dim=1))
    sae.tensors["W_dec"].copy_(torch.cat([eye, -eye]))
    for name in ("b_enc", "b_dec"):
        sae.tensors[name].zero_()
    return sae


def continued(model, x):
    """Logits of a Llama from what the second block gives on, in another way than by hooks."""
    positions = torch.arange(x.shape[1])[None]
    rotary = model.model.rotary_emb(x, positions)
    mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)[None, None]
    x = model.model.layers[2](x, attention_mask=mask, position_embeddings=rotary)
    return model.lm_head(model.model.norm(x))[0]


def test_losses_are_those_of_a_run_by_hand(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    items = [item for item in some_items(3) if item.concept is None]

    table = losses(reader, items, tmp_path / "run")

    assert len(table) == len(items)
    for prepared in prepare_items(items, reader.subject):
        row = table.loc[prepared.item.id, 0]
        places = list(prepared.regions["read"])
        x = states_of(prepared, reader, HOOK)[None]
        spliced, ablated = x.clone(), x.clone()
        spliced[0, places] = reader.saes[0].reconstruct(x[0, places])
        ablated[0, places] = 0
        runs = [continued(reader.subject.model, state) for state in (x, spliced, ablated)]
        before = [place - 1 for place in places]
        targets = torch.tensor(prepared.ids)[places]
        for name, run in zip(("loss", "spliced", "ablated"), runs, strict=True):
            expected = cross_entropy(run[before].double(), targets, reduction="sum")
            assert row[name] == pytest.approx(float(expected), abs=1e-3)
        logs = [run[before].double().log_softmax(dim=-1) for run in runs]
        expected = kl_div(logs[1], logs[0], log_target=True, reduction="sum")
        assert row["divergence"] == pytest.approx(float(expected), abs=1e-3)
        assert row["tokens"] == len(places)
    assert (table["divergence"] > 0).all()
    assert ((table["loss"] - table["ablated"]).abs() > 1e-3).all()


def test_a_perfect_reconstruction_loses_nothing(tmp_path):
    reader = tiny_reader(identity(tiny_sae(tmp_path / "sae", "standard")))
    items = [make_item("a", text="several words here")]

    row = losses(reader, items, tmp_path / "run").iloc[0]

    assert row["spliced"] == pytest.approx(row["loss"], rel=1e-6)
    assert 0 <= row["divergence"] < 1e-6
    assert abs(row["ablated"] - row["loss"]) > 1e-2


def test_a_transcoder_is_put_where_it_writes(tmp_path):
    """One that writes what the MLP would have written changes nothing."""
    into, out = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    reader = tiny_reader(tiny_sae(tmp_path / "sae", "skip_transcoder", hook_name=into))
    items = [make_item("a", text="some words")]
    before = losses(reader, items, tmp_path / "before").iloc[0]
    (prepared,) = prepare_items(items, reader.subject)
    places = list(prepared.regions["read"])
    x, written = (states_of(prepared, reader, hook)[places].double() for hook in (into, out))
    tensors = reader.saes[0].tensors
    tensors["W_dec"].zero_()
    tensors["b_dec"].zero_()
    tensors["W_skip"].copy_((torch.linalg.pinv(x) @ written).T)

    after = losses(reader, items, tmp_path / "after").iloc[0]

    assert before["divergence"] > 1e-2
    assert after["spliced"] == pytest.approx(after["loss"], rel=1e-5)
    assert 0 <= after["divergence"] < 1e-6


def test_an_sae_whose_place_can_only_be_read_has_no_row(tmp_path):
    hooks = ("blocks.1.hook_resid_mid", HOOK)
    reader = tiny_reader(*(tiny_sae(tmp_path / hook, hook_name=hook) for hook in hooks))

    table = losses(reader, [make_item("a", text="several words")], tmp_path / "run")

    assert list(table.index) == [("a", 1)]


def test_blocks_of_probabilities_add_up(tmp_path, monkeypatch):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    items = [make_item("a", text="several words here")]
    whole = losses(reader, items, tmp_path / "whole").iloc[0]
    monkeypatch.setattr("compliance.probes.losses.PREDICTED_AT_ONCE", 1000)

    parts = losses(reader, items, tmp_path / "parts").iloc[0]

    assert parts.to_dict() == pytest.approx(whole.to_dict(), rel=1e-12)


def test_a_text_without_a_token_before_it_predicts_one_fewer(tmp_path):
    """Without a template and a BOS the first token of the content is the first of all."""
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    reader.subject.tokenizer.chat_template = None
    reader.subject.tokenizer._tokenizer.post_processor = None
    items = [make_item("a", text="abc"), make_item("b", text="d")]

    table = losses(reader, items, tmp_path / "run")

    assert list(table.index) == [("a", 0)]
    assert table["tokens"].tolist() == [2]
