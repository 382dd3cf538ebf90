"""The effective configuration for people and programs, defaults filled in and secrets masked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from gateway.config.environment import escape
from gateway.config.model import public_url

if TYPE_CHECKING:
    from gateway.config.model import Config


def effective(config: Config) -> dict[str, Any]:
    """The whole configuration as JSON values; a secret, and the query of a URL, is `**********`."""
    shown: dict[str, Any] = config.model_dump(mode="json")
    for issuer in shown["issuers"].values():
        issuer["issuer"] = public_url(issuer["issuer"])
        for name in ("discovery", "jwks_url"):
            if isinstance(url := issuer["keys"][name], str):
                issuer["keys"][name] = public_url(url)
    for endpoint in shown["token_endpoints"].values():
        endpoint["url"] = public_url(endpoint["url"])
    for bundle in shown["policy"]["bundles"].values():
        if bundle["url"] is not None:
            bundle["url"] = public_url(bundle["url"])
    return shown


def as_json(config: Config) -> str:
    """The effective configuration as JSON."""
    return json.dumps(effective(config), indent=2, ensure_ascii=False) + "\n"


def as_yaml(config: Config) -> str:
    """The effective configuration as YAML that reads back as the same but for the secrets."""
    return yaml.dump(
        effective(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


class _Dumper(yaml.SafeDumper):
    """Never writes aliases, which the configuration does not take."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_str(escape(text))


_Dumper.add_representer(str, _string)
