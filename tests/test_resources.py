"""Shipped data are found by one module, whichever way the package was installed."""

import pytest

from compliance import resources
from compliance.errors import ResourceError
from compliance.resources import data_dir, data_file


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "evidence" / "schemas").mkdir(parents=True)
    (tmp_path / "evidence" / "FORMAT.md").write_text("beside", encoding="utf-8")
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "compliance")
    return tmp_path


def test_a_checkout_keeps_its_data_beside_the_package(checkout):
    found = data_dir("evidence/schemas")

    assert found == checkout / "evidence" / "schemas"


def test_a_wheel_keeps_its_data_inside_the_package(checkout):
    shipped = checkout / "compliance" / "_data" / "evidence"
    shipped.mkdir(parents=True)
    (shipped / "FORMAT.md").write_text("inside", encoding="utf-8")

    found = data_file("evidence/FORMAT.md")

    assert found.read_text(encoding="utf-8") == "inside"


def test_an_installed_package_never_takes_a_neighbours_templates(checkout):
    (checkout / "compliance" / "_data" / "evidence").mkdir(parents=True)

    with pytest.raises(ResourceError, match="templates: no such folder"):
        data_dir("templates")


def test_a_missing_folder_in_a_checkout_says_so(checkout):
    (checkout / "pyproject.toml").touch()

    with pytest.raises(ResourceError) as caught:
        data_dir("evidence/catalog")

    assert "checkout" in caught.value.hint


def test_a_missing_folder_in_an_installation_says_so(checkout):
    with pytest.raises(ResourceError) as caught:
        data_dir("evidence/catalog")

    assert "install sae-compliance again" in caught.value.hint


@pytest.mark.parametrize("find, name", [(data_dir, "evidence/FORMAT.md"), (data_file, "templates")])
def test_a_file_is_no_folder_and_a_folder_no_file(checkout, find, name):
    with pytest.raises(ResourceError):
        find(name)


@pytest.mark.parametrize(
    "name", ["", ".", "/", "compliance", "/etc", "templates/../pyproject.toml", "../templates"]
)
def test_a_name_cannot_lead_out_of_the_shipped_data(name):
    with pytest.raises(ResourceError, match="is not the name of shipped data"):
        data_dir(name)
