import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower

from benchmarks.attainability import Table, detectable, direct
from compliance.errors import StatisticsError
from compliance.statistics.power import (
    Design,
    Effect,
    attainable,
    minimum_detectable_auroc,
    minimum_detectable_gap,
    minimum_detectable_greater,
    minimum_detectable_less,
    predicted_power,
)
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_p_noninferior,
)
from compliance.statistics.ranking import auroc, paired_auroc_difference

ROOT = Path(__file__).parent.parent.parent
FIXED = 1_000_000
"""Benign items that leave a cut-off no noise of its own."""

LEVEL = 0.05 / 12


def power_greater(n, p0, alpha, p):
    found = [k for k in range(n + 1) if binomial_p_greater(k, n, p0) <= alpha]
    return stats.binom.pmf(found, n, p).sum()


def power_less(n, p0, alpha, p):
    found = [k for k in range(n + 1) if binomial_p_less(k, n, p0) <= alpha]
    return stats.binom.pmf(found, n, p).sum()


@given(st.integers(1, 200), st.floats(0.05, 0.9), st.sampled_from([0.05, 0.01, LEVEL]))
def test_the_detectable_proportion_is_found_with_the_power_asked(n, p0, alpha):
    above = minimum_detectable_greater(n, p0, alpha=alpha, power=0.9)
    below = minimum_detectable_less(n, p0, alpha=alpha, power=0.9)

    if above is not None:
        assert above > p0
        assert power_greater(n, p0, alpha, above) == pytest.approx(0.9, abs=1e-9)
    if below is not None:
        assert below < p0
        assert power_less(n, p0, alpha, below) == pytest.approx(0.9, abs=1e-9)


def test_what_cannot_be_found_is_none():
    assert minimum_detectable_greater(4, 0.5) is None
    assert minimum_detectable_greater(5, 0.5) is not None
    assert minimum_detectable_less(58, 0.05) is None
    assert minimum_detectable_less(59, 0.05) is not None


def test_more_items_detect_smaller_effects():
    found = [minimum_detectable_greater(n, 0.5) for n in (20, 50, 168, 500)]

    assert found == sorted(found, reverse=True)


def test_the_detectable_auroc_is_found_with_about_the_power_asked():
    """Scores of Hanley and McNeil's kind: negative-exponential on both sides."""
    area = minimum_detectable_auroc(60, 60, alpha=0.05, power=0.8)
    random = np.random.RandomState(0)
    positive = random.exponential(area / (1.0 - area), size=(1_500, 60))
    negative = random.exponential(size=(1_500, 60))

    critical = 0.5 + 1.6449 * np.sqrt(121 / (12 * 60 * 60))
    found = np.mean([auroc(p, n) > critical for p, n in zip(positive, negative, strict=True)])

    assert 0.75 <= found <= 0.85


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_sides_of_the_null_are_treated_alike(n_pos, n_neg):
    area = minimum_detectable_auroc(n_pos, n_neg)

    assert area is None or 0.5 < area < 1.0
    assert (area is None) == (
        1.6448536 * np.sqrt((n_pos + n_neg + 1) / (12 * n_pos * n_neg)) >= 0.5
    )


def power_noninferior(n, margin, alpha, discordance, gap):
    """Over every outcome, by scipy's multinomial."""
    only_here, only_there = (discordance - gap) / 2, (discordance + gap) / 2
    found = [
        (b, c, n - b - c)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if tango_p_noninferior(b, c, n, margin) <= alpha
    ]
    shares = (only_here, only_there, 1 - only_here - only_there)
    return stats.multinomial.pmf(found, n, shares).sum() if found else 0.0


