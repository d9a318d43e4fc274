"""The text that the SAE is trained and measured on: help pages, or what the subject writes.

A page and its translations are on the same side of the split, and which side that is hangs on the
page's path alone.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from residuals import Progress, Subject, Window
from transformers import PreTrainedTokenizerBase

HELP = Path("/usr/share/libreoffice/help")
HELP_FOLDERS = {
    "en": "en-US",
    "ja": "ja",
    "zh-Hans": "zh-CN",
    "el": "el",
    "vi": "vi",
    "ru": "ru",
}
OWN = "own"
"""In the place of a language: text that the subject itself writes."""
LENGTHS = (64, 128, 256, 512)
"""Windows of several lengths, so that the SAE meets early positions as often as items have them."""
SHORTEST = 24
HELD_OUT_PERCENT = 10
BROKEN = "D'oh! You found a bug"
"""What the help's own build writes where a page could not include another."""
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
BLOCKS = frozenset((*HEADINGS, "p", "li", "dt", "dd", "td", "th", "tr", "pre", "div", "br"))


@dataclass(frozen=True)
class Stratum:
    """Text of one language in one format; training is balanced over them, EV is told for each."""

    language: str
    chat: bool

    @property
    def name(self) -> str:
        return f"{self.language}, chat" if self.chat else self.language


def strata(subject: Subject, languages: list[str]) -> list[Stratum]:
    """Plain text in every language, and chats where the subject has a chat template."""
    formats = (False, True) if subject.tokenizer.chat_template else (False,)
    return [Stratum(language, chat) for chat in formats for language in languages]


def shares(every: list[Stratum], total: int) -> dict[Stratum, int]:
    """Tokens for each stratum: the same for each language, one in six of them in chats."""
    languages = len({stratum.language for stratum in every})
    has_chat = any(stratum.chat for stratum in every)
    chat = total // languages // 6 if has_chat else 0
    return {s: chat if s.chat else total // languages - chat for s in every}


def windows(
    subject: Subject, stratum: Stratum, held_out: bool, wanted: int, seed: int
) -> list[Window]:
    """Windows that start in the first half of each page in turn, until there are enough tokens.

    A page that comes round again is entered at another paragraph. The second half is only run into:
    it ends in lists of links that are much the same on every page.
    """
    if stratum.language == OWN:
        return own_windows(subject, held_out, wanted, seed)
    random = np.random.RandomState([seed, page_hash(stratum.name) % 2**32, held_out])
    side = [page for page in pages() if is_held_out(page) == held_out]
    chosen: list[Window] = []
    total, turn = 0, 0
    while total < wanted:
        texts = paragraphs(stratum.language, side[turn % len(side)])
        turn += 1
        length = min(int(random.choice(LENGTHS)), subject.context)
        start = random.randint((len(texts) + 1) // 2) if texts else 0
        tokens = encode(subject.tokenizer, texts[start:], stratum.chat)[:length]
        if len(tokens) >= SHORTEST:
            chosen.append(Window(tuple(tokens)))
            total += len(tokens)
    return chosen


def own_windows(subject: Subject, held_out: bool, wanted: int, seed: int) -> list[Window]:
    """What the subject writes by itself after a BOS, at temperature 1.

    For a subject that knows one kind of text only, help pages would be nothing but noise.
    """
    torch.manual_seed(2 * seed + held_out)
    progress = Progress("writing text", wanted)
    chosen: list[Window] = []
    eos = subject.tokenizer.eos_token_id
    while progress.done < wanted:
        rows = min(64, -(-(wanted - progress.done) // subject.context))
        begin = torch.full((rows, 1), subject.tokenizer.bos_token_id)
        written = subject.model.generate(
            begin, attention_mask=torch.ones_like(begin), do_sample=True, top_k=0,
            max_length=subject.context, pad_token_id=eos,
        )  # fmt: skip
        for row in written.tolist():
            end = row.index(eos) if eos in row else len(row)
            chosen.append(Window(tuple(row[:end])))
            progress.advance(end)
    return chosen


def encode(tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...], chat: bool) -> list[int]:
    """Tokens of plain text, or of a chat whose user says the first half of it."""
    if not texts:
        return []
    if not chat:
        return tokenizer("\n".join(texts[:60])).input_ids
    half = max(1, min(len(texts) // 2, 3))
    messages = [
        {"role": "user", "content": "\n".join(texts[:half])},
        {"role": "assistant", "content": "\n".join(texts[half : half + 20])},
    ]
    return tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]


@cache
def paragraphs(language: str, page: str) -> tuple[str, ...]:
    """What a page really says in its language: untranslated paragraphs are left out.

    They are the ones that stand in the English page word for word. Whole sections of the help are
    still English in every language, and would count as that language.
    """
    if language == "en":
        return tuple(read_page("en", page))
    english = set(paragraphs("en", page))
    return tuple(text for text in read_page(language, page) if text not in english)


def read_page(language: str, page: str) -> list[str]:
    """The page's paragraphs without the frame around it (menus, search, debug footer)."""
    html = (HELP / HELP_FOLDERS[language] / page).read_text(encoding="utf-8")
    parser = _Paragraphs()
    parser.feed(html.partition('id="DisplayArea"')[2].partition('id="SearchFrame"')[0])
    lines = "".join(parser.parts).partition(">")[2].split("\n")
    texts = (" ".join(line.split()) for line in lines)
    return [text for text in texts if text and not text.startswith(BROKEN)]


class _Paragraphs(HTMLParser):
    """Collects the text between block tags."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_data(self, data: str) -> None:
        self.parts.append(" ".join(data.split("\n")))


@cache
def pages() -> tuple[str, ...]:
    """Paths that every language has, in an order by hash: any first part is a fair sample."""
    roots = [HELP / folder for folder in HELP_FOLDERS.values()]
    if missing := [str(root) for root in roots if not root.is_dir()]:
        sys.exit(f"{', '.join(missing)}: missing; install the Debian packages named in --help")
    found = {path.relative_to(roots[0]).as_posix() for path in roots[0].rglob("text/**/*.html")}
    shared = [page for page in found if all((root / page).is_file() for root in roots)]
    return tuple(sorted(shared, key=page_hash))


def is_held_out(page: str) -> bool:
    """Whether the page is never trained on."""
    return page_hash(page) % 100 < HELD_OUT_PERCENT


def page_hash(page: str) -> int:
    """A number that hangs on the page's path alone, so that parallel pages share their side."""
    return int(hashlib.sha256(page.encode()).hexdigest(), 16)
