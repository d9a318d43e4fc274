"""Pictures through each family's own processor, against a straightforward forward pass."""

import json
from importlib.util import find_spec

import pytest
import torch

from compliance.errors import ProbeError, SaeError, SubjectError
from compliance.probes.engine import prepare_items
from compliance.probes.hooks import capture, resolve
from compliance.probes.inputs import model_inputs, own_states
from compliance.probes.subject import load_subject
from compliance.records.audit import SubjectConfig
from tests.probes.tiny import LAYERS
from tests.probes.tiny_pass import make_item, tiny_sae
from tests.probes.tiny_vision import (
    ENCODERS,
    IMAGE_TOKENS,
    LANGUAGE_FAMILIES,
    PLACEHOLDERS,
    draw,
    make_shown,
    save_tiny_encoder,
    save_tiny_vision,
)

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-5
TEXT_HOOKS = tuple(f"blocks.{n}.hook_resid_pre" for n in range(LAYERS))
VISION_HOOKS = ("vision.blocks.1.hook_resid_pre", "vision.blocks.2.hook_resid_post")
GRIDS = {"gemma3": (2, 2), "llava": (4, 4), "qwen2_vl": (3, 3), "qwen2_5_vl": (3, 3)}
TOWERS = {
    "gemma3": "model.vision_tower.encoder.layers",
    "llava": "model.vision_tower.encoder.layers",
    "llava_next": "model.vision_tower.encoder.layers",
    "qwen2_vl": "model.visual.blocks",
    "qwen2_5_vl": "model.visual.blocks",
    "idefics3": "model.vision_model.encoder.layers",
    "smolvlm": "model.vision_model.encoder.layers",
}
SIZES = {"a": (24, 24), "wide": (40, 16), "high": (12, 30)}
"""Pictures by item; those with other names are squares."""


def loaded(folder, name="subject"):
    config = SubjectConfig(model=name, saes=[{"path": "unused"}])
    return load_subject(config, folder)


@pytest.fixture(scope="module", params=LANGUAGE_FAMILIES)
def family(request):
    if request.param == "smolvlm" and find_spec("num2words") is None:
        pytest.skip("SmolVLM's own processor needs num2words")
    return request.param


@pytest.fixture(scope="module")
def subject(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    save_tiny_vision(folder / "subject", family)
    return loaded(folder)


def picture(item):
    return draw(item.id, *SIZES.get(item.id, (24, 24)))


def mixed():
    """Items with pictures of several sizes, with and without words, and without a picture."""
    return [
        make_shown("a", text="What is it?"),
        make_item("words", "positive", text="just some words"),
        make_shown("wide"),
        make_shown("high", turns=(("user", "Look."), ("assistant", "I see."), ("user", "And?"))),
        make_item("more", "positive", text="x"),
    ]


def plainly(subject, family, item):
    """The whole model on one item, written out by hand: what goes in and every hidden state."""
    shows = PLACEHOLDERS[family] if item.image else ""
    turns = [(m.role, m.content) for m in item.messages or ()] or [("user", item.text or "")]
    parts = [f"<|{role}|>{words}{shows if i == 0 else ''}<|end|>" for i, (role, words)
             in enumerate(turns)]  # fmt: skip
    text = "<|bos|>" + "".join(parts)
    pictures = {"images": [picture(item)]} if item.image else {}
    given = subject.processor(
        text=[text], **pictures, add_special_tokens=False, return_tensors="pt"
    )
    with torch.no_grad():
        found = subject.model(**given, output_hidden_states=True, use_cache=False)
    return given, found.hidden_states


def together(subject, items, hooks):
    """Each item's own states from one batch, by hook."""
    batch = prepare_items(items, subject, picture)
    inputs = model_inputs(batch, subject)
    ids, mask = inputs.pop("input_ids", None), inputs.pop("attention_mask", None)
    captured = capture(subject.model, ids, mask, hooks, **inputs)
    return batch, {h: own_states(values, h, batch, subject) for h, values in captured.items()}


# The text stream


def test_a_batch_of_items_with_and_without_pictures_is_as_one_by_one(subject, family):
    items = mixed()

    batch, states = together(subject, items, TEXT_HOOKS)

    for i, (item, prepared) in enumerate(zip(items, batch, strict=True)):
        given, expected = plainly(subject, family, item)
        assert list(prepared.ids) == given["input_ids"][0].tolist()
        for n, hook in enumerate(TEXT_HOOKS):
            assert states[hook][i].shape == expected[n][0].shape
            assert (states[hook][i] - expected[n][0]).abs().max() <= TOLERANCE, (item.id, hook)


def test_each_position_is_a_pictures_or_a_words(subject, family):
    image = subject.tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[family][0])

    for prepared in prepare_items(mixed(), subject, picture):
        tokens = [i for i, token in enumerate(prepared.ids) if token == image]
        assert list(prepared.regions["image"]) == tokens
        assert bool(tokens) == (prepared.item.image is not None)
        assert not set(tokens) & set(prepared.regions["read"])
        for role in ("user", "assistant"):
            ids = [prepared.ids[i] for i in prepared.regions[role]]
            said = [m.content for m in prepared.item.messages or () if m.role == role]
            if role == "user" and prepared.item.text:
                said = [prepared.item.text]
            assert subject.tokenizer.decode(ids) == "".join(said)
    assert subject.model.config.image_token_id == image


