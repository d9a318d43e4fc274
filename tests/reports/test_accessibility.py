"""The HTML report in a browser: WCAG 2.2 AA, keyboard, phone, print; the PDF against PDF/UA."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from compliance.catalog import load_catalog
from compliance.reports.build import build_report
from compliance.reports.levels import at_level
from compliance.reports.render import render_html, render_pdf
from tests.reports.browser import PAGE_SCRIPT, TAGS, axe_script, browser_path
from tests.reports.conftest import WHEN
from tests.reports.example import example_validation
from tests.reports.picture_example import picture_evidence, picture_gallery_of
from tests.reports.test_features import observed
from tests.reports.test_pdf import broken_rules

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 800}
NARROW = {"width": 320, "height": 640}
"""A screen of 1280 pixels at a zoom of 400 %."""

AXE = """only => axe.run({exclude: ['svg text']}, {
    runOnly: only, resultTypes: ['violations', 'incomplete'], preload: false,
})"""
"""Words in drawings lie on shapes, of which axe-core cannot tell the colour: `report.drawn` can."""

SPACING = (
    "* { line-height: 1.5 !important; letter-spacing: 0.12em !important;"
    " word-spacing: 0.16em !important } p { margin-bottom: 2em !important }"
)
"""WCAG 1.4.12: no content may be lost when a reader sets these."""

MIN_CONTRAST = 4.5


@pytest.fixture(scope="module")
def texts(evidence):
    """Texts in six languages, with charts and cards of features."""
    return rendered(evidence, observed())


@pytest.fixture(scope="module")
def everything():
    """Texts and pictures in one language: each kind of content that a report can have."""
    evidence = picture_evidence(("en",)).model_copy(update={"validation": example_validation()})
    gallery = picture_gallery_of(evidence)
    seen = observed()
    seen = replace(seen, items=(*seen.items, *gallery.items), gallery=gallery)
    return rendered(evidence, seen)


def rendered(evidence, seen):
    return render_html(
        build_report(
            evidence, load_catalog(), pack_id="test-system-1.0.0", version="1.0.0",
            built_at=WHEN, observed=seen,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    path = browser_path()
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page as a file, with what `browser.js` can ask it."""
    contexts = []

    def visit(html, viewport=DESK, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        page.evaluate(PAGE_SCRIPT.read_text(encoding="utf-8"))
        return page

    yield visit
    for context in contexts:
        context.close()


# Rules of axe-core


@pytest.mark.parametrize(
    ("name", "unfolded"),
    [
        ("everything", True),
        pytest.param("texts", True, marks=pytest.mark.slow),
        pytest.param("texts", False, marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_and_what_it_leaves_open_is_in_order(name, unfolded, visit, request):
    page = visit(request.getfixturevalue(name), bypass_csp=True)
    if unfolded:
        page.evaluate("report.unfold()")
    page.evaluate(axe_script())

    found = page.evaluate(AXE, {"type": "tag", "values": TAGS})

    assert sentences(found["violations"]) == []
    undecided = {rule["id"]: rule["nodes"] for rule in found["incomplete"]}
    assert set(undecided) <= {"color-contrast", "th-has-data-cells"}
    words = [node["target"][0] for node in undecided.get("color-contrast", [])]
    contrasts = page.evaluate("words => report.contrasts(words)", words)
    assert [pair for pair in contrasts if pair[1] < MIN_CONTRAST] == []
    heads = [head for node in undecided.get("th-has-data-cells", []) for head in related(node)]
    assert [h for h in heads if not page.evaluate("head => report.hasData(head)", h)] == []


def sentences(rules):
    return [f"{r['id']}: {r['help']}: {n['html'][:200]}" for r in rules for n in r["nodes"]]


def related(node):
    """Selectors of the elements inside a node that a rule is about."""
    checks = [*node["any"], *node["all"], *node["none"]]
    return [part["target"][0] for check in checks for part in check["relatedNodes"]]


@pytest.mark.parametrize("name", ["everything", "texts"])
def test_words_in_drawings_stand_out_from_what_is_painted_below_them(name, visit, request):
    page = visit(request.getfixturevalue(name))

    contrasts = page.evaluate("report.drawn()")

    assert len(contrasts) > 100
    assert [pair for pair in contrasts if pair[1] < MIN_CONTRAST] == []


# Policy


def test_the_page_asks_for_nothing_and_the_browser_has_nothing_to_complain_about(
    everything, browser, tmp_path
):
    page = browser.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url.split(",")[0]))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda problem: said.append(str(problem)))
    path = tmp_path / "report.html"
    path.write_text(everything, encoding="utf-8")

    page.goto(path.as_uri(), wait_until="networkidle")

    shown = page.evaluate("[...document.querySelectorAll('image')].map(e => e.getBBox().width)")
    background = page.evaluate("getComputedStyle(document.querySelector('.notices')).listStyle")
    page.close()
    assert set(asked) <= {path.as_uri(), "data:image/png;base64"}
    assert said == []
    assert shown and all(shown) and background.startswith("outside none")


# Keyboard


def test_tab_reaches_everything_in_order_with_an_outline_and_leaves_again(everything, visit):
    page = visit(everything)
    stops = page.evaluate("report.numberStops()")
    focused = []
    for _ in range(stops + 1):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("report.focused()"))

    assert [at["stop"] for at in focused] == [*range(stops), None]
    for at in focused[:-1]:
        assert at["outline"] >= 2 and at["contrast"] >= 3 and at["seen"], at


