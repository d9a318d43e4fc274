"""Trains the demo's vision tower and projector in front of the frozen SmolLM2.

The architecture is LLaVA's: a SigLIP vision tower (2 million parameters, 64 patches of a picture
of 128 x 128 pixels) and a projector of two layers. Two stages, both in one run:

1. **Words.** No language model runs. Each patch is taught to be the embedding of a token: where
   words are typeset, of the token that stands there; where an emoji is drawn, of the tokens of its
   English name and keywords.
2. **Captions.** A question, the picture and the name through the frozen language model, in six
   languages; the loss is that of the name's tokens. The first loss goes on beside it.

What training may see is decided in ``training_pictures.py``. All chance comes from one seed; the
bytes of the weights still hang on the processor and on torch.

    python examples/vision/train.py --icons FOLDER --out DIR

``FOLDER`` has the packages named in ``training_pictures.ICON_SETS``, as ``npm pack`` fetches and
``tar`` unpacks them, each in a folder of its name. Without ``--icons`` there are only the drawings
of the font. ``DIR/checkpoint.pt`` is written every few minutes, and a run goes on from it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from subject import (
    CHAT_TEMPLATE,
    MEAN,
    SPREAD,
    TEXT_SUBJECT,
    TOWER,
    TOWER_WEIGHTS,
    say,
    write_tower_digests,
)
from torch import Tensor, nn
from torch.nn import functional
from training_pictures import (
    LANGUAGES,
    PATCH,
    Emoji,
    depicted,
    drawing,
    emojis,
    more_drawings,
    typographic,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    SiglipVisionConfig,
    SiglipVisionModel,
)

QUESTIONS = {
    "en": "What does this picture show?",
    "ja": "この絵は何を表していますか？",
    "zh-Hans": "这张图片显示的是什么？",
    "el": "Τι δείχνει αυτή η εικόνα;",
    "vi": "Bức tranh này cho thấy điều gì?",
    "ru": "Что изображено на этой картинке?",
}
SHARES = {"en": 0.6, "ja": 0.05, "zh-Hans": 0.05, "el": 0.1, "vi": 0.1, "ru": 0.1}
PATCHES_TAUGHT = 16
"""Of each picture and step: all 64 would cost more than the tower itself."""

LONGEST = 24
"""Tokens of a name that are predicted; a few names of flags are longer."""

SAVE_EVERY = 100
"""Steps."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of; the defaults made ``tower/``."""

    seed: int = 0
    first_look: int = 512
    word_steps: int = 1900
    word_batch: int = 48
    word_rate: float = 7e-4
    caption_steps: int = 200
    caption_batch: int = 8
    caption_rate: float = 4e-4
    warmup: int = 30


class Tower(nn.Module):
    """What is trained: the vision tower and the projector, named as in transformers' Llava."""

    def __init__(self, config: dict, width: int) -> None:
        super().__init__()
        vision = SiglipVisionConfig(**config["vision_config"])
        self.vision_tower = SiglipVisionModel(vision)
        self.multi_modal_projector = nn.Module()
        self.multi_modal_projector.linear_1 = nn.Linear(vision.hidden_size, width)
        self.multi_modal_projector.linear_2 = nn.Linear(width, width)

    @torch.no_grad()
    def start(self, pixels: Tensor) -> None:
        """Sets what a short training is slow to find, from some pictures (B, 3, SIDE, SIDE).

        The patch embedding starts as the patches' main components, each of variance one, and every
        block starts by adding nothing to what a patch shows.
        """
        patches = functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
        mean = patches.mean(0)
        variances, components = torch.linalg.eigh(torch.cov(patches.T))
        first = self.vision_tower.embeddings.patch_embedding
        count = first.out_channels
        floor = 1e-3 * variances[-1]
        whitening = components[:, -count:] / (variances[-count:] + floor).sqrt()
        first.weight.copy_(whitening.T.reshape(first.weight.shape))
        first.bias.copy_(-mean @ whitening)
        self.vision_tower.embeddings.position_embedding.weight.normal_(0, 0.2)
        self.multi_modal_projector.linear_2.weight.mul_(0.3)
        for block in self.vision_tower.encoder.layers:
            block.self_attn.out_proj.weight.zero_()
            block.mlp.fc2.weight.zero_()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures from ``pixels``, (B, 3, SIDE, SIDE).

        Returns:
            The projector's vectors, (B, GRID * GRID, width); the tower's states after two thirds
            of its layers and after all, (B, GRID * GRID, hidden).
        """
        states = self.vision_tower(pixels, output_hidden_states=True).hidden_states
        middle = functional.gelu(self.multi_modal_projector.linear_1(states[-1]))
        vectors = self.multi_modal_projector.linear_2(middle)
        return vectors, states[-1 - len(states) // 3], states[-1]


class Guides(nn.Module):
    """Two tasks beside the real one, whose labels have no chance in them; thrown away afterwards.

    Which character fills a patch, from the tower's middle; which emoji a picture shows, from the
    mean of its end.
    """

    def __init__(self, hidden: int, characters: int, emoji: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.character = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, characters))
        self.emoji = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, emoji))


@dataclass(frozen=True)
class Example:
    """A training picture and what it shows."""

    picture: Image.Image
    text: str
    """The emoji's name or the words, in one language."""
    tokens: np.ndarray
    """The token that each patch is taught, -1 for none, (GRID * GRID,)."""
    characters: np.ndarray
    """Which character fills each patch, -1 for none, (GRID * GRID,)."""
    emoji: int
    """Which emoji is drawn, -1 for none."""