def test_a_pictures_tokens_hold_the_vectors_that_the_model_makes_of_it(subject, family):
    item = make_shown("wide", text="What?")

    (prepared,), states = together(subject, [item], TEXT_HOOKS[:1])
    given = model_inputs([prepared], subject)
    names = ("pixel_values", "image_grid_thw", "image_sizes", "pixel_attention_mask")
    with torch.no_grad():
        features = subject.model.get_image_features(**{n: given[n] for n in names if n in given})

    made = features.pooler_output
    made = made if isinstance(made, torch.Tensor) else torch.cat(list(made))
    rows = states[TEXT_HOOKS[0]][0][list(prepared.regions["image"])]
    assert torch.equal(rows, made.reshape(-1, rows.shape[1]))


def test_pictures_reach_the_tokens_that_follow(subject):
    items = [make_shown("a", text="What?"), make_shown("b", text="What?")]

    batch, states = together(subject, items, TEXT_HOOKS[-1:])

    one, other = states[TEXT_HOOKS[-1]]
    first = batch[0].regions["image"][0]
    assert torch.allclose(one[:first], other[:first], atol=1e-6)
    assert not torch.allclose(one[-1], other[-1], atol=1e-4)


def test_pictures_of_one_size_are_resized_once_before_they_are_run(subject, monkeypatch):
    ran, kind = [], type(subject.processor)
    call = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda *a, **v: ran.append(1) or call(*a, **v))
    items = [make_shown(name, text="What?") for name in ("a", "b", "c", "wide")]

    batch = prepare_items(items, subject, picture)

    assert len(ran) == 2
    for item, prepared in zip(items, batch, strict=True):
        (alone,) = prepare_items([item], subject, picture)
        assert (alone.ids, alone.regions) == (prepared.ids, prepared.regions)
        shown = (prepared.shown.rows, prepared.shown.grid, prepared.shown.patches)
        assert shown == (alone.shown.rows, alone.shown.grid, alone.shown.patches)
        assert prepared.shown.picture().tobytes() == picture(item).tobytes()


def test_the_grid_is_the_familys(subject, family):
    square, wide = prepare_items([make_shown("a"), make_shown("wide")], subject, picture)

    assert square.shown.grid == GRIDS.get(family, (0, 0))
    if family.startswith("qwen"):
        assert wide.shown.grid == (2, 5)
    for prepared in (square, wide):
        rows, columns = prepared.shown.grid
        assert rows * columns in (0, len(prepared.regions["image"]))


# The vision tower


