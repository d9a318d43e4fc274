"""The model under test: found, checked, loaded once, and named by digests.

A hub id is first fetched as a folder at its pinned commit, so that every subject is a folder or
a ``.gguf`` file and is read the same way, with or without a network::

    subject = load_subject(config.subject, audit_file.parent)
    subject.facts.weights_digest        # 'sha256:...'

A vision-language model comes with its processor, which turns pictures into its inputs. A vision
encoder alone (CLIP, SigLIP, ViT; of a model with a text side its vision tower) has no tokenizer.

Attention runs in the ``eager`` implementation: plain matrix products, the same on every device
and for every family (Gemma 2's soft-capping included), where ``sdpa`` picks a kernel by shape
and hardware. It costs memory in the square of the length, which is small beside the weights at
the lengths that SAEs were trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BaseImageProcessor,
    CLIPVisionModel,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    SiglipVisionModel,
    ViTModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from compliance.documents import open_file
from compliance.errors import ProbeError, SubjectError
from compliance.probes.files import MAX_JSON, check_header, digest_files, pickles_in, read_json
from compliance.probes.hooks import block_count
from compliance.probes.processors import (
    PROCESSOR_FILES,
    has_processor,
    load_image_processor,
    load_processor,
)
from compliance.records.audit import SubjectConfig
from compliance.records.bounds import refuse_crowded
from compliance.records.subject import ModelFacts

ATTENTION = "eager"
DEVICES = ("cpu", "cuda")
"""Types of devices that are computed on; ROCm's are called ``cuda`` too. Others, such as ``mps``,
lack float64, in which sums are kept."""

INDEX_FILE = "model.safetensors.index.json"
_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_VOCABULARIES = frozenset(_TOKENIZER_FILES) - {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
}
_ENCODERS: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPVisionModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "vit": ViTModel,
}
"""Vision encoders by ``model_type``."""

_FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
MAX_SETTINGS = 4_000_000
"""Bytes of a file of settings; an image classifier of 22,000 classes has 1.5 million."""

MAX_GROWTH = 16
"""How many times more numbers a model may have than its files: packed weights hold eight in one."""

MOST_LABELS = 100_000
"""Classes that a classifier may have."""

SPARE = 10_000_000
"""Numbers that a model may have besides, such as masks and tables of positions."""

_SETTINGS = frozenset({"config.json", "generation_config.json", *PROCESSOR_FILES})
_DEVICE_HINT = "subject.device names a device this machine does not have; cpu always works"
_LAYERS = re.compile(r"layers?$|depths?$|blocks$|labels$|experts$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in evaluation mode without gradients, what feeds it, and what they are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    """Absent for a vision encoder, which reads no words."""

    facts: ModelFacts
    processor: ProcessorMixin | BaseImageProcessor | None = None
    """What takes pictures; absent where the model reads none. A vision encoder's is its image
    processor alone."""


def load_subject(config: SubjectConfig, folder: Path, *, pictures: bool = True) -> Subject:
    """Load the model under test.

    Args:
        config: What ``audit.yaml`` says of it.
        folder: The folder of ``audit.yaml``, which a local path is relative to.
        pictures: Whether it will be shown pictures. If not, a processor that cannot be loaded is
            done without.

    Raises:
        SubjectError: It is not there, not pinned, not whole, holds a pickle, or needs code of
            its own.
    """
    device = _device(config.device)
    if device.type == "cuda":
        _multiply_exactly()
    with _no_progress_bars():
        return _load(config, folder, pictures)


def facts_of(model: PreTrainedModel, path: Path) -> ModelFacts:
    """Facts of a model that somebody else loaded.

    Args:
        model: As transformers gives it.
        path: The folder or ``.gguf`` file that it was loaded from.

    Raises:
        SubjectError: It is not there, not whole, or holds a pickle.
    """
    source = _Source(name=path.resolve().name, revision=None, path=path)
    is_gguf = path.suffix == ".gguf"
    files = _check_gguf(path)[0] if is_gguf else _check_folder(path, source.name)
    return _facts(source, model, files, templated=False)


def device_name(device: torch.device) -> str:
    """What a run computes on, as its environment records it: ``cpu``, or a GPU with what it is."""
    if device.type != "cuda":
        return str(device)
    short = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    hip, cuda = torch.version.hip, torch.version.cuda
    made = f"ROCm {hip}" if hip else f"CUDA {cuda}"
    name = torch.cuda.get_device_name(device)
    return f"{device} ({name}, {made}, TF32 {'on' if short else 'off'})"


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SubjectError(f"subject.device: {name!r} is no device", hint=_DEVICE_HINT) from error
    if device.type not in DEVICES:
        raise SubjectError(
            f"subject.device: {name!r}, expected one of type {' or '.join(DEVICES)}",
            hint="others lack float64, in which sums are kept",
        )
    return device


def _multiply_exactly() -> None:
    """Float32 is float32 on a GPU too: TF32 keeps ten bits of it in products and convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _load(config: SubjectConfig, folder: Path, pictures: bool) -> Subject:
    source = _locate(config, folder)
    if source.path.suffix == ".gguf":
        files, options = _check_gguf(source.path)
    else:
        files, options = _check_folder(source.path, source.name), {}
    stored = _stored_gguf(source.path) if options else _stored(files)
    if not options:
        _check_counts(_settings(source), source.name, stored)
    found = _load_config(source, options)
    _check_counts(found.to_dict(), source.name, stored)
    _check_size(found, source, stored)
    if found.model_type in _ENCODERS:
        return _load_encoder(source, config, found, files)
    _check_tokenizer(source.name, files)
    model = _load_model(source, config, found, options)
    tokenizer = _load_tokenizer(source, options)
    processor = _processor_of(source, found, tokenizer, pictures)
    templated = any(getattr(one, "chat_template", None) for one in (tokenizer, processor))
    facts = _facts(source, model, files, templated=templated)
    return Subject(model=model, tokenizer=tokenizer, facts=facts, processor=processor)