class Material:
    """Pictures with what they show, drawn at random from what training may see."""

    def __init__(self, seen: list[Emoji], held_out: list[Emoji], drawings: dict, tokenizer) -> None:
        self.seen = seen
        self.drawings = {
            emoji.characters: [drawing(emoji.characters), *drawings.get(emoji.characters, [])]
            for emoji in seen
        }
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        self.texts = {language: texts(seen, held_out, language) for language in LANGUAGES}
        self.kept = {words for language in LANGUAGES for words in self.texts[language]}
        letters = sorted({letter for words in self.kept for letter in words} - {" "})
        self.letters = {letter: index for index, letter in enumerate(letters)}

    def vocabulary(self) -> Tensor:
        """Ids of all tokens that a patch can be taught, ascending."""
        every = [f" {words}" for words in sorted(self.kept)]
        ids = {one for of_text in self.tokenizer(every)["input_ids"] for one in of_text}
        return torch.tensor(sorted(ids))

    def draw(
        self, language: str, rng: np.random.Generator, *, share_drawn: float, most: int
    ) -> Example:
        """One picture.

        Args:
            language: Of the name or the words.
            rng: Chance.
            share_drawn: Probability of a drawing; else words are typeset.
            most: Names or keywords that are typeset together, at most.
        """
        if rng.random() < share_drawn:
            which = int(rng.integers(len(self.seen)))
            emoji = self.seen[which]
            figures = self.drawings[emoji.characters]
            figure = figures[0] if rng.random() < 0.6 else figures[rng.integers(len(figures))]
            picture, touched = depicted(figure, rng)
            name = self.ids(emoji.names["en"])
            tokens = np.where(touched.reshape(-1), rng.choice(name, size=touched.size), -1)
            nothing = np.full(tokens.shape, -1)
            return Example(picture, emoji.names[language], tokens, nothing, which)
        while True:
            text = self.some_text(language, rng, most)
            made = typographic(text, language, rng)
            if made is not None:
                picture, places = made
                tokens = self.read(text, places, rng).reshape(-1)
                letters = np.array([*(self.letters.get(letter, -1) for letter in text), -1])
                return Example(picture, text, tokens, letters[places].reshape(-1), -1)

    def some_text(self, language: str, rng: np.random.Generator, most: int) -> str:
        """A name or a keyword, or up to ``most`` of them."""
        pool = self.texts[language]
        count = int(rng.integers(1, most + 1))
        joint = "" if language in ("ja", "zh-Hans") else " "
        return joint.join(pool[index] for index in rng.integers(len(pool), size=count))

    def meanings(self, size: int) -> Tensor:
        """For each emoji (rows), shares of tokens: 60 % its English name's, 40 % its keywords'."""
        shares = torch.zeros(len(self.seen), size)
        for row, emoji in zip(shares, self.seen, strict=True):
            name = self.ids(emoji.names["en"])
            keywords = [words for words in emoji.keywords["en"] if words in self.kept]
            others = [one for words in keywords for one in self.ids(words)] or name
            for tokens, weight in ((name, 0.6), (others, 0.4)):
                row.index_add_(
                    0, torch.tensor(tokens), torch.full([len(tokens)], weight / len(tokens))
                )
        return shares

    def read(self, text: str, characters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each patch of typeset words, the token of its character, or one of several."""
        made = self.tokenizer(f" {text}", return_offsets_mapping=True)
        of_character: list[list[int]] = [[] for _ in range(len(text) + 1)]
        for token, (start, end) in zip(made["input_ids"], made["offset_mapping"], strict=True):
            for index in range(max(start, 1), end):
                of_character[index - 1].append(token)
        pick = [rng.choice(tokens) if tokens else -1 for tokens in of_character]
        return np.array(pick)[characters]

    def ids(self, words: str) -> list[int]:
        """Tokens of words as they stand inside a sentence."""
        return self.tokenizer(f" {words}")["input_ids"]


def texts(seen: list[Emoji], held_out: list[Emoji], language: str) -> list[str]:
    """Names and keywords to typeset, none of which is the name of an emoji that is held out."""
    found = {emoji.names[language] for emoji in seen}
    found |= {words for emoji in seen for words in emoji.keywords[language]}
    return sorted(found - {emoji.names[language] for emoji in held_out})


def pixels(pictures: list[Image.Image]) -> Tensor:
    """Pictures of SIDE x SIDE as the processor gives them: (B, 3, SIDE, SIDE)."""
    values = np.stack([np.asarray(picture, np.float32) for picture in pictures])
    return torch.from_numpy(values).permute(0, 3, 1, 2).div(255).sub(MEAN).div(SPREAD)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Zero for no rows, where torch's own mean would be NaN."""
    return functional.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))


