"""Numbers and sentences of a pack are made again; what differs is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from compliance import workflow
from compliance.errors import CatalogError, ConfigError
from compliance.packs.reading import OpenPack, read_pack
from compliance.records.base import canonical_bytes
from compliance.records.finding import Verdict
from compliance.records.verification import Outcome
from compliance.workflow import judging, rebuilding
from compliance.workflow.judging import OwnClaims, law_changes, read_claims, verdict_changes
from compliance.workflow.opened import PackFiles, origin_of
from compliance.workflow.rebuilding import report_checks


@pytest.fixture
def copied(finished_pack, tmp_path):
    return shutil.copytree(finished_pack, tmp_path / finished_pack.name)


def words(pack: Path) -> list:
    with read_pack(pack) as opened:
        return list(report_checks(opened))


def failures(checks) -> dict[str, str]:
    return {check.path: check.message for check in checks if check.status is Outcome.FAILED}


def edit(pack: Path, name: str, change) -> None:
    """Change the JSON of a file of ``data/``."""
    path = pack / "data" / name
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical_bytes(value))


def test_report_page_and_exports_are_made_again(finished_pack):
    found = words(finished_pack)

    passed = {check.path for check in found if check.status is Outcome.PASSED}
    assert {"data/report.json", "data/report.html", "data/ro-crate-metadata.json"} <= passed
    assert {p for p in passed if p.startswith("data/exports/")}
    assert failures(found) == {}


def test_what_was_not_compared_is_said(finished_pack):
    found = [check for check in words(finished_pack) if check.status is Outcome.NOT_CHECKED]

    assert [check.name for check in found] == ["pdf"]


def test_a_changed_sentence_is_named_where_it_differs(copied):
    def change(report):
        assert len(report["lead"][0]) > 80
        report["lead"][0] = report["lead"][0][:-2] + " certainly."

    edit(copied, "report.json", change)

    found = failures(words(copied))
    assert list(found) == ["data/report.json"]
    assert "report.lead[0]" in found["data/report.json"]
    assert "certainly" in found["data/report.json"]


def test_many_differences_are_counted(copied):
    edit(copied, "report.json", lambda report: [r.clear() for r in report["limits"]])

    found = [c for c in words(copied) if c.status is Outcome.FAILED]

    assert len(found) <= rebuilding.NAMED + 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("report.html", b"<h1", b"<h1 "), ("exports/model-index.yaml", b"\n", b"\n# good\n")],
)
def test_a_page_or_export_that_is_not_what_the_record_gives_is_named(copied, name, old, new):
    path = copied / "data" / name
    path.write_bytes(path.read_bytes().replace(old, new, 1))

    found = failures(words(copied))

    assert list(found) == [f"data/{name}"]
    assert "line" in found[f"data/{name}"]


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_report_that_is_missing_fails(copied, name):
    (copied / "data" / name).unlink()

    assert f"data/{name}" in failures(words(copied))


def test_a_forged_number_fails_and_so_does_the_report_that_states_it(copied):
    def change(evidence):
        result = next(r for r in evidence["results"] if r["id"].endswith("/sensitivity"))
        result["value"] = 0.875

    edit(copied, "evidence.json", change)

    failed = workflow.verify(copied).failed

    assert any("sensitivity" in check.message for check in failed if check.name == "numbers")
    assert any("87.5" in check.message for check in failed if check.name == "report")


def test_reports_of_another_version_are_not_compared_and_said_so(finished_pack, monkeypatch):
    monkeypatch.setattr(rebuilding, "SOFTWARE", "sae-compliance 99.0")

    (check,) = words(finished_pack)

    assert check.status is Outcome.NOT_CHECKED
    assert "99.0" in check.message


def test_a_report_dated_after_its_signature_is_refused(copied):
    edit(copied, "report.json", lambda report: report.update(built_at="2099-01-01T00:00:00Z"))

    found = [check.message for check in words(copied) if check.status is Outcome.FAILED]
    assert any("is dated 2099-01-01T00:00:00Z, and was signed" in message for message in found)


def test_a_report_without_a_date_is_refused(copied):
    edit(copied, "report.json", lambda report: report.pop("built_at"))

    assert "no date" in " ".join(failures(words(copied)).values())


def test_a_pack_that_names_no_parent_says_nothing_of_one(copied):
    with read_pack(copied) as opened:
        first = origin_of(opened)
    earlier = {
        "schema_version": "1.0", "pack_id": "tiny-0.9.0", "version": "0.9.0",
        "root_digest": "sha256:" + "0" * 64, "declared": {},
        "evidence": json.loads(canonical_bytes(first.evidence)),
    }  # fmt: skip
    (copied / "data" / "changes.json").write_bytes(canonical_bytes(earlier))

    assert "parent" in failures(words(copied))["data/changes.json"]


def test_without_a_renderer_the_record_is_still_compared(finished_pack):
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('torch', 'jinja2', 'weasyprint', 'PIL'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from pathlib import Path\n"
        "from compliance.packs.reading import read_pack\n"
        "from compliance.workflow.rebuilding import report_checks\n"
        f"with read_pack(Path({str(finished_pack)!r})) as pack:\n"
        "    for c in report_checks(pack):\n"
        "        print(c.status.value, c.name, c.path)\n"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert "passed report data/report.json" in ran.stdout, ran.stderr
    assert "not-checked page data/report.html" in ran.stdout
    assert "not-checked exports" in ran.stdout


def test_observations_are_read_one_at_a_time_and_only_when_asked_for(finished_pack, monkeypatch):
    read = []
    plain = OpenPack.observation
    monkeypatch.setattr(
        OpenPack, "observation", lambda s, path: read.append(path) or plain(s, path)
    )

    with read_pack(finished_pack) as opened:
        files = PackFiles(opened)
        assert len(files) == len(list(files)) > 10
        assert read == []
        assert files["confirm/scores.csv"].startswith(b"item,")
        assert "elsewhere.csv" not in files

    assert read == ["confirm/scores.csv"]


def test_without_a_level_below_nothing_is_computed(finished_pack, tmp_path):
    for more in ({"deep": True}, {"claims": tmp_path / "c"}, {"mapping": tmp_path / "m"}):
        with pytest.raises(ConfigError, match="integrity"):
            workflow.verify(finished_pack, level="integrity", **more)
    with pytest.raises(ConfigError, match="recompute"):
        workflow.verify(finished_pack, again=workflow.Again())


# An auditor's own limits and mapping


def limits(tmp_path: Path, **keys: object) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def test_other_limits_are_tried_on_the_packs_numbers(finished_pack, tmp_path, monkeypatch):
    seen = {}

    def judged(evidence, files, claims):
        seen["claims"] = claims
        first, *others = evidence.findings
        gate = first.conditions[-2]
        assert (gate.condition, gate.status) == ("explained-variance", "violated")
        shown = (*first.conditions[:-2], gate.model_copy(update={"status": "shown"}))
        better = {"verdict": Verdict.INCONCLUSIVE, "reason": "not-all-shown", "conditions": shown}
        return (first.model_copy(update=better), *others)

    monkeypatch.setattr(judging, "judged_with", judged)

    found = workflow.verify(finished_pack, claims=limits(tmp_path, min_sensitivity=0.3))

    assert seen["claims"].min_sensitivity == 0.3
    (change,) = found.verdict_changes
    assert (change.before, change.after) == ("not-supported", "inconclusive")
    assert change.conditions == ("explained-variance: violated -> shown",)
    assert any("not-supported -> inconclusive" in line for line in found.summary())
    assert found.ok


def test_the_packs_own_limits_change_nothing(finished_pack):
    with read_pack(finished_pack) as opened:
        stated = opened.evidence.plan.claims
        same = OwnClaims(**stated.model_dump()).beside(stated)

        assert same == stated
        assert verdict_changes(opened.evidence, PackFiles(opened), same) == ()


@pytest.mark.parametrize("key", ["alpha", "seed", "family_error", "bootstrap_draws"])
def test_what_was_locked_cannot_be_changed_after_the_fact(tmp_path, key):
    with pytest.raises(ConfigError, match=f"{key} cannot be changed after the fact"):
        read_claims(limits(tmp_path, **{key: 1}))


def test_another_reference_language_is_refused(finished_pack, tmp_path):
    with pytest.raises(ConfigError, match="reference_language cannot be changed"):
        workflow.verify(finished_pack, claims=limits(tmp_path, reference_language="el"))


def test_a_key_that_is_no_limit_is_named_with_its_line(tmp_path):
    with pytest.raises(ConfigError, match="line 1"):
        read_claims(limits(tmp_path, min_sensitivty=0.5))


def test_limits_are_not_tried_on_numbers_that_fail(copied, tmp_path):
    edit(copied, "evidence.json", lambda e: e["results"][0].update(n=1))

    found = workflow.verify(copied, claims=limits(tmp_path, min_sensitivity=0.3))

    assert found.verdict_changes is None
    assert any(check.name == "own-limits" for check in found.not_checked)


def test_another_mapping_changes_the_state_of_points(finished_pack, tmp_path):
    mapping = yaml.safe_load((finished_pack / "data/law/mapping.yaml").read_text("utf-8"))
    with read_pack(finished_pack) as opened:
        assert law_changes(opened, finished_pack / "data/law/mapping.yaml") == ()
        next(r for r in mapping["rules"] if r["provision"] == "art13.1")["results"] = []
        own = tmp_path / "mapping.yaml"
        own.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")

        (change, *others) = law_changes(opened, own)

    assert (change.provision, change.before, change.after) == (
        "13(1)", "measured", "not-covered",
    )  # fmt: skip
    assert others == []


def test_a_mapping_that_fits_no_provision_is_refused(finished_pack, tmp_path):
    own = tmp_path / "mapping.yaml"
    own.write_text("rules: 1\n", encoding="utf-8")

    with read_pack(finished_pack) as opened, pytest.raises(CatalogError):
        law_changes(opened, own)
