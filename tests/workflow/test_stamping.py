"""Time stamps in the course of an audit, and PDFs that are signed on their way into the pack."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance import trail, workflow
from compliance.cli.main import main
from compliance.errors import PackError, TimeStampError, VerificationError
from compliance.packs import authority as asking
from compliance.packs import check_integrity, layout
from compliance.packs.checks.times import STEPS
from compliance.packs.pdf import read_signature
from compliance.packs.trust import Trust
from compliance.progress import SILENT
from compliance.records.audit import AuditConfig
from compliance.records.verification import Outcome
from compliance.runs import RunFolder
from compliance.workflow import stamping
from compliance.workflow.stamping import stamp_step
from tests.packs.example import MOMENT, SIGNER, all_bytes, build_example
from tests.packs.tsa import Authority, serving
from tests.tiny_audit import write_audit


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def url(authority: Authority) -> Iterator[str]:
    with serving(authority) as address:
        yield address


def stamped_kinds(folder: Path) -> list[str]:
    """What stands before each stamp of a trail."""
    entries = trail.read(folder / "trail.jsonl")
    return [
        entries[entry.facts["size"] - 1].kind for entry in entries if entry.kind == "time-stamped"
    ]


def times(pack: Path, authority: Authority) -> dict[str | None, Outcome]:
    found = check_integrity(pack, trust=Trust(authorities=authority.root_pem))
    return {check.path: check.status for check in found if check.name == "time-stamp"}


@pytest.mark.slow
def test_every_step_is_stamped_once_also_where_the_authority_was_away(tmp_path: Path, no_report):
    audit = write_audit(tmp_path / "a")
    answering = Authority(tmp_path / "authority")
    with serving(answering) as url:
        audit.write_text(audit.read_text() + f"time_stamps: {{authority: '{url}'}}\n")
        for stamps in (1, 3, len(STEPS), len(STEPS) + 1):  # the lock, the report, two PDFs
            answering.damage = _only(stamps - len(answering.asked))
            with pytest.raises(TimeStampError):
                workflow.audit(audit)
            answering.asked.pop()  # the one that was refused
            assert len(stamped_kinds(audit.parent)) == min(stamps, len(STEPS))
            assert not list((audit.parent / "packs").glob("*"))
            if stamps >= len(STEPS):  # the PDF is signed anew each time
                del answering.asked[len(STEPS) :]
        answering.damage = bytes

        pack = workflow.audit(audit)

        asked = len(answering.asked)
        assert workflow.audit(audit) == pack

    assert stamped_kinds(audit.parent) == list(STEPS)
    pdfs = len(list((pack / "data").glob("*.pdf")))
    assert asked == len(answering.asked) == len(STEPS) + pdfs + 1  # and the statement
    assert times(pack, answering) == {
        None: Outcome.PASSED, layout.TRAIL: Outcome.PASSED, layout.TIME_STAMP: Outcome.PASSED,
    }  # fmt: skip


def _only(good: int):
    """Let so many replies through, and no more."""
    left = [good]

    def damage(reply: bytes) -> bytes:
        left[0] -= 1
        return reply if left[0] >= 0 else b""

    return damage


def asked_run(folder: Path, url: str | None) -> RunFolder:
    """A run whose plan is frozen, in a folder that another run has used before."""
    run = RunFolder(folder / "runs" / "0123456789abcdef")
    config = AuditConfig(
        subject={"model": "m", "saes": [{"path": "s"}]}, suites=("s",), languages=("en",),
        probes=({"concept": "c"},), time_stamps={"authority": url} if url else None,
    )  # fmt: skip
    run.write("config.json", config)
    for name in ("another", run.path.name):
        trail.append(run.trail, "plan-frozen", {"run": name}, at=MOMENT, actor="test")
    return run


def stamp_plan(run: RunFolder) -> None:
    stamp_step(run, "plan-frozen", clock=lambda: MOMENT, actor="test", progress=SILENT)


def test_a_step_is_stamped_once(tmp_path: Path, url: str, authority: Authority):
    run = asked_run(tmp_path, url)
    asked = len(authority.asked)

    stamp_plan(run)
    trail.append(run.trail, "locked", {"run": run.path.name}, at=MOMENT, actor="test")
    stamp_plan(run)

    assert stamped_kinds(run.trail.parent) == ["plan-frozen"]
    assert len(authority.asked) == asked + 1


def test_a_step_that_came_after_the_stamp_is_stamped_too(tmp_path: Path, url: str):
    run = asked_run(tmp_path, url)
    stamp_plan(run)
    trail.append(run.trail, "plan-frozen", {"run": run.path.name}, at=MOMENT, actor="test")

    stamp_plan(run)

    assert stamped_kinds(run.trail.parent) == ["plan-frozen", "plan-frozen"]


def test_a_step_that_was_not_made_is_not_stamped(tmp_path: Path, url: str):
    run = asked_run(tmp_path, url)

    stamp_step(run, "locked", clock=lambda: MOMENT, actor="test", progress=SILENT)

    assert stamped_kinds(run.trail.parent) == []


def test_nobody_is_asked_where_no_authority_is_named(tmp_path: Path):
    run = asked_run(tmp_path, None)

    stamp_plan(run)

    assert stamped_kinds(run.trail.parent) == []


def test_another_process_that_was_faster_leaves_one_stamp(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    run = asked_run(tmp_path, url)
    real = stamping.stamp_trail

    def slow(entries, address):
        monkeypatch.setattr(stamping, "stamp_trail", real)
        stamp_plan(run)
        return real(entries, address)

    monkeypatch.setattr(stamping, "stamp_trail", slow)

    stamp_plan(run)

    assert stamped_kinds(run.trail.parent) == ["plan-frozen"]


@pytest.mark.slow
def test_two_builds_with_one_key_are_equal_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    first = write_audit(tmp_path / "first")
    one = workflow.audit(first)
    second = write_audit(tmp_path / "second")
    shutil.copytree(first.parent / "keys", second.parent / "keys")

    two = workflow.audit(second)

    assert all_bytes(one) == all_bytes(two)
    assert read_signature((one / "data/report.pdf").read_bytes()) is not None


def test_two_builds_with_time_stamps_differ_in_the_stamps_alone(tmp_path: Path, url: str):
    def built(name: str) -> dict[str, bytes]:
        pack = build_example(tmp_path / name)
        workflow.stamp(pack, authority=url)
        return all_bytes(pack)

    one, two = built("one"), built("two")

    differ = {path for path in one if one[path] != two[path]}
    assert one.keys() == two.keys()
    assert differ == {layout.TIME_STAMP, layout.TAG_MANIFEST}


# compliance stamp


def test_a_finished_pack_is_stamped_and_stamped_again(
    tmp_path: Path, authority: Authority, url: str
):
    pack = build_example(tmp_path)
    first = CliRunner().invoke(main, ["stamp", str(pack), "--authority", url])
    before = (pack / layout.TIME_STAMP).read_bytes()

    second = CliRunner().invoke(main, ["stamp", str(pack), "--authority", url])

    assert first.exit_code == second.exit_code == 0
    assert second.stdout.strip() == str(pack / layout.TIME_STAMP)
    assert (pack / layout.TIME_STAMP).read_bytes() != before
    assert times(pack, authority) == {layout.TIME_STAMP: Outcome.PASSED}
    found = check_integrity(pack, trust=Trust(issuer=SIGNER.public_pem))
    assert not [check for check in found if check.status is Outcome.FAILED]


def test_an_authority_that_is_away_leaves_the_pack_as_it_was(tmp_path: Path):
    pack = build_example(tmp_path)
    before = all_bytes(pack)

    done = CliRunner().invoke(main, ["stamp", str(pack), "--authority", "http://127.0.0.1:9/"])

    assert done.exit_code == 2
    assert "gave no time stamp: connection refused" in done.stderr
    assert all_bytes(pack) == before


def test_a_damaged_pack_is_not_stamped(tmp_path: Path, url: str):
    pack = build_example(tmp_path)
    (pack / layout.REPORT).write_bytes(b"")

    with pytest.raises(VerificationError):
        workflow.stamp(pack, authority=url)


def test_a_stamping_that_was_killed_can_be_done_again(
    tmp_path: Path, authority: Authority, url: str
):
    pack = build_example(tmp_path)
    (pack / layout.TIME_STAMP).write_bytes(b"half")

    workflow.stamp(pack, authority=url)

    assert times(pack, authority) == {layout.TIME_STAMP: Outcome.PASSED}


def test_a_zip_is_not_stamped(tmp_path: Path, url: str):
    (tmp_path / "pack.zip").write_bytes(b"")

    with pytest.raises(PackError, match="not a folder"):
        workflow.stamp(tmp_path / "pack.zip", authority=url)
