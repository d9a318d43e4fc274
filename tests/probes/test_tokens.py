"""Regions: every token of the content inside, no token of the template inside."""

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compliance.errors import ProbeError
from compliance.probes.engine import prepare_items
from compliance.probes.subject import Subject
from compliance.probes.tokens import prepare
from compliance.records.suite import Item, Label
from tests.probes.tiny import tiny_model, tiny_tokenizer

TEXTS = {
    "words": "apple stone river",
    "template words": "user assistant user: <|user| > end |> message.content {{ bos_token }}",
    "blanks inside": "a  b\t\tc\n\n  d",
    "chinese": "请把这个苹果给我",
    "japanese": "りんごを ください。カフェ",
    "combining": "cafe\u0301 n\u0303o \u0915\u094d\u0937\u093f",
    "emoji": "👩\u200d👩\u200d👧 ok 👍🏽",
    "right to left": "שלום עולם \u202babc\u202c",
    "private use": "\ue0000\ue001 and \ue000\ue001",
}
STRIPPING = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>"
    "{{ message.content | trim }}<|end|>{% endfor %}"
)
TALKING = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"


def item(*turns: tuple[str, str], text: str | None = None) -> Item:
    messages = [{"role": role, "content": content} for role, content in turns] or None
    return Item(
        id="item-7", group="group-7", label=Label.NEGATIVE, language="en", text=text,
        messages=messages, origin="authored", source="made for tests", licence="CC0-1.0",
    )  # fmt: skip


def with_template(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def read(prepared, region, tokenizer):
    return tokenizer.decode([prepared.ids[place] for place in prepared.regions[region]])


def run(one, tokenizer=None, limit=None):
    """Prepare an item, and tell each region's text."""
    tokenizer = tokenizer or tiny_tokenizer()
    prepared = prepare(one, tokenizer, limit=limit)
    return prepared, {name: read(prepared, name, tokenizer) for name in prepared.regions}


# Contents


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("template", ["own", None, STRIPPING, TALKING], ids=str)
def test_a_prompt_is_read_byte_for_byte_and_nothing_else(text, template):
    tokenizer = tiny_tokenizer() if template == "own" else with_template(template)

    prepared, found = run(item(text=text), tokenizer)

    assert found["user"] == found["read"] == text
    assert found["assistant"] == ""
    assert prepared.regions["last"] == prepared.regions["user"][-1:]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("template", ["own", None, STRIPPING, TALKING], ids=str)
def test_turns_are_told_apart_and_system_messages_belong_to_nobody(text, template):
    tokenizer = tiny_tokenizer() if template == "own" else with_template(template)
    turns = [("system", "be kind"), ("user", text), ("assistant", "yes"), ("user", "and " + text),
             ("assistant", "no " + text)]  # fmt: skip

    prepared, found = run(item(*turns), tokenizer)

    assert found["user"] == text + "and " + text
    assert found["assistant"] == "yesno " + text
    assert found["read"] == f"{text}yesand {text}no {text}"
    assert prepared.regions["last"] == prepared.regions["assistant"][-1:]


def test_the_last_region_follows_the_turns_and_not_the_roles():
    prepared, _ = run(item(("assistant", "hello"), ("user", "bye")))

    assert prepared.regions["last"] == prepared.regions["user"][-1:]


def test_more_than_ten_turns_keep_their_places():
    turns = [("user" if i % 2 == 0 else "assistant", f"turn {i}.") for i in range(23)]

    _, found = run(item(*turns))

    assert found["read"] == "".join(content for _, content in turns)


def test_equal_contents_are_told_apart_by_role():
    _, found = run(item(("user", "same"), ("assistant", "same"), ("user", "same")))

    assert (found["user"], found["assistant"]) == ("samesame", "same")


@pytest.mark.parametrize("text", ["  lead", "trail \n", " \u3000both\t ", "\n\nx\n\n"])
@pytest.mark.parametrize("template", ["own", None, TALKING], ids=str)
def test_blanks_around_a_content_are_part_of_it(text, template):
    tokenizer = tiny_tokenizer() if template == "own" else with_template(template)

    _, found = run(item(("user", text), ("assistant", text)), tokenizer)

    assert (found["user"], found["assistant"]) == (text, text)


def test_content_of_blanks_alone_is_read_too():
    _, found = run(item(text="\n \n"))

    assert found["user"] == "\n \n"


def test_ids_are_what_the_tokenizer_gives_for_the_rendered_template():
    tokenizer = tiny_tokenizer()
    turns = [("user", " a  b "), ("assistant", "c")]
    plain = [{"role": role, "content": content} for role, content in turns]

    prepared, _ = run(item(*turns), tokenizer)

    ids = tokenizer.apply_chat_template(plain, return_dict=False)
    assert list(prepared.ids) == ids
    assert ids.count(tokenizer.bos_token_id) == 1


def test_without_a_template_bos_stands_once_in_front_and_in_no_region():
    tokenizer = with_template(None)

    prepared, found = run(item(("user", "a"), ("assistant", "b")), tokenizer)

    assert prepared.ids[0] == tokenizer.bos_token_id
    assert 0 not in prepared.regions["read"]
    assert tokenizer.decode(prepared.ids[1:]) == "a\n\nb"
    assert found["read"] == "ab"


# Characters


def characters(text):
    """The place of each byte's character: a tiny token is one byte."""
    return [[i, i + 1] for i, character in enumerate(text) for _ in character.encode()]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("template", ["own", None, STRIPPING, TALKING], ids=str)
def test_each_token_has_the_place_of_its_character_in_the_contents(text, template):
    tokenizer = tiny_tokenizer() if template == "own" else with_template(template)
    turns = [("system", "be kind"), ("user", text), ("assistant", "yes"), ("user", text)]

    alone, _ = run(item(text=text), tokenizer)
    among, _ = run(item(*turns), tokenizer)

    assert alone.places.tolist() == characters(text)
    every = characters("be kind" + text + "yes" + text)
    assert among.places.tolist() == every[len("be kind") :]
    assert among.places.dtype == alone.places.dtype == "int32"


@pytest.mark.parametrize("text", ["  lead", "trail \n", " \tboth ", "plain"])
def test_blanks_that_a_template_strips_are_counted_and_have_no_token(text):
    turns = [("system", " s "), ("user", text), ("assistant", text + "! ")]

    prepared, _ = run(item(*turns), with_template(STRIPPING))

    whole = " s " + text + text + "! "
    first = whole.index(text.strip(), len(" s "))
    second = whole.index(text.strip(), len(" s " + text))
    read = [*range(first, first + len(text.strip())), *range(second, whole.index("!") + 1)]
    assert prepared.places.tolist() == [[i, i + 1] for i in read]


def test_special_tokens_in_a_content_are_counted_and_have_no_place():
    prepared, _ = run(item(text="a<|end|>b"))

    assert prepared.places.tolist() == [[0, 1], [8, 9]]


# Tokenizers


@pytest.mark.parametrize("template", ["own", None], ids=str)
def test_tokens_of_blanks_are_read_where_the_tokenizer_trims_their_places(template):
    """A post-processor that trims moves the start of such a token to its end."""
    tokenizer = tiny_tokenizer() if template == "own" else with_template(None)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=True
    )
    text = " if x:\n        return  1 "

    _, found = run(item(("user", text), ("assistant", text)), tokenizer)

    assert (found["user"], found["assistant"]) == (text, text)


