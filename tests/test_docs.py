"""The pages in docs/ are true: commands exist, tables are complete, examples run, links lead on.

Blocks of a page run in order in one folder, which a page's ``prepare`` function fills:

- ``console``: each ``$`` line is run; the lines below it are compared with what it prints, ``...``
  standing for anything. Lines that begin with ``... `` or count items are progress and left out.
- ``python``: executed; all of a page share their names.
- a block after ``<!-- file: NAME -->`` is written to that file.

Blocks of ``sh`` are not run, but every ``compliance`` command in them must exist with its options.
"""

import ast
import contextlib
import doctest
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from compliance.cli.main import COMMANDS, main
from tests.tiny_audit import write_audit, write_changed_audit

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "evidence" / "FORMAT.md",
    ROOT / "evidence" / "HOW-TO-VERIFY.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
REFERENCE = ROOT / "docs" / "reference"
SHOWN = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    file: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.findall(
        r"^(?:<!-- file: (\S+) -->\n)?```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return [Block(language, body, file or None) for file, language, body in found]


def rows(page: Path, heading: str | None = None) -> Iterator[list[str]]:
    """Cells of every table row of a page, or of one section, whose first cell is code."""
    text = page.read_text(encoding="utf-8")
    if heading:
        text = re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" |")]


def code(cell: str) -> str:
    return cell.strip("`")


# Commands


