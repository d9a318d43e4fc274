"""What is chosen and fitted before the lock: planted latents are found, noise is not believed."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from compliance.assessment.choosing import (
    choose,
    fit_directions,
    fit_items,
    is_positive,
    linear_weights,
    select_features,
    with_neighbours,
)
from compliance.assessment.tables import FitObservations, vectors
from compliance.errors import PlanError
from compliance.records.audit import FeatureRef
from compliance.records.observation import LINEAR_SCORERS
from compliance.records.plan import Choices, Plan
from compliance.records.suite import Variant
from compliance.statistics.ranking import auroc
from tests.assessment.fit_tables import (
    ELSEWHERE,
    LANGUAGES,
    LATENTS,
    PICTURE,
    PLANTED,
    SEEN,
    TEXT,
    WIDTH,
    make_fit,
    make_plan,
    no_latents,
    stored,
    without_labels,
)

PLAN = make_plan()


@pytest.fixture(scope="module")
def fit() -> FitObservations:
    return make_fit()


@pytest.fixture(scope="module")
def choices(fit) -> Choices:
    return choose(PLAN, fit)


def given(*features: FeatureRef) -> Plan:
    """A plan whose probe's features are given."""
    return make_plan(probes=(PLAN.probes[0].model_copy(update={"features": features}),))


def without_rows(table: pd.DataFrame, gone: pd.Series) -> pd.DataFrame:
    return table[~gone].reset_index(drop=True)


def planted_scores(fit: FitObservations, feature: FeatureRef, items: pd.DataFrame) -> np.ndarray:
    """Pooled scores of one latent on the items, 0 where it is silent."""
    table = fit.search
    mine = table[(table["sae"] == feature.sae) & (table["latent"] == feature.latent)]
    return mine.set_index("item")["score"].reindex(items["item"]).fillna(0.0).to_numpy()


def density(fit: FitObservations, feature: FeatureRef) -> int:
    return np.count_nonzero(planted_scores(fit, feature, fit_items(fit, "danger")))


def in_language(fit: FitObservations, language: str) -> pd.DataFrame:
    items = fit_items(fit, "danger")
    return items[items["language"] == language]


def test_the_planted_latent_is_found_and_luck_does_not_find_as_much(choices):
    (probe,) = choices.probes

    assert probe.features == (PLANTED,)
    assert (probe.selection.searched, probe.selection.positives) == (2 * LATENTS, 16)
    assert probe.selection.p_adjusted == 1 / (PLAN.flips + 1)
    assert probe.selection.null_p95 < probe.selection.auroc


def test_in_noise_the_best_latent_is_what_luck_finds():
    found = [select_features(PLAN, make_fit(signal=0.0, seed=seed))[0] for seed in range(20)]

    values = [probe.selection.p_adjusted for probe in found]
    assert np.mean(values) == pytest.approx(0.5, abs=0.2)
    assert np.mean(np.array(values) <= 0.05) <= 0.15


def test_the_search_looks_at_the_discover_split_in_the_reference_language(fit, choices):
    items = in_language(fit, "en")
    discover = items[items["split"] == "discover"]
    scores, positive = planted_scores(fit, PLANTED, discover), is_positive(discover)

    expected = auroc(scores[positive], scores[~positive])

    assert choices.probes[0].selection.auroc == expected


def test_of_equal_latents_the_lowest_is_taken(fit):
    copies = fit.search[(fit.search["sae"] == 0) & (fit.search["latent"] == PLANTED.latent)]
    free = without_rows(fit.search, (fit.search["sae"] == 0) & (fit.search["latent"] == 1))
    doubled = stored(replace(fit, search=pd.concat([free, copies.assign(latent=1)])))

    (probe,) = select_features(PLAN, doubled)

    assert probe.features == (FeatureRef(sae=0, latent=1),)
    assert probe.selection.ties == 2


