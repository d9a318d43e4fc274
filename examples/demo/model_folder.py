"""Builds a transformers model folder whose bytes are the same on every machine.

The folder is made beside its place and renamed, its weights are checked against a digest before
that, and ``SHA256SUMS`` is written last: a folder that has it is a folder that was finished.
Safetensors and JSON are written by hand, so that the bytes hang on no library's version.

``subject.py`` here and in ``examples/second`` use it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

WEIGHTS = "model.safetensors"


def build(target: Path, weights_sha256: str, make: Callable[[Path, Path], None]) -> int:
    """Makes ``target`` unless it is there, and says which of the two happened.

    Args:
        target: The model folder.
        weights_sha256: What ``model.safetensors`` must be.
        make: Called with a scratch folder and the model folder to fill, which is empty.

    Returns:
        The exit code: 0 the folder is there, 2 something else is.
    """
    if recorded_digest(target) == weights_sha256:
        print(f"{target}: already there, nothing to do")
        return 0
    if target.exists():
        print(f"{target}: exists and is not this subject; move it away first", file=sys.stderr)
        return 2
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        make(Path(scratch), folder)
        require_digest(folder / WEIGHTS, weights_sha256)
        write_digests(folder)
        folder.rename(target)
    print(f"{target}: written, {WEIGHTS} sha256 is {weights_sha256}")
    return 0


def recorded_digest(folder: Path) -> str | None:
    """What ``SHA256SUMS`` says of the weights; None where there is no such folder."""
    sums = folder / "SHA256SUMS"
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return {name: digest for digest, name in map(str.split, lines)}.get(WEIGHTS)


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Takes the rows of a query or key projection to the order that transformers expects.

    Both rotate pairs of dimensions by position. Meta's code and what came of it pair neighbours
    (0, 1), (2, 3) ...; transformers pairs a head's first half with its second.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes float32 tensors in the order of their names."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        end = offset + tensors[name].nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].astype("<f4", copy=False).tobytes())


def write_json(path: Path, value: dict) -> None:
    """Writes readable JSON in the order given."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_digests(folder: Path) -> None:
    """Writes ``SHA256SUMS``, which ``sha256sum --check`` reads."""
    names = sorted(path.name for path in folder.iterdir())
    lines = [f"{digest(folder / name)}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def special_token(index: int, content: str) -> dict:
    """An entry of a tokenizer's ``added_tokens``: found before anything else, never split."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **flags, "special": True}


def require_digest(path: Path, expected: str) -> None:
    """Stops at the first file that is not the one the script was written for."""
    actual = digest(path)
    if actual != expected:
        sys.exit(f"{path.name}: sha256 is {actual}, expected {expected}")


def digest(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """Progress goes to stderr, answers to stdout."""
    print(text, file=sys.stderr, flush=True)
