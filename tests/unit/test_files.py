"""What may be read from disk."""

import os

import pytest

from gateway.files import read_file, read_own_file, replace_own_file


def test_a_file_up_to_the_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_file(tmp_path / "a", 4)


def test_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    opened = len(os.listdir("/dev/fd"))
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            read_file(path, 5)
    with pytest.raises(OSError, match="a NUL"):
        read_file(tmp_path / "a\0b", 5)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nothing", 5)
    assert len(os.listdir("/dev/fd")) == opened


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o640, False), (0o602, False)])
def test_files_of_ones_own(tmp_path, mode, fine):
    file = tmp_path / "state"
    file.write_bytes(b"kept")
    file.chmod(mode)
    if fine:
        assert read_own_file(file) == b"kept"
    else:
        with pytest.raises(PermissionError, match="others may have written it"):
            read_own_file(file)


def test_a_link_is_nobodys_own(tmp_path):
    (tmp_path / "state").write_bytes(b"kept")
    (tmp_path / "state").chmod(0o600)
    (tmp_path / "link").symlink_to("state")
    with pytest.raises(OSError, match="symbolic links"):
        read_own_file(tmp_path / "link")


def test_a_file_of_ones_own_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o644)
    replace_own_file(path, b"after")
    assert read_own_file(path) == b"after"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OSError, match="No such file"):
        replace_own_file(tmp_path / "absent" / "file", b"")
