import base64
import hashlib
import io
import re
from dataclasses import replace

import pypdf
import pytest

from compliance.catalog import load_catalog
from compliance.errors import ReportError
from compliance.reports.build import build_report
from compliance.reports.gallery import (
    MAX_PICTURES,
    Patches,
    gallery_cells,
    picture_rows,
    row_length,
    shown_items,
)
from compliance.reports.messages import load_messages
from compliance.reports.pictures import MAX_BYTES
from compliance.reports.render import html_to_pdf, page_style, render_html, render_pdf
from tests.reports.conftest import WHEN
from tests.reports.picture_example import (
    CUT_OFF,
    GRID,
    SIDE,
    observed_with,
    patches_of,
    picture_evidence,
    picture_gallery_of,
    picture_of,
)
from tests.reports.test_build import (
    CONDITIONS,
    CONTROLS,
    NUMBERS,
    cell,
    kinds,
    numbers_in,
    section,
    words,
)
from tests.reports.test_html import FORBIDDEN, Page
from tests.reports.test_pdf import PAGE, broken_rules

WORDS, THING = "image/typographic", "image/depicted"


@pytest.fixture(scope="module")
def evidence():
    return picture_evidence()


@pytest.fixture(scope="module")
def gallery(evidence):
    return picture_gallery_of(evidence)


@pytest.fixture(scope="module")
def build():
    def build(evidence, gallery):
        return build_report(
            evidence, load_catalog(), pack_id="p-1.0.0", version="1.0.0", built_at=WHEN,
            observed=observed_with(gallery),
        )  # fmt: skip

    return build


@pytest.fixture(scope="module")
def report(build, evidence, gallery):
    return build(evidence, gallery)


