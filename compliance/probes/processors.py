"""What turns a picture, and the words beside it, into a model's inputs: the model's own processor.

Pictures are resized by Pillow and numpy whatever else is installed, so that one picture gives the
same pixels on every machine, and torchvision is not needed. A processor that also takes videos
would need it for those; it is built without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AutoImageProcessor,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from compliance.errors import SubjectError

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""One of them is there where a model takes pictures."""

_TORCHVISION = "transformers has it for torchvision alone, which is not used here"
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def has_processor(folder: Path) -> bool:
    """Whether a model's folder says how pictures become inputs."""
    return any((folder / name).is_file() for name in PROCESSOR_FILES)


def load_image_processor(folder: Path, name: str) -> BaseImageProcessor:
    """What turns a picture into pixel values.

    Args:
        folder: Of the model.
        name: What messages call it.

    Raises:
        SubjectError: There is none, or it cannot be loaded without torchvision.
    """
    try:
        found = AutoImageProcessor.from_pretrained(folder, backend="pil", **_LOCAL)
    except Exception as error:  # whatever a broken file makes transformers raise
        raise _cannot(name, "image processor", error) from error
    if (backend := getattr(found, "backend", "pil")) != "pil":
        raise SubjectError(
            f"{name}: {type(found).__name__} resizes by {backend}, expected by Pillow",
            hint=_TORCHVISION,
        )
    return found


def load_processor(
    folder: Path, name: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> ProcessorMixin:
    """The processor of a vision-language model, around its tokenizer.

    Raises:
        SubjectError: The model has none, or it cannot be loaded without torchvision.
    """
    images = load_image_processor(folder, name)
    try:
        settings, _ = ProcessorMixin.get_processor_dict(folder, **_LOCAL)
        named = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES[config.model_type]
        kind = getattr(transformers, named)
        parts: dict[str, Any] = {"image_processor": images, "tokenizer": tokenizer}
        arguments = [parts.get(part) for part in kind.get_attributes()]
        return without_videos(kind).from_args_and_dict(arguments, settings)
    except Exception as error:  # the same
        raise _cannot(name, "processor", error) from error


def without_videos(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The same class, content with None where it expects a part for videos."""

    class WithoutVideos(kind):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None and argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    WithoutVideos.__name__ = WithoutVideos.__qualname__ = kind.__name__
    return WithoutVideos if "video_processor" in kind.get_attributes() else kind


def _cannot(name: str, what: str, error: Exception) -> SubjectError:
    hint = None
    if "torchvision" in str(error).lower():
        hint = _TORCHVISION
    elif "num2words" in str(error):
        hint = "install num2words"
    return SubjectError(
        f"{name}: its {what} cannot be loaded: {type(error).__name__}: {error}", hint=hint
    )
