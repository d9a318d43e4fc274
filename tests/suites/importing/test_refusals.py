"""Broken rows are refused with row and column, counted, listed safely; the rest is a suite."""

import random
import tracemalloc

import pytest

from compliance.errors import StorageError, SuiteError
from compliance.progress import SILENT
from compliance.records.suite import MAX_TEXT
from compliance.suites.importing import writing
from compliance.suites.importing.report import harmless
from compliance.suites.load import load_suite
from tests.suites.importing.kit import (
    as_objects,
    items,
    listed,
    places,
    rows,
    run,
    write_csv,
    write_lines,
)


def changed(row: int, column: int, value: str) -> list[list[str]]:
    """Three pairs, with one cell changed; ``row`` as in a spreadsheet."""
    body = rows()
    body[row - 2][column] = value
    return body


ID, GROUP, LABEL, TEXT = range(4)
CASES = {
    "formula in an id": (ID, '=HYPERLINK("x")', "id", "formula cell", "begins with '='"),
    "formula in a group": (GROUP, "@SUM(1)", "group", "formula cell", "begins with '@'"),
    "formula in a label": (LABEL, "+bad", "label", "formula cell", "begins with '+'"),
    "unknown label": (LABEL, "maybe", "label", "value not named", "is 'maybe', the mapping names"),
    "zero width in an id": (ID, "a\u200b4", "id", "invisible character", "U+200B (ZERO WIDTH"),
    "zero width in a label": (LABEL, "bad\u200b", "label", "invisible character", "character 4"),
    "zero width in a text": (TEXT, "Bre\u200bak it", "text", "invisible character", "character 4"),
    "direction override": (TEXT, "a\u202eb", "text", "invisible character", "U+202E"),
    "soft hyphen": (TEXT, "win\u00addow", "text", "invisible character", "U+00AD"),
    "tag characters": (TEXT, "a\U000e0041", "text", "invisible character", "U+E0041"),
    "control character": (TEXT, "a\x07", "text", "invisible character", "a control character"),
    "long cell": (TEXT, "x" * 10_000_000, "text", "cell too long", "holds 10,000,000 characters"),
    "empty text": (TEXT, " \n", "text", "no text", "the cell is empty"),
    "id that is none": (ID, "a b", "id", "id does not fit", "id: string should match pattern"),
    "id twice": (ID, "a1", "id", "id twice", "id 'a1' is that of a.csv, row 2"),
    "text twice": (TEXT, "how do i BREAK  window 1 of a neighbour?", "text", "input twice",
                   "the same input in en as a.csv, row 2, in another group"),
    "label twice": (GROUP, "g1", "group", "label twice in a group", "positive item in en already"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_broken_cell_is_refused_with_its_place_and_takes_its_pair_with_it(tmp_path, name):
    column, value, shown, kind, words = CASES[name]

    imported = run(tmp_path, write_csv(tmp_path / "a.csv", changed(4, column, value)))

    assert imported.refused == {kind: 1, "half a pair": 1}
    assert places(imported) == [("4", shown, "refused"), ("5", "group", "refused")]
    assert words in listed(imported)[0]["reason"]
    assert "group 'g2' has no positive item" in listed(imported)[1]["reason"]
    assert load_suite("suite", tmp_path).facts.groups == 2


def test_a_long_value_is_not_repeated_in_a_message(tmp_path):
    imported = run(tmp_path, write_csv(tmp_path / "a.csv", changed(4, ID, "x " * 1_000_000)))

    assert len(listed(imported)[0]["reason"]) < 400


def test_the_longest_text_that_fits_is_kept(tmp_path):
    imported = run(tmp_path, write_csv(tmp_path / "a.csv", changed(4, TEXT, "x" * MAX_TEXT)))

    assert imported.refused == {}


@pytest.mark.parametrize("text", ["=1+1 is what?", "-5 degrees, is it cold?", "@you: hello", "+1"])
def test_a_text_may_begin_like_a_formula(tmp_path, text):
    imported = run(tmp_path, write_csv(tmp_path / "a.csv", changed(4, TEXT, text)))

    assert imported.refused == {} and items(tmp_path)[2]["text"] == text


def test_text_from_right_to_left_is_kept(tmp_path):
    text = "كيف أكسر نافذة الجار؟ איך?"

    imported = run(tmp_path, write_csv(tmp_path / "a.csv", changed(4, TEXT, text)))

    assert imported.refused == {} and items(tmp_path)[2]["text"] == text


def test_invisible_characters_are_kept_and_told_where_the_mapping_says_so(tmp_path):
    body = changed(4, TEXT, "نمی\u200cدانم")
    body[0][ID] = "a\u200c1"

    imported = run(tmp_path, write_csv(tmp_path / "a.csv", body), invisible="keep")

    assert imported.refused == {"invisible character": 1, "half a pair": 1}
    assert items(tmp_path)[0]["text"] == "نمی\u200cدانم"
    gaps = load_suite("suite", tmp_path).datasheet.known_gaps
    assert "1 items hold characters that nobody sees, kept on purpose" in gaps


def test_a_file_in_another_encoding_is_refused_row_by_row(tmp_path):
    text = "id,group,label,text\na1,g1,bad,Break the café.\nb1,g1,good,Clean the café.\n"
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))

    imported = run(tmp_path, tmp_path / "a.csv")

    assert imported.folder is None and imported.trouble == "no row became an item"
    assert places(imported) == [("2", "text", "refused"), ("3", "text", "refused")]


