"""Tokens for upstreams from a certified authorization server that nobody here wrote."""

import contextlib

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet

from gateway.jose.sign import generate, public_jwks
from tests.support.authorization_server import authorization_server
from tests.support.gateway import live, running, until

KEY = generate("ES256")
SECRET = "a secret: of 100 %+"
ROUTES = {
    "items": {"audience": "orders-api", "scopes": ["read"]},
    "stock": {"audience": "stock-api"},
    "nowhere": {"audience": "nowhere"},
    "own": {"grant": "client_credentials", "scopes": "read"},
}


def client_of(folder, authentication, algorithm):
    """The client as the server knows it, and as the gateway is configured."""
    known = {
        "client_id": "gate way",
        "token_endpoint_auth_method": authentication,
        "grant_types": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "id_token_signed_response_alg": "ES256",
        "redirect_uris": [],
        "response_types": [],
    }
    client = {"id": "gate way", "authentication": authentication}
    if authentication != "private_key_jwt":
        return {**known, "client_secret": SECRET}, {**client, "secret": SECRET}
    key = generate(algorithm, key_id="k1")
    pem = key.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "client.pem").write_bytes(pem)
    known |= {"token_endpoint_auth_signing_alg": algorithm, "jwks": public_jwks([key])}
    signs = {"key_file": "client.pem", "algorithm": algorithm, "key_id": "k1"}
    return known, {**client, **signs}


@contextlib.asynccontextmanager
async def serving(folder, authentication="client_secret_basic", algorithm="ES256", **changes):
    """A gateway and the server that gives it tokens; `changes` are to the gateway's client."""
    known, client = client_of(folder, authentication, algorithm)
    async with authorization_server([known], public_jwks([KEY])) as server:
        endpoint = {"url": f"{server.issuer}/token", "client": {**client, **changes}}
        routes = [
            {
                "id": name,
                "paths": [f"/{name}"],
                "upstream": "service",
                "upstream_token": {"endpoint": "corp", **asked},
            }
            for name, asked in ROUTES.items()
        ]
        config = {"token_endpoints": {"corp": endpoint}, "routes": routes}
        policy = 'package gateway.authz\n\ndecision := {"allow": true}\n'
        async with running(folder, config=config, signer=KEY, policy=policy) as gateway:
            yield gateway, server


async def claims_of(server, response):
    """What the token says that the upstream got, verified with the server's keys."""
    assert response.status == 200, response.body
    token = response.json()["headers"]["authorization"].removeprefix("Bearer ")
    async with aiohttp.ClientSession() as session, session.get(f"{server.issuer}/jwks") as answer:
        keys = KeySet.import_key_set(await answer.json())
    return jwt.decode(token, keys, algorithms=["ES256"]).claims


WAYS = [
    ("client_secret_basic", "ES256"),
    ("client_secret_post", "ES256"),
    *(("private_key_jwt", algorithm) for algorithm in ("ES256", "RS256", "PS256", "Ed25519")),
]


@pytest.mark.parametrize(("authentication", "algorithm"), WAYS)
@live
async def test_it_knows_the_gateway_and_gives_tokens(tmp_path, authentication, algorithm):
    async with serving(tmp_path, authentication, algorithm) as (gateway, server):
        token = gateway.token()
        for _ in range(2):
            found = await claims_of(server, await gateway.ask("/items", token=token))
            assert (found["sub"], found["aud"], found["scope"]) == ("alice", "orders-api", "read")
        found = await claims_of(server, await gateway.ask("/stock", token=token))
        assert (found["sub"], found["aud"]) == ("alice", "stock-api")
        found = await claims_of(server, await gateway.ask("/own", token=token))
        assert (found["sub"], found["client_id"]) == ("gate way", "gate way")
        await until(lambda: len(server.grants) == 3)
        assert {error for _, error in server.grants} == {None}


@live
async def test_some_servers_want_their_issuer_as_the_audience_of_assertions(tmp_path):
    async with serving(tmp_path, "private_key_jwt") as (gateway, server):
        config = {"token_endpoints": {"corp": {"client": {"audience": server.issuer}}}}
        await gateway.edit(config)
        assert (await gateway.ask("/own", token=gateway.token())).status == 200
        wrong = {"token_endpoints": {"corp": {"client": {"audience": "https://elsewhere.example"}}}}
        await gateway.edit(wrong)
        response = await gateway.ask("/own", token=gateway.token())
        assert (response.status, response.code) == (502, "token-endpoint-fault")


@live
async def test_what_it_refuses(tmp_path):
    async with serving(tmp_path) as (gateway, server):
        token = gateway.token(roles=["guest"])
        for target, code in (("/items", "exchange-denied"), ("/nowhere", "exchange-denied")):
            assert (await gateway.ask(target, token=token)).code == code
        await until(lambda: len(server.grants) == 2)
        assert {error for _, error in server.grants} == {"access_denied", "invalid_target"}
        config = {"token_endpoints": {"corp": {"client": {"secret": "another"}}}}
        await gateway.edit(config)
        response = await gateway.ask("/items", token=gateway.token())
        assert (response.status, response.code) == (502, "token-endpoint-fault")
        event = await gateway.event(response.header("x-decision-id"))
        assert event["error"]["message"].endswith("answered invalid_client")


@live
async def test_tokens_of_an_issuer_that_it_does_not_know(tmp_path):
    known, client = client_of(tmp_path, "client_secret_basic", "ES256")
    async with authorization_server([known], public_jwks([generate("ES256")])) as server:
        endpoint = {"url": f"{server.issuer}/token", "client": client}
        token = {"endpoint": "corp", "audience": "orders-api"}
        route = {"id": "items", "paths": ["/items"], "upstream": "service", "upstream_token": token}
        config = {"token_endpoints": {"corp": endpoint}, "routes": [route]}
        async with running(tmp_path, config=config) as gateway:
            response = await gateway.ask(token=gateway.token())
            assert (response.status, response.code) == (401, "exchange-refused")
