"""Time stamps: asked for over HTTP, checked without it, by us and by openssl."""

import base64
import contextlib
import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compliance.errors import PackError, StorageError, TimeStampError
from compliance.packs import authority as asking
from compliance.packs import build_pack, check_integrity, layout
from compliance.packs.build import write_tag_manifest
from compliance.packs.checks.times import _roots
from compliance.packs.times import (
    check_stamp,
    head_facts,
    head_text,
    is_stamped,
    read_stamp,
    stamp,
    stamp_trail,
)
from compliance.packs.trust import Trust
from compliance.records.base import canonical_bytes
from compliance.records.verification import Check, Outcome
from compliance.trail import append, lines, merkle_root, read
from tests.packs.example import (
    MOMENT,
    SIGNER,
    build_example,
    example_contents,
    example_evidence,
    write_trail,
)
from tests.packs.tsa import DAY, Authority, serving

DATA = b"what is to have existed"
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), name="Strange Time")


@pytest.fixture(scope="module")
def url(known: Authority) -> Iterator[str]:
    with serving(known) as address:
        yield address


@pytest.fixture(scope="module")
def reply(url: str) -> bytes:
    return stamp(DATA, url)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0))


def served(folder: Path, data: bytes = DATA, **settings: object) -> bytes:
    with serving(Authority(folder, **settings)) as address:
        return stamp(data, address)


# One stamp


def test_a_stamp_says_when_and_who(known: Authority, reply: bytes):
    found = check_stamp(reply, DATA, known.root_pem)

    assert found.authority == "Test Time"
    assert abs(found.moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_openssl_agrees(known: Authority, reply: bytes, tmp_path: Path):
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "reply").write_bytes(reply)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "reply", "-CAfile"]

    good = subprocess.run([*command, known.folder / "root.pem"], cwd=tmp_path, capture_output=True)

    assert b"Verification: OK" in good.stdout


def test_other_data_are_refused(known: Authority, reply: bytes):
    with pytest.raises(ValueError, match="over something else"):
        check_stamp(reply, DATA + b".", known.root_pem)


def test_another_authority_is_refused(stranger: Authority, reply: bytes):
    with pytest.raises(ValueError, match="none of the given certificates vouches"):
        check_stamp(reply, DATA, stranger.root_pem)


def test_one_of_several_authorities_is_enough(known: Authority, stranger: Authority, reply: bytes):
    both = stranger.root_pem + known.root_pem

    assert check_stamp(reply, DATA, both).authority == "Test Time"


def test_a_changed_signature_is_refused(known: Authority, reply: bytes):
    changed = reply[:-4] + bytes([reply[-4] ^ 1]) + reply[-3:]

    with pytest.raises(ValueError, match="signature does not fit"):
        check_stamp(changed, DATA, known.root_pem)


def test_a_stamp_stays_good_when_its_certificate_has_run_out(tmp_path: Path):
    short = Authority(tmp_path, valid=(-DAY, 2 * SECOND))
    with serving(short) as address:
        reply = stamp(DATA, address)
    time.sleep(2.5)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "reply").write_bytes(reply)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "reply", "-CAfile", "root.pem"]
    moment = check_stamp(reply, DATA, short.root_pem).moment

    now = subprocess.run(command, cwd=tmp_path, capture_output=True)
    then = subprocess.run(
        [*command, "-attime", str(int(moment.timestamp()))], cwd=tmp_path, capture_output=True
    )

    assert b"Verification: OK" not in now.stdout  # so the certificate has run out
    assert b"Verification: OK" in then.stdout


@pytest.mark.parametrize("valid", [(-5 * DAY, -DAY), (DAY, 2 * DAY)])
def test_a_certificate_that_was_not_valid_at_the_moment_is_refused(tmp_path: Path, valid):
    authority = Authority(tmp_path, valid=valid)
    with serving(authority) as address:
        reply = stamp(DATA, address)

    with pytest.raises(ValueError, match="certificate .*, at the moment that it states"):
        check_stamp(reply, DATA, authority.root_pem)


def test_certificates_that_are_none_are_the_callers_mistake(reply: bytes):
    with pytest.raises(PackError, match="no certificates"):
        check_stamp(reply, DATA, b"-----BEGIN NOTHING-----")


