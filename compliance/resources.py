"""Where shipped data live: templates, schemas, the catalog of law, test suites.

They lie beside the package in a checkout (and so for an editable install), and in
``compliance/_data`` in a wheel. This module is the only one that knows; ask it by the name the
folder has in the checkout::

    data_dir("templates") / "report" / "section.html.j2"
    data_file("evidence/FORMAT.md").read_text(encoding="utf-8")

The program never writes into these folders.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from compliance.errors import ResourceError

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Find a folder of shipped data.

    Args:
        name: Its path in a checkout, with forward slashes: ``templates``, ``evidence/schemas``.

    Raises:
        ResourceError: There is no such folder, or the name leads out of the shipped data.
    """
    path = _locate(name)
    if not path.is_dir():
        raise ResourceError(f"{name}: no such folder in the shipped data", hint=_hint())
    return path


def data_file(name: str) -> Path:
    """Find one file of shipped data.

    Args:
        name: Its path in a checkout, with forward slashes: ``evidence/FORMAT.md``.

    Raises:
        ResourceError: There is no such file, or the name leads out of the shipped data.
    """
    path = _locate(name)
    if not path.is_file():
        raise ResourceError(f"{name}: no such file in the shipped data", hint=_hint())
    return path


def _locate(name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] not in {"templates", "evidence"} or ".." in parts:
        raise ResourceError(
            f"{name!r} is not the name of shipped data",
            hint="names start with templates/ or evidence/, as in a checkout, and hold no '..'",
        )
    return _root().joinpath(*parts)


def _root() -> Path:
    """The folder that holds ``templates`` and ``evidence``.

    A wheel is recognised first: in site-packages the folder above the package belongs to
    everybody, and its ``templates`` may be another project's.
    """
    shipped = _PACKAGE / "_data"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def _hint() -> str:
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        return f"the checkout at {_PACKAGE.parent} is incomplete; restore it with git"
    return "the installation is incomplete; install sae-compliance again"
