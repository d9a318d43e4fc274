"""What is said of a feature: on the tokens of a pass, from the weights, and on one's own text."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from compliance.errors import ProbeError, SaeError
from compliance.probes import collect, features
from compliance.probes.engine import prepare_items
from compliance.probes.features import (
    activations_on,
    attention_patterns,
    feature_table,
    logit_effects,
    nearest_latents,
)
from compliance.probes.sae import load_sae
from compliance.probes.subject import Subject, load_subject
from compliance.probes.task import Task
from compliance.records.audit import SaeRef, SubjectConfig
from compliance.records.observation import (
    COFIRING_COLUMNS,
    FEATURE_COLUMNS,
    OTHERS,
    TOKEN_COLUMNS,
)
from tests.probes.test_hooks import lens_model
from tests.probes.tiny import (
    FAMILIES,
    VISION_FAMILIES,
    VOCABULARY,
    WIDTH,
    save_tiny_sae,
    tiny_model,
    tiny_tokenizer,
)
from tests.probes.tiny_pass import (
    MODEL,
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    scores_of,
    some_items,
    states_of,
    tiny_reader,
    tiny_sae,
)
from tests.probes.tiny_vision import draw, make_shown, save_tiny_encoder, save_tiny_vision

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK, EARLIER = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
CONCEPTS = ("danger", "flattery")
PROBES = (locked((0, 3), (0, 9), (1, 5)), locked((1, 16), (0, 9), concept="flattery"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saes")
    saes = (tiny_sae(folder / hook, hook_name=hook) for hook in (HOOK, EARLIER))
    return tiny_reader(*saes)


def some():
    turns = (("system", "be kind"), ("user", "what a day"), ("assistant", "素晴らしい 👍🏽"))
    talk = make_item("talk", "positive", concept="flattery", turns=turns)
    return [*some_items(4), talk]


@pytest.fixture(scope="module")
def seen(reader, tmp_path_factory):
    """A confirm pass whose sinks are left out, its task and its shards."""
    plan = make_plan(reader, concepts=CONCEPTS, sink_norm_ratio=1.2)
    task = Task(plan, "confirm", chosen(*PROBES))
    return task, run_pass(some(), task, reader, tmp_path_factory.mktemp("confirm"))


@pytest.fixture
def silenced(tmp_path):
    """A reader whose latent 7 never fires."""
    sae = tiny_sae(tmp_path / "silenced")
    sae.tensors["threshold"][7] = 1e9
    return tiny_reader(sae)


def characters(text):
    """The place of each byte's character: a tiny token is one byte."""
    return [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]


def read_tokens(prepared, reader, ratio, hook):
    """Positions that are read at a hook, by the norm of each against the item's median."""
    places = list(prepared.regions["read"])
    norms = states_of(prepared, reader, hook)[places].norm(dim=-1)
    limit = ratio * norms.median()
    return [t for t, norm in zip(places, norms, strict=True) if norm <= limit]


# Tokens of a pass


def test_tokens_are_the_probe_on_each_token_of_words_where_it_is_active(seen, reader):
    task, shards = seen
    works = {p.item.id: p for p in prepare_items(some(), reader.subject)}

    table = collect.token_table(shards, task.plan)

    assert tuple(table.columns) == TOKEN_COLUMNS
    left_out = 0
    for row in table.itertuples():
        prepared, probe = works[row.item], PROBES[CONCEPTS.index(row.concept)]
        item = prepared.item
        words = item.text or "".join(message.content for message in item.messages)
        system = "".join(m.content for m in item.messages or () if m.role == "system")
        places = characters(words)[len(system.encode()) :]
        expected = {}
        for s, hook in enumerate((HOOK, EARLIER)):
            latents = [f.latent for f in probe.features if f.sae == s]
            kept = read_tokens(prepared, reader, 1.2, hook)
            left_out += len(prepared.regions["read"]) - len(kept)
            found = reader.saes[s].encode(states_of(prepared, reader, hook)[kept])[:, latents]
            for t, value in zip(kept, found.max(dim=1).values.tolist(), strict=True):
                expected[t] = max(expected.get(t, value), value)
        active = {t: value for t, value in sorted(expected.items()) if value != 0}
        order = list(prepared.regions["read"])
        assert [*zip(row.starts, row.ends, strict=True)] == [places[order.index(t)] for t in active]
        assert row.activations == pytest.approx(list(active.values()), abs=1e-5)
        assert (row.starts.dtype, row.activations.dtype) == (np.int32, np.float32)
    assert left_out


