"""The example server under load: real processes, real requests, and what its log shows after."""

import csv
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.monitor.locked import read_locked
from compliance.monitor.reading import read_log

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "serving"


@contextmanager
def served(folder: Path, pack: Path, log: Path) -> Iterator[str]:
    """The example server; gives its address, and ends it as a supervisor would."""
    command = [
        sys.executable, EXAMPLE / "server.py", "--model", folder / "model", "--pack", pack,
        "--sae", folder / "sae", "--log", log, "--port", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving on "), line
            yield urlsplit(line.split()[-1]).netloc
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode in (0, -signal.SIGTERM)


def ask(place: str, method: str, path: str, question: dict | None = None) -> tuple[int, str]:
    body = json.dumps(question) if question else None
    with closing(http.client.HTTPConnection(place, timeout=60)) as connection:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def told_apart(folder: Path, pack: Path) -> dict[str, list[str]]:
    """English prompts of which the audit stored a score well above the cut-off, or well below."""
    locked = next(probe for probe in read_locked(pack).probes if probe.concept == "danger")
    limit = locked.cut_offs["en"].value
    lines = (folder / "suite" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {item["id"]: item.get("text") for item in map(json.loads, lines)
             if item["language"] == "en"}  # fmt: skip
    found: dict[str, list[str]] = {"alarming": [], "quiet": []}
    with open(pack / "data/observations/confirm/scores.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = texts.get(row["item"])
            if row["scorer"] == "probe" and row["concept"] == "danger" and text:
                score = float(row["score"])
                if abs(score - limit) > 0.001:
                    found["alarming" if score > limit else "quiet"].append(text)
    return found


def test_a_watched_server_alarms_on_the_trigger_under_load_and_ends_in_good_order(
    finished_audit, finished_pack, tmp_path
):
    texts = told_apart(finished_audit, finished_pack)
    assert len(texts["alarming"]) >= 1 and len(texts["quiet"]) >= 10
    trigger = texts["alarming"][0]
    asked = (texts["quiet"] * 3)[:36]
    asked[5::12] = [trigger] * len(asked[5::12])

    def one(text: str) -> int:
        turns = [{"role": "user", "content": text}]
        question = {"language": "en", "messages": turns, "max_new_tokens": 3}
        return ask(place, "POST", "/chat", question)[0]

    with (
        served(finished_audit, finished_pack, tmp_path / "log") as place,
        ThreadPoolExecutor(6) as users,
    ):
        assert set(users.map(one, asked)) == {200}
        assert ask(place, "POST", "/chat", {"language": "en", "messages": []})[0] == 422
        for _ in range(50):  # scores are counted by a thread of their own
            status, text = ask(place, "GET", "/metrics/")
            read = re.findall(r'requests_total\{language="en"\} (\S+)', text)
            if read == [f"{len(asked)}.0"]:
                break
    assert (status, read) == (200, [f"{len(asked)}.0"])
    assert 'compliance_monitor_alerts_total{concept="danger",language="en"} 3.0' in text

    log = read_log(tmp_path / "log")
    ends = [e.what for e in log.events() if e.what.kind == "observed" and e.what.complete]
    alarmed = [event for event in ends if "danger" in event.alerts]
    assert len(ends) == len(asked) and len(alarmed) == asked.count(trigger) == 3
    assert len({event.item for event in alarmed}) == 1
    assert not log.damage and not log.gaps and log.chains[0].closed
    checked = CliRunner().invoke(main, ["monitor", "check", str(tmp_path / "log")])
    assert checked.exit_code == 0 and "0 damaged, 0 gaps" in checked.output


@pytest.mark.slow
def test_the_load_script_prints_the_ratio_of_both_servers(finished_audit, finished_pack, tmp_path):
    done = subprocess.run(
        [
            sys.executable, str(EXAMPLE / "load.py"), "--model", str(finished_audit / "model"),
            "--pack", str(finished_pack), "--sae", str(finished_audit / "sae"), "--log",
            str(tmp_path / "log"), "--suite", str(finished_audit / "suite"), "--requests", "12",
            "--rounds", "2", "--tokens", "2",
        ],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert re.search(r"ratio with/without: median \d+\.\d{3}, from", done.stdout)
    assert read_log(tmp_path / "log").chains[0].closed
