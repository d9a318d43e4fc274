"""Greedy generation: the tokens that transformers itself gives, and changes that reach each."""

import pytest
import torch
from transformers import GenerationConfig

from compliance.errors import ProbeError
from compliance.probes.generating import (
    Arm,
    asked,
    batches,
    changed_places,
    end_tokens,
    generate,
    second_arm,
    without_reply,
)
from compliance.probes.inputs import Preparer
from compliance.probes.interventions import Change
from compliance.probes.pairs import choice_odds, text_sums
from compliance.probes.sae import load_sae
from compliance.probes.subject import load_subject
from compliance.probes.task import Reader
from compliance.records.audit import SaeRef, SubjectConfig
from compliance.records.suite import Choices, Item, Label
from tests.probes.tiny import WIDTH, save_tiny_sae, save_tiny_subject
from tests.probes.tiny_vision import save_tiny_vision

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = ("llama", "gpt2", "gemma2")
RATIO = 10.0


def subject_of(folder, family="llama", seed=0):
    save_tiny_subject(folder / "model", family, seed)
    save_tiny_sae(folder / "sae")
    config = SubjectConfig(model="./model", saes=(SaeRef(path="./sae"),))
    return load_subject(config, folder)


@pytest.fixture(scope="module", params=FAMILIES)
def reader(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    subject = subject_of(folder, request.param)
    return Reader(subject, (load_sae(SaeRef(path="./sae"), folder, dtype=torch.float32),))


@pytest.fixture(scope="module")
def preparer(reader):
    return Preparer(reader.subject)


def item(text="apple stone", *, name="a", reply=None, **more):
    turns = [{"role": "user", "content": text}]
    turns += [{"role": "assistant", "content": reply}] if reply else []
    return Item(
        id=name, group=name, label=Label.NEGATIVE, language="en", messages=turns,
        origin="authored", source="made for tests", licence="CC0-1.0", **more,
    )  # fmt: skip


def by_transformers(reader, prepared, tokens):
    """What transformers' own greedy generation gives for one prompt."""
    ids = torch.tensor([prepared.ids])
    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=tokens, pad_token_id=0,
        eos_token_id=sorted(end_tokens(reader.subject)),
    )  # fmt: skip
    found = reader.subject.model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config
    )
    return tuple(found[0, ids.shape[1] :].tolist())


def clamp(latent, value):
    return Change(kind="clamp", latents=(latent,), values=(value,))


def busiest(reader, prepared):
    """The latent that is largest on the prompt."""
    from compliance.probes.batch import states_of

    states = states_of([prepared], reader)[0][reader.saes[0].facts.hook_name]
    return int(reader.saes[0].encode(states[list(prepared.regions["read"])]).sum(dim=0).argmax())


@pytest.mark.parametrize("text", ["apple stone", "river", "a longer text of several words"])
def test_without_a_change_the_tokens_are_those_of_transformers(reader, preparer, text):
    prompt = asked(item(text), preparer, room=20)

    [reply] = generate(Arm(reader), [prompt], max_new_tokens=20)

    expected = by_transformers(reader, prompt, 20)
    ended = [token for token in expected if token not in end_tokens(reader.subject)]
    assert reply.ids == tuple(ended[: len(reply.ids)]) and len(reply.ids) == len(ended)
    assert reply.text == reader.subject.tokenizer.decode(reply.ids, skip_special_tokens=True)


def test_a_reply_ends_at_the_models_end_of_turn(reader, preparer, monkeypatch):
    prompt = asked(item(), preparer, room=12)
    [whole] = generate(Arm(reader), [prompt], max_new_tokens=12)
    ends = whole.ids[4]
    monkeypatch.setattr(reader.subject.model.generation_config, "eos_token_id", ends)

    [reply] = generate(Arm(reader), [prompt], max_new_tokens=12)

    assert reply.ids == whole.ids[: whole.ids.index(ends)]


