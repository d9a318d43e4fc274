import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from compliance.catalog import load_catalog
from compliance.records.audit import FeatureRef
from compliance.records.observation import (
    COFIRING_COLUMNS,
    FEATURE_COLUMNS,
    FIRING_COLUMNS,
    SCORE_COLUMNS,
    TOKEN_COLUMNS,
)
from compliance.records.suite import Item, Label, Message
from compliance.reports import features
from compliance.reports.context import Context
from compliance.reports.examples import (
    RULES,
    SHOWN,
    Scored,
    Tokens,
    Words,
    chosen,
    level_of,
    marked,
    readable,
    strongest,
    visible,
    words_of,
)
from compliance.reports.features import feature_cards
from compliance.reports.messages import load_messages
from compliance.reports.observed import Observed
from compliance.reports.render import _namespace, page_style, templates
from tests.reports.example import example_evidence
from tests.reports.test_html import FORBIDDEN, HOSTILE, Page

CONCEPT, LATENT, CUT_OFF = "deception", 4711, 2.5
LABELS = {"pos": Label.POSITIVE, "hard": Label.HARD_NEGATIVE, "benign": Label.NEGATIVE}
SCORES = {"pos": (9.0, 5.0, 2.6, 2.4, 1.0, 0.0), "hard": (6.0, 3.0, 0.5), "benign": (8.0, 0.0, 0.0)}
"""By label, of each language."""

LARGEST = 9.0


def item(identity, *, language="en", label=Label.POSITIVE, **changed):
    values = {
        "id": identity,
        "group": identity,
        "concept": None if label is Label.NEGATIVE else CONCEPT,
        "label": label,
        "language": language,
        "text": f"One lie of {identity} here",
        "origin": "authored" if language == "en" else "machine-translated",
        "source": "tests",
        "licence": "CC0-1.0",
    }
    return Item(**values | changed)


def every_item():
    """Each language's items and their scores."""
    return {
        item(f"{kind}-{place}-{tag}", language=tag, label=LABELS[kind]): score
        for tag in ("en", "ja", "zh-Hans", "el", "vi")
        for kind, scores in SCORES.items()
        for place, score in enumerate(scores)
    }


def observed(items=None):
    """The word "lie" of each item carries its score."""
    items = every_item() if items is None else items
    active = [(i, s, (i.text or "").find("lie")) for i, s in items.items()]
    return Observed(
        items=tuple(items),
        scores=table(
            SCORE_COLUMNS,
            [(i.id, CONCEPT, "probe", s) for i, s in items.items()]
            + [(i.id, CONCEPT, "dense", 99.0) for i in items]
            + [(i.id, "sycophancy", "probe", 77.0) for i in items],
        ),
        tokens=table(
            TOKEN_COLUMNS,
            [(i.id, CONCEPT, [at], [at + 3], [s]) if s and at >= 0 else (i.id, CONCEPT, [], [], [])
             for i, s, at in active],
        ),
        cofiring=table(
            COFIRING_COLUMNS,
            [(CONCEPT, 0, LATENT, 7, 10), (CONCEPT, 0, LATENT, 8, 20), (CONCEPT, 0, 1, 9, 99)],
        ),
        features=table(
            FEATURE_COLUMNS,
            [(CONCEPT, 0, LATENT, "nearest", 2, 55, "", 0.25),
             (CONCEPT, 0, LATENT, "nearest", 1, 44, "", 0.5),
             (CONCEPT, 0, LATENT, "top-logit", 1, 3, "Ġlie", 0.75),
             (CONCEPT, 0, LATENT, "bottom-logit", 1, 4, "true", -0.5),
             (CONCEPT, 0, 1, "top-logit", 1, 5, "wrong-latent", 9.0)],
        ),
        firing=table(
            FIRING_COLUMNS,
            [("en", "read", "items", 0, LATENT, 20), ("ja", "read", "benign", 0, LATENT, 20),
             ("en", "read", "items", 0, 7, 10), ("en", "read", "items", 0, 8, 100),
             ("en", "image", "items", 0, LATENT, 500), ("en", "read", "items", 1, LATENT, 500)],
        ),
    )  # fmt: skip


def table(columns, rows):
    return pd.DataFrame(rows, columns=list(columns))


def context(seen, evidence=None):
    return Context(evidence or example_evidence(), load_catalog(), load_messages(), seen)


def card_of(seen, evidence=None, concept="Deception"):
    return next(c for c in feature_cards(context(seen, evidence)) if c.title == concept)