def test_a_text_on_which_the_probe_is_silent_has_a_row_without_tokens(silenced, tmp_path):
    items = [make_item("a", "positive", text="some words")]
    task = Task(make_plan(silenced), "confirm", chosen(locked((0, 7))))

    (row,) = collect.token_table(run_pass(items, task, silenced, tmp_path), task.plan).itertuples()

    assert (row.item, row.concept) == ("a", "danger")
    assert len(row.starts) == len(row.ends) == len(row.activations) == 0


def test_each_text_has_a_row_for_each_concept_whose_probe_reads_it(seen):
    task, shards = seen
    table = collect.token_table(shards, task.plan)

    expected = {
        (item.id, concept)
        for item in some()
        for concept in CONCEPTS
        if item.concept in (None, concept)
    }
    assert set(zip(table["item"], table["concept"], strict=True)) == expected
    assert len(table) == len(expected)
    for place, concept in enumerate(CONCEPTS):
        scored = scores_of(shards, task, probe=place)
        assert {(name, concept) for name in scored} == {one for one in expected if concept in one}


def test_items_without_the_region_with_a_picture_or_neutral_have_no_row(tmp_path):
    save_tiny_vision(tmp_path / "subject", "llava")
    subject = load_subject(SubjectConfig(model="subject", saes=[{"path": "unused"}]), tmp_path)
    reader = dataclasses.replace(tiny_reader(tiny_sae(tmp_path / "sae")), subject=subject)
    turns = (("user", "well?"), ("assistant", "yes"))
    items = [
        make_item("prompt", "positive", text="no reply"),
        make_item("talk", "positive", turns=turns),
        make_item("neutral", "neutral", concept=None, turns=turns),
        make_shown("shown", "positive", concept="danger", turns=turns),
    ]
    task = Task(make_plan(reader, region="assistant"), "confirm", chosen(locked((0, 3))))
    shards = run_pass(items, task, reader, tmp_path / "run", lambda item: draw(item.id))

    table = collect.token_table(shards, task.plan)

    assert list(table["item"]) == ["talk"]
    assert (collect.firing_table(shards, task.plan)["source"] == "neutral").any()


def test_no_other_pass_writes_tokens(reader, tmp_path):
    for stage in ("search", "calibrate", "shifts", "repeats"):
        task = Task(make_plan(reader), stage, chosen(PROBES[0]))
        shards = run_pass(some_items(1), task, reader, tmp_path / stage)

        assert collect.token_table(shards, task.plan).empty
        assert not any(len(shard.cofiring) for shard in shards)


# Latents that fire together


def fired_tokens(reader, ratio):
    """Which latents of each SAE fire on each read token of words: bool [tokens, d_sae]."""
    found = ([], [])
    for prepared in prepare_items(some(), reader.subject):
        for s, hook in enumerate((HOOK, EARLIER)):
            x = states_of(prepared, reader, hook)[read_tokens(prepared, reader, ratio, hook)]
            found[s].append(reader.saes[s].encode(x) != 0)
    return [torch.cat(parts).numpy() for parts in found]


@pytest.mark.parametrize("most", [5, OTHERS])
def test_cofiring_is_of_the_latents_with_the_largest_jaccard_index(seen, reader, most, monkeypatch):
    monkeypatch.setattr(collect, "OTHERS", most)
    task, shards = seen
    firing = collect.firing_table(shards, task.plan)

    table = collect.cofiring_table(shards, PROBES, firing)

    assert tuple(table.columns) == COFIRING_COLUMNS
    fired, expected = fired_tokens(reader, 1.2), set()
    for probe in PROBES:
        for f in probe.features:
            every, mine = fired[f.sae], fired[f.sae][:, f.latent]
            both = (every & mine[:, None]).sum(axis=0)
            either = (every | mine[:, None]).sum(axis=0)
            others = [o for o in range(every.shape[1]) if o != f.latent and both[o]]
            others.sort(key=lambda o, b=both, e=either: (-b[o] / e[o], o))
            expected |= {(probe.concept, f.sae, f.latent, o, both[o]) for o in others[:most]}
    assert {tuple(row) for row in table.itertuples(index=False)} == expected
    assert len(table) == len(expected) > 20


def test_a_feature_that_never_fired_has_no_row(silenced, tmp_path):
    task = Task(make_plan(silenced), "confirm", chosen(locked((0, 7))))
    shards = run_pass(some_items(1), task, silenced, tmp_path)
    firing = collect.firing_table(shards, task.plan)

    table = collect.cofiring_table(shards, task.choices.probes, firing)

    assert table.empty
    assert tuple(table.columns) == COFIRING_COLUMNS


