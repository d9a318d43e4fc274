"""From items with and without pictures to what a model is given, and back to each item's own rows.

    preparer = Preparer(subject, pictures)
    prepared = preparer.prepare(item)
    prepared.regions["image"]                        # positions of the picture's tokens
    inputs = model_inputs([prepared], subject)       # ids, mask, pixel values, ...

A picture and its words go through the model's own processor. Where the picture's tokens are is read
from the ids that it gives, and their number is held against the number of vectors that the model
makes of the picture. Whose words a token is, is read from the tokenizer's own ids of the same text,
which are the same before and after the picture; where they are not, the item is refused.

Pixels are not kept, only how to make them again: those of a whole suite would fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from compliance.errors import ProbeError
from compliance.probes.hooks import VISION
from compliance.probes.subject import Subject
from compliance.probes.tokens import (
    Chat,
    Prepared,
    Rendered,
    Shown,
    apply_template,
    around,
    chat_of,
    check_fast,
    check_length,
    encode,
    prepare,
    regions_of,
    render,
)
from compliance.records.suite import Item

if TYPE_CHECKING:
    import PIL.Image

Pictures = Callable[[Item], "PIL.Image.Image"]
"""An item's picture, in RGB."""

_LEADING = ("class_embedding", "cls_token", "distillation_token", "register_tokens")
"""Parameters that a vision encoder's embeddings put before the patches."""

_TILED = ("pixel_values", "pixel_attention_mask")
"""Inputs with an item's tiles in the second dimension, where a model takes pictures in tiles."""

_SIZES = ("grid", "size")
"""Parts of the names of inputs that say how large a picture is."""

_OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Inputs that say something of each token."""

MAX_RATIO = 200
"""Of a picture's sides; processors that scale the short side to a size make no more of it than
they can hold. Qwen's own limit."""

_MARK = "\ue000"


@dataclass(frozen=True)
class _Taken:
    """What a processor makes of words and a picture, but for the pixels.

    It follows from the words and the picture's size, so that of pictures of one size one is enough;
    each is held against it when it is run.
    """

    ids: tuple[int, ...]
    image: tuple[int, ...]
    rows: int
    grid: tuple[int, int]
    patches: tuple[int, int]

    def prepared(
        self, item: Item, picture: Callable[[], PIL.Image.Image], rendered: Rendered | None,
        regions: dict[str, tuple[int, ...]],
    ) -> Prepared:  # fmt: skip
        text, templated = (rendered.text, rendered.templated) if rendered else (None, True)
        shown = Shown(picture, text, not templated, self.rows, self.grid, self.patches)
        return Prepared(item, self.ids, regions | {"image": self.image}, shown)