def _processor_of(
    source: _Source, found: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, pictures: bool
) -> ProcessorMixin | None:
    if not hasattr(found, "vision_config") or not has_processor(source.home):
        return None
    try:
        return load_processor(source.home, source.name, found, tokenizer)
    except SubjectError:
        if pictures:
            raise
        return None  # of texts it would only write the chat template, which a tokenizer has too


def _load_encoder(
    source: _Source, config: SubjectConfig, found: PreTrainedConfig, files: _Files
) -> Subject:
    model = _load_model(source, config, getattr(found, "vision_config", found), {})
    processor = load_image_processor(source.home, source.name)
    facts = _facts(source, model, files, templated=False)
    return Subject(model=model, tokenizer=None, facts=facts, processor=processor)


@dataclass(frozen=True)
class _Stored:
    """What the files of weights hold."""

    tensors: int
    numbers: int


def _stored(files: _Files) -> _Stored:
    tensors = numbers = 0
    for path in files.weights:
        with safe_open(path, framework="pt") as weights:
            keys = list(weights.keys())
            tensors += len(keys)
            numbers += sum(prod(weights.get_slice(key).get_shape()) for key in keys)
    return _Stored(tensors, numbers)


def _stored_gguf(path: Path) -> _Stored:
    """By its header; its bytes stand for its numbers, of which none takes less than one bit."""
    with open_file(path) as stream:
        head = stream.read(16)
    return _Stored(int.from_bytes(head[8:], "little"), path.stat().st_size)


def _check_size(found: PreTrainedConfig, source: _Source, stored: _Stored) -> None:
    """Refuse a model that config.json makes far larger than its files, before it takes memory."""
    kind = _model_class(found)
    if found.model_type in _ENCODERS:
        make, own = kind._from_config, getattr(found, "vision_config", found)
    else:
        make, own = kind.from_config, found
    try:
        with torch.device("meta"):
            # What config.json itself may say of attention could be code of the hub's.
            model = make(own, attn_implementation=ATTENTION)
    except Exception as error:  # whatever settings that do not fit make transformers raise
        raise _cannot_load(source.name, error) from error
    parts = (*model.parameters(), *model.buffers())
    numbers = sum(part.numel() for part in parts)
    if numbers > MAX_GROWTH * stored.numbers + SPARE:
        raise SubjectError(
            f"{source.name}: config.json describes {numbers:,} numbers, its files hold "
            f"{stored.numbers:,}",
            hint="the weights are of another model than config.json describes",
        )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Transformers' bars would run through the lines that say how an audit goes on."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class _Source:
    """Where the model lies on this machine, and how the evidence calls it."""

    name: str
    revision: str | None
    path: Path

    @property
    def home(self) -> Path:
        """The folder that transformers is given."""
        return self.path.parent if self.path.suffix == ".gguf" else self.path


@dataclass(frozen=True)
class _Files:
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    """Of the processor too: everything that turns an item into inputs."""

    config: Path | None


