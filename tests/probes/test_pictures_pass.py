"""Whole passes over items with and without pictures, and what their tables say."""

import numpy as np
import pytest
import torch

from compliance.assessment.tables import ConfirmObservations
from compliance.errors import ProbeError, SaeError
from compliance.probes import collect
from compliance.probes.batch import states_of
from compliance.probes.collect import Placed
from compliance.probes.engine import observe, prepare_items
from compliance.probes.features import feature_table
from compliance.probes.pixels import colour_vector, pixel_vector
from compliance.probes.random_sae import random_saes
from compliance.probes.reading import Reading
from compliance.probes.subject import load_subject
from compliance.probes.task import Reader, Task
from compliance.records.audit import SubjectConfig
from compliance.records.observation import FIRING_COLUMNS, MEAN_COLUMNS, PATCH_COLUMNS
from compliance.records.plan import Direction, Setting
from compliance.records.suite import Variant
from compliance.statistics.logistic import Linear
from tests.probes.tiny_pass import (
    SEED,
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    scores_of,
    silent,
    tiny_sae,
)
from tests.probes.tiny_vision import draw, make_shown, save_tiny_encoder, save_tiny_vision

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK, TOWER = "blocks.1.hook_resid_post", "vision.blocks.1.hook_resid_post"
TOLERANCE = 1e-5
LATENTS = ((0, 3), (0, 7), (0, 11))
SHOWN, READ = Variant("en", "image", "depicted"), Variant("en", "text", "plain")
SAYS = "What does this picture show?"


def picture(item):
    return draw(item.id)


def loaded(folder, saes):
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}])
    return Reader(load_subject(config, folder), saes, random_saes(saes, SEED))


