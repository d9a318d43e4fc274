"""A pass against the plain computation: one item at a time, capture, encode, pool."""

import itertools
import statistics
import threading
import weakref

import numpy as np
import pytest
import torch

from compliance.errors import ProbeError
from compliance.probes import engine, reading
from compliance.probes.engine import (
    Work,
    make_batches,
    observe,
    observe_batch,
    prepare_items,
)
from compliance.probes.shards import RAGGED, Shard, shard_bytes
from compliance.probes.task import Task
from compliance.probes.tokens import Prepared
from compliance.records.plan import Direction
from compliance.records.suite import Variant
from compliance.statistics.conformal import cut_off
from compliance.statistics.logistic import Linear
from tests.probes.tiny import VOCABULARY, WIDTH, tiny_model, tiny_tokenizer
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    scores_of,
    silent,
    some_items,
    states_of,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK = "blocks.1.hook_resid_post"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return tiny_reader(tiny_sae(tmp_path_factory.mktemp("sae")))


@pytest.fixture(scope="module")
def busiest(reader, tmp_path_factory):
    """Latents that fire often, most often first: a score of zero everywhere would prove little."""
    task = Task(make_plan(reader), "search")
    shards = run_pass(labelled(), task, reader, tmp_path_factory.mktemp("search"))
    fired = np.concatenate([shard.latents[:, 3] for shard in shards])
    return [int(latent) for latent in np.argsort(-np.bincount(fired, minlength=64))]


def labelled(count=6):
    return [item for item in some_items(count) if item.concept]


def confirm(reader, *features, **plan):
    return Task(make_plan(reader, **plan), "confirm", chosen(locked(*features)))


def expected_states(prepared, reader, hook_name=HOOK, region="user"):
    return states_of(prepared, reader, hook_name)[list(prepared.regions[region])]


def facts_of(shards):
    return {
        str(name): tuple(int(v) for v in row)
        for shard in shards
        for name, row in zip(shard.items, shard.facts, strict=True)
    }


# Scores


@pytest.mark.parametrize("region", ["user", "assistant", "last"])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_scores_are_those_of_one_item_at_a_time(reader, busiest, tmp_path, region, pooling):
    items, latent = some_items(), busiest[0]
    pools = {"max": lambda x: x.max(), "mean": lambda x: x.mean(), "last": lambda x: x[-1]}
    expected = {}
    for prepared in prepare_items(items, reader.subject):
        x = expected_states(prepared, reader, region=region)
        if len(x):
            expected[prepared.item.id] = float(pools[pooling](reader.saes[0].encode(x)[:, latent]))

    task = confirm(reader, (0, latent), region=region, pooling=pooling)
    found = scores_of(run_pass(items, task, reader, tmp_path), task)

    assert found.keys() == expected.keys()
    assert sum(value > 0 for value in expected.values()) > len(expected) / 4
    assert max(abs(found[name] - expected[name]) for name in found) <= TOLERANCE


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma3"])
def test_batch_one_and_batch_many_differ_by_rounding_and_flip_no_alarm(tmp_path, family):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"), family=family)
    items = some_items(10)
    every = tuple((0, latent) for latent in range(64))
    found = []
    for name, size in (("one", 16), ("many", 4096)):
        task = confirm(reader, *every, batch_tokens=size)
        found.append((run_pass(items, task, reader, tmp_path / name), task))
    (one, _), (many, _) = found

    first, second = (scores_of(shards, task) for shards, task in found)

    assert len(one) == len(items) > len(many)
    assert first.keys() == second.keys()
    assert max(abs(first[name] - second[name]) for name in first) <= TOLERANCE
    benign = [name for name in sorted(first) if name.startswith("negative")]
    limits = [cut_off([s[name] for name in benign[::2]], 0.2).value for s in (first, second)]
    others = [name for name in first if name not in benign[::2]]
    alarms = [
        {n for n in others if s[n] > limit}
        for s, limit in zip((first, second), limits, strict=True)
    ]
    assert alarms[0] == alarms[1]
    assert 0 < len(alarms[0]) < len(others)


