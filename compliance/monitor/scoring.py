"""From what was kept of a sequence to the scores that the lock would give it.

Tokens are read as in an audit (PROTOCOL section 4): content alone, without attention sinks, pooled
over the probe's region, the largest of several features. Whose words a token is, follows from the
declared input: it is written with the model's chat template and compared with the tokens that the
model was run on. What follows it is the model's reply.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from compliance.errors import ProbeError
from compliance.monitor.locked import Locked, LockedConcept
from compliance.probes.fired import pool
from compliance.probes.reading import by_sae
from compliance.probes.tokens import Chat, Rendered, chat_of, encode, render, special_ids
from compliance.records.monitoring import ProbeScore, Turn
from compliance.records.suite import Item, Message, check_language

CONTENT = ("user", "assistant")

Said = Item | str | Sequence[Mapping[str, Any] | Message]
"""An input: an item, a text, or the turns of a conversation as chat templates take them."""


@dataclass(frozen=True)
class Asked:
    """What is known of a sequence before the model runs on it."""

    language: str | None = None
    """BCP 47, spelt as in the pack; a cut-off holds for one language."""

    item: Said | None = None
    """What the model is asked, without the reply. Absent: whose words are whose is not known."""


@dataclass(frozen=True)
class Row:
    """What was kept of one sequence: its real tokens alone."""

    ids: list[int]
    latents: Mapping[int, Tensor]
    """By SAE: its watched latents, ``[tokens, watched]``."""

    norms: Mapping[str, Tensor]
    """By hook: the norm of the activation, ``[tokens]``."""

    prompt: int
    """Tokens before those that came one by one."""


class Words:
    """Tells whose words the tokens of a sequence are. Not safe for several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> None:
        """Of a copy, since a tokenizer that two threads use at once may refuse one of them.

        Args:
            tokenizer: The serving one.
            ends: Tokens after which a reply has ended.

        Raises:
            ProbeError: It is not a fast one.
        """
        self.tokenizer = copy.deepcopy(tokenizer)
        self.chat: Chat = chat_of(self.tokenizer)
        self.special = special_ids(self.tokenizer)
        self.ends = ends
        self._tail = _generation_prompt(self.tokenizer, self.chat)

    def roles(self, said: Said, ids: Sequence[int]) -> tuple[list[str | None], int] | None:
        """Whose content each token is, None outside of contents; and where the reply begins.

        Returns:
            None where the tokens do not begin with the input as the chat template writes it.

        Raises:
            ProbeError: The chat template refuses the input.
        """
        rendered = render(as_item(said), self.tokenizer, self.chat)
        # With the beginning of the reply, which a server asks for, and without.
        for text in dict.fromkeys((rendered.text + self._tail, rendered.text)):
            own, roles, _ = encode(Rendered(text, rendered.spans, rendered.templated),
                                   self.tokenizer)  # fmt: skip
            if tuple(ids[: len(own)]) == own:
                reply = ids[len(own) :]
                answered = [None if token in self.special else "assistant" for token in reply]
                return [*roles, *answered], len(own)
        return None

    def reply(self, ids: Sequence[int]) -> str:
        """The words of a reply."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def as_item(said: Said) -> Item:
    """An input as an item. Nothing of it is checked: it is whatever was asked.

    Raises:
        ProbeError: It is no text.
    """
    if isinstance(said, Item):
        return said
    turns = None if isinstance(said, str) else tuple(map(_message, said))
    text = said if isinstance(said, str) else None
    return Item.model_construct(id="request", text=text, messages=turns, image=None)


def turns_of(said: Said) -> tuple[Turn, ...]:
    """The words of an input.

    Raises:
        ProbeError: It is no text.
    """
    item = as_item(said)
    if item.messages is None:
        return (Turn(role="user", content=item.text or ""),)
    return tuple(Turn(role=m.role, content=m.content) for m in item.messages)


def _message(turn: Mapping[str, Any] | Message) -> Message:
    if isinstance(turn, Message):
        return turn
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise ProbeError("a turn of the declared input is no text")
    return Message.model_construct(role=role, content=content)


def _generation_prompt(tokenizer: PreTrainedTokenizerBase, chat: Chat) -> str:
    """What a chat template writes before a reply; nothing where it cannot be told."""
    if chat.template is None:
        return ""
    turns = [{"role": "user", "content": "a"}]
    written = {"chat_template": chat.template, "tokenize": False}
    try:
        plain = tokenizer.apply_chat_template(turns, **written)
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, **written)
    except Exception:  # a template is a program, and raises what it likes
        return ""
    return asked[len(plain) :] if asked.startswith(plain) else ""


def cut(row: Row, begins: int, ends: frozenset[int]) -> Row:
    """Without what a batch adds to a sequence that has ended before others."""
    place = next((i for i in range(begins, len(row.ids)) if row.ids[i] in ends), None)
    if place is None:
        return row
    most = place + 1
    return replace(
        row,
        ids=row.ids[:most],
        latents={sae: values[:most] for sae, values in row.latents.items()},
        norms={hook: values[:most] for hook, values in row.norms.items()},
    )


class Scores:
    """Scores sequences by what a pack locked."""

    def __init__(self, locked: Locked) -> None:
        self._locked = locked
        self._watched = watched(locked)

    def of(
        self, row: Row, roles: Sequence[str | None] | None, language: str | None, unknown: str
    ) -> tuple[ProbeScore, ...]:
        """Scores of a sequence, one for each locked probe.

        Args:
            row: The sequence.
            roles: Whose content each token is; None: not known, and all of them are read.
            language: As declared.
            unknown: Why ``roles`` are not known.

        Raises:
            ProbeError: A latent or a norm is not finite.
        """
        every = roles is None
        content = [i for i in range(len(row.ids)) if every or roles[i] in CONTENT]
        kept = {hook: self._sound(content, norms) for hook, norms in row.norms.items()}
        found = []
        for probe in self._locked.probes:
            region = "all" if every else probe.region
            places = content if every else _places(content, roles, probe.region)
            score = self._combined(row, probe, places, kept)
            found.append(_scored(probe, region, score, language, unknown if every else None))
        return tuple(found)

    def _sound(self, content: list[int], norms: Tensor) -> frozenset[int]:
        """Tokens that are no attention sinks, by the sequence's own median norm."""
        if not content:
            return frozenset()
        values = norms[content]
        if not bool(torch.isfinite(values).all()):
            raise ProbeError("an activation is not finite")
        keep = values <= self._locked.sink_norm_ratio * values.median()
        return frozenset(t for t, one in zip(content, keep.tolist(), strict=True) if one)

    def _combined(
        self, row: Row, probe: LockedConcept, places: list[int], kept: Mapping[str, frozenset[int]]
    ) -> float | None:
        found = []
        for sae, latents in by_sae(probe.features).items():
            sound = kept[self._locked.saes[sae].hook_name]
            rows = [t for t in places if t in sound]
            if not rows:
                return None
            columns = [self._watched[sae].index(latent) for latent in latents]
            values = row.latents[sae][rows][:, columns]
            if not bool(torch.isfinite(values).all()):
                raise ProbeError("a latent is not finite")
            found.append(float(pool(values, probe.pooling).max()))
        return max(found)