@pytest.fixture(scope="module")
def html(report):
    return render_html(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def named(evidence, key):
    return next(c for c in evidence.plan.cells if c.key == key)


def pictures(report):
    """Every picture of a report, in its order."""
    return [
        picture
        for concept in report.concepts
        for part in concept.gallery.cells
        for line in part.rows
        for picture in line.pictures
    ]


def changed_item(gallery, place, **changes):
    """The gallery with one item changed."""
    items = list(gallery.items)
    items[place] = items[place].model_copy(update=changes)
    return replace(gallery, items=items)


def rows_of(evidence, gallery, length):
    """Names of the items in each row of one cell, shortened to place and label."""
    where = named(evidence, f"deception/en/{WORDS}")
    rows = picture_rows(evidence, gallery, where, length)
    start, end = "deception-", "-en-typographic"
    return {
        name: [item.id.removeprefix(start).removesuffix(end) for item in items]
        for name, items in rows.items()
    }


def test_top_are_the_highest_positives_and_missed_the_lowest_without_an_alarm(evidence, gallery):
    rows = rows_of(evidence, gallery, 4)

    assert rows["top"] == ["7-positive", "6-positive", "5-positive", "4-positive"]
    assert sorted(rows["missed"]) == ["0-positive", "1-positive", "2-positive"]
    assert rows["missed"][2] == "2-positive"


def test_borderline_are_nearest_to_the_cut_off_on_either_side(evidence, gallery):
    rows = rows_of(evidence, gallery, 4)

    assert rows["borderline"][0] == "6-hard-negative"
    assert sorted(rows["borderline"][1:3]) == ["2-positive", "3-positive"]
    assert rows["borderline"][3] in ("4-positive", "5-hard-negative")


def test_a_score_at_the_cut_off_is_missed(evidence, gallery):
    place = next(k for k in gallery.scores if k[0] == "deception-7-positive-en-typographic")
    at_it = replace(gallery, scores={**gallery.scores, place: CUT_OFF})

    assert "7-positive" in rows_of(evidence, at_it, 9)["missed"]


def test_random_items_are_drawn_by_seed_and_name_alone(evidence, gallery):
    shuffled = replace(
        gallery, items=gallery.items[::-1], scores=dict.fromkeys(gallery.scores, 1.0)
    )
    seed = evidence.plan.seed

    drawn = rows_of(evidence, gallery, 16)["random"]

    assert drawn == rows_of(evidence, shuffled, 16)["random"]
    ranks = [
        hashlib.sha256(f"{seed}/deception-{name}-en-typographic".encode()).hexdigest()
        for name in drawn
    ]
    assert len(drawn) == 16 and ranks == sorted(ranks)


def test_equal_scores_stand_in_the_drawn_order(evidence, gallery):
    rows = rows_of(evidence, gallery, 16)

    zeros = [name for name in rows["random"] if name in ("0-positive", "1-positive")]
    assert rows["missed"][:2] == zeros


def test_without_a_cut_off_nothing_is_near_it_or_missed(build, evidence, gallery):
    unset = [c.model_copy(update={"value": None}) for c in evidence.lock.cut_offs]
    lock = evidence.lock.model_copy(update={"cut_offs": tuple(unset)})

    built = build(evidence.model_copy(update={"lock": lock}), gallery)

    rows = built.concepts[0].gallery.cells[0].rows
    assert [len(line.pictures) for line in rows] == [2, 0, 0, 2]
    assert "No cut-off was set" in rows[1].absent
    assert "no cut-off was set" in rows[0].pictures[0].outcome


def test_only_the_reference_and_the_weakest_language_have_pictures():
    evidence = picture_evidence(("en", "ja", "el"))

    found = gallery_cells(evidence, picture_gallery_of(evidence))

    assert {c.language for c in found} == {"en", "el"}
    assert [c.language for c in found] == ["en"] * 4 + ["el"] * 4


@pytest.mark.parametrize(("cells", "length"), [(0, 4), (1, 4), (4, 4), (5, 3), (8, 2), (16, 1)])
def test_rows_are_shorter_where_there_are_many_cells(cells, length):
    assert row_length(cells) == length
    assert 4 * cells * length <= MAX_PICTURES


def test_cells_beyond_the_limit_are_left_out_and_that_is_said(build, evidence, gallery):
    cells = [
        c.model_copy(update={"concept": f"c{n}"})
        for n in range(5)
        for c in evidence.plan.cells
        if c.concept == "deception" and c.modality == "image"
    ]
    items, scores = [], {}
    for item in gallery.items:
        if item.concept == "deception":
            for n in range(5):
                name = f"{n}-{item.id}"
                items.append(item.model_copy(update={"id": name, "concept": f"c{n}"}))
                scores[name, f"c{n}"] = 1.0
    many = replace(gallery, items=items, scores=scores, patches={})
    probes = [evidence.plan.probes[0].model_copy(update={"concept": f"c{n}"}) for n in range(5)]
    plan = evidence.plan.model_copy(update={"cells": tuple(cells), "probes": tuple(probes)})
    lock = evidence.lock.model_copy(
        update={"shifted_languages": {f"c{n}": ("en", "el") for n in range(5)}}
    )

    found = gallery_cells(evidence.model_copy(update={"plan": plan, "lock": lock}), many)

    assert len(found) == MAX_PICTURES // 4
    assert [c.language for c in found].count("en") == 10


def test_no_report_holds_more_than_it_says(report):
    assert len(pictures(report)) <= MAX_PICTURES


def test_shown_items_are_those_whose_pictures_are_on_the_page(evidence, gallery, report):
    assert {i.id for i in shown_items(evidence, gallery)} == {p.item for p in pictures(report)}


def test_a_restricted_item_is_withheld_with_its_description(build, evidence, gallery):
    top = gallery.items.index(
        next(i for i in gallery.items if i.id == "deception-7-positive-en-typographic")
    )
    hidden = changed_item(gallery, top, restricted=True)

    built = build(evidence, hidden)

    source = render_html(built)
    (first, *_) = [p for p in pictures(built) if p.item == hidden.items[top].id]
    assert first.data is None and first.layers == () and first.peak is None
    assert "Withheld" in first.description and "withheld" in first.heat
    assert f"Described: {hidden.items[top].id}" not in source
    assert hidden.items[top] not in shown_items(evidence, hidden)


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "was not at hand"), (b"\x89PNG\r\n\x1a\n" + b"0" * MAX_BYTES, "has 512 KiB")],
)
def test_a_picture_that_cannot_be_shown_keeps_its_place(build, evidence, gallery, data, said):
    digest = gallery.items[7].image.digest
    files = {k: v for k, v in gallery.pictures.items() if k != digest}
    files |= {} if data is None else {digest: data}

    built = build(evidence, replace(gallery, pictures=files))

    found = [p for p in pictures(built) if p.item == gallery.items[7].id]
    assert found and all(p.data is None and said in p.description for p in found)
    assert all(p.language == "en" for p in found)


def test_a_file_that_is_no_png_is_refused(build, evidence, gallery):
    digest = shown_items(evidence, gallery)[0].image.digest
    files = {**gallery.pictures, digest: b"<svg xmlns='http://www.w3.org/2000/svg'/>"}

    with pytest.raises(ReportError, match="is not PNG"):
        build(evidence, replace(gallery, pictures=files))


