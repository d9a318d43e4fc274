"""From an item to token ids and to the regions that probes read (PROTOCOL section 4).

    prepared = prepare(item, subject.tokenizer, limit=512)
    prepared.regions["user"]        # positions in prepared.ids

A region holds content only: BOS, EOS, PAD and everything the chat template adds lie outside, and
so does a special token that a content spells out; words around it stay their author's.
Regions are found by rendering the template twice, once with markers in place of the contents, and
comparing; a template that rewrites contents is refused, since regions would be guesses. One that
strips them is followed. Items with a picture are prepared in ``inputs.py``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
from transformers import PreTrainedTokenizerBase

from compliance.errors import ProbeError
from compliance.records.suite import Item

if TYPE_CHECKING:
    import PIL.Image

TEMPLATE_SECONDS = 5.0
"""How long a chat template may take for one item; they take milliseconds."""

_MARK = "\ue000{}\ue001"
_BETWEEN = "\n\n"
_DAY = "{%- macro strftime_now(format) -%}01 Jan 2026{%- endmacro -%}"
"""Put before a template that asks for today, so that an item has the same tokens every day."""


@dataclass(frozen=True)
class Shown:
    """An item's picture, and how the model takes it; pixels are made anew whenever it is run."""

    picture: Callable[[], PIL.Image.Image]
    text: str | None
    """What the processor is given beside the picture; None for a vision encoder."""

    adds_special_tokens: bool
    """Whether the tokenizer adds BOS and EOS to that text, which a chat template does itself."""

    rows: int
    """How many of the vision tower's rows are the item's: pictures or tiles, or single patches in
    a tower that takes the patches of all pictures end to end."""

    grid: tuple[int, int]
    """Rows and columns of the region ``image``, read line by line; (0, 0) where it is no grid."""

    patches: tuple[int, int]
    """The same of the vision tower's own patches."""


@dataclass(frozen=True)
class Prepared:
    """One item as the model sees it."""

    item: Item
    ids: tuple[int, ...]
    """Empty for a vision encoder."""

    regions: dict[str, tuple[int, ...]]
    """Positions by region: ``user``, ``assistant``, ``last``, ``read`` (all content in words) and
    ``image``."""

    shown: Shown | None = None
    """Absent where the item has no picture."""

    places: np.ndarray = field(
        default_factory=lambda: np.empty((0, 2), dtype=np.int32), compare=False
    )
    """First character of each token of ``read`` and the one after its last, in the contents of the
    item's turns one after the other: int32 ``[tokens, 2]``. Tokens that share a character overlap.
    Without rows where the item has a picture."""

    @property
    def length(self) -> int:
        """Tokens in all, as the model sees it; patches in a vision encoder."""
        return len(self.ids) or len(self.regions["image"])


@dataclass(frozen=True)
class Chat:
    """How a model's input is written."""

    template: str | None
    """None where contents follow each other without one."""

    placeholder: str | None = None
    """What stands for a picture in a text; None where the model takes none."""

    image_token: int | None = None
    """What stands for a part of a picture in the ids."""

    lists: bool = False
    """Whether the template takes contents as lists of parts, as those with pictures mostly do."""


def chat_of(tokenizer: PreTrainedTokenizerBase) -> Chat:
    """How a language model's input is written.

    Raises:
        ProbeError: The tokenizer is not a fast one.
    """
    check_fast(tokenizer)
    return Chat(tokenizer.get_chat_template() if tokenizer.chat_template is not None else None)


def prepare(
    item: Item, tokenizer: PreTrainedTokenizerBase, *, limit: int | None, chat: Chat | None = None
) -> Prepared:
    """Tokenise an item without a picture and find its regions.

    Args:
        item: A text item.
        tokenizer: A fast one.
        limit: Positions the model has; None where it has no limit.
        chat: How the model's input is written; absent: as its tokenizer says.

    Raises:
        ProbeError: The item is longer than the model's positions, has no content left, or the
            chat template refuses or rewrites it; or the tokenizer is not a fast one.
    """
    chat = chat or chat_of(tokenizer)
    rendered = render(item, tokenizer, chat)
    ids, roles, places = encode(rendered, tokenizer)
    check_length(item, len(ids), limit)
    if chat.image_token in ids:
        raise ProbeError(
            f"item {item.id}: its words hold the token that stands for a picture, and it has none",
            hint="leave it out; it would be taken for a part of another item's picture",
        )
    regions = regions_of(roles)
    if not regions["read"]:
        raise ProbeError(f"item {item.id}: no token of its content is left to read")
    return Prepared(item, ids, regions, places=places[list(regions["read"])])


