"""Words of reports in other languages than English."""

import re
from datetime import date

import pytest

from compliance.catalog import load_catalog
from compliance.errors import ReportError
from compliance.records.catalog import OfficialTranslation
from compliance.reports import messages, translation
from compliance.reports.build import build_report
from compliance.reports.catalogs import (
    fill,
    new_catalog,
    read_messages,
    source_texts,
    updated,
    write_messages,
)
from compliance.reports.locales import in_words, language_name, own_name
from compliance.reports.messages import load_messages
from compliance.reports.numbers import (
    in_sentence,
    write,
    write_count,
    write_interval,
    write_limit,
    write_p,
    written_in,
)
from compliance.reports.render import render_html
from compliance.reports.tables import shown_ids
from compliance.reports.translated import citation, passages, wording
from compliance.reports.translation import (
    REVIEWER,
    fields,
    languages,
    load_translation,
    po_path,
    read_translation,
)
from compliance.resources import data_dir
from tests.reports.conftest import WHEN

TRANSLATED = languages()[1:]
JUDGING = {
    "de": r"\bkonform|erfüllt\s+(die\s+|den\s+)?art|zertifizier|garantier",
    "fr": r"\bconformes?\s+(à|aux?)\b|certifi|garanti",
    "el": r"συμμορφών|πιστοποι|εγγυ(άται|ώνται|ημέν|ηση)",
}
GERMAN = {
    "verdicts.supported.label": "Gestützt",
    "units.points": "{value} Punkte",
    "units.interval": "{low} bis {high}",
    "plurals.languages.one": "{n} Sprache",
    "plurals.languages.other": "{n} Sprachen",
    "translation.machine": "Von einer Maschine übersetzt.",
    "citations.Article": "Artikel",
    "citations.Annex": "Anhang",
    "translation.law": "Das Recht steht auf Englisch.",
    "mapping.art13.1.supplies": "Wie gut ein Merkmal trennt.",
    "mapping.declared.transparency_measures.prompt": "Wie ist das System gestaltet?",
    "mapping.levels.partial": "zum Teil",
    "provisions.art13.1.title": "Durchsichtiger Entwurf",
}


