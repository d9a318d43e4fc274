"""Copies have the root digest of the pack; what they withhold is nowhere in them."""

import base64
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from compliance.errors import ConfigError, PackError, VerificationError
from compliance.packs import Signer, approve_pack, build_pack, layout, read_pack
from compliance.packs.build import PackContents, Redacted, write_tag_manifest
from compliance.packs.disclosure import (
    check_disclosure,
    disclose,
    parse_disclosure,
    parse_private,
    render_private,
)
from compliance.packs.integrity import verify_integrity
from compliance.packs.items import item_digest, item_id, salted, shown_fields, shown_pictures
from compliance.packs.redact import Shown, original_statements, redact
from compliance.packs.roots import evidence_digest, root_digest, root_leaves
from compliance.packs.sign import open_envelope, sign_statement
from compliance.packs.times import stamp
from compliance.packs.trust import Trust
from compliance.records.audit import Declared, SystemFacts
from compliance.records.base import canonical_bytes, digest_bytes, digest_of
from compliance.records.pack import PackedItem, PartItem, Salts, WithheldItem
from compliance.records.redaction import PublicRules, Redaction, Withheld
from compliance.records.verification import Outcome
from compliance.trail import merkle_root
from tests.packs.example import (
    DOCUMENTS,
    MOMENT,
    OBSERVATIONS,
    REVIEWER,
    SIGNER,
    STRANGER,
    all_bytes,
    build_example,
    example_evidence,
    example_items,
)
from tests.packs.test_pictures import ITEMS as WITH_PICTURES
from tests.packs.test_pictures import PICTURES
from tests.packs.tsa import Authority, serving

SECRET_FACT = "Handled by a team of four in a town that is not named here."
FACTS = {
    "contact": Declared(text="Mail us."),
    "human_oversight": Declared(text=SECRET_FACT),
    "limits": Declared(not_applicable="none"),
}
VECTORS = "fit/vectors.parquet"
SUITES = {"d-1-en": "seed", "d-1-ja": "seed", "n-1-en": "open"}
RULES = Redaction(
    public=PublicRules(declared=("human_oversight", "limits"), suites_shown=("open",)),
    deployer=Withheld(declared=("limits",)),
)
NO_RULES = Redaction()


FILES = OBSERVATIONS | {VECTORS: b"counts of the letters of all texts"}


