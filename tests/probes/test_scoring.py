"""Every scorer against the plain computation, one item at a time."""

import numpy as np
import pytest
import torch

from compliance.probes.collect import score_table
from compliance.probes.engine import prepare_items
from compliance.probes.fired import pool
from compliance.probes.ngrams import ngram_vector
from compliance.probes.random_sae import RandomSae
from compliance.probes.task import Task
from compliance.records.audit import FeatureRef
from compliance.records.observation import CALIBRATED, LINEAR_SCORERS
from compliance.records.plan import (
    Alternative,
    Direction,
    Neighbour,
    RandomLatents,
    Setting,
    SparseProbe,
)
from compliance.records.suite import Variant
from compliance.statistics.logistic import Linear
from tests.probes.tiny import WIDTH
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    scores_of,
    some_items,
    states_of,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOKS = ("blocks.1.hook_resid_post", "blocks.0.hook_resid_post")
TOLERANCE = 1e-5
SETTINGS = (
    Setting(name="pooling-mean", pooling="mean"),
    Setting(name="pooling-top-5", pooling="top-5"),
    Setting(name="pooling-last", pooling="last"),
    Setting(name="region-read", region="read"),
    Setting(name="region-assistant", region="assistant"),
    Setting(name="alpha-0.2", alpha=0.2),
    Setting(name="sae-0", sae=0),
    Setting(name="sae-1", sae=1),
)
KINDS = {
    "residual": f"residual/{HOOKS[1]}", "reconstruction": "reconstruction/1", "error": "error/1",
    "ngrams": "ngrams",
}  # fmt: skip
LINEAR = {scorer: kind for scorer, kind in LINEAR_SCORERS.items() if kind in KINDS}
"""Those of texts."""

PROBE, RANDOM, PERMUTED = ((0, 3), (1, 9)), (1, 5), (0, 7)
SPARSE = {"sparse-1": ((1, 2),), "sparse-5": ((0, 1), (1, 4), (0, 6), (0, 3), (1, 0))}
NEIGHBOURS = {"en": ((1, 11), (0, 12)), "ja": ((1, 13),)}
DRAWN = tuple((s, latent) for s in (0, 1) for latent in range(20, 40))


def refs(places):
    return tuple(FeatureRef(sae=s, latent=latent) for s, latent in places)


def direction(scorer, language):
    return Direction(scorer=scorer, concept="danger", language=language, bias=0.5,
                     features=KINDS[LINEAR[scorer]], coefficients=(1.0,),
                     positives=1, hard_negatives=1)  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saes")
    return tiny_reader(
        *(tiny_sae(folder / str(s), hook_name=h, seed=s) for s, h in enumerate(HOOKS))
    )


@pytest.fixture(scope="module")
def items():
    return some_items(4)


@pytest.fixture(scope="module")
def task(reader):
    choices = chosen(
        locked(*PROBE),
        random_probes=(locked(RANDOM),),
        permuted_probes=(locked(PERMUTED),),
        alternatives=tuple(
            Alternative(setting=f"sae-{s}", concept="danger", features=refs([(s, 10)]))
            for s in (0, 1)
        ),
        directions=tuple(direction(s, lang) for s in LINEAR for lang in ("en", "ja")),
        sparse_probes=tuple(
            SparseProbe(scorer=scorer, concept="danger", language="en", features=refs(places),
                        weights=tuple(0.5 - k for k in range(len(places))), bias=0.25)
            for scorer, places in SPARSE.items()
        ),
        random_latents=(RandomLatents(concept="danger", features=refs(DRAWN)),),
        neighbours=tuple(
            Neighbour(concept="danger", language=language, feature=feature, cosine=0.8)
            for language, places in NEIGHBOURS.items()
            for feature in refs(places)
        ),
    )  # fmt: skip
    plan = make_plan(reader, settings=SETTINGS)
    stream = np.random.RandomState(1)
    weights = {
        (scorer, "danger", Variant(language, "text", "plain")): Linear(
            stream.standard_normal(plan.ngram_buckets if scorer == "ngrams" else WIDTH), 0.5
        )
        for scorer in LINEAR
        for language in ("en", "ja")
    }
    return Task(plan, "confirm", choices, weights)


@pytest.fixture(scope="module")
def shards(reader, items, task, tmp_path_factory):
    return run_pass(items, task, reader, tmp_path_factory.mktemp("confirm"))


