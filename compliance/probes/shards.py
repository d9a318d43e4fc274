"""What was seen of one batch, and the file it lies in until the pass is complete."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np

REGIONS = ("read", "image")
"""Text and pictures, which means and firing are counted on apart."""

RAGGED = {"vectors": np.float32, "means": np.float64, "l0": np.int32,
          "patches": np.float32, "starts": np.int32, "ends": np.int32,
          "activations": np.float32}  # fmt: skip
"""Fields that hold arrays of different lengths; stored end to end, with their lengths."""


@dataclass(frozen=True)
class Shard:
    """Rows of all tables of one batch. They refer to ``items`` by position."""

    items: np.ndarray
    """Item ids, [n]."""

    facts: np.ndarray
    """Tokens in all, beyond the SAE's context (0 or 1), sinks excluded: int64 [n, 3]."""

    scores: np.ndarray
    """Item, probe, scorer (place in the task's scorers), and the score: float64 [r, 4]."""

    latents: np.ndarray
    """Item, probe, sae, latent: int64 [r, 4]."""

    latent_scores: np.ndarray
    """float32 [r]"""

    random: np.ndarray
    """The same as ``latents``, of the random counterparts of the SAEs."""

    random_scores: np.ndarray
    """float32 [r]"""

    vectors_of: np.ndarray
    """Item, probe, kind of vector (place in the task's vectors): int64 [r, 3]."""

    vectors: tuple[np.ndarray, ...]
    """float32 [d], one for each row of ``vectors_of``."""

    sums: np.ndarray
    """Item, sae, role, tokens, error, spread, cosine, norm ratio: float64 [r, 8]."""

    means: tuple[np.ndarray, ...]
    """Mean of the target, float64 [d], one for each row of ``sums``."""

    l0: tuple[np.ndarray, ...]
    """Latents that fired on each token, int32 [tokens], one for each row of ``sums``."""

    firing: np.ndarray
    """Language (place in the plan), region (place in REGIONS), source, sae, latent, tokens:
    int64 [r, 6]."""

    losses: np.ndarray
    """Item, sae, tokens, loss, spliced, ablated, divergence: float64 [r, 7]."""

    patches_of: np.ndarray
    """Item, probe, rows and columns of the grid: int64 [r, 4]."""

    patches: tuple[np.ndarray, ...]
    """The probe on each token of the picture, float32 [tokens], one for each row of
    ``patches_of``."""

    tokens_of: np.ndarray
    """Item, probe: int64 [r, 2]."""

    starts: tuple[np.ndarray, ...]
    """First character of each token of words on which the probe is active, int32 [tokens], one for
    each row of ``tokens_of``."""

    ends: tuple[np.ndarray, ...]
    """The character after its last, likewise."""

    activations: tuple[np.ndarray, ...]
    """The probe there, float32 [tokens]."""

    cofiring: np.ndarray
    """Sae, latent, another latent of it, tokens of words on which both fired: int64 [r, 4]."""


FIELDS = tuple(field.name for field in fields(Shard))


def shard_bytes(shard: Shard, name: str) -> bytes:
    """A shard as the bytes of its file; ``name`` says what it is of."""
    arrays = {name: getattr(shard, name) for name in FIELDS}
    for field, kind in RAGGED.items():
        arrays[f"{field}_lengths"] = np.array([len(v) for v in arrays[field]], dtype=np.int64)
        arrays[field] = np.concatenate([np.empty(0, kind), *arrays[field]])
    sink = io.BytesIO()
    np.savez(sink, name=np.array(name), **arrays)
    return sink.getvalue()


def shard_file(index: int) -> str:
    """Name of the file of a pass's shard."""
    return f"shard-{index:05d}.npz"


def read_shard(path: Path, name: str) -> Shard | None:
    """A finished shard of that very name, or None: then its batch is run again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            if str(stored["name"]) != name:
                return None
            return Shard(**{field: _field(stored, field) for field in FIELDS})
    except Exception:  # whatever a damaged file makes numpy and zipfile raise
        return None


def _field(stored: Mapping[str, np.ndarray], name: str) -> np.ndarray | tuple[np.ndarray, ...]:
    if name not in RAGGED:
        return stored[name]
    lengths = stored[f"{name}_lengths"]
    parts = np.split(stored[name], np.cumsum(lengths)[:-1])
    return tuple(parts) if len(lengths) else ()


class StoredShards(Iterable[Shard]):
    """Shards of a pass that is complete, which lie in their files while they are counted up.

    Of each only what is asked for is read, and nothing of it is kept when the next one comes.
    """

    def __init__(self, folder: Path, number: int) -> None:
        """The first so many shards in a folder."""
        self._folder, self._number = folder, number

    def __iter__(self) -> Iterator[Shard]:
        paths = (self._folder / shard_file(index) for index in range(self._number))
        return (cast(Shard, _StoredShard(path)) for path in paths)


class _StoredShard:
    """Has the fields of `Shard`, each read when it is asked for the first time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> np.ndarray | tuple[np.ndarray, ...]:
        if name not in FIELDS:
            raise AttributeError(name)
        with np.load(self._path, allow_pickle=False) as stored:
            self.__dict__[name] = _field(stored, name)
        return self.__dict__[name]
