"""Reads a YAML or JSON file a person wrote into a record, and says which line does not fit.

    config = read_yaml(Path("audit.yaml"), AuditConfig)

Every problem of a file is listed at once, each with its line, what was found and what was
expected. Of YAML only what such a file needs is read: keys with values, lists, text, numbers and
dates. Aliases (which expand without bound), anchors, tags, merge keys, keys that are lists,
repeated keys (of which one hides the other) and numbers in base 60 are refused; and sizes are held
against limits before anything is made of them.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import yaml
from pydantic import ValidationError

from compliance.errors import ComplianceError, ConfigError
from compliance.records.base import Record
from compliance.records.bounds import refuse_crowded, refuse_deep

MAX_BYTES = 2_000_000
"""Size of a file that a person writes by hand, with room to spare."""

MAX_NODES = 100_000
"""Keys, values and lists of one YAML file; the whole law as data has a tenth of that."""

MAX_LEVELS = 64
"""Levels of nesting of one YAML file."""

MAX_NUMBER = 400
"""Characters of a number in YAML."""

MAX_LINE = 1 << 23
"""Bytes of one line of JSON Lines: an item's text four times over, and more."""

MAX_LINES = 1_000_000
"""Lines of one file of JSON Lines; a pack holds no more items."""

MAX_PROBLEMS = 20
"""Problems of one file that are listed."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where libyaml is there: twenty times faster."""

SomeRecord = TypeVar("SomeRecord", bound=Record)


_HALF = re.compile("[\ud800-\udfff]")
"""Lone surrogates: no text has them, and none can be written down with them."""

_HALF_WORDS = "half of a character, as \\ud800 is; write the character itself"


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
    node, value = yaml_values(text, name, error=error)
    if not isinstance(value, dict):
        raise error(f"{name}: expected keys and values, found {_kind(value)}")
    try:
        return shape.model_validate(value)
    except ValidationError as problem:
        found = problem.errors()
        lines = [f"line {_line(node, e['loc'])}: {_explain(e)}" for e in found[:MAX_PROBLEMS]]
        if len(found) > MAX_PROBLEMS:
            lines.append(f"and {len(found) - MAX_PROBLEMS} problems more")
        raise error(
            f"{name}, " + f"\n{name}, ".join(lines),
            hint="correct these lines; the reference lists every key and its default",
        ) from problem


def yaml_values(
    text: str, name: str, *, error: type[ComplianceError] = ConfigError
) -> tuple[yaml.Node | None, Any]:
    """One YAML document as plain values, and its nodes, which remember lines.

    Args:
        text: The document.
        name: Stands for the file in messages.
        error: What to raise when it is not what such a file may be.

    Raises:
        ComplianceError: It is not YAML, or has what the module refuses; of type ``error``.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{name}: larger than {MAX_BYTES:,} characters", hint="is it the right file?")
    try:
        _refuse_odd_events(text)
        loader = _LOADER(text)
        try:
            node = loader.get_single_node()
            _refuse_odd_nodes(node)
            return node, None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        said = problem.problem or problem.context
        if said == "found invalid Unicode character escape code":  # libyaml's words
            said = _HALF_WORDS
        raise error(
            f"{name}, line {line}: not valid YAML: {said}",
            hint="check indentation, colons and quotes on that line and the one before",
        ) from problem
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as problem:
        raise error(
            f"{name}: not valid YAML: {problem}", hint="check dates, numbers and odd characters"
        ) from problem


class Line(NamedTuple, Generic[SomeRecord]):
    """One line of a JSON Lines file."""

    record: SomeRecord

    start: int
    """Its first byte in the file."""

    data: bytes


def read_json_lines(
    path: Path, shape: type[SomeRecord], *, error: type[ComplianceError] = ConfigError
) -> Iterator[Line[SomeRecord]]:
    """Yield one record a line of a JSON Lines file; blank lines are refused like other mistakes.

    Raises:
        ComplianceError: The file is missing, too long, or a line does not fit; of type ``error``.
    """
    number = start = 0
    try:
        with open_file(path) as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                where = f"{path.name}, line {number}"
                if len(line) > MAX_LINE:
                    raise error(f"{where}: longer than {MAX_LINE:,} bytes", hint="one item a line")
                if number > MAX_LINES:
                    raise error(f"{path.name}: more than {MAX_LINES:,} lines")
                yield Line(_parse_line(line, where, shape, error), start, line)
                start += len(line)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem


def read_text(path: Path, *, error: type[ComplianceError] = ConfigError) -> str:
    """Text of a file that a person wrote: UTF-8, of bounded size.

    Raises:
        ComplianceError: It is missing, too large or not UTF-8; of type ``error``.
    """
    try:
        with open_file(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise error(f"{path}: larger than {MAX_BYTES:,} bytes", hint="is it the right file?")
        return data.decode("utf-8")
    except FileNotFoundError as problem:
        raise error(f"{path}: no such file", hint="check the name and the folder") from problem
    except UnicodeDecodeError as problem:
        raise error(
            f"{path}: not UTF-8 at byte {problem.start}", hint="save the file as UTF-8"
        ) from problem
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to be read: never a pipe or a device, which may have no end.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except ValueError as problem:  # a name that no file can have
        raise OSError(0, str(problem), str(path)) from problem
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        raise OSError(0, "not a regular file", str(path))
    return open(descriptor, "rb")


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is, through links, a file elsewhere."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


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
    refuse_crowded(line)
    refuse_deep(line)
    value = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats)
    if b"\\u" in line and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError(_HALF_WORDS)
    return value


def _refuse_odd_events(text: str) -> None:
    """Look at the events as they come, so that nothing grows before it is counted."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_LOADER):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if problem := _oddity(event, depth, nodes):
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _oddity(event: yaml.Event, depth: int, nodes: int) -> str | None:
    if nodes > MAX_NODES:
        return f"more than {MAX_NODES:,} keys and values"
    if depth > MAX_LEVELS:
        return f"nested more than {MAX_LEVELS} levels deep"
    if isinstance(event, yaml.AliasEvent):
        return "an alias (*name); write the value out"
    if isinstance(event, yaml.NodeEvent) and event.anchor:
        return "an anchor (&name) for an alias (*name); write the value out"
    if getattr(event, "tag", None):
        return f"a tag ({str(event.tag)[:60]}); leave it out"
    if isinstance(event, yaml.ScalarEvent) and _HALF.search(event.value):
        return _HALF_WORDS
    return None


def _refuse_odd_nodes(node: yaml.Node | None) -> None:
    for found in _nodes(node):
        if isinstance(found, yaml.MappingNode):
            _refuse_odd_keys(found)
        elif isinstance(found, yaml.ScalarNode) and _is_odd_number(found):
            problem = f"{found.value[:40]!r} as a number; put it in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=found.start_mark)


def _is_odd_number(node: yaml.ScalarNode) -> bool:
    """Base 60, as ``1:30`` is in YAML 1.1, or endless."""
    is_number = node.tag.endswith((":int", ":float"))
    return is_number and (":" in node.value or len(node.value) > MAX_NUMBER)


def _refuse_odd_keys(mapping: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in mapping.value:
        problem = None
        if not isinstance(key, yaml.ScalarNode):
            problem = "a key that is a list or has keys of its own"
        elif key.tag.endswith(":merge"):
            problem = "a merge key (<<); write the keys out"
        elif key.value in seen:
            problem = f"key {key.value!r} appears twice"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        seen.add(key.value)


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """A node and all below it."""
    if node is None:
        return
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes(key)
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value)


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
