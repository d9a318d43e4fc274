"""The benchmark compares the same scores, and its tables say what it found. No time is asserted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import probing
from benchmarks.probing import ROUNDING, Cost, Measured, compare, gap_at, measure, shown, tables
from benchmarks.probing_made import (
    LONGEST,
    QUICK,
    SHORTEST,
    Made,
    MadeSae,
    make,
    subject_in,
)
from benchmarks.results import Table, read_results
from compliance.probes.hooks import capture
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef

SIZE = replace(QUICK, texts=24, architectures=("standard", "jumprelu", "topk"))
SAE = "jumprelu, layer 6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def made(folder):
    return make(folder, SIZE)


@pytest.mark.slow
def test_scores_are_those_of_saelens_and_none_flips(folder, made):
    found = measure(folder, made, tries=1)

    for name in made.saes:
        for ours, theirs in (("watched", "cache"), ("watched", "filtered"), ("search", "all")):
            mine, peers = found.scores[ours, name], found.scores[theirs, name]
            latents = SIZE.d_sae if ours == "search" else SIZE.watched
            assert mine.shape == peers.shape == (SIZE.texts, latents)
            difference, flips = compare(mine, peers)
            assert difference < ROUNDING and flips == 0
            assert (peers != 0).any(axis=1).sum() > SIZE.texts // 2
        for way in ("cache", "filtered", "blocks", "watched", "search", "confirm"):
            assert found.costs[way, name].seconds > 0
        assert found.profiles[name]
    printed = [shown(table) for table in tables(found, made, "a model")]
    assert all(SAE in text for text in printed)


def test_about_as_many_latents_fire_as_is_asked_for(made):
    model = subject_in(Path(made.model)).model
    for sae in made.saes.values():
        loaded = load_sae(SaeRef(path=sae.path), Path("."))
        states = [
            capture(model, torch.tensor([ids]), None, [sae.hook])[sae.hook][0] for ids in made.ids
        ]
        fired = loaded.encode(torch.cat(states)) != 0

        assert 0.8 * SIZE.l0 < fired.sum(dim=1).double().mean() < 1.25 * SIZE.l0
        assert fired[:, list(sae.watched)].any(dim=0).all()


def test_texts_are_of_many_lengths(made):
    lengths = [len(ids) for ids in made.ids]

    assert min(lengths) >= SHORTEST and max(lengths) <= LONGEST
    assert len(set(lengths)) > len(lengths) // 2
    assert made.read == tuple(tuple(range(n)) for n in lengths)


def test_what_is_made_is_read_again(made, folder):
    made.write(folder)

    assert Made.read_from(folder) == made


def test_the_same_seed_makes_the_same(made, tmp_path):
    again = make(tmp_path, SIZE)

    assert again.ids == made.ids
    assert [sae.watched for sae in again.saes.values()] == [s.watched for s in made.saes.values()]


def test_a_flip_is_counted_and_is_no_difference():
    ours = np.array([[0.0, 1.0, 2.0]])

    assert compare(ours, np.array([[0.5, 1.0, 2.25]])) == (0.25, 1)


def test_the_gap_at_a_flip_is_that_between_the_last_kept_and_the_next(made):
    name = "topk, layer 6"
    sae = load_sae(SaeRef(path=made.saes[name].path), Path("."), dtype=torch.float64)
    model = subject_in(Path(made.model)).model.double()
    states = capture(model, torch.tensor([made.ids[3]]), None, [made.saes[name].hook])
    before = (states[made.saes[name].hook][0] - sae.tensors["b_dec"]) @ sae.tensors["W_enc"]
    ranked = before.sort(dim=1, descending=True)
    last = ranked.values[:, sae.config.k - 1] - ranked.values[:, sae.config.k]
    token = int(last.argmin())
    latent = int(ranked.indices[token, sae.config.k])

    assert float(gap_at(made, name, 3, latent)) == pytest.approx(float(last[token]), rel=0.05)
    assert gap_at(made, SAE, 3, latent) is None


def test_a_flip_of_the_search_is_shown(monkeypatch):
    monkeypatch.setattr(probing, "gap_at", lambda *_: "1.7e-08")
    sae = MadeSae("sae", "blocks.6.hook_resid_pre", 6, "topk", (3, 5))
    made = Made("model", ("w1", "w2"), ((1,), (3,)), ((0,), (0,)), {SAE: sae})
    scores = {
        ("search", SAE): np.array([[0.0, 1.0], [2.75, 0.0]]),
        ("all", SAE): np.array([[0.0, 1.0], [0.0, 0.0]]),
    }

    [table] = probing._flips(Measured(scores=scores), made)

    assert table.rows == ((SAE, 1, 0, 2.8, "1.7e-08"),)


def test_the_least_of_the_tries_is_kept():
    cost = Cost()
    for seconds, mib in ((3.0, 5.0), (2.0, 9.0), (4.0, 6.0)):
        cost.keep(seconds, mib)

    assert (cost.seconds, cost.mib) == (2.0, 5.0)


def test_ratios_of_the_tables():
    sae = MadeSae("sae", "blocks.6.hook_resid_pre", 6, "jumprelu", (3, 5))
    made = Made("model", ("w1 w2", "w3"), ((1, 2), (3,)), ((0, 1), (0,)), {SAE: sae})
    seconds = {"cache": 12.0, "filtered": 5.0, "blocks": 2.0, "watched": 2.1, "search": 4.0,
               "confirm": 6.0}  # fmt: skip
    costs = {(way, SAE): Cost(s, 100 * s) for way, s in seconds.items()}
    scores = {
        (way, SAE): np.array([[0.0, 1.0], [0.5, 0.0]])
        for way in ("cache", "filtered", "watched", "all", "search")
    }
    found = Measured(costs, {SAE: [("addmm", 0.9), ("gelu", 0.05)]}, scores)

    cost, memory, same, wide, profile = tables(found, made, "a model")

    assert cost.rows == ((SAE, 12.0, 5.0, 2.0, 2.1, 5.71, 2.38, 1.05),)
    assert "2 texts of 3 tokens in all, 2 watched latents" in cost.note
    assert memory.rows == ((SAE, 1200, 500, 200, 210, 5.7),)
    assert same.rows == ((SAE, 4, 2, 1.0, "0.0e+00", 0),)
    assert wide.rows[0][1:4] == (2.5, 2.0, 3.0)
    assert profile.rows == ((SAE, "addmm", 90.0), (SAE, "gelu", 5.0))


def test_what_was_found_is_kept_with_the_command_that_found_it(tmp_path, monkeypatch, capsys):
    table = Table("Seconds", "", ("s",), ((1,),))
    monkeypatch.setattr(probing, "_measured", lambda size, tries: [table])
    monkeypatch.setattr(probing, "demo", lambda texts: None)
    out = tmp_path / "probing.json"
    monkeypatch.setattr("sys.argv", ["probing", "--texts", "9", "--out", str(out)])

    probing.main()

    found = read_results(out)
    assert found.tables == (table,)
    assert found.command.endswith("--out benchmarks/results/probing.json --texts 9")
    assert found.machine["load when it began"] >= 0
    said = capsys.readouterr()
    assert "Seconds" in said.out and "the demo's model is not here" in said.err
