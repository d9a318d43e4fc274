"""Fuzzes every reader of files that strangers may have made.

    python benchmarks/fuzz.py --seconds-per-reader 6 --output docs/validation/fuzz.json

Each reader of `readers.py` runs in a process of its own, on changed copies of a valid file, for
half of the budget with each of two engines:

- ``structured``: Hypothesis draws lists of changes (bytes, spans, numbers, and for JSON whole
  values), so that a failure is shrunk and every run draws the same ones;
- ``coverage``: atheris keeps changes that reach new lines of this package. Where it is not
  installed, as outside Linux on x86-64, random changes from a fixed seed stand in for it.

A failure is an exception that the reader does not say it raises, an input that takes longer than
LIMIT seconds, or a process that dies. Each is written to ``tests/hostile/corpus/<reader>/``, from
where the tests replay it for ever. The exit code is 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.readers import READERS, Reader, reader
from compliance.storage import write_bytes, write_text

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "hostile" / "corpus"
LIMIT = 5.0
"""Seconds that one input may take."""

MEMORY = 1 << 31
"""Bytes of address space that a process may take beyond what it has once it has loaded."""

SEED = 20260101
ENGINES = ("structured", "coverage")

TEXTS = (
    b"", b"\0", b"\xff\xfe", b"\x1b[31m", "\u202e".encode(), "\u200b".encode(), b"../../x",
    b"=1+1", b"1e400", b"-1", b"NaN", b"9" * 400, b"\\ud800", b"'", b'"', b"\n", b"\r\n", b",",
    b"<script>", b"{{7*7}}", b"!!bool x", b"<<: {a: 1}", b"&a [*a]", b"1:1:1:1",
    (2**31 - 1).to_bytes(4, "little"), (2**63).to_bytes(8, "little"), b"\x80\x04.",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "\u202e", "\0", "\ud800", "../../x", "=1+1", "9" * 5000, "true", [], {},
    [[]], {"": ""}, [None], {"a": {"a": {"a": 1}}}, ["x"] * 50,
)  # fmt: skip

Change = tuple[str, int, int, int]
"""What to do, where (as a share of 2^32), how much, and with which of the texts or values."""

KINDS = ("flip", "set", "cut", "repeat", "insert", "swap", "number", "value", "key", "drop", "grow")


@dataclass
class Found:
    """What fuzzing one reader gave."""

    reader: str
    runs: int = 0
    refused: int = 0
    slowest: float = 0.0
    """Seconds."""

    seconds: float = 0.0
    engines: dict[str, int] = field(default_factory=dict)
    """Runs by engine."""

    failures: list[str] = field(default_factory=list)
    """What went wrong, in a line each."""


class Target:
    """A reader on a valid example whose one file is changed again and again."""

    def __init__(self, one: Reader, folder: Path, corpus: Path | None) -> None:
        self.one, self.found = one, Found(one.name)
        self._corpus = corpus
        self.path = one.make(folder / "example")
        self.seed = self.path.read_bytes()
        self._seen: set[str] = set()
        self._read(self.seed)

    def run(self, data: bytes) -> None:
        """Read one input and note what became of it."""
        started = time.process_time()
        problem = None
        try:
            self._read(data)
        except self.one.refuses:
            self.found.refused += 1
        except Exception as error:
            problem = _place(error)
        took = time.process_time() - started
        self.found.runs += 1
        self.found.slowest = max(self.found.slowest, took)
        if took > LIMIT:
            problem = problem or f"took longer than {LIMIT:g} s"
        if problem and problem not in self._seen:
            self._seen.add(problem)
            self.found.failures.append(problem)
            self.keep(data)

    def keep(self, data: bytes) -> None:
        """Store an input that failed."""
        if self._corpus is not None:
            name = hashlib.sha256(data).hexdigest()[:16]
            write_bytes(self._corpus / slug(self.one.name) / name, data)

    def _read(self, data: bytes) -> None:
        self.path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.one.read(self.path)


def _place(error: BaseException) -> str:
    """Class, message and the innermost line of this package."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "compliance" in file.parts:
            lines.append(f"{file.name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {lines[-1] if lines else 'unknown'}: {str(error)[:80]!r}"


def slug(name: str) -> str:
    """A reader's name as that of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def changed(data: bytes, changes: Sequence[Change]) -> bytes:
    """Apply changes in order; what lies in a gzip stream or a ZIP is changed inside it too."""
    if data[:2] == b"\x1f\x8b" and changes and changes[0][1] % 2:
        return gzip.compress(changed(gzip.decompress(data), changes), mtime=0)
    if data[:4] == b"PK\x03\x04" and changes and changes[0][1] % 2:
        return _inside_zip(data, changes)
    for change in changes:
        data = _change(data, *change)
    return data[: 1 << 20]


def _change(data: bytes, kind: str, where: int, size: int, which: int) -> bytes:
    if kind in ("value", "key", "drop", "grow"):
        again = _changed_json(data, kind, where, which)
        if again is not None:
            return again
        kind = "insert"
    place = where * len(data) >> 32
    end = place + size
    match kind:
        case "flip":
            flipped = bytes(b ^ (1 << which % 8) for b in data[place : place + 1])
            return data[:place] + flipped + data[place + 1 :]
        case "set":
            return data[:place] + bytes([which % 256]) * min(size, 64) + data[end:]
        case "cut":
            return data[:place] + data[end:] if which % 3 else data[:place]
        case "repeat":
            return data[:end] + data[place:end] * (1 + which % 64) + data[end:]
        case "swap":
            middle = place + size // 2
            return data[:place] + data[middle:end] + data[place:middle] + data[end:]
        case "number":
            return _other_number(data, where, which)
    return data[:place] + TEXTS[which % len(TEXTS)] + data[place if which % 2 else end :]


def _other_number(data: bytes, where: int, which: int) -> bytes:
    numbers = list(re.finditer(rb"-?[0-9]+(?:\.[0-9]+)?", data[: 1 << 16]))
    if not numbers:
        return data
    found = numbers[where * len(numbers) >> 32]
    others = (b"0", b"-1", b"1e400", b"9" * 5000, b"1.5", b"0x10", b"2147483648", b"NaN", b"1" * 19)
    return data[: found.start()] + others[which % len(others)] + data[found.end() :]


def _changed_json(data: bytes, kind: str, where: int, which: int) -> bytes | None:
    """Change one value of a JSON text, or of one line of it; None where it is not JSON."""
    lines = data.split(b"\n")
    if len(lines) > 2 and data[:1] == b"{":
        line = where * len(lines) >> 32
        again = _changed_json(lines[line], kind, where * 31 % 2**32, which)
        return None if again is None else b"\n".join([*lines[:line], again, *lines[line + 1 :]])
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    places = list(_places(value))
    if not places:
        return None
    holder, key = places[where * len(places) >> 32]
    if kind == "drop":
        del holder[key]
    elif kind == "key" and isinstance(holder, dict):
        holder[str(VALUES[which % len(VALUES)])[:50]] = holder.pop(key)
    elif kind == "grow":
        holder[key] = [holder[key]] * (1 + which % 40)
    else:
        holder[key] = VALUES[which % len(VALUES)]
    return json.dumps(value, separators=(",", ":"), sort_keys=which % 2 == 0).encode()


def _places(value: object):  # type: ignore[no-untyped-def] # pairs of a holder and a key of it
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _inside_zip(data: bytes, changes: Sequence[Change]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        infos = old.infolist()
        victim = infos[changes[0][1] * len(infos) >> 32]
        for info in infos:
            inner = old.read(info)
            with contextlib.suppress(ValueError, OverflowError):
                new.writestr(info, changed(inner, changes) if info is victim else inner)
    return out.getvalue()


# Engines


def structured(target: Target, deadline: float, examples: int) -> None:
    """Changes drawn by Hypothesis, always the same ones in the same order."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    change = st.tuples(
        st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.integers(1, 4096), st.integers(0, 255)
    )

    @settings(
        max_examples=examples, database=None, deadline=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(change, min_size=1, max_size=6))
    def draw(changes: list[Change]) -> None:
        if time.monotonic() > deadline:
            raise _Enough
        target.run(changed(target.seed, changes))

    with contextlib.suppress(_Enough):
        draw()


