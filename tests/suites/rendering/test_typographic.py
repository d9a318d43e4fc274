"""Pictures of words: the same bytes each time, every letter drawn, one size a group."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as pillow

from compliance.errors import StorageError, SuiteError
from compliance.progress import SILENT
from compliance.records.base import to_json
from compliance.records.suite import Item, Label
from compliance.suites.load import load_suite
from compliance.suites.pictures import picture_bytes, read_picture, store_picture
from compliance.suites.rendering import draw
from compliance.suites.rendering.draw import draw_item, paragraphs
from compliance.suites.rendering.typographic import Choice, render_suite, size_of
from tests.tiny_audit import datasheet, suite_items, write_items

ROOT = Path(__file__).parents[3]
PANGRAMS = {
    "en": "The quick brown fox jumps over the lazy dog.",
    "ja": "いろはにほへと、散りぬるを。我が世誰ぞ常ならむ！",
    "zh-Hans": "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "vi": "Con sói nâu nhảy qua hàng rào; Nguyễn ăn phở ở Huế.",
    "ru": "Съешь же ещё этих мягких французских булок.",
    "ko": "키스의 고유조건은 입술끼리 만나야 하고.",
    "th": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "hi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा",
}


def item(text: str | None = None, **values) -> Item:
    fixed = {"id": "a", "group": "a", "label": "negative", "language": "en", "origin": "authored",
             "source": "made for tests", "licence": "CC0-1.0"}  # fmt: skip
    return Item.model_validate(fixed | ({"text": text} if text else {}) | values)


def ink(one: Item, size: int = 20, width: int = 300) -> np.ndarray:
    """Darkness of each pixel, 0 to 255."""
    return 255 - np.asarray(draw_item(one, size=size, width=width).picture.convert("L"), int)


@pytest.mark.parametrize("language", PANGRAMS)
def test_every_script_is_drawn_within_its_margins(language):
    found = ink(item(PANGRAMS[language], language=language))

    assert 0.01 < (found > 128).mean() < 0.25
    assert not found[:, :12].any() and not found[:, -12:].any()
    assert not found[:10].any() and not found[-10:].any()


@pytest.mark.parametrize("language", PANGRAMS)
def test_every_letter_has_a_glyph(language):
    one = item(PANGRAMS[language], language=language)

    for face in draw_item(one, size=20, width=300).faces:
        font = face.sized(20)
        box = font.getmask("\U0010fffd").getbbox()  # what stands for a missing glyph
        shapes = {
            bytes(font.getmask(c)) for c in PANGRAMS[language] if face.covers(c) and c.strip()
        }
        assert box is None or bytes(font.getmask("\U0010fffd")) not in shapes
    assert all(
        any(face.covers(c) for face in draw_item(one, size=20, width=300).faces)
        for c in PANGRAMS[language]
    )


def test_letters_are_drawn_in_order_from_left_to_right():
    assert (ink(item("a b"))[:, 34:] > 0).any()
    narrow, wide = (ink(item(text)).any(axis=0).nonzero()[0].max() for text in ("il", "ilililil"))
    assert narrow < wide


def test_the_form_of_a_character_follows_the_language():
    japanese, chinese = (
        draw_item(item("直", language=one), size=40, width=400).picture.tobytes()
        for one in ("ja", "zh-Hans")
    )

    assert japanese != chinese


def test_pictures_are_black_on_white_and_grow_with_the_text():
    short, long = (
        draw_item(item(" ".join(["word"] * n)), size=20, width=200).picture for n in (2, 60)
    )

    assert short.size == (200, 70)
    assert long.width == 200 and long.height > 300
    values = np.asarray(long)
    assert (values[..., 0] == values[..., 1]).all() and (values[..., 1] == values[..., 2]).all()
    assert (values.min(), values.max()) == (0, 255)


@pytest.mark.parametrize("words", [2, 60])
def test_a_square_picture_has_white_around_the_same_ink(words):
    one = item(" ".join(["word"] * words))
    plain, square = (
        np.asarray(draw_item(one, size=20, width=200, square=square).picture.convert("L"))
        for square in (False, True)
    )
    assert square.shape == (max(plain.shape),) * 2
    assert (square < 255).sum() == (plain < 255).sum()
    top, left = ((square.shape[axis] - plain.shape[axis]) // 2 for axis in (0, 1))
    inside = square[top : top + plain.shape[0], left : left + plain.shape[1]]
    assert (inside == plain).all()


def test_lines_do_not_touch():
    rows = ink(item("Ấg\n" * 3, language="vi")).any(axis=1)

    assert not rows[[20, 49, 50, 79, 80, 109]].any()
    assert all(rows[top : top + 30].sum() > 18 for top in (20, 50, 80))


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [
        ("en", "User: ", "Assistant: "),
        ("ja", "ユーザー：", "アシスタント："),
        ("zh-Hans", "用户：", "助手："),
        ("el", "Χρήστης: ", "Βοηθός: "),
        ("vi", "Người dùng: ", "Trợ lý: "),
        ("ru", "Пользователь: ", "Ассистент: "),
        ("de", "User: ", "Assistant: "),
    ],
)
def test_speakers_are_named_in_the_language(language, first, second):
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    one = item(messages=turns, language=language, format="dialogue")

    assert paragraphs(one) == [f"{first}1", f"{second}2"]
    assert draw_item(one, size=20, width=300).picture.height == 40 + 2 * 30 + 10


def test_columns_of_code_stand_under_each_other():
    lines = ["iiii|", "MMMM|", "直直|"]

    ends = [ink(item(line, format="code")).any(axis=0).nonzero()[0].max() for line in lines]
    loose = [ink(item(line)).any(axis=0).nonzero()[0].max() for line in lines[:2]]

    assert ends[0] == ends[1]
    assert loose[0] < loose[1]


def test_a_character_without_a_font_is_named_with_its_item():
    with pytest.raises(SuiteError, match=r"item a: no font has U\+1F600 \(GRINNING FACE\)"):
        draw_item(item("a smile \U0001f600"), size=20, width=300)


def test_a_picture_that_would_be_too_high_is_named_with_its_item():
    with pytest.raises(SuiteError, match=r"item a: its picture would be 6,\d\d\d pixels") as caught:
        draw_item(item("x\n" * 200), size=20, width=300)

    assert "--size" in caught.value.hint and "--width" in caught.value.hint


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(draw, "find_spec", lambda name: None if name == "uniseg" else object())
    draw._refuse_missing_packages.cache_clear()
    try:
        with pytest.raises(SuiteError, match="needs the package uniseg") as caught:
            draw_item(item("a"), size=20, width=300)
    finally:
        draw._refuse_missing_packages.cache_clear()

    assert "sae-compliance[suites]" in caught.value.hint


def test_another_process_draws_the_same_bytes(tmp_path):
    text = " ".join(PANGRAMS.values())
    code = (
        "from tests.suites.rendering.test_typographic import *; import hashlib; "
        f"made = draw_item(item({text!r}), size=17, width=333).picture; "
        "print(hashlib.sha256(picture_bytes(made)).hexdigest())"
    )

    first, second = (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                       check=True, env={"PYTHONHASHSEED": seed, "HOME": str(tmp_path)}).stdout
        for seed in ("1", "2")
    )  # fmt: skip

    here = picture_bytes(draw_item(item(text), size=17, width=333).picture)
    assert first == second == hashlib.sha256(here).hexdigest() + "\n"


# Suites


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "suite"
    folder.mkdir()
    items = suite_items(groups=3, benign=4)
    items[0] |= {"restricted": True, "reviewed": "Ada", "stratum": "fiction"}
    items[0]["choices"] = {"concept": "yes", "other": "no"}
    write_items(folder, items)
    (folder / "suite.yaml").write_text(yaml.safe_dump(datasheet()), encoding="utf-8")
    return load_suite(".", folder)


def rendered(suite, target, **choice):
    return render_suite(suite, target, Choice(**{"width": 240, **choice}), SILENT)


def test_texts_stay_and_have_a_picture_in_their_group(suite, tmp_path):
    made = rendered(suite, tmp_path / "made")

    texts = {i.id: i for i in made.items if i.modality == "text"}
    shown = {i.id: i for i in made.items if i.modality == "image"}
    assert tuple(texts.values()) == suite.items
    assert shown.keys() == {f"{name}-typographic" for name in texts}
    for name, one in texts.items():
        twin = shown[f"{name}-typographic"]
        same = ("group", "label", "language", "concept", "format", "origin", "licence", "source",
                "restricted", "reviewed", "stratum")  # fmt: skip
        assert [getattr(twin, f) for f in same] == [getattr(one, f) for f in same]
        assert (twin.rendering, twin.text, twin.messages, twin.choices) == (
            "typographic", None, None, None,
        )  # fmt: skip
        assert twin.image.description == " ".join("\n".join(paragraphs(one)).split())
        assert read_picture(made.folder, twin.image).width == 240


def test_two_runs_give_the_same_files(suite, tmp_path):
    for name in ("one", "two"):
        rendered(suite, tmp_path / name)

    files = [
        {p.relative_to(tmp_path / n).as_posix(): p.read_bytes()
         for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("one", "two")
    ]  # fmt: skip
    assert files[0] == files[1]
    assert len(files[0]) > 20


def test_a_group_has_one_size_and_each_size_its_share(suite, tmp_path):
    made = rendered(suite, tmp_path / "made", sizes=(18, 12))

    sizes: dict[str, set[int]] = {}
    for one in made.items:
        if one.image:
            sizes.setdefault(one.group, set()).add(one.image.font_size)
    assert all(len(found) == 1 for found in sizes.values())
    assert set.union(*sizes.values()) == {12, 18}
    assert all(found == {size_of(g, (12, 18))} for g, found in sizes.items())
    spread = Counter(size_of(f"group-{n}", (16, 24, 32)) for n in range(3000))
    assert all(900 < count < 1100 for count in spread.values())


def test_neutral_text_has_no_pictures(suite, tmp_path):
    items = suite_items(groups=3, benign=4)
    for language in ("en", "el"):
        like = next(i for i in items if i["language"] == language and "text" in i)
        kept = {k: like[k] for k in ("language", "origin", "source", "licence")}
        name = {"id": f"n-{language}", "group": "n", "label": "neutral", "text": "Prose."}
        items.append(kept | name)
    write_items(suite.folder, items)
    sheet = datasheet() | {"neutral": "made for tests"}
    (suite.folder / "suite.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")

    made = rendered(load_suite(".", suite.folder), tmp_path / "made", groups=2, benign=1)

    assert [i.modality for i in made.items if i.label is Label.NEUTRAL] == ["text", "text"]


def test_a_part_is_taken_and_said(suite, tmp_path):
    made = rendered(
        suite, tmp_path / "made", concepts=("danger",), languages=("el",), groups=2, benign=1
    )

    assert {i.language for i in made.items} == {"el"}
    assert len({i.group for i in made.items if i.concept == "danger"}) == 2
    assert len({i.group for i in made.items if i.concept is None}) == 1
    assert list(made.datasheet.concepts) == ["danger"]
    assert made.datasheet.languages == ("el",)
    assert any("a part: 5 of" in gap for gap in made.datasheet.known_gaps)


def test_the_datasheet_says_what_drew_the_pictures(suite, tmp_path):
    sheet = rendered(suite, tmp_path / "made").datasheet

    said = "\n".join(sheet.sources)
    assert (sheet.name, sheet.version) == ("tiny-typographic", suite.datasheet.version)
    assert set(suite.datasheet.sources) <= set(sheet.sources)
    assert suite.digest in said and "Pillow" in said and "NotoSans-Regular.ttf, sha256:" in said
    assert any("letters of 16 or 24 pixels" in gap for gap in sheet.known_gaps)


def test_pictures_of_other_kinds_are_carried_over(suite, tmp_path):
    items = [to_json(i) for i in suite.items]
    for n, one in enumerate([i for i in items if i.get("concept") == "danger"]):
        image = store_picture(
            pillow.new("RGB", (4, 4), (n, 0, 0)), suite.folder, description="a colour"
        )
        form = {"id": f"{one['id']}-seen", "modality": "image", "rendering": "depicted"}
        kept = {k: v for k, v in one.items() if k not in ("text", "choices")}
        items.append(kept | form | {"image": to_json(image)})
    write_items(suite.folder, items)

    made = rendered(load_suite(".", suite.folder), tmp_path / "made")

    assert Counter(i.rendering for i in made.items) == {
        "plain": 32, "typographic": 32, "depicted": 12,
    }  # fmt: skip
    for one in made.items:
        assert one.image is None or read_picture(made.folder, one.image)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"concepts": ("greed",)}, "no concept 'greed'; it has danger, flattery"),
        ({"languages": ("fr",)}, "no language 'fr'"),
        ({"width": 100, "sizes": (12,)}, "width 100: letters of 12 pixels take at least 120"),
        ({"width": 5000}, "a picture has at most 4096"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(suite, tmp_path, choice, words):
    with pytest.raises(SuiteError, match=words):
        rendered(suite, tmp_path / "made", **choice)

    assert not (tmp_path / "made").exists()


def test_a_suite_with_pictures_of_words_is_not_rendered_again(suite, tmp_path):
    made = rendered(suite, tmp_path / "made", concepts=("danger",), groups=2, benign=1)

    with pytest.raises(SuiteError, match="holds pictures of words already"):
        rendered(made, tmp_path / "again")


def test_nothing_is_left_where_an_item_cannot_be_drawn(suite, tmp_path):
    items = suite_items(groups=3, benign=4)
    items[-1]["messages"][0]["content"] = "\U0001f600"
    write_items(suite.folder, items)

    with pytest.raises(SuiteError, match=f"item {items[-1]['id']}: no font has"):
        rendered(load_suite(".", suite.folder), tmp_path / "made")

    assert {path.name for path in tmp_path.iterdir()} == {"suite"}


def test_what_is_there_is_never_overwritten(suite, tmp_path):
    (tmp_path / "made").mkdir()

    with pytest.raises(StorageError, match="is there already"):
        rendered(suite, tmp_path / "made")
