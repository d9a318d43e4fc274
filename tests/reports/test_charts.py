import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score, roc_curve

from compliance.records.audit import FeatureRef
from compliance.records.chart import Chart
from compliance.records.finding import Result, SettingVerdict, Verdict
from compliance.records.suite import Label
from compliance.reports.charts import (
    calibration,
    curve,
    density,
    histogram,
    histograms,
    roc,
    sweep,
)
from compliance.reports.charts.density import densities
from compliance.reports.charts.drawing import (
    Frame,
    Scale,
    cut,
    round_ticks,
    step_for,
    width_of,
    wrapped,
)
from compliance.reports.charts.histogram import Axis, bins_of, shared_axis
from compliance.reports.charts.roc import roc_band, roc_points
from compliance.reports.charts.scores import scores_of
from compliance.reports.charts.sweep import sign_of
from compliance.reports.plot import sensitivity_plot
from compliance.statistics.proportion import wilson
from compliance.statistics.ranking import auroc
from tests.reports.charts_example import BENIGN, HARD, POSITIVE, cells_of, context
from tests.reports.example import example_evidence

FEATURE = FeatureRef(latent=4711)


@pytest.fixture(scope="module")
def ctx():
    return context()


def paths(chart: Chart, look: str) -> list[str]:
    return [shape.path for shape in chart.shapes if shape.look == look]


def corners(path: str) -> np.ndarray:
    """Pixels of a line."""
    return np.array(
        [[float(v) for v in p.split(",")] for p in re.findall(r"[-\d.]+,[-\d.]+", path)]
    )


def boxes(path: str) -> list[tuple[float, ...]]:
    """Left, top, width and height of rectangles."""
    found = re.findall(r"M([-\d.]+),([-\d.]+) h([-\d.]+) v([-\d.]+)", path)
    return [tuple(map(float, box)) for box in found]


def said(chart: Chart) -> list[str]:
    """The words of each label, numbers written out."""
    return [
        "".join(f.text if f.number is None else f.number.text or f.number.short or ""
                for f in label.words.fragments)
        for label in chart.labels
    ]  # fmt: skip


def vertical_at(path: str) -> float:
    return float(re.match(r"M([\d.]+),", path)[1])


def with_results(changes: dict[str, Result | None]):
    """The example with some results replaced, or without them."""
    evidence = example_evidence()
    kept = [r for r in evidence.results if r.id not in changes]
    added = [r for r in changes.values() if r is not None]
    return evidence.model_copy(update={"results": (*kept, *added)})


# scores


def test_scores_are_those_of_the_probe_on_items_of_the_cell(ctx):
    scores = scores_of(ctx.observed, cells_of(ctx))

    greek = scores["deception/el/text/plain"]
    assert greek[Label.POSITIVE].tolist() == sorted(POSITIVE)
    assert greek[Label.HARD_NEGATIVE].tolist() == sorted(HARD)
    assert greek[Label.NEGATIVE].tolist() == sorted(BENIGN)
    assert all(not len(part) for part in scores["deception/ja/text/plain"].values())


# ROC


@pytest.mark.parametrize("seed", range(5))
def test_a_roc_curve_is_that_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    positive, hard = (np.sort(draw.integers(0, 12, n) + d) for n, d in ((40, 3), (30, 0)))

    points = np.array(roc_points(positive, hard))

    labels = np.repeat([1, 0], [40, 30])
    scores = np.concatenate([positive, hard])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(points, np.column_stack([fpr, tpr]))
    assert auc(*points.T) == pytest.approx(roc_auc_score(labels, scores))
    assert auc(*points.T) == pytest.approx(auroc(positive, hard))


def test_the_area_below_the_drawn_line_is_the_auroc(ctx):
    cells = [cell for cell in cells_of(ctx) if cell.language == "el"]

    (line,) = paths(roc(ctx, cells), "line")

    pixels = corners(line)
    left, bottom, side = pixels[0, 0], pixels[0, 1], pixels[-1, 0] - pixels[0, 0]
    area = auc((pixels[:, 0] - left) / side, (bottom - pixels[:, 1]) / side)
    labels = np.repeat([1, 0], [len(POSITIVE), len(HARD)])
    assert area == pytest.approx(roc_auc_score(labels, [*POSITIVE, *HARD]), abs=1e-4)


def test_the_band_is_the_interval_of_the_sensitivity():
    (_, (x, low, high), *_) = roc_band([(0.0, 0.0), (0.25, 0.6), (1.0, 1.0)], 10, 0.95)

    expected = wilson(6, 10, 0.95)
    assert (x, low, high) == (0.25, expected.low, expected.high)