class Preparer:
    """Prepares items for one subject."""

    def __init__(self, subject: Subject, pictures: Pictures | None = None) -> None:
        """``pictures`` is needed for items that have one."""
        self.subject = subject
        self.pictures = pictures
        self.chat = _chat_of(subject)
        self._features: dict[str, int] = {}
        self._taken: dict[tuple[str | None, tuple[int, int]], _Taken] = {}

    def prepare(self, item: Item) -> Prepared:
        """Find an item's tokens and regions.

        Raises:
            ProbeError: The item cannot be read by this subject, or not without guessing.
        """
        limit = position_limit(self.subject)
        if item.image is not None:
            _check_sides(item)
            return self._encoder_item(item) if self.chat is None else self._shown(item, limit)
        if self.subject.tokenizer is None:
            raise ProbeError(
                f"item {item.id}: is a text, and {self.subject.facts.name} reads pictures alone",
                hint="audit a vision encoder on items of the modality 'image'",
            )
        return prepare(item, self.subject.tokenizer, limit=limit, chat=self.chat)

    def _encoder_item(self, item: Item) -> Prepared:
        if self.subject.processor is None:
            raise _no_processor(item, self.subject)
        if item.text is not None or item.messages is not None:
            raise ProbeError(
                f"item {item.id}: has words, and {self.subject.facts.name} reads pictures alone",
                hint="leave the words out, or audit a vision-language model",
            )
        picture = self._picture(item)
        opened = picture()
        if (key := (None, opened.size)) not in self._taken:
            found = _processed(self.subject, None, opened, templated=False)
            patches = _patches(found["pixel_values"], self.subject)
            image = tuple(range(patches[0] * patches[1]))
            self._taken[key] = _Taken((), image, 1, patches, patches)
        return self._taken[key].prepared(item, picture, None, regions_of([]))

    def _shown(self, item: Item, limit: int | None) -> Prepared:
        chat, tokenizer = self.chat, self.subject.tokenizer
        if self.subject.processor is None or chat.placeholder is None:
            raise _no_processor(item, self.subject)
        rendered, picture = render(item, tokenizer, chat), self._picture(item)
        opened = picture()
        if (key := (rendered.text, opened.size)) not in self._taken:
            self._taken[key] = self._take(item, rendered, opened, limit)
        taken = self._taken[key]
        regions = regions_of(_roles(item, rendered, tokenizer, chat, taken.ids))
        return taken.prepared(item, picture, rendered, regions)

    def _take(
        self, item: Item, rendered: Rendered, picture: PIL.Image.Image, limit: int | None
    ) -> _Taken:
        found = _processed(self.subject, rendered.text, picture, rendered.templated)
        ids = tuple(found["input_ids"][0].tolist())
        check_length(item, len(ids), limit)
        image = tuple(i for i, token in enumerate(ids) if token == self.chat.image_token)
        self._check_features(item, found, len(image))
        patches = _patches(found["pixel_values"], self.subject)
        grid = _grid(found, image, patches, self.subject)
        return _Taken(ids, image, _tower_rows(found["pixel_values"]), grid, patches)

    def _picture(self, item: Item) -> Callable[[], PIL.Image.Image]:
        pictures = self.pictures
        if pictures is None:
            raise ProbeError(f"item {item.id}: its picture is not at hand")
        return lambda: pictures(item)

    def _check_features(self, item: Item, found: Mapping[str, Tensor], tokens: int) -> None:
        """Hold the picture's tokens against the vectors the model makes of it.

        Their number follows from the shape of the pixels, and from the grid or the size of the
        picture where a model is told it, so that one run serves all such items.
        """
        more = {k: v for k, v in found.items() if k not in _OF_TOKENS}
        told = [value.tolist() for name, value in more.items() if _is_size(name)]
        key = repr((found["pixel_values"].shape, told))
        if key not in self._features:
            self._features[key] = _feature_count(self.subject, more)
        if (features := self._features[key]) != tokens or not tokens:
            raise ProbeError(
                f"item {item.id}: the processor gives {tokens} tokens for the picture, "
                f"the model makes {features} vectors of it",
                hint="processor and model do not belong together, or the item's words hold the "
                "token that stands for a picture",
            )


def _check_sides(item: Item) -> None:
    """Before the picture is opened: a line would fill the memory where its short side is scaled."""
    sides = sorted((item.image.width, item.image.height))
    if sides[1] > MAX_RATIO * sides[0]:
        raise ProbeError(
            f"item {item.id}: its picture is {item.image.width} x {item.image.height} pixels, and "
            f"one side may be {MAX_RATIO} times as long as the other at most",
            hint="give it a margin",
        )


def position_limit(subject: Subject) -> int | None:
    """Tokens that the model has positions for; None where it has no limit."""
    if subject.tokenizer is None:
        return None
    return getattr(subject.model.config.get_text_config(), "max_position_embeddings", None)


def model_inputs(batch: Sequence[Prepared], subject: Subject) -> dict[str, Tensor]:
    """What the model is given for a batch, on its device.

    Padded on the right, so that a token's position does not depend on its neighbours; what a
    processor says of each token is 0 at padding and in words.

    Returns:
        ``input_ids`` and ``attention_mask`` ``[batch, position]``, unless it is a vision encoder;
        and what its processor gives for the pictures.

    Raises:
        ProbeError: Two pictures of one batch have other sizes for the model.
    """
    found = [_again(prepared, subject) for prepared in batch]
    inputs = {} if subject.tokenizer is None else _padded_ids(batch, subject)
    for name in dict.fromkeys(name for one in found for name in one):
        if name not in inputs:
            inputs[name] = _joined(name, found, inputs)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(subject.model.dtype)
    return {name: value.to(subject.model.device) for name, value in inputs.items()}


