"""The servers that the configuration can name."""

import sys

import pytest

from gateway.errors import ConfigError
from gateway.serve import granian, hypercorn
from gateway.serve.servers import server_for


class Named:
    def __init__(self, server):
        self.server = server


def test_each_name_is_its_package():
    assert server_for(Named("hypercorn")) is hypercorn
    assert server_for(Named("granian")) is granian


def test_both_export_the_same_names():
    assert granian.__all__ == hypercorn.__all__


def test_one_that_is_not_installed_is_a_config_error_with_the_remedy(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gateway.serve.granian")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "granian", None)
    with pytest.raises(ConfigError, match="cannot serve with granian") as error:
        server_for(Named("granian"))
    assert error.value.problems[0].key == "server"
    assert "policy-gateway[granian]" in error.value.problems[0].remedy
