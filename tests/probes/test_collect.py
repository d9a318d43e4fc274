"""Tables: a fixed order whatever the order of shards, and the scores that a lock rests on."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from compliance.assessment.tables import ConfirmObservations, FitObservations
from compliance.probes.collect import (
    Placed,
    fidelity_table,
    item_table,
    probe_scores,
    residual_table,
    score_table,
    search_table,
)
from compliance.probes.engine import Task
from compliance.records.observation import (
    FIDELITY_COLUMNS,
    ITEM_COLUMNS,
    RESIDUAL_COLUMNS,
    SCORE_COLUMNS,
    SEARCH_COLUMNS,
)
from tests.probes.tiny_pass import (
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


@pytest.fixture(scope="module")
def fit(reader, plan, items, tmp_path_factory):
    return run_pass(items, Task(plan, "fit"), reader, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def confirm(reader, plan, items, tmp_path_factory):
    task = Task(plan, "confirm", PROBES)
    return run_pass(items, task, reader, tmp_path_factory.mktemp("confirm"))


def fit_tables(shards, plan, placed, reader):
    return FitObservations(
        items=item_table(shards, placed),
        scores=probe_scores(shards, plan, PROBES, placed),
        search=search_table(shards, plan, placed),
        residuals=residual_table(shards, plan, reader.hook_names),
    )


def confirm_tables(shards, plan, placed):
    return ConfirmObservations(
        items=item_table(shards, placed),
        scores=score_table(shards, plan),
        fidelity=fidelity_table(shards),
    )


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
        residuals=rows(shard.residuals),
        vectors=shard.vectors[::-1],
        sums=rows(shard.sums),
        sum_vectors=shard.sum_vectors[::-1],
    )


def shuffled(shards, seed):
    chance = random.Random(seed)
    found = [turned(s, chance.sample(range(len(s.items)), len(s.items))) for s in shards]
    return chance.sample(found, len(found))


# Order


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fit_tables_are_the_same_bytes_whatever_the_order_of_shards(
    fit, plan, placed, reader, seed
):
    expected = fit_tables(fit, plan, placed, reader).to_files()

    assert fit_tables(shuffled(fit, seed), plan, placed, reader).to_files() == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_confirm_tables_are_the_same_bytes_whatever_the_order_of_shards(
    confirm, plan, placed, seed
):
    expected = confirm_tables(confirm, plan, placed).to_files()

    assert confirm_tables(shuffled(confirm, seed), plan, placed).to_files() == expected


def test_tables_have_their_columns_and_are_ordered_by_the_first(fit, confirm, plan, placed, reader):
    found = fit_tables(fit, plan, placed, reader)
    seen = confirm_tables(confirm, plan, placed)

    for table, columns, keys in (
        (found.items, ITEM_COLUMNS, 1), (found.scores, SCORE_COLUMNS, 3),
        (found.search, SEARCH_COLUMNS, 4), (found.residuals, RESIDUAL_COLUMNS, 3),
        (seen.scores, SCORE_COLUMNS, 3), (seen.fidelity, FIDELITY_COLUMNS, 2),
    ):  # fmt: skip
        assert tuple(table.columns) == columns
        rows = [tuple(row) for row in table[list(columns[:keys])].to_numpy()]
        assert rows == sorted(set(rows))
        assert rows


def test_tables_come_back_from_their_files_as_they_were(fit, confirm, plan, placed, reader):
    found = fit_tables(fit, plan, placed, reader)
    seen = confirm_tables(confirm, plan, placed)
    files = found.to_files() | seen.to_files()

    again = (FitObservations.from_files(files), ConfirmObservations.from_files(files))

    assert (again[0].scores["score"].astype(np.float32) == found.scores["score"]).all()
    assert (again[1].scores["score"].astype(np.float32) == seen.scores["score"]).all()
    assert again[0].to_files() | again[1].to_files() == files


# Content


def test_every_item_has_one_row_with_what_the_suite_says_of_it(fit, placed, reader):
    table = item_table(fit, placed).set_index("item")

    assert list(table.index) == sorted(placed)
    for name, place in placed.items():
        row, item = table.loc[name], place.item
        assert (row["suite"], row["split"], row["group"]) == ("tiny", place.split, item.group)
        assert (row["concept"], row["label"]) == (item.concept or "", item.label.value)
        assert (row["language"], row["origin"]) == (item.language, "authored")
        assert (row["stratum"], row["reviewed"]) == ("", "")
        assert row["tokens"] > 0


def test_the_search_holds_discover_items_in_the_reference_language_alone(fit, plan, placed):
    table = search_table(fit, plan, placed)

    named = {(row.concept, row.item) for row in table.itertuples()}
    assert named == {
        (place.item.concept, name)
        for name, place in placed.items()
        if place.split == "discover" and place.item.language == "en"
    }
    assert set(table["sae"]) == {0, 1}
    assert (table["score"] > 0).all()


def test_the_locked_probes_scores_are_kept_for_benign_items_of_every_language(fit, plan, placed):
    table = probe_scores(fit, plan, PROBES, placed)

    benign = {name for name, place in placed.items() if place.item.concept is None}
    assert {p.item.language for n, p in placed.items() if n in benign} == {"en", "ja"}
    for concept in CONCEPTS:
        assert set(table[table["concept"] == concept]["item"]) == benign
    assert set(table["scorer"]) == {"probe"}
    assert 0 < (table["score"] > 0).sum() < len(table)


def test_both_passes_give_an_item_the_same_score(fit, confirm, plan, placed):
    """A cut-off from the fit pass is compared with scores of the confirm pass."""
    before = probe_scores(fit, plan, PROBES, placed).set_index(["item", "concept"])["score"]
    after = score_table(confirm, plan)
    after = after[after["scorer"] == "probe"].set_index(["item", "concept"])["score"]

    assert (after[before.index] == before).all()


@pytest.mark.parametrize("architecture", ["abstopk", "matching_pursuit"])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_both_passes_agree_where_latents_fall_below_zero(tmp_path, architecture, pooling):
    """A silent latent is zero, which is more than another's negative value."""
    reader = tiny_reader(tiny_sae(tmp_path / "sae", architecture, d_sae=8))
    items = [make_item(f"item-{n}", text="abcdefgh"[n % 5 : n % 5 + 1 + n % 2]) for n in range(12)]
    placed = {item.id: Placed(item, "tiny", "calibrate") for item in items}
    plan = make_plan(reader, pooling=pooling)
    fit = run_pass(items, Task(plan, "fit"), reader, tmp_path / "fit")
    below = 0
    for latents in ((0,), (2,), (4,), (5,), (1, 2), (3, 4, 5), tuple(range(8))):
        probe = locked(*((0, latent) for latent in latents))
        name = "-".join(map(str, latents))
        confirm = run_pass(items, Task(plan, "confirm", (probe,)), reader, tmp_path / name)

        before = probe_scores(fit, plan, (probe,), placed).set_index("item")["score"]
        after = scores_of(confirm)

        assert before.to_dict() == after
        below += sum(score < 0 for score in after.values())
    assert below or architecture == "matching_pursuit"


