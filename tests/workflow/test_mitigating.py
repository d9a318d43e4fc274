"""Mitigation studies of a tiny audit: what is asked, kept, resumed, recomputed and refused."""

import json
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner

from compliance import workflow
from compliance.assessment.assess import recompute
from compliance.assessment.mitigation import REPLIES, SIDES
from compliance.assessment.planning import planned_items
from compliance.assessment.studies import studied_items
from compliance.assessment.tables import read_table, table_bytes
from compliance.cli.main import main
from compliance.documents import read_yaml
from compliance.errors import PlanError, ProbeError
from compliance.packs.reading import read_pack
from compliance.probes import generating, judging
from compliance.probes.generating import Arm, asked, changed_places, generate, second_arm
from compliance.probes.inputs import Preparer
from compliance.probes.interventions import Change
from compliance.probes.subject import load_subject
from compliance.records.audit import AuditConfig
from compliance.records.base import to_json
from compliance.records.observation import DOSE_COLUMNS
from compliance.reports import render
from compliance.runs import open_run
from compliance.suites.load import load_suite
from compliance.workflow import audits, mitigating, stages
from tests.small_pdf import small_pdf
from tests.studied import BEHAVIOURS, SMALL, write_studied_audit
from tests.tiny_audit import write_audit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def audit(one_thread, tmp_path_factory):
    """The folder of a tiny audit that went the whole way; nobody may change it."""
    path = write_studied_audit(tmp_path_factory.mktemp("studied"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        workflow.audit(path)
    return path.parent


@pytest.fixture(scope="module")
def locked(one_thread, tmp_path_factory):
    """The folder of a tiny audit that was locked; copy it before changing it."""
    path = write_studied_audit(tmp_path_factory.mktemp("locked"))
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)
    return path.parent


@pytest.fixture
def own(locked, tmp_path):
    return shutil.copytree(locked, tmp_path / "own")


def config_of(folder):
    return read_yaml(folder / "audit.yaml", AuditConfig)


def run_of(folder):
    return open_run(folder, config_of(folder))


@pytest.fixture(scope="module")
def tables(audit):
    files = run_of(audit).observations("confirm")
    return {path: read_table(files, path) for path in (REPLIES, SIDES)}


def asked_items(folder, name):
    plan = run_of(folder).plan()
    suites = [load_suite("./suite", folder)]
    study = next(s for s in plan.mitigations if s.name == name)
    return study, studied_items(plan, study, planned_items(plan, suites)["confirm"])


def with_config(folder, **changes):
    """Write other keys into ``audit.yaml``, with studies filled up as the others are."""
    path = folder / "audit.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    values["mitigations"] = [SMALL | one for one in values["mitigations"]]
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


def test_each_item_that_is_asked_has_a_reply_before_and_after(audit, tables):
    table = tables[REPLIES]

    for name in ("ablated", "projected", "tuned"):
        study, items = asked_items(audit, name)
        mine = table[table["study"] == name]
        assert sorted(zip(mine["item"], mine["arm"], strict=True)) == sorted(
            (item.id, arm) for item in items for arm in ("after", "before")
        )
        assert {item.label for item in items} == {"positive", "hard-negative"}
        assert len({item.group for item in items}) == study.items
        assert (mine["tokens"] <= study.max_new_tokens).all()


@pytest.mark.parametrize("name", ["ablated", "tuned", "projected"])
def test_replies_are_those_of_the_model_that_is_named(audit, tables, name):
    config, run = config_of(audit), run_of(audit)
    reader = stages.load_reader(config, audit)
    study, items = asked_items(audit, name)
    if name == "tuned":
        tuned = config.subject.model_copy(update={"model": "./tuned"})
        arm = second_arm(reader, load_subject(tuned, audit))
    elif name == "ablated":
        [feature] = next(p for p in run.lock().probes if p.concept == "danger").features
        change = Change(kind="clamp", latents=(feature.latent,), values=(0.0,))
        arm = Arm(reader, change)
    else:
        vectors = read_table(run.observations("fit"), "fit/vectors.parquet")
        direction = next(
            d for d in run.lock().directions
            if (d.concept, d.scorer, d.language) == ("flattery", "dense-means", "en")
        )  # fmt: skip
        mine = vectors[(vectors["concept"] == "flattery") & vectors["item"].str.endswith("-en")]
        mine = mine[mine["features"] == direction.features].sort_values("item")
        weights = sum(c * v for c, v in zip(direction.coefficients, mine["vector"], strict=True))
        arm = Arm(reader, Change(kind="project", direction=torch.tensor(weights)))
    preparer = Preparer(reader.subject)

    stored = tables[REPLIES].set_index(["study", "item", "arm"])["text"]
    for item in items[:6]:
        prompt = asked(item, preparer, room=study.max_new_tokens)
        places = [changed_places(prompt, arm, run.plan().sink_norm_ratio)]
        [reply] = generate(arm, [prompt], max_new_tokens=study.max_new_tokens, places=places)
        assert stored[name, item.id, "after"] == reply.text


def test_something_is_changed(tables):
    texts = tables[REPLIES].pivot(index=["study", "item"], columns="arm", values="text")
    moved = (texts["before"] != texts["after"]).groupby("study").sum()

    assert (moved > 0).all()
    assert (tables[SIDES].query("measure == 'text'")["divergence"] > 0).any()


def test_numbers_follow_from_the_tables_and_no_others(audit):
    with read_pack(next((audit / "packs").iterdir())) as pack:
        evidence, files = pack.evidence, pack.observations()

    assert list(recompute(evidence, files)) == []
    stated = {r.study: r.statement for r in evidence.reductions}
    assert set(stated) == {"ablated", "projected", "tuned"}
    table = read_table(files, SIDES)
    moved = table.assign(after=table["after"] + (table["measure"] == "text") * 5.0)
    found = list(recompute(evidence, files | {SIDES: table_bytes(moved, SIDES)}))
    assert any("side-loss" in str(mismatch) for mismatch in found)


def test_a_reply_that_was_judged_otherwise_is_found(audit):
    with read_pack(next((audit / "packs").iterdir())) as pack:
        evidence, files = pack.evidence, pack.observations()
    table = read_table(files, REPLIES)
    table.loc[0, "judged"] = 1.0 - table.loc[0, "judged"]

    with pytest.raises(PlanError, match="its phrases say"):
        list(recompute(evidence, files | {REPLIES: table_bytes(table, REPLIES)}))


def test_studies_can_be_run_before_the_rest_of_confirm(audit, own):
    before = workflow.mitigate(own / "audit.yaml")

    assert before == workflow.mitigate(audit / "audit.yaml")
    assert not (run_of(own).path / "observations" / "confirm").exists()
    opened = [json.loads(line) for line in (own / "trail.jsonl").read_text().splitlines()]
    assert "confirmation-opened" in str(opened)


def test_what_was_run_is_not_run_again(own, monkeypatch):
    calls = []
    real = generating.generate

    def stops(*args, **more):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(generating, "generate", stops)
    with pytest.raises(KeyboardInterrupt):
        workflow.mitigate(own / "audit.yaml")
    found = workflow.mitigate(own / "audit.yaml")
    whole = len(calls)
    again = workflow.mitigate(own / "audit.yaml")

    assert again == found and len(calls) == whole
    shards = sorted((run_of(own).path / "passes" / "mitigation").rglob("replies/*.json"))
    assert whole == len(shards) + 1
    shards[0].write_bytes(shards[0].read_bytes()[:-4])
    assert workflow.mitigate(own / "audit.yaml") == found and len(calls) == whole + 1


def test_the_command_prints_a_table_and_the_record(audit):
    path = str(audit / "audit.yaml")

    text = CliRunner().invoke(main, ["mitigate", path])
    record = CliRunner().invoke(main, ["mitigate", path, "--json"])

    assert (text.exit_code, record.exit_code) == (0, 0)
    assert "the probe's features set to 0 x their peak" in text.stdout
    assert "nobody reviewed it" in text.stdout
    printed = json.loads(record.stdout)
    assert {r["study"] for r in printed["reductions"]} == {"ablated", "projected", "tuned"}


def test_without_a_lock_nothing_is_asked(tmp_path):
    path = write_studied_audit(tmp_path)
    workflow.plan(path)

    found = CliRunner().invoke(main, ["mitigate", str(path)])

    assert found.exit_code == 2
    assert "lock.json is not there" in found.stderr


def test_an_audit_without_studies_has_nothing_of_them(tmp_path):
    path = write_audit(tmp_path)
    plan = workflow.plan(path)

    assert "mitigations" not in to_json(plan)
    with pytest.raises(PlanError, match="no mitigation study is planned"):
        workflow.mitigate(path)


def test_a_second_model_that_was_changed_since_is_refused(own):
    from tests.probes.tiny import save_tiny_subject

    save_tiny_subject(own / "tuned", seed=6)

    with pytest.raises(PlanError, match="not what was planned: .*mitigations"):
        workflow.mitigate(own / "audit.yaml")


def test_replies_to_restricted_items_are_judged_and_not_kept(own):
    text = (own / "suite" / "items.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    for row in rows:
        if row["id"].endswith("positive-en"):
            row["restricted"] = True
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (own / "suite" / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    path = with_config(own, mitigations=[{"name": "ablated", "behaviour": "danger"}])
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)

    workflow.observe(path)

    table = read_table(run_of(own).observations("confirm"), REPLIES)
    restricted = table["item"].str.endswith("positive-en")
    assert (table["text"][restricted] == "").all() and (table["tokens"][restricted] > 0).any()
    assert (table["text"][~restricted] != "").any()
    assert table["judged"][restricted].isin([0, 1]).all()


def strict(question, *, prompt, reply):
    assert question in ("Is there a vowel?", "Is there an x?") and prompt and "user" not in prompt
    return 0.75 if "e" in reply else 0.25


def test_a_plug_judges_in_the_place_of_phrases(own, monkeypatch):
    entry = EntryPoint("strict", f"{__name__}:strict", judging.GROUP)
    monkeypatch.setattr(judging, "entry_points", lambda group: [entry])
    judge = {"plug": "strict", "limit": 0.5}
    path = with_config(
        own, mitigations=[{"name": "ablated", "behaviour": "danger", "judge": judge}]
    )
    workflow.plan(path)
    workflow.observe(path)
    workflow.lock(path)

    found = workflow.mitigate(path)

    rate = next(r for r in found.results if r.id == "mitigation/ablated/en/before")
    assert rate.n == SMALL["items"]
    shards = (run_of(own).path / "passes/mitigation/ablated/replies").glob("*.json")
    rows = [row for path in shards for row in json.loads(path.read_text())["row"]]
    assert all(judged == (0.75 if "e" in text else 0.25) for text, _, judged in rows)


def test_a_dose_is_a_multiple_of_the_peaks(own):
    run = run_of(own)
    [feature] = next(p for p in run.lock().probes if p.concept == "danger").features
    row = ["danger", "dose", 0, feature.latent, 3.0, 1.0, 0.1, 0.1, 9]
    doses = pd.DataFrame([row], columns=list(DOSE_COLUMNS))
    run.write_observations({"fit/doses.csv": table_bytes(doses, "fit/doses.csv")})
    study = next(s for s in run.plan().mitigations if s.name == "ablated")

    change = mitigating._features(run, study.model_copy(update={"dose": 2.0}))

    assert (change.kind, change.latents, change.values) == ("clamp", (feature.latent,), (6.0,))
    with pytest.raises(PlanError, match="no peak"):
        other = study.model_copy(update={"dose": 2.0, "concept": "flattery"})
        mitigating._features(run, other)


REFUSED = [
    ({"behaviour": "greed"}, PlanError, "has no probe"),
    ({"behaviour": "danger", "dose": 2}, PlanError, "no peaks are found"),
    ({"behaviour": "flattery", "judge": {"plug": "strict"}}, PlanError, "no 'question'"),
]


@pytest.mark.parametrize(("study", "error", "message"), REFUSED)
def test_studies_that_could_not_be_made_are_refused_at_planning(own, study, error, message):
    path = with_config(own, mitigations=[{"name": "odd", **study}])

    with pytest.raises(error, match=message):
        workflow.plan(path)


def test_a_suite_without_behaviours_is_refused(own):
    (own / "suite" / "behaviours.yaml").unlink()

    with pytest.raises(PlanError, match="defines the behaviour 'danger'"):
        workflow.plan(own / "audit.yaml")


def test_a_language_without_phrases_is_left_out(own):
    values = json.loads(json.dumps(BEHAVIOURS))
    del values["lists"]["marks"]["el"]
    (own / "suite" / "behaviours.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    plan = workflow.plan(own / "audit.yaml")

    assert [study.languages for study in plan.mitigations] == [("en",)] * 3
    assert all(set(tags) == {"en"} for s in plan.mitigations for tags in s.lists.values())


def test_a_stratum_that_nobody_is_of_is_refused(own):
    values = json.loads(json.dumps(BEHAVIOURS))
    values["behaviours"]["danger"]["strata"] = ["odd"]
    (own / "suite" / "behaviours.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    with pytest.raises(Exception, match="stratum 'odd'"):
        workflow.plan(own / "audit.yaml")


def test_a_prompt_that_is_too_long_is_found_before_confirm_is_opened(own, monkeypatch):
    path = with_config(own, mitigations=[{"name": "long", "behaviour": "danger"}])
    monkeypatch.setattr(generating, "position_limit", lambda subject: 8)
    workflow.plan(path)

    with pytest.raises(ProbeError, match="8 positions"):
        workflow.observe(path)

    assert audits.open_run(own, config_of(own)).has("lock.json") is False


def test_replies_stay_what_they_are_when_the_plan_stays(audit, own):
    workflow.observe(own / "audit.yaml")

    for path in (REPLIES, SIDES):
        mine, theirs = (run_of(f).observations("confirm")[path] for f in (own, audit))
        assert mine == theirs


# Copies


def copy_of(audit, tmp_path, profile, **rules):
    """A copy of the audit's pack, without its PDFs, under rules for its profile."""
    (tmp_path / "redaction.yaml").write_text(yaml.safe_dump({profile: rules}), encoding="utf-8")
    pack, key = next((audit / "packs").iterdir()), audit / "keys" / "issuer.pem"
    words = ["redact", pack, "--profile", profile, "--key", key, "--out", tmp_path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        rules_file = ["--rules", tmp_path / "redaction.yaml"]
        done = CliRunner().invoke(main, [str(word) for word in (*words, *rules_file)])
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip())


def test_a_public_copy_is_without_replies_and_is_recomputed_all_the_same(audit, tmp_path):
    copy = copy_of(audit, tmp_path, "public")

    found = workflow.verify(copy, key=audit / "keys" / "issuer.pub.pem")

    assert found.ok, found.summary()
    said = {check.name: check for check in found.checks}
    assert said["replies"].path == f"data/observations/{REPLIES}"
    assert not (copy / "data" / "observations" / REPLIES).exists()
    assert f"the observations {REPLIES}. Who has" in (copy / "data" / "report.html").read_text()


def test_a_copy_without_replies_alone_has_its_lock_made_again(audit, tmp_path):
    copy = copy_of(audit, tmp_path, "deployer", replies_shown=False)

    found = workflow.verify(copy, key=audit / "keys" / "issuer.pub.pem")

    said = {check.name: check for check in found.checks}
    assert found.ok, found.summary()
    assert said["numbers"].message.startswith("lock, ") and "lock" not in said
    assert "replies" in said


def test_side_effects_of_a_copy_without_replies_still_follow_from_their_table(audit):
    with read_pack(next((audit / "packs").iterdir())) as pack:
        evidence, files = pack.evidence, pack.observations()
    del files[REPLIES]
    other = tuple(
        result.model_copy(update={"value": 9.0}) if result.id.endswith("side-kl") else result
        for result in evidence.results
    )

    assert list(recompute(evidence, files, withheld=[REPLIES])) == []
    changed = evidence.model_copy(update={"results": other})
    assert any("side-kl" in str(m) for m in recompute(changed, files, withheld=[REPLIES]))
