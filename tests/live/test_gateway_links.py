"""The whole gateway and files that are reached through links, or lie beside others."""

import json
import shutil

from gateway.jose.sign import generate, public_jwks
from tests.support.gateway import live, policy_for, running, until


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
