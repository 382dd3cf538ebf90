"""docs/builtins.md lists what there is."""

import re
from pathlib import Path

from gateway.rego.builtins import BUILTINS, GROUPS, UNSUPPORTED

DOCS = Path(__file__).parents[4] / "docs/builtins.md"
ROW = re.compile(r"^\| (.+?) \| (.+) \|$", re.MULTILINE)


def test_every_builtin_is_in_its_group():
    supported, unsupported = DOCS.read_text().split("## Not supported")
    rows = dict(ROW.findall(supported))
    for group, builtins in GROUPS.items():
        listed = set(re.findall(r"`([^`]+)`", rows.pop(group)))
        assert listed == {b.name for b in builtins if not b.name.startswith("internal.")}
    assert set(rows) == {"group"}
    listed = {name.strip("`"): remedy for name, remedy in ROW.findall(unsupported)}
    assert listed.pop("function") == "instead"
    assert listed == dict(UNSUPPORTED)


def test_no_name_twice():
    assert sum(map(len, GROUPS.values())) == len(BUILTINS)
    assert not BUILTINS.keys() & UNSUPPORTED.keys()
