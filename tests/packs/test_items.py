"""An item has one digest, whether it is shown, partly shown or withheld; guesses cannot be told."""

import hashlib
import hmac
import io
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.errors import PackError
from compliance.packs.items import (
    hidden_fields,
    item_digest,
    item_id,
    pack_items,
    parse_item,
    plain_json,
    render_items,
    salted,
    shown_fields,
    shown_pictures,
    withhold_fields,
    withhold_item,
)
from compliance.packs.reading import PackItems
from compliance.records.base import canonical_bytes, digest_bytes, digest_of, to_json
from compliance.records.pack import PackedItem, PartItem, WithheldItem
from compliance.records.suite import Item
from tests.packs.example import example_items

SECRET = bytes(range(32))
FIELDS = sorted(set(Item.model_fields) - {"id"})
COMMON = {
    "group": "g-1", "concept": "deception", "label": "positive", "language": "en",
    "origin": "authored", "source": "written for the test", "licence": "CC0-1.0",
}  # fmt: skip


def item(**changes: object) -> Item:
    return Item.model_validate({"id": "d-1", "text": "Lie to me.", **COMMON, **changes})


EVERY_FORM = (
    item(),
    item(text=None, messages=({"role": "user", "content": "Hi."},), format="dialogue"),
    item(restricted=True, reviewed="A. Person", stratum="fiction"),
    item(choices={"concept": "Yes.", "other": "No."}),
    item(
        modality="image-text", rendering="depicted",
        image={"digest": "sha256:" + "0" * 64, "width": 3, "height": 2, "description": "A cat."},
    ),
)  # fmt: skip