def test_of_equal_indices_the_lower_latent_is_listed(monkeypatch):
    monkeypatch.setattr(collect, "OTHERS", 2)
    firing = pd.DataFrame(
        [("en", "read", "items", 0, latent, 4) for latent in range(5)]
        + [("ja", "read", "benign", 0, 1, 2), ("en", "image", "items", 0, 2, 100)],
        columns=["language", "region", "source", "sae", "latent", "tokens"],
    )
    rows = [(0, 0, 0, 4), (0, 0, 1, 3), (0, 0, 4, 2), (0, 0, 3, 2), (0, 0, 2, 1), (0, 0, 2, 1)]
    shard = type("Shard", (), {"cofiring": np.array(rows)})  # 3 of 7; 2 of 6, three times

    table = collect.cofiring_table([shard], [locked((0, 0))], firing)

    assert [tuple(row)[3:] for row in table.itertuples(index=False)] == [(1, 3), (2, 2)]


# Logits


def final_scale(model, family):
    """The final norm's weight, found by name."""
    text = getattr(model, "model", None) or getattr(model, "transformer", None) or model.gpt_neox
    text = getattr(text, "language_model", text)
    name = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm"}.get(family, "norm")
    weight = getattr(text, name).weight.double().numpy()
    return weight + 1 if family.startswith("gemma") else weight


def expected_effects(model, family, direction):
    """The direct path written out, float64 [vocabulary]."""
    direction = direction.double().numpy()
    if family in ("gpt2", "gpt_neox"):
        direction = direction - direction.mean()
    effects = model.lm_head.weight.double().numpy() @ (direction * final_scale(model, family))
    return effects - effects.mean()


def effects_of(subject, sae, latent):
    """Every token's, by the token."""
    top, bottom = logit_effects(subject, sae, latent, VOCABULARY)
    assert [one.token for one in top] == [one.token for one in bottom][::-1]
    return np.array([one.value for one in sorted(top, key=lambda one: one.token)])


@pytest.mark.parametrize("family", [*FAMILIES, *VISION_FAMILIES])
def test_logit_effects_are_the_direct_path(family, tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"), family=family)
    sae = reader.saes[0]

    found = effects_of(reader.subject, sae, 11)

    expected = expected_effects(reader.subject.model, family, sae.tensors["W_dec"][11])
    assert found == pytest.approx(expected, rel=0, abs=2e-8)  # Gemma adds 1 in float32


@pytest.mark.parametrize("family", FAMILIES)
def test_logit_effects_are_those_of_transformer_lens(family, tmp_path):
    """Which folds the final norm into the unembedding and centres it."""
    reader = tiny_reader(tiny_sae(tmp_path / "sae"), family=family)
    lens = lens_model(family, reader.subject.model)
    lens.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=True)

    found = effects_of(reader.subject, reader.saes[0], 5)

    expected = reader.saes[0].tensors["W_dec"][5] @ lens.W_U
    assert found == pytest.approx(expected.numpy(force=True), abs=2e-6)
    assert np.abs(found).max() > 0.05


def scaled(folder, architecture="standard", activation_scale=None, **options):
    save_tiny_sae(folder, architecture, **options)
    return load_sae(SaeRef(path=str(folder), activation_scale=activation_scale), folder)


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "topk", "rescale_acts_by_decoder_norm": True},
        {"activation_scale": 4.0, "normalize_activations": "expected_average_only_in"},
        {"architecture": "gated"},
        {"architecture": "matching_pursuit"},
        {"architecture": "jumprelu_skip_transcoder", "hook_name": "blocks.1.hook_resid_mid"},
    ],
    ids=str,
)
def test_a_direction_is_what_decoding_adds_for_one_unit(options, tmp_path):
    sae = scaled(tmp_path / "sae", **options)
    reader = tiny_reader(sae)
    one = torch.zeros(1, sae.facts.d_sae)
    x = torch.ones(1, WIDTH)
    nothing = sae.decode(one, x)
    one[0, 7] = 1.0
    direction = (sae.decode(one, x) - nothing)[0]

    found = effects_of(reader.subject, sae, 7)

    expected = expected_effects(reader.subject.model, "llama", direction)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_ten_largest_and_smallest_are_listed_with_their_tokens(reader):
    effects = effects_of(reader.subject, reader.saes[0], 3)

    top, bottom = logit_effects(reader.subject, reader.saes[0], 3)

    order = np.argsort(effects)
    assert [one.token for one in top] == order[::-1][:10].tolist()
    assert [one.token for one in bottom] == order[:10].tolist()
    for one in (*top, *bottom):
        assert one.value == effects[one.token]
        assert one.text == tiny_tokenizer().convert_ids_to_tokens(one.token)


