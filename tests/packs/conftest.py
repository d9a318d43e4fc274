import shutil
from pathlib import Path

import pytest

from compliance.packs import approve_pack
from tests.packs.example import MOMENT, REVIEWER, SIGNER, build_example


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed and reviewed pack that no test may change."""
    pack = build_example(tmp_path_factory.mktemp("built"))
    approve_pack(pack, signer=REVIEWER, signed_at=MOMENT)
    return pack


@pytest.fixture
def pack(built: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(built, tmp_path / "demo-1.0.0"))


@pytest.fixture
def key() -> bytes:
    """The issuer's public key, from outside the pack."""
    return SIGNER.public_pem
