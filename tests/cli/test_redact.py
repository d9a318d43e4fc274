"""``compliance redact`` and ``compliance disclose`` on a whole audit, with its reports rendered.

What is withheld is looked for in every file of a copy, in every way that a reader could find it:
inside PDFs and what is attached to them, in the columns of Parquet files, and in JSON and HTML
without their escapes.
"""

import base64
import hashlib
import html
import io
import json
import re
import stat
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pypdf
import pytest
import yaml
from click.testing import CliRunner, Result

from compliance import workflow
from compliance.assessment.assess import item_differences
from compliance.cli.main import main
from compliance.packs.items import comparable, item_id
from compliance.packs.reading import read_pack
from compliance.progress import SILENT
from compliance.records.base import digest_of
from compliance.records.pack import PartItem, WithheldItem
from compliance.records.verification import Outcome
from compliance.workflow.documents import reports
from compliance.workflow.opened import origin_of
from tests.small_pdf import small_pdf
from tests.tiny_audit import suite_items, write_audit, write_items

WINDOW = 20
"""Bytes in a row that count as a piece of a text."""

FACTS = {
    "intended_purpose": {"text": "Testing, and nothing else at all."},
    "provider.identity": {"text": "A provider whose name stays between us."},
    "provider.contact": {"not_applicable": "none"},
}
HIDDEN_FACTS = ("provider.identity", "provider.contact")


def marked(item: dict) -> dict:
    """An item with words that stand nowhere else; the positives of one concept are restricted."""
    word = hashlib.sha256(item["id"].encode()).hexdigest()[:30]
    if "text" in item:
        item = {**item, "text": f"{item['text']} {word}"}
    else:
        turns = [{**turn, "content": f"{turn['content']} {word}"} for turn in item["messages"]]
        item = {**item, "messages": turns}
    restricted = item.get("concept") == "danger" and item["label"] == "positive"
    return {**item, "restricted": True} if restricted else item


ITEMS = {item["id"]: marked(item) for item in suite_items(groups=8, benign=40)}


