"""What a model writes when it is asked, with or without a change inside it.

    prompt = asked(item, preparer, room=48)
    replies = generate(Arm(reader, change), [prompt], max_new_tokens=48)

Generation is greedy: of equally likely tokens the first. Prompts of a batch have the same number of
tokens, so that nothing is padded, and a reply does not depend on where others stand or end. What is
left is rounding: products of another shape may give other last digits. So batches follow from the
plan and the prompts alone, and on one machine the same run gives the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch

from compliance.errors import ProbeError
from compliance.probes.batch import states_of
from compliance.probes.inputs import Preparer, position_limit
from compliance.probes.interventions import Change, changed, place_of
from compliance.probes.reading import Reading
from compliance.probes.subject import Subject
from compliance.probes.task import Reader
from compliance.probes.tokens import Prepared, check_length, encode, regions_of, render
from compliance.records.suite import Item

MOST_ROWS = 32
"""Prompts of one batch at most."""


@dataclass(frozen=True, eq=False)
class Arm:
    """A model that is asked: the reader's subject, as it is or changed."""

    reader: Reader
    change: Change | None = None


@dataclass(frozen=True)
class Reply:
    """What a model wrote."""

    ids: tuple[int, ...]
    """Without the token that ended it."""

    text: str


def without_reply(item: Item) -> Item:
    """An item's turns without its last assistant turn."""
    if item.messages is None or item.messages[-1].role != "assistant":
        return item
    return item.model_copy(update={"messages": item.messages[:-1]})


def asked(item: Item, preparer: Preparer, *, room: int) -> Prepared:
    """An item as a model is asked it, up to the head of the assistant's turn.

    Args:
        item: In words.
        preparer: Of the subject.
        room: Tokens that the reply may take.

    Raises:
        ProbeError: Nothing is left to ask, the item and the reply are longer than the model's
            positions, it has a picture, or the chat template refuses or rewrites it.
    """
    subject, chat, question = preparer.subject, preparer.chat, without_reply(item)
    if chat is None or item.image is not None:
        raise ProbeError(f"item {item.id}: only words are asked, of a model that writes words")
    if question.messages == ():
        raise ProbeError(f"item {item.id}: is a reply alone, and nothing is asked")
    rendered = render(question, subject.tokenizer, chat, to_answer=True)
    ids, roles, _ = encode(rendered, subject.tokenizer)
    check_length(item, len(ids) + room, position_limit(subject))
    regions = regions_of(roles)
    if not regions["read"]:
        raise ProbeError(f"item {item.id}: no token of its content is left to read")
    return Prepared(question, ids, regions)


def changed_places(prepared: Prepared, arm: Arm, sink_norm_ratio: float) -> tuple[int, ...]:
    """Positions of the input at which an arm changes: all content that is read (PROTOCOL 4)."""
    if arm.change is None:
        return ()
    hook = arm.reader.saes[arm.change.sae].facts.hook_name
    states = states_of([prepared], arm.reader)[0]
    return tuple(Reading(prepared, states, arm.reader, sink_norm_ratio).places(hook, "read"))


def batches(
    prompts: Sequence[Prepared], *, max_new_tokens: int, batch_tokens: int
) -> list[list[int]]:
    """Places of prompts that are run together: of the same length, in the order of their ids.

    Args:
        prompts: All of a study.
        max_new_tokens: Of each reply.
        batch_tokens: Tokens of one batch at most, those of replies included.
    """
    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt.ids), []).append(place)
    found = []
    for length, places in sorted(by_length.items()):
        rows = max(1, min(MOST_ROWS, batch_tokens // (length + max_new_tokens)))
        ordered = sorted(places, key=lambda place: prompts[place].item.id)
        found += [ordered[first : first + rows] for first in range(0, len(ordered), rows)]
    return found


@torch.inference_mode()
def generate(
    arm: Arm,
    prompts: Sequence[Prepared],
    *,
    max_new_tokens: int,
    places: Sequence[Sequence[int]] | None = None,
) -> list[Reply]:
    """What the model writes to prompts of the same length, token by token, the likeliest each time.

    Args:
        arm: Which model.
        prompts: At least one.
        max_new_tokens: Tokens at most; a reply ends before at the model's own end of turn.
        places: Positions of each prompt that are changed; all tokens that are written are changed,
            too. Absent where the arm changes nothing.

    Raises:
        ProbeError: The prompts differ in length.
    """
    if len({len(prompt.ids) for prompt in prompts}) != 1:
        raise ProbeError("prompts of one batch must have the same number of tokens")
    subject = arm.reader.subject
    model, ends = subject.model, end_tokens(subject)
    given = torch.tensor([prompt.ids for prompt in prompts], device=model.device)
    written: list[list[int]] = [[] for _ in prompts]
    going = set(range(len(prompts)))
    cache = None
    with _change(arm, len(prompts), places):
        for _ in range(max_new_tokens):
            found = model(input_ids=given, past_key_values=cache, use_cache=True)
            cache = found.past_key_values
            following = found.logits[:, -1].float().argmax(dim=-1)
            for row, token in enumerate(following.tolist()):
                if row in going and token in ends:
                    going.remove(row)
                elif row in going:
                    written[row].append(token)
            if not going:
                break
            given = following[:, None]
    return [Reply(tuple(ids), _text(ids, subject)) for ids in written]


def end_tokens(subject: Subject) -> frozenset[int]:
    """Tokens that end a reply: what model and tokenizer say."""
    model, tokenizer = subject.model, subject.tokenizer
    given = [
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config.get_text_config(), "eos_token_id", None),
        tokenizer.eos_token_id if tokenizer is not None else None,
    ]
    found: set[int] = set()
    for one in given:
        found |= set(one) if isinstance(one, list | tuple) else {one} if one is not None else set()
    return frozenset(found)


def second_arm(reader: Reader, second: Subject) -> Arm:
    """Another model in the place of the reader's subject.

    Raises:
        ProbeError: It has another vocabulary, so that its losses could not be compared.
    """
    ours, theirs = reader.subject, second
    if ours.tokenizer is None or theirs.tokenizer is None:
        raise ProbeError("a vision encoder writes no replies")
    if ours.tokenizer.get_vocab() != theirs.tokenizer.get_vocab():
        raise ProbeError(
            f"{theirs.facts.name}: its vocabulary is not that of {ours.facts.name}",
            hint="compare with a fine-tune of the same model, which keeps its tokenizer",
        )
    return Arm(replace(reader, subject=second, saes=(), random=()))


def _change(
    arm: Arm, rows: int, places: Sequence[Sequence[int]] | None
) -> AbstractContextManager[None]:
    if arm.change is None:
        return nullcontext()
    if places is None or len(places) != rows:
        raise ProbeError(f"{place_of(arm.change, arm.reader)}: where it is changed is not given")
    return changed(arm.reader, [arm.change] * rows, places, later=True, runs=None)


def _text(ids: Sequence[int], subject: Subject) -> str:
    tokenizer = subject.tokenizer
    return "" if tokenizer is None else tokenizer.decode(list(ids), skip_special_tokens=True)