def test_a_reply_does_not_hang_on_what_else_is_in_the_batch(reader, preparer):
    prompts = [
        asked(item(text, name=text), preparer, room=16) for text in ("apple", "stone", "river")
    ]

    together = generate(Arm(reader), prompts, max_new_tokens=16)

    alone = [generate(Arm(reader), [one], max_new_tokens=16)[0] for one in prompts]
    assert together == alone
    assert len({reply.ids for reply in alone}) > 1


def test_a_change_acts_on_the_prompt_and_on_each_token_that_is_written(reader, preparer):
    """Held against running prompt and reply whole, without a cache, changed at the same tokens."""
    from compliance.probes.interventions import changed

    prompt = asked(item(), preparer, room=8)
    arm = Arm(reader, clamp(busiest(reader, prompt), 40.0))
    places = changed_places(prompt, arm, RATIO)

    [reply] = generate(arm, [prompt], max_new_tokens=8, places=[places])

    ids, written = list(prompt.ids), []
    for _ in range(8):
        there = [*places, *range(len(prompt.ids), len(ids))]
        with torch.inference_mode(), changed(reader, [arm.change], [there]):
            logits = reader.subject.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        token = int(logits.argmax())
        if token in end_tokens(reader.subject):
            break
        ids.append(token)
        written.append(token)
    assert reply.ids == tuple(written)
    assert reply != generate(Arm(reader), [prompt], max_new_tokens=8)[0]


def test_a_change_that_adds_nothing_leaves_every_token(reader, preparer):
    prompt = asked(item(), preparer, room=8)
    arm = Arm(reader, Change(kind="add", direction=torch.ones(WIDTH), scale=0.0))
    places = [changed_places(prompt, arm, RATIO)]

    found = generate(arm, [prompt], max_new_tokens=8, places=places)

    assert found == generate(Arm(reader), [prompt], max_new_tokens=8)


def test_what_is_asked_ends_with_the_head_of_the_assistants_turn(reader, preparer):
    tokenizer = reader.subject.tokenizer
    prompt = asked(item(reply="never shown"), preparer, room=4)

    text = tokenizer.decode(prompt.ids)

    assert text.endswith("<|assistant|>") and "never shown" not in text
    assert tokenizer.decode([prompt.ids[t] for t in prompt.regions["read"]]) == "apple stone"


def test_without_a_template_the_reply_follows_an_empty_line(tmp_path):
    subject = subject_of(tmp_path)
    subject.tokenizer.chat_template = None

    prompt = asked(item(), Preparer(subject), room=4)

    assert subject.tokenizer.decode(prompt.ids[1:]) == "apple stone\n\n"


