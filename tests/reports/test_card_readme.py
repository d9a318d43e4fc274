"""A README keeps every byte that is not ours, whatever it looks like."""

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.errors import ReportError
from compliance.reports.model_card import (
    BEGIN,
    END,
    YAML_BEGIN,
    YAML_END,
    remove_card,
    write_card,
)

SECTION = "## Evidence\n\n- one\n- two\n"
NEWER = "## Evidence\n\n- three\n"
ENTRY = {
    "name": "model: of *ours*",
    "results": [
        {
            "task": {"type": "text-classification"},
            "dataset": {"name": "Seed", "type": "seed", "config": "a/b"},
            "metrics": [{"type": "roc_auc", "value": 0.75, "args": {"low": 0.5, "high": 0.9}}],
        }
    ],
}
OTHER = "- name: theirs\n  results:\n  - task: {type: t}\n    dataset: {name: D, type: d}\n    metrics: [{type: f1, value: 1}]\n"  # noqa: E501 - one piece of YAML


def write(text: str, section: str = SECTION, entry=ENTRY) -> str:
    return write_card(text.encode(), section, entry).decode()


def remove(text: str) -> str:
    return remove_card(text.encode()).decode()


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


FRONTS = {
    "none": "",
    "plain": "---\nlicense: mit\ntags: [a, b]\n---\n",
    "comments": "---\n# a comment\nlicense: mit # another\n\n# the last\n---  \n",
    "only comments": "---\n# nothing yet\n---\n",
    "blank": "---\n\n---\n",
    "literal at the end": "---\nlicense: mit\ndescription: |\n  # sae\n\n  text\n---\n",
    "kept line breaks": "---\ndescription: |+\n  text\n\n---\n",
    "quoted over lines": "---\ndescription: 'one\n\n  two'\n---\n",
    "model-index": f"---\nlicense: mit\nmodel-index:\n{OTHER}tags: [x]\n---\n",
    "model-index at the end": f"---\nmodel-index:  # ours and theirs\n# note\n{OTHER}---\n",
    "model-index, indented": f"---\nmodel-index:\n{indented(OTHER, 4)}license: mit\n---\n",
    "all indented": f"---\n  license: mit\n  model-index:\n{indented(OTHER, 2)}---\n",
    "indented without it": "---\n  license: mit\n  tags:\n    - a\n---\n",
    "blank lines before": "\n\n---\nlicense: mit\n---\n",
    "line separator": "---\nname: 'a\u2028b'\nmodel-index:\n- name: t\n  results: []\n---\n",
    "anchors": "---\na: &x {b: 1}\nc: *x\n---\n",
}
BODIES = {
    "empty": "",
    "title": "# Title\n\nText with *stars*.\n",
    "no end": "# Title\n\nlast line",
    "blank lines": "\n\n\n# Title\n\n\n",
    "marker in code": f"```html\n{BEGIN}\nx\n{END}\n```\n",
    "marker in longer fence": f"~~~~\n~~~\n{BEGIN}\n~~~~\nafter\n",
    "marker after what closes no fence": f"```\n    ```\n{BEGIN}\n```\n",
    "marker in a sentence": f"Write `{BEGIN}` and {END} yourself.\n",
    "marker indented": f"    {BEGIN}\n    x\n",
    "code in a list": f"- ```\n  {BEGIN}\n  ```\n- more\n",
    "code that a list ends": f"1. ~~~\n   {END}\n\nafter\n",
    "rule": "a\n\n---\n\nb\n",
    "tables": "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "other languages": "# 模型\n\nΑπάντηση \u2028 🙂\n",
    "yaml in text": f"{YAML_BEGIN}\n{YAML_END}\n",
}


READMES = [
    *((front, body) for front in FRONTS for body in ("title", "no end")),
    *((front, body) for front in ("none", "plain") for body in BODIES),
]


