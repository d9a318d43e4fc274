"""Edits a model's README between markers and leaves every other byte as it was.

::

    data = write_card(data, section, entry)   # a second time changes nothing
    data = remove_card(data)                  # the README as it was before

The section stands between two comments of Markdown, the metadata between two comments of YAML in
the front matter. What the front matter is, is taken from the Hugging Face hub's own expression.
Whatever cannot be edited without touching other bytes is refused: each edit of the front matter is
read again, and must hold what was there and our entry, and nothing else.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from compliance.errors import ReportError

BEGIN = "<!-- sae-compliance:begin -->"
END = "<!-- sae-compliance:end -->"
YAML_BEGIN = "# sae-compliance:begin"
YAML_BEGIN_ALL = "# sae-compliance:begin, with the --- above and below"
"""Where the README had no front matter: removing takes it out as a whole."""

YAML_END = "# sae-compliance:end"
MODEL_INDEX = "model-index"

MAX_BYTES = 4_000_000
"""Of a README."""

MAX_LEVELS = 64
MAX_EVENTS = 50_000
"""Levels, and keys, values and ends, of the front matter."""

EVAL_RESULTS = "sae-compliance.yaml"
"""File below ``.eval_results/`` of a model's repository."""

EVAL_HEADER = "# Written by sae-compliance. 'compliance card --remove' deletes this file.\n"
"""How that file begins; one that does not is somebody else's."""

_FRONT = re.compile(
    r"\ufeff?\s*(---(?:\r\n|\r|\n))([\S\s]*?)(?:\r\n|\r|\n)(---[ \t]*(?:\r\n|\n|\Z))"
)
"""The hub's: moon-landing ViewMarkdown.ts, as quoted in huggingface_hub/repocard.py."""

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n)|([^\r\n]+)\Z")
_FENCE = re.compile(r" {0,3}((?:(?:[-*+]|\d{1,9}[.)]) +)*)(`{3,}+(?!.*`)|~{3,}+)")


@dataclass(frozen=True)
class _Line:
    """A line by its place in the text; ``text`` is without its end."""

    start: int
    end: int
    text: str


def write_card(
    data: bytes, section: str, entry: dict[str, Any] | None, *, name: str = "README.md"
) -> bytes:
    """Put a section and a ``model-index`` entry into a README, in place of older ones.

    Args:
        data: The README.
        section: Markdown without the markers, each line with a line feed.
        entry: One element of ``model-index``. None: there is nothing to state there.
        name: What messages call the README.

    Raises:
        ReportError: The README is not UTF-8, its markers are damaged, or its front matter cannot be
            edited without touching what is there.
    """
    edit = _Edit(name)
    text = edit.without_entry(edit.decoded(data))
    text = edit.with_section(text, section)
    return (text if entry is None else edit.with_entry(text, entry)).encode("utf-8")


def remove_card(data: bytes, *, name: str = "README.md") -> bytes:
    """Take out what `write_card` put in. Without any, the README stays as it is.

    Raises:
        ReportError: As `write_card`.
    """
    edit = _Edit(name)
    return edit.without_section(edit.without_entry(edit.decoded(data))).encode("utf-8")


def section_between_markers(section: str) -> str:
    """The section as it stands in a README with plain line ends."""
    return f"{BEGIN}\n{section}{END}\n"


def entry_between_markers(entry: dict[str, Any], *, indent: int = 0, in_list: bool = False) -> str:
    """The metadata as they stand in front matter that has a ``model-index``, or has none."""
    lines = ["", *_dumped([entry] if in_list else {MODEL_INDEX: [entry]}).splitlines(), ""]
    lines[0], lines[-1] = YAML_BEGIN, YAML_END
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _dumped(value: object) -> str:
    """YAML in block style down to the innermost collections, which stand on one line each."""
    dumped: str = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=float("inf")
    )
    return dumped


