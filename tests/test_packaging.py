"""The wheel is built once and looked into; data resolve in each way of installing the package."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import import_module, metadata, util
from pathlib import Path

import pytest

import compliance

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SHIPPED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
FOLDERS = [name for name in SHIPPED if (ROOT / name).is_dir()]
FILES = [name for name in SHIPPED if (ROOT / name).is_file()]

FIND_ALL = f"""
from compliance.resources import data_dir, data_file
for name in {FOLDERS}:
    print(data_dir(name))
for name in {FILES}:
    print(data_file(name))
"""


def python(code, *, cwd):
    """Runs code in a process that sees neither the current folder nor the user's settings."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def build(backend_call, target):
    """Calls a build hook in the project's folder and gives the path of what it built."""
    code = f"import hatchling.build as b; print(b.{backend_call}({str(target)!r}))"
    return target / python(code, cwd=ROOT)[-1]


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    return build("build_wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("source", SHIPPED)
def test_the_wheel_holds_what_the_checkout_ships(wheel, source):
    top = ROOT / source
    sources = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())

    packed = files_of(wheel)

    assert sources, f"{source} is empty"
    for path in sources:
        name = SHIPPED[source] + path.as_posix().removeprefix(top.as_posix())
        assert packed[name] == path.read_bytes()


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(wheel):
    outside = [
        name
        for name in files_of(wheel)
        if not name.startswith(("compliance/", "sae_compliance-")) or "__pycache__" in name
    ]

    assert outside == []
    assert any(name.endswith("licenses/LICENSE") for name in files_of(wheel))


def test_the_wheel_holds_nothing_that_git_ignores(wheel):
    ignored = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *SHIPPED],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ignored.stdout == ""


def test_the_source_archive_builds_the_same_wheel(wheel, tmp_path):
    archive = build("build_sdist", tmp_path)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
        names = tar.getnames()
    source = tmp_path / archive.name.removesuffix(".tar.gz")

    code = f"import hatchling.build as b; print(b.build_wheel({str(tmp_path)!r}))"
    rebuilt = tmp_path / python(code, cwd=source)[-1]

    assert files_of(rebuilt) == files_of(wheel)
    assert [name for name in names if name.endswith(".safetensors") and "/subject/" in name] == []


def test_data_resolve_in_a_checkout(tmp_path):
    found = python(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{FIND_ALL}", cwd=tmp_path)

    assert found == [str(ROOT / name) for name in FOLDERS + FILES]


def test_data_resolve_in_an_editable_install(tmp_path):
    editable = build("build_editable", tmp_path)
    site = tmp_path / "site"
    with zipfile.ZipFile(editable) as archive:
        archive.extractall(site)

    start = f"import site, sys; sys.path = [p for p in sys.path if p != {str(ROOT)!r}]\n"
    found = python(f"{start}site.addsitedir({str(site)!r})\n{FIND_ALL}", cwd=tmp_path)

    assert found == [str(ROOT / name) for name in FOLDERS + FILES]


def test_data_resolve_in_an_installed_wheel(installed, tmp_path):
    found = python(f"import sys; sys.path.insert(0, {str(installed)!r})\n{FIND_ALL}", cwd=tmp_path)

    assert found == [str(installed / SHIPPED[name]) for name in FOLDERS + FILES]


def test_the_version_has_one_source(installed, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n"

    (version,) = python(f"{code}import compliance; print(compliance.__version__)", cwd=tmp_path)
    (facts,) = installed.glob("*.dist-info/METADATA")

    assert version == compliance.__version__
    assert f"\nVersion: {version}\n" in facts.read_text(encoding="utf-8")


def test_importing_the_package_loads_almost_nothing(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nbefore = set(sys.modules)\n"
        "import compliance\nprint(*sorted(set(sys.modules) - before), sep='\\n')"
    )

    assert python(code, cwd=tmp_path) == ["compliance"]


def test_every_verb_is_a_function_of_workflow():
    workflow = import_module("compliance.workflow")

    for verb in compliance._VERBS:
        assert getattr(compliance, verb) is getattr(workflow, verb)


def test_no_verb_hides_a_module():
    hidden = [verb for verb in compliance._VERBS if util.find_spec(f"compliance.{verb}")]

    assert hidden == []


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'certify'"):
        _ = compliance.certify


def test_public_names_are_listed():
    assert set(compliance.__all__) <= set(dir(compliance))


def test_every_requirement_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {project_name(line) for line in lines if "==" in line and not line.startswith("#")}
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]

    missing = {project_name(requirement) for requirement in wanted} - pinned

    assert missing == set()


def test_every_import_of_the_package_is_declared():
    project = PYPROJECT["project"]
    extras = {name: set(wanted) for name, wanted in project["optional-dependencies"].items()}
    del extras["test"]
    declared = set(map(project_name, set(project["dependencies"]).union(*extras.values())))
    distributions = metadata.packages_distributions()

    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / "compliance").rglob("*.py"))
        for module in imported_modules(path) - sys.stdlib_module_names - {"compliance"}
        if not declared & {project_name(name) for name in distributions.get(module, [])}
    }

    assert undeclared == set()


def imported_modules(path):
    """Top-level names of all absolute imports, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def project_name(requirement):
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")