class _Enough(BaseException):
    """The budget is used up."""


def blind(target: Target, deadline: float, examples: int) -> None:
    """Random changes from a fixed seed, some laid over one another."""
    source = random.Random(f"{SEED}/{target.one.name}")
    for _ in range(examples):
        if time.monotonic() > deadline:
            return
        changes = [
            (source.choice(KINDS), source.getrandbits(32), 1 << source.randrange(12),
             source.randrange(256))
            for _ in range(source.choice((1, 1, 1, 2, 3, 8, 30)))
        ]  # fmt: skip
        target.run(changed(target.seed, changes))


def coverage(target: Target, deadline: float, said: Callable[[], None]) -> None:
    """Changes that reach new lines are changed further. Never returns: libFuzzer ends the process.

    Args:
        target: Its modules must have been loaded by ``atheris.instrument_imports``.
        deadline: By the monotonic clock.
        said: Called before the end, to tell what was found.
    """
    import atheris

    def one(data: bytes) -> None:
        if time.monotonic() > deadline:
            said()
            os._exit(0)
        target.run(data)

    corpus = target.path.parents[1] / "corpus"
    corpus.mkdir(exist_ok=True)
    (corpus / "seed").write_bytes(target.seed)
    options = [f"-seed={SEED}", "-max_len=65536", "-rss_limit_mb=0", "-verbosity=0",
               "-close_fd_mask=3", "-timeout=60"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def has_atheris() -> bool:
    """Whether coverage can lead the way here."""
    from importlib.util import find_spec

    return find_spec("atheris") is not None


# Processes


def fuzz(
    name: str, seconds: float, *, corpus: Path | None = CORPUS, examples: int = 10**9,
    engines: Sequence[str] = ENGINES,
) -> Found:  # fmt: skip
    """Fuzz one reader, each engine in a process of its own.

    Args:
        name: Of the reader.
        seconds: Budget of all engines together.
        corpus: Where inputs that fail are kept. None: nowhere.
        examples: Inputs of each engine at most.
        engines: Which ones.
    """
    total = Found(name)
    for engine in engines:
        with tempfile.TemporaryDirectory() as folder:
            found = _apart(name, engine, seconds / len(engines), Path(folder), corpus, examples)
        total.runs += found.runs
        total.refused += found.refused
        total.seconds += found.seconds
        total.slowest = max(total.slowest, found.slowest)
        total.engines |= found.engines
        total.failures += [f for f in found.failures if f not in total.failures]
    return total


def _apart(
    name: str, engine: str, seconds: float, folder: Path, corpus: Path | None, examples: int
) -> Found:
    command = [sys.executable, __file__, "--one", name, "--engine", engine, "--place", str(folder),
               "--seconds-per-reader", str(seconds), "--examples", str(examples)]  # fmt: skip
    if corpus is not None:
        command += ["--corpus", str(corpus)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    answer = folder / "found.json"
    done = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, timeout=2 * seconds + 90
        )
    if answer.is_file():
        return Found(**json.loads(answer.read_text()))
    how = "hung" if done is None else f"died ({done.returncode}): {done.stderr[-300:]!r}"
    found = Found(name, failures=[f"{engine}: the process {how}"])
    last = folder / "last"
    if corpus is not None and last.is_file():
        data = last.read_bytes()
        write_bytes(corpus / slug(name) / hashlib.sha256(data).hexdigest()[:16], data)
    return found


def _one(arguments: argparse.Namespace) -> None:
    one = reader(arguments.one)
    led = arguments.engine == "coverage" and has_atheris()
    if led:
        import atheris

        with atheris.instrument_imports(include=["compliance"]):
            target = Target(one, arguments.place, arguments.corpus)
    else:
        target = Target(one, arguments.place, arguments.corpus)
    (arguments.place / "last").symlink_to(target.path)
    if arguments.engine == "structured":
        import hypothesis  # noqa: F401 - loading it is not part of the budget
    _limit_memory()
    started = time.monotonic()
    deadline = started + arguments.seconds_per_reader

    def said() -> None:
        target.found.seconds = time.monotonic() - started
        engine = arguments.engine if led or arguments.engine == "structured" else "random"
        target.found.engines = {engine: target.found.runs}
        write_text(arguments.place / "found.json", json.dumps(asdict(target.found)))

    if led:
        coverage(target, deadline, said)
    run = structured if arguments.engine == "structured" else blind
    run(target, deadline, arguments.examples)
    said()


def _limit_memory() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def row(found: Found) -> str:
    """A line of the table."""
    engines = ", ".join(f"{name} {runs:,}" for name, runs in found.engines.items())
    return (
        f"{found.reader:26} {found.runs:>9,} {found.refused / max(found.runs, 1):>6.0%} "
        f"{1000 * found.slowest:>8.1f} {len(found.failures):>9}  {engines}"
    )


def main() -> None:
    """Fuzz all readers, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds-per-reader", type=float, default=6)
    parser.add_argument("--reader", action="append", choices=[one.name for one in READERS])
    parser.add_argument("--output", type=Path, help="where the table goes as JSON")
    parser.add_argument("--corpus", type=Path, default=None)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--examples", type=int, default=10**9, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _one(arguments)
        return
    names = arguments.reader or [one.name for one in READERS]
    print(f"{'reader':26} {'inputs':>9} {'refused':>6} {'slowest':>8} {'failures':>9}")
    print(f"{'':26} {'':>9} {'':>6} {'ms':>8}")
    table = []
    for name in names:
        found = fuzz(name, arguments.seconds_per_reader, corpus=arguments.corpus or CORPUS)
        table.append(found)
        print(row(found), flush=True)
        for failure in found.failures:
            print(f"    {failure}", flush=True)
    if arguments.output:
        write_text(arguments.output, json.dumps([asdict(one) for one in table], indent=1) + "\n")
    sys.exit(1 if any(found.failures for found in table) else 0)


if __name__ == "__main__":
    main()
