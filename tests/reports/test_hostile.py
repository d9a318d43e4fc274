"""What others write in test sets, models and declarations cannot break a report or reach a file."""

import io
import itertools
import os
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace

import pypdf
import pytest
from click.testing import CliRunner
from weasyprint.urls import FatalURLFetchingError

from compliance.catalog import load_catalog
from compliance.cli.main import main
from compliance.errors import ReportError
from compliance.records.audit import Declared, FeatureRef
from compliance.records.base import canonical_bytes
from compliance.reports import features, pdf, render
from compliance.reports.build import build_report
from compliance.reports.examples import SHOWN
from compliance.reports.render import render_html, render_pdf
from tests.reports.conftest import WHEN
from tests.reports.example import example_system
from tests.reports.picture_example import picture_evidence, picture_gallery_of
from tests.reports.test_features import LATENT, item, observed
from tests.reports.test_html import FORBIDDEN, Page
from tests.reports.test_pdf import make

CLEAN = "A lie, and no more."

PAYLOADS = {
    "script": "<script>alert(1)</script>",
    "attachment": "<link rel=attachment href=file:///etc/passwd>",
    "picture": "<img src=http://example.invalid/x.png onerror=alert(1)>",
    "frame": "<iframe src='file:///etc/passwd'></iframe><object data=file:///etc/passwd></object>",
    "template": "{{ 7*7 }}{% include '/etc/passwd' %}{0.__class__}{concept}%s",
    "style": "</style><style>@import url(file:///etc/passwd);</style>",
    "drawing": "</title></svg><script>alert(1)</script><svg onload=alert(1)>",
    "attribute": '" onmouseover="alert(1)" \'><b>',
    "link": "<a href='javascript:alert(1)'>x</a> [x](javascript:alert(1))",
    "comment": "--><!-- ]]> <![CDATA[ &lt;script&gt; &#60;script&#62;",
    "formula": "=cmd|' /C calc'!A0",
    "nested": "<div>" * 400 + "deep" + "</div>" * 400,
    "bidi": "user\u202e\u2066safe\u2069\u202c \u200f\u061c",
    "invisible": "a\u200bb\u200dc\ufeffd\u00ade\u2028f\u2029g\U000e0041",
    "control": "a\x00b\x07c\x1b[31md\x7fe\x85f\x9bg",
    "unassigned": "a\ufffeb\ue000c\U0010ffffd",
    "marks": "e" + "\u0301" * 5_000,
    "unbroken": "x" * 100_000,
    "lines": "one line\n" * 5_000,
    "letters of all scripts": "日本語العربيةעבריתไทยहिन्दी🏴\U000e0067\U000e007f👩\u200d👩",
}
"""A lone surrogate, which no plan and no table can hold, is tried in test_html."""

EVERY = "".join(text[:100] for text in PAYLOADS.values())
"""Short enough to stand uncut wherever a text can stand."""

UNSEEN = ("Cc", "Cf", "Cn", "Co", "Zl", "Zp")


def hostile_evidence(text):
    """Everything that somebody else wrote holds ``text``."""
    evidence = picture_evidence()
    plan, lock = evidence.plan, evidence.lock
    suite = plan.suites[0]
    sheet = suite.datasheet.model_copy(
        update={
            "title": text, "description": text, "licence": text, "translation": text,
            "sources": (text,), "known_gaps": (text, text),
        }
    )  # fmt: skip
    locked = lock.probes[0].model_copy(
        update={"features": (FeatureRef.model_construct(sae=0, latent=LATENT, label=text),),
                "selection": None}
    )  # fmt: skip
    return evidence.model_copy(
        update={
            "system": hostile_system(text),
            "plan": plan.model_copy(
                update={
                    "model": plan.model.model_copy(update={"name": text, "revision": text}),
                    "saes": tuple(
                        s.model_copy(update={"name": text, "hook_name": text}) for s in plan.saes
                    ),
                    "suites": (suite.model_copy(update={"datasheet": sheet, "name": text}),),
                    "probes": tuple(
                        p.model_copy(update={"title": text, "definition": text})
                        for p in plan.probes
                    ),
                    "claims": plan.claims.model_copy(update={"justification": text}),
                }
            ),
            "lock": lock.model_copy(update={"probes": (locked, *lock.probes[1:])}),
            "environment": evidence.environment.model_copy(
                update={"machine": text, "packages": {text: text}}
            ),
        }
    )