def commands() -> dict[str, click.Command]:
    """Every command by its full name, groups left out."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group):
            found |= {f"compliance {name} {sub}": c for sub, c in command.commands.items()}
        else:
            found[f"compliance {name}"] = command
    return found


def parameters(command: click.Command) -> set[str]:
    return {name_of_parameter(command, p) for p in command.params}


def name_of_parameter(command: click.Command, parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.make_metavar(click.Context(command)).strip("[]")
    return parameter.opts[0]


def test_every_command_is_documented_and_no_other():
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")

    documented = set(re.findall(r"^## `(compliance[^`]*)`$", text, re.MULTILINE))

    assert documented == {"compliance", *commands()}


@pytest.mark.parametrize("name", commands())
def test_every_option_of_a_command_is_documented_and_no_other(name):
    found = {code(row[0]) for row in rows(REFERENCE / "command-line.md", f"`{name}`")}

    assert found == parameters(commands()[name])


def test_choices_and_defaults_are_those_of_the_command():
    for name, command in commands().items():
        table = {code(r[0]): r[1] for r in rows(REFERENCE / "command-line.md", f"`{name}`")}
        for option in command.params:
            if isinstance(option.type, click.Choice):
                for choice in option.type.choices:
                    assert f"`{choice}`" in table[name_of_parameter(command, option)]
            if isinstance(option, click.Option) and option.show_default:
                assert f"`{option.default}`" in table[option.opts[0]] and "efault" in table[
                    option.opts[0]
                ]  # fmt: skip


def written_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page):
            for line in block.text.splitlines() if block.language in ("sh", "console") else ():
                line = line.removeprefix("$ ")
                if line.startswith("compliance "):
                    yield name_of(page), line


@pytest.mark.parametrize(("page", "line"), list(written_commands()))
def test_every_written_command_exists_with_its_options(page, line):
    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("--"):
        assert words == ["--version"]
        return
    known = commands()
    name = next(n for n in (f"compliance {words[0]}", f"compliance {' '.join(words[:2])}")
                if n in known)  # fmt: skip

    used = {word.split("=")[0] for word in words if word.startswith("--")}

    assert used <= {opt for p in known[name].params for opt in p.opts}


@pytest.mark.parametrize(
    "target", re.findall(r"\bmake ([a-z-]+)`", (ROOT / "README.md").read_text())
)
def test_make_targets_exist(target):
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


# Tables of the reference against the records


def fields(schema: dict) -> dict[str, dict]:
    """Every key of a JSON Schema by its path, with its schema; lists as ``[]``, maps as ``*``."""
    definitions = schema.get("$defs", {})

    def resolve(part: dict) -> dict:
        return definitions[part["$ref"].split("/")[-1]] if "$ref" in part else part

    def walk(part: dict, path: str) -> Iterator[tuple[str, dict]]:
        part = resolve(part)
        for key, value in part.get("properties", {}).items():
            place = f"{path}.{key}" if path else key
            required = key in part.get("required", [])
            yield place, value | {"required": required}
            yield from inside(value, place)

    def inside(value: dict, place: str) -> Iterator[tuple[str, dict]]:
        options = [value, *value.get("anyOf", []), *value.get("allOf", [])]
        for option in map(resolve, options):
            if option.get("properties"):
                yield from walk(option, place)
            if option.get("type") == "array":
                yield from walk(option["items"], f"{place}[]")
            named = [
                option.get("additionalProperties"),
                *option.get("patternProperties", {}).values(),
            ]
            for part in named:
                if isinstance(part, dict):
                    yield from walk(part, f"{place}.*")

    return dict(walk(schema, ""))


def shown_default(field: dict) -> str:
    """How a table prints a default: ``required``, JSON in code, or nothing."""
    if field["required"]:
        return "required"
    default = field.get("default")
    if default is None:
        return ""
    return "`{}`" if isinstance(default, dict) else f"`{json.dumps(default)}`"


@pytest.mark.parametrize(
    ("page", "heading", "schema"),
    [
        ("audit-yaml", "Keys", "audit"),
        ("system-yaml", "Keys", "system"),
        ("redaction", "redaction.yaml", "redaction"),
        ("suite", "suite.yaml", "suite"),
        ("suite", "items.jsonl", "item"),
    ],
)
def test_a_table_of_keys_is_that_of_the_record(page, heading, schema):
    text = (ROOT / "evidence" / "schemas" / f"{schema}.schema.json").read_text(encoding="utf-8")
    expected = {key: shown_default(field) for key, field in fields(json.loads(text)).items()}

    found = {code(row[0]): row[2] for row in rows(REFERENCE / f"{page}.md", heading)}

    assert found == expected


def test_values_that_a_key_can_take_are_named():
    for page, heading, name in (
        ("audit-yaml", "Keys", "audit"),
        ("suite", "items.jsonl", "item"),
    ):
        schema = json.loads((ROOT / f"evidence/schemas/{name}.schema.json").read_text("utf-8"))
        table = {code(row[0]): row[1] for row in rows(REFERENCE / f"{page}.md", heading)}
        for key, field in fields(schema).items():
            for value in field.get("enum", []):
                assert f"`{value}`" in table[key], key


def test_declared_keys_are_those_of_the_catalog():
    from compliance.catalog.citations import display
    from compliance.catalog.load import load_catalog

    catalog = load_catalog()
    expected = []
    for declared, provision in catalog.declared_keys():
        rule = catalog.rule(provision.id)
        where = " (where it applies)" if rule and rule.where_appropriate else ""
        expected.append([f"`{declared.key}`", display(provision.id) + where, declared.prompt])

    assert list(rows(REFERENCE / "system-yaml.md", "Declared facts")) == expected


def table_pages() -> dict[str, tuple[str, ...]]:
    """Heading of each table's section in observations.md, and the columns it must list."""
    from compliance.records import observation as tables

    return {
        "fit/items.csv and confirm/items.csv": tables.ITEM_COLUMNS,
        "fit/scores.csv and confirm/scores.csv": tables.SCORE_COLUMNS,
        "fit/search.parquet": tables.SEARCH_COLUMNS,
        "fit/random_search.parquet": tables.SEARCH_COLUMNS,
        "fit/vectors.parquet": tables.VECTOR_COLUMNS,
        "fit/neighbours.csv": tables.NEIGHBOUR_COLUMNS,
        "fit/means.parquet": tables.MEAN_COLUMNS,
        "confirm/latents.parquet": tables.SEARCH_COLUMNS,
        "confirm/fidelity.parquet": tables.FIDELITY_COLUMNS,
        "confirm/firing.parquet": tables.FIRING_COLUMNS,
        "confirm/losses.csv": tables.LOSS_COLUMNS,
        "confirm/shifts.csv": tables.SHIFT_COLUMNS,
        "confirm/repeats.csv": tables.REPEAT_COLUMNS,
        "confirm/precision.csv": tables.PRECISION_COLUMNS,
        "confirm/patches.parquet": tables.PATCH_COLUMNS,
        "confirm/tokens.parquet": tables.TOKEN_COLUMNS,
        "confirm/cofiring.parquet": tables.COFIRING_COLUMNS,
        "confirm/features.csv": tables.FEATURE_COLUMNS,
        "fit/doses.csv": tables.DOSE_COLUMNS,
        "confirm/effects.csv": tables.EFFECT_COLUMNS,
        "confirm/side_effects.csv": tables.SIDE_COLUMNS,
        "confirm/side_scores.csv": tables.SIDE_SCORE_COLUMNS,
        "confirm/capability.csv": tables.CAPABILITY_COLUMNS,
        "confirm/replies.parquet": tables.REPLY_COLUMNS,
        "confirm/mitigation.csv": tables.MITIGATION_COLUMNS,
    }


