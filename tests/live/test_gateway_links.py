"""The whole gateway and files that are reached through links, or lie beside others."""

import asyncio
import json
import shutil

import pytest

from gateway.jose.sign import generate, public_jwks
from tests.support.gateway import POLICY, live, policy_for, running, token, until, write
from tests.support.process import serving
from tests.support.upstream import answers, ok, upstream


def publish(folder, name, files):
    """Put files into a folder as Kubernetes does: behind one link that is swapped."""
    old = (folder / "..data").resolve() if (folder / "..data").exists() else None
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(text)
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").replace(folder / "..data")
    for file in files:
        if not (folder / file).is_symlink():
            (folder / file).unlink(missing_ok=True)
            (folder / file).symlink_to(f"..data/{file}")
    for link in folder.iterdir():
        if link.is_symlink() and not link.name.startswith("..") and link.name not in files:
            link.unlink()
    if old is not None:
        shutil.rmtree(old)


@live
async def test_config_maps_are_swapped(tmp_path):
    """One holds the policies, another the configuration and the keys."""
    new = generate("ES256")
    async with running(tmp_path) as gateway:
        await gateway.settled()
        text, keys = ((tmp_path / name).read_text() for name in ("gateway.yaml", "jwks.json"))
        for number, role in enumerate(("reader", "writer", "reader")):
            publish(tmp_path / "policies", f"..p{number}", {"authz.rego": policy_for(role)})
            await gateway.admits(role)
            publish(tmp_path, f"..c{number}", {"gateway.yaml": f"{text}\n#", "jwks.json": keys})
            await gateway.loaded()
        keys = json.dumps(public_jwks([new]))
        publish(tmp_path, "..new", {"gateway.yaml": text, "jwks.json": keys})
        await gateway.loaded()
        assert (await gateway.ask(token=gateway.token(new))).status == 200
        assert (await gateway.ask(token=gateway.token())).code == "key-unknown"


@pytest.mark.parametrize("workers", ["1", "2"])
@live
async def test_config_maps_in_folders_of_their_own(tmp_path, workers):
    """As deploy/kubernetes mounts them, from before the start on; a broken one changes nothing."""
    key = generate("ES256")
    config = {
        "policy": {"paths": ["../policies"], "state": str(tmp_path / "state")},
        "issuers": {"corp": {"keys": {"jwks_file": "../jwks.json"}}},
    }

    async def let_in(process, role, policies):
        publish(tmp_path / "policies", f"..2026_{len(process.lines)}_{role}", policies)
        bearer = token(key, roles=[role])
        async with asyncio.timeout(30):
            while (await process.ask(token=bearer)).status != 200:
                await asyncio.sleep(0.02)

    async with upstream(answers(ok())) as service:
        text = write(tmp_path, key, service.url, config=config).read_text()
        (tmp_path / "gateway.yaml").unlink()
        (tmp_path / "config").mkdir()
        publish(tmp_path / "config", "..2026_0", {"gateway.yaml": text})
        publish(tmp_path / "policies", "..2026_0", {"authz.rego": POLICY})
        options = ("--config", "config/gateway.yaml", "--workers", workers)
        async with serving(tmp_path, *options) as process:
            assert (await process.ask(token=token(key))).status == 200
            await let_in(process, "writer", {"authz.rego": policy_for("writer")})
            publish(tmp_path / "policies", "..broken", {"authz.rego": POLICY + "\nbroken := \n"})
            await until(lambda: "reload refused" in process.errors, 30)
            assert (await process.ask(token=token(key))).status == 403
            assert (await process.ask(token=token(key, roles=["writer"]))).status == 200
            # One file goes, another one comes.
            await let_in(process, "auditor", {"other.rego": policy_for("auditor")})
            assert (await process.ask(token=token(key, roles=["writer"]))).status == 403
            publish(tmp_path / "config", "..2026_1", {"gateway.yaml": text.replace("/items", "/x")})
            bearer = token(key, roles=["auditor"])
            async with asyncio.timeout(30):
                while (await process.ask("/x", token=bearer)).status != 200:
                    await asyncio.sleep(0.02)


@live
async def test_a_link_above_the_policies_is_swapped(tmp_path):
    """As git-sync and many deployments do it."""
    for name, role in (("v1", "reader"), ("v2", "writer")):
        policy = tmp_path / "releases" / name / "deploy" / "policies" / "authz.rego"
        policy.parent.mkdir(parents=True)
        policy.write_text(policy_for(role))
    current = tmp_path / "releases" / "current"
    current.symlink_to("v1")
    config = {"policy": {"paths": ["releases/current/deploy/policies"]}}
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        await gateway.admits("reader")
        current.with_name("next").symlink_to("v2")
        current.with_name("next").replace(current)
        await gateway.admits("writer")
        policy.write_text(policy_for("auditor"))
        await gateway.admits("auditor")


@live
async def test_links_within_the_policies_are_followed(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    lib = tmp_path / "linked" / "real" / "roles.rego"
    lib.parent.mkdir(parents=True)
    lib.write_text('package lib.roles\n\nadmitted := "reader"\n')
    main = shared / "main.rego"
    main.write_text(
        "package gateway.authz\n\nimport data.lib.roles\n\n"
        'decision := {"allow": true} if roles.admitted in input.identity.roles\n'
    )
    (tmp_path / "linked" / "main.rego").symlink_to("../shared/main.rego")
    (tmp_path / "linked" / "lib").symlink_to("real")
    (tmp_path / "linked" / "itself").symlink_to("itself/deeper")
    config = {"policy": {"paths": ["linked"]}}
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        lib.write_text('package lib.roles\n\nadmitted := "writer"\n')
        await gateway.admits("writer")
        main.write_text(policy_for("auditor"))
        await gateway.admits("auditor")


@live
async def test_a_log_beside_the_configuration_wakes_nobody(tmp_path):
    config = {
        "log": {"decisions": {"sink": "file", "path": "decisions.log"}},
        "reload": {"debounce": "1ms"},
    }
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        before, log = gateway.looks, tmp_path / "decisions.log"
        for number in range(1, 21):
            await gateway.ask("/open/x")
            await until(lambda lines=number: log.read_text().count("\n") == lines)
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        await gateway.admits("writer")
        assert gateway.looks - before < 10
