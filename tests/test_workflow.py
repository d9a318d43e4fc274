"""The whole way: same input, same bytes; a kill at any point; a pack that verifies."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from compliance import workflow
from compliance.errors import PlanError
from compliance.packs.reading import read_pack
from compliance.records.base import to_json
from compliance.records.finding import Status
from compliance.records.pack import WithheldItem
from compliance.records.verification import Outcome
from compliance.workflow import stages
from compliance.workflow.documents import report_names
from tests.tiny_audit import write_audit, write_items

EPOCH = "1767225600"
WITHOUT_INTERVAL = {
    "count", "split-conformal", "largest-difference", "settings", "union-bound",
    "power-auroc", "power-binomial", "power-simulation", "auprc", "auroc-partial",
}  # fmt: skip
"""Methods whose number is a count, a bound or a plan's, or stands in the appendix alone."""


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def issuer(audit: Path) -> Path:
    return audit / "keys" / "issuer.pub.pem"


def test_the_pack_of_an_audit_verifies_with_its_key(finished_audit, finished_pack):
    found = workflow.verify(finished_pack, key=issuer(finished_audit))

    assert found.ok, found.summary()
    assert not [c for c in found.not_checked if c.name == "issuer"]


def test_without_a_key_the_first_line_says_that_the_issuer_was_not_checked(finished_pack):
    found = workflow.verify(finished_pack)

    assert found.ok
    assert "issuer" in found.summary()[0]


def test_every_planned_cell_has_a_finding_and_every_result_an_interval_or_a_reason(finished_pack):
    evidence = json.loads((finished_pack / "data" / "evidence.json").read_bytes())

    assert len(evidence["findings"]) == len(evidence["plan"]["cells"]) == 4
    for result in evidence["results"]:
        drawn_whole = result["id"].endswith("/random-latents-p95")  # of all that were drawn
        bare = result["method"] in WITHOUT_INTERVAL or drawn_whole
        assert bare or "low" in result or "reason" in result, result["id"]


def test_every_condition_of_every_cell_is_measured(finished_pack):
    evidence = json.loads((finished_pack / "data" / "evidence.json").read_bytes())

    rules = [rule["condition"] for rule in evidence["plan"]["rules"]]
    for finding in evidence["findings"]:
        assert [c["condition"] for c in finding["conditions"]] == rules
        assert Status.NOT_MEASURED not in {c["status"] for c in finding["conditions"]}


def test_the_trail_has_the_events_in_their_order(finished_pack):
    lines = (finished_pack / "data" / "trail.jsonl").read_bytes().splitlines()

    assert [json.loads(line)["kind"] for line in lines] == [
        "suite-registered", "plan-frozen", "run-started", "run-finished", "locked",
        "confirmation-opened", "run-started", "run-finished", "assessed", "report-built",
    ]  # fmt: skip