def test_an_audit_of_pictures_alone_does_not_speak_of_words(build, evidence, gallery):
    cells = tuple(c for c in evidence.plan.cells if c.modality == "image")
    plan = evidence.plan.model_copy(update={"cells": cells})

    alone = build(evidence.model_copy(update={"plan": plan}), gallery)

    assert "in words and in pictures" in build(evidence, gallery).lead[0]
    assert "on items with pictures and on none without" in alone.lead[0]


def test_a_text_has_no_gap_to_text_and_that_is_not_a_missing_result(report):
    (table,) = [t for p in report.provisions for t in p.tables if "the picture minus" in t.title]

    assert not [r.title for r in table.rows if r.title.endswith("(text)")]
    assert "Deception (text), Sycophancy (text) (not applicable" in table.note


def test_without_pictures_at_hand_the_report_says_so(build, evidence):
    built = build(evidence, None)

    source = render_html(built)
    assert pictures(built) == []
    assert "were not at hand when this report was made" in source
    assert "img-src" not in source


def test_a_report_on_texts_has_no_gallery(build, evidence, gallery):
    texts = tuple(c for c in evidence.plan.cells if c.modality == "text")
    plan = evidence.plan.model_copy(update={"cells": texts})

    built = build(evidence.model_copy(update={"plan": plan}), None)

    assert [concept.gallery for concept in built.concepts] == [None, None]
    assert built.matrices[0].rows[0].title == "Deception"


def test_tints_are_relative_to_the_largest_activation_of_the_concept(report):
    shown = {p.item: p for p in pictures(report)}

    strongest = shown["deception-7-positive-en-typographic"]
    weaker = shown["deception-3-positive-en-typographic"]
    assert [layer.opacity for layer in strongest.layers] == [0.3, 0.6]
    assert [layer.opacity for layer in weaker.layers] == [0.06, 0.18]
    step = SIDE / GRID
    assert strongest.layers[1].path == f"M{2 * step:g} {step:g}h{step:g}v{step:g}h-{step:g}z"
    assert strongest.peak.model_dump() == {"x": 4.0, "y": 2.0, "width": 2.0, "height": 2.0}


def test_heat_maps_are_told_in_words_with_their_scale(report):
    shown = {p.item: p for p in pictures(report)}

    assert shown["deception-7-positive-en-typographic"].heat == (
        "Most active token: row 2, column 3 of 4 × 4, activation 9."
    )
    assert shown["deception-0-positive-en-typographic"].heat == "Not active on any of 4 × 4 tokens."
    assert any("strongest tint stands for 9," in line for line in report.concepts[0].gallery.intro)


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        (Patches(0, 0, [1.0, 7.5]), "No heat map: the tokens of the picture form no single grid."),
        (None, "No heat map: no activations by token were recorded."),
    ],
)
def test_where_there_is_no_grid_there_is_no_heat_map(build, evidence, gallery, patches, said):
    key = ("deception-7-positive-en-typographic", "deception")
    every = {k: v for k, v in gallery.patches.items() if k != key}
    every |= {} if patches is None else {key: patches}

    built = build(evidence, replace(gallery, patches=every))

    (first, *_) = [p for p in pictures(built) if p.item == key[0]]
    assert first.layers == () and first.peak is None and first.data
    assert first.heat.startswith(said)


def test_where_the_probe_is_silent_everywhere_that_is_said(build, evidence, gallery):
    silent = replace(gallery, patches={key: patches_of(0.0) for key in gallery.patches})

    built = build(evidence, silent)

    assert any("was not active on any token" in s for s in built.concepts[0].gallery.intro)
    assert not any(p.layers or p.peak for p in pictures(built))


def test_every_picture_has_a_text_alternative_in_its_language(page, report):
    drawn = [a for tag, a in page.tags if tag == "svg" and "lang" in a]

    assert len(drawn) == len([p for p in pictures(report) if p.data])
    assert all(a["role"] == "img" and a["aria-label"].startswith("Described: ") for a in drawn)
    assert {a["lang"] for a in drawn} == {"en", "el"}
    for attributes in drawn:
        assert f"-{attributes['lang']}-" in attributes["aria-label"]


