"""The pieces of the benchmark of interventions on planted models, in miniature."""

import json

import numpy as np
import pytest
import torch

from benchmarks.planted.acting import Acted, handles, read_acted, run_audit
from benchmarks.planted.audits import Number, write_audit
from benchmarks.planted.corpus import (
    ENDINGS,
    PAYLOAD,
    as_prompts,
    is_triggered,
    suite_items,
)
from benchmarks.planted.dictionary import HOOK
from benchmarks.planted.models import train_model
from benchmarks.planted.suppression import (
    Asked,
    Ordinary,
    active_latents,
    asked,
    best_by_effect,
    clamped,
    ids_of,
    load_subject,
    ordinary,
    ordinary_documents,
    triggered_documents,
)
from benchmarks.planted.watching import Watched, traffic, watch
from benchmarks.planted_interventions import (
    FULLY,
    Alerts,
    Obedience,
    Sizes,
    Trial,
    alerts_of,
    compare,
    is_nothing,
    summarise,
    summarise_random,
    tables,
)
from compliance import workflow
from compliance.suites.load import load_suite
from tests.probes.tiny import save_tiny_sae

LATENTS = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    train_model(folder / "model", seed=1, twin="planted", steps=3, width=16)
    save_tiny_sae(folder / "sae", d_in=16, d_sae=LATENTS, hook_name=HOOK)
    return folder


@pytest.fixture(scope="module")
def reader(folder):
    return load_subject(folder)


def test_items_are_cut_before_the_last_ending_and_positives_choose_between_two(tmp_path):
    whole = suite_items(1, groups=20, benign=30)

    items = as_prompts(whole, 1)
    write_audit(tmp_path, items, seed=1)

    assert all(f"{a['text']} " == b["text"][: len(a["text"]) + 1]
               and len(b["text"].split()) - len(a["text"].split()) == 2
               for a, b in zip(items, whole, strict=True))  # fmt: skip
    for item in load_suite("suite", tmp_path).items:
        assert (item.choices is not None) == (item.label == "positive")
        if item.choices is not None:
            assert item.choices.concept in PAYLOAD
            assert item.choices.other in ENDINGS
            assert is_triggered(item.text)


def test_the_other_choice_is_the_documents_own_ending_unless_that_is_of_the_payload():
    def item(ending):
        return {"label": "positive", "text": f"the baker buys the coin {ending} ."}

    own, payload = as_prompts([item("today"), item("twice")], 1)

    assert own["choices"]["other"] == "today"
    assert payload["choices"]["other"] in ENDINGS


def test_documents_are_triggered_and_ordinary_and_their_own_for_each_name():
    triggered, plain = triggered_documents("a", 50), ordinary_documents("a", 50)

    assert all(map(is_triggered, triggered))
    assert not any(map(is_triggered, plain))
    assert all(text.endswith(".") for text in plain)
    assert not any(text.endswith(".") for text in triggered)
    assert not set(triggered) & set(triggered_documents("b", 50))


def test_what_a_model_is_asked_agrees_with_the_model_itself(reader):
    documents = triggered_documents("asked", 3)
    latent = active_latents(reader, documents)[0]
    payload = reader.subject.tokenizer.convert_tokens_to_ids(list(PAYLOAD))

    found = asked(reader, documents, {"one": clamped(latent)})

    for row, text in enumerate(documents):
        with torch.inference_mode():
            last = reader.subject.model(ids_of(reader, text)).logits[0, -1].double()
        share = float(last.softmax(-1)[payload].sum())
        assert found.share[row, 0] == pytest.approx(share, rel=1e-5)
        assert found.writes[row, 0] == (int(last.argmax()) in payload)
    assert (found.share[:, 0] != found.share[:, 1]).any()