def test_an_item_without_the_region_takes_no_part(fit):
    name = "g00-positive-en"
    lean = replace(
        fit, **{t: without_rows(getattr(fit, t), getattr(fit, t)["item"] == name)
                for t in ("scores", "search", "vectors")},
    )  # fmt: skip

    (probe,) = select_features(PLAN, lean)
    directions = fit_directions(PLAN, (probe,), lean)

    assert (probe.selection.positives, probe.selection.hard_negatives) == (15, 16)
    assert {d.positives for d in directions if d.language == "en"} == {23}


def test_a_search_with_one_label_is_refused(fit):
    with pytest.raises(PlanError, match="0 positive and 16 hard-negative items"):
        select_features(PLAN, without_labels(fit, "en", "positive"))


def test_a_search_in_which_no_latent_fired_is_refused(fit):
    with pytest.raises(PlanError, match="no latent fired on any of 32 discover items"):
        select_features(PLAN, replace(fit, search=no_latents()))


@pytest.mark.parametrize(
    ("column", "value"), [("item", "b000-negative-en"), ("sae", 2), ("latent", LATENTS)]
)
def test_a_search_of_what_is_not_planned_is_refused(fit, column, value):
    search = fit.search.copy()
    search.loc[0, column] = value

    with pytest.raises(PlanError, match="an item or latent that is not planned"):
        select_features(PLAN, replace(fit, search=search))


def test_a_given_latent_that_does_not_exist_is_refused(fit):
    with pytest.raises(PlanError, match=f"no latent {LATENTS} of SAE 0"):
        choose(given(FeatureRef(latent=LATENTS)), fit)


def test_given_features_skip_the_search_and_keep_their_controls(fit):
    features = (FeatureRef(latent=5, label="guns"), FeatureRef(latent=6))

    found = choose(given(*features), fit)

    assert found.probes[0].features == features
    assert found.probes[0].selection is None
    assert len(found.random_probes) == len(found.permuted_probes) == 1


def test_given_features_without_items_to_search_have_no_searched_controls(fit):
    half = without_labels(fit, "en", "positive")

    found = choose(given(PLANTED), half)

    assert (found.random_probes, found.permuted_probes, found.alternatives) == ((), (), ())


def test_the_random_probe_is_the_best_of_the_random_latents(fit, choices):
    (probe,) = choices.random_probes
    items = in_language(fit, "en")
    items = items[items["split"] == "discover"]
    found = replace(fit, search=fit.random_search)
    areas = {}
    for sae in (0, 1):
        for latent in range(LATENTS):
            scores = planted_scores(found, FeatureRef(sae=sae, latent=latent), items)
            areas[sae, latent] = auroc(scores[is_positive(items)], scores[~is_positive(items)])

    best = max(areas, key=areas.__getitem__)

    assert (probe.features[0].sae, probe.features[0].latent) == best
    assert probe.selection.p_adjusted > 0.05


def test_without_random_latents_that_fired_there_is_no_random_probe(fit):
    assert choose(PLAN, replace(fit, random_search=no_latents())).random_probes == ()


def test_permuted_labels_find_no_more_than_luck(fit):
    """Were they not swapped, every p would be the least there is."""
    found = [choose(make_plan(seed=seed), fit).permuted_probes[0] for seed in range(20)]

    values = [probe.selection.p_adjusted for probe in found]
    assert np.mean(values) == pytest.approx(0.5, abs=0.2)
    assert {p.selection.positives for p in found} == {16}
    assert len({p.features for p in found}) > 1


def test_permuted_labels_of_groups_with_one_label_are_exchanged():
    """Unpaired groups: swapping within a group would change nothing, and find the planted one."""
    fit = make_fit()
    groups = fit.items["group"] + "-" + fit.items["label"]
    unpaired = replace(fit, items=fit.items.assign(group=groups))

    found = [choose(make_plan(seed=seed), unpaired).permuted_probes[0] for seed in range(10)]

    assert np.mean([probe.selection.p_adjusted for probe in found]) > 0.2
    assert {p.selection.positives for p in found} == {16}