def texts(item: dict) -> list[str]:
    return [item["text"]] if "text" in item else [turn["content"] for turn in item["messages"]]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an audit with a pack; its own reports are not rendered."""
    from compliance.workflow import stages

    path = write_audit(tmp_path_factory.mktemp("redact") / "audit")
    folder = path.parent
    write_items(folder / "suite", list(ITEMS.values()))
    system = {"name": "tiny", "title": "Tiny system", "version": "1", "declared": FACTS}
    (folder / "system.yaml").write_text(yaml.safe_dump(system))
    (folder / "redaction.yaml").write_text(
        yaml.safe_dump({"public": {"declared": list(HIDDEN_FACTS)}})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stages,
            "documents",
            lambda *_, **__: {"report.html": b"<!doctype html>", "report.pdf": small_pdf()},
        )
        workflow.audit(path)
    return folder


@pytest.fixture(scope="module")
def pack(audit: Path) -> Path:
    return next(path for path in (audit / "packs").iterdir())


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def redacted(audit: Path, pack: Path, profile: str, *words: object) -> Result:
    key = audit / "keys" / "issuer.pem"
    return run("redact", pack, "--profile", profile, "--key", key, *words)


@pytest.fixture(scope="module")
def public(audit: Path, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public copy, with its reports and exports."""
    out = tmp_path_factory.mktemp("public")
    done = redacted(audit, pack, "public", "--rules", audit / "redaction.yaml", "--out", out)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip())


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies whose documents are not looked at need no renderer."""
    from compliance.workflow import redacting

    found = {"report.html": b"<!doctype html>", "report.pdf": small_pdf()}
    monkeypatch.setattr(redacting, "documents", lambda *_, **__: found)


# Looking everywhere


def layers(name: str, data: bytes) -> Iterator[bytes]:
    """A file as it is, and as its readers see it."""
    yield data
    if name.endswith(".parquet"):
        table = pd.read_parquet(io.BytesIO(data))
        for column in table.select_dtypes(exclude="number"):
            yield "\n".join(map(str, table[column])).encode()
    elif name.endswith(".pdf"):
        yield from pdf_layers(data)
    elif name.endswith((".html", ".xml", ".md")):
        yield html.unescape(data.decode()).encode()
        yield html.unescape(re.sub(rb"<[^>]*>", b"", data).decode()).encode()
    elif name.endswith((".json", ".jsonld")):
        yield json.dumps(json.loads(data), ensure_ascii=False).encode()


def pdf_layers(data: bytes) -> Iterator[bytes]:
    document = pypdf.PdfReader(io.BytesIO(data))
    for name, files in document.attachments.items():
        for attached in files:
            yield from layers(name, attached)
    yield str(document.metadata).encode()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            yield zlib.decompress(stream)
        except zlib.error:
            continue
    yield subprocess.run(
        ["pdftotext", "-", "-"], input=data, capture_output=True, check=True
    ).stdout


def squeezed(data: bytes) -> bytes:
    """Without blanks: pages break lines where they like."""
    return b"".join(data.split())


def windows(texts: list[str]) -> set[bytes]:
    """Every piece of texts that is long enough to tell; shorter texts whole."""
    found = set()
    for text in texts:
        data = squeezed(text.encode())
        found |= {data[i : i + WINDOW] for i in range(max(1, len(data) - WINDOW + 1))}
    return found


def pieces_in(folder: Path, wanted: set[bytes]) -> dict[str, bytes]:
    """Files that hold a piece, with the first of them."""
    assert all(len(piece) == WINDOW for piece in wanted)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        for layer in layers(name, path.read_bytes()):
            data = squeezed(layer)
            hit = (p for i in range(len(data)) if (p := data[i : i + WINDOW]) in wanted)
            if piece := next(hit, None):
                found[name] = piece
                break
    return found


def withheld_texts() -> list[str]:
    said = [text for item in ITEMS.values() for text in texts(item)]
    return [*said, FACTS["provider.identity"]["text"]]


@pytest.fixture(scope="module")
def needs_pdftotext() -> None:
    import shutil

    if not shutil.which("pdftotext"):
        pytest.skip("no pdftotext here (Debian: poppler-utils)")


def test_no_piece_of_what_is_withheld_is_in_any_file(public: Path, needs_pdftotext: None):
    assert pieces_in(public, windows(withheld_texts())) == {}


def test_the_search_would_find_pieces(pack: Path, tmp_path: Path, needs_pdftotext: None):
    """In the pack as it was built: texts in the items and the page, facts inside the PDF too."""
    with read_pack(pack) as opened:
        made = reports(origin_of(opened), language="en", levels=["brief"], progress=SILENT)
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    shown = [t for item in ITEMS.values() if not item.get("restricted") for t in texts(item)]
    restricted = [t for item in ITEMS.values() if item.get("restricted") for t in texts(item)]
    only = windows(restricted) - windows(shown)

    assert set(pieces_in(tmp_path, windows(shown))) == {"report.html"}
    assert set(pieces_in(tmp_path, windows([FACTS["provider.identity"]["text"]]))) == set(made)
    assert "data/items.jsonl" in pieces_in(pack, windows(shown))
    assert pieces_in(pack, only) == {} == pieces_in(tmp_path, only)


def test_no_digest_in_a_copy_covers_what_was_declared(pack: Path, public: Path):
    """Such a digest would confirm a right guess of a short fact, which needs nothing else."""
    with read_pack(pack) as opened:
        evidence = opened.evidence
    told = [evidence, evidence.system, *evidence.system.declared.values()]
    hidden = {digest_of(record)[7:].encode() for record in told}
    hidden.add(hashlib.sha256((pack / "data" / "evidence.json").read_bytes()).hexdigest().encode())

    for path in sorted(path for path in public.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name.endswith(".dsse.json"):
            data += base64.b64decode(json.loads(data)["payload"])
        assert not any(digest in data for digest in hidden), path.name


# What a copy says


def test_a_copy_verifies_and_is_recomputed(audit: Path, pack: Path, public: Path):
    key = audit / "keys" / "issuer.pub.pem"

    found = workflow.verify(public, key=key)

    assert found.ok, found.summary()
    assert found.root_digest == workflow.verify(pack, key=key, level="integrity").root_digest
    said = {check.name: check for check in found.checks}
    assert said["numbers"].status is said["original"].status is Outcome.PASSED
    assert not said["numbers"].message.startswith("lock")
    assert said["lock"].status is Outcome.NOT_CHECKED
    assert said["lock"].path == "data/observations/fit/vectors.parquet"
    assert said["report"].status is Outcome.PASSED
    assert "withheld" in said["withheld-items"].message


def test_the_first_page_counts_what_is_withheld(public: Path):
    page = (public / "data" / "report.html").read_text()
    with read_pack(public) as opened:
        items = len(opened.items)

    first = page[: page.index("Contents")]
    assert f"the words and pictures of {items} of {items} test items are not shown" in first
    assert "Withheld from this copy: 2 of 3 facts that the provider declared." in first
    assert "Withheld from this copy: the observations fit/vectors.parquet." in first


def test_withheld_facts_are_shown_as_withheld_and_are_no_gaps(public: Path):
    page = (public / "data" / "report.html").read_text()
    report = json.loads((public / "data" / "report.json").read_bytes())
    with read_pack(public) as opened:
        declared = opened.evidence.system.declared

    for key in HIDDEN_FACTS:
        assert f"A salted digest stands in its place: {declared[key].withheld}" in page
        assert key not in {gap["key"] for gap in report["gaps"]}
    exported = (public / "data" / "exports").rglob("*.json")
    assert any("declared, and withheld from this copy" in path.read_text() for path in exported)


def test_everything_that_observations_tell_of_an_item_stays(public: Path):
    with read_pack(public) as opened:
        parts = [item for item in opened.items if isinstance(item, PartItem)]
        hidden = [item.id for item in opened.items if isinstance(item, WithheldItem)]

    restricted = {name for name, item in ITEMS.items() if item.get("restricted")}
    assert hidden and set(hidden) <= restricted
    assert parts and {*parts[0].fields, *parts[0].withheld} - {"text", "messages"} == set(
        parts[0].fields
    )


def test_shown_fields_of_a_partly_shown_item_are_compared_with_the_observations(public: Path):
    with read_pack(public) as opened:
        plan, files = opened.evidence.plan, opened.observations()
        items = {item_id(item): comparable(item) for item in opened.items}
    name = next(name for name, item in items.items() if item is not None)
    changed = items | {name: {**items[name], "label": "neutral"}}
    unknown = items | {name: {k: v for k, v in items[name].items() if k != "label"}}

    found = [list(item_differences(plan, files, one.items())) for one in (items, changed, unknown)]
    assert [[m.where for m in one] for one in found] == [[], [f"items.{name}.label"], []]


# Other profiles


def test_disclosures_are_for_their_owner_alone(audit: Path, pack: Path):
    path = next((audit / "runs").glob("*/disclosures.jsonl"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with read_pack(pack) as opened:
        hidden = {item.id for item in opened.items if isinstance(item, WithheldItem)}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["item"]["id"] for line in lines} == hidden


def test_an_authority_sees_what_was_withheld(audit: Path, pack: Path, tmp_path: Path, unrendered):
    private = next((audit / "runs").glob("*/disclosures.jsonl"))

    done = redacted(audit, pack, "authority", "--disclosures", private, "--out", tmp_path)
    refused = redacted(audit, pack, "authority", "--out", tmp_path / "other")

    assert done.exit_code == 0, done.output
    with read_pack(Path(done.stdout.strip())) as opened:
        assert all(hasattr(item, "item") for item in opened.items)
    found = workflow.verify(
        tmp_path / "tiny-1.0.0-authority",
        key=audit / "keys" / "issuer.pub.pem",
        level="integrity",
    )
    assert found.ok, found.summary()
    assert refused.exit_code == 2 and "--disclosures" in refused.stderr


def test_a_deployer_gets_what_was_built(audit: Path, pack: Path, tmp_path: Path, unrendered):
    done = redacted(audit, pack, "deployer", "--out", tmp_path)

    assert done.exit_code == 0, done.output
    names = ("data/items.jsonl", "data/evidence.json", "data/salts.json")
    copied = Path(done.stdout.strip())
    assert all((copied / n).read_bytes() == (pack / n).read_bytes() for n in names)


def test_mistakes_are_said(audit: Path, pack: Path, public: Path, tmp_path: Path, unrendered):
    other = tmp_path / "other.pem"
    run("keys", "create", other, "--name", "B")
    rules = tmp_path / "rules.yaml"
    rules.write_text("public: {declared: [provider.idenity]}\n")

    of_copy = redacted(audit, public, "deployer", "--out", tmp_path)
    of_stranger = run("redact", pack, "--profile", "public", "--key", other, "--out", tmp_path)
    of_typo = redacted(audit, pack, "public", "--rules", rules, "--out", tmp_path)
    without = run("redact", pack, "--profile", "public")

    assert of_copy.exit_code == 2 and "itself a copy" in of_copy.stderr
    assert of_stranger.exit_code == 2 and "another key" in of_stranger.stderr
    assert of_typo.exit_code == 2 and "provider.idenity" in of_typo.stderr
    assert without.exit_code == 2 and "--key" in without.stderr
    assert not list(tmp_path.glob("tiny-*"))


def test_system_yaml_cannot_withhold(audit: Path, tmp_path: Path):
    (tmp_path / "system.yaml").write_text(
        f"name: x\ntitle: X\nversion: '1'\ndeclared: {{a: {{withheld: 'sha256:{'0' * 64}'}}}}\n"
    )

    done = run("gaps", tmp_path)

    assert done.exit_code == 2 and "copies of packs only" in done.stderr


# Disclosures


@pytest.mark.parametrize("field", [None, "text"])
def test_a_restricted_item_is_disclosed_to_who_has_a_copy(
    audit: Path, pack: Path, public: Path, tmp_path: Path, field: str | None
):
    private = next((audit / "runs").glob("*/disclosures.jsonl"))
    name = json.loads(private.read_text().splitlines()[0])["item"]["id"]
    file, only = tmp_path / "item.json", ("--field", field) if field else ()

    wrote = run("disclose", pack, name, *only, "--disclosures", private, "-o", file)
    root = workflow.verify(public, level="integrity").root_digest
    alone = run("disclose", "--check", file, "--root", root)
    other = run("disclose", "--check", file, "--root", "sha256:" + "0" * 64)
    beside = run("verify", public, "--level", "integrity", "--disclosure", file)

    assert wrote.exit_code == 0, wrote.output
    assert ITEMS[name]["text"] in file.read_text()
    assert alone.exit_code == 0 and alone.stdout.startswith("passed") and name in alone.stdout
    assert other.exit_code == 1 and other.stdout.startswith("failed")
    assert beside.exit_code == 0 and f"item {name}" in beside.stdout


def test_a_changed_disclosure_fails_verification(pack: Path, public: Path, tmp_path: Path):
    file = tmp_path / "item.json"
    name = next(name for name in ITEMS if name.startswith("flattery"))
    assert run("disclose", pack, name, "-o", file).exit_code == 0
    file.write_text(file.read_text().replace("yes!", "no!!", 1))

    done = run("verify", public, "--level", "integrity", "--disclosure", file)

    assert done.exit_code == 1 and "failed: item.json: item 'flattery" in done.stdout


def test_what_a_copy_withholds_it_cannot_disclose(public: Path, tmp_path: Path):
    name = next(name for name in ITEMS if name.startswith("flattery"))

    done = run("disclose", public, name, "--field", "messages", "-o", tmp_path / "x.json")

    assert done.exit_code == 2 and "shows no field 'messages'" in done.stderr
    assert run("disclose", public).exit_code == 2
    assert run("disclose", "--check", public / "bagit.txt").exit_code == 2
