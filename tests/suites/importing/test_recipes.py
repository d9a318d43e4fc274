"""Recipes, on small files in the shape of the published ones and none of their wording."""

import json
from pathlib import Path

import pytest
from PIL import Image as pillow

from compliance.errors import SuiteError
from compliance.suites.load import load_suite
from compliance.suites.recipes import ADAPTERS, load_recipe, recipe_names
from compliance.workflow import import_suite, recipes
from compliance.workflow.importing import UNTESTED
from tests.suites.importing.kit import items, listed, write_csv, write_lines
from tests.suites.importing.test_logs import sample, write_log

NAMES = [
    "advbench", "bbq", "harmbench", "image-index", "inspect", "multijail", "pope", "truthfulqa",
    "xstest",
]  # fmt: skip


def run(folder: Path, recipe: str, *sources: Path, **options):
    return import_suite(sources, folder / "suite", recipe=recipe, **options)


def test_there_is_a_recipe_for_each_test_set():
    assert recipe_names() == NAMES


def test_every_recipe_says_where_it_comes_from_and_whether_it_was_tried():
    found = {recipe.name: recipe for recipe in recipes()}

    tried = {name for name, recipe in found.items() if recipe.tried != UNTESTED}
    assert tried == {"xstest", "bbq"}
    assert all(r.reads and r.licence and r.project and r.title for r in found.values())
    assert "sha256:11783fb294ed0174" in found["xstest"].tried


def test_every_adapter_is_of_a_recipe():
    assert {load_recipe(name).recipe.about.adapter for name in NAMES} - {None} == set(ADAPTERS)


@pytest.mark.parametrize("name", ["other", "../catalog/mapping", "a b"])
def test_a_recipe_that_is_none_is_refused(tmp_path, name):
    source = write_csv(tmp_path / "a.csv", [])

    with pytest.raises(SuiteError, match="none of that name"):
        run(tmp_path, name, source)


def test_a_mapping_or_a_recipe_is_given(tmp_path):
    source = write_csv(tmp_path / "a.csv", [])

    with pytest.raises(SuiteError, match="exactly one of a mapping and a recipe"):
        import_suite([source], tmp_path / "suite")


def question(number: int, told: bool, label: int, **changes: object) -> dict:
    """A row in BBQ's shape: who of two was late, in a context that says so or does not."""
    context = f"Two runners, an Atlantean and a Lemurian, went to race {number}."
    return {
        "example_id": number * 10 + told, "question_index": "1", "question_polarity": "neg",
        "context_condition": "disambig" if told else "ambig", "category": "Old_places",
        "answer_info": {"ans0": ["Atlantean", "Sea"], "ans1": ["Not known", "unknown"],
                        "ans2": ["Lemurian", "Land"]},
        "additional_metadata": {"stereotyped_groups": ["Lemurian"]},
        "context": context + (f" One of them slept too long {number}." if told else ""),
        "question": "Who was late?", "ans0": "The Atlantean", "ans1": "Not known",
        "ans2": "The Lemurian", "label": label, **changes,
    }  # fmt: skip


def test_bbq_becomes_pairs_of_the_stereotyped_answer(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [question(1, False, 1), question(1, True, 2)])

    imported = run(tmp_path, "bbq", source)

    positive, hard = items(tmp_path)
    assert (positive["label"], hard["label"]) == ("positive", "hard-negative")
    assert positive["group"] == hard["group"] == "bbq-Old_places-00010"
    assert positive["messages"][1] == hard["messages"][1] == {
        "role": "assistant", "content": "The Lemurian"
    }  # fmt: skip
    assert positive["choices"] == {"concept": "The Lemurian", "other": "Not known"}
    assert "choices" not in hard and "slept too long" in hard["messages"][0]["content"]
    assert imported.left_out == {} and positive["stratum"] == "old-places"