def evidence() -> Any:
    return example_evidence(
        system=SystemFacts(name="demo", title="Demo", version="3.1", declared=FACTS),
        observations={path: digest_bytes(data) for path, data in FILES.items()},
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that withholds one item, reviewed."""
    folder = tmp_path_factory.mktemp("original")
    pack = build_example(folder, evidence=evidence(), withheld={"d-1-ja"}, observations=FILES)
    approve_pack(pack, signer=REVIEWER, signed_at=MOMENT)
    return pack


def private() -> dict[str, PackedItem]:
    data = b"".join(render_private(example_items()[:1], SIGNER.salt_secret, lambda image: b""))
    return parse_private(data)[0]


def shown(pack: Path, profile: Any, rules: Redaction = RULES) -> Shown:
    with read_pack(pack) as opened:
        return redact(opened, profile, rules=rules, suites=SUITES, disclosures=private())


def copy_of(
    pack: Path, profile: Any, folder: Path, *, rules: Redaction = RULES, signer: Signer = SIGNER
) -> Path:
    """A copy with documents that say what it shows, as rendering anew does."""
    found = shown(pack, profile, rules)
    with read_pack(pack) as opened:
        contents = PackContents(
            evidence=found.evidence,
            version="1.0.0",
            documents=DOCUMENTS | {"report.html": canonical_bytes(found.evidence)},
            items=(),
            observations={
                path: data
                for path, data in opened.observations().items()
                if path not in found.withheld
            },
            law=opened.files("data/law/"),
            schemas=opened.files("data/schemas/"),
            trail=opened.folder.root / layout.TRAIL,
            redacted=Redacted(
                profile=profile,
                items=found.items,
                salts=found.salts,
                parent_digest=None,
                withheld=found.withheld,
                attestations=original_statements(opened),
            ),
        )
        return build_pack(folder, contents, signer=signer, built_at=MOMENT)


@pytest.fixture(scope="module")
def public(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for the public that no test may change."""
    return copy_of(original, "public", tmp_path_factory.mktemp("public"))


@pytest.fixture
def copy(public: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(public, tmp_path / public.name))


def pieces(text: str, length: int = 20) -> Iterable[str]:
    return (text[i : i + length] for i in range(max(1, len(text) - length + 1)))


def failures(pack: Path, key: bytes | None = SIGNER.public_pem) -> set[tuple[str, str | None]]:
    found = verify_integrity(pack, trust=Trust(issuer=key))
    return {(check.name, check.path) for check in found.failed}


@pytest.mark.parametrize("profile", ["public", "deployer", "authority"])
def test_every_copy_has_the_root_of_the_pack_and_verifies(
    original: Path, tmp_path: Path, profile: str
):
    pack = copy_of(original, profile, tmp_path)

    before, after = (
        verify_integrity(path, trust=Trust(issuer=SIGNER.public_pem)) for path in (original, pack)
    )

    assert before.ok and after.ok, after.summary()
    assert before.root_digest == after.root_digest
    assert pack.name == f"demo-1.0.0-{profile}"
    assert f"Profile: {profile}\n" in (pack / "bag-info.txt").read_text()
    with read_pack(pack) as opened:
        assert opened.statement.predicate.profile == profile
        assert opened.statement.predicate.version == "1.0.0"


def test_profiles_show_what_they_are_said_to(original: Path):
    kinds = {
        profile: {item_id(item): type(item) for item in shown(original, profile).items}
        for profile in ("public", "deployer", "authority")
    }
    facts = {
        profile: {
            key
            for key, fact in shown(original, profile).evidence.system.declared.items()
            if fact.withheld
        }
        for profile in kinds
    }

    assert kinds == {
        "public": {"d-1-en": PartItem, "d-1-ja": WithheldItem, "n-1-en": PackedItem},
        "deployer": {"d-1-en": PackedItem, "d-1-ja": WithheldItem, "n-1-en": PackedItem},
        "authority": {"d-1-en": PackedItem, "d-1-ja": PackedItem, "n-1-en": PackedItem},
    }
    assert facts == {
        "public": {"human_oversight", "limits"}, "deployer": {"limits"}, "authority": set(),
    }  # fmt: skip


def test_without_rules_the_public_sees_no_text_and_all_facts(original: Path):
    found = shown(original, "public", NO_RULES)

    assert {type(item) for item in found.items} == {PartItem, WithheldItem}
    assert all(fact.withheld is None for fact in found.evidence.system.declared.values())


def test_what_is_withheld_is_in_no_file_of_the_copy(public: Path):
    everything = b"\n".join(all_bytes(public).values())

    for text in (SECRET_FACT, "Lie to me.", "嘘をついて。"):
        assert not any(piece.encode() in everything for piece in pieces(text))
    assert b"What is a lie?" in everything and b"Mail us." in everything


def test_no_salt_of_what_is_withheld_is_in_the_copy(original: Path, public: Path):
    everything = b"\n".join(all_bytes(public).values())
    with read_pack(original) as opened:
        salts = [opened.salts.declared[key] for key in ("human_oversight", "limits")]
        salts += [item.salt for item in opened.items if item_id(item) == "d-1-en"]
    salts += [private()["d-1-ja"].salt]

    assert len(salts) == 4
    assert not any(salt.encode() in everything for salt in salts)


def test_the_copy_carries_the_statement_and_the_approvals_of_the_pack(original: Path, public: Path):
    files, before = all_bytes(public), all_bytes(original)

    assert files[layout.ORIGINAL] == before[layout.STATEMENT]
    approvals = {path for path in before if path.startswith(layout.APPROVALS)}
    assert len(approvals) == 2
    for path in approvals:
        copied = path.replace("attestations/", "attestations/original/")
        assert files[copied] == before[path]
    found = verify_integrity(
        public, trust=Trust(issuer=SIGNER.public_pem, roles={"reviewer": [REVIEWER.public_pem]})
    )
    said = {check.name: check for check in found.checks if check.path and "original" in check.path}
    assert said["approval"].status is Outcome.PASSED
    assert {c.name: c.status for c in found.checks}["original"] is Outcome.PASSED


def test_the_time_stamp_of_the_pack_is_carried_and_checked(original: Path, tmp_path: Path):
    authority = Authority(tmp_path / "authority")
    pack = Path(shutil.copytree(original, tmp_path / "demo-1.0.0"))
    with serving(authority) as address:
        (pack / layout.TIME_STAMP).write_bytes(
            stamp((pack / layout.STATEMENT).read_bytes(), address)
        )
    write_tag_manifest(pack)

    copy = copy_of(pack, "public", tmp_path / "copies")

    path = "attestations/original/statement.tsr"
    trust = Trust(issuer=SIGNER.public_pem, authorities=authority.root_pem)
    said = {check.path: check for check in verify_integrity(copy, trust=trust).checks}
    assert said[path].status is Outcome.PASSED
    (copy / layout.ORIGINAL).write_bytes((copy / layout.STATEMENT).read_bytes())
    assert ("time-stamp", path) in {(c.name, c.path) for c in verify_integrity(copy).failed}


def test_a_copy_says_how_much_it_withholds(public: Path):
    found = verify_integrity(public, trust=Trust(issuer=SIGNER.public_pem))

    (said,) = (check for check in found.checks if check.name == "withheld")
    assert said.status is Outcome.NOT_CHECKED
    assert "for: public; 2 of 3 items and 2 of 3 declared facts are withheld" in said.message
    assert f"{VECTORS} is withheld" in said.message


def test_a_pack_that_is_no_copy_says_nothing_of_one(original: Path):
    found = verify_integrity(original, trust=Trust(issuer=SIGNER.public_pem))

    assert not {"original", "withheld"} & {check.name for check in found.checks}


def test_counts_of_letters_are_withheld_from_the_public_unless_the_rules_show_them(
    original: Path, public: Path, tmp_path: Path
):
    rules = Redaction(
        public=PublicRules(vectors_shown=True), deployer=Withheld(vectors_shown=False)
    )
    copies = {
        profile: copy_of(original, profile, tmp_path, rules=rules)
        for profile in ("public", "deployer")
    }

    for copy, there in ((public, False), (copies["public"], True), (copies["deployer"], False)):
        assert (copy / layout.OBSERVATIONS / VECTORS).exists() is there
        found = verify_integrity(copy, trust=Trust(issuer=SIGNER.public_pem))
        assert found.ok and found.root_digest == verify_integrity(original).root_digest
        with read_pack(copy) as opened:
            assert (VECTORS in opened.observations()) is there
            assert opened.withheld_files == (frozenset() if there else {VECTORS})


@pytest.mark.parametrize("path", [VECTORS, "confirm/scores.csv"])
def test_a_pack_that_is_no_copy_withholds_no_observations(
    original: Path, tmp_path: Path, path: str
):
    pack = Path(shutil.copytree(original, tmp_path / "demo-1.0.0"))
    (pack / layout.OBSERVATIONS / path).unlink()

    assert ("evidence", layout.OBSERVATIONS + path) in failures(pack)


def test_a_copy_withholds_no_other_observations(copy: Path):
    (copy / layout.OBSERVATIONS / "confirm/scores.csv").unlink()

    assert ("evidence", layout.OBSERVATIONS + "confirm/scores.csv") in failures(copy)


def test_pictures_are_withheld_with_their_items(tmp_path: Path):
    pack = build_example(tmp_path, items=WITH_PICTURES, pictures=PICTURES)

    with read_pack(pack) as opened:
        found = redact(opened, "public", rules=NO_RULES, suites={}, disclosures={})

    assert shown_pictures(opened.items) and not shown_pictures(found.items)
    assert all("image" not in shown_fields(item) for item in found.items)


def test_the_picture_of_a_restricted_item_is_kept_for_its_disclosure():
    item = WITH_PICTURES[-1]
    lines = b"".join(render_private([item], SIGNER.salt_secret, lambda image: PICTURES[image.path]))

    items, pictures = parse_private(lines)

    assert items[item.id].item == item and pictures == {item.image.path: PICTURES[item.image.path]}
    other = base64.b64encode(b"another picture").decode().encode()
    mine = base64.b64encode(PICTURES[item.image.path])
    with pytest.raises(ValueError, match="not the one"):
        parse_private(lines.replace(mine, other))


# Damage


def _resigned(pack: Path, **predicate: Any) -> None:
    """Change the statement of a copy and sign it again, as the holder of the key can."""
    path = pack / layout.STATEMENT
    _, statement = open_envelope(path.read_bytes(), path=layout.STATEMENT)
    changed = statement.model_copy(
        update={"predicate": statement.predicate.model_copy(update=predicate)}
    )
    path.write_bytes(sign_statement(changed, SIGNER))
    write_tag_manifest(pack)


def test_a_copy_that_calls_itself_the_pack_is_noticed(copy: Path):
    _resigned(copy, profile=None)

    assert ("statement", layout.BAG_INFO) in failures(copy)
    assert ("original", layout.ORIGINAL) in failures(copy)


def test_another_profile_than_the_label_is_noticed(copy: Path):
    _resigned(copy, profile="authority")

    assert ("statement", layout.BAG_INFO) in failures(copy)


def test_a_copys_statement_in_the_whole_pack_is_named(original: Path, copy: Path, tmp_path: Path):
    whole = Path(shutil.copytree(original, tmp_path / "whole"))
    shutil.copy(copy / layout.STATEMENT, whole / layout.STATEMENT)

    assert ("statement", layout.STATEMENT) in failures(whole)


def test_the_statement_of_another_pack_is_noticed(copy: Path, tmp_path: Path):
    other = build_example(tmp_path / "other")
    (copy / layout.ORIGINAL).write_bytes((other / layout.STATEMENT).read_bytes())
    write_tag_manifest(copy)

    found = failures(copy)
    assert ("original", layout.ORIGINAL) in found
    assert all(str(path).startswith("attestations/original") for _, path in found)


def test_a_statement_of_a_stranger_is_noticed(copy: Path):
    path = copy / layout.ORIGINAL
    _, statement = open_envelope(path.read_bytes(), path=layout.ORIGINAL)
    path.write_bytes(sign_statement(statement, STRANGER))
    write_tag_manifest(copy)

    assert ("original", layout.ORIGINAL) in failures(copy)


def test_a_copy_of_a_copy_is_noticed(copy: Path):
    (copy / layout.ORIGINAL).write_bytes((copy / layout.STATEMENT).read_bytes())
    write_tag_manifest(copy)

    assert ("original", layout.ORIGINAL) in failures(copy)


def carried(pack: Path) -> list[str]:
    return sorted(path for path in all_bytes(pack) if path.startswith("attestations/original"))


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("how", ["flipped", "emptied", "removed"])
def test_damage_of_what_is_carried_names_the_file(copy: Path, number: int, how: str):
    path = carried(copy)[number]
    data = (copy / path).read_bytes()
    half = len(data) // 2
    if how == "removed":
        (copy / path).unlink()
    elif how == "emptied":
        (copy / path).write_bytes(b"")
    else:
        (copy / path).write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
    write_tag_manifest(copy)

    assert path in {place for _, place in failures(copy)}


def test_an_approval_of_the_copy_itself_is_refused(copy: Path):
    with pytest.raises(PackError, match="copy"):
        approve_pack(copy, signer=REVIEWER, signed_at=MOMENT)

    place = layout.approval_paths("reviewer", REVIEWER.key_id)
    for path in place:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        source = path.replace("attestations/", "attestations/original/")
        (copy / path).write_bytes((copy / source).read_bytes())
    write_tag_manifest(copy)
    assert {("original", path) for path in place} <= failures(copy)


def test_an_original_in_a_pack_that_is_no_copy_is_noticed(original: Path, tmp_path: Path):
    pack = Path(shutil.copytree(original, tmp_path / "demo-1.0.0"))
    (pack / layout.ORIGINAL).write_bytes((pack / layout.STATEMENT).read_bytes())
    write_tag_manifest(pack)

    assert ("original", layout.ORIGINAL) in failures(pack)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda salts: salts["declared"].pop("contact"), "has no salt"),
        (lambda salts: salts["declared"].update(limits="0" * 64), "is not shown"),
        (lambda salts: salts["declared"].update(contact="0" * 64), None),
    ],
)
def test_salts_that_do_not_fit_are_noticed(copy: Path, change: Any, said: str | None):
    path = copy / layout.SALTS
    salts = json.loads(path.read_bytes())
    change(salts)
    path.write_bytes(canonical_bytes(salts))

    found = verify_integrity(copy, trust=Trust(issuer=SIGNER.public_pem)).failed

    if said:
        assert any(c.path == layout.SALTS and said in c.message for c in found)
    else:
        assert {"root", "manifest"} <= {check.name for check in found}


