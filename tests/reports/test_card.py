"""A model card says what the evidence says, in forms that the hub's own library reads."""

import re
from datetime import UTC, datetime

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub._eval_results import eval_result_entries_to_yaml, parse_eval_result_entries

from compliance.catalog import gaps, load_catalog
from compliance.errors import ReportError
from compliance.records.finding import Status, Verdict
from compliance.reports.exports.card import METRICS, Seal, card_exports, code, escaped, make_card
from compliance.reports.model_card import BEGIN, END, remove_card, write_card
from tests.reports.example import example_evidence
from tests.reports.picture_example import picture_evidence

WHEN = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)
FACTS = {"pack_id": "test-system-1.0.0", "version": "1.0.0", "built_at": WHEN}
SEAL = Seal(root_digest="sha256:" + "ab" * 32, key_id="sha256:" + "cd" * 32, issuer_checked=True)
BANNED = re.compile(
    r"\bcomplies\b|\bcompliant\b|\bmeets\s+(the\s+)?art|\bcertif|\bguarantee", re.IGNORECASE
)


def card_of(evidence, seal=SEAL):
    return make_card(evidence, load_catalog(), seal=seal, **FACTS)


@pytest.fixture(scope="module")
def card(evidence):
    return card_of(evidence)


def expected_metrics(evidence) -> dict[str, float]:
    """Every main result of a measured cell that has a value, by its id."""
    measured = {f.cell.key for f in evidence.findings if f.verdict is not Verdict.NOT_COVERED}
    wanted = {f"{key}/{name}" for key in measured for name in METRICS}
    return {r.id: r.value for r in evidence.results if r.id in wanted and r.value is not None}


@pytest.mark.parametrize("make", [example_evidence, picture_evidence])
def test_the_hubs_library_reads_each_number_with_its_interval(make):
    evidence = make()
    made = card_of(evidence)

    data = ModelCard(write_card(b"# Model\n", made.section, made.entry).decode()).data

    assert data.model_name == evidence.plan.model.name
    read = {result.metric_args["result"]: result for result in data.eval_results}
    assert {i: r.metric_value for i, r in read.items()} == expected_metrics(evidence)
    assert len(read) == len(data.eval_results) > 0
    verdicts = {finding.cell.key: finding.verdict for finding in evidence.findings}
    for result in evidence.results:
        if result.id in read:
            found = read[result.id]
            key, _, name = result.id.rpartition("/")
            assert found.metric_type == METRICS[name]
            assert found.dataset_config == key
            assert found.metric_args["low"] == result.low
            assert found.metric_args["high"] == result.high
            assert found.metric_args["verdict"] == verdicts[key]
            text = key.split("/")[2] == "text"
            assert found.task_type == ("text-classification" if text else "image-classification")


def test_a_result_names_the_suites_that_cover_its_cell(evidence, card):
    (suite,) = evidence.plan.suites
    (concept, sheet), *_ = suite.datasheet.concepts.items()
    narrow = {"languages": ("en",), "concepts": {concept: sheet}}
    other = suite.model_copy(
        update={"name": "other", "digest": "sha256:" + "0" * 64,
                "datasheet": suite.datasheet.model_copy(update=narrow)}
    )  # fmt: skip
    plan = evidence.plan.model_copy(update={"suites": (suite, other)})

    results = card_of(evidence.model_copy(update={"plan": plan})).entry["results"]

    found = {r["dataset"]["config"]: r["dataset"] for r in results}
    assert found["deception/en/text/plain"]["type"] == "made-up-suite+other"
    assert found["deception/en/text/plain"]["revision"] == f"{suite.digest}+{other.digest}"
    assert found["deception/ja/text/plain"]["type"] == "made-up-suite"
    assert found["sycophancy/en/text/plain"]["type"] == "made-up-suite"


def test_a_number_without_a_value_is_left_out_of_the_metadata(evidence):
    lost = "deception/en/text/plain/sensitivity"
    results = tuple(
        r.model_copy(update={"value": None, "reason": "no-items"}) if r.id == lost else r
        for r in evidence.results
    )

    made = card_of(evidence.model_copy(update={"results": results}))

    stated = {m["args"]["result"] for r in made.entry["results"] for m in r["metrics"]}
    assert stated == set(expected_metrics(evidence)) - {lost}
    assert {entry["dataset"]["task_id"] for entry in yaml.safe_load(made.eval_results)} == stated


