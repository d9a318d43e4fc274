"""Suites, features and READMEs from strangers."""

import gzip
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from compliance.errors import SuiteError
from compliance.suites.importing.images import take_picture
from compliance.suites.importing.rows import Unfit
from compliance.suites.load import load_suite
from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack, Examples


@pytest.mark.parametrize("name", ["suite.yaml", "items.jsonl"])
@pytest.mark.parametrize("target", ["secret", "/dev/zero", "pipe"])
def test_a_suite_is_in_its_folder(attack: Attack, tmp_path: Path, name: str, target: str):
    def link(path: Path) -> None:
        victim = path.parent / name
        secret = tmp_path / "secret"
        secret.write_bytes(victim.read_bytes())
        victim.unlink()
        if target == "pipe":
            os.mkfifo(victim)
        else:
            victim.symlink_to(secret if target == "secret" else target)

    outcome = attack(name, prepare=link)

    assert outcome.error == "SuiteError"
    assert "leads out of the folder" in outcome.message or "not a regular" in outcome.message


def test_a_picture_of_a_suite_is_in_its_folder(examples: Examples, tmp_path: Path):
    path = examples("items.jsonl with pictures", tmp_path / "suite")
    (picture,) = (path.parent / "images").iterdir()
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")

    with pytest.raises(SuiteError, match="leads out of the folder"):
        load_suite("suite", tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret.png", "link.png", "folder/secret.png", "/etc/hostname", "a\0b", "\ud800",
             "pipe.png", "x" * 5000, ""],
)  # fmt: skip
def test_an_import_takes_no_picture_from_elsewhere(tmp_path: Path, name: str):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe.png")

    with pytest.raises(Unfit):
        take_picture(name, source, out, column="image", description=None)

    assert not out.exists()


ITEM = {"id": "a-1", "group": "a", "label": "negative", "language": "en", "text": "x",
        "origin": "authored", "source": "made", "licence": "CC0-1.0"}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "\u0430-1"}, {"id": "../x"}, {"id": "a b"}, {"id": "=1"}, {"id": "a" * 129},
        {"group": "a\u202e"}, {"concept": "D\u0430nger"}, {"language": "x" * 100_000},
        {"language": "a-" * 50_000 + "a"}, {"text": "x" * 100_001}, {"text": 1}, {"text": None},
        {"source": "=1+1"}, {"source": "a\nb"}, {"reviewed": "@x"}, {"unknown": 1},
        {"image": {"digest": "sha256:" + "0" * 64, "width": 10**9, "height": 1}},
        {"image": {"digest": "../../x", "width": 1, "height": 1, "description": "x"}},
    ],
)  # fmt: skip
def test_an_item_that_is_none_is_refused(attack: Attack, changes: dict[str, object]):
    assert attack("items.jsonl", json.dumps(ITEM | changes) + "\n").error == "SuiteError"


@pytest.mark.parametrize(
    "line",
    [b"[" * 1_000_000, b'{"a":' + b"9" * 100_000 + b"}", b"\xff", b"", b"null",
     b'{"a":"' + b"x" * 9_000_000 + b'"}', b"[" + b"[]," * 1_500_000 + b"1]"],
    ids=["deep", "100,000 digits", "not UTF-8", "empty", "null", "long", "millions of lists"],
)  # fmt: skip
def test_a_line_that_is_no_item_is_refused(attack: Attack, line: bytes):
    assert attack("items.jsonl", line + b"\n").error == "SuiteError"


FEATURE = b'{"modelId":"m","layer":"l","index":%s,"description":%s}\n'


@pytest.mark.parametrize(
    ("index", "label"),
    [(b"9" * 4000, b'"x"'), (b"1e400", b'"x"'), (b"-1", b'"x"'), (b"true", b'"x"'),
     (b"[]", b'"x"')],
)  # fmt: skip
def test_a_feature_without_a_place_is_refused(attack: Attack, index: bytes, label: bytes):
    assert attack("features", FEATURE % (index, label)).error == "ConfigError"


def test_a_label_cannot_move_a_cursor(attack: Attack, tmp_path: Path):
    from compliance.features.reading import read_features

    path = tmp_path / "f.jsonl"
    path.write_bytes(FEATURE % (b"1", b'"\\u001b[2J\\u202ecats"'))

    (feature,) = read_features(path)

    assert feature.label == "[2J cats"


@pytest.mark.parametrize(
    "data",
    [b"[" * 1_000_000, b"[" + b"[]," * 10_000_000 + b"1]", b"{" * 100, b"\0" * 70_000_000],
    ids=["deep", "millions of lists", "open", "zeros"],
)
@pytest.mark.parametrize("name", ["features", "features, gzipped"])
def test_features_without_end_are_refused(attack: Attack, name: str, data: bytes):
    packed = gzip.compress(data, 1) if "gzip" in name else data

    assert attack(name, packed, memory=250 * MIB).error == "ConfigError"


@pytest.mark.parametrize(
    "text",
    [b"`" * 1_000_000 + b"x`\n", b"- " * 200_000 + b"\n", b"-" + b" " * 1_000_000 + b"x\n",
     b"---\n" + b"---x\n" * 100_000, b"---\nx: " + b"[" * 100_000 + b"\n---\n",
     b"---\nx: [" + b"1," * 200_000 + b"]\n---\n", b"\xff", b"x" * 5_000_000],
    ids=["backticks", "lists", "spaces", "rules", "deep", "wide", "not UTF-8", "endless"],
)  # fmt: skip
def test_a_readme_never_holds_the_program_up(attack: Attack, text: bytes):
    attack("README.md", text, memory=150 * MIB, seconds=3)
