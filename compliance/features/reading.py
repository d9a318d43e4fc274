"""What Neuronpedia's files say of features: explanations, lists, and features themselves.

    for feature in read_features(Path("explanations")):
        feature.index, feature.label

Nothing is fetched: these are files that a person has. Read are, plain or gzipped:

- batches of its bulk exports (``explanations/batch-0.jsonl.gz``, ``features/batch-0.jsonl.gz``,
  one object a line), or a folder of such batches;
- a list of explanations as one JSON array, as its export pages gave it;
- a list of features: what ``/api/list/get`` answers (``neurons``) or what
  ``/api/list/new-with-features`` takes (``features``), or the array of a quick list;
- one feature, as ``/api/feature/<model>/<source>/<index>`` answers.

In all of them a feature is ``modelId``, ``layer`` (the source's id) and ``index``, a whole number
that most files write as text. Other keys are left alone: embeddings, vectors, users, votes.

Source: docs.neuronpedia.org/api-and-data/exports (folders and batches), and of its repository
hijohnnylin/neuronpedia ``utils/neuronpedia-utils/neuronpedia_utils/export-data.py`` (columns of the
batches), ``apps/webapp/lib/db/list.ts`` and ``apps/webapp/app/api/list`` (lists).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from compliance.documents import open_file
from compliance.errors import ConfigError
from compliance.records.bounds import refuse_crowded, refuse_deep

MAX_BYTES = 2 * 2**30
"""Of one file once it is unpacked. A batch of 1,024 features with vectors has some 100 MB."""

MAX_LINE = 16 * 2**20
"""Bytes of one line; a feature with its vector and its histograms has some 100 kB."""

MAX_DOCUMENT = 64 * 2**20
"""Bytes of a file that is one JSON value; a list of 300 features with examples has some 30 MB."""

MAX_LINES = 1_000_000
"""Of one file; a batch has some thousand."""

MOST_FEATURES = 20
"""Of one list. They are combined by their maximum: each further one can only raise false alarms."""

MAX_LABEL = 300
"""Characters of a label; a longer one is cut."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}")
_INDEX = re.compile(r"[0-9]{1,9}")
_MOST_LATENTS = 10**9
_BATCH = re.compile(r"batch-(\d+)\.jsonl(\.gz)?")
_GZIP = b"\x1f\x8b"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Invisible, and part of the spelling of Persian and of many scripts of India."""


@dataclass(frozen=True)
class Score:
    """How well somebody found that an explanation fits."""

    kind: str
    value: float


@dataclass(frozen=True)
class NamedFeature:
    """One feature as a file of Neuronpedia's names it."""

    model: str
    source: str
    """Such as ``20-gemmascope-res-16k``."""

    index: int
    label: str | None
    """In one line, without invisible characters; None where the file has none."""

    method: str | None = None
    """How the label was made, such as ``oai_token-act-pair``."""

    explainer: str | None = None
    """The model that wrote it; absent where a person did."""

    scores: tuple[Score, ...] = ()
    density: float | None = None
    """Share of tokens on which it is active, by Neuronpedia's own text."""

    top_tokens: tuple[str, ...] = ()
    """Tokens whose logits it raises most."""

    @property
    def place(self) -> str:
        """Where Neuronpedia shows it; text, and never a link."""
        return deep_link(f"{self.model}/{self.source}", self.index)


@dataclass(frozen=True)
class FeatureList:
    """Features of one source that a person picked."""

    name: str
    """Of the file."""

    digest: str
    """Of the file's bytes."""

    model: str
    source: str
    features: tuple[NamedFeature, ...]
    """Each once, in the file's order."""

    @property
    def neuronpedia_id(self) -> str:
        """Model and source as SAELens writes them."""
        return f"{self.model}/{self.source}"


def deep_link(neuronpedia_id: str, latent: int) -> str:
    """Where Neuronpedia shows a latent, as plain text."""
    return f"neuronpedia.org/{neuronpedia_id}/{latent}"