@pytest.mark.parametrize("n", [10, 31, 60, 84])
@pytest.mark.parametrize("margin", [0.05, 0.15, 0.4, 0.8])
@pytest.mark.parametrize(
    ("sensitivity", "discordance"), [(0.9, 0.0), (0.9, 0.02), (0.9, 0.1), (0.9, 0.19), (0.5, 0.9)]
)
def test_the_detectable_gap_is_found_with_the_power_asked(n, margin, sensitivity, discordance):
    gap = minimum_detectable_gap(
        n, margin, sensitivity=sensitivity, discordance=discordance, alpha=0.02
    )

    if gap is None:
        assert power_noninferior(n, margin, 0.02, discordance, 0.0) < 0.8
    else:
        total = min(max(discordance, gap), 2 * sensitivity - gap)
        power = power_noninferior(n, margin, 0.02, total, gap)
        assert 0.0 <= gap < margin
        assert power == pytest.approx(0.8, abs=1e-9) or (power > 0.8 and gap > sensitivity - 1e-9)


@pytest.mark.parametrize("discordance", [0.05, 0.2])
def test_the_detectable_gap_of_many_pairs_is_that_of_the_normal_distribution(discordance):
    """statsmodels knows the power of one normal mean; its variance is that of b - c."""
    n, margin, alpha = 20_000, 0.1, 0.01
    gap = minimum_detectable_gap(n, margin, sensitivity=0.8, discordance=discordance, alpha=alpha)
    spread = math.sqrt(max(discordance, gap) - gap**2)

    power = NormalIndPower(ddof=0).power((margin - gap) / spread, n, alpha, ratio=0,
                                         alternative="larger")  # fmt: skip

    assert power == pytest.approx(0.8, abs=0.03)


def test_a_detectable_gap_lies_below_the_margin_and_below_the_sensitivity():
    assert minimum_detectable_gap(2, 0.1, sensitivity=0.9, discordance=0.1) is None
    assert minimum_detectable_gap(9_000, 0.1, sensitivity=0.9, discordance=0.1) < 0.1
    assert minimum_detectable_gap(900, 0.3, sensitivity=0.05, discordance=0.1) <= 0.05


@pytest.mark.parametrize("discordance", [-0.01, 0.21])
def test_a_discordance_that_a_sensitivity_forbids_is_refused(discordance):
    with pytest.raises(StatisticsError, match="^discordance: "):
        minimum_detectable_gap(100, 0.1, sensitivity=0.9, discordance=discordance)
    with pytest.raises(StatisticsError, match="^discordance: "):
        Effect.of_rates(sensitivity=0.9, fpr=0.01, hard_fpr=0.05, discordance=discordance)


def test_a_single_pair_detects_no_auroc():
    assert minimum_detectable_auroc(1, 1) is None


def test_the_default_sizes_can_be_supported():
    found = attainable(n_pos=168, n_benign=500, n_hard=168, n_pairs=168, alpha=LEVEL)

    assert found.attainable
    assert [case.n for case in found.conditions] == [168, 500, 168, 168]


def test_too_few_benign_items_are_named_with_the_number_needed():
    found = attainable(n_pos=168, n_benign=106, n_hard=168, n_pairs=168, alpha=LEVEL)

    failed = [case for case in found.conditions if not case.attainable]
    assert not found.attainable
    assert [(case.condition, case.needed) for case in failed] == [("false-positive rate", 107)]
    assert 0.95**107 <= LEVEL < failed[0].p == pytest.approx(0.95**106)


def test_the_reference_cell_has_no_reference():
    found = attainable(n_pos=9, n_benign=107, n_hard=25, n_pairs=None, alpha=LEVEL)

    assert found.attainable
    assert "non-inferiority" not in [case.condition for case in found.conditions]


def test_a_cell_without_items_shows_nothing():
    found = attainable(n_pos=0, n_benign=0, n_hard=0, n_pairs=0, alpha=LEVEL)

    assert [case.p for case in found.conditions] == [1.0] * 4
    assert not found.attainable


@pytest.mark.parametrize("n", range(1, 31))
@pytest.mark.parametrize("alpha", [0.05, LEVEL])
def test_no_outcome_beats_the_best_case_of_non_inferiority(n, alpha):
    """Over every outcome in which both languages' sensitivity is shown to be above one half."""
    shown = [k for k in range(n + 1) if binomial_p_greater(k, n, 0.5) <= alpha]
    best = attainable(n_pos=n, n_benign=1, n_hard=1, n_pairs=n, alpha=alpha).conditions[-1]

    outcomes = [
        tango_p_noninferior(b, c, n, 0.15)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        for both in range(n + 1 - b - c)
        if both + b in shown and both + c in shown
    ]

    if outcomes:
        assert best.p == pytest.approx(min(outcomes))
    assert best.attainable == (best.p <= alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01, LEVEL, 0.0005])