def test_several_features_are_combined_by_their_maximum(reader, busiest, tmp_path):
    items, features = some_items(), busiest[:3]
    alone = []
    for latent in features:
        task = confirm(reader, (0, latent))
        alone.append(scores_of(run_pass(items, task, reader, tmp_path / str(latent)), task))

    together = confirm(reader, *((0, latent) for latent in features))
    found = scores_of(run_pass(items, together, reader, tmp_path / "together"), together)

    assert found == {name: max(scores[name] for scores in alone) for name in found}
    assert any(found != scores for scores in alone)


def test_two_saes_read_each_at_its_own_hook(tmp_path):
    hooks = ("blocks.0.hook_resid_post", "blocks.2.hook_resid_pre")
    saes = [tiny_sae(tmp_path / name, "standard", hook_name=name, seed=7) for name in hooks]
    reader, items = tiny_reader(*saes), some_items()
    assert reader.hook_names == hooks

    task = confirm(reader, (0, 3), (1, 5))
    found = scores_of(run_pass(items, task, reader, tmp_path / "run"), task)

    for prepared in prepare_items(items, reader.subject):
        values = [
            float(sae.encode(expected_states(prepared, reader, hook))[:, latent].max())
            for sae, hook, latent in zip(saes, hooks, (3, 5), strict=True)
        ]
        assert abs(found[prepared.item.id] - max(values)) <= TOLERANCE


def test_each_concept_gets_its_own_items_and_every_benign_one(reader, tmp_path):
    plan = make_plan(reader, concepts=("danger", "flattery"))
    task = Task(plan, "confirm", chosen(locked((0, 1)), locked((0, 2), concept="flattery")))
    items = [
        make_item("a", "positive", text="one"),
        make_item("b", "hard-negative", concept="flattery", text="two"),
        make_item("c", text="three"),
    ]

    shards = run_pass(items, task, reader, tmp_path)

    assert scores_of(shards, task, probe=0).keys() == {"a", "c"}
    assert scores_of(shards, task, probe=1).keys() == {"b", "c"}


def test_the_count_of_tokens_is_that_of_the_region(reader, tmp_path):
    items = [make_item("a", turns=(("user", "four"), ("assistant", "seven77")))]

    found = []
    for region in ("user", "assistant", "last"):
        task = confirm(reader, (0, 0), region=region)
        shards = run_pass(items, task, reader, tmp_path / region)
        found.append(scores_of(shards, task, "tokens")["a"])

    assert found == [4, 7, 1]


def test_an_item_without_the_region_has_no_row_and_is_still_counted(reader, tmp_path):
    items = [make_item("prompt", text="x"), make_item("talk", turns=(("assistant", "y"),))]

    task = confirm(reader, (0, 0), region="assistant")
    shards = run_pass(items, task, reader, tmp_path)

    assert scores_of(shards, task).keys() == scores_of(shards, task, "tokens").keys() == {"talk"}
    assert facts_of(shards).keys() == {"prompt", "talk"}


def direction(language, scorer="dense", features=f"residual/{HOOK}"):
    return Direction(scorer=scorer, concept="danger", language=language, features=features,
                     coefficients=(1.0,), bias=-0.25, positives=1, hard_negatives=1)  # fmt: skip


def dense(reader, **weights):
    """A task with a dense direction for each language."""
    choices = chosen(locked((0, 0)), directions=tuple(map(direction, weights)))
    linear = {
        ("dense", "danger", Variant(language, "text", "plain")): Linear(np.array(w), -0.25)
        for language, w in weights.items()
    }
    return Task(make_plan(reader), "confirm", choices, linear)


def test_the_dense_score_is_the_direction_on_the_mean_residual(reader, tmp_path):
    weights = {"en": [0.1 * i for i in range(WIDTH)], "ja": [1.0] * WIDTH}
    items, task = some_items(), dense(reader, **weights)

    found = scores_of(run_pass(items, task, reader, tmp_path), task, "dense")

    for prepared in prepare_items(items, reader.subject):
        mean = expected_states(prepared, reader).double().mean(dim=0).numpy()
        expected = float(np.dot(mean, weights[prepared.item.language])) - 0.25
        assert found[prepared.item.id] == pytest.approx(expected, abs=TOLERANCE)