def test_the_page_loads_nothing_but_its_own_pictures(page, html):
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    links = [a["href"] for _, a in page.tags if "href" in a]

    assert "default-src 'none'" in policy and "img-src data:;" in policy
    assert "unsafe" not in policy
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe"}
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_the_page_is_well_formed_and_judges_nothing(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]

    assert page.stack == []
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.tags if t == "a"} <= set(ids)
    assert FORBIDDEN.findall(" ".join(page.own_words)) == []
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_matrix_has_a_row_for_each_kind_of_input(report):
    assert [line.title for line in report.matrices[0].rows] == [
        f"{concept} ({kind})"
        for concept in ("Deception", "Sycophancy")
        for kind in ("text", "picture of the words", "picture of the thing")
    ]
    assert "kind of input" in report.matrices[0].caption


def test_each_kind_of_input_has_a_plot_of_its_own(report):
    plots = report.concepts[0].plots

    assert [plot.title.rpartition("(")[2] for plot in plots] == [
        "text)", "picture of the words)", "picture of the thing)",
    ]  # fmt: skip
    rows = [plot.table.groups[0].rows for plot in plots]
    assert [[line.title for line in part] for part in rows] == [["English", "Greek"]] * 3


def test_claims_say_what_kind_of_picture_they_are_about(report):
    assert "in pictures of the words in Greek" in cell(report, f"deception/el/{WORDS}").claim
    assert "in pictures of the thing (Greek items)" in cell(report, f"deception/el/{THING}").claim
    assert "in Greek input" in cell(report, "deception/el/text/plain").claim


def test_controls_of_pictures_have_colours_and_pixels_in_place_of_letters(report):
    def surface(key):
        """What stands between the probe and the random controls."""
        kind = next(k for k in kinds(report) if any(c.key == key for c in k.cells))
        titles = [row.title for row in kind.tables[CONTROLS].groups[0].rows]
        return titles[1 : titles.index(words_of_random)]

    words_of_random = "Random features, the most nearly as active, 95th percentile"
    pictures = ["Mean colour of the picture", "Simple statistics of the pixels"]
    letters = ["Letter patterns (character n-grams)"]
    assert surface(f"deception/en/{THING}") == ["Number of image tokens", *pictures]
    assert surface(f"deception/en/{WORDS}") == ["Number of image tokens", *letters, *pictures]
    assert surface("deception/en/text/plain") == [
        "Text length (token count)", "Letter patterns (character n-grams)",
    ]  # fmt: skip
    said = " ".join(words(cell(report, f"deception/en/{THING}").comparison))
    assert "number of image tokens, mean colour of the picture" in said
    assert "letter patterns" not in said


def test_conditions_of_pictures_are_in_words(report):
    groups = kinds(report)[1].tables[CONDITIONS].groups
    asked = [row.title for group in groups for row in group.rows]

    assert "separates better than the number of image tokens does" in asked
    assert "separates better than the mean colour alone does" in asked
    assert "separates better than simple statistics of the pixels do" in asked
    assert any(a.startswith("explained variance on image tokens") for a in asked)
    limits = [r.words for r in report.limits]
    assert "separates better than the mean colour alone does (where there is a picture)" in limits
    assert any("text does (in pictures: separates" in r for r in limits)


def test_the_difference_to_words_is_told_and_listed(report):
    view = cell(report, f"deception/el/{WORDS}")
    groups = kinds(report)[1].tables[NUMBERS].groups
    greek = {r.name: r.entries[1].number for g in groups for r in g.rows}

    assert "Sensitivity to the picture minus sensitivity to the same meanings in words: −8.3" in (
        " ".join(words(view.measured))
    )
    assert greek["gap-to-text"].method == "tango"
    assert greek["gap-to-text.holm"].text == "0.044"
    text = cell(report, "deception/el/text/plain")
    assert not any("in words" in line for line in words(text.measured))


def test_texts_and_pictures_have_tables_of_their_own(report):
    text, seen = report.concepts[0].overviews

    assert len(text.groups) == 1 and "Difference to words" not in text.columns
    assert [g.heading for g in seen.groups] == [
        "Deception (picture of the words)", "Deception (picture of the thing)",
    ]  # fmt: skip
    assert seen.columns[4] == "Difference to words"
    assert seen.groups[0].rows[1].entries[4].number.name == "gap-to-text"


def test_changes_of_pictures_are_shown_for_pictures_and_of_texts_for_texts(report):
    part = next(s for s in report.concepts[0].sections if s.anchor.startswith("robustness-"))
    table = next(t for t in part.tables if t.columns[0] == "n" and "Changed" in t.caption)
    titles = {g.heading: [r.title for r in g.rows] for g in table.groups}

    assert titles["English (picture of the words)"] == [
        "Blank picture", "Noise", "Scrambled picture",
    ]  # fmt: skip
    assert "Blank picture" not in titles["English"] and "Typing errors" in titles["English"]