def _locate(config: SubjectConfig, folder: Path) -> _Source:
    local = folder / config.model
    if local.exists():
        if config.revision is not None:
            raise SubjectError(
                f"{config.model}: is local, and revision {config.revision!r} is given",
                hint="leave revision out; the digest of the weights names a local model",
            )
        return _Source(name=local.resolve().name, revision=None, path=local)
    if local.suffix == ".gguf" or not _HUB_ID.fullmatch(config.model):
        raise SubjectError(
            f"{config.model}: there is no such file or folder",
            hint="subject.model is relative to the folder of audit.yaml",
        )
    return _Source(config.model, config.revision, _fetch(config.model, config.revision))


def _fetch(name: str, revision: str | None) -> Path:
    """The hub's files at one commit, from the cache where they are there already."""
    from huggingface_hub import snapshot_download

    if revision is None or not _COMMIT.fullmatch(revision):
        raise SubjectError(
            f"{name}: revision is {revision or 'absent'}, expected a commit of 40 hexadecimal "
            "digits",
            hint="add subject.revision: the commit shown under 'Files and versions' on the hub; "
            "or give a local folder",
        )
    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=list(_FETCHED), ignore_patterns=["*/*"]
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SubjectError(
            f"{name}: cannot be fetched at {revision[:12]}: {error}",
            hint="without a network, fetch it once before, or give a local folder",
        ) from error
    return Path(found)