def test_the_operating_point_lies_at_its_two_results():
    ids = {
        "deception/en/text/plain/sensitivity": (0.5, 0.2, 0.8),
        "deception/en/text/plain/fpr-hard": (0.2, 0.1, 0.6),
    }
    evidence = with_results(
        {i: Result(id=i, value=v, low=lo, high=hi, level=0.95, n=10, method="wilson")
         for i, (v, lo, hi) in ids.items()}
    )  # fmt: skip
    ctx = context(evidence)

    chart = roc(ctx, cells_of(ctx)[:1])

    line = corners(paths(chart, "line")[0])
    (left, bottom), (right, top) = line[0], line[-1]
    mark = corners(paths(chart, "chosen")[0])
    middle = (mark.min(axis=0) + mark.max(axis=0)) / 2
    np.testing.assert_allclose(middle, [left + 0.2 * (right - left), bottom + 0.5 * (top - bottom)])
    arms = paths(chart, "cross")[0]
    assert f"M{left + 0.1 * (right - left):g}," in arms
    assert f"V{bottom + 0.8 * (top - bottom):g}" in arms


def test_a_language_without_scores_has_a_panel_that_says_so(ctx):
    chart = roc(ctx, cells_of(ctx))

    assert len(paths(chart, "line")) == 2
    assert said(chart).count("Russian") == 1
    assert sum("no scores of" in words for words in said(chart)) == 4
    assert "Russian: area below the curve not covered" in chart.description


def test_without_observations_there_is_nothing_to_draw():
    ctx = context(observed=False)
    cells = cells_of(ctx)

    assert roc(ctx, cells) is None and histograms(ctx, cells) is None
    assert histogram(ctx, cells[0]) is None and density(ctx, FEATURE) is None
    assert calibration(ctx, cells) and sweep(ctx, cells)


def test_a_curve_is_a_line_over_its_band():
    frame = Frame(Scale(0, 4, 100, 200), Scale(0, 1, 80, 0))

    band, line = curve(frame, [(0, 0), (4, 0.5)], band=[(0, 0, 0.25), (4, 0.25, 1)])

    assert (band.look, line.look) == ("band", "line")
    assert corners(line.path).tolist() == [[100, 80], [200, 40]]
    assert corners(band.path).tolist() == [[100, 60], [200, 0], [200, 60], [100, 80]]
    assert curve(frame, []) == ()


# histograms


@pytest.mark.parametrize("limit", [None, 2.0, 2.345])
def test_bins_are_those_of_numpy_and_lose_nothing(limit):
    scores = np.round(np.random.default_rng(3).normal(1, 2, 300), 1)
    axis = Axis(-8.0, 8.0, 0.5, 0.0)

    bins = bins_of(scores, axis, limit)

    others = scores[scores != 0]
    mirrored, _ = np.histogram(-others, bins=-bins.edges[::-1])
    assert bins.counts.tolist() == mirrored[::-1].tolist()
    assert bins.at_zero == np.sum(scores == 0) > 0
    assert bins.counts.sum() + bins.at_zero == len(scores)


def test_a_score_at_the_cut_off_is_no_alarm():
    limit = 0.1 + 0.2
    scores = np.array([0.0, limit, limit, np.nextafter(limit, 1), 0.9])

    bins = bins_of(scores, Axis(0.0, 1.0, 0.1, 0.0), limit)

    above = bins.edges[:-1] >= limit
    assert limit in bins.edges
    assert (bins.counts[above].sum(), bins.counts[~above].sum()) == (2, 2)


def test_an_axis_holds_all_scores_and_cut_offs_even_if_all_are_zero():
    nothing = {"a": {Label.POSITIVE: np.zeros(5), Label.NEGATIVE: np.empty(0)}}

    axis = shared_axis(nothing, [None])
    wide = shared_axis({"a": {Label.POSITIVE: np.array([-3.0, 0.0, 9.0])}}, [40.0])

    assert (axis.low, axis.high, axis.tallest) == (0.0, 1.0, 0.0)
    assert wide.low <= -3 and wide.high >= 40


def test_bars_stand_on_their_side_of_the_cut_off_and_measure_shares(ctx):
    english = [cell for cell in cells_of(ctx) if cell.language == "en"]

    chart = histograms(ctx, english)

    limit = vertical_at(paths(chart, "cut-off")[0])
    gauges = [boxes(path)[0] for path in paths(chart, "frame")]
    for look, scores, gauge in zip(
        ("bar-positive", "bar-hard", "bar-benign"), (POSITIVE, HARD, BENIGN), gauges, strict=True
    ):
        zero, *bars = boxes(paths(chart, look)[0])
        assert zero[3] / gauge[3] == pytest.approx(np.mean(np.equal(scores, 0)), abs=1e-3)
        right = sum(box[3] for box in bars if box[0] >= limit - 0.01)
        above = np.mean(np.greater(scores, 2.4817))
        total = np.mean(np.not_equal(scores, 0))
        assert right / sum(box[3] for box in bars) == pytest.approx(above / total, abs=2e-3)


