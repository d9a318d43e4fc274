"""The trail by itself: statements of persons, heads to keep, proofs; and two runs in one trail."""

import shutil
from pathlib import Path

import pytest

from compliance import workflow
from compliance.errors import ComplianceError, PackError, TrailError
from compliance.keys import private_pem
from compliance.keys.opening import KeySource
from compliance.packs import layout
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import read_pack
from compliance.packs.trust import Trust
from compliance.records.base import canonical_bytes
from compliance.records.verification import Outcome
from compliance.runs import RunFolder, newest_run
from compliance.trail import append, open_checkpoint, read, run_name
from compliance.workflow import trails
from compliance.workflow.checking import frozen_facts
from tests.packs.example import SIGNER, build_example, example_evidence, write_trail
from tests.tiny_audit import write_audit
from tests.trail.example import NOW, P256

LIGHT = {"shifts": [], "shifted_groups": 0, "repeated_items": 0, "loss_items": 0}


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """An ``audit.yaml`` with a trail and a pack beside it; nothing was run."""
    path = tmp_path / "audit.yaml"
    path.write_text(
        "subject: {model: ./model, saes: [{path: ./sae}]}\nsuites: [./suite]\n"
        "probes: [{concept: deception}]\nlanguages: [en]\n",
        encoding="utf-8",
    )
    (tmp_path / "system.yaml").write_text(
        "name: demo\ntitle: Demo\nversion: '1'\n", encoding="utf-8"
    )
    build_example(tmp_path)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "issuer.pem"
    path.write_bytes(private_pem(SIGNER.key))
    return path


def pack_of(audit: Path) -> Path:
    return audit.parent / "packs" / "demo-1.0.0"


# what persons state


def test_a_deviation_is_of_the_newest_run(audit):
    before = trails.state(audit, "deviation", text="No run yet.", by="A. Person, QA")
    (audit.parent / "runs").mkdir()
    (audit.parent / "runs" / "latest").write_text("0123456789abcdef\n")

    after = trails.state(audit, "deviation", text=" Two  items\nleft out. ", by="A. Person, QA")

    assert before.facts == {"text": "No run yet."}
    assert after.facts == {"text": "Two items left out.", "run": "0123456789abcdef"}
    assert (after.kind, after.actor) == ("deviation", "A. Person, QA")
    assert trails.show_trail(audit)[-2:] == (before, after)