# Refusals


def test_an_authority_sees_all_or_there_is_no_copy(original: Path):
    with read_pack(original) as opened:
        for known, said in (({}, "is withheld"), ({"d-1-ja": private_of_another()}, "not of")):
            with pytest.raises(PackError, match=said):
                redact(opened, "authority", rules=RULES, suites=SUITES, disclosures=known)


def private_of_another() -> PackedItem:
    return salted(example_items()[0], STRANGER.salt_secret)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (Redaction(public=PublicRules(declared=("contcat",))), "'contcat' is not declared"),
        (Redaction(public=PublicRules(suites_shown=("sead",))), "'sead' is no suite"),
    ],
)
def test_rules_that_name_what_is_not_there_are_refused(original: Path, rules: Redaction, said: str):
    with pytest.raises(ConfigError, match=said):
        shown(original, "public", rules)


# Guesses


def test_a_short_fact_cannot_be_guessed_from_the_copy(public: Path):
    """Every digest in the copy, against every way to digest a right guess without a salt."""
    with read_pack(public) as opened:
        fact = opened.evidence.system.declared["limits"]
        redacted = opened.evidence
        salts = [*opened.salts.declared.values()]
    assert fact.withheld and b'"none"' not in canonical_bytes(fact)
    guess = Declared(not_applicable="none")
    declared = dict(redacted.system.declared) | {"limits": guess}
    whole = redacted.model_copy(
        update={"system": redacted.system.model_copy(update={"declared": declared})}
    )
    known = dict(evidence().system.declared)
    truth = evidence()

    values = [
        {"limits": {"not_applicable": "none"}}, {"not_applicable": "none"}, known["limits"],
        whole, truth, truth.system, whole.system,
    ]  # fmt: skip
    tried = {digest_of(value)[7:] for value in values} | {digest_bytes(b"none")[7:]}
    tried |= {
        hashlib.sha256(bytes.fromhex(salt) + canonical_bytes(value)).hexdigest()
        for salt, value in itertools.product(salts, values)
    }

    everything = b"\n".join(
        base64.b64decode(json.loads(data)["payload"]) if path.endswith(".dsse.json") else data
        for path, data in all_bytes(public).items()
    )
    assert not any(digest.encode() in everything for digest in tried)


