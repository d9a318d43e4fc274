from pathlib import Path

import pytest

from tests.trail.example import write_lines


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """A trail of four lines."""
    path = tmp_path / "trail.jsonl"
    write_lines(path, 4)
    return path
