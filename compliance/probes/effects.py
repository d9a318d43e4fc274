"""What a change inside the model does to its output (PROTOCOL section 9).

    runner = Runner(reader, plan)
    replies = runner.replies(preparer, item)         # the item with either of its replies
    rows = effects(runner, replies, arms)            # arm, odds, divergence, tokens

Arms of one input are the rows of a batch, so that the blocks before the changed place, and the
tokens that both replies follow, are run once for all of them. How many rows a batch has follows
from the plan and the input alone. A model that cannot be run so is run on whole inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.batch import states_of
from compliance.probes.hooks import capture
from compliance.probes.inputs import Preparer, model_inputs, own_states
from compliance.probes.interventions import Change, changed
from compliance.probes.reading import Reading
from compliance.probes.scoring import probe_score
from compliance.probes.task import Reader, Task
from compliance.probes.tokens import Prepared
from compliance.records.plan import Plan, PlannedProbe
from compliance.records.suite import Item, Message

LOGITS_AT_ONCE = 2**27
"""Numbers in the logits of one batch at most."""

TRIED = 24
"""Tokens on which it is tried whether blocks and tokens can be shared."""

_SAME = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference of logits between the two ways, by the largest logit."""

_SAME_SHORT = 5e-2

Arms = Mapping[str, Change]
Place = tuple[int, ...]


def with_reply(item: Item, reply: str) -> Item:
    """The item with a reply in the place of its last assistant turn, or after the user's."""
    turns = item.messages or (Message.model_construct(role="user", content=item.text or ""),)
    if turns[-1].role == "assistant":
        turns = turns[:-1]
    turns = (*turns, Message(role="assistant", content=reply))
    return item.model_copy(update={"messages": turns, "text": None, "format": "dialogue"})


def prepared_replies(preparer: Preparer, item: Item) -> tuple[list[Prepared], int]:
    """An item with either of its replies, and the first position at which their tokens differ.

    Raises:
        ProbeError: It cannot be read, or one reply is the beginning of the other.
    """
    if item.choices is None:
        raise ValueError(f"item {item.id} has no choices")
    replies = (item.choices.concept, item.choices.other)
    both = [preparer.prepare(with_reply(item, reply)) for reply in replies]
    first = _common(both[0].ids, both[1].ids)
    if min(map(_end, both)) < first:
        raise ProbeError(
            f"item {item.id}: one of its two replies begins as the other does and ends there",
            hint="give replies of which each has a word that the other has not",
        )
    return both, first


@dataclass(frozen=True, eq=False)
class Input:
    """One input as it is run: what is predicted of it, and where it is changed."""

    prepared: Prepared
    first: int
    """The first predicted token is the one at this position or after it."""

    targets: tuple[int, ...]
    """Positions of predicted tokens, in order, each from the position before."""

    places: Mapping[int, Place]
    """Positions that are changed, by SAE."""

    @property
    def end(self) -> int:
        """Positions that are run: what follows the last prediction changes nothing."""
        return self.targets[-1]

    @cached_property
    def expected(self) -> Tensor:
        """Ids of the predicted tokens."""
        return torch.tensor([self.prepared.ids[t] for t in self.targets])


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What is kept of an input's unchanged run."""

    logits: Tensor
    """``[targets, vocabulary]``, as the model gives them."""

    probabilities: Tensor
    """float64 ``[targets, vocabulary]``."""

    negentropy: Tensor
    """Sum of p log p, ``[targets]``."""

    likelihood: float
    """log p of the predicted tokens, summed."""


