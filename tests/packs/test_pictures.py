"""Pictures in a pack: each is the one that its item names, and withheld items show none."""

import hashlib
from pathlib import Path

import pytest

from compliance.errors import PackError
from compliance.packs import check_integrity
from compliance.records.suite import Image, Item, Label
from compliance.records.verification import Outcome
from tests.packs.example import build_example, example_items

KNIFE, SPOON = b"the picture of a knife", b"the picture of a spoon"


def image(data: bytes) -> Image:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Image(digest=digest, width=8, height=8, description="a picture")


def item(name: str, label: Label, data: bytes) -> Item:
    return Item(
        id=name, group="p-1", concept="deception", label=label, language="en", modality="image",
        rendering="depicted", image=image(data), origin="authored", source="the test",
        licence="CC0-1.0",
    )  # fmt: skip


ITEMS = (
    *example_items(),
    item("p-1-pos", Label.POSITIVE, KNIFE),
    item("p-1-hard", Label.HARD_NEGATIVE, SPOON),
)
PICTURES = {image(data).path: data for data in (KNIFE, SPOON)}
PLACE = f"data/{image(KNIFE).path}"


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    return build_example(tmp_path, items=ITEMS, pictures=PICTURES)


def failures(pack: Path) -> list[tuple[str, str | None]]:
    return [(c.name, c.path) for c in check_integrity(pack) if c.status is Outcome.FAILED]


def relisted(pack: Path) -> None:
    """Make the manifest fit the files, so that only the pictures' own check is left."""
    files = sorted(p for p in (pack / "data").rglob("*") if p.is_file())
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(pack).as_posix()}\n"
        for p in files
    ]
    (pack / "manifest-sha256.txt").write_text("".join(sorted(lines, key=lambda x: x[66:])))


def test_a_pack_holds_the_pictures_of_its_items(shown: Path):
    assert (shown / PLACE).read_bytes() == KNIFE
    assert failures(shown) == []
    assert "pictures" in {check.name for check in check_integrity(shown)}


def test_a_pack_without_pictures_says_nothing_of_them(tmp_path: Path):
    checks = check_integrity(build_example(tmp_path))
    assert "pictures" not in {check.name for check in checks}


def test_a_withheld_item_shows_no_picture_and_the_root_stays(shown: Path, tmp_path: Path):
    hidden = build_example(
        tmp_path / "hidden", items=ITEMS, pictures=PICTURES, withheld=["p-1-pos"]
    )
    assert not (hidden / PLACE).exists()
    assert failures(hidden) == []
    roots = [(p / "bag-info.txt").read_text().split("Root-Digest: ")[1] for p in (shown, hidden)]
    assert roots[0] == roots[1]


def test_a_picture_that_was_not_given_is_refused(tmp_path: Path):
    with pytest.raises(PackError, match="an item shows it"):
        build_example(tmp_path, items=ITEMS, pictures={image(SPOON).path: SPOON})


def test_a_picture_of_other_bytes_is_refused(tmp_path: Path):
    with pytest.raises(PackError, match="would not verify"):
        build_example(tmp_path, items=ITEMS, pictures={**PICTURES, image(KNIFE).path: SPOON})


@pytest.mark.parametrize("change", ["changed", "removed", "added"])
def test_a_picture_that_no_item_names_is_found_though_the_manifest_fits(shown: Path, change: str):
    place = PLACE
    if change == "changed":
        (shown / place).write_bytes(SPOON)
    elif change == "removed":
        (shown / place).unlink()
    else:
        place = f"data/images/{'0' * 64}.png"
        (shown / place).write_bytes(SPOON)
    relisted(shown)
    assert ("pictures", place) in failures(shown)