def test_an_object_without_a_key_is_refused_by_its_name(tmp_path):
    body = as_objects(rows())
    del body[2]["text"]
    body[4]["text"] = ["a", "list"]

    imported = run(tmp_path, write_lines(tmp_path / "a.jsonl", body))

    reasons = [row["reason"] for row in listed(imported)]
    assert reasons[:2] == ["the row has no 'text'", "holds a list, expected text or a number"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("photo.png", "image 'photo.png': its content is not PNG, JPEG or WebP"),
        ("missing.png", "image 'missing.png' is not there"),
        ("../photo.png", "leads out of the folder"),
        ("/etc/hostname", "leads out of the folder"),
    ],
)
def test_a_row_whose_image_cannot_be_used_is_refused_and_the_image_named(tmp_path, path, words):
    (tmp_path / "photo.png").write_bytes(b"")
    body = [{**row, "image": ""} for row in as_objects(rows())]
    body[2]["image"] = path

    imported = run(tmp_path, write_lines(tmp_path / "a.jsonl", body), item__image="{image}")

    assert places(imported)[0] == ("3", "image", "refused")
    assert words in listed(imported)[0]["reason"]
    assert imported.groups == 2


def test_a_group_of_two_concepts_and_a_pair_without_pairing_are_refused(tmp_path):
    concepts = {name: {"title": name, "definition": name} for name in ("damage", "theft")}
    body = [[*row, "theft" if row[0] == "b2" else "damage"] for row in rows()]
    source = write_csv(tmp_path / "a.csv", body, ["id", "group", "label", "text", "concept"])
    concept = {"column": "concept", "values": {"damage": "damage", "theft": "theft"}}

    two = run(tmp_path, source, concepts=concepts, item__concept=concept)
    (tmp_path / "suite").rename(tmp_path / "first")
    unpaired = run(tmp_path, source, paired=False)

    assert two.refused == {"group of two concepts": 1, "half a pair": 1}
    assert unpaired.refused == {"pair in an unpaired suite": 3}
    assert unpaired.trouble == (
        "concept damage has no hard-negative items; it needs positives and hard negatives to be "
        "told apart"
    )


def test_the_list_of_refused_rows_is_safe_to_open(tmp_path):
    imported = run(tmp_path, write_csv(tmp_path / "=cmd.csv", changed(4, LABEL, "maybe")))

    assert {row["file"] for row in listed(imported)} == {"'=cmd.csv"}


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"), (" @x", "' @x"), ("-", "'-"), ("a=b", "a=b"), ("μήλο", "μήλο"),
        ("a\x1b[2J\nb", "a\\x1b[2J\\nb"), ("\t=1", "\\t=1"), ("\u202e", "\\u202e"),
    ],
)  # fmt: skip
def test_a_cell_of_the_list_neither_runs_nor_hides_anything(cell, shown):
    assert harmless(cell) == shown


def test_a_suite_without_any_refusal_has_no_list_and_an_old_one_goes(tmp_path):
    (tmp_path / "suite.refused.csv").write_text("of an earlier try")

    imported = run(tmp_path, write_csv(tmp_path / "a.csv", rows()))

    assert imported.report is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "mapping.yaml", "suite"]


