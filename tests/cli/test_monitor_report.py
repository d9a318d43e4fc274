"""The monitor's report and its review queue, from log to page and from queue to suite."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.monitor.locked import read_locked
from compliance.records.monitoring_report import MonitoringReport
from compliance.suites.load import load_suite
from compliance.suites.reviewed import COLUMNS, read_queue
from tests.monitored import failed, harmless_and_alarming, observed, score_of, write_log


@pytest.fixture(scope="module")
def log(finished_pack, tmp_path_factory) -> Path:
    """Traffic of one language, one that could not be read, and one that was not declared."""
    locked, events = harmless_and_alarming(finished_pack)
    plain = score_of(locked, "danger", None, 0.0)
    strange = observed(900, locked, plain, language=None, declared=False)
    return write_log(
        tmp_path_factory.mktemp("log") / "log", [*events, failed(901, locked), strange]
    )


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["monitor", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def reported(*arguments: object) -> MonitoringReport:
    done = CliRunner().invoke(main, ["monitor", "report", *map(str, arguments), "--json"])
    return MonitoringReport.model_validate_json(done.stdout)


def test_a_report_counts_what_was_seen_and_says_what_was_not(log, finished_pack):
    code, output = run("report", log, "--pack", finished_pack)

    assert code == 0
    assert "1 sequence that the sensor could not read" in output
    assert "1 sequence undeclared" in output
    assert "no cut-off: 1 times: no cut-off for this language" in output
    assert "no rate of false alarms" in output and "looking often" in output.lower()
    assert "adjusted by Holm over 4 cells" in output


def test_alerts_of_traffic_like_calibration_stay_at_the_locked_rate(log, finished_pack):
    found = reported(log, "--pack", finished_pack)

    locked = read_locked(finished_pack)
    calibration = next(p for p in locked.probes if p.concept == "danger").calibration["en"]
    cell = next(c for c in found.cells if (c.concept, c.language) == ("danger", "en"))
    cut_off = cell.cut_off
    assert cell.alerts.n == len(calibration) + 3
    assert cell.alerts.successes == int((calibration > cut_off).sum()) + 3
    assert not cell.drift.differs and cell.drift.calibration == len(calibration)
    assert (found.sequences, found.tests, found.alpha) == (len(calibration) + 4, 4, locked.alpha)


def test_a_damaged_log_is_said_first_and_none_of_its_chain_is_counted(log, finished_pack, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in log.glob("events-*"):
        (copy / path.name).write_bytes(path.read_bytes().replace(b'"tokens":9', b'"tokens":8', 1))
    other = write_log(tmp_path / "other", harmless_and_alarming(finished_pack)[1][:5])

    code, output = run("report", copy, other, "--pack", finished_pack)

    first = output[output.index("damaged: ") :].splitlines()
    assert code == 1 and first[0].startswith("damaged: copy/events-")
    assert "none of the events of 1 damaged chain is counted" in first[1]
    assert "5 sequences from" in output
    assert run("queue", copy, "--out", tmp_path / "q.csv")[0] == 1
    assert (tmp_path / "q.csv").read_text().count("\n") == 1


def test_a_log_counts_once(log, finished_pack):
    code, output = run("report", log, log, "--pack", finished_pack)

    assert code == 2 and "would count twice" in output


def test_a_log_of_another_pack_gives_no_rate(finished_pack, tmp_path):
    locked, events = harmless_and_alarming(finished_pack)
    other = "sha256:" + 64 * "5"
    folder = write_log(tmp_path / "log", [e.model_copy(update={"pack": other}) for e in events])

    found = reported(folder, "--pack", finished_pack)

    assert found.sequences == 0 and all(cell.alerts is None for cell in found.cells)
    assert [(one.pack, one.sequences) for one in found.other_packs] == [(other, len(events))]


def test_the_page_holds_what_the_lines_do_and_harmless_text_alone(log, finished_pack, tmp_path):
    page = tmp_path / "report.html"
    locked, events = harmless_and_alarming(finished_pack)
    hostile = write_log(
        tmp_path / "hostile", [failed(7, locked, "<script>alert(1)</script>\u202e")]
    )

    run("report", log, hostile, "--pack", finished_pack, "--html", page)

    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "\u202e" not in text and "http-equiv" in text
    assert "no rate of false alarms" in text and "No queue was given" in text
    assert locked.root in text and "not tested: no sequence was seen" in text


def queue_of(log: Path, path: Path) -> list[dict[str, str]]:
    assert run("queue", log, "--out", path)[0] == 0
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def test_a_queue_holds_each_alert_and_no_words(log, finished_pack, tmp_path):
    rows = queue_of(log, tmp_path / "queue.csv")
    expected = reported(log, "--pack", finished_pack).cells

    assert len(rows) == sum(c.alerts.successes for c in expected if c.alerts)
    assert all(float(row["score"]) > float(row["cut_off"]) for row in rows)
    assert all(row[name] == "" for row in rows for name in ("decision", "text", "reviewer"))
    code, output = run("queue", log, "--out", tmp_path / "queue.csv")
    assert code == 2 and "may hold decisions" in output
    run("queue", log, "--out", tmp_path / "queue.jsonl")
    lines = (tmp_path / "queue.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["request"] for line in lines] == [row["request"] for row in rows]
    assert run("queue", log, "--out", tmp_path / "queue.txt")[0] == 2


DECIDED = {"decision": "false-alert", "reviewer": "Ana Pérez", "date": "2026-11-30"}


def test_false_alerts_with_words_are_benign_items_and_other_rows_say_why_not(
    log, finished_pack, tmp_path
):
    rows = queue_of(log, tmp_path / "queue.csv")[:3]
    rows = [dict(row, request=f"{n:016x}") for n, row in enumerate(rows * 3)]
    changes = [
        {**DECIDED, "text": "apple stone"},
        {**DECIDED, "text": "Apple  stone"},
        {**DECIDED, "text": "river cloud"},
        {**DECIDED, "decision": "true-alert", "text": "River cloud"},
        {**DECIDED, "decision": "unsure"},
        {},
        DECIDED,
        {"decision": "false-alert", "text": "paper"},
        {**DECIDED, "text": "paper", "pack": "sha256:" + 64 * "1"},
    ]
    for row, change in zip(rows, changes, strict=True):
        row.update(change)
    path = write_rows(tmp_path / "decided.csv", rows)

    code, output = run("labels", path, "--pack", finished_pack, "--to", tmp_path / "from-alerts")

    assert code == 0 and "1 benign item in suite from-alerts" in output
    reasons = [line.split(": ", 1)[1] for line in output.splitlines() if line.startswith("row ")]
    assert [reason[:20] for reason in reasons] == [
        "the same words as in", "another row with the", "a true alert; a posi",
        "the reviewer is unsu", "nobody has decided", "its words are not gi",
        "who decided, or when", "it is an alert of an",
    ]  # fmt: skip
    suite = load_suite("from-alerts", tmp_path)
    (item,) = suite.items
    assert (item.label, item.concept, item.text) == ("negative", None, "apple stone")
    assert item.restricted and item.source == "monitoring"
    assert item.reviewed == "Ana Pérez on 2026-11-30, not blind"
    assert suite.datasheet.reviewers == ("Ana Pérez",) and suite.datasheet.paired
    again = run("labels", path, "--pack", finished_pack, "--to", tmp_path / "from-alerts")
    assert again[0] == 2 and "never overwritten" in again[1]


def test_the_suite_can_be_checked_and_planned_with_beside_the_packs_own(
    log, finished_pack, finished_audit, tmp_path
):
    import yaml

    from compliance import workflow
    from tests.tiny_audit import write_audit

    rows = queue_of(log, tmp_path / "queue.csv")
    for number, row in enumerate(rows):
        row.update(DECIDED, text=f"apple stone river {number}")
    path = write_rows(tmp_path / "decided.csv", rows)
    audit = write_audit(tmp_path / "audit")
    target = tmp_path / "audit" / "from-alerts"

    run("labels", path, "--pack", finished_pack, "--to", target)

    checked = CliRunner().invoke(main, ["suites", "check", str(target)])
    assert checked.exit_code in (0, 1) and "Traceback" not in checked.output
    settings = yaml.safe_load(audit.read_text(encoding="utf-8"))
    settings["suites"] = ["./suite", "./from-alerts"]
    audit.write_text(yaml.safe_dump(settings), encoding="utf-8")
    workflow.plan(audit)


def test_without_words_counts_flow_back_into_the_report(log, finished_pack, tmp_path):
    rows = queue_of(log, tmp_path / "queue.csv")
    for row, decision in zip(rows, ("true-alert", "false-alert"), strict=False):
        row.update(DECIDED, decision=decision)
    path = write_rows(tmp_path / "decided.csv", rows)
    page = tmp_path / "page.html"

    _, output = run("labels", path, "--pack", finished_pack, "--to", tmp_path / "none")
    _, lines = run("report", log, "--pack", finished_pack, "--reviewed", path, "--html", page)

    counts = f"reviewed danger/en: 1 true, 1 false, 0 unsure, {len(rows) - 2} open; true 1 of 2"
    assert "no suite was written" in output and not (tmp_path / "none").exists()
    assert counts in output and counts in lines
    assert "What reviewers decided about alerts" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decision": "wrong"}, "line 2, column decision"),
        ({"date": "30.11.2026"}, "line 2, column date"),
        ({"request": "1.2E+15"}, "line 2, column request"),
        ({"reviewer": "=cmd()"}, "line 2, column reviewer"),
    ],
)
def test_a_row_that_does_not_fit_names_its_place(log, finished_pack, tmp_path, change, said):
    rows = queue_of(log, tmp_path / "queue.csv")
    rows[0].update(change)
    path = write_rows(tmp_path / "decided.csv", rows)

    code, output = run("labels", path, "--pack", finished_pack, "--to", tmp_path / "suite")

    assert code == 2 and said in output and "Hint" in output


def test_a_queue_from_a_spreadsheet_is_read(log, finished_pack, tmp_path):
    """With a mark at its beginning and semicolons, as some write it."""
    rows = queue_of(log, tmp_path / "queue.csv")
    path = tmp_path / "decided.csv"
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter=";")
        table.writeheader()
        table.writerows(dict(row, **DECIDED, text="one; two\nthree") for row in rows[:1])

    run("labels", path, "--pack", finished_pack, "--to", tmp_path / "suite")

    assert load_suite("suite", tmp_path).items[0].text == "one; two\nthree"


def test_a_queue_of_many_alerts_is_read_back(finished_pack, tmp_path):
    locked, events = harmless_and_alarming(finished_pack)
    folder = write_log(tmp_path / "log", [
        events[-1].model_copy(update={"request": f"{n:016x}"}) for n in range(8000)
    ])  # fmt: skip

    rows = queue_of(folder, tmp_path / "queue.csv")

    assert len(read_queue(tmp_path / "queue.csv")) == len(rows) > 4000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"request,at\n\xff,1\n", "not UTF-8"),
        (b'request,at\n"open', "not a CSV file"),
        (b"", None),
        (b"request,at\n1,2,3\n", "more cells"),
        (b"\x00\n\x00\n", "line 2"),
    ],
)
def test_a_file_that_is_no_queue_is_refused(finished_pack, tmp_path, data, said):
    path = tmp_path / "queue.csv"
    path.write_bytes(data)

    code, output = run("labels", path, "--pack", finished_pack, "--to", tmp_path / "suite")

    assert (code, said is None or said in output) == (0 if said is None else 2, True), output
