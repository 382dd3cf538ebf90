"""`gateway init`: what it writes works, and it overwrites nothing."""

import json
import re
import stat

import pytest
from click.testing import CliRunner

from gateway.commands import COMMANDS, main
from gateway.commands.init import CLAIMS, PRIVATE_KEY, SAMPLE, TEMPLATE
from gateway.config.document import read_document
from gateway.config.model import Config
from gateway.config.validate import validate

FILES = {
    ".gitignore",
    "gateway.yaml",
    "keys/dev.jwks.json",
    "keys/dev.private.jwk",
    "policies/authz.rego",
    "policies/authz_test.rego",
    "sample/claims.json",
}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init") / "new" / "gateway"
    result = run("init", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_the_files(made):
    assert files_in(made) == FILES


def test_what_it_says(tmp_path):
    result = run("init", tmp_path)
    for name in FILES:
        assert f"wrote {tmp_path / name}\n" in result.stdout
    assert "gateway config check" in result.stdout
    result = run("init", "--format", "json", tmp_path / "again")
    assert set(json.loads(result.stdout)["files"]) == FILES


def test_config_check_is_content(made, monkeypatch):
    monkeypatch.chdir(made)
    result = run("config", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "6 policy tests" in result.stdout


def test_a_minted_token_is_let_through(made, monkeypatch):
    monkeypatch.chdir(made)
    minted = run("token", "mint", "--key", PRIVATE_KEY, "--claims", "sample/claims.json")
    assert minted.exit_code == 0, minted.output
    (made / "token").write_text(minted.stdout)
    for method, status in (("GET", 0), ("HEAD", 0), ("DELETE", 2)):
        arguments = ("--token", "token", "--method", method, "--path", "/orders/42")
        assert run("policy", "test", *arguments).exit_code == status
    (made / "token").unlink()


def test_the_next_steps_name_what_is_there(tmp_path):
    steps = run("init", tmp_path).stdout.partition("Next, in")[2]
    assert f" {tmp_path}:\n" in steps
    assert {SAMPLE, PRIVATE_KEY} < set(steps.split())
    for command in re.findall(r"(?m)^  gateway (\w+)", steps):
        assert command in COMMANDS


def test_tokens_stay_out_of_git(made):
    assert "*.jwt" in (made / ".gitignore").read_text().splitlines()


def test_the_private_key_is_private(made):
    path = made / PRIVATE_KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PRIVATE_KEY in (made / ".gitignore").read_text()
    private = json.loads(path.read_text())
    (public,) = json.loads((made / "keys/dev.jwks.json").read_text())["keys"]
    assert "d" in private
    assert "d" not in public
    assert public["kid"] == private["kid"]


def test_every_key_pair_is_new(made, tmp_path):
    run("init", tmp_path)
    assert (tmp_path / PRIVATE_KEY).read_text() != (made / PRIVATE_KEY).read_text()


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_is_overwritten(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    result = run("init", tmp_path)
    assert result.exit_code == 1
    assert f"nothing was written, because these are there:\n  {path}\n" in result.stderr
    assert files_in(tmp_path) == {name}
    assert path.read_text() == "mine"


def test_a_dangling_link_is_not_followed(tmp_path):
    (tmp_path / ".gitignore").symlink_to(tmp_path / "elsewhere")
    assert run("init", tmp_path).exit_code == 1
    assert files_in(tmp_path) == set()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert run("init", tmp_path / "file").exit_code == 1
    result = run("init", tmp_path / "file" / "deeper")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_the_settings_that_are_commented_out_are_good_as_well(made):
    text = (made / "gateway.yaml").read_text()
    used = re.sub(r"(?m)^( *)#(?! \S|$)", r"\1", text)
    assert used.count("#") < text.count("#")
    document = read_document(used.encode(), {})
    config, _, faults = validate(document.tree, Config)
    assert (document.problems, faults) == ((), ())
    assert set(config.issuers) == {"dev", "corp"}
    assert config.workers == "auto"
    assert config.listeners[0].tls
    assert config.cors
    assert config.log.access.sink == "stderr"


def test_the_template_and_the_sample_agree(made):
    text = (made / "gateway.yaml").read_text()
    assert PRIVATE_KEY in text
    assert CLAIMS["iss"] in text
    assert f"audience: {CLAIMS['aud']}" in text
    assert set(TEMPLATE) < FILES
