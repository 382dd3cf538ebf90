"""The whole gateway while a policy is brought out step by step."""

from tests.support.gateway import live, running

REPORTING = {"id": "items", "paths": ["/items"], "upstream": "service", "enforcement": "report"}


@live
async def test_a_route_that_only_reports(tmp_path, caplog):
    async with running(tmp_path, config={"routes": [REPORTING]}) as gateway:
        nobody = gateway.token(roles=[])
        answer = await gateway.ask(token=nobody)
        assert (answer.status, answer.json()["headers"]["x-auth-subject"]) == (200, "alice")
        assert (await gateway.ask()).code == "token-missing"
        assert (await gateway.ask(token=gateway.token(exp=1))).code == "token-expired"
        event = (await gateway.events(3))[0]
        assert (event["outcome"], event["enforced"]) == ("forwarded", False)
        assert event["would"] == {"code": "policy-denied", "status": 403}
        assert event["reasons"] == [{"code": "not-granted", "message": ""}]
        metrics = await gateway.metrics()
        labels = '{code="policy-denied",route="items"}'
        assert f"gateway_unenforced_refusals_total{labels} 1.0" in metrics
        assert 'gateway_route_enforced{route="items"} 0.0' in metrics
        assert (await gateway.ask_admin("/status")).json()["unenforced"] == ["items"]
        assert "not enforced on route items" in caplog.text
        await gateway.settled()
        caplog.clear()
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert "not enforced on route items" in caplog.text  # at every reload
        await gateway.edit({"routes": [REPORTING | {"enforcement": "enforce"}]})
        assert (await gateway.ask(token=nobody)).status == 403
        assert (await gateway.ask_admin("/status")).json()["unenforced"] == []
