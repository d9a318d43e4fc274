"""The lock: each part follows from its own observations, and is recomputed from them."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
import pandas as pd
import pytest

from compliance.assessment.choosing import choose
from compliance.assessment.locking import make_lock, recomputed_lock
from compliance.assessment.tables import FitObservations
from compliance.records.base import digest_of, to_json
from compliance.records.observation import CALIBRATED
from compliance.records.plan import Cell, CutOff, Lock, Setting
from tests.assessment.fit_tables import (
    BRIGHTER,
    LANGUAGES,
    PICTURE,
    TEXT,
    digests,
    make_fit,
    make_plan,
    no_latents,
    stored,
    without_labels,
)

PLAN = make_plan()


def locked(fit: FitObservations, plan=PLAN) -> Lock:
    return make_lock(plan, choose(plan, fit), fit, digests(fit))


@pytest.fixture(scope="module")
def fit() -> FitObservations:
    return make_fit()


@pytest.fixture(scope="module")
def lock(fit) -> Lock:
    return locked(fit)


def cut_off(lock: Lock, scorer: str, language: str) -> CutOff:
    return next(c for c in lock.cut_offs if (c.scorer, c.cell.language) == (scorer, language))


def benign_scores(fit: FitObservations, scorer: str, language: str) -> list[float]:
    items = fit.items[(fit.items["language"] == language) & (fit.items["label"] == "negative")]
    mine = fit.scores[(fit.scores["scorer"] == scorer) & fit.scores["item"].isin(items["item"])]
    return sorted(mine["score"])


def without_scores(fit: FitObservations, gone: Callable[[pd.DataFrame], pd.Series]):
    return replace(fit, scores=fit.scores[~gone(fit.scores)].reset_index(drop=True))


def with_counts(fit: FitObservations, counts: dict[str, float]) -> FitObservations:
    """Token counts of the English items by label."""
    labels = fit.items.set_index("item")["label"] + "-" + fit.items.set_index("item")["language"]
    new = fit.scores["item"].map(labels).map(counts)
    tokens = fit.scores["scorer"] == "tokens"
    return replace(
        fit, scores=fit.scores.assign(score=new.where(tokens & new.notna(), fit.scores["score"]))
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scorer", [*CALIBRATED, "probe@pooling-mean", "probe@sae-1"])
def test_a_cut_off_is_the_stated_rank_of_the_cells_own_benign_scores(fit, lock, scorer, language):
    scores = benign_scores(fit, scorer, language)
    rank = ceil((len(scores) + 1) * (1 - Fraction(1, 20)))

    found = cut_off(lock, scorer, language)

    assert (found.value, found.rank, found.n) == (scores[rank - 1], rank, 60)


def test_a_setting_with_another_alpha_reads_the_probes_own_scores(fit, lock):
    scores = benign_scores(fit, "probe", "el")
    rank = ceil(61 * (1 - Fraction(1, 50)))

    found = cut_off(lock, "probe@alpha-0.02", "el")

    assert (found.value, found.rank) == (scores[rank - 1], rank)


def test_a_neighbour_has_a_cut_off_in_its_own_language_alone(fit, lock):
    found = [c for c in lock.cut_offs if c.scorer == "latent/0/11"]

    assert [c.cell.language for c in found] == ["el"]
    assert found[0].value in benign_scores(fit, "latent/0/11", "el")


def test_every_cell_has_every_cut_off_once(lock):
    keys = [(c.cell.key, c.scorer) for c in lock.cut_offs]
    names = {*CALIBRATED, *(setting.cut_off for setting in PLAN.settings)}

    assert len(set(keys)) == len(keys)
    assert set(keys) == {
        *((cell.key, name) for cell in PLAN.cells for name in names),
        ("danger/el/text/plain", "latent/0/11"),
        ("danger/ja/text/plain", "latent/1/7"),
    }


def test_a_cut_off_that_cannot_be_set_says_why(fit):
    few = make_fit(benign=10)
    gone = without_scores(fit, lambda s: (s["scorer"] == "dense") & s["item"].str.endswith("-el"))
    cells = (*PLAN.cells, Cell(concept="danger", language="vi"))

    too_few = cut_off(locked(few), "probe", "en")
    no_score = cut_off(locked(gone), "dense", "el")
    no_items = cut_off(locked(fit, make_plan(cells=cells)), "dense", "vi")

    assert (too_few.value, too_few.n) == (None, 10)
    assert "cannot be set at alpha 1/20 on 10 benign scores" in too_few.reason
    assert (no_score.n, no_score.reason) == (0, "no benign item has a score of it")
    assert (no_items.n, no_items.reason) == (0, "no benign items to calibrate on")


def test_the_token_count_is_oriented_as_it_ranks_the_fit_items(fit):
    counts = {"positive-en": 9.0, "hard-negative-en": 5.0, "positive-el": 5.0,
              "hard-negative-el": 9.0, "positive-ja": 5.0, "hard-negative-ja": 5.0}  # fmt: skip

    found = {o.language: o.sign for o in locked(with_counts(fit, counts)).orientations}

    assert found == {"en": 1, "el": -1, "ja": 1}


def test_a_language_with_one_label_has_no_orientation(fit):
    found = locked(without_labels(fit, "el", "positive"))

    assert [o.language for o in found.orientations] == ["en", "ja"]


def test_the_lock_names_plan_and_observations(fit, lock):
    other = digests(fit) | {"fit/items.csv": "sha256:1"}

    assert lock.plan_digest == digest_of(PLAN)
    assert make_lock(PLAN, lock, fit, other).fit_digest != lock.fit_digest
    assert make_lock(PLAN, lock, fit, digests(fit) | {"confirm/x": "1"}) == lock


@pytest.mark.parametrize("deep", [False, True])
def test_an_auditor_makes_the_same_lock(fit, lock, deep):
    assert recomputed_lock(PLAN, lock, fit, digests(fit), deep=deep) == lock


@pytest.mark.parametrize(
    "part",
    [
        "directions", "cut_offs", "orientations", "neighbours", "alternatives", "random_latents",
        "sparse_probes",
    ],
)  # fmt: skip
@pytest.mark.parametrize("deep", [False, True])
def test_whatever_the_lock_lacks_is_computed_again(fit, lock, part, deep):
    altered = lock.model_copy(update={part: getattr(lock, part)[1:]})

    assert getattr(lock, part)
    assert recomputed_lock(PLAN, altered, fit, digests(fit), deep=deep) == lock


@pytest.mark.parametrize("part", ["probes", "random_probes", "permuted_probes"])
def test_a_search_that_the_lock_lacks_is_noticed(fit, lock, part):
    altered = lock.model_copy(update={part: ()})

    found = recomputed_lock(PLAN, altered, fit, digests(fit), deep=False)

    stated = [probe.features for probe in getattr(lock, part)]
    assert stated and [probe.features for probe in getattr(found, part)] == stated


@pytest.mark.parametrize("part", ["probes", "random_probes", "permuted_probes", "random_latents"])
def test_another_latent_than_the_best_or_the_drawn_is_noticed(fit, lock, part):
    """Else a control could be swapped for latents that never fire."""
    first, *others = getattr(lock, part)
    features = (first.features[0].model_copy(update={"latent": 0}), *first.features[1:])
    swapped = (first.model_copy(update={"features": features}), *others)

    found = recomputed_lock(
        PLAN, lock.model_copy(update={part: swapped}), fit, digests(fit), deep=False
    )

    assert getattr(found, part) == getattr(lock, part) != swapped


@pytest.mark.parametrize("name", ["p_adjusted", "null_p95"])
def test_the_null_of_a_search_is_recomputed_in_depth(fit, lock, name):
    first, *others = lock.probes
    better = first.selection.model_copy(update={name: 0.0001})
    altered = lock.model_copy(
        update={"probes": (first.model_copy(update={"selection": better}), *others)}
    )

    shallow = recomputed_lock(PLAN, altered, fit, digests(fit), deep=False)

    assert shallow == altered
    assert recomputed_lock(PLAN, altered, fit, digests(fit), deep=True) == lock


def _new_vectors(kind: str) -> Callable[[FitObservations], FitObservations]:
    def change(fit: FitObservations) -> FitObservations:
        mine = fit.vectors["features"] == kind
        vectors = [2 * v + 1 if m else v for v, m in zip(fit.vectors["vector"], mine, strict=True)]
        return replace(fit, vectors=fit.vectors.assign(vector=vectors))

    return change


def _new_scores(scorer: str) -> Callable[[FitObservations], FitObservations]:
    """Of benign items."""

    def change(fit: FitObservations) -> FitObservations:
        mine = (fit.scores["scorer"] == scorer) & fit.scores["item"].str.startswith("b")
        return replace(
            fit, scores=fit.scores.assign(score=fit.scores["score"] + np.where(mine, 8.0, 0.0))
        )

    return change


def _longer_positives(fit: FitObservations) -> FitObservations:
    return with_counts(fit, {"positive-en": 99.0})


def _no_random_latent(fit: FitObservations) -> FitObservations:
    return replace(fit, random_search=no_latents())


def _near_neighbour(fit: FitObservations) -> FitObservations:
    return replace(fit, neighbours=fit.neighbours.assign(cosine=[0.9, 0.7, 0.75, 0.8]))


def _other_japanese_scores(fit: FitObservations) -> FitObservations:
    """As many items as before, other scores; only the sparse probes read Japanese scores."""
    mine = fit.search["item"].str.endswith("-ja") & (fit.search["sae"] == 1)
    return replace(
        fit, search=fit.search.assign(score=np.where(mine, 1.0, 0.0) + fit.search["score"])
    )


CHANGES = {
    "ngrams": (_new_vectors("ngrams"), {"directions.ngrams"}),
    "residual": (_new_vectors("residual/hook.0"), {"directions.dense", "directions.dense-means"}),
    "reconstruction": (
        _new_vectors("reconstruction/0"),
        {"directions.reconstruction", "directions.reconstruction-means"},
    ),
    "error": (_new_vectors("error/0"), {"directions.error", "directions.error-means"}),
    "other SAE": (_new_vectors("residual/hook.1"), set()),
    "tokens": (_longer_positives, {"orientations"}),
    "random SAE": (_no_random_latent, {"random_probes"}),
    "neighbours": (_near_neighbour, {"neighbours", "cut_offs.latent/1/12"}),
    "sparse": (_other_japanese_scores, {"sparse_probes"}),
    "probe": (_new_scores("probe"), {"cut_offs.probe", "cut_offs.probe@alpha-0.02"}),
    **{
        name: (_new_scores(name), {f"cut_offs.{name}"})
        for name in ("random-sae", "dense", "reconstruction", "probe@sae-0", "latent/0/11")
    },
    "benign tokens": (_new_scores("tokens"), set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_input_of_one_control_changes_its_part_and_no_other(fit, lock, name):
    change, expected = CHANGES[name]

    other = locked(stored(change(fit)))

    assert differing(lock, other) == expected | {"fit_digest"}


def differing(one: Lock, two: Lock) -> set[str]:
    """Parts that differ; directions and cut-offs by scorer."""
    found = set()
    for part, value in parts(one).items() | parts(two).items():
        if parts(one).get(part) != value or parts(two).get(part) != value:
            found.add(part)
    return found


def parts(lock: Lock) -> dict[str, str]:
    plain = to_json(lock)
    found = {
        f"{part}.{scorer}": [entry for entry in plain[part] if entry["scorer"] == scorer]
        for part in ("directions", "cut_offs")
        for scorer in {entry["scorer"] for entry in plain[part]}
    }
    rest = {name: value for name, value in plain.items() if name not in ("directions", "cut_offs")}
    return {name: repr(value) for name, value in (found | rest).items()}


# Pictures

READ = Setting(name="region-read", region="read")
BOTH = make_plan(forms=(TEXT, PICTURE), settings=(*PLAN.settings, READ))


@pytest.fixture(scope="module")
def pictured() -> FitObservations:
    return make_fit(forms=(TEXT, PICTURE))


@pytest.fixture(scope="module")
def of_both(pictured) -> Lock:
    return locked(pictured, BOTH)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", [TEXT, PICTURE])
def test_a_cut_off_is_set_on_benign_items_of_its_own_form(pictured, of_both, form, language):
    """Benign pictures score far above benign texts: mixed, either cut-off would be another."""
    items = pictured.items
    mine = items[(items["language"] == language) & (items["label"] == "negative")
                 & (items["modality"] == form[0])]["item"]  # fmt: skip
    table = pictured.scores[pictured.scores["scorer"] == "probe"]
    scores = sorted(table[table["item"].isin(mine)]["score"])
    (found,) = [c for c in of_both.cut_offs
                if c.scorer == "probe" and c.cell.variant == (language, *form)]  # fmt: skip

    assert (found.value, found.n) == (scores[found.rank - 1], 60)
    assert found.rank == ceil(61 * (1 - Fraction(1, 20)))
    assert (found.value > BRIGHTER / 2) == (form == PICTURE)


def test_pictures_of_equal_size_are_oriented_upwards(of_both):
    signs = {o.variant: o.sign for o in of_both.orientations}

    assert len(signs) == 6
    assert {signs[language, *PICTURE] for language in LANGUAGES} == {1}


def test_settings_and_neighbours_have_cut_offs_where_they_are_read(of_both):
    found = {(c.scorer, c.cell.modality, c.cell.language) for c in of_both.cut_offs}

    assert {modality for scorer, modality, _ in found if scorer == READ.cut_off} == {"text"}
    assert {modality for scorer, modality, _ in found if scorer == "probe@sae-1"} == {
        "text", "image",
    }  # fmt: skip
    for latent, modality in (("latent/0/11", "text"), ("latent/0/13", "image")):
        assert [where for scorer, *where in found if scorer == latent] == [[modality, "el"]]


@pytest.mark.parametrize("deep", [False, True])
def test_an_auditor_makes_the_same_lock_of_pictures(pictured, of_both, deep):
    assert recomputed_lock(BOTH, of_both, pictured, digests(pictured), deep=deep) == of_both
