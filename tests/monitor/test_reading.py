"""Whatever is changed in a log is found, with its file and line; what is missing is said."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.errors import MonitorError
from compliance.monitor.log import EventLog
from compliance.monitor.reading import read_log
from tests.monitor.logging_process import SMALL, event

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A log of one chain in several files."""
    folder = tmp_path_factory.mktemp("log")
    with EventLog(folder, SMALL) as log:
        for number in range(100):
            log.write(event(str(number)))
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events-*.jsonl"))


def check(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["monitor", "check", str(folder)])
    return done.exit_code, done.output


def change(path: Path, edit) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    edit(lines)
    path.write_bytes(b"".join(lines))


def test_an_intact_log_is_said_to_be_intact(whole):
    code, output = check(whole)

    log = read_log(whole)
    assert code == 0 and "0 damaged, 0 gaps" in output
    assert log.chains[0].head in output
    assert f"{sum(log.counts.values()):,} events in 1 chain:" in output


@pytest.mark.parametrize(
    ("file", "place"), [(0, 0), (0, 20), (0, -1), (1, 0), (1, 20), (1, -1), (-1, 0), (-1, -1)]
)
def test_any_changed_byte_names_its_file_and_line(copy, file, place):
    path = files(copy)[file]
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    start = sum(map(len, lines[:place])) if place >= 0 else len(data) - len(lines[-1])
    number = place + 1 if place >= 0 else len(lines)
    for offset in range(0, len(lines[number - 1]) - 1, 61):
        broken = bytearray(data)
        broken[start + offset] ^= 1
        path.write_bytes(broken)

        code, output = check(copy)

        assert code == 1, offset
        assert f"damaged: {path.name}, line {number}: " in output


def test_a_line_that_is_taken_out_put_in_or_moved_is_damage(copy):
    path = files(copy)[1]
    original = path.read_bytes()
    edits = {
        "out": lambda lines: lines.pop(5),
        "in": lambda lines: lines.insert(5, lines[7]),
        "moved": lambda lines: lines.insert(5, lines.pop(9)),
        "first": lambda lines: lines.pop(0),
        "empty": lambda lines: lines.insert(5, b"\n"),
        "long": lambda lines: lines.insert(5, b"x" * (1 << 22) + b"\n"),
        "spaced": lambda lines: lines.insert(5, lines.pop(5).replace(b'":', b'": ')),
    }
    for name, edit in edits.items():
        path.write_bytes(original)
        change(path, edit)

        code, output = check(copy)

        line = 1 if name == "first" else 6
        assert code == 1 and f"{path.name}, line {line}: " in output, name


def test_an_event_that_was_written_anew_with_its_digests_breaks_the_chain(copy):
    from compliance.monitor.chain import digest_without_itself
    from compliance.records.base import canonical_bytes
    from compliance.records.monitoring import Event

    def forge(lines: list[bytes]) -> None:
        old = Event.model_validate(json.loads(lines[5]))
        new = old.model_copy(update={"what": old.what.model_copy(update={"reason": "forged"})})
        new = new.model_copy(update={"digest": digest_without_itself(new)})
        lines[5] = canonical_bytes(new) + b"\n"

    change(files(copy)[0], forge)

    code, output = check(copy)

    assert code == 1 and f"{files(copy)[0].name}, line 7: it follows" in output


@pytest.mark.parametrize("place", [0, 1])
def test_a_file_that_is_missing_unsaid_is_damage(copy, place):
    files(copy)[place].unlink()

    code, output = check(copy)

    assert code == 1 and "missing" in output


def test_the_last_files_of_a_chain_may_be_gone_which_is_a_gap(copy):
    files(copy)[-1].unlink()

    log = read_log(copy)

    assert not log.damage and any("its end was cut off" in str(gap) for gap in log.gaps)


def test_a_file_of_another_chain_is_not_taken_for_one_of_this(copy):
    path = files(copy)[1]
    path.rename(path.with_name(path.name.replace("-000002", "-000009")))

    assert check(copy)[0] == 1


def test_what_is_no_log_is_said_to_be_none(tmp_path):
    assert check(tmp_path)[0] == 2
    (tmp_path / "events.jsonl").write_text("{}\n")
    code, output = check(tmp_path)
    assert code == 2 and "holds no event log" in output and "Hint:" in output
    assert check(tmp_path / "missing")[0] == 2


def test_a_log_that_is_still_written_has_no_gap_at_its_end(tmp_path):
    with EventLog(tmp_path) as log:
        log.write(event("one"))
        log.flush()

        found = read_log(tmp_path)

        assert found.chains[0].written and not found.gaps and not found.damage
    assert read_log(tmp_path).chains[0].closed


def test_events_of_a_damaged_log_end_with_an_error(copy):
    path = files(copy)[1]
    path.write_bytes(path.read_bytes().replace(b'"elapsed_ms"', b'"elapsed-ms"', 1))

    with pytest.raises(MonitorError, match=path.name):
        list(read_log(copy).events())


def test_reading_a_log_loads_no_torch(whole):
    code = (
        "import sys; from compliance.workflow import check_log; from pathlib import Path;"
        f"log = check_log(Path({str(whole)!r})); list(log.events());"
        "print('torch' in sys.modules, len(log.damage))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.split() == ["False", "0"]