def hostile_system(text):
    system = example_system(
        intended_purpose=Declared.model_construct(text=text),
        authorised_representative=Declared.model_construct(not_applicable=text),
    )
    return system.model_copy(update={"title": text, "version": text})


def hostile_observed(evidence, texts):
    """Items and pictures that hold these texts in turns; the strongest token is all of a text."""
    first = {item(f"pos-{n}-{tag}", language=tag, text=text): 9.0 - n / 10
             for tag in ("en", "el") for n, text in enumerate(texts)}  # fmt: skip
    seen = observed(first)
    seen.tokens["starts"] = [[0] for _ in first]
    seen.tokens["ends"] = [[len(one.text)] for one in first]
    seen.tokens["activations"] = [[score] for score in first.values()]
    seen.features["text"] = [texts[n % len(texts)] for n in range(len(seen.features))]
    gallery = picture_gallery_of(evidence)
    described = [
        one.model_copy(update={"image": one.image.model_copy(update={"description": text[:2000]})})
        for one, text in zip(gallery.items, itertools.cycle(texts), strict=False)
    ]  # a suite's pictures have no longer descriptions
    return replace(seen, gallery=replace(gallery, items=described))


def hostile_report(text, texts):
    """A report of ``text`` in every field and of ``texts`` in items, tokens and pictures."""
    evidence = hostile_evidence(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "LENGTHS", ((len(texts), 1),))
        return build_report(
            evidence, load_catalog(), pack_id="hostile-1.0.0", version="1.0.0", built_at=WHEN,
            observed=hostile_observed(evidence, texts),
        )  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return hostile_report(EVERY, list(PAYLOADS.values()))


@pytest.fixture(scope="module")
def html(report):
    return render_html(report)


@pytest.fixture(scope="module")
def clean():
    """The same report, in which everybody meant well."""
    return render_html(hostile_report(CLEAN, [CLEAN] * len(PAYLOADS)))


def examples(report, title):
    """What a rule shows in the first language of the first card."""
    rows = {row.title: row.examples for row in report.features[0].cells[0].rows}
    return rows[title]


def shapes(page):
    """Every tag on a page with the names of its attributes."""
    return {(tag, *sorted(attributes)) for tag, attributes in page.tags}


def test_every_text_is_in_the_report(report):
    assert len(EVERY) < 2_000
    assert len(examples(report, "Highest scores")) == len(PAYLOADS)


def test_the_page_has_no_tag_that_a_harmless_one_has_not(html, clean):
    page, harmless = Page(html), Page(clean)

    assert page.stack == []
    assert shapes(page) <= shapes(harmless)
    for tag in ("p", "li", "td", "tr", "svg", "path", "style"):
        assert html.count(f"<{tag}") == clean.count(f"<{tag}"), tag
    assert all(a["href"].startswith(("#", pdf.PICTURE)) for _, a in page.tags if "href" in a)


def test_the_policy_lets_nothing_in_that_was_not_in(html, clean):
    policies = [
        next(a["content"] for _, a in Page(page).tags if a.get("http-equiv"))
        for page in (html, clean)
    ]

    assert policies[0] == policies[1]


def test_nothing_that_cannot_be_seen_is_on_the_page(html):
    assert {c for c in set(html) if unicodedata.category(c)[0] == "C"} == {"\n"}


@pytest.mark.parametrize("kind", ["bidi", "invisible", "control", "unassigned"])
def test_what_cannot_be_seen_is_shown_by_its_code(html, kind):
    unseen = {c for c in PAYLOADS[kind] if unicodedata.category(c) in UNSEEN}

    assert len(unseen) > 2
    assert [c for c in unseen if f"⟨U+{ord(c):04X}⟩" not in html] == []


def test_a_template_in_a_text_is_not_filled(html):
    assert "{{ 7*7 }}{% include" in html and "{0.__class__}{concept}%s" in html
    assert "root:" not in html


def test_our_own_words_stay_our_own(html):
    assert FORBIDDEN.findall(" ".join(Page(html).own_words)) == []


def test_no_word_is_longer_than_a_page_can_hold(html, report):
    place = list(PAYLOADS).index("unbroken")
    (shown,) = [one for one in examples(report, "Highest scores") if f"-{place}-" in one.item]

    assert len("".join(run.text for run in shown.runs)) == SHOWN + 1
    assert len(shown.peak) < 200
    assert "x" * 2_001 not in html


