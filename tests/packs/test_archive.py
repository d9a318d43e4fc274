"""An archive keeps every pack of a system: complete, once, byte by byte, whatever is killed."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compliance.errors import PackError, StorageError, VerificationError
from compliance.packs import approve_pack, read_pack
from compliance.packs.archive import add_pack, check_archive, list_packs, restore
from compliance.packs.version import next_version
from compliance.records.audit import SystemFacts
from tests.packs.example import MOMENT, REVIEWER, all_bytes, build_example, example_evidence

SOFTWARE = "sae-compliance test"


def add(archive: Path, pack: Path) -> str | None:
    return add_pack(archive, pack, added_at=MOMENT, software=SOFTWARE)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pack and its successor, in which only words changed."""
    folder = tmp_path_factory.mktemp("packs")
    first = build_example(folder)
    with read_pack(first) as opened:
        parent = opened.as_parent()
    evidence = example_evidence(
        system=SystemFacts(name="demo", title="Demo, renamed", version="3.1")
    )
    second = build_example(
        folder, evidence=evidence, version=next_version(evidence, parent), parent=parent,
        trail=folder / "trail.jsonl",
    )  # fmt: skip
    return first, second


@pytest.fixture
def archive(packs: tuple[Path, Path], tmp_path: Path) -> Path:
    """Both packs, the first one kept again after it was reviewed."""
    first = Path(shutil.copytree(packs[0], tmp_path / packs[0].name))
    place = tmp_path / "archive"
    assert add(place, first) == "v1"
    assert add(place, packs[1]) == "v2"
    approve_pack(first, signer=REVIEWER, signed_at=MOMENT)
    assert add(place, first) == "v3"
    return place


def test_every_version_is_listed_with_what_it_is(archive: Path):
    found = list_packs(archive)

    assert [(p.name, p.pack_id) for p in found] == [
        ("v1", "demo-1.0.0"), ("v2", "demo-1.0.1"), ("v3", "demo-1.0.0")
    ]  # fmt: skip
    assert found[0].message == "demo-1.0.0: built"
    assert found[2].message.startswith("demo-1.0.0: attestations changed (attestations/approvals/")
    assert found[0].added_at == MOMENT


def test_the_reference_implementation_finds_nothing_to_complain_of(archive: Path):
    from tests.packs.ocfl_peer import complaints

    assert complaints(archive) == []


def test_the_reference_implementation_finds_damage(archive: Path):
    from tests.packs.ocfl_peer import complaints

    (archive / "demo/v1/content/demo-1.0.0/data/items.jsonl").write_bytes(b"other")

    assert complaints(archive)


def test_a_pack_comes_out_as_it_went_in(archive: Path, packs: tuple[Path, Path], tmp_path: Path):
    first = restore(archive, "v1", tmp_path / "a")
    reviewed = restore(archive, "demo-1.0.0", tmp_path / "b")
    second = restore(archive, "1.0.1", tmp_path / "c")

    assert all_bytes(first) == all_bytes(packs[0])
    assert all_bytes(second) == all_bytes(packs[1])
    assert all_bytes(reviewed) == all_bytes(tmp_path / "demo-1.0.0")
    assert all_bytes(reviewed) != all_bytes(first)


def test_a_file_that_two_versions_share_lies_there_once(archive: Path, packs: tuple[Path, Path]):
    lies = [p for p in archive.rglob("*") if p.is_file() and "content" in p.parts]
    contents = {p.read_bytes() for p in lies}
    whole = {data for pack in packs for data in all_bytes(pack).values()}

    assert len(lies) == len(contents)
    assert whole <= contents
    _, second, reviewed = list_packs(archive)
    assert second.files > 20 and reviewed.added_bytes < second.added_bytes


def test_the_same_pack_is_not_added_again(archive: Path, packs: tuple[Path, Path], tmp_path: Path):
    before = all_bytes(archive)

    assert add(archive, packs[1]) is None
    assert add(archive, tmp_path / "demo-1.0.0") is None
    assert all_bytes(archive) == before


