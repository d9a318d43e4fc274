"""The benchmark measures what it says it measures. No time is asserted here."""

import io

import pypdf
import pytest

from benchmarks import report as benchmark
from benchmarks.report import (
    LANGUAGES,
    LEVELS,
    Cost,
    cost,
    line,
    made_up,
    of_pack,
    report_of,
    table,
    write_html,
    write_ours,
    write_peer,
)
from compliance.reports.levels import at_level
from compliance.reports.render import render_html

FILES = {"evidence.json": b'{"a": 1}'}


@pytest.fixture(scope="module")
def evidence():
    return made_up(2, 2)


@pytest.fixture(scope="module")
def report(evidence):
    return report_of(evidence)


@pytest.fixture(scope="module")
def brief(report):
    return at_level(report, "brief")


def test_made_up_evidence_has_so_many_concepts_and_languages(evidence, report):
    cells = {(cell.concept, cell.language) for cell in evidence.plan.cells}

    assert cells == {(f"danger-{n}", tag) for n in (1, 2) for tag in LANGUAGES[:2]}
    assert len(evidence.findings) == len(evidence.plan.cells) == 4
    assert {c.cell.concept for c in evidence.lock.cut_offs} == {"danger-1", "danger-2"}
    assert [len(kind.cells) for concept in report.concepts for kind in concept.kinds] == [2, 2]


def test_results_of_no_concept_are_there_once(evidence):
    ids = [result.id for result in evidence.results]

    assert len(ids) == len(set(ids))
    assert any(name.startswith("fidelity/") for name in ids)
    assert sum(name.startswith("danger-1/") for name in ids) == sum(
        name.startswith("danger-2/") for name in ids
    )


def test_both_sides_write_the_same_pages_with_the_same_attachments(brief):
    ours = write_ours(brief, FILES)
    peer = write_peer(render_html(brief, paper=True), FILES)

    readers = [pypdf.PdfReader(io.BytesIO(made)) for made in (ours, peer)]
    words = [[page.extract_text() for page in reader.pages] for reader in readers]
    assert words[0] == words[1]
    for reader in readers:
        assert {n: data[0] for n, data in reader.attachments.items()} == FILES
        assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
        metadata = reader.trailer["/Root"]["/Metadata"].get_data()
        assert b'pdfaid:part="3"' in metadata and b'pdfaid:conformance="A"' in metadata


def test_a_call_is_measured_with_its_children(brief):
    alone, with_child = cost(write_html, brief), cost(write_ours, brief, FILES)

    assert alone.made == render_html(brief).encode()
    assert with_child.made.startswith(b"%PDF-")
    assert with_child.seconds > alone.seconds > 0
    assert with_child.mib > 50 and alone.mib == 0


def test_both_sides_take_turns_and_the_least_is_kept(brief, monkeypatch):
    costs = {"write_html": [0.3, 0.2], "write_ours": [9.0, 5.0], "write_peer": [4.0, 6.0]}
    calls = []

    def measured(call, *given):
        calls.append(call.__name__)
        return Cost(costs[call.__name__].pop(0), 1.0, b"")

    monkeypatch.setattr(benchmark, "cost", measured)
    monkeypatch.setattr(benchmark, "page_count", lambda pdf: 2)

    found = line("x", brief, FILES, tries=2)

    assert calls == ["write_html", "write_ours", "write_peer"] * 2
    assert (found.html, found.ours, found.peer) == (0.2, 5.0, 4.0)
    printed = list(table(iter([found])))[1].split()
    assert printed[:6] == ["x", "2", "0.20", "5.0", "4.0", "1.25"]
    assert printed[6] == "0.4"


def test_what_takes_long_is_not_tried_again(brief, monkeypatch):
    calls = []

    def measured(call, *given):
        calls.append(call.__name__)
        return Cost(100.0, 1.0, b"")

    monkeypatch.setattr(benchmark, "cost", measured)
    monkeypatch.setattr(benchmark, "page_count", lambda pdf: 2)

    line("x", brief, FILES, tries=3)

    assert calls == ["write_html", "write_ours", "write_peer"]


def test_the_first_audit_has_a_line_for_each_level(monkeypatch):
    monkeypatch.setattr(benchmark, "line", lambda name, report, *_: (name, report.level))

    found = list(benchmark.lines([(1, 1), (1, 2)], None, 1))

    assert [level for _, level in found] == [*LEVELS, "full"]
    assert found[-1][0] == "1 x 2 cells, full"


def test_a_pack_is_read_with_its_items(finished_pack):
    evidence, observed = of_pack(finished_pack)

    assert evidence.system.name == "tiny"
    assert observed is not None and len(observed.items) > 10
    assert report_of(evidence, observed).features[0].cells


def test_a_pack_without_its_audit_is_read_without_items(finished_pack, tmp_path, capsys):
    data = tmp_path / "packs" / "tiny" / "data"
    data.mkdir(parents=True)
    (data / "evidence.json").write_bytes((finished_pack / "data/evidence.json").read_bytes())

    evidence, observed = of_pack(data.parent)

    assert evidence.system.name == "tiny" and observed is None
    assert "without items" in capsys.readouterr().err