def test_the_first_stop_skips_to_the_summary(everything, visit):
    page = visit(everything)

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("location.hash") == "#summary"
    assert page.evaluate("document.activeElement.closest('#summary') !== null")


def test_what_is_folded_opens_and_closes_with_enter(everything, visit):
    page = visit(everything)
    folds = page.locator("details")

    for place in (0, folds.count() - 1):
        for state in (True, False):
            folds.nth(place).locator("summary").first.press("Enter")
            assert folds.nth(place).evaluate("e => e.open") is state


# Phones, zoom, text settings


@pytest.mark.parametrize(
    ("viewport", "css"),
    [
        (PHONE, ""),
        (NARROW, ""),
        (PHONE, SPACING),
        (DESK, "html { font-size: 212.5% !important }"),
    ],
    ids=["phone", "zoom of 400 %", "spacing", "text of 200 %"],
)
def test_only_tables_and_charts_scroll_sideways_and_nothing_is_cut(
    everything, visit, viewport, css
):
    page = visit(everything, viewport, bypass_csp=True)
    page.evaluate("report.unfold()")
    if css:
        page.add_style_tag(content=css)

    assert page.evaluate("report.sideways()") <= 0
    assert page.evaluate("report.tablesOutside()") == []
    assert page.evaluate("report.clipped()") == []


def test_text_of_twice_the_size_is_not_cut_on_a_phone(everything, visit):
    page = visit(everything, PHONE, bypass_csp=True)
    page.add_style_tag(content="html { font-size: 200% !important }")

    assert page.evaluate("report.clipped()") == []


def test_on_a_phone_the_matrix_scrolls_below_a_caption_that_stays(texts, visit):
    page = visit(texts, PHONE)
    region = page.locator(".scroll:has(.matrix)")

    region.focus()
    before = page.locator(".matrix caption").bounding_box()
    for _ in range(20):
        page.keyboard.press("ArrowRight", delay=20)
    after = page.locator(".matrix caption").bounding_box()

    assert region.evaluate("e => e.scrollLeft") > 100
    assert before["x"] == pytest.approx(after["x"], abs=1)
    assert after["x"] >= 0 and after["x"] + after["width"] <= PHONE["width"]
    assert page.evaluate("report.broken('.matrix .verdict')") == []


def test_on_a_phone_targets_are_large_and_what_scrolls_can_be_reached(everything, visit):
    page = visit(everything, PHONE, bypass_csp=True)
    page.evaluate("report.unfold()")
    page.evaluate(axe_script())

    rules = ["target-size", "scrollable-region-focusable"]
    found = page.evaluate(AXE, {"type": "rule", "values": rules})

    assert sentences(found["violations"]) == []


# Paper and forced colours


def test_a_browser_prints_what_is_folded_but_not_the_data_of_charts(everything, visit):
    page = visit(everything)
    folded = page.locator(".more caption").first.text_content()
    data = page.locator(".data:not(.on-paper) caption").first.text_content()

    text = words_of(page.pdf(prefer_css_page_size=True))

    assert folded in text and data not in text
    assert "How to check this pack" in text and "Skip to" not in text
    assert re.search(r"Page 2 of \d+", text)


def words_of(pdf):
    if not shutil.which("pdftotext"):
        pytest.skip("no pdftotext here (Debian: poppler-utils)")
    done = subprocess.run(["pdftotext", "-", "-"], input=pdf, capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


def test_printed_tables_keep_to_the_page(texts, visit):
    page = visit(texts, {"width": 650, "height": 900})  # A4 between its margins
    page.emulate_media(media="print")

    assert page.evaluate("report.beyond(650)") == []


def test_drawings_keep_their_ground_and_verdicts_their_signs_in_forced_colours(everything, visit):
    page = visit(everything, forced_colors="active", color_scheme="dark")

    style = page.locator(".chart svg").first.evaluate(
        "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e.querySelector('text')).fill]"
    )
    signs = page.locator(".matrix .verdict").all_inner_texts()

    assert style[0] == "rgb(255, 255, 255)" and style[1] != "rgb(255, 255, 255)"
    assert signs and all(sign[0] in "●◐○✕▼–" for sign in signs)


# PDF


def test_verapdf_finds_no_broken_rule_in_two_pages_of_six_scripts(report, tmp_path):
    if not shutil.which("java"):
        pytest.skip("no Java here (Debian: default-jre-headless)")
    brief = at_level(report, "brief")

    pdf = render_pdf(brief, attachments={}, identifier=bytes(16), when=WHEN)

    assert broken_rules(pdf, tmp_path) == {"PDFA_3_A": {}, "PDFUA_1": {}}