def read_features(path: Path) -> Iterator[NamedFeature]:
    """Yield the features of a file or of a folder of batches, in order; one for each label.

    Args:
        path: A file, or a folder that holds ``batch-0.jsonl.gz`` and so on.

    Raises:
        ConfigError: It is missing, larger than is read, or not what Neuronpedia writes.
    """
    for file in _files(path):
        yield from _read_file(file)


def read_list(path: Path) -> FeatureList:
    """Read a file whose features were picked for one concept.

    Raises:
        ConfigError: It cannot be read, names none or more than MOST_FEATURES features, or names
            features of several sources.
    """
    found: dict[int, NamedFeature] = {}
    sources: dict[tuple[str, str], None] = {}
    for feature in _read_file(path):
        sources.setdefault((feature.model, feature.source))
        known = found.get(feature.index)
        if known is None or known.label is None:
            found[feature.index] = feature
        if len(found) > MOST_FEATURES:
            raise ConfigError(
                f"{path.name}: names more than {MOST_FEATURES} features",
                hint="a probe is the maximum of its features; pick those that mean the concept",
            )
    if not found:
        raise ConfigError(f"{path.name}: names no feature")
    if len(sources) > 1:
        (a, b), (c, d) = list(sources)[:2]
        raise ConfigError(
            f"{path.name}: features of {a}/{b} and of {c}/{d}, expected those of one SAE",
            hint="a probe's features are latents of the first SAE; make a list for each SAE",
        )
    ((model, source),) = sources
    return FeatureList(
        name=path.name,
        digest=_digest(path),
        model=model,
        source=source,
        features=tuple(found.values()),
    )


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def one_line(text: str) -> str:
    """Text from outside in one line: no control characters, nothing that reorders, not too long."""
    shown = "".join(" " if _is_hidden(c) else c for c in unicodedata.normalize("NFC", text))
    line = " ".join(shown.split())
    return line if len(line) <= MAX_LABEL else line[: MAX_LABEL - 1] + "…"


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    numbered = [(int(m[1]), file) for file in path.iterdir() if (m := _BATCH.fullmatch(file.name))]
    if not numbered:
        raise ConfigError(
            f"{path}: holds no batch-0.jsonl.gz",
            hint="give the folder 'explanations' or 'features' of an export, or single files",
        )
    return [file for _, file in sorted(numbered)]