class Span(NamedTuple):
    """One content in the text that the model is given."""

    first: int
    last: int
    role: str
    origin: int
    """Where its first character stands in the contents of the item's turns, one after the other."""


@dataclass(frozen=True)
class Rendered:
    """An item as text."""

    text: str
    spans: tuple[Span, ...]
    """Where contents stand in it, and whose words these are."""

    templated: bool


@dataclass(frozen=True)
class _Turn:
    role: str
    words: str
    shows: bool
    """Whether the item's picture stands in it, after the words."""


def render(
    item: Item, tokenizer: PreTrainedTokenizerBase, chat: Chat, *, to_answer: bool = False
) -> Rendered:
    """The item's text as the tokenizer is given it, and whose words stand where.

    Args:
        item: What is written.
        tokenizer: Of the model.
        chat: How the model's input is written.
        to_answer: Whether what the model is to write next is the assistant's reply.

    Raises:
        ProbeError: The chat template refuses or rewrites it, or does not hold its picture once.
    """
    turns = _turns(item)
    if chat.template is None:
        text, spans = _plain(turns, chat)
        text += _BETWEEN if to_answer else ""
    else:
        text, spans = _templated(item, turns, tokenizer, chat, to_answer=to_answer)
    expected = int(item.image is not None)
    if chat.placeholder is not None and (found := text.count(chat.placeholder)) != expected:
        raise ProbeError(
            f"item {item.id}: {chat.placeholder}, which stands for a picture, is there "
            f"{found} times, expected {expected}",
            hint="it stands in the item's words, or the chat template has no place for a picture",
        )
    return Rendered(text, tuple(spans), chat.template is not None)


def encode(
    rendered: Rendered, tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[int, ...], list[str | None], np.ndarray]:
    """Token ids, whose content each token is, and where it stands there.

    Returns:
        Ids; roles, None outside the contents; and int32 ``[tokens, 2]``: the first character of
        each token of a content and the one after its last, as in ``Prepared.places``.
    """
    encoded = _encoded(rendered, tokenizer)
    special, ids = special_ids(tokenizer), tuple(encoded["input_ids"])
    places = np.array(encoded["offset_mapping"], dtype=np.int32).reshape(-1, 2)
    start, end = places.T.copy()
    free = np.array([token not in special for token in ids], dtype=bool)
    roles: list[str | None] = [None] * len(ids)
    for span in rendered.spans:
        inside = free & _is_inside(start, end, span)
        places[inside] += span.origin - span.first
        for i in np.flatnonzero(inside).tolist():
            roles[i] = span.role
    return ids, roles, places


def around(
    rendered: Rendered, tokenizer: PreTrainedTokenizerBase, placeholder: str
) -> tuple[int, int]:
    """How many tokens stand before the placeholder of a picture, and how many after it."""
    first = rendered.text.index(placeholder)
    last = first + len(placeholder)
    places = _encoded(rendered, tokenizer)["offset_mapping"]
    before = next(i for i, (_, end) in enumerate(places) if end > first)
    after = next(i for i, (start, end) in enumerate(reversed(places)) if start < last and end)
    return before, after


def regions_of(roles: Sequence[str | None]) -> dict[str, tuple[int, ...]]:
    """Positions by region, of an item without a picture."""
    regions = {
        "user": tuple(i for i, role in enumerate(roles) if role == "user"),
        "assistant": tuple(i for i, role in enumerate(roles) if role == "assistant"),
        "read": tuple(i for i, role in enumerate(roles) if role in ("user", "assistant")),
        "image": (),
    }
    return regions | {"last": regions["read"][-1:]}


def check_length(item: Item, length: int, limit: int | None) -> None:
    """Refuse an item that is longer than the model's positions.

    Raises:
        ProbeError: It is.
    """
    if limit is not None and length > limit:
        raise ProbeError(
            f"item {item.id}: {length} tokens, the model has {limit} positions",
            hint="shorten the item; truncation would test another text",
        )