def test_columns_are_those_of_the_tables():
    from compliance.records.observation import (
        CONFIRM_FILES,
        FIT_FILES,
        INTERVENTION_FILES,
        INTERVENTION_FIT_FILES,
        MITIGATION_FILES,
        MODE_FILES,
    )

    pages = table_pages()
    confirm = (*CONFIRM_FILES, *MODE_FILES, *INTERVENTION_FILES, *MITIGATION_FILES)
    paths = [f"fit/{name}" for name in (*FIT_FILES, *INTERVENTION_FIT_FILES)]
    paths += [f"confirm/{name}" for name in confirm]
    assert {path for heading in pages for path in heading.split(" and ")} == set(paths)
    text = re.sub(r"\s+", " ", (ROOT / "evidence" / "FORMAT.md").read_text(encoding="utf-8"))
    for heading, columns in pages.items():
        found = rows(REFERENCE / "observations.md", heading)
        assert tuple(code(row[0]) for row in found) == columns
        assert " ".join(columns) in text, heading


def test_types_of_parquet_columns_are_documented(finished_pack):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from compliance.assessment.tables import arrow_table, columns_of, empty_table

    names = {pa.float32(): "float32", pa.float64(): "float64"}

    def name_of(kind: pa.DataType) -> str:
        if pa.types.is_list(kind):
            return f"list of {name_of(kind.value_type)}"
        return names.get(kind, str(kind))

    for heading in table_pages():
        if heading.endswith(".parquet"):
            file = finished_pack / "data" / "observations" / heading
            nothing = arrow_table(empty_table(columns_of(heading)[0]), heading)
            schema = pq.read_schema(file) if file.exists() else nothing.schema
            table = {code(r[0]): r[1] for r in rows(REFERENCE / "observations.md", heading)}
            assert {f.name: name_of(f.type) for f in schema} == table


def test_conditions_are_those_of_a_plan(finished_pack):
    from compliance.assessment.verdicts import MEASURED_BY

    plan = json.loads((finished_pack / "data" / "evidence.json").read_bytes())["plan"]
    table = {code(r[0]): r[1:] for r in rows(REFERENCE / "results.md", "Conditions")}

    assert {name: cells[0] for name, cells in table.items()} == {
        rule["condition"]: rule["kind"] for rule in plan["rules"]
    }
    for rule in plan["rules"]:
        if rule["kind"] != "gate":
            looks_at = table[rule["condition"]][1]
            measured = MEASURED_BY.get(rule["condition"])
            assert looks_at == (f"`{measured}`" if measured else "not measured in this version")


def test_tolerances_of_reproduction_are_those_of_the_code():
    from compliance.workflow.reproducing import TOLERANCE

    table = {code(row[0]): row[1] for row in rows(REFERENCE / "verify.md", "Level reproduce")}

    assert table == {kind: f"{limit:g}" for kind, limit in TOLERANCE.items()}


def test_limits_that_cannot_be_changed_are_those_of_the_code():
    from compliance.workflow.judging import LOCKED

    found = {code(r[0]) for r in rows(REFERENCE / "verify.md", "Limits and mapping of your own")}

    assert found == {*LOCKED, "reference_language"}


def test_verdicts_stand_in_the_order_of_the_rules():
    from compliance.assessment.verdicts import FIRST_MATCH

    text = (REFERENCE / "results.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| \d \| `([a-z-]+)` \| `([a-z-]+)` \|", text, re.MULTILINE)

    assert found == [(verdict.value, reason) for _, verdict, reason in FIRST_MATCH]


def test_the_checks_of_verify_are_those_that_the_auditor_reads():
    from compliance.packs.checks.contents import PASSED

    text = (ROOT / "docs" / "tutorial-auditor.md").read_text(encoding="utf-8")
    text = " ".join(text.split())

    assert all(f"passed: {message}" in text for message in PASSED.values())


# Links and words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_resolve(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_judges_the_law_or_names_a_machine(page):
    text = page.read_text(encoding="utf-8")

    for word in ("complies", "compliant", "meets article", "certified", "guarantees"):
        assert word not in text.lower()
    assert not re.search(r"(?<![\w.~}\"])/(work|tmp|root|home)/", text)