def watched(locked: Locked) -> dict[int, list[int]]:
    """Latents of each SAE that a locked probe reads, in order."""
    found: dict[int, set[int]] = {}
    for probe in locked.probes:
        for feature in probe.features:
            found.setdefault(feature.sae, set()).add(feature.latent)
    return {sae: sorted(latents) for sae, latents in sorted(found.items())}


def spelt(language: str | None) -> str | None:
    """A language as it was declared; None where it is no tag in its usual spelling."""
    try:
        return None if language is None else check_language(language)
    except (ValueError, AttributeError, TypeError):
        return None


def _places(content: list[int], roles: Sequence[str | None], region: str) -> list[int]:
    if region == "last":
        return content[-1:]
    return [i for i in content if roles[i] == region]


def _scored(
    probe: LockedConcept, region: str, score: float | None, language: str | None,
    unknown: str | None,
) -> ProbeScore:  # fmt: skip
    facts: dict[str, Any] = {
        "concept": probe.concept, "region": region, "pooling": probe.pooling, "score": score,
    }  # fmt: skip
    cut_off = probe.cut_offs.get(language or "")
    if score is None:
        return ProbeScore(**facts, reason=f"no token of the region {region!r} was read")
    if unknown is not None:
        return ProbeScore(**facts, reason=unknown)
    if language is None:
        return ProbeScore(**facts, reason="no language was declared")
    if cut_off is None:
        return ProbeScore(**facts, reason=f"the pack has no cell of the language {language}")
    if cut_off.value is None:
        return ProbeScore(**facts, reason=f"the pack has no cut-off: {cut_off.reason}")
    return ProbeScore(**facts, cut_off=cut_off.value, alert=score > cut_off.value)
