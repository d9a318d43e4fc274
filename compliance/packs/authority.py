"""Asks a time-stamp authority over HTTP (RFC 3161, section 3.4). Nothing is believed here.

What comes back is bytes from a stranger: they are few, they come in time, or there is an error.
"""

from __future__ import annotations

import queue
import re
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException

from compliance.errors import TimeStampError
from compliance.records.audit import AUTHORITY

MAX_REPLY = 1 << 16
"""Bytes of a reply that are read; a stamp with its certificates has about 6000."""

MAX_SECONDS = 30.0
"""How long one attempt may take."""

PAUSES = (1.0, 4.0)
"""Seconds before the second attempt and before the third, which is the last."""

_HINT = "what is finished is kept; run the same command again, or name another authority"


def ask(authority: str, request: bytes) -> bytes:
    """What the authority answers to a DER ``TimeStampReq``.

    It is tried three times where the network or the authority fails. A refusal is not: an
    authority that sends one has understood.

    Raises:
        TimeStampError: There is no answer, or none that could be a time stamp.
    """
    if not re.fullmatch(AUTHORITY, authority):
        raise TimeStampError(
            f"{authority!r} is not the http or https address of an authority",
            hint="such as https://tsa.example/tsr, without a name and password",
        )
    for pause in (*PAUSES, None):
        try:
            return _post(authority, request)
        except (OSError, HTTPException) as error:
            reason, final = _reason(error)
        if final or pause is None:
            break
        time.sleep(pause)
    raise TimeStampError(f"{authority}: gave no time stamp: {reason}", hint=_HINT)


def _post(authority: str, request: bytes) -> bytes:
    """One attempt, which ends in time whatever the other side does.

    A byte now and then resets the timeout of a socket, and looking up a name has none.
    """
    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            answers.put(_exchange(authority, request))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        answer = answers.get(timeout=MAX_SECONDS)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _exchange(authority: str, request: bytes) -> bytes:
    headers = {"Content-Type": "application/timestamp-query"}
    asked = urllib.request.Request(authority, data=request, headers=headers)
    with _opener().open(asked, timeout=MAX_SECONDS) as answer:
        reply: bytes = answer.read(MAX_REPLY + 1)
    if len(reply) > MAX_REPLY:
        raise _Useless(f"more than {MAX_REPLY} bytes came back")
    return reply


class _Useless(OSError):
    """An answer that would be no better the next time."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A request that is sent on would arrive without its body, or anywhere at all."""

    def redirect_request(self, *_: object) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone: no file, no ftp, no data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _NoRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: Exception) -> tuple[str, bool]:
    """Why there is no answer, in words, and whether asking again would be of no use."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if 300 <= error.code < 400:
            return f"it has moved (HTTP {error.code}); give the address that it has now", True
        return f"HTTP {error.code}", error.code < 500
    if isinstance(error, _Useless):
        return str(error), True
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {MAX_SECONDS:.0f} seconds", False
    said = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return said.lower(), False