def test_two_audits_in_fresh_folders_give_the_same_bytes(finished_audit, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    key = finished_audit / "keys" / "issuer.pem"

    packs = [workflow.audit(write_audit(tmp_path / name), key=key) for name in ("a", "b")]

    first, second = (files_of(pack) for pack in packs)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_stage_by_stage_gives_the_same_evidence_as_audit(finished_audit, tmp_path):
    path = write_audit(tmp_path / "stages")
    workflow.plan(path)
    assert workflow.observe(path) == "fit"
    workflow.lock(path)
    assert workflow.observe(path) == "confirm"
    evidence = workflow.assess(path)

    whole = json.loads(next(finished_audit.glob("packs/*/data/evidence.json")).read_bytes())
    assert to_json(evidence) == whole


def test_an_audit_that_is_done_is_not_done_again(finished_audit, finished_pack, tmp_path):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    before = files_of(copy)

    again = workflow.audit(copy / "audit.yaml")

    assert again.name == finished_pack.name
    assert files_of(copy) == before


def test_changed_words_make_a_patch_version_that_names_its_parent(
    finished_audit, tmp_path, no_report
):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    text = (copy / "system.yaml").read_text(encoding="utf-8")
    (copy / "system.yaml").write_text(text.replace("Testing", "Trying"), encoding="utf-8")

    pack = workflow.audit(copy / "audit.yaml")

    assert pack.name == "tiny-1.0.1"
    assert "Parent-Root-Digest" in (pack / "bag-info.txt").read_text(encoding="utf-8")
    assert workflow.verify(pack, key=issuer(copy)).ok


def test_declarations_changed_after_the_assessment_are_not_packed_unassessed(
    finished_audit, tmp_path
):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    text = (copy / "system.yaml").read_text(encoding="utf-8")
    (copy / "system.yaml").write_text(text.replace("Testing", "Trying"), encoding="utf-8")

    with pytest.raises(PlanError, match="not as it was when the results were assessed"):
        workflow.pack(copy / "audit.yaml")


def test_a_pass_whose_tables_are_not_all_there_is_put_together_again(
    finished_audit, tmp_path, no_report
):
    """As after a kill between two of its files: from the shards, without running the model."""
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    shutil.rmtree(copy / "packs")
    run = next(p for p in (copy / "runs").iterdir() if p.is_dir())
    before = files_of(run / "observations")
    (run / "observations" / "confirm" / "scores.csv").unlink()
    (run / "observations" / "fit" / "items.csv").write_bytes(b"item\n")

    workflow.audit(copy / "audit.yaml")

    assert files_of(run / "observations") == before


def test_scores_dropped_before_the_assessment_are_noticed(finished_audit, tmp_path):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    path = next(copy.glob("runs/*/observations/confirm/scores.csv"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"-positive-en" not in line))

    with pytest.raises(PlanError, match="the confirm split has not been run"):
        workflow.assess(copy / "audit.yaml")


def test_scores_dropped_from_a_pack_are_named_with_all_digests_redone(finished_pack, tmp_path):
    """The forger computes evidence anew from fewer scores; the trail knows the tables."""
    from compliance.assessment.assess import assess
    from compliance.packs.reading import read_pack

    copy = Path(shutil.copytree(finished_pack, tmp_path / "copy"))
    path = copy / "data" / "observations" / "confirm" / "scores.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"danger-003-positive-en" not in line))
    with read_pack(copy) as opened:
        old, files = opened.evidence, opened.observations()
    forged = assess(
        old.plan, old.lock, files, system=old.system, environment=old.environment,
        law=old.law, confirm_openings=old.confirm_openings,
    )  # fmt: skip
    redo_digests(copy, forged)

    found = workflow.verify(copy)

    named = " ".join(c.message for c in found.failed if c.name == "numbers")
    assert "observations.confirm/scores.csv" in named


def test_tables_that_do_not_fit_together_are_a_failed_check_and_no_traceback(
    finished_pack, tmp_path
):
    from compliance.records.evidence import Evidence

    plain = json.loads((finished_pack / "data" / "evidence.json").read_bytes())
    for name, old, new in (
        ("confirm/items.csv", b",confirm,", b",train,"),
        ("confirm/scores.csv", b",danger,", b",banger,"),
        ("fit/items.csv", b"danger", b"banger"),
    ):
        copy = Path(shutil.copytree(finished_pack, tmp_path / name.replace("/", "-")))
        path = copy / "data" / "observations" / name
        path.write_bytes(path.read_bytes().replace(old, new))
        redo_digests(copy, Evidence.model_validate(plain))

        found = workflow.verify(copy)

        assert any(c.name == "numbers" and c.status is Outcome.FAILED for c in found.checks), name


def test_the_scale_on_activations_is_part_of_the_plan(tmp_path):
    from tests.probes.tiny import save_tiny_sae

    path = write_audit(
        tmp_path, subject={"model": "./model", "saes": [{"path": "./sae", "activation_scale": 0.5}]}
    )
    shutil.rmtree(tmp_path / "sae")
    save_tiny_sae(tmp_path / "sae", normalize_activations="expected_average_only_in")

    frozen = workflow.plan(path)

    assert frozen.saes[0].activation_scale == 0.5


def test_a_senseless_epoch_is_refused(finished_audit, tmp_path, monkeypatch):
    from compliance.errors import ConfigError

    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "tomorrow")

    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        workflow.plan(copy / "audit.yaml")


