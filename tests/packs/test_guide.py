"""The lines of HOW-TO-VERIFY.md, run by a shell as they stand there."""

import re
import subprocess
from pathlib import Path

import pytest

from compliance.packs import layout
from compliance.packs.build import write_tag_manifest
from compliance.resources import data_file
from tests.packs.example import SIGNER, STRANGER


def blocks() -> list[str]:
    """Indented lines of the page, block by block, without the first, which a reader adapts."""
    text = data_file("evidence/HOW-TO-VERIFY.md").read_text(encoding="utf-8")
    found = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found][1:]


def follow(pack: Path, folder: Path, key: bytes) -> tuple[bool, str]:
    """Run all blocks in one shell. Whether each block ended well, and what was printed."""
    (folder / "issuer.pem").write_bytes(key)
    script = "".join(f"{{\n{block}}} || bad=1\n" for block in blocks())
    done = subprocess.run(
        ["sh", "-c", f"bad=0\n{script}exit $bad"],
        cwd=pack,
        env={"PATH": "/usr/bin:/bin", "KEY": str(folder / "issuer.pem"), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode == 0, done.stdout


def test_a_pack_that_is_whole_passes(built: Path, tmp_path: Path):
    ok, printed = follow(built, tmp_path, SIGNER.public_pem)

    assert ok
    assert _all_said(printed)
    assert SIGNER.key_id.removeprefix("sha256:") in printed
    root = layout.parse_info((built / layout.BAG_INFO).read_bytes())["Root-Digest"]
    assert printed.count(root) == 3
    assert '"signed_by":"A. Person' in printed


def test_the_page_uses_openssl_and_sha256sum_alone():
    commands = set(re.findall(r"(?:^|[|;&(]\s*|\$\()\s*([a-z0-9]+)\b", "\n".join(blocks()), re.M))

    allowed = {
        "openssl", "sha256sum", "sed", "cut", "sort", "find", "cmp", "test", "echo", "printf",
        "wc", "tr", "cat", "grep", "for", "do", "done",
    }  # fmt: skip
    assert commands <= allowed


@pytest.mark.parametrize(
    "path",
    [
        "data/report.html", "data/checkpoint", layout.MANIFEST, layout.BAG_INFO, layout.BAGIT,
        layout.STATEMENT, layout.MANIFEST_SIGNATURE,
    ],
)  # fmt: skip
def test_a_changed_file_is_noticed(pack: Path, tmp_path: Path, path: str):
    data = (pack / path).read_bytes()
    half = len(data) // 2
    (pack / path).write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])

    _, printed = follow(pack, tmp_path, SIGNER.public_pem)

    assert not _all_said(printed)


@pytest.mark.parametrize("kind", ["added", "linked", "other key"])
def test_other_damage_is_noticed(pack: Path, tmp_path: Path, kind: str):
    if kind == "added":
        (pack / "data/new").write_bytes(b"")
    if kind == "linked":
        (pack / "data/link").symlink_to("/etc/passwd")
    write_tag_manifest(pack)
    key = STRANGER.public_pem if kind == "other key" else SIGNER.public_pem

    _, printed = follow(pack, tmp_path, key)

    assert not _all_said(printed)


def _all_said(printed: str) -> bool:
    """Whether the page's good words were all printed, which is what a reader looks for."""
    words = ("all files are unchanged", "no file was added", "there are no links")
    signed = printed.count("Signature Verified Successfully") == 2
    return signed and printed.count("is signed") == 3 and all(word in printed for word in words)
