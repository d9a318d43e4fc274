"""A monitor reads what the audit read, changes nothing, and never stands in the way."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from compliance.errors import MonitorError
from compliance.monitor import Asked, EventLog, read_log
from compliance.monitor.chain import LOCK_FILE, _held
from compliance.probes.tokens import prepare
from compliance.records.monitoring import LogPolicy, parse_event_time
from tests.monitor.conftest import said
from tests.probes.tiny import save_tiny_sae, save_tiny_subject, tiny_model

GREEDY = {"do_sample": False, "pad_token_id": 0}


def events(folder: Path) -> list:
    log = read_log(folder)
    assert not log.damage
    return [event.what for event in log.events()]


def of_kind(folder: Path, kind: str) -> list:
    return [what for what in events(folder) if what.kind == kind]


def batches(served, size: int):
    """Items that the audit's engine scored, and the model's inputs, padded."""
    ids = sorted({item for item, _ in served.scores})[::3]
    for start in range(0, len(ids), size):
        items = [served.items[name] for name in ids[start : start + size]]
        rows = [list(prepare(item, served.tokenizer, limit=512).ids) for item in items]
        yield items, served.tokenizer.pad({"input_ids": rows}, return_tensors="pt")


def compare(served, items, observed) -> int:
    compared = 0
    for item, event in zip(items, observed, strict=True):
        for score in event.scores:
            expected = served.scores.get((item.id, score.concept))
            if expected is not None:
                assert score.score == pytest.approx(expected, abs=1e-5, rel=1e-5)
                compared += 1
    return compared


# The numbers


@pytest.mark.parametrize(("size", "side"), [(1, "right"), (7, "right"), (7, "left")])
def test_scores_are_those_of_the_audits_engine(served, tmp_path, size, side):
    served.tokenizer.padding_side = side
    compared = 0
    with served.attach(tmp_path) as monitor, torch.no_grad():
        for items, inputs in batches(served, size):
            with monitor.requests([Asked(item.language, item) for item in items]) as seen:
                served.model(**inputs)
            compared += compare(served, items, seen.observed())

    assert compared > 30


def test_generation_with_a_cache_scores_as_one_run_on_the_whole_does(served, tmp_path):
    words = ("hello zz", "a much longer turn than the other one zz yes!", "zz")
    served.tokenizer.padding_side = "left"
    prompts = served.tokenizer.apply_chat_template(
        [said(one) for one in words], add_generation_prompt=True, padding=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    inputs = {name: prompts[name] for name in ("input_ids", "attention_mask")}
    asked = [Asked("en", said(one)) for one in words]
    with served.attach(tmp_path) as monitor, torch.no_grad():
        with monitor.requests(asked) as seen:
            out = served.model.generate(**inputs, **GREEDY, min_new_tokens=12, max_new_tokens=12)
        by_steps = seen.observed()
        for row, (one, event) in enumerate(zip(asked, by_steps, strict=True)):
            real = out[row][(inputs["attention_mask"][row] == 0).sum() :][:-1]
            with monitor.request(language="en", item=one.item) as alone:
                served.model(real[None])
            (whole,) = alone.observed()
            assert event.tokens == whole.tokens == len(real)
            for a, b in zip(event.scores, whole.scores, strict=True):
                assert (a.region, a.alert, a.cut_off) == (b.region, b.alert, b.cut_off)
                assert a.score == pytest.approx(b.score, abs=1e-4)
                assert a.score is not None

    phases = [(e.phase, e.complete) for e in of_kind(tmp_path, "observed")]
    assert phases == [("prefill", False)] * 3 + [("generation", True)] * 3 + [
        ("prefill", True)
    ] * 3  # fmt: skip


def test_generation_without_a_cache_gives_the_same(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        found = []
        for use_cache in (True, False):
            with monitor.request(language="en", item=said("hello zz there")) as seen:
                served.model.generate(
                    **served.inputs(), **GREEDY, max_new_tokens=6, use_cache=use_cache
                )
            found.append(seen.observed()[0])

    assert found[0].tokens == found[1].tokens
    for a, b in zip(found[0].scores, found[1].scores, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-5)
    assert len(of_kind(tmp_path, "observed")) == 4


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_static_cache_gives_the_same(served, tmp_path, side):
    served.tokenizer.padding_side = side
    words = ("hello zz", "a longer turn than that zz yes!")
    prompts = served.tokenizer.apply_chat_template(
        [said(one) for one in words], add_generation_prompt=True, padding=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    inputs = {name: prompts[name] for name in ("input_ids", "attention_mask")}
    found = []
    with served.attach(tmp_path) as monitor:
        for cache in (None, "static"):
            with monitor.requests([Asked("en", said(one)) for one in words]) as seen:
                served.model.generate(
                    **inputs, **GREEDY, max_new_tokens=6, cache_implementation=cache
                )
            found.append(seen.observed())

    for a, b in zip(*found, strict=True):
        assert a.tokens == b.tokens and a.phase == b.phase == "generation"
        for one, other in zip(a.scores, b.scores, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_a_prompt_that_comes_in_parts_is_one_prompt(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        found = []
        for chunk in (None, 5):
            with monitor.request(language="en", item=said("hello zz there")) as seen:
                served.model.generate(
                    **served.inputs(), **GREEDY, max_new_tokens=4, prefill_chunk_size=chunk
                )
            found.append(seen.observed()[0])

    assert [one.score for one in found[0].scores] == pytest.approx(
        [one.score for one in found[1].scores], abs=1e-5
    )
    assert [e.phase for e in of_kind(tmp_path, "observed")] == ["prefill", "generation"] * 2


def test_several_sequences_of_one_prompt_are_read_each(served, tmp_path):
    with (
        served.attach(tmp_path) as monitor,
        monitor.request(language="en", item=said("hello zz there")) as seen,
    ):
        served.model.generate(
            **served.inputs(), do_sample=True, num_return_sequences=3, max_new_tokens=5
        )

    observed = seen.observed()
    assert len(observed) == 3 and len({event.request for event in observed}) == 3
    assert all(event.declared and event.phase == "generation" for event in observed)


def test_what_follows_the_end_of_a_reply_in_a_batch_is_not_read(served, tmp_path):
    inputs = served.inputs()
    end = served.tokenizer.eos_token_id
    with served.attach(tmp_path) as monitor, torch.no_grad():
        found = []
        for tail in ([70, 71], [70, 71, end, 0, 0, 90, 91]):
            ids = torch.cat([inputs["input_ids"], torch.tensor([tail])], dim=1)
            with monitor.request(language="en", item=said("hello zz there")) as seen:
                served.model(ids)
            found.append(seen.observed()[0])

    assert found[1].tokens == found[0].tokens + 1
    assert [s.score for s in found[0].scores] == pytest.approx(
        [s.score for s in found[1].scores], abs=1e-5
    )


# Alerts


def test_an_alert_is_a_score_strictly_above_the_locked_cut_off_of_the_language(served, tmp_path):
    alerts = 0
    with served.attach(tmp_path) as monitor, torch.no_grad():
        cut_offs = {
            (probe.concept, language): cut_off.value
            for probe in monitor.locked.probes
            for language, cut_off in probe.cut_offs.items()
        }
        for items, inputs in batches(served, 1):
            item = items[0]
            with monitor.request(language=item.language, item=item) as seen:
                served.model(**inputs)
            expected = tuple(
                probe.concept
                for probe in monitor.locked.probes
                if served.scores.get((item.id, probe.concept), -1.0)
                > cut_offs[probe.concept, item.language]
            )
            if all((item.id, probe.concept) in served.scores for probe in monitor.locked.probes):
                assert seen.alerts() == expected
            alerts += len(seen.alerts())

    assert alerts > 0


@pytest.mark.parametrize(
    ("language", "item", "reason"),
    [
        (None, said("hello zz there"), "no language was declared"),
        ("fr", said("hello zz there"), "the pack has no cell of the language fr"),
        ("EN", said("hello zz there"), "no language was declared"),
        ("en", None, "no input was declared, so all tokens were read"),
        ("en", said("something else"), "the tokens are not the declared input in the chat "
         "template, so all were read"),
    ],
)  # fmt: skip
def test_without_a_cut_off_that_applies_there_is_a_score_and_no_alert(
    served, tmp_path, language, item, reason
):
    with served.attach(tmp_path) as monitor:
        with monitor.request(language=language, item=item) as seen:
            served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=4)
        (event,) = seen.observed()

    assert all(score.score is not None for score in event.scores)
    assert not event.alerts and all(score.cut_off is None for score in event.scores)
    assert {score.reason for score in event.scores} == {reason}


def test_a_region_without_a_token_has_no_score(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        with monitor.request(language="en", item=said("hello zz there")) as seen:
            served.model(**served.inputs())
        (event,) = seen.observed()

    assistant = next(score for score in event.scores if score.region == "assistant")
    assert assistant.score is None and not assistant.alert
    assert assistant.reason == "no token of the region 'assistant' was read"


def test_what_was_not_declared_is_read_over_all_tokens_and_says_so(served, tmp_path):
    with served.attach(tmp_path):
        served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=4)
        served.model(**served.inputs())

    found = of_kind(tmp_path, "observed")
    assert [event.phase for event in found] == ["prefill", "generation", "prefill"]
    for event in found:
        assert not event.declared and event.language is None and not event.alerts
        assert {score.region for score in event.scores} == {"all"}
        assert "was not declared" in event.scores[0].reason


# Serving is as it was


def test_what_is_served_is_bit_identical(served, tmp_path):
    inputs = served.inputs()

    def serve() -> list[torch.Tensor]:
        torch.manual_seed(3)
        with torch.no_grad():
            run = served.model(**inputs, output_hidden_states=True)
        sampled = served.model.generate(
            **inputs, do_sample=True, max_new_tokens=8, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        beams = served.model.generate(**inputs, num_beams=3, max_new_tokens=5, do_sample=False)
        return [run.logits, *run.hidden_states, sampled.sequences, *sampled.logits, beams]

    bare = serve()
    with served.attach(tmp_path) as monitor, monitor.request(language="en", item=said("x")):
        watched = serve()
    after = serve()

    for a, b, c in zip(bare, watched, after, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_gradients_are_as_they_were(served, tmp_path):
    model = served.model.requires_grad_(True)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(**served.inputs()).logits.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    bare = gradients()
    with served.attach(tmp_path):
        watched = gradients()

    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))


def test_detaching_leaves_nothing_behind(served, tmp_path):
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks)
             for module in served.model.modules()]  # fmt: skip
    with served.attach(tmp_path):
        assert "generate" in served.model.__dict__

    assert "generate" not in served.model.__dict__
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks)
                     for module in served.model.modules()]  # fmt: skip


@pytest.mark.parametrize("broken", ["encode", "begin", "score", "words", "rows"])
def test_an_exception_in_the_sensor_is_an_event_and_serving_goes_on(
    served, tmp_path, monkeypatch, broken
):
    from compliance.monitor import looking, monitor, scorer, scoring

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret that was read")

    places = {
        "encode": (looking.Look, "encode"), "begin": (monitor, "begin"),
        "score": (scoring.Scores, "of"), "words": (scoring.Words, "roles"),
        "rows": (scorer, "rows_of"),
    }  # fmt: skip
    expected = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=5)
    monkeypatch.setattr(*places[broken], fail)
    with (
        served.attach(tmp_path) as watching,
        watching.request(language="en", item=said("hello zz there")) as seen,
    ):
        found = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=5)

    assert torch.equal(expected, found) and not any(seen.observed())
    failed = of_kind(tmp_path, "failed-sensor")
    assert failed and {event.reason for event in failed} == {"RuntimeError in fail"}
    assert failed[0].language == "en" and not of_kind(tmp_path, "observed")
    assert "secret" not in "".join(p.read_text() for p in tmp_path.glob("events*"))


def test_an_error_of_the_server_is_its_own(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        with pytest.raises(KeyError), monitor.request(language="en", item=said("hello")):
            raise KeyError("the server's")
        with pytest.raises((IndexError, RuntimeError)):
            served.model(torch.full((1, 3), 10_000))
        with monitor.request(language="en", item=said("hello zz there")) as seen:
            served.model(**served.inputs())
        assert seen.observed()[0] is not None


def test_a_number_that_is_not_finite_is_a_failed_sensor(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        with torch.no_grad():
            served.model.get_input_embeddings().weight[70:75] = torch.nan
        with monitor.request(language="en", item=said("hello zz there")) as seen:
            served.model(torch.cat([served.inputs()["input_ids"], torch.tensor([[71]])], dim=1))
        found = seen.observed()

    assert found == (None,)
    assert of_kind(tmp_path, "failed-sensor")[0].reason.startswith("ProbeError")


# What cannot be read is said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_beams": 2}, "beam search"),
        ({"prompt_lookup_num_tokens": 2}, "assisted generation"),
        ({"assistant_model": "itself"}, "assisted generation"),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_ways_of_generating_that_cannot_be_read_are_refused_clearly(
    served, tmp_path, options, reason, declared
):
    if "assistant_model" in options:
        options = {"assistant_model": tiny_model("llama")}
    expected = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=5, **options)
    with served.attach(tmp_path) as monitor:
        if declared:
            with monitor.request(language="en", item=said("hello zz there")) as seen:
                found = served.model.generate(
                    **served.inputs(), **GREEDY, max_new_tokens=5, **options
                )
            assert seen.observed() == ()
        else:
            found = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=5, **options)

    assert torch.equal(expected, found)
    (failed,) = of_kind(tmp_path, "failed-sensor")
    assert reason in failed.reason and not of_kind(tmp_path, "observed")


def test_a_batch_of_another_size_than_declared_is_a_failed_sensor(served, tmp_path):
    with served.attach(tmp_path) as monitor, monitor.request(language="en", item=said("x")):
        served.model(served.inputs()["input_ids"].repeat(2, 1))

    (failed,) = of_kind(tmp_path, "failed-sensor")
    assert failed.reason.startswith("the model was run on 2 sequences, declared were 1")


def test_a_cache_that_was_filled_elsewhere_or_cut_back_is_a_failed_sensor(served, tmp_path):
    ids = served.inputs()["input_ids"]
    with torch.no_grad():
        cache = served.model(ids[:, :5], use_cache=True).past_key_values
    with served.attach(tmp_path) as monitor, torch.no_grad():
        with monitor.request(language="en", item=said("hello zz there")):
            served.model(ids[:, 5:], past_key_values=cache)
        with monitor.request(language="en", item=said("hello zz there")):
            cache = served.model(ids, use_cache=True).past_key_values
            cache.crop(-2)
            served.model(ids[:, -2:], past_key_values=cache)

    reasons = [event.reason for event in of_kind(tmp_path, "failed-sensor")]
    assert len(reasons) == 2 and all("the cache holds" in reason for reason in reasons)


def test_a_request_of_which_no_run_is_seen_is_a_failed_sensor(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        with monitor.request(language="en", item=said("hello zz there")):
            pass
        with monitor.request(language="en", item=said("hello zz there")):
            embedded = served.model.get_input_embeddings()(served.inputs()["input_ids"])
            served.model(inputs_embeds=embedded)

    first, second = (event.reason for event in of_kind(tmp_path, "failed-sensor"))
    assert first.startswith("no run of the model was seen") and "embeddings" in second


def test_a_compiled_model_is_refused(served, tmp_path):
    served.model.compile(backend="eager")

    with pytest.raises(MonitorError, match="is compiled"):
        served.attach(tmp_path)


def test_a_model_that_is_compiled_afterwards_is_served_and_said_to_be_unseen(served, tmp_path):
    inputs = served.inputs()
    with torch.no_grad():
        bare = served.model(**inputs).logits
    with served.attach(tmp_path) as monitor:
        compiled = torch.compile(served.model, backend="eager")
        with monitor.request(language="en", item=said("hello zz there")) as seen, torch.no_grad():
            found = compiled(**inputs).logits

    assert torch.allclose(bare, found, atol=1e-5)
    assert seen.observed() == () and of_kind(tmp_path, "failed-sensor")


def test_steps_that_transformers_compiles_are_said_to_be_unseen(served, tmp_path, monkeypatch):
    inputs = served.inputs()
    options = {**GREEDY, "max_new_tokens": 6, "cache_implementation": "static"}
    bare = served.model.generate(**inputs, **options)
    # Transformers compiles on GPUs alone.
    monkeypatch.setattr(type(served.model), "_valid_auto_compile_criteria", lambda *_: True)
    monkeypatch.setattr(
        type(served.model), "get_compiled_call",
        lambda self, _: torch.compile(self.__call__, backend="eager"),
    )  # fmt: skip
    with (
        served.attach(tmp_path) as monitor,
        monitor.request(language="en", item=said("hello zz there")),
    ):
        found = served.model.generate(**inputs, **options)

    assert torch.equal(bare, found)
    (failed,) = of_kind(tmp_path, "failed-sensor")
    assert failed.reason.startswith("18 of 23 tokens were seen")
    assert not of_kind(tmp_path, "observed")


# Threads and tasks


def test_requests_in_several_threads_do_not_mix(served, tmp_path):
    words = {"en": "hello zz there", "el": "μήλο zz πέτρα and more words"}
    alone, together = {}, {}

    def serve(language: str, found: dict) -> None:
        with monitor.request(language=language, item=said(words[language])) as seen:
            served.model.generate(**served.inputs(words[language]), **GREEDY, max_new_tokens=8)
        found.setdefault(language, []).append(seen.observed()[0])

    with served.attach(tmp_path) as monitor:
        for language in words:
            serve(language, alone)
        threads = [
            threading.Thread(target=serve, args=(language, together))
            for _ in range(4)
            for language in words
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for language, found in together.items():
        assert len(found) == 4
        for event in found:
            assert event.language == language and event.item == alone[language][0].item
            expected = [score.score for score in alone[language][0].scores]
            assert [score.score for score in event.scores] == pytest.approx(expected, abs=1e-5)


def test_a_request_goes_along_into_threads_that_take_its_context(served, tmp_path):
    item = said("hello zz there")

    def serve() -> None:
        served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=3)

    async def handle() -> tuple:
        with monitor.request(language="en", item=item) as seen:
            await asyncio.to_thread(serve)
        return seen.observed()

    async def several() -> list:
        return await asyncio.gather(*(handle() for _ in range(3)))

    with served.attach(tmp_path) as monitor:
        for (event,) in asyncio.run(several()):
            assert event.declared and event.language == "en"
        with monitor.request(language="en", item=item) as seen:
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(serve,))
            thread.start()
            thread.join()
        assert seen.observed()[0].declared
        with monitor.request(language="en", item=item):
            bare = threading.Thread(target=serve)
            bare.start()
            bare.join()

    last = of_kind(tmp_path, "observed")[-1]
    assert not last.declared
    assert "without the request's context" in of_kind(tmp_path, "failed-sensor")[0].reason


def test_a_block_may_be_left_in_another_context_than_it_was_entered(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        request = monitor.request(language="en", item=said("hello zz there"))
        contextvars.copy_context().run(request.__enter__)
        contextvars.copy_context().run(request.__exit__, None, None, None)


def test_two_monitors_watch_one_model_each_for_itself(served, tmp_path):
    item = said("hello zz there")
    with served.attach(tmp_path / "a") as first, served.attach(tmp_path / "b") as second:
        with (
            first.request(language="en", item=item) as one,
            second.request(language="el", item=item) as other,
        ):
            served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=3)
        assert one.observed()[0].language == "en" and other.observed()[0].language == "el"

    assert "generate" not in served.model.__dict__


# What is written


def test_no_word_is_written_unless_the_policy_asks_for_it(served, tmp_path):
    item = said("hello zz there")
    for name, policy in (("without", None), ("with", LogPolicy(text=True))):
        with (
            served.attach(tmp_path / name, policy=policy) as monitor,
            monitor.request(language="en", item=item),
        ):
            out = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=8)

    plain = "".join(path.read_text() for path in (tmp_path / "without").glob("events*"))
    assert "hello" not in plain and '"words"' not in plain
    *_, event = of_kind(tmp_path / "with", "observed")
    reply = served.tokenizer.decode(
        out[0][served.inputs()["input_ids"].shape[1] : -1], skip_special_tokens=True
    )
    assert [(turn.role, turn.content) for turn in event.words] == [
        ("user", "hello zz there"), ("assistant", reply),
    ]  # fmt: skip


def test_equal_inputs_have_equal_salted_digests(served, tmp_path):
    with served.attach(tmp_path) as monitor:
        for words in ("hello zz there", "hello zz there", "another"):
            with monitor.request(language="en", item=said(words)):
                served.model(**served.inputs(words))

    items = [event.item for event in of_kind(tmp_path, "observed")]
    assert items[0] == items[1] != items[2]


def test_events_name_the_model_and_the_pack(served, tmp_path):
    from compliance.packs.reading import read_pack

    with served.attach(tmp_path):
        served.model(**served.inputs())

    (event,) = of_kind(tmp_path, "observed")
    with read_pack(served.pack) as pack:
        assert event.pack == pack.statement.predicate.root_digest
        assert event.model == pack.evidence.plan.model.weights_digest
    assert event.another_model is None


def test_long_replies_are_kept_in_few_pieces_and_score_the_same(served, tmp_path, monkeypatch):
    from compliance.monitor import scope as module

    found = []
    for most in (512, 4):
        monkeypatch.setattr(module, "SEPARATE", most)
        with (
            served.attach(tmp_path, policy=LogPolicy(text=True)) as monitor,
            monitor.request(language="en", item=said("hello zz there")) as seen,
        ):
            served.model.generate(**served.inputs(), **GREEDY, min_new_tokens=15, max_new_tokens=15)
        found.append((seen.observed()[0], len(seen._scope._jobs[-1].passes)))

    (long, many), (short, few) = found
    assert many == 15 and few == 6  # the prompt, three pieces of four, and two alone
    assert long.scores == short.scores and long.words == short.words
    assert long.tokens == short.tokens


def test_an_event_says_when_it_happened_and_not_when_it_was_scored(served, tmp_path, monkeypatch):
    from compliance.monitor import scoring

    real = scoring.Scores.of

    def slowly(*given: object) -> object:
        time.sleep(0.3)
        return real(*given)

    monkeypatch.setattr(scoring.Scores, "of", slowly)
    with served.attach(tmp_path) as monitor:
        with monitor.request(language="en", item=said("hello zz there")):
            served.model(**served.inputs())
        ended = datetime.now(UTC)
        monitor.flush()

    (event,) = [one for one in read_log(tmp_path).events() if one.what.kind == "observed"]
    assert parse_event_time(event.at) <= ended


# When something fails


def test_a_server_that_ends_without_detaching_has_its_last_requests_written(audited, tmp_path):
    root, pack = Path(__file__).parent.parent.parent, next((audited / "packs").iterdir())
    command = [sys.executable, "-m", "tests.monitor.serving_process", str(audited), str(pack)]
    subprocess.run([*command, str(tmp_path), "3"], cwd=root, check=True, capture_output=True)

    log = read_log(tmp_path)

    assert log.chains[0].closed and not log.gaps and log.counts["observed"] == 6


def test_serving_goes_on_while_the_disk_hangs(served, tmp_path):
    item = said("hello zz there")
    bare = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=3)
    with (
        EventLog(tmp_path, waiting=4) as log,
        served.attach(log) as monitor,
        _held(tmp_path / LOCK_FILE),
    ):
        for _ in range(10):
            with monitor.request(language="en", item=item) as seen:
                found = served.model.generate(**served.inputs(), **GREEDY, max_new_tokens=3)
            assert torch.equal(bare, found) and seen.observed()[0] is not None
        assert not log.flush(timeout=0.1)

    log = read_log(tmp_path)
    assert not log.damage and log.dropped + log.counts["observed"] == 20
    assert any("too-many-waiting" in str(gap) for gap in log.gaps)


def test_a_killed_server_leaves_a_log_that_verifies(audited, tmp_path):
    pack = next((audited / "packs").iterdir())
    command = [sys.executable, "-m", "tests.monitor.serving_process", str(audited), str(pack)]
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen([*command, str(tmp_path)], cwd=root, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"serving\n"
    process.kill()
    process.wait()
    process.stdout.close()

    log = read_log(tmp_path)

    assert not log.damage and log.counts["observed"] > 4
    assert any("ends without a last event" in str(gap) for gap in log.gaps)


# What may be watched


def test_another_model_is_refused_unless_asked_for_and_then_every_event_says_so(served, tmp_path):
    path = save_tiny_subject(tmp_path / "other", seed=7)
    other = type(served.model).from_pretrained(path).eval()
    given = {"saes": [served.folder / "sae"], "tokenizer": served.tokenizer}

    from compliance.monitor import Monitor

    with pytest.raises(MonitorError, match="other weights"):
        Monitor.attach(other, served.pack, log=tmp_path / "log", **given)
    with Monitor.attach(other, served.pack, log=tmp_path / "log", another_model=True, **given):
        other(**served.inputs())

    (event,) = of_kind(tmp_path / "log", "observed")
    assert event.another_model is True


def test_weights_that_were_changed_in_memory_are_another_model(served, tmp_path):
    with torch.no_grad():
        served.model.lm_head.weight[0, 0] += 1

    with pytest.raises(MonitorError, match="lm_head.weight is not in memory as in its file"):
        served.attach(tmp_path)


def test_a_model_in_another_number_format_is_another_model(served, tmp_path):
    served.model.to(torch.bfloat16)

    with pytest.raises(MonitorError, match="computes in bfloat16, measured was float32"):
        served.attach(tmp_path)


def test_another_sae_is_refused_in_any_case(served, tmp_path):
    save_tiny_sae(tmp_path / "sae", seed=9)

    with pytest.raises(MonitorError, match="none has the digest of sae"):
        served.attach(tmp_path / "log", saes=[tmp_path / "sae"], another_model=True)


def test_a_pack_that_was_changed_is_refused(served, tmp_path):
    import shutil

    pack = Path(shutil.copytree(served.pack, tmp_path / served.pack.name))
    evidence = pack / "data" / "evidence.json"
    evidence.write_bytes(evidence.read_bytes().replace(b'"value":', b'"value": ', 1))

    with pytest.raises(MonitorError, match=r"evidence\.json"):
        served.attach(tmp_path / "log", saes=[served.folder / "sae"], pack=pack)


def test_a_log_and_a_policy_together_are_refused(served, tmp_path):
    with EventLog(tmp_path) as log, pytest.raises(MonitorError, match="policy"):
        served.attach(log, policy=LogPolicy())