class Runner:
    """Runs inputs under changes, many at a time."""

    def __init__(self, reader: Reader, plan: Plan) -> None:
        """With a plan that has interventions."""
        if plan.interventions is None:
            raise ValueError("no interventions are planned")
        self.reader, self.plan = reader, plan
        self.region = plan.interventions.region
        self._model = reader.subject.model
        self._keeps = "logits_to_keep" in signature(self._model.forward).parameters
        self._can: dict[tuple[int, bool], bool] = {}

    def replies(self, preparer: Preparer, item: Item) -> tuple[Input, Input]:
        """An item with the reply that enacts the concept, and with the other.

        Raises:
            ProbeError: It cannot be read, or both have the same tokens.
        """
        both, first = prepared_replies(preparer, item)
        found = [
            Input(one, first, tuple(range(first, _end(one) + 1)), self._places(one, first))
            for one in both
        ]
        return found[0], found[1]

    def neutral(self, preparer: Preparer, item: Item, sae: int) -> Input | None:
        """A text whose every content token is predicted and changed; None where there is none."""
        reading = self._read(preparer.prepare(item))
        hook = self.reader.saes[sae].facts.hook_name
        targets = tuple(t for t in reading.places(hook, "read") if t > 0)
        if not targets:
            return None
        places = {
            s: tuple(reading.places(one.facts.hook_name, "read"))
            for s, one in enumerate(self.reader.saes)
        }
        return Input(reading.prepared, targets[0], targets, places)

    def read(self, preparer: Preparer, item: Item) -> Reading:
        """An item as the unchanged model sees it."""
        return self._read(preparer.prepare(item))

    def changed_places(self, reading: Reading, sae: int) -> Place:
        """Positions of an item's own tokens that are changed."""
        return tuple(reading.places(self.reader.saes[sae].facts.hook_name, self.region))

    def logits(
        self, inputs: Sequence[Input], changes: Sequence[Change | None], sae: int
    ) -> Iterator[tuple[int, list[Tensor]]]:
        """Logits at the predicted tokens of inputs that begin alike.

        Args:
            inputs: One, or two with the same `first`.
            changes: One a row.
            sae: Of every change.

        Yields:
            The first row of a batch; and for each input ``[rows, targets, vocabulary]``.
        """
        size = self._rows(inputs)
        for first in range(0, len(changes), size):
            yield first, self._run(inputs, changes[first : first + size], sae)

    @torch.inference_mode()
    def _run(
        self, inputs: Sequence[Input], rows: Sequence[Change | None], sae: int
    ) -> list[Tensor]:
        before = inputs[0].first - 1
        alike = len({_before(one.places[sae], before) for one in inputs}) == 1
        shown = inputs[0].prepared.shown is not None
        if len(inputs) > 1 and before > 0 and alike and not shown and self._shares(sae, True):
            return self._after_shared(inputs, rows, sae, before)
        return [self._whole(one, rows, sae) for one in inputs]

    def _after_shared(
        self, inputs: Sequence[Input], rows: Sequence[Change | None], sae: int, before: int
    ) -> list[Tensor]:
        """The tokens that inputs share once, and then what follows in each."""
        ids = self._ids(inputs[0].prepared.ids[:before])
        with self._changed(rows, sae, inputs[0], 0):
            cache = self._model(ids, use_cache=True, **self._kept(1)).past_key_values
        found = []
        for i, one in enumerate(inputs):
            past = deepcopy(cache) if i + 1 < len(inputs) else cache
            rest = self._ids(one.prepared.ids[before : one.end])
            with self._changed(rows, sae, one, before):
                logits = self._model(rest, past_key_values=past, use_cache=True).logits
            found.append(logits[:, [t - 1 - before for t in one.targets]])
        return found

    def _whole(self, one: Input, rows: Sequence[Change | None], sae: int) -> Tensor:
        """An input from its first token on; in rows of its own where blocks cannot be shared."""
        count = 1 if self._shares(sae, False) else len(rows)
        inputs = model_inputs([one.prepared] * count, self.reader.subject)
        del inputs["attention_mask"]  # nothing is padded
        if one.prepared.shown is None:
            inputs["input_ids"] = inputs["input_ids"][:, : one.end]
        wanted = torch.tensor(one.targets, device=self._model.device) - 1
        with self._changed(rows, sae, one, 0):
            found = self._model(**inputs, use_cache=False, **self._kept(wanted)).logits
        return found if self._keeps else found[:, wanted]

    def _changed(self, rows: Sequence[Change | None], sae: int, one: Input, start: int) -> Any:
        return changed(self.reader, rows, [one.places[sae]] * len(rows), start=start)

    def _kept(self, wanted: int | Tensor) -> dict[str, Any]:
        return {"logits_to_keep": wanted} if self._keeps else {}

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self._model.device)

    def _rows(self, inputs: Sequence[Input]) -> int:
        """Rows of a batch: so many tokens as the plan says, and no more logits than fit."""
        longest = max(len(one.prepared.ids) for one in inputs)
        predicted = sum(len(one.targets) if self._keeps else one.end for one in inputs)
        vocabulary = self._model.config.get_text_config().vocab_size
        most = min(self.plan.batch_tokens // longest, LOGITS_AT_ONCE // (predicted * vocabulary))
        return max(1, most)

    def _shares(self, sae: int, tokens: bool) -> bool:
        """Whether blocks, and tokens too, give the same when rows share them: tried once."""
        if (sae, tokens) not in self._can:
            self._can[sae, tokens] = _gives_the_same(self.reader, sae, tokens)
        return self._can[sae, tokens]

    def _read(self, prepared: Prepared) -> Reading:
        states = states_of([prepared], self.reader)[0]
        return Reading(prepared, states, self.reader, self.plan.sink_norm_ratio)

    def _places(self, prepared: Prepared, first: int) -> dict[int, Place]:
        reading = self._read(prepared)
        found = {}
        for s, sae in enumerate(self.reader.saes):
            hook = sae.facts.hook_name
            if self.region == "last":
                found[s] = tuple(t for t in reading.places(hook, "read") if t < first)[-1:]
            else:
                found[s] = tuple(reading.places(hook, self.region))
        return found


def effects(
    runner: Runner, replies: Sequence[Input], arms: Arms
) -> Iterator[tuple[str, float, float, int]]:
    """Arm, odds, divergence and tokens: EFFECT_COLUMNS; the unchanged model first.

    Args:
        runner: With the reader.
        replies: Of one item, as `Runner.replies` gives them.
        arms: All of one SAE.

    Raises:
        ProbeError: A number is not finite.
    """
    sae = _sae(arms)
    plain = _plain(runner, replies, sae)
    tokens = sum(len(one.targets) for one in replies)
    yield "none", plain[0].likelihood - plain[1].likelihood, 0.0, tokens
    for name, sums in _sums(runner, replies, plain, arms, sae):
        (ours, apart), (theirs, besides) = sums
        yield name, ours - theirs, apart + besides, tokens


def divergences(runner: Runner, one: Input, arms: Arms) -> dict[str, float]:
    """KL from the unchanged model to the model under each arm, summed over predicted tokens."""
    sae = _sae(arms)
    plain = _plain(runner, [one], sae)
    return {name: sums[0][1] for name, sums in _sums(runner, [one], plain, arms, sae)}


def side_effects(
    runner: Runner, text: Input, arms: Arms
) -> Iterator[tuple[str, int, float, float]]:
    """Arm, tokens, loss and divergence: SIDE_COLUMNS; the unchanged model first.

    Raises:
        ProbeError: A number is not finite.
    """
    sae = _sae(arms)
    [plain] = _plain(runner, [text], sae)
    yield "none", len(text.targets), -plain.likelihood, 0.0
    for name, [(likelihood, divergence)] in _sums(runner, [text], [plain], arms, sae):
        yield name, len(text.targets), -likelihood, divergence


def side_scores(
    runner: Runner, plain: Reading, probe: PlannedProbe, task: Task, arms: Arms
) -> Iterator[tuple[str, float]]:
    """Arm and score of another concept's probe on an item; the unchanged model first.

    The tokens that are read are those of the unchanged model.

    Args:
        runner: With the reader.
        plain: The item, which has the probe's region.
        probe: Of the other concept.
        task: With the locked probes.
        arms: All of one SAE.
    """
    subject = runner.reader.subject
    batch, rows = [plain.prepared] * (1 + len(arms)), [None, *arms.values()]
    places = runner.changed_places(plain, _sae(arms))
    inputs = model_inputs(batch, subject)
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    with torch.inference_mode(), changed(runner.reader, rows, [places] * len(rows)):
        states = capture(subject.model, ids, mask, runner.reader.hook_names, **inputs)
    own = {hook: own_states(values, hook, batch, subject) for hook, values in states.items()}
    for row, name in enumerate(("none", *arms)):
        here = {hook: values[row] for hook, values in own.items()}
        reading = Reading(plain.prepared, here, runner.reader, task.plan.sink_norm_ratio)
        reading.kept = plain.kept
        yield name, probe_score(reading, probe, task)


def _sae(arms: Arms) -> int:
    [sae] = {change.sae for change in arms.values()}
    return sae


def _plain(runner: Runner, inputs: Sequence[Input], sae: int) -> list[_Outcome]:
    [(_, logits)] = runner.logits(inputs, [None], sae)
    return [_outcome(one, found[0]) for one, found in zip(inputs, logits, strict=True)]


def _outcome(one: Input, logits: Tensor) -> _Outcome:
    found = logits.double().log_softmax(dim=-1)
    likelihood = found.gather(-1, one.expected.to(found.device)[:, None]).sum()
    p = found.exp()
    return _Outcome(logits, p, (p * found).sum(dim=-1), _finite(one, float(likelihood)))


def _sums(
    runner: Runner, inputs: Sequence[Input], plain: Sequence[_Outcome], arms: Arms,
    sae: int,
) -> Iterator[tuple[str, list[tuple[float, float]]]]:  # fmt: skip
    """Each arm with log p and divergence of every input, summed over its predicted tokens."""
    names = list(arms)
    for first, logits in runner.logits(inputs, list(arms.values()), sae):
        for row in range(len(logits[0])):
            sums = [
                _compared(one, before, found[row])
                for one, before, found in zip(inputs, plain, logits, strict=True)
            ]
            yield names[first + row], sums


def _compared(one: Input, plain: _Outcome, logits: Tensor) -> tuple[float, float]:
    """Log p of the predicted tokens, and KL from the unchanged model: nats, float64.

    Where a change moved nothing these are the unchanged model's own, to the last bit.
    """
    if torch.equal(logits, plain.logits):
        return plain.likelihood, 0.0
    z = logits.double()
    total = z.logsumexp(dim=-1)
    likelihood = (z.gather(-1, one.expected.to(z.device)[:, None])[:, 0] - total).sum()
    apart = (plain.negentropy - (plain.probabilities * z).sum(dim=-1) + total).sum()
    return _finite(one, float(likelihood)), max(0.0, _finite(one, float(apart)))


def _finite(one: Input, number: float) -> float:
    if number - number != 0:
        raise ProbeError(
            f"item {one.prepared.item.id}: the model gives numbers that are not finite under a "
            "change",
            hint="half precision overflows in some models; try dtype: float32, or smaller doses",
        )
    return number


def _gives_the_same(reader: Reader, sae: int, tokens: bool) -> bool:
    """Whether a model that shares blocks, or tokens too, gives what it gives without."""
    model = reader.subject.model
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(TRIED, device=model.device)[None] * 7 + 11) % vocabulary
    changes = [None, Change("clamp", sae, (0,), (1.0,))]
    places = [range(1, TRIED)] * 2
    try:
        with torch.inference_mode():
            with changed(reader, changes, places):
                plain = model(ids.expand(2, -1), use_cache=False).logits
            with changed(reader, changes, places, runs=2 if tokens else 1):
                shared = _shared(model, ids) if tokens else model(ids, use_cache=False).logits
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return False
    if shared.shape != plain.shape:
        return False
    bound = _SAME.get(plain.dtype, _SAME_SHORT) * plain.abs().max()
    return bool((plain - shared).abs().max() <= bound)


def _shared(model: Any, ids: Tensor) -> Tensor:
    half = TRIED // 2
    begun = model(ids[:, :half], use_cache=True)
    past = deepcopy(begun.past_key_values)
    return torch.cat(
        [begun.logits, model(ids[:, half:], past_key_values=past, use_cache=True).logits], dim=1
    )


def _end(prepared: Prepared) -> int:
    """The last position of its content, which is the last of the reply."""
    return prepared.regions["last"][0]


def _before(places: Place, first: int) -> Place:
    return tuple(t for t in places if t < first)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two inputs begin with alike."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