@pytest.mark.parametrize(
    "data",
    [b"", b"0", b"<html>", bytes.fromhex("30053003020102"), b"\x30\x84\xff\xff\xff\xff",
     b"\x30\x80" * 20_000, bytes(1 << 17)],
)  # fmt: skip
def test_what_is_no_stamp_is_refused(known: Authority, data: bytes):
    with pytest.raises(ValueError):
        check_stamp(data, DATA, known.root_pem)


def test_every_cut_and_many_changes_end_in_an_answer(known: Authority, reply: bytes):
    for cut in range(0, len(reply), 3):
        with pytest.raises(ValueError):
            check_stamp(reply[:cut], DATA, known.root_pem)
    for place in range(0, len(reply), 2):
        changed = reply[:place] + bytes([reply[place] ^ 0x55]) + reply[place + 1 :]
        try:
            found = check_stamp(changed, DATA, known.root_pem)
        except ValueError:
            continue
        assert found == check_stamp(reply, DATA, known.root_pem)  # a byte that nobody signs


# Asking


def test_the_authority_sees_a_digest_alone(known: Authority, reply: bytes):
    assert all(DATA not in request for request in known.asked)
    assert any(hashlib.sha256(DATA).digest() in request for request in known.asked)


def test_two_stamps_are_asked_for_in_different_words(tmp_path: Path):
    authority = Authority(tmp_path)
    with serving(authority) as address:
        stamp(DATA, address)
        stamp(DATA, address)

    assert authority.asked[0] != authority.asked[1]


@pytest.mark.parametrize(
    ("settings", "said", "asked"),
    [
        ({"damage": lambda reply: reply[:100]}, "not a reply of", 1),
        ({"damage": lambda reply: bytes(1 << 20)}, "more than 65536 bytes", 1),
        ({"damage": lambda reply: b""}, "not a reply of", 1),
        ({"damage": lambda _: bytes.fromhex("30053003020102")}, "the authority refused", 1),
        ({"status": 500}, "HTTP 500", 3),
        ({"status": 404}, "HTTP 404", 1),
        ({"status": 301}, "it has moved", 1),
    ],
)
def test_an_authority_that_fails_is_said_to(tmp_path: Path, settings, said, asked):
    authority = Authority(tmp_path, **settings)

    with serving(authority) as address, pytest.raises(TimeStampError, match=said):
        stamp(DATA, address)

    assert len(authority.asked) == asked


def test_an_answer_to_an_earlier_request_is_refused(tmp_path: Path, reply: bytes):
    with pytest.raises(TimeStampError, match="answers another request"):
        served(tmp_path, damage=lambda _: reply)


def test_an_authority_that_is_not_there_is_said_to():
    with pytest.raises(TimeStampError, match="connection refused"):
        stamp(DATA, "http://127.0.0.1:9/")


def test_an_authority_that_is_slow_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asking, "MAX_SECONDS", 0.1)

    with pytest.raises(TimeStampError, match="no answer within"):
        served(tmp_path, delay=0.5)


def test_an_authority_that_sends_a_byte_now_and_then_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(asking, "MAX_SECONDS", 0.2)
    server = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                for byte in b"HTTP/1.0 200 OK\r\nX: " + b"x" * 8:
                    connection.send(bytes([byte]))
                    time.sleep(0.03)
                connection.close()

    threading.Thread(target=drip, daemon=True).start()

    with server, pytest.raises(TimeStampError, match="no answer within"):
        stamp(DATA, f"http://127.0.0.1:{server.getsockname()[1]}/")


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://tsa.example/", "tsa.example", "http://", "data:,x",
     "https://name:secret@tsa.example/", "http://tsa.example/ x", "http://tsa.example\n/"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(address: str):
    with pytest.raises(TimeStampError, match="is not the http or https address"):
        stamp(DATA, address)


# Stamps of a pack


def stamped_pack(folder: Path, url: str, **changes: object) -> Path:
    """A pack whose trail, statement have stamps; the trail's first is over plan and lock."""
    evidence = example_evidence()
    trail = write_trail(folder / "trail.jsonl", evidence, without=("assessed", "report-built"))
    append(trail, "time-stamped", stamp_trail(read(trail), url), at=MOMENT, actor="test")
    append(trail, "report-built", {"version": "1.0.0"}, at=MOMENT, actor="test")
    append(trail, "time-stamped", stamp_trail(read(trail), url), at=MOMENT, actor="test")
    contents = example_contents(folder, evidence=evidence, trail=trail, **changes)
    return build_pack(
        folder / "packs", contents, signer=SIGNER, built_at=MOMENT,
        stamp=lambda data: stamp(data, url),
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    return stamped_pack(tmp_path_factory.mktemp("finished"), url)


@pytest.fixture
def stamped(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "demo-1.0.0"))


