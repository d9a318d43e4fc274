"""What a command loads before it does anything: time that everybody waits for help."""

import subprocess
import sys

import pytest

import compliance
from compliance.cli.main import COMMANDS

HEAVY = {
    "PIL", "cryptography", "importlib.metadata", "numpy", "pandas", "pyarrow", "pydantic", "scipy",
    "torch", "yaml",
}  # fmt: skip

START = f"""
import sys
from compliance.cli.main import main
main(standalone_mode=False)
print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
"""


def answer(*words: str) -> list[str]:
    """What the command prints, and last which heavy modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", START, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_that_only_work_needs(words):
    shown = answer(*words, "--help")

    assert shown[0].startswith(f"Usage: -c {' '.join(words)}".rstrip())
    assert shown[-1] == "loaded:"


def test_the_version_is_told_without_reading_what_is_installed():
    assert answer("--version") == [f"compliance, version {compliance.__version__}", "loaded:"]


def test_a_provision_is_shown_without_tables_and_estimators():
    loaded = set(answer("law", "13(3)(b)(ii)")[-1].split()[1:])

    assert not loaded & {"numpy", "pandas", "pyarrow", "scipy", "torch"}
