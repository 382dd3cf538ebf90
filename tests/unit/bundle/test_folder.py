"""Folders of policies and data: what is read, what it is merged to, and what is refused."""

import errno
import os
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.bundle import folder
from gateway.bundle.folder import parse_files, read_files
from gateway.errors import ConfigError


def sources(tmp_path, files, *roots):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    paths = tuple(tmp_path / root for root in roots or (".",))
    return parse_files(read_files(paths), paths)


def test_modules_tests_and_data(tmp_path):
    found = sources(
        tmp_path,
        {
            "authz.rego": "package a\n",
            "authz_test.rego": "package a_test\n",
            "deep/er/b.rego": "package b\n",
            "data.json": '{"users": {"alice": {"age": 30}}, "n": 1}',
            "users/data.yaml": "bob: {age: 31}\n",
            "users/alice/data.yml": "roles: [reader]\n",
            "other.json": "no data file",
            ".hidden.rego": "",
            ".git/c.rego": "",
            "authz.rego~": "",
            "#authz.rego#": "",
            ".authz.rego.swp": "",
        },
    )
    assert [name.rpartition("/")[2] for name in found.modules] == ["authz.rego", "b.rego"]
    assert [name.rpartition("/")[2] for name in found.tests] == ["authz_test.rego"]
    assert found.data == {
        "users": {"alice": {"age": 30, "roles": ["reader"]}, "bob": {"age": 31}},
        "n": 1,
    }


def test_values_of_yaml_are_those_of_json(tmp_path):
    text = "a: 0123456789012345678901234567890123456789\nb: 0.1\nc: 0.12345678901234567890\nd: on\n"
    text += "e: 2026-01-01\nf: ${HOME}\ng: ~\nh: 1e3\n"
    assert sources(tmp_path, {"data.yaml": text}).data == {
        "a": 123456789012345678901234567890123456789,
        "b": 0.1,
        "c": Decimal("0.12345678901234567890"),
        "d": "on",
        "e": "2026-01-01",
        "f": "${HOME}",
        "g": None,
        "h": 1000.0,
    }


def test_digests_change_with_what_they_stand_for(tmp_path):
    files = {"a.rego": "package a\n", "a_test.rego": "package t\n", "data.json": "{}"}
    first = sources(tmp_path, files)
    changes = {
        "a.rego": {"modules_digest", "revision"},
        "a_test.rego": {"revision"},
        "data.json": {"data_digest", "revision"},
    }
    for name, expected in changes.items():
        second = sources(tmp_path, {**files, name: files[name] + "\n"})
        digests = ("modules_digest", "data_digest", "revision")
        assert {d for d in digests if getattr(first, d) != getattr(second, d)} == expected


