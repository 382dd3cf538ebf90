"""The language of tests/cases: YAML with three tags, and how a case changes its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "cases"
SHELL = FOLDER / "shell.yaml"
NOW = 1_790_000_000
ABSENT = object()


class Loader(yaml.SafeLoader):
    """YAML that refuses duplicate names and knows three tags.

    `!now 60` is the time of the tests and 60 seconds; `!text [a, [3, b]]` is `abbb`; `!absent`
    takes away what the defaults hold.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep)
        assert len(made) == len(node.value), f"a name is given twice{node.start_mark}"
        return made


def _text(loader: Loader, node: yaml.SequenceNode) -> str:
    parts = loader.construct_sequence(node, deep=True)
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)


Loader.add_constructor("!now", lambda _, node: NOW + yaml.safe_load(node.value))
Loader.add_constructor("!text", _text)
Loader.add_constructor("!absent", lambda _loader, _node: ABSENT)


def load(file: Path) -> dict[str, Any]:
    """What a file of tests/cases holds."""
    return yaml.load(file.read_text(), Loader)


def merge(base: Any, changes: Any) -> Any:
    """`base` with `changes`: mappings member by member, everything else replaced.

    An absence stays for a later merge where there is nothing to take away yet.
    """
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    made = {**base, **{name: merge(base.get(name), changes[name]) for name in changes}}
    gone = {name for name in base if made[name] is ABSENT}
    return {name: value for name, value in made.items() if name not in gone}


def lines(headers: Mapping[str, Any], token: str = "") -> list[tuple[bytes, bytes]]:
    """Header lines, with the token for `<token>`; a list is one line for each of its items."""
    return [
        (name.encode("latin-1"), str(value).replace("<token>", token).encode("latin-1"))
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]
