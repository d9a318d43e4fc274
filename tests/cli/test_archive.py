"""``compliance archive``: what is kept can be listed, had back and checked."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance.cli.main import main
from compliance.packs import approve_pack
from compliance.records.archive import ArchiveList
from compliance.workflow.archiving import keep_packs
from tests.packs.example import MOMENT, REVIEWER, all_bytes, build_example


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["archive", *(str(word) for word in words)])


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """The folder of an audit with one pack, archived before and after it was reviewed."""
    pack = build_example(tmp_path)
    keep_packs(tmp_path, at=MOMENT, software="test")
    approve_pack(pack, signer=REVIEWER, signed_at=MOMENT)
    keep_packs(tmp_path, at=MOMENT, software="test")
    return tmp_path


def test_an_archive_is_listed(audit):
    lines = run("list", audit).stdout.splitlines()

    assert [line.split()[:2] for line in lines] == [["demo", "v1"], ["demo", "v2"]]
    assert lines[0].endswith("demo-1.0.0: built") and "attestations changed" in lines[1]
    assert run("list", audit / "archive").stdout.splitlines() == lines
    found = ArchiveList.model_validate_json(run("list", audit, "--json").stdout)
    assert [one.name for one in found.versions] == ["v1", "v2"]


def test_a_version_comes_back_and_never_over_another(audit, tmp_path):
    first, again = (run("get", audit, "demo-1.0.0", "--to", tmp_path / "out") for _ in range(2))

    assert first.exit_code == 0 and first.stdout.strip() == str(tmp_path / "out" / "demo-1.0.0")
    assert all_bytes(tmp_path / "out" / "demo-1.0.0") == all_bytes(audit / "packs" / "demo-1.0.0")
    assert again.exit_code == 2 and "is there already" in again.stderr


def test_a_check_says_yes_no_or_that_there_is_nothing(audit, tmp_path):
    assert run("check", audit).exit_code == 0

    (audit / "archive/demo/v1/content/demo-1.0.0/data/trail.jsonl").write_bytes(b"")
    damaged = run("check", audit)

    assert damaged.exit_code == 1
    assert "failed: demo/v1/content/demo-1.0.0/data/trail.jsonl: not what was" in damaged.stdout
    (tmp_path / "empty").mkdir()
    assert run("check", tmp_path / "empty").exit_code == 2


def test_a_damaged_pack_is_not_archived_and_that_is_said(audit):
    pack = audit / "packs" / "demo-1.0.0"
    (pack / "attestations" / "manifest.sig").write_bytes(b"0" * 64)
    (pack / "tagmanifest-sha256.txt").write_bytes(b"")
    said = []

    class Told:
        stage = staticmethod(said.append)

    keep_packs(audit, at=MOMENT, software="test", progress=Told())

    assert len(said) == 1 and said[0].startswith("demo-1.0.0 is damaged, and is not archived: ")
    assert len(run("list", audit).stdout.splitlines()) == 2