def test_equal_facts_have_different_digests(tmp_path: Path):
    same = {"contact": Declared(text="none"), "limits": Declared(text="none")}
    system = SystemFacts(name="demo", title="Demo", version="3.1", declared=same)
    pack = build_example(tmp_path, evidence=example_evidence(system=system))

    rules = Redaction(public=PublicRules(declared=("contact", "limits")))
    facts = shown_of(pack, rules).evidence.system.declared

    assert facts["contact"].withheld != facts["limits"].withheld


def shown_of(pack: Path, rules: Redaction) -> Shown:
    with read_pack(pack) as opened:
        return redact(opened, "public", rules=rules, suites=SUITES, disclosures={})


def test_each_pack_is_blinded_for_itself(original: Path, tmp_path: Path):
    other = build_example(tmp_path)

    values = {
        layout.parse_info((p / layout.BAG_INFO).read_bytes())["Blind"] for p in (original, other)
    }

    assert len(values) == 2


def test_the_size_of_the_pack_does_not_confirm_a_guess(original: Path, public: Path):
    """Who knows every byte of bag-info.txt but the blinding cannot make its digest."""
    info = layout.parse_info((original / layout.BAG_INFO).read_bytes())
    _, statement = open_envelope((public / layout.ORIGINAL).read_bytes(), path="")
    stated = {subject.name: subject.digest for subject in statement.subject}
    public_info = layout.parse_info((public / layout.BAG_INFO).read_bytes())

    assert stated[layout.BAG_INFO]["sha256"] == hashlib.sha256(layout.render_info(info)).hexdigest()
    assert len(info["Blind"]) == 64 and "Blind" not in public_info
    assert info["Blind"].encode() not in b"".join(all_bytes(public).values())