@pytest.mark.parametrize("kind", ["superseded", "withdrawn"])
def test_a_pack_is_named_by_its_root(audit, kind):
    entry = trails.state(audit, kind, text="Wrong items.", by="A. Person", pack=pack_of(audit))

    with read_pack(pack_of(audit)) as opened:
        root = opened.statement.predicate.root_digest
    assert entry.facts == {"pack": "demo-1.0.0", "root": root, "text": "Wrong items."}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "deviation"}, "deviation needs a text"),
        ({"kind": "deviation", "text": "x", "pack": True}, "deviation is about a plan"),
        ({"kind": "withdrawn", "text": "x"}, "withdrawn needs the pack"),
        ({"kind": "withdrawn", "pack": True}, "withdrawn needs a text"),
        ({"kind": "superseded"}, "superseded needs the pack"),
        ({"kind": "deviation", "text": " \n"}, "the text: 0 characters"),
        ({"kind": "deviation", "text": "x" * 2001}, "the text: 2001 characters"),
        ({"kind": "deviation", "text": "x", "by": " "}, "the person: 0 characters"),
        ({"kind": "deviation", "text": "x", "by": "x" * 201}, "cannot be written"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_refused(audit, given, message):
    given = {"by": "A. Person"} | given
    if given.get("pack"):
        given["pack"] = pack_of(audit)
    before = (audit.parent / "trail.jsonl").read_bytes()

    with pytest.raises(TrailError, match=message):
        trails.state(audit, **given)

    assert (audit.parent / "trail.jsonl").read_bytes() == before


def test_a_pack_of_another_system_is_refused(audit):
    (audit.parent / "system.yaml").write_text("name: other\ntitle: Other\nversion: '1'\n")

    with pytest.raises(PackError, match="demo-1.0.0: not a pack of 'other'"):
        trails.state(audit, "withdrawn", text="x", by="A. Person", pack=pack_of(audit))


# heads and proofs


def test_a_head_can_be_signed_at_any_time_and_a_later_pack_goes_on_from_it(audit, key):
    trails.state(audit, "deviation", text="Late.", by="A. Person, QA")

    note = trails.sign_trail(audit, KeySource(key))

    said = open_checkpoint(note, SIGNER.public_key)
    assert (said.origin, said.size) == ("sae-compliance/demo", 8)
    older = verify_integrity(pack_of(audit), trust=Trust(checkpoint=note))
    assert "older than what somebody saw" in older.failed[0].message


@pytest.fixture
def kept(audit, key) -> Path:
    """A checkpoint of seven lines; the trail went on after it."""
    path = audit.parent / "kept"
    path.write_bytes(trails.sign_trail(audit, KeySource(key)))
    trails.state(audit, "deviation", text="Late.", by="A. Person, QA")
    return path


def outcomes(*args, **given):
    return {check.name: check.status.value for check in trails.check_trail(*args, **given)}


def test_a_trail_is_checked_against_what_somebody_kept(audit, kept):
    found = outcomes(audit, checkpoints=[kept], key=SIGNER.public_key)

    assert found == {"signature": "passed", "chain": "passed", "checkpoint": "passed"}
    assert outcomes(audit, checkpoints=[kept])["signature"] == "not-checked"
    assert outcomes(audit, checkpoints=[kept], key=P256.public_key)["signature"] == "failed"
    assert outcomes(audit.parent / "trail.jsonl") == {"chain": "passed"}


def test_a_trail_that_was_cut_edited_or_written_anew_fails(audit, kept):
    path = audit.parent / "trail.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)

    path.write_bytes(b"".join(lines[:5]))
    cut = trails.check_trail(audit, checkpoints=[kept])
    path.write_bytes(b"".join(lines).replace(b"seed", b"weed"))
    edited = trails.check_trail(audit, checkpoints=[kept])
    path.unlink()
    append(path, "suite-registered", {"suite": "other"}, at=NOW, actor="test")
    write_trail(path, example_evidence())
    anew = trails.check_trail(audit, checkpoints=[kept])

    assert "it was cut, or is an older one" in cut[-1].message
    assert (edited[-1].name, edited[-1].status) == ("chain", Outcome.FAILED)
    assert "line 1" in edited[-1].message
    assert "the trail was written anew" in anew[-1].message


def proof_of(audit: Path, **given: object) -> Path:
    made = trails.prove_entry(audit, 3) if "entry" in given else trails.prove_since(audit, **given)
    path = audit.parent / "proof.json"
    path.write_bytes(canonical_bytes(made))
    return path


def test_a_proof_needs_no_trail_but_the_checkpoints_that_it_is_about(audit, key, kept):
    now = audit.parent / "now"
    now.write_bytes(trails.sign_trail(audit, KeySource(key)))
    since, trusted = proof_of(audit, checkpoint=kept), {"key": SIGNER.public_key}

    assert outcomes(proof=since, checkpoints=[kept, now], **trusted)["proof"] == "passed"
    assert outcomes(proof=since, checkpoints=[now], **trusted)["proof"] == "not-checked"
    assert outcomes(proof=since)["proof"] == "not-checked"
    assert outcomes(audit, proof=since)["proof"] == "passed"
    entry = proof_of(audit, entry=3)
    assert outcomes(proof=entry, checkpoints=[now], **trusted)["proof"] == "passed"
    assert outcomes(proof=entry, checkpoints=[kept], **trusted)["proof"] == "failed"


def test_a_proof_that_was_changed_fails(audit, kept):
    path = proof_of(audit, entry=3)
    path.write_bytes(path.read_bytes().replace(b'"actor":"test"', b'"actor":"tess"'))

    assert outcomes(audit, proof=path)["proof"] == "failed"


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"kind":"other"}', b"\xff"])
def test_what_is_no_proof_is_refused(audit, text):
    path = audit.parent / "proof.json"
    path.write_bytes(text)

    with pytest.raises(TrailError, match=r"proof\.json"):
        trails.check_trail(proof=path)


def test_nothing_to_check_is_refused(kept):
    with pytest.raises(TrailError, match="nothing to check"):
        trails.check_trail(checkpoints=[kept])


# two runs in one folder


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> Path:
    """A run with a pack, one that was planned and given up, and a third with the next pack."""
    from compliance.workflow import stages

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stages, "documents", lambda *_, **__: {"report.html": b"<!doctype html>"})
        path = write_audit(tmp_path_factory.mktemp("runs"), robustness=LIGHT)
        text = path.read_text(encoding="utf-8")
        workflow.audit(path)
        path.write_text(text.replace("alpha: 0.1", "alpha: 0.2"), encoding="utf-8")
        workflow.plan(path)
        path.write_text(text.replace("alpha: 0.1", "alpha: 0.15"), encoding="utf-8")
        workflow.audit(path)
    return path.parent


