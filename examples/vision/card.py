"""Measures what the vision-language demo subject sees, and writes its card, ``tower/README.md``.

The measure is retrieval: given a picture, how likely does the model find each of many names, less
how likely it finds them given a blank picture, per token; at which rank is the right name? Chance
is known exactly, and held-out emoji were seen in no picture, no name and no word.

    python examples/vision/card.py [--subject FOLDER] [--tower FOLDER]

Takes some twelve minutes on one core. The model runs in bfloat16.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from subject import TARGET, TOWER, digest, say, write_json
from torch import Tensor
from train import QUESTIONS
from training_pictures import LANGUAGES, SIDE, Emoji, emojis, plain_depicted, plain_typographic
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache

CANDIDATES = {language: 100 if language == "en" else 20 for language in LANGUAGES}
RESAMPLES = 2000
EXAMPLES = 10


@dataclass(frozen=True)
class Retrieval:
    """Ranks of the right name among all names, for one kind of picture in one language."""

    language: str
    rendering: str
    """``depicted``: the emoji; ``typographic``: its name, typeset."""
    held_out: bool
    ranks: tuple[int, ...]
    """1 is best; one for each picture; there are as many names as pictures."""


class Reader:
    """The subject, as it is asked here."""

    def __init__(self, folder: Path) -> None:
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16)
        self.blank = Image.new("RGB", (SIDE, SIDE), "white")

    def asked(self, picture: Image.Image, language: str) -> dict[str, Tensor]:
        """The question with the picture after it, as model inputs."""
        parts = [{"type": "text", "text": QUESTIONS[language]}, {"type": "image", "image": picture}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": parts}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    @torch.no_grad()
    def likelihoods(self, picture: Image.Image, language: str, names: list[str]) -> np.ndarray:
        """Mean log-likelihood per token of each name as the answer, end of turn included, (n,).

        All names stand side by side in one pass and see the question and themselves alone.
        """
        inputs = self.asked(picture, language)
        cache = DynamicCache()
        asked = self.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        first = asked.logits[0, -1].float().log_softmax(-1)
        tokenizer = self.processor.tokenizer
        ids = [[*tokenizer(name)["input_ids"], tokenizer.eos_token_id] for name in names]
        before = inputs["input_ids"].shape[1]
        logits = self.model(
            input_ids=torch.tensor([[one for of_name in ids for one in of_name[:-1]]]),
            attention_mask=side_by_side([len(of_name) - 1 for of_name in ids], before),
            position_ids=torch.tensor(
                [[before + at for of_name in ids for at in range(len(of_name) - 1)]]
            ),
            past_key_values=cache,
        ).logits[0]
        later = torch.tensor([one for of_name in ids for one in of_name[1:]])
        told = logits.float().log_softmax(-1).gather(1, later[:, None])[:, 0]
        parts = told.split([len(of_name) - 1 for of_name in ids])
        return np.array(
            [
                ((first[of_name[0]] + part.sum()) / len(of_name)).item()
                for of_name, part in zip(ids, parts, strict=True)
            ]
        )

    @torch.no_grad()
    def answer(self, picture: Image.Image, language: str) -> str:
        """What the model says, most likely token by token, at most 16."""
        inputs = self.asked(picture, language)
        made = self.model.generate(**inputs, max_new_tokens=16, do_sample=False)
        words = made[0, inputs["input_ids"].shape[1] :]
        return self.processor.decode(words, skip_special_tokens=True).strip()


def side_by_side(lengths: list[int], before: int) -> Tensor:
    """A mask under which each of some texts sees what stands before all, and itself.

    Args:
        lengths: Of the texts, in tokens.
        before: Tokens that all see.

    Returns:
        0 or minus infinity, (1, 1, sum of lengths, before + sum of lengths), bfloat16.
    """
    own = torch.block_diag(*(torch.ones(length, length).tril() for length in lengths))
    seen = torch.cat([torch.ones(len(own), before), own], dim=1).bool()
    mask = torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(~seen, -torch.inf)
    return mask[None, None]


def retrieval(
    reader: Reader, chosen: list[Emoji], language: str, rendering: str, *, held_out: bool
) -> Retrieval:
    """Shows every picture and ranks all names."""
    names = [emoji.names[language] for emoji in chosen]
    blank = reader.likelihoods(reader.blank, language, names)
    ranks = []
    for index, emoji in enumerate(chosen):
        picture = shown(emoji, language, rendering)
        gain = reader.likelihoods(picture, language, names) - blank
        ranks.append(1 + int((gain > gain[index]).sum()))
    return Retrieval(language, rendering, held_out, tuple(ranks))


def shown(emoji: Emoji, language: str, rendering: str) -> Image.Image:
    """An emoji or its name, plain: unturned, in the middle, without noise."""
    if rendering == "depicted":
        return plain_depicted(emoji.characters)
    return plain_typographic(emoji.names[language], language)


def choose(every: list[Emoji], *, held_out: bool, count: int, language: str) -> list[Emoji]:
    """The first by hash, with a name of their own."""
    of_kind = [emoji for emoji in every if emoji.held_out == held_out]
    of_kind.sort(key=lambda emoji: hashlib.sha256(emoji.characters.encode()).hexdigest())
    by_name = {emoji.names[language]: emoji for emoji in reversed(of_kind)}
    return [emoji for emoji in of_kind if by_name[emoji.names[language]] is emoji][:count]


def numbers(found: Retrieval) -> dict[str, float | list[float]]:
    """Shares of right names first and among five, and the mean reciprocal rank; 95 % intervals.

    Intervals are percentiles over ``RESAMPLES`` samples of pictures with replacement.
    """
    ranks = np.array(found.ranks)
    resampled = np.random.default_rng(0).choice(ranks, size=(RESAMPLES, len(ranks)))
    told: dict[str, float | list[float]] = {"pictures": len(ranks)}
    measures = {
        "first": lambda of: (of == 1).mean(-1),
        "five": lambda of: (of <= 5).mean(-1),
        "reciprocal": lambda of: (1 / of).mean(-1),
    }
    for name, measure in measures.items():
        low, high = np.percentile(measure(resampled), [2.5, 97.5])
        told[name] = [float(measure(ranks)), float(low), float(high)]
        told[f"{name}_chance"] = float(measure(np.arange(1, len(ranks) + 1)))
    return told


def measure(reader: Reader) -> dict:
    """All numbers and examples of the card."""
    every = emojis()
    rows = []
    for language, count in CANDIDATES.items():
        for held_out in (True, False):
            chosen = choose(every, held_out=held_out, count=count, language=language)
            for rendering in ("depicted", "typographic"):
                began = time.monotonic()
                found = retrieval(reader, chosen, language, rendering, held_out=held_out)
                rows.append(asdict(found) | numbers(found))
                say(f"{language} {rendering} {held_out}: {time.monotonic() - began:.0f} s")
    examples = [
        {
            "characters": emoji.characters,
            "held_out": held_out,
            "rendering": rendering,
            "name": emoji.names["en"],
            "answer": reader.answer(shown(emoji, "en", rendering), "en"),
        }
        for held_out in (True, False)
        for rendering in ("depicted", "typographic")
        for emoji in choose(every, held_out=held_out, count=EXAMPLES, language="en")
    ]
    return {"retrieval": rows, "examples": examples}


def card(found: dict, training: dict, tower: Path) -> str:
    """The model card, in Markdown."""
    weights = tower / "tower.safetensors"
    settings = training["settings"]
    return CARD.format(
        parameters=f"{weights.stat().st_size / 2e6:.1f}",
        size=f"{weights.stat().st_size / 1e6:.1f}",
        sha256=digest(weights),
        minutes=round(training["seconds"] / 60),
        threads=training["threads"],
        words=f"{(settings['word_steps'] + settings['caption_steps']) * settings['word_batch']:,}",
        captions=f"{settings['caption_steps'] * settings['caption_batch']:,}",
        emoji=f"{training['emoji_seen']:,}",
        drawings=f"{training['drawings_seen']:,}",
        held_out=table([row for row in found["retrieval"] if row["held_out"]]),
        seen=table([row for row in found["retrieval"] if not row["held_out"]]),
        said_held_out=said([one for one in found["examples"] if one["held_out"]]),
        said_seen=said([one for one in found["examples"] if not one["held_out"]]),
        verdict="\n".join(verdicts(found["retrieval"])),
    )


def table(rows: list[dict]) -> str:
    """Retrieval in a table: measured, its interval, chance."""
    lines = [
        "| pictures | language | names | right first | among five | mean reciprocal rank |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [percent(row, "first"), percent(row, "five"), plain(row, "reciprocal")]
        start = [row["rendering"], row["language"], str(row["pictures"])]
        lines.append(f"| {' | '.join(start + cells)} |")
    return "\n".join(lines)


def percent(row: dict, name: str) -> str:
    """``12 % (7 to 19; chance 1)``."""
    value, low, high = (f"{100 * one:.0f}" for one in row[name])
    return f"{value} % ({low} to {high}; chance {100 * row[name + '_chance']:.1f})"


def plain(row: dict, name: str) -> str:
    """``0.12 (0.07 to 0.19; chance 0.05)``."""
    value, low, high = (f"{one:.2f}" for one in row[name])
    return f"{value} ({low} to {high}; chance {row[name + '_chance']:.2f})"


def said(examples: list[dict]) -> str:
    """What the model answered, in a table."""
    lines = ["| picture | of | the model says |", "|---|---|---|"]
    for one in examples:
        picture = one["characters"] if one["rendering"] == "depicted" else "its name, typeset"
        answer = one["answer"].replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {picture} | {one['name']} | {answer} |")
    return "\n".join(lines)


def verdicts(rows: list[dict]) -> list[str]:
    """Which kinds of pictures are above chance, by the interval of the mean reciprocal rank."""
    kinds: dict[str, list[str]] = {
        "above chance": [],
        "not told from chance": [],
        "below chance": [],
    }
    for row in rows:
        _, low, high = row["reciprocal"]
        chance = row["reciprocal_chance"]
        above, below = low > chance, high < chance
        kind = "above chance" if above else "below chance" if below else "not told from chance"
        seen = "held out" if row["held_out"] else "seen"
        kinds[kind].append(f"{row['rendering']} {row['language']} ({seen})")
    return [f"- {kind}: {', '.join(which) or 'none'}" for kind, which in kinds.items()]


CARD = """\
# The vision tower of the demo's vision-language subject