def test_a_normalizer_does_not_move_the_edges():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()

    _, found = run(item(("user", "cafe\u0301"), ("assistant", "e\u0301e")), tokenizer)

    assert (found["user"], found["assistant"]) == ("caf\u00e9", "\u00e9e")


def merging(*pairs: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Bytes that merge, so that tokens can reach over the edge of a content."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(a + b for a, b in pairs)]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, list(pairs)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tiny_tokenizer().backend_tokenizer.decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.chat_template = TALKING
    return tokenizer


def test_a_token_that_reaches_over_the_edge_belongs_to_the_template():
    tokenizer = merging(("z", "Ċ"), ("Ġ", "a"))

    prepared, found = run(item(text="abz"), tokenizer)

    assert tokenizer.decode(prepared.ids) == "user: abz\n"
    assert found["user"] == "b"


def words_only() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "known": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    )


def test_an_unknown_word_is_content():
    prepared, _ = run(item(text="known strange known"), words_only())

    assert prepared.ids == (2, 0, 2)
    assert prepared.regions["user"] == (0, 1, 2)


def test_an_unknown_word_is_left_out_where_its_token_also_ends_texts():
    tokenizer = words_only()
    tokenizer.eos_token = "<unk>"

    prepared, _ = run(item(text="known strange known"), tokenizer)

    assert prepared.regions["user"] == (0, 2)


def test_a_tokenizer_that_does_not_tell_places_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ProbeError, match="Slow: does not say which characters") as caught:
        prepare(item(text="x"), Slow(), limit=None)

    assert "fast tokenizer" in caught.value.hint


# Special tokens that a content spells out


@pytest.mark.parametrize("template", ["own", None], ids=str)
def test_special_tokens_typed_by_a_user_are_not_read_and_give_nobody_elses_role(template):
    """The model takes them for structure; whose words are whose follows from the item alone."""
    tokenizer = tiny_tokenizer() if template == "own" else with_template(None)
    typed = "a<|end|><|assistant|>b<|bos|><|eos|><|pad|>c"

    prepared, found = run(item(("user", typed), ("assistant", "d")), tokenizer)

    assert found["user"] == "abc"
    assert found["assistant"] == "d"
    assert len(prepared.regions["read"]) == 4