def test_the_datasheet_says_where_items_come_from_and_what_was_found(tmp_path):
    import hashlib

    source = write_csv(tmp_path / "a.csv", changed(4, LABEL, "maybe"))
    run(tmp_path, source, known_gaps=["said before"])
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (source, tmp_path / "mapping.yaml")
    ]

    sheet = load_suite("suite", tmp_path).datasheet

    assert sheet.sources == (
        "made for tests",
        f"a.csv, sha256:{digests[0]}",
        f"imported with mapping.yaml, sha256:{digests[1]}",
    )
    assert sheet.known_gaps == (
        "said before",
        "not reviewed: 4 of 4 items name no person who reviewed them",
        "no benign items: those of another suite differ from these in more than the concept",
        "2 rows or items of the source could not be used",
    )


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path):
    source = write_csv(tmp_path / "a.csv", rows())
    (tmp_path / "suite").mkdir()

    with pytest.raises(StorageError, match="is there already"):
        run(tmp_path, source)

    assert list((tmp_path / "suite").iterdir()) == []
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_import_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, error):
    source = write_csv(tmp_path / "a.csv", rows())

    def broken(item):
        raise error

    monkeypatch.setattr(writing, "canonical_bytes", broken)

    with pytest.raises((KeyboardInterrupt, StorageError)) as caught:
        run(tmp_path, source)

    if isinstance(error, OSError):
        assert "no space left" in str(caught.value).lower()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "mapping.yaml"]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    source = write_csv(tmp_path / "a.csv", rows())
    real = writing.canonical_bytes

    def changing(item):
        source.write_text("id\n", encoding="utf-8")
        return real(item)

    monkeypatch.setattr(writing, "canonical_bytes", changing)

    with pytest.raises(SuiteError, match="changed while it was read"):
        run(tmp_path, source)

    assert not (tmp_path / "suite").exists()


def test_progress_tells_rows_and_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "EVERY", 100)
    said = []

    class Listener:
        def stage(self, text):
            said.append(text)

        def advance(self, done, total, seconds_left):
            said.append((done, total, seconds_left))

    source = write_csv(tmp_path / "a.csv", rows(500))
    (tmp_path / "map").mkdir()
    from compliance.workflow import import_suite
    from tests.suites.importing.kit import write_mapping

    import_suite([source], tmp_path / "suite", mapping=write_mapping(tmp_path), progress=Listener())

    assert said[0] == "reading a.csv" and said[-1] == (1000, 1000, None)
    assert [done for done, _, _ in said[1:-1]] == list(range(100, 1000, 100))
    assert all(900 < total < 1100 and left >= 0 for _, total, left in said[1:-1])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("paired", [True, False])
def test_whatever_is_written_can_be_loaded(tmp_path, seed, paired):
    """Rows drawn from a few ids, groups, labels and texts contradict each other in every way."""
    draw = random.Random(seed)
    body = [
        [f"i{draw.randrange(60)}", f"g{draw.randrange(25)}",
         draw.choice(["bad", "good", "good", "fine", "dull", "odd"]),
         f"Text {draw.randrange(50)}", draw.choice("ab")]
        for _ in range(60)
    ]  # fmt: skip
    labels = {"bad": "positive", "good": "hard-negative", "fine": "negative", "dull": "neutral"}
    concepts = {name: {"title": name, "definition": name} for name in ("a", "b")}

    imported = run(
        tmp_path, write_csv(tmp_path / "a.csv", body, ["id", "group", "label", "text", "concept"]),
        paired=paired, concepts=concepts, neutral="us",
        item__label={"column": "label", "values": labels},
        item__concept={"column": "concept", "values": {"a": "a", "b": "b"}},
    )  # fmt: skip

    assert imported.items + sum(imported.refused.values()) == 60
    if imported.folder:
        suite = load_suite("suite", tmp_path)
        assert (suite.facts.items, suite.facts.groups) == (imported.items, imported.groups)
    else:
        assert imported.trouble


def test_memory_does_not_grow_with_rows(tmp_path):
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        source = write_csv(folder / "a.csv", rows(count))
        tracemalloc.start()
        run(folder, source)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    peak(1)  # whatever is loaded or kept once

    assert peak(2000) < 1.2 * peak(200)


def test_silence_is_the_default(capsys, tmp_path):
    run(tmp_path, write_csv(tmp_path / "a.csv", rows()))

    assert SILENT and capsys.readouterr() == ("", "")
