"""The lines of HOW-TO-VERIFY.md, run by a shell as they stand there, for keys of both kinds."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compliance.keys import Signer
from compliance.packs import approve_pack, build_pack, layout
from compliance.packs.build import write_tag_manifest
from compliance.packs.pades import sign_pdf
from compliance.packs.times import stamp, stamp_trail
from compliance.resources import data_file
from compliance.trail import append, read
from tests.packs.example import (
    MOMENT,
    P256_REVIEWER,
    P256_SIGNER,
    REVIEWER,
    SIGNER,
    STRANGER,
    build_example,
    example_contents,
    example_evidence,
    write_trail,
)
from tests.packs.tsa import Authority, serving
from tests.small_pdf import small_pdf

KINDS = {"ed25519": (SIGNER, P256_REVIEWER), "p256": (P256_SIGNER, REVIEWER)}
"""By the kind of the issuer's key: the issuer, and a reviewer with a key of the other kind."""

needs_pdfsig = pytest.mark.skipif(shutil.which("pdfsig") is None, reason="needs pdfsig")


def blocks() -> list[str]:
    """Indented lines of the page, block by block, without those that a reader adapts."""
    text = data_file("evidence/HOW-TO-VERIFY.md").read_text(encoding="utf-8")
    found = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    plain = [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]
    return [block for block in plain if not block.startswith("export ")]


def follow(pack: Path, folder: Path, key: bytes, authority: bytes = b"") -> list[tuple[bool, str]]:
    """Run all blocks in one shell. Of each: whether it ended well, and what it printed."""
    (folder / "issuer.pem").write_bytes(key)
    (folder / "authority.pem").write_bytes(authority)
    (folder / "t").mkdir(exist_ok=True)
    mark = "=== end of block"
    script = "".join(f"{{\n{block}}}\necho '{mark}' $?\n" for block in blocks())
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=pack,
        env={
            "PATH": "/usr/bin:/bin",
            "KEY": str(folder / "issuer.pem"),
            "AUTHORITY": str(folder / "authority.pem"),
            "TMPDIR": str(folder / "t"),
        },
        capture_output=True,
        text=True,
        errors="replace",
    )
    parts = re.split(rf"{mark} (\d+)\n", done.stdout)
    return [(status == "0", text) for text, status in zip(parts[::2], parts[1::2], strict=False)]


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, str]]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with serving(authority) as url:
        yield authority, url


@pytest.fixture(scope="module", params=KINDS)
def everything(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock
) -> tuple[Path, Signer]:
    """A pack with signed PDFs, time stamps and a reviewer, and its issuer."""
    (issuer, reviewer), (_, url) = KINDS[request.param], clock
    folder = tmp_path_factory.mktemp(request.param)
    evidence = example_evidence()
    trail = write_trail(folder / "trail.jsonl", evidence)
    append(trail, "time-stamped", stamp_trail(read(trail), url), at=MOMENT, actor="test")
    pdf = sign_pdf(small_pdf(), issuer, when=MOMENT)
    documents = {"report.html": b"<!doctype html>", "report.pdf": pdf, "report-brief.pdf": pdf}
    contents = example_contents(folder, evidence=evidence, trail=trail, documents=documents)
    pack = build_pack(
        folder / "packs", contents, signer=issuer, built_at=MOMENT,
        stamp=lambda data: stamp(data, url),
    )  # fmt: skip
    approve_pack(pack, signer=reviewer, signed_at=MOMENT)
    return pack, issuer


@needs_pdfsig
def test_a_pack_that_is_whole_passes(everything: tuple[Path, Signer], tmp_path: Path, clock):
    pack, issuer = everything

    ran = follow(pack, tmp_path, issuer.public_pem, clock[0].root_pem)

    assert len(ran) == len(blocks())
    for block, (ok, text) in zip(blocks(), ran, strict=True):
        assert ok, f"{block}\n{text}"
    printed = "".join(text for _, text in ran)
    for words in (*signed_words(issuer), *plain_words(), *outside_words()):
        assert words in printed, words
    assert printed.count("Signature Verified Successfully") == 4
    assert printed.count("is signed\n") == 3 + 4
    assert printed.count("is signed by the issuer") == 2
    root = layout.parse_info((pack / layout.BAG_INFO).read_bytes())["Root-Digest"]
    assert printed.count(root) == 3


def plain_words() -> tuple[str, ...]:
    return (
        "all files are unchanged", "no file was added", "there are no links",
        "it is the head of as many lines as the trail has", "this is no copy",
    )  # fmt: skip


def signed_words(issuer: Signer) -> tuple[str, ...]:
    cms = (
        ("CAdES Verification successful", "the certificate is of the issuer's key")
        if issuer is P256_SIGNER
        else ("there is no CMS signature",)
    )
    return (issuer.key_id.removeprefix("sha256:"), '"signed_by":"A. Person', *cms)


def outside_words() -> tuple[str, ...]:
    return (
        '"role":"reviewer"', '"signed_by":"B. Person"', "Verification: OK", "the chain is whole",
        "lines 1 to 7 were there by", "Signature is Valid",
    )  # fmt: skip