@pytest.fixture(scope="module", params=["gemma3", "llava", "qwen2_vl", "idefics3"])
def reader(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_tiny_vision(folder / "subject", request.param)
    return loaded(folder, (tiny_sae(folder / "sae", hook_name=HOOK),))


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    save_tiny_vision(folder / "subject", "llava")
    return loaded(folder, (tiny_sae(folder / "sae", hook_name=HOOK),))


def some():
    items = []
    for n in range(3):
        for label in ("positive", "hard-negative", "negative"):
            words = f"some words {n} {label}" * n + "x"
            items.append(make_item(f"t{n}-{label}", label, text=words))
            items.append(make_shown(f"p{n}-{label}", label, concept=concept_of(label), text=SAYS))
    items.append(make_shown("both", text="red words", modality="image-text"))
    return items


def concept_of(label):
    return None if label == "negative" else "danger"


def direction(scorer, features, variant):
    return Direction(scorer=scorer, concept="danger", features=features, coefficients=(1.0,),
                     bias=0.5, positives=1, hard_negatives=1, **variant._asdict())  # fmt: skip


def task_of(reader, stage="confirm", choices=None, weights=None, **values):
    plan = make_plan(reader, **values)
    return Task(plan, stage, choices or chosen(locked(*LATENTS)), weights or {})


def readings(reader, items, ratio=10.0):
    """Each item run on its own."""
    found = {}
    for prepared in prepare_items(items, reader.subject, picture):
        (states,) = states_of([prepared], reader)
        found[prepared.item.id] = Reading(prepared, states, reader, ratio)
    return found


def test_batched_and_unbatched_scores_agree(reader, tmp_path):
    items, task = some(), task_of(reader)

    together = scores_of(run_pass(items, task, reader, tmp_path / "a", picture), task)
    alone = task_of(reader, batch_tokens=0)
    apart = scores_of(run_pass(items, alone, reader, tmp_path / "b", picture), alone)

    assert set(together) == set(apart) == {item.id for item in items}
    assert len(run_pass(items, task, reader, tmp_path / "a", picture)) < len(items)
    worst = max(abs(together[name] - apart[name]) for name in apart)
    assert worst <= TOLERANCE
    assert len(set(together.values())) > 5


def test_the_probe_reads_a_picture_at_its_tokens(reader, tmp_path):
    items, task = some(), task_of(reader)
    found = scores_of(run_pass(items, task, reader, tmp_path, picture), task)
    tokens = scores_of(run_pass(items, task, reader, tmp_path, picture), task, "tokens")

    sae = reader.saes[0]
    for name, reading in readings(reader, items).items():
        region = "user" if reading.item.modality == "text" else "image"
        places = list(reading.prepared.regions[region])
        values = sae.encode(reading.states[HOOK][places])[:, [n for _, n in LATENTS]]
        assert found[name] == pytest.approx(float(values.max()), abs=TOLERANCE)
        assert tokens[name] == len(places)


def test_patches_are_the_probe_on_every_token_of_a_picture(reader, tmp_path):
    def wide(item):
        return draw(item.id, 40, 16)

    items, task = some(), task_of(reader)
    shards = run_pass(items, task, reader, tmp_path, wide)
    scores = scores_of(shards, task)

    table = collect.patch_table(shards, task.plan)

    assert tuple(table.columns) == PATCH_COLUMNS
    expected = {i.id for i in items if i.image is not None and i.concept is not None}
    assert set(table["item"]) == expected
    for row in table.itertuples():
        (prepared,) = prepare_items([i for i in items if i.id == row.item], reader.subject, wide)
        assert (row.rows, row.columns) == prepared.shown.grid
        if "Qwen2" in reader.subject.facts.architecture:
            assert (row.rows, row.columns) == (2, 5)
        assert len(row.activations) == len(prepared.regions["image"])
        assert row.activations.max() == pytest.approx(scores[row.item], abs=1e-6)
        assert row.activations.dtype == np.float32


def test_a_token_of_a_picture_that_is_not_read_is_zero_in_its_patches(llava):
    reading = readings(llava, [make_shown("a", text=SAYS)], ratio=1.0)["a"]
    features = locked(*LATENTS).features

    values = reading.on_picture(features)

    kept = [t - reading.prepared.regions["image"][0] for t in reading.places(HOOK, "image")]
    left = sorted(set(range(16)) - set(kept))
    assert len(left) == 8
    assert not values[left].any()
    assert values[kept].any()


def test_sinks_are_judged_among_words_and_among_the_picture_apart(llava):
    (prepared,) = prepare_items([make_shown("a", text=SAYS)], llava.subject, picture)
    states = torch.ones(len(prepared.ids), 32)
    states[list(prepared.regions["image"])] *= 100  # all loud, so none is a sink among them
    states[prepared.regions["image"][3]] *= 20
    states[prepared.regions["read"][2]] *= 20

    reading = Reading(prepared, {HOOK: states}, llava, 10.0)

    lost = {*prepared.regions["image"], *prepared.regions["read"]} - set(reading.kept[HOOK])
    assert lost == {prepared.regions["image"][3], prepared.regions["read"][2]}
    assert reading.sinks == 2
    assert reading.kept[HOOK] == sorted(reading.kept[HOOK])


def test_the_search_stores_what_controls_read_of_words_and_pictures(llava, tmp_path):
    items = [item for item in some() if item.concept]
    task = task_of(llava, "search")
    shards = run_pass(items, task, llava, tmp_path, picture)

    table = collect.vector_table(shards, task)

    kinds = table.groupby("item")["features"].agg(set)
    read = readings(llava, items)
    for item in items:
        surface = kinds[item.id] & {"ngrams", "colour", "pixels"}
        expected = {"text": {"ngrams"}, "image": {"colour", "pixels"}}
        assert surface == expected.get(item.modality, {"ngrams", "colour", "pixels"})
    vectors = {(r.item, r.features): r.vector for r in table.itertuples()}
    for item in items:
        if item.image is not None:
            assert np.array_equal(vectors[item.id, "colour"], colour_vector(picture(item)))
            assert np.array_equal(vectors[item.id, "pixels"], pixel_vector(picture(item)))
            places = list(read[item.id].prepared.regions["image"])
            mean = read[item.id].states[HOOK][places].mean(dim=0).numpy()
            assert vectors[item.id, f"residual/{HOOK}"] == pytest.approx(mean, abs=TOLERANCE)


def test_random_latents_are_searched_in_the_planned_form_alone(llava, tmp_path):
    items = [item for item in some() if item.concept]
    for n, (modality, rendering) in enumerate([("text", "plain"), ("image", "depicted")]):
        task = task_of(llava, "search", search_modality=modality, search_rendering=rendering)
        shards = run_pass(items, task, llava, tmp_path / str(n), picture)
        placed = {i.id: Placed(i, "tiny", "discover") for i in items}
        table = collect.random_search_table(shards, task.plan, placed)
        found = {placed[name].item.variant for name in table["item"]}
        assert found == {Variant("en", modality, rendering)}


def test_directions_of_one_form_score_items_of_that_form_alone(llava, tmp_path):
    kinds = {"dense": f"residual/{HOOK}", "ngrams": "ngrams", "colour": "colour"}
    where = {"dense": (READ, SHOWN), "ngrams": (READ,), "colour": (SHOWN,)}
    directions, weights = [], {}
    plan = make_plan(llava)
    size = {"dense": 32, "ngrams": plan.ngram_buckets, "colour": 3}
    for n, (scorer, variants) in enumerate(where.items()):
        for variant in variants:
            directions.append(direction(scorer, kinds[scorer], variant))
            stream = np.random.RandomState(n + len(variant.modality))
            weights[scorer, "danger", variant] = Linear(stream.standard_normal(size[scorer]), 0.5)
    choices = chosen(locked(*LATENTS), directions=tuple(directions))
    items = [item for item in some() if item.concept]
    task = Task(plan, "confirm", choices, weights)
    shards = run_pass(items, task, llava, tmp_path, picture)

    for scorer, variants in where.items():
        found = scores_of(shards, task, scorer)
        assert set(found) == {i.id for i in items if i.variant in variants}
    colours = scores_of(shards, task, "colour")
    linear = weights["colour", "danger", SHOWN]
    for item in items:
        if item.variant == SHOWN:
            mean = colour_vector(picture(item)).astype(np.float64)
            assert colours[item.id] == pytest.approx(float(mean @ linear.weights) + 0.5)


def test_settings_about_words_are_no_other_way_to_read_a_picture(llava, tmp_path):
    settings = (Setting(name="region-read", region="read"), Setting(name="mean", pooling="mean"))
    items, task = some(), task_of(llava, settings=settings)
    shards = run_pass(items, task, llava, tmp_path, picture)

    of_words = {i.id for i in items if i.image is None}
    assert set(scores_of(shards, task, "probe@region-read")) == of_words
    assert set(scores_of(shards, task, "probe@mean")) == {i.id for i in items}


def test_fidelity_means_and_firing_know_words_from_pictures(llava, tmp_path):
    items, task = some(), task_of(llava)
    placed = {i.id: Placed(i, "tiny", "calibrate") for i in items}
    shards = run_pass(items, task, llava, tmp_path, picture)
    sae, read = llava.saes[0], readings(llava, items)

    fidelity = collect.fidelity_table(shards).set_index(["item", "role"])
    for name, reading in read.items():
        roles = {"user"} if reading.item.image is None else {"user", "image"}
        assert set(fidelity.loc[name].index) == roles
        for role in roles:
            x = reading.states[HOOK][list(reading.prepared.regions[role])].double()
            row = fidelity.loc[name, role]
            error = (x - sae.reconstruct(x.float()).double()).square().sum()
            assert row["tokens"] == len(x)
            assert row["error"] == pytest.approx(float(error), rel=1e-4)

    means = collect.mean_table(shards, task.plan, placed)
    firing = collect.firing_table(shards, task.plan)
    assert tuple(means.columns) == MEAN_COLUMNS
    assert tuple(firing.columns) == FIRING_COLUMNS
    for region in ("read", "image"):
        x = torch.cat([r.states[HOOK][list(r.prepared.regions[region])] for r in read.values()])
        (row,) = means[means["region"] == region].itertuples()
        assert row.tokens == len(x)
        assert row.mean == pytest.approx(x.double().mean(dim=0).numpy(), abs=1e-5)
        counts = firing[firing["region"] == region].groupby("latent")["tokens"].sum()
        fired = (sae.encode(x) != 0).sum(dim=0)
        assert {k: v for k, v in enumerate(fired.tolist()) if v} == counts.to_dict()


def test_the_tables_come_back_as_they_were(llava, tmp_path):
    items, task = some(), task_of(llava)
    placed = {i.id: Placed(i, "tiny", "confirm") for i in items}
    shards = run_pass(items, task, llava, tmp_path, picture)
    scores = collect.score_table(shards, task)
    shifts = task_of(llava, "shifts")
    shifted = run_pass(items, shifts, llava, tmp_path / "blank", picture)
    seen = ConfirmObservations(
        items=collect.item_table(shards, placed),
        scores=scores,
        latents=collect.search_table(shards, task.plan),
        fidelity=collect.fidelity_table(shards),
        firing=collect.firing_table(shards, task.plan),
        losses=collect.loss_table(shards),
        shifts=collect.shift_table({"blank": shifted}, shifts),
        repeats=collect.repeat_table(shifted, shifts, scores),
        patches=collect.patch_table(shards, task.plan),
        tokens=collect.token_table(shards, task.plan),
        cofiring=collect.cofiring_table(
            shards, task.choices.probes, collect.firing_table(shards, task.plan)
        ),
        features=feature_table(task.choices.probes, llava.subject, llava.saes),
    )

    files = seen.to_files()

    assert ConfirmObservations.from_files(files).to_files() == files
    again = run_pass(items, task, llava, tmp_path, picture)  # from the shards' files
    assert collect.patch_table(again, task.plan).equals(seen.patches)


def test_the_models_loss_on_an_item_with_a_picture_is_that_of_the_whole_input(llava, tmp_path):
    turns = (("user", "Look."), ("assistant", "I see."))
    items = [make_shown("a", "negative", concept=None, turns=turns)]
    shards = run_pass(items, task_of(llava, "losses"), llava, tmp_path, picture)

    (row,) = collect.loss_table(shards).itertuples()
    reading = readings(llava, items)["a"]
    given = llava.subject.processor(
        text=["<|bos|><|user|>Look.<image><|end|><|assistant|>I see.<|end|>"],
        images=[picture(items[0])], add_special_tokens=False, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        said = llava.subject.model(**given).logits[0].double().log_softmax(dim=-1)
    places = list(reading.prepared.regions["read"])
    expected = -sum(float(said[t - 1, reading.prepared.ids[t]]) for t in places)
    assert row.tokens == len(places)
    assert row.loss == pytest.approx(expected, rel=1e-5)
    assert row.spliced != row.loss


# SAEs on a vision tower


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "idefics3"])
def test_an_sae_on_the_vision_tower_reads_patches(tmp_path, family):
    save_tiny_vision(tmp_path / "subject", family)
    reader = loaded(tmp_path, (tiny_sae(tmp_path / "sae", hook_name=TOWER, d_in=16),))
    items, task = [i for i in some() if i.image is not None], task_of(reader)

    shards = run_pass(items, task, reader, tmp_path / "a", picture)

    found = scores_of(shards, task)
    assert set(found) == {i.id for i in items}
    tokens = set(scores_of(shards, task, "tokens").values())
    patches = {"gemma3": 16, "llava": 16, "qwen2_5_vl": 36, "idefics3": 80}
    assert tokens == {patches[family]}
    grids = collect.patch_table(shards, task.plan)[["rows", "columns"]].drop_duplicates()
    of_one = family in ("gemma3", "llava")
    assert grids.values.tolist() == [[4, 4] if of_one else [0, 0]]
    alone = task_of(reader, batch_tokens=0)
    apart = scores_of(run_pass(items, alone, reader, tmp_path / "b", picture), alone)
    assert found == pytest.approx(apart, abs=TOLERANCE)


