"""The simulated worlds are as they are stated to be, and the benchmark counts what it says."""

import math
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import known_answers
from benchmarks.known_answers import (
    CONTROLS,
    LANGUAGES,
    REFERENCE,
    TRUTHS,
    Null,
    audits,
    cases,
    locked_cut_offs,
    simulate,
    summarise,
)
from benchmarks.worlds import confirm_observations, make_fit, make_plan
from compliance.assessment.tables import ConfirmObservations, FitObservations
from compliance.records.finding import Verdict
from compliance.statistics.ranking import auroc

LARGE = 4000
"""Groups of the sample in which a truth is looked up."""

CASES = cases()
BOUNDARIES = [name for name in CASES if name.rsplit("-", 2)[0].removesuffix("-in") in TRUTHS
              or name.removesuffix("-everywhere") in TRUTHS]  # fmt: skip


@pytest.fixture(scope="module")
def locked():
    plan = make_plan(LANGUAGES)
    lock, _ = make_fit(plan, replace(CASES["sensitivity-everywhere"].world, seed=5))
    few = tuple(r.model_copy(update={"features": r.features[:2]}) for r in lock.random_latents)
    return plan, lock.model_copy(update={"random_latents": few})


def large_sample(case: Null, plan, lock) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Scores by scorer, language and label, random latents each under its own name."""
    world = replace(case.world, groups=LARGE, benign=2 * LARGE, seed=11,
                    confirm_laws=case.laws(locked_cut_offs(lock)))  # fmt: skip
    seen = confirm_observations(plan, world, lock)
    facts = seen.items.set_index("item")[["language", "label"]]
    scores = seen.scores.join(facts, on="item")
    found = {
        (str(scorer), str(language)): {
            str(label): part["score"].to_numpy() for label, part in rows.groupby("label")
        }
        for (scorer, language), rows in scores.groupby(["scorer", "language"])
    }
    for latent in lock.random_latents[0].features:
        rows = seen.latents[seen.latents["latent"] == latent.latent].set_index("item")["score"]
        values = rows.reindex(facts.index).fillna(0.0)
        for language in LANGUAGES:
            found[f"latent-{latent.latent}", language] = {
                label: values[
                    (facts["language"] == language) & (facts["label"] == label)
                ].to_numpy()
                for label in ("positive", "hard-negative")
            }
    return found


def audit(case, number: int) -> dict[str, Verdict]:
    return next(audits(case, [number]))


def is_rate(scores: np.ndarray, limit: float, rate: float) -> bool:
    return abs((scores > limit).mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / len(scores))


def separates(scores: dict[str, np.ndarray]) -> float:
    return auroc(scores["positive"], scores["hard-negative"])


def test_every_condition_of_the_plan_but_the_gates_has_boundary_nulls():
    conditions = {rule.condition for rule in make_plan(LANGUAGES).rules if rule.kind != "gate"}

    assert conditions == set(TRUTHS) - {"beats-random-sae-near-one"}
    assert len(BOUNDARIES) == 2 * len(TRUTHS)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_a_boundary_null_lies_at_its_limit_and_nowhere_else(name, locked):
    case, (plan, lock) = CASES[name], locked
    condition = name.removesuffix("-everywhere").removesuffix("-in-one")
    sample, limits = large_sample(case, plan, lock), locked_cut_offs(lock)

    for language in LANGUAGES:
        at_limit = language in case.false_in
        probe, limit = sample["probe", language], limits[language]
        sensitivity = {"sensitivity": 0.5, "non-inferior": 0.8}.get(condition, 0.95)
        if condition in CONTROLS and not condition.endswith("near-one"):
            sensitivity = 0.89
        assert is_rate(probe["positive"], limit, sensitivity if at_limit else 0.95)
        benign = 0.05 if at_limit and condition == "false-positive-rate" else 0.005
        assert is_rate(probe["negative"], limit, benign)
        hard = 0.2 if at_limit and condition == "hard-false-positive-rate" else 0.02
        assert is_rate(probe["hard-negative"], limit, hard)
        latents = [key for key, place in sample if key.startswith("latent-") and place == language]
        for control in ("tokens", "ngrams", "random-sae", *latents):
            kind = "random-latents" if control in latents else control
            equal = at_limit and CONTROLS.get(condition) == kind
            lead = separates(probe) - separates(sample[control, language])
            assert abs(lead) < 0.015 if equal else lead > 0.3


def test_scores_of_a_group_correlate_across_languages_as_stated(locked):
    plan, lock = locked
    sample = large_sample(CASES["non-inferior-everywhere"], plan, lock)
    here, there = (sample["probe", language]["positive"] for language in ("en", "el"))
    both = (here > 0) & (there > 0)

    assert np.corrcoef(here[both], there[both])[0, 1] == pytest.approx(0.5, abs=0.05)


def test_observations_come_back_from_their_files_as_they_were(locked):
    plan, lock = locked
    seen = confirm_observations(plan, CASES["no-signal"].world, lock)

    back = ConfirmObservations.from_files(seen.to_files())

    assert back.items["item"].tolist() == seen.items["item"].tolist()
    assert back.scores["score"].tolist() == seen.scores["score"].tolist()
    assert back.latents["score"].tolist() == seen.latents["score"].tolist()


def test_the_planted_latent_is_found_and_nothing_is_found_without_signal():
    plan = make_plan(LANGUAGES)

    planted, files = make_fit(plan, CASES["planted-0.95-100"].world)
    empty, _ = make_fit(plan, CASES["no-signal"].world)

    assert planted.probes[0].features[0].latent == 3
    assert planted.probes[0].selection.p_adjusted < 0.01
    assert empty.probes[0].selection.p_adjusted > 0.05
    assert FitObservations.from_files(files).items["split"].nunique() == 2


def test_a_strong_probe_is_supported_everywhere():
    assert audit(CASES["planted-0.95-170"], 0) == dict.fromkeys(LANGUAGES, Verdict.SUPPORTED)


@pytest.mark.parametrize("number", range(3))
def test_without_signal_nothing_is_claimed(number):
    case = CASES["no-signal"]

    assert not case.errs(audit(case, number))


def test_a_probe_of_the_reference_language_is_claimed_there_alone():
    verdicts = audit(CASES["reference-only"], 1)

    assert verdicts[REFERENCE] is Verdict.SUPPORTED
    assert not CASES["reference-only"].errs(verdicts)


def test_a_claim_counts_as_false_only_where_the_condition_is_at_its_limit():
    case = CASES["sensitivity-in-one"]
    gap = CASES["non-inferior-in-one"]
    limited = dict.fromkeys(LANGUAGES, "inconclusive") | {"el": "supported-with-limits"}

    assert case.errs(limited)
    assert not gap.errs(limited)
    assert gap.errs(limited | {"el": "supported"})
    assert not case.errs(dict.fromkeys(LANGUAGES, "supported") | {"el": "inconclusive"})


class Pool:
    """Stands in for the processes: says what it was asked for and finds everything supported."""

    def __init__(self, *args, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, _, name, first, last):
        asked.append((name, first, last))
        done = Future()
        done.set_result((name, first, [dict.fromkeys(LANGUAGES, "supported")] * (last - first)))
        return done


asked: list[tuple[str, int, int]] = []


def test_a_run_goes_on_from_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(known_answers, "ProcessPoolExecutor", Pool)
    simulate(["no-signal"], 20, 1, tmp_path)
    asked.clear()

    simulate(["no-signal"], 40, 1, tmp_path)
    summary = summarise(["no-signal"], 40, tmp_path)

    assert asked == [("no-signal", 20, 40)]
    assert summary["nulls"][0]["audits"] == summary["nulls"][0]["false_claims"] == 40
    assert summary["nulls"][0]["low"] == pytest.approx(0.025 ** (1 / 40))