def test_the_vision_towers_rows_are_each_items_own(subject, family):
    tower, items = subject.model.get_submodule(TOWERS[family]), mixed()

    batch, states = together(subject, items, VISION_HOOKS)

    for i, item in enumerate(items):
        seen = []
        before = tower[1].register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append(
                args[0] if args else kwargs["hidden_states"]
            ),
            with_kwargs=True,
        )
        after = tower[2].register_forward_hook(lambda _, args, out, seen=seen: seen.append(out))
        plainly(subject, family, item)
        before.remove()
        after.remove()
        for hook, value in zip(VISION_HOOKS, seen, strict=bool(seen)):
            value = value[0] if isinstance(value, tuple) else value
            clip = family.startswith("llava")  # which has a class token
            patches = value[:, 1:] if clip else value
            expected = patches.reshape(-1, patches.shape[-1])
            assert states[hook][i].shape == expected.shape
            assert (states[hook][i] - expected).abs().max() <= TOLERANCE
        if item.image is None:
            assert all(len(states[hook][i]) == 0 for hook in VISION_HOOKS)
            assert not seen


def test_a_place_in_the_tower_knows_its_width_and_its_end(subject, tmp_path):
    assert resolve(subject.model, VISION_HOOKS[0]).width == 16
    reader = tiny_sae(tmp_path, hook_name=VISION_HOOKS[0], d_in=16)
    reader.reads(subject.facts, 16)
    with pytest.raises(SaeError, match="the vision tower, which has 3 blocks"):
        resolve(subject.model, "vision.blocks.3.hook_resid_pre")


def test_a_text_model_has_no_tower():
    from tests.probes.tiny import tiny_model

    with pytest.raises(SaeError, match="has no vision tower"):
        resolve(tiny_model("llama"), VISION_HOOKS[0])


# What is refused


def llava(tmp_path, change=None):
    from tests.probes import tiny_vision

    tokenizer = tiny_vision.tokenizer_of("llava")
    if change:
        change(tokenizer)
    save_tiny_vision(tmp_path / "subject", "llava", tokenizer=tokenizer)
    return loaded(tmp_path)


def test_a_processor_of_another_model_is_refused(tmp_path):
    subject = llava(tmp_path)
    subject.processor.num_additional_image_tokens = 2

    with pytest.raises(ProbeError, match="gives 17 tokens for the picture, the model makes 16"):
        prepare_items([make_shown("a")], subject, picture)


def test_words_that_hold_the_token_of_a_picture_are_refused(tmp_path):
    subject = llava(tmp_path)

    for item in (make_item("a", "positive", text="see <image>"), make_shown("b", text="<image>")):
        with pytest.raises(ProbeError, match="<image>, which stands for a picture, is there"):
            prepare_items([item], subject, picture)


def test_a_template_without_a_place_for_a_picture_is_refused(tmp_path):
    def change(tokenizer):
        tokenizer.chat_template = (
            "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
        )

    with pytest.raises(ProbeError, match="chat template"):
        prepare_items([make_shown("a", text="What?")], llava(tmp_path, change), picture)


def test_a_template_for_strings_gets_the_picture_after_the_words(tmp_path):
    def change(tokenizer):
        tokenizer.chat_template = (
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        )

    subject = llava(tmp_path, change)

    (prepared,) = prepare_items([make_shown("a", text="What?")], subject, picture)

    text = subject.tokenizer.decode(prepared.ids)
    assert text == "<|user|>What?" + "<image>" * 16 + "<|end|>"
    assert prepared.regions["user"] == (1, 2, 3, 4, 5)


def test_without_a_template_the_picture_follows_the_words(tmp_path):
    def change(tokenizer):
        tokenizer.chat_template = None

    subject = llava(tmp_path, change)
    turns = (("user", "Look."), ("assistant", "I see."))

    (prepared,) = prepare_items([make_shown("a", turns=turns)], subject, picture)

    text = subject.tokenizer.decode(prepared.ids)
    assert text == "<|bos|>Look." + "<image>" * 16 + "\n\nI see."
    assistant = [prepared.ids[i] for i in prepared.regions["assistant"]]
    assert subject.tokenizer.decode(assistant) == "I see."
    assert prepared.regions["image"] == tuple(range(6, 22))