FAULTS = {
    "json": ({"data.json": '{"a": }'}, "data.json: Expecting value at line 1, column 7"),
    "a name twice": ({"data.json": '{"a": 1, "a": 2}'}, "data.json: the name 'a' occurs twice"),
    "a number that is none": ({"data.json": '{"a": NaN}'}, "data.json: NaN is not JSON"),
    "no object": ({"data.json": "[1]"}, "data.json:1: a data document must be an object"),
    "yaml": ({"data.yaml": "a:\n  - b\n c: 1\n"}, "data.yaml:3: "),
    "a key twice": ({"data.yaml": "a: 1\na: 2\n"}, "data.yaml:2: a: given twice, first in line 1"),
    "a key that is no text": ({"data.yaml": "1: 2\n"}, "data.yaml:1: a key must be text"),
    "an alias": ({"data.yaml": "a: &x [1]\nb: *x\n"}, "data.yaml:2: aliases (*name) are not taken"),
    "a tag": ({"data.yaml": "a: !!python/name:os.system x\n"}, "data.yaml:1: a: the tag "),
    "infinity": ({"data.yaml": "a: .inf\n"}, "data.yaml:1: a: not a number that can be read"),
    "not text": ({"a.rego": b"package a\n# \xff\n"}, "a.rego:2: not UTF-8"),
    "two files for one value": (
        {"data.json": '{"a": {"b": 1}}', "a/data.yaml": "b: 2\n"},
        "data.json: data.a.b is given by two files",
    ),
    "a scalar in the way": (
        {"data.json": '{"a": 1}', "a/data.json": '{"b": 2}'},
        "data.json: data.a is given by two files",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_and_line(tmp_path, name):
    files, expected = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        sources(tmp_path, files)
    (problem,) = caught.value.problems
    assert expected in str(problem)


def test_data_of_two_roots_may_not_meet(tmp_path):
    files = {"one/data.json": '{"a": {"b": 1}}', "two/data.json": '{"a": {"c": 2}}'}
    assert sources(tmp_path, files, "one", "two").data == {"a": {"b": 1, "c": 2}}
    with pytest.raises(ConfigError, match=r"data\.a\.c is given by two files"):
        sources(tmp_path, {**files, "one/data.json": '{"a": {"c": 1}}'}, "one", "two")


def test_no_module_takes_another_ones_place(tmp_path):
    files = {"0:d/x.rego": b"package a\n\ndeny := true\n", "1:x.rego": b"package a\n"}
    with pytest.raises(ConfigError, match="another file of this name is in the set"):
        parse_files(files, (tmp_path / "c", tmp_path / "c" / "d"))


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        read_files((tmp_path / "none",))


def test_a_folder_that_links_to_itself_is_read_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert len(sources(tmp_path, {"a/x.rego": "package a\n"}).modules) == 1


def refusal(root):
    with pytest.raises(ConfigError) as caught:
        read_files((root,))
    return str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.rego")
    assert refusal(tmp_path).endswith("a.rego: cannot be read: not a regular file")


def test_a_name_that_is_not_utf8(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.rego")).write_text("package a")
    assert "\\udcff.rego': the file's name is not UTF-8" in refusal(tmp_path)


def test_links_lead_to_files_anywhere_but_to_folders_within(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.rego").write_text("package a")
    root = tmp_path / "root"
    (root / "v1").mkdir(parents=True)
    (root / "v1" / "b.rego").write_text("package b")
    (root / "current").symlink_to("v1")
    (root / "a.rego").symlink_to(tmp_path / "outside" / "a.rego")
    assert sorted(read_files((root,))) == ["0:a.rego", "0:v1/b.rego"]
    (root / "lib").symlink_to(tmp_path / "outside")
    assert refusal(root).endswith(
        "root/lib: a link out of the folder (name the folder in policy.paths)"
    )


@pytest.mark.parametrize(
    ("limit", "most", "name", "message"),
    [
        ("MAX_FILE", 9, "a.rego", "a.rego: cannot be read: larger than 9 bytes"),
        ("MAX_YAML", 9, "data.yaml", "data.yaml: cannot be read: larger than 9 bytes"),
        ("MAX_FILES", 1, "b.rego", "more than 1 files, or than 134217728 bytes in all"),
        ("MAX_TOTAL", 19, "b.rego", "more than 10000 files, or than 19 bytes in all"),
    ],
)
def test_a_folder_has_limits(tmp_path, monkeypatch, limit, most, name, message):
    (tmp_path / "0.rego").write_text("package 0")
    (tmp_path / name).write_text("package abc")
    read_files((tmp_path,))
    monkeypatch.setattr(folder, limit, most)
    assert refusal(tmp_path).endswith(message)


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "a.rego").write_text("package a")
    (tmp_path / "deny.rego").symlink_to(tmp_path / "gone.rego")
    assert refusal(tmp_path).endswith("deny.rego: a link that leads nowhere")


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """As another user finds it; root reads everything."""
    (tmp_path / "deny").mkdir()
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("deny"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(tmp_path).endswith("deny: cannot be read: Permission denied")


@pytest.mark.parametrize("times", [1, 4, 5])
def test_a_file_that_vanishes_while_it_is_read(tmp_path, monkeypatch, times):
    """As an editor replaces it; without it, the rest may allow what it denies."""
    for name in ("a", "deny"):
        (tmp_path / f"{name}.rego").write_text(f"package {name}")
    read, gone = folder.read_file, []

    def vanishes(path, limit):
        if path.name == "deny.rego" and len(gone) < times:
            gone.append(path)
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return read(path, limit)

    monkeypatch.setattr(folder, "read_file", vanishes)
    if times < folder.READINGS:
        assert sorted(read_files((tmp_path,))) == ["0:a.rego", "0:deny.rego"]
    else:
        assert "files vanish while they are read" in refusal(tmp_path)