def test_without_a_direction_in_its_language_an_item_has_no_dense_score(reader, tmp_path):
    task = dense(reader, ja=[1.0] * WIDTH)

    found = scores_of(run_pass(some_items(), task, reader, tmp_path), task, "dense")

    assert found
    assert all(name.endswith("-ja") for name in found)


# Tokens that are left out


def loud_model(character="q", factor=300.0):
    """A model in which one character has a residual of far greater norm than the others."""
    model = tiny_model("llama")
    token = tiny_tokenizer().convert_tokens_to_ids(character)
    model.get_input_embeddings().weight.data[token] *= factor
    return model


def stated_sinks(prepared, reader, ratio):
    """PROTOCOL section 4 in other words: the norm exceeds the ratio times the item's median."""
    norms = [float(n) for n in expected_states(prepared, reader, region="read").norm(dim=-1)]
    limit = ratio * statistics.median_low(norms)
    return [place for place, n in zip(prepared.regions["read"], norms, strict=True) if n > limit]


@pytest.mark.parametrize("ratio", [2.0, 10.0])
def test_sinks_are_counted_and_read_by_nobody(busiest, reader, tmp_path, ratio):
    loud = tiny_reader(*reader.saes, model=loud_model())
    items = [
        make_item("sinks", turns=(("user", "some quiet words"), ("assistant", "quite so, q"))),
        make_item("none", text="calm words only"),
    ]
    works = {p.item.id: p for p in prepare_items(items, loud.subject)}
    sinks = {name: stated_sinks(work, loud, ratio) for name, work in works.items()}

    task = confirm(loud, *((0, n) for n in busiest[:5]), sink_norm_ratio=ratio)
    shards = run_pass(items, task, loud, tmp_path)

    assert len(sinks["sinks"]) == 3
    assert not sinks["none"]
    assert {name: row[2] for name, row in facts_of(shards).items()} == {"sinks": 3, "none": 0}
    for name, work in works.items():
        kept = [place for place in work.regions["user"] if place not in sinks[name]]
        latents = loud.saes[0].encode(states_of(work, loud, HOOK)[kept])[:, busiest[:5]]
        assert abs(scores_of(shards, task)[name] - float(latents.max())) <= TOLERANCE
        assert scores_of(shards, task, "tokens")[name] == len(kept)


@pytest.mark.parametrize(("nudge", "sinks"), [(0.999, 1), (1.001, 0)])
def test_a_sink_exceeds_the_ratio_times_the_median(reader, tmp_path, nudge, sinks):
    loud = tiny_reader(*reader.saes, model=loud_model())
    items = [make_item("a", text="even q number")]
    work = prepare_items(items, loud.subject)[0]
    norms = expected_states(work, loud).norm(dim=-1).tolist()
    ratio = max(norms) / statistics.median_low(norms)

    task = confirm(loud, (0, 0), sink_norm_ratio=ratio * nudge)
    shards = run_pass(items, task, loud, tmp_path)

    assert facts_of(shards)["a"][2] == sinks


def test_a_region_of_sinks_alone_gives_no_score(reader, tmp_path):
    loud = tiny_reader(*reader.saes, model=loud_model())
    items = [make_item("a", turns=(("user", "long enough to judge"), ("assistant", "q")))]

    task = confirm(loud, (0, 0), region="assistant")
    shards = run_pass(items, task, loud, tmp_path)

    assert scores_of(shards, task) == {}
    assert facts_of(shards)["a"][2] == 1


def test_items_beyond_the_shortest_context_of_an_sae_are_flagged(tmp_path):
    hooks = {"a": "blocks.0.hook_resid_post", "b": HOOK}
    contexts = {"a": 30, "b": 20}
    reader = tiny_reader(
        *(
            tiny_sae(tmp_path / n, hook_name=hooks[n], metadata={"context_size": contexts[n]})
            for n in hooks
        )
    )
    template = 3  # bos, user, end
    items = [make_item(f"n{n}", text="x" * (n - template)) for n in (19, 20, 21, 31)]

    found = facts_of(run_pass(items, confirm(reader, (0, 0)), reader, tmp_path / "run"))

    assert {name: row[:2] for name, row in found.items()} == {
        "n19": (19, 0), "n20": (20, 0), "n21": (21, 1), "n31": (31, 1),
    }  # fmt: skip


