"""Counts, rates and drift of a watched model, against statsmodels and scipy."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from compliance.assessment.monitoring import (
    LockedCell,
    assess_cells,
    count_events,
    models_seen,
    reviewed_cells,
)
from compliance.records.base import digest_bytes
from compliance.records.monitoring import ClockChanged, Event, Failed, Observed, ProbeScore
from compliance.records.monitoring_report import QueueRow

MODEL, OTHER, PACK = (digest_bytes(name) for name in (b"model", b"other", b"pack"))
CUT_OFF = 1.0
RANDOM = np.random.RandomState(5)
CALIBRATION = {name: RANDOM.normal(size=60) for name in ("en", "ja", "de")}
CELLS = [LockedCell("danger", name, CUT_OFF, values) for name, values in CALIBRATION.items()]


def event(what, second=0):
    return Event(
        sequence=1, at=f"2026-11-22T15:42:{second:02d}.000Z", elapsed_ms=0,
        previous=PACK, digest=PACK, what=what,
    )  # fmt: skip


def seen_of(number, value, language="en", **changes):
    score = ProbeScore(
        concept="danger", region="user", pooling="max", score=value, cut_off=CUT_OFF,
        alert=value > CUT_OFF,
    )  # fmt: skip
    facts = {
        "request": f"{number:016x}", "phase": "prefill", "complete": True, "model": MODEL,
        "pack": PACK, "language": language, "declared": True, "tokens": 3, "scores": (score,),
        "item": f"hmac-sha256:{number:064x}",
    }  # fmt: skip
    return Observed(**(facts | changes))


def counted(*whats):
    return count_events([event(what, n % 60) for n, what in enumerate(whats)], CELLS, pack=PACK)


def cells_of(seen, cells=CELLS):
    found = assess_cells(seen, cells, model=MODEL, level=0.95, family_error=0.05)
    return {(cell.model, cell.language): cell for cell in found}


@pytest.fixture(scope="module")
def traffic():
    values = {"en": RANDOM.normal(size=80), "ja": RANDOM.normal(size=45) + 1.2}
    whats = [
        seen_of(n, float(value), language)
        for language, scores in values.items()
        for n, value in enumerate(scores)
    ]
    return values, counted(*whats)


def test_the_share_of_alerts_and_its_interval_are_those_of_statsmodels(traffic):
    values, seen = traffic
    for language, scores in values.items():
        found = cells_of(seen)[MODEL, language].alerts
        alerts = int((scores > CUT_OFF).sum())
        low, high = proportion_confint(alerts, len(scores), method="wilson")

        assert (found.successes, found.n) == (alerts, len(scores))
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_drift_is_scipys_and_adjusted_over_cells_without_traffic_too(traffic):
    values, seen = traffic
    expected = {
        language: stats.ks_2samp(scores, CALIBRATION[language], method="exact")
        for language, scores in values.items()
    }
    raw = [expected["en"].pvalue, expected["ja"].pvalue, 1.0]
    adjusted = multipletests(raw, method="holm")[1]

    found = cells_of(seen)

    for place, language in enumerate(("en", "ja")):
        drift = found[MODEL, language].drift
        assert drift.distance == pytest.approx(expected[language].statistic)
        assert drift.p == pytest.approx(raw[place], rel=1e-9)
        assert drift.p_holm == pytest.approx(adjusted[place], rel=1e-9)
        assert drift.differs == (adjusted[place] <= 0.05) == (language == "ja")
    assert found[MODEL, "de"].drift is None
    assert found[MODEL, "de"].alerts is None
    assert found[MODEL, "de"].reason == "no sequence was seen"


def test_only_the_end_of_a_sequence_is_counted():
    seen = counted(
        seen_of(1, 3.0, complete=False), seen_of(1, 0.0), seen_of(2, 3.0, complete=False)
    )

    assert (seen.sequences, len(seen.begun)) == (1, 1)
    assert cells_of(seen)[MODEL, "en"].alerts.successes == 0


def test_what_is_no_sequence_of_the_pack_is_counted_apart():
    score = seen_of(1, 0.0).scores[0]
    seen = counted(
        seen_of(1, 0.0, pack=OTHER),
        seen_of(2, 0.0, pack=OTHER, complete=False),
        Failed(request=16 * "3", model=MODEL, pack=PACK, reason="beam search"),
        seen_of(4, 0.0, complete=False),
        Failed(request=f"{4:016x}", model=MODEL, pack=PACK, reason="beam search"),
        seen_of(5, 0.0, language=None, declared=False,
                scores=(score.model_copy(update={"cut_off": None, "reason": "not declared"}),)),
        ClockChanged(by_ms=-5000),
    )  # fmt: skip

    assert seen.packs == {OTHER: 1} and seen.failed_for == {"beam search": 2}
    assert (seen.sequences, seen.undeclared, seen.without_language) == (1, 1, 1)
    assert seen.without_cut_off == {"not declared": 1} and not seen.scores
    assert seen.clock_changes == 1 and not seen.begun
    assert (seen.since, seen.until) == ("2026-11-22T15:42:02.000Z", "2026-11-22T15:42:05.000Z")


@pytest.mark.parametrize(
    "change",
    [{"cut_off": 9.0, "alert": False}, {"cut_off": 2.0}, {"alert": False}, {"cut_off": None}],
)
def test_a_score_that_contradicts_the_lock_is_counted_and_not_used(change):
    event_of = seen_of(1, 3.0)
    wrong = event_of.scores[0].model_copy(update=change)

    seen = counted(event_of.model_copy(update={"scores": (wrong,)}))

    assert seen.contradictions == 1 and not seen.scores


def test_another_model_has_cells_of_its_own_and_is_named():
    seen = counted(
        seen_of(1, 0.0), seen_of(2, 3.0, model=OTHER, another_model=True), seen_of(3, 0.0)
    )

    found = cells_of(seen)

    assert [(one.model, one.sequences, one.another) for one in models_seen(seen)] == [
        (MODEL, 2, False), (OTHER, 1, True),
    ]  # fmt: skip
    assert found[MODEL, "en"].alerts.successes == 0
    assert found[OTHER, "en"].alerts.successes == 1
    assert len(found) == 6


def test_inputs_that_come_again_are_told():
    seen = counted(*(seen_of(n % 2, 0.0) for n in range(10)))

    assert cells_of(seen)[MODEL, "en"].inputs == 2


def test_a_cell_without_cut_off_or_calibration_says_so():
    cells = [
        LockedCell("danger", "en", CUT_OFF, np.empty(0)),
        LockedCell("danger", "ja", None, CALIBRATION["ja"]),
    ]

    found = cells_of(counted(seen_of(1, 0.0)), cells)

    assert "withholds" in found[MODEL, "en"].reason and found[MODEL, "en"].alerts.n == 1
    assert "no cut-off" in found[MODEL, "ja"].reason and found[MODEL, "en"].drift is None


def row(number, decision, language="en"):
    return QueueRow(
        request=f"{number:016x}", at="2026-11-22T15:42:43.018Z", concept="danger",
        language=language, score=2.0, cut_off=1.0, model=MODEL, pack=PACK, decision=decision,
    )  # fmt: skip


def test_precision_is_of_decided_alerts_and_each_alert_counts_once():
    rows = [
        row(1, "true-alert"), row(2, "false-alert"), row(3, "unsure"), row(4, None),
        row(5, None), row(5, "true-alert"), row(1, None, "ja"),
    ]  # fmt: skip
    rows[-1] = rows[-1].model_copy(update={"request": 16 * "f"})

    english, japanese = reviewed_cells(rows, level=0.95)

    low, high = proportion_confint(2, 3, method="wilson")
    assert (english.true_alerts, english.false_alerts, english.unsure, english.open) == (2, 1, 1, 1)
    assert (english.precision.low, english.precision.high) == pytest.approx((low, high))
    assert japanese.precision is None and japanese.open == 1