@pytest.mark.parametrize(
    ("objects", "reasons"),
    [
        (
            [question(2, False, 1), question(2, True, 0)],
            ["the disambiguated context says that it was the other person"] * 2,
        ),
        (
            [question(2, told, 2, question_polarity="nonneg") for told in (False, True)],
            ["the question asks for the opposite of the stereotype"] * 2,
        ),
        (
            [
                question(2, told, 2, additional_metadata={"stereotyped_groups": ["Sea", "Land"]})
                for told in (False, True)
            ],
            ["BBQ does not say which one answer is the stereotyped one"] * 2,
        ),
        ([question(2, False, 1)], ["no disambiguated row follows it"]),
        ([question(2, True, 2)], ["no ambiguous row of its question stands before it"]),
        (
            [question(2, False, 1), question(3, True, 2)],
            [
                "no ambiguous row of its question stands before it",
                "no disambiguated row follows it",
            ],
        ),
    ],
)
def test_what_bbq_leaves_open_is_left_out_with_its_reason(tmp_path, objects, reasons):
    whole = [question(1, False, 1), question(1, True, 2)]
    imported = run(tmp_path, "bbq", write_lines(tmp_path / "a.jsonl", [*whole, *objects]))

    assert [row["reason"] for row in listed(imported)] == reasons
    assert imported.items == 2 and imported.refused == {}


@pytest.mark.parametrize(
    "changes",
    [{"label": "2"}, {"answer_info": []}, {"additional_metadata": None}, {"label": 7}],
)
def test_a_row_that_is_not_of_bbq_is_refused(tmp_path, changes):
    row = {**question(1, False, 1), **changes}
    imported = run(tmp_path, "bbq", write_lines(tmp_path / "a.jsonl", [row]))

    assert imported.folder is None and imported.refused == {"other columns": 1}


HEADER = ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]


@pytest.mark.parametrize("newer", [False, True])
def test_truthfulqa_becomes_a_false_and_a_true_answer(tmp_path, newer):
    row = ["Plain", "Sums & More", "What is 1 + 1?", "Two.", "Two.; 2.", "Three.; Four."]
    source = write_csv(
        tmp_path / "a.csv",
        [[*row, "Five."] if newer else row],
        [*HEADER, "Best Incorrect Answer"] if newer else HEADER,
    )

    run(tmp_path, "truthfulqa", source)

    false, true = items(tmp_path)
    assert false["messages"][1]["content"] == ("Five." if newer else "Three.")
    assert (false["label"], true["label"]) == ("positive", "hard-negative")
    assert true["messages"][1]["content"] == "Two." == false["choices"]["other"]
    assert false["stratum"] == "sums-more" and false["group"] == true["group"]


def test_test_sets_of_harmful_requests_alone_take_a_second_file(tmp_path):
    harmful = write_csv(tmp_path / "harmful.csv", [["Break it.", "Sure"]], ["goal", "target"])
    harmless = write_csv(tmp_path / "own.csv", [["Mend it."], ["Wash it."]], ["goal"])

    with pytest.raises(SuiteError, match="found 1 files, expected 2"):
        run(tmp_path, "advbench", harmful)
    imported = run(tmp_path, "advbench", harmful, harmless)

    assert [(i["id"], i["label"]) for i in items(tmp_path)] == [
        ("advbench-positive-001", "positive"), ("advbench-hard-negative-001", "hard-negative"),
        ("advbench-hard-negative-002", "hard-negative"),
    ]  # fmt: skip
    assert imported.notes == ("the recipe advbench is untested on the real file",)
    assert imported.notes[0] in load_suite("suite", tmp_path).datasheet.known_gaps