def by_hand(shown: PackedItem) -> str:
    """The digest as FORMAT.md says it, without our code."""
    digests = {}
    for name, value in to_json(shown.item).items():
        key = hmac.new(bytes.fromhex(shown.salt), name.encode(), hashlib.sha256).digest()
        said = json.dumps({name: value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digests[name] = "sha256:" + hashlib.sha256(key + said.encode()).hexdigest()
    listed = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(listed.encode()).hexdigest()


@pytest.mark.parametrize("number", range(len(EVERY_FORM)))
def test_the_digest_is_that_of_the_format(number: int):
    shown = salted(EVERY_FORM[number], SECRET)

    assert item_digest(shown) == by_hand(shown)


@given(
    number=st.integers(0, len(EVERY_FORM) - 1),
    first=st.sets(st.sampled_from(FIELDS)),
    second=st.sets(st.sampled_from(FIELDS)),
)
@settings(max_examples=60, deadline=None)
def test_all_forms_of_an_item_have_one_digest_and_one_spelling(number, first, second):
    shown = salted(EVERY_FORM[number], SECRET)

    part = withhold_fields(withhold_fields(shown, first), second)
    again = withhold_fields(shown, first | second)

    assert part == again
    for form in (shown, part, withhold_item(part), withhold_item(shown)):
        assert item_digest(form) == item_digest(shown) and item_id(form) == "d-1"
        (line,) = render_items([form])
        assert parse_item(line[:-1]) == form
    assert shown_fields(part).keys().isdisjoint(first | second)


VALUES = st.recursive(
    st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abcXYZ_"), inner),
)


@given(value=VALUES)
def test_the_quick_spelling_is_the_canonical_one(value):
    assert plain_json({"text": value}) == rfc8785.dumps({"text": value})


def test_a_partly_shown_item_says_what_it_shows_and_hides():
    shown = salted(item(restricted=True), SECRET)

    part = withhold_fields(shown, ("text", "messages", "image"))

    assert isinstance(part, PartItem)
    assert hidden_fields(part) == {"text"}
    assert shown_fields(part) == {k: v for k, v in to_json(shown.item).items() if k != "text"}
    assert hidden_fields(shown) == frozenset()
    assert hidden_fields(withhold_item(shown)) == set(FIELDS)
    assert shown_fields(withhold_item(shown)) == {"id": "d-1"}


def test_nothing_of_what_is_withheld_stands_in_the_line():
    shown = salted(item(text="Lie to me about everything."), SECRET)

    for form in (withhold_fields(shown, ("text",)), withhold_item(shown)):
        (line,) = render_items([form])

        assert b"Lie to me" not in line and shown.salt.encode() not in line


def test_salts_of_shown_fields_do_not_give_those_of_others():
    shown = salted(item(), SECRET)

    part = withhold_fields(shown, ("text",))

    guessed = {
        hmac.new(bytes.fromhex(salt), b"text", hashlib.sha256).hexdigest()
        for salt in part.salts.values()
    } | set(part.salts.values())
    said = canonical_bytes({"text": "Lie to me."})
    tried = {digest_bytes(bytes.fromhex(salt) + said) for salt in guessed}
    assert part.withheld["text"] not in tried


def test_equal_texts_have_different_digests():
    one, two = salted(item(), SECRET), salted(item(id="d-2"), SECRET)

    parts = [withhold_fields(shown, ("text",)) for shown in (one, two)]

    assert parts[0].withheld["text"] != parts[1].withheld["text"]
    assert item_digest(one) != item_digest(two)


def test_a_right_guess_of_a_text_cannot_be_told_without_the_salt():
    part = withhold_fields(salted(item(text="none"), SECRET), ("text",))

    for guess in ("none", "None", "None."):
        value = {"text": guess}
        tried = {digest_of(value), digest_bytes(b"none"), digest_bytes(bytes(32) + b"none")}
        tried |= {
            digest_bytes(bytes.fromhex(salt) + canonical_bytes(value))
            for salt in part.salts.values()
        }
        assert part.withheld["text"] not in tried


def test_salts_are_those_of_the_secret_and_the_item():
    first = salted(item(), SECRET)

    assert first == salted(item(), SECRET)
    assert first.salt != salted(item(), bytes(32)).salt
    assert first.salt != salted(item(text="Lie to us."), SECRET).salt


def test_items_are_withheld_by_id_and_sorted():
    packed = tuple(pack_items(example_items(), withheld={"d-1-ja"}, secret=SECRET))

    assert [item_id(one) for one in packed] == ["d-1-en", "d-1-ja", "n-1-en"]
    assert [type(one) for one in packed] == [PackedItem, WithheldItem, PackedItem]
    with pytest.raises(PackError, match="there is no such item"):
        pack_items(example_items(), withheld={"x"}, secret=SECRET)


def test_the_id_is_always_shown():
    with pytest.raises(ValueError, match="cannot be withheld"):
        withhold_fields(salted(item(), SECRET), ("id",))


def test_pictures_are_those_of_items_that_show_theirs():
    shown = salted(EVERY_FORM[4], SECRET)

    assert shown_pictures([shown]) == {f"images/{'0' * 64}.png": "0" * 64}
    assert shown_pictures([withhold_fields(shown, ("image",)), withhold_item(shown)]) == {}
    assert shown_pictures([withhold_fields(shown, ("text",))]) == shown_pictures([shown])


def _part() -> dict:
    part = withhold_fields(salted(item(), SECRET), ("text",))
    return json.loads(canonical_bytes(part))


def _drop(line: dict, name: str) -> None:
    del line["fields"][name], line["salts"][name]


ODD = {
    "without the id": (lambda line: _drop(line, "id"), "'id' is neither shown"),
    "the id is withheld": (
        lambda line: _drop(line, "id") or line["withheld"].update(id="sha256:" + "0" * 64),
        "'id' is shown",
    ),
    "shown and withheld": (
        lambda line: line["withheld"].update(group="sha256:" + "0" * 64),
        "shown and withheld",
    ),
    "a field too many": (
        lambda line: line["withheld"].update(colour="sha256:" + "0" * 64),
        "has no field 'colour'",
    ),
    "a field that every item has": (lambda line: _drop(line, "group"), "'group' is neither shown"),
    "a salt too few": (lambda line: line["salts"].pop("group"), "has its salt"),
    "a salt too many": (lambda line: line["salts"].update(text="0" * 64), "has its salt"),
    "nothing withheld": (lambda line: line["withheld"].clear(), "at least 1"),
    "of a wrong shape": (lambda line: line["fields"].update(language="klingon!"), "language: "),
    "a number for a text": (lambda line: line["fields"].update(source=1), "source: "),
    "nothing as a value": (
        lambda line: line["fields"].update(stratum=[]) or line["salts"].update(stratum="0" * 64),
        "stratum: ",
    ),
    "an odd digest": (lambda line: line["withheld"].update(text="sha256:00"), "pattern"),
    "more beside": (lambda line: line.update(more=1), "not permitted"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_lines_are_refused(kind: str):
    line, (change, reason) = _part(), ODD[kind]
    change(line)

    with pytest.raises(ValueError, match=reason):
        parse_item(canonical_bytes(line))


def test_a_field_without_a_value_is_not_shown_as_one():
    line = _part()
    line["fields"]["stratum"], line["salts"]["stratum"] = None, "0" * 64

    with pytest.raises(ValueError, match="absent fields are left out"):
        PartItem.model_validate(line)


def test_a_changed_field_changes_the_digest():
    line = _part()
    digest = item_digest(parse_item(canonical_bytes(line)))

    line["fields"]["label"] = "hard-negative"

    assert item_digest(parse_item(canonical_bytes(line))) != digest


def test_items_of_a_file_are_read_again_where_they_are_asked_for():
    lines = b"".join(render_items(pack_items(example_items(), withheld=(), secret=SECRET)))
    opened = []

    def file() -> io.BytesIO:
        opened.append(None)
        return io.BytesIO(lines)

    found = PackItems(file)
    whole = [parse_item(line) for line in lines.splitlines()]

    assert (len(found), [*found], found[1], found[-1]) == (3, whole, whole[1], whole[2])
    assert found[1:] == tuple(whole[1:])
    assert len(opened) == 1 + 1 + 2 + 2
    with pytest.raises(IndexError):
        found[3]
