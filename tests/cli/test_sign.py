"""Persons make keys and sign packs: what they are shown, asked and refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance import trail
from compliance.cli import key_options, sign
from compliance.cli.main import main
from compliance.errors import VerificationError
from compliance.keys.opening import KeySource
from compliance.packs import approve_pack, layout, read_pack
from compliance.packs.integrity import verify_integrity
from compliance.workflow import look_before_signing
from compliance.workflow import sign as sign_pack
from compliance.workflow.signing import record_signatures
from tests.packs.example import MOMENT, REVIEWER, build_example, example_evidence
from tests.tiny_audit import write_audit


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack in an audit's folder, beside its trail."""
    return build_example(tmp_path, evidence=example_evidence(required_signatures={"approver": 2}))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert run("keys", "create", tmp_path / "own.pem", "--name", "R. Person").exit_code == 0
    return tmp_path / "own.pem"


def run(*arguments: object, **more: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **more)


def test_sign_shows_what_is_signed_and_signs(pack: Path, key: Path):
    name = "R. Person, reviewer of test reports"
    done = run("sign", pack, "--role", "reviewer", "--key", key, "--name", name, "--yes-i-sign")

    assert done.exit_code == 0, done.output
    root = verify_integrity(pack).root_digest
    for expected in ("demo-1.0.0", root, "1 supported", "declarations are missing", name,
                     "role:     reviewer", "signed:   approver: 0 of 2"):  # fmt: skip
        assert expected in done.stdout
    assert verify_integrity(pack).ok
    (path,) = (pack / "attestations/approvals").glob("*.dsse.json")
    assert done.stdout.splitlines()[-1] == f"signed: {path}"
    assert path.name.startswith("reviewer-")


def test_approve_is_sign_in_the_role_approver(pack: Path, key: Path):
    done = run("approve", pack, "--key", key, "--name", "R. Person", "--yes-i-sign")

    assert done.exit_code == 0, done.output
    assert [p.name[:9] for p in (pack / "attestations/approvals").glob("*.pem")] == ["approver-"]


def test_nobody_signs_without_being_asked(pack: Path, key: Path):
    done = run("approve", pack, "--key", key, "--name", "R. Person")

    assert done.exit_code == 2
    assert "nobody is at a terminal" in done.stderr
    assert not (pack / "attestations/approvals").exists()