def test_an_sae_that_tells_no_context_flags_nothing(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae", metadata={"context_size": None}))

    shards = run_pass([make_item("a", text="x" * 90)], confirm(reader, (0, 0)), reader, tmp_path)

    assert facts_of(shards)["a"][1] == 0


# The search


def test_the_search_keeps_the_latents_that_fired(reader, tmp_path):
    items, task = labelled(), Task(make_plan(reader), "search")

    shards = run_pass(items, task, reader, tmp_path)

    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    found = {name: np.zeros(64) for name in works}
    for shard in shards:
        for (i, _, _, latent), score in zip(shard.latents, shard.latent_scores, strict=True):
            found[str(shard.items[i])][latent] = score
    for name, work in works.items():
        latents = reader.saes[0].encode(expected_states(work, reader))
        assert np.abs(found[name] - latents.max(dim=0).values.numpy()).max() <= TOLERANCE
    assert not scores_of(shards, task)
    assert scores_of(shards, task, "tokens").keys() == works.keys()


def test_the_search_keeps_random_latents_of_the_reference_language(reader, tmp_path):
    items = labelled()

    shards = run_pass(items, Task(make_plan(reader), "search"), reader, tmp_path)

    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    found = {name: np.zeros(64) for name, work in works.items() if work.item.language == "en"}
    for shard in shards:
        for (i, _, _, latent), score in zip(shard.random, shard.random_scores, strict=True):
            found[str(shard.items[i])][latent] = score
    for name, scores in found.items():
        x = expected_states(works[name], reader)
        counts = (reader.saes[0].encode(x) != 0).sum(dim=1)
        expected = (
            reader.random[0].fired(x, counts, 2**20).columns(range(64)).max(dim=0).values.numpy()
        )
        assert np.abs(scores - expected).max() <= TOLERANCE
    assert 0 < min((scores > 0).sum() for scores in found.values()) < 64


def test_the_search_keeps_the_means_that_linear_controls_are_fitted_on(tmp_path):
    hooks = ("blocks.0.hook_resid_post", HOOK)
    reader = tiny_reader(*(tiny_sae(tmp_path / hook, hook_name=hook) for hook in hooks))
    items, task = labelled(), Task(make_plan(reader), "search")

    shards = run_pass(items, task, reader, tmp_path / "run")

    assert task.vectors == (
        f"residual/{hooks[0]}", f"residual/{HOOK}", "reconstruction/0", "error/0",
        "reconstruction/1", "error/1", "ngrams", "colour", "pixels",
    )  # fmt: skip
    found = {
        (str(shard.items[i]), task.vectors[kind]): vector
        for shard in shards
        for (i, _, kind), vector in zip(shard.vectors_of, shard.vectors, strict=True)
    }
    of_text = [kind for kind in task.vectors if kind not in ("colour", "pixels")]
    assert set(found) == {(item.id, kind) for item in items for kind in of_text}
    for prepared in prepare_items(items, reader.subject):
        name = prepared.item.id
        for s, hook in enumerate(hooks):
            x = expected_states(prepared, reader, hook)
            x_hat = reader.saes[s].reconstruct(x)
            for kind, values in (
                (f"residual/{hook}", x), (f"reconstruction/{s}", x_hat), (f"error/{s}", x - x_hat),
            ):  # fmt: skip
                assert np.abs(found[name, kind] - values.mean(dim=0).numpy()).max() <= TOLERANCE


def test_a_transcoders_error_is_about_what_it_should_have_written(tmp_path):
    into, out = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    reader = tiny_reader(tiny_sae(tmp_path / "sae", "skip_transcoder", hook_name=into))
    items, task = labelled(2), Task(make_plan(reader), "search")

    shards = run_pass(items, task, reader, tmp_path / "run")

    assert reader.hook_names == (into, out)
    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    for shard in shards:
        for (i, _, kind), vector in zip(shard.vectors_of, shard.vectors, strict=True):
            if task.vectors[kind] == "error/0":
                work = works[str(shard.items[i])]
                written = reader.saes[0].reconstruct(expected_states(work, reader, into))
                expected = (expected_states(work, reader, out) - written).mean(dim=0)
                assert vector == pytest.approx(expected.numpy(), abs=TOLERANCE)


# Width and numbers


@pytest.mark.parametrize("at_once", [1, 64, 200])
@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_an_sae_encoded_in_pieces_gives_the_same_numbers(
    reader, busiest, tmp_path, monkeypatch, at_once, stage
):
    items = labelled(3)
    task = Task(make_plan(reader), stage, chosen(locked((0, busiest[0]))))
    whole = run_pass(items, task, reader, tmp_path / "whole")
    monkeypatch.setattr(reading, "ENCODED_AT_ONCE", at_once)

    pieces = run_pass(items, task, reader, tmp_path / "pieces")

    for a, b in zip(whole, pieces, strict=True):
        assert np.array_equal(a.latents, b.latents)
        assert np.abs(a.latent_scores - b.latent_scores).max(initial=0) <= TOLERANCE
        assert np.allclose(a.scores, b.scores, rtol=0, atol=TOLERANCE)
        assert np.allclose(a.sums, b.sums, rtol=1e-5)


def test_a_latent_that_is_not_finite_ends_the_run(tmp_path):
    sae = tiny_sae(tmp_path / "sae", "standard")
    sae.tensors["W_enc"].mul_(3e38)
    reader = tiny_reader(sae)

    with pytest.raises(ProbeError, match=f"sae: a latent is not finite at {HOOK}"):
        run_pass(some_items(1), confirm(reader, (0, 0)), reader, tmp_path / "run")


def test_what_stands_at_padding_moves_nothing(reader, tmp_path):
    """The model has no token for padding, so that of another token stands there."""
    task = confirm(reader, (0, 1))
    plain = run_pass(some_items(), task, reader, tmp_path / "a")
    other = tiny_reader(*reader.saes)
    other.subject.tokenizer.pad_token = None

    found = run_pass(some_items(), task, other, tmp_path / "b")

    first, second = scores_of(plain, task), scores_of(found, task)
    assert max(abs(first[name] - second[name]) for name in first) <= TOLERANCE


# Batches


def work_of(*lengths):
    return [
        Prepared(make_item(f"item-{n:02d}", text="x"), (VOCABULARY - 1,) * length, {})
        for n, length in enumerate(lengths)
    ]


def shape(batches):
    return [[p.item.id for p in batch.prepared()] for batch in batches]


@pytest.mark.parametrize("tokens", [16, 64, 333, 10_000])
def test_batches_hold_every_item_once_and_keep_to_their_tokens(tokens):
    work = work_of(*(3 + (7 * n) % 41 for n in range(60)))

    batches = make_batches(work, tokens)

    assert sorted(itertools.chain(*shape(batches))) == [p.item.id for p in work]
    for batch in batches:
        width = max(len(p.ids) for p in batch.prepared())
        assert len(batch) == 1 or len(batch) * width <= tokens


def test_batches_do_not_depend_on_the_order_of_items():
    work = work_of(5, 3, 3, 9, 5, 5, 1, 3)
    expected = shape(make_batches(work, 12))

    for shuffled in (work[::-1], work[3:] + work[:3], sorted(work, key=lambda p: p.item.id[::-1])):
        assert shape(make_batches(shuffled, 12)) == expected


def test_an_item_wider_than_the_budget_gets_a_batch_of_its_own(reader, tmp_path):
    assert shape(make_batches(work_of(40, 3, 50, 3), 16)) == [
        ["item-01", "item-03"], ["item-00"], ["item-02"],
    ]  # fmt: skip

    items = [make_item("wide", text="x" * 60), make_item("a", text="x"), make_item("b", text="y")]
    task = confirm(reader, (0, 0), batch_tokens=16)
    shards = run_pass(items, task, reader, tmp_path)

    assert [list(shard.items) for shard in shards] == [["a", "b"], ["wide"]]


def test_no_items_make_no_batches():
    assert make_batches([], 16) == []


# Going on


@pytest.fixture
def ran(monkeypatch):
    """The batches that were run, by their first item."""
    names = []

    def counted(batch, *others):
        names.append(batch[0].item.id)
        return observe_batch(batch, *others)

    monkeypatch.setattr(engine, "observe_batch", counted)
    return names


def same(first, second):
    plain = [name for name in Shard.__dataclass_fields__ if name not in RAGGED]
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in plain
    ) and all(
        np.array_equal(v, w)
        for a, b in zip(first, second, strict=True)
        for name in RAGGED
        for v, w in zip(getattr(a, name), getattr(b, name), strict=True)
    )