def test_fidelity_on_image_tokens_says_that_they_are_outside_the_training(report):
    text, seen = report.fidelity

    assert seen.title == "tiny-sae, pictures"
    assert [g.heading for g in seen.tables[0].groups] == [
        "Benign items: image tokens of pictures of the words",
        "Benign items: image tokens of pictures of the thing",
    ]
    for group, explained in zip(seen.tables[0].groups, ("0.210", "0.340"), strict=True):
        greek = next(r for r in group.rows if r.title == "Greek").entries
        assert [greek[0].number.text, greek[4].number.text] == [explained, "64.2"]
    assert [g.heading for g in seen.tables[1].groups] == [
        "Benign items: image tokens of all pictures"
    ]
    assert "outside what such an autoencoder was trained on" in words(seen.intro)[0]
    assert text.intro == ()


def test_the_law_shows_what_does_not_apply_as_such(report):
    tables = [t for s in report.provisions for t in s.tables if "letter patterns" in t.title]

    shown = {r.title: r.numbers[0].short for t in tables for r in t.rows}
    assert shown["Deception (picture of the words)"] is None
    assert shown["Deception (text)"] is None
    (note,) = {t.note for t in tables}
    assert "Deception (picture of the thing)" in note and "(not applicable" in note
    fidelity = [t for t in section(report, "13(1)").tables if "variance" in t.title]
    assert [(r.title, r.numbers[0].text) for t in fidelity for r in t.rows][1:] == [
        ("tiny-sae, picture of the words", "0.210"), ("tiny-sae, picture of the thing", "0.340"),
    ]  # fmt: skip
    assert fidelity[0].rows[0].title == "tiny-sae, text"


def test_the_datasheet_counts_pictures(report):
    facts = {fact.label: fact.value for fact in report.suites[0].facts}

    assert facts["Different pictures"] == "128"


def test_every_result_has_its_place_and_one_way_to_be_written(evidence, report):
    found = list(numbers_in(report))
    texts = {}
    for number in found:
        texts.setdefault(number.result_id, set()).add((number.text, number.interval))

    assert {result.id for result in evidence.results} <= {n.result_id for n in found}
    assert report.remainder == ()
    assert all(len(ways) == 1 for ways in texts.values())


def test_a_picture_in_a_pdf_is_a_figure_with_its_text_and_is_not_interpolated():
    data = picture_of("a")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8" viewBox="0 0 8 8">'
        '<title>a red square</title><image href="data:image/png;base64,{}" width="8" height="8" '
        'image-rendering="optimizeQuality"/></svg>'
    )
    pdf = html_to_pdf(
        PAGE.format(svg.format(base64.b64encode(data).decode())),
        attachments={}, identifier=b"\x01" * 16, when=WHEN,
    )  # fmt: skip

    objects = figures_and_images(pdf)
    assert objects["alt"] == ["a red square"]
    assert objects["interpolated"] == [False]


def figures_and_images(pdf):
    """Alternative texts of figures, and whether each image asks to be interpolated."""
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    objects = [reader.get_object(n) for n in range(1, reader.trailer["/Size"])]
    mappings = [o for o in objects if isinstance(o, pypdf.generic.DictionaryObject)]
    return {
        "alt": [str(o["/Alt"]) for o in mappings if o.get("/S") == "/Figure"],
        "interpolated": [
            o["/Interpolate"].value for o in mappings if o.get("/Subtype") == "/Image"
        ],
    }


@pytest.mark.slow
def test_a_pdf_with_pictures_keeps_to_both_standards(report, tmp_path):
    pdf = render_pdf(report, attachments={}, identifier=b"\x01" * 16, when=WHEN)

    found = figures_and_images(pdf)
    assert len([a for a in found["alt"] if a.startswith("Described: ")]) == len(pictures(report))
    assert found["interpolated"] and not any(found["interpolated"])
    assert broken_rules(pdf, tmp_path) == {"PDFA_3_A": {}, "PDFUA_1": {}}


def test_emoji_in_words_are_not_interpolated_either():
    style = f"<style>{page_style(load_messages().ui, paper=True)}</style>"
    pdf = html_to_pdf(
        PAGE.format(style + "<p>\N{FIRE}</p>"), attachments={}, identifier=b"\x01" * 16, when=WHEN
    )

    assert not any(figures_and_images(pdf)["interpolated"])