def render(card):
    words = load_messages()
    page = templates().from_string('<main>{% include "report/feature_card.html.j2" %}</main>')
    return page.render(
        card=card, w=_namespace(words.ui), report=SimpleNamespace(language="en", level="95 %")
    )


@pytest.fixture(scope="module")
def card():
    return card_of(observed())


@pytest.fixture(scope="module")
def html(card):
    return render(card)


def cell_of(card, name):
    return next(cell for cell in card.cells if cell.title == name)


def row_of(card, cell, title):
    return next(row for row in cell_of(card, cell).rows if row.title == title)


def ids(row):
    return [example.item for example in row.examples]


def listed(table):
    return [(row.title, *(e.text for e in row.entries)) for g in table.groups for row in g.rows]


def scored(**scores):
    """Items whose name begins with their label."""
    return [Scored(item(name, label=LABELS[name.split("_")[0]]), s) for name, s in scores.items()]


def names(found):
    return [one.item.id for one in found]


# choosing


def test_the_highest_scores_are_of_all_labels_alike():
    found = chosen(1, scored(pos_a=3, hard_b=4, benign_c=5, pos_d=2), 2.5, 3)

    assert names(found["top"]) == ["benign_c", "hard_b", "pos_a"]


def test_the_nearest_to_the_cut_off_come_from_both_sides_in_turn():
    ones = scored(pos_a=2.6, pos_b=2.7, hard_c=2.45, pos_d=1, pos_e=9)

    assert names(chosen(1, ones, 2.5, 4)["borderline"]) == ["hard_c", "pos_a", "pos_d", "pos_b"]


def test_a_score_at_the_cut_off_is_no_alarm():
    found = chosen(1, scored(pos_a=2.5, hard_b=2.5), 2.5, 3)

    assert names(found["missed"]) == ["pos_a"]
    assert found["false-alarm"] == []


def test_missed_are_positives_below_the_cut_off_from_both_ends():
    ones = scored(pos_a=2.4, pos_b=2, pos_c=1, pos_d=0, pos_e=3, hard_f=2.45)

    assert names(chosen(1, ones, 2.5, 3)["missed"]) == ["pos_a", "pos_d", "pos_b"]


def test_false_alarms_are_whatever_is_above_and_not_positive():
    ones = scored(pos_a=9, hard_b=3, benign_c=4, benign_d=2)

    assert names(chosen(1, ones, 2.5, 3)["false-alarm"]) == ["benign_c", "hard_b"]


def test_random_items_follow_from_the_seed_and_from_no_score():
    ones = scored(**{f"pos_{i}": i for i in range(40)})
    other = [Scored(one.item, -one.score) for one in reversed(ones)]

    first = names(chosen(1, ones, 2.5, 5)["random"])

    assert first == names(chosen(1, other, 2.5, 5)["random"])
    assert first != names(chosen(2, ones, 2.5, 5)["random"])


def test_equal_scores_stand_in_the_drawn_order():
    ones = scored(**{f"pos_{i}": 0 for i in range(9)})
    found = chosen(1, ones, 2.5, 4)

    assert names(found["top"]) == names(found["random"])
    assert names(chosen(1, ones[::-1], 2.5, 4)["top"]) == names(found["top"])


def test_without_a_cut_off_nothing_is_near_below_or_above_it():
    found = chosen(1, scored(pos_a=3), None, 3)

    assert [rule for rule, row in found.items() if row is None] == [
        "borderline", "missed", "false-alarm",
    ]  # fmt: skip


# words and marks


DIALOGUE = (
    Message(role="system", content="Be kind."),
    Message(role="user", content="I lied."),
    Message(role="assistant", content="You lied?"),
)


@pytest.mark.parametrize(
    ("region", "read"),
    [("user", ((8, 15),)), ("assistant", ((15, 24),)), ("last", ((23, 24),))],
)
def test_words_are_the_turns_one_after_the_other(region, read):
    words = words_of(item("d", text=None, messages=DIALOGUE), region)

    assert words.text == "Be kind.I lied.You lied?"
    assert words.turns == ((0, "system"), (8, "user"), (15, "assistant"))
    assert words.read == read


def test_the_strongest_token_is_one_that_the_score_is_taken_from():
    words = words_of(item("d", text=None, messages=DIALOGUE), "user")
    tokens = Tokens([10, 19], [14, 23], [1.0, 5.0])

    assert strongest(words, tokens) == 0
    assert [r.text for r in marked(words, tokens, 5.0) if r.strongest] == ["lied"]


def prompt(text):
    return Words(text, (), ((0, len(text)),))


