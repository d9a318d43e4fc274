"""Reads the logs of Inspect, in which a model's outputs and their scores stand.

A log is a ZIP with ``header.json`` and one JSON file for each sample, or, in older versions, one
JSON file. A row has these columns:

- ``id``, ``epoch``, ``target``, ``metadata`` as in the sample; ``task`` and ``model`` of the log;
- ``messages``: the turns of the conversation, with ``role`` and ``content``, the output last;
- ``input``, ``output``: text of the last turn of the user and of the model's output;
- ``score``: value of the first scorer; ``scores``: all of them by name;
- ``image``: the first image in the conversation, if there is one.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compliance.errors import SuiteError
from compliance.suites.importing.json_rows import decode, read_json_array
from compliance.suites.importing.rows import MAX_ROW, Meter, Refused, Row, Unfit, check_texts

_ATTACHED = "attachment://"


def read_eval_log(path: Path, name: str, meter: Meter) -> Iterator[Row | Refused]:
    """Yield one row for each sample, in the order of the log.

    Raises:
        SuiteError: It is not a log of Inspect, or is packed in a way that Python cannot read.
    """
    if not zipfile.is_zipfile(path):
        log: dict[str, Any] = {}
        for row in read_json_array(path, name, meter, member="samples", passed=log):
            if isinstance(row, Row):
                yield _sample(row.values, log.get("eval") or {}, name, row.number)
            else:
                yield row
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _from_archive(archive, name, meter)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise SuiteError(f"{name}: not a log of Inspect that can be read: {error}") from error
    except zlib.error as error:
        raise SuiteError(f"{name}: damaged in the ZIP: {error}") from error
    except RuntimeError as error:
        raise SuiteError(
            f"{name}: packed in a way that this version of Python cannot read: {error}",
            hint="'inspect log convert --to json' writes it as one JSON file",
        ) from error


def _from_archive(archive: zipfile.ZipFile, name: str, meter: Meter) -> Iterator[Row | Refused]:
    header = _object(archive, archive.getinfo("header.json"))
    infos = [info for info in archive.infolist() if info.filename.startswith("samples/")]
    for number, info in enumerate((i for i in infos if i.filename.endswith(".json")), start=1):
        meter.read += info.compress_size
        if info.file_size > MAX_ROW:
            reason = f"{info.filename} is longer than {MAX_ROW:,} bytes"
            yield Refused(name, number, "", "sample too long", reason)
            continue
        yield _sample(_object(archive, info), header.get("eval") or {}, name, number)


def _object(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    if info.file_size > MAX_ROW:
        raise ValueError(f"{info.filename} is longer than {MAX_ROW:,} bytes")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"compression method {info.compress_type}")
    with archive.open(info) as file:  # by its stated size: reading it whole unpacks all there is
        data = file.read(MAX_ROW + 1)
    value = decode(data.decode("utf-8", "surrogateescape"))
    if not isinstance(value, dict):
        raise ValueError(f"{info.filename} is not an object")
    return value


def _sample(sample: Any, log: dict[str, Any], name: str, number: int) -> Row | Refused:
    try:
        values = _values(sample, log)
        check_texts(values)
        return Row(name, number, values)
    except Unfit as error:
        return error.at(name, number)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        reason = f"not a sample as Inspect writes it: {type(error).__name__} {error}"
        return Refused(name, number, "", "not a sample", reason)


def _values(sample: dict[str, Any], log: dict[str, Any]) -> dict[str, object]:
    attached = sample.get("attachments") or {}
    turns = sample.get("messages") or _conversation(sample)
    images: list[str] = []
    messages = [
        {"role": turn["role"], "content": _content(turn["content"], attached, images)}
        for turn in turns
    ]
    output = _output(sample, attached)
    if not output.strip():
        raise Unfit("output", "no output", "the model gave no output")
    scores = {key: score.get("value") for key, score in (sample.get("scores") or {}).items()}
    asked = [turn["content"] for turn in messages if turn["role"] == "user"]
    return {
        "id": sample["id"],
        "epoch": sample.get("epoch", 1),
        "target": sample.get("target"),
        "metadata": sample.get("metadata") or {},
        "task": log.get("task"),
        "model": log.get("model") or sample["output"].get("model"),
        "messages": messages,
        "input": asked[-1] if asked else "",
        "output": output,
        "score": next(iter(scores.values()), None),
        "scores": scores,
        "image": images[0] if images else None,
    }


def _conversation(sample: dict[str, Any]) -> list[dict[str, Any]]:
    """Input and output, where a log keeps no messages."""
    given = sample["input"]
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    return [*turns, sample["output"]["choices"][0]["message"]]


def _output(sample: dict[str, Any], attached: dict[str, str]) -> str:
    choices = sample["output"].get("choices") or []
    return _content(choices[0]["message"]["content"], attached, []) if choices else ""


def _content(content: Any, attached: dict[str, str], images: list[str]) -> str:
    """Text of a turn, which may stand in parts or among the attachments."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    images += [str(part.get("image"))[:200] for part in parts if part["type"] == "image"]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(
        attached[text.removeprefix(_ATTACHED)] if text.startswith(_ATTACHED) else text
        for text in texts
    )