class Slow:
    """The same numbers, item by item and feature by feature."""

    def __init__(self, prepared, reader):
        self.prepared, self.reader = prepared, reader
        self.x = [states_of(prepared, reader, sae.facts.hook_name) for sae in reader.saes]

    def rows(self, s, region="user"):
        return self.x[s][list(self.prepared.regions[region])]

    def latent(self, s, latent, region="user", pooling="max"):
        values = self.reader.saes[s].encode(self.rows(s, region))[:, latent].double().numpy()
        match pooling:
            case "max":
                return values.max()
            case "mean":
                return values.mean()
            case "top-5":
                return np.sort(values)[::-1][:5].mean()
            case _:
                return values[-1]

    def best(self, places, **how):
        return max(self.latent(s, latent, **how) for s, latent in places)

    def random(self, s, latent):
        x = self.rows(s)
        counts = (self.reader.saes[s].encode(x) != 0).sum(dim=1)
        return float(self.reader.random[s].fired(x, counts, 2**20).columns([latent]).max())

    def vector(self, kind, plan):
        if kind == "ngrams":
            return ngram_vector(self.prepared.item, "user", plan)
        x = self.rows(1)
        x_hat = self.reader.saes[1].reconstruct(x)
        values = {"residual": x, "reconstruction": x_hat, "error": x - x_hat}[kind]
        return values.double().mean(dim=0).numpy()


def expected_scores(slow, task):
    item, plan = slow.prepared.item, task.plan
    found = {
        "probe": slow.best(PROBE),
        "tokens": len(slow.prepared.regions["user"]),
        "random-sae": slow.random(*RANDOM),
        "probe@pooling-mean": slow.best(PROBE, pooling="mean"),
        "probe@pooling-top-5": slow.best(PROBE, pooling="top-5"),
        "probe@pooling-last": slow.best(PROBE, pooling="last"),
        "probe@region-read": slow.best(PROBE, region="read"),
        "probe@sae-0": slow.latent(0, 10),
        "probe@sae-1": slow.latent(1, 10),
    }
    if slow.prepared.regions["assistant"]:
        found["probe@region-assistant"] = slow.best(PROBE, region="assistant")
    for s, latent in NEIGHBOURS[item.language]:
        found[f"latent/{s}/{latent}"] = slow.latent(s, latent)
    for scorer, kind in LINEAR.items():
        if item.concept or scorer in CALIBRATED:
            linear = task.weights[scorer, "danger", item.variant]
            found[scorer] = slow.vector(kind, plan) @ linear.weights + 0.5
    if item.concept:
        found["permuted"] = slow.latent(*PERMUTED)
    if item.concept and item.language == "en":
        for scorer, places in SPARSE.items():
            found[scorer] = 0.25 + sum(
                (0.5 - k) * slow.latent(s, latent) for k, (s, latent) in enumerate(places)
            )
    return found


def test_every_scorer_gives_what_it_gives_for_one_item_at_a_time(reader, items, task, shards):
    found = {scorer: scores_of(shards, task, scorer) for scorer in task.scorers}

    for prepared in prepare_items(items, reader.subject):
        name = prepared.item.id
        expected = expected_scores(Slow(prepared, reader), task)
        mine = {scorer: scores[name] for scorer, scores in found.items() if name in scores}
        assert mine == pytest.approx(expected, abs=1e-4), name


def test_benign_items_are_scored_by_scorers_with_a_cut_off_alone(items, task, shards):
    benign = {item.id for item in items if item.concept is None}
    with_cut_off = {*CALIBRATED, *(setting.scorer for setting in SETTINGS), "tokens"}

    for scorer in task.scorers:
        scored = benign & scores_of(shards, task, scorer).keys()
        assert bool(scored) == (scorer in with_cut_off or scorer.startswith("latent/")), scorer


def test_benign_items_have_the_same_scores_before_and_after_the_lock(
    reader, items, task, shards, tmp_path
):
    """To the last bit: a cut-off from one pass is compared with scores of the other."""
    benign = [item for item in items if item.concept is None]
    before = Task(task.plan, "calibrate", task.choices, task.weights)
    alone = Task(task.plan, "confirm", task.choices, task.weights)

    first = run_pass(benign, before, reader, tmp_path / "calibrate")
    second = run_pass(benign, alone, reader, tmp_path / "confirm")

    for scorer in task.scorers:
        assert scores_of(first, before, scorer) == scores_of(second, alone, scorer), scorer


def test_scores_are_rounded_to_float32_in_the_table(task, shards):
    """The files keep nine digits, and a score that equals a cut-off must not differ in a tenth."""
    raw = np.concatenate([shard.scores[:, 3] for shard in shards])

    found = score_table(shards, task)["score"].to_numpy()

    assert (found == found.astype(np.float32)).all()
    assert (np.sort(raw).astype(np.float32) == np.sort(found)).all()
    assert (np.sort(raw) != np.sort(found)).any()


