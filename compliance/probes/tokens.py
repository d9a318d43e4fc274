"""From an item to token ids and to the regions that probes read (PROTOCOL section 4).

    prepared = prepare(item, subject.tokenizer)
    prepared.regions["user"]        # positions in prepared.ids

A region holds content only: BOS, EOS, PAD and everything the chat template adds lie outside.
Regions are found by rendering the template twice, once with markers in place of the contents, and
comparing; a template that rewrites contents is refused, since regions would be guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from compliance.errors import ProbeError
from compliance.records.suite import Item, Message

_MARK = "\ue000{}\ue001"
_BETWEEN = "\n\n"


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
            chat template refuses or rewrites it.
    """
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
    special = set(tokenizer.all_special_ids)
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
    def render(contents: Sequence[str]) -> str:
        turns = [{"role": m.role, "content": c} for m, c in zip(messages, contents, strict=True)]
        try:
            return tokenizer.apply_chat_template(turns, tokenize=False)
        except TemplateError as error:
            raise ProbeError(
                f"item {item.id}: the model's chat template refuses it: {error}",
                hint="such as a system message, or two turns of one role in a row",
            ) from error

    marks = [_MARK.format(i) for i in range(len(messages))]
    frame = render(marks)
    text, spans = "", []
    for mark, message in zip(marks, messages, strict=True):
        before, found, frame = frame.partition(mark)
        content = message.content
        text += before
        spans.append((len(text), len(text) + len(content), message.role))
        text += content
        if not found:
            break
    text += frame
    if text not in (
        render([m.content for m in messages]),
        render([c.content.strip() for c in messages]),
    ):
        raise ProbeError(
            f"item {item.id}: the model's chat template rewrites its content",
            hint="regions cannot be found in rewritten text; use another template or item",
        )
    return text, spans


def _role(start: int, end: int, spans: Sequence[Span]) -> str | None:
    """Whose content a token lies in; one that reaches over the edge belongs to the template."""
    for first, last, role in spans:
        if first <= start and end <= last and start < end:
            return role
    return None