def _read_file(path: Path) -> Iterator[NamedFeature]:
    try:
        with open_file(path) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            with gzip.open(file) if packed else file as stream:
                yield from _parse(stream, path.name)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="check the name and the folder") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(
            f"{path.name}: is damaged or was cut off: {error}", hint="copy the file again"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(stream: BinaryIO | gzip.GzipFile, name: str) -> Iterator[NamedFeature]:
    """One object a line, or one JSON value over all lines."""
    first = stream.readline(MAX_DOCUMENT + 1)
    if _is_feature(first):
        yield from _of_lines(first, stream, name)
        return
    data = first + stream.read(MAX_DOCUMENT + 1 - len(first))
    if len(data) > MAX_DOCUMENT:
        raise ConfigError(
            f"{name}: larger than {MAX_DOCUMENT:,} bytes and no object a line",
            hint="a batch of an export holds one object a line",
        )
    if not data.strip():
        raise ConfigError(f"{name}: is empty")
    yield from _of_document(_parse_json(data, name), name)


def _is_feature(line: bytes) -> bool:
    """Whether a line is an object of its own; else it is a part of a larger value."""
    try:
        value = _loaded(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "index" in value


def _of_lines(first: bytes, stream: BinaryIO | gzip.GzipFile, name: str) -> Iterator[NamedFeature]:
    line, number, total = first, 1, 0
    while line:
        where = f"{name}, line {number}"
        total += len(line)
        if total > MAX_BYTES:
            raise ConfigError(f"{where}: more than {MAX_BYTES:,} bytes once it is unpacked")
        if number > MAX_LINES:
            raise ConfigError(f"{name}: more than {MAX_LINES:,} lines")
        yield from _of_object(_parse_json(line, where), where)
        line, number = stream.readline(MAX_LINE + 1), number + 1
        if len(line) > MAX_LINE:
            raise ConfigError(f"{name}, line {number}: longer than {MAX_LINE:,} bytes")


def _of_document(value: Any, name: str) -> Iterator[NamedFeature]:
    """A list, an array, or one feature over several lines."""
    if isinstance(value, dict) and "index" in value:
        yield from _of_object(value, name)
        return
    entries = value
    if isinstance(value, dict):
        entries = next((value[key] for key in ("neurons", "features") if key in value), None)
    if not isinstance(entries, list):
        raise ConfigError(
            f"{name}: found {_kind(value)}, expected explanations, a list or features",
            hint="as Neuronpedia's exports and its API give them",
        )
    for number, entry in enumerate(entries, start=1):
        yield from _of_object(entry, f"{name}, entry {number}")


def _of_object(value: Any, where: str) -> Iterator[NamedFeature]:
    """An explanation, a feature with its explanations, or an entry of a list."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: found {_kind(value)}, expected an object")
    neuron = value.get("neuron")
    details = neuron if isinstance(neuron, dict) else value
    if "tokens" in value and "description" not in value and "explanations" not in value:
        raise ConfigError(
            f"{where}: is an activation, expected an explanation or a feature",
            hint="labels are in the folder 'explanations' of an export",
        )
    feature = NamedFeature(
        model=_name(value, "modelId", where),
        source=_name(value, "layer", where),
        index=_index(value.get("index"), where),
        label=None,
        density=_number(details.get("frac_nonzero")),
        top_tokens=_texts(details.get("pos_str")),
    )
    explained = details.get("explanations")
    others = explained if isinstance(explained, list) else []
    labelled = [_labelled(feature, found) for found in [value, *others] if isinstance(found, dict)]
    yield from [found for found in labelled if found.label] or [feature]


def _labelled(feature: NamedFeature, found: Mapping[str, Any]) -> NamedFeature:
    scores = found.get("scores")
    return replace(
        feature,
        label=_text(found.get("description")),
        method=_text(found.get("typeName")),
        explainer=_text(found.get("explanationModelName")),
        scores=tuple(_scores(scores if isinstance(scores, list) else [])),
    )


def _scores(found: list[Any]) -> Iterator[Score]:
    for score in found:
        value = _number(score.get("value")) if isinstance(score, dict) else None
        if value is not None:
            yield Score(_text(score.get("explanationScoreTypeName")) or "score", value)


def _name(value: Mapping[str, Any], key: str, where: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ConfigError(
            f"{where}: {key} is {_shown(found)}, expected an id such as "
            f"{'gemma-2-2b' if key == 'modelId' else '20-gemmascope-res-16k'}"
        )
    return found


def _index(found: Any, where: str) -> int:
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _MOST_LATENTS:
        return found
    if isinstance(found, str) and _INDEX.fullmatch(found):
        return int(found)
    raise ConfigError(f"{where}: index is {_shown(found)}, expected a whole number")


def _text(found: Any) -> str | None:
    return one_line(found) or None if isinstance(found, str) else None


def _texts(found: Any) -> tuple[str, ...]:
    texts = found if isinstance(found, list) else []
    return tuple(one_line(text) for text in texts if isinstance(text, str))


def _number(found: Any) -> float | None:
    """A finite number; exports hold ``NaN``, too."""
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    try:
        value = float(found)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _parse_json(data: bytes, where: str) -> Any:
    try:
        return _loaded(data)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8", hint="is it the right file?") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: not JSON: {error}", hint="copy the file again, or remove what is not JSON"
        ) from error


def _loaded(data: bytes) -> Any:
    refuse_crowded(data)
    refuse_deep(data)
    return json.loads(data)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "text", type(None): "nothing"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    return one_line(repr(value))[:60]
