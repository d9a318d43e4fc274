"""Several subjects under one lock: what appears, moves and vanishes, by a rule that is stated."""

import numpy as np
import pytest

from compliance.assessment.cells import groups_of
from compliance.assessment.subjects import Side, compare_subjects
from compliance.errors import PlanError
from compliance.records.comparison import PackName
from compliance.records.subjects import MEASURES, Basis, Outcome
from compliance.statistics.multiplicity import holm
from compliance.statistics.ranking import bootstrap_auroc
from tests.assessment.compared import BENIGN, HARD, POSITIVE, exact, moved, world, world_items

NOTHING = np.random.default_rng(5)


def side(table, number: int = 0, **changes) -> Side:
    """A pack of these scores, whose AUROCs have intervals."""
    evidence, files = world(table, **changes)
    results = []
    for result in evidence.results:
        if result.id.endswith("/auroc-hard"):
            part = table[table["language"] == result.id.split("/")[1]]
            sides = [part[part["label"] == label] for label in (POSITIVE, HARD)]
            scores = (part["score"].to_numpy() for part in sides)
            found = bootstrap_auroc(*scores, *(groups_of(part) for part in sides), seed=1)
            result = result.model_copy(update={"low": found.low, "high": found.high})
        results.append(result)
    name = PackName(pack_id=f"demo-{number}.0.0", version=f"{number}.0.0",
                    root_digest="sha256:" + f"{number:064x}")  # fmt: skip
    return Side(name, evidence.model_copy(update={"results": tuple(results)}), files, {})


def blind(table):
    """The same items, of which the probe sees nothing."""
    return table.assign(score=exact(NOTHING.standard_normal(len(table))))


def outcomes(found, place=1):
    return {one.packs[place].outcome for one in found.cells}


@pytest.fixture(scope="module")
def table():
    return world_items()


def test_a_probe_that_sees_nothing_any_more_vanishes_and_the_other_way_round_it_appears(table):
    there, gone = side(table), side(blind(table), 1)

    assert outcomes(compare_subjects([there, gone])) == {Outcome.VANISHES}
    assert outcomes(compare_subjects([gone, there])) == {Outcome.APPEARS}


def test_the_same_ranking_at_lower_scores_moves(table):
    every = table["score"] == table["score"]

    found = compare_subjects([side(table), side(moved(table, every, -1.5), 1)])

    assert outcomes(found) == {Outcome.MOVES}
    for one in found.cells:
        changes = {change.measure: change for change in one.packs[1].changes}
        assert changes["auroc-hard"].difference == 0.0
        assert changes["sensitivity"].high < 0
        assert changes["sensitivity"].p_holm <= found.family_error


def test_a_shown_fall_of_what_is_still_seen_moves(table):
    half = (table["label"] == POSITIVE) & (table["group"].str[-1].astype(int) % 2 == 0)

    found = compare_subjects([side(table), side(moved(table, half, -2.0), 1)])

    assert outcomes(found) == {Outcome.MOVES}
    for one in found.cells:
        ranking = next(c for c in one.packs[1].changes if c.measure == "auroc-hard")
        assert ranking.reading == "worse"
        assert one.packs[1].seen


def test_the_same_scores_show_no_change(table):
    found = compare_subjects([side(table), side(table, 1), side(table, 2)])

    assert outcomes(found, 1) == outcomes(found, 2) == {Outcome.NO_CHANGE}
    assert all(one.packs[0].outcome is None and not one.packs[0].changes for one in found.cells)


def test_a_fall_that_is_not_shown_is_no_vanishing(table):
    """Seen before and not after, but by too little to tell it from chance."""
    positives = table["label"] == POSITIVE
    weak = table.assign(score=exact(table["score"] - np.where(positives, 1.62, 0.0)))
    stream = np.random.default_rng(8)
    weaker = weak.assign(score=exact(weak["score"] + 0.12 * stream.standard_normal(len(weak))))
    first, other = side(weak, cut_off=4.0), side(weaker, 1, cut_off=4.0)

    found = compare_subjects([first, other])

    for one in found.cells:
        ranking = next(c for c in one.packs[1].changes if c.measure == "auroc-hard")
        assert ranking.p_holm > found.family_error
        assert one.packs[1].outcome is Outcome.NO_CHANGE


def test_one_family_holds_all_measures_cells_and_packs(table):
    positives = (table["label"] == POSITIVE) & (table["group"].str[-1].astype(int) < 3)
    sides = [side(table)] + [side(moved(table, positives, -k), k) for k in (1, 2, 3)]

    found = compare_subjects(sides)

    changes = [c for p in (1, 2, 3) for one in found.cells for c in one.packs[p].changes]
    assert found.tests == len(changes) == 3 * len(found.cells) * len(MEASURES)
    order = {(c.p, c.p_holm) for c in changes}
    p = [c.p for c in changes]
    assert order == set(zip(p, holm(p).tolist(), strict=True))