def test_an_alternative_is_the_best_latent_of_its_sae(choices):
    found = {one.setting: one.features for one in choices.alternatives}

    assert found["sae-0"] == (PLANTED,)
    assert [f.sae for f in found["sae-1"]] == [1]
    assert set(found) == {"sae-0", "sae-1"}


@pytest.mark.parametrize("scorer", ["dense", "reconstruction", "error", "ngrams"])
def test_logistic_controls_score_new_vectors_as_scikit_learn_does(fit, choices, scorer):
    kind = {"dense": "residual/hook.0", "ngrams": "ngrams"}.get(scorer, f"{scorer}/0")
    items = in_language(fit, "el")
    table = fit.vectors[fit.vectors["features"] == kind].set_index("item")["vector"]
    new = np.random.RandomState(3).randn(7, WIDTH)
    theirs = LogisticRegression(C=1.0 / PLAN.linear_l2, tol=1e-12, max_iter=10_000)
    theirs.fit(vectors(table.loc[items["item"]]), is_positive(items))

    ours = linear_weights(choices.directions, fit)[scorer, "danger", ("el", *TEXT)]

    assert ours.scores(new) == pytest.approx(theirs.decision_function(new), abs=1e-4)


@pytest.mark.parametrize("scorer", ["dense-means", "reconstruction-means", "error-means"])
def test_a_difference_of_means_is_the_difference_of_the_means(fit, choices, scorer):
    kind = LINEAR_SCORERS[scorer]
    name = "residual/hook.0" if kind == "residual" else f"{kind}/0"
    items = in_language(fit, "ja")
    table = fit.vectors[fit.vectors["features"] == name].set_index("item")["vector"]
    x, positive = vectors(table.loc[items["item"]]), is_positive(items)

    ours = linear_weights(choices.directions, fit)[scorer, "danger", ("ja", *TEXT)]

    assert ours.weights == pytest.approx(x[positive].mean(axis=0) - x[~positive].mean(axis=0))
    middle = (x[positive].mean(axis=0) + x[~positive].mean(axis=0)) / 2
    assert ours.scores(middle[np.newaxis]) == pytest.approx([0.0], abs=1e-12)


def test_controls_are_fitted_where_the_probes_own_sae_reads(fit):
    found = fit_directions(PLAN, choose(given(ELSEWHERE), fit).probes, fit)

    assert {d.features for d in found} == {"residual/hook.1", "reconstruction/1", "error/1",
                                           "ngrams"}  # fmt: skip


def test_every_language_with_both_labels_has_every_linear_control(fit, choices):
    half = choose(PLAN, without_labels(fit, "el", "positive"))

    assert [(d.language, d.scorer) for d in choices.directions] == [
        (language, scorer)
        for language in LANGUAGES
        for scorer in LINEAR_SCORERS
        if scorer not in ("colour", "pixels")
    ]
    assert {d.language for d in half.directions} == {"en", "ja"}
    assert {s.language for s in half.sparse_probes} == {"en", "ja"}


def test_an_item_without_its_vector_is_refused(fit):
    gone = (fit.vectors["item"] == "g00-positive-el") & (fit.vectors["features"] == "error/0")

    with pytest.raises(PlanError, match="g00-positive-el has no error/0 for danger"):
        choose(PLAN, replace(fit, vectors=without_rows(fit.vectors, gone)))


def test_coefficients_for_other_items_are_refused(fit, choices):
    one = choices.directions[0].model_copy(update={"coefficients": (1.0, -1.0)})

    with pytest.raises(PlanError, match="ngrams has 2 coefficients for 48 fit items"):
        linear_weights([one], fit)


def test_a_sparse_probe_finds_the_latent_of_its_own_language(choices):
    found = {(s.scorer, s.language): s.features for s in choices.sparse_probes}

    assert found["sparse-1", "ja"] == (ELSEWHERE,)
    assert found["sparse-1", "en"] == found["sparse-1", "el"] == (PLANTED,)
    assert {scorer: len(f) for (scorer, _), f in found.items()} == {"sparse-1": 1, "sparse-5": 5}


