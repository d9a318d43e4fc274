"""Vision-language models and vision encoders that are a few kilobytes large, with real processors.

Random weights, the families' own processors, and a byte tokenizer that also knows the tokens which
stand for pictures; ``save_tiny_vision`` writes what a user would point ``audit.yaml`` at.
"""

from pathlib import Path
from zlib import crc32

import numpy as np
import PIL.Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Gemma3TextConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    Idefics3VisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
    SmolVLMProcessor,
    SmolVLMVisionConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from compliance.probes.processors import without_videos
from compliance.records.suite import Item
from tests.probes.tiny import _GROUPED, _SANDWICH, LAYERS, SPECIAL, tiny_tokenizer, with_weights
from tests.probes.tiny_pass import make_item

IMAGE_TOKENS = {
    "gemma3": ("<image_soft_token>", "<start_of_image>", "<end_of_image>"),
    "llava": ("<image>",),
    "llava_next": ("<image>",),
    "qwen2_vl": ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
    "qwen2_5_vl": ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
    "idefics3": (
        "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    ),
}  # fmt: skip
IMAGE_TOKENS["smolvlm"] = IMAGE_TOKENS["idefics3"]

LANGUAGE_FAMILIES = (
    "gemma3", "llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm",
)  # fmt: skip
ENCODERS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model", "vit", "vit-classifier")

SIDE = 16
"""Pixels of the square that most of the processors make of a picture."""

PLACEHOLDERS = dict.fromkeys(LANGUAGE_FAMILIES, "<image>") | {
    "gemma3": "<start_of_image>",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}
"""What a template writes for a picture."""

_TEMPLATE = (
    "{{{{ bos_token }}}}{{% for message in messages %}}<|{{{{ message.role }}}}|>"
    "{{% if message.content is string %}}{{{{ message.content }}}}{{% else %}}"
    "{{% for part in message.content %}}{{% if part.type == 'image' %}}{shows}"
    "{{% else %}}{{{{ part.text | trim }}}}{{% endif %}}{{% endfor %}}{{% endif %}}<|end|>"
    "{{% endfor %}}"
)
_VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS,
    "num_attention_heads": 2, "image_size": SIDE, "patch_size": 4,
}  # fmt: skip
_SIZE = {"height": SIDE, "width": SIDE}
_TILINGS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_ROPE = {
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
}


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """The byte tokenizer with the family's tokens for pictures and a template that takes them."""
    tokens, names = IMAGE_TOKENS[family], ("image_token", "boi_token", "eoi_token")
    named = dict(zip(names, tokens, strict=True)) if family == "gemma3" else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, pad_token=SPECIAL[0],
        bos_token=SPECIAL[1], eos_token=SPECIAL[2], extra_special_tokens=named,
    )  # fmt: skip
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    tokenizer.chat_template = _TEMPLATE.format(shows=PLACEHOLDERS[family])
    return tokenizer


def vision_model(family: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """A model of three text blocks, in float32 and evaluation mode."""
    place = tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[family][0])
    grouped = _GROUPED | {"vocab_size": len(tokenizer)}
    match family:
        case "gemma3":
            text = Gemma3TextConfig(**(_SANDWICH | {"vocab_size": len(tokenizer)}))
            config = Gemma3Config(
                text_config=text, vision_config=SiglipVisionConfig(**_VISION),
                mm_tokens_per_image=4, image_token_index=place,
                boi_token_index=place + 1, eoi_token_index=place + 2,
            )  # fmt: skip
            kind = Gemma3ForConditionalGeneration
        case "llava" | "llava_next":
            tiled = family == "llava_next"
            more = {"image_grid_pinpoints": _TILINGS} if tiled else {}
            config = (LlavaNextConfig if tiled else LlavaConfig)(
                text_config=LlamaConfig(**grouped), vision_config=CLIPVisionConfig(**_VISION),
                image_token_index=place, image_seq_length=16, **more,
            )  # fmt: skip
            kind = LlavaNextForConditionalGeneration if tiled else LlavaForConditionalGeneration
        case "qwen2_vl":
            vision = {
                "depth": LAYERS, "embed_dim": 16, "hidden_size": 32, "num_heads": 2,
                "patch_size": 4, "mlp_ratio": 2,
            }  # fmt: skip
            config = Qwen2VLConfig(
                text_config=grouped | _ROPE, vision_config=vision, **_qwen_places(tokenizer)
            )
            kind = Qwen2VLForConditionalGeneration
        case "qwen2_5_vl":
            vision = {
                "depth": LAYERS, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2,
                "patch_size": 4, "intermediate_size": 24, "window_size": 16,
                "fullatt_block_indexes": [1],
            }  # fmt: skip
            config = Qwen2_5_VLConfig(
                text_config=grouped | _ROPE, vision_config=vision, **_qwen_places(tokenizer)
            )
            kind = Qwen2_5_VLForConditionalGeneration
        case _:
            smol = family == "smolvlm"
            vision = (SmolVLMVisionConfig if smol else Idefics3VisionConfig)(**_VISION)
            config = (SmolVLMConfig if smol else Idefics3Config)(
                text_config=LlamaConfig(**grouped), vision_config=vision, image_token_id=place,
                scale_factor=2, pad_token_id=0,
            )  # fmt: skip
            kind = SmolVLMForConditionalGeneration if smol else Idefics3ForConditionalGeneration
    config._attn_implementation = "eager"
    return with_weights(kind(config), seed)


