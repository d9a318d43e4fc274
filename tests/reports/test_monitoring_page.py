"""The page of a monitor's report: what it says, in order of what is wrong, and for every reader."""

import re

import pytest

from compliance.records.monitoring_report import (
    ChainHead,
    Drift,
    ModelSeen,
    MonitoringReport,
    OtherPack,
    Rate,
    Reasoned,
    ReviewedCell,
    WatchedCell,
)
from compliance.reports.monitoring_page import render_monitoring_page
from tests.reports.browser import PAGE_SCRIPT, TAGS, axe_script, browser_path

ONE, TWO, ROOT = ("sha256:" + 64 * digit for digit in "123")
RATE = Rate(successes=7, n=200, value=0.035, low=0.0171, high=0.0705)
AXE = "only => axe.run({exclude: ['svg text']}, {runOnly: only, resultTypes: ['violations']})"


def drift(p_holm):
    return Drift(
        distance=0.21, at=1.5, below_traffic=0.4, below_calibration=0.61, calibration=60,
        p=p_holm / 2, p_holm=p_holm, method="exact", differs=p_holm <= 0.05,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    cells = [
        WatchedCell(model=ONE, concept="danger", language="en", cut_off=2.5, inputs=180,
                    alerts=RATE, drift=drift(0.00001)),
        WatchedCell(model=ONE, concept="danger", language="ja", cut_off=1.5, inputs=200,
                    alerts=RATE, drift=drift(0.4)),
        WatchedCell(model=ONE, concept="danger", language="de", cut_off=1.5, inputs=0,
                    reason="no sequence was seen"),
    ]  # fmt: skip
    return MonitoringReport(
        pack=ROOT, pack_id="helpdesk-1.0.0", model=ONE,
        gaps=("log/a: 12 events were not written",), dropped=12,
        chains=(ChainHead(log="log", chain=16 * "a", first=1, last=9, head=TWO, closed=True,
                          damaged=False),),
        since="2026-11-22T15:42:43.018Z", until="2026-11-23T15:42:43.018Z", sequences=400,
        undeclared=3, without_language=4, unfinished=5, failures=6,
        failed_for=(Reasoned(reason="beam search", count=6),), without_cut_off=(),
        contradictions=0, clock_changes=1,
        models=(ModelSeen(model=ONE, sequences=400, another=False),), level=0.95, alpha=0.01,
        family_error=0.05, tests=3, cells=tuple(cells), cannot_show=("It cannot show this.",),
    )  # fmt: skip


def test_rates_drift_and_what_is_missing_stand_on_the_page(found):
    text = re.sub(r"<[^>]+>", " ", render_monitoring_page(found))

    assert "3.50% (1.71% to 7.05%)" in text and "setfor1%" in re.sub(r"\s", "", text)
    assert "differs from calibration" in text and "no difference shown" in text
    assert "not tested: no sequence was seen" in text and "all 3 cells" in text
    assert "12 events were not written" in text and "beam search" in text
    assert "It cannot show this." in text and "No queue was given" in text
    assert "damaged" not in text


def test_damage_another_model_and_another_pack_are_said(found):
    chain = found.chains[0].model_copy(update={"damaged": True})
    reviewed = ReviewedCell(
        concept="danger", language="en", true_alerts=4, false_alerts=1, unsure=1, open=1,
        precision=Rate(successes=4, n=5, value=0.8, low=0.376, high=0.964),
    )  # fmt: skip
    text = render_monitoring_page(
        found.model_copy(
            update={
                "damage": ("log/a, line 3: <b>changed</b>",), "chains": (chain,),
                "models": (ModelSeen(model=TWO, sequences=9, another=True),),
                "other_packs": (OtherPack(pack=TWO, sequences=2),), "reviewed": (reviewed,),
            }
        )
    )  # fmt: skip

    assert text.index("The log is damaged") < text.index("What was seen")
    assert "line 3: &lt;b&gt;changed" in text and "damaged, not counted" in text
    assert "not the one that the pack measured" in text and "Another pack, not counted" in text
    assert "80.00% (37.60% to 96.40%)" in text


def test_axe_finds_nothing_on_the_page(found, tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "page.html"
    path.write_text(render_monitoring_page(found), encoding="utf-8")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path())
        page = browser.new_context(bypass_csp=True).new_page()
        page.goto(path.as_uri())
        page.evaluate(PAGE_SCRIPT.read_text(encoding="utf-8"))
        page.evaluate("report.unfold()")
        page.evaluate(axe_script())
        violations = page.evaluate(AXE, {"type": "tag", "values": TAGS})["violations"]
        browser.close()

    assert [rule["id"] for rule in violations] == []