def test_a_sparse_probe_scores_raw_values_as_a_regression_on_scaled_ones(fit, choices):
    sparse = next(s for s in choices.sparse_probes if (s.scorer, s.language) == ("sparse-5", "el"))
    items = in_language(fit, "el")
    x = np.column_stack([planted_scores(fit, feature, items) for feature in sparse.features])
    theirs = LogisticRegression(C=1.0 / PLAN.linear_l2, tol=1e-12, max_iter=10_000)
    theirs.fit(x / np.abs(x).max(axis=0), is_positive(items))

    ours = x @ np.array(sparse.weights) + sparse.bias

    assert ours == pytest.approx(theirs.decision_function(x / np.abs(x).max(axis=0)), abs=1e-4)


def test_a_sparse_probe_takes_a_latent_of_hard_negatives_too(fit):
    labels = fit.items["label"].map(
        {"positive": "hard-negative", "hard-negative": "positive", "negative": "negative"}
    )

    found = choose(PLAN, replace(fit, items=fit.items.assign(label=labels)))

    one = next(s for s in found.sparse_probes if (s.scorer, s.language) == ("sparse-1", "ja"))
    assert one.features == (ELSEWHERE,)
    assert one.weights[0] < 0


def test_a_sparse_probe_takes_no_silent_latent(fit):
    table = fit.search
    few = without_rows(
        table, (table["item"].str.endswith("-ja")) & ~((table["sae"] == 1) & (table["latent"] < 2))
    )
    none = without_rows(table, table["item"].str.endswith("-ja"))

    fewer = {s.scorer: len(s.features) for s in choose(PLAN, replace(fit, search=few)).sparse_probes
             if s.language == "ja"}  # fmt: skip
    languages = {s.language for s in choose(PLAN, replace(fit, search=none)).sparse_probes}

    assert fewer == {"sparse-1": 1, "sparse-5": 2}
    assert languages == {"en", "el"}


def test_random_latents_fire_about_as_often_as_the_probe(fit, choices):
    (drawn,) = choices.random_latents
    distance = {
        latent: abs(density(fit, FeatureRef(latent=latent)) - density(fit, PLANTED))
        for latent in range(LATENTS)
        if latent != PLANTED.latent
    }
    nearest = sorted(distance, key=lambda latent: (distance[latent], latent))

    assert len(set(drawn.features)) == PLAN.random_latents
    assert {f.sae for f in drawn.features} == {PLANTED.sae}
    assert {f.latent for f in drawn.features} <= set(nearest[: 2 * PLAN.random_latents])


def test_random_latents_are_drawn_by_the_seed(fit, choices):
    again, other = choose(PLAN, fit), choose(make_plan(seed=8), fit)

    assert again.random_latents == choices.random_latents
    assert other.random_latents != choices.random_latents


def test_random_latents_match_the_combination_and_leave_out_all_its_features(fit):
    features = tuple(FeatureRef(latent=latent) for latent in (36, 37, 38))
    plan = given(*features).model_copy(update={"random_latents": LATENTS})
    few = plan.model_copy(update={"random_latents": 2})

    (all_others,) = choose(plan, fit).random_latents
    (drawn,) = choose(few, fit).random_latents

    assert sorted(f.latent for f in all_others.features) == [
        latent for latent in range(LATENTS) if latent not in (36, 37, 38)
    ]
    items = fit_items(fit, "danger")
    together = np.maximum.reduce([planted_scores(fit, feature, items) for feature in features])
    distance = sorted(
        abs(density(fit, f) - np.count_nonzero(together)) for f in all_others.features
    )
    for feature in drawn.features:
        assert abs(density(fit, feature) - np.count_nonzero(together)) <= distance[3]


def test_neighbours_are_near_and_not_the_probe_itself(choices):
    found = [(n.language, n.feature.sae, n.feature.latent, n.cosine) for n in choices.neighbours]

    assert found == [("el", 0, 11, 0.7), ("ja", 1, 7, 0.8)]
    assert choices.neighbours[0].scorer == "latent/0/11"


