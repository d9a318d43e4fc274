"""Imports go one way, and the base install loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compliance"

LAYERS = (
    {"cli"},
    {"workflow"},
    {"monitor"},
    {"runs"},
    {"probes", "assessment", "reports", "packs", "quality"},
    {"suites", "catalog", "statistics", "features"},
    {"trail"},
    {"keys"},
    {"documents", "parquet", "progress"},
    {"resources", "storage"},
    {"records"},
    {"errors"},
)
"""From top to bottom; a module imports from lower layers only, and never from a sibling."""

LEVEL = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def part_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "compliance" and len(parts) > 1 else None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "compliance" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for module in found if (name := part_of(module)) and name in LEVEL}


def sources() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if "_data" not in p.parts]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return

    upward = {name for name in imports(path) if name != own and LEVEL[name] <= LEVEL[own]}

    assert own in LEVEL, "name the new part in LAYERS"
    assert not upward


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("compliance", {"numpy", "pydantic", "torch", "pandas"}),
        ("compliance.cli.main", {"numpy", "pydantic", "torch", "pandas"}),
        ("compliance.packs.integrity", {"torch", "transformers", "jinja2", "weasyprint"}),
        ("compliance.packs.integrity", {"pyhanko", "lxml", "aiohttp"}),
        ("compliance.workflow", {"numpy", "pydantic", "torch", "pandas"}),
        ("compliance.statistics.ranking", {"torch", "pandas", "pydantic"}),
    ],
)
def test_a_module_loads_nothing_heavy(module, banned):
    code = f"import sys, {module}; print(*sorted({banned!r} & set(sys.modules)))"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert found.stdout.strip() == ""


def test_all_verbs_together_load_neither_torch_nor_a_renderer():
    banned = {"torch", "transformers", "sae_lens", "jinja2", "weasyprint"}
    code = f"import sys; from compliance.workflow import *; print(*{banned!r} & set(sys.modules))"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert found.stdout.strip() == ""


def test_only_the_command_line_prints_or_exits():
    for path in sources():
        if path.relative_to(PACKAGE).parts[0] == "cli":
            continue
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"print", "input", "exit", "quit"}, path