def _check_gguf(path: Path) -> tuple[_Files, dict[str, Any]]:
    try:
        with open_file(path) as stream:
            magic = stream.read(4)
    except OSError as error:
        raise SubjectError(f"{path.name}: cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise SubjectError(f"{path.name}: starts with {magic!r}, expected b'GGUF'")
    files = _Files(weights=(path,), tokenizer=(path,), config=None)
    return files, {"gguf_file": path.name}


def _check_folder(folder: Path, name: str) -> _Files:
    if not folder.is_dir():
        raise SubjectError(
            f"{name}: is a file, expected a folder or a .gguf file",
            hint="give the folder that holds config.json",
        )
    if not (folder / "config.json").is_file():
        raise SubjectError(
            f"{name}: has no config.json, expected a model as transformers saves it",
            hint="save it with save_pretrained, model and tokenizer in one folder",
        )
    if (folder / "adapter_config.json").exists():
        raise SubjectError(
            f"{name}: adapter_config.json: it holds an adapter, expected a whole model",
            hint="merge the adapter into its model and save that",
        )
    names = (*_TOKENIZER_FILES, *PROCESSOR_FILES)
    tokenizer = tuple(folder / file for file in names if (folder / file).is_file())
    return _Files(_weights_in(folder, name), tokenizer, folder / "config.json")


def _check_tokenizer(name: str, files: _Files) -> None:
    if files.config and not any(path.name in _VOCABULARIES for path in files.tokenizer):
        raise SubjectError(
            f"{name}: has no tokenizer, such as tokenizer.json",
            hint="save the tokenizer the model was trained with into the same folder",
        )


def _weights_in(folder: Path, name: str) -> tuple[Path, ...]:
    files = tuple(sorted(folder.glob("*.safetensors")))
    if not files and (pickles := pickles_in(folder)):
        raise SubjectError(
            f"{name}: {pickles[0]} holds a pickle, which can execute code",
            hint="convert to safetensors where you trust it: save_pretrained writes them",
        )
    if not files:
        raise SubjectError(f"{name}: has no weights, expected model.safetensors")
    for path in files:
        _check_whole(path, name)
    for path in folder.glob("*.json"):
        _check_json(path, name)
    if (folder / INDEX_FILE).is_file():
        _check_index(folder, name, {path.name for path in files})
    return files


def _check_whole(path: Path, name: str) -> None:
    try:
        check_header(path)
        with safe_open(path, framework="pt"):
            return
    except (SafetensorError, OSError, ValueError) as error:
        raise SubjectError(
            f"{name}: {path.name} cannot be read: {error}",
            hint="the file is damaged or was cut off; copy it again",
        ) from error


def _check_json(path: Path, name: str) -> None:
    """Refuse a file that would take much memory before transformers makes values of it."""
    most = MAX_SETTINGS if path.name in _SETTINGS else MAX_JSON
    try:
        with open_file(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"larger than {most:,} bytes")
        refuse_crowded(data)
    except (OSError, ValueError) as error:
        raise SubjectError(f"{name}: {path.name} cannot be read: {error}") from error


def _settings(source: _Source) -> Any:
    try:
        return read_json(source.home / "config.json")
    except (OSError, ValueError) as error:
        raise SubjectError(f"{source.name}: cannot be loaded: config.json: {error}") from error


def _check_counts(settings: Any, name: str, stored: _Stored) -> None:
    """Refuse more layers than there are tensors: building them would never end."""
    for key, value in _numbers(settings):
        most = MOST_LABELS if key.endswith("labels") else max(stored.tensors, 128)
        if value > most and _LAYERS.search(key):
            raise SubjectError(
                f"{name}: {key} is {str(value)[:40]}, there are {stored.tensors} tensors",
                hint="the weights are of another model than its settings describe",
            )


def _numbers(value: object, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value


def _check_index(folder: Path, name: str, present: set[str]) -> None:
    try:
        index = read_json(folder / INDEX_FILE)
        wanted = {str(file) for file in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SubjectError(f"{name}: {INDEX_FILE} cannot be read: {error!r}") from error
    if missing := sorted(wanted - present):
        raise SubjectError(f"{name}: {INDEX_FILE} names {missing[0]}, which is not there")


def _load_config(source: _Source, options: Mapping[str, Any]) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(
            source.home, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # whatever a broken folder makes transformers raise
        raise _cannot_load(source.name, error) from error


def _load_model(
    source: _Source, config: SubjectConfig, found: PreTrainedConfig, options: Mapping[str, Any]
) -> PreTrainedModel:
    dtype = getattr(torch, config.dtype)
    # A GGUF's weights would stay packed and be cast at each product.
    more = {"quantization_config": GgufConfig(dequantize=True)} if options else {}
    if found.model_type == "vit":  # a classifier was saved without the pooler, which is not read
        more["add_pooling_layer"] = False
    try:
        model, info = _model_class(found).from_pretrained(
            source.home,
            config=found,
            dtype=dtype,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
            **more,
        )
        model = model.eval().requires_grad_(False).to(config.device)
    except Exception as error:  # the same
        raise _cannot_load(source.name, error) from error
    _check_complete(source.name, info)
    _check_dense(source.name, model, dtype)
    return model


def _model_class(config: PreTrainedConfig) -> Any:
    if config.model_type in _ENCODERS:
        return _ENCODERS[config.model_type]
    # A vision-language model may stand in a list of its own.
    is_language_model = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return AutoModelForCausalLM if is_language_model else AutoModelForImageTextToText


def _cannot_load(name: str, error: Exception) -> SubjectError:
    return SubjectError(
        f"{name}: cannot be loaded: {type(error).__name__}: {error}", hint=_hint(error)
    )


def _hint(error: Exception) -> str | None:
    if "trust_remote_code" in str(error):
        return "the model needs code of its own, which is never run; take one transformers knows"
    if "CUDA" in str(error) or "device" in str(error):
        return _DEVICE_HINT
    return None


def _check_complete(name: str, info: Mapping[str, Any]) -> None:
    """Weights that are not in the file would be drawn at random, with no more than a warning."""
    for key in ("missing_keys", "mismatched_keys"):
        if found := sorted(map(str, info.get(key, ()))):
            raise SubjectError(
                f"{name}: {len(found)} {key.replace('_keys', '')} weights, such as {found[0]}",
                hint="the weights are of another model than config.json describes",
            )


def _check_dense(name: str, model: PreTrainedModel, dtype: torch.dtype) -> None:
    for key, parameter in model.named_parameters():
        if not parameter.dtype.is_floating_point:
            raise SubjectError(
                f"{name}: {key} is {parameter.dtype}, expected plain weights in {dtype}",
                hint="a quantised model is measured after it was turned into plain weights",
            )


def _load_tokenizer(source: _Source, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(
            source.home, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise SubjectError(
            f"{source.name}: its tokenizer cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _facts(
    source: _Source, model: PreTrainedModel, files: _Files, *, templated: bool
) -> ModelFacts:
    try:
        layers = block_count(model)
    except ProbeError as error:
        raise SubjectError(f"{source.name}: {error}") from error
    return ModelFacts(
        name=source.name,
        revision=source.revision,
        architecture=type(model).__name__,
        weights_digest=digest_files(files.weights),
        tokenizer_digest=digest_files(files.tokenizer),
        config_digest=digest_files([files.config]) if files.config else None,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=layers,
        d_model=model.config.get_text_config().hidden_size,
        dtype=str(model.dtype).removeprefix("torch."),
        chat_template=templated,
    )
