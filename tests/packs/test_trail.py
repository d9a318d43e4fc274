"""A pack's trail holds its run in order, and goes on from its parent's and from what was seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compliance.errors import PackError
from compliance.packs import Signer, layout
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import read_pack
from compliance.packs.trust import Trust
from compliance.records.base import digest_of
from compliance.records.evidence import Evidence
from compliance.records.verification import Check, Outcome
from compliance.trail import (
    append,
    append_record,
    checkpoint_of,
    lines,
    parse,
    read,
    run_name,
    sign_checkpoint,
)
from tests.packs.example import (
    MOMENT,
    SIGNER,
    STRANGER,
    build_example,
    example_evidence,
    example_plan,
    write_trail,
)
from tests.trail.example import P256

SECOND = example_evidence(example_plan(seed=8))
"""Of a second run in the same folder."""


def checks(pack: Path, name: str, **trust: Any) -> list[Check]:
    found = verify_integrity(pack, trust=Trust(issuer=SIGNER.public_pem, **trust)).checks
    return [check for check in found if check.name == name]


def only(found: list[Check]) -> Check:
    (check,) = found
    return check


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return build_example(tmp_path)


@pytest.fixture
def following(tmp_path: Path, first: Path) -> Callable[..., Path]:
    """Builds the pack that follows ``first``, from the trail that went on."""

    def build(*, trail: Path | None = None, signer: Signer = SIGNER, **changes: Any) -> Path:
        path = trail or write_trail(tmp_path / "trail.jsonl", SECOND)
        with read_pack(first) as opened:
            given = {"parent": opened.as_parent(), "parent_checkpoint": note_of(first)}
        return build_example(
            tmp_path, evidence=SECOND, version="1.1.0", trail=path, signer=signer, **given | changes
        )

    return build


def note_of(pack: Path) -> bytes:
    return (pack / layout.CHECKPOINT).read_bytes()


# the pack's own run


def test_another_run_in_the_same_trail_does_not_confuse_a_pack(tmp_path: Path):
    """It was opened before our lock, and frozen after it; it is not ours."""
    path, mine = tmp_path / "trail.jsonl", example_evidence()
    write_trail(path, SECOND)
    write_trail(path, mine, without=["confirmation-opened"])
    facts = {"run": run_name(mine.plan), "groups": ["d-1"], "opening": 2}
    append(path, "confirmation-opened", facts, at=MOMENT, actor="test")
    append_record(
        path, "locked", SECOND.lock, facts={"run": run_name(SECOND.plan)}, at=MOMENT, actor="test"
    )

    pack = build_example(tmp_path, evidence=mine, trail=path)

    assert only(checks(pack, "trail")).status is Outcome.PASSED


def frozen_elsewhere(path: Path, mine: Evidence, kind: str, run: str) -> Path:
    """A trail whose ``kind`` was written by another run."""
    for event in ("plan-frozen", "locked"):
        record = mine.plan if event == "plan-frozen" else mine.lock
        facts = {"run": run if event == kind else run_name(mine.plan)}
        append_record(path, event, record, facts=facts, at=MOMENT, actor="test")
    return path


@pytest.mark.parametrize("kind", ["plan-frozen", "locked"])
def test_what_another_run_froze_is_not_what_this_one_froze(tmp_path: Path, kind: str):
    trail = frozen_elsewhere(tmp_path / "t.jsonl", example_evidence(), kind, "0" * 16)

    with pytest.raises(PackError, match=f"no entry {kind} holds"):
        build_example(tmp_path, trail=trail)


@pytest.mark.parametrize(
    ("groups", "opening"),
    [(["d-1"], 1), (["d-1", "x"], 3), ("d-1", 2), (None, 2), ([["d-1"]], 2), (["d-1"], None)],
)
def test_an_opening_is_counted_over_all_runs_of_the_trail(tmp_path: Path, groups, opening):
    """The second opening of a group is called the second, or the pack does not verify."""
    path, mine = tmp_path / "t.jsonl", example_evidence()
    write_trail(path, SECOND)
    write_trail(path, mine, without=["confirmation-opened"])
    facts = {"run": run_name(mine.plan), "groups": groups, "opening": opening}
    append(path, "confirmation-opened", facts, at=MOMENT, actor="test")

    with pytest.raises(PackError, match=r"line 14 is called number .*, the trail gives (2|None)"):
        build_example(tmp_path, trail=path)


# the pack before


def test_a_first_pack_says_nothing_of_a_parent(first: Path):
    assert checks(first, "parent-trail") == []


def test_a_later_pack_proves_that_its_trail_goes_on_from_the_earlier(following, first):
    pack = following()

    found = only(checks(pack, "parent-trail"))

    assert found.status is Outcome.PASSED
    assert "goes on from the 7 lines of the pack before" in found.message
    assert (pack / layout.PARENT_CHECKPOINT).read_bytes() == note_of(first)
    trail, before = (parse((p / layout.TRAIL).read_bytes()) for p in (pack, first))
    assert trail[:7] == before and len(trail) == 14


def test_a_trail_of_its_own_proves_nothing_and_that_is_said(following, tmp_path):
    pack = following(trail=write_trail(tmp_path / "anew.jsonl", SECOND))

    found = only(checks(pack, "parent-trail"))

    assert found.status is Outcome.NOT_CHECKED
    assert "does not show that its trail goes on" in found.message
    assert not (pack / layout.PARENT_CHECKPOINT).exists()
    assert not (pack / layout.CONSISTENCY).exists()


def test_a_parent_of_another_key_is_compared_and_its_signature_left_open(following, first):
    entries = parse((first / layout.TRAIL).read_bytes())
    note = sign_checkpoint(entries, origin="sae-compliance/demo", signer=STRANGER)

    found = only(checks(following(parent_checkpoint=note), "parent-trail"))

    assert found.status is Outcome.NOT_CHECKED and "signed with another key" in found.message


def damaged(pack: Path, change: str, other: Path) -> str:
    """Do something wrong to what a pack says of its parent; the file that must be named."""
    note, proof = pack / layout.PARENT_CHECKPOINT, pack / layout.CONSISTENCY
    entries = parse((pack / layout.TRAIL).read_bytes())
    signed = {"origin": "sae-compliance/demo", "signer": SIGNER}
    match change:
        case "no checkpoint":
            note.unlink()
        case "no proof":
            proof.unlink()
            return layout.CONSISTENCY
        case "a proof of another size":
            text = proof.read_text().replace('"first_size":7', '"first_size":6')
            proof.write_text(text)
            return layout.CONSISTENCY
        case "a proof that is none":
            proof.write_bytes(b"{}")
            return layout.CONSISTENCY
        case "another trail":
            note.write_bytes(sign_checkpoint(read(other), **signed))
        case "a longer trail":
            append(other, "run-started", {}, at=MOMENT, actor="test")
            longer = [*entries, *read(other)]
            note.write_bytes(sign_checkpoint(longer, **signed))
        case "another system":
            moved = signed | {"origin": "sae-compliance/other"}
            note.write_bytes(sign_checkpoint(entries[:7], **moved))
        case "a size that was changed":
            note.write_bytes(note.read_bytes().replace(b"\n7\n", b"\n8\n"))
        case "no note":
            note.write_bytes(b"hello")
    return layout.PARENT_CHECKPOINT


@pytest.mark.parametrize(
    "change",
    ["no checkpoint", "no proof", "a proof of another size", "a proof that is none",
     "another trail", "a longer trail", "another system", "a size that was changed", "no note"],
)  # fmt: skip
def test_a_parent_that_is_not_shown_rightly_fails_and_names_the_file(following, tmp_path, change):
    pack = following()
    other = write_trail(tmp_path / "other.jsonl", example_evidence(example_plan(seed=9)))

    path = damaged(pack, change, other)

    found = only(checks(pack, "parent-trail"))
    assert (found.status, found.path) == (Outcome.FAILED, path)


@pytest.mark.parametrize("name", [layout.PARENT_CHECKPOINT, layout.CONSISTENCY])
def test_a_first_pack_with_a_parents_files_fails(first: Path, name: str):
    (first / name).write_bytes(b"x")

    found = only(checks(first, "parent-trail"))

    assert (found.status, found.path) == (Outcome.FAILED, name)


# what somebody else kept


@pytest.mark.parametrize("trusted", [True, False], ids=["with the key", "without"])
def test_a_pack_goes_on_from_every_checkpoint_that_was_seen_of_it(following, first, trusted):
    pack = following()
    issuer = SIGNER.public_pem if trusted else None

    for note in (note_of(first), note_of(pack)):
        trust = Trust(issuer=issuer, checkpoint=note)
        found = [c for c in verify_integrity(pack, trust=trust).checks if c.name == "witness"]
        assert only(found).status is Outcome.PASSED
        assert "(signed with the key of this pack)" in found[0].message


def test_without_a_checkpoint_it_is_said_that_nobody_was_asked(first: Path):
    found = only(checks(first, "witness"))

    assert found.status is Outcome.NOT_CHECKED and "compare data/checkpoint" in found.message


def test_a_trail_that_was_written_anew_is_named_so(following, first, tmp_path):
    """The issuer gives out another history, all signatures right."""
    kept = note_of(first)
    anew = tmp_path / "anew.jsonl"
    append(anew, "suite-registered", {"suite": "better"}, at=MOMENT, actor="test")
    pack = following(trail=write_trail(anew, SECOND))

    verification = verify_integrity(pack, trust=Trust(issuer=SIGNER.public_pem, checkpoint=kept))

    found = only(list(verification.failed))
    assert (found.name, found.path) == ("witness", layout.TRAIL)
    assert "written anew" in found.message and "signed with the key of this pack" in found.message


def test_an_old_pack_in_place_of_the_newest_is_named_so(following, first):
    found = only(checks(first, "witness", checkpoint=note_of(following())))

    assert found.status is Outcome.FAILED
    assert "older than what somebody saw" in found.message
    assert "14 lines where the pack has 7" in found.message


def test_lines_count_whoever_signed_them_and_that_is_said(first: Path):
    entries = parse((first / layout.TRAIL).read_bytes())
    for signer in (STRANGER, P256):
        note = sign_checkpoint(entries[:3], origin="sae-compliance/demo", signer=signer)

        found = only(checks(first, "witness", checkpoint=note))

        assert found.status is Outcome.PASSED
        assert "not signed with the key of this pack" in found.message


def test_a_checkpoint_of_another_system_fails(first: Path):
    entries = parse((first / layout.TRAIL).read_bytes())
    note = sign_checkpoint(entries, origin="sae-compliance/other", signer=SIGNER)

    found = only(checks(first, "witness", checkpoint=note))

    assert (
        found.status is Outcome.FAILED and "the pack carries sae-compliance/demo" in found.message
    )


def test_a_checkpoint_of_nothing_shows_nothing(first: Path):
    note = sign_checkpoint((), origin="sae-compliance/demo", signer=SIGNER)

    assert only(checks(first, "witness", checkpoint=note)).status is Outcome.NOT_CHECKED


@pytest.mark.parametrize("text", [b"", b"hello\n", b"\xff", b"a\n1\nAAAA\n\n\xe2\x80\x94 a AAAA\n"])
def test_what_is_no_checkpoint_is_refused_and_not_held_against_the_pack(first: Path, text: bytes):
    with pytest.raises(PackError, match="the given checkpoint: not"):
        checks(first, "witness", checkpoint=text)


def test_a_checkpoint_names_the_trail_and_not_the_pack(following, first):
    pack = following()

    with read_pack(pack) as opened:
        head = checkpoint_of(opened.trail, "sae-compliance/demo")
    assert note_of(pack).decode().startswith("sae-compliance/demo\n14\n")
    assert layout.origin("demo-1.1.0") == layout.origin("demo-1.0.0") == head.origin
    assert layout.origin("two-words-1.0.0") == layout.log_name("two-words")


def test_a_plan_is_named_by_the_beginning_of_its_digest():
    plan = example_plan()

    assert digest_of(plan).startswith(f"sha256:{run_name(plan)}") and len(run_name(plan)) == 16


def test_the_bytes_of_a_trail_are_those_that_were_written(tmp_path: Path):
    path = write_trail(tmp_path / "t.jsonl", example_evidence())

    assert lines(read(path)) == path.read_bytes()