def times(pack: Path, authorities: bytes | None) -> dict[str | None, Check]:
    """The checks of time stamps by the file that they are about."""
    trust = Trust(issuer=SIGNER.public_pem, authorities=authorities)
    found = check_integrity(pack, trust=trust)
    return {check.path: check for check in found if check.name == "time-stamp"}


def test_good_stamps_pass_with_moment_and_authority(stamped: Path, known: Authority):
    found = times(stamped, known.root_pem)

    assert {path: check.status for path, check in found.items()} == {
        layout.TIME_STAMP: Outcome.PASSED, layout.TRAIL: Outcome.PASSED,
    }  # fmt: skip
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"the statement was there on {today}" in found[layout.TIME_STAMP].message
    assert "says Test Time" in found[layout.TIME_STAMP].message
    said = found[layout.TRAIL].message
    assert said.startswith("2 time stamps in the trail, by Test Time: the plan (line 2) by")
    assert "the lock (line 4) by" in said


def test_without_an_authority_nothing_is_proved(stamped: Path):
    found = times(stamped, None)

    assert {check.status for check in found.values()} == {Outcome.NOT_CHECKED}
    assert all("anyone may have made" in check.message for check in found.values())


def test_a_strangers_stamp_fails(stamped: Path, stranger: Authority):
    found = times(stamped, stranger.root_pem)

    assert found[layout.TIME_STAMP].status is Outcome.FAILED
    assert found[layout.TRAIL].status is Outcome.FAILED
    assert "none of the given certificates vouches" in found[layout.TIME_STAMP].message


def test_a_pack_without_stamps_says_so(built: Path, known: Authority):
    found = times(built, known.root_pem)

    assert [check.line for check in found.values()] == [
        "not checked: the times are the signer's own: there is no time stamp in the pack"
    ]


@pytest.mark.parametrize("authorities", ["known", None])
def test_the_stamp_of_another_pack_is_refused(
    stamped: Path, tmp_path: Path, url: str, known: Authority, authorities: str | None
):
    other = build_example(tmp_path / "other", version="1.0.1")
    (stamped / layout.TIME_STAMP).write_bytes(stamp((other / layout.STATEMENT).read_bytes(), url))
    write_tag_manifest(stamped)

    found = times(stamped, known.root_pem if authorities else None)[layout.TIME_STAMP]

    assert found.status is Outcome.FAILED
    assert "over something else" in found.message


def test_a_changed_stamp_is_noticed_without_an_authority_too(stamped: Path):
    path = stamped / layout.TIME_STAMP
    path.write_bytes(path.read_bytes()[:-1] + b"\0")

    failed = [c for c in check_integrity(stamped) if c.status is Outcome.FAILED]

    assert [check.path for check in failed] == [layout.TIME_STAMP]


def test_a_statement_that_claims_to_be_later_than_its_stamp_fails(
    tmp_path: Path, url: str, known: Authority
):
    pack = build_pack(
        tmp_path / "packs", example_contents(tmp_path), signer=SIGNER,
        built_at=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    (pack / layout.TIME_STAMP).write_bytes(stamp((pack / layout.STATEMENT).read_bytes(), url))
    write_tag_manifest(pack)

    found = times(pack, known.root_pem)[layout.TIME_STAMP]

    assert found.status is Outcome.FAILED
    assert "claims to be signed later" in found.message


def test_a_refused_stamp_leaves_no_pack(tmp_path: Path):
    contents = example_contents(tmp_path)

    def refuse(_: bytes) -> bytes:
        raise TimeStampError("no")

    with pytest.raises(TimeStampError):
        build_pack(tmp_path / "p", contents, signer=SIGNER, built_at=MOMENT, stamp=refuse)

    assert list((tmp_path / "p").glob("*")) == []
    build_pack(tmp_path / "p", contents, signer=SIGNER, built_at=MOMENT)


# Stamps of the trail


def trail_failure(folder: Path, facts: dict, known: Authority, *, at: datetime = MOMENT) -> str:
    """What is said of a pack whose trail ends with these facts of a stamp."""
    evidence = example_evidence()
    trail = folder / "trail.jsonl"
    append(trail, "time-stamped", facts, at=MOMENT, actor="test")
    contents = example_contents(folder, evidence=evidence, trail=trail)
    with pytest.raises(PackError, match="would not verify") as caught:
        build_pack(folder / "packs", contents, signer=SIGNER, built_at=MOMENT)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 3}, "does not name the first 3 lines"),
        ({"size": 0}, "not over lines that come before"),
        ({"size": -1}, "not over lines that come before"),
        ({"size": 99}, "not over lines that come before"),
        ({"size": True}, "not over lines that come before"),
        ({"size": "7"}, "not over lines that come before"),
        ({"root": base64.b64encode(bytes(32)).decode()}, "does not name the first 7 lines"),
        ({"line": "sha256:" + "0" * 64}, "does not name the first 7 lines"),
        ({"more": 1}, "does not name the first 7 lines"),
        ({"token": None}, "does not name the first 7 lines"),
        ({"token": "!"}, "base64"),
        ({"token": "MAUwAwIBAg=="}, "refused"),
    ],
)
def test_a_stamp_that_is_not_of_this_trail_fails(
    tmp_path: Path, url: str, known: Authority, change: dict, said: str
):
    trail = write_trail(tmp_path / "trail.jsonl", example_evidence())
    facts = stamp_trail(read(trail), url) | change

    found = trail_failure(tmp_path, facts, known)

    assert said in found.lower() and layout.TRAIL in found


