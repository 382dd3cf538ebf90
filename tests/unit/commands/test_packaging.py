"""What is installed without a checkout is all that the commands need."""

import tomllib
from pathlib import Path

import pytest

import gateway
from gateway.commands.demo import POLICIES

PACKAGE = Path(gateway.__file__).parent
ROOT = PACKAGE.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = SETTINGS["tool"]["setuptools"]["package-data"]["gateway"]
SUFFIXES = (".py", ".pyc")


def data_files():
    for folder in (PACKAGE, POLICIES):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in SUFFIXES:
                yield path.relative_to(PACKAGE)


@pytest.mark.parametrize("path", sorted(data_files()), ids=str)
def test_every_file_of_the_package_is_shipped(path):
    assert any(path.match(pattern.removeprefix("**/")) for pattern in SHIPPED)


def test_the_policies_of_the_demo_are_those_of_the_project():
    assert POLICIES.is_relative_to(PACKAGE)
    assert POLICIES.resolve() == ROOT / "policies"
    assert {path.name for path in POLICIES.iterdir()} == {
        "data.json",
        "orders.rego",
        "orders.scenario.yaml",
        "orders_test.rego",
    }