def test_an_item_taken_out_of_the_pack_is_noticed(finished_pack):
    from compliance.assessment.assess import item_differences
    from compliance.packs.reading import read_pack

    with read_pack(finished_pack) as opened:
        evidence, files = opened.evidence, opened.observations()
        items = {i.item.id: i.item for i in opened.items}
    taken = dict(list(items.items())[1:])
    edited = items | {
        next(iter(items)): next(iter(items.values())).model_copy(
            update={"text": "other words", "messages": None}
        )
    }

    assert not list(item_differences(evidence.plan, files, items.items()))
    assert len(list(item_differences(evidence.plan, files, taken.items()))) == 1
    assert [m.where for m in item_differences(evidence.plan, files, edited.items())] == [
        "plan.suites.tiny.digest"
    ]


def test_texts_of_restricted_items_stay_out_of_the_pack(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    audit = write_audit(tmp_path / "audit")
    path = tmp_path / "audit" / "suite" / "items.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for item in items:
        if item.get("concept") == "danger":
            item["text"] += f" unmistakable{item['id'].encode().hex()}"
            item["restricted"] = True
    write_items(path.parent, items)

    pack = workflow.audit(audit)

    restricted = {item["id"] for item in items if item.get("restricted")}
    with read_pack(pack) as opened:
        withheld = {item.id for item in opened.items if isinstance(item, WithheldItem)}
    assert withheld and withheld <= restricted
    assert not any(b"unmistakable" in data for data in files_of(pack).values())
    checks = {c.name: c for c in workflow.verify(pack, key=issuer(audit.parent)).checks}
    assert checks["numbers"].status is Outcome.PASSED
    assert checks["withheld-items"].status is Outcome.NOT_CHECKED
    assert checks["withheld-items"].message.startswith(f"{len(withheld)} of ")


def test_fidelity_is_told_of_neutral_text_where_there_is_some(tmp_path, no_report):
    audit = write_audit(tmp_path / "audit")
    suite = audit.parent / "suite"
    add_neutral_text(suite, number=5)

    pack = workflow.audit(audit)

    with read_pack(pack) as opened:
        evidence, files = opened.evidence, opened.observations()
    observed = pd.read_csv(io.BytesIO(files["confirm/items.csv"]))
    scores = pd.read_csv(io.BytesIO(files["confirm/scores.csv"]))
    losses = pd.read_csv(io.BytesIO(files["confirm/losses.csv"]))
    neutral = set(observed["item"][observed["label"] == "neutral"])
    ids = {result.id for result in evidence.results}
    tokens = {result.id: result.value for result in evidence.results}
    assert len(neutral) == 10 and set(losses["item"]) == neutral
    assert not neutral & set(scores["item"])
    assert {"fidelity/en/text/sae0/benign.read/ev", "fidelity/el/text/sae0/neutral.read/ev"} <= ids
    assert "fidelity/en/text/sae0/benign.read/loss" not in ids
    mine = observed[observed["item"].isin(neutral) & (observed["language"] == "en")]
    assert 0 < tokens["fidelity/en/text/sae0/neutral.read/tokens"] <= mine["tokens"].sum()
    counts = {r.id: r.value for r in evidence.results if r.id.endswith("/n-benign")}
    assert max(counts.values()) == 30  # half of the benign ones, and no neutral text
    verified = workflow.verify(pack, key=issuer(audit.parent))
    assert not [c for c in verified.checks if c.status is Outcome.FAILED]


def add_neutral_text(suite, *, number):
    items = [json.loads(line) for line in (suite / "items.jsonl").read_text("utf-8").splitlines()]
    sheet = yaml.safe_load((suite / "suite.yaml").read_text("utf-8"))
    sheet["neutral"] = "made for tests"
    source = {name: items[0][name] for name in ("origin", "source", "licence")}
    for language, text in (("en", "the river is {} miles long"), ("el", "ο ποταμός έχει {} μίλια")):
        for n in range(number):
            items.append(
                {
                    "id": f"neutral-{n}-{language}",
                    "group": f"neutral-{n}",
                    **source,
                    "label": "neutral",
                    "language": language,
                    "text": text.format(n),
                }
            )
    write_items(suite, items)
    (suite / "suite.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")


def test_a_second_opening_of_the_same_confirm_groups_is_counted(
    finished_audit, tmp_path, no_report
):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    text = (copy / "audit.yaml").read_text(encoding="utf-8")
    (copy / "audit.yaml").write_text(text.replace("alpha: 0.1", "alpha: 0.2"), encoding="utf-8")

    pack = workflow.audit(copy / "audit.yaml")

    evidence = json.loads((pack / "data" / "evidence.json").read_bytes())
    assert evidence["confirm_openings"] == 2
    assert pack.name == "tiny-1.1.0"


def test_an_opening_of_some_of_the_same_groups_counts_too(finished_audit, tmp_path, no_report):
    copy = Path(shutil.copytree(finished_audit, tmp_path / "copy"))
    config = yaml.safe_load((copy / "audit.yaml").read_text(encoding="utf-8"))
    config["probes"] = config["probes"][:1]
    (copy / "audit.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    pack = workflow.audit(copy / "audit.yaml")

    evidence = json.loads((pack / "data" / "evidence.json").read_bytes())
    assert evidence["confirm_openings"] == 2


KILLED = """
import os, sys
from pathlib import Path
import compliance.storage as storage
from compliance import workflow
from compliance.reports import render
from tests.small_pdf import small_pdf

left = int(sys.argv[2])
replace = os.replace

def dying(source, target):
    global left
    left -= 1
    if left < 0:
        print(target, flush=True)
        os.kill(os.getpid(), 9)
    replace(source, target)

os.replace = dying
render.render_pdf = lambda *a, **b: small_pdf()
workflow.audit(Path(sys.argv[1]), key=Path(sys.argv[3]))
"""


def test_an_audit_killed_at_any_write_goes_on_and_gives_the_same_pack(
    finished_audit, tmp_path, monkeypatch, no_report
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    key = finished_audit / "keys" / "issuer.pem"
    whole = workflow.audit(write_audit(tmp_path / "whole"), key=key)
    path = write_audit(tmp_path / "killed")
    places = []
    for writes in (6, 9, 24, 18, 59, 26, 18):  # in each pass, among the tables, in the pack
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(writes), str(key)],
            capture_output=True, check=False, cwd=Path(__file__).parent.parent, text=True,
        )  # fmt: skip
        if done.returncode == -9:
            places.append(Path(done.stdout.strip()).parent.name)

    pack = workflow.audit(path, key=key)

    assert len(set(places)) >= 5, places
    assert files_of(pack) == files_of(whole)


def test_batches_change_nothing_beyond_the_tolerance(finished_audit, tmp_path, no_report):
    """Another batch size moves scores by rounding only, and no alarm flips."""
    path = write_audit(tmp_path / "wide", batch_tokens=4096)
    workflow.audit(path)

    import pandas as pd

    tables = [
        pd.read_csv(next(folder.glob("runs/*/observations/confirm/scores.csv")))
        for folder in (finished_audit, path.parent)
    ]
    assert tables[0].drop(columns="score").equals(tables[1].drop(columns="score"))
    assert np.allclose(tables[0]["score"], tables[1]["score"], rtol=1e-4, atol=1e-5)


def test_every_number_that_cannot_be_recomputed_stands_in_the_trail_too(finished_pack):
    """Plan, environment and openings; lock, results and findings: tests/assessment.

    How often the method errs is the software's word, and compared with what it ships.
    """
    from compliance.assessment.assess import frozen_differences
    from compliance.packs.reading import read_pack
    from compliance.records.evidence import Evidence
    from compliance.workflow.checking import frozen_facts
    from tests.assessment.test_assess import altered, numbers

    with read_pack(finished_pack) as opened:
        frozen, plain = frozen_facts(opened.trail), to_json(opened.evidence)
    recomputed = ("lock", "results", "findings", "validation")
    paths = [p for p in numbers(plain) if p[0] not in recomputed]

    missed = []
    for path in paths:
        try:
            forged = Evidence.model_validate(altered(plain, path))
        except ValueError:
            continue  # the record itself refuses the number
        named = [m.where for m in frozen_differences(forged, frozen)]
        if not any(where.startswith(path[0]) for where in named):
            missed.append(path)

    assert len(paths) > 30
    assert not missed


def test_known_answers_that_the_software_does_not_ship_are_not_passed(finished_pack):
    from compliance.packs.reading import read_pack
    from compliance.records.verification import Outcome
    from compliance.workflow.checking import trials_check

    with read_pack(finished_pack) as opened:
        stated = opened.evidence.validation
    first, *others = stated.answers
    better = stated.model_copy(
        update={"answers": (first.model_copy(update={"audits": 10**6}), *others)}
    )

    assert trials_check(stated).status is Outcome.PASSED
    assert trials_check(better).status is Outcome.NOT_CHECKED
    assert trials_check(None).status is Outcome.NOT_CHECKED


@pytest.mark.parametrize("part", ["plan", "lock", "environment", "results", "findings"])
def test_numbers_altered_with_all_digests_redone_are_named(finished_pack, tmp_path, part):
    """The forger redoes evidence, manifest and root but has neither key nor another trail."""
    from compliance.records.evidence import Evidence
    from tests.assessment.test_assess import altered, numbers

    plain = json.loads((finished_pack / "data" / "evidence.json").read_bytes())
    paths = numbers(plain[part], (part,))
    for path in paths[:: max(1, len(paths) // 5)]:
        copy = Path(shutil.copytree(finished_pack, tmp_path / "-".join(map(str, path))))
        try:
            forged = Evidence.model_validate(altered(plain, path))
        except ValueError:
            continue  # the record itself refuses the number
        redo_digests(copy, forged)

        found = workflow.verify(copy)

        assert not found.ok
        named = [c.message for c in found.failed if c.name == "numbers"]
        assert named, path
        if part == "results":
            assert plain["results"][path[1]]["id"] in " ".join(named)


def redo_digests(pack: Path, forged) -> None:
    """Write other evidence and make every digest fit again; only the signature cannot."""
    import hashlib

    from compliance.packs.build import write_tag_manifest
    from compliance.records.base import canonical_bytes

    evidence = pack / "data" / "evidence.json"
    evidence.write_bytes(canonical_bytes(forged))
    manifest = pack / "manifest-sha256.txt"
    lines = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        digest = hashlib.sha256((pack / name).read_bytes()).hexdigest()
        lines.append(f"{digest}  {name}\n")
    manifest.write_text("".join(lines), encoding="utf-8")
    write_tag_manifest(pack)


def test_blanked_observations_with_digests_redone_fail(finished_pack, tmp_path):
    from compliance.records.evidence import Evidence

    copy = Path(shutil.copytree(finished_pack, tmp_path / "copy"))
    path = copy / "data" / "observations" / "confirm" / "scores.csv"
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    plain = json.loads((finished_pack / "data" / "evidence.json").read_bytes())
    redo_digests(copy, Evidence.model_validate(plain))

    found = workflow.verify(copy)

    assert any(c.name == "numbers" and c.status is Outcome.FAILED for c in found.checks)


def test_a_report_in_another_language_makes_a_new_version_once(
    finished_audit, tmp_path, monkeypatch
):
    def documents(origin, *, languages, progress):
        return {n: b"x" for tag in ("en", *languages) for n in report_names(tag)}

    monkeypatch.setattr(stages, "documents", documents)
    monkeypatch.setattr(stages, "sign_reports", lambda made, *_, **__: made)
    audit = Path(shutil.copytree(finished_audit, tmp_path / "copy")) / "audit.yaml"

    same = workflow.pack(audit)
    german = workflow.pack(audit, languages=["de"])

    assert (same.name, german.name) == ("tiny-1.0.0", "tiny-1.0.1")
    lengths = ("report-brief-de.pdf", "report-standard-de.pdf", "report-de.pdf")
    assert all((german / "data" / name).is_file() for name in ("report-de.html", *lengths))
    assert workflow.pack(audit, languages=["de"]) == german
