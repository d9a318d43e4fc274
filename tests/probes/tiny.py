"""Real models, tokenizers and SAEs that are a few kilobytes large.

Random weights from fixed seeds, every norm and bias included, so that a swapped module or a
forgotten bias moves numbers. ``save_tiny_subject`` and ``save_tiny_sae`` write what a user would
point ``audit.yaml`` at.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
)

LAYERS = 3
WIDTH = 32
HEADS = 4
SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
VOCABULARY = 256 + len(SPECIAL)

_GROUPED = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SANDWICH = {
    **_GROUPED,
    "query_pre_attn_scalar": 8,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def _config(family: str) -> tuple[type[PreTrainedModel], Any]:
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=512,
            bos_token_id=1,
            eos_token_id=2,
        )
        return GPT2LMHeadModel, config
    if family == "gpt_neox":
        own = {key: value for key, value in _GROUPED.items() if "head_dim" not in key}
        own.pop("num_key_value_heads")
        return GPTNeoXForCausalLM, GPTNeoXConfig(**own, rotary_pct=0.5)
    if family == "llama":
        return LlamaForCausalLM, LlamaConfig(**_GROUPED)
    if family == "mistral":
        return MistralForCausalLM, MistralConfig(**_GROUPED, sliding_window=None)
    if family == "qwen2":
        return Qwen2ForCausalLM, Qwen2Config(**_GROUPED)
    if family == "qwen3":
        return Qwen3ForCausalLM, Qwen3Config(**_GROUPED)
    if family == "gemma2":
        return Gemma2ForCausalLM, Gemma2Config(**_SANDWICH)
    if family == "gemma3":
        return Gemma3ForCausalLM, Gemma3TextConfig(**_SANDWICH)
    if family == "gemma3-vision":
        config = Gemma3Config(
            text_config=Gemma3TextConfig(**_SANDWICH),
            vision_config=SiglipVisionConfig(**_VISION),
            mm_tokens_per_image=4,
            image_token_index=3,
        )
        return Gemma3ForConditionalGeneration, config
    if family == "llava":
        config = LlavaConfig(
            text_config=LlamaConfig(**_GROUPED),
            vision_config=CLIPVisionConfig(**_VISION, projection_dim=16),
            image_token_index=3,
            image_seq_length=4,
        )
        return LlavaForConditionalGeneration, config
    raise ValueError(f"no tiny model of family {family!r}")


FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "gemma2", "gemma3")
VISION_FAMILIES = ("gemma3-vision", "llava")


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A model of three blocks and width 32, in float32 and evaluation mode."""
    model_class, config = _config(family)
    config._attn_implementation = "eager"
    return with_weights(model_class(config), seed)