def test_another_cut_off_is_another_lock_and_nothing_is_tested(table):
    found = compare_subjects([side(table), side(blind(table), 1, cut_off=2.0), side(table, 2)])

    assert [p.basis for p in found.packs] == [Basis.FIRST, Basis.OTHER_LOCK, Basis.SAME_LOCK]
    assert found.packs[1].differs == ("lock",)
    assert outcomes(found, 1) == {Outcome.NOT_COMPARED}
    assert outcomes(found, 2) == {Outcome.NO_CHANGE}
    assert all(len(one.packs[1].stated) == len(MEASURES) for one in found.cells)


def test_another_plan_is_named_by_its_key(table):
    found = compare_subjects([side(table), side(table, 1, seed=9)])

    assert found.packs[1].basis is Basis.OTHER_LOCK
    assert "plan.seed" in found.packs[1].differs


def with_sae(one: Side, digest: str, latent: int) -> Side:
    """The same pack, whose probe is a latent of another SAE."""
    evidence = one.evidence
    saes = tuple(s.model_copy(update={"digest": digest, "name": "new"}) for s in evidence.plan.saes)
    (probe,) = evidence.lock.probes
    features = tuple(f.model_copy(update={"latent": latent}) for f in probe.features)
    lock = evidence.lock.model_copy(
        update={"probes": (probe.model_copy(update={"features": features}),)}
    )
    plan = evidence.plan.model_copy(update={"saes": saes})
    changed = evidence.model_copy(update={"plan": plan, "lock": lock})
    return Side(one.name, changed, one.files, one.digests)


@pytest.mark.parametrize("locked", [True, False])
def test_features_of_another_sae_are_matched_by_decoder(table, locked):
    first = side(table)
    sae, latent = first.evidence.plan.saes[0], first.evidence.lock.probes[0].features[0].latent
    own = np.random.default_rng(2).standard_normal((latent + 5, 16)).astype(np.float32)
    other = 3 * own[::-1]
    there = len(own) - 1 - latent
    digest = "sha256:" + "e" * 64
    second = with_sae(side(table, 1), digest, there if locked else 0)

    (found,) = compare_subjects([first, second], {sae.digest: own, digest: other}).matches

    assert (found.how, found.other_sae, found.other_latent) == ("decoder", "new", there)
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    assert found.locked is locked
    assert (found.locked_cosine is None) is locked
    if not locked:
        cosine = own[latent] @ other[0] / np.linalg.norm(own[latent]) / np.linalg.norm(other[0])
        assert found.locked_cosine == pytest.approx(float(cosine), abs=1e-6)


def test_without_decoders_or_of_another_width_there_is_no_match(table):
    first = side(table)
    sae, latent = first.evidence.plan.saes[0], first.evidence.lock.probes[0].features[0].latent
    digest = "sha256:" + "e" * 64
    second = with_sae(side(table, 1), digest, 0)
    own = np.ones((latent + 1, 4), dtype=np.float32)
    narrow = np.ones((3, 3), dtype=np.float32)

    for decoders in ({}, {sae.digest: own}, {sae.digest: own, digest: narrow}):
        (found,) = compare_subjects([first, second], decoders).matches
        assert found.how == "no-match-possible"
        assert found.other_latent is None


def test_one_pack_is_compared_with_nothing(table):
    with pytest.raises(PlanError, match="nothing to be compared with"):
        compare_subjects([side(table)])


def test_noise_alone_is_rarely_read_as_a_change():
    """Three checkpoints that differ from the first by noise in the scores."""
    stream = np.random.default_rng(12)
    base = world_items(groups=40, benign=60)
    wrong = 0
    for _ in range(10):
        sides = []
        for number in range(3):
            jitter = exact(0.5 * stream.standard_normal(len(base)))
            sides.append(side(base.assign(score=base["score"] + jitter), number,
                              bootstrap_draws=400))  # fmt: skip
        found = compare_subjects(sides)
        wrong += any(outcomes(found, place) != {Outcome.NO_CHANGE} for place in (1, 2))
    assert wrong <= 2  # of 10: 5 % would be exceeded so far with probability 0.012


def test_benign_items_count_as_false_alarms(table):
    benign = table["label"] == BENIGN

    found = compare_subjects([side(table), side(moved(table, benign, 3.0), 1)])

    assert outcomes(found) == {Outcome.MOVES}
    change = next(c for c in found.cells[0].packs[1].changes if c.measure == "fpr-benign")
    assert change.low > 0
    assert change.reading == "worse"