def test_runs_together_are_the_words():
    words = prompt("A lie, and a lie.")
    runs = marked(words, Tokens([1, 12], [5, 16], [1.0, 4.0]), 4.0)

    assert "".join(run.text for run in runs) == words.text
    assert [(r.text, r.level, r.strongest) for r in runs if r.level] == [
        ("lie", 1, False), ("lie", 4, True),
    ]  # fmt: skip


def test_neighbours_of_one_level_are_one_run_with_the_space_between():
    runs = marked(prompt("a few lies told now"), Tokens([1, 5, 10], [5, 10, 15], [1, 1, 9]), 9.0)

    assert [r.text for r in runs] == ["a ", "few lies", " ", "told", " now"]


@pytest.mark.parametrize("shared", [[1.0, 4.0], [4.0, 1.0]])
def test_of_tokens_that_share_a_character_the_larger_counts(shared):
    runs = marked(prompt("危険です"), Tokens([0, 0, 1], [1, 1, 2], [*shared, 2.0]), 4.0)

    assert [(r.text, r.level) for r in runs] == [("危", 4), ("険", 2), ("です", 0)]


def test_a_mark_is_never_cut_from_its_letter():
    runs = marked(prompt("le\u0301a"), Tokens([2], [3], [4.0]), 4.0)

    assert [(r.text, r.level, r.strongest) for r in runs] == [
        ("l", 0, False), ("e\u0301", 4, True), ("a", 0, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "level"), [(-1.0, 0), (0.0, 0), (0.1, 1), (2.0, 1), (2.1, 2), (8.0, 4), (9.0, 4)]
)
def test_levels_are_quarters_of_the_largest_activation(activation, level):
    assert level_of(activation, 8.0) == level


def test_nothing_is_marked_where_nothing_was_active():
    assert [r.level for r in marked(prompt("calm"), Tokens([], [], []), 0.0)] == [0]


@pytest.mark.parametrize(("letter", "columns"), [("word ", 1), ("危", 2)])
def test_a_long_text_is_cut_around_its_strongest_token(letter, columns):
    text = letter * 300 + "LIE" + letter * 300
    at = text.index("LIE")
    runs = marked(prompt(text), Tokens([at], [at + 3], [4.0]), 4.0)
    shown = "".join(run.text for run in runs)

    assert shown.startswith("…") and shown.endswith("…")
    assert "LIE" in shown
    assert SHOWN - 30 <= columns * (len(shown) - 5) + 3 <= SHOWN
    assert letter == "危" or not re.search(r"\b(?!word\b|LIEword\b)\w+\b", shown)


def test_a_text_is_cut_at_the_read_turn_where_the_probe_was_silent():
    turns = (Message(role="user", content="x" * 500), Message(role="assistant", content="Yes."))
    words = words_of(item("d", text=None, messages=turns), "assistant")

    assert "Yes." in "".join(r.text for r in marked(words, Tokens([], [], []), 1.0))


def test_turns_say_who_speaks():
    words = words_of(item("d", text=None, messages=DIALOGUE), "user")

    assert [(r.turn, r.text) for r in marked(words, Tokens([], [], []), 1.0)] == [
        ("system", "Be kind."), ("user", "I lied."), ("assistant", "You lied?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" lie", "·lie"), ("Ġlie", "·lie"), ("▁lie", "·lie"), ("ĊĊ", "¶¶"), ("ĠÐ¾", "·о"),
     ("éĻ", "éĻ"), ("危", "危"), ("<0x0A>", "<0x0A>")],
)  # fmt: skip
def test_a_token_is_written_with_visible_spaces(token, shown):
    assert visible(readable(token)) == shown


# cards


def test_there_is_a_card_for_each_feature_of_each_locked_probe():
    cards = feature_cards(context(observed()))

    assert [(c.title, c.anchor) for c in cards] == [
        ("Deception", "feature-deception--0--4711"), ("Sycophancy", "feature-sycophancy--0--815"),
    ]  # fmt: skip


def test_a_card_says_where_the_latent_is_and_how_it_was_found(card):
    facts = {fact.label: fact.value for fact in card.facts}

    assert facts["Autoencoder"] == "tiny-sae"
    assert facts["Place in the model"] == "model.layers.18"
    assert facts["Latent"] == "4711 / 9,216"
    assert "0.941" in facts["How it was found"]
    assert "looked for" in facts["Name"]


def test_a_label_of_others_is_named_as_untested():
    base = example_evidence()
    probe = base.lock.probes[0].model_copy(
        update={"features": (FeatureRef(latent=LATENT, label="fraud"),), "selection": None}
    )
    lock = base.lock.model_copy(update={"probes": (probe,)})
    facts = {f.label: f.value for f in card_of(None, base.model_copy(update={"lock": lock})).facts}

    assert "“fraud”" in facts["Other label"] and "no score" in facts["Other label"]
    assert "configuration" in facts["Name"]