def test_zeros_are_told_apart_in_words_and_in_the_table(ctx):
    english = [cell for cell in cells_of(ctx) if cell.language == "en"]

    chart = histogram(ctx, english[0])

    assert "66.7 %".replace(" ", "\u00a0") in said(chart)  # 6 of 9 benign items
    benign = chart.table.groups[0].rows[2]
    assert benign.entries[1].text == "6"
    assert sum(map(int, benign.entries[4].text.split(", "))) == 3
    assert chart.anchor == "histogram-deception--en--text--plain"


def test_all_scores_zero_and_no_cut_off_still_make_a_chart():
    cut_off = "deception/en/text/plain/cut-off"
    zeros = {label: (0.0, 0.0) for label in (Label.POSITIVE, Label.HARD_NEGATIVE)}
    ctx = context(
        with_results({cut_off: Result(id=cut_off, method="split-conformal", reason="too few")}),
        scores={"en": zeros},
    )

    chart = histograms(ctx, cells_of(ctx)[:1])

    assert paths(chart, "cut-off") == [] and "cut-off no value" in said(chart)
    assert [len(boxes(paths(chart, look)[0])) for look in ("bar-positive", "bar-hard")] == [1, 1]
    assert said(chart).count("no scores here") == 1
    assert chart.note.startswith("Every score is exactly zero")


# calibration and forest plots


def test_cut_offs_are_compared_with_what_they_were_set_for_and_with_the_limit(ctx):
    chart = calibration(ctx, cells_of(ctx))

    start, end = 150.0, 470.0
    shares = [re.fullmatch(r"([\d.]+)\u00a0%", words) for words in said(chart)]
    scale = (end - start) / max(float(share[1]) / 100 for share in shares if share)
    assert vertical_at(paths(chart, "target")[0]) == pytest.approx(start + 0.01 * scale, abs=0.01)
    assert vertical_at(paths(chart, "limit")[0]) == pytest.approx(start + 0.05 * scale, abs=0.01)
    dots = [float(x) + 4.2 for x in re.findall(r"M([\d.]+),[\d.]+ a4.2", paths(chart, "point")[0])]
    assert dots == pytest.approx([start + 6 / 500 * scale] * 5, abs=0.01)
    assert "not covered" in said(chart)


def test_a_plot_of_sensitivity_has_the_margin_below_the_reference(ctx):
    chart = sensitivity_plot(ctx, cells_of(ctx))

    start, end = 150.0, 470.0
    assert vertical_at(paths(chart, "limit")[0]) == start + 0.5 * (end - start)
    margin = vertical_at(paths(chart, "margin")[0])
    assert margin == pytest.approx(start + (154 / 168 - 0.15) * (end - start), abs=0.01)
    assert any(words.startswith("English minus 15") for words in said(chart))
    assert "15\u00a0points below the sensitivity in English" in chart.note


@pytest.mark.parametrize("value", [None, 0.1])
def test_there_is_no_margin_line_where_it_would_mean_nothing(value):
    key = "deception/en/text/plain/sensitivity"
    result = None if value is None else Result(id=key, value=value, n=10, method="wilson")
    ctx = context(with_results({key: result}))

    chart = sensitivity_plot(ctx, cells_of(ctx))

    assert paths(chart, "margin") == [] and chart.note is None


# sweep


def test_a_frame_marks_each_verdict_that_is_not_as_planned(ctx):
    chart = sweep(ctx, cells_of(ctx))

    framed = boxes(paths(chart, "changed")[0])
    assert len(framed) == 4  # the last setting; Vietnamese is inconclusive as planned
    assert len({box[1] for box in framed}) == 1
    assert "English: supported as planned, otherwise in 1 of 6 settings" in chart.description


def test_a_sign_stands_for_each_verdict_and_no_two_are_alike():
    drawn = [tuple(sorted(sign_of(verdict, 50, 50).items())) for verdict in Verdict]

    assert len(set(drawn)) == len(Verdict)