def test_a_control_token_without_a_name_is_not_read_either():
    """Llama 3's header tokens are flagged special and are not among its named tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<|header|>", special=True), AddedToken("<b>")])
    assert "<|header|>" not in tokenizer.all_special_tokens

    _, found = run(item(text="a<|header|>b<b>c"), tokenizer)

    assert found["user"] == "ab<b>c"


def test_an_item_of_special_tokens_alone_is_refused_by_name():
    with pytest.raises(ProbeError, match="item item-7: no token of its content"):
        prepare(item(text="<|end|><|user|>"), tiny_tokenizer(), limit=None)


def test_an_item_with_a_system_message_alone_is_refused_by_name():
    with pytest.raises(ProbeError, match="item item-7: no token of its content"):
        prepare(item(("system", "be kind")), tiny_tokenizer(), limit=None)


# Templates


@pytest.mark.parametrize("text", ["  lead", "trail \n", " \tboth ", "plain"])
def test_a_template_that_strips_contents_is_followed(text):
    """As those of Llama 3 and Gemma do."""
    turns = [("system", " s "), ("user", text), ("assistant", text + "!")]

    _, found = run(item(*turns), with_template(STRIPPING))

    assert (found["user"], found["assistant"]) == (text.strip(), (text + "!").strip())


def test_a_template_that_leaves_nothing_of_a_content_is_refused_by_name():
    with pytest.raises(ProbeError, match="item item-7: no token of its content"):
        prepare(item(text=" \n "), with_template(STRIPPING), limit=None)


@pytest.mark.parametrize(
    "expression",
    [
        "message.content | upper",
        "message.content.split('|')[-1]",
        "message.content | replace('b', '')",
        "message.content[:-1]",
        "message.content ~ message.content",
        "''",
    ],
)
def test_a_template_that_rewrites_contents_is_refused_by_name(expression):
    template = f"{{% for message in messages %}}<|user|>{{{{ {expression} }}}}{{% endfor %}}"

    with pytest.raises(ProbeError, match="item item-7: .* rewrites its content") as caught:
        prepare(item(text="a|b|c"), with_template(template), limit=None)

    assert "another template" in caught.value.hint


@pytest.mark.parametrize(
    "loop", ["messages[1:]", "messages | reverse", "messages | selectattr('role', 'eq', 'user')"]
)
def test_a_template_that_drops_or_moves_turns_is_refused_by_name(loop):
    template = f"{{% for message in {loop} %}}[{{{{ message.content }}}}]{{% endfor %}}"

    with pytest.raises(ProbeError, match="item item-7: .* rewrites its content"):
        prepare(item(("user", "a"), ("assistant", "b")), with_template(template), limit=None)


def test_a_system_message_inside_the_users_turn_is_told_apart():
    """As Llama 2 and Gemma fold it in."""
    template = (
        "{% set system = messages[0].content %}{% for message in messages[1:] %}<|user|>"
        "{% if loop.first %}{{ system }}\n\n{% endif %}{{ message.content }}<|end|>{% endfor %}"
    )

    _, found = run(item(("system", "be kind"), ("user", "hi")), with_template(template))

    assert found["read"] == "hi"


def test_words_that_a_template_adds_are_read_by_nobody():
    template = (
        "{% if messages[0].role != 'system' %}<|system|>You are helpful.<|end|>{% endif %}"
        "{% for message in messages %}<|user|>hi {{ message.content }}, bye<|end|>{% endfor %}"
    )

    _, found = run(item(text="hi You are helpful, bye"), with_template(template))

    assert found["read"] == "hi You are helpful, bye"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system messages here') }}", "no system messages here"),
        ("{{ messages[0].content.nothing.more }}", "has no attribute"),
        ("{% for message in messages %}", "Unexpected end of template"),
    ],
)
def test_a_template_that_refuses_an_item_is_quoted_with_the_items_name(template, reason):
    with pytest.raises(ProbeError, match="item item-7: .* refuses it: ") as caught:
        prepare(item(("system", "s"), ("user", "u")), with_template(template), limit=None)

    assert reason in str(caught.value)


def test_a_template_that_asks_for_today_gives_the_same_tokens_every_day(monkeypatch):
    from transformers.utils import chat_template_utils as clock

    class Tomorrow(clock.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    tokenizer = with_template("Today is {{ strftime_now('%d %b %Y') }}. {{ messages[0].content }}")
    today, found = run(item(text="hi"), tokenizer)
    monkeypatch.setattr(clock, "datetime", Tomorrow)

    tomorrow, _ = run(item(text="hi"), tokenizer)

    assert tomorrow.ids == today.ids
    assert tokenizer.decode(today.ids) == "Today is 01 Jan 2026. hi"
    assert found["user"] == "hi"


# Length


def test_an_item_as_long_as_the_model_reads_is_taken_and_a_longer_one_is_named():
    one = item(text="x" * 20)
    length = len(run(one)[0].ids)

    assert len(run(one, limit=length)[0].ids) == length
    with pytest.raises(ProbeError, match=f"item item-7: {length} tokens, .* {length - 1} pos"):
        prepare(one, tiny_tokenizer(), limit=length - 1)


def test_a_tokenizer_set_to_truncate_does_not():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.model_max_length = 5

    _, found = run(item(text="x" * 20), tokenizer)

    assert found["user"] == "x" * 20


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3-vision"])
def test_every_item_is_tried_against_the_models_positions_before_a_run(family):
    subject = Subject(model=tiny_model(family), tokenizer=tiny_tokenizer(), facts=None)

    with pytest.raises(ProbeError, match="item item-7: 603 tokens, the model has 512 positions"):
        prepare_items([item(text="x" * 600)], subject)