@dataclass(frozen=True)
class _Edit:
    """The steps of an edit of one README, as text."""

    name: str

    def decoded(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            raise ReportError(f"{self.name}: larger than {MAX_BYTES} bytes")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReportError(
                f"{self.name}: byte {error.start} is not UTF-8",
                hint="save the file as UTF-8; nothing was written",
            ) from error

    # Section

    def with_section(self, text: str, section: str) -> str:
        block = section_between_markers(section).removesuffix("\n").replace("\n", _newline(text))
        found, open_code = self._section(text)
        if found:
            return text[: found[0].start] + block + text[found[1].start + len(found[1].text) :]
        if open_code:
            raise ReportError(
                f"{self.name}: line {_number(text, open_code.start)}: a code block begins and "
                "never ends, so that a section after it would be part of it",
                hint="close the code block; nothing was written",
            )
        if text[_start(text) :] and text[-1] not in "\r\n":
            # ours has no line end then, which says that the one before it is ours
            return text + _newline(text) + block
        return text + block + _newline(text)

    def without_section(self, text: str) -> str:
        found, _ = self._section(text)
        if not found:
            return text
        begin, end = found
        before, after = text[: begin.start], text[end.end :]
        if end.end == end.start + len(end.text):  # the README had no line end: see with_section
            before = before.removesuffix("\n").removesuffix("\r")
        return before + after

    def _section(self, text: str) -> tuple[tuple[_Line, _Line] | None, _Line | None]:
        """First and last line of our section, and the line of a code block without an end."""
        front = _FRONT.match(text)
        lines = _lines(text, front.end() if front else _start(text))
        outside, open_code = _outside_code(lines)
        return self._pair(text, outside, (BEGIN,), END), open_code

    # Metadata

    def with_entry(self, text: str, entry: dict[str, Any]) -> str:
        front = _FRONT.match(text)
        newline = _newline(text)
        if front is None:
            block = entry_between_markers(entry).replace(YAML_BEGIN, YAML_BEGIN_ALL, 1)
            start = _start(text)
            added = f"---\n{block}---\n".replace("\n", newline)
            return text[:start] + added + text[start:]
        start, stop = front.start(2), front.start(3)
        inner = self._with_entry(text[start:stop], entry, newline)
        return text[:start] + inner + text[stop:]

    def _with_entry(self, inner: str, entry: dict[str, Any], newline: str) -> str:
        """Front matter with our entry: first in a list that is there, else under a key of ours."""
        events = self._events(inner)
        at, ours = self._place(inner, events)
        if at is None:
            column = _root_column(events)
            block = entry_between_markers(entry, indent=column)
            where = len(inner)
            fresh = _events(_dumped({MODEL_INDEX: [entry]}))
            # key and value go before the ends of mapping, document and stream
            expected = events[:-3] + fresh[3:-3] + events[-3:] if len(events) > 2 else fresh
        else:
            where, column = at
            block = entry_between_markers(entry, indent=column, in_list=True)
            expected = events[:ours] + _events(_dumped([entry]))[3:-3] + events[ours:]
        edited = inner[:where] + block.replace("\n", newline) + inner[where:]
        if _shapes(self._events(edited)) != _shapes(expected):
            raise self._refusal("it cannot take another key or entry and stay what it is")
        return edited

    def without_entry(self, text: str) -> str:
        front = _FRONT.match(text)
        if front is None:
            return text
        start, stop = front.start(2), front.start(3)
        found = self._pair(
            text, _lines(text, start, stop), (YAML_BEGIN, YAML_BEGIN_ALL), YAML_END, strip=str.strip
        )
        if found is None:
            return text
        begin, end = found
        if begin.text.strip() == YAML_BEGIN_ALL and (begin.start, end.end) == (start, stop):
            return text[: front.start(1)] + text[front.end() :]
        inner = text[start : begin.start] + text[end.end : stop]
        self._events(inner)
        return text[:start] + inner + text[stop:]

    def _place(self, inner: str, events: list[yaml.Event]) -> tuple[tuple[int, int] | None, int]:
        """Offset and column of the first entry of ``model-index``, and where its events begin."""
        if len(events) <= 2:
            return None, 0
        root = events[2]
        if not isinstance(root, yaml.MappingStartEvent):
            raise self._refusal("it is not a mapping with one key in a line")
        values = [
            index
            for key, index in _pairs(events)
            if isinstance(key, yaml.ScalarEvent) and key.value == MODEL_INDEX
        ]
        if not values:
            return None, 0
        value = events[values[0]]
        plain = isinstance(value, yaml.SequenceStartEvent) and not value.flow_style
        if len(values) > 1 or not plain or value.anchor or value.tag:
            raise self._refusal(
                f"{MODEL_INDEX} is not one list with each entry on lines of its own"
            )
        where = value.start_mark.index
        line = max(inner.rfind("\n", 0, where), inner.rfind("\r", 0, where)) + 1
        return (line, where - line), values[0] + 1

    def _events(self, inner: str) -> list[yaml.Event]:
        try:
            return _events(inner)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1} of it" if mark else "it"
            reason = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
            raise self._refusal(f"{where} is not YAML: {reason}") from error

    def _refusal(self, reason: str) -> ReportError:
        return ReportError(
            f"{self.name}: the front matter cannot be edited: {reason}",
            hint=f"write it as YAML in block style, with '{MODEL_INDEX}:' on a line of its own and "
            "'- name: ...' below; nothing was written",
        )

    def _pair(
        self, text: str, lines: Iterable[_Line], begins: tuple[str, ...], end: str,
        strip: Callable[[str], str] = str.rstrip,
    ) -> tuple[_Line, _Line] | None:  # fmt: skip
        """The lines that are nothing but our two markers."""
        found = [line for line in lines if strip(line.text) in (*begins, end)]
        kinds = [strip(line.text) == end for line in found]
        if not found:
            return None
        if kinds != [False, True]:
            places = ", ".join(str(_number(text, line.start)) for line in found)
            raise ReportError(
                f"{self.name}: expected one line {begins[0]!r} and one {end!r} after it, found "
                f"markers in these lines: {places}",
                hint="put the missing line back, or delete what is left of the section; nothing "
                "was written",
            )
        return found[0], found[1]