def test_more_than_needed_is_enough(alpha):
    needed = attainable(n_pos=1, n_benign=1, n_hard=1, n_pairs=1, alpha=alpha).conditions

    for more in range(40):
        sizes = [case.needed + more for case in needed]
        names = ("n_pos", "n_benign", "n_hard", "n_pairs")
        assert attainable(**dict(zip(names, sizes, strict=True)), alpha=alpha).attainable


@given(
    st.floats(0.05, 0.95), st.floats(0.03, 0.6), st.floats(0.03, 0.6), st.floats(0.03, 0.6),
    st.sampled_from([0.3, 0.05, LEVEL, 1e-5]),
)  # fmt: skip
def test_what_is_needed_is_what_counting_up_finds(min_sensitivity, fpr, hard_fpr, margin, alpha):
    sizes = np.arange(1, 1_000)
    missed = np.maximum(sizes - stats.binom.isf(alpha, sizes, min_sensitivity) - 1, 0)
    shown = [
        min_sensitivity**sizes <= alpha,
        (1 - fpr) ** sizes <= alpha,
        (1 - hard_fpr) ** sizes <= alpha,
        [tango_p_noninferior(int(b), 0, n, margin) <= alpha
         for b, n in zip(missed, sizes.tolist(), strict=True)],
    ]  # fmt: skip

    found = attainable(
        n_pos=1, n_benign=1, n_hard=1, n_pairs=1, alpha=alpha, max_fpr=fpr,
        min_sensitivity=min_sensitivity, max_hard_fpr=hard_fpr, margin=margin,
    ).conditions  # fmt: skip

    assert [case.needed for case in found] == [1 + int(np.argmax(each)) for each in shown]


def test_a_tiny_limit_needs_millions_and_no_time():
    found = attainable(n_pos=9, n_benign=9, n_hard=9, n_pairs=None, alpha=LEVEL, max_fpr=1e-7)

    expected = math.ceil(math.log(LEVEL) / math.log1p(-1e-7))
    assert found.conditions[1].needed == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(StatisticsError, match="^alpha: "):
        attainable(n_pos=1, n_benign=1, n_hard=1, n_pairs=1, alpha=alpha)
    with pytest.raises(StatisticsError, match="^alpha: "):
        minimum_detectable_greater(10, 0.5, alpha=alpha)
    with pytest.raises(StatisticsError, match="^alpha: "):
        minimum_detectable_auroc(10, 10, alpha=alpha)


@pytest.mark.parametrize(
    ("sensitivity", "gap", "discordance"),
    [(0.9, 0.0, 0.1), (0.9, 0.0, 0.19), (0.5, 0.0, 0.2), (0.8, 0.3, 0.34), (0.6, -0.1, 0.101),
     (0.52, 0.02, 0.7)],
)  # fmt: skip
def test_an_effect_has_the_rates_it_was_made_of(sensitivity, gap, discordance):
    effect = Effect.of_rates(
        sensitivity=sensitivity, fpr=0.01, hard_fpr=0.05, discordance=discordance, gap=gap
    )
    limit = stats.norm.isf(0.01)
    here, there = effect.positive - limit, effect.positive_elsewhere - limit
    both = stats.multivariate_normal.cdf(
        [here, there], cov=[[1, effect.correlation], [effect.correlation, 1]]
    )

    assert stats.norm.cdf(here) == pytest.approx(sensitivity)
    assert stats.norm.cdf(there) == pytest.approx(sensitivity - gap)
    assert stats.norm.sf(limit, effect.hard) == pytest.approx(0.05)
    assert 2 * sensitivity - gap - 2 * both == pytest.approx(discordance, abs=1e-5)


PROBE = Effect.of_rates(sensitivity=0.9, fpr=0.01, hard_fpr=0.05, discordance=0.1)


