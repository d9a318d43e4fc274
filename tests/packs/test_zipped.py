"""A ZIP is unpacked with care or not at all."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.errors import PackError, VerificationError
from compliance.packs import check_integrity, layout, read_pack, zip_pack, zipped
from compliance.packs.integrity import verify_integrity
from compliance.packs.trust import Trust
from compliance.records.verification import Check, Outcome
from tests.packs.example import all_bytes

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # made on purpose

TOP = "demo-1.0.0/"


@pytest.fixture
def archive(built: Path, tmp_path: Path) -> Path:
    return zip_pack(built, tmp_path / "pack.zip")


def failures(path: Path) -> list[Check]:
    return [check for check in check_integrity(path) if check.status is Outcome.FAILED]


def add(archive: Path, name: str, data: bytes = b"x", *, mode: int = stat.S_IFREG | 0o644) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(info, data)


def test_a_zip_verifies_as_the_folder_does(archive: Path, built: Path, key: bytes):
    ours, theirs = (
        verify_integrity(archive, trust=Trust(issuer=key)),
        verify_integrity(built, trust=Trust(issuer=key)),
    )

    assert ours.ok
    assert ours.checks == theirs.checks
    assert ours.root_digest == theirs.root_digest


def test_a_zip_is_stored_sorted_and_without_times(archive: Path, built: Path):
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()

    assert [entry.filename for entry in entries] == [
        TOP + path for path in sorted(all_bytes(built))
    ]
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_a_zip_made_by_others_verifies_too(built: Path, tmp_path: Path, key: bytes):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(built.rglob("*")):
            opened.write(file, f"My pack (1)/{file.relative_to(built)}")

    assert verify_integrity(path, trust=Trust(issuer=key)).ok


def test_a_zip_without_a_top_folder_verifies_too(built: Path, tmp_path: Path, key: bytes):
    path = tmp_path / "flat.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in all_bytes(built).items():
            opened.writestr(name, data)

    assert verify_integrity(path, trust=Trust(issuer=key)).ok


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (TOP + "data/../../outside", "outside the pack"),
        ("../outside", "outside the pack"),
        ("/etc/outside", "outside the pack"),
        ("C:/outside", "outside the pack"),
        (TOP + "data\\..\\..\\outside", "outside the pack"),
        ("\\\\server\\outside", "outside the pack"),
        ("__MACOSX/._report", "lies outside the pack"),
        (TOP + "data/report.html", "more than once"),
        (TOP + "data/REPORT.html", "in case only"),
        (TOP + "DATA/law/x.yaml", "in case only"),
        (TOP + "data/report.html/x", "in case only"),
        (TOP + "data/a\x1bb", "not a name"),
        (TOP + "data/\u202egnp.exe", "not a name"),
        (TOP + "data/./x", "not a name"),
        (TOP + "data//x", "not a name"),
    ],
)
def test_an_odd_name_is_refused_and_named(archive: Path, tmp_path: Path, name: str, message: str):
    add(archive, name)

    problems = failures(archive)

    assert problems
    assert {check.name for check in problems} == {"container"}
    assert any(message in check.message for check in problems), problems
    assert not list(tmp_path.rglob("outside"))
    with pytest.raises(VerificationError, match="failed: "), read_pack(archive):
        pass


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(archive: Path, kind: int):
    add(archive, TOP + "data/link", b"/etc/passwd", mode=kind | 0o777)

    assert [check.path for check in failures(archive)] == ["data/link"]


def test_a_bomb_is_refused_before_it_is_unpacked(archive: Path, monkeypatch):
    monkeypatch.setattr(zipped, "_extract", lambda *_: pytest.fail("it was unpacked"))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(TOP + "data/bomb", bytes(20_000_000))

    problems = failures(archive)

    assert [(check.path, "bomb" in check.message) for check in problems] == [("data/bomb", True)]


def test_too_many_bytes_in_all_are_refused(archive: Path, monkeypatch):
    monkeypatch.setattr(zipped, "MAX_TOTAL", 1000)

    assert "unpacks to" in failures(archive)[0].message


def test_too_many_entries_are_refused(archive: Path, monkeypatch):
    monkeypatch.setattr(zipped, "MAX_ENTRIES", 10)

    assert "entries" in failures(archive)[0].message


def test_entries_that_share_bytes_are_refused(built: Path, tmp_path: Path):
    """The quine-like bomb: many names, one body."""
    path = zip_pack(built, tmp_path / "pack.zip")
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    second = data.index(b"PK\x01\x02", start + 4)
    struct.pack_into("<I", data, second + 42, 0)  # the second entry's body is the first one's
    path.write_bytes(data)

    assert any("overlaps" in check.message for check in failures(path))


def _deceive(data: bytes) -> bytes:
    """Another name in the local header than in the directory."""
    return data.replace(b"data/report.html", b"data/report.htmm", 1)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[:-10],
    "half": lambda data: data[: len(data) // 2],
    "appended": lambda data: data + b"x",
    "a comment": lambda data: data[:-2] + b"\x01\x00x",
    "a changed byte": lambda data: data.replace(b"<!doctype", b"<!doctypf"),
    "two names": _deceive,
    "a directory that is elsewhere": lambda data: data[:-6] + b"\xff\xff\xff\x00" + data[-2:],
    "a large directory": lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_zip_is_damaged_and_no_traceback(archive: Path, kind: str):
    data = archive.read_bytes()
    archive.write_bytes(DAMAGE[kind](data))
    assert archive.read_bytes() != data

    assert failures(archive)


def test_any_byte_of_a_header_may_change_without_a_traceback(archive: Path, key: bytes):
    data = archive.read_bytes()
    directory = struct.unpack_from("<I", data, len(data) - 6)[0]

    for place in [*range(0, 40), *range(directory, directory + 50), *range(-22, 0)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        archive.write_bytes(damaged)
        try:
            verify_integrity(archive, trust=Trust(issuer=key))
        except PackError:
            continue


def test_an_encrypted_entry_is_refused(archive: Path):
    data = bytearray(archive.read_bytes())
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    data[start + 8] |= 1
    archive.write_bytes(data)

    assert [check.message for check in failures(archive)] == ["encrypted"]


def test_an_entry_in_another_compression_is_refused(built: Path, tmp_path: Path):
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr(TOP + layout.BAGIT, layout.BAGIT_TEXT)

    assert "stored or deflated" in failures(path)[0].message


def test_a_zip_of_something_else_is_no_pack(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("hello.txt", "hello")
    (tmp_path / "other.zip").write_bytes(buffer.getvalue())

    with pytest.raises(PackError, match="no pack in this ZIP") as caught:
        check_integrity(tmp_path / "other.zip")

    assert not isinstance(caught.value, VerificationError)


def test_a_folder_with_a_link_is_not_zipped(pack: Path, tmp_path: Path):
    (pack / "data/link").symlink_to("/etc/passwd")

    with pytest.raises(PackError, match="symbolic link"):
        zip_pack(pack, tmp_path / "pack.zip")

    assert not (tmp_path / "pack.zip").exists()