def test_a_stamp_before_what_it_covers_fails(tmp_path: Path, url: str, known: Authority):
    trail = write_trail(tmp_path / "trail.jsonl", example_evidence())
    later = datetime.now(UTC) + timedelta(hours=1)
    append(trail, "deviation", {"text": "x"}, at=later, actor="test")

    found = trail_failure(tmp_path, stamp_trail(read(trail), url), known)

    assert "line 8, which it covers, claims to be of" in found


def test_stamps_stand_in_order(tmp_path: Path, url: str, known: Authority, monkeypatch):
    from compliance.packs.checks import times as checks

    trail = write_trail(tmp_path / "trail.jsonl", example_evidence())
    append(trail, "time-stamped", stamp_trail(read(trail), url), at=MOMENT, actor="test")
    moments = iter([datetime.now(UTC), datetime.now(UTC) - timedelta(minutes=6)])
    real = checks.read_stamp
    monkeypatch.setattr(
        checks, "read_stamp",
        lambda *given: checks.Stamp(next(moments), real(*given).authority),
    )  # fmt: skip

    found = trail_failure(tmp_path, stamp_trail(read(trail), url), known)

    assert "before the stamp of an earlier line" in found


def test_what_is_stamped_can_be_made_anew_from_the_trail(tmp_path: Path, reply: bytes):
    entries = read(write_trail(tmp_path / "trail.jsonl", example_evidence()))
    rows = lines(entries).splitlines()

    text = head_text(head_facts(rows)).decode()

    root = base64.b64encode(merkle_root(rows)).decode()
    last = hashlib.sha256(rows[-1]).hexdigest()
    assert text == f"{len(rows)}\n{root}\nsha256:{last}\n"


def test_a_stamp_covers_all_lines_before_it(tmp_path: Path):
    trail = write_trail(tmp_path / "trail.jsonl", example_evidence())
    facts = head_facts([canonical_bytes(entry) for entry in read(trail)]) | {"token": ""}
    assert not is_stamped(read(trail), 1)

    append(trail, "time-stamped", facts, at=MOMENT, actor="test")

    assert is_stamped(read(trail), 7) and not is_stamped(read(trail), 8)


def test_roots_of_many_sizes_are_those_of_the_tree():
    leaves = [bytes([number]) * number for number in range(40)]

    found = _roots(leaves, set(range(1, 41)))

    assert found == {size: merkle_root(leaves[:size]) for size in range(1, 41)}


def test_a_full_disk_leaves_the_pack_as_it_was(stamped: Path, url: str, monkeypatch):
    from compliance.workflow import stamping

    def full(*_: object) -> None:
        raise StorageError("no space")

    before = (stamped / layout.TIME_STAMP).read_bytes()
    monkeypatch.setattr(stamping, "write_bytes", full)

    with pytest.raises(StorageError):
        stamping.stamp(stamped, authority=url)

    assert (stamped / layout.TIME_STAMP).read_bytes() == before


def test_a_reading_without_authorities_takes_anyones_word(stranger: Authority):
    with serving(stranger) as address:
        reply = stamp(DATA, address)

    assert read_stamp(reply, DATA).authority == "Strange Time"