def test_a_last_turn_of_the_user_is_asked_as_it_is():
    asked_as_is = item()

    assert without_reply(asked_as_is) is asked_as_is
    assert [m.role for m in without_reply(item(reply="x")).messages] == ["user"]


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "smolvlm"])
def test_a_model_that_takes_pictures_is_asked_in_words(tmp_path, family):
    save_tiny_vision(tmp_path / "model", family)
    save_tiny_sae(tmp_path / "sae")
    config = SubjectConfig(model="./model", saes=(SaeRef(path="./sae"),))
    subject = load_subject(config, tmp_path)
    prompt = asked(item(), Preparer(subject), room=6)

    [reply] = generate(Arm(Reader(subject, ())), [prompt], max_new_tokens=6)

    ids = torch.tensor([prompt.ids])
    with torch.inference_mode():
        for token in reply.ids:
            logits = subject.model(input_ids=ids, use_cache=False).logits[0, -1]
            assert token == int(logits.argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_a_prompt_whose_reply_has_no_room_is_refused(reader, preparer):
    with pytest.raises(ProbeError, match="positions"):
        asked(item(), preparer, room=100_000)


def test_batches_hold_prompts_of_one_length_in_the_order_of_their_ids(reader, preparer):
    texts = {"d": "apple", "a": "stone", "c": "river", "b": "sun"}
    prompts = [asked(item(text, name=name), preparer, room=4) for name, text in texts.items()]
    width = len(prompts[0].ids) + 4

    found = batches(prompts, max_new_tokens=4, batch_tokens=2 * width)

    assert [[prompts[p].item.id for p in batch] for batch in found] == [["b"], ["a", "c"], ["d"]]
    assert len(batches(prompts, max_new_tokens=4, batch_tokens=16)) == 4


def test_prompts_of_two_lengths_are_refused(reader, preparer):
    prompts = [asked(item(text), preparer, room=4) for text in ("apple", "sun")]

    with pytest.raises(ProbeError, match="same number"):
        generate(Arm(reader), prompts, max_new_tokens=1)


def test_a_change_without_places_is_refused(reader, preparer):
    prompt = asked(item(), preparer, room=4)

    with pytest.raises(ProbeError, match="is not given"):
        generate(Arm(reader, clamp(0, 0.0)), [prompt], max_new_tokens=1)


def test_a_second_model_writes_its_own_replies(reader, preparer, tmp_path):
    other = subject_of(tmp_path, seed=7)
    prompt = asked(item(), preparer, room=8)

    [theirs] = generate(second_arm(reader, other), [prompt], max_new_tokens=8)

    assert theirs == generate(Arm(Reader(other, ())), [prompt], max_new_tokens=8)[0]
    assert theirs != generate(Arm(reader), [prompt], max_new_tokens=8)[0]


def test_a_second_model_with_another_vocabulary_is_refused(reader, tmp_path):
    other = subject_of(tmp_path)
    other.tokenizer.add_tokens(["zebra"])

    with pytest.raises(ProbeError, match="vocabulary"):
        second_arm(reader, other)


def test_the_sums_on_a_text_are_those_of_both_models(reader, preparer, tmp_path):
    prepared = preparer.prepare(item("apple stone river", reply="cloud paper"))
    other = second_arm(reader, subject_of(tmp_path, seed=3))

    tokens, before, after, divergence = text_sums(prepared, Arm(reader), other, RATIO)

    ids, places = torch.tensor([prepared.ids]), [t for t in prepared.regions["read"] if t > 0]
    with torch.inference_mode():
        p, q = (
            model(ids).logits[0].double().log_softmax(-1)
            for model in (reader.subject.model, other.reader.subject.model)
        )
    assert tokens == len(places)
    assert before == pytest.approx(-sum(float(p[t - 1, prepared.ids[t]]) for t in places))
    assert after == pytest.approx(-sum(float(q[t - 1, prepared.ids[t]]) for t in places))
    expected = sum(float((p[t - 1].exp() * (p[t - 1] - q[t - 1])).sum()) for t in places)
    assert divergence == pytest.approx(expected) and divergence > 0


def test_nothing_is_lost_where_nothing_is_changed(reader, preparer):
    prepared = preparer.prepare(item("apple stone river"))

    tokens, before, after, divergence = text_sums(prepared, Arm(reader), Arm(reader), RATIO)

    assert tokens and before == after and divergence == 0.0


def test_odds_are_of_the_tokens_in_which_two_replies_differ(reader, preparer):
    one = item(choices=Choices(concept="red fox", other="red owl"))
    prompt = asked(item(reply="red fox"), preparer, room=8)
    arm = Arm(reader, clamp(busiest(reader, prompt), 40.0))

    before, after = choice_odds(one, preparer, Arm(reader), arm, RATIO)

    model, found = reader.subject.model, []
    for reply in ("red fox", "red owl"):
        prepared = preparer.prepare(item(reply=reply))
        places = prepared.regions["assistant"][len("red ") :]
        with torch.inference_mode():
            p = model(torch.tensor([prepared.ids])).logits[0].double().log_softmax(-1)
        found.append(sum(float(p[t - 1, prepared.ids[t]]) for t in places))
    assert before == pytest.approx(found[0] - found[1])
    assert after != pytest.approx(before)


def test_a_direction_is_removed_from_what_is_read(reader, preparer):
    prepared = preparer.prepare(item("apple stone river"))
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    arm = Arm(reader, Change(kind="project", direction=direction))

    assert text_sums(prepared, Arm(reader), arm, RATIO)[3] > 0