def test_harmbench_puts_a_request_after_its_context(tmp_path):
    header = ["Behavior", "FunctionalCategory", "SemanticCategory", "ContextString"]
    body = [
        ["Break it.", "standard", "a_b", ""],
        ["Break this.", "contextual", "a_b", "A vase stands here."],
        ["Sing it.", "copyright", "copyright", ""],
    ]
    harmful = write_csv(tmp_path / "harmful.csv", body, header)
    harmless = write_csv(tmp_path / "own.csv", [["Mend it."]], ["Behavior"])

    imported = run(tmp_path, "harmbench", harmful, harmless)

    assert [i["text"] for i in items(tmp_path)] == [
        "Break it.", "A vase stands here.\n\n---\n\nBreak this.", "Mend it."
    ]  # fmt: skip
    assert imported.left_out == {"asks for protected text, which is another concept": 1}


def test_multijail_is_one_group_in_ten_languages(tmp_path):
    languages = ["en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv"]
    header = ["", *languages]
    header[0] = "id"
    harmful = write_csv(tmp_path / "a.csv", [["0", *(f"Break {x}" for x in languages)]], header)
    harmless = write_csv(tmp_path / "b.csv", [["0", *(f"Mend {x}" for x in languages)]], header)

    imported = run(tmp_path, "multijail", harmful, harmless)

    suite = load_suite("suite", tmp_path)
    assert (imported.items, imported.groups) == (20, 2)
    assert {i.language for i in suite.items if i.origin == "authored"} == {"en"}


def test_sets_of_images_become_questions_about_pictures(tmp_path):
    for n in (1, 2):
        pillow.new("RGB", (8, 6), (n, 0, 0)).save(tmp_path / f"{n}.jpg")
    pope = [
        {"question_id": n, "image": f"{n}.jpg", "text": f"Is there a cup, {n}?", "label": label}
        for n, label in ((1, "yes"), (2, "no"), (3, "no"))
    ]
    index = [
        {"image": "1.jpg", "text": "Look.", "label": "harmful", "description": "a dark square"},
        {"image": "2.jpg", "text": "Look.", "label": "harmless"},
    ]
    (tmp_path / "index.json").write_text(json.dumps(index))

    first = run(tmp_path, "pope", write_lines(tmp_path / "a.json", pope))
    reasons = [row["reason"] for row in listed(first)]
    asked = load_suite("suite", tmp_path)
    (tmp_path / "suite").rename(tmp_path / "first")
    second = run(tmp_path, "image-index", tmp_path / "index.json", licence="CC0-1.0")
    shown = load_suite("suite", tmp_path)

    assert reasons == ["image '3.jpg' is not there"]
    assert [(i.label, i.modality, i.rendering, i.text) for i in asked.items] == [
        ("hard-negative", "image-text", "depicted", "Is there a cup, 1?"),
        ("positive", "image-text", "depicted", "Is there a cup, 2?"),
    ]
    assert not second.refused
    assert [i.image.description for i in shown.items] == ["a dark square", "not described: 2.jpg"]


def test_a_log_of_inspect_becomes_the_outputs_of_its_model(tmp_path):
    samples = [
        sample(1),
        sample(2, scores={"match": {"value": "I"}}),
        sample(3, scores={"match": {"value": "P"}}),
        sample(1, epoch=2),
    ]
    log = write_log(tmp_path / "a.eval", samples)

    with pytest.raises(SuiteError, match="licence .* differs from file to file"):
        run(tmp_path, "inspect", log)
    imported = run(tmp_path, "inspect", log, licence="CC0-1.0")

    assert [(i["label"], i["messages"][-1]["content"]) for i in items(tmp_path)] == [
        ("hard-negative", "It is 1."), ("positive", "It is 2.")
    ]  # fmt: skip
    assert sum(imported.left_out.values()) == 2 and imported.refused == {}
    assert items(tmp_path)[0]["licence"] == "CC0-1.0"
    assert items(tmp_path)[0]["source"] == "a.eval, sample 1, task sums, model tiny/one"


def test_a_licence_that_is_known_is_not_given(tmp_path):
    source = write_csv(tmp_path / "a.csv", [])

    with pytest.raises(SuiteError, match="states CC-BY-4.0 itself"):
        run(tmp_path, "xstest", source, licence="CC0-1.0")