STAGES = ("search", "calibrate", "confirm", "losses", "shifts", "repeats")


@pytest.mark.parametrize("stage", STAGES)
def test_finished_shards_are_not_run_again_and_come_back_as_they_were(reader, tmp_path, ran, stage):
    task = Task(make_plan(reader), stage, chosen(locked((0, 1))))
    first = run_pass(labelled(), task, reader, tmp_path)
    count = len(ran)

    again = run_pass(labelled(), task, reader, tmp_path)

    assert count == len(first) > 2
    assert len(ran) == count
    assert same(first, again)


@pytest.mark.parametrize("stage", ["losses", "repeats"])
def test_items_of_some_passes_are_run_alone(reader, tmp_path, stage):
    task = Task(make_plan(reader), stage, chosen(locked((0, 1))))

    shards = run_pass(some_items(2), task, reader, tmp_path)

    assert [len(shard.items) for shard in shards] == [1] * len(some_items(2))


@pytest.mark.parametrize("stage", ["shifts", "repeats"])
def test_some_passes_score_the_probe_alone(reader, busiest, tmp_path, stage):
    whole = confirm(reader, (0, busiest[0]))
    task = Task(whole.plan, stage, whole.choices)
    expected = scores_of(run_pass(some_items(), whole, reader, tmp_path / "whole"), whole)

    shards = run_pass(some_items(), task, reader, tmp_path / stage)

    assert scores_of(shards, task) == pytest.approx(expected, abs=TOLERANCE)
    assert sum(len(shard.scores) for shard in shards) == len(expected)


