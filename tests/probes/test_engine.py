"""A pass against the plain computation: one item at a time, capture, encode, pool."""

import itertools
import statistics

import numpy as np
import pytest
import torch

from compliance.errors import ProbeError
from compliance.probes import engine
from compliance.probes.engine import Task, make_batches, observe, observe_batch, prepare_items
from compliance.probes.tokens import Prepared
from compliance.records.plan import Direction
from compliance.records.suite import Label
from compliance.statistics.conformal import cut_off
from tests.probes.tiny import VOCABULARY, WIDTH, tiny_model, tiny_tokenizer
from tests.probes.tiny_pass import (
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
    task = Task(make_plan(reader), "fit")
    shards = run_pass(some_items(), task, reader, tmp_path_factory.mktemp("fit"))
    fired = np.concatenate([shard.latents[:, 3] for shard in shards])
    return [int(latent) for latent in np.argsort(-np.bincount(fired, minlength=64))]


def confirm(reader, *features, **plan):
    return Task(make_plan(reader, **plan), "confirm", (locked(*features),))


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
    found = scores_of(run_pass(items, task, reader, tmp_path))

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

    first, second = scores_of(one), scores_of(many)

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
    items, chosen = some_items(), busiest[:3]
    alone = [
        scores_of(run_pass(items, confirm(reader, (0, latent)), reader, tmp_path / str(latent)))
        for latent in chosen
    ]

    together = confirm(reader, *((0, latent) for latent in chosen))
    found = scores_of(run_pass(items, together, reader, tmp_path / "together"))

    assert found == {name: max(scores[name] for scores in alone) for name in found}
    assert any(found != scores for scores in alone)


def test_two_saes_read_each_at_its_own_hook(tmp_path):
    hooks = ("blocks.0.hook_resid_post", "blocks.2.hook_resid_pre")
    saes = [tiny_sae(tmp_path / name, "standard", hook_name=name, seed=7) for name in hooks]
    reader, items = tiny_reader(*saes), some_items()
    assert reader.hook_names == hooks

    found = scores_of(run_pass(items, confirm(reader, (0, 3), (1, 5)), reader, tmp_path / "run"))

    for prepared in prepare_items(items, reader.subject):
        values = [
            float(sae.encode(expected_states(prepared, reader, hook))[:, latent].max())
            for sae, hook, latent in zip(saes, hooks, (3, 5), strict=True)
        ]
        assert abs(found[prepared.item.id] - max(values)) <= TOLERANCE


def test_each_concept_gets_its_own_items_and_every_benign_one(reader, tmp_path):
    plan = make_plan(reader, concepts=("danger", "flattery"))
    task = Task(plan, "confirm", (locked((0, 1)), locked((0, 2), concept="flattery")))
    items = [
        make_item("a", "positive", text="one"),
        make_item("b", "hard-negative", concept="flattery", text="two"),
        make_item("c", text="three"),
    ]

    shards = run_pass(items, task, reader, tmp_path)

    assert scores_of(shards, probe=0).keys() == {"a", "c"}
    assert scores_of(shards, probe=1).keys() == {"b", "c"}


def test_the_count_of_tokens_is_that_of_the_region(reader, tmp_path):
    items = [make_item("a", turns=(("user", "four"), ("assistant", "seven77")))]

    found = [
        scores_of(run_pass(items, confirm(reader, (0, 0), region=r), reader, tmp_path / r), 1)["a"]
        for r in ("user", "assistant", "last")
    ]

    assert found == [4, 7, 1]


def test_an_item_without_the_region_has_no_row_and_is_still_counted(reader, tmp_path):
    items = [make_item("prompt", text="x"), make_item("talk", turns=(("assistant", "y"),))]

    task = confirm(reader, (0, 0), region="assistant")
    shards = run_pass(items, task, reader, tmp_path)

    assert scores_of(shards, 0).keys() == scores_of(shards, 1).keys() == {"talk"}
    assert facts_of(shards).keys() == {"prompt", "talk"}


def test_the_dense_score_is_the_direction_on_the_mean_residual(reader, tmp_path):
    weights = {"en": [0.1 * i for i in range(WIDTH)], "ja": [1.0] * WIDTH}
    directions = tuple(
        Direction(concept="danger", language=language, hook_name=HOOK, weights=w, bias=-0.25,
                  positives=1, hard_negatives=1)
        for language, w in weights.items()
    )  # fmt: skip
    items, plan = some_items(), make_plan(reader)

    task = Task(plan, "confirm", (locked((0, 0)),), directions)
    found = scores_of(run_pass(items, task, reader, tmp_path), 2)

    for prepared in prepare_items(items, reader.subject):
        mean = expected_states(prepared, reader).double().mean(dim=0).numpy()
        expected = float(np.dot(mean, weights[prepared.item.language])) - 0.25
        assert found[prepared.item.id] == pytest.approx(expected, abs=TOLERANCE)


def test_without_a_direction_in_its_language_an_item_has_no_dense_score(reader, tmp_path):
    direction = Direction(concept="danger", language="ja", hook_name=HOOK, bias=0.0,
                          weights=[1.0] * WIDTH, positives=1, hard_negatives=1)  # fmt: skip
    task = Task(make_plan(reader), "confirm", (locked((0, 0)),), (direction,))

    found = scores_of(run_pass(some_items(), task, reader, tmp_path), 2)

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
        assert abs(scores_of(shards)[name] - float(latents.max())) <= TOLERANCE
        assert scores_of(shards, 1)[name] == len(kept)


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

    shards = run_pass(items, confirm(loud, (0, 0), region="assistant"), loud, tmp_path)

    assert scores_of(shards) == {}
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


# The fit pass


def test_fit_keeps_the_latents_that_fired_of_the_search_and_of_benign_items(reader, tmp_path):
    items = some_items()

    shards = run_pass(items, Task(make_plan(reader), "fit"), reader, tmp_path)

    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    searched = {
        name for name, work in works.items()
        if work.item.language == "en" or work.item.label is Label.NEGATIVE
    }  # fmt: skip
    found = {name: np.zeros(64) for name in searched}
    for shard in shards:
        for (i, _, _, latent), score in zip(shard.latents, shard.latent_scores, strict=True):
            found[str(shard.items[i])][latent] = score
    for name in searched:
        latents = reader.saes[0].encode(expected_states(works[name], reader))
        assert np.abs(found[name] - latents.max(dim=0).values.numpy()).max() <= TOLERANCE
    assert not scores_of(shards, 0)


def test_fit_keeps_the_mean_residual_of_every_item_at_every_hook(tmp_path):
    hooks = ("blocks.0.hook_resid_post", HOOK)
    reader = tiny_reader(*(tiny_sae(tmp_path / hook, hook_name=hook) for hook in hooks))
    items = some_items()

    shards = run_pass(items, Task(make_plan(reader), "fit"), reader, tmp_path / "run")

    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    seen = set()
    for shard in shards:
        for (i, _, hook), vector in zip(shard.residuals, shard.vectors, strict=True):
            name = str(shard.items[i])
            expected = expected_states(works[name], reader, hooks[hook]).mean(dim=0)
            assert np.abs(vector - expected.numpy()).max() <= TOLERANCE
            seen.add((name, hook))
    assert seen == {(name, hook) for name in works for hook in (0, 1)}


# Fidelity


@pytest.mark.parametrize("architecture", ["jumprelu", "topk", "gated"])
def test_fidelity_sums_are_those_of_the_benign_items(tmp_path, architecture):
    reader = tiny_reader(tiny_sae(tmp_path / "sae", architecture))
    items, sae = some_items(), reader.saes[0]

    shards = run_pass(items, confirm(reader, (0, 0)), reader, tmp_path / "run")

    found = {
        str(shard.items[int(row[0])]): (row[1:], vector)
        for shard in shards
        for row, vector in zip(shard.sums, shard.sum_vectors, strict=True)
    }
    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    assert found.keys() == {n for n, w in works.items() if w.item.label is Label.NEGATIVE}
    for name, (row, vector) in found.items():
        x = expected_states(works[name], reader, region="read")
        error = (x - sae.reconstruct(x)).double().square().sum()
        expected = [0, len(x), error, x.double().square().sum(), (sae.encode(x) != 0).sum()]
        assert row == pytest.approx([float(v) for v in expected], rel=1e-5)
        assert vector == pytest.approx(x.sum(dim=0).numpy(), abs=1e-4)


def test_a_transcoder_is_judged_by_what_it_should_have_written(tmp_path):
    into, out = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    reader = tiny_reader(tiny_sae(tmp_path / "sae", "skip_transcoder", hook_name=into))
    sae = reader.saes[0]
    items = [make_item("a", text="several words"), make_item("b", text="more")]

    shards = run_pass(items, confirm(reader, (0, 0)), reader, tmp_path / "run")

    assert reader.hook_names == (into, out)
    works = {p.item.id: p for p in prepare_items(items, reader.subject)}
    for shard in shards:
        for row, vector in zip(shard.sums, shard.sum_vectors, strict=True):
            work = works[str(shard.items[int(row[0])])]
            x = expected_states(work, reader, into, "read")
            target = expected_states(work, reader, out, "read")
            error = (target - sae.reconstruct(x)).double().square().sum()
            assert row[3:5] == pytest.approx(
                [float(error), float(target.double().square().sum())], rel=1e-5
            )
            assert vector == pytest.approx(target.sum(dim=0).numpy(), abs=1e-4)


# Width and numbers


@pytest.mark.parametrize("at_once", [1, 64, 200])
@pytest.mark.parametrize("stage", ["fit", "confirm"])
def test_an_sae_encoded_in_pieces_gives_the_same_numbers(
    reader, busiest, tmp_path, monkeypatch, at_once, stage
):
    items = some_items(3)
    probes = (locked((0, busiest[0])),) if stage == "confirm" else ()
    task = Task(make_plan(reader), stage, probes)
    whole = run_pass(items, task, reader, tmp_path / "whole")
    monkeypatch.setattr(engine, "ENCODED_AT_ONCE", at_once)

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
    plain = run_pass(some_items(), confirm(reader, (0, 1)), reader, tmp_path / "a")
    other = tiny_reader(*reader.saes)
    other.subject.tokenizer.pad_token = None

    found = run_pass(some_items(), confirm(other, (0, 1)), other, tmp_path / "b")

    first, second = scores_of(plain), scores_of(found)
    assert max(abs(first[name] - second[name]) for name in first) <= TOLERANCE


# Batches


def work_of(*lengths):
    return [
        Prepared(make_item(f"item-{n:02d}", text="x"), (VOCABULARY - 1,) * length, {})
        for n, length in enumerate(lengths)
    ]


def shape(batches):
    return [[p.item.id for p in batch] for batch in batches]


@pytest.mark.parametrize("tokens", [16, 64, 333, 10_000])
def test_batches_hold_every_item_once_and_keep_to_their_tokens(tokens):
    work = work_of(*(3 + (7 * n) % 41 for n in range(60)))

    batches = make_batches(work, tokens)

    assert sorted(itertools.chain(*shape(batches))) == [p.item.id for p in work]
    for batch in batches:
        width = max(len(p.ids) for p in batch)
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

    def counted(batch, task, reader):
        names.append(batch[0].item.id)
        return observe_batch(batch, task, reader)

    monkeypatch.setattr(engine, "observe_batch", counted)
    return names


def same(first, second):
    fields = ("items", "facts", "scores", "latents", "latent_scores", "residuals", "sums")
    return all(
        np.array_equal(getattr(a, field), getattr(b, field))
        for a, b in zip(first, second, strict=True)
        for field in fields
    ) and all(
        np.array_equal(v, w)
        for a, b in zip(first, second, strict=True)
        for v, w in zip(a.vectors + a.sum_vectors, b.vectors + b.sum_vectors, strict=True)
    )


@pytest.mark.parametrize("stage", ["fit", "confirm"])
def test_finished_shards_are_not_run_again_and_come_back_as_they_were(reader, tmp_path, ran, stage):
    probes = (locked((0, 1)),) if stage == "confirm" else ()
    task = Task(make_plan(reader), stage, probes)
    first = run_pass(some_items(), task, reader, tmp_path)
    count = len(ran)

    again = run_pass(some_items(), task, reader, tmp_path)

    assert count == len(first) > 2
    assert len(ran) == count
    assert same(first, again)


def test_a_run_that_was_stopped_goes_on_where_it_was(reader, tmp_path, ran):
    task = Task(make_plan(reader), "fit")
    work = prepare_items(some_items(), reader.subject)
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


def test_shards_of_another_probe_direction_or_pass_are_run_again(reader, tmp_path, ran):
    plan = make_plan(reader)
    direction = Direction(concept="danger", language="en", hook_name=HOOK, bias=0.0,
                          weights=[1.0] * WIDTH, positives=1, hard_negatives=1)  # fmt: skip
    tasks = [
        Task(plan, "confirm", (locked((0, 1)),)),
        Task(plan, "confirm", (locked((0, 2)),)),
        Task(plan, "confirm", (locked((0, 2)),), (direction,)),
        Task(plan, "fit"),
    ]
    assert len({task.digest for task in tasks}) == 4

    for runs, task in enumerate(tasks, start=1):
        shards = run_pass(some_items(2), task, reader, tmp_path)
        assert len(ran) == runs * len(shards)


def test_shards_of_other_items_are_run_again(reader, tmp_path, ran):
    task = Task(make_plan(reader, batch_tokens=16), "fit")
    items = [make_item(name, text="x" * 20 + name) for name in ("a", "b", "c")]
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
    items = some_items()
    task = Task(make_plan(reader), "fit")
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
    task = Task(make_plan(reader), "fit")

    for name in ("a", "b"):
        run_pass(some_items(), task, reader, tmp_path / name)

    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second


def test_gradients_are_not_kept(reader):
    work = prepare_items(some_items(1), reader.subject)

    shard = observe_batch(work, Task(make_plan(reader), "fit"), reader)

    assert isinstance(shard.vectors[0], np.ndarray)
    assert not any(p.requires_grad for p in reader.subject.model.parameters())
    assert torch.is_grad_enabled()