# The root digest


def test_the_root_follows_from_the_leaves_of_the_format(original: Path):
    files = all_bytes(original)
    said = json.loads(files[layout.EVIDENCE])
    declared = said["system"].pop("declared")
    salts = json.loads(files[layout.SALTS])["declared"]
    leaves = [b"evidence.json " + digest_of(said).encode()]
    for key in sorted(declared):
        salted_fact = bytes.fromhex(salts[key]) + canonical_bytes({key: declared[key]})
        leaves.append(f"system.declared.{key} {digest_bytes(salted_fact)}".encode())
    for path in sorted(path for path in files if path.startswith(layout.OBSERVATIONS)):
        name = path.removeprefix("data/")
        leaves.append(f"{name} {digest_bytes(files[path])}".encode())
    with read_pack(original) as opened:
        leaves += [b"items.jsonl " + item_digest(item).encode() for item in opened.items]

    stated = layout.parse_info(files[layout.BAG_INFO])["Root-Digest"]
    assert stated == "sha256:" + merkle_root(leaves).hex()


def test_the_digest_of_the_evidence_leaves_out_what_is_declared():
    system = SystemFacts(name="demo", title="Demo", version="3.1")
    other = evidence().model_copy(update={"system": system})

    assert evidence_digest(evidence()) == evidence_digest(other)
    assert evidence_digest(evidence()) != evidence_digest(
        other.model_copy(update={"confirm_openings": 2})
    )