def test_places_of_the_unembedding_that_are_no_token_are_not_listed(tmp_path):
    model = tiny_model("llama")
    padded = torch.nn.Linear(WIDTH, VOCABULARY + 9, bias=False)
    padded.weight.data[:VOCABULARY] = model.lm_head.weight
    padded.weight.data[VOCABULARY:] = 9.0
    model.lm_head = padded.requires_grad_(False)
    reader = tiny_reader(tiny_sae(tmp_path / "sae"), model=model)

    found = effects_of(reader.subject, reader.saes[0], 3)

    expected = expected_effects(model, "llama", reader.saes[0].tensors["W_dec"][3])
    assert len(found) == VOCABULARY
    assert found == pytest.approx(expected[:VOCABULARY], abs=1e-9)


def test_a_token_is_shown_in_one_line(tmp_path):
    vocabulary = {"a": 0, "\r": 1, "\n\n": 2, "\u2028": 3, "\x00": 4, "石": 5, "\\": 6}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    )
    subject = Subject(model=tiny_model("llama"), tokenizer=tokenizer, facts=MODEL)

    top, _ = logit_effects(subject, tiny_sae(tmp_path / "sae"), 0)

    shown = {one.token: one.text for one in top}
    assert shown == {0: "a", 1: "\\r", 2: "\\n\\n", 3: "\\u2028", 4: "\\x00", 5: "石", 6: "\\"}


@pytest.mark.parametrize(
    ("architecture", "hook_name"),
    [
        ("jumprelu", "blocks.1.attn.hook_z"),
        ("jumprelu", "blocks.1.mlp.hook_in"),
        ("jumprelu", "vision.blocks.1.hook_resid_post"),
        ("transcoder", "blocks.1.mlp.hook_in"),
    ],
)
def test_a_latent_that_does_not_write_into_the_stream_has_no_logits(
    architecture, hook_name, tmp_path
):
    sae = tiny_sae(tmp_path / "sae", architecture, hook_name=hook_name)

    assert logit_effects(tiny_reader(sae).subject, sae, 0) == ([], [])


def test_a_latent_of_a_vision_encoder_has_no_logits(tmp_path):
    save_tiny_encoder(tmp_path / "subject", "clip")
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}])
    subject = load_subject(config, tmp_path)
    sae = tiny_sae(tmp_path / "sae", hook_name=HOOK, d_in=16)

    assert logit_effects(subject, sae, 0) == ([], [])
    assert set(feature_table([locked((0, 1))], subject, [sae])["kind"]) == {"nearest"}


# Nearest latents


def expected_cosines(sae, latent):
    rows = sae.tensors["W_dec"].double().numpy()
    return rows @ rows[latent] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[latent])


@pytest.mark.parametrize("numbers", [1, 5 * WIDTH, 2**25])
def test_the_nearest_latents_are_those_of_the_largest_cosine(reader, numbers, monkeypatch):
    monkeypatch.setattr(features, "ENCODED_AT_ONCE", numbers)
    sae = reader.saes[0]
    cosines = expected_cosines(sae, 9)

    found = nearest_latents(sae, 9)

    order = [i for i in np.argsort(-cosines) if i != 9]
    assert [one.latent for one in found] == order[:10]
    assert [one.cosine for one in found] == pytest.approx(cosines[order[:10]])


def test_twins_have_cosine_one_and_a_dead_row_zero(tmp_path):
    sae = tiny_sae(tmp_path / "sae", d_sae=5)
    decoder = sae.tensors["W_dec"]
    decoder[4] = decoder[0] = 2 * decoder[2]
    decoder[1] = 0.0

    found = nearest_latents(sae, 2)

    assert {one.latent for one in found[:2]} == {0, 4}
    assert [one.cosine for one in found][:2] == pytest.approx([1.0, 1.0])
    assert {one.latent: one.cosine for one in found}[1] == 0.0
    assert len(found) == 4
    dead = nearest_latents(sae, 1)
    assert [(one.latent, one.cosine) for one in dead] == [(i, 0.0) for i in (0, 2, 3, 4)]


# The table of features