def test_other_contents_under_one_version_are_kept_and_said(archive: Path, tmp_path: Path):
    pack = tmp_path / "demo-1.0.0"
    (pack / "data" / "report.html").write_bytes(b"<!doctype html>other")

    assert add(archive, pack) == "v4"
    assert list_packs(archive)[-1].message == "demo-1.0.0: other contents under the same version"


def test_each_system_has_an_object_of_its_own(archive: Path, tmp_path: Path):
    facts = SystemFacts(name="other", title="Other", version="1")
    (tmp_path / "other").mkdir()
    pack = build_example(tmp_path / "other", evidence=example_evidence(system=facts))

    assert add(archive, pack) == "v1"
    assert [p.system for p in list_packs(archive)] == ["demo"] * 3 + ["other"]
    with pytest.raises(PackError, match="version of several systems"):
        restore(archive, "1.0.0", tmp_path)
    assert restore(archive, "other-1.0.0", tmp_path).name == "other-1.0.0"


def test_what_is_not_there_is_said(archive: Path, tmp_path: Path):
    with pytest.raises(PackError, match="no version is called '9.9.9'"):
        restore(archive, "9.9.9", tmp_path)
    with pytest.raises(PackError, match="no archive here"):
        list_packs(tmp_path)
    with pytest.raises(StorageError, match="is there already"):
        restore(archive, "v1", tmp_path)


def lines(archive: Path) -> str:
    return "\n".join(check_archive(archive).summary())


def test_an_archive_in_order_passes_and_nothing_of_it_changes(archive: Path):
    before = all_bytes(archive)

    found = check_archive(archive)

    assert found.ok and "versions: 3" in lines(archive)
    assert all_bytes(archive) == before


