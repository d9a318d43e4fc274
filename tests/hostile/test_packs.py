"""Packs from strangers: ZIPs that lie, folders with odd files, and JSON without end."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from benchmarks.readers import reader
from compliance.packs.integrity import verify_integrity
from compliance.records.verification import Outcome as Verdict
from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Entries of a valid pack's ZIP."""
    path = reader("pack, ZIP").make(tmp_path_factory.mktemp("pack"))
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(entries: dict[str, bytes], *more: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*entries.items(), *more):
            archive.writestr(name, data)
    return out.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def named(tmp_path: Path, data: bytes) -> str:
    """What verify says of a ZIP; nothing of it may have been unpacked beside it."""
    path = tmp_path / "pack.zip"
    path.write_bytes(data)
    before = set(tmp_path.rglob("*"))

    found = verify_integrity(path)

    assert set(tmp_path.rglob("*")) == before
    return "\n".join(check.line for check in found.checks if check.status is Verdict.FAILED)


ROOT = "demo-1.0.0/"
SLIPS = (
    "../canary", ROOT + "../../canary", "/tmp/canary", ROOT + "a/../../../canary",
    "..\\canary", "C:\\canary", ROOT + "data/..", "\\\\host\\canary",
)  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, good: dict[str, bytes], name: str):
    said = named(tmp_path, zipped(good, (name, b"canary")))

    assert "outside the pack" in said or "not a name" in said


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        (ROOT + "data/link", stat.S_IFLNK | 0o777, "a symbolic link"),
        (ROOT + "data/pipe", stat.S_IFIFO | 0o644, "neither a file nor a folder"),
        (ROOT + "data/disk", stat.S_IFBLK | 0o644, "neither a file nor a folder"),
        (ROOT + "data/EVIDENCE.json", stat.S_IFREG | 0o644, "differs from it in case only"),
        (ROOT + "data/evidence.json/x", stat.S_IFREG | 0o644, "differs from it in case only"),
        (ROOT + "data/e\u0301.txt", stat.S_IFREG | 0o644, "not a name"),
        (ROOT + "data/\u0435vidence.json", stat.S_IFREG | 0o644, "not a name"),
        (ROOT + "data/\u202etxt.exe", stat.S_IFREG | 0o644, "not a name"),
        (ROOT + "data/a\x1b[31m", stat.S_IFREG | 0o644, "not a name"),
        (ROOT + "data/=cmd", stat.S_IFREG | 0o644, "not a name"),
        (ROOT + "data/-rf", stat.S_IFREG | 0o644, "not a name"),
    ],
)
def test_an_odd_entry_is_named(
    tmp_path: Path, good: dict[str, bytes], name: str, mode: int, message: str
):
    said = named(tmp_path, zipped(good, (entry(name, mode), b"/etc/passwd")))

    assert message in said
    assert "\x1b" not in said and "\u202e" not in said


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path, good: dict[str, bytes]):
    name = next(iter(good))

    assert "more than once" in named(tmp_path, zipped(good, (name, b"x")))


def test_a_bomb_is_named_and_not_unpacked(attack: Attack, good: dict[str, bytes]):
    outcome = attack("pack, ZIP", zipped(good, (ROOT + "data/zeros", bytes(300 * MIB))))

    assert outcome.error == "VerificationError" and "ZIP bomb" in outcome.message


def test_a_bomb_that_lies_about_its_size_is_cut(attack: Attack, good: dict[str, bytes]):
    data = bytearray(zipped(good, (ROOT + "data/zeros", bytes(300 * MIB))))
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1000)

    assert "data/zeros" in attack("pack, ZIP", bytes(data)).message


def test_two_entries_in_one_place_are_refused(tmp_path: Path, good: dict[str, bytes]):
    data = bytearray(zipped(good))
    first, last = data.find(b"PK\x01\x02"), data.rfind(b"PK\x01\x02")
    data[last + 42 : last + 46] = data[first + 42 : first + 46]

    assert "overlaps the next entry" in named(tmp_path, bytes(data))