def test_every_decision_is_listed():
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    pages = sorted(p.name for p in (ROOT / "docs" / "adr").glob("0*.md"))

    assert re.findall(r"\((0\d+[^)]*)\)", index) == pages


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_every_page_can_be_found_from_the_readme():
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop().resolve()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text(encoding="utf-8")):
            queue.append(page.parent / target)

    assert {p for p in PAGES if p.resolve() not in seen} == set()


# Examples, run


def prepare_engineer(folder: Path, finished_pack: Path) -> None:
    write_audit(folder)
    (folder / "audit.yaml").unlink()
    (folder / "system.yaml").unlink()


def prepare_auditor(folder: Path, finished_pack: Path) -> None:
    shutil.copytree(finished_pack, folder / finished_pack.name)
    shutil.copy(finished_pack.parent.parent / "keys" / "issuer.pub.pem", folder)


def prepare_trail(folder: Path, finished_pack: Path) -> None:
    shutil.copytree(finished_pack.parent.parent, folder, dirs_exist_ok=True)


def prepare_changed(folder: Path, finished_pack: Path) -> None:
    write_changed_audit(folder)


def prepare_nothing(folder: Path, finished_pack: Path) -> None:
    pass


PREPARE: dict[str, Callable[[Path, Path], None]] = {
    "docs/tutorial-engineer.md": prepare_engineer,
    "docs/tutorial-auditor.md": prepare_auditor,
    "docs/tutorial-interventions.md": prepare_changed,
    "docs/tutorial-monitoring.md": prepare_trail,
    "docs/tutorial-test-sets.md": prepare_engineer,
    "docs/reference/compare.md": prepare_trail,
    "docs/reference/features.md": prepare_engineer,
    "docs/reference/monitor.md": prepare_trail,
    "docs/reference/signatures.md": prepare_trail,
    "docs/reference/trail.md": prepare_trail,
}
RUNNABLE = [
    page
    for page in PAGES
    if any(b.language in ("console", "python") or b.file for b in blocks(page))
]


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_a_pages_examples_run_as_they_stand(
    page, tmp_path, monkeypatch, finished_pack, no_report, capsys
):
    PREPARE.get(name_of(page), prepare_nothing)(tmp_path, finished_pack)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    for block in blocks(page):
        if block.file:
            write_example(Path(block.file), block.text)
        if block.language == "console":
            run_session(block.text, monkeypatch)
        elif block.language == "python":
            ast.parse(block.text)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, name_of(page), "exec"), names)


def write_example(path: Path, text: str) -> None:
    """Write a file a page shows, after reading it as what it is."""
    from compliance.documents import parse_yaml
    from compliance.records.audit import AuditConfig, SystemFacts
    from compliance.records.suite import Datasheet

    shapes = {"audit.yaml": AuditConfig, "system.yaml": SystemFacts, "suite.yaml": Datasheet}
    if path.name in shapes:
        parse_yaml(text, path.name, shapes[path.name])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_session(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a console block and compare what they print."""
    exit_code = 0
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        if command == "echo $?":
            assert int(shown) == exit_code, text
            continue
        exit_code, stdout, stderr = run_line(command, monkeypatch)
        expected = without_progress(shown)
        printed = without_progress(stderr) if "Error:" in stderr else stdout
        assert SHOWN.check_output(expected, printed, FLAGS), (
            f"$ {command}\nshown:\n{expected}\nprinted:\n{stdout}{stderr}"
        )


def run_line(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """A line of ``compliance`` runs in this process, which has torch loaded; others in a shell."""
    words = shlex.split(command)
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
        return 0, "", ""
    if words[0] == "compliance" and not {"|", ">", "&&"} & set(words):
        done = CliRunner().invoke(main, words[1:])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr
    shell = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert shell.returncode == 0, f"$ {command}\n{shell.stderr}"
    return 0, shell.stdout, shell.stderr


def without_progress(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if not re.match(r"\.\.\. [a-z]|\s+[\d,]+ of [\d,]+ items", line)
    )


@pytest.mark.parametrize(
    ("page", "block"),
    [(name_of(p), b.text) for p in PAGES for b in blocks(p) if b.language == "yaml"],
)
def test_every_yaml_example_is_yaml(page, block):
    assert isinstance(yaml.safe_load(block), dict)
