"""The monitor's verbs: what they need, what they refuse, and what they tell while they work."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compliance import workflow
from compliance.errors import MonitorError
from compliance.monitor.log import EventLog
from tests.monitored import harmless_and_alarming, write_log

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def log(finished_pack, tmp_path_factory) -> Path:
    return write_log(
        tmp_path_factory.mktemp("log") / "log", harmless_and_alarming(finished_pack)[1] * 40
    )


class Told:
    def __init__(self):
        self.stages, self.steps = [], []

    def stage(self, text):
        self.stages.append(text)

    def advance(self, done, total, seconds_left):
        self.steps.append((done, total))


def test_a_report_tells_how_far_it_is(log, finished_pack):
    told = Told()

    found = workflow.report_monitoring([log], finished_pack, progress=told)

    events = found.sequences + 2  # and the events that open and close the log
    assert told.stages[-1] == f"counting {events:,} events"
    assert told.steps == [(1000, events)]


def test_a_report_loads_no_torch(log, finished_pack, tmp_path):
    code = (
        "import sys; from pathlib import Path; from compliance import workflow;"
        f"workflow.report_monitoring([Path({str(log)!r})], Path({str(finished_pack)!r}),"
        f" page=Path({str(tmp_path / 'page.html')!r}));"
        f"workflow.queue_alerts(Path({str(log)!r}), Path({str(tmp_path / 'queue.csv')!r}));"
        "print('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.strip() == "False"


def test_a_pack_that_was_changed_is_refused(log, finished_pack, tmp_path):
    copy = shutil.copytree(finished_pack, tmp_path / finished_pack.name)
    victim = copy / "data" / "observations" / "fit" / "scores.csv"
    victim.write_bytes(victim.read_bytes() + b"\n")

    with pytest.raises(MonitorError, match="sha256"):
        workflow.report_monitoring([log], copy)


def test_a_log_that_is_still_written_can_be_reported(finished_pack, tmp_path):
    events = harmless_and_alarming(finished_pack)[1]
    with EventLog(tmp_path / "log") as open_log:
        for event in events:
            open_log.write(event)
        open_log.flush()

        found = workflow.report_monitoring([tmp_path / "log"], finished_pack)

    assert found.sequences == len(events) and not found.chains[0].closed and not found.gaps