def check_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that does not say where its tokens stand.

    Raises:
        ProbeError: It does not.
    """
    if not tokenizer.is_fast:
        raise ProbeError(
            f"{type(tokenizer).__name__}: does not say which characters a token covers",
            hint="save the model with a fast tokenizer, which has a tokenizer.json",
        )


def _encoded(rendered: Rendered, tokenizer: PreTrainedTokenizerBase) -> Any:
    return tokenizer(
        rendered.text,
        return_offsets_mapping=True,
        add_special_tokens=not rendered.templated,
        truncation=False,
    )


def _turns(item: Item) -> list[_Turn]:
    if item.messages is None:
        return [_Turn("user", item.text or "", item.image is not None)]
    shown = next((i for i, m in enumerate(item.messages) if m.role == "user" and item.image), None)
    return [_Turn(m.role, m.content, i == shown) for i, m in enumerate(item.messages)]


@lru_cache(maxsize=1)  # a Gemma has six thousand added tokens
def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Control tokens, named or not; an unknown word is content, unless its token ends texts too."""
    added = tokenizer.added_tokens_decoder.items()
    found = {*tokenizer.all_special_ids, *(index for index, token in added if token.special)}
    if tokenizer.unk_token not in (
        tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token,
    ):  # fmt: skip
        found.discard(tokenizer.unk_token_id)
    return frozenset(found)


def _plain(turns: Sequence[_Turn], chat: Chat) -> tuple[str, list[Span]]:
    """Contents one after the other, for a model without a chat template."""
    text, spans, origin = "", [], 0
    for turn in turns:
        text += _BETWEEN if text else ""
        spans.append(Span(len(text), len(text) + len(turn.words), turn.role, origin))
        origin += len(turn.words)
        text += turn.words + (chat.placeholder or "" if turn.shows else "")
    return text, spans


def _templated(
    item: Item,
    turns: Sequence[_Turn],
    tokenizer: PreTrainedTokenizerBase,
    chat: Chat,
    *,
    to_answer: bool,
) -> tuple[str, list[Span]]:
    template = chat.template or ""
    if "strftime_now" in template:
        template = _DAY + template

    def write(words: Sequence[str]) -> str:
        said = [
            {"role": turn.role, "content": _content(turn, one, chat)}
            for turn, one in zip(turns, words, strict=True)
        ]
        try:
            return apply_template(said, tokenizer, template, to_answer=to_answer)
        except Exception as error:  # a template is a program, and raises what it likes
            raise ProbeError(
                f"item {item.id}: the model's chat template refuses it: {error}",
                hint="such as a system message, or two turns of one role in a row",
            ) from error

    frame = write([_MARK.format(i) if turn.words else "" for i, turn in enumerate(turns)])
    words = [turn.words for turn in turns]
    rendered = write(words)
    for candidate in (words, [one.strip() for one in words]):
        text, spans = _filled(frame, turns, candidate)
        if text == rendered:
            return text, spans
    raise ProbeError(
        f"item {item.id}: the model's chat template rewrites its content",
        hint="regions cannot be found in rewritten text; use another template or item",
    )


def apply_template(
    turns: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    to_answer: bool = False,
) -> str:
    """Write turns as a chat template says, which is a stranger's program in Jinja's sandbox.

    With ``to_answer`` the head of the assistant's turn follows.

    Raises:
        TimeoutError: It does not come to an end in time. Only the main thread can be stopped.
        Exception: Whatever the template raises.
    """
    with _in_time(TEMPLATE_SECONDS):
        return tokenizer.apply_chat_template(
            list(turns), chat_template=template, tokenize=False, add_generation_prompt=to_answer
        )


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _content(turn: _Turn, words: str, chat: Chat) -> str | list[dict[str, str]]:
    if not chat.lists:
        return words + (chat.placeholder or "" if turn.shows else "")
    parts = [{"type": "text", "text": words}] if words else []
    return parts + ([{"type": "image"}] if turn.shows else [])


def _filled(frame: str, turns: Sequence[_Turn], contents: Sequence[str]) -> tuple[str, list[Span]]:
    """The frame with contents in place of the markers, which stand there in the turns' order."""
    text, spans, origin = "", [], 0
    for index, (turn, content) in enumerate(zip(turns, contents, strict=True)):
        if not turn.words:
            continue
        before, _, frame = frame.partition(_MARK.format(index))
        text += before
        place = origin + turn.words.index(content)  # the template may have stripped blanks
        spans.append(Span(len(text), len(text) + len(content), turn.role, place))
        origin += len(turn.words)
        text += content
    return text + frame, spans


def _is_inside(start: np.ndarray, end: np.ndarray, span: Span) -> np.ndarray:
    """Which tokens lie in a content, bool ``[tokens]``.

    One that reaches over the edge belongs to the template. Some tokenizers trim blanks off a
    token's place, so that a token of blanks alone has its end as its start.
    """
    return (span.first <= start) & (span.first < end) & (end <= span.last)