def test_a_pack_without_stamps_and_reviewers_passes(tmp_path: Path):
    pack = build_example(tmp_path, signer=P256_SIGNER, documents={"report.html": b"<html>"})

    ran = follow(pack, tmp_path, P256_SIGNER.public_pem)

    assert all(ok and text for ok, text in ran), ran
    printed = "".join(text for _, text in ran)
    assert all(words in printed for words in (*signed_words(P256_SIGNER), *plain_words()))
    for words in (
        "nobody else signed", "there is no PDF", "the statement has no time stamp",
        "the trail has no time stamps",
    ):  # fmt: skip
        assert words in printed, words


def test_the_page_uses_openssl_and_sha256sum_alone():
    text = "\n".join(blocks())
    text = re.sub(r"'[^']*'|2>&1", "", text)
    commands = set(
        re.findall(r"(?:^|[|;&({]\s*|\$\(|\bthen |\bdo |\belse )\s*([a-z0-9]+)\b", text, re.M)
    )

    shell = {"for", "do", "done", "if", "then", "else", "fi", "while", "continue", "test", "echo"}
    ours = {"opened", "named"}
    tools = {
        "openssl", "sha256sum", "pdfsig", "sed", "cut", "sort", "find", "cmp", "printf", "wc", "tr",
        "cat", "grep", "head", "tail", "cp", "cd",
    }  # fmt: skip
    assert commands <= shell | ours | tools, commands - shell - ours - tools


def flip(pack: Path, path: str) -> None:
    data = (pack / path).read_bytes()
    place = len(data) // 8  # the end of a PDF has room that no signature needs
    (pack / path).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def broken(pack: Path, folder: Path, issuer: Signer, authority: bytes) -> set[str]:
    """The good words that were not printed, as a reader would look for them."""
    printed = "".join(text for _, text in follow(pack, folder, issuer.public_pem, authority))
    words = {*signed_words(issuer), *plain_words(), *outside_words()}
    missing = {each for each in words if each not in printed}
    for each, times in (
        ("Signature Verified Successfully", 4), ("is signed\n", 7), ("is signed by the issuer", 2),
    ):  # fmt: skip
        if printed.count(each) != times:
            missing.add(each)
    return missing


CHANGES: dict[str, str] = {
    "data/report.html": "all files are unchanged",
    layout.MANIFEST: "Signature Verified Successfully",
    layout.MANIFEST_SIGNATURE: "Signature Verified Successfully",
    layout.BAG_INFO: "is signed\n",
    layout.BAGIT: "is signed\n",
    layout.STATEMENT: "Signature Verified Successfully",
    layout.CHECKPOINT: "all files are unchanged",
    layout.TRAIL: "the chain is whole",
    layout.TIME_STAMP: "Verification: OK",
    "data/report.pdf": "is signed by the issuer",
    "attestations/approvals": "Signature Verified Successfully",
    layout.MANIFEST_CMS: "CAdES Verification successful",
}
"""By the file that is changed: what is not said any more."""


@needs_pdfsig
@pytest.mark.parametrize("path", CHANGES)
def test_a_changed_file_is_noticed(
    everything: tuple[Path, Signer], tmp_path: Path, clock, path: str
):
    whole, issuer = everything
    if path == layout.MANIFEST_CMS and issuer is SIGNER:
        pytest.skip("ed25519 has no CMS signature")
    pack = Path(shutil.copytree(whole, tmp_path / "pack"))
    approval = next((pack / "attestations/approvals").glob("*.dsse.json"))
    flip(pack, approval.relative_to(pack).as_posix() if path.endswith("approvals") else path)

    assert CHANGES[path] in broken(pack, tmp_path, issuer, clock[0].root_pem)


@needs_pdfsig
@pytest.mark.parametrize(
    ("damage", "unsaid"),
    [
        (lambda pack: (pack / "data/new").write_bytes(b""), "no file was added"),
        (lambda pack: (pack / "data/link").symlink_to("/etc/passwd"), "there are no links"),
        (
            lambda pack: (pack / layout.TRAIL).write_bytes(
                (pack / layout.TRAIL).read_bytes() + b"{}\n"
            ),
            "it is the head of as many lines as the trail has",
        ),
        (
            lambda pack: (pack / layout.CHECKPOINT).write_text(
                (pack / layout.CHECKPOINT).read_text().replace("\n", "s\n", 1)
            ),
            "Signature Verified Successfully",
        ),
    ],
    ids=["added", "linked", "longer", "other head"],
)
def test_other_damage_is_noticed(
    everything: tuple[Path, Signer], tmp_path: Path, clock,
    damage: Callable[[Path], object], unsaid: str,
):  # fmt: skip
    whole, issuer = everything
    pack = Path(shutil.copytree(whole, tmp_path / "pack"))
    damage(pack)
    write_tag_manifest(pack)

    assert unsaid in broken(pack, tmp_path, issuer, clock[0].root_pem)


@needs_pdfsig
def test_a_strangers_key_fits_nothing(everything: tuple[Path, Signer], tmp_path: Path, clock):
    pack, issuer = everything

    printed = "".join(
        text for _, text in follow(pack, tmp_path, STRANGER.public_pem, clock[0].root_pem)
    )

    assert issuer.key_id.removeprefix("sha256:") not in printed
    assert printed.count("Signature Verified Successfully") == 1  # the reviewer's own
    assert "the certificate is of the issuer's key" not in printed
    assert "is signed by the issuer" not in printed
