"""The vision-language demo subject: built from the shipped tower, loaded offline, asked.

The text subject is fetched by ``make demo``; without it there is nothing to put a tower before.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
TEXT = ROOT / "examples" / "demo" / "subject"
VISION = ROOT / "examples" / "vision"
QUESTION = {"type": "text", "text": "What does this picture show?"}

needs_text_subject = pytest.mark.skipif(
    not (TEXT / "model.safetensors").is_file(),
    reason="examples/demo has no subject yet; 'make demo' fetches it",
)
needs_fonts = pytest.mark.skipif(
    not Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").is_file()
    or not Path("/usr/share/unicode/cldr/common/annotations/en.xml").is_file()
    or not Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc").is_file(),
    reason="needs Debian's Noto fonts and unicode-cldr-core",
)


@pytest.fixture(scope="module")
def script():
    """Imports a script of examples/vision by its name, and forgets all of them afterwards."""
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(VISION))
    yield importlib.import_module
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(ROOT / "examples") in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder(script, tmp_path_factory):
    """The subject, built anew."""
    subject, target = script("subject"), tmp_path_factory.mktemp("vision") / "subject"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["subject.py", str(target)])
        assert subject.main() == 0
        assert subject.main() == 0  # and again: nothing to do
    return target


@pytest.fixture(scope="module")
def loaded(folder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, found = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    return AutoProcessor.from_pretrained(folder), model, found


def asked(processor, content):
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip


def test_the_shipped_tower_is_small_and_what_its_digests_say(script):
    subject = script("subject")

    weights = VISION / "tower" / "tower.safetensors"

    assert weights.stat().st_size < 20e6
    assert subject.digest(weights) == subject.expected_digests(VISION / "tower")["tower"]
    assert (VISION / "tower" / "NOTICE").is_file()


@needs_text_subject
def test_every_weight_has_its_place(loaded, folder):
    _, model, found = loaded

    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert not any(found.values())
    assert (folder / "SHA256SUMS").is_file()


@needs_text_subject
def test_a_text_is_read_as_by_the_text_subject(loaded):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    processor, model, _ = loaded
    tokenizer, text = (kind.from_pretrained(TEXT) for kind in (AutoTokenizer, AutoModelForCausalLM))

    for words in ("Is a knife dangerous?", "ナイフは危険ですか？", "Опасен ли нож?"):
        alone, here = asked(tokenizer, words), asked(processor, words)
        parts = asked(processor, [{"type": "text", "text": words}])
        with torch.no_grad():
            expected, actual = text(**alone).logits, model(**here).logits

        assert alone["input_ids"].tolist() == here["input_ids"].tolist()
        assert alone["input_ids"].tolist() == parts["input_ids"].tolist()
        assert torch.equal(expected, actual[..., :-1])
        assert not actual[..., -1].any(), "the added row is zeros, so it is never the likeliest"


@needs_text_subject
def test_a_picture_takes_64_tokens_and_is_read(loaded):
    import torch
    from PIL import Image

    processor, model, _ = loaded
    red, blue = (
        asked(processor, [QUESTION, {"type": "image", "image": Image.new("RGB", (30, 20), colour)}])
        for colour in ("red", "blue")
    )  # fmt: skip

    with torch.no_grad():
        answers = [model(**inputs).logits[0, -1] for inputs in (red, blue)]

    image = red["input_ids"][0] == model.config.image_token_id
    assert int(image.sum()) == 64 == model.config.image_seq_length
    assert processor.decode(red["input_ids"][0][: image.nonzero()[0]]).endswith(QUESTION["text"])
    assert red["pixel_values"].shape == (1, 3, 128, 128)
    assert not torch.equal(*answers)


@needs_text_subject
def test_the_processor_needs_pillow_and_numpy_alone(folder, loaded):
    processor, _, _ = loaded

    settings = json.loads((folder / "processor_config.json").read_text())

    assert settings["image_processor"]["image_processor_type"].endswith("Pil")
    assert type(processor.image_processor).__name__.endswith("Pil")
    assert "torchvision" not in sys.modules


@needs_fonts
def test_what_is_held_out_is_in_no_training_text(script):
    pictures, train = script("training_pictures"), script("train")
    every = pictures.emojis()
    seen = [emoji for emoji in every if not emoji.held_out]
    held_out = [emoji for emoji in every if emoji.held_out]

    assert 0.08 < len(held_out) / len(every) < 0.12
    for language in pictures.LANGUAGES:
        texts = set(train.texts(seen, held_out, language))
        assert not texts & {emoji.names[language] for emoji in held_out}


@needs_fonts
def test_typeset_words_know_where_their_characters_are(script):
    pictures = script("training_pictures")

    page, characters = pictures.typeset("upward downward", "en", style=0, size=24, place=(0, 0))

    ink = np.asarray(page.convert("L")) < 128
    touched = ink.reshape(8, 16, 8, 16).any(axis=(1, 3))
    assert touched[characters < 0].sum() <= 3, "hardly any ink where no character is noted"
    above, below = characters[0], characters[3]
    assert {0, 2, 4} <= set(above) and max(above) < len("upward ")
    assert {8, 10, 12} <= set(below) and min(one for one in below if one >= 0) >= len("upward ")
    assert pictures.typeset("up down", "en", style=0, size=60) is None


@needs_fonts
@needs_text_subject
def test_the_recipe_takes_a_step_in_each_stage(script, tmp_path, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train = script("train")
    monkeypatch.setattr(train, "emojis", lambda: script("training_pictures").emojis()[::40])
    tokenizer = AutoTokenizer.from_pretrained(TEXT)
    model = AutoModelForCausalLM.from_pretrained(TEXT)
    settings = train.Settings(word_steps=1, word_batch=4, caption_steps=1, caption_batch=2)
    embeddings = model.get_input_embeddings().weight.detach().clone()
    captions = train.CaptionLoss(model, tokenizer)
    runs = [train.prepare(settings, {}, tokenizer, embeddings) for _ in range(2)]
    before = {name: weight.clone() for name, weight in runs[0].tower.state_dict().items()}

    runs[0].run(tmp_path, captions, last=1)
    runs[1].load(tmp_path / "checkpoint.pt")
    for run in runs:
        run.run(tmp_path, captions)

    after, again = (run.tower.state_dict() for run in runs)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.equal(before["multi_modal_projector.linear_2.weight"],
                           after["multi_modal_projector.linear_2.weight"])  # fmt: skip
    assert all(torch.equal(after[name], again[name]) for name in after), "goes on as if not stopped"


@needs_fonts
@needs_text_subject
def test_the_captions_loss_is_what_the_whole_model_says(script, loaded):
    """The kept prefix and the padding change nothing but bfloat16's rounding."""
    import torch
    from transformers import AutoModelForCausalLM

    processor, model, _ = loaded
    train, pictures = script("train"), script("training_pictures")
    names, shown = ["knife", "face with tears of joy"], [pictures.plain_depicted(c) for c in "🔪😂"]
    captions = train.CaptionLoss(AutoModelForCausalLM.from_pretrained(TEXT), processor.tokenizer)

    with torch.no_grad():
        vectors = model.get_image_features(
            pixel_values=processor.image_processor(shown, return_tensors="pt")["pixel_values"]
        ).pooler_output
        actual = captions(torch.stack(list(vectors)), "en", names)
        told = []
        for picture, name in zip(shown, names, strict=True):
            inputs = asked(processor, [QUESTION, {"type": "image", "image": picture}])
            end = processor.tokenizer(name + "<|im_end|>", return_tensors="pt")["input_ids"]
            logits = model(
                input_ids=torch.cat([inputs["input_ids"], end], 1),
                pixel_values=inputs["pixel_values"],
            ).logits[0, -end.shape[1] - 1 : -1]
            told += logits.log_softmax(-1).gather(1, end[0][:, None])[:, 0].tolist()

    assert actual.item() == pytest.approx(-np.mean(told), rel=0.02)


@needs_text_subject
@needs_fonts
def test_names_side_by_side_score_as_one_by_one(script, folder):
    card, pictures = script("card"), script("training_pictures")
    reader = card.Reader(folder)
    picture, names = pictures.plain_depicted("🔪"), ["knife", "face with tears of joy", "sun"]

    together = reader.likelihoods(picture, "en", names)
    alone = [reader.likelihoods(picture, "en", [name])[0] for name in names]

    assert together == pytest.approx(alone, rel=0.02)


def test_ranks_are_summed_up_with_intervals_and_chance(script):
    card = script("card")

    found = card.numbers(card.Retrieval("en", "depicted", True, (1, 1, 3, 10, 6, 2, 7, 8, 9, 4)))

    assert found["first"][0] == 0.2 and found["first_chance"] == pytest.approx(0.1)
    assert found["five"][0] == 0.5 and found["five_chance"] == pytest.approx(0.5)
    assert found["reciprocal_chance"] == pytest.approx(np.mean([1 / n for n in range(1, 11)]))
    low, high = found["five"][1:]
    assert low < 0.5 < high