@pytest.mark.parametrize(("front", "body"), READMES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_adding_then_removing_gives_the_readme_back_and_twice_is_once(front, body, newline):
    bom = "\ufeff" if newline == "\r\n" else ""
    text = bom + (FRONTS[front] + BODIES[body]).replace("\n", newline)

    once = write(text)

    assert write(once) == once
    assert remove(once) == text
    assert remove(text) == text
    assert write(write(text, NEWER)) == once


def others(metadata: dict) -> dict:
    """All but ours; the hub cuts off the line break before the closing ``---``."""
    return {
        key: value.rstrip("\n") if isinstance(value, str) else value
        for key, value in metadata.items()
        if key != "model-index"
    }


@pytest.mark.parametrize("front", [f for f in FRONTS if f != "line separator"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_hub_reads_our_entry_and_all_that_was_there(front, newline):
    text = (FRONTS[front] + BODIES["title"]).replace("\n", newline)
    before = ModelCard(text, ignore_metadata_errors=True).data.to_dict()

    after = ModelCard(write(text)).data

    ours = [r for r in after.eval_results if r.dataset_config == "a/b"]
    assert [(r.metric_type, r.metric_value) for r in ours] == [("roc_auc", 0.75)]
    assert others(after.to_dict()) == others(before)
    theirs = [r for r in after.eval_results if r.dataset_config != "a/b"]
    assert len(theirs) == ("theirs" in text)
    if theirs:  # the hub's library takes the name of the last entry
        assert after.model_name == "theirs"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_is_written_ends_its_lines_as_the_readme_does(newline):
    text = (FRONTS["model-index"] + BODIES["title"]).replace("\n", newline)

    written = write(text)

    assert written.count("\n") == written.count(newline)


def test_section_and_metadata_stand_between_their_markers():
    written = write(FRONTS["plain"] + BODIES["title"])

    front, body = written.removeprefix("---\n").split("\n---\n")
    assert front.startswith(f"license: mit\ntags: [a, b]\n{YAML_BEGIN}\nmodel-index:\n- name: ")
    assert front.endswith(YAML_END)
    assert body == f"{BODIES['title']}{BEGIN}\n{SECTION}{END}\n"
    assert yaml.safe_load(front)["model-index"] == [ENTRY]


def test_a_section_that_was_moved_stays_where_it_is():
    written = write(FRONTS["plain"] + BODIES["title"])
    section = f"{BEGIN}\n{SECTION}{END}\n"
    moved = written.replace(section, "").replace("# Title\n", f"{section}# Title\n")

    newer = write(moved, NEWER)

    assert newer == moved.replace(SECTION, NEWER)


def test_what_was_written_around_the_section_stays():
    written = write("# Title\n")
    changed = written.replace("# Title\n", "# Another\n").replace("---\n", "---\nlicense: mit\n", 1)
    changed += "below\n"

    assert remove(changed) == "---\nlicense: mit\n---\n# Another\nbelow\n"
    assert remove(write(changed, NEWER)) == remove(changed)


def test_without_numbers_there_are_no_metadata_and_old_ones_go():
    text = FRONTS["plain"] + BODIES["title"]

    written = write(write(text), entry=None)

    assert written == f"{text}{BEGIN}\n{SECTION}{END}\n"


DAMAGED = {
    "no end": f"# A\n{BEGIN}\n",
    "no begin": f"{END}\n",
    "twice": f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n",
    "turned around": f"{END}\n{BEGIN}\n",
    "begin twice": f"{BEGIN}\n{BEGIN}\n{END}\n",
    "metadata without end": f"---\n{YAML_BEGIN}\nlicense: mit\n---\n",
    "metadata without begin": f"---\nlicense: mit\n  {YAML_END}\n---\n",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_markers_are_refused(text):
    for edit in (write, remove):
        with pytest.raises(ReportError, match="markers in these lines: ") as caught:
            edit(text)

        assert "nothing was written" in caught.value.hint


UNEDITABLE = {
    "flow list": "---\nmodel-index: [{name: a, results: []}]\n---\n",
    "empty list": "---\nmodel-index: []\n---\n",
    "no value": "---\nmodel-index:\n---\n",
    "a string": "---\nmodel-index: later\n---\n",
    "flow mapping": "---\n{license: mit}\n---\n",
    "anchored": f"---\nmodel-index: &all\n{OTHER}---\n",
    "tagged": f"---\nmodel-index: !!seq\n{OTHER}---\n",
    "twice": f"---\nmodel-index:\n{OTHER}model-index:\n{OTHER}---\n",
    "no mapping": "---\njust words\n---\n",
    "not YAML": "---\na: b: c\n---\n",
    "two documents": "---\na: 1\n...\nb: 2\n---\n",
    "document's end": "---\na: 1\n...\n---\n",
    "control character": "---\na: '\x07'\n---\n",
}


@pytest.mark.parametrize("text", UNEDITABLE.values(), ids=UNEDITABLE)
def test_front_matter_that_cannot_be_edited_safely_is_refused(text):
    with pytest.raises(ReportError, match="the front matter cannot be edited") as caught:
        write(text)

    assert "model-index:" in caught.value.hint


def test_metadata_are_not_taken_out_from_under_what_hangs_on_them():
    written = write(FRONTS["plain"])
    hanging = written.replace(f"{YAML_END}\n", f"{YAML_END}\n- name: added later\n  results: []\n")

    with pytest.raises(ReportError, match="cannot be edited"):
        remove(hanging)


def test_a_code_block_that_never_ends_is_refused():
    with pytest.raises(ReportError, match=r"line 3: a code block begins and never ends"):
        write("# A\n\n```sh\nls\n")


def test_what_is_not_utf8_is_refused():
    with pytest.raises(ReportError, match="byte 2 is not UTF-8"):
        write_card(b"# \xff", SECTION, ENTRY)


KEYS = st.sampled_from(
    ["license: mit", "tags:\n- a\n- b", "# note", "", "x: |\n  y\n\n  z", "'q': \"# no\"",
     f"model-index:\n{OTHER.rstrip()}", "widget: [1, {a: 2}]"]
)  # fmt: skip
LINES = st.sampled_from(
    ["", "# T", "text", "- a", "```", "~~~", "- ```", "  ```", "---", "| a |", BEGIN[:-1],
     f" {BEGIN}", f"{END} x", "<!-- c -->", "***", "\u2028", "é", "\r", "\t```"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    keys=st.none() | st.lists(KEYS, max_size=4),
    lines=st.lists(LINES | st.text(max_size=8), max_size=12),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    end=st.sampled_from(["", "\n", "\r\n", "\r"]),
    bom=st.sampled_from(["", "\ufeff"]),
)
def test_any_readme_is_given_back_or_refused(keys, lines, newline, end, bom):
    front = "" if keys is None else "\n".join(["---", *keys, "---", ""])
    text = bom + front.replace("\n", newline) + newline.join(lines) + end
    try:
        data = text.encode()
        once = write_card(data, SECTION, ENTRY)
    except (ReportError, UnicodeEncodeError):
        return

    assert remove_card(once) == data
    assert write_card(once, SECTION, ENTRY) == once
    assert remove_card(write_card(once, NEWER, ENTRY)) == data