def test_a_run_that_was_stopped_goes_on_where_it_was(reader, tmp_path, ran):
    task = Task(make_plan(reader), "search")
    work = prepare_items(labelled(), reader.subject)
    stopped = observe(work, task, reader, tmp_path, silent)
    kept = [next(stopped), next(stopped)]
    stopped.close()

    found = list(observe(work[::-1], task, reader, tmp_path, silent))

    assert same(found[:2], kept)
    assert len(ran) == len(found)


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"sink_norm_ratio": 9.0}, {"region": "last"}, {"software": "another"}],
    ids=str,
)
def test_shards_of_another_plan_are_run_again(reader, tmp_path, ran, change):
    run_pass(some_items(2), confirm(reader, (0, 1)), reader, tmp_path)
    count = len(ran)

    found = run_pass(some_items(2), confirm(reader, (0, 1), **change), reader, tmp_path)

    assert len(ran) == count + len(found)


def test_shards_of_other_choices_weights_or_pass_are_run_again(reader, tmp_path, ran):
    plan = make_plan(reader)
    both = chosen(locked((0, 2)), directions=(direction("en"),))
    tasks = [
        Task(plan, "confirm", chosen(locked((0, 1)))),
        Task(plan, "confirm", chosen(locked((0, 2)))),
        dense(reader, en=[1.0] * WIDTH),
        dense(reader, en=[2.0] * WIDTH),
        Task(plan, "shifts", both),
        Task(plan, "shifts", both, environment="another machine"),
        Task(plan, "shifts", both, shift="blank"),
        Task(plan, "shifts", both, shift="noise"),
        Task(plan, "search"),
    ]
    assert len({task.digest for task in tasks}) == len(tasks)

    for task in tasks:
        ran.clear()
        shards = run_pass(labelled(2), task, reader, tmp_path)
        assert len(ran) == len(shards)


def test_shards_of_the_same_items_in_other_words_are_run_again(reader, tmp_path, ran):
    task = Task(make_plan(reader), "shifts", chosen(locked((0, 1))))
    run_pass([make_item("a", "positive", text="some words")], task, reader, tmp_path)
    ran.clear()

    run_pass([make_item("a", "positive", text="smoe words")], task, reader, tmp_path)

    assert ran == ["a"]


