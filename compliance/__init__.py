"""Measures safety concepts inside a model and turns what it saw into signed evidence.

The public verbs are here, and nothing else::

    from compliance import audit, verify

A name is resolved when it is first asked for, so ``import compliance`` loads neither numpy nor
pydantic nor torch, and ``compliance --help`` answers at once.
"""

__version__ = "0.1.0"
"""The one source: the build reads it here. Asking the installed metadata would add nearly half to
the time of ``compliance --help``."""

_VERBS = (
    "assess",
    "audit",
    "card",
    "demo",
    "diff",
    "gaps",
    "gate",
    "init",
    "lock",
    "observe",
    "pack",
    "plan",
    "report",
    "verify",
)
"""Functions of ``compliance.workflow`` that are the public surface."""

__all__ = ["__version__", *_VERBS]


def __getattr__(name: str) -> object:
    if name not in _VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module("compliance.workflow"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
