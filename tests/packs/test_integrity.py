"""Damage one thing; the verifier must notice it and name the file."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.errors import PackError, VerificationError
from compliance.packs import Signer, approve_pack, check_integrity, layout, reading
from compliance.packs.build import write_tag_manifest
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import PackItems, parse_salts, read_pack
from compliance.packs.roots import root_digest
from compliance.packs.sign import make_statement, sign_statement
from compliance.packs.trust import Trust
from compliance.records.base import canonical_bytes
from compliance.records.statement import SignedFile
from compliance.records.verification import Check, Outcome
from compliance.trail import lines, parse, sign_checkpoint
from tests.packs.example import (
    DOCUMENTS,
    MOMENT,
    REVIEWER,
    SIGNER,
    STRANGER,
    all_bytes,
    build_example,
    example_evidence,
    example_plan,
)

REVIEWED = layout.approval_paths("reviewer", REVIEWER.key_id)
FILES = (
    *layout.REQUIRED_TAG_FILES,
    *layout.REQUIRED_DATA,
    *REVIEWED,
    layout.TAG_MANIFEST,
    "data/report.pdf",
    "data/exports/.eval_results/demo.yaml",
    "data/ro-crate-metadata.json",
    "data/law/provisions.yaml",
    "data/observations/confirm/items.csv",
    "data/observations/confirm/scores.csv",
    "data/observations/fit/items.csv",
    "data/schemas/evidence.schema.json",
)


def failures(pack: Path, key: bytes | None) -> list[Check]:
    return [
        check
        for check in check_integrity(pack, trust=Trust(issuer=key))
        if check.status is Outcome.FAILED
    ]


def named(pack: Path, key: bytes | None) -> set[str | None]:
    return {check.path for check in failures(pack, key)}


def redigest(pack: Path, signer: Signer | None = None) -> None:
    """Make all lists fit the files again, as a forger would; sign too where there is a key."""
    data = {path: raw for path, raw in all_bytes(pack).items() if path.startswith("data/")}
    if signer:
        trail = parse(data[layout.TRAIL])
        note = sign_checkpoint(trail, origin=layout.origin("demo-1.0.0"), signer=signer)
        data[layout.CHECKPOINT] = note
        (pack / layout.CHECKPOINT).write_bytes(note)
    digests = {path: hashlib.sha256(raw).hexdigest() for path, raw in data.items()}
    start = layout.OBSERVATIONS
    info = layout.parse_info((pack / layout.BAG_INFO).read_bytes())
    observations = {
        p.removeprefix(start): f"sha256:{d}" for p, d in digests.items() if p.startswith(start)
    }
    root = info["Root-Digest"]
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # no evidence
        root = root_digest(
            data[layout.EVIDENCE],
            parse_salts(data[layout.SALTS]),
            observations,
            PackItems(lambda: io.BytesIO(data[layout.ITEMS])),
        )
    oxum = f"{sum(map(len, data.values()))}.{len(data)}"
    info |= {"Payload-Oxum": oxum, "Root-Digest": root}
    (pack / layout.BAG_INFO).write_bytes(layout.render_info(info))
    (pack / layout.MANIFEST).write_bytes(layout.render_manifest(digests))
    if signer:
        resign(pack, root, signer)
    write_tag_manifest(pack)


def resign(pack: Path, root: str, signer: Signer, **changes: str) -> None:
    """Sign anew; ``changes`` are what the statement says of the pack."""
    tags = {n: hashlib.sha256((pack / n).read_bytes()).hexdigest() for n in layout.SIGNED_TAG_FILES}
    said = {"pack_id": "demo-1.0.0", "version": "1.0.0", "parent_digest": None} | changes
    statement = make_statement(tags, root_digest=root, signer=signer, signed_at=MOMENT, **said)
    manifest = (pack / layout.MANIFEST).read_bytes()
    (pack / layout.STATEMENT).write_bytes(sign_statement(statement, signer))
    (pack / layout.MANIFEST_SIGNATURE).write_bytes(signer.sign(manifest))
    (pack / layout.PUBLIC_KEY).write_bytes(signer.public_pem)
    for path in REVIEWED:
        (pack / path).unlink(missing_ok=True)


def test_an_unchanged_pack_passes(built: Path, key: bytes):
    verification = verify_integrity(built, trust=Trust(issuer=key))

    assert verification.ok, verification.summary()
    assert verification.root_digest in (built / "bag-info.txt").read_text()
    assert {check.name for check in verification.not_checked} == {
        "approval", "approvals", "cms", "pdf-signature", "time-stamp", "witness", "report",
    }  # fmt: skip


def test_without_a_key_the_first_line_says_so(built: Path):
    verification = verify_integrity(built)

    assert verification.ok
    assert verification.summary()[0].startswith(
        "not checked: the issuer was not checked: no key was given"
    )


def test_the_list_of_files_below_is_complete(built: Path):
    assert sorted(FILES) == sorted(all_bytes(built))


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("trusted", [True, False], ids=["with key", "without key"])
def test_one_flipped_bit_anywhere_names_the_file(pack: Path, path: str, trusted: bool):
    data = (pack / path).read_bytes()
    places = {0, len(data) // 3, len(data) // 2, len(data) - 1}

    for place in places:
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (pack / path).write_bytes(damaged)

        assert path in named(pack, SIGNER.public_pem if trusted else None), place


@pytest.mark.parametrize("path", [p for p in FILES if not p.startswith("data/")])
def test_bytes_all_over_a_file_outside_data_count(pack: Path, path: str, key: bytes):
    data = (pack / path).read_bytes()

    for place in range(0, len(data), 29):
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (pack / path).write_bytes(damaged)

        assert path in named(pack, key), place


@pytest.mark.parametrize("path", [p for p in FILES if p.startswith("attestations/")])
def test_a_changed_attestation_is_named_though_the_list_fits_it(pack: Path, path: str, key: bytes):
    data = (pack / path).read_bytes()

    for place in range(0, len(data), 31):
        (pack / path).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        write_tag_manifest(pack)

        assert path in named(pack, key), place


@pytest.mark.parametrize("path", FILES)
def test_a_removed_file_is_named(pack: Path, path: str, key: bytes):
    (pack / path).unlink()

    assert path in named(pack, key)


@pytest.mark.parametrize("path", FILES)
def test_an_emptied_file_is_named(pack: Path, path: str, key: bytes):
    (pack / path).write_bytes(b"")

    assert path in named(pack, key)


@pytest.mark.parametrize(
    "path",
    [
        "data/extra.txt", "data/law/new.yaml", "data/observations/confirm/new.csv", "extra.txt",
        "manifest-md5.txt", "fetch.txt", "attestations/other.sig", ".DS_Store",
        "attestations/approvals/release.pem", "attestations/approvals/x.txt",
    ],
)  # fmt: skip
def test_an_added_file_is_named(pack: Path, path: str, key: bytes):
    (pack / path).write_bytes(b"new")
    write_tag_manifest(pack)

    assert path in named(pack, key)


def test_two_swapped_files_are_both_named(pack: Path, key: bytes):
    one, two = (
        pack / "data/observations" / name for name in ("fit/items.csv", "confirm/items.csv")
    )
    first, second = one.read_bytes(), two.read_bytes()

    one.write_bytes(second)
    two.write_bytes(first)

    paths = {"data/observations/fit/items.csv", "data/observations/confirm/items.csv"}
    assert paths <= named(pack, key)


def test_all_problems_are_reported_at_once(pack: Path, key: bytes):
    (pack / "data/report.html").write_bytes(b"other")
    (pack / "data/law/provisions.yaml").unlink()
    (pack / "data/new").write_bytes(b"")

    assert {"data/report.html", "data/law/provisions.yaml", "data/new"} <= named(pack, key)


@pytest.mark.parametrize("path", ["data/report.html", "data/evidence.json", "data/items.jsonl"])
def test_digests_made_again_without_the_key_do_not_help(pack: Path, path: str, key: bytes):
    data = (pack / path).read_bytes()
    (pack / path).write_bytes(data.replace(b"e", b"f", 1) if path == "data/report.html" else data)
    if path == "data/evidence.json":
        changed = json.loads(data) | {"confirm_openings": 0}
        (pack / path).write_bytes(canonical_bytes(changed))
    if path == "data/items.jsonl":
        (pack / path).write_bytes(data.replace(b"Lie to me.", b"Hello you."))
    redigest(pack)

    assert {layout.MANIFEST, layout.MANIFEST_SIGNATURE} <= named(pack, key)


def test_a_forger_with_a_key_of_their_own_is_told_by_the_issuers_key(pack: Path, key: bytes):
    (pack / "data/report.html").write_bytes(b"better")
    redigest(pack, STRANGER)

    assert verify_integrity(pack).ok
    assert "issuer" in {check.name for check in failures(pack, key)}
    assert layout.STATEMENT in named(pack, key)


def test_the_forgers_public_key_does_not_pass_for_the_issuers(pack: Path, key: bytes):
    (pack / layout.PUBLIC_KEY).write_bytes(STRANGER.public_pem)
    write_tag_manifest(pack)

    assert layout.PUBLIC_KEY in named(pack, key)
    assert layout.STATEMENT in named(pack, None)


HOSTILE = {
    "a space": lambda data: data.replace(b'":', b'": ', 1),
    "a key twice": lambda data: b'{"confirm_openings":1,' + data[1:],
    "NaN": lambda data: data.replace(b'"confirm_openings":1', b'"confirm_openings":NaN'),
    "infinity": lambda data: data.replace(b'"confirm_openings":1', b'"confirm_openings":1e999'),
    "many digits": lambda data: data.replace(
        b'"confirm_openings":1', b'"confirm_openings":' + b"1" * 5000
    ),
    "text for a number": lambda data: data.replace(
        b'"confirm_openings":1', b'"confirm_openings":"1"'
    ),
    "an unknown version": lambda data: data.replace(
        b'"schema_version":"1.0","system"', b'"schema_version":"9.0","system"'
    ),
    "an unknown field": lambda data: data[:-1] + b',"zz":1}',
    "deep nesting": lambda data: b"[" * 200_000 + b"]" * 200_000,
    "deep nesting in a key": lambda data: b'{"a":' * 100_000,
    "many quotes": lambda data: b'"\\' * 100_000,
    "not UTF-8": lambda data: b"\xff" + data,
    "a list": lambda data: b"[]",
    "nothing": lambda data: b"",
}
REASONS = {
    "a space": "not canonical", "a key twice": "twice", "NaN": "NaN", "infinity": "not canonical",
    "many digits": "digits", "text for a number": "valid integer", "a list": "None",
    "an unknown version": "schema_version is '9.0'", "an unknown field": "zz: extra",
    "deep nesting": "levels deep", "deep nesting in a key": "levels deep", "nothing": "not JSON",
    "many quotes": "not JSON", "not UTF-8": "not UTF-8",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_evidence_is_refused_even_when_signed(pack: Path, kind: str, key: bytes):
    path = pack / layout.EVIDENCE
    before = path.read_bytes()
    path.write_bytes(HOSTILE[kind](before))
    assert path.read_bytes() != before
    redigest(pack, SIGNER)

    found = [check for check in failures(pack, key) if check.name == "evidence"]

    assert [check.path for check in found] == [layout.EVIDENCE]
    assert REASONS[kind] in found[0].message
    with read_pack(pack) as opened, pytest.raises(VerificationError, match="data/evidence.json: "):
        opened.evidence  # noqa: B018 - reading it is what raises


def _item_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: b"\n".join(change(data.split(b"\n")))


ITEMS = {
    "swapped": _item_lines(lambda rows: [rows[1], rows[0], *rows[2:]]),
    "repeated": _item_lines(lambda rows: [rows[0], *rows]),
    "unfinished": lambda data: data[:-1],
    "salt": lambda data: data.replace(b'"salt":"', b'"salt":"zz', 1),
    "spelling": lambda data: data.replace(b'"format":"prompt",', b"", 1),
    "bracket": lambda data: data[1:],
}


@pytest.mark.parametrize("kind", ITEMS)
def test_odd_item_lines_name_the_line(pack: Path, kind: str, key: bytes):
    path = pack / layout.ITEMS
    path.write_bytes(ITEMS[kind](path.read_bytes()))

    found = [check for check in failures(pack, key) if check.name == "items"]

    assert [check.path for check in found] == [layout.ITEMS]
    assert found[0].message.startswith("line ")


def test_a_long_file_is_not_read(pack: Path, key: bytes, monkeypatch):
    monkeypatch.setattr(layout, "MAX_JSON_FILE", 100)
    monkeypatch.setattr(reading, "MAX_ITEM_BYTES", 100)

    problems = failures(pack, key)

    assert {check.path for check in problems} == {layout.EVIDENCE, layout.ITEMS, layout.TRAIL}
    assert all("at most 100 are read" in check.message for check in problems)


MANIFESTS = {
    "unsorted": lambda rows: [rows[1], rows[0], *rows[2:]],
    "repeated": lambda rows: [rows[0], *rows],
    "one space": lambda rows: [rows[0].replace("  ", " "), *rows[1:]],
    "upper case": lambda rows: [rows[0][:64].upper() + rows[0][64:], *rows[1:]],
    "escape": lambda rows: ["0" * 64 + "  ../outside", *rows],
    "absolute": lambda rows: ["0" * 64 + "  /etc/passwd", *rows],
    "tag file": lambda rows: ["0" * 64 + "  bagit.txt", *rows],
    "no end": lambda rows: rows[:-1],
    "a comment": lambda rows: ["# hello", *rows],
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_an_odd_manifest_is_named(pack: Path, kind: str, key: bytes):
    path = pack / layout.MANIFEST
    path.write_text("\n".join(MANIFESTS[kind](path.read_text().split("\n"))))

    assert ("manifest", layout.MANIFEST) in {(c.name, c.path) for c in failures(pack, key)}


def test_a_wrong_count_of_bytes_is_named(pack: Path, key: bytes):
    path = pack / layout.BAG_INFO
    path.write_text(path.read_text().replace("Payload-Oxum: ", "Payload-Oxum: 1"))

    assert any("Payload-Oxum" in check.message for check in failures(pack, key))


INFOS = {
    "unsorted": lambda rows: [rows[1], rows[0], *rows[2:]],
    "repeated": lambda rows: [rows[0], *rows],
    "other line ends": lambda rows: [row + "\r" for row in rows],
    "no end": lambda rows: rows[:-1],
    "no value": lambda rows: [rows[0].split(" ")[0], *rows[1:]],
    "another label": lambda rows: ["A-Label: x", *rows],
    "a label less": lambda rows: rows[1:],
}


@pytest.mark.parametrize("kind", INFOS)
def test_an_odd_bag_info_is_named_though_it_is_signed(pack: Path, kind: str, key: bytes):
    root = verify_integrity(pack).root_digest or ""
    path = pack / layout.BAG_INFO
    path.write_bytes("\n".join(INFOS[kind](path.read_text().split("\n"))).encode())
    resign(pack, root, SIGNER)
    write_tag_manifest(pack)

    assert [(check.name, check.path) for check in failures(pack, key)] == [("bag", layout.BAG_INFO)]


def test_files_that_differ_in_case_only_are_named_though_they_are_signed(pack: Path, key: bytes):
    if (pack / "data/REPORT.html").exists():
        pytest.skip("this disk does not tell them apart")
    (pack / "data/REPORT.html").write_bytes(b"another report")
    redigest(pack, SIGNER)

    assert named(pack, key) == {"data/report.html"}


@pytest.mark.parametrize("target", ["file", "folder", "outside", "nowhere"])
def test_links_are_named_and_not_followed(pack: Path, tmp_path: Path, target: str, key: bytes):
    targets = {"file": pack / "bagit.txt", "folder": pack / "data/law", "outside": tmp_path}
    (pack / "data/link").symlink_to(targets.get(target, "nowhere"))

    problems = failures(pack, key)

    assert [check.path for check in problems] == ["data/link"]
    assert "symbolic link" in problems[0].message


def test_a_file_replaced_by_a_link_to_its_copy_is_named(pack: Path, tmp_path: Path, key: bytes):
    report = pack / "data/report.html"
    report.rename(tmp_path / "copy.html")
    report.symlink_to(tmp_path / "copy.html")

    assert "data/report.html" in named(pack, key)


def test_a_pipe_does_not_block(pack: Path, key: bytes):
    os.mkfifo(pack / "data/pipe")

    assert named(pack, key) == {"data/pipe"}


def test_a_name_with_control_characters_is_printed_safely(pack: Path, key: bytes):
    (pack / "data/\x1b[2Jx").write_bytes(b"")

    assert named(pack, key) == {"data/\\x1b[2Jx"}


def _reordered(pack: Path, order: list[str]) -> None:
    """Write the trail again with its entries in another order, as the holder of the key can."""
    from compliance.trail import append

    entries = {entry.kind: entry for entry in parse((pack / layout.TRAIL).read_bytes())}
    path = pack.parent / "again.jsonl"
    for kind in order:
        append(path, kind, entries[kind].facts, at=MOMENT, actor="test")
    (pack / layout.TRAIL).write_bytes(lines(parse(path.read_bytes())))
    redigest(pack, SIGNER)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["locked", "plan-frozen"], "is before the plan"),
        (["plan-frozen", "confirmation-opened", "locked"], "before the lock"),
        (["locked"], "no entry plan-frozen"),
        (["plan-frozen"], "no entry locked"),
    ],
)
def test_a_trail_in_another_order_is_refused(
    pack: Path, order: list[str], message: str, key: bytes
):
    _reordered(pack, order)

    problems = failures(pack, key)

    assert [check.path for check in problems] == [layout.TRAIL]
    assert message in problems[0].message


def test_evidence_of_another_plan_is_told_by_the_trail(pack: Path, key: bytes):
    other = example_evidence(example_plan(seed=8))
    (pack / layout.EVIDENCE).write_bytes(canonical_bytes(other))
    redigest(pack, SIGNER)

    assert {check.message for check in failures(pack, key)} == {
        "no entry plan-frozen holds the plan of evidence.json",
        "no entry locked holds the lock of evidence.json",
    }


def test_a_checkpoint_of_a_longer_trail_is_named(pack: Path, key: bytes):
    entries = parse((pack / layout.TRAIL).read_bytes())
    note = (pack / layout.CHECKPOINT).read_bytes()
    (pack / layout.TRAIL).write_bytes(lines(entries[:-1]))
    redigest(pack, SIGNER)
    (pack / layout.CHECKPOINT).write_bytes(note)

    assert ("checkpoint", layout.CHECKPOINT) in {(c.name, c.path) for c in failures(pack, key)}


def test_a_wrong_root_is_named_though_it_is_signed(pack: Path, key: bytes):
    wrong = "sha256:" + "0" * 64
    info = layout.parse_info((pack / layout.BAG_INFO).read_bytes()) | {"Root-Digest": wrong}
    (pack / layout.BAG_INFO).write_bytes(layout.render_info(info))
    resign(pack, wrong, SIGNER)
    write_tag_manifest(pack)

    problems = failures(pack, key)

    assert {check.name for check in problems} == {"root"}
    assert {check.path for check in problems} == {layout.BAG_INFO, layout.STATEMENT}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"pack_id": "demo-1.0.1"}, layout.STATEMENT),
        ({"version": "1.0.1"}, layout.STATEMENT),
        ({"pack_id": "demo-1.0.1", "version": "1.0.1"}, layout.BAG_INFO),
        ({"parent_digest": "sha256:" + "0" * 64}, layout.BAG_INFO),
    ],
)
def test_a_signed_statement_about_another_pack_is_named(
    pack: Path, changes: dict[str, str], path: str, key: bytes
):
    root = verify_integrity(pack).root_digest or ""
    resign(pack, root, SIGNER, **changes)
    write_tag_manifest(pack)

    assert ("statement", path) in {(c.name, c.path) for c in failures(pack, key)}


def test_a_signed_statement_with_two_roots_is_named(pack: Path, key: bytes):
    with read_pack(pack) as opened:
        statement = opened.statement
    other = SignedFile(name="root", digest={"rfc6962Sha256": "0" * 64})
    forged = statement.model_copy(update={"subject": (*statement.subject[:-1], other)})
    resign(pack, statement.predicate.root_digest, SIGNER)
    (pack / layout.STATEMENT).write_bytes(sign_statement(forged, SIGNER))
    write_tag_manifest(pack)

    assert named(pack, key) == {layout.STATEMENT}


def test_an_observation_that_the_evidence_does_not_rest_on_is_named(pack: Path, key: bytes):
    path = "data/observations/confirm/scores.csv"
    (pack / path).write_bytes(b"other")
    redigest(pack, SIGNER)

    assert [(check.name, check.path) for check in failures(pack, key)] == [("evidence", path)]


def test_a_signed_bag_of_another_kind_is_named(pack: Path, key: bytes):
    root = verify_integrity(pack).root_digest or ""
    (pack / layout.BAGIT).write_bytes(layout.BAGIT_TEXT.replace(b"1.0", b"0.97"))
    resign(pack, root, SIGNER)
    write_tag_manifest(pack)

    assert [(check.name, check.path) for check in failures(pack, key)] == [("bag", layout.BAGIT)]


@pytest.mark.parametrize("path", [layout.PUBLIC_KEY, REVIEWED[1]])
def test_a_key_in_another_spelling_is_named(pack: Path, path: str, key: bytes):
    (pack / path).write_bytes(b"hello\n" + (pack / path).read_bytes())
    write_tag_manifest(pack)

    assert named(pack, key) == {path}


@pytest.mark.parametrize("path", [layout.STATEMENT, REVIEWED[0]])
def test_a_signature_in_another_spelling_is_named(pack: Path, path: str, key: bytes):
    """The last four bits of base64 before ``==`` carry nothing."""
    data = (pack / path).read_bytes()
    place = data.index(b'=="}') - 1
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(data[place]) + 1]
    (pack / path).write_bytes(data[:place] + bytes([other]) + data[place + 1 :])
    write_tag_manifest(pack)

    assert path in named(pack, key)


def test_an_approval_of_another_version_is_named(pack: Path, key: bytes):
    with read_pack(pack) as opened:
        root, digests = opened.statement.predicate.root_digest, opened.folder.digests
    statement = make_statement(
        {name: digests[name] for name in (*layout.SIGNED_TAG_FILES, layout.STATEMENT)},
        pack_id="demo-2.0.0", version="2.0.0", root_digest=root, parent_digest=None,
        signer=REVIEWER, signed_at=MOMENT,
    )  # fmt: skip
    path = REVIEWED[0]
    (pack / path).write_bytes(sign_statement(statement, REVIEWER))
    write_tag_manifest(pack)

    assert named(pack, key) == {path}


def test_an_approval_moved_from_another_pack_is_named(pack: Path, tmp_path: Path, key: bytes):
    other = build_example(
        tmp_path / "other", documents=DOCUMENTS | {"report.html": b"another report"}
    )
    approve_pack(other, signer=REVIEWER, signed_at=MOMENT)
    path = REVIEWED[0]
    (pack / path).write_bytes((other / path).read_bytes())
    write_tag_manifest(pack)

    assert "approval" in {check.name for check in failures(pack, key)}


def test_an_approval_filed_under_another_role_is_named(pack: Path, key: bytes):
    moved = layout.approval_paths("release", REVIEWER.key_id)
    for old, new in zip(REVIEWED, moved, strict=True):
        (pack / old).rename(pack / new)
    write_tag_manifest(pack)

    assert named(pack, key) == {moved[0]}


def test_a_second_role_signs_and_the_same_role_cannot(pack: Path, key: bytes):
    release = Signer(STRANGER.key, name="C. Person", role="release")

    approve_pack(pack, signer=release, signed_at=MOMENT)

    assert verify_integrity(pack, trust=Trust(issuer=key)).ok
    with pytest.raises(PackError, match="has signed already as 'release'"):
        approve_pack(pack, signer=release, signed_at=MOMENT)


def test_an_approval_that_was_killed_can_be_done_again(pack: Path, key: bytes):
    release = Signer(STRANGER.key, role="release")
    (pack / layout.approval_paths("release", STRANGER.key_id)[1]).write_bytes(b"half a k")

    approve_pack(pack, signer=release, signed_at=MOMENT)

    assert verify_integrity(pack, trust=Trust(issuer=key)).ok


def test_nobody_signs_a_damaged_pack(pack: Path):
    (pack / "data/report.html").write_bytes(b"other")
    before = all_bytes(pack)

    with pytest.raises(VerificationError, match=r"data/report\.html"):
        approve_pack(pack, signer=Signer(STRANGER.key, role="release"), signed_at=MOMENT)

    assert all_bytes(pack) == before


@pytest.mark.parametrize("role", ["", "A b", "../../x", "reviewer/x", "x.pem"])
def test_an_odd_role_is_refused(pack: Path, role: str):
    with pytest.raises(PackError, match="is not a role"):
        approve_pack(pack, signer=Signer(STRANGER.key, role=role), signed_at=MOMENT)


def test_what_is_no_time_stamp_is_named(pack: Path, key: bytes):
    (pack / layout.TIME_STAMP).write_bytes(b"token")
    write_tag_manifest(pack)

    assert named(pack, key) == {layout.TIME_STAMP}


def test_a_changed_time_stamp_is_named(pack: Path, key: bytes):
    (pack / layout.TIME_STAMP).write_bytes(b"token")
    write_tag_manifest(pack)
    (pack / layout.TIME_STAMP).write_bytes(b"taken")

    assert named(pack, key) == {layout.TIME_STAMP}


def test_no_pack_is_an_error_of_its_own(tmp_path: Path, built: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")

    for name in ("nowhere", "empty", "text", "pipe", "loop"):
        with pytest.raises(PackError) as caught:
            check_integrity(tmp_path / name)
        assert not isinstance(caught.value, VerificationError)


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN PUBLIC KEY-----\n"])
def test_a_key_that_is_none_is_an_error_of_its_own(built: Path, pem: bytes):
    with pytest.raises(PackError, match="the given key: not a public key"):
        check_integrity(built, trust=Trust(issuer=pem))


def test_a_pack_found_through_a_link_or_another_name_is_the_same(
    built: Path, tmp_path: Path, key: bytes
):
    (tmp_path / "latest").symlink_to(built)

    assert verify_integrity(tmp_path / "latest", trust=Trust(issuer=key)).ok


@pytest.mark.parametrize("called", ["demo-2.0.0", "demo-1.0.1-public", "other-1.0.0"])
def test_a_folder_called_like_another_pack_is_noticed(pack: Path, key: bytes, called: str):
    renamed = pack.rename(pack.with_name(called))

    found = [check.line for check in failures(renamed, key)]

    assert found == [f"failed: it is called {called}, and it is demo-1.0.0"]


@pytest.mark.parametrize("called", ["demo-1.0.0-public", "copy", "demo-1.0.0 (1)", "v2.0.0"])
def test_a_folder_may_be_called_anything_else(pack: Path, key: bytes, called: str):
    assert not failures(pack.rename(pack.with_name(called)), key)
