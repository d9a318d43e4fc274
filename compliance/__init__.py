"""Measures safety concepts inside a model and turns what it saw into signed evidence.

The public verbs are here, and nothing else::

    from compliance import audit, verify

A name is resolved when it is first asked for, so ``import compliance`` loads neither numpy nor
pydantic nor torch, and ``compliance --help`` answers at once.
"""

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
    if name == "__version__":
        value: object = _installed_version()
    elif name in _VERBS:
        from importlib import import_module

        value = getattr(import_module("compliance.workflow"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("sae-compliance")
    except metadata.PackageNotFoundError:
        return "0.0.0+not-installed"
