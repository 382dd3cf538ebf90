"""The whole gateway while its policies are edited, in every way that people and machines do it."""

import asyncio
import shutil
import subprocess

import pytest

from tests.support.gateway import POLICY, live, policy_for, running, until

NONSENSE = "this is no policy"


def in_place(path, text):
    path.write_text(text)


def renamed_over(path, text):
    path.with_name("authz.rego.new").write_text(text)
    path.with_name("authz.rego.new").replace(path)


def vim(path, text):
    """With its test file, swap file and backup; the last two stay."""
    path.with_name(".authz.rego.swp").write_text(NONSENSE)
    path.with_name("4913").write_text("")
    path.with_name("4913").unlink()
    path.replace(path.with_name("authz.rego~"))
    path.write_text(text)


def emacs(path, text):
    """With its lock (a link that leads nowhere), autosave and backup; all stay."""
    path.with_name(".#authz.rego").symlink_to("me@host.1:1")
    path.with_name("#authz.rego#").write_text(NONSENSE)
    shutil.copy(path, path.with_name("authz.rego~"))
    path.write_text(text)


def jetbrains(path, text):
    path.with_name("authz.rego___jb_tmp___").write_text(text)
    path.replace(path.with_name("authz.rego___jb_old___"))
    path.with_name("authz.rego___jb_tmp___").replace(path)
    path.with_name("authz.rego___jb_old___").unlink()


@pytest.mark.parametrize("edit", [in_place, renamed_over, vim, emacs, jetbrains])
@live
async def test_editors(tmp_path, edit):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        await gateway.admits("reader")
        before = gateway.revision
        edit(tmp_path / "policies" / "authz.rego", policy_for("writer"))
        await gateway.admits("writer")
        refused = await gateway.ask(token=gateway.token())
        assert refused.code == "policy-denied"
        event = await gateway.event(refused.json()["decision_id"])
        assert event["bundles"]["policy"]["revision"] == gateway.revision != before
        # The same contents are the same revision, whatever lies beside them.
        (tmp_path / "policies" / "authz.rego").write_text(POLICY)
        await until(lambda: gateway.revision == before)


@live
async def test_a_file_written_in_two_halves(tmp_path):
    text = policy_for("writer")
    async with running(tmp_path) as gateway:
        await gateway.settled()
        with (tmp_path / "policies" / "authz.rego").open("w") as file:
            await until(lambda: gateway.problems)  # empty so far
            await gateway.admits_still("reader")
            file.write(text[:150])
            file.flush()
            await until(lambda: "authz.rego:" in str(gateway.problems))
            await gateway.admits_still("reader")
            file.write(text[150:])
        await gateway.admits("writer")