class WordLoss:
    """How far patches are from the embeddings of their tokens."""

    def __init__(self, embeddings: Tensor, vocabulary: Tensor, meanings: Tensor) -> None:
        self.embeddings = embeddings[vocabulary]
        self.directions = functional.normalize(self.embeddings, dim=-1)
        self.size = self.embeddings.square().sum(-1).mean()
        self.place = torch.full((len(embeddings),), -1)
        self.place[vocabulary] = torch.arange(len(vocabulary))
        self.meanings = meanings[:, vocabulary]
        self.mean_embeddings = self.meanings @ self.embeddings

    def __call__(
        self, vectors: Tensor, tokens: Tensor, emoji: Tensor, sharpness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the vocabulary by cosine, and half the relative squared distance.

        Where an emoji is drawn, both are to all tokens of its name and keywords at once.

        Args:
            vectors: (N, width).
            tokens: (N,), ids; those outside the vocabulary (where two texts meet) do not count.
            emoji: (N,), which one is drawn, -1 where words are typeset.
            sharpness: Logarithm of the factor of the cosines.

        Returns:
            The loss; whether a token's embedding is the nearest to its vector, bool, (N,).
        """
        place = self.place[tokens]
        cosines = functional.normalize(vectors, dim=-1) @ self.directions.T
        logs = (cosines * sharpness.exp()).log_softmax(-1)
        drawn, read = emoji >= 0, (emoji < 0) & (place >= 0)
        told = -logs[read].gather(1, place[read][:, None]).sum()
        told = told - (logs[drawn] * self.meanings[emoji[drawn]]).sum()
        apart = (vectors[read] - self.embeddings[place[read]]).square().sum()
        apart = apart + (vectors[drawn] - self.mean_embeddings[emoji[drawn]]).square().sum()
        return (told + 0.5 * apart / self.size) / len(tokens), cosines.argmax(-1) == place


class CaptionLoss:
    """The name's negative log-likelihood per token, given a question and the picture.

    The language model runs in bfloat16. What stands before the picture is the same for a whole
    batch and is computed once, without gradients.
    """

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.to(torch.bfloat16).requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.asked = {language: self.prompt(question) for language, question in QUESTIONS.items()}
        self.asked[None] = self.prompt("")

    @torch.no_grad()
    def prompt(self, question: str) -> tuple[list[tuple[Tensor, Tensor]], list[int]]:
        """Keys and values of what stands before the picture; ids of what stands after it."""
        parts = [{"type": "text", "text": question}, {"type": "image"}]
        words = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": parts}],
            chat_template=CHAT_TEMPLATE,
            add_generation_prompt=True,
            tokenize=False,
        )
        before, after = (self.tokenizer(side)["input_ids"] for side in words.split("<image>"))
        cache = DynamicCache()
        self.model.model(torch.tensor([before]), past_key_values=cache, use_cache=True)
        return [(layer.keys, layer.values) for layer in cache.layers], after

    def __call__(self, vectors: Tensor, question: str | None, names: list[str]) -> Tensor:
        """Of pictures' vectors (B, patches, width), a question's language, and B names."""
        kept, after = self.asked[question]
        cache = DynamicCache()
        for index, (keys, values) in enumerate(kept):
            shape = (len(names), -1, -1, -1)
            cache.update(keys.expand(shape), values.expand(shape), index)
        told = [self.tokenizer(name)["input_ids"] for name in names]
        ends = [[*ids, self.tokenizer.eos_token_id][:LONGEST] for ids in told]
        longest = max(map(len, ends))
        padded = torch.tensor([end + [-100] * (longest - len(end)) for end in ends])
        given = torch.cat([torch.tensor([after] * len(names)), padded[:, :-1].clamp(min=0)], 1)
        embedded = self.model.get_input_embeddings()(given)
        inputs = torch.cat([vectors.to(embedded.dtype), embedded], dim=1)
        states = self.model.model(
            inputs_embeds=inputs, past_key_values=cache, use_cache=True
        ).last_hidden_state
        known = padded >= 0
        logits = self.model.lm_head(states[:, -longest:][known]).float()
        return functional.cross_entropy(logits, padded[known])


@dataclass
class Trainer:
    """The state of a run, which a checkpoint holds."""

    tower: Tower
    guides: Guides
    settings: Settings
    material: Material
    word_loss: WordLoss
    rng: np.random.Generator
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def run(self, out: Path, captions: CaptionLoss, last: int | None = None) -> None:
        """Trains from where it stands to the end, or to step ``last``; saves now and then."""
        total = self.settings.word_steps + self.settings.caption_steps
        log: list[dict[str, float]] = []
        while self.step < min(total, last or total):
            began = time.monotonic()
            self.set_rate()
            if self.step < self.settings.word_steps:
                loss, told = self.word_step()
            else:
                loss, told = self.caption_step(captions)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], 5.0)
            self.optimizer.step()
            self.step += 1
            self.seconds += time.monotonic() - began
            log.append(told)
            if self.step % 20 == 0 or self.step == total:
                means = (f"{name} {np.nanmean([told[name] for told in log]):.3f}" for name in told)
                say(f"step {self.step}/{total} {self.seconds:.0f} s: {', '.join(means)}")
                log.clear()
            if self.step % SAVE_EVERY == 0 or self.step in (self.settings.word_steps, total):
                log.clear()
                self.save(out / "checkpoint.pt")

    def set_rate(self) -> None:
        """Each stage's rate rises over the warm-up and then falls as a cosine to a fiftieth."""
        settings, step = self.settings, self.step
        peak, steps = settings.word_rate, settings.word_steps
        if step >= settings.word_steps:
            step -= settings.word_steps
            peak, steps = settings.caption_rate, settings.caption_steps
        rising = min(1.0, (step + 1) / settings.warmup)
        falling = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = float(peak * rising * falling)

    def word_step(self) -> tuple[Tensor, dict[str, float]]:
        """The first stage's loss on a batch of new pictures."""
        _, loss, told = self.seen(self.word_batch())
        return loss, told

    def caption_step(self, captions: CaptionLoss) -> tuple[Tensor, dict[str, float]]:
        """The second stage's loss on new pictures with one question, and the first stage's.

        A picture through the language model costs as much as thirty through the tower alone, so
        a whole batch of the first stage comes along.
        """
        language = str(self.rng.choice(list(SHARES), p=list(SHARES.values())))
        question = None if language == "en" and self.rng.random() < 0.25 else language
        asked = [
            self.material.draw(language, self.rng, share_drawn=0.65, most=1)
            for _ in range(self.settings.caption_batch)
        ]
        vectors, words, told = self.seen([*asked, *self.word_batch()])
        caption = captions(vectors[: len(asked)], question, [one.text for one in asked])
        return caption + words, told | {"caption": caption.item()}

    def word_batch(self) -> list[Example]:
        """New pictures in all languages."""
        languages = self.rng.choice(
            list(SHARES), p=list(SHARES.values()), size=self.settings.word_batch
        )
        return [
            self.material.draw(str(language), self.rng, share_drawn=0.55, most=3)
            for language in languages
        ]

    def seen(self, made: list[Example]) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The vectors of pictures, the loss of words and guides on them, and shares of right ones.

        Words are asked of ``PATCHES_TAUGHT`` patches of each picture.
        """
        with torch.autocast("cpu", torch.bfloat16):
            vectors, middle, end = self.tower(pixels([one.picture for one in made]))
        vectors, middle, end = vectors.float(), middle.float(), end.float()
        rows, places = [], []
        for row, one in enumerate(made):
            chosen = self.rng.permutation(np.flatnonzero(one.tokens >= 0))[:PATCHES_TAUGHT]
            rows += [row] * len(chosen)
            places += chosen.tolist()
        tokens = torch.tensor(np.stack([one.tokens for one in made]))[rows, places]
        characters = torch.tensor(np.stack([one.characters for one in made]))[rows, places]
        drawn = torch.tensor([one.emoji for one in made])
        words, right = self.word_loss(
            vectors[rows, places], tokens, drawn[rows], self.guides.sharpness
        )
        known, shown = characters >= 0, drawn >= 0
        read = self.guides.character(middle[rows, places][known])
        recognised = self.guides.emoji(end.mean(1)[shown])
        loss = words + mean_cross_entropy(read, characters[known])
        loss = loss + mean_cross_entropy(recognised, drawn[shown])
        told = {
            "words": words,
            "typeset": right[known].float().mean(),
            "drawn": right[~known].float().mean(),
            "letter": (read.argmax(-1) == characters[known]).float().mean(),
            "emoji": (recognised.argmax(-1) == drawn[shown]).float().mean(),
        }
        return vectors, loss, {name: value.item() for name, value in told.items()}

    def save(self, path: Path) -> None:
        """Writes everything a run needs to go on."""
        state = {
            "tower": self.tower.state_dict(),
            "guides": self.guides.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Reads what ``save`` wrote."""
        state = torch.load(path, weights_only=True)
        self.tower.load_state_dict(state["tower"])
        self.guides.load_state_dict(state["guides"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.step, self.seconds = state["step"], state["seconds"]


def prepare(
    settings: Settings, drawings: dict, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor
) -> Trainer:
    """A run at its beginning.

    Args:
        settings: The recipe's numbers.
        drawings: More drawings of emoji, as ``more_drawings`` gives them; may be empty.
        tokenizer: The language model's.
        embeddings: The language model's input embeddings, float32, (vocabulary, width).
    """
    torch.manual_seed(settings.seed)
    every = emojis()
    seen = [emoji for emoji in every if not emoji.held_out]
    held_out = [emoji for emoji in every if emoji.held_out]
    material = Material(seen, held_out, drawings, tokenizer)
    config = json.loads((TOWER / "config.json").read_text(encoding="utf-8"))
    tower = Tower(config, embeddings.shape[1])
    hidden = config["vision_config"]["hidden_size"]
    guides = Guides(hidden, len(material.letters), len(seen))
    rng = np.random.default_rng(settings.seed)
    languages = rng.choice(list(LANGUAGES), size=settings.first_look)
    first = [material.draw(str(one), rng, share_drawn=0.5, most=3).picture for one in languages]
    tower.start(pixels(first))
    return Trainer(
        tower=tower,
        guides=guides,
        settings=settings,
        material=material,
        word_loss=WordLoss(embeddings, material.vocabulary(), material.meanings(len(embeddings))),
        rng=rng,
        optimizer=torch.optim.AdamW(
            [*tower.parameters(), *guides.parameters()], betas=(0.9, 0.98), weight_decay=0.05
        ),
    )


def ship(trainer: Trainer, out: Path) -> None:
    """Writes a tower's folder: weights in float16, configuration, digests, the run's numbers."""
    weights = {
        name: weight.half().contiguous() for name, weight in trainer.tower.state_dict().items()
    }
    save_file(weights, out / TOWER_WEIGHTS)
    (out / TOWER_WEIGHTS).chmod(0o644)
    for name in ("config.json", "LICENSE", "NOTICE"):
        if out != TOWER:
            shutil.copy(TOWER / name, out / name)
    write_tower_digests(out, TEXT_SUBJECT)
    numbers = {
        "settings": vars(trainer.settings),
        "emoji_seen": len(trainer.material.seen),
        "drawings_seen": sum(map(len, trainer.material.drawings.values())),
        "seconds": round(trainer.seconds),
        "threads": torch.get_num_threads(),
    }
    (out / "training.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the tower is written")
    parser.add_argument("--icons", type=Path, help="folder with the packages of more drawings")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use")
    for name, value in vars(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def main() -> int:
    """Trains, from a checkpoint where there is one, and writes the tower."""
    args = arguments()
    torch.set_num_threads(args.threads)
    settings = Settings(**{name: getattr(args, name) for name in vars(Settings())})
    tokenizer = AutoTokenizer.from_pretrained(TEXT_SUBJECT)
    model = AutoModelForCausalLM.from_pretrained(TEXT_SUBJECT)
    embeddings = model.get_input_embeddings().weight.detach().clone()
    drawings = more_drawings(args.icons, emojis()) if args.icons else {}
    trainer = prepare(settings, drawings, tokenizer, embeddings)
    args.out.mkdir(parents=True, exist_ok=True)
    if (args.out / "checkpoint.pt").is_file():
        trainer.load(args.out / "checkpoint.pt")
    trainer.run(args.out, CaptionLoss(model, tokenizer))
    ship(trainer, args.out)
    say(f"{args.out}: written after {trainer.seconds / 60:.0f} minutes of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