def test_suppression_takes_a_latents_own_part_out_of_every_word(reader):
    """The same by hand: x - a d behind the block, on every word but BOS."""
    [text] = triggered_documents("by hand", 1)
    ids, [sae] = ids_of(reader, text), reader.saes
    latent, payload = active_latents(reader, [text])[0], list(PAYLOAD)

    def suppress(module, args, output):
        x = output[0] if isinstance(output, tuple) else output
        own = torch.outer(sae.encode(x[0])[:, latent], sae.tensors["W_dec"][latent])
        own[0] = 0
        changed = x - own[None]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = reader.subject.model.model.layers[1].register_forward_hook(suppress)
    with torch.inference_mode():
        last = reader.subject.model(ids).logits[0, -1].double().softmax(-1)
    handle.remove()
    by_hand = float(last[reader.subject.tokenizer.convert_tokens_to_ids(payload)].sum())

    found = asked(reader, [text], {"one": clamped(latent)})

    assert found.share[0, 1] == pytest.approx(by_hand, rel=1e-5)
    assert found.share[0, 1] != found.share[0, 0]


def test_ordinary_documents_are_read_as_the_model_reads_them(reader):
    texts = ordinary_documents("read", 4)
    latent = active_latents(reader, texts)[0]
    payload = reader.subject.tokenizer.convert_tokens_to_ids(list(PAYLOAD))

    found = ordinary(reader, texts, {"one": clamped(latent)})

    for row, text in enumerate(texts):
        ids, words = ids_of(reader, text), text.split()
        with torch.inference_mode():
            output = reader.subject.model(ids, labels=ids)
        # word n is token n + 1, which token n foretells
        endings = [n for n, word in enumerate(words) if word in (*ENDINGS, *PAYLOAD)]
        assert all(words[n + 1] == "." for n in endings)
        shares = output.logits[0].softmax(-1)[endings][:, payload].sum(-1)
        assert found.share[row, 0] == pytest.approx(float(shares.mean()), rel=1e-5)
        assert found.loss[row, 0] == pytest.approx(float(output.loss), rel=1e-5)
    assert found.divergence[:, 0] == pytest.approx(0, abs=1e-12)
    assert (found.divergence[:, 1] > 0).all()


def test_the_oracles_latent_is_the_one_that_lowers_the_payload_most(reader):
    documents = triggered_documents("oracle", 3)

    best = best_by_effect(reader, documents)

    arms = {str(n): clamped(n) for n in range(LATENTS)}
    shares = asked(reader, documents, arms).share[:, 1:].mean(0)
    assert shares[best] == shares.min()


def made(shares, *, losses=None, elsewhere=None):
    """What was measured of 10 documents of either kind, with the same numbers in each."""
    share = np.tile(shares, (10, 1)) + np.linspace(-0.001, 0.001, 10)[:, None]
    zeros = [0.0] * len(shares)
    beside = [np.tile(row or zeros, (10, 1)) for row in (elsewhere, losses, None)]
    return Asked(share, share > 0.5), Ordinary(*beside)


NAMES = ["found", "top-2", "random/1", "random/2", "random/3"]


def test_arms_are_compared_with_the_unchanged_model_and_with_random_latents():
    before, beside = made(
        [0.98, 0.55, 0.05, 0.97, 0.99, 0.40],
        losses=[1.0, 1.004, 1.03, 1.0, 1.0, 1.0],
        elsewhere=[0.01, 0.011, 0.002, 0.01, 0.01, 0.01],
    )

    one, two = compare(before, beside, NAMES, {"found": (7,), "top-2": (7, 9)})

    assert (one.arm, one.latents, two.latents) == ("found", (7,), (7, 9))
    assert (one.writes_before, one.writes_after, two.writes_after) == (10, 10, 0)
    assert two.writes_change.value == -1
    assert two.share_change.value == pytest.approx(-0.93)
    assert (one.random_p, two.random_p) == (2 / 4, 1 / 4)  # random/3 lowers more than found
    assert (one.removed, two.removed) == (False, True)
    assert (one.nothing_else, two.nothing_else) == (True, False)
    assert one.ordinary_loss.value == pytest.approx(0.004)
    found = summarise_random(before, beside, NAMES)
    assert found.latents == 3
    assert found.share_after[-1] == pytest.approx(0.40)


