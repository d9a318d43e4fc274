"""Reads a YAML or JSON file a person wrote into a record, and says which line does not fit.

    config = read_yaml(Path("audit.yaml"), AuditConfig)

Every problem of a file is listed at once, each with its line, what was found and what was
expected. Aliases and repeated keys are refused: one expands without bound, the other hides a value.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from compliance.errors import ComplianceError, ConfigError
from compliance.records.base import Record

MAX_BYTES = 8_000_000
"""Size of a file that a person writes by hand, with room to spare."""

SomeRecord = TypeVar("SomeRecord", bound=Record)


_HALF = re.compile("[\ud800-\udfff]")
"""Lone surrogates: no text has them, and none can be written down with them."""


def read_yaml(
    path: Path, shape: type[SomeRecord], *, error: type[ComplianceError] = ConfigError
) -> SomeRecord:
    """Read ``path`` as one YAML document of the given shape.

    Args:
        path: The file.
        shape: The record it must fit.
        error: What to raise when it does not.

    Raises:
        ComplianceError: The file is missing, is not YAML, or does not fit; of type ``error``.
    """
    text = read_text(path, error=error)
    return parse_yaml(text, path.name, shape, error=error)


def parse_yaml(
    text: str, name: str, shape: type[SomeRecord], *, error: type[ComplianceError] = ConfigError
) -> SomeRecord:
    """The same for text at hand; ``name`` stands for the file in messages."""
    try:
        node = _compose(text)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise error(
            f"{name}, line {line}: not valid YAML: {problem.problem or problem.context}",
            hint="check indentation, colons and quotes on that line and the one before",
        ) from problem
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise error(
            f"{name}: not valid YAML: {problem}", hint="save the file as UTF-8"
        ) from problem
    if not isinstance(value, dict):
        raise error(f"{name}: expected keys and values, found {_kind(value)}")
    try:
        return shape.model_validate(value)
    except ValidationError as problem:
        lines = [f"line {_line(node, e['loc'])}: {_explain(e)}" for e in problem.errors()]
        raise error(
            f"{name}, " + f"\n{name}, ".join(lines),
            hint="correct these lines; the reference lists every key and its default",
        ) from problem


def read_json_lines(
    path: Path, shape: type[SomeRecord], *, error: type[ComplianceError] = ConfigError
) -> Iterator[SomeRecord]:
    """Yield one record a line of a JSON Lines file; blank lines are refused like other mistakes.

    Raises:
        ComplianceError: The file is missing or a line does not fit; of type ``error``.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _parse_line(line, f"{path.name}, line {number}", shape, error)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem


def read_text(path: Path, *, error: type[ComplianceError] = ConfigError) -> str:
    """Text of a file that a person wrote: UTF-8, of bounded size.

    Raises:
        ComplianceError: It is missing, too large or not UTF-8; of type ``error``.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: larger than {MAX_BYTES:,} bytes", hint="is it the right file?")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as problem:
        raise error(f"{path}: no such file", hint="check the name and the folder") from problem
    except UnicodeDecodeError as problem:
        raise error(
            f"{path}: not UTF-8 at byte {problem.start}", hint="save the file as UTF-8"
        ) from problem
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem


def _parse_line(
    line: bytes, where: str, shape: type[SomeRecord], error: type[ComplianceError]
) -> SomeRecord:
    try:
        return shape.model_validate(_parsed(line))
    except UnicodeDecodeError as problem:
        raise error(f"{where}: not UTF-8", hint="save the file as UTF-8") from problem
    except ValidationError as problem:
        explained = "; ".join(_explain(e) for e in problem.errors())
        raise error(f"{where}: {explained}", hint="correct this line") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not a JSON object: {problem}", hint="one object a line") from problem


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _parsed(line: bytes) -> Any:
    value = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats)
    if b"\\u" in line and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("half of a character, as \\ud800 is; write the character itself")
    return value


def _compose(text: str) -> yaml.Node | None:
    """The node tree, which remembers lines; aliases and repeated keys are refused on the way."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias (*name); write the value out", problem_mark=event.start_mark
            )
        if isinstance(event, yaml.ScalarEvent) and _HALF.search(event.value):
            raise yaml.MarkedYAMLError(
                problem="half of a character, as \\ud800 is; write the character itself",
                problem_mark=event.start_mark,
            )
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for mapping in _mappings(node):
        seen: set[str] = set()
        for key, _ in mapping.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
    return node


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Line of the deepest part of ``location`` that is in the file."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if not found:
                continue  # names of union members stand in locations, too
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _explain(problem: Any) -> str:
    """One of pydantic's errors in our words: key, what was expected, what was found."""
    key = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}"
        case "missing":
            return f"key {key!r} is missing"
        case "value_error":
            return f"{key}: {problem['ctx']['error']}"
    found = repr(problem["input"])
    shown = found if len(found) <= 60 else found[:57] + "..."
    return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}, found {shown}"


def _kind(value: object) -> str:
    return {type(None): "an empty file", list: "a list"}.get(type(value), type(value).__name__)