DAMAGE = {
    "a changed file": ("v1/content/demo-1.0.0/data/items.jsonl", b"other", "not what was added"),
    "a missing file": ("v1/content/demo-1.0.0/data/items.jsonl", None, "missing"),
    "a further file": ("v1/content/demo-1.0.0/data/more", b"more", "no version has this file"),
    "a changed inventory": ("inventory.json", b"{}", "field required"),
    "a changed digest": ("inventory.json.sha512", b"0", "not the digest of the inventory"),
    "a changed older inventory": ("v1/inventory.json.sha512", b"0", "not the digest"),
    "a missing older inventory": ("v2/inventory.json", None, "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_file(archive: Path, name: str):
    path, data, message = DAMAGE[name]
    victim = archive / "demo" / path
    victim.unlink(missing_ok=True)
    if data is not None:
        victim.write_bytes(data)

    assert not check_archive(archive).ok
    assert message in lines(archive) and Path(path).name in lines(archive)


def test_older_inventories_must_agree_with_the_newest(archive: Path):
    first = archive / "demo" / "v1" / "inventory.json"
    changed = json.loads(first.read_text())
    changed["versions"]["v1"]["message"] = "something else"
    data = json.dumps(changed).encode()
    first.write_bytes(data)
    digest = hashlib.sha512(data).hexdigest()
    first.with_suffix(".json.sha512").write_text(f"{digest} inventory.json\n")

    assert "says otherwise than the newest inventory" in lines(archive)


def test_nothing_damaged_is_restored(archive: Path, tmp_path: Path):
    (archive / "demo/v1/content/demo-1.0.0/data/items.jsonl").write_bytes(b"other")

    with pytest.raises(VerificationError, match=r"data/items\.jsonl: not what was added"):
        restore(archive, "v1", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "path", ["v1/content/demo-1.0.0/../../../../../secret", "../secret", "/etc/passwd"]
)
def test_an_inventory_that_leads_outside_is_refused(archive: Path, tmp_path: Path, path: str):
    (tmp_path / "secret").write_bytes(b"secret")
    inventory = archive / "demo" / "inventory.json"
    value = json.loads(inventory.read_text())
    digest = next(iter(value["manifest"]))
    value["manifest"][digest] = [path]
    inventory.write_text(json.dumps(value))

    with pytest.raises(PackError, match="no place of contents"):
        restore(archive, "v1", tmp_path / "out")


def test_a_link_that_leads_outside_is_not_followed(archive: Path, tmp_path: Path):
    outside = Path(shutil.move(archive / "demo/v1/content", tmp_path / "outside"))
    (archive / "demo" / "v1" / "content").symlink_to(outside)

    with pytest.raises(VerificationError, match="leads out of the archive"):
        restore(archive, "v1", tmp_path / "out")
    assert "symbolic link" in lines(archive)


DEAD = 255


def renames(work, *, most: int = 10_000) -> int:
    """How many renames some work makes in a child, which dies without any cleaning up before the
    one after the ``most``-th; then DEAD."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real):
            def rename(*args, **kwargs):
                nonlocal count
                count += 1
                if count > most:
                    os._exit(DEAD)
                return real(*args, **kwargs)

            return rename

        os.rename, os.replace = counted(os.rename), counted(os.replace)
        work()
        os._exit(count)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("first", [True, False], ids=["first version", "later version"])
def test_killed_before_any_rename_a_version_is_whole_or_not_there(
    packs: tuple[Path, Path], tmp_path: Path, first: bool
):
    pack = packs[0] if first else packs[1]
    tried = tmp_path / "tried" / "archive"
    tried.parent.mkdir()
    if not first:
        add(tried, packs[0])
    total = renames(lambda: add(tried, pack))
    assert total > 12
    for steps in (0, *range(1, total - 7, 5), *range(total - 7, total + 1)):
        place = tmp_path / str(steps) / "archive"
        place.parent.mkdir()
        if not first:
            add(place, packs[0])

        ended = renames(lambda place=place: add(place, pack), most=steps)

        assert ended == (DEAD if steps < total else total)
        known = list_packs(place) if place.exists() else ()
        for number, kept in enumerate(known):
            back = restore(place, kept.name, tmp_path / str(steps) / "out")
            assert all_bytes(back) == all_bytes(packs[number])
        add(place, pack)
        assert [p.pack_id for p in list_packs(place)][-1] == pack.name
        assert len(list_packs(place)) == (1 if first else 2)
        assert check_archive(place).ok, (steps, lines(place))


def test_a_version_that_a_kill_left_unnamed_is_not_lost_when_another_is_added(
    packs: tuple[Path, Path], tmp_path: Path
):
    place = tmp_path / "archive"
    reviewed = Path(shutil.copytree(packs[0], tmp_path / packs[0].name))
    approve_pack(reviewed, signer=REVIEWER, signed_at=MOMENT)
    add(place, packs[0])
    steps = 0
    while not (place / "demo" / "v2").exists():
        assert renames(lambda: add(place, packs[1]), most=steps) == DEAD
        steps += 1
    assert len(list_packs(place)) == 1

    assert add(place, reviewed) == "v3"
    assert [p.pack_id for p in list_packs(place)] == ["demo-1.0.0", "demo-1.0.1", "demo-1.0.0"]
    assert check_archive(place).ok


def test_nothing_is_added_to_a_damaged_archive(archive: Path, packs: tuple[Path, Path]):
    (archive / "demo" / "inventory.json.sha512").write_text("0 inventory.json\n")
    (archive / "demo" / "v3" / "inventory.json").write_text("{}")

    with pytest.raises(PackError, match="the archive is damaged, and nothing is added"):
        add(archive, packs[1])


def test_sha512sum_confirms_an_inventory(archive: Path):
    ran = subprocess.run(
        ["sha512sum", "-c", "inventory.json.sha512"], cwd=archive / "demo", capture_output=True
    )

    assert ran.returncode == 0 and b"inventory.json: OK" in ran.stdout