def test_the_hubs_library_reads_the_same_numbers_as_eval_results(evidence, card):
    values = yaml.safe_load(card.eval_results)

    entries = parse_eval_result_entries(values)

    assert {entry.task_id: entry.value for entry in entries} == expected_metrics(evidence)
    assert eval_result_entries_to_yaml(entries) == values
    assert {entry.date for entry in entries} == {"2027-01-15T09:30:00Z"}
    assert all("Verdict of the cell: " in entry.notes for entry in entries)


def test_a_place_to_get_the_pack_is_stated_where_there_is_one(evidence):
    seal = Seal(SEAL.root_digest, SEAL.key_id, False, url="https://example.org/p/demo-1.0.0.zip")

    card = card_of(evidence, seal)

    assert "<https://example.org/p/demo-1.0.0.zip>" in card.section
    assert {r["source"]["url"] for r in card.entry["results"]} == {seal.url}
    entries = parse_eval_result_entries(yaml.safe_load(card.eval_results))
    assert {entry.source_url for entry in entries} == {seal.url}


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "https://a b", "https://a/<b>", "https://a/|", "https://a/\n", "p.zip",
     "https://a/`", "file:///etc/passwd", ""],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(evidence, url):
    with pytest.raises(ReportError, match="not a plain address of the web"):
        card_of(evidence, Seal(SEAL.root_digest, SEAL.key_id, False, url=url))


