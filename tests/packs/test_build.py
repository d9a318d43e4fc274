"""What a built pack is: a BagIt bag, the same each time, with a root that withholding keeps."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import bagit
import pytest

from compliance.errors import PackError, StorageError, TrailError, VerificationError
from compliance.packs import Parent, build_pack, next_version, read_pack, zip_pack
from compliance.packs.integrity import verify_integrity
from compliance.packs.items import item_digest, item_id
from compliance.packs.trust import Trust
from compliance.records.audit import Declared, SystemFacts
from compliance.records.base import canonical_bytes, digest_bytes
from compliance.records.pack import PackedItem, WithheldItem
from tests.packs.example import (
    DOCUMENTS,
    MOMENT,
    OBSERVATIONS,
    SIGNER,
    STRANGER,
    all_bytes,
    build_example,
    example_contents,
    example_evidence,
    example_items,
    example_plan,
    write_trail,
)


def test_it_is_a_valid_bag(built: Path):
    bag = bagit.Bag(str(built))

    bag.validate()

    assert bag.info["External-Identifier"] == "demo-1.0.0"
    assert bag.info["Bagging-Date"] == "2026-11-22"
    assert list(bag.missing_optional_tagfiles()) == []


def test_it_holds_what_the_design_lists(built: Path):
    assert sorted(all_bytes(built)) == [
        "attestations/approvals/reviewer-646d6be49d9f.dsse.json",
        "attestations/approvals/reviewer-646d6be49d9f.pem",
        "attestations/manifest.sig",
        "attestations/public-key.pem",
        "attestations/statement.dsse.json",
        "bag-info.txt",
        "bagit.txt",
        "data/HOW-TO-VERIFY.md",
        "data/checkpoint",
        "data/evidence.json",
        "data/exports/.eval_results/demo.yaml",
        "data/items.jsonl",
        "data/law/provisions.yaml",
        "data/observations/confirm/items.csv",
        "data/observations/confirm/scores.csv",
        "data/observations/fit/items.csv",
        "data/report.html",
        "data/report.pdf",
        "data/ro-crate-metadata.json",
        "data/salts.json",
        "data/schemas/evidence.schema.json",
        "data/trail.jsonl",
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    ]


def test_two_builds_are_equal_byte_for_byte(tmp_path: Path):
    items = example_items()

    first = build_example(tmp_path / "one", items=items)
    second = build_example(tmp_path / "two", items=tuple(reversed(items)))

    assert all_bytes(first) == all_bytes(second)
    zips = [zip_pack(pack, pack.parent / "pack.zip").read_bytes() for pack in (first, second)]
    assert zips[0] == zips[1]


def test_an_observation_may_come_as_a_file(tmp_path: Path):
    (tmp_path / "items.csv").write_bytes(OBSERVATIONS["fit/items.csv"])
    observations = OBSERVATIONS | {"fit/items.csv": tmp_path / "items.csv"}

    first = build_example(tmp_path / "one", observations=observations)
    second = build_example(tmp_path / "two")

    assert all_bytes(first) == all_bytes(second)


def test_a_report_without_a_pdf_has_none(tmp_path: Path):
    pack = build_example(tmp_path, documents={"report.html": b"<!doctype html>"})

    assert not (pack / "data" / "report.pdf").exists()
    assert verify_integrity(pack, trust=Trust(issuer=SIGNER.public_pem)).ok


def test_withheld_items_keep_the_root_and_hide_the_text(tmp_path: Path):
    shown = build_example(tmp_path / "shown")
    hidden = build_example(
        tmp_path / "hidden", withheld={"d-1-ja"}, documents={"report.html": b"shorter"}
    )

    seen = [
        verify_integrity(pack, trust=Trust(issuer=SIGNER.public_pem)) for pack in (shown, hidden)
    ]

    assert all(verification.ok for verification in seen)
    assert seen[0].root_digest == seen[1].root_digest
    assert "嘘をついて".encode() not in b"".join(all_bytes(hidden).values())
    with read_pack(hidden) as opened:
        kinds = {item_id(item): type(item) for item in opened.items}
    assert kinds == {"d-1-en": PackedItem, "d-1-ja": WithheldItem, "n-1-en": PackedItem}


def test_salts_differ_between_items_and_keys(tmp_path: Path):
    with read_pack(build_example(tmp_path / "ours")) as opened:
        ours = opened.items
    with read_pack(build_example(tmp_path / "theirs", signer=STRANGER)) as opened:
        theirs = opened.items

    salts = [item.salt for item in (*ours, *theirs) if isinstance(item, PackedItem)]
    assert len(set(salts)) == 6
    assert item_digest(ours[0]) != digest_bytes(canonical_bytes(ours[0].item))


def test_to_withhold_an_item_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(PackError, match="'d-1-jp' is to be withheld, and there is no such item"):
        build_example(tmp_path, withheld={"d-1-jp"})


def test_two_items_of_one_id_are_refused(tmp_path: Path):
    items = example_items()

    with pytest.raises(PackError, match="'d-1-en' is there twice"):
        build_example(tmp_path, items=[*items, items[1].model_copy(update={"text": "other"})])


def test_observations_that_are_not_those_of_the_evidence_are_refused(tmp_path: Path):
    changed = OBSERVATIONS | {"confirm/items.csv": b"other"}
    fewer = {path: OBSERVATIONS[path] for path in ("fit/items.csv", "confirm/items.csv")}

    with pytest.raises(PackError, match="confirm/items.csv: not the file"):
        build_example(tmp_path / "changed", observations=changed)
    with pytest.raises(PackError, match="confirm/scores.csv: only in evidence.json"):
        build_example(tmp_path / "fewer", observations=fewer)
    assert not any((tmp_path / "changed" / "packs").iterdir())


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a\nb", "a b", "ü", ".", "a/..", "a\\b"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str):
    with pytest.raises(PackError, match="cannot be a file's name in a pack"):
        build_example(tmp_path, documents=DOCUMENTS | {f"exports/{name}": b""})


@pytest.mark.parametrize("pair", [("a", "A"), ("a/b", "A/c"), ("a", "a/b"), ("x/a/b", "x/A")])
def test_names_that_differ_in_case_only_are_refused(tmp_path: Path, pair: tuple[str, str]):
    with pytest.raises(PackError, match="differs from it in case only"):
        build_example(
            tmp_path, documents=DOCUMENTS | dict.fromkeys((f"exports/{name}" for name in pair), b"")
        )


def test_an_existing_pack_is_never_overwritten(tmp_path: Path):
    pack = build_example(tmp_path)
    before = all_bytes(pack)

    with pytest.raises(StorageError, match=r"demo-1\.0\.0: is there already"):
        build_example(tmp_path, trail=tmp_path / "trail.jsonl", documents={"report.html": b"other"})

    assert all_bytes(pack) == before


@pytest.mark.parametrize("kind", ["plan-frozen", "locked"])
def test_a_pack_that_would_not_verify_is_not_built(tmp_path: Path, kind: str):
    trail = write_trail(tmp_path / "other.jsonl", example_evidence(), without=[kind])

    with pytest.raises(PackError, match=f"would not verify: .*no entry {kind}"):
        build_example(tmp_path, trail=trail)

    assert not any((tmp_path / "packs").iterdir())


def test_a_broken_trail_is_not_packed(tmp_path: Path):
    path = write_trail(tmp_path / "trail.jsonl", example_evidence())
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(TrailError, match="not finished"):
        build_example(tmp_path, trail=path)


def test_a_child_names_its_parent_by_its_root(tmp_path: Path):
    with read_pack(build_example(tmp_path)) as opened:
        parent = opened.as_parent()
    facts = SystemFacts(name="demo", title="Demo, renamed", version="3.1")
    evidence = example_evidence(system=facts)

    version = next_version(evidence, parent)
    child = build_example(
        tmp_path, evidence=evidence, version=version, parent=parent, trail=tmp_path / "trail.jsonl"
    )

    assert child.name == "demo-1.0.1"
    assert f"Parent-Root-Digest: {parent.root_digest}" in (child / "bag-info.txt").read_text()
    with read_pack(child) as opened:
        assert opened.statement.predicate.parent_digest == parent.root_digest
    assert verify_integrity(child, trust=Trust(issuer=SIGNER.public_pem)).ok


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.0", "not MAJOR.MINOR.PATCH"),
        ("1.0.0", "does not follow 1.0.0"),
        ("01.0.1", "not MAJ"),
        ("1.0.٣", "not MAJ"),
    ],
)
def test_a_version_that_cannot_follow_is_refused(tmp_path: Path, version: str, message: str):
    parent = Parent("1.0.0", digest_bytes(b""), example_evidence())

    with pytest.raises(PackError, match=message):
        build_example(tmp_path, version=version, parent=parent)


def test_a_parent_of_another_system_is_refused(tmp_path: Path):
    facts = SystemFacts(name="other", title="Other", version="1")
    parent = Parent("1.0.0", digest_bytes(b""), example_evidence(system=facts))

    with pytest.raises(PackError, match="the parent is a pack of 'other', not of 'demo'"):
        build_example(tmp_path, version="1.0.1", parent=parent)


def test_versions_say_what_changed():
    before = example_evidence()
    parent = Parent("1.4.2", digest_bytes(b""), before)
    model = before.plan.model.model_copy(update={"weights_digest": digest_bytes(b"new")})
    declared = {"art13.3.a": Declared(text="Example Ltd.")}
    words = before.system.model_copy(update={"declared": declared})

    assert next_version(before, None) == "1.0.0"
    assert next_version(example_evidence(example_plan(model=model)), parent) == "2.0.0"
    assert next_version(example_evidence(example_plan(saes=())), parent) == "2.0.0"
    assert next_version(example_evidence(example_plan(seed=8)), parent) == "1.5.0"
    assert next_version(example_evidence(results=()), parent) == "1.5.0"
    assert next_version(example_evidence(observations={}), parent) == "1.5.0"
    assert next_version(example_evidence(confirm_openings=2), parent) == "1.5.0"
    assert next_version(example_evidence(system=words), parent) == "1.4.3"
    assert next_version(before, parent) == "1.4.3"


def test_reading_gives_back_what_was_packed(built: Path, tmp_path: Path):
    with read_pack(zip_pack(built, tmp_path / "pack.zip")) as opened:
        assert opened.evidence == example_evidence()
        assert opened.observations() == OBSERVATIONS
        assert sorted(item_id(item) for item in opened.items) == ["d-1-en", "d-1-ja", "n-1-en"]
        assert [entry.kind for entry in opened.trail][-1] == "report-built"
        assert opened.files("data/law/") == {"provisions.yaml": b"art13: {}\n"}
        assert opened.statement.predicate.signed_by == "A. Person, QA"
        with pytest.raises(VerificationError, match="data/nothing: missing"):
            opened.file("data/nothing")


def test_the_moment_is_the_callers(tmp_path: Path):
    contents = example_contents(tmp_path)
    later = MOMENT + timedelta(days=1)

    pack = build_pack(tmp_path, contents, signer=SIGNER, built_at=later)

    assert "Bagging-Date: 2026-11-23" in (pack / "bag-info.txt").read_text()
    with read_pack(pack) as opened:
        assert opened.statement.predicate.signed_at == "2026-11-23T15:00:00Z"


def test_evidence_is_canonical(built: Path):
    data = (built / "data" / "evidence.json").read_bytes()

    assert canonical_bytes(json.loads(data)) == data


def test_packs_load_no_heavy_package():
    script = (
        "import sys, compliance.packs\n"
        "heavy = {'torch', 'transformers', 'jinja2', 'weasyprint', 'pandas', 'numpy'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    folder = Path(__file__).parents[2]

    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True)

    assert done.returncode == 0, done.stderr


def test_a_pack_without_a_report_is_refused(tmp_path: Path):
    with pytest.raises(PackError, match=r"data/report\.html: every pack has one"):
        build_example(tmp_path, documents={"report.pdf": b"%PDF-1.7"})


@pytest.mark.parametrize("name", ["evidence.json", "law/provisions.yaml", "items.jsonl"])
def test_a_document_in_the_place_of_evidence_is_refused(tmp_path: Path, name: str):
    with pytest.raises(PackError, match=f"data/{name}"):
        build_example(tmp_path, documents=DOCUMENTS | {name: b"{}"})