@pytest.mark.parametrize(
    ("design", "effect"),
    [
        (Design(84, 84, 250, 250, cells=6), PROBE),
        (Design(60, 45, 150, 200, cells=4, references=2, max_hard_fpr=0.25, margin=0.2),
         Effect.of_rates(sensitivity=0.8, fpr=0.01, hard_fpr=0.08, discordance=0.2, gap=0.04)),
        (Design(40, 40, 99, 120, cells=3, margin=0.25, min_sensitivity=0.6, family_error=0.1),
         Effect.of_rates(sensitivity=0.8, fpr=0.005, hard_fpr=0.02, discordance=0.15, gap=-0.05)),
        (Design(90, 90, 300, 150, cells=2, alpha=0.02, max_fpr=0.08, margin=0.1),
         Effect.of_rates(sensitivity=0.95, fpr=0.02, hard_fpr=0.05, discordance=0.05)),
    ],
)  # fmt: skip
def test_the_prediction_is_what_drawing_every_score_finds(design, effect):
    found = predicted_power(design, effect, draws=20_000, seed=3)

    reference, other = direct(design, effect, draws=1_500, seed=4)

    for predicted, drawn in (
        (found.reference.supported, reference), (found.other.supported, other)
    ):  # fmt: skip
        assert 0.05 < predicted.value < 0.99  # where it can be wrong
        error = math.hypot(predicted.error, drawn.error)
        assert abs(predicted.value - drawn.value) < 3.5 * error


def core_shown(design, effect, alpha):
    """P(every rate of a cell shown at alpha), its cut-off fixed at the conformal alpha."""
    limit = stats.norm.isf(design.alpha)
    sensitivity = stats.norm.sf(limit, effect.positive)
    hard = stats.norm.sf(limit, effect.hard)
    return (
        power_greater(design.groups, design.min_sensitivity, alpha, sensitivity)
        * power_less(design.benign_confirm, design.max_fpr, alpha, design.alpha)
        * power_less(design.hard_negatives, design.max_hard_fpr, alpha, hard)
    )


@pytest.mark.parametrize("groups", [25, 50, 400])
def test_a_cell_alone_with_a_fixed_cut_off_is_a_product_of_binomials(groups):
    design = Design(groups, 60, FIXED, 150, cells=1)
    effect = Effect.of_rates(sensitivity=0.75, fpr=0.01, hard_fpr=0.05, discordance=0.1)

    found = predicted_power(design, effect, draws=20_000, seed=5)

    expected = core_shown(design, effect, 0.05)
    assert found.other is None
    assert found.every == found.reference.supported
    assert found.reference.supported.value == pytest.approx(expected, abs=0.012)
    assert found.reference.with_limits.value == 0.0


def test_limits_are_what_is_left_where_non_inferiority_cannot_be_shown():
    """Two cells; Holm asks 0.025 of the better one and 0.05 of the other."""
    design = Design(3_000, 60, FIXED, 180, cells=2)
    effect = Effect.of_rates(sensitivity=0.95, fpr=0.01, hard_fpr=0.08, discordance=0.4, gap=0.35)

    found = predicted_power(design, effect, draws=20_000, seed=6)

    strict, loose = (core_shown(design, effect, alpha) for alpha in (0.025, 0.05))
    assert loose - strict > 0.05
    assert found.other.supported.value == 0.0
    assert found.other.with_limits.value == pytest.approx(
        strict + (loose - strict) * strict, abs=0.012
    )
    assert found.reference.supported.value == pytest.approx(strict, abs=0.012)
    assert found.reference.with_limits.value == pytest.approx((loose - strict) * strict, abs=0.012)


def test_a_cell_is_supported_only_beside_a_supported_reference():
    """The reference misses half of its positives; the other language hits nearly all."""
    effect = Effect.of_rates(sensitivity=0.5, fpr=0.01, hard_fpr=0.02, discordance=0.46, gap=-0.45)

    found = predicted_power(Design(168, 168, 2_000, 2_000), effect, seed=7)

    assert found.reference.supported.value < 0.2
    assert found.other.supported.value <= found.reference.supported.value
    assert found.other.with_limits.value > 0.9


