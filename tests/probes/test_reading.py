"""Items of a batch are encoded together, in blocks, and none of it stays dense."""

import weakref

import pytest
import torch

from compliance.probes import reading as reading_module
from compliance.probes.batch import observe_batch, states_of
from compliance.probes.engine import prepare_items
from compliance.probes.random_sae import RandomSae
from compliance.probes.reading import Reading, joined
from compliance.probes.sae import Sae
from compliance.probes.task import Task
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    some_items,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOKS = ("blocks.1.hook_resid_post", "blocks.0.hook_resid_post")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saes")
    return tiny_reader(
        *(tiny_sae(folder / str(s), hook_name=h, seed=s) for s, h in enumerate(HOOKS))
    )


@pytest.fixture(scope="module")
def batch(reader):
    return prepare_items(some_items(3), reader.subject)


def readings(batch, reader, ratio=1.1):
    """Some tokens are left out, others at each hook."""
    states = states_of(batch, reader)
    return [Reading(p, s, reader, ratio) for p, s in zip(batch, states, strict=True)]


@pytest.fixture
def encoded(monkeypatch):
    """Rows of each call that encodes all latents."""
    rows, fired = [], Sae.fired
    monkeypatch.setattr(Sae, "fired", lambda *a: rows.append(len(a[1])) or fired(*a))
    return rows


def test_items_encoded_together_have_the_latents_they_have_alone(reader, batch):
    alone, together = readings(batch, reader), joined(readings(batch, reader))

    for one, other in zip(alone, together, strict=True):
        for s, sae in enumerate(reader.saes):
            latents = one.latents(s, range(64))
            assert latents.shape == (len(one.kept[HOOKS[s]]), 64)
            assert torch.equal(latents, sae.encode(one.inputs(s)))
            found = other.latents(s, range(64))
            assert torch.equal(found != 0, latents != 0)
            assert torch.allclose(found, latents, rtol=0, atol=1e-6)
            x_hat = sae.reconstruct(one.inputs(s))
            assert torch.allclose(other.reconstruction(s), x_hat, rtol=0, atol=1e-5)


def test_tokens_of_a_batch_are_encoded_once_and_without_padding(reader, batch, encoded):
    task = Task(make_plan(reader, sink_norm_ratio=1.1), "confirm", chosen(locked((0, 3), (1, 4))))
    tokens = [sum(len(r.kept[hook]) for r in readings(batch, reader)) for hook in HOOKS]

    observe_batch(batch, task, reader)

    assert encoded == tokens
    assert tokens[0] != tokens[1]
    assert max(tokens) < sum(len(p.ids) for p in batch)


def test_items_are_grouped_as_far_as_their_latents_fit_in_a_block(
    reader, batch, encoded, monkeypatch
):
    monkeypatch.setattr(reading_module, "ENCODED_AT_ONCE", 64 * 60)
    lengths = [max(map(len, r.kept.values())) for r in readings(batch, reader)]

    for reading in joined(readings(batch, reader)):
        reading.fired(0)

    assert max(lengths) <= 60
    assert all(rows <= 60 for rows in encoded)
    assert len(encoded) < len(batch) / 1.5
    assert sum(encoded) == sum(len(r.inputs(0)) for r in readings(batch, reader))


def test_what_fired_on_a_group_is_let_go_with_it(reader, batch, monkeypatch):
    monkeypatch.setattr(reading_module, "ENCODED_AT_ONCE", 1)
    alive, most = weakref.WeakSet(), 0
    states = states_of(batch, reader)
    made = (Reading(p, s, reader, 1.1) for p, s in zip(batch, states, strict=True))

    for reading in joined(made):
        alive.add(reading.fired(0))
        most = max(most, len(alive))

    assert 1 <= most <= 2 < len(batch)


@pytest.mark.parametrize("stage", ["shifts", "repeats"])
def test_passes_of_the_probe_alone_encode_its_latents_alone(reader, batch, monkeypatch, stage):
    asked, encode = [], Sae.encode
    monkeypatch.setattr(Sae, "encode", lambda *a: asked.append(a[2]) or encode(*a))
    monkeypatch.setattr(Sae, "fired", None)
    task = Task(make_plan(reader), stage, chosen(locked((0, 9), (0, 3))))

    shard = observe_batch(batch, task, reader)

    assert asked == [[3, 9]]
    assert len(shard.scores) > len(batch) / 2


@pytest.mark.parametrize("architecture", ["jumprelu", "topk"])
def test_the_watched_latents_score_as_all_of_them_do(tmp_path, batch, architecture):
    reader = tiny_reader(tiny_sae(tmp_path / "sae", architecture))
    choices = chosen(locked(*((0, latent) for latent in (9, 3, 40))))
    plan = make_plan(reader)

    whole = observe_batch(batch, Task(plan, "confirm", choices), reader).scores
    found = observe_batch(batch, Task(plan, "shifts", choices), reader).scores

    probe = whole[whole[:, 2] == Task(plan, "confirm", choices).scorers.index("probe")]
    assert found[:, :2].tolist() == probe[:, :2].tolist()
    assert found[:, 3] == pytest.approx(probe[:, 3], abs=1e-5)
    assert (found[:, 3] > 0).any()


def test_the_random_counterpart_reads_the_planned_regions_alone(reader, monkeypatch):
    rows, products = [], RandomSae.products
    monkeypatch.setattr(RandomSae, "products", lambda *a: rows.append(len(a[1])) or products(*a))
    items = [
        make_item("a", "positive", turns=(("user", "four"), ("assistant", "seven77"))),
        make_item("b", "positive", language="ja", turns=(("user", "four"),)),
        make_item("c", "neutral", concept=None, turns=(("user", "four"),)),
    ]
    batch = prepare_items(items, reader.subject)

    observe_batch(batch, Task(make_plan(reader), "search"), reader)
    searched = list(rows)
    rows.clear()
    control = chosen(locked((0, 3)), random_probes=(locked((0, 5)),))
    observe_batch(batch, Task(make_plan(reader), "confirm", control), reader)

    assert searched == [4, 4]  # of the first item, at each SAE
    assert rows == [8]  # of the first two


@pytest.mark.parametrize("stage", ["search", "calibrate", "confirm", "shifts", "repeats"])
def test_a_batch_gives_the_same_numbers_each_time(reader, batch, stage):
    control = chosen(locked((0, 3), (1, 4)), random_probes=(locked((0, 5)),))
    task = Task(make_plan(reader), stage, control)

    first, second = (observe_batch(batch, task, reader) for _ in range(2))

    for name in ("scores", "latents", "latent_scores", "random_scores", "sums", "firing",
                 "cofiring"):  # fmt: skip
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