def with_weights(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """The model in evaluation mode, every weight drawn anew."""
    model = model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 0.1 if parameter.ndim == 1 else 0.2
        offset = parameter.data.mean() if parameter.ndim == 1 else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale + offset
    return model


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and seven special tokens: reads every language, puts BOS first, has a template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        additional_special_tokens=list(SPECIAL[3:]),
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>"
        "{{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return tokenizer


def save_tiny_subject(path: Path, family: str = "llama", seed: int = 0) -> Path:
    """Model and tokenizer in one folder, as transformers saves them."""
    tiny_model(family, seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def save_tiny_gguf(path: Path, seed: int = 0) -> Path:
    """A Llama in 8-bit blocks with its tokenizer, as llama.cpp would write it."""
    import gguf

    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * 257)
    writer.add_token_merges(["a b"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(tiny_tokenizer().chat_template)
    for name, tensor in _gguf_tensors(seed).items():
        if tensor.ndim == 1:
            writer.add_tensor(name, tensor.numpy())
        else:
            blocks = gguf.quants.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    tensors = {
        "token_embd.weight": draw(VOCABULARY + 1, WIDTH),
        "output_norm.weight": draw(WIDTH) + 1,
        "output.weight": draw(VOCABULARY + 1, WIDTH),
    }
    for block in range(LAYERS):
        prefix = f"blk.{block}"
        tensors |= {
            f"{prefix}.attn_norm.weight": draw(WIDTH) + 1,
            f"{prefix}.ffn_norm.weight": draw(WIDTH) + 1,
            f"{prefix}.attn_q.weight": draw(WIDTH, WIDTH),
            f"{prefix}.attn_k.weight": draw(WIDTH // 2, WIDTH),
            f"{prefix}.attn_v.weight": draw(WIDTH // 2, WIDTH),
            f"{prefix}.attn_output.weight": draw(WIDTH, WIDTH),
            f"{prefix}.ffn_gate.weight": draw(64, WIDTH),
            f"{prefix}.ffn_up.weight": draw(64, WIDTH),
            f"{prefix}.ffn_down.weight": draw(WIDTH, 64),
        }
    return tensors


def tiny_sae_tensors(
    architecture: str, d_in: int, d_sae: int, *, d_out: int | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Weights of an SAE that fires on a part of its latents."""
    generator = torch.Generator().manual_seed(seed)
    d_out = d_out or d_in

    def draw(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    tensors = {
        "W_enc": draw(d_in, d_sae, scale=d_in**-0.5),
        "b_enc": draw(d_sae, scale=0.1),
        "W_dec": draw(d_sae, d_out, scale=d_sae**-0.5),
        "b_dec": draw(d_out, scale=0.1),
    }
    if architecture == "gated":
        del tensors["b_enc"]
        names = ("b_gate", "b_mag", "r_mag")
        tensors |= {name: draw(d_sae, scale=0.1) for name in names}
    if "jumprelu" in architecture:
        tensors["threshold"] = draw(d_sae, scale=0.3).abs()
    if "skip" in architecture:
        tensors["W_skip"] = draw(d_out, d_in, scale=0.1)
    if architecture == "matching_pursuit":
        tensors["W_dec"] /= tensors["W_dec"].norm(dim=-1, keepdim=True)
        tensors = {name: tensors[name] for name in ("W_dec", "b_dec")}
    return tensors


def tiny_sae_config(
    architecture: str, d_in: int, d_sae: int, hook_name: str, *, d_out: int | None = None
) -> dict[str, Any]:
    """``cfg.json`` in the shape that SAELens 6 writes."""
    transcoder = "transcoder" in architecture
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if hook_name.endswith("hook_z") else "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "sae_lens_training_version": "6.54.12",
            "hook_name": hook_name,
            "model_name": "tiny",
            "context_size": 64,
        },
    }
    if transcoder:
        config["d_out"] = d_out or d_in
        config["metadata"]["hook_name_out"] = hook_name.replace("hook_resid_mid", "hook_mlp_out")
    if architecture in {"topk", "abstopk"}:
        config |= {"k": min(4, d_sae), "rescale_acts_by_decoder_norm": False}
    if architecture == "matching_pursuit":
        config |= {
            "residual_threshold": 0.5,
            "max_iterations": 6,
            "stop_on_duplicate_support": True,
        }
    return config


def save_tiny_sae(
    path: Path,
    architecture: str = "jumprelu",
    d_in: int = WIDTH,
    d_sae: int = 64,
    hook_name: str = "blocks.1.hook_resid_post",
    *,
    d_out: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    metadata: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """An SAE in SAELens' folder format; ``config`` and ``metadata`` replace fields of its cfg.json.

    Written without SAELens, whose import takes ten seconds; ``test_sae.py`` checks that SAELens
    reads the same numbers from it, and that its own ``save_model`` writes the same files.
    """
    path.mkdir(parents=True, exist_ok=True)
    content = tiny_sae_config(architecture, d_in, d_sae, hook_name, d_out=d_out) | config
    content["metadata"] |= metadata or {}
    tensors = tiny_sae_tensors(architecture, d_in, d_sae, d_out=d_out, seed=seed)
    save_file(
        {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()},
        path / "sae_weights.safetensors",
    )
    (path / "cfg.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def tiny_batch(
    batch: int = 2, length: int = 12, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask; every row but the first is padded on the right by three positions."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(SPECIAL), VOCABULARY, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1:, -3:] = 0
    return ids, mask
