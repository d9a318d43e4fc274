"""Watches a serving model with the locked probes of a pack, and logs what it saw.

Names are loaded when they are first asked for: reading a log needs no torch.
"""

from importlib import import_module

_HOMES = {
    "Asked": "monitor",
    "EventLog": "log",
    "Log": "reading",
    "Monitor": "monitor",
    "read_log": "reading",
}
"""Module of each name."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        from compliance.errors import MonitorError

        raise MonitorError(
            f"{error.name} is not installed, and {name} needs it",
            hint='pip install "sae-compliance[probes,monitor]"',
        ) from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