def test_a_template_that_wants_the_picture_first_is_followed(tmp_path):
    def change(tokenizer):
        tokenizer.chat_template = (
            "{% for m in messages %}<|{{ m.role }}|>"
            "{% for p in m.content if p.type == 'image' %}<image>{% endfor %}"
            "{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}{% endfor %}"
        )

    subject = llava(tmp_path, change)

    (prepared,) = prepare_items([make_shown("a", text="What?")], subject, picture)

    assert prepared.regions["image"] == tuple(range(1, 17))
    assert prepared.regions["user"] == tuple(range(17, 22))


def test_a_processor_that_writes_other_words_is_refused(tmp_path, monkeypatch):
    subject = llava(tmp_path)
    plain = type(subject.processor).__call__

    def shouting(self, *, text, **more):
        return plain(self, text=[one.upper().replace("<IMAGE>", "<image>") for one in text], **more)

    monkeypatch.setattr(type(subject.processor), "__call__", shouting)

    with pytest.raises(ProbeError, match="writes its words in other tokens"):
        prepare_items([make_shown("a", text="what?")], subject, picture)


def test_a_model_without_a_processor_takes_no_picture(tmp_path):
    save_tiny_vision(tmp_path / "subject", "llava")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "subject" / name).unlink()
    subject = loaded(tmp_path)

    assert subject.processor is None
    with pytest.raises(ProbeError, match="has a picture, and subject takes none"):
        prepare_items([make_shown("a")], subject, picture)


def test_a_picture_that_gets_other_tokens_when_it_is_run_is_refused(tmp_path):
    save_tiny_vision(tmp_path / "subject", "qwen2_vl")
    subject, sizes = loaded(tmp_path), iter([(24, 24), (40, 16)])
    batch = prepare_items([make_shown("a")], subject, lambda item: draw("a", *next(sizes)))

    with pytest.raises(ProbeError, match="item a: the processor gives it other tokens"):
        model_inputs(batch, subject)


def test_an_item_longer_than_the_models_positions_is_refused(tmp_path):
    subject = llava(tmp_path)

    with pytest.raises(ProbeError, match="tokens, the model has 512 positions"):
        prepare_items([make_shown("a", text="x" * 500)], subject, picture)


def test_a_picture_that_is_not_at_hand_is_named(tmp_path):
    with pytest.raises(ProbeError, match="item a: its picture is not at hand"):
        prepare_items([make_shown("a")], llava(tmp_path))


def test_a_line_is_refused_before_it_is_opened(tmp_path):
    def opened(item):
        raise AssertionError("the picture was opened")

    image = {"digest": "sha256:" + "0" * 64, "width": 12, "height": 2401, "description": "a line"}

    with pytest.raises(ProbeError, match="12 x 2401 pixels, and one side may be 200 times"):
        prepare_items([make_shown("a", image=image)], llava(tmp_path), opened)


def without(tmp_path, family, **changes):
    """The folder of a tiny model, its preprocessor_config.json changed."""
    save_tiny_vision(tmp_path / "subject", family)
    path = tmp_path / "subject" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return tmp_path


def test_an_image_processor_for_torchvision_alone_is_refused(tmp_path):
    folder = without(tmp_path, "llava", image_processor_type="Cohere2VisionImageProcessor")

    with pytest.raises(SubjectError, match="its image processor cannot be loaded") as caught:
        loaded(folder)
    assert "torchvision alone" in caught.value.hint


def test_a_processor_that_cannot_be_loaded_is_not_needed_for_texts(tmp_path):
    folder = without(tmp_path, "llava", image_processor_type="Cohere2VisionImageProcessor")
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}])
    text = make_item("t", "positive", text="just some words")

    subject = load_subject(config, folder, pictures=False)

    save_tiny_vision(tmp_path / "whole" / "subject", "llava")
    (with_it,) = prepare_items([text], loaded(tmp_path / "whole"))
    assert prepare_items([text], subject) == [with_it]


