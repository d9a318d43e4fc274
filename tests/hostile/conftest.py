"""One server for all attacks, and a way to put a file in a reader's place."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.readers import reader
from tests.hostile.apart import MIB, Apart, Outcome, children

Attack = Callable[..., Outcome]
Examples = Callable[[str, Path], Path]


@pytest.fixture(scope="session")
def apart() -> Iterator[Apart]:
    """The server that reads files within limits."""
    yield from children()


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """A copy of a reader's example, which is made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def copy(name: str, to: Path) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("made") / "example"
            made[name] = folder, reader(name).make(folder)
        folder, path = made[name]
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return to / path.relative_to(folder)

    return copy


@pytest.fixture
def attack(apart: Apart, examples: Examples, tmp_path: Path) -> Attack:
    """Give a reader other bytes than its example's, and say what became of it.

    The answer must come in time and in bounds, and nothing else may be done; each test says
    besides what the answer is.
    """

    def run(
        name: str, data: bytes | str | None = None, *, memory: int = 64 * MIB, seconds: float = 5,
        prepare: Callable[[Path], None] | None = None,
    ) -> Outcome:  # fmt: skip
        path = examples(name, tmp_path / "attack" / "example")
        if data is not None:
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        if prepare is not None:
            prepare(path)
        outcome = apart(name, path, memory=memory, seconds=seconds)
        assert outcome.forbidden == ()
        assert outcome.opened == ()
        assert outcome.error is None or outcome.refused, f"{outcome.error}: {outcome.message}"
        assert outcome.seconds <= seconds
        assert outcome.memory <= memory
        return outcome

    return run