@live
async def test_a_broken_edit_changes_nothing_and_says_where(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        policy = tmp_path / "policies" / "authz.rego"
        before = gateway.revision
        policy.write_text(POLICY + "\nbroken if unknown_function(1)\n")
        await until(lambda: gateway.problems)
        (problem,) = gateway.gateway.reloader.status.problems
        assert problem.file.endswith("authz.rego")
        assert (problem.line, problem.column) == (9, 11)
        assert gateway.revision == before
        await gateway.admits_still("reader")
        status = (await gateway.ask_admin("/status")).json()
        assert status["revision"] == before
        assert status["last_error"]["problems"][0]["line"] == 9
        assert "gateway_policy_reload_success 0.0" in await gateway.metrics()
        policy.write_text(policy_for("writer"))
        await gateway.admits("writer")
        assert (await gateway.ask_admin("/status")).json()["last_error"] is None
        metrics = await gateway.metrics()
        assert "gateway_policy_reload_success 1.0" in metrics
        assert 'gateway_policy_reloads_total{outcome="failure"} 1.0' in metrics


@live
async def test_a_failing_policy_test_refuses_the_edit(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        before = gateway.revision
        test = tmp_path / "policies" / "authz_test.rego"
        test.write_text(
            "package gateway.authz_test\n\nimport data.gateway.authz\n\n"
            'test_writers_enter if authz.decision.allow with input.identity.roles as ["writer"]\n'
        )
        await until(lambda: gateway.problems)
        assert "test_writers_enter" in gateway.problems[0]
        assert gateway.revision == before
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await gateway.admits("writer")


@live
async def test_an_edit_among_twenty_files(tmp_path):
    (tmp_path / "policies" / "lib").mkdir(parents=True)
    for number in range(19):
        module = f"package lib.part{number}\n\nallowed contains role if some role in {{\n"
        roles = "\n".join(f'\t"role-{number}-{index}",' for index in range(20))
        (tmp_path / "policies" / "lib" / f"part{number}.rego").write_text(f"{module}{roles}\n}}\n")
    policy = (
        f"{POLICY}\n"
        'decision := {"allow": true} if {\n'
        "\tsome part, role\n\tdata.lib[part].allowed[role]\n\trole in input.identity.roles\n}\n"
    )
    async with running(tmp_path, policy=policy) as gateway:
        await gateway.settled()
        await gateway.admits("role-7-7")
        edited = tmp_path / "policies" / "lib" / "part7.rego"
        edited.write_text(edited.read_text().replace("role-7-7", "role-new"))
        await gateway.admits("role-new")
        assert (await gateway.ask(token=gateway.token(roles=["role-7-7"]))).status == 403


@live
async def test_the_last_of_many_quick_edits_wins(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        for number in range(20):
            (tmp_path / "policies" / "authz.rego").write_text(policy_for(f"role-{number}"))
            await asyncio.sleep(0.03 * (number % 4))
        await gateway.admits("role-19")
        assert (await gateway.ask(token=gateway.token(roles=["role-18"]))).status == 403


DATA_POLICY = """package gateway.authz

decision := {"allow": true} if {
	some role in data.admitted
	role in input.identity.roles
}
"""


@live
async def test_an_edit_of_data(tmp_path):
    data = tmp_path / "policies" / "data.json"
    data.parent.mkdir()
    data.write_text('{"admitted": ["reader"]}')
    async with running(tmp_path, policy=DATA_POLICY) as gateway:
        await gateway.settled()
        await gateway.admits("reader")
        data.write_text('{"admitted": ["writer"]}')
        await gateway.admits("writer")
        assert (await gateway.ask(token=gateway.token())).code == "undefined"
        data.write_text('{"admitted": ["reader"], "admitted": []}')
        await until(lambda: gateway.problems)
        assert "data.json" in gateway.problems[0]
        await gateway.admits_still("writer")


@live
async def test_a_folder_that_is_deleted_and_made_anew(tmp_path):
    policies = tmp_path / "policies"
    async with running(tmp_path) as gateway:
        await gateway.settled()
        for before, role in (("reader", "writer"), ("writer", "auditor")):
            shutil.rmtree(policies)
            await until(lambda: str(policies) in str(gateway.problems))
            await gateway.admits_still(before)
            policies.mkdir()
            (policies / "authz.rego").write_text(policy_for(role))
            await gateway.admits(role)
        for role in ("reader", "writer"):
            (policies / "authz.rego").write_text(policy_for(role))  # the new folder is watched
            await gateway.admits(role)
            shutil.rmtree(policies)
            policies.mkdir()  # at once, and many file systems give it the same inode
            (policies / "authz.rego").write_text(policy_for(f"{role}s"))
            await gateway.admits(f"{role}s")
        (policies / "deep" / "er").mkdir(parents=True)
        (policies / "deep" / "er" / "more.rego").write_text(
            'package gateway.authz\n\ndecision := {"allow": true} if "x" in input.identity.roles\n'
        )
        await gateway.admits("x")


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@live
async def test_git_checkout(tmp_path):
    policies = tmp_path / "policies"
    async with running(tmp_path) as gateway:
        await gateway.settled()
        git(policies, "init", "-b", "reader")
        git(policies, "add", ".")
        git(policies, "commit", "-m", "reader")
        git(policies, "checkout", "-b", "writer")
        (policies / "authz.rego").unlink()
        (policies / "lib").mkdir()
        (policies / "lib" / "roles.rego").write_text('package lib.roles\n\nadmitted := "writer"\n')
        (policies / "main.rego").write_text(
            "package gateway.authz\n\nimport data.lib.roles\n\n"
            'decision := {"allow": true} if roles.admitted in input.identity.roles\n'
        )
        git(policies, "add", "-A")
        git(policies, "commit", "-m", "writer")
        await gateway.admits("writer")
        for branch in ("reader", "writer", "reader"):
            git(policies, "checkout", branch)
            await gateway.admits(branch)
        assert (await gateway.ask(token=gateway.token(roles=["writer"]))).status == 403


@live
async def test_without_watching_the_rescan_sees_an_edit(tmp_path):
    config = {"reload": {"watch": False, "rescan": "200ms"}}
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await gateway.admits("writer")