def test_what_is_missing_for_a_processor_is_named(tmp_path, monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", object())
    save_tiny_vision(tmp_path / "subject", "smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)

    with pytest.raises(SubjectError, match="its processor cannot be loaded: ImportError") as caught:
        loaded(tmp_path)
    assert caught.value.hint == "install num2words"


def test_a_template_that_the_processor_brings_counts(tmp_path):
    save_tiny_vision(tmp_path / "subject", "llava")
    assert loaded(tmp_path).facts.chat_template

    (tmp_path / "subject" / "chat_template.jinja").unlink()
    assert not loaded(tmp_path).facts.chat_template


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_vl", "qwen2_5_vl", "idefics3"])
def test_half_precision_takes_pictures(tmp_path, family):
    save_tiny_vision(tmp_path / "subject", family)
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}], dtype="bfloat16")
    subject = load_subject(config, tmp_path)

    _, states = together(subject, mixed(), (TEXT_HOOKS[1], VISION_HOOKS[0]))

    assert states[TEXT_HOOKS[1]][0].dtype is torch.float32


# Vision encoders


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_tiny_encoder(folder / "subject", request.param)
    return loaded(folder), request.param


def test_an_encoder_is_read_at_its_patches(encoder):
    subject, family = encoder
    items = [make_shown("a"), make_shown("wide"), make_shown("high")]

    batch, states = together(subject, items, (*TEXT_HOOKS, "blocks.2.hook_resid_post"))

    leading = 0 if family.startswith("siglip") else 1
    for i, item in enumerate(items):
        given = subject.processor(images=picture(item), return_tensors="pt")
        with torch.no_grad():
            expected = subject.model(**given, output_hidden_states=True).hidden_states
        assert batch[i].regions["image"] == tuple(range(16))
        assert batch[i].shown.grid == (4, 4)
        for n, hook in enumerate(TEXT_HOOKS):
            assert states[hook][i].shape == (16, 16)
            assert (states[hook][i] - expected[n][0, leading:]).abs().max() <= TOLERANCE


def test_of_an_encoder_the_facts_are_the_vision_towers(encoder):
    subject, family = encoder
    kinds = {"clip": "CLIPVisionModel", "sigl": "SiglipVisionModel", "vit": "ViTModel"}

    assert subject.tokenizer is None
    assert subject.facts.architecture == kinds[family[:4].split("-")[0]]
    assert (subject.facts.layers, subject.facts.d_model) == (LAYERS, 16)
    assert not subject.facts.chat_template


def test_an_encoder_reads_no_words(encoder):
    subject, _ = encoder

    with pytest.raises(ProbeError, match="is a text, and subject reads pictures alone"):
        prepare_items([make_item("a", "positive", text="words")], subject, picture)
    with pytest.raises(ProbeError, match="has words, and subject reads pictures alone"):
        prepare_items([make_shown("a", text="What?")], subject, picture)


def test_a_picture_that_an_encoders_processor_refuses_is_told(tmp_path, monkeypatch):
    save_tiny_encoder(tmp_path / "subject", "vit")
    subject = loaded(tmp_path)

    def refuse(*args, **values):
        raise ValueError("too thin")

    monkeypatch.setattr(type(subject.processor), "preprocess", refuse)

    with pytest.raises(ProbeError, match="refuses a picture of 24 x 24 pixels: too thin"):
        prepare_items([make_shown("a")], subject, picture)


def test_the_processor_is_in_the_digest(tmp_path):
    save_tiny_encoder(tmp_path / "subject", "vit")
    before = loaded(tmp_path).facts.tokenizer_digest
    path = tmp_path / "subject" / "preprocessor_config.json"
    changed = json.loads(path.read_text()) | {"image_mean": [0.1, 0.2, 0.3]}
    path.write_text(json.dumps(changed))

    assert loaded(tmp_path).facts.tokenizer_digest != before