@pytest.mark.parametrize(("control", "pairs"), [(0.5, 25), (0.6, 50)])
def test_the_lead_over_a_control_is_shown_about_as_often_as_by_the_bootstrap(control, pairs):
    limits = {"min_sensitivity": 0.05, "max_fpr": 0.5, "max_hard_fpr": 0.9}
    design = Design(pairs, pairs, FIXED, 500, cells=1, **limits)
    lead = math.sqrt(2) * stats.norm.ppf(0.75)
    effect = Effect(positive=2.4, positive_elsewhere=2.4, hard=2.4 - lead, correlation=0.5,
                    control_auroc=control)  # fmt: skip
    shift, groups = math.sqrt(2) * stats.norm.ppf(control), np.arange(pairs)
    random = np.random.RandomState(8)

    p = [
        paired_auroc_difference(
            random.normal(lead, size=pairs), random.normal(size=pairs),
            random.normal(shift, size=pairs), random.normal(size=pairs),
            groups, groups, seed=draw, draws=250,
        ).p_greater
        for draw in range(250)
    ]  # fmt: skip

    found = predicted_power(design, effect, draws=5_000, seed=9).reference.supported.value
    assert 0.1 < found < 0.95
    assert found == pytest.approx(np.mean(np.array(p) <= 0.05), abs=0.1)


def test_the_error_is_the_spread_between_seeds():
    design = Design(84, 84, 250, 250, cells=12, references=2)

    found = [predicted_power(design, PROBE, draws=200, seed=seed) for seed in range(80)]

    for power in ("reference", "other"):
        chances = [getattr(f, power).supported for f in found]
        spread = np.std([c.value for c in chances], ddof=1)
        assert np.mean([c.error for c in chances]) == pytest.approx(spread, rel=0.3)


def test_the_same_seed_predicts_the_same():
    design = Design(168, 168, 500, 500)

    assert predicted_power(design, PROBE, seed=1) == predicted_power(design, PROBE, seed=1)
    assert predicted_power(design, PROBE, seed=1) != predicted_power(design, PROBE, seed=2)


def test_without_a_cut_off_nothing_is_supported():
    design = Design(168, 168, 98, 500)

    found = predicted_power(design, PROBE, seed=1)

    assert found.every.value == found.reference.supported.value == found.other.supported.value == 0
    assert found.other.with_limits.value == 0
    assert predicted_power(replace(design, benign_calibrate=99), PROBE, seed=1).every.value > 0


@pytest.mark.parametrize(
    ("name", "change"),
    [("groups", 0), ("benign_confirm", -1), ("cells", 1.5), ("alpha", 1.0), ("margin", 0.0),
     ("references", 4)],
)  # fmt: skip
def test_an_impossible_design_is_refused(name, change):
    with pytest.raises(StatisticsError, match=f"^{'cells' if name == 'references' else name}: "):
        replace(Design(10, 10, 100, 100), **{name: change})


@pytest.mark.parametrize(
    ("name", "change"), [("correlation", 1.0), ("control_auroc", 1.0), ("hard", math.nan)]
)
def test_an_impossible_effect_is_refused(name, change):
    with pytest.raises(StatisticsError, match=f"^{name}: "):
        replace(PROBE, **{name: change})


@pytest.mark.parametrize(("name", "draws", "seed"), [("draws", 1, 1), ("seed", 9, 2**32)])
def test_an_impossible_simulation_is_refused(name, draws, seed):
    with pytest.raises(StatisticsError, match=f"^{name}: "):
        predicted_power(Design(10, 10, 100, 100), PROBE, draws=draws, seed=seed)


def test_the_page_shows_the_tables_that_the_benchmark_wrote():
    page = (ROOT / "docs" / "attainability.md").read_text(encoding="utf-8")
    written = json.loads((ROOT / "docs" / "validation" / "attainability.json").read_text("utf-8"))
    tables = [Table(**table) for table in written["tables"]]

    assert len(tables) == 5
    for table in tables:
        assert table.markdown() in page
    assert tables[-1].markdown() == detectable().markdown()