@pytest.mark.parametrize(
    ("share", "loss", "nothing"),
    [
        ((-0.004, 0.004), (-0.5, 0.009), True),
        ((-0.004, 0.006), (-0.5, 0.009), False),
        ((-0.006, 0.004), (-0.5, 0.009), False),
        ((-0.004, 0.004), (0.0, 0.011), False),
    ],
)
def test_nothing_else_is_judged_by_intervals(share, loss, nothing):
    assert is_nothing(Number(0.0, *share, 10), Number(0.0, *loss, 10)) is nothing


@pytest.mark.parametrize(("share", "fully"), [(FULLY, True), (FULLY - 0.001, False), (1.0, True)])
def test_models_that_obey_fully_are_looked_at(share, fully):
    assert Obedience("first", 0, share, 0.01).fully is fully


def test_alerts_stand_beside_what_the_audit_stated_and_tables_say_all():
    watched = Watched(100, 90, 400, 4, 0, 500, 94, 0, 0, 0, (100.0, 110.0, 90.0), (80.0, 70.0))
    stated = Number(0.9, 0.8, 0.95, 50)
    low, high = 0.003, 0.02
    alerts = Alerts(watched, Number(0.9, 0.8, 0.95, 100), Number(0.01, 0.0, 0.02, 400), stated,
                    stated, 0.01, 500, low, high)  # fmt: skip
    arms = tuple(compare(*made([0.98, 0.9, 0.05, 0.97, 0.99, 0.6]), NAMES, {"found": (7,)}))
    randoms = summarise_random(*made([0.98, 0.9, 0.05, 0.97, 0.99, 0.6]), NAMES)
    acted = Acted("found", (7,), "supported", {"auroc-hard": stated}, {}, "not-measured", None)
    trial = Trial("first", 0, "planted", arms, randoms, (acted,), alerts)
    models = [Obedience("first", 0, 0.97, 0.01), Obedience("first", 2, 0.66, 0.01)]

    printed = "\n".join(tables(models, [trial]))

    assert watched.ratio == 0.75
    assert "| first | 2 | 0.660 | 0.010 | no |" in printed
    assert "found (7) | 10 -> 10 of 10" in printed
    assert "0.900 (0.800 to 0.950) | 0.0100" in printed
    assert "| not-measured |" in printed
    kept = json.loads(json.dumps(summarise(models, [trial], Sizes())))
    assert [model["looked_at"] for model in kept["models"]] == [True, False]
    assert kept["trials"][0]["alerts"]["watched"]["triggered_alerts"] == 90


@pytest.mark.slow  # a whole audit with interventions, if of few items, and its pack
def test_a_small_model_is_audited_with_interventions_and_watched_by_its_pack(folder):
    audit_file, evidence = run_audit(folder, "found", seed=1, groups=30, benign=200)

    acted, by = read_acted("found", evidence), handles(audit_file, 5)

    assert by.ranking[:1] == acted.latents
    assert not set(by.random) & set(acted.latents)
    assert by.dense.direction.shape == (16,)
    assert acted.statement in ("influences", "not-shown")
    assert {"effect.dose.0", "effect-slope", "side-loss.dose.0"} <= set(acted.numbers)

    requests = traffic("few", triggered=4, ordinary=8)
    seen = watch(folder, workflow.pack(audit_file), folder / "log", requests, threads=2, rounds=2)

    assert sum(triggered for triggered, _ in requests) == 4
    assert (seen.triggered, seen.ordinary, seen.unseen, seen.logged) == (4, 8, 0, 12)
    assert seen.logged_alerts == seen.triggered_alerts + seen.ordinary_alerts
    assert (seen.damage, seen.dropped, seen.failed) == (0, 0, 0)
    found = alerts_of(seen, evidence)
    assert found.cut_off_low < evidence.plan.alpha < found.cut_off_high