def newest(folder: Path) -> RunFolder:
    return RunFolder(folder / "runs" / (newest_run(folder) or ""))


def test_one_trail_holds_every_run_of_a_folder_and_says_whose_entry_it_is(two_runs):
    entries = read(two_runs / "trail.jsonl")

    assert not list(two_runs.glob("runs/*/trail.jsonl"))
    runs = {entry.facts["run"] for entry in entries}
    assert runs == {path.name for path in (two_runs / "runs").iterdir() if path.is_dir()}
    assert [e.facts["run"] for e in entries].count(newest(two_runs).path.name) == 11
    kinds = [entry.kind for entry in entries]
    assert kinds.count("plan-frozen") == 3 and kinds.count("report-built") == 2
    assert kinds[-2:] == ["superseded", "report-built"]


def test_the_next_pack_extends_the_first_and_names_what_it_supersedes(two_runs):
    first, second = (two_runs / "packs" / name for name in ("tiny-1.0.0", "tiny-1.1.0"))
    trust = Trust(
        issuer=(two_runs / "keys" / "issuer.pub.pem").read_bytes(),
        checkpoint=(first / layout.CHECKPOINT).read_bytes(),
    )

    found = {c.name: c.status for c in verify_integrity(second, trust=trust).checks}

    assert found["parent-trail"] is found["witness"] is found["trail"] is Outcome.PASSED
    with read_pack(first) as before, read_pack(second) as after:
        facts = [e.facts for e in after.trail if e.kind == "superseded"]
        assert facts == [
            {
                "by": "1.1.0",
                "pack": "tiny-1.0.0",
                "root": before.statement.predicate.root_digest,
                "run": run_name(after.evidence.plan),
            }
        ]
        assert after.evidence.confirm_openings == 2
        assert after.trail[: len(before.trail)] == before.trail
        own = [e for e in after.trail if e.facts["run"] == run_name(after.evidence.plan)]
        assert frozen_facts(own)["confirm_openings"] == 2


def test_numbers_of_both_packs_follow_from_the_entries_of_their_own_runs(two_runs):
    for pack in sorted((two_runs / "packs").iterdir()):
        with read_pack(pack) as opened:
            evidence, own = opened.evidence, run_name(opened.evidence.plan)
            frozen = frozen_facts([e for e in opened.trail if e.facts["run"] == own])
        assert frozen["observations"] == evidence.observations
        assert frozen["confirm_openings"] == evidence.confirm_openings


def test_a_finished_pass_of_another_run_is_not_ours(two_runs, tmp_path):
    """The tables of the first run lie in the folder of the run that was given up."""
    from compliance.workflow.stages import is_finished

    copy = Path(shutil.copytree(two_runs, tmp_path / "copy"))
    first = run_of(copy, "tiny-1.0.0")
    given_up = next(
        RunFolder(path)
        for path in (copy / "runs").iterdir()
        if path.is_dir() and not (path / "observations").exists()
    )
    shutil.copytree(first.path / "observations", given_up.path / "observations")

    assert is_finished(first, "fit") and not is_finished(given_up, "fit")


def run_of(folder: Path, pack: str) -> RunFolder:
    with read_pack(folder / "packs" / pack) as opened:
        return RunFolder(folder / "runs" / run_name(opened.evidence.plan))


def test_a_stage_that_is_resumed_adds_no_entry(two_runs):
    path = two_runs / "trail.jsonl"
    before = path.read_bytes()

    workflow.lock(two_runs / "audit.yaml")
    workflow.assess(two_runs / "audit.yaml")

    assert path.read_bytes() == before


def test_a_torn_trail_is_mended_by_the_next_stage(two_runs, tmp_path):
    copy = Path(shutil.copytree(two_runs, tmp_path / "copy"))
    path = copy / "trail.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(ComplianceError, match="not finished"):
        trails.show_trail(copy / "audit.yaml")

    trails.state(copy / "audit.yaml", "deviation", text="A kill.", by="A. Person")

    assert [e.kind for e in read(path)][-3:] == ["superseded", "torn-tail", "deviation"]
    torn = path.with_name("trail.jsonl.torn-1").read_bytes()
    assert whole.endswith(torn + whole[-40:])