def own_states(
    values: Tensor, hook_name: str, batch: Sequence[Prepared], subject: Subject
) -> list[Tensor]:
    """Each item's own rows of what stands at a place, float32.

    Args:
        values: ``[batch, position, d]``; in a vision tower ``[pictures, patches, d]``, or
            ``[patches, d]`` of all pictures end to end.
        hook_name: Of the place.
        batch: In the order in which it was run.
        subject: What was run.

    Returns:
        ``[tokens, d]`` without padding; in a vision tower ``[patches, d]`` without class tokens.

    Raises:
        ProbeError: The tower has other rows or patches than the pictures give.
    """
    if subject.tokenizer is not None and not hook_name.startswith(VISION):
        return [values[i, : len(p.ids)].float() for i, p in enumerate(batch)]
    rows = [p.shown.rows if p.shown else 0 for p in batch]
    if sum(rows) != len(values):
        raise ProbeError(f"{hook_name}: has {len(values)} rows, the pictures give {sum(rows)}")
    found = []
    for prepared, part in zip(batch, values.split(rows), strict=True):
        if part.ndim == 3 and prepared.shown:
            part = _without_leading(part, prepared.shown.patches, hook_name, subject)
        found.append(part.reshape(-1, part.shape[-1]).float())
    return found


def _without_leading(
    part: Tensor, patches: tuple[int, int], hook_name: str, subject: Subject
) -> Tensor:
    """Patches alone: class and register tokens stand before them."""
    leading = sum(
        1 if parameter.ndim == 1 else parameter.shape[-2]
        for name, parameter in subject.model.named_parameters()
        if name.rpartition(".")[2] in _LEADING
    )
    count = patches[0] * patches[1]
    if part.shape[1] != leading + count:
        raise ProbeError(
            f"{hook_name}: has {part.shape[1]} rows a picture, expected {count} patches and "
            f"{leading} class tokens"
        )
    return part[:, leading:]


def _chat_of(subject: Subject) -> Chat | None:
    """How a subject's input is written; None for a vision encoder."""
    tokenizer, processor = subject.tokenizer, subject.processor
    if tokenizer is None:
        return None
    if processor is None:
        return chat_of(tokenizer)
    check_fast(tokenizer)
    template = processor.chat_template
    if template is None and tokenizer.chat_template is not None:
        template = tokenizer.get_chat_template()
    config = subject.model.config
    token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    placeholder = getattr(processor, "image_token", None)
    lists = bool(template and placeholder) and _takes_lists(template, subject)
    return Chat(template, placeholder, token, lists)


def _takes_lists(template: str, subject: Subject) -> bool:
    """Whether a template takes contents as lists of parts, and does not print them as they are."""
    turn = {"role": "user", "content": [{"type": "text", "text": _MARK}, {"type": "image"}]}
    try:
        text = apply_template([turn], subject.tokenizer, template)
    except Exception:  # whatever a template for strings does with a list
        return False
    return text.count(_MARK) == 1 and text.count(subject.processor.image_token) == 1


def _no_processor(item: Item, subject: Subject) -> ProbeError:
    return ProbeError(
        f"item {item.id}: has a picture, and {subject.facts.name} takes none",
        hint="a vision-language model needs its processor_config.json or preprocessor_config.json",
    )


def _processed(
    subject: Subject, text: str | None, picture: PIL.Image.Image, templated: bool
) -> dict[str, Tensor]:
    words = {} if text is None else {"text": [text], "add_special_tokens": not templated}
    try:
        found = subject.processor(images=[picture], return_tensors="pt", **words)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ProbeError(
            f"{subject.facts.name}: its processor refuses a picture of {picture.size[0]} x "
            f"{picture.size[1]} pixels: {error}"
        ) from error
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _again(prepared: Prepared, subject: Subject) -> dict[str, Tensor]:
    """What the processor gives for an item's picture; nothing where it has none."""
    shown = prepared.shown
    if shown is None:
        return {}
    found = _processed(subject, shown.text, shown.picture(), not shown.adds_special_tokens)
    if shown.text is not None and tuple(found["input_ids"][0].tolist()) != prepared.ids:
        raise ProbeError(
            f"item {prepared.item.id}: the processor gives it other tokens than another picture of "
            "its size"
        )
    return found


def _roles(
    item: Item, rendered: Rendered, tokenizer: Any, chat: Chat, ids: tuple[int, ...]
) -> list[str | None]:
    """Whose content each token is, from the tokenizer's own ids of the text around the picture."""
    own, roles, _ = encode(rendered, tokenizer)
    before, after = around(rendered, tokenizer, chat.placeholder or "")
    first = _common(own[:before], ids)
    last = _common(own[len(own) - after :][::-1], ids[::-1])
    lost = [i for i, role in enumerate(roles) if role and first <= i < len(own) - last]
    if lost or first + last > len(ids):
        raise ProbeError(
            f"item {item.id}: the processor writes its words in other tokens beside the picture",
            hint="whose words they are would be a guess",
        )
    middle: list[str | None] = [None] * (len(ids) - first - last)
    return [*roles[:first], *middle, *roles[len(own) - last :]]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences begin with alike."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def _feature_count(subject: Subject, inputs: Mapping[str, Tensor]) -> int:
    """How many vectors the model makes of a picture in place of its tokens."""
    model = subject.model
    given = {name: value.to(model.device) for name, value in inputs.items()}
    given["pixel_values"] = given["pixel_values"].to(model.dtype)
    try:
        with torch.inference_mode():
            found = model.get_image_features(**given)
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise ProbeError(
            f"{subject.facts.name}: refuses the pixels of its processor: {error}",
            hint="processor and model do not belong together",
        ) from error
    parts = getattr(found, "pooler_output", found)
    parts = [parts] if isinstance(parts, Tensor) else parts
    return sum(part.shape[:-1].numel() for part in parts)