def test_a_setting_that_the_plan_does_not_know_is_shown_by_its_name():
    evidence = example_evidence()
    strange = SettingVerdict(setting="of-the-future", verdict=Verdict.SUPPORTED, reason="x")
    first = evidence.findings[0].model_copy(update={"settings": (strange,)})
    ctx = context(evidence.model_copy(update={"findings": (first, *evidence.findings[1:])}))

    assert "of-the-future" in said(sweep(ctx, cells_of(ctx)))


def test_many_languages_make_the_grid_wider_and_not_narrower(ctx):
    cells = cells_of(ctx) * 4

    chart = sweep(ctx, cells)

    assert chart.width > 640
    assert all(label.x <= chart.width for label in chart.labels)


# density


def firing(*rows):
    return [
        (language, region, source, 0, latent, n) for language, region, source, latent, n in rows
    ]


def test_density_is_the_share_of_tokens_counted_by_hand():
    ctx = context(firing=firing(
        ("en", "read", "neutral", 4711, 419), ("en", "read", "neutral", 9, 7),
        ("ja", "read", "items", 4711, 42),
    ))  # fmt: skip

    found = {(d.language, d.source): (d.active, d.tokens) for d in densities(ctx, FEATURE)}

    assert found["en", "neutral"] == (419, 41_873)
    assert found["ja", "items"] == (42, 41_873) and found["ja", "neutral"] == (0, 41_873)
    assert not any(language == "ru" for language, _ in found)  # nothing was read there


def test_tokens_of_pictures_are_summed_over_their_renderings():
    counts = {
        f"fidelity/en/image/sae0/items.{stratum}/tokens": n
        for stratum, n in (("depicted", 30), ("typographic", 70), ("read", 5), ("user", 5))
    }
    evidence = with_results({i: Result(id=i, value=n, method="count") for i, n in counts.items()})
    ctx = context(evidence, firing=firing(("en", "image", "items", 4711, 25)))

    found = {(d.region, d.source): (d.active, d.tokens) for d in densities(ctx, FEATURE)
             if d.language == "en"}  # fmt: skip

    assert found["image", "items"] == (25, 100)
    assert found["read", "items"] == (0, 41_878)


def test_a_silent_feature_stands_beside_the_axis_as_none():
    ctx = context(firing=firing(("en", "read", "items", 4711, 419)))

    chart = density(ctx, FEATURE)

    ticks = [label.x for label in chart.labels if label.words.fragments[0].text == "1\u00a0%"]
    dots = [float(x) + 3.4 for x in re.findall(r"M([\d.]+),[\d.]+ a3.4", paths(chart, "point")[0])]
    assert dots[0] == pytest.approx(ticks[0], abs=0.2)  # 419 of 41,873 are 1 %
    assert len(set(dots[1:])) == 1 and dots[1] < 240
    assert "English: neutral text none, positives and look-alikes 1" in chart.description
    assert chart.table.groups[0].rows[0].entries[0].text == "none (0 of 41,873)"
    assert chart.table_on_paper


def test_a_feature_that_never_fired_and_one_of_an_unread_sae():
    ctx = context()

    silent = density(ctx, FEATURE)

    assert silent is not None and "none (0 of 41,873)" in str(silent.table)
    assert density(ctx, FeatureRef(sae=3, latent=1)) is None


def test_a_table_of_observations_that_is_empty_is_no_trouble(ctx):
    empty = replace(ctx.observed, items=(), scores=ctx.observed.scores.iloc[:0])

    chart = roc(replace(ctx, observed=empty), cells_of(ctx))

    assert paths(chart, "line") == []


# drawing


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.2), (13.0, 5.0), (0.012, 0.005), (25.0, 5.0)])
def test_steps_are_round(span, step):
    assert step_for(span, 5) == pytest.approx(step)


def test_ticks_lie_within_their_ends():
    assert round_ticks(-3.1, 9.9, 4) == [0.0, 5.0]
    assert round_ticks(0.0, 0.06, 6) == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]


def test_a_logarithmic_scale_is_even_in_powers_of_ten():
    scale = Scale(0.001, 0.1, 0, 100, logarithmic=True)

    assert [scale.at(v) for v in (0.0001, 0.001, 0.01, 0.1, 1.0)] == [0, 0, 50, 100, 100]


def test_words_are_wrapped_and_cut_to_their_room():
    assert wrapped("Chinese (simplified)", 70, 10) == ["Chinese", "(simplified)"]
    assert wrapped("Chinese (simplified)", 60, 10) == ["Chinese", "(simplifie…"]
    assert all(width_of(line, 10) <= 60 for line in wrapped("a " * 200, 60, 10, 3))
    assert cut("日本語日本語日本語", 40, 10) == "日本語…"
    assert cut("short", 100) == "short"
