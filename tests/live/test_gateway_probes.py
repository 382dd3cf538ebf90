"""What those ask who keep the gateway running: the probes of the deployments, by their own words."""

import asyncio
import json
import re
import sys

import yaml

from gateway.jose.sign import generate
from tests.support.gateway import live, until, write
from tests.support.process import ROOT, serving
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")
PODS = yaml.safe_load((ROOT / "deploy/kubernetes/deployment.yaml").read_text())
HEALTH = re.search(
    r"HEALTHCHECK.*?CMD (\[.*?\])\n", (ROOT / "deploy/container/Containerfile").read_text(), re.S
)


def path_of(probe):
    (container,) = PODS["spec"]["template"]["spec"]["containers"]
    return container[f"{probe}Probe"]["httpGet"]["path"]


async def is_healthy(process):
    """What the container's health check says of it."""
    python, *words = json.loads(HEALTH[1])
    assert python == "python"
    assert "127.0.0.1:9090" in words[-1]
    words[-1] = words[-1].replace("9090", str(process.port("admin")))
    child = await asyncio.create_subprocess_exec(
        sys.executable, *words, stderr=asyncio.subprocess.DEVNULL
    )
    return await child.wait() == 0


@live
async def test_probes_while_it_serves_drains_and_is_gone(tmp_path):
    config = {"limits": {"drain_delay": "5s"}}
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=config)
        async with serving(tmp_path) as process:

            async def answers_of(*probes):
                return [(await process.ask(path_of(probe))).status for probe in probes]

            assert await answers_of("startup", "liveness", "readiness") == [200, 200, 200]
            assert await is_healthy(process)
            process.child.terminate()
            await until(lambda: "draining" in process.errors)
            assert await answers_of("liveness", "readiness") == [200, 503]
            assert (await process.ask("/open/x")).status == 200
            assert await process.ended() == 0
            assert not await is_healthy(process)


@live
async def test_a_gateway_without_keys_lives_and_is_not_ready(tmp_path):
    issuers = {
        "corp": {
            "keys": {"jwks_file": None, "jwks_url": "http://127.0.0.1:1/", "insecure_http": True}
        }
    }
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config={"issuers": issuers})
        async with serving(tmp_path) as process:
            for probe, status in (("startup", 200), ("liveness", 200), ("readiness", 503)):
                assert (await process.ask(path_of(probe))).status == status