def test_shifts_run_in_the_reference_and_in_the_weakest_language(fit, choices):
    areas = {}
    for language in ("el", "ja"):
        items = in_language(fit, language)
        scores = planted_scores(fit, PLANTED, items)
        areas[language] = auroc(scores[is_positive(items)], scores[~is_positive(items)])

    assert min(areas, key=areas.__getitem__) == "ja"
    assert choices.shifted_languages == {"danger": ("en", "ja")}


def test_shifts_run_in_the_reference_alone_where_there_is_no_other(fit):
    found = choose(make_plan(languages=("en",)), fit)
    half = choose(PLAN, without_labels(fit, "ja", "positive"))

    assert found.shifted_languages == {"danger": ("en",)}
    assert half.shifted_languages == {"danger": ("en", "el")}


def test_a_compact_table_gives_the_same_choices(fit, choices):
    files = fit.to_files()

    assert choose(PLAN, FitObservations.from_files(files, compact=True)) == choices


def test_choosing_takes_little_memory_an_item():
    plan = PLAN.model_copy(update={"flips": 1})
    peaks, items = [], []
    for groups in (40, 160):
        files = make_fit(groups=groups, benign=10).to_files()
        found = FitObservations.from_files(files, compact=True)
        tracemalloc.start()
        choose(plan, found)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        items.append(len(found.items))

    assert peaks[1] - peaks[0] < 3000 * (items[1] - items[0])


def test_neighbours_that_come_later_are_those_of_the_whole(fit, choices):
    before = choose(PLAN, replace(fit, neighbours=fit.neighbours.iloc[:0]))

    assert before.neighbours == () != choices.neighbours
    assert with_neighbours(PLAN, before, fit.neighbours) == choices


def test_coefficients_are_those_of_the_optimum(fit, choices):
    """Each is what the item still pulls on the weights: s / (1 + exp(s m)) / l2."""
    one = next(d for d in choices.directions if (d.scorer, d.language) == ("dense", "en"))
    items = in_language(fit, "en")
    table = fit.vectors[fit.vectors["features"] == one.features].set_index("item")["vector"]
    x, sign = vectors(table.loc[items["item"]]), np.where(is_positive(items), 1.0, -1.0)

    margins = linear_weights([one], fit)["dense", "danger", ("en", *TEXT)].scores(x)

    assert np.array(one.coefficients) == pytest.approx(
        sign * expit(-sign * margins) / PLAN.linear_l2, abs=1e-12
    )
    assert sum(one.coefficients) == pytest.approx(0.0, abs=1e-12)


# Pictures

FORMS = (TEXT, PICTURE)
BOTH = make_plan(forms=FORMS)


@pytest.fixture(scope="module")
def pictured() -> FitObservations:
    return make_fit(forms=FORMS)


@pytest.fixture(scope="module")
def of_both(pictured) -> Choices:
    return choose(BOTH, pictured)


def test_pictures_are_not_searched_where_texts_are(pictured, of_both):
    """On pictures another latent fires on all positives, and on twice as many items."""
    (probe,) = of_both.probes

    assert probe.features == (PLANTED,)
    assert (probe.selection.positives, probe.selection.hard_negatives) == (16, 16)
    assert of_both.permuted_probes[0].selection.positives == 16
    assert of_both.random_probes[0].selection.hard_negatives == 16
    seen = BOTH.model_copy(update={"search_modality": "image", "search_rendering": "typographic"})
    assert [p.features for p in select_features(seen, pictured)] == [(SEEN,)]


def test_each_variant_has_the_linear_controls_that_it_can_have(of_both):
    found = {v: [d.scorer for d in of_both.directions if d.variant == v]
             for v in dict.fromkeys(d.variant for d in of_both.directions)}  # fmt: skip

    assert list(found) == [cell.variant for cell in BOTH.cells]
    every = list(LINEAR_SCORERS)
    for variant, scorers in found.items():
        gone = {"colour", "pixels"} if variant.modality == "text" else set()
        gone |= {"ngrams"} if variant.rendering == "depicted" else set()
        assert scorers == [scorer for scorer in every if scorer not in gone]
    assert {d.features for d in of_both.directions if d.scorer == "colour"} == {"colour"}