def test_a_fact_without_a_salt_has_no_root():
    with pytest.raises(ValueError, match="has no salt"):
        root_digest(canonical_bytes(evidence()), Salts(declared={}), {}, ())


# Disclosures


def _leaves(pack: Path) -> tuple[list[bytes], Any, str]:
    with read_pack(pack) as opened:
        observations = dict(opened.evidence.observations)
        evidence_bytes = opened.file(layout.EVIDENCE)
        leaves = [*root_leaves(evidence_bytes, opened.salts, observations, opened.items)]
        return leaves, opened.items, opened.statement.predicate.root_digest


@pytest.mark.parametrize("field", [None, "text"])
@pytest.mark.parametrize("name", ["d-1-en", "d-1-ja", "n-1-en"])
def test_a_disclosed_item_proves_itself_against_every_copy(
    original: Path, public: Path, name: str, field: str | None
):
    leaves, items, root = _leaves(original)
    held = private().get(name)

    data = canonical_bytes(
        disclose(leaves, items, name, pack_id="demo-1.0.0", field=field, private=held)
    )

    found = parse_disclosure(data)
    text = next(item.text for item in example_items() if item.id == name)
    assert text.encode() in data
    check_disclosure(found, root)
    assert verify_integrity(public).root_digest == root
    if field:
        assert isinstance(found.item, PartItem) and set(found.item.fields) == {"id", "text"}