def test_the_table_holds_the_facts_of_each_feature_of_each_probe(reader):
    table = feature_table(PROBES, reader.subject, reader.saes)

    assert tuple(table.columns) == FEATURE_COLUMNS
    assert len(table) == 5 * 30
    for probe in PROBES:
        for f in probe.features:
            sae = reader.saes[f.sae]
            top, bottom = logit_effects(reader.subject, sae, f.latent)
            near = nearest_latents(sae, f.latent)
            expected = {
                "nearest": [(one.latent, "", one.cosine) for one in near],
                "top-logit": [(one.token, one.text, one.value) for one in top],
                "bottom-logit": [(one.token, one.text, one.value) for one in bottom],
            }
            keys = ["concept", "sae", "latent"]
            mine = table[(table[keys] == [probe.concept, f.sae, f.latent]).all(axis=1)]
            for kind, rows in expected.items():
                found = mine[mine["kind"] == kind]
                assert found["rank"].tolist() == list(range(1, 11))
                assert found["other"].tolist() == [row[0] for row in rows]
                assert found["text"].tolist() == [row[1] for row in rows]
                assert found["value"].tolist() == pytest.approx([row[2] for row in rows])


# A text of one's own


@pytest.mark.parametrize("numbers", [1, 2**25])
def test_activations_on_a_text_are_those_of_each_of_its_tokens(reader, numbers, monkeypatch):
    monkeypatch.setattr(features, "ENCODED_AT_ONCE", numbers)
    text, sae = "Grüß 石 <|end|>!", reader.saes[0]

    found = activations_on(text, reader.subject, sae, [9, 3])

    (prepared,) = prepare_items([make_item("a", text=text)], reader.subject)
    places = list(prepared.regions["read"])
    latents = sae.encode(states_of(prepared, reader, HOOK)[places])
    words = [c for part in ("Grüß 石 ", "!") for c in part for _ in c.encode()]
    assert list(found) == [9, 3]
    for latent, tokens in found.items():
        assert [one.text for one in tokens] == words
        expected = latents[:, latent].tolist()
        assert [one.activation for one in tokens] == pytest.approx(expected, abs=1e-6)
    assert any(one.activation > 0 for one in found[9])


@pytest.mark.parametrize("text", ["", "x" * 100_001])
def test_a_text_that_is_empty_or_too_long_is_refused(reader, text):
    with pytest.raises(ProbeError, match=f"the text has {len(text)} characters"):
        activations_on(text, reader.subject, reader.saes[0], [0])


def test_an_sae_of_the_vision_tower_sees_no_text(tmp_path):
    sae = tiny_sae(tmp_path / "sae", hook_name="vision.blocks.1.hook_resid_post")

    with pytest.raises(ProbeError, match="sees no words"):
        activations_on("words", tiny_reader(sae).subject, sae, [0])


def count_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("family", [*FAMILIES, *VISION_FAMILIES])
def test_attention_is_what_transformers_tells(family, tmp_path):
    subject = tiny_reader(tiny_sae(tmp_path / "sae"), family=family).subject
    (prepared,) = prepare_items([make_item("a", text="where heads look")], subject)
    with torch.no_grad():
        told = subject.model(torch.tensor([prepared.ids]), output_attentions=True).attentions
    hooks = count_hooks(subject.model)

    for layer, expected in enumerate(told):
        found = attention_patterns("where heads look", subject, f"blocks.{layer}.attn.hook_z")
        assert found.weights.dtype == np.float32
        assert found.weights.shape == (4, len(prepared.ids), len(prepared.ids))
        assert found.weights == pytest.approx(expected[0].numpy(), abs=1e-6)
    assert len({w.tobytes() for w in (t.numpy() for t in told)}) == len(told)
    assert list(found.tokens) == subject.tokenizer.convert_ids_to_tokens(list(prepared.ids))
    assert count_hooks(subject.model) == hooks


def test_attention_that_no_layer_tells_is_an_error(reader):
    model = tiny_model("llama")
    model.set_attn_implementation("sdpa")
    subject = dataclasses.replace(reader.subject, model=model)

    with pytest.raises(ProbeError, match="tells no attention") as caught:
        attention_patterns("words", subject, HOOK)

    assert "eager" in caught.value.hint


@pytest.mark.parametrize("hook_name", ["hook_embed", "vision.blocks.1.hook_resid_post"])
def test_attention_is_of_a_layer_of_the_text_stream(reader, hook_name):
    with pytest.raises(ProbeError, match="is in no layer of the text stream"):
        attention_patterns("words", reader.subject, hook_name)


@pytest.mark.parametrize("hook_name", ["blocks.3.hook_resid_post", "blocks.x.hook_resid_post"])
def test_attention_of_a_layer_that_is_not_there_is_refused(reader, hook_name):
    with pytest.raises(SaeError, match="is not a place of this llama model"):
        attention_patterns("words", reader.subject, hook_name)