def test_random_latents_are_kept_where_they_fired(reader, items, task, shards):
    found = {
        (str(shard.items[i]), int(s), int(latent)): float(score)
        for shard in shards
        for (i, _, s, latent), score in zip(shard.latents, shard.latent_scores, strict=True)
    }

    expected = {}
    for prepared in prepare_items([i for i in items if i.concept], reader.subject):
        slow = Slow(prepared, reader)
        for s, latent in DRAWN:
            score = slow.latent(s, latent)
            if score:
                expected[prepared.item.id, s, latent] = score
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert len(expected) < len(DRAWN) * sum(1 for i in items if i.concept)


def test_an_item_without_the_planned_region_has_no_row_under_any_setting(reader, tmp_path):
    plan = make_plan(reader, region="assistant", settings=SETTINGS)
    task = Task(plan, "confirm", chosen(locked((0, 3))))
    items = [
        make_item("prompt", "positive", text="no reply"),
        make_item("talk", "positive", turns=(("user", "well?"), ("assistant", "yes"))),
    ]

    shards = run_pass(items, task, reader, tmp_path)

    names = {task.scorers[int(k)] for shard in shards for _, _, k, _ in shard.scores}
    assert names >= {"probe", "probe@region-read"}
    assert {str(s.items[int(row[0])]) for s in shards for row in s.scores} == {"talk"}


def test_what_the_random_control_reads_is_multiplied_once_for_all_concepts(
    reader, tmp_path, monkeypatch
):
    ran, products, names = [], RandomSae.products, ("danger", "flattery")
    monkeypatch.setattr(RandomSae, "products", lambda *a: ran.append(1) or products(*a))
    probes = [locked((0, n), concept=name) for n, name in enumerate(names)]
    choices = chosen(*probes, random_probes=tuple(probes))
    task = Task(make_plan(reader, concepts=names), "calibrate", choices)

    shards = run_pass([make_item("a", text="some words")], task, reader, tmp_path)

    values = [scores_of(shards, task, "random-sae", p)["a"] for p in range(2)]
    (prepared,) = prepare_items([make_item("a", text="some words")], reader.subject)
    x = states_of(prepared, reader, HOOKS[0])[list(prepared.regions["user"])]
    counts = (reader.saes[0].encode(x) != 0).sum(dim=1)
    expected = [
        float(reader.random[0].fired(x, counts, 2**20).columns([n]).max()) for n in range(2)
    ]
    assert values == pytest.approx(expected, abs=TOLERANCE)
    assert len(ran) == 1 + 2  # this test asks twice itself


def test_without_a_control_its_scorer_has_no_row(reader, tmp_path):
    task = Task(make_plan(reader), "confirm", chosen(locked((0, 3))))

    shards = run_pass(some_items(1), task, reader, tmp_path)

    names = {task.scorers[int(k)] for shard in shards for _, _, k, _ in shard.scores}
    assert names == {"probe", "tokens"}


@pytest.mark.parametrize("pooling", ["max", "mean", "top-5"])
def test_a_silent_latent_counts_zero_beside_one_below(tmp_path, pooling):
    """Some architectures have latents below zero, and one that is silent is above those."""
    reader = tiny_reader(tiny_sae(tmp_path / "sae", "abstopk", d_sae=8))
    items = [make_item(f"item-{n}", text="abcdefgh"[n % 5 : n % 5 + 1 + n % 2]) for n in range(12)]
    plan = make_plan(reader, pooling=pooling)
    below = 0
    for latents in ((0,), (2,), (1, 2), (3, 4, 5), tuple(range(8))):
        task = Task(plan, "confirm", chosen(locked(*((0, latent) for latent in latents))))
        found = scores_of(run_pass(items, task, reader, tmp_path / str(latents)), task)
        for prepared in prepare_items(items, reader.subject):
            slow = Slow(prepared, reader)
            expected = max(slow.latent(0, latent, pooling=pooling) for latent in latents)
            assert found[prepared.item.id] == pytest.approx(expected, abs=TOLERANCE)
        below += sum(score < 0 for score in found.values())
    assert below


@pytest.mark.parametrize(
    ("pooling", "expected"), [("max", 9.0), ("mean", 5.0), ("last", 4.0), ("top-5", 5.8)]
)
def test_pooling_of_a_column_of_numbers(pooling, expected):
    column = torch.tensor([[9.0], [1.0], [6.0], [7.0], [3.0], [4.0]])

    assert pool(column, pooling).tolist() == [
        pytest.approx(expected if pooling != "top-5" else 5.8)
    ]


def test_top_five_of_fewer_tokens_is_their_mean():
    assert pool(torch.tensor([[1.0, 0.0], [2.0, 3.0]]), "top-5").tolist() == [1.5, 1.5]
