"""Requests per second of the example server with and without its monitor, in one run.

    python load.py --model MODEL --pack PACK --sae SAE --log log --suite SUITE

Two servers run side by side, one of them watched. They are asked in turns, round after round, so
that whatever else the machine does hits both; one of each pair of rounds begins with the other.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from compliance.suites.load import load_suite

SERVER = Path(__file__).with_name("server.py")


@contextmanager
def served(options: argparse.Namespace, *, watched: bool) -> Iterator[str]:
    """A server in a process of its own; gives its address, and ends it in good order."""
    command = [
        sys.executable, str(SERVER), "--model", str(options.model), "--device", options.device,
        "--at-once", str(options.at_once), "--port", "0",
    ]  # fmt: skip
    if watched:
        command += ["--pack", str(options.pack), "--log", str(options.log)]
        command += [part for sae in options.saes for part in ("--sae", str(sae))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("serving on "):
                raise SystemExit(f"the server did not start: {line or 'see its message above'}")
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def ask(address: str, questions: Sequence[dict[str, object]], *, users: int) -> float:
    """Ask all questions, so many at once, and return requests per second.

    Raises:
        RuntimeError: The server answered one with an error.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(users) as threads:
        shares = [questions[user::users] for user in range(users)]
        list(threads.map(_ask, itertools.repeat(urlsplit(address).netloc), shares))
    return len(questions) / (time.perf_counter() - began)


def _ask(place: str, questions: Sequence[dict[str, object]]) -> None:
    """One user's questions, over one connection."""
    connection = http.client.HTTPConnection(place, timeout=120)
    for question in questions:
        connection.request(
            "POST", "/chat", json.dumps(question), {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:200]!r}")
    connection.close()


def questions_of(suite: Path, count: int, tokens: int) -> list[dict[str, object]]:
    """Harmless items of a suite, each with its language, over and over."""
    items = [
        item
        for item in load_suite(str(suite), Path.cwd()).items
        if item.label == "negative" and item.text is not None and item.modality == "text"
    ]
    return [
        {
            "language": item.language,
            "messages": [{"role": "user", "content": item.text}],
            "max_new_tokens": tokens,
        }
        for item in itertools.islice(itertools.cycle(items), count)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # and both servers
    questions = questions_of(options.suite, options.requests, options.tokens)
    with served(options, watched=True) as watched, served(options, watched=False) as plain:
        for address in (watched, plain):
            ask(address, questions[: 2 * options.users], users=options.users)
        pairs = []
        for number in range(options.rounds):
            order = (watched, plain) if number % 2 else (plain, watched)
            rates = {address: ask(address, questions, users=options.users) for address in order}
            pairs.append((rates[watched], rates[plain]))
            print(
                f"round {number + 1}: {rates[plain]:.2f} requests/s without, "
                f"{rates[watched]:.2f} with",
                flush=True,
            )
    ratios = sorted(with_monitor / without for with_monitor, without in pairs)
    print(
        f"{options.rounds} rounds of {options.requests} requests, {options.users} users, "
        f"{options.tokens} new tokens at most\n"
        f"median {statistics.median(without for _, without in pairs):.2f} requests/s without, "
        f"{statistics.median(found for found, _ in pairs):.2f} with the monitor\n"
        f"ratio with/without: median {statistics.median(ratios):.3f}, "
        f"from {ratios[0]:.3f} to {ratios[-1]:.3f}"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--sae", dest="saes", type=Path, action="append", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--suite", type=Path, required=True, help="whose harmless items are asked")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--at-once", type=int, default=2, help="replies generated at once")
    parser.add_argument("--users", type=int, default=4, help="requests that wait at once")
    parser.add_argument("--requests", type=int, default=100, help="of a round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of a reply, at most")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