def test_the_vision_tower_reads_no_words(tmp_path):
    save_tiny_vision(tmp_path / "subject", "llava")
    reader = loaded(tmp_path, (tiny_sae(tmp_path / "sae", hook_name=TOWER, d_in=16),))

    with pytest.raises(ProbeError, match="item t0-positive: has no picture, and the SAE reads"):
        run_pass(some(), task_of(reader), reader, tmp_path / "a", picture)


def test_an_sae_on_an_encoder_reads_patches(tmp_path):
    save_tiny_encoder(tmp_path / "subject", "clip")
    reader = loaded(tmp_path, (tiny_sae(tmp_path / "sae", hook_name=HOOK, d_in=16),))
    items = [make_shown(f"p{n}", "positive" if n % 2 else "hard-negative") for n in range(5)]
    task = task_of(reader, batch_tokens=40)

    shards = run_pass(items, task, reader, tmp_path / "a", picture)

    assert [len(shard.items) for shard in shards] == [2, 2, 1]
    assert all((shard.facts[:, 0] == 16).all() for shard in shards)
    assert set(scores_of(shards, task, "tokens").values()) == {16.0}
    assert len(collect.fidelity_table(shards)) == 5
    losses = run_pass(items, task_of(reader, "losses"), reader, tmp_path / "b", picture)
    assert collect.loss_table(losses).empty


def test_saes_on_text_and_tower_are_not_mixed(tmp_path):
    save_tiny_vision(tmp_path / "subject", "llava")
    saes = (
        tiny_sae(tmp_path / "a", hook_name=HOOK),
        tiny_sae(tmp_path / "b", hook_name=TOWER, d_in=16),
    )

    with pytest.raises(SaeError, match="some SAEs read the text stream and others the vision"):
        loaded(tmp_path, saes)


def test_pixels_are_made_when_they_are_run_and_not_kept(llava, tmp_path):
    asked = []

    def counted(item):
        asked.append(item.id)
        return picture(item)

    items = [make_shown(f"p{n}") for n in range(3)]
    work = prepare_items(items, llava.subject, counted)
    assert asked == [i.id for i in items]
    list(observe(work, task_of(llava, "repeats"), llava, tmp_path, silent))
    assert sorted(asked[3:]) == sorted(i.id for i in items)
