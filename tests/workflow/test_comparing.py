"""A pack beside its predecessor on the way through an audit: compared, versioned, archived."""

import shutil
from pathlib import Path

import pytest

from compliance import workflow
from compliance.errors import VerificationError
from compliance.packs.reading import read_pack
from compliance.records.comparison import Reading
from compliance.records.pack import PackedItem
from compliance.workflow import comparing, stages


@pytest.fixture
def again(finished_audit: Path, tmp_path: Path) -> Path:
    """A copy of the audit in which words changed since its pack was built."""
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    text = (copy / "system.yaml").read_text(encoding="utf-8")
    (copy / "system.yaml").write_text(text.replace("Testing", "Trying"), encoding="utf-8")
    return copy / "audit.yaml"


def test_the_report_of_a_new_version_is_given_a_comparison(again, no_report, monkeypatch):
    origins = []
    real = stages.documents
    monkeypatch.setattr(stages, "documents", lambda o, **k: origins.append(o) or real(o, **k))
    said = []

    class Told:
        stage = staticmethod(said.append)
        advance = staticmethod(lambda *_: None)

    workflow.assess(again)
    pack = workflow.pack(again, progress=Told())

    assert pack.name == "tiny-1.0.1"
    assert "version 1.0.1: words changed (system)" in said
    comparison = origins[0].earlier.comparison
    assert [(c.key, c.change) for c in comparison.declared] == [("intended_purpose", "changed")]
    assert {(c.reading, c.method) for c in comparison.measures} == {
        (Reading.NO_CHANGE, "identical")
    }
    assert not any(c.items_unchecked for c in comparison.measures)


def test_every_pack_goes_into_the_archive_once(again, no_report):
    folder = again.parent
    assert [p.pack_id for p in workflow.archive_list(folder).versions] == ["tiny-1.0.0"]

    workflow.assess(again)
    packs = [workflow.pack(again) for _ in range(2)]

    assert packs[0] == packs[1]
    kept = workflow.archive_list(folder).versions
    assert [p.pack_id for p in kept] == ["tiny-1.0.0", "tiny-1.0.1"]
    assert kept[1].added_bytes < kept[0].added_bytes
    assert workflow.archive_check(folder).ok
    back = workflow.archive_get(folder, "1.0.1", to=folder / "out")
    assert workflow.verify(back, level="integrity").ok


def test_numbers_on_shared_items_are_those_of_the_evidence_where_all_are_shared(finished_pack):
    found = comparing.diff(finished_pack, finished_pack).comparison

    with read_pack(finished_pack) as opened:
        stated = {result.id: result.value for result in opened.evidence.results}
        assert all(isinstance(item, PackedItem) for item in opened.items)
    assert len(found.measures) > 20
    for change in found.measures:
        expected = stated[f"{change.cell.key}/{change.measure}"]
        assert change.before == change.now == pytest.approx(expected, abs=1e-12)


def test_a_damaged_predecessor_is_not_compared_with(finished_pack, tmp_path):
    copy = Path(shutil.copytree(finished_pack, tmp_path / finished_pack.name))
    (copy / "data" / "report.html").write_bytes(b"other")

    with pytest.raises(VerificationError, match=r"data/report\.html"):
        comparing.diff(copy, finished_pack)