def test_an_item_with_very_many_tokens_has_few_marks():
    text = "ab" * 50_000
    seen = observed({item("pos-0-en", text=text): 9.0})
    seen.tokens["starts"] = [list(range(len(text)))]
    seen.tokens["ends"] = [list(range(1, len(text) + 1))]
    seen.tokens["activations"] = [[float(1 + 8 * (n % 2)) for n in range(len(text))]]
    report = build_report(
        picture_evidence(), load_catalog(), pack_id="hostile-1.0.0", version="1.0.0",
        built_at=WHEN, observed=seen,
    )  # fmt: skip

    (shown, *_) = examples(report, "Highest scores")
    assert 2 < len(shown.runs) <= SHOWN + 2


@pytest.mark.slow
def test_a_report_of_all_of_them_is_rendered_in_time_and_holds_our_files_alone(report, tmp_path):
    evidence = canonical_bytes(picture_evidence())

    made = render_pdf(
        report, attachments={"evidence.json": evidence}, identifier=b"\x01" * 16, when=WHEN,
        max_seconds=300,
    )  # fmt: skip

    reader = pypdf.PdfReader(io.BytesIO(made))
    assert {name: data[0] for name, data in reader.attachments.items()} == {
        "evidence.json": evidence
    }
    path = tmp_path / "report.pdf"
    path.write_bytes(made)
    checked = subprocess.run(["qpdf", "--check", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    text = "".join(page.extract_text() for page in reader.pages)
    assert "root:" not in text and "⟨U+202E⟩" in text
    actions = {
        note.get_object().get("/A", {}).get("/S")
        for page in reader.pages
        for note in page.get("/Annots", ())
    }
    assert actions <= {None, "/GoTo"}


# the process that renders


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://example.invalid/x.png",
        "https://example.invalid/x.png",
        "ftp://example.invalid/x",
        "data:text/html,<script>alert(1)</script>",
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
        "/etc/passwd",
    ],
)
def test_the_fetcher_refuses_what_is_not_a_picture_of_the_page(url):
    with pytest.raises(FatalURLFetchingError, match="not its own"):
        pdf._closed_fetcher().fetch(url)


def test_the_fetcher_reads_a_picture_of_the_page():
    found = pdf._closed_fetcher().fetch(pdf.PICTURE + "iVBORw0KGgo=")

    assert found.read().startswith(b"\x89PNG")


def test_emoji_in_very_many_fonts_do_not_end_the_process():
    sizes = (8 + step / 10 for step in range(120))
    body = "".join(f"<p style='font-size: {size:.1f}pt'>a 👩 🏴 日本 Ελ</p>" for size in sizes)

    assert make(body).startswith(b"%PDF-")


@pytest.fixture
def children(monkeypatch):
    """Every process that is started."""
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started


LONG = "<p>word </p>" * 60_000


def test_a_process_that_takes_too_long_is_gone_afterwards(children):
    with pytest.raises(ReportError) as raised:
        make(LONG, max_seconds=1)

    (child,) = children
    assert child.returncode < 0
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    assert raised.value.hint


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not hold processes to the limit")
def test_a_process_that_takes_too_much_memory_ends_with_our_message(children, monkeypatch):
    monkeypatch.setattr(pdf, "MAX_BYTES", 400 * 2**20)

    assert make("<p>word</p>").startswith(b"%PDF-")
    with pytest.raises(ReportError, match="the PDF could not be rendered") as raised:
        make(LONG)

    assert "memory" in raised.value.hint
    assert children[-1].returncode != 0


@pytest.mark.parametrize("limit", ["time", "memory"])
def test_a_report_over_a_limit_exits_with_2_and_leaves_nothing_behind(
    finished_audit, tmp_path, monkeypatch, limit
):
    folder = shutil.copytree(finished_audit, tmp_path / "audit")
    shutil.rmtree(folder / "packs")
    if limit == "time":
        monkeypatch.setattr(render, "html_to_pdf", in_a_second)
    else:
        monkeypatch.setattr(pdf, "MAX_BYTES", 100 * 2**20)
    before = files_below(folder)

    done = CliRunner().invoke(main, ["report", str(folder / "audit.yaml")])

    assert done.exit_code == 2
    assert "Error: the PDF " in done.stderr and "Hint: " in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert files_below(folder) == before


def in_a_second(html, **given):
    return pdf.html_to_pdf(html, **given | {"max_seconds": 1})


def files_below(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
