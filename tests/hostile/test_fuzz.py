"""Every reader under a small budget of changes, and every input that ever failed, again."""

from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.readers import READERS, Reader

CORPUS = sorted(path for path in fuzz.CORPUS.rglob("*") if path.is_file())
BY_SLUG = {fuzz.slug(one.name): one for one in READERS}
INPUTS = 15
FOR_EVER = float("inf")


@pytest.mark.parametrize("one", READERS, ids=lambda one: fuzz.slug(one.name))
def test_changed_files_are_read_or_refused(one: Reader, tmp_path: Path):
    target = fuzz.Target(one, tmp_path, None)

    fuzz.structured(target, FOR_EVER, INPUTS)
    fuzz.blind(target, FOR_EVER, INPUTS)

    assert target.found.failures == []
    assert target.found.runs >= INPUTS
    assert target.found.slowest < fuzz.LIMIT


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_failed_is_answered(path: Path, tmp_path: Path):
    target = fuzz.Target(BY_SLUG[path.parent.name], tmp_path, None)

    target.run(path.read_bytes())

    assert target.found.failures == []


def test_names_of_readers_differ_as_folders_do():
    assert len(BY_SLUG) == len(READERS)


def test_the_same_changes_are_made_each_time(tmp_path: Path):
    def inputs(engine, folder: Path) -> list[bytes]:
        seen: list[bytes] = []
        target = fuzz.Target(BY_SLUG["csv"], folder, None)
        target.run = seen.append  # type: ignore[method-assign] # only the inputs count
        engine(target, FOR_EVER, 20)
        return seen

    for engine in (fuzz.structured, fuzz.blind):
        first, again = inputs(engine, tmp_path / "a"), inputs(engine, tmp_path / "b")

        assert first == again
        assert len(set(first)) > 10


@pytest.mark.parametrize(
    ("raised", "failed"),
    [(ValueError, True), (RecursionError, True), (KeyError, True), (None, False)],
)
def test_a_failure_is_found_once_and_kept(tmp_path: Path, raised, failed: bool):
    def read(path: Path) -> None:
        if path.read_bytes() != b"good" and raised:
            raise raised("here")

    one = Reader("made up", lambda folder: _good(folder), read)
    target = fuzz.Target(one, tmp_path / "place", tmp_path / "corpus")

    for data in (b"bad", b"worse"):
        target.run(data)

    kept = [path.read_bytes() for path in (tmp_path / "corpus").rglob("*") if path.is_file()]
    assert (len(target.found.failures), kept) == ((1, [b"bad"]) if failed else (0, []))


def test_an_input_that_takes_too_long_is_a_failure(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT", 0.05)

    def read(path: Path) -> None:
        if path.read_bytes() != b"good":
            sum(range(5_000_000))

    target = fuzz.Target(Reader("slow", _good, read), tmp_path / "place", None)
    target.run(b"bad")

    assert target.found.failures == ["took longer than 0.05 s"]


def _good(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"good")
    return folder / "file"