def test_shards_of_other_items_are_run_again(reader, tmp_path, ran):
    task = Task(make_plan(reader, batch_tokens=16), "search")
    items = [make_item(name, "positive", text="x" * 20 + name) for name in ("a", "b", "c")]
    run_pass(items, task, reader, tmp_path)
    ran.clear()

    found = run_pass([items[0], items[2]], task, reader, tmp_path)

    assert ran == ["c"]
    assert [str(shard.items[0]) for shard in found] == ["a", "c"]


def damages(data):
    """A shard after what happens to files."""
    middle = len(data) // 2
    yield b""
    yield b"not a shard"
    yield data[:40]
    yield data[:middle]
    yield data[:-1]
    yield bytes(len(data))
    for place in range(11, len(data), len(data) // 40):
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield data.replace(b"latents.npy", b"letters.npy")
    yield data.replace(b"vectors_lengths.npy", b"vectors_letters.npy")


def test_a_damaged_shard_is_run_again_or_is_as_it_was(reader, tmp_path):
    task = confirm(reader, (0, 1), batch_tokens=4096)
    work = prepare_items(some_items(2), reader.subject)
    first = list(observe(work, task, reader, tmp_path, silent))
    (path,) = tmp_path.glob("shard-*.npz")
    whole = path.read_bytes()

    for damaged in damages(whole):
        path.write_bytes(damaged)

        assert same(list(observe(work, task, reader, tmp_path, silent)), first)


def test_progress_counts_items_and_reaches_the_total(reader, tmp_path):
    told = []
    items = labelled()
    task = Task(make_plan(reader), "search")
    work = prepare_items(items, reader.subject)

    for _ in range(2):
        list(observe(work, task, reader, tmp_path, lambda *now: told.append(now)))

    half = len(told) // 2
    done = [now[0] for now in told]
    assert {now[1] for now in told} == {len(items)}
    assert done[:half] == sorted(set(done[:half]))
    assert done[half - 1] == done[-1] == len(items)
    assert told[half - 1][2] == 0
    assert all(now[2] is None for now in told[half:])


def test_two_passes_write_the_same_bytes(reader, tmp_path):
    task = Task(make_plan(reader), "search")

    for name in ("a", "b"):
        run_pass(labelled(), task, reader, tmp_path / name)

    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second


def test_gradients_are_not_kept(reader):
    work = prepare_items(labelled(1), reader.subject)

    shard = observe_batch(work, Task(make_plan(reader), "search"), reader)

    assert isinstance(shard.vectors[0], np.ndarray)
    assert not any(p.requires_grad for p in reader.subject.model.parameters())
    assert torch.is_grad_enabled()


# Ahead of the model


def shards_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.npz"))}


def plainly(make, given):
    """What a thread does ahead, done when it is asked for."""
    return map(make, given)


def threads():
    return [one.name for one in threading.enumerate() if one.name.startswith("prepare")]


@pytest.mark.parametrize("stage", STAGES)
def test_preparing_ahead_changes_no_byte(reader, tmp_path, monkeypatch, stage):
    task = Task(make_plan(reader), stage, chosen(locked((0, 1))))
    first = run_pass(labelled(), task, reader, tmp_path / "ahead")
    monkeypatch.setattr(engine, "_ahead", plainly)

    second = run_pass(labelled(), task, reader, tmp_path / "plain")

    assert same(first, second)
    assert len(shards_in(tmp_path / "ahead")) > 2
    assert shards_in(tmp_path / "ahead") == shards_in(tmp_path / "plain")


def test_work_keeps_lengths_alone_and_gives_the_same_shards(reader, tmp_path):
    items, task = labelled(), Task(make_plan(reader), "search")
    work = Work(items, reader.subject)

    list(observe(work, task, reader, tmp_path / "work", silent))
    run_pass(items, task, reader, tmp_path / "prepared")

    assert work.lengths.tolist() == [p.length for p in prepare_items(items, reader.subject)]
    assert work.prepared(3) == prepare_items(items[3:4], reader.subject)[0]
    assert work.prepared(3) is not work.prepared(3)
    assert shards_in(tmp_path / "work") == shards_in(tmp_path / "prepared")


def test_work_refuses_an_item_before_anything_is_run(reader):
    with pytest.raises(ProbeError, match="item long"):
        Work([make_item("a", text="x"), make_item("long", text="x" * 600)], reader.subject)


def test_few_batches_are_prepared_ahead_and_shards_are_let_go(reader, tmp_path, monkeypatch):
    prepared, taken, shards = [], [], []

    def counted(find, subject, batch):
        prepared.append(batch.index)
        return ready(find, subject, batch)

    ready = engine._ready
    monkeypatch.setattr(engine, "_ready", counted)
    task = Task(make_plan(reader, batch_tokens=16), "search")

    for shard in observe(Work(labelled(), reader.subject), task, reader, tmp_path, silent):
        taken.append(len(prepared))
        shards.append(weakref.ref(shard))
        del shard
        assert sum(one() is not None for one in shards) <= 1

    assert len(shards) > 10
    assert all(ahead - place <= engine.AHEAD + 1 for place, ahead in enumerate(taken))


def test_what_fails_ahead_is_raised_and_what_stands_before_it_is_kept(reader, tmp_path):
    work = Work(labelled(), reader.subject)
    task = Task(make_plan(reader, batch_tokens=16), "search")
    last = max(range(len(work)), key=lambda i: (work.lengths[i], work.items[i].id))
    work.items[last] = make_item(work.items[last].id, "positive", text="x" * 600)

    with pytest.raises(ProbeError, match="600 tokens|positions"):
        list(observe(work, task, reader, tmp_path, silent))

    assert len(shards_in(tmp_path)) == len(make_batches(work, 16)) - 1
    assert threads() == []


def test_an_interrupt_ends_the_thread(reader, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "observe_batch", interrupt)
    task = Task(make_plan(reader, batch_tokens=16), "search")

    with pytest.raises(KeyboardInterrupt):
        list(observe(Work(labelled(), reader.subject), task, reader, tmp_path, silent))

    assert threads() == []


# Another engine


class Elsewhere:
    """Runs batches in the order of a coin, and fails after some."""

    def __init__(self, reader, last=None):
        self.reader, self.last, self.asked = reader, last, []

    def __call__(self, batches, task):
        batches = list(batches)
        self.asked = [batch.index for batch in batches]
        for batch in batches[::-1][: self.last]:
            prepared = batch.prepared()
            shard = observe_batch(prepared, task, self.reader)
            yield batch.index, shard_bytes(shard, engine.shard_name(prepared, task.digest))
        if self.last is not None:
            raise ProbeError("the cluster is gone")


def test_another_engine_is_asked_for_what_is_missing_and_comes_in_any_order(reader, tmp_path):
    task, work = Task(make_plan(reader), "search"), Work(labelled(), reader.subject)
    here = list(observe(work, task, reader, tmp_path / "here", silent))
    told = []
    first, second = Elsewhere(reader, last=2), Elsewhere(reader)

    with pytest.raises(ProbeError, match="the cluster is gone"):
        list(observe(work, task, reader, tmp_path / "there", silent, first))
    kept = shards_in(tmp_path / "there")
    there = list(
        observe(work, task, reader, tmp_path / "there", lambda *now: told.append(now), second)
    )

    every = list(range(len(here)))
    assert first.asked == every
    assert len(kept) == 2
    assert second.asked == every[:-2]
    assert same(here, there)
    assert shards_in(tmp_path / "here") == shards_in(tmp_path / "there")
    assert [now[0] for now in told] == sorted({now[0] for now in told})
    assert told[-1][0] == len(work)


def test_a_shard_of_other_items_from_another_engine_is_refused(reader, tmp_path):
    task, work = Task(make_plan(reader), "search"), Work(labelled(), reader.subject)

    def mixed(batches, task):
        data = dict(Elsewhere(reader)(batches, task))
        yield from {0: data[1], 1: data[0], **{i: data[i] for i in data if i > 1}}.items()

    with pytest.raises(ProbeError, match="another shard than it was asked for"):
        list(observe(work, task, reader, tmp_path, silent, mixed))
