"""Tables: the same bytes whatever the order of shards, and what each row says."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from compliance.assessment.tables import ConfirmObservations, FitObservations, empty_table
from compliance.probes import collect
from compliance.probes.collect import Placed
from compliance.probes.engine import prepare_items
from compliance.probes.features import feature_table
from compliance.probes.ngrams import ngram_vector
from compliance.probes.task import Task
from compliance.records.audit import FeatureRef
from compliance.records.observation import NEIGHBOUR_COLUMNS, SEARCH_COLUMNS
from compliance.records.plan import RandomLatents
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    scores_of,
    some_items,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOKS = ("blocks.1.hook_resid_post", "blocks.0.hook_resid_post")
CONCEPTS = ("flattery", "danger")
PROBES = (locked((0, 3), (1, 9), concept="flattery"), locked((0, 16)))
CHOICES = chosen(
    *PROBES,
    random_probes=(locked((1, 2)), locked((0, 5), concept="flattery")),
    random_latents=tuple(
        RandomLatents(
            concept=concept,
            features=tuple(FeatureRef(sae=s, latent=n) for s in (0, 1) for n in range(20)),
        )
        for concept in CONCEPTS
    ),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saes")
    return tiny_reader(*(tiny_sae(folder / hook, hook_name=hook) for hook in HOOKS))


@pytest.fixture(scope="module")
def plan(reader):
    return make_plan(reader, concepts=CONCEPTS)


@pytest.fixture(scope="module")
def items():
    praise = [
        make_item(f"flattery-{n}-{label}", label, concept="flattery", text="you are great" * n)
        for n, label in itertools.product((1, 2, 3), ("positive", "hard-negative"))
    ]
    return some_items(4) + praise


@pytest.fixture(scope="module")
def placed(items):
    """Benign items calibrate; a third of the others do too."""
    splits = {
        item.id: "calibrate" if item.concept is None or n % 3 == 0 else "discover"
        for n, item in enumerate(items)
    }
    return {item.id: Placed(item, "tiny", splits[item.id]) for item in items}


class Ran:
    """Tasks and shards of every pass, whose order can be changed."""

    def __init__(self, passes, reader, plan, placed):
        self.passes, self.reader, self.plan, self.placed = passes, reader, plan, placed

    def __getitem__(self, stage):
        return self.passes[stage]

    def shuffled(self, seed):
        found = {stage: (task, shuffled(s, seed)) for stage, (task, s) in self.passes.items()}
        return Ran(found, self.reader, self.plan, self.placed)

    def fit(self):
        (search, searched), (calibrate, calibrated) = self["search"], self["calibrate"]
        scores = [collect.score_table(searched, search), collect.score_table(calibrated, calibrate)]
        return FitObservations(
            items=collect.item_table([*searched, *calibrated], self.placed),
            scores=pd.concat(scores),
            search=collect.search_table(searched, self.plan),
            random_search=collect.random_search_table(searched, self.plan, self.placed),
            vectors=collect.vector_table(searched, search),
            neighbours=empty_table(NEIGHBOUR_COLUMNS),
            means=collect.mean_table(calibrated, self.plan, self.placed),
        )

    def confirm(self):
        task, shards = self["confirm"]
        scores = collect.score_table(shards, task)
        firing = collect.firing_table(shards, self.plan)
        shifts, shifted = self["shifts"]
        return ConfirmObservations(
            items=collect.item_table(shards, self.placed),
            scores=scores,
            latents=collect.search_table(shards, self.plan),
            fidelity=collect.fidelity_table(shards),
            firing=firing,
            losses=collect.loss_table(self["losses"][1]),
            shifts=collect.shift_table({"typos": shifted, "informal": shifted[:2]}, shifts),
            repeats=collect.repeat_table(self["repeats"][1], self["repeats"][0], scores),
            patches=collect.patch_table(shards, self.plan),
            tokens=collect.token_table(shards, self.plan),
            cofiring=collect.cofiring_table(shards, PROBES, firing),
            features=feature_table(PROBES, self.reader.subject, self.reader.saes),
        )


@pytest.fixture(scope="module")
def ran(reader, plan, items, placed, tmp_path_factory):
    labelled = [item for item in items if item.concept]
    benign = [item for item in items if item.concept is None]
    wanted = {
        "search": labelled, "calibrate": benign, "confirm": items, "losses": benign[:3],
        "shifts": labelled, "repeats": labelled[:4],
    }  # fmt: skip
    found = {}
    for stage, those in wanted.items():
        task = Task(plan, stage, None if stage in ("search", "losses") else CHOICES)
        found[stage] = (task, run_pass(those, task, reader, tmp_path_factory.mktemp(stage)))
    return Ran(found, reader, plan, placed)


def turned(shard, order):
    """The same shard with its items and rows in another order."""
    place = {old: new for new, old in enumerate(order)}

    def rows(table):
        table = table.copy()
        table[:, 0] = [place[int(i)] for i in table[:, 0]]
        return table[::-1]

    return replace(
        shard,
        items=shard.items[order],
        facts=shard.facts[order],
        scores=rows(shard.scores),
        latents=rows(shard.latents),
        latent_scores=shard.latent_scores[::-1],
        random=rows(shard.random),
        random_scores=shard.random_scores[::-1],
        vectors_of=rows(shard.vectors_of),
        vectors=shard.vectors[::-1],
        sums=rows(shard.sums),
        means=shard.means[::-1],
        l0=shard.l0[::-1],
        firing=shard.firing[::-1],
        losses=rows(shard.losses),
        patches_of=rows(shard.patches_of),
        patches=shard.patches[::-1],
        tokens_of=rows(shard.tokens_of),
        starts=shard.starts[::-1],
        ends=shard.ends[::-1],
        activations=shard.activations[::-1],
        cofiring=shard.cofiring[::-1],
    )


def shuffled(shards, seed):
    chance = random.Random(seed)
    found = [turned(s, chance.sample(range(len(s.items)), len(s.items))) for s in shards]
    return chance.sample(found, len(found))


# Order


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fit_tables_are_the_same_bytes_whatever_the_order_of_shards(ran, seed):
    assert ran.shuffled(seed).fit().to_files() == ran.fit().to_files()


def test_confirm_tables_are_the_same_bytes_whatever_the_order_of_shards(ran):
    seen = ran.confirm()
    turned_about = replace(ran.shuffled(1).confirm(), shifts=seen.shifts)

    assert turned_about.to_files() == seen.to_files()


def test_every_table_has_rows_and_comes_back_as_it_was(ran):
    files = ran.fit().to_files() | ran.confirm().to_files()

    again = FitObservations.from_files(files), ConfirmObservations.from_files(files)

    assert again[0].to_files() | again[1].to_files() == files
    assert {
        (type(one).__name__, name)
        for one in again
        for name, table in vars(one).items()
        if table.empty
    } == {("FitObservations", "neighbours"), ("ConfirmObservations", "patches")}


# Content


def test_every_item_has_one_row_with_what_the_suite_says_of_it(ran, placed):
    table = ran.fit().items.set_index("item")

    assert sorted(table.index) == sorted(placed)
    for name, place in placed.items():
        row, item = table.loc[name], place.item
        assert (row["suite"], row["split"], row["group"]) == ("tiny", place.split, item.group)
        assert (row["concept"], row["label"]) == (item.concept or "", item.label.value)
        assert (row["language"], row["origin"]) == (item.language, "authored")
        assert (row["stratum"], row["reviewed"]) == ("", "")
        assert row["source"] == "made for tests"
        assert row["tokens"] > 0


def test_the_search_holds_positives_and_hard_negatives_of_every_language(ran, placed):
    table = ran.fit().search

    labelled = {name: place.item for name, place in placed.items() if place.item.concept}
    named = {(row.concept, row.item) for row in table.itertuples()}
    assert named == {(item.concept, name) for name, item in labelled.items()}
    assert {item.language for item in labelled.values()} == {"en", "ja"}
    assert set(table["sae"]) == {0, 1}
    assert (table["score"] > 0).all()


def test_the_random_search_holds_discover_items_in_the_reference_language_alone(ran, placed):
    table = ran.fit().random_search

    assert set(zip(table["concept"], table["item"], strict=True)) == {
        (place.item.concept, name)
        for name, place in placed.items()
        if place.item.concept and place.split == "discover" and place.item.language == "en"
    }
    assert set(table["sae"]) == {0, 1}
    assert not table.merge(ran.fit().search, on=["concept", "item", "sae", "latent", "score"]).size


def test_each_item_has_each_kind_of_vector(ran, placed, plan, reader):
    table = ran.fit().vectors

    counts = table.groupby(["concept", "item"])["features"].nunique()
    assert (counts == 7).all()
    assert len(counts) == sum(place.item.concept is not None for place in placed.values())
    ngrams = table[table["features"] == "ngrams"].set_index("item")["vector"]
    for name, vector in ngrams.items():
        assert np.array_equal(vector, ngram_vector(placed[name].item, "user", plan))


def test_positives_before_the_lock_have_their_tokens_alone(ran, placed):
    table = ran.fit().scores

    labelled = {name for name, place in placed.items() if place.item.concept}
    assert set(table[table["item"].isin(labelled)]["scorer"]) == {"tokens"}
    assert set(table[~table["item"].isin(labelled)]["scorer"]) == {"tokens", "probe", "random-sae"}


def test_both_passes_give_an_item_the_same_score(ran, placed):
    """A cut-off from the calibrate pass is compared with scores of the confirm pass."""
    keys = ["item", "concept", "scorer"]
    before = ran.fit().scores.set_index(keys)["score"]
    after = ran.confirm().scores.set_index(keys)["score"]

    assert (after[before.index] - before).abs().max() <= 1e-5  # batches differ


def test_random_latents_are_those_that_were_drawn(ran, placed):
    table = ran.confirm().latents

    assert {(row.sae, row.latent) for row in table.itertuples()} <= {
        (s, n) for s in (0, 1) for n in range(20)
    }
    assert set(table["item"]) <= {name for name, place in placed.items() if place.item.concept}
    assert set(table["concept"]) == set(CONCEPTS)


def test_shifts_say_which_and_repeats_hold_both_scores(ran):
    seen = ran.confirm()
    score = seen.scores[seen.scores["scorer"] == "probe"].set_index(["item", "concept"])["score"]

    assert set(seen.shifts["shift"]) == {"typos", "informal"}
    for row in seen.repeats.itertuples():
        assert row.batched == score[row.item, row.concept]
        assert row.alone == pytest.approx(row.batched, abs=1e-5)
    assert len(seen.repeats) == 4


def test_an_item_whose_region_is_empty_has_no_row_but_in_items_and_sums(reader, tmp_path):
    items = [
        make_item("prompt", text="no reply"),
        make_item("talk", turns=(("user", "well?"), ("assistant", "yes"))),
        make_item("found", "positive", text="no reply either"),
    ]
    placed = {i.id: Placed(i, "tiny", "discover") for i in items}
    plan = make_plan(reader, region="assistant")
    choices = chosen(locked((0, 1)), random_probes=(locked((0, 1)),))
    shards = {}
    for stage, those in (("search", items[2:]), ("confirm", items)):
        task = Task(plan, stage, choices)
        shards[stage] = run_pass(those, task, reader, tmp_path / stage)

    assert set(collect.item_table(shards["confirm"], placed)["item"]) == {"found", "prompt", "talk"}
    assert set(collect.score_table(shards["confirm"], task)["item"]) == {"talk"}
    assert collect.score_table(shards["search"], task).empty
    assert collect.vector_table(shards["search"], task).empty
    assert collect.search_table(shards["search"], plan).empty
    assert collect.random_search_table(shards["search"], plan, placed).empty
    assert set(collect.fidelity_table(shards["confirm"])["item"]) == set(placed)


def test_an_sae_that_is_silent_everywhere_gives_empty_tables_and_scores_of_zero(tmp_path):
    sae = tiny_sae(tmp_path / "sae", "standard")
    sae.tensors["b_enc"].fill_(-1e6)
    reader = tiny_reader(sae)
    items = [item for item in some_items(2) if item.concept]
    placed = {item.id: Placed(item, "tiny", "discover") for item in items}
    plan = make_plan(reader)
    search, confirm = Task(plan, "search"), Task(plan, "confirm", chosen(locked((0, 1))))

    found = run_pass(items, search, reader, tmp_path / "search")
    seen = run_pass(items, confirm, reader, tmp_path / "confirm")

    assert collect.search_table(found, plan).empty
    assert tuple(collect.search_table(found, plan).columns) == SEARCH_COLUMNS
    assert collect.random_search_table(found, plan, placed).empty  # its L0 is that of the SAE
    assert collect.firing_table(seen, plan).empty
    assert set(scores_of(seen, confirm).values()) == {0.0}
    assert all(not any(row) for row in collect.fidelity_table(seen)["l0"])


def test_no_shifts_and_no_losses_are_tables_without_rows(plan):
    task = Task(plan, "shifts", CHOICES)

    for table in (
        collect.shift_table({}, task),
        collect.shift_table({"typos": []}, task),
        collect.loss_table([]),
        collect.repeat_table([], task, collect.score_table([], task)),
    ):
        assert table.empty


def test_items_are_prepared_in_their_order(reader):
    items = some_items(2)

    assert [prepared.item for prepared in prepare_items(items, reader.subject)] == items