def _qwen_places(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("image_token_id", "vision_start_token_id", "vision_end_token_id", "video_token_id")
    tokens = IMAGE_TOKENS["qwen2_vl"]
    return dict(zip(names, tokenizer.convert_tokens_to_ids(list(tokens)), strict=True))


def processor_of(family: str, tokenizer: PreTrainedTokenizerFast):
    """The family's own processor, at the tiny size."""
    match family:
        case "gemma3":
            images = Gemma3ImageProcessorPil(size=_SIZE, image_seq_length=4)
            return Gemma3Processor(images, tokenizer, image_seq_length=4)
        case "llava" | "llava_next":
            sizes = {"size": {"shortest_edge": SIDE}, "crop_size": _SIZE}
            images, kind = CLIPImageProcessorPil(**sizes), LlavaProcessor
            if family == "llava_next":
                images = LlavaNextImageProcessorPil(**sizes, image_grid_pinpoints=_TILINGS)
                kind = LlavaNextProcessor
            return kind(
                images, tokenizer, patch_size=4, vision_feature_select_strategy="default",
                num_additional_image_tokens=1,
            )  # fmt: skip
        case "qwen2_vl" | "qwen2_5_vl":
            kind = Qwen2VLProcessor if family == "qwen2_vl" else Qwen2_5_VLProcessor
            images = Qwen2VLImageProcessorPil(
                patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024}
            )
            return without_videos(kind)(images, tokenizer, None)
        case _:
            smol = family == "smolvlm"
            kind = SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil
            images = kind(
                size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}, **_HALF
            )
            if smol:
                return without_videos(SmolVLMProcessor)(images, tokenizer, None, image_seq_len=4)
            return Idefics3Processor(images, tokenizer, image_seq_len=4)


def save_tiny_vision(
    path: Path, family: str, seed: int = 0, *, tokenizer: PreTrainedTokenizerFast | None = None
) -> Path:
    """A vision-language model, tokenizer and processor in one folder, as a user has them."""
    tokenizer = tokenizer or tokenizer_of(family)
    processor = processor_of(family, tokenizer)
    vision_model(family, tokenizer, seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    processor.image_processor.save_pretrained(path)
    _without_videos_part(processor, path)
    return path


def _without_videos_part(processor, path: Path) -> None:
    """``processor_config.json``; one without a part for videos is not written by transformers."""
    import json

    names = ("image_seq_length", "image_seq_len", "patch_size", "num_additional_image_tokens",
             "vision_feature_select_strategy")  # fmt: skip
    found = {name: getattr(processor, name) for name in names if hasattr(processor, name)}
    content = found | {"processor_class": type(processor).__name__}
    (path / "processor_config.json").write_text(json.dumps(content), encoding="utf-8")


def encoder_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A vision encoder, or a model that holds one."""
    text = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16,
    }  # fmt: skip
    match family:
        case "clip":
            config = CLIPConfig(
                text_config=CLIPTextConfig(**text), vision_config=CLIPVisionConfig(**_VISION)
            )
            return with_weights(CLIPModel(config), seed)
        case "clip_vision_model":
            return with_weights(CLIPVisionModel(CLIPVisionConfig(**_VISION)), seed)
        case "siglip":
            config = SiglipConfig(
                text_config=SiglipTextConfig(**text), vision_config=SiglipVisionConfig(**_VISION)
            )
            return with_weights(SiglipModel(config), seed)
        case "siglip_vision_model":
            return with_weights(SiglipVisionModel(SiglipVisionConfig(**_VISION)), seed)
        case "vit":
            return with_weights(ViTModel(ViTConfig(**_VISION)), seed)
        case _:
            return with_weights(ViTForImageClassification(ViTConfig(**_VISION)), seed)


def save_tiny_encoder(path: Path, family: str, seed: int = 0) -> Path:
    """A vision encoder and its image processor in one folder."""
    encoder_model(family, seed).save_pretrained(path)
    if family.startswith("clip"):
        images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=_SIZE)
    elif family.startswith("siglip"):
        images = SiglipImageProcessorPil(size=_SIZE)
    else:
        images = ViTImageProcessorPil(size=_SIZE)
    images.save_pretrained(path)
    return path


def draw(name: str, width: int = 24, height: int = 24) -> PIL.Image.Image:
    """A picture of coloured noise that its name decides."""
    stream = np.random.RandomState(crc32(name.encode()))
    values = stream.randint(0, 256, (height, width, 3)).astype(np.uint8)
    return PIL.Image.fromarray(values, "RGB")


def make_shown(name: str, label: str = "positive", **values: object) -> Item:
    """An item with a picture, which ``draw`` draws."""
    image = {"digest": "sha256:" + "0" * 64, "width": 24, "height": 24, "description": "noise"}
    shown = {"modality": "image", "rendering": "depicted", "image": image}
    return make_item(name, label, **shown | values)
