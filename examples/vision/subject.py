"""Puts the vision-language demo subject together: a transformers folder that reads pictures.

The language model is the text demo's, weight by weight; in front of it stand the vision tower and
projector that ``train.py`` trained, which lie in ``tower/``. One row is added to the embedding,
for the token ``<image>``: it is all zeros and never read, because the picture's own vectors take
its place. So a text gives the same token ids and the same hidden states as in ``../demo/subject``.

Nothing here depends on chance, time or the machine. ``SHA256SUMS`` says what goes in and out.

    python examples/demo/subject.py      # once; needs a package index
    python examples/vision/subject.py [TARGET_DIR]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))
from model_folder import (
    WEIGHTS,
    build,
    digest,
    recorded_digest,
    require_digest,
    say,
    special_token,
    write_json,
    write_safetensors,
)

HERE = Path(__file__).parent
TEXT_SUBJECT = HERE.parent / "demo" / "subject"
TOWER = HERE / "tower"
TARGET = HERE / "subject"
TOWER_WEIGHTS = "tower.safetensors"
IMAGE_TOKEN = "<image>"
MEAN, SPREAD = 0.85, 0.3
"""What pixels in 0..1 are normalised by: pages are mostly white, and white should be near 0."""

CHAT_TEMPLATE = """\
{% for message in messages %}\
{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\
<|im_end|>\\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\\n' }}\
{% if message['content'] is string %}{{ message['content'] }}\
{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'text' %}{{ part['text'] }}\
{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}\
{% endfor %}{% endif %}\
{{ '<|im_end|>' + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

README = """# SmolLM2-135M-Instruct with a small vision tower

- Language model: that of the text demo, unchanged (see `NOTICE`); one embedding row of zeros is
  added for `<image>`.
- Vision tower and projector: trained in this repository by `examples/vision/train.py`.
- What it can and cannot do is measured in `examples/vision/tower/README.md`.
"""


def main() -> int:
    """Builds the folder unless it is already there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    parser.add_argument("--tower", type=Path, default=TOWER, help="another tower than the shipped")
    args = parser.parse_args()
    digest_of_all = expected_digests(args.tower)[WEIGHTS]
    return build(
        args.target, digest_of_all, lambda _, folder: make(folder, args.tower, TEXT_SUBJECT)
    )


def expected_digests(tower: Path) -> dict[str, str]:
    """What ``digests.json`` in the tower's folder says of the weights, in hex.

    Returns:
        ``text``: the text subject's; ``tower``: the tower's; ``model.safetensors``: what is built.
    """
    return json.loads((tower / "digests.json").read_text(encoding="utf-8"))


def make(folder: Path, tower: Path, text_subject: Path) -> None:
    """Fills an empty folder from a tower's folder and the text subject's."""
    expected = expected_digests(tower)
    if recorded_digest(text_subject) != expected["text"]:
        sys.exit(
            f"{text_subject}: no text subject here; run 'python examples/demo/subject.py' first"
        )
    require_digest(tower / TOWER_WEIGHTS, expected["tower"])
    say("joining the language model and the tower: 560 MB, a few seconds")
    write_safetensors(folder / WEIGHTS, joined_weights(tower, text_subject))
    write_settings(folder, tower, text_subject)
    shutil.copy(text_subject / "LICENSE", folder / "LICENSE")
    shutil.copy(tower / "NOTICE", folder / "NOTICE")
    (folder / "README.md").write_text(README, encoding="utf-8")


def joined_weights(tower: Path, text_subject: Path) -> dict[str, np.ndarray]:
    """All weights in float32 under the names that transformers' Llava writes."""
    weights = dict(read_safetensors(tower / TOWER_WEIGHTS))
    for name, weight in read_safetensors(text_subject / WEIGHTS).items():
        weights[f"language_model.{name}"] = weight
    rows = weights["language_model.model.embed_tokens.weight"]
    with_image = np.concatenate([rows, np.zeros_like(rows[:1])])
    weights["language_model.model.embed_tokens.weight"] = with_image
    return weights


def write_settings(folder: Path, tower: Path, text_subject: Path) -> None:
    """Writes every JSON file and the chat template: the folder without its weights."""
    text = read_json(text_subject / "config.json")
    image_id = text["vocab_size"]
    model = read_json(tower / "config.json")
    model |= {"image_token_index": image_id, "text_config": text | {"vocab_size": image_id + 1}}
    write_json(folder / "config.json", model)

    tokenizer = read_json(text_subject / "tokenizer.json")
    tokenizer["added_tokens"].append(special_token(image_id, IMAGE_TOKEN))
    write_json(folder / "tokenizer.json", tokenizer)

    settings = read_json(text_subject / "tokenizer_config.json")
    del settings["chat_template"]
    write_json(folder / "tokenizer_config.json", settings | {"processor_class": "LlavaProcessor"})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    write_json(folder / "processor_config.json", processor_config(model["vision_config"]))


def processor_config(vision: dict) -> dict:
    """Pictures are made square by stretching; white is 0.5, black -2.8.

    The image processor is the one that needs Pillow and numpy alone.
    """
    side = vision["image_size"]
    image_processor = {
        "image_processor_type": "SiglipImageProcessorPil",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [SPREAD] * 3,
    }
    return {
        "processor_class": "LlavaProcessor",
        "image_processor": image_processor,
        "image_token": IMAGE_TOKEN,
        "num_additional_image_tokens": 0,
        "patch_size": vision["patch_size"],
        "vision_feature_select_strategy": "full",
    }


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Reads float16 and float32 tensors as float32."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
        flat = np.frombuffer(data[start + begin : start + end], kind)
        tensors[name] = flat.astype("<f4").reshape(entry["shape"])
    return tensors


def write_tower_digests(tower: Path, text_subject: Path) -> None:
    """Writes ``digests.json`` after training: builds the weights once to learn their digest."""
    with tempfile.TemporaryDirectory(dir=tower, prefix=".unfinished-") as scratch:
        joined = Path(scratch) / WEIGHTS
        write_safetensors(joined, joined_weights(tower, text_subject))
        digests = {
            "text": digest(text_subject / WEIGHTS),
            "tower": digest(tower / TOWER_WEIGHTS),
            WEIGHTS: digest(joined),
        }
    write_json(tower / "digests.json", digests)


def read_json(path: Path) -> dict:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