def test_an_item_whose_region_is_empty_has_no_row_but_in_the_items(reader, tmp_path):
    items = [
        make_item("prompt", text="no reply"),
        make_item("talk", turns=(("user", "well?"), ("assistant", "yes"))),
        make_item("found", "positive", text="no reply either"),
    ]
    placed = {i.id: Placed(i, "tiny", "calibrate" if i.concept is None else "discover")
              for i in items}  # fmt: skip
    plan = make_plan(reader, region="assistant")
    fit = run_pass(items, Task(plan, "fit"), reader, tmp_path / "fit")
    confirm = run_pass(items, Task(plan, "confirm", (locked((0, 1)),)), reader, tmp_path / "go")

    assert list(item_table(fit, placed)["item"]) == ["found", "prompt", "talk"]
    assert set(score_table(fit, plan)["item"]) == {"talk"}
    assert set(score_table(confirm, plan)["item"]) == {"talk"}
    assert set(probe_scores(fit, plan, (locked((0, 1)),), placed)["item"]) == {"talk"}
    assert set(residual_table(fit, plan, reader.hook_names)["item"]) == {"talk"}
    assert search_table(fit, plan, placed).empty
    assert set(fidelity_table(confirm)["item"]) == {"prompt", "talk"}


def test_an_sae_that_is_silent_everywhere_gives_empty_tables_and_scores_of_zero(tmp_path):
    sae = tiny_sae(tmp_path / "sae", "standard")
    sae.tensors["b_enc"].fill_(-1e6)
    reader = tiny_reader(sae)
    items = some_items(2)
    placed = {item.id: Placed(item, "tiny", "discover") for item in items}
    plan = make_plan(reader)

    fit = run_pass(items, Task(plan, "fit"), reader, tmp_path / "fit")

    assert search_table(fit, plan, placed).empty
    assert tuple(search_table(fit, plan, placed).columns) == SEARCH_COLUMNS
    assert set(probe_scores(fit, plan, (locked((0, 1)),), placed)["score"]) == {0.0}


def test_residuals_name_the_hook_they_are_from(fit, plan, reader):
    table = residual_table(fit, plan, reader.hook_names)

    assert set(table["hook_name"]) == set(HOOKS)
    counts = table.groupby(["concept", "item"])["hook_name"].nunique()
    assert (counts == 2).all()


def test_scores_are_as_float32_as_the_files_keep_them(confirm, plan):
    scores = score_table(confirm, plan)["score"].to_numpy()

    assert (scores == scores.astype(np.float32)).all()
