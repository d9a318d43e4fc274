"""Keys in a token, with SoftHSM in the token's place."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.errors import PackError
from compliance.keys import Signer, public_pem, verify_signature
from compliance.keys.certificates import make_certificate
from compliance.keys.tokens import open_token_key, parse_uri, read_pin
from compliance.packs import approve_pack
from compliance.packs.integrity import verify_integrity
from compliance.packs.trust import Trust
from tests.packs.example import MOMENT, build_example

MODULE = next(
    (p for p in map(Path, (
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    )) if p.exists()),
    None,
)  # fmt: skip
PIN = "4711"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A token with a key of each kind; the module is loaded once in a process."""
    if MODULE is None or shutil.which("softhsm2-util") is None:
        pytest.skip("needs softhsm2")
    pkcs11 = pytest.importorskip("pkcs11", reason="needs the extra pkcs11")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "signing"]
    subprocess.run([*command, "--so-pin", "1234", "--pin", PIN], check=True, capture_output=True)
    library = pkcs11.lib(str(MODULE))
    library.reinitialize()
    with library.get_token(token_label="signing").open(user_pin=PIN, rw=True) as session:
        _make(session, "p256", "secp256r1")
        _make(session, "p384", "secp384r1")
        _make_ed25519(session, "ed25519")
    yield f"pkcs11:token=signing;object={{}}?module-path={MODULE}"
    del os.environ["SOFTHSM2_CONF"]


def _make(session, label: str, curve: str) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    parameters = encode_named_curve_parameters(curve)
    made = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: parameters}, local=True
    )
    made.generate_keypair(store=True, label=label, id=label.encode())


def _make_ed25519(session, label: str) -> None:
    from asn1crypto.core import PrintableString
    from pkcs11 import Attribute, KeyType, Mechanism

    curve = PrintableString("edwards25519").dump()
    made = session.create_domain_parameters(
        KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: curve}, local=True
    )
    made.generate_keypair(
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=label, id=label.encode()
    )


@pytest.mark.parametrize(("label", "algorithm"), [("p256", "ecdsa-p256"), ("ed25519", "ed25519")])
def test_a_token_signs_and_openssl_verifies(token: str, tmp_path: Path, label: str, algorithm: str):
    with open_token_key(token.format(label), pin=PIN, salts=None) as key:
        signer = Signer(key)
        signature = signer.sign(b"data")
        again = [signer.sign(bytes([n])) for n in range(8)]  # half of ECDSA's have the larger s

    verify_signature(signer.public_key, signature, b"data")
    for n, each in enumerate(again):
        verify_signature(signer.public_key, each, bytes([n]))
    (tmp_path / "key").write_bytes(public_pem(signer.public_key))
    (tmp_path / "sig").write_bytes(signature)
    (tmp_path / "data").write_bytes(b"data")
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "data",
         "-sigfile", "sig"], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "Signature Verified Successfully"
    assert signer.algorithm == algorithm


def test_salts_come_from_a_secret_file_that_is_made_once(token: str, tmp_path: Path):
    with open_token_key(token.format("p256"), pin=PIN, salts=tmp_path) as key:
        first = Signer(key).salt_secret
        assert Signer(key).salt_secret == first
    with open_token_key(token.format("p256"), pin=PIN, salts=tmp_path) as key:
        assert Signer(key).salt_secret == first
        name = Signer(key).key_id[7:19]

    (file,) = tmp_path.iterdir()
    assert file.name == f"{name}.salt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(first) == 32


@pytest.mark.parametrize("label", ["p256", "ed25519"])
def test_a_pack_is_signed_with_a_token(token: str, tmp_path: Path, label: str):
    with open_token_key(token.format(label), pin=PIN, salts=tmp_path / "keys") as key:
        named = Signer(key, name="A. Person, QA")
        signer = replace(named, certificate=make_certificate(named, valid_from=MOMENT))
        pack = build_example(tmp_path, signer=signer)
        approve_pack(pack, signer=replace(named, role="preparer"), signed_at=MOMENT)

    found = verify_integrity(pack, trust=Trust(issuer=signer.public_pem))

    assert found.ok, found.summary()
    assert ("cms" in {check.name for check in found.passed}) is (label == "p256")


@pytest.mark.parametrize(
    ("label", "pin", "message"),
    [
        ("p256", "0000", "refuses the PIN"),
        ("p384", PIN, "expected ed25519 or P-256"),
        ("nothing", PIN, "no private keys of this name"),
    ],
)
def test_a_key_that_cannot_be_used_is_told(token: str, label: str, pin: str, message: str):
    with (
        pytest.raises(PackError, match=message),
        open_token_key(token.format(label), pin=pin, salts=None),
    ):
        pass


def test_another_token_or_library_is_told(token: str, tmp_path: Path):
    (tmp_path / "no.so").write_bytes(b"no library")

    for uri, message in (
        (token.format("p256").replace("signing", "other"), "token cannot be used"),
        (
            f"pkcs11:object=a?module-path={tmp_path / 'no.so'}",
            "cannot be used: OS exception while loading",
        ),
    ):
        with pytest.raises(PackError, match=message), open_token_key(uri, pin=PIN, salts=None):
            pass


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:key", "not a PKCS#11 URI"),
        ("pkcs11:token=a;object=b", "needs 'module-path'"),
        ("pkcs11:token=a?module-path=/m", "needs 'module-path'"),
        ("pkcs11:object=b?module-path=/m&pin-value=1", "must not stand in the URI"),
        ("pkcs11:object=b;slot-id=1?module-path=/m", "'slot-id', which is not used"),
        ("pkcs11:object=b;type=cert?module-path=/m", "must name a private key"),
    ],
)
def test_a_uri_that_cannot_be_used_is_told(uri: str, message: str):
    with pytest.raises(PackError, match=message):
        parse_uri(uri)


def test_a_uri_is_read_with_its_escapes(tmp_path: Path):
    (tmp_path / "pin").write_text("12 34\n")

    uri = parse_uri(
        f"pkcs11:token=My%20token;object=%C3%A4;id=%00%ff?module-path=/m&pin-source=file:{tmp_path}/pin"
    )

    assert (uri.token, uri.label, uri.id) == ("My token", "ä", b"\x00\xff")
    assert read_pin(uri) == "12 34"