def test_a_directory_of_a_million_entries_is_never_read(attack: Attack, good: dict[str, bytes]):
    data = zipped(good)
    end = data.rfind(b"PK\x05\x06")
    start = data.find(b"PK\x01\x02")
    size = 46 + 1
    small = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    directory = data[start:end] + small * ((31 * MIB) // size)
    tail = bytearray(data[end:])
    tail[12:16] = struct.pack("<I", len(directory))

    outcome = attack("pack, ZIP", data[:start] + directory + bytes(tail), memory=100 * MIB)

    assert "entries; at most 100000 are read" in outcome.message


@pytest.mark.parametrize("spoil", ["appended", "cut", "not one"])
def test_what_does_not_end_as_a_zip_is_refused(tmp_path, good, spoil):
    data = zipped(good)
    spoilt = {"appended": data + b"x", "cut": data[:-30], "not one": b"PK\x03\x04" + bytes(100)}

    assert "does not end as a ZIP" in named(tmp_path, spoilt[spoil])


@pytest.mark.parametrize(
    ("kind", "message"),
    [("link", "a symbolic link"), ("pipe", "neither a file nor a folder"),
     ("deep", "folders deep"), ("not UTF-8", "not a name"), ("folder link", "a symbolic link")],
)  # fmt: skip
def test_a_folder_with_an_odd_file_is_refused(tmp_path: Path, kind: str, message: str):
    evidence = reader("pack, evidence").make(tmp_path / "pack")
    data = evidence.parent
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "canary").write_bytes(b"canary")
    match kind:
        case "link":
            (data / "x").symlink_to(secret / "canary")
        case "folder link":
            (data / "x").symlink_to(secret)
        case "pipe":
            os.mkfifo(data / "x")
        case "deep":
            (data / "/".join("d" * 20)).mkdir(parents=True)
        case "not UTF-8":
            (Path(os.fsdecode(os.fsencode(data) + b"/\xff"))).write_bytes(b"x")

    found = verify_integrity(data.parent)

    assert any(message in check.line for check in found.checks if check.status is Verdict.FAILED)
    assert all("canary" not in check.line for check in found.checks)


JSON = {
    "deep": b"[" * 1_000_000,
    "millions of lists": b"[" + b"[]," * 2_000_000 + b"1]",
    "100,000 digits": b"9" * 100_000,
    "beyond all numbers": b"[1e400]",
    "NaN": b"[NaN]",
    "a key twice among many": b"{" + b",".join(b'"%d":1' % (i % 299_999) for i in range(300_000))
    + b"}",
    "half a character": b'["\\ud800"]',
    "a float for a whole number": b'{"a":1.0}',
    "spaces": b'{ "a": 1}',
    "another encoding": '["é"]'.encode("latin-1"),
}  # fmt: skip


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("name", ["evidence.json", "pack items.jsonl", "trail.jsonl", "envelope"])
def test_json_of_a_pack_is_bounded(attack: Attack, name: str, text: str):
    end = b"\n" if name.endswith("jsonl") else b""

    assert attack(name, JSON[text] + end, memory=200 * MIB, seconds=10).error is not None


@pytest.mark.parametrize("name", ["pack items.jsonl", "trail.jsonl"])
def test_millions_of_empty_lines_take_no_memory(attack: Attack, name: str):
    assert attack(name, b"\n" * (100 * MIB), memory=250 * MIB).error is not None


@pytest.mark.parametrize(
    "pem",
    [
        b"", b"-----BEGIN PUBLIC KEY-----\n", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC "
        b"KEY-----\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\0" * 100_000,
        b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 10_000_000,
    ],
    ids=["nothing", "cut", "no key", "private", "certificate", "zeros", "endless"],
)  # fmt: skip
def test_what_is_no_key_is_refused(attack: Attack, pem: bytes):
    assert attack("public key", pem).error in ("PackError", "ValueError")


@pytest.mark.parametrize(
    "note",
    [b"", b"\n\n", "x\n1\nAAAA\n\n— x AAAA\n".encode(), b"\xff" * 1000,
     "x\n{}\nAAAA\n\n— x AAAA\n".format("9" * 5000).encode(), b"\n" * 10_000_000],
    ids=["nothing", "empty", "short", "not UTF-8", "endless size", "lines"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(attack: Attack, note: bytes):
    assert attack("checkpoint", note, memory=200 * MIB).error == "TrailError"