@pytest.mark.parametrize(("answer", "signs"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_a_person_says_yes_or_no(
    pack: Path, key: Path, monkeypatch: pytest.MonkeyPatch, answer: str, signs: bool
):
    monkeypatch.setattr(sign, "at_terminal", lambda: True)

    done = run("approve", pack, "--key", key, "--name", "R. Person", input=answer)

    assert "Do you, R. Person, sign this as approver?" in done.stderr
    assert (done.exit_code == 0) is signs
    assert (pack / "attestations/approvals").exists() is signs


def test_one_key_signs_once_in_a_role(pack: Path, key: Path):
    arguments = ("approve", pack, "--key", key, "--name", "R. Person", "--yes-i-sign")
    run(*arguments)

    again = run(*arguments)

    assert again.exit_code == 2
    assert "this key has signed already as 'approver'" in again.stderr


def test_a_damaged_pack_is_not_signed(pack: Path, key: Path):
    (pack / "data/report.html").write_bytes(b"other")

    done = run("approve", pack, "--key", key, "--name", "R. Person", "--yes-i-sign")

    assert done.exit_code == 1
    assert "data/report.html" in done.stderr


def test_a_pack_that_was_changed_after_it_was_shown_is_not_signed(
    pack: Path, key: Path, tmp_path: Path
):
    shown = look_before_signing(pack, role="approver", key=KeySource(key, name="R. Person"))
    other = build_example(tmp_path / "other", documents={"report.html": b"other"})
    pack.rename(tmp_path / "moved")
    other.rename(pack)

    with pytest.raises(VerificationError, match="not the one that was shown"):
        sign_pack(shown)

    assert not (pack / "attestations/approvals").exists()


def test_signatures_stand_in_the_trail_of_the_audit(pack: Path, key: Path, tmp_path: Path):
    path = tmp_path / "trail.jsonl"
    before = trail.read(path)
    for role in ("reviewer", "approver", "preparer"):
        arguments = ("--role", role, "--key", key, "--name", f"R. Person, {role}")
        assert run("sign", pack, *arguments, "--yes-i-sign").exit_code == 0

    entries = trail.read(path)[len(before) :]

    assert [entry.kind for entry in entries] == ["reviewed", "approved", "signed"]
    assert entries[0].actor == "R. Person, reviewer"
    assert entries[0].facts["pack"] == "demo-1.0.0"
    assert entries[0].facts["root"] == verify_integrity(pack).root_digest
    assert entries[2].facts["role"] == "preparer"


def test_a_signature_that_the_trail_lacks_is_recorded_with_the_next(
    pack: Path, key: Path, tmp_path: Path
):
    approve_pack(pack, signer=REVIEWER, signed_at=MOMENT)
    before = len(trail.read(tmp_path / "trail.jsonl"))

    run("approve", pack, "--key", key, "--name", "R. Person", "--yes-i-sign")
    record_signatures(pack)

    kinds = [entry.kind for entry in trail.read(tmp_path / "trail.jsonl")[before:]]
    assert sorted(kinds) == ["approved", "reviewed"]


def test_a_pack_elsewhere_is_signed_without_a_trail(pack: Path, key: Path, tmp_path: Path):
    moved = pack.rename(tmp_path / "demo-1.0.0")

    assert run("approve", moved, "--key", key, "--name", "R", "--yes-i-sign").exit_code == 0

    assert "approved" not in {entry.kind for entry in trail.read(tmp_path / "trail.jsonl")}


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_keys_are_made_and_shown(tmp_path: Path, algorithm: str):
    made = run("keys", "create", tmp_path / "keys", "--algorithm", algorithm, "--name", "A. B")

    shown = [
        run("keys", "show", tmp_path / "keys" / name).stdout
        for name in ("issuer.pem", "issuer.pub.pem", "issuer.crt.pem")
    ]

    identity = made.stdout.splitlines()[0]
    assert identity.startswith("sha256:")
    for text in shown:
        assert text.startswith(f"{identity}\nalgorithm:   {algorithm}\n")
        assert text.endswith((tmp_path / "keys/issuer.pub.pem").read_text())
    assert "A. B; signed by itself" in shown[0]
    assert "PRIVATE" not in "".join(shown)


def test_a_passphrase_comes_from_a_file_or_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "word").write_text("correct horse\n")
    key = tmp_path / "key.pem"
    run("keys", "create", key, "--passphrase-file", tmp_path / "word")
    assert b"ENCRYPTED" in key.read_bytes()

    without = run("keys", "show", key)
    given = run("keys", "show", key, "--passphrase-file", tmp_path / "word")
    monkeypatch.setattr(key_options, "at_terminal", lambda: True)
    typed = run("keys", "show", key, input="correct horse\n")
    wrong = run("keys", "show", key, input="other\n")

    assert without.exit_code == 2 and "--passphrase-file" in without.stderr
    assert given.stdout and typed.stdout == given.stdout
    assert wrong.exit_code == 2 and "does not open it" in wrong.stderr
    assert "correct horse" not in typed.output


def test_at_a_terminal_a_new_key_gets_a_passphrase_that_is_typed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("compliance.cli.key_options.at_terminal", lambda: True)

    run("keys", "create", tmp_path / "a.pem", input="word\nword\n")
    run("keys", "create", tmp_path / "b.pem", input="\n\n")

    assert b"ENCRYPTED" in (tmp_path / "a.pem").read_bytes()
    assert b"ENCRYPTED" not in (tmp_path / "b.pem").read_bytes()


def test_a_key_that_is_there_is_kept(tmp_path: Path):
    run("keys", "create", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    again = run("keys", "create", tmp_path)
    (tmp_path / "issuer.pem").unlink()
    half = run("keys", "create", tmp_path)

    assert again.exit_code == half.exit_code == 2
    assert not (tmp_path / "issuer.pem").exists()
    assert all(path.read_bytes() == before[path] for path in tmp_path.iterdir())


def test_a_key_made_elsewhere_is_certified(tmp_path: Path):
    run("keys", "create", tmp_path / "own.pem")

    done = run("keys", "certify", tmp_path / "own.pem", tmp_path / "new.crt", "--name", "A. B")
    again = run("keys", "certify", tmp_path / "own.pem", tmp_path / "new.crt")

    assert done.exit_code == 0
    assert "A. B; signed by itself" in run("keys", "show", tmp_path / "new.crt").stdout
    assert again.exit_code == 2


def test_a_pin_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(key_options.PIN_VARIABLE, "4711")

    source = key_options.key_source("pkcs11:object=a?module-path=/m")

    assert source.secret == "4711"
    assert "4711" not in repr(source)


# The issuer


def test_an_audit_is_signed_with_name_and_passphrase_and_says_how_many_must_sign(
    tmp_path: Path, no_report: None
):
    audit = write_audit(tmp_path / "audit", signatures={"reviewer": 1})
    (tmp_path / "word").write_text("correct horse\n")
    (tmp_path / "other").write_text("other\n")
    key = tmp_path / "own.pem"
    run("keys", "create", key, "--passphrase-file", tmp_path / "word")
    arguments = ("audit", audit, "--key", key, "--name", "A. Person, QA", "--passphrase-file")

    wrong = run(*arguments, tmp_path / "other")
    before = (audit.parent / "runs").exists()
    done = run(*arguments, tmp_path / "word")

    assert wrong.exit_code == 2 and "does not open it" in wrong.stderr
    assert not before, "a key that cannot be used is told before the first run"
    assert done.exit_code == 0, done.output
    with read_pack(Path(done.stdout.splitlines()[-1])) as opened:
        assert opened.evidence.required_signatures == {"reviewer": 1}
        assert opened.statement.predicate.signed_by == "A. Person, QA"
        assert layout.MANIFEST_CMS in opened.folder.digests
    assert not (audit.parent / "keys").exists()


def test_the_issuer_cannot_be_asked_for_as_a_role(tmp_path: Path):
    audit = write_audit(tmp_path, signatures={"issuer": 1})

    done = run("plan", audit)

    assert done.exit_code == 2
    assert "the issuer signs in any case" in done.stderr


def test_a_key_that_an_audit_makes_has_a_certificate(finished_pack: Path):
    found = run("keys", "show", finished_pack.parent.parent / "keys" / "issuer.pem")

    assert "algorithm:   ecdsa-p256" in found.stdout
    assert "signed by itself" in found.stdout
    assert (finished_pack / layout.MANIFEST_CMS).is_file()