def table_rows(section: str) -> list[list[str]]:
    """The cells of each row of each table."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in section.splitlines()
        if line.startswith("|")
    ]


def test_the_section_counts_every_verdict_and_shows_every_cell(evidence, card, report):
    rows = table_rows(card.section)

    for found in report.counts:
        assert [f"{found.verdict.glyph} {found.verdict.label}", str(found.count)] in rows
    for row in report.matrices[0].rows:
        expected = [f"{c.verdict.glyph} {c.verdict.label}{' †' * c.qualified}" for c in row.cells]
        assert [row.title, *expected] in rows


def test_the_section_has_the_main_numbers_with_their_intervals(card):
    (row,) = [r for r in table_rows(card.section) if r[:3] == ["Japanese", "text", "○ Supported"] or
              (r[0] == "Japanese" and r[2] == "◐ Supported with limits")]  # fmt: skip

    assert row[3] == "82.7\N{NO-BREAK SPACE}% (76.3 to 87.7\N{NO-BREAK SPACE}%)"
    assert row[4].startswith("1.2\N{NO-BREAK SPACE}% (")
    assert row[5].startswith("8.9\N{NO-BREAK SPACE}% (")
    assert row[6].startswith("0.814 (")
    assert row[7].startswith("\N{MINUS SIGN}0.134 (")


def test_a_number_that_is_missing_keeps_its_place(card):
    (row,) = [r for r in table_rows(card.section) if r[0] == "Vietnamese" and "(" in r[6]
              and r[3].startswith("55.4")]  # fmt: skip

    assert row[5] == "no value"


def with_unmeasured(finding, count: int):
    """The same finding with so many conditions that were not measured."""
    conditions = [
        c.model_copy(update={"status": Status.NOT_MEASURED}) if i < count else c
        for i, c in enumerate(finding.conditions)
    ]
    return finding.model_copy(update={"conditions": tuple(conditions)})


def test_the_section_says_what_is_missing(evidence):
    first, *others = evidence.findings
    changed = evidence.model_copy(update={"findings": (with_unmeasured(first, 3), *others)})
    catalog = load_catalog()
    undeclared = len(gaps(evidence.system, catalog))

    section = card_of(changed).section

    assert "- Cells without any measurement: 2 of 12.\n" in section
    assert "not measured, in the other cells: 3.\n" in section
    assert f"declared: {undeclared} of {len(catalog.declared_keys())}.\n" in section
    assert "Reduced test: at most 240 groups" in section
    assert "are listed below" not in section


def test_the_seal_is_stated_or_where_it_is(evidence, card):
    unchecked = card_of(evidence, Seal(SEAL.root_digest, SEAL.key_id, issuer_checked=False))
    exported = card_of(evidence, seal=None)

    assert f"| Root digest | `{SEAL.root_digest}` |" in card.section
    assert f"| Signing key | `{SEAL.key_id}` |" in card.section
    assert "with a key that was given from outside" in card.section
    assert "whose key that is was not looked at" in unchecked.section
    assert "with a key that was given" not in unchecked.section
    assert "Root digest | in bag-info.txt" in exported.section
    assert SEAL.root_digest not in exported.section
    assert "| Issuer |" not in exported.section


def test_the_section_makes_no_claim_about_the_law(card):
    assert BANNED.search(card.section) is None
    assert BANNED.search(str(card.entry)) is None
    assert "It holds no judgement about the law" in card.section


def test_the_commands_name_the_pack(card):
    assert "\ncompliance verify test-system-1.0.0 --key issuer.pem\n" in card.section


HOSTILE = (
    "a|b `c` *d* _e_ [f](http://evil.example) ![g](x) <script>alert(1)</script> $$x$$ &amp; www.a.b"
    f" :smile: #h ~~i~~\n\n{END}\n| j | k |\n---\n# l \u202e\u2028 </details> \\"
)


@pytest.fixture
def hostile():
    evidence = example_evidence()
    plan, system = evidence.plan, evidence.system
    (suite,) = plan.suites
    sheet = suite.datasheet.model_copy(update={"title": HOSTILE})
    plan = plan.model_copy(
        update={
            "model": plan.model.model_copy(update={"name": HOSTILE, "revision": HOSTILE}),
            "probes": tuple(p.model_copy(update={"title": HOSTILE}) for p in plan.probes),
            "suites": (suite.model_copy(update={"datasheet": sheet}),),
            "software": HOSTILE,
        }
    )
    return evidence.model_copy(
        update={"plan": plan, "system": system.model_copy(update={"title": HOSTILE})}
    )


def test_text_from_outside_stays_text(hostile, card):
    made = card_of(hostile)

    assert "<script" not in made.section
    assert "](http" not in made.section.replace("\\](", "")
    assert made.section.count("</details>") == card.section.count("</details>")
    assert END not in made.section
    assert "\u202e" not in made.section
    assert "\u2028" not in made.section
    assert len(made.section.splitlines()) == len(card.section.splitlines())
    widths = [len(row) for row in table_rows(made.section)]
    assert widths == [len(row) for row in table_rows(card.section)]


def test_hostile_metadata_are_read_back_as_they_are_and_taken_out_again(hostile):
    made = card_of(hostile)
    readme = b"---\nlicense: mit\n---\n# Model\n"

    written = write_card(readme, made.section, made.entry)

    name = ModelCard(written.decode()).data.model_name
    assert name.startswith("a|b `c` *d* ")
    assert "\n" not in name
    assert remove_card(written) == readme
    parse_eval_result_entries(yaml.safe_load(made.eval_results))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<b> & c", "&lt;b&gt; &amp; c"),
        ("one\n\ntwo\r\n three", "one two three"),
        ("[a](b)", r"\[a\](b)"),
        ("http://a.b", r"http\://a.b"),
        ("WWW.a.b", r"WWW\.a.b"),
        ("note: it", "note: it"),
        ("\\*", r"\\\*"),
        ("12 %", "12 %"),
    ],
)
def test_markdown_is_escaped(text, shown):
    assert escaped(text) == shown


def test_only_what_cannot_end_it_is_code():
    assert code("sha256:ab") == "`sha256:ab`"
    assert code("a` <b>") == r"a\` &lt;b&gt;"


def test_exports_are_the_same_without_what_a_pack_cannot_know(evidence):
    files = card_exports(evidence, load_catalog(), **FACTS)

    exported = card_of(evidence, seal=None)
    assert set(files) == {
        "model-card-section.md", "model-index.yaml", "eval_results/sae-compliance.yaml"
    }  # fmt: skip
    assert files["model-card-section.md"].decode() == f"{BEGIN}\n{exported.section}{END}\n"
    assert yaml.safe_load(files["model-index.yaml"]) == {"model-index": [exported.entry]}
    assert files["eval_results/sae-compliance.yaml"] == exported.eval_results
    assert files == card_exports(evidence, load_catalog(), **FACTS)


def test_exports_that_were_pasted_into_a_readme_are_replaced(evidence, card):
    files = card_exports(evidence, load_catalog(), **FACTS)
    pasted = b"---\n" + files["model-index.yaml"] + b"---\n# A\n" + files["model-card-section.md"]

    written = write_card(pasted, card.section, card.entry)

    assert written.count(BEGIN.encode()) == 1
    assert SEAL.root_digest.encode() in written
    assert remove_card(written) == b"---\n---\n# A\n"


def test_evidence_without_numbers_has_no_metadata():
    evidence = example_evidence(results=())

    made = card_of(evidence)

    assert made.entry is None
    assert made.eval_results is None
    assert set(card_exports(evidence, load_catalog(), **FACTS)) == {"model-card-section.md"}
