"""From an item to token ids and to the regions that probes read (PROTOCOL section 4).

    prepared = prepare(item, subject.tokenizer, limit=512)
    prepared.regions["user"]        # positions in prepared.ids

A region holds content only: BOS, EOS, PAD and everything the chat template adds lie outside, and
so does a special token that a content spells out; words around it stay their author's.
Regions are found by rendering the template twice, once with markers in place of the contents, and
comparing; a template that rewrites contents is refused, since regions would be guesses. One that
strips them is followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from compliance.errors import ProbeError
from compliance.records.suite import Item, Message

_MARK = "\ue000{}\ue001"
_BETWEEN = "\n\n"
_DAY = "{%- macro strftime_now(format) -%}01 Jan 2026{%- endmacro -%}"
"""Put before a template that asks for today, so that an item has the same tokens every day."""


@dataclass(frozen=True)
class Prepared:
    """One item as the model sees it."""

    item: Item
    ids: tuple[int, ...]
    regions: dict[str, tuple[int, ...]]
    """Positions by region: ``user``, ``assistant``, ``last`` and ``read`` (all content)."""


def prepare(item: Item, tokenizer: PreTrainedTokenizerBase, *, limit: int | None) -> Prepared:
    """Tokenise an item and find its regions.

    Args:
        item: A text item.
        tokenizer: A fast one; with a chat template, items are rendered through it.
        limit: Positions the model has; None where it has no limit.

    Raises:
        ProbeError: The item is longer than the model's positions, has no content left, or the
            chat template refuses or rewrites it; or the tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise ProbeError(
            f"{type(tokenizer).__name__}: does not say which characters a token covers",
            hint="save the model with a fast tokenizer, which has a tokenizer.json",
        )
    messages = item.messages or (Message(role="user", content=item.text or ""),)
    templated = tokenizer.chat_template is not None
    text, spans = _render(item, messages, tokenizer) if templated else _plain(messages)
    encoded = tokenizer(
        text, return_offsets_mapping=True, add_special_tokens=not templated, truncation=False
    )
    ids = tuple(encoded["input_ids"])
    if limit is not None and len(ids) > limit:
        raise ProbeError(
            f"item {item.id}: {len(ids)} tokens, the model has {limit} positions",
            hint="shorten the item; truncation would test another text",
        )
    special = _special_ids(tokenizer)
    roles = [
        None if token in special else _role(start, end, spans)
        for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    regions = {
        "user": tuple(i for i, role in enumerate(roles) if role == "user"),
        "assistant": tuple(i for i, role in enumerate(roles) if role == "assistant"),
        "read": tuple(i for i, role in enumerate(roles) if role in ("user", "assistant")),
    }
    if not regions["read"]:
        raise ProbeError(f"item {item.id}: no token of its content is left to read")
    regions["last"] = regions["read"][-1:]
    return Prepared(item, ids, regions)


Span = tuple[int, int, str]


@lru_cache(maxsize=1)  # a Gemma has six thousand added tokens
def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Control tokens, named or not; an unknown word is content, unless its token ends texts too."""
    added = tokenizer.added_tokens_decoder.items()
    found = {*tokenizer.all_special_ids, *(index for index, token in added if token.special)}
    if tokenizer.unk_token not in (
        tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token,
    ):  # fmt: skip
        found.discard(tokenizer.unk_token_id)
    return frozenset(found)


def _plain(messages: Sequence[Message]) -> tuple[str, list[Span]]:
    """Contents one after the other, for a model without a chat template."""
    text, spans = "", []
    for message in messages:
        text += _BETWEEN if text else ""
        spans.append((len(text), len(text) + len(message.content), message.role))
        text += message.content
    return text, spans


def _render(
    item: Item, messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase
) -> tuple[str, list[Span]]:
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = _DAY + template

    def render(contents: Sequence[str]) -> str:
        turns = [{"role": m.role, "content": c} for m, c in zip(messages, contents, strict=True)]
        try:
            return tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
        except TemplateError as error:
            raise ProbeError(
                f"item {item.id}: the model's chat template refuses it: {error}",
                hint="such as a system message, or two turns of one role in a row",
            ) from error

    frame = render([_MARK.format(i) for i in range(len(messages))])
    contents = [message.content for message in messages]
    rendered = render(contents)
    for candidate in (contents, [content.strip() for content in contents]):
        text, spans = _filled(frame, messages, candidate)
        if text == rendered:
            return text, spans
    raise ProbeError(
        f"item {item.id}: the model's chat template rewrites its content",
        hint="regions cannot be found in rewritten text; use another template or item",
    )


def _filled(
    frame: str, messages: Sequence[Message], contents: Sequence[str]
) -> tuple[str, list[Span]]:
    """The frame with contents in place of the markers, which stand there in the turns' order."""
    text, spans = "", []
    for index, (message, content) in enumerate(zip(messages, contents, strict=True)):
        before, _, frame = frame.partition(_MARK.format(index))
        text += before
        spans.append((len(text), len(text) + len(content), message.role))
        text += content
    return text + frame, spans


def _role(start: int, end: int, spans: Sequence[Span]) -> str | None:
    """Whose content a token lies in; one that reaches over the edge belongs to the template.

    Some tokenizers trim blanks off a token's place, so that a token of blanks alone has its end
    as its start.
    """
    for first, last, role in spans:
        if first <= start and first < end <= last:
            return role
    return None
