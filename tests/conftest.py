"""Settings and fixtures that several folders share."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `import tests.tiny_audit`
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models spend more on threads than on numbers
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write goldens anew")


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def finished_audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny audit that went the whole way; nobody may change it."""
    from compliance import workflow
    from tests.tiny_audit import write_audit

    path = write_audit(tmp_path_factory.mktemp("finished"))
    workflow.audit(path)
    return path.parent


@pytest.fixture(scope="session")
def finished_pack(finished_audit: Path) -> Path:
    """The pack of ``finished_audit``; copy it before changing it."""
    return next((finished_audit / "packs").iterdir())


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave PDFs out, which take most of an audit's time and are tested by themselves."""
    from compliance.reports import render
    from tests.small_pdf import small_pdf

    monkeypatch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