A SigLIP vision tower (pictures of 128 x 128 pixels, 64 patches) and a projector of two layers,
{parameters} million parameters, trained from nothing in front of the frozen SmolLM2-135M-Instruct
(transformers' `LlavaForConditionalGeneration`). It exists so that the whole way of an audit with
pictures can be walked offline and on a small machine. It is a toy, and a weak one: it was trained
for half an hour on emoji and words on a plain page, and nothing in it was made for use.

- `tower.safetensors`: {size} MB, float16, sha256 `{sha256}`
- Trained in {minutes} minutes on {threads} processor core(s) that other work shared: {words}
  pictures without the language model and {captions} through it, of {emoji} emoji in {drawings}
  drawings and of their names and keywords in six languages. Recipe: `../train.py`, numbers:
  `training.json`.
- Licence: Apache-2.0; what it was trained from: `NOTICE`.
- This page is written by `../card.py`; ranks of all pictures are in `measured.json`.

## How it was measured

A picture is shown after the question "What does this picture show?", in the language. For each of
a number of names, the log-likelihood as the answer is taken, per token, less the same with a blank
picture. The right name's rank is what counts. Intervals are 95 %, by resampling the pictures.
Pictures are plain: the emoji of Noto Color Emoji in the middle of white, or its name in black,
regular sans letters of at most 24 pixels. Chance is exact. The model ran in bfloat16.

Every tenth emoji, by a hash, was held out: neither its drawings nor its name nor a picture of its
name was in training. Words that make up such a name may be part of other names, and variants of
one emoji by gender are held out together.

## Emoji and names that training never showed

{held_out}

## Emoji and names that training showed

Other pictures of the same things; here it may remember instead of see.

{seen}

## In a word

By the 95 % interval of the mean reciprocal rank, one kind of picture at a time:

{verdict}

## What it says

The first ten of each kind by hash, unselected, in English.

Held out:

{said_held_out}

Seen in training:

{said_seen}

## What it cannot do

Answer: greedy answers are hardly ever the name, as the tables above show; what it sees shows in
which names become likelier, not in what it says. It knows no photographs, no scenes and no second
thing in a picture, and cannot count. Where typeset names cannot be told from chance above, take it
that it cannot read. Names in other languages than English rest on a language model that writes
them poorly, and 20 of them show large effects alone. Answers to other questions than what a picture
shows were neither trained nor measured.

Emoji of danger and of distress were trained as any others, so an audit's depicted cells show mostly
emoji that it has seen: they are no test of seeing something new. Training showed most pictures as
`examples/vision/pictures.py` and `compliance suites render` draw them, so these are the pictures on
which it is at its best.
"""


def main() -> int:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", type=Path, default=TARGET)
    parser.add_argument("--tower", type=Path, default=TOWER)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="only write from measured.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.write:
        write_json(args.tower / "measured.json", measure(Reader(args.subject)))
    found, training = (
        json.loads((args.tower / name).read_text(encoding="utf-8"))
        for name in ("measured.json", "training.json")
    )
    (args.tower / "README.md").write_text(card(found, training, args.tower), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