def po(folder, texts, *, language="de", translations=None, **header):
    """A PO file of English texts, with translations of some of them."""
    path = folder / f"{language}.po"
    catalog = updated(new_catalog(language), texts)
    catalog.own_fields |= header
    write_messages(path, catalog)
    fill(path, translations or {})
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that stands in for ``templates/messages``, where translations are."""
    monkeypatch.setattr(translation, "data_dir", lambda _: tmp_path)
    load_translation.cache_clear()
    load_messages.cache_clear()
    yield tmp_path
    load_translation.cache_clear()
    load_messages.cache_clear()


@pytest.fixture
def german(folder):
    po(folder, source_texts(), translations=GERMAN)
    return load_messages("de")


@pytest.fixture
def german_report(german, evidence):
    return build_report(
        evidence, load_catalog(), pack_id="test-system-1.0.0", version="1.0.0", built_at=WHEN,
        language="de",
    )  # fmt: skip


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_shipped_translations_are_in_step_with_the_english(language, tmp_path):
    path = tmp_path / f"{language}.po"
    write_messages(path, updated(read_messages(po_path(language)), source_texts()))

    assert path.read_text("utf-8") == po_path(language).read_text("utf-8"), "run `make messages`"


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_is_filled_with_what_its_english_is_filled_with(language):
    for path, (english, text) in read_translation(po_path(language)).texts.items():
        assert fields(text) == fields(english), path


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_judges_the_law(language):
    banned = re.compile(JUDGING[language], re.IGNORECASE)
    texts = read_translation(po_path(language)).texts

    assert [path for path, (_, text) in texts.items() if banned.search(text)] == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Das System ist konform mit der Verordnung."),
        ("de", "Es erfüllt Art. 13."),
        ("fr", "Le système est conforme à l'article 13."),
        ("el", "Το σύστημα συμμορφώνεται."),
        ("el", "Πιστοποιημένο"),
    ],
)
def test_a_judging_translation_would_be_found(language, text):
    assert re.search(JUDGING[language], text, re.IGNORECASE)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_shipped_translation_is_marked_as_made_by_a_machine(language):
    assert load_messages(language).machine_translated


def test_english_is_the_source_and_has_nothing_untranslated():
    words = load_messages()

    assert (words.language, words.machine_translated, words.untranslated) == ("en", False, 0)
    assert languages()[0] == "en"


def test_signs_keys_and_commands_are_not_translated():
    paths = source_texts()

    assert "verdicts.supported.label" in paths and "inputs.text/plain.kind" in paths
    assert not [p for p in paths if p.endswith(".glyph") or p.startswith("expected_controls")]
    assert not {"language", "results.gap.kind", "conditions.sensitivity.kind"} & set(paths)
    assert "ui.verification.0.command" not in paths


def test_the_words_of_the_law_are_not_translated():
    quoted = {p.official_text for p in load_catalog().law.provisions if p.official_text}

    assert not quoted & set(source_texts().values())


def test_an_unknown_language_is_refused_with_those_there_are(folder):
    po(folder, {"a": "A"})

    with pytest.raises(ReportError, match="xx: there are no messages") as caught:
        load_messages("xx")

    assert "en, de" in caught.value.hint


@pytest.mark.parametrize("broken", ['msgid "a', "nonsense"])
def test_a_broken_po_file_is_named(folder, broken):
    (folder / "de.po").write_text(broken, encoding="utf-8")

    with pytest.raises(ReportError, match=r"de\.po: not a PO file"):
        load_messages("de")


def test_what_is_translated_is_used_and_the_rest_is_english_and_counted(german):
    assert german.verdicts["supported"].label == "Gestützt"
    assert german.verdicts["inconclusive"].label == "Inconclusive"
    own = [path for path in source_texts() if path.partition(".")[0] in ("mapping", "provisions")]
    law = len(own) + 1  # its caution
    of_law = sum(path.partition(".")[0] in ("mapping", "provisions") for path in GERMAN)
    assert german.untranslated == len(source_texts()) - law - (len(GERMAN) - of_law)


def test_a_translation_of_another_english_is_not_used(folder):
    po(folder, {"verdicts.supported.label": "Backed"}, translations={})
    fill(folder / "de.po", {"verdicts.supported.label": "Gestützt"})

    assert load_messages("de").verdicts["supported"].label == "Supported"


def test_a_fuzzy_translation_is_not_used(folder):
    path = po(folder, source_texts(), translations=GERMAN)
    text = path.read_text("utf-8")
    fuzzy = '#, fuzzy\nmsgctxt "verdicts.supported.label"'
    path.write_text(text.replace('msgctxt "verdicts.supported.label"', fuzzy), encoding="utf-8")

    assert load_messages("de").verdicts["supported"].label == "Supported"


def test_a_reviewed_translation_names_who_reviewed_it(folder):
    po(folder, source_texts(), translations=GERMAN, **{REVIEWER: "A. Person"})
    words = load_messages("de")

    text = " ".join(passage.text for passage in passages(words, 0))

    assert not words.machine_translated
    assert "A. Person reviewed" in text and "Maschine" not in text


# Keeping translations in step.


def test_a_translation_stays_while_its_english_does(tmp_path):
    path = po(tmp_path, {"a": "One", "b": "Two"}, translations={"a": "Eins", "b": "Zwei"})

    changed = updated(read_messages(path), {"b": "Two", "new": "Three", "a": "One, changed"})
    write_messages(path, changed)

    assert [message.context for message in changed if message.id] == ["b", "new", "a"]
    assert read_translation(path).texts == {"b": ("Two", "Zwei")}
    stale = read_messages(path).get("One, changed", "a")
    assert (stale.string, stale.fuzzy) == ("Eins", True)
    assert stale.auto_comments == ["Translated from: One"]
    write_messages(path, updated(read_messages(path), {"a": "One, changed"}))
    assert "#. Translated from: One\n" in path.read_text("utf-8")


def test_what_is_fuzzy_stays_so_until_it_is_filled(tmp_path):
    path = po(tmp_path, {"a": "One"}, translations={"a": "Eins"})
    for english in ({"a": "Uno"}, {"a": "Uno"}):
        write_messages(path, updated(read_messages(path), english))
    assert read_translation(path).texts == {}

    fill(path, {"a": "Eins!"})

    assert read_translation(path).texts == {"a": ("Uno", "Eins!")}
    assert "fuzzy" not in path.read_text("utf-8") and "#." not in path.read_text("utf-8")


def test_bringing_up_to_date_twice_changes_no_byte_and_keeps_the_header(tmp_path):
    texts = {"a": "One {n}", "b": "90 % discovery"}
    path = po(tmp_path, texts, translations={"a": "Eins {n}"}, **{REVIEWER: "A. P."})
    before = path.read_bytes()

    write_messages(path, updated(read_messages(path), texts))

    assert path.read_bytes() == before
    assert read_translation(path).reviewers == "A. P."


def test_a_new_language_begins_as_an_empty_file(tmp_path):
    path = tmp_path / "it.po"
    path.touch()

    write_messages(path, updated(read_messages(path), {"a": "One"}))

    assert read_translation(path).machine and '"Language: it\\n"' in path.read_text("utf-8")


@pytest.mark.parametrize("text", ["Eins", "{m} Eins", "{n} {m}", "{n"])
def test_a_translation_with_other_placeholders_is_refused(tmp_path, text):
    path = po(tmp_path, {"a": "{n} one"})

    with pytest.raises(ReportError, match=r"de\.po: a: "):
        fill(path, {"a": text})


def test_translations_of_texts_that_are_gone_are_named(tmp_path):
    path = po(tmp_path, {"a": "One"})

    assert fill(path, {"a": "Eins", "gone": "Weg"}) == ["gone"]


def test_two_texts_cannot_have_one_path(monkeypatch):
    from compliance.reports import catalogs

    monkeypatch.setattr(catalogs, "source_messages", lambda: {"a": {"b.c": "1"}, "a.b": {"c": "2"}})

    with pytest.raises(ReportError, match=r"a\.b\.c: two texts"):
        source_texts()


# How a language writes.


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ["91.4_%", "> 99.9_%", "−3.1_points", "1,500", "1.431_×_10⁻⁵", "0.932", "< 0.001"]),
        ("de", ["91,4_%", "> 99,9_%", "−3,1_points", "1.500", "1,431_×_10⁻⁵", "0,932", "< 0,001"]),
        ("fr", ["91,4|%", "> 99,9|%", "−3,1_points", "1|500", "1,431_×_10⁻⁵", "0,932", "< 0,001"]),
        ("el", ["91,4%", "> 99,9%", "−3,1_points", "1.500", "1,431_×_10⁻⁵", "0,932", "< 0,001"]),
    ],
)
def test_numbers_have_the_signs_of_the_language(folder, language, texts):
    if language != "en":
        po(folder, {"units.points": "{value} points"}, language=language)
    with written_in(load_messages(language)):
        written = [
            write(0.914, "share"), write(0.9999, "share"), write(-0.031, "signed-points"),
            write_count(1500), write(1.431e-5, "score"), write(0.9321, "auroc"), write_p(1e-5),
        ]  # fmt: skip

    narrow, wide = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
    # CLDR writes the French percent sign after one or the other, by version
    shown = [t.replace(narrow, "|").replace(f"{wide}%", "_%") for t in written]
    shown = [t.replace("|%", "_%").replace("> ", ">_") for t in shown]
    wanted = [t.replace("|%", "_%") for t in texts]
    assert [t.replace(wide, "_") for t in shown] == [
        t.replace("> ", ">_").replace("< ", "<_") for t in wanted
    ]


def test_outside_a_report_numbers_are_english_again(german):
    with written_in(german):
        pass

    assert write(0.914, "share").startswith("91.4")


def test_units_and_intervals_are_in_the_words_of_the_language(german):
    with written_in(german):
        assert write_interval(-0.05, 0.012, "signed-points") == "−5,0 bis +1,2\u00a0Punkte"
        assert write_limit(0.15, "points") == "15\u00a0Punkte"


def test_dates_and_languages_have_the_names_of_the_language():
    day = date(2027, 12, 2)

    assert [in_words(day, tag) for tag in ("en", "de", "fr", "el")] == [
        "2 December 2027", "2. Dezember 2027", "2 décembre 2027", "2 Δεκεμβρίου 2027",
    ]  # fmt: skip
    assert language_name("ja", "de") == "Japanisch" and own_name("ja") == "日本語"
    assert language_name("zh-Hans", "en") == "Simplified Chinese" and own_name("fr") == "Français"
    assert (language_name("xx-none", "de"), own_name("xx-none")) == ("xx-none", "xx-none")


def test_plural_forms_are_those_of_the_language(folder):
    po(folder, source_texts(), language="fr",
       translations={"plurals.cells.one": "{n} cellule", "plurals.cells.other": "{n} cellules"},
    )  # fmt: skip
    french = load_messages("fr")

    counted = [french.count("cells", n) for n in (0, 1, 2, 1_000_000)]

    assert counted == ["0 cellule", "1 cellule", "2 cellules", "1000000 cellules"]
    assert load_messages().count("cells", 0) == "0 cells"


def test_titles_begin_small_in_sentences_only_where_nouns_do(german):
    assert in_sentence("Text length") == "text length"
    with written_in(german):
        assert in_sentence("Textlänge") == "Textlänge"


def test_only_one_module_writes_numbers():
    """A thousands separator anywhere else would be English in every language."""
    package = data_dir("templates").parent / "compliance" / "reports"
    # The pages of a suite and of a monitor are in English.
    allowed = {"numbers.py", "suite_page.py", "monitoring_page.py"}

    sources = [path for path in package.rglob("*.py") if path.name not in allowed]

    assert sources
    assert [p.name for p in sources if re.search(r":,(\.\d+f)?\}", p.read_text("utf-8"))] == []


# The report.


def test_a_translated_report_says_so_in_both_languages(german_report, german):
    own, english = german_report.translated

    assert (own.language, english.language) == ("de", "en")
    assert own.text.startswith("Von einer Maschine übersetzt. ")
    assert "translated from English by a machine" in english.text
    assert "The English report is decisive." in english.text
    missing = len(source_texts()) - len(GERMAN)
    with written_in(german):
        assert f"{write_count(missing)} of its texts" in own.text
    assert f"{missing:,} of its texts" in english.text


def test_an_english_report_says_nothing_of_translation(report, html):
    assert report.translated == () and report.language == "en"
    assert load_messages().translation["law_note"] not in html


def test_a_translated_report_has_the_same_numbers_in_other_signs(german_report, report):
    assert list(shown_ids(german_report)) == list(shown_ids(report))
    names = [language.name for language in german_report.matrices[0].languages]
    assert names[:3] == ["Englisch", "Japanisch", "Chinesisch (vereinfacht)"]
    assert german_report.built_on == "15. Januar 2027, 09:30 UTC"
    texts = [number.text for table in german_report.item_counts for row in table.rows
             for number in row.numbers if number and number.text]  # fmt: skip
    assert texts and not any(re.search(r"\d,\d{3}\b", text) for text in texts)


def test_the_words_of_the_mapping_are_translated_and_the_law_is_not(german_report, report):
    own = next(p for p in german_report.provisions if p.anchor == "law-art13-1")
    english = next(p for p in report.provisions if p.anchor == "law-art13-1")

    assert own.title == "Durchsichtiger Entwurf"
    assert own.supplies == "Wie gut ein Merkmal trennt."
    assert own.declarations[0].prompt == "Wie ist das System gestaltet?"
    assert own.law_text == english.law_text and own.law_language == "en"
    assert own.law_note == load_messages().translation["law_note"]
    assert english.law_note is None


def test_an_official_wording_in_the_language_is_quoted_with_its_source(german):
    provision = load_catalog().provision("13(1)")
    german_law = OfficialTranslation(text="Hochrisiko-KI-Systeme …", source="ABl. L, 2024/1689")

    quoted = wording(
        provision.model_copy(update={"official_translations": {"de": german_law}}), german
    )

    assert (quoted.text, quoted.language, quoted.note) == ("Hochrisiko-KI-Systeme …", "de", None)
    assert quoted.source == "ABl. L, 2024/1689"


def test_citations_are_in_the_words_of_the_language(german):
    assert citation("art13.3.b.ii", german) == "Artikel 13(3)(b)(ii)"
    assert citation("annex4.2.g", german) == "Anhang IV 2(g)"
    assert citation("art13.3.b.ii", load_messages()) == "Article 13(3)(b)(ii)"


def test_a_point_without_wording_has_no_note_about_its_language(german):
    assert wording(load_catalog().provision("13"), german).note is None


def test_the_page_marks_the_languages_of_its_words(german_report):
    page = render_html(german_report)

    assert '<html lang="de">' in page
    assert '<blockquote class="law" lang="en">' in page
    assert '<li lang="en">The words of this report' in page and '<li lang="de">Von einer' in page
    assert "aria-label" in page and "Gestützt" in page
    assert page.index('<li lang="de">') < page.index('id="summary"')


def test_the_digests_of_the_catalog_stay_those_of_its_files(german):
    from compliance.reports.translated import catalog_in

    catalog = load_catalog()
    shown, untranslated = catalog_in(catalog, "de")

    assert shown.facts() == catalog.facts()
    assert (
        shown.mapping.levels["partial"] == "zum Teil"
        and catalog.mapping.levels["partial"] == "in part"
    )
    assert untranslated > 0


def test_messages_of_another_shape_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(messages, "source_messages", lambda: {"verdicts": {}})

    with pytest.raises(ReportError, match="messages in en"):
        load_messages()