def test_words_and_a_picture_together_have_all_surface_controls(pictured):
    both = ("image-text", "typographic")
    items = pictured.items
    mixed = replace(pictured, items=items.assign(
        modality=items["modality"].replace("image", "image-text")))  # fmt: skip

    found = choose(make_plan(forms=(TEXT, both)), stored(mixed)).directions

    assert [d.scorer for d in found if d.variant == ("en", *both)] == list(LINEAR_SCORERS)


def test_a_control_of_pictures_is_fitted_on_pictures(pictured, of_both):
    weights = linear_weights(of_both.directions, pictured)
    items = pictured.items[(pictured.items["language"] == "el")
                           & (pictured.items["modality"] == "image")
                           & (pictured.items["label"] != "negative")]  # fmt: skip
    table = pictured.vectors[pictured.vectors["features"] == "colour"].set_index("item")["vector"]
    x, positive = vectors(table.loc[items["item"]]), is_positive(items)
    theirs = LogisticRegression(C=1.0 / PLAN.linear_l2, tol=1e-12, max_iter=10_000).fit(x, positive)

    ours = weights["colour", "danger", Variant("el", *PICTURE)]

    assert ours.scores(x) == pytest.approx(theirs.decision_function(x), abs=1e-4)
    assert ("colour", "danger", Variant("el", *TEXT)) not in weights
    dense = [weights["dense", "danger", Variant("el", *form)].weights for form in FORMS]
    assert not np.allclose(*dense)


def test_pictures_beside_them_change_no_direction_of_texts(pictured, of_both):
    mine = pictured.items["modality"] == "text"
    alone = {
        name: table[table["item"].isin(pictured.items[mine]["item"])].reset_index(drop=True)
        for name, table in vars(pictured).items()
        if "item" in table
    }

    found = choose(PLAN, replace(pictured, **alone))

    assert found.probes == of_both.probes
    texts = [d for d in of_both.directions if d.modality == "text"]
    assert list(found.directions) == texts
    assert list(found.sparse_probes) == [s for s in of_both.sparse_probes if s.modality == "text"]


def test_a_sparse_probe_finds_what_fires_on_pictures(of_both):
    found = {s.variant: s.features for s in of_both.sparse_probes if s.scorer == "sparse-1"}

    assert {found[language, *PICTURE] for language in LANGUAGES} == {(SEEN,)}
    assert found["en", *TEXT] == (PLANTED,) and found["ja", *TEXT] == (ELSEWHERE,)


def test_neighbours_are_those_of_a_variant(of_both):
    found = [(n.variant, n.feature.sae, n.feature.latent) for n in of_both.neighbours]

    assert found == [
        (("el", *PICTURE), 0, 13), (("el", *TEXT), 0, 11), (("ja", *TEXT), 1, 7),
    ]  # fmt: skip


def test_the_weakest_language_is_that_of_texts(pictured):
    """In Greek pictures the probe ranks worst of all, and that decides nothing."""
    items = pictured.items.set_index("item").loc[pictured.search["item"]].reset_index()
    greek = (items["language"] == "el") & (items["modality"] == "image")
    hard = greek & (items["label"] == "hard-negative") & (pictured.search["latent"] == 3)
    worse = replace(pictured, search=pictured.search.assign(
        score=pictured.search["score"] + 50.0 * hard.to_numpy()))  # fmt: skip

    assert choose(BOTH, worse).shifted_languages == {"danger": ("en", "ja")}


def test_a_variant_that_is_not_planned_is_not_fitted(pictured):
    found = choose(PLAN, pictured)

    assert {d.modality for d in found.directions} == {"text"}
    assert {s.modality for s in found.sparse_probes} == {"text"}
