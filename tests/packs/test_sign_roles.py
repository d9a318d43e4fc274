"""Those who sign later: whose keys theirs are, and whether enough of them signed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from compliance.errors import PackError
from compliance.keys import Signer
from compliance.packs import approve_pack, layout
from compliance.packs.build import write_tag_manifest
from compliance.packs.integrity import verify_integrity
from compliance.packs.trust import Trust
from compliance.records.verification import Check, Outcome
from tests.packs.example import (
    MOMENT,
    P256_REVIEWER,
    P256_SIGNER,
    REVIEWER,
    SIGNER,
    build_example,
    example_evidence,
)

APPROVERS = [Signer(ec.derive_private_key(n, ec.SECP256R1()), role="approver") for n in (11, 12)]


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that one reviewer and two approvers are to sign."""
    evidence = example_evidence(required_signatures={"approver": 2, "reviewer": 1})
    return build_example(tmp_path_factory.mktemp("unsigned"), signer=P256_SIGNER, evidence=evidence)


@pytest.fixture
def pack(unsigned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unsigned, tmp_path / "demo-1.0.0"))


def verified(pack: Path, **roles: list[Signer]) -> tuple[Check, ...]:
    pems = {role: [signer.public_pem for signer in signers] for role, signers in roles.items()}
    return verify_integrity(pack, trust=Trust(issuer=P256_SIGNER.public_pem, roles=pems)).checks


def lines(checks: tuple[Check, ...], name: str) -> list[str]:
    return [f"{check.status}: {check.message}" for check in checks if check.name == name]


def test_enough_signatures_by_given_keys_pass(pack: Path):
    for signer in (P256_REVIEWER, *APPROVERS):
        approve_pack(pack, signer=signer, signed_at=MOMENT)

    found = verified(pack, reviewer=[P256_REVIEWER], approver=APPROVERS)

    assert lines(found, "threshold") == [
        "passed: approver: 2 of 2 signatures are there; 2 by keys that were given",
        "passed: reviewer: 1 of 1 signatures are there; 1 by keys that were given",
    ]
    assert {check.status for check in found if check.name == "approval"} == {Outcome.PASSED}


def test_missing_ones_and_keys_that_were_not_given_are_counted(pack: Path):
    approve_pack(pack, signer=APPROVERS[0], signed_at=MOMENT)

    nothing = verified(pack)
    other = verified(pack, approver=[APPROVERS[1]])
    one = verified(pack, approver=APPROVERS)

    key = APPROVERS[0].key_id
    short = "not-checked: approver: 1 of 2 signatures are there; {} by keys that were given"
    none = "not-checked: reviewer: 0 of 1 signatures are there; 0 by keys that were given"
    assert lines(nothing, "threshold") == [short.format(0), none]
    assert lines(other, "threshold") == [short.format(0), none]
    assert lines(one, "threshold") == [short.format(1), none]
    assert lines(nothing, "approval") == [
        f"not-checked: signed as approver by {key}; whose key that is was not checked"
    ]
    assert lines(other, "approval") == [
        f"not-checked: signed as approver by {key}, which is no key that was given for this role"
    ]


def test_signatures_by_keys_that_were_not_given_are_not_enough(pack: Path):
    for signer in APPROVERS:
        approve_pack(pack, signer=signer, signed_at=MOMENT)

    found = verified(pack, approver=APPROVERS[:1])

    assert lines(found, "threshold")[0] == (
        "not-checked: approver: 2 of 2 signatures are there; 1 by keys that were given"
    )


def test_one_person_counts_once_however_often_the_key_is_given(pack: Path):
    approve_pack(pack, signer=APPROVERS[0], signed_at=MOMENT)

    found = verified(pack, approver=[APPROVERS[0], APPROVERS[0]])

    assert "1 by keys that were given" in lines(found, "threshold")[0]
    assert lines(found, "threshold")[0].startswith("not-checked")


def test_a_key_given_for_one_role_says_nothing_of_another(pack: Path):
    approve_pack(pack, signer=P256_REVIEWER, signed_at=MOMENT)

    found = verified(pack, approver=[P256_REVIEWER])

    assert "0 by keys that were given" in lines(found, "threshold")[1]


def test_one_key_in_two_roles_is_said(pack: Path):
    approve_pack(pack, signer=P256_REVIEWER, signed_at=MOMENT)
    approve_pack(pack, signer=replace(P256_REVIEWER, role="approver"), signed_at=MOMENT)
    approve_pack(pack, signer=replace(P256_SIGNER, role="preparer"), signed_at=MOMENT)

    said = lines(verified(pack), "approval")

    for key, roles in (
        (P256_REVIEWER.key_id, "approver and as reviewer"),
        (P256_SIGNER.key_id, "issuer and as preparer"),
    ):
        expected = f"not-checked: one key, {key}, signed as {roles}; that these are several persons"
        assert any(line.startswith(expected) for line in said), said


def test_both_algorithms_sign_one_pack(pack: Path):
    approve_pack(pack, signer=REVIEWER, signed_at=MOMENT)
    approve_pack(pack, signer=P256_REVIEWER, signed_at=MOMENT)

    found = verified(pack, reviewer=[REVIEWER, P256_REVIEWER])

    assert "2 of 1 signatures are there; 2 by keys that were given" in lines(found, "threshold")[1]


def test_an_approval_filed_under_another_key_is_named(pack: Path):
    approve_pack(pack, signer=P256_REVIEWER, signed_at=MOMENT)
    moved = layout.approval_paths("reviewer", REVIEWER.key_id)
    for old, new in zip(
        layout.approval_paths("reviewer", P256_REVIEWER.key_id), moved, strict=True
    ):
        (pack / old).rename(pack / new)
    write_tag_manifest(pack)

    failed = [check for check in verified(pack) if check.status is Outcome.FAILED]

    assert [(check.name, check.path) for check in failed] == [("approval", moved[0])]
    assert "filed under another key" in failed[0].message


def test_that_one_was_taken_away_is_not_noticed_and_said(pack: Path):
    approve_pack(pack, signer=P256_REVIEWER, signed_at=MOMENT)
    for path in layout.approval_paths("reviewer", P256_REVIEWER.key_id):
        (pack / path).unlink()
    write_tag_manifest(pack)

    found = verified(pack, reviewer=[P256_REVIEWER])

    assert not [check for check in found if check.status is Outcome.FAILED]
    assert lines(found, "approvals") == [
        "not-checked: a pack does not show whether an approval was taken away"
    ]


def test_what_is_no_key_cannot_be_given(pack: Path):
    with pytest.raises(PackError, match="a key given for 'reviewer': not a public key"):
        verify_integrity(pack, trust=Trust(roles={"reviewer": [b"hello"]}))


def test_the_issuer_does_not_sign_again(pack: Path):
    with pytest.raises(PackError, match="the issuer signs a pack when it is built"):
        approve_pack(pack, signer=SIGNER, signed_at=MOMENT)