def _newline(text: str) -> str:
    """How the README ends its first line."""
    found = re.search(r"\r?\n", text)
    return found[0] if found else "\n"


def _start(text: str) -> int:
    """Where the text begins after a byte order mark."""
    return 1 if text.startswith("\ufeff") else 0


def _number(text: str, place: int) -> int:
    return 1 + sum(1 for line in _lines(text) if line.end <= place)


def _lines(text: str, start: int = 0, stop: int | None = None) -> Iterator[_Line]:
    for match in _LINE.finditer(text, start, len(text) if stop is None else stop):
        yield _Line(match.start(), match.end(), match[1] if match[1] is not None else match[2])


def _outside_code(lines: Iterable[_Line]) -> tuple[list[_Line], _Line | None]:
    """Lines outside fenced code (CommonMark 4.5), and the fence that is never closed."""
    outside: list[_Line] = []
    opened: _Line | None = None
    fence, column = "", 0
    for line in lines:
        if opened is not None:
            text = line.text.strip(" \t")
            indent = len(line.text) - len(line.text.lstrip(" "))
            closes = len(text) >= len(fence) and not text.strip(fence[0])
            if closes and indent <= column + 3:
                opened = None
                continue
            if not text or indent >= column:
                continue
            opened = None  # a list item ended, and its code block with it
        found = _FENCE.match(line.text)
        if found:
            opened, fence = line, found[2]
            column = found.start(2) if found[1] else 0
        else:
            outside.append(line)
    return outside, opened if column == 0 else None


def _events(text: str) -> list[yaml.Event]:
    found, depth = [], 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        found.append(event)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_LEVELS or len(found) > MAX_EVENTS:
            raise yaml.MarkedYAMLError(
                problem="too long or too deep", problem_mark=event.start_mark
            )
    return found


def _root_column(events: list[yaml.Event]) -> int:
    column: int = events[2].start_mark.column if len(events) > 2 else 0
    return column


def _pairs(events: list[yaml.Event]) -> Iterator[tuple[yaml.Event, int]]:
    """Each key of the root mapping, and where the events of its value begin."""
    depth, starts = 0, []
    for index, event in enumerate(events[3:], start=3):
        if depth == 0 and isinstance(event, yaml.NodeEvent):
            starts.append(index)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth < 0:
            break
    for key, value in zip(starts[::2], starts[1::2], strict=True):
        yield events[key], value


def _shapes(events: list[yaml.Event]) -> list[tuple[object, ...]]:
    """What events say, without where they stand."""
    fields = ("anchor", "tag", "value", "implicit", "explicit", "flow_style", "version", "tags")
    return [(type(e).__name__, *(getattr(e, field, None) for field in fields)) for e in events]