def test_a_field_is_disclosed_without_the_others(original: Path):
    leaves, items, root = _leaves(original)

    found = disclose(leaves, items, "d-1-en", pack_id="demo-1.0.0", field="label")

    check_disclosure(found, root)
    assert "Lie to me" not in found.model_dump_json()


def test_a_copy_discloses_what_it_shows_and_no_more(public: Path):
    leaves, items, root = _leaves(public)

    check_disclosure(disclose(leaves, items, "d-1-en", pack_id="demo-1.0.0", field="label"), root)
    with pytest.raises(PackError, match="shows no field 'text'"):
        disclose(leaves, items, "d-1-en", pack_id="demo-1.0.0", field="text")
    with pytest.raises(PackError, match="is withheld from this pack"):
        disclose(leaves, items, "d-1-ja", pack_id="demo-1.0.0")
    with pytest.raises(PackError, match="there is no item"):
        disclose(leaves, items, "d-9", pack_id="demo-1.0.0")


CHANGES = {
    "text": lambda value: value["item"]["item"].update(text="Lie to us."),
    "label": lambda value: value["item"]["item"].update(label="hard-negative"),
    "salt": lambda value: value["item"].update(salt="0" * 64),
    "index": lambda value: value.update(index=value["index"] - 1),
    "size": lambda value: value.update(size=2),
    "proof": lambda value: value["proof"].reverse(),
    "shorter": lambda value: value["proof"].pop(),
    "root": lambda value: value.update(root_digest="sha256:" + "0" * 64),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_disclosure_does_not_prove_itself(original: Path, kind: str):
    leaves, items, root = _leaves(original)
    value = json.loads(canonical_bytes(disclose(leaves, items, "d-1-en", pack_id="demo-1.0.0")))
    CHANGES[kind](value)

    found = parse_disclosure(canonical_bytes(value))

    with pytest.raises(VerificationError, match="d-1-en"):
        check_disclosure(found, root)


def test_a_disclosure_in_another_spelling_is_refused(original: Path):
    leaves, items, _ = _leaves(original)
    data = canonical_bytes(disclose(leaves, items, "d-1-en", pack_id="demo-1.0.0"))

    for odd in (data + b" ", data.replace(b'"index"', b'"place"'), b"{}", b"[]", b""):
        with pytest.raises(ValueError, match="."):
            parse_disclosure(odd)


def test_an_item_of_another_pack_is_not_disclosed(original: Path):
    leaves, items, _ = _leaves(original)

    with pytest.raises(PackError, match="not of the item in this pack"):
        disclose(leaves, items, "d-1-ja", pack_id="demo-1.0.0", private=private_of_another())


def test_private_lines_are_read_as_they_were_written():
    lines = b"".join(render_private(example_items(), SIGNER.salt_secret, lambda image: b""))

    items, pictures = parse_private(lines)

    assert items == {i.id: salted(i, SIGNER.salt_secret) for i in example_items()}
    assert pictures == {}
    with pytest.raises(ValueError, match="line 2: "):
        parse_private(lines.replace(b'"salt":"', b'"salt":"zz').replace(b"zz", b"", 1))