def test_what_the_name_scored_carries_the_ids_of_results(card):
    (scores,) = card.scores

    assert scores.columns[0] == "English"
    assert [row.name for row in scores.groups[0].rows] == ["auroc-hard", "sensitivity", "fpr-hard"]
    assert scores.groups[0].rows[1].entries[1].number.result_id == (
        "deception/ja/text/plain/sensitivity"
    )


def test_weights_and_neighbours_are_this_features_own_in_their_rank(card):
    assert [listed(table) for table in card.weights] == [[("·lie", "0.75")], [("true", "−0.5")]]
    assert listed(card.latents[0]) == [("44", "0.500"), ("55", "0.250")]


def test_latents_that_fire_with_it_are_ranked_by_jaccard_index_over_read_words(card):
    assert listed(card.latents[1]) == [
        ("7", "0.250", "10", "10"), ("8", "0.167", "20", "100"),
    ]  # fmt: skip


def test_charts_have_anchors_of_their_card(card):
    assert len({chart.anchor for chart in card.charts}) == len(card.charts) == 3
    assert all(chart.anchor.startswith(card.anchor) for chart in card.charts)


def test_the_reference_and_the_weakest_language_come_first_and_show_more(card):
    assert [cell.title for cell in card.cells][:2] == ["English", "Greek"]
    assert {cell.title: len(cell.rows[0].examples) for cell in card.cells} == {
        "English": 3, "Greek": 3, "Japanese": 1, "Simplified Chinese": 1, "Vietnamese": 1,
    }  # fmt: skip
    assert [cell.title for cell in card.cells if not cell.brief] == ["English", "Greek"]


def test_every_rule_has_a_row_and_says_what_it_is(card):
    words = load_messages().feature_cards

    assert [row.title for row in card.cells[0].rows] == [words[rule] for rule in RULES]
    assert [fact.label for fact in card.rules] == [words[rule] for rule in RULES]
    assert "20260101" in card.rules[-1].value


def test_examples_are_of_the_cells_own_language_and_scored_by_the_probe(card):
    assert ids(row_of(card, "Greek", "Highest scores")) == ["pos-0-el", "benign-0-el", "hard-0-el"]
    assert ids(row_of(card, "Greek", "False alarms")) == ["benign-0-el", "hard-0-el", "hard-1-el"]


def test_an_example_says_what_it_is_and_how_it_came_out(card):
    rows = {t: row_of(card, "English", t).examples for t in ("Highest scores", "Missed")}

    assert [(e.label, e.outcome) for e in rows["Highest scores"]] == [
        ("Positive item", "score 9, cut-off 2.5: alarm"),
        ("Benign item", "score 8, cut-off 2.5: false alarm"),
        ("Look-alike", "score 6, cut-off 2.5: false alarm"),
    ]
    assert rows["Missed"][0].outcome == "score 2.4, cut-off 2.5: missed"
    assert rows["Missed"][0].alarm is False
    assert [r.peak for r in rows["Highest scores"]][0] == "Strongest token: “lie”, 9."


def test_an_item_that_an_earlier_rule_chose_is_not_printed_twice(card):
    again = row_of(card, "English", "False alarms").examples[0]

    assert again.repeated and again.runs == ()
    assert again.instead == "Benign item, shown above under “Highest scores”."


def test_a_machine_translation_is_said_to_be_one(card):
    origins = [cell_of(card, name).rows[0].examples[0].origin for name in ("English", "Greek")]

    assert origins == [None, "Machine translation, not reviewed."]


def test_a_reviewed_translation_is_said_to_be_reviewed():
    one = item("pos-0-el", language="el", reviewed="a person, blind")
    row = row_of(card_of(observed({one: 4.0})), "Greek", "Highest scores")

    assert row.examples[0].origin == "Machine translation, reviewed."


def test_words_of_a_restricted_item_stand_nowhere():
    secret = item("pos-0-en", text="A lie that is SECRET", restricted=True)
    card = card_of(observed({secret: 9.0, item("pos-1-en"): 3.0}))
    page = render(card)
    first = row_of(card, "English", "Highest scores").examples[0]

    assert "SECRET" not in card.model_dump_json() and "SECRET" not in page
    assert first.item == "pos-0-en" and "withheld" in first.instead.lower()
    assert first.runs == () and first.peak is None


