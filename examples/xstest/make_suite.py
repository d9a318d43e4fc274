"""Makes a suite of XSTest's prompts: unsafe requests, and safe ones in unsafe words.

XSTest (arXiv:2308.01263) says which prompts are unsafe, and not which safe prompt belongs to which
unsafe one. So the suite is unpaired: each prompt is a group of its own.

    python examples/xstest/make_suite.py xstest_prompts.csv examples/xstest/suite
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from compliance.documents import read_text
from compliance.errors import ComplianceError, SuiteError
from compliance.records.base import canonical_bytes, digest_bytes, to_json
from compliance.records.suite import ConceptSheet, Datasheet, Item, Label
from compliance.storage import write_bytes, write_folder, write_text
from compliance.suites.load import load_suite

COLUMNS = ["id", "prompt", "type", "label", "focus", "note"]
CONCEPT = "unsafe-request"
LABELS = {"unsafe": Label.POSITIVE, "safe": Label.HARD_NEGATIVE}
LICENCE = "CC-BY-4.0"
PROJECT = "https://github.com/paul-rottger/exaggerated-safety"


def main() -> int:
    """Writes the suite, or says what is wrong with the CSV and writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path, help="xstest_prompts.csv, as its project publishes it")
    parser.add_argument("out", type=Path, help="folder of the suite; must not be there yet")
    given = parser.parse_args()
    try:
        count = write_suite(given.csv, given.out)
    except ComplianceError as error:
        print(f"Error: {error}", file=sys.stderr)
        if error.hint:
            print(f"Hint: {error.hint}", file=sys.stderr)
        return 2
    print(f"{given.out}: written, {count} items")
    return 0


def write_suite(source: Path, out: Path) -> int:
    """Writes ``suite.yaml`` and ``items.jsonl``, and returns the number of items.

    Raises:
        SuiteError: The CSV cannot be read, or its prompts do not make a suite.
        StorageError: ``out`` is there already, or cannot be written.
    """
    text = read_text(source, error=SuiteError)
    items = list(read_items(text, source.name))
    values = to_json(datasheet(items, digest_bytes(text.encode("utf-8"))))
    sheet = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=96)
    with write_folder(out) as folder:
        write_text(folder / "suite.yaml", sheet)
        write_bytes(folder / "items.jsonl", b"".join(canonical_bytes(i) + b"\n" for i in items))
        load_suite(folder.name, folder.parent)
    return len(items)


def read_items(text: str, name: str) -> Iterator[Item]:
    """Yields one item a row; ``focus`` and ``note`` have no place in an item.

    Args:
        text: Of the CSV.
        name: Stands for the file in messages.

    Raises:
        SuiteError: Other columns, or a row that is not one of XSTest's.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    seen: set[str] = set()
    try:
        header = next(rows, [])
        if header != COLUMNS:
            raise SuiteError(
                f"{name}: found columns {header}, expected {COLUMNS}",
                hint=f"take xstest_prompts.csv from {PROJECT}",
            )
        for row in rows:
            where = f"{name}, line {rows.line_num}"
            item = read_item(row, where)
            if item.id in seen:
                raise mistake(where, f"id {row[0]!r} appears a second time")
            seen.add(item.id)
            yield item
    except csv.Error as error:
        raise mistake(f"{name}, line {rows.line_num}", f"not valid CSV: {error}") from error


def read_item(row: list[str], where: str) -> Item:
    """One row as an item; ``where`` is its place in messages."""
    if len(row) != len(COLUMNS):
        raise mistake(where, f"found {len(row)} values, expected {len(COLUMNS)}")
    number, prompt, kind, label = row[:4]
    if label not in LABELS:
        raise mistake(where, f"label is {label!r}, expected one of {list(LABELS)}")
    if not prompt.strip():
        raise mistake(where, "the prompt is empty")
    name = f"xstest-{number.zfill(3)}"
    try:
        return Item(
            id=name, group=name, concept=CONCEPT, label=LABELS[label], language="en",
            stratum=kind.replace("_", "-"), text=prompt, origin="authored",
            source=f"XSTest, prompt {number}, {PROJECT}", licence=LICENCE,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise mistake(
            where, f"{first['loc'][0]}: {first['msg']}, found {first['input']!r}"
        ) from error


def datasheet(items: list[Item], digest: str) -> Datasheet:
    """What is to be said of these items, made of a CSV of this digest."""
    types = len({item.stratum for item in items})
    return Datasheet(
        name="xstest",
        version="1.0.0",
        title="XSTest",
        description=(
            "Prompts of XSTest, written by its authors to find models that refuse safe requests: "
            "unsafe requests, and safe ones that share their words or touch the same topics. "
            "Prompts and labels are XSTest's; its types are the strata, spelt with hyphens."
        ),
        licence=LICENCE,
        sources=(
            f"xstest_prompts.csv of {PROJECT}, {digest}",
            "Röttger et al., XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours "
            "in Large Language Models, NAACL 2024, arXiv:2308.01263",
        ),
        languages=("en",),
        concepts={
            CONCEPT: ConceptSheet(
                title="Unsafe request",
                definition=(
                    "The user asks for what a model should, for most applications, refuse: "
                    "XSTest's prompts labelled unsafe. Hard negatives are those labelled safe, "
                    "which a model should answer although they look unsafe."
                ),
                region="user",
            )
        },
        paired=False,
        translation="none: English only",
        known_gaps=(
            "English only",
            "single prompts, most of them one short question: no dialogues and no code",
            f"{len(items)} prompts of {types} types: too few for a statement about one type",
            "a label says what XSTest's authors hold a model should do for most applications, not "
            "what any model does; labels were not doubled for this suite (no kappa)",
            "many prompts differ in a few words from another, and XSTest does not say from which: "
            "like prompts can be in two splits, and intervals take them for independent",
            "no benign items: those of another suite differ from these prompts in more than safety",
            "published in 2023: a model may have been trained on these prompts",
        ),
    )


def mistake(where: str, found: str) -> SuiteError:
    """What is wrong with a row."""
    return SuiteError(f"{where}: {found}", hint="correct the row, or download the file again")


if __name__ == "__main__":
    sys.exit(main())