def _is_size(name: str) -> bool:
    return any(part in name for part in _SIZES)


def _tower_rows(pixels: Tensor) -> int:
    """Rows of the vision tower that one item's pixels take."""
    if pixels.ndim == 5:  # tiles; those of zeros alone are padding
        return int((pixels[0] != 0).flatten(1).any(dim=1).sum())
    return len(pixels)


def _patches(pixels: Tensor, subject: Subject) -> tuple[int, int]:
    """Rows and columns of a picture's or tile's patches; (0, 0) where patches lie end to end."""
    if pixels.ndim < 4:
        return 0, 0
    config = getattr(subject.model.config, "vision_config", subject.model.config)
    size = config.patch_size
    high, wide = (size, size) if isinstance(size, int) else size
    return pixels.shape[-2] // high, pixels.shape[-1] // wide


def _grid(
    found: Mapping[str, Tensor],
    image: tuple[int, ...],
    patches: tuple[int, int],
    subject: Subject,
) -> tuple[int, int]:
    """Rows and columns of the picture's tokens, where they are one run and form one grid."""
    count = len(image)
    if image[-1] - image[0] + 1 != count:
        return 0, 0
    if "image_grid_thw" in found:
        merged = subject.model.config.vision_config.spatial_merge_size
        time, high, wide = found["image_grid_thw"][0].tolist()
        grid = high // merged, wide // merged
        return grid if time == 1 and grid[0] * grid[1] == count else (0, 0)
    if _tower_rows(found["pixel_values"]) != 1:
        return 0, 0
    return _pooled(patches, count)


def _pooled(patches: tuple[int, int], count: int) -> tuple[int, int]:
    """The grid that pooling squares of patches leaves; (0, 0) where there is none."""
    for side in range(1, min(patches, default=0) + 1):
        grid = patches[0] // side, patches[1] // side
        fits = patches[0] % side == 0 and patches[1] % side == 0
        if fits and grid[0] * grid[1] == count:
            return grid
    return 0, 0


def _padded_ids(batch: Sequence[Prepared], subject: Subject) -> dict[str, Tensor]:
    width = max(len(p.ids) for p in batch)
    fill = subject.tokenizer.pad_token_id or 0
    ids = torch.full((len(batch), width), fill, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for i, prepared in enumerate(batch):
        ids[i, : len(prepared.ids)] = torch.tensor(prepared.ids)
        mask[i, : len(prepared.ids)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _joined(
    name: str, found: Sequence[Mapping[str, Tensor]], inputs: Mapping[str, Tensor]
) -> Tensor:
    """One input of a batch from those of its items."""
    parts = [one.get(name) for one in found]
    given = [part for part in parts if part is not None]
    if name in _OF_TOKENS:
        joined = given[0].new_zeros(inputs["input_ids"].shape)
        for i, part in enumerate(parts):
            if part is not None:
                joined[i, : part.shape[1]] = part[0]
        return joined
    if name in _TILED and any(one["pixel_values"].ndim == 5 for one in found if one):
        given = _tiles(given)
    if len(shapes := {tuple(part.shape[1:]) for part in given}) > 1:
        raise ProbeError(
            f"{name}: two pictures of one batch have shapes {sorted(shapes)[0]} and "
            f"{sorted(shapes)[1]}",
            hint="the model's image processor has to give all pictures one size",
        )
    return torch.cat(given)


def _tiles(parts: Sequence[Tensor]) -> list[Tensor]:
    """Tiles of each picture, filled up with tiles of zeros, which the model takes for none.

    Items without a picture have no row: a model that counts tiles by ``image_sizes`` would take
    theirs for those of the next picture.
    """
    most = max(part.shape[1] for part in parts)
    return [pad(part, (0, 0) * (part.ndim - 2) + (0, most - part.shape[1])) for part in parts]