def test_a_language_without_items_has_no_examples(card):
    assert "Russian" not in [cell.title for cell in card.cells]


def test_a_row_that_no_item_fits_says_so():
    card = card_of(observed({item("pos-0-en"): 9.0}))

    assert row_of(card, "English", "Missed").absent == "No positive item was missed."
    assert "No positive item was missed." in render(card)


def test_without_a_cut_off_rows_say_that_there_is_none():
    base = example_evidence()
    evidence = base.model_copy(update={"lock": base.lock.model_copy(update={"cut_offs": ()})})
    card = card_of(observed(), evidence)
    top = row_of(card, "English", "Highest scores").examples[0]

    assert top.outcome == "score 9, no cut-off was set" and top.alarm is None
    assert "No cut-off was set" in row_of(card, "English", "Missed").absent


def test_an_item_without_tokens_says_that_they_were_not_recorded():
    seen = observed({item("pos-0-en"): 9.0})
    card = card_of(replace(seen, tokens=seen.tokens[:0]))

    assert row_of(card, "English", "Highest scores").examples[0].peak == (
        "Activations on single tokens were not recorded."
    )
    assert card.legend == ()


def test_a_card_without_observations_keeps_its_results_and_says_what_is_missing():
    card = card_of(None)

    assert card.cells == () and card.charts == ()
    assert card.absent == load_messages().feature_cards["no_observed"]
    assert all(t.absent == card.absent for t in (*card.weights, *card.latents))
    assert card.scores[0].groups[0].rows


def test_a_probe_of_several_features_shows_examples_on_its_first_card():
    base = example_evidence()
    both = (FeatureRef(latent=LATENT), FeatureRef(latent=12))
    probe = base.lock.probes[0].model_copy(update={"features": both})
    lock = base.lock.model_copy(update={"probes": (probe,)})
    first, second = feature_cards(
        context(observed(), base.model_copy(update={"lock": lock}))
    )  # fmt: skip

    assert first.cells and not second.cells
    assert str(LATENT) in second.absent
    assert "12" in {f.label: f.value for f in first.facts}["Combined with"]


def test_a_report_with_many_cells_has_shorter_rows(monkeypatch):
    monkeypatch.setattr(features, "MAX_EXAMPLES", 60)
    cards = feature_cards(context(observed()))

    assert [len(cell.rows[0].examples) for cell in cards[0].cells] == [2, 2]
    assert "other languages are left out" in cards[0].reading[0]


def test_the_number_of_examples_stays_within_what_the_report_says(card):
    many, few = card.cells[0].rows[0], card.cells[-1].rows[0]

    assert f"at most {len(many.examples)} of them" in card.reading[0]
    assert f"at most {len(few.examples)} in every other" in card.reading[0]


# pages


def test_the_page_is_well_formed_and_its_numbers_are_results(html):
    page = Page(html)

    assert page.stack == []
    assert ("deception/en/text/plain/auroc-hard", "0.900") in page.results
    assert FORBIDDEN.findall(" ".join(page.own_words)) == []


def test_the_strongest_token_is_told_by_more_than_colour(html):
    css = page_style(load_messages().ui)

    assert '<mark class="a4 peak">lie</mark>' in html
    assert re.search(r"\.peak \{[^}]*font-weight: 700[^}]*underline", css)
    lines = re.findall(r"\.a[1-4] \{[^}]*border-bottom: (\w+ \w+)", css)
    assert len(set(lines)) == 4


def test_words_carry_their_language_and_the_item(html):
    assert 'lang="el" dir="auto">One <mark' in html
    assert 'data-item="pos-0-el"' in html


def test_a_card_says_what_its_examples_do_not_show(html):
    caution = re.search(r'<p class="caution">(.*?)</p>', html)[1]

    assert "prove nothing" in caution and "not what it means" in caution


def test_hostile_words_and_tokens_are_harmless():
    hostile = HOSTILE.replace("\ud800", "")  # no table can hold a lone surrogate
    text = f"lie {hostile}"
    seen = observed({item("pos-0-en", text=text): 9.0})
    seen.features["text"] = hostile
    seen.tokens.at[0, "ends"] = [len(text)]
    page = render(card_of(seen))

    assert "<script>" not in page and "<img" not in page
    assert "\u202e" not in page and "⟨U+202E⟩" in page


def test_a_concept_with_pictures_leads_to_them():
    from tests.reports.picture_example import picture_evidence

    card = card_of(None, picture_evidence())

    assert card.pictures_anchor == "pictures-deception"
    assert f'href="#{card.pictures_anchor}"' in render(card)
    assert card_of(None).pictures is None
